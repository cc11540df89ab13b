//! Signing of requests, for the store's side and for clients in tests.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::Secret;
use super::canonical::{
    ALGORITHM, SERVICE, Scope, SigningKey, hex, push_hex, request_of_lines, string_in_scope,
};
use super::chunk::ChunkSigner;
use crate::protocol::date::AmzDate;
use crate::protocol::uri::{UriError, percent_encode_into};

const X_AMZ_DATE: HeaderName = HeaderName::from_static("x-amz-date");
const X_AMZ_CONTENT_SHA256: HeaderName = HeaderName::from_static("x-amz-content-sha256");
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";
const CONTENT_MD5: HeaderName = HeaderName::from_static("content-md5");

/// A request cannot be signed; always a mistake of the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// There is no `Host` header.
    #[error("a request without a Host header cannot be signed")]
    MissingHost,
    /// Path or query cannot be decoded.
    #[error(transparent)]
    Uri(#[from] UriError),
    /// The payload hash or the access key cannot stand in a header.
    #[error("a value cannot stand in a header")]
    InvalidValue,
}

/// Signs requests with one set of credentials.
///
/// The key of the day is derived once and kept.
pub struct Signer {
    access_key: String,
    secret: Secret,
    region: String,
    today: Mutex<Option<Arc<Today>>>,
}

/// What signatures of one day share.
#[derive(Debug)]
struct Today {
    /// The date of the scope.
    date: String,
    /// The scope as text.
    scope: String,
    key: SigningKey,
}

/// What [`Signer::sign`] did: where a chain of chunk signatures starts.
#[derive(Debug, Clone)]
pub struct Signed {
    amz_date: AmzDate,
    today: Arc<Today>,
    signature: [u8; 32],
}

impl Signed {
    /// The signature in hexadecimal.
    #[must_use]
    pub fn signature(&self) -> String {
        hex(&self.signature)
    }
}

impl Signer {
    /// A signer for S3 in one region.
    #[must_use]
    pub fn new(access_key: impl Into<String>, secret: Secret, region: impl Into<String>) -> Self {
        Self {
            access_key: access_key.into(),
            secret,
            region: region.into(),
            today: Mutex::new(None),
        }
    }

    /// The access key it signs with.
    #[must_use]
    pub fn access_key(&self) -> &str {
        &self.access_key
    }

    /// Signs a request: sets `x-amz-date`, `x-amz-content-sha256` and `Authorization` in `headers`.
    ///
    /// Covers `host`, which must be there, `content-type`, `content-md5` and every `x-amz-*`; set
    /// those before. `raw_path` and `raw_query` (empty for none) are what is sent, percent-encoded.
    /// `payload_hash` is a SHA-256 in hexadecimal, `UNSIGNED-PAYLOAD`, or a `STREAMING-…` literal.
    /// `now` is in unix seconds.
    ///
    /// # Errors
    ///
    /// See [`SignError`]; `headers` may then have been changed.
    pub fn sign(
        &self,
        method: &Method,
        raw_path: &str,
        raw_query: &str,
        headers: &mut HeaderMap,
        payload_hash: &str,
        now: i64,
    ) -> Result<Signed, SignError> {
        if !headers.contains_key(HOST) {
            return Err(SignError::MissingHost);
        }
        let amz_date = AmzDate::new(now);
        headers.insert(X_AMZ_DATE, value(amz_date.as_str().to_owned())?);
        let hash = match payload_hash {
            UNSIGNED => HeaderValue::from_static(UNSIGNED),
            hash => value(hash.to_owned())?,
        };
        headers.insert(X_AMZ_CONTENT_SHA256, hash);

        let signed = covered(headers, |name| {
            *name == HOST
                || *name == CONTENT_TYPE
                || *name == CONTENT_MD5
                || name.as_str().starts_with("x-amz-")
        });
        let lines = signed.iter().copied();
        let request = request_of_lines(method.as_str(), raw_path, raw_query, lines, payload_hash)?;
        let today = self.today(&amz_date);
        let signature = today
            .key
            .sign(string_in_scope(amz_date.as_str(), &today.scope, &request).as_bytes());
        let mut authorization = String::with_capacity(512);
        for text in [
            ALGORITHM,
            " Credential=",
            &self.access_key,
            "/",
            &today.scope,
            ",SignedHeaders=",
        ] {
            authorization.push_str(text);
        }
        push_names(&mut authorization, &signed);
        authorization.push_str(",Signature=");
        push_hex(&mut authorization, &signature);
        let mut authorization = value(authorization)?;
        authorization.set_sensitive(true);
        headers.insert(AUTHORIZATION, authorization);
        Ok(Signed {
            amz_date,
            today,
            signature,
        })
    }

    /// Makes the query of a presigned URL, `raw_query` included.
    ///
    /// Every header in `headers` is covered and must be sent with the request; `host` must be among
    /// them. `expires` is in seconds; S3 takes 1 to 604800. `now` is in unix seconds.
    ///
    /// # Errors
    ///
    /// See [`SignError`].
    pub fn presign(
        &self,
        method: &Method,
        raw_path: &str,
        raw_query: &str,
        headers: &HeaderMap,
        expires: u32,
        now: i64,
    ) -> Result<String, SignError> {
        if !headers.contains_key(HOST) {
            return Err(SignError::MissingHost);
        }
        let amz_date = AmzDate::new(now);
        let today = self.today(&amz_date);
        let signed = covered(headers, |_| true);
        let mut query = raw_query.to_owned();
        let credential = format!("{}/{}", self.access_key, today.scope);
        let mut signed_headers = String::new();
        push_names(&mut signed_headers, &signed);
        for (name, value) in [
            ("X-Amz-Algorithm", ALGORITHM),
            ("X-Amz-Credential", &credential),
            ("X-Amz-Date", amz_date.as_str()),
            ("X-Amz-Expires", &expires.to_string()),
            ("X-Amz-SignedHeaders", &signed_headers),
        ] {
            if !query.is_empty() {
                query.push('&');
            }
            query.push_str(name);
            query.push('=');
            percent_encode_into(&mut query, value.as_bytes(), false);
        }
        let lines = signed.iter().copied();
        let request = request_of_lines(method.as_str(), raw_path, &query, lines, UNSIGNED)?;
        let signature = today
            .key
            .sign(string_in_scope(amz_date.as_str(), &today.scope, &request).as_bytes());
        query.push_str("&X-Amz-Signature=");
        query.push_str(&hex(&signature));
        Ok(query)
    }

    /// Continues a request signed with a `STREAMING-AWS4-HMAC-SHA256-PAYLOAD…` literal.
    #[must_use]
    pub fn chunk_signer(&self, head: &Signed) -> ChunkSigner {
        ChunkSigner::new(
            head.today.key.clone(),
            head.amz_date.as_str(),
            &head.today.scope,
            head.signature,
        )
    }

    /// The key of the day, and its scope.
    fn today(&self, amz_date: &AmzDate) -> Arc<Today> {
        let mut today = self.today.lock().unwrap_or_else(PoisonError::into_inner);
        match today.as_ref() {
            Some(today) if today.date == amz_date.day() => Arc::clone(today),
            _ => {
                let scope = Scope {
                    date: amz_date.day().to_owned(),
                    region: self.region.clone(),
                    service: SERVICE.to_owned(),
                };
                let fresh = Arc::new(Today {
                    key: SigningKey::derive(&self.secret, &scope),
                    scope: scope.to_string(),
                    date: scope.date,
                });
                *today = Some(Arc::clone(&fresh));
                fresh
            }
        }
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer")
            .field("access_key", &self.access_key)
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

/// A header's value, taken over as it is.
fn value(text: String) -> Result<HeaderValue, SignError> {
    HeaderValue::try_from(text).map_err(|_| SignError::InvalidValue)
}

/// The headers to cover, sorted by name; those of one name stay in their order.
fn covered(
    headers: &HeaderMap,
    covered: impl Fn(&HeaderName) -> bool,
) -> Vec<(&str, &HeaderValue)> {
    let mut found = Vec::with_capacity(headers.len());
    let headers = headers.iter().filter(|(name, _)| covered(name));
    found.extend(headers.map(|(name, value)| (name.as_str(), value)));
    found.sort_by_key(|(name, _)| *name);
    found
}

/// Appends names joined by `;`, each once.
fn push_names(text: &mut String, headers: &[(&str, &HeaderValue)]) {
    for (index, same) in headers
        .chunk_by(|(one, _), (other, _)| one == other)
        .enumerate()
    {
        if index > 0 {
            text.push(';');
        }
        text.push_str(same[0].0);
    }
}
