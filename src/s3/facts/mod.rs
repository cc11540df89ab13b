//! A bounded cache of what footers say, so that listings need not read them again. It is keyed by
//! the store's own ETag and the stored length (every PUT seals with a fresh salt, so no two share an ETag), so an
//! overwritten object cannot match: deleting an entry costs time, never truth. What goes in comes from verified
//! footers only, under the bucket's binding as it was when they verified.

mod disk;

use std::path::{Path, PathBuf};

use quick_cache::sync::Cache;
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::aead::{ChecksumAlgorithm, ChecksumType, Etag, Footer};
use crate::telemetry::metrics::{self, CacheEvent};
use disk::Disk;

/// Memory that an entry takes at most: 140 bytes with what the cache keeps beside it, and room that was taken for
/// more to come, since its tables grow by doubling.
const ENTRY_BYTES: u64 = 256;

/// Buckets whose scope is remembered.
const SCOPES: usize = 1024;

/// Which bytes at the store.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FactKey<S = String> {
    /// Bucket.
    pub bucket: S,
    /// Object key.
    pub key: S,
    /// The store's ETag without quotes.
    pub store_etag: S,
    /// Stored length.
    pub stored_len: u64,
}

/// What they hold. Small and of one size, so that the number of entries bounds their bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fact {
    /// Plaintext length.
    pub plaintext_len: u64,
    /// Where its ETag comes from.
    pub tag: FactTag,
    /// What kind of checksum it has.
    pub checksum: Option<ChecksumKind>,
}

/// What listings tell of a checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChecksumKind {
    /// Algorithm.
    pub algorithm: ChecksumAlgorithm,
    /// What it is taken over.
    pub kind: ChecksumType,
}

impl ChecksumKind {
    /// Of an object with this footer.
    pub fn of(footer: &Footer) -> Option<Self> {
        footer.checksum.map(|checksum| Self {
            algorithm: checksum.algorithm(),
            kind: footer.checksum_type,
        })
    }

    /// Five bits that are not all 0: the footer's number of the algorithm, and whether it is composite.
    fn encode(self) -> u8 {
        self.algorithm.code() << 1 | u8::from(self.kind == ChecksumType::Composite)
    }

    /// Reads what [`ChecksumKind::encode`] wrote.
    fn decode(bits: u8) -> Option<Self> {
        Some(Self {
            algorithm: ChecksumAlgorithm::from_code(bits >> 1)?,
            kind: match bits & 1 {
                0 => ChecksumType::FullObject,
                _ => ChecksumType::Composite,
            },
        })
    }
}

/// Where an ETag comes from. A new kind needs a number in [`Fact::encode`] and [`Fact::decode`] that none has had.
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
    /// Of another program's format: the store's ETag, marked. Its length is the store's word.
    Foreign,
}

impl FactTag {
    /// Of a sealed object.
    pub fn sealed(md5: Option<[u8; 16]>) -> Self {
        md5.map_or(Self::Opaque, Self::Md5)
    }

    /// Of a sealed object with this footer.
    pub fn of(footer: &Footer) -> Self {
        match (footer.etag, footer.parts) {
            (Etag::Md5(md5), _) => Self::Md5(md5),
            (Etag::Multipart(md5), Some(parts)) => Self::Multipart(md5, parts.count),
            _ => Self::Opaque,
        }
    }
}

impl Fact {
    /// What this footer says.
    pub fn of(footer: &Footer) -> Self {
        Self {
            plaintext_len: footer.plaintext_len,
            tag: FactTag::of(footer),
            checksum: ChecksumKind::of(footer),
        }
    }

    /// As it stands on disk: one byte, the length, what the tag holds. The byte is the number of the tag's kind, above the
    /// [`CHECKSUM`] bits in sealed objects. Numbers never change their meaning: 1, 2 and 4 alone stood for sealed objects
    /// without a word of their checksums.
    fn encode(&self) -> Vec<u8> {
        let of_parts;
        let (kind, rest): (u8, &[u8]) = match &self.tag {
            FactTag::Plain => (PLAIN, &[]),
            FactTag::Md5(md5) => (MD5, md5),
            FactTag::Opaque => (OPAQUE, &[]),
            FactTag::Multipart(md5, count) => {
                of_parts = [&md5[..], &count.to_be_bytes()].concat();
                (MULTIPART, &of_parts)
            }
            FactTag::Foreign => (FOREIGN, &[]),
        };
        let checksum = self.checksum.filter(|_| !matches!(kind, PLAIN | FOREIGN));
        let first = kind | checksum.map_or(0, ChecksumKind::encode);
        [&[first], &self.plaintext_len.to_be_bytes()[..], rest].concat()
    }

    /// Reads what [`Fact::encode`] wrote; `None` for a kind that this version does not know, or an earlier one wrote that
    /// knew less.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let (first, rest) = bytes.split_first()?;
        let (len, rest) = rest.split_first_chunk()?;
        let checksum = match first & CHECKSUM {
            _ if matches!(*first, PLAIN | FOREIGN) => None,
            0 => None,
            bits => Some(ChecksumKind::decode(bits)?),
        };
        let tag = match (*first, first & !CHECKSUM, rest) {
            (PLAIN, _, []) => FactTag::Plain,
            (FOREIGN, _, []) => FactTag::Foreign,
            (_, MD5, rest) => FactTag::Md5(rest.try_into().ok()?),
            (_, OPAQUE, []) => FactTag::Opaque,
            (_, MULTIPART, rest) => {
                let (md5, count) = rest.split_first_chunk()?;
                FactTag::Multipart(*md5, u16::from_be_bytes(count.try_into().ok()?))
            }
            _ => return None,
        };
        Some(Self {
            plaintext_len: u64::from_be_bytes(*len),
            tag,
            checksum,
        })
    }
}

/// Stands for a [`FactKey`] in its scope: entries take the same room whatever names they are about.
type Place = [u8; 32];

/// Numbers of tags in files. Do not change them.
const PLAIN: u8 = 3;
const FOREIGN: u8 = 5;
const MD5: u8 = 1 << 5;
const OPAQUE: u8 = 2 << 5;
const MULTIPART: u8 = 3 << 5;
/// The bits that tell the kind of checksum.
const CHECKSUM: u8 = (1 << 5) - 1;

/// What decides, beside the bytes themselves, whether the objects of a bucket verify: the keys, the bucket's name in
/// the binding, its rules. Facts that were learnt under another scope are not found.
pub type Scope = dyn Fn(&str) -> String + Send + Sync;

/// Why a cache file cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FactsError {
    /// Another process has it open.
    #[error("{} is in use by another process; each gateway needs a file of its own", .0.display())]
    InUse(PathBuf),
    /// It cannot be opened or made.
    #[error("cannot use {}: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// The cache.
pub struct Facts {
    entries: Option<Cache<Place, Fact>>,
    scope: Box<Scope>,
    scopes: Cache<String, Place>,
    disk: Option<Disk>,
}

impl Facts {
    /// A cache that takes at most `bytes` of memory, and is kept in the file at `path` where there is one.
    ///
    /// # Errors
    /// [`FactsError`]. A file that is damaged, or no cache at all, is put aside with a warning and is no error.
    pub fn open(bytes: u64, path: Option<&Path>, scope: Box<Scope>) -> Result<Self, FactsError> {
        let capacity = usize::try_from(bytes / ENTRY_BYTES).unwrap_or(usize::MAX);
        let entries = (capacity > 0).then(|| Cache::new(capacity));
        let disk = match (path, &entries) {
            (Some(path), Some(entries)) => {
                let (disk, known) = Disk::open(path, capacity)?;
                for (place, fact) in known {
                    entries.insert(place, fact);
                }
                Some(disk)
            }
            _ => None,
        };
        Ok(Self {
            entries,
            scope,
            scopes: Cache::new(SCOPES),
            disk,
        })
    }

    /// Looks up.
    pub fn find<S: AsRef<str>>(&self, key: &FactKey<S>) -> Option<Fact> {
        let found = self.entries.as_ref()?.get(&self.place(key));
        let event = if found.is_some() {
            CacheEvent::Hit
        } else {
            CacheEvent::Miss
        };
        metrics::cache(metrics::Cache::Footer, event, 1);
        found
    }

    /// Remembers.
    pub fn learn<S: AsRef<str>>(&self, key: FactKey<S>, fact: Fact) {
        let Some(entries) = &self.entries else {
            return;
        };
        let place = self.place(&key);
        if entries.get(&place) == Some(fact) {
            return;
        }
        entries.insert(place, fact);
        if let Some(disk) = &self.disk {
            disk.write(place, fact);
        }
    }

    /// The hash of everything that must be the same for a fact to hold.
    fn place<S: AsRef<str>>(&self, key: &FactKey<S>) -> Place {
        let bucket = key.bucket.as_ref();
        let scope = self.scopes.get(bucket).unwrap_or_else(|| {
            let scope = Sha256::digest((self.scope)(bucket)).into();
            self.scopes.insert(bucket.to_owned(), scope);
            scope
        });
        let mut hash = Sha256::new();
        hash.update(scope);
        for text in [bucket, key.key.as_ref(), key.store_etag.as_ref()] {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text);
        }
        hash.update(key.stored_len.to_be_bytes());
        hash.finalize().into()
    }
}

#[cfg(test)]
mod tests;
