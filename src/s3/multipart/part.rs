//! UploadPart: a stream of its own for each attempt at a part, and a receipt for an ETag.

use http::header::{ETAG, HeaderName};
use http::{HeaderMap, Method, StatusCode};
use http_body_util::BodyExt;

use super::super::call::{Body, Call, EtagMode, Response, Service, set};
use super::super::object::{quoted, store_etag};
use super::super::{Error, meta};
use super::staging::Staging;
use super::state::{self, Upload};
use super::{MAX_NUMBER, MAX_PART, is_over, part_number, refused, upload_id};
use crate::aead::{PartNumber, SegmentSize, StreamHeader};
use crate::formats::receipt::{Place, Receipt};
use crate::formats::v1;
use crate::protocol::checksum::{Checksum, Expected, Hashes};
use crate::pump::{BoxBody, Capture, Failure, SealBody, Sealing, Verification, VerifyBody};
use crate::store::{Request, StoreError};
use crate::telemetry::metrics::{self, Direction, StreamGuard};

/// Answers UploadPart.
///
/// # Errors
/// [`Error`]; an earlier upload of the same part stands then.
pub async fn upload_part(service: &Service, mut call: Call) -> Result<Response, Error> {
    meta::refuse_customer_keys(&call.headers)?;
    let number = part_number(&call)?;
    let id = upload_id(&call)?.to_owned();
    let length = call.body.length.ok_or(Error::MissingContentLength)?;
    if length > MAX_PART {
        return Err(Error::EntityTooLarge(length));
    }
    let (staging, upload) = open(service, &call, &id, number, length).await?;
    let sent = call.body.expected.algorithm();
    match (upload.checksum, sent) {
        (Some(wanted), Some(sent)) if wanted.algorithm != sent => {
            return Err(Error::InvalidRequest(
                "Checksum Type mismatch occurred: the part has another checksum algorithm than the upload",
            ));
        }
        // The object's checksum is going to be made of those that the client vouches for.
        (Some(wanted), None) if wanted.composite => {
            return Err(Error::InvalidRequest(
                "Checksum Type mismatch occurred: the upload was created with checksums of its parts, and this one has none",
            ));
        }
        _ => {}
    }
    let body = std::mem::replace(
        &mut call.body,
        Body {
            stream: crate::pump::empty(),
            length: None,
            finished: Default::default(),
            expected: Expected::default(),
        },
    );
    let done = Sending {
        service,
        call: &call,
        staging: &staging,
        upload: &upload,
        number,
        length,
    }
    .send(body)
    .await?;
    let mut headers = done.headers;
    set(&mut headers, ETAG, &quoted(&done.etag));
    if let Some(checksum) = done.checksum {
        set(
            &mut headers,
            HeaderName::from_static(checksum.algorithm().header()),
            &checksum.to_base64(),
        );
    }
    Ok(Response::empty(StatusCode::OK, headers))
}

/// Whether a part has to wait as a temporary object: the store takes it as the last one only, or it has the last number,
/// behind which there is no room for the footer.
pub fn is_held(service: &Service, number: PartNumber, length: u64) -> bool {
    length < service.min_part || number.get() == MAX_NUMBER
}

/// Where the upload keeps things, and the upload. One that is over is found out here where the store would not
/// tell, since a held part is none of its uploads.
///
/// # Errors
/// [`Error::NoSuchUpload`], and what can be wrong with the state.
pub async fn open(
    service: &Service,
    call: &Call,
    id: &str,
    number: PartNumber,
    length: u64,
) -> Result<(Staging, std::sync::Arc<Upload>), Error> {
    let staging = Staging::of(service, call, id);
    let upload = if is_held(service, number, length) {
        state::load_now(service, call, &staging, id).await?
    } else {
        state::load(service, call, &staging, id).await?
    };
    Ok((staging, upload))
}

/// One part on its way.
pub struct Sending<'a> {
    /// Shared parts.
    pub service: &'a Service,
    /// The request.
    pub call: &'a Call,
    /// Where temporary objects go.
    pub staging: &'a Staging,
    /// The upload.
    pub upload: &'a Upload,
    /// Part number.
    pub number: PartNumber,
    /// Plaintext bytes.
    pub length: u64,
}

/// A part that arrived.
pub struct Sent {
    /// The store's answer headers that a client may see.
    pub headers: HeaderMap,
    /// The receipt.
    pub etag: String,
    /// The checksum that came with it, or else the one that was computed, if any.
    pub checksum: Option<Checksum>,
}

impl Sending<'_> {
    /// Seals the body and sends it.
    ///
    /// # Errors
    /// [`Error`]; the store has discarded what it got.
    pub async fn send(&self, body: Body) -> Result<Sent, Error> {
        let Self {
            service,
            call,
            staging,
            upload,
            number,
            length,
        } = self;
        let endpoint = &call.endpoint;
        let _stream = StreamGuard::new(Direction::In);
        metrics::object_size(Direction::In, *length);
        let finished = body.finished.clone();
        // The checksum of the whole object is made of the parts', so each part has one.
        let settings = (service.settings)(&endpoint.bucket);
        let of_object = upload
            .checksum
            .map(|wanted| wanted.algorithm)
            .or(settings.default_checksum);
        let sent = body.expected.algorithm();
        let missing = of_object.filter(|_| sent != of_object);
        let verified = VerifyBody::new(
            body.stream,
            Verification {
                decoder: None,
                hashes: Hashes::new(false, false, missing),
                expected: Expected::default(),
                length: Some(*length),
            },
        );
        let also = verified.finished();
        let header = self.fresh_header()?;
        let sealing = Sealing {
            engine: service.engine,
            dek: upload.dek.clone(),
            object_id: upload.object_id,
            segment_size: SegmentSize::GATEWAY,
            plaintext_len: *length,
            envelope: upload.envelope.clone(),
            header,
            footer_nonce: [0; 12],
        };
        let sealed = SealBody::part(sealing, *number, verified)?;
        let failure = Failure::default();
        let body: BoxBody = Capture::new(sealed, failure.clone()).boxed();
        let held = is_held(service, *number, *length);
        let (store, mut request) = if held {
            let key = staging.part_key(*number);
            let request = Request::object(Method::PUT, &staging.bucket, &key);
            (staging.holder(upload), request)
        } else {
            let request = Request::object(Method::PUT, &endpoint.bucket, &endpoint.key)
                .query("partNumber", &number.get().to_string())
                .query("uploadId", &upload.id);
            (&call.store, request)
        };
        if !held {
            request.headers = meta::read_settings(&call.headers);
        }
        let operation = if held { "HoldPart" } else { "UploadPart" };
        let answer = match store.send(operation, request.body(body)).await {
            Ok(answer) => answer,
            // The body's own failure is the reason; what HTTP made of it is a consequence.
            Err(error) => {
                if is_over(&error) {
                    service.uploads.forget(staging);
                }
                let failure = failure.take().map(Error::Body);
                return Err(failure.unwrap_or_else(|| refused(error)));
            }
        };
        let store_headers = answer.headers().clone();
        // Reads the (empty) answer, so that the connection can be used again.
        let _ = store.document(answer).await;
        if let Some(error) = failure.take() {
            return Err(error.into());
        }
        let early = StoreError::Malformed("store answered before the body had ended");
        let (Some(digests), Some(also)) = (finished.digests(), also.digests()) else {
            return Err(early.into());
        };
        let md5_shown = settings.etag == EtagMode::Md5;
        let receipt = Receipt {
            held,
            plaintext_len: *length,
            header,
            md5: digests.md5.filter(|_| md5_shown),
            checksum: [digests.checksum, also.checksum]
                .into_iter()
                .flatten()
                .find(|value| Some(value.algorithm()) == of_object)
                .as_ref()
                .and_then(v1::footer_checksum),
            store_etag: store_etag(&store_headers),
        };
        let place = Place {
            bucket: &endpoint.bucket,
            key: &endpoint.key,
            upload_id: &upload.id,
            number: *number,
        };
        let etag = receipt
            .seal(&upload.dek, &upload.object_id, place)
            .map_err(|_| StoreError::Malformed("part has no usable ETag"))?;
        // A long part takes the place of a short one of its number; where another gateway held that, the dates tell.
        if upload.note_held(*number, held) && !held {
            let key = staging.part_key(*number);
            let request = || Request::object(Method::DELETE, &staging.bucket, &key);
            match staging.send("DeleteTemporary", request).await {
                Ok((store, answer)) => drop(store.document(answer).await),
                Err(error) => tracing::debug!(%error, "a held part is left beside a longer one"),
            }
        }
        // What the store says of a temporary object is not about the client's part.
        let headers = if held {
            HeaderMap::new()
        } else {
            meta::common_response(&store_headers)
        };
        Ok(Sent {
            headers,
            etag,
            checksum: digests.checksum.or(also.checksum),
        })
    }

    fn fresh_header(&self) -> Result<StreamHeader, Error> {
        Ok(self.service.fresh()?.header)
    }
}
