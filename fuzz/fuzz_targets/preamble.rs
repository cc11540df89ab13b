//! A preamble that decodes is the only encoding of what it says.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sealgate::aead::{Layout, PREAMBLE_LEN, Preamble, SegmentSize};

fuzz_target!(|input: (Vec<u8>, u64)| {
    let (bytes, stored_len) = input;
    // As much of a preamble as there is, on top of one that decodes up to its length fields.
    let mut preamble = [0; PREAMBLE_LEN];
    let n = bytes.len().min(PREAMBLE_LEN);
    preamble[..n].copy_from_slice(&bytes[..n]);
    if let Ok(decoded) = Preamble::decode(&preamble) {
        assert_eq!(decoded.encode().unwrap(), preamble);
        if let Ok(layout) = decoded.core.layout(stored_len) {
            assert_eq!(layout.stored_len(), stored_len);
        }
    }
    if let Ok(layout) = Layout::from_stored_len(SegmentSize::GATEWAY, stored_len) {
        let plaintext = layout.plaintext_len();
        let again = Layout::from_plaintext_len(SegmentSize::GATEWAY, plaintext).unwrap();
        assert_eq!(again, layout);
        let last = layout.segments() - 1;
        assert_eq!(
            layout.plaintext_start(last) + layout.segment_plaintext_len(last) as u64,
            plaintext
        );
    }
});
