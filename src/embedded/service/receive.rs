//! Bodies on their way in.

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures::StreamExt;
use s3s::crypto::{Checksum as _, Md5};
use s3s::dto::StreamingBlob;
use s3s::{S3Error, S3ErrorCode, S3Result, TrailingHeaders, s3_error};

use super::checksums::Expected;
use super::errors::{internal, too_large};
use super::{MAX_BODY, Store};
use crate::embedded::blobs::Uncommitted;
use crate::embedded::catalog::assembly::to_hex;

/// A body on its way in.
pub(super) struct Incoming {
    pub(super) body: StreamingBlob,
    pub(super) length: Option<i64>,
    pub(super) content_md5: Option<String>,
    pub(super) expected: Expected,
    pub(super) trailers: Option<TrailingHeaders>,
}

/// A body that is on disk and checked.
pub(super) struct Received {
    pub(super) blob: Uncommitted,
    pub(super) size: u64,
    /// In hex.
    pub(super) md5: String,
    pub(super) checksums: BTreeMap<String, String>,
}

impl Store {
    /// Writes a body to a new blob, checking it against everything the client says about it.
    pub(super) async fn receive(&self, incoming: Incoming) -> S3Result<Received> {
        let Incoming {
            mut body,
            length,
            content_md5,
            mut expected,
            trailers,
        } = incoming;
        let declared = length.map(u64::try_from).transpose().map_err(internal)?;
        if declared.is_some_and(|length| length > MAX_BODY) {
            return Err(too_large());
        }
        let mut draft = self.inner.blobs.create().await.map_err(internal)?;
        let mut md5 = Md5::new();
        let mut hasher = expected.hasher()?;
        let mut size = 0_u64;
        while let Some(chunk) = body.next().await {
            let chunk =
                chunk.map_err(|error| S3Error::with_source(S3ErrorCode::IncompleteBody, error))?;
            size = size.saturating_add(chunk.len() as u64);
            if size > MAX_BODY {
                return Err(too_large());
            }
            md5.update(&chunk);
            hasher.update(&chunk);
            draft.write(&chunk).await.map_err(internal)?;
        }
        if declared.is_some_and(|length| length != size) {
            return Err(s3_error!(IncompleteBody));
        }
        let md5 = md5.finalize();
        if let Some(claimed) = content_md5 {
            let claimed = BASE64_STANDARD
                .decode(claimed)
                .map_err(|_| s3_error!(InvalidDigest))?;
            if claimed.len() != md5.len() {
                return Err(s3_error!(InvalidDigest));
            }
            if claimed != md5 {
                return Err(s3_error!(BadDigest));
            }
        }
        expected.add_trailers(trailers)?;
        let checksums = expected.verify(&hasher.finalize())?;
        let blob = draft.finish().await.map_err(internal)?;
        Ok(Received {
            blob,
            size,
            md5: to_hex(&md5),
            checksums,
        })
    }
}

/// Reads a body that is refused to its end: an answer before that would reset the connection under the client's
/// writes.
pub(super) async fn drain(mut body: StreamingBlob, error: S3Error) -> S3Error {
    while let Some(Ok(_)) = body.next().await {}
    error
}
