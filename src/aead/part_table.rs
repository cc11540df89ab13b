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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{ChecksumType, Etag, Parts};
    use super::*;

    const ID: ObjectId = ObjectId([6; 16]);
    const HEADER: StreamHeader = StreamHeader {
        salt: [1; 32],
        nonce_prefix: [2; 7],
    };
    const CRC: Option<ChecksumAlgorithm> = Some(ChecksumAlgorithm::Crc32c);

    fn dek() -> Dek {
        Dek::new([5; 32])
    }

    fn entry(number: u16, plaintext_len: u64) -> PartEntry {
        PartEntry {
            number: PartNumber::new(number).unwrap(),
            plaintext_len,
            header: (!number.is_multiple_of(3)).then_some(StreamHeader {
                salt: [number as u8; 32],
                nonce_prefix: [4; 7],
            }),
            md5: (!number.is_multiple_of(5)).then_some([7; 16]),
            checksum: None,
        }
    }

    fn with_checksums(entries: &mut [PartEntry], algorithm: ChecksumAlgorithm) {
        for entry in entries {
            let value = vec![9; algorithm.value_len()];
            entry.checksum = Checksum::new(algorithm, &value).ok();
        }
    }

    fn footer(entries: &[PartEntry], algorithm: Option<ChecksumAlgorithm>) -> Footer {
        let count = u16::try_from(entries.len()).unwrap();
        Footer {
            plaintext_len: entries.iter().map(|entry| entry.plaintext_len).sum(),
            core_plaintext_len: None,
            segment_size: SegmentSize::GATEWAY,
            etag: Etag::None,
            checksum: algorithm.map(|algorithm| {
                Checksum::new(algorithm, &vec![3; algorithm.value_len()]).unwrap()
            }),
            checksum_type: ChecksumType::FullObject,
            header: HEADER,
            preamble_digest: [0; 32],
            parts: Some(Parts {
                count,
                table_len: PartTable::stored_len(count, algorithm) as u32,
                part_size: 0,
            }),
        }
    }

    fn seal(
        entries: &[PartEntry],
        algorithm: Option<ChecksumAlgorithm>,
    ) -> Result<Vec<u8>, TableError> {
        PartTable::seal(Engine::AwsLc, &dek(), &ID, &HEADER, algorithm, entries)
    }

    fn table(entries: &[PartEntry], algorithm: Option<ChecksumAlgorithm>) -> PartTable {
        PartTable::new(Engine::Rust, &dek(), &ID, &footer(entries, algorithm)).unwrap()
    }

    /// A table whose plaintext is not what the encoder would write.
    fn open_edited(algorithm: Option<ChecksumAlgorithm>, at: usize, to: &[u8]) -> TableError {
        let mut entries = vec![entry(1, 10), entry(2, 20)];
        if let Some(algorithm) = algorithm {
            with_checksums(&mut entries, algorithm);
        }
        let mut plaintext = Vec::new();
        for entry in &entries {
            encode(entry, algorithm, &mut plaintext).unwrap();
        }
        plaintext[at..at + to.len()].copy_from_slice(to);
        let mut sealed = Vec::new();
        let aad = aad(&ID);
        let mut stream =
            SealStream::new(Engine::Rust, &dek(), &HEADER, SEGMENT_SIZE, &aad).unwrap();
        stream.push(&plaintext, &mut sealed).unwrap();
        stream.finish(&mut sealed).unwrap();
        table(&entries, algorithm).open(&sealed).unwrap_err()
    }

    #[test]
    fn lengths_are_those_of_the_specification() {
        assert_eq!(PartTable::stored_len(1, None), 68 + 40 + 16);
        assert_eq!(PartTable::stored_len(1, CRC), 72 + 40 + 16);
        let longest = Some(ChecksumAlgorithm::Sha256);
        assert_eq!(PartTable::stored_len(MAX_PARTS, longest), 1_003_976);
    }

    #[test]
    fn the_entries_are_strict() {
        assert_eq!(open_edited(None, 0, &[0, 0]), TableError::PartNumber(0));
        assert_eq!(
            open_edited(None, 0, &[0x27, 0x11]),
            TableError::PartNumber(10_001)
        );
        assert_eq!(open_edited(None, 0, &[0, 2]), TableError::Order(2));
        assert_eq!(open_edited(None, 69, &[1]), TableError::Order(1));
        assert_eq!(open_edited(None, 2, &[0x0b]), TableError::Flags(0x0b));
        // No checksum is known where the object has none.
        assert_eq!(open_edited(None, 2, &[0x07]), TableError::Flags(0x07));
        for (algorithm, at, to) in [
            (None, 3, 1),
            (None, 51, 1),
            (None, 2, 2),
            (None, 2, 1),
            (CRC, 2, 3),
        ] {
            let error = open_edited(algorithm, at, &[to]);
            assert_eq!(error, TableError::ReservedNotZero, "{at} {to}");
        }
        assert!(matches!(
            open_edited(None, 4, &[0xff]),
            TableError::PlaintextLen(_)
        ));
    }

    #[test]
    fn what_no_object_has_is_not_sealed() {
        assert_eq!(seal(&[], None), Err(TableError::Count(0)));
        let many: Vec<PartEntry> = (1..=MAX_PARTS).map(|n| entry(n, 1)).collect();
        assert!(seal(&many, None).is_ok());
        let more = [many, vec![entry(1, 1)]].concat();
        assert_eq!(seal(&more, None), Err(TableError::Count(10_001)));
        for second in [1, 2] {
            let entries = [entry(2, 1), entry(second, 1)];
            assert_eq!(seal(&entries, None), Err(TableError::Order(second)));
        }
        assert!(seal(&[entry(1, u64::MAX)], None).is_err());
        let mut entries = [entry(1, 1)];
        with_checksums(&mut entries, ChecksumAlgorithm::Crc32);
        assert_eq!(seal(&entries, CRC), Err(TableError::ChecksumAlgorithm));
        assert_eq!(seal(&entries, None), Err(TableError::ChecksumAlgorithm));
    }

    #[test]
    fn every_flipped_byte_and_every_other_length_is_refused() {
        let entries: Vec<PartEntry> = (1..=70).map(|n| entry(n, u64::from(n))).collect();
        let sealed = seal(&entries, None).unwrap();
        let table = table(&entries, None);
        assert_eq!(table.open(&sealed), Ok(entries));
        for at in 0..sealed.len() {
            let mut flipped = sealed.clone();
            flipped[at] ^= 1 << (at % 8);
            let expected = match at {
                0..40 => TableError::Header,
                40..4_096 => OpenError::NotAuthentic { index: 0 }.into(),
                _ => OpenError::NotAuthentic { index: 1 }.into(),
            };
            assert_eq!(table.open(&flipped), Err(expected), "{at}");
        }
        assert_eq!(table.open(&sealed[1..]), Err(TableError::Length));
        assert_eq!(
            table.open(&[&sealed[..], &[0]].concat()),
            Err(TableError::Length)
        );
        assert_eq!(table.open(&[]), Err(TableError::Length));
    }

    #[test]
    fn belongs_to_one_footer_object_and_key() {
        let entries = [entry(1, 10)];
        let sealed = seal(&entries, None).unwrap();
        let (mut other_salt, good) = (footer(&entries, None), footer(&entries, None));
        other_salt.header.salt[0] ^= 1;
        let open = |dek: &Dek, id: &ObjectId, footer: &Footer| {
            PartTable::new(Engine::Rust, dek, id, footer)
                .unwrap()
                .open(&sealed)
        };
        assert!(open(&dek(), &ID, &good).is_ok());
        assert_eq!(open(&dek(), &ID, &other_salt), Err(TableError::Header));
        let not_authentic = Err(OpenError::NotAuthentic { index: 0 }.into());
        assert_eq!(open(&dek(), &ObjectId([7; 16]), &good), not_authentic);
        assert_eq!(open(&Dek::new([4; 32]), &ID, &good), not_authentic);
        let mut single = good;
        single.parts = None;
        assert!(matches!(
            PartTable::new(Engine::Rust, &dek(), &ID, &single),
            Err(TableError::Count(0))
        ));
    }

    fn any_entries() -> impl Strategy<Value = Vec<PartEntry>> {
        prop::collection::btree_map(1u16..=MAX_PARTS, 0u64..1 << 33, 1..300)
            .prop_map(|map| map.into_iter().map(|(n, len)| entry(n, len)).collect())
    }

    fn any_algorithm() -> impl Strategy<Value = Option<ChecksumAlgorithm>> {
        prop::option::of(prop::sample::select(&ChecksumAlgorithm::ALL[..]))
    }

    proptest! {
        #[test]
        fn opens_as_it_was_sealed_whole_and_in_part(
            mut entries in any_entries(),
            algorithm in any_algorithm(),
            from: prop::sample::Index,
            to: prop::sample::Index,
        ) {
            if let Some(algorithm) = algorithm {
                with_checksums(&mut entries, algorithm);
                entries[0].checksum = None;
            }
            let sealed = seal(&entries, algorithm).unwrap();
            let table = table(&entries, algorithm);
            let count = entries.len() as u16;
            prop_assert_eq!(sealed.len() as u64, PartTable::stored_len(count, algorithm));
            prop_assert_eq!(table.stored_range(0..count), 0..sealed.len() as u64);
            prop_assert_eq!(table.open(&sealed), Ok(entries.clone()));
            let (from, to) = (from.index(entries.len()), to.index(entries.len()));
            let (from, to) = (from.min(to), from.max(to) + 1);
            let stored = table.stored_range(from as u16..to as u16);
            let stored = &sealed[stored.start as usize..stored.end as usize];
            let opened = table.open_entries(from as u16..to as u16, stored);
            prop_assert_eq!(opened.as_deref(), Ok(&entries[from..to]));
        }
    }
}
