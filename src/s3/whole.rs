//! Objects that are checked from the first to the last byte before any of it is released: those of other programs'
//! formats, which have one tag for all, and every object where the bucket says so.
//!
//! ```text
//! store ──► check ──► spool          first: nothing leaves
//!                       └──► open ──► client
//! ```

use std::ops::Range;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame};
use http_body_util::BodyExt;

use super::Error;
use super::call::{BucketSettings, Checked, Service};
use super::object::{self, Content, Foreign, Found, Target};
use super::parts;
use crate::aead::PartEntry;
use crate::formats::foreign::Verified;
use crate::formats::v1::Sealed;
use crate::formats::{Integrity, OpenedBody, Sums};
use crate::pump::{self, BodyError, BoxBody, OpenBody};
use crate::spool::{Spooled, Writer};
use crate::telemetry::metrics;

/// An object that has been checked, and waits to be sent.
pub struct Whole {
    spooled: Spooled,
    /// None of an object of the own format.
    foreign: Option<Box<dyn Verified>>,
}

/// Whether what was found has to be checked as a whole before any of it is released.
pub fn needed(settings: &BucketSettings, found: &Found) -> bool {
    match &found.content {
        Content::Foreign(_) => true,
        Content::Sealed(_) => settings.checked == Checked::Object,
        Content::SealedUnread | Content::Plain => false,
    }
}

/// Reads all of an object and checks it; `None` where another one stands there now. `body` are its stored bytes, where
/// they are on their way already. The table of an object in parts has been read.
///
/// # Errors
/// [`Error::Spool`] where there is no room, [`Error::Integrity`] and what the store says.
pub async fn check(
    service: &Service,
    target: &Target<'_>,
    found: &Found,
    body: Option<BoxBody>,
) -> Result<Option<Whole>, Error> {
    if !service.spool.has_room(found.stored_len) {
        service.kept.make_room();
    }
    let writer = service.spool.begin(found.stored_len).await?;
    let stored = 0..found.stored_len;
    let body = match body {
        Some(body) => body,
        None if stored.is_empty() => pump::empty(),
        None => match object::range(target, found, "GetObject", &stored).await? {
            Some(answer) => target.stream(answer, stored),
            None => return Ok(None),
        },
    };
    let (spooled, foreign) = match &found.content {
        Content::Foreign(object) => {
            let (spooled, verified) = check_foreign(target, found, object, body, writer).await?;
            (spooled, Some(verified))
        }
        Content::Sealed(sealed) => (check_sealed(service, sealed, body, writer).await?, None),
        Content::SealedUnread => return Err(object::archived()),
        Content::Plain => return Err(Integrity::Plaintext.into()),
    };
    Ok(Some(Whole { spooled, foreign }))
}

async fn check_foreign(
    target: &Target<'_>,
    found: &Found,
    object: &Foreign,
    mut body: BoxBody,
    mut writer: Writer,
) -> Result<(Spooled, Box<dyn Verified>), Error> {
    let (claimed, tail, stored_len) = (
        object.claimed.clone(),
        object.tail.clone(),
        found.stored_len,
    );
    // A key that comes from a password takes a while.
    let checking = tokio::task::spawn_blocking(move || claimed.checker(stored_len, &tail));
    let checking = checking
        .await
        .map_err(|_| Error::Internal("a check did not end"))??;
    metrics::legacy_read(object.format, checking.unprotected);
    if checking.unprotected {
        tracing::warn!(
            bucket = target.bucket,
            key = target.key,
            format = object.format,
            "reading an object that no secret protects: anybody could have written or altered it"
        );
    }
    let mut checker = checking.checker;
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            checker.update(&data)?;
            writer.write(&data).await?;
        }
    }
    let verified = checker.finish()?;
    Ok((writer.finish().await?, verified))
}

/// Opens every segment, the table and the footer, and holds the plaintext against what they say of its sums.
async fn check_sealed(
    service: &Service,
    sealed: &Sealed,
    body: BoxBody,
    mut writer: Writer,
) -> Result<Spooled, Error> {
    let plan = sealed.plan(service.engine)?;
    let mut sums = Sums::of(sealed);
    let passed = Passed::default();
    let mut opened = OpenBody::new(
        Tee {
            inner: body,
            passed: passed.clone(),
        },
        plan,
    );
    while let Some(frame) = opened.frame().await {
        let frame = frame?;
        for stored in passed.take() {
            writer.write(&stored).await?;
        }
        if let Ok(plaintext) = frame.into_data() {
            sums.update(&plaintext)?;
        }
    }
    for stored in passed.take() {
        writer.write(&stored).await?;
    }
    sums.verify()?;
    Ok(writer.finish().await?)
}

/// Stored bytes that have gone by on their way to being opened: those of a segment, or of the part table, and of one
/// frame, since a segment that is complete is given out before more is asked for.
#[derive(Clone, Default)]
struct Passed(Arc<Mutex<Vec<Bytes>>>);

impl Passed {
    fn push(&self, bytes: Bytes) {
        if let Ok(mut passed) = self.0.lock() {
            passed.push(bytes);
        }
    }

    fn take(&self) -> Vec<Bytes> {
        self.0
            .lock()
            .map(|mut passed| std::mem::take(&mut *passed))
            .unwrap_or_default()
    }
}

struct Tee {
    inner: BoxBody,
    passed: Passed,
}

impl Body for Tee {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            self.passed.push(data.clone());
        }
        Poll::Ready(frame)
    }
}

impl Whole {
    /// Whether it takes room in the spool.
    pub fn takes_room(&self) -> bool {
        self.spooled.is_on_disk()
    }

    /// A range of the plaintext, which may be empty, and the entry of the first part that it comes from; `None` where
    /// another object stands there now.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn open(
        &self,
        service: &Service,
        target: &Target<'_>,
        found: &Found,
        plaintext: Range<u64>,
    ) -> Result<Option<(BoxBody, Option<PartEntry>)>, Error> {
        let len = plaintext.end - plaintext.start;
        if let Some(verified) = &self.foreign {
            let (place, opener) = verified.opener(plaintext)?;
            let stored = self.spooled.read(place.stored);
            let body = OpenedBody::new(stored, opener, place.skip, len);
            return Ok(Some((body.boxed(), None)));
        }
        let Content::Sealed(sealed) = &found.content else {
            return Err(Integrity::Legacy.into());
        };
        if plaintext.is_empty() {
            return Ok(Some((pump::empty(), None)));
        }
        let place = sealed.place(plaintext).ok_or(Integrity::PartTable)?;
        let Some(entries) = parts::entries(target, found, sealed, &place).await? else {
            return Ok(None);
        };
        let plan = sealed.plan_range(service.engine, &place, &entries)?;
        let body = OpenBody::new(self.spooled.read(place.stored), plan);
        Ok(Some((body.boxed(), entries.first().copied())))
    }
}
