//! Handles of metrics that every request records, each looked up once: a look-up takes a key with its labels, which is
//! allocated and hashed, and a lock.
//!
//! Before a recorder is installed for the process nothing is kept, so that what is recorded then (in tests, on a
//! recorder of their own) does not stick to the wrong one.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{OnceLock, PoisonError, RwLock};

/// Whether the process has its recorder.
static INSTALLED: AtomicBool = AtomicBool::new(false);

/// From now on handles are kept.
pub(super) fn installed() {
    INSTALLED.store(true, Ordering::Release);
}

/// One metric with one set of labels.
pub(super) struct Slot<T>(OnceLock<T>);

impl<T> Slot<T> {
    /// Not looked up yet.
    pub(super) const fn new() -> Self {
        Self(OnceLock::new())
    }

    /// Calls `record` with the handle, which `find` looks up.
    pub(super) fn with(&self, find: impl FnOnce() -> T, record: impl FnOnce(&T)) {
        self.with_if(INSTALLED.load(Ordering::Acquire), find, record);
    }

    fn with_if(&self, keep: bool, find: impl FnOnce() -> T, record: impl FnOnce(&T)) {
        if keep {
            record(self.0.get_or_init(find));
        } else {
            record(&find());
        }
    }
}

/// One metric with each pair of labels that it was recorded with. There are as many as the program's text has.
pub(super) struct Pairs<T>(RwLock<Vec<(&'static str, &'static str, T)>>);

impl<T: Clone> Pairs<T> {
    /// None looked up yet.
    pub(super) const fn new() -> Self {
        Self(RwLock::new(Vec::new()))
    }

    /// Calls `record` with the handle for this pair, which `find` looks up.
    pub(super) fn with(
        &self,
        first: &'static str,
        second: &'static str,
        find: impl FnOnce() -> T,
        record: impl FnOnce(&T),
    ) {
        let keep = INSTALLED.load(Ordering::Acquire);
        self.with_if(keep, first, second, find, record);
    }

    fn with_if(
        &self,
        keep: bool,
        first: &'static str,
        second: &'static str,
        find: impl FnOnce() -> T,
        record: impl FnOnce(&T),
    ) {
        if !keep {
            return record(&find());
        }
        let same = |entry: &&(&'static str, &'static str, T)| entry.0 == first && entry.1 == second;
        {
            let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
            if let Some((.., handle)) = known.iter().find(same) {
                return record(handle);
            }
        }
        let handle = find();
        record(&handle);
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if known.iter().find(same).is_none() {
            known.push((first, second, handle));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn handles_are_looked_up_once_and_only_after_the_recorder_is_there() {
        let (slot, pairs) = (Slot::new(), Pairs::new());
        let looked = Cell::new(0);
        let find = || looked.set(looked.get() + 1);
        for (keep, expected) in [(false, 2), (false, 4), (true, 6), (true, 6), (false, 8)] {
            slot.with_if(keep, find, |()| ());
            pairs.with_if(keep, "a", "b", find, |()| ());
            assert_eq!(looked.get(), expected);
        }
        pairs.with_if(true, "a", "c", find, |()| ());
        assert_eq!(looked.get(), 9);
    }
}
