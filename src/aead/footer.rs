//! The last 256 bytes of an object: what was known only once all of it was sealed.

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::preamble::{array, decode_len, encode_len};
use super::{
    CORE_LEN, Checksum, ChecksumAlgorithm, ChecksumType, CipherError, Core, Dek, Engine, Etag,
    FORMAT_VERSION, Layout, LayoutError, MAX_PARTS, ObjectId, PREAMBLE_LEN, PartTable, Parts,
    SUITE, SegmentSize, SegmentSizeError, StreamHeader, TAG_LEN,
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
/// Role byte of an object in parts. Stands on disk: may never change.
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
    /// The length that the core names, or that it names none: as for every object in parts.
    pub core_plaintext_len: Option<u64>,
    /// Stored bytes of a full segment.
    pub segment_size: SegmentSize,
    /// The ETag that clients see.
    pub etag: Etag,
    /// The object's checksum, where the client sent or asked for one.
    pub checksum: Option<Checksum>,
    /// What the checksum is taken over; [`ChecksumType::FullObject`] where there is none.
    pub checksum_type: ChecksumType,
    /// Salt and nonce prefix of the stream; of an object in parts, those of the part table.
    pub header: StreamHeader,
    /// SHA-256 of the 512 preamble bytes; of an object in parts, [`Preamble::shared_digest`].
    ///
    /// [`Preamble::shared_digest`]: super::Preamble::shared_digest
    pub preamble_digest: [u8; 32],
    /// What there is to say of the parts; none of an object of one stream.
    pub parts: Option<Parts>,
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
        if let Some(parts) = &self.parts {
            bytes[11] = ROLE_MULTIPART;
            bytes[12..CLEAR_LEN].copy_from_slice(&parts.table_len.to_be_bytes());
        }
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
        Self::decode_body(&array(&sealed[..BODY_LEN]), Self::clear_table_len(bytes))
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
        let table_len = u32::from_be_bytes(array(&bytes[12..CLEAR_LEN]));
        match bytes[11] {
            ROLE_SINGLE if table_len == 0 => Ok(()),
            ROLE_MULTIPART if table_len != 0 => Ok(()),
            ROLE_SINGLE | ROLE_MULTIPART => Err(FooterError::TableLength(table_len)),
            other => Err(FooterError::Role(other)),
        }
    }

    /// The length of the part table that a footer names in the clear, in bytes; none of an object of one
    /// stream, and of what is no footer. It is not authenticated by that.
    #[must_use]
    pub fn clear_table_len(bytes: &[u8; FOOTER_LEN]) -> Option<u32> {
        Self::check_clear(bytes).ok()?;
        let table_len = u32::from_be_bytes(array(&bytes[12..CLEAR_LEN]));
        (bytes[11] == ROLE_MULTIPART).then_some(table_len)
    }

    /// The algorithm of the object's checksum, and of its parts'.
    #[must_use]
    pub fn checksum_algorithm(&self) -> Option<ChecksumAlgorithm> {
        self.checksum.map(|checksum| checksum.algorithm())
    }

    /// Whether the checksum is that of the parts' checksums.
    pub(super) fn has_composite_checksum(&self) -> bool {
        self.checksum.is_some() && self.checksum_type == ChecksumType::Composite
    }

    /// The core of an object of one stream, rebuilt: its encoding is the stream's associated data. With it and
    /// [`Footer::header`] any segment opens without the object's start being read.
    #[must_use]
    pub fn core(&self, dek: &Dek, object_id: ObjectId) -> Core {
        Core::single(dek, object_id, self.segment_size, self.core_plaintext_len)
    }

    /// The layout of an object of one stream, checked against the bytes that the store holds.
    ///
    /// # Errors
    ///
    /// [`MismatchError::StoredLength`] where the object is not as long as the footer says, or is one
    /// in parts: see [`Footer::verify_entries`].
    pub fn layout(&self, stored_len: u64) -> Result<Layout, MismatchError> {
        Layout::from_plaintext_len(self.segment_size, self.plaintext_len)
            .ok()
            .filter(|layout| self.parts.is_none() && layout.stored_len() == stored_len)
            .ok_or(MismatchError::StoredLength)
    }

    /// Compares the digest of the preamble that was read, in constant time. Of a part, that covers
    /// what all preambles of the object share; its core is to be compared with [`PartEntry::core`].
    ///
    /// [`PartEntry::core`]: super::PartEntry::core
    ///
    /// # Errors
    ///
    /// [`MismatchError::Preamble`] where the preamble is not the one that was written.
    pub fn verify_preamble(&self, preamble: &[u8; PREAMBLE_LEN]) -> Result<(), MismatchError> {
        let digested = match self.parts {
            None => &preamble[..],
            Some(_) => &preamble[CORE_LEN..],
        };
        let digest: [u8; 32] = Sha256::digest(digested).into();
        if digest.ct_eq(&self.preamble_digest).into() {
            Ok(())
        } else {
            Err(MismatchError::Preamble)
        }
    }

    /// Compares the header of the stream that was read; of an object in parts, that of the table.
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
            body[22] = self.checksum_type.code();
            body[40..72].copy_from_slice(checksum.padded());
        }
        body[72..104].copy_from_slice(&self.header.salt);
        body[104..111].copy_from_slice(&self.header.nonce_prefix);
        body[112..144].copy_from_slice(&self.preamble_digest);
        if let Some(parts) = &self.parts {
            body[144..148].copy_from_slice(&u32::from(parts.count).to_be_bytes());
            body[148..156].copy_from_slice(&parts.part_size.to_be_bytes());
        }
        body
    }

    /// Decodes the body of a footer; of an object in parts, with the table length that the clear part
    /// names.
    fn decode_body(body: &[u8; BODY_LEN], table_len: Option<u32>) -> Result<Self, FooterError> {
        let segment_size = SegmentSize::new(u32::from_be_bytes(array(&body[16..20])))?;
        let plaintext_len = u64::from_be_bytes(array(&body[..8]));
        Layout::from_plaintext_len(segment_size, plaintext_len)?;
        let core_plaintext_len = decode_len(array(&body[8..16]));
        if core_plaintext_len.is_some_and(|len| len != plaintext_len || table_len.is_some()) {
            return Err(FooterError::CoreLength);
        }
        let reserved = [&body[23..24], &body[111..112], &body[156..]];
        if reserved.concat().iter().any(|&byte| byte != 0) {
            return Err(FooterError::ReservedNotZero);
        }
        let of_parts = table_len.is_some();
        let (checksum, checksum_type) =
            decode_checksum(body[21], body[22], array(&body[40..72]), of_parts)?;
        let count = u32::from_be_bytes(array(&body[144..148]));
        let part_size = u64::from_be_bytes(array(&body[148..156]));
        let parts = match table_len {
            Some(table_len) => {
                let algorithm = checksum.map(|checksum| checksum.algorithm());
                Some(decode_parts(count, table_len, part_size, algorithm)?)
            }
            None if count != 0 => return Err(FooterError::PartCount(count)),
            None if part_size != 0 => return Err(FooterError::PartSize(part_size)),
            None => None,
        };
        if parts.is_some_and(|parts| !parts.fits(plaintext_len)) {
            return Err(FooterError::PartSize(part_size));
        }
        Ok(Self {
            plaintext_len,
            core_plaintext_len,
            segment_size,
            etag: decode_etag(body[20], array(&body[24..40]), of_parts)?,
            checksum,
            checksum_type,
            header: StreamHeader {
                salt: array(&body[72..104]),
                nonce_prefix: array(&body[104..111]),
            },
            preamble_digest: array(&body[112..144]),
            parts,
        })
    }
}

fn decode_parts(
    count: u32,
    table_len: u32,
    part_size: u64,
    algorithm: Option<ChecksumAlgorithm>,
) -> Result<Parts, FooterError> {
    let count = u16::try_from(count)
        .ok()
        .filter(|count| (1..=MAX_PARTS).contains(count))
        .ok_or(FooterError::PartCount(count))?;
    if u64::from(table_len) != PartTable::stored_len(count, algorithm) {
        return Err(FooterError::TableLength(table_len));
    }
    Ok(Parts {
        count,
        table_len,
        part_size,
    })
}

fn aad(footer: &[u8; FOOTER_LEN], object_id: &ObjectId) -> [u8; CLEAR_LEN + 16] {
    let mut aad = [0; CLEAR_LEN + 16];
    aad[..CLEAR_LEN].copy_from_slice(&footer[..CLEAR_LEN]);
    aad[CLEAR_LEN..].copy_from_slice(&object_id.0);
    aad
}

fn decode_etag(kind: u8, value: [u8; 16], of_parts: bool) -> Result<Etag, FooterError> {
    match kind {
        0 if value == [0; 16] => Ok(Etag::None),
        0 => Err(FooterError::ReservedNotZero),
        1 if !of_parts => Ok(Etag::Md5(value)),
        2 if of_parts => Ok(Etag::Multipart(value)),
        other => Err(FooterError::EtagKind(other)),
    }
}

fn decode_checksum(
    code: u8,
    kind: u8,
    value: [u8; 32],
    of_parts: bool,
) -> Result<(Option<Checksum>, ChecksumType), FooterError> {
    if code == 0 {
        return match kind {
            0 if value == [0; 32] => Ok((None, ChecksumType::FullObject)),
            0 => Err(FooterError::ReservedNotZero),
            other => Err(FooterError::ChecksumType(other)),
        };
    }
    let algorithm =
        ChecksumAlgorithm::from_code(code).ok_or(FooterError::ChecksumAlgorithm(code))?;
    let checksum_type = match kind {
        1 => ChecksumType::FullObject,
        2 if of_parts => ChecksumType::Composite,
        other => return Err(FooterError::ChecksumType(other)),
    };
    Checksum::from_padded(algorithm, value)
        .map(|checksum| (Some(checksum), checksum_type))
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
    /// A part table where there are no parts, or one that is not as long as so many parts make it.
    #[error("part table of {0} bytes, which does not fit the parts")]
    TableLength(u32),
    /// A number of parts that no object has.
    #[error("{0} parts, which no such object has")]
    PartCount(u32),
    /// A part size that does not fit number of parts and plaintext length.
    #[error("parts of {0} bytes, which do not make up the plaintext")]
    PartSize(u64),
    /// The tag does not fit: the footer was changed, or belongs to another object or key.
    #[error("the footer is not authentic")]
    NotAuthentic,
    /// A segment size that the format does not allow.
    #[error(transparent)]
    SegmentSize(#[from] SegmentSizeError),
    /// A plaintext length that no stream of this segment size has.
    #[error("plaintext length: {0}")]
    PlaintextLen(#[from] LayoutError),
    /// The core names a length, but not that of the plaintext; or names one where there are parts.
    #[error("the plaintext is not as long as was declared")]
    CoreLength,
    /// An ETag kind that this reader does not know, or that does not fit the role.
    #[error("unknown ETag kind {0}")]
    EtagKind(u8),
    /// A checksum algorithm that this reader does not know.
    #[error("unknown checksum algorithm {0}")]
    ChecksumAlgorithm(u8),
    /// A checksum type that this reader does not know, or that does not fit algorithm or role.
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
    /// The parts' lengths are not those that the footer says, or no stream has them.
    #[error("the lengths of the parts do not make up that of the object")]
    PartLengths,
    /// A part does not have the size that the footer says.
    #[error("a part does not have the size that the footer says")]
    PartSize,
    /// A part without the MD5 or checksum that the object's is made of.
    #[error("a part has no MD5 or checksum where the object's is made of them")]
    PartSums,
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
            checksum_type: ChecksumType::FullObject,
            parts: None,
        }
    }

    fn body_with(at: usize, byte: u8) -> Result<Footer, FooterError> {
        let mut body = footer().encode_body();
        body[at] = byte;
        Footer::decode_body(&body, None)
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
        assert_eq!(with(11, 2), Err(FooterError::TableLength(0)));
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
        assert_eq!(body_with(147, 1), Err(FooterError::PartCount(1)));
        assert_eq!(body_with(155, 1), Err(FooterError::PartSize(1)));
        for reserved in [23, 44, 71, 111, 156, 211] {
            assert_eq!(body_with(reserved, 1), Err(FooterError::ReservedNotZero));
        }
    }

    fn of_parts() -> Footer {
        Footer {
            etag: Etag::Multipart([1; 16]),
            checksum_type: ChecksumType::Composite,
            parts: Some(Parts {
                count: 3,
                table_len: PartTable::stored_len(3, Some(ChecksumAlgorithm::Crc32c)) as u32,
                part_size: 400,
            }),
            ..footer()
        }
    }

    #[test]
    fn round_trips_for_objects_in_parts() {
        let mut none = of_parts();
        (none.etag, none.checksum) = (Etag::None, None);
        none.checksum_type = ChecksumType::FullObject;
        none.parts = none.parts.map(|parts| Parts {
            table_len: PartTable::stored_len(3, None) as u32,
            part_size: 0,
            ..parts
        });
        for footer in [of_parts(), none] {
            let sealed = footer.seal(Engine::Rust, &dek(), &ID, [9; 12]).unwrap();
            assert_eq!(Footer::check_clear(&sealed), Ok(()));
            assert_eq!(
                Footer::clear_table_len(&sealed),
                footer.parts.map(|parts| parts.table_len)
            );
            let opened = Footer::open(Engine::AwsLc, &dek(), &ID, &sealed);
            assert_eq!(opened, Ok(footer));
            for at in 0..FOOTER_LEN {
                let mut flipped = sealed;
                flipped[at] ^= 1 << (at % 8);
                assert!(Footer::open(Engine::AwsLc, &dek(), &ID, &flipped).is_err());
            }
        }
    }

    #[test]
    fn the_body_is_strict_for_objects_in_parts() {
        let table_len = of_parts().parts.map(|parts| parts.table_len);
        let with = |edits: &[(usize, u8)]| {
            let mut body = of_parts().encode_body();
            for &(at, byte) in edits {
                body[at] = byte;
            }
            Footer::decode_body(&body, table_len)
        };
        assert_eq!(with(&[]), Ok(of_parts()));
        assert_eq!(with(&[(20, 1)]), Err(FooterError::EtagKind(1)));
        assert_eq!(with(&[(20, 3)]), Err(FooterError::EtagKind(3)));
        assert_eq!(with(&[(22, 0)]), Err(FooterError::ChecksumType(0)));
        assert_eq!(with(&[(22, 3)]), Err(FooterError::ChecksumType(3)));
        assert_eq!(with(&[(147, 0)]), Err(FooterError::PartCount(0)));
        let many = [(146, 0x27), (147, 0x11)];
        assert_eq!(with(&many), Err(FooterError::PartCount(10_001)));
        assert_eq!(
            with(&[(144, 1)]),
            Err(FooterError::PartCount((1 << 24) + 3))
        );
        assert!(matches!(
            with(&[(147, 4)]),
            Err(FooterError::TableLength(_))
        ));
        assert!(matches!(
            with(&[(21, 0), (22, 0)]),
            Err(FooterError::ReservedNotZero)
        ));
        // Two parts of 501 bytes are more than all 1,000.
        let long = [(154, 1), (155, 0xf5)];
        assert_eq!(with(&long), Err(FooterError::PartSize(501)));
        assert_eq!(
            with(&[(148, 0xff)]).map(drop),
            Err(FooterError::PartSize((0xff << 56) + 400))
        );
        let known: Vec<(usize, u8)> = (8..16).zip(1_000u64.to_be_bytes()).collect();
        assert_eq!(with(&known), Err(FooterError::CoreLength));
        for reserved in [23, 111, 156, 211] {
            assert_eq!(with(&[(reserved, 1)]), Err(FooterError::ReservedNotZero));
        }
        // Of one part, the size is its own.
        let mut one = of_parts();
        one.parts = one.parts.map(|parts| Parts {
            count: 1,
            table_len: PartTable::stored_len(1, Some(ChecksumAlgorithm::Crc32c)) as u32,
            ..parts
        });
        let table_len = one.parts.map(|parts| parts.table_len);
        let decoded = Footer::decode_body(&one.encode_body(), table_len);
        assert_eq!(decoded, Err(FooterError::PartSize(400)));
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
