//! Stands between gateway and store. It notes what passes, and can answer something else than the store did.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use super::http1::{parse_head, parse_headers};

/// A request that the gateway sent.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    /// Path and query as they came.
    pub target: String,
    pub headers: HeaderMap,
    /// Whether all of its body came.
    pub complete: bool,
}

impl Seen {
    /// A header as text, empty where there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }
}

/// What the store answered: to be sent on, or changed first.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Reply {
    /// The answer as it goes over the wire. Headers are sent as they stand, whatever the body is.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = format!("HTTP/1.1 {}\r\n", self.status).into_bytes();
        for (name, value) in &self.headers {
            bytes.extend(name.as_str().bytes());
            bytes.extend(b": ");
            bytes.extend(value.as_bytes());
            bytes.extend(b"\r\n");
        }
        bytes.extend(b"\r\n");
        bytes.extend(&self.body);
        bytes
    }

    /// The offset of the body within the object, which for a range is not 0.
    pub fn offset(&self) -> usize {
        self.headers
            .get("content-range")
            .and_then(|range| range.to_str().ok())
            .and_then(|range| {
                range
                    .strip_prefix("bytes ")?
                    .split('-')
                    .next()?
                    .parse()
                    .ok()
            })
            .unwrap_or(0)
    }

    /// Says that the body has the length that it has.
    pub fn fix_length(&mut self) {
        self.headers
            .insert("content-length", self.body.len().into());
    }
}

impl Reply {
    /// The answer without its body from byte `at` of the object on, under the same headers: as where the
    /// connection breaks there.
    pub fn cut(mut self, at: usize) -> Vec<u8> {
        let keep = at.saturating_sub(self.offset());
        self.body.truncate(keep);
        self.encode()
    }
}

type Lie = Box<dyn FnMut(&Seen, Reply) -> Vec<u8> + Send>;

/// Requests that wait until they may pass.
#[derive(Clone)]
struct Gate {
    open: Arc<AtomicUsize>,
    which: fn(&Seen) -> bool,
}

#[derive(Default)]
struct State {
    seen: Vec<Seen>,
    /// Uploads whose body has ended, in one way or the other.
    ended: Vec<Seen>,
    lie: Option<Lie>,
    /// How long a reader may take nothing before its connection is cut.
    patience: Option<Duration>,
    /// Connections cut for that.
    cut: usize,
    /// How long a connection stays open after the end of what was sent on it.
    hold: Option<Duration>,
    gate: Option<Gate>,
    /// Requests that are being answered, and the most that there were at once.
    under_way: usize,
    most: usize,
}

/// The spy.
#[derive(Clone)]
pub struct Spy {
    /// Where it listens.
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
    ending: Arc<Notify>,
}

impl Spy {
    /// Starts one in front of a store.
    pub async fn before(store: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::<Mutex<State>>::default();
        let ending = Arc::<Notify>::default();
        let spy = Self {
            address,
            state,
            ending,
        };
        let passing = spy.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let spy = passing.clone();
                tokio::spawn(async move { pass(socket, store, &spy).await });
            }
        });
        spy
    }

    /// From now on, answers become what `lie` makes of them.
    pub fn lie(&self, lie: impl FnMut(&Seen, Reply) -> Vec<u8> + Send + 'static) {
        self.state.lock().unwrap().lie = Some(Box::new(lie));
    }

    /// From now on, answers pass as they are.
    pub fn be_honest(&self) {
        self.state.lock().unwrap().lie = None;
    }

    /// From now on, connections on which nothing moves for so long are cut, as load balancers do.
    pub fn cut_idle(&self, patience: Duration) {
        self.state.lock().unwrap().patience = Some(patience);
    }

    /// Connections that were cut for that so far.
    pub fn idle_cuts(&self) -> usize {
        self.state.lock().unwrap().cut
    }

    /// From now on, connections stay open for so long after their answer, with nothing more coming.
    pub fn hold(&self, time: Duration) {
        self.state.lock().unwrap().hold = Some(time);
    }

    /// From now on, requests of that kind wait before they reach the store until `open` is not 0.
    pub fn gate(&self, open: Arc<AtomicUsize>, which: fn(&Seen) -> bool) {
        self.state.lock().unwrap().gate = Some(Gate { open, which });
    }

    /// Whether such a request has come since the last [`Self::take`].
    pub fn has_seen(&self, which: fn(&Seen) -> bool) -> bool {
        self.state.lock().unwrap().seen.iter().any(which)
    }

    /// Waits until the body of the next upload to `target` has ended, and with it what the store heard.
    pub async fn upload_ended(&self, target: &str) -> Seen {
        loop {
            let notified = self.ending.notified();
            {
                let mut state = self.state.lock().unwrap();
                if let Some(at) = state.ended.iter().position(|seen| seen.target == target) {
                    return state.ended.remove(at);
                }
            }
            notified.await;
        }
    }

    fn ended(&self, seen: &Seen) {
        self.state.lock().unwrap().ended.push(seen.clone());
        self.ending.notify_waiters();
    }

    /// The most requests that were under way at once since the last call of [`Spy::take`].
    pub fn most_at_once(&self) -> usize {
        self.state.lock().unwrap().most
    }

    /// What passed since the last call.
    pub fn take(&self) -> Vec<Seen> {
        let mut state = self.state.lock().unwrap();
        state.most = state.under_way;
        state.ended.clear();
        std::mem::take(&mut state.seen)
    }
}

/// Counts a request as under way for as long as it lives.
struct UnderWay<'s>(&'s Mutex<State>);

impl<'s> UnderWay<'s> {
    fn new(state: &'s Mutex<State>) -> Self {
        let mut counts = state.lock().unwrap();
        counts.under_way += 1;
        counts.most = counts.most.max(counts.under_way);
        Self(state)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.lock().unwrap().under_way -= 1;
    }
}

/// Passes one request on, and its answer back; then the connection ends.
async fn pass(mut client: TcpStream, store: SocketAddr, spy: &Spy) -> Option<()> {
    let state = &spy.state;
    client.set_nodelay(true).ok()?;
    let mut head = Vec::new();
    let end = loop {
        if let Some(end) = head.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        if client.read_buf(&mut head).await.ok()? == 0 {
            return None;
        }
    };
    let mut body = head.split_off(end);
    let text = std::str::from_utf8(&head).ok()?;
    let mut lines = text.trim_end().split("\r\n");
    let mut request_line = lines.next()?.split(' ');
    let mut seen = Seen {
        method: request_line.next()?.to_owned(),
        target: request_line.next()?.to_owned(),
        headers: parse_headers(lines),
        complete: false,
    };
    let length: usize = match seen.header("content-length") {
        "" => 0,
        length => length.parse().ok()?,
    };
    seen.complete = body.len() == length;
    let at = {
        let mut state = state.lock().unwrap();
        state.seen.push(seen.clone());
        state.seen.len() - 1
    };

    let _under_way = UnderWay::new(state);
    let gate = { state.lock().unwrap().gate.clone() };
    if let Some(gate) = gate.filter(|gate| (gate.which)(&seen)) {
        while gate.open.load(Ordering::Acquire) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    let mut upstream = TcpStream::connect(store).await.ok()?;
    upstream.set_nodelay(true).ok()?;
    let unended = text.strip_suffix("\r\n").unwrap();
    let head = format!("{unended}connection: close\r\n\r\n");
    upstream.write_all(head.as_bytes()).await.ok()?;
    let mut passed = body.len();
    upstream.write_all(&body).await.ok()?;
    while passed < length {
        body.clear();
        // The gateway gave up: so does this, and the store sees a body that ends early.
        if !matches!(client.read_buf(&mut body).await, Ok(1..)) {
            let _ = upstream.shutdown().await;
            // What the store says to that; the gateway is gone.
            let _ = upstream.read_to_end(&mut Vec::new()).await;
            spy.ended(&seen);
            return None;
        }
        passed += body.len();
        // A store may refuse a body before it has all of it.
        let _ = upstream.write_all(&body).await;
    }
    seen.complete = true;
    if length > 0 {
        spy.ended(&seen);
    }
    if let Some(noted) = state.lock().unwrap().seen.get_mut(at) {
        noted.complete = true;
    }

    let mut answer = Vec::new();
    upstream.read_to_end(&mut answer).await.ok()?;
    let split = answer.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let (status, headers) = parse_head(std::str::from_utf8(&answer[..split]).ok()?);
    let reply = Reply {
        status,
        headers,
        body: answer.split_off(split),
    };
    let answer = match &mut state.lock().unwrap().lie {
        Some(lie) => lie(&seen, reply),
        None => reply.encode(),
    };
    let (patience, hold) = {
        let state = state.lock().unwrap();
        (state.patience, state.hold)
    };
    let Some(patience) = patience else {
        client.write_all(&answer).await.ok()?;
        if let Some(time) = hold {
            tokio::time::sleep(time).await;
        }
        return client.shutdown().await.ok();
    };
    let mut rest = &answer[..];
    while !rest.is_empty() {
        match tokio::time::timeout(patience, client.write(rest)).await {
            Ok(written) => rest = &rest[written.ok()?..],
            Err(_) => {
                state.lock().unwrap().cut += 1;
                // Dropped with a reset, which loses what is still on its way.
                return client.set_zero_linger().ok();
            }
        }
    }
    client.shutdown().await.ok()
}
