//! Objects of `s3proxy` (Edgeless Systems, Intrinsec): one AES-256-GCM-SIV message per object, without associated data.
//!
//! ```text
//! body      nonce[12] ‖ ciphertext ‖ tag[16]
//! metadata  x-amz-meta-<tag>            the data key, wrapped with AES-256-KWP (RFC 5649), 80 hexadecimal digits
//!           x-amz-meta-<tag>-kek-ver    how the wrapping key comes from the secret: 1 is HKDF; absent is SHA-256,
//!                                       or, as releases up to 1.7.0 really wrote it, no secret at all
//! ```
//!
//! Nothing binds an object to its bucket and key. `format-spec/LEGACY.md` has the details.

use std::ops::Range;
use std::sync::Arc;

use aes_kw::{KeyInit, KwpAes256};
use bytes::{Bytes, BytesMut};
use hkdf::Hkdf;
use http::HeaderMap;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::Integrity;
use super::foreign::{
    Checker, Checking, Claimed, Described, Format, Opener, Place, Verified, only,
};
use super::framed::{Framed, NONCE_LEN, OVERHEAD, TAG_LEN};
use super::gcm_siv::{Decryptor, Keystream, MAX_LEN, Verifier};

/// The names that the two programs give the wrapped data key unless told otherwise.
pub const TAGS: [&str; 2] = ["isec", "constellation-dek"];

const USER_PREFIX: &str = "x-amz-meta-";
const VERSION_SUFFIX: &str = "-kek-ver";
/// What HKDF is salted with, hashed, and what it derives for.
const HKDF_SALT: &[u8] = b"s3proxy-kek-salt-v1";
const HKDF_INFO: &[u8] = b"s3proxy/kek/v1";
/// Bytes of a wrapped data key.
const WRAPPED_LEN: usize = 40;

type Key = Zeroizing<[u8; 32]>;

/// What opens the objects.
pub struct S3proxy {
    /// Names of the headers with a wrapped data key, in lower case.
    tags: Vec<String>,
    keys: Arc<Keys>,
}

struct Keys {
    /// For each secret, the wrapping keys as they were derived first, and now.
    derived: Vec<(Key, Key)>,
    zero_key: bool,
}

impl S3proxy {
    /// For objects whose data key stands in one of the metadata `tags`, wrapped under a key that comes from one of the
    /// `secrets`, or, with `zero_key`, under 32 zero bytes.
    #[must_use]
    pub fn new<'a>(
        tags: impl IntoIterator<Item = &'a str>,
        secrets: impl IntoIterator<Item = &'a str>,
        zero_key: bool,
    ) -> Self {
        Self {
            tags: tags
                .into_iter()
                .map(|tag| format!("{USER_PREFIX}{}", tag.to_ascii_lowercase()))
                .collect(),
            keys: Arc::new(Keys {
                derived: secrets
                    .into_iter()
                    .map(|secret| (hashed(secret), derived(secret)))
                    .collect(),
                zero_key,
            }),
        }
    }
}

/// Whether metadata looks as these programs write it under the names that they use unless told otherwise.
pub fn looks_like(headers: &HeaderMap) -> bool {
    TAGS.iter().any(|tag| {
        let values = headers.get_all(format!("{USER_PREFIX}{tag}"));
        values.iter().any(|value| {
            value
                .to_str()
                .is_ok_and(|text| wrapped(text.trim()).is_ok())
        })
    })
}

fn hashed(secret: &str) -> Key {
    let mut key = Zeroizing::new([0; 32]);
    key.copy_from_slice(&Sha256::digest(secret));
    key
}

fn derived(secret: &str) -> Key {
    let mut key = Zeroizing::new([0; 32]);
    let salt = Sha256::digest(HKDF_SALT);
    #[allow(clippy::expect_used, reason = "the only error is a length above 8,160")]
    Hkdf::<Sha256>::new(Some(&salt), secret.as_bytes())
        .expand(HKDF_INFO, key.as_mut_slice())
        .expect("HKDF-SHA256 gives up to 8,160 bytes");
    key
}

/// A wrapped data key from its hexadecimal digits.
fn wrapped(text: &str) -> Result<[u8; WRAPPED_LEN], Integrity> {
    let digits = text.as_bytes();
    let mut bytes = [0; WRAPPED_LEN];
    if digits.len() != 2 * WRAPPED_LEN {
        return Err(Integrity::MetadataMalformed);
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |digit: u8| char::from(digit).to_digit(16);
        let (Some(high), Some(low)) = (digit(pair[0]), digit(pair[1])) else {
            return Err(Integrity::MetadataMalformed);
        };
        *byte = (high * 16 + low) as u8;
    }
    Ok(bytes)
}

impl Format for S3proxy {
    fn name(&self) -> &'static str {
        "s3proxy"
    }

    fn owns(&self, header: &str) -> bool {
        let name = header.strip_suffix(VERSION_SUFFIX).unwrap_or(header);
        self.tags.iter().any(|tag| tag == header || tag == name)
    }

    fn claim(&self, object: Described<'_>) -> Result<Option<Arc<dyn Claimed>>, Integrity> {
        let mut claimed = None;
        for tag in &self.tags {
            let Some(text) = only(object.headers, tag)? else {
                continue;
            };
            let version = only(object.headers, &format!("{tag}{VERSION_SUFFIX}"))?;
            let derivation = match version {
                None | Some("") => Derivation::First,
                Some("1") => Derivation::Hkdf,
                Some(_) => return Err(Integrity::MetadataMalformed),
            };
            let claim = Claim {
                keys: Arc::clone(&self.keys),
                wrapped: wrapped(text)?,
                derivation,
            };
            // Two data keys for one body: one of them is not its writer's.
            if claimed.replace(claim).is_some() {
                return Err(Integrity::Ambiguous);
            }
        }
        Ok(claimed.map(|claim| Arc::new(claim) as Arc<dyn Claimed>))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Derivation {
    First,
    Hkdf,
}

struct Claim {
    keys: Arc<Keys>,
    wrapped: [u8; WRAPPED_LEN],
    derivation: Derivation,
}

impl Claim {
    /// The data key, and whether no secret was needed for it.
    fn unwrap(&self) -> Result<(Key, bool), Integrity> {
        let found = self.keys.derived.iter().find_map(|(hashed, derived)| {
            self.unwrap_with(match self.derivation {
                Derivation::First => hashed,
                Derivation::Hkdf => derived,
            })
        });
        if let Some(key) = found {
            return Ok((key, false));
        }
        // Releases that knew of HKDF no longer had the fault.
        let zero = || self.unwrap_with(&[0; 32]);
        match (self.derivation == Derivation::First).then(zero).flatten() {
            Some(key) if self.keys.zero_key => Ok((key, true)),
            Some(_) => Err(Integrity::LegacyUnprotected),
            None => Err(Integrity::NoKey),
        }
    }

    fn unwrap_with(&self, wrapping: &[u8; 32]) -> Option<Key> {
        let mut key = Zeroizing::new([0; 32]);
        let unwrapped =
            KwpAes256::new(wrapping.into()).unwrap_key(&self.wrapped, key.as_mut_slice());
        // A shorter key would have been padded.
        unwrapped.is_ok_and(|key| key.len() == 32).then_some(key)
    }
}

impl Claimed for Claim {
    fn plaintext_len(&self, stored_len: u64) -> Result<u64, Integrity> {
        stored_len
            .checked_sub(OVERHEAD)
            .filter(|&len| len <= MAX_LEN)
            .ok_or(Integrity::Length)
    }

    fn tail_len(&self) -> u64 {
        TAG_LEN as u64
    }

    fn probe(&self) -> Result<(), Integrity> {
        self.unwrap().map(drop)
    }

    fn checker(&self, stored_len: u64, tail: &[u8]) -> Result<Checking, Integrity> {
        let len = self.plaintext_len(stored_len)?;
        let tag = *tail.last_chunk::<TAG_LEN>().ok_or(Integrity::Length)?;
        let (key, unprotected) = self.unwrap()?;
        Ok(Checking {
            checker: Box::new(Check {
                key,
                tag,
                body: Framed::new(len),
                verifier: None,
            }),
            unprotected,
        })
    }
}

struct Check {
    key: Key,
    /// As it was read from the end, before.
    tag: [u8; TAG_LEN],
    body: Framed,
    /// Once the nonce is there.
    verifier: Option<Verifier>,
}

impl Checker for Check {
    fn update(&mut self, stored: &[u8]) -> Result<(), Integrity> {
        let (key, tag, verifier) = (&self.key, self.tag, &mut self.verifier);
        self.body.update(stored, |nonce, ciphertext| {
            verifier
                .get_or_insert_with(|| Verifier::new(key, *nonce, tag))
                .update(ciphertext)
                .map_err(|_| Integrity::Length)
        })
    }

    fn finish(self: Box<Self>) -> Result<Box<dyn Verified>, Integrity> {
        // The tag as it came behind the ciphertext.
        let (_, last) = self.body.finish()?;
        if !bool::from(last.ct_eq(&self.tag)) {
            return Err(Integrity::Object);
        }
        let decryptor = self
            .verifier
            .and_then(Verifier::finish)
            .ok_or(Integrity::Object)?;
        Ok(Box::new(Checked {
            decryptor,
            len: self.body.len(),
        }))
    }
}

struct Checked {
    decryptor: Decryptor,
    len: u64,
}

impl Verified for Checked {
    fn opener(&self, plaintext: Range<u64>) -> Result<(Place, Box<dyn Opener>), Integrity> {
        if plaintext.start > plaintext.end || plaintext.end > self.len {
            return Err(Integrity::Length);
        }
        let stream = self
            .decryptor
            .from(plaintext.start)
            .map_err(|_| Integrity::Length)?;
        let head = NONCE_LEN as u64;
        let place = Place {
            stored: head + plaintext.start..head + plaintext.end,
            skip: 0,
        };
        Ok((place, Box::new(stream)))
    }
}

impl Opener for Keystream {
    fn open(&mut self, stored: Bytes, plaintext: &mut BytesMut) -> Result<(), Integrity> {
        let at = plaintext.len();
        plaintext.extend_from_slice(&stored);
        self.apply(&mut plaintext[at..])
            .map_err(|_| Integrity::Length)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use http::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    use super::*;

    const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors");

    fn format() -> S3proxy {
        let secrets = ["correct horse battery staple", "a", "ключ-🔑"];
        S3proxy::new(["isec", "constellation-dek", "MyTag"], secrets, true)
    }

    fn claimed(
        format: &S3proxy,
        pairs: &[(String, String)],
    ) -> Result<Option<Arc<dyn Claimed>>, Integrity> {
        let headers = pairs
            .iter()
            .map(|(name, value)| {
                let name: HeaderName = name.parse().unwrap();
                (name, HeaderValue::from_bytes(value.as_bytes()).unwrap())
            })
            .collect();
        format.claim(Described {
            bucket: "bucket",
            key: "key",
            headers: &headers,
        })
    }

    fn check(
        claimed: &dyn Claimed,
        body: &[u8],
        piece: usize,
    ) -> Result<Box<dyn Verified>, Integrity> {
        let tail = body.len().saturating_sub(claimed.tail_len() as usize);
        let mut checker = claimed.checker(body.len() as u64, &body[tail..])?.checker;
        for piece in body.chunks(piece) {
            checker.update(piece)?;
        }
        checker.finish()
    }

    fn open(verified: &dyn Verified, body: &[u8], range: Range<u64>, piece: usize) -> BytesMut {
        let (place, mut opener) = verified.opener(range).unwrap();
        let mut plaintext = BytesMut::new();
        let stored = &body[place.stored.start as usize..place.stored.end as usize];
        for piece in stored.chunks(piece) {
            opener
                .open(Bytes::copy_from_slice(piece), &mut plaintext)
                .unwrap();
        }
        plaintext.split_off(place.skip as usize)
    }

    /// Plaintext, metadata and body.
    type Vector = (Vec<u8>, Vec<(String, String)>, Vec<u8>);

    /// Objects that other code has written.
    fn vectors() -> &'static [Vector] {
        static VECTORS: LazyLock<Vec<Vector>> = LazyLock::new(read);
        &VECTORS
    }

    fn read() -> Vec<Vector> {
        let rows: Vec<serde_json::Value> =
            serde_json::from_slice(&std::fs::read(format!("{FOLDER}/legacy.json")).unwrap())
                .unwrap();
        assert_eq!(rows.len(), 8);
        rows.iter()
            .map(|row| {
                let len = row["plaintext_len"].as_u64().unwrap() as usize;
                let plain = (0..len)
                    .map(|i| (i * 131 + (i >> 8) * 17 + 7) as u8)
                    .collect();
                let metadata = row["metadata"].as_object().unwrap();
                let metadata = metadata
                    .iter()
                    .map(|(name, value)| {
                        (
                            format!("x-amz-meta-{name}"),
                            value.as_str().unwrap().to_owned(),
                        )
                    })
                    .collect();
                let file = row["file"].as_str().unwrap();
                (
                    plain,
                    metadata,
                    std::fs::read(format!("{FOLDER}/{file}")).unwrap(),
                )
            })
            .collect()
    }

    #[test]
    fn every_vector_opens() {
        for (plain, metadata, body) in vectors() {
            let claimed = claimed(&format(), metadata).unwrap().unwrap();
            let len = plain.len() as u64;
            assert_eq!(claimed.plaintext_len(body.len() as u64), Ok(len));
            assert_eq!(claimed.probe(), Ok(()));
            let verified = check(&*claimed, body, 65_521).unwrap();
            for range in [0..len, len / 2..len, len / 3..len / 2, len..len] {
                let opened = open(&*verified, body, range.clone(), 8191);
                assert!(
                    opened[..] == plain[range.start as usize..range.end as usize],
                    "{range:?}"
                );
            }
            for beyond in [0..len + 1, len + 1..len + 1] {
                assert!(matches!(verified.opener(beyond), Err(Integrity::Length)));
            }
        }
    }

    #[test]
    fn keys_are_found_or_refused() {
        let all = vectors();
        let without =
            |secrets: &[&str], zero| S3proxy::new(["isec"], secrets.iter().copied(), zero);
        let probe = |format: &S3proxy, at: usize| {
            let (_, metadata, _) = &all[at];
            claimed(format, metadata).unwrap().unwrap().probe()
        };
        assert_eq!(probe(&without(&["a"], false), 0), Err(Integrity::NoKey));
        assert_eq!(
            probe(&without(&["a", "correct horse battery staple"], false), 0),
            Ok(())
        );
        // Under HKDF, and under no secret.
        assert_eq!(probe(&without(&["a"], true), 3), Err(Integrity::NoKey));
        assert_eq!(
            probe(&without(&["a"], false), 4),
            Err(Integrity::LegacyUnprotected)
        );
        assert_eq!(probe(&without(&[], true), 4), Ok(()));
        // 32 zero bytes were no key any more when derivations had versions.
        let (_, mut metadata, _) = all[4].clone();
        metadata.push(("x-amz-meta-isec-kek-ver".into(), "1".into()));
        let claim = claimed(&without(&["a"], true), &metadata).unwrap().unwrap();
        assert_eq!(claim.probe(), Err(Integrity::NoKey));
    }

    #[test]
    fn names_of_its_metadata_are_its_own() {
        for name in ["isec", "isec-kek-ver", "mytag", "constellation-dek-kek-ver"] {
            assert!(format().owns(&format!("x-amz-meta-{name}")), "{name}");
        }
        for name in [
            "x-amz-meta-other",
            "x-amz-meta-isec2",
            "isec",
            "x-amz-meta-isec-kek-ver-kek-ver",
        ] {
            assert!(!format().owns(name), "{name}");
        }
    }

    #[test]
    fn short_objects_are_none() {
        let (_, metadata, _) = &vectors()[0];
        let claimed = claimed(&format(), metadata).unwrap().unwrap();
        for len in [0, 1, 27] {
            assert_eq!(claimed.plaintext_len(len), Err(Integrity::Length));
            assert!(check(&*claimed, &vec![0; len as usize], 10).is_err());
        }
        assert_eq!(claimed.plaintext_len(28), Ok(0));
        assert_eq!(claimed.plaintext_len(MAX_LEN + 28), Ok(MAX_LEN));
        for len in [MAX_LEN + 29, u64::MAX] {
            assert_eq!(claimed.plaintext_len(len), Err(Integrity::Length));
        }
    }

    proptest! {
        /// Whatever metadata holds, it is a claim that cannot be opened, none, or an error.
        #[test]
        fn no_metadata_confuses(
            values in prop::collection::vec(("(isec|mytag|constellation-dek)(-kek-ver)?", "[0-9a-fA-Fg ]{0,82}|1"), 0..4),
        ) {
            let pairs: Vec<(String, String)> = values
                .into_iter()
                .map(|(name, value)| (format!("x-amz-meta-{name}"), value))
                .collect();
            if let Ok(Some(claimed)) = claimed(&format(), &pairs) {
                prop_assert_eq!(claimed.probe(), Err(Integrity::NoKey));
            }
        }

        /// A body in pieces of any length, one bit of it changed.
        #[test]
        fn a_changed_bit_is_found(piece in 1_usize..50, bit: prop::sample::Index, vector in 0_usize..5) {
            let (_, metadata, mut body) = vectors()[vector].clone();
            let claimed = claimed(&format(), &metadata).unwrap().unwrap();
            prop_assert!(check(&*claimed, &body, piece).is_ok());
            let bit = bit.index(body.len() * 8);
            body[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(matches!(check(&*claimed, &body, piece), Err(Integrity::Object)));
        }
    }
}
