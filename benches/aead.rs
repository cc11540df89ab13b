//! Speed of sealing and opening a segment with each engine, of a read in the middle of an object, and of the footer.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use sealgate::aead::{
    ChecksumType, Dek, Engine, Etag, Footer, Layout, ObjectId, OpenStream, Opener,
    STREAM_HEADER_LEN, SealStream, Sealer, SegmentSize, StreamHeader,
};

const SIZE: SegmentSize = SegmentSize::GATEWAY;
const ID: ObjectId = ObjectId([1; 16]);
const HEADER: StreamHeader = StreamHeader {
    salt: [2; 32],
    nonce_prefix: [3; 7],
};

fn dek() -> Dek {
    Dek::new([4; 32])
}

fn segment(c: &mut Criterion) {
    let mut group = c.benchmark_group("segment");
    let len = SIZE.plaintext_capacity(0);
    group.throughput(Throughput::Bytes(len as u64));
    for engine in Engine::ALL {
        let sealer = || Sealer::new(engine, &dek(), &HEADER, SIZE, b"core").unwrap();
        group.bench_function(format!("seal {engine:?}"), |b| {
            let mut buffer = vec![5; len];
            b.iter_batched(
                sealer,
                |mut sealer| sealer.seal_in_place(black_box(&mut buffer), false).unwrap(),
                BatchSize::SmallInput,
            );
        });
        let mut sealed = vec![5; len];
        let tag = sealer().seal_in_place(&mut sealed, false).unwrap();
        sealed.extend_from_slice(&tag);
        let opener = Opener::new(engine, &dek(), &HEADER, SIZE, b"core").unwrap();
        group.bench_function(format!("open {engine:?}"), |b| {
            b.iter_batched_ref(
                || sealed.clone(),
                |segment| opener.open_in_place(0, false, segment).unwrap(),
                BatchSize::LargeInput,
            );
        });
    }
}

fn stream(c: &mut Criterion) {
    let mut group = c.benchmark_group("stream of 4 MiB");
    let plaintext = vec![6; 4 << 20];
    group.throughput(Throughput::Bytes(plaintext.len() as u64));
    let seal = |out: &mut Vec<u8>| {
        let mut stream =
            SealStream::new(Engine::default(), &dek(), &HEADER, SIZE, b"core").unwrap();
        stream.push(&plaintext, out).unwrap();
        stream.finish(out).unwrap();
    };
    let mut sealed = Vec::new();
    seal(&mut sealed);
    let mut out = Vec::with_capacity(sealed.len());
    group.bench_function("seal", |b| {
        b.iter(|| {
            out.clear();
            seal(&mut out);
        });
    });
    group.bench_function("open", |b| {
        b.iter(|| {
            out.clear();
            let mut stream = OpenStream::new(Engine::default(), &dek(), SIZE, b"core");
            stream.push(&sealed, &mut out).unwrap();
            stream.finish(&mut out).unwrap();
        });
    });
}

/// A read of one byte in the middle: where its segment stands, the key of the stream, and the segment.
fn seek(c: &mut Criterion) {
    const LEN: u64 = 4 << 20;
    let plaintext = vec![6; LEN as usize];
    let mut sealed = Vec::new();
    let mut stream = SealStream::new(Engine::default(), &dek(), &HEADER, SIZE, b"core").unwrap();
    stream.push(&plaintext, &mut sealed).unwrap();
    stream.finish(&mut sealed).unwrap();
    let layout = Layout::from_plaintext_len(SIZE, LEN).unwrap();
    // Stored offsets count from the preamble, which `sealed` does not have; the header of the stream it has.
    let before = layout.segment_stored_range(0).start - STREAM_HEADER_LEN as u64;
    c.bench_function("seek", |b| {
        b.iter_batched_ref(
            || Vec::with_capacity(SIZE.get() as usize),
            |segment| {
                let (index, _) = layout.locate(black_box(LEN / 2)).unwrap();
                let stored = layout.segment_stored_range(index);
                let (from, to) = (stored.start - before, stored.end - before);
                segment.extend_from_slice(&sealed[from as usize..to as usize]);
                let opener =
                    Opener::new(Engine::default(), &dek(), &HEADER, SIZE, b"core").unwrap();
                opener
                    .open_in_place(index, layout.is_last(index), segment)
                    .unwrap()
            },
            BatchSize::SmallInput,
        );
    });
}

fn footer(c: &mut Criterion) {
    let footer = Footer {
        plaintext_len: 1_000,
        core_plaintext_len: Some(1_000),
        segment_size: SIZE,
        etag: Etag::Md5([7; 16]),
        checksum: None,
        header: HEADER,
        checksum_type: ChecksumType::FullObject,
        preamble_digest: [8; 32],
        parts: None,
    };
    let mut group = c.benchmark_group("footer");
    for engine in Engine::ALL {
        let sealed = footer.seal(engine, &dek(), &ID, [9; 12]).unwrap();
        group.bench_function(format!("seal {engine:?}"), |b| {
            b.iter(|| footer.seal(engine, &dek(), &ID, [9; 12]).unwrap());
        });
        group.bench_function(format!("open {engine:?}"), |b| {
            b.iter(|| Footer::open(engine, &dek(), &ID, black_box(&sealed)).unwrap());
        });
    }
}

criterion_group!(benches, segment, stream, seek, footer);
criterion_main!(benches);
