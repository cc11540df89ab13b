//! What SigV4 costs: verifying a head, signing one, and the signature of a chunk.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use http::{HeaderMap, HeaderValue, Method};
use sealgate::auth::{Limits, RequestHead, Secret, Signer, verify};

const NOW: i64 = 1_369_353_600;
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const PATH: &str = "/my-bucket/a/path%20with/some%2Bescapes/object.bin";

fn head() -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("host", "s3.example.org"),
        ("content-type", "application/octet-stream"),
        ("x-amz-meta-owner", "nightly"),
        ("x-amz-storage-class", "STANDARD"),
        ("user-agent", "bench"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
}

fn sigv4(c: &mut Criterion) {
    let secret = Secret::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
    let signer = Signer::new("bench", secret.clone(), "us-east-1");
    let mut signed = head();
    let context = signer
        .sign(&Method::PUT, PATH, "", &mut signed, EMPTY, NOW)
        .expect("signable");

    c.bench_function("sigv4/verify", |b| {
        let request = RequestHead {
            method: &Method::PUT,
            raw_path: PATH,
            raw_query: "",
            headers: &signed,
        };
        b.iter(|| {
            verify(
                black_box(&request),
                |_| Some(secret.clone()),
                NOW,
                &Limits::default(),
            )
        });
    });
    c.bench_function("sigv4/sign", |b| {
        b.iter_batched(
            head,
            |mut headers| signer.sign(&Method::PUT, PATH, "", &mut headers, EMPTY, NOW),
            criterion::BatchSize::SmallInput,
        );
    });
    let chunk = vec![0x5a; 64 * 1024];
    let mut group = c.benchmark_group("sigv4/chunk");
    group.throughput(Throughput::Bytes(chunk.len() as u64));
    group.bench_function("64KiB", |b| {
        let mut chain = signer.chunk_signer(&context);
        b.iter(|| chain.sign_chunk(black_box(&chunk)));
    });
    group.finish();
}

criterion_group!(benches, sigv4);
criterion_main!(benches);
