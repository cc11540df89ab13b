//! The 512 bytes that begin an object: the core, which every segment authenticates, and the envelope
//! as it was when the object was written.

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{
    Dek, FORMAT_VERSION, Layout, LayoutError, ObjectId, PartNumber, SUITE, SegmentSize,
    SegmentSizeError,
};

/// Bytes of the preamble. Stands on disk: may never change.
pub const PREAMBLE_LEN: usize = 512;
/// Bytes of the core, which is the stream's associated data. Stands on disk: may never change.
pub const CORE_LEN: usize = 80;
/// The longest envelope that fits, in bytes. Stands on disk: may never change.
pub const MAX_ENVELOPE_LEN: usize = PREAMBLE_LEN - ENVELOPE_AT;
/// What every sealed object begins with. Stands on disk: may never change.
pub const PREAMBLE_MAGIC: [u8; 8] = *b"\x89SEAL\r\n\x1a";

/// Where the envelope begins, behind its two length bytes. Stands on disk: may never change.
const ENVELOPE_AT: usize = CORE_LEN + 2;
/// The plaintext length that says "not known". Stands on disk: may never change.
const UNKNOWN_LEN: u64 = u64::MAX;
/// Role byte of an object of one stream. Stands on disk: may never change.
const ROLE_SINGLE: u8 = 1;
/// Role byte of a stream that is a part of an object in parts. Stands on disk: may never change.
const ROLE_PART: u8 = 2;

/// Whether bytes begin as a sealed object does. Eight bytes are enough.
#[must_use]
pub fn looks_like_preamble(bytes: &[u8]) -> bool {
    bytes.starts_with(&PREAMBLE_MAGIC)
}

/// What a stream is in its object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Role {
    /// The object's only stream.
    Single,
    /// The part with this number, of an object in parts.
    Part(PartNumber),
}

/// The preamble's fields that every segment authenticates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Core {
    /// Stored bytes of a full segment.
    pub segment_size: SegmentSize,
    /// What the stream is in its object.
    pub role: Role,
    /// Plaintext bytes of the stream, where that was known when it began.
    pub plaintext_len: Option<u64>,
    /// The object's id.
    pub object_id: ObjectId,
    /// [`Dek::commitment`] of the object's key.
    pub commitment: [u8; 32],
}

impl Core {
    /// The core of an object of one stream.
    #[must_use]
    pub fn single(
        dek: &Dek,
        object_id: ObjectId,
        segment_size: SegmentSize,
        plaintext_len: Option<u64>,
    ) -> Self {
        Self {
            segment_size,
            role: Role::Single,
            plaintext_len,
            object_id,
            commitment: dek.commitment(&object_id),
        }
    }

    /// The core of a part of an object in parts.
    #[must_use]
    pub fn part(
        dek: &Dek,
        object_id: ObjectId,
        segment_size: SegmentSize,
        number: PartNumber,
        plaintext_len: u64,
    ) -> Self {
        Self {
            role: Role::Part(number),
            ..Self::single(dek, object_id, segment_size, Some(plaintext_len))
        }
    }

    /// The core's 80 bytes: the associated data of the stream.
    #[must_use]
    pub fn encode(&self) -> [u8; CORE_LEN] {
        let mut bytes = [0; CORE_LEN];
        bytes[..8].copy_from_slice(&PREAMBLE_MAGIC);
        bytes[8..10].copy_from_slice(&FORMAT_VERSION.to_be_bytes());
        bytes[10] = SUITE;
        let (role, number) = match self.role {
            Role::Single => (ROLE_SINGLE, 0),
            Role::Part(number) => (ROLE_PART, number.get()),
        };
        bytes[11] = role;
        bytes[12..16].copy_from_slice(&self.segment_size.get().to_be_bytes());
        bytes[16..18].copy_from_slice(&number.to_be_bytes());
        bytes[24..32].copy_from_slice(&encode_len(self.plaintext_len));
        bytes[32..48].copy_from_slice(&self.object_id.0);
        bytes[48..].copy_from_slice(&self.commitment);
        bytes
    }

    /// Reads a core, strictly.
    ///
    /// # Errors
    ///
    /// [`PreambleError`] for whatever this version of the format does not know or allow.
    pub fn decode(bytes: &[u8; CORE_LEN]) -> Result<Self, PreambleError> {
        if !looks_like_preamble(bytes) {
            return Err(PreambleError::Magic);
        }
        let version = u16::from_be_bytes(array(&bytes[8..10]));
        if version != FORMAT_VERSION {
            return Err(PreambleError::Version(version));
        }
        if bytes[10] != SUITE {
            return Err(PreambleError::Suite(bytes[10]));
        }
        let part_number = u16::from_be_bytes(array(&bytes[16..18]));
        let role = match bytes[11] {
            ROLE_SINGLE if part_number == 0 => Some(Role::Single),
            ROLE_SINGLE => None,
            ROLE_PART => PartNumber::new(part_number).map(Role::Part),
            other => return Err(PreambleError::Role(other)),
        };
        let segment_size = SegmentSize::new(u32::from_be_bytes(array(&bytes[12..16])))?;
        let role = role.ok_or(PreambleError::PartNumber(part_number))?;
        if bytes[18..24] != [0; 6] {
            return Err(PreambleError::ReservedNotZero);
        }
        let plaintext_len = decode_len(array(&bytes[24..32]));
        match (plaintext_len, role) {
            (Some(len), _) => drop(Layout::from_plaintext_len(segment_size, len)?),
            (None, Role::Part(_)) => return Err(PreambleError::PartLength),
            (None, Role::Single) => {}
        }
        Ok(Self {
            segment_size,
            role,
            plaintext_len,
            object_id: ObjectId(array(&bytes[32..48])),
            commitment: array(&bytes[48..]),
        })
    }

    /// Compares the commitment with that of a key, in constant time. To be done before the key
    /// decrypts anything.
    ///
    /// # Errors
    ///
    /// [`CommitmentError`] where the object was not sealed with this key.
    pub fn verify_commitment(&self, dek: &Dek) -> Result<(), CommitmentError> {
        if dek
            .commitment(&self.object_id)
            .ct_eq(&self.commitment)
            .into()
        {
            Ok(())
        } else {
            Err(CommitmentError)
        }
    }

    /// The layout of an object of one stream, with this core and so many stored bytes.
    ///
    /// # Errors
    ///
    /// [`LayoutError::Impossible`] where no object has this length, or this one does not, given the
    /// plaintext length that the core names; [`LayoutError::TooLong`].
    pub fn layout(&self, stored_len: u64) -> Result<Layout, LayoutError> {
        let layout = Layout::from_stored_len(self.segment_size, stored_len)?;
        match self.plaintext_len {
            Some(len) if len != layout.plaintext_len() => Err(LayoutError::Impossible(stored_len)),
            _ => Ok(layout),
        }
    }
}

/// The first 512 bytes of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preamble {
    /// What every segment authenticates.
    pub core: Core,
    /// The envelope's encoding as it was first written; empty where there is none. For recovery from
    /// raw bytes only: the one in the metadata is the current one.
    pub envelope: Vec<u8>,
}

impl Preamble {
    /// The preamble as it stands in the object.
    ///
    /// # Errors
    ///
    /// [`PreambleError::EnvelopeLength`] where the envelope is longer than [`MAX_ENVELOPE_LEN`].
    pub fn encode(&self) -> Result<[u8; PREAMBLE_LEN], PreambleError> {
        let len = self.envelope.len();
        let end = ENVELOPE_AT + len;
        let encoded_len = u16::try_from(len).unwrap_or(u16::MAX);
        if len > MAX_ENVELOPE_LEN {
            return Err(PreambleError::EnvelopeLength(encoded_len));
        }
        let mut bytes = [0; PREAMBLE_LEN];
        bytes[..CORE_LEN].copy_from_slice(&self.core.encode());
        bytes[CORE_LEN..ENVELOPE_AT].copy_from_slice(&encoded_len.to_be_bytes());
        bytes[ENVELOPE_AT..end].copy_from_slice(&self.envelope);
        Ok(bytes)
    }

    /// SHA-256 of the bytes 80 to 511, which the preambles of all parts of an object share.
    ///
    /// # Errors
    ///
    /// As [`Preamble::encode`].
    pub fn shared_digest(&self) -> Result<[u8; 32], PreambleError> {
        Ok(Sha256::digest(&self.encode()?[CORE_LEN..]).into())
    }

    /// Reads a preamble, strictly. It is not authenticated by that: the core is by every segment, the
    /// whole by the footer.
    ///
    /// # Errors
    ///
    /// [`PreambleError`] for whatever this version of the format does not know or allow.
    pub fn decode(bytes: &[u8; PREAMBLE_LEN]) -> Result<Self, PreambleError> {
        let core = Core::decode(&array(&bytes[..CORE_LEN]))?;
        let encoded_len = u16::from_be_bytes(array(&bytes[CORE_LEN..ENVELOPE_AT]));
        let end = ENVELOPE_AT + usize::from(encoded_len);
        let (Some(envelope), Some(padding)) = (bytes.get(ENVELOPE_AT..end), bytes.get(end..))
        else {
            return Err(PreambleError::EnvelopeLength(encoded_len));
        };
        if padding.iter().any(|&byte| byte != 0) {
            return Err(PreambleError::PaddingNotZero);
        }
        Ok(Self {
            core,
            envelope: envelope.to_vec(),
        })
    }
}

/// A preamble that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PreambleError {
    /// The bytes do not begin with [`PREAMBLE_MAGIC`]: not a sealed object.
    #[error("not a sealed object: its first bytes are not the magic")]
    Magic,
    /// A format version that this reader does not know.
    #[error("format version {0}: this reader knows version 1 only")]
    Version(u16),
    /// A suite that this reader does not know.
    #[error("suite {0}: this reader knows suite 1 only")]
    Suite(u8),
    /// A role that the format does not have.
    #[error("unknown role {0}")]
    Role(u8),
    /// A segment size that the format does not allow.
    #[error(transparent)]
    SegmentSize(#[from] SegmentSizeError),
    /// A part number where there is no part, or one that no part has.
    #[error("part number {0} does not fit the role")]
    PartNumber(u16),
    /// A part whose plaintext length is not known.
    #[error("a part without its plaintext length")]
    PartLength,
    /// A plaintext length that no stream of this segment size has.
    #[error("plaintext length: {0}")]
    PlaintextLen(#[from] LayoutError),
    /// A reserved byte of the core is not zero.
    #[error("a reserved byte of the preamble is not zero")]
    ReservedNotZero,
    /// An envelope that does not fit.
    #[error("envelope of {0} bytes: at most 430 fit")]
    EnvelopeLength(u16),
    /// A byte behind the envelope is not zero.
    #[error("the padding of the preamble is not zero")]
    PaddingNotZero,
}

/// The object was sealed with another key than the one at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the object's key commitment does not fit the key")]
pub struct CommitmentError;

/// A length as core and footer encode it.
pub(super) fn encode_len(len: Option<u64>) -> [u8; 8] {
    len.unwrap_or(UNKNOWN_LEN).to_be_bytes()
}

/// The inverse of [`encode_len`].
pub(super) fn decode_len(bytes: [u8; 8]) -> Option<u64> {
    Some(u64::from_be_bytes(bytes)).filter(|&len| len != UNKNOWN_LEN)
}

/// A field of fixed length out of bytes that have exactly that length by construction; were they
/// shorter, the missing ones would be zero.
pub(super) fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut field = [0; N];
    let n = bytes.len().min(N);
    field[..n].copy_from_slice(&bytes[..n]);
    field
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn preamble(envelope: Vec<u8>) -> Preamble {
        let dek = Dek::new([5; 32]);
        let core = Core::single(&dek, ObjectId([6; 16]), SegmentSize::GATEWAY, Some(1_000));
        Preamble { core, envelope }
    }

    fn with(at: usize, bytes: &[u8]) -> Result<Preamble, PreambleError> {
        let mut encoded = preamble(vec![1; 10]).encode().unwrap();
        encoded[at..at + bytes.len()].copy_from_slice(bytes);
        Preamble::decode(&encoded)
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        assert_eq!(with(0, b"x"), Err(PreambleError::Magic));
        assert_eq!(with(8, &[0, 2]), Err(PreambleError::Version(2)));
        assert_eq!(with(8, &[1, 1]), Err(PreambleError::Version(257)));
        assert_eq!(with(10, &[0]), Err(PreambleError::Suite(0)));
        assert_eq!(with(11, &[2]), Err(PreambleError::PartNumber(0)));
        assert_eq!(with(11, &[3]), Err(PreambleError::Role(3)));
        assert!(matches!(
            with(12, &[0, 0, 8, 0]),
            Err(PreambleError::SegmentSize(_))
        ));
        assert_eq!(with(16, &[0, 1]), Err(PreambleError::PartNumber(1)));
        assert_eq!(with(23, &[1]), Err(PreambleError::ReservedNotZero));
        assert!(matches!(
            with(24, &[0xff, 0xff]),
            Err(PreambleError::PlaintextLen(_))
        ));
        assert_eq!(with(80, &[1, 175]), Err(PreambleError::EnvelopeLength(431)));
        assert_eq!(with(92, &[1]), Err(PreambleError::PaddingNotZero));
        assert_eq!(with(511, &[1]), Err(PreambleError::PaddingNotZero));
    }

    #[test]
    fn preambles_of_parts_share_what_follows_the_core() {
        let dek = Dek::new([5; 32]);
        let number = |n| PartNumber::new(n).unwrap();
        let part = |n, len| Preamble {
            core: Core::part(&dek, ObjectId([6; 16]), SegmentSize::MIN, number(n), len),
            envelope: vec![1; 10],
        };
        let (one, last) = (part(1, 5), part(10_000, 0));
        assert_eq!(one.shared_digest(), last.shared_digest());
        assert_ne!(one.encode(), last.encode());
        for preamble in [one, last] {
            assert_eq!(Preamble::decode(&preamble.encode().unwrap()), Ok(preamble));
        }
        let with = |at: usize, bytes: &[u8]| {
            let mut encoded = part(1, 5).encode().unwrap();
            encoded[at..at + bytes.len()].copy_from_slice(bytes);
            Preamble::decode(&encoded)
        };
        assert_eq!(with(16, &[0, 0]), Err(PreambleError::PartNumber(0)));
        let many = 10_001u16;
        assert_eq!(
            with(16, &many.to_be_bytes()),
            Err(PreambleError::PartNumber(many))
        );
        assert_eq!(with(11, &[1]), Err(PreambleError::PartNumber(1)));
        assert_eq!(with(24, &[0xff; 8]), Err(PreambleError::PartLength));
    }

    #[test]
    fn an_envelope_fills_it_at_most() {
        let full = preamble(vec![9; MAX_ENVELOPE_LEN]);
        assert_eq!(Preamble::decode(&full.encode().unwrap()), Ok(full));
        assert_eq!(
            preamble(vec![9; MAX_ENVELOPE_LEN + 1]).encode(),
            Err(PreambleError::EnvelopeLength(431))
        );
        assert!(preamble(vec![9; 1 << 20]).encode().is_err());
    }

    #[test]
    fn the_length_may_be_unknown() {
        let mut unknown = preamble(Vec::new());
        unknown.core.plaintext_len = None;
        let bytes = unknown.encode().unwrap();
        assert_eq!(bytes[24..32], [0xff; 8]);
        assert_eq!(Preamble::decode(&bytes), Ok(unknown));
    }

    #[test]
    fn a_length_that_does_not_fit_is_refused() {
        let core = preamble(Vec::new()).core;
        assert_eq!(core.layout(1_000 + 824).unwrap().plaintext_len(), 1_000);
        assert_eq!(
            core.layout(1_001 + 824),
            Err(LayoutError::Impossible(1_825))
        );
    }

    #[test]
    fn commitment() {
        let core = preamble(Vec::new()).core;
        assert_eq!(core.verify_commitment(&Dek::new([5; 32])), Ok(()));
        assert_eq!(
            core.verify_commitment(&Dek::new([4; 32])),
            Err(CommitmentError)
        );
    }

    proptest! {
        #[test]
        fn is_canonical(at in 0usize..PREAMBLE_LEN, byte: u8) {
            let mut bytes = preamble(vec![1; 10]).encode().unwrap();
            bytes[at] = byte;
            if let Ok(decoded) = Preamble::decode(&bytes) {
                prop_assert_eq!(decoded.encode().unwrap(), bytes);
            }
        }
    }
}
