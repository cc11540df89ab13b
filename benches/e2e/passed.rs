//! The least that a proxy costs which speaks HTTP by the library that the gateway uses: hyper reads heads and bodies on one
//! side and writes them on the other as they are. No signatures, no cipher, no TLS, and a connection to the store for
//! every client's, so that nothing chooses one. What the gateway takes above this at small sizes is the gateway's doing.

use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{client, server};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

/// Answers connections until the process ends, in front of a store without TLS.
pub async fn serve(store: SocketAddr, listener: TcpListener) {
    loop {
        let (socket, _) = listener.accept().await.expect("accept");
        // A broken connection is the client's to report.
        tokio::spawn(async move { connection(socket, store).await.ok() });
    }
}

async fn connection(socket: TcpStream, store: SocketAddr) -> io::Result<()> {
    let to_store = TcpStream::connect(store).await?;
    socket.set_nodelay(true)?;
    to_store.set_nodelay(true)?;
    let (sender, driver) = client::conn::http1::handshake(TokioIo::new(to_store))
        .await
        .map_err(io::Error::other)?;
    tokio::spawn(driver);
    let sender = Mutex::new(sender);
    let lock = || sender.lock().unwrap_or_else(PoisonError::into_inner);
    let pass = async |request: Request<Incoming>| {
        std::future::poll_fn(|cx| lock().poll_ready(cx)).await?;
        let answer = lock().send_request(request);
        answer.await
    };
    server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(socket), service_fn(pass))
        .await
        .map_err(io::Error::other)
}
