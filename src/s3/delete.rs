//! DeleteObject and DeleteObjects. The latter asks the policy for each key.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
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
use crate::protocol::xml::{DeleteEntry, parse_delete};
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

/// Answers DeleteObject.
///
/// # Errors
/// [`Error`].
pub async fn delete(service: &Service, call: Call) -> Result<Response, Error> {
    for name in ["x-amz-if-match-last-modified-time", "x-amz-if-match-size"] {
        if call.headers.contains_key(name) {
            return Err(Error::NotImplemented("conditional delete by time or size"));
        }
    }
    let mut request = Request::object(Method::DELETE, &call.endpoint.bucket, &call.endpoint.key)
        .version(call.version());
    request.headers = settings(&call);
    if call.headers.contains_key(IF_MATCH) {
        let target = Target {
            store: &call.store,
            bucket: &call.endpoint.bucket,
            key: &call.endpoint.key,
            version: call.version(),
            headers: meta::read_settings(&call.headers),
        };
        let conditions = Conditions::from_headers(&call.headers);
        match put::current(service, &target).await? {
            Current::There(found)
                if conditions.evaluate_write(Some(found.current())) == Outcome::Proceed =>
            {
                set(&mut request.headers, IF_MATCH, &quoted(&found.store_etag));
            }
            Current::Absent => return Err(Error::NoSuchKey),
            Current::There(_) | Current::Unreadable => {
                return Err(Error::PreconditionFailed("If-Match"));
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
    for object in &wanted.objects {
        if object.conditional {
            error_entry(
                &mut result,
                object,
                "NotImplemented",
                "conditional deletes are not supported here",
            );
        } else if service.refuse_reserved(&object.key).is_ok()
            && call
                .permit
                .permits(&Need::object(Action::Delete, bucket, object.key.as_str()))
        {
            granted.push(object);
        } else {
            error_entry(&mut result, object, "AccessDenied", "Access Denied");
        }
    }
    let mut headers = HeaderMap::new();
    if !granted.is_empty() {
        let mut forwarded = Writer::new("Delete");
        for object in &granted {
            forwarded.open("Object");
            forwarded.text("Key", &object.key);
            if let Some(version) = &object.version {
                forwarded.text("VersionId", version);
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
