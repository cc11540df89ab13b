//! Verifying the signature of a request head: `Authorization` header and presigned URL.
//!
//! [`verify`] and [`verify_with`] are the only ways to a [`Verified`]. Checks go from cheap to dear: shape, time, coverage,
//! then the signature. An access key that is not known costs as much work as one whose key of the day is not at hand.

use http::header::{AUTHORIZATION, DATE, HOST};
use http::{HeaderMap, HeaderName, Method};

use super::Secret;
use super::canonical::{
    ALGORITHM, SERVICE, Scope, SigningKey, TERMINATOR, canonical_request, string_in_scope, unhex32,
};
use super::chunk::ChunkVerifier;
use super::day::DayKeys;
use crate::protocol::date::{AmzDate, parse_amz_date, parse_http_date};
use crate::protocol::uri::{percent_decode, raw_pairs};

const X_AMZ_DATE: HeaderName = HeaderName::from_static("x-amz-date");
const X_AMZ_CONTENT_SHA256: HeaderName = HeaderName::from_static("x-amz-content-sha256");
const X_AMZ_SECURITY_TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");

const UNSIGNED: &str = "UNSIGNED-PAYLOAD";
const STREAMING_UNSIGNED_TRAILER: &str = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";
const STREAMING_SIGNED: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";
const STREAMING_SIGNED_TRAILER: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER";

/// Longest access key and region worth looking at, in bytes.
const MAX_ACCESS_KEY: usize = 256;
const MAX_REGION: usize = 64;
/// Most signed headers.
const MAX_SIGNED_HEADERS: usize = 128;

/// Signed with instead of the secret of an access key that is not known.
pub(super) const NOBODYS_SECRET: &str = "0000000000000000000000000000000000000000";

/// A request is not authenticated.
///
/// The S3 code of each variant stands in its description. Messages hold nothing secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthError {
    /// No credentials at all (S3: `AccessDenied`, where anonymous access is not open).
    #[error("the request is not signed")]
    Anonymous,
    /// Credentials in both header and query (S3: `InvalidArgument`).
    #[error("only one authentication mechanism is allowed")]
    SeveralMechanisms,
    /// Signature Version 2 (S3: `InvalidRequest`).
    #[error(
        "the authorization mechanism you have provided is not supported; please use {ALGORITHM}"
    )]
    SignatureVersion2,
    /// Any other scheme (S3: `InvalidArgument`).
    #[error("unsupported authorization type")]
    UnsupportedScheme,
    /// Asymmetric signatures, SigV4A (S3: `NotImplemented`).
    #[error("asymmetric signatures are not implemented")]
    NotImplemented,
    /// `Authorization` cannot be read or does not fit S3 (S3: `AuthorizationHeaderMalformed`).
    #[error("the authorization header is malformed: {0}")]
    MalformedHeader(&'static str),
    /// The `X-Amz-*` parameters cannot be read (S3: `AuthorizationQueryParametersError`).
    #[error("error parsing the query authentication parameters: {0}")]
    MalformedQuery(&'static str),
    /// A field of a browser upload's form that signing needs is not there (S3: `InvalidArgument`).
    #[error(
        "Bucket POST must contain a field named '{0}'. If it is specified, please check the order of the fields."
    )]
    MissingField(&'static str),
    /// Such a field cannot be read (S3: `InvalidArgument`).
    #[error("error parsing the authentication fields of the form: {0}")]
    MalformedForm(&'static str),
    /// Path or query cannot be decoded (S3: `InvalidURI`).
    #[error("the request target cannot be decoded")]
    InvalidUri,
    /// No usable `x-amz-date` or `Date` (S3: `AccessDenied`).
    #[error("AWS authentication requires a valid Date or x-amz-date header")]
    MissingDate,
    /// The time of the request is too far from now (S3: `RequestTimeTooSkewed`).
    #[error("the difference between the request time and the current time is too large")]
    TimeTooSkewed {
        /// Time of the request, unix seconds.
        request: i64,
        /// Time of this machine, unix seconds.
        now: i64,
    },
    /// A presigned URL of the future (S3: `AccessDenied`).
    #[error("request is not yet valid")]
    NotYetValid,
    /// A presigned URL whose time is over (S3: `AccessDenied`).
    #[error("request has expired")]
    Expired {
        /// When it expired, unix seconds.
        expired: i64,
        /// Time of this machine, unix seconds.
        now: i64,
    },
    /// `host` is not signed, or a signed header is not there (S3: `AccessDenied`).
    #[error("the header {0} must be signed and present")]
    MissingSignedHeader(String),
    /// An `x-amz-*` header is not signed (S3: `AccessDenied`).
    #[error("the header {0} is present and was not signed")]
    UnsignedHeader(String),
    /// A session token; there are no temporary credentials here (S3: `InvalidToken`).
    #[error("the provided token is malformed or otherwise invalid")]
    InvalidToken,
    /// `x-amz-content-sha256` is not there (S3: `InvalidRequest`).
    #[error("missing required header for this request: x-amz-content-sha256")]
    MissingContentSha256,
    /// `x-amz-content-sha256` is neither a hash nor a known literal (S3: `InvalidArgument`).
    #[error(
        "x-amz-content-sha256 must be {UNSIGNED}, {STREAMING_UNSIGNED_TRAILER}, {STREAMING_SIGNED}, {STREAMING_SIGNED_TRAILER} or a valid sha256 value"
    )]
    InvalidContentSha256,
    /// `x-amz-content-sha256` promises signed chunks, and nobody has signed (S3: `InvalidRequest`).
    #[error(
        "anonymous requests don't support this x-amz-content-sha256 value, please use {UNSIGNED} or {STREAMING_UNSIGNED_TRAILER}"
    )]
    UnsignedChunks,
    /// Nobody has that access key (S3: `InvalidAccessKeyId`).
    #[error("the access key id you provided does not exist in our records")]
    InvalidAccessKeyId {
        /// The access key as claimed.
        access_key: String,
    },
    /// Wrong secret, or the request was changed (S3: `SignatureDoesNotMatch`).
    #[error("the request signature we calculated does not match the signature you provided")]
    SignatureDoesNotMatch {
        /// The access key as claimed.
        access_key: String,
    },
}

/// What of a request is signed. Path and query are percent-encoded as they came, the query without
/// `?` and empty if there is none.
#[derive(Debug, Clone, Copy)]
pub struct RequestHead<'a> {
    /// Method.
    pub method: &'a Method,
    /// Path as it came.
    pub raw_path: &'a str,
    /// Query as it came.
    pub raw_query: &'a str,
    /// All headers, `host` included.
    pub headers: &'a HeaderMap,
}

/// How much is tolerated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest difference between the clocks, in seconds either way.
    pub max_skew: u32,
    /// Longest life of a presigned URL, in seconds.
    pub max_expiry: u32,
}

impl Default for Limits {
    /// S3's own: 15 minutes and 7 days.
    fn default() -> Self {
        Self {
            max_skew: 900,
            max_expiry: 604_800,
        }
    }
}

/// How the body of a verified request is protected and framed.
#[derive(Debug, Clone)]
pub enum Payload {
    /// Its SHA-256 is signed and must be checked.
    Signed([u8; 32]),
    /// It is not covered by the signature.
    Unsigned,
    /// It is in `aws-chunked` framing.
    Chunked {
        /// Checks the chunk signatures, if the chunks have them.
        signed: Option<ChunkVerifier>,
        /// Whether the form ends in a trailer.
        trailer: bool,
    },
}

/// A request head whose signature was right. Only [`verify`] makes one.
#[derive(Debug)]
pub struct Verified {
    access_key: String,
    region: String,
    payload: Payload,
    presigned: bool,
    time: i64,
}

impl Verified {
    /// The access key whose secret signed the request.
    #[must_use]
    pub fn access_key(&self) -> &str {
        &self.access_key
    }

    /// The region the client signed for; any is accepted.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.region
    }

    /// How the body is protected.
    #[must_use]
    pub fn payload(&self) -> &Payload {
        &self.payload
    }

    /// The same, to feed a decoder with.
    #[must_use]
    pub fn into_payload(self) -> Payload {
        self.payload
    }

    /// Whether it was a presigned URL.
    #[must_use]
    pub fn presigned(&self) -> bool {
        self.presigned
    }

    /// When the client signed, unix seconds.
    #[must_use]
    pub fn time(&self) -> i64 {
        self.time
    }
}

/// Who signed, and what the signature is good for: `access-key/date/region/service/aws4_request`.
#[derive(Clone, Copy)]
pub(super) struct Credential<'a> {
    /// All of it.
    text: &'a str,
    /// The access key. It may hold slashes.
    pub(super) access_key: &'a str,
    date: &'a str,
    region: &'a str,
}

impl Credential<'_> {
    /// What the signing key is derived for.
    pub(super) fn scope(&self) -> Scope {
        Scope {
            date: self.date.to_owned(),
            region: self.region.to_owned(),
            service: SERVICE.to_owned(),
        }
    }

    /// The scope as it stands in what is signed.
    fn scope_text(&self) -> &str {
        // What follows the access key and a slash.
        let from = self.access_key.len() + 1;
        self.text.get(from..).unwrap_or_default()
    }
}

/// What a request claims about itself.
struct Claim<'a> {
    credential: Credential<'a>,
    /// Names of headers.
    signed: Vec<&'a str>,
    signature: [u8; 32],
    time: i64,
    /// The last line of the canonical request.
    payload: &'a str,
    /// How the body is framed.
    body: Body,
    presigned: bool,
}

/// [`Payload`] before the chunk signatures can be checked.
#[derive(Clone, Copy)]
enum Body {
    Signed([u8; 32]),
    Unsigned,
    Chunked { signed: bool, trailer: bool },
}

/// Verifies the signature of a request.
///
/// `lookup` gives the secret of an access key. `now` is in unix seconds.
///
/// # Errors
///
/// See [`AuthError`].
pub fn verify(
    head: &RequestHead<'_>,
    lookup: impl Fn(&str) -> Option<Secret>,
    now: i64,
    limits: &Limits,
) -> Result<Verified, AuthError> {
    verify_with(head, lookup, None, now, limits)
}

/// The same with the keys that earlier requests of the day were verified with.
///
/// # Errors
///
/// See [`AuthError`].
pub fn verify_with(
    head: &RequestHead<'_>,
    lookup: impl Fn(&str) -> Option<Secret>,
    keys: Option<&DayKeys>,
    now: i64,
    limits: &Limits,
) -> Result<Verified, AuthError> {
    let parameters = Parameters::parse(head.raw_query)?;
    let mut authorizations = head.headers.get_all(AUTHORIZATION).iter();
    let claim = match (authorizations.next(), parameters.any()) {
        (Some(_), true) => return Err(AuthError::SeveralMechanisms),
        (None, true) => query_claim(head, &parameters, now, limits)?,
        (Some(value), false) => {
            if authorizations.next().is_some() {
                return Err(AuthError::MalformedHeader("it stands twice"));
            }
            let text = value
                .to_str()
                .map_err(|_| AuthError::MalformedHeader("it is not ASCII"))?;
            header_claim(head, text, now, limits)?
        }
        (None, false) if parameters.version_2 => return Err(AuthError::SignatureVersion2),
        (None, false) => return Err(AuthError::Anonymous),
    };
    check_coverage(head.headers, &claim)?;
    check_signature(head, &claim, lookup, keys, now)
}

/// How the body of a request that nobody signed is framed, for where such requests are let in. Only forms that need no
/// key can be: chunk signatures cannot.
///
/// # Errors
///
/// [`AuthError::InvalidContentSha256`], [`AuthError::UnsignedChunks`].
pub fn unsigned_payload(headers: &HeaderMap) -> Result<Payload, AuthError> {
    match content_sha256(headers)?.map(parse_body).transpose()? {
        None | Some(Body::Unsigned) => Ok(Payload::Unsigned),
        Some(Body::Signed(hash)) => Ok(Payload::Signed(hash)),
        Some(Body::Chunked {
            signed: false,
            trailer,
        }) => Ok(Payload::Chunked {
            signed: None,
            trailer,
        }),
        Some(Body::Chunked { signed: true, .. }) => Err(AuthError::UnsignedChunks),
    }
}

fn check_signature(
    head: &RequestHead<'_>,
    claim: &Claim<'_>,
    lookup: impl Fn(&str) -> Option<Secret>,
    keys: Option<&DayKeys>,
    now: i64,
) -> Result<Verified, AuthError> {
    let request = canonical_request(
        head.method.as_str(),
        head.raw_path,
        head.raw_query,
        head.headers,
        &claim.signed,
        claim.payload,
    )
    .map_err(|_| AuthError::InvalidUri)?;
    let credential = &claim.credential;
    let amz_date = AmzDate::new(claim.time);
    let to_sign = string_in_scope(amz_date.as_str(), credential.scope_text(), &request);

    let known = lookup(credential.access_key);
    let kept = match (&known, keys) {
        (Some(secret), Some(keys)) => keys.find(credential.text, secret, now),
        _ => None,
    };
    let fresh = kept.is_none();
    let key = kept.unwrap_or_else(|| match &known {
        Some(secret) => SigningKey::derive(secret, &credential.scope()),
        None => SigningKey::derive(&Secret::new(NOBODYS_SECRET), &credential.scope()),
    });
    let matches = key.verify(to_sign.as_bytes(), &claim.signature);
    let access_key = || credential.access_key.to_owned();
    let Some(secret) = known else {
        return Err(AuthError::InvalidAccessKeyId {
            access_key: access_key(),
        });
    };
    if !matches {
        return Err(AuthError::SignatureDoesNotMatch {
            access_key: access_key(),
        });
    }
    if fresh && let Some(keys) = keys {
        keys.keep(credential.text, &secret, &key, claim.time, now);
    }

    let payload = match claim.body {
        Body::Signed(hash) => Payload::Signed(hash),
        Body::Unsigned => Payload::Unsigned,
        Body::Chunked { signed, trailer } => Payload::Chunked {
            signed: signed.then(|| {
                let (date, scope) = (amz_date.as_str(), credential.scope_text());
                ChunkVerifier::new(key, date, scope, claim.signature)
            }),
            trailer,
        },
    };
    Ok(Verified {
        access_key: access_key(),
        region: credential.region.to_owned(),
        payload,
        presigned: claim.presigned,
        time: claim.time,
    })
}

/// Reads an `Authorization` header and what belongs to it.
fn header_claim<'a>(
    head: &RequestHead<'a>,
    authorization: &'a str,
    now: i64,
    limits: &Limits,
) -> Result<Claim<'a>, AuthError> {
    let malformed = AuthError::MalformedHeader;
    let (scheme, rest) = authorization
        .trim()
        .split_once([' ', '\t'])
        .unwrap_or((authorization.trim(), ""));
    match scheme {
        ALGORITHM => {}
        "AWS" => return Err(AuthError::SignatureVersion2),
        _ if scheme.starts_with("AWS4-ECDSA") => return Err(AuthError::NotImplemented),
        _ => return Err(AuthError::UnsupportedScheme),
    }
    let (mut credential, mut signed_headers, mut signature) = (None, None, None);
    for part in rest.split(',') {
        let (name, value) = part
            .trim()
            .split_once('=')
            .ok_or(malformed("a part is not a name and a value"))?;
        let slot = match name {
            "Credential" => &mut credential,
            "SignedHeaders" => &mut signed_headers,
            "Signature" => &mut signature,
            _ => return Err(malformed("an unknown part")),
        };
        if slot.replace(value).is_some() {
            return Err(malformed("a part stands twice"));
        }
    }
    if head.headers.contains_key(X_AMZ_SECURITY_TOKEN) {
        return Err(AuthError::InvalidToken);
    }
    let time = request_time(head.headers)?;
    if now.abs_diff(time) > u64::from(limits.max_skew) {
        return Err(AuthError::TimeTooSkewed { request: time, now });
    }
    let credential = credential.ok_or(malformed("Credential is missing"))?;
    let credential = parse_credential(credential, time, malformed)?;
    let payload = content_sha256(head.headers)?.ok_or(AuthError::MissingContentSha256)?;
    Ok(Claim {
        credential,
        signed: parse_signed_headers(
            signed_headers.ok_or(malformed("SignedHeaders is missing"))?,
            malformed,
        )?,
        signature: signature
            .and_then(unhex32)
            .ok_or(malformed("Signature is not 64 hexadecimal digits"))?,
        time,
        body: parse_body(payload)?,
        payload,
        presigned: false,
    })
}

/// Reads the parameters of a presigned URL and what belongs to them.
fn query_claim<'a>(
    head: &RequestHead<'a>,
    parameters: &'a Parameters,
    now: i64,
    limits: &Limits,
) -> Result<Claim<'a>, AuthError> {
    let malformed = AuthError::MalformedQuery;
    match parameters.algorithm.as_deref() {
        Some(ALGORITHM) => {}
        Some(other) if other.starts_with("AWS4-ECDSA") => return Err(AuthError::NotImplemented),
        Some(_) => return Err(malformed("X-Amz-Algorithm only supports AWS4-HMAC-SHA256")),
        None => return Err(malformed("X-Amz-Algorithm is missing")),
    }
    if parameters.security_token || head.headers.contains_key(X_AMZ_SECURITY_TOKEN) {
        return Err(AuthError::InvalidToken);
    }
    let time = parameters
        .date
        .as_deref()
        .and_then(|date| parse_amz_date(date).ok())
        .ok_or(malformed("X-Amz-Date must be in the form yyyyMMddTHHmmssZ"))?;
    let expires = parameters
        .expires
        .as_deref()
        .filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()))
        .ok_or(malformed("X-Amz-Expires should be a number"))?
        .parse()
        .unwrap_or(u32::MAX);
    if expires == 0 || expires > limits.max_expiry {
        return Err(malformed(
            "X-Amz-Expires must be at least one second and at most a week",
        ));
    }
    if time.saturating_sub(now) > i64::from(limits.max_skew) {
        return Err(AuthError::NotYetValid);
    }
    let expired = time.saturating_add(i64::from(expires));
    if now > expired {
        return Err(AuthError::Expired { expired, now });
    }
    let credential = parameters
        .credential
        .as_deref()
        .ok_or(malformed("X-Amz-Credential is missing"))?;
    let credential = parse_credential(credential, time, malformed)?;
    let signed = parse_signed_headers(
        parameters
            .signed_headers
            .as_deref()
            .ok_or(malformed("X-Amz-SignedHeaders is missing"))?,
        malformed,
    )?;
    let signature = parameters
        .signature
        .as_deref()
        .and_then(unhex32)
        .ok_or(malformed("X-Amz-Signature is not 64 hexadecimal digits"))?;

    // The signature covers the hash in the query or in a signed header; otherwise it covers the
    // literal, and an unsigned header only says how the body is framed and what it must hash to.
    let header = content_sha256(head.headers)?;
    let (payload, body) = match (parameters.content_sha256.as_deref(), header) {
        (Some(query), Some(header)) if query != header => {
            return Err(AuthError::InvalidContentSha256);
        }
        (Some(query), _) => {
            let body = parse_body(query)?;
            (query, body)
        }
        (None, Some(header)) => {
            let body = parse_body(header)?;
            let covered = signed.contains(&X_AMZ_CONTENT_SHA256.as_str());
            (if covered { header } else { UNSIGNED }, body)
        }
        (None, None) => (UNSIGNED, Body::Unsigned),
    };
    Ok(Claim {
        credential,
        signed,
        signature,
        time,
        payload,
        body,
        presigned: true,
    })
}

/// Every signed header is there, `host` is signed, and so is every `x-amz-*` that is there.
fn check_coverage(headers: &HeaderMap, claim: &Claim<'_>) -> Result<(), AuthError> {
    if !claim.signed.contains(&HOST.as_str()) {
        return Err(AuthError::MissingSignedHeader(HOST.as_str().to_owned()));
    }
    if let Some(name) = claim
        .signed
        .iter()
        .find(|name| !headers.contains_key(**name))
    {
        return Err(AuthError::MissingSignedHeader((*name).to_owned()));
    }
    let unsigned = headers.keys().find(|name| {
        name.as_str().starts_with("x-amz-")
            && !claim.signed.contains(&name.as_str())
            && !(claim.presigned && **name == X_AMZ_CONTENT_SHA256)
    });
    match unsigned {
        Some(name) => Err(AuthError::UnsignedHeader(name.as_str().to_owned())),
        None => Ok(()),
    }
}

/// The time of a request with an `Authorization` header: `x-amz-date`, else `Date`.
fn request_time(headers: &HeaderMap) -> Result<i64, AuthError> {
    let one = |name: &HeaderName| -> Result<Option<&str>, AuthError> {
        let mut values = headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(value), None) => value.to_str().map(Some).map_err(|_| AuthError::MissingDate),
            _ => Err(AuthError::MissingDate),
        }
    };
    if let Some(date) = one(&X_AMZ_DATE)? {
        return parse_amz_date(date.trim()).map_err(|_| AuthError::MissingDate);
    }
    let date = one(&DATE)?.ok_or(AuthError::MissingDate)?.trim();
    parse_http_date(date)
        .or_else(|_| parse_amz_date(date))
        .map_err(|_| AuthError::MissingDate)
}

/// Access key and scope from `access-key/date/region/service/aws4_request`. An access key may hold slashes.
pub(super) fn parse_credential(
    credential: &str,
    time: i64,
    malformed: fn(&'static str) -> AuthError,
) -> Result<Credential<'_>, AuthError> {
    let mut parts = credential.rsplitn(5, '/');
    let mut part = || {
        parts
            .next()
            .ok_or(malformed("the credential does not have five parts"))
    };
    let (terminator, service, region, date, access_key) =
        (part()?, part()?, part()?, part()?, part()?);
    if terminator != TERMINATOR {
        return Err(malformed("the credential must end in aws4_request"));
    }
    if service != SERVICE {
        return Err(malformed("the credential is not for the service s3"));
    }
    if AmzDate::new(time).day() != date {
        return Err(malformed(
            "the credential is not of the date of the request",
        ));
    }
    let region_byte = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if region.is_empty() || region.len() > MAX_REGION || !region.bytes().all(region_byte) {
        return Err(malformed("the region is not valid"));
    }
    if access_key.is_empty()
        || access_key.len() > MAX_ACCESS_KEY
        || !access_key.bytes().all(|byte| byte.is_ascii_graphic())
    {
        return Err(malformed("the access key is not valid"));
    }
    Ok(Credential {
        text: credential,
        access_key,
        date,
        region,
    })
}

/// Lower-case names joined by `;`, none of them twice.
fn parse_signed_headers(
    text: &str,
    malformed: fn(&'static str) -> AuthError,
) -> Result<Vec<&str>, AuthError> {
    let mut names = Vec::with_capacity(8);
    for name in text.split(';') {
        if names.len() == MAX_SIGNED_HEADERS {
            return Err(malformed("too many signed headers"));
        }
        if !is_lower_name(name) || names.contains(&name) {
            return Err(malformed("the signed headers are not valid"));
        }
        names.push(name);
    }
    Ok(names)
}

/// Whether a text is a header's name in lower case (RFC 9110, 5.6.2: `token`).
fn is_lower_name(name: &str) -> bool {
    let token = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(&byte)
    };
    !name.is_empty() && name.bytes().all(token)
}

/// The one value of `x-amz-content-sha256`.
fn content_sha256(headers: &HeaderMap) -> Result<Option<&str>, AuthError> {
    let mut values = headers.get_all(X_AMZ_CONTENT_SHA256).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value
            .to_str()
            .map(Some)
            .map_err(|_| AuthError::InvalidContentSha256),
        _ => Err(AuthError::InvalidContentSha256),
    }
}

fn parse_body(content_sha256: &str) -> Result<Body, AuthError> {
    match content_sha256 {
        UNSIGNED => Ok(Body::Unsigned),
        STREAMING_UNSIGNED_TRAILER => Ok(Body::Chunked {
            signed: false,
            trailer: true,
        }),
        STREAMING_SIGNED => Ok(Body::Chunked {
            signed: true,
            trailer: false,
        }),
        STREAMING_SIGNED_TRAILER => Ok(Body::Chunked {
            signed: true,
            trailer: true,
        }),
        other if other.starts_with("STREAMING-AWS4-ECDSA-") => Err(AuthError::NotImplemented),
        other => unhex32(other)
            .map(Body::Signed)
            .ok_or(AuthError::InvalidContentSha256),
    }
}

/// The query parameters that have to do with authentication, decoded.
#[derive(Default)]
struct Parameters {
    algorithm: Option<String>,
    credential: Option<String>,
    date: Option<String>,
    expires: Option<String>,
    signed_headers: Option<String>,
    signature: Option<String>,
    content_sha256: Option<String>,
    security_token: bool,
    /// Those of Signature Version 2 are there.
    version_2: bool,
}

impl Parameters {
    fn parse(raw_query: &str) -> Result<Self, AuthError> {
        let decode = |raw| percent_decode(raw, true).map_err(|_| AuthError::InvalidUri);
        let mut found = Self::default();
        let (mut access_key, mut signature) = (false, false);
        for (name, value) in raw_pairs(raw_query) {
            let slot = match decode(name)?.as_slice() {
                b"X-Amz-Algorithm" => &mut found.algorithm,
                b"X-Amz-Credential" => &mut found.credential,
                b"X-Amz-Date" => &mut found.date,
                b"X-Amz-Expires" => &mut found.expires,
                b"X-Amz-SignedHeaders" => &mut found.signed_headers,
                b"X-Amz-Signature" => &mut found.signature,
                b"X-Amz-Content-Sha256" => &mut found.content_sha256,
                b"X-Amz-Security-Token" => {
                    found.security_token = true;
                    continue;
                }
                b"AWSAccessKeyId" => {
                    access_key = true;
                    continue;
                }
                b"Signature" => {
                    signature = true;
                    continue;
                }
                _ => continue,
            };
            let value = String::from_utf8(decode(value)?)
                .map_err(|_| AuthError::MalformedQuery("a parameter is not UTF-8"))?;
            if slot.replace(value).is_some() {
                return Err(AuthError::MalformedQuery("a parameter stands twice"));
            }
        }
        found.version_2 = access_key && signature;
        Ok(found)
    }

    /// Whether the request means to authenticate by its query.
    fn any(&self) -> bool {
        self.algorithm.is_some() || self.credential.is_some() || self.signature.is_some()
    }
}
