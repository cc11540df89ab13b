//! Bodies on disk: one immutable file each, under a random name.
//!
//! A blob is written once and never changed, so it may be read while its object is being replaced, and an
//! interrupted write can only leave a file that no record names. [`Blobs::sweep`] removes those at start.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncWriteExt, BufWriter};

use super::catalog::Garbage;

/// How much of a body is held before it goes to the file.
const WRITE_BUFFER: usize = 128 * 1024;

/// The name of a blob.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct BlobId(String);

impl BlobId {
    fn random() -> io::Result<Self> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(io::Error::other)?;
        Ok(Self(
            bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        ))
    }
}

impl fmt::Display for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The folder of blobs, fanned out by the first two characters of their names.
#[derive(Debug)]
pub(super) struct Blobs {
    root: PathBuf,
    /// By upload id: the objects from parts that are being read.
    read: Mutex<HashMap<String, Reading>>,
}

/// Who reads an object, and what is to be removed when they are done.
#[derive(Debug, Default)]
struct Reading {
    readers: usize,
    doomed: Vec<BlobId>,
}

impl Blobs {
    /// Makes the folder where it does not exist yet.
    pub(super) fn open(root: PathBuf) -> io::Result<Self> {
        for first in 0..=u8::MAX {
            std::fs::create_dir_all(root.join(format!("{first:02x}")))?;
        }
        sync_folder(&root)?;
        Ok(Self {
            root,
            read: Mutex::default(),
        })
    }

    /// Begins a new blob.
    pub(super) async fn create(&self) -> io::Result<Draft> {
        let id = BlobId::random()?;
        let path = self.path(&id);
        let file = tokio::fs::File::create_new(&path).await?;
        Ok(Draft {
            file: BufWriter::with_capacity(WRITE_BUFFER, file),
            blob: Uncommitted {
                id,
                path,
                keep: false,
            },
        })
    }

    /// A second name for the same bytes; a hard link where the file system has them, a copy where not.
    pub(super) fn duplicate(&self, source: &BlobId) -> io::Result<Uncommitted> {
        let id = BlobId::random()?;
        let path = self.path(&id);
        let from = self.path(source);
        let copy = Uncommitted {
            id,
            path,
            keep: false,
        };
        match std::fs::hard_link(&from, &copy.path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(error),
            Err(_) => {
                std::fs::copy(&from, &copy.path)?;
                File::open(&copy.path)?.sync_all()?;
            }
        }
        sync_parent(&copy.path)?;
        Ok(copy)
    }

    pub(super) fn read(&self, id: &BlobId) -> io::Result<File> {
        File::open(self.path(id))
    }

    /// Keeps the parts of an object for as long as the answer lives, since they are opened one after another. To be
    /// called before its parts are looked up: what is looked up after that is removed no earlier.
    pub(super) fn hold(self: &Arc<Self>, upload: &str) -> Hold {
        self.reading().entry(upload.to_owned()).or_default().readers += 1;
        Hold {
            blobs: Arc::clone(self),
            upload: upload.to_owned(),
        }
    }

    /// Removes what no record names any more, once nobody reads it.
    pub(super) fn discard(&self, garbage: Garbage) {
        if let Some(upload) = &garbage.upload
            && let Some(reading) = self.reading().get_mut(upload)
        {
            reading.doomed.extend(garbage.blobs);
            return;
        }
        self.remove(&garbage.blobs);
    }

    /// A failure costs space until the next sweep, so it is only logged.
    fn remove(&self, blobs: &[BlobId]) {
        for id in blobs {
            if let Err(error) = std::fs::remove_file(self.path(id)) {
                tracing::warn!(blob = %id, %error, "could not remove a blob that is no longer used");
            }
        }
    }

    fn reading(&self) -> MutexGuard<'_, HashMap<String, Reading>> {
        // Every change under the lock is complete in itself.
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes every file that is not in `live`, and says how many there were.
    pub(super) fn sweep(&self, live: &HashSet<BlobId>) -> io::Result<usize> {
        let mut removed = 0;
        for folder in std::fs::read_dir(&self.root)? {
            let folder = folder?;
            if !folder.file_type()?.is_dir() {
                continue;
            }
            for file in std::fs::read_dir(folder.path())? {
                let file = file?;
                let id = BlobId(file.file_name().to_string_lossy().into_owned());
                if !live.contains(&id) {
                    std::fs::remove_file(file.path())?;
                    removed += 1;
                }
            }
        }
        Ok(removed)
    }

    pub(super) fn path(&self, id: &BlobId) -> PathBuf {
        let fan = id.0.get(..2).unwrap_or("00");
        self.root.join(fan).join(&id.0)
    }
}

/// Someone reads an object from parts.
#[derive(Debug)]
pub(super) struct Hold {
    blobs: Arc<Blobs>,
    upload: String,
}

impl Drop for Hold {
    fn drop(&mut self) {
        let doomed = {
            let mut reading = self.blobs.reading();
            let Some(own) = reading.get_mut(&self.upload) else {
                return;
            };
            own.readers = own.readers.saturating_sub(1);
            if own.readers > 0 {
                return;
            }
            reading.remove(&self.upload)
        };
        let doomed = doomed.map(|own| own.doomed).unwrap_or_default();
        if doomed.is_empty() {
            return;
        }
        // A reader ends wherever its connection does, and up to 10,000 files are too much to remove there.
        let blobs = Arc::clone(&self.blobs);
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(move || blobs.remove(&doomed))),
            Err(_) => blobs.remove(&doomed),
        }
    }
}

/// A blob that is being written. Dropping it removes the file.
pub(super) struct Draft {
    // Before `blob`, so that it is closed before the file is removed.
    file: BufWriter<tokio::fs::File>,
    blob: Uncommitted,
}

impl Draft {
    pub(super) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes).await
    }

    /// Flushes to stable storage.
    pub(super) async fn finish(mut self) -> io::Result<Uncommitted> {
        self.file.flush().await?;
        let file = self.file.into_inner().into_std().await;
        let blob = self.blob;
        tokio::task::spawn_blocking(move || {
            file.sync_all()?;
            sync_parent(&blob.path)?;
            Ok(blob)
        })
        .await
        .map_err(io::Error::other)?
    }
}

/// A complete blob that no record names yet. Dropping it removes the file; [`Uncommitted::keep`] ends that.
#[derive(Debug)]
pub(super) struct Uncommitted {
    id: BlobId,
    path: PathBuf,
    keep: bool,
}

impl Uncommitted {
    pub(super) fn id(&self) -> &BlobId {
        &self.id
    }

    /// To be called once a record names the blob.
    pub(super) fn keep(mut self) {
        self.keep = true;
    }
}

impl Drop for Uncommitted {
    fn drop(&mut self) {
        if !self.keep {
            // What cannot be removed now is swept at the next start.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn sync_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), sync_folder)
}

/// Makes the names in a folder durable, where the platform can.
fn sync_folder(path: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(path)?.sync_all()?;
    }
    Ok(())
}
