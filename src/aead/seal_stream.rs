//! Seals a stream of bytes that comes in pieces of any length.

use zeroize::{Zeroize, Zeroizing};

use super::{CipherError, Dek, Engine, SealError, Sealer, SegmentSize, StreamHeader, TAG_LEN};

/// Plaintext in, a Tink stream out: push pieces as they come, then [finish](SealStream::finish).
///
/// Holds at most one segment. A stream that is dropped before it is finished cannot be opened.
#[derive(Debug)]
pub struct SealStream {
    sealer: Sealer,
    /// Invariant: at most the sealer's capacity.
    pending: Zeroizing<Vec<u8>>,
    begun: bool,
}

impl SealStream {
    /// Begins a stream; the arguments are those of [`Sealer::new`].
    ///
    /// # Errors
    ///
    /// [`CipherError`] where the engine cannot set the key up.
    pub fn new(
        engine: Engine,
        dek: &Dek,
        header: &StreamHeader,
        segment_size: SegmentSize,
        aad: &[u8],
    ) -> Result<Self, CipherError> {
        let sealer = Sealer::new(engine, dek, header, segment_size, aad)?;
        // Never grown beyond this, so that no copy of plaintext is left behind in freed memory.
        let pending = Zeroizing::new(Vec::with_capacity(segment_size.plaintext_capacity(1)));
        Ok(Self {
            sealer,
            pending,
            begun: false,
        })
    }

    /// Takes plaintext; whatever is ready of the stream is appended to `out`.
    ///
    /// # Errors
    ///
    /// [`SealError::TooManySegments`], or [`SealError::Cipher`] where the engine fails. `out` then
    /// holds no plaintext, and the stream must be given up.
    pub fn push(&mut self, mut plaintext: &[u8], out: &mut Vec<u8>) -> Result<(), SealError> {
        self.begin(out);
        // A full segment is sealed only once a byte follows it: it may be the last.
        while self.pending.len() + plaintext.len() > self.sealer.capacity() {
            let (now, rest) = plaintext.split_at(self.sealer.capacity() - self.pending.len());
            seal(&mut self.sealer, &mut self.pending, now, false, out)?;
            plaintext = rest;
        }
        self.pending.extend_from_slice(plaintext);
        Ok(())
    }

    /// Seals what is left as the last segment and appends it to `out`.
    ///
    /// # Errors
    ///
    /// As [`SealStream::push`].
    pub fn finish(mut self, out: &mut Vec<u8>) -> Result<(), SealError> {
        self.begin(out);
        seal(&mut self.sealer, &mut self.pending, &[], true, out)
    }

    fn begin(&mut self, out: &mut Vec<u8>) {
        if !self.begun {
            out.extend_from_slice(&self.sealer.header());
            self.begun = true;
        }
    }
}

/// Seals `pending ‖ now` at the end of `out`, or leaves `out` as it was.
fn seal(
    sealer: &mut Sealer,
    pending: &mut Vec<u8>,
    now: &[u8],
    last: bool,
    out: &mut Vec<u8>,
) -> Result<(), SealError> {
    let start = out.len();
    // At once, so that no copy of plaintext is left behind in freed memory.
    out.reserve(pending.len() + now.len() + TAG_LEN);
    out.extend_from_slice(pending);
    out.extend_from_slice(now);
    pending.as_mut_slice().zeroize();
    pending.clear();
    match sealer.seal_in_place(&mut out[start..], last) {
        Ok(tag) => {
            out.extend_from_slice(&tag);
            Ok(())
        }
        Err(error) => {
            out[start..].zeroize();
            out.truncate(start);
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Layout, MAX_SEGMENTS};
    use super::*;

    const HEADER: StreamHeader = StreamHeader {
        salt: [1; 32],
        nonce_prefix: [2; 7],
    };

    fn stream() -> SealStream {
        let dek = Dek::new([3; 32]);
        SealStream::new(Engine::AwsLc, &dek, &HEADER, SegmentSize::MIN, b"core").unwrap()
    }

    #[test]
    fn writes_the_length_that_the_layout_says() {
        for n in [0, 1, 4_039, 4_040, 4_041, 8_120, 8_121, 20_000] {
            let (mut stream, mut out) = (stream(), Vec::new());
            stream.push(&vec![7; n], &mut out).unwrap();
            stream.finish(&mut out).unwrap();
            let layout = Layout::from_plaintext_len(SegmentSize::MIN, n as u64).unwrap();
            assert_eq!(out.len() as u64, layout.stream_len(), "{n}");
        }
    }

    #[test]
    fn pieces_do_not_show() {
        let plaintext: Vec<u8> = (0..10_000u32).map(|i| i as u8).collect();
        let mut whole = Vec::new();
        let mut one = stream();
        one.push(&plaintext, &mut whole).unwrap();
        one.finish(&mut whole).unwrap();
        for step in [1, 7, 4_040, 4_080, 4_096, 9_999] {
            let (mut stream, mut out) = (stream(), Vec::new());
            for piece in plaintext.chunks(step) {
                stream.push(piece, &mut out).unwrap();
                stream.push(&[], &mut out).unwrap();
            }
            stream.finish(&mut out).unwrap();
            assert!(out == whole, "{step}");
        }
    }

    #[test]
    fn no_plaintext_is_left_in_the_output_when_it_fails() {
        let (mut stream, mut out) = (stream(), Vec::new());
        stream.push(&[], &mut out).unwrap();
        stream.sealer.skip_to(MAX_SEGMENTS);
        let before = out.clone();
        assert_eq!(
            stream.push(&[7; 5_000], &mut out),
            Err(SealError::TooManySegments)
        );
        assert_eq!(out, before);
    }
}
