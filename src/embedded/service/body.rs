//! Bodies on their way out: a stretch of one blob, or of several one after another.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::Stream;
use tokio::io::AsyncReadExt;

use super::Inner;
use crate::embedded::blobs::{BlobId, Blobs, Hold};
use crate::embedded::catalog::{Body, CatalogError, Record};

/// How much of a body is read from its file at a time.
const READ_BUFFER: usize = 128 * 1024;

/// Some bytes of an object. They stay readable when the object is replaced.
pub(super) struct Stretch {
    blobs: Arc<Blobs>,
    pieces: VecDeque<Piece>,
    // Of an object from parts. A single blob stays readable because it is open.
    _hold: Option<Hold>,
}

/// Some bytes of a blob.
struct Piece {
    source: Source,
    from: u64,
    length: u64,
}

enum Source {
    Open(File),
    Held(BlobId),
}

impl Inner {
    /// Finds the bytes of an object; nothing where the object is gone.
    pub(super) fn stretch(
        &self,
        record: &Record,
        range: &Range<u64>,
    ) -> Result<Option<Stretch>, CatalogError> {
        let mut stretch = Stretch {
            blobs: Arc::clone(&self.blobs),
            pieces: VecDeque::new(),
            _hold: None,
        };
        match &record.body {
            Body::Blob(blob) => {
                let file = match self.blobs.read(blob) {
                    Ok(file) => file,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                    Err(error) => return Err(error.into()),
                };
                stretch.pieces.push_back(Piece {
                    source: Source::Open(file),
                    from: range.start,
                    length: range.end.saturating_sub(range.start),
                });
            }
            Body::Parts { upload, .. } => {
                stretch._hold = Some(self.blobs.hold(upload));
                let Some(parts) = self.catalog.parts_of(upload, range)? else {
                    return Ok(None);
                };
                for part in parts {
                    let end = part.offset.saturating_add(part.size).min(range.end);
                    let start = part.offset.max(range.start);
                    if start < end {
                        stretch.pieces.push_back(Piece {
                            source: Source::Held(part.blob),
                            from: start - part.offset,
                            length: end - start,
                        });
                    }
                }
            }
        }
        Ok(Some(stretch))
    }
}

impl Stretch {
    /// Opens the next blob where its part of the stretch begins, and says how long that is.
    async fn next(&mut self) -> io::Result<Option<(tokio::fs::File, u64)>> {
        let Some(piece) = self.pieces.pop_front() else {
            return Ok(None);
        };
        let blobs = Arc::clone(&self.blobs);
        let file = tokio::task::spawn_blocking(move || {
            let mut file = match piece.source {
                Source::Open(file) => file,
                Source::Held(blob) => blobs.read(&blob)?,
            };
            file.seek(SeekFrom::Start(piece.from))?;
            io::Result::Ok(file)
        })
        .await
        .map_err(io::Error::other)??;
        Ok(Some((tokio::fs::File::from_std(file), piece.length)))
    }

    /// The bytes. A file that ends early is an error, so that the connection breaks short of what the answer promised.
    pub(super) fn send(self) -> impl Stream<Item = io::Result<Bytes>> + Send + Sync + 'static {
        let begin = (self, None);
        futures::stream::try_unfold(begin, |(mut stretch, mut current)| async move {
            loop {
                let (mut file, left) = match current.take() {
                    Some(current) => current,
                    None => match stretch.next().await? {
                        Some(next) => next,
                        None => return Ok(None),
                    },
                };
                if left == 0 {
                    continue;
                }
                let want = usize::try_from(left).map_or(READ_BUFFER, |left| left.min(READ_BUFFER));
                let mut buffer = BytesMut::with_capacity(want);
                let mut limited = (&mut file).take(want as u64);
                while buffer.len() < want {
                    if limited.read_buf(&mut buffer).await? == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                let current = Some((file, left - want as u64));
                return Ok(Some((buffer.freeze(), (stretch, current))));
            }
        })
    }
}
