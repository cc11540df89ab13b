//! A connection that reads no more at once than the memory budget leaves to a stream.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf, Take};

use super::buffers;

/// The connection.
pub struct Windowed<T>(Take<T>);

impl<T: AsyncRead> Windowed<T> {
    /// Wraps a connection.
    pub fn new(io: T) -> Self {
        Self(io.take(0))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Windowed<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // A limit on each read, never on all of them. One byte less than a power of two: hyper takes a full
        // buffer as a reason to double it.
        self.0.set_limit(buffers::window() as u64 - 1);
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Windowed<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.0.get_mut()).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.0.get_mut()).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.get_ref().is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.0.get_mut()).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.0.get_mut()).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_read_is_bounded_and_none_is_the_last() {
        let sent = vec![7; 3 * buffers::MOST + 5];
        let mut io = Windowed::new(std::io::Cursor::new(sent.clone()));
        let mut buffer = vec![0; 2 * buffers::MOST];
        let mut seen = 0;
        loop {
            let n = io.read(&mut buffer).await.unwrap();
            if n == 0 {
                break;
            }
            assert!(n < buffers::MOST);
            seen += n;
        }
        assert_eq!(seen, sent.len());
    }
}
