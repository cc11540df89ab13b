//! The few XML documents that the gateway writes itself, and those of the store that it changes on the way.
//! Both are read with [`crate::protocol::xml`].

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;

use super::Error;
use crate::protocol::uri::Query;
use crate::protocol::xml::{self, Malformed, walk};
use crate::pump::BoxBody;
use crate::store::StoreError;

const NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";

/// Writes a document.
pub struct Writer {
    text: String,
    root: &'static str,
}

impl Writer {
    /// Begins a document in S3's namespace.
    pub fn new(root: &'static str) -> Self {
        let mut text = String::with_capacity(512);
        text.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<");
        text.push_str(root);
        text.push_str(" xmlns=\"");
        text.push_str(NAMESPACE);
        text.push_str("\">");
        Self { text, root }
    }

    /// `<name>`
    pub fn open(&mut self, name: &str) {
        self.text.push('<');
        self.text.push_str(name);
        self.text.push('>');
    }

    /// `</name>`
    pub fn close(&mut self, name: &str) {
        self.text.push_str("</");
        self.text.push_str(name);
        self.text.push('>');
    }

    /// `<name>text</name>`, escaped.
    pub fn text(&mut self, name: &str, text: &str) {
        self.open(name);
        escape_into(&mut self.text, text);
        self.close(name);
    }

    /// `<name>xml</name>`, where `xml` is already XML.
    pub fn raw(&mut self, name: &str, xml: &str) {
        self.open(name);
        self.text.push_str(xml);
        self.close(name);
    }

    /// A `Part` of a CompleteMultipartUpload. The ETag is without quotes.
    pub fn part(&mut self, number: u16, etag: &str) {
        self.open("Part");
        self.text("PartNumber", &number.to_string());
        self.text("ETag", &super::object::quoted(etag));
        self.close("Part");
    }

    /// Ends the document.
    pub fn finish(mut self) -> Bytes {
        let root = self.root;
        self.close(root);
        self.text.into()
    }
}

/// Escapes text for XML. Characters that XML 1.0 cannot carry become character references, as S3 does.
pub fn escape_into(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\r' => out.push_str("&#13;"),
            c if c.is_control() && c != '\n' && c != '\t' => {
                out.push_str("&#");
                out.push_str(&(c as u32).to_string());
                out.push(';');
            }
            c => out.push(c),
        }
    }
}

/// Reads a client's XML body to its verified end.
///
/// # Errors
/// [`Error::DocumentTooLarge`] above `limit` bytes, or what is wrong with the body.
pub async fn read_document(mut body: BoxBody, limit: usize) -> Result<Bytes, Error> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            if bytes.len() + data.len() > limit {
                return Err(Error::DocumentTooLarge(limit));
            }
            bytes.extend_from_slice(&data);
        }
    }
    Ok(bytes.freeze())
}

/// Reads a body that should be empty, so that its verdict is known.
pub async fn drain(body: BoxBody) -> Result<Bytes, Error> {
    read_document(body, 0).await
}

/// Raw text of an element of the store's, unescaped.
pub fn unescape(raw: &str) -> Option<String> {
    quick_xml::escape::unescape(raw)
        .ok()
        .map(|text| text.into_owned())
}

/// A `Tagging` document as the query that `x-amz-tagging` is.
///
/// # Errors
/// [`Error::MalformedXml`].
pub fn tags_as_query(document: &str) -> Result<String, Error> {
    let mut query = Query::default();
    let (mut key, mut value) = (None, None);
    walk(document.as_bytes(), |element| {
        match element.path {
            ["Tagging", "TagSet", "Tag", "Key"] => xml::once(&mut key, element.text()?)?,
            ["Tagging", "TagSet", "Tag", "Value"] => xml::once(&mut value, element.text()?)?,
            ["Tagging", "TagSet", "Tag"] => {
                query.push(key.take().ok_or(Malformed)?, value.take().ok_or(Malformed)?);
            }
            ["Tagging"] | ["Tagging", "TagSet"] => {}
            _ => return Err(Malformed),
        }
        Ok(())
    })?;
    Ok(query.encode())
}

/// Copies `Deleted` and `Error` entries of the store's answer. Error texts are the store's own and stay out.
///
/// # Errors
/// [`StoreError::Malformed`].
pub fn copy_delete_result(document: &[u8], result: &mut Writer) -> Result<(), StoreError> {
    let malformed = StoreError::Malformed("DeleteResult is not XML");
    let (mut key, mut version, mut code) = (None, None, None);
    walk(document, |element| {
        match element.path {
            [_, "Deleted"] => result.raw("Deleted", element.inner),
            [_, "Error", "Key"] => key = Some(element.inner),
            [_, "Error", "VersionId"] => version = Some(element.inner),
            [_, "Error", "Code"] => code = Some(element.inner),
            [_, "Error"] => {
                result.open("Error");
                for (name, value) in [
                    ("Key", key.take()),
                    ("VersionId", version.take()),
                    ("Code", code.take()),
                ] {
                    if let Some(value) = value {
                        result.raw(name, value);
                    }
                }
                result.text("Message", "The object was not deleted");
                result.close("Error");
            }
            _ => {}
        }
        Ok(())
    })
    .map_err(|Malformed| malformed)
}

/// `ListAllMyBucketsResult` with only the buckets for which `keep` says so. The owner is left out: it is the
/// store's account.
///
/// # Errors
/// [`StoreError::Malformed`].
pub fn filter_buckets(
    document: &[u8],
    mut keep: impl FnMut(&str) -> bool,
) -> Result<Bytes, StoreError> {
    let malformed = || StoreError::Malformed("ListBuckets answer is not XML");
    let mut result = Writer::new("ListAllMyBucketsResult");
    result.open("Owner");
    result.text("ID", "sealgate");
    result.text("DisplayName", "sealgate");
    result.close("Owner");
    result.open("Buckets");
    let mut name = None;
    let mut tail = Vec::new();
    walk(document, |element| {
        match element.path {
            [_, "Buckets", "Bucket", "Name"] => name = unescape(element.inner),
            [_, "Buckets", "Bucket"] if name.take().is_some_and(|name| keep(&name)) => {
                result.raw("Bucket", element.inner);
            }
            [_, "ContinuationToken" | "Prefix"] => tail.push((element.path[1], element.inner)),
            _ => {}
        }
        Ok(())
    })
    .map_err(|Malformed| malformed())?;
    result.close("Buckets");
    for (name, inner) in tail {
        result.raw(name, inner);
    }
    Ok(result.finish())
}

/// The parts of a CopyObject answer that are used.
pub struct CopyResult {
    /// The store's ETag without quotes.
    pub etag: String,
    /// As the store gave it.
    pub last_modified: String,
}

/// Parses a CopyObject answer. Stores may answer 200 and put an error into it.
///
/// # Errors
/// [`StoreError`].
pub fn parse_copy_result(document: &[u8]) -> Result<CopyResult, StoreError> {
    let malformed = || StoreError::Malformed("CopyObject answer is not understood");
    let (mut etag, mut last_modified, mut code) = (None, None, None);
    walk(document, |element| {
        match element.path {
            ["CopyObjectResult", "ETag"] => etag = unescape(element.inner),
            ["CopyObjectResult", "LastModified"] => last_modified = unescape(element.inner),
            ["Error", "Code"] => code = unescape(element.inner),
            _ => {}
        }
        Ok(())
    })
    .map_err(|Malformed| malformed())?;
    if let Some(code) = code {
        return Err(StoreError::Status {
            status: http::StatusCode::INTERNAL_SERVER_ERROR,
            code,
            message: String::new(),
            headers: Box::default(),
        });
    }
    Ok(CopyResult {
        etag: super::object::unquoted(etag.ok_or_else(malformed)?.trim()).to_owned(),
        last_modified: last_modified.unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_visible_buckets_are_listed() {
        let document = b"<ListAllMyBucketsResult><Owner><ID>secret</ID></Owner><Buckets><Bucket><Name>a</Name></Bucket><Bucket><Name>b</Name></Bucket></Buckets></ListAllMyBucketsResult>";
        let out = filter_buckets(document, |name| name == "b").unwrap();
        let out = std::str::from_utf8(&out).unwrap();
        assert!(
            out.contains("<Name>b</Name>")
                && !out.contains("<Name>a</Name>")
                && !out.contains("secret")
        );
    }
}
