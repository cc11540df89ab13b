//! The fields that environment variables can set, and how they are laid over the file.

use super::error::Origin;
use super::tree::{Node, Value};
use zeroize::Zeroizing;

/// Every field with a variable. `store.read_timeout` is set by `SEALGATE_STORE_READ_TIMEOUT`.
pub(super) const FIELDS: [&str; 37] = [
    "server.listen",
    "server.cipher_engine",
    "server.admin_listen",
    "server.domain",
    "server.tls.cert_file",
    "server.tls.key_file",
    "server.max_connections",
    "server.header_timeout",
    "server.idle_timeout",
    "server.shutdown_grace",
    "store.endpoint",
    "store.region",
    "store.access_key",
    "store.access_key_file",
    "store.secret_key",
    "store.secret_key_file",
    "store.addressing",
    "store.ca_file",
    "store.connect_timeout",
    "store.read_timeout",
    "store.pool_idle_timeout",
    "store.pool_max_idle",
    "store.tcp_keepalive",
    "keyring.current",
    "limits.list_concurrency",
    "limits.max_xml_body",
    "limits.stream_memory",
    "cache.bytes",
    "cache.path",
    "multipart.min_part_size",
    "multipart.prefix",
    "spool.dir",
    "spool.bytes",
    "spool.max_object",
    "spool.keep",
    "logging.level",
    "logging.format",
];

/// What all variables of the gateway begin with.
const PREFIX: &str = "SEALGATE_";

/// Variables that mean something, but set no field.
const OTHER: [&str; 2] = ["SEALGATE_LOG", "SEALGATE_CONFIG"];

/// The variable that sets `field`.
pub(super) fn variable_of(field: &str) -> String {
    format!("{PREFIX}{}", field.replace('.', "_").to_ascii_uppercase())
}

/// Every field that a variable can set.
pub(super) fn all() -> impl Iterator<Item = &'static str> {
    FIELDS.into_iter()
}

/// Whether `name` looks as if it were meant for the gateway, but means nothing to it.
///
/// Kubernetes sets variables of its own for a service named `sealgate`; those are not meant.
pub(super) fn is_unknown_variable(name: &str) -> bool {
    name.starts_with(PREFIX)
        && !OTHER.contains(&name)
        && !all().any(|field| variable_of(field) == name)
        && !["_SERVICE_HOST", "_SERVICE_PORT", "_PORT"]
            .iter()
            .any(|mark| name.ends_with(mark) || name.contains(&format!("{mark}_")))
}

/// Values from one source, laid over `tree`. A secret given here takes the place of its `_file`
/// form below, and the other way round; the two in one source are left for the decoder to refuse.
pub(super) fn lay_over(tree: &mut Node, values: Vec<(&'static str, Zeroizing<String>, Origin)>) {
    for (field, _, _) in &values {
        let other = match field.strip_suffix("_file") {
            Some(plain) => plain.to_owned(),
            None => format!("{field}_file"),
        };
        tree.remove(&path(&other));
    }
    for (field, text, origin) in values {
        let node = Node {
            value: Value::Text(text),
            origin,
        };
        tree.set(&path(field), node);
    }
}

fn path(field: &str) -> Vec<&str> {
    field.split('.').collect()
}
