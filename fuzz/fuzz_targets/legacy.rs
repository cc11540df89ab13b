//! Metadata of other programs' formats: whatever it is, it is a claim, none, or an error; and without the secret, no key.
#![no_main]

use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use sealgate::formats::foreign::Described;
use sealgate::formats::{Claim, Formats, S3PROXY_TAGS, S3eg, S3ep, S3epKek, S3proxy, claim};

/// Names and values of metadata, and a body.
type Input<'a> = (Vec<(&'a [u8], &'a [u8])>, &'a [u8]);

fuzz_target!(|input: Input<'_>| {
    let (pairs, body) = input;
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let name = [b"x-amz-meta-", name].concat();
        if let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(&name),
            HeaderValue::from_bytes(value),
        ) {
            headers.append(name, value);
        }
    }
    let object = Described {
        bucket: "bucket",
        key: "key",
        headers: &headers,
    };
    let s3proxy = S3proxy::new(S3PROXY_TAGS, ["secret"], true);
    let s3ep = S3ep::new("s3ep-", vec![S3epKek::new(&[1; 32])], true);
    // Without a password, since each derivation takes a tenth of a second.
    let s3eg = S3eg::new([]);
    let formats = Formats::new(
        vec![Box::new(s3proxy), Box::new(s3ep), Box::new(s3eg)],
        Some(1),
    );
    let _ = claim(None, object, 0);
    if let Ok(Claim::Foreign(_, claimed)) = claim(Some(&formats), object, 0) {
        assert!(claim(Some(&formats), object, 1).is_err());
        let _ = claimed.probe();
        let len = body.len() as u64;
        let tail = body.len().saturating_sub(claimed.tail_len() as usize);
        if let Ok(checking) = claimed.checker(len, &body[tail..]) {
            let mut checker = checking.checker;
            if body.chunks(7).all(|piece| checker.update(piece).is_ok()) {
                let _ = checker.finish();
            }
        }
    }
});
