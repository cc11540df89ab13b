//! Listings: exact sizes and ETags at full page size, a cache that is never wrong, and the gateway's own objects,
//! which nobody sees.

#![cfg(feature = "embedded")]
#![forbid(unsafe_code)]

mod common;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::time::Duration;

use common::{Answer, Ask, Stored, World, content, headers, md5_hex, query_of};
use http::{HeaderMap, Method, StatusCode};
use sealgate::gateway::Gateway;
use sealgate::protocol::uri;
use serde_json::json;

/// Which listing.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    V1,
    V2,
    Versions,
}

const KINDS: [Kind; 3] = [Kind::V1, Kind::V2, Kind::Versions];

fn list(kind: Kind, parameters: &[(&str, &str)]) -> Ask {
    let mut all = match kind {
        Kind::V1 => vec![],
        Kind::V2 => vec![("list-type", "2")],
        Kind::Versions => vec![("versions", "")],
    };
    all.extend(parameters);
    Ask::bucket(Method::GET, "bucket").query(&query_of(&all))
}

/// Key, size and ETag of every object of a page.
fn objects(answer: &Answer) -> Vec<(String, u64, String)> {
    let sizes = answer.elements("Size");
    let etags = answer.elements("ETag");
    let sizes = sizes.iter().map(|size| size.parse().unwrap());
    let etags = etags.iter().map(|etag| etag.trim_matches('"').to_owned());
    let keys = answer.elements("Key").into_iter();
    keys.zip(sizes)
        .zip(etags)
        .map(|((key, size), etag)| (key, size, etag))
        .collect()
}

async fn page(world: &World, address: SocketAddr, ask: Ask) -> Answer {
    let answer = Box::pin(world.send_to(address, ask)).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    answer
}

#[tokio::test]
async fn a_full_page_is_exact_cold_and_costs_one_request_warm() {
    let world = World::with_settings(json!({"limits": {"list_concurrency": 6}})).await;
    world.create("bucket").await;
    let mut expected = Vec::new();
    for n in 0..1000 {
        let key = format!("key-{n:04}");
        let body = content(n % 7 * 100 + n);
        world.put(&key, &body).await;
        expected.push((key, body.len() as u64, md5_hex(&body)));
    }
    let other = world.again().await;
    for (address, requests, most) in [(world.address, 1, 1), (other, 1001, 6), (other, 1, 1)] {
        world.spy.take();
        let answer = page(&world, address, list(Kind::V2, &[])).await;
        assert_eq!(objects(&answer), expected);
        assert_eq!(answer.element("KeyCount"), "1000");
        assert_eq!(answer.element("IsTruncated"), "false");
        assert_eq!(world.spy.most_at_once(), most);
        assert_eq!(world.spy.take().len(), requests);
    }
    for kind in KINDS {
        let answer = page(&world, other, list(kind, &[])).await;
        assert_eq!(objects(&answer), expected, "{kind:?}");
        assert_eq!(world.spy.take().len(), 1, "{kind:?}");
    }
}

/// Key, checksum algorithm and type of every object of a page; the latter empty where it has none.
fn checksums(answer: &Answer) -> Vec<(String, String, String)> {
    let entries = answer.text().split("<Key>").skip(1);
    let of = |entry: &str, name: &str| {
        let (open, close) = (format!("<{name}>"), format!("</{name}>"));
        let found: Vec<&str> = entry.split(&open).skip(1).collect();
        assert!(found.len() <= 1, "{entry}");
        let text = found.first().and_then(|rest| rest.split(&close).next());
        text.unwrap_or_default().to_owned()
    };
    entries
        .map(|entry| {
            let key = entry.split("</Key>").next().unwrap().to_owned();
            let algorithm = of(entry, "ChecksumAlgorithm");
            (key, algorithm, of(entry, "ChecksumType"))
        })
        .collect()
}

#[tokio::test]
async fn listings_tell_the_kind_of_checksum_cold_and_warm() {
    use sealgate::protocol::checksum::{Algorithm, Checksum};
    let world = World::with_bucket().await;
    let mut expected = Vec::new();
    for algorithm in Algorithm::ALL {
        let (key, body) = (algorithm.name(), content(100_000));
        let value = Checksum::of(algorithm, &body).to_base64();
        let put = Ask::put("bucket", key, &body).header(algorithm.header(), &value);
        assert_eq!(world.send(put).await.status, StatusCode::OK);
        let kind = "FULL_OBJECT".to_owned();
        expected.push((key.to_owned(), key.to_owned(), kind));
        let copied = world.send(Ask::copy("bucket", key, &format!("{key}-copy")));
        assert_eq!(copied.await.status, StatusCode::OK);
        let copy = expected.last().cloned().unwrap();
        expected.push((format!("{key}-copy"), copy.1, copy.2));
    }
    world.put("none", b"x").await;
    expected.push(("none".to_owned(), String::new(), String::new()));
    for (key, kind) in [("parts-c", "COMPOSITE"), ("parts-f", "FULL_OBJECT")] {
        let create = Ask::object(Method::POST, "bucket", key)
            .query("uploads=")
            .header("x-amz-checksum-algorithm", "CRC32C")
            .header("x-amz-checksum-type", kind);
        let id = world.send(create).await.element("UploadId");
        let query = query_of(&[("partNumber", "1"), ("uploadId", &id)]);
        let part = Ask::put("bucket", key, b"part").query(&query);
        let part = world.send(part.header("x-amz-checksum-crc32c", &{
            Checksum::of(Algorithm::Crc32c, b"part").to_base64()
        }));
        let part = part.await;
        let (etag, sum) = (part.etag(), part.header("x-amz-checksum-crc32c"));
        let document = format!(
            "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag><ChecksumCRC32C>{sum}</ChecksumCRC32C></Part></CompleteMultipartUpload>"
        );
        let complete = Ask::object(Method::POST, "bucket", key)
            .query(&query_of(&[("uploadId", &id)]))
            .body(document.as_bytes());
        assert_eq!(world.send(complete).await.status, StatusCode::OK);
        expected.push((key.to_owned(), "CRC32C".to_owned(), kind.to_owned()));
    }
    expected.sort();
    let other = world.again().await;
    let cold = 1 + expected.len();
    for (address, requests) in [(world.address, 1), (other, cold), (other, 1)] {
        for kind in KINDS {
            world.spy.take();
            let answer = page(&world, address, list(kind, &[])).await;
            assert_eq!(checksums(&answer), expected, "{kind:?}");
            let asked = world.spy.take().len();
            assert!(
                asked == 1 || (asked == requests && kind == KINDS[0]),
                "{asked}"
            );
        }
    }
    // What is overwritten past this gateway is what is shown.
    let put = Ask::put("bucket", "CRC32", &content(100_000));
    assert_eq!(world.send(put).await.status, StatusCode::OK);
    let answer = page(&world, other, list(Kind::V2, &[])).await;
    let first = ("CRC32".to_owned(), String::new(), String::new());
    assert_eq!(checksums(&answer)[0], first);
}

#[tokio::test]
async fn a_listing_that_needs_no_footers_reads_none_for_checksums() {
    let settings =
        json!({"buckets": {"bucket": {"etag": "opaque", "default_checksum": "crc64nvme"}}});
    let world = World::with_settings(settings).await;
    world.create("bucket").await;
    for key in ["a", "b"] {
        let put = world.put(key, &content(100)).await;
        assert_ne!(put.header("x-amz-checksum-crc64nvme"), "");
    }
    // The same whether or not the cache knows more.
    for address in [world.address, world.again().await] {
        world.spy.take();
        let answer = page(&world, address, list(Kind::V2, &[])).await;
        assert_eq!(answer.elements("Size"), ["100", "100"]);
        assert!(!answer.text().contains("Checksum"), "{}", answer.text());
        assert_eq!(world.spy.take().len(), 1);
    }
}

#[tokio::test]
async fn every_path_fills_the_cache() {
    let world = World::with_bucket().await;
    for key in ["get", "head", "range", "attributes", "from"] {
        world.put(key, &content(100_000)).await;
    }
    let other = world.again().await;
    for ask in [
        Ask::get("bucket", "get"),
        Ask::head("bucket", "head"),
        Ask::get("bucket", "range").header("range", "bytes=0-0"),
        Ask::get("bucket", "attributes")
            .query("attributes")
            .header("x-amz-object-attributes", "ETag"),
        Ask::copy("bucket", "from", "copied"),
        Ask::put("bucket", "put", b"body"),
    ] {
        let answer = world.send_to(other, ask).await;
        assert!(answer.status.is_success(), "{answer:?}");
    }
    world.spy.take();
    let answer = page(&world, other, list(Kind::V2, &[])).await;
    assert_eq!(objects(&answer).len(), 7);
    assert_eq!(world.spy.take().len(), 1);
}

#[tokio::test]
async fn a_restart_stays_warm_where_the_cache_has_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("facts");
    let mut world = World::with_settings(json!({"cache": {"bytes": "1MiB", "path": path}})).await;
    world.create("bucket").await;
    let mut expected = Vec::new();
    for n in 0..50 {
        let (key, body) = (format!("key-{n:02}"), content(n * 10));
        world.put(&key, &body).await;
        expected.push((key, body.len() as u64, md5_hex(&body)));
    }
    // While it runs, nobody else gets the file.
    let Err(error) = Gateway::new(&world.config()) else {
        panic!("two gateways have one file");
    };
    let said = error.to_string();
    assert!(said.contains("in use by another process"), "{said}");

    world.stop.cancel();
    (&mut world.server).await.unwrap();
    let again = tokio::time::timeout(Duration::from_secs(20), async {
        while Gateway::new(&world.config()).is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        world.again().await
    });
    let again = again.await.unwrap();
    world.spy.take();
    let answer = page(&world, again, list(Kind::V2, &[])).await;
    assert_eq!(objects(&answer), expected);
    assert_eq!(world.spy.take().len(), 1);
}

#[tokio::test]
async fn a_gateway_without_a_cache_lists_the_same() {
    let world = World::with_settings(json!({"cache": {"bytes": "0B"}})).await;
    world.create("bucket").await;
    world.put("key", b"body").await;
    for _ in 0..2 {
        world.spy.take();
        let answer = page(&world, world.address, list(Kind::V2, &[])).await;
        assert_eq!(objects(&answer), [("key".to_owned(), 4, md5_hex(b"body"))]);
        assert_eq!(world.spy.take().len(), 2);
    }
}

/// Whatever is written while a listing is made: what it says of a key was true of that key, size and ETag together,
/// when the listing began or later.
#[tokio::test]
async fn writers_race_listers() {
    let world = World::with_bucket().await;
    let gateways = [world.address, world.again().await];
    // What was written, and in which round; the last round that was answered, of keys with one writer.
    let written = RefCell::new(HashMap::new());
    let answered = RefCell::new(HashMap::new());
    let left = Cell::new(4);
    let writer = async |key: &'static str, seed: usize| {
        for round in 0..60usize {
            // Sizes that meet again and again, with other bytes each time; some of several segments.
            let mut body = content([10, 11, 70_000, 10, 131_000][(round + seed) % 5]);
            let last = body.len() - 1;
            body[last - 8..last].copy_from_slice(&(round * 8 + seed).to_be_bytes());
            let object = (key.to_owned(), body.len() as u64, md5_hex(&body));
            written.borrow_mut().insert(object, round);
            let ask = Ask::put("bucket", key, &body);
            let answer = Box::pin(world.send_to(gateways[round % 2], ask)).await;
            assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
            if key != "two" {
                answered.borrow_mut().insert(key.to_owned(), round);
            }
            if round % 4 == 0 && key == "gone" {
                world.send(Ask::delete("bucket", key)).await;
            }
        }
        left.set(left.get() - 1);
    };
    let lister = async |n: usize| {
        let mut pages = 0;
        // Once more when all is quiet.
        let mut quiet = false;
        while !quiet {
            quiet = left.get() == 0;
            let before = answered.borrow().clone();
            let max = ["1", "2", "1000"][pages % 3];
            let ask = list(KINDS[(pages + n) % 3], &[("max-keys", max)]);
            let answer = page(&world, gateways[n % 2], ask).await;
            for object in objects(&answer) {
                let Some(round) = written.borrow().get(&object).copied() else {
                    panic!("{object:?} was never written");
                };
                let oldest = before.get(&object.0).copied().unwrap_or_default();
                assert!(
                    round >= oldest,
                    "{object:?} is of round {round}, before {oldest}"
                );
            }
            assert!(answer.element("IsTruncated") == "false" || !objects(&answer).is_empty());
            pages += 1;
        }
        pages
    };
    let (_, _, _, _, a, b, c) = tokio::join!(
        writer("one", 0),
        writer("two", 1),
        writer("two", 2),
        writer("gone", 3),
        lister(0),
        lister(1),
        lister(2),
    );
    assert!(a + b + c > 60, "{a} {b} {c}");
    assert_eq!(world.all_integrity_failures(), 0);
}

#[tokio::test]
async fn what_is_deleted_while_it_is_listed_is_left_out() {
    let world = World::with_bucket().await;
    for key in ["a", "b", "c"] {
        world.put(key, b"body").await;
    }
    let other = world.again().await;
    // The store's page still has them; their footers are gone.
    world.spy.lie(|seen, mut reply| {
        if seen.target.starts_with("/bucket/a") || seen.target.starts_with("/bucket/b") {
            reply.status = StatusCode::NOT_FOUND;
            reply.body = b"<Error><Code>NoSuchKey</Code></Error>".to_vec();
            reply.fix_length();
        }
        reply.encode()
    });
    for kind in KINDS {
        for max in ["1", "2", "1000"] {
            let answer = page(&world, other, list(kind, &[("max-keys", max)])).await;
            let keys: Vec<String> = objects(&answer)
                .into_iter()
                .map(|(key, _, _)| key)
                .collect();
            assert_eq!(keys, ["c"], "{kind:?} {max}");
            assert_eq!(answer.element("IsTruncated"), "false", "{kind:?} {max}");
        }
    }
}

/// Keys and common prefixes of a whole listing, page by page, as a client goes through it.
async fn walk(
    world: &World,
    kind: Kind,
    parameters: &[(&str, &str)],
    max: usize,
    url: bool,
) -> (Vec<String>, Vec<String>) {
    let (mut keys, mut prefixes) = (Vec::new(), Vec::new());
    let mut next: Vec<(&str, String)> = Vec::new();
    let what = format!("{kind:?} {parameters:?} max-keys={max}");
    for _ in 0..100 {
        let max_keys = max.to_string();
        let mut all = parameters.to_vec();
        all.push(("max-keys", &max_keys));
        if url {
            all.push(("encoding-type", "url"));
        }
        all.extend(next.iter().map(|(name, value)| (*name, value.as_str())));
        let answer = page(world, world.address, list(kind, &all)).await;
        assert!(
            !answer.text().contains("HIDDEN"),
            "{what}: {}",
            answer.text()
        );
        let decode = |text: String| match url {
            true => String::from_utf8(uri::percent_decode(&text, true).unwrap()).unwrap(),
            false => text,
        };
        let found: Vec<String> = answer.elements("Key").into_iter().map(decode).collect();
        let common: Vec<String> = answer
            .elements("CommonPrefixes")
            .iter()
            .map(|inner| inner.replace("<Prefix>", "").replace("</Prefix>", ""))
            .map(decode)
            .collect();
        let count = found.len() + common.len();
        assert!(count <= max, "{what}: {count} in a page");
        assert_eq!(answer.element("MaxKeys"), max_keys, "{what}");
        if kind == Kind::V2 {
            assert_eq!(answer.element("KeyCount"), count.to_string(), "{what}");
        }
        let last = found.iter().chain(&common).max().cloned();
        keys.extend(found);
        prefixes.extend(common);
        if answer.element("IsTruncated") != "true" {
            assert!(
                answer.element("NextMarker").is_empty()
                    && answer.element("NextKeyMarker").is_empty(),
                "{what}"
            );
            return (keys, prefixes);
        }
        let last = last.unwrap_or_else(|| panic!("{what}: an empty page that is not the last"));
        next = match kind {
            Kind::V1 => {
                let marker = decode(answer.element("NextMarker"));
                vec![("marker", if marker.is_empty() { last } else { marker })]
            }
            Kind::V2 => vec![(
                "continuation-token",
                answer.element("NextContinuationToken"),
            )],
            Kind::Versions => vec![
                ("key-marker", decode(answer.element("NextKeyMarker"))),
                ("version-id-marker", answer.element("NextVersionIdMarker")),
            ],
        };
        next.retain(|(_, value)| !value.is_empty());
    }
    panic!("{what}: no end");
}

/// The listing that S3 would give of these keys.
fn model(keys: &[&str], prefix: &str, delimiter: &str) -> (Vec<String>, Vec<String>) {
    let (mut found, mut common) = (BTreeSet::new(), BTreeSet::new());
    for key in keys.iter().filter(|key| key.starts_with(prefix)) {
        match key[prefix.len()..]
            .find(delimiter)
            .filter(|_| !delimiter.is_empty())
        {
            Some(at) => {
                common.insert(key[..prefix.len() + at + delimiter.len()].to_owned());
            }
            None => {
                found.insert((*key).to_owned());
            }
        }
    }
    (found.into_iter().collect(), common.into_iter().collect())
}

/// Goes through every kind of listing of a bucket in which these keys are visible, and some are hidden.
async fn nothing_hidden_shows(
    reserved: &str,
    visible: &[&str],
    prefixes: &[&str],
    delimiters: &[&str],
) {
    let world = World::with_settings(json!({
        "multipart": {"prefix": reserved},
        "buckets": {"bucket": {"plaintext": "allow"}},
    }))
    .await;
    world.create("bucket").await;
    let plain = Stored {
        headers: headers(&[]),
        body: b"plain".to_vec(),
    };
    for key in visible {
        world.plant("bucket", key, &plain).await;
    }
    for hidden in [
        "HIDDEN",
        "HIDDEN-1",
        "HIDDEN-2/x",
        "a/HIDDEN",
        "b/HIDDEN/3",
        "~HIDDEN",
        "\u{fffd}HIDDEN",
    ] {
        world
            .plant("bucket", &format!("{reserved}{hidden}"), &plain)
            .await;
    }
    for prefix in prefixes {
        for delimiter in delimiters {
            let mut expected = model(visible, prefix, delimiter);
            if prefix.starts_with(reserved) {
                expected = Default::default();
            }
            let mut parameters = vec![("prefix", *prefix)];
            if !delimiter.is_empty() {
                parameters.push(("delimiter", *delimiter));
            }
            for kind in KINDS {
                for (max, url) in [(1, false), (2, true), (3, false), (1000, false)] {
                    let found = walk(&world, kind, &parameters, max, url).await;
                    assert_eq!(found, expected, "{kind:?} {parameters:?} max-keys={max}");
                }
            }
        }
    }
}

#[tokio::test]
async fn hidden_keys_in_the_middle() {
    let visible = [
        "a",
        "b/1",
        "b/2",
        "~",
        "~sealgat",
        "~sealgate",
        "~sealgate!",
        "~sealgate.x",
        "~sealgate0",
        "~sealgatf/1",
        "~z",
        "é/ß",
    ];
    let prefixes = [
        "",
        "~",
        "~sealgate",
        "~sealgate/",
        "~sealgate/a",
        "b/",
        "none",
    ];
    nothing_hidden_shows("~sealgate/", &visible, &prefixes, &["", "/", "e", "s"]).await;
}

#[tokio::test]
async fn hidden_keys_at_the_start_and_at_the_end() {
    let visible = ["a", "b/1", "b/2", "c"];
    nothing_hidden_shows("!own/", &visible, &["", "!", "a"], &["", "/", "o"]).await;
    nothing_hidden_shows("z own/", &visible, &["", "z"], &["", "/", " "]).await;
}

#[tokio::test]
async fn a_bucket_of_nothing_but_hidden_keys_is_empty() {
    nothing_hidden_shows("~sealgate/", &[], &["", "~"], &["", "/", "~", "gate"]).await;
}

/// The store is asked once more, not once for each hidden key.
#[tokio::test]
async fn skipping_what_is_hidden_costs_one_request() {
    let world = World::with_settings(json!({"buckets": {"bucket": {"plaintext": "allow"}}})).await;
    world.create("bucket").await;
    let plain = Stored {
        headers: HeaderMap::new(),
        body: b"plain".to_vec(),
    };
    for n in 0..200 {
        world
            .plant("bucket", &format!("~sealgate/{n:03}"), &plain)
            .await;
    }
    for key in ["a", "~z"] {
        world.plant("bucket", key, &plain).await;
    }
    page(&world, world.address, list(Kind::V2, &[])).await;
    let mut costs = BTreeMap::new();
    for kind in KINDS {
        for max in ["1", "2", "1000"] {
            world.spy.take();
            page(&world, world.address, list(kind, &[("max-keys", max)])).await;
            costs.insert((max, format!("{kind:?}")), world.spy.take().len());
        }
    }
    for ((max, _), cost) in &costs {
        assert_eq!(*cost, if *max == "2" { 2 } else { 1 }, "{costs:?}");
    }
}
