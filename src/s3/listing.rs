//! A page of a listing as the store gives it, and the page that clients get: the same document with plaintext sizes
//! and ETags, without what is hidden, put together from as many of the store's pages as that takes.

use std::fmt::Write as _;

use bytes::Bytes;

use super::facts::ChecksumKind;
use super::parts::type_name;
use super::xml::unescape;
use crate::formats::v1::protocol_algorithm;
use crate::protocol::uri;
use crate::protocol::xml::{self, Malformed, walk};
use crate::store::StoreError;

/// A page of ListObjects, ListObjectsV2 or ListObjectVersions.
pub struct Page<'a> {
    document: &'a str,
    /// What it lists, in its order.
    pub items: Vec<Item<'a>>,
    /// Whether the store says that more follows.
    pub truncated: bool,
    /// Where the root's children begin and end.
    inside: std::ops::Range<usize>,
    /// Everything else below the root: names, and where each stands.
    rest: Vec<(&'a str, std::ops::Range<usize>)>,
    /// Where the next page begins, in the store's words.
    next: Vec<(&'a str, &'a str)>,
    url_encoded: bool,
    /// How many items a page may have, where the store repeats it.
    pub max_keys: Option<usize>,
}

/// One line of a listing.
pub struct Item<'a> {
    /// Its key or common prefix, decoded.
    pub name: String,
    /// What it is.
    pub kind: ItemKind<'a>,
    span: std::ops::Range<usize>,
}

/// What a line of a listing is about.
pub enum ItemKind<'a> {
    /// Stored bytes.
    Object(Entry<'a>),
    /// The mark of a deletion, in a bucket that keeps versions.
    DeleteMarker,
    /// All keys that begin alike.
    CommonPrefix,
}

/// One object of a listing.
pub struct Entry<'a> {
    /// `VersionId`, where the listing has it.
    pub version: Option<String>,
    /// The store's ETag without quotes.
    pub store_etag: String,
    /// Stored length.
    pub stored_len: u64,
    element: &'a str,
    children: Vec<(&'a str, &'a str)>,
}

impl Entry<'_> {
    /// The inner XML of a child element.
    pub fn child(&self, name: &str) -> Option<&str> {
        let found = self.children.iter().find(|(child, _)| *child == name);
        found.map(|(_, inner)| *inner)
    }
}

/// What a client is to see of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Plaintext length.
    pub len: u64,
    /// ETag without quotes.
    pub etag: String,
    /// What kind of checksum it has.
    pub checksum: Option<ChecksumKind>,
}

/// What says where the next page begins.
const NEXT: [&str; 4] = [
    "NextMarker",
    "NextContinuationToken",
    "NextKeyMarker",
    "NextVersionIdMarker",
];

impl<'a> Page<'a> {
    /// Parses the store's answer.
    ///
    /// # Errors
    /// [`StoreError::Malformed`].
    pub fn parse(document: &'a [u8]) -> Result<Self, StoreError> {
        let malformed = || StoreError::Malformed("listing is not understood");
        let document = xml::text(document).map_err(|Malformed| malformed())?;
        let mut page = Self {
            document,
            items: Vec::new(),
            truncated: false,
            inside: 0..0,
            rest: Vec::new(),
            next: Vec::new(),
            url_encoded: false,
            max_keys: None,
        };
        let mut children: Vec<(&'a str, &'a str)> = Vec::new();
        walk(document.as_bytes(), |element| {
            match element.path {
                [
                    _,
                    "Contents" | "Version" | "DeleteMarker" | "CommonPrefixes",
                    child,
                ] => {
                    children.push((child, element.inner));
                }
                [
                    _,
                    name @ ("Contents" | "Version" | "DeleteMarker" | "CommonPrefixes"),
                ] => {
                    let item = item(name, std::mem::take(&mut children), element.span.clone())?;
                    page.items.push(item);
                }
                [_, name] if NEXT.contains(name) => page.next.push((name, element.inner)),
                [_, name] => {
                    let text = element.inner.trim();
                    match *name {
                        "IsTruncated" => page.truncated = text == "true",
                        "EncodingType" => page.url_encoded = text == "url",
                        "MaxKeys" => page.max_keys = text.parse().ok(),
                        _ => {}
                    }
                    page.rest.push((name, element.span.clone()));
                }
                // A root without an end tag has no room for what follows.
                [_] => page.inside = element.inside.clone().ok_or(Malformed)?,
                _ => {}
            }
            Ok(())
        })
        .map_err(|Malformed| malformed())?;
        if page.url_encoded {
            for item in &mut page.items {
                let bytes = uri::percent_decode(&item.name, true).map_err(|_| malformed())?;
                item.name = String::from_utf8(bytes).map_err(|_| malformed())?;
            }
        }
        Ok(page)
    }

    /// A field that says where the next page begins, decoded.
    pub fn next(&self, name: &str) -> Option<String> {
        let (_, raw) = self.next.iter().find(|(found, _)| *found == name)?;
        let text = unescape(raw)?;
        // Markers are keys; tokens are not.
        if self.url_encoded && name != "NextContinuationToken" && name != "NextVersionIdMarker" {
            String::from_utf8(uri::percent_decode(&text, true).ok()?).ok()
        } else {
            Some(text)
        }
    }
}

fn item<'a>(
    element: &'a str,
    children: Vec<(&'a str, &'a str)>,
    span: std::ops::Range<usize>,
) -> Result<Item<'a>, Malformed> {
    let field = |name: &str| children.iter().find(|(n, _)| *n == name).map(|(_, v)| *v);
    let name = if element == "CommonPrefixes" {
        "Prefix"
    } else {
        "Key"
    };
    let name = unescape(field(name).ok_or(Malformed)?).ok_or(Malformed)?;
    let kind = match element {
        "CommonPrefixes" => ItemKind::CommonPrefix,
        "DeleteMarker" => ItemKind::DeleteMarker,
        _ => ItemKind::Object(Entry {
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
            element,
            children,
        }),
    };
    Ok(Item { name, kind, span })
}

/// The page for the client, as it is put together.
#[derive(Default)]
pub struct Answer {
    head: String,
    /// Fields that describe the request, from the store's first page.
    fields: String,
    counted: bool,
    items: String,
    prefixes: String,
    tail: String,
    /// Lines so far.
    pub count: usize,
}

impl Answer {
    /// Takes what frames the lists from the store's first page.
    pub fn begin(page: &Page<'_>) -> Self {
        let mut answer = Self {
            head: page.document[..page.inside.start].to_owned(),
            tail: page.document[page.inside.end..].to_owned(),
            ..Self::default()
        };
        for (name, span) in &page.rest {
            match *name {
                "IsTruncated" => {}
                "KeyCount" => answer.counted = true,
                _ => answer.fields.push_str(&page.document[span.clone()]),
            }
        }
        answer
    }

    /// Adds a line as the store has it.
    pub fn push(&mut self, page: &Page<'_>, item: &Item<'_>) {
        let list = match item.kind {
            ItemKind::CommonPrefix => &mut self.prefixes,
            _ => &mut self.items,
        };
        list.push_str(&page.document[item.span.clone()]);
        self.count += 1;
    }

    /// Adds an object as it is to be shown.
    pub fn push_object(&mut self, entry: &Entry<'_>, shown: &Shown) {
        let out = &mut self.items;
        let _ = write!(out, "<{}>", entry.element);
        for (name, inner) in &entry.children {
            match *name {
                // The store's checksums are of the sealed bytes.
                "ChecksumAlgorithm" | "ChecksumType" => continue,
                // Every entry has one; the order of S3 is checksum, size.
                "Size" => {
                    if let Some(checksum) = shown.checksum {
                        let algorithm = protocol_algorithm(checksum.algorithm);
                        push_element(out, "ChecksumAlgorithm", algorithm.name());
                        push_element(out, "ChecksumType", type_name(checksum.kind));
                    }
                    push_element(out, name, &shown.len.to_string());
                }
                "ETag" => push_element(out, name, &format!("&quot;{}&quot;", shown.etag)),
                _ => push_element(out, name, inner),
            }
        }
        let _ = write!(out, "</{}>", entry.element);
        self.count += 1;
    }

    /// Ends the page; `last` is the store's last page, where the next one begins behind it.
    pub fn finish(self, last: Option<&Page<'_>>) -> Bytes {
        let mut out = self.head;
        out.reserve(self.fields.len() + self.items.len() + self.prefixes.len() + 512);
        out.push_str(&self.fields);
        if self.counted {
            push_element(&mut out, "KeyCount", &self.count.to_string());
        }
        let truncated = if last.is_some() { "true" } else { "false" };
        push_element(&mut out, "IsTruncated", truncated);
        for (name, inner) in last.iter().flat_map(|page| &page.next) {
            push_element(&mut out, name, inner);
        }
        out.push_str(&self.items);
        out.push_str(&self.prefixes);
        out.push_str(&self.tail);
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
    use crate::aead::{ChecksumAlgorithm, ChecksumType};

    fn object<'p, 'a>(page: &'p Page<'a>, at: usize) -> &'p Entry<'a> {
        match &page.items[at].kind {
            ItemKind::Object(entry) => entry,
            _ => panic!("no object"),
        }
    }

    #[test]
    fn a_listing_keeps_everything_but_sizes_etags_and_checksums() {
        let document = concat!(
            "<?xml version=\"1.0\"?><ListBucketResult xmlns=\"x\"><Name>b</Name><Marker/>",
            "<KeyCount>2</KeyCount><IsTruncated>true</IsTruncated><NextMarker>p/</NextMarker>",
            "<Contents><Key>a&amp;b</Key><Size>800</Size><ETag>&quot;e&quot;</ETag>",
            "<ChecksumAlgorithm>CRC32</ChecksumAlgorithm><Owner><ID>1</ID></Owner></Contents>",
            "<CommonPrefixes><Prefix>p/</Prefix></CommonPrefixes></ListBucketResult>"
        );
        let page = Page::parse(document.as_bytes()).unwrap();
        assert_eq!(page.items.len(), 2);
        let entry = object(&page, 0);
        assert_eq!(page.items[0].name, "a&b");
        assert_eq!((entry.store_etag.as_str(), entry.stored_len), ("e", 800));
        let mut answer = Answer::begin(&page);
        let shown = Shown {
            len: 7,
            etag: "f".into(),
            checksum: Some(ChecksumKind {
                algorithm: ChecksumAlgorithm::Sha1,
                kind: ChecksumType::Composite,
            }),
        };
        answer.push_object(entry, &shown);
        answer.push(&page, &page.items[1]);
        let expected = document
            .replace("<Size>800", "<ChecksumAlgorithm>SHA1</ChecksumAlgorithm><ChecksumType>COMPOSITE</ChecksumType><Size>7")
            .replace("&quot;e&quot;", "&quot;f&quot;")
            .replace("<ChecksumAlgorithm>CRC32</ChecksumAlgorithm>", "");
        let out = answer.finish(Some(&page));
        assert_eq!(std::str::from_utf8(&out).unwrap(), expected);

        let none = Answer::begin(&page).finish(None);
        let expected = "<?xml version=\"1.0\"?><ListBucketResult xmlns=\"x\"><Name>b</Name><Marker/><KeyCount>0</KeyCount><IsTruncated>false</IsTruncated></ListBucketResult>";
        assert_eq!(std::str::from_utf8(&none).unwrap(), expected);
    }

    #[test]
    fn url_encoded_keys_are_decoded_for_lookups_only() {
        let document = "<R><EncodingType>url</EncodingType><Contents><Key>a%2Bb+c%0A</Key><Size>1</Size></Contents></R>";
        let page = Page::parse(document.as_bytes()).unwrap();
        assert_eq!(page.items[0].name, "a+b c\n");
        let mut answer = Answer::begin(&page);
        let shown = Shown {
            len: 1,
            etag: String::new(),
            checksum: None,
        };
        answer.push_object(object(&page, 0), &shown);
        let out = answer.finish(None);
        assert!(std::str::from_utf8(&out).unwrap().contains("a%2Bb+c%0A"));
    }

    #[test]
    fn versions_and_marks_of_deletion_keep_their_order() {
        let document = concat!(
            "<ListVersionsResult><MaxKeys>7</MaxKeys><DeleteMarker><Key>a</Key></DeleteMarker>",
            "<Version><Key>a</Key><VersionId>1</VersionId><Size>5</Size></Version>",
            "<DeleteMarker><Key>hidden</Key></DeleteMarker></ListVersionsResult>"
        );
        let page = Page::parse(document.as_bytes()).unwrap();
        assert_eq!(page.max_keys, Some(7));
        assert_eq!(object(&page, 1).version.as_deref(), Some("1"));
        let mut answer = Answer::begin(&page);
        answer.push(&page, &page.items[0]);
        answer.push(&page, &page.items[1]);
        let out = answer.finish(None);
        let expected = document
            .replace("</MaxKeys>", "</MaxKeys><IsTruncated>false</IsTruncated>")
            .replace("<DeleteMarker><Key>hidden</Key></DeleteMarker>", "");
        assert_eq!(std::str::from_utf8(&out).unwrap(), expected);
    }

    #[test]
    fn an_empty_root_and_none_at_all() {
        let page = Page::parse(b"<R></R>").unwrap();
        assert!(page.items.is_empty() && !page.truncated);
        assert_eq!(
            Answer::begin(&page).finish(None),
            "<R><IsTruncated>false</IsTruncated></R>"
        );
        let page =
            Page::parse(b"<R a='>'><Contents><Key>k</Key><Size>1</Size></Contents></R>").unwrap();
        assert_eq!(
            Answer::begin(&page).finish(None),
            "<R a='>'><IsTruncated>false</IsTruncated></R>"
        );
        for bad in ["", "text", "<R/>", "<R/>x<R/>", "<R><Contents/></R>", "<R>"] {
            assert!(Page::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
