//! The memory of bodies in flight: how many bytes a body may hold at a time, and buffers that are used
//! again.
//!
//! A body is read, sealed or opened, and written in *windows*. Large windows save processor time (fewer
//! system calls, fewer segments that lie across two reads), small ones memory; so a window is what a
//! budget for the whole process leaves to each of the streams that are under way, between [`LEAST`] and
//! [`MOST`]. Nobody waits for memory: with many streams windows are small, and the number of
//! connections is bounded elsewhere.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

/// The smallest window, in bytes.
pub const LEAST: usize = 32 * 1024;

/// The largest window, in bytes.
pub const MOST: usize = 1024 * 1024;

/// The budget where nothing else was set, in bytes: the largest windows for sixteen streams.
pub const DEFAULT_BUDGET: usize = 16 * WINDOWS * MOST;

/// Windows that a stream holds at a time: two that are read (the connection reads on while a piece is being
/// used), one that is filled, and two that wait to be written at most.
const WINDOWS: usize = 5;

/// Windows of a stream that are not in use and are kept for it.
const KEPT: usize = 2;

/// The largest read of an upload: up to four of them are in memory at a time, and longer ones save next to nothing.
const MOST_UPLOAD: usize = MOST / 2;

/// The largest window while bodies are hashed beside each other: their pieces wait for those of others, and longer ones are no
/// longer in the cache by then.
const MOST_HASHED: usize = MOST / 2;

/// What a buffer has beyond a power of two: preamble, stream header and footer, which are not part of any
/// segment.
const EXTRA: usize = 4096;

/// Buffers of 2¹² + [`EXTRA`] to 2²³ + [`EXTRA`] bytes are used again.
const CLASSES: usize = 12;
const SMALLEST: u32 = 12;

/// Free bytes that are kept while no stream is under way.
const KEPT_IDLE: usize = 4 * 1024 * 1024;

static MEMORY: Memory = Memory::new();

struct Memory {
    budget: AtomicUsize,
    streams: AtomicUsize,
    /// Those of them that are hashed beside others.
    hashed: AtomicUsize,
    free: Mutex<Free>,
}

/// Buffers that nobody uses, by size.
struct Free {
    classes: [Vec<Vec<u8>>; CLASSES],
    bytes: usize,
}

/// Sets the bytes that all windows together should not exceed.
pub fn set_budget(bytes: usize) {
    MEMORY.budget.store(bytes, Ordering::Relaxed);
}

/// Bytes that a stream may read or write at once, just now: a power of two.
pub fn window() -> usize {
    MEMORY.window()
}

/// Bytes of an upload that may be read at once, just now: a power of two.
pub fn upload_read() -> usize {
    MEMORY.upload_read()
}

/// A stream under way, counted for as long as this lives.
#[derive(Debug)]
pub struct Stream(());

impl Stream {
    /// One more.
    #[allow(clippy::new_without_default, reason = "it counts")]
    pub fn new() -> Self {
        MEMORY.streams.fetch_add(1, Ordering::Relaxed);
        Self(())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if MEMORY.streams.fetch_sub(1, Ordering::Relaxed) == 1 {
            MEMORY.lock().trim(KEPT_IDLE);
        }
    }
}

/// A stream that is hashed beside others, counted for as long as this lives.
#[derive(Debug)]
pub struct Hashed(());

impl Hashed {
    /// One more.
    #[allow(clippy::new_without_default, reason = "it counts")]
    pub fn new() -> Self {
        MEMORY.hashed.fetch_add(1, Ordering::Relaxed);
        Self(())
    }
}

impl Drop for Hashed {
    fn drop(&mut self) {
        MEMORY.hashed.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A buffer, whose content is arbitrary at first. It is used again once it is dropped. The default one has no bytes.
#[derive(Default)]
pub struct Block(Vec<u8>);

impl Block {
    /// One of at least `len` bytes.
    pub fn take(len: usize) -> Self {
        let Some(class) = class(len) else {
            return Self(vec![0; len]);
        };
        let used = MEMORY.lock().pop(class);
        Self(used.unwrap_or_else(|| vec![0; size(class)]))
    }

    /// What is in it, to be shared.
    pub fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let Some(class) = class(self.0.len()).filter(|class| size(*class) == self.0.len()) else {
            return;
        };
        let most = MEMORY.kept();
        let buffer = std::mem::take(&mut self.0);
        MEMORY.lock().push(class, buffer, most);
    }
}

impl Deref for Block {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for Block {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl AsRef<[u8]> for Block {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Bytes of the buffers of a class.
const fn size(class: usize) -> usize {
    (1 << (SMALLEST as usize + class)) + EXTRA
}

/// The class of buffers that hold `len` bytes.
fn class(len: usize) -> Option<usize> {
    let exponent = len
        .saturating_sub(EXTRA)
        .max(1)
        .checked_next_power_of_two()?
        .trailing_zeros();
    let class = exponent.saturating_sub(SMALLEST) as usize;
    (len > 0 && class < CLASSES).then_some(class)
}

impl Memory {
    const fn new() -> Self {
        Self {
            budget: AtomicUsize::new(DEFAULT_BUDGET),
            streams: AtomicUsize::new(0),
            hashed: AtomicUsize::new(0),
            free: Mutex::new(Free {
                classes: [const { Vec::new() }; CLASSES],
                bytes: 0,
            }),
        }
    }

    fn window(&self) -> usize {
        let streams = self.streams.load(Ordering::Relaxed).max(1);
        let each = self.budget.load(Ordering::Relaxed) / (streams.saturating_mul(WINDOWS));
        let most = match self.hashed.load(Ordering::Relaxed) {
            0 | 1 => MOST,
            _ => MOST_HASHED,
        };
        let each = each.clamp(LEAST, most);
        1 << each.ilog2()
    }

    fn upload_read(&self) -> usize {
        self.window().min(MOST_UPLOAD)
    }

    /// Free bytes that are kept: what the streams under way can soon use.
    fn kept(&self) -> usize {
        match self.streams.load(Ordering::Relaxed) {
            0 => KEPT_IDLE,
            streams => {
                let budget = self.budget.load(Ordering::Relaxed) / WINDOWS;
                budget.min(streams.saturating_mul(KEPT * self.window()))
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Free> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Free {
    fn pop(&mut self, class: usize) -> Option<Vec<u8>> {
        let buffer = self.classes[class].pop()?;
        self.bytes -= buffer.len();
        Some(buffer)
    }

    /// Keeps a buffer where no more than `most` bytes are free then. Buffers of other sizes make room for
    /// it: the size that is given back is the one that is used now.
    fn push(&mut self, class: usize, buffer: Vec<u8>, most: usize) {
        if self.bytes + buffer.len() > most {
            for (other, buffers) in self.classes.iter_mut().enumerate() {
                if other != class {
                    self.bytes -= buffers.len() * size(other);
                    *buffers = Vec::new();
                }
            }
        }
        if self.bytes + buffer.len() <= most {
            self.bytes += buffer.len();
            self.classes[class].push(buffer);
        }
    }

    fn trim(&mut self, most: usize) {
        for (class, buffers) in self.classes.iter_mut().enumerate().rev() {
            while self.bytes > most && buffers.pop().is_some() {
                self.bytes -= size(class);
            }
            if buffers.is_empty() {
                *buffers = Vec::new();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_shrink_as_streams_grow() {
        let memory = Memory::new();
        let at = |streams: usize| {
            memory.streams.store(streams, Ordering::Relaxed);
            memory.window()
        };
        assert_eq!(at(0), MOST);
        assert_eq!(at(16), MOST);
        assert_eq!(at(17), MOST / 2);
        assert_eq!(at(64), 256 * 1024);
        assert_eq!(at(100_000), LEAST);
        memory.hashed.store(1, Ordering::Relaxed);
        assert_eq!(at(1), MOST);
        memory.hashed.store(2, Ordering::Relaxed);
        assert_eq!(at(2), MOST_HASHED);
        assert_eq!(at(64), 256 * 1024);
        for streams in 0..2_000 {
            let all = at(streams) * WINDOWS * streams;
            assert!(all <= DEFAULT_BUDGET || at(streams) == LEAST, "{streams}");
        }
    }

    #[test]
    fn an_upload_is_read_by_its_window_but_never_by_more_than_half_the_longest() {
        let memory = Memory::new();
        for (streams, read) in [
            (1, MOST_UPLOAD),
            (16, MOST_UPLOAD),
            (64, 256 * 1024),
            (100_000, LEAST),
        ] {
            memory.streams.store(streams, Ordering::Relaxed);
            assert_eq!(memory.upload_read(), read, "{streams}");
        }
    }

    #[test]
    fn every_length_has_the_smallest_class_that_holds_it() {
        assert_eq!(class(0), None);
        assert_eq!(class(1), Some(0));
        for index in 0..CLASSES {
            assert_eq!(class(size(index)), Some(index));
            let next = class(size(index) + 1);
            assert_eq!(next, (index + 1 < CLASSES).then_some(index + 1));
        }
        assert_eq!(class(usize::MAX), None);
    }

    #[test]
    fn free_buffers_are_bounded_and_used_again() {
        let mut free = Memory::new().free.into_inner().unwrap();
        let most = 4 * size(2);
        for _ in 0..10 {
            free.push(2, vec![0; size(2)], most);
        }
        assert_eq!((free.classes[2].len(), free.bytes), (4, most));
        free.push(0, vec![0; size(0)], most);
        assert_eq!((free.classes[2].len(), free.bytes), (0, size(0)));
        assert_eq!(free.pop(0).unwrap().len(), size(0));
        assert_eq!((free.pop(0), free.bytes), (None, 0));
        for class in [0, 5, 3] {
            free.push(class, vec![0; size(class)], usize::MAX);
        }
        free.trim(size(3) + size(0));
        assert_eq!(free.bytes, size(3) + size(0));
        free.trim(0);
        assert_eq!(free.bytes, 0);
    }

    #[test]
    fn a_block_has_what_was_asked_for() {
        for len in [1, 4096, 8192, 8193, LEAST + EXTRA, MOST, 8 << 20, 9 << 20] {
            let mut block = Block::take(len);
            assert!(block.len() >= len);
            block[len - 1] = 7;
            assert_eq!(block.freeze().slice(len - 1..len), [7][..]);
        }
        assert!(Block::default().is_empty());
    }
}
