//! What a format of another program has to say for itself. Each is one file that implements [`Format`]; which of them an
//! object claims to be is decided in `dispatch`.
//!
//! ```text
//! metadata ─► Format::claim ─► Claimed                      length, how many last bytes are needed first
//!                                 │ checker(last bytes)
//!                                 ▼
//! all stored bytes, in order ─► Checker ─ finish ─► Verified ─ opener(range) ─► Opener
//! the stored bytes of a range, again ──────────────────────────────────────────►  │ ─► plaintext
//! ```
//!
//! Nobody but a [`Checker`] that has accepted the whole object makes a [`Verified`], and nothing else gives plaintext.
//! All of it is bytes to bytes: where they come from, and where they wait between the two readings, is decided elsewhere.

use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;

use super::Integrity;

/// The most bytes from an object's end that a format may ask for first.
pub const MAX_TAIL: u64 = 256;

/// An object as the store describes it.
#[derive(Clone, Copy)]
pub struct Described<'a> {
    /// Bucket, as clients name it.
    pub bucket: &'a str,
    /// Key.
    pub key: &'a str,
    /// The store's answer headers.
    pub headers: &'a HeaderMap,
}

/// A format of another program, with the keys that open it.
pub trait Format: Send + Sync {
    /// A short stable name for metrics and logs.
    fn name(&self) -> &'static str;

    /// Whether a header, in lower case, is the format's own metadata: not shown to clients, and not taken from them.
    fn owns(&self, header: &str) -> bool;

    /// What the object's metadata claims, `None` where nothing of it is this format's. Cheap, and needs no key.
    ///
    /// # Errors
    /// [`Integrity::MetadataMalformed`].
    fn claim(&self, object: Described<'_>) -> Result<Option<Arc<dyn Claimed>>, Integrity>;
}

/// An object whose metadata says that it is of some format.
pub trait Claimed: Send + Sync {
    /// Length of the plaintext.
    ///
    /// # Errors
    /// [`Integrity::Length`] where no object of this format has that stored length.
    fn plaintext_len(&self, stored_len: u64) -> Result<u64, Integrity>;

    /// How many of the last stored bytes [`Claimed::checker`] needs: at most [`MAX_TAIL`].
    fn tail_len(&self) -> u64;

    /// Says early, from the metadata alone, that the object cannot be read. Cheap: HEAD and listings ask.
    ///
    /// # Errors
    /// [`Integrity`].
    fn probe(&self) -> Result<(), Integrity> {
        Ok(())
    }

    /// Opens the object's key and begins to check it. `tail` are its last [`Claimed::tail_len`] bytes. May take
    /// a while, where a key is derived from a password.
    ///
    /// # Errors
    /// [`Integrity`], [`Integrity::NoKey`] above all.
    fn checker(&self, stored_len: u64, tail: &[u8]) -> Result<Checking, Integrity>;
}

/// The beginning of a check.
pub struct Checking {
    /// Takes the stored bytes.
    pub checker: Box<dyn Checker>,
    /// Whether nobody needs to know a secret to make such an object, or to alter this one.
    pub unprotected: bool,
}

/// Takes all stored bytes of an object in order, in pieces of any length.
pub trait Checker: Send + Sync {
    /// Takes the next bytes.
    ///
    /// # Errors
    /// [`Integrity`] as soon as something is wrong.
    fn update(&mut self, stored: &[u8]) -> Result<(), Integrity>;

    /// Ends the object.
    ///
    /// # Errors
    /// [`Integrity`] unless all of it was authentic.
    fn finish(self: Box<Self>) -> Result<Box<dyn Verified>, Integrity>;
}

/// An object that has been checked from its first to its last byte.
pub trait Verified: Send + Sync {
    /// How to turn its stored bytes into the plaintext `plaintext`, which lies within it and may be empty.
    ///
    /// # Errors
    /// [`Integrity::Length`] where it does not lie within.
    fn opener(&self, plaintext: Range<u64>) -> Result<(Place, Box<dyn Opener>), Integrity>;
}

/// Where a range of plaintext stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The stored bytes to give to the [`Opener`].
    pub stored: Range<u64>,
    /// How much of the plaintext that comes of them is before the range.
    pub skip: u64,
}

/// Turns the stored bytes of a [`Place`] into plaintext.
pub trait Opener: Send + Sync {
    /// Takes the next stored bytes, in pieces of any length, and appends what plaintext they make.
    ///
    /// # Errors
    /// [`Integrity`] where they are not those that were checked, as far as the format lets tell.
    fn open(&mut self, stored: Bytes, plaintext: &mut BytesMut) -> Result<(), Integrity>;
}

/// The only value of a header, as text; `None` where it is absent.
///
/// # Errors
/// [`Integrity::MetadataMalformed`] where there are several, or it is no text.
pub fn only<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Integrity> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => match value.to_str() {
            Ok(text) => Ok(Some(text.trim())),
            Err(_) => Err(Integrity::MetadataMalformed),
        },
        (Some(_), Some(_)) => Err(Integrity::MetadataMalformed),
    }
}
