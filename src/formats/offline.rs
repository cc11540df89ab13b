//! Opens a sealed object from a raw copy of its bytes: no store, no metadata, no server.
//!
//! [`inspect`] tells what an object says of itself without any key. [`open`] recovers the plaintext,
//! given the keyring: it proves that the content is whole and was sealed by a holder of its data key.
//! It cannot prove where the object was stored, since the record that says so is in the metadata.

use std::fmt;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};

use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::aead::{
    Checksum, ChecksumAlgorithm, CipherError, CommitmentError, Core, Dek, Engine, Etag, FOOTER_LEN,
    FORMAT_VERSION, Footer, FooterError, HeaderError, Layout, LayoutError, MismatchError,
    OpenError as SegmentError, Opener, PREAMBLE_LEN, Preamble, PreambleError, STREAM_HEADER_LEN,
    SUITE, StreamHeader,
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
    /// Its layout, or why no object can be that long.
    pub layout: Result<Layout, LayoutError>,
    /// The envelope in the preamble, as first written: none where it has none, or why it cannot be used.
    pub envelope: Result<Option<Envelope>, EnvelopeError>,
    /// What is wrong with the footer, as far as can be told without its key.
    pub footer: Result<(), FooterError>,
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
    /// The preamble's core.
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
        layout: preamble.core.layout(stored_len),
        envelope: match preamble.envelope.as_slice() {
            [] => Ok(None),
            bytes => Envelope::decode(bytes).map(Some),
        },
        footer: footer
            .ok_or(FooterError::Missing)
            .and_then(|bytes| Footer::check_clear(&bytes)),
    })
}

/// Recovers an object's plaintext from its raw bytes, in memory of about two segments.
///
/// Nothing that is not authenticated is written. On an error, what was written before is a true
/// beginning of the plaintext and no more. Reader and writer block: call it where that does no harm.
///
/// # Errors
///
/// [`OfflineError`].
pub async fn open<R, W>(
    reader: R,
    keyring: &Keyring,
    mut writer: W,
) -> Result<Recovered, OfflineError>
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
    core.layout(stored_len)?;

    let dek = unwrap(keyring, &preamble).await?;
    core.verify_commitment(&dek)?;
    let footer = Footer::open(Engine::default(), &dek, &core.object_id, &footer_bytes)?;
    footer.verify_preamble(&preamble_bytes)?;
    let layout = footer.layout(stored_len)?;

    reader.seek(SeekFrom::Start(PREAMBLE_LEN as u64))?;
    let mut header_bytes = [0; STREAM_HEADER_LEN];
    reader.read_exact(&mut header_bytes)?;
    let header = StreamHeader::decode(&header_bytes)?;
    footer.verify_header(&header)?;
    let opener = Opener::new(
        Engine::default(),
        &dek,
        &header,
        core.segment_size,
        &core.encode(),
    )?;
    let mut hashes = Hashes::new(&footer);
    let mut buffer = vec![0; core.segment_size.sealed_capacity(1)];
    for index in 0..layout.segments() {
        let range = layout.segment_stored_range(index);
        // A segment is never longer than the buffer, which has the segment size.
        let len = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        let segment = buffer
            .get_mut(..len)
            .ok_or(LayoutError::Impossible(stored_len))?;
        reader.read_exact(segment)?;
        let n = opener.open_in_place(index, layout.is_last(index), segment)?;
        let plaintext = &segment[..n];
        hashes.update(plaintext);
        writer.write_all(plaintext)?;
    }
    writer.flush()?;
    hashes.verify(&footer)?;
    Ok(Recovered { core, footer })
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

/// The sums of the plaintext that the footer has something to say about.
struct Hashes {
    md5: Option<Md5>,
    checksum: Option<Hash>,
}

enum Hash {
    Crc(ChecksumAlgorithm, crc_fast::Digest),
    Sha1(Sha1),
    Sha256(Sha256),
}

impl Hashes {
    fn new(footer: &Footer) -> Self {
        Self {
            md5: matches!(footer.etag, Etag::Md5(_)).then(Md5::new),
            checksum: footer
                .checksum
                .and_then(|checksum| Hash::new(checksum.algorithm())),
        }
    }

    fn update(&mut self, plaintext: &[u8]) {
        if let Some(md5) = &mut self.md5 {
            md5.update(plaintext);
        }
        match &mut self.checksum {
            None => {}
            Some(Hash::Crc(_, digest)) => digest.update(plaintext),
            Some(Hash::Sha1(digest)) => digest.update(plaintext),
            Some(Hash::Sha256(digest)) => digest.update(plaintext),
        }
    }

    fn verify(self, footer: &Footer) -> Result<(), OfflineError> {
        let md5 = self.md5.map(|md5| Etag::Md5(md5.finalize().into()));
        if md5.is_some_and(|etag| etag != footer.etag) {
            return Err(OfflineError::Md5);
        }
        match footer.checksum {
            Some(expected) if self.checksum.and_then(Hash::finish) != Some(expected) => {
                Err(OfflineError::Checksum(expected.algorithm()))
            }
            _ => Ok(()),
        }
    }
}

impl Hash {
    /// None for an algorithm that is not known here, which then does not verify.
    fn new(algorithm: ChecksumAlgorithm) -> Option<Self> {
        use crc_fast::CrcAlgorithm::{Crc32Iscsi, Crc32IsoHdlc, Crc64Nvme};
        let crc = |parameters| Self::Crc(algorithm, crc_fast::Digest::new(parameters));
        match algorithm {
            ChecksumAlgorithm::Crc32 => Some(crc(Crc32IsoHdlc)),
            ChecksumAlgorithm::Crc32c => Some(crc(Crc32Iscsi)),
            ChecksumAlgorithm::Crc64Nvme => Some(crc(Crc64Nvme)),
            ChecksumAlgorithm::Sha1 => Some(Self::Sha1(Sha1::new())),
            ChecksumAlgorithm::Sha256 => Some(Self::Sha256(Sha256::new())),
        }
    }

    fn finish(self) -> Option<Checksum> {
        match self {
            Self::Crc(algorithm, digest) => {
                let value = digest.finalize().to_be_bytes();
                let start = value.len().checked_sub(algorithm.value_len())?;
                Checksum::new(algorithm, &value[start..]).ok()
            }
            Self::Sha1(digest) => Checksum::new(ChecksumAlgorithm::Sha1, &digest.finalize()).ok(),
            Self::Sha256(digest) => {
                Checksum::new(ChecksumAlgorithm::Sha256, &digest.finalize()).ok()
            }
        }
    }
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
    /// The stream's header cannot be used.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// A segment was changed, moved or cut.
    #[error(transparent)]
    Segment(#[from] SegmentError),
    /// The cipher engine could not be set up.
    #[error(transparent)]
    Cipher(#[from] CipherError),
    /// All segments are authentic, but the plaintext's MD5 is not the one in the footer.
    #[error("the plaintext does not have the MD5 that the footer holds")]
    Md5,
    /// All segments are authentic, but the plaintext's checksum is not the one in the footer.
    #[error("the plaintext does not have the {0:?} checksum that the footer holds")]
    Checksum(ChecksumAlgorithm),
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    #[test]
    fn checksums_are_those_of_their_check_values() {
        for (algorithm, value) in [
            (ChecksumAlgorithm::Crc32, &[0xcb, 0xf4, 0x39, 0x26][..]),
            (ChecksumAlgorithm::Crc32c, &[0xe3, 0x06, 0x92, 0x83]),
            (
                ChecksumAlgorithm::Crc64Nvme,
                &[0xae, 0x8b, 0x14, 0x86, 0x0a, 0x79, 0x98, 0x88],
            ),
        ] {
            let mut hashes = Hashes {
                md5: None,
                checksum: Hash::new(algorithm),
            };
            hashes.update(b"123");
            hashes.update(b"456789");
            let found = hashes.checksum.and_then(Hash::finish).unwrap();
            assert_eq!(found.value(), value, "{algorithm:?}");
        }
    }

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
