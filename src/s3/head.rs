//! HeadObject and GetObjectAttributes: what a footer says.

use http::StatusCode;

use super::call::{Call, Response, Service, set_length};
use super::get::{check_conditions, choose_by_table, overrides, whole_headers};
use super::object::{Content, Found, Target};
use super::parts::{self, LONG_TAIL};
use super::xml::Writer;
use super::{Error, meta};
use crate::aead::{PartEntry, PartNumber};
use crate::formats::v1::protocol_checksum;
use crate::protocol::checksum::Algorithm;
use crate::protocol::range::RangeSpec;
use crate::pump;

/// How often an object that changes between two requests is followed.
const ATTEMPTS: usize = 4;

/// Parts that one answer of GetObjectAttributes lists at most.
const MAX_LISTED: u32 = 1000;

/// Answers HeadObject with one request to the store.
///
/// # Errors
/// [`Error`].
pub async fn head(service: &Service, call: Call) -> Result<Response, Error> {
    meta::check_read(&call.headers)?;
    if let Some(number) = parts::part_number(&call)? {
        return head_part(service, &call, number).await;
    }
    let found = service.find(&target(&call)).await?;
    check_conditions(&call, &found)?;
    let mut headers = whole_headers(&call, &found);
    let mut status = StatusCode::OK;
    let mut length = found.len;
    let range = call
        .header("range")
        .and_then(RangeSpec::parse)
        .map(|range| range.resolve(found.len))
        .transpose()
        .map_err(|e| Error::InvalidRange(e.total))?;
    if let Some(range) = range.flatten() {
        super::call::set(
            &mut headers,
            http::header::CONTENT_RANGE,
            &range.content_range(),
        );
        // Checksums are of the whole object, which this does not describe.
        for algorithm in Algorithm::ALL {
            headers.remove(algorithm.header());
        }
        headers.remove("x-amz-checksum-type");
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

/// Answers for a part. One request, and one more for a table that does not come along.
async fn head_part(service: &Service, call: &Call, number: PartNumber) -> Result<Response, Error> {
    let target = target(call);
    for _ in 0..ATTEMPTS {
        let mut found = service.find_with(&target, LONG_TAIL).await?;
        check_conditions(call, &found)?;
        let Some(chosen) = choose_by_table(&target, &mut found, number).await? else {
            continue;
        };
        let mut headers = found.response_headers();
        let status = parts::set_part(call, &mut headers, &found, &chosen);
        overrides(call, &mut headers);
        set_length(&mut headers, chosen.plaintext.end - chosen.plaintext.start);
        return Ok(Response {
            status,
            headers,
            body: pump::empty(),
            length: None,
        });
    }
    Err(Error::Contended)
}

/// Answers GetObjectAttributes.
///
/// # Errors
/// [`Error`].
pub async fn attributes(service: &Service, call: Call) -> Result<Response, Error> {
    meta::check_read(&call.headers)?;
    let wanted: Vec<String> = call
        .headers
        .get_all("x-amz-object-attributes")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .collect();
    if wanted.is_empty() {
        return Err(Error::InvalidRequest(
            "The x-amz-object-attributes header specifying the attributes to be retrieved is either missing or empty",
        ));
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
    let page = Page::of(&call)?;
    let found = match wants("ObjectParts") {
        false => service.find(&target).await,
        true => find_with_parts(service, &target).await,
    };
    let found = found.map_err(|error| match error {
        // A mark of deletion: what a GET of it is told, S3 puts into other words here.
        Error::Store(store) if store.status() == Some(StatusCode::METHOD_NOT_ALLOWED) => {
            Error::NoSuchKey
        }
        error => error,
    })?;
    let mut xml = Writer::new("GetObjectAttributesResponse");
    if wants("ETag") {
        xml.text("ETag", &found.etag);
    }
    if wants("Checksum")
        && let Content::Sealed(sealed) = &found.content
        && sealed.footer.checksum.is_some()
    {
        xml.open("Checksum");
        parts::write_checksum(&mut xml, sealed);
        xml.close("Checksum");
    }
    if wants("ObjectParts")
        && let Content::Sealed(sealed) = &found.content
        && let Some(table) = sealed.parts()
    {
        // AWS lists parts only of an object that was uploaded with checksums, Ceph always: more does no harm.
        let entries = table.entries().map(|(entries, _)| entries);
        page.write(&mut xml, table.parts.count, entries);
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

/// Which parts GetObjectAttributes is to list.
struct Page {
    /// Only parts with a greater number.
    after: u16,
    /// At most so many.
    most: usize,
}

impl Page {
    /// # Errors
    /// [`Error::InvalidArgument`].
    fn of(call: &Call) -> Result<Self, Error> {
        let number = |name: &'static str, default: u32| match call.headers.get(name) {
            None => Ok(default),
            Some(value) => value
                .to_str()
                .ok()
                .filter(|text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()))
                .and_then(|text| text.parse::<u32>().ok())
                .filter(|&number| number <= i32::MAX as u32)
                .ok_or(Error::InvalidArgument {
                    name,
                    problem: "the value must be an integer between 0 and 2147483647",
                }),
        };
        let after = number("x-amz-part-number-marker", 0)?;
        let most = number("x-amz-max-parts", MAX_LISTED)?.min(MAX_LISTED);
        Ok(Self {
            after: u16::try_from(after).unwrap_or(u16::MAX),
            most: usize::try_from(most).unwrap_or_default(),
        })
    }

    fn write(&self, xml: &mut Writer, count: u16, entries: Option<&[PartEntry]>) {
        xml.open("ObjectParts");
        xml.text("PartsCount", &count.to_string());
        if let Some(entries) = entries {
            let begin = entries.partition_point(|entry| entry.number.get() <= self.after);
            let rest = entries.get(begin..).unwrap_or_default();
            let listed = rest.get(..self.most).unwrap_or(rest);
            let next = listed.last().map_or(self.after, |entry| entry.number.get());
            xml.text("PartNumberMarker", &self.after.to_string());
            xml.text("NextPartNumberMarker", &next.to_string());
            xml.text("MaxParts", &self.most.to_string());
            xml.text("IsTruncated", &(listed.len() < rest.len()).to_string());
            for entry in listed {
                xml.open("Part");
                xml.text("PartNumber", &entry.number.to_string());
                xml.text("Size", &entry.plaintext_len.to_string());
                if let Some(checksum) = entry.checksum.as_ref().and_then(protocol_checksum) {
                    xml.text(checksum.algorithm().element(), &checksum.to_base64());
                }
                xml.close("Part");
            }
        }
        xml.close("ObjectParts");
    }
}

/// Finds an object, with the table that lists its parts where there is something to list.
async fn find_with_parts(service: &Service, target: &Target<'_>) -> Result<Found, Error> {
    for _ in 0..ATTEMPTS {
        let mut found = service.find_with(target, LONG_TAIL).await?;
        let listed = matches!(&found.content, Content::Sealed(s) if s.parts().is_some());
        if !listed || parts::read_table(target, &mut found).await? {
            return Ok(found);
        }
    }
    Err(Error::Contended)
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
