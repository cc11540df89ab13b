//! The size of a segment, checked once: a power of two between 4 KiB and 4 MiB.

use std::fmt;

use super::{STREAM_HEADER_LEN, TAG_LEN};

/// Stored bytes of a full segment: ciphertext and tag, and in segment 0 the stream's header too.
///
/// A power of two, 4,096 to 4,194,304.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentSize(u32);

impl SegmentSize {
    /// What the gateway writes: 64 KiB.
    pub const GATEWAY: Self = Self(65_536);
    /// The smallest that the format allows: 4 KiB. Stands on disk: may never change.
    pub const MIN: Self = Self(4_096);
    /// The largest that the format allows: 4 MiB. Stands on disk: may never change.
    pub const MAX: Self = Self(4_194_304);

    /// Checks a number of bytes.
    ///
    /// # Errors
    ///
    /// [`SegmentSizeError`] where it is not one of the sizes that the format allows.
    pub const fn new(bytes: u32) -> Result<Self, SegmentSizeError> {
        if bytes.is_power_of_two() && bytes >= Self::MIN.0 && bytes <= Self::MAX.0 {
            Ok(Self(bytes))
        } else {
            Err(SegmentSizeError(bytes))
        }
    }

    /// The size in bytes.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// Stored bytes of a full segment as a length in memory, the stream's header not counted:
    /// 40 bytes less in segment 0.
    #[must_use]
    pub const fn sealed_capacity(self, index: u64) -> usize {
        let full = self.0 as usize;
        if index == 0 {
            full - STREAM_HEADER_LEN
        } else {
            full
        }
    }

    /// Plaintext bytes that the segment of this index takes when it is full.
    #[must_use]
    pub const fn plaintext_capacity(self, index: u64) -> usize {
        self.sealed_capacity(index) - TAG_LEN
    }
}

impl Default for SegmentSize {
    fn default() -> Self {
        Self::GATEWAY
    }
}

impl fmt::Display for SegmentSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A segment size that the format does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("segment size {0} is not a power of two from 4096 to 4194304")]
pub struct SegmentSizeError(pub u32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_only_powers_of_two_in_range() {
        let good: Vec<u32> = (0..32)
            .map(|bit| 1 << bit)
            .filter(|&n| SegmentSize::new(n).is_ok())
            .collect();
        assert_eq!(good.first(), Some(&4_096));
        assert_eq!(good.last(), Some(&4_194_304));
        for bad in [0, 1, 4_095, 4_097, 65_535, 8_388_608, u32::MAX] {
            assert_eq!(SegmentSize::new(bad), Err(SegmentSizeError(bad)));
        }
    }

    #[test]
    fn the_first_segment_gives_room_to_the_header() {
        assert_eq!(SegmentSize::MIN.plaintext_capacity(0), 4_040);
        assert_eq!(SegmentSize::MIN.plaintext_capacity(1), 4_080);
        assert_eq!(SegmentSize::MIN.plaintext_capacity(u64::MAX), 4_080);
    }
}
