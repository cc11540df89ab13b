//! The formats that are read, one file each, and what opens an object without any server.

mod hashes;
mod integrity;
pub mod offline;
mod parts;
pub mod receipt;
pub mod v1;

pub use integrity::Integrity;
pub use parts::{Place, SumsError, Table, longest_table, verify_sums};
