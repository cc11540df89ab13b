//! AbortMultipartUpload: the store's upload goes first, then what was kept beside it.

use http::{HeaderName, Method, StatusCode};

use super::super::call::{Call, Response, Service};
use super::super::{Error, meta};
use super::staging::Staging;
use super::{is_over, upload_id};
use crate::store::Request;

/// Answers AbortMultipartUpload.
///
/// # Errors
/// [`Error::NoSuchUpload`] where it is over already, or the store's failure.
pub async fn abort(service: &Service, call: Call) -> Result<Response, Error> {
    let id = upload_id(&call)?;
    let staging = Staging::of(service, &call, id);
    let mut request = Request::object(Method::DELETE, &call.endpoint.bucket, &call.endpoint.key)
        .query("uploadId", id);
    request.headers = meta::read_settings(&call.headers);
    // Only the store knows when the upload began; one that does not know this condition does without, as S3 does for
    // general purpose buckets.
    let condition = HeaderName::from_static("x-amz-if-match-initiated-time");
    if let Some(value) = call.headers.get(&condition) {
        request.headers.insert(condition, value.clone());
    }
    let aborted = call.store.send("AbortMultipartUpload", request).await;
    service.uploads.forget(&staging);
    let headers = match aborted {
        Ok(answer) => {
            let headers = meta::common_response(answer.headers());
            let _ = call.store.document(answer).await;
            headers
        }
        // What an earlier try left must go all the same.
        Err(error) if is_over(&error) => {
            clean(&staging).await;
            return Err(Error::NoSuchUpload);
        }
        Err(error) => return Err(error.into()),
    };
    clean(&staging).await;
    Ok(Response::empty(StatusCode::NO_CONTENT, headers))
}

/// Removes what an upload that is over kept. What cannot be removed now is for `sealgate gc`.
pub async fn clean(staging: &Staging) {
    if let Err(error) = staging.remove().await {
        tracing::warn!(
            bucket = staging.bucket,
            prefix = staging.folder,
            %error,
            "temporary objects of an upload are left behind"
        );
    }
}
