//! What the gateway is compared with: nginx and haproxy, which pass plaintext through, one worker each, and the least that
//! a proxy costs which uses the gateway's HTTP library, or which encrypts.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::http::Certificate;
use crate::process::{Cores, Server, SinkProcess, free_address, program};

/// A proxy that is not the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Proxy {
    /// nginx with its default buffers.
    Nginx,
    /// nginx with buffers of 256 KiB.
    Nginx256,
    /// haproxy with buffers of 128 KiB.
    Haproxy,
    /// This program, passing everything on with hyper; without TLS only. See `passed.rs`.
    Hyper,
    /// This program, enciphering and nothing else; without TLS only. See `floor.rs`.
    Floor,
}

impl Proxy {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Nginx,
        Self::Nginx256,
        Self::Haproxy,
        Self::Hyper,
        Self::Floor,
    ];

    /// The name in tables and options.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Nginx256 => "nginx-256k",
            Self::Haproxy => "haproxy",
            Self::Hyper => "hyper",
            Self::Floor => "floor",
        }
    }

    /// Whether it can be had with TLS.
    pub fn speaks_tls(self) -> bool {
        !matches!(self, Self::Hyper | Self::Floor)
    }

    /// The program, where it is installed.
    pub fn installed(self) -> Option<PathBuf> {
        let name = match self {
            Self::Nginx | Self::Nginx256 => "nginx",
            Self::Haproxy => "haproxy",
            Self::Hyper | Self::Floor => return std::env::current_exe().ok(),
        };
        let path = std::env::var_os("PATH").unwrap_or_default();
        // Debian keeps them where only root's PATH leads.
        std::env::split_paths(&path)
            .chain(["/usr/sbin".into(), "/usr/local/sbin".into()])
            .map(|folder| folder.join(name))
            .find(|path| path.is_file())
    }

    /// What the program says of itself.
    pub fn version(self) -> Option<String> {
        let output = Command::new(self.installed()?).arg("-v").output().ok()?;
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        let line = text.lines().next()?;
        Some(line.split(" - ").next().unwrap_or(line).to_owned())
    }

    /// Starts it in front of `store`, with TLS towards both where there is a certificate: 1.3, as the gateway
    /// speaks it, which nginx 1.22 does not by itself. `None` where it is not installed, or has no TLS.
    pub async fn start(
        self,
        folder: &Path,
        store: &SinkProcess,
        cores: &Cores,
        tls: Option<&Certificate>,
    ) -> Option<Server> {
        if tls.is_some() && !self.speaks_tls() {
            return None;
        }
        let path = self.installed()?;
        let address = free_address();
        let mut command = program(&path, cores.gateway.as_ref());
        let config = |text: String| {
            let path = folder.join(format!("{}.conf", self.name()));
            std::fs::write(&path, text).expect("write the configuration");
            path
        };
        match self {
            Self::Nginx | Self::Nginx256 => {
                let buffers = match self {
                    Self::Nginx256 => {
                        "client_body_buffer_size 256k; proxy_buffer_size 256k; \
                         proxy_buffers 8 256k; proxy_busy_buffers_size 512k;"
                    }
                    _ => "",
                };
                command
                    .args(["-e", "stderr", "-p"])
                    .arg(folder)
                    .arg("-c")
                    .arg(config(nginx(folder, address, store, tls, buffers)))
            }
            Self::Haproxy => command
                .args(["-db", "-f"])
                .arg(config(haproxy(address, store, tls))),
            Self::Hyper | Self::Floor => command
                .args([self.name(), "--listen", &address.to_string()])
                .args(["--store", &store.address.to_string()]),
        };
        command.stdout(Stdio::null()).stderr(Stdio::null());
        Some(Server::start(command, address).await)
    }
}

fn nginx(
    folder: &Path,
    address: SocketAddr,
    store: &SinkProcess,
    tls: Option<&Certificate>,
    buffers: &str,
) -> String {
    let folder = folder.display();
    let store_address = store.address;
    let scheme = store.tls.as_ref().map_or("http", |_| "https");
    let (listen, tls) = match tls {
        None => ("", String::new()),
        Some(tls) => {
            let (cert, key) = (tls.cert.display(), tls.key.display());
            let lines = format!(
                "ssl_certificate {cert}; ssl_certificate_key {key}; ssl_protocols TLSv1.3; \
                 proxy_ssl_protocols TLSv1.3;"
            );
            (" ssl", lines)
        }
    };
    // Without a master the child is the worker, and its figures are all there are.
    format!(
        "daemon off; master_process off; worker_processes 1; pid {folder}/nginx.pid;\n\
         events {{ worker_connections 8192; }}\n\
         http {{\n\
           access_log off; client_max_body_size 0; keepalive_requests 100000000; keepalive_timeout 600s;\n\
           client_body_temp_path {folder}/nginx-1; proxy_temp_path {folder}/nginx-2;\n\
           fastcgi_temp_path {folder}/nginx-3; uwsgi_temp_path {folder}/nginx-4; scgi_temp_path {folder}/nginx-5;\n\
           upstream store {{ server {store_address}; keepalive 4096; keepalive_requests 100000000; }}\n\
           server {{\n\
             listen {address}{listen}; {tls}\n\
             location / {{\n\
               proxy_pass {scheme}://store; proxy_http_version 1.1; proxy_set_header Connection \"\";\n\
               proxy_set_header Host $http_host; proxy_request_buffering off; proxy_max_temp_file_size 0;\n\
               {buffers}\n\
             }}\n\
           }}\n\
         }}\n"
    )
}

fn haproxy(address: SocketAddr, store: &SinkProcess, tls: Option<&Certificate>) -> String {
    let store_address = store.address;
    let to_store = store
        .tls
        .as_ref()
        .map_or("", |_| " ssl verify none ssl-min-ver TLSv1.3");
    let tls = tls.map_or(String::new(), |tls| {
        format!(" ssl crt {} ssl-min-ver TLSv1.3", tls.both.display())
    });
    format!(
        "global\n  nbthread 1\n  maxconn 8192\n  tune.bufsize 131072\n\
         defaults\n  mode http\n  http-reuse always\n  timeout connect 5s\n  timeout client 600s\n  timeout server 600s\n\
         frontend f\n  bind {address}{tls}\n  default_backend b\n\
         backend b\n  server s {store_address}{to_store}\n"
    )
}
