//! The examples do what they say.
#![cfg(feature = "embedded")]

use std::path::Path;
use std::sync::Arc;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::Credentials;
use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::StorageClass;
use sealgate::config::{Config, Sources};
use sealgate::gateway::{self, Listeners};
use sealgate::keys::{KeyEncryptionKey, KeyId, Keyring, LocalKey};
use sealgate::{embedded, formats};
use tokio_util::sync::CancellationToken;

#[allow(dead_code, reason = "main is not called here")]
#[path = "../examples/http_body.rs"]
mod http_body;
#[allow(dead_code, reason = "main is not called here")]
#[path = "../examples/seal_file.rs"]
mod seal_file;
#[allow(dead_code, reason = "main is not called here")]
#[path = "../examples/seal_upload_sdk.rs"]
mod seal_upload_sdk;

const KEY: [u8; 32] = *b"a key for tests and nothing else";

fn pattern(len: usize) -> Vec<u8> {
    (0..len)
        .map(|i| (i * 131 + (i >> 8) * 17 + 7) as u8)
        .collect()
}

#[test]
fn a_file_is_sealed_and_opened_with_the_core_alone() {
    for len in [0, 1, 65_480, 65_481, 300_000] {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("plain"), pattern(len)).unwrap();
        seal_file::seal(&at("plain"), &at("sealed"), &at("key")).unwrap();
        seal_file::open(&at("sealed"), &at("key"), &at("back")).unwrap();
        assert!(std::fs::read(at("back")).unwrap() == pattern(len), "{len}");

        let mut sealed = std::fs::read(at("sealed")).unwrap();
        let middle = sealed.len() / 2;
        sealed[middle] ^= 1;
        std::fs::write(at("changed"), sealed).unwrap();
        seal_file::open(&at("changed"), &at("key"), &at("wrong")).unwrap_err();
        assert!(!at("wrong").exists() && !at("wrong.part").exists());
    }
}

#[tokio::test]
async fn bodies_are_sealed_and_opened_over_http() {
    for len in [10, 65_481, 1_000_000] {
        let seen = http_body::round_trip(len).await.unwrap();
        assert_eq!(seen.len(), 4);
        assert!(seen[3].contains("does not verify"), "{}", seen[3]);
    }
}

/// An embedded store, a gateway in front of it, and a client of each.
struct Bench {
    store: Client,
    gateway: Client,
    handle: embedded::Handle,
    stop: CancellationToken,
    running: tokio::task::JoinHandle<()>,
}

/// The process has one gateway, since it has one set of metrics: one test does all that needs it.
async fn bench(folder: &Path) -> Bench {
    let handle = embedded::start(embedded::Options {
        data: folder.join("store"),
        access_key: "store".to_owned(),
        secret_key: "store-secret-0123456789".to_owned(),
        listen: ([127, 0, 0, 1], 0).into(),
    })
    .await
    .unwrap();
    let store = format!("http://{}", handle.endpoint);
    let text = serde_json::json!({
        "server": {"listen": "127.0.0.1:0"},
        "store": {
            "endpoint": store,
            "region": embedded::REGION,
            "access_key": "store",
            "secret_key": "store-secret-0123456789",
        },
        "keyring": {
            "current": "main",
            "keys": [{"id": "main", "kind": "local", "secret": hex::encode(KEY)}],
        },
        "users": [{"access_key": "user", "secret_key": "user-secret-0123456789", "allowed_buckets": ["*"]}],
        "buckets": {"moving": {"plaintext": "allow"}},
    });
    let read = |_: &Path| Err(std::io::ErrorKind::NotFound.into());
    let sources = Sources::new(&|_| None, &read).with_text("test", text.to_string());
    let config = Config::load(&sources).unwrap().config;
    let listeners = Listeners::bind(&config.server).await.unwrap();
    let address = listeners.s3.local_addr().unwrap();
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let running = tokio::spawn(async move {
        gateway::run(&config, listeners, stopped).await.unwrap();
    });
    let client = |endpoint: &str, access: &str, secret: &str| {
        let credentials = Credentials::new(access, secret, None, None, "test");
        seal_upload_sdk::client(endpoint, embedded::REGION, credentials)
    };
    Bench {
        store: client(&store, "store", "store-secret-0123456789"),
        gateway: client(
            &format!("http://{address}"),
            "user",
            "user-secret-0123456789",
        ),
        handle,
        stop,
        running,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sealed_without_the_gateway_and_moved_through_it() {
    let folder = tempfile::tempdir().unwrap();
    let bench = bench(folder.path()).await;
    a_sealed_upload_is_served(&bench, folder.path()).await;
    plaintext_is_sealed_by_a_copy_onto_itself(&bench).await;
    bench.stop.cancel();
    bench.running.await.unwrap();
    bench.handle.shutdown().await;
}

async fn a_sealed_upload_is_served(bench: &Bench, folder: &Path) {
    let id = KeyId::new("main").unwrap();
    let key = LocalKey::new(id.clone(), 1.try_into().unwrap(), &KEY);
    let keyring = Keyring::new([Arc::new(key) as Arc<dyn KeyEncryptionKey>], id).unwrap();
    let created = bench.gateway.create_bucket().bucket("sdk").send().await;
    created.unwrap();
    for len in [0, 1, 65_481, 300_000] {
        let (file, name) = (folder.join("plain"), format!("größe/{len}"));
        std::fs::write(&file, pattern(len)).unwrap();
        let place = seal_upload_sdk::Place {
            bucket: "sdk",
            bound_as: "sdk",
            key: &name,
        };
        let stored =
            seal_upload_sdk::upload(&bench.store, &keyring, &place, "text/x-example", &file)
                .await
                .unwrap();

        let got = bench.gateway.get_object().bucket("sdk").key(&name);
        let got = got.send().await.unwrap();
        assert_eq!(got.content_type(), Some("text/x-example"));
        assert_eq!(got.content_length(), Some(len as i64));
        assert_eq!(got.e_tag().map(str::len), Some(34));
        assert!(got.body.collect().await.unwrap().to_vec() == pattern(len));

        let raw = bench.store.get_object().bucket("sdk").key(&name);
        let raw = raw.send().await.unwrap().body.collect().await.unwrap();
        assert_eq!(raw.clone().into_bytes().len() as i64, stored);
        let mut opened = Vec::new();
        let reader = std::io::Cursor::new(raw.to_vec());
        formats::offline::open(reader, &keyring, &mut opened)
            .await
            .unwrap();
        assert!(opened == pattern(len));
    }
}

/// What MIGRATION.md tells people to do with a bucket of plaintext objects.
async fn plaintext_is_sealed_by_a_copy_onto_itself(bench: &Bench) {
    let created = bench.gateway.create_bucket().bucket("moving").send().await;
    created.unwrap();
    for len in [0, 5, 65_481, 300_000] {
        let name = format!("object {len}");
        let put = bench.store.put_object().bucket("moving").key(&name);
        put.content_type("text/x-example")
            .metadata("color", "blue")
            .body(ByteStream::from(pattern(len)))
            .send()
            .await
            .unwrap();
        let shown = bench.gateway.head_object().bucket("moving").key(&name);
        assert_eq!(
            shown.send().await.unwrap().content_length(),
            Some(len as i64)
        );

        // As `aws s3 cp s3://moving/ s3://moving/ --recursive --storage-class STANDARD` does it.
        let copy = bench.gateway.copy_object().bucket("moving").key(&name);
        copy.copy_source(format!("moving/object%20{len}"))
            .storage_class(StorageClass::Standard)
            .send()
            .await
            .unwrap();

        let raw = bench.store.get_object().bucket("moving").key(&name);
        let raw = raw.send().await.unwrap();
        assert!(raw.content_length().unwrap() > len as i64);
        assert!(raw.metadata().unwrap().contains_key("sealgate-envelope"));
        let got = bench.gateway.get_object().bucket("moving").key(&name);
        let got = got.send().await.unwrap();
        assert_eq!(got.content_type(), Some("text/x-example"));
        assert_eq!(got.metadata().unwrap()["color"], "blue");
        assert!(got.body.collect().await.unwrap().to_vec() == pattern(len));
    }

    // Elsewhere plaintext is refused.
    let put = bench.store.put_object().bucket("sdk").key("planted");
    let put = put.body(ByteStream::from_static(b"planted"));
    put.send().await.unwrap();
    let got = bench.gateway.get_object().bucket("sdk").key("planted");
    let refused = got.send().await.unwrap_err();
    assert!(refused.code().is_some(), "{refused:?}");
}
