//! ListMultipartUploads, as the store answers it but for the checksums that the uploads' clients asked for: those the store
//! has not heard of, and the uploads' states tell. Keys and upload ids are the store's own.

use std::ops::Range;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use http::{Method, StatusCode};

use super::super::call::{Call, Response, Service};
use super::super::{Error, meta};
use super::listing::number;
use super::staging::Staging;
use super::state::{self, Wanted};
use crate::formats::Integrity;
use crate::protocol::uri::{self, Query};
use crate::protocol::xml::{self, Malformed, walk};
use crate::pump::BodyError;
use crate::store::{Request, StoreError};
use crate::telemetry::metrics;

/// Answers ListMultipartUploads. Each upload costs a small request, unless it was made or used here a moment ago.
///
/// # Errors
/// [`Error`]. A state that is not there, or may not be read, does not fail the listing.
pub async fn list_uploads(service: &Service, call: Call) -> Result<Response, Error> {
    number(&call, "max-uploads")?;
    let mut request = Request::bucket(Method::GET, &call.endpoint.bucket);
    request.query = passed_on(&call.query);
    request.headers = meta::read_settings(&call.headers);
    let answer = call.store.send("ListMultipartUploads", request).await?;
    let headers = meta::common_response(answer.headers());
    let document = call.store.document(answer).await?;
    let page = Page::parse(&document)?;
    let checksums = checksums(service, &call, &page.uploads).await?;
    Ok(Response::xml(
        StatusCode::OK,
        headers,
        page.with(&checksums),
    ))
}

/// The checksum of each upload, several at a time.
async fn checksums(
    service: &Service,
    call: &Call,
    uploads: &[Listed],
) -> Result<Vec<Option<Wanted>>, Error> {
    let mut found = vec![None; uploads.len()];
    let mut waiting = uploads.iter().enumerate();
    let mut pending = FuturesUnordered::new();
    loop {
        while pending.len() < service.list_concurrency.max(1)
            && let Some((at, upload)) = waiting.next()
        {
            let bucket = &call.endpoint.bucket;
            let staging = Staging::at(service, &call.store, bucket, &upload.key, &upload.id);
            pending.push(async move { (at, state::checksum(service, &staging, &upload.id).await) });
        }
        match pending.next().await {
            Some((at, Ok(wanted))) => found[at] = wanted,
            Some((_, Err(Error::Integrity(kind)))) => unverified(kind),
            Some((_, Err(Error::Body(BodyError::Integrity(failure))))) => {
                unverified(failure.into());
            }
            // It may be listed and not read.
            Some((_, Err(Error::Store(error))))
                if error
                    .status()
                    .is_some_and(|status| status.is_client_error()) => {}
            Some((_, Err(error))) => return Err(error),
            None => return Ok(found),
        }
    }
}

/// Counts and notes a state that is not what was written: the listing goes on.
fn unverified(kind: Integrity) {
    metrics::integrity_failure(kind.label());
    tracing::warn!(
        kind = kind.label(),
        "state of a listed upload does not verify"
    );
}

/// One upload of the store's page.
pub struct Listed {
    /// Its key, decoded.
    pub key: String,
    /// Its id.
    pub id: String,
    /// When it was begun, as the store spells it.
    pub initiated: Option<String>,
    /// What the store says of checksums, which are of sealed bytes.
    stale: Vec<Range<usize>>,
    /// Where its element ends, before the end tag.
    end: usize,
}

/// A page of the store's ListMultipartUploads.
pub struct Page<'a> {
    document: &'a str,
    /// What it lists, in its order.
    pub uploads: Vec<Listed>,
}

impl<'a> Page<'a> {
    /// Parses the store's answer.
    ///
    /// # Errors
    /// [`StoreError::Malformed`].
    pub fn parse(document: &'a [u8]) -> Result<Self, StoreError> {
        let malformed = || StoreError::Malformed("listing of uploads is not understood");
        let document = xml::text(document).map_err(|Malformed| malformed())?;
        let (mut uploads, mut url_encoded) = (Vec::new(), false);
        let (mut key, mut id, mut initiated, mut stale) = (None, None, None, Vec::new());
        walk(document.as_bytes(), |element| {
            match element.path {
                [_, "Upload", "Key"] => key = Some(element.text()?),
                [_, "Upload", "UploadId"] => id = Some(element.text()?),
                [_, "Upload", "Initiated"] => initiated = Some(element.text()?),
                [_, "Upload", "ChecksumAlgorithm" | "ChecksumType"] => {
                    stale.push(element.span.clone());
                }
                [_, "Upload"] => uploads.push(Listed {
                    key: key.take().ok_or(Malformed)?,
                    id: id.take().ok_or(Malformed)?,
                    initiated: initiated.take(),
                    stale: std::mem::take(&mut stale),
                    end: element.inside.clone().ok_or(Malformed)?.end,
                }),
                [_, "EncodingType"] => url_encoded = element.inner.trim() == "url",
                _ => {}
            }
            Ok(())
        })
        .map_err(|Malformed| malformed())?;
        if url_encoded {
            for upload in &mut uploads {
                let bytes = uri::percent_decode(&upload.key, true).map_err(|_| malformed())?;
                upload.key = String::from_utf8(bytes).map_err(|_| malformed())?;
            }
        }
        Ok(Self { document, uploads })
    }

    /// The same document with these checksums, one for each upload.
    pub fn with(&self, checksums: &[Option<Wanted>]) -> String {
        let mut out = String::with_capacity(self.document.len() + 96 * checksums.len());
        let mut done = 0;
        for (upload, checksum) in self.uploads.iter().zip(checksums) {
            for stale in &upload.stale {
                out.push_str(&self.document[done..stale.start]);
                done = stale.end;
            }
            out.push_str(&self.document[done..upload.end]);
            done = upload.end;
            if let Some(wanted) = checksum {
                let (algorithm, kind) = (wanted.algorithm.name(), wanted.type_name());
                out.push_str(&format!(
                    "<ChecksumAlgorithm>{algorithm}</ChecksumAlgorithm><ChecksumType>{kind}</ChecksumType>"
                ));
            }
        }
        out.push_str(&self.document[done..]);
        out
    }
}

/// Parameters of the listing.
fn passed_on(query: &Query) -> Query {
    let mut query = query.clone();
    query.retain(|name| {
        matches!(
            name,
            "uploads"
                | "prefix"
                | "delimiter"
                | "encoding-type"
                | "key-marker"
                | "max-uploads"
                | "upload-id-marker"
        )
    });
    query
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uploads_get_checksums_and_nothing_else_changes() {
        let document = concat!(
            "<R xmlns=\"x\"><EncodingType>url</EncodingType><Upload><ChecksumType>null</ChecksumType><Key>a%2Bb+c</Key>",
            "<UploadId>1</UploadId></Upload><CommonPrefixes><Prefix>p</Prefix></CommonPrefixes>",
            "<Upload><Key>k</Key><UploadId>&amp;2</UploadId><Owner><ID>o</ID></Owner></Upload></R>"
        );
        let page = Page::parse(document.as_bytes()).unwrap();
        let named = |upload: &Listed| (upload.key.clone(), upload.id.clone());
        assert_eq!(named(&page.uploads[0]), ("a+b c".into(), "1".into()));
        assert_eq!(named(&page.uploads[1]), ("k".into(), "&2".into()));
        let without = document.replace("<ChecksumType>null</ChecksumType>", "");
        assert_eq!(page.with(&[None, None]), without);
        let told = "<ChecksumAlgorithm>CRC64NVME</ChecksumAlgorithm><ChecksumType>FULL_OBJECT</ChecksumType>";
        let expected = without.replace("</Owner></Upload>", &format!("</Owner>{told}</Upload>"));
        assert_eq!(page.with(&[None, Some(Wanted::BY_DEFAULT)]), expected);
        for bad in [
            "",
            "<R><Upload/></R>",
            "<R><Upload><Key>k</Key></Upload></R>",
        ] {
            assert!(Page::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
