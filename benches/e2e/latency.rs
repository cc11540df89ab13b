//! `latency`: what the gateway adds to a request at half load, and what the request costs there. Requests start when the
//! clock says so, whether or not others have been answered: a client that waits for its answer before it asks again
//! hides every pause. Half load is the rate at which the gateway is busy for half of the time: requests that come alone
//! cost more than those that come together, so it is not half of what it manages when it is asked all the time.
//! Or, with `--beside`, what becomes of small requests while long uploads take all that they can get.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use http::Method;
use serde_json::json;

use crate::load::{self, Direction, Job, Load, Size, Until, percentile};
use crate::process::{self, Cores, Server, Setup, SinkProcess};
use crate::proxies::Proxy;
use crate::report::{Digits, Lines, median};
use crate::request::{self, ACCESS_KEY, Payload, Prepared, Target};

/// Requests a second of the first probe.
const SLOW: f64 = 1000.0;
/// Probes for the rate, at most, and seconds for each.
const PROBES: usize = 8;
const PROBE: f64 = 0.5;
/// How near to the wanted load is near enough.
const NEAR: f64 = 0.02;
/// Requests a second beside uploads, which leave nothing to be half of.
const BESIDE: f64 = 200.0;
/// Bytes of such an upload, and how long uploads have until everything on their way is full.
const LONG: u64 = 64 << 20;
const FILLED: Duration = Duration::from_millis(300);

/// What to measure.
#[derive(clap::Args)]
#[group(skip)]
pub struct Latency {
    /// Bytes of an object, at most 8 KiB
    #[arg(long, default_value = "4KiB")]
    size: Size,
    /// Connections that share the requests
    #[arg(long, default_value_t = 16)]
    clients: usize,
    /// Share of the time for which the gateway shall be busy
    #[arg(long, default_value_t = 0.5)]
    busy: f64,
    /// Requests a second [default: searched for, so that the gateway is as busy as it shall be; 200 beside uploads]
    #[arg(long)]
    rate: Option<f64>,
    /// Uploads of 64 MiB, one after the other on so many connections, that run beside the requests
    #[arg(long, default_value_t = 0)]
    beside: usize,
    /// Rounds
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds for each figure of a round
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Whether all that is measured runs before whatever else does (SCHED_FIFO), so that this adds nothing: on, off, or
    /// where it is allowed, for root that is
    #[arg(long, default_value = "auto", value_parser = ["auto", "on", "off"])]
    first: String,
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

impl Way<'_> {
    /// Uploads of so many bytes, unsigned.
    fn put(&self, key: &str, size: u64, clients: usize) -> Job {
        Job {
            gateway: self.address,
            tls: None,
            bucket: "opaque".to_owned(),
            key: key.to_owned(),
            access_key: ACCESS_KEY.to_owned(),
            direction: Direction::Up,
            size,
            clients,
            payload: Payload::Unsigned,
            rate: 0,
        }
    }
}

/// What a round found. All times in microseconds.
#[derive(Clone, Copy)]
struct Figures {
    p50: f64,
    p99: f64,
    /// Processor time of the server for each request.
    cpu: f64,
    /// Share of the time for which the server ran, and for which it could have but others did.
    busy: f64,
    waited: f64,
    /// How late clients woke up: all but one of a hundred times less than this.
    late: f64,
    /// MiB a second of the uploads beside.
    beside: f64,
}

impl Figures {
    fn medians(rounds: &[Self]) -> Self {
        let of = |figure: fn(&Self) -> f64| median(rounds.iter().map(figure).collect());
        Self {
            p50: of(|of| of.p50),
            p99: of(|of| of.p99),
            cpu: of(|of| of.cpu),
            busy: of(|of| of.busy),
            waited: of(|of| of.waited),
            late: of(|of| of.late),
            beside: of(|of| of.beside),
        }
    }
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
    for proxy in [Proxy::Nginx, Proxy::Haproxy, Proxy::Floor] {
        let server = proxy.start(&setup.folder, &sink, &setup.cores, None).await;
        proxies.extend(server.map(|server| (proxy, server)));
    }
    let first = asked.first != "off" && {
        let servers = proxies.iter().map(|(_, server)| server).chain([&gateway]);
        let mut ids = servers
            .map(Server::id)
            .chain([sink.id(), std::process::id()]);
        ids.all(process::first)
    };
    if !first && asked.first != "off" {
        assert!(asked.first == "auto", "not allowed to run first");
        eprintln!("what else runs here is measured with it: running first is for root only");
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
        let plain = through(proxy.name(), server);
        ways.push(match proxy {
            Proxy::Floor => Way {
                key: "keep/enciphered",
                ..plain
            },
            _ => plain,
        });
    }
    let sealgate = Way {
        key: "keep/sealed",
        ..through("sealgate", &gateway)
    };
    ways.push(sealgate);
    println!(
        "| operation | requests a second | through | p50 µs | p99 µs | p50 added | p99 added | CPU µs | × nginx | busy | waited | clients late, p99 µs | MiB/s beside |"
    );
    println!(
        "| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    );
    for way in &ways {
        let job = way.put(way.key, asked.size.0, 1);
        load::run(&job, 1).await;
    }
    for direction in [Direction::Up, Direction::Down] {
        let rate = match (asked.rate, ways.last()) {
            (None, _) if asked.beside > 0 => BESIDE,
            (None, Some(gateway)) => search(gateway, direction, asked),
            (rate, _) => rate.unwrap_or(SLOW),
        };
        let mut rounds: Vec<Vec<Figures>> = ways.iter().map(|_| Vec::new()).collect();
        for round in 0..asked.rounds {
            // Nobody is always behind the same one.
            for number in (0..ways.len()).map(|number| (number + round) % ways.len()) {
                let figures = measure(&ways[number], direction, rate, asked.seconds, asked);
                rounds[number].push(figures);
            }
        }
        let medians: Vec<Figures> = rounds.iter().map(|of| Figures::medians(of)).collect();
        let nginx = ways.iter().position(|way| way.name == Proxy::Nginx.name());
        let nginx = nginx.map_or(f64::NAN, |number| medians[number].cpu);
        let direct = medians[0];
        for ((way, figures), rounds) in ways.iter().zip(&medians).zip(&rounds) {
            let operation = match direction {
                Direction::Up => "PUT",
                Direction::Down => "GET",
            };
            let Figures {
                p50,
                p99,
                cpu,
                busy,
                waited,
                late,
                beside,
            } = *figures;
            let (added50, added99, times) = (p50 - direct.p50, p99 - direct.p99, cpu / nginx);
            println!(
                "| {operation} | {rate:.0} | {} | {p50:.0} | {p99:.0} | {added50:.0} | {added99:.0} | {} | {} | {} | {} | {late:.0} | {beside:.0} |",
                way.name,
                Digits(cpu),
                Digits(times),
                Digits(busy),
                Digits(waited),
            );
            lines.push(&json!({
                "kind": "latency", "operation": operation, "size": asked.size.0, "rate": rate,
                "first": first, "target": way.name, "p50_us": p50, "p99_us": p99, "p50_added_us": added50,
                "p99_added_us": added99, "us_per_request": cpu, "x_nginx": times, "busy": busy, "waited": waited,
                "late_p99_us": late, "beside": asked.beside, "beside_mib_per_s": beside, "rounds_p99_us": rounds.iter().map(|of| of.p99).collect::<Vec<_>>(),
            }));
        }
    }
}

/// The rate that keeps a server as busy as it shall be, by what a request costs it at that rate. It is not by how long it
/// ran, which says little where others want the core as well.
fn search(way: &Way<'_>, direction: Direction, asked: &Latency) -> f64 {
    let mut rate = SLOW;
    for _ in 0..PROBES {
        let cpu = measure(way, direction, rate, PROBE, asked).cpu;
        // A request costs less the faster they come, so that this comes near from below.
        let times = asked.busy / (rate * cpu / 1e6);
        rate *= times.clamp(0.25, 4.0);
        if (times - 1.0).abs() < NEAR {
            break;
        }
    }
    rate
}

fn measure(
    way: &Way<'_>,
    direction: Direction,
    rate: f64,
    seconds: f64,
    asked: &Latency,
) -> Figures {
    let target = Target::object(way.address, "opaque", way.key);
    let prepared = match direction {
        Direction::Up => request::put(&target, asked.size.0, Payload::Unsigned),
        Direction::Down => request::simple(&Method::GET, &target, None, b""),
    };
    let sockets: Vec<TcpStream> = (0..asked.clients)
        .map(|_| TcpStream::connect(way.address).expect("connect"))
        .collect();
    let step = Duration::from_secs_f64(asked.clients as f64 / rate);
    let (mut times, mut lates) = (Vec::new(), Vec::new());
    let (wall, spent, beside) = std::thread::scope(|scope| {
        let uploads = (asked.beside > 0).then(|| {
            let uploads = scope.spawn(|| upload(way, asked.beside, seconds));
            std::thread::sleep(FILLED);
            uploads
        });
        let before = way.server.map(Server::scheduled);
        let started = Instant::now();
        let end = started + Duration::from_secs_f64(seconds);
        let clients: Vec<_> = (0..)
            .zip(sockets)
            .map(|(number, socket)| {
                let first = started + step.mul_f64(f64::from(number) / asked.clients as f64);
                let prepared = &prepared;
                scope.spawn(move || client(socket, prepared, first, step, end))
            })
            .collect();
        for client in clients {
            let (of_client, late) = client.join().expect("a client");
            times.extend(of_client);
            lates.extend(late);
        }
        let wall = started.elapsed();
        let spent = way.server.map(Server::scheduled).zip(before);
        let beside = uploads.map_or(0.0, |uploads| uploads.join().expect("uploads"));
        (wall, spent, beside)
    });
    let [ran, waited] = spent.map_or([f64::NAN; 2], |((ran, waited), before)| {
        [ran - before.0, waited.saturating_sub(before.1)].map(|time| time.as_secs_f64())
    });
    times.sort_unstable();
    lates.sort_unstable();
    let micros = |sorted: &[Duration], part| percentile(sorted, part).as_secs_f64() * 1e6;
    Figures {
        p50: micros(&times, 0.5),
        p99: micros(&times, 0.99),
        cpu: ran * 1e6 / times.len() as f64,
        busy: ran / wall.as_secs_f64(),
        waited: waited / wall.as_secs_f64(),
        late: micros(&lates, 0.99),
        beside,
    }
}

/// Uploads, for longer than the requests beside them are measured. MiB a second.
fn upload(way: &Way<'_>, clients: usize, seconds: f64) -> f64 {
    let job = way.put("drop/beside", LONG, clients);
    let time = FILLED + Duration::from_secs_f64(seconds);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(async {
        let mut load = Load::start(&job).await;
        load.run(Until::Cut(time), &|| Duration::ZERO).await.speed()
    })
}

/// Asks at its times; gives how long each answer took, and how late it woke up for each request that it slept before. A
/// thread for each connection: the runtime's timers are no finer than a millisecond, and no connection waits for another.
fn client(
    mut socket: TcpStream,
    prepared: &Prepared,
    first: Instant,
    step: Duration,
    end: Instant,
) -> (Vec<Duration>, Vec<Duration>) {
    socket.set_nodelay(true).expect("TCP_NODELAY");
    let mut request = prepared.head.to_vec();
    prepared
        .frames
        .iter()
        .for_each(|frame| request.extend_from_slice(frame));
    let mut buffer = vec![0; 64 << 10];
    let (mut times, mut lates) = (Vec::new(), Vec::new());
    let mut due = first;
    // Who cannot keep up does not go on for ever; what it answered shows how late it was.
    while due < end && Instant::now() < end {
        // A late wake-up is this machine's doing, a late answer to the last request the server's.
        let mut from = due;
        let wait = due.saturating_duration_since(Instant::now());
        if !wait.is_zero() {
            std::thread::sleep(wait);
            from = Instant::now();
            lates.push(from - due);
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
    (times, lates)
}

fn length(head: &[u8]) -> usize {
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let value = head.split("content-length:").nth(1).unwrap_or_default();
    let digits = value.trim_start().split("\r\n").next().unwrap_or_default();
    digits.trim().parse().unwrap_or(0)
}
