//! The composition root: the only file that sees every layer. It turns a configuration into running
//! parts, and one HTTP request into one operation:
//!
//! ```text
//! head → auth::verify → s3::route → policy::permit → body verification → s3::Service → answer
//! ```
//!
//! What only browsers send goes another way: `gateway/browser.rs`.

mod browser;

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderName, HeaderValue, SERVER, TRANSFER_ENCODING,
};
use http::{HeaderMap, Request, Uri};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use sha2::{Digest, Sha256};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::admin::{self, Readiness};
use crate::aead::Engine;
use crate::auth::{self, AuthError, Payload, RequestHead, Signer};
use crate::config::{
    self, Config, DefaultChecksum, EtagKind, KeyKind, PlaintextObjects, UserMetadata, Verify,
};
use crate::formats::foreign::Format;
use crate::formats::{Formats, S3eg, S3ep, S3epKek, S3proxy};
use crate::keys::{KeyEncryptionKey, KeyId, Keyring, KeyringError, LocalKey};
use crate::policy::{Policy, PolicyError, UserHandle};
use crate::protocol::aws_chunked::{self, Decoder};
use crate::protocol::checksum::{Algorithm, Expected};
use crate::protocol::uri::{Query, Target};
use crate::pump::{BodyError, IdleLimit, Verification, VerifyBody, buffers};
use crate::s3::{
    self, BucketSettings, Call, Checked, EtagMode, Kind, Plaintext, Response, Service,
};
use crate::secret::Secret;
use crate::spool::{Spool, SpoolError};
use crate::store::{self, Addressing, Client, Store, StoreError, Timeouts};
use crate::telemetry::Metrics;
use crate::telemetry::metrics;
use crate::wire::{self, ClientBody, Notes, Outcome, Signals, Told, Tracked};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-amz-request-id");

/// How often the admin listener's readiness asks the store.
const PROBE_EVERY: Duration = Duration::from_secs(10);

/// Buckets whose settings are kept at hand.
const KNOWN_BUCKETS: usize = 1024;

/// Why a gateway could not be put together.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// Keys.
    #[error("keyring: {0}")]
    Keyring(#[from] KeyringError),
    /// A key id that the format cannot carry.
    #[error("keyring: {0} is no key id")]
    KeyId(String),
    /// Users.
    #[error("users: {0}")]
    Policy(#[from] PolicyError),
    /// A cipher engine that fails its self-test.
    #[error("server.cipher_engine: {0} computes wrong results on this machine")]
    Cipher(&'static str),
    /// Store.
    #[error("store: {0}")]
    Store(#[from] StoreError),
    /// An address that cannot be listened on.
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, std::io::Error),
    /// Certificates.
    #[error("tls: {0}")]
    Tls(std::io::Error),
    /// Cache.
    #[error("cache: {0}")]
    Cache(#[from] s3::FactsError),
    /// Spool.
    #[error("spool: {0}")]
    Spool(#[from] SpoolError),
    /// Metrics.
    #[error("metrics: {0}")]
    Metrics(String),
}

/// Bytes that headers and query of a request may have (S3: `RequestHeaderSectionTooLarge`; user guide, "Working with object
/// metadata": 8 KB).
const MAX_HEAD: usize = 8 * 1024;

/// Everything that requests share.
pub struct Gateway {
    service: Arc<Service>,
    policy: Policy,
    own: Store,
    /// For requests that nobody signed.
    unsigned: Store,
    stores: HashMap<String, Store>,
    domains: Vec<String>,
    limits: auth::Limits,
    day_keys: auth::DayKeys,
    body_idle: Duration,
    cors: s3::CorsRules,
    /// `http` or `https`, as clients reach it.
    scheme: &'static str,
}

/// Seconds since 1970.
pub fn now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(i64::MAX))
}

/// Fills a buffer from the operating system's generator.
pub fn entropy(buffer: &mut [u8]) -> bool {
    getrandom::fill(buffer).is_ok()
}

/// The keyring of a configuration.
///
/// # Errors
/// [`StartError`].
pub fn keyring(section: &config::Keyring) -> Result<Keyring, StartError> {
    let id = |text: &str| KeyId::new(text).map_err(|_| StartError::KeyId(text.to_owned()));
    let mut keys: Vec<Arc<dyn KeyEncryptionKey>> = Vec::new();
    for key in &section.keys {
        let version = std::num::NonZeroU32::new(key.version).unwrap_or(std::num::NonZeroU32::MIN);
        match &key.kind {
            KeyKind::Local(secret) => keys.push(Arc::new(LocalKey::new(
                id(&key.id)?,
                version,
                secret.expose(),
            ))),
        }
    }
    Ok(Keyring::new(keys, id(&section.current)?)?)
}

/// The store of a configuration, with its own credentials. Opens no connection.
///
/// # Errors
/// [`StartError`].
pub fn store(section: &config::Store) -> Result<Store, StartError> {
    let client = Arc::new(Client::new(client_options(section)?)?);
    Ok(client.with(Arc::new(signer(&section.credentials, &section.region))))
}

impl Gateway {
    /// Puts the parts together. Opens no connection.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn new(config: &Config) -> Result<Self, StartError> {
        let client = Arc::new(Client::new(client_options(&config.store)?)?);
        let own = client.with(Arc::new(signer(
            &config.store.credentials,
            &config.store.region,
        )));
        let stores = config
            .users
            .iter()
            .filter_map(|user| {
                let credentials = user.store_credentials.as_ref()?;
                let signer = Arc::new(signer(credentials, &config.store.region));
                Some((user.access_key.clone(), client.with(signer)))
            })
            .collect();
        let buckets = config.buckets.clone();
        let formats = config
            .compat
            .as_ref()
            .map(|compat| Arc::new(formats(compat)));
        // Put together from all sections that fit a bucket once, not for each request.
        let known = quick_cache::sync::Cache::<String, Arc<BucketSettings>>::new(KNOWN_BUCKETS);
        let settings = move |bucket: &str| {
            known.get(bucket).unwrap_or_else(|| {
                let settings = Arc::new(bucket_settings(&buckets.of(bucket), formats.as_ref()));
                known.insert(bucket.to_owned(), Arc::clone(&settings));
                settings
            })
        };
        let buckets = config.buckets.clone();
        let cors = move |bucket: &str| buckets.of(bucket).cors;
        buffers::set_budget(usize::try_from(config.limits.stream_memory).unwrap_or(usize::MAX));
        Ok(Self {
            service: Arc::new(Service {
                keyring: keyring(&config.keyring)?,
                engine: engine(config.server.cipher_engine)?,
                settings: Box::new(settings),
                facts: facts(config)?,
                tails: s3::Tails::new(config.cache.bytes),
                spool: spool(config)?,
                kept: s3::Kept::new(config.spool.keep),
                reserved_prefix: config.multipart.prefix.clone(),
                min_part: config.multipart.min_part_size,
                list_concurrency: config.limits.list_concurrency,
                max_document: usize::try_from(config.limits.max_xml_body).unwrap_or(usize::MAX),
                entropy,
                uploads: s3::Uploads::default(),
                own: own.clone(),
                now,
            }),
            policy: config.policy()?,
            cors: s3::CorsRules::new(Box::new(cors), own.clone()),
            own,
            unsigned: client.anonymous(),
            stores,
            domains: config.server.domains.clone(),
            limits: auth::Limits::default(),
            day_keys: auth::DayKeys::new(),
            body_idle: config.server.idle_timeout,
            scheme: match config.server.tls {
                Some(_) => "https",
                None => "http",
            },
        })
    }

    /// The store with the gateway's own credentials.
    pub fn store(&self) -> &Store {
        &self.own
    }

    /// The operations, for jobs that run beside requests.
    pub fn service(&self) -> &Arc<Service> {
        &self.service
    }

    /// The store with this user's own credentials, where there are some.
    fn store_for(&self, user: &UserHandle) -> Store {
        // Whom nobody vouches for gets what the store gives to anybody, never what the gateway may do there.
        if user.access_key.is_empty() {
            return self.unsigned.clone();
        }
        let own = self.stores.get(&user.access_key);
        own.unwrap_or(&self.own).clone()
    }

    /// Answers one request.
    pub async fn handle(
        self: Arc<Self>,
        request: Request<Incoming>,
        peer: SocketAddr,
        signals: Signals,
    ) -> http::Response<Tracked> {
        let mut outcome = Outcome::new(request_id(), request.method().clone(), peer);
        let uri = request.uri().clone();
        let unread = http_body::Body::size_hint(request.body()).exact() != Some(0);
        let expects = request.headers().contains_key(EXPECT);
        let declared = browser::content_length(request.headers()).unwrap_or(u64::MAX);
        let origin = self.origin(&request);
        let mut answer = match self.answer(request, &signals, &mut outcome).await {
            Ok(answer) => answer,
            Err(told) => {
                if unread {
                    signals.linger();
                }
                outcome.notes.code.clone_from(&told.code);
                let mut answer =
                    wire::error::answer(&told, &outcome.method, uri.path(), &outcome.id);
                // A client that got this instead of `100 Continue` may or may not send its body now, and
                // some go on with the next request: what follows on this connection means nothing. Nor
                // does it where the body was not read to its end: the connection will not be used again,
                // and a client that is not told sends its next request into it.
                if unread && (expects || outcome.received() < declared) {
                    answer
                        .headers
                        .insert(CONNECTION, HeaderValue::from_static("close"));
                }
                answer
            }
        };
        if let Some(origin) = origin {
            Box::pin(self.share(&mut answer.headers, origin)).await;
        }
        respond(answer, outcome)
    }

    async fn answer(
        self: &Arc<Self>,
        request: Request<Incoming>,
        signals: &Signals,
        outcome: &mut Outcome,
    ) -> Result<Response, Box<Told>> {
        if head_len(&request) > MAX_HEAD {
            return Err(Told::head_too_large(MAX_HEAD).into());
        }
        if let Some(target) = self.browser_target(&request) {
            return Box::pin(self.answer_browser(request, target, outcome)).await;
        }
        let (call, uri) = self.prepare(request, signals, outcome)?;
        let changes_cors = s3::changes_cors(&call.endpoint, &call.method);
        let answer = if call.endpoint.kind.may_take_long() {
            Box::pin(self.patiently(call, uri.path().to_owned(), outcome)).await
        } else {
            self.service.call(call).await
        };
        if changes_cors {
            self.cors.forget(&outcome.bucket);
        }
        answer.map_err(|error| self.told(error, &mut outcome.notes))
    }

    /// The operation that a request asks for, by whoever asks being known and allowed to. Waits for nothing, so that none
    /// of this takes room in the connection's future.
    fn prepare(
        &self,
        request: Request<Incoming>,
        signals: &Signals,
        outcome: &mut Outcome,
    ) -> Result<(Call, Uri), Box<Told>> {
        let (head, body) = request.into_parts();
        let mut headers = head.headers;
        let (raw_path, raw_query) = (head.uri.path(), head.uri.query().unwrap_or_default());
        let host = headers.get(HOST).and_then(|host| host.to_str().ok());

        // Who asks.
        let signed = RequestHead {
            method: &head.method,
            raw_path,
            raw_query,
            headers: &headers,
        };
        let verified = auth::verify_with(
            &signed,
            |key| self.secret(key),
            Some(&self.day_keys),
            now(),
            &self.limits,
        );
        let (user, presigned, payload) = match (verified, self.policy.anonymous()) {
            (Err(AuthError::Anonymous), Some(anybody)) => {
                let payload = auth::unsigned_payload(&headers)
                    .map_err(|error| unauthenticated(&error, outcome))?;
                (anybody.clone(), false, payload)
            }
            (verified, _) => {
                let verified = verified.map_err(|error| unauthenticated(&error, outcome))?;
                let user = self.user(verified.access_key(), outcome)?;
                (user, verified.presigned(), verified.into_payload())
            }
        };

        // What for, and whether that is allowed.
        let target = Target::parse(raw_path, host, &self.domains).map_err(boxed(Told::uri))?;
        target
            .bucket()
            .unwrap_or_default()
            .clone_into(&mut outcome.bucket);
        target
            .key()
            .unwrap_or_default()
            .clone_into(&mut outcome.key);
        let query = Query::parse(raw_query).map_err(boxed(Told::uri))?;
        if presigned {
            take_from_query(&query, &mut headers).map_err(|error| Box::new(Told::auth(&error)))?;
        }
        let endpoint =
            s3::route(&head.method, target, &query, &headers).map_err(boxed(Told::route))?;
        outcome.operation = endpoint.kind.name();
        let needs = s3::needs(&endpoint, &head.method, &query, &headers);
        let permit = self
            .policy
            .permit(&user, needs)
            .map_err(|denied| self.told(denied.into(), &mut outcome.notes))?;
        if user.access_key.is_empty() && overrides_answer(&endpoint, &query) {
            let message =
                "Request specific response headers cannot be used for anonymous GET requests.";
            return Err(self.told(s3::Error::InvalidRequest(message), &mut outcome.notes));
        }
        if matches!(payload, Payload::Chunked { .. })
            && !matches!(endpoint.kind, Kind::PutObject | Kind::UploadPart)
        {
            let message = "Only PutObject and UploadPart take a body in chunks.";
            return Err(self.told(s3::Error::InvalidRequest(message), &mut outcome.notes));
        }

        // With which body. Nothing of it has been read yet: an early error never asks the client for it.
        let length = body_length(&headers, &payload)?;
        let raw = ClientBody::new(body, outcome.bytes_in());
        let raw = IdleLimit::new(raw, self.body_idle, || BodyError::ClientStalled);
        let body = self.body(raw, &headers, payload, length, &endpoint)?;

        if headers.contains_key(EXPECT) && headers.get(CONTENT_LENGTH).is_some_and(|n| n == "0") {
            signals.send_interim();
        }
        let store = self.store_for(&user);
        let call = Call {
            permit,
            endpoint,
            method: head.method,
            query,
            headers,
            body,
            store,
        };
        Ok((call, head.uri))
    }

    /// Calls an operation that may take longer than a client waits for the first byte of an answer.
    async fn patiently(
        self: &Arc<Self>,
        call: Call,
        resource: String,
        outcome: &Outcome,
    ) -> Result<Response, s3::Error> {
        let gateway = self.clone();
        let work = tokio::spawn(async move { gateway.service.call(call).await });
        let gateway = self.clone();
        let (method, id, late) = (outcome.method.clone(), outcome.id.clone(), outcome.late());
        let tell = move |ended: Result<Response, s3::Error>| {
            ended.unwrap_or_else(|error| {
                let mut notes = Notes::default();
                let told = gateway.told(error, &mut notes);
                notes.code.clone_from(&told.code);
                let _ = late.set(notes);
                wire::error::answer(&told, &method, &resource, &id)
            })
        };
        wire::patiently(AbortOnDropHandle::new(work), tell).await
    }

    /// The secret of an access key.
    fn secret(&self, access_key: &str) -> Option<Secret> {
        let user = self.policy.user(access_key)?;
        Some(user.secret_key.clone())
    }

    /// The user who has signed.
    fn user(&self, access_key: &str, outcome: &mut Outcome) -> Result<UserHandle, Box<Told>> {
        access_key.clone_into(&mut outcome.user);
        let user = self.policy.user(access_key).cloned();
        user.ok_or_else(|| Told::auth(&AuthError::Anonymous).into())
    }

    /// A client's body as operations take it: held against all that the headers promise of it.
    fn body<B>(
        &self,
        raw: B,
        headers: &HeaderMap,
        payload: Payload,
        length: Option<u64>,
        endpoint: &s3::Endpoint,
    ) -> Result<s3::Body, Box<Told>>
    where
        B: http_body::Body<Data = bytes::Bytes, Error = BodyError> + Send + Sync + 'static,
    {
        let payload_sha256 = match &payload {
            Payload::Signed(hash) => Some(*hash),
            _ => None,
        };
        let expected = match endpoint.kind {
            // Its checksum headers are about the object that is to be, not about this document.
            Kind::CompleteMultipartUpload => {
                Expected::from_headers(&without_checksums(headers), payload_sha256)
            }
            _ => Expected::from_headers(headers, payload_sha256),
        }
        .map_err(|error| Box::new(Told::checksum(&error)))?;
        // A part that brings no checksum gets one later, where its upload tells which.
        let (wants_md5, otherwise) = match endpoint.kind {
            Kind::PutObject | Kind::PostObject | Kind::UploadPart => {
                let settings = (self.service.settings)(&endpoint.bucket);
                let whole = endpoint.kind != Kind::UploadPart;
                let otherwise = settings.default_checksum.filter(|_| whole);
                (settings.etag == EtagMode::Md5, otherwise)
            }
            _ => (false, None),
        };
        let decoder = match payload {
            Payload::Chunked { signed, trailer } => {
                Some(Decoder::new(signed, trailer, length.unwrap_or_default()))
            }
            _ => None,
        };
        let verification = Verification {
            decoder,
            hashes: expected.hashes(wants_md5, otherwise),
            expected: expected.clone(),
            length,
        };
        let body = VerifyBody::new(raw, verification);
        let finished = body.finished();
        Ok(s3::Body {
            stream: body.boxed(),
            length,
            finished,
            expected,
        })
    }

    /// Counts and notes an operation's failure, and puts it into S3's words.
    fn told(&self, error: s3::Error, notes: &mut Notes) -> Box<Told> {
        notes.detail = error.to_string();
        match &error {
            s3::Error::Integrity(kind) => notes.note_integrity(*kind),
            s3::Error::Body(BodyError::Integrity(failure)) => {
                notes.note_integrity((*failure).into());
            }
            // The store's answer had begun, so the client of the store has not counted these.
            s3::Error::Body(BodyError::Store(_) | BodyError::StoreStalled) => {
                metrics::store_error("body");
            }
            s3::Error::Store(error @ StoreError::Malformed(_)) => {
                metrics::store_error(error.label());
            }
            s3::Error::Denied(denied) => metrics::denied(denied.name()),
            s3::Error::Store(StoreError::Status { message, .. }) if !message.is_empty() => {
                notes.detail = format!("{error}: {message}");
            }
            _ => {}
        }
        Box::new(Told::from(error))
    }
}

/// Bytes of a request's headers and query, with what separates them.
fn head_len<B>(request: &Request<B>) -> usize {
    let headers = request.headers().iter();
    let headers: usize = headers
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum();
    headers + request.uri().query().map_or(0, str::len)
}

/// Whether a read names headers of its answer itself (S3 API, GetObject: "you must sign the request").
fn overrides_answer(endpoint: &s3::Endpoint, query: &Query) -> bool {
    matches!(endpoint.kind, Kind::GetObject | Kind::HeadObject)
        && query.iter().any(|(name, _)| name.starts_with("response-"))
}

/// Counts and notes that a request is not authenticated.
fn unauthenticated(error: &AuthError, outcome: &mut Outcome) -> Box<Told> {
    metrics::auth_failure(auth_label(error));
    outcome.notes.detail = error.to_string();
    if let AuthError::InvalidAccessKeyId { access_key }
    | AuthError::SignatureDoesNotMatch { access_key } = error
    {
        outcome.notes.detail = format!("{error} (claimed access key {access_key:?})");
    }
    Box::new(Told::auth(error))
}

/// Takes the headers that SDKs move into the query of what they presign; headers that are there win.
///
/// Not those that sign, and no checksums: an SDK that presigns an upload computes them over a body that it
/// does not have yet, and S3 takes none from there ("Download and upload objects with presigned URLs").
fn take_from_query(query: &Query, headers: &mut HeaderMap) -> Result<(), AuthError> {
    const NOT_TAKEN: [&str; 9] = [
        "x-amz-algorithm",
        "x-amz-credential",
        "x-amz-date",
        "x-amz-expires",
        "x-amz-signedheaders",
        "x-amz-signature",
        "x-amz-content-sha256",
        "x-amz-security-token",
        "x-amz-sdk-checksum-algorithm",
    ];
    for (name, value) in query.iter() {
        let name = name.to_ascii_lowercase();
        let checksum = name.starts_with("x-amz-checksum-") && name != "x-amz-checksum-mode";
        if !name.starts_with("x-amz-") || checksum || NOT_TAKEN.contains(&name.as_str()) {
            continue;
        }
        let malformed = AuthError::MalformedQuery("a parameter cannot stand for a header");
        let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value))
        else {
            return Err(malformed);
        };
        headers.entry(name).or_insert(value);
    }
    Ok(())
}

/// Headers without those that name a checksum.
fn without_checksums(headers: &HeaderMap) -> HeaderMap {
    let names = ["x-amz-checksum-", "x-amz-sdk-checksum-"];
    headers
        .iter()
        .filter(|(name, _)| !names.iter().any(|start| name.as_str().starts_with(start)))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// An answer on the heap: it is large, and rare.
fn boxed<E>(make: impl Fn(E) -> Told) -> impl Fn(E) -> Box<Told> {
    move |error| Box::new(make(error))
}

/// Declared plaintext length of a body; `None` where the client gave none.
fn body_length(headers: &HeaderMap, payload: &Payload) -> Result<Option<u64>, Box<Told>> {
    if let Payload::Chunked { .. } = payload {
        return aws_chunked::decoded_content_length(headers)
            .map(Some)
            .map_err(|error| Box::new(Told::chunked(&error)));
    }
    let length = headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.parse().ok());
    // Neither header means no body at all, which an upload may not leave open.
    Ok(if headers.contains_key(TRANSFER_ENCODING) {
        None
    } else {
        length
    })
}

fn auth_label(error: &AuthError) -> &'static str {
    match error {
        AuthError::Anonymous => "anonymous",
        AuthError::InvalidAccessKeyId { .. } => "unknown_access_key",
        AuthError::SignatureDoesNotMatch { .. } => "signature",
        AuthError::TimeTooSkewed { .. } | AuthError::NotYetValid | AuthError::Expired { .. } => {
            "time"
        }
        AuthError::UnsignedHeader(_) | AuthError::MissingSignedHeader(_) => "unsigned_header",
        _ => "malformed",
    }
}

/// An id that tells log lines apart: a hash of the request's number under a key of this process, so that ids say nothing
/// of how many requests there were. No secret hangs on it, and asking the system for random bytes costs more.
fn request_id() -> String {
    static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let id = KEY.hash_one(COUNT.fetch_add(1, Ordering::Relaxed));
    format!("{id:016X}")
}

/// Puts an answer on the wire.
fn respond(answer: Response, outcome: Outcome) -> http::Response<Tracked> {
    let Response {
        status,
        mut headers,
        body,
        length,
    } = answer;
    if let Some(length) = length
        && status != http::StatusCode::NO_CONTENT
    {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    if let Ok(id) = HeaderValue::from_str(&outcome.id) {
        headers.insert(REQUEST_ID, id);
    }
    headers.insert(SERVER, HeaderValue::from_static("Sealgate"));
    let mut response = http::Response::new(Tracked::new(body, status.as_u16(), length, outcome));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

fn signer(credentials: &config::StoreCredentials, region: &str) -> Signer {
    Signer::new(
        credentials.access_key.clone(),
        credentials.secret_key.clone(),
        region,
    )
}

/// The formats of other programs that are read.
fn formats(compat: &config::Compat) -> Formats {
    let mut formats: Vec<Box<dyn Format>> = Vec::new();
    if let Some(s3proxy) = &compat.s3proxy {
        formats.push(Box::new(S3proxy::new(
            s3proxy.tags.iter().map(String::as_str),
            s3proxy.secrets.iter().map(Secret::expose),
            s3proxy.zero_key,
        )));
    }
    if let Some(s3ep) = &compat.s3ep {
        let keys = s3ep.keys.iter().map(|key| S3epKek::new(key.expose()));
        let keys = keys.collect();
        let (prefix, unauthenticated) = (&s3ep.prefix, s3ep.accept_unauthenticated);
        formats.push(Box::new(S3ep::new(prefix, keys, unauthenticated)));
    }
    if let Some(s3eg) = &compat.s3eg {
        let passwords = s3eg.passwords.iter().map(config::Password::expose);
        formats.push(Box::new(S3eg::new(passwords)));
    }
    Formats::new(formats, compat.accept_unsigned.map(|accept| accept.ends()))
}

/// Where objects wait that are checked as a whole. Its folder is looked at only where there can be such objects.
/// The chosen engine, once it has passed its self-test.
fn engine(chosen: config::CipherEngine) -> Result<Engine, StartError> {
    let (engine, name) = match chosen {
        config::CipherEngine::AwsLc => (Engine::AwsLc, "aws-lc"),
        config::CipherEngine::RustCrypto => (Engine::Rust, "rust-crypto"),
    };
    engine
        .works()
        .then_some(engine)
        .ok_or(StartError::Cipher(name))
}

fn spool(config: &Config) -> Result<Spool, SpoolError> {
    let section = &config.spool;
    let spool = Spool::new(&section.dir, section.bytes, section.max_object);
    if config.compat.is_some() || config.buckets.verify_objects() {
        spool.check()?;
    }
    Ok(spool)
}

/// Says, where it is so, that objects of other programs are not read any more.
fn report_compat(compat: &config::Compat) {
    if let Some(accept) = &compat.accept_unsigned
        && accept.ends() <= now()
    {
        tracing::error!(
            until = %accept.until,
            "compat.accept_unsigned.until has passed: objects of other programs are refused; migrate them, or set a later day"
        );
    }
}

fn bucket_settings(
    settings: &config::BucketSettings,
    formats: Option<&Arc<Formats>>,
) -> BucketSettings {
    BucketSettings {
        plaintext: match settings.plaintext {
            PlaintextObjects::Refuse => Plaintext::Refuse,
            PlaintextObjects::Allow => Plaintext::Allow,
        },
        etag: match settings.etag {
            EtagKind::Md5 => EtagMode::Md5,
            EtagKind::Opaque => EtagMode::Opaque,
        },
        recipients: settings
            .recipients
            .iter()
            .filter_map(|id| KeyId::new(id).ok())
            .collect(),
        bound_as: settings.bound_as.clone(),
        bind_metadata: settings.metadata == UserMetadata::Bound,
        multipart_bucket: settings.multipart_bucket.clone(),
        default_checksum: match settings.default_checksum {
            DefaultChecksum::None => None,
            DefaultChecksum::Crc64Nvme => Some(Algorithm::Crc64Nvme),
        },
        checked: match settings.verify {
            Verify::Object => Checked::Object,
            Verify::Segment => Checked::Segment,
        },
        formats: formats.filter(|_| settings.compat).cloned(),
    }
}

/// What decides whether objects of other programs open. It is hashed before it goes anywhere.
fn compat_scope(compat: &config::Compat) -> String {
    let s3proxy = compat.s3proxy.iter().flat_map(|s3proxy| &s3proxy.secrets);
    let s3ep = compat.s3ep.iter().flat_map(|s3ep| &s3ep.keys);
    let s3eg = compat.s3eg.iter().flat_map(|s3eg| &s3eg.passwords);
    let secrets: Vec<[u8; 32]> = s3proxy
        .map(|secret| secret.expose().as_bytes())
        .chain(s3ep.map(|key| &key.expose()[..]))
        .chain(s3eg.map(config::Password::expose))
        .map(|secret| Sha256::digest(secret).into())
        .collect();
    format!("\n{compat:?}\n{secrets:?}")
}

/// The cache of footers. What is in its file counts only under the same keys and the same rules.
fn facts(config: &Config) -> Result<s3::Facts, s3::FactsError> {
    let keys: Vec<String> = config
        .keyring
        .keys
        .iter()
        .map(|key| format!("{}/{}", key.id, key.version))
        .collect();
    let keys = keys.join(" ");
    let buckets = config.buckets.clone();
    let compat = config.compat.as_ref().map(compat_scope);
    let scope = move |bucket: &str| {
        let settings = buckets.of(bucket);
        let mut scope = format!(
            "{keys}\n{:?}\n{:?}\n{}",
            settings.plaintext, settings.metadata, settings.bound_as
        );
        if let Some(compat) = compat.as_ref().filter(|_| settings.compat) {
            scope.push_str(compat);
        }
        scope
    };
    s3::Facts::open(
        config.cache.bytes,
        config.cache.path.as_deref(),
        Box::new(scope),
    )
}

fn client_options(store: &config::Store) -> Result<store::Options, StartError> {
    let endpoint = format!(
        "{}://{}",
        store.endpoint.scheme(),
        store.endpoint.authority()
    );
    Ok(store::Options {
        endpoint: endpoint
            .parse()
            .map_err(|_| StoreError::Request("endpoint is no URL".into()))?,
        addressing: match store.addressing {
            config::Addressing::Path => Addressing::Path,
            config::Addressing::Virtual => Addressing::Virtual,
        },
        tls: wire::client_tls(store.ca_file.as_deref()).map_err(StartError::Tls)?,
        timeouts: Timeouts {
            connect: store.connect_timeout,
            read: store.read_timeout,
            pool_idle: store.pool_idle_timeout,
            keepalive: store.tcp_keepalive,
        },
        pool_max_idle: store.pool_max_idle,
        now,
    })
}

/// Listeners that are bound and ready to serve.
pub struct Listeners {
    /// For S3 clients.
    pub s3: TcpListener,
    /// For probes and metrics.
    pub admin: Option<TcpListener>,
}

impl Listeners {
    /// Binds the configured addresses, so that a mistake stops the start.
    ///
    /// # Errors
    /// [`StartError::Listen`].
    pub async fn bind(server: &config::Server) -> Result<Self, StartError> {
        let bind = async |address: SocketAddr| {
            TcpListener::bind(address)
                .await
                .map_err(|error| StartError::Listen(address, error))
        };
        let s3 = bind(server.listen).await?;
        let admin = match server.admin_listen {
            Some(address) => Some(bind(address).await?),
            None => None,
        };
        Ok(Self { s3, admin })
    }
}

/// Runs a gateway until `stop`, then finishes what is in flight.
///
/// # Errors
/// [`StartError`].
pub async fn run(
    config: &Config,
    listeners: Listeners,
    stop: CancellationToken,
) -> Result<(), StartError> {
    let gateway = Arc::new(Gateway::new(config)?);
    if let Some(compat) = &config.compat {
        report_compat(compat);
    }
    let acceptor = match &config.server.tls {
        Some(tls) => Some(wire::tls(&tls.cert_file, &tls.key_file).map_err(StartError::Tls)?),
        None => None,
    };
    let metrics = Metrics::install().map_err(|error| StartError::Metrics(error.to_string()))?;
    let background = CancellationToken::new();
    let _upkeep = metrics.spawn_upkeep(background.clone());
    let (readiness, ready) = watch::channel(Readiness::Starting);
    let probe = tokio::spawn(probe(
        gateway.own.clone(),
        readiness,
        stop.clone(),
        background.clone(),
    ));
    let admin = listeners.admin.map(|listener| {
        tokio::spawn(admin::serve(
            listener,
            ready,
            Some(metrics),
            background.clone(),
        ))
    });

    let limits = wire::Limits {
        max_connections: config.server.max_connections,
        header_timeout: config.server.header_timeout.max(config.server.idle_timeout),
        shutdown_grace: config.server.shutdown_grace,
    };
    let handler = move |request, peer, signals| gateway.clone().handle(request, peer, signals);
    wire::serve(listeners.s3, acceptor, limits, stop, handler).await;
    background.cancel();
    let _ = probe.await;
    if let Some(admin) = admin {
        let _ = admin.await;
    }
    Ok(())
}

/// Keeps readiness up to date. Any answer of the store counts: it is there.
async fn probe(
    store: Store,
    readiness: watch::Sender<Readiness>,
    stop: CancellationToken,
    background: CancellationToken,
) {
    loop {
        let request = store::Request::service(http::Method::GET);
        let state = match store.send("Probe", request).await {
            Ok(_) | Err(StoreError::Status { .. }) => Readiness::Ready,
            Err(_) => Readiness::StoreUnreachable,
        };
        readiness.send_replace(state);
        tokio::select! {
            () = stop.cancelled() => {
                readiness.send_replace(Readiness::Draining);
                background.cancelled().await;
                return;
            }
            () = tokio::time::sleep(PROBE_EVERY) => {}
        }
    }
}
