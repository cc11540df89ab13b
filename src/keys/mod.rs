//! Key-encryption keys: one trait, one file for each kind, and the keyring that holds them.
//!
//! A key-encryption key does two things. It wraps and unwraps the data keys of objects, and it vouches
//! for where they belong: its tag over a message says that someone who holds this key, and not merely
//! one data key, has put the two together.
//!
//! Nothing here knows of objects' names, of metadata or of any store: messages and contexts are bytes.

pub mod conformance;
mod file;
mod key_id;
mod keyring;
mod local;

use std::fmt;
use std::num::NonZeroU32;

use async_trait::async_trait;

use crate::aead::Dek;

pub use file::{KeyFileError, generate_key_file, parse_key_file};
pub use key_id::{KeyId, KeyIdError};
pub use keyring::{Keyring, KeyringError};
pub use local::LocalKey;

/// What a key-encryption key is kept in. The numbers stand on disk: they may never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum KeyKind {
    /// 32 bytes that the gateway holds.
    Local,
    /// Derived from the requesting user's secret. Reserved.
    User,
    /// AWS Key Management Service. Reserved.
    AwsKms,
    /// Vault Transit. Reserved.
    Vault,
    /// A hardware security module behind PKCS#11. Reserved.
    Pkcs11,
    /// A public key that wraps only. Reserved.
    Escrow,
    /// A number that this version does not know.
    Unknown(u8),
}

impl KeyKind {
    const NAMED: [(Self, u8, &'static str); 6] = [
        (Self::Local, 1, "local"),
        (Self::User, 2, "user"),
        (Self::AwsKms, 3, "aws-kms"),
        (Self::Vault, 4, "vault"),
        (Self::Pkcs11, 5, "pkcs11"),
        (Self::Escrow, 6, "escrow"),
    ];

    /// The kind of a number; every number has one.
    #[must_use]
    pub fn from_code(code: u8) -> Self {
        Self::NAMED
            .into_iter()
            .find(|&(_, number, _)| number == code)
            .map_or(Self::Unknown(code), |(kind, ..)| kind)
    }

    /// The number that stands on disk.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Unknown(code) => code,
            named => Self::NAMED
                .into_iter()
                .find(|&(kind, ..)| kind == named)
                .map_or(0, |(_, code, _)| code),
        }
    }
}

/// The name that configuration and documents use.
impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Self::NAMED.into_iter().find(|(kind, ..)| kind == self) {
            Some((.., name)) => f.write_str(name),
            None => write!(f, "unknown kind {}", self.code()),
        }
    }
}

/// Names and values that a key kind binds on its own side, as encryption context or associated data.
/// Kinds that are held here have [tags](KeyEncryptionKey::tag) instead, and ignore it.
///
/// Empty where the place of an object is not known: recovery from raw bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Context<'a>(pub &'a [(&'a str, &'a [u8])]);

/// One version of a key-encryption key.
///
/// Every implementation passes the [conformance suite](conformance::check).
#[async_trait]
pub trait KeyEncryptionKey: fmt::Debug + Send + Sync {
    /// What the key is kept in.
    fn kind(&self) -> KeyKind;

    /// The key's name, the same for all its versions.
    fn id(&self) -> &KeyId;

    /// The key's version; the highest of a name is the newest.
    fn version(&self) -> NonZeroU32;

    /// Wraps a data key.
    ///
    /// # Errors
    ///
    /// [`KeyError::Unavailable`], [`KeyError::Denied`].
    async fn wrap(&self, dek: &Dek, context: Context<'_>) -> Result<Vec<u8>, KeyError>;

    /// Unwraps a data key.
    ///
    /// # Errors
    ///
    /// [`KeyError::NotAuthentic`] where these bytes were not wrapped by this key under this context;
    /// [`KeyError::Unavailable`], [`KeyError::Denied`].
    async fn unwrap(&self, wrapped: &[u8], context: Context<'_>) -> Result<Dek, KeyError>;

    /// The key's tag over a message; none where the kind does not vouch by tags.
    ///
    /// # Errors
    ///
    /// [`KeyError::Unavailable`], [`KeyError::Denied`].
    async fn tag(&self, message: &[u8]) -> Result<Option<[u8; 32]>, KeyError>;

    /// Checks a tag in constant time.
    ///
    /// # Errors
    ///
    /// [`KeyError::NotAuthentic`] where it is not this key's tag over the message, or the kind does not
    /// vouch by tags; [`KeyError::Unavailable`], [`KeyError::Denied`].
    async fn verify(&self, message: &[u8], tag: &[u8; 32]) -> Result<(), KeyError>;
}

/// What a key-encryption key could not do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The wrapped key or the tag is not by this key: changed, misplaced, or by another. Trying again
    /// does not help.
    #[error("not made by this key")]
    NotAuthentic,
    /// Whatever keeps the key does not answer. Trying again may help.
    #[error("the key is not available: {0}")]
    Unavailable(String),
    /// Whatever keeps the key refuses its use. Trying again does not help.
    #[error("the use of the key was denied: {0}")]
    Denied(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_round_trip_by_number() {
        for code in 0..=255 {
            assert_eq!(KeyKind::from_code(code).code(), code);
        }
        assert_eq!(KeyKind::from_code(1), KeyKind::Local);
        assert_eq!(KeyKind::from_code(6), KeyKind::Escrow);
        assert_eq!(KeyKind::from_code(0), KeyKind::Unknown(0));
        assert_eq!(KeyKind::AwsKms.to_string(), "aws-kms");
        assert_eq!(KeyKind::Unknown(9).to_string(), "unknown kind 9");
    }
}
