//! The formats that are read, one file each, and what opens an object without any server.

mod dispatch;
pub mod foreign;
mod gcm_siv;
mod hashes;
mod integrity;
pub mod offline;
mod opened;
mod parts;
pub mod receipt;
mod s3proxy;
mod sums;
pub mod v1;

pub use dispatch::{Claim, Formats, claim};
pub use integrity::Integrity;
pub use opened::OpenedBody;
pub use parts::{Place, SumsError, Table, longest_table, verify_sums};
pub use s3proxy::{S3proxy, TAGS as S3PROXY_TAGS};
pub use sums::Sums;
