//! `${NAME}` in the texts of a configuration file.
//!
//! Substitution works on one value after the YAML was read, so whatever a variable holds stays
//! inside that value.

use zeroize::Zeroizing;

/// A text with its variables filled in.
pub(super) struct Filled {
    pub(super) text: Zeroizing<String>,
    /// Whether any variable was named: then the text is not shown in messages.
    pub(super) used_variables: bool,
}

/// Why a text cannot be filled in.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unfilled {
    /// The variable is not set.
    Unset(String),
    /// After `${` comes no name and `}`.
    Malformed,
}

/// Replaces each `${NAME}` by what `lookup` gives, and `$${` by `${`. A `$` elsewhere is itself.
pub(super) fn fill(
    text: &str,
    mut lookup: impl FnMut(&str) -> Option<String>,
) -> Result<Filled, Unfilled> {
    let mut filled = Zeroizing::new(String::with_capacity(text.len()));
    let mut used_variables = false;
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        if let Some(literal) = before.strip_suffix('$') {
            filled.push_str(literal);
            filled.push_str("${");
            rest = after;
            continue;
        }
        let (name, remaining) = after.split_once('}').ok_or(Unfilled::Malformed)?;
        if !is_variable_name(name) {
            return Err(Unfilled::Malformed);
        }
        let value = lookup(name).map(Zeroizing::new);
        let value = value.ok_or_else(|| Unfilled::Unset(name.to_owned()))?;
        filled.push_str(before);
        filled.push_str(&value);
        used_variables = true;
        rest = remaining;
    }
    filled.push_str(rest);
    Ok(Filled {
        text: filled,
        used_variables,
    })
}

/// Whether `name` can name a variable: letters, digits and `_`, no digit first.
pub(super) fn is_variable_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filled(text: &str) -> Result<String, Unfilled> {
        let lookup = |name: &str| match name {
            "A" => Some("alpha".to_owned()),
            "YAML" => Some("x: [${A}, 'y'] # z".to_owned()),
            _ => None,
        };
        fill(text, lookup).map(|filled| filled.text.to_string())
    }

    #[test]
    fn variables_are_filled_in_once() {
        assert_eq!(filled("${A}").unwrap(), "alpha");
        assert_eq!(filled("<${A}-${A}>").unwrap(), "<alpha-alpha>");
        assert_eq!(filled("${YAML}").unwrap(), "x: [${A}, 'y'] # z");
    }

    #[test]
    fn dollars_elsewhere_are_themselves() {
        assert_eq!(filled("a$b$$c$").unwrap(), "a$b$$c$");
        assert_eq!(filled("$${A}").unwrap(), "${A}");
        assert_eq!(filled("$$${A}").unwrap(), "$${A}");
    }

    #[test]
    fn what_cannot_be_filled_in_is_refused() {
        assert_eq!(filled("${B}"), Err(Unfilled::Unset("B".to_owned())));
        for bad in ["${", "${A", "${}", "${A B}", "${1A}", "${A:-x}", "${ä}"] {
            assert_eq!(filled(bad), Err(Unfilled::Malformed), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_text_without_variables_stays_as_it_is(text in "[^{]*") {
            prop_assert_eq!(filled(&text).unwrap(), text);
        }

        #[test]
        fn an_escaped_text_stays_as_it_is(text in r"[a$\{\}]{0,20}") {
            prop_assume!(!text.contains("$$"));
            prop_assert_eq!(filled(&text.replace("${", "$${")).unwrap(), text);
        }

        #[test]
        fn any_value_is_taken_as_it_is(value: String) {
            let filled = fill("<${A}>", |_| Some(value.clone())).unwrap();
            prop_assert_eq!(filled.text.as_str(), format!("<{value}>"));
        }
    }
}
