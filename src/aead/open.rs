//! Opens the segments of a stream, in any order, in the caller's buffer.

use zeroize::Zeroize;

use super::nonce::nonce;
use super::{
    Cipher, CipherError, Dek, Engine, HeaderError, MAX_SEGMENTS, SegmentSize, StreamHeader, TAG_LEN,
};

/// Opens segments of one stream by their index. One that is opened is authentic as to content, place
/// and being the last or not; that no segment is missing is for the caller to see, by the
/// [layout](super::Layout).
#[derive(Debug)]
pub struct Opener {
    cipher: Box<dyn Cipher>,
    nonce_prefix: [u8; 7],
    segment_size: SegmentSize,
}

impl Opener {
    /// Prepares for a stream with this header, sealed with the same key, segment size and `aad`.
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
            nonce_prefix: header.nonce_prefix,
            segment_size,
        })
    }

    /// Verifies and decrypts one segment, given as `ciphertext ‖ tag`. The plaintext is what then
    /// stands in `segment[..n]`, with `n` returned.
    ///
    /// # Errors
    ///
    /// [`OpenError`]. The buffer is wiped then: no byte in it is plaintext.
    pub fn open_in_place(
        &self,
        index: u64,
        last: bool,
        segment: &mut [u8],
    ) -> Result<usize, OpenError> {
        self.nonce(index, last, segment.len())
            .and_then(|nonce| {
                self.cipher
                    .open(&nonce, b"", segment)
                    .map_err(|CipherError| OpenError::NotAuthentic { index })
            })
            .inspect_err(|_| segment.zeroize())
    }

    /// Verifies one segment, given as `ciphertext ‖ tag`, and decrypts it into `plaintext`, which has
    /// the length of the ciphertext.
    ///
    /// # Errors
    ///
    /// [`OpenError`]. `plaintext` is wiped then: no byte in it is plaintext.
    pub fn open_into(
        &self,
        index: u64,
        last: bool,
        segment: &[u8],
        plaintext: &mut [u8],
    ) -> Result<(), OpenError> {
        self.nonce(index, last, segment.len())
            .and_then(|nonce| {
                let (ciphertext, tag) = segment.split_last_chunk().ok_or(OpenError::Truncated)?;
                self.cipher
                    .open_into(&nonce, b"", ciphertext, tag, plaintext)
                    .map_err(|CipherError| OpenError::NotAuthentic { index })
            })
            .inspect_err(|_| plaintext.zeroize())
    }

    /// The nonce of a segment that has `found` bytes, its tag included.
    fn nonce(&self, index: u64, last: bool, found: usize) -> Result<[u8; 12], OpenError> {
        let capacity = self.segment_size.sealed_capacity(index);
        let nonce = nonce(self.nonce_prefix, index, last).ok_or(OpenError::Index(index))?;
        if found > capacity || (!last && found < capacity) {
            return Err(OpenError::Length { index, found });
        }
        if found < TAG_LEN {
            return Err(OpenError::Truncated);
        }
        if found == TAG_LEN && index > 0 {
            return Err(OpenError::EmptyLast);
        }
        Ok(nonce)
    }
}

/// A segment or stream that cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The stream does not begin as one.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The stream ends within its header or within a tag.
    #[error("the stream is cut short")]
    Truncated,
    /// A segment that is longer than the segment size, or shorter without being the last.
    #[error("segment {index} is {found} bytes long, which is not its size")]
    Length {
        /// Index of the segment.
        index: u64,
        /// Bytes that were given, the tag included.
        found: usize,
    },
    /// The last of several segments holds no plaintext. No writer makes one, and a plaintext has one
    /// encoding only.
    #[error("the last of several segments is empty")]
    EmptyLast,
    /// An index above 2³² − 1.
    #[error("segment {0}: a stream has at most {MAX_SEGMENTS}")]
    Index(u64),
    /// The tag does not fit: content, place, or being the last is not as it was sealed, or the key,
    /// the header or the associated data is another.
    #[error("segment {index} is not authentic")]
    NotAuthentic {
        /// Index of the segment.
        index: u64,
    },
    /// The cipher engine could not be set up.
    #[error(transparent)]
    Cipher(#[from] CipherError),
    /// The stream has failed before. The caller's fault: it went on after an error.
    #[error("the stream has failed already")]
    Failed,
}
