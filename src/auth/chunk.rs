//! The chain of chunk signatures: each covers the one before it, the first the signature of the head.
//!
//! ```text
//! chunk    "AWS4-HMAC-SHA256-PAYLOAD" date scope previous-signature SHA256("") SHA256(data)
//! trailer  "AWS4-HMAC-SHA256-TRAILER" date scope previous-signature SHA256("name:value\n"…)
//! ```
//!
//! Source: S3 API, "Transferring Payload in Multiple Chunks" and "Including Trailing Headers".

use std::fmt;

use http::HeaderMap;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::canonical::{EMPTY_SHA256, SigningKey, hex};
use crate::protocol::aws_chunked::ChunkAuth;

/// The chain, and the hash of the chunk that is under way.
#[derive(Clone)]
struct Chain {
    key: SigningKey,
    /// Time and scope of the head, as two lines of the string to sign.
    context: String,
    previous: [u8; 32],
    hash: Sha256,
}

impl Chain {
    fn new(key: SigningKey, amz_date: &str, scope: &str, seed: [u8; 32]) -> Self {
        Self {
            key,
            context: format!("{amz_date}\n{scope}"),
            previous: seed,
            hash: Sha256::new(),
        }
    }

    fn chunk(&mut self) -> [u8; 32] {
        let hash = std::mem::take(&mut self.hash).finalize();
        let string_to_sign = format!(
            "AWS4-HMAC-SHA256-PAYLOAD\n{}\n{}\n{EMPTY_SHA256}\n{}",
            self.context,
            hex(&self.previous),
            hex(&hash)
        );
        self.previous = self.key.sign(string_to_sign.as_bytes());
        self.previous
    }

    fn trailer(&mut self, trailers: &HeaderMap) -> [u8; 32] {
        let mut lines: Vec<_> = trailers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_bytes().trim_ascii()))
            .collect();
        lines.sort_unstable();
        let mut hash = Sha256::new();
        for (name, value) in lines {
            hash.update(name);
            hash.update(b":");
            hash.update(value);
            hash.update(b"\n");
        }
        let string_to_sign = format!(
            "AWS4-HMAC-SHA256-TRAILER\n{}\n{}\n{}",
            self.context,
            hex(&self.previous),
            hex(&hash.finalize())
        );
        self.previous = self.key.sign(string_to_sign.as_bytes());
        self.previous
    }
}

/// Checks the chunk signatures of one request; comes from [`verify`](super::verify()).
#[derive(Clone)]
pub struct ChunkVerifier(Box<Chain>);

impl ChunkVerifier {
    pub(super) fn new(key: SigningKey, amz_date: &str, scope: &str, seed: [u8; 32]) -> Self {
        Self(Box::new(Chain::new(key, amz_date, scope, seed)))
    }
}

impl ChunkAuth for ChunkVerifier {
    fn update(&mut self, data: &[u8]) {
        self.0.hash.update(data);
    }

    fn finish_chunk(&mut self, signature: &[u8; 32]) -> bool {
        self.0.chunk().ct_eq(signature).into()
    }

    fn finish_trailer(&mut self, trailers: &HeaderMap, signature: &[u8; 32]) -> bool {
        self.0.trailer(trailers).ct_eq(signature).into()
    }
}

impl fmt::Debug for ChunkVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChunkVerifier(..)")
    }
}

/// Makes the chunk signatures of one request; comes from [`Signer::chunk_signer`](super::Signer::chunk_signer).
#[derive(Clone)]
pub struct ChunkSigner(Chain);

impl ChunkSigner {
    pub(super) fn new(key: SigningKey, amz_date: &str, scope: &str, seed: [u8; 32]) -> Self {
        Self(Chain::new(key, amz_date, scope, seed))
    }

    /// Signs the next chunk; the last one is empty. The signature is in hexadecimal.
    pub fn sign_chunk(&mut self, data: &[u8]) -> String {
        self.0.hash.update(data);
        hex(&self.0.chunk())
    }

    /// Signs the trailer, after the empty chunk. The signature is in hexadecimal.
    pub fn sign_trailer(&mut self, trailers: &HeaderMap) -> String {
        hex(&self.0.trailer(trailers))
    }
}

impl fmt::Debug for ChunkSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChunkSigner(..)")
    }
}
