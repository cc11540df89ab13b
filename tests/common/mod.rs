//! A store, a gateway in front of it, and clients that see every byte: all in the test's own process
//! and on its own thread, so that metrics and log lines belong to this test alone.
//!
//! ```text
//! Ask ──► gateway ──► Spy (notes, and lies where told to) ──► embedded store ◄── World::store
//! ```
#![allow(
    dead_code,
    unused_imports,
    reason = "each test binary uses a part of this"
)]

mod form;
mod http1;
mod recorder;
mod spy;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use sealgate::config::{Config, Sources};
use sealgate::embedded;
use sealgate::gateway::Gateway;
use sealgate::pump;
use sealgate::store::{Request, Store};
use sealgate::wire;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use recorder::Recorder;

pub use form::PostForm;
pub use http1::{Answer, Ask, Connection, Form, query_of};
pub use spy::{Reply, Seen, Spy};

/// Whoever asks.
#[derive(Clone, Copy, Debug)]
pub struct User {
    /// Access key.
    pub access_key: &'static str,
    /// Its secret.
    pub secret_key: &'static str,
}

/// May do everything.
pub const ALICE: User = User {
    access_key: "alice",
    secret_key: "alice-secret-0123456789",
};
/// May do what a test says.
pub const BOB: User = User {
    access_key: "bob",
    secret_key: "bob-secret-0123456789ab",
};
/// The store's own user.
pub const STORE: User = User {
    access_key: "store-access",
    secret_key: "store-secret-0123456789",
};
/// Nobody knows him.
pub const MALLORY: User = User {
    access_key: "mallory",
    secret_key: "mallory-secret-01234567",
};

/// The host name under which the gateway takes bucket names.
pub const DOMAIN: &str = "s3.example.org";

/// The key-encryption key of every gateway here.
pub const KEK: [u8; 32] = *b"thirty-two bytes that make a key";

/// Content headers that belong to an object.
const CONTENT_HEADERS: [&str; 6] = [
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-type",
    "expires",
];

/// Store and gateway, running.
pub struct World {
    /// The store itself, with the gateway's credentials, past the spy.
    pub store: Store,
    /// Between gateway and store.
    pub spy: Spy,
    /// Where the gateway listens.
    pub address: SocketAddr,
    /// Where the store listens, for [`STORE`].
    pub store_address: SocketAddr,
    /// Makes the gateway finish what is in flight and end.
    pub stop: CancellationToken,
    /// The gateway's listener.
    pub server: JoinHandle<()>,
    /// Where the store keeps its files.
    pub folder: tempfile::TempDir,
    settings: serde_json::Value,
    metrics: &'static Recorder,
    log: Log,
    _embedded: embedded::Handle,
    _recording: metrics::LocalRecorderGuard<'static>,
    _logging: tracing::subscriber::DefaultGuard,
}

/// An object as the store holds it.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// Content headers and user metadata.
    pub headers: HeaderMap,
    /// The bytes.
    pub body: Vec<u8>,
}

impl Stored {
    /// The object with another body.
    pub fn with_body(&self, body: impl Into<Vec<u8>>) -> Self {
        Self {
            headers: self.headers.clone(),
            body: body.into(),
        }
    }

    /// The object with another value of a header, or without it.
    pub fn with_header(&self, name: &'static str, value: Option<&str>) -> Self {
        let mut headers = self.headers.clone();
        match value {
            Some(value) => {
                headers.insert(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
            }
            None => {
                headers.remove(name);
            }
        }
        Self {
            headers,
            body: self.body.clone(),
        }
    }
}

impl World {
    /// A world with [`ALICE`] alone, and default settings.
    pub async fn start() -> Self {
        Self::with("[]", "{}").await
    }

    /// A world with further users, and settings of buckets, in YAML.
    pub async fn with(users: &str, buckets: &str) -> Self {
        let parsed = |text| serde_json::from_str::<serde_json::Value>(text).unwrap();
        let settings = serde_json::json!({"users": parsed(users), "buckets": parsed(buckets)});
        Self::with_settings(settings).await
    }

    /// A world in which parts of any length are taken, so that an object can have many in a short time.
    pub async fn with_many_parts() -> Self {
        let settings = serde_json::json!({"multipart": {"min_part_size": "1B"}});
        Self::with_settings(settings).await
    }

    /// A world whose gateways have these sections of the configuration; `users` come after [`ALICE`], and other
    /// sections may leave out what every gateway here has.
    pub async fn with_settings(settings: serde_json::Value) -> Self {
        Box::pin(Self::begin(settings)).await
    }

    async fn begin(settings: serde_json::Value) -> Self {
        // First of all: whatever is started below records here.
        let recorder: &'static Recorder = Box::leak(Box::default());
        let recording = metrics::set_default_local_recorder(recorder);
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .with_env_filter("info,s3s=off")
            .with_writer(move || writer.clone())
            .finish();
        let logging = tracing::subscriber::set_default(subscriber);

        let folder = tempfile::tempdir().unwrap();
        let options = embedded::Options {
            data: folder.path().join("store"),
            access_key: "store-access".into(),
            secret_key: "store-secret-0123456789".into(),
            listen: "127.0.0.1:0".parse().unwrap(),
        };
        let mut limits = embedded::Limits::default();
        if settings["multipart"]["min_part_size"].is_string() {
            limits.smallest_part = 0;
        }
        let listener = TcpListener::bind(options.listen).await.unwrap();
        let embedded = embedded::start_with(listener, options, limits)
            .await
            .unwrap();
        let spy = Spy::before(embedded.endpoint).await;
        let config = |store: SocketAddr| config(store, folder.path(), &settings);
        let store = Gateway::new(&config(embedded.endpoint))
            .unwrap()
            .store()
            .clone();
        let stop = CancellationToken::new();
        let (address, server) = serve(&config(spy.address), stop.clone()).await;
        Self {
            store,
            spy,
            address,
            store_address: embedded.endpoint,
            stop,
            server,
            folder,
            settings,
            metrics: recorder,
            log,
            _embedded: embedded,
            _recording: recording,
            _logging: logging,
        }
    }

    /// The same with a bucket named `bucket`.
    pub async fn with_bucket() -> Self {
        let world = Self::start().await;
        world.create("bucket").await;
        world
    }

    /// Makes a bucket, at the store itself.
    pub async fn create(&self, bucket: &str) {
        let answer = self
            .store
            .send("Test", Request::bucket(Method::PUT, bucket))
            .await
            .unwrap();
        self.store.document(answer).await.unwrap();
    }

    /// Sends a request to the gateway and reads the answer.
    pub async fn send(&self, ask: Ask) -> Answer {
        // On the heap, as below: a test awaits this many times, and each place would take its stack.
        Box::pin(async {
            let mut connection = Connection::open(self.address).await;
            connection.exchange(&ask, self.address).await
        })
        .await
    }

    /// The same to another gateway of this world.
    pub async fn send_to(&self, address: SocketAddr, ask: Ask) -> Answer {
        let mut connection = Connection::open(address).await;
        connection.exchange(&ask, address).await
    }

    /// The configuration of this world's gateways.
    pub fn config(&self) -> Config {
        config(self.spy.address, self.folder.path(), &self.settings)
    }

    /// Starts a second gateway in front of the same store, with the same configuration.
    pub async fn again(&self) -> SocketAddr {
        serve(&self.config(), CancellationToken::new()).await.0
    }

    /// A gateway of this world that listens nowhere, for jobs that run beside requests.
    pub fn gateway(&self) -> Gateway {
        Gateway::new(&config(
            self.spy.address,
            self.folder.path(),
            &self.settings,
        ))
        .unwrap()
    }

    /// Uploads through the gateway, which must succeed.
    pub async fn put(&self, key: &str, body: &[u8]) -> Answer {
        let answer = self.send(Ask::put("bucket", key, body)).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        answer
    }

    /// Downloads through the gateway.
    pub async fn get(&self, key: &str) -> Answer {
        self.send(Ask::get("bucket", key)).await
    }

    /// What the store itself holds.
    pub async fn stored(&self, bucket: &str, key: &str) -> Option<Stored> {
        let answer = match self
            .store
            .send("Test", Request::object(Method::GET, bucket, key))
            .await
        {
            Ok(answer) => answer,
            Err(error) => {
                assert_eq!(error.status(), Some(StatusCode::NOT_FOUND), "{error}");
                return None;
            }
        };
        let headers = answer
            .headers()
            .iter()
            .filter(|(name, _)| {
                CONTENT_HEADERS.contains(&name.as_str()) || name.as_str().starts_with("x-amz-meta-")
            })
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        let body = self.store.document(answer).await.unwrap().to_vec();
        Some(Stored { headers, body })
    }

    /// Puts an object into the store itself, past the gateway.
    pub async fn plant(&self, bucket: &str, key: &str, object: &Stored) {
        let mut request = Request::object(Method::PUT, bucket, key)
            .body(pump::full(Bytes::from(object.body.clone())));
        request.headers = object.headers.clone();
        Box::pin(async {
            let answer = self.store.send("Test", request).await.unwrap();
            self.store.document(answer).await.unwrap();
        })
        .await;
    }

    /// The value of a counter: of the series with that label, or the sum of all.
    pub fn metric(&self, name: &str, label: Option<(&str, &str)>) -> u64 {
        self.metrics.sum(name, label)
    }

    /// The value of a gauge without labels.
    pub fn gauge(&self, name: &str) -> f64 {
        self.metrics.gauge(name)
    }

    /// Integrity failures counted so far, of one kind.
    pub fn integrity_failures(&self, kind: &str) -> u64 {
        self.metric("sealgate_integrity_failures_total", Some(("kind", kind)))
    }

    /// Integrity failures counted so far, of all kinds.
    pub fn all_integrity_failures(&self) -> u64 {
        self.metric("sealgate_integrity_failures_total", None)
    }

    /// The log line of a request. Waits until the gateway has written it: that is after the last byte
    /// of the answer has left.
    pub async fn log_line(&self, request_id: &str) -> serde_json::Value {
        let wait = async {
            loop {
                if let Some(line) = self.log.line_of(request_id) {
                    return line;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(20), wait)
            .await
            .expect("a log line of the request")
    }
}

async fn serve(config: &Config, stop: CancellationToken) -> (SocketAddr, JoinHandle<()>) {
    let gateway = Arc::new(Gateway::new(config).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let limits = wire::Limits {
        max_connections: 1000,
        header_timeout: config.server.header_timeout.max(config.server.idle_timeout),
        shutdown_grace: std::time::Duration::from_secs(60),
    };
    let handler = move |request, peer, signals| gateway.clone().handle(request, peer, signals);
    let server = tokio::spawn(wire::serve(listener, None, limits, stop, handler));
    (address, server)
}

fn config(store: SocketAddr, folder: &std::path::Path, settings: &serde_json::Value) -> Config {
    let key_file = folder.join("key");
    std::fs::write(
        &key_file,
        sealgate::keys::generate_key_file(&KEK).as_bytes(),
    )
    .unwrap();
    let mut sections = serde_json::json!({
        "server": {"listen": "127.0.0.1:0", "domain": DOMAIN},
        "store": {
            "endpoint": format!("http://{store}"),
            "region": embedded::REGION,
            "access_key": "store-access",
            "secret_key": "store-secret-0123456789",
        },
        "keyring": {"current": "main", "keys": [{"id": "main", "kind": "local", "file": key_file}]},
        "users": [{
            "access_key": ALICE.access_key, "secret_key": ALICE.secret_key, "allowed_buckets": ["*"],
        }],
    });
    for (name, section) in settings.as_object().unwrap() {
        match (&mut sections[name], section) {
            (serde_json::Value::Object(own), serde_json::Value::Object(more)) => {
                own.extend(more.clone());
            }
            (serde_json::Value::Array(own), serde_json::Value::Array(more)) => {
                own.extend(more.iter().cloned());
            }
            (own, section) => *own = section.clone(),
        }
    }
    // JSON is YAML.
    Config::load(
        &Sources::new(&|_| None, &sealgate::config::read_file)
            .with_text("test", sections.to_string()),
    )
    .unwrap()
    .config
}

/// Log lines with a request id, by that.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<HashMap<String, serde_json::Value>>>);

impl Log {
    fn line_of(&self, request_id: &str) -> Option<serde_json::Value> {
        self.0.lock().unwrap().get(request_id).cloned()
    }
}

/// The subscriber writes a line at a time.
impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let line: serde_json::Value = serde_json::from_slice(bytes)?;
        if let Some(id) = line["request_id"].as_str() {
            self.0.lock().unwrap().insert(id.to_owned(), line);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Bytes that repeat nowhere near a segment's length, with a marker to search for.
pub fn content(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let mut bytes: Vec<u8> = (0..length)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect();
    let marker = MARKER.len().min(length);
    bytes[..marker].copy_from_slice(&MARKER[..marker]);
    bytes
}

/// What [`content`] begins with.
pub const MARKER: &[u8] = b"PLAINTEXT-MARKER";

/// Whether `needle` stands anywhere in `haystack`.
pub fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack
        .windows(needle.len())
        .any(|window| window == needle)
}

/// A header map of pairs.
pub fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|(name, value)| {
            (
                name.parse::<HeaderName>().unwrap(),
                HeaderValue::from_bytes(value.as_bytes()).unwrap(),
            )
        })
        .collect()
}

/// MD5 in hexadecimal, as S3 shows it.
pub fn md5_hex(bytes: &[u8]) -> String {
    use md5::Digest as _;
    hex::encode(md5::Md5::digest(bytes))
}

/// MD5 in base64, as `Content-MD5` has it.
pub fn md5_base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    use md5::Digest as _;
    base64::prelude::BASE64_STANDARD.encode(md5::Md5::digest(bytes))
}
