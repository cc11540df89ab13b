//! The S3 operations over catalog and blobs, a file for each family.
//!
//! What is not here answers `NotImplemented`, which is `s3s`'s default for an operation. A request that asks for
//! something which would be silently lost (locks, encryption by the store) is refused, not ignored.

mod body;
mod buckets;
mod checksums;
mod copy;
mod errors;
mod listings;
mod multipart;
mod read;
mod receive;
mod tags;
mod values;
mod write;

use std::sync::Arc;

use s3s::dto::*;
use s3s::{S3, S3Error, S3ErrorCode, S3Request, S3Response, S3Result};

use self::errors::internal;
use super::Limits;
use super::blobs::{Blobs, Uncommitted};
use super::catalog::{Catalog, CatalogError, Condition, Record};

/// The most a page of a listing, or one DeleteObjects, may hold.
const MAX_PAGE: usize = 1000;
/// The most that one request may upload or copy.
const MAX_BODY: u64 = 5 * 1024 * 1024 * 1024;
/// How often a reader looks again for a body whose object was replaced in between.
const READ_ATTEMPTS: usize = 16;
/// The version id of what was written without versioning.
const NULL_VERSION: &str = "null";

/// The store, as `s3s` sees it.
#[derive(Clone, Debug)]
pub(super) struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    catalog: Catalog,
    blobs: Arc<Blobs>,
    limits: Limits,
}

impl Store {
    pub(super) fn new(catalog: Catalog, blobs: Blobs, limits: Limits) -> Self {
        Self {
            inner: Arc::new(Inner {
                catalog,
                blobs: Arc::new(blobs),
                limits,
            }),
        }
    }

    /// Runs what touches the disk where it may block. It runs to its end even if the client goes away.
    async fn blocking<T, E, F>(&self, work: F) -> S3Result<T>
    where
        T: Send + 'static,
        E: Into<S3Error> + Send + 'static,
        F: FnOnce(&Inner) -> Result<T, E> + Send + 'static,
    {
        let inner = Arc::clone(&self.inner);
        tokio::task::spawn_blocking(move || work(&inner))
            .await
            .map_err(internal)?
            .map_err(Into::into)
    }

    async fn require_bucket(&self, bucket: &str) -> S3Result<()> {
        let bucket = bucket.to_owned();
        self.blocking(move |inner| inner.catalog.require_bucket(&bucket))
            .await
    }

    async fn record(&self, bucket: &str, key: &str) -> S3Result<Record> {
        let (bucket, key) = (bucket.to_owned(), key.to_owned());
        self.blocking(move |inner| inner.catalog.get(&bucket, &key))
            .await
    }

    /// Every object has this one version only.
    async fn require_version(&self, bucket: &str, version: Option<&str>) -> S3Result<()> {
        if version.is_some_and(|id| id != NULL_VERSION) {
            self.require_bucket(bucket).await?;
            return Err(S3ErrorCode::NoSuchVersion.into());
        }
        Ok(())
    }

    /// Answers for a setting that no bucket of this store ever has.
    async fn unset<T>(&self, bucket: &str, code: S3ErrorCode) -> S3Result<T> {
        self.require_bucket(bucket).await?;
        Err(code.into())
    }
}

impl Inner {
    /// Commits a body that is complete, and removes the one it replaces.
    fn commit(
        &self,
        bucket: &str,
        key: &str,
        record: &Record,
        blob: Uncommitted,
        condition: &Condition,
    ) -> Result<(), CatalogError> {
        let committed = self.catalog.put(bucket, key, record, condition);
        self.settle(blob, committed)
    }

    /// Keeps a blob whose record was committed, and removes what the record replaced.
    fn settle(
        &self,
        blob: Uncommitted,
        committed: Result<super::catalog::Garbage, CatalogError>,
    ) -> Result<(), CatalogError> {
        let garbage = match committed {
            Ok(garbage) => garbage,
            Err(error) => {
                // After a failed commit nobody knows which record stands; the next sweep does.
                if matches!(error, CatalogError::Database(_)) {
                    blob.keep();
                }
                return Err(error);
            }
        };
        blob.keep();
        self.blobs.discard(garbage);
        Ok(())
    }

    /// The record of a key, with what `open` makes of it. Where that finds no body, the object was replaced since its
    /// record was read, so there is a newer record, or none.
    fn find<T, E: From<CatalogError>>(
        &self,
        bucket: &str,
        key: &str,
        open: impl Fn(&Record) -> Result<Option<T>, E>,
    ) -> Result<(Record, T), E> {
        for _ in 0..READ_ATTEMPTS {
            let record = self.catalog.get(bucket, key)?;
            if let Some(opened) = open(&record)? {
                return Ok((record, opened));
            }
        }
        Err(CatalogError::Io(std::io::ErrorKind::NotFound.into()).into())
    }
}

/// What the store can do: a function for each operation, named as `s3s` names it.
macro_rules! operations {
    ($($family:ident::$operation:ident($input:ty) -> $output:ty;)+) => {
        #[async_trait::async_trait]
        impl S3 for Store {
            $(async fn $operation(
                &self,
                req: S3Request<$input>,
            ) -> S3Result<S3Response<$output>> {
                $family::$operation(self, req).await
            })+
        }
    };
}

operations! {
    buckets::list_buckets(ListBucketsInput) -> ListBucketsOutput;
    buckets::create_bucket(CreateBucketInput) -> CreateBucketOutput;
    buckets::delete_bucket(DeleteBucketInput) -> DeleteBucketOutput;
    buckets::head_bucket(HeadBucketInput) -> HeadBucketOutput;
    buckets::get_bucket_location(GetBucketLocationInput) -> GetBucketLocationOutput;
    buckets::get_bucket_versioning(GetBucketVersioningInput) -> GetBucketVersioningOutput;
    buckets::get_bucket_acl(GetBucketAclInput) -> GetBucketAclOutput;
    buckets::get_object_acl(GetObjectAclInput) -> GetObjectAclOutput;
    buckets::get_bucket_policy(GetBucketPolicyInput) -> GetBucketPolicyOutput;
    buckets::get_bucket_cors(GetBucketCorsInput) -> GetBucketCorsOutput;
    buckets::put_bucket_cors(PutBucketCorsInput) -> PutBucketCorsOutput;
    buckets::delete_bucket_cors(DeleteBucketCorsInput) -> DeleteBucketCorsOutput;
    buckets::get_bucket_lifecycle_configuration(GetBucketLifecycleConfigurationInput)
        -> GetBucketLifecycleConfigurationOutput;
    buckets::get_bucket_tagging(GetBucketTaggingInput) -> GetBucketTaggingOutput;
    buckets::get_bucket_website(GetBucketWebsiteInput) -> GetBucketWebsiteOutput;
    buckets::get_bucket_encryption(GetBucketEncryptionInput) -> GetBucketEncryptionOutput;
    buckets::get_object_lock_configuration(GetObjectLockConfigurationInput)
        -> GetObjectLockConfigurationOutput;
    tags::get_object_tagging(GetObjectTaggingInput) -> GetObjectTaggingOutput;
    tags::put_object_tagging(PutObjectTaggingInput) -> PutObjectTaggingOutput;
    tags::delete_object_tagging(DeleteObjectTaggingInput) -> DeleteObjectTaggingOutput;
    write::put_object(PutObjectInput) -> PutObjectOutput;
    write::delete_object(DeleteObjectInput) -> DeleteObjectOutput;
    write::delete_objects(DeleteObjectsInput) -> DeleteObjectsOutput;
    read::get_object(GetObjectInput) -> GetObjectOutput;
    read::head_object(HeadObjectInput) -> HeadObjectOutput;
    read::get_object_attributes(GetObjectAttributesInput) -> GetObjectAttributesOutput;
    copy::copy_object(CopyObjectInput) -> CopyObjectOutput;
    copy::upload_part_copy(UploadPartCopyInput) -> UploadPartCopyOutput;
    listings::list_objects(ListObjectsInput) -> ListObjectsOutput;
    listings::list_objects_v2(ListObjectsV2Input) -> ListObjectsV2Output;
    listings::list_object_versions(ListObjectVersionsInput) -> ListObjectVersionsOutput;
    multipart::create_multipart_upload(CreateMultipartUploadInput) -> CreateMultipartUploadOutput;
    multipart::upload_part(UploadPartInput) -> UploadPartOutput;
    multipart::list_parts(ListPartsInput) -> ListPartsOutput;
    multipart::list_multipart_uploads(ListMultipartUploadsInput) -> ListMultipartUploadsOutput;
    multipart::abort_multipart_upload(AbortMultipartUploadInput) -> AbortMultipartUploadOutput;
    multipart::complete_multipart_upload(CompleteMultipartUploadInput)
        -> CompleteMultipartUploadOutput;
}
