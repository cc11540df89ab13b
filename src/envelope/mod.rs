//! What stands in an object's metadata: who can open it, what it is, and who vouches that it belongs
//! where it is.
//!
//! ```text
//! x-amz-meta-sealgate-envelope   who can open it: the data key, wrapped for each recipient
//! x-amz-meta-sealgate-info       length, MD5 and a digest of the bound headers, where known
//! x-amz-meta-sealgate-mac        each recipient key's tag over (bucket, key, envelope, info)
//! ```
//!
//! [`seal_record`] makes the three, [`open_record`] verifies and opens them, in that order: nothing is
//! unwrapped before a tag has verified. [`Record`] holds their bytes as they were read, so that a tag
//! covers what was read and not a re-encoding of it.

mod binding;
mod codec;
mod encoded_word;
mod info;
mod mac;
mod metadata;
mod reader;
mod record;

pub use crate::keys::KeyKind as RecipientKind;
pub use binding::{binding_message, lp};
pub use codec::{Envelope, EnvelopeError, MAX_RECIPIENTS, MAX_WRAPPED_LEN, Recipient};
pub use info::{Info, InfoError, InfoMismatch};
pub use mac::{MacError, MacList};
pub use metadata::{
    CONTENT_HEADERS, RESERVED_PREFIX, bound_header, metadata_digest, reserved_header,
};
pub use record::{
    HEADER_ENVELOPE, HEADER_INFO, HEADER_MAC, OpenRecordError, Opened, Outdated, Record,
    RecordError, SealRecordError, open_record, outdated, seal_record,
};
