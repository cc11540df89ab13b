//! Where the checks write: a bucket, a prefix of their own, the few requests they are made of, and the clean-up.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, ETAG, HeaderName, HeaderValue};
use http::{HeaderMap, Method, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::sync::OnceCell;
use tokio::time::Sleep;

use super::document::{self, Listed};
use super::{CheckError, brief, multipart, printable};
use crate::gateway;
use crate::protocol::uri;
use crate::pump::{self, BodyError, BoxBody};
use crate::store::{Request, Response, Store, StoreError};

/// How long a body that will break off waits with its last byte, so that all others reach the store.
const PAUSE: Duration = Duration::from_millis(300);

/// How long a store gets to make up its mind about a body that broke off.
const SETTLE: Duration = Duration::from_millis(700);

/// Longest body that a check reads.
const MAX_READ: u64 = 16 * 1024 * 1024;

/// Rounds of listing and deleting before clean-up gives up.
const CLEAN_UP_ROUNDS: usize = 20;

/// A bucket and a prefix to write under.
pub struct Place {
    store: Store,
    bucket: String,
    own: bool,
    prefix: String,
    /// What the multipart checks share: it takes an upload of 5 MiB.
    pub multipart: OnceCell<multipart::Upload>,
}

/// An object as it was read.
pub struct Object {
    pub headers: HeaderMap,
    pub status: StatusCode,
    pub body: Bytes,
}

impl Object {
    /// A header as text; empty where there is none.
    pub fn text(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    /// The ETag as it stands.
    pub fn etag(&self) -> &str {
        self.text(ETAG.as_str())
    }
}

impl Place {
    /// Finds or makes the bucket.
    pub async fn prepare(
        store: &Store,
        region: &str,
        bucket: Option<&str>,
    ) -> Result<Self, CheckError> {
        let mut random = [0u8; 8];
        if !gateway::entropy(&mut random) {
            return Err(CheckError::Entropy);
        }
        let name = format!("sealgate-check-{:016x}", u64::from_be_bytes(random));
        let place = |bucket: &str, own| Self {
            store: store.clone(),
            bucket: bucket.to_owned(),
            own,
            prefix: format!("{name}/"),
            multipart: OnceCell::new(),
        };
        if let Some(bucket) = bucket {
            let asked = store
                .send(
                    "ListObjects",
                    Request::bucket(Method::GET, bucket).query("max-keys", "1"),
                )
                .await;
            return match asked {
                Ok(answer) => {
                    drop(answer);
                    Ok(place(bucket, false))
                }
                Err(error) => Err(explain(
                    error,
                    &format!("the bucket {bucket} cannot be used"),
                )),
            };
        }
        match create(store, &name, None).await {
            Ok(()) => Ok(place(&name, true)),
            // Amazon wants the region named, others do not take the name.
            Err(StoreError::Status {
                status: StatusCode::BAD_REQUEST,
                ref code,
                ..
            }) if code.contains("Location") => match create(store, &name, Some(region)).await {
                Ok(()) => Ok(place(&name, true)),
                Err(error) => Err(explain(
                    error,
                    "no bucket can be made: name one with --bucket",
                )),
            },
            Err(error) => Err(explain(
                error,
                "no bucket can be made: name one with --bucket",
            )),
        }
    }

    /// Writes and reads one object, so that what is wrong with everything is said once.
    pub async fn try_out(&self) -> Result<(), CheckError> {
        let problem = "objects cannot be written";
        self.put("first", b"first")
            .await
            .map_err(|error| explain(error, problem))?;
        let object = self
            .get("first")
            .await
            .map_err(|error| explain(error, "objects cannot be read"))?;
        if object.body.as_ref() == b"first" {
            Ok(())
        } else {
            Err(CheckError::Unusable(
                "a GET did not return what was PUT".into(),
            ))
        }
    }

    /// The bucket's name.
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// Whether the bucket was made here.
    pub fn is_own(&self) -> bool {
        self.own
    }

    /// The whole key of a name.
    pub fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// A request about the object of this name.
    pub fn request(&self, method: Method, name: &str) -> Request {
        Request::object(method, &self.bucket, &self.key(name))
    }

    /// A request about the bucket.
    pub fn about_bucket(&self, method: Method) -> Request {
        Request::bucket(method, &self.bucket)
    }

    /// Sends, and leaves the body to the caller.
    pub async fn send(&self, request: Request) -> Result<Response, StoreError> {
        self.store.send("CheckStore", request).await
    }

    /// Sends, and reads the answer.
    pub async fn ask(&self, request: Request) -> Result<Object, StoreError> {
        let answer = self.send(request).await?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let mut stream = self.store.stream(answer);
        let mut body = Vec::new();
        while let Some(frame) = stream.frame().await {
            let frame = frame.map_err(|error| StoreError::Unreachable(error.to_string()))?;
            if let Ok(data) = frame.into_data() {
                body.extend_from_slice(&data);
                if body.len() as u64 > MAX_READ {
                    return Err(StoreError::Malformed("answer is too long"));
                }
            }
        }
        Ok(Object {
            headers,
            status,
            body: body.into(),
        })
    }

    /// Writes an object; gives its ETag as the store said it.
    pub async fn put(&self, name: &str, body: &[u8]) -> Result<String, StoreError> {
        self.put_with(name, body, &[]).await
    }

    /// Writes an object with headers.
    pub async fn put_with(
        &self,
        name: &str,
        body: &[u8],
        headers: &[(&str, &str)],
    ) -> Result<String, StoreError> {
        let mut request = self
            .request(Method::PUT, name)
            .body(pump::full(body.to_vec()));
        request.headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("binary/octet-stream"),
        );
        request.headers.extend(header_map(headers)?);
        Ok(self.ask(request).await?.etag().to_owned())
    }

    /// Reads an object whole.
    pub async fn get(&self, name: &str) -> Result<Object, StoreError> {
        self.ask(self.request(Method::GET, name)).await
    }

    /// Whether there is an object.
    pub async fn exists(&self, name: &str) -> Result<bool, StoreError> {
        found(self.ask(self.request(Method::HEAD, name)).await)
    }

    /// Copies an object within the bucket; gives the ETag of the result.
    pub async fn copy(
        &self,
        from: &str,
        to: &str,
        headers: &[(&str, &str)],
    ) -> Result<String, StoreError> {
        let source = uri::encode_path(&self.bucket, &self.key(from));
        let mut request = self
            .request(Method::PUT, to)
            .header("x-amz-copy-source", &source)
            .header("x-amz-metadata-directive", "REPLACE");
        request.headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("binary/octet-stream"),
        );
        request.headers.extend(header_map(headers)?);
        let answer = self.ask(request).await?;
        let copied = document::record(&answer.body, "CopyObjectResult")?;
        Ok(copied.text("ETag").to_owned())
    }

    /// The objects under a name.
    pub async fn list(&self, name: &str) -> Result<Vec<Listed>, StoreError> {
        let request = self
            .about_bucket(Method::GET)
            .query("list-type", "2")
            .query("encoding-type", "url")
            .query("prefix", &self.key(name));
        document::listed(&self.ask(request).await?.body)
    }

    /// All versions under a name.
    pub async fn versions(&self, name: &str) -> Result<Vec<Listed>, StoreError> {
        let request = self
            .about_bucket(Method::GET)
            .query("versions", "")
            .query("encoding-type", "url")
            .query("prefix", &self.key(name));
        document::listed(&self.ask(request).await?.body)
    }

    /// Sends a request whose body of `length` bytes breaks off before its last byte. The answer does not matter,
    /// but for a store that says it has stored the body.
    pub async fn cut_off(&self, request: Request, length: usize) -> Result<(), Response> {
        let sent = self.send(request.body(CutOff::new(length).boxed())).await;
        tokio::time::sleep(SETTLE).await;
        match sent {
            Ok(answer) => Err(answer),
            Err(_) => Ok(()),
        }
    }

    /// Deletes everything that was made. Says what is left.
    pub async fn clean_up(&self) -> Option<String> {
        let mut problem = self.abort_uploads().await.err();
        if let Err(error) = self.delete_all().await {
            problem = Some(error);
        }
        if self.own
            && let Err(error) = self.ask(self.about_bucket(Method::DELETE)).await
        {
            problem = Some(error);
        }
        let what = if self.own {
            String::new()
        } else {
            format!(", prefix {}", self.prefix)
        };
        problem.map(|error| format!("bucket {}{what} ({})", self.bucket, brief(&error)))
    }

    async fn abort_uploads(&self) -> Result<(), StoreError> {
        let request = self
            .about_bucket(Method::GET)
            .query("uploads", "")
            .query("prefix", &self.prefix);
        // Where uploads cannot be listed, the checks have aborted their own.
        let Ok(answer) = self.ask(request).await else {
            return Ok(());
        };
        for (_, upload) in document::records(&answer.body, &["Upload"])? {
            let request = Request::object(Method::DELETE, &self.bucket, upload.text("Key"))
                .query("uploadId", upload.text("UploadId"));
            found(self.ask(request).await)?;
        }
        Ok(())
    }

    /// Versions and delete markers too, where the store has them.
    async fn delete_all(&self) -> Result<(), StoreError> {
        for _ in 0..CLEAN_UP_ROUNDS {
            let left = match self.versions("").await {
                Ok(versions) => versions,
                Err(_) => self.list("").await?,
            };
            // An empty listing of versions is also what a store answers that does not know them.
            let left = if left.is_empty() {
                self.list("").await?
            } else {
                left
            };
            if left.is_empty() {
                return Ok(());
            }
            for object in left {
                let request = Request::object(Method::DELETE, &self.bucket, &object.key);
                let version = object.version.as_deref();
                if found(self.ask(request.version(version)).await).is_err() {
                    // Some list versions that they do not take back.
                    let request = Request::object(Method::DELETE, &self.bucket, &object.key);
                    found(self.ask(request).await)?;
                }
            }
        }
        Err(StoreError::Malformed(
            "objects come back after they were deleted",
        ))
    }
}

/// Whether the answer is about something that is there.
pub fn found(answer: Result<Object, StoreError>) -> Result<bool, StoreError> {
    match answer {
        Ok(_) => Ok(true),
        Err(error) if error.status() == Some(StatusCode::NOT_FOUND) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Headers from text, which may be UTF-8.
fn header_map(headers: &[(&str, &str)]) -> Result<HeaderMap, StoreError> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let name: HeaderName = name
            .parse()
            .map_err(|_| StoreError::Request("header name".into()))?;
        let value = HeaderValue::from_bytes(value.as_bytes())
            .map_err(|_| StoreError::Request("header value".into()))?;
        map.insert(name, value);
    }
    Ok(map)
}

async fn create(store: &Store, bucket: &str, region: Option<&str>) -> Result<(), StoreError> {
    let mut request = Request::bucket(Method::PUT, bucket);
    if let Some(region) = region {
        request = request.body(pump::full(document::create_bucket(region)));
    }
    let answer = store.send("CheckStore", request).await?;
    store.document(answer).await.map(drop)
}

/// What stands in the way of asking anything.
fn explain(error: StoreError, otherwise: &str) -> CheckError {
    let answer = brief(&error);
    let credentials = |advice| CheckError::Credentials {
        advice,
        answer: answer.clone(),
    };
    match &error {
        StoreError::Unreachable(why) => CheckError::Unreachable(printable(why, 300)),
        StoreError::Timeout => CheckError::Unreachable("no answer in time".into()),
        StoreError::Status { code, .. } => match code.as_str() {
            "InvalidAccessKeyId" | "NotSignedUp" => {
                credentials("it does not know store.access_key")
            }
            "SignatureDoesNotMatch" => {
                credentials("store.secret_key does not belong to store.access_key")
            }
            "AuthorizationHeaderMalformed" => {
                credentials("store.region is probably not the store's")
            }
            "RequestTimeTooSkewed" => {
                credentials("the clocks of this machine and of the store differ")
            }
            "NoSuchBucket" => CheckError::Bucket {
                problem: "there is no such bucket".into(),
                answer,
            },
            "AccessDenied" => CheckError::Bucket {
                problem: format!("{otherwise}; store.access_key may not do that"),
                answer,
            },
            _ => CheckError::Bucket {
                problem: otherwise.to_owned(),
                answer,
            },
        },
        other => CheckError::Unusable(format!(
            "{otherwise}: {}",
            printable(&other.to_string(), 300)
        )),
    }
}

/// A body that promises more than it has: all but the last byte, a pause, an error.
struct CutOff {
    length: u64,
    data: Option<Bytes>,
    pause: Pin<Box<Sleep>>,
}

impl CutOff {
    fn new(length: usize) -> Self {
        Self {
            length: length as u64,
            data: Some(vec![b'x'; length.saturating_sub(1)].into()),
            pause: Box::pin(tokio::time::sleep(PAUSE)),
        }
    }

    fn boxed(self) -> BoxBody {
        BodyExt::boxed(self)
    }
}

impl Body for CutOff {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(data) = self.data.take() {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        self.pause
            .as_mut()
            .poll(cx)
            .map(|()| Some(Err(BodyError::Client("cut off on purpose".into()))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length)
    }
}
