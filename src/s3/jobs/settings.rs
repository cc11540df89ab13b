//! What an object has beside its bytes and its metadata, for a job that writes it anew.

use http::header::HeaderName;
use http::{HeaderMap, Method};

use super::super::call::{Service, set};
use super::super::object::{Target, text};
use super::super::{Error, xml};
use crate::store::Request;

/// Settings that a store tells in its answer to a read, in the words in which a write sets them.
const KEPT: [&str; 8] = [
    "x-amz-storage-class",
    "x-amz-website-redirect-location",
    "x-amz-object-lock-mode",
    "x-amz-object-lock-retain-until-date",
    "x-amz-object-lock-legal-hold",
    "x-amz-server-side-encryption",
    "x-amz-server-side-encryption-aws-kms-key-id",
    "x-amz-server-side-encryption-bucket-key-enabled",
];

/// The settings that a new object gets in place of one that `headers` describe: storage class, redirect, lock, legal hold,
/// the store's own encryption, tags. Access lists cannot be kept in the same step, and the time of the last change is
/// the store's.
///
/// # Errors
/// The store's, where tags cannot be read.
pub async fn kept(
    service: &Service,
    target: &Target<'_>,
    headers: &HeaderMap,
) -> Result<HeaderMap, Error> {
    let mut settings = told(headers);
    let tags = text(headers, "x-amz-tagging-count").and_then(|count| count.parse().ok());
    if tags.unwrap_or(0u32) > 0 {
        let request = Request::object(Method::GET, target.bucket, target.key).query("tagging", "");
        let answer = service.own.send("GetObjectTagging", request).await?;
        let document = service.own.document(answer).await?;
        let document = String::from_utf8_lossy(&document);
        let tags = xml::tags_as_query(&document)?;
        set(
            &mut settings,
            HeaderName::from_static("x-amz-tagging"),
            &tags,
        );
    }
    Ok(settings)
}

/// The same without tags, which need a request of their own: for copies, in which the store keeps them.
pub fn told(headers: &HeaderMap) -> HeaderMap {
    let mut settings = HeaderMap::new();
    for name in KEPT {
        if let Some(value) = headers.get(name) {
            settings.insert(HeaderName::from_static(name), value.clone());
        }
    }
    settings
}
