//! The decision: a [`Permit`] for what was granted, or [`Denied`].

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use thiserror::Error;

use super::action::{Action, Actions};
use super::glob::Pattern;
use super::need::{Need, Target};
use super::user::{Rule, User, UserHandle};
use crate::secret::Secret;

/// All users with their rules, and the buckets that nobody may touch.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    users: HashMap<Box<str>, UserHandle>,
    anonymous: Option<UserHandle>,
    blocked: Arc<HashSet<String>>,
}

impl Policy {
    /// A policy of these users, in which the `blocked` buckets are closed to everyone.
    ///
    /// # Errors
    ///
    /// [`PolicyError::DuplicateUser`] where two users have the same access key.
    pub fn new(
        users: impl IntoIterator<Item = User>,
        blocked: impl IntoIterator<Item = String>,
    ) -> Result<Self, PolicyError> {
        let mut table = HashMap::new();
        for user in users {
            let name: Box<str> = user.access_key.as_str().into();
            if table.insert(name, Arc::new(user)).is_some() {
                return Err(PolicyError::DuplicateUser);
            }
        }
        Ok(Self {
            users: table,
            anonymous: None,
            blocked: Arc::new(blocked.into_iter().collect()),
        })
    }

    /// The same with rules for requests that nobody signed; no rule keeps them out.
    #[must_use]
    pub fn with_anonymous(mut self, rules: Vec<Rule>) -> Self {
        self.anonymous = (!rules.is_empty()).then(|| {
            Arc::new(User {
                access_key: String::new(),
                secret_key: Secret::new(String::new()),
                rules,
                store_credentials: None,
            })
        });
        self
    }

    /// Nobody in particular, where requests without a signature are let in. Has no access key and cannot sign.
    #[must_use]
    pub fn anonymous(&self) -> Option<&UserHandle> {
        self.anonymous.as_ref()
    }

    /// The user who signs with `access_key`. Takes the same time however many users there are.
    #[must_use]
    pub fn user(&self, access_key: &str) -> Option<&UserHandle> {
        self.users.get(access_key)
    }

    /// How many users there are.
    #[must_use]
    pub fn users(&self) -> usize {
        self.users.len()
    }

    /// Whether nobody may touch `bucket`.
    #[must_use]
    pub fn is_blocked(&self, bucket: &str) -> bool {
        self.blocked.contains(bucket)
    }

    /// Decides on a request of `user` that needs all of `needs`.
    ///
    /// # Errors
    ///
    /// [`Denied`] where one of them is not granted, and where there are none: a request that
    /// needs nothing is one that nobody thought about.
    pub fn permit(
        &self,
        user: &UserHandle,
        needs: impl IntoIterator<Item = Need>,
    ) -> Result<Permit, Denied> {
        let needs: Vec<Need> = needs.into_iter().collect();
        if needs.is_empty() {
            return Err(Denied::NothingAsked);
        }
        for need in &needs {
            decide(user, &self.blocked, need.action(), need)?;
        }
        Ok(Permit {
            user: Arc::clone(user),
            needs,
            blocked: Arc::clone(&self.blocked),
        })
    }
}

/// That a user may do what a request asks. Only [`Policy::permit`] makes one, and [`Permit::of_operator`] for commands.
#[derive(Clone, Debug)]
pub struct Permit {
    user: UserHandle,
    /// At least one, all granted.
    needs: Vec<Need>,
    blocked: Arc<HashSet<String>>,
}

impl Permit {
    /// That of whoever holds the configuration, with all keys and the gateway's own credentials in it, and starts a command.
    #[must_use]
    pub fn of_operator() -> Self {
        let everywhere = Rule {
            buckets: vec![Pattern::any()],
            prefixes: Vec::new(),
            actions: Actions::ALL,
        };
        Self {
            user: Arc::new(User {
                access_key: String::new(),
                secret_key: Secret::new(String::new()),
                rules: vec![everywhere],
                store_credentials: None,
            }),
            needs: Vec::new(),
            blocked: Arc::default(),
        }
    }

    /// The user it was given to.
    #[must_use]
    pub const fn user(&self) -> &UserHandle {
        &self.user
    }

    /// What was granted, in the order it was asked for.
    #[must_use]
    pub fn needs(&self) -> &[Need] {
        &self.needs
    }

    /// The bucket of the first need; empty for a call on the service.
    #[must_use]
    pub fn bucket(&self) -> &str {
        self.needs.first().map_or("", Need::bucket_name)
    }

    /// The key of the first need, where that is about one object.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        self.needs.first().and_then(Need::key)
    }

    /// Whether every object that this permit lets be written may be replaced if it exists. Where
    /// it may not, the write must be made conditional on there being none.
    #[must_use]
    pub fn may_overwrite(&self) -> bool {
        self.needs
            .iter()
            .filter(|need| need.action() == Action::Write)
            .all(|need| match need.target() {
                Target::Object(_) => {
                    decide(&self.user, &self.blocked, Action::Overwrite, need).is_ok()
                }
                _ => false,
            })
    }

    /// Whether the same user may also do this, for requests that name their keys in the body.
    #[must_use]
    pub fn permits(&self, need: &Need) -> bool {
        self.check(need).is_ok()
    }

    /// As [`Permit::permits`], with the reason.
    ///
    /// # Errors
    ///
    /// [`Denied`] where it is not granted.
    pub fn check(&self, need: &Need) -> Result<(), Denied> {
        decide(&self.user, &self.blocked, need.action(), need)
    }

    /// Those of `buckets` on which the user has any right, for `ListBuckets`. `name` says which
    /// bucket an item is.
    pub fn visible_buckets<T>(
        &self,
        buckets: impl IntoIterator<Item = T>,
        name: impl Fn(&T) -> &str,
    ) -> Vec<T> {
        buckets
            .into_iter()
            .filter(|bucket| self.permits(&Need::visible(name(bucket))))
            .collect()
    }
}

/// Whether the user may do `action` on what `need` is about.
fn decide(
    user: &User,
    blocked: &HashSet<String>,
    action: Action,
    need: &Need,
) -> Result<(), Denied> {
    match need.target() {
        Target::Buckets => return Ok(()),
        Target::Service => return Err(Denied::Service),
        _ => {}
    }
    if blocked.contains(need.bucket_name()) {
        return Err(Denied::Blocked);
    }
    if user.rules.iter().any(|rule| rule.allows(action, need)) {
        Ok(())
    } else {
        Err(Denied::NotGranted(action))
    }
}

/// Why a request may not be. Names neither bucket nor key, so it is safe in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Denied {
    /// No rule of the user grants it.
    #[error("no rule of this user grants `{0}` here")]
    NotGranted(Action),
    /// The bucket is on the blocklist.
    #[error("this bucket is blocked")]
    Blocked,
    /// Calls on the service, other than listing buckets, are closed.
    #[error("calls on the service are closed")]
    Service,
    /// The request was given no needs: a fault of the gateway, denied for safety.
    #[error("nothing was asked for")]
    NothingAsked,
}

impl Denied {
    /// A short name for metrics and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotGranted(_) => "not_granted",
            Self::Blocked => "blocked",
            Self::Service => "service",
            Self::NothingAsked => "nothing_asked",
        }
    }
}

/// Why a set of users is no policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// Two users have the same access key.
    #[error("two users have the same access key")]
    DuplicateUser,
}
