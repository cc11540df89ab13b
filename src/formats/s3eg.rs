//! Objects of `s3-encryption-gateway` (kenchrcum) under a password: AES-256-GCM in chunks, each with a tag, or in one piece.
//!
//! ```text
//! chunked   chunk‖tag[16] …      the nonce of each from a base IV in the metadata, no associated data
//! whole     ciphertext ‖ tag[16]  nonce in the metadata, of which some is associated data
//! key       PBKDF2-HMAC-SHA256(password, salt of the object), or a data key that is wrapped under one
//! ```
//!
//! Nothing binds an object to its bucket and key, and a chunked one to its length. `format-spec/IMPORTS.md` has the details.

mod chunks;
mod derived;
mod metadata;

use std::num::NonZeroU32;
use std::ops::Range;
use std::sync::Arc;

use zeroize::Zeroizing;

pub use self::metadata::looks_like;

use self::chunks::{ChunkCheck, Chunks};
use self::derived::{Key, Keys};
use self::metadata::Said;
use super::Integrity;
use super::foreign::{Checker, Checking, Claimed, Described, Format, Opener, Place, Verified};
use super::gcm::{BLOCK, KeyStream, MAX_LEN, TagCheck};
use crate::aead::{Engine, TAG_LEN};

const NONCE_LEN: usize = 12;
const SALT_LEN: usize = 32;
/// `nonce ‖ DEK ‖ tag`, behind the salt.
const SEALED_LEN: usize = 32 + TAG_LEN;

/// What opens the objects.
pub struct S3eg(Arc<Keys>);

impl S3eg {
    /// For objects under one of the `passwords`, in bytes as that program was given them.
    #[must_use]
    pub fn new<'a>(passwords: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let passwords = passwords
            .into_iter()
            .map(|password| Zeroizing::new(password.to_vec()))
            .collect();
        Self(Arc::new(Keys::new(passwords)))
    }
}

impl Format for S3eg {
    fn name(&self) -> &'static str {
        "s3eg"
    }

    fn owns(&self, header: &str) -> bool {
        metadata::owns(header)
    }

    fn claim(&self, object: Described<'_>) -> Result<Option<Arc<dyn Claimed>>, Integrity> {
        Ok(metadata::read(object.headers)?.map(|said| {
            let keys = Arc::clone(&self.0);
            Arc::new(Claim { keys, said }) as Arc<dyn Claimed>
        }))
    }
}

/// Where an object's key comes from.
enum KeySource {
    /// The key is what the password gives.
    Direct {
        salt: [u8; SALT_LEN],
        rounds: NonZeroU32,
    },
    /// What the password gives opens the key.
    Wrapped {
        salt: [u8; SALT_LEN],
        rounds: NonZeroU32,
        nonce: [u8; NONCE_LEN],
        sealed: [u8; SEALED_LEN],
    },
}

/// How the body is sealed.
enum Body {
    Chunked(Chunks),
    Whole {
        nonce: [u8; NONCE_LEN],
        aad: Vec<u8>,
    },
}

struct Claim {
    keys: Arc<Keys>,
    said: Said,
}

impl Claim {
    /// The keys that may open the body: one for each password where the body alone can tell which is right.
    fn keys(&self) -> Result<Vec<Key>, Integrity> {
        let keys: Vec<Key> = match &self.said.source {
            KeySource::Direct { salt, rounds } => {
                let keys = self.keys.derive(salt, *rounds);
                keys.map(|key| Key::clone(&key)).collect()
            }
            KeySource::Wrapped {
                salt,
                rounds,
                nonce,
                sealed,
            } => {
                let unwrap = |wrapping: Arc<Key>| {
                    let mut key = Zeroizing::new(*sealed);
                    let cipher = Engine::default().cipher(&wrapping).ok()?;
                    cipher.open(nonce, &[], key.as_mut_slice()).ok()?;
                    let mut dek = Zeroizing::new([0; 32]);
                    dek.copy_from_slice(&key[..32]);
                    Some(dek)
                };
                let mut keys = self.keys.derive(salt, *rounds);
                keys.find_map(unwrap).into_iter().collect()
            }
        };
        if keys.is_empty() {
            return Err(Integrity::NoKey);
        }
        Ok(keys)
    }
}

impl Claimed for Claim {
    fn plaintext_len(&self, stored_len: u64) -> Result<u64, Integrity> {
        let len = match &self.said.body {
            Body::Chunked(chunks) => chunks.plaintext_len(stored_len),
            Body::Whole { .. } => stored_len
                .checked_sub(TAG_LEN as u64)
                .filter(|&len| len <= MAX_LEN),
        }
        .ok_or(Integrity::Length)?;
        if self.said.declared.is_some_and(|declared| declared != len) {
            return Err(Integrity::Length);
        }
        Ok(len)
    }

    fn tail_len(&self) -> u64 {
        0
    }

    fn probe(&self) -> Result<(), Integrity> {
        if self.keys.is_empty() {
            return Err(Integrity::NoKey);
        }
        Ok(())
    }

    fn checker(&self, stored_len: u64, _tail: &[u8]) -> Result<Checking, Integrity> {
        let len = self.plaintext_len(stored_len)?;
        let keys = self.keys()?;
        let checker: Box<dyn Checker> = match &self.said.body {
            Body::Chunked(chunks) => {
                let ciphers = keys.iter().map(|key| Engine::default().cipher(key));
                let ciphers: Result<Vec<_>, _> = ciphers.collect();
                let ciphers = ciphers.map_err(|_| Integrity::Segment)?;
                Box::new(ChunkCheck::new(ciphers, *chunks, stored_len, len))
            }
            Body::Whole { nonce, aad } => Box::new(WholeCheck {
                candidates: keys
                    .into_iter()
                    .map(|key| (TagCheck::new(&key, nonce, aad), key))
                    .collect(),
                nonce: *nonce,
                len,
                at: 0,
                tag: [0; TAG_LEN],
            }),
        };
        Ok(Checking {
            checker,
            unprotected: false,
        })
    }
}

struct WholeCheck {
    candidates: Vec<(TagCheck, Key)>,
    nonce: [u8; NONCE_LEN],
    len: u64,
    at: u64,
    tag: [u8; TAG_LEN],
}

impl Checker for WholeCheck {
    fn update(&mut self, stored: &[u8]) -> Result<(), Integrity> {
        let ciphertext = self.len.saturating_sub(self.at).min(stored.len() as u64);
        let (ciphertext, tag) = stored.split_at(ciphertext as usize);
        for (check, _) in &mut self.candidates {
            check.update(ciphertext);
        }
        self.at += ciphertext.len() as u64;
        if !tag.is_empty() {
            let at = (self.at - self.len) as usize;
            let place = self.tag.get_mut(at..at + tag.len());
            place.ok_or(Integrity::Trailing)?.copy_from_slice(tag);
            self.at += tag.len() as u64;
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Box<dyn Verified>, Integrity> {
        if self.at != self.len + TAG_LEN as u64 {
            return Err(Integrity::Truncated);
        }
        let mut candidates = self.candidates.into_iter();
        let key = candidates.find_map(|(check, key)| check.verify(&self.tag).then_some(key));
        Ok(Box::new(CheckedWhole {
            key: key.ok_or(Integrity::Object)?,
            nonce: self.nonce,
            len: self.len,
        }))
    }
}

struct CheckedWhole {
    key: Key,
    nonce: [u8; NONCE_LEN],
    len: u64,
}

impl Verified for CheckedWhole {
    fn opener(&self, plaintext: Range<u64>) -> Result<(Place, Box<dyn Opener>), Integrity> {
        if plaintext.start > plaintext.end || plaintext.end > self.len {
            return Err(Integrity::Length);
        }
        let block = plaintext.start / BLOCK as u64;
        let stream = KeyStream::gcm(&self.key, &self.nonce, block).ok_or(Integrity::Length)?;
        let start = block * BLOCK as u64;
        let place = Place {
            stored: start..plaintext.end,
            skip: plaintext.start - start,
        };
        Ok((place, Box::new(stream)))
    }
}

#[cfg(test)]
mod tests;
