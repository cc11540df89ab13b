//! An upload at the store whose parts the store copies itself: how bytes that are there get new metadata where one copy
//! does not take them, or where only a completion keeps a condition.

use std::ops::Range;

use http::header::HeaderName;
use http::{HeaderMap, Method};

use super::super::call::set;
use super::super::multipart_xml::{parse_completed, parse_created, parse_part_copied};
use super::super::object::{Target, quoted, range_header};
use super::super::xml::Writer;
use crate::protocol::uri::CopySource;
use crate::pump;
use crate::store::{Request, Store, StoreError};

/// An upload that has been begun.
pub struct Upload<'a> {
    store: &'a Store,
    bucket: &'a str,
    key: &'a str,
    id: String,
    document: Writer,
    parts: u16,
}

impl<'a> Upload<'a> {
    /// Begins one that carries these headers.
    ///
    /// # Errors
    /// The store's.
    pub async fn begin(target: &Target<'a>, headers: HeaderMap) -> Result<Self, StoreError> {
        let (store, bucket, key) = (target.store, target.bucket, target.key);
        let mut request = Request::object(Method::POST, bucket, key).query("uploads", "");
        request.headers = headers;
        let answer = store.send("CreateMultipartUpload", request).await?;
        let document = store.document(answer).await?;
        Ok(Self {
            store,
            bucket,
            key,
            id: parse_created(&document)?,
            document: Writer::new("CompleteMultipartUpload"),
            parts: 0,
        })
    }

    /// Has the store copy stored bytes of an object that has this ETag, behind those that were copied before.
    ///
    /// # Errors
    /// The store's.
    pub async fn copy(
        &mut self,
        source: &CopySource,
        etag: &str,
        stored: &Range<u64>,
    ) -> Result<(), StoreError> {
        let number = self.parts + 1;
        let mut request = Request::object(Method::PUT, self.bucket, self.key)
            .query("partNumber", &number.to_string())
            .query("uploadId", &self.id);
        let headers = &mut request.headers;
        copy_source(headers, source, etag);
        let name = HeaderName::from_static("x-amz-copy-source-range");
        set(headers, name, &range_header(stored).1);
        let answer = self.store.send("UploadPartCopy", request).await?;
        let document = self.store.document(answer).await?;
        self.document.part(number, &parse_part_copied(&document)?);
        self.parts = number;
        Ok(())
    }

    /// Makes the object, under a condition on what stands there where one is given. An upload that is not completed
    /// is aborted.
    ///
    /// # Errors
    /// The store's.
    pub async fn complete(self, condition: Option<(HeaderName, &str)>) -> Result<(), StoreError> {
        let (store, bucket, key) = (self.store, self.bucket, self.key);
        let mut request = Request::object(Method::POST, bucket, key)
            .query("uploadId", &self.id)
            .body(pump::full(self.document.finish()));
        if let Some((name, value)) = condition {
            set(&mut request.headers, name, value);
        }
        let completed = async {
            let answer = store.send("CompleteMultipartUpload", request).await?;
            parse_completed(&store.document(answer).await?)
        };
        let completed = completed.await.map(drop);
        if completed.is_err() {
            abort(store, bucket, key, &self.id).await;
        }
        completed
    }

    /// Gives up.
    pub async fn abort(self) {
        abort(self.store, self.bucket, self.key, &self.id).await;
    }
}

async fn abort(store: &Store, bucket: &str, key: &str, id: &str) {
    let request = Request::object(Method::DELETE, bucket, key).query("uploadId", id);
    if let Err(error) = store.send("AbortMultipartUpload", request).await {
        tracing::warn!(%error, bucket, key, "an upload is left at the store");
    }
}

/// Sets the source of a copy, which has to have this ETag still.
pub fn copy_source(headers: &mut HeaderMap, source: &CopySource, etag: &str) {
    let name = HeaderName::from_static("x-amz-copy-source");
    set(headers, name, &source.to_header());
    let name = HeaderName::from_static("x-amz-copy-source-if-match");
    set(headers, name, &quoted(etag));
}
