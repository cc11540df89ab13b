//! Buckets and their settings.
//!
//! Most settings cannot be made here. Reading one gives what S3 gives for a bucket that never had it.

use http::StatusCode;
use s3s::dto::*;
use s3s::{S3ErrorCode, S3Request, S3Response, S3Result, s3_error};

use super::Store;
use super::values::{now, owner, timestamp};
use crate::embedded::REGION;
use crate::embedded::catalog::{CatalogError, CorsRule};

/// The most CORS rules a bucket can have.
const MAX_CORS_RULES: usize = 100;

pub(super) async fn list_buckets(
    store: &Store,
    req: S3Request<ListBucketsInput>,
) -> S3Result<S3Response<ListBucketsOutput>> {
    let prefix = req.input.prefix.unwrap_or_default();
    let buckets = store.blocking(|inner| inner.catalog.buckets()).await?;
    let buckets = buckets
        .into_iter()
        .filter(|(name, _)| name.starts_with(&prefix))
        .map(|(name, created)| Bucket {
            name: Some(name),
            creation_date: Some(timestamp(created)),
            ..Default::default()
        })
        .collect();
    Ok(S3Response::new(ListBucketsOutput {
        buckets: Some(buckets),
        owner: Some(owner()),
        prefix: Some(prefix).filter(|prefix| !prefix.is_empty()),
        ..Default::default()
    }))
}

pub(super) async fn create_bucket(
    store: &Store,
    req: S3Request<CreateBucketInput>,
) -> S3Result<S3Response<CreateBucketOutput>> {
    let bucket = req.input.bucket;
    if req.input.object_lock_enabled_for_bucket == Some(true) {
        return Err(s3_error!(NotImplemented, "There is no object lock here"));
    }
    let location = format!("/{bucket}");
    store
        .blocking(move |inner| inner.catalog.create_bucket(&bucket, now()))
        .await?;
    Ok(S3Response::new(CreateBucketOutput {
        location: Some(location),
    }))
}

pub(super) async fn delete_bucket(
    store: &Store,
    req: S3Request<DeleteBucketInput>,
) -> S3Result<S3Response<DeleteBucketOutput>> {
    let bucket = req.input.bucket;
    store
        .blocking(move |inner| {
            for garbage in inner.catalog.delete_bucket(&bucket)? {
                inner.blobs.discard(garbage);
            }
            Ok::<_, CatalogError>(())
        })
        .await?;
    let mut response = S3Response::new(DeleteBucketOutput::default());
    response.status = Some(StatusCode::NO_CONTENT);
    Ok(response)
}

pub(super) async fn head_bucket(
    store: &Store,
    req: S3Request<HeadBucketInput>,
) -> S3Result<S3Response<HeadBucketOutput>> {
    store.require_bucket(&req.input.bucket).await?;
    Ok(S3Response::new(HeadBucketOutput {
        bucket_region: Some(REGION.to_owned()),
        ..Default::default()
    }))
}

pub(super) async fn get_bucket_location(
    store: &Store,
    req: S3Request<GetBucketLocationInput>,
) -> S3Result<S3Response<GetBucketLocationOutput>> {
    store.require_bucket(&req.input.bucket).await?;
    // No constraint is how S3 says us-east-1.
    Ok(S3Response::new(GetBucketLocationOutput::default()))
}

pub(super) async fn get_bucket_versioning(
    store: &Store,
    req: S3Request<GetBucketVersioningInput>,
) -> S3Result<S3Response<GetBucketVersioningOutput>> {
    store.require_bucket(&req.input.bucket).await?;
    Ok(S3Response::new(GetBucketVersioningOutput::default()))
}

pub(super) async fn get_bucket_acl(
    store: &Store,
    req: S3Request<GetBucketAclInput>,
) -> S3Result<S3Response<GetBucketAclOutput>> {
    store.require_bucket(&req.input.bucket).await?;
    Ok(S3Response::new(GetBucketAclOutput {
        grants: Some(vec![full_control()]),
        owner: Some(owner()),
    }))
}

pub(super) async fn get_object_acl(
    store: &Store,
    req: S3Request<GetObjectAclInput>,
) -> S3Result<S3Response<GetObjectAclOutput>> {
    store.record(&req.input.bucket, &req.input.key).await?;
    Ok(S3Response::new(GetObjectAclOutput {
        grants: Some(vec![full_control()]),
        owner: Some(owner()),
        ..Default::default()
    }))
}

pub(super) async fn get_bucket_policy(
    store: &Store,
    req: S3Request<GetBucketPolicyInput>,
) -> S3Result<S3Response<GetBucketPolicyOutput>> {
    store
        .unset(&req.input.bucket, S3ErrorCode::NoSuchBucketPolicy)
        .await
}

pub(super) async fn get_bucket_lifecycle_configuration(
    store: &Store,
    req: S3Request<GetBucketLifecycleConfigurationInput>,
) -> S3Result<S3Response<GetBucketLifecycleConfigurationOutput>> {
    store
        .unset(&req.input.bucket, S3ErrorCode::NoSuchLifecycleConfiguration)
        .await
}

pub(super) async fn get_bucket_tagging(
    store: &Store,
    req: S3Request<GetBucketTaggingInput>,
) -> S3Result<S3Response<GetBucketTaggingOutput>> {
    store
        .unset(&req.input.bucket, S3ErrorCode::NoSuchTagSet)
        .await
}

pub(super) async fn get_bucket_website(
    store: &Store,
    req: S3Request<GetBucketWebsiteInput>,
) -> S3Result<S3Response<GetBucketWebsiteOutput>> {
    store
        .unset(&req.input.bucket, S3ErrorCode::NoSuchWebsiteConfiguration)
        .await
}

pub(super) async fn get_bucket_encryption(
    store: &Store,
    req: S3Request<GetBucketEncryptionInput>,
) -> S3Result<S3Response<GetBucketEncryptionOutput>> {
    store
        .unset(
            &req.input.bucket,
            S3ErrorCode::ServerSideEncryptionConfigurationNotFoundError,
        )
        .await
}

pub(super) async fn get_object_lock_configuration(
    store: &Store,
    req: S3Request<GetObjectLockConfigurationInput>,
) -> S3Result<S3Response<GetObjectLockConfigurationOutput>> {
    store
        .unset(
            &req.input.bucket,
            S3ErrorCode::ObjectLockConfigurationNotFoundError,
        )
        .await
}

pub(super) async fn get_bucket_cors(
    store: &Store,
    req: S3Request<GetBucketCorsInput>,
) -> S3Result<S3Response<GetBucketCorsOutput>> {
    let bucket = req.input.bucket;
    let rules = store
        .blocking(move |inner| inner.catalog.cors(&bucket))
        .await?;
    let some = |list: Vec<String>| Some(list).filter(|list| !list.is_empty());
    let rules = rules
        .into_iter()
        .map(|rule| CORSRule {
            id: rule.id,
            allowed_origins: rule.allowed_origins,
            allowed_methods: rule.allowed_methods,
            allowed_headers: some(rule.allowed_headers),
            expose_headers: some(rule.expose_headers),
            max_age_seconds: rule.max_age_seconds,
        })
        .collect();
    Ok(S3Response::new(GetBucketCorsOutput {
        cors_rules: Some(rules),
    }))
}

pub(super) async fn put_bucket_cors(
    store: &Store,
    req: S3Request<PutBucketCorsInput>,
) -> S3Result<S3Response<PutBucketCorsOutput>> {
    let bucket = req.input.bucket;
    let rules = req.input.cors_configuration.cors_rules;
    if rules.is_empty() || rules.len() > MAX_CORS_RULES {
        return Err(s3_error!(MalformedXML));
    }
    for rule in &rules {
        if rule.allowed_origins.is_empty() || rule.allowed_methods.is_empty() {
            return Err(s3_error!(MalformedXML));
        }
        for method in &rule.allowed_methods {
            if !["GET", "PUT", "HEAD", "POST", "DELETE"].contains(&method.as_str()) {
                return Err(s3_error!(
                    InvalidRequest,
                    "Found unsupported HTTP method in CORS config. Unsupported method is {method}"
                ));
            }
        }
        let origins = rule.allowed_origins.iter();
        let mut patterns = origins.chain(rule.allowed_headers.iter().flatten());
        if let Some(pattern) = patterns.find(|pattern| pattern.matches('*').count() > 1) {
            return Err(s3_error!(
                InvalidRequest,
                "\"{pattern}\" can not have more than one wildcard"
            ));
        }
    }
    let rules: Vec<_> = rules
        .into_iter()
        .map(|rule| CorsRule {
            id: rule.id,
            allowed_origins: rule.allowed_origins,
            allowed_methods: rule.allowed_methods,
            allowed_headers: rule.allowed_headers.unwrap_or_default(),
            expose_headers: rule.expose_headers.unwrap_or_default(),
            max_age_seconds: rule.max_age_seconds,
        })
        .collect();
    store
        .blocking(move |inner| inner.catalog.set_cors(&bucket, &rules))
        .await?;
    Ok(S3Response::new(PutBucketCorsOutput::default()))
}

pub(super) async fn delete_bucket_cors(
    store: &Store,
    req: S3Request<DeleteBucketCorsInput>,
) -> S3Result<S3Response<DeleteBucketCorsOutput>> {
    let bucket = req.input.bucket;
    store
        .blocking(move |inner| inner.catalog.set_cors(&bucket, &[]))
        .await?;
    let mut response = S3Response::new(DeleteBucketCorsOutput::default());
    response.status = Some(StatusCode::NO_CONTENT);
    Ok(response)
}

fn full_control() -> Grant {
    let owner = owner();
    Grant {
        grantee: Some(Grantee {
            display_name: owner.display_name,
            email_address: None,
            id: owner.id,
            type_: Type::from_static(Type::CANONICAL_USER),
            uri: None,
        }),
        permission: Some(Permission::from_static(Permission::FULL_CONTROL)),
    }
}
