//! `sealgate serve`: the gateway in front of a store.

use std::num::NonZeroU16;
use std::thread;

use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

use super::CommandError;
use crate::config::cli::Serve;
use crate::gateway::{self, Listeners};
use crate::telemetry::logging;

/// Tasks that a worker runs before it looks at the sockets again. One that moves a window of a long body takes half a
/// millisecond, so that with tokio's 61 a small request would wait for 30 at each of its steps while long ones keep all
/// cores busy.
const EVENT_INTERVAL: u32 = 8;

/// How many threads serve, in place of one for each core. tokio knows the variable, too, but panics where it holds no
/// number.
const THREADS: &str = "TOKIO_WORKER_THREADS";

/// The runtime that every serving command uses.
pub fn runtime() -> Result<Runtime, CommandError> {
    let cores = || thread::available_parallelism().map_or(1, usize::from);
    Ok(Builder::new_multi_thread()
        .worker_threads(threads(super::variable(THREADS))?.unwrap_or_else(cores))
        .event_interval(EVENT_INTERVAL)
        .enable_all()
        .build()?)
}

/// What the variable says; nothing where it is not set or empty.
fn threads(variable: Option<String>) -> Result<Option<usize>, CommandError> {
    let Some(text) = variable.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    match text.parse::<NonZeroU16>() {
        Ok(number) => Ok(Some(number.get().into())),
        Err(_) => Err(CommandError::Threads),
    }
}

/// Serves until a signal says stop.
pub async fn serve(arguments: Serve) -> Result<(), CommandError> {
    let loaded = super::load(&arguments.config.path, arguments.flags.overrides())?;
    let config = loaded.config;
    logging::start(
        config.logging.level,
        config.logging.format,
        super::variable("SEALGATE_LOG").as_deref(),
    )?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let listeners = Listeners::bind(&config.server).await?;
    tracing::info!(
        listen = %config.server.listen,
        store = %config.store.endpoint,
        version = env!("CARGO_PKG_VERSION"),
        "sealgate is ready"
    );
    let stop = CancellationToken::new();
    stop_on_signal(stop.clone())?;
    gateway::run(&config, listeners, stop).await?;
    tracing::info!("stopped");
    Ok(())
}

/// Cancels `stop` on SIGTERM or SIGINT; a second one ends the process at once.
pub fn stop_on_signal(stop: CancellationToken) -> Result<(), CommandError> {
    on_signal(move || {
        tracing::info!("stopping: finishing requests in flight");
        stop.cancel();
    })
}

/// Calls `first` on SIGTERM or SIGINT; a second one ends the process at once.
pub fn on_signal(first: impl Fn() + Send + 'static) -> Result<(), CommandError> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        for round in 0.. {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if round > 0 {
                std::process::exit(130);
            }
            first();
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_a_number_above_zero_or_left_to_the_machine() {
        let of = |text: &str| threads(Some(text.to_owned())).ok();
        assert_eq!(threads(None).ok(), Some(None));
        assert_eq!(of(""), Some(None));
        assert_eq!(of("1"), Some(Some(1)));
        assert_eq!(of("65535"), Some(Some(65_535)));
        for bad in ["0", "-1", "65536", "two", "1 ", "1.0"] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }
}
