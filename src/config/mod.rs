//! The configuration: from flags, environment and a YAML file to types that need no more checks.
//!
//! ```text
//! flags ▶ environment ▶ file      laid over each other as one tree       (tree, fields)
//!        tree ─▶ types            every problem noted, with its place    (decode, sections)
//!        types ─▶ types           what only shows when all is known      (sections)
//! ```
//!
//! Nothing here reads the process's environment or file system by itself: [`Sources`] says how.

pub mod cli;
mod compat;
mod cors;
mod decode;
mod error;
mod fields;
mod human;
mod imports;
mod key_file;
mod load;
mod render;
mod sections;
mod substitute;
mod tree;

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use crate::policy::{Action, Pattern, Rule, Secret, StoreCredentials, User};
pub use crate::protocol::cors::Rule as CorsRule;
pub use crate::telemetry::{LogFormat, LogLevel};
pub use compat::{AcceptUnsigned, Compat, S3proxy, Spool};
pub use error::{ConfigError, Finding, Origin};
pub use imports::{Password, S3eg, S3ep};
pub use key_file::KeyBytes;
pub use load::{Loaded, Override, Sources, read_file};

use crate::policy::{Policy, PolicyError};

#[cfg(test)]
mod tests;

/// A checked configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// Where clients connect.
    pub server: Server,
    /// The store behind the gateway.
    pub store: Store,
    /// The key-encryption keys.
    pub keyring: Keyring,
    /// Who may do what. No two have the same access key.
    pub users: Vec<User>,
    /// What requests that nobody signed may do, as far as the store lets anybody; nothing where there is no rule.
    pub anonymous: Vec<Rule>,
    /// How objects of each bucket are kept.
    pub buckets: Buckets,
    /// Buckets that nobody may touch.
    pub blocked_buckets: Vec<String>,
    /// Bounds on what a request may cost.
    pub limits: Limits,
    /// The cache of footers.
    pub cache: Cache,
    /// Uploads in parts.
    pub multipart: Multipart,
    /// The objects of other programs that are read, if any are.
    pub compat: Option<Compat>,
    /// Where objects wait that are checked as a whole.
    pub spool: Spool,
    /// The log.
    pub logging: Logging,
}

impl Config {
    /// The policy of the configured users and blocked buckets.
    ///
    /// # Errors
    ///
    /// [`PolicyError`] where two users have the same access key, which a loaded configuration
    /// does not have.
    pub fn policy(&self) -> Result<Policy, PolicyError> {
        let policy = Policy::new(
            self.users.iter().cloned(),
            self.blocked_buckets.iter().cloned(),
        )?;
        Ok(policy.with_anonymous(self.anonymous.clone()))
    }
}

/// `server`: where clients connect.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Server {
    /// The address for S3 clients.
    pub listen: SocketAddr,
    /// The address for probes and metrics; none means no such listener.
    pub admin_listen: Option<SocketAddr>,
    /// Names under which buckets are addressed as `bucket.name`; lower case.
    pub domains: Vec<String>,
    /// The certificate to show to clients; none means plain HTTP.
    pub tls: Option<Tls>,
    /// How many client connections are served at once; more wait.
    pub max_connections: usize,
    /// How long a request's head may take to arrive.
    pub header_timeout: Duration,
    /// How long a connection may stand still between or within requests.
    pub idle_timeout: Duration,
    /// How long requests in flight may take once the gateway stops.
    pub shutdown_grace: Duration,
    /// What does AES-256-GCM.
    pub cipher_engine: CipherEngine,
}

/// `server.cipher_engine`: which implementation of AES-256-GCM does the work. What is stored is the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum CipherEngine {
    /// AWS-LC.
    #[default]
    AwsLc,
    /// RustCrypto.
    RustCrypto,
}

/// `server.tls`: the certificate to show to clients.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tls {
    /// The certificate chain in PEM.
    pub cert_file: PathBuf,
    /// The private key in PEM.
    pub key_file: PathBuf,
}

/// `store`: the store behind the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Store {
    /// Where it is.
    pub endpoint: Endpoint,
    /// The region to sign for.
    pub region: String,
    /// The gateway's own credentials there.
    pub credentials: StoreCredentials,
    /// How buckets are addressed there.
    pub addressing: Addressing,
    /// Certificates, in PEM, of the authorities to trust in place of the system's.
    pub ca_file: Option<PathBuf>,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long the store may stay silent within a request.
    pub read_timeout: Duration,
    /// How long an unused connection is kept.
    pub pool_idle_timeout: Duration,
    /// How many unused connections are kept.
    pub pool_max_idle: usize,
    /// After how long without traffic TCP probes a connection; none where never.
    pub tcp_keepalive: Option<Duration>,
}

/// The store's address: scheme, host and port, nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    pub(in crate::config) https: bool,
    pub(in crate::config) host: String,
    pub(in crate::config) port: Option<u16>,
}

impl Endpoint {
    /// Whether it is spoken to over TLS.
    #[must_use]
    pub const fn is_https(&self) -> bool {
        self.https
    }

    /// `http` or `https`.
    #[must_use]
    pub const fn scheme(&self) -> &'static str {
        if self.https { "https" } else { "http" }
    }

    /// The host; an IPv6 address stands in brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, its scheme's own where none was given.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(if self.https { 443 } else { 80 })
    }

    /// Host and port as they stand in the `Host` header: the scheme's own port left out.
    #[must_use]
    pub fn authority(&self) -> String {
        let own = if self.https { 443 } else { 80 };
        match self.port {
            Some(port) if port != own => format!("{}:{port}", self.host),
            _ => self.host.clone(),
        }
    }

    /// Whether the host is this machine.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        let bare = self.host.trim_start_matches('[').trim_end_matches(']');
        bare == "localhost"
            || bare
                .parse::<std::net::IpAddr>()
                .is_ok_and(|ip| ip.is_loopback())
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme(), self.authority())
    }
}

/// How buckets are addressed at the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Addressing {
    /// `https://host/bucket/key`.
    #[default]
    Path,
    /// `https://bucket.host/key`.
    Virtual,
}

/// `keyring`: the key-encryption keys.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Keyring {
    /// The id of the key that seals new objects.
    pub current: String,
    /// All keys. No two have the same id and version, nor the same bytes.
    pub keys: Vec<Key>,
}

impl Keyring {
    /// The version of `id` that seals new objects: the highest there is.
    #[must_use]
    pub fn newest(&self, id: &str) -> Option<&Key> {
        self.keys
            .iter()
            .filter(|key| key.id == id)
            .max_by_key(|key| key.version)
    }
}

/// One key-encryption key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Key {
    /// Its name: 1 to 64 letters, digits, `.`, `_`, `-`.
    pub id: String,
    /// Its version, from 1.
    pub version: u32,
    /// What it is.
    pub kind: KeyKind,
}

/// The kinds of keys of this version.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyKind {
    /// A key held here.
    Local(KeyBytes),
}

impl KeyKind {
    /// The name in the configuration.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Local(_) => "local",
        }
    }
}

/// `buckets`: how objects of each bucket are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Buckets {
    /// Fields of sections whose key is a name.
    names: HashMap<String, BucketFields>,
    /// Fields of the other sections, the most specific first.
    globs: Vec<(Pattern, BucketFields)>,
    /// The key of a bucket for which no section says otherwise.
    default_recipients: Vec<String>,
}

impl Buckets {
    /// What holds for `bucket`: each field from the most specific section that has it, or else
    /// its default.
    #[must_use]
    pub fn of(&self, bucket: &str) -> BucketSettings {
        let sections = self.names.get(bucket).into_iter().chain(
            self.globs
                .iter()
                .filter(|(pattern, _)| pattern.matches(bucket))
                .map(|(_, fields)| fields),
        );
        let mut found = BucketFields::default();
        for section in sections {
            found.inherit(section);
        }
        BucketSettings {
            plaintext: found.plaintext.unwrap_or_default(),
            etag: found.etag.unwrap_or_default(),
            verify: found.verify.unwrap_or_default(),
            metadata: found.metadata.unwrap_or_default(),
            recipients: found
                .recipients
                .unwrap_or_else(|| self.default_recipients.clone()),
            bound_as: found.bound_as.unwrap_or_else(|| bucket.to_owned()),
            multipart_bucket: found.multipart_bucket.filter(|other| other != bucket),
            default_checksum: found.default_checksum.unwrap_or_default(),
            compat: found.compat.unwrap_or(true),
            cors: found.cors,
        }
    }

    /// Whether objects are checked as a whole in any bucket.
    #[must_use]
    pub fn verify_objects(&self) -> bool {
        let globs = self.globs.iter().map(|(_, fields)| fields);
        let mut all = self.names.values().chain(globs);
        all.any(|fields| fields.verify == Some(Verify::Object))
    }

    /// Binds a bucket's objects to another name than the sections say.
    pub fn bind_as(&mut self, bucket: &str, name: &str) {
        let fields = self.names.entry(bucket.to_owned()).or_default();
        fields.bound_as = Some(name.to_owned());
    }

    /// The sections' patterns, the most specific first.
    #[must_use]
    pub fn patterns(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.names.keys().map(String::as_str).collect();
        names.sort_unstable();
        names.extend(self.globs.iter().map(|(pattern, _)| pattern.as_str()));
        names
    }
}

/// The fields of one section of `buckets`, each only where it was given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct BucketFields {
    plaintext: Option<PlaintextObjects>,
    etag: Option<EtagKind>,
    verify: Option<Verify>,
    metadata: Option<UserMetadata>,
    recipients: Option<Vec<String>>,
    bound_as: Option<String>,
    multipart_bucket: Option<String>,
    default_checksum: Option<DefaultChecksum>,
    compat: Option<bool>,
    cors: Option<Arc<[CorsRule]>>,
}

impl BucketFields {
    /// Takes from `general` what is not given here.
    fn inherit(&mut self, general: &Self) {
        self.plaintext = self.plaintext.or(general.plaintext);
        self.etag = self.etag.or(general.etag);
        self.verify = self.verify.or(general.verify);
        self.metadata = self.metadata.or(general.metadata);
        self.recipients = self
            .recipients
            .take()
            .or_else(|| general.recipients.clone());
        self.bound_as = self.bound_as.take().or_else(|| general.bound_as.clone());
        self.multipart_bucket = self
            .multipart_bucket
            .take()
            .or_else(|| general.multipart_bucket.clone());
        self.default_checksum = self.default_checksum.or(general.default_checksum);
        self.compat = self.compat.or(general.compat);
        self.cors = self.cors.take().or_else(|| general.cors.clone());
    }
}

/// What holds for one bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BucketSettings {
    /// Whether objects that are not sealed are served.
    pub plaintext: PlaintextObjects,
    /// What clients see as an object's `ETag`.
    pub etag: EtagKind,
    /// What is checked before the first byte of an object is released.
    pub verify: Verify,
    /// Whether clients' own metadata is authenticated with the object.
    pub metadata: UserMetadata,
    /// The ids of the keys that can open new objects; at least one.
    pub recipients: Vec<String>,
    /// The name that objects are bound to in place of the bucket's own.
    pub bound_as: String,
    /// The bucket for the temporary objects of uploads in parts, if not this one.
    pub multipart_bucket: Option<String>,
    /// The checksum of uploads that bring none.
    pub default_checksum: DefaultChecksum,
    /// Whether objects of other programs are read, where `compat` says how.
    pub compat: bool,
    /// What browsers of other origins may do, in place of what the store says.
    pub cors: Option<Arc<[CorsRule]>>,
}

/// `plaintext`: whether objects that are not sealed are served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PlaintextObjects {
    /// They are refused: anyone with access to the store could have planted them.
    #[default]
    Refuse,
    /// They are served as they are.
    Allow,
}

/// `etag`: what clients see as an object's `ETag`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EtagKind {
    /// The MD5 of the plaintext.
    #[default]
    Md5,
    /// A text that says nothing of the content, and costs no MD5.
    Opaque,
}

/// `default_checksum`: the checksum of uploads that bring none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DefaultChecksum {
    /// None.
    #[default]
    None,
    /// CRC-64 of NVM Express, as S3 computes it.
    Crc64Nvme,
}

/// `verify`: what is checked before the first byte of an object is released.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verify {
    /// The segment that holds it.
    #[default]
    Segment,
    /// All of the object.
    Object,
}

/// `metadata`: whether clients' own metadata is authenticated with the object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UserMetadata {
    /// It is: the store cannot change it unnoticed.
    #[default]
    Bound,
    /// It is not: other tools may change it at the store.
    Unbound,
}

/// `limits`: bounds on what a request may cost.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// How many footers one listing fetches side by side.
    pub list_concurrency: usize,
    /// How long an XML body of a request, or of an answer of the store, may be.
    pub max_xml_body: u64,
    /// Bytes that the buffers of all bodies in flight should not exceed together.
    pub stream_memory: u64,
}

/// `cache`: the cache of footers, which listings and conditionals ask.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cache {
    /// Memory that it takes at most; 0 means no cache.
    pub bytes: u64,
    /// The file that keeps it over a restart, if any.
    pub path: Option<PathBuf>,
}

/// `multipart`: uploads in parts.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Multipart {
    /// What the keys of the gateway's own objects begin with. Clients see nothing below it.
    pub prefix: String,
    /// Plaintext bytes that a part has at least, the last one excepted.
    pub min_part_size: u64,
}

/// `logging`: the log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Logging {
    /// The least important lines that are written.
    pub level: LogLevel,
    /// How a line looks.
    pub format: LogFormat,
}
