//! `sealgate migrate`: whatever the configuration lets be read becomes an object of format 1.

use super::{CommandError, Job};
use crate::config::cli::Migrate;
use crate::s3::jobs::{Conversion, Destination, keeps_put};

/// Migrates a bucket, a prefix or named keys.
///
/// # Errors
/// [`CommandError`]; what was migrated before stays so.
pub async fn migrate(arguments: &Migrate) -> Result<(), CommandError> {
    let options = &arguments.job;
    let failed = |why: String| CommandError::CheckFailed(format!("migrate: {why}"));
    if arguments.all_versions {
        return Err(failed(
            "--all-versions is not offered: a version cannot be replaced, only added, so converting old versions would \
             reverse their order and restore what was deleted. Current versions are converted; old ones stay readable \
             while their format is configured, until the bucket's lifecycle removes them"
                .into(),
        ));
    }
    let to = match &arguments.to_bucket {
        Some(bucket) if *bucket != options.bucket => Destination::Bucket(bucket.clone()),
        _ => Destination::InPlace,
    };
    let gateway = super::gateway(options)?;
    let service = gateway.service().clone();
    let written = match &to {
        Destination::InPlace => &options.bucket,
        Destination::Bucket(bucket) => bucket,
    };
    let conditional = !arguments.no_concurrent_writers;
    if conditional && !options.dry_run {
        let kept = keeps_put(&service, written)
            .await
            .map_err(|error| failed(format!("bucket {written}: {error}")))?;
        if !kept {
            return Err(failed(format!(
                "this store does not keep If-Match on PUT (see sealgate check-store), so an object that a client writes \
                 while it is being migrated would be lost. Stop all writers to {written}, and give --no-concurrent-writers"
            )));
        }
    }
    let parameters = format!("{to:?} {:?}", arguments.from);
    let job = Job::new("migrate", "migrated", options, parameters, &gateway);
    let task = Conversion {
        service,
        bucket: options.bucket.clone(),
        to,
        conditional,
        verify: arguments.verify,
        dry_run: options.dry_run,
        only: arguments.from.clone(),
        pace: job.pace(),
    };
    job.run(task).await
}
