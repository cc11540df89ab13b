//! Uploads in parts.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use http::StatusCode;
use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result, s3_error};

use super::Store;
use super::checksums::{Expected, algorithm, checksum_type, sent_checksums, set_checksums};
use super::errors::{internal, part_number_refused};
use super::listings::{Names, after_marker, limit, limit_out};
use super::receive::{Incoming, drain};
use super::values::{
    attributes, now, owner, part_number, refuse_unsupported, signed, timestamp, to_rfc3339,
    without_chunking, write_condition,
};
use crate::embedded::catalog::assembly::{Claim, Claims, MAX_PART_NUMBER, to_hex};
use crate::embedded::catalog::{CatalogError, Item, Part as Kept, Query, Start, Upload};

/// Bucket, key and id of an upload.
pub(super) type Place = (String, String, String);

pub(super) async fn create_multipart_upload(
    store: &Store,
    mut req: S3Request<CreateMultipartUploadInput>,
) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
    refuse_unsupported(&req.headers)?;
    let input = &mut req.input;
    let (checksum, composite) = checksum_of(
        input.checksum_algorithm.as_ref(),
        input.checksum_type.as_ref(),
    )?;
    let upload = Upload {
        initiated: now(),
        attributes: attributes!(input),
        tags: super::tags::from_header(input.tagging.as_deref())?,
        checksum: checksum.map(str::to_owned),
        composite,
    };
    let id = upload_id()?;
    let output = CreateMultipartUploadOutput {
        bucket: Some(input.bucket.clone()),
        key: Some(input.key.clone()),
        upload_id: Some(id.clone()),
        checksum_algorithm: checksum.map(named),
        checksum_type: checksum.map(|_| checksum_type(composite)),
        ..Default::default()
    };
    let (bucket, key) = (req.input.bucket, req.input.key);
    store
        .blocking(move |inner| inner.catalog.create_upload(&bucket, &key, &id, &upload))
        .await?;
    Ok(S3Response::new(output))
}

pub(super) async fn upload_part(
    store: &Store,
    mut req: S3Request<UploadPartInput>,
) -> S3Result<S3Response<UploadPartOutput>> {
    let headers = &req.headers;
    let input = &mut req.input;
    let body = input.body.take().ok_or_else(|| s3_error!(IncompleteBody))?;
    let place = (
        std::mem::take(&mut input.bucket),
        std::mem::take(&mut input.key),
        std::mem::take(&mut input.upload_id),
    );
    let algorithm = input.checksum_algorithm.as_ref();
    let algorithm = algorithm.map(|algorithm| algorithm.as_str().to_owned());
    let allowed = async {
        refuse_unsupported(headers)?;
        let number = part_number(input.part_number)?;
        let sent = sent_checksums!(input);
        let expected = Expected::announced(algorithm.as_deref(), headers, sent)?;
        S3Result::Ok((number, expected_of(store, &place, expected).await?))
    };
    let (number, expected) = match allowed.await {
        Ok(allowed) => allowed,
        Err(error) => return Err(drain(body, error).await),
    };
    let incoming = Incoming {
        body,
        length: input.content_length,
        content_md5: input.content_md5.take(),
        expected,
        trailers: req.trailing_headers,
    };
    let part = receive_part(store, place, number, incoming).await?;
    let mut output = UploadPartOutput {
        e_tag: Some(ETag::Strong(part.md5)),
        ..Default::default()
    };
    set_checksums!(output, part.checksums);
    Ok(S3Response::new(output))
}

/// The checksums to compute of a part: those the client announces, which have to fit the upload, and the upload's.
pub(super) async fn expected_of(
    store: &Store,
    (bucket, key, id): &Place,
    mut expected: Expected,
) -> S3Result<Expected> {
    let (bucket, key, id) = (bucket.clone(), key.clone(), id.clone());
    let upload = store
        .blocking(move |inner| inner.catalog.upload(&bucket, &key, &id))
        .await?;
    if let Some(own) = &upload.checksum {
        if let Some(other) = expected.algorithms().find(|name| name != own) {
            return Err(s3_error!(
                InvalidRequest,
                "Checksum Type mismatch occurred, expected checksum Type: {own}, actual checksum Type: {other}"
            ));
        }
        expected.compute(own)?;
    }
    Ok(expected)
}

/// Writes a part of an upload.
pub(super) async fn receive_part(
    store: &Store,
    (bucket, key, id): Place,
    number: u32,
    incoming: Incoming,
) -> S3Result<Kept> {
    let received = store.receive(incoming).await?;
    let part = Kept {
        blob: received.blob.id().clone(),
        size: received.size,
        md5: received.md5,
        modified: now(),
        checksums: received.checksums,
        offset: 0,
    };
    let written = part.clone();
    store
        .blocking(move |inner| {
            let committed = inner.catalog.put_part(&bucket, &key, &id, number, &part);
            inner.settle(received.blob, committed)
        })
        .await?;
    Ok(written)
}

pub(super) async fn list_parts(
    store: &Store,
    req: S3Request<ListPartsInput>,
) -> S3Result<S3Response<ListPartsOutput>> {
    let input = req.input;
    let limit = limit(input.max_parts, "max-parts")?;
    let marker = input.part_number_marker.unwrap_or_default();
    let after = u32::try_from(marker).map_err(|_| part_number_refused())?;
    let (bucket, key, id) = (
        input.bucket.clone(),
        input.key.clone(),
        input.upload_id.clone(),
    );
    let (upload, (parts, truncated)) = store
        .blocking(move |inner| {
            let upload = inner.catalog.upload(&bucket, &key, &id)?;
            Ok::<_, CatalogError>((upload, inner.catalog.parts(&id, after, limit)?))
        })
        .await?;
    let last = parts.last().map_or(0, |(number, _)| *number);
    let parts = parts
        .into_iter()
        .map(|(number, part)| {
            let mut listed = Part {
                part_number: Some(i32::try_from(number).map_err(internal)?),
                e_tag: Some(ETag::Strong(part.md5)),
                size: Some(signed(part.size)?),
                last_modified: Some(timestamp(part.modified)),
                ..Default::default()
            };
            set_checksums!(listed, part.checksums);
            Ok(listed)
        })
        .collect::<S3Result<_>>()?;
    Ok(S3Response::new(ListPartsOutput {
        bucket: Some(input.bucket),
        key: Some(input.key),
        upload_id: Some(input.upload_id),
        part_number_marker: Some(marker),
        next_part_number_marker: Some(i32::try_from(last).map_err(internal)?),
        max_parts: Some(limit_out(limit)),
        is_truncated: Some(truncated),
        parts: Some(parts),
        owner: Some(owner()),
        initiator: Some(initiator()),
        storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
        checksum_algorithm: upload.checksum.as_deref().map(named),
        checksum_type: upload
            .checksum
            .is_some()
            .then(|| checksum_type(upload.composite)),
        ..Default::default()
    }))
}

pub(super) async fn list_multipart_uploads(
    store: &Store,
    req: S3Request<ListMultipartUploadsInput>,
) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
    let input = req.input;
    let names = Names::new(input.encoding_type.as_ref())?;
    let limit = limit(input.max_uploads, "max-uploads")?;
    let prefix = input.prefix.unwrap_or_default();
    let delimiter = input.delimiter.filter(|delimiter| !delimiter.is_empty());
    let key_marker = input.key_marker.unwrap_or_default();
    let id_marker = input.upload_id_marker.unwrap_or_default();
    let start = match after_marker(Some(key_marker.clone()), &prefix, delimiter.as_deref()) {
        // Without a key, an upload id marks nothing.
        Start::After(key) if !id_marker.is_empty() => Start::AfterUpload(key, id_marker.clone()),
        start => start,
    };
    let query = Query {
        prefix: prefix.clone(),
        delimiter: delimiter.clone(),
        start,
        limit,
    };
    let bucket = input.bucket.clone();
    let page = store
        .blocking(move |inner| inner.catalog.list_uploads(&bucket, &query))
        .await?;
    let (next_key, next_id) = match page.items.last().filter(|_| page.truncated) {
        Some(Item::Object(key, upload)) => (Some(names.write(key)), Some(upload.0.clone())),
        Some(Item::Prefix(prefix)) => (Some(names.write(prefix)), None),
        None => (None, None),
    };
    let mut uploads = Vec::new();
    let mut prefixes = Vec::new();
    for item in page.items {
        match item {
            Item::Prefix(prefix) => prefixes.push(CommonPrefix {
                prefix: Some(names.write(&prefix)),
            }),
            Item::Object(key, upload) => {
                let (id, upload) = *upload;
                uploads.push(MultipartUpload {
                    key: Some(names.write(&key)),
                    upload_id: Some(id),
                    initiated: Some(timestamp(upload.initiated)),
                    owner: Some(owner()),
                    initiator: Some(initiator()),
                    storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
                    checksum_algorithm: upload.checksum.as_deref().map(named),
                    checksum_type: upload
                        .checksum
                        .is_some()
                        .then(|| checksum_type(upload.composite)),
                });
            }
        }
    }
    Ok(S3Response::new(ListMultipartUploadsOutput {
        bucket: Some(input.bucket),
        prefix: Some(names.write(&prefix)),
        delimiter: delimiter.map(|delimiter| names.write(&delimiter)),
        key_marker: Some(names.write(&key_marker)),
        upload_id_marker: Some(id_marker),
        next_key_marker: next_key,
        next_upload_id_marker: next_id,
        max_uploads: Some(limit_out(limit)),
        is_truncated: Some(page.truncated),
        uploads: Some(uploads),
        common_prefixes: Some(prefixes),
        encoding_type: input.encoding_type,
        ..Default::default()
    }))
}

pub(super) async fn abort_multipart_upload(
    store: &Store,
    req: S3Request<AbortMultipartUploadInput>,
) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
    let input = req.input;
    if input.if_match_initiated_time.is_some() {
        return Err(s3_error!(
            NotImplemented,
            "x-amz-if-match-initiated-time is not supported here"
        ));
    }
    store
        .blocking(move |inner| {
            let catalog = &inner.catalog;
            inner.blobs.discard(catalog.abort_upload(
                &input.bucket,
                &input.key,
                &input.upload_id,
            )?);
            Ok::<_, CatalogError>(())
        })
        .await?;
    let mut response = S3Response::new(AbortMultipartUploadOutput::default());
    response.status = Some(StatusCode::NO_CONTENT);
    Ok(response)
}

pub(super) async fn complete_multipart_upload(
    store: &Store,
    mut req: S3Request<CompleteMultipartUploadInput>,
) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
    let input = &mut req.input;
    let condition = write_condition(input.if_match.as_ref(), input.if_none_match.as_ref())?;
    let listed = input
        .multipart_upload
        .take()
        .and_then(|listed| listed.parts)
        .filter(|parts| !parts.is_empty() && parts.len() <= MAX_PART_NUMBER as usize)
        .ok_or_else(|| s3_error!(MalformedXML))?;
    let mut parts = Vec::with_capacity(listed.len());
    for mut part in listed {
        let (Some(number), Some(etag)) = (part.part_number, part.e_tag.take()) else {
            return Err(s3_error!(MalformedXML));
        };
        parts.push(Claim {
            number: part_number(number)?,
            etag: etag.into_value(),
            checksums: owned(sent_checksums!(part)),
        });
    }
    let composite = match input.checksum_type.as_ref().map(ChecksumType::as_str) {
        None => None,
        Some(ChecksumType::COMPOSITE) => Some(true),
        Some(ChecksumType::FULL_OBJECT) => Some(false),
        Some(_) => return Err(unknown_type()),
    };
    let size = input.mpu_object_size.map(u64::try_from).transpose();
    let claims = Claims {
        parts,
        checksums: owned(sent_checksums!(input)),
        composite,
        size: size.map_err(|_| s3_error!(InvalidArgument, "The object size is negative"))?,
        smallest_part: store.inner.limits.smallest_part,
    };
    let (bucket, key) = (req.input.bucket, req.input.key);
    let mut output = CompleteMultipartUploadOutput {
        location: Some(format!("/{bucket}/{key}")),
        bucket: Some(bucket.clone()),
        key: Some(key.clone()),
        ..Default::default()
    };
    let id = req.input.upload_id;
    let record = store
        .blocking(move |inner| {
            let (record, garbage) =
                inner
                    .catalog
                    .complete_upload(&bucket, &key, &id, &claims, &condition, now())?;
            for garbage in garbage {
                inner.blobs.discard(garbage);
            }
            Ok::<_, CatalogError>(record)
        })
        .await?;
    output.e_tag = Some(ETag::Strong(record.etag));
    if !record.checksums.is_empty() {
        output.checksum_type = Some(checksum_type(record.composite));
    }
    set_checksums!(output, record.checksums);
    Ok(S3Response::new(output))
}

/// The checksum that an object from parts is to have, and whether it is over those of the parts.
fn checksum_of(
    name: Option<&ChecksumAlgorithm>,
    kind: Option<&ChecksumType>,
) -> S3Result<(Option<&'static str>, bool)> {
    let Some(name) = name else {
        return match kind {
            None => Ok((None, false)),
            Some(_) => Err(s3_error!(
                InvalidRequest,
                "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header"
            )),
        };
    };
    let name = algorithm(name.as_str())?;
    let composite = match kind.map(ChecksumType::as_str) {
        None => name != "crc64nvme",
        Some(ChecksumType::COMPOSITE) => true,
        Some(ChecksumType::FULL_OBJECT) => false,
        Some(_) => return Err(unknown_type()),
    };
    match (name, composite) {
        ("crc64nvme", true) => Err(s3_error!(
            InvalidRequest,
            "The COMPOSITE checksum type cannot be used with the crc64nvme checksum algorithm"
        )),
        ("sha1" | "sha256", false) => Err(s3_error!(
            InvalidRequest,
            "The FULL_OBJECT checksum type cannot be used with the {name} checksum algorithm"
        )),
        _ => Ok((Some(name), composite)),
    }
}

fn unknown_type() -> s3s::S3Error {
    s3_error!(
        InvalidRequest,
        "Value for x-amz-checksum-type header is invalid"
    )
}

/// The name of an algorithm, as S3's answers have it.
fn named(algorithm: &str) -> ChecksumAlgorithm {
    ChecksumAlgorithm::from(algorithm.to_uppercase())
}

fn owned(sent: impl Iterator<Item = (&'static str, String)>) -> BTreeMap<String, String> {
    sent.map(|(name, value)| (name.to_owned(), value)).collect()
}

fn initiator() -> Initiator {
    let owner = owner();
    Initiator {
        display_name: owner.display_name,
        id: owner.id,
    }
}

/// An id that no one can guess, and that comes after those of all earlier uploads.
fn upload_id() -> S3Result<String> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(internal)?;
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos());
    Ok(format!("{since:020x}{}", to_hex(&random)))
}
