//! What S3 documents of requests that are wrong, or conditional: status, code, and that nothing changed.
#![cfg(feature = "embedded")]
#![forbid(unsafe_code)]

mod common;

use common::{Answer, Ask, Connection, Form, World, content, md5_base64, md5_hex};
use http::{Method, StatusCode};

fn is_error(answer: &Answer, status: u16, code: &str) {
    assert_eq!(answer.status.as_u16(), status, "{answer:?}");
    assert_eq!(answer.code(), code, "{answer:?}");
}

fn delete_objects(document: &str) -> Ask {
    Ask::bucket(Method::POST, "bucket")
        .query("delete=")
        .header("content-md5", &md5_base64(document.as_bytes()))
        .body(document.as_bytes())
}

#[tokio::test]
async fn a_put_unless_it_is_that_object_replaces_any_other() {
    let world = World::with_bucket().await;
    let (one, two) = (content(40), content(70_000));
    let etag = |body: &[u8]| format!("\"{}\"", md5_hex(body));
    let put =
        |body: &[u8], unless: &str| Ask::put("bucket", "key", body).header("if-none-match", unless);
    let created = world.send(put(&one, &etag(&two))).await;
    assert_eq!(created.status, StatusCode::OK, "{created:?}");
    let refused = world.send(put(&two, &etag(&one))).await;
    is_error(&refused, 412, "PreconditionFailed");
    let among_others = format!("\"0\", {}", etag(&one));
    is_error(
        &world.send(put(&two, &among_others)).await,
        412,
        "PreconditionFailed",
    );
    assert!(world.get("key").await.body == one);
    let replaced = world.send(put(&two, "\"0\"")).await;
    assert_eq!(replaced.status, StatusCode::OK, "{replaced:?}");
    assert!(world.get("key").await.body == two);
}

#[tokio::test]
async fn deletes_hold_to_what_the_client_sees_of_the_object() {
    let world = World::with_bucket().await;
    for size in [0, 40, 70_000] {
        let plain = content(size);
        world.put("key", &plain).await;
        let seen = world.send(Ask::head("bucket", "key")).await;
        let modified = seen.header("last-modified").to_owned();
        let (good_size, bad_size) = (size.to_string(), (size + 1).to_string());
        for (name, value) in [
            ("if-match", "\"0\""),
            ("x-amz-if-match-size", bad_size.as_str()),
            (
                "x-amz-if-match-last-modified-time",
                "Thu, 01 Jan 2015 00:00:00 GMT",
            ),
        ] {
            let refused = world
                .send(Ask::delete("bucket", "key").header(name, value))
                .await;
            is_error(&refused, 412, "PreconditionFailed");
        }
        let nonsense = Ask::delete("bucket", "key").header("x-amz-if-match-size", "many");
        is_error(&world.send(nonsense).await, 400, "InvalidArgument");
        assert!(world.get("key").await.body == plain);
        let all = Ask::delete("bucket", "key")
            .header("if-match", seen.etag())
            .header("x-amz-if-match-size", &good_size)
            .header("x-amz-if-match-last-modified-time", &modified);
        world.spy.take();
        let deleted = world.send(all).await;
        assert_eq!(deleted.status, StatusCode::NO_CONTENT, "{deleted:?}");
        // The store is told in its own terms, so that it deletes this object or none.
        let asked = world.spy.take();
        let last = asked.last().unwrap();
        assert_eq!(last.method, "DELETE");
        assert!(!last.header("if-match").is_empty() && last.header("if-match") != seen.etag());
        assert_eq!(last.header("x-amz-if-match-last-modified-time"), modified);
        assert_eq!(last.header("x-amz-if-match-size"), "");
        assert!(world.stored("bucket", "key").await.is_none());
        // What becomes of conditions on nothing is the store's to say.
        world.spy.take();
        let nothing = Ask::delete("bucket", "key").header("if-match", "\"0\"");
        assert_ne!(world.send(nothing).await.code(), "PreconditionFailed");
        assert_eq!(world.spy.take().last().unwrap().header("if-match"), "\"0\"");
    }
}

#[tokio::test]
async fn delete_objects_holds_each_object_to_its_conditions() {
    let world = World::with_bucket().await;
    let plain = content(40);
    for key in ["a", "b", "c", "d", "e"] {
        world.put(key, &plain).await;
    }
    let object =
        |key: &str, condition: &str| format!("<Object><Key>{key}</Key>{condition}</Object>");
    let document = [
        object("a", "<ETag>\"0\"</ETag>"),
        object(
            "b",
            &format!("<ETag>&quot;{}&quot;</ETag>", md5_hex(&plain)),
        ),
        object("c", "<Size>41</Size>"),
        object("d", "<Size>40</Size>"),
        object("e", ""),
    ]
    .concat();
    let answer = world
        .send(delete_objects(&format!("<Delete>{document}</Delete>")))
        .await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!(
        answer.elements("Code"),
        ["PreconditionFailed", "PreconditionFailed"]
    );
    assert_eq!(answer.elements("Deleted").len(), 3, "{answer:?}");
    for (key, stays) in [
        ("a", true),
        ("b", false),
        ("c", true),
        ("d", false),
        ("e", false),
    ] {
        assert_eq!(world.stored("bucket", key).await.is_some(), stays, "{key}");
    }
}

#[tokio::test]
async fn documents_that_are_wrong_too_long_or_too_many_are_told_apart() {
    let world = World::with_bucket().await;
    world.put("key", b"x").await;
    let key = "<Object><Key>key</Key></Object>";
    for wrong in [
        "no xml".to_owned(),
        "<Delete>".to_owned(),
        "<Delete/>".to_owned(),
        format!("<Delete>{key}</Delete><Delete/>"),
        format!("<!DOCTYPE Delete [<!ENTITY k \"key\">]><Delete>{key}</Delete>"),
        format!("<Delete>{}</Delete>", key.repeat(1001)),
        format!("<Delete>{}{}</Delete>", "<a>".repeat(40), "</a>".repeat(40)),
    ] {
        let answer = world.send(delete_objects(&wrong)).await;
        is_error(&answer, 400, "MalformedXML");
    }
    let long = format!("<Delete>{key}<!--{}--></Delete>", " ".repeat(4 << 20));
    let answer = world.send(delete_objects(&long)).await;
    is_error(&answer, 400, "MaxMessageLengthExceeded");
    assert!(world.stored("bucket", "key").await.is_some());
    let cdata = "<Delete><Object><Key><![CDATA[key]]></Key></Object></Delete>";
    assert_eq!(
        world
            .send(delete_objects(cdata))
            .await
            .elements("Deleted")
            .len(),
        1
    );
    assert!(world.stored("bucket", "key").await.is_none());
}

#[tokio::test]
async fn requests_that_nobody_signed_reach_the_store_unsigned_and_only_where_a_rule_lets_them() {
    let rules = serde_json::json!({"rules": [{"buckets": ["bucket"], "prefixes": ["open/"], "actions": ["read"]}]});
    let world = World::with_settings(serde_json::json!({"users": [], "anonymous": rules})).await;
    world.create("bucket").await;
    world.put("open/key", b"x").await;
    world.spy.take();
    let anybody = |ask: Ask| ask.form(Form::Anonymous);
    for ask in [
        Ask::put("bucket", "open/key", b"y"),
        Ask::delete("bucket", "open/key"),
        Ask::get("bucket", "closed"),
        Ask::bucket(Method::GET, "bucket"),
        Ask::get("other", "open/key"),
    ] {
        is_error(&world.send(anybody(ask)).await, 403, "AccessDenied");
    }
    assert!(world.spy.take().is_empty());
    // This store lets nobody in without a signature, and the gateway's own is not lent to anybody.
    let answer = world.send(anybody(Ask::get("bucket", "open/key"))).await;
    is_error(&answer, 403, "AccessDenied");
    let asked = world.spy.take();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].header("authorization"), "");
    // A chunk signature needs a key, which nobody has.
    let chunked = anybody(Ask::get("bucket", "open/key"))
        .unsigned("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD");
    is_error(&world.send(chunked).await, 400, "InvalidRequest");
    // Nor may anybody say what the answer's headers are.
    for name in ["response-content-type", "response-expires"] {
        let query = format!("{name}=a");
        let ask = anybody(Ask::get("bucket", "open/key").query(&query));
        is_error(&world.send(ask).await, 400, "InvalidRequest");
        let ask = anybody(Ask::head("bucket", "open/key").query(&query));
        assert_eq!(world.send(ask).await.status, StatusCode::BAD_REQUEST);
    }
    // A signature that is wrong is not taken for none.
    let forged = Ask::get("bucket", "open/key").by(common::MALLORY);
    is_error(&world.send(forged).await, 403, "InvalidAccessKeyId");
    assert!(world.spy.take().is_empty());
}

#[tokio::test]
async fn reads_cannot_ask_for_encryption() {
    let world = World::with_bucket().await;
    world.put("key", b"x").await;
    for ask in [Ask::get("bucket", "key"), Ask::head("bucket", "key")] {
        let answer = world
            .send(ask.header("x-amz-server-side-encryption", "aws:kms"))
            .await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{answer:?}");
    }
}

#[tokio::test]
async fn the_source_of_a_copy_is_spelt_to_the_store_as_the_client_spelt_it() {
    let world = World::with_bucket().await;
    world.put("key", b"x").await;
    for source in ["bucket/key", "/bucket/key"] {
        world.spy.take();
        let ask = Ask::object(Method::PUT, "bucket", "copy").header("x-amz-copy-source", source);
        assert_eq!(world.send(ask).await.status, StatusCode::OK);
        let asked = world.spy.take();
        let copy = asked.iter().find(|r| r.method == "PUT").unwrap();
        assert_eq!(copy.header("x-amz-copy-source"), source);
    }
}

#[tokio::test]
async fn a_connection_whose_body_was_not_read_is_said_to_end() {
    let world = World::with_bucket().await;
    let body = content(300_000);
    let refused = Ask::put("bucket", "key", &body).header("x-amz-checksum-crc32", "no");
    let answer = world.send(refused).await;
    is_error(&answer, 400, "InvalidRequest");
    assert_eq!(answer.header("connection"), "close");
    // One that was read to its end can go on.
    let wrong = Ask::put("bucket", "key", &body).header("x-amz-checksum-crc32", "AAAAAA==");
    let answer = world.send(wrong).await;
    is_error(&answer, 400, "BadDigest");
    assert_eq!(answer.header("connection"), "");
}

#[tokio::test]
async fn the_owner_that_a_copy_expects_of_its_source_is_asked_of_the_store() {
    let world = World::with_bucket().await;
    world.put("key", b"x").await;
    world.spy.take();
    let ask = Ask::copy("bucket", "key", "copy").header("x-amz-source-expected-bucket-owner", "me");
    world.send(ask).await;
    let asked = world.spy.take();
    assert_eq!(asked[0].header("x-amz-expected-bucket-owner"), "me");
}

#[tokio::test]
async fn requests_that_no_operation_has_are_told_why() {
    let world = World::with_bucket().await;
    world.put("key", b"x").await;
    world.spy.take();
    let object = |method| Ask::object(method, "bucket", "key");
    for (ask, status, code, resource) in [
        (
            Ask::new(Method::POST, "/"),
            405,
            "MethodNotAllowed",
            "SERVICE",
        ),
        (object(Method::POST), 405, "MethodNotAllowed", "OBJECT"),
        (
            object(Method::PUT).query("uploadId=u"),
            405,
            "MethodNotAllowed",
            "UPLOAD",
        ),
        (
            object(Method::PUT).query("partNumber=1").body(b"part"),
            400,
            "InvalidArgument",
            "",
        ),
        (
            object(Method::GET).query("uploads="),
            400,
            "InvalidRequest",
            "",
        ),
        (
            object(Method::GET).query("versions="),
            400,
            "InvalidRequest",
            "",
        ),
        (
            object(Method::GET).header("x-amz-copy-source", "bucket/key"),
            400,
            "InvalidArgument",
            "",
        ),
        (
            object(Method::DELETE).header("x-amz-copy-source", "bucket/key"),
            400,
            "InvalidArgument",
            "",
        ),
        (
            Ask::bucket(Method::POST, "bucket")
                .query("uploadId=u")
                .header("x-amz-copy-source", "bucket/key"),
            400,
            "InvalidArgument",
            "",
        ),
        (
            object(Method::GET).query("attributes="),
            400,
            "InvalidRequest",
            "",
        ),
        (
            object(Method::GET)
                .query("attributes=")
                .header("x-amz-object-attributes", " "),
            400,
            "InvalidRequest",
            "",
        ),
        (
            object(Method::GET)
                .query("attributes=")
                .header("x-amz-object-attributes", "Colour"),
            400,
            "InvalidArgument",
            "",
        ),
    ] {
        let method = ask.method.clone();
        let answer = world.send(ask).await;
        is_error(&answer, status, code);
        assert_eq!(answer.element("ResourceType"), resource);
        if status == 405 {
            assert_eq!(answer.element("Method"), method.as_str());
        }
    }
    assert!(world.spy.take().is_empty());
    assert_eq!(world.get("key").await.body, b"x");
}

#[tokio::test]
async fn a_hash_that_the_body_has_not_is_told_beside_the_one_it_has() {
    let world = World::with_bucket().await;
    let promised = "0123456789abcdef".repeat(4);
    let put = |body: &[u8]| Ask::put("bucket", "key", body).form(Form::Literal(promised.clone()));
    let answer = world.send(put(b"")).await;
    is_error(&answer, 400, "XAmzContentSHA256Mismatch");
    assert_eq!(answer.element("ClientComputedContentSHA256"), promised);
    assert_eq!(
        answer.element("S3ComputedContentSHA256"),
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    );
    assert!(world.stored("bucket", "key").await.is_none());
}

#[tokio::test]
async fn headers_and_query_have_their_limit() {
    let world = World::with_bucket().await;
    world.put("key", b"x").await;
    world.spy.take();
    let long = "x".repeat(8 * 1024);
    for ask in [
        Ask::get("bucket", "key").header("x-amz-custom", &long),
        Ask::get("bucket", "key").query(&format!("response-content-type={long}")),
        Ask::get("bucket", "key")
            .form(Form::Anonymous)
            .header("cookie", &long),
    ] {
        let answer = world.send(ask).await;
        is_error(&answer, 400, "RequestHeaderSectionTooLarge");
        assert_eq!(answer.element("MaxSizeAllowed"), "8192");
    }
    assert!(world.spy.take().is_empty());
    // All that S3 takes beside one another: the longest key, twice, and all the metadata.
    let key = "\u{e9}".repeat(512);
    let source = format!("/bucket/{}", "%C3%A9".repeat(512));
    assert_eq!(world.put(&key, b"x").await.status, StatusCode::OK);
    let copy = Ask::object(Method::PUT, "bucket", &key)
        .header("x-amz-copy-source", &source)
        .header("x-amz-metadata-directive", "REPLACE")
        .header("x-amz-meta-a", &"a".repeat(1024));
    let answer = world.send(copy).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
}

#[tokio::test]
async fn only_uploads_take_a_body_in_chunks_and_chunks_have_a_least_size() {
    let world = World::with_bucket().await;
    let form = |signed, size| Form::Chunked {
        signed,
        size,
        trailer: None,
    };
    let body = content(20_000);
    for signed in [true, false] {
        let document = b"<Tagging><TagSet/></Tagging>";
        for ask in [
            Ask::bucket(Method::PUT, "bucket").query("tagging="),
            Ask::object(Method::PUT, "bucket", "key").query("tagging="),
            Ask::object(Method::POST, "bucket", "key").query("uploadId=u"),
        ] {
            world.spy.take();
            let answer = world
                .send(ask.body(document).form(form(signed, 8192)))
                .await;
            is_error(&answer, 400, "InvalidRequest");
            assert!(world.spy.take().is_empty());
        }
        let short = Ask::put("bucket", "key", &body).form(form(signed, 8191));
        let answer = world.send(short).await;
        is_error(&answer, 400, "InvalidChunkSizeError");
        assert_eq!(
            (answer.element("Chunk"), answer.element("BadChunkSize")),
            ("2".into(), "8191".into())
        );
        // Framing that is none: a size that is no number, and data that goes on where the chunk ends.
        let good = Ask::put("bucket", "key", &body).form(form(signed, 8192));
        for at in [0, good.encode(world.address).1.len() / 2] {
            let (head, mut framed) = good.encode(world.address);
            match at {
                0 => framed[0] = b'z',
                _ => {
                    let end = framed.windows(2).skip(at).position(|two| two == b"\r\n");
                    framed[at + end.unwrap()] = b'z';
                }
            }
            let mut connection = Connection::open(world.address).await;
            connection.write(&head).await;
            connection.write(&framed).await;
            let answer = connection.answer(&good.method).await;
            is_error(&answer, 400, "IncompleteBody");
        }
        assert!(world.stored("bucket", "key").await.is_none());
        let answer = world.send(good).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        assert!(world.get("key").await.body == body);
        world.send(Ask::delete("bucket", "key")).await;
    }
}

#[tokio::test]
async fn object_locks_reach_the_store_and_are_told_as_it_tells_them() {
    const LOCK: [(&str, &str); 3] = [
        ("x-amz-object-lock-mode", "COMPLIANCE"),
        (
            "x-amz-object-lock-retain-until-date",
            "2030-01-01T00:00:00Z",
        ),
        ("x-amz-object-lock-legal-hold", "ON"),
    ];
    let world = World::with_bucket().await;
    world.put("key", b"x").await;
    let locked = |ask: Ask| {
        let names = LOCK.into_iter();
        names.fold(ask, |ask, (name, value)| ask.header(name, value))
    };
    for (ask, operation) in [
        (Ask::put("bucket", "put", b"x"), "/bucket/put"),
        (Ask::copy("bucket", "key", "copy"), "/bucket/copy"),
        (
            Ask::object(Method::POST, "bucket", "parts").query("uploads="),
            "/bucket/parts?uploads",
        ),
    ] {
        world.spy.take();
        world.send(locked(ask)).await;
        let asked = world.spy.take();
        let of = |target: &str| target.starts_with(operation);
        let write = asked.iter().find(|r| r.method != "GET" && of(&r.target));
        let write = write.unwrap_or_else(|| panic!("{asked:?}"));
        for (name, value) in LOCK {
            assert_eq!(write.header(name), value, "{operation}");
        }
        // What the gateway keeps beside an upload is not locked with it.
        let beside = asked.iter().filter(|r| !of(&r.target));
        assert!(beside.clone().all(|r| r.header(LOCK[0].0).is_empty()));
    }
    world.spy.lie(|_, mut reply| {
        for (name, value) in LOCK {
            reply.headers.insert(name, value.parse().unwrap());
        }
        reply.encode()
    });
    for ask in [Ask::head("bucket", "key"), Ask::get("bucket", "key")] {
        let answer = world.send(ask).await;
        for (name, value) in LOCK {
            assert_eq!(answer.header(name), value, "{answer:?}");
        }
    }
}
