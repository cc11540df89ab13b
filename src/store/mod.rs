//! The S3-compatible store behind the gateway. Sees opaque bytes and headers only: no key, no
//! plaintext, no knowledge of the format.

mod client;
mod error;
mod pool;
mod resume;

pub use client::{Addressing, Client, Options, Request, Response, Store, Timeouts};
pub use error::StoreError;
