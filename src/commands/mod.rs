//! What each command does. The command line itself is [`crate::config::cli`].

pub mod check_store;
#[cfg(feature = "embedded")]
mod dev;
mod files;
mod gc;
mod inspect;
mod jobs;
mod serve;

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::config::cli::{Cli, Command, ConfigCommand};
use crate::config::{Config, ConfigError, Sources};
use crate::formats::offline::OfflineError;
use crate::gateway::StartError;
use crate::telemetry::LoggingError;

/// Why a command ended without doing what it was asked.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CommandError {
    /// The configuration cannot be used.
    #[error("{0}")]
    Config(#[from] ConfigError),
    /// The gateway did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The log could not be set up.
    #[error(transparent)]
    Logging(#[from] LoggingError),
    /// The embedded store did not start.
    #[cfg(feature = "embedded")]
    #[error("embedded store: {0}")]
    Embedded(#[from] crate::embedded::Error),
    /// A file could not be read or written.
    #[error("{}: {error}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// A key file is none.
    #[error("{}: {error}", path.display())]
    KeyFile {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        error: crate::keys::KeyFileError,
    },
    /// An object did not open.
    #[error("{}: {error}", path.display())]
    Object {
        /// Which file.
        path: PathBuf,
        /// Why not.
        error: OfflineError,
    },
    /// Anything else that went wrong with the system.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The environment has no number of threads.
    #[error(
        "TOKIO_WORKER_THREADS is no number of threads. Write a whole number from 1 to 65535, or leave it out for one thread \
         for each core."
    )]
    Threads,
    /// No randomness.
    #[error("the operating system gives no randomness")]
    Entropy,
    /// A store that does not keep what is taken for granted.
    #[error("{0}")]
    CheckFailed(String),
}

/// Says which file an error is about.
fn about<E>(
    path: &std::path::Path,
    make: impl Fn(PathBuf, E) -> CommandError,
) -> impl Fn(E) -> CommandError {
    let path = path.to_owned();
    move |error| make(path.clone(), error)
}

/// Says which file could not be read or written.
fn file_error(path: &std::path::Path) -> impl Fn(io::Error) -> CommandError {
    about(path, |path, error| CommandError::File { path, error })
}

/// Runs a command to its end.
///
/// # Errors
/// [`CommandError`], to be shown to the user.
pub fn run(cli: Cli) -> Result<(), CommandError> {
    match cli.command {
        #[cfg(feature = "embedded")]
        Command::Dev(arguments) => serve::runtime()?.block_on(dev::dev(arguments)),
        #[cfg(not(feature = "embedded"))]
        Command::Dev(_) => Err(CommandError::CheckFailed(
            "this build has no embedded store: build with the feature `embedded`, or use `sealgate serve`".into(),
        )),
        Command::Serve(arguments) => serve::runtime()?.block_on(serve::serve(arguments)),
        Command::Keygen(arguments) => files::keygen(&arguments),
        Command::Config(ConfigCommand::Check(arguments)) => {
            let loaded = load(&arguments.config.path, arguments.flags.overrides())?;
            for warning in &loaded.warnings {
                eprintln!("warning: {warning}");
            }
            println!("{}", loaded.summary());
            Ok(())
        }
        Command::CheckStore(arguments) => serve::runtime()?.block_on(check_store::check_store(&arguments)),
        Command::Gc(arguments) => serve::runtime()?.block_on(gc::gc(&arguments)),
        Command::Migrate(arguments) => serve::runtime()?.block_on(jobs::migrate(&arguments)),
        Command::Rewrap(arguments) => serve::runtime()?.block_on(jobs::rewrap(&arguments)),
        Command::Verify(arguments) => serve::runtime()?.block_on(jobs::verify(&arguments)),
        Command::Inspect(arguments) => inspect::inspect(&arguments),
        Command::Open(arguments) => files::open(&arguments),
    }
}

/// An environment variable.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Where every command's configuration comes from.
fn sources<'a>(path: &std::path::Path) -> Sources<'a> {
    Sources::new(&variable, &crate::config::read_file)
        .with_variable_names(std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()))
        .with_file(path)
}

fn load(
    path: &std::path::Path,
    overrides: Vec<crate::config::Override>,
) -> Result<crate::config::Loaded, ConfigError> {
    Config::load(&sources(path).with_overrides(overrides))
}
