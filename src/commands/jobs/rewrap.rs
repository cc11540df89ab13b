//! `sealgate rewrap`: every sealed object gets the envelope that a new write would get.

use super::{CommandError, Job};
use crate::config::cli::Rewrap;
use crate::gateway::Gateway;
use crate::s3::jobs::{self, Guard, Sizes, conditions};

/// Rewraps a bucket, a prefix or named keys.
///
/// # Errors
/// [`CommandError`]; what was rewrapped before stays so.
pub async fn rewrap(arguments: &Rewrap) -> Result<(), CommandError> {
    let options = &arguments.job;
    let bucket = &options.bucket;
    let failed = |why: String| CommandError::CheckFailed(format!("rewrap: {why}"));
    if options.rate.is_some() {
        return Err(failed(
            "it moves no content, so there is no --rate of it: --concurrency bounds what it asks of the store".into(),
        ));
    }
    let mut config = super::config(&options.config.path)?;
    let gateway = Gateway::new(&config)?;
    let before = match &arguments.was_bound_as {
        Some(name) => {
            config.buckets.bind_as(bucket, name);
            Some(Gateway::new(&config)?.service().clone())
        }
        None => None,
    };
    let service = gateway.service().clone();
    // A dry run writes nothing, so it does not ask either.
    let guard = if arguments.no_concurrent_writers || options.dry_run {
        Guard::Alone
    } else {
        let kept = conditions(&service, bucket)
            .await
            .map_err(|error| failed(format!("bucket {bucket}: {error}")))?;
        Guard::Store(kept)
    };
    if !guard.holds() {
        return Err(failed(format!(
            "this store keeps If-Match neither on CopyObject nor on CompleteMultipartUpload, so an object that a client \
             writes while it is being rewrapped would be lost. Stop all writers to {bucket}, and give --no-concurrent-writers"
        )));
    }
    let parameters = format!("{:?}", arguments.was_bound_as);
    let job = Job::new("rewrap", "rewrapped", options, parameters, &gateway);
    let task = jobs::Rewrap {
        service,
        before,
        bucket: bucket.clone(),
        guard,
        sizes: Sizes::S3,
        dry_run: options.dry_run,
    };
    job.run(task).await
}
