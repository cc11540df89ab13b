//! Sealgate: an S3 encryption gateway, and the object format it writes as a library.
//!
//! Data flows one way, and so do the imports:
//!
//! ```text
//! client → wire → auth → policy → s3 → envelope, keys → aead → pump → store
//! ```
//!
//! * [`aead`] is the format's core: bytes to bytes, no I/O, no async, no randomness of its own. It is all that is
//!   left without default features.
//! * [`envelope`] and [`keys`] wrap an object's key and bind it to its place.
//! * [`pump`] adapts the core to streaming HTTP bodies, and to the byte streams of aws-sdk-s3.
//! * [`gateway`] puts everything together; [`gateway::run`] serves.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod aead;

#[cfg(feature = "gateway")]
pub mod admin;
#[cfg(feature = "gateway")]
pub mod auth;
#[cfg(feature = "gateway")]
pub mod commands;
#[cfg(feature = "gateway")]
pub mod config;
#[cfg(feature = "gateway")]
pub mod digest;
#[cfg(feature = "embedded")]
pub mod embedded;
#[cfg(feature = "gateway")]
pub mod envelope;
#[cfg(feature = "gateway")]
pub mod formats;
#[cfg(feature = "gateway")]
pub mod gateway;
#[cfg(feature = "gateway")]
pub mod keys;
#[cfg(feature = "gateway")]
pub mod policy;
#[cfg(feature = "gateway")]
pub mod protocol;
#[cfg(feature = "gateway")]
pub mod pump;
#[cfg(feature = "gateway")]
pub mod s3;
#[cfg(feature = "gateway")]
pub mod secret;
#[cfg(feature = "gateway")]
pub mod spool;
#[cfg(feature = "gateway")]
pub mod store;
#[cfg(feature = "gateway")]
pub mod telemetry;
#[cfg(feature = "gateway")]
pub mod wire;
