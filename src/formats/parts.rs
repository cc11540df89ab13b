//! Objects in parts: where a range of the plaintext stands, and what the part table must say of it.

use std::ops::Range;

use md5::{Digest as _, Md5};
use sha2::Sha256;

use super::Integrity;
use super::v1::{Opened, protocol_checksum};
use crate::aead::{
    ChecksumType, Engine, Etag, FOOTER_LEN, Footer, Layout, PartEntry, PartNumber, PartTable,
    Parts, STREAM_HEADER_LEN,
};
use crate::protocol::checksum::Checksum;
use crate::pump::Begin;

/// The shortest part but the last, in plaintext bytes: S3 takes no shorter one.
const MIN_PART: u64 = 5 * 1024 * 1024;

/// The longest part table of an object of so many stored bytes that was uploaded as S3 demands. Others
/// may have a longer one; this is for asking a store for about the right number of bytes at once.
pub fn longest_table(stored_len: u64) -> u64 {
    let parts = stored_len / MIN_PART + 1;
    let count = u16::try_from(parts).unwrap_or(u16::MAX);
    let longest = crate::aead::ChecksumAlgorithm::Sha256;
    PartTable::stored_len(count.min(crate::aead::MAX_PARTS), Some(longest))
}

/// Where a range of the plaintext stands in the stored object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The parts that hold it, by their index; 0..1 of an object of one stream.
    pub parts: Range<u16>,
    /// Stored offset of the first of them.
    pub offset: u64,
    /// Where the first of them begins.
    pub begin: Begin,
    /// The last segment of the last of them.
    pub last: u64,
    /// Offset of the range in the plaintext of the first of them.
    pub start: u64,
    /// Plaintext bytes.
    pub len: u64,
    /// The stored bytes to fetch.
    pub stored: Range<u64>,
}

impl Place {
    /// The stored bytes of the first stream's header, where they are not among those to fetch.
    pub fn header(&self) -> Option<Range<u64>> {
        let at = self.offset + crate::aead::PREAMBLE_LEN as u64;
        match self.begin {
            Begin::Preamble => None,
            Begin::Segment(_) => Some(at..at + STREAM_HEADER_LEN as u64),
        }
    }
}

/// The part table of an object: how to open it, and what it says once it has been read.
pub struct Table {
    /// What the footer says of the parts.
    pub parts: Parts,
    opener: PartTable,
    /// The entries, and the SHA-256 of the table's stored bytes.
    read: Option<(Vec<PartEntry>, [u8; 32])>,
    /// Stored offset of the table.
    offset: u64,
}

impl Table {
    pub(super) fn new(
        engine: Engine,
        opened: &Opened,
        footer: &Footer,
        parts: Parts,
        stored_len: u64,
    ) -> Result<Self, Integrity> {
        let opener = PartTable::new(engine, &opened.dek, &opened.object_id, footer)
            .map_err(|_| Integrity::PartTable)?;
        let offset = stored_len
            .checked_sub(FOOTER_LEN as u64 + u64::from(parts.table_len))
            .ok_or(Integrity::Length)?;
        Ok(Self {
            parts,
            opener,
            read: None,
            offset,
        })
    }

    /// Where the table stands in the object.
    pub fn stored(&self) -> Range<u64> {
        self.offset..self.offset + u64::from(self.parts.table_len)
    }

    /// Where the segments of the table stand that hold these parts' entries.
    pub fn stored_entries(&self, parts: Range<u16>) -> Range<u64> {
        let within = self.opener.stored_range(parts);
        self.offset + within.start..self.offset + within.end
    }

    /// The entries, and the SHA-256 of the table's stored bytes; none before the table was read.
    pub fn entries(&self) -> Option<(&[PartEntry], &[u8; 32])> {
        self.read
            .as_ref()
            .map(|(entries, digest)| (entries.as_slice(), digest))
    }

    /// Opens the entries of some parts, from the bytes of [`Table::stored_entries`].
    ///
    /// # Errors
    /// [`Integrity::PartTable`].
    pub fn open_entries(
        &self,
        parts: Range<u16>,
        stored: &[u8],
    ) -> Result<Vec<PartEntry>, Integrity> {
        self.opener
            .open_entries(parts, stored)
            .map_err(|_| Integrity::PartTable)
    }

    pub(super) fn read(
        &mut self,
        footer: &Footer,
        stored: &[u8],
        stored_len: u64,
    ) -> Result<(), Integrity> {
        let entries = self.opener.open(stored).map_err(|_| Integrity::PartTable)?;
        footer
            .verify_entries(&entries, stored_len)
            .map_err(|error| match error {
                crate::aead::MismatchError::StoredLength => Integrity::Length,
                _ => Integrity::PartTable,
            })?;
        verify_sums(footer, &entries).map_err(|_| Integrity::PartTable)?;
        self.read = Some((entries, Sha256::digest(stored).into()));
        Ok(())
    }

    /// The part that has this number: its index, and the plaintext that it holds. None before the table
    /// was read, or where no part has it.
    pub fn find(&self, number: PartNumber) -> Option<(u16, Range<u64>)> {
        let (entries, _) = self.entries()?;
        let mut begins = 0u64;
        for (index, entry) in (0u16..).zip(entries) {
            let ends = begins.checked_add(entry.plaintext_len)?;
            if entry.number == number {
                return Some((index, begins..ends));
            }
            begins = ends;
        }
        None
    }

    /// The plaintext that the part with this index holds, where the footer alone tells.
    pub fn guess(&self, footer: &Footer, index: u16) -> Option<Range<u64>> {
        let len = self.parts.len_of(index, footer.plaintext_len)?;
        let begins = self.parts.part_size.checked_mul(u64::from(index))?;
        Some(begins..begins.checked_add(len)?)
    }

    /// Plaintext bytes of a part, from the table or the part size.
    fn len_of(&self, footer: &Footer, index: u16) -> Option<u64> {
        match self.entries() {
            Some((entries, _)) => entries.get(usize::from(index)).map(|e| e.plaintext_len),
            None => self.parts.len_of(index, footer.plaintext_len),
        }
    }

    pub(super) fn place(&self, footer: &Footer, plaintext: Range<u64>) -> Option<Place> {
        let (mut begins, mut offset) = (0u64, 0u64);
        let mut first: Option<(u16, u64, Begin, u64, u64)> = None;
        for index in 0..self.parts.count {
            let len = self.len_of(footer, index)?;
            let layout = Layout::from_plaintext_len(footer.segment_size, len).ok()?;
            let ends = begins.checked_add(len)?;
            if plaintext.start < ends && first.is_none() {
                let segment = layout.segments_of(plaintext.start - begins..len).start;
                let (begin, at) = match segment {
                    0 => (Begin::Preamble, 0),
                    at => (Begin::Segment(at), layout.segment_stored_range(at).start),
                };
                first = Some((index, offset, begin, offset + at, plaintext.start - begins));
            }
            if let Some((from, at, begin, stored, start)) = first
                && plaintext.end <= ends
            {
                let last = layout
                    .segments_of(0..plaintext.end - begins)
                    .end
                    .checked_sub(1)?;
                return Some(Place {
                    parts: from..index + 1,
                    offset: at,
                    begin,
                    last,
                    start,
                    len: plaintext.end - plaintext.start,
                    stored: stored..offset + layout.segment_stored_range(last).end,
                });
            }
            begins = ends;
            offset = offset.checked_add(layout.part_len())?;
        }
        None
    }

    /// Checks the entries of a place against the lengths that it was made with.
    pub(super) fn check(
        &self,
        footer: &Footer,
        place: &Place,
        entries: &[PartEntry],
    ) -> Result<(), Integrity> {
        let fits = entries.len() == usize::from(place.parts.end - place.parts.start)
            && place
                .parts
                .clone()
                .zip(entries)
                .all(|(index, entry)| self.len_of(footer, index) == Some(entry.plaintext_len));
        if fits {
            Ok(())
        } else {
            Err(Integrity::PartTable)
        }
    }
}

/// What an object's ETag or checksum says, the parts' own do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SumsError {
    /// The ETag is not the MD5 of the parts' MD5s.
    #[error("the ETag is not that of the parts' MD5s")]
    Md5,
    /// The composite checksum is not that of the parts' checksums.
    #[error("the checksum is not that of the parts' checksums")]
    Checksum,
}

/// Checks that the parts' MD5s make up the ETag, and their checksums a composite one.
///
/// # Errors
/// [`SumsError`].
pub fn verify_sums(footer: &Footer, entries: &[PartEntry]) -> Result<(), SumsError> {
    if let Etag::Multipart(expected) = footer.etag {
        let mut md5 = Md5::new();
        for entry in entries {
            md5.update(entry.md5.ok_or(SumsError::Md5)?);
        }
        if md5.finalize()[..] != expected {
            return Err(SumsError::Md5);
        }
    }
    if footer.checksum_type == ChecksumType::Composite
        && let Some(expected) = footer.checksum.as_ref().and_then(protocol_checksum)
    {
        let mut values = Vec::with_capacity(entries.len() * expected.as_bytes().len());
        for entry in entries {
            let checksum = entry.checksum.as_ref().ok_or(SumsError::Checksum)?;
            values.extend_from_slice(checksum.value());
        }
        if Checksum::of(expected.algorithm(), &values) != expected {
            return Err(SumsError::Checksum);
        }
    }
    Ok(())
}
