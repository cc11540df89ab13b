//! The info record: what was known of an object before its body was sent.

use subtle::ConstantTimeEq;

use super::metadata_digest;
use super::reader::Reader;
use crate::aead::{Etag, Footer};

/// Bytes of an info record. Stands on disk: may never change.
const LEN: usize = 58;
/// The first byte of an info record. Stands on disk: may never change its meaning.
const VERSION: u8 = 1;
/// The plaintext length is known. Stands on disk: may never change its meaning.
const HAS_LEN: u8 = 0x01;
/// The MD5 is known. Stands on disk: may never change its meaning.
const HAS_MD5: u8 = 0x02;
/// The metadata is bound. Stands on disk: may never change its meaning.
const HAS_METADATA: u8 = 0x04;

/// What the metadata says of an object; authentic once the record's tag has verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Info {
    /// Plaintext bytes of the object, where that was known.
    pub plaintext_len: Option<u64>,
    /// MD5 of the plaintext, where that was known.
    pub md5: Option<[u8; 16]>,
    /// [`metadata_digest`] of the object's headers, where they are bound.
    pub metadata_digest: Option<[u8; 32]>,
}

impl Info {
    /// The record's bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; LEN] {
        let flag = |known: bool, flag: u8| if known { flag } else { 0 };
        let mut bytes = [0; LEN];
        bytes[0] = VERSION;
        bytes[1] = flag(self.plaintext_len.is_some(), HAS_LEN)
            | flag(self.md5.is_some(), HAS_MD5)
            | flag(self.metadata_digest.is_some(), HAS_METADATA);
        bytes[2..10].copy_from_slice(&self.plaintext_len.unwrap_or(0).to_be_bytes());
        bytes[10..26].copy_from_slice(&self.md5.unwrap_or([0; 16]));
        bytes[26..].copy_from_slice(&self.metadata_digest.unwrap_or([0; 32]));
        bytes
    }

    /// Reads a record, strictly. It is not authenticated by that.
    ///
    /// # Errors
    ///
    /// [`InfoError`] for whatever this version does not know or allow.
    pub fn decode(bytes: &[u8]) -> Result<Self, InfoError> {
        let mut reader = Reader(bytes);
        let wrong_length = InfoError::Length(bytes.len());
        let version = reader.u8().ok_or(wrong_length)?;
        if version != VERSION {
            return Err(InfoError::Version(version));
        }
        let flags = reader.u8().ok_or(wrong_length)?;
        if flags & !(HAS_LEN | HAS_MD5 | HAS_METADATA) != 0 {
            return Err(InfoError::Flags(flags));
        }
        let info = Self {
            plaintext_len: field(flags & HAS_LEN, reader.u64().ok_or(wrong_length)?, 0)?,
            md5: field(
                flags & HAS_MD5,
                reader.array().ok_or(wrong_length)?,
                [0; 16],
            )?,
            metadata_digest: field(
                flags & HAS_METADATA,
                reader.array().ok_or(wrong_length)?,
                [0; 32],
            )?,
        };
        if reader.is_empty() {
            Ok(info)
        } else {
            Err(wrong_length)
        }
    }

    /// Checks the headers that the store returned, in constant time, where they are bound. Headers
    /// that are not bound may be among them.
    ///
    /// # Errors
    ///
    /// [`InfoMismatch::Metadata`].
    pub fn verify_metadata<N, V>(
        &self,
        headers: impl IntoIterator<Item = (N, V)>,
    ) -> Result<(), InfoMismatch>
    where
        N: AsRef<str>,
        V: AsRef<[u8]>,
    {
        match self.metadata_digest {
            Some(bound) if !bool::from(bound.ct_eq(&metadata_digest(headers))) => {
                Err(InfoMismatch::Metadata)
            }
            _ => Ok(()),
        }
    }

    /// Checks an opened footer.
    ///
    /// # Errors
    ///
    /// [`InfoMismatch::PlaintextLength`], [`InfoMismatch::Md5`].
    pub fn verify_footer(&self, footer: &Footer) -> Result<(), InfoMismatch> {
        if self
            .plaintext_len
            .is_some_and(|len| len != footer.plaintext_len)
        {
            return Err(InfoMismatch::PlaintextLength);
        }
        if self.md5.is_some_and(|md5| footer.etag != Etag::Md5(md5)) {
            return Err(InfoMismatch::Md5);
        }
        Ok(())
    }
}

fn field<T: PartialEq>(flag: u8, value: T, zero: T) -> Result<Option<T>, InfoError> {
    match (flag != 0, value == zero) {
        (true, _) => Ok(Some(value)),
        (false, true) => Ok(None),
        (false, false) => Err(InfoError::NotZero),
    }
}

/// An info record that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InfoError {
    /// Another length than 58 bytes.
    #[error("info record of {0} bytes: it has 58")]
    Length(usize),
    /// A version that this reader does not know.
    #[error("info version {0}: this reader knows version 1 only")]
    Version(u8),
    /// Flags that this reader does not know.
    #[error("info flags {0:#04x}: this reader knows 01, 02 and 04 only")]
    Flags(u8),
    /// A field whose flag is not set is not zero.
    #[error("a field of the info record stands without its flag")]
    NotZero,
}

/// An authentic info record that the rest of the object does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InfoMismatch {
    /// A bound header was changed, added or removed.
    #[error("the object's headers are not those that it was written with")]
    Metadata,
    /// The footer has another plaintext length.
    #[error("metadata and footer differ about the plaintext length")]
    PlaintextLength,
    /// The footer has another MD5, or none.
    #[error("metadata and footer differ about the MD5")]
    Md5,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn is_strict() {
        let full = Info {
            plaintext_len: Some(0),
            md5: Some([0; 16]),
            metadata_digest: Some([0; 32]),
        };
        assert_eq!(full.encode()[1], 7);
        assert_eq!(Info::decode(&full.encode()), Ok(full));
        let with = |at: usize, byte: u8| {
            let mut bytes = Info::default().encode();
            bytes[at] = byte;
            Info::decode(&bytes)
        };
        assert_eq!(with(0, 0), Err(InfoError::Version(0)));
        assert_eq!(with(1, 8), Err(InfoError::Flags(8)));
        for at in 2..LEN {
            assert_eq!(with(at, 1), Err(InfoError::NotZero));
        }
        let bytes = full.encode();
        for len in 0..LEN {
            assert_eq!(Info::decode(&bytes[..len]), Err(InfoError::Length(len)));
        }
        let longer = [&bytes[..], &[0]].concat();
        assert_eq!(Info::decode(&longer), Err(InfoError::Length(59)));
    }

    #[test]
    fn checks_headers_only_where_bound() {
        let headers = [("content-type", "text/plain"), ("etag", "x")];
        let changed = [("content-type", "text/html")];
        let bound = Info {
            metadata_digest: Some(metadata_digest(headers)),
            ..Info::default()
        };
        assert_eq!(bound.verify_metadata(headers), Ok(()));
        assert_eq!(bound.verify_metadata(changed), Err(InfoMismatch::Metadata));
        assert_eq!(Info::default().verify_metadata(changed), Ok(()));
    }

    proptest! {
        #[test]
        fn round_trips(plaintext_len: Option<u64>, md5: Option<[u8; 16]>, metadata_digest: Option<[u8; 32]>) {
            let info = Info { plaintext_len, md5, metadata_digest };
            prop_assert_eq!(Info::decode(&info.encode()), Ok(info));
        }

        #[test]
        fn is_canonical(mut bytes in prop::collection::vec(any::<u8>(), LEN), flags in 0u8..16) {
            (bytes[0], bytes[1]) = (VERSION, flags);
            if let Ok(info) = Info::decode(&bytes) {
                prop_assert_eq!(info.encode().to_vec(), bytes);
            }
        }
    }
}
