//! The key of `kind: local`, as the configuration holds it.

use std::fmt;

use zeroize::Zeroizing;

use crate::keys::{KeyFileError, parse_key_file};

/// A 32-byte key. Wiped when dropped; `Debug` shows nothing of it.
#[derive(Clone)]
pub struct KeyBytes(Zeroizing<[u8; 32]>);

impl KeyBytes {
    /// Takes 32 bytes that came from a good random generator.
    #[must_use]
    pub const fn new(bytes: Zeroizing<[u8; 32]>) -> Self {
        Self(bytes)
    }

    /// Reads what [`parse_key_file`] reads.
    ///
    /// # Errors
    ///
    /// [`KeyFileError`].
    pub fn parse(content: &[u8]) -> Result<Self, KeyFileError> {
        parse_key_file(content).map(Self)
    }

    /// The 32 bytes.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl PartialEq for KeyBytes {
    fn eq(&self, other: &Self) -> bool {
        use subtle::ConstantTimeEq as _;
        self.0.as_slice().ct_eq(other.0.as_slice()).into()
    }
}

impl Eq for KeyBytes {}

impl fmt::Debug for KeyBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyBytes(..)")
    }
}

/// `content` without the line end that editors put after it.
pub(super) fn trim_line_end(content: &[u8]) -> &[u8] {
    let content = content.strip_suffix(b"\n").unwrap_or(content);
    content.strip_suffix(b"\r").unwrap_or(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing() {
        let key = KeyBytes::new(Zeroizing::new([9; 32]));
        assert_eq!(format!("{key:?}"), "KeyBytes(..)");
    }
}
