//! Checksums of objects: those that copies keep, tell and get anew, and those of uploads that bring none.
#![cfg(feature = "embedded")]
#![forbid(unsafe_code)]

mod common;

use common::{Answer, Ask, Connection, Form, PostForm, World, content, query_of};
use http::{Method, StatusCode};
use sealgate::protocol::checksum::{Algorithm, Checksum};
use serde_json::json;

const MIN: usize = 5 << 20;
const BUCKET: &str = "bucket";

/// A copy within the bucket.
fn copy(from: &str, to: &str) -> Ask {
    Ask::copy(BUCKET, from, to)
}

fn base64(algorithm: Algorithm, body: &[u8]) -> String {
    Checksum::of(algorithm, body).to_base64()
}

/// The object with its checksum.
async fn head(world: &World, key: &str) -> Answer {
    let ask = Ask::head(BUCKET, key).header("x-amz-checksum-mode", "ENABLED");
    let answer = world.send(ask).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    answer
}

/// The checksum elements of a document.
fn told(answer: &Answer) -> Vec<(Algorithm, String)> {
    let of = |algorithm: Algorithm| {
        let values = answer.elements(algorithm.element());
        values.into_iter().map(move |value| (algorithm, value))
    };
    Algorithm::ALL.into_iter().flat_map(of).collect()
}

/// The checksum headers of an answer.
fn headers(answer: &Answer) -> Vec<(Algorithm, String)> {
    let of = |algorithm: Algorithm| (algorithm, answer.header(algorithm.header()).to_owned());
    let all = Algorithm::ALL.into_iter().map(of);
    all.filter(|(_, value)| !value.is_empty()).collect()
}

/// Uploads in parts that bring their checksums where the upload asks for one, and gives the answers to the parts and to the
/// completion.
async fn upload(
    world: &World,
    key: &str,
    wanted: Option<(Algorithm, &str)>,
    parts: &[&[u8]],
) -> (Vec<Answer>, Answer) {
    let mut create = Ask::object(Method::POST, BUCKET, key).query("uploads=");
    if let Some((algorithm, kind)) = wanted {
        create = create
            .header("x-amz-checksum-algorithm", algorithm.name())
            .header("x-amz-checksum-type", kind);
    }
    let id = world.send(create).await.element("UploadId");
    let (mut answers, mut document) = (Vec::new(), String::new());
    for (n, body) in (1..).zip(parts) {
        let number = format!("{n}");
        let query = query_of(&[("partNumber", &number), ("uploadId", &id)]);
        let mut put = Ask::put(BUCKET, key, body).query(&query);
        let mut sum = String::new();
        if let Some((algorithm, _)) = wanted {
            let (value, name) = (base64(algorithm, body), algorithm.element());
            put = put.header(algorithm.header(), &value);
            sum = format!("<{name}>{value}</{name}>");
        }
        let answer = world.send(put).await;
        let etag = answer.etag();
        document += &format!("<Part><PartNumber>{n}</PartNumber><ETag>{etag}</ETag>{sum}</Part>");
        answers.push(answer);
    }
    let document = format!("<CompleteMultipartUpload>{document}</CompleteMultipartUpload>");
    let complete = Ask::object(Method::POST, BUCKET, key)
        .query(&query_of(&[("uploadId", &id)]))
        .body(document.as_bytes());
    let done = world.send(complete).await;
    assert_eq!(done.status, StatusCode::OK, "{done:?}");
    (answers, done)
}

#[tokio::test]
async fn a_copy_keeps_its_checksum_and_tells_it() {
    let world = World::with_bucket().await;
    let plain = content(70_000);
    for algorithm in Algorithm::ALL {
        let value = base64(algorithm, &plain);
        let put = Ask::put(BUCKET, "key", &plain).header(algorithm.header(), &value);
        assert_eq!(world.send(put).await.status, StatusCode::OK);
        for ask in [
            copy("key", "copy"),
            // What it has already costs nothing.
            copy("key", "copy").header("x-amz-checksum-algorithm", algorithm.name()),
        ] {
            world.spy.take();
            let copied = world.send(ask).await;
            assert_eq!(told(&copied), [(algorithm, value.clone())], "{copied:?}");
            assert_eq!(copied.element("ChecksumType"), "FULL_OBJECT");
            let asked = world.spy.take();
            assert!(
                asked
                    .iter()
                    .any(|r| !r.header("x-amz-copy-source").is_empty())
            );
            assert_eq!(
                headers(&head(&world, "copy").await),
                [(algorithm, value.clone())]
            );
        }
    }
    world.put("none", &plain).await;
    let copied = world.send(copy("none", "copy")).await;
    assert_eq!(
        (told(&copied), copied.elements("ChecksumType")),
        (vec![], vec![])
    );
}

#[tokio::test]
async fn a_copy_with_another_checksum_is_sealed_anew() {
    let world = World::with_bucket().await;
    for size in [0, 40, 300_000] {
        let plain = content(size);
        let put = Ask::put(BUCKET, "key", &plain)
            .header("x-amz-meta-colour", "blue")
            .header("content-type", "text/x-test")
            .header("x-amz-tagging", "a=b%20c")
            .header("x-amz-checksum-crc32", &base64(Algorithm::Crc32, &plain));
        assert_eq!(world.send(put).await.status, StatusCode::OK);
        let ask = copy("key", "copy").header("x-amz-checksum-algorithm", "SHA256");
        let copied = world.send(ask).await;
        assert_eq!(copied.status, StatusCode::OK, "{copied:?}");
        let expected = [(Algorithm::Sha256, base64(Algorithm::Sha256, &plain))];
        assert_eq!(told(&copied), expected);
        assert_eq!(copied.element("ChecksumType"), "FULL_OBJECT");
        let there = head(&world, "copy").await;
        assert_eq!(headers(&there), expected);
        assert_eq!(there.header("x-amz-meta-colour"), "blue");
        assert_eq!(there.header("content-type"), "text/x-test");
        assert_eq!(there.header("etag"), copied.element("ETag"));
        assert!(world.get("copy").await.body == plain);
        let tags = Ask::get(BUCKET, "copy").query("tagging=");
        assert_eq!(world.send(tags).await.element("Value"), "b c");
        // The source is as it was, and nothing of its key is used twice.
        assert_eq!(headers(&head(&world, "key").await)[0].0, Algorithm::Crc32);
        let stored = [
            world.stored(BUCKET, "key").await,
            world.stored(BUCKET, "copy").await,
        ];
        let [from, to] = stored.map(|stored| stored.unwrap().body);
        assert!(from.len() == to.len() && from[..512] != to[..512]);

        let replaced = copy("key", "copy")
            .header("x-amz-checksum-algorithm", "CRC64NVME")
            .header("x-amz-tagging-directive", "REPLACE")
            .header("x-amz-tagging", "d=e")
            .header("x-amz-metadata-directive", "REPLACE")
            .header("x-amz-meta-colour", "red");
        assert_eq!(told(&world.send(replaced).await)[0].0, Algorithm::Crc64Nvme);
        assert_eq!(
            head(&world, "copy").await.header("x-amz-meta-colour"),
            "red"
        );
        let tags = Ask::get(BUCKET, "copy").query("tagging=");
        assert_eq!(world.send(tags).await.element("Value"), "e");
    }
    for wrong in ["MD4", ""] {
        let ask = copy("key", "copy").header("x-amz-checksum-algorithm", wrong);
        let refused = world.send(ask).await;
        assert_eq!(
            (refused.status.as_u16(), refused.code().as_str()),
            (400, "InvalidRequest")
        );
    }
}

#[tokio::test]
async fn a_copy_of_an_object_in_parts_gets_a_checksum_of_its_whole() {
    let world = World::with_bucket().await;
    let (one, two) = (content(MIN), content(1000));
    let wanted = Some((Algorithm::Crc32c, "COMPOSITE"));
    let (_, done) = upload(&world, "parts", wanted, &[&one, &two]).await;
    assert_eq!(done.element("ChecksumType"), "COMPOSITE");
    let kept = world.send(copy("parts", "copy")).await;
    assert_eq!(told(&kept), told(&done));
    assert_eq!(kept.element("ChecksumType"), "COMPOSITE");

    let whole = [&one[..], &two].concat();
    let ask = copy("parts", "copy").header("x-amz-checksum-algorithm", "SHA1");
    let copied = world.send(ask).await;
    assert_eq!(
        told(&copied),
        [(Algorithm::Sha1, base64(Algorithm::Sha1, &whole))]
    );
    assert_eq!(copied.element("ChecksumType"), "FULL_OBJECT");
    assert!(!copied.element("ETag").contains('-'));
    assert!(world.get("copy").await.body == whole);
}

#[tokio::test]
async fn a_copy_to_itself_with_another_checksum_is_a_change() {
    let world = World::with_bucket().await;
    let plain = content(400);
    let put = Ask::put(BUCKET, "key", &plain)
        .header("x-amz-meta-colour", "blue")
        .header("x-amz-checksum-sha256", &base64(Algorithm::Sha256, &plain));
    assert_eq!(world.send(put).await.status, StatusCode::OK);
    let before = world.stored(BUCKET, "key").await;
    for same in [
        copy("key", "key"),
        copy("key", "key").header("x-amz-checksum-algorithm", "SHA256"),
    ] {
        let refused = world.send(same).await;
        assert_eq!(
            (refused.status.as_u16(), refused.code().as_str()),
            (400, "InvalidRequest")
        );
        assert_eq!(world.stored(BUCKET, "key").await, before);
    }
    let other = copy("key", "key").header("x-amz-checksum-algorithm", "CRC32");
    let copied = world.send(other).await;
    assert_eq!(
        told(&copied),
        [(Algorithm::Crc32, base64(Algorithm::Crc32, &plain))]
    );
    let there = head(&world, "key").await;
    assert_eq!(headers(&there), told(&copied));
    assert_eq!(there.header("x-amz-meta-colour"), "blue");
    assert!(world.get("key").await.body == plain);
}

#[tokio::test]
async fn a_source_that_changes_while_it_is_sealed_anew_is_followed() {
    let world = World::with_bucket().await;
    let old = content(200_000);
    world.put("key", &old).await;
    // As if another upload had taken its place between the footer and the bytes.
    let mut changed = 0;
    world.spy.lie(move |seen, mut reply| {
        if seen.method == "GET" && !seen.header("if-match").is_empty() && changed < 2 {
            changed += 1;
            reply.status = StatusCode::PRECONDITION_FAILED;
            reply.body = b"<Error><Code>PreconditionFailed</Code></Error>".to_vec();
            reply.headers.remove("etag");
            reply.fix_length();
        }
        reply.encode()
    });
    let ask = copy("key", "copy").header("x-amz-checksum-algorithm", "SHA1");
    let copied = world.send(ask).await;
    assert_eq!(
        told(&copied),
        [(Algorithm::Sha1, base64(Algorithm::Sha1, &old))]
    );
    world.spy.be_honest();
    assert!(world.get("copy").await.body == old);
}

#[tokio::test]
async fn uploads_without_a_checksum_get_one_where_the_bucket_says_so() {
    let settings = json!({"buckets": {BUCKET: {"default_checksum": "crc64nvme"}}});
    let world = World::with_settings(settings).await;
    world.create(BUCKET).await;
    world.create("other").await;
    for size in [0, 40, 200_000] {
        let plain = content(size);
        let expected = [(Algorithm::Crc64Nvme, base64(Algorithm::Crc64Nvme, &plain))];
        let chunked = Form::Chunked {
            signed: false,
            size: 65_536,
            trailer: None,
        };
        for form in [
            Form::Signed,
            Form::Literal("UNSIGNED-PAYLOAD".into()),
            chunked,
        ] {
            let put = world.send(Ask::put(BUCKET, "key", &plain).form(form)).await;
            assert_eq!(headers(&put), expected, "{put:?}");
            assert_eq!(put.header("x-amz-checksum-type"), "FULL_OBJECT");
            assert_eq!(headers(&head(&world, "key").await), expected);
        }
        let form = PostForm::new(BUCKET, "key", &plain);
        let posted = world.send(form.ask()).await;
        assert_eq!(headers(&posted), expected, "{posted:?}");
        // Who brings one keeps it.
        let sha1 = base64(Algorithm::Sha1, &plain);
        let put = Ask::put(BUCKET, "key", &plain).header("x-amz-checksum-sha1", &sha1);
        assert_eq!(
            headers(&world.send(put).await),
            [(Algorithm::Sha1, sha1.clone())]
        );
        assert_eq!(
            headers(&head(&world, "key").await),
            [(Algorithm::Sha1, sha1)]
        );
        let put = world.send(Ask::put("other", "key", &plain)).await;
        assert_eq!(headers(&put), []);
    }
}

#[tokio::test]
async fn uploads_in_parts_get_one_too() {
    let settings = json!({"buckets": {BUCKET: {"default_checksum": "crc64nvme"}}});
    let world = World::with_settings(settings).await;
    world.create(BUCKET).await;
    let (one, two) = (content(MIN), content(1000));
    let whole = [&one[..], &two].concat();
    let nvme = |body: &[u8]| (Algorithm::Crc64Nvme, base64(Algorithm::Crc64Nvme, body));
    let (parts, done) = upload(&world, "key", None, &[&one, &two]).await;
    assert_eq!(headers(&parts[0]), [nvme(&one)]);
    assert_eq!(headers(&parts[1]), [nvme(&two)]);
    assert_eq!(told(&done), [nvme(&whole)]);
    assert_eq!(done.element("ChecksumType"), "FULL_OBJECT");
    let there = head(&world, "key").await;
    assert_eq!(headers(&there), [nvme(&whole)]);
    assert_eq!(there.header("x-amz-checksum-type"), "FULL_OBJECT");
    assert!(world.get("key").await.body == whole);
    // S3 tells none of such an object's parts.
    let ask = Ask::get(BUCKET, "key").query("partNumber=2");
    let part = world
        .send(ask.header("x-amz-checksum-mode", "ENABLED"))
        .await;
    assert!(part.body == two && headers(&part).is_empty(), "{part:?}");
    let ask = Ask::get(BUCKET, "key")
        .query("attributes=")
        .header("x-amz-object-attributes", "Checksum,ObjectParts");
    let attributes = world.send(ask).await;
    assert_eq!(told(&attributes), [nvme(&whole)]);
    assert_eq!(attributes.elements("Size"), ["5242880", "1000"]);
    // An entry of the cache that completion left and one that the footer gives say the same.
    for address in [world.address, world.again().await] {
        let ask = Ask::bucket(Method::GET, BUCKET).query("list-type=2");
        let listed = world.send_to(address, ask).await;
        assert_eq!(listed.element("ChecksumAlgorithm"), "CRC64NVME");
        assert_eq!(listed.element("ChecksumType"), "FULL_OBJECT");
    }
    // Who asks for another gets that alone.
    let wanted = Some((Algorithm::Crc32, "FULL_OBJECT"));
    let (_, done) = upload(&world, "key", wanted, &[&one, &two]).await;
    assert_eq!(
        told(&done),
        [(Algorithm::Crc32, base64(Algorithm::Crc32, &whole))]
    );
}

#[tokio::test]
async fn attributes_of_a_mark_of_deletion_are_those_of_no_object() {
    let world = World::with_bucket().await;
    world.put("key", b"x").await;
    // As stores with versions say of such a mark.
    world.spy.lie(|_, mut reply| {
        reply.status = StatusCode::METHOD_NOT_ALLOWED;
        reply
            .headers
            .insert("x-amz-delete-marker", "true".parse().unwrap());
        reply.body = b"<Error><Code>MethodNotAllowed</Code></Error>".to_vec();
        reply.fix_length();
        reply.encode()
    });
    let ask = Ask::get(BUCKET, "key")
        .query("attributes=&versionId=v")
        .header("x-amz-object-attributes", "ETag");
    let answer = world.send(ask).await;
    assert_eq!(
        (answer.status.as_u16(), answer.code().as_str()),
        (404, "NoSuchKey")
    );
    let answer = world
        .send(Ask::get(BUCKET, "key").query("versionId=v"))
        .await;
    assert_eq!(answer.code(), "MethodNotAllowed");
}

/// MD5 of uploads under way is made side by side: each must get its own, whatever becomes of the others.
#[tokio::test]
async fn uploads_side_by_side_have_their_own_etags() {
    let world = World::with_bucket().await;
    let bodies: Vec<Vec<u8>> = (0..18)
        .map(|n| content(n * 17_111 + 1)[n..].to_vec())
        .collect();
    let asks = bodies.iter().enumerate().map(|(n, body)| {
        let ask = Ask::put(BUCKET, &format!("key-{n}"), body);
        match n % 3 {
            0 => ask,
            1 => ask.form(Form::Literal("UNSIGNED-PAYLOAD".to_owned())),
            _ => ask.form(Form::Chunked {
                signed: true,
                size: 10_000,
                trailer: None,
            }),
        }
    });
    // One body is not what it promises, and one client leaves half-way.
    let wrong = Ask::put(BUCKET, "wrong", &bodies[9])
        .header("content-md5", &common::md5_base64(b"something else"));
    let (head, body) = Ask::put(BUCKET, "gone", &bodies[17]).encode(world.address);
    let mut gone = Connection::open(world.address).await;
    gone.write(&head).await;
    gone.write(&body[..body.len() / 2]).await;
    let sent = futures::future::join_all(asks.map(|ask| world.send(ask)));
    let leave = async {
        tokio::task::yield_now().await;
        drop(gone);
    };
    let (answers, wrong, ()) = tokio::join!(sent, world.send(wrong), leave);
    for (answer, body) in answers.iter().zip(&bodies) {
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        assert_eq!(
            answer.etag().trim_matches('"'),
            common::md5_hex(body),
            "{}",
            body.len()
        );
    }
    assert_eq!(
        (wrong.status, wrong.code()),
        (StatusCode::BAD_REQUEST, "BadDigest".to_owned())
    );
    for key in ["wrong", "gone"] {
        assert_eq!(world.get(key).await.status, StatusCode::NOT_FOUND, "{key}");
    }
}
