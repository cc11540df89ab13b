//! `sealgate check-store` against the embedded store, over a real socket.
#![cfg(feature = "embedded")]

use sealgate::commands::check_store::{Answer, CheckError, Need, Report, check};
use sealgate::config::{self, Sources};
use sealgate::embedded::{self, Handle};
use sealgate::gateway;
use sealgate::store::{Request, Store};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};

async fn serve(folder: &std::path::Path) -> Handle {
    embedded::start(embedded::Options {
        data: folder.to_owned(),
        access_key: "access".to_owned(),
        secret_key: "secret-of-the-store".to_owned(),
        listen: "127.0.0.1:0".parse().unwrap(),
    })
    .await
    .unwrap()
}

fn store(endpoint: &str, access_key: &str, secret_key: &str) -> Store {
    let text = format!(
        "store: {{endpoint: \"http://{endpoint}\", region: us-east-1, \
         access_key: {access_key}, secret_key: {secret_key}}}"
    );
    let none = |_: &str| None;
    let sources = Sources::new(&none, &config::read_file).with_text("test", text);
    gateway::store(&config::Store::load(&sources).unwrap().config).unwrap()
}

async fn ask(handle: &Handle, bucket: Option<&str>) -> Result<Report, CheckError> {
    let store = store(
        &handle.endpoint.to_string(),
        "access",
        "secret-of-the-store",
    );
    check(&store, "us-east-1", bucket).await
}

/// An address in front of the store where request headers of these names are lost.
async fn losing(handle: &Handle, names: &'static [&'static str]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let store = handle.endpoint;
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let store = TcpStream::connect(store).await.unwrap();
                let (mut from_store, mut to_store) = store.into_split();
                let (mut from_client, mut to_client) = client.into_split();
                let back = tokio::spawn(async move { copy(&mut from_store, &mut to_client).await });
                let mut buffer = vec![0; 65536];
                while let Ok(read @ 1..) = from_client.read(&mut buffer).await {
                    for name in names {
                        let line = format!("\r\n{name}:").into_bytes();
                        let at = buffer[..read].windows(line.len()).position(|w| w == line);
                        if let Some(at) = at {
                            buffer[at + 2] = b'y';
                        }
                    }
                    if to_store.write_all(&buffer[..read]).await.is_err() {
                        break;
                    }
                }
                drop(to_store);
                let _ = back.await;
            });
        }
    });
    address
}

async fn buckets(store: &Store) -> String {
    let answer = store
        .send("ListBuckets", Request::service(http::Method::GET))
        .await
        .unwrap();
    String::from_utf8(store.document(answer).await.unwrap().to_vec()).unwrap()
}

#[tokio::test]
async fn the_embedded_store_keeps_what_is_required() {
    let folder = tempfile::tempdir().unwrap();
    let handle = serve(folder.path()).await;
    let report = ask(&handle, None).await.unwrap();
    let text = report.to_string();
    assert!(report.verdict().is_ok(), "{text}");
    assert!(report.made && report.left_behind.is_none(), "{text}");
    for finding in &report.findings {
        if finding.need == Need::Required {
            assert_eq!(finding.answer, Answer::Yes, "{text}");
        }
        assert!(!finding.title.is_empty() && !finding.without.is_empty());
    }
    for id in [
        "put-if-none-match",
        "put-if-match",
        "keys-special",
        "keys-long",
        "delete-objects",
    ] {
        assert_eq!(report.answer(id), Some(Answer::Yes), "{id}\n{text}");
    }
    // The embedded store has no versions.
    assert_eq!(report.answer("versioning"), Some(Answer::No), "{text}");
    assert!(!text.contains("secret-of-the-store"));

    // Nothing is left.
    let store = store(
        &handle.endpoint.to_string(),
        "access",
        "secret-of-the-store",
    );
    assert!(!buckets(&store).await.contains("sealgate-check"));
    handle.shutdown().await;
}

#[tokio::test]
async fn a_store_that_ignores_conditions_is_found_out() {
    let folder = tempfile::tempdir().unwrap();
    let handle = serve(folder.path()).await;
    let address = losing(&handle, &["if-match", "if-none-match"]).await;
    let store = store(&address, "access", "secret-of-the-store");
    let report = check(&store, "us-east-1", None).await.unwrap();
    for id in [
        "get-if-match",
        "put-if-none-match",
        "put-if-match",
        "delete-if-match",
        "copy-if-none-match",
    ] {
        assert_eq!(report.answer(id), Some(Answer::No), "{id}\n{report}");
    }
    // That is weaker, but no reason to refuse the store.
    assert!(report.verdict().is_ok(), "{report}");
    assert!(report.to_string().contains("append-only users"), "{report}");
    handle.shutdown().await;
}

#[tokio::test]
async fn a_store_without_ranges_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let handle = serve(folder.path()).await;
    let address = losing(&handle, &["range"]).await;
    let store = store(&address, "access", "secret-of-the-store");
    let report = check(&store, "us-east-1", None).await.unwrap();
    for id in ["suffix-range", "range"] {
        assert_eq!(report.answer(id), Some(Answer::No), "{report}");
    }
    let problem = report.verdict().unwrap_err();
    assert!(problem.contains("a GET of the last bytes"), "{problem}");
    assert!(report.left_behind.is_none(), "{report}");
    handle.shutdown().await;
}

#[tokio::test]
async fn a_bucket_that_is_named_is_left_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let handle = serve(folder.path()).await;
    let store = store(
        &handle.endpoint.to_string(),
        "access",
        "secret-of-the-store",
    );
    let send = async |request| {
        let answer = store.send("test", request).await?;
        store.document(answer).await
    };
    let put = http::Method::PUT;
    send(Request::bucket(put.clone(), "mine")).await.unwrap();
    let kept = Request::object(put, "mine", "kept").body(sealgate::pump::full("kept"));
    send(kept).await.unwrap();

    let report = ask(&handle, Some("mine")).await.unwrap();
    assert!(report.verdict().is_ok(), "{report}");
    assert!(!report.made && report.left_behind.is_none(), "{report}");
    let listing = send(Request::bucket(http::Method::GET, "mine"))
        .await
        .unwrap();
    let listing = String::from_utf8(listing.to_vec()).unwrap();
    assert_eq!(listing.matches("<Key>").count(), 1, "{listing}");
    assert!(listing.contains("<Key>kept</Key>"), "{listing}");
    handle.shutdown().await;
}

#[tokio::test]
async fn what_stands_in_the_way_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let handle = serve(folder.path()).await;
    let endpoint = handle.endpoint.to_string();

    let wrong = check(&store(&endpoint, "access", "wrong"), "us-east-1", None).await;
    let text = wrong.unwrap_err().to_string();
    assert!(text.contains("store.secret_key"), "{text}");

    let unknown = check(&store(&endpoint, "nobody", "wrong"), "us-east-1", None).await;
    assert!(
        matches!(unknown, Err(CheckError::Credentials { .. })),
        "{unknown:?}"
    );

    let missing = ask(&handle, Some("not-there"))
        .await
        .unwrap_err()
        .to_string();
    assert!(missing.contains("no such bucket"), "{missing}");

    handle.shutdown().await;
    let gone = check(
        &store(&endpoint, "access", "secret-of-the-store"),
        "us-east-1",
        None,
    )
    .await;
    assert!(matches!(gone, Err(CheckError::Unreachable(_))), "{gone:?}");
}
