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

/// A listing as the store gave it, with the entries that describe stored bytes.
pub struct Listing<'a> {
    document: &'a str,
    /// `Contents` or `Version` entries in order.
    pub entries: Vec<Entry<'a>>,
}

/// One object of a listing.
pub struct Entry<'a> {
    /// The key, decoded.
    pub key: String,
    /// `VersionId`, where the listing has it.
    pub version: Option<String>,
    /// The store's ETag without quotes.
    pub store_etag: String,
    /// Stored length.
    pub stored_len: u64,
    name: &'a str,
    children: Vec<(&'a str, &'a str)>,
    span: std::ops::Range<usize>,
}

/// What a client is to see of an entry.
pub struct Shown {
    /// Plaintext length.
    pub len: u64,
    /// ETag without quotes.
    pub etag: String,
}

impl Entry<'_> {
    /// The inner XML of a child element.
    pub fn child(&self, name: &str) -> Option<&str> {
        let found = self.children.iter().find(|(child, _)| *child == name);
        found.map(|(_, inner)| *inner)
    }
}

impl<'a> Listing<'a> {
    /// Parses a ListObjects, ListObjectsV2 or ListObjectVersions answer.
    ///
    /// # Errors
    /// [`StoreError::Malformed`].
    pub fn parse(document: &'a [u8]) -> Result<Self, StoreError> {
        let malformed = || StoreError::Malformed("listing is not understood");
        let document = xml::text(document).map_err(|Malformed| malformed())?;
        let mut entries = Vec::new();
        let mut children: Vec<(&'a str, &'a str)> = Vec::new();
        let mut url_encoded = false;
        walk(document.as_bytes(), |element| {
            match element.path {
                [_, "EncodingType"] => url_encoded = element.inner.trim() == "url",
                [_, "Contents" | "Version", child] => children.push((child, element.inner)),
                [_, name @ ("Contents" | "Version")] => {
                    let children = std::mem::take(&mut children);
                    let field =
                        |name: &str| children.iter().find(|(n, _)| *n == name).map(|(_, v)| *v);
                    entries.push(Entry {
                        key: unescape(field("Key").ok_or(Malformed)?).ok_or(Malformed)?,
                        version: field("VersionId").map(str::to_owned),
                        store_etag: unescape(field("ETag").unwrap_or_default())
                            .ok_or(Malformed)?
                            .trim()
                            .trim_matches('"')
                            .to_owned(),
                        stored_len: field("Size")
                            .ok_or(Malformed)?
                            .trim()
                            .parse()
                            .map_err(|_| Malformed)?,
                        name,
                        children,
                        span: element.span.clone(),
                    });
                }
                _ => {}
            }
            Ok(())
        })
        .map_err(|Malformed| malformed())?;
        if url_encoded {
            for entry in &mut entries {
                let bytes = crate::protocol::uri::percent_decode(&entry.key, true)
                    .map_err(|_| malformed())?;
                entry.key = String::from_utf8(bytes).map_err(|_| malformed())?;
            }
        }
        Ok(Self { document, entries })
    }

    /// The same listing with what clients are to see. `shown` has one item for each entry.
    pub fn rewrite(&self, shown: &[Shown]) -> Bytes {
        let mut out = String::with_capacity(self.document.len());
        let mut at = 0;
        for (entry, shown) in self.entries.iter().zip(shown) {
            out.push_str(&self.document[at..entry.span.start]);
            at = entry.span.end;
            let _ = std::fmt::Write::write_fmt(&mut out, format_args!("<{}>", entry.name));
            for (name, inner) in &entry.children {
                match *name {
                    // The store's checksums are of the sealed bytes.
                    "ChecksumAlgorithm" | "ChecksumType" => continue,
                    "Size" => push_element(&mut out, name, &shown.len.to_string()),
                    "ETag" => push_element(&mut out, name, &format!("&quot;{}&quot;", shown.etag)),
                    _ => push_element(&mut out, name, inner),
                }
            }
            let _ = std::fmt::Write::write_fmt(&mut out, format_args!("</{}>", entry.name));
        }
        out.push_str(&self.document[at..]);
        out.into()
    }
}

fn push_element(out: &mut String, name: &str, inner: &str) {
    for piece in ["<", name, ">", inner, "</", name, ">"] {
        out.push_str(piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_keeps_everything_but_sizes_etags_and_checksums() {
        let document = concat!(
            "<?xml version=\"1.0\"?><ListBucketResult xmlns=\"x\"><Name>b</Name>",
            "<Contents><Key>a&amp;b</Key><Size>800</Size><ETag>&quot;e&quot;</ETag>",
            "<ChecksumAlgorithm>CRC32</ChecksumAlgorithm><Owner><ID>1</ID></Owner></Contents>",
            "<CommonPrefixes><Prefix>p/</Prefix></CommonPrefixes></ListBucketResult>"
        );
        let listing = Listing::parse(document.as_bytes()).unwrap();
        assert_eq!(listing.entries.len(), 1);
        let entry = &listing.entries[0];
        assert_eq!(
            (
                entry.key.as_str(),
                entry.store_etag.as_str(),
                entry.stored_len
            ),
            ("a&b", "e", 800)
        );
        let out = listing.rewrite(&[Shown {
            len: 7,
            etag: "f".into(),
        }]);
        let expected = document
            .replace("800", "7")
            .replace("&quot;e&quot;", "&quot;f&quot;")
            .replace("<ChecksumAlgorithm>CRC32</ChecksumAlgorithm>", "");
        assert_eq!(std::str::from_utf8(&out).unwrap(), expected);
    }

    #[test]
    fn url_encoded_keys_are_decoded_for_lookups_only() {
        let document = "<R><EncodingType>url</EncodingType><Contents><Key>a%2Bb+c%0A</Key><Size>1</Size></Contents></R>";
        let listing = Listing::parse(document.as_bytes()).unwrap();
        assert_eq!(listing.entries[0].key, "a+b c\n");
        let out = listing.rewrite(&[Shown {
            len: 1,
            etag: String::new(),
        }]);
        assert!(std::str::from_utf8(&out).unwrap().contains("a%2Bb+c%0A"));
    }

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
