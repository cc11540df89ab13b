//! What S3 says about each failure.

use http::{HeaderMap, HeaderValue, StatusCode, header};
use s3s::{S3Error, S3ErrorCode, s3_error};

use crate::embedded::catalog::CatalogError;
use crate::embedded::catalog::assembly::{AssemblyError, MAX_PART_NUMBER};

impl From<CatalogError> for S3Error {
    fn from(error: CatalogError) -> Self {
        match error {
            CatalogError::NoSuchBucket => s3_error!(NoSuchBucket),
            CatalogError::NoSuchKey => s3_error!(NoSuchKey),
            CatalogError::NoSuchUpload => s3_error!(
                NoSuchUpload,
                "The specified upload does not exist. The upload ID may be invalid, or the upload may have been \
                 aborted or completed."
            ),
            CatalogError::NoSuchCors => s3_error!(NoSuchCORSConfiguration),
            CatalogError::BucketExists => s3_error!(BucketAlreadyOwnedByYou),
            CatalogError::BucketNotEmpty => s3_error!(BucketNotEmpty),
            CatalogError::ConditionFailed => s3_error!(PreconditionFailed),
            CatalogError::Assembly(error) => error.into(),
            error @ (CatalogError::Database(_)
            | CatalogError::Record(_)
            | CatalogError::Key(_)
            | CatalogError::Io(_)) => internal(error),
        }
    }
}

impl From<AssemblyError> for S3Error {
    fn from(error: AssemblyError) -> Self {
        match error {
            AssemblyError::Order => s3_error!(
                InvalidPartOrder,
                "The list of parts was not in ascending order. Parts must be ordered by part number."
            ),
            AssemblyError::Part(number) => s3_error!(
                InvalidPart,
                "Part {number} could not be found. It may not have been uploaded, or its ETag or checksum may not \
                 match the part's."
            ),
            AssemblyError::TooSmall { number, size } => s3_error!(
                EntityTooSmall,
                "Part {number} has {size} bytes, which is smaller than the minimum allowed size"
            ),
            AssemblyError::ChecksumMissing { algorithm, number } => s3_error!(
                InvalidRequest,
                "The upload was created using a {algorithm} checksum. The complete request must include the checksum \
                 for each part. It was missing for part {number} in the request."
            ),
            AssemblyError::ChecksumType => s3_error!(
                InvalidRequest,
                "The upload was created with another checksum type. The complete request must use the same."
            ),
            AssemblyError::Size { claimed, actual } => s3_error!(
                InvalidRequest,
                "The provided 'x-amz-mp-object-size' header value {claimed} does not match what was computed: {actual}"
            ),
            AssemblyError::Digest => s3_error!(BadDigest),
            error @ AssemblyError::Kept => internal(error),
        }
    }
}

/// What went wrong goes to the log, not to the client.
pub(super) fn internal(error: impl std::error::Error) -> S3Error {
    tracing::error!(%error, "the embedded store failed");
    s3_error!(InternalError)
}

/// A range that the object does not have.
pub(super) fn range_not_satisfiable(size: u64) -> S3Error {
    let mut error = s3_error!(InvalidRange);
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_str(&format!("bytes */{size}")) {
        headers.insert(header::CONTENT_RANGE, value);
    }
    error.set_headers(headers);
    error
}

/// A part that the object does not have.
pub(super) fn part_not_satisfiable() -> S3Error {
    let code = S3ErrorCode::Custom("InvalidPartNumber".into());
    let mut error = S3Error::with_message(code, "The requested partnumber is not satisfiable");
    error.set_status_code(StatusCode::RANGE_NOT_SATISFIABLE);
    error
}

/// A number that no part can have.
pub(super) fn part_number_refused() -> S3Error {
    s3_error!(
        InvalidArgument,
        "Part number must be an integer between 1 and {MAX_PART_NUMBER}, inclusive"
    )
}

pub(super) fn too_large() -> S3Error {
    s3_error!(
        EntityTooLarge,
        "Your proposed upload exceeds the maximum allowed size"
    )
}
