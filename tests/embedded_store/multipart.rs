//! Uploads in parts, and the objects that they become.

use std::collections::BTreeSet;

use aws_sdk_s3::operation::complete_multipart_upload::CompleteMultipartUploadError;
use aws_sdk_s3::types::{
    ChecksumAlgorithm, ChecksumMode, ChecksumType, CompletedMultipartUpload, CompletedPart,
    EncodingType, ObjectAttributes,
};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use md5::{Digest, Md5};

use super::*;

const MIB: usize = 1024 * 1024;

/// A store with a bucket whose parts may be of any size, so that a test can have many.
async fn serve_any(folder: &std::path::Path) -> (Handle, Client) {
    let mut limits = Limits::default();
    limits.smallest_part = 0;
    let (handle, client) = serve_within(folder, limits).await;
    // After a restart it is there.
    let _ = client.create_bucket().bucket("bucket").send().await;
    (handle, client)
}

/// Bytes that differ from place to place.
fn pattern(seed: usize, length: usize) -> Vec<u8> {
    let mut state = seed as u64 ^ 0x9e37_79b9_7f4a_7c15;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        })
        .collect()
}

async fn begin(client: &Client, key: &str) -> String {
    let request = client.create_multipart_upload().bucket("bucket").key(key);
    let answer = request.send().await.unwrap();
    answer.upload_id().unwrap().to_owned()
}

async fn part(client: &Client, key: &str, id: &str, number: i32, body: &[u8]) -> CompletedPart {
    let request = client.upload_part().bucket("bucket").key(key).upload_id(id);
    let answer = request
        .part_number(number)
        .body(ByteStream::from(body.to_vec()))
        .send()
        .await
        .unwrap();
    CompletedPart::builder()
        .part_number(number)
        .e_tag(answer.e_tag().unwrap())
        .build()
}

/// A request that is still to be sent.
fn completion(
    client: &Client,
    key: &str,
    id: &str,
    parts: &[CompletedPart],
) -> aws_sdk_s3::operation::complete_multipart_upload::builders::CompleteMultipartUploadFluentBuilder
{
    let parts = CompletedMultipartUpload::builder().set_parts(Some(parts.to_vec()));
    let request = client.complete_multipart_upload().bucket("bucket").key(key);
    request.upload_id(id).multipart_upload(parts.build())
}

async fn complete(
    client: &Client,
    key: &str,
    id: &str,
    parts: &[CompletedPart],
) -> Result<String, String> {
    match completion(client, key, id, parts).send().await {
        Ok(answer) => Ok(answer.e_tag().unwrap().to_owned()),
        Err(error) => Err(code(&error.into_service_error())),
    }
}

fn code(error: &CompleteMultipartUploadError) -> String {
    error.code().unwrap().to_owned()
}

/// The whole of it: begins, uploads and completes.
async fn upload(client: &Client, key: &str, bodies: &[Vec<u8>]) -> String {
    let id = begin(client, key).await;
    let mut parts = Vec::new();
    for (number, body) in (1..).zip(bodies) {
        parts.push(part(client, key, &id, number, body).await);
    }
    complete(client, key, &id, &parts).await.unwrap()
}

fn etag(bodies: &[Vec<u8>]) -> String {
    let md5s: Vec<u8> = bodies.iter().flat_map(Md5::digest).collect();
    format!("\"{}-{}\"", hex::encode(Md5::digest(md5s)), bodies.len())
}

async fn range(client: &Client, key: &str, range: &str) -> (String, Vec<u8>) {
    let request = client.get_object().bucket("bucket").key(key).range(range);
    let answer = request.send().await.unwrap();
    let content_range = answer.content_range().unwrap().to_owned();
    (content_range, answer.body.collect().await.unwrap().to_vec())
}

#[tokio::test]
async fn an_upload_with_the_limits_of_s3() {
    let folder = tempfile::tempdir().unwrap();
    let (handle, client) = serve(folder.path()).await;
    let bucket = client.create_bucket().bucket("bucket");
    bucket.send().await.unwrap();
    let bodies = [pattern(1, 5 * MIB), pattern(2, 5 * MIB), pattern(3, 100)];
    let id = client
        .create_multipart_upload()
        .bucket("bucket")
        .key("key")
        .content_type("text/x-test")
        .metadata("mine", "value")
        .tagging("a=1")
        .send()
        .await
        .unwrap();
    assert_eq!((id.bucket(), id.key()), (Some("bucket"), Some("key")));
    let id = id.upload_id().unwrap();
    // Any order, twice, and with a gap; the last of a number counts.
    let last = part(&client, "key", id, 9, &bodies[2]).await;
    part(&client, "key", id, 1, b"to be replaced").await;
    let second = part(&client, "key", id, 2, &bodies[1]).await;
    let small = part(&client, "key", id, 3, b"small").await;
    let stale = part(&client, "key", id, 1, b"also to be replaced").await;
    let first = part(&client, "key", id, 1, &bodies[0]).await;

    let try_to = |parts: Vec<&CompletedPart>| {
        let parts: Vec<_> = parts.into_iter().cloned().collect();
        let client = client.clone();
        async move { complete(&client, "key", id, &parts).await }
    };
    let unknown = CompletedPart::builder()
        .part_number(4)
        .e_tag(small.e_tag().unwrap())
        .build();
    for (parts, expected) in [
        (vec![&second, &first], "InvalidPartOrder"),
        (vec![&first, &first], "InvalidPartOrder"),
        (vec![&stale, &second], "InvalidPart"),
        (vec![&first, &unknown], "InvalidPart"),
        (vec![&first, &small, &last], "EntityTooSmall"),
        (vec![], "MalformedXML"),
    ] {
        assert_eq!(try_to(parts).await, Err(expected.to_owned()));
    }
    let no_such = completion(&client, "key", "no-such-id", std::slice::from_ref(&first)).send();
    let no_such = no_such.await.unwrap_err().into_service_error();
    assert_eq!(code(&no_such), "NoSuchUpload");
    let size = completion(&client, "key", id, std::slice::from_ref(&first)).mpu_object_size(7);
    let size = size.send().await.unwrap_err().into_service_error();
    assert_eq!(code(&size), "InvalidRequest");
    assert_eq!(get(&client, "key").await, None);

    let answer = try_to(vec![&first, &second, &last]).await.unwrap();
    assert_eq!(answer, etag(&bodies));
    // The first answer may have been lost.
    assert_eq!(try_to(vec![&first, &second, &last]).await.unwrap(), answer);
    assert_eq!(
        try_to(vec![&first, &last]).await,
        Err("NoSuchUpload".to_owned())
    );

    let whole = bodies.concat();
    assert_eq!(get(&client, "key").await.unwrap(), whole);
    let head = client.head_object().bucket("bucket").key("key");
    let head = head.send().await.unwrap();
    assert_eq!(head.e_tag(), Some(answer.as_str()));
    assert_eq!(head.content_length(), Some(whole.len() as i64));
    assert_eq!(head.content_type(), Some("text/x-test"));
    assert_eq!(head.metadata().unwrap()["mine"], "value");
    assert_eq!(head.parts_count(), None);
    // A suffix that reaches from the first part to the last.
    let (content_range, tail) = range(&client, "key", &format!("bytes=-{}", 5 * MIB + 200)).await;
    assert_eq!(tail, whole[5 * MIB - 100..]);
    assert_eq!(
        content_range,
        format!(
            "bytes {}-{}/{}",
            5 * MIB - 100,
            whole.len() - 1,
            whole.len()
        )
    );
    handle.shutdown().await;
    assert_eq!(blobs(folder.path()), 3);
}

#[tokio::test]
async fn part_numbers_are_from_one_to_ten_thousand() {
    let folder = tempfile::tempdir().unwrap();
    let (_handle, client) = serve_any(folder.path()).await;
    let id = begin(&client, "key").await;
    for number in [0, -1, 10_001] {
        let request = client.upload_part().bucket("bucket").key("key");
        let request = request.upload_id(&id).part_number(number);
        let refused = request.body(ByteStream::from_static(b"x")).send().await;
        assert_eq!(refused.unwrap_err().code(), Some("InvalidArgument"));
    }
    let parts = [
        part(&client, "key", &id, 1, b"a").await,
        part(&client, "key", &id, 10_000, b"").await,
    ];
    complete(&client, "key", &id, &parts).await.unwrap();
    assert_eq!(get(&client, "key").await.unwrap(), b"a");
    let request = client.upload_part().bucket("bucket").key("key");
    let request = request.upload_id("no-such-id").part_number(1);
    let refused = request.body(ByteStream::from(vec![0; MIB])).send().await;
    assert_eq!(refused.unwrap_err().code(), Some("NoSuchUpload"));
}

#[tokio::test]
async fn an_upload_goes_on_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (handle, client) = serve_any(folder.path()).await;
    put(&client, "key", b"before".to_vec()).await;
    let id = begin(&client, "key").await;
    let first = part(&client, "key", &id, 1, b"first ").await;
    handle.shutdown().await;

    let (handle, client) = serve_any(folder.path()).await;
    assert_eq!(get(&client, "key").await.unwrap(), b"before");
    let second = part(&client, "key", &id, 2, b"second").await;
    part(&client, "key", &id, 3, b"left out").await;
    complete(&client, "key", &id, &[first, second])
        .await
        .unwrap();
    handle.shutdown().await;
    assert_eq!(blobs(folder.path()), 2);

    let (_handle, client) = serve_any(folder.path()).await;
    assert_eq!(get(&client, "key").await.unwrap(), b"first second");
}

#[tokio::test]
async fn a_thousand_parts_are_one_object() {
    let folder = tempfile::tempdir().unwrap();
    let (handle, client) = serve_any(folder.path()).await;
    let bodies: Vec<_> = (0..1000).map(|n| pattern(n, (n * 37) % 400)).collect();
    let id = begin(&client, "key").await;
    // Eight at a time.
    let mut tasks = tokio::task::JoinSet::new();
    for lane in 0..8 {
        let (client, id) = (client.clone(), id.clone());
        let bodies: Vec<_> = bodies.iter().cloned().enumerate().collect();
        tasks.spawn(async move {
            let mut parts = Vec::new();
            for (number, body) in bodies.iter().skip(lane).step_by(8) {
                let number = i32::try_from(*number).unwrap() + 1;
                parts.push(part(&client, "key", &id, number, body).await);
            }
            parts
        });
    }
    let mut parts = tasks.join_all().await.concat();
    parts.sort_by_key(|part| part.part_number());
    let answer = complete(&client, "key", &id, &parts).await.unwrap();
    assert_eq!(answer, etag(&bodies));

    let whole = bodies.concat();
    assert_eq!(get(&client, "key").await.unwrap(), whole);
    let random = pattern(7, 4 * 200);
    for four in random.as_chunks::<4>().0 {
        let start = usize::from(u16::from_le_bytes([four[0], four[1]])) * 3 % whole.len();
        let length = usize::from(u16::from_le_bytes([four[2], four[3]])) % 3000 + 1;
        let end = (start + length).min(whole.len());
        let (_, got) = range(&client, "key", &format!("bytes={start}-{}", end - 1)).await;
        assert!(got == whole[start..end], "{start}..{end}");
    }
    for number in [1, 2, 500, 1000] {
        let request = client.get_object().bucket("bucket").key("key");
        let answer = request.part_number(number).send().await.unwrap();
        assert_eq!(answer.parts_count(), Some(1000));
        let index = usize::try_from(number).unwrap() - 1;
        let body = answer.body.collect().await.unwrap().to_vec();
        assert_eq!(body, bodies[index]);
    }
    put(&client, "key", b"of a piece".to_vec()).await;
    handle.shutdown().await;
    assert_eq!(blobs(folder.path()), 1);
}

#[tokio::test]
async fn one_of_racing_conditional_completions_wins() {
    let folder = tempfile::tempdir().unwrap();
    let (handle, client) = serve_any(folder.path()).await;
    let mut current: Option<String> = None;
    for round in 0..4 {
        let mut ready = Vec::new();
        for racer in 0..6 {
            let id = begin(&client, "key").await;
            let body = format!("{round} {racer}");
            let parts = [part(&client, "key", &id, 1, body.as_bytes()).await];
            ready.push((id, parts, body));
        }
        let mut tasks = tokio::task::JoinSet::new();
        for (id, parts, body) in ready {
            let request = completion(&client, "key", &id, &parts);
            let request = match &current {
                None => request.if_none_match("*"),
                Some(etag) => request.if_match(etag),
            };
            tasks.spawn(async move { (id, body, request.send().await) });
        }
        let mut winners = Vec::new();
        for (id, body, answer) in tasks.join_all().await {
            match answer {
                Ok(answer) => winners.push((body, answer.e_tag().unwrap().to_owned())),
                Err(error) => {
                    assert_eq!(code(&error.into_service_error()), "PreconditionFailed");
                    // It is still there, to be aborted.
                    let abort = client.abort_multipart_upload().bucket("bucket");
                    abort.key("key").upload_id(id).send().await.unwrap();
                }
            }
        }
        assert_eq!(winners.len(), 1);
        let (body, etag) = winners.remove(0);
        assert_eq!(get(&client, "key").await.unwrap(), body.as_bytes());
        current = Some(etag);
    }
    let id = begin(&client, "missing").await;
    let parts = [part(&client, "missing", &id, 1, b"x").await];
    let request = completion(&client, "missing", &id, &parts).if_match("\"x\"");
    let refused = request.send().await.unwrap_err().into_service_error();
    assert_eq!(code(&refused), "NoSuchKey");
    handle.shutdown().await;
    // The object, and the part of the last upload.
    assert_eq!(blobs(folder.path()), 2);
}

#[tokio::test]
async fn parts_are_copied_from_objects() {
    let folder = tempfile::tempdir().unwrap();
    let (_handle, client) = serve_any(folder.path()).await;
    let source = vec![pattern(1, 1000), pattern(2, 2000), pattern(3, 500)];
    let source_etag = upload(&client, "a source/é", &source).await;
    let whole = source.concat();
    put(&client, "plain", b"0123456789".to_vec()).await;

    let id = begin(&client, "key").await;
    let copy = |number: i32, source: &str, range: Option<&str>| {
        client
            .upload_part_copy()
            .bucket("bucket")
            .key("key")
            .upload_id(&id)
            .part_number(number)
            .copy_source(source)
            .set_copy_source_range(range.map(str::to_owned))
    };
    const SOURCE: &str = "bucket/a%20source/%C3%A9";
    let mut parts = Vec::new();
    for (number, source, range) in [
        (1, SOURCE, Some("bytes=900-3099")),
        (2, SOURCE, None),
        (3, "bucket/plain", Some("bytes=9-9")),
    ] {
        let answer = copy(number, source, range).send().await.unwrap();
        let result = answer.copy_part_result().unwrap();
        let part = CompletedPart::builder().part_number(number);
        parts.push(part.e_tag(result.e_tag().unwrap()).build());
    }
    for (range, expected) in [
        ("bytes=0-10", "InvalidArgument"),
        ("bytes=-5", "InvalidArgument"),
        ("bytes=5-", "InvalidArgument"),
        ("0-5", "InvalidArgument"),
    ] {
        let refused = copy(4, "bucket/plain", Some(range)).send().await;
        assert_eq!(refused.unwrap_err().code(), Some(expected), "{range}");
    }
    let missing = copy(4, "bucket/none", None).send().await.unwrap_err();
    assert_eq!(missing.code(), Some("NoSuchKey"));
    let conditions = [
        copy(4, SOURCE, None).copy_source_if_match("\"x\""),
        copy(4, SOURCE, None).copy_source_if_none_match(&source_etag),
    ];
    for request in conditions {
        let refused = request.send().await.unwrap_err();
        assert_eq!(refused.code(), Some("PreconditionFailed"));
    }
    let request = copy(4, SOURCE, None).copy_source_if_match(&source_etag);
    request.send().await.unwrap();

    complete(&client, "key", &id, &parts).await.unwrap();
    let expected = [&whole[900..3100], &whole, b"9"].concat();
    assert_eq!(get(&client, "key").await.unwrap(), expected);
}

#[tokio::test]
async fn a_copy_of_an_object_from_parts_is_of_a_piece() {
    let folder = tempfile::tempdir().unwrap();
    let (handle, client) = serve_any(folder.path()).await;
    let bodies = vec![pattern(1, 200_000), pattern(2, 300_000)];
    upload(&client, "key", &bodies).await;
    let whole = bodies.concat();
    let expected = format!("\"{}\"", hex::encode(Md5::digest(&whole)));
    for target in ["copy", "key"] {
        let request = client.copy_object().bucket("bucket").key(target);
        let answer = request
            .copy_source("bucket/key")
            .metadata_directive(MetadataDirective::Replace)
            .metadata("new", "yes")
            .send()
            .await
            .unwrap();
        let result = answer.copy_object_result().unwrap();
        assert_eq!(result.e_tag(), Some(expected.as_str()));
        let head = client.head_object().bucket("bucket").key(target);
        let head = head.part_number(1).send().await.unwrap();
        assert_eq!(head.e_tag(), Some(expected.as_str()));
        assert_eq!(head.parts_count(), None);
        assert_eq!(head.metadata().unwrap()["new"], "yes");
        assert_eq!(get(&client, target).await.unwrap(), whole);
    }
    handle.shutdown().await;
    assert_eq!(blobs(folder.path()), 2);
}

#[tokio::test]
async fn a_reader_gets_the_whole_of_what_it_began() {
    let folder = tempfile::tempdir().unwrap();
    let (handle, client) = serve_any(folder.path()).await;
    let bodies: Vec<_> = (0..8).map(|n| pattern(n, 4 * MIB)).collect();
    upload(&client, "key", &bodies).await;
    let request = client.get_object().bucket("bucket").key("key");
    let mut answer = request.send().await.unwrap();
    let mut got = answer.body.next().await.unwrap().unwrap().to_vec();
    // More is under way than sockets hold back, so most parts are not open yet.
    put(&client, "key", b"new".to_vec()).await;
    let removal = client.delete_object().bucket("bucket").key("key");
    removal.send().await.unwrap();
    while let Some(chunk) = answer.body.next().await {
        got.extend_from_slice(&chunk.unwrap());
    }
    assert!(got == bodies.concat());
    assert_eq!(get(&client, "key").await, None);
    drop(answer);
    handle.shutdown().await;
    assert_eq!(blobs(folder.path()), 0);
}

#[tokio::test]
async fn aborted_uploads_leave_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (handle, client) = serve_any(folder.path()).await;
    let (id, other) = (begin(&client, "key").await, begin(&client, "key").await);
    for id in [&id, &other] {
        part(&client, "key", id, 1, b"x").await;
    }
    let abort = |id: &str| {
        let request = client.abort_multipart_upload().bucket("bucket");
        request.key("key").upload_id(id).send()
    };
    abort(&id).await.unwrap();
    let again = abort(&id).await.unwrap_err();
    assert_eq!(again.code(), Some("NoSuchUpload"));
    let listed = client.list_parts().bucket("bucket").key("key");
    let listed = listed.upload_id(&id).send().await.unwrap_err();
    assert_eq!(listed.code(), Some("NoSuchUpload"));
    // The other does not hinder, and goes with its bucket.
    let removal = client.delete_bucket().bucket("bucket");
    removal.send().await.unwrap();
    handle.shutdown().await;
    assert_eq!(blobs(folder.path()), 0);
}

#[tokio::test]
async fn parts_are_listed_in_pages() {
    let folder = tempfile::tempdir().unwrap();
    let (_handle, client) = serve_any(folder.path()).await;
    let id = begin(&client, "key").await;
    for number in [7, 2, 10_000, 30, 1] {
        part(&client, "key", &id, number, &vec![0; number as usize]).await;
    }
    let mut seen = Vec::new();
    let mut marker = None;
    loop {
        let request = client.list_parts().bucket("bucket").key("key");
        let request = request.upload_id(&id).max_parts(2);
        let page = request.set_part_number_marker(marker).send().await.unwrap();
        assert!(page.parts().len() <= 2);
        for part in page.parts() {
            let number = part.part_number().unwrap();
            assert_eq!(part.size(), Some(i64::from(number)));
            let md5 = Md5::digest(vec![0; number as usize]);
            assert_eq!(part.e_tag().unwrap(), format!("\"{}\"", hex::encode(md5)));
            assert!(part.last_modified().is_some());
            seen.push(number);
        }
        let last = page.parts().last().and_then(|part| part.part_number());
        assert_eq!(
            page.next_part_number_marker(),
            last.map(|last| last.to_string()).as_deref()
        );
        if page.is_truncated() != Some(true) {
            break;
        }
        marker = page.next_part_number_marker().map(str::to_owned);
    }
    assert_eq!(seen, [1, 2, 7, 30, 10_000]);
}

#[tokio::test]
async fn uploads_are_listed_in_pages() {
    let folder = tempfile::tempdir().unwrap();
    let (_handle, client) = serve_any(folder.path()).await;
    let mut ids = Vec::new();
    for key in ["b c/1", "a", "b c/2", "a", "é", "c"] {
        ids.push(begin(&client, key).await);
    }
    // Uploads of one key are in the order in which they began.
    let expected = [
        ("a", &ids[1]),
        ("a", &ids[3]),
        ("b c/1", &ids[0]),
        ("b c/2", &ids[2]),
        ("c", &ids[5]),
        ("é", &ids[4]),
    ];
    for limit in 1..=7 {
        let (mut key, mut id) = (None, None);
        let mut seen = Vec::new();
        loop {
            let request = client.list_multipart_uploads().bucket("bucket");
            let page = request
                .max_uploads(limit)
                .set_key_marker(key)
                .set_upload_id_marker(id)
                .send()
                .await
                .unwrap();
            for upload in page.uploads() {
                let place = (upload.key().unwrap(), upload.upload_id().unwrap());
                seen.push((place.0.to_owned(), place.1.to_owned()));
            }
            if page.is_truncated() != Some(true) {
                break;
            }
            key = page.next_key_marker().map(str::to_owned);
            id = page.next_upload_id_marker().map(str::to_owned);
        }
        let seen: Vec<_> = seen.iter().map(|(key, id)| (key.as_str(), id)).collect();
        assert_eq!(seen, expected, "{limit}");
    }
    let request = client.list_multipart_uploads().bucket("bucket");
    let page = request
        .delimiter("/")
        .encoding_type(EncodingType::Url)
        .key_marker("a")
        .send()
        .await
        .unwrap();
    let keys: BTreeSet<_> = page
        .uploads()
        .iter()
        .filter_map(|line| line.key())
        .collect();
    assert_eq!(keys, ["c", "%C3%A9"].into());
    let prefixes = page
        .common_prefixes()
        .iter()
        .filter_map(|line| line.prefix());
    assert_eq!(prefixes.collect::<Vec<_>>(), ["b%20c/"]);
    let request = client.list_multipart_uploads().bucket("bucket");
    let page = request.prefix("b c/").send().await.unwrap();
    assert_eq!(page.uploads().len(), 2);
}

#[tokio::test]
async fn a_part_that_is_not_what_it_says_is_not_kept() {
    let folder = tempfile::tempdir().unwrap();
    let (handle, client) = serve_any(folder.path()).await;
    let id = begin(&client, "key").await;
    part(&client, "key", &id, 1, b"right").await;
    let upload = || {
        let request = client.upload_part().bucket("bucket").key("key");
        let request = request.upload_id(&id).part_number(1);
        request.body(ByteStream::from_static(b"wrong"))
    };
    let md5 = BASE64_STANDARD.encode(Md5::digest(b"right"));
    let refused = upload().content_md5(md5).send().await.unwrap_err();
    assert_eq!(refused.code(), Some("BadDigest"));
    let refused = upload().content_md5("AAAA").send().await.unwrap_err();
    assert_eq!(refused.code(), Some("InvalidDigest"));
    let refused = upload().checksum_crc32("AAAAAA==").send().await;
    assert_eq!(refused.unwrap_err().code(), Some("BadDigest"));
    let listed = client.list_parts().bucket("bucket").key("key");
    let listed = listed.upload_id(&id).send().await.unwrap();
    let md5 = format!("\"{}\"", hex::encode(Md5::digest(b"right")));
    assert_eq!(listed.parts()[0].e_tag(), Some(md5.as_str()));
    handle.shutdown().await;
    assert_eq!(blobs(folder.path()), 1);
}

/// Uploads with checksums as an SDK does it, and returns what is to complete it.
async fn with_checksums(
    client: &Client,
    key: &str,
    algorithm: ChecksumAlgorithm,
    kind: ChecksumType,
    bodies: &[Vec<u8>],
) -> (String, Vec<CompletedPart>) {
    let request = client.create_multipart_upload().bucket("bucket").key(key);
    let request = request
        .checksum_algorithm(algorithm.clone())
        .checksum_type(kind.clone());
    let begun = request.send().await.unwrap();
    assert_eq!(begun.checksum_algorithm(), Some(&algorithm));
    assert_eq!(begun.checksum_type(), Some(&kind));
    let id = begun.upload_id().unwrap().to_owned();
    let mut parts = Vec::new();
    for (number, body) in (1..).zip(bodies) {
        let request = client.upload_part().bucket("bucket").key(key);
        let request = request.upload_id(&id).part_number(number);
        let answer = request
            .checksum_algorithm(algorithm.clone())
            .body(ByteStream::from(body.clone()))
            .send()
            .await
            .unwrap();
        let part = CompletedPart::builder()
            .part_number(number)
            .e_tag(answer.e_tag().unwrap())
            .set_checksum_crc32(answer.checksum_crc32().map(str::to_owned))
            .set_checksum_crc64_nvme(answer.checksum_crc64_nvme().map(str::to_owned))
            .set_checksum_sha256(answer.checksum_sha256().map(str::to_owned));
        parts.push(part.build());
    }
    (id, parts)
}

#[tokio::test]
async fn checksums_of_the_whole_and_of_the_parts() {
    let folder = tempfile::tempdir().unwrap();
    let (_handle, client) = serve_any(folder.path()).await;
    let bodies = vec![pattern(1, 1000), pattern(2, 500)];
    let (id, parts) = with_checksums(
        &client,
        "sha",
        ChecksumAlgorithm::Sha256,
        ChecksumType::Composite,
        &bodies,
    )
    .await;
    use sha2::Sha256;
    let of_parts: Vec<u8> = bodies.iter().flat_map(Sha256::digest).collect();
    let expected = format!("{}-2", BASE64_STANDARD.encode(Sha256::digest(&of_parts)));
    let bare: Vec<_> = parts
        .iter()
        .map(|part| {
            let bare = CompletedPart::builder().set_e_tag(part.e_tag().map(str::to_owned));
            bare.set_part_number(part.part_number()).build()
        })
        .collect();
    let refused = complete(&client, "sha", &id, &bare).await;
    assert_eq!(refused, Err("InvalidRequest".to_owned()));
    let answer = completion(&client, "sha", &id, &parts)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.checksum_sha256(), Some(expected.as_str()));
    assert_eq!(answer.checksum_type(), Some(&ChecksumType::Composite));

    let head = client.head_object().bucket("bucket").key("sha");
    let head = head.checksum_mode(ChecksumMode::Enabled);
    let whole = head.clone().send().await.unwrap();
    assert_eq!(whole.checksum_sha256(), Some(expected.as_str()));
    let second = head.clone().part_number(2).send().await.unwrap();
    assert_eq!(second.parts_count(), Some(2));
    assert_eq!(second.content_length(), Some(500));
    assert_eq!(second.content_range(), Some("bytes 1000-1499/1500"));
    assert_eq!(second.checksum_sha256(), parts[1].checksum_sha256());
    assert!(head.part_number(3).send().await.is_err());
    let beyond = client.get_object().bucket("bucket").key("sha");
    let beyond = beyond.part_number(3).send().await.unwrap_err();
    assert_eq!(beyond.raw_response().unwrap().status().as_u16(), 416);
    assert_eq!(beyond.code(), Some("InvalidPartNumber"));

    let request = client.get_object_attributes().bucket("bucket").key("sha");
    let all = request
        .object_attributes(ObjectAttributes::Etag)
        .object_attributes(ObjectAttributes::Checksum)
        .object_attributes(ObjectAttributes::ObjectParts)
        .object_attributes(ObjectAttributes::ObjectSize)
        .max_parts(1)
        .send()
        .await
        .unwrap();
    assert_eq!(all.object_size(), Some(1500));
    assert_eq!(all.e_tag(), Some(etag(&bodies).as_str()));
    let checksum = all.checksum().unwrap();
    assert_eq!(checksum.checksum_sha256(), Some(expected.as_str()));
    let listed = all.object_parts().unwrap();
    assert_eq!(listed.total_parts_count(), Some(2));
    assert_eq!(listed.is_truncated(), Some(true));
    assert_eq!(listed.parts().len(), 1);
    assert_eq!(listed.parts()[0].size(), Some(1000));

    // The checksum of the whole body, from those of the parts.
    let crc = BASE64_STANDARD.encode(
        u32::try_from(crc_fast::checksum(
            crc_fast::CrcAlgorithm::Crc32IsoHdlc,
            &bodies.concat(),
        ))
        .unwrap()
        .to_be_bytes(),
    );
    let (id, parts) = with_checksums(
        &client,
        "crc",
        ChecksumAlgorithm::Crc32,
        ChecksumType::FullObject,
        &bodies,
    )
    .await;
    let wrong = completion(&client, "crc", &id, &parts).checksum_crc32("AAAAAA==");
    let wrong = wrong.send().await.unwrap_err().into_service_error();
    assert_eq!(code(&wrong), "BadDigest");
    let wrong = completion(&client, "crc", &id, &parts).checksum_type(ChecksumType::Composite);
    let wrong = wrong.send().await.unwrap_err().into_service_error();
    assert_eq!(code(&wrong), "InvalidRequest");
    let right = completion(&client, "crc", &id, &parts)
        .checksum_crc32(&crc)
        .checksum_type(ChecksumType::FullObject);
    let answer = right.send().await.unwrap();
    assert_eq!(answer.checksum_crc32(), Some(crc.as_str()));

    // A copy has the checksum of its one piece.
    let copy = client.copy_object().bucket("bucket").key("copy");
    let copy = copy.copy_source("bucket/sha").send().await.unwrap();
    let of_whole = BASE64_STANDARD.encode(Sha256::digest(bodies.concat()));
    let result = copy.copy_object_result().unwrap();
    assert_eq!(result.checksum_sha256(), Some(of_whole.as_str()));

    for (algorithm, kind) in [
        (ChecksumAlgorithm::Sha256, ChecksumType::FullObject),
        (ChecksumAlgorithm::Crc64Nvme, ChecksumType::Composite),
    ] {
        let request = client.create_multipart_upload().bucket("bucket").key("no");
        let request = request.checksum_algorithm(algorithm).checksum_type(kind);
        let refused = request.send().await.unwrap_err();
        assert_eq!(refused.code(), Some("InvalidRequest"));
    }
}
