//! Speed of the hashes over a client's body: MD5 and SHA-256 of one stream, both over the same bytes, and each of several
//! streams side by side, at every level that the CPU has.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use sealgate::digest::{BLOCK, Backend, Fips180, Function, Rfc1321, Stream};
use sealgate::protocol::checksum::Hashes;

const PIECE: usize = 64 * 1024;

fn data(streams: usize) -> Vec<Vec<u8>> {
    (0..streams).map(|n| vec![n as u8; PIECE]).collect()
}

fn one(c: &mut Criterion) {
    let mut group = c.benchmark_group("one stream");
    group.throughput(Throughput::Bytes(PIECE as u64));
    let data = &data(1)[0];
    for (name, md5, sha256) in [
        ("MD5", true, false),
        ("SHA-256", false, true),
        ("MD5 and SHA-256", true, true),
    ] {
        group.bench_function(name, |b| {
            let mut hashes = Hashes::new(md5, sha256, None);
            b.iter(|| hashes.update(black_box(data)));
        });
    }
    group.finish();
}

fn side_by_side<F: Function>(c: &mut Criterion, name: &str) {
    let mut group = c.benchmark_group(name);
    for backend in Backend::all() {
        for streams in [1, 2, 4, 5, 8, 9, 16] {
            if streams > backend.lanes::<F>() {
                continue;
            }
            group.throughput(Throughput::Bytes((PIECE * streams) as u64));
            let data = data(streams);
            let blocks: Vec<&[[u8; BLOCK]]> = data.iter().map(|data| data.as_chunks().0).collect();
            let mut states = vec![Stream::<F>::default(); streams];
            let id = BenchmarkId::new(format!("{backend:?}"), streams);
            group.bench_function(id, |b| {
                b.iter(|| {
                    let mut states: Vec<&mut Stream<F>> = states.iter_mut().collect();
                    backend.compress(&mut states, black_box(&blocks))
                });
            });
        }
    }
    group.finish();
}

fn several(c: &mut Criterion) {
    side_by_side::<Rfc1321>(c, "MD5 side by side");
    side_by_side::<Fips180>(c, "SHA-256 side by side");
}

criterion_group!(benches, one, several);
criterion_main!(benches);
