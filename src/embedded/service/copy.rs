//! Operations that copy within the store.
//!
//! A copy of a whole blob shares its bytes. An object from parts becomes one of a piece, with the ETag and checksums of
//! that, so it is read and written anew.

use std::ops;

use http::{HeaderMap, header};
use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result, s3_error};

use super::body::Stretch;
use super::checksums::{Expected, checksum_type, set_checksums};
use super::multipart::{expected_of, receive_part};
use super::read::ReadConditions;
use super::receive::Incoming;
use super::values::{
    attributes, now, part_number, refuse_unsupported, signed, timestamp, to_rfc3339,
    without_chunking, write_condition,
};
use super::{MAX_BODY, NULL_VERSION, Store, tags};
use crate::embedded::blobs::Uncommitted;
use crate::embedded::catalog::{Body, CatalogError, Condition, Record};

/// What a copy begins with.
enum Found {
    Shared(Uncommitted),
    Bytes(Stretch),
}

pub(super) async fn copy_object(
    store: &Store,
    mut req: S3Request<CopyObjectInput>,
) -> S3Result<S3Response<CopyObjectOutput>> {
    refuse_unsupported(&req.headers)?;
    let condition = conditions_from_headers(&req.headers)?;
    let input = &mut req.input;
    let (source_bucket, source_key) = source(&input.copy_source)?;
    let directive = input.metadata_directive.as_ref();
    let replace = is_replace(directive.map(MetadataDirective::as_str), "metadata")?;
    let directive = input.tagging_directive.as_ref();
    let replace_tags = is_replace(directive.map(TaggingDirective::as_str), "tagging")?;
    if !replace && source_bucket == input.bucket && source_key == input.key {
        return Err(s3_error!(
            InvalidRequest,
            "This copy request is illegal because it is trying to copy an object to itself without changing \
             the object's metadata, storage class, website redirect location or encryption attributes."
        ));
    }
    let new_tags = tags::from_header(input.tagging.as_deref())?;
    let mut asked = Expected::default();
    if let Some(algorithm) = &input.checksum_algorithm {
        asked.compute(algorithm.as_str())?;
    }
    let conditions = ReadConditions {
        matches: input.copy_source_if_match.take(),
        differs: input.copy_source_if_none_match.take(),
        modified_since: input.copy_source_if_modified_since.take(),
        unmodified_since: input.copy_source_if_unmodified_since.take(),
    };
    let attributes = attributes!(input);

    store.require_bucket(&input.bucket).await?;
    let algorithms: Vec<_> = asked.algorithms().collect();
    let (found, begun) = store
        .blocking(move |inner| {
            inner.find(&source_bucket, &source_key, |record| {
                conditions.check_source(record)?;
                if record.size > MAX_BODY {
                    return Err(s3_error!(
                        InvalidRequest,
                        "The specified copy source is larger than the maximum allowable size for a copy source: \
                         {MAX_BODY}"
                    ));
                }
                let has_all = algorithms
                    .iter()
                    .all(|name| record.checksums.contains_key(*name));
                let begun = match &record.body {
                    Body::Blob(blob) if has_all => {
                        inner.blobs.duplicate(blob).map(Found::Shared)
                    }
                    _ => {
                        let bytes = inner.stretch(record, &(0..record.size))?;
                        return Ok(bytes.map(Found::Bytes));
                    }
                };
                match begun {
                    Ok(shared) => Ok(Some(shared)),
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
                    Err(error) => Err(CatalogError::Io(error).into()),
                }
            })
        })
        .await?;

    let mut record = Record {
        modified: now(),
        ..found
    };
    let blob = match begun {
        Found::Shared(blob) => blob,
        Found::Bytes(bytes) => {
            if asked.algorithms().next().is_none() {
                for algorithm in record.checksums.keys() {
                    asked.compute(algorithm)?;
                }
            }
            let received = store.receive(incoming(bytes, record.size, asked)?).await?;
            record.etag = received.md5;
            record.checksums = received.checksums;
            record.composite = false;
            received.blob
        }
    };
    record.body = Body::Blob(blob.id().clone());
    if replace {
        record.attributes = attributes;
    }
    if replace_tags {
        record.tags = new_tags;
    }
    let mut result = CopyObjectResult {
        e_tag: Some(ETag::Strong(record.etag.clone())),
        last_modified: Some(timestamp(record.modified)),
        checksum_type: (!record.checksums.is_empty()).then(|| checksum_type(false)),
        ..Default::default()
    };
    set_checksums!(result, record.checksums);
    let (bucket, key) = (req.input.bucket, req.input.key);
    store
        .blocking(move |inner| inner.commit(&bucket, &key, &record, blob, &condition))
        .await?;
    Ok(S3Response::new(CopyObjectOutput {
        copy_object_result: Some(result),
        ..Default::default()
    }))
}

pub(super) async fn upload_part_copy(
    store: &Store,
    req: S3Request<UploadPartCopyInput>,
) -> S3Result<S3Response<UploadPartCopyOutput>> {
    refuse_unsupported(&req.headers)?;
    let input = req.input;
    let number = part_number(input.part_number)?;
    let (source_bucket, source_key) = source(&input.copy_source)?;
    let asked = input
        .copy_source_range
        .as_deref()
        .map(source_range)
        .transpose()?;
    let conditions = ReadConditions {
        matches: input.copy_source_if_match,
        differs: input.copy_source_if_none_match,
        modified_since: input.copy_source_if_modified_since,
        unmodified_since: input.copy_source_if_unmodified_since,
    };
    let place = (input.bucket, input.key, input.upload_id);
    let expected = expected_of(store, &place, Expected::default()).await?;
    let (_, (bytes, length)) = store
        .blocking(move |inner| {
            inner.find(&source_bucket, &source_key, |record| {
                conditions.check_source(record)?;
                let range = match &asked {
                    Some(range) if range.end <= record.size => range.clone(),
                    Some(_) => {
                        return Err(s3_error!(
                            InvalidArgument,
                            "Range specified is not valid for source object of size: {}",
                            record.size
                        ));
                    }
                    None => 0..record.size,
                };
                let length = range.end.saturating_sub(range.start);
                if length > MAX_BODY {
                    return Err(s3_error!(
                        InvalidRequest,
                        "The specified copy source is larger than the maximum allowable size for a copy source: \
                         {MAX_BODY}"
                    ));
                }
                let bytes = inner.stretch(record, &range)?;
                S3Result::Ok(bytes.map(|bytes| (bytes, length)))
            })
        })
        .await?;
    let part = receive_part(store, place, number, incoming(bytes, length, expected)?).await?;
    let mut result = CopyPartResult {
        e_tag: Some(ETag::Strong(part.md5)),
        last_modified: Some(timestamp(part.modified)),
        ..Default::default()
    };
    set_checksums!(result, part.checksums);
    Ok(S3Response::new(UploadPartCopyOutput {
        copy_part_result: Some(result),
        ..Default::default()
    }))
}

/// Bytes of the store on their way back in.
fn incoming(bytes: Stretch, length: u64, expected: Expected) -> S3Result<Incoming> {
    Ok(Incoming {
        body: StreamingBlob::wrap(bytes.send()),
        length: Some(signed(length)?),
        content_md5: None,
        expected,
        trailers: None,
    })
}

/// The bucket and key that a copy is of.
fn source(source: &CopySource) -> S3Result<(String, String)> {
    let CopySource::Bucket {
        bucket,
        key,
        version_id,
    } = source
    else {
        return Err(s3_error!(NotImplemented, "There are no access points here"));
    };
    if version_id.as_deref().is_some_and(|id| id != NULL_VERSION) {
        return Err(s3_error!(NoSuchVersion));
    }
    Ok((bucket.to_string(), key.to_string()))
}

/// An `x-amz-copy-source-range`: first and last byte, and no other form.
fn source_range(text: &str) -> S3Result<ops::Range<u64>> {
    match Range::parse(text) {
        Ok(Range::Int {
            first,
            last: Some(last),
        }) => Ok(first..last.saturating_add(1)),
        _ => Err(s3_error!(
            InvalidArgument,
            "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the \
             zero-based offsets of the first and last bytes to copy"
        )),
    }
}

fn is_replace(directive: Option<&str>, what: &str) -> S3Result<bool> {
    match directive {
        None | Some(MetadataDirective::COPY) => Ok(false),
        Some(MetadataDirective::REPLACE) => Ok(true),
        Some(_) => Err(s3_error!(InvalidArgument, "Unknown {what} directive")),
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
