//! What an operation gets and gives, and what all operations share.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{AsHeaderName, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use http_body_util::BodyExt;

use super::facts::Facts;
use super::kept::Kept;
use super::multipart::Uploads;
use super::route::{Endpoint, Kind};
use super::tails::Tails;
use super::{Error, bucket, copy, delete, forward, get, head, list, multipart, put};
use crate::aead::{Dek, Engine, ObjectId, StreamHeader};
use crate::formats::Formats;
use crate::keys::{KeyId, Keyring};
use crate::policy::Permit;
use crate::protocol::checksum::{Algorithm, Expected, Hashes};
use crate::protocol::uri::Query;
use crate::pump::{self, BoxBody, Finished, Verification, VerifyBody};
use crate::spool::Spool;
use crate::store::Store;

/// What happens to objects that are not sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plaintext {
    /// They are refused: whoever holds the store could have planted them.
    Refuse,
    /// They are served as they are.
    Allow,
}

/// What clients see as ETag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EtagMode {
    /// MD5 of the plaintext, as S3 gives for a single PUT.
    Md5,
    /// The store's ETag with a suffix, so that no client takes it for an MD5.
    Opaque,
}

/// What is checked before the first byte of an object is released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checked {
    /// The segment that holds it.
    Segment,
    /// All of the object.
    Object,
}

/// One bucket's settings.
#[derive(Clone, Debug)]
pub struct BucketSettings {
    /// What happens to objects that are not sealed.
    pub plaintext: Plaintext,
    /// What clients see as ETag.
    pub etag: EtagMode,
    /// Key ids that new envelopes are wrapped for; empty for the keyring's current key.
    pub recipients: Vec<KeyId>,
    /// The bucket name in the binding.
    pub bound_as: String,
    /// Whether content headers and user metadata are bound.
    pub bind_metadata: bool,
    /// Where the temporary objects of uploads in parts stand, if not in the bucket itself.
    pub multipart_bucket: Option<String>,
    /// The checksum that uploads get which bring none.
    pub default_checksum: Option<Algorithm>,
    /// What is checked before the first byte of an object is released.
    pub checked: Checked,
    /// The formats of other programs that are read.
    pub formats: Option<Arc<Formats>>,
}

/// Gives a bucket's settings.
pub type Settings = dyn Fn(&str) -> Arc<BucketSettings> + Send + Sync;

/// Everything that the operations share. No request leaves a trace in it but cache entries.
pub struct Service {
    /// Opens and makes envelopes.
    pub keyring: Keyring,
    /// Cipher implementation.
    pub engine: Engine,
    /// Settings by bucket.
    pub settings: Box<Settings>,
    /// Plaintext sizes and ETags that were learnt from footers.
    pub facts: Facts,
    /// The ends of objects of which ranges were read.
    pub tails: Tails,
    /// Where objects wait that are checked as a whole.
    pub spool: Spool,
    /// Those that were a moment ago.
    pub kept: Kept,
    /// What the keys of temporary objects begin with. No client sees or uses such keys.
    pub reserved_prefix: String,
    /// Plaintext bytes that a part has at least, the last one excepted (S3: 5 MiB).
    pub min_part: u64,
    /// Uploads in parts that were opened a moment ago.
    pub uploads: Uploads,
    /// The store with the gateway's own credentials.
    pub own: Store,
    /// Seconds since 1970.
    pub now: fn() -> i64,
    /// Footers fetched side by side for one listing page.
    pub list_concurrency: usize,
    /// Longest XML document taken from a client, in bytes.
    pub max_document: usize,
    /// Fills a buffer from the operating system's generator.
    pub entropy: fn(&mut [u8]) -> bool,
}

/// The client's body: plaintext, verified as it passes.
pub struct Body {
    /// The stream. It ends without error only where everything declared has held.
    pub stream: BoxBody,
    /// Plaintext length declared; `None` where the client gave none.
    pub length: Option<u64>,
    /// The digests, once the stream has ended.
    pub finished: Finished,
    /// What the client declared about the body.
    pub expected: Expected,
}

impl Body {
    /// A body of known length that comes from the gateway's own side: nobody declared anything about it but that.
    pub fn own(stream: BoxBody, length: u64, md5: bool) -> Self {
        Self::own_with(stream, length, md5, None)
    }

    /// The same with a checksum computed on the way.
    pub fn own_with(stream: BoxBody, length: u64, md5: bool, checksum: Option<Algorithm>) -> Self {
        let body = VerifyBody::new(
            stream,
            Verification {
                decoder: None,
                hashes: Hashes::new(md5, false, checksum),
                expected: Expected::default(),
                length: Some(length),
            },
        );
        Self {
            finished: body.finished(),
            stream: body.boxed(),
            length: Some(length),
            expected: Expected::default(),
        }
    }
}

/// One request that is authenticated and permitted.
pub struct Call {
    /// That it is.
    pub permit: Permit,
    /// What it asks for.
    pub endpoint: Endpoint,
    /// Its method.
    pub method: Method,
    /// Its query, decoded.
    pub query: Query,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Body,
    /// The store, with the credentials to use for this user.
    pub store: Store,
}

/// An answer.
pub struct Response {
    /// Status.
    pub status: StatusCode,
    /// Headers, without those of the connection.
    pub headers: HeaderMap,
    /// Body.
    pub body: BoxBody,
    /// Length of the body.
    pub length: Option<u64>,
}

impl Response {
    /// An answer without body.
    pub fn empty(status: StatusCode, headers: HeaderMap) -> Self {
        Self {
            status,
            headers,
            body: pump::empty(),
            length: Some(0),
        }
    }

    /// An XML document.
    pub fn xml(status: StatusCode, mut headers: HeaderMap, document: impl Into<Bytes>) -> Self {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        let document = document.into();
        let length = document.len() as u64;
        Self {
            status,
            headers,
            body: pump::full(document),
            length: Some(length),
        }
    }
}

/// An operation under way. On the heap: a connection keeps room for the largest of these futures otherwise, and moves it
/// about with each request.
pub type Answering<'a> = Pin<Box<dyn Future<Output = Result<Response, Error>> + Send + 'a>>;

/// Fresh randomness for one object.
pub struct Fresh {
    /// Data encryption key.
    pub dek: Dek,
    /// Identity of the bytes.
    pub object_id: ObjectId,
    /// Salt and nonce prefix of the stream.
    pub header: StreamHeader,
    /// Nonce of the footer.
    pub footer_nonce: [u8; 12],
}

impl Service {
    /// Does what the call asks for.
    ///
    /// # Errors
    /// [`Error`]; an error in the middle of a streamed answer shows in its body instead.
    pub fn call(&self, call: Call) -> Answering<'_> {
        if let Err(error) = self.refuse_reserved(&call.endpoint.key) {
            return Box::pin(std::future::ready(Err(error)));
        }
        match call.endpoint.kind {
            Kind::PutObject | Kind::PostObject => Box::pin(put::put(self, call)),
            Kind::GetObject => Box::pin(get::get(self, call)),
            Kind::HeadObject => Box::pin(head::head(self, call)),
            Kind::GetObjectAttributes => Box::pin(head::attributes(self, call)),
            Kind::DeleteObject => Box::pin(delete::delete(self, call)),
            Kind::DeleteObjects => Box::pin(delete::delete_many(self, call)),
            Kind::CopyObject => Box::pin(copy::copy(self, call)),
            Kind::ListObjects | Kind::ListObjectsV2 | Kind::ListObjectVersions => {
                Box::pin(list::list(self, call))
            }
            Kind::ListMultipartUploads => Box::pin(multipart::list_uploads(self, call)),
            Kind::CreateMultipartUpload => Box::pin(multipart::create(self, call)),
            Kind::UploadPart => Box::pin(multipart::upload_part(self, call)),
            Kind::UploadPartCopy => Box::pin(multipart::copy_part(self, call)),
            Kind::ListParts => Box::pin(multipart::list_parts(self, call)),
            Kind::CompleteMultipartUpload => Box::pin(multipart::complete(self, call)),
            Kind::AbortMultipartUpload => Box::pin(multipart::abort(self, call)),
            Kind::ListBuckets => Box::pin(bucket::list_buckets(call)),
            Kind::CreateBucket
            | Kind::DeleteBucket
            | Kind::HeadBucket
            | Kind::GetBucketLocation
            | Kind::BucketSetting(_)
            | Kind::BucketUnknown
            | Kind::ObjectSetting(_) => Box::pin(forward::forward(self, call)),
        }
    }

    /// Whether a key is one of the gateway's own objects, which clients neither see nor reach.
    pub fn is_reserved(&self, key: &str) -> bool {
        key.starts_with(&self.reserved_prefix)
    }

    /// Randomness for a new object.
    ///
    /// # Errors
    /// [`Error::Entropy`].
    pub fn fresh(&self) -> Result<Fresh, Error> {
        // Drawn at once: each draw is a call of the system.
        let mut drawn = zeroize::Zeroizing::new([0u8; 32 + 16 + 32 + 7 + 12]);
        if !(self.entropy)(&mut drawn[..]) {
            return Err(Error::Entropy);
        }
        let mut rest = &drawn[..];
        Ok(Fresh {
            dek: Dek::new(take(&mut rest)?),
            object_id: ObjectId(take(&mut rest)?),
            header: StreamHeader {
                salt: take(&mut rest)?,
                nonce_prefix: take(&mut rest)?,
            },
            footer_nonce: take(&mut rest)?,
        })
    }
}

/// The next bytes of what was drawn.
fn take<const N: usize>(drawn: &mut &[u8]) -> Result<[u8; N], Error> {
    let (taken, rest) = drawn.split_first_chunk().ok_or(Error::Entropy)?;
    *drawn = rest;
    Ok(*taken)
}

impl Call {
    /// A query value.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.query.first(name)
    }

    /// The version asked for, if any.
    pub fn version(&self) -> Option<&str> {
        self.parameter("versionId").filter(|v| !v.is_empty())
    }

    /// A header as text. Not text counts as absent; headers that matter are checked where they are parsed.
    pub fn header(&self, name: impl AsHeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// Sets a header to text that was made here. Text that HTTP cannot carry is left out.
pub fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// The same for a text that is not needed any more.
pub fn set_owned(headers: &mut HeaderMap, name: HeaderName, value: String) {
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(name, value);
    }
}

/// `Content-Length` of an answer without a body, as HEAD gives it.
pub fn set_length(headers: &mut HeaderMap, length: u64) {
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
}
