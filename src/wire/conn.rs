//! A connection with two things that an HTTP library does not do by itself.
//!
//! *Interim answers for empty bodies.* A client that sent `Expect: 100-continue` with an empty body (aws cli
//! does, for `aws s3 mb`) may wait a minute for an interim answer that hyper sends only when a body is
//! read. The request handler asks for it, and it goes out before the final answer.
//!
//! *Lingering close.* Where a request is refused while its body is still coming, closing at once would
//! reset the connection and take the answer with it. So the write side is closed, and what still comes is
//! thrown away for a short, bounded while.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

const INTERIM: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
const LINGER: Duration = Duration::from_secs(3);
const LINGER_BYTES: usize = 64 * 1024 * 1024;

/// What a request handler asks of its connection.
#[derive(Clone, Default)]
pub struct Signals(Arc<Flags>);

#[derive(Default)]
struct Flags {
    interim: AtomicBool,
    linger: AtomicBool,
}

impl Signals {
    /// Send `100 Continue` before the answer to the current request.
    pub fn send_interim(&self) {
        self.0.interim.store(true, Ordering::Release);
    }

    /// The current request is refused before its body has come.
    pub fn linger(&self) {
        self.0.linger.store(true, Ordering::Release);
    }
}

pin_project! {
    /// The connection.
    pub struct Conn<T> {
        #[pin]
        io: T,
        #[pin]
        deadline: Sleep,
        signals: Signals,
        interim_left: usize,
        write_closed: bool,
        drained: usize,
    }
}

impl<T> Conn<T> {
    /// Wraps a stream.
    pub fn new(io: T, signals: Signals) -> Self {
        let deadline = sleep_until(Instant::now());
        Self {
            io,
            deadline,
            signals,
            interim_left: 0,
            write_closed: false,
            drained: 0,
        }
    }
}

impl<T: AsyncRead> AsyncRead for Conn<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.project().io.poll_read(cx, buf)
    }
}

impl<T: AsyncRead + AsyncWrite> Conn<T> {
    /// Writes what is left of an interim answer.
    fn poll_interim(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut this = self.project();
        if this.signals.0.interim.swap(false, Ordering::AcqRel) {
            *this.interim_left = INTERIM.len();
        }
        while *this.interim_left > 0 {
            let rest = &INTERIM[INTERIM.len() - *this.interim_left..];
            let n = ready!(this.io.as_mut().poll_write(cx, rest))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            *this.interim_left -= n;
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + AsyncWrite> AsyncWrite for Conn<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.as_mut().poll_interim(cx))?;
        self.project().io.poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.as_mut().poll_interim(cx))?;
        self.project().io.poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().io.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut this = self.project();
        if !*this.write_closed {
            ready!(this.io.as_mut().poll_shutdown(cx))?;
            *this.write_closed = true;
            this.deadline.as_mut().reset(Instant::now() + LINGER);
        }
        if !this.signals.0.linger.load(Ordering::Acquire) {
            return Poll::Ready(Ok(()));
        }
        let mut scratch = [0u8; 8192];
        while *this.drained < LINGER_BYTES {
            let mut buf = ReadBuf::new(&mut scratch);
            match this.io.as_mut().poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => {
                    *this.drained += buf.filled().len()
                }
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => {
                    ready!(std::future::Future::poll(this.deadline.as_mut(), cx));
                    return Poll::Ready(Ok(()));
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}
