//! `cors` of a bucket's section: what browsers of other origins may do.

use std::sync::Arc;

use super::decode::{Decoder, Section, Text};
use super::tree::Node;
use crate::protocol::cors::{Glob, MAX_ITEMS, MAX_RULES, Rule, exposed, method};

/// The rules of a bucket. `None` where the store's count; an empty list where there are none at all.
pub(super) fn rules(d: &mut Decoder<'_>, s: &Section<'_>) -> Option<Arc<[Rule]>> {
    let items = d.list(s, "cors")?;
    if items.len() > MAX_RULES {
        let what = format!("has more than {MAX_RULES} rules");
        d.problem(&s.at("cors"), what, "Take some together.");
        return None;
    }
    let rules: Vec<Rule> = items
        .into_iter()
        .map(|(path, node)| rule(d, &path, node))
        .collect();
    Some(rules.into())
}

fn rule(d: &mut Decoder<'_>, path: &str, node: &Node) -> Rule {
    let known = [
        "allowed_origins",
        "allowed_methods",
        "allowed_headers",
        "expose_headers",
        "max_age_seconds",
    ];
    let s = d.section(Some(node), path, &known);
    for (field, instead) in [
        (
            "allowed_origins",
            "List them: [\"https://app.example.org\"], or [\"*\"] for any.",
        ),
        ("allowed_methods", "List them: [GET, HEAD]."),
    ] {
        if !s.has(field) || s.is_empty_list(field) {
            d.missing(&s, field, instead);
        }
    }
    Rule {
        origins: all(
            d,
            &s,
            "allowed_origins",
            Glob::origin,
            "Write it as browsers send it, with one `*` at most: https://app.example.org.",
        ),
        methods: all(
            d,
            &s,
            "allowed_methods",
            method,
            "Write them in capitals: [GET, PUT].",
        ),
        headers: all(
            d,
            &s,
            "allowed_headers",
            Glob::header,
            "Write a header's name, with one `*` at most: \"x-amz-*\".",
        ),
        expose: all(
            d,
            &s,
            "expose_headers",
            exposed,
            "Write a header's name: ETag.",
        ),
        max_age: d.number(&s, "max_age_seconds", 0..=86_400),
    }
}

/// The items of a list, as `parse` reads them.
fn all<T, E: std::fmt::Display>(
    d: &mut Decoder<'_>,
    s: &Section<'_>,
    field: &str,
    parse: impl Fn(&str) -> Result<T, E>,
    instead: &str,
) -> Vec<T> {
    let texts: Vec<Text> = d.texts(s, field).unwrap_or_default();
    if texts.len() > MAX_ITEMS {
        let what = format!("has more than {MAX_ITEMS} items");
        d.problem(&s.at(field), what, "Use a `*`, or another rule.");
    }
    texts
        .iter()
        .filter_map(|text| d.parsed(text, &parse, instead))
        .collect()
}
