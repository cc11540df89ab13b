//! Answers that take their time. S3 begins the answer to a completion or a copy before it knows how that ends, and sends
//! blanks until it does, so that no client and nothing in between takes the connection for dead.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use pin_project_lite::pin_project;
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tokio_util::task::AbortOnDropHandle;

use crate::pump::{BodyError, BoxBody};
use crate::s3::{Error, Response};

/// How long an answer may take before its first byte is sent, and the time between blanks.
const PATIENCE: Duration = Duration::from_secs(5);

/// What every document begins with.
const DECLARATION: &[u8] = b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";

/// How an operation ended.
pub type Ended = Result<Response, Error>;

/// Puts the end of an operation into a document, whether it succeeded or not.
type Tell = Box<dyn FnOnce(Ended) -> Response + Send + Sync>;

/// Waits for an operation whose answer is an XML document. One that takes long is answered `200 OK` meanwhile; what `tell`
/// makes of its end then follows as the body, a failure too ("CompleteMultipartUpload", "CopyObject" in the S3 API
/// reference).
///
/// # Errors
/// The operation's own, while it is early enough to say so with a status.
pub async fn patiently(
    mut work: AbortOnDropHandle<Ended>,
    tell: impl FnOnce(Ended) -> Response + Send + Sync + 'static,
) -> Ended {
    if let Ok(ended) = tokio::time::timeout(PATIENCE, &mut work).await {
        return settle(ended);
    }
    let mut blanks = tokio::time::interval_at(Instant::now() + PATIENCE, PATIENCE);
    blanks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let body = Patient {
        state: State::Begin,
        work,
        tell: Some(Box::new(tell)),
        blanks,
    };
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    Ok(Response {
        status: StatusCode::OK,
        headers,
        body: body.boxed(),
        length: None,
    })
}

fn settle(ended: Result<Ended, tokio::task::JoinError>) -> Ended {
    ended.unwrap_or(Err(Error::Internal("an operation did not end")))
}

enum State {
    Begin,
    Waiting,
    /// The document; its beginning has been sent already until the flag is cleared.
    Telling(BoxBody, bool),
}

pin_project! {
    /// The body of such an answer.
    struct Patient {
        state: State,
        work: AbortOnDropHandle<Ended>,
        tell: Option<Tell>,
        blanks: Interval,
    }
}

impl Body for Patient {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.project();
        loop {
            match this.state {
                State::Begin => {
                    *this.state = State::Waiting;
                    return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(DECLARATION)))));
                }
                State::Waiting => {
                    let Poll::Ready(ended) = Pin::new(&mut *this.work).poll(cx) else {
                        ready!(this.blanks.poll_tick(cx));
                        return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b" ")))));
                    };
                    let Some(tell) = this.tell.take() else {
                        return Poll::Ready(None);
                    };
                    *this.state = State::Telling(tell(settle(ended)).body, true);
                }
                State::Telling(body, first) => {
                    let mut frame = ready!(Pin::new(body).poll_frame(cx));
                    if let Some(Ok(frame)) = &mut frame
                        && let Some(data) = frame.data_mut()
                        && std::mem::take(first)
                        && data.starts_with(DECLARATION)
                    {
                        data.advance(DECLARATION.len());
                    }
                    return Poll::Ready(frame);
                }
            }
        }
    }
}
