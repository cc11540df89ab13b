//! Why a stored object is refused although the store answered.

use thiserror::Error;

use super::Unsupported;
use crate::pump::OpenFailure;

/// Why an object was refused although the store answered. Each is a metric label and an audit event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Integrity {
    /// The object's metadata does not say that it is sealed, and the bucket refuses plaintext.
    #[error("object is not sealed, and plaintext is refused in this bucket")]
    Plaintext,
    /// Sealed bytes without (all of) their metadata.
    #[error("metadata of a sealed object is missing")]
    MetadataStripped,
    /// Metadata that cannot be parsed.
    #[error("metadata of a sealed object is malformed")]
    MetadataMalformed,
    /// The binding tag is missing or wrong: moved, swapped or altered metadata.
    #[error("envelope is not bound to this bucket and key")]
    Binding,
    /// No recipient's key is in the keyring.
    #[error("no key of this gateway opens the envelope")]
    NoKey,
    /// A bound header (content type, user metadata …) differs from what was written.
    #[error("bound headers differ from what was written")]
    BoundHeaders,
    /// The footer does not open or contradicts metadata or length.
    #[error("footer does not verify")]
    Footer,
    /// The part table does not verify, or contradicts the footer.
    #[error("part table does not verify")]
    PartTable,
    /// The stored length is not that of an object with this plaintext length.
    #[error("stored length does not fit")]
    Length,
    /// The preamble is not the one that was written.
    #[error("preamble does not verify")]
    Preamble,
    /// A segment's tag did not verify.
    #[error("segment does not verify")]
    Segment,
    /// The body ended early.
    #[error("body is shorter than the store promised")]
    Truncated,
    /// The body went on after its end.
    #[error("body is longer than the store promised")]
    Trailing,
    /// The tag over the whole of an object of another program's format, or a checksum over the whole of any, is wrong.
    #[error("object as a whole does not verify")]
    Object,
    /// The object's metadata claims more than one format.
    #[error("metadata claims more than one format")]
    Ambiguous,
    /// The object is of another program's format, and this bucket does not read it.
    #[error("object is of a legacy format that is not read here")]
    Legacy,
    /// The same, and the day up to which it was read has passed.
    #[error("object is of a legacy format, and the day until which those are read has passed")]
    LegacyEnded,
    /// The object is of another program's format, under a key that everybody knows.
    #[error("legacy object is wrapped under a key that everybody knows")]
    LegacyUnprotected,
    /// The object is of a variant of another program's format that is not read.
    #[error("{0}")]
    Unsupported(#[from] Unsupported),
}

impl Integrity {
    /// A short stable name for metrics and logs.
    pub fn label(self) -> &'static str {
        match self {
            Self::Plaintext => "plaintext",
            Self::MetadataStripped => "metadata_stripped",
            Self::MetadataMalformed => "metadata_malformed",
            Self::Binding => "binding",
            Self::NoKey => "no_key",
            Self::BoundHeaders => "bound_headers",
            Self::Footer => "footer",
            Self::PartTable => "part_table",
            Self::Length => "length",
            Self::Preamble => "preamble",
            Self::Segment => "segment",
            Self::Truncated => "truncated",
            Self::Trailing => "trailing",
            Self::Object => "object",
            Self::Ambiguous => "ambiguous",
            Self::Legacy => "legacy",
            Self::LegacyEnded => "legacy_ended",
            Self::LegacyUnprotected => "legacy_unprotected",
            Self::Unsupported(_) => "unsupported",
        }
    }
}

impl From<OpenFailure> for Integrity {
    fn from(failure: OpenFailure) -> Self {
        match failure {
            OpenFailure::Preamble => Self::Preamble,
            OpenFailure::Segment(_) => Self::Segment,
            OpenFailure::Truncated => Self::Truncated,
            OpenFailure::Table => Self::PartTable,
            OpenFailure::Footer => Self::Footer,
            OpenFailure::Trailing => Self::Trailing,
            OpenFailure::Object => Self::Object,
        }
    }
}
