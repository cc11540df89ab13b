//! The XML answers that the checks read, as records of named texts.

use http::StatusCode;
use quick_xml::Reader;
use quick_xml::escape::{escape, unescape};
use quick_xml::events::Event;

use crate::protocol::uri;
use crate::store::StoreError;

/// Most events read of one document: a listing of 1,000 objects has some 30,000.
const MAX_EVENTS: usize = 200_000;

/// The texts directly within one element.
#[derive(Default)]
pub struct Record(Vec<(String, String)>);

/// An object of a listing.
pub struct Listed {
    pub key: String,
    /// Where the listing has versions.
    pub version: Option<String>,
    /// Without quotes; empty for a delete marker.
    pub etag: String,
    pub size: Option<u64>,
    pub is_delete_marker: bool,
}

impl Record {
    /// The text of this name; empty where there is none.
    pub fn text(&self, name: &str) -> &str {
        let found = self.0.iter().find(|(n, _)| n == name);
        found.map_or("", |(_, text)| text.trim())
    }
}

/// All elements of one of these names, in order.
pub fn records(document: &[u8], names: &[&str]) -> Result<Vec<(String, Record)>, StoreError> {
    let document = std::str::from_utf8(document).map_err(|_| malformed())?;
    read(document, names).ok_or_else(malformed)
}

/// The first element of this name. An error that came with a success status is an error.
pub fn record(document: &[u8], name: &str) -> Result<Record, StoreError> {
    let first = records(document, &[name, "Error"])?.into_iter().next();
    match first {
        Some((found, error)) if found == "Error" => Err(StoreError::Status {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            code: error.text("Code").to_owned(),
            message: error.text("Message").to_owned(),
            headers: Box::default(),
        }),
        Some((_, record)) => Ok(record),
        None => Err(malformed()),
    }
}

/// The objects of a listing, of versions or not.
pub fn listed(document: &[u8]) -> Result<Vec<Listed>, StoreError> {
    let encoded = records(document, &["ListBucketResult", "ListVersionsResult"])?
        .iter()
        .any(|(_, record)| record.text("EncodingType") == "url");
    let mut objects = Vec::new();
    for (name, record) in records(document, &["Contents", "Version", "DeleteMarker"])? {
        let mut key = record.text("Key").to_owned();
        if encoded {
            let bytes = uri::percent_decode(&key, true).map_err(|_| malformed())?;
            key = String::from_utf8(bytes).map_err(|_| malformed())?;
        }
        objects.push(Listed {
            key,
            version: Some(record.text("VersionId").to_owned()).filter(|id| !id.is_empty()),
            etag: record.text("ETag").trim_matches('"').to_owned(),
            size: record.text("Size").parse().ok(),
            is_delete_marker: name == "DeleteMarker",
        });
    }
    Ok(objects)
}

/// `CreateBucketConfiguration`.
pub fn create_bucket(region: &str) -> String {
    format!(
        "<CreateBucketConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
         <LocationConstraint>{}</LocationConstraint></CreateBucketConfiguration>",
        escape(region)
    )
}

/// `CompleteMultipartUpload` of these parts.
pub fn complete(parts: &[(u32, String)]) -> String {
    let mut text =
        String::from("<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
    for (number, etag) in parts {
        let etag = escape(etag.as_str());
        text.push_str(&format!(
            "<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"
        ));
    }
    text.push_str("</CompleteMultipartUpload>");
    text
}

fn malformed() -> StoreError {
    StoreError::Malformed("not the document that was asked for")
}

fn read(document: &str, names: &[&str]) -> Option<Vec<(String, Record)>> {
    let mut reader = Reader::from_str(document);
    // Name, where the content starts, whether an element stands within, texts within.
    let mut open: Vec<(String, usize, bool, Record)> = Vec::new();
    let mut found = Vec::new();
    for _ in 0..MAX_EVENTS {
        let before = usize::try_from(reader.buffer_position()).ok()?;
        let event = reader.read_event().ok()?;
        let after = usize::try_from(reader.buffer_position()).ok()?;
        match event {
            Event::Start(tag) => {
                if let Some(parent) = open.last_mut() {
                    parent.2 = true;
                }
                let name = tag.local_name().as_ref().to_owned();
                open.push((name, after, false, Record::default()));
            }
            Event::End(_) => {
                let (name, start, nested, record) = open.pop()?;
                if !nested && let Some(parent) = open.last_mut() {
                    let text = unescape(document.get(start..before)?).ok()?.into_owned();
                    parent.3.0.push((name.clone(), text));
                }
                if names.contains(&name.as_str()) {
                    found.push((name, record));
                }
            }
            Event::DocType(_) => return None,
            Event::Eof => return open.is_empty().then_some(found),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_listings() {
        let document = b"<?xml version=\"1.0\"?><ListVersionsResult xmlns=\"x\"><EncodingType>url</EncodingType>\
            <Version><Key>a%2Bb+c</Key><VersionId>1</VersionId><ETag>&quot;e&quot;</ETag><Size>7</Size>\
            <Owner><ID>o</ID></Owner></Version><DeleteMarker><Key>d</Key></DeleteMarker></ListVersionsResult>";
        let objects = listed(document).unwrap();
        assert_eq!(objects.len(), 2);
        assert_eq!(objects[0].key, "a+b c");
        assert_eq!((objects[0].etag.as_str(), objects[0].size), ("e", Some(7)));
        assert_eq!(objects[0].version.as_deref(), Some("1"));
        assert!(objects[1].is_delete_marker && objects[1].version.is_none());
    }

    #[test]
    fn an_error_in_a_success_is_an_error() {
        let error = record(b"<Error><Code>No</Code></Error>", "CopyObjectResult");
        assert_eq!(error.err().unwrap().code(), "No");
        for document in [
            "",
            "<a>",
            "</a>",
            "<a></b>",
            "<!DOCTYPE a><a></a>",
            "<b></b>",
        ] {
            assert!(record(document.as_bytes(), "a").is_err(), "{document}");
        }
    }

    #[test]
    fn parts_are_escaped() {
        let text = complete(&[(1, "\"e\"".into())]);
        assert!(text.contains("<PartNumber>1</PartNumber><ETag>&quot;e&quot;</ETag>"));
    }
}
