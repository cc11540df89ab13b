//! The processes that are measured: where they are started, and what the kernel says of them.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::net::TcpStream;

use crate::load::{ACCESS_KEY, REGION, SECRET_KEY};

/// Clock ticks in a second in `/proc/PID/stat`: 100 on every Linux that is in use.
const TICKS: f64 = 100.0;

/// A child that ends with its handle.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
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
    /// Processor time, user and system.
    pub cpu: Duration,
}

/// A sink in a process of its own.
pub struct SinkProcess {
    _child: Running,
    /// Where it listens.
    pub address: SocketAddr,
    /// Whether it is slow on purpose.
    pub slow: bool,
}

impl SinkProcess {
    /// Starts one that keeps its objects under `folder` and takes at most `rate` bytes a second from each
    /// connection; 0 is no limit.
    pub fn start(folder: &Path, rate: u64) -> Self {
        let program = std::env::current_exe().expect("own path");
        let mut child = Command::new(program)
            .args(["sink", "--rate", &rate.to_string(), "--folder"])
            .arg(folder)
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
            _child: Running(child),
            address: line.trim().parse().expect("address of the sink"),
            slow: rate > 0,
        }
    }
}

/// How to start gateways.
pub struct Setup {
    /// The `sealgate` binary.
    pub binary: PathBuf,
    /// For configuration and key.
    pub folder: PathBuf,
    /// `NAME=VALUE` for its environment.
    pub env: Vec<String>,
}

/// A gateway in a process of its own.
pub struct Gateway {
    child: Running,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Setup {
    /// Makes the key that all gateways share.
    pub fn keygen(&self) {
        let status = Command::new(&self.binary)
            .args(["keygen", "--out"])
            .arg(self.folder.join("main.key"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .expect("run sealgate keygen");
        assert!(status.success(), "sealgate keygen failed");
    }

    /// A fresh gateway in front of `store`. The bucket `opaque` has opaque ETags, every other one MD5.
    pub async fn gateway(&self, store: SocketAddr) -> Gateway {
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = free.local_addr().expect("a free port");
        drop(free);
        let config = self.folder.join("sealgate.yaml");
        let text = format!(
            "server: {{listen: \"{address}\"}}\n\
             store: {{endpoint: \"http://{store}\", region: {REGION}, access_key: sink, secret_key: sink-secret-key}}\n\
             keyring: {{current: main, keys: [{{id: main, kind: local, file: main.key}}]}}\n\
             users: [{{access_key: {ACCESS_KEY}, secret_key: {SECRET_KEY}, allowed_buckets: [\"*\"]}}]\n\
             buckets: {{opaque: {{etag: opaque}}}}\n\
             logging: {{level: warn}}\n"
        );
        std::fs::write(&config, text).expect("write the configuration");
        let mut command = Command::new(&self.binary);
        command
            .args(["serve", "--config"])
            .arg(&config)
            .stdin(Stdio::null());
        for pair in &self.env {
            let (name, value) = pair.split_once('=').expect("NAME=VALUE");
            command.env(name, value);
        }
        let child = Running(command.spawn().expect("start the gateway"));
        for _ in 0..200 {
            if TcpStream::connect(address).await.is_ok() {
                // Whatever starting still does in the background.
                tokio::time::sleep(Duration::from_millis(500)).await;
                return Gateway { child, address };
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the gateway does not listen");
    }
}

impl Gateway {
    /// What it used so far.
    pub fn usage(&self) -> Usage {
        let folder = format!("/proc/{}", self.child.0.id());
        let status = std::fs::read_to_string(format!("{folder}/status")).expect("status");
        let field = |name: &str| {
            status
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                .and_then(|value| value.trim().trim_end_matches(" kB").parse().ok())
                .expect("a field of /proc/PID/status")
        };
        let stat = std::fs::read_to_string(format!("{folder}/stat")).expect("stat");
        let after_name = stat.rsplit_once(')').expect("name in /proc/PID/stat").1;
        let ticks: u64 = after_name
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(|ticks| ticks.parse::<u64>().expect("ticks"))
            .sum();
        Usage {
            rss: field("VmRSS"),
            anonymous: field("RssAnon"),
            peak: field("VmHWM"),
            cpu: Duration::from_secs_f64(ticks as f64 / TICKS),
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
