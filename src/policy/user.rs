//! Users, and the rules that say what each may do.

use std::sync::Arc;

use super::action::{Action, Actions};
use super::glob::Pattern;
use super::need::{Need, Target};
use crate::secret::Secret;

/// A user of the gateway, shared by the requests that are made in the user's name.
pub type UserHandle = Arc<User>;

/// A user of the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The name that the user signs with.
    pub access_key: String,
    /// What the user signs with.
    pub secret_key: Secret,
    /// What the user may do: whatever any of the rules grants.
    pub rules: Vec<Rule>,
    /// Credentials for the store that stand in for the gateway's own on this user's requests.
    pub store_credentials: Option<StoreCredentials>,
}

/// Credentials for the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreCredentials {
    /// The access key.
    pub access_key: String,
    /// The secret key.
    pub secret_key: Secret,
}

/// Grants `actions` on the keys under `prefixes` in the buckets that fit one of `buckets`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The buckets it is about.
    pub buckets: Vec<Pattern>,
    /// The beginnings of the keys it is about; none means the whole bucket.
    pub prefixes: Vec<String>,
    /// What it grants.
    pub actions: Actions,
}

impl Rule {
    /// Everything on `buckets`: what `allowed_buckets` stands for.
    #[must_use]
    pub const fn everything_on(buckets: Vec<Pattern>) -> Self {
        Self {
            buckets,
            prefixes: Vec::new(),
            actions: Actions::ALL,
        }
    }

    /// Whether this rule grants `need`.
    #[must_use]
    pub fn grants(&self, need: &Need) -> bool {
        self.allows(need.action(), need)
    }

    /// Whether it grants `action` on what `need` is about.
    pub(super) fn allows(&self, action: Action, need: &Need) -> bool {
        match need.target() {
            Target::Buckets => return true,
            Target::Service => return false,
            Target::Visible => return !self.actions.is_empty() && self.covers(need.bucket_name()),
            Target::Object(_) | Target::Prefix(_) | Target::Bucket => {}
        }
        if !self.actions.contains(action) || !self.covers(need.bucket_name()) {
            return false;
        }
        if self.prefixes.is_empty() {
            return true;
        }
        match need.target() {
            Target::Object(wanted) | Target::Prefix(wanted) => self
                .prefixes
                .iter()
                .any(|prefix| wanted.starts_with(prefix.as_str())),
            _ => false,
        }
    }

    fn covers(&self, bucket: &str) -> bool {
        self.buckets.iter().any(|pattern| pattern.matches(bucket))
    }
}
