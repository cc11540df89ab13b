//! As many parts as an object can have: through the gateway, with requests counted at the store.

#![forbid(unsafe_code)]

mod common;

use common::{Ask, World, query_of};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use http::{Method, StatusCode};
use md5::{Digest, Md5};

const BUCKET: &str = "bucket";
const KEY: &str = "key";

/// A content that differs from part to part.
fn body(number: usize, length: usize) -> Vec<u8> {
    let mut state = number as u32;
    (0..length)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect()
}

/// Uploads so many parts, and looks at the object from all sides. `length` gives that of a part.
async fn object_of(count: usize, equal: bool, length: impl Fn(usize) -> usize) {
    let world = World::with_many_parts().await;
    world.create(BUCKET).await;
    let created = world
        .send(Ask::object(Method::POST, BUCKET, KEY).query("uploads="))
        .await;
    let id = created.element("UploadId");
    let whole: Vec<Vec<u8>> = (1..=count)
        .map(|number| body(number, length(number)))
        .collect();
    let mut etags = vec![String::new(); count];
    let mut waiting = (0..count).rev();
    let mut pending = FuturesUnordered::new();
    let (world, whole, id) = (&world, &whole, &id);
    loop {
        while pending.len() < 16
            && let Some(at) = waiting.next()
        {
            pending.push(async move {
                let query = query_of(&[("partNumber", &(at + 1).to_string()), ("uploadId", id)]);
                let answer = world
                    .send(Ask::put(BUCKET, KEY, &whole[at]).query(&query))
                    .await;
                assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
                (at, answer.etag().to_owned())
            });
        }
        match pending.next().await {
            Some((at, etag)) => etags[at] = etag,
            None => break,
        }
    }
    world.spy.take();
    let parts: String = etags
        .iter()
        .enumerate()
        .map(|(at, etag)| {
            format!(
                "<Part><PartNumber>{}</PartNumber><ETag>{etag}</ETag></Part>",
                at + 1
            )
        })
        .collect();
    let document = format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>");
    let ask = Ask::object(Method::POST, BUCKET, KEY)
        .query(&query_of(&[("uploadId", id)]))
        .body(document.as_bytes());
    let done = world.send(ask).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.text());
    // The state, the pages of the list, table and footer, the completion; a last part with the last number waits apart;
    // then the list of what is left and its removal.
    let pages = count.div_ceil(1000);
    let seen = world.spy.take().len();
    assert!(seen <= pages + 9, "{seen} requests for {pages} pages");

    let mut md5s = Md5::new();
    whole.iter().for_each(|part| md5s.update(Md5::digest(part)));
    let etag = format!("{}-{count}", hex::encode(md5s.finalize()));
    assert_eq!(done.element("ETag"), format!("\"{etag}\""));
    let plain = whole.concat();
    let get = world.get(KEY).await;
    assert!(get.body == plain);
    assert_eq!(get.etag(), etag);
    let seen = world.spy.take().len();
    // Parts as short as these have a longer table than their stored length lets expect.
    assert!(seen <= 3, "{seen} requests for a GET");
    let head = world.send(Ask::head(BUCKET, KEY)).await;
    assert_eq!(head.header("content-length"), plain.len().to_string());
    assert_eq!(world.spy.take().len(), 1, "a HEAD is one request");

    let mut state = 7_u64;
    let mut random = |below: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) as usize % below
    };
    for _ in 0..60 {
        let from = random(plain.len());
        let to = (from + random(20_000)).min(plain.len() - 1);
        let ask = Ask::get(BUCKET, KEY).header("range", &format!("bytes={from}-{to}"));
        let answer = world.send(ask).await;
        assert_eq!(answer.status, StatusCode::PARTIAL_CONTENT);
        assert!(answer.body == plain[from..=to], "{from}-{to}");
        // The end of the object; then the segments and, beside them, the entries of the table. Where parts differ the whole
        // table tells where they are.
        let seen = world.spy.take().len();
        assert!(seen <= 3, "{seen} requests for a range, equal: {equal}");
    }
    for number in [1, 2, count / 2, count - 1, count] {
        let ask = Ask::get(BUCKET, KEY).query(&format!("partNumber={number}"));
        let part = world.send(ask).await;
        assert!(part.body == whole[number - 1], "part {number}");
        assert_eq!(part.header("x-amz-mp-parts-count"), count.to_string());
    }
}

#[tokio::test]
async fn five_hundred_parts_of_any_length() {
    object_of(500, false, |number| number * 37 % 2_000 + 1).await;
}

/// Slow: run by `.ci/run`, and by hand with `cargo test --test many_parts -- --ignored`.
#[tokio::test]
#[ignore = "takes minutes"]
async fn ten_thousand_equal_parts() {
    object_of(10_000, true, |_| 1_500).await;
}

/// As above.
#[tokio::test]
#[ignore = "takes minutes"]
async fn ten_thousand_parts_of_any_length() {
    object_of(10_000, false, |number| number * 37 % 1_500 + 1).await;
}
