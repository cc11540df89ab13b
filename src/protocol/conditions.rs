//! Conditional requests: `If-Match`, `If-None-Match`, `If-Modified-Since`, `If-Unmodified-Since`,
//! and the `x-amz-copy-source-if-*` forms.
//!
//! Evaluation follows RFC 9110, section 13.2.2, which is also what S3 documents for its
//! combinations: an ETag condition makes the date condition beside it irrelevant.

use http::header::{IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_UNMODIFIED_SINCE};
use http::{HeaderMap, HeaderName};

use super::date::parse_http_date;

/// The object a condition is held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Current<'a> {
    /// Its ETag, with or without quotes.
    pub etag: &'a str,
    /// When it was last modified, unix seconds.
    pub last_modified: i64,
}

/// What to do with the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Carry it out.
    Proceed,
    /// Answer 304 without a body.
    NotModified,
    /// Answer 412.
    PreconditionFailed,
    /// A write asked for an object to match and there is none: answer 404 `NoSuchKey`.
    NoSuchObject,
}

/// The conditions of one request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conditions {
    if_match: Option<Tags>,
    if_none_match: Option<Tags>,
    if_modified_since: Option<i64>,
    if_unmodified_since: Option<i64>,
}

/// The value of `If-Match` or `If-None-Match`.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Tags {
    /// `*`
    Any,
    /// A list; each with its weakness.
    List(Vec<Tag>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Tag {
    weak: bool,
    /// Without quotes.
    opaque: String,
}

impl Conditions {
    /// Reads the conditions on the target of the request. Dates that are none are ignored (RFC 9110).
    #[must_use]
    pub fn from_headers(headers: &HeaderMap) -> Self {
        Self::from_names(
            headers,
            [
                IF_MATCH,
                IF_NONE_MATCH,
                IF_MODIFIED_SINCE,
                IF_UNMODIFIED_SINCE,
            ],
        )
    }

    /// Reads the conditions on the source of a copy.
    #[must_use]
    pub fn from_copy_source(headers: &HeaderMap) -> Self {
        Self::from_names(
            headers,
            [
                "x-amz-copy-source-if-match",
                "x-amz-copy-source-if-none-match",
                "x-amz-copy-source-if-modified-since",
                "x-amz-copy-source-if-unmodified-since",
            ]
            .map(HeaderName::from_static),
        )
    }

    fn from_names(headers: &HeaderMap, names: [HeaderName; 4]) -> Self {
        let [if_match, if_none_match, modified, unmodified] = names;
        let date = |name: HeaderName| {
            headers
                .get(name)
                .and_then(|value| value.to_str().ok())
                .and_then(|value| parse_http_date(value).ok())
        };
        Self {
            if_match: Tags::from_headers(headers, if_match),
            if_none_match: Tags::from_headers(headers, if_none_match),
            if_modified_since: date(modified),
            if_unmodified_since: date(unmodified),
        }
    }

    /// Whether there is nothing to evaluate.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether `If-None-Match: *` is there: create, never overwrite.
    #[must_use]
    pub fn requires_absence(&self) -> bool {
        self.if_none_match == Some(Tags::Any)
    }

    /// Whether `If-Match` is there: overwrite only what is known.
    #[must_use]
    pub fn requires_match(&self) -> bool {
        self.if_match.is_some()
    }

    /// Evaluates GET and HEAD of an object that exists.
    #[must_use]
    pub fn evaluate_read(&self, current: Current<'_>) -> Outcome {
        self.evaluate(current, Outcome::NotModified)
    }

    /// Evaluates the source of a copy; there is no 304, everything unmet is 412.
    #[must_use]
    pub fn evaluate_copy_source(&self, current: Current<'_>) -> Outcome {
        self.evaluate(current, Outcome::PreconditionFailed)
    }

    /// Evaluates a write (PUT, DELETE, CompleteMultipartUpload) against what stands at the key now.
    /// Only `If-Match`, `If-None-Match` and, without `If-Match`, `If-Unmodified-Since` bear on writes.
    #[must_use]
    pub fn evaluate_write(&self, current: Option<Current<'_>>) -> Outcome {
        match (&self.if_match, current) {
            (Some(_), None) => return Outcome::NoSuchObject,
            (Some(tags), Some(current)) if !tags.matches_strongly(current.etag) => {
                return Outcome::PreconditionFailed;
            }
            (None, Some(current))
                if self
                    .if_unmodified_since
                    .is_some_and(|limit| current.last_modified > limit) =>
            {
                return Outcome::PreconditionFailed;
            }
            _ => {}
        }
        match (&self.if_none_match, current) {
            (Some(tags), Some(current)) if tags.matches_weakly(current.etag) => {
                Outcome::PreconditionFailed
            }
            _ => Outcome::Proceed,
        }
    }

    fn evaluate(&self, current: Current<'_>, unmodified: Outcome) -> Outcome {
        let holds = match (&self.if_match, self.if_unmodified_since) {
            (Some(tags), _) => tags.matches_strongly(current.etag),
            (None, Some(limit)) => current.last_modified <= limit,
            (None, None) => true,
        };
        if !holds {
            return Outcome::PreconditionFailed;
        }
        let changed = match (&self.if_none_match, self.if_modified_since) {
            (Some(tags), _) => !tags.matches_weakly(current.etag),
            (None, Some(since)) => current.last_modified > since,
            (None, None) => true,
        };
        if changed {
            Outcome::Proceed
        } else {
            unmodified
        }
    }
}

/// Whether a `Range` may be honoured beside this `If-Range` (RFC 9110, section 13.1.5): a strong ETag
/// that is the current one, or exactly the date of last modification.
#[must_use]
pub fn if_range_holds(value: &str, current: Current<'_>) -> bool {
    let value = value.trim();
    match parse_http_date(value) {
        Ok(date) => date == current.last_modified,
        Err(_) => {
            let mut tags = Tags::default_list();
            tags.parse(value);
            tags.matches_strongly(current.etag)
        }
    }
}

impl Tags {
    fn default_list() -> Self {
        Self::List(Vec::new())
    }

    fn from_headers(headers: &HeaderMap, name: HeaderName) -> Option<Self> {
        let mut tags: Option<Self> = None;
        for value in headers.get_all(name) {
            let text = String::from_utf8_lossy(value.as_bytes());
            tags.get_or_insert_with(Self::default_list).parse(&text);
        }
        tags
    }

    /// Adds what a header value lists. Quotes may be missing; a comma inside quotes does not separate.
    fn parse(&mut self, value: &str) {
        let mut rest = value;
        loop {
            rest = rest.trim_start_matches([' ', '\t', ',']);
            if rest.is_empty() {
                return;
            }
            let (weak, from) = match rest.strip_prefix("W/") {
                Some(from) => (true, from),
                None => (false, rest),
            };
            let quoted = from
                .strip_prefix('"')
                .and_then(|inner| inner.split_once('"'));
            let opaque = match quoted {
                Some((opaque, after)) => {
                    rest = after;
                    opaque
                }
                None => {
                    let (opaque, after) = from.split_once(',').unwrap_or((from, ""));
                    rest = after;
                    let opaque = opaque.trim_matches([' ', '\t', '"']);
                    if opaque == "*" && !weak {
                        *self = Self::Any;
                        return;
                    }
                    opaque
                }
            };
            if let Self::List(list) = self {
                list.push(Tag {
                    weak,
                    opaque: opaque.to_owned(),
                });
            }
        }
    }

    fn matches_strongly(&self, etag: &str) -> bool {
        let (weak, etag) = bare(etag);
        match self {
            Self::Any => true,
            Self::List(list) => !weak && list.iter().any(|tag| !tag.weak && tag.opaque == etag),
        }
    }

    fn matches_weakly(&self, etag: &str) -> bool {
        let (_, etag) = bare(etag);
        match self {
            Self::Any => true,
            Self::List(list) => list.iter().any(|tag| tag.opaque == etag),
        }
    }
}

/// Weakness and text of an ETag with or without quotes.
fn bare(etag: &str) -> (bool, &str) {
    let (weak, etag) = match etag.strip_prefix("W/") {
        Some(rest) => (true, rest),
        None => (false, etag),
    };
    let inner = etag
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    (weak, inner.unwrap_or(etag))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const SAME: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const NOW: Current<'_> = Current {
        etag: "\"abc\"",
        last_modified: 784_111_777,
    };

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(
                HeaderName::from_static(name),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        map
    }

    fn read(pairs: &[(&'static str, &str)]) -> Outcome {
        Conditions::from_headers(&headers(pairs)).evaluate_read(NOW)
    }

    #[test]
    fn reads() {
        use Outcome::{NotModified, PreconditionFailed, Proceed};
        for (pairs, want) in [
            (&[][..], Proceed),
            (&[("if-match", "\"abc\"")], Proceed),
            (&[("if-match", "abc")], Proceed),
            (&[("if-match", "*")], Proceed),
            (&[("if-match", "\"x\", \"abc\"")], Proceed),
            (&[("if-match", "\"x\""), ("if-match", "\"abc\"")], Proceed),
            (&[("if-match", "W/\"abc\"")], PreconditionFailed),
            (&[("if-match", "\"x,abc\"")], PreconditionFailed),
            (&[("if-match", "")], PreconditionFailed),
            (&[("if-none-match", "\"abc\"")], NotModified),
            (&[("if-none-match", "W/\"abc\"")], NotModified),
            (&[("if-none-match", "x , abc")], NotModified),
            (&[("if-none-match", "*")], NotModified),
            (&[("if-none-match", "\"x\"")], Proceed),
            (&[("if-modified-since", SAME)], NotModified),
            (&[("if-modified-since", BEFORE)], Proceed),
            (&[("if-modified-since", "yesterday")], Proceed),
            (&[("if-unmodified-since", SAME)], Proceed),
            (&[("if-unmodified-since", BEFORE)], PreconditionFailed),
            // S3's documented combinations.
            (
                &[("if-match", "abc"), ("if-unmodified-since", BEFORE)],
                Proceed,
            ),
            (
                &[("if-none-match", "abc"), ("if-modified-since", BEFORE)],
                NotModified,
            ),
            (
                &[("if-none-match", "x"), ("if-modified-since", SAME)],
                Proceed,
            ),
            (
                &[("if-match", "x"), ("if-none-match", "abc")],
                PreconditionFailed,
            ),
        ] {
            assert_eq!(read(pairs), want, "{pairs:?}");
        }
    }

    #[test]
    fn copies() {
        let copy = |pairs: &[(&'static str, &str)]| {
            Conditions::from_copy_source(&headers(pairs)).evaluate_copy_source(NOW)
        };
        assert_eq!(
            copy(&[
                ("x-amz-copy-source-if-match", "abc"),
                ("x-amz-copy-source-if-unmodified-since", BEFORE)
            ]),
            Outcome::Proceed
        );
        assert_eq!(
            copy(&[
                ("x-amz-copy-source-if-none-match", "abc"),
                ("x-amz-copy-source-if-modified-since", BEFORE)
            ]),
            Outcome::PreconditionFailed
        );
        assert_eq!(
            copy(&[("x-amz-copy-source-if-modified-since", SAME)]),
            Outcome::PreconditionFailed
        );
        assert_eq!(copy(&[("if-match", "x")]), Outcome::Proceed);
    }

    #[test]
    fn writes() {
        let write = |pairs: &[(&'static str, &str)], current| {
            Conditions::from_headers(&headers(pairs)).evaluate_write(current)
        };
        assert_eq!(write(&[("if-none-match", "*")], None), Outcome::Proceed);
        assert_eq!(
            write(&[("if-none-match", "*")], Some(NOW)),
            Outcome::PreconditionFailed
        );
        assert_eq!(write(&[("if-match", "abc")], Some(NOW)), Outcome::Proceed);
        assert_eq!(
            write(&[("if-match", "x")], Some(NOW)),
            Outcome::PreconditionFailed
        );
        assert_eq!(write(&[("if-match", "*")], None), Outcome::NoSuchObject);
        assert_eq!(
            write(&[("if-unmodified-since", BEFORE)], Some(NOW)),
            Outcome::PreconditionFailed
        );
        let conditions = Conditions::from_headers(&headers(&[("if-none-match", "*")]));
        assert!(conditions.requires_absence() && !conditions.requires_match());
        assert!(!conditions.is_empty() && Conditions::default().is_empty());
    }

    #[test]
    fn if_range() {
        assert!(if_range_holds("\"abc\"", NOW));
        assert!(if_range_holds(SAME, NOW));
        assert!(!if_range_holds("W/\"abc\"", NOW));
        assert!(!if_range_holds(BEFORE, NOW));
    }

    proptest! {
        #[test]
        fn never_panics(value in "[ -~\u{e9}]{0,40}") {
            let mut tags = Tags::default_list();
            tags.parse(&value);
            let _ = (tags.matches_weakly(&value), tags.matches_strongly(&value));
            let _ = if_range_holds(&value, NOW);
        }

        #[test]
        fn a_quoted_tag_is_found(tag in "[!#-~]{0,20}", other in "[!#-~]{0,20}") {
            let mut tags = Tags::default_list();
            tags.parse(&format!("W/\"{other}\", \"{tag}\""));
            let quoted = |tag: &str| format!("\"{tag}\"");
            prop_assert!(tags.matches_strongly(&quoted(&tag)));
            prop_assert!(tags.matches_weakly(&quoted(&other)));
        }
    }
}
