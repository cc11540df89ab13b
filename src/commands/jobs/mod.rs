//! `sealgate migrate` and its kin: what all jobs over many objects share. They run in the foreground, show how far they
//! are, and can be killed at any moment and begun again.

mod checkpoint;
mod migrate;
mod progress;
mod report;
mod rewrap;
mod verify;

use std::path::Path;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{CommandError, file_error};
use crate::config::Config;
use crate::config::cli::JobOptions;
use crate::gateway::Gateway;
use crate::s3::Service;
use crate::s3::jobs::{Event, Limits, Pace, Shard, Task, Walk, run};
use checkpoint::Checkpoint;
use progress::Progress;
use report::Report;

pub use migrate::migrate;
pub use rewrap::rewrap;
pub use verify::verify;

/// Longest list of keys that is read.
const MAX_KEYS_FILE: u64 = 1 << 30;

/// A job that has been set up.
struct Job<'a> {
    /// The command's name, for report and checkpoint.
    command: &'static str,
    /// What is done to an object, in one word for the lines it prints.
    verb: &'static str,
    options: &'a JobOptions,
    /// What else a checkpoint must agree with.
    parameters: String,
    shard: Shard,
    service: Arc<Service>,
}

/// The operations of the gateway that runs with a configuration.
fn gateway(options: &JobOptions) -> Result<Gateway, CommandError> {
    Ok(Gateway::new(&config(&options.config.path)?)?)
}

/// A configuration as one more process takes it.
pub fn config(path: &Path) -> Result<Config, CommandError> {
    let mut loaded = super::load(path, Vec::new())?;
    for warning in &loaded.warnings {
        eprintln!("warning: {warning}");
    }
    // The gateway that runs with this configuration has it open.
    loaded.config.cache.path = None;
    Ok(loaded.config)
}

impl<'a> Job<'a> {
    /// Sets a job up.
    fn new(
        command: &'static str,
        verb: &'static str,
        options: &'a JobOptions,
        parameters: String,
        gateway: &Gateway,
    ) -> Self {
        let (index, count) = options.shard;
        Self {
            command,
            verb,
            options,
            parameters,
            // The command line has no others.
            shard: Shard::new(index, count).unwrap_or_default(),
            service: gateway.service().clone(),
        }
    }

    fn pace(&self) -> Pace {
        Pace::new(self.options.rate)
    }

    /// Runs the job to its end, or until it is interrupted.
    ///
    /// # Errors
    /// [`CommandError`] where it could not go on, or where objects failed; the report is written all the same.
    async fn run<T: Task>(&self, task: T) -> Result<(), CommandError> {
        let options = self.options;
        let identity = format!(
            "{} {} {:?} {} {}",
            self.command, options.bucket, options.prefix, self.shard, self.parameters
        );
        let mut checkpoint = match &options.checkpoint {
            // A dry run does nothing that could be left out the next time.
            Some(path) if !options.dry_run => Some(Checkpoint::open(path, &identity)?),
            _ => None,
        };
        let after = checkpoint
            .as_ref()
            .map_or("", |checkpoint| checkpoint.after())
            .to_owned();
        if !after.is_empty() {
            eprintln!("going on behind {after:?}, up to where an earlier run has done everything");
        }
        let named = match &options.keys {
            Some(path) => Some(keys(path)?),
            None => None,
        };
        let walk = || match &named {
            None => Walk::listing(&options.bucket, &options.prefix, self.shard, &after),
            Some(keys) => Walk::named(&options.bucket, self.shard, keys.clone()),
        };
        let stop = CancellationToken::new();
        let limits = Limits {
            at_once: options.concurrency.get(),
            stop: stop.clone(),
        };
        super::serve::on_signal(move || {
            eprintln!("finishing what has begun; a second signal ends the job at once");
            stop.cancel();
        })?;
        let mut report = Report::new(self.command, options, self.shard, &self.parameters);
        let count = progress::Count::default();
        let counting = tokio::spawn(counted(self.service.clone(), walk(), count.clone()));
        let mut progress = Progress::new(self.verb, count);
        let mut broken = None;
        let ended = run(
            &self.service,
            walk(),
            Arc::new(task),
            limits,
            |event| match event {
                Event::Ended { item, result } => {
                    report.note(item, result);
                    if let Err(failed) = result {
                        progress.line(&format!("failed: {}: {failed}", item.key));
                    }
                    progress.show(report.totals());
                }
                Event::Safe(key) => {
                    if let Some(checkpoint) = &mut checkpoint
                        && let Err(error) = checkpoint.note(key)
                    {
                        broken = broken.take().or(Some(error));
                    }
                }
            },
        )
        .await;
        counting.abort();
        progress.end();
        let complete = *ended.as_ref().unwrap_or(&false);
        if let Some(checkpoint) = checkpoint {
            if complete && report.failed() == 0 {
                checkpoint.remove();
            } else {
                checkpoint.save()?;
            }
        }
        report.end(complete);
        if let Some(path) = &options.report {
            report.write(path)?;
        }
        println!("{report}");
        if let Some(error) = broken {
            return Err(error);
        }
        let failed = |why: String| CommandError::CheckFailed(format!("{}: {why}", self.command));
        match ended {
            Err(error) => Err(failed(format!("bucket {}: {error}", options.bucket))),
            Ok(_) if report.failed() > 0 => Err(failed(format!(
                "{} objects failed, see above",
                report.failed()
            ))),
            Ok(false) => Err(failed("interrupted; begin it again to go on".into())),
            Ok(true) => Ok(()),
        }
    }
}

/// Counts the keys, beside the job that is under way: only so can it be said how long that will take.
async fn counted(service: Arc<Service>, mut walk: Walk, count: progress::Count) {
    let mut keys = 0;
    while let Ok(page) = walk.page(&service).await {
        match page {
            Some(items) => keys += items.len() as u64,
            None => {
                let _ = count.set(keys);
                return;
            }
        }
    }
}

/// The keys that a file names, one a line.
fn keys(path: &Path) -> Result<Vec<String>, CommandError> {
    use std::io::Read;
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin()
            .lock()
            .take(MAX_KEYS_FILE)
            .read_to_string(&mut text)
    } else {
        std::fs::File::open(path)
            .and_then(|file| file.take(MAX_KEYS_FILE).read_to_string(&mut text))
    };
    read.map_err(file_error(path))?;
    Ok(text
        .lines()
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect())
}
