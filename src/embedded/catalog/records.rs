//! What the catalog keeps, as JSON: objects, uploads in parts and their parts. Folders that exist hold these, so a
//! field may be added with a default, and none may be renamed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::CatalogError;
use crate::embedded::blobs::BlobId;

/// One object, without its body.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    #[serde(flatten)]
    pub(crate) body: Body,
    pub(crate) size: u64,
    /// Without quotes: the MD5 of the body in hex, or for an object from parts the MD5 of their MD5s and their number.
    #[serde(rename = "md5")]
    pub(crate) etag: String,
    /// Seconds since 1970.
    pub(crate) modified: u64,
    #[serde(default)]
    pub(crate) attributes: Attributes,
    /// Checksums that were verified on upload: algorithm, as in the header's name, to base64.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) checksums: BTreeMap<String, String>,
    /// Whether the checksums are over the checksums of the parts, and not over the body.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) composite: bool,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) tags: BTreeMap<String, String>,
}

/// Where the bytes of an object are. The name of the variant stands in the record, beside its other fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Body {
    /// One blob.
    #[serde(rename = "blob")]
    Blob(BlobId),
    /// The parts of an upload that was completed, one blob each.
    #[serde(rename = "parts")]
    Parts {
        /// The upload's id, under which the parts still stand.
        upload: String,
        count: u32,
    },
}

impl Body {
    /// How many parts there are, of an object that was uploaded in parts.
    pub(crate) fn parts(&self) -> Option<u32> {
        match self {
            Self::Blob(_) => None,
            Self::Parts { count, .. } => Some(*count),
        }
    }
}

/// What a client says about an object, and `x-amz-metadata-directive: REPLACE` replaces.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Attributes {
    pub(crate) content_type: Option<String>,
    pub(crate) content_encoding: Option<String>,
    pub(crate) content_disposition: Option<String>,
    pub(crate) content_language: Option<String>,
    pub(crate) cache_control: Option<String>,
    /// As an RFC 3339 date.
    pub(crate) expires: Option<String>,
    pub(crate) website_redirect: Option<String>,
    pub(crate) metadata: BTreeMap<String, String>,
}

/// An upload in parts that is neither completed nor aborted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Upload {
    /// Seconds since 1970.
    pub(crate) initiated: u64,
    #[serde(default)]
    pub(crate) attributes: Attributes,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) tags: BTreeMap<String, String>,
    /// The algorithm of the object's checksum, as in the header's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) checksum: Option<String>,
    /// As in [`Record`].
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) composite: bool,
}

/// One part, of an upload or of the object that it became.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Part {
    pub(crate) blob: BlobId,
    pub(crate) size: u64,
    /// In hex, which is also the ETag.
    pub(crate) md5: String,
    /// Seconds since 1970.
    pub(crate) modified: u64,
    /// As in [`Record`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) checksums: BTreeMap<String, String>,
    /// How much of the object lies before it. Zero until the upload is completed.
    #[serde(default)]
    pub(crate) offset: u64,
}

/// One origin's rules of a bucket, as PutBucketCors has them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct CorsRule {
    pub(crate) id: Option<String>,
    pub(crate) allowed_origins: Vec<String>,
    pub(crate) allowed_methods: Vec<String>,
    pub(crate) allowed_headers: Vec<String>,
    pub(crate) expose_headers: Vec<String>,
    pub(crate) max_age_seconds: Option<i32>,
}

/// What must hold of the object that is there now for a write or delete to go ahead.
#[derive(Clone, Debug, Default)]
pub(crate) enum Condition {
    #[default]
    None,
    Absent,
    Exists,
    Matches(String),
    Differs(String),
}

impl Condition {
    pub(super) fn check(&self, current: Option<&Record>) -> Result<(), CatalogError> {
        let holds = match (self, current) {
            (Self::None, _) => true,
            (Self::Absent, current) => current.is_none(),
            (Self::Exists, current) => current.is_some(),
            // AWS answers 404, not 412, to If-Match on a key that is not there.
            (Self::Matches(_), None) => return Err(CatalogError::NoSuchKey),
            (Self::Matches(etag), Some(record)) => *etag == record.etag,
            (Self::Differs(etag), current) => current.is_none_or(|record| *etag != record.etag),
        };
        if holds {
            Ok(())
        } else {
            Err(CatalogError::ConditionFailed)
        }
    }
}

fn is_false(flag: &bool) -> bool {
    !flag
}
