//! Objects of other programs, over real sockets: served where the configuration says so, whole or not at all.

#![cfg(feature = "embedded")]
#![forbid(unsafe_code)]

mod common;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aes_gcm_siv::Aes256GcmSiv;
use aes_gcm_siv::aead::{Aead, KeyInit};
use aes_kw::KwpAes256;
use common::{Answer, Ask, Connection, Stored, World, contains, headers, query_of};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const SECRETS: [&str; 3] = ["correct horse battery staple", "a", "ключ-🔑"];
const REFUSED: &str = "ObjectIntegrityFailure";

/// Byte `i` of every plaintext.
fn pattern(len: usize) -> Vec<u8> {
    (0..len)
        .map(|i| (i * 131 + (i >> 8) * 17 + 7) as u8)
        .collect()
}

/// A legacy object that other code has written.
struct Vector {
    plaintext_len: usize,
    kek: String,
    stored: Stored,
}

fn vectors() -> Vec<Vector> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let rows: Value =
        serde_json::from_slice(&std::fs::read(folder.join("legacy.json")).unwrap()).unwrap();
    let rows = rows.as_array().unwrap();
    assert_eq!(rows.len(), 8);
    rows.iter()
        .map(|row| {
            let metadata = row["metadata"].as_object().unwrap().iter();
            let metadata: Vec<(String, &str)> = metadata
                .map(|(name, value)| (format!("x-amz-meta-{name}"), value.as_str().unwrap()))
                .collect();
            let mut pairs: Vec<(&str, &str)> = metadata
                .iter()
                .map(|(name, value)| (name.as_str(), *value))
                .collect();
            pairs.extend([("content-type", "text/x-old"), ("x-amz-meta-mine", "kept")]);
            let plaintext_len = row["plaintext_len"].as_u64().unwrap() as usize;
            let digest = Sha256::digest(pattern(plaintext_len));
            assert_eq!(hex::encode(digest), row["plaintext_sha256"]);
            Vector {
                plaintext_len,
                kek: row["kek"].as_str().unwrap().to_owned(),
                stored: Stored {
                    headers: headers(&pairs),
                    body: std::fs::read(folder.join(row["file"].as_str().unwrap())).unwrap(),
                },
            }
        })
        .collect()
}

/// A legacy object of any length, under the first secret.
fn legacy(plaintext: &[u8]) -> Stored {
    let seed: [u8; 32] = Sha256::digest(plaintext.len().to_be_bytes()).into();
    let kek: [u8; 32] = Sha256::digest(SECRETS[0]).into();
    let mut wrapped = [0; 40];
    KwpAes256::new(&kek.into())
        .wrap_key(&seed, &mut wrapped)
        .unwrap();
    let nonce: [u8; 12] = seed[..12].try_into().unwrap();
    let mut body = nonce.to_vec();
    body.extend(
        Aes256GcmSiv::new(&seed.into())
            .encrypt(&nonce.into(), plaintext)
            .unwrap(),
    );
    Stored {
        headers: headers(&[("x-amz-meta-isec", &hex::encode(wrapped))]),
        body,
    }
}

fn compat(until: &str, zero_key: bool) -> Value {
    json!({
        "accept_unsigned": {"until": until},
        "s3proxy": {"tags": ["isec", "constellation-dek", "mytag"], "secrets": SECRETS, "zero_key": zero_key},
    })
}

fn spool(bytes: &str, max_object: &str) -> Value {
    json!({"dir": std::env::temp_dir(), "bytes": bytes, "max_object": max_object, "keep": "0s"})
}

async fn world_with(settings: Value) -> World {
    let world = World::with_settings(settings).await;
    world.create("bucket").await;
    world
}

async fn world() -> World {
    world_with(json!({"compat": compat("2999-12-31", true), "spool": spool("64MiB", "32MiB")}))
        .await
}

/// Plants all vectors, each under its length.
async fn planted(world: &World) -> Vec<Vector> {
    let vectors = vectors();
    for vector in &vectors {
        world.plant("bucket", &key(vector), &vector.stored).await;
    }
    vectors
}

fn key(vector: &Vector) -> String {
    format!("old/{:07}", vector.plaintext_len)
}

#[track_caller]
fn assert_refused(answer: &Answer) {
    assert_eq!(
        answer.status,
        StatusCode::UNPROCESSABLE_ENTITY,
        "{answer:?}"
    );
    assert_eq!(answer.code(), REFUSED, "{answer:?}");
}

/// Nothing tells a client how the object is encrypted.
#[track_caller]
fn assert_shown(answer: &Answer) {
    assert_eq!(answer.header("content-type"), "text/x-old");
    assert_eq!(answer.header("x-amz-meta-mine"), "kept");
    let metadata = answer
        .headers
        .keys()
        .filter(|name| name.as_str().starts_with("x-amz-meta-"));
    assert_eq!(metadata.count(), 1, "{answer:?}");
    assert!(answer.etag().contains('-'), "{}", answer.etag());
}

#[tokio::test]
async fn every_vector_is_served_with_its_plaintext_size() {
    let world = world().await;
    let vectors = planted(&world).await;
    for vector in &vectors {
        let (key, plain) = (key(vector), pattern(vector.plaintext_len));
        let get = world.get(&key).await;
        assert_eq!(get.status, StatusCode::OK, "{key}");
        assert!(get.body == plain, "{key}");
        assert_eq!(get.header("content-length"), plain.len().to_string());
        assert_shown(&get);
        let head = world.send(Ask::head("bucket", &key)).await;
        assert_eq!(head.status, StatusCode::OK);
        assert_eq!(head.header("content-length"), plain.len().to_string());
        assert_eq!(head.etag(), get.etag());
        assert_shown(&head);
        let ask = Ask::object(Method::GET, "bucket", &key)
            .query("attributes=")
            .header(
                "x-amz-object-attributes",
                "ObjectSize,ETag,ObjectParts,Checksum",
            );
        let attributes = world.send(ask).await;
        assert_eq!(attributes.element("ObjectSize"), plain.len().to_string());
        assert_eq!(attributes.element("ETag"), get.etag());

        let part = world
            .send(Ask::get("bucket", &key).query("partNumber=1"))
            .await;
        assert!(part.status.is_success() && part.body == plain, "{part:?}");
        let part = world
            .send(Ask::get("bucket", &key).query("partNumber=2"))
            .await;
        assert_eq!(part.code(), "InvalidPartNumber");
        let known =
            Ask::get("bucket", &key).header("if-none-match", &format!("\"{}\"", get.etag()));
        assert_eq!(world.send(known).await.status, StatusCode::NOT_MODIFIED);
        let other = Ask::get("bucket", &key).header("if-match", "\"other\"");
        assert_eq!(
            world.send(other).await.status,
            StatusCode::PRECONDITION_FAILED
        );
    }
    for versions in ["", "list-type=2", "versions="] {
        // The second time from what was learnt.
        for _ in 0..2 {
            let list = world
                .send(Ask::bucket(Method::GET, "bucket").query(versions))
                .await;
            let sizes: Vec<String> = vectors
                .iter()
                .map(|v| v.plaintext_len.to_string())
                .collect();
            assert_eq!(list.elements("Size"), sizes);
            assert!(list.elements("ETag").iter().all(|etag| etag.contains('-')));
        }
    }
    let reads = |protection| {
        world.metric(
            "sealgate_legacy_reads_total",
            Some(("protection", protection)),
        )
    };
    // A GET and a part of each; one of the vectors is under the zero key.
    assert_eq!((reads("none"), reads("secret")), (2, 14));
    assert_eq!(world.gauge("sealgate_spool_bytes"), 0.0);
    assert_eq!(world.all_integrity_failures(), 0);
}

#[tokio::test]
async fn sizes_are_exact_where_lengths_of_sealed_objects_would_tell() {
    let settings = json!({
        "compat": compat("2999-12-31", true),
        "buckets": {"bucket": {"etag": "opaque"}},
        "cache": {"bytes": "0B"},
    });
    let world = world_with(settings).await;
    world.plant("bucket", "old", &legacy(&pattern(5000))).await;
    world.put("new", &pattern(5000)).await;
    let list = world.send(Ask::bucket(Method::GET, "bucket")).await;
    assert_eq!(list.elements("Size"), ["5000", "5000"]);
}

#[tokio::test]
async fn ranges_come_from_an_object_that_was_checked_as_a_whole() {
    let world = world().await;
    for vector in planted(&world).await {
        let (key, plain) = (key(&vector), pattern(vector.plaintext_len));
        let len = plain.len();
        if len == 0 {
            let answer = world
                .send(Ask::get("bucket", &key).header("range", "bytes=0-0"))
                .await;
            assert_eq!(answer.status, StatusCode::RANGE_NOT_SATISFIABLE);
            continue;
        }
        for (first, last) in [
            (0, 0),
            (0, len - 1),
            (len / 2, len - 1),
            (len - 1, len - 1),
            (len / 3, len / 2),
        ] {
            let ask = Ask::get("bucket", &key).header("range", &format!("bytes={first}-{last}"));
            let answer = world.send(ask).await;
            assert_eq!(answer.status, StatusCode::PARTIAL_CONTENT);
            assert!(
                answer.body == plain[first..=last],
                "{first}-{last} of {key}"
            );
            assert_eq!(
                answer.header("content-range"),
                format!("bytes {first}-{last}/{len}")
            );
        }
        let suffix = Ask::get("bucket", &key).header("range", "bytes=-5");
        assert!(world.send(suffix).await.body == plain[len.saturating_sub(5)..]);
    }
}

#[tokio::test]
async fn copies_are_sealed() {
    let world = world().await;
    for vector in planted(&world).await {
        let (key, plain) = (key(&vector), pattern(vector.plaintext_len));
        let copied = world.send(Ask::copy("bucket", &key, "new")).await;
        assert_eq!(copied.status, StatusCode::OK, "{copied:?}");
        let stored = world.stored("bucket", "new").await.unwrap();
        assert!(
            stored.headers.contains_key("x-amz-meta-sealgate-envelope"),
            "{:?}",
            stored.headers
        );
        for name in [
            "isec",
            "constellation-dek",
            "mytag",
            "isec-kek-ver",
            "mytag-kek-ver",
        ] {
            assert!(!stored.headers.contains_key(format!("x-amz-meta-{name}")));
        }
        assert!(plain.len() < 16 || !contains(&stored.body, &plain[..16]));
        let get = world.get("new").await;
        assert!(get.body == plain);
        assert_eq!(get.etag(), common::md5_hex(&plain));
        assert_eq!(get.header("x-amz-meta-mine"), "kept");
    }
    // In its own place.
    let vector = &vectors()[6];
    let ask = Ask::copy("bucket", &key(vector), &key(vector))
        .header("x-amz-metadata-directive", "REPLACE")
        .header("x-amz-meta-b", "2");
    assert_eq!(world.send(ask).await.status, StatusCode::OK);
    let get = world.get(&key(vector)).await;
    assert!(get.body == pattern(vector.plaintext_len));
    assert_eq!(get.etag(), common::md5_hex(&pattern(vector.plaintext_len)));

    // As a part.
    let vector = &vectors()[7];
    let created = world
        .send(Ask::object(Method::POST, "bucket", "parts").query("uploads="))
        .await;
    let id = created.element("UploadId");
    let mut document = String::new();
    for (number, range) in [("1", None), ("2", Some("bytes=7-1000006"))] {
        let mut ask = Ask::copy("bucket", &key(vector), "parts")
            .query(&query_of(&[("partNumber", number), ("uploadId", &id)]));
        if let Some(range) = range {
            ask = ask.header("x-amz-copy-source-range", range);
        }
        let part = world.send(ask).await;
        assert_eq!(part.status, StatusCode::OK, "{part:?}");
        let etag = part.element("ETag");
        document += &format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>");
    }
    // The first part is too short to be one: what matters here is what the second holds.
    let document = document.split_once("</Part>").unwrap().1.to_owned();
    let document = format!("<CompleteMultipartUpload>{document}</CompleteMultipartUpload>");
    let ask = Ask::object(Method::POST, "bucket", "parts")
        .query(&query_of(&[("uploadId", &id)]))
        .body(document.as_bytes());
    assert_eq!(world.send(ask).await.status, StatusCode::OK);
    assert!(world.get("parts").await.body == pattern(vector.plaintext_len)[7..1_000_007]);
}

/// Everything that a store, or who has got hold of it, can do to the bytes of one object.
#[tokio::test]
async fn a_changed_object_gives_an_error_and_no_byte() {
    let world = world().await;
    let small = vectors()
        .into_iter()
        .find(|vector| vector.plaintext_len == 16)
        .unwrap()
        .stored;
    let mut bad: Vec<Stored> = Vec::new();
    for at in 0..small.body.len() {
        let mut body = small.body.clone();
        body[at] ^= 1 << (at % 8);
        bad.push(small.with_body(body));
    }
    for len in 0..small.body.len() {
        bad.push(small.with_body(&small.body[..len]));
    }
    bad.push(small.with_body([&small.body[..], &[0]].concat()));
    bad.push(small.with_body([&[0], &small.body[..]].concat()));
    // Another object's body, and this one's under other metadata.
    let other = legacy(&pattern(16));
    bad.push(small.with_body(other.body.clone()));
    bad.push(other.with_body(small.body.clone()));
    let digits = small.headers["x-amz-meta-isec"]
        .to_str()
        .unwrap()
        .to_owned();
    for value in [
        "",
        "00",
        &digits[..78],
        &format!("{digits}00"),
        &digits.replace('a', "b"),
        &"g".repeat(80),
    ] {
        bad.push(small.with_header("x-amz-meta-isec", Some(value)));
    }
    bad.push(small.with_header("x-amz-meta-isec-kek-ver", None));
    bad.push(small.with_header("x-amz-meta-isec-kek-ver", Some("2")));
    bad.push(small.with_header("x-amz-meta-mytag", Some(&digits)));
    bad.push(small.with_header("x-amz-meta-isec", None));

    let large = legacy(&pattern(300_000));
    for at in [0, 11, 12, 70_000, 200_000, 300_011, 300_012, 300_027] {
        let mut body = large.body.clone();
        body[at] ^= 0x80;
        bad.push(large.with_body(body));
    }
    for len in [27, 28, 200_000, 300_027] {
        bad.push(large.with_body(&large.body[..len]));
    }
    bad.push(large.with_body([&large.body[..], &[0; 16]].concat()));
    for (at, object) in bad.iter().enumerate() {
        world.plant("bucket", "bad", object).await;
        let failures = world.all_integrity_failures();
        let asks = [
            Ask::get("bucket", "bad"),
            Ask::get("bucket", "bad").header("range", "bytes=3-5"),
            Ask::get("bucket", "bad").query("partNumber=1"),
            Ask::copy("bucket", "bad", "copy"),
        ];
        let mut refused = 0;
        for ask in asks {
            let answer = world.send(ask).await;
            // No range lies within an object of no bytes.
            if answer.status != StatusCode::RANGE_NOT_SATISFIABLE {
                assert_refused(&answer);
                refused += 1;
            }
            assert!(!contains(&answer.body, &pattern(8)), "{at}");
        }
        assert_eq!(world.all_integrity_failures(), failures + refused, "{at}");
        assert_eq!(world.stored("bucket", "copy").await, None, "{at}");
    }
    assert_eq!(world.gauge("sealgate_spool_bytes"), 0.0);
    assert_eq!(world.integrity_failures("ambiguous"), 4);
}

/// What the store says is one thing, what it sends may be another.
#[tokio::test]
async fn a_store_that_changes_the_bytes_on_their_way_is_found_out() {
    let world = world().await;
    for len in [1000, 300_000] {
        world.plant("bucket", "key", &legacy(&pattern(len))).await;
        // The tag at the end is that of the object; the one that comes with the body is not, or the body is not.
        for at in [5, len / 2, len + 20] {
            world.spy.lie(move |seen, mut reply| {
                let suffix = seen.header("range").starts_with("bytes=-");
                if seen.method == "GET" && !suffix && reply.body.len() > at {
                    reply.body[at] ^= 1;
                }
                reply.encode()
            });
            assert_refused(&world.get("key").await);
            let range = Ask::get("bucket", "key").header("range", "bytes=1-2");
            assert_refused(&world.send(range).await);
        }
        // Cut off again and again: no answer of its own, but none of its bytes either.
        world.spy.lie(move |_, reply| reply.cut(len - 7));
        let answer = world.get("key").await;
        assert!(!answer.status.is_success(), "{answer:?}");
        assert!(!contains(&answer.body, &pattern(8)));
        world.spy.be_honest();
        assert!(world.get("key").await.body == pattern(len));
    }
}

#[tokio::test]
async fn nothing_is_read_that_the_configuration_does_not_name() {
    let world = world_with(json!({"buckets": {"open": {"plaintext": "allow"}}})).await;
    world.create("open").await;
    let object = legacy(&pattern(100));
    for bucket in ["bucket", "open"] {
        world.plant(bucket, "old", &object).await;
        let answer = world.send(Ask::get(bucket, "old")).await;
        assert_refused(&answer);
        assert!(answer.text().contains("another program"), "{answer:?}");
        let line = world.log_line(answer.request_id()).await;
        assert_eq!(line["integrity"], "legacy");
        assert_eq!(
            world.send(Ask::head(bucket, "old")).await.status,
            StatusCode::UNPROCESSABLE_ENTITY
        );
        assert_refused(&world.send(Ask::copy(bucket, "old", "new")).await);
        let list = world.send(Ask::bucket(Method::GET, bucket)).await;
        assert_eq!(list.elements("Size"), ["128"]);
    }
    // Metadata of that name that is no wrapped key is a client's own.
    let own = Stored {
        headers: headers(&[("x-amz-meta-isec", "mine")]),
        body: b"plain".to_vec(),
    };
    world.plant("open", "own", &own).await;
    let answer = world.send(Ask::get("open", "own")).await;
    assert_eq!(
        (answer.body.as_slice(), answer.header("x-amz-meta-isec")),
        (&b"plain"[..], "mine")
    );

    let settings =
        json!({"compat": compat("2999-12-31", false), "buckets": {"closed": {"compat": false}}});
    let world = world_with(settings).await;
    world.create("closed").await;
    world.plant("closed", "old", &object).await;
    world.plant("bucket", "old", &object).await;
    assert!(world.get("old").await.body == pattern(100));
    assert_refused(&world.send(Ask::get("closed", "old")).await);
    assert_eq!(world.integrity_failures("legacy"), 1);
    // Plaintext stays refused.
    world
        .plant("bucket", "plain", &own.with_header("x-amz-meta-isec", None))
        .await;
    assert_refused(&world.get("plain").await);
    assert_eq!(world.integrity_failures("plaintext"), 1);
    // The key that everybody knows.
    for vector in planted(&world).await {
        let answer = world.get(&key(&vector)).await;
        if vector.kek == "zero" {
            assert_refused(&answer);
            assert!(answer.text().contains("everybody knows"));
        } else {
            assert!(answer.body == pattern(vector.plaintext_len));
        }
    }
    assert_eq!(world.integrity_failures("legacy_unprotected"), 1);
}

#[tokio::test]
async fn after_the_last_day_legacy_objects_are_refused_and_others_go_on() {
    let world = world_with(json!({"compat": compat("2001-01-01", true)})).await;
    world.plant("bucket", "old", &legacy(&pattern(100))).await;
    world.put("new", &pattern(100)).await;
    let answer = world.get("old").await;
    assert_refused(&answer);
    assert!(answer.text().contains("has passed"), "{answer:?}");
    assert_eq!(
        world.send(Ask::head("bucket", "old")).await.status,
        StatusCode::UNPROCESSABLE_ENTITY
    );
    assert_refused(&world.send(Ask::copy("bucket", "old", "copy")).await);
    assert_eq!(world.integrity_failures("legacy_ended"), 3);
    assert!(world.get("new").await.body == pattern(100));
    // It can be replaced.
    world.put("old", b"new").await;
    assert_eq!(world.get("old").await.body, b"new");

    // Without the setting nothing of the kind was ever read.
    let mut unset = compat("2001-01-01", true);
    unset.as_object_mut().unwrap().remove("accept_unsigned");
    let world = world_with(json!({"compat": unset})).await;
    world.plant("bucket", "old", &legacy(&pattern(100))).await;
    assert_refused(&world.get("old").await);
    assert_eq!(world.integrity_failures("legacy"), 1);
}

/// No client can make an object that passes for one of another program, nor the store one of ours.
#[tokio::test]
async fn legacy_objects_cannot_be_planted() {
    let settings =
        json!({"compat": compat("2999-12-31", true), "buckets": {"free": {"metadata": "unbound"}}});
    let world = world_with(settings).await;
    world.create("free").await;
    let object = legacy(&pattern(100));
    let digits = object.headers["x-amz-meta-isec"].to_str().unwrap();
    world.put("key", b"ours").await;
    for name in [
        "x-amz-meta-isec",
        "x-amz-meta-mytag",
        "X-Amz-Meta-Isec-Kek-Ver",
    ] {
        let asks = [
            Ask::put("bucket", "key", &object.body),
            Ask::copy("bucket", "key", "key").header("x-amz-metadata-directive", "REPLACE"),
            Ask::object(Method::POST, "bucket", "key").query("uploads="),
        ];
        for ask in asks {
            let answer = world.send(ask.header(name, digits)).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{answer:?}");
            assert_eq!(answer.code(), "InvalidArgument");
        }
    }
    let uploads = world
        .send(Ask::bucket(Method::GET, "bucket").query("uploads="))
        .await;
    assert_eq!(uploads.elements("UploadId").len(), 0);
    assert_eq!(world.get("key").await.body, b"ours");

    // The store adds the claim to one of ours: bound metadata shows it, and where it is not bound the record wins.
    let ours = world.stored("bucket", "key").await.unwrap();
    world
        .plant(
            "bucket",
            "key",
            &ours.with_header("x-amz-meta-isec", Some(digits)),
        )
        .await;
    assert_refused(&world.get("key").await);
    assert_eq!(world.integrity_failures("bound_headers"), 1);
    world.send(Ask::put("free", "key", b"ours")).await;
    let ours = world.stored("free", "key").await.unwrap();
    let both = ours.with_header("x-amz-meta-isec", Some(digits));
    world.plant("free", "key", &both).await;
    assert_eq!(world.send(Ask::get("free", "key")).await.body, b"ours");
    // And takes our record away.
    let mut stripped = both;
    let ours = |name: &str| name.starts_with("x-amz-meta-sealgate");
    stripped.headers = stripped
        .headers
        .into_iter()
        .filter_map(|(name, value)| name.filter(|name| !ours(name.as_str())).zip(Some(value)))
        .collect();
    world.plant("free", "key", &stripped).await;
    assert_refused(&world.send(Ask::get("free", "key")).await);
    assert_eq!(world.integrity_failures("metadata_stripped"), 1);
}

#[tokio::test]
async fn what_is_too_large_or_has_no_room_is_told() {
    let settings = json!({"compat": compat("2999-12-31", false), "spool": spool("16MiB", "12MiB")});
    let world = world_with(settings).await;
    let plain = pattern(11 << 20);
    world.plant("bucket", "large", &legacy(&plain)).await;
    world
        .plant("bucket", "larger", &legacy(&pattern(12 << 20)))
        .await;
    world.plant("bucket", "small", &legacy(b"small")).await;
    let refused = world.get("larger").await;
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (StatusCode::BAD_REQUEST, "EntityTooLarge")
    );
    assert!(refused.text().contains("spool.max_object"), "{refused:?}");
    let reasons = |reason| world.metric("sealgate_spool_refusals_total", Some(("reason", reason)));
    assert_eq!((reasons("too_large"), reasons("full")), (1, 0));

    // A client that takes its time.
    let (head, _) = Ask::get("bucket", "large").encode(world.address);
    let mut slow = Connection::open(world.address).await;
    slow.write(&head).await;
    assert_eq!(slow.head().await.unwrap().0, StatusCode::OK);
    assert_eq!(
        world.gauge("sealgate_spool_bytes"),
        (plain.len() + 28) as f64
    );
    let busy = world.get("large").await;
    assert_eq!(
        (busy.status, busy.code().as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, "SlowDown")
    );
    assert_eq!((reasons("too_large"), reasons("full")), (1, 1));
    assert_eq!(world.get("small").await.body, b"small");
    // A client that goes away in the middle of the answer.
    drop(slow);
    given_back(&world).await;
    assert!(world.get("large").await.body == plain);
    given_back(&world).await;

    // And one that goes while the object is still being read.
    let open = Arc::new(AtomicUsize::new(0));
    world.spy.gate(open.clone(), |seen| {
        seen.header("range").starts_with("bytes=0-")
    });
    let ask = Ask::get("bucket", "large").header("range", "bytes=5-6");
    let mut gone = Connection::open(world.address).await;
    gone.write(&ask.encode(world.address).0).await;
    until(|| world.gauge("sealgate_spool_bytes") > 0.0).await;
    drop(gone);
    given_back(&world).await;
    open.store(1, Ordering::Release);
    assert_eq!(world.send(ask).await.body, &plain[5..7]);
}

async fn given_back(world: &World) {
    until(|| world.gauge("sealgate_spool_bytes") == 0.0).await;
}

async fn until(holds: impl Fn() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait)
        .await
        .expect("it comes about");
}

/// Clients fetch a long object in many ranges at once: it is read and checked once for all of them.
#[tokio::test]
async fn ranges_of_one_object_share_one_check() {
    let mut room = spool("4MiB", "3MiB");
    room["keep"] = "1s".into();
    let world = world_with(json!({"compat": compat("2999-12-31", false), "spool": room})).await;
    let plain = pattern(2 << 20);
    world.plant("bucket", "key", &legacy(&plain)).await;
    let range = |key: &str, first: usize| {
        let ask = Ask::get("bucket", key);
        ask.header("range", &format!("bytes={first}-{}", first + 99))
    };
    let whole_reads = || {
        let seen = world.spy.take();
        seen.iter()
            .filter(|seen| seen.header("range").starts_with("bytes=0-"))
            .count()
    };
    world.spy.take();
    let asks = (0..8).map(|at| world.send(range("key", at * 200_000)));
    for (at, answer) in futures::future::join_all(asks).await.iter().enumerate() {
        assert!(
            answer.body == plain[at * 200_000..at * 200_000 + 100],
            "{at}"
        );
    }
    assert_eq!(whole_reads(), 1);
    // Another object under the key is another object.
    let other: Vec<u8> = plain.iter().map(|byte| !byte).collect();
    world.plant("bucket", "key", &legacy(&other)).await;
    assert_eq!(world.send(range("key", 5)).await.body, &other[5..105]);
    assert_eq!(whole_reads(), 1);
    // What waits for nobody makes way.
    world.plant("bucket", "third", &legacy(&plain)).await;
    assert_eq!(world.send(range("third", 5)).await.body, &plain[5..105]);
    assert_eq!(world.metric("sealgate_spool_refusals_total", None), 0);
    given_back(&world).await;
    // A bad one is not kept, and each reader is told.
    let mut bad = legacy(&plain);
    bad.body[1000] ^= 1;
    world.plant("bucket", "key", &bad).await;
    for _ in 0..2 {
        assert_refused(&world.send(range("key", 5)).await);
    }
    assert_eq!(world.gauge("sealgate_spool_bytes"), 0.0);
}
