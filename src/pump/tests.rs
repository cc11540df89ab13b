//! Sealing and opening bodies, cut into frames at awkward places.

use bytes::Bytes;
use futures::executor::block_on;
use futures::stream;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use proptest::prelude::*;

use super::*;
use crate::aead::{
    Core, Dek, Engine, Etag, FOOTER_LEN, Footer, Layout, ObjectId, PartNumber, Preamble, Role,
    SealStream, SegmentSize, StreamHeader,
};

const SEGMENT: u32 = 4096;

fn content(length: usize) -> Vec<u8> {
    (0..length)
        .map(|i| (i * 131 + (i >> 8) * 17 + 7) as u8)
        .collect()
}

/// A body that comes in pieces of these sizes, over and over, then the rest.
fn pieces(bytes: Vec<u8>, sizes: &[usize]) -> BoxBody {
    let mut rest = Bytes::from(bytes);
    let mut frames = Vec::new();
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let n = (*size).clamp(1, rest.len());
        frames.push(Ok(Frame::data(rest.split_to(n))));
    }
    StreamBody::new(stream::iter(frames)).boxed()
}

fn dek() -> Dek {
    Dek::new([3; 32])
}

fn sealing(length: u64) -> Sealing {
    Sealing {
        engine: Engine::default(),
        dek: dek(),
        object_id: ObjectId([5; 16]),
        segment_size: SegmentSize::new(SEGMENT).unwrap(),
        plaintext_len: length,
        envelope: vec![1, 2, 3],
        header: StreamHeader {
            salt: [7; 32],
            nonce_prefix: [9; 7],
        },
        footer_nonce: [11; 12],
    }
}

/// A footer that tells no more than it must.
fn bare() -> Result<FooterSource, BodyError> {
    Ok(FooterSource {
        etag: Etag::None,
        checksum: None,
    })
}

fn seal(declared: u64, body: BoxBody) -> Result<Vec<u8>, BodyError> {
    let body = SealBody::new(sealing(declared), body, bare)?;
    let hint = http_body::Body::size_hint(&body).exact();
    let sealed = block_on(body.collect())?.to_bytes().to_vec();
    assert_eq!(hint, Some(sealed.len() as u64));
    Ok(sealed)
}

fn plan(stored: &[u8], begin: Begin, last: Option<u64>, start: u64, len: u64) -> Plan {
    let footer_bytes: [u8; FOOTER_LEN] = stored[stored.len() - FOOTER_LEN..].try_into().unwrap();
    let object_id = ObjectId([5; 16]);
    let footer = Footer::open(Engine::default(), &dek(), &object_id, &footer_bytes).unwrap();
    Plan {
        engine: Engine::default(),
        dek: dek(),
        object_id,
        segment_size: footer.segment_size,
        streams: vec![Stream {
            role: Role::Single,
            plaintext_len: footer.plaintext_len,
            declared: footer.core_plaintext_len.is_some(),
            header: Some(footer.header),
        }],
        begin,
        end: match last {
            Some(last) => End::Segment(last),
            None => End::Object {
                table: None,
                footer: Box::new(footer_bytes),
            },
        },
        preamble_digest: footer.preamble_digest,
        start,
        len,
    }
}

fn whole(stored: &[u8], len: u64) -> Plan {
    plan(stored, Begin::Preamble, None, 0, len)
}

/// Parts of these lengths, every second one pinned, behind them a table and a footer that are any bytes.
fn parts(lens: &[usize]) -> (Vec<u8>, Plan) {
    let (object_id, size) = (ObjectId([5; 16]), SegmentSize::new(SEGMENT).unwrap());
    let plain = content(lens.iter().sum());
    let (mut stored, mut streams, mut at) = (Vec::new(), Vec::new(), 0);
    let mut preamble_digest = [0; 32];
    for (number, &len) in (1u16..).zip(lens) {
        let number = PartNumber::new(number).unwrap();
        let core = Core::part(&dek(), object_id, size, number, len as u64);
        let preamble = Preamble {
            core,
            envelope: vec![1, 2, 3],
        };
        preamble_digest = preamble.shared_digest().unwrap();
        stored.extend_from_slice(&preamble.encode().unwrap());
        let header = StreamHeader {
            salt: [number.get() as u8; 32],
            nonce_prefix: [9; 7],
        };
        let (engine, aad) = (Engine::default(), core.encode());
        let mut stream = SealStream::new(engine, &dek(), &header, size, &aad).unwrap();
        stream.push(&plain[at..at + len], &mut stored).unwrap();
        stream.finish(&mut stored).unwrap();
        at += len;
        streams.push(Stream {
            role: Role::Part(number),
            plaintext_len: len as u64,
            declared: true,
            header: number.get().is_multiple_of(2).then_some(header),
        });
    }
    let (table, footer) = ([3; 5_000], [4; FOOTER_LEN]);
    stored.extend_from_slice(&table);
    stored.extend_from_slice(&footer);
    use sha2::Digest as _;
    let plan = Plan {
        engine: Engine::default(),
        dek: dek(),
        object_id,
        segment_size: size,
        streams,
        begin: Begin::Preamble,
        end: End::Object {
            table: Some((5_000, sha2::Sha256::digest(table).into())),
            footer: Box::new(footer),
        },
        preamble_digest,
        start: 0,
        len: plain.len() as u64,
    };
    (stored, plan)
}

/// What comes out before the end or the first error.
fn open(stored: BoxBody, plan: Plan) -> (Vec<u8>, Option<BodyError>) {
    let mut body = OpenBody::new(stored, plan);
    let mut out = Vec::new();
    block_on(async {
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(frame) => out.extend_from_slice(&frame.into_data().unwrap()),
                Err(error) => return (out, Some(error)),
            }
        }
        (out, None)
    })
}

fn sizes() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(1usize..20_000, 1..6)
}

/// Lengths around segment boundaries, and any others.
fn lengths() -> impl Strategy<Value = usize> {
    prop_oneof![
        Just(0usize),
        Just(1),
        4038usize..4043,
        8118usize..8124,
        0usize..30_000,
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_the_frames_the_object_is_the_same(length in lengths(), a in sizes(), b in sizes()) {
        let plain = content(length);
        let sealed = seal(length as u64, pieces(plain.clone(), &a)).unwrap();
        prop_assert_eq!(&sealed, &seal(length as u64, pieces(plain.clone(), &[usize::MAX])).unwrap());
        let whole = whole(&sealed, length as u64);
        let (opened, error) = open(pieces(sealed, &b), whole);
        prop_assert!(error.is_none(), "{:?}", error);
        prop_assert_eq!(opened, plain);
    }

    #[test]
    fn whatever_the_frames_the_parts_are_the_same(lens in prop::collection::vec(lengths(), 1..6), cut in sizes()) {
        let (stored, plan) = parts(&lens);
        let (opened, error) = open(pieces(stored, &cut), plan);
        prop_assert!(error.is_none(), "{:?}", error);
        prop_assert_eq!(opened, content(lens.iter().sum()));
    }

    #[test]
    fn damaged_parts_release_only_what_came_before(
        lens in prop::collection::vec(lengths(), 1..6),
        at: prop::sample::Index,
        bit in 0u8..8,
        cut in sizes(),
    ) {
        let plain = content(lens.iter().sum());
        let refused = |stored: Vec<u8>| {
            let (opened, error) = open(pieces(stored, &cut), parts(&lens).1);
            prop_assert!(matches!(error, Some(BodyError::Integrity(_))), "{:?}", error);
            prop_assert!(plain.starts_with(&opened));
            prop_assert!(opened.len() < plain.len() || plain.is_empty());
            Ok(())
        };
        let (stored, _) = parts(&lens);
        let at = at.index(stored.len());
        let mut bad = stored.clone();
        bad[at] ^= 1 << bit;
        refused(bad)?;
        refused(stored[..at].to_vec())?;
        refused([&stored[..], &[0]].concat())?;
    }

    #[test]
    fn any_range_is_the_slice(length in 1usize..30_000, a: prop::sample::Index, b: prop::sample::Index, cut in sizes()) {
        let plain = content(length);
        let sealed = seal(length as u64, pieces(plain.clone(), &[5000])).unwrap();
        let (from, to) = (a.index(length), b.index(length));
        let (from, to) = (from.min(to), from.max(to) + 1);
        let layout = Layout::from_plaintext_len(SegmentSize::new(SEGMENT).unwrap(), length as u64).unwrap();
        let segments = layout.segments_of(from as u64..to as u64);
        let stored = layout.stored_range(segments.clone());
        let fetched = sealed[stored.start as usize..stored.end as usize].to_vec();
        let plan = plan(&sealed, Begin::Segment(segments.start), Some(segments.end - 1), from as u64, (to - from) as u64);
        let (opened, error) = open(pieces(fetched, &cut), plan);
        prop_assert!(error.is_none(), "{:?}", error);
        prop_assert_eq!(&opened[..], &plain[from..to]);
    }

    #[test]
    fn damage_releases_only_what_came_before_it(
        length in 0usize..20_000,
        at: prop::sample::Index,
        bit in 0u8..8,
        cut in sizes(),
    ) {
        let plain = content(length);
        let sealed = seal(length as u64, pieces(plain.clone(), &[5000])).unwrap();
        let whole = whole(&sealed, length as u64);
        let mut bad = sealed;
        let at = at.index(bad.len());
        bad[at] ^= 1 << bit;
        let (opened, error) = open(pieces(bad, &cut), whole);
        prop_assert!(matches!(error, Some(BodyError::Integrity(_))), "{:?}", error);
        prop_assert!(plain.starts_with(&opened) && (opened.len() < length || length == 0));
    }

    #[test]
    fn a_body_of_another_length_never_passes(length in 0usize..20_000, to: prop::sample::Index, cut in sizes()) {
        let plain = content(length);
        let sealed = seal(length as u64, pieces(plain.clone(), &[5000])).unwrap();
        let shorter = sealed[..to.index(sealed.len())].to_vec();
        let (opened, error) = open(pieces(shorter, &cut), whole(&sealed, length as u64));
        prop_assert!(matches!(error, Some(BodyError::Integrity(OpenFailure::Truncated))), "{:?}", error);
        prop_assert!(plain.starts_with(&opened) && (opened.len() < length || length == 0));
        let mut longer = sealed.clone();
        longer.push(0);
        let (opened, error) = open(pieces(longer, &cut), whole(&sealed, length as u64));
        prop_assert!(matches!(error, Some(BodyError::Integrity(OpenFailure::Trailing))), "{:?}", error);
        prop_assert!(plain.starts_with(&opened) && (opened.len() < length || length == 0));
    }

    #[test]
    fn a_plaintext_of_another_length_is_never_completed(length in 0usize..20_000, other in 0usize..20_000, cut in sizes()) {
        prop_assume!(length != other);
        prop_assert!(seal(length as u64, pieces(content(other), &cut)).is_err());
    }
}

#[test]
fn bytes_behind_a_full_last_segment_are_refused() {
    let segment = sealing(0).layout().unwrap().segment_size().get() as u64;
    // Wherever the segments end: one of so many lengths in a row fills its last one.
    for length in segment - 100..=segment {
        for extra in [1, 100] {
            let body = pieces(content((length + extra) as usize), &[length as usize]);
            assert!(seal(length, body).is_err(), "{length} and {extra}");
        }
    }
}

#[test]
fn a_failing_body_is_never_completed() {
    for before in [0usize, 1, 4040, 9000] {
        let frames = vec![
            Ok(Frame::data(Bytes::from(content(before)))),
            Err(BodyError::Client("gone".into())),
        ];
        let body = StreamBody::new(stream::iter(frames)).boxed();
        assert!(matches!(
            seal(before as u64, body),
            Err(BodyError::Client(_))
        ));
    }
}

#[test]
fn a_footer_that_is_refused_is_never_written() {
    let body = SealBody::new(sealing(5000), pieces(content(5000), &[100]), || {
        Err(BodyError::Seal("digest".into()))
    });
    let mut body = body.unwrap();
    let mut sent = 0;
    let error = block_on(async {
        loop {
            match body.frame().await {
                Some(Ok(frame)) => sent += frame.into_data().unwrap().len(),
                Some(Err(error)) => return Some(error),
                None => return None,
            }
        }
    });
    assert!(matches!(error, Some(BodyError::Seal(_))));
    let whole = sealing(5000).layout().unwrap().stored_len();
    assert!((sent as u64) < whole);
}

#[test]
fn what_is_at_hand_is_sealed_and_opened_at_once() {
    // In one window, and in several.
    for length in [0, 1, 4096, 65_480, 3 << 20] {
        let plain = content(length);
        let body = SealBody::new(sealing(length as u64), ready(plain.clone().into()), bare);
        let stored = at_once(body.unwrap()).unwrap();
        assert_eq!(
            stored,
            seal(length as u64, full(plain.clone())).unwrap(),
            "{length}"
        );
        let plan = whole(&stored, length as u64);
        assert_eq!(at_once(OpenBody::new(ready(stored), plan)).unwrap(), plain);
    }
}

#[test]
fn what_is_not_at_hand_is_no_object() {
    let waiting = StreamBody::new(stream::pending::<Result<Frame<Bytes>, BodyError>>());
    assert!(matches!(at_once(waiting), Err(BodyError::Unready)));
    let short = SealBody::new(sealing(2), ready(content(1).into()), bare);
    assert!(matches!(at_once(short.unwrap()), Err(BodyError::Seal(_))));
}
