//! Interoperability with Google Tink: its streams open here, and ours are written out for it to open.
//!
//! `vectors/tink` was written by Tink itself. For the other direction, set `SEALGATE_TINK_OUT` to a
//! folder and run this test: it leaves streams there and a `manifest.json` with key, associated data
//! and segment size of each, all hexadecimal, for any Tink to open.

use std::fs;
use std::path::Path;

use sealgate::aead::{
    Dek, Engine, Layout, OpenStream, Opener, STREAM_HEADER_LEN, SealStream, SegmentSize,
    StreamHeader,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors");

struct Vector {
    file: String,
    sealed: Vec<u8>,
    segment_size: SegmentSize,
    dek: Dek,
    aad: Vec<u8>,
    plaintext: Vec<u8>,
}

fn vectors() -> Vec<Vector> {
    let list = fs::read(Path::new(FOLDER).join("tink.json")).unwrap();
    let rows: Vec<Value> = serde_json::from_slice(&list).unwrap();
    let bytes = |value: &Value| hex::decode(value.as_str().unwrap()).unwrap();
    let number = |value: &Value| value.as_u64().unwrap();
    rows.iter()
        .map(|row| {
            let file = row["file"].as_str().unwrap();
            let plaintext = pattern(number(&row["plaintext_len"]) as usize);
            assert_eq!(
                bytes(&row["plaintext_sha256"]),
                Sha256::digest(&plaintext).to_vec()
            );
            Vector {
                file: file.to_owned(),
                sealed: fs::read(Path::new(FOLDER).join(file)).unwrap(),
                segment_size: SegmentSize::new(number(&row["segment_size"]) as u32).unwrap(),
                dek: Dek::new(bytes(&row["key"]).try_into().unwrap()),
                aad: bytes(&row["aad"]),
                plaintext,
            }
        })
        .collect()
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len)
        .map(|i| (i * 131 + (i >> 8) * 17 + 7) as u8)
        .collect()
}

#[test]
fn streams_of_tink_open() {
    let vectors = vectors();
    assert_eq!(vectors.len(), 17);
    for v in &vectors {
        for engine in Engine::ALL {
            for step in [1_000, v.sealed.len()] {
                let mut stream = OpenStream::new(engine, &v.dek, v.segment_size, &v.aad);
                let mut out = Vec::new();
                for piece in v.sealed.chunks(step) {
                    stream.push(piece, &mut out).unwrap();
                }
                stream.finish(&mut out).unwrap();
                assert!(out == v.plaintext, "{} {engine:?}", v.file);
            }
        }
    }
}

#[test]
fn segments_of_tink_open_by_their_index() {
    for v in vectors() {
        let header = StreamHeader::decode(v.sealed.first_chunk().unwrap()).unwrap();
        let layout = Layout::from_stream_len(v.segment_size, v.sealed.len() as u64).unwrap();
        assert_eq!(layout.plaintext_len(), v.plaintext.len() as u64);
        let opener =
            Opener::new(Engine::default(), &v.dek, &header, v.segment_size, &v.aad).unwrap();
        for index in (0..layout.segments()).rev() {
            // The layout is that of an object, whose stream begins behind 512 bytes of preamble.
            let range = layout.segment_stored_range(index);
            let mut segment =
                v.sealed[range.start as usize - 512..range.end as usize - 512].to_vec();
            let n = opener
                .open_in_place(index, layout.is_last(index), &mut segment)
                .unwrap();
            let start = layout.plaintext_start(index) as usize;
            assert!(
                segment[..n] == v.plaintext[start..start + n],
                "{} {index}",
                v.file
            );
        }
    }
}

#[test]
fn the_same_header_seals_to_the_bytes_of_tink() {
    for v in vectors() {
        let header: &[u8; STREAM_HEADER_LEN] = v.sealed.first_chunk().unwrap();
        let header = StreamHeader::decode(header).unwrap();
        for engine in Engine::ALL {
            let sealed = seal(
                engine,
                &v.dek,
                &header,
                v.segment_size,
                &v.aad,
                &v.plaintext,
            );
            assert!(sealed == v.sealed, "{} {engine:?}", v.file);
        }
    }
}

#[test]
fn writes_streams_for_tink_to_open() {
    let Ok(folder) = std::env::var("SEALGATE_TINK_OUT") else {
        return;
    };
    fs::create_dir_all(&folder).unwrap();
    let mut rows = Vec::new();
    for (bits, lengths) in [
        (
            12,
            &[0, 1, 4_039, 4_040, 4_041, 8_119, 8_120, 8_121, 100_000][..],
        ),
        (16, &[0, 65_479, 65_480, 65_481, 131_000, 131_001, 1 << 20]),
        (20, &[0, (1 << 20) - 56, (1 << 20) - 55, 3 << 20]),
        (22, &[0, (1 << 22) - 55]),
    ] {
        for (&len, engine) in lengths.iter().zip(Engine::ALL.into_iter().cycle()) {
            let name = format!("{}-{len}.bin", 1 << bits);
            let seed = |what: &str| -> [u8; 32] { Sha256::digest(format!("{what} {name}")).into() };
            let (key, salt) = (seed("key"), seed("salt"));
            let header = StreamHeader {
                salt,
                nonce_prefix: *seed("nonce").first_chunk().unwrap(),
            };
            let aad = if len % 2 == 0 {
                vec![]
            } else {
                seed("aad").repeat(3)
            };
            let plaintext = pattern(len);
            let size = SegmentSize::new(1 << bits).unwrap();
            let sealed = seal(engine, &Dek::new(key), &header, size, &aad, &plaintext);
            fs::write(Path::new(&folder).join(&name), sealed).unwrap();
            rows.push(json!({
                "aad": hex::encode(&aad),
                "file": name,
                "key": hex::encode(key),
                "plaintext_len": len,
                "plaintext_sha256": hex::encode(Sha256::digest(&plaintext)),
                "segment_size": 1 << bits,
            }));
        }
    }
    let manifest = serde_json::to_string_pretty(&rows).unwrap() + "\n";
    fs::write(Path::new(&folder).join("manifest.json"), manifest).unwrap();
}

fn seal(
    engine: Engine,
    dek: &Dek,
    header: &StreamHeader,
    segment_size: SegmentSize,
    aad: &[u8],
    plaintext: &[u8],
) -> Vec<u8> {
    let mut out = Vec::new();
    let mut stream = SealStream::new(engine, dek, header, segment_size, aad).unwrap();
    stream.push(plaintext, &mut out).unwrap();
    stream.finish(&mut out).unwrap();
    out
}
