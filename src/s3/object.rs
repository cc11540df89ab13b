//! Finding out what stands at a key: one request to the store, everything verified that can be
//! without reading the body.

use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::header::{AsHeaderName, CONTENT_LENGTH, CONTENT_RANGE, ETAG, IF_MATCH, RANGE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body_util::BodyExt;

use super::Error;
use super::call::{BucketSettings, EtagMode, Plaintext, Service};
use super::facts::{ChecksumKind, Fact, FactKey, FactTag};
use super::meta;
use crate::aead::{self, FOOTER_LEN};
use crate::formats::foreign::{Claimed, Described, MAX_TAIL};
use crate::formats::v1::{self, Sealed};
use crate::formats::{self, Claim, Formats, Integrity};
use crate::protocol::conditions::Current;
use crate::pump::BoxBody;
use crate::store::{Request, Response, Store, StoreError};

/// Which object version is meant, and under which credentials.
pub struct Target<'a> {
    /// Store and credentials.
    pub store: &'a Store,
    /// Bucket.
    pub bucket: &'a str,
    /// Key.
    pub key: &'a str,
    /// Version, if one is named.
    pub version: Option<&'a str>,
    /// Headers to send along.
    pub headers: HeaderMap,
}

/// What stands at a key.
pub struct Found {
    /// The store's answer headers.
    pub headers: HeaderMap,
    /// The store's ETag without quotes.
    pub store_etag: String,
    /// Stored length.
    pub stored_len: u64,
    /// What the bytes are.
    pub content: Content,
    /// The ETag that clients see, without quotes.
    pub etag: String,
    /// Plaintext length.
    pub len: u64,
    /// Of an object of another program's format, those that are read: their metadata is no client's.
    pub formats: Option<Arc<Formats>>,
}

/// What the bytes are.
pub enum Content {
    /// Sealed and verified up to the footer.
    Sealed(Box<Sealed>),
    /// Of another program's format. Nothing of it is verified yet: [`super::whole`] does that.
    Foreign(Foreign),
    /// Sealed; the body cannot be read now (an archive), and what is known comes from metadata.
    SealedUnread,
    /// Not sealed, and allowed to be.
    Plain,
}

/// An object of another program's format.
pub struct Foreign {
    /// Which, for metrics and logs.
    pub format: &'static str,
    /// What its metadata says.
    pub claimed: Arc<dyn Claimed>,
    /// Its last bytes, as many as its format needs first.
    pub tail: Bytes,
}

impl Content {
    /// The format's name for operators.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Sealed(_) | Self::SealedUnread => "sealgate",
            Self::Foreign(foreign) => foreign.format,
            Self::Plain => "plaintext",
        }
    }
}

impl Found {
    /// For conditions.
    pub fn current(&self) -> Current<'_> {
        Current {
            etag: &self.etag,
            last_modified: meta::last_modified(&self.headers).unwrap_or_default(),
        }
    }

    /// What kind of checksum it has, as far as that is known without the body.
    pub fn checksum(&self) -> Option<ChecksumKind> {
        match &self.content {
            Content::Sealed(sealed) => ChecksumKind::of(&sealed.footer),
            Content::SealedUnread | Content::Plain | Content::Foreign(_) => None,
        }
    }

    /// The client's view of the object's headers, ETag included, length not.
    pub fn response_headers(&self) -> HeaderMap {
        let mut headers = meta::object_response(&self.headers);
        self.hide(&mut headers);
        super::call::set(&mut headers, ETAG, &quoted(&self.etag));
        headers.insert(
            http::header::ACCEPT_RANGES,
            HeaderValue::from_static("bytes"),
        );
        headers
    }
}

impl Found {
    /// The headers that a copy keeps.
    pub fn content_headers(&self) -> HeaderMap {
        let mut headers = meta::content_from_object(&self.headers);
        self.hide(&mut headers);
        headers
    }

    /// Takes away what says how the bytes are encrypted.
    fn hide(&self, headers: &mut HeaderMap) {
        if let Some(formats) = &self.formats {
            meta::hide(headers, formats);
        }
    }
}

/// In double quotes.
pub fn quoted(etag: &str) -> String {
    ["\"", etag, "\""].concat()
}

/// Without quotes and weakness.
pub fn unquoted(etag: &str) -> &str {
    etag.strip_prefix("W/").unwrap_or(etag).trim_matches('"')
}

impl<'a> Target<'a> {
    /// A request on this version.
    pub fn request(&self, method: Method) -> Request {
        let mut request = Request::object(method, self.bucket, self.key).version(self.version);
        request.headers = self.headers.clone();
        request
    }

    /// Its tags, as the query that `x-amz-tagging` is; empty where it has none.
    ///
    /// # Errors
    /// The store's, which for some means that there are none.
    pub async fn tags(&self) -> Result<String, StoreError> {
        let request = self.request(Method::GET).query("tagging", "");
        let answer = self.store.send("GetObjectTagging", request).await?;
        let document = self.store.document(answer).await?;
        std::str::from_utf8(&document)
            .ok()
            .and_then(|document| super::xml::tags_as_query(document).ok())
            .ok_or(StoreError::Malformed("tags are not understood"))
    }

    /// The body of an answer that carries the stored bytes `range` of this version, resumed where its connection
    /// breaks.
    pub fn stream(&self, answer: Response, range: Range<u64>) -> BoxBody {
        self.store
            .stream_on(self.request(Method::GET), answer, range)
    }
}

impl Service {
    /// An object under the gateway's own credentials.
    pub fn target<'a>(&'a self, bucket: &'a str, key: &'a str) -> Target<'a> {
        Target {
            store: &self.own,
            bucket,
            key,
            version: None,
            headers: HeaderMap::new(),
        }
    }

    /// Asks the store for the last bytes of the object, which brings metadata and stored length too.
    ///
    /// # Errors
    /// The store's answer, or what is wrong with the object.
    pub async fn find(&self, target: &Target<'_>) -> Result<Found, Error> {
        self.find_with(target, FOOTER_LEN as u64).await
    }

    /// The same with more of the object's last bytes, so that a short part table comes along.
    ///
    /// # Errors
    /// As [`Service::find`].
    pub async fn find_with(&self, target: &Target<'_>, last: u64) -> Result<Found, Error> {
        Ok(self.find_tail(target, last).await?.0)
    }

    /// The same, and keeps these bytes for the next range that is read.
    ///
    /// # Errors
    /// As [`Service::find`].
    pub async fn find_and_keep(&self, target: &Target<'_>, last: u64) -> Result<Found, Error> {
        let (found, tail) = self.find_tail(target, last).await?;
        if let Content::Sealed(sealed) = &found.content {
            let useful = match sealed.parts() {
                Some(_) => tail.len(),
                None => FOOTER_LEN.min(tail.len()),
            };
            let tail = Bytes::copy_from_slice(&tail[tail.len() - useful..]);
            self.tails
                .learn(target, &found.headers, found.stored_len, &tail);
        }
        Ok(found)
    }

    /// What stands there, and its last bytes.
    async fn find_tail(&self, target: &Target<'_>, last: u64) -> Result<(Found, Bytes), Error> {
        let request = target
            .request(Method::GET)
            .header("range", &format!("bytes=-{last}"));
        match target.store.send("GetFooter", request).await {
            Ok(response) => {
                let (headers, stored_len, tail) = read_tail(target, response, last).await?;
                let found = self.describe(target, headers, stored_len, &tail).await?;
                Ok((found, tail))
            }
            Err(error) if is_empty_or_archived(&error) => {
                let found = self.find_without_body(target, error).await?;
                Ok((found, Bytes::new()))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// For empty objects, where a suffix range is an error, and archived ones.
    async fn find_without_body(
        &self,
        target: &Target<'_>,
        why: StoreError,
    ) -> Result<Found, Error> {
        let response = target
            .store
            .send("HeadObject", target.request(Method::HEAD))
            .await?;
        let headers = response.headers().clone();
        let stored_len = content_length(&headers)?;
        let settings = (self.settings)(target.bucket);
        match self.claim(target, &settings, &headers)? {
            Claim::Nothing | Claim::Foreign(..) if stored_len == 0 => {
                self.describe(target, headers, 0, &[]).await
            }
            Claim::Nothing => plain(&settings, headers, stored_len),
            Claim::Foreign(_, claimed) => {
                claimed.probe()?;
                let store_etag = store_etag(&headers);
                Ok(Found {
                    len: claimed.plaintext_len(stored_len)?,
                    etag: shown_etag(&settings, FactTag::Foreign, &store_etag),
                    headers,
                    store_etag,
                    stored_len,
                    content: Content::SealedUnread,
                    formats: settings.formats.clone(),
                })
            }
            Claim::Sealed(_) if stored_len < MIN_STORED => Err(Integrity::Length.into()),
            Claim::Sealed(record) => {
                let opened = self
                    .open_envelope(target, &settings, &record, &headers)
                    .await?;
                // An object in parts may have been uploaded before its length was known.
                let Some(len) = opened.info.plaintext_len else {
                    return Err(match why.code() {
                        INVALID_STATE => why.into(),
                        _ => Integrity::Length.into(),
                    });
                };
                let store_etag = store_etag(&headers);
                let etag = shown_etag(&settings, FactTag::sealed(opened.info.md5), &store_etag);
                Ok(Found {
                    headers,
                    store_etag,
                    stored_len,
                    content: Content::SealedUnread,
                    etag,
                    len,
                    formats: None,
                })
            }
        }
    }

    /// Verifies what the store said about an object whose last bytes are `tail`: at least the footer. Where
    /// the part table is among them, it is read as well.
    ///
    /// # Errors
    /// [`Error::Integrity`] and what a key service says.
    pub async fn describe(
        &self,
        target: &Target<'_>,
        headers: HeaderMap,
        stored_len: u64,
        tail: &[u8],
    ) -> Result<Found, Error> {
        let settings = (self.settings)(target.bucket);
        let claim = self.claim(target, &settings, &headers)?;
        self.describe_claimed(target, &settings, claim, headers, stored_len, tail)
            .await
    }

    /// The same where [`Service::claim`] has been asked.
    ///
    /// # Errors
    /// As [`Service::describe`].
    pub async fn describe_claimed(
        &self,
        target: &Target<'_>,
        settings: &Arc<BucketSettings>,
        claim: Claim,
        headers: HeaderMap,
        stored_len: u64,
        tail: &[u8],
    ) -> Result<Found, Error> {
        let footer = tail.last_chunk::<FOOTER_LEN>().copied();
        if !matches!(claim, Claim::Sealed(_))
            && footer.is_some_and(|footer| aead::looks_like_footer(&footer))
        {
            return Err(Integrity::MetadataStripped.into());
        }
        let record = match claim {
            Claim::Sealed(record) => record,
            Claim::Foreign(format, claimed) => {
                let foreign = Foreign {
                    format,
                    tail: tail_of(&*claimed, stored_len, tail)?,
                    claimed,
                };
                return self.describe_foreign(target, settings, headers, stored_len, foreign);
            }
            Claim::Nothing => {
                let found = plain(settings, headers, stored_len)?;
                self.learn(
                    target,
                    &found.store_etag,
                    stored_len,
                    Fact {
                        plaintext_len: stored_len,
                        tag: FactTag::Plain,
                        checksum: None,
                    },
                );
                return Ok(found);
            }
        };
        let opened = self
            .open_envelope(target, settings, &record, &headers)
            .await?;
        let footer = footer.ok_or(Integrity::Length)?;
        let mut sealed = v1::open_footer(self.engine, opened, footer, stored_len)?;
        if let Some(table) = table_within(&sealed, tail) {
            sealed.read_table(table)?;
        }
        let store_etag = store_etag(&headers);
        let fact = Fact::of(&sealed.footer);
        self.learn(target, &store_etag, stored_len, fact);
        let etag = shown_etag(settings, fact.tag, &store_etag);
        Ok(Found {
            headers,
            store_etag,
            stored_len,
            len: fact.plaintext_len,
            content: Content::Sealed(Box::new(sealed)),
            etag,
            formats: None,
        })
    }

    /// What can be said of an object of another program's format before its body has been read.
    fn describe_foreign(
        &self,
        target: &Target<'_>,
        settings: &BucketSettings,
        headers: HeaderMap,
        stored_len: u64,
        foreign: Foreign,
    ) -> Result<Found, Error> {
        foreign.claimed.probe()?;
        let len = foreign.claimed.plaintext_len(stored_len)?;
        let store_etag = store_etag(&headers);
        let tag = FactTag::Foreign;
        let fact = Fact {
            plaintext_len: len,
            tag,
            checksum: None,
        };
        self.learn(target, &store_etag, stored_len, fact);
        Ok(Found {
            etag: shown_etag(settings, tag, &store_etag),
            headers,
            store_etag,
            stored_len,
            content: Content::Foreign(foreign),
            len,
            formats: settings.formats.clone(),
        })
    }

    /// What an object's metadata says that it is.
    ///
    /// # Errors
    /// [`Error::Integrity`].
    pub fn claim(
        &self,
        target: &Target<'_>,
        settings: &BucketSettings,
        headers: &HeaderMap,
    ) -> Result<Claim, Error> {
        let object = Described {
            bucket: target.bucket,
            key: target.key,
            headers,
        };
        Ok(formats::claim(
            settings.formats.as_deref(),
            object,
            (self.now)(),
        )?)
    }

    /// Refuses keys that are the gateway's own.
    ///
    /// # Errors
    /// [`Error::ReservedKey`].
    pub fn refuse_reserved(&self, key: &str) -> Result<(), Error> {
        if self.is_reserved(key) {
            return Err(Error::ReservedKey);
        }
        Ok(())
    }

    /// Remembers what a verified footer said.
    pub fn learn(&self, target: &Target<'_>, store_etag: &str, stored_len: u64, fact: Fact) {
        self.tails.keep_only(target, store_etag);
        let key = FactKey {
            bucket: target.bucket,
            key: target.key,
            store_etag,
            stored_len,
        };
        self.facts.learn(key, fact);
    }

    /// Verifies the binding of an object's metadata.
    pub async fn open_envelope(
        &self,
        target: &Target<'_>,
        settings: &BucketSettings,
        record: &crate::envelope::Record,
        headers: &HeaderMap,
    ) -> Result<v1::Opened, Error> {
        v1::open_envelope(
            &self.keyring,
            record,
            &settings.bound_as,
            target.key,
            settings.bind_metadata.then_some(headers),
        )
        .await
        .map_err(Error::from)
    }
}

/// Length of the smallest sealed object.
pub const MIN_STORED: u64 = 512 + 56 + FOOTER_LEN as u64;

/// What a store says of an object that it has to restore first.
const INVALID_STATE: &str = "InvalidObjectState";

/// The part table, where it is among the object's last bytes.
fn table_within<'a>(sealed: &Sealed, tail: &'a [u8]) -> Option<&'a [u8]> {
    let table = usize::try_from(sealed.parts()?.parts.table_len).ok()?;
    let end = tail.len().checked_sub(FOOTER_LEN)?;
    tail.get(end.checked_sub(table)?..end)
}

/// Whether the body of an object cannot be read before it is restored.
pub fn is_archived(headers: &HeaderMap) -> bool {
    matches!(
        text(headers, "x-amz-storage-class"),
        Some("GLACIER" | "DEEP_ARCHIVE")
    ) && !text(headers, "x-amz-restore")
        .is_some_and(|restore| restore.contains("ongoing-request=\"false\""))
}

/// The last bytes that a format needs first, of those that came along.
fn tail_of(claimed: &dyn Claimed, stored_len: u64, tail: &[u8]) -> Result<Bytes, Error> {
    let need = claimed.tail_len().min(MAX_TAIL).min(stored_len);
    let need = usize::try_from(need).unwrap_or_default();
    let start = tail.len().checked_sub(need).ok_or(Integrity::Length)?;
    Ok(Bytes::copy_from_slice(&tail[start..]))
}

/// The refusal to read an object that has to be restored first.
pub fn archived() -> Error {
    Error::Store(StoreError::Status {
        status: StatusCode::FORBIDDEN,
        code: INVALID_STATE.into(),
        message: String::new(),
        headers: Box::default(),
    })
}

/// The ETag that clients see.
pub fn shown_etag(settings: &BucketSettings, tag: FactTag, store_etag: &str) -> String {
    match (settings.etag, tag) {
        (EtagMode::Md5, FactTag::Md5(md5)) => hex(&md5),
        (EtagMode::Md5, FactTag::Multipart(md5, count)) => format!("{}-{count}", hex(&md5)),
        (_, FactTag::Plain) => store_etag.to_owned(),
        _ if store_etag.contains('-') => store_etag.to_owned(),
        _ => [store_etag, "-1"].concat(),
    }
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    let mut text = String::with_capacity(bytes.len() * 2);
    text.extend(digits.map(|digit| char::from(DIGITS[usize::from(digit)])));
    text
}

/// The store's ETag of an answer, without quotes.
pub fn store_etag(headers: &HeaderMap) -> String {
    text(headers, ETAG)
        .map(unquoted)
        .unwrap_or_default()
        .to_owned()
}

/// A header as text.
pub fn text(headers: &HeaderMap, name: impl AsHeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn plain(
    settings: &Arc<BucketSettings>,
    headers: HeaderMap,
    stored_len: u64,
) -> Result<Found, Error> {
    if settings.plaintext == Plaintext::Refuse {
        return Err(Integrity::Plaintext.into());
    }
    let store_etag = store_etag(&headers);
    let etag = store_etag.clone();
    Ok(Found {
        headers,
        store_etag,
        stored_len,
        content: Content::Plain,
        etag,
        len: stored_len,
        formats: None,
    })
}

/// `Content-Length` of an answer.
pub fn content_length(headers: &HeaderMap) -> Result<u64, StoreError> {
    text(headers, CONTENT_LENGTH)
        .and_then(|value| value.parse().ok())
        .ok_or(StoreError::Malformed("no content length"))
}

/// The total of `Content-Range: bytes a-b/total`.
pub fn content_range_total(headers: &HeaderMap) -> Option<u64> {
    text(headers, CONTENT_RANGE)?
        .rsplit_once('/')?
        .1
        .parse()
        .ok()
}

/// Reads the answer to a suffix range: headers, stored length, last bytes (at most `last`).
async fn read_tail(
    target: &Target<'_>,
    response: Response,
    last: u64,
) -> Result<(HeaderMap, u64, Bytes), Error> {
    let headers = response.headers().clone();
    let total = match response.status() {
        StatusCode::PARTIAL_CONTENT => match content_range_total(&headers) {
            Some(total) => total,
            None => content_length(&headers)?,
        },
        _ => content_length(&headers)?,
    };
    let sent = content_length(&headers)?;
    if sent > last {
        return Err(StoreError::Malformed("suffix range was ignored").into());
    }
    let range = total.saturating_sub(sent)..total;
    if range.end - range.start != sent || sent != total.min(last) {
        return Err(Integrity::Length.into());
    }
    let tail = read_exactly(target, response, range).await?;
    Ok((headers, total, tail))
}

/// Asks for stored bytes of the object that was found; `None` where another one stands there now.
///
/// # Errors
/// [`Integrity::Truncated`] where the store answers with more or fewer bytes, and its failures.
pub async fn range(
    target: &Target<'_>,
    found: &Found,
    operation: &'static str,
    stored: &std::ops::Range<u64>,
) -> Result<Option<Response>, Error> {
    let (name, value) = range_header(stored);
    let mut request = target.request(Method::GET);
    super::call::set(&mut request.headers, name, &value);
    super::call::set(&mut request.headers, IF_MATCH, &quoted(&found.store_etag));
    let answer = match target.store.send(operation, request).await {
        Ok(answer) => answer,
        Err(error) if error.status() == Some(StatusCode::PRECONDITION_FAILED) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if store_etag(answer.headers()) != found.store_etag {
        return Ok(None);
    }
    let len = stored.end - stored.start;
    if content_length(answer.headers())? != len
        || (answer.status() != StatusCode::PARTIAL_CONTENT && len != found.stored_len)
    {
        return Err(Integrity::Truncated.into());
    }
    Ok(Some(answer))
}

/// Reads a body that must carry exactly the stored bytes `range`, which the caller has bounded.
///
/// # Errors
/// [`Integrity::Truncated`], [`Integrity::Trailing`], or the store's failure.
pub async fn read_exactly(
    target: &Target<'_>,
    response: Response,
    range: Range<u64>,
) -> Result<Bytes, Error> {
    let len = range.end - range.start;
    let mut body = target.stream(response, range);
    // The shortest come in one piece.
    let mut first = Bytes::new();
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else {
            continue;
        };
        if (first.len() + bytes.len() + data.len()) as u64 > len {
            return Err(Integrity::Trailing.into());
        }
        if first.is_empty() && bytes.is_empty() {
            first = data;
            continue;
        }
        if bytes.is_empty() {
            bytes.reserve(usize::try_from(len).unwrap_or_default());
            bytes.extend_from_slice(&std::mem::take(&mut first));
        }
        bytes.extend_from_slice(&data);
    }
    let bytes = match first.is_empty() {
        true => bytes.freeze(),
        false => first,
    };
    if bytes.len() as u64 == len {
        Ok(bytes)
    } else {
        Err(Integrity::Truncated.into())
    }
}

fn is_empty_or_archived(error: &StoreError) -> bool {
    match error {
        StoreError::Status { status, .. } if *status == StatusCode::RANGE_NOT_SATISFIABLE => true,
        StoreError::Status { code, .. } => code == INVALID_STATE,
        _ => false,
    }
}

/// A range header value for stored bytes.
pub fn range_header(range: &std::ops::Range<u64>) -> (http::HeaderName, String) {
    (
        RANGE,
        format!("bytes={}-{}", range.start, range.end.saturating_sub(1)),
    )
}
