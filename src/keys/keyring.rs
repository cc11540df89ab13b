//! The keys that a gateway has: every one opens, one name is current for writes.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

use super::{KeyEncryptionKey, KeyId, KeyKind};

/// Named keys with versions.
///
/// Invariants: `current` names a key that is held; all versions of a name are of one kind; no map
/// within `keys` is empty.
#[derive(Clone)]
pub struct Keyring {
    keys: BTreeMap<KeyId, BTreeMap<NonZeroU32, Arc<dyn KeyEncryptionKey>>>,
    current: KeyId,
}

impl Keyring {
    /// Takes keys and the name that writes use.
    ///
    /// # Errors
    ///
    /// [`KeyringError`] for a version that is there twice, a name with two kinds, or a current name
    /// that no key has.
    pub fn new(
        keys: impl IntoIterator<Item = Arc<dyn KeyEncryptionKey>>,
        current: KeyId,
    ) -> Result<Self, KeyringError> {
        let mut named: BTreeMap<KeyId, BTreeMap<_, Arc<dyn KeyEncryptionKey>>> = BTreeMap::new();
        for key in keys {
            let (id, version) = (key.id().clone(), key.version());
            let versions = named.entry(id.clone()).or_default();
            if versions.values().any(|other| other.kind() != key.kind()) {
                return Err(KeyringError::MixedKinds(id));
            }
            if versions.insert(version, key).is_some() {
                return Err(KeyringError::Duplicate { id, version });
            }
        }
        if !named.contains_key(&current) {
            return Err(KeyringError::NoCurrent(current));
        }
        Ok(Self {
            keys: named,
            current,
        })
    }

    /// The name that writes use.
    #[must_use]
    pub const fn current_id(&self) -> &KeyId {
        &self.current
    }

    /// The newest version of a name: what a write to that name wraps with.
    #[must_use]
    pub fn newest(&self, id: &KeyId) -> Option<&Arc<dyn KeyEncryptionKey>> {
        self.keys.get(id)?.values().next_back()
    }

    /// The key that a recipient of an envelope names.
    #[must_use]
    pub fn find(
        &self,
        kind: KeyKind,
        id: &KeyId,
        version: NonZeroU32,
    ) -> Option<&Arc<dyn KeyEncryptionKey>> {
        let key = self.keys.get(id)?.get(&version)?;
        (key.kind() == kind).then_some(key)
    }

    /// Every key, by name and version.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<dyn KeyEncryptionKey>> {
        self.keys.values().flat_map(BTreeMap::values)
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring")
            .field("current", &self.current)
            .field("keys", &self.iter().collect::<Vec<_>>())
            .finish()
    }
}

/// Keys that make no keyring.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyringError {
    /// One version of a key is there twice.
    #[error("key {id} has version {version} twice")]
    Duplicate {
        /// The key's name.
        id: KeyId,
        /// The version.
        version: NonZeroU32,
    },
    /// The versions of a key are of several kinds.
    #[error("key {0} has versions of several kinds: give each kind a name of its own")]
    MixedKinds(KeyId),
    /// The name for writes is that of no key.
    #[error("the current key is {0}, and there is no key of that name")]
    NoCurrent(KeyId),
}

#[cfg(test)]
mod tests {
    use super::super::LocalKey;
    use super::*;

    fn id(name: &str) -> KeyId {
        KeyId::new(name).unwrap()
    }

    fn version(version: u32) -> NonZeroU32 {
        NonZeroU32::new(version).unwrap()
    }

    fn key(name: &str, number: u32) -> Arc<dyn KeyEncryptionKey> {
        Arc::new(LocalKey::new(
            id(name),
            version(number),
            &[number as u8; 32],
        ))
    }

    #[test]
    fn the_newest_version_is_current_and_all_are_found() {
        let keys = [key("b", 2), key("a", 9), key("b", 10), key("b", 1)];
        let keyring = Keyring::new(keys, id("b")).unwrap();
        assert_eq!(
            keyring.newest(keyring.current_id()).unwrap().version(),
            version(10)
        );
        assert_eq!(keyring.iter().count(), 4);
        let find = |kind, name, number| keyring.find(kind, &id(name), version(number));
        assert!(find(KeyKind::Local, "b", 2).is_some());
        assert!(find(KeyKind::Local, "b", 9).is_none());
        assert!(find(KeyKind::Local, "c", 2).is_none());
        assert!(find(KeyKind::Vault, "b", 2).is_none());
        assert!(keyring.newest(&id("c")).is_none());
    }

    #[test]
    fn refuses_duplicates_and_an_unknown_current() {
        let twice = Keyring::new([key("a", 1), key("a", 1)], id("a"));
        let expected = KeyringError::Duplicate {
            id: id("a"),
            version: version(1),
        };
        assert_eq!(twice.unwrap_err(), expected);
        let unknown = Keyring::new([key("a", 1)], id("b"));
        assert_eq!(unknown.unwrap_err(), KeyringError::NoCurrent(id("b")));
    }
}
