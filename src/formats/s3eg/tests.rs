use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use proptest::prelude::*;

use super::super::Unsupported;
use super::super::vectors::{self, Vector, attack, read, verify};
use super::metadata::*;
use super::*;

const PASSWORDS: [&str; 3] = [
    "never used for any object",
    "correct horse battery staple",
    "пароль of another bucket",
];

fn format() -> S3eg {
    S3eg::new(PASSWORDS.map(str::as_bytes))
}

/// Derivations are slow: one format, and so one cache, serves a test.
fn load() -> (S3eg, Vec<Vector>) {
    (format(), vectors::load("s3eg"))
}

fn refusal(name: &str) -> Unsupported {
    match name {
        "algorithm" => Unsupported::Algorithm,
        "key" => Unsupported::KeyKind,
        "compressed" => Unsupported::Compressed,
        "body" => Unsupported::InBody,
        "work" => Unsupported::WorkFactor,
        "unauthenticated" => Unsupported::Unauthenticated,
        "manifest" => Unsupported::Companion,
        other => panic!("{other}"),
    }
}

#[test]
fn all_vectors_open_or_are_refused() {
    let (format, vectors) = load();
    assert!(vectors.len() > 30);
    for vector in &vectors {
        assert!(PASSWORDS.contains(&vector.password.as_deref().unwrap()));
        match &vector.refused {
            None => vectors::check(&format, vector),
            Some(why) => {
                let refused = refusal(why).into();
                assert_eq!(read(&format, vector, 100), Err(refused), "{}", vector.name);
                assert!(looks_like(&vector.headers()), "{}", vector.name);
            }
        }
    }
}

#[test]
fn every_flipped_byte_is_found() {
    let (format, vectors) = load();
    let mut done = 0;
    for vector in vectors {
        if vector.refused.is_none() && vector.body.len() < 150 {
            attack(&format, &vector);
            done += 1;
        }
    }
    assert!(done > 10);
}

#[test]
fn cuts_at_borders_and_swaps_are_found() {
    let (format, vectors) = load();
    let named = |name: &str| vectors.iter().find(|v| v.name == name).unwrap();
    let chunk = 16384 + 16;
    for name in ["old-wrapped-xor", "direct-hkdf", "direct-xor"] {
        let vector = named(name);
        for keep in [
            0,
            1,
            16,
            17,
            chunk - 1,
            chunk,
            chunk + 1,
            chunk + 16,
            2 * chunk - 1,
            vector.body.len() - 1,
        ] {
            let mut short = vector.clone();
            short.body.truncate(keep);
            assert!(verify(&format, &short, 1000).is_err(), "{name} {keep}");
        }
        let mut swapped = vector.clone();
        let (first, second) = swapped.body.split_at_mut(chunk);
        first.swap_with_slice(&mut second[..chunk]);
        assert_eq!(
            verify(&format, &swapped, 1000).err(),
            Some(Integrity::Segment)
        );
        // A flip in the last chunk, of which nothing may come either.
        let mut flipped = vector.clone();
        let last = flipped.body.len() - 17;
        flipped.body[last] ^= 1;
        assert_eq!(
            verify(&format, &flipped, 1000).err(),
            Some(Integrity::Segment)
        );
    }
    // What the specification says is not authenticated: the length, where no header tells it.
    let mut short = named("new-no-sizes").clone();
    short.body.truncate(chunk);
    assert_eq!(
        read(&format, &short, 1000).unwrap(),
        short.plaintext()[..16384]
    );
    // Metadata of another object.
    for (one, two) in [
        ("new-17", "new-16"),
        ("whole-direct-17", "whole-direct-16"),
        ("new-17", "whole-direct-17"),
        ("whole-wrapped-old", "whole-wrapped-new"),
    ] {
        for (one, two) in [(one, two), (two, one)] {
            let mut swapped = named(one).clone();
            swapped.metadata = named(two).metadata.clone();
            assert!(read(&format, &swapped, 1000).is_err(), "{one} {two}");
        }
    }
}

#[test]
fn each_header_matters() {
    let (format, vectors) = load();
    let named = |name: &str| vectors.iter().find(|v| v.name == name).unwrap();
    let with = |vector: &str, name: &str, value: Option<&str>| {
        let mut changed = named(vector).clone();
        changed.metadata.remove(name);
        if let Some(value) = value {
            changed.metadata.insert(name.into(), value.into());
        }
        read(&format, &changed, 1000).err()
    };
    let old = "old-wrapped-hkdf";
    for name in [ENCRYPTED, NONCE, MANIFEST] {
        assert_eq!(
            with(old, name, None),
            Some(Integrity::MetadataStripped),
            "{name}"
        );
        assert_eq!(
            with(old, name, Some("?")),
            Some(if name == ENCRYPTED {
                Integrity::MetadataStripped
            } else {
                Integrity::MetadataMalformed
            }),
            "{name}"
        );
    }
    let other = named("new-17").metadata[WRAPPED].clone();
    assert_eq!(with(old, WRAPPED, Some(&other)), Some(Integrity::Segment));
    let mut broken = STANDARD.decode(&named(old).metadata[WRAPPED]).unwrap();
    broken[91] ^= 1;
    assert_eq!(
        with(old, WRAPPED, Some(&STANDARD.encode(&broken))),
        Some(Integrity::NoKey)
    );
    assert_eq!(
        with(old, WRAPPED, Some("AAAA")),
        Some(Integrity::MetadataMalformed)
    );
    for (size, wrong) in [
        ("16484", None),
        ("16485", Some(Integrity::Length)),
        ("-1", Some(Integrity::MetadataMalformed)),
        ("+16484", Some(Integrity::MetadataMalformed)),
    ] {
        assert_eq!(with(old, SIZE, Some(size)), wrong);
        assert_eq!(with(old, DECLARED_SIZE, Some(size)), wrong);
    }
    for (size, wrong) in [
        ("16384", None),
        ("65536", Some(Integrity::MetadataMalformed)),
    ] {
        assert_eq!(with(old, CHUNK_SIZE, Some(size)), wrong);
    }
    assert_eq!(
        with(old, NONCE_DERIVATION, Some("xor")),
        Some(Integrity::MetadataMalformed)
    );
    assert_eq!(
        with("old-wrapped-xor", NONCE_DERIVATION, Some("hkdf-sha256")),
        Some(Integrity::MetadataMalformed)
    );
    let manifest = |json: &str| with(old, MANIFEST, Some(&STANDARD.encode(json)));
    let nonce = named(old).metadata[NONCE].clone();
    let hkdf = r#""ivd":"hkdf-sha256""#;
    assert_eq!(
        manifest(&format!(
            r#"{{"v":1,"cs":16384,"cc":0,"iv":"{nonce}",{hkdf}}}"#
        )),
        None
    );
    assert_eq!(
        manifest(&format!(
            r#"{{"v":2,"cs":16384,"cc":0,"iv":"{nonce}",{hkdf}}}"#
        )),
        Some(Unsupported::Algorithm.into())
    );
    assert_eq!(
        manifest(&format!(
            r#"{{"v":1,"cs":16384,"iv":"{nonce}","ivs":["x"],{hkdf}}}"#
        )),
        Some(Unsupported::Algorithm.into())
    );
    for bad in [
        format!(r#"{{"v":1,"cs":16383,"cc":0,"iv":"{nonce}",{hkdf}}}"#),
        format!(r#"{{"v":1,"cs":18446744073709551615,"cc":0,"iv":"{nonce}",{hkdf}}}"#),
        format!(r#"{{"v":1,"cs":16384,"cc":0,"iv":"AAAAAAAAAAAAAAAA",{hkdf}}}"#),
        format!(r#"{{"v":1,"cs":16384,"cc":0,"iv":"{nonce}",{hkdf},"more":1}}"#),
        "[]".into(),
    ] {
        assert_eq!(manifest(&bad), Some(Integrity::MetadataMalformed), "{bad}");
    }
    // What the one tag covers.
    for (name, value) in [
        (CONTENT_TYPE, "text/html"),
        (VERSION, "2"),
        (NONCE, "AAAAAAAAAAAAAAAA"),
        (DERIVATION, "pbkdf2-sha256:600000"),
    ] {
        assert_eq!(
            with("whole-wrapped-new", name, Some(value)).is_some(),
            name != DERIVATION,
            "{name}"
        );
    }
    assert_eq!(
        with("whole-wrapped-new", CONTENT_TYPE, None),
        Some(Integrity::Object)
    );
    for rounds in ["99999", "2000001", "4294967396"] {
        let value = format!("pbkdf2-sha256:{rounds}");
        assert_eq!(
            with("direct-xor", DERIVATION, Some(&value)),
            Some(Unsupported::WorkFactor.into())
        );
    }
}

#[test]
fn a_client_may_say_encrypted() {
    let format = format();
    let claim = |names: &[(&'static str, &str)]| {
        let mut headers = HeaderMap::new();
        for (name, value) in names {
            headers.insert(*name, value.parse().unwrap());
        }
        let object = Described {
            bucket: "b",
            key: "k",
            headers: &headers,
        };
        format.claim(object).map(|claim| claim.is_some())
    };
    assert_eq!(claim(&[]), Ok(false));
    assert_eq!(claim(&[("x-amz-meta-encrypted", "true")]), Ok(false));
    assert_eq!(
        claim(&[("x-amz-meta-original-content-length", "7")]),
        Ok(false)
    );
    assert_eq!(
        claim(&[("x-amz-meta-encryption-iv", "AAAA")]),
        Err(Integrity::MetadataStripped)
    );
}

#[test]
fn a_key_is_derived_once() {
    let (format, vectors) = load();
    let vector = vectors
        .iter()
        .find(|v| v.name == "direct-hkdf-kdf")
        .unwrap();
    read(&format, vector, 1000).unwrap();
    assert_eq!(format.0.kept(), PASSWORDS.len());
    read(&format, vector, 1000).unwrap();
    assert_eq!(format.0.kept(), PASSWORDS.len());
    let none = S3eg::new([]);
    assert_eq!(read(&none, vector, 1000), Err(Integrity::NoKey));
    let wrong = S3eg::new([PASSWORDS[0].as_bytes()]);
    assert_eq!(read(&wrong, vector, 1000), Err(Integrity::Segment));
}

proptest! {
    /// Whatever the metadata says: no panic. There is no password, so nothing is derived.
    #[test]
    fn any_metadata_is_answered(
        which in any::<prop::sample::Index>(),
        name in any::<prop::sample::Index>(),
        value in "[ -~]{0,60}",
        at in any::<prop::sample::Index>(),
        mode in 0..3,
    ) {
        static VECTORS: LazyLock<Vec<Vector>> = LazyLock::new(|| vectors::load("s3eg"));
        let vectors: Vec<&Vector> = VECTORS.iter().filter(|v| v.refused.is_none() && v.body.len() < 100).collect();
        let mut vector = vectors[which.index(vectors.len())].clone();
        let names: Vec<String> = vector.metadata.keys().cloned().collect();
        let name = &names[name.index(names.len())];
        let old = vector.metadata[name].clone();
        let new = match mode {
            0 => value,
            1 => format!("{}{value}", &old[..at.index(old.len() + 1)]),
            _ => {
                let mut bytes = old.into_bytes();
                let at = at.index(bytes.len());
                bytes[at] = value.bytes().next().unwrap_or(b'A');
                String::from_utf8(bytes).unwrap()
            }
        };
        vector.metadata.insert(name.clone(), new);
        let headers = vector.headers();
        let format = S3eg::new([]);
        let object = Described { bucket: "b", key: "k", headers: &headers };
        if let Ok(Some(claimed)) = format.claim(object) {
            for len in [0, 1, 15, 16, 17, 32, vector.body.len() as u64, u64::MAX] {
                let _ = claimed.plaintext_len(len);
                prop_assert!(claimed.checker(len, &[]).is_err());
            }
        }
    }

    /// Lengths and places agree with what chunks there are.
    #[test]
    fn lengths_fit_the_chunks(size in 16384..=1_048_576u64, len in 0..20_000_000u64) {
        let chunks = Chunks { size, nonce: [0; NONCE_LEN], nonces: chunks::Nonces::Counted };
        let stored = len + len.div_ceil(size) * 16;
        prop_assert_eq!(chunks.plaintext_len(stored), Some(len));
        if len % size == 0 {
            for more in 1..=16 {
                prop_assert_eq!(chunks.plaintext_len(stored + more), None);
            }
        }
        prop_assert_eq!(chunks.plaintext_len(u64::MAX), None);
    }
}
