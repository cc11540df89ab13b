//! What the cache finds again, and what becomes of its file.

use std::fs;
use std::path::Path;

use proptest::prelude::*;

use super::*;

fn key(n: usize) -> FactKey {
    FactKey {
        bucket: "bucket".into(),
        key: format!("key-{n}"),
        store_etag: format!("etag-{n}"),
        stored_len: n as u64,
    }
}

fn fact(n: usize) -> Fact {
    Fact {
        plaintext_len: n as u64 * 3,
        tag: match n % 3 {
            0 => FactTag::Md5([n as u8; 16]),
            1 => FactTag::Opaque,
            _ => FactTag::Plain,
        },
        checksum: match n % 6 {
            0 => checksums().nth(n % 10),
            _ => None,
        },
    }
}

fn checksums() -> impl Iterator<Item = ChecksumKind> {
    let kinds = [ChecksumType::FullObject, ChecksumType::Composite];
    let all = ChecksumAlgorithm::ALL.into_iter();
    all.flat_map(move |algorithm| kinds.map(|kind| ChecksumKind { algorithm, kind }))
}

fn open(bytes: u64, path: Option<&Path>) -> Result<Facts, FactsError> {
    Facts::open(bytes, path, Box::new(|_| "scope".into()))
}

const MIB: u64 = 1 << 20;

#[test]
fn only_the_very_same_bytes_are_found() {
    let facts = open(MIB, None).unwrap();
    facts.learn(key(1), fact(1));
    assert_eq!(facts.find(&key(1)), Some(fact(1)));
    let others: [fn(&mut FactKey); 6] = [
        |key| key.bucket.push('x'),
        |key| key.key.push('x'),
        |key| key.store_etag.push('x'),
        |key| key.stored_len += 1,
        // The same characters, cut elsewhere.
        |key| {
            let first = key.key.remove(0);
            key.bucket.push(first);
        },
        |key| {
            let last = key.key.pop().unwrap();
            key.store_etag.insert(0, last);
        },
    ];
    for other in others {
        let mut key = key(1);
        other(&mut key);
        assert_eq!(facts.find(&key), None, "{key:?}");
    }
}

#[test]
fn its_memory_is_bounded_in_bytes() {
    // Sizes at which what grows by doubling has just doubled, and others.
    for bytes in (4..=16).map(|eighths| eighths * MIB / 4) {
        let facts = open(bytes, None).unwrap();
        for n in 0..3 * (bytes / ENTRY_BYTES) as usize {
            facts.learn(key(n), fact(n));
        }
        let entries = facts.entries.as_ref().unwrap();
        let used = entries.memory_used();
        let used = (used.entries + used.map) as u64;
        assert!(used <= bytes, "{used} of {bytes}");
        assert!(entries.len() as u64 > bytes / ENTRY_BYTES / 2);
    }
    let none = open(0, None).unwrap();
    none.learn(key(1), fact(1));
    assert_eq!(none.find(&key(1)), None);
}

#[test]
fn a_file_keeps_what_was_learnt() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("facts");
    let facts = open(MIB, Some(&path)).unwrap();
    for n in 0..100 {
        facts.learn(key(n), fact(n));
    }
    // Learnt anew, with another outcome.
    facts.learn(key(7), fact(8));
    drop(facts);
    let facts = open(MIB, Some(&path)).unwrap();
    for n in 0..100 {
        assert_eq!(facts.find(&key(n)), Some(fact(if n == 7 { 8 } else { n })));
    }
    drop(facts);
    // Under other keys or another binding nothing of it holds.
    let other = Facts::open(MIB, Some(&path), Box::new(|_| "other".into())).unwrap();
    assert!((0..100).all(|n| other.find(&key(n)).is_none()));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[test]
fn a_file_is_bounded_and_keeps_the_newest() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("facts");
    let rows = 1000;
    let bytes = rows as u64 * ENTRY_BYTES;
    let mut size = 0;
    for round in 0..6 {
        let facts = open(bytes, Some(&path)).unwrap();
        for n in 0..rows {
            facts.learn(key(round * rows + n), fact(n));
        }
        drop(facts);
        let now = fs::metadata(&path).unwrap().len();
        assert!(round < 3 || now <= size, "grows from {size} to {now}");
        size = size.max(now);
    }
    // So small a file is mostly room for the pages of the next batch; a large one takes half as much again.
    assert!(size <= 4 * bytes, "{size} for {bytes}");
    let (disk, known) = Disk::open(&path, 10 * rows).unwrap();
    assert_eq!(known.len(), rows);
    drop(disk);
    let (_disk, known) = Disk::open(&path, 10).unwrap();
    let facts = open(bytes, None).unwrap();
    let newest: Vec<Place> = (6 * rows - 10..6 * rows)
        .map(|n| facts.place(&key(n)))
        .collect();
    assert_eq!(
        known
            .into_iter()
            .map(|(place, _)| place)
            .collect::<Vec<_>>(),
        newest
    );
}

#[test]
fn a_file_in_use_is_an_error_and_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("facts");
    let first = open(MIB, Some(&path)).unwrap();
    first.learn(key(1), fact(1));
    let Err(error) = open(MIB, Some(&path)) else {
        panic!("opened twice");
    };
    assert!(matches!(error, FactsError::InUse(_)), "{error}");
    assert!(error.to_string().contains("in use by another process"));
    drop(first);
    assert_eq!(open(MIB, Some(&path)).unwrap().find(&key(1)), Some(fact(1)));
    let Err(error) = open(MIB, Some(&folder.path().join("no/such/folder"))) else {
        panic!("made a folder");
    };
    assert!(matches!(error, FactsError::Open { .. }), "{error}");
}

#[test]
fn a_file_that_is_something_else_is_put_aside() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("facts");
    let other = {
        let path = folder.path().join("other");
        let database = redb::Database::create(&path).unwrap();
        let writing = database.begin_write().unwrap();
        let table: redb::TableDefinition<'_, &str, u64> = redb::TableDefinition::new("objects");
        writing.open_table(table).unwrap().insert("a", 1).unwrap();
        writing.commit().unwrap();
        drop(database);
        fs::read(&path).unwrap()
    };
    for content in [
        b"not a database at all".to_vec(),
        vec![0; 1 << 16],
        vec![0xff; 5000],
        other,
    ] {
        fs::write(&path, &content).unwrap();
        let facts = open(MIB, Some(&path)).unwrap();
        facts.learn(key(1), fact(1));
        drop(facts);
        assert_eq!(open(MIB, Some(&path)).unwrap().find(&key(1)), Some(fact(1)));
        let aside = folder.path().join("facts.unusable");
        assert_eq!(fs::read(&aside).unwrap().len(), content.len());
        fs::remove_file(&aside).unwrap();
        fs::remove_file(&path).unwrap();
    }
}

/// Whatever happens to the file, the gateway starts, and what it then believes is true.
#[test]
fn a_damaged_file_costs_time_and_no_truth() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("facts");
    let facts = open(MIB, Some(&path)).unwrap();
    for n in 0..500 {
        facts.learn(key(n), fact(n));
    }
    drop(facts);
    let good = fs::read(&path).unwrap();
    let mut put_aside = 0;
    for round in 0..60usize {
        let mut bad = good.clone();
        match round % 3 {
            0 => bad.truncate(good.len() * round / 60),
            1 => {
                let at = round * 7_919_777 % bad.len();
                bad[at] ^= 1 << (round % 8);
            }
            _ => {
                let at = round * 104_729 % (bad.len() - 4096);
                bad[at..at + 4096].fill(round as u8);
            }
        }
        fs::write(&path, bad).unwrap();
        let facts = open(MIB, Some(&path)).unwrap();
        for n in 0..500 {
            let found = facts.find(&key(n));
            assert!(found.is_none() || found == Some(fact(n)), "{round}: {n}");
        }
        facts.learn(key(1000), fact(1000));
        drop(facts);
        let aside = folder.path().join("facts.unusable");
        put_aside += usize::from(fs::remove_file(&aside).is_ok());
    }
    assert!(put_aside > 10, "{put_aside}");
}

/// What an earlier version wrote of sealed objects says nothing of their checksums, so it is learnt again.
#[test]
fn facts_of_an_earlier_version_are_missed() {
    let len = 7u64.to_be_bytes();
    for (kind, rest) in [(1, &[9; 16][..]), (2, &[]), (4, &[9; 18])] {
        assert_eq!(Fact::decode(&[&[kind], &len[..], rest].concat()), None);
    }
    let plain = Fact::decode(&[&[3], &len[..]].concat()).unwrap();
    assert_eq!((plain.plaintext_len, plain.tag), (7, FactTag::Plain));
}

proptest! {
    #[test]
    fn facts_are_read_back(plaintext_len: u64, md5: [u8; 16], parts: u16, kind in 0..3, checksum in 0..11usize) {
        let tag = [FactTag::Md5(md5), FactTag::Opaque, FactTag::Multipart(md5, parts)][kind as usize];
        let checksum = checksums().nth(checksum);
        let fact = Fact { plaintext_len, tag, checksum };
        prop_assert_eq!(Fact::decode(&fact.encode()), Some(fact));
        let plain = Fact { tag: FactTag::Plain, checksum: None, ..fact };
        prop_assert_eq!(Fact::decode(&plain.encode()), Some(plain));
    }

    #[test]
    fn any_bytes_are_read_or_not(bytes: Vec<u8>) {
        if let Some(fact) = Fact::decode(&bytes) {
            prop_assert_eq!(fact.encode(), bytes);
        }
    }
}
