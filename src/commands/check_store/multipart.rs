//! What multipart uploads rest on, asked with plain uploads at the store.

use bytes::Bytes;
use http::{Method, StatusCode};

use super::brief;
use super::document;
use super::objects;
use super::place::{Place, found};
use super::report::Seen;
use crate::pump;
use crate::store::StoreError;

/// The smallest part that S3 takes before the last one.
const FULL_PART: usize = 5 * 1024 * 1024;

/// Which object the checks share.
const SHARED: &str = "multipart";

/// How uploads of a full part and one more byte ended.
pub struct Upload {
    /// With part numbers 1 and 3; the answer where it failed.
    gaps: Result<(), String>,
    /// With part numbers 1 and 2, asked only where that failed.
    plain: Result<(), String>,
}

/// Uploads once, for all checks that need a multipart object.
async fn shared(place: &Place) -> Result<&Upload, StoreError> {
    place
        .multipart
        .get_or_try_init(|| async {
            let gaps = two_parts(place, 3).await?;
            let plain = match gaps {
                Ok(()) => Ok(()),
                Err(_) => two_parts(place, 2).await?,
            };
            Ok(Upload { gaps, plain })
        })
        .await
}

/// A full part and one of one byte with this number. The inner error is what the store said about them.
async fn two_parts(place: &Place, number: u32) -> Result<Result<(), String>, StoreError> {
    let id = create(place, SHARED).await?;
    let whole = objects::body(FULL_PART + 1);
    let mut parts = Vec::new();
    for (number, body) in [(1, &whole[..FULL_PART]), (number, &whole[FULL_PART..])] {
        match put_part(place, SHARED, &id, number, body).await {
            Ok(etag) => parts.push((number, etag)),
            Err(error) => {
                abort(place, SHARED, &id).await?;
                return Ok(Err(format!("the part was answered {}", brief(&error))));
            }
        }
    }
    let request = place
        .request(Method::POST, SHARED)
        .query("uploadId", &id)
        .body(pump::full(document::complete(&parts)));
    let completed = match place.ask(request).await {
        Ok(answer) => document::record(&answer.body, "CompleteMultipartUploadResult"),
        Err(error) => Err(error),
    };
    if let Err(error) = completed {
        abort(place, SHARED, &id).await?;
        return Ok(Err(format!("answered {}", brief(&error))));
    }
    if place.get(SHARED).await?.body == whole {
        Ok(Ok(()))
    } else {
        Ok(Err("the object is not what its parts were".into()))
    }
}

async fn create(place: &Place, name: &str) -> Result<String, StoreError> {
    let request = place.request(Method::POST, name).query("uploads", "");
    let answer = place.ask(request).await?;
    let created = document::record(&answer.body, "InitiateMultipartUploadResult")?;
    match created.text("UploadId") {
        "" => Err(StoreError::Malformed("no upload id")),
        id => Ok(id.to_owned()),
    }
}

async fn put_part(
    place: &Place,
    name: &str,
    id: &str,
    number: u32,
    body: &[u8],
) -> Result<String, StoreError> {
    let request = place
        .request(Method::PUT, name)
        .query("partNumber", &number.to_string())
        .query("uploadId", id)
        .body(pump::full(Bytes::copy_from_slice(body)));
    Ok(place.ask(request).await?.etag().to_owned())
}

async fn abort(place: &Place, name: &str, id: &str) -> Result<(), StoreError> {
    let request = place.request(Method::DELETE, name).query("uploadId", id);
    found(place.ask(request).await).map(drop)
}

pub async fn last_part(place: &Place) -> Result<Seen, StoreError> {
    Ok(match &shared(place).await?.plain {
        Ok(()) => Seen::yes(),
        Err(note) => Seen::no(note.as_str()),
    })
}

pub async fn gaps(place: &Place) -> Result<Seen, StoreError> {
    Ok(match shared(place).await? {
        Upload { gaps: Ok(()), .. } => Seen::yes(),
        Upload {
            gaps: Err(note),
            plain: Ok(()),
        } => Seen::no(note.as_str()),
        Upload { .. } => Seen::unknown("multipart uploads fail"),
    })
}

pub async fn cut_off(place: &Place) -> Result<Seen, StoreError> {
    let id = create(place, "multipart-cut").await?;
    let seen = cut_off_parts(place, &id).await;
    abort(place, "multipart-cut", &id).await?;
    seen
}

async fn cut_off_parts(place: &Place, id: &str) -> Result<Seen, StoreError> {
    let kept = put_part(place, "multipart-cut", id, 2, b"whole").await?;
    for number in ["1", "2"] {
        let request = place
            .request(Method::PUT, "multipart-cut")
            .query("partNumber", number)
            .query("uploadId", id);
        if place.cut_off(request, 1000).await.is_err() {
            return Ok(Seen::no("it was answered with success"));
        }
    }
    let request = place
        .request(Method::GET, "multipart-cut")
        .query("uploadId", id);
    let parts = match place.ask(request).await {
        Ok(answer) => document::records(&answer.body, &["Part"])?,
        Err(error) => {
            return Ok(Seen::unknown(format!(
                "ListParts answered {}",
                brief(&error)
            )));
        }
    };
    let parts: Vec<(&str, &str)> = parts
        .iter()
        .map(|(_, part)| {
            (
                part.text("PartNumber"),
                objects::unquoted(part.text("ETag")),
            )
        })
        .collect();
    if parts == [("2", objects::unquoted(&kept))] {
        Ok(Seen::yes())
    } else if parts.iter().any(|(number, _)| *number == "1") {
        Ok(Seen::no("it is listed as a part"))
    } else {
        Ok(Seen::no("the part that was there before is not any more"))
    }
}

pub async fn self_copy(place: &Place) -> Result<Seen, StoreError> {
    if shared(place).await?.plain.is_err() {
        return Ok(Seen::unknown("multipart uploads fail"));
    }
    let headers = [("x-amz-meta-check", "new")];
    if let Err(error) = place.copy(SHARED, SHARED, &headers).await {
        return Ok(Seen::no(format!("answered {}", brief(&error))));
    }
    let read = place.get(SHARED).await?;
    if read.body != objects::body(FULL_PART + 1) {
        return Ok(Seen::no("the body changed"));
    }
    if read.status != StatusCode::OK || read.text("x-amz-meta-check") != "new" {
        return Ok(Seen::no("the new metadata is not there"));
    }
    Ok(Seen::yes())
}
