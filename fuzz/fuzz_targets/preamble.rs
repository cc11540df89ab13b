//! A preamble that decodes is the only encoding of what it says.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sealgate::aead::{Core, Dek, Layout, ObjectId, Preamble, SegmentSize};

fuzz_target!(|input: (Vec<u8>, u64)| {
    let (bytes, stored_len) = input;
    // A good one with some of its bits flipped: magic and version are hard to find by chance.
    let core = Core::single(
        &Dek::new([3; 32]),
        ObjectId([4; 16]),
        SegmentSize::GATEWAY,
        None,
    );
    let envelope = Vec::new();
    let mut preamble = Preamble { core, envelope }.encode().unwrap();
    for (byte, bits) in preamble.iter_mut().zip(bytes) {
        *byte ^= bits;
    }
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
