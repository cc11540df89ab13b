//! What the metadata of `s3-encryption-gateway` says: the names, the manifest of chunks, and what is refused.

use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use serde::Deserialize;

use super::chunks::{Chunks, Nonces};
use super::{Body, KeySource, NONCE_LEN, SALT_LEN, SEALED_LEN};
use crate::formats::foreign::only;
use crate::formats::{Integrity, Unsupported};

const USER_PREFIX: &str = "x-amz-meta-";
pub(super) const ENCRYPTED: &str = "encrypted";
const IN_PARTS: &str = "encrypted-mpu";
const ALGORITHM: &str = "encryption-algorithm";
const SALT: &str = "encryption-key-salt";
pub(super) const NONCE: &str = "encryption-iv";
pub(super) const DERIVATION: &str = "encryption-kdf-params";
const CHUNKED: &str = "encryption-chunked";
pub(super) const CHUNK_SIZE: &str = "encryption-chunk-size";
pub(super) const MANIFEST: &str = "encryption-manifest";
pub(super) const NONCE_DERIVATION: &str = "enc-iv-deriv";
pub(super) const SIZE: &str = "encryption-original-size";
pub(super) const DECLARED_SIZE: &str = "original-content-length";
pub(super) const CONTENT_TYPE: &str = "encryption-content-type";
pub(super) const WRAPPED: &str = "encryption-wrapped-key";
const PROVIDER: &str = "encryption-kms-provider";
pub(super) const VERSION: &str = "encryption-key-version";
const COMPRESSED: &str = "compression-enabled";
const FALLBACK: &str = "encryption-fallback";
const NO_AAD: &str = "enc-legacy-no-aad";
/// All names that the program gives, without `x-amz-meta-`.
const NAMES: [&str; 29] = [
    ENCRYPTED,
    IN_PARTS,
    ALGORITHM,
    SALT,
    NONCE,
    DERIVATION,
    CHUNKED,
    CHUNK_SIZE,
    MANIFEST,
    NONCE_DERIVATION,
    SIZE,
    DECLARED_SIZE,
    CONTENT_TYPE,
    WRAPPED,
    PROVIDER,
    VERSION,
    COMPRESSED,
    FALLBACK,
    NO_AAD,
    "encryption-auth-tag",
    "encryption-original-etag",
    "encryption-compression",
    "encryption-chunk-count",
    "encryption-kms-id",
    "encryption-fallback-ptr",
    "encryption-fallback-version",
    "encryption-mpu-manifest",
    "compression-algorithm",
    "compression-original-size",
];

/// Rounds of PBKDF2 where the metadata does not say, and the fewest that are accepted.
const MIN_ROUNDS: u32 = 100_000;
/// The most. The number comes from the store, and must not keep a processor busy for long.
const MAX_ROUNDS: u32 = 2_000_000;
/// Plaintext bytes of a chunk.
const CHUNK_SIZES: std::ops::RangeInclusive<u64> = 16 * 1024..=1024 * 1024;

/// Whether metadata looks as the program writes it.
pub fn looks_like(headers: &HeaderMap) -> bool {
    let is_true = |name: &str| {
        let mut values = headers.get_all(format!("{USER_PREFIX}{name}")).iter();
        values.any(|value| value.as_bytes() == b"true")
    };
    let there = |name: &str| headers.contains_key(format!("{USER_PREFIX}{name}"));
    is_true(IN_PARTS) || (is_true(ENCRYPTED) && there(SALT) && there(NONCE))
}

/// What metadata says of an object.
pub struct Said {
    /// Where the key comes from.
    pub source: KeySource,
    /// Length of the plaintext, where it is told.
    pub declared: Option<u64>,
    /// How the body is sealed.
    pub body: Body,
}

/// Whether a header is one of the program's.
pub fn owns(header: &str) -> bool {
    header
        .strip_prefix(USER_PREFIX)
        .is_some_and(|name| NAMES.contains(&name))
}

/// Reads the metadata. None where the object is not the program's.
///
/// # Errors
/// What is wrong with it, and variants that are not read.
pub fn read(headers: &HeaderMap) -> Result<Option<Said>, Integrity> {
    let metadata = Metadata(headers);
    if metadata.is_true(IN_PARTS)? {
        return Err(Unsupported::Companion.into());
    }
    let marked = metadata.is_true(ENCRYPTED)?;
    let mut keyed = false;
    for name in [SALT, NONCE, MANIFEST, WRAPPED] {
        keyed |= metadata.get(name)?.is_some();
    }
    match (marked, keyed) {
        (false, false) => return Ok(None),
        (false, true) => return Err(Integrity::MetadataStripped),
        // The fallback of release 0.7 has salt and nonce too. Anything else with that mark is a client's.
        (true, false) if metadata.get(ALGORITHM)?.is_none() => return Ok(None),
        (true, _) => {}
    }
    metadata.refuse()?;
    Ok(Some(Said {
        source: metadata.key_source()?,
        declared: metadata.sizes()?,
        body: metadata.body()?,
    }))
}

/// Metadata by the names of the program.
#[derive(Clone, Copy)]
struct Metadata<'h>(&'h HeaderMap);

impl<'h> Metadata<'h> {
    fn get(self, name: &str) -> Result<Option<&'h str>, Integrity> {
        only(self.0, &format!("{USER_PREFIX}{name}"))
    }

    fn require(self, name: &str) -> Result<&'h str, Integrity> {
        self.get(name)?.ok_or(Integrity::MetadataStripped)
    }

    fn is_true(self, name: &str) -> Result<bool, Integrity> {
        Ok(self.get(name)? == Some("true"))
    }

    fn bytes<const N: usize>(self, name: &str) -> Result<[u8; N], Integrity> {
        decode(self.require(name)?)
    }

    fn number(self, name: &str) -> Result<Option<u64>, Integrity> {
        self.get(name)?.map(number).transpose()
    }

    /// Variants that are not read.
    fn refuse(self) -> Result<(), Integrity> {
        if self.get(FALLBACK)?.is_some() {
            return Err(Unsupported::InBody.into());
        }
        if self.get(COMPRESSED)?.is_some_and(|value| value != "false") {
            return Err(Unsupported::Compressed.into());
        }
        if self.algorithm()? != "AES256-GCM" {
            return Err(Unsupported::Algorithm.into());
        }
        if self.is_true(NO_AAD)? && !self.is_true(CHUNKED)? {
            return Err(Unsupported::Unauthenticated.into());
        }
        Ok(())
    }

    fn algorithm(self) -> Result<&'h str, Integrity> {
        Ok(self.get(ALGORITHM)?.unwrap_or("AES256-GCM"))
    }

    fn key_source(self) -> Result<KeySource, Integrity> {
        let Some(wrapped) = self.get(WRAPPED)? else {
            let rounds = match self.get(DERIVATION)? {
                None => MIN_ROUNDS.into(),
                Some(text) => match text.split_once(':') {
                    Some(("pbkdf2-sha256", rounds)) => number(rounds)?,
                    _ => return Err(Unsupported::Algorithm.into()),
                },
            };
            return Ok(KeySource::Direct {
                salt: self.bytes(SALT)?,
                rounds: rounds_within(rounds)?,
            });
        };
        if self.get(PROVIDER)? != Some("password") {
            return Err(Unsupported::KeyKind.into());
        }
        let wrapped = STANDARD
            .decode(wrapped)
            .map_err(|_| Integrity::MetadataMalformed)?;
        const LEN: usize = SALT_LEN + NONCE_LEN + SEALED_LEN;
        let (rounds, wrapped) = match wrapped.len().checked_sub(LEN) {
            Some(0) => (u64::from(MIN_ROUNDS), &wrapped[..]),
            Some(4) => {
                let (rounds, rest) = wrapped.split_at(4);
                let rounds = rounds
                    .try_into()
                    .map_err(|_| Integrity::MetadataMalformed)?;
                (u32::from_be_bytes(rounds).into(), rest)
            }
            _ => return Err(Integrity::MetadataMalformed),
        };
        let malformed = |_| Integrity::MetadataMalformed;
        let (salt, rest) = wrapped.split_at(SALT_LEN);
        let (nonce, sealed) = rest.split_at(NONCE_LEN);
        Ok(KeySource::Wrapped {
            rounds: rounds_within(rounds)?,
            salt: salt.try_into().map_err(malformed)?,
            nonce: nonce.try_into().map_err(malformed)?,
            sealed: sealed.try_into().map_err(malformed)?,
        })
    }

    /// The length that the metadata gives the plaintext.
    fn sizes(self) -> Result<Option<u64>, Integrity> {
        match (self.number(SIZE)?, self.number(DECLARED_SIZE)?) {
            (Some(one), Some(other)) if one != other => Err(Integrity::Length),
            (one, other) => Ok(one.or(other)),
        }
    }

    fn body(self) -> Result<Body, Integrity> {
        let nonce = self.bytes(NONCE)?;
        if !self.is_true(CHUNKED)? {
            return Ok(Body::Whole {
                nonce,
                aad: self.aad(&nonce)?,
            });
        }
        let manifest = STANDARD
            .decode(self.require(MANIFEST)?)
            .map_err(|_| Integrity::MetadataMalformed)?;
        let manifest: Manifest =
            serde_json::from_slice(&manifest).map_err(|_| Integrity::MetadataMalformed)?;
        if manifest.version != 1 || !manifest.nonces.is_empty() {
            return Err(Unsupported::Algorithm.into());
        }
        let nonces = match manifest.derivation.as_deref() {
            Some("hkdf-sha256") => Nonces::Derived,
            None | Some("") => Nonces::Counted,
            Some(_) => return Err(Unsupported::Algorithm.into()),
        };
        // The header repeats the manifest, and so do the nonce and the size.
        let repeated = self.get(NONCE_DERIVATION)?;
        if repeated.is_some() && repeated != manifest.derivation.as_deref()
            || decode(&manifest.nonce)? != nonce
            || self
                .number(CHUNK_SIZE)?
                .is_some_and(|size| size != manifest.chunk_size)
            || !CHUNK_SIZES.contains(&manifest.chunk_size)
        {
            return Err(Integrity::MetadataMalformed);
        }
        Ok(Body::Chunked(Chunks {
            size: manifest.chunk_size,
            nonce,
            nonces,
        }))
    }

    /// What the tag of an object in one piece covers of its metadata.
    fn aad(self, nonce: &[u8; NONCE_LEN]) -> Result<Vec<u8>, Integrity> {
        let salt: [u8; SALT_LEN] = self.bytes(SALT)?;
        let algorithm = self.algorithm()?;
        let version = self.get(VERSION)?.unwrap_or_default();
        let content_type = self.get(CONTENT_TYPE)?.unwrap_or_default();
        let size = self.require(SIZE)?;
        let mut aad = Vec::new();
        // Both came with the same release.
        if self.get(DERIVATION)?.is_some() {
            let texts = [version, content_type, size].map(str::as_bytes);
            let fields = [algorithm.as_bytes(), &salt, nonce]
                .into_iter()
                .chain(texts);
            for field in fields {
                // A header is not longer than 4 GiB.
                aad.extend_from_slice(&(field.len() as u32).to_be_bytes());
                aad.extend_from_slice(field);
            }
        } else {
            let (salt, nonce) = (STANDARD.encode(salt), STANDARD.encode(nonce));
            let mut text = format!("alg:{algorithm}|salt:{salt}|iv:{nonce}");
            for (name, value) in [("kv", version), ("ct", content_type), ("osz", size)] {
                if !value.is_empty() {
                    text.push_str(&format!("|{name}:{value}"));
                }
            }
            aad = text.into_bytes();
        }
        Ok(aad)
    }
}

/// Exactly so many bytes from base64.
fn decode<const N: usize>(text: &str) -> Result<[u8; N], Integrity> {
    let bytes = STANDARD.decode(text).unwrap_or_default();
    bytes[..]
        .try_into()
        .map_err(|_| Integrity::MetadataMalformed)
}

/// Digits only.
fn number(text: &str) -> Result<u64, Integrity> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|_| digits);
    number.ok_or(Integrity::MetadataMalformed)
}

fn rounds_within(rounds: u64) -> Result<NonZeroU32, Integrity> {
    u32::try_from(rounds)
        .ok()
        .filter(|rounds| (MIN_ROUNDS..=MAX_ROUNDS).contains(rounds))
        .and_then(NonZeroU32::new)
        .ok_or(Unsupported::WorkFactor.into())
}

/// The manifest of a chunked object.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    #[serde(rename = "v")]
    version: u64,
    #[serde(rename = "cs")]
    chunk_size: u64,
    /// Always zero: it was written before the chunks were counted.
    #[serde(rename = "cc", default)]
    _count: u64,
    #[serde(rename = "iv")]
    nonce: String,
    #[serde(rename = "ivs", default)]
    nonces: Vec<String>,
    #[serde(rename = "ivd")]
    derivation: Option<String>,
}
