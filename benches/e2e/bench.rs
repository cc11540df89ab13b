//! The gateway from end to end: memory and speed of `sealgate serve` between clients and a store that cost
//! as little as possible. `run.sh` beside this file builds and runs it; `docs/PERFORMANCE.md` has the figures.
//!
//! ```text
//! clients (this process) → sealgate serve, nginx, haproxy, hyper or floor (measured) → sink (a process of its own)
//! ```
//!
//! `floor` enciphers and does nothing else: the least that a proxy which encrypts can cost here. `hyper` passes everything on
//! by the HTTP library that the gateway uses.

#![forbid(unsafe_code)]

mod compare;
mod floor;
mod growth;
mod http;
mod latency;
mod load;
mod made;
mod memory;
mod objects;
mod passed;
mod plot;
mod process;
mod proxies;
mod report;
mod request;
mod sink;
mod table;
mod throughput;
mod uploads;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use load::{Direction, Job, Size};
use process::Setup;
use request::{ACCESS_KEY, Payload};

/// No run takes longer; whatever hangs is ended.
const LIMIT: Duration = Duration::from_secs(3 * 3600);

/// Measures the gateway from end to end.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// CPU, latency and memory beside nginx, haproxy, the least that enciphering costs, and no proxy at all
    Compare {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        asked: compare::Compare,
    },
    /// What the gateway adds to requests of 4 KiB at half load
    Latency {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        asked: latency::Latency,
    },
    /// Cost that grows: object size, connections, streams, listings, users, parts
    Growth {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        asked: growth::Growth,
    },
    /// Peak memory with 1, 16 and 64 streams
    Memory {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        asked: memory::Memory,
    },
    /// Speed of PUT and GET at several sizes
    Throughput {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        asked: throughput::Throughput,
    },
    /// SVGs of what `--out` kept
    Plot(plot::Plot),
    /// Tables of what `compare --out` kept
    Table(table::Table),
    /// The store alone, until standard input ends; prints its address
    Sink {
        /// Where long objects under `keep/` go
        #[arg(long)]
        folder: PathBuf,
        /// Bytes a second taken from each connection; 0 is no limit
        #[arg(long, default_value_t = 0)]
        rate: u64,
        /// The gateway's key: `made/BYTES` is then an object of so many bytes, sealed as it is read
        #[arg(long)]
        keyring: Option<PathBuf>,
        /// Certificate for TLS
        #[arg(long, requires = "key")]
        cert: Option<PathBuf>,
        /// Its key
        #[arg(long, requires = "cert")]
        key: Option<PathBuf>,
    },
    /// A proxy that enciphers and does nothing else, until it is killed. NOT safe: for measuring only
    Floor(Between),
    /// A proxy of hyper alone, which passes everything on as it is, until it is killed
    Hyper(Between),
    /// Clients alone, against anything that knows their credentials
    Load {
        /// Address of the gateway
        #[arg(long)]
        gateway: SocketAddr,
        /// Bucket
        #[arg(long, default_value = "bench")]
        bucket: String,
        /// Key; a sink keeps what begins with `keep/`, and makes up what begins with `made/`
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

/// Where a proxy of this program stands.
#[derive(clap::Args)]
struct Between {
    /// Where it listens
    #[arg(long)]
    listen: SocketAddr,
    /// Address of the store
    #[arg(long)]
    store: SocketAddr,
}

impl Between {
    async fn listen(&self) -> TcpListener {
        TcpListener::bind(self.listen).await.expect("listen")
    }
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
    let folder = tempfile::tempdir().expect("a temporary folder");
    let setup = |common: Common| Setup::new(common.binary, folder.path(), common.env);
    match command {
        Command::Compare { common, asked } => compare::run(&setup(common), &asked).await,
        Command::Latency { common, asked } => latency::run(&setup(common), &asked).await,
        Command::Growth { common, asked } => growth::run(&setup(common), &asked).await,
        Command::Table(asked) => table::run(&asked),
        Command::Plot(asked) => plot::run(&asked),
        Command::Memory { common, asked } => memory::run(&setup(common), &asked).await,
        Command::Throughput { common, asked } => throughput::run(&setup(common), &asked).await,
        Command::Sink {
            folder,
            rate,
            keyring,
            cert,
            key,
        } => {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("listen");
            println!("{}", listener.local_addr().expect("address"));
            process::end_with_input();
            let tls = cert.zip(key);
            let tls = tls.map(|(cert, key)| http::Certificate::acceptor(&cert, &key));
            let keyring = keyring.as_deref().map(made::keyring);
            let sink = sink::Sink::new(folder, rate, keyring);
            sink.serve(listener, tls).await;
        }
        Command::Floor(at) => floor::Floor::new(at.store).serve(at.listen().await).await,
        Command::Hyper(at) => passed::serve(at.store, at.listen().await).await,
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
                tls: None,
                bucket,
                key,
                access_key: ACCESS_KEY.to_owned(),
                direction,
                size: size.0,
                clients,
                payload,
                rate: 0,
            };
            let outcome = load::run(&job, requests).await;
            println!(
                "{:.2} s, {:.0} MiB/s, p50 {:.2} ms, p99 {:.2} ms",
                outcome.wall.as_secs_f64(),
                outcome.speed(),
                outcome.percentile(0.5).as_secs_f64() * 1e3,
                outcome.percentile(0.99).as_secs_f64() * 1e3,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        super::Cli::command().debug_assert();
    }
}
