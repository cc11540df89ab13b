//! `sealgate check-store`: does this store keep what the gateway takes for granted?
//!
//! A table of `checks`, each a question of its own, asked through the same client that serves requests. Everything
//! is written under one prefix that no one else has, and deleted at the end.
//!
//! ```text
//! command → check() → Place (bucket, prefix, clean-up) → checks → Report
//! ```

mod checks;
mod conditions;
mod document;
mod listings;
mod multipart;
mod objects;
mod place;
mod report;

use std::io::Write as _;

use thiserror::Error;

pub use self::report::{Answer, Finding, Need, Report};

use self::place::Place;
use super::CommandError;
use crate::config::cli::CheckStore;
use crate::config::{self, ConfigError};
use crate::gateway;
use crate::store::{Store, StoreError};

/// Why a store could not be asked at all.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CheckError {
    /// No connection, or no answer.
    #[error("the store cannot be reached: {0}")]
    Unreachable(String),
    /// The store does not accept who asks, or how the request was signed.
    #[error("the store refuses the credentials: {advice} (it answered {answer})")]
    Credentials {
        /// What to look at.
        advice: &'static str,
        /// Status and code of its answer.
        answer: String,
    },
    /// The bucket cannot be used or made.
    #[error("{problem} (the store answered {answer})")]
    Bucket {
        /// What is wrong, and what to do.
        problem: String,
        /// Status and code of its answer.
        answer: String,
    },
    /// The store answers, but not as S3 does.
    #[error("the simplest requests fail, so nothing else was asked: {0}")]
    Unusable(String),
    /// The system gives no randomness for a name.
    #[error("the operating system gives no randomness")]
    Entropy,
}

/// Asks and prints.
///
/// # Errors
/// [`CommandError::CheckFailed`] where the gateway cannot work with this store, or the store cannot be asked.
pub async fn check_store(arguments: &CheckStore) -> Result<(), CommandError> {
    let loaded =
        config::Store::load(&super::sources(&arguments.config.path)).map_err(about_store)?;
    for warning in &loaded.warnings {
        eprintln!("warning: {warning}");
    }
    let section = loaded.config;
    let store = gateway::store(&section)?;
    eprintln!("asking {}, region {}", section.endpoint, section.region);
    let report = check(&store, &section.region, arguments.bucket.as_deref())
        .await
        .map_err(|error| CommandError::CheckFailed(format!("{}: {error}", section.endpoint)))?;
    let mut out = std::io::stdout().lock();
    write!(out, "{report}")?;
    out.flush()?;
    match report.verdict() {
        Ok(()) => Ok(()),
        Err(problem) => Err(CommandError::CheckFailed(problem)),
    }
}

fn about_store(error: ConfigError) -> CommandError {
    CommandError::Config(error)
}

/// Asks a store everything, in `bucket` or in a bucket made for it, and cleans up.
///
/// # Errors
/// [`CheckError`] where nothing could be asked. What the store does not keep stands in the report.
pub async fn check(
    store: &Store,
    region: &str,
    bucket: Option<&str>,
) -> Result<Report, CheckError> {
    let place = Place::prepare(store, region, bucket).await?;
    let asked = async {
        place.try_out().await?;
        let mut findings = Vec::new();
        for check in checks::ALL {
            findings.push(check.ask(&place).await);
        }
        Ok(findings)
    }
    .await;
    let left_behind = place.clean_up().await;
    Ok(Report {
        bucket: place.bucket().to_owned(),
        made: place.is_own(),
        findings: asked?,
        left_behind,
    })
}

/// Status and code of an answer, short enough for a line.
fn brief(error: &StoreError) -> String {
    match error {
        StoreError::Status { status, code, .. } if code.is_empty() => status.as_u16().to_string(),
        StoreError::Status { status, code, .. } => {
            format!("{} {}", status.as_u16(), printable(code, 60))
        }
        StoreError::Unreachable(_) => "the connection was closed".into(),
        other => printable(&other.to_string(), 120),
    }
}

/// Text from a store, fit for a terminal.
fn printable(text: &str, longest: usize) -> String {
    text.chars()
        .take(longest)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}
