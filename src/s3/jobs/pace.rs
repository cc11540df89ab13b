//! How fast a job moves bytes: all of its objects together, measured in plaintext.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep};

use crate::pump::BodyError;

/// What may be ahead of the rate: a moment's worth, so that many small objects are not each delayed.
const AHEAD: Duration = Duration::from_millis(100);

/// A number of bytes a second that several bodies share.
#[derive(Clone, Debug)]
pub struct Pace(Option<Arc<Bucket>>);

#[derive(Debug)]
struct Bucket {
    per_second: u64,
    /// When all that has been taken so far was due.
    due: Mutex<Instant>,
}

impl Pace {
    /// So many bytes a second; any number without one.
    #[must_use]
    pub fn new(per_second: Option<u64>) -> Self {
        Self(per_second.map(|per_second| {
            Arc::new(Bucket {
                per_second: per_second.max(1),
                due: Mutex::new(Instant::now()),
            })
        }))
    }

    /// Takes so many bytes; gives the time to wait until before taking more.
    fn take(&self, bytes: usize) -> Option<Instant> {
        let bucket = self.0.as_ref()?;
        let cost = Duration::from_secs_f64(bytes as f64 / bucket.per_second as f64);
        let mut due = bucket.due.lock().ok()?;
        let now = Instant::now();
        *due = (*due).max(now.checked_sub(AHEAD).unwrap_or(now)) + cost;
        (*due > now).then_some(*due)
    }

    /// A body that moves no faster.
    pub fn body<B>(&self, inner: B) -> Paced<B> {
        Paced {
            inner,
            pace: self.clone(),
            wait: None,
        }
    }
}

pin_project! {
    /// A body that keeps to a [`Pace`].
    pub struct Paced<B> {
        #[pin]
        inner: B,
        pace: Pace,
        wait: Option<Pin<Box<Sleep>>>,
    }
}

impl<B> Body for Paced<B>
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
        if let Some(wait) = this.wait {
            ready!(wait.as_mut().poll(cx));
            *this.wait = None;
        }
        let polled = this.inner.poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
            && let Some(until) = this.pace.take(data.len())
        {
            *this.wait = Some(Box::pin(tokio::time::sleep_until(until)));
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

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;
    use crate::pump;

    #[tokio::test(start_paused = true)]
    async fn several_bodies_share_one_rate() {
        let pace = Pace::new(Some(1_000_000));
        let began = Instant::now();
        let body = || {
            let frames = (0..50).map(|_| Ok(Frame::data(Bytes::from(vec![0; 10_000]))));
            let stream = http_body_util::StreamBody::new(futures::stream::iter(frames));
            pace.body(stream).collect()
        };
        let (one, two) = tokio::join!(body(), body());
        let bytes = one.unwrap().to_bytes().len() + two.unwrap().to_bytes().len();
        assert_eq!(bytes, 1_000_000);
        let took = began.elapsed();
        assert!((0.85..1.05).contains(&took.as_secs_f64()), "{took:?}");
    }

    #[tokio::test]
    async fn without_a_rate_nothing_waits() {
        let body = Pace::new(None).body(pump::full(vec![1; 10]));
        assert_eq!(body.collect().await.unwrap().to_bytes().len(), 10);
    }
}
