//! Patterns of bucket names: `*` stands for any run of characters, everything else for itself.

use std::cmp::Ordering;
use std::fmt;

use thiserror::Error;

/// The longest pattern taken; bucket names themselves have at most 63 characters (255 on old stores).
const LONGEST: usize = 255;

/// A bucket name, or a pattern of them.
///
/// Patterns are ordered from the most specific to the least: names, then longer globs, then
/// shorter ones, `*` last. Equally long globs are ordered by their text, so that the order never
/// depends on that of the file.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Pattern(Box<str>);

impl Pattern {
    /// Reads a pattern: letters, digits, `.`, `-`, `_` and `*`.
    ///
    /// # Errors
    ///
    /// [`PatternError`] for an empty or overlong pattern, for a character that no bucket name has,
    /// and for `**`, which means no more than `*`.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        if text.len() > LONGEST {
            return Err(PatternError::TooLong);
        }
        if let Some(bad) = text
            .chars()
            .find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '*')))
        {
            return Err(PatternError::Character(bad));
        }
        if text.contains("**") {
            return Err(PatternError::DoubleStar);
        }
        Ok(Self(text.into()))
    }

    /// The pattern that every name fits.
    #[must_use]
    pub fn any() -> Self {
        Self("*".into())
    }

    /// The pattern as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the pattern is one bucket's name.
    #[must_use]
    pub fn is_name(&self) -> bool {
        !self.0.contains('*')
    }

    /// Whether `bucket` fits. Takes time linear in `bucket` and the pattern: each literal piece is
    /// taken where it first occurs, which is never worse than anywhere later.
    #[must_use]
    pub fn matches(&self, bucket: &str) -> bool {
        let Some((first, rest)) = self.0.split_once('*') else {
            return *self.0 == *bucket;
        };
        let Some(mut remaining) = bucket.strip_prefix(first) else {
            return false;
        };
        let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
        for piece in middle.split('*').filter(|piece| !piece.is_empty()) {
            match remaining.find(piece) {
                Some(at) => remaining = remaining.get(at + piece.len()..).unwrap_or_default(),
                None => return false,
            }
        }
        remaining.ends_with(last)
    }
}

impl Ord for Pattern {
    fn cmp(&self, other: &Self) -> Ordering {
        other
            .is_name()
            .cmp(&self.is_name())
            .then_with(|| other.0.len().cmp(&self.0.len()))
            .then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for Pattern {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

/// Why a text is no bucket pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PatternError {
    /// Nothing stands there.
    #[error("is empty")]
    Empty,
    /// Longer than any bucket name.
    #[error("is longer than {LONGEST} characters")]
    TooLong,
    /// A character that no bucket name has.
    #[error("contains {0:?}, which no bucket name does")]
    Character(char),
    /// `**`.
    #[error("contains `**`; one `*` already stands for any run of characters")]
    DoubleStar,
}
