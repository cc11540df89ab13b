//! Seals a stream segment by segment, in the caller's buffer.

use super::nonce::NonceSequence;
use super::{
    Cipher, CipherError, Dek, Engine, STREAM_HEADER_LEN, SegmentSize, StreamHeader, TAG_LEN,
};

/// Seals the segments of one stream, in order.
///
/// Write [`Sealer::header`] first. Then, for each segment: fill a buffer with [`Sealer::capacity`]
/// plaintext bytes (fewer only in the last one, which is empty only where the whole plaintext is),
/// [seal it in place](Sealer::seal_in_place) and write it, followed by the tag.
#[derive(Debug)]
pub struct Sealer {
    cipher: Box<dyn Cipher>,
    header: StreamHeader,
    segment_size: SegmentSize,
    nonces: NonceSequence,
}

impl Sealer {
    /// Begins a stream. The header's values must be fresh; `aad` is the encoded core of the object's
    /// preamble, or whatever else the reader will know.
    ///
    /// # Errors
    ///
    /// [`CipherError`] where the engine cannot set the key up.
    pub fn new(
        engine: Engine,
        dek: &Dek,
        header: &StreamHeader,
        segment_size: SegmentSize,
        aad: &[u8],
    ) -> Result<Self, CipherError> {
        Ok(Self {
            cipher: engine.cipher(&dek.stream_key(&header.salt, aad))?,
            header: *header,
            segment_size,
            nonces: NonceSequence::new(header.nonce_prefix),
        })
    }

    /// The bytes that the stream begins with.
    #[must_use]
    pub fn header(&self) -> [u8; STREAM_HEADER_LEN] {
        self.header.encode()
    }

    /// Plaintext bytes that the next segment takes.
    #[must_use]
    pub const fn capacity(&self) -> usize {
        self.segment_size.plaintext_capacity(self.nonces.index())
    }

    /// Whether the last segment was sealed.
    #[must_use]
    pub const fn finished(&self) -> bool {
        self.nonces.finished()
    }

    /// Encrypts the next segment where it stands and returns the tag, which follows it in the stream.
    ///
    /// # Errors
    ///
    /// [`SealError`]. The plaintext is untouched and the stream can go on, unless it was
    /// [`SealError::Cipher`]: then the buffer is wiped and the segment's nonce is spent, so the
    /// stream must be given up.
    pub fn seal_in_place(
        &mut self,
        plaintext: &mut [u8],
        last: bool,
    ) -> Result<[u8; TAG_LEN], SealError> {
        let nonce = self.next(plaintext.len(), last)?;
        Ok(self.cipher.seal(&nonce, b"", plaintext)?)
    }

    /// Encrypts the next segment into `ciphertext`, which must be as long, and returns the tag.
    ///
    /// # Errors
    ///
    /// As [`Sealer::seal_in_place`]; what is wiped is `ciphertext`.
    pub fn seal_into(
        &mut self,
        plaintext: &[u8],
        ciphertext: &mut [u8],
        last: bool,
    ) -> Result<[u8; TAG_LEN], SealError> {
        let nonce = self.next(plaintext.len(), last)?;
        Ok(self.cipher.seal_into(&nonce, b"", plaintext, ciphertext)?)
    }

    /// The nonce of the next segment, which has `found` bytes. It is spent.
    fn next(&mut self, found: usize, last: bool) -> Result<[u8; 12], SealError> {
        let capacity = self.capacity();
        if self.finished() {
            return Err(SealError::AfterLast);
        }
        if found > capacity || (!last && found < capacity) {
            return Err(SealError::Length { capacity, found });
        }
        if last && found == 0 && self.nonces.index() > 0 {
            return Err(SealError::EmptyLast);
        }
        self.nonces.take(last).ok_or(SealError::TooManySegments)
    }

    #[cfg(test)]
    pub(super) const fn skip_to(&mut self, index: u64) {
        self.nonces.skip_to(index);
    }
}

/// A segment that cannot be sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// A segment that is longer than its capacity, or shorter without being the last. The caller's
    /// fault.
    #[error("a segment of {found} bytes where {capacity} belong")]
    Length {
        /// Plaintext bytes of this segment when it is full.
        capacity: usize,
        /// Plaintext bytes that were given.
        found: usize,
    },
    /// The last of several segments has no plaintext: the one before it should have been the last.
    /// The caller's fault.
    #[error("the last of several segments is empty")]
    EmptyLast,
    /// The stream has ended already. The caller's fault.
    #[error("a segment after the last")]
    AfterLast,
    /// The stream has 2³² segments: the plaintext is too long.
    #[error("the plaintext is too long for one stream")]
    TooManySegments,
    /// The cipher engine failed.
    #[error(transparent)]
    Cipher(#[from] CipherError),
}

#[cfg(test)]
mod tests {
    use super::super::MAX_SEGMENTS;
    use super::*;

    const HEADER: StreamHeader = StreamHeader {
        salt: [1; 32],
        nonce_prefix: [2; 7],
    };

    fn sealer() -> Sealer {
        let dek = Dek::new([3; 32]);
        Sealer::new(Engine::AwsLc, &dek, &HEADER, SegmentSize::MIN, b"core").unwrap()
    }

    #[test]
    fn segments_must_be_full() {
        let mut sealer = sealer();
        let wrong = |capacity, found| Err(SealError::Length { capacity, found });
        assert_eq!(
            sealer.seal_in_place(&mut [0; 4_039], false),
            wrong(4_040, 4_039)
        );
        assert_eq!(
            sealer.seal_in_place(&mut [0; 4_041], true),
            wrong(4_040, 4_041)
        );
        assert!(sealer.seal_in_place(&mut [0; 4_040], false).is_ok());
        assert_eq!(sealer.capacity(), 4_080);
        assert_eq!(
            sealer.seal_in_place(&mut [0; 4_081], true),
            wrong(4_080, 4_081)
        );
        assert_eq!(
            sealer.seal_in_place(&mut [], true),
            Err(SealError::EmptyLast)
        );
        assert!(sealer.seal_in_place(&mut [0; 1], true).is_ok());
        assert!(sealer.finished());
        assert_eq!(
            sealer.seal_in_place(&mut [0; 1], true),
            Err(SealError::AfterLast)
        );
    }

    #[test]
    fn the_counter_ends_with_an_error() {
        let mut sealer = sealer();
        sealer.skip_to(MAX_SEGMENTS - 1);
        assert!(sealer.seal_in_place(&mut [0; 4_080], false).is_ok());
        for last in [false, true] {
            assert_eq!(
                sealer.seal_in_place(&mut [0; 4_080], last),
                Err(SealError::TooManySegments)
            );
        }
    }
}
