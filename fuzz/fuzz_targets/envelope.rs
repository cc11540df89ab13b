//! Envelope, info record and tags: what decodes is the only encoding of what it says.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sealgate::envelope::{Envelope, Info, MacList, Record, metadata_digest};

#[derive(Debug, arbitrary::Arbitrary)]
struct Input<'a> {
    bytes: &'a [u8],
    recipients: u8,
    values: [&'a str; 3],
    headers: Vec<(&'a str, &'a [u8])>,
}

fuzz_target!(|input: Input<'_>| {
    let Input {
        bytes,
        recipients,
        values,
        headers,
    } = input;
    if let Ok(envelope) = Envelope::decode(bytes) {
        assert_eq!(envelope.encode().unwrap(), bytes);
    }
    if let Ok(info) = Info::decode(bytes) {
        assert_eq!(info.encode(), *bytes);
    }
    if let Ok(tags) = MacList::decode(bytes, recipients.into()) {
        assert_eq!(tags.encode(), bytes);
    }
    let [envelope, info, mac] = values;
    if let Ok(record) = Record::from_header_values(envelope, info, mac) {
        assert_eq!(record.header_values(), values);
    }
    let _ = Record::from_headers(headers.iter().copied());
    let digest = metadata_digest(headers.iter().copied());
    let upper = headers.iter().map(|(n, v)| (n.to_ascii_uppercase(), *v));
    assert_eq!(metadata_digest(upper), digest);
});
