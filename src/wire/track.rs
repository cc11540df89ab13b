//! The body of an answer, watched to its end: one log line a request, written when the last byte has
//! gone or the transfer has broken, and the metrics that belong to it.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::formats::Integrity;
use crate::pump::{BodyError, BoxBody, Paced};
use crate::telemetry::metrics::{self, Direction, Side, StreamGuard};

/// What the log says of a failure.
#[derive(Default)]
pub struct Notes {
    /// S3 error code, empty where there was none.
    pub code: String,
    /// What went wrong, with everything the client is not told.
    pub detail: String,
    integrity: &'static str,
}

impl Notes {
    /// A stored object failed a check: counts it, and has the log say which.
    pub fn note_integrity(&mut self, kind: Integrity) {
        metrics::integrity_failure(kind.label());
        self.integrity = kind.label();
    }
}

/// What the log says of a request. The line is written when this is dropped, whatever became of the
/// request until then: answered, broken off, or left by its client before there was an answer.
pub struct Outcome {
    /// Request id.
    pub id: String,
    /// HTTP method.
    pub method: http::Method,
    /// Operation, or `-` where none was found.
    pub operation: &'static str,
    /// Access key, empty where none was verified.
    pub user: String,
    /// Bucket, if any.
    pub bucket: String,
    /// Key, if any.
    pub key: String,
    /// How it failed, if it did.
    pub notes: Notes,
    late: Arc<OnceLock<Notes>>,
    peer: SocketAddr,
    status: u16,
    started: Instant,
    bytes_in: Arc<AtomicU64>,
    sent: u64,
    expected: Option<u64>,
    failed: Option<String>,
    // A body that is never asked for (HEAD, 304, empty) still counts as complete.
    ended: bool,
    stream: Option<StreamGuard>,
}

/// What the log calls the status of a request whose client left before there was an answer.
const CLIENT_LEFT: u16 = 499;

impl Outcome {
    /// A request whose head has just come.
    pub fn new(id: String, method: http::Method, peer: SocketAddr) -> Self {
        Self {
            id,
            method,
            operation: "-",
            user: String::new(),
            bucket: String::new(),
            key: String::new(),
            notes: Notes::default(),
            late: Arc::default(),
            peer,
            status: CLIENT_LEFT,
            started: Instant::now(),
            bytes_in: Arc::new(AtomicU64::new(0)),
            sent: 0,
            expected: Some(u64::MAX),
            failed: None,
            ended: false,
            stream: None,
        }
    }

    /// Where the bytes of the request's body are counted.
    pub fn bytes_in(&self) -> Arc<AtomicU64> {
        self.bytes_in.clone()
    }

    /// Bytes of the request's body that have been read so far.
    pub fn received(&self) -> u64 {
        self.bytes_in.load(Ordering::Relaxed)
    }

    /// Where a failure is noted that happens after the answer has begun.
    pub fn late(&self) -> Arc<OnceLock<Notes>> {
        self.late.clone()
    }
}

pin_project! {
    /// A watched body.
    pub struct Tracked {
        #[pin]
        inner: Paced<BoxBody>,
        outcome: Outcome,
        // Why it broke, on its way.
        error: Option<BodyError>,
    }
}

impl Tracked {
    /// Watches `inner`, which has `expected` bytes and goes out under `status`.
    pub fn new(inner: BoxBody, status: u16, expected: Option<u64>, mut outcome: Outcome) -> Self {
        outcome.status = status;
        outcome.expected = expected;
        let streams = outcome.operation == "GetObject";
        outcome.stream = streams.then(|| StreamGuard::new(Direction::Out));
        Self {
            inner: Paced::new(inner),
            outcome,
            error: None,
        }
    }
}

impl Body for Tracked {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.project();
        if let Some(error) = this.error.take() {
            return Poll::Ready(Some(Err(error)));
        }
        let polled = this.inner.poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                let len = frame.data_ref().map_or(0, Bytes::len) as u64;
                this.outcome.sent += len;
            }
            Poll::Ready(Some(Err(error))) => {
                match error {
                    BodyError::Integrity(failure) => {
                        this.outcome.notes.note_integrity((*failure).into());
                        this.outcome.notes.code = "ObjectIntegrityFailure".into();
                    }
                    BodyError::Store(_) | BodyError::StoreStalled => metrics::store_error("body"),
                    _ => {}
                }
                this.outcome.failed = Some(error.to_string());
            }
            Poll::Ready(None) => this.outcome.ended = true,
            Poll::Pending => {}
        }
        match polled {
            // An error ends the connection at once, with all that it has not written yet: the head, even. So it
            // gets the occasion to write.
            Poll::Ready(Some(Err(error))) => {
                *this.error = Some(error);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            polled => polled,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for Outcome {
    fn drop(&mut self) {
        let outcome = &*self;
        let elapsed = outcome.started.elapsed();
        let bytes_in = outcome.bytes_in.load(Ordering::Relaxed);
        metrics::request(outcome.operation, outcome.status, elapsed);
        metrics::bytes(Side::Client, Direction::In, bytes_in);
        metrics::bytes(Side::Client, Direction::Out, self.sent);
        let complete =
            self.failed.is_none() && (self.ended || self.expected.is_none_or(|n| n == self.sent));
        let transfer = match (&self.failed, complete) {
            (Some(_), _) => "broken",
            (None, true) => "complete",
            (None, false) => "abandoned",
        };
        let notes = outcome.late.get().unwrap_or(&outcome.notes);
        let detail = self.failed.as_deref().unwrap_or(&notes.detail);
        let milliseconds = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    target: "sealgate::access",
                    request_id = outcome.id,
                    peer = %outcome.peer,
                    user = outcome.user,
                    method = %outcome.method,
                    operation = outcome.operation,
                    bucket = outcome.bucket,
                    key = ?outcome.key,
                    status = outcome.status,
                    code = notes.code,
                    integrity = notes.integrity,
                    bytes_in,
                    bytes_out = self.sent,
                    milliseconds,
                    transfer,
                    detail,
                    "request"
                )
            };
        }
        if notes.code == "ObjectIntegrityFailure" {
            line!(error);
        } else if self.failed.is_some() || outcome.status >= 500 {
            line!(warn);
        } else {
            line!(info);
        }
    }
}
