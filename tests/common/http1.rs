//! A client that writes HTTP/1.1 itself, so that a test decides on every byte and sees a transfer break.

use std::net::SocketAddr;

use http::header::{CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use sealgate::auth::{Secret, Signer};
use sealgate::protocol::uri::{encode_path, percent_encode_into};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::{ALICE, User};

/// How a request is signed, and what of its body that covers.
#[derive(Clone, Debug, PartialEq)]
pub enum Form {
    /// `Authorization`, with the body's SHA-256.
    Signed,
    /// `Authorization`, with this in place of the body's SHA-256.
    Literal(String),
    /// `Authorization`, and a body in `aws-chunked` framing.
    Chunked {
        /// Whether each chunk is signed.
        signed: bool,
        /// Plaintext bytes of a chunk.
        size: usize,
        /// A trailer.
        trailer: Option<(&'static str, String)>,
    },
    /// In the query, for so many seconds.
    Presigned(u32),
    /// Not at all.
    Anonymous,
}

/// A request.
#[derive(Clone, Debug)]
pub struct Ask {
    pub method: Method,
    /// Percent-encoded, with the first slash.
    pub path: String,
    /// Percent-encoded, without `?`.
    pub query: String,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    pub user: User,
    pub form: Form,
    /// `Host`, where it is not the gateway's address.
    pub host: Option<String>,
    /// Headers that are sent and not signed.
    pub unsigned: HeaderMap,
}

impl Ask {
    /// A signed request by Alice, without a body.
    pub fn new(method: Method, path: impl Into<String>) -> Self {
        Self {
            method,
            path: path.into(),
            query: String::new(),
            headers: HeaderMap::new(),
            body: Vec::new(),
            user: ALICE,
            form: Form::Signed,
            host: None,
            unsigned: HeaderMap::new(),
        }
    }

    pub fn object(method: Method, bucket: &str, key: &str) -> Self {
        Self::new(method, encode_path(bucket, key))
    }

    pub fn get(bucket: &str, key: &str) -> Self {
        Self::object(Method::GET, bucket, key)
    }

    pub fn head(bucket: &str, key: &str) -> Self {
        Self::object(Method::HEAD, bucket, key)
    }

    pub fn delete(bucket: &str, key: &str) -> Self {
        Self::object(Method::DELETE, bucket, key)
    }

    pub fn put(bucket: &str, key: &str, body: &[u8]) -> Self {
        Self::object(Method::PUT, bucket, key).body(body)
    }

    /// A copy of `from`, an object of `bucket` too.
    pub fn copy(bucket: &str, from: &str, to: &str) -> Self {
        Self::object(Method::PUT, bucket, to)
            .header("x-amz-copy-source", &encode_path(bucket, from))
    }

    /// A request about a bucket.
    pub fn bucket(method: Method, bucket: &str) -> Self {
        Self::new(method, format!("/{bucket}"))
    }

    /// The raw query.
    pub fn query(mut self, query: &str) -> Self {
        self.query = query.to_owned();
        self
    }

    /// A header that is signed where headers of its kind are.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.append(
            name.parse::<HeaderName>().unwrap(),
            HeaderValue::from_bytes(value.as_bytes()).unwrap(),
        );
        self
    }

    /// A header that is not signed.
    pub fn unsigned(mut self, name: &str, value: &str) -> Self {
        self.unsigned
            .append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        self
    }

    pub fn body(mut self, body: &[u8]) -> Self {
        self.body = body.to_vec();
        self
    }

    pub fn by(mut self, user: User) -> Self {
        self.user = user;
        self
    }

    pub fn form(mut self, form: Form) -> Self {
        self.form = form;
        self
    }

    pub fn host(mut self, host: &str) -> Self {
        self.host = Some(host.to_owned());
        self
    }

    /// Head and body as they go over the wire.
    pub fn encode(&self, address: SocketAddr) -> (Vec<u8>, Vec<u8>) {
        let now = sealgate::gateway::now();
        let signer = Signer::new(
            self.user.access_key,
            Secret::new(self.user.secret_key),
            "us-east-1",
        );
        let mut headers = self.headers.clone();
        let host = self.host.clone().unwrap_or_else(|| address.to_string());
        headers.insert(HOST, host.parse().unwrap());
        let mut query = self.query.clone();
        let mut body = self.body.clone();
        match &self.form {
            Form::Anonymous => {}
            Form::Presigned(expires) => {
                query = signer
                    .presign(&self.method, &self.path, &query, &headers, *expires, now)
                    .unwrap();
            }
            Form::Signed => {
                let hash = hex::encode(Sha256::digest(&body));
                signer
                    .sign(&self.method, &self.path, &query, &mut headers, &hash, now)
                    .unwrap();
            }
            Form::Literal(literal) => {
                signer
                    .sign(&self.method, &self.path, &query, &mut headers, literal, now)
                    .unwrap();
            }
            Form::Chunked {
                signed,
                size,
                trailer,
            } => {
                headers.insert("x-amz-decoded-content-length", body.len().into());
                if let Some((name, _)) = trailer {
                    headers.insert("x-amz-trailer", HeaderValue::from_static(name));
                }
                let literal = match (signed, trailer.is_some()) {
                    (true, false) => "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
                    (true, true) => "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
                    (false, _) => "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
                };
                let head = signer
                    .sign(&self.method, &self.path, &query, &mut headers, literal, now)
                    .unwrap();
                let mut chain = signed.then(|| signer.chunk_signer(&head));
                let mut framed = Vec::new();
                for data in body.chunks(*size).chain([&[][..]]) {
                    framed.extend(format!("{:x}", data.len()).bytes());
                    if let Some(chain) = &mut chain {
                        framed
                            .extend(format!(";chunk-signature={}", chain.sign_chunk(data)).bytes());
                    }
                    framed.extend(b"\r\n");
                    framed.extend(data);
                    if !data.is_empty() {
                        framed.extend(b"\r\n");
                    }
                }
                if let Some((name, value)) = trailer {
                    framed.extend(format!("{name}:{value}\r\n").bytes());
                    if let Some(chain) = &mut chain {
                        let mut trailers = HeaderMap::new();
                        trailers.insert(*name, value.parse().unwrap());
                        let signature = chain.sign_trailer(&trailers);
                        framed.extend(format!("x-amz-trailer-signature:{signature}\r\n").bytes());
                    }
                }
                framed.extend(b"\r\n");
                body = framed;
            }
        }
        if !headers.contains_key(CONTENT_LENGTH)
            && (!body.is_empty() || matches!(self.method, Method::PUT | Method::POST))
        {
            headers.insert(CONTENT_LENGTH, body.len().into());
        }
        headers.extend(self.unsigned.clone());

        let mut head = format!("{} {}", self.method, self.path);
        if !query.is_empty() {
            head.push('?');
            head.push_str(&query);
        }
        head.push_str(" HTTP/1.1\r\n");
        let mut head = head.into_bytes();
        for (name, value) in &headers {
            head.extend(name.as_str().bytes());
            head.extend(b": ");
            head.extend(value.as_bytes());
            head.extend(b"\r\n");
        }
        head.extend(b"\r\n");
        (head, body)
    }
}

/// `name=value&…` with everything percent-encoded that has to be.
pub fn query_of(pairs: &[(&str, &str)]) -> String {
    let mut query = String::new();
    for (name, value) in pairs {
        if !query.is_empty() {
            query.push('&');
        }
        percent_encode_into(&mut query, name.as_bytes(), false);
        query.push('=');
        percent_encode_into(&mut query, value.as_bytes(), false);
    }
    query
}

/// An answer, with what came of its body.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    /// Whether all bytes came that `Content-Length` promises.
    pub complete: bool,
    /// Whether `100 Continue` came before it.
    pub interim: bool,
}

impl Answer {
    /// A header as text, empty where there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// The ETag without quotes.
    pub fn etag(&self) -> &str {
        self.header("etag")
            .strip_prefix('"')
            .and_then(|etag| etag.strip_suffix('"'))
            .expect("a quoted ETag")
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The text of the first element of that name.
    pub fn element(&self, name: &str) -> String {
        self.elements(name).into_iter().next().unwrap_or_default()
    }

    /// The text of every element of that name.
    pub fn elements(&self, name: &str) -> Vec<String> {
        let (open, close) = (format!("<{name}>"), format!("</{name}>"));
        self.text()
            .split(&open)
            .skip(1)
            .map(|rest| {
                let text = rest.split(&close).next().unwrap_or_default();
                text.replace("&quot;", "\"")
                    .replace("&apos;", "'")
                    .replace("&lt;", "<")
                    .replace("&gt;", ">")
                    .replace("&amp;", "&")
            })
            .collect()
    }

    /// The code of an error document.
    pub fn code(&self) -> String {
        self.element("Code")
    }

    pub fn request_id(&self) -> &str {
        self.header("x-amz-request-id")
    }
}

/// A connection to the gateway.
pub struct Connection {
    read: OwnedReadHalf,
    write: Option<OwnedWriteHalf>,
    buffer: Vec<u8>,
}

impl Connection {
    pub async fn open(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).await.unwrap();
        socket.set_nodelay(true).unwrap();
        let (read, write) = socket.into_split();
        Self {
            read,
            write: Some(write),
            buffer: Vec::new(),
        }
    }

    /// Sends a whole request and reads its answer, side by side: an answer may come early.
    pub async fn exchange(&mut self, ask: &Ask, address: SocketAddr) -> Answer {
        let (head, body) = ask.encode(address);
        let mut write = self.write.take().unwrap();
        let send = async move {
            let _ = write.write_all(&head).await;
            // A refusal may close the connection while the body is still going out.
            let _ = write.write_all(&body).await;
            write
        };
        let (write, answer) = tokio::join!(send, self.answer(&ask.method));
        self.write = Some(write);
        answer
    }

    /// Sends some bytes. The other side may be gone.
    pub async fn write(&mut self, bytes: &[u8]) {
        let _ = self.write.as_mut().unwrap().write_all(bytes).await;
    }

    /// Says that nothing more will come.
    pub async fn finish_writing(&mut self) {
        let _ = self.write.take().unwrap().shutdown().await;
    }

    /// Reads more; false at the end.
    async fn fill(&mut self) -> bool {
        let mut chunk = [0; 65_536];
        match self.read.read(&mut chunk).await {
            Ok(0) | Err(_) => false,
            Ok(n) => {
                self.buffer.extend_from_slice(&chunk[..n]);
                true
            }
        }
    }

    /// Reads the head of the next answer, interim ones included; nothing where the connection ends.
    pub async fn head(&mut self) -> Option<(StatusCode, HeaderMap)> {
        loop {
            let end = self.buffer.windows(4).position(|four| four == b"\r\n\r\n");
            if let Some(end) = end {
                let rest = self.buffer.split_off(end + 4);
                let head = std::mem::replace(&mut self.buffer, rest);
                return Some(parse_head(std::str::from_utf8(&head).unwrap()));
            }
            if !self.fill().await {
                return None;
            }
        }
    }

    /// Reads the final answer to a request of that method.
    pub async fn answer(&mut self, method: &Method) -> Answer {
        self.try_answer(method).await.expect("an answer")
    }

    /// The same; nothing where the connection ends before there is one.
    pub async fn try_answer(&mut self, method: &Method) -> Option<Answer> {
        let mut interim = false;
        let (status, headers) = loop {
            let (status, headers) = self.head().await?;
            if status.is_informational() {
                interim = true;
            } else {
                break (status, headers);
            }
        };
        let bodiless = *method == Method::HEAD || matches!(status.as_u16(), 204 | 304);
        let length: usize = match headers.get(CONTENT_LENGTH) {
            _ if bodiless => 0,
            Some(length) => length.to_str().unwrap().parse().unwrap(),
            // Of the gateway's answers only those begin without knowing how they end that take long.
            None => {
                assert_eq!(
                    headers["transfer-encoding"], "chunked",
                    "{status} {headers:?}"
                );
                let (body, complete) = self.chunks().await;
                return Some(Answer {
                    status,
                    headers,
                    body,
                    complete,
                    interim,
                });
            }
        };
        while self.buffer.len() < length && self.fill().await {}
        let complete = self.buffer.len() >= length;
        let rest = self.buffer.split_off(length.min(self.buffer.len()));
        let body = std::mem::replace(&mut self.buffer, rest);
        Some(Answer {
            status,
            headers,
            body,
            complete,
            interim,
        })
    }

    /// A body in chunks, and whether its end came.
    async fn chunks(&mut self) -> (Vec<u8>, bool) {
        let mut body = Vec::new();
        loop {
            let line = loop {
                if let Some(end) = self.buffer.windows(2).position(|two| two == b"\r\n") {
                    break self.buffer.drain(..end + 2).collect::<Vec<u8>>();
                }
                if !self.fill().await {
                    return (body, false);
                }
            };
            let size = std::str::from_utf8(&line).unwrap().trim_end();
            let size = usize::from_str_radix(size, 16).unwrap();
            while self.buffer.len() < size + 2 {
                if !self.fill().await {
                    return (body, false);
                }
            }
            body.extend(self.buffer.drain(..size));
            self.buffer.drain(..2);
            if size == 0 {
                return (body, true);
            }
        }
    }

    /// What comes until the connection ends.
    pub async fn rest(&mut self) -> Vec<u8> {
        while self.fill().await {}
        std::mem::take(&mut self.buffer)
    }
}

pub(super) fn parse_head(head: &str) -> (StatusCode, HeaderMap) {
    let mut lines = head.trim_end().split("\r\n");
    let status = lines
        .next()
        .and_then(|line| line.split(' ').nth(1)?.parse().ok())
        .expect("a status line");
    (status, parse_headers(lines))
}

pub(super) fn parse_headers<'a>(lines: impl Iterator<Item = &'a str>) -> HeaderMap {
    lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| {
            (
                name.parse::<HeaderName>().unwrap(),
                HeaderValue::from_bytes(value.trim().as_bytes()).unwrap(),
            )
        })
        .collect()
}
