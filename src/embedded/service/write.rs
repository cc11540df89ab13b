//! Operations that write or remove an object.

use http::StatusCode;
use s3s::dto::*;
use s3s::{S3Error, S3Request, S3Response, S3Result, s3_error};

use super::checksums::{Expected, sent_checksums, set_checksums};
use super::receive::{Incoming, drain};
use super::values::{
    attributes, now, refuse_unsupported, to_rfc3339, without_chunking, write_condition,
};
use super::{MAX_PAGE, NULL_VERSION, Store, tags};
use crate::embedded::catalog::{Body, CatalogError, Condition, Record};

pub(super) async fn put_object(
    store: &Store,
    mut req: S3Request<PutObjectInput>,
) -> S3Result<S3Response<PutObjectOutput>> {
    let headers = &req.headers;
    let input = &mut req.input;
    let body = input.body.take().ok_or_else(|| s3_error!(IncompleteBody))?;
    let allowed = async {
        refuse_unsupported(headers)?;
        let condition = write_condition(input.if_match.as_ref(), input.if_none_match.as_ref())?;
        let tags = tags::from_header(input.tagging.as_deref())?;
        store.require_bucket(&input.bucket).await?;
        S3Result::Ok((condition, tags))
    };
    let (condition, tags) = match allowed.await {
        Ok(allowed) => allowed,
        Err(error) => return Err(drain(body, error).await),
    };

    let algorithm = input.checksum_algorithm.as_ref();
    let algorithm = algorithm.map(|algorithm| algorithm.as_str().to_owned());
    let expected = Expected::announced(algorithm.as_deref(), headers, sent_checksums!(input))?;
    let received = store
        .receive(Incoming {
            body,
            length: input.content_length,
            content_md5: input.content_md5.take(),
            expected,
            trailers: req.trailing_headers,
        })
        .await?;
    let record = Record {
        body: Body::Blob(received.blob.id().clone()),
        size: received.size,
        etag: received.md5.clone(),
        modified: now(),
        attributes: attributes!(input),
        checksums: received.checksums.clone(),
        composite: false,
        tags,
    };
    let (bucket, key) = (req.input.bucket, req.input.key);
    store
        .blocking(move |inner| inner.commit(&bucket, &key, &record, received.blob, &condition))
        .await?;

    let mut output = PutObjectOutput {
        e_tag: Some(ETag::Strong(received.md5)),
        ..Default::default()
    };
    set_checksums!(output, received.checksums);
    Ok(S3Response::new(output))
}

pub(super) async fn delete_object(
    store: &Store,
    req: S3Request<DeleteObjectInput>,
) -> S3Result<S3Response<DeleteObjectOutput>> {
    let input = req.input;
    store
        .require_version(&input.bucket, input.version_id.as_deref())
        .await?;
    let condition = write_condition(input.if_match.as_ref(), None)?;
    let (bucket, keys) = (input.bucket, vec![(input.key, condition)]);
    store
        .blocking(move |inner| {
            for answer in inner.catalog.delete(&bucket, &keys)? {
                inner.blobs.discard(answer?);
            }
            Ok::<_, CatalogError>(())
        })
        .await?;
    let mut response = S3Response::new(DeleteObjectOutput {
        version_id: input.version_id,
        ..Default::default()
    });
    response.status = Some(StatusCode::NO_CONTENT);
    Ok(response)
}

pub(super) async fn delete_objects(
    store: &Store,
    req: S3Request<DeleteObjectsInput>,
) -> S3Result<S3Response<DeleteObjectsOutput>> {
    let input = req.input;
    let objects = input.delete.objects;
    if objects.is_empty() || objects.len() > MAX_PAGE {
        return Err(s3_error!(MalformedXML));
    }
    let mut errors = Vec::new();
    let mut wanted = Vec::new();
    for object in objects {
        let known = object
            .version_id
            .as_deref()
            .is_none_or(|id| id == NULL_VERSION);
        if !known {
            errors.push(delete_error(object, &s3_error!(NoSuchVersion)));
            continue;
        }
        let condition = match &object.e_tag {
            Some(etag) => Condition::Matches(etag.value().to_owned()),
            None => Condition::None,
        };
        wanted.push((object, condition));
    }
    let keys: Vec<_> = wanted
        .iter()
        .map(|(object, condition)| (object.key.clone(), condition.clone()))
        .collect();
    let bucket = input.bucket;
    let answers = store
        .blocking(move |inner| {
            let answers = inner.catalog.delete(&bucket, &keys)?;
            let answers = answers
                .into_iter()
                .map(|answer| answer.map(|garbage| inner.blobs.discard(garbage)))
                .collect::<Vec<_>>();
            Ok::<_, CatalogError>(answers)
        })
        .await?;
    let mut deleted = Vec::new();
    for ((object, _), answer) in wanted.into_iter().zip(answers) {
        match answer {
            Ok(_) => deleted.push(DeletedObject {
                key: Some(object.key),
                version_id: object.version_id,
                ..Default::default()
            }),
            Err(error) => errors.push(delete_error(object, &error.into())),
        }
    }
    if input.delete.quiet == Some(true) {
        deleted.clear();
    }
    Ok(S3Response::new(DeleteObjectsOutput {
        deleted: Some(deleted),
        errors: Some(errors),
        ..Default::default()
    }))
}

fn delete_error(object: ObjectIdentifier, error: &S3Error) -> Error {
    Error {
        code: Some(error.code().as_str().to_owned()),
        key: Some(object.key),
        message: error.message().map(str::to_owned),
        version_id: object.version_id,
    }
}
