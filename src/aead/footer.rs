//! The last 256 bytes of an object: what was known only once all of it was sealed.

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::preamble::{array, decode_len, encode_len};
use super::{
    Checksum, ChecksumAlgorithm, CipherError, Core, Dek, Engine, Etag, FORMAT_VERSION, Layout,
    LayoutError, ObjectId, PREAMBLE_LEN, SUITE, SegmentSize, SegmentSizeError, StreamHeader,
    TAG_LEN,
};

/// Bytes of the footer. Stands on disk: may never change.
pub const FOOTER_LEN: usize = 256;
/// What every footer begins with. Stands on disk: may never change.
pub const FOOTER_MAGIC: [u8; 8] = *b"\x89SEAF\r\n\x1a";

/// Bytes before the nonce, in the clear and authenticated. Stands on disk: may never change.
const CLEAR_LEN: usize = 16;
/// Where the sealed body begins. Stands on disk: may never change.
const BODY_AT: usize = 28;
/// Bytes of the body. Stands on disk: may never change.
const BODY_LEN: usize = FOOTER_LEN - BODY_AT - TAG_LEN;
/// Role byte of an object of one stream. Stands on disk: may never change.
const ROLE_SINGLE: u8 = 1;
/// Role byte of a multipart object. Reserved.
const ROLE_MULTIPART: u8 = 2;

/// Whether the last bytes of an object are a footer. Anything but exactly 256 bytes is none.
#[must_use]
pub fn looks_like_footer(last: &[u8]) -> bool {
    last.len() == FOOTER_LEN && last.starts_with(&FOOTER_MAGIC)
}

/// The footer's sealed fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footer {
    /// Plaintext bytes of the object.
    pub plaintext_len: u64,
    /// The length that the core names, or that it names none.
    pub core_plaintext_len: Option<u64>,
    /// Stored bytes of a full segment.
    pub segment_size: SegmentSize,
    /// The ETag that clients see.
    pub etag: Etag,
    /// The checksum over the whole plaintext, where the client sent or asked for one.
    pub checksum: Option<Checksum>,
    /// Salt and nonce prefix of the stream.
    pub header: StreamHeader,
    /// SHA-256 of the 512 preamble bytes.
    pub preamble_digest: [u8; 32],
}

impl Footer {
    /// Seals the footer. The nonce must be fresh.
    ///
    /// # Errors
    ///
    /// [`CipherError`] where the cipher engine fails.
    pub fn seal(
        &self,
        engine: Engine,
        dek: &Dek,
        object_id: &ObjectId,
        nonce: [u8; 12],
    ) -> Result<[u8; FOOTER_LEN], CipherError> {
        let mut bytes = [0; FOOTER_LEN];
        bytes[..8].copy_from_slice(&FOOTER_MAGIC);
        bytes[8..10].copy_from_slice(&FORMAT_VERSION.to_be_bytes());
        bytes[10] = SUITE;
        bytes[11] = ROLE_SINGLE;
        bytes[CLEAR_LEN..BODY_AT].copy_from_slice(&nonce);
        let aad = aad(&bytes, object_id);
        let mut body = self.encode_body();
        let tag = engine
            .cipher(&dek.footer_key(object_id))?
            .seal(&nonce, &aad, &mut body)?;
        bytes[BODY_AT..BODY_AT + BODY_LEN].copy_from_slice(&body);
        bytes[BODY_AT + BODY_LEN..].copy_from_slice(&tag);
        Ok(bytes)
    }

    /// Opens a footer, strictly.
    ///
    /// # Errors
    ///
    /// [`FooterError`]: not a footer, one of a kind that this reader does not know, one of another
    /// object or key, or one that holds what the format does not allow.
    pub fn open(
        engine: Engine,
        dek: &Dek,
        object_id: &ObjectId,
        bytes: &[u8; FOOTER_LEN],
    ) -> Result<Self, FooterError> {
        Self::check_clear(bytes)?;
        let nonce: [u8; 12] = array(&bytes[CLEAR_LEN..BODY_AT]);
        let mut sealed: [u8; BODY_LEN + TAG_LEN] = array(&bytes[BODY_AT..]);
        engine
            .cipher(&dek.footer_key(object_id))
            .and_then(|cipher| cipher.open(&nonce, &aad(bytes, object_id), &mut sealed))
            .map_err(|CipherError| FooterError::NotAuthentic)?;
        Self::decode_body(&array(&sealed[..BODY_LEN]))
    }

    /// Checks what a footer says in the clear, without any key. It authenticates nothing.
    ///
    /// # Errors
    ///
    /// [`FooterError`]: not a footer, or one of a kind that this reader does not know.
    pub fn check_clear(bytes: &[u8; FOOTER_LEN]) -> Result<(), FooterError> {
        if !looks_like_footer(bytes) {
            return Err(FooterError::Missing);
        }
        let version = u16::from_be_bytes(array(&bytes[8..10]));
        if version != FORMAT_VERSION {
            return Err(FooterError::Version(version));
        }
        if bytes[10] != SUITE {
            return Err(FooterError::Suite(bytes[10]));
        }
        match bytes[11] {
            ROLE_SINGLE => {}
            ROLE_MULTIPART => return Err(FooterError::ReservedRole),
            other => return Err(FooterError::Role(other)),
        }
        let table_len = u32::from_be_bytes(array(&bytes[12..CLEAR_LEN]));
        if table_len != 0 {
            return Err(FooterError::TableLength(table_len));
        }
        Ok(())
    }

    /// The core of the object, rebuilt: its encoding is the stream's associated data. With it and
    /// [`Footer::header`] any segment opens without the object's start being read.
    #[must_use]
    pub fn core(&self, dek: &Dek, object_id: ObjectId) -> Core {
        Core::single(dek, object_id, self.segment_size, self.core_plaintext_len)
    }

    /// The layout of the object, checked against the bytes that the store holds.
    ///
    /// # Errors
    ///
    /// [`MismatchError::StoredLength`] where the object is not as long as the footer says.
    pub fn layout(&self, stored_len: u64) -> Result<Layout, MismatchError> {
        Layout::from_plaintext_len(self.segment_size, self.plaintext_len)
            .ok()
            .filter(|layout| layout.stored_len() == stored_len)
            .ok_or(MismatchError::StoredLength)
    }

    /// Compares the digest of the preamble that was read, in constant time.
    ///
    /// # Errors
    ///
    /// [`MismatchError::Preamble`] where the preamble is not the one that was written.
    pub fn verify_preamble(&self, preamble: &[u8; PREAMBLE_LEN]) -> Result<(), MismatchError> {
        let digest: [u8; 32] = Sha256::digest(preamble).into();
        if digest.ct_eq(&self.preamble_digest).into() {
            Ok(())
        } else {
            Err(MismatchError::Preamble)
        }
    }

    /// Compares the header of the stream that was read.
    ///
    /// # Errors
    ///
    /// [`MismatchError::StreamHeader`] where another stream stands in the object.
    pub fn verify_header(&self, header: &StreamHeader) -> Result<(), MismatchError> {
        if *header == self.header {
            Ok(())
        } else {
            Err(MismatchError::StreamHeader)
        }
    }

    fn encode_body(&self) -> [u8; BODY_LEN] {
        let (etag_kind, etag) = self.etag.encode();
        let mut body = [0; BODY_LEN];
        body[..8].copy_from_slice(&self.plaintext_len.to_be_bytes());
        body[8..16].copy_from_slice(&encode_len(self.core_plaintext_len));
        body[16..20].copy_from_slice(&self.segment_size.get().to_be_bytes());
        body[20] = etag_kind;
        body[24..40].copy_from_slice(&etag);
        if let Some(checksum) = &self.checksum {
            body[21] = checksum.algorithm().code();
            body[22] = 1;
            body[40..72].copy_from_slice(checksum.padded());
        }
        body[72..104].copy_from_slice(&self.header.salt);
        body[104..111].copy_from_slice(&self.header.nonce_prefix);
        body[112..144].copy_from_slice(&self.preamble_digest);
        body
    }

    fn decode_body(body: &[u8; BODY_LEN]) -> Result<Self, FooterError> {
        let segment_size = SegmentSize::new(u32::from_be_bytes(array(&body[16..20])))?;
        let plaintext_len = u64::from_be_bytes(array(&body[..8]));
        Layout::from_plaintext_len(segment_size, plaintext_len)?;
        let core_plaintext_len = decode_len(array(&body[8..16]));
        if core_plaintext_len.is_some_and(|len| len != plaintext_len) {
            return Err(FooterError::CoreLength);
        }
        let reserved = [&body[23..24], &body[111..112], &body[144..]];
        if reserved.concat().iter().any(|&byte| byte != 0) {
            return Err(FooterError::ReservedNotZero);
        }
        Ok(Self {
            plaintext_len,
            core_plaintext_len,
            segment_size,
            etag: decode_etag(body[20], array(&body[24..40]))?,
            checksum: decode_checksum(body[21], body[22], array(&body[40..72]))?,
            header: StreamHeader {
                salt: array(&body[72..104]),
                nonce_prefix: array(&body[104..111]),
            },
            preamble_digest: array(&body[112..144]),
        })
    }
}

fn aad(footer: &[u8; FOOTER_LEN], object_id: &ObjectId) -> [u8; CLEAR_LEN + 16] {
    let mut aad = [0; CLEAR_LEN + 16];
    aad[..CLEAR_LEN].copy_from_slice(&footer[..CLEAR_LEN]);
    aad[CLEAR_LEN..].copy_from_slice(&object_id.0);
    aad
}

fn decode_etag(kind: u8, value: [u8; 16]) -> Result<Etag, FooterError> {
    match kind {
        0 if value == [0; 16] => Ok(Etag::None),
        0 => Err(FooterError::ReservedNotZero),
        1 => Ok(Etag::Md5(value)),
        other => Err(FooterError::EtagKind(other)),
    }
}

fn decode_checksum(code: u8, kind: u8, value: [u8; 32]) -> Result<Option<Checksum>, FooterError> {
    if code == 0 {
        return match kind {
            0 if value == [0; 32] => Ok(None),
            0 => Err(FooterError::ReservedNotZero),
            other => Err(FooterError::ChecksumType(other)),
        };
    }
    let algorithm =
        ChecksumAlgorithm::from_code(code).ok_or(FooterError::ChecksumAlgorithm(code))?;
    if kind != 1 {
        return Err(FooterError::ChecksumType(kind));
    }
    Checksum::from_padded(algorithm, value)
        .map(Some)
        .ok_or(FooterError::ReservedNotZero)
}

/// A footer that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FooterError {
    /// The object's last bytes are no footer: it was cut short, or is not a sealed object.
    #[error("the object does not end with a footer: it was cut short or is not sealed")]
    Missing,
    /// A format version that this reader does not know.
    #[error("footer of format version {0}: this reader knows version 1 only")]
    Version(u16),
    /// A suite that this reader does not know.
    #[error("footer of suite {0}: this reader knows suite 1 only")]
    Suite(u8),
    /// A role that the format does not have.
    #[error("footer of unknown role {0}")]
    Role(u8),
    /// The role of a multipart object, which is reserved.
    #[error("footer of role 2, a multipart object: this reader does not support it")]
    ReservedRole,
    /// A part table where there are no parts.
    #[error("part table of {0} bytes in an object of one stream")]
    TableLength(u32),
    /// The tag does not fit: the footer was changed, or belongs to another object or key.
    #[error("the footer is not authentic")]
    NotAuthentic,
    /// A segment size that the format does not allow.
    #[error(transparent)]
    SegmentSize(#[from] SegmentSizeError),
    /// A plaintext length that no stream of this segment size has.
    #[error("plaintext length: {0}")]
    PlaintextLen(#[from] LayoutError),
    /// The core names a length, but not that of the plaintext.
    #[error("the plaintext is not as long as was declared")]
    CoreLength,
    /// An ETag kind that this reader does not know.
    #[error("unknown ETag kind {0}")]
    EtagKind(u8),
    /// A checksum algorithm that this reader does not know.
    #[error("unknown checksum algorithm {0}")]
    ChecksumAlgorithm(u8),
    /// A checksum type that this reader does not know, or that does not fit the algorithm.
    #[error("unknown checksum type {0}")]
    ChecksumType(u8),
    /// A reserved byte, or one behind a value that is shorter than its field, is not zero.
    #[error("a reserved byte of the footer is not zero")]
    ReservedNotZero,
}

/// An authentic footer that does not fit the rest of the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MismatchError {
    /// The object is longer or shorter than the footer says.
    #[error("the object's length is not the one in its footer")]
    StoredLength,
    /// The preamble is not the one that was written.
    #[error("the preamble is not the one that the footer was sealed over")]
    Preamble,
    /// Another stream stands in the object.
    #[error("the stream is not the one that the footer was sealed over")]
    StreamHeader,
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: ObjectId = ObjectId([6; 16]);

    fn dek() -> Dek {
        Dek::new([5; 32])
    }

    fn footer() -> Footer {
        Footer {
            plaintext_len: 1_000,
            core_plaintext_len: None,
            segment_size: SegmentSize::GATEWAY,
            etag: Etag::Md5([1; 16]),
            checksum: Checksum::new(ChecksumAlgorithm::Crc32c, &[1, 2, 3, 4]).ok(),
            header: StreamHeader {
                salt: [2; 32],
                nonce_prefix: [3; 7],
            },
            preamble_digest: Sha256::digest([4; PREAMBLE_LEN]).into(),
        }
    }

    fn body_with(at: usize, byte: u8) -> Result<Footer, FooterError> {
        let mut body = footer().encode_body();
        body[at] = byte;
        Footer::decode_body(&body)
    }

    #[test]
    fn round_trips_with_both_engines() {
        let mut none = footer();
        (none.etag, none.checksum, none.core_plaintext_len) = (Etag::None, None, Some(1_000));
        for footer in [footer(), none] {
            let sealed =
                Engine::ALL.map(|engine| footer.seal(engine, &dek(), &ID, [9; 12]).unwrap());
            assert_eq!(sealed[0], sealed[1]);
            for engine in Engine::ALL {
                assert_eq!(Footer::open(engine, &dek(), &ID, &sealed[0]), Ok(footer));
            }
        }
    }

    #[test]
    fn every_flipped_bit_is_refused() {
        let sealed = footer().seal(Engine::AwsLc, &dek(), &ID, [9; 12]).unwrap();
        for at in 0..FOOTER_LEN {
            for bit in 0..8 {
                let mut flipped = sealed;
                flipped[at] ^= 1 << bit;
                let opened = Footer::open(Engine::AwsLc, &dek(), &ID, &flipped);
                assert!(opened.is_err(), "{at} {bit}");
                if at >= CLEAR_LEN {
                    assert_eq!(opened, Err(FooterError::NotAuthentic));
                }
            }
        }
    }

    #[test]
    fn belongs_to_one_key_and_one_object() {
        let sealed = footer().seal(Engine::Rust, &dek(), &ID, [9; 12]).unwrap();
        let (other_key, other_id) = (Dek::new([4; 32]), ObjectId([7; 16]));
        for (dek, id) in [(&other_key, &ID), (&dek(), &other_id)] {
            assert_eq!(
                Footer::open(Engine::Rust, dek, id, &sealed),
                Err(FooterError::NotAuthentic)
            );
        }
    }

    #[test]
    fn the_clear_part_is_named_when_unknown() {
        let sealed = footer().seal(Engine::Rust, &dek(), &ID, [9; 12]).unwrap();
        let with = |at: usize, byte: u8| {
            let mut changed = sealed;
            changed[at] = byte;
            Footer::check_clear(&changed)
        };
        assert_eq!(with(0, 0), Err(FooterError::Missing));
        assert_eq!(with(9, 2), Err(FooterError::Version(2)));
        assert_eq!(with(10, 2), Err(FooterError::Suite(2)));
        assert_eq!(with(11, 2), Err(FooterError::ReservedRole));
        assert_eq!(with(11, 0), Err(FooterError::Role(0)));
        assert_eq!(with(15, 1), Err(FooterError::TableLength(1)));
    }

    #[test]
    fn the_body_is_strict() {
        assert_eq!(body_with(15, 0), Err(FooterError::CoreLength));
        assert!(matches!(
            body_with(0, 0xff),
            Err(FooterError::PlaintextLen(_))
        ));
        assert!(matches!(body_with(16, 1), Err(FooterError::SegmentSize(_))));
        assert_eq!(body_with(20, 0), Err(FooterError::ReservedNotZero));
        assert_eq!(body_with(20, 2), Err(FooterError::EtagKind(2)));
        assert_eq!(body_with(21, 6), Err(FooterError::ChecksumAlgorithm(6)));
        assert_eq!(body_with(21, 0), Err(FooterError::ChecksumType(1)));
        assert_eq!(body_with(22, 0), Err(FooterError::ChecksumType(0)));
        assert_eq!(body_with(22, 2), Err(FooterError::ChecksumType(2)));
        for reserved in [23, 44, 71, 111, 144, 147, 148, 211] {
            assert_eq!(body_with(reserved, 1), Err(FooterError::ReservedNotZero));
        }
    }

    #[test]
    fn is_held_against_the_rest_of_the_object() {
        let footer = footer();
        assert!(footer.layout(1_824).is_ok());
        for stored in [0, 1_823, 1_825, u64::MAX] {
            assert_eq!(footer.layout(stored), Err(MismatchError::StoredLength));
        }
        assert_eq!(footer.verify_preamble(&[4; PREAMBLE_LEN]), Ok(()));
        assert_eq!(
            footer.verify_preamble(&[5; PREAMBLE_LEN]),
            Err(MismatchError::Preamble)
        );
        let mut header = footer.header;
        assert_eq!(footer.verify_header(&header), Ok(()));
        header.salt[0] ^= 1;
        assert_eq!(
            footer.verify_header(&header),
            Err(MismatchError::StreamHeader)
        );
    }

    #[test]
    fn only_the_exact_length_looks_like_a_footer() {
        let sealed = footer().seal(Engine::Rust, &dek(), &ID, [9; 12]).unwrap();
        assert!(looks_like_footer(&sealed));
        assert!(!looks_like_footer(&sealed[1..]));
        assert!(!looks_like_footer(&[]));
    }
}
