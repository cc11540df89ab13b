//! PutObject: seal while it streams; complete at the store only where everything declared held.

use bytes::Bytes;
use http::header::{ETAG, IF_MATCH, IF_NONE_MATCH};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt;

use super::call::{Body, BucketSettings, Call, EtagMode, Response, Service, set};
use super::facts::{ChecksumKind, Fact, FactTag};
use super::object::{self, Target, quoted, shown_etag};
use super::{Error, meta};
use crate::aead::{ChecksumType, Etag, SegmentSize};
use crate::envelope::{self, Info};
use crate::formats::v1;
use crate::protocol::checksum::Checksum;
use crate::protocol::conditions::{Conditions, Outcome};
use crate::pump::{self, BodyError, BoxBody, Capture, Failure, FooterSource, SealBody, Sealing};
use crate::store::{Store, StoreError};
use crate::telemetry::metrics::{self, Direction, StreamGuard};

const OBJECT_SIZE: HeaderName = HeaderName::from_static("x-amz-object-size");

/// Longest body of one PUT (S3: 5 GiB).
const MAX_PUT: u64 = 5 * 1024 * 1024 * 1024;

/// Plaintext up to this length is taken in and verified before anything is sent to the store.
const ONE_SEGMENT: u64 = SegmentSize::GATEWAY.plaintext_capacity(0) as u64;

/// Answers PutObject.
///
/// # Errors
/// [`Error`]; nothing is stored then.
pub async fn put(service: &Service, call: Call) -> Result<Response, Error> {
    let settings = (service.settings)(&call.endpoint.bucket);
    let content = meta::content_from_request(&call.headers, settings.formats.as_deref())?;
    // Room for what the request to the store has at least: content, record, length, host and signature.
    let mut headers = HeaderMap::with_capacity(16);
    meta::write_settings(&call.headers, &mut headers)?;
    let length = call.body.length.ok_or(Error::MissingContentLength)?;
    if length > MAX_PUT {
        return Err(Error::EntityTooLarge(length));
    }
    let guarded = match may_need_guard(&call) {
        true => Box::pin(guard_write(service, &call, &mut headers)).await?,
        false => Guard::None,
    };
    let Call {
        endpoint,
        body,
        store,
        ..
    } = call;
    let written = Written {
        service,
        settings: &settings,
        store: &store,
        bucket: &endpoint.bucket,
        key: &endpoint.key,
    };
    let done = match written.write(headers, content, body).await {
        Err(Error::Store(error)) if error.status() == Some(StatusCode::PRECONDITION_FAILED) => {
            return Err(guarded.refused());
        }
        done => done?,
    };
    let mut answer = meta::common_response(&done.store_headers);
    set(&mut answer, ETAG, &quoted(&done.etag));
    // Where the store tells how long the object is now, it means the sealed one.
    if done.store_headers.contains_key(OBJECT_SIZE) {
        set(&mut answer, OBJECT_SIZE, &length.to_string());
    }
    if let Some(checksum) = done.checksum {
        set(
            &mut answer,
            HeaderName::from_static(checksum.algorithm().header()),
            &checksum.to_base64(),
        );
        answer.insert(
            "x-amz-checksum-type",
            HeaderValue::from_static("FULL_OBJECT"),
        );
    }
    Ok(Response::empty(StatusCode::OK, answer))
}

/// Why a write is conditional, so that a refusal can be told to the client in its own terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// Neither client nor policy asked for a condition.
    None,
    /// The client did.
    Client,
    /// The user may add but not replace.
    AppendOnly,
    /// The client's condition held of what stands there, and the store has no words for it: the write is tied to
    /// that instead.
    Pinned,
}

impl Guard {
    /// The answer where the store says that the condition does not hold.
    pub fn refused(self) -> Error {
        match self {
            Self::AppendOnly => Error::Denied(crate::policy::Denied::NotGranted(
                crate::policy::Action::Overwrite,
            )),
            Self::None | Self::Client => Error::PreconditionFailed("If-None-Match"),
            Self::Pinned => Error::Contended,
        }
    }
}

/// Whether a write is conditional for the client or has to be for its user. Most are not.
fn may_need_guard(call: &Call) -> bool {
    call.headers.contains_key(IF_MATCH)
        || call.headers.contains_key(IF_NONE_MATCH)
        || !call.permit.may_overwrite()
}

/// Translates the conditions of a write to the store's ETags and adds the one that an append-only user
/// needs. Stores that ignore conditions are covered by looking first; those that keep them make it atomic.
pub async fn guard_write(
    service: &Service,
    call: &Call,
    headers: &mut HeaderMap,
) -> Result<Guard, Error> {
    if !may_need_guard(call) {
        return Ok(Guard::None);
    }
    let conditions = Conditions::from_headers(&call.headers);
    let append_only = !call.permit.may_overwrite();
    let target = Target {
        store: &call.store,
        bucket: &call.endpoint.bucket,
        key: &call.endpoint.key,
        version: None,
        headers: meta::read_settings(&call.headers),
    };
    let current = match current(service, &target).await? {
        Current::Absent => None,
        Current::There(found) => Some(found),
        // Something stands there that cannot be opened. It can be replaced, but it matches no ETag.
        Current::Unreadable if append_only => return Err(Guard::AppendOnly.refused()),
        Current::Unreadable if conditions.requires_absence() => return Err(Guard::Client.refused()),
        Current::Unreadable if conditions.requires_match() => {
            return Err(Error::PreconditionFailed("If-Match"));
        }
        Current::Unreadable => return Ok(Guard::None),
    };
    match conditions.evaluate_write(current.as_ref().map(|found| found.current())) {
        Outcome::Proceed => {}
        Outcome::NoSuchObject => return Err(Error::NoSuchKey),
        Outcome::NotModified | Outcome::PreconditionFailed => return Err(Guard::Client.refused()),
    }
    if append_only && current.is_some() {
        return Err(Guard::AppendOnly.refused());
    }
    if let Some(found) = &current {
        set(headers, IF_MATCH, &quoted(&found.store_etag));
        return Ok(if conditions.requires_match() {
            Guard::Client
        } else {
            Guard::Pinned
        });
    }
    headers.insert(IF_NONE_MATCH, HeaderValue::from_static("*"));
    Ok(if conditions.requires_absence() {
        Guard::Client
    } else if append_only {
        Guard::AppendOnly
    } else {
        Guard::Pinned
    })
}

/// What stands at a key before a write.
pub enum Current {
    /// Nothing.
    Absent,
    /// An object that opens.
    There(Box<object::Found>),
    /// An object that does not.
    Unreadable,
}

/// Looks before a write.
pub async fn current(service: &Service, target: &Target<'_>) -> Result<Current, Error> {
    match service.find(target).await {
        Ok(found) => Ok(Current::There(Box::new(found))),
        Err(Error::Store(error)) if error.is_absent() => Ok(Current::Absent),
        // The request goes on, so this is the only place that counts it.
        Err(Error::Integrity(kind)) => {
            metrics::integrity_failure(kind.label());
            tracing::warn!(
                bucket = target.bucket,
                key = target.key,
                kind = kind.label(),
                "object under a conditional write does not verify"
            );
            Ok(Current::Unreadable)
        }
        Err(error) => Err(error),
    }
}

/// Where a new sealed object goes.
pub struct Written<'a> {
    /// Shared parts.
    pub service: &'a Service,
    /// The bucket's settings.
    pub settings: &'a BucketSettings,
    /// Store and credentials.
    pub store: &'a Store,
    /// Bucket.
    pub bucket: &'a str,
    /// Key.
    pub key: &'a str,
}

/// What was written.
pub struct Done {
    /// The store's answer headers.
    pub store_headers: HeaderMap,
    /// The ETag that clients see.
    pub etag: String,
    /// The client's checksum, verified, or the one that was computed in its place.
    pub checksum: Option<Checksum>,
}

impl Written<'_> {
    /// Seals `body` and writes it. `headers` go to the store as they are, `content` is bound as well.
    ///
    /// # Errors
    /// [`Error`]; the store has discarded what it got.
    pub async fn write(
        &self,
        mut headers: HeaderMap,
        content: HeaderMap,
        body: Body,
    ) -> Result<Done, Error> {
        let length = body.length.ok_or(Error::MissingContentLength)?;
        let md5_shown = self.settings.etag == EtagMode::Md5;
        let _stream = StreamGuard::new(Direction::In);
        metrics::object_size(Direction::In, length);
        let Body {
            stream,
            finished,
            expected,
            ..
        } = body;
        // A short body is verified before the store hears of it, and its ETag goes into the metadata.
        let (plaintext, mut early_md5) = if length <= ONE_SEGMENT {
            let bytes = take(stream, length).await?;
            let md5 = finished.digests().and_then(|digests| digests.md5);
            (Plaintext::Whole(bytes), md5)
        } else {
            (Plaintext::Stream(stream), expected.md5())
        };
        if !md5_shown {
            early_md5 = None;
        }
        let fresh = self.service.fresh()?;
        let info = Info {
            plaintext_len: Some(length),
            md5: early_md5,
            metadata_digest: self
                .settings
                .bind_metadata
                .then(|| v1::bound_digest(&content)),
        };
        let record = envelope::seal_record(
            &self.service.keyring,
            &self.settings.recipients,
            &fresh.dek,
            fresh.object_id,
            &self.settings.bound_as,
            self.key,
            &info,
        )
        .await?;
        headers.extend(content);
        meta::set_record(&mut headers, &record);

        let sealing = Sealing {
            engine: self.service.engine,
            dek: fresh.dek,
            object_id: fresh.object_id,
            segment_size: SegmentSize::GATEWAY,
            plaintext_len: length,
            envelope: record.envelope,
            header: fresh.header,
            footer_nonce: fresh.footer_nonce,
        };
        let stored_len = sealing.layout()?.stored_len();
        let at_end = finished.clone();
        let footer = move || {
            let digests = at_end
                .digests()
                .ok_or_else(|| BodyError::Seal("body did not verify".into()))?;
            Ok(FooterSource {
                etag: digests
                    .md5
                    .filter(|_| md5_shown)
                    .map_or(Etag::None, Etag::Md5),
                checksum: digests.checksum.as_ref().and_then(v1::footer_checksum),
            })
        };
        let failure = Failure::default();
        let body = match plaintext {
            Plaintext::Whole(bytes) => {
                let sealed = SealBody::new(sealing, pump::ready(bytes), footer)?;
                pump::full(pump::at_once(sealed)?)
            }
            Plaintext::Stream(stream) => {
                let sealed = SealBody::new(sealing, stream, footer)?;
                Capture::new(sealed, failure.clone()).boxed()
            }
        };
        let mut request =
            crate::store::Request::object(Method::PUT, self.bucket, self.key).body(body);
        request.headers = headers;
        let mut answer = match self.store.send("PutObject", request).await {
            Ok(answer) => answer,
            // The body's own failure is the reason; what HTTP made of it is a consequence.
            Err(error) => return Err(failure.take().map_or(Error::Store(error), Error::Body)),
        };
        let store_headers = std::mem::take(answer.headers_mut());
        if !answer.body().is_end_stream() {
            // Reads the answer, so that the connection can be used again.
            let _ = self.store.document(answer).await;
        }
        if let Some(error) = failure.take() {
            return Err(error.into());
        }
        let digests = finished.digests().ok_or(StoreError::Malformed(
            "store answered before the body had ended",
        ))?;
        let md5 = digests.md5.filter(|_| md5_shown);
        let store_etag = object::store_etag(&store_headers);
        if !store_etag.is_empty() {
            self.service.learn(
                &self.service.target(self.bucket, self.key),
                &store_etag,
                stored_len,
                Fact {
                    plaintext_len: length,
                    tag: FactTag::sealed(md5),
                    checksum: digests.checksum.map(|checksum| ChecksumKind {
                        algorithm: v1::footer_algorithm(checksum.algorithm()),
                        kind: ChecksumType::FullObject,
                    }),
                },
            );
        }
        Ok(Done {
            etag: shown_etag(self.settings, FactTag::sealed(md5), &store_etag),
            checksum: digests.checksum,
            store_headers,
        })
    }
}

/// What is to be sealed, verified or to be verified while it comes.
enum Plaintext {
    Whole(Bytes),
    Stream(BoxBody),
}

/// Reads a body of at most one segment to its verified end.
async fn take(mut stream: BoxBody, length: u64) -> Result<Bytes, Error> {
    // The shortest come in one piece.
    let mut whole = Bytes::new();
    let mut bytes = Vec::new();
    while let Some(frame) = stream.frame().await {
        let Ok(data) = frame?.into_data() else {
            continue;
        };
        if bytes.is_empty() && whole.is_empty() {
            whole = data;
            continue;
        }
        if bytes.is_empty() {
            bytes.reserve(usize::try_from(length).unwrap_or_default());
            bytes.extend_from_slice(&std::mem::take(&mut whole));
        }
        bytes.extend_from_slice(&data);
    }
    Ok(match whole.is_empty() {
        true => bytes.into(),
        false => whole,
    })
}
