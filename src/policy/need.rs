//! What one request wants to do, in the words of the policy.

use super::action::Action;

/// One right that a request needs. A request can need several: a copy reads one object and
/// writes another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Need {
    action: Action,
    bucket: String,
    target: Target,
}

/// What within (or above) a bucket is meant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Target {
    /// One object. A rule's prefixes apply to its key.
    Object(String),
    /// The keys that begin with this prefix. It must itself begin with a granted prefix.
    Prefix(String),
    /// The bucket as a whole. A rule that is limited to prefixes does not grant it.
    Bucket,
    /// That the bucket is there, its region included: any right on any part of it suffices.
    Visible,
    /// The names of the buckets. Every user may ask; the answer holds only what the user may see.
    Buckets,
    /// Any other call on the service. Never granted.
    Service,
}

impl Need {
    /// `action` on the object `key`.
    pub fn object(action: Action, bucket: impl Into<String>, key: impl Into<String>) -> Self {
        Self::new(action, bucket, Target::Object(key.into()))
    }

    /// `action` on the bucket as a whole: creating or deleting it, its settings.
    pub fn bucket(action: Action, bucket: impl Into<String>) -> Self {
        Self::new(action, bucket, Target::Bucket)
    }

    /// Listing keys, versions or uploads under `prefix`.
    pub fn list(bucket: impl Into<String>, prefix: impl Into<String>) -> Self {
        Self::new(Action::List, bucket, Target::Prefix(prefix.into()))
    }

    /// Asking whether the bucket exists and where (`HeadBucket`, `GetBucketLocation`).
    pub fn visible(bucket: impl Into<String>) -> Self {
        Self::new(Action::List, bucket, Target::Visible)
    }

    /// `ListBuckets`, whose answer is filtered by [`Permit::visible_buckets`](super::Permit::visible_buckets).
    #[must_use]
    pub fn list_buckets() -> Self {
        Self::new(Action::List, "", Target::Buckets)
    }

    /// Any service-level call other than `ListBuckets`.
    #[must_use]
    pub fn service() -> Self {
        Self::new(Action::Admin, "", Target::Service)
    }

    /// The action wanted.
    #[must_use]
    pub const fn action(&self) -> Action {
        self.action
    }

    /// The bucket concerned; empty for the service.
    #[must_use]
    pub fn bucket_name(&self) -> &str {
        &self.bucket
    }

    /// The object's key, where the need is for one object.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        match &self.target {
            Target::Object(key) => Some(key),
            _ => None,
        }
    }

    /// What within the bucket is meant.
    #[must_use]
    pub const fn target(&self) -> &Target {
        &self.target
    }

    fn new(action: Action, bucket: impl Into<String>, target: Target) -> Self {
        Self {
            action,
            bucket: bucket.into(),
            target,
        }
    }
}
