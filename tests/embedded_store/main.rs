//! The embedded store over a real socket, as the gateway and an SDK use it.
#![cfg(feature = "embedded")]

mod multipart;
mod settings;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
};
use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::MetadataDirective;
use sealgate::embedded::{Handle, Limits, Options, start_with};

async fn serve(folder: &std::path::Path) -> (Handle, Client) {
    serve_within(folder, Limits::default()).await
}

async fn serve_within(folder: &std::path::Path, limits: Limits) -> (Handle, Client) {
    let options = Options {
        data: folder.to_owned(),
        access_key: "access".to_owned(),
        secret_key: "secret".to_owned(),
        listen: "127.0.0.1:0".parse().unwrap(),
    };
    let listener = tokio::net::TcpListener::bind(options.listen).await.unwrap();
    let handle = start_with(listener, options, limits).await.unwrap();
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("access", "secret", None, None, "test"))
        .endpoint_url(format!("http://{}", handle.endpoint))
        .force_path_style(true)
        .retry_config(RetryConfig::disabled())
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    (handle, Client::from_conf(config))
}

async fn put(client: &Client, key: &str, body: Vec<u8>) {
    client
        .put_object()
        .bucket("bucket")
        .key(key)
        .body(ByteStream::from(body))
        .send()
        .await
        .unwrap();
}

async fn get(client: &Client, key: &str) -> Option<Vec<u8>> {
    match client.get_object().bucket("bucket").key(key).send().await {
        Ok(answer) => Some(answer.body.collect().await.unwrap().to_vec()),
        Err(error) => {
            assert_eq!(error.code(), Some("NoSuchKey"));
            None
        }
    }
}

#[tokio::test]
async fn objects_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (handle, client) = serve(folder.path()).await;
    client
        .create_bucket()
        .bucket("bucket")
        .send()
        .await
        .unwrap();
    put(&client, "a", vec![7; 300_000]).await;
    put(&client, "a/b//../c", b"nested".to_vec()).await;
    put(&client, "a", vec![8; 200_000]).await;
    handle.shutdown().await;

    let (handle, client) = serve(folder.path()).await;
    assert_eq!(get(&client, "a").await.unwrap(), vec![8; 200_000]);
    assert_eq!(get(&client, "a/b//../c").await.unwrap(), b"nested");
    let listed = client
        .list_objects_v2()
        .bucket("bucket")
        .send()
        .await
        .unwrap();
    let keys: Vec<_> = listed
        .contents()
        .iter()
        .filter_map(|object| object.key())
        .collect();
    assert_eq!(keys, ["a", "a/b//../c"]);
    handle.shutdown().await;
}

#[tokio::test]
async fn a_suffix_range_brings_the_tail_with_everything_head_says() {
    let folder = tempfile::tempdir().unwrap();
    let (_handle, client) = serve(folder.path()).await;
    client
        .create_bucket()
        .bucket("bucket")
        .send()
        .await
        .unwrap();
    let body: Vec<u8> = (0..100_000_u32).map(|number| number as u8).collect();
    let put = client
        .put_object()
        .bucket("bucket")
        .key("key")
        .metadata("sealgate-test", "value")
        .content_type("text/x-test")
        .body(ByteStream::from(body.clone()))
        .send()
        .await
        .unwrap();
    let tail = client
        .get_object()
        .bucket("bucket")
        .key("key")
        .range("bytes=-256")
        .if_match(put.e_tag().unwrap())
        .send()
        .await
        .unwrap();
    assert_eq!(tail.content_range(), Some("bytes 99744-99999/100000"));
    assert_eq!(tail.content_length(), Some(256));
    assert_eq!(tail.e_tag(), put.e_tag());
    assert_eq!(tail.content_type(), Some("text/x-test"));
    assert_eq!(tail.metadata().unwrap()["sealgate-test"], "value");
    assert!(tail.last_modified().is_some());
    assert_eq!(tail.body.collect().await.unwrap().to_vec(), body[99_744..]);
}

#[tokio::test]
async fn metadata_is_replaced_in_place() {
    let folder = tempfile::tempdir().unwrap();
    let (_handle, client) = serve(folder.path()).await;
    client
        .create_bucket()
        .bucket("bucket")
        .send()
        .await
        .unwrap();
    put(&client, "key", vec![1; 100_000]).await;
    let before = client
        .head_object()
        .bucket("bucket")
        .key("key")
        .send()
        .await
        .unwrap();
    client
        .copy_object()
        .bucket("bucket")
        .key("key")
        .copy_source("bucket/key")
        .metadata_directive(MetadataDirective::Replace)
        .metadata("new", "yes")
        .send()
        .await
        .unwrap();
    let after = client
        .head_object()
        .bucket("bucket")
        .key("key")
        .send()
        .await
        .unwrap();
    assert_eq!(after.e_tag(), before.e_tag());
    assert_eq!(after.metadata().unwrap()["new"], "yes");
    assert_eq!(get(&client, "key").await.unwrap(), vec![1; 100_000]);
}

/// Sends a PUT whose body ends `missing` bytes early, and waits for the connection to end.
async fn cut(client: &Client, key: &str, size: usize, missing: usize) {
    let presigned = client
        .put_object()
        .bucket("bucket")
        .key(key)
        .presigned(PresigningConfig::expires_in(Duration::from_secs(60)).unwrap())
        .await
        .unwrap();
    let uri: http::Uri = presigned.uri().parse().unwrap();
    let authority = uri.authority().unwrap().to_string();
    let target = uri.path_and_query().unwrap().to_string();
    tokio::task::spawn_blocking(move || {
        let mut connection = TcpStream::connect(&authority).unwrap();
        let head =
            format!("PUT {target} HTTP/1.1\r\nhost: {authority}\r\ncontent-length: {size}\r\n\r\n");
        connection.write_all(head.as_bytes()).unwrap();
        connection.write_all(&vec![9; size - missing]).unwrap();
        connection.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        // A reset is as good an end as an answer that is not a success.
        let _ = connection.read_to_end(&mut answer);
        assert!(!answer.starts_with(b"HTTP/1.1 2"));
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_body_cut_off_before_its_last_byte_stores_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (handle, client) = serve(folder.path()).await;
    client
        .create_bucket()
        .bucket("bucket")
        .send()
        .await
        .unwrap();
    put(&client, "old", b"before".to_vec()).await;
    for (size, missing) in [(1, 1), (1000, 1), (1_000_000, 1), (1_000_000, 999_999)] {
        cut(&client, "new", size, missing).await;
        cut(&client, "old", size, missing).await;
    }
    assert_eq!(get(&client, "new").await, None);
    assert_eq!(get(&client, "old").await.unwrap(), b"before");
    handle.shutdown().await;
    assert_eq!(blobs(folder.path()), 1);
}

#[tokio::test]
async fn deleted_and_replaced_bodies_leave_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let (handle, client) = serve(folder.path()).await;
    client
        .create_bucket()
        .bucket("bucket")
        .send()
        .await
        .unwrap();
    for round in 0..3 {
        put(&client, "key", vec![round; 1000]).await;
    }
    client
        .copy_object()
        .bucket("bucket")
        .key("copy")
        .copy_source("bucket/key")
        .send()
        .await
        .unwrap();
    client
        .delete_object()
        .bucket("bucket")
        .key("key")
        .send()
        .await
        .unwrap();
    assert_eq!(get(&client, "key").await, None);
    assert_eq!(get(&client, "copy").await.unwrap(), vec![2; 1000]);
    handle.shutdown().await;
    assert_eq!(blobs(folder.path()), 1);
}

/// How many bodies there are on disk.
fn blobs(folder: &std::path::Path) -> usize {
    std::fs::read_dir(folder.join("blobs"))
        .unwrap()
        .map(|fan| std::fs::read_dir(fan.unwrap().path()).unwrap().count())
        .sum()
}
