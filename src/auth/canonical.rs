//! The canonical request, the string to sign and the signing key of SigV4, for verifying and signing.
//!
//! S3's variant: the path is taken as it is, without normalising dot segments or double slashes, and
//! is encoded once. A raw path or query is first decoded, so that it does not matter which characters
//! a client chose to encode.

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderMap, HeaderValue};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::Secret;
use crate::protocol::uri::{UriError, hex_digit, raw_pairs, reencode_into};

/// The algorithm in `Authorization`, `X-Amz-Algorithm` and the string to sign.
pub const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// The service of S3 in a credential scope.
pub const SERVICE: &str = "s3";

/// The last element of every credential scope.
pub const TERMINATOR: &str = "aws4_request";

/// SHA-256 of nothing, in hexadecimal.
pub const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// What a signature is good for: `date/region/service/aws4_request`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// `YYYYMMDD`, in UTC.
    pub date: String,
    /// Region name.
    pub region: String,
    /// Service name, [`SERVICE`] for S3.
    pub service: String,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}/{}/{}/{TERMINATOR}",
            self.date, self.region, self.service
        )
    }
}

/// A key derived from a secret access key for one scope, so for one day. May be kept and used again.
///
/// It is held as HMAC's state after the key, which is all that signing takes; the state is wiped when dropped.
#[derive(Clone)]
pub struct SigningKey(Hmac<Sha256>);

impl SigningKey {
    /// Derives the key: four nested HMACs over the elements of the scope.
    #[must_use]
    pub fn derive(secret: &Secret, scope: &Scope) -> Self {
        let mut start = Zeroizing::new(Vec::with_capacity(4 + secret.expose().len()));
        start.extend_from_slice(b"AWS4");
        start.extend_from_slice(secret.expose().as_bytes());
        let date = Zeroizing::new(hmac(&start, scope.date.as_bytes()));
        let region = Zeroizing::new(hmac(date.as_slice(), scope.region.as_bytes()));
        let service = Zeroizing::new(hmac(region.as_slice(), scope.service.as_bytes()));
        let key = Zeroizing::new(hmac(service.as_slice(), TERMINATOR.as_bytes()));
        Self(keyed(key.as_slice()))
    }

    /// Signs a string to sign.
    #[must_use]
    pub fn sign(&self, string_to_sign: &[u8]) -> [u8; 32] {
        self.0
            .clone()
            .chain_update(string_to_sign)
            .finalize()
            .into_bytes()
            .into()
    }

    /// Whether `signature` is the one of `string_to_sign`, in a time that does not depend on either.
    #[must_use]
    pub fn verify(&self, string_to_sign: &[u8], signature: &[u8; 32]) -> bool {
        self.sign(string_to_sign).ct_eq(signature).into()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(..)")
    }
}

/// Builds the canonical request.
///
/// `signed` are the names of the headers it covers, in lower case and in the order in which they are listed; all of
/// them are there. `payload` is the value for the last line: a hash in hexadecimal or a literal such as
/// `UNSIGNED-PAYLOAD`.
///
/// # Errors
///
/// [`UriError::Malformed`] if path or query have a `%` without two hexadecimal digits.
pub fn canonical_request<N: AsRef<str>>(
    method: &str,
    raw_path: &str,
    raw_query: &str,
    headers: &HeaderMap,
    signed: &[N],
    payload: &str,
) -> Result<Vec<u8>, UriError> {
    let lines = signed.iter().flat_map(|name| {
        let values = headers.get_all(name.as_ref()).iter();
        values.map(|value| (name.as_ref(), value))
    });
    request_of_lines(method, raw_path, raw_query, lines, payload)
}

/// The same from the headers themselves, those of one name one after the other.
pub(super) fn request_of_lines<'a>(
    method: &str,
    raw_path: &str,
    raw_query: &str,
    headers: impl Iterator<Item = (&'a str, &'a HeaderValue)>,
    payload: &str,
) -> Result<Vec<u8>, UriError> {
    // Longer than most are; what allocators have at hand for a thread.
    let mut request = Vec::with_capacity(1024);
    request.extend_from_slice(method.as_bytes());
    request.push(b'\n');
    push_path(&mut request, raw_path)?;
    request.push(b'\n');
    if !raw_query.is_empty() {
        request.extend_from_slice(canonical_query(raw_query)?.as_bytes());
    }
    request.push(b'\n');
    let mut names = Vec::with_capacity(128);
    let mut last = None;
    for (name, value) in headers {
        if last == Some(name) {
            request.push(b',');
        } else {
            if last.is_some() {
                request.push(b'\n');
                names.push(b';');
            }
            last = Some(name);
            names.extend_from_slice(name.as_bytes());
            request.extend_from_slice(name.as_bytes());
            request.push(b':');
        }
        push_collapsed(&mut request, value.as_bytes());
    }
    if last.is_some() {
        request.push(b'\n');
    }
    request.push(b'\n');
    request.extend_from_slice(&names);
    request.push(b'\n');
    request.extend_from_slice(payload.as_bytes());
    Ok(request)
}

/// Appends the path, decoded and encoded again; `/` for an empty one.
fn push_path(out: &mut Vec<u8>, raw_path: &str) -> Result<(), UriError> {
    if raw_path.is_empty() {
        out.push(b'/');
    }
    reencode_into(out, raw_path, false, true)
}

/// The query without `X-Amz-Signature`: names and values decoded, encoded again, and sorted.
///
/// # Errors
///
/// [`UriError::Malformed`].
pub fn canonical_query(raw_query: &str) -> Result<String, UriError> {
    let encoded = |raw: &str| -> Result<Vec<u8>, UriError> {
        let mut text = Vec::with_capacity(raw.len() + 8);
        reencode_into(&mut text, raw, true, false)?;
        Ok(text)
    };
    let mut pairs = raw_pairs(raw_query)
        .map(|(name, value)| Ok((encoded(name)?, encoded(value)?)))
        .collect::<Result<Vec<_>, UriError>>()?;
    pairs.retain(|(name, _)| name != b"X-Amz-Signature");
    pairs.sort_unstable();
    let mut query = Vec::with_capacity(raw_query.len() + 8);
    for (name, value) in &pairs {
        if !query.is_empty() {
            query.push(b'&');
        }
        query.extend_from_slice(name);
        query.push(b'=');
        query.extend_from_slice(value);
    }
    // Encoded, so ASCII.
    String::from_utf8(query).map_err(|_| UriError::Malformed)
}

/// The string to sign of a request. `amz_date` is its time in ISO 8601 basic.
#[must_use]
pub fn string_to_sign(amz_date: &str, scope: &Scope, canonical_request: &[u8]) -> String {
    string_in_scope(amz_date, &scope.to_string(), canonical_request)
}

/// The same for a scope as text.
pub(super) fn string_in_scope(amz_date: &str, scope: &str, canonical_request: &[u8]) -> String {
    let mut text = String::with_capacity(192);
    for line in [ALGORITHM, amz_date, scope] {
        text.push_str(line);
        text.push('\n');
    }
    push_hex(&mut text, &Sha256::digest(canonical_request));
    text
}

/// Bytes as lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    push_hex(&mut text, bytes);
    text
}

/// Appends bytes as lower-case hexadecimal.
pub(super) fn push_hex(text: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    // By pieces of a hash: a text that is longer by one digit at a time looks for room each time.
    for bytes in bytes.chunks(32) {
        let mut digits = [0; 64];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(bytes) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        let digits = &digits[..2 * bytes.len()];
        text.push_str(std::str::from_utf8(digits).unwrap_or_default());
    }
}

/// 64 hexadecimal digits, in either case, as 32 bytes.
#[must_use]
pub fn unhex32(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        for digit in pair {
            *byte = *byte << 4 | hex_digit(*digit)?;
        }
    }
    Some(bytes)
}

fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    keyed(key)
        .chain_update(message)
        .finalize()
        .into_bytes()
        .into()
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    // Fill the key up to a block as HMAC itself would (RFC 2104); a key of one block cannot be refused.
    let mut block = Zeroizing::new([0; 64]);
    match block.get_mut(..key.len()) {
        Some(start) => start.copy_from_slice(key),
        None => block[..32].copy_from_slice(&Sha256::digest(key)),
    }
    Hmac::<Sha256>::new((&*block).into())
}

/// Appends a header value without white space around it and with runs of spaces made one.
fn push_collapsed(out: &mut Vec<u8>, value: &[u8]) {
    let value = value.trim_ascii();
    if !value.contains(&b' ') {
        return out.extend_from_slice(value);
    }
    let mut space = false;
    for &byte in value {
        if byte == b' ' {
            if space {
                continue;
            }
            space = true;
        } else {
            space = false;
        }
        out.push(byte);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hmac_of_rfc_4231() {
        assert_eq!(
            hex(&hmac(b"Jefe", b"what do ya want for nothing?")),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        let message = b"Test Using Larger Than Block-Size Key - Hash Key First";
        assert_eq!(
            hex(&hmac(&[0xaa; 131], message)),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        );
    }

    #[test]
    fn paths_and_queries() {
        let path = |raw: &str| {
            let mut path = Vec::new();
            push_path(&mut path, raw).map(|()| String::from_utf8(path).unwrap())
        };
        assert_eq!(path("").as_deref(), Ok("/"));
        assert_eq!(
            path("/a/../b//%7e+%2b%2F ").as_deref(),
            Ok("/a/../b//~%2B%2B/%20")
        );
        assert_eq!(path("/%4"), Err(UriError::Malformed));
        // By encoded name, then value; a name that is the start of another comes first.
        assert_eq!(
            canonical_query("b=1&a=2&a=+1&a%20=0&A&ab=&&X-Amz-Signature=0&%C3%A9==").as_deref(),
            Ok("%C3%A9=%3D&A=&a=%201&a=2&a%20=0&ab=&b=1")
        );
        assert_eq!(
            unhex32(EMPTY_SHA256).map(|bytes| hex(&bytes)).as_deref(),
            Some(EMPTY_SHA256)
        );
        assert_eq!(unhex32(&"é".repeat(32)), None);
    }

    #[test]
    fn header_values() {
        for (value, want) in [
            ("  a   b c ", "a b c"),
            ("\ta\t b\t", "a\t b"),
            ("", ""),
            ("\"a   b\"", "\"a b\""),
        ] {
            let mut out = Vec::new();
            push_collapsed(&mut out, value.as_bytes());
            assert_eq!(out, want.as_bytes(), "{value:?}");
        }
    }
}
