//! A body that waits until what it gave has been written.
//!
//! An HTTP library queues frames up to a size that it learns once for a connection. What a stream may hold changes
//! with the number of streams, so the frames themselves tell when they are gone.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::task::AtomicWaker;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::{BodyError, buffers};

/// Shorter frames are not counted: they are not worth it.
const COUNTED: usize = 16 * 1024;

pin_project! {
    /// Gives the inner body's frames, and the next one only where fewer bytes than a window are waiting to be
    /// written. For consumers that let go of each frame without waiting for the next, as connections do.
    pub struct Paced<B> {
        #[pin]
        inner: B,
        waiting: Option<Arc<Waiting>>,
    }
}

/// Bytes that were given and are not yet written.
#[derive(Default)]
struct Waiting {
    bytes: AtomicUsize,
    body: AtomicWaker,
}

/// The content of a frame, until it has been written.
struct Given {
    content: Bytes,
    waiting: Arc<Waiting>,
}

impl AsRef<[u8]> for Given {
    fn as_ref(&self) -> &[u8] {
        &self.content
    }
}

impl Drop for Given {
    fn drop(&mut self) {
        self.waiting
            .bytes
            .fetch_sub(self.content.len(), Ordering::AcqRel);
        self.waiting.body.wake();
    }
}

impl<B> Paced<B> {
    /// Wraps `inner`.
    pub fn new(inner: B) -> Self {
        Self {
            inner,
            waiting: None,
        }
    }
}

impl Waiting {
    fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        let full = || self.bytes.load(Ordering::Acquire) >= buffers::window();
        if full() {
            self.body.register(cx.waker());
            // It may have been written just before.
            if full() {
                return Poll::Pending;
            }
        }
        Poll::Ready(())
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
        if let Some(waiting) = this.waiting {
            ready!(waiting.poll(cx));
        }
        let polled = this.inner.poll_frame(cx);
        polled.map_ok(|frame| {
            frame.map_data(|content| {
                if content.len() < COUNTED {
                    return content;
                }
                let waiting = Arc::clone(this.waiting.get_or_insert_default());
                waiting.bytes.fetch_add(content.len(), Ordering::AcqRel);
                Bytes::from_owner(Given { content, waiting })
            })
        })
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
    use futures::stream;
    use futures::task::noop_waker;
    use http_body_util::StreamBody;

    use super::*;

    #[test]
    fn the_next_frame_waits_for_the_ones_before() {
        let frame = || Ok(Frame::data(Bytes::from(vec![7; buffers::MOST / 2])));
        let inner = StreamBody::new(stream::iter([frame(), frame(), frame(), frame()]));
        let mut body = std::pin::pin!(Paced::new(inner));
        let waker = noop_waker();
        let mut cx = Context::from_waker(&waker);
        let mut next = || body.as_mut().poll_frame(&mut cx);
        let mut given = Vec::new();
        while let Poll::Ready(Some(Ok(frame))) = next() {
            given.push(frame);
        }
        // How many fit depends on how many streams other tests have under way.
        assert!((1..=2).contains(&given.len()), "{}", given.len());
        assert!(next().is_pending());
        while !given.is_empty() {
            given.remove(0);
            if let Poll::Ready(Some(Ok(frame))) = next() {
                given.push(frame);
            }
        }
        assert!(matches!(next(), Poll::Ready(None)));
    }
}
