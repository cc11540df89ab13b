//! Sealgate format 1 as the serving path meets it: metadata, stored length and footer in, a
//! verified description of the object out. Implements section 10 of the specification, steps 1 to 5.

use http::HeaderMap;

use super::Integrity;
use crate::aead::{self, ChecksumAlgorithm};
use crate::aead::{CipherError, Core, Dek, Engine, FOOTER_LEN, Footer, Layout, ObjectId, Opener};
use crate::envelope::{self, Info, OpenRecordError, Record, RecordError};
use crate::keys::Keyring;
use crate::protocol::checksum::{Algorithm, Checksum};

/// What an object's metadata claims: a record, or nothing (then it is not sealed, or was stripped).
///
/// # Errors
/// [`Integrity::MetadataStripped`] where only some headers are there, [`Integrity::MetadataMalformed`]
/// where one cannot be decoded.
pub fn claim(headers: &HeaderMap) -> Result<Option<Record>, Integrity> {
    Record::from_headers(pairs(headers)).map_err(|error| match error {
        RecordError::Missing(_) => Integrity::MetadataStripped,
        _ => Integrity::MetadataMalformed,
    })
}

/// A sealed object whose envelope has been verified and opened.
pub struct Opened {
    /// The object's key.
    pub dek: Dek,
    /// Identity of the bytes.
    pub object_id: ObjectId,
    /// What was known before the body.
    pub info: Info,
}

/// Verifies the binding and opens the envelope (steps 2 and 3). Nothing of the body is needed. Bound headers
/// are checked where `headers` are given.
///
/// # Errors
/// The [`Integrity`] kind, or a key service's failure.
pub async fn open_envelope(
    keyring: &Keyring,
    record: &Record,
    bound_bucket: &str,
    key: &str,
    headers: Option<&HeaderMap>,
) -> Result<Opened, EnvelopeFailure> {
    let opened = envelope::open_record(keyring, record, bound_bucket, key)
        .await
        .map_err(EnvelopeFailure::from)?;
    if let Some(headers) = headers {
        opened
            .info
            .verify_metadata(pairs(headers))
            .map_err(|_| Integrity::BoundHeaders)?;
    }
    Ok(Opened {
        dek: opened.dek,
        object_id: opened.envelope.object_id,
        info: opened.info,
    })
}

/// An object that is refused, or a key service that failed: the caller tells them apart.
#[derive(Debug, thiserror::Error)]
pub enum EnvelopeFailure {
    /// The object is refused.
    #[error(transparent)]
    Integrity(#[from] Integrity),
    /// A key could not be used just now.
    #[error(transparent)]
    Key(crate::keys::KeyError),
}

impl From<OpenRecordError> for EnvelopeFailure {
    fn from(error: OpenRecordError) -> Self {
        match error {
            OpenRecordError::NoKey => Integrity::NoKey.into(),
            OpenRecordError::Binding | OpenRecordError::NoTag(_) => Integrity::Binding.into(),
            // The tag verified, so this key wrapped it: a key service's refusal, or a fault of its own.
            OpenRecordError::Key(error) => Self::Key(error),
            _ => Integrity::MetadataMalformed.into(),
        }
    }
}

/// Digest over the bound headers among `headers`.
pub fn bound_digest(headers: &HeaderMap) -> [u8; 32] {
    envelope::metadata_digest(pairs(headers))
}

/// Headers as names and raw values.
fn pairs(headers: &HeaderMap) -> impl Iterator<Item = (&str, &[u8])> {
    headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_bytes()))
}

/// A sealed object, verified up to its footer.
pub struct Sealed {
    /// The object's key, identity and early facts.
    pub opened: Opened,
    /// The footer's verified content.
    pub footer: Footer,
    /// The footer as stored.
    pub footer_bytes: [u8; FOOTER_LEN],
    /// Lengths.
    pub layout: Layout,
    core: Core,
}

/// Opens the footer and checks it against everything else that is known (steps 4 and 5).
///
/// # Errors
/// [`Integrity::Footer`] or [`Integrity::Length`].
pub fn open_footer(
    engine: Engine,
    opened: Opened,
    footer_bytes: [u8; FOOTER_LEN],
    stored_len: u64,
) -> Result<Sealed, Integrity> {
    let footer = Footer::open(engine, &opened.dek, &opened.object_id, &footer_bytes)
        .map_err(|_| Integrity::Footer)?;
    let layout = footer.layout(stored_len).map_err(|_| Integrity::Length)?;
    if footer
        .core_plaintext_len
        .is_some_and(|len| len != footer.plaintext_len)
        || opened
            .info
            .plaintext_len
            .is_some_and(|len| len != footer.plaintext_len)
    {
        return Err(Integrity::Length);
    }
    opened
        .info
        .verify_footer(&footer)
        .map_err(|_| Integrity::Footer)?;
    let core = footer.core(&opened.dek, opened.object_id);
    Ok(Sealed {
        opened,
        footer,
        footer_bytes,
        layout,
        core,
    })
}

impl Sealed {
    /// Opens this object's segments. The commitment is part of the associated data, and the core was
    /// rebuilt from the key, so a stream under another key cannot open.
    ///
    /// # Errors
    /// [`CipherError`] where the cipher engine fails.
    pub fn opener(&self, engine: Engine) -> Result<Opener, CipherError> {
        Opener::new(
            engine,
            &self.opened.dek,
            &self.footer.header,
            self.footer.segment_size,
            &self.core.encode(),
        )
    }

    /// The checksum that the writer gave, in the protocol's terms.
    pub fn checksum(&self) -> Option<Checksum> {
        let stored = self.footer.checksum?;
        let algorithm = match stored.algorithm() {
            ChecksumAlgorithm::Crc32 => Algorithm::Crc32,
            ChecksumAlgorithm::Crc32c => Algorithm::Crc32c,
            ChecksumAlgorithm::Crc64Nvme => Algorithm::Crc64Nvme,
            ChecksumAlgorithm::Sha1 => Algorithm::Sha1,
            ChecksumAlgorithm::Sha256 => Algorithm::Sha256,
        };
        Checksum::from_bytes(algorithm, stored.value())
    }
}

/// A verified checksum as the footer holds it.
pub fn footer_checksum(checksum: &Checksum) -> Option<aead::Checksum> {
    let algorithm = match checksum.algorithm() {
        Algorithm::Crc32 => ChecksumAlgorithm::Crc32,
        Algorithm::Crc32c => ChecksumAlgorithm::Crc32c,
        Algorithm::Crc64Nvme => ChecksumAlgorithm::Crc64Nvme,
        Algorithm::Sha1 => ChecksumAlgorithm::Sha1,
        Algorithm::Sha256 => ChecksumAlgorithm::Sha256,
    };
    aead::Checksum::new(algorithm, checksum.as_bytes()).ok()
}
