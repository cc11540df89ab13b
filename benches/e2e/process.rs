//! The processes that are measured: where they are started, and what the kernel says of them.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::str::FromStr;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use crate::http::Certificate;
use crate::request::{ACCESS_KEY, REGION, SECRET_KEY};

/// Clock ticks in a second in `/proc/PID/stat`: 100 on every Linux that is in use.
const TICKS: f64 = 100.0;
/// The key of all gateways, in the folder of a run.
const KEY_FILE: &str = "main.key";
/// How long a server may take until it listens.
const START: Duration = Duration::from_secs(60);

/// How long a child may take to end by itself.
const END: Duration = Duration::from_secs(10);

/// A child that ends with its handle.
pub struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Asked first: a gateway that is trained writes what it learnt when it ends (`scripts/pgo.sh`).
        let id = self.0.id().to_string();
        let asked = Command::new("kill").arg(&id).status();
        let begun = Instant::now();
        while asked.is_ok() && begun.elapsed() < END {
            if !matches!(self.0.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Which cores the processes run on, as `taskset` takes them; `None` is wherever the kernel likes.
#[derive(Clone, Debug, Default)]
pub struct Cores {
    /// Of the gateway and of the proxies, which have one thread each then.
    pub gateway: Option<String>,
    /// Of the clients: this process.
    pub clients: Option<String>,
    /// Of the store.
    pub sink: Option<String>,
}

impl FromStr for Cores {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let cores: [&str; 3] = match text {
            "off" => return Ok(Self::default()),
            "auto" => match std::thread::available_parallelism().map_or(1, usize::from) {
                1 => return Ok(Self::default()),
                2 | 3 => ["0", "1", "1"],
                _ => ["0", "1", "2"],
            },
            _ => text
                .split(',')
                .collect::<Vec<_>>()
                .try_into()
                .map_err(|_| "three cores: GATEWAY,CLIENTS,SINK; or auto, or off".to_owned())?,
        };
        let [gateway, clients, sink] = cores.map(|core| Some(core.to_owned()));
        Ok(Self {
            gateway,
            clients,
            sink,
        })
    }
}

impl Cores {
    /// Puts this process on its core.
    pub fn pin_clients(&self) {
        if let Some(core) = &self.clients {
            let id = std::process::id().to_string();
            let output = Command::new("taskset")
                .args(["-acp", core, &id])
                .output()
                .expect("run taskset, of the package util-linux");
            assert!(output.status.success(), "taskset failed");
        }
    }
}

/// A program that runs on a core.
pub fn program(path: &Path, core: Option<&String>) -> Command {
    match core {
        None => Command::new(path),
        Some(core) => {
            // It becomes the program, so that the child is the one that is measured.
            let mut command = Command::new("taskset");
            command.args(["-c", core]).arg(path);
            command
        }
    }
}

/// What the kernel counts for a process.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Resident now, in KiB.
    pub rss: u64,
    /// Of it: heap and stacks.
    pub anonymous: u64,
    /// The most that was ever resident, in KiB.
    pub peak: u64,
}

/// A sink in a process of its own.
pub struct SinkProcess {
    child: Running,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its certificate, where it speaks TLS.
    pub tls: Option<Certificate>,
    /// Whether it is slow on purpose.
    pub slow: bool,
}

/// Has all threads of a process run before those of everything else (SCHED_FIFO), where that is allowed.
pub fn first(id: u32) -> bool {
    let output = Command::new("chrt")
        .args(["--all-tasks", "--fifo", "--pid", "1", &id.to_string()])
        .output();
    output.is_ok_and(|output| output.status.success())
}

impl SinkProcess {
    /// Starts one that keeps its objects under `folder` and takes at most `rate` bytes a second from each
    /// connection; 0 is no limit.
    pub fn start(folder: &Path, rate: u64) -> Self {
        Self::with(folder, rate, None, None)
    }

    /// Starts one on a core, with TLS where there is a certificate.
    pub fn with(
        folder: &Path,
        rate: u64,
        core: Option<&String>,
        tls: Option<&Certificate>,
    ) -> Self {
        let mut command = program(&std::env::current_exe().expect("own path"), core);
        command
            .args(["sink", "--rate", &rate.to_string(), "--folder"])
            .arg(folder)
            .arg("--keyring")
            .arg(folder.join(KEY_FILE));
        if let Some(tls) = tls {
            command.arg("--cert").arg(&tls.cert);
            command.arg("--key").arg(&tls.key);
        }
        let mut child = command
            // The sink ends where its input does, so it never outlives this process.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start the sink");
        let output = child.stdout.take().expect("output of the sink");
        let mut line = String::new();
        BufReader::new(output)
            .read_line(&mut line)
            .expect("address of the sink");
        Self {
            child: Running(child),
            address: line.trim().parse().expect("address of the sink"),
            tls: tls.cloned(),
            slow: rate > 0,
        }
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.0.id()
    }
}

/// How to start gateways.
#[derive(Clone)]
pub struct Setup {
    /// The `sealgate` binary.
    pub binary: PathBuf,
    /// For configuration and key.
    pub folder: PathBuf,
    /// `NAME=VALUE` for its environment.
    pub env: Vec<String>,
    /// Where it runs.
    pub cores: Cores,
    /// What clients are answered with, where they speak TLS.
    pub tls: Option<Certificate>,
    /// Users in the configuration; the last one is that of the clients.
    pub users: usize,
    /// Further lines of the configuration.
    pub more: String,
}

/// A server in a process of its own: a gateway, or what it is compared with.
pub struct Server {
    child: Running,
    /// Where it listens.
    pub address: SocketAddr,
    /// How long it took until it listened.
    pub started: Duration,
}

/// An address that nobody listens on.
pub fn free_address() -> SocketAddr {
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
    free.local_addr().expect("a free port")
}

impl Setup {
    /// With a key that all gateways share.
    pub fn new(binary: PathBuf, folder: &Path, env: Vec<String>) -> Self {
        let setup = Self {
            binary,
            folder: folder.to_owned(),
            env,
            cores: Cores::default(),
            tls: None,
            users: 1,
            more: String::new(),
        };
        let status = Command::new(&setup.binary)
            .args(["keygen", "--out"])
            .arg(folder.join(KEY_FILE))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .expect("run sealgate keygen");
        assert!(status.success(), "sealgate keygen failed");
        setup
    }

    /// A fresh gateway in front of `store`. The bucket `opaque` has opaque ETags, every other one MD5.
    pub async fn gateway(&self, store: &SinkProcess) -> Server {
        let address = free_address();
        let config = self.folder.join("sealgate.yaml");
        let tls = |certificate: &Certificate| {
            let (cert, key) = (certificate.cert.display(), certificate.key.display());
            format!(", tls: {{cert_file: \"{cert}\", key_file: \"{key}\"}}")
        };
        let tls = self.tls.as_ref().map(tls).unwrap_or_default();
        let (scheme, ca) = match &store.tls {
            None => ("http", String::new()),
            Some(tls) => ("https", format!(", ca_file: \"{}\"", tls.cert.display())),
        };
        let store = store.address;
        let mut users = String::new();
        for number in (0..self.users).rev() {
            let suffix = match number {
                0 => String::new(),
                number => number.to_string(),
            };
            let _ = writeln!(
                users,
                "  - {{access_key: {ACCESS_KEY}{suffix}, secret_key: {SECRET_KEY}, allowed_buckets: [\"*\"]}}"
            );
        }
        let text = format!(
            "server: {{listen: \"{address}\", max_connections: 100000{tls}}}\n\
             store: {{endpoint: \"{scheme}://{store}\", region: {REGION}, access_key: sink, secret_key: sink-secret-key{ca}}}\n\
             keyring: {{current: main, keys: [{{id: main, kind: local, file: {KEY_FILE}}}]}}\n\
             users:\n{users}\
             buckets: {{opaque: {{etag: opaque}}}}\n\
             logging: {{level: error}}\n{}",
            self.more
        );
        std::fs::write(&config, text).expect("write the configuration");
        let mut command = program(&self.binary, self.cores.gateway.as_ref());
        command.args(["serve", "--config"]).arg(&config);
        if self.cores.gateway.is_some() {
            command.env("TOKIO_WORKER_THREADS", "1");
        }
        for pair in &self.env {
            let (name, value) = pair.split_once('=').expect("NAME=VALUE");
            command.env(name, value);
        }
        Server::start(command, address).await
    }
}

impl Server {
    /// Starts a program, and waits until it listens.
    pub async fn start(mut command: Command, address: SocketAddr) -> Self {
        let begun = Instant::now();
        let child = Running(
            command
                .stdin(Stdio::null())
                .spawn()
                .expect("start a server"),
        );
        while begun.elapsed() < START {
            if TcpStream::connect(address).await.is_ok() {
                let started = begun.elapsed();
                // Whatever starting still does in the background.
                tokio::time::sleep(Duration::from_millis(300)).await;
                return Self {
                    child,
                    address,
                    started,
                };
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{command:?} does not listen");
    }

    fn file(&self, name: &str) -> String {
        format!("/proc/{}/{name}", self.child.0.id())
    }

    /// Processor time so far, user and system: to the nanosecond, or to 10 ms where the kernel counts no finer or
    /// threads have ended meanwhile.
    pub fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(self.file("stat")).expect("stat");
        let after_name = stat.rsplit_once(')').expect("name in /proc/PID/stat").1;
        let ticks: u64 = after_name
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(|ticks| ticks.parse::<u64>().expect("ticks"))
            .sum();
        let coarse = Duration::from_secs_f64(ticks as f64 / TICKS);
        let (fine, _) = self.scheduled();
        if coarse.abs_diff(fine) < Duration::from_millis(40) {
            fine
        } else {
            coarse
        }
    }

    /// For how long the threads that it has now have run, and for how long they could have but others did, to the
    /// nanosecond; nothing where the kernel does not count that.
    pub fn scheduled(&self) -> (Duration, Duration) {
        let (mut ran, mut waited) = (Duration::ZERO, Duration::ZERO);
        let tasks = std::fs::read_dir(self.file("task")).expect("tasks");
        for task in tasks.flatten() {
            let text = std::fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
            let mut fields = text.split(' ').map(|field| field.parse().unwrap_or(0));
            ran += Duration::from_nanos(fields.next().unwrap_or(0));
            waited += Duration::from_nanos(fields.next().unwrap_or(0));
        }
        (ran, waited)
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.0.id()
    }

    /// Memory.
    pub fn usage(&self) -> Usage {
        let status = std::fs::read_to_string(self.file("status")).expect("status");
        let field = |name: &str| {
            status
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                .and_then(|value| value.trim().trim_end_matches(" kB").parse().ok())
                .expect("a field of /proc/PID/status")
        };
        Usage {
            rss: field("VmRSS"),
            anonymous: field("RssAnon"),
            peak: field("VmHWM"),
        }
    }

    /// Lets the peak begin again at what is resident now.
    pub fn reset_peak(&self) {
        std::fs::write(self.file("clear_refs"), "5").expect("clear_refs");
    }

    /// Waits until it has nothing left to do.
    pub async fn settle(&self) {
        for _ in 0..100 {
            let before = self.cpu();
            tokio::time::sleep(Duration::from_millis(50)).await;
            if self.cpu() - before < Duration::from_millis(2) {
                return;
            }
        }
    }
}

/// Ends this process where its standard input ends.
pub fn end_with_input() {
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::exit(0);
    });
}
