//! What the footer remembers of the plaintext for clients: ETag and checksum, as values.

/// The ETag that a client sees, as the footer holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Etag {
    /// The footer holds none.
    None,
    /// The MD5 of the plaintext, of an object of one stream.
    Md5([u8; 16]),
    /// The MD5 of the parts' MD5s, of an object in parts. Clients see it with `-` and the number of
    /// parts behind it.
    Multipart([u8; 16]),
}

impl Etag {
    /// The kind and the value as the footer encodes them. Stands on disk: may never change.
    pub(super) const fn encode(&self) -> (u8, [u8; 16]) {
        match self {
            Self::None => (0, [0; 16]),
            Self::Md5(md5) => (1, *md5),
            Self::Multipart(md5) => (2, *md5),
        }
    }

    /// Whether it is made of the parts' MD5s.
    pub(super) const fn is_of_parts(&self) -> bool {
        matches!(self, Self::Multipart(_))
    }
}

/// What an object's checksum is taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum ChecksumType {
    /// The whole plaintext.
    #[default]
    FullObject,
    /// The checksums of the parts, in order: of an object in parts only.
    Composite,
}

impl ChecksumType {
    /// The type's number in the footer. Stands on disk: may never change.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::FullObject => 1,
            Self::Composite => 2,
        }
    }
}

/// The algorithm of a checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ChecksumAlgorithm {
    /// CRC-32, as zlib computes it.
    Crc32,
    /// CRC-32 of Castagnoli.
    Crc32c,
    /// CRC-64 of NVM Express.
    Crc64Nvme,
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
}

impl ChecksumAlgorithm {
    /// Every algorithm.
    pub const ALL: [Self; 5] = [
        Self::Crc32,
        Self::Crc32c,
        Self::Crc64Nvme,
        Self::Sha1,
        Self::Sha256,
    ];

    /// The algorithm's number in the footer. Stands on disk: may never change.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Crc32 => 1,
            Self::Crc32c => 2,
            Self::Crc64Nvme => 3,
            Self::Sha1 => 4,
            Self::Sha256 => 5,
        }
    }

    /// The algorithm of a number; none where there is no such number.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.code() == code)
    }

    /// Bytes of a value.
    #[must_use]
    pub const fn value_len(self) -> usize {
        match self {
            Self::Crc32 | Self::Crc32c => 4,
            Self::Crc64Nvme => 8,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }
}

/// A checksum over a plaintext, or over the checksums of its parts.
///
/// Invariant: bytes behind the algorithm's value length are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checksum {
    algorithm: ChecksumAlgorithm,
    padded: [u8; 32],
}

impl Checksum {
    /// Takes the raw value, big-endian for the CRCs, as S3 has it before base64.
    ///
    /// # Errors
    ///
    /// [`ChecksumLengthError`] where the algorithm's values are not that long.
    pub fn new(algorithm: ChecksumAlgorithm, value: &[u8]) -> Result<Self, ChecksumLengthError> {
        if value.len() != algorithm.value_len() {
            return Err(ChecksumLengthError {
                algorithm,
                found: value.len(),
            });
        }
        let mut padded = [0; 32];
        padded[..value.len()].copy_from_slice(value);
        Ok(Self { algorithm, padded })
    }

    /// The algorithm.
    #[must_use]
    pub const fn algorithm(&self) -> ChecksumAlgorithm {
        self.algorithm
    }

    /// The raw value.
    #[must_use]
    pub fn value(&self) -> &[u8] {
        &self.padded[..self.algorithm.value_len()]
    }

    /// The value as the footer holds it.
    pub(super) const fn padded(&self) -> &[u8; 32] {
        &self.padded
    }

    /// The inverse of [`Checksum::padded`]; none where the padding is not zero.
    pub(super) fn from_padded(algorithm: ChecksumAlgorithm, padded: [u8; 32]) -> Option<Self> {
        padded[algorithm.value_len()..]
            .iter()
            .all(|&byte| byte == 0)
            .then_some(Self { algorithm, padded })
    }
}

/// A checksum value of the wrong length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{found} bytes are no {algorithm:?} value, which has {}", .algorithm.value_len())]
pub struct ChecksumLengthError {
    /// The algorithm.
    pub algorithm: ChecksumAlgorithm,
    /// The length of the value that was given, in bytes.
    pub found: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_round_trip() {
        for algorithm in ChecksumAlgorithm::ALL {
            assert_eq!(
                ChecksumAlgorithm::from_code(algorithm.code()),
                Some(algorithm)
            );
        }
        assert_eq!(ChecksumAlgorithm::from_code(0), None);
        assert_eq!(ChecksumAlgorithm::from_code(6), None);
    }

    #[test]
    fn length_and_padding_are_checked() {
        for algorithm in ChecksumAlgorithm::ALL {
            let n = algorithm.value_len();
            let checksum = Checksum::new(algorithm, &vec![7; n]).unwrap();
            assert_eq!(checksum.value(), vec![7; n]);
            assert_eq!(
                Checksum::from_padded(algorithm, *checksum.padded()),
                Some(checksum)
            );
            assert!(Checksum::new(algorithm, &vec![7; n + 1]).is_err());
        }
        assert_eq!(
            Checksum::from_padded(ChecksumAlgorithm::Crc32, [1; 32]),
            None
        );
    }
}
