//! Vectors of objects in parts, from the tables of the specification's sections 4 and 4.1.

use md5::Md5;
use sealgate::aead::{
    ChecksumAlgorithm, Core, Dek, Engine, ObjectId, PartNumber, SealStream, SegmentSize,
    StreamHeader,
};
use sha2::{Digest, Sha256};

use super::{BASE, Case, Edit, Plan, case, edited, head, pattern, refused, seal_footer, seed, sum};

/// A part: number, plaintext bytes, and whether it is pinned.
pub type Part = (u16, usize, bool);

/// Two parts of one size and a shorter one.
const PARTS: Plan = Plan {
    seed: "parts",
    len: 11_234,
    declared: false,
    parts: &[(1, 5_000, true), (2, 5_000, true), (3, 1_234, true)],
    ..BASE
};

/// Parts of several sizes, with gaps in their numbers.
const UNEQUAL: Plan = Plan {
    seed: "unequal parts",
    len: 12_001,
    parts: &[(1, 3_000, true), (5, 9_000, true), (10_000, 1, true)],
    ..PARTS
};

/// Bytes of an entry without its checksum, and with that of [`PARTS`].
const ENTRY: usize = 68 + 8;

pub fn salted(plan: &Plan, what: &str) -> StreamHeader {
    StreamHeader {
        salt: seed(&format!("salt {} {what}", plan.seed)),
        nonce_prefix: head(&seed(&format!("nonce prefix {} {what}", plan.seed))),
    }
}

fn stream(
    dek: &Dek,
    header: &StreamHeader,
    size: SegmentSize,
    aad: &[u8],
    plaintext: &[u8],
) -> Vec<u8> {
    let mut stream = Vec::new();
    let mut sealer = SealStream::new(Engine::Rust, dek, header, size, aad).unwrap();
    sealer.push(plaintext, &mut stream).unwrap();
    sealer.finish(&mut stream).unwrap();
    stream
}

/// The preamble of a part and its stream.
fn part(
    plan: &Plan,
    dek: &Dek,
    object_id: ObjectId,
    envelope: &[u8],
    index: usize,
    header: &StreamHeader,
    plaintext: &[u8],
) -> Vec<u8> {
    let number = PartNumber::new(plan.parts[index].0).unwrap();
    let size = SegmentSize::new(plan.segment_size).unwrap();
    let mut core = Core::part(dek, object_id, size, number, plaintext.len() as u64)
        .encode()
        .to_vec();
    (plan.part_core)(index, &mut core);
    let mut bytes = core.clone();
    bytes.extend_from_slice(&(envelope.len() as u16).to_be_bytes());
    bytes.extend_from_slice(envelope);
    bytes.resize(512, 0);
    bytes.extend_from_slice(&stream(dek, header, size, &core, plaintext));
    bytes
}

/// The object: its parts, the table, the footer.
pub fn object(plan: &Plan, dek: &Dek, object_id: ObjectId, envelope: &[u8]) -> Vec<u8> {
    let plaintext = pattern(plan.len);
    let (mut pieces, mut entries, mut rest) = (Vec::new(), Vec::new(), &plaintext[..]);
    let (mut md5s, mut sums) = (Vec::new(), Vec::new());
    for (index, &(number, len, pinned)) in plan.parts.iter().enumerate() {
        let (now, behind) = rest.split_at(len);
        rest = behind;
        let header = salted(plan, &format!("part {number}"));
        pieces.push(part(plan, dek, object_id, envelope, index, &header, now));
        let (md5, checksum) = (Md5::digest(now), plan.checksum.map(|a| sum(a, now)));
        entries.extend_from_slice(&number.to_be_bytes());
        let checksum_flag = if checksum.is_some() { 4 } else { 0 };
        entries.push(u8::from(pinned) | u8::from(plan.md5) << 1 | checksum_flag);
        entries.push(0);
        entries.extend_from_slice(&(len as u64).to_be_bytes());
        entries.extend_from_slice(&if pinned { header.salt } else { [0; 32] });
        entries.extend_from_slice(&if pinned { header.nonce_prefix } else { [0; 7] });
        entries.push(0);
        entries.extend_from_slice(if plan.md5 { &md5 } else { &[0; 16] });
        md5s.extend_from_slice(&md5);
        if let Some(checksum) = checksum {
            entries.extend_from_slice(checksum.value());
            sums.extend_from_slice(checksum.value());
        }
    }
    assert!(rest.is_empty());
    let shared: Vec<u8> = pieces[0][80..512].to_vec();

    let header = salted(plan, "table");
    let aad = [b"sealgate/v1/parts", &object_id.as_bytes()[..]].concat();
    let entries = edited(entries, plan.table);
    let table = stream(dek, &header, SegmentSize::MIN, &aad, &entries);

    let mut body = (plan.len as u64).to_be_bytes().to_vec();
    body.extend_from_slice(&[0xff; 8]);
    body.extend_from_slice(&plan.segment_size.to_be_bytes());
    let checksum = plan
        .checksum
        .map(|a| sum(a, if plan.composite { &sums } else { &plaintext }));
    body.push(if plan.md5 { 2 } else { 0 });
    body.push(checksum.map_or(0, |checksum| checksum.algorithm().code()));
    body.push(checksum.map_or(0, |_| 1 + u8::from(plan.composite)));
    body.push(0);
    if plan.md5 {
        body.extend_from_slice(&Md5::digest(&md5s));
    }
    body.resize(40, 0);
    body.extend_from_slice(checksum.as_ref().map_or(&[], |checksum| checksum.value()));
    body.resize(72, 0);
    body.extend_from_slice(&header.salt);
    body.extend_from_slice(&header.nonce_prefix);
    body.push(0);
    body.extend_from_slice(&Sha256::digest(shared));
    body.extend_from_slice(&(plan.parts.len() as u32).to_be_bytes());
    let (first, before_last) = (plan.parts[0].1, &plan.parts[..plan.parts.len() - 1]);
    let equal = before_last.iter().all(|part| part.1 == first);
    body.extend_from_slice(&(if equal { first as u64 } else { 0 }).to_be_bytes());
    body.resize(212, 0);
    let table_len = (table.len() as u32).to_be_bytes();
    pieces.push(table);
    pieces.push(seal_footer(plan, dek, &object_id, 2, table_len, body));
    (plan.pieces)(&mut pieces);
    pieces.concat()
}

/// The key of [`PARTS`], its id, and its envelope as it stands in a preamble.
fn of_parts(pieces: &[Vec<u8>]) -> (Dek, ObjectId, Vec<u8>) {
    let preamble = &pieces[0][..512];
    let len = usize::from(preamble[80]) << 8 | usize::from(preamble[81]);
    (
        Dek::new(seed("dek parts")),
        ObjectId(head(&seed("object id parts"))),
        preamble[82..82 + len].to_vec(),
    )
}

/// Parts of ten bytes.
const fn tens<const N: usize>() -> [Part; N] {
    let mut parts = [(0, 10, true); N];
    let mut at = 0;
    while at < N {
        parts[at].0 = at as u16 + 1;
        at += 1;
    }
    parts
}

/// Three segments of table.
const MANY: [Part; 110] = tens();

/// Four segments of table.
const MORE: [Part; 163] = tens();

pub fn opened() -> Vec<Case> {
    let open = |name: &'static str, plan: Plan| case(name, plan, Ok(()), Ok(()));
    let mut cases = vec![
        open("parts", PARTS),
        open("parts_of_several_sizes_and_gaps_in_numbers", UNEQUAL),
        open(
            "parts_one",
            Plan {
                seed: "one part",
                len: 5_000,
                parts: &[(7, 5_000, true)],
                ..PARTS
            },
        ),
        open(
            "parts_one_empty",
            Plan {
                seed: "one empty part",
                len: 0,
                parts: &[(1, 0, true)],
                ..PARTS
            },
        ),
        open(
            "parts_last_empty",
            Plan {
                seed: "last part empty",
                len: 8_080,
                parts: &[(1, 4_040, true), (2, 4_040, true), (3, 0, true)],
                ..PARTS
            },
        ),
        open(
            "parts_not_pinned",
            Plan {
                seed: "parts not pinned",
                parts: &[(1, 5_000, false), (2, 5_000, true), (3, 1_234, false)],
                ..PARTS
            },
        ),
        open(
            "parts_without_md5",
            Plan {
                seed: "parts without md5",
                md5: false,
                checksum: None,
                ..PARTS
            },
        ),
        open(
            "parts_many",
            Plan {
                seed: "many parts",
                len: 1_100,
                parts: &MANY,
                ..PARTS
            },
        ),
    ];
    for (name, algorithm, composite) in [
        ("parts_full_object_crc32", ChecksumAlgorithm::Crc32, false),
        ("parts_composite_crc32c", ChecksumAlgorithm::Crc32c, true),
        ("parts_composite_sha1", ChecksumAlgorithm::Sha1, true),
        ("parts_composite_sha256", ChecksumAlgorithm::Sha256, true),
    ] {
        let plan = Plan {
            seed: name,
            checksum: Some(algorithm),
            composite,
            ..PARTS
        };
        cases.push(open(name, plan));
    }
    cases
}

/// Parts, and whole objects in parts, that are refused.
pub fn parts() -> Vec<Case> {
    let pieces = |edit: fn(&mut Vec<Vec<u8>>)| Plan {
        pieces: edit,
        ..PARTS
    };
    let core = |edit: fn(usize, &mut Vec<u8>)| Plan {
        part_core: edit,
        ..PARTS
    };
    vec![
        refused(
            "parts_swapped",
            "mismatch.preamble",
            pieces(|p| p.swap(0, 1)),
        ),
        refused(
            "part_dropped",
            "mismatch.stored_length",
            pieces(|p| drop(p.remove(1))),
        ),
        refused(
            "part_dropped_of_several_sizes",
            "mismatch.stored_length",
            Plan {
                pieces: |p| drop(p.remove(2)),
                ..UNEQUAL
            },
        ),
        refused(
            "last_part_dropped",
            "mismatch.stored_length",
            pieces(|p| drop(p.remove(2))),
        ),
        refused(
            "part_repeated",
            "mismatch.preamble",
            pieces(|p| p[1] = p[0].clone()),
        ),
        refused(
            "part_inserted",
            "mismatch.stored_length",
            pieces(|p| p.insert(1, p[1].clone())),
        ),
        refused(
            "part_of_an_earlier_upload",
            "mismatch.stream_header",
            pieces(|p| {
                let (dek, id, envelope) = of_parts(p);
                let header = salted(&PARTS, "earlier part 2");
                p[1] = part(&PARTS, &dek, id, &envelope, 1, &header, &[0; 5_000]);
            }),
        ),
        refused(
            "part_of_another_length",
            "mismatch.stored_length",
            pieces(|p| {
                let (dek, id, envelope) = of_parts(p);
                let header = salted(&PARTS, "part 2");
                p[1] = part(&PARTS, &dek, id, &envelope, 1, &header, &[0; 5_001]);
            }),
        ),
        refused(
            "part_of_another_object",
            "mismatch.preamble",
            pieces(|p| {
                let header = salted(&PARTS, "part 2");
                let (_, _, envelope) = of_parts(p);
                let (dek, id) = (Dek::new(seed("dek other")), ObjectId([9; 16]));
                p[1] = part(&PARTS, &dek, id, &envelope, 1, &header, &[0; 5_000]);
            }),
        ),
        refused(
            "parts_without_table",
            "mismatch.stored_length",
            pieces(|p| drop(p.remove(3))),
        ),
        refused(
            "part_without_footer",
            "footer.missing",
            pieces(|p| p.truncate(1)),
        ),
        refused(
            "part_envelope_changed",
            "mismatch.preamble",
            pieces(|p| p[1][82 + 40] ^= 1),
        ),
        refused(
            "part_padding_not_zero",
            "preamble.padding_not_zero",
            pieces(|p| p[1][511] = 1),
        ),
        refused(
            "part_segment_flipped",
            "segment.not_authentic",
            pieces(|p| p[1][600] ^= 1),
        ),
        refused(
            "part_last_segment_flipped",
            "segment.not_authentic",
            pieces(|p| p[2][600] ^= 1),
        ),
        refused(
            "part_salt_changed",
            "mismatch.stream_header",
            pieces(|p| p[1][513] ^= 1),
        ),
        refused(
            "part_not_pinned_salt_changed",
            "segment.not_authentic",
            Plan {
                seed: "parts not pinned",
                parts: &[(1, 5_000, false), (2, 5_000, true), (3, 1_234, false)],
                pieces: |p| p[2][513] ^= 1,
                ..PARTS
            },
        ),
        refused(
            "part_number_zero",
            "preamble.part_number",
            core(|at, b| b[17] *= u8::from(at != 0)),
        ),
        refused(
            "part_number_10_001",
            "preamble.part_number",
            core(|at, b| {
                if at == 0 {
                    b[16..18].copy_from_slice(&10_001u16.to_be_bytes());
                }
            }),
        ),
        refused(
            "part_length_not_known",
            "preamble.part_length",
            core(|at, b| {
                if at == 0 {
                    b[24..32].fill(0xff);
                }
            }),
        ),
        refused(
            "part_of_role_single",
            "mismatch.preamble",
            core(|at, b| {
                if at == 1 {
                    (b[11], b[17]) = (1, 0);
                }
            }),
        ),
    ]
}

/// Part tables that are refused.
pub fn tables() -> Vec<Case> {
    let table = |edit: Edit| Plan {
        table: edit,
        ..PARTS
    };
    let pieces = |edit: fn(&mut Vec<Vec<u8>>)| Plan {
        pieces: edit,
        ..PARTS
    };
    vec![
        refused("table_flipped", "table.segment", pieces(|p| p[3][50] ^= 1)),
        refused(
            "table_salt_changed",
            "table.header",
            pieces(|p| p[3][1] ^= 1),
        ),
        refused(
            "table_of_another_footer",
            "table.header",
            pieces(|p| {
                let (dek, id, _) = of_parts(p);
                let aad = [b"sealgate/v1/parts", &id.as_bytes()[..]].concat();
                let header = salted(&PARTS, "another table");
                p[3] = stream(&dek, &header, SegmentSize::MIN, &aad, &[0; 3 * ENTRY]);
            }),
        ),
        refused(
            "table_segments_swapped",
            "table.segment",
            Plan {
                seed: "more parts",
                len: 1_630,
                parts: &MORE,
                pieces: |p| {
                    let (first, second) = p[163][4_096..].split_at_mut(4_096);
                    first.swap_with_slice(&mut second[..4_096]);
                },
                ..PARTS
            },
        ),
        refused(
            "table_truncated",
            "mismatch.stored_length",
            pieces(|p| p[3].truncate(200)),
        ),
        refused("table_not_ascending", "table.order", table(|b| b[1] = 3)),
        refused(
            "table_number_twice",
            "table.order",
            table(|b| b[ENTRY + 1] = 1),
        ),
        refused(
            "table_number_zero",
            "table.part_number",
            table(|b| b[1] = 0),
        ),
        refused(
            "table_number_10_001",
            "table.part_number",
            table(|b| b[2 * ENTRY..2 * ENTRY + 2].copy_from_slice(&10_001u16.to_be_bytes())),
        ),
        refused("table_unknown_flag", "table.flags", table(|b| b[2] |= 8)),
        refused(
            "table_checksum_where_there_is_none",
            "table.flags",
            Plan {
                seed: "parts without md5",
                md5: false,
                checksum: None,
                ..table(|b| b[2] |= 4)
            },
        ),
        refused(
            "table_reserved_not_zero",
            "table.reserved_not_zero",
            table(|b| b[3] = 1),
        ),
        refused(
            "table_second_reserved_not_zero",
            "table.reserved_not_zero",
            table(|b| b[51] = 1),
        ),
        refused(
            "table_salt_without_flag",
            "table.reserved_not_zero",
            table(|b| b[2] &= !1),
        ),
        refused(
            "table_md5_without_flag",
            "table.reserved_not_zero",
            table(|b| b[2] &= !2),
        ),
        refused(
            "table_checksum_without_flag",
            "table.reserved_not_zero",
            table(|b| b[2] &= !4),
        ),
        refused(
            "table_length_too_long",
            "table.plaintext_len",
            table(|b| b[4] = 0xff),
        ),
        refused(
            "table_number_not_that_of_the_part",
            "mismatch.preamble",
            table(|b| b[2 * ENTRY + 1] = 4),
        ),
        refused(
            "table_lengths_do_not_fit_the_part_size",
            "mismatch.part_size",
            table(|b| {
                b[11] -= 1;
                b[ENTRY + 11] += 1;
            }),
        ),
        refused(
            "table_lengths_do_not_add_up",
            "mismatch.part_lengths",
            Plan {
                table: |b| b[11] += 1,
                ..UNEQUAL
            },
        ),
        refused(
            "table_lengths_moved_between_parts",
            "mismatch.preamble",
            Plan {
                table: |b| {
                    b[11] += 1;
                    b[ENTRY + 11] -= 1;
                },
                ..UNEQUAL
            },
        ),
        refused(
            "table_md5_not_known",
            "mismatch.part_sums",
            table(|b| {
                b[2] &= !2;
                b[52..68].fill(0);
            }),
        ),
        refused(
            "table_checksum_of_composite_not_known",
            "mismatch.part_sums",
            Plan {
                composite: true,
                seed: "composite",
                table: |b| {
                    b[2] &= !4;
                    b[68..ENTRY].fill(0);
                },
                ..PARTS
            },
        ),
        refused(
            "table_md5s_do_not_make_the_etag",
            "table.md5",
            table(|b| b[52] ^= 1),
        ),
        refused(
            "table_checksums_do_not_make_the_composite",
            "table.checksum",
            Plan {
                composite: true,
                seed: "composite",
                table: |b| b[68] ^= 1,
                ..PARTS
            },
        ),
        case(
            "table_md5_not_that_of_the_part",
            Plan {
                seed: "parts without etag",
                md5: false,
                table: |b| {
                    b[2] |= 2;
                    b[52..68].fill(1);
                },
                ..PARTS
            },
            Ok(()),
            Err("plaintext.md5"),
        ),
        case(
            "table_checksum_not_that_of_the_part",
            table(|b| b[68] ^= 1),
            Ok(()),
            Err("plaintext.checksum"),
        ),
        case(
            "table_checksum_not_known",
            table(|b| {
                b[2] &= !4;
                b[68..ENTRY].fill(0);
            }),
            Ok(()),
            Ok(()),
        ),
    ]
}

/// Footers of objects in parts that are refused.
pub fn footers() -> Vec<Case> {
    let clear = |edit: Edit| Plan {
        clear: edit,
        ..PARTS
    };
    let body = |edit: Edit| Plan {
        body: edit,
        ..PARTS
    };
    vec![
        refused(
            "parts_footer_of_role_single",
            "footer.table_length",
            clear(|b| b[11] = 1),
        ),
        refused(
            "parts_footer_of_role_single_without_table",
            "footer.part_count",
            Plan {
                clear: |b| {
                    b[11] = 1;
                    b[12..16].fill(0);
                },
                body: |b| {
                    b[20] = 1;
                    b[22] = 1;
                },
                ..PARTS
            },
        ),
        refused(
            "parts_footer_table_length",
            "footer.table_length",
            clear(|b| b[15] ^= 1),
        ),
        refused(
            "parts_footer_no_part",
            "footer.part_count",
            body(|b| b[147] = 0),
        ),
        refused(
            "parts_footer_10_001_parts",
            "footer.part_count",
            body(|b| b[144..148].copy_from_slice(&10_001u32.to_be_bytes())),
        ),
        refused(
            "parts_footer_part_count",
            "footer.table_length",
            body(|b| b[147] = 2),
        ),
        refused(
            "parts_footer_part_size_too_long",
            "footer.part_size",
            body(|b| b[154..156].copy_from_slice(&5_618u16.to_be_bytes())),
        ),
        refused(
            "parts_footer_part_size_not_that_of_the_parts",
            "mismatch.part_size",
            body(|b| b[154..156].copy_from_slice(&5_001u16.to_be_bytes())),
        ),
        refused(
            "parts_footer_part_size_not_that_of_one_part",
            "footer.part_size",
            Plan {
                seed: "one part",
                len: 5_000,
                parts: &[(7, 5_000, true)],
                body: |b| b[148..156].fill(0),
                ..PARTS
            },
        ),
        refused(
            "parts_footer_core_length_known",
            "footer.core_length",
            body(|b| b[8..16].copy_from_slice(&11_234u64.to_be_bytes())),
        ),
        refused(
            "parts_footer_plaintext_length",
            "mismatch.stored_length",
            body(|b| b[7] ^= 1),
        ),
        refused(
            "parts_footer_etag_kind_of_one_stream",
            "footer.etag_kind",
            body(|b| b[20] = 1),
        ),
        refused(
            "parts_footer_checksum_type",
            "footer.checksum_type",
            body(|b| b[22] = 3),
        ),
        refused(
            "parts_footer_reserved_not_zero",
            "footer.reserved_not_zero",
            body(|b| b[156] = 1),
        ),
        refused(
            "parts_footer_preamble_digest",
            "mismatch.preamble",
            body(|b| b[112] ^= 1),
        ),
        refused(
            "parts_footer_etag_not_that_of_the_parts",
            "table.md5",
            body(|b| b[24] ^= 1),
        ),
        case(
            "parts_footer_checksum_not_that_of_the_plaintext",
            body(|b| b[40] ^= 1),
            Ok(()),
            Err("plaintext.checksum"),
        ),
    ]
}
