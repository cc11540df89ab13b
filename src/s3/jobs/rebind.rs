//! Puts sealed bytes that are at the store under a new envelope, without reading them: by one copy, or by an upload of
//! which the store copies the parts. The bytes stay as they are, whichever way they go.

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::super::call::Service;
use super::super::object::{Found, Target};
use super::super::{Error, copy, meta, xml};
use super::settings;
use super::upload::{Upload, copy_source};
use crate::formats::v1::Sealed;
use crate::protocol::uri::CopySource;
use crate::store::{Request, StoreError};

/// Parts that an upload may have (S3).
const MAX_PARTS: u64 = 10_000;

/// What the store takes in one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// The longest object that one copy takes, in stored bytes.
    pub copy: u64,
    /// Stored bytes of a part, where an object is copied in parts. One that would have too many gets longer ones.
    pub part: u64,
}

impl Sizes {
    /// Those of S3: 5 GiB for a copy. Parts are shorter than they could be, so that the store answers soon.
    pub const S3: Self = Self {
        copy: 5 << 30,
        part: 256 << 20,
    };
}

/// How the bytes get their new metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// One CopyObject.
    Copy,
    /// An upload, with UploadPartCopy.
    Parts,
}

/// Sealed bytes, and where they are to stand.
pub struct Rebinding<'a> {
    /// Shared parts.
    pub service: &'a Service,
    /// Where they are.
    pub source: &'a Target<'a>,
    /// What was found there.
    pub found: &'a Found,
    /// Where they are to be; may be the same place.
    pub target: &'a Target<'a>,
    /// On what stands there.
    pub condition: Option<(HeaderName, String)>,
}

impl Rebinding<'_> {
    /// Does it. Says whether both places were as they had been found.
    ///
    /// # Errors
    /// [`Error`]; the target is as it was then, unless no answer came.
    pub async fn run(&self, sealed: &Sealed, by: By, sizes: Sizes) -> Result<bool, Error> {
        let (target, found) = (self.target, self.found);
        let bucket = (self.service.settings)(target.bucket);
        let content = meta::content_from_object(&found.headers);
        let record = copy::record(self.service, &bucket, target.key, sealed, &content).await?;
        // A copy keeps tags by itself.
        let mut headers = match by {
            By::Copy => settings::told(&found.headers),
            By::Parts => settings::kept(self.source, &found.headers).await?,
        };
        headers.extend(content);
        meta::set_record(&mut headers, &record);
        let done = match by {
            By::Copy => self.copy(headers).await,
            By::Parts => self.parts(headers, sizes).await,
        };
        match done {
            Ok(()) => Ok(true),
            Err(error) if has_changed(&error) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn source(&self) -> CopySource {
        CopySource {
            bucket: self.source.bucket.to_owned(),
            key: self.source.key.to_owned(),
            version_id: None,
        }
    }

    async fn copy(&self, mut headers: HeaderMap) -> Result<(), StoreError> {
        let target = self.target;
        copy_source(&mut headers, &self.source(), &self.found.store_etag);
        headers.insert(
            "x-amz-metadata-directive",
            HeaderValue::from_static("REPLACE"),
        );
        if let Some((name, value)) = &self.condition {
            super::super::call::set(&mut headers, name.clone(), value);
        }
        let mut request = Request::object(Method::PUT, target.bucket, target.key);
        request.headers = headers;
        let answer = target.store.send("CopyObject", request).await?;
        let document = target.store.document(answer).await?;
        xml::parse_copy_result(&document).map(drop)
    }

    async fn parts(&self, headers: HeaderMap, sizes: Sizes) -> Result<(), StoreError> {
        let (source, found) = (self.source(), self.found);
        let part = sizes.part.max(found.stored_len.div_ceil(MAX_PARTS)).max(1);
        let mut upload = Upload::begin(self.target, headers).await?;
        let mut at = 0;
        while at < found.stored_len {
            let end = (at + part).min(found.stored_len);
            if let Err(error) = upload.copy(&source, &found.store_etag, &(at..end)).await {
                upload.abort().await;
                return Err(error);
            }
            at = end;
        }
        let condition = self.condition.as_ref();
        upload
            .complete(condition.map(|(name, value)| (name.clone(), value.as_str())))
            .await
    }
}

/// Whether a refusal says that an object is no longer the one that was found: it is another one, or gone.
fn has_changed(error: &StoreError) -> bool {
    error.is_condition()
        || (error.status() == Some(StatusCode::NOT_FOUND) && error.code() == "NoSuchKey")
}
