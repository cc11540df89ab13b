//! What rewriting a page of 1,000 objects costs, once it is known how they are to be shown.

use std::fmt::Write;
use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sealgate::s3::listing::{Answer, ItemKind, Page, Shown};

const OBJECTS: u64 = 1000;

fn document() -> String {
    let mut xml = String::from(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>bucket</Name><Prefix></Prefix><KeyCount>1000</KeyCount><MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated>",
    );
    for number in 0..OBJECTS {
        write!(
            xml,
            "<Contents><Key>some/prefix/object-{number:06}.bin</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>&quot;{number:032x}&quot;</ETag><Size>{}</Size><StorageClass>STANDARD</StorageClass></Contents>",
            5_000 + number
        )
        .expect("text");
    }
    xml.push_str("</ListBucketResult>");
    xml
}

fn rewrite(document: &[u8]) -> usize {
    let page = Page::parse(document).expect("a listing");
    let mut answer = Answer::begin(&page);
    for item in &page.items {
        match &item.kind {
            ItemKind::Object(entry) => {
                let shown = Shown {
                    len: entry.stored_len - 904,
                    etag: "0123456789abcdef0123456789abcdef".to_owned(),
                    checksum: None,
                };
                answer.push_object(entry, &shown);
            }
            _ => answer.push(&page, item),
        }
    }
    answer.finish(None).len()
}

fn listing(c: &mut Criterion) {
    let document = document();
    let mut group = c.benchmark_group("listing of 1,000");
    group.throughput(Throughput::Elements(OBJECTS));
    group.bench_function("parse", |b| {
        b.iter(|| Page::parse(black_box(document.as_bytes())).map(|page| page.items.len()));
    });
    group.bench_function("rewrite", |b| {
        b.iter(|| rewrite(black_box(document.as_bytes())));
    });
}

criterion_group!(benches, listing);
criterion_main!(benches);
