//! From values of the tree to Rust values, noting every problem on the way.
//!
//! A method here returns nothing where a value is missing or wrong; where it is wrong, it has
//! noted so. Values that came from a variable, and everything that may be a secret, are never
//! shown in what is noted.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use super::error::{ConfigError, Finding, Origin};
use super::human::{parse_duration, parse_size, show_duration, show_size};
use super::key_file::trim_line_end;
use super::load::Loaded;
use super::substitute::{Unfilled, fill, is_variable_name};
use super::tree::{Entry, Node, Value};
use crate::policy::Secret;

/// Longer values are not shown in messages.
const LONGEST_SHOWN: usize = 60;

pub(super) struct Decoder<'s> {
    variable: &'s dyn Fn(&str) -> Option<String>,
    read: &'s dyn Fn(&Path) -> io::Result<Zeroizing<Vec<u8>>>,
    file: Option<Arc<str>>,
    base: Option<PathBuf>,
    used: BTreeSet<String>,
    problems: Vec<Finding>,
    warnings: Vec<Finding>,
}

/// A mapping whose fields are known.
#[derive(Clone)]
pub(super) struct Section<'n> {
    pub(super) path: String,
    pub(super) origin: Origin,
    entries: &'n [Entry],
}

impl<'n> Section<'n> {
    pub(super) fn node(&self, field: &str) -> Option<&'n Node> {
        self.entries
            .iter()
            .find(|entry| entry.key == field)
            .map(|entry| &entry.node)
    }

    pub(super) fn has(&self, field: &str) -> bool {
        self.node(field).is_some()
    }

    /// Whether `field` is a list without items.
    pub(super) fn is_empty_list(&self, field: &str) -> bool {
        self.node(field)
            .is_some_and(|node| matches!(&node.value, Value::List(items) if items.is_empty()))
    }

    pub(super) const fn entries(&self) -> &'n [Entry] {
        self.entries
    }

    /// The place of a field: its own where it was given, else the section's.
    pub(super) fn at(&self, field: &str) -> Spot {
        Spot {
            field: join(&self.path, field),
            origin: self
                .node(field)
                .map_or_else(|| self.origin.clone(), |node| node.origin.clone()),
        }
    }
}

/// A place to note something about.
#[derive(Clone)]
pub(super) struct Spot {
    pub(super) field: String,
    pub(super) origin: Origin,
}

/// A text with its variables filled in.
pub(super) struct Text {
    pub(super) value: Zeroizing<String>,
    pub(super) spot: Spot,
    /// Whether messages may show it.
    pub(super) showable: bool,
}

impl Text {
    /// The value for a message, or what stands for it.
    pub(super) fn shown(&self) -> String {
        if self.showable && self.value.len() <= LONGEST_SHOWN {
            format!("{:?}", self.value.as_str())
        } else {
            "the value".to_owned()
        }
    }
}

/// `a` and `b` as `a.b`; a part that is no plain word stands in quotes.
pub(super) fn join(path: &str, field: &str) -> String {
    let plain = !field.is_empty()
        && field
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    match (path.is_empty(), plain) {
        (true, true) => field.to_owned(),
        (true, false) => format!("{field:?}"),
        (false, true) => format!("{path}.{field}"),
        (false, false) => format!("{path}.{field:?}"),
    }
}

impl<'s> Decoder<'s> {
    pub(super) fn new(
        variable: &'s dyn Fn(&str) -> Option<String>,
        read: &'s dyn Fn(&Path) -> io::Result<Zeroizing<Vec<u8>>>,
        file: Option<Arc<str>>,
        base: Option<PathBuf>,
    ) -> Self {
        Self {
            variable,
            read,
            file,
            base,
            used: BTreeSet::new(),
            problems: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// What was decoded, unless anything was wrong.
    pub(super) fn finish<T>(mut self, config: Option<T>) -> Result<Loaded<T>, ConfigError> {
        match config {
            Some(config) if self.problems.is_empty() => Ok(Loaded {
                config,
                warnings: self.warnings,
            }),
            _ => {
                if self.problems.is_empty() {
                    let nowhere = Spot {
                        field: String::new(),
                        origin: Origin::Nowhere,
                    };
                    self.problem(&nowhere, "cannot be used", "Please report this as a bug.");
                }
                Err(ConfigError::new(self.problems))
            }
        }
    }

    pub(super) fn problem(
        &mut self,
        spot: &Spot,
        what: impl Into<String>,
        instead: impl Into<String>,
    ) {
        let finding = self.finding(spot, what.into(), instead.into());
        self.problems.push(finding);
    }

    pub(super) fn warning(
        &mut self,
        spot: &Spot,
        what: impl Into<String>,
        instead: impl Into<String>,
    ) {
        let finding = self.finding(spot, what.into(), instead.into());
        self.warnings.push(finding);
    }

    /// Warns of a variable that looks meant for the gateway, unless the file named it.
    pub(super) fn warn_of_variable(&mut self, name: &str) {
        if !self.used.contains(name) {
            let spot = Spot {
                field: String::new(),
                origin: Origin::Variable(name.to_owned()),
            };
            self.warning(
                &spot,
                "sets no field and is not named in the file",
                "Check its spelling.",
            );
        }
    }

    /// The mapping `node`, which may be absent, with only `known` fields.
    pub(super) fn section<'n>(
        &mut self,
        node: Option<&'n Node>,
        path: &str,
        known: &[&str],
    ) -> Section<'n> {
        let section = self.mapping(node, path);
        for entry in section.entries {
            if known.contains(&entry.key.as_str()) {
                continue;
            }
            let spot = Spot {
                field: join(path, &entry.key),
                origin: entry.key_origin.clone(),
            };
            let instead = match closest(&entry.key, known) {
                Some(meant) => format!("Did you mean `{meant}`?"),
                None => format!("Known fields here: {}.", known.join(", ")),
            };
            self.problem(&spot, "is not a known field", instead);
        }
        section
    }

    /// The mapping `node`, which may be absent, with any fields.
    pub(super) fn mapping<'n>(&mut self, node: Option<&'n Node>, path: &str) -> Section<'n> {
        let origin = node.map(|node| node.origin.clone()).unwrap_or_default();
        let entries = match node.map(|node| &node.value) {
            None | Some(Value::Null) => &[][..],
            Some(Value::Map(entries)) => entries,
            Some(other) => {
                let spot = Spot {
                    field: path.to_owned(),
                    origin: origin.clone(),
                };
                self.problem(
                    &spot,
                    format!("is {}, not a mapping", other.kind()),
                    "Write its fields below it, each as `name: value`.",
                );
                &[]
            }
        };
        Section {
            path: path.to_owned(),
            origin,
            entries,
        }
    }

    /// The list at `field`, which may be absent, each item with its path. `None` where the field
    /// is absent.
    pub(super) fn list<'n>(
        &mut self,
        section: &Section<'n>,
        field: &str,
    ) -> Option<Vec<(String, &'n Node)>> {
        let node = section.node(field)?;
        let path = join(&section.path, field);
        let items = match &node.value {
            Value::List(items) => items.as_slice(),
            other => {
                self.problem(
                    &section.at(field),
                    format!("is {}, not a list", other.kind()),
                    "Write it as [a, b], or each item on a line of its own after a dash.",
                );
                &[]
            }
        };
        let items = items.iter().enumerate();
        Some(
            items
                .map(|(index, node)| (format!("{path}[{index}]"), node))
                .collect(),
        )
    }

    /// The texts of the list at `field`. `None` where the field is absent.
    pub(super) fn texts(&mut self, section: &Section<'_>, field: &str) -> Option<Vec<Text>> {
        let items = self.list(section, field)?;
        let texts = items
            .into_iter()
            .filter_map(|(path, node)| self.text_of(node, path));
        Some(texts.collect())
    }

    pub(super) fn text(&mut self, section: &Section<'_>, field: &str) -> Option<Text> {
        let node = section.node(field)?;
        self.text_of(node, join(&section.path, field))
    }

    /// The text of `node`, with its variables filled in where it stands in the file.
    pub(super) fn text_of(&mut self, node: &Node, field: String) -> Option<Text> {
        let spot = Spot {
            field,
            origin: node.origin.clone(),
        };
        let text = match &node.value {
            Value::Text(text) => text,
            Value::Null => {
                self.problem(
                    &spot,
                    "has no value",
                    "Give it one, or take the field away.",
                );
                return None;
            }
            other => {
                let instead = match other {
                    Value::List(_) | Value::Map(_) => "Write a single text.",
                    _ => "Put it in quotes, so that it is read as it stands.",
                };
                self.problem(&spot, format!("is {}, not a text", other.kind()), instead);
                return None;
            }
        };
        if matches!(spot.origin, Origin::Variable(_) | Origin::Flag(_)) {
            let showable = matches!(spot.origin, Origin::Flag(_));
            return Some(Text {
                value: text.clone(),
                spot,
                showable,
            });
        }
        let (variable, used) = (self.variable, &mut self.used);
        let filled = fill(text, |name| {
            used.insert(name.to_owned());
            variable(name)
        });
        match filled {
            Ok(filled) => Some(Text {
                value: filled.text,
                showable: !filled.used_variables,
                spot,
            }),
            Err(Unfilled::Unset(name)) => {
                self.problem(
                    &spot,
                    format!("names the variable {name}, which is not set"),
                    format!("Set {name}, or write `$${{` for a plain `${{`."),
                );
                None
            }
            Err(Unfilled::Malformed) => {
                self.problem(
                    &spot,
                    "has `${` without a variable's name and `}` after it",
                    "Write ${NAME}, or `$${` for a plain `${`.",
                );
                None
            }
        }
    }

    /// A text that must be given.
    pub(super) fn required(
        &mut self,
        section: &Section<'_>,
        field: &str,
        instead: &str,
    ) -> Option<Text> {
        if !section.has(field) {
            self.missing(section, field, instead);
            return None;
        }
        self.text(section, field)
    }

    pub(super) fn missing(&mut self, section: &Section<'_>, field: &str, instead: &str) {
        self.problem(&section.at(field), "is missing", instead);
    }

    /// A text as `parse` reads it; what that fails with, and `instead`, are noted.
    pub(super) fn parsed<T, E: std::fmt::Display>(
        &mut self,
        text: &Text,
        parse: impl FnOnce(&str) -> Result<T, E>,
        instead: &str,
    ) -> Option<T> {
        match parse(&text.value) {
            Ok(value) => Some(value),
            Err(error) => {
                self.problem(&text.spot, format!("{} {error}", text.shown()), instead);
                None
            }
        }
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(
        &mut self,
        section: &Section<'_>,
        field: &str,
        words: &[(&str, T)],
    ) -> Option<T> {
        let text = self.text(section, field)?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text.value.as_str()) {
            return Some(*value);
        }
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        self.problem(
            &text.spot,
            format!("{} is not known here", text.shown()),
            format!("Write one of: {}.", known.join(", ")),
        );
        None
    }

    /// `true` or `false`; a text of those letters too, since variables hold nothing else.
    pub(super) fn flag(&mut self, section: &Section<'_>, field: &str) -> Option<bool> {
        if let Value::Bool(value) = section.node(field)?.value {
            return Some(value);
        }
        self.choice(section, field, &[("true", true), ("false", false)])
    }

    /// A whole number within bounds.
    pub(super) fn number(
        &mut self,
        section: &Section<'_>,
        field: &str,
        bounds: std::ops::RangeInclusive<u32>,
    ) -> Option<u32> {
        let node = section.node(field)?;
        let instead = format!(
            "Write a whole number from {} to {}.",
            bounds.start(),
            bounds.end()
        );
        let number = match &node.value {
            Value::Integer(number) => u32::try_from(*number).ok(),
            Value::Text(_) => {
                let text = self.text(section, field)?;
                let digits = text.value.bytes().all(|b| b.is_ascii_digit());
                text.value.parse().ok().filter(|_| digits)
            }
            other => {
                let what = format!("is {}, not a whole number", other.kind());
                self.problem(&section.at(field), what, instead);
                return None;
            }
        };
        let number = number.filter(|number| bounds.contains(number));
        if number.is_none() {
            self.problem(&section.at(field), "is no number within bounds", instead);
        }
        number
    }

    /// A duration within bounds.
    pub(super) fn duration(
        &mut self,
        section: &Section<'_>,
        field: &str,
        bounds: std::ops::RangeInclusive<Duration>,
    ) -> Option<Duration> {
        let instead = format!(
            "Write a whole number with ms, s, m, h or d, from {} to {}: 30s, say.",
            show_duration(*bounds.start()),
            show_duration(*bounds.end())
        );
        self.measure(section, field, "duration", &instead, |text| {
            parse_duration(text).filter(|duration| bounds.contains(duration))
        })
    }

    /// A size within bounds.
    pub(super) fn size(
        &mut self,
        section: &Section<'_>,
        field: &str,
        bounds: std::ops::RangeInclusive<u64>,
    ) -> Option<u64> {
        let instead = format!(
            "Write a whole number with B, KiB, MiB or GiB, from {} to {}: 64KiB, say.",
            show_size(*bounds.start()),
            show_size(*bounds.end())
        );
        self.measure(section, field, "size", &instead, |text| {
            parse_size(text).filter(|size| bounds.contains(size))
        })
    }

    fn measure<T>(
        &mut self,
        section: &Section<'_>,
        field: &str,
        kind: &str,
        instead: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        if let Value::Integer(_) | Value::Float = section.node(field)?.value {
            let what = format!("is a number without a unit, not a {kind}");
            self.problem(&section.at(field), what, instead);
            return None;
        }
        let text = self.text(section, field)?;
        let value = parse(&text.value);
        if value.is_none() {
            let what = format!("{} is no {kind} within bounds", text.shown());
            self.problem(&text.spot, what, instead);
        }
        value
    }

    /// A path to a file. Relative ones in the configuration file start at its folder.
    pub(super) fn path(&mut self, section: &Section<'_>, field: &str) -> Option<PathBuf> {
        let text = self.text(section, field)?;
        self.path_of(&text)
    }

    pub(super) fn path_of(&mut self, text: &Text) -> Option<PathBuf> {
        if text.value.is_empty() {
            self.problem(&text.spot, "is empty", "Name a file.");
            return None;
        }
        let path = Path::new(text.value.as_str());
        Some(match (&text.spot.origin, &self.base) {
            (Origin::File { .. }, Some(base)) => base.join(path),
            _ => path.to_path_buf(),
        })
    }

    /// A path to a file that can be read.
    pub(super) fn readable(&mut self, section: &Section<'_>, field: &str) -> Option<PathBuf> {
        let path = self.path(section, field)?;
        self.content(&path, &section.at(field)).map(|_| path)
    }

    /// The content of the file at `path`, which `spot` names.
    pub(super) fn content(&mut self, path: &Path, spot: &Spot) -> Option<Zeroizing<Vec<u8>>> {
        match (self.read)(path) {
            Ok(content) => Some(content),
            Err(error) => {
                self.problem(
                    spot,
                    format!("{} cannot be read: {error}", path.display()),
                    "Name a file that the gateway may read.",
                );
                None
            }
        }
    }

    /// The value of the variable that `text` names.
    pub(super) fn variable_named(&mut self, text: &Text) -> Option<Zeroizing<String>> {
        // Neither message shows the text: it may be the secret itself, put here by mistake.
        if !text.showable || !is_variable_name(&text.value) {
            let instead = "Write its name alone, as MAIN_KEY.";
            let what = "is not a variable's name";
            self.problem(&text.spot, what, instead);
            return None;
        }
        self.used.insert(text.value.to_string());
        let value = (self.variable)(&text.value).map(Zeroizing::new);
        if value.is_none() {
            let what = "names a variable that is not set";
            self.problem(&text.spot, what, "Set it, or name another.");
        }
        value
    }

    /// A text that is given as `field` or in the file that `field_file` names. Both are a
    /// problem; so is neither, where it is `required`.
    pub(super) fn secret(
        &mut self,
        section: &Section<'_>,
        field: &str,
        required: bool,
    ) -> Option<(Secret, Spot)> {
        let file_field = format!("{field}_file");
        let (value, spot) = match (section.has(field), section.has(&file_field)) {
            (true, true) => {
                self.problem(
                    &section.at(field),
                    format!("is given twice, as {field} and as {file_field}"),
                    "Keep one of the two.",
                );
                return None;
            }
            (false, false) => {
                if required {
                    let instead = format!("Give {field}: \"${{NAME}}\", or {file_field}.");
                    self.missing(section, field, &instead);
                }
                return None;
            }
            (true, false) => {
                let text = self.text(section, field)?;
                (text.value, text.spot)
            }
            (false, true) => {
                let path = self.path(section, &file_field)?;
                let spot = section.at(&file_field);
                let content = self.content(&path, &spot)?;
                let Ok(text) = std::str::from_utf8(trim_line_end(&content)) else {
                    self.problem(&spot, "names a file that is not text", "Name another.");
                    return None;
                };
                (Zeroizing::new(text.to_owned()), spot)
            }
        };
        if value.is_empty() {
            self.problem(&spot, "is empty", "Give it a value.");
            return None;
        }
        if value.chars().any(char::is_control) {
            let instead = "It must be a single line of plain text.";
            self.problem(
                &spot,
                "contains a line end or another control character",
                instead,
            );
            return None;
        }
        Some((Secret::from(value), spot))
    }

    fn finding(&self, spot: &Spot, what: String, instead: String) -> Finding {
        Finding {
            file: self.file.clone(),
            origin: spot.origin.clone(),
            field: spot.field.clone(),
            what,
            instead,
        }
    }
}

/// The known field that a misspelt one probably stands for.
fn closest<'k>(given: &str, known: &[&'k str]) -> Option<&'k str> {
    let given = given.to_ascii_lowercase().replace('-', "_");
    known
        .iter()
        .map(|field| (distance(&given, field), *field))
        .filter(|(distance, field)| *distance <= field.len() / 3)
        .min()
        .map(|(_, field)| field)
}

/// The number of letters to insert, delete or replace to make one word of the other.
fn distance(a: &str, b: &str) -> usize {
    if a.len() > 64 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, to) in row.iter_mut().skip(1).zip(b.chars()) {
            let replaced = diagonal + usize::from(from != to);
            diagonal = *cell;
            *cell = replaced.min(*cell + 1).min(left + 1);
            left = *cell;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_right() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("listen", "listen"), 0);
    }

    #[test]
    fn near_words_are_suggested_and_far_ones_are_not() {
        let known = ["listen", "admin_listen", "domain"];
        assert_eq!(closest("listn", &known), Some("listen"));
        assert_eq!(closest("admin-listen", &known), Some("admin_listen"));
        assert_eq!(closest("frobnicate", &known), None);
    }

    #[test]
    fn unusual_parts_of_a_path_stand_in_quotes() {
        assert_eq!(join("buckets", "logs-*"), "buckets.\"logs-*\"");
        assert_eq!(join("", "server"), "server");
    }
}
