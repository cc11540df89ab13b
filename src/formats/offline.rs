//! Opens a sealed object from a raw copy of its bytes: no store, no metadata, no server.
//!
//! [`inspect`] tells what an object says of itself without any key. [`open`] recovers the plaintext,
//! given the keyring: it proves that the content is whole and was sealed by a holder of its data key.
//! It cannot prove where the object was stored, since the record that says so is in the metadata.

use std::fmt;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};

use super::hashes::{Hashes, WrongSum};
use super::{SumsError, verify_sums};
use crate::aead::{
    ChecksumAlgorithm, ChecksumType, CipherError, CommitmentError, Core, Dek, Engine, Etag,
    FOOTER_LEN, FORMAT_VERSION, Footer, FooterError, HeaderError, Layout, LayoutError,
    MismatchError, OpenError as SegmentError, Opener, PREAMBLE_LEN, PartEntry, PartTable, Preamble,
    PreambleError, Role, STREAM_HEADER_LEN, SUITE, StreamHeader, TableError,
};
use crate::envelope::{Envelope, EnvelopeError};
use crate::keys::{Context, KeyError, Keyring};

/// Bytes that are read at once, at least.
const READ_LEN: usize = 256 * 1024;

/// What an object says of itself. Nothing of it is authenticated.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Inspection {
    /// The preamble's core.
    pub core: Core,
    /// Bytes of the stored object.
    pub stored_len: u64,
    /// Its layout, or why no object can be that long. Of an object in parts, that of the first part.
    pub layout: Result<Layout, LayoutError>,
    /// The envelope in the preamble, as first written: none where it has none, or why it cannot be used.
    pub envelope: Result<Option<Envelope>, EnvelopeError>,
    /// What is wrong with the footer, as far as can be told without its key.
    pub footer: Result<(), FooterError>,
    /// Stored bytes of the part table that the footer names; none where it names none.
    pub table_len: Option<u32>,
}

/// One fact a line, for humans.
impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "format version    {FORMAT_VERSION}")?;
        writeln!(
            f,
            "suite             {SUITE} (AES256-GCM-HKDF-SHA256, Tink streaming)"
        )?;
        writeln!(f, "object id         {}", self.core.object_id)?;
        writeln!(f, "segment size      {}", self.core.segment_size)?;
        writeln!(f, "stored length     {}", self.stored_len)?;
        match &self.layout {
            Ok(layout) if matches!(self.core.role, Role::Part(_)) => {
                if let Role::Part(number) = self.core.role {
                    writeln!(f, "first part        {number}")?;
                }
                writeln!(f, "its length        {}", layout.plaintext_len())?;
                if let Some(len) = self.table_len {
                    writeln!(f, "part table        {len} bytes")?;
                }
            }
            Ok(layout) => {
                writeln!(f, "plaintext length  {}", layout.plaintext_len())?;
                writeln!(f, "segments          {}", layout.segments())?;
            }
            Err(error) => writeln!(f, "plaintext length  unknown: {error}")?,
        }
        match &self.envelope {
            Ok(None) => writeln!(f, "recipients        none in the preamble")?,
            Ok(Some(envelope)) => {
                for recipient in &envelope.recipients {
                    let (id, version) = (&recipient.key_id, recipient.key_version);
                    writeln!(f, "recipient         {} {id} {version}", recipient.kind)?;
                }
            }
            Err(error) => writeln!(f, "recipients        unknown: {error}")?,
        }
        match &self.footer {
            Ok(()) => write!(f, "footer            present"),
            Err(error) => write!(f, "footer            {error}"),
        }
    }
}

/// What was recovered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovered {
    /// The preamble's core; of an object in parts, that of the first part.
    pub core: Core,
    /// The footer. Its ETag and checksum, where it has them, are those of the plaintext.
    pub footer: Footer,
}

/// Reads what an object says of itself. Needs no key and authenticates nothing.
///
/// # Errors
///
/// [`OfflineError::Io`]; [`OfflineError::Preamble`] where it is not a sealed object, or not one of a
/// version that is known here.
pub fn inspect(mut reader: impl Read + Seek) -> Result<Inspection, OfflineError> {
    let stored_len = reader.seek(SeekFrom::End(0))?;
    let preamble = Preamble::decode(&read_preamble(&mut reader)?)?;
    let footer = read_footer(&mut reader, stored_len)?;
    Ok(Inspection {
        core: preamble.core,
        stored_len,
        layout: match (preamble.core.role, preamble.core.plaintext_len) {
            (Role::Part(_), Some(len)) => {
                Layout::from_plaintext_len(preamble.core.segment_size, len)
            }
            _ => preamble.core.layout(stored_len),
        },
        envelope: match preamble.envelope.as_slice() {
            [] => Ok(None),
            bytes => Envelope::decode(bytes).map(Some),
        },
        table_len: footer.and_then(|bytes| Footer::clear_table_len(&bytes)),
        footer: footer
            .ok_or(FooterError::Missing)
            .and_then(|bytes| Footer::check_clear(&bytes)),
    })
}

/// Recovers an object's plaintext from its raw bytes, in memory of about two segments, and the part table
/// of an object in parts.
///
/// Nothing that is not authenticated is written. On an error, what was written before is a true
/// beginning of the plaintext and no more. Reader and writer block: call it where that does no harm.
///
/// # Errors
///
/// [`OfflineError`].
pub async fn open<R, W>(reader: R, keyring: &Keyring, writer: W) -> Result<Recovered, OfflineError>
where
    R: Read + Seek,
    W: Write,
{
    let mut reader = BufReader::with_capacity(READ_LEN, reader);
    let stored_len = reader.seek(SeekFrom::End(0))?;
    let preamble_bytes = read_preamble(&mut reader)?;
    let preamble = Preamble::decode(&preamble_bytes)?;
    let footer_bytes = read_footer(&mut reader, stored_len)?.ok_or(FooterError::Missing)?;
    Footer::check_clear(&footer_bytes)?;
    let core = preamble.core;
    if core.role == Role::Single {
        core.layout(stored_len)?;
    }

    let dek = unwrap(keyring, &preamble).await?;
    core.verify_commitment(&dek)?;
    let footer = Footer::open(Engine::default(), &dek, &core.object_id, &footer_bytes)?;
    footer.verify_preamble(&preamble_bytes)?;
    let mut object = Object {
        reader,
        writer,
        dek,
        core,
        footer,
        buffer: vec![0; core.segment_size.sealed_capacity(1)],
    };
    match core.role {
        Role::Part(_) => object.parts(stored_len)?,
        _ => object.single(stored_len)?,
    }
    object.writer.flush()?;
    Ok(Recovered { core, footer })
}

/// An object whose key and footer are known, on its way from reader to writer.
struct Object<R, W> {
    reader: R,
    writer: W,
    dek: Dek,
    /// The core of the preamble that the object begins with.
    core: Core,
    footer: Footer,
    /// Has the segment size.
    buffer: Vec<u8>,
}

impl<R: Read + Seek, W: Write> Object<R, W> {
    fn single(&mut self, stored_len: u64) -> Result<(), OfflineError> {
        let layout = self.footer.layout(stored_len)?;
        self.reader.seek(SeekFrom::Start(PREAMBLE_LEN as u64))?;
        let header = self.header()?;
        self.footer.verify_header(&header)?;
        let md5 = match self.footer.etag {
            Etag::Md5(md5) => Some(md5),
            _ => None,
        };
        let mut hashes = Hashes::new(md5, self.footer.checksum);
        let core = self.core;
        self.stream(&core, &header, &layout, &mut [&mut hashes])?;
        Ok(hashes.verify()?)
    }

    fn parts(&mut self, stored_len: u64) -> Result<(), OfflineError> {
        let full = self.footer.checksum_type == ChecksumType::FullObject;
        let mut whole = Hashes::new(None, self.footer.checksum.filter(|_| full));
        let entries = self.table(stored_len)?;
        self.reader.seek(SeekFrom::Start(0))?;
        for entry in &entries {
            let core = self.part_core(entry)?;
            let header = self.header()?;
            if entry.header.is_some_and(|pinned| pinned != header) {
                return Err(MismatchError::StreamHeader.into());
            }
            let layout = entry.layout(core.segment_size)?;
            let mut hashes = Hashes::new(entry.md5, entry.checksum);
            self.stream(&core, &header, &layout, &mut [&mut hashes, &mut whole])?;
            hashes.verify()?;
        }
        Ok(whole.verify()?)
    }

    /// The part table, checked against footer and length.
    fn table(&mut self, stored_len: u64) -> Result<Vec<PartEntry>, OfflineError> {
        let (core, footer) = (&self.core, &self.footer);
        let parts = footer.parts.ok_or(MismatchError::Preamble)?;
        let behind = FOOTER_LEN as u64 + u64::from(parts.table_len);
        let at = stored_len
            .checked_sub(behind)
            .ok_or(MismatchError::StoredLength)?;
        footer.verify_stored_len(stored_len)?;
        let table = PartTable::new(Engine::default(), &self.dek, &core.object_id, footer)?;
        // At most a megabyte: the footer's number of parts is in range.
        let mut bytes = vec![0; usize::try_from(parts.table_len).unwrap_or_default()];
        self.reader.seek(SeekFrom::Start(at))?;
        self.reader.read_exact(&mut bytes)?;
        let entries = table.open(&bytes)?;
        footer.verify_entries(&entries, stored_len)?;
        verify_sums(footer, &entries)?;
        Ok(entries)
    }

    /// Reads a part's preamble, which must be the one that its entry makes.
    fn part_core(&mut self, entry: &PartEntry) -> Result<Core, OfflineError> {
        let mut bytes = [0; PREAMBLE_LEN];
        self.reader.read_exact(&mut bytes)?;
        let core = entry.core(&self.dek, self.core.object_id, self.footer.segment_size);
        if Preamble::decode(&bytes)?.core != core {
            return Err(MismatchError::Preamble.into());
        }
        self.footer.verify_preamble(&bytes)?;
        Ok(core)
    }

    fn header(&mut self) -> Result<StreamHeader, OfflineError> {
        let mut bytes = [0; STREAM_HEADER_LEN];
        self.reader.read_exact(&mut bytes)?;
        Ok(StreamHeader::decode(&bytes)?)
    }

    /// Opens the segments of one stream.
    fn stream(
        &mut self,
        core: &Core,
        header: &StreamHeader,
        layout: &Layout,
        hashes: &mut [&mut Hashes],
    ) -> Result<(), OfflineError> {
        let (engine, size) = (Engine::default(), core.segment_size);
        let opener = Opener::new(engine, &self.dek, header, size, &core.encode())?;
        for index in 0..layout.segments() {
            let range = layout.segment_stored_range(index);
            // A segment is never longer than the buffer, which has the segment size.
            let len = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
            let segment = self
                .buffer
                .get_mut(..len)
                .ok_or(LayoutError::Impossible(layout.stored_len()))?;
            self.reader.read_exact(segment)?;
            let n = opener.open_in_place(index, layout.is_last(index), segment)?;
            let plaintext = &segment[..n];
            hashes.iter_mut().for_each(|hash| hash.update(plaintext));
            self.writer.write_all(plaintext)?;
        }
        Ok(())
    }
}

/// The data key, by the first recipient of the preamble's envelope that has it.
async fn unwrap(keyring: &Keyring, preamble: &Preamble) -> Result<Dek, OfflineError> {
    if preamble.envelope.is_empty() {
        return Err(OfflineError::NoEnvelope);
    }
    let envelope = Envelope::decode(&preamble.envelope)?;
    if envelope.object_id != preamble.core.object_id {
        return Err(OfflineError::ObjectId);
    }
    let mut failed = OfflineError::NoKey;
    for recipient in &envelope.recipients {
        let found = keyring.find(recipient.kind, &recipient.key_id, recipient.key_version);
        let Some(key) = found else { continue };
        match key.unwrap(&recipient.wrapped, Context::default()).await {
            Ok(dek) => return Ok(dek),
            Err(error) => failed = OfflineError::Key(error),
        }
    }
    Err(failed)
}

fn read_preamble(reader: &mut (impl Read + Seek)) -> Result<[u8; PREAMBLE_LEN], OfflineError> {
    reader.seek(SeekFrom::Start(0))?;
    let mut bytes = Vec::with_capacity(PREAMBLE_LEN);
    reader.take(PREAMBLE_LEN as u64).read_to_end(&mut bytes)?;
    match <[u8; PREAMBLE_LEN]>::try_from(bytes.as_slice()) {
        Ok(preamble) => Ok(preamble),
        Err(_) if crate::aead::looks_like_preamble(&bytes) => Err(OfflineError::TooShort),
        Err(_) => Err(PreambleError::Magic.into()),
    }
}

/// The last bytes of the object; none where it is too short to have a footer behind its preamble.
fn read_footer(
    reader: &mut (impl Read + Seek),
    stored_len: u64,
) -> Result<Option<[u8; FOOTER_LEN]>, OfflineError> {
    let Some(start) = stored_len.checked_sub(FOOTER_LEN as u64) else {
        return Ok(None);
    };
    if start < PREAMBLE_LEN as u64 {
        return Ok(None);
    }
    let mut bytes = [0; FOOTER_LEN];
    reader.seek(SeekFrom::Start(start))?;
    reader.read_exact(&mut bytes)?;
    Ok(Some(bytes))
}

/// An object that cannot be inspected or recovered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OfflineError {
    /// Reading or writing failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It begins as a sealed object and ends within the preamble.
    #[error("the object ends within its preamble: it was cut short")]
    TooShort,
    /// Not a sealed object, or its preamble cannot be used.
    #[error(transparent)]
    Preamble(#[from] PreambleError),
    /// It was cut short, or its footer was changed or cannot be used.
    #[error(transparent)]
    Footer(#[from] FooterError),
    /// No object is as long as this one, given its preamble.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The preamble holds no envelope: only the one in the metadata can open it.
    #[error("the preamble holds no envelope")]
    NoEnvelope,
    /// The preamble's envelope cannot be used.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// The preamble's envelope is that of another object.
    #[error("the envelope in the preamble belongs to another object")]
    ObjectId,
    /// No recipient's key is in the keyring.
    #[error("none of the object's keys is in the keyring")]
    NoKey,
    /// A key could not unwrap the data key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The data key is not the one that the object was sealed with.
    #[error(transparent)]
    Commitment(#[from] CommitmentError),
    /// The footer is authentic and does not fit the rest of the object.
    #[error(transparent)]
    Mismatch(#[from] MismatchError),
    /// The part table was changed or cannot be used.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The parts' sums do not make up the object's.
    #[error(transparent)]
    Sums(#[from] SumsError),
    /// The stream's header cannot be used.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// A segment was changed, moved or cut.
    #[error(transparent)]
    Segment(#[from] SegmentError),
    /// The cipher engine could not be set up.
    #[error(transparent)]
    Cipher(#[from] CipherError),
    /// All segments are authentic, but the plaintext's MD5 is not the one in footer or table.
    #[error("the plaintext does not have the MD5 that was noted")]
    Md5,
    /// All segments are authentic, but the plaintext's checksum is not the one in footer or table.
    #[error("the plaintext does not have the {0:?} checksum that was noted")]
    Checksum(ChecksumAlgorithm),
}

impl From<WrongSum> for OfflineError {
    fn from(wrong: WrongSum) -> Self {
        match wrong {
            WrongSum::Md5 => Self::Md5,
            WrongSum::Checksum(algorithm) => Self::Checksum(algorithm),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    #[test]
    fn what_is_not_sealed_is_named_so() {
        for not_sealed in [&b""[..], b"hello", &[0; 2_000]] {
            assert!(matches!(
                inspect(Cursor::new(not_sealed)),
                Err(OfflineError::Preamble(PreambleError::Magic))
            ));
        }
        let cut = crate::aead::PREAMBLE_MAGIC;
        assert!(matches!(
            inspect(Cursor::new(&cut)),
            Err(OfflineError::TooShort)
        ));
    }
}
