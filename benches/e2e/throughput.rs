//! `throughput`: the gateway alone at several sizes, where the kernel runs it on whichever cores it likes.

use crate::load::{self, Direction, Job, Load, Outcome, Size, Until};
use crate::memory::{keep, kept};
use crate::process::{Setup, SinkProcess};
use crate::request::{ACCESS_KEY, Payload};

/// What to measure.
#[derive(clap::Args)]
#[group(skip)]
pub struct Throughput {
    /// Sizes of objects
    #[arg(long, value_delimiter = ',', default_value = "4KiB,1MiB,64MiB")]
    sizes: Vec<Size>,
    /// Clients side by side
    #[arg(long, value_delimiter = ',', default_value = "1,16")]
    clients: Vec<usize>,
    /// How uploads are signed
    #[arg(long, value_enum, default_value = "unsigned")]
    payload: Payload,
    /// Bytes for each figure, at most 4,000 requests
    #[arg(long, default_value = "2GiB")]
    volume: Size,
}

/// Runs all of it.
pub async fn run(setup: &Setup, asked: &Throughput) {
    let sink = SinkProcess::start(&setup.folder, 0);
    println!(
        "| object | clients | operation | MiB/s | requests/s | p50 ms | p99 ms | gateway CPU-s per GiB |"
    );
    println!("| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: |");
    for &size in &asked.sizes {
        for &clients in &asked.clients {
            let job = |bucket: &str, key: &str, direction| Job {
                gateway: sink.address,
                tls: None,
                bucket: bucket.to_owned(),
                key: key.to_owned(),
                access_key: ACCESS_KEY.to_owned(),
                direction,
                size: size.0,
                clients,
                payload: asked.payload,
                rate: 0,
            };
            let requests = usize::try_from(asked.volume.0 / size.0)
                .unwrap_or(usize::MAX)
                .clamp(clients, 4_000);
            for (bucket, name) in [("bench", "PUT, MD5 ETag"), ("opaque", "PUT, opaque ETag")] {
                let job = job(bucket, "drop/object", Direction::Up);
                through(setup, &sink, name, job, requests).await;
            }
            let down = job("bench", &kept(size), Direction::Down);
            keep(setup, &sink, &down).await;
            through(setup, &sink, "GET", down, requests).await;
            // What clients and sink take by themselves: the same requests without a gateway.
            let direct = job("bench", "drop/object", Direction::Up);
            let outcome = load::run(&direct, requests).await;
            line("(PUT, no gateway)", &direct, &outcome);
            let key = format!("keep/direct-{}", size.0);
            let mut up = job("bench", &key, Direction::Up);
            up.clients = 1;
            // Nobody takes chunks apart on this way.
            up.payload = Payload::Unsigned;
            load::run(&up, 1).await;
            let down = job("bench", &key, Direction::Down);
            let outcome = load::run(&down, requests).await;
            line("(GET, no gateway)", &down, &outcome);
        }
    }
}

/// One figure, with a gateway process of its own that has seen the same requests before.
async fn through(setup: &Setup, sink: &SinkProcess, name: &str, mut job: Job, requests: usize) {
    let gateway = setup.gateway(sink).await;
    job.gateway = gateway.address;
    load::run(&job, (requests / 20).max(job.clients)).await;
    let mut load = Load::start(&job).await;
    let outcome = load.run(Until::Requests(requests), &|| gateway.cpu()).await;
    line(name, &job, &outcome);
}

fn line(name: &str, job: &Job, outcome: &Outcome) {
    let cpu = if outcome.cpu.is_zero() {
        String::new()
    } else {
        let gib = outcome.bytes as f64 / f64::from(1 << 30);
        format!("{:.2}", outcome.cpu.as_secs_f64() / gib)
    };
    println!(
        "| {} | {} | {name} | {:.0} | {:.0} | {:.2} | {:.2} | {cpu} |",
        Size(job.size),
        job.clients,
        outcome.speed(),
        outcome.requests() as f64 / outcome.wall.as_secs_f64(),
        outcome.percentile(0.5).as_secs_f64() * 1e3,
        outcome.percentile(0.99).as_secs_f64() * 1e3,
    );
}
