//! Opens a stored body on its way to the client, segment by segment. A byte leaves only after the
//! tag of its segment has verified; the last one leaves only after the end of the object has.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{BodyError, OpenFailure};
use crate::aead::{
    CORE_LEN, Core, Dek, Engine, FOOTER_LEN, Layout, ObjectId, Opener, PREAMBLE_LEN, PartEntry,
    Role, STREAM_HEADER_LEN, SegmentSize, StreamHeader, TAG_LEN,
};

/// One stream of the object, as footer or part table describe it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream {
    /// What it is in the object.
    pub role: Role,
    /// Its plaintext bytes.
    pub plaintext_len: u64,
    /// Whether its core names that length. That of a part always does.
    pub declared: bool,
    /// Its salt and nonce prefix; of a part that is not pinned, they are taken from the body.
    pub header: Option<StreamHeader>,
}

impl From<&PartEntry> for Stream {
    fn from(entry: &PartEntry) -> Self {
        Self {
            role: Role::Part(entry.number),
            plaintext_len: entry.plaintext_len,
            declared: true,
            header: entry.header,
        }
    }
}

/// With which stored byte the inner body begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// The first stream's preamble.
    Preamble,
    /// This segment of the first stream, whose header is known.
    Segment(u64),
}

/// With what the inner body ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The end of the object.
    Object {
        /// Length and SHA-256 of the part table, where the object has one.
        table: Option<(u32, [u8; 32])>,
        /// The footer.
        footer: Box<[u8; FOOTER_LEN]>,
    },
    /// This segment of the last stream.
    Segment(u64),
}

/// What is to be opened, and what it is checked against. All of it comes from a verified footer, and
/// a part table that belongs to it.
pub struct Plan {
    /// Cipher implementation.
    pub engine: Engine,
    /// The object's key.
    pub dek: Dek,
    /// Identity of the object.
    pub object_id: ObjectId,
    /// Stored bytes of a full segment.
    pub segment_size: SegmentSize,
    /// What comes, in order: at least one stream.
    pub streams: Vec<Stream>,
    /// Where the first of them begins.
    pub begin: Begin,
    /// Where the last of them ends.
    pub end: End,
    /// SHA-256 of the preamble; of an object in parts, of what all preambles share.
    pub preamble_digest: [u8; 32],
    /// Offset of the first byte to release, in the plaintext of the first stream.
    pub start: u64,
    /// Plaintext bytes to release.
    pub len: u64,
}

enum State {
    /// Before the first byte.
    Begin,
    /// Preamble and stream header.
    Head,
    Segment(u64),
    /// So many bytes of the table are still to come.
    Table(usize),
    Tail,
    End,
    Done,
}

/// The stream that is being opened.
struct Current {
    stream: Stream,
    layout: Layout,
    core: [u8; CORE_LEN],
    /// None until its header is known.
    opener: Option<Opener>,
}

pin_project! {
    /// The plaintext of (a range of) a stored object.
    pub struct OpenBody<B> {
        #[pin]
        inner: B,
        opening: Opening,
    }
}

impl<B> OpenBody<B> {
    /// Wraps the stored body that the plan describes.
    pub fn new(inner: B, plan: Plan) -> Self {
        let opening = Opening {
            at: 0,
            current: None,
            state: State::Begin,
            unit: BytesMut::new(),
            pending: Bytes::new(),
            table: Sha256::new(),
            skip: 0,
            held: None,
            released: 0,
            plan,
        };
        Self { inner, opening }
    }
}

/// Takes stored bytes, gives plaintext.
struct Opening {
    plan: Plan,
    /// Index of the stream that is being opened.
    at: usize,
    current: Option<Current>,
    state: State,
    /// Stored bytes of the unit (head, segment, tail) that is being gathered.
    unit: BytesMut,
    /// Stored bytes that no unit has taken yet.
    pending: Bytes,
    table: Sha256,
    /// Plaintext to pass over before the first byte that is released.
    skip: u64,
    /// What completes the plaintext, opened, waiting for the end to verify.
    held: Option<Bytes>,
    released: u64,
}

impl Plan {
    /// Prepares for a stream.
    fn current(&self, at: usize) -> Result<Current, OpenFailure> {
        let stream = *self.streams.get(at).ok_or(OpenFailure::Truncated)?;
        let layout = Layout::from_plaintext_len(self.segment_size, stream.plaintext_len)
            .map_err(|_| OpenFailure::Preamble)?;
        let declared = stream.declared.then_some(stream.plaintext_len);
        let core = Core {
            role: stream.role,
            ..Core::single(&self.dek, self.object_id, self.segment_size, declared)
        };
        let mut current = Current {
            stream,
            layout,
            core: core.encode(),
            opener: None,
        };
        if let Some(header) = stream.header {
            current.open_with(self, &header)?;
        }
        Ok(current)
    }

    /// The last segment of a stream that is read.
    fn last_segment(&self, at: usize, layout: &Layout) -> u64 {
        match self.end {
            End::Segment(last) if at + 1 == self.streams.len() => last,
            _ => layout.segments() - 1,
        }
    }
}

impl Current {
    fn open_with(&mut self, plan: &Plan, header: &StreamHeader) -> Result<(), OpenFailure> {
        let opener = Opener::new(
            plan.engine,
            &plan.dek,
            header,
            plan.segment_size,
            &self.core,
        );
        self.opener = Some(opener.map_err(|_| OpenFailure::Preamble)?);
        Ok(())
    }

    /// Checks preamble and stream header. Whatever is not compared here is authenticated by the first
    /// segment: the salt of a part that is not pinned.
    fn check_head(&mut self, plan: &Plan, head: &[u8]) -> Result<(), OpenFailure> {
        let (Some(preamble), Some(header)) = (
            head.first_chunk::<PREAMBLE_LEN>(),
            head.last_chunk::<STREAM_HEADER_LEN>(),
        ) else {
            return Err(OpenFailure::Truncated);
        };
        let digested = match self.stream.role {
            Role::Part(_) => &preamble[CORE_LEN..],
            _ => &preamble[..],
        };
        let digest: [u8; 32] = Sha256::digest(digested).into();
        let same = digest.ct_eq(&plan.preamble_digest) & preamble[..CORE_LEN].ct_eq(&self.core);
        if !bool::from(same) {
            return Err(OpenFailure::Preamble);
        }
        match self.stream.header {
            Some(pinned) if bool::from(header.ct_eq(&pinned.encode())) => Ok(()),
            Some(_) => Err(OpenFailure::Preamble),
            None => {
                let header = StreamHeader::decode(header).map_err(|_| OpenFailure::Preamble)?;
                self.open_with(plan, &header)
            }
        }
    }

    fn open(&self, index: u64, unit: &mut BytesMut) -> Result<(), OpenFailure> {
        let opener = self.opener.as_ref().ok_or(OpenFailure::Preamble)?;
        let last = self.layout.is_last(index);
        let len = opener
            .open_in_place(index, last, unit)
            .map_err(|error| OpenFailure::of(index, error))?;
        unit.truncate(len);
        Ok(())
    }
}

/// What a poll of the body gives.
type Polled = Poll<Option<Result<Frame<Bytes>, BodyError>>>;

/// What a step of the machine came to.
enum Step {
    /// Go on.
    Next,
    /// These bytes are the client's.
    Release(Bytes),
}

impl Opening {
    /// Stored bytes that the state waits for.
    fn unit_len(&self) -> usize {
        match &self.state {
            State::Head => PREAMBLE_LEN + STREAM_HEADER_LEN,
            State::Segment(index) => self.current.as_ref().map_or(0, |current| {
                current.layout.segment_plaintext_len(*index) + TAG_LEN
            }),
            State::Tail => FOOTER_LEN,
            State::Begin | State::Table(_) | State::End | State::Done => 0,
        }
    }

    /// Takes one complete unit.
    fn step(&mut self, mut unit: BytesMut) -> Result<Step, OpenFailure> {
        match self.state {
            State::Begin => {
                let current = self.plan.current(0)?;
                self.state = match self.plan.begin {
                    Begin::Preamble => State::Head,
                    Begin::Segment(first) => State::Segment(first),
                };
                let begins = match self.plan.begin {
                    Begin::Preamble => 0,
                    Begin::Segment(first) => current.layout.plaintext_start(first),
                };
                self.skip = self.plan.start.saturating_sub(begins);
                self.current = Some(current);
            }
            State::Head => {
                let current = self.current.as_mut().ok_or(OpenFailure::Preamble)?;
                current.check_head(&self.plan, &unit)?;
                self.state = State::Segment(0);
            }
            State::Segment(index) => {
                let current = self.current.as_ref().ok_or(OpenFailure::Preamble)?;
                current.open(index, &mut unit)?;
                let last = self.plan.last_segment(self.at, &current.layout);
                if index < last {
                    self.state = State::Segment(index + 1);
                } else if self.at + 1 < self.plan.streams.len() {
                    self.at += 1;
                    self.current = Some(self.plan.current(self.at)?);
                    self.state = State::Head;
                } else {
                    self.state = match self.plan.end {
                        End::Object { table, .. } => match table {
                            Some((len, _)) => State::Table(len as usize),
                            None => State::Tail,
                        },
                        End::Segment(_) => State::End,
                    };
                }
                return Ok(self.wanted(unit.freeze()));
            }
            State::Tail => {
                let End::Object { footer, .. } = &self.plan.end else {
                    return Err(OpenFailure::Footer);
                };
                if !bool::from(unit[..].ct_eq(&footer[..])) {
                    return Err(OpenFailure::Footer);
                }
                self.state = State::End;
            }
            State::Table(_) | State::End | State::Done => {}
        }
        Ok(Step::Next)
    }

    /// What of a segment was asked for. The bytes that complete it wait for the end.
    fn wanted(&mut self, mut plaintext: Bytes) -> Step {
        let skipped = (self.skip).min(plaintext.len() as u64);
        self.skip -= skipped;
        plaintext.advance(skipped as usize);
        let missing = self.plan.len - self.released;
        if plaintext.len() as u64 >= missing {
            plaintext.truncate(missing as usize);
            if !plaintext.is_empty() {
                self.held = Some(plaintext);
                self.released = self.plan.len;
            }
            return Step::Next;
        }
        self.released += plaintext.len() as u64;
        if plaintext.is_empty() {
            Step::Next
        } else {
            Step::Release(plaintext)
        }
    }

    fn fail(&mut self, error: BodyError) -> Polled {
        self.state = State::Done;
        self.held = None;
        self.pending.clear();
        Poll::Ready(Some(Err(error)))
    }

    /// Plaintext for the client, or the end, from the bytes at hand; none where more are needed.
    fn advance(&mut self) -> Option<Polled> {
        loop {
            let stepped = match self.state {
                State::Done => {
                    return Some(Poll::Ready(self.held.take().map(Frame::data).map(Ok)));
                }
                // Anything more than was promised is a lie about the object: the store's body has
                // to end here before the last bytes leave.
                State::End if self.pending.is_empty() => return None,
                State::End => Err(OpenFailure::Trailing),
                State::Table(left) if self.pending.is_empty() && left > 0 => return None,
                State::Table(left) => self.digest_table(left).map(|()| Step::Next),
                _ => {
                    let need = self.unit_len();
                    if !self.gather(need) {
                        return None;
                    }
                    let unit = self.unit.split();
                    self.step(unit)
                }
            };
            match stepped {
                Ok(Step::Next) => {}
                Ok(Step::Release(bytes)) => return Some(Poll::Ready(Some(Ok(Frame::data(bytes))))),
                Err(error) => return Some(self.fail(error.into())),
            }
        }
    }

    /// Moves bytes into the unit; whether it is complete.
    fn gather(&mut self, need: usize) -> bool {
        if self.unit.len() < need && !self.pending.is_empty() {
            if self.unit.is_empty() {
                self.unit.reserve(need);
            }
            let n = (need - self.unit.len()).min(self.pending.len());
            self.unit.extend_from_slice(&self.pending[..n]);
            self.pending.advance(n);
        }
        self.unit.len() >= need
    }

    /// Compares the table's bytes with those that were opened before, as they come.
    fn digest_table(&mut self, left: usize) -> Result<(), OpenFailure> {
        let n = left.min(self.pending.len());
        self.table.update(&self.pending[..n]);
        self.pending.advance(n);
        if n < left {
            self.state = State::Table(left - n);
            return Ok(());
        }
        let digest: [u8; 32] = self.table.finalize_reset().into();
        match &self.plan.end {
            End::Object {
                table: Some((_, expected)),
                ..
            } if bool::from(digest.ct_eq(expected)) => {
                self.state = State::Tail;
                Ok(())
            }
            _ => Err(OpenFailure::Table),
        }
    }
}

impl<B> Body for OpenBody<B>
where
    B: Body<Data = Bytes, Error = BodyError>,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let mut this = self.project();
        let opening = this.opening;
        loop {
            if let Some(polled) = opening.advance() {
                return polled;
            }
            match ready!(this.inner.as_mut().poll_frame(cx)) {
                Some(Ok(frame)) => opening.pending = frame.into_data().unwrap_or_default(),
                Some(Err(error)) => return opening.fail(error),
                None if matches!(opening.state, State::End) => opening.state = State::Done,
                None => return opening.fail(OpenFailure::Truncated.into()),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.opening.state, State::Done) && self.opening.held.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let opening = &self.opening;
        let held = opening.held.as_ref().map_or(0, |held| held.len() as u64);
        SizeHint::with_exact(opening.plan.len - opening.released.min(opening.plan.len) + held)
    }
}
