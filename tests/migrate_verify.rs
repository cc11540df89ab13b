//! `sealgate migrate --verify` in front of a store that loses what it was given: the failure is told, also where another look
//! at the object would find it migrated.

#![cfg(feature = "embedded")]
#![forbid(unsafe_code)]

mod common;

use std::sync::Arc;

use common::{Stored, World, content, headers};
use sealgate::s3::jobs::{
    Conversion, Destination, Event, Failed, Limits, Outcome, Pace, Shard, Walk, run,
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

const BUCKET: &str = "bucket";

async fn world() -> (World, Vec<u8>) {
    let world = World::with_settings(json!({"buckets": {BUCKET: {"plaintext": "allow"}}})).await;
    world.create(BUCKET).await;
    // Of several segments: the first ones are good when the last is found bad.
    let plain = content(300_000);
    let object = Stored {
        headers: headers(&[("content-type", "text/x-old")]),
        body: plain.clone(),
    };
    world.plant(BUCKET, "key", &object).await;
    (world, plain)
}

async fn migrate(world: &World) -> Result<Outcome, Failed> {
    let gateway = world.gateway();
    let service = gateway.service();
    let task = Conversion {
        service: service.clone(),
        bucket: BUCKET.into(),
        to: Destination::InPlace,
        conditional: true,
        verify: true,
        dry_run: false,
        only: Vec::new(),
        pace: Pace::new(None),
    };
    let walk = Walk::named(BUCKET, Shard::default(), ["key".to_owned()]);
    let limits = Limits {
        at_once: 1,
        stop: CancellationToken::new(),
    };
    let mut results = Vec::new();
    let complete = run(service, walk, Arc::new(task), limits, |event| {
        if let Event::Ended { result, .. } = event {
            results.push(match result {
                Ok(outcome) => Ok(outcome.clone()),
                Err(failed) => Err(Failed {
                    why: failed.why.clone(),
                    passing: failed.passing,
                }),
            });
        }
    });
    assert!(complete.await.unwrap());
    assert_eq!(results.len(), 1);
    results.remove(0)
}

const DONE: Outcome = Outcome::Done {
    was: "plaintext",
    bytes: 300_000,
};

#[tokio::test]
async fn an_object_that_reads_back_damaged_fails_for_good() {
    let (world, plain) = world().await;
    let mut written = false;
    world.spy.lie(move |seen, mut reply| {
        written |= seen.method == "PUT";
        // The footer, which is short, stays as it is.
        if written && seen.method == "GET" && reply.body.len() > 10_000 {
            let last = reply.body.len() - 5_000;
            reply.body[last] ^= 1;
        }
        reply.encode()
    });
    let failed = migrate(&world).await.unwrap_err();
    assert!(failed.why.contains("does not read back"), "{failed}");
    assert!(!failed.passing);
    world.spy.be_honest();
    assert_eq!(world.get("key").await.body, plain);
}

#[tokio::test]
async fn reading_back_outlives_a_failure_of_the_store() {
    let (world, plain) = world().await;
    let (mut written, mut failures) = (false, 0);
    world.spy.lie(move |seen, mut reply| {
        written |= seen.method == "PUT";
        // More than a read is repeated by itself.
        if written && seen.method == "GET" && failures < 7 {
            failures += 1;
            reply.status = http::StatusCode::BAD_GATEWAY;
            reply.body.clear();
            reply.fix_length();
        }
        reply.encode()
    });
    assert_eq!(migrate(&world).await.unwrap(), DONE);
    world.spy.be_honest();
    assert_eq!(world.get("key").await.body, plain);
}
