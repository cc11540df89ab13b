//! What else a request brings: target, query, copy source, ranges, dates, checksums, conditions.
#![no_main]

use http::header::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use sealgate::protocol::{Conditions, CopySource, Expected, Query, RangeSpec, Target, date, uri};

#[derive(Debug, arbitrary::Arbitrary)]
struct Input<'a> {
    text: &'a str,
    host: Option<&'a str>,
    total: u64,
    headers: Vec<(u8, &'a [u8])>,
}

const NAMES: [&str; 10] = [
    "content-md5",
    "x-amz-checksum-crc32",
    "x-amz-checksum-crc64nvme",
    "x-amz-checksum-sha256",
    "x-amz-sdk-checksum-algorithm",
    "x-amz-trailer",
    "if-match",
    "if-none-match",
    "if-modified-since",
    "x-amz-copy-source-if-unmodified-since",
];

fuzz_target!(|input: Input<'_>| {
    let text = input.text;
    if let Ok(target) = Target::parse(text, input.host, &["s3.example.org"])
        && let (Some(bucket), Some(key)) = (target.bucket(), target.key())
    {
        let path = uri::encode_path(bucket, key);
        let none: [&str; 0] = [];
        let again = Target::parse(&path, None, &none).unwrap();
        assert_eq!((again.bucket(), again.key()), (Some(bucket), Some(key)));
    }
    if let Ok(query) = Query::parse(text) {
        assert_eq!(Query::parse(&query.encode()).unwrap(), query);
    }
    if let Ok(source) = CopySource::parse(text) {
        assert_eq!(CopySource::parse(&source.to_header()).unwrap(), source);
    }
    for spec in [RangeSpec::parse(text), RangeSpec::parse_copy_source(text)]
        .into_iter()
        .flatten()
    {
        if let Ok(Some(range)) = spec.resolve(input.total) {
            assert!(range.first() <= range.last() && range.last() < input.total);
        }
    }
    if let Ok(at) = date::parse_http_date(text) {
        assert_eq!(date::parse_http_date(&date::format_http_date(at)), Ok(at));
    }
    if let Ok(at) = date::parse_amz_date(text) {
        assert_eq!(date::format_amz_date(at), text);
    }
    let _ = date::parse_iso8601(text);
    let mut headers = HeaderMap::new();
    for (which, value) in input.headers.iter().take(16) {
        if let Ok(value) = HeaderValue::from_bytes(value) {
            let name = NAMES[usize::from(*which) % NAMES.len()];
            headers.append(HeaderName::from_static(name), value);
        }
    }
    let _ = Expected::from_headers(&headers, None);
    let _ = Conditions::from_headers(&headers).is_empty();
    let _ = Conditions::from_copy_source(&headers).is_empty();
});
