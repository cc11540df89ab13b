//! The sums of plaintext that is recovered, held against what footer and part table say of it.

use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::aead::{Checksum, ChecksumAlgorithm};

/// The sums that are expected of a plaintext, and those of what has passed.
pub(super) struct Hashes {
    md5: Option<(Md5, [u8; 16])>,
    checksum: Option<(Option<Hash>, Checksum)>,
}

/// Which sum is not the expected one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WrongSum {
    Md5,
    Checksum(ChecksumAlgorithm),
}

enum Hash {
    Crc(ChecksumAlgorithm, crc_fast::Digest),
    Sha1(Sha1),
    Sha256(Sha256),
}

impl Hashes {
    pub(super) fn new(md5: Option<[u8; 16]>, checksum: Option<Checksum>) -> Self {
        Self {
            md5: md5.map(|expected| (Md5::new(), expected)),
            checksum: checksum.map(|expected| (Hash::new(expected.algorithm()), expected)),
        }
    }

    pub(super) fn update(&mut self, plaintext: &[u8]) {
        if let Some((md5, _)) = &mut self.md5 {
            md5.update(plaintext);
        }
        match &mut self.checksum {
            None | Some((None, _)) => {}
            Some((Some(Hash::Crc(_, digest)), _)) => digest.update(plaintext),
            Some((Some(Hash::Sha1(digest)), _)) => digest.update(plaintext),
            Some((Some(Hash::Sha256(digest)), _)) => digest.update(plaintext),
        }
    }

    pub(super) fn verify(self) -> Result<(), WrongSum> {
        if let Some((md5, expected)) = self.md5
            && md5.finalize()[..] != expected
        {
            return Err(WrongSum::Md5);
        }
        let Some((hash, expected)) = self.checksum else {
            return Ok(());
        };
        if hash.and_then(Hash::finish) == Some(expected) {
            Ok(())
        } else {
            Err(WrongSum::Checksum(expected.algorithm()))
        }
    }
}

impl Hash {
    /// None for an algorithm that is not known here, which then does not verify.
    fn new(algorithm: ChecksumAlgorithm) -> Option<Self> {
        use crc_fast::CrcAlgorithm::{Crc32Iscsi, Crc32IsoHdlc, Crc64Nvme};
        let crc = |parameters| Self::Crc(algorithm, crc_fast::Digest::new(parameters));
        match algorithm {
            ChecksumAlgorithm::Crc32 => Some(crc(Crc32IsoHdlc)),
            ChecksumAlgorithm::Crc32c => Some(crc(Crc32Iscsi)),
            ChecksumAlgorithm::Crc64Nvme => Some(crc(Crc64Nvme)),
            ChecksumAlgorithm::Sha1 => Some(Self::Sha1(Sha1::new())),
            ChecksumAlgorithm::Sha256 => Some(Self::Sha256(Sha256::new())),
        }
    }

    fn finish(self) -> Option<Checksum> {
        match self {
            Self::Crc(algorithm, digest) => {
                let value = digest.finalize().to_be_bytes();
                let start = value.len().checked_sub(algorithm.value_len())?;
                Checksum::new(algorithm, &value[start..]).ok()
            }
            Self::Sha1(digest) => Checksum::new(ChecksumAlgorithm::Sha1, &digest.finalize()).ok(),
            Self::Sha256(digest) => {
                Checksum::new(ChecksumAlgorithm::Sha256, &digest.finalize()).ok()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_their_check_values() {
        for (algorithm, value) in [
            (ChecksumAlgorithm::Crc32, &[0xcb, 0xf4, 0x39, 0x26][..]),
            (ChecksumAlgorithm::Crc32c, &[0xe3, 0x06, 0x92, 0x83]),
            (
                ChecksumAlgorithm::Crc64Nvme,
                &[0xae, 0x8b, 0x14, 0x86, 0x0a, 0x79, 0x98, 0x88],
            ),
        ] {
            let expected = Checksum::new(algorithm, value).unwrap();
            let mut hashes = Hashes::new(None, Some(expected));
            hashes.update(b"123");
            hashes.update(b"456789");
            assert_eq!(hashes.verify(), Ok(()), "{algorithm:?}");
            let mut hashes = Hashes::new(None, Some(expected));
            hashes.update(b"12345678");
            assert_eq!(hashes.verify(), Err(WrongSum::Checksum(algorithm)));
        }
    }
}
