//! A request that carries a signature: read without a panic, and not taken, since none of them was signed.
#![no_main]

use http::Method;
use http::header::{HOST, HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use sealgate::auth::{Limits, RequestHead, Secret, verify};

#[derive(Debug, arbitrary::Arbitrary)]
struct Input<'a> {
    raw_path: &'a str,
    raw_query: &'a str,
    authorization: &'a [u8],
    credential: &'a str,
    signed_headers: &'a str,
    date: &'a str,
    payload: &'a str,
    headers: Vec<(&'a str, &'a [u8])>,
    well_formed: bool,
}

const NOW: i64 = 1_800_000_000;

fuzz_target!(|input: Input<'_>| {
    let mut headers = HeaderMap::new();
    headers.insert(HOST, HeaderValue::from_static("s3.example.org"));
    for (name, value) in input.headers.iter().take(16) {
        if let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(name.as_bytes()),
            HeaderValue::from_bytes(value),
        ) {
            headers.append(name, value);
        }
    }
    // Past the first checks, so that the later ones are reached too.
    let authorization = if input.well_formed {
        let date = "20270115T080000Z";
        headers.insert("x-amz-date", HeaderValue::from_static(date));
        let signature = "0".repeat(64);
        format!(
            "AWS4-HMAC-SHA256 Credential=user/20270115/us-east-1/s3/aws4_request,SignedHeaders=host;x-amz-date{},Signature={signature}",
            input.signed_headers
        )
        .into_bytes()
    } else {
        for (name, text) in [
            ("x-amz-date", input.date),
            ("x-amz-credential", input.credential),
        ] {
            if let Ok(value) = HeaderValue::from_str(text) {
                headers.insert(name, value);
            }
        }
        input.authorization.to_vec()
    };
    if let Ok(value) = HeaderValue::from_bytes(&authorization) {
        headers.insert("authorization", value);
    }
    if let Ok(value) = HeaderValue::from_str(input.payload) {
        headers.insert("x-amz-content-sha256", value);
    }
    let method = Method::PUT;
    let head = RequestHead {
        method: &method,
        raw_path: input.raw_path,
        raw_query: input.raw_query,
        headers: &headers,
    };
    let secret = |access: &str| (access == "user").then(|| Secret::new("a secret"));
    assert!(verify(&head, secret, NOW, &Limits::default()).is_err());
});
