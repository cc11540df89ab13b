//! `sealgate verify`: reads every object and says which are damaged.

use super::{CommandError, Job};
use crate::config::cli::Verify;
use crate::s3::jobs::Check;

/// Verifies a bucket, a prefix or named keys.
///
/// # Errors
/// [`CommandError`], where an object did not verify too.
pub async fn verify(arguments: &Verify) -> Result<(), CommandError> {
    let options = &arguments.job;
    if options.dry_run {
        return Err(CommandError::CheckFailed(
            "verify: it writes nothing to the store in any case, so there is no --dry-run of it"
                .into(),
        ));
    }
    let gateway = super::gateway(options)?;
    let job = Job::new("verify", "verified", options, String::new(), &gateway);
    let task = Check {
        service: gateway.service().clone(),
        bucket: options.bucket.clone(),
        pace: job.pace(),
    };
    job.run(task).await
}
