//! Migration over real sockets, in front of the embedded store: objects become sealed where they are, or in another bucket,
//! and no client's write is lost.

#![cfg(feature = "embedded")]
#![forbid(unsafe_code)]

mod common;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::{Ask, Stored, World, content, headers};
use http::{Method, StatusCode};
use sealgate::s3::jobs::{
    Conversion, Destination, Event, Failed, Item, Limits, Outcome, Pace, Shard, Walk, conditions,
    run,
};
use sealgate::store::Request;
use serde_json::json;
use tokio_util::sync::CancellationToken;

const BUCKET: &str = "bucket";

/// A world that lets plaintext be read, and has a bucket.
async fn world() -> World {
    let settings = json!({"buckets": {"*": {"plaintext": "allow"}}});
    let world = World::with_settings(settings).await;
    world.create(BUCKET).await;
    world
}

fn plain(body: &[u8]) -> Stored {
    Stored {
        headers: headers(&[
            ("content-type", "text/x-old"),
            ("cache-control", "max-age=60"),
            ("x-amz-meta-mine", "kept"),
        ]),
        body: body.to_vec(),
    }
}

fn conversion(world: &World) -> Conversion {
    Conversion {
        service: world.gateway().service().clone(),
        bucket: BUCKET.into(),
        to: Destination::InPlace,
        conditional: true,
        verify: true,
        dry_run: false,
        only: Vec::new(),
        pace: Pace::new(None),
    }
}

/// Runs a migration; gives what became of each key, and the last safe one.
async fn migrate(
    world: &World,
    task: Conversion,
    shard: Shard,
    after: &str,
) -> (Vec<(String, Result<Outcome, String>)>, Option<String>) {
    let service = world.gateway().service().clone();
    let walk = Walk::listing(BUCKET, "", shard, after);
    let limits = Limits {
        at_once: 4,
        stop: CancellationToken::new(),
    };
    let (mut ended, mut safe) = (Vec::new(), None);
    let complete = run(
        &service,
        walk,
        Arc::new(task),
        limits,
        |event| match event {
            Event::Ended { item, result } => {
                let result = match result {
                    Ok(outcome) => Ok(outcome.clone()),
                    Err(Failed { why, .. }) => Err(why.clone()),
                };
                ended.push((item.key.clone(), result));
            }
            Event::Safe(key) => safe = Some(key.to_owned()),
        },
    )
    .await
    .unwrap();
    assert!(complete);
    ended.sort_by(|one, other| one.0.cmp(&other.0));
    (ended, safe)
}

async fn is_sealed(world: &World, bucket: &str, key: &str) -> bool {
    let stored = world.stored(bucket, key).await.unwrap();
    stored.headers.contains_key("x-amz-meta-sealgate-mac")
        || stored
            .headers
            .keys()
            .any(|name| name.as_str().starts_with("x-amz-meta-sealgate"))
}

#[tokio::test]
async fn plaintext_is_sealed_in_its_place_and_keeps_what_belongs_to_it() {
    let world = world().await;
    let sizes = [0, 1, 65_000, 200_001];
    for size in sizes {
        world
            .plant(BUCKET, &format!("plain/{size}"), &plain(&content(size)))
            .await;
    }
    world.put("sealed", b"sealed before").await;
    let before = world.stored(BUCKET, "sealed").await.unwrap();

    let mut dry = conversion(&world);
    dry.dry_run = true;
    let (ended, _) = migrate(&world, dry, Shard::default(), "").await;
    let done = |was, bytes| Ok(Outcome::Done { was, bytes });
    let already = |bytes| {
        Ok(Outcome::Already {
            is: "sealgate",
            bytes,
        })
    };
    let expected = [
        ("plain/0", done("plaintext", 0)),
        ("plain/1", done("plaintext", 1)),
        ("plain/200001", done("plaintext", 200_001)),
        ("plain/65000", done("plaintext", 65_000)),
        ("sealed", already(13)),
    ]
    .map(|(key, result)| (key.to_owned(), result));
    assert_eq!(ended, expected);
    for size in sizes {
        assert!(!is_sealed(&world, BUCKET, &format!("plain/{size}")).await);
    }

    let (ended, safe) = migrate(&world, conversion(&world), Shard::default(), "").await;
    assert_eq!(ended, expected);
    assert_eq!(safe.as_deref(), Some("sealed"));
    for size in sizes {
        let key = format!("plain/{size}");
        assert!(is_sealed(&world, BUCKET, &key).await);
        let answer = world.get(&key).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert!(answer.body == content(size));
        assert_eq!(answer.header("content-type"), "text/x-old");
        assert_eq!(answer.header("cache-control"), "max-age=60");
        assert_eq!(answer.header("x-amz-meta-mine"), "kept");
        assert_eq!(answer.etag(), common::md5_hex(&content(size)));
    }
    assert_eq!(world.stored(BUCKET, "sealed").await.unwrap(), before);

    // Nothing is left to do, and nothing is written.
    world.spy.take();
    let (ended, _) = migrate(&world, conversion(&world), Shard::default(), "").await;
    assert!(
        ended
            .iter()
            .all(|(_, result)| matches!(result, Ok(Outcome::Already { .. })))
    );
    assert!(world.spy.take().iter().all(|seen| seen.method == "GET"));
    // Behind a mark there is less to look at.
    let (ended, _) = migrate(&world, conversion(&world), Shard::default(), "plain/65000").await;
    assert_eq!(ended.len(), 1);
}

#[tokio::test]
async fn a_write_that_comes_in_between_is_not_lost() {
    let world = world().await;
    world.plant(BUCKET, "raced", &plain(b"old content")).await;
    let open = Arc::new(AtomicUsize::new(0));
    world.spy.gate(open.clone(), |seen| seen.method == "PUT");
    let task = conversion(&world);
    let job = migrate(&world, task, Shard::default(), "");
    let writer = async {
        // The job has read the object, and its own write waits.
        tokio::time::sleep(Duration::from_millis(500)).await;
        world.plant(BUCKET, "raced", &plain(b"new content")).await;
        open.store(usize::MAX / 2, Ordering::Release);
    };
    let ((ended, _), ()) = tokio::join!(job, writer);
    assert_eq!(
        ended,
        [(
            "raced".to_owned(),
            Ok(Outcome::Done {
                was: "plaintext",
                bytes: 11
            })
        )]
    );
    assert!(is_sealed(&world, BUCKET, "raced").await);
    assert_eq!(world.get("raced").await.body, b"new content");
}

#[tokio::test]
async fn an_object_that_is_deleted_in_between_stays_so() {
    let world = world().await;
    world.plant(BUCKET, "gone", &plain(b"old content")).await;
    let open = Arc::new(AtomicUsize::new(0));
    world.spy.gate(open.clone(), |seen| seen.method == "PUT");
    let job = migrate(&world, conversion(&world), Shard::default(), "");
    let remover = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let request = Request::object(Method::DELETE, BUCKET, "gone");
        world.store.send("Test", request).await.unwrap();
        open.store(usize::MAX / 2, Ordering::Release);
    };
    let ((ended, _), ()) = tokio::join!(job, remover);
    assert_eq!(ended, [("gone".to_owned(), Ok(Outcome::Gone))]);
    assert_eq!(world.get("gone").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn what_cannot_be_opened_fails_alone_and_holds_the_mark() {
    let world = world().await;
    for key in ["a", "c"] {
        world.plant(BUCKET, key, &plain(b"plain")).await;
    }
    world.put("b", b"sealed").await;
    let stored = world.stored(BUCKET, "b").await.unwrap();
    let mut body = stored.body.clone();
    let last = body.len() - 1;
    body[last] ^= 1;
    world
        .plant(BUCKET, "b", &stored.with_body(body.clone()))
        .await;
    let (ended, safe) = migrate(&world, conversion(&world), Shard::default(), "").await;
    assert!(
        ended[0].1.is_ok() && ended[1].1.is_err() && ended[2].1.is_ok(),
        "{ended:?}"
    );
    assert_eq!(safe.as_deref(), Some("a"));
    assert_eq!(world.stored(BUCKET, "b").await.unwrap().body, body);
}

#[tokio::test]
async fn a_strict_bucket_says_what_to_write_in_the_configuration() {
    let world = World::with_bucket().await;
    world.plant(BUCKET, "k", &plain(b"plain")).await;
    let (ended, safe) = migrate(&world, conversion(&world), Shard::default(), "").await;
    let why = ended[0].1.as_ref().unwrap_err();
    assert!(why.contains("plaintext: allow"), "{why}");
    assert_eq!(safe, None);
    assert!(!is_sealed(&world, BUCKET, "k").await);
}

#[tokio::test]
async fn ciphertext_under_a_name_that_is_not_configured_is_not_sealed_once_more() {
    let world = world().await;
    let wrapped =
        "57c95ea41fe1585266b76548198f19f3f4b94b16feb2ea94ed984f1a90d6e0d857119d3b88eba59d";
    for (key, name) in [
        ("s3proxy", "x-amz-meta-ourtag"),
        ("s3ep", "x-amz-meta-our-encrypted-dek"),
    ] {
        let object = plain(b"ciphertext").with_header(name, Some(wrapped));
        world.plant(BUCKET, key, &object).await;
    }
    let (ended, _) = migrate(&world, conversion(&world), Shard::default(), "").await;
    for (key, result) in ended {
        assert!(result.unwrap_err().contains("compat"));
        assert!(!is_sealed(&world, BUCKET, &key).await);
    }
}

#[tokio::test]
async fn another_bucket_gets_copies_once() {
    let world = world().await;
    world.create("other").await;
    world.plant(BUCKET, "plain", &plain(b"plain")).await;
    world.put("sealed", b"sealed").await;
    let task = || Conversion {
        to: Destination::Bucket("other".into()),
        ..conversion(&world)
    };
    let (ended, _) = migrate(&world, task(), Shard::default(), "").await;
    assert!(
        ended
            .iter()
            .all(|(_, result)| matches!(result, Ok(Outcome::Done { .. }))),
        "{ended:?}"
    );
    for (key, body) in [("plain", b"plain".as_slice()), ("sealed", b"sealed")] {
        assert!(is_sealed(&world, "other", key).await);
        let answer = world.send(Ask::get("other", key)).await;
        assert_eq!(
            (answer.status, answer.body.as_slice()),
            (StatusCode::OK, body)
        );
    }
    assert!(!is_sealed(&world, BUCKET, "plain").await);
    let (ended, _) = migrate(&world, task(), Shard::default(), "").await;
    assert!(
        ended
            .iter()
            .all(|(_, result)| matches!(result, Ok(Outcome::Already { .. }))),
        "{ended:?}"
    );
}

#[tokio::test]
async fn machines_share_the_keys_and_no_one_does_one_twice() {
    let world = world().await;
    let keys: Vec<String> = (0..30).map(|number| format!("k/{number:02} ü")).collect();
    for key in &keys {
        world.plant(BUCKET, key, &plain(key.as_bytes())).await;
    }
    let count = NonZeroU32::new(3).unwrap();
    let mut all = Vec::new();
    for index in 0..3 {
        let shard = Shard::new(index, count).unwrap();
        let (ended, _) = migrate(&world, conversion(&world), shard, "").await;
        for (key, result) in ended {
            assert!(
                matches!(
                    result,
                    Ok(Outcome::Done {
                        was: "plaintext",
                        ..
                    })
                ),
                "{key}: {result:?}"
            );
            all.push(key);
        }
    }
    all.sort();
    assert_eq!(all, keys);
    let named = Walk::named(BUCKET, Shard::default(), keys.clone());
    let service = world.gateway().service().clone();
    let mut walk = named;
    let mut items: Vec<Item> = Vec::new();
    while let Some(page) = walk.page(&service).await.unwrap() {
        items.extend(page);
    }
    assert!(items.iter().map(|item| &item.key).eq(&keys));
}

#[tokio::test]
async fn a_store_that_keeps_no_conditions_is_found_out() {
    let world = world().await;
    let service = world.gateway().service().clone();
    assert!(conditions(&service, BUCKET).await.unwrap().put);
    // It takes what it must refuse.
    world.spy.lie(|seen, mut reply| {
        let put = seen.method == "PUT" && seen.header("x-amz-copy-source").is_empty();
        if put && reply.status == StatusCode::PRECONDITION_FAILED {
            reply.status = StatusCode::OK;
            reply.body.clear();
            reply.fix_length();
        }
        reply.encode()
    });
    assert!(!conditions(&service, BUCKET).await.unwrap().put);
    // It refuses what it must take.
    world.spy.lie(|seen, mut reply| {
        if seen.method == "PUT" && !seen.header("if-match").is_empty() {
            reply.status = StatusCode::PRECONDITION_FAILED;
            reply.body = b"<Error><Code>PreconditionFailed</Code></Error>".to_vec();
            reply.fix_length();
        }
        reply.encode()
    });
    assert!(!conditions(&service, BUCKET).await.unwrap().put);
    world.spy.be_honest();
    let listed = world
        .store
        .send("Test", Request::bucket(Method::GET, BUCKET))
        .await
        .unwrap();
    let document = world.store.document(listed).await.unwrap();
    assert!(!String::from_utf8_lossy(&document).contains("<Key>"));
}
