//! `sealgate rewrap`, `verify` and `inspect s3://`: over the embedded store, as the library has them and as commands.

#![forbid(unsafe_code)]

mod common;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{Ask, KEK, Seen, Stored, World, contains, content, headers, query_of};
use http::{Method, StatusCode};
use sealgate::config::{Config, Sources};
use sealgate::gateway::Gateway;
use sealgate::s3::inspect;
use sealgate::s3::jobs::{
    Check, Conditions, Event, Guard, Limits, Outcome, Pace, Rewrap, Shard, Sizes, Task, Walk,
    conditions, run,
};
use sealgate::store::Request;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};

const BUCKET: &str = "bucket";
/// The second version of the key `main`.
const NEXT: [u8; 32] = *b"the second of two versions of it";
/// A key of another name.
const SPARE: [u8; 32] = *b"a key that is kept somewhere far";

/// Keys by name and version; the name of the first is that of writes.
type Keys<'k> = &'k [(&'k str, u32, [u8; 32])];

const OLD: Keys<'_> = &[("main", 1, KEK)];
const BOTH: Keys<'_> = &[("main", 1, KEK), ("main", 2, NEXT)];
const NEW: Keys<'_> = &[("main", 2, NEXT)];

/// A configuration of a gateway in front of a store.
fn configuration(world: &World, store: SocketAddr, keys: Keys<'_>, buckets: &Value) -> Value {
    let keys: Vec<Value> = keys
        .iter()
        .map(|(id, version, bytes)| {
            let file = world.folder.path().join(format!("{id}-{version}.key"));
            let text = sealgate::keys::generate_key_file(bytes);
            std::fs::write(&file, text.as_bytes()).unwrap();
            json!({"id": id, "version": version, "kind": "local", "file": file})
        })
        .collect();
    json!({
        "server": {"listen": "127.0.0.1:0"},
        "store": {
            "endpoint": format!("http://{store}"),
            "region": sealgate::embedded::REGION,
            "access_key": "store-access",
            "secret_key": "store-secret-0123456789",
        },
        "keyring": {"current": keys[0]["id"], "keys": keys},
        "users": [{"access_key": "alice", "secret_key": "alice-secret-0123456789", "allowed_buckets": ["*"]}],
        "buckets": buckets,
    })
}

fn gateway(world: &World, keys: Keys<'_>, buckets: &Value) -> Gateway {
    let text = configuration(world, world.spy.address, keys, buckets).to_string();
    let sources = Sources::new(&|_| None, &sealgate::config::read_file).with_text("test", text);
    Gateway::new(&Config::load(&sources).unwrap().config).unwrap()
}

/// The store keeps all conditions.
const KEPT: Conditions = Conditions {
    put: true,
    copy: true,
    complete: true,
};

fn rewrap_of(gateway: &Gateway) -> Rewrap {
    Rewrap {
        service: gateway.service().clone(),
        before: None,
        bucket: BUCKET.into(),
        guard: Guard::Store(KEPT),
        sizes: Sizes::S3,
        dry_run: false,
    }
}

fn check_of(gateway: &Gateway) -> Check {
    Check {
        service: gateway.service().clone(),
        bucket: BUCKET.into(),
        pace: Pace::new(None),
    }
}

/// What became of each object.
type Results = BTreeMap<String, Result<Outcome, String>>;

async fn all(gateway: &Gateway, bucket: &str, task: impl Task) -> Results {
    let walk = Walk::listing(bucket, "", Shard::default(), "");
    let limits = Limits {
        at_once: 4,
        stop: tokio_util::sync::CancellationToken::new(),
    };
    let mut results = Results::new();
    let observe = |event: Event<'_>| {
        if let Event::Ended { item, result } = event {
            let result = result.as_ref().cloned().map_err(ToString::to_string);
            results.insert(item.key.clone(), result);
        }
    };
    let ended = run(gateway.service(), walk, Arc::new(task), limits, observe).await;
    assert!(ended.unwrap());
    results
}

/// Done to all of these, which were that.
fn all_were(results: &Results, expected: &str) {
    for (key, result) in results {
        let ok = matches!(result, Ok(Outcome::Done { was, .. }) if *was == expected);
        assert!(ok, "{key}: {result:?}");
    }
}

fn all_current(results: &Results) {
    for (key, result) in results {
        let ok = matches!(result, Ok(Outcome::Already { is: "sealgate", .. }));
        assert!(ok, "{key}: {result:?}");
    }
}

/// Uploads in parts of these lengths, with tags and metadata; gives the content.
async fn upload(world: &World, key: &str, lengths: &[usize]) -> Vec<u8> {
    let begin = Ask::object(Method::POST, BUCKET, key)
        .query("uploads=")
        .header("x-amz-meta-colour", "grün")
        .header("x-amz-tagging", "a=b%20c&d=e");
    let answer = world.send(begin).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let id = answer.element("UploadId");
    let (mut all, mut parts) = (Vec::new(), String::new());
    for (number, length) in (1..).zip(lengths) {
        let mut body = content(*length);
        body.rotate_left(number);
        let query = query_of(&[("partNumber", &number.to_string()), ("uploadId", &id)]);
        let answer = world.send(Ask::put(BUCKET, key, &body).query(&query)).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        let etag = answer.etag();
        parts += &format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>");
        all.extend(body);
    }
    let document = format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>");
    let end = Ask::object(Method::POST, BUCKET, key)
        .query(&query_of(&[("uploadId", &id)]))
        .body(document.as_bytes());
    let answer = world.send(end).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    all
}

/// Objects of every shape, by their keys.
async fn fill(world: &World) -> BTreeMap<&'static str, Vec<u8>> {
    let mut objects = BTreeMap::new();
    for (key, length) in [("empty", 0), ("small é/x", 10), ("segments", 200_000)] {
        let body = content(length);
        let ask = Ask::put(BUCKET, key, &body)
            .header("content-type", "text/x-test")
            .header("x-amz-meta-colour", "grün")
            .header("x-amz-tagging", "a=b%20c&d=e");
        let answer = world.send(ask).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        objects.insert(key, body);
    }
    let body = upload(world, "parts", &[100_000, 70_000, 5]).await;
    objects.insert("parts", body);
    objects
}

async fn stored(world: &World, key: &str) -> Stored {
    world.stored(BUCKET, key).await.unwrap()
}

async fn tags(world: &World, key: &str) -> String {
    let request = Request::object(Method::GET, BUCKET, key).query("tagging", "");
    let answer = world.store.send("Test", request).await.unwrap();
    let document = world.store.document(answer).await.unwrap();
    String::from_utf8(document.to_vec()).unwrap()
}

fn reserved(name: &str) -> bool {
    name.starts_with("x-amz-meta-sealgate")
}

fn envelope(stored: &Stored) -> &[u8] {
    stored.headers["x-amz-meta-sealgate-envelope"].as_bytes()
}

/// The same bytes and the same metadata, under another envelope.
fn only_rewrapped(before: &Stored, after: &Stored) {
    assert!(before.body == after.body);
    assert_ne!(envelope(before), envelope(after));
    let others = |stored: &Stored| {
        let mut others = stored.headers.clone();
        for name in ["envelope", "info", "mac"] {
            others.remove(format!("x-amz-meta-sealgate-{name}"));
        }
        others
    };
    assert_eq!(others(before), others(after));
    assert!(others(after).keys().all(|name| !reserved(name.as_str())));
}

/// Uploads that stand open.
async fn uploads(world: &World) -> String {
    let request = Request::bucket(Method::GET, BUCKET).query("uploads", "");
    let answer = world.store.send("Test", request).await.unwrap();
    let document = world.store.document(answer).await.unwrap();
    String::from_utf8(document.to_vec()).unwrap()
}

async fn small_parts() -> World {
    let world = World::with_many_parts().await;
    world.create(BUCKET).await;
    world
}

#[tokio::test]
async fn after_a_rotation_the_old_version_can_go() {
    let world = small_parts().await;
    let objects = fill(&world).await;
    let mut before = BTreeMap::new();
    for key in objects.keys() {
        before.insert(*key, stored(&world, key).await);
    }
    let none = json!({});
    let both = gateway(&world, BOTH, &none);
    let new = gateway(&world, NEW, &none);

    let dry = Rewrap {
        dry_run: true,
        ..rewrap_of(&both)
    };
    let results = all(&both, BUCKET, dry).await;
    assert_eq!(results.len(), objects.len());
    all_were(&results, "under an older key version");
    for (key, before) in &before {
        assert_eq!(&stored(&world, key).await, before, "a dry run wrote {key}");
    }
    for (key, result) in all(&new, BUCKET, rewrap_of(&new)).await {
        let why = result.unwrap_err();
        assert!(why.contains("main version 1 (local)"), "{key}: {why}");
    }

    world.spy.take();
    all_were(
        &all(&both, BUCKET, rewrap_of(&both)).await,
        "under an older key version",
    );
    for seen in world.spy.take() {
        let moved = seen.header("content-length");
        assert!(["", "0"].contains(&moved), "{seen:?}");
        assert!(
            seen.method != "GET" || !seen.header("range").is_empty() || seen.target.contains('?'),
            "{seen:?}"
        );
    }
    for (key, before) in &before {
        only_rewrapped(before, &stored(&world, key).await);
        let tags = tags(&world, key).await;
        assert!(tags.contains("<Value>b c</Value>"), "{key}: {tags}");
    }
    world.spy.take();
    all_current(&all(&both, BUCKET, rewrap_of(&both)).await);
    let wrote = world.spy.take();
    assert!(wrote.iter().all(|seen| seen.method == "GET"), "{wrote:?}");

    all_were(&all(&new, BUCKET, check_of(&new)).await, "sealgate");
    let old = gateway(&world, OLD, &none);
    for (key, result) in all(&old, BUCKET, check_of(&old)).await {
        assert!(result.unwrap_err().starts_with("no_key: "), "{key}");
    }
}

#[tokio::test]
async fn recipients_follow_the_configuration() {
    let world = small_parts().await;
    fill(&world).await;
    let keys: Keys<'_> = &[("main", 1, KEK), ("spare", 1, SPARE)];
    let two = json!({BUCKET: {"recipients": ["main", "spare"]}});
    let gate = gateway(&world, keys, &two);
    all_were(
        &all(&gate, BUCKET, rewrap_of(&gate)).await,
        "for other recipients",
    );
    all_current(&all(&gate, BUCKET, rewrap_of(&gate)).await);
    for one in [&keys[..1], &keys[1..]] {
        let alone = gateway(&world, one, &json!({}));
        all_were(&all(&alone, BUCKET, check_of(&alone)).await, "sealgate");
    }
    // And back to one of them.
    let spare = gateway(&world, &[keys[1], keys[0]], &json!({}));
    all_were(
        &all(&spare, BUCKET, rewrap_of(&spare)).await,
        "for other recipients",
    );
    let old = gateway(&world, OLD, &json!({}));
    for (_, result) in all(&old, BUCKET, check_of(&old)).await {
        assert!(result.unwrap_err().starts_with("no_key: "));
    }
}

#[tokio::test]
async fn a_bucket_can_be_bound_to_another_name() {
    let world = small_parts().await;
    fill(&world).await;
    let renamed = gateway(&world, OLD, &json!({BUCKET: {"bound_as": "archive"}}));
    for (key, result) in all(&renamed, BUCKET, rewrap_of(&renamed)).await {
        let why = result.unwrap_err();
        assert!(why.contains("--was-bound-as"), "{key}: {why}");
    }
    let before = gateway(&world, OLD, &json!({BUCKET: {"bound_as": BUCKET}}));
    let task = || Rewrap {
        before: Some(before.service().clone()),
        ..rewrap_of(&renamed)
    };
    all_were(
        &all(&renamed, BUCKET, task()).await,
        "bound as another bucket",
    );
    all_current(&all(&renamed, BUCKET, task()).await);
    all_were(&all(&renamed, BUCKET, check_of(&renamed)).await, "sealgate");
    for (_, result) in all(&before, BUCKET, check_of(&before)).await {
        assert!(result.unwrap_err().starts_with("binding: "));
    }
}

#[tokio::test]
async fn what_is_not_sealed_is_left_to_migrate() {
    let world = World::with_bucket().await;
    let plain = Stored {
        headers: headers(&[]),
        body: b"plain".to_vec(),
    };
    world.plant(BUCKET, "plain", &plain).await;
    let planted = stored(&world, "plain").await;
    for settings in [json!({}), json!({BUCKET: {"plaintext": "allow"}})] {
        let gate = gateway(&world, BOTH, &settings);
        let results = all(&gate, BUCKET, rewrap_of(&gate)).await;
        let skipped = Ok(Outcome::Skipped("not sealed: migrate seals it"));
        assert_eq!(results["plain"], skipped);
    }
    assert_eq!(stored(&world, "plain").await, planted);
}

/// A client writes while the rewrap's last request is on its way.
async fn race(guard: Guard, last: fn(&Seen) -> bool) {
    let world = small_parts().await;
    world.put("key", &content(100_000)).await;
    let gate = gateway(&world, BOTH, &json!({}));
    let (newer, open) = (content(777), Arc::new(AtomicUsize::new(0)));
    world.spy.gate(open.clone(), last);
    world.spy.take();
    let task = Rewrap {
        guard,
        ..rewrap_of(&gate)
    };
    let write = async {
        while !world.spy.take().iter().any(last) {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        world.put("key", &newer).await;
        open.store(1, Ordering::Release);
    };
    let (results, ()) = tokio::join!(all(&gate, BUCKET, task), write);
    // The client's gateway has the old version only: what it wrote is rewrapped in its turn.
    all_were(&results, "under an older key version");
    let check = gateway(&world, NEW, &json!({}));
    let results = all(&check, BUCKET, check_of(&check)).await;
    let expected = Outcome::Done {
        was: "sealgate",
        bytes: 777,
    };
    assert_eq!(results["key"], Ok(expected), "the client's write is lost");
    assert!(!uploads(&world).await.contains("<Upload>"));
}

#[tokio::test]
async fn a_write_before_the_copy_is_not_lost() {
    race(Guard::Store(KEPT), |seen| {
        seen.method == "PUT" && !seen.header("x-amz-copy-source").is_empty()
    })
    .await;
}

#[tokio::test]
async fn a_write_before_the_completion_is_not_lost() {
    let guard = Guard::Store(Conditions {
        copy: false,
        ..KEPT
    });
    race(guard, |seen| {
        seen.method == "POST" && seen.target.contains("uploadId=")
    })
    .await;
}

#[tokio::test]
async fn a_removal_meanwhile_stays_one() {
    let world = World::with_bucket().await;
    world.put("key", &content(100)).await;
    let gate = gateway(&world, BOTH, &json!({}));
    let open = Arc::new(AtomicUsize::new(0));
    let last: fn(&Seen) -> bool = |seen| seen.method == "PUT";
    world.spy.gate(open.clone(), last);
    world.spy.take();
    let remove = async {
        while !world.spy.take().iter().any(last) {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        let answer = world.send(Ask::object(Method::DELETE, BUCKET, "key")).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT);
        open.store(1, Ordering::Release);
    };
    let (results, ()) = tokio::join!(all(&gate, BUCKET, rewrap_of(&gate)), remove);
    assert_eq!(results["key"], Ok(Outcome::Gone));
    assert_eq!(world.stored(BUCKET, "key").await, None);
}

#[tokio::test]
async fn what_one_copy_does_not_take_is_copied_in_parts() {
    let world = small_parts().await;
    let objects = fill(&world).await;
    let mut before = BTreeMap::new();
    for key in objects.keys() {
        before.insert(*key, stored(&world, key).await);
    }
    let gate = gateway(&world, BOTH, &json!({}));
    let task = |guard| Rewrap {
        sizes: Sizes {
            copy: 10_000,
            part: 70_001,
        },
        guard,
        ..rewrap_of(&gate)
    };
    let long = ["parts", "segments"];
    // Where only a copy keeps the condition, the long ones are refused.
    let copies = Guard::Store(Conditions {
        complete: false,
        ..KEPT
    });
    for (key, result) in all(&gate, BUCKET, task(copies)).await {
        match result {
            Err(why) if long.contains(&key.as_str()) => {
                assert!(why.contains("--no-concurrent-writers"), "{why}");
            }
            result => assert!(!long.contains(&key.as_str()) && result.is_ok(), "{key}"),
        }
    }
    world.spy.take();
    let results = all(&gate, BUCKET, task(Guard::Store(KEPT))).await;
    for key in long {
        assert!(matches!(results[key], Ok(Outcome::Done { .. })), "{key}");
        only_rewrapped(&before[key], &stored(&world, key).await);
        assert!(tags(&world, key).await.contains("<Value>b c</Value>"));
    }
    let seen = world.spy.take();
    let copied: Vec<&str> = seen
        .iter()
        .map(|seen| seen.header("x-amz-copy-source-range"))
        .filter(|range| !range.is_empty())
        .collect();
    assert_eq!(copied.len(), 6, "{copied:?}");
    for key in long {
        let last = format!("bytes=140002-{}", before[key].body.len() - 1);
        assert!(copied.contains(&last.as_str()), "{copied:?}");
    }
    all_current(&all(&gate, BUCKET, task(Guard::Store(KEPT))).await);
    let new = gateway(&world, NEW, &json!({}));
    all_were(&all(&new, BUCKET, check_of(&new)).await, "sealgate");
    assert!(!uploads(&world).await.contains("<Upload>"));
}

/// An address in front of the store where request headers of these names are lost.
async fn losing(store: SocketAddr, names: &'static [&'static str]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let store = TcpStream::connect(store).await.unwrap();
                let (mut from_store, mut to_store) = store.into_split();
                let (mut from_client, mut to_client) = client.into_split();
                let back = tokio::spawn(async move { copy(&mut from_store, &mut to_client).await });
                let mut buffer = vec![0; 65536];
                while let Ok(read @ 1..) = from_client.read(&mut buffer).await {
                    for name in names {
                        let line = format!("\r\n{name}:").into_bytes();
                        let at = buffer[..read].windows(line.len()).position(|w| w == line);
                        if let Some(at) = at {
                            buffer[at + 2] = b'y';
                        }
                    }
                    if to_store.write_all(&buffer[..read]).await.is_err() {
                        break;
                    }
                }
                drop(to_store);
                let _ = back.await;
            });
        }
    });
    address
}

#[tokio::test]
async fn the_store_is_asked_which_conditions_it_keeps() {
    let world = World::with_bucket().await;
    let gate = gateway(&world, OLD, &json!({}));
    let kept = conditions(gate.service(), BUCKET).await.unwrap();
    assert_eq!(kept, KEPT);
    let deaf = losing(world.store_address, &["if-match"]).await;
    let text = configuration(&world, deaf, OLD, &json!({})).to_string();
    let sources = Sources::new(&|_| None, &sealgate::config::read_file).with_text("test", text);
    let gate = Gateway::new(&Config::load(&sources).unwrap().config).unwrap();
    let kept = conditions(gate.service(), BUCKET).await.unwrap();
    let nothing = Conditions {
        put: false,
        copy: false,
        complete: false,
    };
    assert_eq!(kept, nothing);
    // Nothing is left of the question.
    let request = Request::bucket(Method::GET, BUCKET).query("list-type", "2");
    let answer = world.store.send("Test", request).await.unwrap();
    let listing = world.store.document(answer).await.unwrap();
    assert!(!contains(&listing, b"<Key>"), "{listing:?}");
    assert!(!uploads(&world).await.contains("<Upload>"));
}

/// Objects that are tampered with, each in another way; the kind under which `verify` reports it.
#[tokio::test]
async fn verify_finds_what_was_done_to_objects() {
    let world = small_parts().await;
    let body = content(200_000);
    let flip = |at: usize| {
        move |stored: Stored| {
            let mut body = stored.body.clone();
            let at = if at > body.len() {
                body.len() - (usize::MAX - at)
            } else {
                at
            };
            body[at] ^= 1;
            stored.with_body(body)
        }
    };
    type Tamper = Box<dyn Fn(Stored) -> Stored>;
    let end = |back: usize| usize::MAX - back;
    let whole: Vec<(&str, Tamper)> = vec![
        ("preamble", Box::new(flip(20))),
        ("segment", Box::new(flip(150_000))),
        ("footer", Box::new(flip(end(100)))),
        (
            "footer",
            Box::new(|s| {
                let n = s.body.len();
                s.with_body(&s.body[..n - 1])
            }),
        ),
        (
            "length",
            Box::new(|s| {
                let n = s.body.len();
                let mut b = s.body.clone();
                b.drain(1000..n / 2);
                s.with_body(b)
            }),
        ),
        (
            "metadata_stripped",
            Box::new(|s| s.with_header("x-amz-meta-sealgate-mac", None)),
        ),
        (
            "metadata_malformed",
            Box::new(|s| s.with_header("x-amz-meta-sealgate-info", Some("!"))),
        ),
        (
            "bound_headers",
            Box::new(|s| s.with_header("content-type", Some("text/x-other"))),
        ),
        (
            "metadata_stripped",
            Box::new(|mut s| {
                s.headers.clear();
                s
            }),
        ),
        (
            "plaintext",
            Box::new(|mut s| {
                s.headers.clear();
                s.with_body("planted")
            }),
        ),
        (
            "plaintext",
            Box::new(|mut s| {
                s.headers.clear();
                s.with_body("")
            }),
        ),
    ];
    let in_parts: Vec<(&str, Tamper)> = vec![
        ("preamble", Box::new(flip(20))),
        ("segment", Box::new(flip(150_000))),
        ("part_table", Box::new(flip(end(300)))),
        ("footer", Box::new(flip(end(100)))),
    ];
    let mut expected = BTreeMap::new();
    for (index, (kind, tamper)) in whole.into_iter().enumerate() {
        let key = format!("whole {index} {kind}");
        world.put(&key, &body).await;
        let tampered = tamper(stored(&world, &key).await);
        world.plant(BUCKET, &key, &tampered).await;
        expected.insert(key, kind);
    }
    for (index, (kind, tamper)) in in_parts.into_iter().enumerate() {
        let key = format!("parts {index} {kind}");
        upload(&world, &key, &[100_000, 100_000, 10]).await;
        let tampered = tamper(stored(&world, &key).await);
        world.plant(BUCKET, &key, &tampered).await;
        expected.insert(key, kind);
    }
    // Another object's place.
    world.put("moved from", &body).await;
    let moved = stored(&world, "moved from").await;
    world.plant(BUCKET, "moved to", &moved).await;
    expected.insert("moved to".into(), "binding");
    let good = fill(&world).await;

    let check = gateway(&world, OLD, &json!({}));
    let results = all(&check, BUCKET, check_of(&check)).await;
    assert_eq!(results.len(), expected.len() + good.len() + 1);
    for (key, result) in &results {
        match expected.get(key) {
            Some(kind) => {
                let why = result.as_ref().expect_err(key);
                assert!(why.starts_with(&format!("{kind}: ")), "{key}: {why}");
            }
            None => assert!(
                matches!(
                    result,
                    Ok(Outcome::Done {
                        was: "sealgate",
                        ..
                    })
                ),
                "{key}: {result:?}"
            ),
        }
    }
    // Where plaintext is allowed it is counted, and what was sealed is still told from it.
    let lax = gateway(&world, OLD, &json!({BUCKET: {"plaintext": "allow"}}));
    let cut = stored(&world, "segments").await;
    let cut = Stored {
        headers: headers(&[]),
        body: cut.body[..1_000].to_vec(),
    };
    world.plant(BUCKET, "cut and stripped", &cut).await;
    let results = all(&lax, BUCKET, check_of(&lax)).await;
    let why = results["cut and stripped"].as_ref().unwrap_err();
    assert!(why.starts_with("metadata_stripped: "), "{why}");
    for (key, kind) in &expected {
        let plain = matches!(
            results[key],
            Ok(Outcome::Already {
                is: "plaintext",
                ..
            })
        );
        assert_eq!(plain, *kind == "plaintext", "{key}: {:?}", results[key]);
    }
}

/// Every vector of the format that any reader refuses is found, those too whose sums alone are wrong.
#[tokio::test]
async fn verify_says_of_every_vector_what_it_is() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("format-spec/vectors");
    let rows = std::fs::read(folder.join("v1.json")).unwrap();
    let rows: Vec<Value> = serde_json::from_slice(&rows).unwrap();
    let world = World::start().await;
    world.create("backups").await;
    let (mut good, mut bad, mut sums) = (0, 0, 0);
    for row in &rows {
        let name = row["name"].as_str().unwrap();
        let key = row["key"].as_str().unwrap();
        let keys: Vec<(&str, u32, [u8; 32])> = row["keys"]
            .as_array()
            .unwrap()
            .iter()
            .map(|key| {
                let bytes = hex::decode(key["key"].as_str().unwrap()).unwrap();
                let version = u32::try_from(key["version"].as_u64().unwrap()).unwrap();
                (
                    key["id"].as_str().unwrap(),
                    version,
                    bytes.try_into().unwrap(),
                )
            })
            .collect();
        let bucket = row["bucket"].as_str().unwrap();
        if keys.is_empty()
            || row["headers"]
                .as_object()
                .unwrap()
                .values()
                .any(|v| v.as_str().unwrap().len() > 2_000)
        {
            continue;
        }
        let given: BTreeMap<String, String> =
            serde_json::from_value(row["headers"].clone()).unwrap();
        let pairs: Vec<_> = given
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_str()))
            .collect();
        let object = Stored {
            headers: headers(&pairs),
            body: std::fs::read(folder.join(row["file"].as_str().unwrap())).unwrap(),
        };
        world.plant("backups", key, &object).await;
        let check = gateway(&world, &keys, &json!({"backups": {"bound_as": bucket}}));
        let task = Check {
            bucket: "backups".into(),
            ..check_of(&check)
        };
        let results = all(&check, "backups", task).await;
        let served = row["serve"]["error"].is_null();
        let recovery = row["recover"]["error"].as_str().unwrap_or_default();
        let wrong_sum = recovery.starts_with("plaintext.");
        match &results[key] {
            Ok(Outcome::Done { .. }) => {
                assert!(served && !wrong_sum, "{name} verifies");
                good += 1;
            }
            Err(why) => {
                assert!(!served || wrong_sum, "{name}: {why}");
                if served {
                    assert!(why.starts_with("object: "), "{name}: {why}");
                    sums += 1;
                }
                bad += 1;
            }
            other => panic!("{name}: {other:?}"),
        }
        let remove = Request::object(Method::DELETE, "backups", key);
        world.store.send("Test", remove).await.unwrap();
    }
    assert!(good > 20 && bad > 50 && sums >= 2, "{good} {bad} {sums}");
}

#[tokio::test]
async fn inspect_says_what_an_object_is() {
    let world = small_parts().await;
    fill(&world).await;
    let keys: Keys<'_> = &[("main", 1, KEK), ("main", 2, NEXT)];
    let gate = gateway(&world, keys, &json!({}));
    let look = async |gate: &Gateway, key: &str| {
        inspect(gate.service(), BUCKET, key, None, &["archive".into()])
            .await
            .unwrap()
    };
    let found = look(&gate, "segments").await;
    let text = found.to_string();
    for line in [
        "object            s3://bucket/segments",
        "format            sealgate",
        "recipient         local main 1 (in the keyring)",
        "binding           verified, as bucket",
        "rewrap            would change a key's version",
        "content length    200000",
        "segment size      65536",
        "metadata          x-amz-meta-colour",
        "served            yes",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    assert!(!text.contains("gr\u{fc}n"), "{text}");
    let parts = look(&gate, "parts").await;
    let content = parts.content.unwrap();
    assert_eq!((content.length, content.parts), (170_005, Some(3)));
    assert!(content.md5.unwrap().ends_with("-3"));

    let foreign = gateway(&world, &[("spare", 1, SPARE)], &json!({}));
    let found = look(&foreign, "segments").await;
    assert_eq!(found.refused.as_ref().unwrap().kind, "no_key");
    assert!(
        found
            .to_string()
            .contains("local main 1 (not in the keyring)")
    );
    let archive = gateway(&world, OLD, &json!({BUCKET: {"bound_as": "archive"}}));
    let found = look(&archive, "segments").await;
    assert_eq!(found.refused.as_ref().unwrap().kind, "binding");
    let envelope = found.envelope.unwrap();
    assert_eq!(envelope.bound_as.as_deref(), Some(BUCKET));
    assert!(!envelope.bound_here);

    let stripped = stored(&world, "segments").await;
    let stripped = Stored {
        headers: headers(&[]),
        ..stripped
    };
    world.plant(BUCKET, "segments", &stripped).await;
    let found = look(&gate, "segments").await;
    assert_eq!(
        (found.format, found.refused.unwrap().kind),
        ("sealgate", "metadata_stripped")
    );
    let plain = Stored {
        headers: headers(&[("x-amz-meta-isec", "00")]),
        body: b"x".to_vec(),
    };
    world.plant(BUCKET, "plain", &plain).await;
    let found = look(&gate, "plain").await;
    assert_eq!(
        (found.format, found.refused.unwrap().kind),
        ("plaintext", "plaintext")
    );
    assert_eq!(found.metadata, ["x-amz-meta-isec"]);
    let gone = inspect(gate.service(), BUCKET, "nothing", None, &[]).await;
    assert!(gone.is_err());
}

/// Runs the program beside the store, which lives on this thread.
async fn sealgate(config: &std::path::Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sealgate"));
    command.args(arguments).arg("--config").arg(config);
    tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

#[tokio::test]
async fn the_commands_do_what_they_say() {
    let world = small_parts().await;
    let objects = fill(&world).await;
    let write = |name: &str, store, keys, buckets: Value| {
        let path = world.folder.path().join(name);
        let text = configuration(&world, store, keys, &buckets).to_string();
        std::fs::write(&path, text).unwrap();
        path
    };
    let old = write("old.yaml", world.store_address, OLD, json!({}));
    let both = write("both.yaml", world.store_address, BOTH, json!({}));
    let new = write("new.yaml", world.store_address, NEW, json!({}));
    let job = |command| [command, "--bucket", BUCKET, "--report", "-"];
    let totals = |output: &Output, what: &str| {
        let text = String::from_utf8(output.stdout.clone()).unwrap();
        let end = text.rfind("\n}").unwrap() + 2;
        let report: Value = serde_json::from_str(&text[..end]).unwrap();
        assert_eq!(report["complete"], true, "{report}");
        let count = &report["totals"][what];
        let count = if count.is_object() {
            &count["objects"]
        } else {
            count
        };
        usize::try_from(count.as_u64().unwrap()).unwrap()
    };

    let dry = sealgate(&both, &[&job("rewrap")[..], &["--dry-run"]].concat()).await;
    assert!(dry.status.success(), "{}", said(&dry));
    assert_eq!(totals(&dry, "done"), objects.len());
    let done = sealgate(&both, &job("rewrap")).await;
    assert!(done.status.success(), "{}", said(&done));
    assert_eq!(totals(&done, "done"), objects.len());
    assert!(
        said(&done).contains("done: under an older key version: 4 objects"),
        "{}",
        said(&done)
    );
    let again = sealgate(&both, &job("rewrap")).await;
    assert!(again.status.success(), "{}", said(&again));
    assert_eq!(
        (totals(&again, "done"), totals(&again, "already")),
        (0, objects.len())
    );

    let whole = sealgate(&new, &job("verify")).await;
    assert!(whole.status.success(), "{}", said(&whole));
    assert_eq!(totals(&whole, "done"), objects.len());
    assert!(!said(&whole).contains("PLAINTEXT-MARKER"));
    let blind = sealgate(&old, &job("verify")).await;
    assert_eq!(blind.status.code(), Some(1), "{}", said(&blind));
    assert_eq!(totals(&blind, "failed"), objects.len());
    assert!(
        said(&blind).contains("failed: parts: no_key: "),
        "{}",
        said(&blind)
    );

    let place = "s3://bucket/small é/x";
    let found = sealgate(&new, &["inspect", place]).await;
    assert!(found.status.success(), "{}", said(&found));
    assert!(
        said(&found).contains("binding           verified, as bucket"),
        "{}",
        said(&found)
    );
    let json = sealgate(&new, &["inspect", place, "--json"]).await;
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["content"]["length"], 10);
    let refused = sealgate(&old, &["inspect", place]).await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        said(&refused).contains("is refused: "),
        "{}",
        said(&refused)
    );
    let gone = sealgate(&new, &["inspect", "s3://bucket/nothing"]).await;
    assert_eq!(gone.status.code(), Some(1), "{}", said(&gone));

    // A store that keeps no conditions.
    let deaf = losing(world.store_address, &["if-match"]).await;
    let two = json!({BUCKET: {"recipients": ["main", "spare"]}});
    let keys: Keys<'_> = &[("main", 2, NEXT), ("spare", 1, SPARE)];
    let weak = write("weak.yaml", deaf, keys, two);
    let refused = sealgate(&weak, &job("rewrap")).await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        said(&refused).contains("give --no-concurrent-writers"),
        "{}",
        said(&refused)
    );
    let alone = [&job("rewrap")[..], &["--no-concurrent-writers"]].concat();
    let alone = sealgate(&weak, &alone).await;
    assert!(alone.status.success(), "{}", said(&alone));
    assert_eq!(totals(&alone, "done"), objects.len());
    for (flag, command) in [("--rate=1KiB", "rewrap"), ("--dry-run", "verify")] {
        let refused = sealgate(&new, &[&job(command)[..], &[flag]].concat()).await;
        assert_eq!(refused.status.code(), Some(1), "{}", said(&refused));
    }
}
