//! MD5 and SHA-256 of all bodies under way, sixteen side by side: who waits for whom.
//!
//! One stream's hash cannot be made faster, but the streams of other uploads can be hashed in the same time
//! ([`crate::digest`]). So a body does not hash what passes: it leaves a piece of it here, without copying, and goes on.
//! Whoever makes a batch full runs it, on its own thread and at once; there is no thread for
//! it, no channel, and nothing to shut down.
//!
//! - **A batch is full** when as many streams have left something as there are lanes. Once someone waits it is full, too, when
//!   all have that are under way. So a single upload waits for nobody.
//! - **Who waits**: a body that has left [`STREAM_BYTES`] goes no further before some of it has been hashed, and the end of
//!   the body waits for its digest. So memory is bounded, a slow hash slows the client, and no object is complete before
//!   its digest is known. A body that has not left so much never waits.
//! - **For how long**: until a batch becomes full, but at most [`PATIENCE`]; then it runs what there is. While all cores are
//!   busy others fill the batch before that. Streams that had left nothing by then are not waited for again until they have
//!   come back several times, the more times the more often it happens, so that a slow client does not hold up a fast one.
//! - **How long a batch runs**: [`BATCH_BYTES`] of each stream, at most a third of a millisecond; a lane whose stream has no more
//!   takes the next stream that has. What is left of a longer piece goes to the next batch.
//! - **A body that is dropped** takes its pieces with it; if they are being hashed just then, whoever does that clears up.
//!
//! Bodies of at most [`SMALL`] bytes are hashed where they are: waiting would take longer.

mod queue;
#[cfg(test)]
mod tests;

use std::future::Future as _;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::time::{Sleep, sleep};

use self::queue::{Queue, Slot};
use crate::digest::{Backend, Fips180, Function, Rfc1321, Stream};
use crate::telemetry::metrics;

/// Bodies that are not longer than this many bytes are hashed alone. So is the end of a longer one.
const SMALL: usize = 16 * 1024;

/// Bytes of one stream that may wait to be hashed before the stream does, and one piece more.
const STREAM_BYTES: usize = 256 * 1024;

/// Bytes of all streams that may wait, before a batch runs without being full.
const QUEUE_BYTES: usize = 16 * 1024 * 1024;

/// Bytes of one lane that a batch hashes at most: those of sixteen lie in the cache of a core, so that a body's second hash finds
/// there what its first has read.
const BATCH_BYTES: usize = 64 * 1024;

/// Longest wait for a batch to become full. The timer's own step comes on top of it.
const PATIENCE: Duration = Duration::from_millis(1);

/// Hashing failed: a fault of this program.
#[derive(Debug, thiserror::Error)]
#[error("hashing failed")]
pub(super) struct HashFault;

/// A function that is computed here.
pub(super) trait Laned: Function {
    /// Counts the bytes.
    const BYTES: &'static str;

    /// The lanes of this process.
    fn shared() -> Arc<Lanes<Self>>;
}

impl Laned for Rfc1321 {
    const BYTES: &'static str = metrics::MD5_BYTES;

    fn shared() -> Arc<Lanes<Self>> {
        static SHARED: LazyLock<Arc<Lanes<Rfc1321>>> =
            LazyLock::new(|| Lanes::new(Backend::detect()));
        Arc::clone(&SHARED)
    }
}

impl Laned for Fips180 {
    const BYTES: &'static str = metrics::SHA256_BYTES;

    fn shared() -> Arc<Lanes<Self>> {
        static SHARED: LazyLock<Arc<Lanes<Fips180>>> =
            LazyLock::new(|| Lanes::new(Backend::detect()));
        Arc::clone(&SHARED)
    }
}

/// What streams share that are hashed side by side.
pub(super) struct Lanes<F: Laned> {
    queue: Queue<F>,
}

impl<F: Laned> Lanes<F> {
    /// Lanes of this backend.
    pub(super) fn new(backend: Backend) -> Arc<Self> {
        Arc::new(Self {
            queue: Queue::new(backend),
        })
    }

    /// The hash of one more stream; `length` in bytes, where it is known.
    pub(super) fn stream(self: &Arc<Self>, length: Option<u64>) -> LanedHash<F> {
        let small = length.is_some_and(|length| length <= SMALL as u64);
        let place = if small || self.queue.lanes() == 1 {
            Place::Alone(Stream::default(), 0)
        } else {
            Place::Queued(self.queue.join())
        };
        LanedHash {
            lanes: Arc::clone(self),
            place,
            satiated: false,
            patience: None,
        }
    }
}

/// Where a stream's state is.
enum Place<F: Laned> {
    /// Here, with the bytes taken in.
    Alone(Stream<F>, u64),
    /// In the queue.
    Queued(Slot),
    /// It has been asked for.
    Done(F::Digest),
    /// It is lost.
    Gone,
}

/// The hash of one stream, made beside others'.
///
/// Call order: [`poll_ready`](Self::poll_ready), then [`push`](Self::push), any number of times; then
/// [`poll_finish`](Self::poll_finish).
pub(super) struct LanedHash<F: Laned> {
    lanes: Arc<Lanes<F>>,
    place: Place<F>,
    /// It may have left all that it may.
    satiated: bool,
    /// Set while it waits for others.
    patience: Option<Pin<Box<Sleep>>>,
}

impl<F: Laned> LanedHash<F> {
    /// Whether it may wait for others.
    pub(super) fn waits(&self) -> bool {
        matches!(self.place, Place::Queued(_))
    }

    /// Takes in the next piece, sooner or later. May hash on this thread for up to a third of a millisecond.
    pub(super) fn push(&mut self, piece: &Bytes) {
        match &mut self.place {
            Place::Alone(hash, bytes) => {
                hash.update(piece);
                *bytes = bytes.saturating_add(piece.len() as u64);
            }
            Place::Queued(slot) => self.satiated = self.lanes.queue.push(slot, piece.clone()),
            Place::Done(_) | Place::Gone => {}
        }
    }

    /// Waits until the stream may leave another piece.
    pub(super) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), HashFault>> {
        if self.satiated {
            ready!(self.poll_below(cx, STREAM_BYTES))?;
            self.satiated = false;
        }
        Poll::Ready(Ok(()))
    }

    /// The digest, once everything has been hashed. It can be asked for again.
    pub(super) fn poll_finish(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<F::Digest, HashFault>> {
        ready!(self.poll_below(cx, 1))?;
        let hash = match std::mem::replace(&mut self.place, Place::Gone) {
            Place::Alone(hash, bytes) => {
                metrics::hashed_bytes(F::BYTES, 1, bytes);
                hash
            }
            Place::Queued(slot) => self.lanes.queue.leave(slot).ok_or(HashFault)?,
            Place::Done(digest) => {
                self.place = Place::Done(digest);
                return Poll::Ready(Ok(digest));
            }
            Place::Gone => return Poll::Ready(Err(HashFault)),
        };
        let digest = hash.finish();
        self.place = Place::Done(digest);
        Poll::Ready(Ok(digest))
    }

    /// Waits until fewer than `bytes` of the stream are left to hash.
    fn poll_below(&mut self, cx: &mut Context<'_>, bytes: usize) -> Poll<Result<(), HashFault>> {
        let Place::Queued(slot) = &self.place else {
            return Poll::Ready(Ok(()));
        };
        let queue = &self.lanes.queue;
        // Nothing wakes this task but what it waits for, or what its caller does.
        let mut impatient = match &mut self.patience {
            Some(sleep) => sleep.as_mut().poll(cx).is_ready(),
            None => false,
        };
        let mut turns = 0;
        loop {
            match queue.poll_below(slot, bytes, impatient, cx)? {
                queue::Wait::Over => {
                    self.patience = None;
                    return Poll::Ready(Ok(()));
                }
                // Whoever hashes it wakes this task.
                queue::Wait::Hashing => {
                    self.patience = None;
                    return Poll::Pending;
                }
                // One batch at a time, so that others get their turn on this thread.
                queue::Wait::Ran if turns > 0 => {
                    self.patience = None;
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                queue::Wait::Ran => {
                    turns += 1;
                    impatient = false;
                    self.patience = None;
                }
                queue::Wait::Others => {
                    // Without a clock there is no waiting for others.
                    if Handle::try_current().is_err() {
                        impatient = true;
                        continue;
                    }
                    let sleep = self
                        .patience
                        .get_or_insert_with(|| Box::pin(sleep(PATIENCE)));
                    ready!(sleep.as_mut().poll(cx));
                    impatient = true;
                }
            }
        }
    }
}

impl<F: Laned> Drop for LanedHash<F> {
    fn drop(&mut self) {
        if let Place::Queued(slot) = std::mem::replace(&mut self.place, Place::Gone) {
            self.lanes.queue.leave(slot);
        }
    }
}
