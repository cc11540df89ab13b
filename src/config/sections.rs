//! The sections of the configuration, one function each, and what must hold between them.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::time::Duration;

use http::Uri;
use http::uri::Scheme;

use super::compat;
use super::cors;
use super::decode::{Decoder, Section, Spot, Text, join};
use super::error::Origin;
use super::key_file::KeyBytes;
use super::tree::{Entry, Node};
use super::{
    Addressing, BucketFields, Buckets, Cache, CipherEngine, Config, DefaultChecksum, Endpoint,
    EtagKind, Key, KeyKind, Keyring, Limits, LogFormat, LogLevel, Logging, Multipart,
    PlaintextObjects, Server, Store, Tls, UserMetadata, Verify,
};
use crate::policy::{Action, Actions, Pattern, Rule, StoreCredentials, User};

const ROOT: [&str; 13] = [
    "server",
    "store",
    "keyring",
    "users",
    "anonymous",
    "buckets",
    "blocked_buckets",
    "limits",
    "cache",
    "multipart",
    "compat",
    "spool",
    "logging",
];

/// Key kinds that the format has, but this version has not.
const KINDS_TO_COME: [&str; 5] = ["user", "aws-kms", "vault", "pkcs11", "escrow"];

/// Secrets shorter than this are warned of.
const SHORT_SECRET: usize = 16;

/// Where the gateway keeps objects of its own, unless told otherwise.
const RESERVED: &str = "~sealgate/";

/// Longest such prefix in bytes: what comes behind it has to fit into a key of 1,024.
const MAX_RESERVED: usize = 200;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_hours(1);

/// The whole configuration.
pub(super) fn config(d: &mut Decoder<'_>, tree: &Node) -> Option<Config> {
    let root = d.section(Some(tree), "", &ROOT);
    let server = server(d, &root);
    let store = store(d, &root);
    let keys = keys(d, &root);
    let (users, mut user_names) = users(d, &root);
    let anonymous = anonymous(d, &root, &mut user_names);
    let buckets = buckets(d, &root, &keys);
    let blocked_buckets = blocked_buckets(d, &root, &user_names, &buckets.names);
    let limits = limits(d, &root);
    let cache = cache(d, &root);
    let multipart = multipart(d, &root);
    let compat = compat::compat(d, &root);
    let spool = compat::spool(d, &root);
    let logging = logging(d, &root);
    let keyring = keys.keyring?;
    Some(Config {
        server: server?,
        store: store?,
        buckets: Buckets {
            default_recipients: vec![keyring.current.clone()],
            ..buckets.table
        },
        keyring,
        users,
        anonymous,
        blocked_buckets,
        limits,
        cache,
        multipart,
        compat,
        spool,
        logging,
    })
}

/// The `keyring` section, whatever else stands in the file.
pub(super) fn keyring_alone(d: &mut Decoder<'_>, tree: &Node) -> Option<Keyring> {
    let root = d.section(Some(tree), "", &ROOT);
    keys(d, &root).keyring
}

/// The `store` section, whatever else stands in the file.
pub(super) fn store_alone(d: &mut Decoder<'_>, tree: &Node) -> Option<Store> {
    let root = d.section(Some(tree), "", &ROOT);
    store(d, &root)
}

fn server(d: &mut Decoder<'_>, root: &Section<'_>) -> Option<Server> {
    let known = [
        "listen",
        "admin_listen",
        "domain",
        "tls",
        "max_connections",
        "header_timeout",
        "idle_timeout",
        "shutdown_grace",
        "cipher_engine",
    ];
    let s = d.section(root.node("server"), "server", &known);
    let listen = if s.has("listen") {
        address(d, &s, "listen")
    } else {
        Some(SocketAddr::from(([127, 0, 0, 1], 8080)))
    };
    let admin_listen = address(d, &s, "admin_listen");
    if let (Some(listen), Some(admin)) = (listen, admin_listen)
        && collide(listen, admin)
    {
        d.problem(
            &s.at("admin_listen"),
            format!("is the address that clients use, {listen}"),
            "Give it another port: 127.0.0.1:9090, say.",
        );
    }
    let domains = domains(d, &s);
    let tls = s.has("tls").then(|| tls(d, &s)).flatten();
    if let Some(listen) = listen
        && !listen.ip().is_loopback()
        && !s.has("tls")
    {
        d.warning(
            &s.at("listen"),
            "is reachable from other machines, in plain HTTP",
            "Set server.tls, or put something in front that speaks TLS.",
        );
    }
    let max_connections = d.number(&s, "max_connections", 1..=1_000_000);
    let header_timeout = d.duration(&s, "header_timeout", SECOND..=HOUR);
    let idle_timeout = d.duration(&s, "idle_timeout", SECOND..=HOUR);
    let shutdown_grace = d.duration(&s, "shutdown_grace", Duration::ZERO..=24 * HOUR);
    let engines = [
        ("aws-lc", CipherEngine::AwsLc),
        ("rust-crypto", CipherEngine::RustCrypto),
    ];
    let cipher_engine = d.choice(&s, "cipher_engine", &engines).unwrap_or_default();
    Some(Server {
        listen: listen?,
        cipher_engine,
        admin_listen,
        domains,
        tls,
        max_connections: max_connections.unwrap_or(1024) as usize,
        header_timeout: header_timeout.unwrap_or(30 * SECOND),
        idle_timeout: idle_timeout.unwrap_or(60 * SECOND),
        shutdown_grace: shutdown_grace.unwrap_or(30 * SECOND),
    })
}

fn address(d: &mut Decoder<'_>, s: &Section<'_>, field: &str) -> Option<SocketAddr> {
    let text = d.text(s, field)?;
    d.parsed(
        &text,
        |text| text.parse().map_err(|_| "is not an address and a port"),
        "Write 127.0.0.1:8080, or 0.0.0.0:8080 for every interface; [::1]:8080 for IPv6.",
    )
}

/// Whether two listeners cannot both be had. Port 0 is any free port.
fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() != 0
        && a.port() == b.port()
        && (a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified())
}

fn domains(d: &mut Decoder<'_>, s: &Section<'_>) -> Vec<String> {
    let texts = match s.node("domain").map(|node| &node.value) {
        Some(super::tree::Value::List(_)) => d.texts(s, "domain").unwrap_or_default(),
        Some(_) => d.text(s, "domain").map(split_at_commas).unwrap_or_default(),
        None => Vec::new(),
    };
    let mut domains: Vec<String> = Vec::new();
    for text in texts {
        let domain = d.parsed(
            &text,
            host_name,
            "Write a host name without scheme and port: s3.example.org.",
        );
        match domain {
            Some(domain) if domains.contains(&domain) => {
                d.problem(&text.spot, "is given twice", "Keep one.");
            }
            Some(domain) => domains.push(domain),
            None => {}
        }
    }
    domains
}

/// Variables and flags hold lists with commas.
fn split_at_commas(text: Text) -> Vec<Text> {
    if matches!(text.spot.origin, Origin::File { .. }) {
        return vec![text];
    }
    text.value
        .split(',')
        .map(|part| Text {
            value: part.trim().to_owned().into(),
            spot: text.spot.clone(),
            showable: text.showable,
        })
        .collect()
}

fn host_name(text: &str) -> Result<String, &'static str> {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    if text.len() > 253 || !text.split('.').all(label) {
        return Err("is not a host name");
    }
    if text.parse::<std::net::IpAddr>().is_ok() {
        return Err("is an address, which cannot have bucket names before it");
    }
    Ok(text.to_ascii_lowercase())
}

fn tls(d: &mut Decoder<'_>, server: &Section<'_>) -> Option<Tls> {
    let known = ["cert_file", "key_file"];
    let s = d.section(server.node("tls"), "server.tls", &known);
    for field in known {
        if !s.has(field) {
            d.missing(&s, field, "TLS needs both cert_file and key_file, in PEM.");
        }
    }
    let cert_file = d.readable(&s, "cert_file");
    let key_file = d.readable(&s, "key_file");
    Some(Tls {
        cert_file: cert_file?,
        key_file: key_file?,
    })
}

fn store(d: &mut Decoder<'_>, root: &Section<'_>) -> Option<Store> {
    let known = [
        "endpoint",
        "region",
        "access_key",
        "access_key_file",
        "secret_key",
        "secret_key_file",
        "addressing",
        "ca_file",
        "connect_timeout",
        "read_timeout",
        "pool_idle_timeout",
        "pool_max_idle",
        "tcp_keepalive",
    ];
    let s = d.section(root.node("store"), "store", &known);
    let endpoint = d
        .required(&s, "endpoint", "Write https://host or https://host:port.")
        .and_then(|text| {
            d.parsed(
                &text,
                endpoint,
                "Write scheme, host and port alone: https://s3.example.org:443.",
            )
        });
    let region = d
        .required(
            &s,
            "region",
            "Write the store's region; us-east-1 where it has none.",
        )
        .and_then(|text| {
            d.parsed(
                &text,
                region,
                "Write it as the store's provider does: fsn1, say.",
            )
        });
    let credentials = credentials(d, &s);
    let words = [("path", Addressing::Path), ("virtual", Addressing::Virtual)];
    let addressing = d.choice(&s, "addressing", &words).unwrap_or_default();
    if let Some(endpoint) = &endpoint {
        if !endpoint.https && !endpoint.is_loopback() {
            d.warning(
                &s.at("endpoint"),
                "is another machine's, in plain HTTP: names of objects can be read on the way",
                "Use https where the store has it.",
            );
        }
        let bare = endpoint.host.trim_matches(['[', ']']);
        if addressing == Addressing::Virtual && bare.parse::<std::net::IpAddr>().is_ok() {
            d.problem(
                &s.at("addressing"),
                "is virtual, but the endpoint is an address, which cannot have bucket names before it",
                "Write addressing: path.",
            );
        }
    }
    let ca_file = d.readable(&s, "ca_file");
    let connect_timeout = d.duration(&s, "connect_timeout", SECOND / 10..=HOUR);
    let read_timeout = d.duration(&s, "read_timeout", SECOND..=HOUR);
    let pool_idle_timeout = d.duration(&s, "pool_idle_timeout", Duration::ZERO..=HOUR);
    let pool_max_idle = d.number(&s, "pool_max_idle", 0..=100_000);
    let tcp_keepalive = d.duration(&s, "tcp_keepalive", Duration::ZERO..=HOUR);
    Some(Store {
        endpoint: endpoint?,
        region: region?,
        credentials: credentials?,
        addressing,
        ca_file,
        connect_timeout: connect_timeout.unwrap_or(5 * SECOND),
        read_timeout: read_timeout.unwrap_or(60 * SECOND),
        pool_idle_timeout: pool_idle_timeout.unwrap_or(30 * SECOND),
        pool_max_idle: pool_max_idle.unwrap_or(1024) as usize,
        tcp_keepalive: Some(tcp_keepalive.unwrap_or(60 * SECOND)).filter(|after| !after.is_zero()),
    })
}

fn endpoint(text: &str) -> Result<Endpoint, &'static str> {
    let uri: Uri = text.parse().map_err(|_| "is not a URL")?;
    let https = match uri.scheme() {
        Some(scheme) if *scheme == Scheme::HTTPS => true,
        Some(scheme) if *scheme == Scheme::HTTP => false,
        Some(_) => return Err("is neither http nor https"),
        None => return Err("has no scheme"),
    };
    let authority = uri.authority().ok_or("has no host")?;
    if authority.as_str().contains('@') {
        return Err("holds credentials, which belong in access_key and secret_key");
    }
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() || text.contains('#') {
        return Err("has a path or a query");
    }
    let host = authority.host().to_ascii_lowercase();
    if host.is_empty() {
        return Err("has no host");
    }
    let after_host = authority.as_str().get(host.len()..).unwrap_or_default();
    let port = authority.port_u16().filter(|port| *port != 0);
    if !after_host.is_empty() && port.is_none() {
        return Err("has a port that is no number from 1 to 65535");
    }
    Ok(Endpoint { https, host, port })
}

fn region(text: &str) -> Result<String, &'static str> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if text.is_empty() || text.len() > 64 || !text.bytes().all(fits) {
        return Err("is not a region's name");
    }
    Ok(text.to_owned())
}

/// Credentials for the store: its own section's, or a user's.
fn credentials(d: &mut Decoder<'_>, s: &Section<'_>) -> Option<StoreCredentials> {
    let access_key = d.secret(s, "access_key", true);
    let secret_key = d.secret(s, "secret_key", true);
    let (access_key, spot) = access_key?;
    if let Err(what) = access_key_fits(access_key.expose()) {
        d.problem(&spot, what, "Write it as the store's provider does.");
        return None;
    }
    Some(StoreCredentials {
        access_key: access_key.expose().to_owned(),
        secret_key: secret_key?.0,
    })
}

/// Access keys stand in the `Authorization` header, between these characters.
fn access_key_fits(text: &str) -> Result<(), &'static str> {
    if text.is_empty() {
        return Err("is empty");
    }
    if text.len() > 128 {
        return Err("is longer than 128 characters");
    }
    if !text.bytes().all(|b| b.is_ascii_graphic()) || text.contains(['/', ',', '=']) {
        return Err("has a character other than visible ASCII without `/`, `,` and `=`");
    }
    Ok(())
}

/// What became of the `keyring` section.
struct Keys {
    /// Nothing where it has problems.
    keyring: Option<Keyring>,
    /// Every id that it names, those of keys with problems included.
    ids: HashSet<String>,
}

fn keys(d: &mut Decoder<'_>, root: &Section<'_>) -> Keys {
    let s = d.section(root.node("keyring"), "keyring", &["current", "keys"]);
    let items = d.list(&s, "keys").unwrap_or_default();
    if !s.has("keys") || s.is_empty_list("keys") {
        d.missing(
            &s,
            "keys",
            "Make a key with `sealgate keygen --out main.key`, and write \
             keys: [{id: main, kind: local, file: main.key}].",
        );
    }
    let mut ids = HashSet::new();
    let mut keys: Vec<Key> = Vec::new();
    let mut complete = !items.is_empty();
    for (path, node) in items {
        let Some((key, spot)) = key(d, &path, node, &mut ids) else {
            complete = false;
            continue;
        };
        let KeyKind::Local(bytes) = &key.kind;
        if let Some(other) = keys
            .iter()
            .find(|other| other.id == key.id && other.version == key.version)
        {
            let what = format!("is a second key {} of version {}", other.id, other.version);
            d.problem(
                &spot,
                what,
                "Give each version of a key a number of its own.",
            );
            complete = false;
        } else if let Some(other) = keys.iter().find(
            |Key {
                 kind: KeyKind::Local(other),
                 ..
             }| other == bytes,
        ) {
            let what = format!(
                "has the same bytes as {} version {}",
                other.id, other.version
            );
            d.problem(&spot, what, "Make a new key with `sealgate keygen`.");
            complete = false;
        }
        keys.push(key);
    }
    let current = d
        .required(
            &s,
            "current",
            "Write the id of the key that seals new objects.",
        )
        .and_then(|text| {
            let known = |id: &str| {
                if ids.is_empty() || ids.contains(id) {
                    Ok(id.to_owned())
                } else {
                    Err("is not the id of any key in keyring.keys")
                }
            };
            d.parsed(&text, known, "Write the id of one of them.")
        });
    let keyring = current
        .filter(|_| complete)
        .map(|current| Keyring { current, keys });
    Keys { keyring, ids }
}

fn key(
    d: &mut Decoder<'_>,
    path: &str,
    node: &Node,
    ids: &mut HashSet<String>,
) -> Option<(Key, Spot)> {
    let whole = d.mapping(Some(node), path);
    let id = d
        .required(&whole, "id", "Give the key a short name: main, say.")
        .and_then(|text| {
            d.parsed(
                &text,
                key_id,
                "Use 1 to 64 letters, digits, `.`, `_` and `-`.",
            )
        });
    if let Some(id) = &id {
        ids.insert(id.clone());
    }
    let kind = d.required(&whole, "kind", "Write kind: local.")?;
    if KINDS_TO_COME.contains(&kind.value.as_str()) {
        let what = format!("{} is not available in this version", kind.shown());
        d.problem(&kind.spot, what, "Write kind: local.");
        return None;
    }
    if kind.value.as_str() != "local" {
        let what = format!("{} is not a kind of key", kind.shown());
        d.problem(&kind.spot, what, "Write kind: local.");
        return None;
    }
    let known = ["id", "kind", "version", "file", "env", "secret"];
    let s = d.section(Some(node), path, &known);
    let version = if s.has("version") {
        d.number(&s, "version", 1..=u32::MAX)
    } else {
        Some(1)
    };
    let bytes = key_bytes(d, &s);
    let key = Key {
        id: id?,
        version: version?,
        kind: KeyKind::Local(bytes?),
    };
    Some((key, s.at("id")))
}

fn key_id(text: &str) -> Result<String, &'static str> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if !(1..=64).contains(&text.len()) || !text.bytes().all(fits) {
        return Err("is not a key's id");
    }
    Ok(text.to_owned())
}

fn key_bytes(d: &mut Decoder<'_>, s: &Section<'_>) -> Option<KeyBytes> {
    let given: Vec<&str> = ["file", "env", "secret"]
        .into_iter()
        .filter(|field| s.has(field))
        .collect();
    let field = match given.as_slice() {
        [field] => *field,
        [] => {
            d.missing(
                s,
                "file",
                "Name a file that `sealgate keygen` wrote, or give env: NAME.",
            );
            return None;
        }
        _ => {
            let spot = Spot {
                field: s.path.clone(),
                origin: s.origin.clone(),
            };
            let what = format!("has more than one of {}", given.join(", "));
            d.problem(&spot, what, "Keep one of them.");
            return None;
        }
    };
    let content = match field {
        "file" => {
            let path = d.path(s, field)?;
            d.content(&path, &s.at(field))?
        }
        "env" => {
            let text = d.text(s, field)?;
            let value = d.variable_named(&text)?;
            value.as_bytes().to_vec().into()
        }
        _ => {
            let text = d.text(s, field)?;
            if text.showable {
                d.warning(
                    &text.spot,
                    "is written into the configuration",
                    "Keep it in a file of its own and name that as file, or use ${NAME}.",
                );
            }
            text.value.as_bytes().to_vec().into()
        }
    };
    match KeyBytes::parse(&content) {
        Ok(key) => Some(key),
        Err(error) => {
            let what = format!("gives no key: {error}");
            d.problem(&s.at(field), what, "Make a key with `sealgate keygen`.");
            None
        }
    }
}

/// A bucket name or pattern, and where it stands.
type Named = (Pattern, Spot);

fn users(d: &mut Decoder<'_>, root: &Section<'_>) -> (Vec<User>, Vec<Named>) {
    let items = d.list(root, "users").unwrap_or_default();
    if !root.has("users") || root.is_empty_list("users") {
        d.warning(
            &root.at("users"),
            "is empty, so nobody can use the gateway",
            "Add a user with access_key, secret_key and allowed_buckets.",
        );
    }
    let mut users = Vec::with_capacity(items.len());
    let mut seen: HashMap<String, String> = HashMap::new();
    let mut buckets = Vec::new();
    for (path, node) in items {
        let Some((user, spot)) = user(d, &path, node, &mut buckets) else {
            continue;
        };
        if let Some(first) = seen.insert(user.access_key.clone(), path) {
            let what = format!("is that of {first} as well");
            d.problem(&spot, what, "Give each user an access key of its own.");
        }
        users.push(user);
    }
    (users, buckets)
}

/// Rules for requests that nobody signed.
fn anonymous(d: &mut Decoder<'_>, root: &Section<'_>, buckets: &mut Vec<Named>) -> Vec<Rule> {
    if !root.has("anonymous") {
        return Vec::new();
    }
    let s = d.section(
        root.node("anonymous"),
        "anonymous",
        &["allowed_buckets", "rules"],
    );
    user_rules(d, &s, buckets)
}

fn user(
    d: &mut Decoder<'_>,
    path: &str,
    node: &Node,
    buckets: &mut Vec<Named>,
) -> Option<(User, Spot)> {
    let known = [
        "access_key",
        "secret_key",
        "secret_key_file",
        "allowed_buckets",
        "rules",
        "store_credentials",
    ];
    let s = d.section(Some(node), path, &known);
    let access_key = d
        .required(&s, "access_key", "Give the user a name to sign with.")
        .and_then(|text| {
            d.parsed(
                &text,
                |text| access_key_fits(text).map(|()| text.to_owned()),
                "Use letters, digits, `-`, `_` and `.`.",
            )
        });
    let secret_key = d.secret(&s, "secret_key", true);
    if let Some((secret, spot)) = &secret_key
        && secret.expose().len() < SHORT_SECRET
    {
        d.warning(
            spot,
            format!("is shorter than {SHORT_SECRET} characters and may be guessed"),
            "Use 32 random characters.",
        );
    }
    let rules = user_rules(d, &s, buckets);
    let store_credentials = s.has("store_credentials").then(|| {
        let path = join(path, "store_credentials");
        let known = [
            "access_key",
            "access_key_file",
            "secret_key",
            "secret_key_file",
        ];
        let s = d.section(s.node("store_credentials"), &path, &known);
        credentials(d, &s)
    });
    let user = User {
        access_key: access_key?,
        secret_key: secret_key?.0,
        rules,
        store_credentials: match store_credentials {
            Some(credentials) => Some(credentials?),
            None => None,
        },
    };
    Some((user, s.at("access_key")))
}

fn user_rules(d: &mut Decoder<'_>, s: &Section<'_>, buckets: &mut Vec<Named>) -> Vec<Rule> {
    match (s.has("allowed_buckets"), s.has("rules")) {
        (true, true) => {
            d.problem(
                &s.at("rules"),
                "stands beside allowed_buckets",
                "Keep one of the two; a rule with all six actions does what allowed_buckets does.",
            );
            Vec::new()
        }
        (false, false) => {
            d.missing(
                s,
                "allowed_buckets",
                "Say what the user may do: allowed_buckets: [name], or rules.",
            );
            Vec::new()
        }
        (true, false) => {
            let patterns = patterns(d, s, "allowed_buckets", buckets);
            vec![Rule::everything_on(patterns)]
        }
        (false, true) => {
            let items = d.list(s, "rules").unwrap_or_default();
            if s.is_empty_list("rules") {
                d.problem(
                    &s.at("rules"),
                    "has no rule",
                    "Add one, or take the user away.",
                );
            }
            items
                .into_iter()
                .filter_map(|(path, node)| rule(d, &path, node, buckets))
                .collect()
        }
    }
}

fn rule(d: &mut Decoder<'_>, path: &str, node: &Node, buckets: &mut Vec<Named>) -> Option<Rule> {
    let s = d.section(Some(node), path, &["buckets", "prefixes", "actions"]);
    let patterns = patterns(d, &s, "buckets", buckets);
    let mut prefixes = Vec::new();
    for text in d.texts(&s, "prefixes").unwrap_or_default() {
        if text.value.is_empty() {
            let instead = "Take `prefixes` away if the rule is about whole buckets.";
            d.problem(&text.spot, "is empty", instead);
        } else if text.value.len() > 1024 {
            d.problem(&text.spot, "is longer than any key", "Write a shorter one.");
        } else {
            if text.value.contains('*') {
                let instead = "Write db/ where you mean every key that begins so.";
                d.warning(
                    &text.spot,
                    "has a `*`, which stands for itself in a prefix",
                    instead,
                );
            }
            prefixes.push(text.value.to_string());
        }
    }
    if s.is_empty_list("prefixes") {
        let instead = "Take `prefixes` away if the rule is about whole buckets.";
        d.problem(&s.at("prefixes"), "has no prefix", instead);
    }
    let instead = "Write one of: read, write, list, delete, overwrite, admin.";
    let actions: Option<Vec<Text>> = d.texts(&s, "actions");
    if actions.is_none() {
        d.missing(
            &s,
            "actions",
            "List what the rule grants: [read, list], say.",
        );
    }
    let actions: Actions = actions
        .unwrap_or_default()
        .iter()
        .filter_map(|text| {
            d.parsed(
                text,
                |text| text.parse::<Action>().map_err(|_| "is not an action"),
                instead,
            )
        })
        .collect();
    if s.is_empty_list("actions") {
        d.problem(&s.at("actions"), "grants nothing", instead);
    }
    if actions.contains(Action::Overwrite) && !actions.contains(Action::Write) {
        d.warning(
            &s.at("actions"),
            "grants overwrite without write, which lets nothing be written by itself",
            "Add write, unless another rule grants it.",
        );
    }
    (!patterns.is_empty() && !actions.is_empty()).then_some(Rule {
        buckets: patterns,
        prefixes,
        actions,
    })
}

fn patterns(
    d: &mut Decoder<'_>,
    s: &Section<'_>,
    field: &str,
    buckets: &mut Vec<Named>,
) -> Vec<Pattern> {
    let Some(texts) = d.texts(s, field) else {
        d.missing(
            s,
            field,
            "List bucket names or patterns: [backups, \"logs-*\"].",
        );
        return Vec::new();
    };
    if s.is_empty_list(field) {
        let instead = "List bucket names or patterns: [backups, \"logs-*\"].";
        d.problem(&s.at(field), "names no bucket", instead);
    }
    let mut patterns = Vec::with_capacity(texts.len());
    for text in texts {
        let parsed = d.parsed(
            &text,
            Pattern::parse,
            "Use letters, digits, `.`, `-`, `_`, and `*` for any run of characters.",
        );
        if let Some(pattern) = parsed {
            buckets.push((pattern.clone(), text.spot));
            patterns.push(pattern);
        }
    }
    patterns
}

/// What became of the `buckets` section.
struct BucketSections {
    table: Buckets,
    /// Every bucket that it names.
    names: Vec<Named>,
}

fn buckets(d: &mut Decoder<'_>, root: &Section<'_>, keys: &Keys) -> BucketSections {
    let mut table = Buckets::default();
    let mut names = Vec::new();
    let sections = d.mapping(root.node("buckets"), "buckets");
    for Entry {
        key,
        key_origin,
        node,
    } in sections.entries()
    {
        let path = join("buckets", key);
        let spot = Spot {
            field: path.clone(),
            origin: key_origin.clone(),
        };
        let pattern = match Pattern::parse(key) {
            Ok(pattern) => Some(pattern),
            Err(error) => {
                let instead = "Write a bucket's name, or a pattern such as \"logs-*\".";
                d.problem(&spot, error.to_string(), instead);
                None
            }
        };
        let fields = bucket(d, &path, node, pattern.as_ref(), keys, &mut names);
        let Some(pattern) = pattern else { continue };
        if pattern.as_str() == "*" && fields.plaintext == Some(PlaintextObjects::Allow) {
            d.warning(
                &spot,
                "serves plaintext objects from every bucket: whoever can write to the store can plant them",
                "Allow it for single buckets, and only while they are being moved.",
            );
        }
        names.push((pattern.clone(), spot));
        if pattern.is_name() {
            table.names.insert(pattern.as_str().to_owned(), fields);
        } else {
            table.globs.push((pattern, fields));
        }
    }
    table.globs.sort_by(|(a, _), (b, _)| a.cmp(b));
    BucketSections { table, names }
}

fn bucket(
    d: &mut Decoder<'_>,
    path: &str,
    node: &Node,
    pattern: Option<&Pattern>,
    keys: &Keys,
    names: &mut Vec<Named>,
) -> BucketFields {
    let known = [
        "plaintext",
        "etag",
        "verify",
        "recipients",
        "bound_as",
        "metadata",
        "multipart_bucket",
        "default_checksum",
        "compat",
        "cors",
    ];
    let s = d.section(Some(node), path, &known);
    let plaintext = [
        ("refuse", PlaintextObjects::Refuse),
        ("allow", PlaintextObjects::Allow),
    ];
    let etag = [("md5", EtagKind::Md5), ("opaque", EtagKind::Opaque)];
    let default_checksum = [
        ("none", DefaultChecksum::None),
        ("crc64nvme", DefaultChecksum::Crc64Nvme),
    ];
    let verify = [("segment", Verify::Segment), ("object", Verify::Object)];
    let metadata = [
        ("bound", UserMetadata::Bound),
        ("unbound", UserMetadata::Unbound),
    ];
    let plaintext = d.choice(&s, "plaintext", &plaintext);
    let etag = d.choice(&s, "etag", &etag);
    let verify = d.choice(&s, "verify", &verify);
    BucketFields {
        plaintext,
        etag,
        verify,
        metadata: d.choice(&s, "metadata", &metadata),
        recipients: recipients(d, &s, keys),
        bound_as: bound_as(d, &s, pattern, names),
        multipart_bucket: multipart_bucket(d, &s, names),
        default_checksum: d.choice(&s, "default_checksum", &default_checksum),
        compat: d.flag(&s, "compat"),
        cors: cors::rules(d, &s),
    }
}

fn multipart_bucket(
    d: &mut Decoder<'_>,
    s: &Section<'_>,
    names: &mut Vec<Named>,
) -> Option<String> {
    let text = d.text(s, "multipart_bucket")?;
    let name = bucket_name(d, &text)?;
    let bucket = name.as_str().to_owned();
    names.push((name, text.spot));
    Some(bucket)
}

fn recipients(d: &mut Decoder<'_>, s: &Section<'_>, keys: &Keys) -> Option<Vec<String>> {
    let texts = d.texts(s, "recipients")?;
    if s.is_empty_list("recipients") {
        d.problem(
            &s.at("recipients"),
            "names no key, so that nothing could be opened again",
            "Name at least one id of keyring.keys, or take the field away.",
        );
    }
    let mut recipients: Vec<String> = Vec::new();
    for text in texts {
        let known = |id: &str| {
            if keys.ids.contains(id) {
                Ok(id.to_owned())
            } else {
                Err("is not the id of any key in keyring.keys")
            }
        };
        match d.parsed(&text, known, "Name one that is there, or add the key.") {
            Some(id) if recipients.contains(&id) => {
                d.problem(&text.spot, "is given twice", "Keep one.");
            }
            Some(id) => recipients.push(id),
            None => {}
        }
    }
    Some(recipients)
}

fn bound_as(
    d: &mut Decoder<'_>,
    s: &Section<'_>,
    pattern: Option<&Pattern>,
    names: &mut Vec<Named>,
) -> Option<String> {
    let text = d.text(s, "bound_as")?;
    if pattern.is_some_and(|pattern| !pattern.is_name()) {
        d.problem(
            &text.spot,
            "stands under a pattern, so that the store could swap objects between the buckets that fit it",
            "Give it for each bucket by name.",
        );
        return None;
    }
    let name = bucket_name(d, &text)?;
    let bound_as = name.as_str().to_owned();
    names.push((name, text.spot));
    Some(bound_as)
}

fn bucket_name(d: &mut Decoder<'_>, text: &Text) -> Option<Pattern> {
    let name = |text: &str| match Pattern::parse(text) {
        Ok(pattern) if pattern.is_name() => Ok(pattern),
        Ok(_) => Err("is a pattern".to_owned()),
        Err(error) => Err(error.to_string()),
    };
    d.parsed(text, name, "Write one bucket's name.")
}

fn blocked_buckets(
    d: &mut Decoder<'_>,
    root: &Section<'_>,
    user_names: &[Named],
    bucket_names: &[Named],
) -> Vec<String> {
    let texts = d.texts(root, "blocked_buckets").unwrap_or_default();
    let blocked: HashSet<String> = texts
        .iter()
        .filter_map(|text| bucket_name(d, text))
        .map(|name| name.as_str().to_owned())
        .collect();
    for (name, spot) in user_names.iter().chain(bucket_names) {
        if blocked.contains(name.as_str()) {
            d.problem(
                spot,
                format!("names the bucket {name}, which blocked_buckets refuses"),
                "Use another bucket: what is in this one may be known to others.",
            );
        }
    }
    let mut blocked: Vec<String> = blocked.into_iter().collect();
    blocked.sort_unstable();
    blocked
}

fn limits(d: &mut Decoder<'_>, root: &Section<'_>) -> Limits {
    let known = ["list_concurrency", "max_xml_body", "stream_memory"];
    let s = d.section(root.node("limits"), "limits", &known);
    let list_concurrency = d.number(&s, "list_concurrency", 1..=256);
    let max_xml_body = d.size(&s, "max_xml_body", 64 << 10..=64 << 20);
    let stream_memory = d.size(&s, "stream_memory", 1 << 20..=1 << 40);
    Limits {
        stream_memory: stream_memory.unwrap_or(80 << 20),
        list_concurrency: list_concurrency.unwrap_or(16) as usize,
        max_xml_body: max_xml_body.unwrap_or(4 << 20),
    }
}

fn cache(d: &mut Decoder<'_>, root: &Section<'_>) -> Cache {
    let s = d.section(root.node("cache"), "cache", &["bytes", "path", "entries"]);
    if s.has("entries") {
        d.problem(
            &s.at("entries"),
            "is no field any more",
            "Write cache.bytes instead, 256 bytes for each object: \"64MiB\" is a quarter of a million.",
        );
    }
    let bytes = d.size(&s, "bytes", 0..=64 << 30);
    let path = d.path(&s, "path");
    if path.is_some() && bytes == Some(0) {
        d.problem(
            &s.at("path"),
            "names a file for a cache of no bytes",
            "Give cache.bytes a size, or take the path away.",
        );
    }
    Cache {
        bytes: bytes.unwrap_or(64 << 20),
        path,
    }
}

fn multipart(d: &mut Decoder<'_>, root: &Section<'_>) -> Multipart {
    let s = d.section(
        root.node("multipart"),
        "multipart",
        &["prefix", "min_part_size"],
    );
    let min_part_size = d.size(&s, "min_part_size", 1..=5 << 30);
    let prefix = d.text(&s, "prefix").and_then(|text| {
        let well_formed = text.value.len() <= MAX_RESERVED
            && text.value.ends_with('/')
            && !text.value.chars().any(char::is_control);
        if !well_formed {
            d.problem(
                &text.spot,
                format!("{} is no prefix to keep for the gateway", text.shown()),
                "Write the beginning of keys that nobody uses, at most 200 bytes with a slash at its end: \"~sealgate/\".",
            );
        }
        well_formed.then(|| text.value.to_string())
    });
    Multipart {
        prefix: prefix.unwrap_or_else(|| RESERVED.to_owned()),
        min_part_size: min_part_size.unwrap_or(5 << 20),
    }
}

fn logging(d: &mut Decoder<'_>, root: &Section<'_>) -> Logging {
    let s = d.section(root.node("logging"), "logging", &["level", "format"]);
    let levels = LogLevel::ALL.map(|level| (level.name(), level));
    let formats = LogFormat::ALL.map(|format| (format.name(), format));
    Logging {
        level: d.choice(&s, "level", &levels).unwrap_or_default(),
        format: d.choice(&s, "format", &formats).unwrap_or_default(),
    }
}
