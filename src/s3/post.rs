//! POST Object, the upload by a browser's form: the form becomes the headers and the body of a PutObject (S3 API:
//! "POST Object", "Browser-based uploads using POST").
//!
//! ```text
//! Form::read ──► fields ──► signature, permit ──► Form::file ──► Upload ──► put ──► Success::answer
//! ```
//!
//! Until signature and permit stand, nothing but the fields has been read.

use bytes::{Bytes, BytesMut};
use http::header::{ETAG, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use http_body_util::BodyExt;

use super::call::{Response, set};
use super::{Error, xml};
use crate::protocol::post_form::{
    Delimiter, Fields, FormError, FormFile, FormHead, file_in, is_form,
};
use crate::protocol::post_policy::PostPolicy;
use crate::protocol::uri::{MAX_KEY, Query, UriError, percent_encode_into};
use crate::pump::{self, BoxBody, FormBody};

/// Up to this length, what follows the fields is taken in whole, and parts behind the file are allowed.
const SHORT: u64 = 64 * 1024;

/// What stands for the file's name in the value of a field.
const FILENAME: &str = "${filename}";

/// Whether a request on a bucket brings a form: authenticated by what the form holds, not by its head.
pub fn is_upload(method: &Method, query: &Query, headers: &HeaderMap) -> bool {
    let kind = headers.get(http::header::CONTENT_TYPE);
    *method == Method::POST
        && kind
            .and_then(|kind| kind.to_str().ok())
            .is_some_and(is_form)
        && query
            .iter()
            .all(|(name, _)| super::route::is_parameter(name))
}

/// A form, read up to its file.
pub struct Form {
    fields: Fields,
    delimiter: Delimiter,
    /// Of the file, and what follows it: what has been read, what has not, and the length of both.
    begun: Bytes,
    raw: BoxBody,
    rest: u64,
}

/// A form that its policy allows.
pub struct Upload {
    /// The headers that a PutObject would have had.
    pub headers: HeaderMap,
    /// The file.
    pub file: BoxBody,
    /// Its length.
    pub length: u64,
    /// What to answer once it is stored.
    pub success: Success,
}

impl Form {
    /// Reads the fields. `length` is that of the whole body.
    ///
    /// # Errors
    /// [`Error::Form`], [`Error::Body`].
    pub async fn read(mut raw: BoxBody, headers: &HeaderMap, length: u64) -> Result<Self, Error> {
        let content_type = headers
            .get(http::header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .ok_or(FormError::ContentType)?;
        let delimiter = Delimiter::from_content_type(content_type)?;
        let mut reader = FormHead::new(delimiter.clone());
        let (head, begun) = loop {
            let frame = raw.frame().await.ok_or(FormError::Truncated)??;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            if let Some((head, used)) = reader.push(&data)? {
                break (head, data.slice(used..));
            }
        };
        let mut fields = head.fields;
        fields.map(|name, value| {
            let fixed = matches!(
                name,
                "policy" | "x-amz-signature" | "x-amz-credential" | "x-amz-date"
            );
            (!fixed && value.contains(FILENAME)).then(|| value.replace(FILENAME, &head.filename))
        });
        Ok(Self {
            fields,
            delimiter,
            begun,
            raw,
            rest: length
                .checked_sub(head.length)
                .ok_or(FormError::Truncated)?,
        })
    }

    /// The fields, with the file's name filled in.
    pub fn fields(&self) -> &Fields {
        &self.fields
    }

    /// The key to write to.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`], [`Error::Uri`].
    pub fn key(&self) -> Result<String, Error> {
        let invalid = |problem| Error::InvalidArgument {
            name: "key",
            problem,
        };
        match self.fields.get("key") {
            None => Err(invalid(
                "Bucket POST must contain this field, before the file",
            )),
            Some("") => Err(invalid("User key must have a length greater than 0")),
            Some(key) if key.len() > MAX_KEY => Err(UriError::KeyTooLong.into()),
            Some(key) => Ok(key.to_owned()),
        }
    }

    /// Finds the file, and holds the form against its policy. `now` is in unix seconds.
    ///
    /// # Errors
    /// [`Error::Form`], [`Error::Policy`], [`Error::InvalidArgument`], [`Error::Body`].
    pub async fn file(self, bucket: &str, now: i64) -> Result<Upload, Error> {
        let policy = PostPolicy::parse(self.fields.get("policy").unwrap_or_default())?;
        let headers = headers_of(&self.fields)?;
        let success = Success::of(&self.fields);
        let (file, length) = if self.rest <= SHORT {
            let rest = take(self.begun, self.raw, self.rest).await?;
            let end = file_in(&rest, &self.delimiter)?;
            (pump::full(rest.slice(..end)), end as u64)
        } else {
            let file = FormFile::new(self.delimiter, self.rest)?;
            let length = file.left();
            (FormBody::new(self.raw, file, self.begun).boxed(), length)
        };
        policy.check(&self.fields, bucket, length, now)?;
        Ok(Upload {
            headers,
            file,
            length,
            success,
        })
    }
}

/// The rest of a short form: `length` bytes at most, which HTTP has seen to.
async fn take(begun: Bytes, mut raw: BoxBody, length: u64) -> Result<Bytes, Error> {
    let mut bytes = BytesMut::with_capacity(usize::try_from(length).unwrap_or_default());
    bytes.extend_from_slice(&begun);
    while let Some(frame) = raw.frame().await {
        if let Ok(data) = frame?.into_data() {
            if (bytes.len() + data.len()) as u64 > length {
                return Err(FormError::Malformed("longer than declared").into());
            }
            bytes.extend_from_slice(&data);
        }
    }
    Ok(bytes.freeze())
}

/// Fields that become a header of the same name.
fn is_header(name: &str) -> bool {
    const PREFIXES: [&str; 5] = [
        "x-amz-meta-",
        "x-amz-checksum-",
        "x-amz-grant-",
        "x-amz-object-lock-",
        "x-amz-server-side-encryption",
    ];
    // Which checksum to compute: the values themselves are looked for.
    !matches!(name, "x-amz-checksum-algorithm" | "x-amz-checksum-type")
        && (PREFIXES.iter().any(|prefix| name.starts_with(prefix))
            || matches!(
                name,
                "cache-control"
                    | "content-disposition"
                    | "content-encoding"
                    | "content-language"
                    | "content-md5"
                    | "content-type"
                    | "expires"
                    | "if-match"
                    | "if-none-match"
                    | "x-amz-request-payer"
                    | "x-amz-expected-bucket-owner"
                    | "x-amz-storage-class"
                    | "x-amz-website-redirect-location"
            ))
}

/// The headers that a PutObject would have had. Other fields mean nothing; the policy has allowed them.
fn headers_of(fields: &Fields) -> Result<HeaderMap, Error> {
    let invalid = |problem| Error::InvalidArgument {
        name: "form field",
        problem,
    };
    let mut headers = HeaderMap::new();
    for (name, value) in fields.iter() {
        let tagging;
        let (name, value) = match name {
            "acl" => ("x-amz-acl", value),
            "tagging" => {
                tagging = xml::tags_as_query(value)?;
                ("x-amz-tagging", tagging.as_str())
            }
            _ if is_header(name) => (name, value),
            _ => continue,
        };
        // As HTTP carries it: what surrounds a value is not a part of it.
        let value = value.trim_matches([' ', '\t']);
        if value.is_empty() && !name.starts_with("x-amz-meta-") {
            continue;
        }
        let name = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| invalid("a name cannot stand for a header"))?;
        let value = HeaderValue::from_bytes(value.as_bytes())
            .map_err(|_| invalid("a value cannot stand in a header"))?;
        headers.insert(name, value);
    }
    Ok(headers)
}

/// What the form wants to hear once the file is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Success {
    /// A redirect there, with bucket, key and ETag.
    Redirect(Uri),
    /// One of 200, 201 and 204.
    Status(StatusCode),
}

impl Success {
    /// As S3 reads it: a redirect that is no URL is none, another status is 204.
    fn of(fields: &Fields) -> Self {
        let target = fields
            .get("success_action_redirect")
            .or_else(|| fields.get("redirect"))
            .and_then(|text| text.parse::<Uri>().ok())
            .filter(|uri| matches!(uri.scheme_str(), Some("http" | "https")));
        match (target, fields.get("success_action_status")) {
            (Some(uri), _) => Self::Redirect(uri),
            (None, Some("200")) => Self::Status(StatusCode::OK),
            (None, Some("201")) => Self::Status(StatusCode::CREATED),
            (None, _) => Self::Status(StatusCode::NO_CONTENT),
        }
    }

    /// Makes the answer to the form of the one to the PutObject. `location` is the object's URL.
    pub fn answer(&self, put: Response, bucket: &str, key: &str, location: &str) -> Response {
        let mut headers = put.headers;
        let etag = headers
            .get(ETAG)
            .and_then(|etag| etag.to_str().ok())
            .unwrap_or_default()
            .to_owned();
        match self {
            Self::Redirect(uri) => {
                set(&mut headers, LOCATION, &redirect(uri, bucket, key, &etag));
                Response::empty(StatusCode::SEE_OTHER, headers)
            }
            Self::Status(StatusCode::CREATED) => {
                set(&mut headers, LOCATION, location);
                let mut text =
                    String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<PostResponse>");
                for (name, value) in [
                    ("Location", location),
                    ("Bucket", bucket),
                    ("Key", key),
                    ("ETag", &etag),
                ] {
                    text.push_str(&format!("<{name}>"));
                    xml::escape_into(&mut text, value);
                    text.push_str(&format!("</{name}>"));
                }
                text.push_str("</PostResponse>");
                Response::xml(StatusCode::CREATED, headers, text)
            }
            Self::Status(status) => {
                set(&mut headers, LOCATION, location);
                Response::empty(*status, headers)
            }
        }
    }
}

/// The URL with `bucket`, `key` and `etag` added to its query.
fn redirect(uri: &Uri, bucket: &str, key: &str, etag: &str) -> String {
    let mut url = uri.to_string();
    let mut separator = match uri.query() {
        None => '?',
        Some(_) => '&',
    };
    for (name, value) in [("bucket", bucket), ("key", key), ("etag", etag)] {
        url.push(separator);
        url.push_str(name);
        url.push('=');
        percent_encode_into(&mut url, value.as_bytes(), false);
        separator = '&';
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&str, &str)]) -> Fields {
        pairs
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
            .collect()
    }

    #[test]
    fn fields_become_headers() {
        let headers = headers_of(&fields(&[
            ("acl", "public-read"), ("Content-Type", " text/plain "), ("x-amz-meta-a", "é"), ("x-amz-meta-b", ""),
            ("x-amz-storage-class", ""), ("x-amz-copy-source", "/other/secret"), ("x-amz-checksum-algorithm", "CRC32"),
            ("authorization", "x"), ("host", "x"), ("x-amz-decoded-content-length", "1"),
            ("tagging", "<Tagging><TagSet><Tag><Key>a b</Key><Value>1&amp;2</Value></Tag><Tag><Key>c</Key><Value/></Tag></TagSet></Tagging>"),
        ])).unwrap();
        let mut found: Vec<_> = headers
            .iter()
            .map(|(n, v)| (n.as_str(), String::from_utf8_lossy(v.as_bytes())))
            .collect();
        found.sort();
        let expected = [
            ("content-type", "text/plain"),
            ("x-amz-acl", "public-read"),
            ("x-amz-meta-a", "é"),
            ("x-amz-meta-b", ""),
            ("x-amz-tagging", "a%20b=1%262&c="),
        ];
        assert_eq!(found, expected.map(|(n, v)| (n, v.into())));
        for bad in [
            ("x-amz-meta-a b", "x"),
            ("content-type", "a\r\nx-amz-acl: public-read"),
            ("tagging", "<Tagging>"),
        ] {
            assert!(headers_of(&fields(&[bad])).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn success_is_told_as_the_form_wants() {
        let success = |pairs: &[(&str, &str)]| Success::of(&fields(pairs));
        assert_eq!(success(&[]), Success::Status(StatusCode::NO_CONTENT));
        assert_eq!(
            success(&[("success_action_status", "404")]),
            Success::Status(StatusCode::NO_CONTENT)
        );
        for not_a_url in [
            "nowhere",
            "javascript:alert(1)",
            "/path",
            "//host/path",
            "https://a b",
            "ftp://h/",
        ] {
            let pairs = [
                ("success_action_redirect", not_a_url),
                ("success_action_status", "201"),
            ];
            assert_eq!(
                success(&pairs),
                Success::Status(StatusCode::CREATED),
                "{not_a_url}"
            );
        }
        for (given, expected) in [
            (
                "https://h.example",
                "https://h.example/?bucket=b&key=k%2F%26&etag=%22e%22",
            ),
            (
                "http://h/p?q=1#f",
                "http://h/p?q=1&bucket=b&key=k%2F%26&etag=%22e%22",
            ),
        ] {
            let Success::Redirect(uri) = success(&[("redirect", given)]) else {
                panic!("{given}");
            };
            assert_eq!(redirect(&uri, "b", "k/&", "\"e\""), expected);
        }
    }
}
