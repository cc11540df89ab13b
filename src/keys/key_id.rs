//! The name of a key, checked once.

use std::fmt;
use std::str::FromStr;

/// The name of a key-encryption key: 1 to 64 of `A–Z a–z 0–9 . _ -`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(String);

impl KeyId {
    /// The longest name, in bytes. Stands on disk: may never change.
    pub const MAX_LEN: usize = 64;

    /// Checks a name.
    ///
    /// # Errors
    ///
    /// [`KeyIdError`].
    pub fn new(name: impl Into<String>) -> Result<Self, KeyIdError> {
        let name = name.into();
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if (1..=Self::MAX_LEN).contains(&name.len()) && name.bytes().all(allowed) {
            Ok(Self(name))
        } else {
            Err(KeyIdError)
        }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for KeyId {
    type Err = KeyIdError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::new(name)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A name that no key can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key's name is 1 to 64 characters out of A-Z a-z 0-9 . _ -")]
pub struct KeyIdError;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["a", "main", "backup-2026.07_x", &"k".repeat(64)] {
            assert_eq!(KeyId::new(good).unwrap().as_str(), good);
        }
        for bad in ["", " ", "a b", "a/b", "schlüssel", "a\n", &"k".repeat(65)] {
            assert_eq!(KeyId::new(bad), Err(KeyIdError), "{bad:?}");
        }
    }
}
