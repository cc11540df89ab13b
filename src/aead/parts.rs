//! Objects uploaded in parts: one stream for each part, and what footer and part table say of them.

use super::{
    Checksum, Core, Dek, Footer, Layout, LayoutError, MismatchError, ObjectId, SegmentSize,
    StreamHeader,
};

/// The most parts that an object has, and the highest part number. Stands on disk: may never change.
pub const MAX_PARTS: u16 = 10_000;

/// The number that a part was uploaded with: 1 to [`MAX_PARTS`]. They ascend within an object; not
/// every number need be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartNumber(u16);

impl PartNumber {
    /// Takes a number; none where it is outside 1 to [`MAX_PARTS`].
    #[must_use]
    pub const fn new(number: u16) -> Option<Self> {
        if number >= 1 && number <= MAX_PARTS {
            Some(Self(number))
        } else {
            None
        }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl std::fmt::Display for PartNumber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(&self.0, f)
    }
}

/// What the part table says of one part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartEntry {
    /// The part's number.
    pub number: PartNumber,
    /// Plaintext bytes of the part.
    pub plaintext_len: u64,
    /// Salt and nonce prefix of the part's stream, where the part is *pinned*: its writer knew them
    /// when the upload was completed. Of a part that is not pinned they are read from the part.
    pub header: Option<StreamHeader>,
    /// MD5 of the part's plaintext, where it is known.
    pub md5: Option<[u8; 16]>,
    /// Checksum of the part's plaintext, where it is known. Its algorithm is that of the footer.
    pub checksum: Option<Checksum>,
}

impl PartEntry {
    /// The core that the part's preamble must hold.
    #[must_use]
    pub fn core(&self, dek: &Dek, object_id: ObjectId, segment_size: SegmentSize) -> Core {
        Core::part(
            dek,
            object_id,
            segment_size,
            self.number,
            self.plaintext_len,
        )
    }

    /// The layout of the part; offsets are those from the part's own preamble.
    ///
    /// # Errors
    ///
    /// [`LayoutError::TooLong`] where no stream of this segment size is that long.
    pub const fn layout(&self, segment_size: SegmentSize) -> Result<Layout, LayoutError> {
        Layout::from_plaintext_len(segment_size, self.plaintext_len)
    }
}

/// What the footer of an object in parts says of all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts {
    /// Parts of the object: 1 to [`MAX_PARTS`].
    pub count: u16,
    /// Stored bytes of the part table.
    pub table_len: u32,
    /// Plaintext bytes of every part but the last, which may have any length; of one part, its own.
    /// 0 where they differ.
    pub part_size: u64,
}

impl Parts {
    /// Plaintext bytes of the part with this index, where the part size tells them: none where parts
    /// differ, or there is no such part.
    #[must_use]
    pub fn len_of(&self, index: u16, plaintext_len: u64) -> Option<u64> {
        let last = self.count.checked_sub(1)?;
        if index > last || (self.part_size == 0 && last > 0) {
            None
        } else if index < last {
            Some(self.part_size)
        } else {
            plaintext_len.checked_sub(self.part_size.checked_mul(u64::from(last))?)
        }
    }

    /// Whether the part size can be that of so many parts with so many bytes.
    pub(super) fn fits(&self, plaintext_len: u64) -> bool {
        match self.count {
            1 => self.part_size == plaintext_len,
            count => self
                .part_size
                .checked_mul(u64::from(count.saturating_sub(1)))
                .is_some_and(|before| before <= plaintext_len),
        }
    }
}

impl Footer {
    /// Checks all entries of an object in parts against the footer and the bytes that the store
    /// holds. That the MD5s and a composite checksum make up the object's is not checked here.
    ///
    /// # Errors
    ///
    /// [`MismatchError`].
    pub fn verify_entries(
        &self,
        entries: &[PartEntry],
        stored_len: u64,
    ) -> Result<(), MismatchError> {
        let parts = self.parts.ok_or(MismatchError::StoredLength)?;
        if entries.len() != usize::from(parts.count) {
            return Err(MismatchError::PartLengths);
        }
        let (mut plaintext_len, mut stored) = (0u64, self.behind_parts());
        for (index, entry) in (0u16..).zip(entries) {
            let layout = entry
                .layout(self.segment_size)
                .map_err(|_| MismatchError::PartLengths)?;
            plaintext_len = plaintext_len
                .checked_add(entry.plaintext_len)
                .ok_or(MismatchError::PartLengths)?;
            stored = stored
                .checked_add(layout.part_len())
                .ok_or(MismatchError::PartLengths)?;
            let size = parts.len_of(index, self.plaintext_len);
            if parts.part_size != 0 && size != Some(entry.plaintext_len) {
                return Err(MismatchError::PartSize);
            }
            if self.etag.is_of_parts() && entry.md5.is_none()
                || self.has_composite_checksum() && entry.checksum.is_none()
            {
                return Err(MismatchError::PartSums);
            }
        }
        if plaintext_len != self.plaintext_len {
            return Err(MismatchError::PartLengths);
        }
        if stored != stored_len {
            return Err(MismatchError::StoredLength);
        }
        Ok(())
    }

    /// Checks the stored length without the part table, as far as the footer alone can tell: fully
    /// where the parts have one size, else within the bounds that so many parts allow.
    ///
    /// # Errors
    ///
    /// [`MismatchError::StoredLength`].
    pub fn verify_stored_len(&self, stored_len: u64) -> Result<(), MismatchError> {
        let Some(parts) = self.parts else {
            return self.layout(stored_len).map(drop);
        };
        let of = |len| Layout::from_plaintext_len(self.segment_size, len).map(|l| l.part_len());
        let sum = || {
            let last = parts.count.checked_sub(1)?;
            let tail = parts.len_of(last, self.plaintext_len)?;
            of(parts.part_size)
                .ok()?
                .checked_mul(u64::from(last))?
                .checked_add(of(tail).ok()?)?
                .checked_add(self.behind_parts())
        };
        let fits = if parts.part_size != 0 || parts.count == 1 {
            sum() == Some(stored_len)
        } else {
            // Each part has at least one segment, and a cut makes at most one more than its own header needs.
            let overhead = stored_len
                .checked_sub(self.behind_parts())
                .and_then(|streams| streams.checked_sub(self.plaintext_len));
            let part = of(0).unwrap_or(0);
            let least = part * u64::from(parts.count);
            let most = of(self.plaintext_len)
                .unwrap_or(u64::MAX)
                .saturating_sub(self.plaintext_len)
                .saturating_add(2 * least);
            overhead.is_some_and(|overhead| (least..=most).contains(&overhead))
        };
        if fits {
            Ok(())
        } else {
            Err(MismatchError::StoredLength)
        }
    }

    /// Bytes behind the last part: table and footer.
    fn behind_parts(&self) -> u64 {
        let table = self.parts.map_or(0, |parts| parts.table_len);
        u64::from(table) + super::FOOTER_LEN as u64
    }
}
