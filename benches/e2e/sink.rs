//! A store that costs next to nothing: just enough S3 for the gateway, no authentication.
//!
//! `PUT` throws the body away, unless the key begins with `keep/` or is one of the gateway's own: then `GET` (with
//! ranges and `If-Match`) and `HEAD` give it back with the headers it came with, from memory, or from a file where
//! it is long. Of parts of uploads only the beginning is kept, and zeros stand for the rest. Objects under `made/` are
//! there without having been put: see `made.rs`. `GET /-/log` tells what was asked since it was asked itself. Never for
//! anything but measuring.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use sealgate::keys::Keyring;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::http::{Head, Stream, Wire};
use crate::load::Pace;
use crate::made::{Made, Recipe};
use crate::objects::{Object, Stored, Upload, listing, part_list, resolve, value};

/// Longest body kept in memory.
const MEMORY: u64 = 5 << 28;
/// What is kept of a part.
const KEPT: usize = 2 << 20;
/// Lines of the log.
const LOG: usize = 100_000;

/// The store.
pub struct Sink {
    folder: PathBuf,
    rate: u64,
    keyring: Option<Keyring>,
    numbers: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Arc<Object>>,
    uploads: HashMap<String, Upload>,
    /// `None` until somebody asks for it.
    log: Option<Vec<String>>,
}

/// An answer: status line and headers, and a part of an object or a document.
struct Answer {
    status: &'static str,
    headers: String,
    body: Body,
}

enum Body {
    Text(String),
    /// From, to, and whether the head is all that was asked for.
    Part(Arc<Object>, u64, u64, bool),
}

impl Answer {
    fn empty(status: &'static str) -> Self {
        Self::text(status, String::new())
    }

    fn text(status: &'static str, text: String) -> Self {
        Self {
            status,
            headers: String::new(),
            body: Body::Text(text),
        }
    }

    fn etag(mut self, etag: &str) -> Self {
        let _ = write!(self.headers, "etag: {etag}\r\n");
        self
    }
}

impl Sink {
    /// A store that keeps what it keeps in `folder`, which must exist, and takes at most `rate` bytes a
    /// second from each connection; 0 is no limit. With a keyring it makes up objects under `made/`.
    pub fn new(folder: PathBuf, rate: u64, keyring: Option<Keyring>) -> Arc<Self> {
        Arc::new(Self {
            folder,
            rate,
            keyring,
            numbers: AtomicU64::new(1),
            state: Mutex::default(),
        })
    }

    /// Answers connections until the process ends.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, tls: Option<TlsAcceptor>) {
        loop {
            let (socket, _) = listener.accept().await.expect("accept");
            let _ = socket.set_nodelay(true);
            let sink = Arc::clone(&self);
            let tls = tls.clone();
            tokio::spawn(async move {
                let stream: Box<dyn Stream> = match tls {
                    None => Box::new(socket),
                    Some(tls) => match tls.accept(socket).await {
                        Ok(stream) => Box::new(stream),
                        Err(_) => return,
                    },
                };
                // A broken connection is the other side's to report.
                let _ = sink.connection(Wire::new(stream)).await;
            });
        }
    }

    async fn connection(&self, mut wire: Wire) -> io::Result<()> {
        while let Some(head) = wire.head().await? {
            let answer = self.answer(&head, &mut wire).await?;
            let length = match &answer.body {
                Body::Text(text) => text.len() as u64,
                Body::Part(_, from, to, _) => to - from,
            };
            let head = format!(
                "HTTP/1.1 {}\r\ncontent-length: {length}\r\n{}\r\n",
                answer.status, answer.headers
            );
            match answer.body {
                Body::Text(text) => {
                    wire.send(head.as_bytes(), &[Bytes::from(text)], |_| {})
                        .await?;
                }
                Body::Part(_, _, _, true) => wire.send(head.as_bytes(), &[], |_| {}).await?,
                Body::Part(object, mut from, to, false) => {
                    let mut head = head.as_bytes();
                    while from < to || !head.is_empty() {
                        let data = object.stored.read(from, to - from)?;
                        from += data.len() as u64;
                        wire.send(head, &[data], |_| {}).await?;
                        head = b"";
                    }
                }
            }
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(&self, head: &Head, wire: &mut Wire) -> io::Result<Answer> {
        let mut words = head.start().split(' ');
        let method = words.next().unwrap_or_default();
        let target = words.next().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        if path == "/-/log" {
            let lines = self.state().log.replace(Vec::new()).unwrap_or_default();
            return Ok(Answer::text("200 OK", lines.join("\n")));
        }
        if let Some(log) = self.state().log.as_mut().filter(|log| log.len() < LOG) {
            log.push(format!(
                "{method} {target} {}",
                head.header("range").unwrap_or("-")
            ));
        }
        let upload = value(query, "uploadId");
        let of_bucket = !path.trim_matches('/').contains('/');
        match (method, upload) {
            ("PUT", Some(id)) => self.part(id, query, head, wire).await,
            ("PUT", None) => self.put(path, head, wire).await,
            ("POST", Some(id)) => {
                let document = wire.whole(head.length()).await?;
                Ok(self.complete(path, id, &String::from_utf8_lossy(&document)))
            }
            ("POST", None) if query.starts_with("uploads") => {
                wire.whole(head.length()).await?;
                Ok(self.create(head))
            }
            ("GET", Some(id)) => Ok(match self.state().uploads.get(id) {
                Some(upload) => Answer::text("200 OK", part_list(upload, query)),
                None => Answer::empty("404 Not Found"),
            }),
            ("DELETE", Some(id)) => {
                self.state().uploads.remove(id);
                Ok(Answer::empty("204 No Content"))
            }
            ("DELETE", None) => {
                self.state().objects.remove(path);
                Ok(Answer::empty("204 No Content"))
            }
            ("GET", None) if path == "/" => Ok(Answer::empty("200 OK").etag("0")),
            ("GET", None) if of_bucket => Ok(Answer::text(
                "200 OK",
                listing(&self.state().objects, path, query),
            )),
            ("HEAD", None) if of_bucket => Ok(Answer::empty("200 OK")),
            ("GET" | "HEAD", None) => Ok(self.get(path, head, method == "HEAD").await),
            _ => Ok(Answer::empty("501 Not Implemented")),
        }
    }

    fn etag(&self) -> String {
        format!("\"{:032x}\"", self.numbers.fetch_add(1, Ordering::Relaxed))
    }

    async fn put(&self, path: &str, head: &Head, wire: &mut Wire) -> io::Result<Answer> {
        let etag = self.etag();
        let length = head.length();
        let stored = if !(path.contains("/keep/") || path.contains("/~sealgate/")) {
            self.take(wire, length, |_| Ok(())).await?;
            None
        } else if length <= MEMORY {
            let mut body = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
            self.take(wire, length, |data| {
                body.extend_from_slice(data);
                Ok(())
            })
            .await?;
            Some(Stored::Memory(body.into()))
        } else {
            let path = self
                .folder
                .join(format!("{}.object", etag.trim_matches('"')));
            let mut options = File::options();
            let file = options
                .read(true)
                .write(true)
                .create_new(true)
                .open(&path)?;
            // It lives as long as it is open: nothing is left behind, however this process ends.
            std::fs::remove_file(&path)?;
            let mut at = 0;
            self.take(wire, length, |data| {
                at += data.len() as u64;
                file.write_all_at(data, at - data.len() as u64)
            })
            .await?;
            Some(Stored::File(file, length))
        };
        if let Some(stored) = stored {
            let object = Object::new(stored, etag.clone(), head);
            self.state()
                .objects
                .insert(path.to_owned(), Arc::new(object));
        }
        Ok(Answer::empty("200 OK").etag(&etag))
    }

    /// Reads a body at the pace of this store.
    async fn take(
        &self,
        wire: &mut Wire,
        length: u64,
        mut each: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let pace = Pace::new(self.rate);
        let mut seen = 0;
        let mut result = Ok(());
        while seen < length {
            let n = wire
                .some(length - seen, &mut |data| {
                    if result.is_ok() {
                        result = each(data);
                    }
                })
                .await?;
            seen += n as u64;
            pace.wait(seen).await;
        }
        result
    }

    fn create(&self, head: &Head) -> Answer {
        let id = format!("u{}", self.numbers.fetch_add(1, Ordering::Relaxed));
        let document = format!(
            "<InitiateMultipartUploadResult><Bucket>b</Bucket><Key>k</Key><UploadId>{id}</UploadId>\
             </InitiateMultipartUploadResult>"
        );
        let upload = Upload::new(Object::kept_headers(head));
        self.state().uploads.insert(id, upload);
        Answer::text("200 OK", document)
    }

    async fn part(
        &self,
        id: &str,
        query: &str,
        head: &Head,
        wire: &mut Wire,
    ) -> io::Result<Answer> {
        let etag = self.etag();
        let length = head.length();
        let mut kept = Vec::new();
        self.take(wire, length, |data| {
            kept.extend_from_slice(&data[..data.len().min(KEPT - kept.len())]);
            Ok(())
        })
        .await?;
        kept.shrink_to_fit();
        let number = value(query, "partNumber").and_then(|number| number.parse().ok());
        match self.state().uploads.get_mut(id).zip(number) {
            Some((upload, number)) => upload.insert(number, length, kept.into(), etag.clone()),
            None => return Ok(Answer::empty("404 Not Found")),
        }
        Ok(Answer::empty("200 OK").etag(&etag))
    }

    fn complete(&self, path: &str, id: &str, document: &str) -> Answer {
        let mut state = self.state();
        let Some(upload) = state.uploads.remove(id) else {
            return Answer::empty("404 Not Found");
        };
        let object = upload.complete(document, self.numbers.fetch_add(1, Ordering::Relaxed));
        let etag = object.etag.clone();
        state.objects.insert(path.to_owned(), Arc::new(object));
        let text = format!(
            "<CompleteMultipartUploadResult><Location>l</Location><Bucket>b</Bucket><Key>k</Key>\
             <ETag>{etag}</ETag></CompleteMultipartUploadResult>"
        );
        Answer::text("200 OK", text)
    }

    /// An object that is kept, or one that is made up now and kept from then on.
    async fn find(&self, path: &str) -> Option<Arc<Object>> {
        if let Some(object) = self.state().objects.get(path) {
            return Some(Arc::clone(object));
        }
        let (bucket, key, recipe) = Recipe::of(path)?;
        let made = Made::new(self.keyring.as_ref()?, bucket, key, recipe).await;
        let object = Arc::new(Object {
            etag: self.etag(),
            headers: made.headers.clone(),
            stored: Stored::Made(made),
        });
        let mut state = self.state();
        Some(Arc::clone(
            state.objects.entry(path.to_owned()).or_insert(object),
        ))
    }

    async fn get(&self, path: &str, asked: &Head, head_only: bool) -> Answer {
        let Some(object) = self.find(path).await else {
            return Answer::empty("404 Not Found");
        };
        if asked
            .header("if-match")
            .is_some_and(|value| value != object.etag)
        {
            return Answer::empty("412 Precondition Failed");
        }
        let length = object.stored.length();
        let mut headers = object.headers.clone();
        let _ = write!(headers, "accept-ranges: bytes\r\netag: {}\r\n", object.etag);
        let range = asked
            .header("range")
            .and_then(|value| resolve(value, length));
        let (status, from, to) = match range {
            Some((from, to)) => {
                let last = to.saturating_sub(1);
                let _ = write!(headers, "content-range: bytes {from}-{last}/{length}\r\n");
                ("206 Partial Content", from, to)
            }
            None => ("200 OK", 0, length),
        };
        Answer {
            status,
            headers,
            body: Body::Part(object, from, to, head_only),
        }
    }
}
