//! The cryptographic core of the object format, sans-io: bytes in, bytes out.
//!
//! ```text
//! object      = preamble[512]  tink-stream  footer[256]                written by one PUT
//!             | part … part  part-table  footer[256]                  uploaded in parts
//! part        = preamble[512]  tink-stream
//! tink-stream = 0x28 ‖ salt[32] ‖ nonce_prefix[7] ‖ segment_0 ‖ … ‖ segment_{n−1}
//! segment_i   = AES-256-GCM(stream key, nonce_prefix ‖ u32(i) ‖ last?, plaintext_i) = ciphertext ‖ tag[16]
//! ```
//!
//! The stream is that of Google Tink (AES-GCM-HKDF streaming); the 80 core bytes of the preamble are
//! its associated data. `format-spec/SPEC.md` is the contract, section by section.
//!
//! To seal an object: take a fresh [`Dek`], [`ObjectId`] and [`StreamHeader`], build the [`Core`] and
//! its [`Preamble`], drive a [`Sealer`] (or a [`SealStream`]) over the plaintext, then seal a
//! [`Footer`] over what was written.
//!
//! To open one: decode the [`Preamble`] and open the [`Footer`], let them check each other
//! ([`Core::verify_commitment`], [`Footer::verify_preamble`], [`Footer::layout`]), then drive an
//! [`Opener`] (random access, by segment) or an [`OpenStream`] (front to back).
//!
//! An object in parts has one such stream, with a preamble of its own ([`Core::part`]), for each part;
//! a [`PartTable`] of [`PartEntry`] and the footer's [`Parts`] hold them together.
//!
//! This module has no source of randomness, no clock, no I/O and no other module of the crate behind
//! it: salts, nonces and ids are arguments. A caller must draw them from the operating system and
//! never use one twice.

mod checksum;
mod dek;
mod engine;
mod footer;
mod header;
mod layout;
mod nonce;
mod open;
mod open_stream;
mod part_table;
mod parts;
mod preamble;
mod seal;
mod seal_stream;
mod segment_size;

pub use checksum::{Checksum, ChecksumAlgorithm, ChecksumLengthError, ChecksumType, Etag};
pub use dek::{Dek, ObjectId};
pub use engine::{Cipher, CipherError, Engine};
pub use footer::{FOOTER_LEN, FOOTER_MAGIC, Footer, FooterError, MismatchError, looks_like_footer};
pub use header::{HeaderError, STREAM_HEADER_LEN, StreamHeader};
pub use layout::{Layout, LayoutError};
pub use nonce::MAX_SEGMENTS;
pub use open::{OpenError, Opener};
pub use open_stream::OpenStream;
pub use part_table::{PartTable, TableError};
pub use parts::{MAX_PARTS, PartEntry, PartNumber, Parts};
pub use preamble::{
    CORE_LEN, CommitmentError, Core, MAX_ENVELOPE_LEN, PREAMBLE_LEN, PREAMBLE_MAGIC, Preamble,
    PreambleError, Role, looks_like_preamble,
};
pub use seal::{SealError, Sealer};
pub use seal_stream::SealStream;
pub use segment_size::{SegmentSize, SegmentSizeError};

/// Bytes of the authentication tag that ends every segment and the footer. May never change.
pub const TAG_LEN: usize = 16;

/// The format version that this module reads and writes. Stands on disk: may never change its meaning.
pub const FORMAT_VERSION: u16 = 1;

/// The suite byte: AES256-GCM-HKDF-SHA256, Tink streaming. Stands on disk: may never change its meaning.
pub const SUITE: u8 = 1;
