//! What waits to be hashed, and the batches that are made of it.
//!
//! One lock over all of it, held for as long as it takes to move a few pointers: never while hashing, never while waking.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

use bytes::{Buf as _, Bytes};

use super::{BATCH_BYTES, HashFault, Laned, QUEUE_BYTES, SMALL, STREAM_BYTES};
use crate::digest::{BLOCK, Backend, MAX_LANES, Stream as Hash};
use crate::telemetry::metrics;

/// What the shortest piece counts as. A body that comes in crumbs keeps no more of them than this allows.
const PIECE_COST: usize = 16 * 1024;

/// Most pieces that a stream which kept others waiting must bring before it is waited for again.
const MAX_PENANCE: u8 = 64;

/// The streams under way and their pieces.
pub(super) struct Queue<F: Laned> {
    backend: Backend,
    inner: Mutex<Inner<F>>,
}

/// A stream's place in the queue. Whoever has it gives it back with [`Queue::leave`].
pub(super) struct Slot(usize);

/// What came of looking whether enough has been hashed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// It has.
    Over,
    /// It is being hashed just now, and the task will be woken.
    Hashing,
    /// A batch was run; look again.
    Ran,
    /// Too few streams have left something for a batch. The task will be woken if others run one.
    Others,
}

#[derive(Default)]
struct Inner<F: Laned> {
    streams: Vec<Option<Stream<F>>>,
    free: Vec<usize>,
    /// Streams with pieces, none of which is being hashed; the one that has waited longest first.
    ready: VecDeque<usize>,
    /// Streams that are waited for.
    prompt: Vec<usize>,
    /// Bytes of all pieces that are not being hashed.
    bytes: usize,
    /// Streams that have a waker.
    waiters: usize,
}

struct Stream<F: Laned> {
    /// Not the newest while `hashing`.
    hash: Hash<F>,
    pieces: VecDeque<Bytes>,
    /// What `pieces` cost, and what those cost that are being hashed.
    waiting: usize,
    hashing: usize,
    state: State,
    waker: Option<Waker>,
    /// Where it stands in `prompt`.
    prompt: Option<usize>,
    /// Pieces to bring before it is waited for, and as many as that were last time.
    penance: u8,
    last_penance: u8,
    /// Nobody wants the digest any more.
    left: bool,
    /// A batch broke off.
    failed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Ready,
    Hashing,
}

fn cost(piece: &Bytes) -> usize {
    piece.len().max(PIECE_COST)
}

impl<F: Laned> Queue<F> {
    pub(super) fn new(backend: Backend) -> Self {
        Self {
            backend,
            inner: Mutex::default(),
        }
    }

    /// Streams that are hashed side by side at most.
    pub(super) fn lanes(&self) -> usize {
        self.backend.lanes::<F>()
    }

    /// Streams that it pays to wait for.
    fn pays(&self) -> usize {
        self.backend.pays::<F>()
    }

    /// Makes room for a stream. It is waited for from now on: of short bodies hardly two would ever be seen together
    /// otherwise.
    pub(super) fn join(&self) -> Slot {
        let mut inner = self.lock();
        let stream = Some(Stream {
            hash: Hash::default(),
            pieces: VecDeque::new(),
            waiting: 0,
            hashing: 0,
            state: State::Idle,
            waker: None,
            prompt: None,
            penance: 0,
            last_penance: 0,
            left: false,
            failed: false,
        });
        let at = match inner.free.pop() {
            Some(at) => {
                inner.streams[at] = stream;
                at
            }
            None => {
                inner.streams.push(stream);
                inner.streams.len() - 1
            }
        };
        inner.wait_for(at);
        Slot(at)
    }

    /// Takes a stream out, and gives its state if nothing of it was left to hash.
    pub(super) fn leave(&self, slot: Slot) -> Option<Hash<F>> {
        let mut inner = self.lock();
        inner.forget(slot.0);
        let stream = inner.streams.get_mut(slot.0)?.as_mut()?;
        match stream.state {
            State::Hashing => {
                // Whoever is at it frees the place.
                stream.left = true;
                let pieces = std::mem::take(&mut stream.pieces);
                inner.bytes -= length(&pieces);
                // Memory is not given back under the lock.
                drop(inner);
                drop(pieces);
                None
            }
            State::Idle | State::Ready => {
                let stream = inner.streams[slot.0].take();
                inner.free.push(slot.0);
                let stream = stream?;
                inner.bytes -= length(&stream.pieces);
                drop(inner);
                let done = stream.pieces.is_empty() && !stream.failed;
                done.then_some(stream.hash)
            }
        }
    }

    /// Leaves a piece, and runs a batch if there is one for every lane, or one that someone waits for. Whether the stream
    /// has to wait before it leaves another.
    pub(super) fn push(&self, slot: &Slot, piece: Bytes) -> bool {
        let mut inner = self.lock();
        let Some(stream) = inner.streams.get_mut(slot.0).and_then(Option::as_mut) else {
            return false;
        };
        let length = piece.len();
        stream.waiting += cost(&piece);
        stream.pieces.push_back(piece);
        stream.penance = stream.penance.saturating_sub(1);
        let satiated = stream.waiting + stream.hashing >= STREAM_BYTES;
        let joins = stream.penance == 0 && stream.prompt.is_none();
        let idle = stream.state == State::Idle;
        if idle {
            stream.state = State::Ready;
        }
        inner.bytes += length;
        if idle {
            inner.ready.push_back(slot.0);
        }
        if joins {
            inner.wait_for(slot.0);
        }
        let urgent =
            inner.waiters > 0 || inner.bytes >= QUEUE_BYTES || inner.prompt.len() < self.pays();
        if (urgent || inner.ready.len() >= self.lanes())
            && let Some(batch) = self.full(&mut inner)
        {
            drop(inner);
            batch.run();
        }
        satiated
    }

    /// Looks whether fewer than `bytes` of the stream are left to hash, and does something for it if not. `impatient` runs
    /// a batch of whatever there is.
    pub(super) fn poll_below(
        &self,
        slot: &Slot,
        bytes: usize,
        impatient: bool,
        cx: &Context<'_>,
    ) -> Result<Wait, HashFault> {
        let mut inner = self.lock();
        let stream = inner.streams.get_mut(slot.0).and_then(Option::as_mut);
        let stream = stream.ok_or(HashFault)?;
        if stream.failed {
            return Err(HashFault);
        }
        let (over, hashing) = (
            stream.waiting + stream.hashing < bytes,
            stream.state == State::Hashing,
        );
        let before = match over {
            true => stream.waker.take(),
            false => stream.waker.replace(cx.waker().clone()),
        };
        inner.waiters += usize::from(!over);
        inner.waiters -= usize::from(before.is_some());
        if over {
            return Ok(Wait::Over);
        }
        if hashing {
            return Ok(Wait::Hashing);
        }
        // An end so short takes less time than waiting does.
        let pieces = inner.streams.get(slot.0).and_then(Option::as_ref);
        let short = bytes == 1 && pieces.is_some_and(|stream| length(&stream.pieces) <= SMALL);
        let batch = if short {
            inner.ready.retain(|at| *at != slot.0);
            Some(self.batch(&mut inner, &[slot.0], Kind::Short))
        } else if let Some(batch) = self.full(&mut inner) {
            Some(batch)
        } else if impatient {
            inner.reproach();
            // This stream first: it may not be among the first sixteen.
            inner.ready.retain(|at| *at != slot.0);
            let mut members = vec![slot.0];
            while members.len() < self.lanes()
                && let Some(at) = inner.ready.pop_front()
            {
                members.push(at);
            }
            Some(self.batch(&mut inner, &members, Kind::Awaited))
        } else {
            None
        };
        drop(inner);
        Ok(match batch {
            Some(batch) => {
                batch.run();
                Wait::Ran
            }
            None => Wait::Others,
        })
    }

    /// A batch, if there is enough for one.
    fn full(&self, inner: &mut Inner<F>) -> Option<Batch<'_, F>> {
        let mut streams = inner.prompt.len().min(self.lanes());
        if streams < self.pays() {
            // Hashed together they would take no less time.
            streams = 1;
        }
        if inner.ready.len() < streams && inner.bytes < QUEUE_BYTES {
            return None;
        }
        let count = inner.ready.len().min(self.lanes());
        let members: Vec<usize> = inner.ready.drain(..count).collect();
        for at in &members {
            inner.praise(*at);
        }
        (count > 0).then(|| self.batch(inner, &members, Kind::Full))
    }

    /// A batch of these streams, which are ready but no longer among the others that are.
    fn batch(&self, inner: &mut Inner<F>, members: &[usize], kind: Kind) -> Batch<'_, F> {
        let lanes = members.iter().filter_map(|at| inner.take(*at)).collect();
        Batch {
            queue: self,
            lanes,
            started: members.len(),
            kind,
            hashed: [0; MAX_LANES],
            whole: false,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner<F>> {
        // Nothing panics under the lock; a batch that did has marked its streams.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<F: Laned> Inner<F> {
    /// Takes a stream's pieces to hash them.
    fn take(&mut self, at: usize) -> Option<Lane<F>> {
        let stream = self.streams.get_mut(at)?.as_mut()?;
        stream.state = State::Hashing;
        stream.hashing = std::mem::take(&mut stream.waiting);
        let pieces = std::mem::take(&mut stream.pieces);
        self.bytes -= length(&pieces);
        Some(Lane {
            at,
            hash: std::mem::take(&mut stream.hash),
            pieces,
        })
    }

    /// Takes a stream back, with the pieces that are left of it. Gives the task to wake, and memory to give back.
    fn put(&mut self, lane: Lane<F>, failed: bool) -> (Option<Waker>, Option<Stream<F>>) {
        let Lane {
            at,
            hash,
            mut pieces,
        } = lane;
        let Some(stream) = self.streams.get_mut(at).and_then(Option::as_mut) else {
            return (None, None);
        };
        if stream.left {
            let stream = self.streams[at].take();
            self.free.push(at);
            return (None, stream);
        }
        self.bytes += length(&pieces);
        stream.hash = hash;
        pieces.append(&mut stream.pieces);
        stream.pieces = pieces;
        stream.hashing = 0;
        stream.waiting = stream.pieces.iter().map(cost).sum();
        stream.failed |= failed;
        let waker = stream.waker.take();
        self.waiters -= usize::from(waker.is_some());
        if stream.pieces.is_empty() {
            stream.state = State::Idle;
        } else {
            stream.state = State::Ready;
            self.ready.push_back(at);
        }
        (waker, None)
    }

    /// Waits for this stream from now on.
    fn wait_for(&mut self, at: usize) {
        if let Some(stream) = self.streams.get_mut(at).and_then(Option::as_mut) {
            stream.prompt = Some(self.prompt.len());
            self.prompt.push(at);
        }
    }

    /// Does not wait for this stream any more, nor have it take part.
    fn forget(&mut self, at: usize) {
        let Some(stream) = self.streams.get_mut(at).and_then(Option::as_mut) else {
            return;
        };
        self.waiters -= usize::from(stream.waker.take().is_some());
        if stream.state == State::Ready {
            self.ready.retain(|other| *other != at);
        }
        self.pass_over(at);
    }

    /// Does not wait for this stream any more.
    fn pass_over(&mut self, at: usize) {
        let stream = self.streams.get_mut(at).and_then(Option::as_mut);
        let Some(place) = stream.and_then(|stream| stream.prompt.take()) else {
            return;
        };
        self.prompt.swap_remove(place);
        if let Some(moved) = self.prompt.get(place).copied()
            && let Some(stream) = self.streams.get_mut(moved).and_then(Option::as_mut)
        {
            stream.prompt = Some(place);
        }
    }

    /// This stream was there in time.
    fn praise(&mut self, at: usize) {
        if let Some(stream) = self.streams.get_mut(at).and_then(Option::as_mut)
            && stream.prompt.is_some()
        {
            stream.last_penance /= 2;
        }
    }

    /// Passes over all who were waited for in vain.
    fn reproach(&mut self) {
        let mut place = 0;
        while let Some(at) = self.prompt.get(place).copied() {
            match self.streams.get_mut(at).and_then(Option::as_mut) {
                Some(stream) if stream.state == State::Idle => {
                    stream.last_penance = (stream.last_penance * 2 + 4).min(MAX_PENANCE);
                    stream.penance = stream.last_penance;
                    // Another one takes the place.
                    self.pass_over(at);
                }
                _ => place += 1,
            }
        }
    }
}

/// Streams that are being hashed, away from the queue.
struct Batch<'a, F: Laned> {
    queue: &'a Queue<F>,
    lanes: Vec<Lane<F>>,
    /// Lanes that were taken at first.
    started: usize,
    kind: Kind,
    /// Bytes hashed, by the number of lanes that were in use, less one.
    hashed: [u64; MAX_LANES],
    /// It did not break off.
    whole: bool,
}

/// Why a batch runs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// It is full. It ends when it has become thin: what is left goes better with others.
    Full,
    /// Someone has waited long enough.
    Awaited,
    /// One stream's end, which is short. Nobody joins it.
    Short,
}

/// One stream of a batch.
struct Lane<F: Laned> {
    at: usize,
    hash: Hash<F>,
    /// The first one may have been hashed in part.
    pieces: VecDeque<Bytes>,
}

impl<F: Laned> Lane<F> {
    /// Takes in what does not fill blocks, up to the next whole block. Whether there is one.
    fn align(&mut self) -> bool {
        while let Some(piece) = self.pieces.front_mut() {
            let filled = self.hash.fill(piece);
            piece.advance(filled);
            if !piece.is_empty() {
                return true;
            }
            self.pieces.pop_front();
        }
        false
    }
}

impl<F: Laned> Batch<'_, F> {
    fn run(mut self) {
        let mut left = BATCH_BYTES / BLOCK;
        loop {
            self.refill();
            let thin = self.kind == Kind::Full && self.lanes.len() * 3 < self.started * 2;
            if self.lanes.is_empty() || left == 0 || thin {
                break;
            }
            left -= self.step(left);
        }
        self.whole = true;
    }

    /// Gives back the streams that have been hashed, and takes others for them.
    fn refill(&mut self) {
        let mut at = 0;
        while let Some(lane) = self.lanes.get_mut(at) {
            if lane.align() {
                at += 1;
                continue;
            }
            let lane = self.lanes.swap_remove(at);
            let mut inner = self.queue.lock();
            let (waker, memory) = inner.put(lane, false);
            let next = match self.kind {
                Kind::Short => None,
                Kind::Full | Kind::Awaited => inner.ready.pop_front(),
            };
            let next = next.and_then(|next| inner.take(next));
            drop(inner);
            drop(memory);
            self.lanes.extend(next);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    /// Hashes at most so many blocks of each lane. Gives how many.
    fn step(&mut self, most: usize) -> usize {
        let mut streams = Vec::with_capacity(MAX_LANES);
        let mut blocks = Vec::with_capacity(MAX_LANES);
        for lane in &mut self.lanes {
            streams.push(&mut lane.hash);
            let piece = lane.pieces.front().map_or(&[][..], |piece| piece);
            let whole: &[[u8; BLOCK]] = piece.as_chunks().0;
            blocks.push(whole.get(..most).unwrap_or(whole));
        }
        let used = streams.len();
        let count = self.queue.backend.compress(&mut streams, &blocks);
        for lane in &mut self.lanes {
            if let Some(piece) = lane.pieces.front_mut() {
                piece.advance(count * BLOCK);
            }
        }
        if let Some(hashed) = self.hashed.get_mut(used - 1) {
            *hashed += (used * count * BLOCK) as u64;
        }
        count
    }
}

impl<F: Laned> Drop for Batch<'_, F> {
    /// Gives back what is left. After a panic nobody knows how far those streams have come, and they fail.
    fn drop(&mut self) {
        for lane in self.lanes.drain(..) {
            let mut inner = self.queue.lock();
            let (waker, memory) = inner.put(lane, !self.whole);
            drop(inner);
            drop(memory);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
        for (lanes, bytes) in (1..).zip(self.hashed) {
            if bytes > 0 {
                metrics::hashed_bytes(F::BYTES, lanes, bytes);
            }
        }
    }
}

fn length(pieces: &VecDeque<Bytes>) -> usize {
    pieces.iter().map(Bytes::len).sum()
}

#[cfg(test)]
impl<F: Laned> Queue<F> {
    /// Streams that have a place.
    pub(super) fn streams(&self) -> usize {
        self.lock().streams.iter().flatten().count()
    }

    /// Streams that wait.
    pub(super) fn waiters(&self) -> usize {
        self.lock().waiters
    }

    /// Bytes that wait.
    pub(super) fn bytes(&self) -> usize {
        self.lock().bytes
    }

    /// Panics in the middle of a batch of all that is ready. Gives how many streams those were.
    pub(super) fn break_off(&self) -> usize {
        let mut inner = self.lock();
        let members: Vec<usize> = inner.ready.drain(..).collect();
        let batch = self.batch(&mut inner, &members, Kind::Awaited);
        drop(inner);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _batch = batch;
            panic!("in the middle of a batch");
        }));
        assert!(panicked.is_err());
        members.len()
    }
}
