//! The listener: accepts connections, speaks HTTP/1.1 on them, and stops without breaking requests.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::conn::{Conn, Signals};
use super::track::Tracked;
use crate::pump::{Windowed, buffers};

/// Bytes that the head of a request may have. What S3 allows of it is checked behind it, with an answer of S3's kind.
const HEAD: usize = 64 * 1024;

/// Bounds on connections.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Open at the same time; more wait.
    pub max_connections: usize,
    /// Until a request's head has come, idle time between requests included.
    pub header_timeout: Duration,
    /// How long requests in flight may go on once the server is stopping.
    pub shutdown_grace: Duration,
}

/// Serves until `stop`, then finishes what is in flight.
pub async fn serve<H, F>(
    listener: TcpListener,
    acceptor: Option<TlsAcceptor>,
    limits: Limits,
    stop: CancellationToken,
    handler: H,
) where
    H: Fn(Request<Incoming>, SocketAddr, Signals) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Tracked>> + Send + 'static,
{
    let graceful = Arc::new(GracefulShutdown::new());
    let slots = Arc::new(Semaphore::new(limits.max_connections));
    loop {
        let slot = tokio::select! {
            slot = slots.clone().acquire_owned() => slot,
            () = stop.cancelled() => break,
        };
        let Ok(slot) = slot else { break };
        let (socket, peer) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, say: wait instead of spinning.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
            () = stop.cancelled() => break,
        };
        let _ = socket.set_nodelay(true);
        let acceptor = acceptor.clone();
        let handler = handler.clone();
        let watcher = graceful.watcher();
        tokio::spawn(async move {
            let _slot = slot;
            match acceptor {
                None => connection(socket, peer, limits, watcher, handler).await,
                Some(acceptor) => {
                    match tokio::time::timeout(limits.header_timeout, acceptor.accept(socket)).await
                    {
                        Ok(Ok(socket)) => connection(socket, peer, limits, watcher, handler).await,
                        Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake failed"),
                        Err(_) => tracing::debug!(%peer, "TLS handshake timed out"),
                    }
                }
            }
        });
    }
    drop(listener);
    let Some(graceful) = Arc::into_inner(graceful) else {
        return;
    };
    if tokio::time::timeout(limits.shutdown_grace, graceful.shutdown())
        .await
        .is_err()
    {
        tracing::warn!("requests were still in flight when the grace period ended");
    }
}

async fn connection<T, H, F>(
    socket: T,
    peer: SocketAddr,
    limits: Limits,
    watcher: hyper_util::server::graceful::Watcher,
    handler: H,
) where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Fn(Request<Incoming>, SocketAddr, Signals) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Tracked>> + Send + 'static,
{
    let signals = Signals::default();
    let io = Conn::new(Windowed::new(socket, buffers::upload_read), signals.clone());
    let io = TokioIo::new(Box::pin(io));
    let service = service_fn(move |request| {
        let answer = handler(request, peer, signals.clone());
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(buffers::MOST)
        .max_header_size(HEAD)
        .serve_connection(io, service);
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%peer, %error, "connection ended");
    }
}

/// Reads a certificate chain and key in PEM for serving TLS.
///
/// # Errors
/// What is wrong with the files.
pub fn tls(cert_file: &Path, key_file: &Path) -> io::Result<TlsAcceptor> {
    let bad = |file: &Path, error: String| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{}: {error}", file.display()),
        )
    };
    let certificates = CertificateDer::pem_file_iter(cert_file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| bad(cert_file, error.to_string()))?;
    let key =
        PrivateKeyDer::from_pem_file(key_file).map_err(|error| bad(key_file, error.to_string()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| {
            builder
                .with_no_client_auth()
                .with_single_cert(certificates, key)
        })
        .map_err(|error| bad(cert_file, error.to_string()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// TLS towards the store: the system's authorities, or those of `ca_file` in their place.
///
/// # Errors
/// What is wrong with the file, or that the system has no authorities.
pub fn client_tls(ca_file: Option<&Path>) -> io::Result<rustls::ClientConfig> {
    let bad = |error: String| io::Error::new(io::ErrorKind::InvalidData, error);
    let mut roots = rustls::RootCertStore::empty();
    match ca_file {
        Some(file) => {
            let certificates = CertificateDer::pem_file_iter(file)
                .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                .map_err(|error| bad(format!("{}: {error}", file.display())))?;
            for certificate in certificates {
                roots
                    .add(certificate)
                    .map_err(|error| bad(format!("{}: {error}", file.display())))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    Ok(rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| bad(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth())
}
