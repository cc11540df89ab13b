//! Connections to the store, kept and used again.
//!
//! hyper speaks HTTP on a connection; here is only which one a request goes out on. One that was closed meanwhile is
//! noticed where a request finds it closed before anything of it was sent: it then goes out on another.

use std::collections::VecDeque;
use std::error::Error;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Response, Uri};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};
use tower_service::Service;

use crate::pump::{BoxBody, Windowed, buffers};

/// A request that got no answer.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// There is no connection.
    #[error("no connection")]
    Connect(#[source] Box<dyn Error + Send + Sync>),
    /// HTTP failed on it, or the request's own body did.
    #[error(transparent)]
    Http(#[from] hyper::Error),
}

/// Makes connections, and keeps those that nobody uses.
pub struct Pool {
    connector: HttpsConnector<HttpConnector>,
    scheme: Scheme,
    kept: Arc<Kept>,
}

/// Connections that nobody uses.
struct Kept {
    /// How long they are kept.
    limit: Duration,
    /// How many at most.
    most: usize,
    idle: Mutex<Idle>,
}

#[derive(Default)]
struct Idle {
    /// The one that was used last is the last.
    connections: VecDeque<Waiting>,
    /// Whether something closes them when their time is over.
    watched: bool,
}

struct Waiting {
    host: Arc<str>,
    sender: SendRequest<BoxBody>,
    since: Instant,
}

impl Pool {
    /// No connections yet. Unused ones are kept for `limit`, at most `most` of them.
    pub fn new(
        connector: HttpsConnector<HttpConnector>,
        scheme: Scheme,
        limit: Duration,
        most: usize,
    ) -> Self {
        Self {
            connector,
            scheme,
            kept: Arc::new(Kept {
                limit,
                most,
                idle: Mutex::default(),
            }),
        }
    }

    /// Sends a request, which has path and query only, to `host` (with its port, if need be).
    ///
    /// # Errors
    /// [`SendError`].
    pub async fn send(
        &self,
        host: &Arc<str>,
        mut request: Request<BoxBody>,
    ) -> Result<Response<Received>, SendError> {
        loop {
            let kept = self.kept.take(host);
            let used_before = kept.is_some();
            let mut sender = match kept {
                Some(sender) => sender,
                None => Box::pin(self.connect(host)).await?,
            };
            match sender.try_send_request(request).await {
                Ok(answer) => {
                    let lease = Lease {
                        kept: Arc::clone(&self.kept),
                        host: Arc::clone(host),
                        sender,
                    };
                    return Ok(answer.map(|body| Received::new(body, lease)));
                }
                Err(mut error) => match error.take_message() {
                    Some(unsent) if used_before => request = unsent,
                    _ => return Err(error.into_error().into()),
                },
            }
        }
    }

    /// A new connection. It is made beside the request, in the task that then drives it.
    async fn connect(&self, host: &str) -> Result<SendRequest<BoxBody>, SendError> {
        let mut uri = http::uri::Parts::default();
        uri.scheme = Some(self.scheme.clone());
        uri.authority = Some(Authority::try_from(host).map_err(not_connected)?);
        uri.path_and_query = Some(PathAndQuery::from_static("/"));
        let uri = Uri::from_parts(uri).map_err(not_connected)?;
        let connector = self.connector.clone();
        let (mut told, made) = oneshot::channel();
        tokio::spawn(async move {
            let opened = tokio::select! {
                opened = open(connector, uri) => opened,
                // Nobody waits for it any more.
                () = told.closed() => return,
            };
            match opened {
                Ok((sender, connection)) => {
                    if told.send(Ok(sender)).is_ok()
                        && let Err(error) = connection.await
                    {
                        tracing::debug!(%error, "connection to the store ended");
                    }
                }
                Err(error) => drop(told.send(Err(error))),
            }
        });
        let mut sender = made.await.map_err(not_connected)??;
        sender.ready().await?;
        Ok(sender)
    }
}

/// What goes over the network: TCP or TLS, read in windows.
type Io = TokioIo<Windowed<TokioIo<MaybeHttpsStream<TokioIo<TcpStream>>>>>;

/// Opens a connection, with HTTP on it.
async fn open(
    mut connector: HttpsConnector<HttpConnector>,
    uri: Uri,
) -> Result<(SendRequest<BoxBody>, Connection<Io, BoxBody>), SendError> {
    poll_fn(|cx| connector.poll_ready(cx))
        .await
        .map_err(not_connected)?;
    let io = connector.call(uri).await.map_err(not_connected)?;
    let io = TokioIo::new(Windowed::new(TokioIo::new(io), buffers::window));
    let mut http = Builder::new();
    Ok(http.max_buf_size(buffers::MOST).handshake(io).await?)
}

fn not_connected(error: impl Into<Box<dyn Error + Send + Sync>>) -> SendError {
    SendError::Connect(error.into())
}

impl Kept {
    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection to `host` that is open as far as is known: the one used last, so that there are no more than needed.
    fn take(&self, host: &str) -> Option<SendRequest<BoxBody>> {
        let mut idle = self.idle();
        loop {
            let same = |waiting: &Waiting| *waiting.host == *host;
            let last = idle.connections.iter().rposition(same)?;
            let waiting = idle.connections.remove(last)?;
            if waiting.sender.is_ready() && waiting.since.elapsed() < self.limit {
                return Some(waiting.sender);
            }
        }
    }

    /// Keeps a connection that can take a request.
    fn put(self: &Arc<Self>, host: Arc<str>, sender: SendRequest<BoxBody>) {
        if self.most == 0 || self.limit.is_zero() {
            return;
        }
        let mut idle = self.idle();
        if idle.connections.len() >= self.most {
            idle.connections.pop_front();
        }
        idle.connections.push_back(Waiting {
            host,
            sender,
            since: Instant::now(),
        });
        if !std::mem::replace(&mut idle.watched, true) {
            let watch = watch(Arc::downgrade(self), Instant::now() + self.limit);
            match Handle::try_current() {
                Ok(runtime) => drop(runtime.spawn(watch)),
                Err(_) => idle.watched = false,
            }
        }
    }

    /// Closes connections whose time is over. When that of the next is.
    fn expire(&self) -> Option<Instant> {
        let mut idle = self.idle();
        while let Some(first) = idle.connections.front() {
            if first.since.elapsed() < self.limit {
                return Some(first.since + self.limit);
            }
            idle.connections.pop_front();
        }
        idle.watched = false;
        None
    }
}

/// Closes connections when their time is over, as long as there are any.
async fn watch(kept: Weak<Kept>, mut next: Instant) {
    loop {
        sleep_until(next).await;
        let Some(kept) = kept.upgrade() else { return };
        let Some(later) = kept.expire() else { return };
        next = later;
    }
}

/// A connection in use.
struct Lease {
    kept: Arc<Kept>,
    host: Arc<str>,
    sender: SendRequest<BoxBody>,
}

impl Lease {
    /// Gives it back once it can take another request, if it ever can.
    fn give_back(self) {
        let Self {
            kept,
            host,
            mut sender,
        } = self;
        if sender.is_ready() {
            return kept.put(host, sender);
        }
        // The connection has not seen yet that the answer is over, or the request's body is still going out.
        if !sender.is_closed()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(async move {
                if sender.ready().await.is_ok() {
                    kept.put(host, sender);
                }
            });
        }
    }
}

/// The body of an answer. At its end the connection can be used again.
pub struct Received {
    /// None once it has been dropped.
    body: Option<Incoming>,
    /// None once it has been given back.
    lease: Option<Lease>,
}

impl Received {
    fn new(body: Incoming, lease: Lease) -> Self {
        let mut received = Self {
            body: Some(body),
            lease: Some(lease),
        };
        received.look_for_end();
        received
    }

    fn look_for_end(&mut self) {
        if self.is_end_stream()
            && let Some(lease) = self.lease.take()
        {
            lease.give_back();
        }
    }
}

impl Body for Received {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let frame = ready!(Pin::new(body).poll_frame(cx));
        if frame.is_none() {
            self.body = None;
        }
        self.look_for_end();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            Some(body) => body.size_hint(),
            None => SizeHint::with_exact(0),
        }
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        // First, so that the connection learns of it.
        self.body = None;
        if let Some(lease) = self.lease.take() {
            lease.give_back();
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::sync::mpsc;

    use super::*;
    use crate::pump;

    const WHOLE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    const LAST: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok";

    /// A pool, and a store that answers so and tells the number of the connection that each request came on.
    async fn pool(
        answer: &'static str,
        limit: Duration,
        most: usize,
    ) -> (Pool, Arc<str>, mpsc::UnboundedReceiver<usize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string().into();
        let (seen, requests) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            for number in 0.. {
                let (mut socket, _) = listener.accept().await.unwrap();
                let seen = seen.clone();
                tokio::spawn(async move {
                    let mut request = [0; 1024];
                    // Each comes in one piece.
                    while socket.read(&mut request).await.is_ok_and(|n| n > 0) {
                        seen.send(number).unwrap();
                        socket.write_all(answer.as_bytes()).await.unwrap();
                        if answer == LAST {
                            return;
                        }
                    }
                });
            }
        });
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        (
            Pool::new(connector, Scheme::HTTP, limit, most),
            host,
            requests,
        )
    }

    async fn ask(pool: &Pool, host: &Arc<str>) -> Response<Received> {
        let mut request = Request::new(pump::empty());
        *request.uri_mut() = Uri::from_static("/bucket/key");
        pool.send(host, request).await.unwrap()
    }

    async fn read(answer: Response<Received>) {
        let body = answer.into_body().collect().await.unwrap();
        assert_eq!(body.to_bytes(), "ok");
    }

    /// Waits until so many connections are kept: whoever drives them learns of the end of an answer in its own time.
    async fn settle(pool: &Pool, connections: usize) {
        while pool.kept.idle().connections.len() != connections {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    const LONG: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn a_connection_is_used_again_once_its_answer_was_read() {
        let (pool, host, mut requests) = pool(WHOLE, LONG, 8).await;
        let first = ask(&pool, &host).await;
        let second = ask(&pool, &host).await;
        read(first).await;
        read(second).await;
        settle(&pool, 2).await;
        read(ask(&pool, &host).await).await;
        settle(&pool, 2).await;
        let numbers = [requests.recv().await, requests.recv().await];
        assert_eq!(numbers, [Some(0), Some(1)]);
        assert!(requests.recv().await < Some(2));
        // Nor does another host get it.
        let other = host.replace("127.0.0.1", "localhost").into();
        read(ask(&pool, &other).await).await;
        assert_eq!(requests.recv().await, Some(2));
    }

    #[tokio::test]
    async fn no_more_than_allowed_are_kept() {
        let (pool, host, _requests) = pool(WHOLE, LONG, 1).await;
        let answers = [ask(&pool, &host).await, ask(&pool, &host).await];
        for answer in answers {
            read(answer).await;
        }
        settle(&pool, 1).await;
    }

    #[tokio::test]
    async fn none_are_kept_where_none_may_be() {
        let (pool, host, mut requests) = pool(WHOLE, LONG, 0).await;
        for number in 0..3 {
            read(ask(&pool, &host).await).await;
            assert_eq!(requests.recv().await, Some(number));
        }
    }

    #[tokio::test]
    async fn an_unused_connection_is_closed_when_its_time_is_over() {
        let (pool, host, mut requests) = pool(WHOLE, Duration::from_millis(50), 8).await;
        read(ask(&pool, &host).await).await;
        settle(&pool, 1).await;
        settle(&pool, 0).await;
        assert!(!pool.kept.idle().watched);
        read(ask(&pool, &host).await).await;
        settle(&pool, 1).await;
        assert_eq!(requests.recv().await, Some(0));
        assert_eq!(requests.recv().await, Some(1));
    }

    #[tokio::test]
    async fn a_closed_connection_is_not_used() {
        let (pool, host, mut requests) = pool(LAST, LONG, 8).await;
        for number in 0..20 {
            read(ask(&pool, &host).await).await;
            assert_eq!(requests.recv().await, Some(number));
        }
    }

    #[tokio::test]
    async fn where_there_is_nobody_there_is_no_connection() {
        let (pool, host, _requests) = pool(WHOLE, LONG, 8).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let nobody = listener.local_addr().unwrap().to_string().into();
        drop(listener);
        for nobody in [nobody, "not a host".into()] {
            let request = Request::new(pump::empty());
            let error = pool.send(&nobody, request).await.err().unwrap();
            assert!(matches!(error, SendError::Connect(_)), "{error:?}");
        }
        read(ask(&pool, &host).await).await;
    }
}
