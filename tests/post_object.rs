//! Uploads by a browser's form: what a signed policy allows is sealed and stored, everything else is refused with nothing
//! stored.

#![cfg(feature = "embedded")]
#![forbid(unsafe_code)]

mod common;

use common::{
    Answer, Ask, BOB, Connection, MALLORY, MARKER, PostForm, World, contains, content, md5_hex,
};
use http::{Method, StatusCode};
use serde_json::json;

const SEGMENT: usize = 65_480;

fn form(key: &str, size: usize) -> PostForm {
    PostForm::new("bucket", key, &content(size))
}

/// The form is refused with that code, and nothing is stored at `k`.
async fn refused(world: &World, form: &PostForm, status: u16, code: &str) -> Answer {
    refused_ask(world, form.ask(), status, code).await
}

async fn refused_ask(world: &World, ask: Ask, status: u16, code: &str) -> Answer {
    let answer = world.send(ask).await;
    assert_eq!(
        (answer.status.as_u16(), answer.code().as_str()),
        (status, code),
        "{}",
        answer.text()
    );
    assert!(world.stored("bucket", "k").await.is_none(), "{code}");
    answer
}

#[tokio::test]
async fn what_is_uploaded_comes_back_and_is_sealed() {
    let world = World::with_bucket().await;
    for size in [
        0,
        1,
        SEGMENT - 1,
        SEGMENT,
        SEGMENT + 1,
        65_536,
        70_000,
        1 << 20,
        10 << 20,
    ] {
        let key = format!("size/{size}");
        let answer = world.send(form(&key, size).ask()).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT, "{size} {answer:?}");
        assert_eq!(answer.etag(), md5_hex(&content(size)), "{size}");
        assert_eq!(
            answer.header("location"),
            format!("http://{}/bucket/{key}", world.address)
        );
        let got = world.get(&key).await;
        assert_eq!(got.status, StatusCode::OK, "{size}");
        assert!(got.body == content(size), "{size}");
        assert_eq!(got.header("content-type"), "binary/octet-stream");
        if size > MARKER.len() {
            let stored = world.stored("bucket", &key).await.unwrap();
            assert!(!contains(&stored.body, MARKER), "{size}");
        }
    }
    let answer = world.send(form("logged", 3).ask()).await;
    let line = world.log_line(answer.request_id()).await;
    assert_eq!(
        (&line["operation"], &line["user"]),
        (&json!("PostObject"), &json!("alice"))
    );
    assert_eq!(
        (&line["bucket"], &line["key"]),
        (&json!("bucket"), &json!("\"logged\""))
    );
}

#[tokio::test]
async fn fields_become_the_objects_headers() {
    let world = World::with_bucket().await;
    for size in [10, 200_000] {
        let form = form("k", size)
            .field("Content-Type", "text/plain")
            .field("cache-control", "no-store")
            .field("Content-Disposition", "attachment; filename=\"a.txt\"")
            .field("x-amz-meta-Colour", "blue")
            .field("x-amz-checksum-crc32", &checksum(&content(size)));
        let answer = world.send(form.ask()).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT, "{answer:?}");
        let got = world.get("k").await;
        assert!(got.body == content(size));
        assert_eq!(got.header("content-type"), "text/plain");
        assert_eq!(got.header("cache-control"), "no-store");
        assert_eq!(
            got.header("content-disposition"),
            "attachment; filename=\"a.txt\""
        );
        assert_eq!(got.header("x-amz-meta-colour"), "blue");
        // Bound: the store cannot change them.
        let stored = world.stored("bucket", "k").await.unwrap();
        world
            .plant(
                "bucket",
                "k",
                &stored.with_header("content-type", Some("text/html")),
            )
            .await;
        assert_eq!(world.get("k").await.code(), "ObjectIntegrityFailure");
        world.send(Ask::delete("bucket", "k")).await;
        let wrong = form.clone();
        let wrong = PostForm {
            file: content(size - 1),
            ..wrong
        };
        refused(&world, &wrong, 400, "BadDigest").await;
    }
}

fn checksum(data: &[u8]) -> String {
    use sealgate::protocol::{Algorithm, Checksum};
    Checksum::of(Algorithm::Crc32, data).to_base64()
}

#[tokio::test]
async fn success_is_told_as_the_form_asks() {
    let world = World::with_bucket().await;
    let url = "https://app.example.org/done?a=b";
    let answer = world
        .send(
            form("a/k&", 100)
                .field("success_action_redirect", url)
                .ask(),
        )
        .await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    let etag = md5_hex(&content(100));
    let expected = format!("{url}&bucket=bucket&key=a%2Fk%26&etag=%22{etag}%22");
    assert_eq!(answer.header("location"), expected);
    for (asked, status) in [("200", 200), ("201", 201), ("204", 204), ("404", 204)] {
        let answer = world
            .send(form("a b", 100).field("success_action_status", asked).ask())
            .await;
        assert_eq!(answer.status.as_u16(), status, "{asked}");
        let location = format!("http://{}/bucket/a%20b", world.address);
        assert_eq!(answer.header("location"), location);
        if status == 201 {
            assert_eq!(answer.element("Location"), location);
            assert_eq!(answer.element("Bucket"), "bucket");
            assert_eq!(answer.element("Key"), "a b");
            assert_eq!(answer.element("ETag"), format!("\"{etag}\""));
        } else {
            assert!(answer.body.is_empty());
        }
    }
    // Virtual-hosted: the bucket stands in the host.
    let mut ask = form("k", 5).field("success_action_status", "201").ask();
    ask.path = "/".into();
    let answer = world.send(ask.host("bucket.s3.example.org")).await;
    assert_eq!(
        answer.element("Location"),
        "http://bucket.s3.example.org/k",
        "{answer:?}"
    );
    assert_eq!(world.get("k").await.body, content(5));
}

#[tokio::test]
async fn the_file_s_name_can_be_part_of_the_key() {
    let world = World::with_bucket().await;
    for (name, key) in [
        ("cat.jpg", "user/eric/cat.jpg"),
        ("C:\\pictures\\dog.jpg", "user/eric/dog.jpg"),
        ("/tmp/x/ü.txt", "user/eric/ü.txt"),
    ] {
        let mut form = form("user/eric/${filename}", 9).condition(json!([
            "starts-with",
            "$key",
            "user/eric/"
        ]));
        form.filename = name.to_owned();
        assert_eq!(world.send(form.ask()).await.status, StatusCode::NO_CONTENT);
        assert_eq!(world.get(key).await.body, content(9), "{key}");
    }
    // The policy is held against what the key becomes.
    let mut form = form("${filename}", 9).condition(json!(["starts-with", "$key", "user/"]));
    form.filename = "k".into();
    refused(&world, &form, 403, "AccessDenied").await;
}

#[tokio::test]
async fn what_the_policy_does_not_allow_is_refused() {
    let world = World::with_bucket().await;
    world.create("other").await;
    let plain = || form("k", 100);
    let failed =
        |answer: &Answer, what: &str| assert!(answer.text().contains(what), "{}", answer.text());

    let answer = refused(
        &world,
        &plain().condition(json!({"key": "another"})),
        403,
        "AccessDenied",
    )
    .await;
    failed(
        &answer,
        "Invalid according to Policy: Policy Condition failed: [&quot;eq&quot;, &quot;$key&quot;, &quot;another&quot;]",
    );
    let answer = refused(
        &world,
        &plain().extra("acl", "public-read"),
        403,
        "AccessDenied",
    )
    .await;
    failed(
        &answer,
        "Invalid according to Policy: Extra input fields: acl",
    );
    let answer = refused(
        &world,
        &PostForm {
            expires: -1,
            ..plain()
        },
        403,
        "AccessDenied",
    )
    .await;
    failed(&answer, "Invalid according to Policy: Policy expired.");
    // Signed for one bucket, posted to another.
    let mut elsewhere = plain().ask();
    elsewhere.path = "/other".into();
    refused_ask(&world, elsewhere, 403, "AccessDenied").await;
    assert!(world.stored("other", "k").await.is_none());
    for size in [100, 200_000] {
        let range = |min: usize, max: usize| {
            form("k", size).condition(json!(["content-length-range", min, max]))
        };
        let answer = refused(&world, &range(0, size - 1), 400, "EntityTooLarge").await;
        assert_eq!(answer.element("ProposedSize"), size.to_string());
        assert_eq!(answer.element("MaxSizeAllowed"), (size - 1).to_string());
        let answer = refused(&world, &range(size + 1, size + 2), 400, "EntityTooSmall").await;
        assert_eq!(answer.element("MinSizeAllowed"), (size + 1).to_string());
    }
    refused(
        &world,
        &plain().condition(json!(["like", "$key", "k"])),
        400,
        "InvalidPolicyDocument",
    )
    .await;
    assert!(
        world.spy.take().is_empty(),
        "the store heard of none of them"
    );
    let exact = form("k", 100).condition(json!(["content-length-range", 100, 100]));
    assert_eq!(world.send(exact.ask()).await.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn who_has_not_signed_is_refused() {
    let world = World::with_bucket().await;
    refused(
        &world,
        &PostForm {
            anonymous: true,
            ..form("k", 10)
        },
        403,
        "AccessDenied",
    )
    .await;
    refused(
        &world,
        &form("k", 10).by(MALLORY),
        403,
        "InvalidAccessKeyId",
    )
    .await;
    let thief = common::User {
        secret_key: "not-alices-secret-00000",
        ..common::ALICE
    };
    refused(
        &world,
        &form("k", 10).by(thief),
        403,
        "SignatureDoesNotMatch",
    )
    .await;
    refused(
        &world,
        &PostForm {
            signed: -8 * 86_400,
            ..form("k", 10)
        },
        403,
        "AccessDenied",
    )
    .await;
    refused(
        &world,
        &PostForm {
            signed: 3600,
            ..form("k", 10)
        },
        403,
        "AccessDenied",
    )
    .await;
    // A policy that was changed.
    let mut changed = form("k", 10);
    changed.anonymous = true;
    for (name, value) in form("another", 10).signed_fields() {
        let value = if name == "policy" {
            value.replace('A', "B")
        } else {
            value
        };
        if name != "key" {
            changed = changed.extra(&name, &value);
        }
    }
    refused(&world, &changed, 403, "SignatureDoesNotMatch").await;
    for missing in [
        "policy",
        "x-amz-signature",
        "x-amz-credential",
        "x-amz-date",
        "x-amz-algorithm",
    ] {
        let mut form = form("k", 10);
        form.fields = form
            .signed_fields()
            .into_iter()
            .filter(|(name, _)| name != missing)
            .collect();
        form.anonymous = true;
        let answer = refused(&world, &form, 400, "InvalidArgument").await;
        assert_eq!(answer.element("ArgumentName"), missing);
    }
    let version_2 = PostForm {
        anonymous: true,
        ..form("k", 10)
    };
    let version_2 = version_2
        .extra("AWSAccessKeyId", "alice")
        .extra("policy", "e30=")
        .extra("signature", "c2lnbmF0dXJl");
    refused(&world, &version_2, 400, "InvalidRequest").await;
    refused(
        &world,
        &form("k", 10).extra("x-amz-security-token", "t"),
        400,
        "InvalidToken",
    )
    .await;
    // A form has one signature, its own.
    let mut both = form("k", 10).ask();
    both.form = common::Form::Signed;
    refused_ask(&world, both, 400, "InvalidArgument").await;
    assert!(
        world.spy.take().is_empty(),
        "the store heard of none of them"
    );
    assert!(world.metric("sealgate_auth_failures_total", Some(("kind", "signature"))) >= 2);
}

#[tokio::test]
async fn what_the_user_may_not_do_no_policy_allows() {
    let users = r#"[{"access_key": "bob", "secret_key": "bob-secret-0123456789ab",
        "rules": [{"buckets": ["bucket"], "prefixes": ["in/"], "actions": ["write"]}]}]"#;
    let world = World::with(users, "{}").await;
    world.create("bucket").await;
    refused(&world, &form("k", 10).by(BOB), 403, "AccessDenied").await;
    for size in [10, 200_000] {
        let key = format!("in/{size}");
        let answer = world.send(form(&key, size).by(BOB).ask()).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT, "{answer:?}");
        // Append-only: what is there stays.
        let again = world.send(form(&key, size + 1).by(BOB).ask()).await;
        assert_eq!(
            (again.status, again.code()),
            (StatusCode::FORBIDDEN, "AccessDenied".into())
        );
        assert!(world.get(&key).await.body == content(size));
    }
    // A condition of the form's own.
    let once = form("in/10", 11).field("If-None-Match", "*");
    assert_eq!(
        world.send(once.ask()).await.status,
        StatusCode::PRECONDITION_FAILED
    );
    assert_eq!(
        world.send(form("in/10", 11).ask()).await.status,
        StatusCode::NO_CONTENT
    );
    assert_eq!(world.get("in/10").await.body, content(11));
}

#[tokio::test]
async fn forms_that_are_not_well_formed_are_refused() {
    let world = World::with_bucket().await;
    let malformed = "MalformedPOSTRequest";
    for size in [100, 200_000] {
        let whole = form("k", size);
        // Another boundary than the head says.
        let mut other = whole.ask();
        other.headers.insert(
            "content-type",
            "multipart/form-data; boundary=other".parse().unwrap(),
        );
        refused_ask(&world, other, 400, malformed).await;
        // The end is missing, in pieces, though the body has the length it says.
        for cut in [1, 3, 4, 5, 20, 40] {
            let mut ask = whole.ask();
            ask.body.truncate(ask.body.len() - cut);
            if size == 100 && cut <= 2 {
                continue;
            }
            refused_ask(&world, ask, 400, malformed).await;
        }
        // The file holds the boundary.
        let mut twice = whole.clone();
        twice.file.truncate(size / 2);
        twice
            .file
            .extend(format!("\r\n--{}x", twice.boundary).bytes());
        twice.file.extend(content(size / 2));
        refused(&world, &twice, 400, malformed).await;
        // No key, no file.
        let mut nameless = whole.clone();
        nameless.fields.clear();
        refused(&world, &nameless, 400, "InvalidArgument").await;
        refused(&world, &form("", size), 400, "InvalidArgument").await;
        refused(
            &world,
            &form(&"x".repeat(1025), size),
            400,
            "KeyTooLongError",
        )
        .await;
    }
    let mut no_file = form("k", 0).ask();
    no_file.body = String::from_utf8(no_file.body)
        .unwrap()
        .replace("name=\"file\"", "name=\"fool\"")
        .into();
    refused_ask(&world, no_file, 400, "InvalidArgument").await;
    let large = form("k", 10).field("x-ignore-this", &"x".repeat(70_000));
    refused(&world, &large, 400, "MaxPostPreDataLengthExceededError").await;
    let mut boundless = form("k", 10).ask();
    boundless
        .headers
        .insert("content-type", "multipart/form-data".parse().unwrap());
    refused_ask(&world, boundless, 400, malformed).await;
    // Not a form at all.
    let answer = refused_ask(
        &world,
        Ask::bucket(Method::POST, "bucket").body(b"data"),
        412,
        "PreconditionFailed",
    )
    .await;
    assert!(answer.text().contains("multipart/form-data"));
    let puts = world.spy.take().into_iter().filter(|seen| seen.complete);
    assert_eq!(puts.count(), 0, "the store got no whole object");
}

#[tokio::test]
async fn parts_behind_the_file_are_ignored_where_the_form_is_short_and_refused_where_it_is_not() {
    let world = World::with_bucket().await;
    let with_more = |size| {
        let mut form = form("k", size);
        form.after = vec![
            ("acl".into(), "public-read".into()),
            ("submit".into(), "Upload".into()),
        ];
        form
    };
    refused(&world, &with_more(200_000), 400, "MalformedPOSTRequest").await;
    assert_eq!(
        world.send(with_more(100).ask()).await.status,
        StatusCode::NO_CONTENT
    );
    assert_eq!(world.get("k").await.body, content(100));
    // The last line end may be missing where the form is short.
    let short = PostForm {
        ending: "--",
        ..form("short", 50_000)
    };
    assert_eq!(world.send(short.ask()).await.status, StatusCode::NO_CONTENT);
    assert!(world.get("short").await.body == content(50_000));
}

#[tokio::test]
async fn a_form_that_breaks_off_stores_nothing() {
    let world = World::with_bucket().await;
    for size in [100, 300_000] {
        let ask = form("k", size).ask();
        let (head, body) = ask.encode(world.address);
        for sent in [10, body.len() / 2, body.len() - 1] {
            let mut connection = Connection::open(world.address).await;
            connection.write(&head).await;
            connection.write(&body[..sent]).await;
            connection.finish_writing().await;
            if let Some(answer) = connection.try_answer(&Method::POST).await {
                assert_eq!(
                    (answer.status, answer.code()),
                    (StatusCode::BAD_REQUEST, "IncompleteBody".into()),
                    "{sent}"
                );
            }
            assert!(world.stored("bucket", "k").await.is_none(), "{size} {sent}");
        }
    }
}

#[tokio::test]
async fn a_form_of_unknown_length_is_refused() {
    let world = World::with_bucket().await;
    let ask = form("k", 10).ask();
    let (head, body) = ask.encode(world.address);
    let length = format!("content-length: {}\r\n", body.len());
    let head = String::from_utf8(head)
        .unwrap()
        .replace(&length, "transfer-encoding: chunked\r\n");
    let mut connection = Connection::open(world.address).await;
    connection.write(head.as_bytes()).await;
    connection
        .write(format!("{:x}\r\n", body.len()).as_bytes())
        .await;
    connection.write(&body).await;
    connection.write(b"\r\n0\r\n\r\n").await;
    let answer = connection.answer(&Method::POST).await;
    assert_eq!(
        (answer.status, answer.code()),
        (StatusCode::LENGTH_REQUIRED, "MissingContentLength".into())
    );
    assert!(world.stored("bucket", "k").await.is_none());
}
