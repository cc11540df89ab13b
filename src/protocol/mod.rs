//! The pieces of the S3 protocol that turn bytes into values and back.
//!
//! Everything here is sans-io: no sockets, no clock, no runtime. The module is a leaf; it imports
//! nothing else of the crate. What an error means to a client (status, S3 code) is decided where
//! responses are made, not here.

pub mod aws_chunked;
pub mod checksum;
pub mod conditions;
pub mod cors;
pub mod date;
pub mod post_form;
pub mod post_policy;
pub mod range;
pub mod uri;
pub mod xml;

pub use aws_chunked::{ChunkAuth, ChunkedError, Decoder};
pub use checksum::{Algorithm, Checksum, ChecksumError, Expected, Finished, Hashes};
pub use conditions::{Conditions, Current, Outcome};
pub use range::{ByteRange, RangeSpec, Unsatisfiable};
pub use uri::{CopySource, Query, Target, UriError};
