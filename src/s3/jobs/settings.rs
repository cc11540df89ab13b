//! What an object has beside its bytes and its metadata, for a job that writes it anew.

use http::HeaderMap;
use http::header::HeaderName;

use super::super::call::set;
use super::super::object::{Target, text};
use crate::store::StoreError;

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
pub async fn kept(target: &Target<'_>, headers: &HeaderMap) -> Result<HeaderMap, StoreError> {
    let mut settings = told(headers);
    let tags = text(headers, "x-amz-tagging-count").and_then(|count| count.parse().ok());
    if tags.unwrap_or(0u32) > 0 {
        let tags = target.tags().await?;
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
