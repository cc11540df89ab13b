//! What clients see through the gateway is what they see at the store itself: random requests to both, in front of
//! the embedded store, give the same answers.

#![forbid(unsafe_code)]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::{Answer, Ask, STORE, World, content, md5_base64, query_of};
use http::Method;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

const THROUGH: &str = "through";
const DIRECT: &str = "direct";
const KEYS: [&str; 5] = ["a", "a/b", "a/c d", "b", "ü/&+"];
/// The ends of segments, and a part that need not be the last.
const SIZES: [usize; 7] = [0, 1, 100, 65_480, 65_481, 131_000, 5 << 20];

/// Which ETag a condition names.
#[derive(Clone, Copy, Debug)]
enum Named {
    Any,
    Current,
    Other,
}

#[derive(Clone, Debug)]
enum Op {
    Put(usize, usize, u8, Option<(bool, Named)>),
    BadPut(usize, u8),
    Get(usize, Option<String>, Option<(bool, Named)>),
    Head(usize, Option<u16>),
    GetPart(usize, u16),
    Attributes(usize),
    Delete(usize),
    DeleteMany(Vec<usize>),
    Copy(usize, usize, bool),
    List(Vec<(&'static str, String)>),
    Create(usize, bool),
    Part(usize, u16, usize, u8),
    CopyPart(usize, u16, usize, Option<(u64, u64)>),
    ListParts(usize, u16, u16),
    Complete(usize, Vec<u16>, Option<(bool, Named)>),
    Abort(usize),
}

fn op() -> impl Strategy<Value = Op> {
    let key = 0..KEYS.len();
    let size = prop_oneof![20 => 0..SIZES.len() - 1, 1 => Just(SIZES.len() - 1)];
    let named = prop_oneof![Just(Named::Any), Just(Named::Current), Just(Named::Other)];
    let condition = prop::option::weighted(0.3, (any::<bool>(), named));
    let range = prop_oneof![
        (0u64..200_000, 0u64..200_000)
            .prop_map(|(from, more)| format!("bytes={from}-{}", from + more)),
        (0u64..200_000).prop_map(|from| format!("bytes={from}-")),
        (0u64..200_000).prop_map(|last| format!("bytes=-{last}")),
    ];
    let number = prop_oneof![5 => 1u16..4, 1 => Just(10_000u16)];
    let listing = (
        prop::option::of(prop_oneof![Just("a"), Just("a/"), Just("z"), Just("ü")]),
        any::<bool>(),
        prop::option::of(0usize..4),
        0u8..3,
        any::<bool>(),
    )
        .prop_map(|(prefix, delimiter, max, kind, encoded)| {
            let mut query = Vec::new();
            query.extend(prefix.map(|prefix| ("prefix", prefix.to_owned())));
            query.extend(delimiter.then(|| ("delimiter", "/".to_owned())));
            query.extend(max.map(|max| ("max-keys", max.to_string())));
            query.extend(encoded.then(|| ("encoding-type", "url".to_owned())));
            match kind {
                0 => {}
                1 => query.push(("list-type", "2".to_owned())),
                _ => query.push(("versions", String::new())),
            }
            query
        });
    let upload = 0usize..3;
    prop_oneof![
        4 => (key.clone(), size.clone(), any::<u8>(), condition.clone())
            .prop_map(|(key, size, seed, condition)| Op::Put(key, size, seed, condition)),
        1 => (key.clone(), any::<u8>()).prop_map(|(key, seed)| Op::BadPut(key, seed)),
        4 => (key.clone(), prop::option::of(range), condition.clone())
            .prop_map(|(key, range, condition)| Op::Get(key, range, condition)),
        2 => (key.clone(), prop::option::of(number.clone())).prop_map(|(key, part)| Op::Head(key, part)),
        2 => (key.clone(), number.clone()).prop_map(|(key, part)| Op::GetPart(key, part)),
        1 => key.clone().prop_map(Op::Attributes),
        1 => key.clone().prop_map(Op::Delete),
        1 => prop::collection::vec(key.clone(), 1..3).prop_map(Op::DeleteMany),
        2 => (key.clone(), key.clone(), any::<bool>()).prop_map(|(from, to, replace)| Op::Copy(from, to, replace)),
        2 => listing.prop_map(Op::List),
        3 => (key.clone(), any::<bool>()).prop_map(|(key, sums)| Op::Create(key, sums)),
        6 => (upload.clone(), number.clone(), size, any::<u8>())
            .prop_map(|(upload, number, size, seed)| Op::Part(upload, number, size, seed)),
        1 => (upload.clone(), number.clone(), key, prop::option::of((0u64..70_000, 0u64..70_000)))
            .prop_map(|(upload, number, key, range)| Op::CopyPart(upload, number, key, range)),
        2 => (upload.clone(), 0u16..4, 1u16..4).prop_map(|(upload, after, max)| Op::ListParts(upload, after, max)),
        4 => (upload.clone(), prop::collection::btree_set(number, 1..3), any::<bool>(), condition).prop_map(
            |(upload, numbers, backwards, condition)| {
                let mut numbers: Vec<u16> = numbers.into_iter().collect();
                if backwards && numbers.len() > 1 && numbers[0] == 3 {
                    numbers.reverse();
                }
                Op::Complete(upload, numbers, condition)
            }
        ),
        1 => upload.prop_map(Op::Abort),
    ]
}

#[derive(Clone)]
struct Upload {
    key: usize,
    id: String,
    etags: BTreeMap<u16, String>,
}

/// One of the two, with what only it knows: ids of uploads, ETags of parts.
struct Side<'w> {
    world: &'w World,
    bucket: &'static str,
    uploads: Vec<Upload>,
    etags: BTreeMap<usize, String>,
    /// Copies of objects in parts: whether these keep the ETag is up to the store.
    copied: BTreeSet<usize>,
}

impl Side<'_> {
    /// An ETag as far as it is to be the same.
    fn etag(&self, key: usize, etag: &str) -> String {
        if self.copied.contains(&key) {
            "an ETag".into()
        } else {
            etag.to_owned()
        }
    }

    async fn send(&mut self, ask: Ask) -> Answer {
        match self.bucket {
            THROUGH => self.world.send(ask).await,
            _ => {
                self.world
                    .send_to(self.world.store_address, ask.by(STORE))
                    .await
            }
        }
    }

    fn upload(&self, at: usize) -> Upload {
        let none = Upload {
            key: 0,
            id: "no-such-upload".into(),
            etags: BTreeMap::new(),
        };
        self.uploads.iter().rev().nth(at).cloned().unwrap_or(none)
    }

    fn condition(&self, ask: Ask, key: usize, condition: Option<(bool, Named)>) -> Ask {
        let Some((is, named)) = condition else {
            return ask;
        };
        let name = if is { "if-match" } else { "if-none-match" };
        let value = match named {
            Named::Any => "*".to_owned(),
            Named::Current => match self.etags.get(&key) {
                Some(etag) => etag.clone(),
                None => "\"none\"".to_owned(),
            },
            Named::Other => "\"0123456789abcdef0123456789abcdef\"".to_owned(),
        };
        ask.header(name, &value)
    }

    /// Does it, and says what a client would see of it.
    async fn act(&mut self, op: &Op) -> Vec<String> {
        let bucket = self.bucket;
        let body = |size: usize, seed: u8| {
            let mut bytes = content(SIZES[size]);
            bytes.iter_mut().for_each(|byte| *byte ^= seed);
            bytes
        };
        let part_query = |upload: &Upload, number: u16| {
            query_of(&[
                ("partNumber", &number.to_string()),
                ("uploadId", &upload.id),
            ])
        };
        match op {
            Op::Put(key, size, seed, condition) => {
                let ask = Ask::put(bucket, KEYS[*key], &body(*size, *seed))
                    .header("content-type", "text/plain")
                    .header("x-amz-meta-seed", &seed.to_string());
                // S3 has If-None-Match with `*` only on writes.
                let condition = condition.filter(|(is, named)| *is || matches!(named, Named::Any));
                let condition = condition.filter(|(is, named)| !is || !matches!(named, Named::Any));
                let ask = self.condition(ask, *key, condition);
                let answer = self.send(ask).await;
                self.seen(*key, &answer);
                if answer.status.is_success() {
                    self.copied.remove(key);
                }
                self.show(&answer, &["etag"])
            }
            Op::BadPut(key, seed) => {
                let ask = Ask::put(bucket, KEYS[*key], &body(2, *seed))
                    .header("content-md5", &md5_base64(b"something else"));
                let answer = self.send(ask).await;
                self.show(&answer, &[])
            }
            Op::Get(key, range, condition) => {
                let mut ask = Ask::get(bucket, KEYS[*key]);
                if let Some(range) = range {
                    ask = ask.header("range", range);
                }
                let ask = self.condition(ask, *key, *condition);
                let answer = self.send(ask).await;
                let suffix = range
                    .as_ref()
                    .is_some_and(|range| range.starts_with("bytes=-"));
                if suffix && (answer.status == 416 || answer.header("content-length") == "0") {
                    // Of an empty object it is an error or all there is, as the store likes.
                    return vec!["nothing".to_owned()];
                }
                self.show_object(*key, &answer)
            }
            Op::Head(key, part) => {
                let mut ask = Ask::head(bucket, KEYS[*key]);
                if let Some(part) = part {
                    ask = ask.query(&format!("partNumber={part}"));
                }
                let answer = self.send(ask).await;
                let mut answer = answer;
                if part.is_some() && self.copied.contains(key) {
                    return Vec::new();
                }
                if answer.status == 206 {
                    // The embedded store says 200 here, with the same headers.
                    answer.status = http::StatusCode::OK;
                }
                self.show_object(*key, &answer)
            }
            Op::GetPart(key, part) => {
                let ask = Ask::get(bucket, KEYS[*key]).query(&format!("partNumber={part}"));
                let answer = self.send(ask).await;
                if self.copied.contains(key) {
                    // So are its parts.
                    return Vec::new();
                }
                self.show_object(*key, &answer)
            }
            Op::Attributes(key) => {
                let ask = Ask::get(bucket, KEYS[*key])
                    .query("attributes=")
                    .header("x-amz-object-attributes", "ETag,ObjectSize,ObjectParts");
                let answer = self.send(ask).await;
                let mut seen = self.show(&answer, &[]);
                seen.extend(
                    answer
                        .elements("ETag")
                        .iter()
                        .map(|etag| self.etag(*key, &etag.replace('"', ""))),
                );
                for name in ["ObjectSize", "PartsCount", "TotalPartsCount"] {
                    if name != "ObjectSize" && self.copied.contains(key) {
                        continue;
                    }
                    seen.push(format!("{name} {:?}", answer.elements(name)));
                }
                seen
            }
            Op::Delete(key) => {
                let answer = self.send(Ask::delete(bucket, KEYS[*key])).await;
                self.etags.remove(key);
                self.show(&answer, &[])
            }
            Op::DeleteMany(keys) => {
                let objects: String = keys
                    .iter()
                    .map(|key| {
                        format!(
                            "<Object><Key>{}</Key></Object>",
                            KEYS[*key].replace('&', "&amp;")
                        )
                    })
                    .collect();
                let document = format!("<Delete>{objects}</Delete>");
                let ask = Ask::bucket(Method::POST, bucket)
                    .query("delete=")
                    .header("content-md5", &md5_base64(document.as_bytes()))
                    .body(document.as_bytes());
                let answer = self.send(ask).await;
                keys.iter().for_each(|key| {
                    self.etags.remove(key);
                });
                let mut seen = self.show(&answer, &[]);
                let mut deleted = answer.elements("Key");
                deleted.sort();
                seen.extend(deleted);
                seen
            }
            Op::Copy(from, to, replace) => {
                let mut ask = Ask::copy(bucket, KEYS[*from], KEYS[*to]);
                if *replace {
                    ask = ask
                        .header("x-amz-metadata-directive", "REPLACE")
                        .header("x-amz-meta-copied", "yes");
                }
                let answer = self.send(ask).await;
                // An object in parts gets another kind of ETag at some stores when it is copied.
                let etag = answer.element("ETag");
                let in_parts = self.etags.get(from).is_some_and(|etag| etag.contains('-'));
                if answer.status.is_success() && from != to {
                    if in_parts || self.copied.contains(from) {
                        self.copied.insert(*to);
                    } else {
                        self.copied.remove(to);
                    }
                } else if answer.status.is_success() && in_parts {
                    self.copied.insert(*to);
                }
                let head = self.send(Ask::head(bucket, KEYS[*to])).await;
                self.seen(*to, &head);
                let mut seen = self.show(&answer, &[]);
                if answer.status.is_success() && etag == head.header("etag") {
                    seen.push("the ETag that a HEAD shows".into());
                }
                seen
            }
            Op::List(query) => {
                let pairs: Vec<(&str, &str)> =
                    query.iter().map(|(n, v)| (*n, v.as_str())).collect();
                let answer = self
                    .send(Ask::bucket(Method::GET, bucket).query(&query_of(&pairs)))
                    .await;
                let mut seen = self.show(&answer, &[]);
                for name in [
                    "Key",
                    "Prefix",
                    "Size",
                    "IsTruncated",
                    "MaxKeys",
                    "KeyCount",
                    "NextMarker",
                    "Delimiter",
                ] {
                    // Parts that wait may make a page end early, with an empty one to follow.
                    if !self.uploads.is_empty() && matches!(name, "IsTruncated" | "NextMarker") {
                        continue;
                    }
                    let mut found = answer.elements(name);
                    if name == "Prefix" {
                        // The one asked for and the common ones stand in any order.
                        found.sort();
                    }
                    seen.push(format!("{name} {found:?}"));
                }
                let etags = answer.elements("ETag");
                let plain: Vec<usize> = (0..KEYS.len())
                    .filter(|key| !self.copied.contains(key))
                    .collect();
                for (key, etag) in answer.elements("Key").iter().zip(&etags) {
                    if plain.iter().any(|at| KEYS[*at] == key.as_str()) {
                        seen.push(format!("{key} {etag}"));
                    }
                }
                seen
            }
            Op::Create(key, sums) => {
                let mut ask = Ask::object(Method::POST, bucket, KEYS[*key])
                    .query("uploads=")
                    .header("x-amz-meta-parts", "yes");
                if *sums {
                    ask = ask
                        .header("x-amz-checksum-algorithm", "CRC32")
                        .header("x-amz-checksum-type", "FULL_OBJECT");
                }
                let answer = self.send(ask).await;
                self.uploads.push(Upload {
                    key: *key,
                    id: answer.element("UploadId"),
                    etags: BTreeMap::new(),
                });
                let mut seen = self.show(
                    &answer,
                    &["x-amz-checksum-algorithm", "x-amz-checksum-type"],
                );
                seen.push(answer.element("Key"));
                seen
            }
            Op::Part(at, number, size, seed) => {
                let upload = self.upload(*at);
                let ask = Ask::put(bucket, KEYS[upload.key], &body(*size, *seed))
                    .query(&part_query(&upload, *number));
                let answer = self.send(ask).await;
                if answer.status.is_success() {
                    self.note(&upload.id, *number, answer.header("etag"));
                }
                // An ETag of a part is a receipt that begins with the MD5.
                let mut seen = self.show(&answer, &[]);
                seen.push(
                    answer
                        .header("etag")
                        .trim_matches('"')
                        .chars()
                        .take(32)
                        .collect(),
                );
                seen
            }
            Op::CopyPart(at, number, key, range) => {
                let upload = self.upload(*at);
                let mut ask = Ask::put(bucket, KEYS[upload.key], b"")
                    .query(&part_query(&upload, *number))
                    .header(
                        "x-amz-copy-source",
                        &sealgate::protocol::uri::encode_path(bucket, KEYS[*key]),
                    );
                if let Some((from, to)) = range {
                    ask = ask.header("x-amz-copy-source-range", &format!("bytes={from}-{to}"));
                }
                let answer = self.send(ask).await;
                if answer.status.is_success() {
                    self.note(&upload.id, *number, &answer.element("ETag"));
                }
                let mut seen = self.show(&answer, &[]);
                seen.push(
                    answer
                        .element("ETag")
                        .trim_matches('"')
                        .chars()
                        .take(32)
                        .collect(),
                );
                seen
            }
            Op::ListParts(at, after, max) => {
                let upload = self.upload(*at);
                let query = query_of(&[
                    ("uploadId", &upload.id),
                    ("part-number-marker", &after.to_string()),
                    ("max-parts", &max.to_string()),
                ]);
                let answer = self
                    .send(Ask::get(bucket, KEYS[upload.key]).query(&query))
                    .await;
                let mut seen = self.show(&answer, &[]);
                for name in [
                    "PartNumber",
                    "Size",
                    "IsTruncated",
                    "MaxParts",
                    "PartNumberMarker",
                ] {
                    seen.push(format!("{name} {:?}", answer.elements(name)));
                }
                seen
            }
            Op::Complete(at, numbers, condition) => {
                let upload = self.upload(*at);
                let parts: String = numbers
                    .iter()
                    .map(|number| {
                        let etag = upload.etags.get(number).cloned();
                        let etag =
                            etag.unwrap_or_else(|| "\"0123456789abcdef0123456789abcdef\"".into());
                        format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>")
                    })
                    .collect();
                let document =
                    format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>");
                let condition = condition.filter(|(is, named)| *is || matches!(named, Named::Any));
                let condition = condition.filter(|(is, named)| !is || !matches!(named, Named::Any));
                let ask = Ask::object(Method::POST, bucket, KEYS[upload.key])
                    .query(&query_of(&[("uploadId", &upload.id)]))
                    .body(document.as_bytes());
                let ask = self.condition(ask, upload.key, condition);
                let answer = self.send(ask).await;
                let mut seen = self.show(&answer, &[]);
                if answer.status.is_success() && answer.code().is_empty() {
                    self.etags.insert(upload.key, answer.element("ETag"));
                    self.copied.remove(&upload.key);
                    seen.extend(
                        ["ETag", "Key", "ChecksumCRC32", "ChecksumType"]
                            .map(|name| answer.element(name)),
                    );
                }
                seen
            }
            Op::Abort(at) => {
                let upload = self.upload(*at);
                let ask = Ask::delete(bucket, KEYS[upload.key])
                    .query(&query_of(&[("uploadId", &upload.id)]));
                let answer = self.send(ask).await;
                self.show(&answer, &[])
            }
        }
    }

    fn note(&mut self, id: &str, number: u16, etag: &str) {
        for upload in self.uploads.iter_mut().filter(|upload| upload.id == id) {
            upload.etags.insert(number, etag.to_owned());
        }
    }

    fn seen(&mut self, key: usize, answer: &Answer) {
        if answer.status.is_success() {
            self.etags.insert(key, answer.header("etag").to_owned());
        }
    }

    fn show(&self, answer: &Answer, headers: &[&str]) -> Vec<String> {
        let mut seen = vec![
            answer.status.to_string(),
            format!("complete {}", answer.complete),
        ];
        if !answer.status.is_success() && !answer.body.is_empty() {
            seen.push(match answer.code().as_str() {
                // Of several things that are wrong with the parts, any may be named.
                "InvalidPart" | "EntityTooSmall" => "parts".to_owned(),
                code => code.to_owned(),
            });
        }
        seen.extend(
            headers
                .iter()
                .map(|name| format!("{name}: {}", answer.header(name))),
        );
        seen
    }

    fn show_object(&self, key: usize, answer: &Answer) -> Vec<String> {
        if !answer.status.is_success() {
            return self.show(answer, &[]);
        }
        let mut seen = self.show(
            answer,
            &[
                "content-type",
                "content-range",
                "accept-ranges",
                "content-length",
                "x-amz-meta-seed",
                "x-amz-meta-copied",
                "x-amz-meta-parts",
                "x-amz-mp-parts-count",
            ],
        );
        seen.push(self.etag(key, answer.header("etag")));
        seen.push(common::md5_hex(&answer.body));
        seen
    }
}

async fn compare(ops: Vec<Op>) -> Result<(), TestCaseError> {
    let world = World::start().await;
    world.create(THROUGH).await;
    world.create(DIRECT).await;
    let side = |bucket| Side {
        world: &world,
        bucket,
        uploads: Vec::new(),
        etags: BTreeMap::new(),
        copied: BTreeSet::new(),
    };
    let (mut through, mut direct) = (side(THROUGH), side(DIRECT));
    for (at, op) in ops.iter().enumerate() {
        let seen = Box::pin(through.act(op)).await;
        let expected = Box::pin(direct.act(op)).await;
        prop_assert_eq!(seen, expected, "{}: {:?}, after {:?}", at, op, &ops[..at]);
    }
    Ok(())
}

#[test]
fn the_gateway_answers_as_the_store_does() {
    let cases = std::env::var("PARITY_CASES")
        .ok()
        .and_then(|text| text.parse().ok());
    let config = Config {
        cases: cases.unwrap_or(12),
        failure_persistence: None,
        max_shrink_iters: 60,
        ..Config::default()
    };
    let run = move || {
        // The same requests in every run, unless more are asked for: then others each time.
        let mut runner = match cases {
            Some(_) => TestRunner::new(config),
            None => {
                let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
                TestRunner::new_with_rng(config, rng)
            }
        };
        runner.run(&prop::collection::vec(op(), 20..50), |ops| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(Box::pin(compare(ops)))
        })
    };
    // Both ends of every request are on this one thread, unoptimised.
    let thread = std::thread::Builder::new().stack_size(64 << 20);
    if let Err(error) = thread.spawn(run).unwrap().join().unwrap() {
        panic!("{error}");
    }
}
