//! Verification of one object: all of it is read and authenticated, and its content held against the sums that were noted
//! when it was written. Nothing of it is kept or shown.

use std::sync::{Arc, Mutex};

use http_body_util::BodyExt;

use super::super::Error;
use super::super::call::Service;
use super::super::get;
use super::super::object::{self, Content, Found, Target};
use super::super::parts::{self, LONG_TAIL};
use super::pace::Pace;
use super::walk::Item;
use super::{Failed, Outcome, Task};
use crate::aead::{self, PREAMBLE_LEN, Preamble};
use crate::formats::v1::Sealed;
use crate::formats::{Integrity, Sums};
use crate::pump::{BodyError, BoxBody, OpenBody};

/// How often an object that clients write meanwhile is looked at again.
const ATTEMPTS: usize = 8;

/// The verification of a bucket.
pub struct Check {
    /// Shared parts.
    pub service: Arc<Service>,
    /// The bucket.
    pub bucket: String,
    /// How fast.
    pub pace: Pace,
}

impl Task for Check {
    async fn step(&self, item: &Item) -> Result<Outcome, Failed> {
        for _ in 0..ATTEMPTS {
            match Box::pin(self.attempt(&item.key)).await {
                Ok(Some(outcome)) => return Ok(outcome),
                Ok(None) => tracing::debug!(key = item.key, "changed meanwhile"),
                Err(Error::Integrity(kind)) => return Err(refused(kind)),
                Err(Error::Body(BodyError::Integrity(failure))) => {
                    return Err(refused(failure.into()));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::Contended.into())
    }
}

/// A failure with the name that metrics and logs have for it.
fn refused(kind: Integrity) -> Failed {
    Failed {
        why: format!("{}: {kind}", kind.label()),
        passing: false,
    }
}

impl Check {
    /// One try; `None` where the object changed meanwhile.
    async fn attempt(&self, key: &str) -> Result<Option<Outcome>, Error> {
        let target = self.service.target(&self.bucket, key);
        let mut found = match self.service.find_with(&target, LONG_TAIL).await {
            Ok(found) => found,
            Err(Error::Store(error)) if error.is_absent() => return Ok(Some(Outcome::Gone)),
            Err(error) => return Err(error),
        };
        let (is, bytes) = (found.content.name(), found.len);
        if matches!(found.content, Content::SealedUnread) || object::is_archived(&found.headers) {
            return Ok(Some(Outcome::Skipped("archived: restore it first")));
        }
        if !parts::read_table(&target, &mut found).await? {
            return Ok(None);
        }
        if matches!(found.content, Content::Foreign(_)) {
            // Opening it checks all of it, before the first byte is there.
            let slice = get::slice(&self.service, &target, &mut found, 0..0).await?;
            return Ok(slice.map(|_| Outcome::Done { was: is, bytes }));
        }
        let same = match &found.content {
            Content::Sealed(sealed) => self.sealed(&target, &found, sealed).await?,
            Content::Foreign(_) => return Err(Integrity::Legacy.into()),
            Content::SealedUnread => return Err(object::archived()),
            Content::Plain => {
                // Nothing vouches for it, so there is nothing to read it for.
                let same = plain(&target, &found).await?;
                return Ok(same.then_some(Outcome::Already { is, bytes }));
            }
        };
        Ok(same.then_some(Outcome::Done { was: is, bytes }))
    }

    /// Reads a sealed object from its first stored byte to its last. Says whether it was the one that had been found.
    async fn sealed(
        &self,
        target: &Target<'_>,
        found: &Found,
        sealed: &Sealed,
    ) -> Result<bool, Error> {
        let plan = sealed.plan(self.service.engine)?;
        let stored = 0..found.stored_len;
        let Some(answer) = object::range(target, found, "GetObject", &stored).await? else {
            return Ok(false);
        };
        let head = Head::default();
        let body = OpenBody::new(head.watch(target.stream(answer, stored)), plan);
        let mut body = std::pin::pin!(self.pace.body(body));
        let mut sums = Sums::of(sealed);
        while let Some(frame) = body.frame().await {
            if let Ok(plaintext) = frame?.into_data() {
                sums.update(&plaintext)?;
            }
        }
        sums.verify()?;
        head.verify()?;
        Ok(true)
    }
}

/// The preamble as it went by: it is authenticated as a whole, and recovery without the gateway reads it field by field.
#[derive(Clone, Default)]
struct Head(Arc<Mutex<Vec<u8>>>);

impl Head {
    fn watch(&self, stored: BoxBody) -> BoxBody {
        let head = self.0.clone();
        let stored = stored.map_frame(move |frame| {
            if let (Some(data), Ok(mut head)) = (frame.data_ref(), head.lock()) {
                let missing = PREAMBLE_LEN - head.len();
                head.extend_from_slice(&data[..data.len().min(missing)]);
            }
            frame
        });
        stored.boxed()
    }

    fn verify(&self) -> Result<(), Integrity> {
        let head = self.0.lock().map_err(|_| Integrity::Preamble)?;
        let preamble = head.first_chunk().map(Preamble::decode);
        match preamble {
            Some(Ok(_)) => Ok(()),
            _ => Err(Integrity::Preamble),
        }
    }
}

/// Makes sure that an object without a record is not a sealed one that lost it. Says whether it was the one that had
/// been found.
async fn plain(target: &Target<'_>, found: &Found) -> Result<bool, Error> {
    if found.stored_len < PREAMBLE_LEN as u64 {
        return Ok(true);
    }
    let start = 0..PREAMBLE_LEN as u64;
    let Some(answer) = object::range(target, found, "GetPreamble", &start).await? else {
        return Ok(false);
    };
    let bytes = object::read_exactly(target, answer, start).await?;
    if aead::looks_like_preamble(&bytes) {
        return Err(Integrity::MetadataStripped.into());
    }
    Ok(true)
}
