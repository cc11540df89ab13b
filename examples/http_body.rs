//! Seals what goes out over HTTP and opens what comes back, with [`SealBody`] and [`OpenBody`] around
//! the bodies of hyper. Needs nothing: a small store runs in the same process.
//!
//! ```text
//! cargo run --example http_body
//! ```

use std::convert::Infallible;
use std::error::Error;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, RANGE};
use http::{Method, Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use sealgate::aead::{
    Dek, Engine, Etag, FOOTER_LEN, Footer, ObjectId, Role, SegmentSize, StreamHeader,
};
use sealgate::gateway::entropy;
use sealgate::protocol::checksum::{Expected, Hashes};
use sealgate::protocol::range::RangeSpec;
use sealgate::pump::{
    Begin, BodyError, BoxBody, End, FooterSource, OpenBody, Plan, SealBody, Sealing, Stream,
    Verification, VerifyBody,
};
use tokio::net::{TcpListener, TcpStream};

type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

#[tokio::main]
async fn main() -> Result<()> {
    for line in round_trip(1_000_000).await? {
        println!("{line}");
    }
    Ok(())
}

/// Seals a body of this length on its way to the store, and opens it on its way back: whole, in part,
/// and after the store has changed a byte. Says what it saw.
pub async fn round_trip(plaintext_len: usize) -> Result<Vec<String>> {
    let store = TinyStore::start().await?;
    let plaintext = pattern(plaintext_len);
    let secrets = Secrets {
        dek: Dek::new(random()?),
        object_id: ObjectId(random()?),
    };
    let mut seen = Vec::new();

    let stored_len = upload(&store, &secrets, plaintext.clone()).await?;
    seen.push(format!(
        "{plaintext_len} bytes are {stored_len} in the store"
    ));

    let whole = 0..plaintext_len as u64;
    let back = download(&store, &secrets, stored_len, whole.clone()).await?;
    if back != plaintext {
        return Err("something else came back".into());
    }
    seen.push(format!("all {plaintext_len} bytes came back"));

    let middle = plaintext_len as u64 / 3..plaintext_len as u64 / 2;
    let back = download(&store, &secrets, stored_len, middle.clone()).await?;
    if back != plaintext[middle.start as usize..middle.end as usize] {
        return Err("another part came back".into());
    }
    seen.push(format!("and so did bytes {middle:?} alone"));

    store.flip_a_byte(stored_len as usize / 2);
    match download(&store, &secrets, stored_len, whole).await {
        Ok(_) => return Err("a changed byte went unnoticed".into()),
        Err(error) => seen.push(format!("after the store changed a byte: {error}")),
    }
    Ok(seen)
}

/// What opens the object. The gateway keeps both in the envelope, the key wrapped.
struct Secrets {
    dek: Dek,
    object_id: ObjectId,
}

/// Sends a plaintext body, sealed. Returns the length that the object has in the store.
async fn upload(store: &TinyStore, secrets: &Secrets, plaintext: Vec<u8>) -> Result<u64> {
    let sealing = Sealing {
        engine: Engine::default(),
        dek: secrets.dek.clone(),
        object_id: secrets.object_id,
        segment_size: SegmentSize::GATEWAY,
        plaintext_len: plaintext.len() as u64,
        envelope: Vec::new(),
        header: StreamHeader {
            salt: random()?,
            nonce_prefix: random()?,
        },
        footer_nonce: random()?,
    };
    let stored_len = sealing.layout()?.stored_len();

    // Any body does, in frames of any length. VerifyBody computes its MD5 as it passes.
    let verification = Verification {
        decoder: None,
        hashes: Hashes::new(true, false, None),
        expected: Expected::default(),
        length: Some(plaintext.len() as u64),
    };
    let body = VerifyBody::new(in_frames(plaintext, 10_000), verification);
    let finished = body.finished();
    let sealed = SealBody::new(sealing, body, move || {
        let digests = finished.digests();
        let md5 = digests.and_then(|digests| digests.md5);
        Ok(FooterSource {
            etag: md5.map_or(Etag::None, Etag::Md5),
            checksum: None,
        })
    })?;

    let request = Request::put("/object").body(sealed)?;
    let answer = store.send(request).await?;
    if answer.status() != StatusCode::OK {
        return Err(format!("the store answered {}", answer.status()).into());
    }
    Ok(stored_len)
}

/// Fetches the segments that hold these plaintext bytes, and opens them.
async fn download(
    store: &TinyStore,
    secrets: &Secrets,
    stored_len: u64,
    wanted: Range<u64>,
) -> Result<Vec<u8>> {
    // The footer says what the object is.
    let engine = Engine::default();
    let tail = store
        .get(stored_len - FOOTER_LEN as u64..stored_len)
        .await?;
    let tail: [u8; FOOTER_LEN] = (&*tail.collect().await?.to_bytes()).try_into()?;
    let footer = Footer::open(engine, &secrets.dek, &secrets.object_id, &tail)?;
    let layout = footer.layout(stored_len)?;

    // All of it is read from end to end, which checks the preamble too; a part only by its segments.
    let (begin, end, range) = if wanted == (0..layout.plaintext_len()) {
        let (table, footer) = (None, Box::new(tail));
        let end = End::Object { table, footer };
        (Begin::Preamble, end, 0..stored_len)
    } else {
        let segments = layout.segments_of(wanted.clone());
        let (first, last) = (segments.start, segments.end - 1);
        let range = layout.stored_range(segments);
        (Begin::Segment(first), End::Segment(last), range)
    };
    let stream = Stream {
        role: Role::Single,
        plaintext_len: footer.plaintext_len,
        declared: footer.core_plaintext_len.is_some(),
        header: Some(footer.header),
    };
    let plan = Plan {
        engine,
        dek: secrets.dek.clone(),
        object_id: secrets.object_id,
        segment_size: footer.segment_size,
        streams: vec![stream],
        begin,
        end,
        preamble_digest: footer.preamble_digest,
        start: wanted.start,
        len: wanted.end - wanted.start,
    };
    let body = store.get(range).await?;
    let mut opened = OpenBody::new(body, plan);
    let mut plaintext = Vec::new();
    while let Some(frame) = opened.frame().await {
        if let Ok(data) = frame?.into_data() {
            plaintext.extend_from_slice(&data);
        }
    }
    Ok(plaintext)
}

/// One object over HTTP: PUT, and GET with a range.
struct TinyStore {
    address: std::net::SocketAddr,
    object: Arc<Mutex<Vec<u8>>>,
}

impl TinyStore {
    async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let object = Arc::new(Mutex::new(Vec::new()));
        let shared = object.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = shared.clone();
                let service = service_fn(move |request| answer(shared.clone(), request));
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                tokio::spawn(connection);
            }
        });
        Ok(Self { address, object })
    }

    async fn send<B>(&self, request: Request<B>) -> Result<Response<Incoming>>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let stream = TcpStream::connect(self.address).await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender.send_request(request).await?)
    }

    /// Stored bytes as a body that the pump takes.
    async fn get(&self, range: Range<u64>) -> Result<BoxBody> {
        let request = Request::get("/object")
            .header(RANGE, format!("bytes={}-{}", range.start, range.end - 1))
            .body(http_body_util::Empty::<Bytes>::new())?;
        let answer = self.send(request).await?;
        let body = answer
            .into_body()
            .map_err(|error| BodyError::Store(error.to_string()));
        Ok(body.boxed())
    }

    fn flip_a_byte(&self, at: usize) {
        if let Ok(mut object) = self.object.lock() {
            object[at] ^= 1;
        }
    }
}

async fn answer(
    object: Arc<Mutex<Vec<u8>>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let refused = |status| {
        let mut response = Response::new(Full::default());
        *response.status_mut() = status;
        Ok(response)
    };
    if request.method() == Method::PUT {
        // A sealed body tells its length, so no chunked encoding, which stores do not take.
        let declared = request.headers().get(CONTENT_LENGTH).cloned();
        let Ok(body) = request.into_body().collect().await else {
            return refused(StatusCode::BAD_REQUEST);
        };
        let body = body.to_bytes();
        if declared.is_none_or(|declared| declared != body.len().to_string()) {
            return refused(StatusCode::LENGTH_REQUIRED);
        }
        *object
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner()) = body.to_vec();
        return Ok(Response::new(Full::default()));
    }
    let object = object
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    let range = request.headers().get(RANGE).and_then(|v| v.to_str().ok());
    let range = range.and_then(RangeSpec::parse);
    let range = range.and_then(|spec| spec.resolve(object.len() as u64).ok());
    match range.flatten() {
        Some(range) => {
            let bytes = &object[range.first() as usize..=range.last() as usize];
            Ok(Response::new(Full::from(bytes.to_vec())))
        }
        None => refused(StatusCode::RANGE_NOT_SATISFIABLE),
    }
}

fn in_frames(
    bytes: Vec<u8>,
    frame: usize,
) -> impl Body<Data = Bytes, Error = BodyError> + Send + Sync {
    let bytes = Bytes::from(bytes);
    let starts = (0..bytes.len()).step_by(frame);
    let frames =
        starts.map(move |at| Ok(Frame::data(bytes.slice(at..bytes.len().min(at + frame)))));
    StreamBody::new(futures::stream::iter(frames))
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len)
        .map(|i| (i * 131 + (i >> 8) * 17 + 7) as u8)
        .collect()
}

fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    if entropy(&mut bytes) {
        Ok(bytes)
    } else {
        Err("the operating system gives no randomness".into())
    }
}
