//! An upload by form takes as much memory as any other, however long it is. In a test binary of its own: what is measured is
//! the whole process.

#![cfg(all(feature = "embedded", target_os = "linux"))]
#![forbid(unsafe_code)]

mod common;

use common::{Connection, PostForm, World, content};
use http::{Method, StatusCode};
use serde_json::json;

const CHUNK: usize = 64 * 1024;
const LENGTH: usize = 64 << 20;

/// Most memory that the process has had, in bytes.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    let kibibytes: usize = line
        .split_ascii_whitespace()
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    kibibytes * 1024
}

#[tokio::test]
async fn memory_does_not_grow_with_the_file() {
    let world = World::with("[]", r#"{"bucket": {"etag": "opaque"}}"#).await;
    world.create("bucket").await;
    let upload = async |key: &str, length: usize| {
        let form = PostForm::new("bucket", key, b"").condition(json!([
            "content-length-range",
            length,
            length
        ]));
        let (before, tail) = (form.head(), form.tail());
        let mut ask = form.ask();
        ask.body.clear();
        let whole = before.len() + length + tail.len();
        ask.headers.insert("content-length", whole.into());
        let (head, _) = ask.encode(world.address);
        let mut connection = Connection::open(world.address).await;
        connection.write(&head).await;
        connection.write(&before).await;
        let chunk = content(CHUNK);
        for _ in 0..length / CHUNK {
            connection.write(&chunk).await;
        }
        connection.write(&tail).await;
        let answer = connection.answer(&Method::POST).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT, "{answer:?}");
    };
    // What is needed once, for whatever length.
    upload("first", 1 << 20).await;
    let before = peak();
    upload("second", LENGTH).await;
    let grown = peak() - before;
    assert!(
        grown < LENGTH / 8,
        "{grown} bytes more for a file of {LENGTH}"
    );
}
