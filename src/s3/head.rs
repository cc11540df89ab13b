//! HeadObject and GetObjectAttributes: what a footer says.

use http::StatusCode;

use super::call::{Call, Response, Service, set_length};
use super::get::{check_conditions, whole_headers};
use super::object::{Content, Target};
use super::xml::Writer;
use super::{Error, meta};
use crate::protocol::range::RangeSpec;
use crate::pump;

/// Answers HeadObject with one request to the store.
///
/// # Errors
/// [`Error`].
pub async fn head(service: &Service, call: Call) -> Result<Response, Error> {
    meta::refuse_customer_keys(&call.headers)?;
    let found = service.find(&target(&call)).await?;
    check_conditions(&call, &found)?;
    let mut headers = whole_headers(&call, &found);
    let mut status = StatusCode::OK;
    let mut length = found.len;
    if let Some(range) = call.header("range").and_then(RangeSpec::parse) {
        let range = range
            .resolve(found.len)
            .map_err(|e| Error::InvalidRange(e.total))?;
        super::call::set(
            &mut headers,
            http::header::CONTENT_RANGE,
            &range.content_range(),
        );
        status = StatusCode::PARTIAL_CONTENT;
        length = range.length();
    }
    set_length(&mut headers, length);
    Ok(Response {
        status,
        headers,
        body: pump::empty(),
        length: None,
    })
}

/// Answers GetObjectAttributes.
///
/// # Errors
/// [`Error`].
pub async fn attributes(service: &Service, call: Call) -> Result<Response, Error> {
    meta::refuse_customer_keys(&call.headers)?;
    let wanted: Vec<String> = call
        .headers
        .get_all("x-amz-object-attributes")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_owned())
        .collect();
    if wanted.is_empty() {
        return Err(Error::InvalidArgument {
            name: "x-amz-object-attributes",
            problem: "the header must name attributes",
        });
    }
    let wants = |name: &str| wanted.iter().any(|w| w == name);
    let known = [
        "ETag",
        "Checksum",
        "ObjectParts",
        "StorageClass",
        "ObjectSize",
    ];
    if wanted.iter().any(|w| !known.contains(&w.as_str())) {
        return Err(Error::InvalidArgument {
            name: "x-amz-object-attributes",
            problem: "unknown attribute",
        });
    }
    let target = target(&call);
    let found = service.find(&target).await?;
    let mut xml = Writer::new("GetObjectAttributesResponse");
    if wants("ETag") {
        xml.text("ETag", &found.etag);
    }
    if wants("Checksum")
        && let Content::Sealed(sealed) = &found.content
        && let Some(checksum) = sealed.checksum()
    {
        xml.open("Checksum");
        xml.text(checksum.algorithm().element(), &checksum.to_base64());
        xml.text("ChecksumType", "FULL_OBJECT");
        xml.close("Checksum");
    }
    if wants("StorageClass") {
        let class = found
            .headers
            .get("x-amz-storage-class")
            .and_then(|v| v.to_str().ok())
            .unwrap_or("STANDARD");
        xml.text("StorageClass", class);
    }
    if wants("ObjectSize") {
        xml.text("ObjectSize", &found.len.to_string());
    }
    let headers = meta::common_response(&found.headers);
    Ok(Response::xml(StatusCode::OK, headers, xml.finish()))
}

fn target(call: &Call) -> Target<'_> {
    Target {
        store: &call.store,
        bucket: &call.endpoint.bucket,
        key: &call.endpoint.key,
        version: call.version(),
        headers: meta::read_settings(&call.headers),
    }
}
