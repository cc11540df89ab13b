//! An object of another program, which is checked as a whole before any of it is sent, takes no memory for that, however
//! long it is. The gateway is a process of its own, and what is measured is the most memory that it ever had.
//!
//! `LEGACY_MIB=5120 cargo test --release --test legacy_memory` takes the longest object of one PUT.

#![cfg(all(feature = "embedded", target_os = "linux"))]
#![forbid(unsafe_code)]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aes_gcm_siv::Aes256GcmSiv;
use aes_gcm_siv::aead::{AeadInOut, KeyInit};
use aes_kw::KwpAes256;
use common::{ALICE, Ask};
use sha2::{Digest, Sha256};

/// What the gateway may have at most, in bytes, and how much of it may come with the object.
const MOST: u64 = 64 << 20;
const MOST_MORE: u64 = 16 << 20;
const SECRET: &str = "correct horse battery staple";

/// Ends with its handle.
struct Gateway(Child);

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Gateway {
    /// The most memory that the process has had, in bytes.
    fn peak(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:"));
        let kibibytes = line.unwrap().split_ascii_whitespace().nth(1);
        kibibytes.unwrap().parse::<u64>().unwrap() * 1024
    }
}

/// Byte `at` of the plaintext.
fn byte(at: usize) -> u8 {
    (at * 131 + (at >> 8) * 17 + 7) as u8
}

/// The metadata and the stored bytes of a legacy object.
fn object(len: usize) -> (String, Vec<u8>) {
    let (dek, nonce) = ([7; 32], [3; 12]);
    let kek: [u8; 32] = Sha256::digest(SECRET).into();
    let mut wrapped = [0; 40];
    KwpAes256::new(&kek.into())
        .wrap_key(&dek, &mut wrapped)
        .unwrap();
    let mut body = Vec::with_capacity(len + 28);
    body.extend(nonce);
    body.extend((0..len).map(byte));
    let tag = Aes256GcmSiv::new(&dek.into())
        .encrypt_inout_detached(&nonce.into(), &[], body[12..].as_mut().into())
        .unwrap();
    body.extend(tag);
    (hex::encode(wrapped), body)
}

/// A store that holds this one object.
fn store(wrapped: String, body: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let shared = Arc::new((wrapped, body));
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let (socket, shared) = (socket.unwrap(), Arc::clone(&shared));
            std::thread::spawn(move || while answer(&socket, &shared.0, &shared.1).is_some() {});
        }
    });
    address
}

fn answer(mut socket: &TcpStream, wrapped: &str, body: &[u8]) -> Option<()> {
    let mut range = None;
    let mut lines = BufReader::with_capacity(1, socket).lines();
    loop {
        let line = lines.next()?.ok()?.to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("range: bytes=") {
            let (first, last) = value.split_once('-')?;
            range = Some(match first.is_empty() {
                true => body.len().saturating_sub(last.parse().ok()?)..body.len(),
                false => first.parse().ok()?..last.parse::<usize>().ok()? + 1,
            });
        }
    }
    let (status, place) = match &range {
        Some(r) => (
            "206 Partial Content",
            format!(
                "content-range: bytes {}-{}/{}\r\n",
                r.start,
                r.end - 1,
                body.len()
            ),
        ),
        None => ("200 OK", String::new()),
    };
    let part = &body[range.unwrap_or(0..body.len())];
    let head = format!(
        "HTTP/1.1 {status}\r\n{place}content-length: {}\r\netag: \"0123456789abcdef0123456789abcdef\"\r\nx-amz-meta-isec: {wrapped}\r\n\r\n",
        part.len()
    );
    socket.write_all(head.as_bytes()).ok()?;
    socket.write_all(part).ok()
}

fn gateway(store: SocketAddr, folder: &std::path::Path) -> (Gateway, SocketAddr) {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let key = sealgate::keys::generate_key_file(&common::KEK);
    std::fs::write(folder.join("key"), key.as_bytes()).unwrap();
    let config = format!(
        "server: {{listen: \"{address}\"}}\n\
         store: {{endpoint: \"http://{store}\", region: us-east-1, access_key: a, secret_key: b}}\n\
         keyring: {{current: main, keys: [{{id: main, kind: local, file: key}}]}}\n\
         users: [{{access_key: {}, secret_key: {}, allowed_buckets: [\"*\"]}}]\n\
         compat: {{accept_unsigned: {{until: 2999-12-31}}, s3proxy: {{secrets: [\"{SECRET}\"]}}}}\n\
         spool: {{dir: \"{}\"}}\n\
         logging: {{level: warn}}\n",
        ALICE.access_key,
        ALICE.secret_key,
        folder.display()
    );
    std::fs::write(folder.join("config"), config).unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_sealgate"))
        .args(["serve", "--config"])
        .arg(folder.join("config"))
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let gateway = Gateway(child);
    for _ in 0..500 {
        if TcpStream::connect(address).is_ok() {
            return (gateway, address);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("the gateway does not listen");
}

/// Asks, and checks that the answer is this range of the plaintext.
fn read(address: SocketAddr, ask: Ask, range: std::ops::Range<usize>) {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.write_all(&ask.encode(address).0).unwrap();
    let mut reader = BufReader::with_capacity(1 << 20, socket);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(reader.read_line(&mut head).unwrap() > 0, "{head}");
    }
    assert!(head.starts_with("HTTP/1.1 20"), "{head}");
    let length = format!("content-length: {}\r\n", range.len());
    assert!(head.to_ascii_lowercase().contains(&length), "{head}");
    let mut at = range.start;
    let mut piece = vec![0; 1 << 20];
    while at < range.end {
        let n = (range.end - at).min(piece.len());
        reader.read_exact(&mut piece[..n]).unwrap();
        let wrong = piece[..n]
            .iter()
            .enumerate()
            .find(|(i, b)| **b != byte(at + i));
        assert!(wrong.is_none(), "at {at}: {wrong:?}");
        at += n;
    }
}

#[test]
fn memory_does_not_grow_with_the_object() {
    let mebibytes = std::env::var("LEGACY_MIB").map_or(32, |text| text.parse().unwrap());
    let len: usize = mebibytes << 20;
    let folder = tempfile::tempdir().unwrap();
    let (wrapped, body) = object(len);
    let (gateway, address) = gateway(store(wrapped, body), folder.path());
    let idle = gateway.peak();
    for (ask, range) in [
        (Ask::get("bucket", "key"), 0..len),
        (
            Ask::get("bucket", "key").header("range", &format!("bytes={}-", len / 2)),
            len / 2..len,
        ),
    ] {
        let begun = Instant::now();
        let bytes = range.len();
        read(address, ask, range);
        eprintln!(
            "{bytes} bytes after {:?}, peak {} KiB, idle {} KiB",
            begun.elapsed(),
            gateway.peak() / 1024,
            idle / 1024
        );
    }
    let peak = gateway.peak();
    assert!(
        peak < MOST && peak - idle < MOST_MORE,
        "{peak} bytes for an object of {len}, {idle} without"
    );
}
