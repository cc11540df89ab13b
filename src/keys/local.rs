//! The kind `local`: 32 bytes that the gateway holds itself.

use std::fmt;
use std::num::NonZeroU32;

use aes_kw::{KeyInit, KwAes256};
use async_trait::async_trait;
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::{Context, KeyEncryptionKey, KeyError, KeyId, KeyKind};
use crate::aead::Dek;

/// HKDF label of the wrapping key. Stands on disk: may never change.
const WRAP_LABEL: &[u8] = b"sealgate/v1/local/wrap";
/// HKDF label of the binding key. Stands on disk: may never change.
const BINDING_LABEL: &[u8] = b"sealgate/v1/local/binding";
/// Bytes of a wrapped data key. Stands on disk: may never change.
const WRAPPED_LEN: usize = Dek::LEN + 8;

/// A key of 32 bytes, split by HKDF into one that wraps (AES key wrap, RFC 3394) and one that binds
/// (HMAC-SHA256). The bytes themselves are not kept.
pub struct LocalKey {
    id: KeyId,
    version: NonZeroU32,
    /// Both ready for use, with the key schedule and HMAC's first blocks done; wiped when dropped.
    wrapping: KwAes256,
    binding: Hmac<Sha256>,
}

impl LocalKey {
    /// Takes a key of 32 uniform bytes.
    #[must_use]
    pub fn new(id: KeyId, version: NonZeroU32, key: &[u8; 32]) -> Self {
        Self {
            id,
            version,
            wrapping: KwAes256::new((&*derive(key, WRAP_LABEL)).into()),
            binding: keyed(&derive(key, BINDING_LABEL)),
        }
    }

    fn mac(&self, message: &[u8]) -> Hmac<Sha256> {
        self.binding.clone().chain_update(message)
    }
}

#[async_trait]
impl KeyEncryptionKey for LocalKey {
    fn kind(&self) -> KeyKind {
        KeyKind::Local
    }

    fn id(&self) -> &KeyId {
        &self.id
    }

    fn version(&self) -> NonZeroU32 {
        self.version
    }

    async fn wrap(&self, dek: &Dek, _context: Context<'_>) -> Result<Vec<u8>, KeyError> {
        let mut wrapped = vec![0; WRAPPED_LEN];
        self.wrapping
            .wrap_key(dek.expose(), &mut wrapped)
            .map_err(|error| KeyError::Unavailable(error.to_string()))?;
        Ok(wrapped)
    }

    async fn unwrap(&self, wrapped: &[u8], _context: Context<'_>) -> Result<Dek, KeyError> {
        if wrapped.len() != WRAPPED_LEN {
            return Err(KeyError::NotAuthentic);
        }
        let mut key = Zeroizing::new([0; Dek::LEN]);
        self.wrapping
            .unwrap_key(wrapped, key.as_mut_slice())
            .map_err(|_| KeyError::NotAuthentic)?;
        Ok(Dek::new(*key))
    }

    async fn tag(&self, message: &[u8]) -> Result<Option<[u8; 32]>, KeyError> {
        Ok(Some(self.mac(message).finalize().into_bytes().into()))
    }

    async fn verify(&self, message: &[u8], tag: &[u8; 32]) -> Result<(), KeyError> {
        self.mac(message)
            .verify(tag.into())
            .map_err(|_| KeyError::NotAuthentic)
    }
}

impl fmt::Debug for LocalKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalKey")
            .field("id", &self.id)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

/// HMAC under a key.
fn keyed(key: &[u8; 32]) -> Hmac<Sha256> {
    // Padded to the block as HMAC does it: this form of it cannot fail.
    let mut block = Zeroizing::new([0; 64]);
    block[..32].copy_from_slice(key);
    <Hmac<Sha256> as hmac::KeyInit>::new((&*block).into())
}

fn derive(key: &[u8; 32], label: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut derived = Zeroizing::new([0; 32]);
    #[allow(clippy::expect_used, reason = "the only error is a length above 8,160")]
    Hkdf::<Sha256>::new(None, key)
        .expand(label, derived.as_mut_slice())
        .expect("HKDF-SHA256 gives up to 8,160 bytes");
    derived
}

#[cfg(test)]
mod tests {
    use super::super::conformance;
    use super::*;

    fn key(version: u32, byte: u8) -> LocalKey {
        let version = NonZeroU32::new(version).unwrap();
        LocalKey::new(KeyId::new("main").unwrap(), version, &[byte; 32])
    }

    #[tokio::test]
    async fn conforms() {
        conformance::check(&key(1, 1), &key(2, 2)).await;
    }

    #[tokio::test]
    async fn wraps_to_forty_bytes_and_refuses_other_lengths() {
        let key = key(1, 1);
        let wrapped = key
            .wrap(&Dek::new([9; 32]), Context::default())
            .await
            .unwrap();
        assert_eq!(wrapped.len(), WRAPPED_LEN);
        for len in [0, 8, 39, 41, 48] {
            let mut other = wrapped.clone();
            other.resize(len, 0);
            let refused = key.unwrap(&other, Context::default()).await;
            assert_eq!(refused.unwrap_err(), KeyError::NotAuthentic);
        }
    }

    #[test]
    fn debug_shows_no_key() {
        assert!(!format!("{:?}", key(1, 77)).contains("77"));
    }
}
