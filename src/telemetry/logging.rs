//! Log lines on standard error, for people or as JSON.

use std::fmt;
use std::io;

use thiserror::Error;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt;

/// The least important lines that are still written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogLevel {
    /// Only what needs someone's attention.
    Error,
    /// And what may come to need it.
    Warn,
    /// And one line a request.
    #[default]
    Info,
    /// And what the gateway asks of the store.
    Debug,
    /// And everything else.
    Trace,
}

impl LogLevel {
    /// Every level, the quietest first.
    pub const ALL: [Self; 5] = [
        Self::Error,
        Self::Warn,
        Self::Info,
        Self::Debug,
        Self::Trace,
    ];

    /// The name in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }

    /// The filter of this level. Libraries are kept at `info` at most: below it some of them
    /// write headers, and headers hold credentials.
    fn directives(self) -> String {
        match self {
            Self::Debug | Self::Trace => format!("info,s3s=off,sealgate={}", self.name()),
            // The embedded store logs every refusal as an error of its own.
            _ => format!("{},s3s=off", self.name()),
        }
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How a line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Text for people.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
}

impl LogFormat {
    /// Every format.
    pub const ALL: [Self; 2] = [Self::Human, Self::Json];

    /// The name in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Human => "human",
            Self::Json => "json",
        }
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Sends the program's log lines to standard error. `filter`, the value of `SEALGATE_LOG` where
/// that is set, takes the place of `level`: `warn,sealgate::store=trace`, say.
///
/// # Errors
///
/// [`LoggingError`] where `filter` cannot be read, or where logging was started before.
pub fn start(level: LogLevel, format: LogFormat, filter: Option<&str>) -> Result<(), LoggingError> {
    subscriber(level, format, filter, io::stderr)?
        .try_init()
        .map_err(|_| LoggingError::AlreadyStarted)
}

type Boxed = Box<dyn tracing::Subscriber + Send + Sync>;

fn subscriber<W>(
    level: LogLevel,
    format: LogFormat,
    filter: Option<&str>,
    writer: W,
) -> Result<Boxed, LoggingError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let filter = match filter {
        Some(directives) => EnvFilter::try_new(directives)
            .map_err(|error| LoggingError::Filter(error.to_string()))?,
        None => EnvFilter::new(level.directives()),
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(writer);
    Ok(match format {
        LogFormat::Human => Box::new(builder.finish()),
        LogFormat::Json => Box::new(builder.json().flatten_event(true).finish()),
    })
}

/// Why logging could not be started.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LoggingError {
    /// `SEALGATE_LOG` cannot be read.
    #[error("SEALGATE_LOG: {0}")]
    Filter(String),
    /// Something else has started logging in this process.
    #[error("logging was started before")]
    AlreadyStarted,
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn lines(level: LogLevel, format: LogFormat, filter: Option<&str>) -> String {
        let captured = Captured::default();
        let writer = captured.clone();
        let subscriber = subscriber(level, format, filter, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(target: "sealgate::x", request_id = "r1", "hello");
            tracing::debug!(target: "sealgate::x", "detail");
            tracing::debug!(target: "hyper::proto", "headers");
        });
        let bytes = captured.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn json_lines_are_json() {
        let text = lines(LogLevel::Info, LogFormat::Json, None);
        let line: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
        assert_eq!(line["request_id"], "r1");
        assert_eq!(line["message"], "hello");
        assert_eq!(line["level"], "INFO");
    }

    #[test]
    fn levels_are_kept_and_libraries_stay_quiet() {
        assert!(!lines(LogLevel::Warn, LogFormat::Human, None).contains("hello"));
        let debug = lines(LogLevel::Debug, LogFormat::Human, None);
        assert!(debug.contains("hello") && debug.contains("detail"));
        assert!(!debug.contains("headers"));
    }

    #[test]
    fn the_filter_takes_the_place_of_the_level() {
        let text = lines(LogLevel::Error, LogFormat::Human, Some("sealgate=debug"));
        assert!(text.contains("detail"));
        assert!(matches!(
            subscriber(
                LogLevel::Info,
                LogFormat::Human,
                Some("sealgate=loud"),
                io::sink
            ),
            Err(LoggingError::Filter(_))
        ));
    }
}
