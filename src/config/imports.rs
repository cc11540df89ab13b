//! `compat.s3ep` and `compat.s3eg`: what opens the objects of two other proxies.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::KeyBytes;
use super::compat::{secret, tag};
use super::decode::{Decoder, Section, Spot};
use crate::policy::Secret;

/// `compat.s3ep`: what opens the objects of `s3-encryption-proxy`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct S3ep {
    /// What its metadata begins with, in lower case.
    pub prefix: String,
    /// Its AES keys.
    pub keys: Vec<KeyBytes>,
    /// Whether objects are read that nothing authenticates.
    pub accept_unauthenticated: bool,
}

/// `compat.s3eg`: what opens the objects of `s3-encryption-gateway`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct S3eg {
    /// The passwords that it was run with.
    pub passwords: Vec<Password>,
}

/// A password, in bytes. Wiped when dropped; `Debug` shows nothing of it.
#[derive(Clone)]
pub struct Password(Zeroizing<Vec<u8>>);

impl Password {
    /// The bytes.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl PartialEq for Password {
    fn eq(&self, other: &Self) -> bool {
        use subtle::ConstantTimeEq as _;
        self.0.as_slice().ct_eq(other.0.as_slice()).into()
    }
}

impl Eq for Password {}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

/// What the names begin with unless that program was told otherwise.
const DEFAULT_PREFIX: &str = "s3ep-";
/// The other takes no shorter one, in bytes.
const MIN_PASSWORD: usize = 12;

/// The 32 bytes of a key as `s3-encryption-proxy` reads it: of base64, or of the text itself.
fn aes_key(text: &str) -> Result<KeyBytes, &'static str> {
    let decoded = Zeroizing::new(STANDARD.decode(text).unwrap_or_default());
    let bytes = if decoded.len() == 32 {
        &decoded[..]
    } else {
        text.as_bytes()
    };
    let mut key = Zeroizing::new([0; 32]);
    if bytes.len() != key.len() {
        return Err("is no key of 32 bytes");
    }
    key.copy_from_slice(bytes);
    Ok(KeyBytes::new(key))
}

/// What metadata names may begin with, or nothing.
fn prefix(text: &str) -> Result<String, &'static str> {
    if text.is_empty() {
        return Ok(String::new());
    }
    tag(text)
}

pub(super) fn s3ep(d: &mut Decoder<'_>, compat: &Section<'_>) -> Option<S3ep> {
    let known = ["prefix", "keys", "accept_unauthenticated"];
    let s = d.section(compat.node("s3ep"), "compat.s3ep", &known);
    let prefix = if s.has("prefix") {
        let text = d.text(&s, "prefix")?;
        d.parsed(&text, prefix, "Write it without x-amz-meta- before it.")
    } else {
        Some(DEFAULT_PREFIX.to_owned())
    };
    let mut keys = Vec::new();
    for (secret, spot) in listed(d, &s, "keys") {
        match aes_key(secret.expose()) {
            Ok(key) => keys.push(key),
            Err(problem) => d.problem(&spot, problem, "Write aes_key as that program has it."),
        }
    }
    if !s.has("keys") || s.is_empty_list("keys") {
        d.missing(
            &s,
            "keys",
            "List what that program has as aes_key: keys: [\"${OLD_AES_KEY}\"].",
        );
    }
    let accept_unauthenticated = d.flag(&s, "accept_unauthenticated").unwrap_or_default();
    if accept_unauthenticated {
        d.warning(
            &s.at("accept_unauthenticated"),
            "reads objects that nothing authenticates: whoever can write to the store can alter them unseen",
            "Migrate those objects, and take it away.",
        );
    }
    Some(S3ep {
        prefix: prefix?,
        keys,
        accept_unauthenticated,
    })
}

pub(super) fn s3eg(d: &mut Decoder<'_>, compat: &Section<'_>) -> Option<S3eg> {
    let known = ["passwords", "key_files"];
    let s = d.section(compat.node("s3eg"), "compat.s3eg", &known);
    let mut found: Vec<(Zeroizing<Vec<u8>>, Spot)> = listed(d, &s, "passwords")
        .into_iter()
        .map(|(secret, spot)| (Zeroizing::new(secret.expose().as_bytes().to_vec()), spot))
        .collect();
    // All of such a file is the password, its line end too.
    for text in d.texts(&s, "key_files").unwrap_or_default() {
        if let Some(path) = d.path_of(&text)
            && let Some(content) = d.content(&path, &text.spot)
        {
            found.push((content, text.spot));
        }
    }
    let given = |field| s.has(field) && !s.is_empty_list(field);
    if !given("passwords") && !given("key_files") {
        d.missing(
            &s,
            "passwords",
            "List what that program was run with: passwords: [\"${OLD_PASSWORD}\"], or key_files.",
        );
    }
    let mut passwords = Vec::new();
    for (password, spot) in found {
        if password.len() < MIN_PASSWORD {
            d.problem(
                &spot,
                "is shorter than any that program takes",
                "Write at least 12 bytes.",
            );
        } else {
            passwords.push(Password(password));
        }
    }
    Some(S3eg { passwords })
}

/// Secrets, and where each stands.
fn listed(d: &mut Decoder<'_>, s: &Section<'_>, field: &str) -> Vec<(Secret, Spot)> {
    let mut secrets = Vec::new();
    for (path, node) in d.list(s, field).unwrap_or_default() {
        let spot = Spot {
            field: path.clone(),
            origin: node.origin.clone(),
        };
        if let Some(secret) = secret(d, path, node) {
            secrets.push((secret, spot));
        }
    }
    secrets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_that_program_reads_them() {
        let text = "an aes key of thirty-two letters";
        assert_eq!(aes_key(text).unwrap().expose(), text.as_bytes());
        assert_eq!(
            aes_key(&STANDARD.encode([7; 32])).unwrap().expose(),
            &[7; 32]
        );
        // 32 letters that are base64, of 24 bytes: taken as they are.
        let letters = "abcdefghijklmnopqrstuvwxyzabcdef";
        assert_eq!(aes_key(letters).unwrap().expose(), letters.as_bytes());
        assert!(aes_key("").is_err() && aes_key("short").is_err());
    }

    #[test]
    fn debug_shows_nothing() {
        let password = Password(Zeroizing::new(vec![65; 20]));
        assert_eq!(format!("{password:?}"), "Password(..)");
    }
}
