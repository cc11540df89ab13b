//! DeleteObject and DeleteObjects. The latter asks the policy for each key.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures::StreamExt;
use futures::stream::FuturesOrdered;
use http::header::{HeaderName, HeaderValue, IF_MATCH};
use http::{HeaderMap, Method, StatusCode};
use md5::{Digest, Md5};

use super::call::{Call, Response, Service, set};
use super::object::{Target, quoted};
use super::put::{self, Current};
use super::xml::{self, Writer};
use super::{Error, meta};
use crate::policy::{Action, Need};
use crate::protocol::conditions::{Conditions, Outcome};
use crate::protocol::date;
use crate::protocol::xml::{DeleteConditions, DeleteEntry, parse_delete};
use crate::pump;
use crate::store::Request;

/// Headers that go on with a delete.
fn settings(call: &Call) -> HeaderMap {
    let mut headers = meta::read_settings(&call.headers);
    for name in ["x-amz-mfa", "x-amz-bypass-governance-retention"] {
        if let Some(value) = call.headers.get(name) {
            headers.insert(HeaderName::from_static(name), value.clone());
        }
    }
    headers
}

/// Header names of the conditions of a delete, beside `If-Match`.
const IF_TIME: HeaderName = HeaderName::from_static("x-amz-if-match-last-modified-time");
const IF_SIZE: HeaderName = HeaderName::from_static("x-amz-if-match-size");

/// The conditions of a DeleteObject.
fn conditions(headers: &HeaderMap) -> Result<DeleteConditions, Error> {
    let text = |name: &HeaderName| {
        headers.get(name).map(|value| {
            value.to_str().map_err(|_| Error::InvalidArgument {
                name: "If-Match",
                problem: "a condition is not text",
            })
        })
    };
    let size = text(&IF_SIZE).transpose()?.map(|size| {
        size.trim().parse().map_err(|_| Error::InvalidArgument {
            name: "x-amz-if-match-size",
            problem: "the value must be a number of bytes",
        })
    });
    Ok(DeleteConditions {
        etag: text(&IF_MATCH).transpose()?.map(str::to_owned),
        last_modified: text(&IF_TIME).transpose()?.map(str::to_owned),
        size: size.transpose()?,
    })
}

/// Turns conditions on what clients see into conditions on what the store holds, so that it is the store that deletes
/// that object or none. Where nothing is there they stay as they are: what becomes of them then is the store's to say.
///
/// # Errors
/// [`Error::PreconditionFailed`], and why the object cannot be looked at.
async fn translated(
    service: &Service,
    target: &Target<'_>,
    wanted: &DeleteConditions,
) -> Result<DeleteConditions, Error> {
    let refused = || Error::PreconditionFailed("If-Match");
    let any = wanted.etag.as_deref().is_none_or(|etag| etag.trim() == "*");
    let found = match put::current(service, target).await {
        Ok(Current::There(found)) => found,
        Ok(Current::Absent) => return Ok(wanted.clone()),
        Ok(Current::Unreadable) if any && wanted.size.is_none() => return Ok(wanted.clone()),
        Ok(Current::Unreadable) => return Err(refused()),
        // A version that is a delete marker.
        Err(Error::Store(error)) if error.status() == Some(StatusCode::METHOD_NOT_ALLOWED) => {
            return Ok(wanted.clone());
        }
        Err(error) => return Err(error),
    };
    let current = found.current();
    if !any {
        let mut header = HeaderMap::new();
        set(
            &mut header,
            IF_MATCH,
            wanted.etag.as_deref().unwrap_or_default(),
        );
        let etag = Conditions::from_headers(&header);
        if !etag.requires_match() || etag.evaluate_write(Some(current)) != Outcome::Proceed {
            return Err(refused());
        }
    }
    if wanted.size.is_some_and(|size| size != found.len) {
        return Err(refused());
    }
    let time = wanted.last_modified.as_deref().map(str::trim);
    let time = time.map(|time| date::parse_http_date(time).or_else(|_| date::parse_iso8601(time)));
    if matches!(time, Some(Ok(time)) if time != current.last_modified) {
        return Err(refused());
    }
    Ok(DeleteConditions {
        etag: Some(quoted(&found.store_etag)),
        last_modified: wanted.last_modified.clone(),
        size: None,
    })
}

/// Answers DeleteObject.
///
/// # Errors
/// [`Error`].
pub async fn delete(service: &Service, call: Call) -> Result<Response, Error> {
    let mut request = Request::object(Method::DELETE, &call.endpoint.bucket, &call.endpoint.key)
        .version(call.version());
    request.headers = settings(&call);
    let wanted = conditions(&call.headers)?;
    if wanted != DeleteConditions::default() {
        let target = Target {
            store: &call.store,
            bucket: &call.endpoint.bucket,
            key: &call.endpoint.key,
            version: call.version(),
            headers: meta::read_settings(&call.headers),
        };
        let wanted = translated(service, &target, &wanted).await?;
        for (name, value) in [
            (IF_MATCH, wanted.etag),
            (IF_TIME, wanted.last_modified),
            (IF_SIZE, wanted.size.map(|size| size.to_string())),
        ] {
            if let Some(value) = value {
                set(&mut request.headers, name, &value);
            }
        }
    }
    let answer = call.store.send("DeleteObject", request).await?;
    let headers = meta::common_response(answer.headers());
    let _ = call.store.document(answer).await;
    Ok(Response::empty(StatusCode::NO_CONTENT, headers))
}

/// Answers DeleteObjects. Keys that the user may not delete are reported, and not sent on.
///
/// # Errors
/// [`Error`].
pub async fn delete_many(service: &Service, mut call: Call) -> Result<Response, Error> {
    if call.body.expected.md5().is_none()
        && call.body.expected.algorithm().is_none()
        && !call.headers.contains_key("x-amz-content-sha256")
    {
        return Err(Error::InvalidRequest(
            "a Content-MD5 or x-amz-checksum header is required",
        ));
    }
    let body = std::mem::replace(&mut call.body.stream, pump::empty());
    let document = xml::read_document(body, service.max_document).await?;
    let wanted = parse_delete(&document)?;
    let bucket = call.endpoint.bucket.as_str();

    let mut result = Writer::new("DeleteResult");
    let mut granted = Vec::new();
    let mut looks = FuturesOrdered::new();
    let mut waiting = wanted.objects.iter();
    loop {
        while looks.len() < service.list_concurrency.max(1)
            && let Some(object) = waiting.next()
        {
            let call = &call;
            looks.push_back(async move { (object, permitted(service, call, object).await) });
        }
        match looks.next().await {
            Some((object, Ok(conditions))) => granted.push((object, conditions)),
            Some((object, Err(Error::Denied(_) | Error::ReservedKey))) => {
                error_entry(&mut result, object, "AccessDenied", "Access Denied");
            }
            Some((object, Err(Error::PreconditionFailed(_)))) => error_entry(
                &mut result,
                object,
                "PreconditionFailed",
                "At least one of the pre-conditions you specified did not hold",
            ),
            Some((_, Err(error))) => return Err(error),
            None => break,
        }
    }
    drop(looks);
    let mut headers = HeaderMap::new();
    if !granted.is_empty() {
        let mut forwarded = Writer::new("Delete");
        for (object, conditions) in &granted {
            forwarded.open("Object");
            forwarded.text("Key", &object.key);
            for (name, value) in [
                ("VersionId", &object.version),
                ("ETag", &conditions.etag),
                ("LastModifiedTime", &conditions.last_modified),
                ("Size", &conditions.size.map(|size| size.to_string())),
            ] {
                if let Some(value) = value {
                    forwarded.text(name, value);
                }
            }
            forwarded.close("Object");
        }
        if wanted.quiet {
            forwarded.text("Quiet", "true");
        }
        let forwarded = forwarded.finish();
        let mut request = Request::bucket(Method::POST, bucket).query("delete", "");
        request.headers = settings(&call);
        let digest = BASE64_STANDARD.encode(Md5::digest(&forwarded));
        set(
            &mut request.headers,
            HeaderName::from_static("content-md5"),
            &digest,
        );
        request.headers.insert(
            http::header::CONTENT_TYPE,
            HeaderValue::from_static("application/xml"),
        );
        let answer = call
            .store
            .send("DeleteObjects", request.body(pump::full(forwarded)))
            .await?;
        headers = meta::common_response(answer.headers());
        let document = call.store.document(answer).await?;
        xml::copy_delete_result(&document, &mut result)?;
    }
    Ok(Response::xml(StatusCode::OK, headers, result.finish()))
}

/// Whether one of many may be deleted, and on which conditions at the store.
async fn permitted(
    service: &Service,
    call: &Call,
    object: &DeleteEntry,
) -> Result<DeleteConditions, Error> {
    let bucket = call.endpoint.bucket.as_str();
    service.refuse_reserved(&object.key)?;
    call.permit
        .check(&Need::object(Action::Delete, bucket, object.key.as_str()))?;
    if object.conditions == DeleteConditions::default() {
        return Ok(DeleteConditions::default());
    }
    let target = Target {
        store: &call.store,
        bucket,
        key: &object.key,
        version: object.version.as_deref(),
        headers: meta::read_settings(&call.headers),
    };
    translated(service, &target, &object.conditions).await
}

fn error_entry(result: &mut Writer, object: &DeleteEntry, code: &str, message: &str) {
    result.open("Error");
    result.text("Key", &object.key);
    if let Some(version) = &object.version {
        result.text("VersionId", version);
    }
    result.text("Code", code);
    result.text("Message", message);
    result.close("Error");
}
