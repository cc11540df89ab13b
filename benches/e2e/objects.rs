//! What the sink keeps: objects, uploads in parts, and the documents that list them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;

use crate::http::Head;
use crate::made::Made;

/// Bytes read from a file at once, and of zeros.
const READ: u64 = 256 * 1024;
static ZEROS: [u8; READ as usize] = [0; READ as usize];

/// The bytes of an object.
pub enum Stored {
    /// All in memory.
    Memory(Bytes),
    /// In a file of this length.
    File(File, u64),
    /// Of parts, each with where it ends and its beginning.
    Parts(Vec<(u64, Part)>),
    /// Made up as it is read.
    Made(Made),
}

/// A part of an upload: its length, the beginning that was kept, its ETag.
#[derive(Clone)]
pub struct Part {
    length: u64,
    kept: Bytes,
    etag: String,
}

/// An object.
pub struct Object {
    /// Its bytes.
    pub stored: Stored,
    /// Its ETag, in quotes.
    pub etag: String,
    /// Lines of the head that come back.
    pub headers: String,
}

impl Stored {
    /// Length in bytes.
    pub fn length(&self) -> u64 {
        match self {
            Self::Memory(data) => data.len() as u64,
            Self::File(_, length) => *length,
            Self::Parts(parts) => parts.last().map_or(0, |(end, _)| *end),
            Self::Made(made) => made.length(),
        }
    }

    /// Some of the `left` bytes from `at` on; what is measured is in memory, the page cache, or soon sealed, so it does
    /// not block.
    pub fn read(&self, at: u64, left: u64) -> io::Result<Bytes> {
        match self {
            Self::Memory(data) => Ok(data.slice(at as usize..(at + left) as usize)),
            Self::File(file, _) => {
                let mut buffer = vec![0; left.min(READ) as usize];
                file.read_exact_at(&mut buffer, at)?;
                Ok(buffer.into())
            }
            Self::Made(made) => made.read(at, left),
            Self::Parts(parts) => {
                let index = parts.partition_point(|(end, _)| *end <= at);
                let Some((end, part)) = parts.get(index) else {
                    return Ok(Bytes::new());
                };
                let within = at - (end - part.length);
                let left = left.min(end - at);
                let kept = part.kept.len() as u64;
                Ok(if within < kept {
                    let to = kept.min(within + left);
                    part.kept.slice(within as usize..to as usize)
                } else {
                    Bytes::from_static(&ZEROS[..left.min(READ) as usize])
                })
            }
        }
    }
}

impl Object {
    /// An object that came with this head.
    pub fn new(stored: Stored, etag: String, head: &Head) -> Self {
        let headers = Self::kept_headers(head);
        Self {
            stored,
            etag,
            headers,
        }
    }

    /// The lines of a head that belong to an object.
    pub fn kept_headers(head: &Head) -> String {
        let mut kept = String::new();
        for (name, value) in head.headers() {
            let name = name.to_ascii_lowercase();
            if name.starts_with("x-amz-meta-") || name == "content-type" {
                let _ = write!(kept, "{name}: {value}\r\n");
            }
        }
        kept
    }
}

/// An upload in parts.
pub struct Upload {
    headers: String,
    parts: BTreeMap<u32, Part>,
}

impl Upload {
    /// Without parts yet.
    pub fn new(headers: String) -> Self {
        let parts = BTreeMap::new();
        Self { headers, parts }
    }

    /// Adds a part.
    pub fn insert(&mut self, number: u32, length: u64, kept: Bytes, etag: String) {
        let part = Part { length, kept, etag };
        self.parts.insert(number, part);
    }

    /// The object of the parts that a document names.
    pub fn complete(mut self, document: &str, number: u64) -> Object {
        let mut parts = Vec::new();
        let mut end = 0;
        for text in document.split("<PartNumber>").skip(1) {
            let number = text.split('<').next().and_then(|text| text.parse().ok());
            if let Some(part) = number.and_then(|number: u32| self.parts.remove(&number)) {
                end += part.length;
                parts.push((end, part));
            }
        }
        let etag = format!("\"{number:032x}-{}\"", parts.len());
        Object {
            stored: Stored::Parts(parts),
            etag,
            headers: self.headers,
        }
    }
}

/// ListParts.
pub fn part_list(upload: &Upload, query: &str) -> String {
    let number = |name| value(query, name).and_then(|text| text.parse::<u32>().ok());
    let (marker, most) = (
        number("part-number-marker").unwrap_or(0),
        number("max-parts").unwrap_or(1000).min(1000),
    );
    let mut rest = upload.parts.range(marker + 1..);
    let mut text = String::from("<ListPartsResult>");
    let mut last = marker;
    for (number, part) in rest.by_ref().take(most as usize) {
        last = *number;
        let _ = write!(
            text,
            "<Part><PartNumber>{number}</PartNumber><LastModified>2026-01-01T00:00:00.000Z</LastModified>\
             <ETag>{}</ETag><Size>{}</Size></Part>",
            part.etag, part.length
        );
    }
    let truncated = rest.next().is_some();
    let _ = write!(
        text,
        "<NextPartNumberMarker>{last}</NextPartNumberMarker><IsTruncated>{truncated}</IsTruncated></ListPartsResult>"
    );
    text
}

/// ListObjectsV2 of the bucket at `path`.
pub fn listing(objects: &BTreeMap<String, Arc<Object>>, path: &str, query: &str) -> String {
    let bucket = path.trim_matches('/');
    let prefix = value(query, "prefix").unwrap_or_default();
    let prefix = prefix.replace("%2F", "/").replace("%7E", "~");
    let most: usize = value(query, "max-keys")
        .and_then(|text| text.parse().ok())
        .unwrap_or(1000);
    let root = format!("/{bucket}/");
    let after = value(query, "continuation-token")
        .or(value(query, "start-after"))
        .map(|token| token.replace("%2F", "/").replace("%7E", "~"));
    let from = format!("{root}{}", after.as_deref().unwrap_or(&prefix));
    let mut rest = objects
        .range(from.clone()..)
        .skip_while(|(path, _)| after.is_some() && **path == from)
        .filter_map(|(path, object)| Some((path.strip_prefix(&root)?, object)))
        .take_while(|(key, _)| key.starts_with(&prefix));
    let mut text = format!(
        "<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>{bucket}</Name>\
         <Prefix>{prefix}</Prefix><MaxKeys>{most}</MaxKeys>"
    );
    let (mut count, mut last) = (0, "");
    for (key, object) in rest.by_ref().take(most) {
        (count, last) = (count + 1, key);
        let _ = write!(
            text,
            "<Contents><Key>{key}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>{}</ETag>\
             <Size>{}</Size><StorageClass>STANDARD</StorageClass></Contents>",
            object.etag,
            object.stored.length()
        );
    }
    let truncated = rest.next().is_some();
    if truncated {
        let _ = write!(
            text,
            "<NextContinuationToken>{last}</NextContinuationToken>"
        );
    }
    let _ = write!(
        text,
        "<KeyCount>{count}</KeyCount><IsTruncated>{truncated}</IsTruncated></ListBucketResult>"
    );
    text
}

/// A parameter of a query, as it was sent.
pub fn value<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    let mut pairs = query.split('&');
    pairs.find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

/// `bytes=a-b`, `bytes=a-` and `bytes=-n` as a half-open range; anything else is no range.
pub fn resolve(value: &str, len: u64) -> Option<(u64, u64)> {
    let (first, last) = value.strip_prefix("bytes=")?.split_once('-')?;
    match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) if first <= last && first < len => {
            Some((first, len.min(last.saturating_add(1))))
        }
        (Ok(first), Err(_)) if last.is_empty() && first < len => Some((first, len)),
        (Err(_), Ok(suffix)) if first.is_empty() => Some((len.saturating_sub(suffix), len)),
        _ => None,
    }
}
