//! Decoder for bodies in `aws-chunked` framing, with and without chunk signatures and trailers.
//!
//! ```text
//! body    = *chunk last [trailer]
//! chunk   = size-hex [";chunk-signature=" 64hex] CRLF data CRLF
//! last    = "0"      [";chunk-signature=" 64hex] CRLF [CRLF]
//! trailer = *(name ":" value CRLF) ["x-amz-trailer-signature:" 64hex CRLF] CRLF
//! ```
//!
//! Sources: S3 API, "Signature Calculations for the Authorization Header: Transferring Payload in
//! Multiple Chunks" and "… Including Trailing Headers". Clients differ in details that carry no
//! meaning, and all of them are read: lines that end in LF alone, a blank line between the last chunk
//! and the trailer or between trailer and trailer signature, a missing or a doubled blank line at the end.
//!
//! Data is handed out as it arrives, before the signature of its chunk can be checked. It must not
//! be committed anywhere before [`Decoder::finish`] has returned.

use std::fmt;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::uri::hex_digit;

/// Longest chunk header line or trailer line, in bytes.
pub const MAX_LINE: usize = 4 * 1024;

/// Shortest chunk that another one may follow, in bytes of data.
pub const MIN_CHUNK: u64 = 8 * 1024;

/// Longest trailer, in bytes with all line ends.
pub const MAX_TRAILER: usize = 16 * 1024;

/// Most blank lines around a trailer.
const MAX_BLANK_LINES: u8 = 4;

const TRAILER_SIGNATURE: &str = "x-amz-trailer-signature";

/// The body is not what its framing, its signatures or its headers say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChunkedError {
    /// A chunk header or the end of a chunk is malformed (S3: `IncompleteBody`).
    #[error("the chunked body is malformed: {0}")]
    Malformed(&'static str),
    /// A trailer line is malformed, too long, or unexpected (S3: `MalformedTrailerError`).
    #[error("the trailer is malformed: {0}")]
    MalformedTrailer(&'static str),
    /// A chunk that others follow is shorter than [`MIN_CHUNK`] (S3: `InvalidChunkSizeError`).
    #[error("a chunk of {size} bytes is not the last")]
    ShortChunk {
        /// Number of the chunk behind it, from 1.
        next: u64,
        /// Its bytes.
        size: u64,
    },
    /// There are bytes behind the end of the body (S3: `IncompleteBody`).
    #[error("there is data behind the last chunk")]
    TrailingData,
    /// The body ended early (S3: `IncompleteBody`).
    #[error("the body ended before its last chunk was complete")]
    Truncated,
    /// The chunks carry more or less than `x-amz-decoded-content-length` (S3: `IncompleteBody`).
    #[error("the chunks do not add up to x-amz-decoded-content-length")]
    LengthMismatch,
    /// The signature of a chunk or of the trailer is wrong or missing (S3: `SignatureDoesNotMatch`).
    #[error("the signature of a chunk does not match")]
    SignatureMismatch,
    /// `x-amz-decoded-content-length` is not there (S3: `MissingContentLength`).
    #[error("x-amz-decoded-content-length is required")]
    MissingDecodedLength,
    /// `x-amz-decoded-content-length` is not a number (S3: `InvalidArgument`).
    #[error("x-amz-decoded-content-length is not valid")]
    InvalidDecodedLength,
    /// The decoder has failed before and cannot go on.
    #[error("the body has already been refused")]
    Failed,
}

/// Checks the signatures of a chunked body as it passes.
///
/// Call order: [`update`](Self::update) any number of times, then [`finish_chunk`](Self::finish_chunk),
/// for each chunk, the empty last one included; then at most once [`finish_trailer`](Self::finish_trailer).
pub trait ChunkAuth {
    /// Shows what [`update`](Self::update) will be given next, unless the body turns out to be malformed: the rest of the
    /// current chunk, then each of those behind it, the last maybe in part. Whoever is faster with several at once takes as
    /// many as it wants, which are not shown again. The verdict must not depend on it.
    fn look_ahead<'a>(&mut self, pieces: impl Iterator<Item = &'a [u8]>) {
        let _ = pieces;
    }

    /// Takes in the next bytes of the current chunk.
    fn update(&mut self, data: &[u8]);

    /// Ends the current chunk. Whether `signature` is the right one, compared in constant time.
    #[must_use]
    fn finish_chunk(&mut self, signature: &[u8; 32]) -> bool;

    /// Whether `signature` is the right one for these trailers, compared in constant time.
    #[must_use]
    fn finish_trailer(&mut self, trailers: &HeaderMap, signature: &[u8; 32]) -> bool;
}

/// Reads `x-amz-decoded-content-length`, in bytes.
///
/// # Errors
///
/// [`ChunkedError::MissingDecodedLength`], [`ChunkedError::InvalidDecodedLength`].
pub fn decoded_content_length(headers: &HeaderMap) -> Result<u64, ChunkedError> {
    let mut values = headers.get_all("x-amz-decoded-content-length").iter();
    let value = values.next().ok_or(ChunkedError::MissingDecodedLength)?;
    let text = value
        .to_str()
        .map_err(|_| ChunkedError::InvalidDecodedLength)?;
    if values.next().is_some() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(ChunkedError::InvalidDecodedLength);
    }
    text.parse().map_err(|_| ChunkedError::InvalidDecodedLength)
}

/// `Content-Encoding` without `aws-chunked`, which is a transfer framing and not stored; `None` if
/// nothing else is left.
#[must_use]
pub fn strip_aws_chunked(content_encoding: &str) -> Option<String> {
    let rest: Vec<&str> = content_encoding
        .split(',')
        .map(str::trim)
        .filter(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case("aws-chunked"))
        .collect();
    (!rest.is_empty()).then(|| rest.join(","))
}

/// Where the decoder stands in the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In a chunk header.
    Header,
    /// In the data of a chunk, `left > 0` bytes before its end.
    Data { left: u64 },
    /// Behind the data of a chunk; `cr` once the CR has been seen.
    DataEnd { cr: bool },
    /// Behind the last chunk header.
    Trailer,
    /// An error has been returned.
    Failed,
}

/// A sans-io decoder of one body.
///
/// Give it every piece of the body with [`decode`](Self::decode), again and again until that returns
/// `None`, and at the end of the body call [`finish`](Self::finish).
pub struct Decoder<V> {
    state: State,
    auth: Option<V>,
    trailer_expected: bool,
    /// Bytes of data still to come, by `x-amz-decoded-content-length`.
    data_left: u64,
    /// [`MIN_CHUNK`].
    min_chunk: u64,
    /// Chunks with data so far, and the bytes of the newest.
    chunks: u64,
    chunk_size: u64,
    /// The signature announced in the header of the current chunk.
    signature: [u8; 32],
    /// The unfinished line, without its LF; at most `MAX_LINE`.
    line: Vec<u8>,
    trailers: HeaderMap,
    /// Bytes seen behind the last chunk header; at most `MAX_TRAILER`.
    trailer_bytes: usize,
    blank_lines: u8,
    /// Nothing but blank lines may follow.
    closed: bool,
    trailer_signed: bool,
    /// Bytes at the end of the input that `auth` has not been shown; all of the next one.
    unseen: usize,
}

impl<V: ChunkAuth> Decoder<V> {
    /// A decoder for one body.
    ///
    /// `signed` checks the chunk signatures; without it the chunks must carry none. `trailer` says
    /// whether the form in use ends in `-TRAILER`. `decoded_length` is `x-amz-decoded-content-length`.
    #[must_use]
    pub fn new(signed: Option<V>, trailer: bool, decoded_length: u64) -> Self {
        Self {
            state: State::Header,
            auth: signed,
            trailer_expected: trailer,
            data_left: decoded_length,
            min_chunk: MIN_CHUNK,
            chunks: 0,
            chunk_size: 0,
            signature: [0; 32],
            line: Vec::new(),
            trailers: HeaderMap::new(),
            trailer_bytes: 0,
            blank_lines: 0,
            closed: false,
            trailer_signed: false,
            unseen: usize::MAX,
        }
    }

    /// The same decoder for chunks of any size: short bodies have many of them. Public for tests and fuzz targets alone.
    #[doc(hidden)]
    #[must_use]
    pub fn of_any_chunks(self) -> Self {
        Self {
            min_chunk: 0,
            ..self
        }
    }

    /// Takes the next data out of `input`, without copying it; `None` once `input` is used up.
    ///
    /// # Errors
    ///
    /// See [`ChunkedError`]. After an error every call fails.
    pub fn decode(&mut self, input: &mut Bytes) -> Result<Option<Bytes>, ChunkedError> {
        let result = self.step(input);
        if result.is_err() {
            self.state = State::Failed;
        }
        if input.is_empty() {
            self.unseen = usize::MAX;
        }
        result
    }

    /// What checks the chunk signatures, if the chunks have them.
    #[must_use]
    pub fn auth(&self) -> Option<&V> {
        self.auth.as_ref()
    }

    /// Ends the body: checks that it is complete and returns its trailers, without their signature.
    ///
    /// # Errors
    ///
    /// [`ChunkedError::Truncated`], [`ChunkedError::SignatureMismatch`] if a signed trailer has no
    /// signature, [`ChunkedError::Failed`].
    pub fn finish(self) -> Result<HeaderMap, ChunkedError> {
        match self.state {
            State::Failed => Err(ChunkedError::Failed),
            State::Trailer if self.line.is_empty() => {
                if self.auth.is_some() && self.trailer_expected && !self.trailer_signed {
                    return Err(ChunkedError::SignatureMismatch);
                }
                Ok(self.trailers)
            }
            _ => Err(ChunkedError::Truncated),
        }
    }

    fn step(&mut self, input: &mut Bytes) -> Result<Option<Bytes>, ChunkedError> {
        while let Some(&next) = input.first() {
            match self.state {
                State::Header => {
                    if self.read_line(input)? {
                        self.chunk_header()?;
                    }
                }
                State::Data { left } => {
                    if let Some(auth) = &mut self.auth
                        && input.len() <= self.unseen
                    {
                        let mut pieces = Pieces { left, rest: input };
                        auth.look_ahead(&mut pieces);
                        self.unseen = pieces.rest.len();
                    }
                    let here = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
                    let data = input.split_to(here);
                    // `here <= left`, and a usize fits into 64 bits.
                    let left = left.saturating_sub(data.len() as u64);
                    if let Some(auth) = &mut self.auth {
                        auth.update(&data);
                    }
                    if left == 0 {
                        self.check_chunk()?;
                        self.state = State::DataEnd { cr: false };
                    } else {
                        self.state = State::Data { left };
                    }
                    return Ok(Some(data));
                }
                State::DataEnd { cr } => {
                    self.state = match (next, cr) {
                        (b'\r', false) => State::DataEnd { cr: true },
                        (b'\n', _) => State::Header,
                        _ => return Err(ChunkedError::Malformed("no line end behind chunk data")),
                    };
                    let _ = input.split_to(1);
                }
                State::Trailer => {
                    let before = input.len();
                    let complete = self.read_line(input)?;
                    self.trailer_bytes = self
                        .trailer_bytes
                        .saturating_add(before.saturating_sub(input.len()));
                    if self.trailer_bytes > MAX_TRAILER {
                        return Err(ChunkedError::MalformedTrailer("too long"));
                    }
                    if complete {
                        self.trailer_line()?;
                    }
                }
                State::Failed => return Err(ChunkedError::Failed),
            }
        }
        Ok(None)
    }

    /// Moves bytes to `line` up to the next LF; true if one was there. The line end is dropped.
    fn read_line(&mut self, input: &mut Bytes) -> Result<bool, ChunkedError> {
        let end = line_end(input);
        let taken = input.split_to(end.unwrap_or(input.len().min(MAX_LINE + 1)));
        if self.line.len() + taken.len() > MAX_LINE {
            return Err(match self.state {
                State::Trailer if self.closed || !self.trailer_expected => {
                    ChunkedError::TrailingData
                }
                State::Trailer => ChunkedError::MalformedTrailer("a line is too long"),
                _ => ChunkedError::Malformed("a chunk header is too long"),
            });
        }
        self.line.extend_from_slice(&taken);
        if end.is_none() {
            return Ok(false);
        }
        let _ = input.split_to(1);
        if self.line.last() == Some(&b'\r') {
            self.line.pop();
        }
        Ok(true)
    }

    fn chunk_header(&mut self) -> Result<(), ChunkedError> {
        let line = std::mem::take(&mut self.line);
        let (size, signature) = parse_header(&line)?;
        match (&self.auth, signature) {
            (Some(_), Some(signature)) => self.signature = signature,
            (Some(_), None) => return Err(ChunkedError::SignatureMismatch),
            (None, Some(_)) => return Err(ChunkedError::Malformed("unexpected chunk signature")),
            (None, None) => {}
        }
        self.data_left = self
            .data_left
            .checked_sub(size)
            .ok_or(ChunkedError::LengthMismatch)?;
        if size > 0 {
            if self.chunks > 0 && self.chunk_size < self.min_chunk {
                return Err(ChunkedError::ShortChunk {
                    next: self.chunks.saturating_add(1),
                    size: self.chunk_size,
                });
            }
            self.chunks = self.chunks.saturating_add(1);
            self.chunk_size = size;
            self.state = State::Data { left: size };
            return Ok(());
        }
        self.check_chunk()?;
        if self.data_left > 0 {
            return Err(ChunkedError::LengthMismatch);
        }
        self.state = State::Trailer;
        Ok(())
    }

    fn check_chunk(&mut self) -> Result<(), ChunkedError> {
        if let Some(auth) = &mut self.auth
            && !auth.finish_chunk(&self.signature)
        {
            return Err(ChunkedError::SignatureMismatch);
        }
        Ok(())
    }

    fn trailer_line(&mut self) -> Result<(), ChunkedError> {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            self.blank_lines = self.blank_lines.saturating_add(1);
            if self.blank_lines > MAX_BLANK_LINES {
                return Err(ChunkedError::TrailingData);
            }
            // A signed trailer ends with its signature, an unsigned one with the blank line behind it.
            if !self.trailers.is_empty() && self.auth.is_none() {
                self.closed = true;
            }
            return Ok(());
        }
        if self.closed || !self.trailer_expected {
            return Err(ChunkedError::TrailingData);
        }
        let malformed = ChunkedError::MalformedTrailer("not a name and a value");
        let colon = line
            .iter()
            .position(|byte| *byte == b':')
            .ok_or(malformed)?;
        let (name, value) = line.split_at(colon);
        let name = HeaderName::from_bytes(name.trim_ascii()).map_err(|_| malformed)?;
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        if name == TRAILER_SIGNATURE {
            let auth = self.auth.as_mut().ok_or(ChunkedError::MalformedTrailer(
                "a signature in an unsigned trailer",
            ))?;
            let signature = str::from_utf8(value)
                .ok()
                .and_then(parse_signature)
                .ok_or(ChunkedError::MalformedTrailer("trailer signature"))?;
            if !auth.finish_trailer(&self.trailers, &signature) {
                return Err(ChunkedError::SignatureMismatch);
            }
            self.trailer_signed = true;
            self.closed = true;
            return Ok(());
        }
        let value = HeaderValue::from_bytes(value).map_err(|_| malformed)?;
        if self.trailers.contains_key(&name) {
            return Err(ChunkedError::MalformedTrailer("a name stands twice"));
        }
        self.trailers.insert(name, value);
        Ok(())
    }
}

impl<V> fmt::Debug for Decoder<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder")
            .field("state", &self.state)
            .field("signed", &self.auth.is_some())
            .field("data_left", &self.data_left)
            .finish_non_exhaustive()
    }
}

/// The data in an input that begins in a chunk, by chunks. It is the decoder that judges what stands between them: what it
/// might not like ends this.
struct Pieces<'a> {
    /// Bytes before the end of the chunk.
    left: u64,
    /// From where the chunk goes on; empty at the end.
    rest: &'a [u8],
}

impl<'a> Iterator for Pieces<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = std::mem::take(&mut self.rest);
        let here = usize::try_from(self.left).map_or(rest.len(), |left| left.min(rest.len()));
        let (piece, behind) = rest.split_at_checked(here).filter(|_| here > 0)?;
        if let Some(next) = next_chunk(behind) {
            (self.left, self.rest) = next;
        }
        Some(piece)
    }
}

/// Behind the data of a chunk: the size of the next and what comes behind its header.
fn next_chunk(input: &[u8]) -> Option<(u64, &[u8])> {
    let input = input.strip_prefix(b"\r").unwrap_or(input);
    let input = input.strip_prefix(b"\n")?;
    let (line, behind) = input.split_at(line_end(input)?);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let (size, _) = parse_header(line).ok()?;
    Some((size, behind.get(1..)?))
}

/// Where the first line ends, unless it is too long: its LF.
fn line_end(input: &[u8]) -> Option<usize> {
    let mut start = input.iter().take(MAX_LINE + 1);
    start.position(|byte| *byte == b'\n')
}

/// A chunk header: size and signature.
fn parse_header(line: &[u8]) -> Result<(u64, Option<[u8; 32]>), ChunkedError> {
    let text = str::from_utf8(line).map_err(|_| ChunkedError::Malformed("chunk header"))?;
    let mut parts = text.split(';');
    let size = parse_size(parts.next().unwrap_or(""))?;
    let mut signature = None;
    for extension in parts {
        match extension.split_once('=') {
            Some(("chunk-signature", value)) if signature.is_none() => {
                signature =
                    Some(parse_signature(value).ok_or(ChunkedError::Malformed("chunk signature"))?);
            }
            // Some clients end the size of an unsigned chunk with a semicolon.
            None if extension.is_empty() => {}
            _ => return Err(ChunkedError::Malformed("chunk extension")),
        }
    }
    Ok((size, signature))
}

fn parse_size(text: &str) -> Result<u64, ChunkedError> {
    // Some clients pad the size with spaces behind it.
    let text = text.trim_end_matches(' ');
    if text.is_empty() || text.len() > 16 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(ChunkedError::Malformed("chunk size"));
    }
    u64::from_str_radix(text, 16).map_err(|_| ChunkedError::Malformed("chunk size"))
}

/// 64 hexadecimal digits.
fn parse_signature(text: &str) -> Option<[u8; 32]> {
    let digits = text.trim_ascii().as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let mut signature = [0; 32];
    for (byte, pair) in signature.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = hex_digit(*pair.first()?)? << 4 | hex_digit(*pair.get(1)?)?;
    }
    Some(signature)
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::ops::Range;

    use super::*;
    use proptest::prelude::*;

    /// Takes every signature that is 32 times the length of the chunk, or the number of trailers.
    #[derive(Clone, Default)]
    struct Lengths(u8);

    impl ChunkAuth for Lengths {
        fn update(&mut self, data: &[u8]) {
            self.0 = self.0.wrapping_add(u8::try_from(data.len()).unwrap());
        }

        fn finish_chunk(&mut self, signature: &[u8; 32]) -> bool {
            *signature == [std::mem::take(&mut self.0); 32]
        }

        fn finish_trailer(&mut self, trailers: &HeaderMap, signature: &[u8; 32]) -> bool {
            *signature == [u8::try_from(trailers.len()).unwrap(); 32]
        }
    }

    /// The same; looks ahead at so many pieces at most, and sees that they come as they were shown.
    #[derive(Clone, Default)]
    struct Ahead {
        lengths: Lengths,
        most: usize,
        /// Addresses of what is yet to come.
        shown: VecDeque<Range<usize>>,
        taken: usize,
    }

    impl ChunkAuth for Ahead {
        fn look_ahead<'a>(&mut self, pieces: impl Iterator<Item = &'a [u8]>) {
            assert!(self.shown.is_empty());
            for piece in pieces.take(self.most) {
                let start = piece.as_ptr().addr();
                assert!(!piece.is_empty());
                self.shown.push_back(start..start + piece.len());
                self.taken += piece.len();
            }
        }

        fn update(&mut self, data: &[u8]) {
            let start = data.as_ptr().addr();
            if let Some(shown) = self.shown.pop_front() {
                assert_eq!(shown, start..start + data.len());
            }
            self.lengths.update(data);
        }

        fn finish_chunk(&mut self, signature: &[u8; 32]) -> bool {
            self.lengths.finish_chunk(signature)
        }

        fn finish_trailer(&mut self, trailers: &HeaderMap, signature: &[u8; 32]) -> bool {
            self.lengths.finish_trailer(trailers, signature)
        }
    }

    type Decoded = Result<(String, Vec<(String, String)>), ChunkedError>;

    /// A decoder that takes chunks of any length.
    fn decoder(signed: bool, trailer: bool, length: u64) -> Decoder<Lengths> {
        Decoder::new(signed.then(Lengths::default), trailer, length).of_any_chunks()
    }

    fn run(mut decoder: Decoder<impl ChunkAuth>, body: &[u8], piece: usize) -> Decoded {
        let data = feed(&mut decoder, body, piece)?;
        let trailers = decoder.finish()?;
        let trailers = trailers
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect();
        Ok((String::from_utf8_lossy(&data).into_owned(), trailers))
    }

    fn feed(
        decoder: &mut Decoder<impl ChunkAuth>,
        body: &[u8],
        piece: usize,
    ) -> Result<Vec<u8>, ChunkedError> {
        let mut data = Vec::new();
        for piece in body.chunks(piece) {
            let mut input = Bytes::copy_from_slice(piece);
            while let Some(out) = decoder.decode(&mut input)? {
                data.extend_from_slice(&out);
            }
        }
        Ok(data)
    }

    /// Decodes whole and byte by byte, which must be the same.
    fn decode(signed: bool, trailer: bool, length: u64, body: &str) -> Decoded {
        let decoder = || decoder(signed, trailer, length);
        let whole = run(decoder(), body.as_bytes(), usize::MAX);
        assert_eq!(run(decoder(), body.as_bytes(), 1), whole, "{body:?}");
        whole
    }

    fn data(text: &str) -> Decoded {
        Ok((text.to_owned(), Vec::new()))
    }

    fn with_crc(text: &str) -> Decoded {
        let crc = ("x-amz-checksum-crc32".to_owned(), "AAAA".to_owned());
        Ok((text.to_owned(), vec![crc]))
    }

    #[test]
    fn unsigned() {
        let plain = |length, body: &str| decode(false, false, length, body);
        assert_eq!(plain(5, "5\r\nhello\r\n0\r\n\r\n"), data("hello"));
        assert_eq!(plain(5, "2\r\nhe\r\n3;\r\nllo\r\n0\r\n"), data("hello"));
        assert_eq!(plain(5, "5\nhello\n0\n\n"), data("hello"));
        assert_eq!(plain(5, "005  \r\nhello\r\n0\r\n\r\n"), data("hello"));
        assert_eq!(plain(10, "A\r\n0123456789\r\n0\r\n"), data("0123456789"));
        assert_eq!(plain(0, "0\r\n\r\n"), data(""));
        let malformed = |what: &'static str| Err(ChunkedError::Malformed(what));
        for (body, want) in [
            ("", Err(ChunkedError::Truncated)),
            ("0", Err(ChunkedError::Truncated)),
            ("5\r\nhello", Err(ChunkedError::Truncated)),
            ("5\r\nhel", Err(ChunkedError::Truncated)),
            ("5\r\nhello\r\n", Err(ChunkedError::Truncated)),
            ("4\r\nhell\r\n0\r\n", Err(ChunkedError::LengthMismatch)),
            ("6\r\nhello!\r\n0\r\n", Err(ChunkedError::LengthMismatch)),
            ("ffffffffffffffff\r\n", Err(ChunkedError::LengthMismatch)),
            (
                "5\r\nhello0\r\n",
                malformed("no line end behind chunk data"),
            ),
            (
                "5\r\nhello\r0\r\n",
                malformed("no line end behind chunk data"),
            ),
            ("\r\n", malformed("chunk size")),
            ("-5\r\nhello", malformed("chunk size")),
            ("+5\r\nhello", malformed("chunk size")),
            ("0x5\r\nhello", malformed("chunk size")),
            ("00000000000000005\r\n", malformed("chunk size")),
            ("5;a=b\r\nhello\r\n0\r\n", malformed("chunk extension")),
            ("5\r\nhello\r\n0\r\n\r\nx", Err(ChunkedError::Truncated)),
            (
                "5\r\nhello\r\n0\r\n\r\nx\r\n",
                Err(ChunkedError::TrailingData),
            ),
            (
                "5\r\nhello\r\n0\r\n\r\n\r\n\r\n\r\n\r\n",
                Err(ChunkedError::TrailingData),
            ),
            (
                "5\r\nhello\r\n0\r\nx-a:b\r\n\r\n",
                Err(ChunkedError::TrailingData),
            ),
        ] {
            assert_eq!(plain(5, body), want, "{body:?}");
        }
        let one = "01".repeat(32);
        let body = format!("1;chunk-signature={one}\r\nx\r\n0\r\n\r\n");
        assert_eq!(plain(1, &body), malformed("unexpected chunk signature"));
    }

    #[test]
    fn unsigned_with_trailer() {
        let plain = |body: &str| decode(false, true, 2, body);
        for end in [
            "x-amz-checksum-crc32:AAAA\r\n\r\n",
            "x-amz-checksum-crc32:AAAA\r\n",
            "x-amz-checksum-crc32:AAAA\n\r\n\r\n",
            "\r\nX-Amz-Checksum-CRC32: AAAA\t\r\n\r\n",
        ] {
            assert_eq!(plain(&format!("2\r\nhi\r\n0\r\n{end}")), with_crc("hi"));
        }
        assert_eq!(plain("2\r\nhi\r\n0\r\n\r\n"), data("hi"));
        let malformed = |what: &'static str| Err(ChunkedError::MalformedTrailer(what));
        let long = format!("{}\r\n", "x".repeat(MAX_LINE + 1));
        let many: String = (0..5000).map(|n| format!("x-{n}:y\r\n")).collect();
        for (end, want) in [
            ("x\r\n", malformed("not a name and a value")),
            (":x\r\n", malformed("not a name and a value")),
            ("a b:x\r\n", malformed("not a name and a value")),
            ("a:\u{1}\r\n", malformed("not a name and a value")),
            ("a:x\r\nA:x\r\n", malformed("a name stands twice")),
            ("a:x", Err(ChunkedError::Truncated)),
            ("a:x\r\n\r\nb:y\r\n", Err(ChunkedError::TrailingData)),
            (
                "x-amz-trailer-signature:00\r\n",
                malformed("a signature in an unsigned trailer"),
            ),
            (long.as_str(), malformed("a line is too long")),
        ] {
            assert_eq!(plain(&format!("2\r\nhi\r\n0\r\n{end}")), want);
        }
        assert!(plain(&format!("2\r\nhi\r\n0\r\n{many}")).is_err());
    }

    #[test]
    fn signed() {
        let (zero, one, two) = ("00".repeat(32), "01".repeat(32), "02".repeat(32));
        let body = format!(
            "2;chunk-signature={two}\r\nhi\r\n1;chunk-signature={one}\r\n!\r\n\
             0;chunk-signature={zero}\r\n"
        );
        assert_eq!(decode(true, false, 3, &body), data("hi!"));
        assert_eq!(decode(true, false, 3, &format!("{body}\r\n")), data("hi!"));
        let end = format!("x-amz-checksum-crc32:AAAA\r\nx-amz-trailer-signature:{one}\r\n\r\n");
        assert_eq!(
            decode(true, true, 3, &format!("{body}{end}")),
            with_crc("hi!")
        );
        assert_eq!(
            decode(true, true, 3, &body),
            Err(ChunkedError::SignatureMismatch)
        );
        for (from, to, want) in [
            (two.as_str(), one.as_str(), ChunkedError::SignatureMismatch),
            (&zero, &one, ChunkedError::SignatureMismatch),
            (
                &format!(";chunk-signature={two}"),
                "",
                ChunkedError::SignatureMismatch,
            ),
            (&two, "02", ChunkedError::Malformed("chunk signature")),
            (
                &two,
                &format!("{two};chunk-signature={two}"),
                ChunkedError::Malformed("chunk extension"),
            ),
        ] {
            assert_eq!(decode(true, false, 3, &body.replace(from, to)), Err(want));
        }
    }

    #[test]
    fn only_the_last_chunk_is_short() {
        let body = |sizes: &[usize]| {
            let mut body = String::new();
            for size in sizes {
                body.push_str(&format!("{size:x}\r\n{}\r\n", "x".repeat(*size)));
            }
            body + "0\r\n\r\n"
        };
        for (sizes, refused) in [
            (&[][..], None),
            (&[1], None),
            (&[8192, 1], None),
            (&[8192, 9000, 8191], None),
            (&[8191, 8192], Some((2, 8191))),
            (&[8192, 1, 1], Some((3, 1))),
        ] {
            let length = sizes.iter().sum::<usize>();
            let decoder = Decoder::<Lengths>::new(None, false, length as u64);
            let want = match refused {
                None => data(&"x".repeat(length)),
                Some((next, size)) => Err(ChunkedError::ShortChunk { next, size }),
            };
            let body = body(sizes);
            assert_eq!(run(decoder, body.as_bytes(), 1000), want, "{sizes:?}");
        }
    }

    #[test]
    fn a_header_line_is_bounded() {
        let mut decoder = Decoder::<Lengths>::new(None, false, 1);
        let mut refused = None;
        for _ in 0..MAX_LINE + 2 {
            let result = decoder.decode(&mut Bytes::from_static(b"0"));
            if let Err(error) = result {
                refused = Some(error);
                break;
            }
        }
        assert_eq!(
            refused,
            Some(ChunkedError::Malformed("a chunk header is too long"))
        );
        assert_eq!(
            decoder.decode(&mut Bytes::from_static(b"\n")),
            Err(ChunkedError::Failed)
        );
        assert!(matches!(decoder.finish(), Err(ChunkedError::Failed)));
    }

    #[test]
    fn data_is_not_copied() {
        let body = Bytes::from_static(b"5\r\nhello\r\n");
        let start = body.slice(3..).as_ptr();
        let mut decoder = Decoder::<Lengths>::new(None, false, 5);
        let out = decoder.decode(&mut body.clone()).unwrap().unwrap();
        assert_eq!((out.as_ptr(), out.len()), (start, 5));
    }

    #[test]
    fn headers() {
        let length = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(
                    "x-amz-decoded-content-length",
                    HeaderValue::from_str(value).unwrap(),
                );
            }
            decoded_content_length(&headers)
        };
        assert_eq!(length(&["12"]), Ok(12));
        assert_eq!(length(&[]), Err(ChunkedError::MissingDecodedLength));
        for values in [
            &["1", "1"][..],
            &["-1"],
            &["+1"],
            &[""],
            &["99999999999999999999"],
        ] {
            assert_eq!(length(values), Err(ChunkedError::InvalidDecodedLength));
        }
        assert_eq!(strip_aws_chunked("aws-chunked"), None);
        assert_eq!(
            strip_aws_chunked("AWS-Chunked, gzip").as_deref(),
            Some("gzip")
        );
        assert_eq!(strip_aws_chunked("gzip,br").as_deref(), Some("gzip,br"));
    }

    proptest! {
        #[test]
        fn garbage_decodes_alike_however_it_is_split(
            body in "([0-9a-f]{1,2}(;chunk-signature=(00){32})?\r\n[a-c]{0,20}\r\n){0,4}[0a\r\n:]{0,12}",
            piece in 1usize..9,
            signed: bool,
            trailer: bool,
            length in 0u64..80,
        ) {
            let decoder = || decoder(signed, trailer, length);
            let whole = run(decoder(), body.as_bytes(), usize::MAX);
            prop_assert_eq!(run(decoder(), body.as_bytes(), piece), whole.clone());
            if let Ok((data, _)) = whole {
                prop_assert_eq!(data.len() as u64, length);
            }
        }

        #[test]
        fn looking_ahead_shows_what_comes_once(
            sizes in proptest::collection::vec(1usize..30, 0..12),
            end in prop_oneof![Just("\r\n"), Just("\n")],
            piece in prop_oneof![1usize..200, Just(usize::MAX)],
            most in 0usize..6,
            damage in proptest::option::of((any::<prop::sample::Index>(), any::<u8>())),
        ) {
            let mut body = String::new();
            for size in sizes.iter().chain([&0]) {
                let signature = format!("{size:02x}").repeat(32);
                let data = "x".repeat(*size);
                body.push_str(&format!("{size:x};chunk-signature={signature}{end}{data}{end}"));
            }
            let mut body = body.into_bytes();
            if let Some((at, byte)) = damage {
                let at = at.index(body.len());
                body[at] = byte;
            }
            let length = sizes.iter().sum::<usize>();
            let auth = Ahead { most, ..Ahead::default() };
            let mut decoder = Decoder::new(Some(auth), false, length as u64).of_any_chunks();
            let fed = feed(&mut decoder, &body, piece);
            let auth = decoder.auth().unwrap();
            if damage.is_none() {
                prop_assert_eq!(auth.taken, if most > 0 { length } else { 0 });
                prop_assert!(auth.shown.is_empty());
            }
            // What is behind the first chunk that does not match has been shown in vain, once.
            prop_assert!(auth.taken <= body.len());
            let same = feed(&mut self::decoder(true, false, length as u64), &body, piece);
            prop_assert_eq!(fed, same);
        }
    }

    #[test]
    fn what_lies_behind_a_doubtful_header_is_not_shown() {
        let first = Pieces {
            left: 2,
            rest: b"hi\r\n3\r\nyou\r\n",
        };
        assert_eq!(first.collect::<Vec<_>>(), [&b"hi"[..], b"you"]);
        for behind in [
            "",
            "\r",
            "\r\n",
            "\r\n3",
            "\r\n3\r\n",
            "\r\r\n3\r\nyou",
            "3\r\nyou",
            "\r\n3;a=b\r\nyou",
            "\r\n3;chunk-signature=00\r\nyou",
            "\r\n0\r\n\r\n3\r\nyou",
            &format!("\r\n{:>MAX_LINE$}3\r\nyou", ' '),
        ] {
            let rest = format!("hi{behind}");
            let pieces = Pieces {
                left: 2,
                rest: rest.as_bytes(),
            };
            assert_eq!(pieces.collect::<Vec<_>>(), [b"hi"], "{behind:?}");
        }
    }
}
