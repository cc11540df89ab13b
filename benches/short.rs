//! What sealing and opening an object of 4 KiB costs when all of it is at hand, keys, preamble and footer included: with
//! `sigv4` and `envelope`, the part of a small request that is neither HTTP nor sockets.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use sealgate::aead::{
    Dek, Engine, Etag, FOOTER_LEN, Footer, ObjectId, Role, SegmentSize, StreamHeader,
};
use sealgate::pump::{
    Begin, BodyError, End, FooterSource, OpenBody, Plan, SealBody, Sealing, Stream, at_once, ready,
};

const ID: ObjectId = ObjectId([5; 16]);
const LEN: u64 = 4096;

/// As for an object that is written. Its nonces are the same every time: nothing of it leaves this program.
fn seal(plaintext: &Bytes) -> Result<Bytes, BodyError> {
    let sealing = Sealing {
        engine: Engine::default(),
        dek: Dek::new([3; 32]),
        object_id: ID,
        segment_size: SegmentSize::GATEWAY,
        plaintext_len: LEN,
        envelope: vec![1; 100],
        header: StreamHeader {
            salt: [7; 32],
            nonce_prefix: [9; 7],
        },
        footer_nonce: [11; 12],
    };
    let footer = || {
        Ok(FooterSource {
            etag: Etag::None,
            checksum: None,
        })
    };
    at_once(SealBody::new(sealing, ready(plaintext.clone()), footer)?)
}

fn open(stored: &Bytes) -> Result<Bytes, BodyError> {
    let (engine, dek) = (Engine::default(), Dek::new([3; 32]));
    let at = stored.len() - FOOTER_LEN;
    let end: [u8; FOOTER_LEN] = stored[at..].try_into().expect("a footer");
    let footer = Footer::open(engine, &dek, &ID, &end).expect("it opens");
    let stream = Stream {
        role: Role::Single,
        plaintext_len: footer.plaintext_len,
        declared: true,
        header: Some(footer.header),
    };
    let plan = Plan {
        engine,
        dek,
        object_id: ID,
        segment_size: footer.segment_size,
        streams: vec![stream],
        begin: Begin::Preamble,
        end: End::Object {
            table: None,
            footer: Box::new(end),
        },
        preamble_digest: footer.preamble_digest,
        start: 0,
        len: LEN,
    };
    at_once(OpenBody::new(ready(stored.clone()), plan))
}

fn short(c: &mut Criterion) {
    let plaintext = Bytes::from(vec![42; LEN as usize]);
    let stored = seal(&plaintext).expect("sealed");
    assert_eq!(open(&stored).expect("opened"), plaintext);
    let mut group = c.benchmark_group("object of 4 KiB");
    group.bench_function("seal", |b| b.iter(|| seal(black_box(&plaintext))));
    group.bench_function("open", |b| b.iter(|| open(black_box(&stored))));
}

criterion_group!(benches, short);
criterion_main!(benches);
