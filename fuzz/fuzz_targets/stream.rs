//! Arbitrary bytes never open; a sealed stream that was changed releases a true beginning of its
//! plaintext at most; one that was not opens, in pieces of any length.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sealgate::aead::{Dek, Engine, OpenStream, SealStream, SegmentSize, StreamHeader};

#[derive(Debug, arbitrary::Arbitrary)]
enum Edit {
    Flip { at: u16, bits: u8 },
    Truncate { to: u16 },
    Append { bytes: Vec<u8> },
    Repeat { from: u16, len: u16 },
    Remove { from: u16, len: u16 },
}

#[derive(Debug, arbitrary::Arbitrary)]
struct Input {
    plaintext_len: u16,
    step: u16,
    edits: Vec<Edit>,
    raw: Vec<u8>,
}

const AAD: &[u8] = b"core";

fn open(stream: &[u8], step: usize) -> (Vec<u8>, bool) {
    let mut opener = OpenStream::new(Engine::AwsLc, &Dek::new([3; 32]), SegmentSize::MIN, AAD);
    let mut out = Vec::new();
    for piece in stream.chunks(step) {
        if opener.push(piece, &mut out).is_err() {
            return (out, false);
        }
    }
    let whole = opener.finish(&mut out).is_ok();
    (out, whole)
}

fuzz_target!(|input: Input| {
    let step = usize::from(input.step) + 1;
    assert_eq!(open(&input.raw, step), (Vec::new(), false));

    let plaintext: Vec<u8> = (0..input.plaintext_len).map(|i| (i / 251) as u8).collect();
    let header = StreamHeader {
        salt: [1; 32],
        nonce_prefix: [2; 7],
    };
    let dek = Dek::new([3; 32]);
    let mut sealed = Vec::new();
    let mut sealer = SealStream::new(Engine::AwsLc, &dek, &header, SegmentSize::MIN, AAD).unwrap();
    for piece in plaintext.chunks(step) {
        sealer.push(piece, &mut sealed).unwrap();
    }
    sealer.finish(&mut sealed).unwrap();
    let original = sealed.clone();
    for edit in input.edits.iter().take(8) {
        let len = sealed.len().max(1);
        let range = |from: u16, count: u16, end: usize| {
            let from = usize::from(from) % len;
            from.min(end)..(from + usize::from(count)).min(end)
        };
        match edit {
            Edit::Flip { at, bits } => {
                if let Some(byte) = sealed.get_mut(usize::from(*at) % len) {
                    *byte ^= bits;
                }
            }
            Edit::Truncate { to } => sealed.truncate(usize::from(*to) % len),
            Edit::Append { bytes } => sealed.extend_from_slice(bytes),
            Edit::Repeat { from, len } => {
                let again = sealed[range(*from, *len, sealed.len())].to_vec();
                sealed.extend_from_slice(&again);
            }
            Edit::Remove { from, len } => {
                sealed.drain(range(*from, *len, sealed.len()));
            }
        }
    }
    let (out, whole) = open(&sealed, step);
    assert!(plaintext.starts_with(&out), "a wrong byte was released");
    assert_eq!(whole, sealed == original);
    if whole {
        assert_eq!(out, plaintext);
    }
});
