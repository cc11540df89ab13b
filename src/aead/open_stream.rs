//! Opens a stream of bytes that comes in pieces of any length, from its first byte to its last.

use super::{
    CipherError, Dek, Engine, OpenError, Opener, STREAM_HEADER_LEN, SegmentSize, StreamHeader,
};

/// A Tink stream in, verified plaintext out: push pieces as they come, then
/// [finish](OpenStream::finish), which alone can tell that nothing was cut off.
///
/// Holds at most one segment. Every byte that it puts out is authentic; but only after a successful
/// finish is the plaintext known to be whole.
#[derive(Debug)]
pub struct OpenStream {
    state: State,
    segment_size: SegmentSize,
    /// Invariant: at most what the state waits for: a header, or a full segment.
    pending: Vec<u8>,
}

#[derive(Debug)]
enum State {
    /// Until the header is complete.
    Header {
        engine: Engine,
        dek: Dek,
        aad: Vec<u8>,
    },
    /// Segments; `index` is that of the segment in `pending`.
    Segments { opener: Opener, index: u64 },
    /// After an error.
    Failed,
}

impl OpenStream {
    /// Prepares for a stream; the arguments are those of [`Opener::new`], without the header, which
    /// the stream itself brings.
    #[must_use]
    pub fn new(engine: Engine, dek: &Dek, segment_size: SegmentSize, aad: &[u8]) -> Self {
        let state = State::Header {
            engine,
            dek: dek.clone(),
            aad: aad.to_vec(),
        };
        Self {
            state,
            segment_size,
            pending: Vec::with_capacity(segment_size.sealed_capacity(1)),
        }
    }

    /// Takes bytes of the stream; whatever plaintext they complete is appended to `out`.
    ///
    /// # Errors
    ///
    /// [`OpenError`]. What was appended to `out` before the error is authentic; the stream stays
    /// failed.
    pub fn push(&mut self, stream: &[u8], out: &mut Vec<u8>) -> Result<(), OpenError> {
        self.advance(stream, out)
            .inspect_err(|_| self.state = State::Failed)
    }

    /// Opens what is left as the last segment and appends its plaintext to `out`.
    ///
    /// # Errors
    ///
    /// [`OpenError`], also where the stream was cut short or bytes followed it.
    pub fn finish(mut self, out: &mut Vec<u8>) -> Result<(), OpenError> {
        match &self.state {
            State::Header { .. } => Err(OpenError::Truncated),
            State::Segments { opener, index } => {
                open(opener, *index, true, &mut self.pending, &[], out)
            }
            State::Failed => Err(OpenError::Failed),
        }
    }

    fn advance(&mut self, mut stream: &[u8], out: &mut Vec<u8>) -> Result<(), OpenError> {
        loop {
            match &mut self.state {
                State::Header { engine, dek, aad } => {
                    let missing = STREAM_HEADER_LEN - self.pending.len();
                    let (now, rest) = stream.split_at(missing.min(stream.len()));
                    self.pending.extend_from_slice(now);
                    let Some(header) = self.pending.first_chunk() else {
                        return Ok(());
                    };
                    let header = StreamHeader::decode(header)?;
                    let opener = Opener::new(*engine, dek, &header, self.segment_size, aad)
                        .map_err(|error: CipherError| OpenError::Cipher(error))?;
                    self.pending.clear();
                    self.state = State::Segments { opener, index: 0 };
                    stream = rest;
                }
                State::Segments { opener, index } => {
                    // A full segment is opened only once a byte follows it: it may be the last.
                    let missing = self.segment_size.sealed_capacity(*index) - self.pending.len();
                    if stream.len() <= missing {
                        self.pending.extend_from_slice(stream);
                        return Ok(());
                    }
                    let (now, rest) = stream.split_at(missing);
                    open(opener, *index, false, &mut self.pending, now, out)?;
                    *index += 1;
                    stream = rest;
                }
                State::Failed => return Err(OpenError::Failed),
            }
        }
    }
}

/// Opens `pending ‖ now` at the end of `out`, or leaves `out` as it was.
fn open(
    opener: &Opener,
    index: u64,
    last: bool,
    pending: &mut Vec<u8>,
    now: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), OpenError> {
    let start = out.len();
    out.extend_from_slice(pending);
    out.extend_from_slice(now);
    pending.clear();
    let opened = opener.open_in_place(index, last, &mut out[start..]);
    out.truncate(start + opened.as_ref().map_or(0, |&n| n));
    opened.map(drop)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{HeaderError, SealStream};
    use super::*;

    const HEADER: StreamHeader = StreamHeader {
        salt: [1; 32],
        nonce_prefix: [2; 7],
    };
    const AAD: &[u8] = b"core";

    fn dek() -> Dek {
        Dek::new([3; 32])
    }

    fn pattern(n: usize) -> Vec<u8> {
        (0..n)
            .map(|i| (i * 131 + (i >> 8) * 17 + 7) as u8)
            .collect()
    }

    fn seal(plaintext: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut stream =
            SealStream::new(Engine::Rust, &dek(), &HEADER, SegmentSize::MIN, AAD).unwrap();
        stream.push(plaintext, &mut out).unwrap();
        stream.finish(&mut out).unwrap();
        out
    }

    fn open_in(step: usize, sealed: &[u8]) -> (Vec<u8>, Result<(), OpenError>) {
        let mut stream = OpenStream::new(Engine::AwsLc, &dek(), SegmentSize::MIN, AAD);
        let mut out = Vec::new();
        for piece in sealed.chunks(step) {
            if let Err(error) = stream.push(piece, &mut out) {
                assert_eq!(stream.push(b"x", &mut out), Err(OpenError::Failed));
                return (out, Err(error));
            }
        }
        let finished = stream.finish(&mut out);
        (out, finished)
    }

    fn refused(sealed: &[u8], plaintext: &[u8]) -> OpenError {
        let (out, result) = open_in(1_000, sealed);
        assert!(plaintext.starts_with(&out), "a wrong byte was released");
        result.expect_err("the stream must be refused")
    }

    #[test]
    fn opens_in_pieces_of_any_length() {
        for n in [0, 1, 4_040, 4_041, 8_120, 8_121, 10_000] {
            let (plaintext, sealed) = (pattern(n), seal(&pattern(n)));
            for step in [1, 39, 40, 41, 4_096, 1 << 20] {
                assert!(
                    open_in(step, &sealed) == (plaintext.clone(), Ok(())),
                    "{n} {step}"
                );
            }
        }
    }

    #[test]
    fn every_truncation_is_refused() {
        let plaintext = pattern(8_200);
        let sealed = seal(&plaintext);
        for len in 0..sealed.len() {
            refused(&sealed[..len], &plaintext);
        }
    }

    #[test]
    fn every_flipped_byte_is_refused() {
        let plaintext = pattern(4_100);
        let sealed = seal(&plaintext);
        for at in 0..sealed.len() {
            let mut flipped = sealed.clone();
            flipped[at] ^= 0x80;
            refused(&flipped, &plaintext);
        }
    }

    #[test]
    fn segments_keep_their_place() {
        let plaintext = pattern(4_040 + 3 * 4_080 + 5);
        let sealed = seal(&plaintext);
        let segments: Vec<&[u8]> = sealed.chunks(4_096).collect();
        for order in [
            vec![0, 2, 1, 3, 4],
            vec![0, 1, 3, 4],
            vec![0, 1, 1, 2, 3, 4],
            vec![0, 1, 2, 3, 3, 4],
            vec![0, 1, 2, 3, 4, 4],
            vec![0, 1, 2, 3],
            vec![0, 1, 2, 4, 3],
            vec![0, 4],
            vec![1, 2, 3, 4],
        ] {
            let moved: Vec<u8> = order.iter().flat_map(|&i| segments[i].to_vec()).collect();
            refused(&moved, &plaintext);
        }
        let mut longer = sealed.clone();
        longer.push(0);
        refused(&longer, &plaintext);
    }

    #[test]
    fn an_empty_last_segment_is_refused() {
        let plaintext = pattern(4_040);
        let mut sealed = HEADER.encode().to_vec();
        let key = dek().stream_key(&HEADER.salt, AAD);
        let cipher = Engine::Rust.cipher(&key).unwrap();
        let mut first = plaintext.clone();
        let nonce = |index, last| super::super::nonce::nonce([2; 7], index, last).unwrap();
        let tag = cipher.seal(&nonce(0, false), b"", &mut first).unwrap();
        sealed.extend_from_slice(&first);
        sealed.extend_from_slice(&tag);
        sealed.extend_from_slice(&cipher.seal(&nonce(1, true), b"", &mut []).unwrap());
        assert_eq!(refused(&sealed, &plaintext), OpenError::EmptyLast);
    }

    #[test]
    fn another_key_segment_size_or_associated_data_is_refused() {
        let sealed = seal(&pattern(5_000));
        let large = SegmentSize::new(8_192).unwrap();
        for (key, size, aad) in [
            ([4; 32], SegmentSize::MIN, AAD),
            ([3; 32], large, AAD),
            ([3; 32], SegmentSize::MIN, b"Core"),
        ] {
            let mut stream = OpenStream::new(Engine::AwsLc, &Dek::new(key), size, aad);
            let mut out = Vec::new();
            let result = stream.push(&sealed, &mut out);
            assert!(result.and_then(|()| stream.finish(&mut out)).is_err());
            assert!(out.is_empty());
        }
    }

    #[test]
    fn the_header_length_is_checked() {
        let mut sealed = seal(b"");
        sealed[0] = 24;
        assert_eq!(refused(&sealed, b""), OpenError::Header(HeaderError(24)));
    }

    #[test]
    fn the_opener_is_strict_and_wipes() {
        let opener = Opener::new(Engine::AwsLc, &dek(), &HEADER, SegmentSize::MIN, AAD).unwrap();
        for (index, last, len, error) in [
            (0, true, 15, OpenError::Truncated),
            (1, true, 16, OpenError::EmptyLast),
            (0, true, 16, OpenError::NotAuthentic { index: 0 }),
            (
                0,
                true,
                4_057,
                OpenError::Length {
                    index: 0,
                    found: 4_057,
                },
            ),
            (
                1,
                false,
                4_095,
                OpenError::Length {
                    index: 1,
                    found: 4_095,
                },
            ),
            (1 << 32, false, 4_096, OpenError::Index(1 << 32)),
        ] {
            let mut segment = vec![0xaa; len];
            assert_eq!(opener.open_in_place(index, last, &mut segment), Err(error));
            assert!(segment.iter().all(|&byte| byte == 0));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn round_trips(plaintext in prop::collection::vec(any::<u8>(), 0..20_000), step in 1usize..9_000) {
            prop_assert_eq!(open_in(step, &seal(&plaintext)), (plaintext, Ok(())));
        }

        #[test]
        fn noise_releases_nothing_wrong(
            n in 0usize..10_000,
            at in any::<prop::sample::Index>(),
            insert in prop::collection::vec(any::<u8>(), 0..50),
            remove in 0usize..50,
        ) {
            let plaintext = pattern(n);
            let sealed = seal(&plaintext);
            let at = at.index(sealed.len() + 1);
            let mut changed = sealed[..at].to_vec();
            changed.extend_from_slice(&insert);
            changed.extend_from_slice(&sealed[(at + remove).min(sealed.len())..]);
            if changed != sealed {
                refused(&changed, &plaintext);
            }
        }
    }
}
