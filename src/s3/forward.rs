//! Requests that carry settings and no object data: re-signed and passed on. Only what
//! [`super::route`] lists gets here.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName};
use http::{Method, StatusCode};
use md5::{Digest, Md5};

use super::call::{Call, Response, Service, set_length};
use super::multipart::empty_of_temporary;
use super::route::Kind;
use super::{Error, meta, xml};
use crate::protocol::uri::Query;
use crate::pump;
use crate::store::Request;

/// Passes a request on and its answer back.
///
/// # Errors
/// [`Error`].
pub async fn forward(service: &Service, mut call: Call) -> Result<Response, Error> {
    meta::refuse_customer_keys(&call.headers)?;
    let body = std::mem::replace(&mut call.body.stream, pump::empty());
    let document = match call.body.length {
        Some(0) | None => xml::drain(body).await?,
        Some(_) => xml::read_document(body, service.max_document).await?,
    };
    let endpoint = &call.endpoint;
    let operation = endpoint.kind.name();
    let mut request = match endpoint.kind {
        Kind::ObjectSetting(_) => {
            Request::object(call.method.clone(), &endpoint.bucket, &endpoint.key)
        }
        _ => Request::bucket(call.method.clone(), &endpoint.bucket),
    };
    request.query = unsigned(&call.query);
    for (name, value) in &call.headers {
        if passes(name) {
            request.headers.append(name.clone(), value.clone());
        }
    }
    if matches!(call.method, Method::PUT | Method::POST) {
        if !document.is_empty() {
            // The body may have come with a checksum as trailer; the store gets it as a header.
            let digest = BASE64_STANDARD.encode(Md5::digest(&document));
            super::call::set(
                &mut request.headers,
                HeaderName::from_static("content-md5"),
                &digest,
            );
        }
        request = request.body(pump::full(document));
    }
    let answer = match call.store.send(operation, request).await {
        // What a client sees as empty is to be deleted, though parts of uploads may wait in it.
        Err(error)
            if endpoint.kind == Kind::DeleteBucket
                && error.code() == "BucketNotEmpty"
                && empty_of_temporary(service, &call.store, &endpoint.bucket).await? =>
        {
            let request = Request::bucket(Method::DELETE, &endpoint.bucket);
            call.store.send(operation, request).await?
        }
        answer => answer?,
    };
    let status = answer.status();
    let mut headers = meta::common_response(answer.headers());
    if let Some(region) = answer.headers().get("x-amz-bucket-region") {
        headers.insert("x-amz-bucket-region", region.clone());
    }
    if call.method == Method::HEAD {
        set_length(&mut headers, 0);
        return Ok(Response {
            status,
            headers,
            body: pump::empty(),
            length: None,
        });
    }
    if let Some(kind) = answer.headers().get(CONTENT_TYPE) {
        headers.insert(CONTENT_TYPE, kind.clone());
    }
    if endpoint.kind == Kind::CreateBucket {
        let location = format!("/{}", endpoint.bucket);
        super::call::set(&mut headers, http::header::LOCATION, &location);
    }
    if status == StatusCode::NO_CONTENT {
        return Ok(Response::empty(status, headers));
    }
    let document: Bytes = call.store.document(answer).await?;
    let length = document.len() as u64;
    headers.remove(CONTENT_LENGTH);
    if length == 0 {
        headers.remove(CONTENT_TYPE);
    }
    Ok(Response {
        status,
        headers,
        body: pump::full(document),
        length: Some(length),
    })
}

/// The query without what signed it.
fn unsigned(query: &Query) -> Query {
    let mut query = query.clone();
    query.retain(|name| {
        let lower = name.to_ascii_lowercase();
        !(lower.starts_with("x-amz-") && lower != "x-amz-bypass-governance-retention")
            && lower != "x-id"
    });
    query
}

/// Request headers that go on with settings.
fn passes(name: &HeaderName) -> bool {
    let name = name.as_str();
    if name.starts_with("x-amz-meta-") {
        return false;
    }
    if let Some(rest) = name.strip_prefix("x-amz-") {
        return !matches!(
            rest,
            "date"
                | "sdk-checksum-algorithm"
                | "content-sha256"
                | "security-token"
                | "decoded-content-length"
                | "trailer"
                | "user-agent"
        ) && !rest.starts_with("copy-source");
    }
    matches!(
        name,
        "content-type" | "content-md5" | "if-match" | "if-none-match"
    )
}
