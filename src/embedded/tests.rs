//! Catalog and blobs, without a network. The server as a whole is tested in `tests/embedded_store.rs`.

use std::collections::BTreeMap;

use super::blobs::{BlobId, Blobs};
use super::catalog::{
    Attributes, Catalog, CatalogError, Condition, Item, Page, Query, Record, Start,
};
use super::{Error, Options, open, start};

fn blob(name: &str) -> BlobId {
    serde_json::from_value(serde_json::Value::from(name)).unwrap()
}

fn record(name: &str) -> Record {
    Record {
        blob: blob(name),
        size: 1,
        md5: format!("md5 of {name}"),
        modified: 0,
        attributes: Attributes::default(),
        checksums: BTreeMap::new(),
    }
}

/// A catalog with the bucket `bucket` that holds `keys`.
fn catalog(keys: &[&str]) -> (tempfile::TempDir, Catalog) {
    let folder = tempfile::tempdir().unwrap();
    let catalog = Catalog::open(&folder.path().join("db")).unwrap();
    for bucket in ["bucke", "bucket", "bucket2"] {
        catalog.create_bucket(bucket, 0).unwrap();
    }
    for key in keys {
        catalog
            .put("bucket", key, &record(key), &Condition::None)
            .unwrap();
    }
    // Neighbours on both sides, which no listing may reach.
    for bucket in ["bucke", "bucket2"] {
        catalog
            .put(bucket, "z", &record("z"), &Condition::None)
            .unwrap();
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
    let there = record("there").md5;
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
    assert!(put("there", Condition::Matches(there)).unwrap().is_some());
    assert!(put("there", Condition::Exists).unwrap().is_some());
    assert!(put("new", Condition::Absent).unwrap().is_none());
    assert!(
        put("newer", Condition::Differs("x".into()))
            .unwrap()
            .is_none()
    );
}

#[test]
fn only_an_empty_bucket_can_be_deleted() {
    let (_folder, catalog) = catalog(&["", "a"]);
    let delete = |key: &str| catalog.delete("bucket", &[(key.to_owned(), Condition::None)]);
    assert!(matches!(
        catalog.delete_bucket("bucket"),
        Err(CatalogError::BucketNotEmpty)
    ));
    delete("a").unwrap();
    assert!(matches!(
        catalog.delete_bucket("bucket"),
        Err(CatalogError::BucketNotEmpty)
    ));
    delete("").unwrap();
    catalog.delete_bucket("bucket").unwrap();
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
        open(&data).unwrap();
        let catalog = Catalog::open(&data.join("catalog.redb")).unwrap();
        let blobs = Blobs::open(data.join("blobs")).unwrap();
        let kept = blobs.create().await.unwrap().finish().await.unwrap();
        let id = kept.id().clone();
        catalog.create_bucket("bucket", 0).unwrap();
        let object = Record {
            blob: id.clone(),
            ..record("kept")
        };
        catalog
            .put("bucket", "key", &object, &Condition::None)
            .unwrap();
        kept.keep();
        // As a crash between the body and its record would leave it.
        blobs.create().await.unwrap().finish().await.unwrap().keep();
        id
    };
    open(&data).unwrap();
    let blobs = Blobs::open(data.join("blobs")).unwrap();
    assert!(blobs.read(&kept).is_ok());
    assert_eq!(blobs.sweep(&[kept].into()).unwrap(), 0);
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
