//! The admin listener: `/healthz`, `/readyz` and `/metrics`, for operators and their machines.
//!
//! It asks for no credentials and tells nothing secret, but it should be reachable only from
//! where the monitoring is.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::telemetry::Metrics;

/// How many connections are served side by side. Probes and scrapes need few.
const CONNECTIONS: usize = 64;

/// How long a request's head may take to arrive.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long requests in flight may take once the listener stops.
const GRACE: Duration = Duration::from_secs(5);

/// How long to wait after the system refused a connection, for want of descriptors for example.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Whether the gateway should be sent requests. The composition root keeps it up to date.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Readiness {
    /// The store has not answered yet.
    #[default]
    Starting,
    /// The store answers.
    Ready,
    /// The store does not answer.
    StoreUnreachable,
    /// The gateway is finishing its last requests.
    Draining,
}

impl Readiness {
    const fn text(self) -> &'static str {
        match self {
            Self::Starting => "starting\n",
            Self::Ready => "ready\n",
            Self::StoreUnreachable => "store unreachable\n",
            Self::Draining => "draining\n",
        }
    }
}

/// Answers on `listener` until `stop`, then finishes the requests in flight. `readiness` is what
/// `/readyz` says; without `metrics` there is no `/metrics`.
pub async fn serve(
    listener: TcpListener,
    readiness: watch::Receiver<Readiness>,
    metrics: Option<Metrics>,
    stop: CancellationToken,
) {
    let graceful = GracefulShutdown::new();
    let slots = std::sync::Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let slot = tokio::select! {
            () = stop.cancelled() => break,
            slot = std::sync::Arc::clone(&slots).acquire_owned() => slot,
        };
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let readiness = readiness.clone();
        let metrics = metrics.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let state = *readiness.borrow();
            let answer = respond(
                request.method(),
                request.uri().path(),
                state,
                metrics.as_ref(),
            );
            async move { Ok::<_, Infallible>(answer) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_buf_size(16 * 1024)
            .serve_connection(TokioIo::new(stream), service);
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            let _slot = slot;
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to the admin listener broke");
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(GRACE, graceful.shutdown())
        .await
        .is_err()
    {
        tracing::debug!("requests to the admin listener were still in flight when it stopped");
    }
}

/// The answer to one request. hyper leaves the body out where the method is `HEAD`.
fn respond(
    method: &Method,
    path: &str,
    readiness: Readiness,
    metrics: Option<&Metrics>,
) -> Response<Full<Bytes>> {
    let known = matches!(path, "/healthz" | "/readyz") || (path == "/metrics" && metrics.is_some());
    if !known {
        return answer(StatusCode::NOT_FOUND, "not found\n");
    }
    if method != Method::GET && method != Method::HEAD {
        let mut refused = answer(StatusCode::METHOD_NOT_ALLOWED, "use GET or HEAD\n");
        refused
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    match (path, metrics) {
        ("/readyz", _) if readiness == Readiness::Ready => answer(StatusCode::OK, readiness.text()),
        ("/readyz", _) => answer(StatusCode::SERVICE_UNAVAILABLE, readiness.text()),
        ("/metrics", Some(metrics)) => {
            let mut page = answer(StatusCode::OK, metrics.render());
            page.headers_mut().insert(
                CONTENT_TYPE,
                HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"),
            );
            page
        }
        _ => answer(StatusCode::OK, "ok\n"),
    }
}

fn answer(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    async fn ask(address: std::net::SocketAddr, head: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("{head} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn the_listener_answers_and_stops() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (state, readiness) = watch::channel(Readiness::Starting);
        let stop = CancellationToken::new();
        let server = tokio::spawn(serve(listener, readiness, None, stop.clone()));

        assert!(
            ask(address, "GET /healthz")
                .await
                .starts_with("HTTP/1.1 200")
        );
        assert!(
            ask(address, "GET /readyz")
                .await
                .starts_with("HTTP/1.1 503")
        );
        state.send(Readiness::Ready).unwrap();
        assert!(
            ask(address, "GET /readyz?x=1")
                .await
                .starts_with("HTTP/1.1 200")
        );
        let head = ask(address, "HEAD /readyz").await;
        assert!(head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"));
        state.send(Readiness::Draining).unwrap();
        assert!(ask(address, "GET /readyz").await.ends_with("draining\n"));
        assert!(ask(address, "GET /").await.starts_with("HTTP/1.1 404"));
        assert!(
            ask(address, "GET /metrics")
                .await
                .starts_with("HTTP/1.1 404")
        );
        let refused = ask(address, "POST /healthz").await;
        assert!(refused.starts_with("HTTP/1.1 405") && refused.contains("allow: GET, HEAD"));

        stop.cancel();
        server.await.unwrap();
        assert!(TcpStream::connect(address).await.is_err());
    }

    #[tokio::test]
    async fn an_idle_connection_does_not_keep_it_from_stopping() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (_state, readiness) = watch::channel(Readiness::Ready);
        let stop = CancellationToken::new();
        let server = tokio::spawn(serve(listener, readiness, None, stop.clone()));
        let mut idle = TcpStream::connect(address).await.unwrap();
        idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
            .await
            .unwrap();
        let mut some = [0; 16];
        idle.read_exact(&mut some).await.unwrap();
        stop.cancel();
        tokio::time::timeout(GRACE, server).await.unwrap().unwrap();
    }
}
