//! A stored body that outlives its connection. Stores, and what stands between, cut connections: in a restart,
//! after hours, or because a client paused and nothing moved. What is missing then is asked for again, from the
//! next byte on, and whoever reads the body does not notice.
//!
//! The bytes must all be of one object, so each further request carries `If-Match` with the ETag of the first
//! answer, and its answer is taken only where ETag, range and length are exactly what was asked for. Whether the
//! bytes are genuine is no concern of this layer: they are verified behind it as if they had come in one piece.

use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, HeaderValue, IF_MATCH};
use http::{Method, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;

use super::client::{Request, Response, Store};
use super::error::StoreError;
use crate::pump::{BodyError, BoxBody, OpenFailure};
use crate::telemetry::metrics::{self, Resumption};

/// Failures in a row after which a transfer is given up. Each attempt is itself repeated as any read is.
const MAX_FAILURES: u32 = 5;

/// Bytes after which the next failure counts as the first one again: a segment. A store that cuts sooner than
/// that, every time, is not worth following.
const PROGRESS: u64 = 64 * 1024;

/// Attempts for one body in all. A store that cuts once a minute may do so for a week.
const MAX_ATTEMPTS: u32 = 10_000;

/// The pause before the first attempt after a failure; each further one is three times as long.
const PAUSE: Duration = Duration::from_millis(50);

/// The id of what a bucket without versioning holds: the next write takes its place.
const NULL_VERSION: &str = "null";

impl Store {
    /// The body of an answer that carries the stored bytes `range` of the object that `request` asks for. Where
    /// it breaks off or stalls, the rest is asked for again; the body fails where that does not help.
    ///
    /// `request` needs no range and no condition. The caller has checked that the answer is about `range`.
    pub fn stream_on(&self, request: Request, answer: Response, range: Range<u64>) -> BoxBody {
        let headers = answer.headers();
        let named = request.query.contains("versionId");
        let version = text(headers, "x-amz-version-id")
            .filter(|version| !named && !version.is_empty() && *version != NULL_VERSION);
        let source = Source {
            store: self.clone(),
            etag: headers.get(ETAG).cloned(),
            version: version.map(str::to_owned),
            total: total(answer.status(), headers),
            request,
        };
        Resuming {
            source: Arc::new(source),
            at: range.start,
            end: range.end,
            state: State::Flowing(self.stream(answer)),
            gained: 0,
            failures: 0,
            attempts: 0,
        }
        .boxed()
    }
}

/// How to ask for the rest.
struct Source {
    store: Store,
    /// The first request.
    request: Request,
    /// The ETag that the first answer carried. Without one nothing can be resumed.
    etag: Option<HeaderValue>,
    /// The version that the first answer carried, where the request named none.
    version: Option<String>,
    /// Length of the object, where the first answer told it.
    total: Option<u64>,
}

type Reconnecting = Pin<Box<dyn Future<Output = Result<BoxBody, Refused>> + Send + Sync>>;

enum State {
    Flowing(BoxBody),
    Reconnecting(Reconnecting),
    Done,
}

/// Why an attempt led to nothing.
enum Refused {
    /// A further one may lead to more.
    Passing(BodyError),
    /// The object is not there any more as it was, or the store does not answer what it is asked.
    Final(BodyError),
}

struct Resuming {
    source: Arc<Source>,
    /// The next byte to come. `at <= end`
    at: u64,
    end: u64,
    state: State,
    /// Bytes since the last attempt.
    gained: u64,
    /// Failures in a row.
    failures: u32,
    attempts: u32,
}

impl Resuming {
    /// Begins an attempt after `error`, or gives up with it.
    fn go_on(&mut self, error: BodyError) -> Result<(), BodyError> {
        if self.gained >= PROGRESS {
            self.failures = 0;
        }
        self.gained = 0;
        if self.source.etag.is_none()
            || self.failures == MAX_FAILURES
            || self.attempts == MAX_ATTEMPTS
        {
            return Err(self.give_up(error));
        }
        let pause = PAUSE * 3u32.pow(self.failures);
        self.failures += 1;
        self.attempts += 1;
        tracing::debug!(%error, at = self.at, end = self.end, "asking the store for the rest of a body");
        let rest = self.at..self.end;
        self.state = State::Reconnecting(Box::pin(self.source.clone().rest(rest, pause)));
        Ok(())
    }

    fn give_up(&mut self, error: BodyError) -> BodyError {
        self.state = State::Done;
        metrics::resumption(Resumption::GivenUp);
        error
    }
}

impl Body for Resuming {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        loop {
            let error = match &mut this.state {
                State::Done => return Poll::Ready(None),
                State::Flowing(body) => match ready!(Pin::new(body).poll_frame(cx)) {
                    Some(Ok(frame)) => {
                        let count = frame.data_ref().map_or(0, Bytes::len) as u64;
                        if count > this.end - this.at {
                            this.state = State::Done;
                            return Poll::Ready(Some(Err(OpenFailure::Trailing.into())));
                        }
                        this.at += count;
                        this.gained = this.gained.saturating_add(count);
                        return Poll::Ready(Some(Ok(frame)));
                    }
                    Some(Err(error)) if this.at < this.end => error,
                    // An orderly end in the wrong place is no broken connection: the store means it, and whoever
                    // reads the body says what that is worth.
                    _ => {
                        this.state = State::Done;
                        return Poll::Ready(None);
                    }
                },
                State::Reconnecting(attempt) => match ready!(attempt.as_mut().poll(cx)) {
                    Ok(body) => {
                        metrics::resumption(Resumption::Resumed);
                        this.state = State::Flowing(body);
                        continue;
                    }
                    Err(Refused::Passing(error)) => error,
                    Err(Refused::Final(error)) => {
                        return Poll::Ready(Some(Err(this.give_up(error))));
                    }
                },
            };
            if let Err(error) = this.go_on(error) {
                return Poll::Ready(Some(Err(error)));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.state {
            State::Done => true,
            State::Flowing(body) => self.at == self.end && body.is_end_stream(),
            State::Reconnecting(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.end - self.at)
    }
}

impl Source {
    /// Asks for `rest` once, after a pause.
    async fn rest(self: Arc<Self>, rest: Range<u64>, pause: Duration) -> Result<BoxBody, Refused> {
        tokio::time::sleep(pause).await;
        let answer = match self.ask(&rest, None).await {
            // Overwritten or deleted, which in a bucket with versions leaves what was there in its place. Only now:
            // to name a version takes a right of its own at some stores.
            Err(error) if is_gone(&error) && self.version.is_some() => {
                self.ask(&rest, self.version.as_deref()).await
            }
            answer => answer,
        };
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) if is_gone(&error) => {
                return Err(Refused::Final(BodyError::Store(format!(
                    "object changed while it was read: {error}"
                ))));
            }
            Err(error) => {
                let passing = error.is_passing()
                    || matches!(error, StoreError::Timeout)
                    || error.status() == Some(StatusCode::SERVICE_UNAVAILABLE);
                let error = BodyError::Store(format!("rest of body: {error}"));
                return Err(if passing {
                    Refused::Passing(error)
                } else {
                    Refused::Final(error)
                });
            }
        };
        if !self.is_rest(&answer, &rest) {
            return Err(Refused::Final(BodyError::Store(
                "rest of body: the answer is not what was asked for".into(),
            )));
        }
        Ok(self.store.stream(answer))
    }

    async fn ask(&self, rest: &Range<u64>, version: Option<&str>) -> Result<Response, StoreError> {
        let mut request = Request {
            method: Method::GET,
            bucket: self.request.bucket.clone(),
            key: self.request.key.clone(),
            query: self.request.query.clone(),
            headers: self.request.headers.clone(),
            body: None,
        }
        .version(version)
        .header("range", &format!("bytes={}-{}", rest.start, rest.end - 1));
        // A proxy may have marked the ETag as weak, and no weak one ever matches.
        let etag = self.etag.as_ref().map(HeaderValue::as_bytes);
        let etag = etag.map(|etag| etag.strip_prefix(b"W/").unwrap_or(etag));
        if let Some(Ok(etag)) = etag.map(HeaderValue::from_bytes) {
            request.headers.insert(IF_MATCH, etag);
        }
        self.store.send("ResumeObject", request).await
    }

    /// Whether an answer carries `rest` of the object that was begun, and says so.
    fn is_rest(&self, answer: &Response, rest: &Range<u64>) -> bool {
        let headers = answer.headers();
        let total = total(answer.status(), headers);
        let range = match answer.status() {
            StatusCode::PARTIAL_CONTENT => content_range(headers).map(|(range, _)| range),
            StatusCode::OK => total.map(|total| 0..total),
            _ => None,
        };
        let length = text(headers, CONTENT_LENGTH.as_str()).and_then(|text| text.parse().ok());
        headers.get(ETAG) == self.etag.as_ref()
            && range.as_ref() == Some(rest)
            && length == Some(rest.end - rest.start)
            && (total.is_none() || self.total.is_none() || total == self.total)
    }
}

/// Whether what was being read is no longer the object at that key.
fn is_gone(error: &StoreError) -> bool {
    matches!(
        error.status(),
        Some(StatusCode::PRECONDITION_FAILED | StatusCode::NOT_FOUND)
    )
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Length of the object that an answer is about, where it tells.
fn total(status: StatusCode, headers: &HeaderMap) -> Option<u64> {
    match status {
        StatusCode::PARTIAL_CONTENT => content_range(headers).and_then(|(_, total)| total),
        _ => text(headers, CONTENT_LENGTH.as_str())?.parse().ok(),
    }
}

/// Bytes and total of `Content-Range: bytes first-last/total`.
fn content_range(headers: &HeaderMap) -> Option<(Range<u64>, Option<u64>)> {
    let value = text(headers, CONTENT_RANGE.as_str())?.strip_prefix("bytes ")?;
    let (range, total) = value.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let end = last.parse::<u64>().ok()?.checked_add(1)?;
    Some((first.parse().ok()?..end, total.parse().ok()))
}
