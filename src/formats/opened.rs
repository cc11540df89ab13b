//! The plaintext of an object of another program's format, from stored bytes that have been checked before.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::foreign::Opener;
use crate::pump::{BodyError, OpenFailure};

pin_project! {
    /// Opens a body of stored bytes.
    pub struct OpenedBody<B> {
        #[pin]
        inner: B,
        opener: Box<dyn Opener>,
        skip: u64,
        left: u64,
    }
}

impl<B> OpenedBody<B> {
    /// Opens `inner`, the stored bytes of a place; of the plaintext that comes of them, `len` bytes behind the first
    /// `skip` are given out.
    pub fn new(inner: B, opener: Box<dyn Opener>, skip: u64, len: u64) -> Self {
        Self {
            inner,
            opener,
            skip,
            left: len,
        }
    }
}

impl<B> Body for OpenedBody<B>
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
        while *this.left > 0 {
            let Some(frame) = ready!(this.inner.as_mut().poll_frame(cx)?) else {
                *this.left = 0;
                return Poll::Ready(Some(Err(OpenFailure::Truncated.into())));
            };
            let Ok(stored) = frame.into_data() else {
                continue;
            };
            let mut plaintext = BytesMut::with_capacity(stored.len());
            if this.opener.open(stored, &mut plaintext).is_err() {
                *this.left = 0;
                return Poll::Ready(Some(Err(OpenFailure::Object.into())));
            }
            let skipped = (*this.skip).min(plaintext.len() as u64);
            *this.skip -= skipped;
            plaintext.advance(skipped as usize);
            let most = usize::try_from(*this.left).unwrap_or(usize::MAX);
            plaintext.truncate(most);
            if !plaintext.is_empty() {
                *this.left -= plaintext.len() as u64;
                return Poll::Ready(Some(Ok(Frame::data(plaintext.freeze()))));
            }
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
