//! Verifies a client's body while it passes: aws-chunked framing and its signatures, the declared
//! length, and every digest that the client sent. The body ends without an error only where all of
//! it held, so whatever consumes it can take the end as the verdict.
//!
//! Most digests are made while the bytes are in the cache. MD5 and SHA-256, which are slow for one stream and fast
//! for many, are made beside those of other bodies ([`super::lanes`]), and the end waits for them.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use thiserror::Error;

use super::lanes::{HashFault, Laned, LanedHash};
use super::{BodyError, buffers};
use crate::auth::ChunkVerifier;
use crate::digest::{Fips180, Rfc1321};
use crate::protocol::aws_chunked::{ChunkedError, Decoder};
use crate::protocol::checksum::{ChecksumError, Expected, Finished as Digests, Hashes};
use crate::protocol::post_form::FormError;
use crate::telemetry::metrics;

/// A body that is not what its request declared.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// Framing or chunk signature.
    #[error(transparent)]
    Chunked(#[from] ChunkedError),
    /// A digest does not match.
    #[error(transparent)]
    Checksum(#[from] ChecksumError),
    /// The form around it is not well-formed.
    #[error(transparent)]
    Form(#[from] FormError),
    /// Fewer bytes than declared.
    #[error("body ended after {got} of {declared} bytes")]
    Incomplete {
        /// Bytes that came.
        got: u64,
        /// Bytes that were declared.
        declared: u64,
    },
    /// More bytes than declared.
    #[error("body is longer than the declared {declared} bytes")]
    TooLong {
        /// Bytes that were declared.
        declared: u64,
    },
}

/// What one body has to hold to.
pub struct Verification {
    /// aws-chunked framing, where the payload has it.
    pub decoder: Option<Decoder<ChunkVerifier>>,
    /// Digests to compute.
    pub hashes: Hashes,
    /// Digests to compare with.
    pub expected: Expected,
    /// Plaintext bytes declared; without it the body may have any length.
    pub length: Option<u64>,
}

/// Where the digests appear once the body has ended and verified.
#[derive(Clone, Default)]
pub struct Finished(Arc<Mutex<Option<Digests>>>);

impl Finished {
    /// The verified digests; `None` while the body has not ended well.
    pub fn digests(&self) -> Option<Digests> {
        self.0.lock().ok().and_then(|slot| slot.clone())
    }
}

/// The digests that are made beside those of other bodies.
struct Beside {
    md5: Option<LanedHash<Rfc1321>>,
    sha256: Option<LanedHash<Fips180>>,
    _hashed: Option<buffers::Hashed>,
}

impl Beside {
    /// Takes over those of `hashes` that are made so.
    fn new(hashes: &mut Hashes, length: Option<u64>) -> Self {
        let md5 = hashes.without_md5();
        let md5 = md5.then(|| Rfc1321::shared().stream(length));
        let sha256 = hashes.without_sha256();
        let sha256 = sha256.then(|| Fips180::shared().stream(length));
        let waits = md5.as_ref().is_some_and(LanedHash::waits)
            || sha256.as_ref().is_some_and(LanedHash::waits);
        Self {
            md5,
            sha256,
            _hashed: waits.then(buffers::Hashed::new),
        }
    }

    fn push(&mut self, piece: &Bytes) {
        if let Some(md5) = &mut self.md5 {
            md5.push(piece);
        }
        if let Some(sha256) = &mut self.sha256 {
            sha256.push(piece);
        }
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), HashFault>> {
        // Both are asked in any case: who waits for one brings the other on.
        let md5 = poll_some(&mut self.md5, |md5| md5.poll_ready(cx));
        let sha256 = poll_some(&mut self.sha256, |sha256| sha256.poll_ready(cx));
        ready!(md5)?;
        ready!(sha256)?;
        Poll::Ready(Ok(()))
    }

    #[expect(clippy::type_complexity, reason = "both digests")]
    fn poll_finish(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(Option<[u8; 16]>, Option<[u8; 32]>), HashFault>> {
        let md5 = poll_some(&mut self.md5, |md5| md5.poll_finish(cx));
        let sha256 = poll_some(&mut self.sha256, |sha256| sha256.poll_finish(cx));
        Poll::Ready(Ok((ready!(md5)?, ready!(sha256)?)))
    }
}

/// What comes of polling something that may not be there.
fn poll_some<T, R>(
    some: &mut Option<T>,
    poll: impl FnOnce(&mut T) -> Poll<Result<R, HashFault>>,
) -> Poll<Result<Option<R>, HashFault>> {
    match some {
        Some(some) => poll(some).map_ok(Some),
        None => Poll::Ready(Ok(None)),
    }
}

pin_project! {
    /// The plaintext of a client's body, verified.
    pub struct VerifyBody<B> {
        #[pin]
        inner: B,
        // Apart, because it is large and most bodies have none.
        decoder: Option<Box<Decoder<ChunkVerifier>>>,
        hashes: Option<Hashes>,
        beside: Beside,
        // Behind the last byte, while digests are awaited.
        trailers: Option<HeaderMap>,
        expected: Expected,
        length: Option<u64>,
        seen: u64,
        pending: Bytes,
        finished: Finished,
        done: bool,
    }
}

impl<B> VerifyBody<B> {
    /// Wraps the raw body.
    pub fn new(inner: B, verification: Verification) -> Self {
        let Verification {
            decoder,
            mut hashes,
            expected,
            length,
        } = verification;
        let beside = Beside::new(&mut hashes, length);
        Self {
            inner,
            decoder: decoder.map(Box::new),
            hashes: Some(hashes),
            beside,
            trailers: None,
            expected,
            length,
            seen: 0,
            pending: Bytes::new(),
            finished: Finished::default(),
            done: false,
        }
    }

    /// A handle to the digests, filled in at the end.
    pub fn finished(&self) -> Finished {
        self.finished.clone()
    }
}

impl<B> Body for VerifyBody<B>
where
    B: Body<Data = Bytes, Error = BodyError>,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut this = self.project();
        if *this.done {
            return Poll::Ready(None);
        }
        let fail = |done: &mut bool, error: VerifyError| {
            *done = true;
            Poll::Ready(Some(Err(BodyError::Refused(error))))
        };
        loop {
            if let Some(trailers) = this.trailers.as_ref() {
                let finished = ready!(this.beside.poll_finish(cx));
                *this.done = true;
                let Ok((md5, sha256)) = finished else {
                    return Poll::Ready(Some(Err(BodyError::Hash)));
                };
                let Some(hashes) = this.hashes.take() else {
                    return Poll::Ready(None);
                };
                let digests = hashes.finish_with(md5, sha256);
                if let Err(error) = this.expected.check(&digests, trailers) {
                    return fail(this.done, error.into());
                }
                if let Ok(mut slot) = this.finished.0.lock() {
                    *slot = Some(digests);
                }
                return Poll::Ready(None);
            }
            if ready!(this.beside.poll_ready(cx)).is_err() {
                *this.done = true;
                return Poll::Ready(Some(Err(BodyError::Hash)));
            }
            let payload = match this.decoder.as_mut() {
                Some(decoder) => match decoder.decode(this.pending) {
                    Ok(payload) => payload,
                    Err(error) => return fail(this.done, error.into()),
                },
                None => Some(std::mem::take(this.pending)).filter(|bytes| !bytes.is_empty()),
            };
            if let Some(payload) = payload {
                *this.seen += payload.len() as u64;
                if let Some(declared) = this.length.filter(|length| *this.seen > *length) {
                    return fail(this.done, VerifyError::TooLong { declared });
                }
                if let Some(hashes) = this.hashes.as_mut() {
                    hashes.update(&payload);
                }
                this.beside.push(&payload);
                return Poll::Ready(Some(Ok(Frame::data(payload))));
            }
            match ready!(this.inner.as_mut().poll_frame(cx)) {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        *this.pending = data;
                    }
                }
                Some(Err(error)) => {
                    *this.done = true;
                    return Poll::Ready(Some(Err(error)));
                }
                None => {
                    if let Some(declared) = this.length.filter(|length| *this.seen < *length) {
                        return fail(
                            this.done,
                            VerifyError::Incomplete {
                                got: *this.seen,
                                declared,
                            },
                        );
                    }
                    let decoder = this.decoder.take();
                    if let Some(chunks) = decoder.as_ref().and_then(|decoder| decoder.auth()) {
                        for (lanes, bytes) in chunks.hashed().iter() {
                            metrics::hashed_bytes(metrics::SHA256_BYTES, lanes, bytes);
                        }
                    }
                    match decoder.map(|decoder| decoder.finish()).transpose() {
                        Ok(trailers) => *this.trailers = Some(trailers.unwrap_or_default()),
                        Err(error) => return fail(this.done, error.into()),
                    }
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.done
    }

    fn size_hint(&self) -> SizeHint {
        match self.length {
            Some(length) => SizeHint::with_exact(length.saturating_sub(self.seen)),
            None => SizeHint::default(),
        }
    }
}
