//! Metrics for Prometheus: their names, and one small function to record each.
//!
//! Every label value is a `&'static str` or comes from an enum here, so the number of series is
//! fixed when the program is built: nothing a client or the store sends can add one.

use std::sync::Arc;
use std::time::Duration;

use ::metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram,
    gauge, histogram,
};
use metrics_exporter_prometheus::{
    Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};
use metrics_process::Collector;
use thiserror::Error;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::handles::{self, Pairs, Slot};

/// Requests answered, by `operation` and `status` class.
pub const REQUESTS: &str = "sealgate_requests_total";
/// Seconds from a request's head to the last byte of its answer, by `operation` and `status` class.
pub const REQUEST_SECONDS: &str = "sealgate_request_duration_seconds";
/// Seconds until the store answered with a head, by `operation` and `status` class.
pub const STORE_SECONDS: &str = "sealgate_store_request_duration_seconds";
/// Bytes of bodies, by `side` and `direction`.
pub const BYTES: &str = "sealgate_bytes_total";
/// Plaintext size of the objects sent and received, by `direction`.
pub const OBJECT_BYTES: &str = "sealgate_object_bytes";
/// Bodies being sealed or opened just now, by `direction`.
pub const STREAMS: &str = "sealgate_streams_in_flight";
/// What caches answered, by `cache` and `event`.
pub const CACHE_EVENTS: &str = "sealgate_cache_events_total";
/// Objects and envelopes that failed authentication, by `kind`.
pub const INTEGRITY_FAILURES: &str = "sealgate_integrity_failures_total";
/// Requests whose signature or credentials were refused, by `kind`.
pub const AUTH_FAILURES: &str = "sealgate_auth_failures_total";
/// Requests that the policy denied, by `reason`.
pub const DENIALS: &str = "sealgate_policy_denials_total";
/// Requests to the store that failed, by `kind`.
pub const STORE_ERRORS: &str = "sealgate_store_errors_total";
/// Bodies of the store that broke off, by what came of asking for the rest.
pub const RESUMPTIONS: &str = "sealgate_store_resumptions_total";
/// Bytes that objects take which are being checked as a whole.
pub const SPOOL_BYTES: &str = "sealgate_spool_bytes";
/// Objects that were to be checked as a whole and could not be, by `reason`.
pub const SPOOL_REFUSALS: &str = "sealgate_spool_refusals_total";
/// Bodies of objects of other programs' formats that were read, by `format` and `protection`.
pub const LEGACY_READS: &str = "sealgate_legacy_reads_total";
/// Bytes of clients' bodies hashed with MD5, by the number of `lanes` that were in use.
pub const MD5_BYTES: &str = "sealgate_md5_bytes_total";
/// The same with SHA-256.
pub const SHA256_BYTES: &str = "sealgate_sha256_bytes_total";
/// Always 1; says by its labels which build runs.
pub const BUILD_INFO: &str = "sealgate_build_info";

/// How often recorded samples are folded into their buckets. In between they are queued, so this
/// is what bounds the memory that histograms take.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// Upper bounds of the latency buckets, in seconds. Large bodies take long: hence the long tail.
const SECONDS: [f64; 17] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
    300.0, 1800.0,
];

/// Upper bounds of the size buckets: 1 KiB to 256 GiB, in steps of sixteen, and the segment size.
const SIZES: [f64; 9] = [
    1024.0,
    16_384.0,
    65_536.0,
    262_144.0,
    4_194_304.0,
    67_108_864.0,
    1_073_741_824.0,
    17_179_869_184.0,
    274_877_906_944.0,
];

/// The recorder of this process, and what renders it.
#[derive(Clone)]
pub struct Metrics {
    handle: PrometheusHandle,
    process: Arc<Collector>,
}

impl Metrics {
    /// Makes this process record metrics. Until then the functions of this module do nothing.
    ///
    /// # Errors
    ///
    /// [`MetricsError`] where a recorder was installed before.
    pub fn install() -> Result<Self, MetricsError> {
        let (recorder, metrics) = Self::prepare()?;
        ::metrics::set_global_recorder(recorder).map_err(|_| MetricsError::AlreadyInstalled)?;
        handles::installed();
        metrics.start();
        Ok(metrics)
    }

    fn prepare() -> Result<(PrometheusRecorder, Self), MetricsError> {
        let recorder = builder()?.build_recorder();
        let metrics = Self {
            handle: recorder.handle(),
            process: Arc::new(Collector::default()),
        };
        Ok((recorder, metrics))
    }

    /// Says what there is, once the recorder is in place.
    fn start(&self) {
        describe();
        self.process.describe();
        gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    }

    /// All metrics in Prometheus's text format, those of the process freshly taken.
    #[must_use]
    pub fn render(&self) -> String {
        self.process.collect();
        self.handle.render()
    }

    /// Folds recorded samples into their buckets.
    pub fn upkeep(&self) {
        self.handle.run_upkeep();
    }

    /// Calls [`Metrics::upkeep`] every few seconds until `stop`.
    #[must_use = "dropping the handle does not stop the task; the token does"]
    pub fn spawn_upkeep(&self, stop: CancellationToken) -> JoinHandle<()> {
        let metrics = self.clone();
        tokio::spawn(async move {
            let mut every = tokio::time::interval(UPKEEP_EVERY);
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    _ = every.tick() => metrics.upkeep(),
                }
            }
        })
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// A request was answered with `status`, `elapsed` after its head arrived.
pub fn request(operation: &'static str, status: u16, elapsed: Duration) {
    static HANDLES: Pairs<(Counter, Histogram)> = Pairs::new();
    let class = status_class(Some(status));
    let find = || {
        (
            counter!(REQUESTS, "operation" => operation, "status" => class),
            histogram!(REQUEST_SECONDS, "operation" => operation, "status" => class),
        )
    };
    HANDLES.with(operation, class, find, |(requests, seconds)| {
        requests.increment(1);
        seconds.record(elapsed.as_secs_f64());
    });
}

/// The store answered with `status`, or with nothing at all, after `elapsed`.
pub fn store_request(operation: &'static str, status: Option<u16>, elapsed: Duration) {
    static HANDLES: Pairs<Histogram> = Pairs::new();
    let class = status_class(status);
    let find = || histogram!(STORE_SECONDS, "operation" => operation, "status" => class);
    HANDLES.with(operation, class, find, |seconds| {
        seconds.record(elapsed.as_secs_f64());
    });
}

/// `count` bytes of a body passed. Call it once a window, not once a frame.
pub fn bytes(side: Side, direction: Direction, count: u64) {
    static HANDLES: [[Slot<Counter>; 2]; 2] = [const { [const { Slot::new() }; 2] }; 2];
    let find = || counter!(BYTES, "side" => side.name(), "direction" => direction.name());
    HANDLES[side as usize][direction as usize].with(find, |bytes| bytes.increment(count));
}

/// An object of `size` plaintext bytes began to be sent or received.
#[expect(clippy::cast_precision_loss, reason = "a bucket is all that is kept")]
pub fn object_size(direction: Direction, size: u64) {
    static HANDLES: [Slot<Histogram>; 2] = [const { Slot::new() }; 2];
    let find = || histogram!(OBJECT_BYTES, "direction" => direction.name());
    HANDLES[direction as usize].with(find, |sizes| sizes.record(size as f64));
}

/// `count` things happened to a cache.
pub fn cache(cache: Cache, event: CacheEvent, count: u64) {
    static HANDLES: Pairs<Counter> = Pairs::new();
    let (cache, event) = (cache.name(), event.name());
    let find = || counter!(CACHE_EVENTS, "cache" => cache, "event" => event);
    HANDLES.with(cache, event, find, |events| events.increment(count));
}

/// Something that the store returned failed authentication.
pub fn integrity_failure(kind: &'static str) {
    counter!(INTEGRITY_FAILURES, "kind" => kind).increment(1);
}

/// A request's signature or credentials were refused.
pub fn auth_failure(kind: &'static str) {
    counter!(AUTH_FAILURES, "kind" => kind).increment(1);
}

/// The policy denied a request.
pub fn denied(reason: &'static str) {
    counter!(DENIALS, "reason" => reason).increment(1);
}

/// A request to the store failed.
pub fn store_error(kind: &'static str) {
    counter!(STORE_ERRORS, "kind" => kind).increment(1);
}

/// A body of the store broke off, and the rest was asked for.
pub fn resumption(result: Resumption) {
    counter!(RESUMPTIONS, "result" => result.name()).increment(1);
}

/// Room was made for an object that is to be checked as a whole.
#[expect(clippy::cast_precision_loss, reason = "exact up to 8 PiB")]
pub fn spool_reserved(bytes: u64) {
    gauge!(SPOOL_BYTES).increment(bytes as f64);
}

/// That room was given back.
#[expect(clippy::cast_precision_loss, reason = "exact up to 8 PiB")]
pub fn spool_released(bytes: u64) {
    gauge!(SPOOL_BYTES).decrement(bytes as f64);
}

/// There was no room for an object that is to be checked as a whole.
pub fn spool_refused(reason: SpoolRefusal) {
    counter!(SPOOL_REFUSALS, "reason" => reason.name()).increment(1);
}

/// The body of an object of another program's format begins to be read. It is unprotected where everybody knows its key.
pub fn legacy_read(format: &'static str, unprotected: bool) {
    let protection = if unprotected { "none" } else { "secret" };
    counter!(LEGACY_READS, "format" => format, "protection" => protection).increment(1);
}

/// Bytes of bodies were hashed in so many lanes at once. `counter` is [`MD5_BYTES`] or [`SHA256_BYTES`].
pub fn hashed_bytes(counter: &'static str, lanes: usize, bytes: u64) {
    let lanes = match lanes {
        0 | 1 => "1",
        2..=4 => "2-4",
        5..=8 => "5-8",
        _ => "9-16",
    };
    counter!(counter, "lanes" => lanes).increment(bytes);
}

/// Counts a body as in flight for as long as it lives.
#[derive(Debug)]
#[must_use = "the stream counts as finished when this is dropped"]
pub struct StreamGuard(Direction);

impl StreamGuard {
    /// A body begins.
    pub fn new(direction: Direction) -> Self {
        Self::gauge(direction, |streams| streams.increment(1.0));
        Self(direction)
    }

    fn gauge(direction: Direction, record: impl FnOnce(&Gauge)) {
        static HANDLES: [Slot<Gauge>; 2] = [const { Slot::new() }; 2];
        let find = || gauge!(STREAMS, "direction" => direction.name());
        HANDLES[direction as usize].with(find, record);
    }
}

impl Drop for StreamGuard {
    fn drop(&mut self) {
        Self::gauge(self.0, |streams| streams.decrement(1.0));
    }
}

/// Which way a body goes, seen from the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client towards the store.
    In,
    /// From the store towards the client.
    Out,
}

impl Direction {
    /// The label value.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
        }
    }
}

/// On which side of the gateway bytes were counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Plaintext, between client and gateway.
    Client,
    /// Ciphertext, between gateway and store.
    Store,
}

impl Side {
    /// The label value.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Store => "store",
        }
    }
}

/// What came of a body of the store that broke off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resumption {
    /// It goes on with the byte that was missing.
    Resumed,
    /// It does not, and the transfer was cut.
    GivenUp,
}

impl Resumption {
    /// The label value.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Resumed => "resumed",
            Self::GivenUp => "given_up",
        }
    }
}

/// Why there was no room for an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpoolRefusal {
    /// It is longer than any that is taken.
    TooLarge,
    /// Others have the room just now.
    Full,
}

impl SpoolRefusal {
    /// The label value.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::Full => "full",
        }
    }
}

/// The caches of the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cache {
    /// Sizes and `ETag`s of objects, for listings.
    Footer,
    /// Unwrapped data keys.
    DataKey,
    /// Derived signing keys.
    SigningKey,
}

impl Cache {
    /// The label value.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Footer => "footer",
            Self::DataKey => "data_key",
            Self::SigningKey => "signing_key",
        }
    }
}

/// What can happen at a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheEvent {
    /// It had the answer.
    Hit,
    /// It had not.
    Miss,
    /// An entry made way for another.
    Eviction,
}

impl CacheEvent {
    /// The label value.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::Eviction => "eviction",
        }
    }
}

const fn status_class(status: Option<u16>) -> &'static str {
    match status {
        Some(100..=199) => "1xx",
        Some(200..=299) => "2xx",
        Some(300..=399) => "3xx",
        Some(400..=499) => "4xx",
        Some(500..=599) => "5xx",
        _ => "none",
    }
}

fn builder() -> Result<PrometheusBuilder, MetricsError> {
    let mut builder = PrometheusBuilder::new();
    for (name, bounds) in [
        (REQUEST_SECONDS, &SECONDS[..]),
        (STORE_SECONDS, &SECONDS[..]),
        (OBJECT_BYTES, &SIZES[..]),
    ] {
        builder = builder
            .set_buckets_for_metric(Matcher::Full(name.to_owned()), bounds)
            .map_err(|error| MetricsError::Buckets(error.to_string()))?;
    }
    Ok(builder)
}

fn describe() {
    describe_counter!(REQUESTS, "Requests answered.");
    describe_histogram!(
        REQUEST_SECONDS,
        Unit::Seconds,
        "Time from a request's head to the last byte of its answer."
    );
    describe_histogram!(
        STORE_SECONDS,
        Unit::Seconds,
        "Time until the store answered with a head."
    );
    describe_counter!(BYTES, Unit::Bytes, "Bytes of bodies.");
    describe_histogram!(
        OBJECT_BYTES,
        Unit::Bytes,
        "Plaintext size of objects sent and received."
    );
    describe_gauge!(STREAMS, "Bodies being sealed or opened just now.");
    describe_counter!(CACHE_EVENTS, "What the caches answered.");
    describe_counter!(
        INTEGRITY_FAILURES,
        "Objects and envelopes that failed authentication."
    );
    describe_counter!(
        AUTH_FAILURES,
        "Requests whose signature or credentials were refused."
    );
    describe_counter!(DENIALS, "Requests that the policy denied.");
    describe_counter!(STORE_ERRORS, "Requests to the store that failed.");
    describe_counter!(
        RESUMPTIONS,
        "Bodies of the store that broke off, and what came of them."
    );
    describe_gauge!(
        SPOOL_BYTES,
        Unit::Bytes,
        "Bytes of objects that are being checked as a whole."
    );
    describe_counter!(
        SPOOL_REFUSALS,
        "Objects that were to be checked as a whole, and there was no room."
    );
    describe_counter!(
        LEGACY_READS,
        "Objects of other programs' formats that were read."
    );
    describe_counter!(
        MD5_BYTES,
        Unit::Bytes,
        "Bytes of bodies hashed with MD5, by the streams hashed side by side."
    );
    describe_counter!(
        SHA256_BYTES,
        Unit::Bytes,
        "Bytes of bodies hashed with SHA-256, by the streams hashed side by side."
    );
    describe_gauge!(BUILD_INFO, "Always 1; its labels say which build runs.");
}

/// Why metrics could not be installed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MetricsError {
    /// Something else records metrics in this process.
    #[error("a metrics recorder was installed before")]
    AlreadyInstalled,
    /// The buckets of a histogram are not valid.
    #[error("histogram buckets: {0}")]
    Buckets(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On a recorder of its own: the process's may be in use by other tests.
    #[test]
    fn what_is_recorded_is_rendered() {
        let (recorder, metrics) = Metrics::prepare().unwrap();
        let text = ::metrics::with_local_recorder(&recorder, || {
            metrics.start();
            request("GetObject", 206, Duration::from_millis(3));
            store_request("GetObject", None, Duration::from_secs(61));
            bytes(Side::Store, Direction::In, 1000);
            object_size(Direction::Out, 65_536);
            cache(Cache::Footer, CacheEvent::Hit, 2);
            integrity_failure("segment");
            auth_failure("signature");
            denied("not_granted");
            store_error("timeout");
            resumption(Resumption::GivenUp);
            spool_reserved(70_000);
            spool_released(10_000);
            spool_refused(SpoolRefusal::Full);
            legacy_read("s3proxy", true);
            let _guard = StreamGuard::new(Direction::Out);
            drop(StreamGuard::new(Direction::In));
            metrics.render()
        });
        for line in [
            r#"sealgate_requests_total{operation="GetObject",status="2xx"} 1"#,
            r#"sealgate_request_duration_seconds_bucket{operation="GetObject",status="2xx",le="0.005"} 1"#,
            r#"sealgate_store_request_duration_seconds_bucket{operation="GetObject",status="none",le="60"} 0"#,
            r#"sealgate_bytes_total{side="store",direction="in"} 1000"#,
            r#"sealgate_object_bytes_bucket{direction="out",le="65536"} 1"#,
            r#"sealgate_cache_events_total{cache="footer",event="hit"} 2"#,
            r#"sealgate_integrity_failures_total{kind="segment"} 1"#,
            r#"sealgate_auth_failures_total{kind="signature"} 1"#,
            r#"sealgate_policy_denials_total{reason="not_granted"} 1"#,
            r#"sealgate_store_errors_total{kind="timeout"} 1"#,
            r#"sealgate_store_resumptions_total{result="given_up"} 1"#,
            "sealgate_spool_bytes 60000",
            r#"sealgate_spool_refusals_total{reason="full"} 1"#,
            r#"sealgate_legacy_reads_total{format="s3proxy",protection="none"} 1"#,
            r#"sealgate_streams_in_flight{direction="out"} 1"#,
            r#"sealgate_streams_in_flight{direction="in"} 0"#,
        ] {
            assert!(text.contains(line), "{line} is missing from\n{text}");
        }
        assert!(text.contains("sealgate_build_info{version=\""));
        assert!(text.contains("process_resident_memory_bytes "));
    }

    #[test]
    fn every_metric_is_documented() {
        let manual = include_str!("../../docs/METRICS.md");
        for name in [
            REQUESTS,
            REQUEST_SECONDS,
            STORE_SECONDS,
            BYTES,
            OBJECT_BYTES,
            STREAMS,
            CACHE_EVENTS,
            INTEGRITY_FAILURES,
            AUTH_FAILURES,
            DENIALS,
            STORE_ERRORS,
            RESUMPTIONS,
            SPOOL_BYTES,
            SPOOL_REFUSALS,
            LEGACY_READS,
            MD5_BYTES,
            SHA256_BYTES,
            BUILD_INFO,
        ] {
            assert!(manual.contains(&format!("`{name}`")), "{name}");
        }
    }

    #[tokio::test]
    async fn upkeep_stops_when_told() {
        let (_recorder, metrics) = Metrics::prepare().unwrap();
        let stop = CancellationToken::new();
        let task = metrics.spawn_upkeep(stop.clone());
        stop.cancel();
        task.await.unwrap();
    }

    #[test]
    fn every_status_has_a_class() {
        assert_eq!(status_class(Some(200)), "2xx");
        assert_eq!(status_class(Some(503)), "5xx");
        assert_eq!(status_class(Some(999)), "none");
        assert_eq!(status_class(None), "none");
    }
}
