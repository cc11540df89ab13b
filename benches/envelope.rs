//! What an object's metadata costs: wrapping and unwrapping its key for a place, the encodings, and the digest of its
//! bound headers.

use std::hint::black_box;
use std::num::NonZeroU32;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use futures::executor::block_on;
use sealgate::aead::{Dek, ObjectId};
use sealgate::envelope::{
    Envelope, Info, Record, binding_message, metadata_digest, open_record, seal_record,
};
use sealgate::keys::{KeyEncryptionKey, KeyId, Keyring, LocalKey};

const ID: ObjectId = ObjectId([7; 16]);
const BUCKET: &str = "bucket";
const KEY: &str = "a/path of some/length/object.bin";

fn keyring() -> Keyring {
    let id = KeyId::new("main").expect("a key id");
    let key: Arc<dyn KeyEncryptionKey> =
        Arc::new(LocalKey::new(id.clone(), NonZeroU32::MIN, &[3; 32]));
    Keyring::new([key], id).expect("a keyring")
}

fn info() -> Info {
    Info {
        plaintext_len: Some(4096),
        md5: Some([1; 16]),
        metadata_digest: Some([2; 32]),
    }
}

fn record(c: &mut Criterion) {
    let (keyring, dek) = (keyring(), Dek::new([4; 32]));
    let seal = || block_on(seal_record(&keyring, &[], &dek, ID, BUCKET, KEY, &info()));
    let sealed = seal().expect("sealed");
    let mut group = c.benchmark_group("record");
    group.bench_function("seal", |b| b.iter(seal));
    group.bench_function("open", |b| {
        b.iter(|| block_on(open_record(&keyring, black_box(&sealed), BUCKET, KEY)));
    });
    group.bench_function("to headers", |b| b.iter(|| black_box(&sealed).to_headers()));
    let headers = sealed.to_headers();
    group.bench_function("from headers", |b| {
        b.iter(|| Record::from_headers(black_box(&headers).iter().map(|(n, v)| (*n, v))));
    });
}

fn encodings(c: &mut Criterion) {
    let (keyring, dek) = (keyring(), Dek::new([4; 32]));
    let sealed = block_on(seal_record(&keyring, &[], &dek, ID, BUCKET, KEY, &info()));
    let sealed = sealed.expect("sealed");
    let envelope = Envelope::decode(&sealed.envelope).expect("an envelope");
    let mut group = c.benchmark_group("canonical encoding");
    group.bench_function("envelope", |b| b.iter(|| black_box(&envelope).encode()));
    group.bench_function("envelope back", |b| {
        b.iter(|| Envelope::decode(black_box(&sealed.envelope)));
    });
    group.bench_function("info", |b| b.iter(|| black_box(&info()).encode()));
    group.bench_function("binding", |b| {
        b.iter(|| binding_message(BUCKET, KEY, black_box(&sealed.envelope), &sealed.info));
    });
    let headers = [
        ("content-type", "application/octet-stream"),
        ("etag", "\"0123456789abcdef0123456789abcdef\""),
        ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ("x-amz-meta-owner", "nightly"),
        ("x-amz-meta-sealgate-mac", "AAAA"),
    ];
    group.bench_function("metadata digest", |b| {
        b.iter(|| metadata_digest(black_box(headers)));
    });
}

criterion_group!(benches, record, encodings);
criterion_main!(benches);
