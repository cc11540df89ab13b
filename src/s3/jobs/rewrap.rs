//! Rewrapping of one object: its data key is wrapped for the keys that a new write would use, and its metadata bound to the
//! name that its bucket has now. Its bytes stay at the store, as they are.
//!
//! The new metadata is written under the condition that the object is still the one that was found: by a copy onto itself
//! where the store keeps such a condition there, else by an upload whose completion keeps it.

use std::sync::Arc;

use http::header::IF_MATCH;
use http::{HeaderMap, Method};

use super::super::Error;
use super::super::call::Service;
use super::super::object::{Content, Found, Target, quoted};
use super::probe::Conditions;
use super::rebind::{By, Rebinding, Sizes};
use super::walk::Item;
use super::{Failed, Outcome, Task};
use crate::envelope::{self, Envelope, Outdated};
use crate::formats::{Integrity, v1};

/// How often an object that clients write meanwhile is looked at again.
const ATTEMPTS: usize = 8;

/// What keeps an object that a client writes meanwhile from being replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// The store does, where it was found to.
    Store(Conditions),
    /// Nobody else writes.
    Alone,
}

impl Guard {
    /// Whether anything can be done under it at all.
    #[must_use]
    pub fn holds(self) -> bool {
        match self {
            Self::Store(kept) => kept.copy || kept.complete,
            Self::Alone => true,
        }
    }

    /// The way to write an object of so many stored bytes; none where a client's write could be lost on each.
    fn way(self, stored_len: u64, sizes: Sizes) -> Option<By> {
        let one_copy = stored_len <= sizes.copy;
        match self {
            Self::Store(kept) if kept.copy && one_copy => Some(By::Copy),
            Self::Store(kept) => kept.complete.then_some(By::Parts),
            Self::Alone if one_copy => Some(By::Copy),
            Self::Alone => Some(By::Parts),
        }
    }
}

/// The rewrapping of a bucket.
pub struct Rewrap {
    /// Shared parts.
    pub service: Arc<Service>,
    /// The same under the name that the bucket was bound as before, for objects that still are.
    pub before: Option<Arc<Service>>,
    /// The bucket.
    pub bucket: String,
    /// What keeps clients' writes.
    pub guard: Guard,
    /// What the store takes in one request.
    pub sizes: Sizes,
    /// Says what would be done.
    pub dry_run: bool,
}

impl Task for Rewrap {
    async fn step(&self, item: &Item) -> Result<Outcome, Failed> {
        for _ in 0..ATTEMPTS {
            if let Some(outcome) = Box::pin(self.attempt(&item.key)).await? {
                return Ok(outcome);
            }
            tracing::debug!(key = item.key, "changed meanwhile");
        }
        Err(Error::Contended.into())
    }
}

impl Rewrap {
    /// One try; `None` where the object changed meanwhile.
    async fn attempt(&self, key: &str) -> Result<Option<Outcome>, Failed> {
        let target = self.service.target(&self.bucket, key);
        let (found, renamed) = match self.find(&target).await {
            Ok(found) => found,
            Err(Error::Store(error)) if error.is_absent() => return Ok(Some(Outcome::Gone)),
            Err(Error::Integrity(Integrity::Plaintext)) => return Ok(Some(not_sealed())),
            Err(Error::Integrity(Integrity::NoKey)) => return Err(self.no_key(&target).await),
            Err(Error::Integrity(Integrity::Binding)) => return Err(not_bound()),
            Err(error) => return Err(error.into()),
        };
        let sealed = match &found.content {
            Content::Sealed(sealed) => sealed,
            Content::SealedUnread => {
                return Ok(Some(Outcome::Skipped("archived: restore it first")));
            }
            Content::Plain | Content::Foreign(_) => return Ok(Some(not_sealed())),
        };
        let bytes = found.len;
        let was = match (self.outdated(&found)?, renamed) {
            (None, false) => {
                return Ok(Some(Outcome::Already {
                    is: found.content.name(),
                    bytes,
                }));
            }
            (_, true) => "bound as another bucket",
            (Some(Outdated::KeyVersion), _) => "under an older key version",
            (Some(Outdated::Recipients), _) => "for other recipients",
        };
        let done = Some(Outcome::Done { was, bytes });
        let by = self.guard.way(found.stored_len, self.sizes);
        let by = by.ok_or_else(|| unguarded(self.sizes))?;
        if self.dry_run {
            return Ok(done);
        }
        let guarded = self.guard != Guard::Alone;
        let rebinding = Rebinding {
            service: &self.service,
            source: &target,
            found: &found,
            target: &target,
            condition: guarded.then(|| (IF_MATCH, quoted(&found.store_etag))),
        };
        if !rebinding.run(sealed, by, self.sizes).await? {
            return Ok(None);
        }
        self.arrived(&target, sealed).await?;
        Ok(done)
    }

    /// Finds the object, and whether it is bound as the bucket was before.
    async fn find(&self, target: &Target<'_>) -> Result<(Found, bool), Error> {
        match (self.service.find(target).await, &self.before) {
            (Err(Error::Integrity(Integrity::Binding)), Some(before)) => {
                Ok((before.find(target).await?, true))
            }
            (found, _) => Ok((found?, false)),
        }
    }

    /// In what an object's envelope differs from that of a new write.
    fn outdated(&self, found: &Found) -> Result<Option<Outdated>, Error> {
        let envelope = envelope_of(&found.headers).ok_or(Integrity::MetadataMalformed)?;
        let settings = (self.service.settings)(&self.bucket);
        Ok(envelope::outdated(
            &self.service.keyring,
            &settings.recipients,
            &envelope,
        )?)
    }

    /// Looks at what stands there afterwards: it opens, up to its footer, and is under the new envelope. An object that
    /// a client wrote since is none of this job's.
    async fn arrived(&self, target: &Target<'_>, sealed: &v1::Sealed) -> Result<(), Failed> {
        let found = match self.service.find(target).await {
            Ok(found) => found,
            Err(Error::Store(error)) if error.is_absent() => return Ok(()),
            Err(Error::Integrity(kind)) => {
                return Err(Failed {
                    why: format!(
                        "after it was rewrapped the object does not open ({kind}): if a client wrote it at that moment, have \
                         it written again; its bytes are at the store and open with sealgate open"
                    ),
                    passing: false,
                });
            }
            Err(error) => return Err(error.into()),
        };
        let same = match &found.content {
            Content::Sealed(new) => new.opened.object_id == sealed.opened.object_id,
            _ => false,
        };
        if same && self.outdated(&found)?.is_some() {
            return Err(Failed {
                why: "the store answered that the object has new metadata, and it has not".into(),
                passing: true,
            });
        }
        Ok(())
    }

    /// Says for which keys an object is that none of ours opens.
    async fn no_key(&self, target: &Target<'_>) -> Failed {
        let answer = target
            .store
            .send("HeadObject", target.request(Method::HEAD))
            .await;
        let keys = match answer.ok().and_then(|answer| envelope_of(answer.headers())) {
            Some(envelope) => {
                let names = envelope.recipients.iter().map(|recipient| {
                    let (kind, id) = (recipient.kind, &recipient.key_id);
                    format!("{id} version {} ({kind})", recipient.key_version)
                });
                names.collect::<Vec<_>>().join(", ")
            }
            None => "unknown keys".into(),
        };
        Failed {
            why: format!("no key of the configuration opens it: it is sealed for {keys}"),
            passing: false,
        }
    }
}

fn envelope_of(headers: &HeaderMap) -> Option<Envelope> {
    let record = v1::claim(headers).ok()??;
    Envelope::decode(&record.envelope).ok()
}

fn not_sealed() -> Outcome {
    Outcome::Skipped("not sealed: migrate seals it")
}

fn not_bound() -> Failed {
    Failed {
        why: "the envelope is not bound to this bucket and key; if the bucket had another name or bound_as when the object \
              was written, give that with --was-bound-as"
            .into(),
        passing: false,
    }
}

fn unguarded(sizes: Sizes) -> Failed {
    Failed {
        why: format!(
            "it is longer than {} bytes, which one copy takes, and the store keeps no If-Match on CompleteMultipartUpload: \
             stop all writers, and give --no-concurrent-writers",
            sizes.copy
        ),
        passing: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_is_one_on_which_no_write_is_lost() {
        let store = |copy, complete| {
            Guard::Store(Conditions {
                put: true,
                copy,
                complete,
            })
        };
        let sizes = Sizes { copy: 10, part: 5 };
        for (guard, short, long) in [
            (store(true, true), Some(By::Copy), Some(By::Parts)),
            (store(true, false), Some(By::Copy), None),
            (store(false, true), Some(By::Parts), Some(By::Parts)),
            (store(false, false), None, None),
            (Guard::Alone, Some(By::Copy), Some(By::Parts)),
        ] {
            assert_eq!(guard.way(10, sizes), short, "{guard:?}");
            assert_eq!(guard.way(11, sizes), long, "{guard:?}");
            assert_eq!(guard.holds(), short.is_some(), "{guard:?}");
        }
    }
}
