//! The policy of a browser upload: a signed document that says which forms it allows (S3 API: "Creating a POST policy").
//!
//! Reading and checking only; that it is signed is checked elsewhere, and first.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

use super::date::parse_iso8601;
use super::post_form::Fields;

/// Fields that need no condition: they are what the policy is checked with.
const EXEMPT: [&str; 5] = [
    "x-amz-signature",
    "policy",
    "file",
    "awsaccesskeyid",
    "signature",
];

/// Fields with this prefix need none either, and mean nothing.
const IGNORED: &str = "x-ignore-";

/// A form that its policy does not allow, or a policy that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// Not a policy (S3: `InvalidPolicyDocument`).
    #[error("Invalid Policy: {0}")]
    Invalid(&'static str),
    /// Its time is over (S3: `AccessDenied`).
    #[error("Invalid according to Policy: Policy expired.")]
    Expired,
    /// A condition does not hold (S3: `AccessDenied`).
    #[error("Invalid according to Policy: Policy Condition failed: {0}")]
    Failed(String),
    /// Fields that no condition is about (S3: `AccessDenied`).
    #[error("Invalid according to Policy: Extra input fields: {0}")]
    Extra(String),
    /// The file is longer than allowed (S3: `EntityTooLarge`).
    #[error("the file has {proposed} bytes, {max} are allowed")]
    TooLarge {
        /// Bytes of the file.
        proposed: u64,
        /// Most bytes allowed.
        max: u64,
    },
    /// The file is shorter than allowed (S3: `EntityTooSmall`).
    #[error("the file has {proposed} bytes, {min} are the least")]
    TooSmall {
        /// Bytes of the file.
        proposed: u64,
        /// Fewest bytes allowed.
        min: u64,
    },
}

/// A policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostPolicy {
    /// Unix seconds.
    expiration: i64,
    conditions: Vec<Condition>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Condition {
    /// The field (in lower case) has this value.
    Equals(String, String),
    /// The field begins so.
    StartsWith(String, String),
    /// The file's length in bytes, both ends included.
    Length(u64, u64),
}

/// What a policy is as JSON. Other fields, and fields given twice, are errors.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    expiration: String,
    conditions: Vec<Value>,
}

impl PostPolicy {
    /// Reads a policy as it stands in the form: JSON in base64.
    ///
    /// # Errors
    /// [`PolicyError::Invalid`].
    pub fn parse(base64: &str) -> Result<Self, PolicyError> {
        let invalid = PolicyError::Invalid;
        let bare: String = base64.split_ascii_whitespace().collect();
        let text = BASE64_STANDARD
            .decode(bare)
            .map_err(|_| invalid("not base64."))?;
        let text = String::from_utf8(text).map_err(|_| invalid("not UTF-8."))?;
        let document: Document = serde_json::from_str(&without_escaped_dollars(&text))
            .map_err(|_| invalid("not JSON with `expiration` and `conditions`."))?;
        let expiration = parse_iso8601(&document.expiration)
            .map_err(|_| invalid("`expiration` is not a date in ISO 8601."))?;
        let conditions = document
            .conditions
            .iter()
            .map(condition)
            .collect::<Result<_, _>>()?;
        Ok(Self {
            expiration,
            conditions,
        })
    }

    /// Whether the policy allows this form. `fields` have their variables filled in; `bucket` is that of the request,
    /// whatever a field of that name says; `length` is the file's; `now` is in unix seconds.
    ///
    /// # Errors
    /// [`PolicyError`].
    pub fn check(
        &self,
        fields: &Fields,
        bucket: &str,
        length: u64,
        now: i64,
    ) -> Result<(), PolicyError> {
        if now >= self.expiration {
            return Err(PolicyError::Expired);
        }
        let value = |name: &str| match name {
            "bucket" => bucket,
            _ => fields.get(name).unwrap_or_default(),
        };
        let mut range = None;
        for condition in &self.conditions {
            let holds = match condition {
                Condition::Equals(name, wanted) => value(name) == wanted,
                // S3 takes a content type with commas for a list.
                Condition::StartsWith(name, start) if name == "content-type" => value(name)
                    .split(',')
                    .all(|kind| kind.trim_start().starts_with(start)),
                Condition::StartsWith(name, start) => value(name).starts_with(start),
                Condition::Length(min, max) => {
                    if !(*min..=*max).contains(&length) {
                        range.get_or_insert((*min, *max));
                    }
                    true
                }
            };
            if !holds {
                return Err(PolicyError::Failed(condition.to_string()));
            }
        }
        let extra: Vec<&str> = fields
            .iter()
            .map(|(name, _)| name)
            .chain(["bucket"])
            .filter(|name| !self.covers(name))
            .collect();
        if !extra.is_empty() {
            return Err(PolicyError::Extra(extra.join(", ")));
        }
        match range {
            None => Ok(()),
            Some((min, _)) if length < min => Err(PolicyError::TooSmall {
                proposed: length,
                min,
            }),
            Some((_, max)) => Err(PolicyError::TooLarge {
                proposed: length,
                max,
            }),
        }
    }

    /// Whether a condition is about this field, or none has to be.
    fn covers(&self, name: &str) -> bool {
        EXEMPT.contains(&name)
            || name.starts_with(IGNORED)
            || self.conditions.iter().any(|condition| match condition {
                Condition::Equals(field, _) | Condition::StartsWith(field, _) => field == name,
                Condition::Length(..) => false,
            })
    }
}

impl std::fmt::Display for Condition {
    /// As S3 shows it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Equals(name, value) => write!(f, "[\"eq\", \"${name}\", \"{value}\"]"),
            Self::StartsWith(name, start) => {
                write!(f, "[\"starts-with\", \"${name}\", \"{start}\"]")
            }
            Self::Length(min, max) => write!(f, "[\"content-length-range\", {min}, {max}]"),
        }
    }
}

fn condition(value: &Value) -> Result<Condition, PolicyError> {
    let invalid = PolicyError::Invalid;
    match value {
        Value::Object(pairs) => {
            let mut pairs = pairs.iter();
            match (pairs.next(), pairs.next()) {
                (Some((name, Value::String(value))), None) if !name.is_empty() => {
                    Ok(Condition::Equals(name.to_ascii_lowercase(), value.clone()))
                }
                _ => Err(invalid(
                    "a simple condition is one field's name and its value.",
                )),
            }
        }
        Value::Array(items) => match items.as_slice() {
            [Value::String(operator), first, second] => {
                three(&operator.to_ascii_lowercase(), first, second)
            }
            _ => Err(invalid("a condition that is a list has three items.")),
        },
        _ => Err(invalid("a condition is neither a mapping nor a list.")),
    }
}

fn three(operator: &str, first: &Value, second: &Value) -> Result<Condition, PolicyError> {
    let invalid = PolicyError::Invalid;
    if operator == "content-length-range" {
        let bad = invalid("content-length-range needs two whole numbers, the smaller first.");
        return match (number(first), number(second)) {
            (Some(min), Some(max)) if min <= max => Ok(Condition::Length(min, max)),
            _ => Err(bad),
        };
    }
    let (Value::String(field), Value::String(value)) = (first, second) else {
        return Err(invalid("a condition needs texts."));
    };
    let field = field
        .trim_start_matches('\\')
        .strip_prefix('$')
        .filter(|field| !field.is_empty())
        .ok_or(invalid("a condition names its field as \"$field\"."))?
        .to_ascii_lowercase();
    match operator {
        "eq" => Ok(Condition::Equals(field, value.clone())),
        "starts-with" => Ok(Condition::StartsWith(field, value.clone())),
        _ => Err(invalid("an operator that is not known.")),
    }
}

/// A whole number, also as a text.
fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok(),
        _ => None,
    }
}

/// S3 asks for `\$` within a policy's texts, which JSON does not have.
fn without_escaped_dollars(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, chars.peek()) {
            ('\\', Some('$')) => {}
            ('\\', Some(_)) => {
                out.push(c);
                out.extend(chars.next());
            }
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: i64 = 1_800_000_000;

    fn policy(text: &str) -> Result<PostPolicy, PolicyError> {
        PostPolicy::parse(&BASE64_STANDARD.encode(text))
    }

    fn conditions(text: &str) -> PostPolicy {
        policy(&format!(
            "{{\"expiration\": \"2100-01-01T00:00:00.000Z\", \"conditions\": {text}}}"
        ))
        .unwrap()
    }

    fn check(conditions_: &str, fields: &[(&str, &str)], length: u64) -> Result<(), PolicyError> {
        let fields: Fields = fields
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
            .collect();
        conditions(conditions_).check(&fields, "b", length, NOW)
    }

    #[test]
    fn the_example_of_the_documentation_holds() {
        let policy = policy(
            r#"{ "expiration": "2007-12-01T12:00:00.000Z",
            "conditions": [
                {"acl": "public-read" },
                {"bucket": "johnsmith" },
                ["starts-with", "$key", "user/eric/"]
            ]
        }"#,
        )
        .unwrap();
        let fields: Fields = [("ACL", "public-read"), ("Key", "user/eric/x")]
            .into_iter()
            .map(|(n, v)| (n.to_owned(), v.to_owned()))
            .collect();
        let before = 1_196_510_399;
        assert_eq!(policy.check(&fields, "johnsmith", 1, before), Ok(()));
        assert_eq!(
            policy.check(&fields, "johnsmith", 1, before + 1),
            Err(PolicyError::Expired)
        );
        assert!(matches!(
            policy.check(&fields, "another", 1, before),
            Err(PolicyError::Failed(_))
        ));
    }

    #[test]
    fn conditions_hold_or_fail() {
        let all =
            r#"[["EQ", "$Key", "a"], ["Starts-With", "$content-type", "image/"], {"bUcKeT": "b"}]"#;
        assert_eq!(
            check(
                all,
                &[("key", "a"), ("content-type", "image/png, image/gif")],
                1
            ),
            Ok(())
        );
        assert_eq!(
            check(
                all,
                &[("key", "a"), ("content-type", "image/png, text/html")],
                1
            ),
            Err(PolicyError::Failed(
                "[\"starts-with\", \"$content-type\", \"image/\"]".into()
            ))
        );
        assert_eq!(
            check(all, &[("key", "A"), ("content-type", "image/png")], 1),
            Err(PolicyError::Failed("[\"eq\", \"$key\", \"a\"]".into()))
        );
        // A field that is not there is an empty one.
        assert!(check(r#"[{"bucket": "b"}, {"acl": "x"}]"#, &[], 1).is_err());
        assert_eq!(
            check(r#"[{"bucket": "b"}, ["starts-with", "$acl", ""]]"#, &[], 1),
            Ok(())
        );
        // The bucket is the request's.
        assert!(check(r#"[{"bucket": "c"}]"#, &[("bucket", "c")], 1).is_err());
    }

    #[test]
    fn every_field_needs_a_condition_but_those_exempt() {
        let exempt = [
            ("policy", "p"),
            ("x-amz-signature", "s"),
            ("x-ignore-me", "1"),
            ("AWSAccessKeyId", "a"),
            ("signature", "s"),
        ];
        assert_eq!(check(r#"[{"bucket": "b"}]"#, &exempt, 1), Ok(()));
        assert_eq!(
            check(r#"[{"bucket": "b"}]"#, &[("key", "k"), ("submit", "go")], 1),
            Err(PolicyError::Extra("key, submit".into()))
        );
        assert_eq!(
            check("[]", &[], 1),
            Err(PolicyError::Extra("bucket".into()))
        );
    }

    #[test]
    fn lengths_are_bounded() {
        let range = r#"[{"bucket": "b"}, ["content-length-range", 5, "10"]]"#;
        for (length, expected) in [
            (
                4,
                Err(PolicyError::TooSmall {
                    proposed: 4,
                    min: 5,
                }),
            ),
            (5, Ok(())),
            (10, Ok(())),
            (
                11,
                Err(PolicyError::TooLarge {
                    proposed: 11,
                    max: 10,
                }),
            ),
        ] {
            assert_eq!(check(range, &[], length), expected);
        }
        let two =
            r#"[{"bucket": "b"}, ["content-length-range", 0, 10], ["content-length-range", 0, 3]]"#;
        assert!(matches!(
            check(two, &[], 4),
            Err(PolicyError::TooLarge { max: 3, .. })
        ));
    }

    #[test]
    fn escaped_dollars_are_dollars() {
        let policy =
            conditions(r#"[["starts-with", "\$key", "\$a\\\"\u0041"], ["eq", "\\$acl", "x"]]"#);
        assert_eq!(
            policy.conditions,
            [
                Condition::StartsWith("key".into(), "$a\\\"A".into()),
                Condition::Equals("acl".into(), "x".into()),
            ]
        );
    }

    #[test]
    fn what_is_no_policy_is_refused() {
        let with = |conditions: &str| {
            format!("{{\"expiration\": \"2100-01-01T00:00:00Z\", \"conditions\": {conditions}}}")
        };
        for text in [
            String::new(),
            "{}".into(),
            "[]".into(),
            "{".into(),
            "{\"expiration\": \"2100-01-01T00:00:00Z\"}".into(),
            "{\"conditions\": []}".into(),
            "{\"EXPIRATION\": \"2100-01-01T00:00:00Z\", \"conditions\": []}".into(),
            "{\"expiration\": \"tomorrow\", \"conditions\": []}".into(),
            "{\"expiration\": \"2100-01-01T00:00:00Z\", \"conditions\": [], \"more\": 1}".into(),
            "{\"expiration\": \"2100-01-01T00:00:00Z\", \"conditions\": [], \"conditions\": []}"
                .into(),
            with("[{}]"),
            with("[1]"),
            with("[{\"a\": \"1\", \"b\": \"2\"}]"),
            with("[{\"a\": 1}]"),
            with("[[\"eq\", \"$a\"]]"),
            with("[[\"eq\", \"a\", \"b\"]]"),
            with("[[\"eq\", \"$\", \"b\"]]"),
            with("[[\"like\", \"$a\", \"b\"]]"),
            with("[[\"content-length-range\", 0]]"),
            with("[[\"content-length-range\", -1, 0]]"),
            with("[[\"content-length-range\", 2, 1]]"),
            with("[[\"content-length-range\", 0.5, 1]]"),
            with("[[\"content-length-range\", \"\", 1]]"),
        ] {
            assert!(
                matches!(policy(&text), Err(PolicyError::Invalid(_))),
                "{text}"
            );
        }
        assert!(matches!(
            PostPolicy::parse("%%%"),
            Err(PolicyError::Invalid(_))
        ));
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_read(text in ".*", json in "[\\[\\]{}\",:a$\\\\0-9]*") {
            let _ = PostPolicy::parse(&text);
            let _ = policy(&text);
            let _ = policy(&format!("{{\"expiration\": \"2100-01-01T00:00:00Z\", \"conditions\": [{json}]}}"));
        }

        #[test]
        fn a_starts_with_holds_for_beginnings_alone(value in "[ab]{0,4}", start in "[ab]{0,4}") {
            let text = format!(r#"[{{"bucket": "b"}}, ["starts-with", "$key", "{start}"]]"#);
            prop_assert_eq!(check(&text, &[("key", &value)], 0).is_ok(), value.starts_with(&start));
        }
    }
}
