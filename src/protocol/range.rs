//! The `Range` header of GET and HEAD (RFC 9110, section 14) as S3 answers it.
//!
//! S3 serves one range. A header that is malformed, names another unit or several ranges is ignored
//! and the whole object is sent; only a well-formed range that misses the object is refused (416).

use std::fmt;

/// One well-formed byte range, not yet held against a length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RangeSpec {
    /// `bytes=first-last`, both inclusive offsets; `first <= last`.
    Bounded {
        /// First byte.
        first: u64,
        /// Last byte, inclusive; may lie behind the end.
        last: u64,
    },
    /// `bytes=first-`: to the end.
    From {
        /// First byte.
        first: u64,
    },
    /// `bytes=-length`: the last `length` bytes.
    Suffix {
        /// Number of bytes from the end; 0 is well-formed and never satisfiable.
        length: u64,
    },
}

/// A satisfiable range of an object: `first <= last < total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteRange {
    first: u64,
    last: u64,
    total: u64,
}

/// The range misses the object: answer 416 with `Content-Range: bytes */total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the requested range is not satisfiable for an object of {total} bytes")]
pub struct Unsatisfiable {
    /// Length of the object in bytes.
    pub total: u64,
}

impl Unsatisfiable {
    /// The `Content-Range` value of a 416 response.
    #[must_use]
    pub fn content_range(&self) -> String {
        format!("bytes */{}", self.total)
    }
}

impl RangeSpec {
    /// Reads a `Range` header value. `None` means: ignore it and send everything.
    ///
    /// Numbers too large for 64 bits count as the largest one.
    #[must_use]
    pub fn parse(value: &str) -> Option<Self> {
        let (unit, set) = value.trim_matches(is_space).split_once('=')?;
        if !unit.eq_ignore_ascii_case("bytes") || set.contains(',') {
            return None;
        }
        let (first, last) = set.split_once('-')?;
        match (first.is_empty(), last.is_empty()) {
            (true, true) => None,
            (true, false) => Some(Self::Suffix {
                length: number(last)?,
            }),
            (false, true) => Some(Self::From {
                first: number(first)?,
            }),
            (false, false) => {
                let (first, last) = (number(first)?, number(last)?);
                (first <= last).then_some(Self::Bounded { first, last })
            }
        }
    }

    /// Reads `x-amz-copy-source-range`, which must be `bytes=first-last` and lie inside the source;
    /// `None` if it does not have that form (S3: `InvalidArgument`).
    #[must_use]
    pub fn parse_copy_source(value: &str) -> Option<Self> {
        Self::parse(value).filter(|spec| matches!(spec, Self::Bounded { .. }))
    }

    /// Holds the range against an object of `total` bytes; an end behind the object is clamped.
    ///
    /// `None` for the last bytes of an empty object: they are all that it has (RFC 9110, 14.1.2), which no
    /// `Content-Range` can say, so it is sent whole.
    ///
    /// # Errors
    ///
    /// [`Unsatisfiable`] if no byte of the object is in the range.
    pub fn resolve(self, total: u64) -> Result<Option<ByteRange>, Unsatisfiable> {
        let Some(end) = total.checked_sub(1) else {
            return match self {
                Self::Suffix { length: 1.. } => Ok(None),
                _ => Err(Unsatisfiable { total }),
            };
        };
        let (first, last) = match self {
            Self::Bounded { first, last } => (first, last.min(end)),
            Self::From { first } => (first, end),
            Self::Suffix { length: 0 } => return Err(Unsatisfiable { total }),
            Self::Suffix { length } => (total.saturating_sub(length), end),
        };
        if first > end {
            return Err(Unsatisfiable { total });
        }
        Ok(Some(ByteRange { first, last, total }))
    }
}

/// The value to send as `Range` (to a store, for instance).
impl fmt::Display for RangeSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bounded { first, last } => write!(f, "bytes={first}-{last}"),
            Self::From { first } => write!(f, "bytes={first}-"),
            Self::Suffix { length } => write!(f, "bytes=-{length}"),
        }
    }
}

impl ByteRange {
    /// Offset of the first byte.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.first
    }

    /// Offset of the last byte, inclusive.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Number of bytes, at least 1.
    #[must_use]
    pub fn length(&self) -> u64 {
        // `last < total <= u64::MAX`, so this cannot overflow.
        self.last - self.first + 1
    }

    /// Length of the whole object.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The `Content-Range` value of a 206 response.
    #[must_use]
    pub fn content_range(&self) -> String {
        format!("bytes {}-{}/{}", self.first, self.last, self.total)
    }
}

fn is_space(c: char) -> bool {
    c == ' ' || c == '\t'
}

fn number(digits: &str) -> Option<u64> {
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `None` where everything is sent.
    fn resolved(header: &str, total: u64) -> Option<Result<(u64, u64), u64>> {
        let resolved = RangeSpec::parse(header)?.resolve(total).transpose()?;
        let range = resolved.map(|range| (range.first(), range.last()));
        Some(range.map_err(|error| error.total))
    }

    #[test]
    fn every_form() {
        for (header, total, want) in [
            ("bytes=0-9", 100, Some(Ok((0, 9)))),
            ("bytes=0-0", 1, Some(Ok((0, 0)))),
            ("bytes=99-", 100, Some(Ok((99, 99)))),
            ("bytes=100-", 100, Some(Err(100))),
            ("bytes=100-200", 100, Some(Err(100))),
            ("bytes=90-200", 100, Some(Ok((90, 99)))),
            ("bytes=-5", 100, Some(Ok((95, 99)))),
            ("bytes=-500", 100, Some(Ok((0, 99)))),
            ("bytes=-0", 100, Some(Err(100))),
            ("bytes=-1", 0, None),
            ("bytes=-500", 0, None),
            ("bytes=-0", 0, Some(Err(0))),
            ("bytes=0-", 0, Some(Err(0))),
            ("bytes=0-0", 0, Some(Err(0))),
            ("bytes=00-01", 0, Some(Err(0))),
            (
                "bytes=0-99999999999999999999999",
                u64::MAX,
                Some(Ok((0, u64::MAX - 1))),
            ),
            (" Bytes=1-2 ", 100, Some(Ok((1, 2)))),
            ("bytes=2-1", 100, None),
            ("bytes=-", 100, None),
            ("bytes=", 100, None),
            ("bytes", 100, None),
            ("", 100, None),
            ("bytes=0-1,3-4", 100, None),
            ("bytes=+1-2", 100, None),
            ("bytes=1--2", 100, None),
            ("bytes=1 - 2", 100, None),
            ("bytes= -1", 100, None),
            ("bytes =0-1", 100, None),
            ("octets=0-1", 100, None),
            ("bytes=0x1-2", 100, None),
        ] {
            assert_eq!(resolved(header, total), want, "{header} of {total}");
        }
    }

    #[test]
    fn header_values() {
        let range = RangeSpec::parse("bytes=1-").unwrap().resolve(10);
        let range = range.unwrap().unwrap();
        assert_eq!(range.content_range(), "bytes 1-9/10");
        assert_eq!(range.length(), 9);
        assert_eq!(Unsatisfiable { total: 7 }.content_range(), "bytes */7");
        assert_eq!(RangeSpec::parse_copy_source("bytes=1-"), None);
        assert!(RangeSpec::parse_copy_source("bytes=1-2").is_some());
    }

    proptest! {
        #[test]
        fn resolved_ranges_lie_inside(header in "bytes=[0-9]{0,21}-[0-9]{0,21}", total: u64) {
            if let Some(Ok(Some(range))) = RangeSpec::parse(&header).map(|spec| spec.resolve(total)) {
                prop_assert!(range.first() <= range.last() && range.last() < range.total());
                prop_assert!(range.length() >= 1 && range.length() <= total);
            }
        }

        #[test]
        fn never_panics(header in "\\PC{0,40}", total: u64) {
            let _ = RangeSpec::parse(&header).map(|spec| spec.resolve(total));
        }

        #[test]
        fn written_as_read(first: u64, more in 0u64..1000) {
            let spec = RangeSpec::Bounded { first, last: first.saturating_add(more) };
            prop_assert_eq!(RangeSpec::parse(&spec.to_string()), Some(spec));
        }
    }
}
