//! The part table of an object that was uploaded in parts: a small stream of its own, behind the last
//! part, with one entry for each of them.
//!
//! ```text
//! entry = number u16 ‖ flags u8 ‖ 0 ‖ plaintext length u64 ‖ salt[32] ‖ nonce prefix[7] ‖ 0 ‖ md5[16] ‖ checksum[c]
//! ```

use std::ops::Range;

use super::preamble::array;
use super::{
    Checksum, ChecksumAlgorithm, CipherError, Dek, Engine, Footer, Layout, LayoutError, MAX_PARTS,
    ObjectId, OpenError, Opener, PREAMBLE_LEN, PartEntry, PartNumber, STREAM_HEADER_LEN, SealError,
    SealStream, SegmentSize, StreamHeader, TAG_LEN,
};

/// What the table's associated data begins with. Stands on disk: may never change.
const LABEL: &[u8; 17] = b"sealgate/v1/parts";
/// Segment size of the table's stream. Stands on disk: may never change.
const SEGMENT_SIZE: SegmentSize = SegmentSize::MIN;
/// Bytes of an entry without its checksum. Stands on disk: may never change.
const ENTRY_LEN: usize = 68;

/// Flag of an entry that names its stream. Stands on disk: may never change.
const PINNED: u8 = 1;
/// Flag of an entry with an MD5. Stands on disk: may never change.
const HAS_MD5: u8 = 2;
/// Flag of an entry with a checksum. Stands on disk: may never change.
const HAS_CHECKSUM: u8 = 4;

/// The longest plaintext of one part, whatever the segment size.
const MAX_PART_LEN: u64 = Layout::max_plaintext_len(SegmentSize::MAX);

/// Opens the part table of one object, all of it or the segments that hold some of the entries.
///
/// Ranges of stored bytes count from the table's first byte.
#[derive(Debug)]
pub struct PartTable {
    opener: Opener,
    header: StreamHeader,
    layout: Layout,
    algorithm: Option<ChecksumAlgorithm>,
    count: u16,
}

impl PartTable {
    /// Seals a table. The header's values must be fresh, and stand in the footer; so does the
    /// algorithm, where the object has a checksum.
    ///
    /// # Errors
    ///
    /// [`TableError`] where the entries are none that an object may have, or the cipher engine fails.
    pub fn seal(
        engine: Engine,
        dek: &Dek,
        object_id: &ObjectId,
        header: &StreamHeader,
        algorithm: Option<ChecksumAlgorithm>,
        entries: &[PartEntry],
    ) -> Result<Vec<u8>, TableError> {
        let count = u16::try_from(entries.len())
            .ok()
            .filter(|count| (1..=MAX_PARTS).contains(count))
            .ok_or(TableError::Count(entries.len()))?;
        let mut plaintext = Vec::with_capacity(entries.len() * entry_len(algorithm));
        let (mut before, mut total) = (None, 0u64);
        for entry in entries {
            check(entry, before)?;
            total = total
                .checked_add(entry.plaintext_len)
                .ok_or(LayoutError::TooLong)?;
            before = Some(entry.number);
            encode(entry, algorithm, &mut plaintext)?;
        }
        let stored_len = usize::try_from(Self::stored_len(count, algorithm)).unwrap_or(0);
        let mut sealed = Vec::with_capacity(stored_len);
        let mut stream = SealStream::new(engine, dek, header, SEGMENT_SIZE, &aad(object_id))?;
        stream.push(&plaintext, &mut sealed)?;
        stream.finish(&mut sealed)?;
        Ok(sealed)
    }

    /// Stored bytes of a table of so many entries.
    #[must_use]
    pub fn stored_len(count: u16, algorithm: Option<ChecksumAlgorithm>) -> u64 {
        layout(count, algorithm).stream_len()
    }

    /// Prepares for the table of an object with this footer.
    ///
    /// # Errors
    ///
    /// [`TableError::Count`] where the object is of one stream; [`TableError::Cipher`].
    pub fn new(
        engine: Engine,
        dek: &Dek,
        object_id: &ObjectId,
        footer: &Footer,
    ) -> Result<Self, TableError> {
        let count = footer.parts.ok_or(TableError::Count(0))?.count;
        let (header, algorithm) = (footer.header, footer.checksum_algorithm());
        Ok(Self {
            opener: Opener::new(engine, dek, &header, SEGMENT_SIZE, &aad(object_id))?,
            header,
            layout: layout(count, algorithm),
            algorithm,
            count,
        })
    }

    /// Opens the whole table.
    ///
    /// # Errors
    ///
    /// [`TableError`] where it is not the one that the footer belongs to, or holds what the format
    /// does not allow.
    pub fn open(&self, stored: &[u8]) -> Result<Vec<PartEntry>, TableError> {
        self.open_entries(0..self.count, stored)
    }

    /// Which stored bytes of the table hold these entries: what a ranged read must fetch. Clamped to
    /// the entries that there are.
    #[must_use]
    pub fn stored_range(&self, entries: Range<u16>) -> Range<u64> {
        let segments = self.layout.segments_of(self.plaintext_range(&entries));
        if segments.is_empty() {
            return 0..0;
        }
        let stored = self.layout.stored_range(segments.clone());
        // The stream's header comes with the first segment.
        let start = if segments.start == 0 {
            0
        } else {
            stored.start - PREAMBLE
        };
        start..stored.end - PREAMBLE
    }

    /// Opens the entries that were asked for, from the bytes of [`PartTable::stored_range`].
    ///
    /// # Errors
    ///
    /// As [`PartTable::open`]; [`TableError::Length`] where there are more or fewer bytes than that.
    pub fn open_entries(
        &self,
        entries: Range<u16>,
        stored: &[u8],
    ) -> Result<Vec<PartEntry>, TableError> {
        let range = self.stored_range(entries.clone());
        if stored.len() as u64 != range.end - range.start || range.is_empty() {
            return Err(TableError::Length);
        }
        let wanted = self.plaintext_range(&entries);
        let segments = self.layout.segments_of(wanted.clone());
        let mut rest = stored;
        if segments.start == 0 {
            let Some((header, behind)) = rest.split_first_chunk::<STREAM_HEADER_LEN>() else {
                return Err(TableError::Length);
            };
            if *header != self.header.encode() {
                return Err(TableError::Header);
            }
            rest = behind;
        }
        let mut plaintext = Vec::with_capacity(stored.len());
        for index in segments.clone() {
            let len = self.layout.segment_plaintext_len(index) + TAG_LEN;
            let (now, behind) = rest.split_at_checked(len).ok_or(TableError::Length)?;
            let start = plaintext.len();
            plaintext.extend_from_slice(now);
            let n = self.opener.open_in_place(
                index,
                self.layout.is_last(index),
                &mut plaintext[start..],
            )?;
            plaintext.truncate(start + n);
            rest = behind;
        }
        let first = self.layout.plaintext_start(segments.start);
        let within = |at: u64| usize::try_from(at.saturating_sub(first)).unwrap_or(usize::MAX);
        let bytes = plaintext
            .get(within(wanted.start)..within(wanted.end))
            .ok_or(TableError::Length)?;
        let mut opened = Vec::with_capacity(bytes.len() / entry_len(self.algorithm));
        let mut before = None;
        for bytes in bytes.chunks_exact(entry_len(self.algorithm)) {
            let entry = decode(bytes, self.algorithm)?;
            check(&entry, before)?;
            before = Some(entry.number);
            opened.push(entry);
        }
        Ok(opened)
    }

    /// Where entries stand in the table's plaintext.
    fn plaintext_range(&self, entries: &Range<u16>) -> Range<u64> {
        let len = entry_len(self.algorithm) as u64;
        let end = entries.end.min(self.count);
        u64::from(entries.start.min(end)) * len..u64::from(end) * len
    }
}

/// A part table that cannot be written or used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// No object has so many parts.
    #[error("a table of {0} parts: an object has 1 to 10,000")]
    Count(usize),
    /// The bytes are not as many as the table has.
    #[error("the part table does not have its length")]
    Length,
    /// The stream is not the one that the footer belongs to.
    #[error("the part table is not the one that the footer was sealed over")]
    Header,
    /// A segment is not authentic.
    #[error("part table: {0}")]
    Segment(#[from] OpenError),
    /// A part number outside 1 to 10,000.
    #[error("part number {0}: there are 1 to 10,000")]
    PartNumber(u16),
    /// A part number that is not greater than the one before.
    #[error("part {0} is not in order")]
    Order(u16),
    /// Flags that this reader does not know.
    #[error("unknown flags {0:#04x} of a part")]
    Flags(u8),
    /// A reserved byte, or a field whose flag is not set, is not zero.
    #[error("a reserved byte of the part table is not zero")]
    ReservedNotZero,
    /// A plaintext length that no part has.
    #[error("plaintext length of a part: {0}")]
    PlaintextLen(#[from] LayoutError),
    /// A checksum of another algorithm than the footer's. The caller's fault.
    #[error("a part's checksum is not of the object's algorithm")]
    ChecksumAlgorithm,
    /// The table could not be sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The cipher engine could not be set up.
    #[error(transparent)]
    Cipher(#[from] CipherError),
}

const PREAMBLE: u64 = PREAMBLE_LEN as u64;

fn aad(object_id: &ObjectId) -> [u8; LABEL.len() + 16] {
    let mut aad = [0; LABEL.len() + 16];
    aad[..LABEL.len()].copy_from_slice(LABEL);
    aad[LABEL.len()..].copy_from_slice(&object_id.0);
    aad
}

fn entry_len(algorithm: Option<ChecksumAlgorithm>) -> usize {
    ENTRY_LEN + algorithm.map_or(0, ChecksumAlgorithm::value_len)
}

/// The layout of the table's stream. Its offsets count a preamble that a table does not have.
fn layout(count: u16, algorithm: Option<ChecksumAlgorithm>) -> Layout {
    let len = u64::from(count) * entry_len(algorithm) as u64;
    #[allow(
        clippy::expect_used,
        reason = "65,535 entries of 100 bytes fit many times"
    )]
    Layout::from_plaintext_len(SEGMENT_SIZE, len).expect("a table fits into a stream")
}

/// What entries must fulfil on both sides.
fn check(entry: &PartEntry, before: Option<PartNumber>) -> Result<(), TableError> {
    if before.is_some_and(|before| entry.number <= before) {
        return Err(TableError::Order(entry.number.get()));
    }
    if entry.plaintext_len > MAX_PART_LEN {
        return Err(LayoutError::TooLong.into());
    }
    Ok(())
}

fn encode(
    entry: &PartEntry,
    algorithm: Option<ChecksumAlgorithm>,
    out: &mut Vec<u8>,
) -> Result<(), TableError> {
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    out.extend_from_slice(&entry.number.get().to_be_bytes());
    out.push(
        flag(entry.header.is_some(), PINNED)
            | flag(entry.md5.is_some(), HAS_MD5)
            | flag(entry.checksum.is_some(), HAS_CHECKSUM),
    );
    out.push(0);
    out.extend_from_slice(&entry.plaintext_len.to_be_bytes());
    let (salt, nonce_prefix) = entry
        .header
        .map_or(([0; 32], [0; 7]), |h| (h.salt, h.nonce_prefix));
    out.extend_from_slice(&salt);
    out.extend_from_slice(&nonce_prefix);
    out.push(0);
    out.extend_from_slice(&entry.md5.unwrap_or_default());
    match (&entry.checksum, algorithm) {
        (Some(checksum), Some(algorithm)) if checksum.algorithm() == algorithm => {
            out.extend_from_slice(checksum.value());
        }
        (Some(_), _) => return Err(TableError::ChecksumAlgorithm),
        (None, algorithm) => {
            out.resize(out.len() + entry_len(algorithm) - ENTRY_LEN, 0);
        }
    }
    Ok(())
}

fn decode(bytes: &[u8], algorithm: Option<ChecksumAlgorithm>) -> Result<PartEntry, TableError> {
    let (bytes, checksum) = bytes
        .split_first_chunk::<ENTRY_LEN>()
        .ok_or(TableError::Length)?;
    let number = u16::from_be_bytes(array(&bytes[..2]));
    let number = PartNumber::new(number).ok_or(TableError::PartNumber(number))?;
    let flags = bytes[2];
    if flags & !(PINNED | HAS_MD5 | HAS_CHECKSUM) != 0
        || (flags & HAS_CHECKSUM != 0 && algorithm.is_none())
    {
        return Err(TableError::Flags(flags));
    }
    if bytes[3] != 0 || bytes[51] != 0 {
        return Err(TableError::ReservedNotZero);
    }
    let unset = |flag: u8, field: &[u8]| flags & flag == 0 && field.iter().any(|&byte| byte != 0);
    if unset(PINNED, &bytes[12..51])
        || unset(HAS_MD5, &bytes[52..])
        || unset(HAS_CHECKSUM, checksum)
    {
        return Err(TableError::ReservedNotZero);
    }
    Ok(PartEntry {
        number,
        plaintext_len: u64::from_be_bytes(array(&bytes[4..12])),
        header: (flags & PINNED != 0).then(|| StreamHeader {
            salt: array(&bytes[12..44]),
            nonce_prefix: array(&bytes[44..51]),
        }),
        md5: (flags & HAS_MD5 != 0).then(|| array(&bytes[52..])),
        checksum: algorithm
            .filter(|_| flags & HAS_CHECKSUM != 0)
            .and_then(|algorithm| Checksum::new(algorithm, checksum).ok()),
    })
}
