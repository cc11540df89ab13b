//! The gateway from end to end: memory and speed of `sealgate serve` between clients and a store that cost
//! as little as possible. `run.sh` beside this file builds and runs it; `docs/PERFORMANCE.md` has the figures.
//!
//! ```text
//! load (this process) → sealgate serve (measured) → sink (a process of its own)
//! ```

mod load;
mod process;
mod sink;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Parser, Subcommand};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use load::{Direction, Job, Outcome, Payload, Size};
use process::{Gateway, Setup, SinkProcess, Usage};

/// No run takes longer; whatever hangs is ended.
const LIMIT: Duration = Duration::from_secs(3600);

/// Measures the gateway from end to end.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Peak memory with 1, 16 and 64 streams
    Memory {
        #[command(flatten)]
        common: Common,
        /// Bytes that each client streams
        #[arg(long, default_value = "1GiB")]
        size: Size,
        /// Bytes of the one long stream (S3 ends at 5 GiB a PUT); 0 leaves it out
        #[arg(long, default_value = "5GiB")]
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
    },
    /// Speed of PUT and GET at several sizes
    Throughput {
        #[command(flatten)]
        common: Common,
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
    },
    /// The store alone, until standard input ends; prints its address
    Sink {
        /// Where objects under `keep/` go
        #[arg(long)]
        folder: PathBuf,
        /// Bytes a second taken from each connection; 0 is no limit
        #[arg(long, default_value_t = 0)]
        rate: u64,
    },
    /// Clients alone, against anything that knows their credentials
    Load {
        /// Address of the gateway
        #[arg(long)]
        gateway: SocketAddr,
        /// Bucket
        #[arg(long, default_value = "bench")]
        bucket: String,
        /// Key; a sink keeps what begins with `keep/`
        #[arg(long, default_value = "drop/object")]
        key: String,
        /// Which way
        #[arg(value_enum)]
        direction: Direction,
        /// Bytes of an object
        #[arg(long)]
        size: Size,
        /// Connections
        #[arg(long, default_value_t = 1)]
        clients: usize,
        /// Requests in all
        #[arg(long, default_value_t = 1)]
        requests: usize,
        /// How uploads are signed
        #[arg(long, value_enum, default_value = "unsigned")]
        payload: Payload,
    },
}

#[derive(clap::Args)]
struct Common {
    /// The `sealgate` binary
    #[arg(long)]
    binary: PathBuf,
    /// `NAME=VALUE` for the gateway's environment, any number of times
    #[arg(long = "env", value_name = "NAME=VALUE")]
    env: Vec<String>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let work = tokio::time::timeout(LIMIT, run(Cli::parse().command));
    let mut terminate = signal(SignalKind::terminate()).expect("signals");
    tokio::select! {
        done = work => done.expect("finished in time"),
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

async fn run(command: Command) {
    match command {
        Command::Sink { folder, rate } => {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("listen");
            println!("{}", listener.local_addr().expect("address"));
            process::end_with_input();
            sink::Sink::new(folder, rate).serve(listener).await;
        }
        Command::Load {
            gateway,
            bucket,
            key,
            direction,
            size,
            clients,
            requests,
            payload,
        } => {
            let job = Job {
                gateway,
                bucket,
                key,
                direction,
                size: size.0,
                clients,
                requests,
                payload,
                rate: 0,
            };
            let outcome = load::run(&job).await;
            println!(
                "{:.2} s, {:.0} MiB/s, p50 {:.2} ms, p99 {:.2} ms",
                outcome.wall.as_secs_f64(),
                speed(&job, &outcome),
                milliseconds(outcome.percentile(0.5)),
                milliseconds(outcome.percentile(0.99)),
            );
        }
        Command::Memory {
            common,
            size,
            long,
            clients,
            payload,
            slow,
        } => {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let setup = setup(common, folder.path());
            memory(&setup, size, long, &clients, payload, slow).await;
        }
        Command::Throughput {
            common,
            sizes,
            clients,
            payload,
            volume,
        } => {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let setup = setup(common, folder.path());
            throughput(&setup, &sizes, &clients, payload, volume).await;
        }
    }
}

fn setup(common: Common, folder: &Path) -> Setup {
    let Common { binary, env } = common;
    let setup = Setup {
        binary,
        folder: folder.to_owned(),
        env,
    };
    setup.keygen();
    setup
}

/// A step of a memory run, each with a gateway process of its own.
struct Step<'a> {
    setup: &'a Setup,
    sink: &'a SinkProcess,
    payload: Payload,
}

impl Step<'_> {
    async fn measure(&self, direction: Direction, clients: usize, size: Size, rate: u64) {
        let key = match direction {
            Direction::Up => "drop/object".to_owned(),
            Direction::Down => kept(size),
        };
        let gateway = self.setup.gateway(self.sink.address).await;
        let job = Job {
            gateway: gateway.address,
            bucket: "bench".to_owned(),
            key,
            direction,
            size: size.0,
            clients,
            requests: clients,
            payload: self.payload,
            rate,
        };
        if direction == Direction::Down {
            self.keep(&job).await;
        }
        self.warm(&job).await;
        let idle = gateway.usage();
        let outcome = load::run(&job).await;
        let used = gateway.usage();
        let added = used.peak.saturating_sub(idle.rss) as f64 / 1024.0 / clients as f64;
        let gib = job.size as f64 * clients as f64 / (1u64 << 30) as f64;
        let name = if rate > 0 || self.sink.slow {
            "slow "
        } else {
            ""
        };
        println!(
            "| {clients} × {size} | {name}{direction} | {:.1} | {:.1} | {added:.2} | {:.1} | {:.0} | {:.2} |",
            mib(idle.rss),
            mib(used.peak),
            outcome.wall.as_secs_f64(),
            speed(&job, &outcome),
            (used.cpu - idle.cpu).as_secs_f64() / gib,
        );
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
                requests: 1,
                rate: 0,
                ..measured.clone()
            };
            load::run(&job).await;
        }
    }

    /// Puts the object of a download in place, through a gateway that is not measured.
    async fn keep(&self, download: &Job) {
        let gateway = self.setup.gateway(self.sink.address).await;
        let job = Job {
            gateway: gateway.address,
            direction: Direction::Up,
            clients: 1,
            requests: 1,
            rate: 0,
            ..download.clone()
        };
        load::run(&job).await;
    }
}

fn kept(size: Size) -> String {
    format!("keep/{}", size.0)
}

async fn memory(
    setup: &Setup,
    size: Size,
    long: Size,
    clients: &[usize],
    payload: Payload,
    slow: Size,
) {
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
        payload,
    };
    for &clients in clients {
        for direction in [Direction::Up, Direction::Down] {
            step.measure(direction, clients, size, 0).await;
        }
    }
    if long.0 > 0 {
        for direction in [Direction::Up, Direction::Down] {
            step.measure(direction, 1, long, 0).await;
        }
    }
    if slow.0 > 0 {
        let short = Size(64 << 20);
        let clients = clients.iter().copied().max().unwrap_or(1);
        let slow_sink = SinkProcess::start(&setup.folder, slow.0);
        let slow_step = Step {
            sink: &slow_sink,
            ..step
        };
        slow_step.measure(Direction::Up, clients, short, 0).await;
        step.measure(Direction::Down, clients, short, slow.0).await;
    }
}

async fn idle(setup: &Setup, sink: &SinkProcess) -> Usage {
    let gateway = setup.gateway(sink.address).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    gateway.usage()
}

async fn throughput(
    setup: &Setup,
    sizes: &[Size],
    clients: &[usize],
    payload: Payload,
    volume: Size,
) {
    let sink = SinkProcess::start(&setup.folder, 0);
    println!(
        "| object | clients | operation | MiB/s | requests/s | p50 ms | p99 ms | gateway CPU-s per GiB |"
    );
    println!("| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: |");
    for &size in sizes {
        for &clients in clients {
            let job = |bucket: &str, key: String, direction| Job {
                gateway: sink.address,
                bucket: bucket.to_owned(),
                key,
                direction,
                size: size.0,
                clients,
                requests: usize::try_from(volume.0 / size.0)
                    .unwrap_or(usize::MAX)
                    .clamp(clients, 4_000),
                payload,
                rate: 0,
            };
            for (bucket, name) in [("bench", "PUT, MD5 ETag"), ("opaque", "PUT, opaque ETag")] {
                let job = job(bucket, "drop/object".to_owned(), Direction::Up);
                through(setup, &sink, name, job, size).await;
            }
            let mut down = job("bench", kept(size), Direction::Down);
            let mut up = Job {
                direction: Direction::Up,
                clients: 1,
                requests: 1,
                ..down.clone()
            };
            {
                let gateway = setup.gateway(sink.address).await;
                up.gateway = gateway.address;
                load::run(&up).await;
            }
            through(setup, &sink, "GET", down.clone(), size).await;
            // What clients and sink take by themselves: the same requests without a gateway.
            let direct = job("bench", "drop/object".to_owned(), Direction::Up);
            let outcome = load::run(&direct).await;
            line("(PUT, no gateway)", &direct, size, &outcome, None);
            up.gateway = sink.address;
            up.key = format!("keep/direct-{}", size.0);
            down.key.clone_from(&up.key);
            load::run(&up).await;
            let outcome = load::run(&down).await;
            line("(GET, no gateway)", &down, size, &outcome, None);
        }
    }
}

/// One figure, with a gateway process of its own that has seen the same requests before.
async fn through(setup: &Setup, sink: &SinkProcess, name: &str, mut job: Job, size: Size) {
    let gateway: Gateway = setup.gateway(sink.address).await;
    job.gateway = gateway.address;
    let mut warm = job.clone();
    warm.requests = (job.requests / 20).max(job.clients);
    load::run(&warm).await;
    let before = gateway.usage();
    let outcome = load::run(&job).await;
    let cpu = gateway.usage().cpu - before.cpu;
    line(name, &job, size, &outcome, Some(cpu));
}

fn line(name: &str, job: &Job, size: Size, outcome: &Outcome, cpu: Option<Duration>) {
    let gib = job.size as f64 * job.requests as f64 / (1u64 << 30) as f64;
    let cpu = cpu.map_or(String::new(), |cpu| {
        format!("{:.2}", cpu.as_secs_f64() / gib)
    });
    println!(
        "| {size} | {} | {name} | {:.0} | {:.0} | {:.2} | {:.2} | {cpu} |",
        job.clients,
        speed(job, outcome),
        job.requests as f64 / outcome.wall.as_secs_f64(),
        milliseconds(outcome.percentile(0.5)),
        milliseconds(outcome.percentile(0.99)),
    );
}

fn speed(job: &Job, outcome: &Outcome) -> f64 {
    job.size as f64 * job.requests as f64 / f64::from(1 << 20) / outcome.wall.as_secs_f64()
}

fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
