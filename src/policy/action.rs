//! The six actions that a rule can grant, and sets of them.

use std::fmt;

use thiserror::Error;

/// What a request does, as rules name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    /// Read objects, their metadata, tags and attributes.
    Read,
    /// Create objects. Replacing an existing one needs [`Action::Overwrite`] as well.
    Write,
    /// List keys, versions and uploads.
    List,
    /// Delete objects and versions.
    Delete,
    /// Replace objects that exist.
    Overwrite,
    /// Everything else: buckets themselves, their settings, ACLs, and sub-resources not known by name.
    Admin,
}

impl Action {
    /// Every action, in the order of the documentation.
    pub const ALL: [Self; 6] = [
        Self::Read,
        Self::Write,
        Self::List,
        Self::Delete,
        Self::Overwrite,
        Self::Admin,
    ];

    /// The name in the configuration, in logs and in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::List => "list",
            Self::Delete => "delete",
            Self::Overwrite => "overwrite",
            Self::Admin => "admin",
        }
    }

    const fn bit(self) -> u8 {
        match self {
            Self::Read => 1,
            Self::Write => 1 << 1,
            Self::List => 1 << 2,
            Self::Delete => 1 << 3,
            Self::Overwrite => 1 << 4,
            Self::Admin => 1 << 5,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Action {
    type Err = UnknownAction;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|action| action.name() == name)
            .ok_or(UnknownAction)
    }
}

/// The text names no action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not one of read, write, list, delete, overwrite, admin")]
pub struct UnknownAction;

/// A set of actions.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Actions(u8);

impl Actions {
    /// No action.
    pub const NONE: Self = Self(0);

    /// Every action: what `allowed_buckets` grants.
    pub const ALL: Self = Self(0b11_1111);

    /// Whether `action` is in the set.
    #[must_use]
    pub const fn contains(self, action: Action) -> bool {
        self.0 & action.bit() != 0
    }

    /// The set with `action` added.
    #[must_use]
    pub const fn with(self, action: Action) -> Self {
        Self(self.0 | action.bit())
    }

    /// Whether nothing is granted.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The actions of the set, in the order of the documentation.
    pub fn iter(self) -> impl Iterator<Item = Action> {
        Action::ALL
            .into_iter()
            .filter(move |action| self.contains(*action))
    }
}

impl FromIterator<Action> for Actions {
    fn from_iter<I: IntoIterator<Item = Action>>(actions: I) -> Self {
        actions.into_iter().fold(Self::NONE, Self::with)
    }
}

impl fmt::Debug for Actions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl fmt::Display for Actions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, action) in self.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            f.write_str(action.name())?;
        }
        Ok(())
    }
}
