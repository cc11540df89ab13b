//! Variants of other programs' formats that are known and not read.

use thiserror::Error;

/// Why an object of a known format is not read. `format-spec/IMPORTS.md` says which objects that are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Unsupported {
    /// Its data key is wrapped by a key service or a key pair.
    #[error("key of a kind that this gateway does not read")]
    KeyKind,
    /// A cipher, a derivation or a version that is not read.
    #[error("algorithm that this gateway does not read")]
    Algorithm,
    /// Anyone with access to the store could have altered it.
    #[error("nothing authenticates this object")]
    Unauthenticated,
    /// The plaintext was compressed first: its length and its ranges do not follow from the stored bytes.
    #[error("compressed before it was encrypted")]
    Compressed,
    /// What is needed to open it stands in its body.
    #[error("its metadata stands in its body")]
    InBody,
    /// What is needed to open it stands in another object.
    #[error("its manifest stands in another object")]
    Companion,
    /// Its metadata asks for too little or too much work before it can be opened.
    #[error("work factor of its key is out of bounds")]
    WorkFactor,
}
