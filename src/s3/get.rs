//! GetObject: whole objects and ranges, verified segment by segment.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_RANGE, RANGE};
use http::{HeaderMap, HeaderName, Method, StatusCode};
use http_body_util::BodyExt;

use super::call::{BucketSettings, Call, Response, Service, set};
use super::facts::FactKey;
use super::object::{self, Content, Found, MIN_STORED, Target, quoted};
use super::parts::{self, Chosen, LONG_TAIL};
use super::{Error, meta, tails, whole};
use crate::aead::{self, FOOTER_LEN, PREAMBLE_LEN, PartEntry, PartNumber, SegmentSize};
use crate::envelope::CONTENT_HEADERS;
use crate::formats::{Claim, Integrity};
use crate::protocol::conditions::{self, Conditions, Outcome};
use crate::protocol::range::{ByteRange, RangeSpec};
use crate::pump::{self, BoxBody, OpenBody};
use crate::store;

/// Objects up to this stored length are read whole and verified before the answer begins.
const SMALL: u64 = PREAMBLE_LEN as u64 + SegmentSize::GATEWAY.get() as u64 + FOOTER_LEN as u64;

/// How often an object that changes between two requests is followed. An object that is overwritten without pause
/// changes in one of two or three, and S3 never refuses to read it.
const ATTEMPTS: usize = 16;

/// What of an object a client wants that does not want all of it.
#[derive(Clone, Copy)]
enum Wanted {
    Range(RangeSpec),
    Part(PartNumber),
}

/// Answers GetObject.
///
/// # Errors
/// [`Error`].
pub async fn get(service: &Service, call: Call) -> Result<Response, Error> {
    meta::check_read(&call.headers)?;
    let target = Target {
        store: &call.store,
        bucket: &call.endpoint.bucket,
        key: &call.endpoint.key,
        version: call.version(),
        headers: meta::read_settings(&call.headers),
    };
    let wanted = match parts::part_number(&call)? {
        Some(number) => Some(Wanted::Part(number)),
        None => call
            .header(RANGE)
            .and_then(RangeSpec::parse)
            .map(Wanted::Range),
    };
    for _ in 0..ATTEMPTS {
        let answer = match wanted {
            Some(wanted) => Box::pin(partial(service, &call, &target, wanted)).await?,
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
    let conditions = Conditions::from_headers(&call.headers);
    if conditions.is_empty() {
        return Ok(());
    }
    match conditions.evaluate_read(found.current()) {
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
    if parts::checksum_wanted(call)
        && let Content::Sealed(sealed) = &found.content
    {
        parts::set_checksum(&mut headers, sealed);
    }
    overrides(call, &mut headers);
    headers
}

/// `response-content-type` and its kin. They are applied here, not at the store: there they would
/// change headers that are bound.
pub fn overrides(call: &Call, headers: &mut HeaderMap) {
    if call.query.is_empty() {
        return;
    }
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
    let settings = (service.settings)(target.bucket);
    // How many of the last bytes to ask for.
    let claim = service.claim(target, &settings, &headers)?;
    let last = match &claim {
        Claim::Nothing => {
            let answer = Box::pin(plain(service, call, target, answer, stored_len)).await?;
            return Ok(Some(answer));
        }
        Claim::Sealed(_) if stored_len < MIN_STORED => return Err(Integrity::Length.into()),
        Claim::Sealed(record) => parts::tail_len(record, stored_len),
        Claim::Foreign(..) => (FOOTER_LEN as u64).min(stored_len),
    };
    if stored_len <= SMALL {
        let bytes = object::read_exactly(target, answer, 0..stored_len).await?;
        let mut found = service
            .describe_claimed(target, &settings, claim, headers, stored_len, &bytes)
            .await?;
        check_conditions(call, &found)?;
        let headers = whole_headers(call, &found);
        if whole::needed(&settings, &found) {
            let bytes = pump::full(bytes);
            return Box::pin(checked(service, target, &mut found, headers, bytes)).await;
        }
        let Content::Sealed(sealed) = &found.content else {
            return Err(Integrity::Length.into());
        };
        let plan = sealed.plan(service.engine)?;
        let plaintext = pump::at_once(OpenBody::new(pump::ready(bytes), plan))?;
        return Ok(Some(Response {
            status: StatusCode::OK,
            headers,
            body: pump::full(plaintext),
            length: Some(found.len),
        }));
    }
    let length = Lengths { stored_len, last };
    Box::pin(long(
        service, call, target, &settings, answer, headers, claim, length,
    ))
    .await
}

/// Lengths of an object that is too long to be taken in.
struct Lengths {
    /// All of it.
    stored_len: u64,
    /// How many of the last bytes to ask for.
    last: u64,
}

/// A whole object that is too long to be taken in; `None` where it changed between two requests.
#[expect(
    clippy::too_many_arguments,
    reason = "one step of `whole`, apart for the size of its future"
)]
async fn long(
    service: &Service,
    call: &Call,
    target: &Target<'_>,
    settings: &Arc<BucketSettings>,
    answer: store::Response,
    headers: HeaderMap,
    claim: Claim,
    Lengths { stored_len, last }: Lengths,
) -> Result<Option<Response>, Error> {
    // The footer comes side by side with the beginning of the body, which waits in the connection.
    let store_etag = object::store_etag(&headers);
    let suffix = target
        .request(Method::GET)
        .header("range", &format!("bytes=-{last}"))
        .header("if-match", &quoted(&store_etag));
    let tail = match target.store.send("GetFooter", suffix).await {
        Ok(answer) if object::store_etag(answer.headers()) != store_etag => return Ok(None),
        Ok(answer) if answer.status() != StatusCode::PARTIAL_CONTENT => {
            return Err(store::StoreError::Malformed("suffix range was ignored").into());
        }
        Ok(answer) => object::read_exactly(target, answer, stored_len - last..stored_len).await?,
        Err(error) if error.status() == Some(StatusCode::PRECONDITION_FAILED) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut found = service
        .describe_claimed(target, settings, claim, headers, stored_len, &tail)
        .await?;
    drop(tail);
    check_conditions(call, &found)?;
    let headers = whole_headers(call, &found);
    if whole::needed(settings, &found) {
        let body = target.stream(answer, 0..stored_len);
        return checked(service, target, &mut found, headers, body).await;
    }
    if !parts::read_table(target, &mut found).await? {
        return Ok(None);
    }
    let Content::Sealed(sealed) = found.content else {
        return Err(Integrity::Length.into());
    };
    let plan = sealed.plan(service.engine)?;
    let body = first_verified(OpenBody::new(target.stream(answer, 0..stored_len), plan)).await?;
    Ok(Some(Response {
        status: StatusCode::OK,
        headers,
        body,
        length: Some(found.len),
    }))
}

/// All of an object that is checked as a whole before it is answered; `None` where it changed between two requests.
async fn checked(
    service: &Service,
    target: &Target<'_>,
    found: &mut Found,
    headers: HeaderMap,
    stored: BoxBody,
) -> Result<Option<Response>, Error> {
    if !parts::read_table(target, found).await? {
        return Ok(None);
    }
    let Some(whole) = whole::check(service, target, found, Some(stored)).await? else {
        return Ok(None);
    };
    let body = whole.open(service, target, found, 0..found.len).await?;
    Ok(body.map(|(body, _)| Response {
        status: StatusCode::OK,
        headers,
        body,
        length: Some(found.len),
    }))
}

/// A part of the object; `None` where it changed between two requests.
async fn partial(
    service: &Service,
    call: &Call,
    target: &Target<'_>,
    wanted: Wanted,
) -> Result<Option<Response>, Error> {
    if let Wanted::Range(spec) = wanted
        && let Some(answer) = tails::range(service, call, target, spec).await
    {
        return Ok(Some(answer));
    }
    let mut found = service.find_and_keep(target, LONG_TAIL).await?;
    check_conditions(call, &found)?;
    let spec = match wanted {
        Wanted::Range(spec) => spec,
        Wanted::Part(number) => return part(service, call, target, found, number).await,
    };
    if call
        .header("if-range")
        .is_some_and(|value| !conditions::if_range_holds(value, found.current()))
    {
        return whole(service, call, target).await;
    }
    let range = spec
        .resolve(found.len)
        .map_err(|e| Error::InvalidRange(e.total))?;
    let Some(range) = range else {
        return whole(service, call, target).await;
    };
    let plaintext = range.first()..range.last() + 1;
    let Some((body, _)) = slice(service, target, &mut found, plaintext).await? else {
        return Ok(None);
    };
    Ok(Some(ranged(call, &found, &range, body)))
}

/// The answer that carries a range.
pub fn ranged(call: &Call, found: &Found, range: &ByteRange, body: BoxBody) -> Response {
    let mut headers = found.response_headers();
    overrides(call, &mut headers);
    set(&mut headers, CONTENT_RANGE, &range.content_range());
    Response {
        status: StatusCode::PARTIAL_CONTENT,
        headers,
        body,
        length: Some(range.length()),
    }
}

/// The part with a number; `None` where the object changed between two requests.
async fn part(
    service: &Service,
    call: &Call,
    target: &Target<'_>,
    mut found: Found,
    number: PartNumber,
) -> Result<Option<Response>, Error> {
    let mut chosen = match parts::choose(&found, number)? {
        Some(chosen) => chosen,
        None => match choose_by_table(target, &mut found, number).await? {
            Some(chosen) => chosen,
            None => return Ok(None),
        },
    };
    let body = loop {
        let plaintext = chosen.plaintext.clone();
        let Some((body, first)) = slice(service, target, &mut found, plaintext).await? else {
            return Ok(None);
        };
        match (chosen.count, chosen.entry, first) {
            // The guess was wrong: the numbers have gaps.
            (Some(_), None, Some(entry)) if entry.number != number => {
                chosen = match choose_by_table(target, &mut found, number).await? {
                    Some(chosen) => chosen,
                    None => return Ok(None),
                };
            }
            (_, _, first) => {
                chosen.entry = chosen.entry.or(first);
                break body;
            }
        }
    };
    let mut headers = found.response_headers();
    let status = parts::set_part(call, &mut headers, &found, &chosen);
    overrides(call, &mut headers);
    Ok(Some(Response {
        status,
        headers,
        body,
        length: Some(chosen.plaintext.end - chosen.plaintext.start),
    }))
}

/// Finds a part by the whole table; `None` where the object changed between two requests.
pub async fn choose_by_table(
    target: &Target<'_>,
    found: &mut Found,
    number: PartNumber,
) -> Result<Option<Chosen>, Error> {
    if !parts::read_table(target, found).await? {
        return Ok(None);
    }
    parts::choose(found, number)
}

/// A body of plaintext, and the entry of the first part that it comes from, unless it is empty; `None` where
/// the object changed between two requests.
///
/// # Errors
/// [`Error`].
pub async fn slice(
    service: &Service,
    target: &Target<'_>,
    found: &mut Found,
    plaintext: std::ops::Range<u64>,
) -> Result<Option<(BoxBody, Option<PartEntry>)>, Error> {
    let settings = (service.settings)(target.bucket);
    if whole::needed(&settings, found) {
        if !parts::read_table(target, found).await? {
            return Ok(None);
        }
        let key = FactKey {
            bucket: target.bucket.to_owned(),
            key: target.key.to_owned(),
            store_etag: found.store_etag.clone(),
            stored_len: found.stored_len,
        };
        let check = whole::check(service, target, found, None);
        return match service.kept.get(key, check).await? {
            Some(whole) => whole.open(service, target, found, plaintext).await,
            None => Ok(None),
        };
    }
    if plaintext.is_empty() {
        return Ok(Some((pump::empty(), None)));
    }
    // Where parts differ, only the table tells where they begin.
    if let Content::Sealed(sealed) = &found.content
        && sealed.place(plaintext.clone()).is_none()
        && !parts::read_table(target, found).await?
    {
        return Ok(None);
    }
    let found = &*found;
    let sealed = match &found.content {
        Content::Sealed(sealed) => sealed,
        Content::SealedUnread => return Err(object::archived()),
        Content::Foreign(_) => return Err(Integrity::Legacy.into()),
        Content::Plain => {
            let answer = object::range(target, found, "GetSegments", &plaintext).await?;
            return Ok(answer.map(|answer| (target.stream(answer, plaintext), None)));
        }
    };
    let place = sealed.place(plaintext).ok_or(Integrity::PartTable)?;
    let (answer, entries) = futures::future::try_join(
        object::range(target, found, "GetSegments", &place.stored),
        parts::entries(target, found, sealed, &place),
    )
    .await?;
    let (Some(answer), Some(entries)) = (answer, entries) else {
        return Ok(None);
    };
    let plan = sealed.plan_range(service.engine, &place, &entries)?;
    let body = first_verified(OpenBody::new(
        target.stream(answer, place.stored.clone()),
        plan,
    ))
    .await?;
    Ok(Some((body, entries.first().copied())))
}

/// Waits for the first verified bytes, so that an object that fails at once still gets an error answer.
///
/// # Errors
/// Why they did not verify.
pub async fn first_verified(mut body: OpenBody<BoxBody>) -> Result<BoxBody, Error> {
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
