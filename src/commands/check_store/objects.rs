//! What every read and write through the gateway rests on: ranges, bodies, metadata, self-copies.

use http::header::{CONTENT_RANGE, CONTENT_TYPE};
use http::{Method, StatusCode};

use super::brief;
use super::place::Place;
use super::report::Seen;
use crate::envelope::metadata_digest;
use crate::store::StoreError;

/// Length of the bodies that ranges are taken of.
const LENGTH: usize = 1000;

/// What a suffix range asks for, as the gateway does.
const TAIL: usize = 256;

/// Text of the alphabet that envelopes are written in, of any length.
pub fn base64url(length: usize) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    (0..length)
        .map(|i| char::from(ALPHABET[(i * 37 + i / 64) % 64]))
        .collect()
}

/// A body in which every place looks different.
pub fn body(length: usize) -> Vec<u8> {
    (0..length)
        .map(|i| (i ^ (i >> 8) ^ (i >> 16)).to_le_bytes()[0])
        .collect()
}

pub async fn suffix_range(place: &Place) -> Result<Seen, StoreError> {
    let whole = body(LENGTH);
    let value = base64url(300);
    let etag = place
        .put_with("suffix", &whole, &[("x-amz-meta-check", &value)])
        .await?;
    let request = place
        .request(Method::GET, "suffix")
        .header("range", "bytes=-256");
    let read = place.ask(request).await?;
    let mut missed = Vec::new();
    if read.status != StatusCode::PARTIAL_CONTENT {
        missed.push(format!("answered {}", read.status.as_u16()));
    }
    if read.body != whole[LENGTH - TAIL..] {
        missed.push("other bytes came".into());
    }
    let first = LENGTH - TAIL;
    let expected = format!("bytes {first}-{}/{LENGTH}", LENGTH - 1);
    if read.text(CONTENT_RANGE.as_str()) != expected {
        missed.push("Content-Range has no total".into());
    }
    if read.text("x-amz-meta-check") != value {
        missed.push("the metadata did not come".into());
    }
    if read.etag().is_empty() || unquoted(read.etag()) != unquoted(&etag) {
        missed.push("the ETag did not come".into());
    }
    Ok(Seen::unless(&missed))
}

pub async fn range(place: &Place) -> Result<Seen, StoreError> {
    let whole = body(LENGTH);
    place.put("range", &whole).await?;
    let mut missed = Vec::new();
    for (first, last) in [(0, 0), (10, 899), (LENGTH - 1, LENGTH - 1)] {
        let request = place
            .request(Method::GET, "range")
            .header("range", &format!("bytes={first}-{last}"));
        let read = place.ask(request).await?;
        if read.status != StatusCode::PARTIAL_CONTENT || read.body != whole[first..=last] {
            missed.push(format!("bytes {first} to {last} did not come as such"));
        }
    }
    Ok(Seen::unless(&missed))
}

pub async fn empty_suffix_range(place: &Place) -> Result<Seen, StoreError> {
    place.put("empty", b"").await?;
    let request = place
        .request(Method::GET, "empty")
        .header("range", "bytes=-256");
    Ok(match place.ask(request).await {
        Ok(read) if read.body.is_empty() => Seen {
            note: format!("empty, {}", read.status.as_u16()),
            ..Seen::yes()
        },
        Ok(_) => Seen::no("bytes came"),
        Err(error) if error.status() == Some(StatusCode::RANGE_NOT_SATISFIABLE) => Seen {
            note: "refused, 416".into(),
            ..Seen::yes()
        },
        Err(error) => Seen::no(format!("answered {}", brief(&error))),
    })
}

pub async fn cut_off_put(place: &Place) -> Result<Seen, StoreError> {
    let mut missed = Vec::new();
    for length in [2, LENGTH, 300_000] {
        let request = place.request(Method::PUT, "cut");
        let success = place.cut_off(request, length).await.is_err();
        if success || place.exists("cut").await? {
            missed.push(format!("{} of {length} bytes were stored", length - 1));
        }
    }
    place.put("cut-over", b"before").await?;
    let request = place.request(Method::PUT, "cut-over");
    let success = place.cut_off(request, LENGTH).await.is_err();
    match place.get("cut-over").await {
        Ok(read) if read.body.as_ref() == b"before" && !success => {}
        Ok(_) => missed.push("the object that was there was replaced".into()),
        Err(_) => missed.push("the object that was there is gone".into()),
    }
    Ok(Seen::unless(&missed))
}

pub async fn self_copy(place: &Place) -> Result<Seen, StoreError> {
    let whole = body(70_000);
    place
        .put_with(
            "self",
            &whole,
            &[("x-amz-meta-old", "1"), ("x-amz-meta-check", "old")],
        )
        .await?;
    let new = base64url(300);
    let headers = [
        ("x-amz-meta-check", new.as_str()),
        ("content-type", "text/x-check"),
    ];
    if let Err(error) = place.copy("self", "self", &headers).await {
        return Ok(Seen::no(format!("answered {}", brief(&error))));
    }
    let read = place.get("self").await?;
    let mut missed = Vec::new();
    if read.body != whole {
        missed.push("the body changed");
    }
    if read.text("x-amz-meta-check") != new || read.text(CONTENT_TYPE.as_str()) != "text/x-check" {
        missed.push("the new metadata is not there");
    }
    if read.headers.contains_key("x-amz-meta-old") {
        missed.push("the old metadata is still there");
    }
    Ok(Seen::unless(
        &missed.into_iter().map(str::to_owned).collect::<Vec<_>>(),
    ))
}

pub async fn self_copy_etag(place: &Place) -> Result<Seen, StoreError> {
    let before = place.put("self-etag", &body(LENGTH)).await?;
    let told = place
        .copy("self-etag", "self-etag", &[("x-amz-meta-check", "new")])
        .await?;
    let after = place.get("self-etag").await?;
    if unquoted(after.etag()) != unquoted(&before) {
        return Ok(Seen::no("it changed"));
    }
    if unquoted(&told) != unquoted(&before) {
        return Ok(Seen::no("the answer to the copy names another"));
    }
    Ok(Seen::yes())
}

pub async fn metadata(place: &Place) -> Result<Seen, StoreError> {
    // 300 bytes are an envelope for one key, 1,500 one for many.
    let values = [
        base64url(300),
        base64url(1500),
        "a b  c;d=\"e\",f/+=~".into(),
    ];
    let headers: Vec<(&str, &str)> = ["x-amz-meta-a", "x-amz-meta-b-b", "x-amz-meta-c"]
        .into_iter()
        .zip(values.iter().map(String::as_str))
        .collect();
    if let Err(error) = place.put_with("metadata", b"x", &headers).await {
        return Ok(Seen::no(format!("answered {}", brief(&error))));
    }
    let read = place.get("metadata").await?;
    let missed: Vec<String> = headers
        .iter()
        .filter(|(name, value)| read.text(name) != *value)
        .map(|(_, value)| format!("a value of {} bytes came back changed", value.len()))
        .collect();
    Ok(Seen::unless(&missed))
}

pub async fn metadata_empty(place: &Place) -> Result<Seen, StoreError> {
    place
        .put_with("metadata-empty", b"x", &[("x-amz-meta-empty", "")])
        .await?;
    let read = place.get("metadata-empty").await?;
    if read.headers.contains_key("x-amz-meta-empty") {
        Ok(Seen::yes())
    } else {
        Ok(Seen::no("it is dropped"))
    }
}

pub async fn metadata_utf8(place: &Place) -> Result<Seen, StoreError> {
    let value = "Grüße, 日本語";
    if let Err(error) = place
        .put_with("metadata-utf8", b"x", &[("x-amz-meta-text", value)])
        .await
    {
        return Ok(Seen::no(format!("answered {}", brief(&error))));
    }
    let read = place.get("metadata-utf8").await?;
    let Some(came) = read.headers.get("x-amz-meta-text") else {
        return Ok(Seen::no("it is dropped"));
    };
    // As the gateway compares it.
    let digest = |value: &[u8]| metadata_digest([("x-amz-meta-text", value)]);
    if digest(came.as_bytes()) == digest(value.as_bytes()) {
        Ok(Seen::yes())
    } else {
        Ok(Seen::no("it comes back changed"))
    }
}

pub async fn content_type(place: &Place) -> Result<Seen, StoreError> {
    unchanged(
        place,
        "content-type",
        &[
            ("content-type", "text/x-Check; charset=\"UTF-8\"; a=b"),
            ("content-type", "binary/octet-stream"),
        ],
    )
    .await
}

pub async fn content_headers(place: &Place) -> Result<Seen, StoreError> {
    unchanged(
        place,
        "content-headers",
        &[
            ("cache-control", "max-age=7, no-transform"),
            ("content-disposition", "attachment; filename=\"a b.txt\""),
            ("content-encoding", "gzip"),
            ("content-language", "de, en"),
            ("expires", "Thu, 02 Jan 2031 03:04:05 GMT"),
        ],
    )
    .await
}

/// Writes an object with each header alone, and reads it by GET, by range and by HEAD.
async fn unchanged(
    place: &Place,
    name: &str,
    headers: &[(&'static str, &str)],
) -> Result<Seen, StoreError> {
    let mut missed = Vec::new();
    for (header, value) in headers {
        if let Err(error) = place.put_with(name, b"check", &[(header, value)]).await {
            missed.push(format!("{header} was answered {}", brief(&error)));
            continue;
        }
        for request in [
            place.request(Method::GET, name),
            place.request(Method::GET, name).header("range", "bytes=-3"),
            place.request(Method::HEAD, name),
        ] {
            let method = request.method.clone();
            if place.ask(request).await?.text(header) != *value {
                missed.push(format!("{header} changed in {method}"));
                break;
            }
        }
    }
    Ok(Seen::unless(&missed))
}

/// An ETag without quotes: Ceph leaves them out in some answers.
pub fn unquoted(etag: &str) -> &str {
    etag.trim_matches('"')
}
