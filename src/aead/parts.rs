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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{ChecksumAlgorithm, ChecksumType, Etag, PartTable};
    use super::*;

    fn entry(number: u16, plaintext_len: u64) -> PartEntry {
        PartEntry {
            number: PartNumber::new(number).unwrap(),
            plaintext_len,
            header: None,
            md5: Some([1; 16]),
            checksum: None,
        }
    }

    fn entries(lens: &[u64]) -> Vec<PartEntry> {
        (1..).zip(lens).map(|(n, &len)| entry(n, len)).collect()
    }

    fn footer(lens: &[u64], part_size: u64) -> Footer {
        let count = u16::try_from(lens.len()).unwrap();
        Footer {
            plaintext_len: lens.iter().sum(),
            core_plaintext_len: None,
            segment_size: SegmentSize::MIN,
            etag: Etag::Multipart([2; 16]),
            checksum: None,
            checksum_type: ChecksumType::FullObject,
            header: StreamHeader {
                salt: [3; 32],
                nonce_prefix: [4; 7],
            },
            preamble_digest: [5; 32],
            parts: Some(Parts {
                count,
                table_len: PartTable::stored_len(count, None) as u32,
                part_size,
            }),
        }
    }

    fn stored_len(lens: &[u64]) -> u64 {
        let part = |&len: &u64| 512 + len + 40 + 16 * (len + 40).div_ceil(4_080);
        let table = PartTable::stored_len(lens.len() as u16, None);
        lens.iter().map(part).sum::<u64>() + table + 256
    }

    #[test]
    fn numbers_are_1_to_10_000() {
        for bad in [0, 10_001, u16::MAX] {
            assert_eq!(PartNumber::new(bad), None);
        }
        for good in [1, 10_000] {
            assert_eq!(PartNumber::new(good).map(PartNumber::get), Some(good));
        }
    }

    #[test]
    fn the_part_size_tells_lengths() {
        let parts = |count, part_size| Parts {
            count,
            table_len: 0,
            part_size,
        };
        assert_eq!(parts(3, 10).len_of(1, 25), Some(10));
        assert_eq!(parts(3, 10).len_of(2, 25), Some(5));
        assert_eq!(parts(3, 10).len_of(3, 25), None);
        assert_eq!(parts(3, 0).len_of(0, 25), None);
        assert_eq!(parts(1, 0).len_of(0, 0), Some(0));
        assert_eq!(parts(2, 10).len_of(1, 5), None);
        assert_eq!(parts(3, u64::MAX).len_of(2, 25), None);
    }

    #[test]
    fn entries_must_make_up_the_object() {
        let lens = [100, 100, 30];
        let (good, stored) = (footer(&lens, 100), stored_len(&lens));
        let verify =
            |footer: &Footer, lens: &[u64], stored| footer.verify_entries(&entries(lens), stored);
        assert_eq!(verify(&good, &lens, stored), Ok(()));
        assert_eq!(
            verify(&good, &lens, stored + 1),
            Err(MismatchError::StoredLength)
        );
        assert_eq!(
            verify(&good, &lens[..2], stored),
            Err(MismatchError::PartLengths)
        );
        for (part_size, other, error) in [
            (100, [100, 99, 31], MismatchError::PartSize),
            (100, [99, 100, 31], MismatchError::PartSize),
            (100, [100, 100, 31], MismatchError::PartSize),
            (0, [100, 100, 31], MismatchError::PartLengths),
            (0, [100, 100, u64::MAX], MismatchError::PartLengths),
        ] {
            let footer = footer(&lens, part_size);
            assert_eq!(verify(&footer, &other, stored), Err(error), "{other:?}");
        }
        let mut without = entries(&lens);
        without[1].md5 = None;
        assert_eq!(
            good.verify_entries(&without, stored),
            Err(MismatchError::PartSums)
        );
        let mut composite = good;
        composite.checksum = Checksum::new(ChecksumAlgorithm::Crc32, &[0; 4]).ok();
        composite.checksum_type = ChecksumType::Composite;
        assert_eq!(
            verify(&composite, &lens, stored),
            Err(MismatchError::PartSums)
        );
        let mut single = good;
        single.parts = None;
        assert!(verify(&single, &lens, stored).is_err());
    }

    #[test]
    fn a_part_is_no_object_of_one_stream() {
        let footer = footer(&[100], 100);
        assert!(footer.layout(stored_len(&[100])).is_err());
        assert!(footer.layout(824 + 100).is_err());
    }

    proptest! {
        #[test]
        fn the_footer_alone_never_refuses_a_right_length(
            lens in prop::collection::vec(0u64..200_000, 1..50),
        ) {
            let part_size = if lens.len() == 1 { lens[0] } else { 0 };
            let footer = footer(&lens, part_size);
            let stored = stored_len(&lens);
            prop_assert_eq!(footer.verify_entries(&entries(&lens), stored), Ok(()));
            prop_assert_eq!(footer.verify_stored_len(stored), Ok(()));
            prop_assert!(footer.verify_stored_len(footer.plaintext_len).is_err());
            prop_assert!(footer.verify_stored_len(u64::MAX).is_err());
        }

        #[test]
        fn with_a_part_size_the_footer_knows_the_length(
            size in 1u64..200_000, count in 1usize..50, last in 0u64..200_000,
        ) {
            let mut lens = vec![size; count];
            lens.push(last);
            let footer = footer(&lens, size);
            let stored = stored_len(&lens);
            prop_assert_eq!(footer.verify_stored_len(stored), Ok(()));
            for wrong in [stored - 1, stored + 1, 0] {
                prop_assert_eq!(footer.verify_stored_len(wrong), Err(MismatchError::StoredLength));
            }
        }
    }
}
