//! The envelope: an object's data key, wrapped for each recipient.

use std::num::NonZeroU32;

use super::RecipientKind;
use super::reader::Reader;
use crate::aead::{FORMAT_VERSION, MAX_ENVELOPE_LEN, ObjectId};
use crate::keys::KeyId;

/// Recipients of one envelope, at most. Stands on disk: may never change.
pub const MAX_RECIPIENTS: usize = 8;
/// Bytes of one wrapped key, at most. Stands on disk: may never change.
pub const MAX_WRAPPED_LEN: usize = 384;
/// The first byte of an envelope. Stands on disk: may never change its meaning.
const VERSION: u8 = 1;

/// Who can open an object. Any one recipient can.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The object's id.
    pub object_id: ObjectId,
    /// 1 to 8 of them, no two for the same version of the same key.
    pub recipients: Vec<Recipient>,
}

/// One way to the data key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// The kind of the key; one that this version does not know is skipped.
    pub kind: RecipientKind,
    /// The key's name.
    pub key_id: KeyId,
    /// The key's version.
    pub key_version: NonZeroU32,
    /// The data key as the key wrapped it: 1 to 384 bytes.
    pub wrapped: Vec<u8>,
}

impl Envelope {
    /// The envelope's bytes.
    ///
    /// # Errors
    ///
    /// [`EnvelopeError`] where the fields are not as the format allows them.
    pub fn encode(&self) -> Result<Vec<u8>, EnvelopeError> {
        let mut bytes = Vec::with_capacity(128);
        bytes.push(VERSION);
        bytes.extend_from_slice(&FORMAT_VERSION.to_be_bytes());
        bytes.extend_from_slice(self.object_id.as_bytes());
        bytes.push(u8::try_from(self.recipients.len()).unwrap_or(u8::MAX));
        for recipient in &self.recipients {
            let (id, wrapped) = (recipient.key_id.as_str(), &recipient.wrapped);
            let wrapped_len = u16::try_from(wrapped.len()).unwrap_or(u16::MAX);
            bytes.push(recipient.kind.code());
            bytes.push(u8::try_from(id.len()).unwrap_or(u8::MAX));
            bytes.extend_from_slice(id.as_bytes());
            bytes.extend_from_slice(&recipient.key_version.get().to_be_bytes());
            bytes.extend_from_slice(&wrapped_len.to_be_bytes());
            bytes.extend_from_slice(wrapped);
        }
        // What is written is what can be read, by construction.
        Self::decode(&bytes).map(|_| bytes)
    }

    /// Reads an envelope, strictly. It is not authenticated by that.
    ///
    /// # Errors
    ///
    /// [`EnvelopeError`] for whatever this version does not know or allow.
    pub fn decode(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        if bytes.len() > MAX_ENVELOPE_LEN {
            return Err(EnvelopeError::TooLong(bytes.len()));
        }
        let mut reader = Reader(bytes);
        let version = reader.u8().ok_or(EnvelopeError::Truncated)?;
        if version != VERSION {
            return Err(EnvelopeError::Version(version));
        }
        let format = reader.u16().ok_or(EnvelopeError::Truncated)?;
        if format != FORMAT_VERSION {
            return Err(EnvelopeError::FormatVersion(format));
        }
        let object_id = ObjectId(reader.array().ok_or(EnvelopeError::Truncated)?);
        let count = reader.u8().ok_or(EnvelopeError::Truncated)?;
        if !(1..=MAX_RECIPIENTS).contains(&usize::from(count)) {
            return Err(EnvelopeError::Count(count));
        }
        let mut recipients: Vec<Recipient> = Vec::with_capacity(usize::from(count));
        for _ in 0..count {
            let recipient = Recipient::decode(&mut reader)?;
            if recipients.iter().any(|other| other.same_key(&recipient)) {
                return Err(EnvelopeError::Duplicate);
            }
            recipients.push(recipient);
        }
        if !reader.is_empty() {
            return Err(EnvelopeError::Trailing);
        }
        Ok(Self {
            object_id,
            recipients,
        })
    }
}

impl Recipient {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, EnvelopeError> {
        let kind = RecipientKind::from_code(reader.u8().ok_or(EnvelopeError::Truncated)?);
        let id_len = reader.u8().ok_or(EnvelopeError::Truncated)?;
        let id = reader
            .bytes(id_len.into())
            .ok_or(EnvelopeError::Truncated)?;
        let id = std::str::from_utf8(id).map_err(|_| EnvelopeError::KeyId)?;
        let version = reader.u32().ok_or(EnvelopeError::Truncated)?;
        let wrapped_len = reader.u16().ok_or(EnvelopeError::Truncated)?;
        if !(1..=MAX_WRAPPED_LEN).contains(&usize::from(wrapped_len)) {
            return Err(EnvelopeError::WrappedLength(wrapped_len));
        }
        let wrapped = reader.bytes(wrapped_len.into());
        Ok(Self {
            kind,
            key_id: KeyId::new(id).map_err(|_| EnvelopeError::KeyId)?,
            key_version: NonZeroU32::new(version).ok_or(EnvelopeError::KeyVersion)?,
            wrapped: wrapped.ok_or(EnvelopeError::Truncated)?.to_vec(),
        })
    }

    fn same_key(&self, other: &Self) -> bool {
        (self.kind, &self.key_id, self.key_version)
            == (other.kind, &other.key_id, other.key_version)
    }
}

/// An envelope that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// Longer than 430 bytes.
    #[error("envelope of {0} bytes: at most 430 are allowed")]
    TooLong(usize),
    /// It ends within a field.
    #[error("the envelope is cut short")]
    Truncated,
    /// Bytes after the last recipient.
    #[error("bytes follow the envelope's last recipient")]
    Trailing,
    /// An envelope version that this reader does not know.
    #[error("envelope version {0}: this reader knows version 1 only")]
    Version(u8),
    /// A format version that this reader does not know.
    #[error("format version {0} in the envelope: this reader knows version 1 only")]
    FormatVersion(u16),
    /// No recipient, or more than 8.
    #[error("envelope with {0} recipients: 1 to 8 are allowed")]
    Count(u8),
    /// A key name that is empty, too long, or of other characters than the format allows.
    #[error("the envelope names a key by what is no key name")]
    KeyId,
    /// A key version of 0.
    #[error("the envelope names version 0 of a key")]
    KeyVersion,
    /// A wrapped key that is empty or too long.
    #[error("wrapped key of {0} bytes: 1 to 384 are allowed")]
    WrappedLength(u16),
    /// Two recipients for the same version of the same key.
    #[error("the envelope has two recipients for the same key")]
    Duplicate,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn recipient(kind: u8, id: &str, version: u32, wrapped: &[u8]) -> Recipient {
        Recipient {
            kind: RecipientKind::from_code(kind),
            key_id: KeyId::new(id).unwrap(),
            key_version: NonZeroU32::new(version).unwrap(),
            wrapped: wrapped.to_vec(),
        }
    }

    fn envelope(recipients: Vec<Recipient>) -> Envelope {
        Envelope {
            object_id: ObjectId([7; 16]),
            recipients,
        }
    }

    fn two() -> Envelope {
        envelope(vec![
            recipient(1, "main", 1, &[1; 40]),
            recipient(9, "x", 2, &[2]),
        ])
    }

    fn with(at: usize, byte: u8) -> Result<Envelope, EnvelopeError> {
        let mut bytes = two().encode().unwrap();
        bytes[at] = byte;
        Envelope::decode(&bytes)
    }

    #[test]
    fn the_bytes_are_those_of_the_specification() {
        let bytes = envelope(vec![recipient(1, "main", 3, &[9, 9])])
            .encode()
            .unwrap();
        let expected = [
            &[1, 0, 1][..],
            &[7; 16],
            &[1, 1, 4],
            b"main",
            &[0, 0, 0, 3, 0, 2, 9, 9],
        ];
        assert_eq!(bytes, expected.concat());
    }

    #[test]
    fn round_trips_also_with_kinds_it_does_not_know() {
        assert_eq!(Envelope::decode(&two().encode().unwrap()), Ok(two()));
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        assert_eq!(with(0, 2), Err(EnvelopeError::Version(2)));
        assert_eq!(with(2, 2), Err(EnvelopeError::FormatVersion(2)));
        assert_eq!(with(19, 0), Err(EnvelopeError::Count(0)));
        assert_eq!(with(19, 9), Err(EnvelopeError::Count(9)));
        assert_eq!(with(19, 1), Err(EnvelopeError::Trailing));
        assert_eq!(with(19, 3), Err(EnvelopeError::Truncated));
        assert_eq!(with(22, b'/'), Err(EnvelopeError::KeyId));
        assert_eq!(with(29, 0), Err(EnvelopeError::KeyVersion));
        assert_eq!(with(31, 0), Err(EnvelopeError::WrappedLength(0)));
        assert_eq!(with(30, 2), Err(EnvelopeError::WrappedLength(552)));
    }

    #[test]
    fn every_truncation_is_refused() {
        let bytes = two().encode().unwrap();
        for len in 0..bytes.len() {
            assert_eq!(
                Envelope::decode(&bytes[..len]),
                Err(EnvelopeError::Truncated)
            );
        }
    }

    #[test]
    fn writes_only_what_can_be_read() {
        let one = recipient(1, "a", 1, &[1; 40]);
        let twice = envelope(vec![one.clone(), one.clone()]);
        assert_eq!(twice.encode(), Err(EnvelopeError::Duplicate));
        assert_eq!(envelope(vec![]).encode(), Err(EnvelopeError::Count(0)));
        let nine = (1..=9).map(|version| recipient(1, "a", version, &[1]));
        assert_eq!(
            envelope(nine.collect()).encode(),
            Err(EnvelopeError::Count(9))
        );
        let long = recipient(1, "a", 1, &[1; 400]);
        assert!(envelope(vec![long]).encode().is_err());
        let full = recipient(1, &"k".repeat(18), 1, &[1; 384]);
        assert_eq!(envelope(vec![full]).encode().unwrap().len(), 430);
        let over = recipient(1, &"k".repeat(19), 1, &[1; 384]);
        assert_eq!(
            envelope(vec![over]).encode(),
            Err(EnvelopeError::TooLong(431))
        );
    }

    proptest! {
        #[test]
        fn is_canonical(mut bytes in prop::collection::vec(any::<u8>(), 0..100), head in 0usize..4) {
            // Noise alone hardly ever decodes: begin like the real thing.
            let real = two().encode().unwrap();
            let keep = [0, 20, 30, 60][head];
            bytes.splice(0..0, real[..keep].iter().copied());
            if let Ok(decoded) = Envelope::decode(&bytes) {
                prop_assert_eq!(decoded.encode().unwrap(), bytes);
            }
        }

        #[test]
        fn one_changed_byte_changes_the_value(at in any::<prop::sample::Index>(), byte: u8) {
            let mut bytes = two().encode().unwrap();
            let at = at.index(bytes.len());
            prop_assume!(bytes[at] != byte);
            bytes[at] = byte;
            prop_assert_ne!(Envelope::decode(&bytes), Ok(two()));
        }
    }
}
