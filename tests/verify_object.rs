//! `verify: object`: nothing of an object is sent until all of it has been checked.

#![cfg(feature = "embedded")]
#![forbid(unsafe_code)]

mod common;

use std::sync::Arc;

use common::{Answer, Ask, Stored, World, contains, content, query_of};
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use sealgate::aead::{Dek, Engine, Etag, ObjectId, SegmentSize, StreamHeader};
use sealgate::envelope::{self, Info};
use sealgate::keys::{KeyEncryptionKey, KeyId, Keyring, LocalKey};
use sealgate::pump::{self, FooterSource, SealBody, Sealing};
use serde_json::json;

const SEGMENT: usize = 64 * 1024;

async fn world() -> World {
    let world = World::with_settings(json!({
        "buckets": {"bucket": {"verify": "object"}},
        "spool": {"dir": std::env::temp_dir(), "bytes": "8MiB", "max_object": "4MiB", "keep": "0s"},
        "multipart": {"min_part_size": "1B"},
    }))
    .await;
    world.create("bucket").await;
    world
}

/// Uploads an object in parts of these contents.
async fn upload(world: &World, key: &str, parts: &[Vec<u8>]) {
    let created = world
        .send(Ask::object(Method::POST, "bucket", key).query("uploads="))
        .await;
    let id = created.element("UploadId");
    let mut document = String::new();
    for (at, part) in parts.iter().enumerate() {
        let number = (at + 1).to_string();
        let query = query_of(&[("partNumber", &number), ("uploadId", &id)]);
        let answer = world
            .send(Ask::put("bucket", key, part).query(&query))
            .await;
        let etag = answer.etag();
        document += &format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>");
    }
    let document = format!("<CompleteMultipartUpload>{document}</CompleteMultipartUpload>");
    let ask = Ask::object(Method::POST, "bucket", key)
        .query(&query_of(&[("uploadId", &id)]))
        .body(document.as_bytes());
    let done = world.send(ask).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.text());
}

#[track_caller]
fn assert_refused(answer: &Answer) {
    assert_eq!(
        answer.status,
        StatusCode::UNPROCESSABLE_ENTITY,
        "{answer:?}"
    );
    assert_eq!(answer.code(), "ObjectIntegrityFailure");
    assert!(!contains(&answer.body, common::MARKER));
}

fn asks(key: &str) -> [Ask; 3] {
    [
        Ask::get("bucket", key),
        Ask::get("bucket", key).header("range", "bytes=3-20"),
        Ask::get("bucket", key).query("partNumber=1"),
    ]
}

#[tokio::test]
async fn objects_are_served_as_ever() {
    let world = world().await;
    for len in [0, 1, 1000, SEGMENT, 5 * SEGMENT + 17, 3 << 20] {
        let body = content(len);
        let put = world.put("key", &body).await;
        let get = world.get("key").await;
        assert!(get.body == body, "{len}");
        assert_eq!(get.etag(), put.etag());
        let part = world
            .send(Ask::get("bucket", "key").query("partNumber=1"))
            .await;
        assert!(part.body == body);
        if len > 20 {
            for (first, last) in [(0, 0), (3, len / 2), (len - 1, len - 1), (0, len - 1)] {
                let ask =
                    Ask::get("bucket", "key").header("range", &format!("bytes={first}-{last}"));
                let answer = world.send(ask).await;
                assert_eq!(answer.status, StatusCode::PARTIAL_CONTENT);
                assert!(answer.body == body[first..=last], "{first}-{last} of {len}");
            }
        }
    }
    let parts: Vec<Vec<u8>> = [70_000, 1, 200_000, 65_536]
        .into_iter()
        .map(content)
        .collect();
    upload(&world, "parts", &parts).await;
    let whole = parts.concat();
    assert!(world.get("parts").await.body == whole);
    for (at, part) in parts.iter().enumerate() {
        let ask = Ask::get("bucket", "parts").query(&format!("partNumber={}", at + 1));
        assert!(world.send(ask).await.body == *part);
    }
    let ask = Ask::get("bucket", "parts").header("range", "bytes=69990-70010");
    assert_eq!(world.send(ask).await.body, &whole[69_990..=70_010]);
    // Copies by the store carry no plaintext, and are none the wiser.
    let copied = world.send(Ask::copy("bucket", "parts", "copy")).await;
    assert_eq!(copied.status, StatusCode::OK, "{copied:?}");
    assert!(world.get("copy").await.body == whole);
    assert_eq!(world.gauge("sealgate_spool_bytes"), 0.0);
    assert_eq!(world.all_integrity_failures(), 0);
}

/// A byte that is wrong anywhere keeps back all of the object, where otherwise the segments before it would be sent.
#[tokio::test]
async fn a_bad_end_keeps_back_the_beginning() {
    let world = world().await;
    let body = content(5 * SEGMENT);
    world.put("single", &body).await;
    upload(
        &world,
        "parts",
        &[content(3 * SEGMENT), content(2 * SEGMENT)],
    )
    .await;
    for key in ["single", "parts"] {
        let good = world.stored("bucket", key).await.unwrap();
        let len = good.body.len();
        let mut bad: Vec<Stored> = Vec::new();
        for at in [0, 600, 2 * SEGMENT, len - 700, len - 300, len - 1] {
            let mut body = good.body.clone();
            body[at] ^= 4;
            bad.push(good.with_body(body));
        }
        for cut in [1, SEGMENT, len - 900] {
            bad.push(good.with_body(&good.body[..len - cut]));
        }
        bad.push(good.with_body([&good.body[..], &[0]].concat()));
        for object in bad {
            world.plant("bucket", key, &object).await;
            for ask in asks(key) {
                assert_refused(&world.send(ask).await);
            }
        }
        world.plant("bucket", key, &good).await;
        for ask in asks(key) {
            assert!(world.send(ask).await.status.is_success());
        }
    }
    assert_eq!(world.gauge("sealgate_spool_bytes"), 0.0);
}

/// What the store sends is not what it has: the bytes that are wrong come late, on the way.
#[tokio::test]
async fn a_store_that_changes_the_end_on_its_way_is_found_out() {
    let world = world().await;
    world.put("key", &content(5 * SEGMENT)).await;
    let stored = world.stored("bucket", "key").await.unwrap().body.len();
    world.spy.lie(move |_, mut reply| {
        if reply.body.len() > 4 * SEGMENT {
            let at = stored - 1000 - reply.offset();
            reply.body[at] ^= 1;
        }
        reply.encode()
    });
    for ask in asks("key") {
        assert_refused(&world.send(ask).await);
    }
    assert_eq!(world.integrity_failures("segment"), 3);
}

/// An object as a writer makes it that holds the key, with an MD5 of its choice.
async fn sealed_with_md5(plain: &[u8], md5: [u8; 16]) -> Stored {
    let id = KeyId::new("main").unwrap();
    let key = LocalKey::new(id.clone(), std::num::NonZeroU32::MIN, &common::KEK);
    let keyring = Keyring::new([Arc::new(key) as Arc<dyn KeyEncryptionKey>], id).unwrap();
    let (dek, object_id) = (Dek::new([9; 32]), ObjectId([8; 16]));
    let mut headers = common::headers(&[("content-type", "text/plain")]);
    let info = Info {
        plaintext_len: Some(plain.len() as u64),
        md5: None,
        metadata_digest: Some(sealgate::formats::v1::bound_digest(&headers)),
    };
    let record = envelope::seal_record(&keyring, &[], &dek, object_id, "bucket", "key", &info)
        .await
        .unwrap();
    for (name, value) in record.to_headers() {
        headers.insert(name, value.parse().unwrap());
    }
    let sealing = Sealing {
        engine: Engine::default(),
        dek,
        object_id,
        segment_size: SegmentSize::GATEWAY,
        plaintext_len: plain.len() as u64,
        envelope: record.envelope,
        header: StreamHeader {
            salt: [7; 32],
            nonce_prefix: [6; 7],
        },
        footer_nonce: [5; 12],
    };
    let footer = move || {
        Ok(FooterSource {
            etag: Etag::Md5(md5),
            checksum: None,
        })
    };
    let body = SealBody::new(sealing, pump::full(plain.to_vec()), footer).unwrap();
    let body = body.collect().await.unwrap().to_bytes().to_vec();
    Stored { headers, body }
}

/// What no segment can tell: all of it is genuine, and not the content of which the MD5 was made.
#[tokio::test]
async fn sums_over_the_whole_are_held_against_it() {
    use md5::Digest as _;
    let world = world().await;
    for len in [100, 3 * SEGMENT] {
        let plain = content(len);
        let md5: [u8; 16] = md5::Md5::digest(&plain).into();
        world
            .plant("bucket", "key", &sealed_with_md5(&plain, md5).await)
            .await;
        for ask in asks("key") {
            assert!(world.send(ask).await.status.is_success());
        }
        world
            .plant("bucket", "key", &sealed_with_md5(&plain, [1; 16]).await)
            .await;
        for ask in asks("key") {
            assert_refused(&world.send(ask).await);
        }
    }
    assert_eq!(world.integrity_failures("object"), 6);
}

#[tokio::test]
async fn an_object_that_is_too_large_is_told_and_where_segments_suffice_it_is_not() {
    let world = world().await;
    let body = content(4 << 20);
    world.put("large", &body).await;
    for ask in asks("large") {
        let answer = world.send(ask).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (StatusCode::BAD_REQUEST, "EntityTooLarge")
        );
        assert!(answer.text().contains("verify: segment"), "{answer:?}");
    }
    world.create("other").await;
    world.send(Ask::put("other", "large", &body)).await;
    assert!(world.send(Ask::get("other", "large")).await.body == body);
    assert_eq!(
        world
            .send(Ask::head("bucket", "large"))
            .await
            .header("content-length"),
        body.len().to_string()
    );
}
