//! The one place that turns what went wrong into what S3 says about it: code, status, a plain message.
//! Nothing of the store's own texts, hosts or identifiers gets in here; the log has them.

use http::header::{CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};

use crate::auth::AuthError;
use crate::formats::Integrity;
use crate::keys::KeyError;
use crate::protocol::aws_chunked::ChunkedError;
use crate::protocol::checksum::ChecksumError;
use crate::protocol::cors::PreflightError;
use crate::protocol::post_form::FormError;
use crate::protocol::post_policy::PolicyError;
use crate::protocol::uri::UriError;
use crate::pump::{self, BodyError, VerifyError};
use crate::s3::{self, Resource, Response, RouteError};
use crate::spool::SpoolError;
use crate::store::StoreError;

/// Code of an answer for an object that failed verification. Not a 5xx: asking again does not help,
/// and SDKs would.
const INTEGRITY: (&str, StatusCode) = ("ObjectIntegrityFailure", StatusCode::UNPROCESSABLE_ENTITY);

/// What a client is told.
#[derive(Debug)]
pub struct Told {
    /// S3 error code.
    pub code: String,
    /// HTTP status.
    pub status: StatusCode,
    /// A plain message.
    pub message: String,
    /// Further headers.
    pub headers: HeaderMap,
    /// Further elements of the error document.
    pub extra: Vec<(&'static str, String)>,
}

impl Told {
    fn new(code: &str, status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            status,
            message: message.into(),
            headers: HeaderMap::new(),
            extra: Vec::new(),
        }
    }

    fn bad(code: &str, message: impl Into<String>) -> Self {
        Self::new(code, StatusCode::BAD_REQUEST, message)
    }

    fn denied() -> Self {
        Self::new("AccessDenied", StatusCode::FORBIDDEN, "Access Denied")
    }

    fn unavailable() -> Self {
        Self::new(
            "ServiceUnavailable",
            StatusCode::SERVICE_UNAVAILABLE,
            "The storage behind this gateway does not answer. Please try again.",
        )
    }

    fn internal() -> Self {
        Self::new(
            "InternalError",
            StatusCode::INTERNAL_SERVER_ERROR,
            "We encountered an internal error. Please try again.",
        )
    }

    fn integrity(kind: Integrity) -> Self {
        let message = match kind {
            Integrity::Plaintext => {
                "The object at this key is not encrypted, and this bucket does not allow that."
            }
            Integrity::NoKey => {
                "The object at this key is encrypted for a key that this gateway does not have."
            }
            Integrity::Unsupported(_) => {
                "The object at this key was encrypted by another program in a way that this gateway does not read."
            }
            Integrity::Legacy => {
                "The object at this key was encrypted by another program, and this gateway is not set up to read those in this bucket."
            }
            Integrity::LegacyEnded => {
                "The object at this key was encrypted by another program, and the day until which this gateway reads those has passed."
            }
            Integrity::LegacyUnprotected => {
                "The object at this key was encrypted by another program under a key that everybody knows, and this gateway does not read such objects."
            }
            _ => {
                "The object at this key is not what was written there. Nothing of it was released."
            }
        };
        Self::new(INTEGRITY.0, INTEGRITY.1, message)
    }

    /// A request that has no operation.
    pub fn route(error: RouteError) -> Self {
        match error {
            RouteError::NotImplemented(feature) => Self::not_implemented(feature),
            RouteError::NotAForm => {
                let mut told = Self::precondition();
                let condition = "Bucket POST must be of the enclosure-type multipart/form-data";
                told.extra.push(("Condition", condition.into()));
                told
            }
            RouteError::MethodNotAllowed(resource) => {
                let mut told = Self::method_not_allowed();
                let resource = match resource {
                    Resource::Service => "SERVICE",
                    Resource::Bucket => "BUCKET",
                    Resource::Object => "OBJECT",
                    Resource::Upload => "UPLOAD",
                };
                told.extra.push(("ResourceType", resource.into()));
                told
            }
            RouteError::InvalidRequest(message) => Self::bad("InvalidRequest", message),
            RouteError::InvalidArgument { name, problem } => Self::argument(name, problem),
        }
    }

    fn method_not_allowed() -> Self {
        Self::new(
            "MethodNotAllowed",
            StatusCode::METHOD_NOT_ALLOWED,
            "The specified method is not allowed against this resource.",
        )
    }

    fn argument(name: &str, problem: &str) -> Self {
        let mut told = Self::bad("InvalidArgument", format!("{name}: {problem}."));
        told.extra.push(("ArgumentName", name.into()));
        told
    }

    /// A request whose headers and query are longer than `most` bytes.
    pub fn head_too_large(most: usize) -> Self {
        let mut told = Self::bad(
            "RequestHeaderSectionTooLarge",
            "Your request header section exceeds the maximum allowed size.",
        );
        told.extra.push(("MaxSizeAllowed", most.to_string()));
        told
    }

    fn not_implemented(feature: &str) -> Self {
        Self::new(
            "NotImplemented",
            StatusCode::NOT_IMPLEMENTED,
            format!("This gateway does not implement this functionality: {feature}."),
        )
    }

    /// A request that could not be authenticated.
    pub fn auth(error: &AuthError) -> Self {
        let message = capitalised(&error.to_string());
        match error {
            AuthError::Anonymous => Self::denied(),
            AuthError::SeveralMechanisms => Self::bad("InvalidArgument", message),
            AuthError::NotImplemented => Self::not_implemented("this signature algorithm"),
            AuthError::MalformedHeader(_) => Self::bad("AuthorizationHeaderMalformed", message),
            AuthError::MalformedQuery(_) => Self::bad("AuthorizationQueryParametersError", message),
            AuthError::InvalidUri => Self::bad("InvalidURI", "Couldn't parse the specified URI."),
            AuthError::TimeTooSkewed { .. } => {
                Self::new("RequestTimeTooSkewed", StatusCode::FORBIDDEN, message)
            }
            AuthError::MissingDate
            | AuthError::NotYetValid
            | AuthError::Expired { .. }
            | AuthError::MissingSignedHeader(_)
            | AuthError::UnsignedHeader(_) => {
                Self::new("AccessDenied", StatusCode::FORBIDDEN, message)
            }
            AuthError::MissingField(name) => {
                let mut told = Self::bad("InvalidArgument", message);
                told.extra.push(("ArgumentName", (*name).into()));
                told
            }
            AuthError::MalformedForm(_) => Self::bad("InvalidArgument", message),
            AuthError::InvalidToken => Self::bad("InvalidToken", message),
            AuthError::InvalidAccessKeyId { .. } => Self::new(
                "InvalidAccessKeyId",
                StatusCode::FORBIDDEN,
                "The AWS Access Key Id you provided does not exist in our records.",
            ),
            AuthError::SignatureDoesNotMatch { .. } => Self::new(
                "SignatureDoesNotMatch",
                StatusCode::FORBIDDEN,
                "The request signature we calculated does not match the signature you provided. Check your key and signing method.",
            ),
            AuthError::InvalidContentSha256 | AuthError::UnsupportedScheme => {
                Self::bad("InvalidArgument", message)
            }
            _ => Self::bad("InvalidRequest", message),
        }
    }

    /// A target that cannot be parsed.
    pub fn uri(error: UriError) -> Self {
        match error {
            UriError::InvalidBucketName => {
                Self::bad("InvalidBucketName", "The specified bucket is not valid.")
            }
            UriError::KeyTooLong => Self::bad("KeyTooLongError", "Your key is too long."),
            UriError::InvalidCopySource => Self::bad(
                "InvalidArgument",
                "Copy Source must mention the source bucket and key: sourcebucket/sourcekey",
            ),
            _ => Self::bad("InvalidURI", "Couldn't parse the specified URI."),
        }
    }

    /// Headers that promise something that cannot be.
    pub fn checksum(error: &ChecksumError) -> Self {
        let message = capitalised(&error.to_string());
        match error {
            ChecksumError::InvalidContentMd5 => Self::bad(
                "InvalidDigest",
                "The Content-MD5 you specified was invalid.",
            ),
            ChecksumError::BadContentMd5 => Self::bad(
                "BadDigest",
                "The Content-MD5 you specified did not match what we received.",
            ),
            ChecksumError::BadChecksum(algorithm) => Self::bad(
                "BadDigest",
                format!(
                    "The {} you specified did not match the calculated checksum.",
                    algorithm.name()
                ),
            ),
            ChecksumError::BadPayloadHash { promised, computed } => {
                let mut told = Self::bad(
                    "XAmzContentSHA256Mismatch",
                    "The provided 'x-amz-content-sha256' header does not match what was computed.",
                );
                for (name, hash) in [
                    ("ClientComputedContentSHA256", promised),
                    ("S3ComputedContentSHA256", computed),
                ] {
                    let hex = hash.iter().map(|byte| format!("{byte:02x}")).collect();
                    told.extra.push((name, hex));
                }
                told
            }
            ChecksumError::TrailerMismatch => Self::bad("MalformedTrailerError", message),
            ChecksumError::NotComputed => Self::internal(),
            _ => Self::bad("InvalidRequest", message),
        }
    }

    /// aws-chunked framing that is wrong.
    pub fn chunked(error: &ChunkedError) -> Self {
        match error {
            ChunkedError::SignatureMismatch => Self::new(
                "SignatureDoesNotMatch",
                StatusCode::FORBIDDEN,
                "A chunk signature we calculated does not match the one you provided.",
            ),
            ChunkedError::MissingDecodedLength => Self::new(
                "MissingContentLength",
                StatusCode::LENGTH_REQUIRED,
                "You must provide the x-amz-decoded-content-length HTTP header.",
            ),
            ChunkedError::Truncated
            | ChunkedError::LengthMismatch
            | ChunkedError::TrailingData
            | ChunkedError::Malformed(_) => Self::incomplete(),
            ChunkedError::ShortChunk { next, size } => {
                let mut told = Self::bad(
                    "InvalidChunkSizeError",
                    "Only the last chunk is allowed to have a size less than 8192 bytes",
                );
                told.extra.push(("Chunk", next.to_string()));
                told.extra.push(("BadChunkSize", size.to_string()));
                told
            }
            ChunkedError::MalformedTrailer(_) => Self::bad(
                "MalformedTrailerError",
                "The request contained trailing data that was not well-formed.",
            ),
            _ => Self::bad("InvalidRequest", "The aws-chunked body is not well-formed."),
        }
    }

    /// A browser's form that cannot be read.
    fn form(error: FormError) -> Self {
        match error {
            FormError::HeadTooLarge => Self::bad(
                "MaxPostPreDataLengthExceededError",
                "Your POST request fields preceding the upload file were too large.",
            ),
            FormError::NoFile => {
                let mut told = Self::bad(
                    "InvalidArgument",
                    "POST requires exactly one file upload per request.",
                );
                told.extra.push(("ArgumentName", "file".into()));
                told
            }
            FormError::NotLast => Self::bad(
                "MalformedPOSTRequest",
                "The file must be the last field of the form, and the form must end with its boundary, two dashes and a line end.",
            ),
            _ => Self::bad(
                "MalformedPOSTRequest",
                "The body of your POST request is not well-formed multipart/form-data.",
            ),
        }
    }

    /// A form that its policy does not allow.
    fn policy(error: &PolicyError) -> Self {
        match error {
            PolicyError::Invalid(_) => Self::bad("InvalidPolicyDocument", error.to_string()),
            PolicyError::TooLarge { proposed, max } => {
                let mut told = Self::from(s3::Error::EntityTooLarge(*proposed));
                told.extra.push(("MaxSizeAllowed", max.to_string()));
                told
            }
            PolicyError::TooSmall { proposed, min } => {
                let mut told = Self::bad(
                    "EntityTooSmall",
                    "Your proposed upload is smaller than the minimum allowed size",
                );
                told.extra.push(("ProposedSize", proposed.to_string()));
                told.extra.push(("MinSizeAllowed", min.to_string()));
                told
            }
            _ => Self::new("AccessDenied", StatusCode::FORBIDDEN, error.to_string()),
        }
    }

    /// A preflight that says too little.
    pub fn preflight(error: PreflightError) -> Self {
        Self::bad("BadRequest", error.to_string())
    }

    /// A preflight that no rule allows. `rules` says whether the bucket has any; one that is not there has none.
    pub fn cross_origin(method: &str, resource: &str, rules: bool) -> Self {
        let message = if rules {
            "CORSResponse: This CORS request is not allowed. This is usually because the evalution of Origin, request method / Access-Control-Request-Method or Access-Control-Request-Headers are not whitelisted by the resource's CORS spec."
        } else {
            "CORSResponse: CORS is not enabled for this bucket."
        };
        let mut told = Self::new("AccessForbidden", StatusCode::FORBIDDEN, message);
        told.extra.push(("Method", method.into()));
        told.extra.push(("ResourceType", resource.into()));
        told
    }

    fn incomplete() -> Self {
        Self::bad(
            "IncompleteBody",
            "You did not provide the number of bytes specified by the Content-Length HTTP header.",
        )
    }

    /// A body that broke off or did not verify.
    fn body(error: &BodyError) -> Self {
        match error {
            BodyError::Refused(VerifyError::Chunked(error)) => Self::chunked(error),
            BodyError::Refused(VerifyError::Checksum(error)) => Self::checksum(error),
            BodyError::Refused(VerifyError::Form(error)) => Self::form(*error),
            BodyError::Refused(_) | BodyError::Client(_) => Self::incomplete(),
            BodyError::ClientStalled => Self::bad(
                "RequestTimeout",
                "Your socket connection to the server was not read from or written to within the timeout period.",
            ),
            BodyError::Store(_) | BodyError::StoreStalled => Self::unavailable(),
            BodyError::Integrity(failure) => Self::integrity((*failure).into()),
            BodyError::Seal(_) | BodyError::Hash | BodyError::Spool(_) | BodyError::Unready => {
                Self::internal()
            }
        }
    }

    fn store(error: &StoreError) -> Self {
        let StoreError::Status {
            status,
            code,
            headers,
            ..
        } = error
        else {
            return match error {
                StoreError::Unreachable(_) | StoreError::Timeout | StoreError::Aborted => {
                    Self::unavailable()
                }
                _ => Self::internal(),
            };
        };
        let mut told = match known(code) {
            Some((known_status, message)) => {
                Self::new(code, known_status.unwrap_or(*status), message)
            }
            None => match status.as_u16() {
                // A code that is not in the table still says more than the status does.
                404 | 405 | 409 | 412 | 416 if plain_code(code).is_some() => Self::new(
                    code,
                    *status,
                    "The storage behind this gateway refused the request.",
                ),
                404 => Self::new("NoSuchKey", *status, "The specified key does not exist."),
                403 => Self::denied(),
                405 => Self::method_not_allowed(),
                409 => Self::new(
                    "OperationAborted",
                    *status,
                    "A conflicting operation is in progress. Please try again.",
                ),
                412 => Self::precondition(),
                416 => Self::new(
                    "InvalidRange",
                    *status,
                    "The requested range is not satisfiable.",
                ),
                429 | 503 => Self::slow_down(),
                501 => Self::not_implemented("the storage behind this gateway does not offer it"),
                400..=499 => Self::new(
                    plain_code(code).unwrap_or("InvalidRequest"),
                    *status,
                    "The storage behind this gateway refused the request.",
                ),
                _ => Self::internal(),
            },
        };
        for name in ["x-amz-delete-marker", "x-amz-version-id", "allow"] {
            if let Some(value) = headers.get(name) {
                told.headers
                    .insert(HeaderName::from_static(name), value.clone());
            }
        }
        told
    }

    /// An object that had to be checked as a whole.
    fn spool(error: &SpoolError) -> Self {
        match error {
            SpoolError::TooLarge { length, most } => {
                let mut told = Self::bad(
                    "EntityTooLarge",
                    format!(
                        "The object at this key must be checked as a whole before any of it is sent, and is too large for that: {length} stored bytes, where this gateway takes {most}. Its operator can raise spool.max_object, or set verify: segment for this bucket; an object that another program encrypted can be migrated."
                    ),
                );
                told.extra.push(("MaxSizeAllowed", most.to_string()));
                told
            }
            SpoolError::Full { .. } => Self::slow_down(),
            SpoolError::Io(error) if error.kind() == std::io::ErrorKind::StorageFull => {
                Self::slow_down()
            }
            _ => Self::internal(),
        }
    }

    fn slow_down() -> Self {
        Self::new(
            "SlowDown",
            StatusCode::SERVICE_UNAVAILABLE,
            "Please reduce your request rate.",
        )
    }

    fn precondition() -> Self {
        Self::new(
            "PreconditionFailed",
            StatusCode::PRECONDITION_FAILED,
            "At least one of the pre-conditions you specified did not hold",
        )
    }
}

impl From<s3::Error> for Told {
    fn from(error: s3::Error) -> Self {
        match error {
            s3::Error::NotModified { headers } => Self {
                headers: *headers,
                ..Self::new("NotModified", StatusCode::NOT_MODIFIED, "")
            },
            s3::Error::NoSuchKey => Self::new(
                "NoSuchKey",
                StatusCode::NOT_FOUND,
                "The specified key does not exist.",
            ),
            s3::Error::PreconditionFailed(condition) => {
                let mut told = Self::precondition();
                told.extra.push(("Condition", condition.into()));
                told
            }
            s3::Error::InvalidRange(length) => {
                let mut told = Self::new(
                    "InvalidRange",
                    StatusCode::RANGE_NOT_SATISFIABLE,
                    "The requested range is not satisfiable",
                );
                if let Ok(value) = HeaderValue::from_str(&format!("bytes */{length}")) {
                    told.headers.insert(CONTENT_RANGE, value);
                }
                told.extra.push(("ActualObjectSize", length.to_string()));
                told
            }
            s3::Error::ReservedKey => Self::new(
                "AccessDenied",
                StatusCode::FORBIDDEN,
                "Keys with this prefix are reserved by the gateway.",
            ),
            s3::Error::NoSuchUpload => Self::new(
                "NoSuchUpload",
                StatusCode::NOT_FOUND,
                "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.",
            ),
            s3::Error::InvalidPart => Self::bad(
                "InvalidPart",
                "One or more of the specified parts could not be found. The part may not have been uploaded, or the specified entity tag may not match the part's entity tag.",
            ),
            s3::Error::InvalidPartOrder => Self::bad(
                "InvalidPartOrder",
                "The list of parts was not in ascending order. Parts must be ordered by part number.",
            ),
            s3::Error::EntityTooSmall {
                number,
                length,
                least,
            } => {
                let mut told = Self::bad(
                    "EntityTooSmall",
                    "Your proposed upload is smaller than the minimum allowed size",
                );
                told.extra.push(("ProposedSize", length.to_string()));
                told.extra.push(("MinSizeAllowed", least.to_string()));
                told.extra.push(("PartNumber", number.to_string()));
                told
            }
            s3::Error::InvalidPartNumber { number, count } => {
                let mut told = Self::new(
                    "InvalidPartNumber",
                    StatusCode::RANGE_NOT_SATISFIABLE,
                    "The requested partnumber is not satisfiable",
                );
                told.extra.push(("PartNumberRequested", number.to_string()));
                told.extra.push(("ActualPartCount", count.to_string()));
                told
            }
            s3::Error::MissingContentLength => Self::new(
                "MissingContentLength",
                StatusCode::LENGTH_REQUIRED,
                "You must provide the Content-Length HTTP header.",
            ),
            s3::Error::EntityTooLarge(length) => {
                let mut told = Self::bad(
                    "EntityTooLarge",
                    "Your proposed upload exceeds the maximum allowed size",
                );
                told.extra.push(("ProposedSize", length.to_string()));
                told
            }
            s3::Error::DocumentTooLarge(_) => {
                Self::bad("MaxMessageLengthExceeded", "Your request was too large.")
            }
            s3::Error::MalformedXml(_) => Self::bad(
                "MalformedXML",
                "The XML you provided was not well-formed or did not validate against our published schema",
            ),
            s3::Error::InvalidArgument { name, problem } => Self::argument(name, problem),
            s3::Error::InvalidRequest(message) => Self::bad("InvalidRequest", message),
            s3::Error::NotImplemented(feature) => Self::not_implemented(feature),
            s3::Error::MethodNotAllowed => Self::method_not_allowed(),
            s3::Error::Denied(_) => Self::denied(),
            s3::Error::Uri(error) => Self::uri(error),
            s3::Error::Checksum(error) => Self::checksum(&error),
            s3::Error::Body(error) => Self::body(&error),
            s3::Error::Form(error) => Self::form(error),
            s3::Error::Policy(error) => Self::policy(&error),
            s3::Error::Integrity(kind) => Self::integrity(kind),
            s3::Error::Store(error) => Self::store(&error),
            s3::Error::Spool(error) => Self::spool(&error),
            s3::Error::Key(KeyError::Unavailable(_)) => Self::new(
                "ServiceUnavailable",
                StatusCode::SERVICE_UNAVAILABLE,
                "A key needed for this request is not available. Please try again.",
            ),
            s3::Error::Key(_) => Self::denied(),
            s3::Error::Contended => Self::new(
                "OperationAborted",
                StatusCode::CONFLICT,
                "A conflicting conditional operation is currently in progress against this resource. Please try again.",
            ),
            s3::Error::Envelope(_)
            | s3::Error::Entropy
            | s3::Error::Internal(_)
            | s3::Error::Cipher(_) => Self::internal(),
        }
    }
}

/// Codes of stores that clients act on, with S3's message. `None` keeps the store's status.
fn known(code: &str) -> Option<(Option<StatusCode>, &'static str)> {
    let message = match code {
        "NoSuchKey" => "The specified key does not exist.",
        "NoSuchVersion" => "The specified version does not exist.",
        "NoSuchBucket" => "The specified bucket does not exist",
        "NoSuchTagSet" => "The TagSet does not exist",
        "NoSuchLifecycleConfiguration" => "The lifecycle configuration does not exist",
        "NoSuchBucketPolicy" => "The bucket policy does not exist",
        "NoSuchCORSConfiguration" => "The CORS configuration does not exist",
        "NoSuchWebsiteConfiguration" => {
            "The specified bucket does not have a website configuration"
        }
        "NoSuchPublicAccessBlockConfiguration" => {
            "The public access block configuration was not found"
        }
        "NoSuchObjectLockConfiguration" => {
            "The specified object does not have an ObjectLock configuration"
        }
        "ObjectLockConfigurationNotFoundError" => {
            "Object Lock configuration does not exist for this bucket"
        }
        "ReplicationConfigurationNotFoundError" => "The replication configuration was not found",
        "ServerSideEncryptionConfigurationNotFoundError" => {
            "The server side encryption configuration was not found"
        }
        "OwnershipControlsNotFoundError" => "The bucket ownership controls were not found",
        "BucketAlreadyExists" => {
            "The requested bucket name is not available. Please select a different name and try again."
        }
        "BucketAlreadyOwnedByYou" => {
            "Your previous request to create the named bucket succeeded and you already own it."
        }
        "BucketNotEmpty" => "The bucket you tried to delete is not empty",
        "InvalidBucketName" => "The specified bucket is not valid.",
        "InvalidBucketState" => "The request is not valid for the current state of the bucket.",
        "InvalidLocationConstraint" => "The specified location constraint is not valid.",
        "IllegalLocationConstraintException" => {
            "The specified location constraint is not valid for this endpoint."
        }
        "InvalidStorageClass" => "The storage class you specified is not valid",
        "InvalidObjectState" => "The operation is not valid for the object's storage class",
        "InvalidArgument" => "Invalid Argument",
        "InvalidRequest" => "The request is not valid.",
        "InvalidTag" => "The tag provided was not a valid tag.",
        "InvalidRetentionPeriod" => "The retention period is not valid.",
        "MalformedXML" => {
            "The XML you provided was not well-formed or did not validate against our published schema"
        }
        "MalformedPolicy" | "MalformedACLError" => "The document you provided was not well-formed",
        "MetadataTooLarge" => "Your metadata headers exceed the maximum allowed metadata size",
        "EntityTooLarge" => "Your proposed upload exceeds the maximum allowed size",
        "KeyTooLongError" => "Your key is too long.",
        "AccessDenied" => "Access Denied",
        "QuotaExceeded" => "The quota of the bucket or of its owner is used up.",
        "TooManyBuckets" => "You have attempted to create more buckets than allowed",
        "MethodNotAllowed" => "The specified method is not allowed against this resource.",
        "NotImplemented" => {
            "The storage behind this gateway does not implement this functionality."
        }
        "OperationAborted" | "ConditionalRequestConflict" => {
            "A conflicting conditional operation is currently in progress against this resource. Please try again."
        }
        "PreconditionFailed" => "At least one of the pre-conditions you specified did not hold",
        "SlowDown" => "Please reduce your request rate.",
        "ServiceUnavailable" => "Service is unable to handle request.",
        "InternalError" => "We encountered an internal error. Please try again.",
        "RestoreAlreadyInProgress" => "Object restore is already in progress.",
        // The gateway's own credentials or clock are wrong: nothing that the client can mend.
        "InvalidAccessKeyId"
        | "SignatureDoesNotMatch"
        | "RequestTimeTooSkewed"
        | "ExpiredToken"
        | "InvalidToken"
        | "AuthorizationHeaderMalformed" => {
            return None;
        }
        _ => return None,
    };
    Some((None, message))
}

/// A code that is safe to repeat, or nothing.
fn plain_code(code: &str) -> Option<&str> {
    const OURS: [&str; 6] = [
        "InvalidAccessKeyId",
        "SignatureDoesNotMatch",
        "RequestTimeTooSkewed",
        "ExpiredToken",
        "InvalidToken",
        "AuthorizationHeaderMalformed",
    ];
    (!code.is_empty()
        && code.len() <= 64
        && code.bytes().all(|b| b.is_ascii_alphanumeric())
        && !OURS.contains(&code))
    .then_some(code)
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars
        .next()
        .map(|first| first.to_uppercase().chain(chars).collect())
        .unwrap_or_default()
}

/// The answer that carries an error.
pub fn answer(told: &Told, method: &Method, resource: &str, request_id: &str) -> Response {
    let mut headers = told.headers.clone();
    if told.status == StatusCode::NOT_MODIFIED {
        return Response {
            status: told.status,
            headers,
            body: pump::empty(),
            length: None,
        };
    }
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error>");
    let mut element = |name: &str, value: &str| {
        text.push('<');
        text.push_str(name);
        text.push('>');
        s3::escape_into(&mut text, value);
        text.push_str("</");
        text.push_str(name);
        text.push('>');
    };
    element("Code", &told.code);
    element("Message", &told.message);
    if told.status == StatusCode::METHOD_NOT_ALLOWED {
        element("Method", method.as_str());
    }
    for (name, value) in &told.extra {
        element(name, value);
    }
    element("Resource", resource);
    element("RequestId", request_id);
    text.push_str("</Error>");
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    if *method == Method::HEAD {
        return Response {
            status: told.status,
            headers,
            body: pump::empty(),
            length: None,
        };
    }
    let length = text.len() as u64;
    Response {
        status: told.status,
        headers,
        body: pump::full(text),
        length: Some(length),
    }
}
