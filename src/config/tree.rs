//! A configuration file as a tree of values, each with the place it came from.
//!
//! Decoding goes over this tree rather than straight into types, so that every problem can be
//! reported at once, with its place, and so that environment and flags are laid over the file by
//! the same paths before anything is decoded.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_yaml::Spanned;
use zeroize::Zeroizing;

use super::error::Origin;

/// Deeper than any configuration; keeps recursion shallow.
const MAX_DEPTH: usize = 32;

/// Enough events for some 100,000 users.
const MAX_EVENTS: usize = 20_000_000;

/// A value and where it was given.
#[derive(Clone)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) origin: Origin,
}

/// What YAML can hold. Texts may be secrets and are wiped when dropped.
#[derive(Clone)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Integer(i128),
    Float,
    Text(Zeroizing<String>),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// One field of a mapping.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_origin: Origin,
    pub(super) node: Node,
}

/// Text that is no YAML, and where it stops being so.
pub(super) struct Malformed {
    pub(super) what: String,
    pub(super) origin: Origin,
}

impl Node {
    /// A mapping without fields.
    pub(super) const fn empty() -> Self {
        Self {
            value: Value::Map(Vec::new()),
            origin: Origin::Nowhere,
        }
    }

    /// Reads a YAML document.
    pub(super) fn parse(text: &str) -> Result<Self, Malformed> {
        let options = serde_yaml::options! {
            with_snippet: false,
            strict_booleans: true,
            reject_unsupported_tags: true,
            budget: serde_yaml::budget! {
                max_depth: MAX_DEPTH,
                max_events: MAX_EVENTS,
                max_nodes: MAX_EVENTS,
                max_total_scalar_bytes: 256 * 1024 * 1024,
            },
        };
        match serde_yaml::from_str_with_options::<Spanned<Value>>(text, options) {
            Ok(spanned) => Ok(spanned.into()),
            // Nothing but white space and comments is an empty configuration.
            Err(_) if is_blank(text) => Ok(Self::empty()),
            Err(error) => Err(Malformed {
                origin: error.location().map_or(Origin::Nowhere, origin_of),
                what: message_of(&error),
            }),
        }
    }

    /// Lays `node` over whatever stands at `path`. A value on the way that is no mapping stays,
    /// for the decoder to complain about.
    pub(super) fn set(&mut self, path: &[&str], node: Self) {
        let Some((first, rest)) = path.split_first() else {
            *self = node;
            return;
        };
        if matches!(self.value, Value::Null) {
            self.value = Value::Map(Vec::new());
        }
        let Value::Map(entries) = &mut self.value else {
            return;
        };
        if let Some(entry) = entries.iter_mut().find(|entry| entry.key == *first) {
            entry.node.set(rest, node);
            return;
        }
        let mut fresh = Self::empty();
        fresh.set(rest, node);
        entries.push(Entry {
            key: (*first).to_owned(),
            key_origin: fresh.origin.clone(),
            node: fresh,
        });
    }

    /// Takes away whatever stands at `path`.
    pub(super) fn remove(&mut self, path: &[&str]) {
        let (Some((first, rest)), Value::Map(entries)) = (path.split_first(), &mut self.value)
        else {
            return;
        };
        if rest.is_empty() {
            entries.retain(|entry| entry.key != *first);
        } else if let Some(entry) = entries.iter_mut().find(|entry| entry.key == *first) {
            entry.node.remove(rest);
        }
    }
}

impl From<Spanned<Value>> for Node {
    fn from(spanned: Spanned<Value>) -> Self {
        Self {
            value: spanned.value,
            origin: origin_of(spanned.referenced),
        }
    }
}

impl Value {
    /// What it is, for messages.
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "empty",
            Self::Bool(_) => "true or false",
            Self::Integer(_) | Self::Float => "a number",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Value, E> {
        Ok(Value::Integer(value))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Value, E> {
        Ok(i128::try_from(value).map_or(Value::Float, Value::Integer))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value, E> {
        Ok(Value::Float)
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(Zeroizing::new(text.to_owned())))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::Text(Zeroizing::new(text)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element::<Spanned<Value>>()? {
            list.push(item.into());
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = fields.next_key::<Spanned<String>>()? {
            let value = fields.next_value::<Spanned<Value>>()?;
            entries.push(Entry {
                key: key.value,
                key_origin: origin_of(key.referenced),
                node: value.into(),
            });
        }
        Ok(Value::Map(entries))
    }
}

fn origin_of(location: serde_yaml::Location) -> Origin {
    match location.line() {
        0 => Origin::Nowhere,
        line => Origin::File {
            line,
            column: location.column(),
        },
    }
}

/// What the YAML library says, without the place, which stands before it already, and without
/// what it quotes, which may be part of a secret.
fn message_of(error: &serde_yaml::Error) -> String {
    let text = error.without_snippet().to_string();
    let message = text
        .split_once(" at line ")
        .map_or(&*text, |(first, _)| first);
    let mut shown = String::new();
    for (index, part) in message.split(['`', '"', '\'']).enumerate() {
        shown.push_str(if index % 2 == 0 { part } else { "(…)" });
    }
    shown
}

fn is_blank(text: &str) -> bool {
    text.lines().all(|line| {
        let line = line.trim();
        line.is_empty() || line.starts_with('#') || line == "---"
    })
}
