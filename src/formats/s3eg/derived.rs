//! Keys from passwords. Each costs a tenth of a second and more: what was derived once is kept for a while, and no more
//! are derived at once than there are processors.

use std::num::NonZeroU32;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use aws_lc_rs::pbkdf2;
use quick_cache::sync::Cache;
use zeroize::Zeroizing;

use super::SALT_LEN;

/// Keys that are kept.
const KEPT: usize = 4096;

pub type Key = Zeroizing<[u8; 32]>;
/// Which password, with which salt, so many rounds.
type Derivation = (usize, [u8; SALT_LEN], u32);

/// The passwords, and what was derived from them.
pub struct Keys {
    passwords: Vec<Zeroizing<Vec<u8>>>,
    /// Each is wiped when nobody holds it any more.
    kept: Cache<Derivation, Arc<Key>>,
    turns: Turns,
}

impl Keys {
    pub fn new(passwords: Vec<Zeroizing<Vec<u8>>>) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            passwords,
            kept: Cache::new(KEPT),
            turns: Turns {
                free: Mutex::new(processors),
                given_back: Condvar::new(),
            },
        }
    }

    pub fn is_empty(&self) -> bool {
        self.passwords.is_empty()
    }

    /// The keys that the passwords give (PBKDF2-HMAC-SHA256), one after the other. Blocks.
    pub fn derive<'a>(
        &'a self,
        salt: &'a [u8; SALT_LEN],
        rounds: NonZeroU32,
    ) -> impl Iterator<Item = Arc<Key>> + 'a {
        let each = self.passwords.iter().enumerate();
        each.map(move |(index, password)| {
            let derivation = (index, *salt, rounds.get());
            if let Some(key) = self.kept.get(&derivation) {
                return key;
            }
            let mut key = Zeroizing::new([0; 32]);
            {
                let _turn = self.turns.take();
                let hash = pbkdf2::PBKDF2_HMAC_SHA256;
                pbkdf2::derive(hash, rounds, salt, password, key.as_mut_slice());
            }
            let key = Arc::new(key);
            self.kept.insert(derivation, Arc::clone(&key));
            key
        })
    }

    #[cfg(test)]
    pub fn kept(&self) -> usize {
        self.kept.len()
    }
}

/// So many at once.
struct Turns {
    free: Mutex<usize>,
    given_back: Condvar,
}

impl Turns {
    /// Waits for a turn, which is over when what is returned is dropped.
    fn take(&self) -> Turn<'_> {
        // No code that can panic runs under the lock.
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.given_back.wait_while(free, |free| *free == 0);
        *waited.unwrap_or_else(PoisonError::into_inner) -= 1;
        Turn(self)
    }
}

struct Turn<'a>(&'a Turns);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let turns = self.0;
        *turns.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        turns.given_back.notify_one();
    }
}
