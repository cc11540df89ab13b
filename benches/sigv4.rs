//! What SigV4 costs: verifying a head with and without the key of the day, signing one, the canonical forms, and the
//! signatures of chunks, one by one and as a body that is read brings them.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use http::{HeaderMap, HeaderValue, Method};
use sealgate::auth::canonical::{canonical_query, canonical_request};
use sealgate::auth::{
    ChunkVerifier, DayKeys, Limits, Payload, RequestHead, Secret, Signed, Signer, verify,
    verify_with,
};
use sealgate::protocol::aws_chunked::{ChunkAuth, Decoder};

const MIB: usize = 1024 * 1024;
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
    signer
        .sign(&Method::PUT, PATH, "", &mut signed, EMPTY, NOW)
        .expect("signable");

    let request = RequestHead {
        method: &Method::PUT,
        raw_path: PATH,
        raw_query: "",
        headers: &signed,
    };
    c.bench_function("sigv4/verify with the key of the day", |b| {
        let keys = DayKeys::new();
        b.iter(|| {
            let lookup = |_: &str| Some(secret.clone());
            verify_with(
                black_box(&request),
                lookup,
                Some(&keys),
                NOW,
                &Limits::default(),
            )
        });
    });
    c.bench_function("sigv4/verify", |b| {
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
}

fn canonical(c: &mut Criterion) {
    let headers = head();
    let names = [
        "content-type",
        "host",
        "x-amz-meta-owner",
        "x-amz-storage-class",
    ];
    c.bench_function("canonical/request", |b| {
        b.iter(|| canonical_request("PUT", PATH, "", black_box(&headers), &names, EMPTY));
    });
    let query = "list-type=2&prefix=a%2Fpath&delimiter=%2F&max-keys=1000&encoding-type=url";
    c.bench_function("canonical/query", |b| {
        b.iter(|| canonical_query(black_box(query)));
    });
}

/// Signs a head whose body comes in signed chunks.
fn chunked(signer: &Signer) -> (HeaderMap, Signed) {
    let literal = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";
    let mut headers = head();
    let context = signer
        .sign(&Method::PUT, PATH, "", &mut headers, literal, NOW)
        .expect("signable");
    (headers, context)
}

fn chunk_verifier(headers: &HeaderMap, secret: &Secret) -> ChunkVerifier {
    let request = RequestHead {
        method: &Method::PUT,
        raw_path: PATH,
        raw_query: "",
        headers,
    };
    let lookup = |_: &str| Some(secret.clone());
    let verified = verify(&request, lookup, NOW, &Limits::default()).expect("signed");
    match verified.into_payload() {
        Payload::Chunked {
            signed: Some(chunks),
            ..
        } => chunks,
        other => panic!("not in signed chunks: {other:?}"),
    }
}

fn chunks(c: &mut Criterion) {
    let secret = Secret::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
    let signer = Signer::new("bench", secret.clone(), "us-east-1");
    let (headers, context) = chunked(&signer);
    let chunk = vec![0x5a; 64 * 1024];
    let mut group = c.benchmark_group("chunk of 64 KiB");
    group.throughput(Throughput::Bytes(chunk.len() as u64));
    group.bench_function("sign", |b| {
        let mut chain = signer.chunk_signer(&context);
        b.iter(|| chain.sign_chunk(black_box(&chunk)));
    });
    group.bench_function("verify", |b| {
        let mut chain = chunk_verifier(&headers, &secret);
        b.iter(|| {
            chain.update(black_box(&chunk));
            chain.finish_chunk(&[0; 32])
        });
    });
    group.finish();
}

/// A body of 1 MiB in signed chunks.
fn body(signer: &Signer, context: &Signed, chunk: usize) -> Bytes {
    let mut chain = signer.chunk_signer(context);
    let data = vec![0x5a; chunk];
    let mut body = Vec::new();
    for data in std::iter::repeat_n(&data[..], MIB / chunk).chain([&[][..]]) {
        let head = format!(
            "{:x};chunk-signature={}\r\n",
            data.len(),
            chain.sign_chunk(data)
        );
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(data);
        body.extend_from_slice(b"\r\n");
    }
    body.into()
}

fn decode(mut decoder: Decoder<ChunkVerifier>, body: &Bytes, read: usize) {
    let mut body = body.clone();
    while !body.is_empty() {
        let mut input = body.split_to(read.min(body.len()));
        while let Some(data) = decoder.decode(&mut input).expect("signed") {
            black_box(data);
        }
    }
    decoder.finish().expect("whole");
}

fn bodies(c: &mut Criterion) {
    let secret = Secret::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
    let signer = Signer::new("bench", secret.clone(), "us-east-1");
    let (headers, context) = chunked(&signer);
    let verifier = chunk_verifier(&headers, &secret);
    for chunk in [64 * 1024, 128 * 1024] {
        let name = format!("1 MiB in chunks of {} KiB", chunk / 1024);
        let mut group = c.benchmark_group(name);
        group.throughput(Throughput::Bytes(MIB as u64));
        let body = body(&signer, &context, chunk);
        for read in [MIB, MIB / 2, MIB / 16] {
            let id = BenchmarkId::new("read of KiB", read / 1024);
            group.bench_function(id, |b| {
                b.iter(|| {
                    // As the gateway reads.
                    let decoder = Decoder::new(Some(verifier.clone()), false, MIB as u64);
                    decode(decoder, &body, read - 1);
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, sigv4, canonical, chunks, bodies);
criterion_main!(benches);
