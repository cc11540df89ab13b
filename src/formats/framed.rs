//! The frame of bodies in one piece: `nonce[12] ‖ ciphertext ‖ tag[16]`, taken apart while it passes in pieces of any length.

use super::Integrity;

/// Bytes of the nonce before the ciphertext.
pub const NONCE_LEN: usize = 12;
/// Bytes of the tag behind it.
pub const TAG_LEN: usize = 16;
/// Bytes that a body is longer than its ciphertext.
pub const OVERHEAD: u64 = (NONCE_LEN + TAG_LEN) as u64;

const HEAD: u64 = NONCE_LEN as u64;

/// How far a body has passed.
pub struct Framed {
    /// Bytes of ciphertext.
    len: u64,
    /// Stored bytes so far.
    at: u64,
    nonce: [u8; NONCE_LEN],
    tag: [u8; TAG_LEN],
}

impl Framed {
    /// Before the first byte of a body with so many bytes of ciphertext.
    pub fn new(len: u64) -> Self {
        Self {
            len,
            at: 0,
            nonce: [0; NONCE_LEN],
            tag: [0; TAG_LEN],
        }
    }

    /// Bytes of ciphertext.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Takes the next stored bytes. Once the nonce is there, `ciphertext` is given it and what of the ciphertext came,
    /// which may be nothing.
    ///
    /// # Errors
    /// [`Integrity::Trailing`] for bytes behind the tag, and those of `ciphertext`.
    pub fn update(
        &mut self,
        mut stored: &[u8],
        ciphertext: impl FnOnce(&[u8; NONCE_LEN], &[u8]) -> Result<(), Integrity>,
    ) -> Result<(), Integrity> {
        let body_end = HEAD + self.len;
        if self.at < HEAD {
            let at = self.at as usize;
            let head = self.take(&mut stored, HEAD);
            self.nonce[at..at + head.len()].copy_from_slice(head);
        }
        if self.at >= HEAD {
            let taken = self.take(&mut stored, body_end);
            ciphertext(&self.nonce, taken)?;
        }
        if self.at >= body_end {
            let at = (self.at - body_end) as usize;
            let tag = self.take(&mut stored, body_end + TAG_LEN as u64);
            self.tag[at..at + tag.len()].copy_from_slice(tag);
        }
        if stored.is_empty() {
            Ok(())
        } else {
            Err(Integrity::Trailing)
        }
    }

    /// Nonce and tag, once all has passed.
    ///
    /// # Errors
    /// [`Integrity::Truncated`].
    pub fn finish(&self) -> Result<(&[u8; NONCE_LEN], &[u8; TAG_LEN]), Integrity> {
        if self.at == self.len + OVERHEAD {
            Ok((&self.nonce, &self.tag))
        } else {
            Err(Integrity::Truncated)
        }
    }

    /// The next bytes of `stored` before offset `end`.
    fn take<'s>(&mut self, stored: &mut &'s [u8], end: u64) -> &'s [u8] {
        let n = end.saturating_sub(self.at).min(stored.len() as u64);
        let (head, rest) = stored.split_at(n as usize);
        *stored = rest;
        self.at += n;
        head
    }
}
