//! How far a job is: a bar on a terminal, a line now and then elsewhere.

use std::io::IsTerminal;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::report::{Totals, bytes};

/// The time between lines where there is no terminal.
const EVERY: Duration = Duration::from_secs(10);
/// Redraws a second.
const REDRAWS: u8 = 8;

/// How many objects there are, once somebody has counted them.
pub type Count = Arc<OnceLock<u64>>;

/// What shows it.
pub struct Progress {
    verb: &'static str,
    count: Count,
    bar: Option<ProgressBar>,
    began: Instant,
    said: Instant,
}

impl Progress {
    /// Shows nothing yet.
    pub fn new(verb: &'static str, count: Count) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let target = ProgressDrawTarget::stderr_with_hz(REDRAWS);
            let bar = ProgressBar::with_draw_target(None, target);
            let style = ProgressStyle::with_template("{spinner} {wide_bar} {msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        Self {
            verb,
            count,
            bar,
            began: Instant::now(),
            said: Instant::now(),
        }
    }

    /// Shows how much was done.
    pub fn show(&mut self, totals: &Totals) {
        let message = || self.message(totals);
        if let Some(bar) = &self.bar {
            if let Some(count) = self.count.get() {
                bar.set_length((*count).max(totals.examined));
            }
            bar.set_position(totals.examined);
            bar.set_message(message());
        } else if self.said.elapsed() >= EVERY {
            eprintln!("{}", message());
            self.said = Instant::now();
        }
    }

    fn message(&self, totals: &Totals) -> String {
        let seconds = self.began.elapsed().as_secs_f64().max(0.001);
        let rate = totals.examined as f64 / seconds;
        let moved = bytes((totals.done.bytes as f64 / seconds) as u64);
        let (of, left) = match self.count.get() {
            Some(count) => {
                let rest = count.saturating_sub(totals.examined) as f64;
                (
                    format!(" of {count}"),
                    format!(", {} left", clock(rest / rate.max(0.001))),
                )
            }
            None => Default::default(),
        };
        format!(
            "{}{of} objects examined, {} {} ({}), {rate:.0} objects/s, {moved}/s{left}{}",
            totals.examined,
            totals.done.objects,
            self.verb,
            bytes(totals.done.bytes),
            if totals.failed > 0 {
                format!(", {} FAILED", totals.failed)
            } else {
                String::new()
            }
        )
    }

    /// Prints a line that stays.
    pub fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{text}")),
            None => eprintln!("{text}"),
        }
    }

    /// Clears what only made sense meanwhile.
    pub fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Seconds as a clock shows them.
fn clock(seconds: f64) -> String {
    let seconds = seconds.clamp(0.0, 1e9) as u64;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes}:{seconds:02}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_says_what_is_known() {
        let count = Count::default();
        let progress = Progress::new("migrated", count.clone());
        let totals = Totals {
            examined: 10,
            ..Totals::default()
        };
        let before = progress.message(&totals);
        assert!(
            before.starts_with("10 objects examined, 0 migrated (0 B)"),
            "{before}"
        );
        assert!(!before.contains("left"));
        count.set(10).unwrap();
        let after = progress.message(&totals);
        assert!(
            after.starts_with("10 of 10 objects") && after.ends_with(", 0:00 left"),
            "{after}"
        );
    }

    #[test]
    fn clocks() {
        assert_eq!(clock(59.9), "0:59");
        assert_eq!(clock(3_725.0), "1:02:05");
        assert_eq!(clock(f64::INFINITY), "277777:46:40");
    }
}
