//! Opens a stored body on its way to the client, segment by segment. A byte leaves only after the
//! tag of its segment has verified; the last one leaves only after the end of the object has.

use std::pin::Pin;
use std::task::{Context, Poll};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use sha2::{Digest, Sha256};

use super::buffers::{self, Block};
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
            _stream: buffers::Stream::new(),
            at: 0,
            current: None,
            state: State::Begin,
            window: Window::default(),
            reach: 0,
            failed: None,
            pending: Bytes::new(),
            table: Sha256::new(),
            skip: 0,
            held: None,
            before_held: None,
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
    window: Window,
    /// Bytes that the next window may have: as many as came lately before the store paused.
    reach: usize,
    /// Why there is no more, once what was opened before has been handed on.
    failed: Option<BodyError>,
    /// Stored bytes that no unit has taken yet.
    pending: Bytes,
    table: Sha256,
    /// Plaintext to pass over before the first byte that is released.
    skip: u64,
    /// What completes the plaintext, opened, waiting for the end to verify.
    held: Option<Bytes>,
    /// What was opened before it, on its way.
    before_held: Option<Bytes>,
    released: u64,
    _stream: buffers::Stream,
}

/// A buffer that is filled front to back: opened bytes, then the stored bytes of the unit (head, segment,
/// tail) that is being gathered.
#[derive(Default)]
struct Window {
    block: Block,
    /// The opened bytes that are released: `from..to`.
    from: usize,
    to: usize,
    gathered: usize,
}

impl Window {
    /// Whether it has bytes to release.
    fn is_ready(&self) -> bool {
        self.to > self.from
    }

    /// The unit that is complete.
    fn unit<'a>(&'a self, whole: Option<&'a [u8]>) -> &'a [u8] {
        whole.unwrap_or(&self.block[self.to..self.to + self.gathered])
    }

    /// Whether a unit of so many bytes fits behind what is there.
    fn has_room(&self, need: usize) -> bool {
        self.to + need <= self.block.len()
    }

    /// Takes the bytes to release. What has been gathered of a unit moves to a new buffer of `next` bytes, in which all of
    /// it has room.
    fn take(&mut self, next: usize) -> Bytes {
        let Self {
            block,
            from,
            to,
            gathered,
        } = std::mem::take(self);
        if gathered > 0 {
            self.block = Block::take(next.max(gathered));
            self.block[..gathered].copy_from_slice(&block[to..to + gathered]);
            self.gathered = gathered;
        }
        block.freeze().slice(from..to)
    }
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
        if !same(&digest, &plan.preamble_digest) || !same(&preamble[..CORE_LEN], &self.core) {
            return Err(OpenFailure::Preamble);
        }
        match self.stream.header {
            Some(pinned) if same(header, &pinned.encode()) => Ok(()),
            Some(_) => Err(OpenFailure::Preamble),
            None => {
                let header = StreamHeader::decode(header).map_err(|_| OpenFailure::Preamble)?;
                self.open_with(plan, &header)
            }
        }
    }

    /// Opens a segment behind the window's opened bytes: the one that `whole` is, or the one that was
    /// gathered there. Returns its plaintext's length.
    fn open(
        &self,
        index: u64,
        whole: Option<&[u8]>,
        window: &mut Window,
    ) -> Result<usize, OpenFailure> {
        let opener = self.opener.as_ref().ok_or(OpenFailure::Preamble)?;
        let last = self.layout.is_last(index);
        let to = window.to;
        let opened = match whole {
            Some(segment) => {
                let len = segment.len().saturating_sub(TAG_LEN);
                opener
                    .open_into(index, last, segment, &mut window.block[to..to + len])
                    .map(|()| len)
            }
            None => {
                let gathered = std::mem::take(&mut window.gathered);
                opener.open_in_place(index, last, &mut window.block[to..to + gathered])
            }
        };
        opened.map_err(|error| OpenFailure::of(index, error))
    }
}

/// What a poll of the body gives.
type Polled = Poll<Option<Result<Frame<Bytes>, BodyError>>>;

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

    /// Takes one complete unit: the one that `whole` is, or the one that was gathered.
    fn step(&mut self, whole: Option<&[u8]>) -> Result<(), OpenFailure> {
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
                current.check_head(&self.plan, self.window.unit(whole))?;
                self.state = State::Segment(0);
            }
            State::Segment(index) => {
                let current = self.current.as_ref().ok_or(OpenFailure::Preamble)?;
                let len = current.open(index, whole, &mut self.window)?;
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
                self.wanted(len);
            }
            State::Tail => {
                let End::Object { footer, .. } = &self.plan.end else {
                    return Err(OpenFailure::Footer);
                };
                if !same(self.window.unit(whole), &footer[..]) {
                    return Err(OpenFailure::Footer);
                }
                self.state = State::End;
            }
            State::Table(_) | State::End | State::Done => {}
        }
        self.window.gathered = 0;
        Ok(())
    }

    /// Takes over what was asked for of the next `len` opened bytes. Those that complete it wait for the end.
    fn wanted(&mut self, len: usize) {
        let window = &mut self.window;
        let skipped = usize::try_from(self.skip).map_or(len, |skip| skip.min(len));
        self.skip -= skipped as u64;
        if window.to == window.from {
            window.from += skipped;
            window.to = window.from;
        }
        let missing = self.plan.len - self.released;
        if missing == 0 {
            // Only what proves that the object ends here.
            return;
        }
        let wanted = len - skipped;
        if (wanted as u64) < missing {
            window.to += wanted;
            self.released += wanted as u64;
            return;
        }
        // Nothing behind it will be opened: the window is handed on in two pieces.
        self.released = self.plan.len;
        let (from, to, end) = (window.from, window.to, window.to + missing as usize);
        let bytes = std::mem::take(window).block.freeze();
        self.held = Some(bytes.slice(to..end));
        self.before_held = (to > from).then(|| bytes.slice(from..to));
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
            if let Some(bytes) = self.before_held.take() {
                return Some(release(bytes));
            }
            let stepped = match self.state {
                State::Done => {
                    return Some(match self.failed.take() {
                        Some(error) => self.fail(error),
                        None => Poll::Ready(self.held.take().map(Frame::data).map(Ok)),
                    });
                }
                // Anything more than was promised is a lie about the object: the store's body has
                // to end here before the last bytes leave.
                State::End if self.pending.is_empty() => return None,
                State::End => Err(OpenFailure::Trailing),
                State::Table(left) if self.pending.is_empty() && left > 0 => return None,
                State::Table(left) => self.digest_table(left),
                State::Begin => self.step(None),
                _ => {
                    let need = self.unit_len();
                    if self.window.gathered == 0 && !self.window.has_room(need) {
                        if self.window.is_ready() {
                            self.reach = self.window.block.len() * 2;
                            return Some(release(self.window.take(0)));
                        }
                        self.renew(need);
                    }
                    if self.window.gathered == 0 && self.pending.len() >= need {
                        let unit = self.pending.split_to(need);
                        self.step(Some(&unit))
                    } else if self.gather(need) {
                        self.step(None)
                    } else {
                        return None;
                    }
                }
            };
            if let Err(error) = stepped {
                return Some(self.broken(error.into()));
            }
        }
    }

    /// The opened bytes that may leave before the window is full, if there are any. A window that came to little is
    /// followed by a smaller one: it keeps all of its buffer while it waits to be written.
    fn ready(&mut self) -> Option<Bytes> {
        let window = &mut self.window;
        if !window.is_ready() {
            return None;
        }
        if (window.to - window.from) * 2 < window.block.len() {
            self.reach = window.block.len() / 2;
        }
        let next = self.reach.min(buffers::window()).max(self.unit_len());
        Some(self.window.take(next))
    }

    /// A fresh window, with room for a unit at least. The first is short, so that the first bytes are not kept
    /// waiting for more.
    fn renew(&mut self, need: usize) {
        let window = self.reach.min(buffers::window());
        let left = (self.plan.len - self.released).saturating_add(self.skip);
        let left = usize::try_from(left).unwrap_or(usize::MAX);
        self.window = Window {
            block: Block::take(window.min(left.saturating_add(TAG_LEN)).max(need)),
            ..Window::default()
        };
    }

    /// The end, by an error: what is authentic leaves before it.
    fn broken(&mut self, error: BodyError) -> Polled {
        self.window.gathered = 0;
        match self.ready() {
            Some(bytes) => {
                self.state = State::Done;
                self.held = None;
                self.pending.clear();
                self.failed = Some(error);
                release(bytes)
            }
            None => self.fail(error),
        }
    }

    /// Moves bytes into the unit; whether it is complete.
    fn gather(&mut self, need: usize) -> bool {
        let window = &mut self.window;
        let n = (need - window.gathered).min(self.pending.len());
        let at = window.to + window.gathered;
        window.block[at..at + n].copy_from_slice(&self.pending[..n]);
        window.gathered += n;
        self.pending.advance(n);
        window.gathered >= need
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
            } if same(&digest, expected) => {
                self.state = State::Tail;
                Ok(())
            }
            _ => Err(OpenFailure::Table),
        }
    }
}

/// Whether both are the same bytes, in constant time. `subtle` takes several instructions for each byte, which shows in small
/// objects.
fn same(left: &[u8], right: &[u8]) -> bool {
    verify_slices_are_equal(left, right).is_ok()
}

/// Plaintext that leaves.
fn release(bytes: Bytes) -> Polled {
    Poll::Ready(Some(Ok(Frame::data(bytes))))
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
            // Even an empty piece would keep the connection from reading into the same buffer again.
            opening.pending = Bytes::new();
            match this.inner.as_mut().poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    opening.pending = frame.into_data().unwrap_or_default();
                }
                Poll::Ready(Some(Err(error))) => return opening.broken(error),
                Poll::Ready(None) if matches!(opening.state, State::End) => {
                    opening.state = State::Done;
                }
                Poll::Ready(None) => return opening.broken(OpenFailure::Truncated.into()),
                // Who waits for the store gets what there is.
                Poll::Pending => return opening.ready().map_or(Poll::Pending, release),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let opening = &self.opening;
        matches!(opening.state, State::Done) && opening.held.is_none() && opening.failed.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let opening = &self.opening;
        let waiting = [&opening.before_held, &opening.held];
        let waiting: usize = waiting.into_iter().flatten().map(Bytes::len).sum();
        let here = waiting + (opening.window.to - opening.window.from);
        SizeHint::with_exact(opening.plan.len - opening.released + here as u64)
    }
}
