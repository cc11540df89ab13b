//! A bounded cache of what footers say, so that listings need not read them again. It is keyed by
//! the store's own ETag and the stored length (every PUT seals with a fresh salt, so no two share an ETag), so an overwritten object cannot match: deleting an
//! entry costs time, never truth.

use quick_cache::sync::Cache;

use crate::aead::{Etag, Footer};
use crate::telemetry::metrics::{self, CacheEvent};

/// Which bytes at the store.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FactKey {
    /// Bucket.
    pub bucket: String,
    /// Object key.
    pub key: String,
    /// The store's ETag without quotes.
    pub store_etag: String,
    /// Stored length.
    pub stored_len: u64,
}

/// What they hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fact {
    /// Plaintext length.
    pub plaintext_len: u64,
    /// Where its ETag comes from.
    pub tag: FactTag,
}

/// Where an ETag comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FactTag {
    /// MD5 of the plaintext, from the footer.
    Md5([u8; 16]),
    /// MD5 of the parts' MD5s, from the footer, and the number of parts.
    Multipart([u8; 16], u16),
    /// Sealed without one: the store's ETag, marked.
    Opaque,
    /// Not sealed: the store's ETag as it is.
    Plain,
}

impl FactTag {
    /// Of an object with this footer.
    pub fn of(footer: &Footer) -> Self {
        match (footer.etag, footer.parts) {
            (Etag::Md5(md5), _) => Self::Md5(md5),
            (Etag::Multipart(md5), Some(parts)) => Self::Multipart(md5, parts.count),
            _ => Self::Opaque,
        }
    }

    /// Of a sealed object of one stream.
    pub fn sealed(md5: Option<[u8; 16]>) -> Self {
        md5.map_or(Self::Opaque, Self::Md5)
    }
}

/// The cache.
pub struct Facts {
    cache: Cache<FactKey, Fact>,
}

impl Facts {
    /// Holds at most `entries`.
    pub fn new(entries: usize) -> Self {
        Self {
            cache: Cache::new(entries),
        }
    }

    /// Looks up.
    pub fn find(&self, key: &FactKey) -> Option<Fact> {
        let found = self.cache.get(key);
        let event = if found.is_some() {
            CacheEvent::Hit
        } else {
            CacheEvent::Miss
        };
        metrics::cache(metrics::Cache::Footer, event, 1);
        found
    }

    /// Remembers.
    pub fn learn(&self, key: FactKey, fact: Fact) {
        self.cache.insert(key, fact);
    }
}
