//! What goes between S3's types and the catalog's.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::HeaderMap;
use s3s::dto::*;
use s3s::{S3Result, s3_error};

use super::errors::{internal, part_number_refused};
use crate::embedded::catalog::Condition;
use crate::embedded::catalog::assembly::MAX_PART_NUMBER;

const OWNER: &str = "sealgate";

/// What a client says about an object that it writes, from the input of an operation.
macro_rules! attributes {
    ($input:expr) => {
        $crate::embedded::catalog::Attributes {
            content_type: $input.content_type.take(),
            content_encoding: $input
                .content_encoding
                .take()
                .as_deref()
                .and_then(without_chunking),
            content_disposition: $input.content_disposition.take(),
            content_language: $input.content_language.take(),
            cache_control: $input.cache_control.take(),
            expires: $input.expires.take().as_ref().and_then(to_rfc3339),
            website_redirect: $input.website_redirect_location.take(),
            metadata: $input
                .metadata
                .take()
                .unwrap_or_default()
                .into_iter()
                .collect(),
        }
    };
}
pub(super) use attributes;

/// `aws-chunked` describes the upload, not the object.
pub(super) fn without_chunking(encoding: &str) -> Option<String> {
    let kept: Vec<_> = encoding
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty() && !part.eq_ignore_ascii_case("aws-chunked"))
        .collect();
    (!kept.is_empty()).then(|| kept.join(","))
}

pub(super) fn content_type(kept: Option<String>) -> Option<String> {
    Some(kept.unwrap_or_else(|| "binary/octet-stream".to_owned()))
}

pub(super) fn owner() -> Owner {
    Owner {
        display_name: Some(OWNER.to_owned()),
        id: Some(OWNER.to_owned()),
    }
}

pub(super) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

pub(super) fn timestamp(seconds: u64) -> Timestamp {
    Timestamp::from(
        UNIX_EPOCH
            .checked_add(Duration::from_secs(seconds))
            .unwrap_or(UNIX_EPOCH),
    )
}

pub(super) fn to_rfc3339(date: &Timestamp) -> Option<String> {
    let mut text = Vec::new();
    date.format(TimestampFormat::DateTime, &mut text).ok()?;
    String::from_utf8(text).ok()
}

pub(super) fn from_rfc3339(text: &str) -> Option<Timestamp> {
    Timestamp::parse(TimestampFormat::DateTime, text).ok()
}

pub(super) fn signed(size: u64) -> S3Result<i64> {
    i64::try_from(size).map_err(internal)
}

/// A part's number, as it stands in a request.
pub(super) fn part_number(number: i32) -> S3Result<u32> {
    u32::try_from(number)
        .ok()
        .filter(|number| (1..=MAX_PART_NUMBER).contains(number))
        .ok_or_else(part_number_refused)
}

/// Whether the headers ask for something that would be lost without notice.
pub(super) fn refuse_unsupported(headers: &HeaderMap) -> S3Result<()> {
    const REFUSED: [&str; 3] = [
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
        Some(name) => Err(s3_error!(NotImplemented, "{name} is not supported here")),
        None => Ok(()),
    }
}

pub(super) fn write_condition(
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
