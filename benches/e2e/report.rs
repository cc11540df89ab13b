//! Figures: medians, tables, lines of JSON, and the machine they come from.

use std::fmt;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::proxies::Proxy;

/// The middle one of some figures; of an even number the lower one of the two.
pub fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_unstable_by(f64::total_cmp);
    let middle = figures.len().saturating_sub(1) / 2;
    figures.get(middle).copied().unwrap_or(f64::NAN)
}

/// A figure with as many digits as it deserves; nothing for none.
pub struct Digits(pub f64);

impl fmt::Display for Digits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            figure if !figure.is_finite() => Ok(()),
            figure if figure >= 100.0 => write!(f, "{figure:.0}"),
            figure if figure >= 10.0 => write!(f, "{figure:.1}"),
            figure => write!(f, "{figure:.2}"),
        }
    }
}

/// MiB of KiB.
pub fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

/// A file of JSON lines, or none.
pub struct Lines(Option<File>);

impl Lines {
    /// Adds to a file, which begins with the machine.
    pub fn new(path: Option<&Path>) -> Self {
        let mut options = File::options();
        let options = options.create(true).append(true);
        let file = path.map(|path| options.open(path).expect("the file of JSON lines"));
        let mut lines = Self(file);
        lines.push(&machine());
        lines
    }

    /// Adds a line.
    pub fn push(&mut self, line: &Value) {
        if let Some(file) = &mut self.0 {
            writeln!(file, "{line}").expect("write a line of JSON");
        }
    }
}

/// What the figures come from.
pub fn machine() -> Value {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let field = |name: &str| {
        let mut lines = cpu.lines();
        let line = lines.find(|line| line.starts_with(name));
        line.and_then(|line| line.split_once(": "))
            .map(|(_, value)| value.to_owned())
            .unwrap_or_default()
    };
    let flags = field("flags");
    let wanted = ["aes", "vaes", "vpclmulqdq", "sha_ni", "avx2", "avx512f"];
    let has: Vec<&str> = wanted
        .into_iter()
        .filter(|flag| flags.split(' ').any(|found| found == *flag))
        .collect();
    let commit = Command::new("git")
        .args(["rev-parse", "--short", "HEAD"])
        .output()
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        .unwrap_or_default();
    let version = |proxy: Proxy| proxy.version().unwrap_or_default();
    json!({
        "kind": "machine",
        "cpu": field("model name"),
        "family": field("cpu family"),
        "model": field("model\t"),
        "flags": has.join(" "),
        // Not those that this process is kept to.
        "cores": cpu.lines().filter(|line| line.starts_with("processor")).count(),
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "load": read("/proc/loadavg").trim(),
        "commit": commit,
        "nginx": version(Proxy::Nginx),
        "haproxy": version(Proxy::Haproxy),
    })
}
