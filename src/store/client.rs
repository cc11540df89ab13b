//! A signing HTTP client for one store endpoint.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST, HeaderMap, HeaderValue};
use http::uri::{PathAndQuery, Scheme};
use http::{Method, StatusCode, Uri};
use http_body_util::{BodyExt, Limited};
use hyper_util::client::legacy::connect::HttpConnector;

use super::StoreError;
use super::pool::{Pool, Received};
use crate::auth::Signer;
use crate::protocol::uri::{self, Query};
use crate::pump::{self, BodyError, BoxBody};
use crate::telemetry::metrics::{self, Direction, Side};

/// Longest XML answer that is read into memory: a listing page of 1,000 keys of 1,024 escaped bytes.
const MAX_DOCUMENT: usize = 16 * 1024 * 1024;

/// How often a read is sent again where no answer came, or one that says that the store failed.
const RETRIES: u32 = 4;

/// The pause before the first repetition; each further one is twice as long.
const RETRY_AFTER: Duration = Duration::from_millis(20);

/// How a bucket is named in a request to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addressing {
    /// `https://endpoint/bucket/key`
    Path,
    /// `https://bucket.endpoint/key`
    Virtual,
}

/// Time limits. None of them bounds a body that moves.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// Until a TCP connection stands.
    pub connect: Duration,
    /// Until an answer begins (after the request's body has ended), and between reads of its body.
    pub read: Duration,
    /// How long an unused connection is kept.
    pub pool_idle: Duration,
    /// After how long without traffic TCP probes a connection, if ever.
    pub keepalive: Option<Duration>,
}

/// What is needed to reach a store.
pub struct Options {
    /// Scheme and authority, no path.
    pub endpoint: Uri,
    /// Path or virtual-hosted addressing.
    pub addressing: Addressing,
    /// TLS settings for https endpoints.
    pub tls: rustls::ClientConfig,
    /// Time limits.
    pub timeouts: Timeouts,
    /// Unused connections kept at most.
    pub pool_max_idle: usize,
    /// Seconds since 1970, for signatures.
    pub now: fn() -> i64,
}

/// Connections to one endpoint, shared by all users.
pub struct Client {
    pool: Pool,
    /// The endpoint's.
    host: Host,
    addressing: Addressing,
    timeouts: Timeouts,
    now: fn() -> i64,
}

/// Where a request goes: name and port.
#[derive(Clone)]
struct Host {
    name: Arc<str>,
    header: HeaderValue,
}

/// A client with the credentials to sign with.
#[derive(Clone)]
pub struct Store {
    client: Arc<Client>,
    /// None sends requests as they are, so that the store treats them as anybody's.
    signer: Option<Arc<Signer>>,
}

/// A request to the store, not yet signed.
pub struct Request {
    /// HTTP method.
    pub method: Method,
    /// Bucket, where the request is about one.
    pub bucket: Option<String>,
    /// Object key, where the request is about one.
    pub key: Option<String>,
    /// Query pairs, decoded.
    pub query: Query,
    /// Headers to send and sign.
    pub headers: HeaderMap,
    /// Body with a known length, if any.
    pub body: Option<BoxBody>,
}

/// An answer with a success status; its body is still to be read.
pub type Response = http::Response<Received>;

impl Request {
    /// A request without body about the service itself.
    pub fn service(method: Method) -> Self {
        Self {
            method,
            bucket: None,
            key: None,
            query: Query::default(),
            headers: HeaderMap::new(),
            body: None,
        }
    }

    /// A request without body about a bucket or the service.
    pub fn bucket(method: Method, bucket: &str) -> Self {
        Self {
            method,
            bucket: Some(bucket.to_owned()),
            key: None,
            query: Query::default(),
            headers: HeaderMap::new(),
            body: None,
        }
    }

    /// A request without body about an object.
    pub fn object(method: Method, bucket: &str, key: &str) -> Self {
        Self {
            key: Some(key.to_owned()),
            ..Self::bucket(method, bucket)
        }
    }

    /// Whether sending it twice does no harm.
    fn is_read(&self) -> bool {
        matches!(self.method, Method::GET | Method::HEAD) && self.body.is_none()
    }

    /// Adds a query pair.
    #[must_use]
    pub fn query(mut self, name: &str, value: &str) -> Self {
        self.query.push(name, value);
        self
    }

    /// Adds `versionId` where there is one.
    #[must_use]
    pub fn version(self, version: Option<&str>) -> Self {
        match version {
            Some(version) => self.query("versionId", version),
            None => self,
        }
    }

    /// Sets a header. Values that HTTP cannot carry are left out; callers pass checked ones.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: BoxBody) -> Self {
        self.body = Some(body);
        self
    }
}

impl Client {
    /// Prepares connections; opens none.
    pub fn new(options: Options) -> Result<Self, StoreError> {
        let scheme = options.endpoint.scheme().cloned();
        let host = options
            .endpoint
            .authority()
            .ok_or_else(|| StoreError::Request("endpoint has no host".into()))
            .and_then(|authority| Host::new(authority.as_str()))?;
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(options.timeouts.connect));
        tcp.set_keepalive(options.timeouts.keepalive);
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(options.tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        Ok(Self {
            pool: Pool::new(
                connector,
                scheme.unwrap_or(Scheme::HTTPS),
                options.timeouts.pool_idle,
                options.pool_max_idle,
            ),
            host,
            addressing: options.addressing,
            timeouts: options.timeouts,
            now: options.now,
        })
    }

    /// The client with credentials.
    pub fn with(self: &Arc<Self>, signer: Arc<Signer>) -> Store {
        Store {
            client: self.clone(),
            signer: Some(signer),
        }
    }

    /// The client without credentials: the store decides what anybody may do.
    pub fn anonymous(self: &Arc<Self>) -> Store {
        Store {
            client: self.clone(),
            signer: None,
        }
    }

    /// Host and path of a request.
    fn target(
        &self,
        bucket: Option<&str>,
        key: Option<&str>,
    ) -> Result<(Host, String), StoreError> {
        let key = key.unwrap_or_default();
        Ok(match (self.addressing, bucket) {
            (Addressing::Virtual, Some(bucket)) => {
                let mut path = String::from("/");
                uri::percent_encode_into(&mut path, key.as_bytes(), true);
                let host = Host::new(&format!("{bucket}.{}", self.host.name))?;
                (host, path)
            }
            (Addressing::Path, Some(bucket)) => (self.host.clone(), uri::encode_path(bucket, key)),
            (_, None) => (self.host.clone(), "/".to_owned()),
        })
    }
}

impl Host {
    fn new(name: &str) -> Result<Self, StoreError> {
        let header = HeaderValue::from_str(name).map_err(|e| StoreError::Request(e.to_string()))?;
        Ok(Self {
            name: name.into(),
            header,
        })
    }
}

impl Store {
    /// Whether both send their requests with the same credentials.
    pub fn signs_as(&self, other: &Self) -> bool {
        match (&self.signer, &other.signer) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, None) => true,
            _ => false,
        }
    }

    /// Signs and sends. Any status but 2xx and 304 is an error, its body read and parsed.
    ///
    /// # Errors
    /// [`StoreError`]; where the request's own body failed, [`StoreError::Unreachable`] (the caller
    /// knows why its body failed).
    pub async fn send(
        &self,
        operation: &'static str,
        mut request: Request,
    ) -> Result<Response, StoreError> {
        let started = std::time::Instant::now();
        let read = request.is_read();
        let (headers, body) = match read {
            true => (request.headers.clone(), None),
            false => (std::mem::take(&mut request.headers), request.body.take()),
        };
        let mut result = self.send_once(&request, headers, body).await;
        // A kept connection may have been closed by the store just when it was used, and some stores fail
        // while an object is being replaced. Reads can simply be sent again; anything else is for the
        // client to repeat, which knows what it meant.
        let mut attempts = 0..if read { RETRIES } else { 0 };
        while let Err(error) = &result
            && error.is_passing()
            && let Some(attempt) = attempts.next()
        {
            tracing::debug!(operation, %error, "asking the store again");
            tokio::time::sleep(RETRY_AFTER * (1 << attempt)).await;
            let again = self.send_once(&request, request.headers.clone(), None);
            result = Box::pin(again).await;
        }
        let status = match &result {
            Ok(response) => Some(response.status()),
            Err(error) => error.status(),
        };
        metrics::store_request(operation, status.map(|s| s.as_u16()), started.elapsed());
        if let Err(error) = &result
            && !matches!(error, StoreError::Aborted)
        {
            metrics::store_error(error.label());
        }
        result
    }

    /// Sends a request, with these headers and this body in place of its own.
    async fn send_once(
        &self,
        request: &Request,
        mut headers: HeaderMap,
        body: Option<BoxBody>,
    ) -> Result<Response, StoreError> {
        let client = &self.client;
        let bad = |error: http::Error| StoreError::Request(error.to_string());
        let (host, mut target) =
            client.target(request.bucket.as_deref(), request.key.as_deref())?;
        headers.insert(HOST, host.header);
        let had_body = body.is_some();
        let body = body.unwrap_or_else(pump::empty);
        let length = http_body::Body::size_hint(&body)
            .exact()
            .ok_or_else(|| StoreError::Request("body of unknown length".into()))?;
        if had_body || matches!(request.method, Method::PUT | Method::POST) {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        let path = target.len();
        if !request.query.is_empty() {
            target.push('?');
            target.push_str(&request.query.encode());
        }
        if let Some(signer) = &self.signer {
            let (path, query) = target.split_at(path);
            signer
                .sign(
                    &request.method,
                    path,
                    query.strip_prefix('?').unwrap_or_default(),
                    &mut headers,
                    "UNSIGNED-PAYLOAD",
                    (client.now)(),
                )
                .map_err(|e| StoreError::Request(e.to_string()))?;
        }
        let target = PathAndQuery::from_maybe_shared(Bytes::from(target));
        let sent = Sent::new(length);
        let mut built = http::Request::new(sent.watch(body));
        *built.method_mut() = request.method.clone();
        *built.uri_mut() = Uri::from(target.map_err(|error| bad(error.into()))?);
        *built.headers_mut() = headers;

        let answer = client.pool.send(&host.name, built);
        tokio::pin!(answer);
        // The limit runs only while the store holds things up, not while a client uploads.
        let mut waited_since_end = false;
        let response = loop {
            match tokio::time::timeout(client.timeouts.read, &mut answer).await {
                Ok(Ok(response)) => break response,
                Ok(Err(error)) if caused_by_body(&error) => return Err(StoreError::Aborted),
                Ok(Err(error)) => return Err(StoreError::Unreachable(chain(&error))),
                Err(_) if sent.is() && waited_since_end => {
                    return Err(StoreError::Timeout);
                }
                Err(_) => waited_since_end = sent.is(),
            }
        };
        let status = response.status();
        if sent.is() {
            metrics::bytes(Side::Store, Direction::In, length);
        }
        if status.is_success() || status == StatusCode::NOT_MODIFIED {
            return Ok(response);
        }
        let headers = Box::new(response.headers().clone());
        let (code, message) = match self.document(response).await {
            Ok(document) => error_fields(&document),
            Err(_) => (String::new(), String::new()),
        };
        Err(StoreError::Status {
            status,
            code,
            message,
            headers,
        })
    }

    /// Reads a bounded answer.
    ///
    /// # Errors
    /// [`StoreError::Malformed`] above 16 MiB, [`StoreError::Unreachable`] where it breaks off.
    pub async fn document(&self, response: Response) -> Result<Bytes, StoreError> {
        let body = response
            .into_body()
            .map_err(|e| BodyError::Store(chain(&e)));
        // A limit on pauses, not on the whole: a store may take minutes over an answer that it has begun, and
        // sends white space meanwhile.
        let body =
            pump::IdleLimit::new(body, self.client.timeouts.read, || BodyError::StoreStalled);
        match Limited::new(body, MAX_DOCUMENT).collect().await {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => {
                Err(StoreError::Malformed("answer is too long"))
            }
            Err(error) => match error.downcast_ref() {
                Some(BodyError::StoreStalled) => Err(StoreError::Timeout),
                _ => Err(StoreError::Unreachable(error.to_string())),
            },
        }
    }

    /// The body of an answer, with a limit on how long the store may pause.
    pub fn stream(&self, response: Response) -> BoxBody {
        let body = response
            .into_body()
            .map_err(|e| BodyError::Store(chain(&e)))
            .map_frame(|frame| {
                let count = frame.data_ref().map_or(0, Bytes::len);
                metrics::bytes(Side::Store, Direction::Out, count as u64);
                frame
            });
        pump::IdleLimit::new(body, self.client.timeouts.read, || BodyError::StoreStalled).boxed()
    }
}

/// Whether a request's body has been taken to its end. None where there is nothing to be taken.
struct Sent(Option<Arc<AtomicBool>>);

impl Sent {
    /// Of a body of so many bytes.
    fn new(length: u64) -> Self {
        Self((length > 0).then(Arc::default))
    }

    /// Paces the body, and notes its end.
    fn watch(&self, body: BoxBody) -> BoxBody {
        let Some(sent) = self.0.clone() else {
            return body;
        };
        let body = pump::OnEnd::new(body, move || sent.store(true, Ordering::Release));
        pump::Paced::new(body).boxed()
    }

    fn is(&self) -> bool {
        let sent = self.0.as_ref();
        sent.is_none_or(|sent| sent.load(Ordering::Acquire))
    }
}

/// Whether a request failed because its own body did.
fn caused_by_body(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut error = Some(error);
    while let Some(inner) = error {
        if inner.is::<BodyError>() {
            return true;
        }
        error = inner.source();
    }
    false
}

/// An error with its sources, for logs.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}

/// `Code` and `Message` of an S3 error document; empty where there are none.
fn error_fields(document: &[u8]) -> (String, String) {
    let field = |name: &str| {
        let text = std::str::from_utf8(document).ok()?;
        let from = text.find(&format!("<{name}>"))? + name.len() + 2;
        let to = from + text[from..].find('<')?;
        Some(text[from..to].chars().take(500).collect::<String>())
    };
    (
        field("Code").unwrap_or_default(),
        field("Message").unwrap_or_default(),
    )
}
