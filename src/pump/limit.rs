//! Small wrappers around bodies: a limit on pauses, and a note of the end.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};

use super::BodyError;

pin_project! {
    /// Fails where the inner body gives nothing for `limit` although it is being asked. Time in
    /// which nobody asks does not count, so a slow reader never trips it.
    pub struct IdleLimit<B, E> {
        #[pin]
        inner: B,
        #[pin]
        sleep: Sleep,
        waiting: bool,
        limit: Duration,
        error: E,
    }
}

impl<B, E> IdleLimit<B, E> {
    /// Wraps `inner`; `error` makes the error to end with.
    pub fn new(inner: B, limit: Duration, error: E) -> Self {
        Self {
            inner,
            sleep: sleep_until(Instant::now()),
            waiting: false,
            limit,
            error,
        }
    }
}

impl<B, E> Body for IdleLimit<B, E>
where
    B: Body<Data = Bytes, Error = BodyError>,
    E: Fn() -> BodyError,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut this = self.project();
        if let Poll::Ready(frame) = this.inner.as_mut().poll_frame(cx) {
            *this.waiting = false;
            return Poll::Ready(frame);
        }
        if !*this.waiting {
            *this.waiting = true;
            this.sleep.as_mut().reset(Instant::now() + *this.limit);
        }
        match this.sleep.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Some(Err((this.error)()))),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Where the reason of a broken body is left for whoever started the request: HTTP libraries pass
/// it on as opaque text at best.
#[derive(Clone, Default)]
pub struct Failure(Arc<Mutex<Option<BodyError>>>);

impl Failure {
    /// Takes the reason, if the body broke.
    pub fn take(&self) -> Option<BodyError> {
        self.0.lock().ok().and_then(|mut slot| slot.take())
    }
}

pin_project! {
    /// Leaves the inner body's error in a [`Failure`].
    pub struct Capture<B> {
        #[pin]
        inner: B,
        failure: Failure,
    }
}

impl<B> Capture<B> {
    /// Wraps `inner`.
    pub fn new(inner: B, failure: Failure) -> Self {
        Self { inner, failure }
    }
}

impl<B> Body for Capture<B>
where
    B: Body<Data = Bytes, Error = BodyError>,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.project();
        match this.inner.poll_frame(cx) {
            Poll::Ready(Some(Err(error))) => {
                let told = BodyError::Client("request body failed".into());
                if let Ok(mut slot) = this.failure.0.lock() {
                    slot.get_or_insert(error);
                }
                Poll::Ready(Some(Err(told)))
            }
            other => other,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

pin_project! {
    /// Calls `note` once when the inner body has ended or failed.
    pub struct OnEnd<B, N> {
        #[pin]
        inner: B,
        note: Option<N>,
    }
}

impl<B, N: FnOnce()> OnEnd<B, N> {
    /// Wraps `inner`.
    pub fn new(inner: B, note: N) -> Self {
        Self {
            inner,
            note: Some(note),
        }
    }
}

impl<B, N> Body for OnEnd<B, N>
where
    B: Body<Data = Bytes, Error = BodyError>,
    N: FnOnce(),
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut this = self.project();
        let polled = this.inner.as_mut().poll_frame(cx);
        // HTTP/1 stops asking once the declared length has gone out, so the end shows in the hint.
        let ended = match &polled {
            Poll::Ready(Some(Ok(_))) => {
                this.inner.is_end_stream() || this.inner.size_hint().exact() == Some(0)
            }
            Poll::Ready(_) => true,
            Poll::Pending => false,
        };
        if ended && let Some(note) = this.note.take() {
            note();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

pin_project! {
    /// Bytes already at hand, then a body.
    pub struct Prefixed<B> {
        prefix: Option<Bytes>,
        #[pin]
        inner: B,
    }
}

impl<B> Prefixed<B> {
    /// `prefix`, then `inner`.
    pub fn new(prefix: Option<Bytes>, inner: B) -> Self {
        Self { prefix, inner }
    }
}

impl<B> Body for Prefixed<B>
where
    B: Body<Data = Bytes, Error = BodyError>,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.project();
        match this.prefix.take() {
            Some(prefix) => Poll::Ready(Some(Ok(Frame::data(prefix)))),
            None => this.inner.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.prefix.is_none() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let prefix = self.prefix.as_ref().map_or(0, |bytes| bytes.len() as u64);
        match self.inner.size_hint().exact() {
            Some(rest) => SizeHint::with_exact(prefix + rest),
            None => SizeHint::default(),
        }
    }
}

pin_project! {
    /// A body, then bytes already at hand.
    pub struct Followed<B> {
        #[pin]
        inner: B,
        left: u64,
        suffix: Option<Bytes>,
    }
}

impl<B> Followed<B> {
    /// `inner`, which has `len` bytes, then `suffix`.
    pub fn new(inner: B, len: u64, suffix: Bytes) -> Self {
        Self {
            inner,
            left: len,
            suffix: Some(suffix),
        }
    }
}

impl<B> Body for Followed<B>
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
        if this.suffix.is_none() {
            return Poll::Ready(None);
        }
        loop {
            return match std::task::ready!(this.inner.as_mut().poll_frame(cx)) {
                Some(Ok(frame)) => {
                    let Ok(data) = frame.into_data() else {
                        continue;
                    };
                    match this.left.checked_sub(data.len() as u64) {
                        Some(left) => {
                            *this.left = left;
                            Poll::Ready(Some(Ok(Frame::data(data))))
                        }
                        None => {
                            *this.suffix = None;
                            let error = BodyError::Store("body is longer than announced".into());
                            Poll::Ready(Some(Err(error)))
                        }
                    }
                }
                Some(Err(error)) => {
                    *this.suffix = None;
                    Poll::Ready(Some(Err(error)))
                }
                None if *this.left > 0 => {
                    *this.suffix = None;
                    let error = BodyError::Store("body is shorter than announced".into());
                    Poll::Ready(Some(Err(error)))
                }
                None => Poll::Ready(this.suffix.take().map(|suffix| Ok(Frame::data(suffix)))),
            };
        }
    }

    fn is_end_stream(&self) -> bool {
        self.suffix.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let suffix = self.suffix.as_ref().map_or(0, |bytes| bytes.len() as u64);
        SizeHint::with_exact(self.left + suffix)
    }
}
