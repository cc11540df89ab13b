//! The documents of uploads in parts: what clients send, and what the store answers.

use http::StatusCode;

use super::super::Error;
use super::super::object::unquoted;
use super::super::xml::{unescape, walk};
use crate::aead::PartNumber;
use crate::protocol::checksum::{Algorithm, Checksum};
use crate::store::StoreError;

/// Parts that one document may name (S3: 10,000).
const MAX_PARTS: usize = 10_000;

/// One part that a client wants in the object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedPart {
    /// Part number.
    pub number: PartNumber,
    /// ETag without quotes.
    pub etag: String,
    /// Its checksum, as the client knows it.
    pub checksum: Option<Checksum>,
}

/// Parses a CompleteMultipartUpload request.
///
/// # Errors
/// [`Error::MalformedXml`]: not XML, no parts, more than 10,000, a part without number or ETag.
/// [`Error::InvalidPart`] for a number that no part has, [`Error::InvalidPartOrder`].
pub fn parse_complete(document: &[u8]) -> Result<Vec<NamedPart>, Error> {
    let document = std::str::from_utf8(document).map_err(|_| Error::MalformedXml)?;
    let mut parts: Vec<NamedPart> = Vec::new();
    let (mut number, mut etag, mut checksum) = (None, None, None);
    let mut wrong = None;
    walk(document, |element| {
        match element.path.as_slice() {
            ["CompleteMultipartUpload", "Part", "PartNumber"] => {
                number = Some(element.inner.trim().parse::<i64>().map_err(|_| ())?);
            }
            ["CompleteMultipartUpload", "Part", "ETag"] => {
                etag = Some(unescape(element.inner).ok_or(())?);
            }
            ["CompleteMultipartUpload", "Part", name] => {
                let algorithm = Algorithm::ALL.into_iter().find(|a| a.element() == *name);
                if let Some(algorithm) = algorithm {
                    let text = unescape(element.inner).ok_or(())?;
                    match Checksum::parse(algorithm, text.trim()) {
                        Ok(value) => checksum = Some(value),
                        Err(error) => wrong = wrong.take().or(Some(Error::Checksum(error))),
                    }
                }
            }
            ["CompleteMultipartUpload", "Part"] => {
                let (number, etag) = (number.take().ok_or(())?, etag.take().ok_or(())?);
                if parts.len() == MAX_PARTS {
                    return Err(());
                }
                match u16::try_from(number).ok().and_then(PartNumber::new) {
                    Some(number) => parts.push(NamedPart {
                        number,
                        etag: unquoted(etag.trim()).to_owned(),
                        checksum: checksum.take(),
                    }),
                    None => wrong = wrong.take().or(Some(Error::InvalidPart)),
                }
            }
            [root] if *root != "CompleteMultipartUpload" => return Err(()),
            _ => {}
        }
        Ok(())
    })
    .map_err(|()| Error::MalformedXml)?;
    if let Some(error) = wrong {
        return Err(error);
    }
    if parts.is_empty() {
        return Err(Error::MalformedXml);
    }
    if parts
        .windows(2)
        .any(|pair| pair[0].number >= pair[1].number)
    {
        return Err(Error::InvalidPartOrder);
    }
    Ok(parts)
}

/// The upload id in the store's answer to CreateMultipartUpload.
///
/// # Errors
/// [`StoreError::Malformed`].
pub fn parse_created(document: &[u8]) -> Result<String, StoreError> {
    let malformed = || StoreError::Malformed("CreateMultipartUpload answer is not understood");
    let document = std::str::from_utf8(document).map_err(|_| malformed())?;
    let mut id = None;
    walk(document, |element| {
        if let [_, "UploadId"] = element.path.as_slice() {
            id = unescape(element.inner);
        }
        Ok(())
    })
    .map_err(|()| malformed())?;
    id.filter(|id| !id.is_empty()).ok_or_else(malformed)
}

/// The ETag, without quotes, in the store's answer to CompleteMultipartUpload. Stores may answer 200 and put an error
/// into it.
///
/// # Errors
/// [`StoreError`].
pub fn parse_completed(document: &[u8]) -> Result<String, StoreError> {
    let malformed = || StoreError::Malformed("CompleteMultipartUpload answer is not understood");
    let document = std::str::from_utf8(document).map_err(|_| malformed())?;
    let (mut etag, mut code, mut message) = (None, None, None);
    walk(document, |element| {
        match element.path.as_slice() {
            ["CompleteMultipartUploadResult", "ETag"] => etag = unescape(element.inner),
            ["Error", "Code"] => code = unescape(element.inner),
            ["Error", "Message"] => message = unescape(element.inner),
            _ => {}
        }
        Ok(())
    })
    .map_err(|()| malformed())?;
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
    let document = std::str::from_utf8(document).map_err(|_| malformed())?;
    let mut page = PartsPage::default();
    let (mut number, mut etag, mut len, mut modified) = (None, None, None, String::new());
    let (mut truncated, mut next) = (false, None);
    walk(document, |element| {
        match element.path.as_slice() {
            [_, "Part", "PartNumber"] => {
                number = Some(element.inner.trim().parse().map_err(|_| ())?);
            }
            [_, "Part", "ETag"] => etag = unescape(element.inner),
            [_, "Part", "Size"] => len = Some(element.inner.trim().parse().map_err(|_| ())?),
            [_, "Part", "LastModified"] => element.inner.trim().clone_into(&mut modified),
            [_, "Part"] => page.parts.push(StoredPart {
                number: number.take().ok_or(())?,
                etag: unquoted(etag.take().ok_or(())?.trim()).to_owned(),
                stored_len: len.take().ok_or(())?,
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
    .map_err(|()| malformed())?;
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
    let document = std::str::from_utf8(document).map_err(|_| malformed())?;
    let mut found = Versions::default();
    let (mut key, mut version) = (None, None);
    walk(document, |element| {
        match element.path.as_slice() {
            [_, "Version" | "DeleteMarker" | "Contents", "Key"] => key = unescape(element.inner),
            [_, "Version" | "DeleteMarker" | "Contents", "VersionId"] => {
                version = unescape(element.inner);
            }
            [_, "Version" | "DeleteMarker" | "Contents"] => {
                found.keys.push((key.take().ok_or(())?, version.take()));
            }
            [_, "IsTruncated"] => found.truncated = element.inner.trim() == "true",
            _ => {}
        }
        Ok(())
    })
    .map_err(|()| malformed())?;
    Ok(found)
}

/// Common prefixes of a ListObjectsV2 answer, and the token of the next page.
///
/// # Errors
/// [`StoreError::Malformed`].
pub fn folders(document: &[u8]) -> Result<(Vec<String>, Option<String>), StoreError> {
    let malformed = || StoreError::Malformed("listing is not understood");
    let document = std::str::from_utf8(document).map_err(|_| malformed())?;
    let (mut names, mut truncated, mut next) = (Vec::new(), false, None);
    walk(document, |element| {
        match element.path.as_slice() {
            [_, "CommonPrefixes", "Prefix"] => names.push(unescape(element.inner).ok_or(())?),
            [_, "IsTruncated"] => truncated = element.inner.trim() == "true",
            [_, "NextContinuationToken"] => next = unescape(element.inner),
            _ => {}
        }
        Ok(())
    })
    .map_err(|()| malformed())?;
    Ok((names, next.filter(|_| truncated)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete(parts: &str) -> Result<Vec<NamedPart>, Error> {
        let document = format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>");
        parse_complete(document.as_bytes())
    }

    #[test]
    fn a_completion_names_parts_in_order() {
        let parts = complete(concat!(
            "<Part><PartNumber>1</PartNumber><ETag>&quot;a-b&quot;</ETag></Part>",
            "<Part><ETag>c</ETag><ChecksumCRC32>AAAAAA==</ChecksumCRC32><PartNumber> 10000 </PartNumber></Part>",
        ))
        .unwrap();
        let seen: Vec<_> = parts
            .iter()
            .map(|part| {
                (
                    part.number.get(),
                    part.etag.as_str(),
                    part.checksum.is_some(),
                )
            })
            .collect();
        assert_eq!(seen, [(1, "a-b", false), (10_000, "c", true)]);
    }

    #[test]
    fn each_mistake_has_its_error() {
        let part =
            |number: &str| format!("<Part><PartNumber>{number}</PartNumber><ETag>a</ETag></Part>");
        for malformed in [
            "",
            "<Part/>",
            "<Part><PartNumber>1</PartNumber></Part>",
            &part("x"),
            &part(""),
        ] {
            assert!(
                matches!(complete(malformed), Err(Error::MalformedXml)),
                "{malformed}"
            );
        }
        for number in ["0", "-1", "10001", "70000"] {
            assert!(
                matches!(complete(&part(number)), Err(Error::InvalidPart)),
                "{number}"
            );
        }
        for order in [part("2") + &part("1"), part("2") + &part("2")] {
            assert!(matches!(complete(&order), Err(Error::InvalidPartOrder)));
        }
        assert!(matches!(
            parse_complete(b"<Other/>"),
            Err(Error::MalformedXml)
        ));
        let many: String = (0..=MAX_PARTS).map(|_| part("1")).collect();
        assert!(matches!(complete(&many), Err(Error::MalformedXml)));
    }

    #[test]
    fn a_completion_that_failed_with_200_is_a_failure() {
        let done = b"<CompleteMultipartUploadResult><ETag>&quot;e-2&quot;</ETag></CompleteMultipartUploadResult>";
        assert_eq!(parse_completed(done).unwrap(), "e-2");
        let failed = parse_completed(b"<Error><Code>InternalError</Code></Error>").unwrap_err();
        assert_eq!(failed.status(), Some(StatusCode::INTERNAL_SERVER_ERROR));
        assert!(parse_completed(b"<X/>").is_err());
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
