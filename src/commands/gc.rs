//! `sealgate gc`: removes what uploads that are over left behind.

use std::io::Write;

use super::CommandError;
use crate::config::cli::Gc;
use crate::gateway::Gateway;
use crate::s3::gc::{self, Options};

/// Looks through the buckets and says what was found.
///
/// # Errors
/// [`CommandError`]; what was removed before stays removed.
pub async fn gc(arguments: &Gc) -> Result<(), CommandError> {
    let mut loaded = super::load(&arguments.config.path, Vec::new())?;
    for warning in &loaded.warnings {
        eprintln!("warning: {warning}");
    }
    // The gateway that runs with this configuration has it open.
    loaded.config.cache.path = None;
    let gateway = Gateway::new(&loaded.config)?;
    let service = gateway.service();
    let failed = |error: crate::s3::Error| CommandError::CheckFailed(format!("gc: {error}"));
    let buckets = match arguments.buckets.as_slice() {
        [] => gc::buckets(service).await.map_err(failed)?,
        named => named.to_vec(),
    };
    let options = Options {
        older_than: arguments.older_than.map(|age| age.as_secs()),
        dry_run: arguments.dry_run,
    };
    let mut total = gc::Summary::default();
    for bucket in &buckets {
        let mut broken = None;
        let summary = gc::collect(service, bucket, options, |finding| {
            let verb = match (finding.verdict.removes(), options.dry_run) {
                (false, _) => "kept",
                (true, true) => "would remove",
                (true, false) => "removing",
            };
            let line = writeln!(std::io::stdout().lock(), "{verb}: {finding}");
            broken = broken.take().or(line.err());
        })
        .await
        .map_err(|error| CommandError::CheckFailed(format!("gc: bucket {bucket}: {error}")))?;
        if let Some(error) = broken {
            return Err(error.into());
        }
        total.in_progress += summary.in_progress;
        total.removed += summary.removed;
        total.aborted += summary.aborted;
        total.left += summary.left;
    }
    let done = if options.dry_run {
        "to be removed"
    } else {
        "removed"
    };
    writeln!(
        std::io::stdout().lock(),
        "{} in progress, {} {done} ({} of them abandoned), {} left alone, in {} buckets",
        total.in_progress,
        total.removed,
        total.aborted,
        total.left,
        buckets.len()
    )?;
    Ok(())
}
