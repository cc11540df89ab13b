//! Rules for browsers of other origins, and whether one matches a request (S3 API: "Using cross-origin resource sharing";
//! Fetch standard, "CORS protocol").

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use thiserror::Error;

/// Most rules of one bucket (S3: 100).
pub const MAX_RULES: usize = 100;

/// Most origins, methods or headers of one rule.
pub const MAX_ITEMS: usize = 100;

/// Longest origin or header of a rule or a request, in bytes.
const MAX_TEXT: usize = 2048;

/// Most headers that one preflight asks for.
const MAX_ASKED: usize = 256;

/// Methods that a rule may name.
pub const METHODS: [Method; 5] = [
    Method::GET,
    Method::PUT,
    Method::POST,
    Method::DELETE,
    Method::HEAD,
];

/// What cannot stand in a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RuleError {
    /// Empty, too long, or with characters that no header can carry.
    #[error("is empty, too long, or not plain ASCII")]
    Text,
    /// More than one `*`.
    #[error("has more than one `*`")]
    Stars,
    /// A method other than [`METHODS`].
    #[error("is not one of GET, PUT, POST, DELETE, HEAD")]
    Method,
    /// Not a header's name.
    #[error("is not the name of a header")]
    Header,
}

/// A text in which one `*` at most stands for any run of characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob(String);

impl Glob {
    /// Reads an origin of a rule.
    ///
    /// # Errors
    /// [`RuleError`].
    pub fn origin(text: &str) -> Result<Self, RuleError> {
        if text.is_empty() || text.len() > MAX_TEXT || !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(RuleError::Text);
        }
        if text.matches('*').count() > 1 {
            return Err(RuleError::Stars);
        }
        Ok(Self(text.to_owned()))
    }

    /// Reads a header of a rule; compared without case.
    ///
    /// # Errors
    /// [`RuleError`].
    pub fn header(text: &str) -> Result<Self, RuleError> {
        let Self(text) = Self::origin(text)?;
        // `*` is a character of header names as it is.
        HeaderName::from_bytes(text.as_bytes()).map_err(|_| RuleError::Header)?;
        Ok(Self(text.to_ascii_lowercase()))
    }

    fn matches(&self, text: &str) -> bool {
        match self.0.split_once('*') {
            None => self.0 == text,
            Some((start, end)) => {
                text.len() >= start.len() + end.len()
                    && text.starts_with(start)
                    && text.ends_with(end)
            }
        }
    }
}

/// One rule. The first of a bucket that matches counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rule {
    /// Origins that it is for.
    pub origins: Vec<Glob>,
    /// Methods that it allows.
    pub methods: Vec<Method>,
    /// Request headers that it allows.
    pub headers: Vec<Glob>,
    /// Answer headers that scripts may see, as they are written.
    pub expose: Vec<String>,
    /// Seconds for which a browser may keep the answer to a preflight.
    pub max_age: Option<u32>,
}

/// Reads a method of a rule.
///
/// # Errors
/// [`RuleError::Method`].
pub fn method(text: &str) -> Result<Method, RuleError> {
    METHODS
        .into_iter()
        .find(|method| method.as_str() == text)
        .ok_or(RuleError::Method)
}

/// Reads an exposed header of a rule.
///
/// # Errors
/// [`RuleError::Header`].
pub fn exposed(text: &str) -> Result<String, RuleError> {
    HeaderName::from_bytes(text.as_bytes())
        .ok()
        .filter(|_| text.len() <= MAX_TEXT)
        .map(|_| text.to_owned())
        .ok_or(RuleError::Header)
}

/// A preflight that does not say what it asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PreflightError {
    /// No `Origin`, or more than one.
    #[error("Insufficient information. Origin request header needed.")]
    Origin,
    /// No `Access-Control-Request-Method`, or not one that a rule could name.
    #[error("Invalid Access-Control-Request-Method.")]
    Method,
    /// In `Access-Control-Request-Headers` stands what is no header's name, or too much.
    #[error("Invalid Access-Control-Request-Headers.")]
    Headers,
}

/// What a browser asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    origin: String,
    /// As it came: a method that no rule can name matches none.
    method: String,
    /// In lower case.
    headers: Vec<String>,
    preflight: bool,
}

impl Asked {
    /// Reads a preflight (an `OPTIONS` request).
    ///
    /// # Errors
    /// [`PreflightError`].
    pub fn preflight(headers: &HeaderMap) -> Result<Self, PreflightError> {
        let origin = single(headers, &ORIGIN).ok_or(PreflightError::Origin)?;
        let method = single(headers, &ACCESS_CONTROL_REQUEST_METHOD)
            .filter(|text| method(text).is_ok())
            .ok_or(PreflightError::Method)?;
        Ok(Self {
            origin: origin.to_owned(),
            method: method.to_owned(),
            headers: request_headers(headers).ok_or(PreflightError::Headers)?,
            preflight: true,
        })
    }

    /// Reads any other request. Nothing where it does not come from another origin. As at S3,
    /// `Access-Control-Request-Method` counts in place of the method where it is there.
    #[must_use]
    pub fn actual(method: &Method, headers: &HeaderMap) -> Option<Self> {
        let origin = single(headers, &ORIGIN)?;
        let method = single(headers, &ACCESS_CONTROL_REQUEST_METHOD).unwrap_or(method.as_str());
        Some(Self {
            origin: origin.to_owned(),
            method: method.to_owned(),
            headers: Vec::new(),
            preflight: false,
        })
    }

    /// The method that is asked for.
    #[must_use]
    pub fn method(&self) -> &str {
        &self.method
    }

    /// The headers of the answer, where a rule matches.
    #[must_use]
    pub fn answer(&self, rules: &[Rule]) -> Option<HeaderMap> {
        rules.iter().find_map(|rule| self.answer_of(rule))
    }

    fn answer_of(&self, rule: &Rule) -> Option<HeaderMap> {
        let origin = rule.origins.iter().find(|o| o.matches(&self.origin))?;
        if !rule.methods.iter().any(|m| m.as_str() == self.method) {
            return None;
        }
        let asked = &self.headers;
        let allowed = |name: &String| rule.headers.iter().any(|glob| glob.matches(name));
        if !asked.iter().all(allowed) {
            return None;
        }
        let mut answer = HeaderMap::new();
        let mut set = |name: HeaderName, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                answer.insert(name, value);
            }
        };
        if origin.0 == "*" {
            set(ACCESS_CONTROL_ALLOW_ORIGIN, "*");
        } else {
            set(ACCESS_CONTROL_ALLOW_ORIGIN, &self.origin);
            set(ACCESS_CONTROL_ALLOW_CREDENTIALS, "true");
        }
        let join = |names: Vec<&str>| names.join(", ");
        set(
            ACCESS_CONTROL_ALLOW_METHODS,
            &join(rule.methods.iter().map(Method::as_str).collect()),
        );
        if !asked.is_empty() {
            set(ACCESS_CONTROL_ALLOW_HEADERS, &asked.join(", "));
        }
        if !rule.expose.is_empty() {
            set(
                ACCESS_CONTROL_EXPOSE_HEADERS,
                &join(rule.expose.iter().map(String::as_str).collect()),
            );
        }
        if let Some(seconds) = rule.max_age.filter(|_| self.preflight) {
            set(ACCESS_CONTROL_MAX_AGE, &seconds.to_string());
        }
        Some(answer)
    }
}

/// What `Vary` must say of answers that depend on the above.
#[must_use]
pub fn vary() -> (HeaderName, HeaderValue) {
    let value = "Origin, Access-Control-Request-Headers, Access-Control-Request-Method";
    (VARY, HeaderValue::from_static(value))
}

/// The one value of a header, if it is short and visible.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let (value, None) = (values.next()?, values.next()) else {
        return None;
    };
    let text = value.to_str().ok()?.trim();
    (!text.is_empty() && text.len() <= MAX_TEXT).then_some(text)
}

/// The names in `Access-Control-Request-Headers`.
fn request_headers(headers: &HeaderMap) -> Option<Vec<String>> {
    let mut names = Vec::new();
    for value in headers.get_all(ACCESS_CONTROL_REQUEST_HEADERS) {
        for name in value.to_str().ok()?.split(',') {
            let name = name.trim();
            if name.is_empty() {
                continue;
            }
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            if names.len() == MAX_ASKED {
                return None;
            }
            names.push(name.as_str().to_owned());
        }
    }
    Some(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rule(origins: &[&str], methods: &[Method], headers: &[&str]) -> Rule {
        Rule {
            origins: origins.iter().map(|o| Glob::origin(o).unwrap()).collect(),
            methods: methods.to_vec(),
            headers: headers.iter().map(|h| Glob::header(h).unwrap()).collect(),
            expose: vec![
                exposed("ETag").unwrap(),
                exposed("x-amz-request-id").unwrap(),
            ],
            max_age: Some(3000),
        }
    }

    fn asking(pairs: &[(&str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap()))
            .collect()
    }

    fn preflight(origin: &str, method: &str, headers: &str) -> Asked {
        let mut asked = asking(&[
            ("origin", origin),
            ("access-control-request-method", method),
        ]);
        if !headers.is_empty() {
            asked.insert(ACCESS_CONTROL_REQUEST_HEADERS, headers.parse().unwrap());
        }
        Asked::preflight(&asked).unwrap()
    }

    #[test]
    fn a_preflight_is_answered_by_the_first_rule_that_matches() {
        let rules = [
            rule(
                &["https://*.example.org"],
                &[Method::PUT, Method::POST],
                &["content-*", "X-Amz-Date"],
            ),
            rule(&["*"], &[Method::GET], &[]),
        ];
        let answer = preflight("https://a.example.org", "PUT", "Content-Type, x-amz-date")
            .answer(&rules)
            .unwrap();
        let expected = asking(&[
            ("access-control-allow-origin", "https://a.example.org"),
            ("access-control-allow-credentials", "true"),
            ("access-control-allow-methods", "PUT, POST"),
            ("access-control-allow-headers", "content-type, x-amz-date"),
            ("access-control-expose-headers", "ETag, x-amz-request-id"),
            ("access-control-max-age", "3000"),
        ]);
        assert_eq!(answer, expected);
        let answer = preflight("https://elsewhere", "GET", "")
            .answer(&rules)
            .unwrap();
        assert_eq!(answer.get("access-control-allow-origin").unwrap(), "*");
        assert!(!answer.contains_key("access-control-allow-credentials"));
        assert!(!answer.contains_key("access-control-allow-headers"));
        for (origin, method, headers) in [
            ("https://elsewhere", "PUT", ""),
            ("https://a.example.org", "DELETE", ""),
            ("https://a.example.org", "PUT", "content-type, x-other"),
            ("http://a.example.org", "PUT", ""),
            ("https://A.EXAMPLE.ORG", "PUT", ""),
            ("https://elsewhere", "GET", "range"),
        ] {
            assert_eq!(
                preflight(origin, method, headers).answer(&rules),
                None,
                "{origin} {method} {headers}"
            );
        }
    }

    #[test]
    fn a_preflight_without_origin_or_method_is_none() {
        assert_eq!(Asked::preflight(&asking(&[])), Err(PreflightError::Origin));
        let origin = ("origin", "https://a");
        assert_eq!(
            Asked::preflight(&asking(&[origin])),
            Err(PreflightError::Method)
        );
        for method in ["", "get", "PATCH", "*"] {
            let asked = asking(&[origin, ("access-control-request-method", method)]);
            assert_eq!(
                Asked::preflight(&asked),
                Err(PreflightError::Method),
                "{method}"
            );
        }
        for headers in ["not a header", "x-a, b/c", "x-a,b=c", "x-a,\u{e9}", "\"a\""] {
            let mut asked = asking(&[origin, ("access-control-request-method", "GET")]);
            let value = HeaderValue::from_bytes(headers.as_bytes()).unwrap();
            asked.insert(ACCESS_CONTROL_REQUEST_HEADERS, value);
            assert_eq!(
                Asked::preflight(&asked),
                Err(PreflightError::Headers),
                "{headers}"
            );
        }
        let twice = asking(&[origin, origin, ("access-control-request-method", "GET")]);
        assert_eq!(Asked::preflight(&twice), Err(PreflightError::Origin));
    }

    #[test]
    fn other_requests_get_headers_by_origin_and_method() {
        let rules = [rule(&["https://a"], &[Method::GET], &[])];
        assert_eq!(Asked::actual(&Method::GET, &HeaderMap::new()), None);
        let asked = Asked::actual(&Method::GET, &asking(&[("origin", "https://a")])).unwrap();
        let answer = asked.answer(&rules).unwrap();
        assert!(answer.contains_key("access-control-expose-headers"));
        assert!(!answer.contains_key("access-control-max-age"));
        let asked = Asked::actual(&Method::PUT, &asking(&[("origin", "https://a")])).unwrap();
        assert_eq!(asked.answer(&rules), None);
        let named = asking(&[
            ("origin", "https://a"),
            ("access-control-request-method", "GET"),
        ]);
        assert!(
            Asked::actual(&Method::PUT, &named)
                .unwrap()
                .answer(&rules)
                .is_some()
        );
    }

    #[test]
    fn rules_take_what_can_be_in_them() {
        assert!(Glob::origin("https://*").is_ok() && Glob::header("x-amz-*").is_ok());
        assert_eq!(Glob::origin("https://*.*"), Err(RuleError::Stars));
        assert_eq!(Glob::origin(""), Err(RuleError::Text));
        assert_eq!(Glob::origin("a b"), Err(RuleError::Text));
        assert_eq!(Glob::header("a/b"), Err(RuleError::Header));
        assert_eq!(method("OPTIONS"), Err(RuleError::Method));
        assert_eq!(exposed("a b"), Err(RuleError::Header));
    }

    /// The plain definition, to compare with.
    fn matches(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern, text) {
            ([], []) => true,
            ([b'*', rest @ ..], _) if matches(rest, text) => true,
            ([b'*', ..], [_, rest @ ..]) => matches(pattern, rest),
            ([a, pattern @ ..], [b, text @ ..]) if a == b => matches(pattern, text),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn globs_match_as_defined(start in "[ab]{0,4}", star in any::<bool>(), end in "[ab]{0,4}", text in "[ab]{0,8}") {
            let pattern = format!("{start}{}{end}", if star { "*" } else { "" });
            if let Ok(glob) = Glob::origin(&pattern) {
                prop_assert_eq!(glob.matches(&text), matches(pattern.as_bytes(), text.as_bytes()));
            }
        }

        /// Nobody gets more than some rule grants, and an answer names no origin but `*` and the asker's.
        #[test]
        fn an_answer_grants_only_what_one_rule_does(
            origins in prop::collection::vec("[ab*]{1,3}", 1..3),
            methods in prop::collection::vec(0..5_usize, 1..3),
            headers in prop::collection::vec("[xy*-]{1,3}", 0..3),
            origin in "[ab]{1,3}", asked_method in 0..5_usize,
            asked in prop::collection::vec("[XYxy-]{1,3}", 0..3),
        ) {
            let origins: Vec<_> = origins.iter().filter_map(|o| Glob::origin(o).ok()).collect();
            let headers: Vec<_> = headers.iter().filter_map(|h| Glob::header(h).ok()).collect();
            let methods: Vec<_> = methods.into_iter().map(|m| METHODS[m].clone()).collect();
            let rule = Rule { origins: origins.clone(), methods: methods.clone(), headers: headers.clone(), ..Rule::default() };
            let method = &METHODS[asked_method];
            let answer = preflight(&origin, method.as_str(), &asked.join(", ")).answer(&[rule]);
            let expected = origins.iter().any(|o| matches(o.0.as_bytes(), origin.as_bytes()))
                && methods.contains(method)
                && asked.iter().all(|name| {
                    let name = name.to_ascii_lowercase();
                    headers.iter().any(|h| matches(h.0.as_bytes(), name.as_bytes()))
                });
            prop_assert_eq!(answer.is_some(), expected);
            if let Some(answer) = answer {
                let named = answer.get("access-control-allow-origin").unwrap();
                prop_assert!(named == "*" || named == origin.as_str());
            }
        }
    }
}
