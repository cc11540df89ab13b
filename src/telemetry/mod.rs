//! What operators see of a running gateway: its log lines and its metrics.

mod handles;
pub mod logging;
pub mod metrics;

pub use logging::{LogFormat, LogLevel, LoggingError};
pub use metrics::{Metrics, MetricsError};
