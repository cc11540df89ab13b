//! HTTP as clients speak it: connections, bodies, and the mapping of failures to S3 answers.

mod body;
mod conn;
pub mod error;
mod patient;
mod server;
mod track;

pub use body::ClientBody;
pub use conn::Signals;
pub use error::Told;
pub use patient::patiently;
pub use server::{Limits, client_tls, serve, tls};
pub use track::{Notes, Outcome, Tracked};
