//! A connection that reads no more at once than the memory budget leaves to a stream.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf, Take};

/// The connection.
pub struct Windowed<T> {
    io: Take<T>,
    most: fn() -> usize,
}

impl<T: AsyncRead> Windowed<T> {
    /// Wraps a connection, of which fewer than `most` bytes are read at once: [`window`](super::buffers::window), or
    /// [`upload_read`](super::buffers::upload_read). It is asked before each read.
    pub fn new(io: T, most: fn() -> usize) -> Self {
        let io = io.take(0);
        Self { io, most }
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
        let most = (self.most)();
        self.io.set_limit((most as u64).saturating_sub(1));
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Windowed<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.io.get_mut()).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.io.get_mut()).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.get_ref().is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.io.get_mut()).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.io.get_mut()).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::super::buffers;
    use super::*;

    #[tokio::test]
    async fn every_read_is_bounded_and_none_is_the_last() {
        let sent = vec![7; 3 * buffers::MOST + 5];
        let mut io = Windowed::new(std::io::Cursor::new(sent.clone()), buffers::window);
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
