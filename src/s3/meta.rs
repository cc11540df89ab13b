//! Which headers pass between client and store, in both directions.

use http::header::{CONTENT_ENCODING, CONTENT_TYPE, DATE, LAST_MODIFIED};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::Error;
use crate::envelope::{self, Record};
use crate::formats::Formats;
use crate::protocol::aws_chunked::strip_aws_chunked;

/// What stores make up differently where a client sends no type, so it is always sent.
const DEFAULT_CONTENT_TYPE: HeaderValue = HeaderValue::from_static("binary/octet-stream");

const REQUEST_PAYER: HeaderName = HeaderName::from_static("x-amz-request-payer");
const EXPECTED_OWNER: HeaderName = HeaderName::from_static("x-amz-expected-bucket-owner");
const EXPECTED_SOURCE_OWNER: HeaderName =
    HeaderName::from_static("x-amz-source-expected-bucket-owner");
const ENCRYPTION: HeaderName = HeaderName::from_static("x-amz-server-side-encryption");

/// The headers of a record.
const RECORD: [HeaderName; 3] = [
    HeaderName::from_static(envelope::HEADER_ENVELOPE),
    HeaderName::from_static(envelope::HEADER_INFO),
    HeaderName::from_static(envelope::HEADER_MAC),
];

/// Request headers that go on with a write as they are.
fn passes_on_write(name: &str) -> bool {
    name.starts_with("x-amz-grant-")
        || name.starts_with("x-amz-object-lock-")
        || matches!(
            name,
            "x-amz-acl"
                | "x-amz-tagging"
                | "x-amz-storage-class"
                | "x-amz-website-redirect-location"
                | "x-amz-server-side-encryption"
                | "x-amz-server-side-encryption-aws-kms-key-id"
                | "x-amz-server-side-encryption-context"
                | "x-amz-server-side-encryption-bucket-key-enabled"
                | "x-amz-request-payer"
                | "x-amz-expected-bucket-owner"
        )
}

/// Response headers that go back to the client as they are, beside content headers and user metadata.
fn passes_back(name: &str) -> bool {
    (name.starts_with("x-amz-")
        && !name.starts_with("x-amz-meta-")
        && !name.starts_with("x-amz-checksum-")
        && !matches!(
            name,
            "x-amz-request-id"
                | "x-amz-id-2"
                | "x-amz-bucket-region"
                | "x-amz-mp-parts-count"
                | "x-amz-cf-id"
                | "x-amz-object-size"
        ))
        || name == "last-modified"
}

/// Copies the store's answer headers that any client may see, but nothing that describes the
/// (sealed) body: length, ETag, checksums.
pub fn common_response(from: &HeaderMap) -> HeaderMap {
    let mut to = HeaderMap::new();
    pass_back(from, &mut to);
    to
}

fn pass_back(from: &HeaderMap, to: &mut HeaderMap) {
    for (name, value) in from {
        if passes_back(name.as_str()) {
            to.append(name.clone(), value.clone());
        }
    }
}

/// Headers of an object as a client sees them.
pub fn object_response(from: &HeaderMap) -> HeaderMap {
    // Room for those that every answer has beside them.
    let mut to = HeaderMap::with_capacity(12);
    pass_back(from, &mut to);
    for (name, value) in from {
        if envelope::bound_header(name.as_str()) {
            to.append(name.clone(), value.clone());
        }
    }
    to
}

/// The headers of a new object, from a client's request: content headers and user metadata.
///
/// # Errors
/// [`Error::InvalidArgument`] where the client uses a reserved name, one of those of the `formats` of other programs
/// that the bucket reads included.
pub fn content_from_request(
    from: &HeaderMap,
    formats: Option<&Formats>,
) -> Result<HeaderMap, Error> {
    let mut to = HeaderMap::new();
    for (name, value) in from {
        if name.as_str().starts_with(envelope::RESERVED_PREFIX) {
            return Err(Error::InvalidArgument {
                name: "x-amz-meta-sealgate",
                problem: "metadata names that begin with sealgate are reserved",
            });
        }
        if formats.is_some_and(|formats| formats.owns(name.as_str())) {
            return Err(Error::InvalidArgument {
                name: "x-amz-meta",
                problem: "a metadata name is reserved: in this bucket it marks objects of another program's format",
            });
        }
        if *name == CONTENT_ENCODING {
            if let Some(value) = without_aws_chunked(value) {
                to.append(name.clone(), value);
            }
        } else if envelope::bound_header(name.as_str()) {
            to.append(name.clone(), value.clone());
        }
    }
    if !to.contains_key(CONTENT_TYPE) {
        to.insert(CONTENT_TYPE, DEFAULT_CONTENT_TYPE);
    }
    Ok(to)
}

/// Takes away the metadata by which other programs say how their objects are encrypted.
pub fn hide(headers: &mut HeaderMap, formats: &Formats) {
    let owned: Vec<HeaderName> = headers
        .keys()
        .filter(|name| formats.owns(name.as_str()))
        .cloned()
        .collect();
    for name in owned {
        headers.remove(name);
    }
}

/// The same from a stored object, for copies that keep its metadata.
pub fn content_from_object(from: &HeaderMap) -> HeaderMap {
    let mut to = HeaderMap::new();
    for (name, value) in from {
        if envelope::bound_header(name.as_str()) {
            to.append(name.clone(), value.clone());
        }
    }
    if !to.contains_key(CONTENT_TYPE) {
        to.insert(CONTENT_TYPE, DEFAULT_CONTENT_TYPE);
    }
    to
}

/// Settings of a write that the store acts on.
///
/// # Errors
/// [`Error::NotImplemented`] for keys that the client wants the store to encrypt with: they would have
/// to come with every read, and the store sees ciphertext already.
pub fn write_settings(from: &HeaderMap, to: &mut HeaderMap) -> Result<(), Error> {
    for (name, value) in from {
        if name
            .as_str()
            .starts_with("x-amz-server-side-encryption-customer-")
        {
            return Err(Error::NotImplemented("SSE-C"));
        }
        if passes_on_write(name.as_str()) {
            to.append(name.clone(), value.clone());
        }
    }
    Ok(())
}

/// Refuses reads that bring a key for the store.
pub fn refuse_customer_keys(from: &HeaderMap) -> Result<(), Error> {
    let customer = |name: &HeaderName| name.as_str().contains("server-side-encryption-customer-");
    if from.keys().any(customer) {
        Err(Error::NotImplemented("SSE-C"))
    } else {
        Ok(())
    }
}

/// Refuses headers that ask a read for encryption: they belong to writes (S3 API: GetObject, HeadObject).
///
/// # Errors
/// [`Error::InvalidArgument`], and as [`refuse_customer_keys`].
pub fn check_read(from: &HeaderMap) -> Result<(), Error> {
    refuse_customer_keys(from)?;
    if from.contains_key(ENCRYPTION) {
        return Err(Error::InvalidArgument {
            name: "x-amz-server-side-encryption",
            problem: "the header is not supported for this operation",
        });
    }
    Ok(())
}

/// Headers that go on with any request on an existing object.
pub fn read_settings(from: &HeaderMap) -> HeaderMap {
    let mut to = HeaderMap::new();
    for name in [REQUEST_PAYER, EXPECTED_OWNER] {
        if let Some(value) = from.get(&name) {
            to.insert(name, value.clone());
        }
    }
    to
}

/// The same for the source of a copy, whose owner the client may expect to be somebody.
pub fn source_settings(from: &HeaderMap) -> HeaderMap {
    let mut to = HeaderMap::new();
    for (name, sent_as) in [
        (REQUEST_PAYER, REQUEST_PAYER),
        (EXPECTED_SOURCE_OWNER, EXPECTED_OWNER),
    ] {
        if let Some(value) = from.get(name) {
            to.insert(sent_as, value.clone());
        }
    }
    to
}

/// Puts the three sealgate headers.
pub fn set_record(headers: &mut HeaderMap, record: &Record) {
    for (name, value) in RECORD.into_iter().zip(record.header_values()) {
        super::call::set_owned(headers, name, value);
    }
}

/// `aws-chunked` describes the transfer, not the object. What is left of the header, if anything.
fn without_aws_chunked(value: &HeaderValue) -> Option<HeaderValue> {
    let Ok(text) = value.to_str() else {
        return Some(value.clone());
    };
    if !text.to_ascii_lowercase().contains("aws-chunked") {
        return Some(value.clone()).filter(|v| !v.is_empty());
    }
    strip_aws_chunked(text).and_then(|left| HeaderValue::from_str(&left).ok())
}

/// `Last-Modified` of an answer as unix seconds.
pub fn last_modified(headers: &HeaderMap) -> Option<i64> {
    parsed(headers, LAST_MODIFIED)
}

/// `Date` of an answer as unix seconds.
pub fn date(headers: &HeaderMap) -> Option<i64> {
    parsed(headers, DATE)
}

fn parsed(headers: &HeaderMap, name: HeaderName) -> Option<i64> {
    crate::protocol::date::parse_http_date(headers.get(name)?.to_str().ok()?).ok()
}
