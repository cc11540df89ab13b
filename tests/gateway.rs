//! What a client sees of the gateway over real sockets, held against what S3 says: bytes, sizes, ETags,
//! checksums, conditions, policy and errors. And what the store sees of the client: nothing.
#![cfg(feature = "embedded")]
#![forbid(unsafe_code)]

mod common;

use common::{
    ALICE, Answer, Ask, BOB, Connection, DOMAIN, Form, MALLORY, MARKER, Stored, World, contains,
    content, md5_base64, md5_hex, query_of,
};
use http::{Method, StatusCode};
use sealgate::digest::{Backend, Fips180};
use sealgate::protocol::checksum::{Algorithm, Checksum};
use sealgate::protocol::uri::encode_path;

/// Plaintext bytes of segment 0, and of the first two.
const ONE: usize = 65_480;
const TWO: usize = 131_000;

const ALGORITHMS: [Algorithm; 5] = [
    Algorithm::Crc32,
    Algorithm::Crc32c,
    Algorithm::Crc64Nvme,
    Algorithm::Sha1,
    Algorithm::Sha256,
];

/// An error document of that code, with everything a client may see of one.
fn is_error(answer: &Answer, status: u16, code: &str) {
    assert_eq!(answer.status.as_u16(), status, "{answer:?}");
    assert_eq!(answer.code(), code, "{answer:?}");
    assert!(answer.complete);
    assert_eq!(answer.header("content-type"), "application/xml");
    assert_eq!(answer.request_id().len(), 16, "{answer:?}");
    assert_eq!(answer.element("RequestId"), answer.request_id());
    assert!(!answer.element("Message").is_empty());
    assert!(!answer.text().contains("127.0.0.1"), "{answer:?}");
}

// Bytes, sizes, ETags.

#[tokio::test]
async fn every_size_around_a_boundary_round_trips() {
    let world = World::with_bucket().await;
    let sizes = [
        0,
        1,
        ONE - 1,
        ONE,
        ONE + 1,
        TWO - 1,
        TWO,
        TWO + 1,
        1 << 20,
        5 << 20,
    ];
    for size in sizes {
        let plain = content(size);
        let key = format!("{size:08}");
        let put = world.put(&key, &plain).await;
        assert_eq!(put.etag(), md5_hex(&plain), "{size}");
        let get = world.get(&key).await;
        assert_eq!(get.status, StatusCode::OK, "{size}");
        assert!(get.complete && get.body == plain, "{size}");
        assert_eq!(get.etag(), put.etag());
        let head = world.send(Ask::head("bucket", &key)).await;
        assert_eq!(head.header("content-length"), size.to_string());
        assert_eq!(head.etag(), put.etag());
        assert_eq!(head.header("accept-ranges"), "bytes");
        assert_eq!(head.header("last-modified"), get.header("last-modified"));
        let stored = world.stored("bucket", &key).await.unwrap();
        let segments = (size + 40).div_ceil(65_520).max(1);
        assert_eq!(
            stored.body.len(),
            512 + size + 40 + 16 * segments + 256,
            "{size}"
        );
    }
    for query in ["", "list-type=2", "versions"] {
        let list = world
            .send(Ask::bucket(Method::GET, "bucket").query(query))
            .await;
        assert_eq!(
            list.elements("Size"),
            sizes.map(|size| size.to_string()),
            "{query}"
        );
        let etags = sizes.map(|size| format!("\"{}\"", md5_hex(&content(size))));
        assert_eq!(list.elements("ETag"), etags, "{query}");
    }
}

#[tokio::test]
async fn listings_of_a_gateway_that_has_just_started_say_the_same() {
    let world = World::with_bucket().await;
    for size in [0, 40, TWO + 1] {
        world.put(&format!("{size:08}"), &content(size)).await;
    }
    let list = |query: &str| Ask::bucket(Method::GET, "bucket").query(query);
    let warm = world.send(list("list-type=2")).await;
    // Another gateway in front of the same store knows nothing of these objects.
    let cold = world.again().await;
    let answer = world.send_to(cold, list("list-type=2")).await;
    assert_eq!(answer.text(), warm.text());
    let answer = world.send_to(cold, list("versions")).await;
    assert_eq!(answer.elements("Size"), warm.elements("Size"));
    assert_eq!(answer.elements("ETag"), warm.elements("ETag"));
}

#[tokio::test]
async fn every_form_of_range_is_a_slice() {
    let world = World::with_bucket().await;
    let plain = content(TWO + 9000);
    let n = plain.len();
    world.put("key", &plain).await;
    world.put("empty", b"").await;
    let ask = |range: &str| Ask::get("bucket", "key").header("range", range);
    for (range, from, to) in [
        ("bytes=0-0", 0, 1),
        ("bytes=0-9", 0, 10),
        ("bytes=65470-65479", ONE - 10, ONE),
        ("bytes=65479-65480", ONE - 1, ONE + 1),
        ("bytes=65480-65480", ONE, ONE + 1),
        ("bytes=65480-130999", ONE, TWO),
        ("bytes=131000-", TWO, n),
        ("bytes=100-139000", 100, 139_001),
        ("bytes=0-", 0, n),
        ("bytes=0-99999999999999999999999", 0, n),
        ("bytes=139999-", n - 1, n),
        ("bytes=139999-200000", n - 1, n),
        ("bytes=-1", n - 1, n),
        ("bytes=-9001", n - 9001, n),
        ("bytes=-999999", 0, n),
        ("BYTES=5-6", 5, 7),
    ] {
        let answer = world.send(ask(range)).await;
        assert_eq!(answer.status, StatusCode::PARTIAL_CONTENT, "{range}");
        assert!(answer.complete && answer.body == plain[from..to], "{range}");
        let want = format!("bytes {from}-{}/{n}", to - 1);
        assert_eq!(answer.header("content-range"), want, "{range}");
        assert_eq!(answer.etag(), md5_hex(&plain), "{range}");
        let head = Ask::head("bucket", "key").header("range", range);
        let head = world.send(head).await;
        assert_eq!(head.status, StatusCode::PARTIAL_CONTENT, "{range}");
        assert_eq!(head.header("content-range"), want, "{range}");
        assert_eq!(
            head.header("content-length"),
            (to - from).to_string(),
            "{range}"
        );
    }
    for range in [
        "bytes=0-1,4-5",
        "bytes=9-3",
        "bytes=a-b",
        "bytes=-",
        "lines=0-1",
        "bytes",
        "",
    ] {
        let answer = world.send(ask(range)).await;
        assert_eq!(answer.status, StatusCode::OK, "{range:?}");
        assert!(answer.body == plain, "{range:?}");
        assert_eq!(answer.header("content-range"), "", "{range:?}");
    }
    for (key, range, total) in [
        ("key", "bytes=140000-", n),
        ("key", "bytes=140000-140009", n),
        ("key", "bytes=-0", n),
        ("empty", "bytes=0-0", 0),
        ("empty", "bytes=0-", 0),
        ("empty", "bytes=-0", 0),
    ] {
        let answer = world
            .send(Ask::get("bucket", key).header("range", range))
            .await;
        is_error(&answer, 416, "InvalidRange");
        assert_eq!(
            answer.header("content-range"),
            format!("bytes */{total}"),
            "{range}"
        );
    }
    // The last bytes of nothing are all that there is.
    for method in [Method::GET, Method::HEAD] {
        let ask = Ask::object(method, "bucket", "empty").header("range", "bytes=-5");
        let answer = world.send(ask).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        assert_eq!(answer.header("content-length"), "0");
        assert_eq!(answer.header("content-range"), "");
        assert_eq!(answer.etag(), md5_hex(b""));
    }
}

#[tokio::test]
async fn copies_keep_bytes_and_etag_and_take_new_metadata_where_asked() {
    let world = World::with_bucket().await;
    world.create("other").await;
    for size in [0, 40, TWO + 1] {
        let plain = content(size);
        let put = Ask::put("bucket", "from", &plain)
            .header("content-type", "text/x-one")
            .header("x-amz-meta-a", "1");
        let etag = world.send(put).await.etag().to_owned();
        world.spy.take();
        let copy = world.send(Ask::copy("bucket", "from", "to")).await;
        assert_eq!(copy.status, StatusCode::OK, "{copy:?}");
        assert_eq!(copy.element("ETag"), format!("\"{etag}\""));
        // The bytes have not moved.
        let seen = world.spy.take();
        assert!(
            seen.iter().all(|s| s.header("content-length").len() < 3),
            "{seen:?}"
        );
        assert!(
            seen.iter()
                .any(|s| s.header("x-amz-copy-source") == "/bucket/from")
        );
        let get = world.get("to").await;
        assert!(get.body == plain && get.etag() == etag, "{size}");
        assert_eq!(get.header("content-type"), "text/x-one");
        assert_eq!(get.header("x-amz-meta-a"), "1");

        let replace = Ask::object(Method::PUT, "other", "to")
            .header("x-amz-copy-source", "bucket/from")
            .header("x-amz-metadata-directive", "REPLACE")
            .header("x-amz-meta-b", "2");
        let copy = world.send(replace).await;
        assert_eq!(copy.element("ETag"), format!("\"{etag}\""));
        let get = world.send(Ask::get("other", "to")).await;
        assert!(get.body == plain && get.etag() == etag, "{size}");
        assert_eq!(get.header("x-amz-meta-a"), "");
        assert_eq!(get.header("x-amz-meta-b"), "2");
        assert_eq!(get.header("content-type"), "binary/octet-stream");

        // In place, which is how metadata is changed.
        let in_place = Ask::copy("bucket", "from", "from")
            .header("x-amz-metadata-directive", "REPLACE")
            .header("x-amz-meta-c", "3");
        assert_eq!(world.send(in_place).await.status, StatusCode::OK);
        let get = world.get("from").await;
        assert!(
            get.body == plain && get.header("x-amz-meta-c") == "3",
            "{size}"
        );
    }
    let itself = world.send(Ask::copy("bucket", "from", "from")).await;
    is_error(&itself, 400, "InvalidRequest");
    let missing = world.send(Ask::copy("bucket", "nothing", "to")).await;
    is_error(&missing, 404, "NoSuchKey");
}

#[tokio::test]
async fn opaque_etags_carry_a_dash_and_are_the_same_everywhere() {
    let world = World::with("[]", r#"{"bucket": {"etag": "opaque"}}"#).await;
    world.create("bucket").await;
    for size in [0, 40, TWO + 1] {
        let plain = content(size);
        let etag = world.put("key", &plain).await.etag().to_owned();
        assert!(etag.contains('-') && etag != md5_hex(&plain), "{etag}");
        let get = world.get("key").await;
        assert!(get.body == plain);
        assert_eq!(get.etag(), etag);
        let range = Ask::get("bucket", "key").header("range", "bytes=-1");
        let range = world.send(range).await;
        if size > 0 {
            assert_eq!(range.etag(), etag);
        }
        assert_eq!(world.send(Ask::head("bucket", "key")).await.etag(), etag);
        for query in ["", "list-type=2", "versions"] {
            let list = world
                .send(Ask::bucket(Method::GET, "bucket").query(query))
                .await;
            assert_eq!(list.element("ETag"), format!("\"{etag}\""), "{query}");
            assert_eq!(list.element("Size"), size.to_string(), "{query}");
        }
        let copy = world.send(Ask::copy("bucket", "key", "copy")).await;
        let copied = world.send(Ask::head("bucket", "copy")).await;
        assert_eq!(copy.element("ETag"), copied.header("etag"));
        assert!(copied.etag().contains('-'));
        assert_eq!(
            world.send(Ask::delete("bucket", "copy")).await.status,
            StatusCode::NO_CONTENT
        );
    }
}

#[tokio::test]
async fn the_store_is_asked_no_more_often_than_promised() {
    let world = World::with_bucket().await;
    for (size, get_budget) in [(0, 1), (40, 1), (ONE, 1), (ONE + 1, 2), (1 << 20, 2)] {
        let plain = content(size);
        world.spy.take();
        world.put("key", &plain).await;
        assert_eq!(world.spy.take().len(), 1, "PUT of {size}");
        world.get("key").await;
        assert_eq!(world.spy.take().len(), get_budget, "GET of {size}");
        world.send(Ask::head("bucket", "key")).await;
        assert_eq!(world.spy.take().len(), 1, "HEAD of {size}");
        world
            .send(Ask::get("bucket", "key").header("range", "bytes=-9"))
            .await;
        assert!(world.spy.take().len() <= 2, "range of {size}");
        world.send(Ask::bucket(Method::GET, "bucket")).await;
        assert_eq!(world.spy.take().len(), 1, "list with {size}");
    }
}

// Bodies in all their forms.

/// Every streaming form, and whether it carries a trailer.
fn streaming(size: usize, plain: &[u8], algorithm: Algorithm) -> Vec<Form> {
    let value = Checksum::of(algorithm, plain).to_base64();
    let trailer = Some((algorithm.header(), value));
    vec![
        Form::Chunked {
            signed: true,
            size,
            trailer: None,
        },
        Form::Chunked {
            signed: true,
            size,
            trailer: trailer.clone(),
        },
        Form::Chunked {
            signed: false,
            size,
            trailer,
        },
    ]
}

#[tokio::test]
async fn every_payload_form_round_trips() {
    let world = World::with_bucket().await;
    for size in [0, 1, 40, ONE + 1, TWO + 5000] {
        let plain = content(size);
        let mut forms = vec![
            Form::Signed,
            Form::Literal("UNSIGNED-PAYLOAD".into()),
            Form::Presigned(60),
        ];
        for algorithm in ALGORITHMS {
            forms.extend(streaming(8192, &plain, algorithm));
        }
        forms.extend(streaming(65_536, &plain, Algorithm::Crc32));
        forms.extend(streaming(10_000_000, &plain, Algorithm::Crc32));
        for form in forms {
            let put = Ask::put("bucket", "key", &plain).form(form.clone());
            let put = world.send(put).await;
            assert_eq!(put.status, StatusCode::OK, "{size} {form:?}: {put:?}");
            assert_eq!(put.etag(), md5_hex(&plain), "{size} {form:?}");
            let get = Ask::get("bucket", "key").header("x-amz-checksum-mode", "ENABLED");
            let get = world.send(get).await;
            assert!(get.complete && get.body == plain, "{size} {form:?}");
            if let Form::Chunked {
                trailer: Some((name, value)),
                ..
            } = &form
            {
                assert_eq!(put.header(name), value, "{form:?}");
                assert_eq!(get.header(name), value, "{form:?}");
                assert_eq!(get.header("x-amz-checksum-type"), "FULL_OBJECT");
            }
            assert_eq!(get.header("content-encoding"), "", "{form:?}");
        }
    }
}

#[tokio::test]
async fn checksums_given_as_headers_are_kept_and_returned_where_asked_for() {
    let world = World::with_bucket().await;
    for size in [40, TWO + 1] {
        let plain = content(size);
        for algorithm in ALGORITHMS {
            let value = Checksum::of(algorithm, &plain).to_base64();
            let put = Ask::put("bucket", "key", &plain)
                .header("content-md5", &md5_base64(&plain))
                .header(algorithm.header(), &value);
            let put = world.send(put).await;
            assert_eq!(put.status, StatusCode::OK, "{put:?}");
            assert_eq!(put.header(algorithm.header()), value);
            for method in [Method::GET, Method::HEAD] {
                let ask = Ask::object(method, "bucket", "key");
                let plainly = world.send(ask.clone()).await;
                assert_eq!(plainly.header(algorithm.header()), "");
                let asked = world
                    .send(ask.header("x-amz-checksum-mode", "ENABLED"))
                    .await;
                assert_eq!(asked.header(algorithm.header()), value);
            }
            let attributes = Ask::get("bucket", "key")
                .query("attributes=")
                .header("x-amz-object-attributes", "ETag,Checksum,ObjectSize");
            let attributes = world.send(attributes).await;
            assert_eq!(attributes.element(algorithm.element()), value);
            assert_eq!(attributes.element("ETag"), md5_hex(&plain));
            assert_eq!(attributes.element("ObjectSize"), size.to_string());
        }
    }
}

/// Asks that declare something of their body which does not hold, with the code that says so.
fn false_promises(plain: &[u8]) -> Vec<(&'static str, &'static str, Ask)> {
    let put = |key: &str| Ask::put("bucket", key, plain);
    let other = b"something else";
    let mut asks = vec![
        (
            "Content-MD5",
            "BadDigest",
            put("key").header("content-md5", &md5_base64(other)),
        ),
        (
            "Content-MD5, unsigned payload",
            "BadDigest",
            put("key")
                .form(Form::Literal("UNSIGNED-PAYLOAD".into()))
                .header("content-md5", &md5_base64(other)),
        ),
        (
            "x-amz-content-sha256",
            "XAmzContentSHA256Mismatch",
            put("key").form(Form::Literal("0123456789abcdef".repeat(4))),
        ),
    ];
    for algorithm in ALGORITHMS {
        let wrong = Checksum::of(algorithm, other).to_base64();
        asks.push((
            algorithm.name(),
            "BadDigest",
            put("key").header(algorithm.header(), &wrong),
        ));
        for signed in [true, false] {
            let trailer = Some((algorithm.header(), wrong.clone()));
            let form = Form::Chunked {
                signed,
                size: 8192,
                trailer,
            };
            asks.push(("a trailer", "BadDigest", put("key").form(form)));
        }
    }
    asks
}

#[tokio::test]
async fn a_body_that_is_not_what_was_promised_stores_nothing() {
    for size in [40, ONE, TWO + 5000] {
        let plain = content(size);
        let world = World::with_bucket().await;
        world.put("old", b"before").await;
        for (what, code, ask) in false_promises(&plain) {
            for key in ["old", "new"] {
                let mut ask = ask.clone();
                ask.path = encode_path("bucket", key);
                let answer = world.send(ask).await;
                assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{what}: {answer:?}");
                is_error(&answer, 400, code);
            }
            assert!(world.stored("bucket", "new").await.is_none(), "{what}");
            assert_eq!(world.get("old").await.body, b"before", "{what}");
        }
    }
}

/// The bytes of a request with `change` made to its body; the head says what it said.
async fn send_changed(world: &World, ask: &Ask, change: impl Fn(&mut Vec<u8>)) -> Answer {
    let (head, mut body) = ask.encode(world.address);
    change(&mut body);
    let mut connection = Connection::open(world.address).await;
    connection.write(&head).await;
    connection.write(&body).await;
    connection.answer(&ask.method).await
}

#[tokio::test]
async fn signed_chunks_that_come_together_are_hashed_together() {
    let world = World::with_bucket().await;
    let plain = content(4 * 1024 * 1024);
    let form = Form::Chunked {
        signed: true,
        size: 16 * 1024,
        trailer: None,
    };
    let put = world.send(Ask::put("bucket", "key", &plain).form(form));
    assert_eq!(put.await.status, StatusCode::OK);
    assert!(world.get("key").await.body == plain);
    let hashed = |lanes| world.metric("sealgate_sha256_bytes_total", lanes);
    let (all, alone) = (hashed(None), hashed(Some(("lanes", "1"))));
    assert_eq!(all, plain.len() as u64);
    if Backend::detect().lanes::<Fips180>() > 1 {
        assert!(alone < all, "{alone} of {all}");
    }
}

#[tokio::test]
async fn a_chunk_changed_on_the_way_stores_nothing() {
    for size in [40, TWO + 5000] {
        let plain = content(size);
        let world = World::with_bucket().await;
        world.put("old", b"before").await;
        for form in &streaming(8192, &plain, Algorithm::Crc32) {
            let Form::Chunked {
                signed, trailer, ..
            } = form
            else {
                unreachable!()
            };
            for key in ["old", "new"] {
                let ask = Ask::put("bucket", key, &plain).form(form.clone());
                // A byte of the data, in the first chunk and in the last.
                let marker = |body: &[u8]| body.windows(16).position(|w| w == MARKER).unwrap();
                let first = send_changed(&world, &ask, |body| {
                    let at = marker(body);
                    body[at] ^= 1;
                })
                .await;
                let code = match (signed, trailer) {
                    (true, _) => (403, "SignatureDoesNotMatch"),
                    (false, _) => (400, "BadDigest"),
                };
                is_error(&first, code.0, code.1);
                if *signed {
                    // A digit of the last signature: of the empty chunk, or of the trailer.
                    let last = send_changed(&world, &ask, |body| {
                        let at = body.iter().rposition(u8::is_ascii_hexdigit).unwrap();
                        body[at] = if body[at] == b'0' { b'1' } else { b'0' };
                    })
                    .await;
                    is_error(&last, 403, "SignatureDoesNotMatch");
                }
            }
            assert!(world.stored("bucket", "new").await.is_none(), "{form:?}");
            assert_eq!(world.get("old").await.body, b"before", "{form:?}");
        }
    }
}

#[tokio::test]
async fn a_body_that_ends_early_stores_nothing() {
    for size in [40, TWO + 5000] {
        let plain = content(size);
        let world = World::with_bucket().await;
        world.put("old", b"before").await;
        let mut forms = streaming(8192, &plain, Algorithm::Sha256);
        forms.extend([Form::Signed, Form::Literal("UNSIGNED-PAYLOAD".into())]);
        for form in &forms {
            for missing in [1, size / 2, size] {
                for key in ["old", "new"] {
                    let ask = Ask::put("bucket", key, &plain).form(form.clone());
                    let (head, body) = ask.encode(world.address);
                    let mut connection = Connection::open(world.address).await;
                    connection.write(&head).await;
                    connection.write(&body[..body.len() - missing]).await;
                    connection.finish_writing().await;
                    // Nobody may be left to read an answer; it must be no success.
                    let answer = connection.rest().await;
                    assert!(!answer.starts_with(b"HTTP/1.1 2"), "{form:?} {missing}");
                }
                assert!(
                    world.stored("bucket", "new").await.is_none(),
                    "{form:?} {missing}"
                );
                assert_eq!(world.get("old").await.body, b"before", "{form:?} {missing}");
            }
        }
    }
}

#[tokio::test]
async fn a_client_that_goes_away_midway_stores_nothing() {
    let plain = content(1 << 20);
    let world = World::with_bucket().await;
    world.put("old", b"before").await;
    world.spy.take();
    for key in ["old", "new"] {
        let ask = Ask::put("bucket", key, &plain).form(Form::Literal("UNSIGNED-PAYLOAD".into()));
        let (head, body) = ask.encode(world.address);
        let mut connection = Connection::open(world.address).await;
        connection.write(&head).await;
        connection.write(&body[..body.len() - 1]).await;
        drop(connection);
        // The store has heard of it, and will be left alone with what it got.
        let seen = world.spy.upload_ended(&encode_path("bucket", key)).await;
        assert!(!seen.complete);
        let stored = world.stored("bucket", key).await;
        assert_eq!(stored.is_some(), key == "old");
    }
    assert_eq!(world.get("old").await.body, b"before");
}

#[tokio::test]
async fn a_chunked_body_of_another_length_than_declared_stores_nothing() {
    let world = World::with_bucket().await;
    for size in [40, TWO + 5000] {
        let plain = content(size);
        for form in &streaming(8192, &plain, Algorithm::Crc32) {
            let ask = Ask::put("bucket", "new", &plain).form(form.clone());
            // More after the end of the framing than HTTP announced goes nowhere.
            let longer = send_changed(&world, &ask, |body| body.extend(b"extra")).await;
            assert_eq!(longer.status, StatusCode::OK, "{longer:?}");
            assert!(world.get("new").await.body == plain);
            world.send(Ask::delete("bucket", "new")).await;
            // A size line that swallows the next one.
            let garbled = send_changed(&world, &ask, |body| body[0] = b'z').await;
            assert!(garbled.status.is_client_error(), "{garbled:?}");
            assert!(world.stored("bucket", "new").await.is_none());
        }
    }
    let mut ask = Ask::put("bucket", "new", b"x")
        .form(Form::Literal("STREAMING-UNSIGNED-PAYLOAD-TRAILER".into()));
    let answer = world.send(ask.clone()).await;
    is_error(&answer, 411, "MissingContentLength");
    ask = ask.header("x-amz-decoded-content-length", "-1");
    assert!(world.send(ask).await.status.is_client_error());
    assert!(world.stored("bucket", "new").await.is_none());
}

// Conditions.

#[tokio::test]
async fn conditions_of_reads_compare_plaintext_etags() {
    let world = World::with_bucket().await;
    for size in [40, TWO + 1] {
        let plain = content(size);
        world.put("key", &plain).await;
        let etag = format!("\"{}\"", md5_hex(&plain));
        let modified = world.get("key").await.header("last-modified").to_owned();
        let past = "Thu, 01 Jan 2015 00:00:00 GMT";
        let future = "Tue, 01 Jan 2080 00:00:00 GMT";
        for (conditions, status) in [
            (&[("if-match", etag.as_str())][..], 200),
            (&[("if-match", "*")], 200),
            (&[("if-match", "\"0\", \"1\"")], 412),
            (&[("if-none-match", &etag)], 304),
            (&[("if-none-match", "*")], 304),
            (&[("if-none-match", "\"0\"")], 200),
            (&[("if-modified-since", past)], 200),
            (&[("if-modified-since", &modified)], 304),
            (&[("if-modified-since", future)], 304),
            (&[("if-unmodified-since", past)], 412),
            (&[("if-unmodified-since", &modified)], 200),
            (&[("if-match", &etag), ("if-unmodified-since", past)], 200),
            (
                &[("if-none-match", "\"0\""), ("if-modified-since", future)],
                200,
            ),
        ] {
            for ranged in [false, true] {
                for method in [Method::GET, Method::HEAD] {
                    let mut ask = Ask::object(method.clone(), "bucket", "key");
                    for (name, value) in conditions {
                        ask = ask.header(name, value);
                    }
                    let mut want = status;
                    if ranged {
                        ask = ask.header("range", "bytes=1-3");
                        if want == 200 {
                            want = 206;
                        }
                    }
                    let answer = world.send(ask).await;
                    assert_eq!(answer.status.as_u16(), want, "{method} {conditions:?}");
                    match want {
                        304 => {
                            assert!(answer.body.is_empty());
                            assert_eq!(answer.header("etag"), etag);
                        }
                        412 if method == Method::GET => {
                            is_error(&answer, 412, "PreconditionFailed");
                        }
                        _ => {}
                    }
                }
            }
        }
        for (if_range, status) in [
            (etag.as_str(), 206),
            ("\"0\"", 200),
            (modified.as_str(), 206),
            (past, 200),
        ] {
            let ask = Ask::get("bucket", "key")
                .header("range", "bytes=1-3")
                .header("if-range", if_range);
            let answer = world.send(ask).await;
            assert_eq!(answer.status.as_u16(), status, "{if_range}");
            let want = if status == 206 {
                &plain[1..4]
            } else {
                &plain[..]
            };
            assert!(answer.body == want, "{if_range}");
        }
    }
}

#[tokio::test]
async fn conditions_of_writes_and_deletes_hold_before_anything_changes() {
    let world = World::with_bucket().await;
    for size in [40, TWO + 1] {
        let (one, two) = (content(size), content(size + 1));
        let etag = format!("\"{}\"", md5_hex(&one));
        let put = |body: &[u8], name: &str, value: &str| {
            Ask::put("bucket", "key", body).header(name, value)
        };
        is_error(
            &world.send(put(&one, "if-match", "*")).await,
            404,
            "NoSuchKey",
        );
        let created = world.send(put(&one, "if-none-match", "*")).await;
        assert_eq!(created.status, StatusCode::OK, "{created:?}");
        let refused = world.send(put(&two, "if-none-match", "*")).await;
        is_error(&refused, 412, "PreconditionFailed");
        is_error(
            &world.send(put(&two, "if-match", "\"0\"")).await,
            412,
            "PreconditionFailed",
        );
        assert!(world.get("key").await.body == one);
        let replaced = world.send(put(&two, "if-match", &etag)).await;
        assert_eq!(replaced.status, StatusCode::OK, "{replaced:?}");
        assert!(world.get("key").await.body == two);
        let delete = |etag: &str| Ask::delete("bucket", "key").header("if-match", etag);
        is_error(&world.send(delete(&etag)).await, 412, "PreconditionFailed");
        assert!(world.get("key").await.body == two);
        let deleted = world.send(delete(&format!("\"{}\"", md5_hex(&two)))).await;
        assert_eq!(deleted.status, StatusCode::NO_CONTENT, "{deleted:?}");
        assert!(world.stored("bucket", "key").await.is_none());
    }
}

#[tokio::test]
async fn conditions_of_copies_look_at_the_source() {
    let world = World::with_bucket().await;
    let plain = content(40);
    world.put("from", &plain).await;
    let etag = format!("\"{}\"", md5_hex(&plain));
    for (name, value, ok) in [
        ("x-amz-copy-source-if-match", etag.as_str(), true),
        ("x-amz-copy-source-if-match", "\"0\"", false),
        ("x-amz-copy-source-if-none-match", etag.as_str(), false),
        ("x-amz-copy-source-if-none-match", "\"0\"", true),
        (
            "x-amz-copy-source-if-modified-since",
            "Tue, 01 Jan 2080 00:00:00 GMT",
            false,
        ),
        (
            "x-amz-copy-source-if-unmodified-since",
            "Thu, 01 Jan 2015 00:00:00 GMT",
            false,
        ),
    ] {
        let answer = world
            .send(Ask::copy("bucket", "from", "to").header(name, value))
            .await;
        if ok {
            assert_eq!(answer.status, StatusCode::OK, "{name}: {answer:?}");
            world.send(Ask::delete("bucket", "to")).await;
        } else {
            is_error(&answer, 412, "PreconditionFailed");
            assert!(world.stored("bucket", "to").await.is_none(), "{name}");
        }
    }
}

// What the store sees, and what the client does not.

#[tokio::test]
async fn reserved_metadata_is_refused_and_never_shown() {
    let world = World::with_bucket().await;
    world.put("from", &content(40)).await;
    for name in [
        "x-amz-meta-sealgate-envelope",
        "x-amz-meta-sealgate-mac",
        "x-amz-meta-sealgate",
        "x-amz-meta-sealgate-future",
    ] {
        let put = Ask::put("bucket", "key", b"x").header(name, "y");
        is_error(&world.send(put).await, 400, "InvalidArgument");
        let copy = Ask::copy("bucket", "from", "key")
            .header("x-amz-metadata-directive", "REPLACE")
            .header(name, "y");
        is_error(&world.send(copy).await, 400, "InvalidArgument");
        let presigned = Ask::put("bucket", "key", b"x")
            .form(Form::Presigned(60))
            .query(&query_of(&[(name, "y")]));
        is_error(&world.send(presigned).await, 400, "InvalidArgument");
    }
    assert!(world.stored("bucket", "key").await.is_none());
    let stored = world.stored("bucket", "from").await.unwrap();
    assert!(stored.headers.contains_key("x-amz-meta-sealgate-envelope"));
    for ask in [
        Ask::get("bucket", "from"),
        Ask::head("bucket", "from"),
        Ask::get("bucket", "from").header("range", "bytes=0-1"),
        Ask::copy("bucket", "from", "to"),
        Ask::bucket(Method::GET, "bucket"),
    ] {
        let answer = world.send(ask).await;
        assert!(answer.status.is_success());
        assert!(
            answer
                .headers
                .keys()
                .all(|name| !name.as_str().contains("sealgate"))
        );
        assert!(!contains(&answer.body, b"sealgate-"));
    }
}

#[tokio::test]
async fn metadata_comes_back_as_it_was_given() {
    let world = World::with_bucket().await;
    for size in [40, TWO + 1] {
        let given = [
            ("content-type", "text/x-one; charset=utf-8"),
            ("content-encoding", "gzip"),
            ("content-language", "de, en"),
            ("content-disposition", "attachment; filename=\"a b.txt\""),
            ("cache-control", "no-cache"),
            ("expires", "Thu, 01 Dec 2044 16:00:00 GMT"),
            ("x-amz-meta-colour", "blue  and green"),
            ("x-amz-meta-empty", ""),
        ];
        let mut put = Ask::put("bucket", "key", &content(size));
        for (name, value) in given {
            put = put.header(name, value);
        }
        assert_eq!(world.send(put).await.status, StatusCode::OK);
        for ask in [
            Ask::get("bucket", "key"),
            Ask::head("bucket", "key"),
            Ask::get("bucket", "key").header("range", "bytes=2-4"),
        ] {
            let answer = world.send(ask).await;
            for (name, value) in given {
                assert_eq!(answer.header(name), value, "{name}");
            }
        }
        let overridden = Ask::get("bucket", "key").query(&query_of(&[
            ("response-content-type", "text/x-two"),
            ("response-cache-control", "private"),
        ]));
        let answer = world.send(overridden).await;
        assert_eq!(answer.header("content-type"), "text/x-two");
        assert_eq!(answer.header("cache-control"), "private");
        assert_eq!(answer.header("content-language"), "de, en");
    }
    // The framing of a transfer is not the object's.
    let plain = content(40);
    for (given, kept) in [
        ("aws-chunked", ""),
        ("aws-chunked,gzip", "gzip"),
        ("gzip", "gzip"),
    ] {
        let form = Form::Chunked {
            signed: true,
            size: 8192,
            trailer: None,
        };
        let put = Ask::put("bucket", "key", &plain)
            .form(form)
            .header("content-encoding", given);
        assert_eq!(world.send(put).await.status, StatusCode::OK);
        assert_eq!(
            world.get("key").await.header("content-encoding"),
            kept,
            "{given}"
        );
    }
}

#[tokio::test]
async fn the_store_holds_no_plaintext() {
    let world = World::with_bucket().await;
    let sizes = [16, 40, ONE, TWO + 1];
    for size in sizes {
        world.put(&size.to_string(), &content(size)).await;
        let stored = world.stored("bucket", &size.to_string()).await.unwrap();
        assert!(!contains(&stored.body, MARKER), "{size}");
        let tail = &content(size)[size - 16..];
        assert!(!contains(&stored.body, tail), "{size}");
        for (name, value) in &stored.headers {
            assert!(!contains(value.as_bytes(), MARKER), "{name}");
        }
    }
    // Nor do its files.
    let mut files = 0;
    let mut folders = vec![world.folder.path().join("store")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files += 1;
                assert!(
                    !contains(&std::fs::read(&path).unwrap(), MARKER),
                    "{}",
                    path.display()
                );
            }
        }
    }
    assert!(files > sizes.len());
}

#[tokio::test]
async fn the_same_content_twice_is_stored_as_different_bytes() {
    let world = World::with_bucket().await;
    let plain = content(40);
    world.put("key", &plain).await;
    let first = world.stored("bucket", "key").await.unwrap();
    world.put("key", &plain).await;
    let second = world.stored("bucket", "key").await.unwrap();
    let same = first
        .body
        .iter()
        .zip(&second.body)
        .skip(512)
        .filter(|(a, b)| a == b)
        .count();
    assert!(same < 60, "{same} bytes are the same");
}

#[tokio::test]
async fn keys_of_every_kind_work_in_both_styles() {
    let world = World::with_bucket().await;
    let long = "k".repeat(1024);
    let keys = [
        "plain",
        "with space",
        "plus+plus",
        "percent%41",
        "100%",
        "a//b",
        "/leading",
        "trailing/",
        "a/../b",
        "./x",
        "..",
        "@=&()[]!'*;:,$",
        "quote\"quote",
        "<tag>&amp;",
        "ключ/鍵/🔑",
        "back\\slash",
        "tilde~",
        "question?mark",
        "hash#mark",
        "caret^`{|}",
        &long,
    ];
    for (number, key) in keys.iter().enumerate() {
        let plain = content(40 + number);
        let host = format!("bucket.{DOMAIN}");
        let virtual_path = encode_path("bucket", key).replacen("/bucket", "", 1);
        let put = if number % 2 == 0 {
            Ask::put("bucket", key, &plain)
        } else {
            Ask::new(Method::PUT, virtual_path.clone())
                .host(&host)
                .body(&plain)
        };
        let put = world.send(put).await;
        assert_eq!(put.status, StatusCode::OK, "{key}: {put:?}");
        assert!(world.get(key).await.body == plain, "{key}");
        let get = Ask::new(Method::GET, virtual_path).host(&host);
        assert!(world.send(get.clone()).await.body == plain, "{key}");
        assert!(
            world.send(get.form(Form::Presigned(60))).await.body == plain,
            "{key}"
        );
        assert!(world.stored("bucket", key).await.is_some(), "{key}");
        let copy = world
            .send(Ask::copy("bucket", key, &format!("copy-{number}")))
            .await;
        assert_eq!(copy.status, StatusCode::OK, "{key}: {copy:?}");
        assert!(
            world.get(&format!("copy-{number}")).await.body == plain,
            "{key}"
        );
    }
    let list = Ask::new(Method::GET, "/")
        .host(&format!("bucket.{DOMAIN}"))
        .query("list-type=2");
    let list = world.send(list).await;
    let mut want: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
    want.extend((0..keys.len()).map(|number| format!("copy-{number}")));
    want.sort();
    assert_eq!(list.elements("Key"), want);
    let deleted = world.send(Ask::delete("bucket", "a/../b")).await;
    assert_eq!(deleted.status, StatusCode::NO_CONTENT);
    assert!(world.stored("bucket", "a/../b").await.is_none());
    assert!(world.stored("bucket", "a//b").await.is_some());
    let too_long = world
        .send(Ask::put("bucket", &"k".repeat(1025), b"x"))
        .await;
    is_error(&too_long, 400, "KeyTooLongError");
}

// Who may do what.

const POLICY: &str = r#"[{
    "access_key": "bob", "secret_key": "bob-secret-0123456789ab",
    "rules": [
        {"buckets": ["bucket"], "prefixes": ["db/"], "actions": ["read", "write", "list"]},
        {"buckets": ["shared-*"], "actions": ["read", "list", "delete"]}
    ]
}]"#;

async fn governed() -> World {
    let world = World::with(POLICY, "{}").await;
    for bucket in ["bucket", "private", "shared-a", "shared-b"] {
        world.create(bucket).await;
    }
    world
}

#[tokio::test]
async fn an_append_only_user_adds_and_never_replaces_or_deletes() {
    let world = governed().await;
    for size in [40, TWO + 1] {
        let plain = content(size);
        let key = format!("db/{size}");
        let put = |body: &[u8]| Ask::put("bucket", &key, body).by(BOB);
        let created = world.send(put(&plain)).await;
        assert_eq!(created.status, StatusCode::OK, "{created:?}");
        is_error(&world.send(put(b"other")).await, 403, "AccessDenied");
        is_error(&world.send(put(&plain)).await, 403, "AccessDenied");
        let copy = Ask::copy("bucket", &key, &key)
            .by(BOB)
            .header("x-amz-metadata-directive", "REPLACE");
        is_error(&world.send(copy).await, 403, "AccessDenied");
        let delete = Ask::delete("bucket", &key).by(BOB);
        is_error(&world.send(delete).await, 403, "AccessDenied");
        assert!(world.send(Ask::get("bucket", &key).by(BOB)).await.body == plain);
    }
    assert!(world.metric("sealgate_policy_denials_total", None) >= 8);
}

#[tokio::test]
async fn rules_hold_for_buckets_and_prefixes() {
    let world = governed().await;
    world.put("secret", b"x").await;
    world.put("db/open", b"y").await;
    world.send(Ask::put("private", "db/x", b"z")).await;
    world.spy.take();
    for ask in [
        Ask::put("bucket", "dbx", b"x"),
        Ask::put("bucket", "other/x", b"x"),
        Ask::put("private", "db/x", b"x"),
        Ask::put("shared-a", "x", b"x"),
        Ask::get("bucket", "secret"),
        Ask::get("private", "db/x"),
        Ask::get("bucket", "secret").header("range", "bytes=0-0"),
        Ask::bucket(Method::GET, "bucket"),
        Ask::bucket(Method::GET, "bucket").query("list-type=2&prefix=d"),
        Ask::bucket(Method::GET, "bucket").query("versions&prefix=other"),
        Ask::bucket(Method::GET, "private").query("list-type=2&prefix=db/"),
        Ask::copy("bucket", "secret", "db/stolen"),
        Ask::copy("bucket", "db/open", "outside"),
        Ask::object(Method::PUT, "bucket", "db/stolen")
            .header("x-amz-copy-source", "/private/db/x"),
        Ask::bucket(Method::PUT, "bucket"),
        Ask::bucket(Method::PUT, "shared-new"),
        Ask::bucket(Method::DELETE, "shared-a"),
        Ask::bucket(Method::GET, "bucket").query("policy"),
        Ask::bucket(Method::PUT, "bucket")
            .query("lifecycle")
            .body(b"<x/>"),
        Ask::bucket(Method::GET, "bucket").query("novelty"),
        Ask::object(Method::PUT, "bucket", "db/open")
            .query("acl")
            .body(b"<x/>"),
    ] {
        let answer = world.send(ask.clone().by(BOB)).await;
        assert_eq!(answer.code(), "AccessDenied", "{ask:?}: {answer:?}");
        is_error(&answer, 403, "AccessDenied");
    }
    // A copy's rights on its source are asked for before the store is.
    assert!(world.spy.take().is_empty());
    let head = world.send(Ask::head("bucket", "secret").by(BOB)).await;
    assert_eq!(head.status, StatusCode::FORBIDDEN);

    let list = Ask::bucket(Method::GET, "bucket")
        .query("list-type=2&prefix=db/")
        .by(BOB);
    assert_eq!(world.send(list).await.elements("Key"), ["db/open"]);
    let buckets = world.send(Ask::new(Method::GET, "/").by(BOB)).await;
    assert_eq!(buckets.elements("Name"), ["bucket", "shared-a", "shared-b"]);
    let buckets = world.send(Ask::new(Method::GET, "/")).await;
    assert_eq!(
        buckets.elements("Name"),
        ["bucket", "private", "shared-a", "shared-b"]
    );
    assert_eq!(
        world
            .send(Ask::bucket(Method::HEAD, "shared-a").by(BOB))
            .await
            .status,
        200
    );
    assert_eq!(
        world
            .send(Ask::bucket(Method::HEAD, "private").by(BOB))
            .await
            .status,
        403
    );
}

#[tokio::test]
async fn delete_objects_denies_key_by_key() {
    let world = governed().await;
    world.put("db/a", b"x").await;
    world.send(Ask::put("shared-a", "a", b"x")).await;
    world.send(Ask::put("shared-a", "b", b"x")).await;
    let delete = |bucket: &str, keys: &[&str]| {
        let objects: String = keys
            .iter()
            .map(|k| format!("<Object><Key>{k}</Key></Object>"))
            .collect();
        let body = format!("<Delete>{objects}</Delete>");
        Ask::bucket(Method::POST, bucket)
            .query("delete=")
            .header("content-md5", &md5_base64(body.as_bytes()))
            .body(body.as_bytes())
            .by(BOB)
    };
    world.spy.take();
    let answer = world.send(delete("bucket", &["db/a", "other"])).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!(answer.elements("Code"), ["AccessDenied", "AccessDenied"]);
    assert!(answer.elements("Deleted").is_empty());
    assert!(world.spy.take().is_empty());
    assert!(world.stored("bucket", "db/a").await.is_some());

    let answer = world.send(delete("shared-a", &["a", "b"])).await;
    assert_eq!(answer.elements("Deleted").len(), 2, "{answer:?}");
    assert!(world.stored("shared-a", "a").await.is_none());
    let wrong = delete("shared-a", &["a"]).header("x-amz-checksum-crc32", "AAAAAA==");
    is_error(&world.send(wrong).await, 400, "BadDigest");
}

#[tokio::test]
async fn whoever_cannot_prove_who_they_are_gets_nothing() {
    let world = World::with_bucket().await;
    world.put("key", &content(40)).await;
    world.spy.take();
    let imposter = common::User {
        secret_key: "not-her-secret-012345678",
        ..ALICE
    };
    for method in [Method::GET, Method::PUT, Method::DELETE] {
        let ask = Ask::object(method, "bucket", "key");
        let anonymous = world.send(ask.clone().form(Form::Anonymous)).await;
        is_error(&anonymous, 403, "AccessDenied");
        is_error(
            &world.send(ask.clone().by(MALLORY)).await,
            403,
            "InvalidAccessKeyId",
        );
        is_error(
            &world.send(ask.clone().by(imposter)).await,
            403,
            "SignatureDoesNotMatch",
        );
        let presigned = ask.clone().by(imposter).form(Form::Presigned(60));
        is_error(&world.send(presigned).await, 403, "SignatureDoesNotMatch");
        let unsigned = ask.clone().unsigned("x-amz-meta-late", "x");
        is_error(&world.send(unsigned).await, 403, "AccessDenied");
        let basic = ask
            .form(Form::Anonymous)
            .unsigned("authorization", "Basic YTpi");
        assert!(world.send(basic).await.status.is_client_error());
    }
    assert!(world.spy.take().is_empty());
    let count = |kind| world.metric("sealgate_auth_failures_total", Some(("kind", kind)));
    assert_eq!(count("anonymous"), 3);
    assert_eq!(count("unknown_access_key"), 3);
    assert_eq!(count("signature"), 6);
    assert_eq!(count("unsigned_header"), 3);
}

#[tokio::test]
async fn what_is_not_built_is_refused_and_reaches_no_store() {
    let world = World::with_bucket().await;
    world.put("key", &content(40)).await;
    world.spy.take();
    let object = |method, query: &str| {
        Ask::object(method, "bucket", "key")
            .query(query)
            .body(b"plaintext body")
    };
    for ask in [
        object(Method::POST, "select=&select-type=2"),
        object(Method::PUT, "novelty="),
        object(Method::PUT, "append=&position=0"),
        object(Method::PUT, "").header("x-amz-write-offset-bytes", "0"),
        object(Method::PUT, "").header("x-amz-server-side-encryption-customer-algorithm", "AES256"),
        Ask::get("bucket", "key").query("torrent="),
        Ask::delete("bucket", "key").query("novelty="),
        Ask::bucket(Method::POST, "bucket")
            .query("novelty=")
            .body(b"--form\r\nplaintext body"),
    ] {
        let answer = world.send(ask.clone()).await;
        assert_eq!(answer.status, StatusCode::NOT_IMPLEMENTED, "{ask:?}");
        is_error(&answer, 501, "NotImplemented");
    }
    assert!(world.spy.take().is_empty());
    assert!(world.get("key").await.body == content(40));
}

// HTTP.

#[tokio::test]
async fn a_client_that_waits_is_told_to_go_on_only_when_its_request_is_good() {
    let world = governed().await;
    let plain = content(TWO);
    let expecting = |ask: Ask| ask.header("expect", "100-continue");
    world.send(Ask::put("bucket", "db/there", b"x")).await;
    let anonymous = Form::Anonymous;
    for (what, ask) in [
        ("nobody", Ask::put("bucket", "db/x", &plain).form(anonymous)),
        ("a stranger", Ask::put("bucket", "db/x", &plain).by(MALLORY)),
        ("no right", Ask::put("bucket", "secret", &plain).by(BOB)),
        (
            "no right to replace",
            Ask::put("bucket", "db/there", &plain).by(BOB),
        ),
        (
            "a condition",
            Ask::put("bucket", "db/there", &plain).header("if-none-match", "*"),
        ),
        (
            "a reserved name",
            Ask::put("bucket", "db/x", &plain).header("x-amz-meta-sealgate-x", "y"),
        ),
        (
            "no operation",
            Ask::put("bucket", "db/x", &plain).query("uploads="),
        ),
    ] {
        let (head, _) = expecting(ask).encode(world.address);
        let mut connection = Connection::open(world.address).await;
        connection.write(&head).await;
        let answer = connection.answer(&Method::PUT).await;
        assert!(!answer.interim, "{what}: was told to go on");
        assert!(answer.status.as_u16() >= 400, "{what}: {answer:?}");
        // What follows on this connection could be anything.
        assert_eq!(answer.header("connection"), "close", "{what}");
    }
    let form = Form::Literal("UNSIGNED-PAYLOAD".into());
    for body in [&plain[..], &plain[..40]] {
        let ask = expecting(Ask::put("bucket", "db/new", body).form(form.clone()));
        let (head, body) = ask.encode(world.address);
        let mut connection = Connection::open(world.address).await;
        connection.write(&head).await;
        let (status, _) = connection.head().await.unwrap();
        assert_eq!(status, StatusCode::CONTINUE);
        connection.write(&body).await;
        let answer = connection.answer(&Method::PUT).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        assert!(world.get("db/new").await.body == body);
    }
    // Some clients wait although there is nothing to send.
    let empty = expecting(Ask::put("bucket", "db/empty", b""));
    let answer = world.send(empty).await;
    assert!(
        answer.interim && answer.status == StatusCode::OK,
        "{answer:?}"
    );
    let refused = world
        .send(expecting(Ask::put("bucket", "secret", b"").by(BOB)))
        .await;
    assert!(!refused.interim && refused.status == StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_connection_serves_one_request_after_another() {
    let world = World::with_bucket().await;
    let mut connection = Connection::open(world.address).await;
    for size in [0, 40, TWO] {
        let plain = content(size);
        for (ask, status) in [
            (Ask::put("bucket", "key", &plain), 200),
            (Ask::head("bucket", "key"), 200),
            (Ask::get("bucket", "nothing"), 404),
            (Ask::get("bucket", "key").header("if-none-match", "*"), 304),
            (Ask::get("bucket", "key"), 200),
        ] {
            let answer = connection.exchange(&ask, world.address).await;
            assert_eq!(answer.status.as_u16(), status, "{ask:?}");
            if status == 200 && ask.method == Method::GET {
                assert!(answer.body == plain);
            }
        }
    }
}

#[tokio::test]
async fn a_refused_upload_gets_its_answer_although_the_body_keeps_coming() {
    let world = World::with_bucket().await;
    let ask = Ask::put("bucket", "key", &content(5 << 20)).by(MALLORY);
    let answer = world.send(ask).await;
    is_error(&answer, 403, "InvalidAccessKeyId");
}

#[tokio::test]
async fn errors_of_the_store_are_told_in_the_gateways_own_words() {
    let world = World::with_bucket().await;
    let nothing = world.get("nothing").await;
    is_error(&nothing, 404, "NoSuchKey");
    assert_eq!(nothing.element("Resource"), "/bucket/nothing");
    is_error(
        &world.send(Ask::get("no-such-bucket", "key")).await,
        404,
        "NoSuchBucket",
    );
    let put = world.send(Ask::put("no-such-bucket", "key", b"x")).await;
    is_error(&put, 404, "NoSuchBucket");
    let list = world.send(Ask::bucket(Method::GET, "no-such-bucket")).await;
    is_error(&list, 404, "NoSuchBucket");
    assert_eq!(world.send(Ask::head("bucket", "nothing")).await.status, 404);

    let document = "<Error><Code>InternalError</Code><Message>disk 7 of backend-3.internal at \
                    127.0.0.1 failed</Message><HostId>backend-3</HostId></Error>";
    for (status, want_status, want) in [
        (500, 500, "InternalError"),
        (503, 503, "InternalError"),
        (403, 403, "InternalError"),
    ] {
        world.spy.lie(move |_, mut reply| {
            reply.status = StatusCode::from_u16(status).unwrap();
            reply
                .headers
                .insert("x-amz-id-2", "backend-3".parse().unwrap());
            reply
                .headers
                .insert("x-amz-request-id", "backend-3".parse().unwrap());
            reply.headers.insert("server", "backend-3".parse().unwrap());
            reply.body = document.into();
            reply.fix_length();
            reply.encode()
        });
        for ask in [Ask::get("bucket", "key"), Ask::put("bucket", "key", b"x")] {
            let answer = world.send(ask).await;
            is_error(&answer, want_status, want);
            assert!(!format!("{answer:?}").contains("backend"), "{answer:?}");
            // The log has what the client is not told.
            let line = world.log_line(answer.request_id()).await;
            assert!(
                line["detail"].as_str().unwrap().contains("disk 7"),
                "{line}"
            );
        }
    }
    // The gateway's own credentials are wrong: nothing a client could mend.
    world.spy.lie(|_, mut reply| {
        reply.status = StatusCode::FORBIDDEN;
        reply.body = b"<Error><Code>SignatureDoesNotMatch</Code></Error>".to_vec();
        reply.fix_length();
        reply.encode()
    });
    is_error(&world.get("key").await, 403, "AccessDenied");
    // And a store that does not speak HTTP.
    world.spy.lie(|_, _| b"nonsense\r\n\r\n".to_vec());
    is_error(&world.get("key").await, 503, "ServiceUnavailable");
}

#[tokio::test]
async fn a_read_that_the_store_fails_is_asked_again_and_a_write_is_not() {
    let world = World::with_bucket().await;
    let plain = content(TWO);
    world.put("key", &plain).await;
    for (status, reads) in [(500, 5), (502, 5), (503, 1)] {
        // The store fails for as long as it is asked …
        let fail = move |mut reply: common::Reply| {
            reply.status = StatusCode::from_u16(status).unwrap();
            reply.body.clear();
            reply.fix_length();
            reply.encode()
        };
        world.spy.lie(move |_, reply| fail(reply));
        world.spy.take();
        let head = world.send(Ask::head("bucket", "key")).await;
        assert!(head.status.is_server_error(), "{head:?}");
        assert_eq!(world.spy.take().len(), reads, "reads that got {status}");
        let put = world.send(Ask::put("bucket", "key", b"new")).await;
        assert!(put.status.is_server_error(), "{put:?}");
        assert_eq!(world.spy.take().len(), 1, "writes that got {status}");
    }
    // … or only once: then the client never notices.
    let mut failed = false;
    world.spy.lie(move |_, mut reply| {
        if !std::mem::replace(&mut failed, true) {
            reply.status = StatusCode::INTERNAL_SERVER_ERROR;
            reply.body.clear();
            reply.fix_length();
        }
        reply.encode()
    });
    // So it is where the store says that the object is being replaced.
    let mut replaced = false;
    let get = world.get("key").await;
    assert_eq!(get.status, StatusCode::OK, "{get:?}");
    world.spy.lie(move |_, mut reply| {
        if !std::mem::replace(&mut replaced, true) {
            reply.status = StatusCode::CONFLICT;
            reply.body = b"<Error><Code>ConcurrentModification</Code></Error>".to_vec();
            reply.fix_length();
        }
        reply.encode()
    });
    let get = world.get("key").await;
    assert_eq!(get.status, StatusCode::OK, "{get:?}");
    // The write above was refused by the lie, not by the store, which took it.
    assert_eq!(get.body, b"new");
}

#[tokio::test]
async fn stopping_finishes_a_transfer_that_is_under_way() {
    let world = World::with_bucket().await;
    let plain = content(TWO);
    let ask = Ask::put("bucket", "key", &plain)
        .form(Form::Literal("UNSIGNED-PAYLOAD".into()))
        .header("expect", "100-continue");
    let (head, body) = ask.encode(world.address);
    let mut connection = Connection::open(world.address).await;
    let mut idle = Connection::open(world.address).await;
    let warm = idle
        .exchange(&Ask::bucket(Method::HEAD, "bucket"), world.address)
        .await;
    assert_eq!(warm.status, StatusCode::OK);
    connection.write(&head).await;
    assert_eq!(connection.head().await.unwrap().0, StatusCode::CONTINUE);
    connection.write(&body[..1000]).await;

    world.stop.cancel();
    // The idle connection is closed: the gateway is on its way out.
    assert!(idle.rest().await.is_empty());
    assert!(!world.server.is_finished());
    connection.write(&body[1000..]).await;
    let answer = connection.answer(&Method::PUT).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!(answer.etag(), md5_hex(&plain));
    let World {
        server,
        store: _store,
        address,
        ..
    } = world;
    server.await.unwrap();
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn every_answer_has_an_id_of_its_own_and_a_log_line() {
    let world = World::with_bucket().await;
    let mut ids = std::collections::HashSet::new();
    for (ask, operation, status) in [
        (Ask::put("bucket", "key", b"x"), "PutObject", 200),
        (Ask::get("bucket", "key"), "GetObject", 200),
        (Ask::head("bucket", "key"), "HeadObject", 200),
        (Ask::get("bucket", "nothing"), "GetObject", 404),
        (
            Ask::bucket(Method::GET, "bucket").query("list-type=2"),
            "ListObjectsV2",
            200,
        ),
        (Ask::delete("bucket", "key"), "DeleteObject", 204),
        (Ask::get("bucket", "key").form(Form::Anonymous), "-", 403),
    ] {
        let answer = world.send(ask).await;
        assert!(ids.insert(answer.request_id().to_owned()));
        let line = world.log_line(answer.request_id()).await;
        assert_eq!(line["operation"], operation, "{line}");
        assert_eq!(line["status"], status, "{line}");
        assert!(!line.to_string().contains(ALICE.secret_key));
    }
}

// Presigned URLs.

#[tokio::test]
async fn presigned_urls_work_until_they_expire_and_for_what_they_were_made() {
    let world = World::with_bucket().await;
    let plain = content(TWO + 1);
    let put = Ask::put("bucket", "key", &plain).form(Form::Presigned(60));
    let put = world.send(put).await;
    assert_eq!(put.status, StatusCode::OK, "{put:?}");
    let get = Ask::get("bucket", "key").form(Form::Presigned(60));
    assert!(world.send(get.clone()).await.body == plain);
    let (head, _) = get.encode(world.address);
    let text = String::from_utf8(head).unwrap();
    for (from, to) in [
        ("GET /bucket/key", "GET /bucket/kez"),
        ("GET /bucket/key", "DELETE /bucket/key"),
        ("X-Amz-Expires=60", "X-Amz-Expires=61"),
    ] {
        let mut connection = Connection::open(world.address).await;
        connection.write(text.replace(from, to).as_bytes()).await;
        let answer = connection.answer(&Method::GET).await;
        is_error(&answer, 403, "SignatureDoesNotMatch");
    }
    let too_long = Ask::get("bucket", "key").form(Form::Presigned(604_801));
    is_error(
        &world.send(too_long).await,
        400,
        "AuthorizationQueryParametersError",
    );
}

/// SDKs put headers into the query of what they presign.
#[tokio::test]
async fn presigned_x_amz_parameters_count_as_headers() {
    let world = World::with_bucket().await;
    let plain = content(40);
    world.put("from", &plain).await;
    let presigned = |key: &str, pairs: &[(&str, &str)]| {
        Ask::object(Method::PUT, "bucket", key)
            .form(Form::Presigned(60))
            .query(&query_of(pairs))
    };
    let put = presigned(
        "key",
        &[
            ("x-amz-meta-colour", "blue & green"),
            ("X-Amz-Meta-Size", "9"),
        ],
    );
    let answer = world.send(put.body(&plain)).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let get = world.get("key").await;
    assert!(get.body == plain);
    assert_eq!(get.header("x-amz-meta-colour"), "blue & green");
    assert_eq!(get.header("x-amz-meta-size"), "9");

    // A header that is there wins.
    let put = presigned("key", &[("x-amz-meta-colour", "blue")]).header("x-amz-meta-colour", "red");
    assert_eq!(world.send(put.body(&plain)).await.status, StatusCode::OK);
    assert_eq!(world.get("key").await.header("x-amz-meta-colour"), "red");

    // A copy is a copy, with all that this asks for.
    let copy = presigned("copy", &[("x-amz-copy-source", "/bucket/from")]);
    let answer = world.send(copy).await;
    assert!(answer.text().contains("CopyObjectResult"), "{answer:?}");
    assert!(world.get("copy").await.body == plain);

    // What the store acts on goes on to it.
    world.spy.take();
    let put = presigned("class", &[("x-amz-storage-class", "STANDARD")]);
    assert_eq!(world.send(put.body(&plain)).await.status, StatusCode::OK);
    assert_eq!(
        world.spy.take()[0].header("x-amz-storage-class"),
        "STANDARD"
    );

    // An SDK that presigns an upload computes the checksum of a body it does not have yet. S3 takes
    // no checksum from the query, so such URLs work.
    let put = presigned(
        "sdk",
        &[
            ("x-amz-checksum-crc32", "AAAAAA=="),
            ("x-amz-sdk-checksum-algorithm", "CRC32"),
        ],
    );
    let answer = world.send(put.body(&plain)).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert!(world.get("sdk").await.body == plain);

    // In the query of a request that is signed by header they mean nothing, as in S3.
    let signed = Ask::put("bucket", "key", &plain).query(&query_of(&[("x-amz-meta-colour", "x")]));
    assert_eq!(world.send(signed).await.status, StatusCode::OK);
    assert_eq!(world.get("key").await.header("x-amz-meta-colour"), "");

    let broken = presigned("key", &[("x-amz-meta-colour", "a\r\nb")]).body(&plain);
    is_error(
        &world.send(broken).await,
        400,
        "AuthorizationQueryParametersError",
    );
}

// Objects that are not sealed.

#[tokio::test]
async fn plaintext_objects_are_served_where_the_bucket_allows_it_and_sealed_on_copy() {
    let world = World::with("[]", r#"{"open": {"plaintext": "allow"}}"#).await;
    world.create("open").await;
    for size in [0, 1, 5, 40, 300, TWO + 1] {
        let plain = content(size);
        let planted = Stored {
            headers: common::headers(&[("content-type", "text/x-one"), ("x-amz-meta-a", "1")]),
            body: plain.clone(),
        };
        world.plant("open", "key", &planted).await;
        let get = world.send(Ask::get("open", "key")).await;
        assert!(
            get.status == StatusCode::OK && get.complete && get.body == plain,
            "{size}"
        );
        assert_eq!(get.header("x-amz-meta-a"), "1");
        let head = world.send(Ask::head("open", "key")).await;
        assert_eq!(head.status, StatusCode::OK, "{size}");
        assert_eq!(head.header("content-length"), size.to_string());
        if size > 4 {
            let range = Ask::get("open", "key").header("range", "bytes=2-3");
            assert_eq!(world.send(range).await.body, plain[2..4]);
        }
        let list = world.send(Ask::bucket(Method::GET, "open")).await;
        assert_eq!(list.element("Size"), size.to_string());
        let copy = world.send(Ask::copy("open", "key", "sealed")).await;
        assert_eq!(copy.status, StatusCode::OK, "{size}: {copy:?}");
        assert_eq!(copy.element("ETag"), format!("\"{}\"", md5_hex(&plain)));
        let stored = world.stored("open", "sealed").await.unwrap();
        assert_eq!(stored.body[..5], *b"\x89SEAL");
        let get = world.send(Ask::get("open", "sealed")).await;
        assert!(
            get.body == plain && get.header("x-amz-meta-a") == "1",
            "{size}"
        );
        world.send(Ask::delete("open", "sealed")).await;
    }
}

// A client that nobody here wrote.

#[tokio::test]
async fn an_sdk_works_with_its_defaults() {
    use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
    use aws_sdk_s3::error::ProvideErrorMetadata;
    use aws_sdk_s3::primitives::ByteStream;

    let world = World::with_bucket().await;
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new(
            ALICE.access_key,
            ALICE.secret_key,
            None,
            None,
            "test",
        ))
        .endpoint_url(format!("http://{}", world.address))
        .force_path_style(true)
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    let client = aws_sdk_s3::Client::from_conf(config);
    for size in [0, 40, TWO + 1] {
        let plain = content(size);
        let put = client
            .put_object()
            .bucket("bucket")
            .key("key")
            .metadata("a", "b");
        let put = put
            .body(ByteStream::from(plain.clone()))
            .send()
            .await
            .unwrap();
        assert_eq!(
            put.e_tag(),
            Some(format!("\"{}\"", md5_hex(&plain)).as_str())
        );
        assert!(put.checksum_crc32().is_some());
        // It checks the checksum on its own.
        let get = client
            .get_object()
            .bucket("bucket")
            .key("key")
            .send()
            .await
            .unwrap();
        assert_eq!(get.metadata().unwrap()["a"], "b");
        assert!(get.body.collect().await.unwrap().to_vec() == plain);
        let copy = client
            .copy_object()
            .bucket("bucket")
            .key("copy")
            .copy_source("bucket/key");
        let copy = copy.send().await.unwrap();
        assert_eq!(copy.copy_object_result().unwrap().e_tag(), put.e_tag());
        let list = client
            .list_objects_v2()
            .bucket("bucket")
            .send()
            .await
            .unwrap();
        let sizes: Vec<_> = list
            .contents()
            .iter()
            .filter_map(|object| object.size())
            .collect();
        assert_eq!(sizes, [size as i64; 2]);
    }
    let missing = client
        .get_object()
        .bucket("bucket")
        .key("nothing")
        .send()
        .await;
    assert_eq!(missing.unwrap_err().code(), Some("NoSuchKey"));
    let created = client
        .create_multipart_upload()
        .bucket("bucket")
        .key("parts")
        .send()
        .await
        .unwrap();
    let id = created.upload_id().unwrap();
    let plain = content(1000);
    let part = client
        .upload_part()
        .bucket("bucket")
        .key("parts")
        .upload_id(id)
        .part_number(1)
        .body(ByteStream::from(plain.clone()));
    let part = part.send().await.unwrap();
    let named = aws_sdk_s3::types::CompletedPart::builder()
        .part_number(1)
        .set_e_tag(part.e_tag().map(str::to_owned))
        .build();
    let done = client
        .complete_multipart_upload()
        .bucket("bucket")
        .key("parts")
        .upload_id(id)
        .multipart_upload(
            aws_sdk_s3::types::CompletedMultipartUpload::builder()
                .parts(named)
                .build(),
        )
        .send()
        .await
        .unwrap();
    let get = client
        .get_object()
        .bucket("bucket")
        .key("parts")
        .send()
        .await
        .unwrap();
    assert_eq!(get.e_tag(), done.e_tag());
    assert!(get.body.collect().await.unwrap().to_vec() == plain);
}
