//! Signing of requests, for the store's side and for clients in tests.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::Secret;
use super::canonical::{
    ALGORITHM, SERVICE, Scope, SigningKey, canonical_request, hex, signed_headers, string_to_sign,
};
use super::chunk::ChunkSigner;
use crate::protocol::date::format_amz_date;
use crate::protocol::uri::{UriError, percent_encode_into};

const X_AMZ_DATE: HeaderName = HeaderName::from_static("x-amz-date");
const X_AMZ_CONTENT_SHA256: HeaderName = HeaderName::from_static("x-amz-content-sha256");
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
    today: Mutex<Option<(String, Arc<SigningKey>)>>,
}

/// What [`Signer::sign`] did: where a chain of chunk signatures starts.
#[derive(Debug, Clone)]
pub struct Signed {
    amz_date: String,
    scope: Scope,
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
        let value = |text: &str| HeaderValue::from_str(text).map_err(|_| SignError::InvalidValue);
        if !headers.contains_key(HOST) {
            return Err(SignError::MissingHost);
        }
        let amz_date = format_amz_date(now);
        headers.insert(X_AMZ_DATE, value(&amz_date)?);
        headers.insert(X_AMZ_CONTENT_SHA256, value(payload_hash)?);

        let signed = names(headers, |name| {
            *name == HOST
                || *name == CONTENT_TYPE
                || *name == CONTENT_MD5
                || name.as_str().starts_with("x-amz-")
        });
        let request = canonical_request(
            method.as_str(),
            raw_path,
            raw_query,
            headers,
            &signed,
            payload_hash,
        )?;
        let scope = self.scope(&amz_date);
        let signature = self
            .key(&scope)
            .sign(string_to_sign(&amz_date, &scope, &request).as_bytes());
        let mut authorization = value(&format!(
            "{ALGORITHM} Credential={}/{scope},SignedHeaders={},Signature={}",
            self.access_key,
            signed_headers(&signed),
            hex(&signature)
        ))?;
        authorization.set_sensitive(true);
        headers.insert(AUTHORIZATION, authorization);
        Ok(Signed {
            amz_date,
            scope,
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
        let amz_date = format_amz_date(now);
        let scope = self.scope(&amz_date);
        let signed = names(headers, |_| true);
        let mut query = raw_query.to_owned();
        for (name, value) in [
            ("X-Amz-Algorithm", ALGORITHM),
            ("X-Amz-Credential", &format!("{}/{scope}", self.access_key)),
            ("X-Amz-Date", &amz_date),
            ("X-Amz-Expires", &expires.to_string()),
            ("X-Amz-SignedHeaders", &signed_headers(&signed)),
        ] {
            if !query.is_empty() {
                query.push('&');
            }
            query.push_str(name);
            query.push('=');
            percent_encode_into(&mut query, value.as_bytes(), false);
        }
        let request = canonical_request(
            method.as_str(),
            raw_path,
            &query,
            headers,
            &signed,
            "UNSIGNED-PAYLOAD",
        )?;
        let signature = self
            .key(&scope)
            .sign(string_to_sign(&amz_date, &scope, &request).as_bytes());
        query.push_str("&X-Amz-Signature=");
        query.push_str(&hex(&signature));
        Ok(query)
    }

    /// Continues a request signed with a `STREAMING-AWS4-HMAC-SHA256-PAYLOAD…` literal.
    #[must_use]
    pub fn chunk_signer(&self, head: &Signed) -> ChunkSigner {
        ChunkSigner::new(
            self.key(&head.scope).as_ref().clone(),
            &head.amz_date,
            &head.scope.to_string(),
            head.signature,
        )
    }

    fn scope(&self, amz_date: &str) -> Scope {
        Scope {
            date: amz_date.get(..8).unwrap_or_default().to_owned(),
            region: self.region.clone(),
            service: SERVICE.to_owned(),
        }
    }

    /// The key of the scope's day.
    fn key(&self, scope: &Scope) -> Arc<SigningKey> {
        let mut today = self.today.lock().unwrap_or_else(PoisonError::into_inner);
        match today.as_ref() {
            Some((date, key)) if *date == scope.date => Arc::clone(key),
            _ => {
                let key = Arc::new(SigningKey::derive(&self.secret, scope));
                *today = Some((scope.date.clone(), Arc::clone(&key)));
                key
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

/// The names of the headers to cover, sorted.
fn names(headers: &HeaderMap, covered: impl Fn(&HeaderName) -> bool) -> Vec<HeaderName> {
    let mut names: Vec<HeaderName> = headers
        .keys()
        .filter(|name| covered(name))
        .cloned()
        .collect();
    names.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
    names
}
