//! Which objects a job is about: those below a prefix, in the order of the store's listing, or those that a list names;
//! and of these the share of one machine among several.

use std::collections::VecDeque;
use std::num::NonZeroU32;

use http::Method;
use sha2::{Digest, Sha256};

use super::super::Error;
use super::super::call::Service;
use super::super::listing::{ItemKind, Page};
use crate::protocol::uri::Query;
use crate::store::{Request, StoreError};

/// Label of the hash that shares keys out. All machines of a job must agree on it.
const LABEL: &[u8] = b"sealgate/v1/shard";

/// One of several shares of all keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    index: u32,
    count: NonZeroU32,
}

impl Default for Shard {
    fn default() -> Self {
        Self {
            index: 0,
            count: NonZeroU32::MIN,
        }
    }
}

impl Shard {
    /// Share `index` of `count`, counted from 0; none where there is no such share.
    #[must_use]
    pub fn new(index: u32, count: NonZeroU32) -> Option<Self> {
        (index < count.get()).then_some(Self { index, count })
    }

    /// Whether a key is of this share. Every key is of exactly one.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        if self.count == NonZeroU32::MIN {
            return true;
        }
        let digest = Sha256::new()
            .chain_update(LABEL)
            .chain_update(key)
            .finalize();
        let number = digest
            .first_chunk()
            .map_or(0, |bytes| u32::from_be_bytes(*bytes));
        number % self.count == self.index
    }
}

impl std::fmt::Display for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

/// An object to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Its key.
    pub key: String,
    /// Its stored length, where a listing told it.
    pub stored_len: Option<u64>,
}

/// Where the keys come from.
enum Source {
    /// A listing, from behind this key on.
    Listing { after: String, ended: bool },
    /// A list.
    Named(VecDeque<String>),
}

/// The keys of a job, a page at a time.
pub struct Walk {
    bucket: String,
    prefix: String,
    shard: Shard,
    source: Source,
}

impl Walk {
    /// All objects below a prefix, from behind a key on.
    #[must_use]
    pub fn listing(bucket: &str, prefix: &str, shard: Shard, after: &str) -> Self {
        Self {
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
            shard,
            source: Source::Listing {
                after: after.to_owned(),
                ended: false,
            },
        }
    }

    /// These keys.
    #[must_use]
    pub fn named(bucket: &str, shard: Shard, keys: impl IntoIterator<Item = String>) -> Self {
        Self {
            bucket: bucket.to_owned(),
            prefix: String::new(),
            shard,
            source: Source::Named(keys.into_iter().collect()),
        }
    }

    /// The next of them, in order; `None` at the end. A page may be empty.
    ///
    /// # Errors
    /// The store's.
    pub async fn page(&mut self, service: &Service) -> Result<Option<Vec<Item>>, Error> {
        let mut items = match &mut self.source {
            Source::Named(keys) => {
                if keys.is_empty() {
                    return Ok(None);
                }
                let some = keys.len().min(1_000);
                keys.drain(..some)
                    .map(|key| Item {
                        key,
                        stored_len: None,
                    })
                    .collect()
            }
            Source::Listing { ended: true, .. } => return Ok(None),
            Source::Listing { after, ended } => {
                let (items, last) = list(service, &self.bucket, &self.prefix, after).await?;
                match last {
                    Some(last) if last > *after => *after = last,
                    Some(_) => return Err(StoreError::Malformed("listing does not move on").into()),
                    None => *ended = true,
                }
                items
            }
        };
        // A share is decided by the key alone, so that a list and a listing are shared out alike.
        items.retain(|item| self.shard.has(&item.key) && !service.is_reserved(&item.key));
        Ok(Some(items))
    }
}

/// One page of a listing, and the key to go on behind.
async fn list(
    service: &Service,
    bucket: &str,
    prefix: &str,
    after: &str,
) -> Result<(Vec<Item>, Option<String>), Error> {
    let mut query = Query::default();
    query.push("list-type", "2");
    // Keys may hold what XML cannot.
    query.push("encoding-type", "url");
    if !prefix.is_empty() {
        query.push("prefix", prefix);
    }
    if !after.is_empty() {
        query.push("start-after", after);
    }
    let mut request = Request::bucket(Method::GET, bucket);
    request.query = query;
    let answer = service.own.send("ListObjectsV2", request).await?;
    let document = service.own.document(answer).await?;
    let page = Page::parse(&document)?;
    let items: Vec<Item> = page
        .items
        .iter()
        .filter_map(|item| match &item.kind {
            ItemKind::Object(entry) => Some(Item {
                key: item.name.clone(),
                stored_len: Some(entry.stored_len),
            }),
            _ => None,
        })
        .collect();
    let last = match (page.truncated, items.last()) {
        (false, _) => None,
        (true, Some(item)) => Some(item.key.clone()),
        (true, None) => return Err(StoreError::Malformed("listing does not move on").into()),
    };
    Ok((items, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_of_one_share() {
        let shards: Vec<Shard> = (0..7)
            .map(|i| Shard::new(i, NonZeroU32::new(7).unwrap()).unwrap())
            .collect();
        let mut sizes = [0; 7];
        for number in 0..10_000 {
            let key = format!("folder/{number}");
            let mine: Vec<usize> = (0..7).filter(|&i| shards[i].has(&key)).collect();
            assert_eq!(mine.len(), 1, "{key}");
            sizes[mine[0]] += 1;
            assert!(Shard::default().has(&key));
        }
        assert!(
            sizes.iter().all(|size| (1_200..1_700).contains(size)),
            "{sizes:?}"
        );
    }

    #[test]
    fn there_are_as_many_shares_as_are_said() {
        let count = NonZeroU32::new(16).unwrap();
        assert_eq!(Shard::new(15, count).unwrap().to_string(), "15/16");
        assert_eq!(Shard::new(16, count), None);
    }
}
