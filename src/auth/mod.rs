//! AWS Signature Version 4: verifying what clients send, signing what goes to the store.
//!
//! ```text
//! request head ──► verify() ──► Verified ──► Payload::Chunked ──► ChunkVerifier
//!                     │
//!                canonical.rs        the one canonicalisation, used both ways
//!                     │
//!  store request ──► Signer::sign()
//! ```
//!
//! Nothing here does I/O, reads a clock or draws randomness: the time is an argument. Secrets and
//! keys derived from them are wiped when dropped and have no `Debug` output.
//!
//! Source: Amazon S3 API Reference, "Authenticating Requests (AWS Signature Version 4)".

pub mod canonical;
pub mod chunk;
pub mod sign;
pub mod verify;

use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

pub use canonical::{Scope, SigningKey};
pub use chunk::{ChunkSigner, ChunkVerifier};
pub use sign::{SignError, Signed, Signer};
pub use verify::{AuthError, Limits, Payload, RequestHead, Verified, verify};

/// A secret access key. Clones share one copy, wiped when the last is dropped.
#[derive(Clone)]
pub struct Secret(Arc<Zeroizing<String>>);

impl Secret {
    /// Takes a secret over.
    #[must_use]
    pub fn new(secret: impl Into<String>) -> Self {
        Self(Arc::new(Zeroizing::new(secret.into())))
    }

    /// The secret itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}
