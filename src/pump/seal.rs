//! Seals a plaintext body of known length on its way to the store.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use sha2::{Digest, Sha256};

use super::BodyError;
use super::buffers::{self, Block};
use crate::aead::{
    Checksum, ChecksumType, Core, Dek, Engine, Etag, FOOTER_LEN, Footer, Layout, ObjectId,
    PREAMBLE_LEN, PartNumber, Preamble, STREAM_HEADER_LEN, Sealer, SegmentSize, StreamHeader,
};

/// What is known about the plaintext only after its last byte.
pub struct FooterSource {
    /// Plaintext ETag, where one was computed.
    pub etag: Etag,
    /// The client's verified checksum, where it sent one.
    pub checksum: Option<Checksum>,
}

/// Everything that sealing one object needs. All randomness comes from the caller.
pub struct Sealing {
    /// Cipher implementation.
    pub engine: Engine,
    /// The object's key.
    pub dek: Dek,
    /// The object's identity, as in its envelope.
    pub object_id: ObjectId,
    /// Stored bytes of a full segment.
    pub segment_size: SegmentSize,
    /// Plaintext bytes that will come. A body of another length is refused.
    pub plaintext_len: u64,
    /// The envelope as first written, for recovery from a raw copy.
    pub envelope: Vec<u8>,
    /// Fresh salt and nonce prefix.
    pub header: StreamHeader,
    /// Fresh nonce for the footer. A part has none, and leaves it unused.
    pub footer_nonce: [u8; 12],
}

impl Sealing {
    /// Lengths of the stream that will be written. A part is shorter by the footer.
    pub fn layout(&self) -> Result<Layout, BodyError> {
        Layout::from_plaintext_len(self.segment_size, self.plaintext_len)
            .map_err(|e| BodyError::Seal(e.to_string()))
    }
}

/// What stands behind the stream.
enum Ending<F> {
    /// A footer, from what the source tells.
    Footer(F),
    /// Nothing: a part of an upload.
    Part,
    /// It has been asked for.
    Taken,
}

pin_project! {
    /// `preamble ‖ tink-stream ‖ footer` over a plaintext body, or the same without footer.
    ///
    /// The last segment and the footer are sealed only after the inner body has ended without an error, so an
    /// inner body that verifies what it delivers decides whether the object becomes complete.
    pub struct SealBody<B, F> {
        #[pin]
        inner: B,
        ending: Ending<F>,
        // Stored bytes in all.
        stored_len: u64,
        sealing: Sealing,
        sealer: Sealer,
        layout: Layout,
        preamble_digest: [u8; 32],
        window: Window,
        taken: u64,
        pending: Bytes,
        emitted: u64,
        done: bool,
        _stream: buffers::Stream,
    }
}

impl<B, F> SealBody<B, F>
where
    B: Body<Data = Bytes, Error = BodyError>,
    F: FnOnce() -> Result<FooterSource, BodyError>,
{
    /// An object of one stream. `footer` is asked once, after `inner` has ended.
    ///
    /// # Errors
    /// [`BodyError::Seal`] where the parameters are out of range.
    pub fn new(sealing: Sealing, inner: B, footer: F) -> Result<Self, BodyError> {
        let core = Core::single(
            &sealing.dek,
            sealing.object_id,
            sealing.segment_size,
            Some(sealing.plaintext_len),
        );
        Self::begin(sealing, inner, core, Ending::Footer(footer))
    }

    fn begin(
        mut sealing: Sealing,
        inner: B,
        core: Core,
        ending: Ending<F>,
    ) -> Result<Self, BodyError> {
        let layout = sealing.layout()?;
        let stored_len = match ending {
            Ending::Part => layout.stored_len() - FOOTER_LEN as u64,
            _ => layout.stored_len(),
        };
        let preamble = Preamble {
            core,
            envelope: std::mem::take(&mut sealing.envelope),
        };
        let preamble = preamble
            .encode()
            .map_err(|e| BodyError::Seal(e.to_string()))?;
        let sealer = Sealer::new(
            sealing.engine,
            &sealing.dek,
            &sealing.header,
            sealing.segment_size,
            &core.encode(),
        )
        .map_err(|e| BodyError::Seal(e.to_string()))?;
        let stream = buffers::Stream::new();
        let mut window = Window::default();
        window.renew(&layout, stored_len);
        window.put(&preamble);
        window.put(&sealer.header());
        window.open_from = window.filled;
        Ok(Self {
            inner,
            ending,
            stored_len,
            sealer,
            layout,
            preamble_digest: Sha256::digest(preamble).into(),
            window,
            taken: 0,
            pending: Bytes::new(),
            emitted: 0,
            done: false,
            sealing,
            _stream: stream,
        })
    }
}

/// The source of a footer that is never asked for.
type NoFooter = fn() -> Result<FooterSource, BodyError>;

impl<B> SealBody<B, NoFooter>
where
    B: Body<Data = Bytes, Error = BodyError>,
{
    /// One part of an upload: `preamble ‖ tink-stream`.
    ///
    /// # Errors
    /// [`BodyError::Seal`] where the parameters are out of range.
    pub fn part(sealing: Sealing, number: PartNumber, inner: B) -> Result<Self, BodyError> {
        let core = Core::part(
            &sealing.dek,
            sealing.object_id,
            sealing.segment_size,
            number,
            sealing.plaintext_len,
        );
        Self::begin(sealing, inner, core, Ending::Part)
    }
}

/// A buffer that is filled front to back: sealed bytes, then the plaintext of the open segment.
#[derive(Default)]
struct Window {
    block: Block,
    filled: usize,
    open_from: usize,
}

impl Window {
    /// A fresh buffer for what is still to come, `left` stored bytes: at least one segment, and all that
    /// comes before the first and behind the last.
    fn renew(&mut self, layout: &Layout, left: u64) {
        let segment = layout.segment_size().get() as usize;
        let most = buffers::window().max(segment) + PREAMBLE_LEN + STREAM_HEADER_LEN + FOOTER_LEN;
        let len = usize::try_from(left).map_or(most, |left| left.min(most));
        *self = Self {
            block: Block::take(len),
            ..Self::default()
        };
    }

    /// Plaintext bytes of the open segment.
    fn open_len(&self) -> usize {
        self.filled - self.open_from
    }

    fn put(&mut self, bytes: &[u8]) {
        self.block[self.filled..self.filled + bytes.len()].copy_from_slice(bytes);
        self.filled += bytes.len();
    }

    /// Seals the open segment where it lies and puts its tag behind it.
    fn close(&mut self, sealer: &mut Sealer, last: bool) -> Result<(), BodyError> {
        let open = &mut self.block[self.open_from..self.filled];
        let tag = sealer
            .seal_in_place(open, last)
            .map_err(|e| BodyError::Seal(e.to_string()))?;
        self.put(&tag);
        self.open_from = self.filled;
        Ok(())
    }

    /// Seals a whole segment that lies elsewhere, and is not the last.
    fn seal(&mut self, sealer: &mut Sealer, plaintext: &[u8]) -> Result<(), BodyError> {
        let end = self.filled + plaintext.len();
        let tag = sealer
            .seal_into(plaintext, &mut self.block[self.filled..end], false)
            .map_err(|e| BodyError::Seal(e.to_string()))?;
        self.filled = end;
        self.put(&tag);
        self.open_from = self.filled;
        Ok(())
    }

    /// What is sealed, to be handed on.
    fn take(&mut self) -> Bytes {
        let filled = self.filled;
        let mut bytes = std::mem::take(self).block.freeze();
        bytes.truncate(filled);
        bytes
    }
}

impl<B, F> Body for SealBody<B, F>
where
    B: Body<Data = Bytes, Error = BodyError>,
    F: FnOnce() -> Result<FooterSource, BodyError>,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut this = self.project();
        if *this.done {
            return Poll::Ready(None);
        }
        let total = this.sealing.plaintext_len;
        loop {
            while !this.pending.is_empty() {
                if this.window.block.is_empty() {
                    this.window
                        .renew(this.layout, *this.stored_len - *this.emitted);
                }
                let room = this.sealer.capacity() - this.window.open_len();
                let n = room.min(this.pending.len());
                // Where the last segment is full there is no room either.
                let left = total - *this.taken;
                if left == 0 || n as u64 > left {
                    *this.done = true;
                    return Poll::Ready(Some(Err(BodyError::Seal(
                        "body is longer than declared".into(),
                    ))));
                }
                *this.taken += n as u64;
                let full = n == room && *this.taken < total;
                // A segment that lies in one piece is sealed on its way; any other is gathered first.
                if full && this.window.open_len() == 0 {
                    this.window.seal(this.sealer, &this.pending[..n])?;
                } else {
                    this.window.put(&this.pending[..n]);
                    if full {
                        this.window.close(this.sealer, false)?;
                    }
                }
                this.pending.advance(n);
                let next = this.layout.segment_size().get() as usize + FOOTER_LEN;
                if full && this.window.filled + next > this.window.block.len() {
                    let frame = this.window.take();
                    *this.emitted += frame.len() as u64;
                    return Poll::Ready(Some(Ok(Frame::data(frame))));
                }
            }
            // Even an empty piece would keep the connection from reading into the same buffer again.
            *this.pending = Bytes::new();
            match ready!(this.inner.as_mut().poll_frame(cx)) {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        *this.pending = data;
                    }
                }
                Some(Err(error)) => {
                    *this.done = true;
                    return Poll::Ready(Some(Err(error)));
                }
                None => {
                    *this.done = true;
                    if *this.taken != total {
                        return Poll::Ready(Some(Err(BodyError::Seal(
                            "body is shorter than declared".into(),
                        ))));
                    }
                    let source = match std::mem::replace(this.ending, Ending::Taken) {
                        Ending::Footer(source) => Some(source()?),
                        Ending::Part => None,
                        Ending::Taken => return Poll::Ready(None),
                    };
                    if this.window.block.is_empty() {
                        this.window
                            .renew(this.layout, *this.stored_len - *this.emitted);
                    }
                    this.window.close(this.sealer, true)?;
                    let Some(source) = source else {
                        let frame = this.window.take();
                        *this.emitted += frame.len() as u64;
                        return Poll::Ready(Some(Ok(Frame::data(frame))));
                    };
                    let footer = Footer {
                        plaintext_len: total,
                        core_plaintext_len: Some(total),
                        segment_size: this.sealing.segment_size,
                        etag: source.etag,
                        checksum: source.checksum,
                        header: this.sealing.header,
                        checksum_type: ChecksumType::FullObject,
                        preamble_digest: *this.preamble_digest,
                        parts: None,
                    };
                    let footer = footer
                        .seal(
                            this.sealing.engine,
                            &this.sealing.dek,
                            &this.sealing.object_id,
                            this.sealing.footer_nonce,
                        )
                        .map_err(|e| BodyError::Seal(e.to_string()))?;
                    this.window.put(&footer);
                    let frame = this.window.take();
                    *this.emitted += frame.len() as u64;
                    return Poll::Ready(Some(Ok(Frame::data(frame))));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.done
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.stored_len - self.emitted)
    }
}
