//! What exists: buckets, and for each key a record that names the blobs with the body.
//!
//! Ordered, transactional tables. The commit of a record *is* the write of the object: body, metadata
//! and ETag appear together or not at all, conditions are decided under the same lock, and keys are plain data, so
//! any key up to the limit works and listings come in the order S3 promises.

pub(crate) mod assembly;
mod listing;
mod records;
mod uploads;

use std::collections::HashSet;
use std::path::Path;

use redb::{
    Database, Durability, ReadableDatabase, ReadableTable, Table, TableDefinition, WriteTransaction,
};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use self::assembly::AssemblyError;
pub(crate) use self::listing::{Item, Page, Query, Start};
pub(crate) use self::records::{Attributes, Body, Condition, CorsRule, Part, Record, Upload};
use super::blobs::BlobId;

/// Bucket name to creation time. Do not change the name: it stands in folders that exist.
const BUCKETS: TableDefinition<'_, &str, u64> = TableDefinition::new("buckets");
/// (bucket, key) to a record in JSON. Do not change the name: it stands in folders that exist.
const OBJECTS: TableDefinition<'_, (&str, &[u8]), &[u8]> = TableDefinition::new("objects");
/// (bucket, key, upload id) to an unfinished upload in JSON. Do not change the name: it stands in folders that exist.
const UPLOADS: TableDefinition<'_, (&str, &[u8], &str), &[u8]> = TableDefinition::new("uploads");
/// (upload id, part number) to a part in JSON, of unfinished uploads and of the objects that uploads became. Do not
/// change the name: it stands in folders that exist.
const PARTS: TableDefinition<'_, (&str, u32), &[u8]> = TableDefinition::new("parts");
/// Bucket name to its CORS rules in JSON. Do not change the name: it stands in folders that exist.
const CORS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("cors");
/// The database's page cache; its default is 1 GiB.
const CACHE_BYTES: usize = 8 * 1024 * 1024;

/// Why the catalog did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CatalogError {
    #[error("no such bucket")]
    NoSuchBucket,
    #[error("no such key")]
    NoSuchKey,
    #[error("no such upload")]
    NoSuchUpload,
    #[error("the bucket has no CORS rules")]
    NoSuchCors,
    #[error("the bucket exists already")]
    BucketExists,
    #[error("the bucket is not empty")]
    BucketNotEmpty,
    #[error("a condition of the request does not hold")]
    ConditionFailed,
    #[error(transparent)]
    Assembly(#[from] AssemblyError),
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

/// Blobs that no record names any more, for whoever removes files.
#[derive(Debug, Default, PartialEq, Eq)]
#[must_use = "the files stay until the next start"]
pub(crate) struct Garbage {
    /// The upload they were parts of, by which readers of the object may still hold them.
    pub(crate) upload: Option<String>,
    pub(crate) blobs: Vec<BlobId>,
}

/// The database. All calls block.
#[derive(Debug)]
pub(crate) struct Catalog {
    database: Database,
}

impl Catalog {
    /// Opens or makes the database; one process at a time can have it open.
    pub(crate) fn open(path: &Path) -> Result<Self, CatalogError> {
        let database = redb::Builder::new()
            .set_cache_size(CACHE_BYTES)
            .create(path)?;
        let transaction = database.begin_write()?;
        transaction.open_table(BUCKETS)?;
        transaction.open_table(OBJECTS)?;
        transaction.open_table(UPLOADS)?;
        transaction.open_table(PARTS)?;
        transaction.open_table(CORS)?;
        transaction.commit()?;
        Ok(Self { database })
    }

    pub(crate) fn create_bucket(&self, bucket: &str, created: u64) -> Result<(), CatalogError> {
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

    /// Removes a bucket without objects, and with it its settings and its unfinished uploads.
    pub(crate) fn delete_bucket(&self, bucket: &str) -> Result<Vec<Garbage>, CatalogError> {
        let transaction = self.write()?;
        let mut garbage = Vec::new();
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
            transaction.open_table(CORS)?.remove(bucket)?;
            let mut uploads = transaction.open_table(UPLOADS)?;
            let mut parts = transaction.open_table(PARTS)?;
            let mut unfinished = Vec::new();
            for entry in uploads.range((bucket, &[][..], "")..)? {
                let (place, _) = entry?;
                let (owner, key, id) = place.value();
                if owner != bucket {
                    break;
                }
                unfinished.push((key.to_owned(), id.to_owned()));
            }
            for (key, id) in unfinished {
                uploads.remove((bucket, key.as_slice(), id.as_str()))?;
                garbage.push(remove_parts(&mut parts, &id)?);
            }
        }
        transaction.commit()?;
        Ok(garbage)
    }

    /// Names and creation times, in order of name.
    pub(crate) fn buckets(&self) -> Result<Vec<(String, u64)>, CatalogError> {
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
    pub(crate) fn require_bucket(&self, bucket: &str) -> Result<(), CatalogError> {
        let buckets = self.database.begin_read()?.open_table(BUCKETS)?;
        match buckets.get(bucket)? {
            Some(_) => Ok(()),
            None => Err(CatalogError::NoSuchBucket),
        }
    }

    /// The CORS rules of a bucket that has some.
    pub(crate) fn cors(&self, bucket: &str) -> Result<Vec<CorsRule>, CatalogError> {
        let transaction = self.database.begin_read()?;
        if transaction.open_table(BUCKETS)?.get(bucket)?.is_none() {
            return Err(CatalogError::NoSuchBucket);
        }
        decode(transaction.open_table(CORS)?.get(bucket)?)?.ok_or(CatalogError::NoSuchCors)
    }

    /// Sets the CORS rules of a bucket; none at all removes the setting.
    pub(crate) fn set_cors(&self, bucket: &str, rules: &[CorsRule]) -> Result<(), CatalogError> {
        let encoded = serde_json::to_vec(rules)?;
        let transaction = self.write()?;
        {
            require(&transaction, bucket)?;
            let mut cors = transaction.open_table(CORS)?;
            if rules.is_empty() {
                cors.remove(bucket)?;
            } else {
                cors.insert(bucket, encoded.as_slice())?;
            }
        }
        transaction.commit()?;
        Ok(())
    }

    pub(crate) fn get(&self, bucket: &str, key: &str) -> Result<Record, CatalogError> {
        let transaction = self.database.begin_read()?;
        let objects = transaction.open_table(OBJECTS)?;
        if let Some(record) = decode(objects.get((bucket, key.as_bytes()))?)? {
            return Ok(record);
        }
        match transaction.open_table(BUCKETS)?.get(bucket)? {
            Some(_) => Err(CatalogError::NoSuchKey),
            None => Err(CatalogError::NoSuchBucket),
        }
    }

    /// Writes a record, and returns what only the one that it replaced had named.
    pub(crate) fn put(
        &self,
        bucket: &str,
        key: &str,
        record: &Record,
        condition: &Condition,
    ) -> Result<Garbage, CatalogError> {
        let transaction = self.write()?;
        let garbage = {
            require(&transaction, bucket)?;
            replace(&transaction, bucket, key, record, condition)?
        };
        transaction.commit()?;
        Ok(garbage)
    }

    /// Changes what is said about an object, and nothing of its body.
    pub(crate) fn retag(
        &self,
        bucket: &str,
        key: &str,
        tags: std::collections::BTreeMap<String, String>,
    ) -> Result<(), CatalogError> {
        let transaction = self.write()?;
        {
            require(&transaction, bucket)?;
            let mut objects = transaction.open_table(OBJECTS)?;
            let place = (bucket, key.as_bytes());
            let mut record: Record = decode(objects.get(place)?)?.ok_or(CatalogError::NoSuchKey)?;
            record.tags = tags;
            objects.insert(place, serde_json::to_vec(&record)?.as_slice())?;
        }
        transaction.commit()?;
        Ok(())
    }

    /// Removes keys together; each answer is what the removed record had named, or why it was not removed.
    pub(crate) fn delete(
        &self,
        bucket: &str,
        keys: &[(String, Condition)],
    ) -> Result<Vec<Result<Garbage, CatalogError>>, CatalogError> {
        let transaction = self.write()?;
        let mut answers = Vec::with_capacity(keys.len());
        {
            require(&transaction, bucket)?;
            let mut objects = transaction.open_table(OBJECTS)?;
            let mut parts = transaction.open_table(PARTS)?;
            for (key, condition) in keys {
                let place = (bucket, key.as_bytes());
                let current: Option<Record> = decode(objects.get(place)?)?;
                if let Err(error) = condition.check(current.as_ref()) {
                    answers.push(Err(error));
                    continue;
                }
                objects.remove(place)?;
                answers.push(Ok(match current {
                    Some(record) => release(&mut parts, record.body)?,
                    None => Garbage::default(),
                }));
            }
        }
        transaction.commit()?;
        Ok(answers)
    }

    /// Every blob that a record names.
    pub(crate) fn live_blobs(&self) -> Result<HashSet<BlobId>, CatalogError> {
        #[derive(Deserialize)]
        struct Named {
            blob: Option<BlobId>,
        }
        let transaction = self.database.begin_read()?;
        let objects = transaction.open_table(OBJECTS)?;
        let parts = transaction.open_table(PARTS)?;
        let mut live = HashSet::new();
        for entry in objects.iter()? {
            live.extend(serde_json::from_slice::<Named>(entry?.1.value())?.blob);
        }
        for entry in parts.iter()? {
            live.extend(serde_json::from_slice::<Named>(entry?.1.value())?.blob);
        }
        Ok(live)
    }

    /// A transaction whose commit returns when the disk has it. One at a time.
    fn write(&self) -> Result<WriteTransaction, CatalogError> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        Ok(transaction)
    }
}

type Parts<'a> = Table<'a, (&'static str, u32), &'static [u8]>;

fn require(transaction: &WriteTransaction, bucket: &str) -> Result<(), CatalogError> {
    match transaction.open_table(BUCKETS)?.get(bucket)? {
        Some(_) => Ok(()),
        None => Err(CatalogError::NoSuchBucket),
    }
}

/// Puts a record in the place of the one that is there, where the condition holds of that.
fn replace(
    transaction: &WriteTransaction,
    bucket: &str,
    key: &str,
    record: &Record,
    condition: &Condition,
) -> Result<Garbage, CatalogError> {
    let mut objects = transaction.open_table(OBJECTS)?;
    let place = (bucket, key.as_bytes());
    let current: Option<Record> = decode(objects.get(place)?)?;
    condition.check(current.as_ref())?;
    objects.insert(place, serde_json::to_vec(record)?.as_slice())?;
    match current {
        Some(replaced) => release(&mut transaction.open_table(PARTS)?, replaced.body),
        None => Ok(Garbage::default()),
    }
}

/// Removes what is kept beside a record about its body.
fn release(parts: &mut Parts<'_>, body: Body) -> Result<Garbage, CatalogError> {
    match body {
        Body::Blob(blob) => Ok(Garbage {
            upload: None,
            blobs: vec![blob],
        }),
        Body::Parts { upload, .. } => remove_parts(parts, &upload),
    }
}

fn remove_parts(parts: &mut Parts<'_>, upload: &str) -> Result<Garbage, CatalogError> {
    let mut blobs = Vec::new();
    let all = (upload, 0)..=(upload, u32::MAX);
    for entry in parts.extract_from_if(all, |_, _| true)? {
        let part: Part = serde_json::from_slice(entry?.1.value())?;
        blobs.push(part.blob);
    }
    Ok(Garbage {
        upload: Some(upload.to_owned()),
        blobs,
    })
}

fn decode<T: DeserializeOwned>(
    record: Option<redb::AccessGuard<'_, &[u8]>>,
) -> Result<Option<T>, CatalogError> {
    match record {
        Some(record) => Ok(Some(serde_json::from_slice(record.value())?)),
        None => Ok(None),
    }
}
