//! The formats that are read, one file each, and what opens an object without any server.

mod dispatch;
pub mod foreign;
mod framed;
mod gcm;
mod gcm_siv;
mod hashes;
mod integrity;
pub mod offline;
mod opened;
mod parts;
pub mod receipt;
mod s3eg;
mod s3ep;
mod s3proxy;
mod sums;
mod unsupported;
pub mod v1;
#[cfg(test)]
mod vectors;

pub use dispatch::{Claim, Formats, claim, resembles_foreign};
pub use integrity::Integrity;
pub use opened::OpenedBody;
pub use parts::{Place, SumsError, Table, longest_table, verify_sums};
pub use s3eg::S3eg;
pub use s3ep::{Kek as S3epKek, S3ep};
pub use s3proxy::{S3proxy, TAGS as S3PROXY_TAGS};
pub use sums::Sums;
pub use unsupported::Unsupported;
