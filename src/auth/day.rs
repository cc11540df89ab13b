//! The signing keys of the day, so that not every request derives its own: that takes four HMACs, one after the other.
//!
//! A key is found under the whole credential it was derived for, and counts only where the secret is still the one it was
//! derived from. It is kept once a signature made with it was right, so nobody without a secret can fill the store of
//! keys, and none is found any more once its day is over: presigned URLs of earlier days derive theirs each time.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use quick_cache::sync::Cache;

use super::Secret;
use super::canonical::SigningKey;

/// Keys kept at most: some 300 bytes each.
const CAPACITY: usize = 1024;

const SECONDS_A_DAY: i64 = 86_400;

/// Signing keys that were right today.
pub struct DayKeys {
    /// The day they are of, in days since 1970.
    day: AtomicI64,
    keys: Cache<Box<str>, Arc<Kept>>,
}

struct Kept {
    secret: Secret,
    key: SigningKey,
    day: i64,
}

impl DayKeys {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            day: AtomicI64::new(i64::MIN),
            keys: Cache::new(CAPACITY),
        }
    }

    /// The key of a credential, if it is one of today. `now` is in unix seconds.
    pub(super) fn find(&self, credential: &str, secret: &Secret, now: i64) -> Option<SigningKey> {
        let today = self.turn(now);
        let kept = self.keys.get(credential)?;
        (kept.day == today && kept.secret == *secret).then(|| kept.key.clone())
    }

    /// Keeps the key of a credential that has just signed rightly, if its scope is of today. `signed` is when that was, and
    /// so the day of the scope.
    pub(super) fn keep(
        &self,
        credential: &str,
        secret: &Secret,
        key: &SigningKey,
        signed: i64,
        now: i64,
    ) {
        let day = self.turn(now);
        if signed.div_euclid(SECONDS_A_DAY) != day {
            return;
        }
        let kept = Kept {
            secret: secret.clone(),
            key: key.clone(),
            day,
        };
        self.keys.insert(credential.into(), Arc::new(kept));
    }

    /// Today; forgets the keys of another day.
    fn turn(&self, now: i64) -> i64 {
        let today = now.div_euclid(SECONDS_A_DAY);
        if self.day.load(Ordering::Relaxed) != today {
            self.day.store(today, Ordering::Relaxed);
            self.keys.clear();
        }
        today
    }
}

impl Default for DayKeys {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for DayKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DayKeys(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::super::Scope;
    use super::*;

    /// 2013-05-24T00:00:00Z
    const DAY: i64 = 1_369_353_600;
    const CREDENTIAL: &str = "user/20130524/us-east-1/s3/aws4_request";

    fn key(secret: &Secret) -> SigningKey {
        let scope = Scope {
            date: "20130524".into(),
            region: "us-east-1".into(),
            service: "s3".into(),
        };
        SigningKey::derive(secret, &scope)
    }

    #[test]
    fn a_key_is_found_on_its_day_for_its_credential_and_secret_only() {
        let (keys, secret) = (DayKeys::new(), Secret::new("one"));
        keys.keep(CREDENTIAL, &secret, &key(&secret), DAY, DAY + 5);
        let found = keys.find(CREDENTIAL, &secret, DAY + SECONDS_A_DAY - 1);
        assert_eq!(found.unwrap().sign(b"x"), key(&secret).sign(b"x"));
        let same_text = Secret::new("one");
        assert!(keys.find(CREDENTIAL, &same_text, DAY).is_some());
        assert!(keys.find(CREDENTIAL, &Secret::new("two"), DAY).is_none());
        let other = CREDENTIAL.replace("us-east-1", "eu-west-1");
        assert!(keys.find(&other, &secret, DAY).is_none());
    }

    #[test]
    fn a_key_does_not_outlive_its_day() {
        let (keys, secret) = (DayKeys::new(), Secret::new("one"));
        keys.keep(CREDENTIAL, &secret, &key(&secret), DAY, DAY);
        assert!(
            keys.find(CREDENTIAL, &secret, DAY + SECONDS_A_DAY)
                .is_none()
        );
        // Not even where the clock goes back, and it is not kept again after its day.
        assert!(keys.find(CREDENTIAL, &secret, DAY).is_none());
        let tomorrow = DAY + SECONDS_A_DAY;
        keys.keep(CREDENTIAL, &secret, &key(&secret), tomorrow - 1, tomorrow);
        assert!(keys.find(CREDENTIAL, &secret, tomorrow).is_none());
        assert_eq!(keys.keys.len(), 0);
    }

    #[test]
    fn there_are_never_more_than_so_many() {
        let (keys, secret) = (DayKeys::new(), Secret::new("one"));
        let made = key(&secret);
        for number in 0..3 * CAPACITY {
            keys.keep(&format!("{number}{CREDENTIAL}"), &secret, &made, DAY, DAY);
        }
        assert!(keys.keys.len() <= CAPACITY);
    }
}
