//! The tags of an object.

use std::collections::BTreeMap;

use http::StatusCode;
use percent_encoding::percent_decode_str;
use s3s::dto::*;
use s3s::{S3Error, S3ErrorCode, S3Request, S3Response, S3Result, s3_error};

use super::Store;

/// The most tags an object can have.
const MAX_TAGS: usize = 10;
/// The longest key of a tag, in characters.
const MAX_KEY: usize = 128;
/// The longest value of a tag, in characters.
const MAX_VALUE: usize = 256;

pub(super) type Tags = BTreeMap<String, String>;

pub(super) async fn get_object_tagging(
    store: &Store,
    req: S3Request<GetObjectTaggingInput>,
) -> S3Result<S3Response<GetObjectTaggingOutput>> {
    let input = req.input;
    store
        .require_version(&input.bucket, input.version_id.as_deref())
        .await?;
    let record = store.record(&input.bucket, &input.key).await?;
    Ok(S3Response::new(GetObjectTaggingOutput {
        tag_set: record
            .tags
            .into_iter()
            .map(|(key, value)| Tag {
                key: Some(key),
                value: Some(value),
            })
            .collect(),
        ..Default::default()
    }))
}

pub(super) async fn put_object_tagging(
    store: &Store,
    req: S3Request<PutObjectTaggingInput>,
) -> S3Result<S3Response<PutObjectTaggingOutput>> {
    let input = req.input;
    store
        .require_version(&input.bucket, input.version_id.as_deref())
        .await?;
    let given = input
        .tagging
        .tag_set
        .into_iter()
        .map(|tag| (tag.key.unwrap_or_default(), tag.value.unwrap_or_default()));
    let tags = checked(given)?;
    let (bucket, key) = (input.bucket, input.key);
    store
        .blocking(move |inner| inner.catalog.retag(&bucket, &key, tags))
        .await?;
    Ok(S3Response::new(PutObjectTaggingOutput::default()))
}

pub(super) async fn delete_object_tagging(
    store: &Store,
    req: S3Request<DeleteObjectTaggingInput>,
) -> S3Result<S3Response<DeleteObjectTaggingOutput>> {
    let input = req.input;
    store
        .require_version(&input.bucket, input.version_id.as_deref())
        .await?;
    let (bucket, key) = (input.bucket, input.key);
    store
        .blocking(move |inner| inner.catalog.retag(&bucket, &key, Tags::new()))
        .await?;
    let mut response = S3Response::new(DeleteObjectTaggingOutput::default());
    response.status = Some(StatusCode::NO_CONTENT);
    Ok(response)
}

/// The tags of an `x-amz-tagging` header, which is written like the query of a URL.
pub(super) fn from_header(header: Option<&str>) -> S3Result<Tags> {
    let decode = |text: &str| {
        let text = text.replace('+', " ");
        percent_decode_str(&text)
            .decode_utf8()
            .map(|text| text.into_owned())
            .map_err(|_| s3_error!(InvalidArgument, "The header 'x-amz-tagging' is not UTF-8"))
    };
    let mut given = Vec::new();
    for pair in header.unwrap_or_default().split('&') {
        if !pair.is_empty() {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            given.push((decode(key)?, decode(value)?));
        }
    }
    checked(given.into_iter())
}

fn checked(given: impl Iterator<Item = (String, String)>) -> S3Result<Tags> {
    let mut tags = Tags::new();
    for (key, value) in given {
        if key.is_empty() || key.chars().count() > MAX_KEY {
            return Err(s3_error!(
                InvalidTag,
                "The TagKey you have provided is invalid"
            ));
        }
        if value.chars().count() > MAX_VALUE {
            return Err(s3_error!(
                InvalidTag,
                "The TagValue you have provided is invalid"
            ));
        }
        if tags.insert(key, value).is_some() {
            return Err(s3_error!(
                InvalidTag,
                "Cannot provide multiple Tags with the same key"
            ));
        }
        if tags.len() > MAX_TAGS {
            let code = S3ErrorCode::Custom("BadRequest".into());
            let mut error = S3Error::with_message(
                code,
                format!("Object tags cannot be greater than {MAX_TAGS}"),
            );
            error.set_status_code(StatusCode::BAD_REQUEST);
            return Err(error);
        }
    }
    Ok(tags)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tagging_header_is_decoded_once() {
        let tags = from_header(Some("a=1&b+c=%26%3D%2B&%C3%A9=&bare")).unwrap();
        let expected = [("a", "1"), ("b c", "&=+"), ("bare", ""), ("é", "")];
        let tags: Vec<_> = tags.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(tags, expected);
        assert!(from_header(None).unwrap().is_empty());
    }

    #[test]
    fn tags_beyond_the_limits_are_refused() {
        let many: Vec<_> = (0..=MAX_TAGS).map(|number| format!("{number}=")).collect();
        assert!(from_header(Some(&many.join("&"))).is_err());
        assert!(from_header(Some(&many[1..].join("&"))).is_ok());
        assert!(from_header(Some("a=1&a=2")).is_err());
        assert!(from_header(Some("=1")).is_err());
        assert!(from_header(Some("%ff=1")).is_err());
        assert!(from_header(Some(&"k".repeat(MAX_KEY + 1))).is_err());
        assert!(from_header(Some(&format!("k={}", "v".repeat(MAX_VALUE + 1)))).is_err());
        assert!(from_header(Some(&format!("k={}", "é".repeat(MAX_VALUE)))).is_ok());
    }
}
