//! What whoever holds the store can do to objects, and that the gateway notices all of it before it
//! releases a byte that was not written: section 12 of the format specification, over real sockets.
#![cfg(feature = "embedded")]
#![forbid(unsafe_code)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use common::{Ask, MARKER, Reply, Seen, Stored, World, contains, content};
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use sealgate::aead::{Engine, Etag, SegmentSize, StreamHeader};
use sealgate::envelope::{self, Info, Record};
use sealgate::keys::{KeyEncryptionKey, KeyId, Keyring, LocalKey};
use sealgate::pump::{self, FooterSource, SealBody, Sealing};

const PREAMBLE: usize = 512;
const STREAM_HEADER: usize = 40;
const SEGMENT: usize = 65_536;
const FOOTER: usize = 256;
const TAG: usize = 16;

const ENVELOPE: &str = "x-amz-meta-sealgate-envelope";
const INFO: &str = "x-amz-meta-sealgate-info";
const MAC: &str = "x-amz-meta-sealgate-mac";

/// Plaintext of four segments, the last one short.
const LARGE: usize = 200_000;

/// Which readings of an attacked object have to fail, each with the kind that is counted and logged.
/// A reading that is not named has to give what was written.
#[derive(Clone, Copy, Debug, Default)]
struct Refused {
    get: Option<&'static str>,
    range: Option<&'static str>,
    head: Option<&'static str>,
    copy: Option<&'static str>,
}

impl Refused {
    /// Every reading, for the same reason.
    fn everywhere(kind: &'static str) -> Self {
        Self {
            get: Some(kind),
            range: Some(kind),
            head: Some(kind),
            copy: Some(kind),
        }
    }

    /// Readings of the body only: HEAD and CopyObject look at metadata and footer.
    fn in_body(kind: &'static str) -> Self {
        Self {
            get: Some(kind),
            range: Some(kind),
            ..Self::default()
        }
    }
}

/// Reads the object at `bucket`/`key` in every way, and holds each answer against what has to come.
async fn read(world: &World, name: &str, bucket: &str, key: &str, plain: &[u8], want: Refused) {
    Box::pin(read_all(world, name, bucket, key, plain, want)).await;
}

async fn read_all(world: &World, name: &str, bucket: &str, key: &str, plain: &[u8], want: Refused) {
    let range = format!("bytes=0-{}", plain.len().saturating_sub(1));
    let copy = Ask::copy(bucket, key, "copied");
    let readings = [
        (Ask::get(bucket, key), want.get),
        (Ask::get(bucket, key).header("range", &range), want.range),
        (Ask::head(bucket, key), want.head),
        (copy, want.copy),
    ];
    for (ask, kind) in readings {
        let what = format!("{name}: {} {:?}", ask.method, ask.headers);
        match kind {
            Some(kind) => refused(world, &what, &ask, kind, plain).await,
            None => {
                let answer = world.send(ask.clone()).await;
                assert!(answer.status.is_success(), "{what}: {answer:?}");
                if ask.method == Method::GET {
                    assert!(answer.complete, "{what}");
                    assert!(answer.body == plain, "{what}: other bytes came");
                }
            }
        }
    }
    if want.copy.is_some() {
        let copied = world.stored(bucket, "copied").await;
        assert!(copied.is_none(), "{name}: a refused copy was stored");
    }
}

/// A request that must fail before its answer begins, and be counted and logged as `kind`.
async fn refused(world: &World, what: &str, ask: &Ask, kind: &str, plain: &[u8]) {
    let (of_kind, of_all) = (
        world.integrity_failures(kind),
        world.all_integrity_failures(),
    );
    let answer = world.send(ask.clone()).await;
    assert_eq!(
        answer.status,
        StatusCode::UNPROCESSABLE_ENTITY,
        "{what}: {answer:?}"
    );
    assert!(answer.complete, "{what}");
    if ask.method == Method::HEAD {
        assert!(answer.body.is_empty(), "{what}");
    } else {
        assert_eq!(answer.code(), "ObjectIntegrityFailure", "{what}");
        assert_eq!(answer.element("RequestId"), answer.request_id(), "{what}");
    }
    says_nothing(what, &answer, plain);
    assert_eq!(
        world.integrity_failures(kind),
        of_kind + 1,
        "{what}: not counted as {kind}"
    );
    assert_eq!(
        world.all_integrity_failures(),
        of_all + 1,
        "{what}: counted twice"
    );
    logged(world, what, answer.request_id(), kind).await;
}

/// Nothing of the object or of the gateway's insides is in the answer.
fn says_nothing(what: &str, answer: &common::Answer, plain: &[u8]) {
    let mut all = answer.body.clone();
    for (name, value) in &answer.headers {
        all.extend(name.as_str().bytes());
        all.extend(value.as_bytes());
    }
    if plain.len() >= MARKER.len() {
        assert!(!contains(&all, MARKER), "{what}: plaintext in an error");
    }
    for secret in [
        "sealgate-",
        "envelope",
        "footer",
        "segment",
        "preamble",
        "127.0.0.1",
        "main",
    ] {
        assert!(
            !contains(&all, secret.as_bytes()),
            "{what}: {secret:?} in an error: {answer:?}"
        );
    }
    assert_eq!(answer.header("etag"), "", "{what}");
}

async fn logged(world: &World, what: &str, request_id: &str, kind: &str) {
    assert_eq!(request_id.len(), 16, "{what}");
    let line = world.log_line(request_id).await;
    assert_eq!(line["integrity"], kind, "{what}: {line}");
    assert_eq!(line["code"], "ObjectIntegrityFailure", "{what}: {line}");
    assert_eq!(line["level"], "ERROR", "{what}: {line}");
}

/// A request whose answer has begun when the attack shows: the transfer has to break before
/// `released` plaintext bytes are exceeded, and what came has to be what was written.
async fn broken(world: &World, what: &str, ask: &Ask, kind: &str, plain: &[u8], released: usize) {
    let of_kind = world.integrity_failures(kind);
    let answer = world.send(ask.clone()).await;
    assert!(answer.status.is_success(), "{what}: {answer:?}");
    assert!(!answer.complete, "{what}: the transfer looks complete");
    assert!(
        answer.body.len() <= released,
        "{what}: {} bytes came",
        answer.body.len()
    );
    assert!(plain.starts_with(&answer.body), "{what}: other bytes came");
    logged(world, what, answer.request_id(), kind).await;
    assert_eq!(
        world.integrity_failures(kind),
        of_kind + 1,
        "{what}: not counted as {kind}"
    );
}

/// A world with one sealed object at `bucket`/`key`.
async fn sealed(plain: &[u8]) -> (World, Stored) {
    let world = World::with_bucket().await;
    let put = Ask::put("bucket", "key", plain)
        .header("content-type", "text/x-one; charset=utf-8")
        .header("cache-control", "max-age=60")
        .header("x-amz-meta-colour", "Blue and green");
    assert_eq!(world.send(put).await.status, StatusCode::OK);
    let stored = world.stored("bucket", "key").await.unwrap();
    assert!(!contains(&stored.body, MARKER));
    (world, stored)
}

/// Where segment `index` begins and ends in the stored body of `plain_len` bytes.
fn segment(index: usize, plain_len: usize) -> std::ops::Range<usize> {
    let begin = PREAMBLE + index * SEGMENT + if index == 0 { STREAM_HEADER } else { 0 };
    let stream = plain_len + STREAM_HEADER + TAG * segments(plain_len);
    begin..(PREAMBLE + (index + 1) * SEGMENT).min(PREAMBLE + stream)
}

fn segments(plain_len: usize) -> usize {
    (plain_len + STREAM_HEADER).div_ceil(SEGMENT - TAG).max(1)
}

/// Plaintext bytes before segment `index`.
fn plain_before(index: usize) -> usize {
    (index * (SEGMENT - TAG)).saturating_sub(STREAM_HEADER)
}

fn flipped(body: &[u8], at: usize) -> Vec<u8> {
    let mut body = body.to_vec();
    body[at] ^= 1;
    body
}

#[tokio::test]
async fn an_object_that_nobody_touched_is_read_in_every_way() {
    for size in [40, LARGE] {
        let plain = content(size);
        let (world, stored) = sealed(&plain).await;
        read(
            &world,
            "untouched",
            "bucket",
            "key",
            &plain,
            Refused::default(),
        )
        .await;
        // Planting is what the attacks below do; on its own it changes nothing.
        world.plant("bucket", "key", &stored).await;
        read(
            &world,
            "planted as it was",
            "bucket",
            "key",
            &plain,
            Refused::default(),
        )
        .await;
        assert_eq!(world.all_integrity_failures(), 0);
    }
}

#[tokio::test]
async fn swapped_bodies_and_swapped_envelopes_are_refused() {
    for size in [40, LARGE] {
        let (one, two) = (
            content(size),
            content(size).into_iter().rev().collect::<Vec<_>>(),
        );
        let world = World::with_bucket().await;
        world.put("one", &one).await;
        world.put("two", &two).await;
        let stored_one = world.stored("bucket", "one").await.unwrap();
        let stored_two = world.stored("bucket", "two").await.unwrap();

        // Each body under the other's metadata.
        world
            .plant("bucket", "one", &stored_one.with_body(&stored_two.body[..]))
            .await;
        world
            .plant("bucket", "two", &stored_two.with_body(&stored_one.body[..]))
            .await;
        let want = Refused::everywhere("footer");
        read(&world, "swapped body", "bucket", "one", &one, want).await;
        read(&world, "swapped body", "bucket", "two", &two, want).await;

        // Each object's envelope replaced by the other's, the rest as it was.
        let envelope_two = stored_two.headers[ENVELOPE].to_str().unwrap();
        let swapped = stored_one.with_header(ENVELOPE, Some(envelope_two));
        world.plant("bucket", "one", &swapped).await;
        read(
            &world,
            "swapped envelope",
            "bucket",
            "one",
            &one,
            Refused::everywhere("binding"),
        )
        .await;

        // All of the other's metadata is what a swap of bodies is, seen from the other side; with the
        // body it belongs to, it is an object that was moved.
        world.plant("bucket", "one", &stored_two).await;
        read(
            &world,
            "swapped object",
            "bucket",
            "one",
            &one,
            Refused::everywhere("binding"),
        )
        .await;
    }
}

#[tokio::test]
async fn an_object_moved_to_another_key_or_bucket_is_refused() {
    for size in [40, LARGE] {
        let plain = content(size);
        let (world, stored) = sealed(&plain).await;
        world.create("other").await;
        let want = Refused::everywhere("binding");
        for key in ["kez", "key2", "ke", "dir/key"] {
            world.plant("bucket", key, &stored).await;
            read(&world, key, "bucket", key, &plain, want).await;
        }
        world.plant("other", "key", &stored).await;
        read(&world, "other bucket", "other", "key", &plain, want).await;
        // And the store's own copy, which is how one would do it.
        let copy = sealgate::store::Request::object(Method::PUT, "bucket", "by-copy")
            .header("x-amz-copy-source", "/bucket/key");
        let answer = world.store.send("Test", copy).await.unwrap();
        world.store.document(answer).await.unwrap();
        read(
            &world,
            "copied by the store",
            "bucket",
            "by-copy",
            &plain,
            want,
        )
        .await;
        // Where it belongs it still opens.
        read(
            &world,
            "in place",
            "bucket",
            "key",
            &plain,
            Refused::default(),
        )
        .await;
    }
}

#[tokio::test]
async fn every_flipped_byte_of_a_small_body_is_noticed() {
    let plain = content(40);
    let (world, stored) = sealed(&plain).await;
    let stream = PREAMBLE + STREAM_HEADER;
    let footer = stored.body.len() - FOOTER;
    assert_eq!(footer, stream + plain.len() + TAG);
    for at in 0..stored.body.len() {
        world
            .plant(
                "bucket",
                "key",
                &stored.with_body(flipped(&stored.body, at)),
            )
            .await;
        let want = if at < stream {
            // A range takes nothing from there: salt and nonce come from the footer.
            Refused {
                get: Some("preamble"),
                ..Refused::default()
            }
        } else if at < footer {
            Refused::in_body("segment")
        } else {
            Refused::everywhere("footer")
        };
        // CopyObject is asked only where it has to fail: it looks at the footer alone.
        let name = format!("byte {at}");
        if at < footer {
            let get = Ask::get("bucket", "key");
            refused(&world, &name, &get, want.get.unwrap(), &plain).await;
            let range = Ask::get("bucket", "key").header("range", "bytes=0-39");
            match want.range {
                Some(kind) => refused(&world, &name, &range, kind, &plain).await,
                None => assert!(world.send(range).await.body == plain, "{name}"),
            }
        } else {
            read(&world, &name, "bucket", "key", &plain, want).await;
        }
    }
    assert!(world.all_integrity_failures() > 864);
}

#[tokio::test]
async fn every_changed_character_of_metadata_is_noticed() {
    let plain = content(40);
    let (world, stored) = sealed(&plain).await;
    let mut changed = 0;
    for name in [
        ENVELOPE,
        INFO,
        MAC,
        "content-type",
        "cache-control",
        "x-amz-meta-colour",
    ] {
        let value = stored.headers[name].to_str().unwrap().to_owned();
        for at in 0..value.len() {
            let mut bytes = value.clone().into_bytes();
            bytes[at] = match bytes[at] {
                // The next letter or digit, so that base64 stays base64.
                b'9' => b'A',
                b'Z' => b'a',
                b'z' => b'0',
                other => other + 1,
            };
            let value = String::from_utf8(bytes).unwrap();
            world
                .plant("bucket", "key", &stored.with_header(name, Some(&value)))
                .await;
            let what = format!("{name} {at}");
            for ask in [
                Ask::get("bucket", "key"),
                Ask::get("bucket", "key").header("range", "bytes=3-5"),
                Ask::head("bucket", "key"),
                Ask::copy("bucket", "key", "copied"),
            ] {
                let before = world.all_integrity_failures();
                let answer = world.send(ask.clone()).await;
                assert_eq!(
                    answer.status,
                    StatusCode::UNPROCESSABLE_ENTITY,
                    "{what}: {answer:?}"
                );
                if ask.method != Method::HEAD {
                    assert_eq!(answer.code(), "ObjectIntegrityFailure", "{what}");
                }
                says_nothing(&what, &answer, &plain);
                assert_eq!(world.all_integrity_failures(), before + 1, "{what}");
            }
            changed += 1;
        }
    }
    assert!(changed > 250, "{changed}");
    assert!(world.stored("bucket", "copied").await.is_none());
    // Each of the three checks has had its part.
    for kind in ["metadata_malformed", "binding", "bound_headers"] {
        assert!(world.integrity_failures(kind) > 0, "{kind}");
    }
}

#[tokio::test]
async fn headers_that_are_added_removed_or_replaced_are_noticed() {
    let plain = content(40);
    let (world, stored) = sealed(&plain).await;
    let want = Refused::everywhere("bound_headers");
    for (name, value) in [
        ("x-amz-meta-colour", None),
        ("x-amz-meta-colour", Some("")),
        ("x-amz-meta-colour", Some("blue and green")),
        ("x-amz-meta-further", Some("x")),
        ("cache-control", None),
        ("content-type", Some("text/html")),
        ("content-encoding", Some("gzip")),
        ("content-disposition", Some("attachment; filename=evil.exe")),
        ("content-language", Some("tlh")),
        ("expires", Some("Thu, 01 Dec 1994 16:00:00 GMT")),
    ] {
        world
            .plant("bucket", "key", &stored.with_header(name, value))
            .await;
        read(
            &world,
            &format!("{name}: {value:?}"),
            "bucket",
            "key",
            &plain,
            want,
        )
        .await;
    }
}

#[tokio::test]
async fn stripped_metadata_is_refused() {
    for size in [0, 40, LARGE] {
        let plain = content(size);
        let (world, stored) = sealed(&plain).await;
        for name in [ENVELOPE, INFO, MAC] {
            world
                .plant("bucket", "key", &stored.with_header(name, None))
                .await;
            let get = Ask::get("bucket", "key");
            refused(&world, name, &get, "metadata_stripped", &plain).await;
            let range = Ask::get("bucket", "key").header("range", "bytes=0-");
            refused(&world, name, &range, "metadata_stripped", &plain).await;
            refused(
                &world,
                name,
                &Ask::head("bucket", "key"),
                "metadata_stripped",
                &plain,
            )
            .await;
            let copy = Ask::copy("bucket", "key", "copied");
            refused(&world, name, &copy, "metadata_stripped", &plain).await;
        }
        let bare = stored
            .with_header(ENVELOPE, None)
            .with_header(INFO, None)
            .with_header(MAC, None);
        world.plant("bucket", "key", &bare).await;
        for ask in [
            Ask::get("bucket", "key"),
            Ask::get("bucket", "key").header("range", "bytes=0-"),
            Ask::head("bucket", "key"),
            Ask::copy("bucket", "key", "copied"),
        ] {
            refused(&world, "all three", &ask, "metadata_stripped", &plain).await;
        }
        assert!(world.stored("bucket", "copied").await.is_none());
    }
}

#[tokio::test]
async fn sealed_bytes_without_metadata_never_pass_for_plaintext() {
    let world = World::with("[]", r#"{"bucket": {"plaintext": "allow"}}"#).await;
    world.create("bucket").await;
    for size in [40, LARGE] {
        let plain = content(size);
        world.put("key", &plain).await;
        let stored = world.stored("bucket", "key").await.unwrap();
        let bare = stored
            .with_header(ENVELOPE, None)
            .with_header(INFO, None)
            .with_header(MAC, None);
        world.plant("bucket", "key", &bare).await;
        let kind = "metadata_stripped";
        let want = Refused::everywhere(kind);
        read(&world, "both magics", "bucket", "key", &plain, want).await;
        // Of a whole object the beginning is looked at, of everything else the end.
        let get = Ask::get("bucket", "key");
        for body in [
            &bare.body[..bare.body.len() - FOOTER],
            &flipped(&bare.body, bare.body.len() - FOOTER),
        ] {
            world.plant("bucket", "key", &bare.with_body(body)).await;
            refused(&world, "no footer", &get, kind, &plain).await;
        }
        world
            .plant("bucket", "key", &bare.with_body(flipped(&bare.body, 0)))
            .await;
        for ask in [
            get.header("range", "bytes=0-"),
            Ask::head("bucket", "key"),
            Ask::copy("bucket", "key", "copied"),
        ] {
            refused(&world, "no preamble", &ask, kind, &plain).await;
        }
    }
}

#[tokio::test]
async fn planted_plaintext_is_refused() {
    for size in [0, 40, 255, 256, 257, LARGE] {
        let plain = content(size);
        let world = World::with_bucket().await;
        let planted = Stored {
            headers: common::headers(&[("content-type", "text/plain")]),
            body: plain.clone(),
        };
        world.plant("bucket", "key", &planted).await;
        let name = format!("plaintext of {size} bytes");
        let want = Refused::everywhere("plaintext");
        read(&world, &name, "bucket", "key", &plain, want).await;
    }
}

#[tokio::test]
async fn planted_plaintext_with_forged_or_borrowed_metadata_is_refused() {
    for size in [40, LARGE] {
        let plain = content(size);
        let (world, stored) = sealed(&plain).await;
        // The real metadata of this very key over a plaintext body.
        world
            .plant("bucket", "key", &stored.with_body(&plain[..]))
            .await;
        let get = world.get("key").await;
        assert_eq!(get.status, StatusCode::UNPROCESSABLE_ENTITY, "{get:?}");
        for ask in [
            Ask::get("bucket", "key").header("range", "bytes=0-9"),
            Ask::head("bucket", "key"),
            Ask::copy("bucket", "key", "copied"),
        ] {
            let answer = world.send(ask).await;
            assert_eq!(
                answer.status,
                StatusCode::UNPROCESSABLE_ENTITY,
                "{answer:?}"
            );
            says_nothing("borrowed", &answer, &plain);
        }
        // And with a body of just the stored length.
        let mut padded = plain.clone();
        padded.resize(stored.body.len(), b'x');
        world
            .plant("bucket", "key", &stored.with_body(padded))
            .await;
        read(
            &world,
            "borrowed",
            "bucket",
            "key",
            &plain,
            Refused::everywhere("footer"),
        )
        .await;

        // Headers that only look the part.
        for (what, value) in [
            ("empty", ""),
            ("not base64", "!!"),
            ("zeros", "AAAAAAAAAAAA"),
        ] {
            let forged = stored
                .with_body(&plain[..])
                .with_header(ENVELOPE, Some(value))
                .with_header(INFO, Some(value))
                .with_header(MAC, Some(value));
            world.plant("bucket", "key", &forged).await;
            let answer = world.get("key").await;
            assert_eq!(
                answer.status,
                StatusCode::UNPROCESSABLE_ENTITY,
                "{what}: {answer:?}"
            );
            says_nothing(what, &answer, &plain);
            let answer = world.send(Ask::head("bucket", "key")).await;
            assert_eq!(
                answer.status,
                StatusCode::UNPROCESSABLE_ENTITY,
                "{what}: {answer:?}"
            );
        }
    }
}

/// A record by someone who has a key-encryption key of their own, under the name of the gateway's.
#[tokio::test]
async fn a_record_made_with_another_key_of_the_same_name_is_refused() {
    let plain = content(40);
    let (world, stored) = sealed(&plain).await;
    let forged = seal_at("bucket", "key", &plain, &keyring([0xbb; 32]), None, &stored).await;
    world.plant("bucket", "key", &forged).await;
    read(
        &world,
        "own key",
        "bucket",
        "key",
        &plain,
        Refused::everywhere("binding"),
    )
    .await;
    // The same by the gateway's key is what a write is.
    let real = seal_at(
        "bucket",
        "key",
        &plain,
        &keyring(common::KEK),
        None,
        &stored,
    )
    .await;
    world.plant("bucket", "key", &real).await;
    read(
        &world,
        "the gateway's",
        "bucket",
        "key",
        &plain,
        Refused::default(),
    )
    .await;
}

#[tokio::test]
async fn an_envelope_rolled_back_or_forward_is_refused() {
    for size in [40, LARGE] {
        let (before, after) = (
            content(size),
            content(size).into_iter().rev().collect::<Vec<_>>(),
        );
        let world = World::with_bucket().await;
        world.put("key", &before).await;
        let old = world.stored("bucket", "key").await.unwrap();
        world.put("key", &after).await;
        let new = world.stored("bucket", "key").await.unwrap();
        let want = Refused::everywhere("footer");
        world
            .plant("bucket", "key", &old.with_body(&new.body[..]))
            .await;
        read(
            &world,
            "old metadata, new body",
            "bucket",
            "key",
            &after,
            want,
        )
        .await;
        world
            .plant("bucket", "key", &new.with_body(&old.body[..]))
            .await;
        read(
            &world,
            "new metadata, old body",
            "bucket",
            "key",
            &after,
            want,
        )
        .await;
        for name in [ENVELOPE, INFO, MAC] {
            let value = old.headers[name].to_str().unwrap();
            // Nothing in the info record of a long body tells two of one length apart.
            if new.headers[name] == value {
                continue;
            }
            world
                .plant("bucket", "key", &new.with_header(name, Some(value)))
                .await;
            let want = Refused::everywhere("binding");
            read(
                &world,
                &format!("old {name}"),
                "bucket",
                "key",
                &after,
                want,
            )
            .await;
        }
        // A whole older version is what no one can tell: it was written there.
        world.plant("bucket", "key", &old).await;
        read(
            &world,
            "all of it old",
            "bucket",
            "key",
            &before,
            Refused::default(),
        )
        .await;
    }
}

fn keyring(kek: [u8; 32]) -> Keyring {
    let id = KeyId::new("main").unwrap();
    let key = LocalKey::new(id.clone(), std::num::NonZeroU32::MIN, &kek);
    let keys: [Arc<dyn KeyEncryptionKey>; 1] = [Arc::new(key)];
    Keyring::new(keys, id).unwrap()
}

/// Seals an object for a place, as a writer with that keyring would, under a DEK where one is given.
async fn seal_at(
    bucket: &str,
    key: &str,
    plain: &[u8],
    keyring: &Keyring,
    leaked: Option<&envelope::Opened>,
    like: &Stored,
) -> Stored {
    let (dek, object_id) = match leaked {
        Some(opened) => (opened.dek.clone(), opened.envelope.object_id),
        None => (
            sealgate::aead::Dek::new([9; 32]),
            sealgate::aead::ObjectId([8; 16]),
        ),
    };
    let mut headers = like.headers.clone();
    for name in [ENVELOPE, INFO, MAC] {
        headers.remove(name);
    }
    let info = Info {
        plaintext_len: Some(plain.len() as u64),
        md5: None,
        metadata_digest: Some(sealgate::formats::v1::bound_digest(&headers)),
    };
    let record = envelope::seal_record(keyring, &[], &dek, object_id, bucket, key, &info)
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
    let footer = || {
        Ok(FooterSource {
            etag: Etag::None,
            checksum: None,
        })
    };
    let body = SealBody::new(sealing, pump::full(plain.to_vec()), footer).unwrap();
    let body = body.collect().await.unwrap().to_bytes().to_vec();
    Stored { headers, body }
}

fn record(stored: &Stored) -> Record {
    Record::from_headers(
        stored
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_bytes())),
    )
    .unwrap()
    .unwrap()
}

#[tokio::test]
async fn a_leaked_data_key_opens_no_other_place() {
    let plain = content(40);
    let (world, stored) = sealed(&plain).await;
    let evil = [b"EVIL".as_slice(), &plain].concat();
    let leaked = envelope::open_record(&keyring(common::KEK), &record(&stored), "bucket", "key")
        .await
        .unwrap();
    // A keyring of the attacker's own makes a well-formed object of the leaked key …
    let made = seal_at(
        "bucket",
        "other",
        &evil,
        &keyring([0xbb; 32]),
        Some(&leaked),
        &stored,
    )
    .await;
    world.plant("bucket", "other", &made).await;
    read(
        &world,
        "own tag",
        "bucket",
        "other",
        &evil,
        Refused::everywhere("binding"),
    )
    .await;

    // … with the real envelope, which does unwrap to that key, under the tag of its own place …
    let borrowed = made
        .with_header(ENVELOPE, Some(stored.headers[ENVELOPE].to_str().unwrap()))
        .with_header(MAC, Some(stored.headers[MAC].to_str().unwrap()));
    world.plant("bucket", "other", &borrowed).await;
    read(
        &world,
        "real envelope",
        "bucket",
        "other",
        &evil,
        Refused::everywhere("binding"),
    )
    .await;

    // … or under a tag computed with the data key itself, as an HMAC key and through the labels.
    let real = record(&stored);
    let message = envelope::binding_message("bucket", "other", &real.envelope, &record(&made).info);
    let dek = world_dek(&leaked);
    for label in [
        &b""[..],
        b"sealgate/v1/local/binding",
        b"sealgate/v1/footer",
    ] {
        let key = if label.is_empty() {
            dek
        } else {
            let mut key = [0; 32];
            hkdf::Hkdf::<sha2::Sha256>::new(None, &dek)
                .expand(label, &mut key)
                .unwrap();
            key
        };
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&key).unwrap();
        mac.update(&message);
        let mut list = vec![1, 1, 0];
        list.extend(mac.finalize().into_bytes());
        let forged = borrowed.with_header(MAC, Some(&BASE64_URL_SAFE_NO_PAD.encode(&list)));
        world.plant("bucket", "other", &forged).await;
        read(
            &world,
            "forged tag",
            "bucket",
            "other",
            &evil,
            Refused::everywhere("binding"),
        )
        .await;
    }

    // Under the metadata of an object that stands there, its own data key decides.
    world.put("other", &plain).await;
    let there = world.stored("bucket", "other").await.unwrap();
    world
        .plant("bucket", "other", &there.with_body(&made.body[..]))
        .await;
    read(
        &world,
        "other's metadata",
        "bucket",
        "other",
        &plain,
        Refused::everywhere("footer"),
    )
    .await;

    // Even at its own place a leaked key does not make content of another length or MD5.
    world
        .plant("bucket", "key", &stored.with_body(&made.body[..]))
        .await;
    read(
        &world,
        "longer",
        "bucket",
        "key",
        &plain,
        Refused::everywhere("length"),
    )
    .await;
    let same_length = &evil[..plain.len()];
    let made = seal_at(
        "bucket",
        "key",
        same_length,
        &keyring([0xbb; 32]),
        Some(&leaked),
        &stored,
    )
    .await;
    world
        .plant("bucket", "key", &stored.with_body(&made.body[..]))
        .await;
    read(
        &world,
        "no MD5",
        "bucket",
        "key",
        &plain,
        Refused::everywhere("footer"),
    )
    .await;
}

/// The data key's bytes, which only someone who has the key-encryption key gets out of the envelope.
fn world_dek(leaked: &envelope::Opened) -> [u8; 32] {
    let kek = {
        let mut key = [0; 32];
        hkdf::Hkdf::<sha2::Sha256>::new(None, &common::KEK)
            .expand(b"sealgate/v1/local/wrap", &mut key)
            .unwrap();
        key
    };
    let wrapped = &leaked.envelope.recipients[0].wrapped;
    let mut dek = [0; 32];
    use aes_kw::KeyInit as _;
    aes_kw::KwAes256::new(&kek.into())
        .unwrap_key(wrapped, &mut dek)
        .unwrap();
    dek
}

#[tokio::test]
async fn truncation_is_noticed_before_anything_is_released() {
    let plain = content(LARGE);
    let (world, stored) = sealed(&plain).await;
    let whole = stored.body.len();
    assert_eq!(segments(LARGE), 4);
    assert_eq!(segment(3, LARGE).end + FOOTER, whole);
    let mut cuts = vec![
        0,
        1,
        PREAMBLE - 1,
        PREAMBLE,
        PREAMBLE + STREAM_HEADER,
        824,
        whole - FOOTER,
        whole - FOOTER + 1,
        whole - FOOTER - 1,
        whole - 1,
    ];
    for index in 0..4 {
        let end = segment(index, LARGE).end;
        cuts.extend([end - 1, end, end + 1]);
    }
    for cut in cuts {
        world
            .plant("bucket", "key", &stored.with_body(&stored.body[..cut]))
            .await;
        integrity_error(&world, &format!("cut to {cut}"), &plain).await;
    }
    // With the footer put back behind what is left: at segment boundaries, and for short bodies.
    let footer = &stored.body[whole - FOOTER..];
    for index in 0..4 {
        let end = segment(index, LARGE).end - if index == 3 { 1 } else { 0 };
        let body = [&stored.body[..end], footer].concat();
        world.plant("bucket", "key", &stored.with_body(body)).await;
        let name = format!("cut after segment {index}, footer kept");
        read(
            &world,
            &name,
            "bucket",
            "key",
            &plain,
            Refused::everywhere("length"),
        )
        .await;
    }
}

/// Every reading fails as an integrity error before the answer begins, whichever check it is that sees it.
async fn integrity_error(world: &World, what: &str, plain: &[u8]) {
    for ask in [
        Ask::get("bucket", "key"),
        Ask::get("bucket", "key").header("range", "bytes=0-9"),
        Ask::head("bucket", "key"),
        Ask::copy("bucket", "key", "copied"),
    ] {
        let before = world.all_integrity_failures();
        let answer = world.send(ask.clone()).await;
        let what = format!("{what}: {} {:?}", ask.method, ask.headers);
        assert_eq!(
            answer.status,
            StatusCode::UNPROCESSABLE_ENTITY,
            "{what}: {answer:?}"
        );
        says_nothing(&what, &answer, plain);
        assert_eq!(world.all_integrity_failures(), before + 1, "{what}");
        let line = world.log_line(answer.request_id()).await;
        assert_eq!(line["code"], "ObjectIntegrityFailure", "{what}");
        assert_ne!(line["integrity"], "", "{what}");
    }
    assert!(world.stored("bucket", "copied").await.is_none(), "{what}");
}

#[tokio::test]
async fn a_small_object_cut_at_any_byte_is_refused() {
    let plain = content(40);
    let (world, stored) = sealed(&plain).await;
    for cut in (0..stored.body.len())
        .step_by(29)
        .chain([stored.body.len() - 1])
    {
        world
            .plant("bucket", "key", &stored.with_body(&stored.body[..cut]))
            .await;
        integrity_error(&world, &format!("cut to {cut}"), &plain).await;
    }
}

#[tokio::test]
async fn appended_bytes_are_refused() {
    for size in [0, 40, LARGE] {
        let plain = content(size);
        let (world, stored) = sealed(&plain).await;
        let footer = &stored.body[stored.body.len() - FOOTER..];
        for (what, tail) in [
            ("a byte", &b"x"[..]),
            ("a footer's length", &[0; FOOTER][..]),
            ("a segment's length", &[0; SEGMENT][..]),
            ("the object again", &stored.body[..]),
            ("the footer again", footer),
        ] {
            let body = [&stored.body[..], tail].concat();
            world.plant("bucket", "key", &stored.with_body(body)).await;
            integrity_error(&world, what, &plain).await;
        }
    }
}

/// Segments that keep the length of the object show only when the stream gets there.
#[tokio::test]
async fn reordered_duplicated_and_exchanged_segments_break_the_transfer() {
    let plain = content(LARGE);
    let (world, stored) = sealed(&plain).await;
    let part = |index| stored.body[segment(index, LARGE)].to_vec();
    let replaced = |changes: &[(usize, Vec<u8>)]| {
        let mut body = stored.body.clone();
        for (index, bytes) in changes {
            body[segment(*index, LARGE)].copy_from_slice(bytes);
        }
        stored.with_body(body)
    };
    for (what, object, first) in [
        (
            "1 and 2 exchanged",
            replaced(&[(1, part(2)), (2, part(1))]),
            1,
        ),
        ("1 twice", replaced(&[(2, part(1))]), 2),
        ("2 twice", replaced(&[(1, part(2))]), 1),
        (
            "0 changed",
            stored.with_body(flipped(&stored.body, segment(0, LARGE).start)),
            0,
        ),
        (
            "1 changed",
            stored.with_body(flipped(&stored.body, segment(1, LARGE).start)),
            1,
        ),
        (
            "2 changed in its tag",
            stored.with_body(flipped(&stored.body, segment(2, LARGE).end - 1)),
            2,
        ),
        (
            "3 changed",
            stored.with_body(flipped(&stored.body, segment(3, LARGE).end - 1)),
            3,
        ),
    ] {
        world.plant("bucket", "key", &object).await;
        let released = plain_before(first);
        let get = Ask::get("bucket", "key");
        if first == 0 {
            refused(&world, what, &get, "segment", &plain).await;
        } else {
            broken(&world, what, &get, "segment", &plain, released).await;
        }
        // A range that begins in the segment fails before its answer; one that ends before it is served.
        let range = |from: usize, to: usize| {
            Ask::get("bucket", "key").header("range", &format!("bytes={from}-{to}"))
        };
        refused(
            &world,
            what,
            &range(released, released + 9),
            "segment",
            &plain,
        )
        .await;
        if first > 0 {
            broken(
                &world,
                what,
                &range(0, released + 9),
                "segment",
                &plain,
                released,
            )
            .await;
            let answer = world.send(range(0, released - 1)).await;
            assert!(
                answer.complete && answer.body == plain[..released],
                "{what}"
            );
        }
    }
    for (what, body) in [
        ("segment 1 left out", {
            let gone = segment(1, LARGE);
            [&stored.body[..gone.start], &stored.body[gone.end..]].concat()
        }),
        ("segment 1 put in again", {
            let again = segment(1, LARGE);
            [&stored.body[..again.end], &stored.body[again.start..]].concat()
        }),
    ] {
        world.plant("bucket", "key", &stored.with_body(body)).await;
        read(
            &world,
            what,
            "bucket",
            "key",
            &plain,
            Refused::everywhere("length"),
        )
        .await;
    }
    // The object's own preamble and stream header.
    for at in [0, 100, PREAMBLE - 1, PREAMBLE, PREAMBLE + STREAM_HEADER - 1] {
        world
            .plant(
                "bucket",
                "key",
                &stored.with_body(flipped(&stored.body, at)),
            )
            .await;
        refused(
            &world,
            &format!("byte {at}"),
            &Ask::get("bucket", "key"),
            "preamble",
            &plain,
        )
        .await;
    }
}

fn store_errors(world: &World, kind: &str) -> u64 {
    world.metric("sealgate_store_errors_total", Some(("kind", kind)))
}

fn is_object(seen: &Seen) -> bool {
    seen.method == "GET" && seen.target == "/bucket/key"
}

fn is_suffix(seen: &Seen) -> bool {
    seen.header("range").starts_with("bytes=-")
}

#[tokio::test]
async fn fewer_bytes_than_promised_break_the_transfer() {
    let plain = content(LARGE);
    let (world, stored) = sealed(&plain).await;
    let segment_1 = segment(1, LARGE);
    // Nobody waits for the pauses in which the gateway hopes for better.
    tokio::time::pause();
    for (cut, released) in [
        (0, 0),
        (1, 0),
        (PREAMBLE + STREAM_HEADER, 0),
        (segment_1.start, plain_before(1)),
        (segment_1.end - 1, plain_before(1)),
        (segment_1.end, plain_before(2)),
        (stored.body.len() - FOOTER, plain_before(3)),
        (stored.body.len() - 1, plain_before(3)),
    ] {
        world.spy.lie(move |seen, reply| {
            if is_suffix(seen) {
                return reply.encode();
            }
            reply.cut(cut)
        });
        let what = format!("ends after {cut}");
        let before = store_errors(&world, "body");
        let answer = world.get("key").await;
        let line = world.log_line(answer.request_id()).await;
        if released == 0 {
            assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{what}");
            says_nothing(&what, &answer, &plain);
        } else {
            assert_eq!(answer.status, StatusCode::OK, "{what}");
            assert!(
                !answer.complete && answer.body.len() <= released,
                "{what}: {}",
                answer.body.len()
            );
            assert!(plain.starts_with(&answer.body), "{what}");
            assert_eq!(line["transfer"], "broken", "{line}");
        }
        assert!(
            line["detail"]
                .as_str()
                .unwrap()
                .contains("store body broke off"),
            "{line}"
        );
        // A store that fails is told apart from a store that lies.
        assert_eq!(store_errors(&world, "body"), before + 1, "{what}");
    }
    assert_eq!(world.all_integrity_failures(), 0);

    // Of a range, of the footer, and of an object that is verified before it is sent.
    world.spy.be_honest();
    tokio::time::resume();
    world.put("small", &content(40)).await;
    tokio::time::pause();
    world.spy.lie(|_, mut reply| {
        reply.body.pop();
        reply.encode()
    });
    for ask in [
        Ask::get("bucket", "small"),
        Ask::get("bucket", "small").header("range", "bytes=0-39"),
        Ask::get("bucket", "key"),
        Ask::head("bucket", "key"),
        Ask::copy("bucket", "key", "copied"),
    ] {
        let before = store_errors(&world, "body");
        let copy = !ask.headers.is_empty() && ask.method == Method::PUT;
        let answer = world.send(ask).await;
        // In the time of this test a copy takes so long that its answer begins before it fails.
        if copy && answer.status == StatusCode::OK {
            assert!(answer.text().ends_with("</Error>"), "{answer:?}");
        } else {
            assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{answer:?}");
            says_nothing("cut", &answer, &plain);
        }
        assert_eq!(store_errors(&world, "body"), before + 1);
    }
}

#[tokio::test]
async fn more_or_fewer_bytes_with_a_length_that_says_so_are_refused() {
    for size in [40, LARGE] {
        let plain = content(size);
        let (world, _) = sealed(&plain).await;
        type Change = fn(&mut Vec<u8>);
        let changes: [(&str, Change); 4] = [
            ("one byte less", |body| body.truncate(body.len() - 1)),
            ("one byte more", |body| body.push(0)),
            ("a footer's length more", |body| body.extend([0; FOOTER])),
            ("nothing", Vec::clear),
        ];
        for (what, change) in changes {
            world.spy.lie(move |seen, mut reply| {
                if is_object(seen) {
                    change(&mut reply.body);
                    reply.fix_length();
                }
                reply.encode()
            });
            for ask in [
                Ask::get("bucket", "key"),
                Ask::get("bucket", "key").header("range", "bytes=0-"),
                Ask::head("bucket", "key"),
                Ask::copy("bucket", "key", "copied"),
            ] {
                let answer = world.send(ask).await;
                assert!(!answer.status.is_success(), "{what}: {answer:?}");
                says_nothing(what, &answer, &plain);
            }
        }
        world.spy.be_honest();
        assert!(world.stored("bucket", "copied").await.is_none());
    }
}

#[tokio::test]
async fn bytes_behind_the_promised_length_never_reach_the_client() {
    for size in [40, LARGE] {
        let plain = content(size);
        let (world, _) = sealed(&plain).await;
        world.spy.lie(|seen, mut reply| {
            if seen.method == "GET" {
                reply
                    .body
                    .extend(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nEVIL");
            }
            reply.encode()
        });
        for _ in 0..3 {
            read(
                &world,
                "behind",
                "bucket",
                "key",
                &plain,
                Refused::default(),
            )
            .await;
        }
    }
}

/// Chunked transfer has no length that could be held against the layout.
#[tokio::test]
async fn an_answer_without_a_length_is_no_object() {
    for size in [40, LARGE] {
        let plain = content(size);
        let (world, _) = sealed(&plain).await;
        world.spy.lie(|seen, mut reply| {
            if is_object(seen) {
                reply.headers.remove("content-length");
                reply
                    .headers
                    .insert("transfer-encoding", "chunked".parse().unwrap());
                reply.body.extend(b"extra");
                let mut framed = format!("{:x}\r\n", reply.body.len()).into_bytes();
                framed.append(&mut reply.body);
                framed.extend(b"\r\n0\r\n\r\n");
                reply.body = framed;
            }
            reply.encode()
        });
        for ask in [
            Ask::get("bucket", "key"),
            Ask::get("bucket", "key").header("range", "bytes=0-"),
            Ask::head("bucket", "key"),
            Ask::copy("bucket", "key", "copied"),
        ] {
            let before = store_errors(&world, "malformed");
            let answer = world.send(ask).await;
            assert_eq!(
                answer.status,
                StatusCode::INTERNAL_SERVER_ERROR,
                "{answer:?}"
            );
            says_nothing("chunked", &answer, &plain);
            assert_eq!(store_errors(&world, "malformed"), before + 1);
        }
    }
}

/// The footer is asked for separately; what comes at the end of the body has to be the same.
#[tokio::test]
async fn two_different_footers_are_refused() {
    let plain = content(LARGE);
    let (world, stored) = sealed(&plain).await;
    let length = stored.body.len();
    for at in [length - FOOTER, length - 100, length - 1] {
        // In the body alone: all but the last segment has been verified when it shows.
        world.spy.lie(move |seen, mut reply| {
            if !is_suffix(seen) {
                reply.body = flipped(&reply.body, at);
            }
            reply.encode()
        });
        let what = format!("byte {at} of the body");
        broken(
            &world,
            &what,
            &Ask::get("bucket", "key"),
            "footer",
            &plain,
            plain_before(3),
        )
        .await;
        // In the separate one alone.
        world.spy.lie(move |seen, mut reply| {
            if is_suffix(seen) {
                reply.body = flipped(&reply.body, at - reply.offset());
            }
            reply.encode()
        });
        let what = format!("byte {at} of the footer");
        read(
            &world,
            &what,
            "bucket",
            "key",
            &plain,
            Refused::everywhere("footer"),
        )
        .await;
    }
    // Each authentic, of two versions of the same key and length.
    world.spy.be_honest();
    let newer: Vec<u8> = plain.iter().rev().copied().collect();
    world.put("key", &newer).await;
    let old_footer = stored.body[length - FOOTER..].to_vec();
    world.spy.lie(move |seen, mut reply| {
        if is_suffix(seen) {
            // More than the footer is asked for where a range is read.
            let at = reply.body.len() - FOOTER;
            reply.body[at..].copy_from_slice(&old_footer);
        }
        reply.encode()
    });
    read(
        &world,
        "older footer",
        "bucket",
        "key",
        &newer,
        Refused::everywhere("footer"),
    )
    .await;
}

#[tokio::test]
async fn ranges_that_are_not_those_asked_for_are_refused() {
    let plain = content(LARGE);
    let (world, stored) = sealed(&plain).await;
    let middle = Ask::get("bucket", "key").header("range", "bytes=70000-70009");
    let is_middle = |seen: &Seen| seen.method == "GET" && !is_suffix(seen);

    // Other bytes of the same length, under the range that was asked for.
    let other = stored.body[segment(2, LARGE)].to_vec();
    world.spy.lie(move |seen, mut reply| {
        if is_middle(seen) {
            reply.body.clone_from(&other);
        }
        reply.encode()
    });
    refused(&world, "another segment", &middle, "segment", &plain).await;

    // The whole object in place of the range, and a range that is shorter.
    let body = stored.body.clone();
    world.spy.lie(move |seen, mut reply| {
        if is_middle(seen) {
            reply.status = StatusCode::OK;
            reply.headers.remove("content-range");
            reply.body.clone_from(&body);
            reply.fix_length();
        }
        reply.encode()
    });
    refused(&world, "all of it", &middle, "truncated", &plain).await;
    world.spy.lie(move |seen, mut reply| {
        if is_middle(seen) {
            reply.body.truncate(100);
            reply.fix_length();
        }
        reply.encode()
    });
    refused(&world, "less of it", &middle, "truncated", &plain).await;

    // A total that is another one.
    world.spy.lie(move |_, mut reply| {
        if let Some(range) = reply.headers.get("content-range") {
            let (range, _) = range.to_str().unwrap().split_once('/').unwrap();
            let range = format!("{range}/300000").parse().unwrap();
            reply.headers.insert("content-range", range);
        }
        reply.encode()
    });
    refused(&world, "another total", &middle, "length", &plain).await;
    refused(
        &world,
        "another total",
        &Ask::head("bucket", "key"),
        "length",
        &plain,
    )
    .await;
}

#[tokio::test]
async fn metadata_that_the_store_leaves_out_of_an_answer_is_missed() {
    let plain = content(LARGE);
    let (world, _) = sealed(&plain).await;
    for (name, kind) in [
        (ENVELOPE, "metadata_stripped"),
        (INFO, "metadata_stripped"),
        (MAC, "metadata_stripped"),
        ("content-type", "bound_headers"),
        ("cache-control", "bound_headers"),
        ("x-amz-meta-colour", "bound_headers"),
    ] {
        world.spy.lie(move |_, mut reply| {
            reply.headers.remove(name);
            reply.encode()
        });
        read(
            &world,
            name,
            "bucket",
            "key",
            &plain,
            Refused::everywhere(kind),
        )
        .await;
    }
}

/// An object that is exchanged between two requests of one reading: the gateway starts over, and the
/// client gets one version whole.
#[tokio::test]
async fn an_object_replaced_during_a_reading_is_read_from_one_version() {
    let (old, new) = (content(LARGE), content(LARGE + 1));
    let (world, _) = sealed(&old).await;
    world.spy.take();
    // The first answer is of the old version; before the gateway asks again, the new one stands there.
    let first: Arc<std::sync::Mutex<Option<Reply>>> = Arc::default();
    let keep = first.clone();
    world.spy.lie(move |seen, reply| {
        if is_object(seen) && !is_suffix(seen) {
            keep.lock().unwrap().get_or_insert(reply.clone());
        }
        reply.encode()
    });
    assert!(world.get("key").await.body == old);
    world.spy.be_honest();
    world.put("key", &new).await;
    let served = Arc::new(AtomicUsize::new(0));
    let count = served.clone();
    world.spy.lie(move |seen, reply| {
        if is_object(seen) && !is_suffix(seen) && count.fetch_add(1, Ordering::Relaxed) == 0 {
            return first.lock().unwrap().take().unwrap().encode();
        }
        reply.encode()
    });
    let answer = world.get("key").await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert!(answer.complete && answer.body == new);
    assert_eq!(served.load(Ordering::Relaxed), 2);
    // A store that goes on like this is not followed for ever.
    let round = Arc::new(AtomicUsize::new(0));
    world.spy.lie(move |_, mut reply| {
        let etag = format!("\"{:032x}\"", round.fetch_add(1, Ordering::Relaxed));
        reply.headers.insert("etag", etag.parse().unwrap());
        reply.encode()
    });
    let answer = world.get("key").await;
    assert_eq!(answer.status, StatusCode::CONFLICT, "{answer:?}");
    assert_eq!(answer.code(), "OperationAborted");
}

/// A listing goes on where one of its objects does not verify; the failure is counted.
#[tokio::test]
async fn a_listing_counts_what_does_not_verify() {
    let plain = content(40);
    let (world, stored) = sealed(&plain).await;
    world.put("good", &plain).await;
    let planted = Stored {
        headers: common::headers(&[]),
        body: b"planted".to_vec(),
    };
    world.plant("bucket", "planted", &planted).await;
    world.plant("bucket", "moved", &stored).await;
    let list = Ask::bucket(Method::GET, "bucket").query("list-type=2");
    let answer = world.send(list).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.elements("Key"), ["good", "key", "moved", "planted"]);
    let sizes = answer.elements("Size");
    assert_eq!((&*sizes[0], &*sizes[1]), ("40", "40"));
    assert_eq!(world.integrity_failures("binding"), 1);
    assert_eq!(world.integrity_failures("plaintext"), 1);
    assert!(!contains(&answer.body, b"sealgate-"));
}

/// A condition cannot be held against an object that does not verify, so it does not hold; that one was
/// there is counted all the same.
#[tokio::test]
async fn a_conditional_write_over_what_does_not_verify_is_refused_and_counted() {
    let plain = content(40);
    let (world, stored) = sealed(&plain).await;
    world.plant("bucket", "moved", &stored).await;
    let put = |name: &str, value: &str| Ask::put("bucket", "moved", b"new").header(name, value);
    let etag = format!("\"{}\"", common::md5_hex(&plain));
    for ask in [
        put("if-none-match", "*"),
        put("if-match", &etag),
        Ask::delete("bucket", "moved").header("if-match", &etag),
        Ask::copy("bucket", "key", "moved").header("if-none-match", "*"),
    ] {
        let before = world.integrity_failures("binding");
        let answer = world.send(ask.clone()).await;
        assert_eq!(
            answer.status,
            StatusCode::PRECONDITION_FAILED,
            "{ask:?}: {answer:?}"
        );
        assert_eq!(world.integrity_failures("binding"), before + 1, "{ask:?}");
        assert_eq!(
            world.stored("bucket", "moved").await.unwrap(),
            stored,
            "{ask:?}"
        );
    }
    // Whoever may replace it gets rid of it.
    world.put("moved", &plain).await;
    assert!(world.get("moved").await.body == plain);
}
