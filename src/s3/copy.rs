//! CopyObject. A sealed object is copied by the store, with its envelope wrapped and bound anew; its
//! bytes do not move. An object that is not sealed, or is to have another checksum, is streamed through and sealed on
//! the way.

use http::header::{ETAG, HeaderName, HeaderValue};
use http::{HeaderMap, Method, StatusCode};

use super::call::{Body, BucketSettings, Call, EtagMode, Response, Service, set};
use super::facts::Fact;
use super::object::{self, Content, Found, Target, quoted};
use super::put::{Guard, Written, guard_write};
use super::xml::{self, Writer};
use super::{Error, get, meta, parts};
use crate::aead::{ChecksumType, Etag};
use crate::envelope::{self, Info, Record};
use crate::formats::Integrity;
use crate::formats::v1;
use crate::policy::{Action, Need};
use crate::protocol::checksum::{Algorithm, ChecksumError};
use crate::protocol::conditions::{Conditions, Outcome};
use crate::protocol::date;
use crate::protocol::uri::CopySource;
use crate::pump;
use crate::store::Request;

/// How often a source that changes while it is copied is followed.
const ATTEMPTS: usize = 4;

/// Answers CopyObject.
///
/// # Errors
/// [`Error`].
pub async fn copy(service: &Service, mut call: Call) -> Result<Response, Error> {
    begin(&mut call, "CopyObject has no body").await?;
    let source = source(service, &call)?;
    let replace = match call
        .header("x-amz-metadata-directive")
        .map(str::to_ascii_uppercase)
        .as_deref()
    {
        None | Some("COPY") => false,
        Some("REPLACE") => true,
        Some(_) => {
            return Err(Error::InvalidArgument {
                name: "x-amz-metadata-directive",
                problem: "the value must be COPY or REPLACE",
            });
        }
    };
    let to_itself = source.bucket == call.endpoint.bucket && source.key == call.endpoint.key;
    let checksum = wanted_checksum(&call.headers)?;
    let wanted = Wanted {
        replace,
        to_itself,
        checksum,
        changed: !to_itself
            || source.version_id.is_some()
            || replace
            || changes_something(&call.headers),
    };
    if !wanted.changed && checksum.is_none() {
        return Err(nothing_changes());
    }
    for _ in 0..ATTEMPTS {
        if let Some(answer) = attempt(service, &call, &source, &wanted).await? {
            return Ok(answer);
        }
    }
    Err(Error::Contended)
}

/// What a client wants of the copy.
struct Wanted {
    /// Metadata of its own, not the source's.
    replace: bool,
    /// In place of the source.
    to_itself: bool,
    /// A checksum of this algorithm.
    checksum: Option<Algorithm>,
    /// Whether that differs from the source in any case.
    changed: bool,
}

/// The algorithm that the copy's checksum is to have.
fn wanted_checksum(headers: &HeaderMap) -> Result<Option<Algorithm>, Error> {
    let Some(value) = headers.get("x-amz-checksum-algorithm") else {
        return Ok(None);
    };
    let algorithm = value.to_str().ok().and_then(Algorithm::from_name);
    Ok(Some(algorithm.ok_or(ChecksumError::UnsupportedAlgorithm)?))
}

fn nothing_changes() -> Error {
    Error::InvalidRequest(
        "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes.",
    )
}

/// What every copy begins with: the body, which is empty, is read to its end.
///
/// # Errors
/// [`Error`], with `no_body` where there is one.
pub async fn begin(call: &mut Call, no_body: &'static str) -> Result<(), Error> {
    meta::refuse_customer_keys(&call.headers)?;
    if call.body.length.is_some_and(|length| length > 0) {
        return Err(Error::InvalidRequest(no_body));
    }
    let body = std::mem::replace(&mut call.body.stream, pump::empty());
    xml::drain(body).await?;
    Ok(())
}

/// The source of a copy, which the user may read.
///
/// # Errors
/// [`Error`].
pub fn source(service: &Service, call: &Call) -> Result<CopySource, Error> {
    let source = call
        .header("x-amz-copy-source")
        .ok_or(Error::InvalidArgument {
            name: "x-amz-copy-source",
            problem: "the header is not text",
        })?;
    let source = CopySource::parse(source)?;
    service.refuse_reserved(&source.key)?;
    call.permit.check(&Need::object(
        Action::Read,
        source.bucket.as_str(),
        source.key.as_str(),
    ))?;
    Ok(source)
}

fn changes_something(headers: &HeaderMap) -> bool {
    [
        "x-amz-storage-class",
        "x-amz-website-redirect-location",
        "x-amz-server-side-encryption",
        "x-amz-tagging-directive",
    ]
    .iter()
    .any(|name| headers.contains_key(*name))
}

/// One try; `None` where the source changed meanwhile.
async fn attempt(
    service: &Service,
    call: &Call,
    source: &CopySource,
    wanted: &Wanted,
) -> Result<Option<Response>, Error> {
    let target = Target {
        store: &call.store,
        bucket: &source.bucket,
        key: &source.key,
        version: source.version_id.as_deref(),
        headers: meta::source_settings(&call.headers),
    };
    let mut found = service.find(&target).await?;
    match Conditions::from_copy_source(&call.headers).evaluate_copy_source(found.current()) {
        Outcome::Proceed => {}
        _ => return Err(Error::PreconditionFailed("x-amz-copy-source-if-…")),
    }
    let kept = match &found.content {
        Content::Sealed(sealed) => sealed.checksum().map(|checksum| checksum.algorithm()),
        _ => None,
    };
    let another = wanted.checksum.filter(|_| wanted.checksum != kept);
    if !wanted.changed && another.is_none() {
        return Err(nothing_changes());
    }
    let settings = (service.settings)(&call.endpoint.bucket);
    let content = if wanted.replace {
        meta::content_from_request(&call.headers, settings.formats.as_deref())?
    } else {
        found.content_headers()
    };
    let mut headers = HeaderMap::new();
    meta::write_settings(&call.headers, &mut headers)?;
    let guard = guard_write(service, call, &mut headers).await?;
    match &found.content {
        Content::Sealed(sealed) if another.is_none() => {
            let copy = Rebind {
                service,
                call,
                settings: &settings,
                source,
                found: &found,
                guard,
            };
            copy.by_store(sealed, headers, content, wanted.to_itself)
                .await
        }
        Content::Sealed(_) | Content::Plain | Content::Foreign(_) => {
            copy_tags(call, &target, &mut headers).await?;
            let reseal = Reseal {
                service,
                call,
                settings: &settings,
                target: &target,
                guard,
                checksum: another.or(settings.default_checksum),
            };
            reseal.by_stream(&mut found, headers, content).await
        }
        Content::SealedUnread => Err(object::archived()),
    }
}

/// The source as the store is asked for it: with a slash before it only where the client sent one, since policies of the
/// store may compare the header as it stands.
fn source_header(call: &Call, source: &CopySource) -> String {
    let header = source.to_header();
    let slash = call
        .header("x-amz-copy-source")
        .is_some_and(|sent| sent.starts_with(['/', '%']));
    match header.strip_prefix('/') {
        Some(bare) if !slash => bare.to_owned(),
        _ => header,
    }
}

struct Rebind<'a> {
    service: &'a Service,
    call: &'a Call,
    settings: &'a BucketSettings,
    source: &'a CopySource,
    found: &'a Found,
    guard: Guard,
}

impl Rebind<'_> {
    /// Server-side copy with a fresh envelope.
    async fn by_store(
        &self,
        sealed: &v1::Sealed,
        mut headers: HeaderMap,
        content: HeaderMap,
        to_itself: bool,
    ) -> Result<Option<Response>, Error> {
        let Self {
            service,
            call,
            settings,
            source,
            found,
            guard,
        } = self;
        let endpoint = &call.endpoint;
        let record = record(service, settings, &endpoint.key, sealed, &content).await?;
        headers.extend(content);
        meta::set_record(&mut headers, &record);
        set(
            &mut headers,
            HeaderName::from_static("x-amz-copy-source"),
            &source_header(call, source),
        );
        set(
            &mut headers,
            HeaderName::from_static("x-amz-copy-source-if-match"),
            &quoted(&found.store_etag),
        );
        headers.insert(
            "x-amz-metadata-directive",
            HeaderValue::from_static("REPLACE"),
        );
        if let Some(directive) = call.headers.get("x-amz-tagging-directive") {
            headers.insert("x-amz-tagging-directive", directive.clone());
        }
        if let Some(owner) = call.headers.get("x-amz-source-expected-bucket-owner") {
            headers.insert("x-amz-source-expected-bucket-owner", owner.clone());
        }
        let mut request = Request::object(Method::PUT, &endpoint.bucket, &endpoint.key);
        request.headers = headers;
        let answer = match call.store.send("CopyObject", request).await {
            Ok(answer) => answer,
            // The source's condition or the target's: look which.
            Err(error) if error.status() == Some(StatusCode::PRECONDITION_FAILED) => {
                return if *guard == Guard::None {
                    Ok(None)
                } else {
                    Err(guard.refused())
                };
            }
            Err(error) => return Err(error.into()),
        };
        let store_headers = answer.headers().clone();
        let document = call.store.document(answer).await?;
        let copied = xml::parse_copy_result(&document)?;
        // Not every store keeps the condition on the source. Bytes of a later version under the envelope of
        // this one would not open, so look at what arrived before the client hears of success.
        let arrived = Target {
            store: &call.store,
            bucket: &endpoint.bucket,
            key: &endpoint.key,
            version: None,
            headers: HeaderMap::new(),
        };
        let mut result = Writer::new("CopyObjectResult");
        result.text("LastModified", &copied.last_modified);
        if copied.etag == found.store_etag {
            // The very bytes whose footer verified.
            let fact = Fact::of(&sealed.footer);
            service.learn(&arrived, &copied.etag, found.stored_len, fact);
            let shown = object::shown_etag(settings, fact.tag, &copied.etag);
            result.text("ETag", &quoted(&shown));
            parts::write_checksum(&mut result, sealed);
        } else {
            let shown = match service.find(&arrived).await {
                Ok(shown) => shown,
                Err(Error::Integrity(Integrity::Footer | Integrity::Length)) if !to_itself => {
                    return Ok(None);
                }
                Err(error) => return Err(error),
            };
            result.text("ETag", &quoted(&shown.etag));
            if let Content::Sealed(sealed) = &shown.content {
                parts::write_checksum(&mut result, sealed);
            }
        }
        Ok(Some(answer_with(&store_headers, result)))
    }
}

/// The record of sealed bytes that are to stand at a key of a bucket with these settings, under these headers.
///
/// # Errors
/// [`Error::Envelope`].
pub async fn record(
    service: &Service,
    settings: &BucketSettings,
    key: &str,
    sealed: &v1::Sealed,
    content: &HeaderMap,
) -> Result<Record, Error> {
    let md5 = match sealed.footer.etag {
        Etag::Md5(md5) if settings.etag == EtagMode::Md5 => Some(md5),
        _ => None,
    };
    let info = Info {
        plaintext_len: Some(sealed.footer.plaintext_len),
        md5,
        metadata_digest: settings.bind_metadata.then(|| v1::bound_digest(content)),
    };
    let opened = &sealed.opened;
    let record = envelope::seal_record(
        &service.keyring,
        &settings.recipients,
        &opened.dek,
        opened.object_id,
        &settings.bound_as,
        key,
        &info,
    );
    Ok(record.await?)
}

/// Longest source of a copy (S3: 5 GiB).
const MAX_COPY: u64 = 5 << 30;

/// The tags of the source, where the store does not copy them by itself.
async fn copy_tags(call: &Call, target: &Target<'_>, headers: &mut HeaderMap) -> Result<(), Error> {
    const TAGS: HeaderName = HeaderName::from_static("x-amz-tagging");
    let replaced = call
        .header("x-amz-tagging-directive")
        .is_some_and(|directive| directive.eq_ignore_ascii_case("REPLACE"));
    if replaced {
        return Ok(());
    }
    headers.remove(TAGS);
    let tags = match target.tags().await {
        Ok(tags) => tags,
        // Of a store that knows no tags, or says in this way that there are none.
        Err(error)
            if matches!(error.code(), "NoSuchTagSet" | "NotImplemented")
                || error.status() == Some(StatusCode::NOT_IMPLEMENTED) =>
        {
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    if !tags.is_empty() {
        set(headers, TAGS, &tags);
    }
    Ok(())
}

/// A copy whose bytes pass through.
struct Reseal<'a> {
    service: &'a Service,
    call: &'a Call,
    settings: &'a BucketSettings,
    target: &'a Target<'a>,
    guard: Guard,
    /// The checksum to compute.
    checksum: Option<Algorithm>,
}

impl Reseal<'_> {
    /// Reads the object and writes it sealed anew, as one stream.
    async fn by_stream(
        &self,
        found: &mut Found,
        headers: HeaderMap,
        content: HeaderMap,
    ) -> Result<Option<Response>, Error> {
        let Self {
            service,
            call,
            settings,
            target,
            ..
        } = self;
        let length = found.len;
        if length > MAX_COPY {
            return Err(Error::InvalidRequest(
                "The specified copy source is larger than the maximum allowable size for a copy source: 5368709120",
            ));
        }
        let Some((stream, _)) = get::slice(service, target, found, 0..length).await? else {
            return Ok(None);
        };
        let md5 = settings.etag == EtagMode::Md5;
        let body = Body::own_with(stream, length, md5, self.checksum);
        let written = Written {
            service,
            settings,
            store: &call.store,
            bucket: &call.endpoint.bucket,
            key: &call.endpoint.key,
        };
        let mut done = match written.write(headers, content, body).await {
            Err(Error::Store(error)) if error.status() == Some(StatusCode::PRECONDITION_FAILED) => {
                return Err(self.guard.refused());
            }
            done => done?,
        };
        let at = meta::last_modified(&done.store_headers)
            .or_else(|| meta::date(&done.store_headers))
            .unwrap_or_default();
        let mut result = Writer::new("CopyObjectResult");
        result.text("LastModified", &date::format_iso8601(at));
        result.text("ETag", &quoted(&done.etag));
        if let Some(checksum) = done.checksum {
            result.text(checksum.algorithm().element(), &checksum.to_base64());
            result.text("ChecksumType", parts::type_name(ChecksumType::FullObject));
        }
        if let Some(version) = found.headers.get("x-amz-version-id") {
            let name = HeaderName::from_static("x-amz-copy-source-version-id");
            done.store_headers.insert(name, version.clone());
        }
        Ok(Some(answer_with(&done.store_headers, result)))
    }
}

fn answer_with(store_headers: &HeaderMap, result: Writer) -> Response {
    let mut headers = meta::common_response(store_headers);
    headers.remove(ETAG);
    Response::xml(StatusCode::OK, headers, result.finish())
}
