//! Where everything is in an object of one stream: arithmetic only, from one length.

use std::ops::Range;

use super::{FOOTER_LEN, MAX_SEGMENTS, PREAMBLE_LEN, STREAM_HEADER_LEN, SegmentSize, TAG_LEN};

const PREAMBLE: u64 = PREAMBLE_LEN as u64;
const FOOTER: u64 = FOOTER_LEN as u64;
const HEADER: u64 = STREAM_HEADER_LEN as u64;
const TAG: u64 = TAG_LEN as u64;

/// Segment size and plaintext length of an object of one stream, and so every offset in it.
///
/// Offsets are those of the stored object: the preamble begins at 0. Invariant: the plaintext fits
/// into [`MAX_SEGMENTS`] segments, so no sum below overflows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    segment_size: SegmentSize,
    plaintext_len: u64,
}

impl Layout {
    /// The layout of an object that holds so many plaintext bytes.
    ///
    /// # Errors
    ///
    /// [`LayoutError::TooLong`].
    pub const fn from_plaintext_len(
        segment_size: SegmentSize,
        plaintext_len: u64,
    ) -> Result<Self, LayoutError> {
        if plaintext_len > Self::max_plaintext_len(segment_size) {
            return Err(LayoutError::TooLong);
        }
        Ok(Self {
            segment_size,
            plaintext_len,
        })
    }

    /// The layout of an object of so many stored bytes, preamble and footer included.
    ///
    /// # Errors
    ///
    /// [`LayoutError::Impossible`] for a length that no object has, [`LayoutError::TooLong`].
    pub const fn from_stored_len(
        segment_size: SegmentSize,
        stored_len: u64,
    ) -> Result<Self, LayoutError> {
        match stored_len.checked_sub(PREAMBLE + FOOTER) {
            Some(stream_len) => match Self::from_stream_len(segment_size, stream_len) {
                Err(LayoutError::Impossible(_)) => Err(LayoutError::Impossible(stored_len)),
                layout => layout,
            },
            None => Err(LayoutError::Impossible(stored_len)),
        }
    }

    /// The layout of an object whose Tink stream, its header included, has so many bytes.
    ///
    /// # Errors
    ///
    /// [`LayoutError::Impossible`] for a length that no stream has, [`LayoutError::TooLong`].
    pub const fn from_stream_len(
        segment_size: SegmentSize,
        stream_len: u64,
    ) -> Result<Self, LayoutError> {
        let size = segment_size.get() as u64;
        if stream_len < HEADER + TAG {
            return Err(LayoutError::Impossible(stream_len));
        }
        let remainder = stream_len % size;
        if stream_len > size && remainder >= 1 && remainder <= TAG {
            return Err(LayoutError::Impossible(stream_len));
        }
        let segments = stream_len.div_ceil(size);
        if segments > MAX_SEGMENTS {
            return Err(LayoutError::TooLong);
        }
        Ok(Self {
            segment_size,
            plaintext_len: stream_len - HEADER - TAG * segments,
        })
    }

    /// The longest plaintext that one stream of this segment size holds, in bytes.
    #[must_use]
    pub const fn max_plaintext_len(segment_size: SegmentSize) -> u64 {
        MAX_SEGMENTS * (segment_size.get() as u64 - TAG) - HEADER
    }

    /// The segment size.
    #[must_use]
    pub const fn segment_size(&self) -> SegmentSize {
        self.segment_size
    }

    /// Plaintext bytes of the object.
    #[must_use]
    pub const fn plaintext_len(&self) -> u64 {
        self.plaintext_len
    }

    /// Segments of the stream: at least one, the empty object's too.
    #[must_use]
    pub const fn segments(&self) -> u64 {
        (self.plaintext_len + HEADER).div_ceil(self.stride())
    }

    /// Bytes of the Tink stream, its header included.
    #[must_use]
    pub const fn stream_len(&self) -> u64 {
        self.plaintext_len + HEADER + TAG * self.segments()
    }

    /// Bytes of a part that is this stream: preamble and stream, no footer.
    #[must_use]
    pub const fn part_len(&self) -> u64 {
        PREAMBLE + self.stream_len()
    }

    /// Bytes of the stored object, preamble and footer included.
    #[must_use]
    pub const fn stored_len(&self) -> u64 {
        PREAMBLE + self.stream_len() + FOOTER
    }

    /// Whether the segment of this index is the stream's last.
    #[must_use]
    pub const fn is_last(&self, index: u64) -> bool {
        index == self.segments() - 1
    }

    /// Plaintext bytes of the segment; 0 beyond the last.
    #[must_use]
    pub fn segment_plaintext_len(&self, index: u64) -> usize {
        let range = self.segment_stored_range(index);
        usize::try_from((range.end - range.start).saturating_sub(TAG)).unwrap_or(0)
    }

    /// Where the segment's `ciphertext ‖ tag` stands in the object; empty beyond the last. That of
    /// segment 0 begins behind preamble and stream header, at 552.
    #[must_use]
    pub fn segment_stored_range(&self, index: u64) -> Range<u64> {
        self.stored_range(index..index.saturating_add(1))
    }

    /// Where the `ciphertext ‖ tag` of consecutive segments stand in the object: what a ranged read
    /// of the store must fetch. Clamped to the segments that there are.
    #[must_use]
    pub fn stored_range(&self, segments: Range<u64>) -> Range<u64> {
        self.segment_offset(segments.start)..self.segment_offset(segments.end)
    }

    /// Where the footer stands in the object.
    #[must_use]
    pub const fn footer_range(&self) -> Range<u64> {
        self.stored_len() - FOOTER..self.stored_len()
    }

    /// The segment that holds the plaintext byte at this offset, and where in its plaintext; none at
    /// or behind the end.
    #[must_use]
    pub fn locate(&self, plaintext_offset: u64) -> Option<(u64, usize)> {
        if plaintext_offset >= self.plaintext_len {
            return None;
        }
        let index = (plaintext_offset + HEADER) / self.stride();
        let within = plaintext_offset - self.plaintext_start(index);
        Some((index, usize::try_from(within).ok()?))
    }

    /// The segments that hold a range of plaintext bytes, clamped to the plaintext; empty where
    /// nothing of it is there.
    #[must_use]
    pub fn segments_of(&self, plaintext: Range<u64>) -> Range<u64> {
        let end = plaintext.end.min(self.plaintext_len);
        if plaintext.start >= end {
            return 0..0;
        }
        let stride = self.stride();
        (plaintext.start + HEADER) / stride..(end - 1 + HEADER) / stride + 1
    }

    /// The plaintext offset at which the segment begins; the plaintext's length beyond the last.
    #[must_use]
    pub fn plaintext_start(&self, index: u64) -> u64 {
        if index == 0 {
            0
        } else if index >= self.segments() {
            self.plaintext_len
        } else {
            index * self.stride() - HEADER
        }
    }

    /// Plaintext bytes from one segment to the next; the stream header counts as plaintext here.
    const fn stride(&self) -> u64 {
        self.segment_size.get() as u64 - TAG
    }

    /// The object offset at which the segment's ciphertext begins; the stream's end beyond the last.
    fn segment_offset(&self, index: u64) -> u64 {
        if index == 0 {
            PREAMBLE + HEADER
        } else if index >= self.segments() {
            PREAMBLE + self.stream_len()
        } else {
            PREAMBLE + index * u64::from(self.segment_size.get())
        }
    }
}

/// A length that no object can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// No plaintext has this stored length: it is shorter than the empty object, or its last segment
    /// would hold no plaintext.
    #[error("no sealed object is {0} bytes long")]
    Impossible(u64),
    /// It needs more segments than a stream can have.
    #[error("longer than one stream can be")]
    TooLong,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const S: SegmentSize = SegmentSize::MIN;

    fn any_size() -> impl Strategy<Value = SegmentSize> {
        (12u32..=22).prop_map(|bit| SegmentSize::new(1 << bit).unwrap())
    }

    #[test]
    fn boundaries() {
        for (plaintext, segments, stored) in [
            (0, 1, 824),
            (1, 1, 825),
            (4_040, 1, 512 + 4_096 + 256),
            (4_041, 2, 512 + 4_096 + 17 + 256),
            (8_120, 2, 512 + 8_192 + 256),
            (8_121, 3, 512 + 8_192 + 17 + 256),
        ] {
            let layout = Layout::from_plaintext_len(S, plaintext).unwrap();
            assert_eq!(layout.segments(), segments, "{plaintext}");
            assert_eq!(layout.stored_len(), stored, "{plaintext}");
            assert_eq!(Layout::from_stored_len(S, stored), Ok(layout));
        }
    }

    #[test]
    fn exactly_the_lengths_of_the_specification_are_impossible() {
        for stored in 0..40_000u64 {
            let impossible = match stored.checked_sub(768) {
                None => true,
                Some(t) => t < 56 || (t > 4_096 && (1..=16).contains(&(t % 4_096))),
            };
            assert_eq!(
                Layout::from_stored_len(S, stored).is_err(),
                impossible,
                "{stored}"
            );
        }
    }

    #[test]
    fn the_longest_stream() {
        for size in [SegmentSize::MIN, SegmentSize::GATEWAY, SegmentSize::MAX] {
            let max = Layout::max_plaintext_len(size);
            let layout = Layout::from_plaintext_len(size, max).unwrap();
            assert_eq!(layout.segments(), MAX_SEGMENTS);
            assert_eq!(
                Layout::from_stored_len(size, layout.stored_len()),
                Ok(layout)
            );
            assert_eq!(
                Layout::from_plaintext_len(size, max + 1),
                Err(LayoutError::TooLong)
            );
            assert_eq!(
                Layout::from_stored_len(size, layout.stored_len() + 17),
                Err(LayoutError::TooLong)
            );
        }
        assert!(Layout::from_plaintext_len(S, u64::MAX).is_err());
        assert!(Layout::from_stored_len(S, u64::MAX).is_err());
    }

    #[test]
    fn the_empty_object_has_one_empty_segment() {
        let layout = Layout::from_plaintext_len(S, 0).unwrap();
        assert_eq!(layout.segment_stored_range(0), 552..568);
        assert_eq!(layout.segment_plaintext_len(0), 0);
        assert_eq!(layout.locate(0), None);
        assert_eq!(layout.segments_of(0..10), 0..0);
    }

    #[test]
    fn beyond_the_end_there_is_nothing() {
        let layout = Layout::from_plaintext_len(S, 5_000).unwrap();
        assert_eq!(layout.segment_plaintext_len(2), 0);
        assert_eq!(layout.segment_plaintext_len(u64::MAX), 0);
        assert!(layout.segment_stored_range(u64::MAX).is_empty());
        assert_eq!(layout.plaintext_start(u64::MAX), 5_000);
        assert_eq!(layout.locate(u64::MAX), None);
        assert_eq!(layout.segments_of(0..u64::MAX), 0..2);
        assert_eq!(
            layout.stored_range(0..u64::MAX).end,
            layout.footer_range().start
        );
    }

    proptest! {
        #[test]
        fn stored_length_gives_the_plaintext_length_back(size in any_size(), plaintext in 0u64..1 << 43) {
            let layout = Layout::from_plaintext_len(size, plaintext).unwrap();
            prop_assert_eq!(Layout::from_stored_len(size, layout.stored_len()), Ok(layout));
            prop_assert_eq!(Layout::from_stream_len(size, layout.stream_len()), Ok(layout));
        }

        #[test]
        fn a_possible_stored_length_has_one_plaintext_length(size in any_size(), stored in 0u64..1 << 44) {
            if let Ok(layout) = Layout::from_stored_len(size, stored) {
                prop_assert_eq!(layout.stored_len(), stored);
            }
        }

        #[test]
        fn segments_tile_plaintext_and_object(size in any_size(), plaintext in 0u64..1 << 24) {
            let layout = Layout::from_plaintext_len(size, plaintext).unwrap();
            let (mut start, mut offset) = (0, 552);
            for index in 0..layout.segments() {
                let range = layout.segment_stored_range(index);
                prop_assert_eq!(range.start, offset);
                prop_assert_eq!(layout.plaintext_start(index), start);
                let len = layout.segment_plaintext_len(index);
                prop_assert!(len > 0 || plaintext == 0);
                prop_assert_eq!(layout.is_last(index) || len == size.plaintext_capacity(index), true);
                start += len as u64;
                offset = range.end;
            }
            prop_assert_eq!(start, plaintext);
            prop_assert_eq!(offset, layout.footer_range().start);
        }

        #[test]
        fn locate_finds_the_byte(size in any_size(), plaintext in 1u64..1 << 40, at in any::<prop::sample::Index>()) {
            let layout = Layout::from_plaintext_len(size, plaintext).unwrap();
            let offset = at.index(usize::try_from(plaintext).unwrap()) as u64;
            let (index, within) = layout.locate(offset).unwrap();
            prop_assert!(within < layout.segment_plaintext_len(index));
            prop_assert_eq!(layout.plaintext_start(index) + within as u64, offset);
            prop_assert_eq!(layout.segments_of(offset..offset + 1), index..index + 1);
        }
    }
}
