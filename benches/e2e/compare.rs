//! `compare`: the gateway beside proxies that pass plaintext through, beside one that enciphers and does nothing else, and
//! beside no proxy at all, in one run. Every round measures each of them in turn, so that what else the machine does meets
//! all alike; medians of the rounds are what counts.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;
use tokio_rustls::TlsConnector;

use crate::http::Certificate;
use crate::load::{self, Direction, Job, Load, Outcome, Size, Until};
use crate::process::{Cores, Server, Setup, SinkProcess};
use crate::proxies::Proxy;
use crate::report::{Digits, Lines, median, mib};
use crate::request::{ACCESS_KEY, Payload};

/// More bytes than this are not waited for: then the run is cut off, and latencies are left out.
const WHOLE: u64 = 1 << 30;

/// What to compare.
#[derive(clap::Args)]
#[group(skip)]
pub struct Compare {
    /// Some sizes and shorter rounds: about three minutes
    #[arg(long)]
    quick: bool,
    /// Sizes of objects [default: 4KiB,1MiB,64MiB,1GiB; quick: 4KiB,64MiB]
    #[arg(long, value_delimiter = ',')]
    sizes: Vec<Size>,
    /// Clients side by side [default: 1,16,64; quick: 1,16]
    #[arg(long, value_delimiter = ',')]
    clients: Vec<usize>,
    /// Targets; hyper passes everything on by the gateway's HTTP library, floor is the least that a proxy which encrypts
    /// can cost; neither has TLS
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "direct,nginx,nginx-256k,haproxy,hyper,floor,sealgate"
    )]
    targets: Vec<String>,
    /// How uploads through the gateway are signed [default: all, over TLS unsigned,trailer; quick: unsigned,sha256]
    #[arg(long, value_enum, value_delimiter = ',')]
    payloads: Vec<Payload>,
    /// ETags of uploads through the gateway: md5, opaque
    #[arg(long, value_delimiter = ',', default_value = "opaque,md5")]
    etags: Vec<String>,
    /// Which way: up, down
    #[arg(long, value_enum, value_delimiter = ',', default_value = "up,down")]
    directions: Vec<Direction>,
    /// TLS from clients to proxies and on to the store: off, on, or both one after the other [default: both; quick: off]
    #[arg(long, value_parser = ["off", "on", "both"])]
    tls: Option<String>,
    /// Rounds
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds for each figure of a round [default: 1; quick: 0.6]
    #[arg(long)]
    seconds: Option<f64>,
    /// Cores of gateway and proxies, clients, and store: three numbers, auto, or off
    #[arg(long, default_value = "auto")]
    cores: Cores,
    /// File that lines of JSON are added to
    #[arg(long)]
    out: Option<PathBuf>,
}

/// One line of the table: who is asked, and how.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Lane {
    target: String,
    direction: Direction,
    payload: Payload,
    etag: String,
}

impl Lane {
    fn name(&self) -> String {
        match (self.target.as_str(), self.direction) {
            ("sealgate", Direction::Up) => {
                format!("sealgate, {}, {} ETag", self.payload.name(), self.etag)
            }
            (target, _) => target.to_owned(),
        }
    }

    fn bucket(&self) -> &'static str {
        match self.etag.as_str() {
            "opaque" => "opaque",
            _ => "bench",
        }
    }
}

/// The figures of a round, and their names in lines of JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Figure {
    CpuPerGib,
    CpuPerRequest,
    P50,
    P99,
    First,
    Speed,
    Busy,
    Peak,
}

const FIGURES: [(Figure, &str); 8] = [
    (Figure::CpuPerGib, "cpu_s_per_gib"),
    (Figure::CpuPerRequest, "us_per_request"),
    (Figure::P50, "p50_ms"),
    (Figure::P99, "p99_ms"),
    (Figure::First, "first_ms"),
    (Figure::Speed, "mib_per_s"),
    (Figure::Busy, "busy"),
    (Figure::Peak, "peak_mib"),
];

/// What a round found, or the medians of several: as many figures as there are names.
#[derive(Clone, Debug)]
struct Figures([f64; FIGURES.len()]);

impl Figures {
    fn new(outcome: &Outcome, size: u64, server: Option<&Server>) -> Self {
        let milliseconds = |sorted: &[Duration], part| match sorted {
            [] => f64::NAN,
            _ => load::percentile(sorted, part).as_secs_f64() * 1e3,
        };
        let cpu = match server {
            None => f64::NAN,
            Some(_) => outcome.cpu.as_secs_f64(),
        };
        let per_byte = cpu / outcome.bytes as f64;
        Self(FIGURES.map(|(figure, _)| match figure {
            Figure::CpuPerGib => per_byte * f64::from(1 << 30),
            Figure::CpuPerRequest => per_byte * size as f64 * 1e6,
            Figure::P50 => milliseconds(&outcome.latencies, 0.5),
            Figure::P99 => milliseconds(&outcome.latencies, 0.99),
            Figure::First => milliseconds(&outcome.first, 0.5),
            Figure::Speed => outcome.speed(),
            Figure::Busy => cpu / outcome.wall.as_secs_f64(),
            Figure::Peak => server.map_or(f64::NAN, |server| mib(server.usage().peak)),
        }))
    }

    fn medians(rounds: &[Self]) -> Self {
        let of = |at: usize| median(rounds.iter().map(|round| round.0[at]).collect());
        Self(std::array::from_fn(of))
    }

    fn of(&self, figure: Figure) -> f64 {
        self.0[figure as usize]
    }
}

/// What the store has of an object that went through `target`.
fn stored_form(target: &str) -> &'static str {
    match target {
        "sealgate" => "sealed",
        "floor" => "enciphered",
        _ => "plain",
    }
}

/// Everything that runs.
struct Stage<'a> {
    asked: &'a Compare,
    setup: Setup,
    sink: SinkProcess,
    certificate: Option<Certificate>,
    tls: Option<TlsConnector>,
}

/// Runs all of it.
pub async fn run(setup: &Setup, asked: &Compare) {
    asked.cores.pin_clients();
    let mut lines = Lines::new(asked.out.as_deref());
    let tls: &[bool] = match (asked.tls.as_deref(), asked.quick) {
        (Some("off"), _) | (None, true) => &[false],
        (Some("on"), _) => &[true],
        _ => &[false, true],
    };
    let wanted = |proxy: &Proxy| asked.targets.iter().any(|target| target == proxy.name());
    for proxy in Proxy::ALL.into_iter().filter(wanted) {
        let name = proxy.name();
        if proxy.installed().is_none() {
            eprintln!("{name} is left out: it is not installed (Debian: nginx-light, haproxy)");
        }
        if tls.contains(&true) && !proxy.speaks_tls() {
            eprintln!("{name} is left out with TLS, which it does not speak");
        }
    }
    println!(
        "| object | clients | operation | through | CPU-s per GiB | µs per request | × nginx | × nginx-256k | p50 ms | p99 ms | first byte ms | MiB/s | peak MiB |"
    );
    println!(
        "| --- | ---: | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    );
    for &with_tls in tls {
        let certificate = with_tls.then(|| Certificate::make(&setup.folder));
        let core = asked.cores.sink.as_ref();
        let stage = Stage {
            asked,
            setup: Setup {
                cores: asked.cores.clone(),
                tls: certificate.clone(),
                ..setup.clone()
            },
            sink: SinkProcess::with(&setup.folder, 0, core, certificate.as_ref()),
            tls: certificate.as_ref().map(Certificate::connector),
            certificate,
        };
        for size in asked.sizes() {
            for clients in asked.clients() {
                stage.cell(size, clients, &mut lines).await;
            }
        }
    }
}

impl Compare {
    fn sizes(&self) -> Vec<Size> {
        let sizes: &[u64] = if self.quick {
            &[4 << 10, 64 << 20]
        } else {
            &[4 << 10, 1 << 20, 64 << 20, 1 << 30]
        };
        match &*self.sizes {
            [] => sizes.iter().map(|size| Size(*size)).collect(),
            asked => asked.to_vec(),
        }
    }

    fn clients(&self) -> Vec<usize> {
        match &*self.clients {
            [] if self.quick => vec![1, 16],
            [] => vec![1, 16, 64],
            asked => asked.to_vec(),
        }
    }

    fn lanes(&self, tls: bool) -> Vec<Lane> {
        use Payload::{Sha256, Streaming, Trailer, Unsigned};
        let payloads: &[Payload] = match (&*self.payloads, self.quick, tls) {
            ([], true, _) => &[Unsigned, Sha256],
            ([], false, false) => &[Unsigned, Sha256, Streaming, Trailer],
            // What clients sign over TLS.
            ([], false, true) => &[Unsigned, Trailer],
            (asked, ..) => asked,
        };
        let mut lanes = Vec::new();
        for &direction in &self.directions {
            for target in &self.targets {
                let lane = |payload, etag: &str| Lane {
                    target: target.clone(),
                    direction,
                    payload,
                    etag: etag.to_owned(),
                };
                if target != "sealgate" || direction == Direction::Down {
                    lanes.push(lane(Unsigned, ""));
                    continue;
                }
                for &payload in payloads {
                    for etag in &self.etags {
                        lanes.push(lane(payload, etag));
                    }
                }
            }
        }
        lanes
    }

    fn time(&self) -> Duration {
        let default = if self.quick { 0.6 } else { 1.0 };
        Duration::from_secs_f64(self.seconds.unwrap_or(default))
    }
}

impl Stage<'_> {
    /// All lanes at one size and number of clients, with processes of their own.
    async fn cell(&self, size: Size, clients: usize, lines: &mut Lines) {
        let mut servers: HashMap<String, Server> = HashMap::new();
        let mut lanes = self.asked.lanes(self.tls.is_some());
        for target in &self.asked.targets {
            let server = match Proxy::ALL.iter().find(|proxy| proxy.name() == target) {
                Some(proxy) => {
                    let (folder, cores) = (&self.setup.folder, &self.setup.cores);
                    let tls = self.certificate.as_ref();
                    proxy.start(folder, &self.sink, cores, tls).await
                }
                None if target == "sealgate" => Some(self.setup.gateway(&self.sink).await),
                None if target == "direct" => continue,
                None => panic!("no such target: {target}"),
            };
            match server {
                Some(server) => drop(servers.insert(target.clone(), server)),
                None => lanes.retain(|lane| lane.target != *target),
            }
        }
        // The objects of downloads: those who encipher each read their own, all others the same plain one.
        for form in ["sealed", "enciphered", "plain"] {
            let down = |lane: &&Lane| {
                lane.direction == Direction::Down && stored_form(&lane.target) == form
            };
            if let Some(lane) = lanes.iter().find(down) {
                let mut job = self.job(lane, size, 1, servers.get(&lane.target));
                job.direction = Direction::Up;
                load::run(&job, 1).await;
            }
        }
        let mut found: HashMap<Lane, Vec<Figures>> = HashMap::new();
        for round in 0..self.asked.rounds {
            // Nobody is always behind the same one.
            let from = round * lanes.len() / self.asked.rounds;
            for lane in lanes[from..].iter().chain(&lanes[..from]) {
                let server = servers.get(&lane.target);
                let figures = self.measure(lane, size, clients, server).await;
                found.entry(lane.clone()).or_default().push(figures);
            }
        }
        let tls = self.tls.is_some();
        for lane in &lanes {
            let rounds = &found[lane];
            let figures = Figures::medians(rounds);
            let against = |target: &str| {
                let other = lanes
                    .iter()
                    .find(|other| other.target == target && other.direction == lane.direction);
                let other = other.map(|other| Figures::medians(&found[other]));
                let cpu = |of: &Figures| of.of(Figure::CpuPerGib);
                other.map_or(f64::NAN, |other| cpu(&figures) / cpu(&other))
            };
            let (nginx, nginx256) = (against("nginx"), against("nginx-256k"));
            let operation = match lane.direction {
                Direction::Up => "PUT",
                Direction::Down => "GET",
            };
            let name = lane.name();
            let digits = |figure| Digits(figures.of(figure));
            println!(
                "| {size} | {clients} | {operation}{} | {name} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
                if tls { ", TLS" } else { "" },
                digits(Figure::CpuPerGib),
                digits(Figure::CpuPerRequest),
                Digits(nginx),
                Digits(nginx256),
                digits(Figure::P50),
                digits(Figure::P99),
                digits(Figure::First),
                digits(Figure::Speed),
                digits(Figure::Peak),
            );
            let mut line = json!({
                "kind": "compare", "tls": tls, "size": size.0, "clients": clients, "operation": operation,
                "target": lane.target, "name": name, "x_nginx": nginx, "x_nginx_256k": nginx256,
                "rounds": rounds.iter().map(|round| round.of(Figure::CpuPerGib)).collect::<Vec<_>>(),
            });
            for (figure, name) in FIGURES {
                line[name] = json!(figures.of(figure));
            }
            lines.push(&line);
        }
    }

    fn job(&self, lane: &Lane, size: Size, clients: usize, server: Option<&Server>) -> Job {
        Job {
            gateway: server.map_or(self.sink.address, |server| server.address),
            tls: self.tls.clone(),
            bucket: lane.bucket().to_owned(),
            key: match lane.direction {
                Direction::Up => "drop/object".to_owned(),
                Direction::Down => format!("keep/{}-{}", stored_form(&lane.target), size.0),
            },
            access_key: ACCESS_KEY.to_owned(),
            direction: lane.direction,
            size: size.0,
            clients,
            payload: lane.payload,
            rate: 0,
        }
    }

    async fn measure(
        &self,
        lane: &Lane,
        size: Size,
        clients: usize,
        server: Option<&Server>,
    ) -> Figures {
        let job = self.job(lane, size, clients, server);
        let time = self.asked.time();
        let probe = || server.map_or(Duration::ZERO, Server::cpu);
        let mut load = Load::start(&job).await;
        let cut = size.0.saturating_mul(clients as u64) > WHOLE;
        if !cut && size.0 <= WHOLE / 16 {
            // What the first requests on a connection cost besides is not the question.
            load.run(Until::Begun(time.mul_f64(0.1)), &probe).await;
        }
        if let Some(server) = server {
            server.reset_peak();
        }
        let until = if cut {
            Until::Cut(time.mul_f64(1.5))
        } else {
            Until::Begun(time)
        };
        let outcome = load.run(until, &probe).await;
        let figures = Figures::new(&outcome, size.0, server);
        if cut {
            drop(load);
            if let Some(server) = server {
                server.settle().await;
            }
        }
        figures
    }
}
