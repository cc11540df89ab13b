//! The vectors of the object format: each opens or fails as listed, both by a server that has the
//! metadata and from the raw bytes alone; and every way to tamper with a small object is noticed.
#![cfg(feature = "gateway")]

#[path = "../examples/make_vectors.rs"]
mod make_vectors;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use make_vectors::{FOLDER, keyring, now, pattern};
use sealgate::aead::{
    Core, Dek, Engine, FOOTER_LEN, Footer, Layout, Opener, PREAMBLE_LEN, PartTable, Preamble,
    STREAM_HEADER_LEN, StreamHeader, looks_like_footer, looks_like_preamble,
};
use sealgate::envelope::{OpenRecordError, Record, RecordError, open_record};
use sealgate::formats::offline::{self, OfflineError};
use sealgate::formats::verify_sums;
use sealgate::keys::Keyring;
use serde_json::Value;
use sha2::{Digest, Sha256};

struct Vector {
    name: String,
    bytes: Vec<u8>,
    keyring: Keyring,
    bucket: String,
    key: String,
    headers: BTreeMap<String, String>,
    serve: Value,
    recover: Value,
}

fn vectors() -> Vec<Vector> {
    let list = fs::read(Path::new(FOLDER).join("v1.json")).unwrap();
    let rows: Vec<Value> = serde_json::from_slice(&list).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let key = |row: &Value| {
        let bytes = hex::decode(text(&row["key"])).unwrap();
        let version = u32::try_from(row["version"].as_u64().unwrap()).unwrap();
        (text(&row["id"]), version, bytes.try_into().unwrap())
    };
    rows.into_iter()
        .map(|row| Vector {
            name: text(&row["name"]),
            bytes: fs::read(Path::new(FOLDER).join(text(&row["file"]))).unwrap(),
            keyring: keyring(
                &row["keys"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(key)
                    .collect::<Vec<_>>(),
            ),
            bucket: text(&row["bucket"]),
            key: text(&row["key"]),
            headers: serde_json::from_value(row["headers"].clone()).unwrap(),
            serve: row["serve"].clone(),
            recover: row["recover"].clone(),
        })
        .collect()
}

fn vector(name: &str) -> Vector {
    vectors().into_iter().find(|v| v.name == name).unwrap()
}

/// A read that was given up: what had been released, and the error's name.
struct Refused {
    released: Vec<u8>,
    error: String,
}

impl Refused {
    fn at_once(error: impl Into<String>) -> Self {
        Self {
            released: Vec::new(),
            error: error.into(),
        }
    }
}

/// `family.variant` of an error, as the specification names them.
fn name(family: &str, error: &impl Debug) -> String {
    let debug = format!("{error:?}");
    let mut name = format!("{family}.");
    for (at, letter) in debug
        .chars()
        .take_while(char::is_ascii_alphanumeric)
        .enumerate()
    {
        if letter.is_ascii_uppercase() && at > 0 {
            name.push('_');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

fn refused<E: Debug>(family: &str) -> impl Fn(E) -> Refused {
    move |error| Refused::at_once(name(family, &error))
}

/// Reads an object as section 10 of the specification says.
fn serve(v: &Vector) -> Result<Vec<u8>, Refused> {
    let record = Record::from_headers(&v.headers).map_err(refused::<RecordError>("record"))?;
    let tail = &v.bytes[v.bytes.len().saturating_sub(FOOTER_LEN)..];
    let Some(record) = record else {
        assert!(looks_like_preamble(&v.bytes) || looks_like_footer(tail));
        return Err(Refused::at_once("record.none"));
    };
    let opened = now(open_record(&v.keyring, &record, &v.bucket, &v.key)).map_err(|error| {
        Refused::at_once(match &error {
            OpenRecordError::Envelope(error) => name("envelope", error),
            OpenRecordError::Info(error) => name("info", error),
            OpenRecordError::Mac(error) => name("mac", error),
            OpenRecordError::Key(error) => name("key", error),
            OpenRecordError::NoKey => "key.none".to_owned(),
            error => name("record", error),
        })
    })?;
    let info = &opened.info;
    info.verify_metadata(&v.headers).map_err(refused("info"))?;

    let (dek, id) = (&opened.dek, opened.envelope.object_id);
    let footer_bytes = tail
        .try_into()
        .map_err(|_| Refused::at_once("footer.missing"))?;
    let footer =
        Footer::open(Engine::default(), dek, &id, footer_bytes).map_err(refused("footer"))?;
    let stored_len = v.bytes.len() as u64;
    footer
        .verify_stored_len(stored_len)
        .map_err(refused("mismatch"))?;
    info.verify_footer(&footer).map_err(refused("info"))?;

    let preamble_bytes: &[u8; PREAMBLE_LEN] = v.bytes.first_chunk().unwrap();
    let core = Preamble::decode(preamble_bytes)
        .map_err(refused("preamble"))?
        .core;
    if core.object_id != id {
        return Err(Refused::at_once("object_id"));
    }
    core.verify_commitment(dek)
        .map_err(|_| Refused::at_once("commitment"))?;
    footer
        .verify_preamble(preamble_bytes)
        .map_err(refused("mismatch"))?;

    let mut released = Vec::new();
    let Some(parts) = footer.parts else {
        assert_eq!(footer.core(dek, id), core);
        let layout = footer.layout(stored_len).unwrap();
        stream(
            dek,
            &core,
            &layout,
            Some(footer.header),
            &v.bytes,
            &mut released,
        )?;
        return Ok(released);
    };
    let table = v.bytes.len() - FOOTER_LEN - parts.table_len as usize;
    let entries = PartTable::new(Engine::default(), dek, &id, &footer)
        .unwrap()
        .open(&v.bytes[table..v.bytes.len() - FOOTER_LEN])
        .map_err(refused("table"))?;
    footer
        .verify_entries(&entries, stored_len)
        .map_err(refused("mismatch"))?;
    verify_sums(&footer, &entries).map_err(refused("table"))?;
    let mut rest = &v.bytes[..table];
    for entry in &entries {
        let layout = entry.layout(footer.segment_size).unwrap();
        let (part, behind) = rest.split_at(layout.part_len() as usize);
        let core = entry.core(dek, id, footer.segment_size);
        part_preamble(part, &core, &footer)
            .and_then(|()| stream(dek, &core, &layout, entry.header, part, &mut released))
            .map_err(|refused| Refused {
                released: released.clone(),
                ..refused
            })?;
        rest = behind;
    }
    assert!(rest.is_empty());
    Ok(released)
}

/// Checks the preamble of a part.
fn part_preamble(part: &[u8], core: &Core, footer: &Footer) -> Result<(), Refused> {
    let bytes = part.first_chunk().unwrap();
    let preamble = Preamble::decode(bytes).map_err(refused("preamble"))?;
    if preamble.core != *core {
        return Err(Refused::at_once("mismatch.preamble"));
    }
    footer.verify_preamble(bytes).map_err(refused("mismatch"))
}

/// Opens a stream behind its preamble.
fn stream(
    dek: &Dek,
    core: &Core,
    layout: &Layout,
    pinned: Option<StreamHeader>,
    bytes: &[u8],
    released: &mut Vec<u8>,
) -> Result<(), Refused> {
    let header_bytes: &[u8; STREAM_HEADER_LEN] = bytes[PREAMBLE_LEN..].first_chunk().unwrap();
    let header =
        StreamHeader::decode(header_bytes).map_err(|_| Refused::at_once("stream.header"))?;
    if pinned.is_some_and(|pinned| pinned != header) {
        return Err(Refused::at_once("mismatch.stream_header"));
    }
    let opener = Opener::new(
        Engine::default(),
        dek,
        &header,
        core.segment_size,
        &core.encode(),
    )
    .unwrap();
    for index in 0..layout.segments() {
        let range = layout.segment_stored_range(index);
        let mut segment = bytes[range.start as usize..range.end as usize].to_vec();
        match opener.open_in_place(index, layout.is_last(index), &mut segment) {
            Ok(n) => released.extend_from_slice(&segment[..n]),
            Err(error) => {
                return Err(Refused {
                    released: released.clone(),
                    error: name("segment", &error),
                });
            }
        }
    }
    Ok(())
}

/// Reads an object from its bytes alone.
fn recover(bytes: &[u8], keyring: &Keyring) -> Result<Vec<u8>, Refused> {
    let mut released = Vec::new();
    let result = now(offline::open(Cursor::new(bytes), keyring, &mut released));
    let error = match result {
        Ok(_) => return Ok(released),
        Err(OfflineError::Preamble(error)) => name("preamble", &error),
        Err(OfflineError::Footer(error)) => name("footer", &error),
        Err(OfflineError::Layout(error)) => name("layout", &error),
        Err(OfflineError::Envelope(error)) => name("envelope", &error),
        Err(OfflineError::Key(error)) => name("key", &error),
        Err(OfflineError::Mismatch(error)) => name("mismatch", &error),
        Err(OfflineError::Table(error)) => name("table", &error),
        Err(OfflineError::Sums(error)) => name("table", &error),
        Err(OfflineError::Segment(error)) => name("segment", &error),
        Err(OfflineError::Commitment(_)) => "commitment".to_owned(),
        Err(OfflineError::Header(_)) => "stream.header".to_owned(),
        Err(OfflineError::ObjectId) => "object_id".to_owned(),
        Err(OfflineError::NoEnvelope) => "envelope.none".to_owned(),
        Err(OfflineError::NoKey) => "key.none".to_owned(),
        Err(OfflineError::Md5) => "plaintext.md5".to_owned(),
        Err(OfflineError::Checksum(_)) => "plaintext.checksum".to_owned(),
        Err(other) => name("offline", &other),
    };
    Err(Refused { released, error })
}

fn compare(vector: &str, how: &str, expected: &Value, found: Result<Vec<u8>, Refused>) {
    match found {
        Ok(plaintext) => {
            assert_eq!(expected["error"], Value::Null, "{vector} {how} opened");
            assert_eq!(expected["plaintext_len"], plaintext.len(), "{vector} {how}");
            let digest = hex::encode(Sha256::digest(&plaintext));
            assert_eq!(expected["sha256"], digest, "{vector} {how}");
            assert!(plaintext == pattern(plaintext.len()), "{vector} {how}");
        }
        Err(refused) => {
            assert_eq!(expected["error"], refused.error, "{vector} {how}");
            let right = pattern(refused.released.len());
            assert!(refused.released == right, "{vector} {how}: a wrong byte");
        }
    }
}

#[test]
fn every_vector_opens_or_fails_as_listed() {
    let vectors = vectors();
    assert!(vectors.len() > 100, "{}", vectors.len());
    for v in &vectors {
        compare(&v.name, "serve", &v.serve, serve(v));
        compare(
            &v.name,
            "recover",
            &v.recover,
            recover(&v.bytes, &v.keyring),
        );
    }
}

#[test]
fn the_vectors_are_those_that_the_example_makes() {
    let made = make_vectors::files();
    for (name, content) in &made {
        let on_disk = fs::read(Path::new(FOLDER).join(name)).unwrap();
        assert!(on_disk == *content, "{name}: run the example make_vectors");
    }
    let files = fs::read_dir(Path::new(FOLDER).join("v1")).unwrap();
    let mut files: Vec<PathBuf> = files.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| !made.keys().any(|name| path.ends_with(name)));
    assert_eq!(files, Vec::<PathBuf>::new(), "files that no vector uses");
}

/// Reads a changed object both ways; the plaintext is known, and no other byte may come out.
fn must_refuse(v: &Vector, how: &str) {
    let plaintext = pattern(v.serve["plaintext_len"].as_u64().unwrap() as usize);
    for (way, found) in [
        ("serve", serve(v)),
        ("recover", recover(&v.bytes, &v.keyring)),
    ] {
        match found {
            Ok(_) => panic!("{} {how}: {way} opened it", v.name),
            Err(refused) => assert!(
                plaintext.starts_with(&refused.released),
                "{} {how}: {way} released a wrong byte",
                v.name
            ),
        }
    }
}

#[test]
fn every_flipped_byte_of_an_object_is_noticed() {
    let mut v = vector("base");
    for at in 0..v.bytes.len() {
        v.bytes[at] ^= 1 << (at % 8);
        must_refuse(&v, &format!("byte {at}"));
        v.bytes[at] ^= 1 << (at % 8);
    }
}

#[test]
fn every_flipped_byte_of_an_object_in_parts_is_noticed() {
    for (name, step) in [
        ("parts_one_empty", 1),
        ("parts_not_pinned", 17),
        ("parts_many", 211),
    ] {
        let mut v = vector(name);
        for at in (0..v.bytes.len()).step_by(step) {
            v.bytes[at] ^= 1 << (at % 8);
            must_refuse(&v, &format!("byte {at}"));
            v.bytes[at] ^= 1 << (at % 8);
        }
    }
}

#[test]
fn every_truncation_and_extension_is_noticed() {
    let mut v = vector("size_4041_first_segment_and_one");
    let whole = v.bytes.clone();
    for len in (0..whole.len()).filter(|len| len % 7 == 0 || *len > 4_000) {
        v.bytes.truncate(0);
        v.bytes.extend_from_slice(&whole[..len]);
        must_refuse(&v, &format!("cut to {len}"));
        // Cut out before the footer, so that the footer is still the end.
        if len >= FOOTER_LEN {
            let head = len - FOOTER_LEN;
            v.bytes = whole[..head].to_vec();
            v.bytes
                .extend_from_slice(&whole[whole.len() - FOOTER_LEN..]);
            must_refuse(&v, &format!("cut to {head} and the footer"));
        }
    }
    for extra in [1, 16, 17, 256, 4_096] {
        v.bytes.clone_from(&whole);
        v.bytes.extend(std::iter::repeat_n(0, extra));
        must_refuse(&v, &format!("{extra} bytes appended"));
        v.bytes.clone_from(&whole);
        let again = whole[whole.len() - extra..].to_vec();
        v.bytes.extend(again);
        must_refuse(&v, &format!("last {extra} bytes repeated"));
    }
}

#[test]
fn segments_of_an_object_keep_their_place() {
    let mut v = vector("length_not_declared");
    let whole = v.bytes.clone();
    let segments: Vec<&[u8]> = whole[PREAMBLE_LEN..whole.len() - FOOTER_LEN]
        .chunks(4_096)
        .collect();
    assert_eq!(segments.len(), 4);
    for order in [
        &[1, 0, 2, 3][..],
        &[0, 2, 1, 3],
        &[0, 1, 3, 2],
        &[0, 1, 3],
        &[0, 3],
        &[0],
        &[3],
        &[0, 1, 2],
        &[0, 1, 1, 2, 3],
        &[0, 1, 2, 2, 3],
        &[0, 1, 2, 3, 3],
        &[0, 1, 1, 3],
        &[0, 0, 2, 3],
        &[],
    ] {
        v.bytes = whole[..PREAMBLE_LEN].to_vec();
        v.bytes.extend(order.iter().flat_map(|&i| segments[i]));
        v.bytes
            .extend_from_slice(&whole[whole.len() - FOOTER_LEN..]);
        must_refuse(&v, &format!("segments {order:?}"));
    }
}

#[test]
fn every_changed_character_of_the_metadata_is_noticed() {
    let mut v = vector("base");
    for (header, value) in v.headers.clone() {
        for at in 0..value.len() {
            let mut changed = value.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            v.headers.insert(header.clone(), changed);
            assert!(serve(&v).is_err(), "{header} {at}");
        }
        v.headers.insert(header, value);
    }
}

#[test]
fn inspection_needs_no_key() {
    let v = vector("two_recipients_first_key_not_held");
    let seen = offline::inspect(Cursor::new(&v.bytes)).unwrap();
    assert_eq!(seen.stored_len, v.bytes.len() as u64);
    assert_eq!(seen.layout.unwrap().plaintext_len(), 100);
    assert_eq!(seen.footer, Ok(()));
    let text = seen.to_string();
    for part in [
        "local spare 1",
        "local main 2",
        "4096",
        "footer            present",
    ] {
        assert!(text.contains(part), "{text}");
    }
    let cut = offline::inspect(Cursor::new(&v.bytes[..600])).unwrap();
    assert!(cut.layout.is_err() && cut.footer.is_err());
}

#[test]
fn inspection_names_parts() {
    let v = vector("parts_of_several_sizes_and_gaps_in_numbers");
    let seen = offline::inspect(Cursor::new(&v.bytes)).unwrap();
    assert_eq!(seen.layout.unwrap().plaintext_len(), 3_000);
    assert_eq!(seen.table_len, Some(3 * 76 + 56));
    let text = seen.to_string();
    for part in [
        "first part        1",
        "its length        3000",
        "part table        284 bytes",
        "footer            present",
    ] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn a_failing_writer_is_an_error() {
    let v = vector("long");
    let mut small = [0; 5_000];
    let result = now(offline::open(
        Cursor::new(&v.bytes),
        &v.keyring,
        &mut small[..],
    ));
    assert!(matches!(result, Err(OfflineError::Io(_))));
}
