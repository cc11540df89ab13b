//! Jobs over many objects, beside the requests of clients: migration, rewrapping, verification. Each object is one
//! step that either happened as a whole or not at all, so that a job can be killed at any moment and begun again.
//!
//! ```text
//! Walk ──► pages of keys ──► run: some at once, in order of their keys ──► Task, one object ──► Outcome ──► observer
//! ```

mod check;
mod convert;
mod pace;
mod probe;
mod rebind;
mod rewrap;
mod run;
mod settings;
mod upload;
mod walk;

use std::fmt;

pub use check::Check;
pub use convert::{Conversion, Destination};
pub use pace::Pace;
pub use probe::{Conditions, FOLDER as PROBES, conditions, keeps_put};
pub use rebind::Sizes;
pub use rewrap::{Guard, Rewrap};
pub use run::{Event, Limits, run};
pub use walk::{Item, Shard, Walk};

use super::Error;
use crate::pump::BodyError;
use crate::spool::SpoolError;

/// What became of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The job did what it is for.
    Done {
        /// What it was before, such as `plaintext` or `s3proxy`.
        was: &'static str,
        /// Plaintext bytes.
        bytes: u64,
    },
    /// There was nothing to do.
    Already {
        /// What it is.
        is: &'static str,
        /// Plaintext bytes.
        bytes: u64,
    },
    /// Nothing stands there any more.
    Gone,
    /// Left as it is, on purpose.
    Skipped(&'static str),
}

/// An object that the job could not do.
#[derive(Debug)]
pub struct Failed {
    /// Why, in words for an operator. Tells of the store what the log may tell.
    pub why: String,
    /// Whether another try may help, so that the job is not to go on as if all were well.
    pub passing: bool,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        let passing = match &error {
            Error::Store(error) => error.status().is_none_or(|status| status.is_server_error()),
            Error::Body(BodyError::Integrity(_)) => false,
            Error::Body(_) | Error::Contended => true,
            // Room comes free as others end.
            Error::Spool(SpoolError::Full { .. }) => true,
            _ => false,
        };
        Self {
            why: error.to_string(),
            passing,
        }
    }
}

/// What a job does with one object. A step that is tried again after a crash finds what it did before.
pub trait Task: Send + Sync + 'static {
    /// Does it, or says in a dry run what would be done.
    fn step(&self, item: &Item) -> impl Future<Output = Result<Outcome, Failed>> + Send;
}
