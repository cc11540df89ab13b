//! Uploads in parts through the gateway: over real sockets, in front of the embedded store.

#![forbid(unsafe_code)]

mod common;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use common::{Answer, Ask, BOB, Connection, STORE, Spy, Stored, World, content, md5_hex, query_of};
use http::{HeaderMap, Method, StatusCode};
use md5::{Digest, Md5};
use sealgate::protocol::checksum::{Algorithm, Checksum};
use sealgate::s3::gc::{self, Options, Verdict};
use sealgate::store::Request;

const MIN: usize = 5 << 20;
const BUCKET: &str = "bucket";

/// An upload through one gateway or several.
struct Upload<'w> {
    world: &'w World,
    key: String,
    id: String,
    etags: Vec<(u16, String)>,
}

impl<'w> Upload<'w> {
    async fn create(world: &'w World, key: &str) -> Self {
        Self::with(world, Ask::object(Method::POST, BUCKET, key), key).await
    }

    async fn with(world: &'w World, ask: Ask, key: &str) -> Self {
        let answer = world.send(ask.query("uploads=")).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        assert_eq!(answer.element("Bucket"), BUCKET);
        assert_eq!(answer.element("Key"), key);
        Self {
            world,
            key: key.to_owned(),
            id: answer.element("UploadId"),
            etags: Vec::new(),
        }
    }

    fn part(&self, number: &str, body: &[u8]) -> Ask {
        Ask::put(BUCKET, &self.key, body)
            .query(&query_of(&[("partNumber", number), ("uploadId", &self.id)]))
    }

    fn ask(&self, method: Method) -> Ask {
        Ask::object(method, BUCKET, &self.key).query(&query_of(&[("uploadId", &self.id)]))
    }

    async fn put(&mut self, number: u16, body: &[u8]) -> Answer {
        let answer = self.world.send(self.part(&number.to_string(), body)).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        self.note(number, &answer);
        answer
    }

    fn note(&mut self, number: u16, answer: &Answer) {
        self.etags.retain(|(other, _)| *other != number);
        self.etags.push((number, answer.etag().to_owned()));
        self.etags.sort();
    }

    fn completion(&self, parts: &[(u16, String)]) -> Ask {
        let parts: String = parts
            .iter()
            .map(|(number, etag)| {
                format!("<Part><PartNumber>{number}</PartNumber><ETag>\"{etag}\"</ETag></Part>")
            })
            .collect();
        self.document(&format!(
            "<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>"
        ))
    }

    /// A completion that names the checksum of each part, in the order of [`Self::etags`].
    fn completion_with(&self, checksums: &[Checksum]) -> Ask {
        let parts = self.etags.iter().zip(checksums);
        let parts: String = parts
            .map(|((number, etag), checksum)| {
                let (name, value) = (checksum.algorithm().element(), checksum.to_base64());
                format!(
                    "<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag><{name}>{value}</{name}></Part>"
                )
            })
            .collect();
        self.document(&format!(
            "<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>"
        ))
    }

    fn document(&self, text: &str) -> Ask {
        self.ask(Method::POST).body(text.as_bytes())
    }

    async fn complete(&self) -> Answer {
        self.world.send(self.completion(&self.etags)).await
    }

    async fn refused(&self, ask: Ask, status: u16, code: &str) {
        let answer = self.world.send(ask).await;
        assert_eq!(
            (answer.status.as_u16(), answer.code().as_str()),
            (status, code),
            "{answer:?}"
        );
    }
}

fn etag_of(bodies: &[&[u8]]) -> String {
    let mut md5 = Md5::new();
    for body in bodies {
        md5.update(Md5::digest(body));
    }
    format!("{}-{}", hex::encode(md5.finalize()), bodies.len())
}

/// Another content of that length for each number.
fn body(number: u8, length: usize) -> Vec<u8> {
    let mut bytes = content(length);
    bytes
        .iter_mut()
        .step_by(97)
        .for_each(|byte| *byte ^= number);
    bytes
}

/// Keys that the store itself has.
async fn keys(world: &World, bucket: &str) -> Vec<String> {
    let answer = world
        .store
        .send("Test", Request::bucket(Method::GET, bucket))
        .await
        .unwrap();
    let document = world.store.document(answer).await.unwrap();
    let text = std::str::from_utf8(&document).unwrap();
    text.split("<Key>")
        .skip(1)
        .map(|rest| rest.split("</Key>").next().unwrap().to_owned())
        .collect()
}

async fn holds(world: &World, key: &str, bodies: &[&[u8]]) {
    let whole = bodies.concat();
    let answer = world.get(key).await;
    assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.headers);
    assert!(answer.body == whole, "{key}");
    assert_eq!(answer.etag(), etag_of(bodies));
    let head = world.send(Ask::head(BUCKET, key)).await;
    assert_eq!(head.header("content-length"), whole.len().to_string());
    assert_eq!(head.etag(), etag_of(bodies));
    let stored = world.stored(BUCKET, key).await.unwrap();
    assert!(whole.len() < 16 || !common::contains(&stored.body, &whole[..whole.len().min(32)]));
}

#[tokio::test]
async fn parts_of_two_gateways_in_any_order_are_one_object() {
    let world = World::with_bucket().await;
    let other = world.again().await;
    let (one, two, three) = (body(1, MIN), body(2, MIN + 70_001), body(3, 1234));
    let ask = Ask::object(Method::POST, BUCKET, "a/key")
        .header("content-type", "text/plain")
        .header("x-amz-meta-colour", "blue");
    let mut upload = Upload::with(&world, ask, "a/key").await;
    upload.put(7, &three).await;
    let second = world.send_to(other, upload.part("2", &two)).await;
    upload.note(2, &second);
    let first = upload.put(1, &one).await;
    assert!(first.etag().starts_with(&format!("{}-", md5_hex(&one))));
    assert_eq!(world.get("a/key").await.status, StatusCode::NOT_FOUND);

    let done = world.send_to(other, upload.completion(&upload.etags)).await;
    assert_eq!(done.status, StatusCode::OK, "{done:?}");
    let etag = etag_of(&[&one, &two, &three]);
    assert_eq!(done.element("ETag"), format!("\"{etag}\""));
    assert_eq!(
        (done.element("Bucket"), done.element("Key")),
        (BUCKET.into(), "a/key".into())
    );
    assert!(done.element("Location").ends_with("/bucket/a/key"));
    holds(&world, "a/key", &[&one, &two, &three]).await;
    let head = world.send(Ask::head(BUCKET, "a/key")).await;
    assert_eq!(head.header("content-type"), "text/plain");
    assert_eq!(head.header("x-amz-meta-colour"), "blue");

    let whole = [&one[..], &two, &three].concat();
    for (from, to) in [
        (0, 0),
        (MIN - 1, MIN),
        (MIN - 70_000, 2 * MIN),
        (2 * MIN + 70_000, whole.len() - 1),
    ] {
        let ask = Ask::get(BUCKET, "a/key").header("range", &format!("bytes={from}-{to}"));
        let answer = world.send(ask).await;
        assert_eq!(answer.status, StatusCode::PARTIAL_CONTENT);
        assert!(answer.body == whole[from..=to], "{from}-{to}");
    }
    let part = world
        .send(Ask::get(BUCKET, "a/key").query("partNumber=2"))
        .await;
    assert!(part.body == two && part.header("x-amz-mp-parts-count") == "3");

    let ask = Ask::get(BUCKET, "a/key")
        .query("attributes=")
        .header("x-amz-object-attributes", "ObjectParts,ObjectSize");
    let attributes = world.send(ask).await;
    assert_eq!(attributes.element("PartsCount"), "3");
    assert_eq!(attributes.elements("PartNumber"), ["1", "2", "7"]);
    let sizes = [one.len(), two.len(), three.len()].map(|size| size.to_string());
    assert_eq!(attributes.elements("Size"), sizes);

    let listed = world
        .send(Ask::bucket(Method::GET, BUCKET).query("list-type=2"))
        .await;
    assert_eq!(listed.elements("Size"), [whole.len().to_string()]);
    assert_eq!(listed.element("ETag"), format!("\"{etag}\""));
    // Nothing of the upload is left.
    assert_eq!(keys(&world, BUCKET).await, ["a/key"]);
    upload
        .refused(upload.ask(Method::GET), 404, "NoSuchUpload")
        .await;
}

#[tokio::test]
async fn a_part_that_is_uploaded_again_counts_as_it_was_last() {
    let world = World::with_bucket().await;
    let mut upload = Upload::create(&world, "k").await;
    let (long, short) = (body(1, MIN), body(2, 5000));
    upload.put(1, &body(9, MIN)).await;
    let old = upload.etags.clone();
    upload.put(1, &long).await;
    upload.put(2, &body(8, 5000)).await;
    let old_short = [upload.etags[0].clone(), upload.etags[1].clone()];
    upload.put(2, &short).await;
    upload
        .refused(upload.completion(&old), 400, "InvalidPart")
        .await;
    upload
        .refused(upload.completion(&old_short), 400, "InvalidPart")
        .await;
    let listed = world.send(upload.ask(Method::GET)).await;
    assert_eq!(listed.elements("PartNumber"), ["1", "2"]);
    assert_eq!(
        listed.elements("Size"),
        [MIN.to_string(), "5000".to_string()]
    );
    // Short, long and short again: the last one counts each time.
    for length in [MIN + 1, 5000] {
        upload.put(2, &body(2, length)).await;
        let listed = world.send(upload.ask(Method::GET)).await;
        assert_eq!(
            listed.elements("Size"),
            [MIN.to_string(), length.to_string()]
        );
    }
    assert_eq!(upload.complete().await.status, StatusCode::OK);
    holds(&world, "k", &[&long, &short]).await;
}

#[tokio::test]
async fn the_last_part_may_have_any_length() {
    let world = World::with_bucket().await;
    for length in [0, 1, 65_480, 65_481, MIN - 1] {
        let key = format!("only-{length}");
        let mut upload = Upload::create(&world, &key).await;
        let bytes = body(1, length);
        upload.put(3, &bytes).await;
        let done = upload.complete().await;
        assert_eq!(done.status, StatusCode::OK, "{done:?}");
        holds(&world, &key, &[&bytes]).await;
    }
    assert_eq!(keys(&world, BUCKET).await.len(), 5);
}

#[tokio::test]
async fn the_last_number_leaves_room_for_the_footer() {
    let world = World::with_bucket().await;
    let mut upload = Upload::create(&world, "k").await;
    let (one, last) = (body(1, MIN), body(2, MIN + 1));
    upload.put(10_000, &last).await;
    upload.put(9_999, &one).await;
    let done = upload.complete().await;
    assert_eq!(done.status, StatusCode::OK, "{done:?}");
    holds(&world, "k", &[&one, &last]).await;
}

#[tokio::test]
async fn each_refusal_is_that_of_s3() {
    let world = World::with_bucket().await;
    let mut upload = Upload::create(&world, "k").await;
    let mut other = Upload::create(&world, "other").await;
    upload.put(1, &body(1, 100)).await;
    upload.put(2, &body(2, MIN)).await;
    upload.put(3, &body(3, 10)).await;
    other.put(1, &body(1, 100)).await;
    let etags = upload.etags.clone();
    let (one, two, three) = (etags[0].clone(), etags[1].clone(), etags[2].clone());

    upload
        .refused(upload.completion(&etags), 400, "EntityTooSmall")
        .await;
    upload
        .refused(
            upload.completion(&[three.clone(), two.clone()]),
            400,
            "InvalidPartOrder",
        )
        .await;
    upload
        .refused(
            upload.completion(&[two.clone(), two.clone()]),
            400,
            "InvalidPartOrder",
        )
        .await;
    // A receipt of another part, of another upload, one that was changed, and none at all.
    for etag in [
        one.1.clone(),
        other.etags[0].1.clone(),
        format!("{}x", two.1),
        "0".repeat(32),
    ] {
        upload
            .refused(upload.completion(&[(2, etag)]), 400, "InvalidPart")
            .await;
    }
    upload
        .refused(upload.completion(&[(4, two.1.clone())]), 400, "InvalidPart")
        .await;
    upload
        .refused(
            upload.completion(&[(10_001, two.1.clone())]),
            400,
            "InvalidPart",
        )
        .await;
    upload
        .refused(
            upload.completion(&[(0, two.1.clone())]),
            400,
            "InvalidArgument",
        )
        .await;
    for text in [
        "",
        "<CompleteMultipartUpload/>",
        "<Other/>",
        "<CompleteMultipartUpload><Part></CompleteMultipartUpload>",
    ] {
        upload
            .refused(upload.document(text), 400, "MalformedXML")
            .await;
    }
    for number in ["0", "10001", "-1", "x", ""] {
        upload
            .refused(upload.part(number, b"x"), 400, "InvalidArgument")
            .await;
    }
    let header = |name: &str, value: &str| {
        upload
            .completion(std::slice::from_ref(&two))
            .header(name, value)
    };
    for size in ["7", "-1", "many", ""] {
        let size = header("x-amz-mp-object-size", size);
        upload.refused(size, 400, "InvalidRequest").await;
    }
    for checksum in ["no", "AAAAAA==-x", "AAAAAA==-1-1", "AAAAAA==--1"] {
        let checksum = header("x-amz-checksum-crc32", checksum);
        upload.refused(checksum, 400, "InvalidRequest").await;
    }
    let several =
        header("x-amz-checksum-crc32", "AAAAAA==").header("x-amz-checksum-crc32c", "AAAAAA==");
    upload.refused(several, 400, "InvalidRequest").await;
    // Upload ids are not interchangeable.
    let stranger = Upload {
        world: &world,
        key: "k".into(),
        id: other.id.clone(),
        etags: Vec::new(),
    };
    stranger
        .refused(stranger.part("1", b"short"), 404, "NoSuchUpload")
        .await;
    stranger
        .refused(stranger.part("1", &body(1, MIN)), 404, "NoSuchUpload")
        .await;
    stranger
        .refused(stranger.ask(Method::GET), 404, "NoSuchUpload")
        .await;
    stranger
        .refused(stranger.ask(Method::DELETE), 404, "NoSuchUpload")
        .await;
    stranger
        .refused(
            stranger.completion(std::slice::from_ref(&two)),
            404,
            "NoSuchUpload",
        )
        .await;
    // None of it did any harm.
    let done = world
        .send(upload.completion(&[two.clone(), three.clone()]))
        .await;
    assert_eq!(done.status, StatusCode::OK, "{done:?}");
    holds(&world, "k", &[&body(2, MIN), &body(3, 10)]).await;
}

#[tokio::test]
async fn a_body_that_does_not_hold_is_no_part() {
    let world = World::with_bucket().await;
    let mut upload = Upload::create(&world, "k").await;
    upload.put(1, b"right").await;
    let before = upload.etags.clone();
    for length in [10, MIN] {
        let wrong = upload
            .part("1", &body(1, length))
            .header("content-md5", "AAAAAAAAAAAAAAAAAAAAAA==");
        upload.refused(wrong, 400, "BadDigest").await;
        let wrong = upload
            .part("1", &body(1, length))
            .header("x-amz-checksum-crc32", "AAAAAA==");
        upload.refused(wrong, 400, "BadDigest").await;
    }
    assert_eq!(
        world.send(upload.completion(&before)).await.status,
        StatusCode::OK
    );
    holds(&world, "k", &[b"right"]).await;
}

#[tokio::test]
async fn an_aborted_upload_leaves_nothing_and_takes_nothing() {
    let world = World::with_bucket().await;
    let other = world.again().await;
    let mut upload = Upload::create(&world, "k").await;
    upload.put(1, &body(1, MIN)).await;
    upload.put(2, b"short").await;
    // The other gateway knows the upload before it ends.
    let seen = world.send_to(other, upload.ask(Method::GET)).await;
    assert_eq!(seen.elements("PartNumber"), ["1", "2"]);
    assert_eq!(
        world.send(upload.ask(Method::DELETE)).await.status,
        StatusCode::NO_CONTENT
    );
    assert!(keys(&world, BUCKET).await.is_empty());
    for gateway in [world.address, other] {
        for body in [&b"short"[..], &body(1, MIN)] {
            let answer = world.send_to(gateway, upload.part("3", body)).await;
            assert_eq!(answer.code(), "NoSuchUpload");
        }
        let answer = world
            .send_to(gateway, upload.completion(&upload.etags))
            .await;
        assert_eq!(
            (answer.status, answer.code()),
            (StatusCode::NOT_FOUND, "NoSuchUpload".into())
        );
        assert_eq!(
            world
                .send_to(gateway, upload.ask(Method::DELETE))
                .await
                .code(),
            "NoSuchUpload"
        );
    }
    assert!(keys(&world, BUCKET).await.is_empty());
}

#[tokio::test]
async fn the_time_that_an_abort_is_conditional_on_is_for_the_store_to_compare() {
    let world = World::with_bucket().await;
    let mut upload = Upload::create(&world, "k").await;
    upload.put(1, &body(1, 100)).await;
    let condition = "x-amz-if-match-initiated-time";
    let time = "Thu, 01 Jan 2015 00:00:00 GMT";
    world.spy.lie(|seen, mut reply| {
        if seen.method == "DELETE" {
            reply.status = StatusCode::PRECONDITION_FAILED;
            reply.body = b"<Error><Code>PreconditionFailed</Code></Error>".to_vec();
            reply.fix_length();
        }
        reply.encode()
    });
    world.spy.take();
    let abort = upload.ask(Method::DELETE).header(condition, time);
    upload.refused(abort, 412, "PreconditionFailed").await;
    let asked = world.spy.take();
    // What is kept beside the upload stays.
    assert_eq!((asked.len(), asked[0].header(condition)), (1, time));
}

#[tokio::test]
async fn a_completion_whose_answer_was_lost_is_answered_again() {
    let world = World::with_bucket().await;
    let mut upload = Upload::create(&world, "k").await;
    upload.put(1, b"all of it").await;
    let first = upload.complete().await;
    let again = upload.complete().await;
    assert_eq!(again.status, StatusCode::OK, "{again:?}");
    assert_eq!(first.element("ETag"), again.element("ETag"));
    // But not once something else stands there.
    world.put("k", b"something else").await;
    upload
        .refused(upload.completion(&upload.etags), 404, "NoSuchUpload")
        .await;
    assert_eq!(world.get("k").await.body, b"something else");
}

/// As Ceph does where a completion's connection went away.
#[tokio::test]
async fn an_upload_that_the_store_calls_a_missing_key_is_over() {
    let world = World::with_bucket().await;
    let other = world.again().await;
    world.spy.lie(|_, mut reply| {
        if reply.status == StatusCode::NOT_FOUND {
            let body = String::from_utf8_lossy(&reply.body).replace("NoSuchUpload", "NoSuchKey");
            reply.body = body.into_bytes();
            reply.fix_length();
        }
        reply.encode()
    });
    for complete in [true, false] {
        let mut upload = Upload::create(&world, "k").await;
        upload.put(1, b"all of it").await;
        // The other gateway knows the upload before it ends, and asks the store.
        let seen = world.send_to(other, upload.ask(Method::GET)).await;
        assert_eq!(seen.elements("PartNumber"), ["1"]);
        let end = match complete {
            true => upload.completion(&upload.etags),
            false => upload.ask(Method::DELETE),
        };
        assert!(world.send(end).await.status.is_success());
        let again = world.send_to(other, upload.completion(&upload.etags)).await;
        let codes = if complete { "" } else { "NoSuchUpload" };
        assert_eq!(again.code(), codes, "{again:?}");
        for ask in [
            upload.ask(Method::GET),
            upload.part("2", &body(1, MIN)),
            upload.ask(Method::DELETE),
        ] {
            let answer = world.send_to(other, ask).await;
            assert_eq!(answer.code(), "NoSuchUpload", "{answer:?}");
        }
    }
}

/// Makes the store fail at one kind of request.
fn fail(spy: &Spy, which: fn(&str, &str) -> bool) {
    spy.lie(move |seen, mut reply| {
        if which(&seen.method, &seen.target) {
            reply.status = StatusCode::FORBIDDEN;
            reply.body = b"<Error><Code>AccessDenied</Code></Error>".to_vec();
            reply.fix_length();
        }
        reply.encode()
    });
}

#[tokio::test]
async fn a_completion_that_fails_can_be_tried_again() {
    let world = World::with_bucket().await;
    let mut upload = Upload::create(&world, "k").await;
    let (one, two) = (body(1, MIN), body(2, 77));
    world.put("k", b"old").await;
    upload.put(1, &one).await;
    upload.put(2, &two).await;
    let absent = upload
        .completion(&upload.etags)
        .header("if-none-match", "*");
    upload.refused(absent, 412, "PreconditionFailed").await;
    let other = upload
        .completion(&upload.etags)
        .header("if-match", "\"nothing\"");
    upload.refused(other, 412, "PreconditionFailed").await;
    // Table and footer are at the store when the request that completes is kept from it, and are shown to nobody.
    let refuse = Arc::new(AtomicUsize::new(0));
    world.spy.gate(refuse, |seen| seen.method == "POST");
    let hanging = world.send(upload.completion(&upload.etags));
    let ended = tokio::time::timeout(std::time::Duration::from_secs(3), hanging).await;
    assert!(ended.is_err(), "the client gives up");
    assert_eq!(world.get("k").await.body, b"old");
    let listed = world.send(upload.ask(Method::GET)).await;
    assert_eq!(listed.elements("PartNumber"), ["1", "2"]);
    let old = world.send(Ask::head(BUCKET, "k")).await;
    // The other request is never let through.
    world.spy.gate(Arc::new(AtomicUsize::new(1)), |_| false);
    let matching = upload
        .completion(&upload.etags)
        .header("if-match", old.header("etag"));
    let done = world.send(matching).await;
    assert_eq!(done.status, StatusCode::OK, "{done:?}");
    holds(&world, "k", &[&one, &two]).await;
}

/// Stores take their time for large completions; a client that hears nothing gives up.
#[tokio::test]
async fn a_completion_that_takes_long_is_answered_with_blanks_first() {
    let world = World::with_bucket().await;
    for (key, succeeds) in [("good", true), ("bad", false)] {
        let mut upload = Upload::create(&world, key).await;
        upload.put(1, b"bytes").await;
        if !succeeds {
            fail(&world.spy, |method, target| {
                method == "POST" && target.contains("uploadId")
            });
        }
        let open = Arc::new(AtomicUsize::new(0));
        world.spy.gate(open.clone(), |seen| seen.method == "POST");
        let mut connection = Connection::open(world.address).await;
        let (head, body) = upload
            .completion(&upload.etags)
            .unsigned("connection", "close")
            .encode(world.address);
        connection.write(&[head, body].concat()).await;
        let (status, headers) = connection.head().await.unwrap();
        assert_eq!(status, StatusCode::OK);
        assert_eq!(headers["content-type"], "application/xml");
        assert!(!headers.contains_key("content-length"));
        tokio::time::sleep(std::time::Duration::from_secs(6)).await;
        world.spy.gate(Arc::new(AtomicUsize::new(1)), |_| false);
        open.store(usize::MAX >> 1, std::sync::atomic::Ordering::SeqCst);
        let answer = String::from_utf8(connection.rest().await).unwrap();
        let element = if succeeds {
            "<CompleteMultipartUploadResult"
        } else {
            "<Error>"
        };
        let (before, _) = answer
            .split_once(element)
            .unwrap_or_else(|| panic!("{answer}"));
        assert_eq!(before.matches("<?xml").count(), 1, "{answer}");
        assert!(
            before.contains("\r\n1\r\n \r\n"),
            "a chunk that is a blank: {answer}"
        );
        if succeeds {
            holds(&world, key, &[b"bytes"]).await;
        } else {
            assert!(answer.contains("<Code>AccessDenied</Code>"), "{answer}");
            let line = world
                .log_line(headers["x-amz-request-id"].to_str().unwrap())
                .await;
            assert_eq!(line["code"], "AccessDenied");
        }
    }
}

#[tokio::test]
async fn an_append_only_user_adds_and_does_not_replace() {
    let users = format!(
        r#"[{{"access_key": "{}", "secret_key": "{}", "rules": [{{"buckets": ["bucket"], "actions": ["write"]}}]}}]"#,
        BOB.access_key, BOB.secret_key
    );
    let world = World::with(&users, "{}").await;
    world.create(BUCKET).await;
    world.put("there", b"old").await;
    for (key, status) in [("there", StatusCode::FORBIDDEN), ("new", StatusCode::OK)] {
        let created = world
            .send(
                Ask::object(Method::POST, BUCKET, key)
                    .query("uploads=")
                    .by(BOB),
            )
            .await;
        let mut upload = Upload {
            world: &world,
            key: key.into(),
            id: created.element("UploadId"),
            etags: Vec::new(),
        };
        let part = world.send(upload.part("1", b"bytes").by(BOB)).await;
        upload.note(1, &part);
        let done = world.send(upload.completion(&upload.etags).by(BOB)).await;
        assert_eq!(done.status, status, "{done:?}");
    }
    assert_eq!(world.get("there").await.body, b"old");
    assert_eq!(world.get("new").await.body, b"bytes");
}

/// A user whose own store credentials reach the object alone: what the gateway keeps beside it, and the list of parts, it
/// asks for again with its own.
#[tokio::test]
async fn a_user_with_own_credentials_needs_no_right_to_temporary_objects() {
    let users = format!(
        r#"[{{"access_key": "{}", "secret_key": "{}", "rules": [{{"buckets": ["bucket"], "actions": ["write", "overwrite"]}}],
             "store_credentials": {{"access_key": "{}", "secret_key": "{}"}}}}]"#,
        BOB.access_key, BOB.secret_key, STORE.access_key, STORE.secret_key
    );
    let world = World::with(&users, "{}").await;
    world.create(BUCKET).await;
    // To remove them it has to list them first, which is where it changes credentials. The store has one user, so that the user's requests are told from the gateway's by their order: of two of the same
    // kind the first is the user's. A part that is held is sent once only, with the gateway's.
    let mut denied = std::collections::BTreeSet::new();
    world.spy.lie(move |seen, mut reply| {
        let path = seen.target.split('?').next().unwrap_or_default();
        let listing =
            seen.method == "GET" && (path == "/bucket" || seen.target.contains("uploadId="));
        let temporary = path.contains("sealgate/uploads/")
            && seen.method != "DELETE"
            && !(seen.method == "PUT" && path.contains("/part-"));
        let request = (seen.method.clone(), seen.target.clone());
        if (listing || temporary) && !denied.remove(&request) {
            denied.insert(request);
            reply.status = StatusCode::FORBIDDEN;
            reply.body = b"<Error><Code>AccessDenied</Code></Error>".to_vec();
            reply.fix_length();
        }
        reply.encode()
    });
    let create = Ask::object(Method::POST, BUCKET, "k")
        .query("uploads=")
        .by(BOB);
    let mut upload = Upload::with(&world, create, "k").await;
    let (one, two) = (body(1, MIN), body(2, 99));
    for (number, body) in [("1", &one), ("2", &two)] {
        // Another replica, which knows nothing yet.
        let replica = world.again().await;
        let part = world
            .send_to(replica, upload.part(number, body).by(BOB))
            .await;
        assert_eq!(part.status, StatusCode::OK, "{part:?}");
        upload.note(number.parse().unwrap(), &part);
    }
    let held = world
        .spy
        .take()
        .into_iter()
        .filter(|seen| seen.method == "PUT" && seen.target.contains("/part-"));
    assert_eq!(held.count(), 1);
    let done = world.send(upload.completion(&upload.etags).by(BOB)).await;
    assert_eq!(done.status, StatusCode::OK, "{done:?}");
    world.spy.be_honest();
    holds(&world, "k", &[&one, &two]).await;
    assert_eq!(keys(&world, BUCKET).await, ["k"]);
}

#[tokio::test]
async fn listed_etags_complete_an_upload_too() {
    let world = World::with_bucket().await;
    let mut upload = Upload::create(&world, "k").await;
    let (one, two, three) = (body(1, MIN), body(2, MIN + 9), body(3, 100));
    upload.put(1, &one).await;
    upload.put(2, &two).await;
    upload.put(5, &three).await;
    let mut listed = Vec::new();
    let mut marker = 0;
    loop {
        let query = query_of(&[
            ("uploadId", &upload.id),
            ("max-parts", "1"),
            ("part-number-marker", &marker.to_string()),
        ]);
        let page = world.send(Ask::get(BUCKET, "k").query(&query)).await;
        assert_eq!(page.elements("PartNumber").len(), 1, "{}", page.text());
        marker = page.element("PartNumber").parse().unwrap();
        let etag = page.element("ETag").trim_matches('"').to_owned();
        assert!(etag.contains('-'));
        listed.push((marker, etag));
        if page.element("IsTruncated") == "false" {
            break;
        }
        assert_eq!(page.element("NextPartNumberMarker"), marker.to_string());
    }
    assert_eq!(
        listed.iter().map(|part| part.0).collect::<Vec<_>>(),
        [1, 2, 5]
    );
    // A mixture of both.
    listed[1].1.clone_from(&upload.etags[1].1);
    let done = world.send(upload.completion(&listed)).await;
    assert_eq!(done.status, StatusCode::OK, "{done:?}");
    let whole = [&one[..], &two, &three].concat();
    let answer = world.get("k").await;
    assert!(answer.body == whole);
    assert!(answer.etag().contains('-') && done.element("ETag") == answer.header("etag"));
    let range = format!("bytes={}-{}", MIN - 10, 2 * MIN + 50);
    let ranged = world
        .send(Ask::get(BUCKET, "k").header("range", &range))
        .await;
    assert!(ranged.body == whole[MIN - 10..=2 * MIN + 50]);
}

#[tokio::test]
async fn checksums_of_parts_make_that_of_the_object() {
    let world = World::with_bucket().await;
    let (one, two) = (body(1, MIN), body(2, 1000));
    let whole = [&one[..], &two].concat();
    for (algorithm, kind) in [
        (Algorithm::Crc32, "FULL_OBJECT"),
        (Algorithm::Crc64Nvme, "FULL_OBJECT"),
        (Algorithm::Crc32c, "COMPOSITE"),
        (Algorithm::Sha256, "COMPOSITE"),
    ] {
        let key = format!("{}-{kind}", algorithm.name());
        let ask = Ask::object(Method::POST, BUCKET, &key)
            .header("x-amz-checksum-algorithm", algorithm.name())
            .header("x-amz-checksum-type", kind);
        let mut upload = Upload::with(&world, ask, &key).await;
        let of = |bytes: &[u8]| Checksum::of(algorithm, bytes);
        // Computed where the client sends none, which it may where they are not told of the object.
        let composite = kind == "COMPOSITE";
        let mut ask = upload.part("1", &one);
        if composite {
            upload.refused(ask.clone(), 400, "InvalidRequest").await;
            ask = ask.header(algorithm.header(), &of(&one).to_base64());
        }
        let first = world.send(ask).await;
        upload.note(1, &first);
        assert_eq!(first.header(algorithm.header()), of(&one).to_base64());
        let ask = upload
            .part("2", &two)
            .header(algorithm.header(), &of(&two).to_base64());
        let second = world.send(ask).await;
        upload.note(2, &second);
        assert_eq!(second.header(algorithm.header()), of(&two).to_base64());
        let mismatch = upload.part("2", &two).header(
            "x-amz-checksum-sha1",
            &Checksum::of(Algorithm::Sha1, &two).to_base64(),
        );
        upload.refused(mismatch, 400, "InvalidRequest").await;

        let expected = if composite {
            let parts = [of(&one).as_bytes(), of(&two).as_bytes()].concat();
            format!("{}-2", of(&parts).to_base64())
        } else {
            of(&whole).to_base64()
        };
        let completion = match composite {
            true => upload.completion_with(&[of(&one), of(&two)]),
            false => upload.completion(&upload.etags),
        };
        let named = |value: &str| completion.clone().header(algorithm.header(), value);
        let other = of(b"other").to_base64();
        for wrong in [&other, &format!("{other}-2"), &format!("{expected}-3")] {
            let code = match wrong.matches('-').count() {
                0 | 1 => "BadDigest",
                _ => "InvalidRequest",
            };
            upload.refused(named(wrong), 400, code).await;
        }
        if composite {
            let unnamed = upload.completion(&upload.etags);
            upload.refused(unnamed, 400, "InvalidRequest").await;
        }
        let another = upload.completion_with(&[of(&two), of(&two)]);
        upload.refused(another, 400, "InvalidPart").await;
        let sha1 = |bytes: &[u8]| Checksum::of(Algorithm::Sha1, bytes);
        let of_another_kind = upload.completion_with(&[sha1(&one), sha1(&two)]);
        upload.refused(of_another_kind, 400, "BadDigest").await;
        let none = upload.document(&format!(
            "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{}</ETag><{name}>?</{name}></Part></CompleteMultipartUpload>",
            upload.etags[0].1,
            name = algorithm.element(),
        ));
        upload.refused(none, 400, "InvalidArgument").await;
        let right = named(&expected);
        let done = world.send(right).await;
        assert_eq!(done.element(algorithm.element()), expected, "{done:?}");
        assert_eq!(done.element("ChecksumType"), kind);
        let head = world
            .send(Ask::head(BUCKET, &key).header("x-amz-checksum-mode", "ENABLED"))
            .await;
        assert_eq!(head.header(algorithm.header()), expected);
        assert_eq!(head.header("x-amz-checksum-type"), kind);
        holds(&world, &key, &[&one, &two]).await;
    }
}

#[tokio::test]
async fn parts_are_copied_from_other_objects() {
    let world = World::with_bucket().await;
    let source = body(1, 2 * MIN + 3);
    world.put("source", &source).await;
    let mut upload = Upload::create(&world, "k").await;
    let copy = |number: &str, range: Option<&str>| {
        let ask = upload
            .part(number, b"")
            .header("x-amz-copy-source", "/bucket/source");
        match range {
            Some(range) => ask.header("x-amz-copy-source-range", range),
            None => ask,
        }
    };
    let last = source.len() - 1;
    let asks = [
        (1, copy("1", None)),
        (2, copy("2", Some(&format!("bytes=7-{}", MIN + 6)))),
        (3, copy("3", Some(&format!("bytes={last}-{last}")))),
    ];
    for range in [
        format!("bytes=0-{}", source.len()),
        "bytes=5-4".into(),
        "bytes=5-".into(),
        "0-1".into(),
    ] {
        let answer = world.send(copy("4", Some(&range))).await;
        assert!(answer.status.is_client_error(), "{range}: {answer:?}");
    }
    let condition = copy("4", None).header("x-amz-copy-source-if-match", "\"other\"");
    upload.refused(condition, 412, "PreconditionFailed").await;
    let missing = upload
        .part("4", b"")
        .header("x-amz-copy-source", "/bucket/missing");
    upload.refused(missing, 404, "NoSuchKey").await;
    for (number, ask) in asks {
        let answer = world.send(ask).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        upload
            .etags
            .push((number, answer.element("ETag").trim_matches('"').to_owned()));
    }
    assert_eq!(upload.complete().await.status, StatusCode::OK);
    holds(
        &world,
        "k",
        &[&source, &source[7..MIN + 7], &source[last..]],
    )
    .await;
    // Copied again, from an object in parts.
    let mut again = Upload::create(&world, "again").await;
    let range = format!("bytes={}-{}", 2 * MIN, 3 * MIN);
    let ask = again
        .part("1", b"")
        .header("x-amz-copy-source", "/bucket/k")
        .header("x-amz-copy-source-range", &range);
    let answer = world.send(ask).await;
    again
        .etags
        .push((1, answer.element("ETag").trim_matches('"').to_owned()));
    assert_eq!(again.complete().await.status, StatusCode::OK);
    let whole = [&source[..], &source[7..MIN + 7], &source[last..]].concat();
    holds(&world, "again", &[&whole[2 * MIN..=3 * MIN]]).await;
}

#[tokio::test]
async fn copied_parts_tell_the_checksum_that_the_upload_asks_for() {
    use sealgate::protocol::checksum::{Algorithm, Checksum};
    let world = World::with_bucket().await;
    let source = body(1, 300);
    world.put("source", &source).await;
    for algorithm in Algorithm::ALL.map(Some).into_iter().chain([None]) {
        let mut ask = Ask::object(Method::POST, BUCKET, "k");
        if let Some(algorithm) = algorithm {
            ask = ask.header("x-amz-checksum-algorithm", algorithm.name());
        }
        let upload = Upload::with(&world, ask, "k").await;
        let copy = upload
            .part("1", b"")
            .header("x-amz-copy-source", "/bucket/source")
            .header("x-amz-copy-source-range", "bytes=7-99");
        let answer = world.send(copy).await;
        for other in Algorithm::ALL {
            let expected: &[String] = match Some(other) == algorithm {
                true => &[Checksum::of(other, &source[7..100]).to_base64()],
                false => &[],
            };
            assert_eq!(answer.elements(other.element()), expected, "{answer:?}");
        }
    }
}

#[tokio::test]
async fn listings_tell_the_checksums_that_uploads_ask_for() {
    let world = World::with_bucket().await;
    let mut expected = Vec::new();
    for (key, algorithm, kind) in [
        ("a b+c/ä", "CRC32", "COMPOSITE"),
        ("b", "CRC32C", "FULL_OBJECT"),
        ("c", "CRC64NVME", "FULL_OBJECT"),
        ("d", "", ""),
        ("e", "SHA256", "COMPOSITE"),
    ] {
        let mut ask = Ask::object(Method::POST, BUCKET, key);
        if !algorithm.is_empty() {
            ask = ask
                .header("x-amz-checksum-algorithm", algorithm)
                .header("x-amz-checksum-type", kind);
        }
        let mut upload = Upload::with(&world, ask, key).await;
        if algorithm.is_empty() {
            upload.put(1, b"part").await;
        }
        let page = world.send(upload.ask(Method::GET)).await;
        let null = |text: &str| if text.is_empty() { "null" } else { text }.to_owned();
        assert_eq!(page.element("ChecksumAlgorithm"), null(algorithm));
        assert_eq!(page.element("ChecksumType"), null(kind));
        if !algorithm.is_empty() {
            expected.push((algorithm.to_owned(), kind.to_owned()));
        }
    }
    let lines = |answer: &Answer| {
        let algorithms = answer.elements("ChecksumAlgorithm").into_iter();
        algorithms
            .zip(answer.elements("ChecksumType"))
            .collect::<Vec<_>>()
    };
    let other = world.again().await;
    for (address, requests) in [(world.address, 1), (other, 6)] {
        for query in ["uploads=", "encoding-type=url&uploads="] {
            world.spy.take();
            let ask = Ask::bucket(Method::GET, BUCKET).query(query);
            let answer = world.send_to(address, ask).await;
            assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
            assert_eq!(answer.elements("UploadId").len(), 5);
            assert_eq!(lines(&answer), expected, "{}", answer.text());
            assert_eq!(world.spy.take().len(), requests);
        }
    }
    // A state that is not there, may not be read or was changed hides nothing but this.
    for (status, code) in [(404, "NoSuchKey"), (403, "AccessDenied"), (200, "")] {
        world.spy.lie(move |seen, mut reply| {
            if seen.target.contains("/state") {
                match status {
                    200 => reply.body[600] ^= 1,
                    _ => {
                        reply.status = StatusCode::from_u16(status).unwrap();
                        reply.body = format!("<Error><Code>{code}</Code></Error>").into_bytes();
                        reply.fix_length();
                    }
                }
            }
            reply.encode()
        });
        let ask = Ask::bucket(Method::GET, BUCKET).query("uploads=");
        let answer = world.send_to(other, ask).await;
        assert_eq!(answer.elements("UploadId").len(), 5, "{answer:?}");
        assert_eq!(lines(&answer), [], "{}", answer.text());
    }
    world.spy.lie(|seen, mut reply| {
        if seen.target.contains("/state") {
            reply.status = StatusCode::INTERNAL_SERVER_ERROR;
        }
        reply.encode()
    });
    let ask = Ask::bucket(Method::GET, BUCKET).query("uploads=");
    assert!(world.send_to(other, ask).await.status.is_server_error());
}

#[tokio::test]
async fn the_reserved_prefix_is_the_gateways_own() {
    let world = World::with_bucket().await;
    let mut upload = Upload::create(&world, "k").await;
    upload.put(1, b"held").await;
    let temporary = keys(&world, BUCKET).await;
    assert_eq!(temporary.len(), 2, "{temporary:?}");
    for key in temporary
        .iter()
        .map(String::as_str)
        .chain(["~sealgate/new"])
    {
        for ask in [
            Ask::get(BUCKET, key),
            Ask::put(BUCKET, key, b"x"),
            Ask::delete(BUCKET, key),
            Ask::copy(BUCKET, key, "copy"),
            Ask::object(Method::POST, BUCKET, key).query("uploads="),
        ] {
            upload.refused(ask, 403, "AccessDenied").await;
        }
    }
    let many = format!(
        "<Delete><Object><Key>{}</Key></Object></Delete>",
        temporary[0]
    );
    let ask = Ask::bucket(Method::POST, BUCKET)
        .query("delete=")
        .header("content-md5", &common::md5_base64(many.as_bytes()))
        .body(many.as_bytes());
    assert_eq!(world.send(ask).await.code(), "AccessDenied");
    assert_eq!(keys(&world, BUCKET).await, temporary);
    // What a client sees as empty can be deleted.
    let answer = world.send(Ask::bucket(Method::DELETE, BUCKET)).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT, "{answer:?}");
}

#[tokio::test]
async fn temporary_objects_may_stand_in_another_bucket() {
    let world = World::with("[]", r#"{"bucket": {"multipart_bucket": "waiting"}}"#).await;
    world.create(BUCKET).await;
    world.create("waiting").await;
    let mut upload = Upload::create(&world, "k").await;
    upload.put(1, b"bytes").await;
    assert!(keys(&world, BUCKET).await.is_empty());
    assert_eq!(keys(&world, "waiting").await.len(), 2);
    assert_eq!(upload.complete().await.status, StatusCode::OK);
    assert!(keys(&world, "waiting").await.is_empty());
    holds(&world, "k", &[b"bytes"]).await;
}

#[tokio::test]
async fn gc_removes_what_is_over_and_nothing_else() {
    let world = World::with_bucket().await;
    let mut going_on = Upload::create(&world, "going on").await;
    going_on.put(1, b"held").await;
    // The gateway dies between the completion and the cleaning.
    let mut done = Upload::create(&world, "done").await;
    done.put(1, b"bytes").await;
    fail(&world.spy, |method, _| method == "DELETE");
    assert_eq!(done.complete().await.status, StatusCode::OK);
    world.spy.be_honest();
    assert_eq!(keys(&world, BUCKET).await.len(), 4);

    let gateway = world.gateway();
    let collect = async |options| {
        let mut found = Vec::new();
        let summary = gc::collect(gateway.service(), BUCKET, options, |finding| {
            let key = finding.object.clone().unwrap_or_default().1;
            found.push((key, finding.verdict.clone()));
        })
        .await
        .unwrap();
        found.sort_by(|a, b| a.0.cmp(&b.0));
        (summary, found)
    };
    let expected = [
        ("done".to_owned(), Verdict::Over),
        ("going on".to_owned(), Verdict::InProgress),
    ];
    let dry = Options {
        dry_run: true,
        ..Options::default()
    };
    assert_eq!(collect(dry).await.1, expected);
    assert_eq!(keys(&world, BUCKET).await.len(), 4);
    let (summary, found) = collect(Options::default()).await;
    assert_eq!(found, expected);
    assert_eq!(
        (summary.in_progress, summary.removed, summary.left),
        (1, 1, 0)
    );
    assert_eq!(keys(&world, BUCKET).await.len(), 3);
    assert_eq!(world.get("done").await.body, b"bytes");
    let young = Options {
        older_than: Some(3600),
        dry_run: false,
    };
    assert_eq!(collect(young).await.0.in_progress, 1);
    // A part of it can still be uploaded, and it can be completed.
    going_on.put(1, b"held again").await;
    assert_eq!(going_on.complete().await.status, StatusCode::OK);
    assert_eq!(world.get("going on").await.body, b"held again");

    let abandoned = Upload::create(&world, "abandoned").await;
    tokio::time::sleep(std::time::Duration::from_millis(2100)).await;
    let old = Options {
        older_than: Some(1),
        dry_run: false,
    };
    let (summary, found) = collect(old).await;
    assert_eq!(found, [("abandoned".to_owned(), Verdict::Abandoned)]);
    assert_eq!((summary.aborted, summary.removed), (1, 1));
    abandoned
        .refused(abandoned.part("1", b"x"), 404, "NoSuchUpload")
        .await;
    assert_eq!(keys(&world, BUCKET).await, ["done", "going on"]);
}

#[tokio::test]
async fn a_store_that_lists_null_versions_and_knows_none_is_cleaned_too() {
    let world = World::with_bucket().await;
    let mut upload = Upload::create(&world, "k").await;
    upload.put(1, b"bytes").await;
    world.spy.lie(|seen, mut reply| {
        if seen.method == "GET" && seen.target.contains("versions") {
            let document = String::from_utf8(reply.body).unwrap();
            let (from, to) = ("</Key>", "</Key><VersionId>null</VersionId>");
            reply.body = document
                .replace("<VersionId>null</VersionId>", "")
                .replace(from, to)
                .into_bytes();
            reply.fix_length();
        }
        if seen.method == "DELETE" && seen.target.contains("versionId") {
            reply.status = StatusCode::BAD_REQUEST;
            reply.body = b"<Error><Code>InvalidArgument</Code></Error>".to_vec();
            reply.fix_length();
        }
        reply.encode()
    });
    world.spy.take();
    assert_eq!(upload.complete().await.status, StatusCode::OK);
    let asked = world.spy.take();
    let removals = |versions: bool| {
        let all = asked.iter().filter(|seen| seen.method == "DELETE");
        all.filter(|seen| seen.target.contains("?versionId=null") == versions)
            .map(|seen| seen.target.replace("?versionId=null", ""))
            .collect::<Vec<_>>()
    };
    assert_eq!(removals(true).len(), 2, "{asked:?}");
    assert_eq!(removals(false), removals(true));
    assert_eq!(keys(&world, BUCKET).await, ["k"]);
}

#[tokio::test]
async fn gc_removes_what_a_killed_job_left() {
    let world = World::with_bucket().await;
    let probe = Stored {
        headers: HeaderMap::new(),
        body: b"one".to_vec(),
    };
    let key = "~sealgate/probe/0123456789abcdef";
    world.plant(BUCKET, key, &probe).await;
    let gateway = world.gateway();
    let collect = async |older_than| {
        let mut found = Vec::new();
        let options = Options {
            older_than,
            dry_run: false,
        };
        gc::collect(gateway.service(), BUCKET, options, |finding| {
            assert!(finding.to_string().contains(key), "{finding}");
            found.push(finding.verdict.clone());
        })
        .await
        .unwrap();
        found
    };
    // It also asks with an upload.
    let begun = Request::object(Method::POST, BUCKET, key).query("uploads", "");
    let answer = world.store.send("Test", begun).await.unwrap();
    world.store.document(answer).await.unwrap();
    let uploads = async || {
        let request = Request::bucket(Method::GET, BUCKET).query("uploads", "");
        let answer = world.store.send("Test", request).await.unwrap();
        let document = world.store.document(answer).await.unwrap();
        String::from_utf8_lossy(&document)
            .matches("<UploadId>")
            .count()
    };
    // The job may be at work.
    assert_eq!(collect(None).await, []);
    assert_eq!(keys(&world, BUCKET).await, [key]);
    assert_eq!(uploads().await, 1);
    tokio::time::sleep(std::time::Duration::from_millis(2100)).await;
    assert_eq!(collect(Some(1)).await, [Verdict::Probe, Verdict::Probe]);
    assert!(keys(&world, BUCKET).await.is_empty());
    assert_eq!(uploads().await, 0);
    // Nor does one keep a bucket that is empty to whoever deletes it.
    world.plant(BUCKET, key, &probe).await;
    let answer = world
        .send(Ask::new(Method::DELETE, format!("/{BUCKET}")))
        .await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT, "{answer:?}");
}

#[tokio::test]
async fn a_state_that_was_changed_or_moved_is_refused() {
    let world = World::with_bucket().await;
    let upload = Upload::create(&world, "k").await;
    let other = Upload::create(&world, "other").await;
    let states = keys(&world, BUCKET).await;
    let [first, second] = [&states[0], &states[1]];
    let one = world.stored(BUCKET, first).await.unwrap();
    let two = world.stored(BUCKET, second).await.unwrap();
    // Each at the other's place: bound to its own.
    world.plant(BUCKET, first, &two).await;
    world.plant(BUCKET, second, &one).await;
    for upload in [&upload, &other] {
        // Not from the cache of the gateway that made them.
        let gateway = world.again().await;
        let answer = world.send_to(gateway, upload.part("1", b"x")).await;
        assert_eq!(answer.code(), "ObjectIntegrityFailure", "{answer:?}");
    }
    // Plaintext is no state, whatever it says.
    let mut forged = one.clone();
    forged.headers.clear();
    forged.body = br#"{"version":1}"#.to_vec();
    world.plant(BUCKET, first, &forged).await;
    world.plant(BUCKET, second, &forged).await;
    let gateway = world.again().await;
    for upload in [&upload, &other] {
        let answer = world.send_to(gateway, upload.part("1", b"x")).await;
        assert_eq!(
            answer.status,
            StatusCode::UNPROCESSABLE_ENTITY,
            "{answer:?}"
        );
    }
}

#[tokio::test]
async fn a_held_part_that_the_store_swapped_is_not_completed() {
    let world = World::with_bucket().await;
    let mut upload = Upload::create(&world, "k").await;
    upload.put(1, &body(1, 500)).await;
    let key = keys(&world, BUCKET)
        .await
        .into_iter()
        .find(|key| key.contains("part-"))
        .unwrap();
    let earlier = world.stored(BUCKET, &key).await.unwrap();
    upload.put(1, &body(2, 500)).await;
    world.plant(BUCKET, &key, &earlier).await;
    // The store has another ETag for it, and even one that lies about that does not get the bytes in.
    upload
        .refused(upload.completion(&upload.etags), 400, "InvalidPart")
        .await;
    let receipt_of_new = upload.etags[0].1.clone();
    let (before, after) = (md5_hex(&earlier.body), receipt_of_new);
    assert!(!after.is_empty() && !before.is_empty());
    assert_eq!(world.get("k").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_completion_asks_the_store_for_little() {
    let world = World::with_bucket().await;
    let mut upload = Upload::create(&world, "k").await;
    world.spy.take();
    upload.put(1, &body(1, MIN)).await;
    assert_eq!(world.spy.take().len(), 1, "a long part is one request");
    upload.put(2, b"short").await;
    assert_eq!(
        world.spy.take().len(),
        2,
        "a short part is the state and a PUT"
    );
    assert_eq!(upload.complete().await.status, StatusCode::OK);
    let seen: Vec<String> = world
        .spy
        .take()
        .iter()
        .map(|seen| seen.method.clone())
        .collect();
    // ListParts, the held part's HEAD and GET, the last part, the completion; then the listing of what is left and two
    // deletions.
    assert!(seen.len() <= 8, "{seen:?}");
}
