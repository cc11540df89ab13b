//! The store behind `sealgate dev`: an S3 server in this process over a local folder.
//!
//! `s3s` does the protocol: HTTP, XML, signatures, aws-chunked bodies. What S3 does with objects is here, in three
//! layers: the S3 operations (`service`), the catalog of buckets and records (`catalog`) and the bodies
//! (`blobs`).
//!
//! ```text
//! hyper → s3s → service → catalog   DATA/catalog.redb     what exists; its commit is the write
//!                       ↘ blobs     DATA/blobs/ab/ab12…   one immutable file for each body or part of one
//! ```
//!
//! It keeps what it answered for across a crash or a loss of power, and it is made for trying things out, not for
//! production: see `docs/EMBEDDED-STORE.md`.

mod blobs;
mod catalog;
mod service;
#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulShutdown;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use self::blobs::Blobs;
use self::catalog::{Catalog, CatalogError};
use self::service::Store;

/// The only region there is.
pub const REGION: &str = "us-east-1";

/// How long requests in flight may take once the server is told to stop.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

/// What the store needs to know.
pub struct Options {
    /// The folder; made where it does not exist.
    pub data: PathBuf,
    /// The only access key there is.
    pub access_key: String,
    /// Its secret.
    pub secret_key: String,
    /// A loopback address; port 0 takes a free one.
    pub listen: SocketAddr,
}

/// What the store holds requests to.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// The fewest bytes of a part that is not its object's last. S3's is 5 MiB; tests of many parts want less.
    pub smallest_part: u64,
}

impl Default for Limits {
    /// As S3 has them.
    fn default() -> Self {
        Self {
            smallest_part: 5 * 1024 * 1024,
        }
    }
}

/// Why the store did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The store is only for this machine.
    #[error("the embedded store listens on loopback addresses only, and {0} is none")]
    NotLoopback(SocketAddr),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// Another process has the folder open.
    #[error("{} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// The folder cannot be used.
    #[error("cannot use {}: {source}", path.display())]
    Data {
        /// The folder.
        path: PathBuf,
        /// What went wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// A running store. Dropping it stops it at once; [`Handle::shutdown`] finishes what is in flight.
#[derive(Debug)]
pub struct Handle {
    /// Where it listens.
    pub endpoint: SocketAddr,
    stop: watch::Sender<bool>,
    server: Option<JoinHandle<()>>,
}

impl Handle {
    /// Accepts nothing more, finishes requests in flight and closes the folder.
    pub async fn shutdown(mut self) {
        self.stop.send_replace(true);
        if let Some(server) = self.server.take()
            && let Err(error) = server.await
        {
            tracing::warn!(%error, "the embedded store did not stop cleanly");
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            server.abort();
        }
    }
}

/// Opens the folder and serves it on an address of its own.
///
/// # Errors
/// Says why the folder or the address cannot be used.
pub async fn start(options: Options) -> Result<Handle, Error> {
    let address = options.listen;
    let listener = TcpListener::bind(address)
        .await
        .map_err(|source| Error::Listen { address, source })?;
    start_on(listener, options).await
}

/// As [`start`], on a listener that exists already; [`Options::listen`] is not looked at.
///
/// # Errors
/// Says why the folder or the listener cannot be used.
pub async fn start_on(listener: TcpListener, options: Options) -> Result<Handle, Error> {
    start_with(listener, options, Limits::default()).await
}

/// As [`start_on`], with other limits than S3's.
///
/// # Errors
/// Says why the folder or the listener cannot be used.
pub async fn start_with(
    listener: TcpListener,
    options: Options,
    limits: Limits,
) -> Result<Handle, Error> {
    let endpoint = listener.local_addr().map_err(|source| Error::Listen {
        address: options.listen,
        source,
    })?;
    if !endpoint.ip().is_loopback() {
        return Err(Error::NotLoopback(endpoint));
    }

    let data = options.data;
    let store =
        tokio::task::spawn_blocking(move || open(&data, limits).map_err(|error| (data, error)))
            .await
            .map_err(|error| Error::Data {
                path: PathBuf::new(),
                source: error.into(),
            })?
            .map_err(|(path, error)| match error {
                CatalogError::Database(error)
                    if matches!(*error, redb::Error::DatabaseAlreadyOpen) =>
                {
                    Error::InUse(path)
                }
                error => Error::Data {
                    path,
                    source: error.into(),
                },
            })?;

    let mut builder = S3ServiceBuilder::new(store);
    builder.set_auth(SimpleAuth::from_single(
        options.access_key,
        options.secret_key,
    ));
    let (stop, stopped) = watch::channel(false);
    let server = tokio::spawn(serve(listener, builder.build(), stopped));
    Ok(Handle {
        endpoint,
        stop,
        server: Some(server),
    })
}

fn open(data: &Path, limits: Limits) -> Result<Store, CatalogError> {
    std::fs::create_dir_all(data)?;
    // The database is also the lock on the folder, so it comes first.
    let catalog = Catalog::open(&data.join("catalog.redb"))?;
    let blobs = Blobs::open(data.join("blobs"))?;
    let removed = blobs.sweep(&catalog.live_blobs()?)?;
    if removed > 0 {
        tracing::info!(
            removed,
            "removed what interrupted uploads had left in the embedded store"
        );
    }
    Ok(Store::new(catalog, blobs, limits))
}

async fn serve(listener: TcpListener, service: S3Service, mut stopped: watch::Receiver<bool>) {
    let graceful = GracefulShutdown::new();
    // Dropped with this task, and everything in it.
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            // An error is a handle that was dropped.
            _ = stopped.wait_for(|stop| *stop) => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, most likely: wait for some to come back.
                tracing::warn!(%error, "the embedded store cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        // Small answers must not wait for the client's acknowledgement of the head.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot set TCP_NODELAY");
        }
        // Only this machine connects: connections may idle for as long as their client keeps them.
        let connection = http1::Builder::new()
            .header_read_timeout(None)
            .serve_connection(TokioIo::new(stream), service.clone());
        let connection = graceful.watch(connection);
        connections.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to the embedded store ended early");
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(DRAIN_TIMEOUT, graceful.shutdown())
        .await
        .is_err()
    {
        tracing::warn!("the embedded store stopped with requests still in flight");
    }
}
