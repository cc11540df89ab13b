//! `table`: what `compare` kept as lines of JSON, in tables with a column for each size and number of clients, and what
//! `latency` kept.

use std::path::PathBuf;

use serde_json::Value;

use crate::load::Size;
use crate::report::Digits;

/// What to show.
#[derive(clap::Args)]
pub struct Table {
    /// File of JSON lines that `--out` made
    file: PathBuf,
}

/// Prints a table for each operation, with and without TLS, and one of latencies.
pub fn run(asked: &Table) {
    let text = std::fs::read_to_string(&asked.file).expect("the file of JSON lines");
    let all: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line of JSON"))
        .collect();
    if let Some(machine) = all.iter().rfind(|line| line["kind"] == "machine") {
        println!("{machine}\n");
    }
    for (operation, tls) in [("PUT", false), ("GET", false), ("PUT", true), ("GET", true)] {
        let lines: Vec<&Value> = all
            .iter()
            .filter(|line| line["kind"] == "compare" && line["target"] != "direct")
            .filter(|line| line["operation"] == operation && line["tls"] == tls)
            .collect();
        let mut columns: Vec<(u64, u64)> = lines
            .iter()
            .filter_map(|line| Some((line["size"].as_u64()?, line["clients"].as_u64()?)))
            .collect();
        columns.sort_unstable();
        columns.dedup();
        let mut names: Vec<&str> = Vec::new();
        for name in lines.iter().filter_map(|line| line["name"].as_str()) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        if names.is_empty() {
            continue;
        }
        let heads: Vec<String> = columns
            .iter()
            .map(|(size, clients)| format!("{} c{clients}", Size(*size)))
            .collect();
        let over = if tls { " over TLS" } else { "" };
        println!("| {operation}{over} | {} |", heads.join(" | "));
        println!("| --- |{}", " ---: |".repeat(columns.len()));
        for name in names {
            let cells: Vec<String> = columns
                .iter()
                .map(|column| cell(&lines, name, *column))
                .collect();
            println!("| {name} | {} |", cells.join(" | "));
        }
        println!();
    }
    latencies(&all);
}

/// The last of several runs, for each operation and each who was asked.
fn latencies(all: &[Value]) {
    let mut found: Vec<&Value> = Vec::new();
    for line in all.iter().filter(|line| line["kind"] == "latency") {
        let same = |of: &&mut &Value| {
            of["operation"] == line["operation"] && of["target"] == line["target"]
        };
        match found.iter_mut().find(same) {
            Some(before) => *before = line,
            None => found.push(line),
        }
    }
    if found.is_empty() {
        return;
    }
    println!("| | requests a second | p50 µs | p99 µs | p50 added | p99 added | CPU µs | busy |");
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    for line in found {
        let text = |name: &str| line[name].as_str().unwrap_or_default();
        let figure = |name: &str| line[name].as_f64().unwrap_or(f64::NAN);
        let cpu = Digits(figure("us_per_request"));
        let cpu = match line["x_nginx"].as_f64() {
            Some(times) if line["target"] != "nginx" => format!("{cpu} ({})", Digits(times)),
            _ => cpu.to_string(),
        };
        println!(
            "| {} {} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} | {cpu} | {} |",
            text("operation"),
            text("target"),
            figure("rate"),
            figure("p50_us"),
            figure("p99_us"),
            figure("p50_added_us"),
            figure("p99_added_us"),
            Digits(figure("busy")),
        );
    }
}

/// CPU-seconds per GiB, or microseconds per request where objects are small, and in brackets how many times nginx's.
fn cell(lines: &[&Value], name: &str, (size, clients): (u64, u64)) -> String {
    // The last of several runs.
    let line = lines
        .iter()
        .rfind(|line| line["name"] == name && line["size"] == size && line["clients"] == clients);
    let Some(line) = line else {
        return String::new();
    };
    let field = if size < 64 << 10 {
        "us_per_request"
    } else {
        "cpu_s_per_gib"
    };
    let figure = Digits(line[field].as_f64().unwrap_or(f64::NAN));
    match line["x_nginx"].as_f64() {
        Some(times) if name != "nginx" => format!("{figure} ({})", Digits(times)),
        _ => figure.to_string(),
    }
}
