//! Operations that read an object.

use std::collections::BTreeMap;
use std::ops;

use http::{HeaderMap, HeaderValue, StatusCode, header};
use s3s::dto::*;
use s3s::{S3Error, S3ErrorCode, S3Request, S3Response, S3Result, s3_error};

use super::body::Stretch;
use super::checksums::{checksum_type, set_checksums};
use super::errors::{internal, part_not_satisfiable, part_number_refused, range_not_satisfiable};
use super::listings::{limit, limit_out};
use super::values::{content_type, from_rfc3339, part_number, signed, timestamp};
use super::{Inner, Store};
use crate::embedded::catalog::{Body, Part, Record};

/// A read, GET or HEAD.
struct Read {
    range: Option<Range>,
    part: Option<i32>,
    conditions: ReadConditions,
}

/// An object that is there and may be read.
struct Opened {
    record: Record,
    /// What of it is to be read; nothing where that is the whole.
    selected: Option<Selected>,
}

/// Some bytes of an object.
struct Selected {
    range: ops::Range<u64>,
    /// The part that they are.
    part: Option<Part>,
    /// Whether they were asked for as a part.
    as_part: bool,
}

impl Read {
    /// What of an object is meant; nothing, twice, where the object is gone.
    fn select(&self, inner: &Inner, record: &Record) -> S3Result<Option<Option<Selected>>> {
        let bytes = |range| Selected {
            range,
            part: None,
            as_part: false,
        };
        let number = match (self.range, self.part) {
            (Some(_), Some(_)) => {
                return Err(s3_error!(
                    InvalidRequest,
                    "Range and partNumber exclude each other"
                ));
            }
            (Some(range), None) => {
                let range = range.check(record.size);
                let range = range.map_err(|_| range_not_satisfiable(record.size))?;
                return Ok(Some(Some(bytes(range))));
            }
            (None, None) => return Ok(Some(None)),
            (None, Some(number)) => part_number(number)?,
        };
        match &record.body {
            // An object that was not uploaded in parts is its own only part.
            Body::Blob(_) if number == 1 => Ok(Some((record.size > 0).then(|| Selected {
                as_part: true,
                ..bytes(0..record.size)
            }))),
            Body::Blob(_) => Err(part_not_satisfiable()),
            Body::Parts { upload, .. } => match inner.catalog.part(upload, number)? {
                Some(part) => Ok(Some(Some(Selected {
                    range: part.offset..part.offset.saturating_add(part.size),
                    part: Some(part),
                    as_part: true,
                }))),
                None if inner.catalog.parts(upload, 0, 1)?.0.is_empty() => Ok(None),
                None => Err(part_not_satisfiable()),
            },
        }
    }
}

impl Store {
    /// Finds an object, checks the conditions of a read, and opens its body where it is wanted.
    async fn open<T: Send + 'static>(
        &self,
        (bucket, key, version): (String, String, Option<String>),
        read: Read,
        open: impl Fn(&Inner, &Record, &ops::Range<u64>) -> S3Result<Option<T>> + Send + 'static,
    ) -> S3Result<(Opened, T)> {
        self.require_version(&bucket, version.as_deref()).await?;
        self.blocking(move |inner| {
            let found = inner.find(&bucket, &key, |record| {
                read.conditions.check(record)?;
                let Some(selected) = read.select(inner, record)? else {
                    return Ok(None);
                };
                let whole = 0..record.size;
                let range = selected.as_ref().map_or(&whole, |selected| &selected.range);
                let body = open(inner, record, range)?;
                Ok::<_, S3Error>(body.map(|body| (selected, body)))
            });
            found.map(|(record, (selected, body))| (Opened { record, selected }, body))
        })
        .await
    }
}

impl Opened {
    fn length(&self) -> u64 {
        self.selected.as_ref().map_or(self.record.size, |selected| {
            selected.range.end.saturating_sub(selected.range.start)
        })
    }

    fn content_range(&self) -> Option<String> {
        let range = &self.selected.as_ref()?.range;
        // No range says "no bytes", as a part may be.
        let last = range
            .end
            .checked_sub(1)
            .filter(|last| *last >= range.start)?;
        Some(format!("bytes {}-{last}/{}", range.start, self.record.size))
    }

    /// Checksums cover the object or a part, so they go with the whole of it only.
    fn checksums(&self, mode: Option<&ChecksumMode>) -> BTreeMap<String, String> {
        if mode.is_none_or(|mode| mode.as_str() != ChecksumMode::ENABLED) {
            return BTreeMap::new();
        }
        match &self.selected {
            None => self.record.checksums.clone(),
            Some(selected) => match &selected.part {
                Some(part) => part.checksums.clone(),
                None if selected.as_part => self.record.checksums.clone(),
                None => BTreeMap::new(),
            },
        }
    }

    /// How many parts there are; S3 says so when it was asked for one of them.
    fn parts_count(&self) -> Option<i32> {
        self.selected.as_ref().filter(|selected| selected.as_part)?;
        i32::try_from(self.record.body.parts()?).ok()
    }

    fn tag_count(&self) -> Option<i32> {
        i32::try_from(self.record.tags.len())
            .ok()
            .filter(|count| *count > 0)
    }
}

/// Where and under which conditions GET and HEAD read.
macro_rules! reading {
    ($input:expr) => {
        (
            ($input.bucket, $input.key, $input.version_id),
            Read {
                range: $input.range,
                part: $input.part_number,
                conditions: ReadConditions {
                    matches: $input.if_match,
                    differs: $input.if_none_match,
                    modified_since: $input.if_modified_since,
                    unmodified_since: $input.if_unmodified_since,
                },
            },
        )
    };
}

/// What GET and HEAD both answer.
macro_rules! answer {
    ($output:ident, $opened:expr, $mode:expr) => {{
        let checksums = $opened.checksums($mode);
        let attributes = $opened.record.attributes.clone();
        let mut output = $output {
            accept_ranges: Some("bytes".to_owned()),
            content_length: Some(signed($opened.length())?),
            content_range: $opened.content_range(),
            e_tag: Some(ETag::Strong($opened.record.etag.clone())),
            last_modified: Some(timestamp($opened.record.modified)),
            content_type: content_type(attributes.content_type),
            content_encoding: attributes.content_encoding,
            content_disposition: attributes.content_disposition,
            content_language: attributes.content_language,
            cache_control: attributes.cache_control,
            expires: attributes.expires.as_deref().and_then(from_rfc3339),
            website_redirect_location: attributes.website_redirect,
            metadata: Some(attributes.metadata.into_iter().collect()),
            parts_count: $opened.parts_count(),
            ..Default::default()
        };
        if !checksums.is_empty() {
            output.checksum_type = Some(checksum_type($opened.record.composite));
        }
        set_checksums!(output, checksums);
        output
    }};
}

pub(super) async fn get_object(
    store: &Store,
    req: S3Request<GetObjectInput>,
) -> S3Result<S3Response<GetObjectOutput>> {
    let input = req.input;
    let (place, read) = reading!(input);
    let (opened, body): (_, Stretch) = store
        .open(place, read, |inner, record, range| {
            Ok(inner.stretch(record, range)?)
        })
        .await?;
    let mut output = answer!(GetObjectOutput, opened, input.checksum_mode.as_ref());
    output.tag_count = opened.tag_count();
    output.body = Some(StreamingBlob::wrap(body.send()));
    let mut response = S3Response::new(output);
    if opened.selected.is_some() {
        response.status = Some(StatusCode::PARTIAL_CONTENT);
    }
    Ok(response)
}

pub(super) async fn head_object(
    store: &Store,
    req: S3Request<HeadObjectInput>,
) -> S3Result<S3Response<HeadObjectOutput>> {
    let input = req.input;
    let (place, read) = reading!(input);
    let (opened, ()) = store.open(place, read, |_, _, _| Ok(Some(()))).await?;
    let output = answer!(HeadObjectOutput, opened, input.checksum_mode.as_ref());
    let mut response = S3Response::new(output);
    if let Some(count) = opened.tag_count() {
        // `s3s` has no field for it.
        response
            .headers
            .insert("x-amz-tagging-count", HeaderValue::from(count));
    }
    if opened.selected.is_some() {
        response.status = Some(StatusCode::PARTIAL_CONTENT);
    }
    Ok(response)
}

pub(super) async fn get_object_attributes(
    store: &Store,
    req: S3Request<GetObjectAttributesInput>,
) -> S3Result<S3Response<GetObjectAttributesOutput>> {
    let input = req.input;
    store
        .require_version(&input.bucket, input.version_id.as_deref())
        .await?;
    let mut asked = Vec::new();
    for names in &input.object_attributes {
        for name in names.as_str().split(',').map(str::trim) {
            if !ATTRIBUTES.contains(&name) {
                return Err(s3_error!(
                    InvalidArgument,
                    "Invalid attribute name specified"
                ));
            }
            asked.push(name.to_owned());
        }
    }
    let asked = |name: &str| asked.iter().any(|asked| asked == name);
    let limit = limit(input.max_parts, "max-parts")?;
    let marker = input.part_number_marker.unwrap_or_default();
    let after = u32::try_from(marker).map_err(|_| part_number_refused())?;
    let (bucket, key) = (input.bucket, input.key);
    let (record, (parts, truncated)) = store
        .blocking(move |inner| {
            inner.find(&bucket, &key, |record| match &record.body {
                // S3 tells of the parts only where they have checksums.
                Body::Parts { upload, .. } if !record.checksums.is_empty() => {
                    let page = inner.catalog.parts(upload, after, limit)?;
                    let gone = page.0.is_empty() && inner.catalog.parts(upload, 0, 1)?.0.is_empty();
                    Ok(Some(page).filter(|_| !gone))
                }
                _ => Ok::<_, crate::embedded::catalog::CatalogError>(Some((Vec::new(), false))),
            })
        })
        .await?;

    let mut output = GetObjectAttributesOutput {
        last_modified: Some(timestamp(record.modified)),
        ..Default::default()
    };
    if asked(ObjectAttributes::ETAG) {
        output.e_tag = Some(ETag::Strong(record.etag.clone()));
    }
    if asked(ObjectAttributes::OBJECT_SIZE) {
        output.object_size = Some(signed(record.size)?);
    }
    if asked(ObjectAttributes::STORAGE_CLASS) {
        output.storage_class = Some(StorageClass::from_static(StorageClass::STANDARD));
    }
    if asked(ObjectAttributes::CHECKSUM) && !record.checksums.is_empty() {
        let mut checksum = Checksum {
            checksum_type: Some(checksum_type(record.composite)),
            ..Default::default()
        };
        set_checksums!(checksum, record.checksums);
        output.checksum = Some(checksum);
    }
    if asked(ObjectAttributes::OBJECT_PARTS)
        && let Some(count) = record.body.parts()
    {
        let mut listed = GetObjectAttributesParts {
            total_parts_count: Some(i32::try_from(count).map_err(internal)?),
            ..Default::default()
        };
        if !record.checksums.is_empty() {
            let last = parts.last().map_or(after, |(number, _)| *number);
            listed.is_truncated = Some(truncated);
            listed.max_parts = Some(limit_out(limit));
            listed.part_number_marker = Some(marker);
            listed.next_part_number_marker = Some(i32::try_from(last).map_err(internal)?);
            listed.parts = Some(
                parts
                    .into_iter()
                    .map(|(number, part)| {
                        let mut listed = ObjectPart {
                            part_number: Some(i32::try_from(number).map_err(internal)?),
                            size: Some(signed(part.size)?),
                            ..Default::default()
                        };
                        set_checksums!(listed, part.checksums);
                        Ok(listed)
                    })
                    .collect::<S3Result<_>>()?,
            );
        }
        output.object_parts = Some(listed);
    }
    Ok(S3Response::new(output))
}

const ATTRIBUTES: [&str; 5] = [
    ObjectAttributes::ETAG,
    ObjectAttributes::CHECKSUM,
    ObjectAttributes::OBJECT_PARTS,
    ObjectAttributes::STORAGE_CLASS,
    ObjectAttributes::OBJECT_SIZE,
];

/// The conditions of a read, or of the source of a copy.
pub(super) struct ReadConditions {
    pub(super) matches: Option<ETagCondition>,
    pub(super) differs: Option<ETagCondition>,
    pub(super) modified_since: Option<Timestamp>,
    pub(super) unmodified_since: Option<Timestamp>,
}

impl ReadConditions {
    /// In the order of RFC 9110, section 13.2.2. An ETag condition leaves the date beside it without effect.
    pub(super) fn check(&self, record: &Record) -> S3Result<()> {
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
        if let Ok(etag) = HeaderValue::from_str(&format!("\"{}\"", record.etag)) {
            headers.insert(header::ETAG, etag);
        }
        error.set_headers(headers);
        Err(error)
    }

    /// As [`ReadConditions::check`], for the source of a copy. Unlike for a read, nothing to do is a failure: the client
    /// asked for a write.
    pub(super) fn check_source(&self, record: &Record) -> S3Result<()> {
        self.check(record).map_err(|error| match error.code() {
            S3ErrorCode::NotModified => s3_error!(PreconditionFailed),
            _ => error,
        })
    }
}

fn is_etag(condition: &ETagCondition, record: &Record) -> bool {
    match condition {
        ETagCondition::Any => true,
        ETagCondition::ETag(etag) => etag.value() == record.etag,
    }
}
