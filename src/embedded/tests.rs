//! Catalog and blobs, without a network. The server as a whole is tested in `tests/embedded_store/`.

use std::collections::BTreeMap;

use super::blobs::{BlobId, Blobs};
use super::catalog::assembly::{Claim, Claims};
use super::catalog::{
    Attributes, Body, Catalog, CatalogError, Condition, Garbage, Item, Page, Part, Query, Record,
    Start, Upload,
};
use super::{Error, Limits, Options, open, start};

fn blob(name: &str) -> BlobId {
    serde_json::from_value(serde_json::Value::from(name)).unwrap()
}

fn record(name: &str) -> Record {
    Record {
        body: Body::Blob(blob(name)),
        size: 1,
        etag: format!("md5 of {name}"),
        modified: 0,
        attributes: Attributes::default(),
        checksums: BTreeMap::new(),
        composite: false,
        tags: BTreeMap::new(),
    }
}

/// Puts an object that replaces nothing.
fn put_new(catalog: &Catalog, bucket: &str, key: &str, record: &Record) {
    let garbage = catalog.put(bucket, key, record, &Condition::None).unwrap();
    assert_eq!(garbage, Garbage::default());
}

/// A catalog with the bucket `bucket` that holds `keys`.
fn catalog(keys: &[&str]) -> (tempfile::TempDir, Catalog) {
    let folder = tempfile::tempdir().unwrap();
    let catalog = Catalog::open(&folder.path().join("db")).unwrap();
    for bucket in ["bucke", "bucket", "bucket2"] {
        catalog.create_bucket(bucket, 0).unwrap();
    }
    for key in keys {
        put_new(&catalog, "bucket", key, &record(key));
    }
    // Neighbours on both sides, which no listing may reach.
    for bucket in ["bucke", "bucket2"] {
        put_new(&catalog, bucket, "z", &record("z"));
    }
    (folder, catalog)
}

fn names(page: &Page) -> Vec<&str> {
    page.items
        .iter()
        .map(|item| match item {
            Item::Object(name, _) | Item::Prefix(name) => name.as_str(),
        })
        .collect()
}

fn query(prefix: &str, delimiter: &str, start: Start, limit: usize) -> Query {
    Query {
        prefix: prefix.to_owned(),
        delimiter: Some(delimiter.to_owned()).filter(|delimiter| !delimiter.is_empty()),
        start,
        limit,
    }
}

const KEYS: [&str; 13] = [
    "a",
    "a-b",
    "a/",
    "a/1",
    "a/b/1",
    "a0",
    "b//c",
    "b/1",
    "c",
    "é",
    "é/1",
    "\u{10ffff}",
    "\u{10ffff}/x",
];

#[test]
fn a_listing_is_in_byte_order_and_stays_in_its_bucket() {
    let (_folder, catalog) = catalog(&KEYS);
    let mut sorted = KEYS;
    sorted.sort_unstable();
    let page = catalog
        .list("bucket", &query("", "", Start::Beginning, 1000))
        .unwrap();
    assert_eq!(names(&page), sorted);
    assert!(!page.truncated);
}

#[test]
fn a_delimiter_rolls_keys_up_once() {
    let (_folder, catalog) = catalog(&KEYS);
    let page = catalog
        .list("bucket", &query("", "/", Start::Beginning, 1000))
        .unwrap();
    assert_eq!(
        names(&page),
        [
            "a",
            "a-b",
            "a/",
            "a0",
            "b/",
            "c",
            "é",
            "é/",
            "\u{10ffff}",
            "\u{10ffff}/"
        ]
    );
    let page = catalog
        .list("bucket", &query("a/", "/", Start::Beginning, 1000))
        .unwrap();
    assert_eq!(names(&page), ["a/", "a/1", "a/b/"]);
    let page = catalog
        .list("bucket", &query("b/", "//", Start::Beginning, 1000))
        .unwrap();
    assert_eq!(names(&page), ["b//c", "b/1"]);
}

#[test]
fn pages_of_any_length_add_up_to_the_whole() {
    let (_folder, catalog) = catalog(&KEYS);
    for delimiter in ["", "/", "//", "-"] {
        for prefix in ["", "a", "a/", "b/", "é", "nothing"] {
            let whole = catalog
                .list("bucket", &query(prefix, delimiter, Start::Beginning, 1000))
                .unwrap();
            for limit in 1..=KEYS.len() + 1 {
                let mut start = Start::Beginning;
                let mut seen = Vec::new();
                loop {
                    let page = catalog
                        .list("bucket", &query(prefix, delimiter, start, limit))
                        .unwrap();
                    assert!(page.items.len() <= limit);
                    seen.extend(names(&page).into_iter().map(str::to_owned));
                    if !page.truncated {
                        break;
                    }
                    start = match page.items.last().unwrap() {
                        Item::Object(key, _) => Start::After(key.clone()),
                        Item::Prefix(prefix) => Start::Past(prefix.clone()),
                    };
                }
                assert_eq!(seen, names(&whole), "{prefix:?} {delimiter:?} {limit}");
            }
        }
    }
}

#[test]
fn no_page_is_truncated_for_nothing() {
    let (_folder, catalog) = catalog(&["a", "b"]);
    for (limit, truncated) in [(0, false), (1, true), (2, false), (3, false)] {
        let page = catalog
            .list("bucket", &query("", "", Start::Beginning, limit))
            .unwrap();
        assert_eq!(
            (page.items.len(), page.truncated),
            (limit.min(2), truncated)
        );
    }
}

#[test]
fn conditions_decide_a_write() {
    let (_folder, catalog) = catalog(&["there"]);
    let there = record("there").etag;
    let put =
        |key: &str, condition: Condition| catalog.put("bucket", key, &record("there"), &condition);
    assert!(matches!(
        put("there", Condition::Absent),
        Err(CatalogError::ConditionFailed)
    ));
    assert!(matches!(
        put("new", Condition::Exists),
        Err(CatalogError::ConditionFailed)
    ));
    assert!(matches!(
        put("new", Condition::Matches(there.clone())),
        Err(CatalogError::NoSuchKey)
    ));
    assert!(matches!(
        put("there", Condition::Matches("x".into())),
        Err(CatalogError::ConditionFailed)
    ));
    assert!(matches!(
        put("there", Condition::Differs(there.clone())),
        Err(CatalogError::ConditionFailed)
    ));
    assert!(matches!(
        catalog.get("bucket", "new"),
        Err(CatalogError::NoSuchKey)
    ));
    let replaced = [blob("there")];
    assert_eq!(
        put("there", Condition::Matches(there)).unwrap().blobs,
        replaced
    );
    assert_eq!(put("there", Condition::Exists).unwrap().blobs, replaced);
    assert_eq!(put("new", Condition::Absent).unwrap().blobs, []);
    assert_eq!(
        put("newer", Condition::Differs("x".into())).unwrap().blobs,
        []
    );
}

#[test]
fn only_an_empty_bucket_can_be_deleted() {
    let (_folder, catalog) = catalog(&["", "a"]);
    let delete = |key: &str| {
        let answers = catalog.delete("bucket", &[(key.to_owned(), Condition::None)]);
        assert_eq!(answers.unwrap().remove(0).unwrap().blobs, [blob(key)]);
    };
    assert!(matches!(
        catalog.delete_bucket("bucket"),
        Err(CatalogError::BucketNotEmpty)
    ));
    delete("a");
    assert!(matches!(
        catalog.delete_bucket("bucket"),
        Err(CatalogError::BucketNotEmpty)
    ));
    delete("");
    assert_eq!(catalog.delete_bucket("bucket").unwrap(), []);
    assert!(matches!(
        catalog.delete_bucket("bucket"),
        Err(CatalogError::NoSuchBucket)
    ));
    assert!(matches!(
        catalog.get("bucket", "a"),
        Err(CatalogError::NoSuchBucket)
    ));
    assert!(catalog.get("bucket2", "z").is_ok());
}

#[tokio::test]
async fn a_blob_that_was_not_committed_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(folder.path().to_owned()).unwrap();
    let mut draft = blobs.create().await.unwrap();
    draft.write(b"half").await.unwrap();
    drop(draft);
    let complete = blobs.create().await.unwrap().finish().await.unwrap();
    let id = complete.id().clone();
    drop(complete);
    assert!(blobs.read(&id).is_err());
    assert_eq!(blobs.sweep(&Default::default()).unwrap(), 0);
}

#[tokio::test]
async fn opening_removes_what_a_crash_left_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let kept = {
        open(&data, Limits::default()).unwrap();
        let catalog = Catalog::open(&data.join("catalog.redb")).unwrap();
        let blobs = Blobs::open(data.join("blobs")).unwrap();
        let kept = blobs.create().await.unwrap().finish().await.unwrap();
        let id = kept.id().clone();
        catalog.create_bucket("bucket", 0).unwrap();
        let object = Record {
            body: Body::Blob(id.clone()),
            ..record("kept")
        };
        put_new(&catalog, "bucket", "key", &object);
        kept.keep();
        // As a crash between the body and its record would leave it.
        blobs.create().await.unwrap().finish().await.unwrap().keep();
        id
    };
    open(&data, Limits::default()).unwrap();
    let blobs = Blobs::open(data.join("blobs")).unwrap();
    assert!(blobs.read(&kept).is_ok());
    assert_eq!(blobs.sweep(&[kept].into()).unwrap(), 0);
}

#[test]
fn records_of_earlier_folders_are_read() {
    // As the first version wrote it.
    let old = r#"{"blob":"ab12","size":7,"md5":"0123","modified":5,"attributes":{"content_type":"a/b",
        "content_encoding":null,"content_disposition":null,"content_language":null,"cache_control":null,
        "expires":null,"website_redirect":null,"metadata":{"k":"v"}},"checksums":{"crc32":"AAAAAA=="}}"#;
    let record: Record = serde_json::from_str(old).unwrap();
    assert_eq!(record.body, Body::Blob(blob("ab12")));
    assert_eq!((record.size, record.etag.as_str()), (7, "0123"));
    assert!(record.tags.is_empty() && !record.composite);
    // And what is written of such an object is the same, so that going back stays possible.
    let again = serde_json::to_value(&record).unwrap();
    assert_eq!(
        again,
        serde_json::from_str::<serde_json::Value>(old).unwrap()
    );
}

const UPLOAD: Upload = Upload {
    initiated: 0,
    attributes: Attributes {
        content_type: None,
        content_encoding: None,
        content_disposition: None,
        content_language: None,
        cache_control: None,
        expires: None,
        website_redirect: None,
        metadata: BTreeMap::new(),
    },
    tags: BTreeMap::new(),
    checksum: None,
    composite: false,
};

fn part(name: &str, size: u64) -> Part {
    Part {
        blob: blob(name),
        size,
        md5: "ab".repeat(16),
        modified: 0,
        checksums: BTreeMap::new(),
        offset: 0,
    }
}

/// Begins an upload of `key` with parts of these numbers and sizes, each in a blob of the number's name.
fn begin(catalog: &Catalog, key: &str, id: &str, parts: &[(u32, u64)]) {
    catalog.create_upload("bucket", key, id, &UPLOAD).unwrap();
    for (number, size) in parts {
        let part = part(&number.to_string(), *size);
        let garbage = catalog.put_part("bucket", key, id, *number, &part).unwrap();
        assert_eq!(garbage.blobs, []);
    }
}

fn claims(numbers: &[u32]) -> Claims {
    Claims {
        parts: numbers
            .iter()
            .map(|number| Claim {
                number: *number,
                etag: "ab".repeat(16),
                checksums: BTreeMap::new(),
            })
            .collect(),
        ..Claims::default()
    }
}

fn live(catalog: &Catalog) -> Vec<String> {
    let live = catalog.live_blobs().unwrap();
    let mut names: Vec<_> = live.iter().map(ToString::to_string).collect();
    names.sort_unstable();
    names
}

#[test]
fn only_the_claimed_parts_become_the_object() {
    let (_folder, catalog) = catalog(&[]);
    begin(&catalog, "key", "id", &[(1, 10), (2, 20), (7, 5), (9, 1)]);
    let complete = |numbers: &[u32], condition: Condition| {
        catalog.complete_upload("bucket", "key", "id", &claims(numbers), &condition, 3)
    };
    // What fails leaves the upload as it is.
    assert!(matches!(
        complete(&[1, 3], Condition::None),
        Err(CatalogError::Assembly(_))
    ));
    assert!(matches!(
        complete(&[1, 7], Condition::Exists),
        Err(CatalogError::ConditionFailed)
    ));
    assert!(matches!(
        complete(&[1, 7], Condition::Matches("x".into())),
        Err(CatalogError::NoSuchKey)
    ));
    assert!(matches!(
        catalog.get("bucket", "key"),
        Err(CatalogError::NoSuchKey)
    ));
    let (record, garbage) = complete(&[1, 7, 9], Condition::Absent).unwrap();
    assert_eq!((record.size, record.modified), (16, 3));
    assert_eq!(record.body.parts(), Some(3));
    let garbage: Vec<_> = garbage.into_iter().flat_map(|left| left.blobs).collect();
    assert_eq!(garbage, [blob("2")]);
    assert_eq!(live(&catalog), ["1", "7", "9", "z"]);
    // Once more, and the same; but not with other parts, and not with more of them.
    let (again, garbage) = complete(&[1, 7, 9], Condition::Absent).unwrap();
    assert_eq!((again.etag, garbage.len()), (record.etag, 0));
    for other in [&[1, 7][..], &[1, 2, 9]] {
        assert!(matches!(
            complete(other, Condition::None),
            Err(CatalogError::NoSuchUpload)
        ));
    }
    assert!(matches!(
        catalog.put_part("bucket", "key", "id", 1, &part("x", 1)),
        Err(CatalogError::NoSuchUpload)
    ));
    // Replacing the object releases its parts, and nobody can complete it again.
    let garbage = catalog
        .put("bucket", "key", &self::record("one"), &Condition::None)
        .unwrap();
    assert_eq!(garbage.upload.as_deref(), Some("id"));
    assert_eq!(garbage.blobs, [blob("1"), blob("7"), blob("9")]);
    assert_eq!(live(&catalog), ["one", "z"]);
    assert!(matches!(
        complete(&[1, 7, 9], Condition::None),
        Err(CatalogError::NoSuchUpload)
    ));
}

#[test]
fn the_parts_that_hold_a_range_are_found_across_gaps() {
    let (_folder, catalog) = catalog(&[]);
    let sizes = [(1, 3), (2, 1), (5, 4), (6, 2), (9_999, 7), (10_000, 0)];
    begin(&catalog, "key", "id", &sizes);
    let numbers: Vec<_> = sizes.iter().map(|(number, _)| *number).collect();
    catalog
        .complete_upload(
            "bucket",
            "key",
            "id",
            &claims(&numbers),
            &Condition::None,
            0,
        )
        .unwrap();
    let owner: Vec<String> = sizes
        .iter()
        .flat_map(|(number, size)| vec![number.to_string(); usize::try_from(*size).unwrap()])
        .collect();
    for start in 0..owner.len() {
        for end in start + 1..=owner.len() {
            let mut expected = owner[start..end].to_vec();
            expected.dedup();
            let found = catalog.parts_of("id", &(start as u64..end as u64)).unwrap();
            let found: Vec<_> = found
                .unwrap()
                .iter()
                .map(|part| part.blob.to_string())
                .collect();
            assert_eq!(found, expected, "{start}..{end}");
        }
    }
    assert!(catalog.parts_of("other", &(0..1)).unwrap().is_none());
}

#[test]
fn an_aborted_upload_and_a_deleted_bucket_release_their_parts() {
    let (_folder, catalog) = catalog(&[]);
    begin(&catalog, "key", "id", &[(1, 1), (2, 1)]);
    begin(&catalog, "key", "other", &[(3, 1)]);
    let replaced = catalog.put_part("bucket", "key", "id", 2, &part("4", 1));
    assert_eq!(replaced.unwrap().blobs, [blob("2")]);
    let garbage = catalog.abort_upload("bucket", "key", "id").unwrap();
    assert_eq!(garbage.blobs, [blob("1"), blob("4")]);
    assert!(matches!(
        catalog.abort_upload("bucket", "key", "id"),
        Err(CatalogError::NoSuchUpload)
    ));
    assert!(matches!(
        catalog.abort_upload("bucket", "elsewhere", "other"),
        Err(CatalogError::NoSuchUpload)
    ));
    catalog
        .create_upload("bucke", "key", "third", &UPLOAD)
        .unwrap();
    let garbage = catalog.delete_bucket("bucket").unwrap();
    assert_eq!(garbage.len(), 1);
    assert_eq!(garbage[0].blobs, [blob("3")]);
    assert_eq!(live(&catalog), ["z"]);
    assert!(catalog.upload("bucke", "key", "third").is_ok());
}

#[test]
fn pages_of_uploads_of_any_length_add_up_to_the_whole() {
    let (_folder, catalog) = catalog(&[]);
    for bucket in ["bucke", "bucket2"] {
        catalog.create_upload(bucket, "a", "0", &UPLOAD).unwrap();
    }
    for key in KEYS {
        for id in ["1", "2", "3"] {
            catalog.create_upload("bucket", key, id, &UPLOAD).unwrap();
        }
    }
    let names = |page: &Page<(String, Upload)>| -> Vec<(String, String)> {
        page.items
            .iter()
            .map(|item| match item {
                Item::Object(key, upload) => (key.clone(), upload.0.clone()),
                Item::Prefix(prefix) => (prefix.clone(), String::new()),
            })
            .collect()
    };
    for delimiter in ["", "/", "//", "-"] {
        for prefix in ["", "a", "a/", "b/", "é", "nothing"] {
            let list = |start, limit| {
                catalog
                    .list_uploads("bucket", &query(prefix, delimiter, start, limit))
                    .unwrap()
            };
            let whole = list(Start::Beginning, 1000);
            let keys = catalog.list_uploads("bucket", &query(prefix, "", Start::Beginning, 1000));
            let expected = KEYS.iter().filter(|key| key.starts_with(prefix)).count() * 3;
            assert_eq!(keys.unwrap().items.len(), expected);
            for limit in 1..=8 {
                let mut start = Start::Beginning;
                let mut seen = Vec::new();
                loop {
                    let page = list(start, limit);
                    assert!(page.items.len() <= limit);
                    seen.extend(names(&page));
                    if !page.truncated {
                        break;
                    }
                    start = match page.items.last().unwrap() {
                        Item::Object(key, upload) => {
                            Start::AfterUpload(key.clone(), upload.0.clone())
                        }
                        Item::Prefix(prefix) => Start::Past(prefix.clone()),
                    };
                }
                assert_eq!(seen, names(&whole), "{prefix:?} {delimiter:?} {limit}");
            }
        }
    }
    // A key alone as the marker passes over all its uploads.
    let page = catalog.list_uploads("bucket", &query("", "", Start::After("a/1".into()), 1));
    assert_eq!(
        names(&page.unwrap()),
        [("a/b/1".to_owned(), "1".to_owned())]
    );
}

#[tokio::test]
async fn what_is_read_is_removed_when_its_last_reader_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = std::sync::Arc::new(Blobs::open(folder.path().to_owned()).unwrap());
    let kept = blobs.create().await.unwrap().finish().await.unwrap();
    let id = kept.id().clone();
    kept.keep();
    let (one, two) = (blobs.hold("upload"), blobs.hold("upload"));
    let other = blobs.hold("other");
    blobs.discard(Garbage {
        upload: Some("upload".into()),
        blobs: vec![id.clone()],
    });
    drop(one);
    assert!(blobs.read(&id).is_ok());
    drop(two);
    let gone = async {
        while blobs.read(&id).is_ok() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), gone)
        .await
        .unwrap();
    drop(other);
}

fn options(data: &std::path::Path, listen: &str) -> Options {
    Options {
        data: data.to_owned(),
        access_key: "access".to_owned(),
        secret_key: "secret".to_owned(),
        listen: listen.parse().unwrap(),
    }
}

#[tokio::test]
async fn one_process_has_a_folder_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let first = start(options(folder.path(), "127.0.0.1:0")).await.unwrap();
    let second = start(options(folder.path(), "127.0.0.1:0")).await;
    assert!(matches!(second, Err(Error::InUse(_))));
    first.shutdown().await;
    start(options(folder.path(), "[::1]:0"))
        .await
        .unwrap()
        .shutdown()
        .await;
}

#[tokio::test]
async fn only_loopback_is_listened_on() {
    let folder = tempfile::tempdir().unwrap();
    let refused = start(options(folder.path(), "0.0.0.0:0")).await;
    assert!(matches!(refused, Err(Error::NotLoopback(_))));
}
