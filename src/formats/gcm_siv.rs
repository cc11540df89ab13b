//! AES-256-GCM-SIV (RFC 8452) without associated data, in pieces: no more of a message than one piece is in memory.
//!
//! The counter starts from the tag, which stands behind the ciphertext: whoever wants to check a message needs its last
//! bytes first. [`Verifier`] then decrypts and digests; what it decrypts is wiped, and only a [`Decryptor`], which it gives
//! where the tag verified, gives plaintext out.

use aes::Aes256;
use aes::cipher::{BlockCipherEncrypt, KeyInit, KeyIvInit, StreamCipher, StreamCipherSeek};
use ctr::Ctr32LE;
use polyval::universal_hash::UniversalHash;
use polyval::{Block, Polyval};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

/// Bytes of a nonce.
pub const NONCE_LEN: usize = 12;
/// Bytes of a tag.
pub const TAG_LEN: usize = 16;
/// The longest message that is taken. The cipher ends a block later (RFC 8452, section 6).
pub const MAX_LEN: u64 = (1 << 36) - 32;

const BLOCK: usize = 16;
/// Bytes that are decrypted at once.
const PIECE: usize = 16 * 1024;

/// A message that is longer than [`MAX_LEN`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("longer than the cipher allows")]
pub struct TooLong;

/// Checks a message whose ciphertext comes in pieces of any length.
pub struct Verifier {
    encryption: Zeroizing<[u8; 32]>,
    nonce: [u8; NONCE_LEN],
    tag: [u8; TAG_LEN],
    stream: Ctr32LE<Aes256>,
    digest: Polyval,
    /// Plaintext that does not fill a block yet.
    partial: Zeroizing<[u8; BLOCK]>,
    /// Bytes so far.
    len: u64,
    piece: Zeroizing<Vec<u8>>,
}

impl Verifier {
    /// Begins with the message's nonce, and the tag from its end.
    #[must_use]
    pub fn new(key: &[u8; 32], nonce: [u8; NONCE_LEN], tag: [u8; TAG_LEN]) -> Self {
        let (authentication, encryption) = derive(key, &nonce);
        Self {
            stream: key_stream(&encryption, &tag),
            digest: Polyval::new((&*authentication).into()),
            encryption,
            nonce,
            tag,
            partial: Zeroizing::default(),
            len: 0,
            piece: Zeroizing::new(Vec::with_capacity(PIECE)),
        }
    }

    /// Takes the next bytes of the ciphertext.
    ///
    /// # Errors
    /// [`TooLong`].
    pub fn update(&mut self, ciphertext: &[u8]) -> Result<(), TooLong> {
        for piece in ciphertext.chunks(PIECE) {
            if self.len + piece.len() as u64 > MAX_LEN {
                return Err(TooLong);
            }
            let mut plaintext = std::mem::take(&mut self.piece);
            plaintext.clear();
            plaintext.extend_from_slice(piece);
            let applied = self.stream.try_apply_keystream(&mut plaintext);
            self.absorb(&plaintext);
            self.piece = plaintext;
            applied.map_err(|_| TooLong)?;
        }
        Ok(())
    }

    fn absorb(&mut self, mut plaintext: &[u8]) {
        let begun = (self.len % BLOCK as u64) as usize;
        self.len += plaintext.len() as u64;
        if begun > 0 {
            let (head, rest) = plaintext.split_at((BLOCK - begun).min(plaintext.len()));
            self.partial[begun..begun + head.len()].copy_from_slice(head);
            if begun + head.len() < BLOCK {
                return;
            }
            self.digest.update(&[(*self.partial).into()]);
            plaintext = rest;
        }
        let (blocks, rest) = Block::slice_as_chunks(plaintext);
        self.digest.update(blocks);
        self.partial[..rest.len()].copy_from_slice(rest);
    }

    /// Whether the message is authentic: then what decrypts it.
    #[must_use]
    pub fn finish(mut self) -> Option<Decryptor> {
        let begun = (self.len % BLOCK as u64) as usize;
        if begun > 0 {
            self.partial[begun..].fill(0);
            self.digest.update(&[(*self.partial).into()]);
        }
        // Bits of associated data, of which there is none, and of plaintext.
        let mut lengths = [0; BLOCK];
        lengths[8..].copy_from_slice(&(self.len * 8).to_le_bytes());
        self.digest.update(&[lengths.into()]);
        let mut sum: [u8; BLOCK] = self.digest.finalize().into();
        for (byte, nonce) in sum.iter_mut().zip(self.nonce) {
            *byte ^= nonce;
        }
        sum[BLOCK - 1] &= 0x7f;
        let mut expected = sum.into();
        Aes256::new((&*self.encryption).into()).encrypt_block(&mut expected);
        sum.zeroize();
        let authentic = bool::from(expected[..].ct_eq(&self.tag));
        expected.zeroize();
        authentic.then_some(Decryptor {
            encryption: self.encryption,
            tag: self.tag,
        })
    }
}

/// Decrypts a message that has been checked.
pub struct Decryptor {
    encryption: Zeroizing<[u8; 32]>,
    tag: [u8; TAG_LEN],
}

impl Decryptor {
    /// Decrypts from a byte of the message on.
    ///
    /// # Errors
    /// [`TooLong`].
    pub fn from(&self, offset: u64) -> Result<Keystream, TooLong> {
        let mut stream = key_stream(&self.encryption, &self.tag);
        stream.try_seek(offset).map_err(|_| TooLong)?;
        Ok(Keystream(stream))
    }
}

/// The key stream of a message from some byte on.
pub struct Keystream(Ctr32LE<Aes256>);

impl Keystream {
    /// Turns the next bytes of the ciphertext into plaintext, in place.
    ///
    /// # Errors
    /// [`TooLong`].
    pub fn apply(&mut self, bytes: &mut [u8]) -> Result<(), TooLong> {
        self.0.try_apply_keystream(bytes).map_err(|_| TooLong)
    }
}

/// The keys of one message: for POLYVAL, and for AES (RFC 8452, section 4).
fn derive(
    key: &[u8; 32],
    nonce: &[u8; NONCE_LEN],
) -> (Zeroizing<[u8; BLOCK]>, Zeroizing<[u8; 32]>) {
    let cipher = Aes256::new(key.into());
    let mut derived = Zeroizing::new([0; 48]);
    for (counter, half) in (0_u32..).zip(derived.chunks_exact_mut(8)) {
        let mut block = [0; BLOCK];
        block[..4].copy_from_slice(&counter.to_le_bytes());
        block[4..].copy_from_slice(nonce);
        let mut block = block.into();
        cipher.encrypt_block(&mut block);
        half.copy_from_slice(&block[..8]);
        block.zeroize();
    }
    let mut authentication = Zeroizing::new([0; BLOCK]);
    let mut encryption = Zeroizing::new([0; 32]);
    authentication.copy_from_slice(&derived[..BLOCK]);
    encryption.copy_from_slice(&derived[BLOCK..]);
    (authentication, encryption)
}

/// The counter starts from the tag, its last bit set.
fn key_stream(encryption: &[u8; 32], tag: &[u8; TAG_LEN]) -> Ctr32LE<Aes256> {
    let mut counter = *tag;
    counter[BLOCK - 1] |= 0x80;
    Ctr32LE::new(encryption.into(), (&counter).into())
}

#[cfg(test)]
mod tests {
    use aes_gcm_siv::Aes256GcmSiv;
    use aes_gcm_siv::aead::{Aead, KeyInit as _};
    use proptest::prelude::*;

    use super::*;

    fn sealed(key: &[u8; 32], nonce: &[u8; NONCE_LEN], plaintext: &[u8]) -> (Vec<u8>, [u8; 16]) {
        let mut sealed = Aes256GcmSiv::new(key.into())
            .encrypt(nonce.into(), plaintext)
            .unwrap();
        let tag = sealed.split_off(plaintext.len());
        (sealed, tag.try_into().unwrap())
    }

    fn plaintext(len: usize) -> Vec<u8> {
        (0..len)
            .map(|i| (i * 131 + (i >> 8) * 17 + 7) as u8)
            .collect()
    }

    fn check(len: usize, piece: usize) {
        let (key, nonce) = ([len as u8; 32], [piece as u8; NONCE_LEN]);
        let plain = plaintext(len);
        let (ciphertext, tag) = sealed(&key, &nonce, &plain);
        let mut verifier = Verifier::new(&key, nonce, tag);
        for piece in ciphertext.chunks(piece) {
            verifier.update(piece).unwrap();
        }
        let decryptor = verifier.finish().expect("it is authentic");
        for offset in [0, 1, 15, 16, 17, len / 2, len.saturating_sub(1), len] {
            let offset = offset.min(len);
            let mut rest = ciphertext[offset..].to_vec();
            let mut stream = decryptor.from(offset as u64).unwrap();
            for piece in rest.chunks_mut(piece) {
                stream.apply(piece).unwrap();
            }
            assert!(rest == plain[offset..], "{len} from {offset} by {piece}");
        }
    }

    #[test]
    fn every_length_around_blocks_and_pieces_in_pieces_of_any_length() {
        for len in 0..=100 {
            for piece in [1, 7, 15, 16, 17, 31, 100] {
                check(len, piece);
            }
        }
        for around in [PIECE, 2 * PIECE, 64 * 1024] {
            for len in around - 17..=around + 17 {
                check(len, 4096 + len % 3);
            }
        }
    }

    proptest! {
        #[test]
        fn agrees_with_another_implementation(
            key: [u8; 32], nonce: [u8; 12], plain in prop::collection::vec(any::<u8>(), 0..2000),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6), flip: prop::sample::Index,
        ) {
            let (mut ciphertext, mut tag) = sealed(&key, &nonce, &plain);
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(plain.len() + 1)).collect();
            cuts.extend([0, plain.len()]);
            cuts.sort_unstable();
            let run = |ciphertext: &[u8], tag| {
                let mut verifier = Verifier::new(&key, nonce, tag);
                for pair in cuts.windows(2) {
                    verifier.update(&ciphertext[pair[0]..pair[1]]).unwrap();
                }
                verifier.finish()
            };
            let decryptor = run(&ciphertext, tag).expect("it is authentic");
            let mut opened = ciphertext.clone();
            decryptor.from(0).unwrap().apply(&mut opened).unwrap();
            prop_assert_eq!(&opened, &plain);

            let bit = flip.index((ciphertext.len() + TAG_LEN) * 8);
            match ciphertext.get_mut(bit / 8) {
                Some(byte) => *byte ^= 1 << (bit % 8),
                None => tag[bit / 8 - ciphertext.len()] ^= 1 << (bit % 8),
            }
            prop_assert!(run(&ciphertext, tag).is_none());
        }
    }

    /// The 32-bit counter wraps within its block (RFC 8452, section 4, and the vectors of its appendix C.3), which no
    /// message of a reasonable length but one whose tag begins so shows.
    #[test]
    fn the_counter_wraps_within_its_four_bytes() {
        let tag = [0xff; TAG_LEN];
        let decryptor = Decryptor {
            encryption: Zeroizing::new([5; 32]),
            tag,
        };
        let mut whole = vec![0; 64];
        decryptor.from(0).unwrap().apply(&mut whole).unwrap();
        let mut second = [0xff; BLOCK];
        second[..4].fill(0);
        let mut second = second.into();
        Aes256::new((&[5; 32]).into()).encrypt_block(&mut second);
        assert_eq!(whole[16..32], second[..]);
        let mut rest = vec![0; 40];
        decryptor.from(24).unwrap().apply(&mut rest).unwrap();
        assert_eq!(rest, whole[24..]);
    }

    #[test]
    fn too_long_is_an_error() {
        let mut verifier = Verifier::new(&[1; 32], [2; NONCE_LEN], [3; TAG_LEN]);
        verifier.len = MAX_LEN - 1;
        assert_eq!(verifier.update(&[0]), Ok(()));
        assert_eq!(verifier.update(&[0]), Err(TooLong));
    }
}
