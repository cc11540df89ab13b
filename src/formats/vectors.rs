//! Test objects that independent code made, `tests/vectors/imports/make.py`, and what is done to them in tests.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::Integrity;
use super::foreign::{Described, Format, Verified};

#[derive(Clone, Deserialize)]
pub struct Vector {
    pub name: String,
    pub key: String,
    plaintext_seed: String,
    pub plaintext_len: usize,
    plaintext_sha256: String,
    pub metadata: BTreeMap<String, String>,
    #[serde(deserialize_with = "base64")]
    pub body: Vec<u8>,
    #[serde(default)]
    pub unauthenticated: bool,
    pub kek: Option<String>,
    pub prefix: Option<String>,
    pub password: Option<String>,
    pub refused: Option<String>,
}

fn base64<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(from)?;
    STANDARD.decode(text).map_err(serde::de::Error::custom)
}

#[derive(Deserialize)]
struct File {
    vectors: Vec<Vector>,
}

pub fn load(name: &str) -> Vec<Vector> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/imports");
    let text = std::fs::read(folder.join(format!("{name}.json"))).unwrap();
    serde_json::from_slice::<File>(&text).unwrap().vectors
}

impl Vector {
    /// Made from its seed as `make.py` says, and compared with the digest that stands beside it.
    pub fn plaintext(&self) -> Vec<u8> {
        let blocks = (0u64..).flat_map(|i| {
            let mut hash = Sha256::new_with_prefix(&self.plaintext_seed);
            hash.update(i.to_be_bytes());
            <[u8; 32]>::from(hash.finalize())
        });
        let plaintext: Vec<u8> = blocks.take(self.plaintext_len).collect();
        assert_eq!(
            hex::encode(Sha256::digest(&plaintext)),
            self.plaintext_sha256
        );
        plaintext
    }

    pub fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.metadata {
            headers.insert(
                HeaderName::try_from(format!("x-amz-meta-{name}")).unwrap(),
                HeaderValue::from_bytes(value.as_bytes()).unwrap(),
            );
        }
        headers
    }
}

/// Checks all of an object, in pieces of `piece` bytes, as a gateway does.
pub fn verify(
    format: &dyn Format,
    vector: &Vector,
    piece: usize,
) -> Result<Box<dyn Verified>, Integrity> {
    let headers = vector.headers();
    let object = Described {
        bucket: "bucket",
        key: &vector.key,
        headers: &headers,
    };
    let claimed = format.claim(object)?.ok_or(Integrity::Plaintext)?;
    claimed.probe()?;
    let stored_len = vector.body.len() as u64;
    claimed.plaintext_len(stored_len)?;
    let tail = vector
        .body
        .len()
        .saturating_sub(claimed.tail_len() as usize);
    let mut checker = claimed.checker(stored_len, &vector.body[tail..])?.checker;
    for stored in vector.body.chunks(piece) {
        checker.update(stored)?;
    }
    checker.finish()
}

/// The bytes of a range of a verified object.
pub fn range(
    object: &dyn Verified,
    body: &[u8],
    range: std::ops::Range<u64>,
    piece: usize,
) -> Result<Vec<u8>, Integrity> {
    let (place, mut opener) = object.opener(range.clone())?;
    let mut plaintext = BytesMut::new();
    for stored in body[place.stored.start as usize..place.stored.end as usize].chunks(piece) {
        opener.open(Bytes::copy_from_slice(stored), &mut plaintext)?;
    }
    let skip = place.skip as usize;
    Ok(plaintext[skip..skip + (range.end - range.start) as usize].to_vec())
}

/// All of an object, checked and opened.
pub fn read(format: &dyn Format, vector: &Vector, piece: usize) -> Result<Vec<u8>, Integrity> {
    let object = verify(format, vector, piece)?;
    let headers = vector.headers();
    let described = Described {
        bucket: "bucket",
        key: &vector.key,
        headers: &headers,
    };
    let claimed = format.claim(described)?.ok_or(Integrity::Plaintext)?;
    let len = claimed.plaintext_len(vector.body.len() as u64)?;
    range(&*object, &vector.body, 0..len, piece)
}

/// Opens an object in pieces of several sizes, and in ranges.
pub fn check(format: &dyn Format, vector: &Vector) {
    let plaintext = vector.plaintext();
    for piece in [1, 13, 16, 17, 100_000] {
        if piece < 17 && vector.body.len() > 1000 {
            continue;
        }
        let opened =
            read(format, vector, piece).unwrap_or_else(|error| panic!("{}: {error}", vector.name));
        assert_eq!(opened, plaintext, "{} in pieces of {piece}", vector.name);
    }
    let headers = vector.headers();
    for name in headers.keys() {
        assert!(format.owns(name.as_str()), "{name}");
    }
    let object = verify(format, vector, 5000).unwrap();
    let len = plaintext.len() as u64;
    let starts = [0, 1, 15, 16, 17, 16383, 16384, 16385, 32768, 49999, 65535];
    for start in starts
        .into_iter()
        .chain([len / 2, len.saturating_sub(1), len])
    {
        for end in [start, start + 1, start + 17, start + 16384] {
            if end <= len {
                let found = range(&*object, &vector.body, start..end, 1000).unwrap();
                assert_eq!(
                    found,
                    plaintext[start as usize..end as usize],
                    "{} {start}..{end}",
                    vector.name
                );
            }
        }
    }
    assert!(matches!(object.opener(0..len + 1), Err(Integrity::Length)));
    #[allow(clippy::reversed_empty_ranges, reason = "this is what is refused")]
    let backwards = object.opener(1..0);
    assert!(backwards.is_err());
}

/// Flips each byte of the body, adds one, takes one away: all of it must be an error.
pub fn attack(format: &dyn Format, vector: &Vector) {
    for at in 0..vector.body.len() {
        let mut changed = vector.clone();
        changed.body[at] ^= 1 << (at % 8);
        assert!(
            read(format, &changed, 64).is_err(),
            "{} byte {at}",
            vector.name
        );
    }
    let mut longer = vector.clone();
    longer.body.push(0);
    assert!(read(format, &longer, 64).is_err(), "{} longer", vector.name);
    if !vector.body.is_empty() {
        let mut shorter = vector.clone();
        shorter.body.pop();
        assert!(
            read(format, &shorter, 64).is_err(),
            "{} shorter",
            vector.name
        );
    }
}
