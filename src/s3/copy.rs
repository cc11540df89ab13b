//! CopyObject. A sealed object is copied by the store, with its envelope wrapped and bound anew; its
//! bytes do not move. An object that is not sealed is streamed through and sealed on the way.

use http::header::{ETAG, HeaderName, HeaderValue};
use http::{HeaderMap, Method, StatusCode};

use super::call::{Body, BucketSettings, Call, EtagMode, Response, Service, set};
use super::facts::{Fact, FactTag};
use super::object::{self, Content, Found, Target, quoted};
use super::put::{Guard, Written, guard_write};
use super::xml::{self, Writer};
use super::{Error, meta};
use crate::aead::Etag;
use crate::envelope::{self, Info};
use crate::formats::Integrity;
use crate::formats::v1;
use crate::policy::{Action, Need};
use crate::protocol::conditions::{Conditions, Outcome};
use crate::protocol::date;
use crate::protocol::uri::CopySource;
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
    if to_itself && source.version_id.is_none() && !replace && !changes_something(&call.headers) {
        return Err(Error::InvalidRequest(
            "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes.",
        ));
    }
    for _ in 0..ATTEMPTS {
        if let Some(answer) = attempt(service, &call, &source, replace, to_itself).await? {
            return Ok(answer);
        }
    }
    Err(Error::Contended)
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
    let body = std::mem::replace(&mut call.body.stream, crate::pump::empty());
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
    replace: bool,
    to_itself: bool,
) -> Result<Option<Response>, Error> {
    let target = Target {
        store: &call.store,
        bucket: &source.bucket,
        key: &source.key,
        version: source.version_id.as_deref(),
        headers: meta::source_settings(&call.headers),
    };
    let found = service.find(&target).await?;
    match Conditions::from_copy_source(&call.headers).evaluate_copy_source(found.current()) {
        Outcome::Proceed => {}
        _ => return Err(Error::PreconditionFailed("x-amz-copy-source-if-…")),
    }
    let content = if replace {
        meta::content_from_request(&call.headers)?
    } else {
        meta::content_from_object(&found.headers)
    };
    let mut headers = HeaderMap::new();
    meta::write_settings(&call.headers, &mut headers)?;
    let guard = guard_write(service, call, &mut headers).await?;
    let settings = (service.settings)(&call.endpoint.bucket);
    match &found.content {
        Content::Sealed(sealed) => {
            let copy = Rebind {
                service,
                call,
                settings: &settings,
                source,
                found: &found,
                guard,
            };
            copy.by_store(sealed, headers, content, to_itself).await
        }
        Content::Plain => {
            by_stream(
                service, call, &settings, &target, &found, guard, headers, content,
            )
            .await
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
        let opened = &sealed.opened;
        let md5 = match sealed.footer.etag {
            Etag::Md5(md5) if settings.etag == EtagMode::Md5 => Some(md5),
            _ => None,
        };
        let info = Info {
            plaintext_len: Some(found.len),
            md5,
            metadata_digest: settings.bind_metadata.then(|| v1::bound_digest(&content)),
        };
        let record = envelope::seal_record(
            &service.keyring,
            &settings.recipients,
            &opened.dek,
            opened.object_id,
            &settings.bound_as,
            &endpoint.key,
            &info,
        )
        .await?;
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
        let check = copied.etag != found.store_etag;
        let shown = if check {
            match service.find(&arrived).await {
                Ok(shown) => shown,
                Err(Error::Integrity(Integrity::Footer | Integrity::Length)) if !to_itself => {
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
            .etag
        } else {
            // The very bytes whose footer verified.
            let fact = Fact {
                plaintext_len: found.len,
                tag: FactTag::of(&sealed.footer),
            };
            service.learn(&arrived, &copied.etag, found.stored_len, fact);
            object::shown_etag(settings, fact.tag, &copied.etag)
        };
        Ok(Some(answer_with(
            &store_headers,
            &shown,
            &copied.last_modified,
        )))
    }
}

/// Reads an object that is not sealed and writes it sealed.
#[allow(clippy::too_many_arguments)]
async fn by_stream(
    service: &Service,
    call: &Call,
    settings: &BucketSettings,
    target: &Target<'_>,
    found: &Found,
    guard: Guard,
    headers: HeaderMap,
    content: HeaderMap,
) -> Result<Option<Response>, Error> {
    let request = target
        .request(Method::GET)
        .header("if-match", &quoted(&found.store_etag));
    let answer = match target.store.send("GetObject", request).await {
        Ok(answer) => answer,
        Err(error) if error.status() == Some(StatusCode::PRECONDITION_FAILED) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if object::store_etag(answer.headers()) != found.store_etag {
        return Ok(None);
    }
    let length = object::content_length(answer.headers())?;
    let md5 = settings.etag == EtagMode::Md5;
    let body = Body::own(target.stream(answer, 0..length), length, md5);
    let written = Written {
        service,
        settings,
        store: &call.store,
        bucket: &call.endpoint.bucket,
        key: &call.endpoint.key,
    };
    let done = match written.write(headers, content, body).await {
        Err(Error::Store(error)) if error.status() == Some(StatusCode::PRECONDITION_FAILED) => {
            return Err(guard.refused());
        }
        done => done?,
    };
    let at = meta::last_modified(&done.store_headers)
        .or_else(|| meta::date(&done.store_headers))
        .unwrap_or_default();
    Ok(Some(answer_with(
        &done.store_headers,
        &done.etag,
        &date::format_iso8601(at),
    )))
}

fn answer_with(store_headers: &HeaderMap, etag: &str, last_modified: &str) -> Response {
    let mut headers = meta::common_response(store_headers);
    headers.remove(ETAG);
    let mut result = Writer::new("CopyObjectResult");
    result.text("LastModified", last_modified);
    result.text("ETag", &quoted(etag));
    Response::xml(StatusCode::OK, headers, result.finish())
}
