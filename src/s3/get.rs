//! GetObject: whole objects and ranges, verified segment by segment.

use bytes::Bytes;
use http::header::{CONTENT_RANGE, IF_MATCH};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use http_body_util::BodyExt;

use super::call::{Call, Response, Service, set};
use super::object::{self, Content, Found, MIN_STORED, Target, quoted};
use super::{Error, meta};
use crate::aead::{self, FOOTER_LEN, PREAMBLE_LEN, SegmentSize};
use crate::envelope::CONTENT_HEADERS;
use crate::formats::Integrity;
use crate::formats::v1::{self, Sealed};
use crate::protocol::conditions::{self, Conditions, Outcome};
use crate::protocol::range::{ByteRange, RangeSpec};
use crate::pump::{self, BoxBody, OpenBody, Part, Plan};
use crate::store;

/// Objects up to this stored length are read whole and verified before the answer begins.
const SMALL: u64 = PREAMBLE_LEN as u64 + SegmentSize::GATEWAY.get() as u64 + FOOTER_LEN as u64;

/// How often an object that changes between two requests is followed. An object that is overwritten without pause
/// changes in one of two or three, and S3 never refuses to read it.
const ATTEMPTS: usize = 16;

/// Answers GetObject.
///
/// # Errors
/// [`Error`].
pub async fn get(service: &Service, call: Call) -> Result<Response, Error> {
    meta::refuse_customer_keys(&call.headers)?;
    let target = Target {
        store: &call.store,
        bucket: &call.endpoint.bucket,
        key: &call.endpoint.key,
        version: call.version(),
        headers: meta::read_settings(&call.headers),
    };
    let range = call.header("range").and_then(RangeSpec::parse);
    for _ in 0..ATTEMPTS {
        let answer = match range {
            Some(range) => ranged(service, &call, &target, range).await?,
            None => whole(service, &call, &target).await?,
        };
        if let Some(answer) = answer {
            return Ok(answer);
        }
    }
    Err(Error::Contended)
}

/// Conditions of a read on what was found.
pub fn check_conditions(call: &Call, found: &Found) -> Result<(), Error> {
    match Conditions::from_headers(&call.headers).evaluate_read(found.current()) {
        Outcome::NotModified => {
            let mut headers = found.response_headers();
            headers.remove(http::header::CONTENT_TYPE);
            Err(Error::NotModified {
                headers: Box::new(headers),
            })
        }
        Outcome::PreconditionFailed | Outcome::NoSuchObject => {
            Err(Error::PreconditionFailed("If-Match"))
        }
        Outcome::Proceed => Ok(()),
    }
}

/// The headers of an answer that carries (or, for HEAD, describes) the whole object.
pub fn whole_headers(call: &Call, found: &Found) -> HeaderMap {
    let mut headers = found.response_headers();
    if call
        .header("x-amz-checksum-mode")
        .is_some_and(|mode| mode.eq_ignore_ascii_case("enabled"))
        && let Content::Sealed(sealed) = &found.content
    {
        set_checksum(&mut headers, sealed);
    }
    overrides(call, &mut headers);
    headers
}

/// `x-amz-checksum-*` of an object, where its writer gave one.
pub fn set_checksum(headers: &mut HeaderMap, sealed: &Sealed) {
    if let Some(checksum) = sealed.checksum() {
        set(
            headers,
            HeaderName::from_static(checksum.algorithm().header()),
            &checksum.to_base64(),
        );
        headers.insert(
            "x-amz-checksum-type",
            HeaderValue::from_static("FULL_OBJECT"),
        );
    }
}

/// `response-content-type` and its kin. They are applied here, not at the store: there they would
/// change headers that are bound.
fn overrides(call: &Call, headers: &mut HeaderMap) {
    for name in CONTENT_HEADERS {
        if let Some(value) = call.parameter(&format!("response-{name}")) {
            set(headers, HeaderName::from_static(name), value);
        }
    }
}

/// The whole object; `None` where it changed between two requests.
async fn whole(
    service: &Service,
    call: &Call,
    target: &Target<'_>,
) -> Result<Option<Response>, Error> {
    let answer = target
        .store
        .send("GetObject", target.request(Method::GET))
        .await?;
    let headers = answer.headers().clone();
    let stored_len = object::content_length(&headers)?;
    if v1::claim(&headers)?.is_none() {
        return plain(service, call, target, answer, stored_len)
            .await
            .map(Some);
    }
    if stored_len < MIN_STORED {
        return Err(Integrity::Length.into());
    }
    if stored_len <= SMALL {
        let bytes = object::read_exactly(target, answer, 0..stored_len).await?;
        let tail = bytes.slice(bytes.len() - FOOTER_LEN..);
        let found = service.describe(target, headers, stored_len, &tail).await?;
        check_conditions(call, &found)?;
        let headers = whole_headers(call, &found);
        let Content::Sealed(sealed) = found.content else {
            return Err(Integrity::Length.into());
        };
        let plan = plan(service, &sealed, Part::Whole, 0, found.len)?;
        let plaintext = OpenBody::new(pump::full(bytes), plan)
            .collect()
            .await?
            .to_bytes();
        return Ok(Some(Response {
            status: StatusCode::OK,
            headers,
            body: pump::full(plaintext),
            length: Some(found.len),
        }));
    }
    // The footer comes side by side with the beginning of the body, which waits in the connection.
    let store_etag = object::store_etag(&headers);
    let suffix = target
        .request(Method::GET)
        .header("range", "bytes=-256")
        .header("if-match", &quoted(&store_etag));
    let tail = match target.store.send("GetFooter", suffix).await {
        Ok(answer) if object::store_etag(answer.headers()) != store_etag => return Ok(None),
        Ok(answer) if answer.status() != StatusCode::PARTIAL_CONTENT => {
            return Err(store::StoreError::Malformed("suffix range was ignored").into());
        }
        Ok(answer) => {
            let footer = stored_len - FOOTER_LEN as u64..stored_len;
            object::read_exactly(target, answer, footer).await?
        }
        Err(error) if error.status() == Some(StatusCode::PRECONDITION_FAILED) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let found = service.describe(target, headers, stored_len, &tail).await?;
    check_conditions(call, &found)?;
    let headers = whole_headers(call, &found);
    let Content::Sealed(sealed) = found.content else {
        return Err(Integrity::Length.into());
    };
    let plan = plan(service, &sealed, Part::Whole, 0, found.len)?;
    let body = first_verified(OpenBody::new(target.stream(answer, 0..stored_len), plan)).await?;
    Ok(Some(Response {
        status: StatusCode::OK,
        headers,
        body,
        length: Some(found.len),
    }))
}

/// A part of the object; `None` where it changed between two requests.
async fn ranged(
    service: &Service,
    call: &Call,
    target: &Target<'_>,
    range: RangeSpec,
) -> Result<Option<Response>, Error> {
    let found = service.find(target).await?;
    check_conditions(call, &found)?;
    if call
        .header("if-range")
        .is_some_and(|value| !conditions::if_range_holds(value, found.current()))
    {
        return whole(service, call, target).await;
    }
    let range = range
        .resolve(found.len)
        .map_err(|e| Error::InvalidRange(e.total))?;
    let mut headers = found.response_headers();
    overrides(call, &mut headers);
    set(&mut headers, CONTENT_RANGE, &range.content_range());

    let (stored, part) = match &found.content {
        Content::Plain => (range.first()..range.last() + 1, None),
        Content::Sealed(sealed) => {
            let segments = sealed.layout.segments_of(range.first()..range.last() + 1);
            let part = Part::Segments {
                first: segments.start,
                last: segments.end.saturating_sub(1),
            };
            (sealed.layout.stored_range(segments), Some(part))
        }
        Content::SealedUnread => return Err(archived()),
    };
    let (name, value) = object::range_header(&stored);
    let mut request = target.request(Method::GET);
    set(&mut request.headers, name, &value);
    set(&mut request.headers, IF_MATCH, &quoted(&found.store_etag));
    let answer = match target.store.send("GetSegments", request).await {
        Ok(answer) => answer,
        Err(error) if error.status() == Some(StatusCode::PRECONDITION_FAILED) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if object::store_etag(answer.headers()) != found.store_etag {
        return Ok(None);
    }
    if object::content_length(answer.headers())? != stored.end - stored.start
        || (answer.status() != StatusCode::PARTIAL_CONTENT
            && stored.end - stored.start != found.stored_len)
    {
        return Err(Integrity::Truncated.into());
    }
    let raw = target.stream(answer, stored);
    let body = match (&found.content, part) {
        (Content::Sealed(sealed), Some(part)) => {
            first_verified(OpenBody::new(
                raw,
                plan(service, sealed, part, range.first(), range.length())?,
            ))
            .await?
        }
        _ => raw,
    };
    Ok(Some(partial(headers, body, range)))
}

fn partial(headers: HeaderMap, body: BoxBody, range: ByteRange) -> Response {
    Response {
        status: StatusCode::PARTIAL_CONTENT,
        headers,
        body,
        length: Some(range.length()),
    }
}

/// Waits for the first verified bytes, so that an object that fails at once still gets an error answer.
async fn first_verified(mut body: OpenBody<BoxBody>) -> Result<BoxBody, Error> {
    let first = body.frame().await.transpose().map_err(Error::from)?;
    Ok(pump::Prefixed::new(first.and_then(|frame| frame.into_data().ok()), body).boxed())
}

/// An object that is not sealed.
async fn plain(
    service: &Service,
    call: &Call,
    target: &Target<'_>,
    answer: store::Response,
    stored_len: u64,
) -> Result<Response, Error> {
    let stored_headers = answer.headers().clone();
    // Sealed bytes that lost their metadata must not pass for plaintext.
    let mut raw = target.stream(answer, 0..stored_len);
    let mut start = Vec::new();
    let mut rest = None;
    while start.len() < aead::PREAMBLE_MAGIC.len() {
        match raw
            .frame()
            .await
            .transpose()?
            .and_then(|frame| frame.into_data().ok())
        {
            Some(data) => {
                let need = (aead::PREAMBLE_MAGIC.len() - start.len()).min(data.len());
                start.extend_from_slice(&data[..need]);
                rest = Some(data.slice(need..)).filter(|rest| !rest.is_empty());
            }
            None => break,
        }
    }
    if aead::looks_like_preamble(&start) {
        return Err(Integrity::MetadataStripped.into());
    }
    let found = service
        .describe(target, stored_headers, stored_len, &[])
        .await?;
    check_conditions(call, &found)?;
    let headers = whole_headers(call, &found);
    let body = pump::Prefixed::new(rest, raw);
    let body = pump::Prefixed::new(
        Some(Bytes::from(start)).filter(|start| !start.is_empty()),
        body,
    )
    .boxed();
    Ok(Response {
        status: StatusCode::OK,
        headers,
        body,
        length: Some(stored_len),
    })
}

/// How to open a verified object.
pub fn plan(
    service: &Service,
    sealed: &Sealed,
    part: Part,
    start: u64,
    len: u64,
) -> Result<Plan, Error> {
    Ok(Plan {
        opener: sealed.opener(service.engine)?,
        layout: sealed.layout,
        part,
        header: sealed.footer.header,
        preamble_digest: sealed.footer.preamble_digest,
        footer: sealed.footer_bytes,
        start,
        len,
    })
}

fn archived() -> Error {
    Error::Store(store::StoreError::Status {
        status: StatusCode::FORBIDDEN,
        code: "InvalidObjectState".into(),
        message: String::new(),
        headers: Box::default(),
    })
}

/// A sealed object that has been read whole, as its plaintext.
///
/// # Errors
/// [`Error::Cipher`].
pub fn open_whole(
    service: &Service,
    sealed: &Sealed,
    stored: BoxBody,
) -> Result<OpenBody<BoxBody>, Error> {
    let len = sealed.footer.plaintext_len;
    Ok(OpenBody::new(
        stored,
        plan(service, sealed, Part::Whole, 0, len)?,
    ))
}

/// The plaintext of a range of an object that was found, to be written elsewhere; `None` where the object changed
/// meanwhile. The range is not empty and lies within the object.
///
/// # Errors
/// [`Error`].
pub async fn open_range(
    service: &Service,
    target: &Target<'_>,
    found: &Found,
    range: std::ops::Range<u64>,
) -> Result<Option<BoxBody>, Error> {
    let _ = (service, target, found, range);
    Err(Error::Internal("not merged yet"))
}
