//! Objects that nobody uploaded: sealed as they are read, with the keys that the gateway has, so that one of 100 GiB takes no
//! room and can be read at any place. They are what the gateway itself would have written of the generated data, and it
//! checks every byte of them; segments are sealed by their index, as the format's specification has it.

use std::io;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use hkdf::Hkdf;
use sealgate::aead::{
    Cipher, Core, Dek, Engine, Etag, FOOTER_LEN, Footer, Layout, ObjectId, PREAMBLE_LEN, PartEntry,
    PartNumber, PartTable, Parts, Preamble, STREAM_HEADER_LEN, SegmentSize, StreamHeader, TAG_LEN,
};
use sealgate::envelope::{Info, Record, metadata_digest, seal_record};
use sealgate::gateway::entropy;
use sealgate::keys::{KeyEncryptionKey, KeyId, Keyring, LocalKey, parse_key_file};
use sha2::{Digest, Sha256};

use crate::request::{PERIOD, pattern};

/// Preamble and header of a stream: what stands before its first segment.
const FRONT: u64 = (PREAMBLE_LEN + STREAM_HEADER_LEN) as u64;
/// Segments sealed at once.
const AT_ONCE: u64 = 8;
const SIZE: SegmentSize = SegmentSize::GATEWAY;
const CONTENT_TYPE: &str = "binary/octet-stream";

/// What an object is made of: `made/BYTES` is one stream, `made/BYTES/BYTES` one in parts of that many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recipe {
    size: u64,
    part: Option<u64>,
}

impl Recipe {
    /// Reads bucket, key and recipe from the path of a request.
    pub fn of(path: &str) -> Option<(&str, &str, Self)> {
        let (bucket, key) = path.strip_prefix('/')?.split_once('/')?;
        let numbers = key.strip_prefix("made/")?;
        let (size, part) = match numbers.split_once('/') {
            Some((size, part)) => (size, Some(part.parse().ok().filter(|part| *part > 0)?)),
            None => (numbers, None),
        };
        let size = size.parse().ok()?;
        Some((bucket, key, Self { size, part }))
    }

    /// The key of an object of one stream, or of one in parts.
    pub fn key(size: u64, part: Option<u64>) -> String {
        match part {
            None => format!("made/{size}"),
            Some(part) => format!("made/{size}/{part}"),
        }
    }
}

/// The keyring that gateways of this bench are started with.
pub fn keyring(file: &Path) -> Keyring {
    let content = std::fs::read(file).expect("the key file");
    let key = parse_key_file(&content).expect("the key file");
    let id = KeyId::new("main").expect("a key id");
    let key = LocalKey::new(id.clone(), NonZeroU32::MIN, &key);
    Keyring::new([Arc::new(key) as Arc<dyn KeyEncryptionKey>], id).expect("a keyring")
}

/// An object.
pub struct Made {
    streams: Vec<Stream>,
    /// Part table and footer.
    end: Bytes,
    end_at: u64,
    /// Lines of the head.
    pub headers: String,
}

/// One stream and its preamble.
struct Stream {
    /// Where the preamble stands in the stored object, and its plaintext in the object's.
    at: u64,
    plaintext_at: u64,
    layout: Layout,
    front: Bytes,
    header: StreamHeader,
    cipher: Box<dyn Cipher>,
}

impl Stream {
    fn new(dek: &Dek, preamble: &Preamble, length: u64) -> Self {
        let header = StreamHeader {
            salt: random(),
            nonce_prefix: random(),
        };
        // Section 3 of the specification. The library derives it for streams from their beginning only.
        let mut key = [0; 32];
        Hkdf::<Sha256>::new(Some(&header.salt), dek.expose())
            .expand(&preamble.core.encode(), &mut key)
            .expect("32 bytes");
        let front = [&encode(preamble)[..], &header.encode()].concat();
        Self {
            at: 0,
            plaintext_at: 0,
            layout: Layout::from_plaintext_len(SIZE, length).expect("a length that a stream has"),
            front: front.into(),
            header,
            cipher: Engine::default().cipher(&key).expect("a cipher"),
        }
    }

    /// Bytes from `from` on within the stream and its preamble, at most `left`.
    fn read(&self, from: u64, left: u64) -> io::Result<Bytes> {
        if from < FRONT {
            let to = FRONT.min(from + left);
            return Ok(self.front.slice(from as usize..to as usize));
        }
        let index = |at: u64| (at - PREAMBLE_LEN as u64) / u64::from(SIZE.get());
        let to = (from + left).min(self.layout.part_len());
        let first = index(from);
        let segments = first..(index(to - 1) + 1).min(first + AT_ONCE);
        let stored = self.layout.stored_range(segments.clone());
        let mut sealed = Vec::with_capacity((stored.end - stored.start) as usize);
        for index in segments {
            self.seal(index, &mut sealed)?;
        }
        let sealed = Bytes::from(sealed);
        let end = to.min(stored.end) - stored.start;
        Ok(sealed.slice((from - stored.start) as usize..end as usize))
    }

    /// Appends the segment of this index.
    fn seal(&self, index: u64, sealed: &mut Vec<u8>) -> io::Result<()> {
        let plaintext_at = self.plaintext_at + self.layout.plaintext_start(index);
        let from = (plaintext_at % PERIOD as u64) as usize;
        let length = self.layout.segment_plaintext_len(index);
        let start = sealed.len();
        sealed.extend_from_slice(&pattern()[from..from + length]);
        let mut nonce = [0; 12];
        nonce[..7].copy_from_slice(&self.header.nonce_prefix);
        nonce[7..11].copy_from_slice(&(index as u32).to_be_bytes());
        nonce[11] = u8::from(self.layout.is_last(index));
        let tag: [u8; TAG_LEN] = self
            .cipher
            .seal(&nonce, b"", &mut sealed[start..])
            .map_err(io::Error::other)?;
        sealed.extend_from_slice(&tag);
        Ok(())
    }
}

impl Made {
    /// Makes one with fresh keys, for this place.
    pub async fn new(keyring: &Keyring, bucket: &str, key: &str, recipe: Recipe) -> Self {
        let (dek, object_id) = (Dek::new(random()), ObjectId(random()));
        let info = Info {
            plaintext_len: recipe.part.is_none().then_some(recipe.size),
            md5: None,
            metadata_digest: Some(metadata_digest([("content-type", CONTENT_TYPE)])),
        };
        let record = seal_record(keyring, &[], &dek, object_id, bucket, key, &info)
            .await
            .expect("a record");
        let mut made = match recipe.part {
            None => Self::one(&dek, object_id, &record, recipe.size),
            Some(part) => Self::parts(&dek, object_id, &record, recipe.size, part),
        };
        for (name, value) in record.to_headers() {
            made.headers.push_str(&format!("{name}: {value}\r\n"));
        }
        made
    }

    fn one(dek: &Dek, object_id: ObjectId, record: &Record, size: u64) -> Self {
        let preamble = Preamble {
            core: Core::single(dek, object_id, SIZE, Some(size)),
            envelope: record.envelope.clone(),
        };
        let stream = Stream::new(dek, &preamble, size);
        let footer = Footer {
            plaintext_len: size,
            core_plaintext_len: Some(size),
            preamble_digest: Sha256::digest(encode(&preamble)).into(),
            ..footer(stream.header)
        };
        Self::of(vec![stream], Vec::new(), &footer, dek, &object_id)
    }

    fn parts(dek: &Dek, object_id: ObjectId, record: &Record, size: u64, part: u64) -> Self {
        let count = u16::try_from(size.div_ceil(part).max(1)).expect("at most 10,000 parts");
        let (mut streams, mut entries) = (Vec::new(), Vec::new());
        let mut shared = [0; 32];
        for number in 1..=count {
            let before = u64::from(number - 1) * part;
            let length = part.min(size - before);
            let number = PartNumber::new(number).expect("at most 10,000 parts");
            let preamble = Preamble {
                core: Core::part(dek, object_id, SIZE, number, length),
                envelope: record.envelope.clone(),
            };
            shared = preamble.shared_digest().expect("an envelope that fits");
            let stream = Stream::new(dek, &preamble, length);
            entries.push(PartEntry {
                number,
                plaintext_len: length,
                header: Some(stream.header),
                md5: None,
                checksum: None,
            });
            streams.push(stream);
        }
        let header = StreamHeader {
            salt: random(),
            nonce_prefix: random(),
        };
        let table = PartTable::seal(Engine::default(), dek, &object_id, &header, None, &entries)
            .expect("a part table");
        let footer = Footer {
            plaintext_len: size,
            preamble_digest: shared,
            parts: Some(Parts {
                count,
                table_len: u32::try_from(table.len()).expect("a short table"),
                part_size: if count == 1 { size } else { part },
            }),
            ..footer(header)
        };
        Self::of(streams, table, &footer, dek, &object_id)
    }

    fn of(
        mut streams: Vec<Stream>,
        mut end: Vec<u8>,
        footer: &Footer,
        dek: &Dek,
        object_id: &ObjectId,
    ) -> Self {
        let (mut at, mut plaintext_at) = (0, 0);
        for stream in &mut streams {
            (stream.at, stream.plaintext_at) = (at, plaintext_at);
            at += stream.layout.part_len();
            plaintext_at += stream.layout.plaintext_len();
        }
        let sealed: [u8; FOOTER_LEN] = footer
            .seal(Engine::default(), dek, object_id, random())
            .expect("a footer");
        end.extend_from_slice(&sealed);
        Self {
            streams,
            end: end.into(),
            end_at: at,
            headers: format!("content-type: {CONTENT_TYPE}\r\n"),
        }
    }

    /// Stored bytes.
    pub fn length(&self) -> u64 {
        self.end_at + self.end.len() as u64
    }

    /// Some of the `left` stored bytes from `at` on.
    pub fn read(&self, at: u64, left: u64) -> io::Result<Bytes> {
        if let Some(within) = at.checked_sub(self.end_at) {
            return Ok(self.end.slice(within as usize..(within + left) as usize));
        }
        let index = self.streams.partition_point(|stream| stream.at <= at) - 1;
        let stream = &self.streams[index];
        stream.read(at - stream.at, left)
    }
}

fn encode(preamble: &Preamble) -> [u8; PREAMBLE_LEN] {
    preamble.encode().expect("an envelope that fits")
}

/// What all footers have in common.
fn footer(header: StreamHeader) -> Footer {
    Footer {
        plaintext_len: 0,
        core_plaintext_len: None,
        segment_size: SIZE,
        etag: Etag::None,
        checksum: None,
        checksum_type: sealgate::aead::ChecksumType::FullObject,
        header,
        preamble_digest: [0; 32],
        parts: None,
    }
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    assert!(entropy(&mut bytes), "randomness of the operating system");
    bytes
}
