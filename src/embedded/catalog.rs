//! What exists: buckets, and for each key a record that names the blob with the body.
//!
//! One ordered, transactional table of each. The commit of a record *is* the write of the object: body, metadata
//! and ETag appear together or not at all, conditions are decided under the same lock, and keys are plain data, so
//! any key up to the limit works and listings come in the order S3 promises.

use std::collections::{BTreeMap, HashSet};
use std::ops::Bound;
use std::path::Path;

use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};

use super::blobs::BlobId;

/// Bucket name to creation time. Do not change the name: it stands in folders that exist.
const BUCKETS: TableDefinition<'_, &str, u64> = TableDefinition::new("buckets");
/// (bucket, key) to a record in JSON. Do not change the name: it stands in folders that exist.
const OBJECTS: TableDefinition<'_, (&str, &[u8]), &[u8]> = TableDefinition::new("objects");
/// The database's page cache; its default is 1 GiB.
const CACHE_BYTES: usize = 8 * 1024 * 1024;

/// Why the catalog did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum CatalogError {
    #[error("no such bucket")]
    NoSuchBucket,
    #[error("no such key")]
    NoSuchKey,
    #[error("the bucket exists already")]
    BucketExists,
    #[error("the bucket is not empty")]
    BucketNotEmpty,
    #[error("a condition of the request does not hold")]
    ConditionFailed,
    #[error("the database failed: {0}")]
    Database(Box<redb::Error>),
    #[error("a record cannot be read or written: {0}")]
    Record(#[from] serde_json::Error),
    #[error("a key in the catalog is not UTF-8")]
    Key(#[from] std::str::Utf8Error),
    #[error("a file of the store failed: {0}")]
    Io(#[from] std::io::Error),
}

macro_rules! from_redb {
    ($($error:ty),+) => {
        $(impl From<$error> for CatalogError {
            fn from(error: $error) -> Self {
                Self::Database(Box::new(error.into()))
            }
        })+
    };
}
from_redb!(
    redb::DatabaseError,
    redb::TransactionError,
    redb::TableError,
    redb::StorageError,
    redb::CommitError,
    redb::SetDurabilityError
);

/// One object, without its body.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) blob: BlobId,
    pub(super) size: u64,
    /// MD5 of the body in hex, which is also the ETag.
    pub(super) md5: String,
    /// Seconds since 1970.
    pub(super) modified: u64,
    #[serde(default)]
    pub(super) attributes: Attributes,
    /// Checksums that were verified on upload: algorithm, as in the header's name, to base64.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) checksums: BTreeMap<String, String>,
}

/// What a client says about an object, and `x-amz-metadata-directive: REPLACE` replaces.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Attributes {
    pub(super) content_type: Option<String>,
    pub(super) content_encoding: Option<String>,
    pub(super) content_disposition: Option<String>,
    pub(super) content_language: Option<String>,
    pub(super) cache_control: Option<String>,
    /// As an RFC 3339 date.
    pub(super) expires: Option<String>,
    pub(super) website_redirect: Option<String>,
    pub(super) metadata: BTreeMap<String, String>,
}

/// What must hold of the object that is there now for a write or delete to go ahead.
#[derive(Clone, Debug, Default)]
pub(super) enum Condition {
    #[default]
    None,
    Absent,
    Exists,
    Matches(String),
    Differs(String),
}

impl Condition {
    fn check(&self, current: Option<&Record>) -> Result<(), CatalogError> {
        let holds = match (self, current) {
            (Self::None, _) => true,
            (Self::Absent, current) => current.is_none(),
            (Self::Exists, current) => current.is_some(),
            // AWS answers 404, not 412, to If-Match on a key that is not there.
            (Self::Matches(_), None) => return Err(CatalogError::NoSuchKey),
            (Self::Matches(etag), Some(record)) => *etag == record.md5,
            (Self::Differs(etag), current) => current.is_none_or(|record| *etag != record.md5),
        };
        if holds {
            Ok(())
        } else {
            Err(CatalogError::ConditionFailed)
        }
    }
}

/// Where a listing begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Start {
    Beginning,
    /// After this key.
    After(String),
    /// After everything that begins with this common prefix.
    Past(String),
}

/// A page of a listing, as asked for.
#[derive(Debug)]
pub(super) struct Query {
    pub(super) prefix: String,
    /// Never empty.
    pub(super) delimiter: Option<String>,
    pub(super) start: Start,
    pub(super) limit: usize,
}

/// One line of a listing.
#[derive(Debug)]
pub(super) enum Item {
    Object(String, Box<Record>),
    Prefix(String),
}

/// A page of a listing, in the byte order of its keys and prefixes.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) items: Vec<Item>,
    /// Whether more follows the last item.
    pub(super) truncated: bool,
}

/// The database. All calls block.
#[derive(Debug)]
pub(super) struct Catalog {
    database: Database,
}

impl Catalog {
    /// Opens or makes the database; one process at a time can have it open.
    pub(super) fn open(path: &Path) -> Result<Self, CatalogError> {
        let database = redb::Builder::new()
            .set_cache_size(CACHE_BYTES)
            .create(path)?;
        let transaction = database.begin_write()?;
        transaction.open_table(BUCKETS)?;
        transaction.open_table(OBJECTS)?;
        transaction.commit()?;
        Ok(Self { database })
    }

    pub(super) fn create_bucket(&self, bucket: &str, created: u64) -> Result<(), CatalogError> {
        let transaction = self.write()?;
        {
            let mut buckets = transaction.open_table(BUCKETS)?;
            if buckets.get(bucket)?.is_some() {
                return Err(CatalogError::BucketExists);
            }
            buckets.insert(bucket, created)?;
        }
        transaction.commit()?;
        Ok(())
    }

    pub(super) fn delete_bucket(&self, bucket: &str) -> Result<(), CatalogError> {
        let transaction = self.write()?;
        {
            let objects = transaction.open_table(OBJECTS)?;
            if let Some(first) = objects.range((bucket, &[][..])..)?.next()
                && first?.0.value().0 == bucket
            {
                return Err(CatalogError::BucketNotEmpty);
            }
            let mut buckets = transaction.open_table(BUCKETS)?;
            if buckets.remove(bucket)?.is_none() {
                return Err(CatalogError::NoSuchBucket);
            }
        }
        transaction.commit()?;
        Ok(())
    }

    /// Names and creation times, in order of name.
    pub(super) fn buckets(&self) -> Result<Vec<(String, u64)>, CatalogError> {
        let buckets = self.database.begin_read()?.open_table(BUCKETS)?;
        buckets
            .iter()?
            .map(|entry| {
                let (name, created) = entry?;
                Ok((name.value().to_owned(), created.value()))
            })
            .collect()
    }

    /// Whether the bucket exists, as an error where not.
    pub(super) fn require_bucket(&self, bucket: &str) -> Result<(), CatalogError> {
        let buckets = self.database.begin_read()?.open_table(BUCKETS)?;
        match buckets.get(bucket)? {
            Some(_) => Ok(()),
            None => Err(CatalogError::NoSuchBucket),
        }
    }

    pub(super) fn get(&self, bucket: &str, key: &str) -> Result<Record, CatalogError> {
        let transaction = self.database.begin_read()?;
        if let Some(record) = transaction
            .open_table(OBJECTS)?
            .get((bucket, key.as_bytes()))?
        {
            return Ok(serde_json::from_slice(record.value())?);
        }
        match transaction.open_table(BUCKETS)?.get(bucket)? {
            Some(_) => Err(CatalogError::NoSuchKey),
            None => Err(CatalogError::NoSuchBucket),
        }
    }

    /// Writes a record and returns the one it replaced.
    pub(super) fn put(
        &self,
        bucket: &str,
        key: &str,
        record: &Record,
        condition: &Condition,
    ) -> Result<Option<Record>, CatalogError> {
        let encoded = serde_json::to_vec(record)?;
        let transaction = self.write()?;
        let replaced = {
            if transaction.open_table(BUCKETS)?.get(bucket)?.is_none() {
                return Err(CatalogError::NoSuchBucket);
            }
            let mut objects = transaction.open_table(OBJECTS)?;
            let place = (bucket, key.as_bytes());
            let current = decode(objects.get(place)?)?;
            condition.check(current.as_ref())?;
            objects.insert(place, encoded.as_slice())?;
            current
        };
        transaction.commit()?;
        Ok(replaced)
    }

    /// Removes keys together; each answer is the record that was removed, nothing, or why it was not.
    pub(super) fn delete(
        &self,
        bucket: &str,
        keys: &[(String, Condition)],
    ) -> Result<Vec<Result<Option<Record>, CatalogError>>, CatalogError> {
        let transaction = self.write()?;
        let mut answers = Vec::with_capacity(keys.len());
        {
            if transaction.open_table(BUCKETS)?.get(bucket)?.is_none() {
                return Err(CatalogError::NoSuchBucket);
            }
            let mut objects = transaction.open_table(OBJECTS)?;
            for (key, condition) in keys {
                let place = (bucket, key.as_bytes());
                let current = decode(objects.get(place)?)?;
                if let Err(error) = condition.check(current.as_ref()) {
                    answers.push(Err(error));
                    continue;
                }
                objects.remove(place)?;
                answers.push(Ok(current));
            }
        }
        transaction.commit()?;
        Ok(answers)
    }

    pub(super) fn list(&self, bucket: &str, query: &Query) -> Result<Page, CatalogError> {
        let transaction = self.database.begin_read()?;
        if transaction.open_table(BUCKETS)?.get(bucket)?.is_none() {
            return Err(CatalogError::NoSuchBucket);
        }
        let mut page = Page::default();
        if query.limit == 0 {
            return Ok(page);
        }
        let objects = transaction.open_table(OBJECTS)?;
        let prefix = query.prefix.as_bytes();
        let mut from = Bound::Included(prefix.to_vec());
        match &query.start {
            Start::After(key) if key.as_bytes() >= prefix => {
                from = Bound::Excluded(key.clone().into_bytes());
            }
            Start::Past(common) if common.as_bytes() >= prefix => {
                from = Bound::Included(past(common.as_bytes()));
            }
            Start::Beginning | Start::After(_) | Start::Past(_) => {}
        }
        'scan: loop {
            let begin = from.as_ref().map(|key| (bucket, key.as_slice()));
            for entry in objects.range::<(&str, &[u8])>((begin, Bound::Unbounded))? {
                let (place, record) = entry?;
                let (owner, key) = place.value();
                if owner != bucket || !key.starts_with(prefix) {
                    break 'scan;
                }
                if page.items.len() == query.limit {
                    page.truncated = true;
                    break 'scan;
                }
                let key = std::str::from_utf8(key)?;
                if let Some(common) = common_prefix(key, query) {
                    page.items.push(Item::Prefix(common.to_owned()));
                    from = Bound::Included(past(common.as_bytes()));
                    continue 'scan;
                }
                let record = Box::new(serde_json::from_slice(record.value())?);
                page.items.push(Item::Object(key.to_owned(), record));
            }
            break;
        }
        Ok(page)
    }

    /// Every blob that a record names.
    pub(super) fn live_blobs(&self) -> Result<HashSet<BlobId>, CatalogError> {
        #[derive(Deserialize)]
        struct Blob {
            blob: BlobId,
        }
        let objects = self.database.begin_read()?.open_table(OBJECTS)?;
        objects
            .iter()?
            .map(|entry| Ok(serde_json::from_slice::<Blob>(entry?.1.value())?.blob))
            .collect()
    }

    /// A transaction whose commit returns when the disk has it. One at a time.
    fn write(&self) -> Result<redb::WriteTransaction, CatalogError> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        Ok(transaction)
    }
}

fn decode(record: Option<redb::AccessGuard<'_, &[u8]>>) -> Result<Option<Record>, CatalogError> {
    match record {
        Some(record) => Ok(Some(serde_json::from_slice(record.value())?)),
        None => Ok(None),
    }
}

/// The part of `key` up to and with the first delimiter after the prefix.
fn common_prefix<'a>(key: &'a str, query: &Query) -> Option<&'a str> {
    let delimiter = query.delimiter.as_deref()?;
    let rest = key.strip_prefix(query.prefix.as_str())?;
    let end = query.prefix.len() + rest.find(delimiter)? + delimiter.len();
    key.get(..end)
}

/// The first string that is greater than everything that begins with `prefix`: UTF-8 has no byte 0xff to carry over.
fn past(prefix: &[u8]) -> Vec<u8> {
    let mut next = prefix.to_vec();
    if let Some(last) = next.last_mut() {
        *last = last.saturating_add(1);
    }
    next
}
