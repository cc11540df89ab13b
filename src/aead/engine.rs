//! The AES-256-GCM implementations, behind one trait so that each can check the other.

use std::fmt;

use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::aead::{AeadInOut, KeyInit};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroize;

use super::TAG_LEN;

/// Which AES-256-GCM implementation does the work. All produce the same bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Engine {
    /// AWS-LC, assembly behind a C interface: the fastest.
    #[default]
    AwsLc,
    /// The RustCrypto implementation, all Rust.
    Rust,
}

impl Engine {
    /// Every engine, for tests that compare them.
    pub const ALL: [Self; 2] = [Self::AwsLc, Self::Rust];

    /// A cipher under the given key.
    ///
    /// # Errors
    ///
    /// [`CipherError`] where the implementation cannot set the key up, which means that it has no
    /// memory left.
    pub fn cipher(self, key: &[u8; 32]) -> Result<Box<dyn Cipher>, CipherError> {
        Ok(match self {
            Self::AwsLc => Box::new(AwsLc(LessSafeKey::new(
                UnboundKey::new(&AES_256_GCM, key).map_err(|_| CipherError)?,
            ))),
            Self::Rust => Box::new(RustCrypto(aes_gcm::Aes256Gcm::new(key.into()))),
        })
    }
}

/// AES-256-GCM under one key. The caller sees to it that no nonce seals twice.
pub trait Cipher: fmt::Debug + Send + Sync {
    /// Encrypts in place and returns the tag.
    ///
    /// # Errors
    ///
    /// [`CipherError`] where the buffer is longer than AES-GCM allows. The buffer is wiped then.
    fn seal(
        &self,
        nonce: &[u8; 12],
        aad: &[u8],
        buffer: &mut [u8],
    ) -> Result<[u8; TAG_LEN], CipherError>;

    /// Verifies `ciphertext ‖ tag` and decrypts it in place; the plaintext is what stands before
    /// the tag, and its length is returned.
    ///
    /// # Errors
    ///
    /// [`CipherError`] where the tag does not fit. The buffer is wiped then.
    fn open(&self, nonce: &[u8; 12], aad: &[u8], buffer: &mut [u8]) -> Result<usize, CipherError>;
}

/// The cipher refused: the tag does not fit, or the implementation failed. Says no more on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the cipher refused the operation")]
pub struct CipherError;

struct AwsLc(LessSafeKey);

impl Cipher for AwsLc {
    fn seal(
        &self,
        nonce: &[u8; 12],
        aad: &[u8],
        buffer: &mut [u8],
    ) -> Result<[u8; TAG_LEN], CipherError> {
        let nonce = Nonce::assume_unique_for_key(*nonce);
        self.0
            .seal_in_place_separate_tag(nonce, Aad::from(aad), buffer)
            .ok()
            .and_then(|tag| tag.as_ref().try_into().ok())
            .ok_or_else(|| wipe(buffer))
    }

    fn open(&self, nonce: &[u8; 12], aad: &[u8], buffer: &mut [u8]) -> Result<usize, CipherError> {
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = self
            .0
            .open_in_place(nonce, Aad::from(aad), buffer)
            .map(|plaintext| plaintext.len());
        opened.map_err(|_| wipe(buffer))
    }
}

impl fmt::Debug for AwsLc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AwsLc(..)")
    }
}

struct RustCrypto(aes_gcm::Aes256Gcm);

impl Cipher for RustCrypto {
    fn seal(
        &self,
        nonce: &[u8; 12],
        aad: &[u8],
        buffer: &mut [u8],
    ) -> Result<[u8; TAG_LEN], CipherError> {
        self.0
            .encrypt_inout_detached(nonce.into(), aad, InOutBuf::from(&mut *buffer))
            .map(Into::into)
            .map_err(|_| wipe(buffer))
    }

    fn open(&self, nonce: &[u8; 12], aad: &[u8], buffer: &mut [u8]) -> Result<usize, CipherError> {
        let Some((ciphertext, tag)) = buffer.split_last_chunk_mut::<TAG_LEN>() else {
            return Err(wipe(buffer));
        };
        let tag = aes_gcm::Tag::from(*tag);
        let len = ciphertext.len();
        match self.0.decrypt_inout_detached(
            nonce.into(),
            aad,
            InOutBuf::from(&mut *ciphertext),
            &tag,
        ) {
            Ok(()) => Ok(len),
            Err(_) => Err(wipe(buffer)),
        }
    }
}

impl fmt::Debug for RustCrypto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RustCrypto(..)")
    }
}

fn wipe(buffer: &mut [u8]) -> CipherError {
    buffer.zeroize();
    CipherError
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn engines_agree(key: [u8; 32], nonce: [u8; 12], aad: Vec<u8>, plaintext: Vec<u8>) {
            let sealed: Vec<Vec<u8>> = Engine::ALL.iter().map(|engine| {
                let mut buffer = plaintext.clone();
                let tag = engine.cipher(&key).unwrap().seal(&nonce, &aad, &mut buffer).unwrap();
                buffer.extend_from_slice(&tag);
                buffer
            }).collect();
            prop_assert_eq!(&sealed[0], &sealed[1]);
            for engine in Engine::ALL {
                let mut buffer = sealed[0].clone();
                let n = engine.cipher(&key).unwrap().open(&nonce, &aad, &mut buffer).unwrap();
                prop_assert_eq!(&buffer[..n], &plaintext[..]);
            }
        }
    }

    #[test]
    fn a_refused_buffer_is_wiped() {
        for engine in Engine::ALL {
            let cipher = engine.cipher(&[1; 32]).unwrap();
            for len in [0, 15, 16, 17, 100] {
                let mut buffer = vec![0xaa; len];
                assert_eq!(cipher.open(&[2; 12], b"", &mut buffer), Err(CipherError));
                assert!(buffer.iter().all(|&byte| byte == 0), "{engine:?} {len}");
            }
        }
    }
}
