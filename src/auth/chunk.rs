//! The chain of chunk signatures: each covers the one before it, the first the signature of the head.
//!
//! ```text
//! chunk    "AWS4-HMAC-SHA256-PAYLOAD" date scope previous-signature SHA256("") SHA256(data)
//! trailer  "AWS4-HMAC-SHA256-TRAILER" date scope previous-signature SHA256("name:value\n"…)
//! ```
//!
//! Only the signatures are a chain: the data of one chunk does not depend on another's. So the chunks that one read has
//! brought are hashed side by side, where the CPU has lanes for that, before the first of them passes.
//!
//! Source: S3 API, "Transferring Payload in Multiple Chunks" and "Including Trailing Headers".

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;

use http::HeaderMap;
use subtle::ConstantTimeEq as _;

use super::canonical::{EMPTY_SHA256, SigningKey, hex};
use crate::digest::{Backend, ByLanes, Fips180, Stream};
use crate::protocol::aws_chunked::ChunkAuth;

/// Chunks that are hashed at once at most.
const MOST_AHEAD: usize = 64;

/// The chain, and the hash of the chunk that is under way.
#[derive(Clone)]
struct Chain {
    key: SigningKey,
    /// Time and scope of the head, as two lines of the string to sign.
    context: String,
    previous: [u8; 32],
    hash: Stream<Fips180>,
}

impl Chain {
    fn new(key: SigningKey, amz_date: &str, scope: &str, seed: [u8; 32]) -> Self {
        Self {
            key,
            context: format!("{amz_date}\n{scope}"),
            previous: seed,
            hash: Stream::default(),
        }
    }

    fn chunk(&mut self) -> [u8; 32] {
        let hash = std::mem::take(&mut self.hash).finish();
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
        let mut hash = Stream::<Fips180>::default();
        for (name, value) in lines {
            hash.update(name.as_bytes());
            hash.update(b":");
            hash.update(value);
            hash.update(b"\n");
        }
        let string_to_sign = format!(
            "AWS4-HMAC-SHA256-TRAILER\n{}\n{}\n{}",
            self.context,
            hex(&self.previous),
            hex(&hash.finish())
        );
        self.previous = self.key.sign(string_to_sign.as_bytes());
        self.previous
    }
}

/// Addresses of bytes that have been hashed and are yet to pass.
type Known = Range<usize>;

#[derive(Clone)]
struct Verifier {
    chain: Chain,
    backend: Backend,
    /// Of the chunk under way.
    known: Known,
    /// The chunks behind it, the last maybe in part.
    ahead: VecDeque<(Stream<Fips180>, Known)>,
    /// Other bytes have passed than those that were hashed.
    astray: bool,
    hashed: ByLanes,
}

/// Checks the chunk signatures of one request; comes from [`verify`](super::verify()).
#[derive(Clone)]
pub struct ChunkVerifier(Box<Verifier>);

impl ChunkVerifier {
    pub(super) fn new(key: SigningKey, amz_date: &str, scope: &str, seed: [u8; 32]) -> Self {
        Self(Box::new(Verifier {
            chain: Chain::new(key, amz_date, scope, seed),
            backend: Backend::detect(),
            known: 0..0,
            ahead: VecDeque::new(),
            astray: false,
            hashed: ByLanes::default(),
        }))
    }

    /// The same with other lanes than the CPU's best. Public for tests and benchmarks alone.
    #[doc(hidden)]
    #[must_use]
    pub fn with_backend(mut self, backend: Backend) -> Self {
        self.0.backend = backend;
        self
    }

    /// The bytes of chunks that were hashed so far.
    #[must_use]
    pub fn hashed(&self) -> &ByLanes {
        &self.0.hashed
    }
}

impl ChunkAuth for ChunkVerifier {
    fn look_ahead<'a>(&mut self, pieces: impl Iterator<Item = &'a [u8]>) {
        let this = &mut *self.0;
        if this.backend.lanes::<Fips180>() == 1 {
            return;
        }
        let pieces: Vec<&[u8]> = pieces.take(MOST_AHEAD).collect();
        if pieces.len() < this.backend.pays::<Fips180>() {
            return;
        }
        let mut hashes = vec![Stream::default(); pieces.len()];
        if let Some(first) = hashes.first_mut() {
            std::mem::swap(first, &mut this.chain.hash);
        }
        this.backend.update(&mut hashes, &pieces, &mut this.hashed);
        for (hash, piece) in hashes.into_iter().zip(pieces) {
            let start = piece.as_ptr().addr();
            let known = start..start + piece.len();
            this.ahead.push_back((hash, known));
        }
        this.next_chunk();
    }

    fn update(&mut self, data: &[u8]) {
        let this = &mut *self.0;
        let (known, new) = data.split_at(this.known.len().min(data.len()));
        if !known.is_empty() {
            this.astray |= known.as_ptr().addr() != this.known.start;
            this.known.start += known.len();
        }
        this.chain.hash.update(new);
        this.hashed.add(1, new.len());
    }

    fn finish_chunk(&mut self, signature: &[u8; 32]) -> bool {
        let this = &mut *self.0;
        this.astray |= !this.known.is_empty();
        let right = this.chain.chunk().ct_eq(signature).into();
        this.next_chunk();
        right && !this.astray
    }

    fn finish_trailer(&mut self, trailers: &HeaderMap, signature: &[u8; 32]) -> bool {
        self.0.chain.trailer(trailers).ct_eq(signature).into()
    }
}

impl Verifier {
    /// Goes on with what is known of the next chunk, if anything is.
    fn next_chunk(&mut self) {
        if let Some(next) = self.ahead.pop_front() {
            (self.chain.hash, self.known) = next;
        }
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
