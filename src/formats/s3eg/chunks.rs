//! Objects in chunks: each is a message of its own, and its nonce follows from its index.

use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::{Zeroize, Zeroizing};

use super::NONCE_LEN;
use crate::aead::{Cipher, TAG_LEN};
use crate::formats::Integrity;
use crate::formats::foreign::{Checker, Opener, Place, Verified};

/// What a derived nonce is for.
const NONCE_INFO: &[u8] = b"chunk-iv";

/// How the nonce of a chunk comes from that of the object.
#[derive(Clone, Copy)]
pub enum Nonces {
    /// HKDF-Expand.
    Derived,
    /// Exclusive or with the index.
    Counted,
}

/// How an object is cut in chunks.
#[derive(Clone, Copy)]
pub struct Chunks {
    /// Plaintext bytes of each but the last.
    pub size: u64,
    /// What the nonces come from.
    pub nonce: [u8; NONCE_LEN],
    /// How.
    pub nonces: Nonces,
}

impl Chunks {
    fn stored_size(&self) -> u64 {
        self.size + TAG_LEN as u64
    }

    /// Length of the plaintext of so many stored bytes, where there can be so many.
    pub fn plaintext_len(&self, stored_len: u64) -> Option<u64> {
        let whole = stored_len / self.stored_size();
        let last = match stored_len % self.stored_size() {
            0 => 0,
            // No chunk is empty.
            rest => rest.checked_sub(TAG_LEN as u64).filter(|&len| len > 0)?,
        };
        // Chunks are counted with 32 bits.
        u32::try_from(whole).ok()?;
        Some(whole * self.size + last)
    }

    fn nonce(&self, index: u32) -> [u8; NONCE_LEN] {
        let index = index.to_be_bytes();
        let mut nonce = self.nonce;
        match self.nonces {
            Nonces::Counted => {
                for (byte, index) in nonce[NONCE_LEN - 4..].iter_mut().zip(index) {
                    *byte ^= index;
                }
            }
            Nonces::Derived => {
                // HKDF-Expand's first block. The base is shorter than HKDF's own key would be.
                let mut block = [0; 64];
                block[..NONCE_LEN].copy_from_slice(&self.nonce);
                let mut mac = <Hmac<Sha256> as hmac::KeyInit>::new((&block).into());
                mac.update(NONCE_INFO);
                mac.update(&index);
                mac.update(&[1]);
                nonce.copy_from_slice(&mac.finalize().into_bytes()[..NONCE_LEN]);
            }
        }
        nonce
    }
}

/// Puts chunks together.
struct ChunkReader {
    chunks: Chunks,
    index: u32,
    /// Stored bytes of the object behind what has come.
    left: u64,
    chunk: Zeroizing<Vec<u8>>,
}

impl ChunkReader {
    /// From the chunk of that index on, which is there or just behind the last.
    fn new(chunks: Chunks, index: u32, stored_len: u64) -> Self {
        let before = u64::from(index) * chunks.stored_size();
        let left = stored_len.saturating_sub(before);
        // At most a mebibyte: the sizes are bounded. Not grown later, so that no copy stays behind.
        let most = chunks.stored_size().min(left);
        Self {
            chunks,
            index,
            left,
            chunk: Zeroizing::new(Vec::with_capacity(most as usize)),
        }
    }

    /// Takes from `stored` up to the end of a chunk. Its nonce once it is complete; it stands in `chunk`
    /// until [`ChunkReader::next`].
    fn take(&mut self, stored: &mut &[u8]) -> Option<[u8; NONCE_LEN]> {
        let missing = self.chunks.stored_size() - self.chunk.len() as u64;
        let n = missing.min(self.left).min(stored.len() as u64);
        let (head, rest) = stored.split_at(n as usize);
        *stored = rest;
        self.chunk.extend_from_slice(head);
        self.left -= n;
        let complete = n == missing || self.left == 0 && !self.chunk.is_empty();
        complete.then(|| self.chunks.nonce(self.index))
    }

    fn next(&mut self) {
        self.chunk.zeroize();
        self.index = self.index.wrapping_add(1);
    }
}

/// Checks an object in chunks.
pub struct ChunkCheck {
    candidates: Vec<Box<dyn Cipher>>,
    reader: ChunkReader,
    len: u64,
}

impl ChunkCheck {
    /// For an object under one of the `candidates`.
    pub fn new(
        candidates: Vec<Box<dyn Cipher>>,
        chunks: Chunks,
        stored_len: u64,
        len: u64,
    ) -> Self {
        Self {
            candidates,
            reader: ChunkReader::new(chunks, 0, stored_len),
            len,
        }
    }
}

impl Checker for ChunkCheck {
    fn update(&mut self, mut stored: &[u8]) -> Result<(), Integrity> {
        while !stored.is_empty() {
            if self.reader.left == 0 {
                return Err(Integrity::Trailing);
            }
            let Some(nonce) = self.reader.take(&mut stored) else {
                continue;
            };
            if self.candidates.len() > 1 {
                let opens = |cipher: &dyn Cipher| {
                    let mut copy = Zeroizing::new(self.reader.chunk.to_vec());
                    cipher.open(&nonce, &[], &mut copy).is_ok()
                };
                let found = self.candidates.iter().position(|cipher| opens(&**cipher));
                // None of the passwords opens the first chunk: it is another's, or the chunk was altered.
                let found = found.ok_or(Integrity::Segment)?;
                self.candidates = vec![self.candidates.swap_remove(found)];
            } else if let [cipher] = &self.candidates[..] {
                let opened = cipher.open(&nonce, &[], &mut self.reader.chunk);
                opened.map_err(|_| Integrity::Segment)?;
            }
            self.reader.next();
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<Box<dyn Verified>, Integrity> {
        if self.reader.left > 0 {
            return Err(Integrity::Truncated);
        }
        let chunks = self.reader.chunks;
        let cipher = self.candidates.pop().ok_or(Integrity::NoKey)?;
        Ok(Box::new(CheckedChunks {
            cipher: cipher.into(),
            chunks,
            len: self.len,
        }))
    }
}

struct CheckedChunks {
    cipher: Arc<dyn Cipher>,
    chunks: Chunks,
    len: u64,
}

impl Verified for CheckedChunks {
    fn opener(&self, plaintext: Range<u64>) -> Result<(Place, Box<dyn Opener>), Integrity> {
        if plaintext.start > plaintext.end || plaintext.end > self.len {
            return Err(Integrity::Length);
        }
        let (size, stored_size) = (self.chunks.size, self.chunks.stored_size());
        let stored_len = self.len + self.len.div_ceil(size) * TAG_LEN as u64;
        let first = plaintext.start / size;
        let start = (first * stored_size).min(stored_len);
        let (end, skip) = if plaintext.is_empty() {
            (start, 0)
        } else {
            let end = plaintext.end.div_ceil(size) * stored_size;
            (end.min(stored_len), plaintext.start - first * size)
        };
        let index = u32::try_from(first).map_err(|_| Integrity::Length)?;
        let opener = ChunkOpener {
            cipher: Arc::clone(&self.cipher),
            reader: ChunkReader::new(self.chunks, index, stored_len),
        };
        let place = Place {
            stored: start..end,
            skip,
        };
        Ok((place, Box::new(opener)))
    }
}

struct ChunkOpener {
    cipher: Arc<dyn Cipher>,
    reader: ChunkReader,
}

impl Opener for ChunkOpener {
    fn open(&mut self, stored: Bytes, plaintext: &mut BytesMut) -> Result<(), Integrity> {
        let mut stored = &stored[..];
        while !stored.is_empty() {
            if self.reader.left == 0 {
                return Err(Integrity::Trailing);
            }
            let Some(nonce) = self.reader.take(&mut stored) else {
                continue;
            };
            let len = self.cipher.open(&nonce, &[], &mut self.reader.chunk);
            let len = len.map_err(|_| Integrity::Segment)?;
            plaintext.extend_from_slice(&self.reader.chunk[..len]);
            self.reader.next();
        }
        Ok(())
    }
}
