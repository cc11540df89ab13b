//! Which operation a request asks for, and which rights that needs.
//!
//! The rule that keeps plaintext in: a body that could become object data is never forwarded. So a
//! request on an object goes on only where its sub-resource is one of the few that are known to carry
//! settings; everything else is an operation that seals, or `NotImplemented`.

use http::{HeaderMap, HeaderName, Method};

use crate::policy::{Action, Need};
use crate::protocol::uri::{Query, Target};

/// Headers that decide which operation a request asks for, or what it needs.
const COPY_SOURCE: HeaderName = HeaderName::from_static("x-amz-copy-source");
const WRITE_OFFSET: HeaderName = HeaderName::from_static("x-amz-write-offset-bytes");
const BYPASS_GOVERNANCE: HeaderName = HeaderName::from_static("x-amz-bypass-governance-retention");

/// What a request is about, from its method, path and query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The operation.
    pub kind: Kind,
    /// Bucket, empty for service-level requests.
    pub bucket: String,
    /// Object key, empty for bucket-level requests.
    pub key: String,
}

/// Operations as S3 names them; forwarded sub-resources share one variant each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Kind {
    ListBuckets,
    CreateBucket,
    DeleteBucket,
    HeadBucket,
    GetBucketLocation,
    ListObjects,
    ListObjectsV2,
    ListObjectVersions,
    DeleteObjects,
    ListMultipartUploads,
    PutObject,
    PostObject,
    CopyObject,
    GetObject,
    HeadObject,
    DeleteObject,
    GetObjectAttributes,
    CreateMultipartUpload,
    UploadPart,
    UploadPartCopy,
    ListParts,
    CompleteMultipartUpload,
    AbortMultipartUpload,
    /// A bucket's settings, forwarded.
    BucketSetting(&'static str),
    /// A bucket sub-resource that this version does not know, forwarded with an explicit grant.
    BucketUnknown,
    /// An object's settings, forwarded.
    ObjectSetting(&'static str),
}

impl Kind {
    /// Whether S3 may begin the answer before it knows how the operation ends.
    pub fn may_take_long(self) -> bool {
        matches!(
            self,
            Self::CompleteMultipartUpload | Self::CopyObject | Self::UploadPartCopy
        )
    }

    /// The operation's name for logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::ListBuckets => "ListBuckets",
            Self::CreateBucket => "CreateBucket",
            Self::DeleteBucket => "DeleteBucket",
            Self::HeadBucket => "HeadBucket",
            Self::GetBucketLocation => "GetBucketLocation",
            Self::ListObjects => "ListObjects",
            Self::ListObjectsV2 => "ListObjectsV2",
            Self::ListObjectVersions => "ListObjectVersions",
            Self::DeleteObjects => "DeleteObjects",
            Self::PutObject => "PutObject",
            Self::PostObject => "PostObject",
            Self::CopyObject => "CopyObject",
            Self::GetObject => "GetObject",
            Self::HeadObject => "HeadObject",
            Self::DeleteObject => "DeleteObject",
            Self::GetObjectAttributes => "GetObjectAttributes",
            Self::ListMultipartUploads => "ListMultipartUploads",
            Self::CreateMultipartUpload => "CreateMultipartUpload",
            Self::UploadPart => "UploadPart",
            Self::UploadPartCopy => "UploadPartCopy",
            Self::ListParts => "ListParts",
            Self::CompleteMultipartUpload => "CompleteMultipartUpload",
            Self::AbortMultipartUpload => "AbortMultipartUpload",
            Self::BucketSetting(_) => "BucketSetting",
            Self::BucketUnknown => "BucketUnknown",
            Self::ObjectSetting(_) => "ObjectSetting",
        }
    }
}

/// A request that leads to no operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteError {
    /// S3 has it, this version does not.
    NotImplemented(&'static str),
    /// A POST on a bucket that brings no form.
    NotAForm,
    /// That kind of resource has no such method.
    MethodNotAllowed(Resource),
    /// A request that cannot be, as a whole.
    InvalidRequest(&'static str),
    /// A header or parameter that this request cannot have.
    InvalidArgument {
        /// Header or parameter.
        name: &'static str,
        /// What is wrong with it, for the client.
        problem: &'static str,
    },
}

/// Kinds of resources, as errors tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Resource {
    Service,
    Bucket,
    Object,
    /// An upload in parts.
    Upload,
}

/// Bucket sub-resources that hold settings, never object data.
const BUCKET_SETTINGS: &[&str] = &[
    "accelerate",
    "acl",
    "analytics",
    "cors",
    "encryption",
    "intelligent-tiering",
    "inventory",
    "lifecycle",
    "logging",
    "metrics",
    "notification",
    "object-lock",
    "ownershipControls",
    "policy",
    "policyStatus",
    "publicAccessBlock",
    "replication",
    "requestPayment",
    "tagging",
    "versioning",
    "website",
];

/// Object sub-resources that hold settings, never object data.
const OBJECT_SETTINGS: &[&str] = &["acl", "legal-hold", "restore", "retention", "tagging"];

/// Query names that only tune an operation or sign the request, in lower case.
pub(super) fn is_parameter(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    lower.starts_with("x-amz-")
        || lower.starts_with("response-")
        || matches!(
            lower.as_str(),
            "x-id"
                | "list-type"
                | "prefix"
                | "delimiter"
                | "marker"
                | "max-keys"
                | "continuation-token"
                | "start-after"
                | "fetch-owner"
                | "encoding-type"
                | "key-marker"
                | "version-id-marker"
                | "versionid"
                | "max-buckets"
                | "bucket-region"
                | "id"
        )
}

/// Finds the operation.
///
/// # Errors
/// [`RouteError`].
pub fn route(
    method: &Method,
    target: Target,
    query: &Query,
    headers: &HeaderMap,
) -> Result<Endpoint, RouteError> {
    let (bucket, key) = (target.bucket(), target.key());
    let has = |name: &str| query.contains(name);
    let may_copy = *method == Method::PUT || *method == Method::POST && !has("uploadId");
    if !may_copy && bucket.is_some() && headers.contains_key(COPY_SOURCE) {
        return Err(RouteError::InvalidArgument {
            name: "x-amz-copy-source",
            problem: "only requests that copy can have a source",
        });
    }
    let kind = match (bucket, key) {
        (None, _) => match *method {
            Method::GET => Kind::ListBuckets,
            _ => return Err(RouteError::MethodNotAllowed(Resource::Service)),
        },
        (Some(_), None) => bucket_route(method, query, &has)?,
        (Some(_), Some(_)) => object_route(method, query, &has, headers)?,
    };
    let (bucket, key) = match target {
        Target::Service => (String::new(), String::new()),
        Target::Bucket { bucket } => (bucket, String::new()),
        Target::Object { bucket, key } => (bucket, key),
    };
    Ok(Endpoint { kind, bucket, key })
}

fn bucket_route(
    method: &Method,
    query: &Query,
    has: &impl Fn(&str) -> bool,
) -> Result<Kind, RouteError> {
    if *method == Method::POST {
        return if has("delete") {
            Ok(Kind::DeleteObjects)
        } else if query.iter().all(|(name, _)| is_parameter(name)) {
            Err(RouteError::NotAForm)
        } else {
            Err(RouteError::NotImplemented("unknown bucket sub-resource"))
        };
    }
    if has("uploads") {
        return match *method {
            Method::GET => Ok(Kind::ListMultipartUploads),
            _ => Err(RouteError::MethodNotAllowed(Resource::Bucket)),
        };
    }
    if has("session") {
        return Err(RouteError::NotImplemented("CreateSession"));
    }
    if *method == Method::GET && has("location") {
        return Ok(Kind::GetBucketLocation);
    }
    if *method == Method::GET && has("versions") {
        return Ok(Kind::ListObjectVersions);
    }
    if let Some(setting) = BUCKET_SETTINGS.iter().find(|s| has(s)) {
        return match *method {
            Method::GET | Method::PUT | Method::DELETE => Ok(Kind::BucketSetting(setting)),
            _ => Err(RouteError::MethodNotAllowed(Resource::Bucket)),
        };
    }
    let unknown = query.iter().any(|(name, _)| !is_parameter(name));
    match *method {
        Method::GET if unknown => Ok(Kind::BucketUnknown),
        Method::PUT | Method::DELETE if unknown => Ok(Kind::BucketUnknown),
        Method::GET if query.first("list-type") == Some("2") => Ok(Kind::ListObjectsV2),
        Method::GET => Ok(Kind::ListObjects),
        Method::HEAD => Ok(Kind::HeadBucket),
        Method::PUT => Ok(Kind::CreateBucket),
        Method::DELETE => Ok(Kind::DeleteBucket),
        _ => Err(RouteError::MethodNotAllowed(Resource::Bucket)),
    }
}

fn object_route(
    method: &Method,
    query: &Query,
    has: &impl Fn(&str) -> bool,
    headers: &HeaderMap,
) -> Result<Kind, RouteError> {
    if has("uploads") {
        return match *method {
            Method::POST => Ok(Kind::CreateMultipartUpload),
            Method::GET => Err(RouteError::InvalidRequest(
                "Uploads are listed for a bucket, not for a key",
            )),
            _ => Err(RouteError::MethodNotAllowed(Resource::Object)),
        };
    }
    if has("uploadId") {
        return match *method {
            Method::PUT if !has("partNumber") => {
                Err(RouteError::MethodNotAllowed(Resource::Upload))
            }
            Method::PUT if headers.contains_key(COPY_SOURCE) => Ok(Kind::UploadPartCopy),
            Method::PUT => Ok(Kind::UploadPart),
            Method::GET => Ok(Kind::ListParts),
            Method::POST => Ok(Kind::CompleteMultipartUpload),
            Method::DELETE => Ok(Kind::AbortMultipartUpload),
            _ => Err(RouteError::MethodNotAllowed(Resource::Upload)),
        };
    }
    // Without an upload it chooses a part to read; in a write it could mean anything to a store.
    if has("partNumber") && !matches!(*method, Method::GET | Method::HEAD) {
        return Err(RouteError::InvalidArgument {
            name: "partNumber",
            problem: "a part is written with an uploadId only",
        });
    }
    if has("versions") && *method == Method::GET {
        return Err(RouteError::InvalidRequest(
            "Versions are listed for a bucket, not for a key",
        ));
    }
    for (name, feature) in [
        ("select", "SelectObjectContent"),
        ("torrent", "GetObjectTorrent"),
        ("append", "appending to objects"),
        ("renameObject", "RenameObject"),
        ("encryption", "UpdateObjectEncryption"),
    ] {
        if has(name) {
            return Err(RouteError::NotImplemented(feature));
        }
    }
    if has("attributes") {
        return if *method == Method::GET {
            Ok(Kind::GetObjectAttributes)
        } else {
            Err(RouteError::MethodNotAllowed(Resource::Object))
        };
    }
    if let Some(setting) = OBJECT_SETTINGS.iter().find(|s| has(s)) {
        return match (*setting, method) {
            ("restore", &Method::POST) => Ok(Kind::ObjectSetting(setting)),
            ("restore", _) => Err(RouteError::MethodNotAllowed(Resource::Object)),
            (_, &Method::GET | &Method::PUT) | ("tagging", &Method::DELETE) => {
                Ok(Kind::ObjectSetting(setting))
            }
            _ => Err(RouteError::MethodNotAllowed(Resource::Object)),
        };
    }
    // A store may give meaning to a word that S3 ignores, so an unknown one never goes on with a body
    // and never turns into a plain DELETE.
    let unknown = query.iter().any(|(name, _)| !is_parameter(name));
    if unknown && !matches!(*method, Method::GET | Method::HEAD) {
        return Err(RouteError::NotImplemented("unknown object sub-resource"));
    }
    match *method {
        Method::GET => Ok(Kind::GetObject),
        Method::HEAD => Ok(Kind::HeadObject),
        Method::PUT if headers.contains_key(COPY_SOURCE) => Ok(Kind::CopyObject),
        Method::PUT if headers.contains_key(WRITE_OFFSET) => {
            Err(RouteError::NotImplemented("appending to objects"))
        }
        Method::PUT => Ok(Kind::PutObject),
        Method::DELETE => Ok(Kind::DeleteObject),
        _ => Err(RouteError::MethodNotAllowed(Resource::Object)),
    }
}

/// The rights that a request needs before anything is done. CopyObject needs `read` on its source as
/// well, DeleteObjects `delete` on each key; those operations ask for them when they have parsed them.
pub fn needs(
    endpoint: &Endpoint,
    method: &Method,
    query: &Query,
    headers: &HeaderMap,
) -> Vec<Need> {
    let bucket = endpoint.bucket.as_str();
    let key = endpoint.key.as_str();
    let get = *method == Method::GET;
    let mut needs = match endpoint.kind {
        Kind::ListBuckets => vec![Need::list_buckets()],
        Kind::CreateBucket | Kind::DeleteBucket | Kind::BucketUnknown => {
            vec![Need::bucket(Action::Admin, bucket)]
        }
        Kind::HeadBucket | Kind::GetBucketLocation => vec![Need::visible(bucket)],
        Kind::ListObjects | Kind::ListObjectsV2 | Kind::ListObjectVersions => {
            vec![Need::list(
                bucket,
                query.first("prefix").unwrap_or_default(),
            )]
        }
        Kind::DeleteObjects => vec![Need::visible(bucket)],
        Kind::ListMultipartUploads => vec![Need::list(
            bucket,
            query.first("prefix").unwrap_or_default(),
        )],
        Kind::PutObject
        | Kind::PostObject
        | Kind::CopyObject
        | Kind::CreateMultipartUpload
        | Kind::UploadPart
        | Kind::UploadPartCopy
        | Kind::ListParts
        | Kind::CompleteMultipartUpload
        | Kind::AbortMultipartUpload => vec![Need::object(Action::Write, bucket, key)],
        Kind::GetObject | Kind::HeadObject | Kind::GetObjectAttributes => {
            vec![Need::object(Action::Read, bucket, key)]
        }
        Kind::DeleteObject => vec![Need::object(Action::Delete, bucket, key)],
        Kind::BucketSetting("versioning" | "object-lock") if get => vec![Need::visible(bucket)],
        Kind::BucketSetting(_) => vec![Need::bucket(Action::Admin, bucket)],
        Kind::ObjectSetting("tagging") if get => vec![Need::object(Action::Read, bucket, key)],
        Kind::ObjectSetting("tagging") => {
            vec![
                Need::object(Action::Write, bucket, key),
                Need::object(Action::Overwrite, bucket, key),
            ]
        }
        Kind::ObjectSetting("restore") => vec![Need::object(Action::Read, bucket, key)],
        Kind::ObjectSetting("retention" | "legal-hold") if get => {
            vec![Need::object(Action::Read, bucket, key)]
        }
        Kind::ObjectSetting(_) => vec![Need::bucket(Action::Admin, bucket)],
    };
    if headers.contains_key(BYPASS_GOVERNANCE) {
        needs.push(Need::bucket(Action::Admin, bucket));
    }
    needs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(method: Method, key: Option<&str>, query: &[(&str, &str)]) -> Result<Kind, RouteError> {
        let mut parsed = Query::default();
        for (name, value) in query {
            parsed.push(*name, *value);
        }
        let bucket = "b".to_owned();
        let target = match key {
            Some(key) => Target::Object {
                bucket,
                key: key.to_owned(),
            },
            None => Target::Bucket { bucket },
        };
        route(&method, target, &parsed, &HeaderMap::new()).map(|endpoint| endpoint.kind)
    }

    #[test]
    fn a_body_for_an_unknown_object_resource_never_goes_on() {
        for name in ["whatever", "append", "Acl", "TAGGING"] {
            for method in [Method::PUT, Method::POST] {
                assert!(
                    matches!(
                        kind(method, Some("k"), &[(name, "1")]),
                        Err(RouteError::NotImplemented(_))
                    ),
                    "{name}"
                );
            }
        }
        assert_eq!(
            kind(Method::POST, Some("k"), &[]),
            Err(RouteError::MethodNotAllowed(Resource::Object))
        );
    }

    #[test]
    fn signing_and_sdk_parameters_change_nothing() {
        let query = [
            ("x-id", "PutObject"),
            ("X-Amz-Signature", "0"),
            ("versionId", "v"),
        ];
        assert_eq!(kind(Method::PUT, Some("k"), &query), Ok(Kind::PutObject));
        assert_eq!(
            kind(Method::GET, None, &[("list-type", "2"), ("prefix", "a")]),
            Ok(Kind::ListObjectsV2)
        );
        assert_eq!(
            kind(Method::GET, None, &[("versions", "")]),
            Ok(Kind::ListObjectVersions)
        );
    }

    #[test]
    fn a_part_is_read_by_get_and_head_only() {
        let query = [("partNumber", "2")];
        assert_eq!(kind(Method::GET, Some("k"), &query), Ok(Kind::GetObject));
        assert_eq!(kind(Method::HEAD, Some("k"), &query), Ok(Kind::HeadObject));
        for method in [Method::PUT, Method::DELETE] {
            assert!(matches!(
                kind(method, Some("k"), &query),
                Err(RouteError::InvalidArgument {
                    name: "partNumber",
                    ..
                })
            ));
        }
    }

    #[test]
    fn each_request_of_an_upload_in_parts_is_known_by_its_method() {
        let id = [("uploadId", "u")];
        let part = [("partNumber", "1"), ("uploadId", "u")];
        for (method, key, query, expected) in [
            (
                Method::POST,
                Some("k"),
                &[("uploads", "")][..],
                Some(Kind::CreateMultipartUpload),
            ),
            (Method::PUT, Some("k"), &part, Some(Kind::UploadPart)),
            (Method::GET, Some("k"), &id, Some(Kind::ListParts)),
            (
                Method::POST,
                Some("k"),
                &id,
                Some(Kind::CompleteMultipartUpload),
            ),
            (
                Method::DELETE,
                Some("k"),
                &id,
                Some(Kind::AbortMultipartUpload),
            ),
            (
                Method::GET,
                None,
                &[("uploads", "")],
                Some(Kind::ListMultipartUploads),
            ),
            (Method::HEAD, Some("k"), &id, None),
            (Method::PUT, Some("k"), &id, None),
            (Method::PUT, None, &[("uploads", "")], None),
        ] {
            let resource = key.map_or(Resource::Bucket, |_| Resource::Upload);
            let expected = expected.ok_or(RouteError::MethodNotAllowed(resource));
            assert_eq!(kind(method, key, query), expected, "{query:?}");
        }
    }

    #[test]
    fn what_buckets_list_is_not_listed_for_a_key() {
        for name in ["uploads", "versions"] {
            assert!(matches!(
                kind(Method::GET, Some("k"), &[(name, "")]),
                Err(RouteError::InvalidRequest(_))
            ));
        }
    }

    #[test]
    fn only_copies_have_a_source() {
        let mut headers = HeaderMap::new();
        headers.insert("x-amz-copy-source", http::HeaderValue::from_static("b/k"));
        let bucket = Target::Bucket { bucket: "b".into() };
        let object = Target::Object {
            bucket: "b".into(),
            key: "k".into(),
        };
        let mut upload = Query::default();
        upload.push("uploadId", "u");
        for (method, query) in [
            (Method::GET, Query::default()),
            (Method::HEAD, Query::default()),
            (Method::DELETE, Query::default()),
            (Method::POST, upload),
        ] {
            for target in [&bucket, &object] {
                assert!(
                    matches!(
                        route(&method, target.clone(), &query, &headers),
                        Err(RouteError::InvalidArgument {
                            name: "x-amz-copy-source",
                            ..
                        })
                    ),
                    "{method}"
                );
            }
        }
        let copy = route(&Method::PUT, object, &Query::default(), &headers);
        assert_eq!(copy.map(|endpoint| endpoint.kind), Ok(Kind::CopyObject));
    }

    #[test]
    fn settings_are_forwarded_and_unknown_resources_need_a_grant() {
        assert_eq!(
            kind(Method::PUT, Some("k"), &[("tagging", "")]),
            Ok(Kind::ObjectSetting("tagging"))
        );
        assert_eq!(
            kind(Method::PUT, None, &[("lifecycle", "")]),
            Ok(Kind::BucketSetting("lifecycle"))
        );
        assert_eq!(
            kind(Method::GET, None, &[("novelty", "")]),
            Ok(Kind::BucketUnknown)
        );
        assert_eq!(kind(Method::POST, None, &[]), Err(RouteError::NotAForm));
        assert!(matches!(
            kind(Method::POST, None, &[("novelty", "")]),
            Err(RouteError::NotImplemented(_))
        ));
    }
}
