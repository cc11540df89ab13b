//! The file of a browser upload, taken out of its form while it passes.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::{BodyError, VerifyError};
use crate::protocol::post_form::FormFile;

pin_project! {
    /// The bytes of the file. It ends without an error only where the form ended behind them.
    pub struct FormBody<B> {
        #[pin]
        inner: B,
        file: FormFile,
        pending: Bytes,
        done: bool,
    }
}

impl<B> FormBody<B> {
    /// `begun` is what has been read of the file already, `inner` what follows.
    pub fn new(inner: B, file: FormFile, begun: Bytes) -> Self {
        Self {
            inner,
            file,
            pending: begun,
            done: false,
        }
    }
}

impl<B> Body for FormBody<B>
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
        while !*this.done {
            let mut bytes = std::mem::take(this.pending);
            let verdict = if bytes.is_empty() {
                match ready!(this.inner.as_mut().poll_frame(cx)) {
                    Some(Ok(frame)) => {
                        *this.pending = frame.into_data().unwrap_or_default();
                        continue;
                    }
                    Some(Err(error)) => {
                        *this.done = true;
                        return Poll::Ready(Some(Err(error)));
                    }
                    None => {
                        *this.done = true;
                        this.file.finish().map(|()| 0)
                    }
                }
            } else {
                this.file.take(&bytes)
            };
            match verdict {
                Ok(0) => {}
                Ok(taken) => {
                    bytes.truncate(taken);
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
                Err(error) => {
                    *this.done = true;
                    let error = BodyError::Refused(VerifyError::Form(error));
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.done
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.file.left())
    }
}
