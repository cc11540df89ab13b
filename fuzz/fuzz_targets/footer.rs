//! A footer opens to what was sealed; one with any byte changed does not open.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sealgate::aead::{ChecksumType, 
    Checksum, ChecksumAlgorithm, Dek, Engine, Etag, FOOTER_LEN, Footer, ObjectId, SegmentSize,
    StreamHeader,
};

#[derive(Debug, arbitrary::Arbitrary)]
struct Input {
    plaintext_len: u64,
    known: bool,
    bits: u8,
    md5: Option<[u8; 16]>,
    checksum: Option<(u8, [u8; 32])>,
    salt: [u8; 32],
    nonce_prefix: [u8; 7],
    preamble_digest: [u8; 32],
    nonce: [u8; 12],
    change: (u8, u8),
    raw: [u8; FOOTER_LEN],
}

fuzz_target!(|input: Input| {
    let (engine, dek, id) = (Engine::Rust, Dek::new([3; 32]), ObjectId([4; 16]));
    assert!(Footer::open(engine, &dek, &id, &input.raw).is_err());
    let _ = Footer::check_clear(&input.raw);

    let segment_size = SegmentSize::new(1 << (12 + input.bits % 11)).unwrap();
    let checksum = input.checksum.map(|(which, value)| {
        let algorithm = ChecksumAlgorithm::ALL[usize::from(which) % 5];
        Checksum::new(algorithm, &value[..algorithm.value_len()]).unwrap()
    });
    let footer = Footer {
        plaintext_len: input.plaintext_len,
        core_plaintext_len: input.known.then_some(input.plaintext_len),
        segment_size,
        etag: input.md5.map_or(Etag::None, Etag::Md5),
        checksum,
        header: StreamHeader {
            salt: input.salt,
            nonce_prefix: input.nonce_prefix,
        },
        checksum_type: ChecksumType::FullObject,
        preamble_digest: input.preamble_digest,
        parts: None,
    };
    let mut sealed = footer.seal(engine, &dek, &id, input.nonce).unwrap();
    match Footer::open(engine, &dek, &id, &sealed) {
        Ok(opened) => assert_eq!(opened, footer),
        // A length that no stream has.
        Err(_) => assert!(footer.layout(0).is_err()),
    }
    let (at, bits) = input.change;
    sealed[usize::from(at)] ^= bits;
    if bits != 0 {
        assert!(Footer::open(engine, &dek, &id, &sealed).is_err());
    }
});
