//! Objects of `s3-encryption-proxy` (guided-traffic): a data key under an AES key in the metadata, and a body that is one
//! AES-256-GCM message or one AES-256-CTR stream with an HMAC over its plaintext.
//!
//! ```text
//! metadata  <prefix>encrypted-dek      iv[16] ‖ AES-256-CTR(KEK, iv, DEK), not authenticated
//!           <prefix>kek-fingerprint    SHA-256 of the KEK
//! body      nonce[12] ‖ ciphertext ‖ tag[16]     aes-gcm, the object's key is the associated data
//!           ciphertext                           aes-ctr, the counter begins at <prefix>aes-iv; HMAC in <prefix>hmac
//! ```
//!
//! Nothing binds an object to its bucket, and an aes-ctr one to its key. `format-spec/IMPORTS.md` has the details.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use http::HeaderMap;
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

use super::foreign::{
    Checker, Checking, Claimed, Described, Format, Opener, Place, Verified, only,
};
use super::framed::{Framed, NONCE_LEN, OVERHEAD};
use super::gcm::{BLOCK, KeyStream, MAX_LEN, TagCheck};
use super::{Integrity, Unsupported};

/// What the names begin with unless the program was told otherwise.
const DEFAULT_PREFIX: &str = "s3ep-";

const USER_PREFIX: &str = "x-amz-meta-";
/// The names behind the prefix.
const WRAPPED: &str = "encrypted-dek";
const ALGORITHM: &str = "dek-algorithm";
const KEY_KIND: &str = "kek-algorithm";
const FINGERPRINT: &str = "kek-fingerprint";
const IV: &str = "aes-iv";
const HMAC: &str = "hmac";
const NAMES: [&str; 6] = [WRAPPED, ALGORITHM, KEY_KIND, FINGERPRINT, IV, HMAC];

const HMAC_SALT: &[u8] = b"s3-proxy-integrity-v1";
const HMAC_INFO: &[u8] = b"file-hmac-key";

type Key = Zeroizing<[u8; 32]>;

/// A key-encryption key of that program.
pub struct Kek {
    key: Key,
    fingerprint: [u8; 32],
}

impl Kek {
    /// Takes its 32 bytes.
    #[must_use]
    pub fn new(bytes: &[u8; 32]) -> Self {
        Self {
            key: Zeroizing::new(*bytes),
            fingerprint: Sha256::digest(bytes).into(),
        }
    }
}

impl fmt::Debug for Kek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Kek(..)")
    }
}

/// What opens the objects.
pub struct S3ep {
    /// Before the names, `x-amz-meta-` included, in lower case.
    prefix: String,
    keys: Arc<Keys>,
}

struct Keys {
    keys: Vec<Kek>,
    accept_unauthenticated: bool,
}

impl S3ep {
    /// For objects whose metadata begins with `prefix`, under one of the `keys`; with `accept_unauthenticated`, those
    /// of aes-ctr without an HMAC too, which anyone at the store can alter.
    #[must_use]
    pub fn new(prefix: &str, keys: Vec<Kek>, accept_unauthenticated: bool) -> Self {
        Self {
            prefix: format!("{USER_PREFIX}{}", prefix.to_ascii_lowercase()),
            keys: Arc::new(Keys {
                keys,
                accept_unauthenticated,
            }),
        }
    }

    fn value<'h>(&self, headers: &'h HeaderMap, name: &str) -> Result<Option<&'h str>, Integrity> {
        only(headers, &format!("{}{name}", self.prefix))
    }
}

/// Whether metadata looks as the program writes it unless told otherwise.
pub fn looks_like(headers: &HeaderMap) -> bool {
    [WRAPPED, FINGERPRINT]
        .iter()
        .all(|name| headers.contains_key(format!("{USER_PREFIX}{DEFAULT_PREFIX}{name}")))
}

/// Exactly so many bytes from base64.
fn decode<const N: usize>(text: &str) -> Result<[u8; N], Integrity> {
    let bytes = Zeroizing::new(STANDARD.decode(text).unwrap_or_default());
    bytes[..]
        .try_into()
        .map_err(|_| Integrity::MetadataMalformed)
}

impl Format for S3ep {
    fn name(&self) -> &'static str {
        "s3ep"
    }

    fn owns(&self, header: &str) -> bool {
        header
            .strip_prefix(&self.prefix)
            .is_some_and(|name| NAMES.contains(&name))
    }

    fn claim(&self, object: Described<'_>) -> Result<Option<Arc<dyn Claimed>>, Integrity> {
        let value = |name| self.value(object.headers, name);
        let (wrapped, algorithm) = (value(WRAPPED)?, value(ALGORITHM)?);
        let (kind, fingerprint) = (value(KEY_KIND)?, value(FINGERPRINT)?);
        if wrapped.or(algorithm).or(kind).or(fingerprint).is_none() {
            return Ok(None);
        }
        let (Some(wrapped), Some(algorithm), Some(kind), Some(fingerprint)) =
            (wrapped, algorithm, kind, fingerprint)
        else {
            return Err(Integrity::MetadataStripped);
        };
        if kind != "aes" {
            return Err(Unsupported::KeyKind.into());
        }
        let body = match algorithm {
            // The second names are those of release 2, with the same bytes.
            "aes-gcm" | "aes-256-gcm" => Body::Gcm,
            "aes-ctr" | "aes-256-ctr" => Body::Ctr {
                iv: decode(value(IV)?.ok_or(Integrity::MetadataStripped)?)?,
                hmac: value(HMAC)?.map(decode).transpose()?,
            },
            _ => return Err(Unsupported::Algorithm.into()),
        };
        Ok(Some(Arc::new(Claim {
            keys: Arc::clone(&self.keys),
            wrapped: decode(wrapped)?,
            fingerprint: fingerprint.to_owned(),
            body,
            key: object.key.to_owned(),
        })))
    }
}

#[derive(Clone, Copy)]
enum Body {
    Gcm,
    Ctr {
        iv: [u8; BLOCK],
        hmac: Option<[u8; 32]>,
    },
}

struct Claim {
    keys: Arc<Keys>,
    wrapped: [u8; 48],
    fingerprint: String,
    body: Body,
    /// The object's.
    key: String,
}

impl Claim {
    /// The key that wrapped the data key.
    fn kek(&self) -> Result<&Kek, Integrity> {
        if let Body::Ctr { hmac: None, .. } = self.body
            && !self.keys.accept_unauthenticated
        {
            return Err(Unsupported::Unauthenticated.into());
        }
        let fits = |kek: &&Kek| {
            let digits = kek
                .fingerprint
                .iter()
                .flat_map(|byte| [byte >> 4, byte & 15]);
            self.fingerprint.len() == 64
                && digits
                    .zip(self.fingerprint.chars())
                    .all(|(digit, char)| char.to_digit(16) == Some(digit.into()))
        };
        self.keys.keys.iter().find(fits).ok_or(Integrity::NoKey)
    }

    /// The data key. A wrong one, or one that was altered, shows only in the body.
    fn dek(&self) -> Result<Key, Integrity> {
        let kek = self.kek()?;
        let (iv, wrapped) = self.wrapped.split_at(BLOCK);
        let mut dek = Zeroizing::new([0; 32]);
        dek.copy_from_slice(wrapped);
        let iv = iv.try_into().map_err(|_| Integrity::MetadataMalformed)?;
        if KeyStream::ctr(&kek.key, &iv, 0).apply(dek.as_mut_slice()) {
            Ok(dek)
        } else {
            Err(Integrity::MetadataMalformed)
        }
    }
}

impl Claimed for Claim {
    fn plaintext_len(&self, stored_len: u64) -> Result<u64, Integrity> {
        match self.body {
            Body::Gcm => stored_len
                .checked_sub(OVERHEAD)
                .filter(|&len| len <= MAX_LEN),
            Body::Ctr { .. } => Some(stored_len),
        }
        .ok_or(Integrity::Length)
    }

    fn tail_len(&self) -> u64 {
        0
    }

    fn probe(&self) -> Result<(), Integrity> {
        self.kek().map(drop)
    }

    fn checker(&self, stored_len: u64, _tail: &[u8]) -> Result<Checking, Integrity> {
        let len = self.plaintext_len(stored_len)?;
        let dek = self.dek()?;
        let (checker, unprotected): (Box<dyn Checker>, bool) = match self.body {
            Body::Gcm => (
                Box::new(GcmCheck {
                    dek,
                    key: self.key.clone(),
                    body: Framed::new(len),
                    check: None,
                }),
                false,
            ),
            Body::Ctr { iv, hmac } => (
                Box::new(CtrCheck {
                    stream: KeyStream::ctr(&dek, &iv, 0),
                    mac: hmac.map(|expected| (mac(&dek), expected)),
                    dek,
                    iv,
                    len,
                    at: 0,
                }),
                hmac.is_none(),
            ),
        };
        Ok(Checking {
            checker,
            unprotected,
        })
    }
}

/// The HMAC over a plaintext.
fn mac(dek: &Key) -> Hmac<Sha256> {
    // A key of 32 bytes, padded to the block as HMAC does it: this form of it cannot fail.
    let mut block = Zeroizing::new([0; 64]);
    #[allow(clippy::expect_used, reason = "the only error is a length above 8,160")]
    Hkdf::<Sha256>::new(Some(HMAC_SALT), dek.as_slice())
        .expand(HMAC_INFO, &mut block[..32])
        .expect("HKDF-SHA256 gives up to 8,160 bytes");
    <Hmac<Sha256> as hmac::KeyInit>::new((&*block).into())
}

struct GcmCheck {
    dek: Key,
    /// The object's.
    key: String,
    body: Framed,
    /// Once the nonce is there.
    check: Option<TagCheck>,
}

impl Checker for GcmCheck {
    fn update(&mut self, stored: &[u8]) -> Result<(), Integrity> {
        let (dek, key, check) = (&self.dek, self.key.as_bytes(), &mut self.check);
        self.body.update(stored, |nonce, ciphertext| {
            check
                .get_or_insert_with(|| TagCheck::new(dek, nonce, key))
                .update(ciphertext);
            Ok(())
        })
    }

    fn finish(self: Box<Self>) -> Result<Box<dyn Verified>, Integrity> {
        let (nonce, tag) = self.body.finish()?;
        if !self.check.is_some_and(|check| check.verify(tag)) {
            return Err(Integrity::Object);
        }
        Ok(Box::new(Checked {
            dek: self.dek,
            start: Start::Gcm(*nonce),
            len: self.body.len(),
        }))
    }
}

struct CtrCheck {
    dek: Key,
    iv: [u8; BLOCK],
    stream: KeyStream,
    /// The HMAC so far, and what it must be. None where the object has none, and that is accepted.
    mac: Option<(Hmac<Sha256>, [u8; 32])>,
    len: u64,
    at: u64,
}

impl Checker for CtrCheck {
    fn update(&mut self, stored: &[u8]) -> Result<(), Integrity> {
        self.at = self.at.saturating_add(stored.len() as u64);
        if self.at > self.len {
            return Err(Integrity::Trailing);
        }
        let Some((mac, _)) = &mut self.mac else {
            return Ok(());
        };
        let mut piece = Zeroizing::new([0; 4096]);
        for stored in stored.chunks(piece.len()) {
            let piece = &mut piece[..stored.len()];
            piece.copy_from_slice(stored);
            if !self.stream.apply(piece) {
                return Err(Integrity::Length);
            }
            mac.update(piece);
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Box<dyn Verified>, Integrity> {
        if self.at != self.len {
            return Err(Integrity::Truncated);
        }
        if let Some((mac, expected)) = self.mac {
            // In constant time.
            mac.verify_slice(&expected).map_err(|_| Integrity::Object)?;
        }
        Ok(Box::new(Checked {
            dek: self.dek,
            start: Start::Ctr(self.iv),
            len: self.len,
        }))
    }
}

enum Start {
    Gcm([u8; NONCE_LEN]),
    Ctr([u8; BLOCK]),
}

struct Checked {
    dek: Key,
    start: Start,
    len: u64,
}

impl Verified for Checked {
    fn opener(&self, plaintext: Range<u64>) -> Result<(Place, Box<dyn Opener>), Integrity> {
        if plaintext.start > plaintext.end || plaintext.end > self.len {
            return Err(Integrity::Length);
        }
        let block = plaintext.start / BLOCK as u64;
        let (stream, before) = match &self.start {
            Start::Gcm(nonce) => (KeyStream::gcm(&self.dek, nonce, block), NONCE_LEN as u64),
            Start::Ctr(iv) => (Some(KeyStream::ctr(&self.dek, iv, block)), 0),
        };
        let stream = stream.ok_or(Integrity::Length)?;
        let start = block * BLOCK as u64;
        let place = Place {
            stored: before + start..before + plaintext.end,
            skip: plaintext.start - start,
        };
        Ok((place, Box::new(stream)))
    }
}

impl Opener for KeyStream {
    fn open(&mut self, stored: Bytes, plaintext: &mut BytesMut) -> Result<(), Integrity> {
        let at = plaintext.len();
        plaintext.extend_from_slice(&stored);
        if self.apply(&mut plaintext[at..]) {
            Ok(())
        } else {
            plaintext[at..].zeroize();
            plaintext.truncate(at);
            Err(Integrity::Length)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::super::vectors::{self, Vector, attack, read};
    use super::*;

    proptest! {
        /// Whatever one header says: no panic, and nothing but the object's own plaintext.
        #[test]
        fn any_metadata_is_answered(
            gcm: bool,
            name in any::<prop::sample::Index>(),
            value in "[ -~]{0,60}",
            at in any::<prop::sample::Index>(),
            keep: bool,
        ) {
            static VECTORS: LazyLock<Vec<Vector>> = LazyLock::new(|| vectors::load("s3ep"));
            let wanted = if gcm { "gcm-17" } else { "ctr-17" };
            let mut vector = VECTORS.iter().find(|v| v.name == wanted).unwrap().clone();
            let format = format(&vector);
            let names: Vec<String> = vector.metadata.keys().cloned().collect();
            let name = &names[name.index(names.len())];
            let old = vector.metadata[name].clone();
            let start = if keep { at.index(old.len() + 1) } else { 0 };
            vector.metadata.insert(name.clone(), format!("{}{value}", &old[..start]));
            if let Ok(plaintext) = read(&format, &vector, 100) {
                prop_assert_eq!(plaintext, vector.plaintext());
            }
        }
    }

    fn format(vector: &Vector) -> S3ep {
        format_accepting(vector, false)
    }

    fn format_accepting(vector: &Vector, unauthenticated: bool) -> S3ep {
        let text = vector.kek.as_deref().unwrap();
        let decoded = STANDARD.decode(text).ok().filter(|bytes| bytes.len() == 32);
        let bytes = decoded.unwrap_or_else(|| text.into());
        let (other, kek) = (Kek::new(&[9; 32]), Kek::new(bytes[..].try_into().unwrap()));
        let prefix = vector.prefix.as_deref().unwrap();
        S3ep::new(prefix, vec![other, kek], unauthenticated)
    }

    #[test]
    fn all_vectors_open() {
        let vectors = vectors::load("s3ep");
        assert!(vectors.len() > 20);
        for vector in &vectors {
            let format = format(vector);
            if vector.unauthenticated {
                let refused = Err(Unsupported::Unauthenticated.into());
                assert_eq!(read(&format, vector, 100), refused);
                let format = format_accepting(vector, true);
                assert_eq!(read(&format, vector, 100).unwrap(), vector.plaintext());
                continue;
            }
            vectors::check(&format, vector);
        }
    }

    #[test]
    fn every_flipped_byte_is_found() {
        for vector in vectors::load("s3ep") {
            if !vector.unauthenticated && vector.body.len() < 300 {
                attack(&format(&vector), &vector);
            }
        }
    }

    #[test]
    fn lengths_and_swaps_are_found() {
        let vectors = vectors::load("s3ep");
        let named = |name: &str| vectors.iter().find(|v| v.name == name).unwrap();
        for name in ["gcm-65537", "ctr-parts"] {
            let vector = named(name);
            // At the borders of parts, of blocks, and one byte off.
            for keep in [
                0,
                1,
                27,
                28,
                29,
                20000,
                49999,
                50000,
                vector.body.len() - 16,
                vector.body.len() - 1,
            ] {
                let mut short = vector.clone();
                short.body.truncate(keep);
                assert!(
                    read(&format(vector), &short, 1000).is_err(),
                    "{name} {keep}"
                );
            }
            let mut long = vector.clone();
            long.body.push(0);
            assert!(read(&format(vector), &long, 1000).is_err());
        }
        // Metadata of another object.
        for (one, two) in [
            ("gcm-17", "gcm-16"),
            ("ctr-17", "ctr-16"),
            ("gcm-17", "ctr-17"),
            ("ctr-17", "gcm-17"),
        ] {
            let mut swapped = named(one).clone();
            swapped.metadata = named(two).metadata.clone();
            assert!(
                read(&format(&swapped), &swapped, 1000).is_err(),
                "{one} {two}"
            );
        }
        // GCM binds the key's name, CTR does not.
        let mut moved = named("gcm-17").clone();
        moved.key = "elsewhere".into();
        assert_eq!(read(&format(&moved), &moved, 1000), Err(Integrity::Object));
        let mut moved = named("ctr-17").clone();
        moved.key = "elsewhere".into();
        assert!(read(&format(&moved), &moved, 1000).is_ok());
    }

    #[test]
    fn metadata_is_refused_clearly() {
        let vectors = vectors::load("s3ep");
        let vector = vectors.iter().find(|v| v.name == "ctr-17").unwrap();
        let with = |name: &str, value: Option<&str>| {
            let mut changed = vector.clone();
            changed.metadata.remove(name);
            if let Some(value) = value {
                changed.metadata.insert(name.into(), value.into());
            }
            read(&format(vector), &changed, 1000).unwrap_err()
        };
        for name in [
            "s3ep-encrypted-dek",
            "s3ep-dek-algorithm",
            "s3ep-kek-algorithm",
            "s3ep-kek-fingerprint",
            "s3ep-aes-iv",
        ] {
            assert_eq!(with(name, None), Integrity::MetadataStripped, "{name}");
        }
        for name in ["s3ep-encrypted-dek", "s3ep-aes-iv", "s3ep-hmac"] {
            for bad in ["", "*", "AAAA"] {
                assert_eq!(
                    with(name, Some(bad)),
                    Integrity::MetadataMalformed,
                    "{name} {bad}"
                );
            }
        }
        assert_eq!(with("s3ep-hmac", None), Unsupported::Unauthenticated.into());
        for kind in ["rsa", "tink", "none"] {
            assert_eq!(
                with("s3ep-kek-algorithm", Some(kind)),
                Unsupported::KeyKind.into()
            );
        }
        assert_eq!(
            with("s3ep-dek-algorithm", Some("aes-siv")),
            Unsupported::Algorithm.into()
        );
        assert_eq!(
            with("s3ep-kek-fingerprint", Some("none-provider-fingerprint")),
            Integrity::NoKey
        );
        let one_off = format!("{}0", &vector.metadata["s3ep-kek-fingerprint"][..63]);
        let expected = if one_off == vector.metadata["s3ep-kek-fingerprint"] {
            None
        } else {
            Some(Integrity::NoKey)
        };
        assert_eq!(
            expected.map(|_| with("s3ep-kek-fingerprint", Some(&one_off))),
            expected
        );
    }

    #[test]
    fn only_its_own_names_are_claimed() {
        let format = S3ep::new("S3ep-", Vec::new(), false);
        assert!(format.owns("x-amz-meta-s3ep-hmac") && format.owns("x-amz-meta-s3ep-aes-iv"));
        assert!(!format.owns("x-amz-meta-s3ep-mine") && !format.owns("x-amz-meta-hmac"));
        let mut headers = HeaderMap::new();
        headers.insert("x-amz-meta-s3ep-mine", "a".parse().unwrap());
        let object = Described {
            bucket: "b",
            key: "k",
            headers: &headers,
        };
        assert!(format.claim(object).unwrap().is_none());
        assert!(!looks_like(&headers));
    }

    #[test]
    fn debug_shows_no_key() {
        assert_eq!(format!("{:?}", Kek::new(&[7; 32])), "Kek(..)");
    }
}
