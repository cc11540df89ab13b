//! Sealgate format 1 as the serving path meets it: metadata, stored length and footer in, a
//! verified description of the object out. Implements section 10 of the specification, steps 1 to 5.

use http::HeaderMap;

use super::Integrity;
use super::parts::{Place, Table};
use crate::aead::{
    self, ChecksumAlgorithm, ChecksumType, Dek, Engine, FOOTER_LEN, Footer, Layout, ObjectId,
    PartEntry, Role,
};
use crate::envelope::{self, Info, OpenRecordError, Record, RecordError};
use crate::keys::Keyring;
use crate::protocol::checksum::{Algorithm, Checksum};
use crate::pump::{Begin, End, Plan, Stream};

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
    /// Bytes of the stored object.
    pub stored_len: u64,
    /// Whether it is one stream or several.
    pub shape: Shape,
}

/// How the content stands in the object.
pub enum Shape {
    /// One stream.
    Stream(Layout),
    /// One stream for each part, and a table of them.
    Parts(Box<Table>),
}

/// Opens the footer and checks it against everything else that is known (steps 4 and 5).
///
/// # Errors
/// [`Integrity::Footer`] or [`Integrity::Length`]. Of an object in parts whose sizes differ, the length
/// is known for sure only once its table has been read: [`Sealed::read_table`].
pub fn open_footer(
    engine: Engine,
    opened: Opened,
    footer_bytes: [u8; FOOTER_LEN],
    stored_len: u64,
) -> Result<Sealed, Integrity> {
    let footer = Footer::open(engine, &opened.dek, &opened.object_id, &footer_bytes)
        .map_err(|_| Integrity::Footer)?;
    let shape = match footer.parts {
        None => Shape::Stream(footer.layout(stored_len).map_err(|_| Integrity::Length)?),
        Some(parts) => {
            footer
                .verify_stored_len(stored_len)
                .map_err(|_| Integrity::Length)?;
            let table = Table::new(engine, &opened, &footer, parts, stored_len)?;
            Shape::Parts(Box::new(table))
        }
    };
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
    Ok(Sealed {
        opened,
        footer,
        footer_bytes,
        stored_len,
        shape,
    })
}

impl Sealed {
    /// The table of an object in parts.
    pub fn parts(&self) -> Option<&Table> {
        match &self.shape {
            Shape::Stream(_) => None,
            Shape::Parts(table) => Some(table),
        }
    }

    /// Takes the stored bytes of the part table.
    ///
    /// # Errors
    /// [`Integrity::PartTable`] or [`Integrity::Length`].
    pub fn read_table(&mut self, stored: &[u8]) -> Result<(), Integrity> {
        match &mut self.shape {
            Shape::Stream(_) => Ok(()),
            Shape::Parts(table) => table.read(&self.footer, stored, self.stored_len),
        }
    }

    /// How to open the whole object, whose table has been read where it is one in parts.
    ///
    /// # Errors
    /// [`Integrity::PartTable`] where the table has not been read.
    pub fn plan(&self, engine: Engine) -> Result<Plan, Integrity> {
        let (streams, table) = match &self.shape {
            Shape::Stream(_) => (vec![self.stream()], None),
            Shape::Parts(table) => {
                let (entries, digest) = table.entries().ok_or(Integrity::PartTable)?;
                let len = table.parts.table_len;
                (
                    entries.iter().map(Stream::from).collect(),
                    Some((len, *digest)),
                )
            }
        };
        let end = End::Object {
            table,
            footer: Box::new(self.footer_bytes),
        };
        Ok(Plan {
            streams,
            begin: Begin::Preamble,
            end,
            start: 0,
            len: self.footer.plaintext_len,
            ..self.empty_plan(engine)
        })
    }

    /// Where a range of the plaintext stands, which must not be empty and lie within it; none where
    /// that takes the table.
    pub fn place(&self, plaintext: std::ops::Range<u64>) -> Option<Place> {
        match &self.shape {
            Shape::Stream(layout) => {
                let segments = layout.segments_of(plaintext.clone());
                Some(Place {
                    parts: 0..1,
                    offset: 0,
                    begin: Begin::Segment(segments.start),
                    last: segments.end.saturating_sub(1),
                    start: plaintext.start,
                    len: plaintext.end - plaintext.start,
                    stored: layout.stored_range(segments),
                })
            }
            Shape::Parts(table) => table.place(&self.footer, plaintext),
        }
    }

    /// How to open a range. Of an object in parts, `entries` are those of its parts.
    ///
    /// # Errors
    /// [`Integrity::PartTable`] where the entries are not those that the place was made for.
    pub fn plan_range(
        &self,
        engine: Engine,
        place: &Place,
        entries: &[PartEntry],
    ) -> Result<Plan, Integrity> {
        let streams: Vec<Stream> = match &self.shape {
            Shape::Stream(_) => vec![self.stream()],
            Shape::Parts(table) => {
                table.check(&self.footer, place, entries)?;
                entries.iter().map(Stream::from).collect()
            }
        };
        Ok(Plan {
            streams,
            begin: place.begin,
            end: End::Segment(place.last),
            start: place.start,
            len: place.len,
            ..self.empty_plan(engine)
        })
    }

    fn empty_plan(&self, engine: Engine) -> Plan {
        Plan {
            engine,
            dek: self.opened.dek.clone(),
            object_id: self.opened.object_id,
            segment_size: self.footer.segment_size,
            streams: Vec::new(),
            begin: Begin::Preamble,
            end: End::Segment(0),
            preamble_digest: self.footer.preamble_digest,
            start: 0,
            len: 0,
        }
    }

    /// The only stream of an object that is not in parts. The commitment is part of its core, which is
    /// rebuilt from the key, so a stream under another key cannot open.
    fn stream(&self) -> Stream {
        Stream {
            role: Role::Single,
            plaintext_len: self.footer.plaintext_len,
            declared: self.footer.core_plaintext_len.is_some(),
            header: Some(self.footer.header),
        }
    }

    /// The checksum that the writer gave, in the protocol's terms.
    pub fn checksum(&self) -> Option<Checksum> {
        protocol_checksum(&self.footer.checksum?)
    }

    /// Of a composite checksum, the number of parts that it is made of.
    pub fn composite_of(&self) -> Option<u16> {
        let composite = self.footer.checksum_type == ChecksumType::Composite;
        self.footer
            .parts
            .filter(|_| composite)
            .map(|parts| parts.count)
    }
}

/// A checksum of a footer or a part table, in the protocol's terms.
pub fn protocol_checksum(stored: &aead::Checksum) -> Option<Checksum> {
    Checksum::from_bytes(protocol_algorithm(stored.algorithm()), stored.value())
}

/// A checksum algorithm in the protocol's terms.
pub fn protocol_algorithm(stored: ChecksumAlgorithm) -> Algorithm {
    match stored {
        ChecksumAlgorithm::Crc32 => Algorithm::Crc32,
        ChecksumAlgorithm::Crc32c => Algorithm::Crc32c,
        ChecksumAlgorithm::Crc64Nvme => Algorithm::Crc64Nvme,
        ChecksumAlgorithm::Sha1 => Algorithm::Sha1,
        ChecksumAlgorithm::Sha256 => Algorithm::Sha256,
    }
}

/// A checksum algorithm as the footer names it.
pub fn footer_algorithm(algorithm: Algorithm) -> ChecksumAlgorithm {
    match algorithm {
        Algorithm::Crc32 => ChecksumAlgorithm::Crc32,
        Algorithm::Crc32c => ChecksumAlgorithm::Crc32c,
        Algorithm::Crc64Nvme => ChecksumAlgorithm::Crc64Nvme,
        Algorithm::Sha1 => ChecksumAlgorithm::Sha1,
        Algorithm::Sha256 => ChecksumAlgorithm::Sha256,
    }
}

/// A verified checksum as the footer holds it.
pub fn footer_checksum(checksum: &Checksum) -> Option<aead::Checksum> {
    aead::Checksum::new(footer_algorithm(checksum.algorithm()), checksum.as_bytes()).ok()
}
