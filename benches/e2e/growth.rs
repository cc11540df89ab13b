//! `growth`: what the gateway costs as the work grows: longer objects, more connections, streams and users, longer
//! listings, more parts. All of it takes about a quarter of an hour, of which objects of 100 GiB take a third.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use http::Method;
use serde_json::json;

use crate::http::{Head, Wire, connect};
use crate::load::{self, Direction, Job, Load, Outcome, Size, Until};
use crate::made::Recipe;
use crate::process::{Cores, Server, Setup, SinkProcess};
use crate::report::{Digits, Lines, mib};
use crate::request::{self, ACCESS_KEY, Payload, Prepared, Target};
use crate::uploads;

/// The longest object that is uploaded for a download; longer ones the store makes up.
const KEPT: u64 = 1 << 30;

/// What grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum What {
    /// Length of an object, in one PUT, and down
    Size,
    /// Connections that get small objects
    Connections,
    /// Long streams side by side
    Streams,
    /// A page of a listing, cold and warm
    Listing,
    /// Users in the configuration
    Users,
    /// Parts of an object
    Parts,
    /// Length of an object in parts of 1 GiB, up and down
    Long,
    /// A range out of objects of some lengths, cold and warm
    Ranges,
}

/// What to measure.
#[derive(clap::Args)]
#[group(skip)]
pub struct Growth {
    /// What grows: only these
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "size,long,ranges,connections,streams,listing,users,parts"
    )]
    only: Vec<What>,
    /// Sizes of objects
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "1KiB,32KiB,1MiB,32MiB,1GiB,5GiB"
    )]
    sizes: Vec<Size>,
    /// Connections
    #[arg(long, value_delimiter = ',', default_value = "1,16,64,256,1000,2000")]
    connections: Vec<usize>,
    /// Streams
    #[arg(long, value_delimiter = ',', default_value = "1,16,64,256,512")]
    streams: Vec<usize>,
    /// Users
    #[arg(long, value_delimiter = ',', default_value = "1,100,10000,100000")]
    users: Vec<usize>,
    /// Parts
    #[arg(long, value_delimiter = ',', default_value = "1,10,100,1000,10000")]
    parts: Vec<u32>,
    /// Bytes of objects in parts of 1 GiB: a minute or two for each 100 GiB up, and for each down
    #[arg(long, value_delimiter = ',', default_value = "1GiB,10GiB,100GiB")]
    long: Vec<Size>,
    /// Bytes of objects that ranges are read from; above 5 GiB they are in parts of 1 GiB
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "256MiB,5GiB,100GiB,1000GiB"
    )]
    ranges: Vec<Size>,
    /// Seconds for each figure
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Cores of the gateway, clients, and store: three numbers, auto, or off
    #[arg(long, default_value = "auto")]
    cores: Cores,
    /// File that lines of JSON are added to
    #[arg(long)]
    out: Option<PathBuf>,
}

/// Everything that runs.
pub struct Stage {
    /// For fresh gateways.
    pub setup: Setup,
    /// The store.
    pub sink: SinkProcess,
    /// For figures.
    pub lines: Lines,
    time: Duration,
}

/// Runs all of it.
pub async fn run(setup: &Setup, asked: &Growth) {
    asked.cores.pin_clients();
    let mut stage = Stage {
        setup: Setup {
            cores: asked.cores.clone(),
            ..setup.clone()
        },
        sink: SinkProcess::with(&setup.folder, 0, asked.cores.sink.as_ref(), None),
        lines: Lines::new(asked.out.as_deref()),
        time: Duration::from_secs_f64(asked.seconds),
    };
    for what in &asked.only {
        match what {
            What::Size => stage.sizes(&asked.sizes).await,
            What::Connections => stage.connections(&asked.connections).await,
            What::Streams => stage.streams(&asked.streams).await,
            What::Listing => stage.listings().await,
            What::Users => stage.users(&asked.users).await,
            What::Parts => uploads::parts(&mut stage, &asked.parts).await,
            What::Long => uploads::long(&mut stage, &asked.long).await,
            What::Ranges => uploads::ranges_of(&mut stage, &asked.ranges).await,
        }
        println!();
    }
}

/// One connection, one request after the other.
pub struct Asker {
    wire: Wire,
    /// Where it is connected to.
    pub server: std::net::SocketAddr,
}

impl Asker {
    /// Connects.
    pub async fn new(server: std::net::SocketAddr) -> Self {
        let wire = connect(server, None).await.expect("connect");
        Self { wire, server }
    }

    /// Sends a request; gives the answer and how long it took.
    pub async fn ask(&mut self, prepared: &Prepared) -> (Head, Vec<u8>, Duration) {
        let started = Instant::now();
        let sent = self.wire.send(&prepared.head, &prepared.frames, |_| {});
        sent.await.expect("send");
        let head = self.wire.head().await.expect("answer").expect("answer");
        let body = self.wire.whole(head.length()).await.expect("body");
        let text = String::from_utf8_lossy(&body);
        assert!(
            (200..300).contains(&head.status()),
            "{}: {text}",
            head.start()
        );
        (head, body, started.elapsed())
    }
}

impl Stage {
    /// What was asked of the store since this was called before.
    pub async fn log(&self) -> Vec<String> {
        let head = "GET /-/log HTTP/1.1\r\n\r\n".into();
        let request = Prepared {
            head,
            frames: Vec::new(),
        };
        let (_, body, _) = Asker::new(self.sink.address).await.ask(&request).await;
        let text = String::from_utf8_lossy(&body);
        text.lines().map(str::to_owned).collect()
    }

    /// A job that puts an object away, or gets one that is kept, or made up where it is long.
    pub fn job(&self, gateway: &Server, direction: Direction, size: u64, clients: usize) -> Job {
        Job {
            gateway: gateway.address,
            tls: None,
            bucket: "opaque".to_owned(),
            key: match direction {
                Direction::Up => "drop/object".to_owned(),
                Direction::Down if size > KEPT => Recipe::key(size, None),
                Direction::Down => format!("keep/{size}"),
            },
            access_key: ACCESS_KEY.to_owned(),
            direction,
            size,
            clients,
            payload: Payload::Unsigned,
            rate: 0,
        }
    }

    /// Puts what downloads need in place, through a gateway that is not measured.
    async fn keep(&self, size: u64) {
        if size > KEPT {
            return;
        }
        let gateway = self.setup.gateway(&self.sink).await;
        let mut job = self.job(&gateway, Direction::Down, size, 1);
        job.direction = Direction::Up;
        load::run(&job, 1).await;
    }

    /// Runs a job, after a little of it that does not count where objects are short.
    pub async fn measure(&self, gateway: &Server, job: &Job, until: Until) -> Outcome {
        let probe = || gateway.cpu();
        let mut load = Load::start(job).await;
        if matches!(until, Until::Begun(_)) && job.size < 64 << 20 {
            load.run(Until::Begun(self.time / 10), &probe).await;
        }
        load.run(until, &probe).await
    }

    async fn sizes(&mut self, sizes: &[Size]) {
        println!(
            "| object | | CPU µs | CPU-s per GiB | MiB/s | p50 ms | MiB resident before | peak MiB |"
        );
        println!("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |");
        for size in sizes {
            for direction in [Direction::Up, Direction::Down] {
                if direction == Direction::Down {
                    self.keep(size.0).await;
                }
                let gateway = self.warm().await;
                let idle = gateway.usage();
                let job = self.job(&gateway, direction, size.0, 1);
                let outcome = self.measure(&gateway, &job, Until::Begun(self.time)).await;
                let used = gateway.usage();
                let per_byte = outcome.cpu.as_secs_f64() / outcome.bytes as f64;
                let (micros, gib) = (
                    per_byte * size.0 as f64 * 1e6,
                    per_byte * f64::from(1 << 30),
                );
                let p50 = outcome.percentile(0.5).as_secs_f64() * 1e3;
                println!(
                    "| {size} | {direction} | {} | {} | {:.0} | {} | {:.1} | {:.1} |",
                    Digits(micros),
                    Digits(gib),
                    outcome.speed(),
                    Digits(p50),
                    mib(idle.rss),
                    mib(used.peak),
                );
                self.lines.push(&json!({
                    "kind": "growth", "what": "size", "x": size.0, "direction": direction.to_string(),
                    "us_per_request": micros, "cpu_s_per_gib": gib, "p50_ms": p50, "peak_mib": mib(used.peak),
                }));
            }
        }
    }

    /// A gateway whose code has run before.
    pub async fn warm(&self) -> Server {
        let gateway = self.setup.gateway(&self.sink).await;
        for direction in [Direction::Up, Direction::Down] {
            let mut job = self.job(&gateway, direction, 256 << 10, 1);
            job.key = "keep/warm".to_owned();
            load::run(&job, 2).await;
        }
        gateway
    }

    async fn connections(&mut self, counts: &[usize]) {
        println!(
            "| connections | CPU µs per GET of 4 KiB | requests/s | p50 ms | p99 ms | peak MiB | KiB more per connection |"
        );
        println!("| ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
        self.keep(4096).await;
        for &count in counts {
            let gateway = self.warm().await;
            let idle = gateway.usage();
            let job = self.job(&gateway, Direction::Down, 4096, count);
            let outcome = self.measure(&gateway, &job, Until::Begun(self.time)).await;
            let used = gateway.usage();
            let micros = outcome.cpu.as_secs_f64() * 1e6 / outcome.requests() as f64;
            let each = used.peak.saturating_sub(idle.rss) as f64 / count as f64;
            println!(
                "| {count} | {} | {:.0} | {} | {} | {:.1} | {each:.0} |",
                Digits(micros),
                outcome.requests() as f64 / outcome.wall.as_secs_f64(),
                Digits(outcome.percentile(0.5).as_secs_f64() * 1e3),
                Digits(outcome.percentile(0.99).as_secs_f64() * 1e3),
                mib(used.peak),
            );
            self.lines.push(&json!({
                "kind": "growth", "what": "connections", "x": count, "us_per_request": micros,
                "peak_mib": mib(used.peak), "kib_each": each,
            }));
        }
    }

    async fn streams(&mut self, counts: &[usize]) {
        println!("| streams | | MiB resident before | peak MiB | MiB more per stream | MiB/s |");
        println!("| ---: | --- | ---: | ---: | ---: | ---: |");
        let size = 256 << 20;
        self.keep(size).await;
        for &count in counts {
            for direction in [Direction::Up, Direction::Down] {
                let gateway = self.warm().await;
                let idle = gateway.usage();
                let job = self.job(&gateway, direction, size, count);
                let until = Until::Cut(self.time.max(Duration::from_secs(3)));
                let outcome = self.measure(&gateway, &job, until).await;
                let used = gateway.usage();
                let each = mib(used.peak.saturating_sub(idle.rss)) / count as f64;
                println!(
                    "| {count} | {direction} | {:.1} | {:.1} | {each:.2} | {:.0} |",
                    mib(idle.rss),
                    mib(used.peak),
                    outcome.speed(),
                );
                self.lines.push(&json!({
                    "kind": "growth", "what": "streams", "x": count, "direction": direction.to_string(),
                    "peak_mib": mib(used.peak), "mib_each": each,
                }));
            }
        }
    }

    async fn listings(&mut self) {
        println!("| page of 1,000 keys | | ms | CPU ms | requests to the store |");
        println!("| --- | --- | ---: | ---: | ---: |");
        for (bucket, etag) in [("bench", "MD5 ETags"), ("opaque", "opaque ETags")] {
            {
                let gateway = self.setup.gateway(&self.sink).await;
                let mut asker = Asker::new(gateway.address).await;
                for number in 0..1000 {
                    let key = format!("keep/list/{number:04}");
                    let target = Target::object(gateway.address, bucket, &key);
                    asker
                        .ask(&request::put(&target, 1024, Payload::Unsigned))
                        .await;
                }
            }
            let gateway = self.setup.gateway(&self.sink).await;
            let mut asker = Asker::new(gateway.address).await;
            for how in ["cold", "warm", "warm again"] {
                let target = Target {
                    query: "list-type=2&prefix=keep%2Flist%2F",
                    ..Target::object(gateway.address, bucket, "")
                };
                let request = request::simple(&Method::GET, &target, None, b"");
                self.log().await;
                let before = gateway.cpu();
                let (_, page, took) = asker.ask(&request).await;
                let cpu = (gateway.cpu() - before).as_secs_f64() * 1e3;
                let keys = String::from_utf8_lossy(&page).matches("<Key>").count();
                assert_eq!(keys, 1000, "keys of the page");
                let asked = self.log().await.len();
                let took = took.as_secs_f64() * 1e3;
                println!(
                    "| {etag} | {how} | {} | {} | {asked} |",
                    Digits(took),
                    Digits(cpu)
                );
                self.lines.push(&json!({
                    "kind": "growth", "what": "listing", "etag": etag, "how": how, "ms": took, "cpu_ms": cpu,
                    "store_requests": asked,
                }));
            }
        }
    }

    async fn users(&mut self, counts: &[usize]) {
        println!("| users | started after ms | MiB resident | CPU µs per GET of 4 KiB |");
        println!("| ---: | ---: | ---: | ---: |");
        self.keep(4096).await;
        for &users in counts {
            let setup = Setup {
                users,
                ..self.setup.clone()
            };
            let gateway = setup.gateway(&self.sink).await;
            let job = self.job(&gateway, Direction::Down, 4096, 16);
            let rss = gateway.usage().rss;
            let outcome = self.measure(&gateway, &job, Until::Begun(self.time)).await;
            let micros = outcome.cpu.as_secs_f64() * 1e6 / outcome.requests() as f64;
            let started = gateway.started.as_secs_f64() * 1e3;
            println!(
                "| {users} | {started:.0} | {:.1} | {} |",
                mib(rss),
                Digits(micros)
            );
            self.lines.push(&json!({
                "kind": "growth", "what": "users", "x": users, "started_ms": started, "rss_mib": mib(rss),
                "us_per_request": micros,
            }));
        }
    }
}
