//! The adapters between the sans-io AEAD core and streaming HTTP bodies. Nothing here holds more
//! than a window of segments, whatever the length of the body.
//!
//! ```text
//! client body → VerifyBody (aws-chunked, hashes, length) → SealBody → store
//! store body  → OpenBody (segments, each released after its tag verified) → client
//! ```

pub mod buffers;
mod form;
mod lanes;
mod limit;
mod open;
mod paced;
mod seal;
mod smithy;
#[cfg(test)]
mod tests;
mod verify;
mod windowed;

use bytes::Bytes;
use futures::FutureExt;
use http_body::Body;
use http_body_util::{BodyExt, Empty, Full, combinators};
use thiserror::Error;

pub use form::FormBody;
pub use limit::{Capture, Failure, Followed, IdleLimit, OnEnd, Prefixed};
pub use open::{Begin, End, OpenBody, Plan, Stream};
pub use paced::Paced;
pub use seal::{FooterSource, SealBody, Sealing};
pub use smithy::seal_byte_stream;
pub use verify::{Finished, Verification, VerifyBody, VerifyError};
pub use windowed::Windowed;

use crate::aead::OpenError;

/// A body of unknown origin, on its way through.
pub type BoxBody = combinators::BoxBody<Bytes, BodyError>;

/// Why a body broke off. Whoever sees it must cut the transfer: nothing after it is valid.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BodyError {
    /// The client went away or broke the protocol.
    #[error("client body broke off: {0}")]
    Client(String),
    /// The client sent nothing for too long.
    #[error("client body stalled")]
    ClientStalled,
    /// The client's body is complete but not what it declared.
    #[error("client body refused: {0}")]
    Refused(#[from] VerifyError),
    /// The store's body broke off.
    #[error("store body broke off: {0}")]
    Store(String),
    /// The store sent nothing for too long.
    #[error("store body stalled")]
    StoreStalled,
    /// The store's body is not what was written.
    #[error("store body refused: {0}")]
    Integrity(#[from] OpenFailure),
    /// What waits on this machine cannot be read, or is not what was put there.
    #[error("spool failed: {0}")]
    Spool(String),
    /// Hashing failed: a fault of this program.
    #[error("hashing failed")]
    Hash,
    /// What was to be at hand is not: a fault of this program.
    #[error("body is not at hand")]
    Unready,
    /// Sealing failed: a fault of this program or a stream beyond its limits.
    #[error("sealing failed: {0}")]
    Seal(String),
}

/// Which check a stored body failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum OpenFailure {
    /// The first 552 bytes, of the object or of a part, are not those that footer and table vouch for.
    #[error("preamble does not verify")]
    Preamble,
    /// A segment's tag did not verify.
    #[error("segment {0} does not verify")]
    Segment(u64),
    /// The stream ended before its last segment.
    #[error("body is shorter than promised")]
    Truncated,
    /// The part table is not the one that was verified before.
    #[error("part table does not verify")]
    Table,
    /// The end of the object is not the footer that was verified before.
    #[error("footer does not verify")]
    Footer,
    /// Bytes after the footer.
    #[error("body is longer than promised")]
    Trailing,
    /// What holds of the whole object does not.
    #[error("object as a whole does not verify")]
    Object,
}

impl OpenFailure {
    fn of(index: u64, _: OpenError) -> Self {
        Self::Segment(index)
    }
}

/// An empty body.
pub fn empty() -> BoxBody {
    Empty::new().map_err(|never| match never {}).boxed()
}

/// A body of bytes already at hand.
pub fn full(bytes: impl Into<Bytes>) -> BoxBody {
    ready(bytes.into()).boxed()
}

/// A body of bytes already at hand, for [`at_once`].
pub fn ready(bytes: Bytes) -> impl Body<Data = Bytes, Error = BodyError> + Send + Sync + 'static {
    Full::new(bytes).map_err(|never| match never {})
}

/// All that a body gives which waits for nothing, since what it is made of is [`ready`]; in one piece, if it comes so.
///
/// # Errors
/// The body's own, and [`BodyError::Unready`] where it waits after all.
pub fn at_once(body: impl Body<Data = Bytes, Error = BodyError>) -> Result<Bytes, BodyError> {
    let whole = body.collect().now_or_never();
    Ok(whole.ok_or(BodyError::Unready)??.to_bytes())
}
