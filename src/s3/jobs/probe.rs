//! Which conditions a store keeps on a write: asked with a small object of the gateway's own, before a job relies on them.

use http::header::IF_MATCH;
use http::{HeaderMap, Method};

use super::super::call::Service;
use super::super::multipart::remove_all;
use super::super::object::{Target, hex, quoted, store_etag};
use super::super::{Error, xml};
use super::upload::{Upload, copy_source};
use crate::protocol::uri::CopySource;
use crate::pump;
use crate::store::{Request, Store, StoreError};

/// What the keys of these objects begin with, behind the reserved prefix. `sealgate gc` removes those that a kill leaves.
pub const FOLDER: &str = "probe/";
/// An ETag that no object has.
const OTHER: &str = "00000000000000000000000000000000";

/// What a store keeps to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conditions {
    /// `If-Match` on PutObject: it refuses another ETag, and takes the right one.
    pub put: bool,
    /// The same on CopyObject, for what stands at the copy's place.
    pub copy: bool,
    /// The same on CompleteMultipartUpload, for an upload whose parts are copies.
    pub complete: bool,
}

/// Asks the store of a bucket. Writes one temporary object under the reserved prefix and removes it.
///
/// # Errors
/// The store's, where nothing can be written there at all.
pub async fn conditions(service: &Service, bucket: &str) -> Result<Conditions, Error> {
    ask(service, bucket, false).await
}

/// Asks for [`Conditions::put`] alone.
///
/// # Errors
/// As [`conditions`].
pub async fn keeps_put(service: &Service, bucket: &str) -> Result<bool, Error> {
    Ok(ask(service, bucket, true).await?.put)
}

async fn ask(service: &Service, bucket: &str, put_alone: bool) -> Result<Conditions, Error> {
    let bucket = (service.settings)(bucket)
        .multipart_bucket
        .clone()
        .unwrap_or_else(|| bucket.to_owned());
    let name = hex(service.fresh()?.object_id.as_bytes());
    let place = Place {
        store: &service.own,
        bucket: &bucket,
        key: format!("{}{FOLDER}{name}", service.reserved_prefix),
    };
    let found = place.ask(put_alone).await;
    // Every version of it, where the bucket keeps versions.
    if let Err(error) = remove_all(&service.own, &bucket, &place.key).await {
        tracing::warn!(%error, bucket, key = place.key, "a temporary object is left behind");
    }
    Ok(found?)
}

struct Place<'a> {
    store: &'a Store,
    bucket: &'a str,
    key: String,
}

impl Place<'_> {
    async fn ask(&self, put_alone: bool) -> Result<Conditions, StoreError> {
        let etag = self.put(b"one", None).await?;
        let put = self.refuses(self.put(b"two", Some(OTHER)).await)?
            && self.takes(self.put(b"three", Some(&etag)).await)?;
        if put_alone {
            return Ok(Conditions {
                put,
                copy: false,
                complete: false,
            });
        }
        Ok(Conditions {
            put,
            copy: {
                let etag = self.put(b"four", None).await?;
                self.refuses(self.copy(&etag, OTHER).await)?
                    && self.takes(self.copy(&etag, &etag).await)?
            },
            complete: {
                let etag = self.put(b"five!", None).await?;
                self.refuses(self.complete(&etag, OTHER).await)?
                    && self.takes(self.complete(&etag, &etag).await)?
            },
        })
    }

    fn target(&self) -> Target<'_> {
        Target {
            store: self.store,
            bucket: self.bucket,
            key: &self.key,
            version: None,
            headers: HeaderMap::new(),
        }
    }

    fn source(&self) -> CopySource {
        CopySource {
            bucket: self.bucket.to_owned(),
            key: self.key.clone(),
            version_id: None,
        }
    }

    /// Copies the object onto itself, with new metadata.
    async fn copy(&self, etag: &str, matching: &str) -> Result<(), StoreError> {
        let mut request = Request::object(Method::PUT, self.bucket, &self.key)
            .header("x-amz-metadata-directive", "REPLACE")
            .header("x-amz-meta-probe", "1")
            .header("if-match", &quoted(matching));
        copy_source(&mut request.headers, &self.source(), etag);
        let answer = self.store.send("CopyTemporary", request).await?;
        let document = self.store.document(answer).await?;
        xml::parse_copy_result(&document).map(drop)
    }

    /// The same by an upload of one part.
    async fn complete(&self, etag: &str, matching: &str) -> Result<(), StoreError> {
        let mut upload = Upload::begin(&self.target(), HeaderMap::new()).await?;
        if let Err(error) = upload.copy(&self.source(), etag, &(0..5)).await {
            upload.abort().await;
            return Err(error);
        }
        upload.complete(Some((IF_MATCH, &quoted(matching)))).await
    }

    async fn put(&self, body: &'static [u8], matching: Option<&str>) -> Result<String, StoreError> {
        let mut request = Request::object(Method::PUT, self.bucket, &self.key)
            .body(pump::full(bytes::Bytes::from_static(body)));
        if let Some(etag) = matching {
            request = request.header("if-match", &quoted(etag));
        }
        let answer = self.store.send("PutTemporary", request).await?;
        let etag = store_etag(answer.headers());
        let _ = self.store.document(answer).await;
        Ok(etag)
    }

    /// A write under a condition that does not hold.
    fn refuses<T>(&self, answer: Result<T, StoreError>) -> Result<bool, StoreError> {
        match answer {
            Ok(_) => Ok(false),
            Err(error) if error.is_condition() => Ok(true),
            // A store that does not know the header at all says so in many ways.
            Err(StoreError::Status { status, .. })
                if status.as_u16() == 501 || status.is_client_error() =>
            {
                Ok(false)
            }
            Err(StoreError::Malformed(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// A write under a condition that holds.
    fn takes<T>(&self, answer: Result<T, StoreError>) -> Result<bool, StoreError> {
        match answer {
            Ok(_) => Ok(true),
            Err(error) if error.is_condition() => Ok(false),
            Err(StoreError::Status { status, .. })
                if status.as_u16() == 501 || status.is_client_error() =>
            {
                Ok(false)
            }
            Err(StoreError::Malformed(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }
}
