//! AES-256-GCM in pieces, for objects sealed under one tag: the tag is checked first, over all of the
//! ciphertext, and only then is any of it decrypted, from any block on. Memory is constant (NIST SP 800-38D).

use aes::Aes256;
use aes::cipher::{BlockCipherEncrypt, KeyInit, KeyIvInit, StreamCipher};
use ctr::{Ctr32BE, Ctr128BE};
use ghash::GHash;
use ghash::universal_hash::UniversalHash;
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use crate::aead::TAG_LEN;

/// Bytes of a block of AES.
pub const BLOCK: usize = 16;

/// Longest plaintext: the counter has 32 bits, and two of its values are taken (SP 800-38D, 5.2.1.1).
pub const MAX_LEN: u64 = ((1 << 32) - 2) * BLOCK as u64;

/// Computes the tag of a ciphertext that comes in pieces.
pub struct TagCheck {
    hash: GHash,
    mask: [u8; BLOCK],
    pending: [u8; BLOCK],
    filled: usize,
    aad_len: u64,
    len: u64,
}

impl TagCheck {
    /// For one message.
    pub fn new(key: &[u8; 32], nonce: &[u8; 12], aad: &[u8]) -> Self {
        let cipher = Aes256::new(key.into());
        let mut hash_key = ghash::Key::default();
        cipher.encrypt_block(&mut hash_key);
        let mut hash = GHash::new(&hash_key);
        hash_key.zeroize();
        hash.update_padded(aad);
        let mut mask = counter_block(nonce, 1).into();
        cipher.encrypt_block(&mut mask);
        Self {
            hash,
            mask: mask.into(),
            pending: [0; BLOCK],
            filled: 0,
            aad_len: aad.len() as u64,
            len: 0,
        }
    }

    /// Takes the next ciphertext.
    pub fn update(&mut self, mut ciphertext: &[u8]) {
        self.len += ciphertext.len() as u64;
        if self.filled > 0 {
            let take = ciphertext.len().min(BLOCK - self.filled);
            let (now, rest) = ciphertext.split_at(take);
            self.pending[self.filled..self.filled + take].copy_from_slice(now);
            self.filled += take;
            ciphertext = rest;
            if self.filled < BLOCK {
                return;
            }
            self.hash.update_padded(&self.pending);
            self.filled = 0;
        }
        let (blocks, rest) = ciphertext.split_at(ciphertext.len() - ciphertext.len() % BLOCK);
        self.hash.update_padded(blocks);
        self.pending[..rest.len()].copy_from_slice(rest);
        self.filled = rest.len();
    }

    /// Whether this is the tag of all that came, compared in constant time.
    pub fn verify(mut self, tag: &[u8; TAG_LEN]) -> bool {
        self.hash.update_padded(&self.pending[..self.filled]);
        let mut lengths = [0; BLOCK];
        lengths[..8].copy_from_slice(&(self.aad_len * 8).to_be_bytes());
        lengths[8..].copy_from_slice(&(self.len * 8).to_be_bytes());
        self.hash.update_padded(&lengths);
        let mut computed: [u8; BLOCK] = self.hash.clone().finalize().into();
        for (byte, mask) in computed.iter_mut().zip(self.mask) {
            *byte ^= mask;
        }
        let fits: bool = computed.ct_eq(tag).into();
        computed.zeroize();
        fits && self.len <= MAX_LEN
    }
}

impl Drop for TagCheck {
    fn drop(&mut self) {
        self.mask.zeroize();
    }
}

/// Key stream from a block of a plaintext on. XORs itself over what it is given.
pub struct KeyStream(Kind);

enum Kind {
    Gcm(Ctr32BE<Aes256>),
    Ctr(Ctr128BE<Aes256>),
}

impl KeyStream {
    /// Of a message of AES-256-GCM. None where the message could not be that long.
    pub fn gcm(key: &[u8; 32], nonce: &[u8; 12], block: u64) -> Option<Self> {
        let counter = u32::try_from(block.checked_add(2)?).ok()?;
        let iv = counter_block(nonce, counter);
        Some(Self(Kind::Gcm(Ctr32BE::new(key.into(), (&iv).into()))))
    }

    /// Of AES-256-CTR whose counter is the whole block and wraps around.
    pub fn ctr(key: &[u8; 32], iv: &[u8; BLOCK], block: u64) -> Self {
        let iv = u128::from_be_bytes(*iv).wrapping_add(block.into());
        let iv = iv.to_be_bytes();
        Self(Kind::Ctr(Ctr128BE::new(key.into(), (&iv).into())))
    }

    /// Decrypts what comes next, in place. False where the key stream has ended: nothing was done then.
    #[must_use]
    pub fn apply(&mut self, bytes: &mut [u8]) -> bool {
        match &mut self.0 {
            Kind::Gcm(stream) => stream.try_apply_keystream(bytes),
            Kind::Ctr(stream) => stream.try_apply_keystream(bytes),
        }
        .is_ok()
    }
}

fn counter_block(nonce: &[u8; 12], counter: u32) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    block[..12].copy_from_slice(nonce);
    block[12..].copy_from_slice(&counter.to_be_bytes());
    block
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::aead::Engine;

    proptest! {
        /// The engines of the core are the reference: they agree on the tag, and on the plaintext from any block.
        #[test]
        fn pieces_agree_with_the_whole(
            key: [u8; 32],
            nonce: [u8; 12],
            aad in proptest::collection::vec(any::<u8>(), 0..40),
            plaintext in proptest::collection::vec(any::<u8>(), 0..300),
            cuts in proptest::collection::vec(1..50usize, 0..20),
            from in 0..20u64,
            flip in any::<prop::sample::Index>(),
        ) {
            let mut sealed = plaintext.clone();
            let tag = Engine::Rust.cipher(&key).unwrap().seal(&nonce, &aad, &mut sealed).unwrap();
            let check = |bytes: &[u8]| {
                let mut check = TagCheck::new(&key, &nonce, &aad);
                let mut rest = bytes;
                for cut in &cuts {
                    let (now, then) = rest.split_at(rest.len().min(*cut));
                    check.update(now);
                    rest = then;
                }
                check.update(rest);
                check
            };
            prop_assert!(check(&sealed).verify(&tag));
            let mut wrong = tag;
            wrong[flip.index(TAG_LEN)] ^= 1;
            prop_assert!(!check(&sealed).verify(&wrong));
            if !sealed.is_empty() {
                let mut bad = sealed.clone();
                bad[flip.index(sealed.len())] ^= 0x80;
                prop_assert!(!check(&bad).verify(&tag));
                prop_assert!(!check(&sealed[1..]).verify(&tag));
            }
            let at = (from as usize * BLOCK).min(plaintext.len() / BLOCK * BLOCK);
            let mut stream = KeyStream::gcm(&key, &nonce, (at / BLOCK) as u64).unwrap();
            let mut opened = sealed[at..].to_vec();
            let (first, second) = opened.split_at_mut((plaintext.len() - at) / 3);
            prop_assert!(stream.apply(first) && stream.apply(second));
            prop_assert_eq!(&opened[..], &plaintext[at..]);
        }
    }

    #[test]
    fn no_message_is_longer_than_its_counter() {
        assert!(KeyStream::gcm(&[1; 32], &[2; 12], MAX_LEN / 16 - 1).is_some());
        assert!(KeyStream::gcm(&[1; 32], &[2; 12], MAX_LEN / 16 + 1).is_none());
        assert!(KeyStream::gcm(&[1; 32], &[2; 12], u64::MAX).is_none());
    }
}
