//! Opens a stored body on its way to the client, segment by segment. A byte leaves only after the
//! tag of its segment has verified; the last segment leaves only after the end of the object has.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{BodyError, OpenFailure};
use crate::aead::{
    FOOTER_LEN, Layout, Opener, PREAMBLE_LEN, STREAM_HEADER_LEN, StreamHeader, TAG_LEN,
};

/// Which stored bytes the inner body carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of the object: preamble, stream, footer.
    Whole,
    /// Segments `first ..= last` only.
    Segments {
        /// Index of the first segment.
        first: u64,
        /// Index of the last segment.
        last: u64,
    },
}

/// What is to be opened, and what it is checked against. All of it comes from a verified footer.
pub struct Plan {
    /// Opens segments.
    pub opener: Opener,
    /// Lengths of the object.
    pub layout: Layout,
    /// Which stored bytes come.
    pub part: Part,
    /// Salt and nonce prefix that the stream must carry.
    pub header: StreamHeader,
    /// SHA-256 that the preamble must have.
    pub preamble_digest: [u8; 32],
    /// The footer that the object must end with.
    pub footer: [u8; FOOTER_LEN],
    /// Plaintext offset of the first byte to release.
    pub start: u64,
    /// Plaintext bytes to release.
    pub len: u64,
}

enum State {
    Head,
    Segment(u64),
    Tail,
    End,
    Done,
}

pin_project! {
    /// The plaintext of (a range of) a stored object.
    pub struct OpenBody<B> {
        #[pin]
        inner: B,
        plan: Plan,
        state: State,
        // Stored bytes of the unit (head, segment, tail) that is being gathered.
        unit: BytesMut,
        pending: Bytes,
        // Last segment, opened, waiting for the tail to verify.
        held: Option<Bytes>,
        released: u64,
    }
}

impl<B> OpenBody<B> {
    /// Wraps the stored body that carries `plan.part`.
    pub fn new(inner: B, plan: Plan) -> Self {
        let state = match plan.part {
            Part::Whole => State::Head,
            Part::Segments { first, .. } => State::Segment(first),
        };
        Self {
            inner,
            plan,
            state,
            unit: BytesMut::new(),
            pending: Bytes::new(),
            held: None,
            released: 0,
        }
    }
}

impl Plan {
    fn last_segment(&self) -> u64 {
        match self.part {
            Part::Whole => self.layout.segments() - 1,
            Part::Segments { last, .. } => last,
        }
    }

    fn unit_len(&self, state: &State) -> usize {
        match state {
            State::Head => PREAMBLE_LEN + STREAM_HEADER_LEN,
            State::Segment(index) => self.layout.segment_plaintext_len(*index) + TAG_LEN,
            State::Tail => FOOTER_LEN,
            State::End | State::Done => 0,
        }
    }

    fn check_head(&self, head: &[u8]) -> Result<(), OpenFailure> {
        let (preamble, header) = head.split_at(PREAMBLE_LEN);
        let digest: [u8; 32] = Sha256::digest(preamble).into();
        let same = digest.ct_eq(&self.preamble_digest) & header.ct_eq(&self.header.encode()[..]);
        if bool::from(same) {
            Ok(())
        } else {
            Err(OpenFailure::Preamble)
        }
    }

    /// The part of segment `index` that was asked for.
    fn wanted(&self, index: u64, plaintext: Bytes) -> Bytes {
        let begin = self.layout.plaintext_start(index);
        let end = begin + plaintext.len() as u64;
        let from = self.start.max(begin).min(end);
        let to = (self.start + self.len).min(end).max(from);
        plaintext.slice((from - begin) as usize..(to - begin) as usize)
    }
}

impl<B> Body for OpenBody<B>
where
    B: Body<Data = Bytes, Error = BodyError>,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut this = self.project();
        loop {
            match this.state {
                // Anything more than was promised is a lie about the object: the store's body has
                // to end here before the last segment leaves.
                State::End => {
                    if this.pending.is_empty() {
                        match ready!(this.inner.as_mut().poll_frame(cx)) {
                            Some(Ok(frame)) => {
                                *this.pending = frame.into_data().unwrap_or_default()
                            }
                            Some(Err(error)) => {
                                *this.state = State::Done;
                                *this.held = None;
                                return Poll::Ready(Some(Err(error)));
                            }
                            None => *this.state = State::Done,
                        }
                    } else {
                        this.pending.clear();
                        *this.state = State::Done;
                        *this.held = None;
                        return Poll::Ready(Some(Err(OpenFailure::Trailing.into())));
                    }
                    continue;
                }
                State::Done => {
                    return Poll::Ready(this.held.take().map(|held| {
                        *this.released += held.len() as u64;
                        Ok(Frame::data(held))
                    }));
                }
                _ => {}
            }
            let need = this.plan.unit_len(this.state);
            // Gather one unit.
            if this.unit.len() < need && !this.pending.is_empty() {
                if this.unit.is_empty() {
                    this.unit.reserve(need);
                }
                let n = (need - this.unit.len()).min(this.pending.len());
                this.unit.extend_from_slice(&this.pending[..n]);
                this.pending.advance(n);
            }
            if this.unit.len() < need {
                match ready!(this.inner.as_mut().poll_frame(cx)) {
                    Some(Ok(frame)) => {
                        if let Ok(data) = frame.into_data() {
                            *this.pending = data;
                        }
                    }
                    Some(Err(error)) => {
                        *this.state = State::Done;
                        *this.held = None;
                        return Poll::Ready(Some(Err(error)));
                    }
                    None => {
                        *this.state = State::Done;
                        *this.held = None;
                        return Poll::Ready(Some(Err(OpenFailure::Truncated.into())));
                    }
                }
                continue;
            }
            let unit = this.unit.split();
            match *this.state {
                State::Head => {
                    if let Err(error) = this.plan.check_head(&unit) {
                        *this.state = State::Done;
                        return Poll::Ready(Some(Err(error.into())));
                    }
                    *this.state = State::Segment(0);
                }
                State::Segment(index) => {
                    let mut unit = unit;
                    let last_of_stream = index + 1 == this.plan.layout.segments();
                    let opened =
                        match this
                            .plan
                            .opener
                            .open_in_place(index, last_of_stream, &mut unit)
                        {
                            Ok(len) => {
                                unit.truncate(len);
                                unit.freeze()
                            }
                            Err(error) => {
                                *this.state = State::Done;
                                return Poll::Ready(Some(
                                    Err(OpenFailure::of(index, error).into()),
                                ));
                            }
                        };
                    let wanted = this.plan.wanted(index, opened);
                    if index == this.plan.last_segment() {
                        *this.state = match this.plan.part {
                            Part::Whole => State::Tail,
                            Part::Segments { .. } => State::End,
                        };
                        *this.held = Some(wanted).filter(|bytes| !bytes.is_empty());
                    } else {
                        *this.state = State::Segment(index + 1);
                        if !wanted.is_empty() {
                            *this.released += wanted.len() as u64;
                            return Poll::Ready(Some(Ok(Frame::data(wanted))));
                        }
                    }
                }
                State::Tail => {
                    *this.state = State::End;
                    if !bool::from(unit[..].ct_eq(&this.plan.footer[..])) {
                        *this.state = State::Done;
                        *this.held = None;
                        return Poll::Ready(Some(Err(OpenFailure::Footer.into())));
                    }
                }
                State::End | State::Done => {}
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.state, State::Done) && self.held.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.plan.len - self.released.min(self.plan.len))
    }
}
