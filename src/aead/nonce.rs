//! The nonce of a segment: prefix, counter and last flag in one value that cannot be used twice.

/// Segments of one stream, at most: the counter has 32 bits. Stands on disk: may never change.
pub const MAX_SEGMENTS: u64 = 1 << 32;

/// The nonce of segment `index`, or none where the counter has no room for it.
pub(super) fn nonce(prefix: [u8; 7], index: u64, last: bool) -> Option<[u8; 12]> {
    let counter = u32::try_from(index).ok()?;
    let mut nonce = [0; 12];
    nonce[..7].copy_from_slice(&prefix);
    nonce[7..11].copy_from_slice(&counter.to_be_bytes());
    nonce[11] = u8::from(last);
    Some(nonce)
}

/// Hands out the nonces of a stream in order, each once.
///
/// Invariant: `next` is at most [`MAX_SEGMENTS`]; once `finished` it yields nothing more.
#[derive(Debug)]
pub(super) struct NonceSequence {
    prefix: [u8; 7],
    next: u64,
    finished: bool,
}

impl NonceSequence {
    pub(super) const fn new(prefix: [u8; 7]) -> Self {
        Self {
            prefix,
            next: 0,
            finished: false,
        }
    }

    /// Index of the segment that comes next.
    pub(super) const fn index(&self) -> u64 {
        self.next
    }

    /// Whether the last segment's nonce was taken.
    pub(super) const fn finished(&self) -> bool {
        self.finished
    }

    /// The next nonce; none after the last one, and none when the counter is used up.
    pub(super) fn take(&mut self, last: bool) -> Option<[u8; 12]> {
        if self.finished {
            return None;
        }
        let nonce = nonce(self.prefix, self.next, last)?;
        self.next += 1;
        self.finished = last;
        Some(nonce)
    }

    #[cfg(test)]
    pub(super) const fn skip_to(&mut self, index: u64) {
        self.next = index;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout_is_prefix_counter_flag() {
        assert_eq!(
            nonce([9; 7], 0x0102_0304, true),
            Some([9, 9, 9, 9, 9, 9, 9, 1, 2, 3, 4, 1])
        );
        assert_eq!(nonce([9; 7], MAX_SEGMENTS, false), None);
    }

    #[test]
    fn nothing_follows_the_last() {
        let mut nonces = NonceSequence::new([0; 7]);
        assert!(nonces.take(false).is_some());
        assert!(nonces.take(true).is_some());
        assert!(nonces.finished());
        assert_eq!(nonces.take(false), None);
        assert_eq!(nonces.take(true), None);
    }

    #[test]
    fn the_counter_ends_and_does_not_wrap() {
        let mut nonces = NonceSequence::new([0; 7]);
        nonces.skip_to(MAX_SEGMENTS - 1);
        assert!(nonces.take(false).is_some());
        assert_eq!(nonces.index(), MAX_SEGMENTS);
        assert_eq!(nonces.take(true), None);
        assert_eq!(nonces.index(), MAX_SEGMENTS);
    }
}
