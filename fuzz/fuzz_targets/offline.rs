//! Files that claim to be sealed objects: inspected and opened without a panic, and never opened.
#![no_main]

use std::io::Cursor;
use std::num::NonZeroU32;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use sealgate::formats::offline;
use sealgate::keys::{KeyEncryptionKey, KeyId, Keyring, LocalKey};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(found) = offline::inspect(Cursor::new(bytes)) {
        let _ = found.to_string();
    }
    // No input was sealed under this key.
    let id = KeyId::new("fuzz").unwrap();
    let key = LocalKey::new(
        id.clone(),
        NonZeroU32::MIN,
        b"thirty-two bytes that seal none.",
    );
    let keyring = Keyring::new([Arc::new(key) as Arc<dyn KeyEncryptionKey>], id).unwrap();
    let mut out = Vec::new();
    let opened = offline::open(Cursor::new(bytes), &keyring, &mut out);
    assert!(futures::executor::block_on(opened).is_err());
    assert!(out.is_empty());
});
