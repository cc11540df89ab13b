//! Pages of objects.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result, s3_error};

use super::checksums::checksum_type;
use super::errors::internal;
use super::values::{owner, signed, timestamp};
use super::{MAX_PAGE, NULL_VERSION, Store};
use crate::embedded::catalog::{Item, Page, Query, Start};

/// What `encoding-type=url` leaves as it is.
const URL_SAFE: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');

impl Store {
    async fn page(&self, bucket: &str, query: Query) -> S3Result<Page> {
        let bucket = bucket.to_owned();
        self.blocking(move |inner| inner.catalog.list(&bucket, &query))
            .await
    }
}

pub(super) async fn list_objects(
    store: &Store,
    req: S3Request<ListObjectsInput>,
) -> S3Result<S3Response<ListObjectsOutput>> {
    let input = req.input;
    let names = Names::new(input.encoding_type.as_ref())?;
    let limit = limit(input.max_keys, "max-keys")?;
    let prefix = input.prefix.unwrap_or_default();
    let delimiter = input.delimiter.filter(|delimiter| !delimiter.is_empty());
    let query = Query {
        start: after_marker(input.marker.clone(), &prefix, delimiter.as_deref()),
        prefix: prefix.clone(),
        delimiter: delimiter.clone(),
        limit,
    };
    let page = store.page(&input.bucket, query).await?;
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

pub(super) async fn list_objects_v2(
    store: &Store,
    req: S3Request<ListObjectsV2Input>,
) -> S3Result<S3Response<ListObjectsV2Output>> {
    let input = req.input;
    let names = Names::new(input.encoding_type.as_ref())?;
    let limit = limit(input.max_keys, "max-keys")?;
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
    let page = store.page(&input.bucket, query).await?;
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

pub(super) async fn list_object_versions(
    store: &Store,
    req: S3Request<ListObjectVersionsInput>,
) -> S3Result<S3Response<ListObjectVersionsOutput>> {
    let input = req.input;
    let names = Names::new(input.encoding_type.as_ref())?;
    let limit = limit(input.max_keys, "max-keys")?;
    let prefix = input.prefix.unwrap_or_default();
    let delimiter = input.delimiter.filter(|delimiter| !delimiter.is_empty());
    let query = Query {
        start: after_marker(input.key_marker.clone(), &prefix, delimiter.as_deref()),
        prefix: prefix.clone(),
        delimiter: delimiter.clone(),
        limit,
    };
    let page = store.page(&input.bucket, query).await?;
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
            checksum_type: object.checksum_type,
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

/// How names are written in a listing.
pub(super) struct Names {
    url: bool,
}

impl Names {
    pub(super) fn new(encoding: Option<&EncodingType>) -> S3Result<Self> {
        match encoding.map(EncodingType::as_str) {
            None | Some("") => Ok(Self { url: false }),
            Some(EncodingType::URL) => Ok(Self { url: true }),
            Some(_) => Err(s3_error!(
                InvalidArgument,
                "Invalid Encoding Method specified in Request"
            )),
        }
    }

    pub(super) fn write(&self, name: &str) -> String {
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
                    e_tag: Some(ETag::Strong(record.etag.clone())),
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
                    checksum_type: (!record.checksums.is_empty())
                        .then(|| checksum_type(record.composite)),
                    ..Default::default()
                }),
            }
        }
        Ok(Self { objects, prefixes })
    }
}

/// The last line of a page, and whether it is an object.
pub(super) fn last<T>(page: &Page<T>) -> (Option<&str>, bool) {
    match page.items.last() {
        Some(Item::Object(key, _)) => (Some(key), true),
        Some(Item::Prefix(prefix)) => (Some(prefix), false),
        None => (None, false),
    }
}

/// Where a listing goes on after a marker, which is a key or a common prefix: clients send back what came last.
pub(super) fn after_marker(marker: Option<String>, prefix: &str, delimiter: Option<&str>) -> Start {
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

pub(super) fn limit(asked: Option<i32>, name: &str) -> S3Result<usize> {
    match asked {
        None => Ok(MAX_PAGE),
        Some(asked) => usize::try_from(asked)
            .map(|asked| asked.min(MAX_PAGE))
            .map_err(|_| s3_error!(InvalidArgument, "{name} must not be negative")),
    }
}

pub(super) fn limit_out(limit: usize) -> i32 {
    i32::try_from(limit).unwrap_or(i32::MAX)
}
