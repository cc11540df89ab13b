//! The few XML documents that the gateway reads or writes itself. Reading is bounded in bytes, depth
//! and entries, expands no entities but the five of XML, and takes a document for exactly what it is.

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use quick_xml::Reader;
use quick_xml::events::Event;

use super::Error;
use crate::pump::BoxBody;
use crate::store::StoreError;

/// Deepest nesting taken.
const MAX_DEPTH: usize = 32;
/// Keys in one DeleteObjects (S3: 1,000).
const MAX_DELETE: usize = 1000;

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
/// [`Error::MalformedXml`] above `limit` bytes, or what is wrong with the body.
pub async fn read_document(mut body: BoxBody, limit: usize) -> Result<Bytes, Error> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            if bytes.len() + data.len() > limit {
                return Err(Error::MalformedXml);
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

/// Raw text of an element, unescaped.
pub fn unescape(raw: &str) -> Option<String> {
    quick_xml::escape::unescape(raw)
        .ok()
        .map(|text| text.into_owned())
}

/// An element with its position in the document.
pub struct Element<'a> {
    /// Names from the root to this element.
    pub path: Vec<&'a str>,
    /// Everything between its tags, as it stands.
    pub inner: &'a str,
    /// The element with its tags.
    pub span: std::ops::Range<usize>,
}

/// Calls `visit` for each element as it ends (children before parents).
///
/// # Errors
/// Where it is not one well-formed document, is nested too deeply, or `visit` says so.
pub fn walk<'a>(
    document: &'a str,
    mut visit: impl FnMut(&Element<'a>) -> Result<(), ()>,
) -> Result<(), ()> {
    let mut reader = Reader::from_str(document);
    reader.config_mut().check_end_names = true;
    let mut path: Vec<&'a str> = Vec::new();
    let mut starts: Vec<(usize, usize)> = Vec::new();
    let mut roots = 0;
    loop {
        let before = usize::try_from(reader.buffer_position()).map_err(|_| ())?;
        let event = reader.read_event().map_err(|_| ())?;
        let after = usize::try_from(reader.buffer_position()).map_err(|_| ())?;
        match event {
            Event::Start(_) | Event::Empty(_) => {
                let empty = matches!(event, Event::Empty(_));
                let tag = document.get(before..after).ok_or(())?;
                let name = tag_name(tag);
                if path.is_empty() {
                    roots += 1;
                }
                if path.len() >= MAX_DEPTH || roots > 1 {
                    return Err(());
                }
                path.push(name);
                if empty {
                    visit(&Element {
                        path: path.clone(),
                        inner: "",
                        span: before..after,
                    })?;
                    path.pop();
                } else {
                    starts.push((before, after));
                }
            }
            Event::End(_) => {
                let (from, inner) = starts.pop().ok_or(())?;
                let inner = document.get(inner..before).ok_or(())?;
                visit(&Element {
                    path: path.clone(),
                    inner,
                    span: from..after,
                })?;
                path.pop();
            }
            Event::DocType(_) => return Err(()),
            Event::Eof => {
                return if path.is_empty() && roots == 1 {
                    Ok(())
                } else {
                    Err(())
                };
            }
            _ => {}
        }
    }
}

/// Local name of `<prefix:name attr…>`.
fn tag_name(tag: &str) -> &str {
    let name = tag
        .trim_start_matches('<')
        .split([' ', '\t', '\r', '\n', '/', '>'])
        .next()
        .unwrap_or_default();
    name.rsplit(':').next().unwrap_or(name)
}

/// One object of a DeleteObjects request.
pub struct DeleteEntry {
    /// Its key.
    pub key: String,
    /// Its version.
    pub version: Option<String>,
    /// Whether it carries conditions.
    pub conditional: bool,
}

/// A DeleteObjects request.
pub struct Delete {
    /// Objects in order.
    pub objects: Vec<DeleteEntry>,
    /// Report errors only.
    pub quiet: bool,
}

/// Parses a DeleteObjects request.
///
/// # Errors
/// [`Error::MalformedXml`]: not XML, no keys, more than 1,000.
pub fn parse_delete(document: &[u8]) -> Result<Delete, Error> {
    let document = std::str::from_utf8(document).map_err(|_| Error::MalformedXml)?;
    let mut delete = Delete {
        objects: Vec::new(),
        quiet: false,
    };
    let (mut key, mut version, mut conditional) = (None, None, false);
    walk(document, |element| {
        match element.path.as_slice() {
            ["Delete", "Object", "Key"] => key = Some(unescape(element.inner).ok_or(())?),
            ["Delete", "Object", "VersionId"] => {
                version = Some(unescape(element.inner).ok_or(())?).filter(|v| !v.is_empty());
            }
            ["Delete", "Object", "ETag" | "LastModifiedTime" | "Size"] => conditional = true,
            ["Delete", "Object"] => {
                let key = key.take().filter(|key| !key.is_empty()).ok_or(())?;
                if delete.objects.len() == MAX_DELETE {
                    return Err(());
                }
                delete.objects.push(DeleteEntry {
                    key,
                    version: version.take(),
                    conditional,
                });
                conditional = false;
            }
            ["Delete", "Quiet"] => delete.quiet = element.inner.trim().eq_ignore_ascii_case("true"),
            ["Delete"] => {}
            [root] if *root != "Delete" => return Err(()),
            _ => {}
        }
        Ok(())
    })
    .map_err(|()| Error::MalformedXml)?;
    if delete.objects.is_empty() {
        Err(Error::MalformedXml)
    } else {
        Ok(delete)
    }
}

/// Copies `Deleted` and `Error` entries of the store's answer. Error texts are the store's own and stay out.
///
/// # Errors
/// [`StoreError::Malformed`].
pub fn copy_delete_result(document: &[u8], result: &mut Writer) -> Result<(), StoreError> {
    let malformed = StoreError::Malformed("DeleteResult is not XML");
    let Ok(document) = std::str::from_utf8(document) else {
        return Err(malformed);
    };
    let (mut key, mut version, mut code) = (None, None, None);
    walk(document, |element| {
        match element.path.as_slice() {
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
    .map_err(|()| malformed)
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
    let document = std::str::from_utf8(document).map_err(|_| malformed())?;
    let mut result = Writer::new("ListAllMyBucketsResult");
    result.open("Owner");
    result.text("ID", "sealgate");
    result.text("DisplayName", "sealgate");
    result.close("Owner");
    result.open("Buckets");
    let mut name = None;
    let mut tail = Vec::new();
    walk(document, |element| {
        match element.path.as_slice() {
            [_, "Buckets", "Bucket", "Name"] => name = unescape(element.inner),
            [_, "Buckets", "Bucket"] if name.take().is_some_and(|name| keep(&name)) => {
                result.raw("Bucket", element.inner);
            }
            [_, "ContinuationToken" | "Prefix"] => tail.push((element.path[1], element.inner)),
            _ => {}
        }
        Ok(())
    })
    .map_err(|()| malformed())?;
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
    let document = std::str::from_utf8(document).map_err(|_| malformed())?;
    let (mut etag, mut last_modified, mut code) = (None, None, None);
    walk(document, |element| {
        match element.path.as_slice() {
            ["CopyObjectResult", "ETag"] => etag = unescape(element.inner),
            ["CopyObjectResult", "LastModified"] => last_modified = unescape(element.inner),
            ["Error", "Code"] => code = unescape(element.inner),
            _ => {}
        }
        Ok(())
    })
    .map_err(|()| malformed())?;
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
        let document = std::str::from_utf8(document).map_err(|_| malformed())?;
        let mut entries = Vec::new();
        let mut children: Vec<(&'a str, &'a str)> = Vec::new();
        let mut url_encoded = false;
        walk(document, |element| {
            match element.path.as_slice() {
                [_, "EncodingType"] => url_encoded = element.inner.trim() == "url",
                [_, "Contents" | "Version", child] => children.push((child, element.inner)),
                [_, name @ ("Contents" | "Version")] => {
                    let children = std::mem::take(&mut children);
                    let field =
                        |name: &str| children.iter().find(|(n, _)| *n == name).map(|(_, v)| *v);
                    entries.push(Entry {
                        key: unescape(field("Key").ok_or(())?).ok_or(())?,
                        version: field("VersionId").map(str::to_owned),
                        store_etag: unescape(field("ETag").unwrap_or_default())
                            .ok_or(())?
                            .trim()
                            .trim_matches('"')
                            .to_owned(),
                        stored_len: field("Size").ok_or(())?.trim().parse().map_err(|_| ())?,
                        name,
                        children,
                        span: element.span.clone(),
                    });
                }
                _ => {}
            }
            Ok(())
        })
        .map_err(|()| malformed())?;
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
    fn deletes_are_bounded_and_strict() {
        let ok = b"<Delete><Object><Key>a</Key></Object><Object><Key>b</Key><VersionId>v</VersionId></Object><Quiet>true</Quiet></Delete>";
        let delete = parse_delete(ok).unwrap();
        assert!(
            delete.quiet
                && delete.objects.len() == 2
                && delete.objects[1].version.as_deref() == Some("v")
        );
        let many = format!(
            "<Delete>{}</Delete>",
            "<Object><Key>a</Key></Object>".repeat(1001)
        );
        let deep = format!("<Delete>{}", "<a>".repeat(64));
        let bad = [
            "",
            "<Delete/>",
            "<Delete><Object/></Delete>",
            "<Other/>",
            "<Delete>",
            "<a/><b/>",
            &many,
            &deep,
            "<!DOCTYPE x [<!ENTITY e \"x\">]><Delete><Object><Key>&e;</Key></Object></Delete>",
        ];
        for document in bad {
            assert!(parse_delete(document.as_bytes()).is_err(), "{document:.60}");
        }
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
