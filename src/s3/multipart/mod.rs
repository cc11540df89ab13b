//! Uploads in parts, without any state in the gateway (section 15 of the specification).
//!
//! ```text
//! Create ──► the store's own upload, with the envelope as its metadata; a sealed state object beside it
//! Part   ──► a stream of its own; its ETag is a receipt. Short parts are held as temporary objects
//! Complete ► receipts verified, table and footer uploaded behind the last part, the store's own completion
//! ```
//!
//! Any replica serves any of these requests. The upload at the store is what counts: it becomes the object as a
//! whole or not at all, and temporary objects that a crash leaves behind mean nothing without it.

mod abort;
mod complete;
mod copy_part;
mod create;
pub mod gc;
mod listing;
mod part;
mod staging;
mod state;
pub mod uploads;
pub mod xml;

pub use abort::abort;
pub use complete::complete;
pub use copy_part::copy_part;
pub use create::create;
pub use listing::list_parts;
pub use part::upload_part;
pub use staging::{empty_of_temporary, remove_all};
pub use state::Uploads;
pub use uploads::list_uploads;

use super::Error;
use super::call::Call;
use crate::aead::PartNumber;
use crate::store::StoreError;

/// Longest plaintext of a part (S3: 5 GiB).
pub const MAX_PART: u64 = 5 << 30;
/// The highest part number (S3).
pub const MAX_NUMBER: u16 = 10_000;

/// `partNumber` of a request.
fn part_number(call: &Call) -> Result<PartNumber, Error> {
    call.parameter("partNumber")
        .and_then(|text| text.parse().ok())
        .and_then(PartNumber::new)
        .ok_or(Error::InvalidArgument {
            name: "partNumber",
            problem: "Part number must be an integer between 1 and 10000, inclusive",
        })
}

/// Whether the store says that an upload is over. Ceph says so by `NoSuchKey` where the upload was being completed or aborted
/// when the connection went away.
fn is_over(error: &StoreError) -> bool {
    matches!(error.code(), "NoSuchUpload" | "NoSuchKey")
}

/// What the store's refusal of a request about an upload means.
fn refused(error: StoreError) -> Error {
    if is_over(&error) {
        Error::NoSuchUpload
    } else {
        error.into()
    }
}

/// `uploadId` of a request.
fn upload_id(call: &Call) -> Result<&str, Error> {
    call.parameter("uploadId")
        .filter(|id| !id.is_empty())
        .ok_or(Error::NoSuchUpload)
}
