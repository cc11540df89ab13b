//! What `sealgate config check` says of a configuration that has no problems.

use std::fmt::{self, Write as _};

use super::human::{show_duration, show_size};
use super::load::Loaded;
use super::{
    Addressing, Config, DefaultChecksum, EtagKind, PlaintextObjects, UserMetadata, Verify,
};
use crate::policy::{Actions, Pattern, Rule, User};

/// How many users and buckets are listed; the others are counted.
const LISTED: usize = 50;

impl Loaded {
    /// The configuration in a few lines for people, warnings last. Holds no secret.
    #[must_use]
    pub fn summary(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = self.write_summary(&mut text);
        text
    }

    fn write_summary(&self, out: &mut String) -> fmt::Result {
        self.config.write_summary(out)?;
        for warning in &self.warnings {
            writeln!(out, "warning: {warning}")?;
        }
        Ok(())
    }
}

impl Config {
    fn write_summary(&self, out: &mut String) -> fmt::Result {
        let server = &self.server;
        writeln!(out, "ok")?;
        let how = if server.tls.is_some() {
            "TLS"
        } else {
            "plain HTTP"
        };
        writeln!(out, "  listen   {} ({how})", server.listen)?;
        match server.admin_listen {
            Some(admin) => writeln!(out, "  admin    {admin}")?,
            None => writeln!(out, "  admin    none")?,
        }
        if !server.domains.is_empty() {
            writeln!(out, "  domain   {}", server.domains.join(", "))?;
        }
        let addressing = match self.store.addressing {
            Addressing::Path => "path",
            Addressing::Virtual => "virtual",
        };
        writeln!(
            out,
            "  store    {}, region {}, {addressing} addressing",
            self.store.endpoint, self.store.region
        )?;
        for (index, key) in self.keyring.keys.iter().enumerate() {
            let heading = if index == 0 { "keys" } else { "" };
            let newest = self.keyring.newest(&key.id).map(|newest| newest.version);
            let current = key.id == self.keyring.current && newest == Some(key.version);
            let mark = if current { ", seals new objects" } else { "" };
            writeln!(
                out,
                "  {heading:<8} {} version {} ({}){mark}",
                key.id,
                key.version,
                key.kind.name()
            )?;
        }
        self.write_users(out)?;
        self.write_buckets(out)?;
        self.write_compat(out)?;
        if !self.blocked_buckets.is_empty() {
            writeln!(out, "  blocked  {} buckets", self.blocked_buckets.len())?;
        }
        writeln!(
            out,
            "  limits   {} connections, {} footers at once, XML up to {}, streams {}, cache of {}{}, {} to shut down",
            server.max_connections,
            self.limits.list_concurrency,
            show_size(self.limits.max_xml_body),
            show_size(self.limits.stream_memory),
            show_size(self.cache.bytes),
            if self.cache.path.is_some() {
                " and on disk"
            } else {
                ""
            },
            show_duration(server.shutdown_grace)
        )?;
        writeln!(
            out,
            "  logging  {} as {}",
            self.logging.level, self.logging.format
        )
    }

    fn write_users(&self, out: &mut String) -> fmt::Result {
        if self.users.is_empty() {
            writeln!(out, "  users    none")?;
        }
        for (index, user) in self.users.iter().take(LISTED).enumerate() {
            let heading = if index == 0 { "users" } else { "" };
            writeln!(out, "  {heading:<8} {}: {}", user.access_key, rights(user))?;
        }
        write_rest(out, self.users.len())?;
        if !self.anonymous.is_empty() {
            let rules: Vec<String> = self.anonymous.iter().map(describe).collect();
            let rules = rules.join("; ");
            writeln!(out, "  anybody  {rules}; as far as the store lets anybody")?;
        }
        Ok(())
    }

    fn write_compat(&self, out: &mut String) -> fmt::Result {
        let Some(compat) = &self.compat else {
            return Ok(());
        };
        match compat.accept_unsigned {
            Some(accept) => writeln!(
                out,
                "  legacy   read up to and including {} (UTC)",
                accept.until
            )?,
            None => writeln!(out, "  legacy   not read")?,
        }
        if let Some(s3proxy) = &compat.s3proxy {
            let zero = if s3proxy.zero_key {
                ", and under the zero key"
            } else {
                ""
            };
            let (secrets, tags) = (s3proxy.secrets.len(), s3proxy.tags.join(" "));
            writeln!(
                out,
                "           s3proxy: {secrets} secrets, tags {tags}{zero}"
            )?;
        }
        if let Some(s3ep) = &compat.s3ep {
            let unauthenticated = if s3ep.accept_unauthenticated {
                ", and what nothing authenticates"
            } else {
                ""
            };
            let (keys, prefix) = (s3ep.keys.len(), &s3ep.prefix);
            writeln!(
                out,
                "           s3ep: {keys} keys, prefix \"{prefix}\"{unauthenticated}"
            )?;
        }
        if let Some(s3eg) = &compat.s3eg {
            writeln!(out, "           s3eg: {} passwords", s3eg.passwords.len())?;
        }
        Ok(())
    }

    fn write_buckets(&self, out: &mut String) -> fmt::Result {
        let patterns = self.buckets.patterns();
        for (index, pattern) in patterns.iter().take(LISTED).enumerate() {
            let heading = if index == 0 { "buckets" } else { "" };
            let settings = self.buckets.of(pattern);
            let plaintext = match settings.plaintext {
                PlaintextObjects::Refuse => "refuse",
                PlaintextObjects::Allow => "allow",
            };
            let etag = match settings.etag {
                EtagKind::Md5 => "md5",
                EtagKind::Opaque => "opaque",
            };
            let metadata = match settings.metadata {
                UserMetadata::Bound => "bound",
                UserMetadata::Unbound => "unbound",
            };
            write!(
                out,
                "  {heading:<8} {pattern}: plaintext {plaintext}, etag {etag}, metadata {metadata}, recipients {}",
                settings.recipients.join(" ")
            )?;
            if settings.bound_as != *pattern {
                write!(out, ", bound as {}", settings.bound_as)?;
            }
            if settings.verify == Verify::Object {
                write!(out, ", checked as a whole")?;
            }
            if self.compat.is_some() && !settings.compat {
                write!(out, ", no legacy objects")?;
            }
            if let Some(bucket) = &settings.multipart_bucket {
                write!(out, ", parts wait in {bucket}")?;
            }
            if settings.default_checksum == DefaultChecksum::Crc64Nvme {
                write!(out, ", default checksum crc64nvme")?;
            }
            writeln!(out)?;
        }
        write_rest(out, patterns.len())
    }
}

fn write_rest(out: &mut String, count: usize) -> fmt::Result {
    match count.checked_sub(LISTED) {
        None | Some(0) => Ok(()),
        Some(rest) => writeln!(out, "           and {rest} more"),
    }
}

fn rights(user: &User) -> String {
    let mut rules: Vec<String> = user.rules.iter().map(describe).collect();
    if user.store_credentials.is_some() {
        rules.push("own store credentials".to_owned());
    }
    rules.join("; ")
}

fn describe(rule: &Rule) -> String {
    let what = if rule.actions == Actions::ALL {
        "everything".to_owned()
    } else {
        rule.actions.to_string()
    };
    let buckets: Vec<&str> = rule.buckets.iter().map(Pattern::as_str).collect();
    let mut text = format!("{what} on {}", buckets.join(" "));
    if !rule.prefixes.is_empty() {
        text.push_str(" under ");
        text.push_str(&rule.prefixes.join(" "));
    }
    text
}
