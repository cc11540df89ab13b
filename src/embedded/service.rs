//! The S3 operations over catalog and blobs.
//!
//! What is not here answers `NotImplemented`, which is `s3s`'s default for an operation. A request that asks for
//! something which would be silently lost (tags, locks, encryption by the store) is refused, not ignored.

use std::collections::BTreeMap;
use std::io::{self, Seek, SeekFrom};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use bytes::BytesMut;
use futures::{Stream, StreamExt};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use s3s::checksum::ChecksumHasher;
use s3s::crypto::{Checksum as _, Md5};
use s3s::dto::*;
use s3s::{S3, S3Error, S3ErrorCode, S3Request, S3Response, S3Result, TrailingHeaders, s3_error};
use tokio::io::AsyncReadExt;

use super::REGION;
use super::blobs::{Blobs, Uncommitted};
use super::catalog::{
    Attributes, Catalog, CatalogError, Condition, Item, Page, Query, Record, Start,
};

/// How much of a body is read from its file at a time.
const READ_BUFFER: usize = 128 * 1024;
/// The most a page of a listing, or one DeleteObjects, may hold.
const MAX_PAGE: usize = 1000;
/// How often a reader looks again for a body whose object was replaced in between.
const READ_ATTEMPTS: usize = 16;
/// The version id of what was written without versioning.
const NULL_VERSION: &str = "null";
const OWNER: &str = "sealgate";
/// What `encoding-type=url` leaves as it is.
const URL_SAFE: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');

/// The store, as `s3s` sees it.
#[derive(Clone, Debug)]
pub(super) struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    catalog: Catalog,
    blobs: Blobs,
}

impl Store {
    pub(super) fn new(catalog: Catalog, blobs: Blobs) -> Self {
        Self {
            inner: Arc::new(Inner { catalog, blobs }),
        }
    }

    /// Runs what touches the disk where it may block. It runs to its end even if the client goes away.
    async fn blocking<T, F>(&self, work: F) -> S3Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Inner) -> Result<T, CatalogError> + Send + 'static,
    {
        let inner = Arc::clone(&self.inner);
        tokio::task::spawn_blocking(move || work(&inner))
            .await
            .map_err(internal)?
            .map_err(refusal)
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

    /// Writes a body to a new blob, checking it against everything the client says about it.
    async fn receive(&self, upload: Upload) -> S3Result<Received> {
        let Upload {
            mut body,
            length,
            content_md5,
            mut expected,
            trailers,
        } = upload;
        let mut draft = self.inner.blobs.create().await.map_err(internal)?;
        let mut md5 = Md5::new();
        let mut hasher = expected.hasher()?;
        let mut size = 0_u64;
        while let Some(chunk) = body.next().await {
            let chunk =
                chunk.map_err(|error| S3Error::with_source(S3ErrorCode::IncompleteBody, error))?;
            md5.update(&chunk);
            hasher.update(&chunk);
            draft.write(&chunk).await.map_err(internal)?;
            size = size.saturating_add(chunk.len() as u64);
        }
        if length.is_some_and(|length| u64::try_from(length) != Ok(size)) {
            return Err(s3_error!(IncompleteBody));
        }
        let md5 = md5.finalize();
        if let Some(claimed) = content_md5 {
            let claimed = BASE64_STANDARD
                .decode(claimed)
                .map_err(|_| s3_error!(InvalidDigest))?;
            if claimed.len() != md5.len() {
                return Err(s3_error!(InvalidDigest));
            }
            if claimed != md5 {
                return Err(s3_error!(BadDigest));
            }
        }
        expected.add_trailers(trailers)?;
        let checksums = expected.verify(&hasher.finalize())?;
        let blob = draft.finish().await.map_err(internal)?;
        Ok(Received {
            blob,
            size,
            md5: md5.iter().map(|byte| format!("{byte:02x}")).collect(),
            checksums,
        })
    }

    /// Finds an object, checks the conditions of a read, and opens its body where it is wanted.
    async fn open(&self, read: &Read) -> S3Result<Opened> {
        if read.version.as_deref().is_some_and(|id| id != NULL_VERSION) {
            self.require_bucket(&read.bucket).await?;
            return Err(s3_error!(NoSuchVersion));
        }
        let (bucket, key) = (read.bucket.clone(), read.key.clone());
        let (record, file) = self
            .blocking(move |inner| inner.find(&bucket, &key, |blob| inner.blobs.read(blob)))
            .await?;
        read.conditions.check(&record)?;
        let range = match (read.range, read.part) {
            (Some(_), Some(_)) => {
                return Err(s3_error!(
                    InvalidRequest,
                    "Range and partNumber exclude each other"
                ));
            }
            (Some(range), None) if record.size > 0 => Some(
                range
                    .check(record.size)
                    .map_err(|_| not_satisfiable(record.size))?,
            ),
            (Some(_), None) => return Err(not_satisfiable(record.size)),
            (None, Some(1)) if record.size > 0 => Some(0..record.size),
            (None, None | Some(1)) => None,
            (None, Some(_)) => return Err(not_satisfiable(record.size)),
        };
        Ok(Opened {
            record,
            file,
            range,
        })
    }

    async fn page(&self, bucket: &str, query: Query) -> S3Result<Page> {
        let bucket = bucket.to_owned();
        self.blocking(move |inner| inner.catalog.list(&bucket, &query))
            .await
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
        let replaced = match self.catalog.put(bucket, key, record, condition) {
            Ok(replaced) => replaced,
            Err(error) => {
                // After a failed commit nobody knows which record stands; the next sweep does.
                if matches!(error, CatalogError::Database(_)) {
                    blob.keep();
                }
                return Err(error);
            }
        };
        blob.keep();
        if let Some(replaced) = replaced {
            self.blobs.discard(&replaced.blob);
        }
        Ok(())
    }

    /// The record of a key, with what `open` makes of its blob. A blob that is gone was replaced since its record
    /// was read, so there is a newer record, or none.
    fn find<T>(
        &self,
        bucket: &str,
        key: &str,
        open: impl Fn(&super::blobs::BlobId) -> io::Result<T>,
    ) -> Result<(Record, T), CatalogError> {
        let mut attempts = 0;
        loop {
            let record = self.catalog.get(bucket, key)?;
            match open(&record.blob) {
                Ok(opened) => return Ok((record, opened)),
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
                Err(error) => {
                    attempts += 1;
                    if attempts == READ_ATTEMPTS {
                        return Err(error.into());
                    }
                }
            }
        }
    }
}

/// A body on its way in.
struct Upload {
    body: StreamingBlob,
    length: Option<i64>,
    content_md5: Option<String>,
    expected: Expected,
    trailers: Option<TrailingHeaders>,
}

/// A body that is on disk and checked.
struct Received {
    blob: Uncommitted,
    size: u64,
    md5: String,
    checksums: BTreeMap<String, String>,
}

/// A read, GET or HEAD.
struct Read {
    bucket: String,
    key: String,
    version: Option<String>,
    range: Option<Range>,
    part: Option<i32>,
    conditions: ReadConditions,
}

/// An object that is there and may be read.
struct Opened {
    record: Record,
    file: std::fs::File,
    range: Option<std::ops::Range<u64>>,
}

impl Opened {
    fn length(&self) -> u64 {
        self.range
            .as_ref()
            .map_or(self.record.size, |range| range.end - range.start)
    }

    fn content_range(&self) -> Option<String> {
        let range = self.range.as_ref()?;
        let last = range.end.saturating_sub(1);
        Some(format!("bytes {}-{last}/{}", range.start, self.record.size))
    }

    /// Checksums cover the whole object, so they go with the whole object only.
    fn checksum(&self, asked: bool, name: &str) -> Option<String> {
        if !asked || self.range.is_some() {
            return None;
        }
        self.record.checksums.get(name).cloned()
    }
}

/// The conditions of a read, or of the source of a copy.
struct ReadConditions {
    matches: Option<ETagCondition>,
    differs: Option<ETagCondition>,
    modified_since: Option<Timestamp>,
    unmodified_since: Option<Timestamp>,
}

impl ReadConditions {
    /// In the order of RFC 9110, section 13.2.2. An ETag condition leaves the date beside it without effect.
    fn check(&self, record: &Record) -> S3Result<()> {
        let modified = timestamp(record.modified);
        match (&self.matches, &self.unmodified_since) {
            (Some(condition), _) if !is_etag(condition, record) => {
                return Err(s3_error!(PreconditionFailed));
            }
            (None, Some(date)) if modified > *date => return Err(s3_error!(PreconditionFailed)),
            _ => {}
        }
        let unchanged = match (&self.differs, &self.modified_since) {
            (Some(condition), _) => is_etag(condition, record),
            (None, Some(date)) => modified <= *date,
            (None, None) => false,
        };
        if !unchanged {
            return Ok(());
        }
        let mut error = s3_error!(NotModified);
        let mut headers = HeaderMap::new();
        if let Ok(etag) = HeaderValue::from_str(&format!("\"{}\"", record.md5)) {
            headers.insert(header::ETAG, etag);
        }
        error.set_headers(headers);
        Err(error)
    }
}

/// The checksums a client announces, by the name in their header.
#[derive(Default)]
struct Expected {
    values: BTreeMap<&'static str, Option<String>>,
}

impl Expected {
    fn announce(&mut self, name: &'static str, value: Option<String>) {
        if value.is_some() {
            self.values.insert(name, value);
        }
    }

    /// An algorithm whose value follows in the trailer, or is not given at all.
    fn announce_algorithm(&mut self, algorithm: &str) -> S3Result<()> {
        let name = CHECKSUMS
            .iter()
            .find(|name| name.eq_ignore_ascii_case(algorithm))
            .ok_or_else(|| s3_error!(InvalidRequest, "This checksum algorithm is not supported"))?;
        self.values.entry(name).or_default();
        Ok(())
    }

    fn hasher(&self) -> S3Result<ChecksumHasher> {
        let mut hasher = ChecksumHasher::default();
        for name in self.values.keys() {
            match *name {
                "crc32" => hasher.crc32 = Some(Default::default()),
                "crc32c" => hasher.crc32c = Some(Default::default()),
                "crc64nvme" => hasher.crc64nvme = Some(Default::default()),
                "sha1" => hasher.sha1 = Some(s3s::crypto::Sha1::new()),
                "sha256" => hasher.sha256 = Some(s3s::crypto::Sha256::new()),
                _ => return Err(s3_error!(NotImplemented)),
            }
        }
        Ok(hasher)
    }

    fn add_trailers(&mut self, trailers: Option<TrailingHeaders>) -> S3Result<()> {
        let Some(trailers) = trailers.and_then(|trailers| trailers.take()) else {
            return Ok(());
        };
        for (name, value) in &mut self.values {
            if let Some(sent) = trailers.get(format!("x-amz-checksum-{name}")) {
                let sent = sent.to_str().map_err(|_| s3_error!(InvalidRequest))?;
                *value = Some(sent.to_owned());
            }
        }
        Ok(())
    }

    /// What was verified.
    fn verify(self, computed: &Checksum) -> S3Result<BTreeMap<String, String>> {
        let mut verified = BTreeMap::new();
        for (name, expected) in self.values {
            let actual = match name {
                "crc32" => &computed.checksum_crc32,
                "crc32c" => &computed.checksum_crc32c,
                "crc64nvme" => &computed.checksum_crc64nvme,
                "sha1" => &computed.checksum_sha1,
                _ => &computed.checksum_sha256,
            };
            if expected.is_some() && expected != *actual {
                return Err(s3_error!(BadDigest));
            }
            if let Some(actual) = actual {
                verified.insert(name.to_owned(), actual.clone());
            }
        }
        Ok(verified)
    }
}

const CHECKSUMS: [&str; 5] = ["crc32", "crc32c", "crc64nvme", "sha1", "sha256"];

#[async_trait::async_trait]
impl S3 for Store {
    async fn list_buckets(
        &self,
        req: S3Request<ListBucketsInput>,
    ) -> S3Result<S3Response<ListBucketsOutput>> {
        let prefix = req.input.prefix.unwrap_or_default();
        let buckets = self.blocking(|inner| inner.catalog.buckets()).await?;
        let buckets = buckets
            .into_iter()
            .filter(|(name, _)| name.starts_with(&prefix))
            .map(|(name, created)| Bucket {
                name: Some(name),
                creation_date: Some(timestamp(created)),
                ..Default::default()
            })
            .collect();
        Ok(S3Response::new(ListBucketsOutput {
            buckets: Some(buckets),
            owner: Some(owner()),
            prefix: Some(prefix).filter(|prefix| !prefix.is_empty()),
            ..Default::default()
        }))
    }

    async fn create_bucket(
        &self,
        req: S3Request<CreateBucketInput>,
    ) -> S3Result<S3Response<CreateBucketOutput>> {
        let bucket = req.input.bucket;
        if req.input.object_lock_enabled_for_bucket == Some(true) {
            return Err(s3_error!(NotImplemented, "There is no object lock here"));
        }
        let location = format!("/{bucket}");
        self.blocking(move |inner| inner.catalog.create_bucket(&bucket, now()))
            .await?;
        Ok(S3Response::new(CreateBucketOutput {
            location: Some(location),
        }))
    }

    async fn delete_bucket(
        &self,
        req: S3Request<DeleteBucketInput>,
    ) -> S3Result<S3Response<DeleteBucketOutput>> {
        let bucket = req.input.bucket;
        self.blocking(move |inner| inner.catalog.delete_bucket(&bucket))
            .await?;
        let mut response = S3Response::new(DeleteBucketOutput::default());
        response.status = Some(StatusCode::NO_CONTENT);
        Ok(response)
    }

    async fn head_bucket(
        &self,
        req: S3Request<HeadBucketInput>,
    ) -> S3Result<S3Response<HeadBucketOutput>> {
        self.require_bucket(&req.input.bucket).await?;
        Ok(S3Response::new(HeadBucketOutput {
            bucket_region: Some(REGION.to_owned()),
            ..Default::default()
        }))
    }

    async fn get_bucket_location(
        &self,
        req: S3Request<GetBucketLocationInput>,
    ) -> S3Result<S3Response<GetBucketLocationOutput>> {
        self.require_bucket(&req.input.bucket).await?;
        // No constraint is how S3 says us-east-1.
        Ok(S3Response::new(GetBucketLocationOutput::default()))
    }

    async fn get_bucket_versioning(
        &self,
        req: S3Request<GetBucketVersioningInput>,
    ) -> S3Result<S3Response<GetBucketVersioningOutput>> {
        self.require_bucket(&req.input.bucket).await?;
        Ok(S3Response::new(GetBucketVersioningOutput::default()))
    }

    async fn get_bucket_acl(
        &self,
        req: S3Request<GetBucketAclInput>,
    ) -> S3Result<S3Response<GetBucketAclOutput>> {
        self.require_bucket(&req.input.bucket).await?;
        Ok(S3Response::new(GetBucketAclOutput {
            grants: Some(vec![full_control()]),
            owner: Some(owner()),
        }))
    }

    async fn get_object_acl(
        &self,
        req: S3Request<GetObjectAclInput>,
    ) -> S3Result<S3Response<GetObjectAclOutput>> {
        self.record(&req.input.bucket, &req.input.key).await?;
        Ok(S3Response::new(GetObjectAclOutput {
            grants: Some(vec![full_control()]),
            owner: Some(owner()),
            ..Default::default()
        }))
    }

    async fn get_bucket_policy(
        &self,
        req: S3Request<GetBucketPolicyInput>,
    ) -> S3Result<S3Response<GetBucketPolicyOutput>> {
        self.unset(&req.input.bucket, S3ErrorCode::NoSuchBucketPolicy)
            .await
    }

    async fn get_bucket_cors(
        &self,
        req: S3Request<GetBucketCorsInput>,
    ) -> S3Result<S3Response<GetBucketCorsOutput>> {
        self.unset(&req.input.bucket, S3ErrorCode::NoSuchCORSConfiguration)
            .await
    }

    async fn get_bucket_lifecycle_configuration(
        &self,
        req: S3Request<GetBucketLifecycleConfigurationInput>,
    ) -> S3Result<S3Response<GetBucketLifecycleConfigurationOutput>> {
        self.unset(&req.input.bucket, S3ErrorCode::NoSuchLifecycleConfiguration)
            .await
    }

    async fn get_bucket_tagging(
        &self,
        req: S3Request<GetBucketTaggingInput>,
    ) -> S3Result<S3Response<GetBucketTaggingOutput>> {
        self.unset(&req.input.bucket, S3ErrorCode::NoSuchTagSet)
            .await
    }

    async fn get_bucket_website(
        &self,
        req: S3Request<GetBucketWebsiteInput>,
    ) -> S3Result<S3Response<GetBucketWebsiteOutput>> {
        self.unset(&req.input.bucket, S3ErrorCode::NoSuchWebsiteConfiguration)
            .await
    }

    async fn get_bucket_encryption(
        &self,
        req: S3Request<GetBucketEncryptionInput>,
    ) -> S3Result<S3Response<GetBucketEncryptionOutput>> {
        self.unset(
            &req.input.bucket,
            S3ErrorCode::ServerSideEncryptionConfigurationNotFoundError,
        )
        .await
    }

    async fn get_object_lock_configuration(
        &self,
        req: S3Request<GetObjectLockConfigurationInput>,
    ) -> S3Result<S3Response<GetObjectLockConfigurationOutput>> {
        self.unset(
            &req.input.bucket,
            S3ErrorCode::ObjectLockConfigurationNotFoundError,
        )
        .await
    }

    async fn get_object_tagging(
        &self,
        req: S3Request<GetObjectTaggingInput>,
    ) -> S3Result<S3Response<GetObjectTaggingOutput>> {
        self.record(&req.input.bucket, &req.input.key).await?;
        Ok(S3Response::new(GetObjectTaggingOutput::default()))
    }

    async fn put_object(
        &self,
        req: S3Request<PutObjectInput>,
    ) -> S3Result<S3Response<PutObjectOutput>> {
        let input = req.input;
        let headers = &req.headers;
        let mut body = input.body.ok_or_else(|| s3_error!(IncompleteBody))?;
        let checked = match refuse_unsupported(headers)
            .and_then(|()| write_condition(input.if_match.as_ref(), input.if_none_match.as_ref()))
        {
            Ok(condition) => self.require_bucket(&input.bucket).await.map(|()| condition),
            Err(error) => Err(error),
        };
        let condition = match checked {
            Ok(condition) => condition,
            Err(error) => {
                // An answer before the end of the body would reset the connection under the client's writes.
                while let Some(Ok(_)) = body.next().await {}
                return Err(error);
            }
        };

        let mut expected = Expected::default();
        if let Some(algorithm) = &input.checksum_algorithm {
            expected.announce_algorithm(algorithm.as_str())?;
        }
        for trailer in headers.get_all("x-amz-trailer") {
            let names = trailer.to_str().map_err(|_| s3_error!(InvalidRequest))?;
            for name in names.split(',') {
                if let Some(algorithm) = name.trim().strip_prefix("x-amz-checksum-") {
                    expected.announce_algorithm(algorithm)?;
                }
            }
        }
        expected.announce("crc32", input.checksum_crc32);
        expected.announce("crc32c", input.checksum_crc32c);
        expected.announce("crc64nvme", input.checksum_crc64nvme);
        expected.announce("sha1", input.checksum_sha1);
        expected.announce("sha256", input.checksum_sha256);

        let received = self
            .receive(Upload {
                body,
                length: input.content_length,
                content_md5: input.content_md5,
                expected,
                trailers: req.trailing_headers,
            })
            .await?;
        let record = Record {
            blob: received.blob.id().clone(),
            size: received.size,
            md5: received.md5.clone(),
            modified: now(),
            attributes: Attributes {
                content_type: input.content_type,
                content_encoding: input.content_encoding.as_deref().and_then(without_chunking),
                content_disposition: input.content_disposition,
                content_language: input.content_language,
                cache_control: input.cache_control,
                expires: input.expires.as_ref().and_then(to_rfc3339),
                website_redirect: input.website_redirect_location,
                metadata: input.metadata.unwrap_or_default().into_iter().collect(),
            },
            checksums: received.checksums.clone(),
        };
        let (bucket, key) = (input.bucket, input.key);
        self.blocking(move |inner| inner.commit(&bucket, &key, &record, received.blob, &condition))
            .await?;

        let mut checksums = received.checksums;
        Ok(S3Response::new(PutObjectOutput {
            e_tag: Some(ETag::Strong(received.md5)),
            checksum_crc32: checksums.remove("crc32"),
            checksum_crc32c: checksums.remove("crc32c"),
            checksum_crc64nvme: checksums.remove("crc64nvme"),
            checksum_sha1: checksums.remove("sha1"),
            checksum_sha256: checksums.remove("sha256"),
            ..Default::default()
        }))
    }

    async fn get_object(
        &self,
        req: S3Request<GetObjectInput>,
    ) -> S3Result<S3Response<GetObjectOutput>> {
        let input = req.input;
        let read = Read {
            bucket: input.bucket,
            key: input.key,
            version: input.version_id,
            range: input.range,
            part: input.part_number,
            conditions: ReadConditions {
                matches: input.if_match,
                differs: input.if_none_match,
                modified_since: input.if_modified_since,
                unmodified_since: input.if_unmodified_since,
            },
        };
        let opened = self.open(&read).await?;
        let asked = is_enabled(input.checksum_mode.as_ref());
        let attributes = opened.record.attributes.clone();
        let mut output = GetObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            content_length: Some(signed(opened.length())?),
            content_range: opened.content_range(),
            e_tag: Some(ETag::Strong(opened.record.md5.clone())),
            last_modified: Some(timestamp(opened.record.modified)),
            content_type: content_type(attributes.content_type),
            content_encoding: attributes.content_encoding,
            content_disposition: attributes.content_disposition,
            content_language: attributes.content_language,
            cache_control: attributes.cache_control,
            expires: attributes.expires.as_deref().and_then(from_rfc3339),
            website_redirect_location: attributes.website_redirect,
            metadata: Some(attributes.metadata.into_iter().collect()),
            checksum_crc32: opened.checksum(asked, "crc32"),
            checksum_crc32c: opened.checksum(asked, "crc32c"),
            checksum_crc64nvme: opened.checksum(asked, "crc64nvme"),
            checksum_sha1: opened.checksum(asked, "sha1"),
            checksum_sha256: opened.checksum(asked, "sha256"),
            ..Default::default()
        };
        if asked && opened.range.is_none() && !opened.record.checksums.is_empty() {
            output.checksum_type = Some(ChecksumType::from_static(ChecksumType::FULL_OBJECT));
        }
        let length = opened.length();
        let mut file = opened.file;
        if let Some(range) = &opened.range {
            file.seek(SeekFrom::Start(range.start)).map_err(internal)?;
        }
        output.body = Some(StreamingBlob::wrap(send(
            tokio::fs::File::from_std(file),
            length,
        )));
        Ok(S3Response::new(output))
    }

    async fn head_object(
        &self,
        req: S3Request<HeadObjectInput>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        let input = req.input;
        let read = Read {
            bucket: input.bucket,
            key: input.key,
            version: input.version_id,
            range: input.range,
            part: input.part_number,
            conditions: ReadConditions {
                matches: input.if_match,
                differs: input.if_none_match,
                modified_since: input.if_modified_since,
                unmodified_since: input.if_unmodified_since,
            },
        };
        let opened = self.open(&read).await?;
        let asked = is_enabled(input.checksum_mode.as_ref());
        let attributes = opened.record.attributes.clone();
        let mut output = HeadObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            content_length: Some(signed(opened.length())?),
            content_range: opened.content_range(),
            e_tag: Some(ETag::Strong(opened.record.md5.clone())),
            last_modified: Some(timestamp(opened.record.modified)),
            content_type: content_type(attributes.content_type),
            content_encoding: attributes.content_encoding,
            content_disposition: attributes.content_disposition,
            content_language: attributes.content_language,
            cache_control: attributes.cache_control,
            expires: attributes.expires.as_deref().and_then(from_rfc3339),
            website_redirect_location: attributes.website_redirect,
            metadata: Some(attributes.metadata.into_iter().collect()),
            checksum_crc32: opened.checksum(asked, "crc32"),
            checksum_crc32c: opened.checksum(asked, "crc32c"),
            checksum_crc64nvme: opened.checksum(asked, "crc64nvme"),
            checksum_sha1: opened.checksum(asked, "sha1"),
            checksum_sha256: opened.checksum(asked, "sha256"),
            ..Default::default()
        };
        if asked && opened.range.is_none() && !opened.record.checksums.is_empty() {
            output.checksum_type = Some(ChecksumType::from_static(ChecksumType::FULL_OBJECT));
        }
        let mut response = S3Response::new(output);
        if opened.range.is_some() {
            response.status = Some(StatusCode::PARTIAL_CONTENT);
        }
        Ok(response)
    }

    async fn copy_object(
        &self,
        req: S3Request<CopyObjectInput>,
    ) -> S3Result<S3Response<CopyObjectOutput>> {
        let input = req.input;
        refuse_unsupported(&req.headers)?;
        let CopySource::Bucket {
            bucket: source_bucket,
            key: source_key,
            version_id,
        } = input.copy_source
        else {
            return Err(s3_error!(NotImplemented, "There are no access points here"));
        };
        if version_id.is_some_and(|id| &*id != NULL_VERSION) {
            return Err(s3_error!(NoSuchVersion));
        }
        let replace = match input
            .metadata_directive
            .as_ref()
            .map(MetadataDirective::as_str)
        {
            None | Some(MetadataDirective::COPY) => false,
            Some(MetadataDirective::REPLACE) => true,
            Some(_) => return Err(s3_error!(InvalidArgument, "Unknown metadata directive")),
        };
        if !replace && *source_bucket == *input.bucket && *source_key == *input.key {
            return Err(s3_error!(
                InvalidRequest,
                "This copy request is illegal because it is trying to copy an object to itself without changing \
                 the object's metadata, storage class, website redirect location or encryption attributes."
            ));
        }
        let condition = conditions_from_headers(&req.headers)?;
        let source = ReadConditions {
            matches: input.copy_source_if_match,
            differs: input.copy_source_if_none_match,
            modified_since: input.copy_source_if_modified_since,
            unmodified_since: input.copy_source_if_unmodified_since,
        };
        let attributes = Attributes {
            content_type: input.content_type,
            content_encoding: input.content_encoding.as_deref().and_then(without_chunking),
            content_disposition: input.content_disposition,
            content_language: input.content_language,
            cache_control: input.cache_control,
            expires: input.expires.as_ref().and_then(to_rfc3339),
            website_redirect: input.website_redirect_location,
            metadata: input.metadata.unwrap_or_default().into_iter().collect(),
        };

        self.require_bucket(&input.bucket).await?;
        let (found, blob) = self
            .blocking(move |inner| {
                inner.find(&source_bucket, &source_key, |blob| {
                    inner.blobs.duplicate(blob)
                })
            })
            .await?;
        // For a copy, unlike a read, nothing to do is a failure: the client asked for a write.
        source.check(&found).map_err(|error| match error.code() {
            S3ErrorCode::NotModified => s3_error!(PreconditionFailed),
            _ => error,
        })?;
        let record = Record {
            blob: blob.id().clone(),
            modified: now(),
            attributes: if replace {
                attributes
            } else {
                found.attributes.clone()
            },
            ..found
        };
        let result = CopyObjectResult {
            e_tag: Some(ETag::Strong(record.md5.clone())),
            last_modified: Some(timestamp(record.modified)),
            checksum_crc32: record.checksums.get("crc32").cloned(),
            checksum_crc32c: record.checksums.get("crc32c").cloned(),
            checksum_crc64nvme: record.checksums.get("crc64nvme").cloned(),
            checksum_sha1: record.checksums.get("sha1").cloned(),
            checksum_sha256: record.checksums.get("sha256").cloned(),
            ..Default::default()
        };
        let (bucket, key) = (input.bucket, input.key);
        self.blocking(move |inner| inner.commit(&bucket, &key, &record, blob, &condition))
            .await?;
        Ok(S3Response::new(CopyObjectOutput {
            copy_object_result: Some(result),
            ..Default::default()
        }))
    }

    async fn delete_object(
        &self,
        req: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        let input = req.input;
        if input
            .version_id
            .as_deref()
            .is_some_and(|id| id != NULL_VERSION)
        {
            self.require_bucket(&input.bucket).await?;
            return Err(s3_error!(NoSuchVersion));
        }
        let condition = write_condition(input.if_match.as_ref(), None)?;
        let (bucket, keys) = (input.bucket, vec![(input.key, condition)]);
        self.blocking(move |inner| {
            for answer in inner.catalog.delete(&bucket, &keys)? {
                if let Some(removed) = answer? {
                    inner.blobs.discard(&removed.blob);
                }
            }
            Ok(())
        })
        .await?;
        let mut response = S3Response::new(DeleteObjectOutput {
            version_id: input.version_id,
            ..Default::default()
        });
        response.status = Some(StatusCode::NO_CONTENT);
        Ok(response)
    }

    async fn delete_objects(
        &self,
        req: S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        let input = req.input;
        let objects = input.delete.objects;
        if objects.is_empty() || objects.len() > MAX_PAGE {
            return Err(s3_error!(MalformedXML));
        }
        let mut errors = Vec::new();
        let mut wanted = Vec::new();
        for object in objects {
            let known = object
                .version_id
                .as_deref()
                .is_none_or(|id| id == NULL_VERSION);
            if !known {
                errors.push(delete_error(object, &s3_error!(NoSuchVersion)));
                continue;
            }
            let condition = match &object.e_tag {
                Some(etag) => Condition::Matches(etag.value().to_owned()),
                None => Condition::None,
            };
            wanted.push((object, condition));
        }
        let keys: Vec<_> = wanted
            .iter()
            .map(|(object, condition)| (object.key.clone(), condition.clone()))
            .collect();
        let bucket = input.bucket;
        let answers = self
            .blocking(move |inner| {
                let answers = inner.catalog.delete(&bucket, &keys)?;
                for removed in answers.iter().flatten().flatten() {
                    inner.blobs.discard(&removed.blob);
                }
                Ok(answers)
            })
            .await?;
        let mut deleted = Vec::new();
        for ((object, _), answer) in wanted.into_iter().zip(answers) {
            match answer {
                Ok(_) => deleted.push(DeletedObject {
                    key: Some(object.key),
                    version_id: object.version_id,
                    ..Default::default()
                }),
                Err(error) => errors.push(delete_error(object, &refusal(error))),
            }
        }
        if input.delete.quiet == Some(true) {
            deleted.clear();
        }
        Ok(S3Response::new(DeleteObjectsOutput {
            deleted: Some(deleted),
            errors: Some(errors),
            ..Default::default()
        }))
    }

    async fn list_objects(
        &self,
        req: S3Request<ListObjectsInput>,
    ) -> S3Result<S3Response<ListObjectsOutput>> {
        let input = req.input;
        let names = Names::new(input.encoding_type.as_ref())?;
        let limit = limit(input.max_keys)?;
        let prefix = input.prefix.unwrap_or_default();
        let delimiter = input.delimiter.filter(|delimiter| !delimiter.is_empty());
        let query = Query {
            start: after_marker(input.marker.clone(), &prefix, delimiter.as_deref()),
            prefix: prefix.clone(),
            delimiter: delimiter.clone(),
            limit,
        };
        let page = self.page(&input.bucket, query).await?;
        let (last, _) = last(&page);
        let listed = Listed::new(&page, &names, true)?;
        Ok(S3Response::new(ListObjectsOutput {
            name: Some(input.bucket),
            // S3 leaves NextMarker out where the client can take the last key.
            next_marker: last
                .filter(|_| page.truncated && delimiter.is_some())
                .map(|last| names.write(last)),
            prefix: Some(names.write(&prefix)),
            marker: Some(names.write(input.marker.as_deref().unwrap_or_default())),
            delimiter: delimiter.map(|delimiter| names.write(&delimiter)),
            max_keys: Some(limit_out(limit)),
            is_truncated: Some(page.truncated),
            contents: Some(listed.objects),
            common_prefixes: Some(listed.prefixes),
            encoding_type: input.encoding_type,
            ..Default::default()
        }))
    }

    async fn list_objects_v2(
        &self,
        req: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = req.input;
        let names = Names::new(input.encoding_type.as_ref())?;
        let limit = limit(input.max_keys)?;
        let prefix = input.prefix.unwrap_or_default();
        let delimiter = input.delimiter.filter(|delimiter| !delimiter.is_empty());
        let start = match (&input.continuation_token, &input.start_after) {
            (Some(token), _) => from_token(token)?,
            (None, Some(key)) => Start::After(key.clone()),
            (None, None) => Start::Beginning,
        };
        let query = Query {
            start,
            prefix: prefix.clone(),
            delimiter: delimiter.clone(),
            limit,
        };
        let page = self.page(&input.bucket, query).await?;
        let listed = Listed::new(&page, &names, input.fetch_owner == Some(true))?;
        let count = i32::try_from(page.items.len()).map_err(internal)?;
        Ok(S3Response::new(ListObjectsV2Output {
            name: Some(input.bucket),
            prefix: Some(names.write(&prefix)),
            delimiter: delimiter.map(|delimiter| names.write(&delimiter)),
            start_after: input.start_after.map(|key| names.write(&key)),
            continuation_token: input.continuation_token,
            next_continuation_token: page.truncated.then(|| to_token(&page)).flatten(),
            key_count: Some(count),
            max_keys: Some(limit_out(limit)),
            is_truncated: Some(page.truncated),
            contents: Some(listed.objects),
            common_prefixes: Some(listed.prefixes),
            encoding_type: input.encoding_type,
            ..Default::default()
        }))
    }

    async fn list_object_versions(
        &self,
        req: S3Request<ListObjectVersionsInput>,
    ) -> S3Result<S3Response<ListObjectVersionsOutput>> {
        let input = req.input;
        let names = Names::new(input.encoding_type.as_ref())?;
        let limit = limit(input.max_keys)?;
        let prefix = input.prefix.unwrap_or_default();
        let delimiter = input.delimiter.filter(|delimiter| !delimiter.is_empty());
        let query = Query {
            start: after_marker(input.key_marker.clone(), &prefix, delimiter.as_deref()),
            prefix: prefix.clone(),
            delimiter: delimiter.clone(),
            limit,
        };
        let page = self.page(&input.bucket, query).await?;
        let (last, is_object) = last(&page);
        let last = last.filter(|_| page.truncated);
        let listed = Listed::new(&page, &names, true)?;
        let versions = listed
            .objects
            .into_iter()
            .map(|object| ObjectVersion {
                key: object.key,
                e_tag: object.e_tag,
                size: object.size,
                last_modified: object.last_modified,
                owner: object.owner,
                checksum_algorithm: object.checksum_algorithm,
                storage_class: Some(ObjectVersionStorageClass::from_static(
                    ObjectVersionStorageClass::STANDARD,
                )),
                is_latest: Some(true),
                version_id: Some(NULL_VERSION.to_owned()),
                ..Default::default()
            })
            .collect();
        Ok(S3Response::new(ListObjectVersionsOutput {
            name: Some(input.bucket),
            prefix: Some(names.write(&prefix)),
            key_marker: Some(names.write(input.key_marker.as_deref().unwrap_or_default())),
            version_id_marker: Some(input.version_id_marker.unwrap_or_default()),
            next_version_id_marker: (last.is_some() && is_object).then(|| NULL_VERSION.to_owned()),
            next_key_marker: last.map(|last| names.write(last)),
            delimiter: delimiter.map(|delimiter| names.write(&delimiter)),
            max_keys: Some(limit_out(limit)),
            is_truncated: Some(page.truncated),
            versions: Some(versions),
            common_prefixes: Some(listed.prefixes),
            encoding_type: input.encoding_type,
            ..Default::default()
        }))
    }
}

/// How names are written in a listing.
struct Names {
    url: bool,
}

impl Names {
    fn new(encoding: Option<&EncodingType>) -> S3Result<Self> {
        match encoding.map(EncodingType::as_str) {
            None | Some("") => Ok(Self { url: false }),
            Some(EncodingType::URL) => Ok(Self { url: true }),
            Some(_) => Err(s3_error!(
                InvalidArgument,
                "Invalid Encoding Method specified in Request"
            )),
        }
    }

    fn write(&self, name: &str) -> String {
        if self.url {
            utf8_percent_encode(name, URL_SAFE).to_string()
        } else {
            name.to_owned()
        }
    }
}

/// A page in the form it goes out.
struct Listed {
    objects: Vec<Object>,
    prefixes: Vec<CommonPrefix>,
}

impl Listed {
    fn new(page: &Page, names: &Names, with_owner: bool) -> S3Result<Self> {
        let mut objects = Vec::new();
        let mut prefixes = Vec::new();
        for item in &page.items {
            match item {
                Item::Prefix(prefix) => prefixes.push(CommonPrefix {
                    prefix: Some(names.write(prefix)),
                }),
                Item::Object(key, record) => objects.push(Object {
                    key: Some(names.write(key)),
                    e_tag: Some(ETag::Strong(record.md5.clone())),
                    size: Some(signed(record.size)?),
                    last_modified: Some(timestamp(record.modified)),
                    owner: with_owner.then(owner),
                    storage_class: Some(ObjectStorageClass::from_static(
                        ObjectStorageClass::STANDARD,
                    )),
                    checksum_algorithm: Some(
                        record
                            .checksums
                            .keys()
                            .map(|name| ChecksumAlgorithm::from(name.to_uppercase()))
                            .collect(),
                    ),
                    ..Default::default()
                }),
            }
        }
        Ok(Self { objects, prefixes })
    }
}

/// The last line of a page, and whether it is an object.
fn last(page: &Page) -> (Option<&str>, bool) {
    match page.items.last() {
        Some(Item::Object(key, _)) => (Some(key), true),
        Some(Item::Prefix(prefix)) => (Some(prefix), false),
        None => (None, false),
    }
}

/// Where a listing goes on after a marker, which is a key or a common prefix: clients send back what came last.
fn after_marker(marker: Option<String>, prefix: &str, delimiter: Option<&str>) -> Start {
    let Some(marker) = marker.filter(|marker| !marker.is_empty()) else {
        return Start::Beginning;
    };
    let is_common = delimiter.is_some_and(|delimiter| {
        marker
            .strip_prefix(prefix)
            .and_then(|rest| Some(rest.find(delimiter)? + delimiter.len() == rest.len()))
            .unwrap_or(false)
    });
    if is_common {
        Start::Past(marker)
    } else {
        Start::After(marker)
    }
}

/// A continuation token is the last line of the page, with its kind, in base64.
fn to_token(page: &Page) -> Option<String> {
    let (last, is_object) = last(page);
    let kind = if is_object { 'k' } else { 'p' };
    Some(BASE64_URL_SAFE_NO_PAD.encode(format!("{kind}{}", last?)))
}

fn from_token(token: &str) -> S3Result<Start> {
    let invalid = || {
        s3_error!(
            InvalidArgument,
            "The continuation token provided is incorrect"
        )
    };
    let bytes = BASE64_URL_SAFE_NO_PAD
        .decode(token)
        .map_err(|_| invalid())?;
    let text = String::from_utf8(bytes).map_err(|_| invalid())?;
    match text.split_at_checked(1) {
        Some(("k", key)) => Ok(Start::After(key.to_owned())),
        Some(("p", prefix)) => Ok(Start::Past(prefix.to_owned())),
        _ => Err(invalid()),
    }
}

fn limit(asked: Option<i32>) -> S3Result<usize> {
    match asked {
        None => Ok(MAX_PAGE),
        Some(asked) => usize::try_from(asked)
            .map(|asked| asked.min(MAX_PAGE))
            .map_err(|_| s3_error!(InvalidArgument, "max-keys must not be negative")),
    }
}

fn limit_out(limit: usize) -> i32 {
    i32::try_from(limit).unwrap_or(i32::MAX)
}

/// `length` bytes of a file from where it stands. A file that ends before that is an error, so that the connection
/// breaks short of what the answer promised.
fn send(file: tokio::fs::File, length: u64) -> impl Stream<Item = io::Result<bytes::Bytes>> {
    futures::stream::try_unfold((file, length), |(mut file, left)| async move {
        if left == 0 {
            return Ok(None);
        }
        let want = usize::try_from(left).map_or(READ_BUFFER, |left| left.min(READ_BUFFER));
        let mut buffer = BytesMut::with_capacity(want);
        let mut limited = (&mut file).take(want as u64);
        while buffer.len() < want {
            if limited.read_buf(&mut buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(Some((buffer.freeze(), (file, left - want as u64))))
    })
}

/// Whether the headers ask for something that would be lost without notice.
fn refuse_unsupported(headers: &HeaderMap) -> S3Result<()> {
    const REFUSED: [&str; 4] = [
        "x-amz-tagging",
        "x-amz-object-lock-",
        "x-amz-server-side-encryption",
        "x-amz-write-offset-bytes",
    ];
    let refused = headers.keys().find(|name| {
        REFUSED
            .iter()
            .any(|refused| name.as_str().starts_with(refused))
    });
    match refused {
        // The directive alone asks for nothing where there are no tags.
        Some(name) if name != "x-amz-tagging-directive" => {
            Err(s3_error!(NotImplemented, "{name} is not supported here"))
        }
        _ => Ok(()),
    }
}

fn write_condition(
    matches: Option<&ETagCondition>,
    differs: Option<&ETagCondition>,
) -> S3Result<Condition> {
    match (matches, differs) {
        (None, None) => Ok(Condition::None),
        (Some(ETagCondition::Any), None) => Ok(Condition::Exists),
        (Some(ETagCondition::ETag(etag)), None) => Ok(Condition::Matches(etag.value().to_owned())),
        (None, Some(ETagCondition::Any)) => Ok(Condition::Absent),
        (None, Some(ETagCondition::ETag(etag))) => Ok(Condition::Differs(etag.value().to_owned())),
        (Some(_), Some(_)) => Err(s3_error!(
            NotImplemented,
            "If-Match and If-None-Match together are not supported"
        )),
    }
}

/// The conditions of a CopyObject on its target, which `s3s` does not parse.
fn conditions_from_headers(headers: &HeaderMap) -> S3Result<Condition> {
    let parse = |name: header::HeaderName| {
        headers
            .get(name)
            .map(|value| ETagCondition::parse_http_header(value.as_bytes()))
            .transpose()
            .map_err(|_| s3_error!(InvalidArgument))
    };
    let (matches, differs) = (parse(header::IF_MATCH)?, parse(header::IF_NONE_MATCH)?);
    write_condition(matches.as_ref(), differs.as_ref())
}

fn is_etag(condition: &ETagCondition, record: &Record) -> bool {
    match condition {
        ETagCondition::Any => true,
        ETagCondition::ETag(etag) => etag.value() == record.md5,
    }
}

fn is_enabled(mode: Option<&ChecksumMode>) -> bool {
    mode.is_some_and(|mode| mode.as_str() == ChecksumMode::ENABLED)
}

/// `aws-chunked` describes the upload, not the object.
fn without_chunking(encoding: &str) -> Option<String> {
    let kept: Vec<_> = encoding
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty() && !part.eq_ignore_ascii_case("aws-chunked"))
        .collect();
    (!kept.is_empty()).then(|| kept.join(","))
}

fn content_type(kept: Option<String>) -> Option<String> {
    Some(kept.unwrap_or_else(|| "binary/octet-stream".to_owned()))
}

fn delete_error(object: ObjectIdentifier, error: &S3Error) -> Error {
    Error {
        code: Some(error.code().as_str().to_owned()),
        key: Some(object.key),
        message: error.message().map(str::to_owned),
        version_id: object.version_id,
    }
}

fn owner() -> Owner {
    Owner {
        display_name: Some(OWNER.to_owned()),
        id: Some(OWNER.to_owned()),
    }
}

fn full_control() -> Grant {
    Grant {
        grantee: Some(Grantee {
            display_name: Some(OWNER.to_owned()),
            email_address: None,
            id: Some(OWNER.to_owned()),
            type_: Type::from_static(Type::CANONICAL_USER),
            uri: None,
        }),
        permission: Some(Permission::from_static(Permission::FULL_CONTROL)),
    }
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

fn timestamp(seconds: u64) -> Timestamp {
    Timestamp::from(
        UNIX_EPOCH
            .checked_add(Duration::from_secs(seconds))
            .unwrap_or(UNIX_EPOCH),
    )
}

fn to_rfc3339(date: &Timestamp) -> Option<String> {
    let mut text = Vec::new();
    date.format(TimestampFormat::DateTime, &mut text).ok()?;
    String::from_utf8(text).ok()
}

fn from_rfc3339(text: &str) -> Option<Timestamp> {
    Timestamp::parse(TimestampFormat::DateTime, text).ok()
}

fn signed(size: u64) -> S3Result<i64> {
    i64::try_from(size).map_err(internal)
}

fn not_satisfiable(size: u64) -> S3Error {
    let mut error = s3_error!(InvalidRange);
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_str(&format!("bytes */{size}")) {
        headers.insert(header::CONTENT_RANGE, value);
    }
    error.set_headers(headers);
    error
}

fn refusal(error: CatalogError) -> S3Error {
    match error {
        CatalogError::NoSuchBucket => s3_error!(NoSuchBucket),
        CatalogError::NoSuchKey => s3_error!(NoSuchKey),
        CatalogError::BucketExists => s3_error!(BucketAlreadyOwnedByYou),
        CatalogError::BucketNotEmpty => s3_error!(BucketNotEmpty),
        CatalogError::ConditionFailed => s3_error!(PreconditionFailed),
        error @ (CatalogError::Database(_)
        | CatalogError::Record(_)
        | CatalogError::Key(_)
        | CatalogError::Io(_)) => internal(error),
    }
}

/// What went wrong goes to the log, not to the client.
fn internal(error: impl std::error::Error) -> S3Error {
    tracing::error!(%error, "the embedded store failed");
    s3_error!(InternalError)
}
