//! How many requests an operation may cost at the store, counted there. The budget is part of the
//! design: every request more is latency for clients and money for whoever pays the store.

#![cfg(feature = "embedded")]
#![forbid(unsafe_code)]

mod common;

use common::{Ask, World, content};
use http::{Method, StatusCode};

/// Plaintext of the first segment, and a size well above it.
const SEGMENT: usize = 65_480;
const LARGE: usize = 400_000;

/// Methods that reached the store while `ask` was answered.
async fn cost(world: &World, ask: Ask) -> Vec<String> {
    world.spy.take();
    let answer = world.send(ask).await;
    assert!(answer.status.is_success(), "{answer:?}");
    let seen = world.spy.take();
    seen.into_iter().map(|seen| seen.method).collect()
}

#[tokio::test]
async fn reads_and_writes_keep_to_their_budget() {
    let world = World::with_bucket().await;
    let put = |key: &str, size| Ask::put("bucket", key, &content(size));
    assert_eq!(cost(&world, put("small", SEGMENT)).await, ["PUT"]);
    assert_eq!(cost(&world, put("large", LARGE)).await, ["PUT"]);
    for round in ["cold", "again"] {
        let small = cost(&world, Ask::get("bucket", "small")).await;
        assert_eq!(small, ["GET"], "{round}");
        let large = cost(&world, Ask::get("bucket", "large")).await;
        assert_eq!(large, ["GET", "GET"], "{round}");
        let head = cost(&world, Ask::head("bucket", "large")).await;
        assert_eq!(head, ["GET"], "{round}");
        let range = Ask::get("bucket", "large").header("range", "bytes=300000-300009");
        // Cold, the footer tells where the segments are. Then it is known.
        let expected: &[&str] = if round == "cold" {
            &["GET", "GET"]
        } else {
            &["GET"]
        };
        assert_eq!(cost(&world, range).await, expected, "{round}");
        let copy = cost(&world, Ask::copy("bucket", "large", "copy")).await;
        assert_eq!(copy, ["GET", "PUT"], "{round}");
    }
    let delete = cost(&world, Ask::delete("bucket", "copy")).await;
    assert_eq!(delete, ["DELETE"]);
}

#[tokio::test]
async fn a_range_of_an_object_that_has_changed_is_of_the_new_one() {
    let world = World::with_bucket().await;
    let range = || Ask::get("bucket", "key").header("range", "bytes=300000-300009");
    world.put("key", &content(LARGE)).await;
    for size in [LARGE, LARGE + 7, 2 * LARGE, LARGE] {
        let mut new = content(size);
        new.rotate_left(size / 3);
        world.put("key", &new).await;
        // What was kept is of the object before.
        for expected in [&["GET", "GET", "GET"][..], &["GET"], &["GET"]] {
            world.spy.take();
            let answer = world.send(range()).await;
            assert_eq!(answer.status, StatusCode::PARTIAL_CONTENT);
            assert_eq!(answer.body, new[300_000..300_010]);
            let methods: Vec<_> = world
                .spy
                .take()
                .into_iter()
                .map(|seen| seen.method)
                .collect();
            assert!(
                methods == expected || methods == ["GET", "GET"],
                "{methods:?}"
            );
        }
        // Conditions are held against what stands there, and a range that is none has its own answer.
        let etag = world.send(range()).await.header("etag").to_owned();
        for (name, value, status) in [
            ("if-none-match", etag.as_str(), StatusCode::NOT_MODIFIED),
            ("if-match", "\"0123\"", StatusCode::PRECONDITION_FAILED),
        ] {
            let answer = world.send(range().header(name, value)).await;
            assert_eq!(answer.status, status, "{name}");
        }
        let beyond = Ask::get("bucket", "key").header("range", "bytes=9999999-");
        let answer = world.send(beyond).await;
        assert_eq!(answer.status, StatusCode::RANGE_NOT_SATISFIABLE);
    }
    let delete = world.send(Ask::delete("bucket", "key")).await;
    assert!(delete.status.is_success());
    assert_eq!(world.send(range()).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_range_fetches_the_segments_that_hold_it_and_no_more() {
    let world = World::with_bucket().await;
    world.put("large", &content(LARGE)).await;
    world.spy.take();
    let range = Ask::get("bucket", "large").header("range", "bytes=65479-65480");
    let answer = world.send(range).await;
    assert_eq!(answer.status, StatusCode::PARTIAL_CONTENT);
    assert_eq!(answer.body, content(LARGE)[65_479..=65_480]);
    let seen = world.spy.take();
    let last = seen.last().expect("the segments were fetched");
    // Segment 0 begins behind the stream's header; segment 1 ends 131,072 bytes into the stream.
    assert_eq!(
        last.header("range"),
        format!("bytes={}-{}", 512 + 40, 512 + 131_072 - 1)
    );
    assert!(!last.header("if-match").is_empty());
}

#[tokio::test]
async fn a_listing_costs_its_page_and_what_the_cache_does_not_know() {
    let world = World::with_bucket().await;
    for i in 0..20 {
        world.put(&format!("{i}"), &content(i)).await;
    }
    let list = || Ask::bucket(Method::GET, "bucket").query("list-type=2");
    // What was written through this gateway it knows.
    assert_eq!(cost(&world, list()).await, ["GET"]);
    // What another gateway wrote it learns once: one request an object, beside the page.
    let other = World::with_bucket().await;
    for i in 0..20 {
        let object = world
            .stored("bucket", &format!("{i}"))
            .await
            .expect("it is there");
        other.plant("bucket", &format!("{i}"), &object).await;
    }
    assert_eq!(cost(&other, list()).await.len(), 1 + 20);
    assert_eq!(cost(&other, list()).await, ["GET"]);
}
