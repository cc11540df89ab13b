//! AWS Signature Version 4: verifying what clients send, signing what goes to the store.
//!
//! ```text
//! request head ──► verify() ──► Verified ──► Payload::Chunked ──► ChunkVerifier
//!                     │
//!                canonical.rs        the one canonicalisation, used both ways
//!                     │
//!  store request ──► Signer::sign()
//!
//! browser form ──► verify_form() ──► SignedForm
//! ```
//!
//! Nothing here does I/O, reads a clock or draws randomness: the time is an argument. Secrets and
//! keys derived from them are wiped when dropped and have no `Debug` output.
//!
//! Source: Amazon S3 API Reference, "Authenticating Requests (AWS Signature Version 4)".

pub mod canonical;
pub mod chunk;
pub mod day;
pub mod post;
pub mod sign;
pub mod verify;

pub use crate::secret::Secret;
pub use canonical::{Scope, SigningKey};
pub use chunk::{ChunkSigner, ChunkVerifier};
pub use day::DayKeys;
pub use post::{SignedForm, verify_form};
pub use sign::{SignError, Signed, Signer};
pub use verify::{
    AuthError, Limits, Payload, RequestHead, Verified, unsigned_payload, verify, verify_with,
};
