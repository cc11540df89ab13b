//! What the bucket says about its objects: ETags, keys, listings, versions.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::Method;
use http::header::{CONTENT_TYPE, HeaderValue};
use md5::{Digest, Md5};
use quick_xml::escape::escape;

use super::brief;
use super::document;
use super::objects::unquoted;
use super::place::Place;
use super::report::Seen;
use crate::pump;
use crate::store::{Request, StoreError};

pub async fn etags(place: &Place) -> Result<Seen, StoreError> {
    let mut missed = Vec::new();
    let mut seen: Vec<String> = Vec::new();
    // The last two have the same length, as two sealings of one file have.
    for body in ["a".as_bytes(), b"bc", b"de"] {
        let put = place.put("etag", body).await?;
        let put = unquoted(&put);
        if put.is_empty() {
            return Ok(Seen::no("a PUT brings none"));
        }
        let head = place.ask(place.request(Method::HEAD, "etag")).await?;
        let get = place.get("etag").await?;
        let listed = place.list("etag").await?;
        for (place, etag) in [
            ("HEAD", unquoted(head.etag())),
            ("GET", unquoted(get.etag())),
            (
                "the listing",
                listed.first().map_or("", |object| &object.etag),
            ),
        ] {
            if etag != put {
                missed.push(format!("{place} has another"));
            }
        }
        if listed.first().and_then(|object| object.size) != u64::try_from(body.len()).ok() {
            missed.push("the listing has another size".into());
        }
        if seen.iter().any(|etag| etag == put) {
            missed.push("another body has the same".into());
        }
        seen.push(put.to_owned());
    }
    missed.dedup();
    Ok(Seen::unless(&missed))
}

pub async fn read_after_write(place: &Place) -> Result<Seen, StoreError> {
    let mut missed = Vec::new();
    for round in 0..5 {
        let body = format!("{round}");
        let etag = place.put("seen", body.as_bytes()).await?;
        if place.get("seen").await?.body != body {
            missed.push("a GET showed what was there before");
        }
        if place
            .list("seen")
            .await?
            .first()
            .map(|object| object.etag.as_str())
            != Some(unquoted(&etag))
        {
            missed.push("a listing showed what was there before");
        }
    }
    place.ask(place.request(Method::DELETE, "seen")).await?;
    if place.exists("seen").await? {
        missed.push("a deleted object was there");
    }
    if !place.list("seen").await?.is_empty() {
        missed.push("a deleted object was listed");
    }
    missed.dedup();
    Ok(Seen::unless(
        &missed.into_iter().map(str::to_owned).collect::<Vec<_>>(),
    ))
}

pub async fn special_keys(place: &Place) -> Result<Seen, StoreError> {
    let names = [
        "plain",
        "with space",
        "trailing ",
        "plus+",
        "100%",
        "percent%41",
        "percentA",
        "a/b",
        "a//b",
        "a/./b",
        "a/../b",
        "dir/",
        "dir//",
        "dir",
        "@=&;:",
        "()[]{}!'*",
        "?q=1#f",
        "\"quoted\"<tag>",
        "back\\slash|^`~$,",
        "ümläut",
        "日本語",
        "🔒",
        "e\u{301}",
        "\u{e9}",
    ];
    keys(place, "special/", &names).await
}

pub async fn control_keys(place: &Place) -> Result<Seen, StoreError> {
    keys(place, "control/", &["tab\there", "new\nline", "bell\u{7}"]).await
}

pub async fn long_keys(place: &Place) -> Result<Seen, StoreError> {
    let room = 1024 - place.key("long/").len();
    let (ascii, wide) = ("k".repeat(room), "ü".repeat(room / 2));
    keys(place, "long/", &[&ascii, &wide]).await
}

/// Writes an object for each name, then reads and lists them all.
async fn keys(place: &Place, folder: &str, names: &[&str]) -> Result<Seen, StoreError> {
    let mut refused = Vec::new();
    let mut written = Vec::new();
    for name in names {
        let path = format!("{folder}{name}");
        match place.put(&path, name.as_bytes()).await {
            Ok(_) => written.push((*name, path)),
            Err(_) => refused.push(shown(name)),
        }
    }
    let listed = place.list(folder).await?;
    let (mut wrong, mut unlisted) = (Vec::new(), Vec::new());
    for (name, path) in &written {
        match place.get(path).await {
            Ok(read) if read.body == name.as_bytes() => {}
            Ok(_) | Err(_) => wrong.push(shown(name)),
        }
        let key = place.key(path);
        if listed.iter().filter(|object| object.key == key).count() != 1 {
            unlisted.push(shown(name));
        }
    }
    let mut missed = Vec::new();
    for (what, names) in [
        ("refused", refused),
        ("not read back", wrong),
        ("not listed as such", unlisted),
    ] {
        if !names.is_empty() {
            missed.push(format!("{what}: {}", names.join(" ")));
        }
    }
    Ok(Seen::unless(&missed))
}

/// A key for a terminal.
fn shown(name: &str) -> String {
    let short: String = name.chars().take(24).collect();
    format!("{short:?}")
}

pub async fn delete_many(place: &Place) -> Result<Seen, StoreError> {
    let names = ["many/a", "many/b & c", "many/d"];
    let mut request = String::from("<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
    for name in names {
        place.put(name, b"x").await?;
        let key = place.key(name);
        request.push_str(&format!(
            "<Object><Key>{}</Key></Object>",
            escape(key.as_str())
        ));
    }
    request.push_str("</Delete>");
    let digest = BASE64_STANDARD.encode(Md5::digest(&request));
    let mut asked = place
        .about_bucket(Method::POST)
        .query("delete", "")
        .header("content-md5", &digest)
        .body(pump::full(request));
    asked
        .headers
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    if let Err(error) = place.ask(asked).await {
        return Ok(Seen::no(format!("answered {}", brief(&error))));
    }
    let left = place.list("many/").await?.len();
    if left == 0 {
        Ok(Seen::yes())
    } else {
        Ok(Seen::no(format!(
            "{left} of {} are still there",
            names.len()
        )))
    }
}

/// Only in a bucket of its own: a bucket that has had versioning keeps its traces.
pub async fn versioning(place: &Place) -> Result<Seen, StoreError> {
    let about = |method| place.about_bucket(method).query("versioning", "");
    if !place.is_own() {
        let answer = match place.ask(about(Method::GET)).await {
            Ok(answer) => answer,
            Err(error) => return Ok(Seen::no(format!("answered {}", brief(&error)))),
        };
        let status = document::record(&answer.body, "VersioningConfiguration")?;
        return Ok(match status.text("Status") {
            "Enabled" => Seen {
                note: "enabled on this bucket".into(),
                ..Seen::yes()
            },
            _ => Seen::unknown("not enabled on this bucket, and not changed"),
        });
    }
    let request = "<VersioningConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
                   <Status>Enabled</Status></VersioningConfiguration>";
    if let Err(error) = place
        .ask(about(Method::PUT).body(pump::full(request)))
        .await
    {
        return Ok(Seen::no(format!("answered {}", brief(&error))));
    }
    place.put("versions", b"one").await?;
    place.put("versions", b"two").await?;
    place.ask(place.request(Method::DELETE, "versions")).await?;
    let versions = match place.versions("versions").await {
        Ok(versions) => versions,
        Err(error) => return Ok(Seen::no(format!("the listing answered {}", brief(&error)))),
    };
    let kept = versions.iter().filter(|v| !v.is_delete_marker).count();
    let markers = versions.len() - kept;
    if (kept, markers) != (2, 1) {
        return Ok(Seen::no(format!(
            "{kept} of 2 versions and {markers} of 1 delete markers are listed"
        )));
    }
    let mut bodies = Vec::new();
    for version in versions.iter().filter(|v| !v.is_delete_marker) {
        let request = Request::object(Method::GET, place.bucket(), &version.key)
            .version(version.version.as_deref());
        bodies.push(place.ask(request).await?.body);
    }
    // Newest first.
    if bodies == ["two", "one"] {
        Ok(Seen::yes())
    } else {
        Ok(Seen::no("a version has the body of another"))
    }
}
