//! CreateMultipartUpload: data key and envelope are made here, and every part of the upload uses them.

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::super::call::{Call, Response, Service, set};
use super::super::xml::{Writer, drain};
use super::super::{Error, meta};
use super::staging::Staging;
use super::state::{self, Upload, Wanted};
use crate::envelope::{self, Info};
use crate::formats::v1;
use crate::pump;
use crate::store::Request;

/// Answers CreateMultipartUpload.
///
/// # Errors
/// [`Error`]; no upload is left behind then, as far as the store can be reached.
pub async fn create(service: &Service, mut call: Call) -> Result<Response, Error> {
    drain(std::mem::replace(&mut call.body.stream, pump::empty())).await?;
    let settings = (service.settings)(&call.endpoint.bucket);
    let content = meta::content_from_request(&call.headers, settings.formats.as_deref())?;
    let mut headers = HeaderMap::new();
    meta::write_settings(&call.headers, &mut headers)?;
    let checksum = Wanted::parse(
        call.header("x-amz-checksum-algorithm"),
        call.header("x-amz-checksum-type"),
    )?;
    let fresh = service.fresh()?;
    let info = Info {
        plaintext_len: None,
        md5: None,
        metadata_digest: settings.bind_metadata.then(|| v1::bound_digest(&content)),
    };
    let record = envelope::seal_record(
        &service.keyring,
        &settings.recipients,
        &fresh.dek,
        fresh.object_id,
        &settings.bound_as,
        &call.endpoint.key,
        &info,
    )
    .await?;
    headers.extend(content);
    meta::set_record(&mut headers, &record);
    let mut request = Request::object(Method::POST, &call.endpoint.bucket, &call.endpoint.key)
        .query("uploads", "");
    request.headers = headers;
    let answer = call.store.send("CreateMultipartUpload", request).await?;
    let mut headers = meta::common_response(answer.headers());
    let document = call.store.document(answer).await?;
    let id = super::xml::parse_created(&document)?;

    let staging = Staging::of(service, &call, &id);
    let now = u64::try_from((service.now)()).unwrap_or_default();
    let own = match state::write(service, &call, &staging, &id, &record, checksum, now).await {
        Ok(own) => own,
        Err(error) => {
            // Nobody will ever name this upload.
            let request =
                Request::object(Method::DELETE, &call.endpoint.bucket, &call.endpoint.key)
                    .query("uploadId", &id);
            if let Err(error) = call.store.send("AbortMultipartUpload", request).await {
                tracing::warn!(%error, "an upload without state is left at the store");
            }
            return Err(error);
        }
    };
    service.uploads.learn(
        &staging,
        Upload {
            id: id.clone(),
            dek: fresh.dek,
            object_id: fresh.object_id,
            envelope: record.envelope,
            checksum,
            own,
            held: Default::default(),
        },
    );
    if let Some(wanted) = checksum {
        set(
            &mut headers,
            HeaderName::from_static("x-amz-checksum-algorithm"),
            wanted.algorithm.name(),
        );
        headers.insert(
            "x-amz-checksum-type",
            HeaderValue::from_static(wanted.type_name()),
        );
    }
    let mut xml = Writer::new("InitiateMultipartUploadResult");
    xml.text("Bucket", &call.endpoint.bucket);
    xml.text("Key", &call.endpoint.key);
    xml.text("UploadId", &id);
    Ok(Response::xml(StatusCode::OK, headers, xml.finish()))
}
