//! Tests of whole configurations: what loads, what is refused and in which words, which source
//! wins, and that no secret is ever shown.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use proptest::prelude::*;
use zeroize::Zeroizing;

use super::*;

/// The example of the design, with the key that its `recovery` recipient stands for.
const EXAMPLE: &str = r#"
server:  {listen: "127.0.0.1:8080", admin_listen: "127.0.0.1:9090", domain: s3.example.org}
store:   {endpoint: "https://fsn1.example.com", region: fsn1, access_key: "${STORE_KEY}", secret_key: "${STORE_SECRET}", addressing: path}
keyring:
  current: main
  keys:
    - {id: main, kind: local, file: /etc/sealgate/main.key}      # sealgate keygen --out FILE
    - {id: recovery, kind: local, env: RECOVERY_KEY}
users:
  - {access_key: alice, secret_key: "${ALICE_SECRET}", allowed_buckets: [backups, "logs-*"]}
  - access_key: nightly
    secret_key_file: /run/secrets/nightly
    rules: [{buckets: [backups], prefixes: ["db/"], actions: [write, list]}]
    store_credentials: {access_key: "...", secret_key: "..."}    # optional
buckets:
  "*":     {plaintext: refuse, etag: md5, verify: segment}
  archive: {plaintext: allow, recipients: [main, recovery]}
logging: {level: info, format: json}
"#;

/// The least that loads without a warning.
const SMALL: &str = r#"
store: {endpoint: "https://s3.example.org", region: r1, access_key: AK, secret_key: store-secret-0123}
keyring: {current: main, keys: [{id: main, kind: local, env: RECOVERY_KEY}]}
users: [{access_key: alice, secret_key: alice-secret-0123, allowed_buckets: ["*"]}]
"#;

const MAIN_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n";
const RECOVERY_KEY: &str = "ff0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// An environment and a file system for tests.
#[derive(Clone)]
struct World {
    variables: HashMap<String, String>,
    files: HashMap<String, Vec<u8>>,
    flags: Vec<Override>,
}

impl World {
    fn new() -> Self {
        let variables = [
            ("STORE_KEY", "store-access-key"),
            ("STORE_SECRET", "s3cr3t: [not, yaml] # \"'"),
            ("ALICE_SECRET", "alice-secret-0123456789"),
            ("RECOVERY_KEY", RECOVERY_KEY),
        ];
        let files = [
            ("/etc/sealgate/main.key", MAIN_KEY),
            ("/run/secrets/nightly", "nightly-secret-0123456789\n"),
            ("/pem/cert", "x"),
            ("/pem/key", "x"),
        ];
        Self {
            variables: variables
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            files: files
                .map(|(name, content)| (name.to_owned(), content.into()))
                .into(),
            flags: Vec::new(),
        }
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.to_owned(), value.to_owned());
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.variables.remove(name);
        self
    }

    fn with_file(mut self, name: &str, content: &[u8]) -> Self {
        self.files.insert(name.to_owned(), content.to_vec());
        self
    }

    fn with_flag(mut self, field: &'static str, flag: &'static str, value: &str) -> Self {
        let value = value.to_owned();
        self.flags.push(Override { field, flag, value });
        self
    }

    fn load(&self, text: &str) -> Result<Loaded, ConfigError> {
        self.sources(text, Config::load)
    }

    fn sources<T>(&self, text: &str, load: impl FnOnce(&Sources<'_>) -> T) -> T {
        let variable = |name: &str| self.variables.get(name).cloned();
        let read = |path: &Path| match self.files.get(path.to_str().unwrap()) {
            Some(content) => Ok(Zeroizing::new(content.clone())),
            None => Err(io::ErrorKind::NotFound.into()),
        };
        let sources = Sources::new(&variable, &read)
            .with_text("c.yaml", text)
            .with_variable_names(self.variables.keys().cloned())
            .with_overrides(self.flags.iter().cloned());
        load(&sources)
    }
}

fn load(text: &str) -> Config {
    World::new().load(text).unwrap().config
}

/// What is said of a configuration that does not load.
fn refused(text: &str) -> String {
    World::new().load(text).unwrap_err().to_string()
}

/// `SMALL` with the section `section` (one line of it) replaced.
fn small_with(section: &str) -> String {
    let name = section.split_once(':').unwrap().0;
    let mut text: Vec<&str> = SMALL
        .lines()
        .filter(|line| !line.starts_with(&format!("{name}:")))
        .collect();
    text.push(section);
    text.join("\n")
}

#[track_caller]
fn assert_refused(section: &str, expected: &str) {
    let said = refused(&small_with(section));
    assert!(said.contains(expected), "{section}\n{said}");
    assert!(
        said.starts_with("1 problem "),
        "more than one problem: {section}\n{said}"
    );
}

fn warnings(world: &World, text: &str) -> Vec<String> {
    let loaded = world.load(text).unwrap();
    loaded.warnings.iter().map(ToString::to_string).collect()
}

#[test]
fn the_example_of_the_design_loads() {
    let loaded = World::new().load(EXAMPLE).unwrap();
    assert_eq!(loaded.warnings, []);
    let config = loaded.config;
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.server.admin_listen.unwrap().port(), 9090);
    assert_eq!(config.server.domains, ["s3.example.org"]);
    assert_eq!(
        config.store.endpoint.to_string(),
        "https://fsn1.example.com"
    );
    assert_eq!(config.store.endpoint.port(), 443);
    assert_eq!(config.store.credentials.access_key, "store-access-key");
    assert_eq!(
        config.store.credentials.secret_key.expose(),
        "s3cr3t: [not, yaml] # \"'"
    );
    assert_eq!(config.keyring.current, "main");
    assert_eq!(config.keyring.keys.len(), 2);
    let nightly = &config.users[1];
    assert_eq!(nightly.secret_key.expose(), "nightly-secret-0123456789");
    assert_eq!(nightly.rules[0].prefixes, ["db/"]);
    assert_eq!(nightly.rules[0].actions.to_string(), "write, list");
    assert!(nightly.store_credentials.is_some());
    let archive = config.buckets.of("archive");
    assert_eq!(archive.plaintext, PlaintextObjects::Allow);
    assert_eq!(archive.etag, EtagKind::Md5);
    assert_eq!(archive.recipients, ["main", "recovery"]);
    let other = config.buckets.of("other");
    assert_eq!(other.plaintext, PlaintextObjects::Refuse);
    assert_eq!(other.recipients, ["main"]);
    assert_eq!(other.bound_as, "other");
    assert_eq!(config.logging.format, LogFormat::Json);

    let policy = config.policy().unwrap();
    assert!(policy.user("alice").is_some() && policy.user("bob").is_none());
}

#[test]
fn the_example_file_loads() {
    let world = World::new()
        .with("SEALGATE_EXAMPLE", "unused")
        .with_file("/etc/sealgate/recovery.key", RECOVERY_KEY.as_bytes())
        .with_file("/etc/sealgate/tls.crt", b"x")
        .with_file("/etc/sealgate/tls.key", b"x");
    let text = include_str!("../../examples/sealgate.yaml");
    let loaded = world.load(text).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(loaded.warnings.len(), 1, "{:?}", loaded.warnings);
}

#[test]
fn defaults_are_safe_and_documented() {
    let config = load(SMALL);
    assert!(config.server.listen.ip().is_loopback());
    assert_eq!(config.server.admin_listen, None);
    assert_eq!(config.store.addressing, Addressing::Path);
    assert_eq!(config.buckets.of("b").plaintext, PlaintextObjects::Refuse);
    assert_eq!(config.buckets.of("b").metadata, UserMetadata::Bound);
    assert_eq!(config.limits.list_concurrency, 16);
}

#[test]
fn nothing_at_all_names_everything_that_must_be_given() {
    for empty in ["", "# nothing\n", "---\n", "{}"] {
        let error = World::new().load(empty).unwrap_err();
        let fields: Vec<&str> = error.problems().iter().map(|p| p.field.as_str()).collect();
        assert_eq!(
            fields,
            [
                "store.endpoint",
                "store.region",
                "store.access_key",
                "store.secret_key",
                "keyring.keys",
                "keyring.current"
            ],
            "{empty:?}"
        );
    }
}

#[test]
fn every_problem_is_listed_with_its_place() {
    let text = "server:\n  listen: nonsense\n  max_connections: 0\nstore: 7\n";
    let said = refused(text);
    for expected in [
        "c.yaml:2:11: server.listen: \"nonsense\" is not an address and a port. Write 127.0.0.1:8080",
        "c.yaml:3:20: server.max_connections: is no number within bounds. Write a whole number from 1 to 1000000.",
        "c.yaml:4:8: store: is a number, not a mapping.",
        "keyring.current: is missing.",
    ] {
        assert!(said.contains(expected), "{expected}\n{said}");
    }
}

#[test]
fn problems_of_the_server_are_told() {
    for (section, expected) in [
        (
            "server: {listn: x}",
            "server.listn: is not a known field. Did you mean `listen`?",
        ),
        (
            "server: {frob: x}",
            "server.frob: is not a known field. Known fields here: listen,",
        ),
        (
            "server: {listen: 8080}",
            "server.listen: is a number, not a text. Put it in quotes",
        ),
        ("server: {listen: }", "server.listen: has no value."),
        (
            "server: {listen: \"localhost:1\"}",
            "server.listen: \"localhost:1\" is not an address",
        ),
        (
            "server: {admin_listen: \"127.0.0.1:8080\"}",
            "server.admin_listen: is the address that clients use",
        ),
        (
            "server: {admin_listen: \"0.0.0.0:8080\"}",
            "server.admin_listen: is the address that clients use",
        ),
        (
            "server: {domain: \"https://s3\"}",
            "server.domain: \"https://s3\" is not a host name",
        ),
        (
            "server: {domain: [a.org, A.org]}",
            "server.domain[1]: is given twice",
        ),
        (
            "server: {domain: 10.0.0.1}",
            "server.domain: \"10.0.0.1\" is an address",
        ),
        (
            "server: {domain: {a: b}}",
            "server.domain: is a mapping, not a text",
        ),
        (
            "server: {tls: {cert_file: /pem/cert}}",
            "server.tls.key_file: is missing",
        ),
        (
            "server: {tls: {cert_file: /pem/cert, key_file: /no}}",
            "server.tls.key_file: /no cannot be read",
        ),
        (
            "server: {header_timeout: 30}",
            "server.header_timeout: is a number without a unit, not a duration",
        ),
        (
            "server: {header_timeout: 30 s}",
            "server.header_timeout: \"30 s\" is no duration within bounds",
        ),
        (
            "server: {idle_timeout: 2h}",
            "server.idle_timeout: \"2h\" is no duration within bounds. Write a whole number with ms, s, m, h or d, from 1s to 1h",
        ),
        ("server: {shutdown_grace: -1s}", "server.shutdown_grace:"),
        (
            "server: {max_connections: 1.5}",
            "server.max_connections: is a number, not a whole number",
        ),
        ("server: [a]", "server: is a list, not a mapping"),
    ] {
        assert_refused(section, expected);
    }
}

#[test]
fn problems_of_the_store_are_told() {
    let store = |field: &str, value: &str| {
        let mut fields = vec![
            ("endpoint", "\"https://h\""),
            ("region", "r"),
            ("access_key", "a"),
            ("secret_key", "s"),
        ];
        fields.retain(|(name, _)| *name != field);
        if !value.is_empty() {
            fields.push((field, value));
        }
        let fields: Vec<String> = fields.iter().map(|(n, v)| format!("{n}: {v}")).collect();
        format!("store: {{{}}}", fields.join(", "))
    };
    for (field, value, expected) in [
        (
            "endpoint",
            "",
            "store.endpoint: is missing. Write https://host",
        ),
        ("region", "", "store.region: is missing"),
        (
            "access_key",
            "",
            "store.access_key: is missing. Give access_key: \"${NAME}\", or access_key_file.",
        ),
        ("secret_key", "", "store.secret_key: is missing"),
        (
            "endpoint",
            "s3.example.org",
            "store.endpoint: \"s3.example.org\" has no scheme",
        ),
        (
            "endpoint",
            "\"ftp://h\"",
            "store.endpoint: \"ftp://h\" is neither http nor https",
        ),
        (
            "endpoint",
            "\"https://u:p@h\"",
            "store.endpoint: \"https://u:p@h\" holds credentials",
        ),
        (
            "endpoint",
            "\"https://h/b\"",
            "store.endpoint: \"https://h/b\" has a path or a query",
        ),
        ("endpoint", "\"https://h?x\"", "has a path or a query"),
        (
            "endpoint",
            "\"https://h:0\"",
            "has a port that is no number",
        ),
        ("endpoint", "\"https://h:99999\"", "store.endpoint:"),
        ("endpoint", "\"https://\"", "store.endpoint:"),
        (
            "region",
            "\"a/b\"",
            "store.region: \"a/b\" is not a region's name",
        ),
        (
            "access_key",
            "a/b",
            "store.access_key: has a character other than",
        ),
        ("secret_key", "\"\"", "store.secret_key: is empty"),
        (
            "secret_key",
            "\"a\\nb\"",
            "store.secret_key: contains a line end",
        ),
        (
            "secret_key_file",
            "/run/secrets/nightly",
            "store.secret_key: is given twice, as secret_key and as secret_key_file",
        ),
        (
            "addressing",
            "dns",
            "store.addressing: \"dns\" is not known here. Write one of: path, virtual.",
        ),
        ("ca_file", "/no", "store.ca_file: /no cannot be read"),
        ("connect_timeout", "0s", "store.connect_timeout:"),
        ("pool_max_idle", "-1", "store.pool_max_idle:"),
    ] {
        assert_refused(&store(field, value), expected);
    }
    assert_refused(
        "store: {endpoint: \"http://[::1]:9000\", addressing: virtual, region: r, access_key: a, secret_key: s}",
        "store.addressing: is virtual, but the endpoint is an address",
    );
}

#[test]
fn problems_of_the_keyring_are_told() {
    for (section, expected) in [
        (
            "keyring: {current: main, keys: []}",
            "keyring.keys: is missing",
        ),
        (
            "keyring: {keys: [{id: a, kind: local, env: RECOVERY_KEY}]}",
            "keyring.current: is missing",
        ),
        (
            "keyring: {current: b, keys: [{id: a, kind: local, env: RECOVERY_KEY}]}",
            "keyring.current: \"b\" is not the id of any key",
        ),
        (
            "keyring: {current: a, keys: [{id: a, kind: vault, path: x}]}",
            "keyring.keys[0].kind: \"vault\" is not available in this version",
        ),
        (
            "keyring: {current: a, keys: [{id: a, kind: escrow, public: x}]}",
            "\"escrow\" is not available in this version",
        ),
        (
            "keyring: {current: a, keys: [{id: a, kind: user}]}",
            "\"user\" is not available in this version",
        ),
        (
            "keyring: {current: a, keys: [{id: a, kind: aws-kms}]}",
            "\"aws-kms\" is not available in this version",
        ),
        (
            "keyring: {current: a, keys: [{id: a, kind: pkcs11}]}",
            "\"pkcs11\" is not available in this version",
        ),
        (
            "keyring: {current: a, keys: [{id: a, kind: rot13}]}",
            "keyring.keys[0].kind: \"rot13\" is not a kind of key",
        ),
        (
            "keyring: {current: a, keys: [{id: a}]}",
            "keyring.keys[0].kind: is missing",
        ),
        (
            "keyring: {current: a, keys: [{id: a, kind: local}]}",
            "keyring.keys[0].file: is missing",
        ),
        (
            "keyring: {current: a, keys: [{id: a, kind: local, env: X, file: y}]}",
            "keyring.keys[0]: has more than one of file, env",
        ),
        (
            "keyring: {current: a, keys: [{id: a, kind: local, env: X}]}",
            "keyring.keys[0].env: names a variable that is not set",
        ),
        (
            "keyring: {current: a, keys: [{id: a, kind: local, env: \"${RECOVERY_KEY}\"}]}",
            "keyring.keys[0].env: is not a variable's name",
        ),
        (
            "keyring: {current: a, keys: [{id: a, kind: local, file: /no}]}",
            "keyring.keys[0].file: /no cannot be read",
        ),
        (
            "keyring: {current: a, keys: [{id: a, kind: local, file: /pem/key}]}",
            "keyring.keys[0].file: gives no key: the key file holds neither base64",
        ),
        (
            "keyring: {current: a, keys: [{id: a, kind: local, version: 0, env: RECOVERY_KEY}]}",
            "keyring.keys[0].version:",
        ),
        (
            "keyring: {current: a, keys: [{id: a, kind: local, env: RECOVERY_KEY}, {id: a, kind: local, file: /etc/sealgate/main.key}]}",
            "keyring.keys[1].id: is a second key a of version 1",
        ),
        (
            "keyring: {current: a, keys: [{id: a, kind: local, env: RECOVERY_KEY}, {id: b, kind: local, env: RECOVERY_KEY}]}",
            "keyring.keys[1].id: has the same bytes as a version 1",
        ),
        (
            "keyring: {current: a, keys: [{id: a, kind: local, env: RECOVERY_KEY, colour: red}]}",
            "keyring.keys[0].colour: is not a known field",
        ),
    ] {
        assert_refused(section, expected);
    }
    let said = refused(&small_with(
        "keyring: {current: a, keys: [{id: \"a b\", kind: local, env: RECOVERY_KEY}]}",
    ));
    assert!(
        said.contains("keyring.keys[0].id: \"a b\" is not a key's id"),
        "{said}"
    );
}

#[test]
fn rules_for_anybody_are_those_of_users_and_closed_by_default() {
    let anybody = |text: &str| {
        World::new()
            .load(&small_with(text))
            .map(|loaded| loaded.config)
    };
    let closed = World::new().load(SMALL).unwrap().config;
    assert!(closed.anonymous.is_empty() && closed.policy().unwrap().anonymous().is_none());
    let open = anybody("anonymous: {rules: [{buckets: [public], actions: [read]}]}").unwrap();
    assert_eq!(open.anonymous.len(), 1);
    assert!(open.policy().unwrap().anonymous().is_some());
    for (section, expected) in [
        ("anonymous: {}", "anonymous.allowed_buckets: is missing"),
        ("anonymous: {rules: []}", "anonymous.rules: has no rule"),
        (
            "anonymous: {allowed_buckets: [a], secret_key: x}",
            "anonymous.secret_key: is not a known field",
        ),
    ] {
        assert_refused(section, expected);
    }
}

#[test]
fn problems_of_users_are_told() {
    let user = "access_key: u, secret_key: 0123456789abcdef";
    for (fields, expected) in [
        ("secret_key: 0123456789abcdef, allowed_buckets: [b]".to_owned(), "users[0].access_key: is missing"),
        ("access_key: \"a b\", secret_key: 0123456789abcdef, allowed_buckets: [b]".to_owned(), "users[0].access_key: \"a b\" has a character other than"),
        ("access_key: u, allowed_buckets: [b]".to_owned(), "users[0].secret_key: is missing. Give secret_key: \"${NAME}\", or secret_key_file."),
        ("access_key: u, secret_key: \"${NO}\", allowed_buckets: [b]".to_owned(), "users[0].secret_key: names the variable NO, which is not set"),
        ("access_key: u, secret_key: \"${NO\", allowed_buckets: [b]".to_owned(), "users[0].secret_key: has `${` without"),
        (user.to_owned(), "users[0].allowed_buckets: is missing"),
        (format!("{user}, allowed_buckets: []"), "users[0].allowed_buckets: names no bucket"),
        (format!("{user}, allowed_buckets: b"), "users[0].allowed_buckets: is a text, not a list"),
        (format!("{user}, allowed_buckets: [a/b]"), "users[0].allowed_buckets[0]: \"a/b\" contains '/'"),
        (format!("{user}, allowed_buckets: [2026]"), "users[0].allowed_buckets[0]: is a number, not a text"),
        (format!("{user}, allowed_buckets: [b], rules: []"), "users[0].rules: stands beside allowed_buckets"),
        (format!("{user}, rules: []"), "users[0].rules: has no rule"),
        (format!("{user}, rules: [{{actions: [read]}}]"), "users[0].rules[0].buckets: is missing"),
        (format!("{user}, rules: [{{buckets: [b]}}]"), "users[0].rules[0].actions: is missing"),
        (format!("{user}, rules: [{{buckets: [b], actions: [fly]}}, {{buckets: [b], actions: [read]}}]").replace("[fly]", "[fly, read]"), "users[0].rules[0].actions[0]: \"fly\" is not an action. Write one of: read"),
        (format!("{user}, rules: [{{buckets: [b], actions: []}}]"), "users[0].rules[0].actions: grants nothing"),
        (format!("{user}, rules: [{{buckets: [b], actions: [read], prefixes: []}}]"), "users[0].rules[0].prefixes: has no prefix"),
        (format!("{user}, rules: [{{buckets: [b], actions: [read], prefixes: [\"\", x]}}]"), "users[0].rules[0].prefixes[0]: is empty"),
        (format!("{user}, allowed_buckets: [b], store_credentials: {{access_key: x}}"), "users[0].store_credentials.secret_key: is missing"),
        (format!("{user}, allowed_buckets: [b], colour: red"), "users[0].colour: is not a known field"),
    ] {
        assert_refused(&format!("users: [{{{fields}}}]"), expected);
    }
    assert_refused(
        &format!("users: [{{{user}, allowed_buckets: [b]}}, {{{user}, allowed_buckets: [c]}}]"),
        "users[1].access_key: is that of users[0] as well",
    );
}

#[test]
fn rules_for_other_origins_come_from_the_most_specific_section_that_has_them() {
    let rule = "{allowed_origins: [\"https://a\"], allowed_methods: [GET], allowed_headers: [X-*], expose_headers: [ETag], max_age_seconds: 5}";
    let text = small_with(&format!(
        "buckets: {{\"*\": {{cors: [{rule}]}}, own: {{etag: opaque}}, none: {{cors: []}}}}"
    ));
    let buckets = World::new().load(&text).unwrap().config.buckets;
    for bucket in ["own", "any"] {
        let rules = buckets.of(bucket).cors.unwrap();
        assert_eq!(rules.len(), 1, "{bucket}");
        assert_eq!((rules[0].max_age, rules[0].expose.len()), (Some(5), 1));
    }
    assert_eq!(buckets.of("none").cors.as_deref(), Some(&[][..]));
    let without = World::new()
        .load(&small_with("cache: {bytes: 1MiB}"))
        .unwrap()
        .config
        .buckets;
    assert!(without.of("any").cors.is_none(), "the store's rules count");
}

#[test]
fn problems_of_buckets_are_told() {
    for (section, expected) in [
        (
            "buckets: {b: {plaintext: maybe}}",
            "buckets.b.plaintext: \"maybe\" is not known here",
        ),
        (
            "buckets: {b: {plaintext: true}}",
            "buckets.b.plaintext: is true or false, not a text",
        ),
        (
            "buckets: {b: {etag: sha1}}",
            "buckets.b.etag: \"sha1\" is not known here. Write one of: md5, opaque.",
        ),
        (
            "buckets: {b: {default_checksum: sha256}}",
            "buckets.b.default_checksum: \"sha256\" is not known here. Write one of: none, crc64nvme.",
        ),
        (
            "buckets: {b: {verify: all}}",
            "buckets.b.verify: \"all\" is not known here. Write one of: segment, object.",
        ),
        (
            "buckets: {b: {compat: 1}}",
            "buckets.b.compat: is a number, not a text",
        ),
        (
            "buckets: {b: {metadata: loose}}",
            "buckets.b.metadata: \"loose\" is not known here",
        ),
        (
            "buckets: {b: {recipients: []}}",
            "buckets.b.recipients: names no key",
        ),
        (
            "buckets: {b: {recipients: [nobody]}}",
            "buckets.b.recipients[0]: \"nobody\" is not the id of any key",
        ),
        (
            "buckets: {b: {recipients: [main, main]}}",
            "buckets.b.recipients[1]: is given twice",
        ),
        (
            "buckets: {\"b-*\": {bound_as: c}}",
            "buckets.\"b-*\".bound_as: stands under a pattern",
        ),
        (
            "buckets: {b: {bound_as: \"c*\"}}",
            "buckets.b.bound_as: \"c*\" is a pattern",
        ),
        (
            "buckets: {b: {cors: x}}",
            "buckets.b.cors: is a text, not a list",
        ),
        (
            "buckets: {b: {cors: [{allowed_methods: [GET]}]}}",
            "buckets.b.cors[0].allowed_origins: is missing. List them",
        ),
        (
            "buckets: {b: {cors: [{allowed_origins: [], allowed_methods: [GET]}]}}",
            "buckets.b.cors[0].allowed_origins: is missing",
        ),
        (
            "buckets: {b: {cors: [{allowed_origins: [\"*\"]}]}}",
            "buckets.b.cors[0].allowed_methods: is missing",
        ),
        (
            "buckets: {b: {cors: [{allowed_origins: [\"*.*\"], allowed_methods: [GET]}]}}",
            "buckets.b.cors[0].allowed_origins[0]: \"*.*\" has more than one `*`",
        ),
        (
            "buckets: {b: {cors: [{allowed_origins: [\"*\"], allowed_methods: [get]}]}}",
            "buckets.b.cors[0].allowed_methods[0]: \"get\" is not one of GET, PUT",
        ),
        (
            "buckets: {b: {cors: [{allowed_origins: [\"*\"], allowed_methods: [GET], allowed_headers: [\"a b\"]}]}}",
            "buckets.b.cors[0].allowed_headers[0]: \"a b\" is empty, too long, or not plain ASCII",
        ),
        (
            "buckets: {b: {cors: [{allowed_origins: [\"*\"], allowed_methods: [GET], expose_headers: [\"a:b\"]}]}}",
            "buckets.b.cors[0].expose_headers[0]: \"a:b\" is not the name of a header",
        ),
        (
            "buckets: {b: {cors: [{allowed_origins: [\"*\"], allowed_methods: [GET], max_age_seconds: 86401}]}}",
            "buckets.b.cors[0].max_age_seconds: is no number within bounds",
        ),
        (
            "buckets: {b: {cors: [{allowed_origins: [\"*\"], allowed_methods: [GET], max_age: 5}]}}",
            "buckets.b.cors[0].max_age: is not a known field",
        ),
        ("buckets: {\"a b\": {}}", "buckets.\"a b\": contains ' '"),
        (
            "buckets: {b: {colour: red}}",
            "buckets.b.colour: is not a known field",
        ),
        (
            "blocked_buckets: [\"b-*\"]",
            "blocked_buckets[0]: \"b-*\" is a pattern",
        ),
        ("limits: {list_concurrency: 0}", "limits.list_concurrency:"),
        (
            "limits: {max_xml_body: 4MB}",
            "limits.max_xml_body: \"4MB\" is no size within bounds",
        ),
        (
            "limits: {max_xml_body: 4096}",
            "limits.max_xml_body: is a number without a unit, not a size",
        ),
        (
            "cache: {bytes: many}",
            "cache.bytes: \"many\" is no size within bounds",
        ),
        (
            "cache: {bytes: 65536}",
            "cache.bytes: is a number without a unit, not a size",
        ),
        (
            "cache: {entries: 50000}",
            "cache.entries: is no field any more. Write cache.bytes instead",
        ),
        (
            "cache: {bytes: 0B, path: facts.redb}",
            "cache.path: names a file for a cache of no bytes",
        ),
        ("cache: {path: \"\"}", "cache.path: is empty. Name a file."),
        (
            "multipart: {prefix: \"\"}",
            "multipart.prefix: \"\" is no prefix to keep for the gateway",
        ),
        (
            "multipart: {prefix: \"~sealgate\"}",
            "multipart.prefix: \"~sealgate\" is no prefix to keep for the gateway",
        ),
        (
            "multipart: {prefix: \"a\\tb/\"}",
            "is no prefix to keep for the gateway",
        ),
        (
            "logging: {level: loud}",
            "logging.level: \"loud\" is not known here. Write one of: error, warn, info, debug, trace.",
        ),
        (
            "logging: {format: xml}",
            "logging.format: \"xml\" is not known here",
        ),
        (
            "loging: {}",
            "loging: is not a known field. Did you mean `logging`?",
        ),
    ] {
        assert_refused(section, expected);
    }
}

#[test]
fn a_blocked_bucket_may_be_named_nowhere() {
    let text = r#"
users:
  - {access_key: a, secret_key: 0123456789abcdef, allowed_buckets: [burnt, "*"]}
  - {access_key: b, secret_key: 0123456789abcdef, rules: [{buckets: [burnt], actions: [read]}]}
buckets: {burnt: {}, copy: {bound_as: burnt}}
blocked_buckets: [burnt]
"#;
    let sections: String = SMALL
        .lines()
        .filter(|line| !line.starts_with("users"))
        .collect::<Vec<_>>()
        .join("\n");
    let error = World::new().load(&format!("{sections}{text}")).unwrap_err();
    let fields: Vec<&str> = error.problems().iter().map(|p| p.field.as_str()).collect();
    assert_eq!(
        fields,
        [
            "users[0].allowed_buckets[0]",
            "users[1].rules[0].buckets[0]",
            "buckets.burnt",
            "buckets.copy.bound_as"
        ],
        "{error}"
    );
}

#[test]
fn what_is_no_yaml_is_told_with_its_place() {
    for (text, place) in [
        ("server: {listen: [", "c.yaml:"),
        ("a: b: c", "c.yaml:1:"),
        ("users: [*]", "c.yaml:1:"),
        ("server: {}\nserver: {}", "c.yaml:2:1"),
        ("server: !!int x", "c.yaml:1:"),
        ("- a\n- b", "is a list, not a mapping"),
    ] {
        let said = refused(text);
        assert!(said.contains(place), "{text}\n{said}");
    }
    let deep = "[".repeat(100_000);
    assert!(refused(&deep).contains("is not valid YAML"));
}

#[test]
fn bucket_sections_inherit_from_less_specific_ones() {
    use EtagKind::{Md5, Opaque};
    use PlaintextObjects::{Allow, Refuse};
    use UserMetadata::{Bound, Unbound};

    let config = load(&small_with(
        r#"buckets: {"*": {plaintext: allow, etag: opaque}, "logs-*": {plaintext: refuse, default_checksum: crc64nvme}, "logs-eu-*": {metadata: unbound}, logs-eu-1: {etag: md5, bound_as: logs, default_checksum: none}}"#,
    ));
    let shape = |name: &str| {
        let of = config.buckets.of(name);
        (of.plaintext, of.etag, of.metadata, of.bound_as)
    };
    let checksum = |name: &str| config.buckets.of(name).default_checksum;
    assert_eq!(checksum("x"), DefaultChecksum::None);
    assert_eq!(checksum("logs-us-1"), DefaultChecksum::Crc64Nvme);
    assert_eq!(checksum("logs-eu-1"), DefaultChecksum::None);
    assert_eq!(shape("x"), (Allow, Opaque, Bound, "x".into()));
    assert_eq!(
        shape("logs-us-1"),
        (Refuse, Opaque, Bound, "logs-us-1".into())
    );
    assert_eq!(
        shape("logs-eu-2"),
        (Refuse, Opaque, Unbound, "logs-eu-2".into())
    );
    assert_eq!(shape("logs-eu-1"), (Refuse, Md5, Unbound, "logs".into()));
    assert_eq!(
        config.buckets.patterns(),
        ["logs-eu-1", "logs-eu-*", "logs-*", "*"]
    );
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let file = small_with("logging: {level: error, format: json}");
    let level = |world: &World| world.load(&file).unwrap().config.logging.level;
    let world = World::new();
    assert_eq!(
        world.load(SMALL).unwrap().config.logging.level,
        LogLevel::Info
    );
    assert_eq!(level(&world), LogLevel::Error);
    let world = world.with("SEALGATE_LOGGING_LEVEL", "warn");
    assert_eq!(level(&world), LogLevel::Warn);
    assert_eq!(
        level(&world.clone().with("SEALGATE_LOGGING_LEVEL", "")),
        LogLevel::Error
    );
    let world = world.with_flag("logging.level", "--log-level", "debug");
    assert_eq!(level(&world), LogLevel::Debug);
    let world = world.with_flag("logging.format", "--log-format", "xml");
    let said = world.load(&file).unwrap_err().to_string();
    assert!(
        said.contains("flag --log-format: logging.format: \"xml\" is not known here"),
        "{said}"
    );
}

#[test]
fn the_environment_alone_can_describe_server_and_store() {
    let world = World::new()
        .with("SEALGATE_SERVER_LISTEN", "127.0.0.1:7000")
        .with("SEALGATE_SERVER_DOMAIN", "a.org, b.org")
        .with("SEALGATE_SERVER_TLS_CERT_FILE", "/pem/cert")
        .with("SEALGATE_SERVER_TLS_KEY_FILE", "/pem/key")
        .with("SEALGATE_SERVER_MAX_CONNECTIONS", "7")
        .with("SEALGATE_STORE_ENDPOINT", "http://localhost:9000")
        .with("SEALGATE_STORE_REGION", "r2")
        .with("SEALGATE_STORE_ACCESS_KEY", "ak")
        .with("SEALGATE_STORE_SECRET_KEY", "not ${substituted}")
        .with("SEALGATE_STORE_READ_TIMEOUT", "90s");
    let text: String = SMALL
        .lines()
        .filter(|line| !line.starts_with("store"))
        .collect::<Vec<_>>()
        .join("\n");
    let loaded = world.load(&text).unwrap();
    assert_eq!(loaded.warnings, []);
    let config = loaded.config;
    assert_eq!(config.server.domains, ["a.org", "b.org"]);
    assert!(config.server.tls.is_some());
    assert_eq!(config.server.max_connections, 7);
    assert_eq!(
        config.store.credentials.secret_key.expose(),
        "not ${substituted}"
    );
    assert_eq!(config.store.read_timeout, Duration::from_secs(90));
}

#[test]
fn a_secret_from_above_takes_the_place_of_either_form_below() {
    let secret = |world: &World, text: &str| {
        let config = world.load(text).unwrap().config;
        config.store.credentials.secret_key.expose().to_owned()
    };
    let by_file = World::new().with("SEALGATE_STORE_SECRET_KEY_FILE", "/run/secrets/nightly");
    assert_eq!(secret(&by_file, SMALL), "nightly-secret-0123456789");
    let file = small_with(
        "store: {endpoint: \"https://h\", region: r, access_key: a, secret_key_file: /run/secrets/nightly}",
    );
    let by_value = World::new().with("SEALGATE_STORE_SECRET_KEY", "direct");
    assert_eq!(secret(&by_value, &file), "direct");
    let both = by_file.with("SEALGATE_STORE_SECRET_KEY", "direct");
    let said = both.load(SMALL).unwrap_err().to_string();
    assert!(said.contains("store.secret_key: is given twice"), "{said}");
}

#[test]
fn every_field_with_a_variable_is_a_known_field() {
    for field in fields::all() {
        let world = World::new().with(&fields::variable_of(field), "\u{1}");
        let said = match world.load(SMALL) {
            Ok(_) => continue,
            Err(error) => error.to_string(),
        };
        assert!(!said.contains("not a known field"), "{field}: {said}");
        assert!(
            said.contains(&fields::variable_of(field)),
            "{field}: {said}"
        );
    }
}

#[test]
fn every_field_and_variable_is_documented() {
    let manual = include_str!("../../docs/CONFIGURATION.md");
    for field in fields::all() {
        assert!(manual.contains(&fields::variable_of(field)), "{field}");
        let (_, name) = field.rsplit_once('.').unwrap();
        assert!(manual.contains(&format!("`{name}`")), "{field}");
    }
}

#[test]
fn secret_files_lose_one_line_end_and_must_be_text() {
    let text = small_with(
        "store: {endpoint: \"https://h\", region: r, access_key: a, secret_key_file: /s}",
    );
    for (content, secret) in [
        (&b"abc"[..], "abc"),
        (b"abc\n", "abc"),
        (b"abc\r\n", "abc"),
        (b" abc ", " abc "),
    ] {
        let config = World::new()
            .with_file("/s", content)
            .load(&text)
            .unwrap()
            .config;
        assert_eq!(config.store.credentials.secret_key.expose(), secret);
    }
    for (content, expected) in [
        (&b"\n"[..], "store.secret_key_file: is empty"),
        (b"a\n\n", "store.secret_key_file: contains a line end"),
        (
            b"\xff",
            "store.secret_key_file: names a file that is not text",
        ),
    ] {
        let said = World::new()
            .with_file("/s", content)
            .load(&text)
            .unwrap_err()
            .to_string();
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn relative_paths_start_at_the_folder_of_the_file() {
    let text = SMALL.replace("env: RECOVERY_KEY", "file: main.key");
    let variable = |_: &str| None;
    let read = |path: &Path| match path.to_str().unwrap() {
        "/conf/sealgate.yaml" => Ok(Zeroizing::new(text.clone().into_bytes())),
        "/conf/main.key" => Ok(Zeroizing::new(MAIN_KEY.into())),
        _ => Err(io::ErrorKind::NotFound.into()),
    };
    let sources = Sources::new(&variable, &read).with_file("/conf/sealgate.yaml");
    assert!(Config::load(&sources).is_ok());
    let sources = Sources::new(&variable, &read).with_file("/other.yaml");
    let said = Config::load(&sources).unwrap_err().to_string();
    assert!(said.contains("/other.yaml: cannot be read"), "{said}");
}

#[test]
fn a_section_loads_alone() {
    let world = World::new().without("STORE_SECRET").without("ALICE_SECRET");
    let keyring = world.sources(EXAMPLE, Keyring::load).unwrap().config;
    assert_eq!(keyring.keys.len(), 2);
    let world = World::new().without("RECOVERY_KEY").without("ALICE_SECRET");
    let store = world.sources(EXAMPLE, Store::load).unwrap().config;
    assert_eq!(store.region, "fsn1");
}

#[test]
fn the_newest_version_of_a_key_seals() {
    let config = load(&small_with(
        "keyring: {current: a, keys: [{id: a, version: 2, kind: local, env: RECOVERY_KEY}, {id: a, kind: local, file: /etc/sealgate/main.key}]}",
    ));
    assert_eq!(config.keyring.newest("a").unwrap().version, 2);
    assert!(config.keyring.newest("b").is_none());
}

#[test]
fn what_is_unsafe_but_works_is_warned_of() {
    let world = World::new()
        .with("SEALGATE_SERVER_LISTEM", "x")
        .with("SEALGATE_SERVICE_HOST", "x");
    for (section, expected) in [
        (
            "server: {listen: \"0.0.0.0:80\"}",
            "server.listen: is reachable from other machines",
        ),
        (
            "store: {endpoint: \"http://h\", region: r, access_key: a, secret_key: s}",
            "store.endpoint: is another machine's, in plain HTTP",
        ),
        (
            "users: [{access_key: u, secret_key: short, allowed_buckets: [b]}]",
            "users[0].secret_key: is shorter than 16 characters",
        ),
        ("users: []", "users: is empty, so nobody"),
        (
            "users: [{access_key: u, secret_key: 0123456789abcdef, rules: [{buckets: [b], actions: [overwrite]}]}]",
            "users[0].rules[0].actions: grants overwrite without write",
        ),
        (
            "users: [{access_key: u, secret_key: 0123456789abcdef, rules: [{buckets: [b], prefixes: [\"a*\"], actions: [read]}]}]",
            "prefixes[0]: has a `*`",
        ),
        (
            "buckets: {\"*\": {plaintext: allow}}",
            "buckets.\"*\": serves plaintext objects",
        ),
        (
            &format!(
                "keyring: {{current: m, keys: [{{id: m, kind: local, secret: \"{RECOVERY_KEY}\"}}]}}"
            ),
            "keyring.keys[0].secret: is written into the configuration",
        ),
    ] {
        let said = warnings(&world, &small_with(section));
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(said[0].contains(expected), "{said:?}");
        assert!(
            said[1].contains("variable SEALGATE_SERVER_LISTEM: sets no field"),
            "{said:?}"
        );
    }
    for quiet in [
        "store: {endpoint: \"http://127.0.0.1:1\", region: r, access_key: a, secret_key: s}",
        "store: {endpoint: \"http://[::1]:1\", region: r, access_key: a, secret_key: s}",
    ] {
        assert_eq!(warnings(&World::new(), &small_with(quiet)).len(), 0);
    }
}

#[test]
fn no_secret_is_ever_shown() {
    let loaded = World::new().load(EXAMPLE).unwrap();
    let shown = format!("{loaded:?}\n{loaded:#?}\n{}", loaded.summary());
    for secret in [
        "s3cr3t",
        "alice-secret",
        "nightly-secret",
        "store-access-key\" is",
        "AAECAw",
        "0001020304",
        "[255, 1, 2",
    ] {
        assert!(!shown.contains(secret), "{secret}\n{shown}");
    }
    let world = World::new()
        .with("STORE_KEY", "s3cr3t bad")
        .with("STORE_SECRET", "s3cr3t\nbad")
        .with("SEALGATE_STORE_REGION", "s3cr3t/bad")
        .with("RECOVERY_KEY", "s3cr3t bad")
        .with("ALICE_SECRET", "");
    let said = world.load(EXAMPLE).unwrap_err();
    assert_eq!(said.problems().len(), 5, "{said}");
    assert!(!format!("{said} {said:?}").contains("s3cr3t"), "{said}");
    for broken in [
        "store: {secret_key: s3cr3t: x}",
        "store: {secret_key: *s3cr3t}",
        "store: {secret_key: !s3cr3t x}",
        "store: {secret_key: !!int s3cr3t}",
        "store: {secret_key: @s3cr3t}",
        "store: {secret_key: \"\\zs3cr3t\"}",
        "store: {secret_key: s3cr3t",
    ] {
        let said = refused(broken);
        assert!(!said.contains("s3cr3t"), "{broken}\n{said}");
    }
}

#[test]
fn the_summary_says_what_the_configuration_comes_to() {
    let summary = World::new().load(EXAMPLE).unwrap().summary();
    let expected = "\
ok
  listen   127.0.0.1:8080 (plain HTTP)
  admin    127.0.0.1:9090
  domain   s3.example.org
  store    https://fsn1.example.com, region fsn1, path addressing
  keys     main version 1 (local), seals new objects
           recovery version 1 (local)
  users    alice: everything on backups logs-*
           nightly: write, list on backups under db/; own store credentials
  buckets  archive: plaintext allow, etag md5, metadata bound, recipients main recovery
           *: plaintext refuse, etag md5, metadata bound, recipients main
  limits   1024 connections, 16 footers at once, XML up to 4MiB, streams 80MiB, cache of 64MiB, 30s to shut down
  logging  info as json
";
    assert_eq!(summary, expected);
}

#[test]
fn many_users_load() {
    use std::fmt::Write as _;
    let mut text: String = SMALL
        .lines()
        .filter(|line| !line.starts_with("users"))
        .collect::<Vec<_>>()
        .join("\n");
    text.push_str("\nusers:\n");
    for n in 0..10_000 {
        writeln!(
            text,
            "- {{access_key: u{n}, secret_key: 0123456789abcdef, allowed_buckets: [b{n}]}}"
        )
        .unwrap();
    }
    assert_eq!(load(&text).users.len(), 10_000);
}

proptest! {
    #[test]
    fn any_text_loads_or_is_refused(text: String) {
        let _ = World::new().load(&text);
    }

    #[test]
    fn any_value_of_any_variable_loads_or_is_refused(
        field in prop::sample::select(fields::all().collect::<Vec<_>>()),
        value: String,
    ) {
        let _ = World::new().with(&fields::variable_of(field), &value).load(EXAMPLE);
    }

    #[test]
    fn any_damage_to_a_file_loads_or_is_refused(at in 0..EXAMPLE.len(), byte in "[ -~\n]{0,3}") {
        if EXAMPLE.is_char_boundary(at) {
            let (before, after) = EXAMPLE.split_at(at);
            let _ = World::new().load(&format!("{before}{byte}{}", after.get(1..).unwrap_or("")));
        }
    }
}

#[test]
fn objects_of_other_programs_are_described() {
    let world = World::new()
        .with("OLD", "old secret")
        .with_file("/older", b"older secret\n");
    let compat = "{accept_unsigned: {until: 2027-06-30}, s3proxy: {tags: [Isec, my-tag], \
                  secrets: [\"${OLD}\", {secret_file: /older}, {secret: third}], zero_key: true}}";
    let text = small_with(&format!(
        "compat: {compat}\nspool: {{dir: /spool, bytes: 8GiB}}\nbuckets: {{closed: {{compat: false}}, slow: {{verify: object}}}}"
    ));
    let loaded = world.load(&text).unwrap();
    let config = &loaded.config;
    let compat = config.compat.as_ref().unwrap();
    // The whole of that day: until the first second of the next, in UTC.
    assert_eq!(compat.accept_unsigned.unwrap().ends(), 1_814_400_000);
    let s3proxy = compat.s3proxy.as_ref().unwrap();
    assert_eq!(s3proxy.tags, ["isec", "my-tag"]);
    let secrets: Vec<&str> = s3proxy.secrets.iter().map(Secret::expose).collect();
    assert_eq!(secrets, ["old secret", "older secret", "third"]);
    assert!(s3proxy.zero_key);
    assert!(!config.buckets.of("closed").compat && config.buckets.of("any").compat);
    assert_eq!(config.buckets.of("slow").verify, Verify::Object);
    assert!(config.buckets.verify_objects());
    assert_eq!(config.spool.dir, std::path::Path::new("/spool"));
    assert_eq!(
        (config.spool.bytes, config.spool.max_object),
        (8 << 30, 6 << 30)
    );
    let warned: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert!(
        warned.iter().any(|w| w.contains("compat.s3proxy.zero_key")),
        "{warned:?}"
    );
    let summary = loaded.summary();
    assert!(
        summary.contains("read up to and including 2027-06-30 (UTC)"),
        "{summary}"
    );
    assert!(
        summary.contains("3 secrets, tags isec my-tag, and under the zero key"),
        "{summary}"
    );
    for shown in [summary, format!("{config:?}")] {
        assert!(
            !shown.contains("old secret") && !shown.contains("third"),
            "{shown}"
        );
    }
    let small = load(SMALL);
    assert_eq!(small.compat, None);
    assert!(!small.buckets.verify_objects());
}

#[test]
fn the_keys_of_two_other_proxies_are_taken_as_they_have_them() {
    let world = World::new()
        .with("AES", "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=")
        .with_file("/key", b"a password in a file\n");
    let text = small_with(
        "compat: {accept_unsigned: {until: 2027-06-30}, \
         s3ep: {prefix: \"\", keys: [\"${AES}\", {secret: an aes key of thirty-two letters}], accept_unauthenticated: true}, \
         s3eg: {passwords: [twelve bytes], key_files: [/key]}}",
    );
    let loaded = world.load(&text).unwrap();
    let compat = loaded.config.compat.as_ref().unwrap();
    let s3ep = compat.s3ep.as_ref().unwrap();
    assert_eq!(
        (s3ep.prefix.as_str(), s3ep.accept_unauthenticated),
        ("", true)
    );
    let keys: Vec<&[u8; 32]> = s3ep.keys.iter().map(KeyBytes::expose).collect();
    assert_eq!(keys, [&[7; 32], b"an aes key of thirty-two letters"]);
    let s3eg = compat.s3eg.as_ref().unwrap();
    let passwords: Vec<&[u8]> = s3eg.passwords.iter().map(Password::expose).collect();
    assert_eq!(passwords, [&b"twelve bytes"[..], b"a password in a file\n"]);
    let warned: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warned.len(), 1, "{warned:?}");
    assert!(
        warned[0].contains("compat.s3ep.accept_unauthenticated"),
        "{warned:?}"
    );
    let shown = format!("{}{:?}", loaded.summary(), loaded.config);
    for told in [
        "s3ep: 2 keys, prefix \"\", and what nothing authenticates",
        "s3eg: 2 passwords",
    ] {
        assert!(shown.contains(told), "{shown}");
    }
    for secret in ["BwcH", "thirty-two", "twelve", "in a file"] {
        assert!(!shown.contains(secret), "{shown}");
    }
    let without = small_with("compat: {s3eg: {passwords: [twelve bytes]}}");
    let warned: Vec<String> = world
        .load(&without)
        .unwrap()
        .warnings
        .iter()
        .map(ToString::to_string)
        .collect();
    assert!(
        warned[0].contains("compat.s3eg: is without compat.accept_unsigned"),
        "{warned:?}"
    );
}

#[test]
fn problems_of_other_programs_objects_are_told() {
    for (section, problem) in [
        (
            "compat: {s3proxy: {secrets: []}}",
            "compat.s3proxy.secrets: is missing",
        ),
        (
            "compat: {s3proxy: {}}",
            "compat.s3proxy.secrets: is missing",
        ),
        (
            "compat: {s3proxy: {secrets: [\"\"]}}",
            "compat.s3proxy.secrets[0]: is empty",
        ),
        (
            "compat: {s3proxy: {secrets: [{secret: a, secret_file: /b}]}}",
            "compat.s3proxy.secrets[0].secret: is given twice",
        ),
        (
            "compat: {s3proxy: {secrets: [a], tags: []}}",
            "compat.s3proxy.tags: names no metadata",
        ),
        (
            "compat: {s3proxy: {secrets: [a], tags: [\"a b\"]}}",
            "compat.s3proxy.tags[0]: \"a b\" is no name of metadata",
        ),
        (
            "compat: {s3proxy: {secrets: [a], tags: [sealgate-x]}}",
            "begins as the gateway's own metadata does",
        ),
        (
            "compat: {s3proxy: {secrets: [a], tags: [a, A]}}",
            "compat.s3proxy.tags[1]: is given twice",
        ),
        (
            "compat: {s3proxy: {secrets: [a], zero_key: maybe}}",
            "compat.s3proxy.zero_key: \"maybe\" is not known here",
        ),
        (
            "compat: {s3proxy: {secrets: [a], zero: true}}",
            "compat.s3proxy.zero: is not a known field",
        ),
        ("compat: {other: {}}", "compat.other: is not a known field"),
        ("compat: {s3ep: {}}", "compat.s3ep.keys: is missing"),
        ("compat: {s3ep: {keys: []}}", "compat.s3ep.keys: is missing"),
        (
            "compat: {s3ep: {keys: [short]}}",
            "compat.s3ep.keys[0]: is no key of 32 bytes",
        ),
        (
            "compat: {s3ep: {keys: [an aes key of thirty-two letters], prefix: \"a b\"}}",
            "compat.s3ep.prefix: \"a b\" is no name of metadata",
        ),
        ("compat: {s3eg: {}}", "compat.s3eg.passwords: is missing"),
        (
            "compat: {s3eg: {passwords: [elevenbytes]}}",
            "compat.s3eg.passwords[0]: is shorter than any that program takes",
        ),
        (
            "compat: {s3eg: {key_files: [/nowhere]}}",
            "compat.s3eg.key_files[0]: /nowhere cannot be read",
        ),
        (
            "compat: {accept_unsigned: {}}",
            "compat.accept_unsigned.until: is missing",
        ),
        (
            "compat: {accept_unsigned: {until: 2027-02-30}}",
            "compat.accept_unsigned.until: \"2027-02-30\" is no day",
        ),
        (
            "compat: {accept_unsigned: {until: soon}}",
            "compat.accept_unsigned.until: \"soon\" is no day",
        ),
        (
            "spool: {bytes: 1GiB, max_object: 2GiB}",
            "spool.max_object: is 2GiB, more than spool.bytes: 1GiB",
        ),
        (
            "spool: {bytes: 1}",
            "spool.bytes: is a number without a unit",
        ),
    ] {
        let said = World::new()
            .load(&small_with(section))
            .unwrap_err()
            .to_string();
        assert!(said.contains(problem), "{section}: {said}");
    }
    let loaded = World::new()
        .load(&small_with("compat: {s3proxy: {secrets: [a]}}"))
        .unwrap();
    assert!(
        loaded
            .warnings
            .iter()
            .any(|w| w.to_string().contains("accept_unsigned"))
    );
}
