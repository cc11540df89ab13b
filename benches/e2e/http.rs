//! HTTP/1.1 at both ends of the gateway, as cheap as it gets: heads in a small buffer, bodies through one buffer
//! that all connections of a thread share, nothing copied twice. It trusts the other side; never for anything but
//! measuring.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::ready;

use bytes::Bytes;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Longest head; small bodies arrive with it in one read.
pub const HEAD: usize = 16 * 1024;
/// Bytes taken from a socket at once.
const READ: usize = 1024 * 1024;
/// Slices handed to a socket at once.
const SLICES: usize = 32;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ].into_boxed_slice());
}

/// A socket, with TLS or without.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection and what was read behind the last head.
pub struct Wire {
    stream: Box<dyn Stream>,
    buffer: Box<[u8]>,
    from: usize,
    to: usize,
}

/// First line and headers of a request or an answer.
pub struct Head(String);

impl Head {
    /// All of it as it came, with the empty line at its end.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// The first line.
    pub fn start(&self) -> &str {
        self.0.lines().next().unwrap_or_default()
    }

    /// Names and values.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        let pairs = self.0.lines().skip(1);
        pairs.filter_map(|line| Some((line.split_once(':')?.0, line.split_once(':')?.1.trim())))
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers();
        headers
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// `Content-Length`; 0 where there is none.
    pub fn length(&self) -> u64 {
        let value = self.header("content-length");
        value.and_then(|value| value.parse().ok()).unwrap_or(0)
    }

    /// The status of an answer.
    pub fn status(&self) -> u16 {
        let mut words = self.start().split(' ');
        words
            .nth(1)
            .and_then(|word| word.parse().ok())
            .unwrap_or_default()
    }
}

impl Wire {
    /// Around a connected socket.
    pub fn new(stream: Box<dyn Stream>) -> Self {
        Self {
            stream,
            buffer: vec![0; HEAD].into_boxed_slice(),
            from: 0,
            to: 0,
        }
    }

    /// The next head; `None` where the connection ends instead.
    pub async fn head(&mut self) -> io::Result<Option<Head>> {
        self.buffer.copy_within(self.from..self.to, 0);
        self.to -= self.from;
        self.from = 0;
        let mut searched = 0usize;
        loop {
            let rest = &self.buffer[searched.saturating_sub(3)..self.to];
            if let Some(at) = rest.windows(4).position(|four| four == b"\r\n\r\n") {
                self.from = searched.saturating_sub(3) + at + 4;
                let text = String::from_utf8_lossy(&self.buffer[..self.from]).into_owned();
                return Ok(Some(Head(text)));
            }
            searched = self.to;
            let n = self.stream.read(&mut self.buffer[self.to..]).await?;
            match (n, self.to) {
                (0, 0) => return Ok(None),
                (0, _) => return Err(io::ErrorKind::UnexpectedEof.into()),
                _ => self.to += n,
            }
        }
    }

    /// Shows `each` some of the next `left` bytes of the body, and says how many these were.
    pub async fn some(&mut self, left: u64, each: &mut impl FnMut(&[u8])) -> io::Result<usize> {
        let want = usize::try_from(left).unwrap_or(usize::MAX);
        if self.from < self.to {
            let n = want.min(self.to - self.from);
            each(&self.buffer[self.from..self.from + n]);
            self.from += n;
            return Ok(n);
        }
        let stream = &mut self.stream;
        let n = poll_fn(|cx| {
            SCRATCH.with(|scratch| {
                let scratch = &mut *scratch.borrow_mut();
                let mut filled = ReadBuf::new(&mut scratch[..want.min(READ)]);
                ready!(Pin::new(&mut *stream).poll_read(cx, &mut filled))?;
                each(filled.filled());
                io::Result::Ok(filled.filled().len()).into()
            })
        })
        .await?;
        if n == 0 && left > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(n)
    }

    /// How many bytes were read behind the last head.
    pub fn waiting(&self) -> usize {
        self.to - self.from
    }

    /// Fills `into` with the next bytes of the body.
    pub async fn fill(&mut self, into: &mut [u8]) -> io::Result<()> {
        let (here, rest) = into.split_at_mut(into.len().min(self.waiting()));
        here.copy_from_slice(&self.buffer[self.from..self.from + here.len()]);
        self.from += here.len();
        if !rest.is_empty() {
            self.stream.read_exact(rest).await?;
        }
        Ok(())
    }

    /// All of a short body.
    pub async fn whole(&mut self, length: u64) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        while (body.len() as u64) < length {
            let left = length - body.len() as u64;
            self.some(left, &mut |data| body.extend_from_slice(data))
                .await?;
        }
        Ok(body)
    }

    /// Sends a head and a body, in as few calls as there can be. `sent` learns of each.
    pub async fn send(
        &mut self,
        head: &[u8],
        body: &[Bytes],
        mut sent: impl FnMut(usize),
    ) -> io::Result<()> {
        let mut head = head;
        let (mut at, mut skip) = (0, 0);
        while !head.is_empty() || at < body.len() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            slices[0] = IoSlice::new(head);
            for (slice, data) in slices[1..].iter_mut().zip(&body[at..]) {
                *slice = IoSlice::new(data);
            }
            if at < body.len() {
                slices[1] = IoSlice::new(&body[at][skip..]);
            }
            let used = SLICES.min(1 + body.len() - at);
            let from = usize::from(head.is_empty());
            let mut n = self.stream.write_vectored(&slices[from..used]).await?;
            if n == 0 && from < used && slices[from..used].iter().any(|slice| !slice.is_empty()) {
                return Err(io::ErrorKind::WriteZero.into());
            }
            sent(n);
            let of_head = n.min(head.len());
            head = &head[of_head..];
            n -= of_head;
            while at < body.len() && n >= body[at].len() - skip {
                n -= body[at].len() - skip;
                (at, skip) = (at + 1, 0);
            }
            skip += n;
        }
        self.stream.flush().await
    }
}

/// The files of a certificate for 127.0.0.1 that signs itself, made for one run.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The certificate, in PEM.
    pub cert: std::path::PathBuf,
    /// Its key, in PEM.
    pub key: std::path::PathBuf,
    /// Both, as haproxy wants them.
    pub both: std::path::PathBuf,
}

impl Certificate {
    /// Has OpenSSL make one.
    pub fn make(folder: &Path) -> Self {
        let made = Self {
            cert: folder.join("tls.crt"),
            key: folder.join("tls.key"),
            both: folder.join("tls.pem"),
        };
        let output = std::process::Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-nodes", "-days", "30"])
            .args(["-pkeyopt", "ec_paramgen_curve:P-256", "-subj", "/CN=bench"])
            .args(["-addext", "subjectAltName=IP:127.0.0.1"])
            .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"])
            .arg(&made.key)
            .arg("-out")
            .arg(&made.cert)
            .output()
            .expect("run openssl, of the package openssl");
        assert!(
            output.status.success(),
            "openssl: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let mut both = std::fs::read(&made.cert).expect("certificate");
        both.extend(std::fs::read(&made.key).expect("key"));
        std::fs::write(&made.both, both).expect("certificate and key");
        made
    }

    /// The side of clients.
    pub fn connector(&self) -> TlsConnector {
        let mut roots = rustls::RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_file(&self.cert).expect("certificate"))
            .expect("certificate");
        let config = rustls::ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        TlsConnector::from(Arc::new(config))
    }

    /// The side of servers.
    pub fn acceptor(cert: &Path, key: &Path) -> TlsAcceptor {
        let chain = vec![CertificateDer::from_pem_file(cert).expect("certificate")];
        let key = PrivateKeyDer::from_pem_file(key).expect("key");
        let config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("certificate and key");
        TlsAcceptor::from(Arc::new(config))
    }
}

/// Connects, with TLS where there is a connector.
pub async fn connect(address: SocketAddr, tls: Option<&TlsConnector>) -> io::Result<Wire> {
    let socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    let stream: Box<dyn Stream> = match tls {
        None => Box::new(socket),
        Some(tls) => Box::new(
            tls.connect(ServerName::IpAddress(address.ip().into()), socket)
                .await?,
        ),
    };
    Ok(Wire::new(stream))
}
