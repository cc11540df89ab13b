//! What the store answers to the requests of uploads in parts.

use http::StatusCode;

use super::super::object::unquoted;
use crate::protocol::xml::{Malformed, walk};
use crate::store::StoreError;

/// The upload id in the store's answer to CreateMultipartUpload.
///
/// # Errors
/// [`StoreError::Malformed`].
pub fn parse_created(document: &[u8]) -> Result<String, StoreError> {
    let malformed = || StoreError::Malformed("CreateMultipartUpload answer is not understood");
    let mut id = None;
    walk(document, |element| {
        if let [_, "UploadId"] = element.path {
            id = element.text().ok();
        }
        Ok(())
    })
    .map_err(|_| malformed())?;
    id.filter(|id| !id.is_empty()).ok_or_else(malformed)
}

/// The ETag, without quotes, in the store's answer to CompleteMultipartUpload. Stores may answer 200 and put an error
/// into it.
///
/// # Errors
/// [`StoreError`].
pub fn parse_completed(document: &[u8]) -> Result<String, StoreError> {
    let malformed = || StoreError::Malformed("CompleteMultipartUpload answer is not understood");
    etag_of(document, "CompleteMultipartUploadResult", malformed)
}

/// The ETag, without quotes, in the store's answer to UploadPartCopy, which may hold an error as well.
///
/// # Errors
/// [`StoreError`].
pub fn parse_part_copied(document: &[u8]) -> Result<String, StoreError> {
    let malformed = || StoreError::Malformed("UploadPartCopy answer is not understood");
    etag_of(document, "CopyPartResult", malformed)
}

fn etag_of(
    document: &[u8],
    result: &str,
    malformed: impl Fn() -> StoreError,
) -> Result<String, StoreError> {
    let (mut etag, mut code, mut message) = (None, None, None);
    walk(document, |element| {
        match element.path {
            [root, "ETag"] if *root == result => etag = element.text().ok(),
            ["Error", "Code"] => code = element.text().ok(),
            ["Error", "Message"] => message = element.text().ok(),
            _ => {}
        }
        Ok(())
    })
    .map_err(|_| malformed())?;
    if let Some(code) = code {
        let status = match code.as_str() {
            "InternalError" => StatusCode::INTERNAL_SERVER_ERROR,
            "SlowDown" | "ServiceUnavailable" => StatusCode::SERVICE_UNAVAILABLE,
            "NoSuchUpload" | "NoSuchKey" | "NoSuchBucket" => StatusCode::NOT_FOUND,
            "PreconditionFailed" => StatusCode::PRECONDITION_FAILED,
            "ConditionalRequestConflict" | "OperationAborted" => StatusCode::CONFLICT,
            "AccessDenied" => StatusCode::FORBIDDEN,
            _ => StatusCode::BAD_REQUEST,
        };
        return Err(StoreError::Status {
            status,
            code,
            message: message.unwrap_or_default(),
            headers: Box::default(),
        });
    }
    Ok(unquoted(etag.ok_or_else(malformed)?.trim()).to_owned())
}

/// A page of the store's ListParts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartsPage {
    /// Parts in order.
    pub parts: Vec<StoredPart>,
    /// Where the next page begins, where there is one.
    pub next: Option<u16>,
    /// `Initiator`, `Owner` and `StorageClass` as they stand, names and inner XML.
    pub others: Vec<(&'static str, String)>,
}

/// One part at the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredPart {
    /// Part number.
    pub number: u16,
    /// ETag without quotes.
    pub etag: String,
    /// Stored length.
    pub stored_len: u64,
    /// When it was written, as the store spells it.
    pub last_modified: String,
}

/// Parses the store's answer to ListParts.
///
/// # Errors
/// [`StoreError::Malformed`].
pub fn parse_parts(document: &[u8]) -> Result<PartsPage, StoreError> {
    let malformed = || StoreError::Malformed("ListParts answer is not understood");
    let mut page = PartsPage::default();
    let (mut number, mut etag, mut len, mut modified) = (None, None, None, String::new());
    let (mut truncated, mut next) = (false, None);
    walk(document, |element| {
        match element.path {
            [_, "Part", "PartNumber"] => {
                number = Some(element.inner.trim().parse().map_err(|_| Malformed)?);
            }
            [_, "Part", "ETag"] => etag = element.text().ok(),
            [_, "Part", "Size"] => len = Some(element.inner.trim().parse().map_err(|_| Malformed)?),
            [_, "Part", "LastModified"] => element.inner.trim().clone_into(&mut modified),
            [_, "Part"] => page.parts.push(StoredPart {
                number: number.take().ok_or(Malformed)?,
                etag: unquoted(etag.take().ok_or(Malformed)?.trim()).to_owned(),
                stored_len: len.take().ok_or(Malformed)?,
                last_modified: std::mem::take(&mut modified),
            }),
            [_, "IsTruncated"] => truncated = element.inner.trim() == "true",
            [_, "NextPartNumberMarker"] => next = element.inner.trim().parse().ok(),
            [_, name] => {
                let kept = ["Initiator", "Owner", "StorageClass"];
                if let Some(name) = kept.into_iter().find(|kept| kept == name) {
                    page.others.push((name, element.inner.to_owned()));
                }
            }
            _ => {}
        }
        Ok(())
    })
    .map_err(|_| malformed())?;
    if truncated {
        page.next = next.or_else(|| page.parts.last().map(|part| part.number));
        // A page that leads nowhere would be asked for again and again.
        if page.parts.is_empty() {
            return Err(malformed());
        }
    }
    Ok(page)
}

/// Keys and versions of a listing.
#[derive(Debug, Default)]
pub struct Versions {
    /// Key and version id of each object and delete marker.
    pub keys: Vec<(String, Option<String>)>,
    /// Whether there are more.
    pub truncated: bool,
}

/// Parses ListObjectVersions, or a listing without versions.
///
/// # Errors
/// [`StoreError::Malformed`].
pub fn versions(document: &[u8]) -> Result<Versions, StoreError> {
    let malformed = || StoreError::Malformed("listing is not understood");
    let mut found = Versions::default();
    let (mut key, mut version) = (None, None);
    walk(document, |element| {
        match element.path {
            [_, "Version" | "DeleteMarker" | "Contents", "Key"] => key = element.text().ok(),
            [_, "Version" | "DeleteMarker" | "Contents", "VersionId"] => {
                version = element.text().ok();
            }
            [_, "Version" | "DeleteMarker" | "Contents"] => {
                found
                    .keys
                    .push((key.take().ok_or(Malformed)?, version.take()));
            }
            [_, "IsTruncated"] => found.truncated = element.inner.trim() == "true",
            _ => {}
        }
        Ok(())
    })
    .map_err(|_| malformed())?;
    Ok(found)
}

/// Common prefixes of a ListObjectsV2 answer, and the token of the next page.
///
/// # Errors
/// [`StoreError::Malformed`].
pub fn folders(document: &[u8]) -> Result<(Vec<String>, Option<String>), StoreError> {
    let malformed = || StoreError::Malformed("listing is not understood");
    let (mut names, mut truncated, mut next) = (Vec::new(), false, None);
    walk(document, |element| {
        match element.path {
            [_, "CommonPrefixes", "Prefix"] => names.push(element.text()?),
            [_, "IsTruncated"] => truncated = element.inner.trim() == "true",
            [_, "NextContinuationToken"] => next = element.text().ok(),
            _ => {}
        }
        Ok(())
    })
    .map_err(|_| malformed())?;
    Ok((names, next.filter(|_| truncated)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_completion_that_failed_with_200_is_a_failure() {
        let done = b"<CompleteMultipartUploadResult><ETag>&quot;e-2&quot;</ETag></CompleteMultipartUploadResult>";
        assert_eq!(parse_completed(done).unwrap(), "e-2");
        let failed = parse_completed(b"<Error><Code>InternalError</Code></Error>").unwrap_err();
        assert_eq!(failed.status(), Some(StatusCode::INTERNAL_SERVER_ERROR));
        assert!(parse_completed(b"<X/>").is_err());
    }

    #[test]
    fn a_copied_part_that_failed_with_200_is_a_failure() {
        let done =
            b"<CopyPartResult><LastModified>t</LastModified><ETag>\"e\"</ETag></CopyPartResult>";
        assert_eq!(parse_part_copied(done).unwrap(), "e");
        let failed = parse_part_copied(b"<Error><Code>SlowDown</Code></Error>").unwrap_err();
        assert_eq!(failed.status(), Some(StatusCode::SERVICE_UNAVAILABLE));
        assert!(parse_completed(done).is_err());
    }

    #[test]
    fn pages_of_parts_lead_on() {
        let page = parse_parts(concat!(
            "<ListPartsResult><Initiator><ID>i</ID></Initiator><IsTruncated>true</IsTruncated>",
            "<Part><PartNumber>3</PartNumber><ETag>\"e\"</ETag><Size>7</Size><LastModified>t</LastModified></Part>",
            "</ListPartsResult>"
        ).as_bytes())
        .unwrap();
        assert_eq!(page.next, Some(3));
        assert_eq!(page.others, [("Initiator", "<ID>i</ID>".to_owned())]);
        assert_eq!(
            (page.parts[0].stored_len, page.parts[0].etag.as_str()),
            (7, "e")
        );
        assert!(parse_parts(b"<R><IsTruncated>true</IsTruncated></R>").is_err());
    }
}
