//! What browsers of other origins are told: preflights, the headers of other answers, and what the store is asked for it.

#![cfg(feature = "embedded")]
#![forbid(unsafe_code)]

mod common;

use common::{Answer, Ask, Form, PostForm, Reply, Seen, World, content};
use http::{Method, StatusCode};

const APP: &str = "https://app.example.org";

/// Rules in the gateway's configuration.
const RULES: &str = r#"{
    "bucket": {"cors": [
        {"allowed_origins": ["https://*.example.org"], "allowed_methods": ["GET", "PUT", "POST"],
         "allowed_headers": ["content-*", "x-amz-*", "authorization"], "expose_headers": ["ETag"], "max_age_seconds": 600},
        {"allowed_origins": ["*"], "allowed_methods": ["HEAD"]}
    ]},
    "closed": {"cors": []}
}"#;

/// The same origin, as the store has it.
const STORED: &str = "<CORSConfiguration><CORSRule><AllowedOrigin>https://app.example.org</AllowedOrigin>\
    <AllowedMethod>GET</AllowedMethod><AllowedMethod>DELETE</AllowedMethod><ExposeHeader>x-amz-version-id</ExposeHeader>\
    </CORSRule></CORSConfiguration>";

fn preflight(path: &str, origin: &str, method: &str) -> Ask {
    Ask::new(Method::OPTIONS, path)
        .form(Form::Anonymous)
        .header("origin", origin)
        .header("access-control-request-method", method)
}

/// Headers of an answer that have to do with origins.
fn shared(answer: &Answer) -> Vec<(&str, &str)> {
    let mut headers: Vec<_> = answer
        .headers
        .iter()
        .filter(|(name, _)| name.as_str().starts_with("access-control-") || name.as_str() == "vary")
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .collect();
    headers.sort_unstable();
    headers
}

const VARY: (&str, &str) = (
    "vary",
    "Origin, Access-Control-Request-Headers, Access-Control-Request-Method",
);

/// A store that keeps this CORS document, and counts who asks for it.
fn keep(world: &World, status: u16, document: &'static str) {
    world.spy.lie(move |seen: &Seen, mut reply: Reply| {
        if asks_for_cors(seen) {
            reply.status = StatusCode::from_u16(status).unwrap();
            reply.headers.remove("transfer-encoding");
            reply.body = document.as_bytes().to_vec();
            reply.fix_length();
        }
        reply.encode()
    });
}

fn asks_for_cors(seen: &Seen) -> bool {
    seen.method == "GET" && seen.target.ends_with("?cors=")
}

fn questions(world: &World) -> usize {
    world
        .spy
        .take()
        .iter()
        .filter(|seen| asks_for_cors(seen))
        .count()
}

#[tokio::test]
async fn preflights_are_answered_by_configured_rules_without_asking_the_store() {
    let world = World::with("[]", RULES).await;
    world.create("bucket").await;
    let ask = preflight("/bucket/a/key", APP, "PUT").header(
        "access-control-request-headers",
        "Content-Type,x-amz-date, authorization",
    );
    for ask in [ask.clone(), {
        let mut ask = ask;
        ask.path = "/a/key".into();
        ask.host("bucket.s3.example.org")
    }] {
        let answer = world.send(ask).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        assert!(answer.body.is_empty());
        assert_eq!(
            shared(&answer),
            [
                ("access-control-allow-credentials", "true"),
                (
                    "access-control-allow-headers",
                    "content-type, x-amz-date, authorization"
                ),
                ("access-control-allow-methods", "GET, PUT, POST"),
                ("access-control-allow-origin", APP),
                ("access-control-expose-headers", "ETag"),
                ("access-control-max-age", "600"),
                VARY,
            ]
        );
        let line = world.log_line(answer.request_id()).await;
        assert_eq!(
            (&line["operation"], &line["user"]),
            (&"Preflight".into(), &"".into())
        );
    }
    let answer = world
        .send(preflight("/bucket", "https://elsewhere", "HEAD"))
        .await;
    assert_eq!(
        shared(&answer),
        [
            ("access-control-allow-methods", "HEAD"),
            ("access-control-allow-origin", "*"),
            VARY,
        ]
    );
    assert!(world.spy.take().is_empty());
}

#[tokio::test]
async fn preflights_that_no_rule_allows_are_refused() {
    let world = World::with("[]", RULES).await;
    world.create("bucket").await;
    let refused = async |ask: Ask| {
        let answer = world.send(ask).await;
        assert_eq!(
            (answer.status, answer.code()),
            (StatusCode::FORBIDDEN, "AccessForbidden".into()),
            "{answer:?}"
        );
        assert!(shared(&answer).is_empty());
        answer
    };
    let answer = refused(preflight("/bucket/k", "https://elsewhere", "PUT")).await;
    assert!(
        answer
            .text()
            .contains("CORSResponse: This CORS request is not allowed.")
    );
    assert_eq!(
        (answer.element("Method"), answer.element("ResourceType")),
        ("PUT".into(), "OBJECT".into())
    );
    refused(preflight("/bucket/k", APP, "DELETE")).await;
    refused(preflight("/bucket/k", APP, "PUT").header("access-control-request-headers", "cookie"))
        .await;
    let answer = refused(preflight("/closed/k", APP, "PUT")).await;
    assert!(
        answer
            .text()
            .contains("CORS is not enabled for this bucket.")
    );
    refused(preflight("/", APP, "GET")).await;

    let bad = |ask: Ask| {
        let world = &world;
        async move {
            let answer = world.send(ask).await;
            assert_eq!(
                (answer.status, answer.code()),
                (StatusCode::BAD_REQUEST, "BadRequest".into()),
                "{answer:?}"
            );
        }
    };
    bad(Ask::new(Method::OPTIONS, "/bucket/k").form(Form::Anonymous)).await;
    bad(Ask::new(Method::OPTIONS, "/bucket/k")
        .form(Form::Anonymous)
        .header("origin", APP))
    .await;
    bad(preflight("/bucket/k", APP, "PATCH")).await;
    for headers in ["not a header", "x-a,b/c", "x-a,x-\u{e9}"] {
        bad(preflight("/bucket/k", APP, "PUT").header("access-control-request-headers", headers))
            .await;
    }
}

#[tokio::test]
async fn every_answer_to_another_origin_says_so() {
    let world = World::with("[]", RULES).await;
    world.create("bucket").await;
    let expected = [
        ("access-control-allow-credentials", "true"),
        ("access-control-allow-methods", "GET, PUT, POST"),
        ("access-control-allow-origin", APP),
        ("access-control-expose-headers", "ETag"),
        VARY,
    ];
    let answer = world
        .send(Ask::put("bucket", "k", &content(10)).header("origin", APP))
        .await;
    assert_eq!(
        (answer.status, shared(&answer)),
        (StatusCode::OK, expected.to_vec())
    );
    let answer = world
        .send(Ask::get("bucket", "k").header("origin", APP))
        .await;
    assert_eq!(
        (answer.status, shared(&answer)),
        (StatusCode::OK, expected.to_vec())
    );
    assert_eq!(answer.body, content(10));
    let answer = world
        .send(Ask::get("bucket", "missing").header("origin", APP))
        .await;
    assert_eq!(
        (answer.status, shared(&answer)),
        (StatusCode::NOT_FOUND, expected.to_vec())
    );
    let answer = world
        .send(
            Ask::get("bucket", "k")
                .form(Form::Anonymous)
                .header("origin", APP),
        )
        .await;
    assert_eq!(
        (answer.status, shared(&answer)),
        (StatusCode::FORBIDDEN, expected.to_vec())
    );
    let answer = world
        .send(
            Ask::get("bucket", "k")
                .form(Form::Presigned(60))
                .header("origin", APP),
        )
        .await;
    assert_eq!(
        (answer.status, shared(&answer)),
        (StatusCode::OK, expected.to_vec())
    );
    let mut form = PostForm::new("bucket", "posted", b"data").ask();
    form.headers.insert("origin", APP.parse().unwrap());
    let answer = world.send(form).await;
    assert_eq!(
        (answer.status, shared(&answer)),
        (StatusCode::NO_CONTENT, expected.to_vec())
    );

    let answer = world
        .send(Ask::get("bucket", "k").header("origin", "https://elsewhere"))
        .await;
    assert_eq!(
        (answer.status, shared(&answer)),
        (StatusCode::OK, vec![VARY])
    );
    let answer = world.send(Ask::get("bucket", "k")).await;
    assert!(shared(&answer).is_empty(), "no origin, no headers");
    world.create("closed").await;
    let answer = world
        .send(Ask::get("closed", "k").header("origin", APP))
        .await;
    assert!(shared(&answer).is_empty());
}

#[tokio::test]
async fn the_store_s_rules_count_and_are_asked_for_once() {
    let world = World::with_bucket().await;
    keep(&world, 200, STORED);
    let asks: Vec<_> = (0..20)
        .map(|_| world.send(preflight("/bucket/k", APP, "GET")))
        .collect();
    for answer in futures::future::join_all(asks).await {
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.header("access-control-allow-methods"), "GET, DELETE");
    }
    let answer = world
        .send(Ask::get("bucket", "k").header("origin", APP))
        .await;
    assert_eq!(
        answer.header("access-control-expose-headers"),
        "x-amz-version-id"
    );
    assert_eq!(questions(&world), 1);
    // What changes the rules through this gateway counts at once.
    let put = Ask::bucket(Method::PUT, "bucket")
        .query("cors=")
        .body(STORED.as_bytes());
    let _ = world.send(put).await;
    keep(
        &world,
        404,
        "<Error><Code>NoSuchCORSConfiguration</Code></Error>",
    );
    assert_eq!(
        world.send(preflight("/bucket/k", APP, "GET")).await.status,
        StatusCode::FORBIDDEN
    );
    assert_eq!(questions(&world), 1);
    let _ = world
        .send(Ask::bucket(Method::DELETE, "bucket").query("cors="))
        .await;
    keep(&world, 200, STORED);
    assert_eq!(
        world.send(preflight("/bucket/k", APP, "GET")).await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn buckets_without_rules_and_buckets_that_are_not_there_look_the_same() {
    let world = World::with_bucket().await;
    let mut answers = Vec::new();
    for bucket in ["bucket", "missing"] {
        for _ in 0..3 {
            let answer = world
                .send(preflight(&format!("/{bucket}/k"), APP, "GET"))
                .await;
            let text = answer
                .text()
                .replace(answer.request_id(), "")
                .replace(&format!("/{bucket}/k"), "");
            answers.push((answer.status, text));
        }
        // The embedded store has no CORS; that is remembered as well.
        assert!(questions(&world) <= 1, "{bucket}");
    }
    assert!(
        answers.iter().all(|answer| *answer == answers[0]),
        "{answers:?}"
    );
    assert_eq!(answers[0].0, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn rules_that_cannot_be_read_are_none() {
    let world = World::with_bucket().await;
    for (bucket, status, document) in [
        ("bucket", 200, "<CORSConfiguration><CORSRule>"),
        (
            "two",
            200,
            "<CORSConfiguration><CORSRule><AllowedOrigin>*</AllowedOrigin><AllowedMethod>GET</AllowedMethod><Unless>x</Unless></CORSRule></CORSConfiguration>",
        ),
        ("three", 501, "<Error><Code>NotImplemented</Code></Error>"),
        ("four", 403, "<Error><Code>AccessDenied</Code></Error>"),
    ] {
        keep(&world, status, document);
        let answer = world
            .send(preflight(&format!("/{bucket}/k"), APP, "GET"))
            .await;
        assert_eq!(
            (answer.status, answer.code()),
            (StatusCode::FORBIDDEN, "AccessForbidden".into()),
            "{document}"
        );
        assert!(!answer.text().contains("Unless"));
    }
    // What the store itself says of origins goes to nobody.
    world.put("k", b"data").await;
    world.spy.lie(|_, mut reply: Reply| {
        reply
            .headers
            .insert("access-control-allow-origin", "*".parse().unwrap());
        reply.encode()
    });
    for ask in [
        Ask::get("bucket", "k"),
        Ask::get("bucket", "k").header("origin", APP),
    ] {
        let answer = world.send(ask).await;
        assert!(
            answer.status == StatusCode::OK && shared(&answer).is_empty(),
            "{answer:?}"
        );
    }
}
