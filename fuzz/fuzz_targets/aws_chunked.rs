//! An aws-chunked body: the same data and the same verdict, in whatever pieces it comes.
#![no_main]

use std::collections::VecDeque;

use bytes::Bytes;
use http::HeaderMap;
use libfuzzer_sys::fuzz_target;
use sealgate::protocol::{ChunkAuth, Decoder};

/// Takes every signature that begins with a zero byte. Sees that data comes as it was shown, where it looks ahead.
struct Stub {
    ahead: usize,
    shown: VecDeque<(*const u8, usize)>,
}

impl ChunkAuth for Stub {
    fn look_ahead<'a>(&mut self, pieces: impl Iterator<Item = &'a [u8]>) {
        assert!(self.shown.is_empty());
        let pieces = pieces.take(self.ahead);
        self.shown = pieces.map(|piece| (piece.as_ptr(), piece.len())).collect();
    }

    fn update(&mut self, data: &[u8]) {
        if self.ahead > 0 {
            assert_eq!(self.shown.pop_front(), Some((data.as_ptr(), data.len())));
        }
    }

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
    ahead: u8,
}

fn decode(input: &Input, step: usize, ahead: u8) -> (Vec<u8>, Option<HeaderMap>) {
    let length = u64::from(input.decoded_length);
    let stub = input.signed.then(|| Stub {
        ahead: ahead.into(),
        shown: VecDeque::new(),
    });
    let mut decoder = Decoder::new(stub, input.trailer, length).of_any_chunks();
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
    let step = usize::from(input.step) + 1;
    let pieces = decode(&input, step, input.ahead);
    assert_eq!(pieces, decode(&input, step, 0));
    let (data, trailers) = pieces;
    assert!(data.len() <= usize::from(input.decoded_length));
    let (whole, verdict) = decode(&input, input.body.len().max(1), input.ahead);
    assert_eq!(trailers, verdict);
    if verdict.is_some() {
        assert_eq!(data, whole);
    }
});
