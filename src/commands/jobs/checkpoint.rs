//! A small file that says up to which key a job has done everything, so that a later run need not look there again. What is
//! in the store decides all the same: without the file a job finds what is done, and leaves it alone.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::super::{CommandError, file_error};

/// The version of the file.
const VERSION: u32 = 1;
/// The time between writes.
const EVERY: Duration = Duration::from_secs(2);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    version: u32,
    /// What the job is; another one must not go by this file.
    job: String,
    /// Everything up to this key is done.
    done_up_to: String,
}

/// The file, opened for one job.
pub struct Checkpoint {
    path: PathBuf,
    content: Content,
    saved: Instant,
}

impl Checkpoint {
    /// Reads the file, or begins a new one where there is none.
    ///
    /// # Errors
    /// [`CommandError`] where it cannot be read, or is that of another job.
    pub fn open(path: &Path, job: &str) -> Result<Self, CommandError> {
        let wrong = |what: &str| {
            CommandError::CheckFailed(format!(
                "{}: {what}: name another file with --checkpoint, or remove this one",
                path.display()
            ))
        };
        let content = match std::fs::read(path) {
            Ok(bytes) => {
                let content: Content = serde_json::from_slice(&bytes)
                    .map_err(|_| wrong("it is no checkpoint of this program"))?;
                if content.version != VERSION {
                    return Err(wrong("it was written by another version of this program"));
                }
                if content.job != job {
                    return Err(wrong(&format!(
                        "it belongs to another job ({}), not to this one ({job})",
                        content.job
                    )));
                }
                content
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Content {
                version: VERSION,
                job: job.to_owned(),
                done_up_to: String::new(),
            },
            Err(error) => return Err(file_error(path)(error)),
        };
        let this = Self {
            path: path.to_owned(),
            content,
            saved: Instant::now(),
        };
        // So that a place that cannot be written is found out before there is anything to write.
        this.save()?;
        Ok(this)
    }

    /// The key to begin behind; empty for the beginning.
    pub fn after(&self) -> &str {
        &self.content.done_up_to
    }

    /// Everything up to this key is done.
    ///
    /// # Errors
    /// [`CommandError::File`].
    pub fn note(&mut self, key: &str) -> Result<(), CommandError> {
        key.clone_into(&mut self.content.done_up_to);
        if self.saved.elapsed() >= EVERY {
            self.save()?;
            self.saved = Instant::now();
        }
        Ok(())
    }

    /// Writes the file: the old one or the new one is there at any moment, whole.
    ///
    /// # Errors
    /// [`CommandError::File`].
    pub fn save(&self) -> Result<(), CommandError> {
        let mut name = self.path.clone().into_os_string();
        name.push(".new");
        let new = PathBuf::from(name);
        let write = || {
            let mut file = std::fs::File::create(&new)?;
            serde_json::to_writer(&mut file, &self.content)?;
            file.flush()?;
            file.sync_all()?;
            std::fs::rename(&new, &self.path)
        };
        write().map_err(file_error(&self.path))
    }

    /// Removes the file: all is done, and the next run is to look at everything again.
    pub fn remove(self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            eprintln!("warning: {}: {error}", self.path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_run_begins_where_this_one_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoint");
        let mut first = Checkpoint::open(&path, "job").unwrap();
        assert_eq!(first.after(), "");
        first.note("a/ü\n").unwrap();
        first.save().unwrap();
        let second = Checkpoint::open(&path, "job").unwrap();
        assert_eq!(second.after(), "a/ü\n");
        let other = Checkpoint::open(&path, "another job").err().unwrap();
        assert!(other.to_string().contains("another job"), "{other}");
        second.remove();
        assert!(!path.exists());
    }

    #[test]
    fn a_file_that_is_none_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("precious");
        for content in ["precious", r#"{"version":9,"job":"job","done_up_to":""}"#] {
            std::fs::write(&path, content).unwrap();
            assert!(Checkpoint::open(&path, "job").is_err());
            assert_eq!(std::fs::read_to_string(&path).unwrap(), content);
        }
    }
}
