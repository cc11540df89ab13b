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

    /// Whether the engine does on this machine what the specification of GCM says (its test case 16), in place
    /// and from one buffer into another.
    #[must_use]
    pub fn works(self) -> bool {
        let mut key = [0; 32];
        key[..16].copy_from_slice(&known::HALF_KEY);
        key[16..].copy_from_slice(&known::HALF_KEY);
        let run = || {
            let cipher = self.cipher(&key)?;
            let mut buffer = known::PLAINTEXT;
            let tag = cipher.seal(&known::NONCE, &known::AAD, &mut buffer)?;
            let mut right = buffer == known::CIPHERTEXT && tag == known::TAG;
            let tag =
                cipher.seal_into(&known::NONCE, &known::AAD, &known::PLAINTEXT, &mut buffer)?;
            right &= buffer == known::CIPHERTEXT && tag == known::TAG;
            let open = |tag, buffer: &mut [u8]| {
                cipher.open_into(&known::NONCE, &known::AAD, &known::CIPHERTEXT, tag, buffer)
            };
            open(&known::TAG, &mut buffer)?;
            right &= buffer == known::PLAINTEXT;
            // And it has to refuse what is not genuine.
            let refused = open(&[0; TAG_LEN], &mut buffer);
            let mut sealed = [0; 76];
            sealed[..60].copy_from_slice(&known::CIPHERTEXT);
            sealed[60..].copy_from_slice(&known::TAG);
            let opened = cipher.open(&known::NONCE, &known::AAD, &mut sealed)?;
            right &= sealed[..opened] == known::PLAINTEXT;
            Ok::<_, CipherError>(right && refused.is_err())
        };
        run().unwrap_or(false)
    }

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

    /// Encrypts from one buffer into another of the same length, and returns the tag.
    ///
    /// # Errors
    ///
    /// [`CipherError`] as for [`seal`](Cipher::seal), and where the lengths differ. `ciphertext` is wiped then.
    fn seal_into(
        &self,
        nonce: &[u8; 12],
        aad: &[u8],
        plaintext: &[u8],
        ciphertext: &mut [u8],
    ) -> Result<[u8; TAG_LEN], CipherError>;

    /// Verifies the ciphertext by its tag and decrypts it into another buffer of the same length.
    ///
    /// # Errors
    ///
    /// [`CipherError`] where the tag does not fit or the lengths do not. `plaintext` is wiped then.
    fn open_into(
        &self,
        nonce: &[u8; 12],
        aad: &[u8],
        ciphertext: &[u8],
        tag: &[u8; TAG_LEN],
        plaintext: &mut [u8],
    ) -> Result<(), CipherError>;
}

/// The cipher refused: the tag does not fit, or the implementation failed. Says no more on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the cipher refused the operation")]
pub struct CipherError;

/// Test case 16 of "The Galois/Counter Mode of Operation" (McGrew, Viega).
mod known {
    use super::super::TAG_LEN;

    pub const HALF_KEY: [u8; 16] = 0xfeff_e992_8665_731c_6d6a_8f94_6730_8308_u128.to_be_bytes();
    pub const NONCE: [u8; 12] = *b"\xca\xfe\xba\xbe\xfa\xce\xdb\xad\xde\xca\xf8\x88";
    pub const AAD: [u8; 20] =
        *b"\xfe\xed\xfa\xce\xde\xad\xbe\xef\xfe\xed\xfa\xce\xde\xad\xbe\xef\xab\xad\xda\xd2";
    pub const PLAINTEXT: [u8; 60] =
        *b"\xd9\x31\x32\x25\xf8\x84\x06\xe5\xa5\x59\x09\xc5\xaf\xf5\x26\x9a\
           \x86\xa7\xa9\x53\x15\x34\xf7\xda\x2e\x4c\x30\x3d\x8a\x31\x8a\x72\
           \x1c\x3c\x0c\x95\x95\x68\x09\x53\x2f\xcf\x0e\x24\x49\xa6\xb5\x25\
           \xb1\x6a\xed\xf5\xaa\x0d\xe6\x57\xba\x63\x7b\x39";
    pub const CIPHERTEXT: [u8; 60] =
        *b"\x52\x2d\xc1\xf0\x99\x56\x7d\x07\xf4\x7f\x37\xa3\x2a\x84\x42\x7d\
           \x64\x3a\x8c\xdc\xbf\xe5\xc0\xc9\x75\x98\xa2\xbd\x25\x55\xd1\xaa\
           \x8c\xb0\x8e\x48\x59\x0d\xbb\x3d\xa7\xb0\x8b\x10\x56\x82\x88\x38\
           \xc5\xf6\x1e\x63\x93\xba\x7a\x0a\xbc\xc9\xf6\x62";
    pub const TAG: [u8; TAG_LEN] = 0x76fc_6ece_0f4e_1768_cddf_8853_bb2d_551b_u128.to_be_bytes();
}

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

    fn seal_into(
        &self,
        nonce: &[u8; 12],
        aad: &[u8],
        plaintext: &[u8],
        ciphertext: &mut [u8],
    ) -> Result<[u8; TAG_LEN], CipherError> {
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let mut tag = [0; TAG_LEN];
        self.0
            .seal_out_of_place_scatter(nonce, Aad::from(aad), plaintext, ciphertext, &[], &mut tag)
            .map(|()| tag)
            .map_err(|_| wipe(ciphertext))
    }

    fn open_into(
        &self,
        nonce: &[u8; 12],
        aad: &[u8],
        ciphertext: &[u8],
        tag: &[u8; TAG_LEN],
        plaintext: &mut [u8],
    ) -> Result<(), CipherError> {
        let nonce = Nonce::assume_unique_for_key(*nonce);
        self.0
            .open_separate_gather(nonce, Aad::from(aad), ciphertext, tag, plaintext)
            .map_err(|_| wipe(plaintext))
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

    fn seal_into(
        &self,
        nonce: &[u8; 12],
        aad: &[u8],
        plaintext: &[u8],
        ciphertext: &mut [u8],
    ) -> Result<[u8; TAG_LEN], CipherError> {
        let sealed = InOutBuf::new(plaintext, &mut *ciphertext)
            .ok()
            .and_then(|buffers| {
                self.0
                    .encrypt_inout_detached(nonce.into(), aad, buffers)
                    .ok()
            });
        sealed.map(Into::into).ok_or_else(|| wipe(ciphertext))
    }

    fn open_into(
        &self,
        nonce: &[u8; 12],
        aad: &[u8],
        ciphertext: &[u8],
        tag: &[u8; TAG_LEN],
        plaintext: &mut [u8],
    ) -> Result<(), CipherError> {
        let opened = InOutBuf::new(ciphertext, &mut *plaintext)
            .ok()
            .and_then(|buffers| {
                self.0
                    .decrypt_inout_detached(nonce.into(), aad, buffers, tag.into())
                    .ok()
            });
        opened.ok_or_else(|| wipe(plaintext))
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
            for engine in Engine::ALL {
                let cipher = engine.cipher(&key).unwrap();
                let mut apart = vec![0xaa; plaintext.len()];
                let tag = cipher.seal_into(&nonce, &aad, &plaintext, &mut apart).unwrap();
                prop_assert_eq!([&apart[..], &tag].concat(), &sealed[0][..]);
                let mut opened = vec![0xaa; plaintext.len()];
                cipher.open_into(&nonce, &aad, &apart, &tag, &mut opened).unwrap();
                prop_assert_eq!(&opened, &plaintext);
            }
        }
    }

    #[test]
    fn engines_pass_their_self_test() {
        for engine in Engine::ALL {
            assert!(engine.works(), "{engine:?}");
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
                let ciphertext = &[0xaa; 100][..len.saturating_sub(TAG_LEN)];
                for room in [len.saturating_sub(TAG_LEN), len + 1] {
                    let mut opened = vec![0xbb; room];
                    assert_eq!(
                        cipher.open_into(&[2; 12], b"", ciphertext, &[0xaa; TAG_LEN], &mut opened),
                        Err(CipherError)
                    );
                    assert!(opened.iter().all(|&byte| byte == 0), "{engine:?} {len}");
                }
            }
            let mut short = [0xbb; 3];
            assert_eq!(
                cipher.seal_into(&[2; 12], b"", b"four", &mut short),
                Err(CipherError)
            );
            assert_eq!(short, [0; 3]);
        }
    }
}
