//! A store that costs next to nothing: just enough S3 for the gateway, no authentication.
//!
//! `PUT` throws the body away, unless the key begins with `keep/`: then it goes to a file, and `GET` (with
//! ranges and `If-Match`) and `HEAD` give it back with the headers it came with. Never for anything but
//! measuring.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, ETAG, IF_MATCH, RANGE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Either, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::load::Pace;

/// Bytes read from a file at once.
const READ: u64 = 256 * 1024;

type Answer = Response<Either<Full<Bytes>, FileBody>>;

/// The store.
pub struct Sink {
    folder: PathBuf,
    rate: u64,
    etags: AtomicU64,
    objects: Mutex<HashMap<String, Object>>,
}

#[derive(Clone)]
struct Object {
    file: Arc<File>,
    len: u64,
    etag: String,
    headers: HeaderMap,
}

impl Sink {
    /// A store that keeps what it keeps in `folder`, which must exist, and takes at most `rate` bytes a
    /// second from each connection; 0 is no limit.
    pub fn new(folder: PathBuf, rate: u64) -> Arc<Self> {
        Arc::new(Self {
            folder,
            rate,
            etags: AtomicU64::new(1),
            objects: Mutex::default(),
        })
    }

    /// Answers connections until the process ends.
    pub async fn serve(self: Arc<Self>, listener: TcpListener) {
        loop {
            let (socket, _) = listener.accept().await.expect("accept");
            let _ = socket.set_nodelay(true);
            let sink = Arc::clone(&self);
            tokio::spawn(async move {
                let service = service_fn(move |request| {
                    let sink = Arc::clone(&sink);
                    async move { sink.answer(request).await }
                });
                // A broken connection is the other side's to report.
                let _ = http1::Builder::new()
                    .serve_connection(TokioIo::new(socket), service)
                    .await;
            });
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> io::Result<Answer> {
        let (head, body) = request.into_parts();
        let key = head.uri.path();
        match head.method {
            Method::PUT => self.put(key, &head.headers, body).await,
            Method::GET if key == "/" => {
                Ok(empty(StatusCode::OK, [(ETAG, HeaderValue::from(0u64))]))
            }
            Method::GET | Method::HEAD => self.get(key, &head.headers, head.method == Method::HEAD),
            _ => Ok(empty(StatusCode::NOT_IMPLEMENTED, [])),
        }
    }

    async fn put(&self, key: &str, headers: &HeaderMap, mut body: Incoming) -> io::Result<Answer> {
        let number = self.etags.fetch_add(1, Ordering::Relaxed);
        let etag = format!("\"{number:032x}\"");
        let file = if key.contains("/keep/") {
            let path = self.folder.join(format!("{number}.object"));
            let file = File::options()
                .read(true)
                .write(true)
                .create_new(true)
                .open(&path)?;
            // It lives as long as it is open: nothing is left behind, however this process ends.
            std::fs::remove_file(&path)?;
            Some(file)
        } else {
            None
        };
        let mut len = 0;
        let pace = Pace::new(self.rate);
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame.map_err(io::Error::other)?.into_data() {
                if let Some(file) = &file {
                    file.write_all_at(&data, len)?;
                }
                len += data.len() as u64;
                pace.wait(len).await;
            }
        }
        if let Some(file) = file {
            let headers = headers
                .iter()
                .filter(|(name, _)| {
                    name.as_str().starts_with("x-amz-meta-") || *name == http::header::CONTENT_TYPE
                })
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect();
            let object = Object {
                file: Arc::new(file),
                len,
                etag: etag.clone(),
                headers,
            };
            self.objects
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(key.to_owned(), object);
        }
        let etag = HeaderValue::from_str(&etag).map_err(io::Error::other)?;
        Ok(empty(StatusCode::OK, [(ETAG, etag)]))
    }

    fn get(&self, key: &str, asked: &HeaderMap, head_only: bool) -> io::Result<Answer> {
        let object = self
            .objects
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(key)
            .cloned();
        let Some(object) = object else {
            return Ok(empty(StatusCode::NOT_FOUND, []));
        };
        if asked
            .get(IF_MATCH)
            .is_some_and(|value| value.as_bytes() != object.etag.as_bytes())
        {
            return Ok(empty(StatusCode::PRECONDITION_FAILED, []));
        }
        let range = asked
            .get(RANGE)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| resolve(value, object.len));
        let (status, from, to) = match range {
            Some((from, to)) => (StatusCode::PARTIAL_CONTENT, from, to),
            None => (StatusCode::OK, 0, object.len),
        };
        let body = if head_only {
            Either::Left(Full::default())
        } else {
            Either::Right(FileBody {
                file: object.file,
                at: from,
                end: to,
                buffer: BytesMut::new(),
            })
        };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        let headers = response.headers_mut();
        *headers = object.headers;
        headers.insert(CONTENT_LENGTH, HeaderValue::from(to - from));
        headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        headers.insert(
            ETAG,
            HeaderValue::from_str(&object.etag).map_err(io::Error::other)?,
        );
        if status == StatusCode::PARTIAL_CONTENT {
            let value = format!("bytes {from}-{}/{}", to.saturating_sub(1), object.len);
            headers.insert(
                CONTENT_RANGE,
                HeaderValue::from_str(&value).map_err(io::Error::other)?,
            );
        }
        Ok(response)
    }
}

fn empty<const N: usize>(status: StatusCode, headers: [(HeaderName, HeaderValue); N]) -> Answer {
    let mut response = Response::new(Either::Left(Full::default()));
    *response.status_mut() = status;
    response.headers_mut().extend(headers);
    response
}

/// `bytes=a-b`, `bytes=a-` and `bytes=-n` as a half-open range; anything else is no range.
fn resolve(value: &str, len: u64) -> Option<(u64, u64)> {
    let (first, last) = value.strip_prefix("bytes=")?.split_once('-')?;
    match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) if first <= last && first < len => {
            Some((first, len.min(last.saturating_add(1))))
        }
        (Ok(first), Err(_)) if last.is_empty() && first < len => Some((first, len)),
        (Err(_), Ok(suffix)) if first.is_empty() => Some((len.saturating_sub(suffix), len)),
        _ => None,
    }
}

/// A part of a file, read as it is sent. What is measured is in the page cache, so reads do not block.
struct FileBody {
    file: Arc<File>,
    at: u64,
    end: u64,
    buffer: BytesMut,
}

impl Body for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let n = READ.min(self.end - self.at);
        if n == 0 {
            return Poll::Ready(None);
        }
        let this = &mut *self;
        this.buffer.resize(usize::try_from(n).unwrap_or(0), 0);
        let read = this.file.read_exact_at(&mut this.buffer, this.at);
        this.at += n;
        let data = this.buffer.split().freeze();
        Poll::Ready(Some(read.map(|()| Frame::data(data))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.end - self.at)
    }
}
