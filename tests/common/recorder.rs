//! Counters and gauges, kept for tests to look at. Histograms go nowhere.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, SharedString, Unit};

/// The recorder of one test.
#[derive(Default)]
pub struct Recorder(Mutex<HashMap<Key, Arc<AtomicU64>>>);

impl Recorder {
    /// The sum of the counters of that name, of those with that label where one is given.
    pub fn sum(&self, name: &str, label: Option<(&str, &str)>) -> u64 {
        self.0
            .lock()
            .unwrap()
            .iter()
            .filter(|(key, _)| {
                key.name() == name
                    && label.is_none_or(|(name, value)| {
                        key.labels().any(|l| l.key() == name && l.value() == value)
                    })
            })
            .map(|(_, count)| count.load(Ordering::Relaxed))
            .sum()
    }

    /// The value of the gauge of that name, which has no labels.
    pub fn gauge(&self, name: &str) -> f64 {
        let kept = self.0.lock().unwrap();
        let found = kept.iter().find(|(key, _)| key.name() == name);
        found.map_or(0.0, |(_, bits)| {
            f64::from_bits(bits.load(Ordering::Relaxed))
        })
    }
}

impl metrics::Recorder for Recorder {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let mut counters = self.0.lock().unwrap();
        Counter::from_arc(counters.entry(key.clone()).or_default().clone())
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        let mut gauges = self.0.lock().unwrap();
        Gauge::from_arc(gauges.entry(key.clone()).or_default().clone())
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}
