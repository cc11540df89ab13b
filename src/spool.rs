//! Where an object waits that has to be checked as a whole before any of it may be sent: a file without a name, which is
//! gone when nobody holds it any more, whatever becomes of the process. It holds stored bytes, never plaintext.
//!
//! ```text
//! store ──► Writer (two buffers, written beside) ──► Spooled ──► read(range), as often as needed
//! ```
//!
//! One budget for all of them. Memory per object is a few buffers; an object that fits into one never becomes a file.
//! What comes back from the file is trusted to be what went in: the folder belongs on this machine.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::pump::BodyError;
use crate::telemetry::metrics::{self, SpoolRefusal};

/// Bytes that go to or come from the file at once. Two such buffers per object are in use while it is written, and
/// as many while it is read.
const BUFFER: usize = 128 * 1024;

/// Why an object cannot wait here.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SpoolError {
    /// It is longer than any that is taken.
    #[error("object of {length} stored bytes is longer than the spool takes: {most}")]
    TooLarge {
        /// Its stored bytes.
        length: u64,
        /// Those that are taken at most.
        most: u64,
    },
    /// Others wait, and it does not fit beside them.
    #[error("no room in the spool: {used} of {bytes} bytes in use")]
    Full {
        /// Bytes that others have.
        used: u64,
        /// All there are.
        bytes: u64,
    },
    /// The file system.
    #[error("spool: {0}")]
    Io(#[from] io::Error),
    /// The folder cannot be used.
    #[error("cannot use the folder {}: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
}

/// The spool of a process.
#[derive(Clone, Debug)]
pub struct Spool(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    folder: PathBuf,
    bytes: u64,
    max_object: u64,
    used: AtomicU64,
}

/// Bytes of the budget.
#[derive(Debug)]
struct Reserved {
    shared: Arc<Shared>,
    bytes: u64,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.shared.used.fetch_sub(self.bytes, Ordering::AcqRel);
        metrics::spool_released(self.bytes);
    }
}

impl Spool {
    /// A spool of files in `folder`: `bytes` in all of them together, `max_object` in one. Touches no file.
    pub fn new(folder: impl Into<PathBuf>, bytes: u64, max_object: u64) -> Self {
        Self(Arc::new(Shared {
            folder: folder.into(),
            bytes,
            max_object,
            used: AtomicU64::new(0),
        }))
    }

    /// Sees whether files can be made and written.
    ///
    /// # Errors
    /// [`SpoolError::Folder`].
    pub fn check(&self) -> Result<(), SpoolError> {
        let made = || tempfile::tempfile_in(self.folder())?.write_all_at(&[0], 0);
        made().map_err(|source| SpoolError::Folder {
            path: self.folder().to_owned(),
            source,
        })
    }

    /// Makes room for an object of `length` stored bytes.
    ///
    /// # Errors
    /// [`SpoolError`].
    pub async fn begin(&self, length: u64) -> Result<Writer, SpoolError> {
        let place = if length <= BUFFER as u64 {
            None
        } else {
            let reserved = self.reserve(length)?;
            let folder = self.folder().to_owned();
            let file = blocking(move || tempfile::tempfile_in(folder)).await?;
            Some(OnDisk {
                file: Unlinked(Some(Arc::new(file))),
                _reserved: reserved,
            })
        };
        Ok(Writer {
            place,
            length,
            written: 0,
            buffer: BytesMut::new(),
            under_way: None,
        })
    }

    /// Whether an object of so many stored bytes fits beside the others.
    pub fn has_room(&self, length: u64) -> bool {
        let used = self.0.used.load(Ordering::Acquire);
        length <= BUFFER as u64 || used.saturating_add(length) <= self.0.bytes
    }

    fn folder(&self) -> &Path {
        &self.0.folder
    }

    fn reserve(&self, bytes: u64) -> Result<Reserved, SpoolError> {
        let shared = &self.0;
        if bytes > shared.max_object {
            metrics::spool_refused(SpoolRefusal::TooLarge);
            return Err(SpoolError::TooLarge {
                length: bytes,
                most: shared.max_object,
            });
        }
        let fits = |used: u64| used.checked_add(bytes).filter(|&all| all <= shared.bytes);
        match shared
            .used
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, fits)
        {
            Ok(_) => {
                metrics::spool_reserved(bytes);
                Ok(Reserved {
                    shared: Arc::clone(shared),
                    bytes,
                })
            }
            Err(used) => {
                metrics::spool_refused(SpoolRefusal::Full);
                Err(SpoolError::Full {
                    used,
                    bytes: shared.bytes,
                })
            }
        }
    }
}

/// A file that is closed where that may block: giving back gigabytes takes a file system a while.
struct Unlinked(Option<Arc<File>>);

impl Unlinked {
    fn file(&self) -> Option<Arc<File>> {
        self.0.clone()
    }
}

impl Drop for Unlinked {
    fn drop(&mut self) {
        if let (Some(file), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            runtime.spawn_blocking(move || drop(file));
        }
    }
}

struct OnDisk {
    file: Unlinked,
    _reserved: Reserved,
}

/// Takes the stored bytes of one object.
pub struct Writer {
    /// None where the buffer is room enough.
    place: Option<OnDisk>,
    length: u64,
    /// Bytes that have gone to the file, or are on their way.
    written: u64,
    buffer: BytesMut,
    under_way: Option<JoinHandle<io::Result<BytesMut>>>,
}

impl Writer {
    /// Takes the next bytes.
    ///
    /// # Errors
    /// [`SpoolError::Io`], where there are more of them than was said as well.
    pub async fn write(&mut self, mut bytes: &[u8]) -> Result<(), SpoolError> {
        let taken = self.written + self.buffer.len() as u64;
        if bytes.len() as u64 > self.length - taken {
            return Err(io::Error::from(io::ErrorKind::FileTooLarge).into());
        }
        while !bytes.is_empty() {
            let n = (BUFFER - self.buffer.len()).min(bytes.len());
            self.buffer.extend_from_slice(&bytes[..n]);
            bytes = &bytes[n..];
            if self.buffer.len() == BUFFER && self.place.is_some() {
                self.flush().await?;
            }
        }
        Ok(())
    }

    /// Sends the buffer on its way, and takes up the one that was sent before.
    async fn flush(&mut self) -> Result<(), SpoolError> {
        let mut free = match self.under_way.take() {
            Some(write) => joined(write.await)?,
            None => BytesMut::new(),
        };
        free.clear();
        let buffer = std::mem::replace(&mut self.buffer, free);
        let at = self.written;
        self.written += buffer.len() as u64;
        if let Some(file) = self.place.as_ref().and_then(|place| place.file.file()) {
            self.under_way = Some(tokio::task::spawn_blocking(move || {
                file.write_all_at(&buffer, at)?;
                Ok(buffer)
            }));
        }
        Ok(())
    }

    /// Ends the object.
    ///
    /// # Errors
    /// [`SpoolError::Io`], where bytes are missing as well.
    pub async fn finish(mut self) -> Result<Spooled, SpoolError> {
        if self.written + self.buffer.len() as u64 != self.length {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        if self.place.is_some() {
            self.flush().await?;
            if let Some(write) = self.under_way.take() {
                joined(write.await)?;
            }
        }
        let bytes = match self.place {
            Some(place) => Kept::OnDisk(place),
            None => Kept::InMemory(self.buffer.freeze()),
        };
        Ok(Spooled(Arc::new(bytes)))
    }
}

/// The stored bytes of an object. Clones are the same.
#[derive(Clone)]
pub struct Spooled(Arc<Kept>);

enum Kept {
    InMemory(Bytes),
    OnDisk(OnDisk),
}

impl Spooled {
    /// Whether it is in a file, and takes some of the budget.
    pub fn is_on_disk(&self) -> bool {
        matches!(&*self.0, Kept::OnDisk(_))
    }

    /// The bytes of a range, which lies within the object.
    pub fn read(&self, range: Range<u64>) -> SpooledBody {
        SpooledBody {
            bytes: self.clone(),
            at: range.start,
            end: range.end.max(range.start),
            under_way: None,
        }
    }
}

/// Bytes from the spool; the next ones are read while these are being sent.
pub struct SpooledBody {
    bytes: Spooled,
    /// The next byte to give out.
    at: u64,
    end: u64,
    under_way: Option<JoinHandle<io::Result<Bytes>>>,
}

impl SpooledBody {
    /// Begins to read the next bytes, where that takes a file.
    fn begin(&mut self, at: u64) {
        if let Kept::OnDisk(place) = &*self.bytes.0
            && let Some(file) = place.file.file()
            && at < self.end
        {
            let most = usize::try_from(self.end - at).unwrap_or(usize::MAX);
            self.under_way = Some(tokio::task::spawn_blocking(move || {
                let mut buffer = vec![0; most.min(BUFFER)];
                file.read_exact_at(&mut buffer, at)?;
                Ok(buffer.into())
            }));
        }
    }

    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        if let Kept::InMemory(bytes) = &*self.bytes.0 {
            let whole = usize::try_from(self.at)
                .ok()
                .zip(usize::try_from(self.end).ok())
                .filter(|(_, end)| *end <= bytes.len());
            return Poll::Ready(match whole {
                Some((at, end)) => Ok(bytes.slice(at..end)),
                None => Err(io::ErrorKind::UnexpectedEof.into()),
            });
        }
        if self.under_way.is_none() {
            self.begin(self.at);
        }
        let Some(read) = &mut self.under_way else {
            return Poll::Ready(Err(io::ErrorKind::NotFound.into()));
        };
        let read = joined(ready!(Pin::new(read).poll(cx)));
        self.under_way = None;
        let read = read?;
        self.begin(self.at + read.len() as u64);
        Poll::Ready(Ok(read))
    }
}

impl Body for SpooledBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.at == self.end {
            return Poll::Ready(None);
        }
        match ready!(self.poll_bytes(cx)) {
            Ok(bytes) => {
                self.at += bytes.len() as u64;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Err(error) => {
                self.at = self.end;
                Poll::Ready(Some(Err(BodyError::Spool(error.to_string()))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.at == self.end
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.end - self.at)
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    joined(tokio::task::spawn_blocking(work).await)
}

fn joined<T>(done: Result<io::Result<T>, tokio::task::JoinError>) -> io::Result<T> {
    done.unwrap_or_else(|error| Err(io::Error::other(error)))
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    fn content(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i * 131 + (i >> 8) * 17) as u8).collect()
    }

    fn spool(folder: &tempfile::TempDir) -> Spool {
        Spool::new(folder.path(), 4 << 20, 2 << 20)
    }

    async fn filled(spool: &Spool, content: &[u8], piece: usize) -> Spooled {
        let mut writer = spool.begin(content.len() as u64).await.unwrap();
        for piece in content.chunks(piece) {
            writer.write(piece).await.unwrap();
        }
        writer.finish().await.unwrap()
    }

    #[tokio::test]
    async fn what_went_in_comes_out_in_any_range() {
        let folder = tempfile::tempdir().unwrap();
        let spool = spool(&folder);
        for len in [
            0,
            1,
            BUFFER - 1,
            BUFFER,
            BUFFER + 1,
            3 * BUFFER,
            5 * BUFFER + 7,
        ] {
            let content = content(len);
            let spooled = filled(&spool, &content, 10_007).await;
            for (start, end) in [
                (0, len),
                (len / 3, len / 2),
                (len / 2, len / 2),
                (len.saturating_sub(1), len),
            ] {
                let body = spooled.read(start as u64..end as u64);
                assert_eq!(body.size_hint().exact(), Some((end - start) as u64));
                let bytes = body.collect().await.unwrap().to_bytes();
                assert!(bytes == content[start..end], "{start}..{end} of {len}");
            }
        }
    }

    #[tokio::test]
    async fn the_budget_counts_what_is_held_and_no_name_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let spool = spool(&folder);
        let used = || spool.0.used.load(Ordering::Acquire);
        let content = content(2 << 20);
        let first = filled(&spool, &content, 1 << 16).await;
        let body = first.read(0..10);
        drop(first);
        assert_eq!(used(), 2 << 20, "a body holds it");
        let writer = spool.begin(2 << 20).await.unwrap();
        let full = spool.begin(BUFFER as u64 + 1).await.err().unwrap();
        assert!(matches!(full, SpoolError::Full { used, .. } if used == 4 << 20));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        // What fits into a buffer takes none of it.
        drop(spool.begin(BUFFER as u64).await.unwrap());
        drop(writer);
        assert_eq!(used(), 2 << 20);
        drop(body);
        assert_eq!(used(), 0);
        let large = spool.begin((2 << 20) + 1).await.err().unwrap();
        assert!(matches!(large, SpoolError::TooLarge { .. }));
        assert_eq!(used(), 0);
    }

    #[tokio::test]
    async fn more_or_less_than_was_said_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let spool = spool(&folder);
        for len in [10, 2 * BUFFER] {
            let mut writer = spool.begin(len as u64).await.unwrap();
            writer.write(&content(len - 1)).await.unwrap();
            assert!(writer.write(&[0, 0]).await.is_err());
            assert!(writer.finish().await.is_err());
        }
        let spooled = filled(&spool, &content(10), 10).await;
        assert!(spooled.read(5..11).collect().await.is_err());
        let spooled = filled(&spool, &content(2 * BUFFER), BUFFER).await;
        let body = spooled.read(5..2 * BUFFER as u64 + 1);
        assert!(matches!(body.collect().await, Err(BodyError::Spool(_))));
    }

    #[test]
    fn a_folder_that_cannot_be_used_is_told() {
        let folder = tempfile::tempdir().unwrap();
        spool(&folder).check().unwrap();
        let missing = Spool::new(folder.path().join("missing"), 1, 1);
        assert!(matches!(missing.check(), Err(SpoolError::Folder { .. })));
    }
}
