//! The ends of objects of which ranges were read: with them a further range takes one request in place of two.
//!
//! Nothing here is believed. What is kept is what the store sent, a footer and perhaps a table, with the headers that came
//! along; it says which stored bytes to ask for. The answer brings the headers as they are now, for the user who asks,
//! and the end is verified under them as if it had come from the store just then.

use std::ops::Range;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue};
use quick_cache::sync::Cache;
use quick_cache::{Equivalent, Weighter};

use super::call::{Call, Response, Service};
use super::get::{check_conditions, first_verified, ranged};
use super::object::{self, Content, Found, Target};
use super::{parts, whole};
use crate::aead::PartEntry;
use crate::formats::Place;
use crate::protocol::conditions;
use crate::protocol::range::{ByteRange, RangeSpec};
use crate::pump::OpenBody;
use crate::store;

/// The share of the cache's memory that ends may take: a sixteenth.
const SHARE: u64 = 16;

/// Bytes that an entry takes beside its end: headers, key, bookkeeping.
const ENTRY: u64 = 4096;

/// The end of an object.
struct Tail {
    headers: HeaderMap,
    stored_len: u64,
    bytes: Box<[u8]>,
}

/// Bucket, key and version.
type Key = (String, String, Option<String>);

/// A [`Key`] of an object that is asked for, which hashes as it does.
#[derive(Hash)]
struct Asked<'a>(&'a str, &'a str, Option<&'a str>);

impl<'a> From<&'a Target<'_>> for Asked<'a> {
    fn from(target: &'a Target<'_>) -> Self {
        Self(target.bucket, target.key, target.version)
    }
}

impl Equivalent<Key> for Asked<'_> {
    fn equivalent(&self, (bucket, key, version): &Key) -> bool {
        self.0 == bucket && self.1 == key && self.2 == version.as_deref()
    }
}

/// What an end weighs, in bytes.
#[derive(Clone)]
struct Weight;

impl Weighter<Key, Arc<Tail>> for Weight {
    fn weight(&self, _: &Key, tail: &Arc<Tail>) -> u64 {
        ENTRY + tail.bytes.len() as u64
    }
}

/// The ends that are kept.
pub struct Tails(Option<Cache<Key, Arc<Tail>, Weight>>);

impl Tails {
    /// Beside a cache of `bytes`.
    pub fn new(bytes: u64) -> Self {
        let most = bytes / SHARE;
        let entries = usize::try_from(most / (2 * ENTRY)).unwrap_or(usize::MAX);
        Self((entries > 0).then(|| Cache::with_weighter(entries, most, Weight)))
    }

    /// Remembers the end of an object.
    pub fn learn(&self, target: &Target<'_>, headers: &HeaderMap, stored_len: u64, bytes: &[u8]) {
        if let Some(cache) = &self.0 {
            let tail = Tail {
                headers: copied(headers),
                stored_len,
                bytes: bytes.into(),
            };
            let Asked(bucket, key, version) = target.into();
            let key = (bucket.into(), key.into(), version.map(str::to_owned));
            cache.insert(key, Arc::new(tail));
        }
    }

    /// Forgets the end of an object that is not the one with this ETag at the store.
    pub fn keep_only(&self, target: &Target<'_>, store_etag: &str) {
        if let Some(tail) = self.find(target)
            && object::store_etag(&tail.headers) != store_etag
        {
            self.forget(target);
        }
    }

    fn find(&self, target: &Target<'_>) -> Option<Arc<Tail>> {
        self.0.as_ref()?.get(&Asked::from(target))
    }

    fn forget(&self, target: &Target<'_>) {
        if let Some(cache) = &self.0 {
            cache.remove(&Asked::from(target));
        }
    }
}

/// The same headers in memory of their own: those of an answer keep the whole window alive that they were read into.
fn copied(headers: &HeaderMap) -> HeaderMap {
    let mut copy = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
            copy.append(name.clone(), value);
        }
    }
    copy
}

impl Tail {
    /// The object that it is the end of, under these headers; `None` where it does not verify.
    async fn describe(
        &self,
        service: &Service,
        target: &Target<'_>,
        headers: HeaderMap,
    ) -> Option<Found> {
        let described = service.describe(target, headers, self.stored_len, &self.bytes);
        let found = described.await.ok()?;
        matches!(found.content, Content::Sealed(_)).then_some(found)
    }
}

/// Where a range is, and what is needed to open it.
struct Expected {
    range: ByteRange,
    plaintext: Range<u64>,
    place: Place,
    answer: store::Response,
    entries: Vec<PartEntry>,
}

/// Answers a range from what was kept; `None` where that is not possible, for whatever reason: then the object is
/// asked for anew, and what is wrong with it shows there.
pub async fn range(
    service: &Service,
    call: &Call,
    target: &Target<'_>,
    spec: RangeSpec,
) -> Option<Response> {
    let tail = service.tails.find(target)?;
    let answered = answer(service, call, target, spec, &tail).await;
    if answered.is_none() {
        service.tails.forget(target);
    }
    answered
}

async fn answer(
    service: &Service,
    call: &Call,
    target: &Target<'_>,
    spec: RangeSpec,
    tail: &Tail,
) -> Option<Response> {
    let Expected {
        range,
        plaintext,
        place,
        answer,
        entries,
    } = ask(service, target, spec, tail).await?;
    // What the object is now, by the headers that came with its bytes.
    let headers = answer.headers().clone();
    if object::content_range_total(&headers).is_some_and(|total| total != tail.stored_len) {
        return None;
    }
    let found = tail.describe(service, target, headers).await?;
    check_conditions(call, &found).ok()?;
    if let Some(value) = call.header("if-range")
        && !conditions::if_range_holds(value, found.current())
    {
        return None;
    }
    let Content::Sealed(sealed) = &found.content else {
        return None;
    };
    if sealed.place(plaintext).as_ref() != Some(&place) {
        return None;
    }
    let plan = sealed.plan_range(service.engine, &place, &entries).ok()?;
    let opened = OpenBody::new(target.stream(answer, place.stored), plan);
    let body = first_verified(opened).await.ok()?;
    Some(ranged(call, &found, &range, body))
}

/// Asks for the stored bytes that hold the range, by what the end says.
async fn ask(
    service: &Service,
    target: &Target<'_>,
    spec: RangeSpec,
    tail: &Tail,
) -> Option<Expected> {
    let known = tail.describe(service, target, tail.headers.clone()).await?;
    if whole::needed(&(service.settings)(target.bucket), &known) {
        return None;
    }
    let Content::Sealed(sealed) = &known.content else {
        return None;
    };
    let range = spec.resolve(known.len).ok()??;
    let plaintext = range.first()..range.last() + 1;
    let place = sealed.place(plaintext.clone())?;
    let (answer, entries) = futures::future::try_join(
        object::range(target, &known, "GetSegments", &place.stored),
        parts::entries(target, &known, sealed, &place),
    )
    .await
    .ok()?;
    Some(Expected {
        range,
        plaintext,
        place,
        answer: answer?,
        entries: entries?,
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn what_is_kept_keeps_nothing_else() {
        let window = Bytes::from(vec![b'a'; 1 << 20]);
        let value = |at| HeaderValue::from_maybe_shared(window.slice(at..at + 10)).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("etag", value(0));
        headers.append("x-amz-meta-a", value(10));
        headers.append("x-amz-meta-a", value(20));
        let copy = copied(&headers);
        assert_eq!(copy, headers);
        drop(headers);
        assert!(window.is_unique());
        drop(copy);
    }
}
