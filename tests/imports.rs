//! Objects of two other proxies, made by independent code, over real sockets: whole or not at all.

#![cfg(feature = "embedded")]
#![forbid(unsafe_code)]

mod common;

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::{Answer, Ask, Stored, World, contains, headers, md5_hex};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const PASSWORDS: [&str; 2] = ["correct horse battery staple", "пароль of another bucket"];

/// An object that `tests/vectors/imports/make.py` has made.
struct Vector {
    name: String,
    key: String,
    plaintext: Vec<u8>,
    stored: Stored,
    /// None of s3eg.
    prefix: Option<String>,
    served: bool,
    unauthenticated: bool,
}

fn load(file: &str) -> Vec<Vector> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/imports");
    let text = std::fs::read(folder.join(format!("{file}.json"))).unwrap();
    let rows: Value = serde_json::from_slice(&text).unwrap();
    let rows = rows["vectors"].as_array().unwrap();
    rows.iter().map(vector).collect()
}

fn vector(row: &Value) -> Vector {
    let text = |field: &str| row[field].as_str().unwrap().to_owned();
    let metadata = row["metadata"].as_object().unwrap().iter();
    let metadata: Vec<(String, &str)> = metadata
        .map(|(name, value)| (format!("x-amz-meta-{name}"), value.as_str().unwrap()))
        .collect();
    let mut pairs: Vec<(&str, &str)> = metadata
        .iter()
        .map(|(name, value)| (name.as_str(), *value))
        .collect();
    pairs.extend([("content-type", "text/plain"), ("x-amz-meta-mine", "kept")]);
    let len = row["plaintext_len"].as_u64().unwrap() as usize;
    let blocks = (0u64..).flat_map(|i| {
        let mut hash = Sha256::new_with_prefix(text("plaintext_seed"));
        hash.update(i.to_be_bytes());
        <[u8; 32]>::from(hash.finalize())
    });
    let plaintext: Vec<u8> = blocks.take(len).collect();
    assert_eq!(
        hex::encode(Sha256::digest(&plaintext)),
        text("plaintext_sha256")
    );
    let unauthenticated = row["unauthenticated"].as_bool().unwrap_or_default();
    Vector {
        name: text("name"),
        key: text("key"),
        plaintext,
        stored: Stored {
            headers: headers(&pairs),
            body: STANDARD.decode(text("body")).unwrap(),
        },
        prefix: row["prefix"].as_str().map(str::to_owned),
        served: row["refused"].is_null() && !unauthenticated,
        unauthenticated,
    }
}

fn keys() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/imports");
    let text = std::fs::read(folder.join("s3ep.json")).unwrap();
    let rows: Value = serde_json::from_slice(&text).unwrap();
    let rows = rows["vectors"].as_array().unwrap();
    let keys = rows.iter().map(|row| row["kek"].as_str().unwrap());
    let mut keys: Vec<String> = keys.map(str::to_owned).collect();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 2);
    keys
}

fn compat(prefix: &str, accept_unauthenticated: bool) -> Value {
    json!({
        "accept_unsigned": {"until": "2999-12-31"},
        "s3ep": {"prefix": prefix, "keys": keys(), "accept_unauthenticated": accept_unauthenticated},
        "s3eg": {"passwords": PASSWORDS},
    })
}

async fn world_with(compat: Value) -> World {
    let spool = json!({"dir": std::env::temp_dir(), "bytes": "64MiB", "max_object": "32MiB"});
    let world = World::with_settings(json!({"compat": compat, "spool": spool})).await;
    world.create("bucket").await;
    world
}

async fn world() -> World {
    world_with(compat("s3ep-", false)).await
}

#[track_caller]
fn assert_refused(answer: &Answer, what: &str) {
    assert_eq!(
        answer.status,
        StatusCode::UNPROCESSABLE_ENTITY,
        "{what}: {answer:?}"
    );
    assert_eq!(
        answer.code(),
        "ObjectIntegrityFailure",
        "{what}: {answer:?}"
    );
}

/// Nothing tells a client how the object is encrypted.
#[track_caller]
fn assert_shown(answer: &Answer, vector: &Vector) {
    assert_eq!(answer.status, StatusCode::OK, "{}: {answer:?}", vector.name);
    assert_eq!(
        answer.header("content-length"),
        vector.plaintext.len().to_string()
    );
    assert_eq!(answer.header("content-type"), "text/plain");
    assert_eq!(answer.header("x-amz-meta-mine"), "kept");
    let metadata = answer
        .headers
        .keys()
        .filter(|name| name.as_str().starts_with("x-amz-meta-"));
    assert_eq!(metadata.count(), 1, "{}: {answer:?}", vector.name);
    assert!(answer.etag().contains('-'), "{}", answer.etag());
}

/// GET, HEAD, ranges and copies of an object that is there.
async fn served(world: &World, vector: &Vector) {
    let (key, plain) = (&vector.key, &vector.plaintext);
    let get = world.get(key).await;
    assert_shown(&get, vector);
    assert!(get.body == *plain, "{}", vector.name);
    let head = world.send(Ask::head("bucket", key)).await;
    assert_shown(&head, vector);
    assert_eq!(head.etag(), get.etag());
    let len = plain.len();
    if len > 0 {
        for (first, last) in [
            (0, 0),
            (len / 2, len - 1),
            (len - 1, len - 1),
            (len / 3, len / 2),
        ] {
            let ask = Ask::get("bucket", key).header("range", &format!("bytes={first}-{last}"));
            let answer = world.send(ask).await;
            assert_eq!(answer.status, StatusCode::PARTIAL_CONTENT);
            assert!(
                answer.body == plain[first..=last],
                "{} {first}-{last}",
                vector.name
            );
        }
    }
    let copied = world.send(Ask::copy("bucket", key, "copy")).await;
    assert_eq!(copied.status, StatusCode::OK, "{copied:?}");
    let stored = world.stored("bucket", "copy").await.unwrap();
    assert!(stored.headers.contains_key("x-amz-meta-sealgate-envelope"));
    for name in vector.stored.headers.keys() {
        let kept = ["content-type", "x-amz-meta-mine"].contains(&name.as_str());
        assert_eq!(stored.headers.contains_key(name), kept, "{name}");
    }
    assert!(len < 16 || !contains(&stored.body, &plain[..16]));
    let get = world.get("copy").await;
    assert!(get.body == *plain, "{}", vector.name);
    assert_eq!(get.etag(), md5_hex(plain));
    world.send(Ask::delete("bucket", "copy")).await;
}

#[tokio::test]
async fn every_vector_is_served_or_refused() {
    let world = world().await;
    let vectors: Vec<Vector> = load("s3ep").into_iter().chain(load("s3eg")).collect();
    let here = |vector: &&Vector| !matches!(vector.prefix.as_deref(), Some("own-" | ""));
    let mut good = Vec::new();
    for vector in vectors.iter().filter(here) {
        world.plant("bucket", &vector.key, &vector.stored).await;
        if vector.served {
            served(&world, vector).await;
            good.push((vector.key.clone(), vector.plaintext.len().to_string()));
            continue;
        }
        let before = world.integrity_failures("unsupported");
        for ask in [
            Ask::get("bucket", &vector.key),
            Ask::get("bucket", &vector.key).header("range", "bytes=1-2"),
            Ask::copy("bucket", &vector.key, "copy"),
        ] {
            let answer = world.send(ask).await;
            assert_refused(&answer, &vector.name);
            assert!(answer.text().contains("by another program"), "{answer:?}");
            for inner in ["pbkdf2", "hmac", "password", "chacha", "kms"] {
                assert!(
                    !answer.element("Message").to_lowercase().contains(inner),
                    "{answer:?}"
                );
            }
        }
        let head = world.send(Ask::head("bucket", &vector.key)).await;
        assert_eq!(
            head.status,
            StatusCode::UNPROCESSABLE_ENTITY,
            "{}",
            vector.name
        );
        assert_eq!(world.integrity_failures("unsupported"), before + 4);
        world.send(Ask::delete("bucket", &vector.key)).await;
    }
    assert!(good.len() > 45, "{}", good.len());
    good.sort();
    // The second time from what was learnt.
    for _ in 0..2 {
        let list = world
            .send(Ask::bucket(Method::GET, "bucket").query("list-type=2"))
            .await;
        let sizes: Vec<String> = good.iter().map(|(_, size)| size.clone()).collect();
        assert_eq!(list.elements("Size"), sizes);
        assert!(list.elements("ETag").iter().all(|etag| etag.contains('-')));
    }
    assert_eq!(world.gauge("sealgate_spool_bytes"), 0.0);
    let reads = |protection| {
        world.metric(
            "sealgate_legacy_reads_total",
            Some(("protection", protection)),
        )
    };
    assert_eq!(reads("none"), 0);
    assert!(reads("secret") > 200);
}

#[tokio::test]
async fn prefixes_are_as_that_program_has_them() {
    for prefix in ["own-", ""] {
        let world = world_with(compat(prefix, false)).await;
        let vectors = load("s3ep");
        let vector = vectors
            .iter()
            .find(|v| v.prefix.as_deref() == Some(prefix))
            .unwrap();
        world.plant("bucket", &vector.key, &vector.stored).await;
        served(&world, vector).await;
        // Under the usual prefix it is not plaintext either.
        let other = vectors.iter().find(|v| v.name == "gcm-17").unwrap();
        world.plant("bucket", &other.key, &other.stored).await;
        assert_refused(&world.get(&other.key).await, &other.name);
    }
}

#[tokio::test]
async fn what_nothing_authenticates_is_read_where_the_configuration_says_so() {
    let vectors = load("s3ep");
    let vector = vectors
        .iter()
        .find(|vector| vector.unauthenticated)
        .unwrap();
    let world = world_with(compat("s3ep-", true)).await;
    world.plant("bucket", &vector.key, &vector.stored).await;
    served(&world, vector).await;
    let reads = |protection| {
        world.metric(
            "sealgate_legacy_reads_total",
            Some(("protection", protection)),
        )
    };
    assert_eq!(reads("secret"), 0);
    assert!(reads("none") > 0);
}

/// Also where the bucket takes plaintext: ciphertext is none.
#[tokio::test]
async fn without_keys_they_are_no_plaintext() {
    let settings = json!({"buckets": {"bucket": {"plaintext": "allow"}}});
    let world = World::with_settings(settings).await;
    world.create("bucket").await;
    for vector in load("s3ep").iter().chain(&load("s3eg")) {
        if matches!(vector.prefix.as_deref(), Some("own-" | "")) {
            continue;
        }
        world.plant("bucket", "old", &vector.stored).await;
        assert_refused(&world.get("old").await, &vector.name);
    }
}

#[tokio::test]
async fn a_changed_object_gives_an_error_and_no_byte() {
    let world = world().await;
    let all: Vec<Vector> = load("s3ep").into_iter().chain(load("s3eg")).collect();
    let named = |name: &str| all.iter().find(|vector| vector.name == name).unwrap();
    let mut bad: Vec<(String, String, Stored)> = Vec::new();
    let mut add = |vector: &Vector, what: String, stored: Stored| {
        bad.push((
            vector.key.clone(),
            format!("{} {what}", vector.name),
            stored,
        ));
    };
    for name in ["gcm-17", "ctr-17", "new-17", "whole-direct-17"] {
        let vector = named(name);
        let (stored, body) = (&vector.stored, &vector.stored.body);
        for at in 0..body.len() {
            let mut flipped = body.clone();
            flipped[at] ^= 1 << (at % 8);
            add(vector, format!("byte {at}"), stored.with_body(flipped));
        }
        add(
            vector,
            "shorter".into(),
            stored.with_body(&body[..body.len() - 1]),
        );
        add(vector, "empty".into(), stored.with_body(Vec::new()));
        add(
            vector,
            "longer".into(),
            stored.with_body([&body[..], &[0]].concat()),
        );
    }
    // Borders of parts, of chunks, and the last byte but the tag of a long object.
    for (name, cuts) in [
        ("ctr-parts", &[20000, 49999, 50000][..]),
        ("gcm-65537", &[28, 65536, 65564]),
        ("old-wrapped-xor", &[16400, 32800, 49200, 49300]),
        ("whole-kdf", &[16, 65537, 65552]),
    ] {
        let vector = named(name);
        for cut in cuts {
            let short = vector.stored.with_body(&vector.stored.body[..*cut]);
            add(vector, format!("cut at {cut}"), short);
        }
        let mut flipped = vector.stored.body.clone();
        let last = flipped.len() - 17;
        flipped[last] ^= 1;
        add(
            vector,
            "flipped at its end".into(),
            vector.stored.with_body(flipped),
        );
    }
    let vector = named("old-wrapped-xor");
    let (first, rest) = vector.stored.body.split_at(16400);
    let (second, rest) = rest.split_at(16400);
    add(
        vector,
        "swapped chunks".into(),
        vector.stored.with_body([second, first, rest].concat()),
    );
    for (one, two) in [
        ("gcm-17", "gcm-16"),
        ("ctr-17", "ctr-16"),
        ("new-17", "new-16"),
        ("gcm-17", "new-17"),
        ("whole-direct-17", "ctr-17"),
    ] {
        let (one, two) = (named(one), named(two));
        let swapped = Stored {
            headers: two.stored.headers.clone(),
            body: one.stored.body.clone(),
        };
        add(one, format!("under the metadata of {}", two.name), swapped);
    }
    // Both formats at once.
    let (one, two) = (named("ctr-17"), named("new-17"));
    let mut both = one.stored.with_body(one.stored.body.clone());
    both.headers.extend(two.stored.headers.clone());
    add(one, "of two formats".into(), both);
    for (key, what, stored) in bad {
        world.plant("bucket", &key, &stored).await;
        for ask in [
            Ask::get("bucket", &key),
            Ask::get("bucket", &key).header("range", "bytes=0-5"),
            Ask::copy("bucket", &key, "copy"),
        ] {
            let answer = world.send(ask).await;
            // No range lies within an object of no bytes.
            if answer.status != StatusCode::RANGE_NOT_SATISFIABLE {
                assert_refused(&answer, &what);
            }
        }
        assert!(world.stored("bucket", "copy").await.is_none(), "{what}");
    }
    assert_eq!(world.gauge("sealgate_spool_bytes"), 0.0);
}

#[tokio::test]
async fn clients_cannot_write_such_metadata() {
    let world = world().await;
    for name in [
        "s3ep-encrypted-dek",
        "s3ep-hmac",
        "encryption-iv",
        "encrypted",
        "encrypted-mpu",
    ] {
        let ask = Ask::put("bucket", "new", b"body").header(&format!("x-amz-meta-{name}"), "true");
        let answer = world.send(ask).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (StatusCode::BAD_REQUEST, "InvalidArgument")
        );
    }
}
