//! `latency`: what the gateway adds to a request at half load. Requests start when the clock says so, whether or not
//! others have been answered: a client that waits for its answer before it asks again hides every pause.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use http::Method;
use serde_json::json;

use crate::load::{self, Direction, Job, Load, Size, Until, percentile};
use crate::process::{Cores, Server, Setup, SinkProcess};
use crate::proxies::Proxy;
use crate::report::{Digits, Lines, median};
use crate::request::{self, ACCESS_KEY, Payload, Prepared, Target};

/// What to measure.
#[derive(clap::Args)]
pub struct Latency {
    /// Bytes of an object, at most 8 KiB
    #[arg(long, default_value = "4KiB")]
    size: Size,
    /// Connections that share the requests
    #[arg(long, default_value_t = 16)]
    clients: usize,
    /// Requests a second [default: half of what the gateway answers when it is asked all the time]
    #[arg(long)]
    rate: Option<f64>,
    /// Rounds
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds for each figure of a round
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Cores of gateway and proxies, clients, and store: three numbers, auto, or off
    #[arg(long, default_value = "auto")]
    cores: Cores,
    /// File that lines of JSON are added to
    #[arg(long)]
    out: Option<PathBuf>,
}

/// Who is asked.
struct Way<'a> {
    name: &'static str,
    server: Option<&'a Server>,
    address: SocketAddr,
    key: &'static str,
}

/// Runs all of it.
pub async fn run(setup: &Setup, asked: &Latency) {
    asked.cores.pin_clients();
    let mut lines = Lines::new(asked.out.as_deref());
    let setup = Setup {
        cores: asked.cores.clone(),
        ..setup.clone()
    };
    let sink = SinkProcess::with(&setup.folder, 0, asked.cores.sink.as_ref(), None);
    let gateway = setup.gateway(&sink).await;
    let mut proxies = Vec::new();
    for proxy in [Proxy::Nginx, Proxy::Haproxy] {
        let server = proxy.start(&setup.folder, &sink, &setup.cores, None).await;
        proxies.extend(server.map(|server| (proxy, server)));
    }
    let way = |name| Way {
        name,
        server: None,
        address: sink.address,
        key: "keep/plain",
    };
    let through = |name, server| Way {
        server: Some(server),
        address: server.address,
        ..way(name)
    };
    let mut ways = vec![way("direct")];
    for (proxy, server) in &proxies {
        ways.push(through(proxy.name(), server));
    }
    ways.push(Way {
        key: "keep/sealed",
        ..through("sealgate", &gateway)
    });
    println!(
        "| operation | requests a second | through | p50 µs | p99 µs | p50 added | p99 added | busy |"
    );
    println!("| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: |");
    for direction in [Direction::Up, Direction::Down] {
        let job = |way: &Way<'_>, direction| Job {
            gateway: way.address,
            tls: None,
            bucket: "opaque".to_owned(),
            key: way.key.to_owned(),
            access_key: ACCESS_KEY.to_owned(),
            direction,
            size: asked.size.0,
            clients: 1,
            payload: Payload::Unsigned,
            rate: 0,
        };
        let mut capacity = f64::NAN;
        for way in &ways {
            load::run(&job(way, Direction::Up), 1).await;
            let mut job = job(way, direction);
            job.clients = asked.clients;
            let mut load = Load::start(&job).await;
            let all = load.run(Until::Begun(Duration::from_secs(1)), &|| Duration::ZERO);
            let all = all.await;
            capacity = all.requests() as f64 / all.wall.as_secs_f64();
        }
        // The gateway is the last of them.
        let rate = asked.rate.unwrap_or(capacity / 2.0);
        let mut rounds: Vec<Vec<[f64; 3]>> = ways.iter().map(|_| Vec::new()).collect();
        for _ in 0..asked.rounds {
            for (way, rounds) in ways.iter().zip(&mut rounds) {
                rounds.push(measure(way, direction, rate, asked));
            }
        }
        let medians: Vec<[f64; 3]> = rounds
            .iter()
            .map(|rounds| [0, 1, 2].map(|at| median(rounds.iter().map(|of| of[at]).collect())))
            .collect();
        for (way, [p50, p99, busy]) in ways.iter().zip(&medians) {
            let [direct50, direct99, _] = medians[0];
            let operation = match direction {
                Direction::Up => "PUT",
                Direction::Down => "GET",
            };
            println!(
                "| {operation} | {rate:.0} | {} | {p50:.0} | {p99:.0} | {:.0} | {:.0} | {} |",
                way.name,
                p50 - direct50,
                p99 - direct99,
                Digits(*busy),
            );
            lines.push(&json!({
                "kind": "latency", "operation": operation, "size": asked.size.0, "rate": rate,
                "target": way.name, "p50_us": p50, "p99_us": p99, "p50_added_us": p50 - direct50,
                "p99_added_us": p99 - direct99, "busy": busy,
            }));
        }
    }
}

/// p50 and p99 in microseconds, and how much of its core the server used.
fn measure(way: &Way<'_>, direction: Direction, rate: f64, asked: &Latency) -> [f64; 3] {
    let target = Target::object(way.address, "opaque", way.key);
    let prepared = match direction {
        Direction::Up => request::put(&target, asked.size.0, Payload::Unsigned),
        Direction::Down => request::simple(&Method::GET, &target, None, b""),
    };
    let before = way.server.map(Server::cpu);
    let started = Instant::now();
    let (end, step) = (
        started + Duration::from_secs_f64(asked.seconds),
        Duration::from_secs_f64(asked.clients as f64 / rate),
    );
    let mut times: Vec<Duration> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..asked.clients)
            .map(|number| {
                let first = started + step.mul_f64(number as f64 / asked.clients as f64);
                let (prepared, address) = (&prepared, way.address);
                scope.spawn(move || client(address, prepared, first, step, end))
            })
            .collect();
        let times = clients.into_iter().map(|client| client.join());
        times.flat_map(|times| times.expect("a client")).collect()
    });
    let wall = started.elapsed();
    let cpu = way.server.map(Server::cpu).zip(before);
    let busy = cpu.map_or(f64::NAN, |(after, before)| {
        (after - before).as_secs_f64() / wall.as_secs_f64()
    });
    times.sort_unstable();
    let micros = |part| percentile(&times, part).as_secs_f64() * 1e6;
    [micros(0.5), micros(0.99), busy]
}

/// Asks at its times. A thread for each connection: the runtime's timers are no finer than a millisecond.
fn client(
    address: SocketAddr,
    prepared: &Prepared,
    first: Instant,
    step: Duration,
    end: Instant,
) -> Vec<Duration> {
    let mut socket = TcpStream::connect(address).expect("connect");
    socket.set_nodelay(true).expect("TCP_NODELAY");
    let mut request = prepared.head.to_vec();
    prepared
        .frames
        .iter()
        .for_each(|frame| request.extend_from_slice(frame));
    let mut buffer = vec![0; 64 << 10];
    let mut times = Vec::new();
    let mut due = first;
    while due < end {
        // A late wake-up is this machine's doing, a late answer to the last request the server's.
        let mut from = due;
        let wait = due.saturating_duration_since(Instant::now());
        if !wait.is_zero() {
            std::thread::sleep(wait);
            from = Instant::now();
        }
        socket.write_all(&request).expect("send");
        let mut n = 0;
        let mut whole = usize::MAX;
        while n < whole {
            let read = socket.read(&mut buffer[n..]).expect("an answer");
            assert!(read > 0, "the connection ended");
            n += read;
            if whole == usize::MAX {
                let head = buffer[..n].windows(4).position(|four| four == b"\r\n\r\n");
                whole = head.map_or(usize::MAX, |at| at + 4 + length(&buffer[..at]));
            }
        }
        assert!(buffer.starts_with(b"HTTP/1.1 200"), "an error");
        times.push(from.elapsed());
        due += step;
    }
    times
}

fn length(head: &[u8]) -> usize {
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let value = head.split("content-length:").nth(1).unwrap_or_default();
    let digits = value.trim_start().split("\r\n").next().unwrap_or_default();
    digits.trim().parse().unwrap_or(0)
}
