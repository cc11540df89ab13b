//! What every kind of key-encryption key must do, as a test that takes any two of them.

use super::{Context, KeyEncryptionKey, KeyError};
use crate::aead::Dek;

/// Runs the suite over two different keys of one kind.
///
/// # Panics
///
/// Where a key does not do what [`KeyEncryptionKey`] demands. For tests only.
pub async fn check(key: &dyn KeyEncryptionKey, other: &dyn KeyEncryptionKey) {
    assert_eq!(key.kind(), other.kind());
    assert_ne!((key.id(), key.version()), (other.id(), other.version()));
    wraps(key, other).await;
    vouches(key, other).await;
}

#[allow(clippy::expect_used, reason = "a test")]
async fn wraps(key: &dyn KeyEncryptionKey, other: &dyn KeyEncryptionKey) {
    let context = Context(&[("place", b"here")]);
    let dek = Dek::new(std::array::from_fn(|i| i as u8));
    let wrapped = key.wrap(&dek, context).await.expect("wrap");
    assert!((1..=384).contains(&wrapped.len()), "fits an envelope");
    assert!(
        !wrapped
            .windows(16)
            .any(|part| dek.expose().starts_with(part)),
        "the key does not stand in the clear"
    );
    let unwrapped = key.unwrap(&wrapped, context).await.expect("unwrap");
    assert_eq!(unwrapped.expose(), dek.expose());
    for at in 0..wrapped.len() {
        let mut flipped = wrapped.clone();
        flipped[at] ^= 1;
        let refused = key.unwrap(&flipped, context).await.map(drop);
        assert_eq!(refused, Err(KeyError::NotAuthentic), "byte {at}");
    }
    for short in [&[], &wrapped[..wrapped.len() - 1]] {
        let refused = key.unwrap(short, context).await.map(drop);
        assert_eq!(refused, Err(KeyError::NotAuthentic));
    }
    let refused = other.unwrap(&wrapped, context).await.map(drop);
    assert_eq!(refused, Err(KeyError::NotAuthentic), "another key");
}

#[allow(clippy::expect_used, reason = "a test")]
async fn vouches(key: &dyn KeyEncryptionKey, other: &dyn KeyEncryptionKey) {
    let message: &[u8] = b"a message";
    let Some(tag) = key.tag(message).await.expect("tag") else {
        let refused = key.verify(message, &[0; 32]).await;
        assert_eq!(refused, Err(KeyError::NotAuthentic), "no tag is valid");
        return;
    };
    assert_eq!(key.tag(message).await, Ok(Some(tag)), "tags are repeatable");
    assert_eq!(key.verify(message, &tag).await, Ok(()));
    assert_eq!(
        key.verify(b"a messagf", &tag).await,
        Err(KeyError::NotAuthentic)
    );
    assert_eq!(
        other.verify(message, &tag).await,
        Err(KeyError::NotAuthentic),
        "another key"
    );
    for at in 0..tag.len() {
        let mut flipped = tag;
        flipped[at] ^= 0x80;
        assert_eq!(
            key.verify(message, &flipped).await,
            Err(KeyError::NotAuthentic),
            "byte {at}"
        );
    }
}
