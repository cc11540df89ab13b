//! Request targets: bucket and key from path and host, queries, copy sources, and back to paths.
//!
//! Keys are bytes of UTF-8 with no structure: `//`, `.` and `..` are part of the name and are never
//! normalised. A `+` in a path is a plus; in a query it is a space.

/// Longest object key in bytes of UTF-8 (S3: "Naming Amazon S3 objects").
pub const MAX_KEY: usize = 1024;

/// Longest bucket name accepted. S3's own limit is 63; some stores keep older, longer names.
pub const MAX_BUCKET: usize = 255;

/// A request target or header that does not name anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UriError {
    /// A `%` not followed by two hexadecimal digits, or bytes that are not UTF-8 (S3: `InvalidURI`).
    #[error("the request target cannot be decoded")]
    Malformed,
    /// The bucket name could not be one (S3: `InvalidBucketName`).
    #[error("the specified bucket is not valid")]
    InvalidBucketName,
    /// More than [`MAX_KEY`] bytes (S3: `KeyTooLongError`).
    #[error("the key is longer than {MAX_KEY} bytes")]
    KeyTooLong,
    /// `x-amz-copy-source` does not name bucket and key (S3: `InvalidArgument`).
    #[error("the copy source must name the source bucket and key")]
    InvalidCopySource,
}

/// What a request is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The service itself (ListBuckets).
    Service,
    /// A bucket.
    Bucket {
        /// Its name.
        bucket: String,
    },
    /// An object.
    Object {
        /// The name of its bucket.
        bucket: String,
        /// Its key, decoded, 1 to [`MAX_KEY`] bytes.
        key: String,
    },
}

impl Target {
    /// Splits a raw (percent-encoded) path, without query.
    ///
    /// `host` is the `Host` header; where it is a bucket name under one of `domains` the request is
    /// virtual-hosted style, everything else is path style. Domains are compared without case and
    /// without port; where several match, the longest wins.
    ///
    /// # Errors
    ///
    /// See [`UriError`].
    pub fn parse<D: AsRef<str>>(
        raw_path: &str,
        host: Option<&str>,
        domains: &[D],
    ) -> Result<Self, UriError> {
        let path = raw_path.strip_prefix('/').ok_or(UriError::Malformed)?;
        let (bucket, raw_key) = match host.and_then(|host| virtual_bucket(host, domains)) {
            Some(bucket) => (bucket, path),
            None if path.is_empty() => return Ok(Self::Service),
            None => {
                let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
                (decode(bucket)?, key)
            }
        };
        if !is_bucket_name(&bucket) {
            return Err(UriError::InvalidBucketName);
        }
        let key = decode(raw_key)?;
        if key.len() > MAX_KEY {
            return Err(UriError::KeyTooLong);
        }
        if key.is_empty() {
            return Ok(Self::Bucket { bucket });
        }
        Ok(Self::Object { bucket, key })
    }

    /// The bucket, if there is one.
    #[must_use]
    pub fn bucket(&self) -> Option<&str> {
        match self {
            Self::Service => None,
            Self::Bucket { bucket } | Self::Object { bucket, .. } => Some(bucket),
        }
    }

    /// The key, if there is one.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::Object { key, .. } => Some(key),
            Self::Service | Self::Bucket { .. } => None,
        }
    }
}

/// The value of `x-amz-copy-source` (S3 API: CopyObject).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopySource {
    /// Source bucket.
    pub bucket: String,
    /// Source key, decoded.
    pub key: String,
    /// Source version, if one is named.
    pub version_id: Option<String>,
}

impl CopySource {
    /// Reads `bucket/key` with or without a leading slash, percent-encoded, with an optional
    /// `?versionId=`. A plus is a plus.
    ///
    /// # Errors
    ///
    /// [`UriError::InvalidCopySource`] for access point ARNs and for anything that cannot be decoded or has no
    /// bucket and key; [`UriError::InvalidBucketName`], [`UriError::KeyTooLong`].
    pub fn parse(value: &str) -> Result<Self, UriError> {
        const VERSION: &str = "?versionId=";
        let cannot = |_| UriError::InvalidCopySource;
        let (path, version_id) = match value.rfind(VERSION) {
            Some(at) => {
                let version = decode(&value[at + VERSION.len()..]).map_err(cannot)?;
                (&value[..at], Some(version).filter(|id| !id.is_empty()))
            }
            None => (value, None),
        };
        // Some clients encode the separating slash too, so decode first.
        let path = decode(path).map_err(cannot)?;
        let path = path.strip_prefix('/').unwrap_or(&path);
        if path.starts_with("arn:") {
            return Err(UriError::InvalidCopySource);
        }
        let (bucket, key) = path.split_once('/').ok_or(UriError::InvalidCopySource)?;
        if key.is_empty() {
            return Err(UriError::InvalidCopySource);
        }
        if !is_bucket_name(bucket) {
            return Err(UriError::InvalidBucketName);
        }
        if key.len() > MAX_KEY {
            return Err(UriError::KeyTooLong);
        }
        Ok(Self {
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            version_id,
        })
    }

    /// The header value that names this source.
    #[must_use]
    pub fn to_header(&self) -> String {
        let mut value = encode_path(&self.bucket, &self.key);
        if let Some(version) = &self.version_id {
            value.push_str("?versionId=");
            percent_encode_into(&mut value, version.as_bytes(), false);
        }
        value
    }
}

/// The decoded parameters of a query, in the order they came in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    /// Decodes a raw query without its `?`. A name without `=` has an empty value; empty pieces
    /// between `&` are skipped.
    ///
    /// # Errors
    ///
    /// [`UriError::Malformed`].
    pub fn parse(raw_query: &str) -> Result<Self, UriError> {
        let pairs = raw_pairs(raw_query)
            .map(|(name, value)| Ok((decode_query(name)?, decode_query(value)?)))
            .collect::<Result<_, _>>()?;
        Ok(Self { pairs })
    }

    /// The value of the first parameter of that exact name.
    #[must_use]
    pub fn first(&self, name: &str) -> Option<&str> {
        self.pairs
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// Whether a parameter of that exact name is there, with or without a value.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.first(name).is_some()
    }

    /// Whether there are no parameters.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// All pairs of name and value, as they came in.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Adds a parameter at the end.
    pub fn push(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.pairs.push((name.into(), value.into()));
    }

    /// Drops every parameter for which `keep(name)` is false.
    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.pairs.retain(|(name, _)| keep(name));
    }

    /// The query to send: every name and value percent-encoded, in order, always with `=`.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut raw = String::new();
        for (name, value) in &self.pairs {
            if !raw.is_empty() {
                raw.push('&');
            }
            percent_encode_into(&mut raw, name.as_bytes(), false);
            raw.push('=');
            percent_encode_into(&mut raw, value.as_bytes(), false);
        }
        raw
    }
}

/// The path-style path of a bucket or an object, percent-encoded as SigV4 wants it. An empty key
/// gives the path of the bucket, without a slash at its end.
#[must_use]
pub fn encode_path(bucket: &str, key: &str) -> String {
    let mut path = String::with_capacity(2 + bucket.len() + key.len() + key.len() / 4);
    path.push('/');
    percent_encode_into(&mut path, bucket.as_bytes(), false);
    if !key.is_empty() {
        path.push('/');
        percent_encode_into(&mut path, key.as_bytes(), true);
    }
    path
}

/// Whether a name can be a bucket's: what would leave its place in a path is refused (empty, `.`,
/// `..`, slashes, control characters, more than [`MAX_BUCKET`] bytes). S3's rules for new names are
/// the store's to enforce.
#[must_use]
pub fn is_bucket_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= MAX_BUCKET
        && name != "."
        && name != ".."
        && !name.contains(|c: char| c == '/' || c == '\\' || c.is_control())
}

/// Appends `bytes` with everything but `A-Z a-z 0-9 - . _ ~` as `%XX` in upper case (AWS: "UriEncode");
/// slashes too, unless `keep_slash`.
pub fn percent_encode_into(out: &mut String, bytes: &[u8], keep_slash: bool) {
    if let Some(plain) = plain(bytes, keep_slash) {
        return out.push_str(plain);
    }
    for &byte in bytes {
        if passes(byte, keep_slash) {
            out.push(char::from(byte));
        } else {
            out.extend(escape(byte).map(char::from));
        }
    }
}

/// Appends a raw text decoded as by [`percent_decode`] and encoded again as by [`percent_encode_into`].
///
/// # Errors
///
/// [`UriError::Malformed`]; what comes before the fault has been appended then.
pub fn reencode_into(
    out: &mut Vec<u8>,
    raw: &str,
    plus_is_space: bool,
    keep_slash: bool,
) -> Result<(), UriError> {
    if let Some(plain) = plain(raw.as_bytes(), keep_slash) {
        out.extend_from_slice(plain.as_bytes());
        return Ok(());
    }
    let mut bytes = raw.bytes();
    while let Some(byte) = bytes.next() {
        let byte = decode_byte(byte, &mut bytes, plus_is_space)?;
        if passes(byte, keep_slash) {
            out.push(byte);
        } else {
            out.extend_from_slice(&escape(byte));
        }
    }
    Ok(())
}

/// The whole, where each of its bytes stands for itself, encoded or not, as in most names.
fn plain(bytes: &[u8], keep_slash: bool) -> Option<&str> {
    let all = bytes.iter().all(|byte| passes(*byte, keep_slash));
    all.then(|| std::str::from_utf8(bytes).ok()).flatten()
}

/// Whether a byte stands for itself in what is encoded.
const fn passes(byte: u8, keep_slash: bool) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'-' | b'.' | b'_' | b'~')
        || (byte == b'/' && keep_slash)
}

/// A byte as `%XX`.
fn escape(byte: u8) -> [u8; 3] {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    [
        b'%',
        DIGITS[usize::from(byte >> 4)],
        DIGITS[usize::from(byte & 15)],
    ]
}

/// Decodes every `%XX`; a `+` becomes a space where `plus_is_space`.
///
/// # Errors
///
/// [`UriError::Malformed`] for a `%` without two hexadecimal digits. The result may be any bytes.
pub fn percent_decode(raw: &str, plus_is_space: bool) -> Result<Vec<u8>, UriError> {
    if plain(raw.as_bytes(), true).is_some() {
        return Ok(raw.as_bytes().to_vec());
    }
    let mut decoded = Vec::with_capacity(raw.len());
    let mut bytes = raw.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(decode_byte(byte, &mut bytes, plus_is_space)?);
    }
    Ok(decoded)
}

/// What `byte` stands for; `rest` comes after it.
fn decode_byte(
    byte: u8,
    rest: &mut std::str::Bytes<'_>,
    plus_is_space: bool,
) -> Result<u8, UriError> {
    match byte {
        b'%' => {
            let mut digit = || rest.next().and_then(hex_digit).ok_or(UriError::Malformed);
            let high = digit()?;
            Ok(high << 4 | digit()?)
        }
        b'+' if plus_is_space => Ok(b' '),
        other => Ok(other),
    }
}

/// The raw names and values of a query, empty pieces skipped.
pub fn raw_pairs(raw_query: &str) -> impl Iterator<Item = (&str, &str)> {
    raw_query
        .split('&')
        .filter(|piece| !piece.is_empty())
        .map(|piece| piece.split_once('=').unwrap_or((piece, "")))
}

fn decode(raw: &str) -> Result<String, UriError> {
    String::from_utf8(percent_decode(raw, false)?).map_err(|_| UriError::Malformed)
}

fn decode_query(raw: &str) -> Result<String, UriError> {
    String::from_utf8(percent_decode(raw, true)?).map_err(|_| UriError::Malformed)
}

/// The value of a hexadecimal digit in either case.
pub(crate) fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// The bucket in a virtual-hosted style host name.
fn virtual_bucket<D: AsRef<str>>(host: &str, domains: &[D]) -> Option<String> {
    let host = without_port(host).to_ascii_lowercase();
    let mut longest: Option<&str> = None;
    for domain in domains {
        let domain = without_port(domain.as_ref());
        if domain.is_empty() {
            continue;
        }
        if host.eq_ignore_ascii_case(domain) {
            return None;
        }
        let under = host
            .len()
            .checked_sub(domain.len())
            .filter(|at| *at > 1 && host.is_char_boundary(*at))
            .is_some_and(|at| host[at..].eq_ignore_ascii_case(domain) && host[..at].ends_with('.'));
        if under && longest.is_none_or(|known| known.len() < domain.len()) {
            longest = Some(domain);
        }
    }
    let domain = longest?;
    Some(host[..host.len() - domain.len() - 1].to_owned())
}

/// A host without `:port`; an address in brackets keeps them.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port))
            if port.bytes().all(|byte| byte.is_ascii_digit())
                && (!name.contains(':') || name.ends_with(']')) =>
        {
            name
        }
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NONE: [&str; 0] = [];

    fn object(bucket: &str, key: &str) -> Result<Target, UriError> {
        Ok(Target::Object {
            bucket: bucket.to_owned(),
            key: key.to_owned(),
        })
    }

    fn bucket(name: &str) -> Result<Target, UriError> {
        Ok(Target::Bucket {
            bucket: name.to_owned(),
        })
    }

    #[test]
    fn path_style() {
        let parse = |path: &str| Target::parse(path, Some("s3.example.org"), &NONE);
        assert_eq!(parse("/"), Ok(Target::Service));
        assert_eq!(parse("/b"), bucket("b"));
        assert_eq!(parse("/b/"), bucket("b"));
        assert_eq!(parse("/b/k"), object("b", "k"));
        assert_eq!(parse("/b//k"), object("b", "/k"));
        assert_eq!(parse("/b//"), object("b", "/"));
        assert_eq!(parse("/b/../x/./y//"), object("b", "../x/./y//"));
        assert_eq!(parse("/b/%2e%2e/a+b%2B%20c"), object("b", "../a+b+ c"));
        assert_eq!(parse("/b/%E2%82%AC"), object("b", "€"));
        assert_eq!(parse("/b/%2f"), object("b", "/"));
        assert_eq!(parse("/Old_Bucket/k"), object("Old_Bucket", "k"));
        for path in ["", "b/k", "/b/%", "/b/%4", "/b/%zz", "/b/%ff", "/%ff", "*"] {
            assert_eq!(parse(path), Err(UriError::Malformed), "{path}");
        }
        for path in [
            "//k",
            "/./k",
            "/../k",
            "/%2e%2e/k",
            "/a%2fb/k",
            "/a%00/k",
            "/a%5cb/k",
        ] {
            assert_eq!(parse(path), Err(UriError::InvalidBucketName), "{path}");
        }
        assert_eq!(
            parse(&format!("/{}/k", "b".repeat(256))),
            Err(UriError::InvalidBucketName)
        );
        assert!(parse(&format!("/b/{}", "k".repeat(MAX_KEY))).is_ok());
        assert_eq!(
            parse(&format!("/b/{}", "k".repeat(MAX_KEY + 1))),
            Err(UriError::KeyTooLong)
        );
        assert!(parse(&format!("/b/{}", "%41".repeat(MAX_KEY))).is_ok());
    }

    #[test]
    fn virtual_hosted_style() {
        let domains = ["s3.example.org", "eu.s3.example.org:8443"];
        let parse = |host: &str, path: &str| Target::parse(path, Some(host), &domains);
        assert_eq!(parse("b.s3.example.org", "/k"), object("b", "k"));
        assert_eq!(parse("B.S3.Example.org:8080", "//k"), object("b", "/k"));
        assert_eq!(parse("a.b.s3.example.org", "/"), bucket("a.b"));
        assert_eq!(parse("b.eu.s3.example.org", "/k"), object("b", "k"));
        assert_eq!(parse("s3.example.org", "/b/k"), object("b", "k"));
        assert_eq!(parse("eu.s3.example.org", "/b/k"), object("b", "k"));
        assert_eq!(parse("xs3.example.org", "/b/k"), object("b", "k"));
        assert_eq!(parse(".s3.example.org", "/b/k"), object("b", "k"));
        assert_eq!(parse("[::1]:8080", "/b/k"), object("b", "k"));
        assert_eq!(parse("::1", "/b/k"), object("b", "k"));
        assert_eq!(
            parse("...s3.example.org", "/k"),
            Err(UriError::InvalidBucketName)
        );
    }

    #[test]
    fn copy_sources() {
        let source = |bucket: &str, key: &str, version: Option<&str>| {
            Ok(CopySource {
                bucket: bucket.to_owned(),
                key: key.to_owned(),
                version_id: version.map(str::to_owned),
            })
        };
        assert_eq!(CopySource::parse("b/k"), source("b", "k", None));
        assert_eq!(CopySource::parse("/b/k"), source("b", "k", None));
        assert_eq!(CopySource::parse("b//k"), source("b", "/k", None));
        assert_eq!(
            CopySource::parse("b%2Fa%20b%2B+"),
            source("b", "a b++", None)
        );
        assert_eq!(
            CopySource::parse("/b/k?versionId=x%2By"),
            source("b", "k", Some("x+y"))
        );
        assert_eq!(CopySource::parse("b/k?versionId="), source("b", "k", None));
        assert_eq!(
            CopySource::parse("b/what?%3FversionId=1"),
            source("b", "what??versionId=1", None)
        );
        for value in ["", "/", "b", "b/", "/b/", "arn:aws:s3:x::a/object/k"] {
            assert_eq!(
                CopySource::parse(value),
                Err(UriError::InvalidCopySource),
                "{value}"
            );
        }
        assert_eq!(CopySource::parse("//k"), Err(UriError::InvalidBucketName));
        assert_eq!(CopySource::parse("b/%f"), Err(UriError::InvalidCopySource));
    }

    #[test]
    fn queries() {
        let query = Query::parse("list-type=2&prefix=a%2Fb+c&&uploads&x==y&=v&x=2").unwrap();
        assert_eq!(
            query.iter().collect::<Vec<_>>(),
            [
                ("list-type", "2"),
                ("prefix", "a/b c"),
                ("uploads", ""),
                ("x", "=y"),
                ("", "v"),
                ("x", "2")
            ]
        );
        assert_eq!(query.first("x"), Some("=y"));
        assert!(query.contains("uploads") && !query.contains("Uploads"));
        assert_eq!(Query::parse(&query.encode()), Ok(query));
        assert_eq!(Query::parse("a=%"), Err(UriError::Malformed));
        assert_eq!(Query::parse("a=%ff"), Err(UriError::Malformed));
    }

    #[test]
    fn paths() {
        assert_eq!(encode_path("b", ""), "/b");
        assert_eq!(
            encode_path("b", "/a b+~%é/*'()"),
            "/b//a%20b%2B~%25%C3%A9/%2A%27%28%29"
        );
    }

    proptest! {
        #[test]
        fn never_panics(path in "\\PC{0,60}", host in "\\PC{0,30}", domain in "\\PC{0,10}") {
            let _ = Target::parse(&format!("/{path}"), Some(&host), &[&domain]);
            let _ = Target::parse("/k", Some(&format!("b.{domain}")), &[&domain]);
            let _ = (CopySource::parse(&path), Query::parse(&path));
        }

        #[test]
        fn keys_round_trip(key in proptest::string::string_regex("(?s).{1,200}").unwrap()) {
            let path = encode_path("bucket", &key);
            prop_assert!(path.is_ascii());
            prop_assert_eq!(Target::parse(&path, None, &NONE), object("bucket", &key));
            let source = CopySource {
                bucket: "bucket".to_owned(),
                key,
                version_id: Some("a?versionId=b".to_owned()),
            };
            prop_assert_eq!(CopySource::parse(&source.to_header()), Ok(source));
        }

        #[test]
        fn queries_round_trip(pairs in proptest::collection::vec((".{0,10}", ".{0,10}"), 0..6)) {
            let mut query = Query::default();
            for (name, value) in pairs {
                query.push(name, value);
            }
            prop_assert_eq!(Query::parse(&query.encode()), Ok(query));
        }
    }
}
