//! An aws-chunked body: the same data and the same verdict, in whatever pieces it comes.
#![no_main]

use bytes::Bytes;
use http::HeaderMap;
use libfuzzer_sys::fuzz_target;
use sealgate::protocol::{ChunkAuth, Decoder};

/// Takes every signature that begins with a zero byte.
struct Stub;

impl ChunkAuth for Stub {
    fn update(&mut self, _: &[u8]) {}

    fn finish_chunk(&mut self, signature: &[u8; 32]) -> bool {
        signature[0] == 0
    }

    fn finish_trailer(&mut self, _: &HeaderMap, signature: &[u8; 32]) -> bool {
        signature[0] == 0
    }
}

#[derive(Debug, arbitrary::Arbitrary)]
struct Input {
    body: Vec<u8>,
    step: u8,
    signed: bool,
    trailer: bool,
    decoded_length: u16,
}

fn decode(input: &Input, step: usize) -> (Vec<u8>, Option<HeaderMap>) {
    let length = u64::from(input.decoded_length);
    let mut decoder =
        Decoder::new(input.signed.then_some(Stub), input.trailer, length).of_any_chunks();
    let mut data = Vec::new();
    for piece in input.body.chunks(step) {
        let mut piece = Bytes::copy_from_slice(piece);
        loop {
            match decoder.decode(&mut piece) {
                Ok(Some(bytes)) => data.extend_from_slice(&bytes),
                Ok(None) => break,
                Err(_) => return (data, None),
            }
        }
        assert!(piece.is_empty());
    }
    let trailers = decoder.finish().ok();
    if trailers.is_some() {
        assert_eq!(data.len(), usize::from(input.decoded_length));
    }
    (data, trailers)
}

fuzz_target!(|input: Input| {
    let (data, trailers) = decode(&input, usize::from(input.step) + 1);
    assert!(data.len() <= usize::from(input.decoded_length));
    let (whole, verdict) = decode(&input, input.body.len().max(1));
    assert_eq!(trailers, verdict);
    if verdict.is_some() {
        assert_eq!(data, whole);
    }
});
