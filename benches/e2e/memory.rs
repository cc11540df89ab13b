//! `memory`: what streams take, each figure with a gateway process of its own.

use std::time::Duration;

use crate::load::{self, Direction, Job, Load, Outcome, Size, Until};
use crate::made::Recipe;
use crate::process::{Server, Setup, SinkProcess, Usage};
use crate::report::mib;
use crate::request::{ACCESS_KEY, Payload};
use crate::uploads::{self, LONG};

/// What to measure.
#[derive(clap::Args)]
#[group(skip)]
pub struct Memory {
    /// Bytes that each client streams
    #[arg(long, default_value = "1GiB")]
    size: Size,
    /// Bytes of one object in parts of 1 GiB, opaque ETags, beside one of 1 GiB: some two minutes for each 100 GiB up, and
    /// for each down; 0 leaves it out
    #[arg(long, default_value = "100GiB")]
    long: Size,
    /// Streams side by side
    #[arg(long, value_delimiter = ',', default_value = "1,16,64")]
    clients: Vec<usize>,
    /// How uploads are signed
    #[arg(long, value_enum, default_value = "unsigned")]
    payload: Payload,
    /// Bytes a second that slow clients and a slow store take; 0 leaves them out
    #[arg(long, default_value = "8MiB")]
    slow: Size,
}

/// A step of a run, each with a gateway process of its own.
struct Step<'a> {
    setup: &'a Setup,
    sink: &'a SinkProcess,
    payload: Payload,
}

impl Step<'_> {
    fn job(&self, gateway: &Server, direction: Direction, clients: usize, size: Size) -> Job {
        Job {
            gateway: gateway.address,
            tls: None,
            bucket: "bench".to_owned(),
            key: match direction {
                Direction::Up => "drop/object".to_owned(),
                Direction::Down => kept(size),
            },
            access_key: ACCESS_KEY.to_owned(),
            direction,
            size: size.0,
            clients,
            payload: self.payload,
            rate: 0,
        }
    }

    async fn measure(&self, direction: Direction, clients: usize, size: Size, rate: u64) {
        let gateway = self.setup.gateway(self.sink).await;
        let job = Job {
            rate,
            ..self.job(&gateway, direction, clients, size)
        };
        if direction == Direction::Down {
            keep(self.setup, self.sink, &job).await;
        }
        self.warm(&job).await;
        let idle = gateway.usage();
        let probe = || gateway.cpu();
        let outcome = Load::start(&job)
            .await
            .run(Until::Requests(clients), &probe)
            .await;
        let name = if rate > 0 || self.sink.slow {
            "slow "
        } else {
            ""
        };
        let used = gateway.usage();
        let (what, how) = (format!("{clients} × {size}"), format!("{name}{direction}"));
        line(&what, &how, clients, [idle, used], &outcome);
    }

    /// An object in parts, one after the other.
    async fn in_parts(&self, direction: Direction, size: Size) {
        let gateway = self.setup.gateway(self.sink).await;
        let job = Job {
            bucket: uploads::BUCKET.to_owned(),
            key: Recipe::key(size.0, Some(LONG)),
            ..self.job(&gateway, direction, 1, size)
        };
        self.warm(&job).await;
        let idle = gateway.usage();
        let outcome = match direction {
            Direction::Up => {
                let up = uploads::upload(&gateway, "drop/parts", size.0, LONG).await;
                Outcome {
                    wall: up.parts,
                    cpu: up.parts_cpu,
                    bytes: size.0,
                    ..Outcome::default()
                }
            }
            Direction::Down => {
                let mut load = Load::start(&job).await;
                load.run(Until::Requests(1), &|| gateway.cpu()).await
            }
        };
        let what = format!("{size} in parts");
        let used = [idle, gateway.usage()];
        line(&what, &direction.to_string(), 1, used, &outcome);
    }

    /// One small object up and down: code that runs for the first time is read into memory now, and counts
    /// as idle.
    async fn warm(&self, measured: &Job) {
        for direction in [Direction::Up, Direction::Down] {
            let job = Job {
                key: "keep/warm".to_owned(),
                direction,
                size: 256 << 10,
                clients: 1,
                rate: 0,
                ..measured.clone()
            };
            load::run(&job, 1).await;
        }
    }
}

/// What so many streams took: before, and at the end.
fn line(what: &str, how: &str, streams: usize, [idle, used]: [Usage; 2], outcome: &Outcome) {
    println!(
        "| {what} | {how} | {:.1} | {:.1} | {:.2} | {:.1} | {:.0} | {:.2} |",
        mib(idle.rss),
        mib(used.peak),
        mib(used.peak.saturating_sub(idle.rss)) / streams as f64,
        outcome.wall.as_secs_f64(),
        outcome.speed(),
        outcome.cpu.as_secs_f64() / (outcome.bytes as f64 / f64::from(1 << 30)),
    );
}

/// Puts the object of a download in place, through a gateway that is not measured.
pub async fn keep(setup: &Setup, sink: &SinkProcess, download: &Job) {
    let gateway = setup.gateway(sink).await;
    let job = Job {
        gateway: gateway.address,
        direction: Direction::Up,
        payload: Payload::Unsigned,
        clients: 1,
        rate: 0,
        ..download.clone()
    };
    load::run(&job, 1).await;
}

/// The key of a kept object.
pub fn kept(size: Size) -> String {
    format!("keep/{}", size.0)
}

/// Runs all of it.
pub async fn run(setup: &Setup, asked: &Memory) {
    let sink = SinkProcess::start(&setup.folder, 0);
    let fresh = idle(setup, &sink).await;
    println!(
        "Just started: {:.1} MiB resident, of it {:.1} MiB heap and stacks.\n",
        mib(fresh.rss),
        mib(fresh.anonymous)
    );
    println!(
        "| streams | direction | idle MiB | peak MiB | MiB more per stream | seconds | MiB/s | CPU-s per GiB |"
    );
    println!("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |");
    let step = Step {
        setup,
        sink: &sink,
        payload: asked.payload,
    };
    for &clients in &asked.clients {
        for direction in [Direction::Up, Direction::Down] {
            step.measure(direction, clients, asked.size, 0).await;
        }
    }
    if asked.long.0 > 0 {
        for direction in [Direction::Up, Direction::Down] {
            for size in [Size(LONG), asked.long] {
                step.in_parts(direction, size).await;
            }
        }
    }
    if asked.slow.0 > 0 {
        let short = Size(64 << 20);
        let clients = asked.clients.iter().copied().max().unwrap_or(1);
        let slow_sink = SinkProcess::start(&setup.folder, asked.slow.0);
        let slow_step = Step {
            sink: &slow_sink,
            ..step
        };
        slow_step.measure(Direction::Up, clients, short, 0).await;
        step.measure(Direction::Down, clients, short, asked.slow.0)
            .await;
    }
}

async fn idle(setup: &Setup, sink: &SinkProcess) -> Usage {
    let gateway = setup.gateway(sink).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    gateway.usage()
}
