//! Objects that were checked as a whole a moment ago. Clients fetch long objects range by range, several at a time; without
//! this each range would read and check all of the object again.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Mutex as AsyncMutex;
use tokio::time::{Instant, sleep_until};

use super::Error;
use super::facts::FactKey;
use super::whole::Whole;

/// They are kept for a while after their last use, and less long where others need the room.
pub struct Kept {
    slots: Slots,
    time: Duration,
}

type Slots = Arc<Mutex<HashMap<FactKey, Arc<Slot>>>>;

/// One object. Whoever checks it holds the lock, and others who want it wait.
#[derive(Default)]
struct Slot(AsyncMutex<Option<Held>>);

struct Held {
    whole: Arc<Whole>,
    used: Instant,
}

/// Takes a slot away again that nothing came into.
struct Unfilled<'a> {
    slots: &'a Slots,
    key: &'a FactKey,
    slot: Arc<Slot>,
}

impl Drop for Unfilled<'_> {
    fn drop(&mut self) {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let empty = self.slot.0.try_lock().is_ok_and(|held| held.is_none());
        // The map's, and this one: nobody waits for it.
        if empty && Arc::strong_count(&self.slot) <= 2 {
            slots.remove(self.key);
        }
    }
}

impl Kept {
    /// Keeps objects for `time`; for none at all where it is zero.
    #[must_use]
    pub fn new(time: Duration) -> Self {
        Self {
            slots: Slots::default(),
            time,
        }
    }

    /// The object, kept or as `check` reads it.
    ///
    /// # Errors
    /// Those of `check`.
    pub async fn get(
        &self,
        key: FactKey,
        check: impl Future<Output = Result<Option<Whole>, Error>>,
    ) -> Result<Option<Arc<Whole>>, Error> {
        if self.time.is_zero() {
            return Ok(check.await?.map(Arc::new));
        }
        let slot = {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(slots.entry(key.clone()).or_default())
        };
        let unfilled = Unfilled {
            slots: &self.slots,
            key: &key,
            slot: Arc::clone(&slot),
        };
        let whole = {
            // Dropped before the guard above looks.
            let slot = slot;
            let mut held = slot.0.lock().await;
            let now = Instant::now();
            if let Some(held) = &mut *held {
                held.used = now;
                return Ok(Some(Arc::clone(&held.whole)));
            }
            let Some(whole) = check.await?.map(Arc::new) else {
                return Ok(None);
            };
            if !whole.takes_room() {
                return Ok(Some(whole));
            }
            *held = Some(Held {
                whole: Arc::clone(&whole),
                used: Instant::now(),
            });
            whole
        };
        drop(unfilled);
        self.forget_later(key);
        Ok(Some(whole))
    }

    /// Gives up what nobody uses just now.
    pub fn make_room(&self) {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.retain(|_, slot| {
            let idle = |held: &Option<Held>| {
                held.as_ref()
                    .is_some_and(|held| Arc::strong_count(&held.whole) == 1)
            };
            !slot.0.try_lock().is_ok_and(|held| idle(&held))
        });
    }

    /// Takes an object away once it has not been used for a while.
    fn forget_later(&self, key: FactKey) {
        let (slots, time) = (Arc::clone(&self.slots), self.time);
        tokio::spawn(async move {
            let mut until = Instant::now() + time;
            loop {
                sleep_until(until).await;
                let mut slots = slots.lock().unwrap_or_else(PoisonError::into_inner);
                let Some(slot) = slots.get(&key) else {
                    return;
                };
                // In the hands of somebody: it is being used.
                until = match slot.0.try_lock().as_deref() {
                    Ok(Some(held)) => held.used + time,
                    Ok(None) => return,
                    Err(_) => Instant::now() + time,
                };
                if until <= Instant::now() {
                    slots.remove(&key);
                    return;
                }
            }
        });
    }
}
