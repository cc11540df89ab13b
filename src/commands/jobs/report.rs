//! What a job did: counted, summed up in a few lines, and as JSON for programs.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::Instant;

use serde::Serialize;

use super::super::{CommandError, file_error};
use crate::config::cli::JobOptions;
use crate::s3::jobs::{Failed, Item, Outcome, Shard};

/// Failures that the report lists; all are counted and printed.
const MAX_LISTED: usize = 1_000;

/// Objects and their plaintext bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    /// Objects.
    pub objects: u64,
    /// Plaintext bytes.
    pub bytes: u64,
}

impl Count {
    fn add(&mut self, bytes: u64) {
        self.objects += 1;
        self.bytes += bytes;
    }
}

/// How much was done so far.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Totals {
    /// Objects that were looked at.
    pub examined: u64,
    /// Those that the job did something to; in a dry run, would.
    pub done: Count,
    /// Those that needed nothing.
    pub already: Count,
    /// Those that were left on purpose.
    pub skipped: u64,
    /// Those that were gone.
    pub gone: u64,
    /// Those that failed.
    pub failed: u64,
}

#[derive(Serialize)]
struct Failure {
    key: String,
    error: String,
}

/// The report of one run.
#[derive(Serialize)]
pub struct Report {
    command: &'static str,
    version: &'static str,
    bucket: String,
    prefix: String,
    shard: String,
    parameters: String,
    dry_run: bool,
    /// The run came to the end of its keys.
    complete: bool,
    seconds: f64,
    totals: Totals,
    /// What was done, by what the objects were before.
    done: BTreeMap<&'static str, Count>,
    already: BTreeMap<&'static str, Count>,
    skipped: BTreeMap<&'static str, u64>,
    failures: Vec<Failure>,
    #[serde(skip)]
    began: Instant,
}

impl Report {
    /// An empty one.
    pub fn new(
        command: &'static str,
        options: &JobOptions,
        shard: Shard,
        parameters: &str,
    ) -> Self {
        Self {
            command,
            version: env!("CARGO_PKG_VERSION"),
            bucket: options.bucket.clone(),
            prefix: options.prefix.clone(),
            shard: shard.to_string(),
            parameters: parameters.to_owned(),
            dry_run: options.dry_run,
            complete: false,
            seconds: 0.0,
            totals: Totals::default(),
            done: BTreeMap::new(),
            already: BTreeMap::new(),
            skipped: BTreeMap::new(),
            failures: Vec::new(),
            began: Instant::now(),
        }
    }

    /// Counts one object.
    pub fn note(&mut self, item: &Item, result: &Result<Outcome, Failed>) {
        let totals = &mut self.totals;
        totals.examined += 1;
        match result {
            Ok(Outcome::Done { was, bytes }) => {
                totals.done.add(*bytes);
                self.done.entry(was).or_default().add(*bytes);
            }
            Ok(Outcome::Already { is, bytes }) => {
                totals.already.add(*bytes);
                self.already.entry(is).or_default().add(*bytes);
            }
            Ok(Outcome::Gone) => totals.gone += 1,
            Ok(Outcome::Skipped(why)) => {
                totals.skipped += 1;
                *self.skipped.entry(why).or_default() += 1;
            }
            Err(failed) => {
                totals.failed += 1;
                if self.failures.len() < MAX_LISTED {
                    self.failures.push(Failure {
                        key: item.key.clone(),
                        error: failed.to_string(),
                    });
                }
            }
        }
    }

    /// How much was done so far.
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// How many objects failed.
    pub fn failed(&self) -> u64 {
        self.totals.failed
    }

    /// The run is over.
    pub fn end(&mut self, complete: bool) {
        self.complete = complete;
        self.seconds = self.began.elapsed().as_secs_f64();
    }

    /// Writes it as JSON.
    ///
    /// # Errors
    /// [`CommandError::File`].
    pub fn write(&self, path: &Path) -> Result<(), CommandError> {
        let text = serde_json::to_string_pretty(self).map_err(std::io::Error::from)?;
        if path == Path::new("-") {
            println!("{text}");
            return Ok(());
        }
        std::fs::write(path, text + "\n").map_err(file_error(path))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let done = if self.dry_run {
            "would be done"
        } else {
            "done"
        };
        for (was, count) in &self.done {
            writeln!(
                f,
                "{done}: {was}: {} objects, {}",
                count.objects,
                bytes(count.bytes)
            )?;
        }
        for (is, count) in &self.already {
            writeln!(
                f,
                "nothing to do: {is}: {} objects, {}",
                count.objects,
                bytes(count.bytes)
            )?;
        }
        for (why, count) in &self.skipped {
            writeln!(f, "skipped: {why}: {count} objects")?;
        }
        let totals = &self.totals;
        write!(
            f,
            "{}: {} objects examined, {} {done}, {} gone, {} failed, in {:.1} s",
            self.command,
            totals.examined,
            totals.done.objects,
            totals.gone,
            totals.failed,
            self.seconds
        )
    }
}

/// A number of bytes as people read it.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = count as f64;
    let mut unit = "B";
    for next in UNITS {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    if unit == "B" {
        format!("{count} B")
    } else {
        format!("{value:.1} {unit}")
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn bytes_are_readable() {
        for (count, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (5 << 30, "5.0 GiB"),
            (u64::MAX, "16384.0 PiB"),
        ] {
            assert_eq!(super::bytes(count), text);
        }
    }
}
