//! A client's raw body: counted, and limited in how long it may pause.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use pin_project_lite::pin_project;

use crate::pump::BodyError;

pin_project! {
    /// Bytes as they come in.
    pub struct ClientBody {
        #[pin]
        inner: Incoming,
        count: Arc<AtomicU64>,
    }
}

impl ClientBody {
    /// Wraps hyper's body.
    pub fn new(inner: Incoming, count: Arc<AtomicU64>) -> Self {
        Self { inner, count }
    }
}

impl Body for ClientBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.project();
        this.inner.poll_frame(cx).map(|frame| {
            frame.map(|frame| match frame {
                Ok(frame) => {
                    if let Some(data) = frame.data_ref() {
                        this.count.fetch_add(data.len() as u64, Ordering::Relaxed);
                    }
                    Ok(frame)
                }
                Err(error) => Err(BodyError::Client(error.to_string())),
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
