//! Seals a file and opens it again with the core of the format alone: no HTTP, no async, no features.
//!
//! ```text
//! cargo run --no-default-features --example seal_file -- seal PLAIN SEALED KEY
//! cargo run --no-default-features --example seal_file -- open SEALED KEY PLAIN
//! ```
//!
//! KEY is made by `seal`: it holds the data key of this one object, 32 bytes. A real program would not
//! keep it in the clear but wrapped, in the envelope, as the gateway does.

use std::error::Error;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use sealgate::aead::{
    Checksum, ChecksumAlgorithm, ChecksumType, Core, Dek, Engine, Etag, FOOTER_LEN, Footer,
    ObjectId, OpenStream, PREAMBLE_LEN, Preamble, STREAM_HEADER_LEN, SealStream, SegmentSize,
    StreamHeader,
};
use sha2::{Digest, Sha256};

/// How much is read at once. It has nothing to do with the size of segments.
const READ_LEN: usize = 256 * 1024;

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

fn main() -> Result<()> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    match arguments.as_slice() {
        [verb, plain, sealed, key] if verb == Path::new("seal") => seal(plain, sealed, key),
        [verb, sealed, key, plain] if verb == Path::new("open") => open(sealed, key, plain),
        _ => Err("usage: seal_file seal PLAIN SEALED KEY | seal_file open SEALED KEY PLAIN".into()),
    }
}

/// Seals the file `plain` into `sealed`, under a new key that is written to `key`.
pub fn seal(plain: &Path, sealed: &Path, key: &Path) -> Result<()> {
    let mut input = File::open(plain)?;
    let plaintext_len = input.metadata()?.len();

    // All of these are fresh for every object. None may ever be used twice.
    let dek = Dek::new(random()?);
    let object_id = ObjectId(random()?);
    let header = StreamHeader {
        salt: random()?,
        nonce_prefix: random()?,
    };
    let footer_nonce = random()?;
    create(key)?.write_all(dek.expose())?;

    let (engine, segment_size) = (Engine::default(), SegmentSize::GATEWAY);
    let core = Core::single(&dek, object_id, segment_size, Some(plaintext_len));
    let envelope = Vec::new();
    let preamble = Preamble { core, envelope }.encode()?;

    let mut output = BufWriter::new(create(sealed)?);
    output.write_all(&preamble)?;
    let mut stream = SealStream::new(engine, &dek, &header, segment_size, &core.encode())?;
    let (mut buffer, mut out, mut digest) = (vec![0; READ_LEN], Vec::new(), Sha256::new());
    let mut total = 0;
    loop {
        let n = input.read(&mut buffer)?;
        if n == 0 {
            break;
        }
        total += n as u64;
        digest.update(&buffer[..n]);
        stream.push(&buffer[..n], &mut out)?;
        output.write_all(&out)?;
        out.clear();
    }
    if total != plaintext_len {
        return Err("the file changed while it was read".into());
    }
    stream.finish(&mut out)?;

    // The footer comes last: whoever fails before it leaves an object that does not open.
    let footer = Footer {
        plaintext_len,
        core_plaintext_len: Some(plaintext_len),
        segment_size,
        etag: Etag::None,
        checksum: Some(Checksum::new(
            ChecksumAlgorithm::Sha256,
            &digest.finalize(),
        )?),
        header,
        checksum_type: ChecksumType::FullObject,
        preamble_digest: Sha256::digest(preamble).into(),
        parts: None,
    };
    output.write_all(&out)?;
    output.write_all(&footer.seal(engine, &dek, &object_id, footer_nonce)?)?;
    output.into_inner()?.sync_all()?;
    Ok(())
}

/// Opens the object `sealed` with the key in `key`, into `plain`. Where anything is wrong with it, no
/// file `plain` appears.
pub fn open(sealed: &Path, key: &Path, plain: &Path) -> Result<()> {
    let key: [u8; Dek::LEN] = fs::read(key)?.try_into().map_err(|_| "not a key file")?;
    let (engine, dek) = (Engine::default(), Dek::new(key));
    let mut input = BufReader::with_capacity(READ_LEN, File::open(sealed)?);
    let stored_len = input.get_ref().metadata()?.len();

    // Both ends first: they say what the object is, and check each other.
    let mut preamble_bytes = [0; PREAMBLE_LEN];
    input.read_exact(&mut preamble_bytes)?;
    let core = Preamble::decode(&preamble_bytes)?.core;
    core.verify_commitment(&dek)?;
    let mut footer_bytes = [0; FOOTER_LEN];
    input.seek(SeekFrom::End(-(FOOTER_LEN as i64)))?;
    input.read_exact(&mut footer_bytes)?;
    let footer = Footer::open(engine, &dek, &core.object_id, &footer_bytes)?;
    footer.verify_preamble(&preamble_bytes)?;
    let layout = footer.layout(stored_len)?;
    let mut header = [0; STREAM_HEADER_LEN];
    input.seek(SeekFrom::Start(PREAMBLE_LEN as u64))?;
    input.read_exact(&mut header)?;
    footer.verify_header(&StreamHeader::decode(&header)?)?;

    // Every byte that comes out is authentic, but only the end tells that it is all of it: so the file
    // gets its name at the end.
    let temporary = plain.with_extension("part");
    let done = (|| {
        let mut output = BufWriter::new(create(&temporary)?);
        let mut stream = OpenStream::new(engine, &dek, footer.segment_size, &core.encode());
        let mut out = Vec::new();
        stream.push(&header, &mut out)?;
        let mut body = input.take(layout.stream_len() - STREAM_HEADER_LEN as u64);
        let (mut buffer, mut digest) = (vec![0; READ_LEN], Sha256::new());
        loop {
            let n = body.read(&mut buffer)?;
            if n == 0 {
                break;
            }
            stream.push(&buffer[..n], &mut out)?;
            digest.update(&out);
            output.write_all(&out)?;
            out.clear();
        }
        stream.finish(&mut out)?;
        digest.update(&out);
        output.write_all(&out)?;
        let checksum = Checksum::new(ChecksumAlgorithm::Sha256, &digest.finalize())?;
        if footer.checksum != Some(checksum) {
            return Err("the checksum is not that of the plaintext".into());
        }
        output.into_inner()?.sync_all()?;
        fs::rename(&temporary, plain)?;
        Ok(())
    })();
    if done.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    done
}

/// A file that must not exist yet, and that only its owner can read.
fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

/// Bytes from the operating system. The core has no randomness of its own.
fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}
