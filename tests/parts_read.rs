//! Objects in parts, as a gateway reads them: put together here with the library's own writer and written
//! into the store itself, whole and tampered with.
#![cfg(feature = "embedded")]

mod common;

use std::ops::Range;
use std::sync::Arc;

use common::{Answer, Ask, Stored, World, content};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use md5::{Digest as _, Md5};
use sealgate::aead::{
    Checksum, ChecksumAlgorithm, ChecksumType, Core, Dek, Engine, Etag, Footer, ObjectId,
    PartEntry, PartNumber, PartTable, Parts, Preamble, SealStream, SegmentSize, StreamHeader,
};
use sealgate::envelope::{self, Info};
use sealgate::keys::{KeyEncryptionKey, KeyId, Keyring, LocalKey};
use sha2::Sha256;

/// How an object is put together.
#[derive(Clone)]
struct Shape {
    /// Number and plaintext bytes of each part.
    parts: Vec<(u16, usize)>,
    pinned: fn(u16) -> bool,
    checksum: Option<ChecksumType>,
    /// What the table's salt is made of.
    table: &'static str,
}

impl Shape {
    fn new(parts: &[(u16, usize)]) -> Self {
        Self {
            parts: parts.to_vec(),
            pinned: |_| true,
            checksum: None,
            table: "table",
        }
    }

    /// `count` parts of one size and a shorter last one.
    fn equal(count: u16, size: usize, last: usize) -> Self {
        let mut parts: Vec<(u16, usize)> = (1..=count).map(|n| (n, size)).collect();
        parts.push((count + 1, last));
        Self::new(&parts)
    }

    fn unpinned(mut self) -> Self {
        self.pinned = |_| false;
        self
    }

    fn checksum(mut self, kind: ChecksumType) -> Self {
        self.checksum = Some(kind);
        self
    }
}

/// An object in its pieces.
#[derive(Clone)]
struct Made {
    headers: HeaderMap,
    parts: Vec<Vec<u8>>,
    table: Vec<u8>,
    footer: Vec<u8>,
    plain: Vec<u8>,
    /// Plaintext of each part.
    places: Vec<Range<usize>>,
    etag: String,
}

impl Made {
    fn stored(&self) -> Stored {
        let mut body = self.parts.concat();
        body.extend_from_slice(&self.table);
        body.extend_from_slice(&self.footer);
        Stored {
            headers: self.headers.clone(),
            body,
        }
    }

    fn with(&self, edit: impl FnOnce(&mut Self)) -> Stored {
        let mut changed = self.clone();
        edit(&mut changed);
        changed.stored()
    }
}

fn keyring() -> Keyring {
    let id = KeyId::new("main").unwrap();
    let key = LocalKey::new(id.clone(), std::num::NonZeroU32::MIN, &common::KEK);
    let keys: [Arc<dyn KeyEncryptionKey>; 1] = [Arc::new(key)];
    Keyring::new(keys, id).unwrap()
}

fn header(of: &str) -> StreamHeader {
    let bytes: [u8; 32] = Sha256::digest(of).into();
    StreamHeader {
        salt: bytes,
        nonce_prefix: bytes[..7].try_into().unwrap(),
    }
}

const DEK: [u8; 32] = [9; 32];
const ID: ObjectId = ObjectId([8; 16]);
const CRC: ChecksumAlgorithm = ChecksumAlgorithm::Crc32;

fn crc(bytes: &[u8]) -> Checksum {
    let value = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32IsoHdlc, bytes) as u32;
    Checksum::new(CRC, &value.to_be_bytes()).unwrap()
}

/// One part: its preamble and stream, under a salt of this attempt.
fn seal_part(envelope: &[u8], number: u16, plain: &[u8], attempt: &str) -> Vec<u8> {
    let (dek, number) = (Dek::new(DEK), PartNumber::new(number).unwrap());
    let len = plain.len() as u64;
    let core = Core::part(&dek, ID, SegmentSize::GATEWAY, number, len);
    let preamble = Preamble {
        core,
        envelope: envelope.to_vec(),
    };
    let mut bytes = preamble.encode().unwrap().to_vec();
    let header = header(&format!("{attempt} {number}"));
    let engine = Engine::default();
    let aad = core.encode();
    let mut stream = SealStream::new(engine, &dek, &header, SegmentSize::GATEWAY, &aad).unwrap();
    stream.push(plain, &mut bytes).unwrap();
    stream.finish(&mut bytes).unwrap();
    bytes
}

/// Seals an object in parts for `bucket` and a key, as the gateway's writer would.
async fn make(key: &str, shape: &Shape) -> Made {
    let (dek, engine) = (Dek::new(DEK), Engine::default());
    let plain = content(shape.parts.iter().map(|part| part.1).sum());
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("text/x-parts"));
    let info = Info {
        plaintext_len: None,
        md5: None,
        metadata_digest: Some(sealgate::formats::v1::bound_digest(&headers)),
    };
    let record = envelope::seal_record(&keyring(), &[], &dek, ID, "bucket", key, &info)
        .await
        .unwrap();
    for (name, value) in record.to_headers() {
        headers.insert(name, value.parse().unwrap());
    }
    let (mut parts, mut entries, mut places, mut at) = (vec![], vec![], vec![], 0);
    let (mut md5s, mut crcs) = (vec![], vec![]);
    for &(number, len) in &shape.parts {
        let now = &plain[at..at + len];
        places.push(at..at + len);
        at += len;
        parts.push(seal_part(&record.envelope, number, now, "first"));
        let md5: [u8; 16] = Md5::digest(now).into();
        md5s.extend_from_slice(&md5);
        crcs.extend_from_slice(crc(now).value());
        entries.push(PartEntry {
            number: PartNumber::new(number).unwrap(),
            plaintext_len: len as u64,
            header: (shape.pinned)(number).then(|| header(&format!("first {number}"))),
            md5: Some(md5),
            checksum: shape.checksum.map(|_| crc(now)),
        });
    }
    let algorithm = shape.checksum.map(|_| CRC);
    let header = header(shape.table);
    let table = PartTable::seal(engine, &dek, &ID, &header, algorithm, &entries).unwrap();
    let preamble = Preamble::decode(parts[0].first_chunk().unwrap()).unwrap();
    let (first, but_last) = (shape.parts[0].1, &shape.parts[..shape.parts.len() - 1]);
    let equal = but_last.iter().all(|part| part.1 == first);
    let md5: [u8; 16] = Md5::digest(&md5s).into();
    let footer = Footer {
        plaintext_len: plain.len() as u64,
        core_plaintext_len: None,
        segment_size: SegmentSize::GATEWAY,
        etag: Etag::Multipart(md5),
        checksum: shape.checksum.map(|kind| match kind {
            ChecksumType::Composite => crc(&crcs),
            _ => crc(&plain),
        }),
        checksum_type: shape.checksum.unwrap_or_default(),
        header,
        preamble_digest: preamble.shared_digest().unwrap(),
        parts: Some(Parts {
            count: shape.parts.len() as u16,
            table_len: table.len() as u32,
            part_size: if equal { first as u64 } else { 0 },
        }),
    };
    let footer = footer.seal(engine, &dek, &ID, [5; 12]).unwrap().to_vec();
    Made {
        headers,
        parts,
        table,
        footer,
        plain,
        places,
        etag: format!("\"{}-{}\"", hex::encode(md5), shape.parts.len()),
    }
}

async fn planted(shape: &Shape) -> (World, Made) {
    let world = World::with_bucket().await;
    let made = make("key", shape).await;
    world.plant("bucket", "key", &made.stored()).await;
    (world, made)
}

fn shapes() -> Vec<(&'static str, Shape)> {
    vec![
        ("one", Shape::new(&[(1, 70_000)])),
        ("one, small", Shape::new(&[(3, 100)])),
        ("one, empty", Shape::new(&[(1, 0)])),
        ("equal", Shape::equal(3, 100_000, 12_345)),
        ("last empty", Shape::equal(2, 65_480, 0)),
        (
            "unequal",
            Shape::new(&[(1, 3_000), (5, 200_000), (10_000, 1)]),
        ),
        ("not pinned", Shape::equal(3, 100_000, 12_345).unpinned()),
        (
            "not pinned, unequal",
            Shape::new(&[(2, 90_000), (3, 0), (4, 150_000)]).unpinned(),
        ),
        ("many equal", Shape::equal(150, 1_000, 500)),
        (
            "many equal, not pinned",
            Shape::equal(150, 1_000, 500).unpinned(),
        ),
        (
            "many unequal",
            Shape::new(
                &(1..=150)
                    .map(|n| (n * 3, usize::from(n) * 11))
                    .collect::<Vec<_>>(),
            ),
        ),
    ]
}

async fn ranged(world: &World, range: &Range<usize>) -> Answer {
    let value = format!("bytes={}-{}", range.start, range.end - 1);
    let ask = Ask::get("bucket", "key").header("range", &value);
    world.send(ask).await
}

#[tokio::test]
async fn what_was_written_is_read_whole_and_in_ranges() {
    let mut state = 7u64;
    let mut random = move |below: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) as usize % below.max(1)
    };
    for (what, shape) in shapes() {
        let (world, made) = planted(&shape).await;
        let whole = world.get("key").await;
        assert_eq!(whole.status, StatusCode::OK, "{what}");
        assert!(whole.body == made.plain && whole.complete, "{what}");
        assert_eq!(whole.headers["etag"], made.etag, "{what}");
        assert!(!whole.headers.contains_key("x-amz-mp-parts-count"));
        world.spy.take();
        let head = world.send(Ask::head("bucket", "key")).await;
        assert_eq!(world.spy.take().len(), 1, "{what}");
        assert_eq!(head.headers["etag"], made.etag, "{what}");
        assert_eq!(head.headers["content-length"], made.plain.len().to_string());
        assert_eq!(head.headers["content-type"], "text/x-parts");
        if made.plain.is_empty() {
            continue;
        }
        for _ in 0..25 {
            let (a, b) = (random(made.plain.len()), random(made.plain.len()));
            let range = a.min(b)..a.max(b) + 1;
            let answer = ranged(&world, &range).await;
            assert_eq!(
                answer.status,
                StatusCode::PARTIAL_CONTENT,
                "{what} {range:?}"
            );
            assert!(answer.body == made.plain[range.clone()], "{what} {range:?}");
            let total = made.plain.len();
            let expected = format!("bytes {}-{}/{total}", range.start, range.end - 1);
            assert_eq!(answer.headers["content-range"], expected, "{what}");
        }
        assert_eq!(world.all_integrity_failures(), 0, "{what}");
    }
}

/// No range can be written of an empty part, so its answer is not partial.
fn status_of(length: usize) -> StatusCode {
    match length {
        0 => StatusCode::OK,
        _ => StatusCode::PARTIAL_CONTENT,
    }
}

#[tokio::test]
async fn a_part_is_read_by_its_number() {
    for (what, shape) in shapes() {
        let (world, made) = planted(&shape).await;
        let count = shape.parts.len();
        let some = [0, 1, count / 2, count - 1];
        for index in some.into_iter().filter(|&index| index < count) {
            let (number, place) = (shape.parts[index].0, made.places[index].clone());
            for method in [Method::GET, Method::HEAD] {
                let ask = Ask::object(method.clone(), "bucket", "key")
                    .query(&format!("partNumber={number}"));
                let answer = world.send(ask).await;
                let what = format!("{what} {method} {number}");
                let status = status_of(place.len());
                assert_eq!(answer.status, status, "{what}");
                assert_eq!(answer.headers["content-length"], place.len().to_string());
                assert_eq!(answer.headers["x-amz-mp-parts-count"], count.to_string());
                assert_eq!(answer.headers["etag"], made.etag);
                let range = answer.headers.get("content-range");
                let (total, place) = (made.plain.len(), place.clone());
                if place.is_empty() {
                    assert_eq!(range, None, "{what}");
                } else {
                    let expected = format!("bytes {}-{}/{total}", place.start, place.end - 1);
                    assert_eq!(range.unwrap(), &expected, "{what}");
                }
                if method == Method::GET {
                    assert!(answer.body == made.plain[place], "{what}");
                }
            }
        }
        let last = shape.parts[count - 1].0;
        for number in [last + 1, 10_000] {
            if number > last && number <= 10_000 {
                let query = format!("partNumber={number}");
                let answer = world.send(Ask::get("bucket", "key").query(&query)).await;
                assert_eq!(answer.status, StatusCode::RANGE_NOT_SATISFIABLE, "{what}");
                assert_eq!(answer.code(), "InvalidPartNumber", "{what}");
            }
        }
        assert_eq!(world.all_integrity_failures(), 0, "{what}");
    }
}

#[tokio::test]
async fn part_numbers_that_cannot_be_are_refused() {
    let (world, _) = planted(&Shape::new(&[(2, 100), (4, 100)])).await;
    for (query, code) in [
        ("partNumber=", "InvalidArgument"),
        ("partNumber=0", "InvalidArgument"),
        ("partNumber=10001", "InvalidArgument"),
        ("partNumber=x", "InvalidArgument"),
        ("partNumber=-1", "InvalidArgument"),
        ("partNumber=99999999999999999999", "InvalidArgument"),
        ("partNumber=1", "InvalidPartNumber"),
        ("partNumber=3", "InvalidPartNumber"),
    ] {
        let answer = world.send(Ask::get("bucket", "key").query(query)).await;
        assert_eq!(answer.code(), code, "{query}");
    }
    let both = Ask::get("bucket", "key")
        .query("partNumber=2")
        .header("range", "bytes=0-1");
    let answer = world.send(both).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(answer.code(), "InvalidRequest");
}

#[tokio::test]
async fn an_object_of_one_stream_is_its_only_part() {
    let world = World::with_bucket().await;
    for length in [0, 100, 200_000] {
        let plain = content(length);
        world.put("key", &plain).await;
        let first = world
            .send(Ask::get("bucket", "key").query("partNumber=1"))
            .await;
        assert_eq!(first.status, status_of(length), "{length}");
        assert!(first.body == plain, "{length}");
        assert!(!first.headers.contains_key("x-amz-mp-parts-count"));
        let second = world
            .send(Ask::get("bucket", "key").query("partNumber=2"))
            .await;
        assert_eq!(second.code(), "InvalidPartNumber");
    }
}

#[tokio::test]
async fn conditions_see_the_etag_of_the_upload() {
    let (world, made) = planted(&Shape::equal(2, 50_000, 10)).await;
    for query in ["", "partNumber=1"] {
        let ask = || Ask::get("bucket", "key").query(query);
        let same = world.send(ask().header("if-none-match", &made.etag)).await;
        assert_eq!(same.status, StatusCode::NOT_MODIFIED);
        let held = world.send(ask().header("if-match", &made.etag)).await;
        assert!(held.status.is_success());
        let failed = world.send(ask().header("if-match", "\"other-3\"")).await;
        assert_eq!(failed.status, StatusCode::PRECONDITION_FAILED);
    }
}

#[tokio::test]
async fn checksums_and_attributes_tell_of_parts() {
    use base64::Engine as _;
    let base64 = |c: Checksum| base64::prelude::BASE64_STANDARD.encode(c.value());
    for (kind, name) in [
        (ChecksumType::Composite, "COMPOSITE"),
        (ChecksumType::FullObject, "FULL_OBJECT"),
    ] {
        let shape = Shape::new(&[(2, 3_000), (3, 50), (7, 100_000)]).checksum(kind);
        let (world, made) = planted(&shape).await;
        let sums: Vec<Checksum> = made
            .places
            .iter()
            .map(|p| crc(&made.plain[p.clone()]))
            .collect();
        let expected = match kind {
            ChecksumType::Composite => {
                let values: Vec<u8> = sums.iter().flat_map(|sum| sum.value().to_vec()).collect();
                format!("{}-3", base64(crc(&values)))
            }
            _ => base64(crc(&made.plain)),
        };
        for method in [Method::GET, Method::HEAD] {
            let ask = Ask::object(method, "bucket", "key").header("x-amz-checksum-mode", "ENABLED");
            let answer = world.send(ask.clone()).await;
            assert_eq!(answer.headers["x-amz-checksum-crc32"], expected);
            assert_eq!(answer.headers["x-amz-checksum-type"], name);
            let part = world.send(ask.query("partNumber=3")).await;
            assert_eq!(part.headers["x-amz-checksum-crc32"], base64(sums[1]));
        }
        let attributes = |max: &'static str, marker: &'static str| {
            Ask::get("bucket", "key")
                .query("attributes=")
                .header(
                    "x-amz-object-attributes",
                    "ETag,Checksum,ObjectParts,ObjectSize",
                )
                .header("x-amz-max-parts", max)
                .header("x-amz-part-number-marker", marker)
        };
        let answer = world.send(attributes("2", "0")).await;
        let text = String::from_utf8(answer.body).unwrap();
        for part in [
            format!("<ETag>{}</ETag>", made.etag.trim_matches('"')),
            format!("<ChecksumCRC32>{expected}</ChecksumCRC32><ChecksumType>{name}</ChecksumType>"),
            "<PartsCount>3</PartsCount>".into(),
            "<PartNumberMarker>0</PartNumberMarker><NextPartNumberMarker>3</NextPartNumberMarker>"
                .into(),
            "<MaxParts>2</MaxParts><IsTruncated>true</IsTruncated>".into(),
            format!(
                "<Part><PartNumber>3</PartNumber><Size>50</Size><ChecksumCRC32>{}</ChecksumCRC32></Part>",
                base64(sums[1])
            ),
        ] {
            assert!(text.contains(&part), "{part} in {text}");
        }
        assert!(!text.contains("<PartNumber>7<"));
        let answer = world.send(attributes("1000", "3")).await;
        let text = String::from_utf8(answer.body).unwrap();
        assert!(
            text.contains("<IsTruncated>false<") && text.contains("<PartNumber>7<"),
            "{text}"
        );
        assert!(!text.contains("<PartNumber>3<"));
        for (max, marker) in [("x", "0"), ("1", "-1"), ("", "0"), ("1", "99999999999")] {
            let answer = world.send(attributes(max, marker)).await;
            assert_eq!(answer.code(), "InvalidArgument", "{max} {marker}");
        }
    }
}

#[tokio::test]
async fn a_copy_keeps_parts_and_etag() {
    let (world, made) = planted(&Shape::new(&[(2, 90_000), (9, 150_000)])).await;
    let answer = world.send(Ask::copy("bucket", "key", "copy")).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let tag = made.etag.trim_matches('"');
    assert!(String::from_utf8(answer.body).unwrap().contains(tag));
    let copied = world.stored("bucket", "copy").await.unwrap();
    assert!(copied.body == made.stored().body, "the bytes do not move");
    world.spy.take();
    let whole = world.get("copy").await;
    assert!(whole.body == made.plain);
    assert_eq!(whole.headers["etag"], made.etag);
    assert_eq!(world.spy.take().len(), 2);
    let part = Ask::get("bucket", "copy").query("partNumber=9");
    assert!(world.send(part).await.body == made.plain[90_000..]);
    let listed = world
        .send(Ask::bucket(Method::GET, "bucket").query("list-type=2"))
        .await;
    let text = String::from_utf8(listed.body).unwrap();
    assert_eq!(text.matches(tag).count(), 2, "{text}");
    assert_eq!(text.matches("<Size>240000</Size>").count(), 2, "{text}");
}

/// Requests at the store, and of how many round trips: those that ask by name for the same stage go side by side.
#[tokio::test]
async fn reads_keep_to_their_budget() {
    // A table that comes along with the last 8 KiB, one of equal parts that does not, one of unequal.
    let unequal: Vec<(u16, usize)> = (1..=150).map(|n| (n, 900 + usize::from(n))).collect();
    for (what, shape, whole, range) in [
        ("short table", Shape::equal(5, 100_000, 500), 2, 2),
        (
            "short table, unequal",
            Shape::new(&[(1, 3_000), (5, 200_000)]),
            2,
            2,
        ),
        ("long table", Shape::equal(150, 1_000, 500), 3, 3),
        ("long table, unequal", Shape::new(&unequal), 3, 3),
    ] {
        let (world, made) = planted(&shape).await;
        world.spy.take();
        assert!(world.get("key").await.body == made.plain);
        assert_eq!(world.spy.take().len(), whole, "{what}: whole");
        world.send(Ask::head("bucket", "key")).await;
        assert_eq!(world.spy.take().len(), 1, "{what}: HEAD");
        let middle = made.plain.len() / 3..made.plain.len() / 2;
        assert!(ranged(&world, &middle).await.body == made.plain[middle]);
        assert_eq!(world.spy.take().len(), range, "{what}: range");
    }
    // Parts as S3 has them: the last bytes that are asked for hold the table.
    let shape = Shape::equal(2, 5 * 1024 * 1024, 10);
    let (world, made) = planted(&shape).await;
    world.spy.take();
    assert!(world.get("key").await.body == made.plain);
    assert_eq!(world.spy.take().len(), 2);
    // Objects of one stream still ask for the footer alone.
    world.put("single", &content(200_000)).await;
    world.spy.take();
    world.get("single").await;
    let seen = world.spy.take();
    assert_eq!(seen.len(), 2);
    assert!(seen.iter().any(|seen| seen.header("range") == "bytes=-256"));
    // Not pinned: one small request more for the header of the stream that the range begins in.
    let (world, made) = planted(&Shape::equal(3, 200_000, 10).unpinned()).await;
    world.spy.take();
    let inside = 300_000..350_000;
    assert!(ranged(&world, &inside).await.body == made.plain[inside]);
    let seen = world.spy.take();
    assert_eq!(seen.len(), 3);
    let header = |range: &str| {
        let (from, to) = range.trim_start_matches("bytes=").split_once('-').unwrap();
        to.parse::<u64>()
            .ok()
            .zip(from.parse::<u64>().ok())
            .is_some_and(|(to, from)| to - from == 39)
    };
    assert!(seen.iter().any(|seen| header(seen.header("range"))));
}

/// An upload begins before its length is known, so nothing tells it while the body cannot be read.
#[tokio::test]
async fn an_archived_object_in_parts_is_no_integrity_failure() {
    let (world, _) = planted(&Shape::equal(2, 50_000, 10)).await;
    world.spy.lie(|seen, mut reply| {
        if seen.method == "GET" {
            reply.status = StatusCode::FORBIDDEN;
            reply.body =
                b"<Error><Code>InvalidObjectState</Code><Message>no</Message></Error>".to_vec();
            reply.fix_length();
        }
        reply.encode()
    });
    for ask in [
        Ask::get("bucket", "key"),
        Ask::get("bucket", "key").header("range", "bytes=5-9"),
        Ask::get("bucket", "key").query("partNumber=1"),
        Ask::copy("bucket", "key", "copy"),
    ] {
        let answer = world.send(ask).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
        assert_eq!(answer.code(), "InvalidObjectState");
    }
    let head = world.send(Ask::head("bucket", "key")).await;
    assert_eq!(head.status, StatusCode::FORBIDDEN);
    assert_eq!(world.all_integrity_failures(), 0);
}

/// Whatever way it is read, not a byte comes out that was not written there, and it is noticed.
async fn refused(world: &World, made: &Made, what: &str) {
    let before = world.all_integrity_failures();
    let answer = world.get("key").await;
    if answer.status == StatusCode::OK {
        assert!(!answer.complete, "{what}: passed");
        assert!(made.plain.starts_with(&answer.body), "{what}: a wrong byte");
        assert!(
            answer.body.len() < made.plain.len(),
            "{what}: all of it came"
        );
    } else {
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{what}");
    }
    world.log_line(answer.request_id()).await;
    assert!(
        world.all_integrity_failures() > before,
        "{what}: not counted"
    );
    // Every range is right or refused.
    for place in &made.places {
        let range = place.start..place.end.max(place.start + 1).min(made.plain.len());
        if range.is_empty() {
            continue;
        }
        let answer = ranged(world, &range).await;
        if answer.status == StatusCode::PARTIAL_CONTENT {
            assert!(
                made.plain[range.clone()].starts_with(&answer.body),
                "{what} {range:?}"
            );
            assert!(
                !answer.complete || answer.body.len() == range.len(),
                "{what} {range:?}"
            );
        } else {
            assert_eq!(
                answer.status,
                StatusCode::UNPROCESSABLE_ENTITY,
                "{what} {range:?}"
            );
        }
    }
}

#[tokio::test]
async fn parts_keep_their_place() {
    for shape in [
        Shape::equal(3, 70_000, 400),
        Shape::equal(3, 70_000, 400).unpinned(),
        Shape::new(&[(1, 70_000), (2, 300), (3, 70_000), (4, 300)]),
    ] {
        let (world, made) = planted(&shape).await;
        let order = |order: &[usize]| {
            made.with(|m| {
                m.parts = order.iter().map(|&i| made.parts[i].clone()).collect();
            })
        };
        for wrong in [
            &[1, 0, 2, 3][..],
            &[2, 1, 0, 3],
            &[0, 1, 3, 2],
            &[0, 1, 3],
            &[0, 1, 2],
            &[3],
            &[],
            &[0, 0, 2, 3],
            &[0, 2, 2, 3],
            &[0, 1, 1, 2, 3],
            &[0, 1, 2, 3, 3],
        ] {
            world.plant("bucket", "key", &order(wrong)).await;
            refused(&world, &made, &format!("{wrong:?}")).await;
        }
        world.plant("bucket", "key", &order(&[0, 1, 2, 3])).await;
        assert!(world.get("key").await.body == made.plain);
    }
}

#[tokio::test]
async fn an_earlier_upload_of_a_part_is_refused_where_it_is_pinned() {
    for (what, shape, len) in [
        ("pinned", Shape::equal(3, 70_000, 400), 70_000),
        (
            "another length",
            Shape::equal(3, 70_000, 400).unpinned(),
            69_999,
        ),
    ] {
        let (world, made) = planted(&shape).await;
        let preamble = Preamble::decode(made.parts[1].first_chunk().unwrap()).unwrap();
        let older = seal_part(&preamble.envelope, 2, &vec![0; len], "older");
        let changed = made.with(|m| m.parts[1] = older);
        world.plant("bucket", "key", &changed).await;
        refused(&world, &made, what).await;
        let part = world
            .send(Ask::get("bucket", "key").query("partNumber=2"))
            .await;
        assert_eq!(part.status, StatusCode::UNPROCESSABLE_ENTITY, "{what}");
    }
}

#[tokio::test]
async fn table_and_footer_belong_together() {
    let (world, made) = planted(&Shape::equal(3, 70_000, 400)).await;
    let mut shape = Shape::new(&[(1, 70_000), (2, 70_000), (5, 70_000), (6, 400)]);
    shape.table = "another table";
    let other = make("key", &shape).await;
    for (what, changed) in [
        (
            "another table",
            made.with(|m| m.table = other.table.clone()),
        ),
        (
            "another footer",
            made.with(|m| m.footer = other.footer.clone()),
        ),
        (
            "both",
            made.with(|m| {
                m.table = other.table.clone();
                m.footer = other.footer.clone();
            }),
        ),
        ("no table", made.with(|m| m.table.clear())),
        ("table cut", made.with(|m| m.table.truncate(100))),
        ("no footer", made.with(|m| m.footer.clear())),
        ("byte appended", made.with(|m| m.footer.push(0))),
        ("byte between", made.with(|m| m.table.push(0))),
    ] {
        world.plant("bucket", "key", &changed).await;
        refused(&world, &made, what).await;
    }
    // A table that changes between the two requests.
    world.plant("bucket", "key", &made.stored()).await;
    let at = made.parts.concat().len() + 60;
    world.spy.lie(move |seen, mut reply| {
        if !seen.headers.contains_key("range") {
            reply.body[at] ^= 1;
        }
        reply.encode()
    });
    let before = world.integrity_failures("part_table");
    let answer = world.get("key").await;
    assert!(!answer.complete && answer.body.len() < made.plain.len());
    world.log_line(answer.request_id()).await;
    assert_eq!(world.integrity_failures("part_table"), before + 1);
}

#[tokio::test]
async fn flipped_bytes_are_noticed_everywhere() {
    for shape in [
        Shape::new(&[(1, 70_000), (2, 300), (3, 0)]),
        Shape::new(&[(1, 70_000), (2, 300), (3, 0)]).unpinned(),
    ] {
        let (world, made) = planted(&shape).await;
        let stored = made.stored();
        let mut starts = vec![0];
        for part in &made.parts {
            starts.push(starts.last().unwrap() + part.len());
        }
        let mut places: Vec<usize> = (0..stored.body.len()).step_by(4_001).collect();
        // The core, the envelope, the stream's header and the first bytes of each part; table; footer.
        for start in &starts {
            places
                .extend([0, 11, 17, 31, 60, 81, 100, 511, 512, 513, 551, 552].map(|at| start + at));
        }
        let len = stored.body.len();
        places.extend((len - 300..len).step_by(9));
        places.retain(|&at| at < len);
        for at in places {
            let mut changed = stored.clone();
            changed.body[at] ^= 1 << (at % 8);
            world.plant("bucket", "key", &changed).await;
            refused(&world, &made, &format!("byte {at}")).await;
        }
    }
}

#[tokio::test]
async fn a_body_that_is_cut_at_a_boundary_never_passes() {
    let (world, made) = planted(&Shape::equal(3, 70_000, 0)).await;
    let mut cut = 0;
    for piece in made.parts.iter().chain([&made.table]) {
        cut += piece.len();
        let at = cut;
        world.spy.lie(move |seen, mut reply| {
            if !seen.headers.contains_key("range") {
                reply.body.truncate(at);
                reply.fix_length();
            }
            reply.encode()
        });
        let answer = world.get("key").await;
        assert!(
            answer.status != StatusCode::OK || !answer.complete,
            "cut at {at}"
        );
        assert!(answer.body.len() < made.plain.len(), "cut at {at}");
    }
}
