//! UploadPartCopy: a range of an object, opened and sealed again as a part. The bytes pass through the gateway, since
//! a part is a stream under its own upload's key.

use http::StatusCode;

use super::super::call::{Body, Call, EtagMode, Response, Service};
use super::super::object::{Found, Target, quoted};
use super::super::xml::Writer;
use super::super::{Error, copy, get, meta};
use super::part::{self, Sending};
use super::staging::Staging;
use super::state;
use super::{MAX_PART, part_number, upload_id};
use crate::protocol::conditions::{Conditions, Outcome};
use crate::protocol::date;

/// How often a source that changes while it is copied is followed.
const ATTEMPTS: usize = 4;

/// Answers UploadPartCopy.
///
/// # Errors
/// [`Error`].
pub async fn copy_part(service: &Service, mut call: Call) -> Result<Response, Error> {
    copy::begin(&mut call, "UploadPartCopy has no body").await?;
    let number = part_number(&call)?;
    let id = upload_id(&call)?.to_owned();
    let source = copy::source(service, &call)?;
    let range = copy_range(&call)?;
    let target = Target {
        store: &call.store,
        bucket: &source.bucket,
        key: &source.key,
        version: source.version_id.as_deref(),
        headers: meta::source_settings(&call.headers),
    };
    // Of two things that are not there S3 names the upload.
    let staging = Staging::of(service, &call, &id);
    state::load(service, &call, &staging, &id).await?;
    for _ in 0..ATTEMPTS {
        let mut found = service.find(&target).await?;
        match Conditions::from_copy_source(&call.headers).evaluate_copy_source(found.current()) {
            Outcome::Proceed => {}
            _ => return Err(Error::PreconditionFailed("x-amz-copy-source-if-…")),
        }
        let (first, length) = extent(range, &found)?;
        if length > MAX_PART {
            return Err(Error::EntityTooLarge(length));
        }
        let (staging, upload) = part::open(service, &call, &id, number, length).await?;
        let stream = match get::slice(service, &target, &mut found, first..first + length).await? {
            Some((stream, _)) => stream,
            None => continue,
        };
        let md5 = (service.settings)(&call.endpoint.bucket).etag == EtagMode::Md5;
        let body = Body::own(stream, length, md5);
        let sent = Sending {
            service,
            call: &call,
            staging: &staging,
            upload: &upload,
            number,
            length,
        }
        .send(body)
        .await?;
        let mut headers = sent.headers;
        if let Some(version) = found.headers.get("x-amz-version-id") {
            headers.insert("x-amz-copy-source-version-id", version.clone());
        }
        let mut xml = Writer::new("CopyPartResult");
        xml.text("LastModified", &date::format_iso8601((service.now)()));
        xml.text("ETag", &quoted(&sent.etag));
        // As S3 does: none where nobody asked for one.
        if let Some(checksum) = sent.checksum.filter(|_| upload.checksum.is_some()) {
            xml.text(checksum.algorithm().element(), &checksum.to_base64());
        }
        return Ok(Response::xml(StatusCode::OK, headers, xml.finish()));
    }
    Err(Error::Contended)
}

/// `x-amz-copy-source-range: bytes=first-last`, both of which must be given.
fn copy_range(call: &Call) -> Result<Option<(u64, u64)>, Error> {
    let Some(value) = call.headers.get("x-amz-copy-source-range") else {
        return Ok(None);
    };
    let parse = |text: &str| -> Option<(u64, u64)> {
        let (first, last) = text.trim().strip_prefix("bytes=")?.split_once('-')?;
        let number = |text: &str| {
            text.bytes()
                .all(|byte| byte.is_ascii_digit())
                .then(|| text.parse().ok())?
        };
        let (first, last) = (number(first)?, number(last)?);
        (first <= last).then_some((first, last))
    };
    value
        .to_str()
        .ok()
        .and_then(parse)
        .map(Some)
        .ok_or(Error::InvalidArgument {
            name: "x-amz-copy-source-range",
            problem: "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the zero-based offsets of the first and last bytes to copy",
        })
}

/// First byte and length of what is copied. Unlike the range of a GET, that of a copy must lie within the object.
fn extent(range: Option<(u64, u64)>, found: &Found) -> Result<(u64, u64), Error> {
    match range {
        None => Ok((0, found.len)),
        Some((first, last)) if last < found.len => Ok((first, last - first + 1)),
        Some(_) => Err(Error::InvalidArgument {
            name: "x-amz-copy-source-range",
            problem: "the range is not valid for a source object of this size",
        }),
    }
}
