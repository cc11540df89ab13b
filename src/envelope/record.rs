//! The three headers as one record: made for a place, and opened only where they belong.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::{
    Envelope, EnvelopeError, Info, InfoError, MacError, MacList, Recipient, RecipientKind,
    binding_message,
};
use crate::aead::{Dek, ObjectId};
use crate::keys::{Context, KeyEncryptionKey, KeyError, KeyId, Keyring};

/// The header of the envelope. Stands on disk: may never change.
pub const HEADER_ENVELOPE: &str = "x-amz-meta-sealgate-envelope";
/// The header of the info record. Stands on disk: may never change.
pub const HEADER_INFO: &str = "x-amz-meta-sealgate-info";
/// The header of the tags. Stands on disk: may never change.
pub const HEADER_MAC: &str = "x-amz-meta-sealgate-mac";

/// The three encodings as they stand in the metadata, before any parsing: a tag covers what was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The encoding of an [`Envelope`].
    pub envelope: Vec<u8>,
    /// The encoding of an [`Info`].
    pub info: Vec<u8>,
    /// The encoding of a [`MacList`].
    pub mac: Vec<u8>,
}

impl Record {
    /// Finds the record among an object's headers, whose names may be in any case. None where the
    /// object has no record at all.
    ///
    /// # Errors
    ///
    /// [`RecordError`] where only a part of it is there, or a part twice, or not in base64url.
    pub fn from_headers<N, V>(
        headers: impl IntoIterator<Item = (N, V)>,
    ) -> Result<Option<Self>, RecordError>
    where
        N: AsRef<str>,
        V: AsRef<[u8]>,
    {
        const NAMES: [&str; 3] = [HEADER_ENVELOPE, HEADER_INFO, HEADER_MAC];
        let mut found: [Option<V>; 3] = [None, None, None];
        for (name, value) in headers {
            let position = NAMES
                .into_iter()
                .position(|known| name.as_ref().eq_ignore_ascii_case(known));
            let Some(at) = position else { continue };
            if found[at].replace(value).is_some() {
                return Err(RecordError::Twice(NAMES[at]));
            }
        }
        match found {
            [None, None, None] => Ok(None),
            [Some(envelope), Some(info), Some(mac)] => {
                Self::from_header_values(envelope, info, mac).map(Some)
            }
            [None, ..] => Err(RecordError::Missing(HEADER_ENVELOPE)),
            [_, None, _] => Err(RecordError::Missing(HEADER_INFO)),
            [.., None] => Err(RecordError::Missing(HEADER_MAC)),
        }
    }

    /// Reads the record from the three headers' values.
    ///
    /// # Errors
    ///
    /// [`RecordError::Base64`].
    pub fn from_header_values<V: AsRef<[u8]>>(
        envelope: V,
        info: V,
        mac: V,
    ) -> Result<Self, RecordError> {
        let decode = |name, value: V| {
            URL_SAFE_NO_PAD
                .decode(value)
                .map_err(|_| RecordError::Base64(name))
        };
        Ok(Self {
            envelope: decode(HEADER_ENVELOPE, envelope)?,
            info: decode(HEADER_INFO, info)?,
            mac: decode(HEADER_MAC, mac)?,
        })
    }

    /// The values of the three headers: envelope, info, mac.
    #[must_use]
    pub fn header_values(&self) -> [String; 3] {
        [&self.envelope, &self.info, &self.mac].map(|bytes| URL_SAFE_NO_PAD.encode(bytes))
    }

    /// The headers to write, names and values.
    #[must_use]
    pub fn to_headers(&self) -> [(&'static str, String); 3] {
        let [envelope, info, mac] = self.header_values();
        [
            (HEADER_ENVELOPE, envelope),
            (HEADER_INFO, info),
            (HEADER_MAC, mac),
        ]
    }
}

/// What a record says once it has been verified and opened.
#[derive(Debug, Clone)]
pub struct Opened {
    /// The object's data key.
    pub dek: Dek,
    /// The envelope; its object id must be that of the preamble.
    pub envelope: Envelope,
    /// The info record.
    pub info: Info,
}

/// Wraps a data key for the newest version of each named key (none named: the current one), and
/// vouches for the object at this bucket and key. `bucket` is the bucket's logical name.
///
/// A copy or a rewrap opens the old record and seals a new one with the same key and id.
///
/// # Errors
///
/// [`SealRecordError`].
pub async fn seal_record(
    keyring: &Keyring,
    recipients: &[KeyId],
    dek: &Dek,
    object_id: ObjectId,
    bucket: &str,
    key: &str,
    info: &Info,
) -> Result<Record, SealRecordError> {
    let keys = writing_keys(keyring, recipients)?;
    let pairs = context(&object_id, bucket, key);
    let mut envelope = Envelope {
        object_id,
        recipients: Vec::with_capacity(keys.len()),
    };
    for key in &keys {
        envelope.recipients.push(Recipient {
            kind: key.kind(),
            key_id: key.id().clone(),
            key_version: key.version(),
            wrapped: key.wrap(dek, Context(&pairs)).await?,
        });
    }
    let (envelope, info) = (envelope.encode()?, info.encode().to_vec());
    let message = binding_message(bucket, key, &envelope, &info);
    let mut tags = Vec::with_capacity(keys.len());
    for (index, key) in (0..).zip(&keys) {
        if let Some(tag) = key.tag(&message).await? {
            tags.push((index, tag));
        }
    }
    let mac = MacList::new(tags)
        .map_err(|_| SealRecordError::NoTag)?
        .encode();
    Ok(Record {
        envelope,
        info,
        mac,
    })
}

/// The keys that a write for these recipients wraps with.
fn writing_keys<'a>(
    keyring: &'a Keyring,
    recipients: &[KeyId],
) -> Result<Vec<&'a Arc<dyn KeyEncryptionKey>>, SealRecordError> {
    let recipients = match recipients {
        [] => std::slice::from_ref(keyring.current_id()),
        named => named,
    };
    let newest = |id: &KeyId| {
        let key = keyring.newest(id);
        key.ok_or_else(|| SealRecordError::UnknownKey(id.clone()))
    };
    recipients.iter().map(newest).collect()
}

/// In what an envelope differs from the one that a write for these recipients makes now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outdated {
    /// The same keys, but not all in their newest version.
    KeyVersion,
    /// Other keys, or in another order.
    Recipients,
}

/// Compares an envelope with the one that [`seal_record`] makes now. None where they are for the same keys.
///
/// # Errors
///
/// [`SealRecordError::UnknownKey`].
pub fn outdated(
    keyring: &Keyring,
    recipients: &[KeyId],
    envelope: &Envelope,
) -> Result<Option<Outdated>, SealRecordError> {
    let keys = writing_keys(keyring, recipients)?;
    let pairs = || keys.iter().zip(&envelope.recipients);
    let same_names = keys.len() == envelope.recipients.len()
        && pairs().all(|(key, old)| (key.kind(), key.id()) == (old.kind, &old.key_id));
    let same_versions = pairs().all(|(key, old)| key.version() == old.key_version);
    Ok(match (same_names, same_versions) {
        (true, true) => None,
        (true, false) => Some(Outdated::KeyVersion),
        (false, _) => Some(Outdated::Recipients),
    })
}

/// Verifies that a record belongs at this bucket and key, then unwraps its data key: the first
/// recipient whose key is at hand and that has a tag is used. `bucket` is the bucket's logical name.
///
/// # Errors
///
/// [`OpenRecordError`].
pub async fn open_record(
    keyring: &Keyring,
    record: &Record,
    bucket: &str,
    key: &str,
) -> Result<Opened, OpenRecordError> {
    let envelope = Envelope::decode(&record.envelope)?;
    let info = Info::decode(&record.info)?;
    let macs = MacList::decode(&record.mac, envelope.recipients.len())?;
    let (recipient, unwrapper, tag) = choose(keyring, &envelope, &macs)?;
    let message = binding_message(bucket, key, &record.envelope, &record.info);
    unwrapper
        .verify(&message, tag)
        .await
        .map_err(|error| match error {
            KeyError::NotAuthentic => OpenRecordError::Binding,
            other => OpenRecordError::Key(other),
        })?;
    let pairs = context(&envelope.object_id, bucket, key);
    let dek = unwrapper
        .unwrap(&recipient.wrapped, Context(&pairs))
        .await?;
    Ok(Opened {
        dek,
        envelope,
        info,
    })
}

fn choose<'a>(
    keyring: &'a Keyring,
    envelope: &'a Envelope,
    macs: &'a MacList,
) -> Result<(&'a Recipient, &'a dyn KeyEncryptionKey, &'a [u8; 32]), OpenRecordError> {
    let mut untagged = None;
    let mut chosen = None;
    for (index, recipient) in envelope.recipients.iter().enumerate() {
        let tag = macs.tag(index);
        if tag.is_none() && recipient.kind == RecipientKind::Local {
            return Err(OpenRecordError::NoTag(index));
        }
        let key = keyring.find(recipient.kind, &recipient.key_id, recipient.key_version);
        match (key, tag) {
            (Some(key), Some(tag)) if chosen.is_none() => {
                chosen = Some((recipient, key.as_ref(), tag));
            }
            (Some(_), None) => untagged = Some(index),
            _ => {}
        }
    }
    chosen.ok_or(match untagged {
        Some(index) => OpenRecordError::NoTag(index),
        None => OpenRecordError::NoKey,
    })
}

/// What key kinds that bind on their own side are given. Stands on disk by what they make of it: may
/// never change.
fn context<'a>(object_id: &'a ObjectId, bucket: &'a str, key: &'a str) -> [(&'a str, &'a [u8]); 3] {
    [
        ("sealgate-object-id", object_id.as_bytes()),
        ("sealgate-bucket", bucket.as_bytes()),
        ("sealgate-key", key.as_bytes()),
    ]
}

/// Headers that hold no whole record. Objects like that were tampered with, or broken by another tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// Some of the headers are there, but not this one.
    #[error("the object lacks the header {0}")]
    Missing(&'static str),
    /// A header is there twice.
    #[error("the object has the header {0} twice")]
    Twice(&'static str),
    /// A header is not base64url without padding.
    #[error("the header {0} is not base64url without padding")]
    Base64(&'static str),
}

/// A record that cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealRecordError {
    /// A recipient names a key that the keyring does not have.
    #[error("there is no key named {0}")]
    UnknownKey(KeyId),
    /// The recipients make no envelope: too many, one twice, or too long.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// No recipient vouches for the object.
    #[error("none of the recipients can vouch for the object")]
    NoTag,
    /// A key could not be used.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// A record that cannot be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenRecordError {
    /// The envelope cannot be used.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// The info record cannot be used.
    #[error(transparent)]
    Info(#[from] InfoError),
    /// The tags cannot be used.
    #[error(transparent)]
    Mac(#[from] MacError),
    /// A recipient that must have a tag has none.
    #[error("no key vouches for recipient {0}")]
    NoTag(usize),
    /// No recipient's key is in the keyring.
    #[error("none of the object's keys is in the keyring")]
    NoKey,
    /// The tag is not that of this place, envelope and info: something was moved or changed.
    #[error("the object does not belong at this bucket and key, or its envelope was changed")]
    Binding,
    /// A key could not be used.
    #[error(transparent)]
    Key(#[from] KeyError),
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::sync::Arc;

    use super::*;
    use crate::keys::LocalKey;

    const ID: ObjectId = ObjectId([7; 16]);

    fn id(name: &str) -> KeyId {
        KeyId::new(name).unwrap()
    }

    fn keyring(keys: &[(&str, u32)]) -> Keyring {
        let make = |&(name, version): &(&str, u32)| {
            let number = NonZeroU32::new(version).unwrap();
            let bytes = [name.as_bytes()[0] ^ version as u8; 32];
            Arc::new(LocalKey::new(id(name), number, &bytes)) as Arc<dyn KeyEncryptionKey>
        };
        Keyring::new(keys.iter().map(make), id(keys[0].0)).unwrap()
    }

    async fn seal(keyring: &Keyring, recipients: &[&str]) -> Record {
        let recipients: Vec<KeyId> = recipients.iter().map(|name| id(name)).collect();
        let info = Info {
            plaintext_len: Some(5),
            ..Info::default()
        };
        let dek = Dek::new([9; 32]);
        seal_record(keyring, &recipients, &dek, ID, "bucket", "key", &info)
            .await
            .unwrap()
    }

    async fn open(keyring: &Keyring, record: &Record) -> Result<Opened, OpenRecordError> {
        open_record(keyring, record, "bucket", "key").await
    }

    #[tokio::test]
    async fn opens_where_it_belongs_and_nowhere_else() {
        let keyring = keyring(&[("a", 1), ("a", 2)]);
        let record = seal(&keyring, &[]).await;
        let opened = open(&keyring, &record).await.unwrap();
        assert_eq!(opened.dek.expose(), &[9; 32]);
        assert_eq!(opened.envelope.object_id, ID);
        assert_eq!(opened.info.plaintext_len, Some(5));
        assert_eq!(opened.envelope.recipients[0].key_version.get(), 2);
        for (bucket, key) in [("bucket", "kez"), ("bucke", "tkey"), ("Bucket", "key")] {
            let moved = open_record(&keyring, &record, bucket, key).await;
            assert_eq!(moved.unwrap_err(), OpenRecordError::Binding);
        }
    }

    #[tokio::test]
    async fn any_recipient_opens_it() {
        let both = keyring(&[("a", 1), ("b", 1)]);
        let record = seal(&both, &["a", "b"]).await;
        for name in ["a", "b"] {
            assert!(open(&keyring(&[(name, 1)]), &record).await.is_ok());
        }
        for other in [("c", 1), ("a", 2)] {
            let refused = open(&keyring(&[other]), &record).await.unwrap_err();
            assert_eq!(refused, OpenRecordError::NoKey);
        }
    }

    #[tokio::test]
    async fn every_flipped_byte_is_refused() {
        let keyring = keyring(&[("a", 1)]);
        let record = seal(&keyring, &[]).await;
        for part in 0..3 {
            let len = [&record.envelope, &record.info, &record.mac][part].len();
            for at in 0..len {
                let mut changed = record.clone();
                let bytes = match part {
                    0 => &mut changed.envelope,
                    1 => &mut changed.info,
                    _ => &mut changed.mac,
                };
                bytes[at] ^= 1;
                assert!(open(&keyring, &changed).await.is_err(), "{part} {at}");
            }
        }
    }

    #[tokio::test]
    async fn a_local_recipient_without_a_tag_is_refused() {
        let both = keyring(&[("a", 1), ("b", 1)]);
        let mut record = seal(&both, &["a", "b"]).await;
        let macs = MacList::decode(&record.mac, 2).unwrap();
        for missing in [0usize, 1] {
            let kept = 1 - missing;
            let tags = vec![(kept as u8, *macs.tag(kept).unwrap())];
            record.mac = MacList::new(tags).unwrap().encode();
            let refused = open(&both, &record).await.unwrap_err();
            assert_eq!(refused, OpenRecordError::NoTag(missing));
        }
    }

    #[tokio::test]
    async fn parts_of_two_records_do_not_mix() {
        let keyring = keyring(&[("a", 1)]);
        let one = seal(&keyring, &[]).await;
        let dek = Dek::new([8; 32]);
        let info = Info::default();
        let two = seal_record(&keyring, &[], &dek, ID, "bucket", "key", &info)
            .await
            .unwrap();
        for mixed in [
            Record {
                envelope: two.envelope.clone(),
                ..one.clone()
            },
            Record {
                info: two.info.clone(),
                ..one.clone()
            },
            Record {
                mac: two.mac.clone(),
                ..one.clone()
            },
        ] {
            let refused = open(&keyring, &mixed).await.unwrap_err();
            assert_eq!(refused, OpenRecordError::Binding);
        }
    }

    #[tokio::test]
    async fn recipients_that_make_no_envelope() {
        let keyring = keyring(&[("a", 1)]);
        let dek = Dek::new([8; 32]);
        let seal = async |recipients: &[KeyId]| {
            seal_record(&keyring, recipients, &dek, ID, "b", "k", &Info::default())
                .await
                .unwrap_err()
        };
        assert_eq!(seal(&[id("x")]).await, SealRecordError::UnknownKey(id("x")));
        assert_eq!(
            seal(&[id("a"), id("a")]).await,
            SealRecordError::Envelope(EnvelopeError::Duplicate)
        );
    }

    #[tokio::test]
    async fn headers_round_trip_and_are_strict() {
        let record = seal(&keyring(&[("a", 1)]), &[]).await;
        let headers = record.to_headers();
        let all = || headers.iter().map(|(name, value)| (*name, value.as_str()));
        assert_eq!(Record::from_headers(all()), Ok(Some(record)));
        assert_eq!(Record::from_headers([("content-type", "x")]), Ok(None));
        let upper = headers.each_ref().map(|(name, _)| name.to_uppercase());
        for (missing, (name, value)) in headers.iter().enumerate() {
            let some = all().enumerate().filter(|(at, _)| *at != missing);
            assert_eq!(
                Record::from_headers(some.map(|(_, header)| header)),
                Err(RecordError::Missing(name))
            );
            let twice = all().chain([(upper[missing].as_str(), value.as_str())]);
            assert_eq!(Record::from_headers(twice), Err(RecordError::Twice(name)));
        }
        for bad in ["AA==", "A", "AB", "A+", "A A"] {
            assert_eq!(
                Record::from_header_values("AA", "AA", bad),
                Err(RecordError::Base64(HEADER_MAC))
            );
        }
    }
}
