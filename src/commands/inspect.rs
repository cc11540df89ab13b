//! `sealgate inspect`: what an object is, in a file or at the store.

use std::path::Path;

use super::{CommandError, files, jobs, serve};
use crate::config::cli::{Inspect, Place};
use crate::gateway::Gateway;
use crate::s3::{Error, Inspection, inspect as inspect_stored};

/// Inspects one object.
///
/// # Errors
/// [`CommandError`], where the object would be refused too.
pub fn inspect(arguments: &Inspect) -> Result<(), CommandError> {
    let failed = |why: String| CommandError::CheckFailed(format!("inspect: {why}"));
    match arguments.place() {
        Some(Place::File(path)) => {
            if arguments.json || arguments.version_id.is_some() {
                return Err(failed(
                    "--json and --version-id are for objects at the store: s3://BUCKET/KEY".into(),
                ));
            }
            files::inspect(path)
        }
        Some(Place::Store { bucket, key }) => {
            let path = arguments.config.as_deref().ok_or_else(|| {
                failed("an object at the store needs --config, with the store and its keys".into())
            })?;
            let version = arguments.version_id.as_deref();
            let found = serve::runtime()?.block_on(stored(path, bucket, key, version));
            let found = found?.map_err(|error| failed(format!("s3://{bucket}/{key}: {error}")))?;
            if arguments.json {
                let text = serde_json::to_string_pretty(&found).map_err(std::io::Error::from)?;
                println!("{text}");
            } else {
                println!("{found}");
            }
            match found.refused {
                Some(refusal) => Err(failed(format!(
                    "s3://{bucket}/{key} is refused: {}",
                    refusal.reason
                ))),
                None => Ok(()),
            }
        }
        None => Err(failed("write s3://BUCKET/KEY".into())),
    }
}

async fn stored(
    config: &Path,
    bucket: &str,
    key: &str,
    version: Option<&str>,
) -> Result<Result<Inspection, Error>, CommandError> {
    let config = jobs::config(config)?;
    // Where the object may have come from: all the names that the configuration knows.
    let names: Vec<String> = config
        .buckets
        .patterns()
        .into_iter()
        .flat_map(|name| [name.to_owned(), config.buckets.of(name).bound_as])
        .collect();
    let gateway = Gateway::new(&config)?;
    Ok(inspect_stored(gateway.service(), bucket, key, version, &names).await)
}
