//! Writes the vectors of the object format, from fixed keys and salts: `cargo run --example make_vectors`.
//!
//! Objects are put together here from the specification's tables and not by the crate's own writers
//! where a vector must hold what those refuse to write. A test includes this file and checks that the
//! vectors on disk are the ones that it makes.

#[path = "make_vectors/parts.rs"]
mod parts;

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;

use hkdf::Hkdf;
use md5::Md5;
use sealgate::aead::{
    Checksum, ChecksumAlgorithm, Core, Dek, Engine, FOOTER_MAGIC, ObjectId, SealStream,
    SegmentSize, StreamHeader,
};
use sealgate::envelope::{
    Envelope, HEADER_ENVELOPE, HEADER_INFO, HEADER_MAC, Info, MacList, Recipient, RecipientKind,
    Record, binding_message, metadata_digest,
};
use sealgate::keys::{Context, KeyEncryptionKey, KeyId, Keyring, LocalKey};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Where the vectors stand.
pub const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/format-spec/vectors");

const BUCKET: &str = "backups";
const KEY: &str = "2026/db dump/Größe.tar";

#[allow(dead_code, reason = "not called where a test includes this file")]
fn main() -> std::io::Result<()> {
    for (name, content) in files() {
        let path = Path::new(FOLDER).join(name);
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new(FOLDER)))?;
        std::fs::write(path, content)?;
    }
    Ok(())
}

/// Every file of the vectors by its name: the objects, and `v1.json` that lists them.
pub fn files() -> BTreeMap<String, Vec<u8>> {
    let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut rows = Vec::new();
    let mut cases = opened();
    cases.extend(preambles());
    cases.extend(streams());
    cases.extend(footers());
    cases.extend(records());
    cases.extend(parts::opened());
    cases.extend(parts::parts());
    cases.extend(parts::tables());
    cases.extend(parts::footers());
    for case in cases {
        let built = build(&case.plan);
        let same = files.iter().find(|(_, bytes)| **bytes == built.bytes);
        let file = same.map_or_else(|| format!("v1/{}.bin", case.name), |(name, _)| name.clone());
        rows.push(case.row(&built, &file));
        files.insert(file, built.bytes);
    }
    let list = serde_json::to_string_pretty(&rows).unwrap() + "\n";
    files.insert("v1.json".to_owned(), list.into_bytes());
    files
}

/// The plaintext of every vector.
pub fn pattern(len: usize) -> Vec<u8> {
    (0..len)
        .map(|i| (i * 131 + (i >> 8) * 17 + 7) as u8)
        .collect()
}

/// The keys that vectors use: name, version and 32 bytes.
pub fn key_bytes(name: &str, version: u32) -> [u8; 32] {
    seed(&format!("key {name} {version}"))
}

/// A vector: how it is made and what must happen. Errors are named as in the specification.
struct Case {
    name: &'static str,
    plan: Plan,
    /// By a server that has the metadata.
    serve: Result<(), &'static str>,
    /// From the raw bytes alone.
    recover: Result<(), &'static str>,
}

impl Case {
    fn row(&self, built: &Built, file: &str) -> Value {
        let outcome = |expected: Result<(), &str>| match expected {
            Ok(()) => json!({
                "plaintext_len": self.plan.len,
                "sha256": hex(&Sha256::digest(pattern(self.plan.len))),
            }),
            Err(error) => json!({ "error": error }),
        };
        let keys: Vec<Value> = self
            .plan
            .held
            .iter()
            .map(|&(name, version, from)| {
                json!({ "id": name, "key": hex(&key_bytes(from, version)), "version": version })
            })
            .collect();
        json!({
            "bucket": self.plan.served_at.0,
            "file": file,
            "headers": built.headers,
            "key": self.plan.served_at.1,
            "keys": keys,
            "name": self.name,
            "recover": outcome(self.recover),
            "serve": outcome(self.serve),
        })
    }
}

type Edit = fn(&mut Vec<u8>);

fn keep(_: &mut Vec<u8>) {}

/// How an object is made. The edits are made before whatever authenticates the edited bytes, but for
/// those of `late`, `mac` and `headers`.
#[derive(Clone)]
struct Plan {
    seed: &'static str,
    len: usize,
    segment_size: u32,
    /// Whether the core names the plaintext length.
    declared: bool,
    md5: bool,
    checksum: Option<ChecksumAlgorithm>,
    /// The parts of an object in parts; of one stream there are none.
    parts: &'static [parts::Part],
    /// Whether the checksum is that of the parts' checksums.
    composite: bool,
    /// Recipients: name and version.
    recipients: &'static [(&'static str, u32)],
    /// Keys that the reader has: name, version, and the name whose bytes they have.
    held: &'static [(&'static str, u32, &'static str)],
    /// Bucket and key at which it is read; it is sealed for the constants above.
    served_at: (&'static str, &'static str),
    /// Edits the 80 core bytes.
    core: Edit,
    /// Edits the envelope.
    envelope: Edit,
    /// Edits the envelope in the metadata only.
    current_envelope: Edit,
    /// Edits the info record.
    info: Edit,
    /// Edits the 512 bytes after the stream was sealed, before the footer.
    preamble: Edit,
    /// Edits the stream, before the footer.
    stream: Edit,
    /// Edits the 80 core bytes of the part with an index.
    part_core: fn(usize, &mut Vec<u8>),
    /// Edits the entries of the part table.
    table: Edit,
    /// Edits the parts, the table and the footer when they are complete.
    pieces: fn(&mut Vec<Vec<u8>>),
    /// Edits the footer's 16 clear bytes.
    clear: Edit,
    /// Edits the footer's 212 body bytes.
    body: Edit,
    /// Edits the tags.
    mac: Edit,
    /// Edits the whole object when it is complete.
    late: Edit,
    /// Edits the headers when they are complete.
    headers: fn(&mut BTreeMap<String, String>),
}

const BASE: Plan = Plan {
    seed: "base",
    len: 100,
    segment_size: 4_096,
    declared: true,
    md5: true,
    checksum: Some(ChecksumAlgorithm::Crc64Nvme),
    parts: &[],
    composite: false,
    recipients: &[("main", 2)],
    held: &[
        ("main", 1, "main"),
        ("main", 2, "main"),
        ("spare", 1, "spare"),
    ],
    served_at: (BUCKET, KEY),
    core: keep,
    envelope: keep,
    current_envelope: keep,
    info: keep,
    preamble: keep,
    stream: keep,
    part_core: |_, _| {},
    table: keep,
    pieces: |_| {},
    clear: keep,
    body: keep,
    mac: keep,
    late: keep,
    headers: |_| {},
};

/// Four segments: three full ones and 100 bytes.
const LONG: Plan = Plan {
    seed: "long",
    len: 4_040 + 2 * 4_080 + 100,
    ..BASE
};

struct Built {
    bytes: Vec<u8>,
    headers: BTreeMap<String, String>,
}

fn build(plan: &Plan) -> Built {
    let plaintext = pattern(plan.len);
    let dek = Dek::new(seed(&format!("dek {}", plan.seed)));
    let object_id = ObjectId(head(&seed(&format!("object id {}", plan.seed))));
    let declared = plan.declared.then_some(plan.len as u64);

    let keys: Vec<LocalKey> = plan
        .recipients
        .iter()
        .map(|&(name, version)| local(name, version, name))
        .collect();
    let envelope = Envelope {
        object_id,
        recipients: keys.iter().map(|key| recipient(key, &dek)).collect(),
    };
    let envelope = edited(envelope.encode().unwrap(), plan.envelope);

    let bytes = if plan.parts.is_empty() {
        one_stream(plan, &dek, object_id, &envelope)
    } else {
        parts::object(plan, &dek, object_id, &envelope)
    };
    let bytes = edited(bytes, plan.late);

    let mut headers = BTreeMap::from(
        [
            ("cache-control", "no-cache"),
            ("content-type", "application/x-tar"),
            ("x-amz-meta-owner", "=?UTF-8?B?R3LDvMOfZQ==?="),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    let info = Info {
        plaintext_len: declared,
        md5: (plan.md5 && plan.parts.is_empty()).then(|| Md5::digest(&plaintext).into()),
        metadata_digest: Some(metadata_digest(&headers)),
    };
    let info = edited(info.encode().to_vec(), plan.info);
    let envelope = edited(envelope, plan.current_envelope);
    let message = binding_message(BUCKET, KEY, &envelope, &info);
    let tags = (0..)
        .zip(&keys)
        .map(|(index, key)| (index, now(key.tag(&message)).unwrap().unwrap()))
        .collect();
    let mac = edited(MacList::new(tags).unwrap().encode(), plan.mac);
    let record = Record {
        envelope,
        info,
        mac,
    };
    for (name, value) in record.to_headers() {
        headers.insert(name.to_owned(), value);
    }
    (plan.headers)(&mut headers);
    Built { bytes, headers }
}

/// Preamble, stream and footer.
fn one_stream(plan: &Plan, dek: &Dek, object_id: ObjectId, envelope: &[u8]) -> Vec<u8> {
    let header = StreamHeader {
        salt: seed(&format!("salt {}", plan.seed)),
        nonce_prefix: head(&seed(&format!("nonce prefix {}", plan.seed))),
    };
    let segment_size = SegmentSize::new(plan.segment_size).unwrap();
    let declared = plan.declared.then_some(plan.len as u64);
    let core = Core::single(dek, object_id, segment_size, declared).encode();
    let core = edited(core.to_vec(), plan.core);
    let mut preamble = core.clone();
    preamble.extend_from_slice(&(envelope.len() as u16).to_be_bytes());
    preamble.extend_from_slice(envelope);
    preamble.resize(512, 0);
    let preamble = edited(preamble, plan.preamble);

    let mut stream = Vec::new();
    let mut sealer = SealStream::new(Engine::Rust, dek, &header, segment_size, &core).unwrap();
    sealer.push(&pattern(plan.len), &mut stream).unwrap();
    sealer.finish(&mut stream).unwrap();
    let stream = edited(stream, plan.stream);

    let mut bytes = preamble.clone();
    bytes.extend_from_slice(&stream);
    bytes.extend_from_slice(&footer(plan, dek, &object_id, &header, &preamble));
    bytes
}

fn recipient(key: &LocalKey, dek: &Dek) -> Recipient {
    Recipient {
        kind: RecipientKind::Local,
        key_id: key.id().clone(),
        key_version: key.version(),
        wrapped: now(key.wrap(dek, Context::default())).unwrap(),
    }
}

/// The footer, from the tables of the specification's section 4.
fn footer(
    plan: &Plan,
    dek: &Dek,
    object_id: &ObjectId,
    header: &StreamHeader,
    preamble: &[u8],
) -> Vec<u8> {
    let plaintext = pattern(plan.len);
    let length = (plan.len as u64).to_be_bytes();
    let mut body = length.to_vec();
    body.extend_from_slice(if plan.declared { &length } else { &[0xff; 8] });
    body.extend_from_slice(&plan.segment_size.to_be_bytes());
    let checksum = plan.checksum.map(|algorithm| sum(algorithm, &plaintext));
    body.push(u8::from(plan.md5));
    body.push(checksum.map_or(0, |checksum| checksum.algorithm().code()));
    body.push(u8::from(checksum.is_some()));
    body.push(0);
    if plan.md5 {
        body.extend_from_slice(&Md5::digest(&plaintext));
    }
    body.resize(40, 0);
    body.extend_from_slice(checksum.as_ref().map_or(&[], Checksum::value));
    body.resize(72, 0);
    body.extend_from_slice(&header.salt);
    body.extend_from_slice(&header.nonce_prefix);
    body.push(0);
    body.extend_from_slice(&Sha256::digest(preamble));
    body.resize(212, 0);
    seal_footer(plan, dek, object_id, 1, [0; 4], body)
}

/// Seals a footer's body, behind its clear bytes with this role and length of the part table.
fn seal_footer(
    plan: &Plan,
    dek: &Dek,
    object_id: &ObjectId,
    role: u8,
    table_len: [u8; 4],
    body: Vec<u8>,
) -> Vec<u8> {
    let mut body = edited(body, plan.body);
    let mut clear = FOOTER_MAGIC.to_vec();
    clear.extend_from_slice(&[0, 1, 1, role]);
    clear.extend_from_slice(&table_len);
    let mut footer = edited(clear, plan.clear);
    let mut key = [0; 32];
    Hkdf::<Sha256>::new(Some(object_id.as_bytes()), dek.expose())
        .expand(b"sealgate/v1/footer", &mut key)
        .unwrap();
    let nonce: [u8; 12] = head(&seed(&format!("footer nonce {}", plan.seed)));
    let aad = [&footer[..], object_id.as_bytes()].concat();
    let cipher = Engine::Rust.cipher(&key).unwrap();
    let tag = cipher.seal(&nonce, &aad, &mut body).unwrap();
    footer.extend_from_slice(&nonce);
    footer.extend_from_slice(&body);
    footer.extend_from_slice(&tag);
    footer
}

fn sum(algorithm: ChecksumAlgorithm, plaintext: &[u8]) -> Checksum {
    use crc_fast::CrcAlgorithm::{Crc32Iscsi, Crc32IsoHdlc, Crc64Nvme};
    let crc = |parameters| crc_fast::checksum(parameters, plaintext).to_be_bytes();
    let value = match algorithm {
        ChecksumAlgorithm::Crc32 => crc(Crc32IsoHdlc)[4..].to_vec(),
        ChecksumAlgorithm::Crc32c => crc(Crc32Iscsi)[4..].to_vec(),
        ChecksumAlgorithm::Crc64Nvme => crc(Crc64Nvme).to_vec(),
        ChecksumAlgorithm::Sha1 => sha1::Sha1::digest(plaintext).to_vec(),
        _ => Sha256::digest(plaintext).to_vec(),
    };
    Checksum::new(algorithm, &value).unwrap()
}

/// The keyring of a vector's `keys`: name, version and bytes. The first name is current.
#[allow(dead_code, reason = "for the test that includes this file")]
pub fn keyring(keys: &[(String, u32, [u8; 32])]) -> Keyring {
    let current = KeyId::new(keys[0].0.clone()).unwrap();
    let keys = keys.iter().map(|(name, version, bytes)| {
        let id = KeyId::new(name.clone()).unwrap();
        let version = NonZeroU32::new(*version).unwrap();
        Arc::new(LocalKey::new(id, version, bytes)) as Arc<dyn KeyEncryptionKey>
    });
    Keyring::new(keys, current).unwrap()
}

/// Drives a future that never waits.
pub fn now<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.unwrap().block_on(future)
}

fn local(name: &str, version: u32, from: &str) -> LocalKey {
    let id = KeyId::new(name).unwrap();
    let number = NonZeroU32::new(version).unwrap();
    LocalKey::new(id, number, &key_bytes(from, version))
}

fn seed(of: &str) -> [u8; 32] {
    Sha256::digest(format!("sealgate vector {of}")).into()
}

fn head<const N: usize>(bytes: &[u8; 32]) -> [u8; N] {
    std::array::from_fn(|i| bytes[i])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn edited(mut bytes: Vec<u8>, edit: Edit) -> Vec<u8> {
    edit(&mut bytes);
    bytes
}

/// Edits one header's decoded bytes.
fn recode(headers: &mut BTreeMap<String, String>, name: &str, edit: Edit) {
    let mut record = Record::from_headers(&*headers).unwrap().unwrap();
    let (bytes, at) = match name {
        HEADER_ENVELOPE => (&mut record.envelope, 0),
        HEADER_INFO => (&mut record.info, 1),
        _ => (&mut record.mac, 2),
    };
    edit(bytes);
    let value = record.header_values()[at].clone();
    headers.insert(name.to_owned(), value);
}

fn case(
    name: &'static str,
    plan: Plan,
    serve: Result<(), &'static str>,
    recover: Result<(), &'static str>,
) -> Case {
    Case {
        name,
        plan,
        serve,
        recover,
    }
}

/// A vector that both ways of reading refuse with the same error.
fn refused(name: &'static str, error: &'static str, plan: Plan) -> Case {
    case(name, plan, Err(error), Err(error))
}

/// A vector whose metadata is refused, while its bytes alone open.
fn metadata(name: &'static str, error: &'static str, plan: Plan) -> Case {
    case(name, plan, Err(error), Ok(()))
}

/// Vectors that open.
fn opened() -> Vec<Case> {
    let mut cases = vec![case("base", BASE, Ok(()), Ok(()))];
    for (name, len) in [
        ("size_0", 0),
        ("size_1", 1),
        ("size_4039_first_segment_less_one", 4_039),
        ("size_4040_first_segment", 4_040),
        ("size_4041_first_segment_and_one", 4_041),
        ("size_8119_second_segment_less_one", 8_119),
        ("size_8120_second_segment", 8_120),
        ("size_8121_second_segment_and_one", 8_121),
    ] {
        let plan = Plan {
            seed: name,
            len,
            ..BASE
        };
        cases.push(case(name, plan, Ok(()), Ok(())));
    }
    for (name, checksum) in [
        ("checksum_none", None),
        ("checksum_crc32", Some(ChecksumAlgorithm::Crc32)),
        ("checksum_crc32c", Some(ChecksumAlgorithm::Crc32c)),
        ("checksum_sha1", Some(ChecksumAlgorithm::Sha1)),
        ("checksum_sha256", Some(ChecksumAlgorithm::Sha256)),
    ] {
        let plan = Plan {
            seed: name,
            checksum,
            ..BASE
        };
        cases.push(case(name, plan, Ok(()), Ok(())));
    }
    let open = |name: &'static str, plan: Plan| case(name, plan, Ok(()), Ok(()));
    cases.extend([
        open(
            "gateway_segment_size",
            Plan {
                seed: "gateway",
                segment_size: 65_536,
                len: 65_481,
                ..BASE
            },
        ),
        open("long", LONG),
        open(
            "length_not_declared",
            Plan {
                seed: "not declared",
                declared: false,
                md5: false,
                ..LONG
            },
        ),
        open(
            "older_key_version",
            Plan {
                seed: "older",
                recipients: &[("main", 1)],
                ..BASE
            },
        ),
        open(
            "two_recipients_first_key_not_held",
            Plan {
                seed: "two",
                recipients: &[("spare", 1), ("main", 2)],
                held: &[("main", 2, "main")],
                ..BASE
            },
        ),
        open(
            "recipient_of_unknown_kind_skipped",
            Plan {
                seed: "unknown kind",
                envelope: |bytes| {
                    bytes[19] = 2;
                    bytes.extend_from_slice(&[200, 1, b'x', 0, 0, 0, 1, 0, 1, 0]);
                },
                ..BASE
            },
        ),
    ]);
    // A store may return the decoded form of a header, and in another order.
    cases.push(open(
        "header_as_plain_utf8",
        Plan {
            headers: |headers| {
                headers.insert("x-amz-meta-owner".to_owned(), "Grüße".to_owned());
            },
            ..BASE
        },
    ));
    cases
}

/// Preambles that are refused.
fn preambles() -> Vec<Case> {
    let late = |edit: Edit| Plan { late: edit, ..BASE };
    let core = |edit: Edit| Plan { core: edit, ..BASE };
    vec![
        refused("bad_magic", "preamble.magic", late(|b| b[4] = b'l')),
        refused(
            "magic_after_text_mode",
            "preamble.magic",
            late(|b| b[5] = b'\n'),
        ),
        refused("unknown_version", "preamble.version", core(|b| b[9] = 2)),
        refused("unknown_suite", "preamble.suite", core(|b| b[10] = 2)),
        refused("unknown_role", "preamble.role", core(|b| b[11] = 9)),
        refused("role_part", "preamble.part_number", core(|b| b[11] = 2)),
        refused(
            "segment_size_no_power_of_two",
            "preamble.segment_size",
            core(|b| b[15] = 1),
        ),
        refused(
            "segment_size_too_small",
            "preamble.segment_size",
            core(|b| b[14] = 8),
        ),
        refused(
            "part_number_in_single",
            "preamble.part_number",
            core(|b| b[17] = 1),
        ),
        refused(
            "reserved_not_zero",
            "preamble.reserved_not_zero",
            core(|b| b[20] = 1),
        ),
        refused(
            "plaintext_length_too_long",
            "preamble.plaintext_len",
            core(|b| b[24] = 0x7f),
        ),
        case(
            "plaintext_length_not_that_of_the_object",
            late(|b| b[31] += 1),
            Err("mismatch.preamble"),
            Err("layout.impossible"),
        ),
        refused(
            "segment_size_changed",
            "mismatch.preamble",
            late(|b| b[14] = 0x20),
        ),
        refused(
            "padding_not_zero",
            "preamble.padding_not_zero",
            Plan {
                preamble: |b| b[511] = 1,
                ..BASE
            },
        ),
        refused(
            "envelope_too_long",
            "preamble.envelope_length",
            Plan {
                preamble: |b| (b[80], b[81]) = (1, 175),
                ..BASE
            },
        ),
        case(
            "preamble_envelope_changed",
            late(|b| b[82 + 40] ^= 1),
            Err("mismatch.preamble"),
            Err("key.not_authentic"),
        ),
        case(
            "preamble_without_envelope",
            Plan {
                preamble: |b| b[80..].fill(0),
                ..BASE
            },
            Ok(()),
            Err("envelope.none"),
        ),
        refused("wrong_commitment", "commitment", core(|b| b[48] ^= 1)),
        case(
            "object_id_not_that_of_the_envelope",
            core(|b| b[32] ^= 1),
            Err("object_id"),
            Err("object_id"),
        ),
    ]
}

/// Streams that are refused.
fn streams() -> Vec<Case> {
    let late = |edit: Edit| Plan { late: edit, ..LONG };
    let length = |name: &'static str, edit: Edit| {
        case(
            name,
            late(edit),
            Err("mismatch.stored_length"),
            Err("layout.impossible"),
        )
    };
    // With no declared length only the footer knows that something is missing.
    let undeclared = |name: &'static str, edit: Edit| {
        let plan = Plan {
            declared: false,
            seed: "long undeclared",
            ..late(edit)
        };
        refused(name, "mismatch.stored_length", plan)
    };
    let segment =
        |name: &'static str, edit: Edit| refused(name, "segment.not_authentic", late(edit));
    vec![
        refused(
            "stream_header_length",
            "stream.header",
            late(|b| b[512] = 24),
        ),
        refused(
            "stream_salt_changed",
            "mismatch.stream_header",
            late(|b| b[513] ^= 1),
        ),
        refused(
            "stream_nonce_prefix_changed",
            "mismatch.stream_header",
            late(|b| b[551] ^= 1),
        ),
        refused(
            "stream_of_same_object_with_another_salt",
            "mismatch.stream_header",
            Plan {
                late: |b| {
                    let mut header = [0; 40];
                    header.copy_from_slice(&b[512..552]);
                    let mut header = StreamHeader::decode(&header).unwrap();
                    header.salt = seed("another salt");
                    let dek = Dek::new(seed("dek long"));
                    let (core, size) = (b[..80].to_vec(), SegmentSize::MIN);
                    let mut stream = Vec::new();
                    let mut sealer =
                        SealStream::new(Engine::Rust, &dek, &header, size, &core).unwrap();
                    sealer.push(&vec![0; LONG.len], &mut stream).unwrap();
                    sealer.finish(&mut stream).unwrap();
                    let end = b.len() - 256;
                    b.splice(512..end, stream);
                },
                ..LONG
            },
        ),
        segment("segment_flipped", |b| b[512 + 4_096] ^= 1),
        segment("segment_tag_flipped", |b| b[512 + 4_095] ^= 0x80),
        segment("last_segment_flipped", |b| b[512 + 3 * 4_096] ^= 1),
        segment("segments_swapped", |b| {
            let (first, second) = b[512 + 4_096..].split_at_mut(4_096);
            first.swap_with_slice(&mut second[..4_096]);
        }),
        segment("segment_repeated", |b| {
            b.copy_within(512 + 4_096..512 + 8_192, 512 + 8_192);
        }),
        length("segment_dropped", |b| {
            b.drain(512 + 4_096..512 + 8_192);
        }),
        undeclared("segment_dropped_length_not_declared", |b| {
            b.drain(512 + 4_096..512 + 8_192);
        }),
        length("segment_inserted", |b| {
            let copy = b[512 + 4_096..512 + 8_192].to_vec();
            b.splice(512 + 4_096..512 + 4_096, copy);
        }),
        length("stream_truncated_at_boundary", |b| {
            b.drain(512 + 3 * 4_096..b.len() - 256);
        }),
        undeclared("stream_truncated_at_boundary_length_not_declared", |b| {
            b.drain(512 + 3 * 4_096..b.len() - 256);
        }),
        length("stream_truncated_in_segment", |b| {
            b.drain(b.len() - 260..b.len() - 256);
        }),
        case(
            "stream_truncated_at_boundary_and_lengths_adjusted",
            Plan {
                seed: "adjusted",
                len: 4_040 + 2 * 4_080,
                stream: |b| {
                    // What the stream of one more byte would hold here: no last flag.
                    let mut cut = LONG;
                    cut.seed = "adjusted";
                    cut.core = |core| core[24..32].copy_from_slice(&12_200u64.to_be_bytes());
                    let longer = build(&cut).bytes;
                    b.copy_from_slice(&longer[512..512 + 3 * 4_096]);
                },
                ..BASE
            },
            Err("segment.not_authentic"),
            Err("segment.not_authentic"),
        ),
        case(
            "stream_last_segment_empty",
            Plan {
                seed: "empty last",
                len: 4_040,
                stream: |b| {
                    let dek = Dek::new(seed("dek empty last"));
                    let id = ObjectId(head(&seed("object id empty last")));
                    let core = Core::single(&dek, id, SegmentSize::MIN, Some(4_040)).encode();
                    let mut key = [0; 32];
                    Hkdf::<Sha256>::new(Some(&b[1..33]), dek.expose())
                        .expand(&core, &mut key)
                        .unwrap();
                    let cipher = Engine::Rust.cipher(&key).unwrap();
                    let mut nonce = [0; 12];
                    nonce[..7].copy_from_slice(&b[33..40]);
                    let mut first = pattern(4_040);
                    let tag = cipher.seal(&nonce, b"", &mut first).unwrap();
                    b.truncate(40);
                    b.extend_from_slice(&first);
                    b.extend_from_slice(&tag);
                    (nonce[10], nonce[11]) = (1, 1);
                    b.extend_from_slice(&cipher.seal(&nonce, b"", &mut []).unwrap());
                },
                ..BASE
            },
            Err("mismatch.stored_length"),
            Err("layout.impossible"),
        ),
        metadata(
            "body_of_another_object",
            "footer.not_authentic",
            Plan {
                headers: |headers| *headers = build(&BASE).headers,
                ..LONG
            },
        ),
    ]
}

/// Footers that are refused.
fn footers() -> Vec<Case> {
    let late = |edit: Edit| Plan { late: edit, ..BASE };
    let clear = |edit: Edit| Plan {
        clear: edit,
        ..BASE
    };
    let body = |edit: Edit| Plan { body: edit, ..BASE };
    vec![
        refused(
            "footer_missing",
            "footer.missing",
            late(|b| b.truncate(b.len() - 256)),
        ),
        refused(
            "footer_cut",
            "footer.missing",
            late(|b| b.truncate(b.len() - 1)),
        ),
        refused("bytes_after_footer", "footer.missing", late(|b| b.push(0))),
        refused(
            "object_cut_in_stream",
            "footer.missing",
            late(|b| b.truncate(600)),
        ),
        refused(
            "footer_flipped",
            "footer.not_authentic",
            late(|b| {
                let at = b.len() - 200;
                b[at] ^= 1;
            }),
        ),
        refused(
            "footer_nonce_flipped",
            "footer.not_authentic",
            late(|b| {
                let at = b.len() - 240;
                b[at] ^= 1;
            }),
        ),
        refused(
            "footer_unknown_version",
            "footer.version",
            clear(|b| b[9] = 2),
        ),
        refused("footer_unknown_suite", "footer.suite", clear(|b| b[10] = 2)),
        refused("footer_unknown_role", "footer.role", clear(|b| b[11] = 9)),
        refused(
            "footer_role_multipart",
            "footer.table_length",
            clear(|b| b[11] = 2),
        ),
        refused(
            "footer_table_length",
            "footer.table_length",
            clear(|b| b[15] = 1),
        ),
        refused(
            "footer_reserved_not_zero",
            "footer.reserved_not_zero",
            body(|b| b[211] = 1),
        ),
        refused(
            "footer_part_count",
            "footer.part_count",
            body(|b| b[147] = 1),
        ),
        refused(
            "footer_part_size",
            "footer.part_size",
            body(|b| b[155] = 100),
        ),
        refused("footer_etag_kind", "footer.etag_kind", body(|b| b[20] = 2)),
        refused(
            "footer_etag_without_kind",
            "footer.reserved_not_zero",
            body(|b| b[20] = 0),
        ),
        refused(
            "footer_checksum_algorithm",
            "footer.checksum_algorithm",
            body(|b| b[21] = 6),
        ),
        refused(
            "footer_checksum_type",
            "footer.checksum_type",
            body(|b| b[22] = 2),
        ),
        refused(
            "footer_checksum_padding",
            "footer.reserved_not_zero",
            body(|b| b[48] = 1),
        ),
        refused(
            "footer_segment_size",
            "footer.segment_size",
            body(|b| b[19] = 1),
        ),
        refused(
            "footer_declared_length_differs",
            "footer.core_length",
            body(|b| b[15] = 99),
        ),
        refused(
            "footer_length_not_that_of_the_object",
            "mismatch.stored_length",
            body(|b| (b[7], b[15]) = (99, 99)),
        ),
        refused(
            "footer_preamble_digest",
            "mismatch.preamble",
            body(|b| b[112] ^= 1),
        ),
        case(
            "footer_md5_not_that_of_the_plaintext",
            Plan {
                body: |b| b[24] ^= 1,
                info: |b| {
                    b[1] &= !2;
                    b[10..26].fill(0);
                },
                ..BASE
            },
            Ok(()),
            Err("plaintext.md5"),
        ),
        case(
            "footer_checksum_not_that_of_the_plaintext",
            body(|b| b[40] ^= 1),
            Ok(()),
            Err("plaintext.checksum"),
        ),
    ]
}

/// Metadata that is refused.
fn records() -> Vec<Case> {
    let headers = |edit: fn(&mut BTreeMap<String, String>)| Plan {
        headers: edit,
        ..BASE
    };
    let info = |edit: Edit| Plan { info: edit, ..BASE };
    let mac = |edit: Edit| Plan { mac: edit, ..BASE };
    let current = |edit: Edit| Plan {
        current_envelope: edit,
        ..BASE
    };
    vec![
        metadata(
            "metadata_stripped",
            "record.none",
            headers(|h| h.retain(|name, _| !name.starts_with("x-amz-meta-sealgate"))),
        ),
        metadata(
            "envelope_missing",
            "record.missing",
            headers(|h| drop(h.remove(HEADER_ENVELOPE))),
        ),
        metadata(
            "info_missing",
            "record.missing",
            headers(|h| drop(h.remove(HEADER_INFO))),
        ),
        metadata(
            "mac_missing",
            "record.missing",
            headers(|h| drop(h.remove(HEADER_MAC))),
        ),
        metadata(
            "mac_padded_base64",
            "record.base64",
            headers(|h| h.get_mut(HEADER_MAC).unwrap().push('=')),
        ),
        metadata(
            "info_trailing_bits",
            "record.base64",
            headers(|h| {
                let value = h.get_mut(HEADER_INFO).unwrap();
                let last = value.pop().unwrap() as u8;
                value.push(char::from(last + 1));
            }),
        ),
        metadata(
            "envelope_flipped",
            "record.binding",
            headers(|h| recode(h, HEADER_ENVELOPE, |b| b[40] ^= 1)),
        ),
        metadata(
            "envelope_of_another_object",
            "record.binding",
            headers(|h| {
                let other = build(&LONG).headers.remove(HEADER_ENVELOPE).unwrap();
                h.insert(HEADER_ENVELOPE.to_owned(), other);
            }),
        ),
        metadata(
            "record_of_another_object",
            "footer.not_authentic",
            headers(|h| *h = build(&LONG).headers),
        ),
        case(
            "envelope_wrong_key",
            Plan {
                held: &[("main", 2, "spare")],
                ..BASE
            },
            Err("record.binding"),
            Err("key.not_authentic"),
        ),
        case(
            "envelope_key_not_held",
            Plan {
                held: &[("main", 1, "main"), ("spare", 1, "spare")],
                ..BASE
            },
            Err("key.none"),
            Err("key.none"),
        ),
        metadata(
            "envelope_unknown_version",
            "envelope.version",
            current(|b| b[0] = 2),
        ),
        metadata(
            "envelope_unknown_format_version",
            "envelope.format_version",
            current(|b| b[2] = 2),
        ),
        metadata(
            "envelope_without_recipient",
            "envelope.count",
            current(|b| {
                b[19] = 0;
                b.truncate(20);
            }),
        ),
        metadata(
            "envelope_truncated",
            "envelope.truncated",
            current(|b| b.truncate(b.len() - 1)),
        ),
        metadata(
            "envelope_trailing_byte",
            "envelope.trailing",
            current(|b| b.push(0)),
        ),
        metadata(
            "envelope_key_id_characters",
            "envelope.key_id",
            current(|b| b[22] = b'/'),
        ),
        metadata(
            "envelope_key_version_zero",
            "envelope.key_version",
            current(|b| b[29] = 0),
        ),
        metadata(
            "envelope_wrapped_key_empty",
            "envelope.wrapped_length",
            current(|b| {
                b[31] = 0;
                b.truncate(32);
            }),
        ),
        metadata(
            "envelope_recipient_twice",
            "envelope.duplicate",
            current(|b| {
                b[19] = 2;
                b.extend_from_within(20..);
            }),
        ),
        metadata(
            "envelope_only_unknown_kind",
            "key.none",
            current(|b| b[20] = 200),
        ),
        metadata(
            "envelope_wrapped_key_forged",
            "key.not_authentic",
            current(|b| b[40] ^= 1),
        ),
        metadata(
            "info_flipped",
            "record.binding",
            headers(|h| recode(h, HEADER_INFO, |b| b[30] ^= 1)),
        ),
        metadata("info_unknown_version", "info.version", info(|b| b[0] = 2)),
        metadata("info_unknown_flag", "info.flags", info(|b| b[1] |= 8)),
        metadata(
            "info_field_without_flag",
            "info.not_zero",
            info(|b| b[1] &= !2),
        ),
        metadata("info_truncated", "info.length", info(|b| b.truncate(57))),
        metadata("info_longer", "info.length", info(|b| b.push(0))),
        metadata(
            "info_length_not_that_of_the_object",
            "info.plaintext_length",
            info(|b| b[9] += 1),
        ),
        metadata(
            "info_md5_not_that_of_the_footer",
            "info.md5",
            info(|b| b[10] ^= 1),
        ),
        metadata(
            "mac_wrong_bucket",
            "record.binding",
            Plan {
                served_at: ("other", KEY),
                ..BASE
            },
        ),
        metadata(
            "mac_wrong_key",
            "record.binding",
            Plan {
                served_at: (BUCKET, "2026/other.tar"),
                ..BASE
            },
        ),
        metadata(
            "mac_bucket_and_key_shifted",
            "record.binding",
            Plan {
                served_at: ("backups2", "026/db dump/Größe.tar"),
                ..BASE
            },
        ),
        metadata("mac_flipped", "record.binding", mac(|b| b[10] ^= 1)),
        metadata("mac_unknown_version", "mac.version", mac(|b| b[0] = 2)),
        metadata(
            "mac_empty",
            "mac.count",
            mac(|b| {
                b[1] = 0;
                b.truncate(2);
            }),
        ),
        metadata("mac_truncated", "mac.length", mac(|b| b.truncate(34))),
        metadata("mac_index_outside", "mac.index", mac(|b| b[2] = 1)),
        metadata(
            "mac_index_twice",
            "mac.order",
            mac(|b| {
                b[1] = 2;
                b.extend_from_within(2..);
            }),
        ),
        metadata(
            "mac_one_local_recipient_without_tag",
            "record.no_tag",
            Plan {
                seed: "two",
                recipients: &[("spare", 1), ("main", 2)],
                mac: |b| {
                    b[1] = 1;
                    b.truncate(35);
                },
                ..BASE
            },
        ),
        metadata(
            "header_changed",
            "info.metadata",
            headers(|h| drop(h.insert("content-type".to_owned(), "text/html".to_owned()))),
        ),
        metadata(
            "header_added",
            "info.metadata",
            headers(|h| drop(h.insert("x-amz-meta-added".to_owned(), String::new()))),
        ),
        metadata(
            "header_removed",
            "info.metadata",
            headers(|h| drop(h.remove("cache-control"))),
        ),
    ]
}
