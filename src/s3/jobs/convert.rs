//! Migration of one object: whatever can be read becomes an object of format 1, in its place or in another bucket.
//!
//! In its place the new object is written under the condition that the old one is still there, by the store's own ETag: a
//! client's write in between wins, and the object is looked at again. Nothing is removed, and no other name is used.

use std::sync::{Arc, Mutex};

use http::header::{HeaderName, IF_MATCH, IF_NONE_MATCH};
use http::{HeaderMap, Method};
use http_body_util::BodyExt;
use sha2::{Digest, Sha256};

use super::super::call::{Body, Call, EtagMode, Response, Service, set};
use super::super::object::{self, Content, Found, Target, quoted};
use super::super::put::{Current, Written, current};
use super::super::route::{Endpoint, Kind};
use super::super::xml::Writer;
use super::super::{Error, get, meta};
use super::pace::Pace;
use super::rebind::{By, Rebinding, Sizes};
use super::run::{PAUSE, TRIES};
use super::settings;
use super::upload::copy_source;
use super::walk::Item;
use super::{Failed, Outcome, Task};
use crate::aead::{Layout, SegmentSize};
use crate::formats::{self, Integrity};
use crate::policy::Permit;
use crate::protocol::uri::{CopySource, Query};
use crate::pump::{self, BoxBody};

/// How often an object that clients write meanwhile is looked at again.
const ATTEMPTS: usize = 8;
/// Longest stored object that goes up in one request (S3: 5 GiB).
const MAX_SINGLE: u64 = 5 << 30;
/// Plaintext of a part of one that is longer; 10,000 of them are more than S3's longest object.
const PART: u64 = 1 << 30;

/// Where converted objects go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Where they are.
    InPlace,
    /// Another bucket, under the same keys.
    Bucket(String),
}

/// The migration of a bucket.
pub struct Conversion {
    /// Shared parts.
    pub service: Arc<Service>,
    /// Where objects are read.
    pub bucket: String,
    /// Where they are written.
    pub to: Destination,
    /// The store keeps conditions; without them nobody else may write.
    pub conditional: bool,
    /// Reads each object back and compares it with what was read before.
    pub verify: bool,
    /// Says what would be done.
    pub dry_run: bool,
    /// Only what these formats left; everything where it is empty.
    pub only: Vec<String>,
    /// How fast.
    pub pace: Pace,
}

/// What was found before a write to another bucket.
enum There {
    Absent,
    /// An older object.
    Older(Condition),
    Newer,
}

/// What must still hold of the place that is written.
struct Condition {
    name: HeaderName,
    /// As the store is asked.
    stored: String,
    /// As the gateway's own operations are asked, which compare what clients see. That is as unique as the store's ETag
    /// in all that a job replaces.
    seen: String,
}

impl Condition {
    /// That this object still stands there.
    fn same(found: &Found) -> Self {
        Self {
            name: IF_MATCH,
            stored: quoted(&found.store_etag),
            seen: quoted(&found.etag),
        }
    }

    /// That nothing stands there.
    fn absent() -> Self {
        Self {
            name: IF_NONE_MATCH,
            stored: "*".into(),
            seen: "*".into(),
        }
    }
}

type Running = Arc<Mutex<Sha256>>;

/// What one try came to.
enum Tried {
    /// The object is done with, or needs nothing.
    Ended(Outcome),
    /// It was written.
    Written {
        was: &'static str,
        bytes: u64,
        store_etag: String,
        hash: Running,
    },
    /// It changed meanwhile.
    Changed,
}

impl Task for Conversion {
    async fn step(&self, item: &Item) -> Result<Outcome, Failed> {
        for _ in 0..ATTEMPTS {
            match Box::pin(self.attempt(&item.key)).await {
                Ok(Tried::Ended(outcome)) => return Ok(outcome),
                Ok(Tried::Written {
                    was,
                    bytes,
                    store_etag,
                    hash,
                }) => {
                    if self.verify {
                        self.read_back(&item.key, &store_etag, bytes, &hash).await?;
                    }
                    return Ok(Outcome::Done { was, bytes });
                }
                Ok(Tried::Changed) => tracing::debug!(key = item.key, "changed meanwhile"),
                Err(Error::Integrity(Integrity::Plaintext)) => {
                    return Err(Failed {
                        why: format!(
                            "the object is not sealed, and the settings of bucket {} refuse such objects: \
                             set plaintext: allow for it in the configuration that the migration runs with",
                            self.bucket
                        ),
                        passing: false,
                    });
                }
                Err(Error::Integrity(kind @ Integrity::Legacy)) => {
                    return Err(Failed {
                        why: format!(
                            "{kind}: its metadata holds a wrapped key. Name the tag or prefix that it stands under in the \
                             section compat, so that it is opened rather than sealed once more"
                        ),
                        passing: false,
                    });
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::Contended.into())
    }
}

impl Conversion {
    /// The bucket that is written.
    fn destination(&self) -> &str {
        match &self.to {
            Destination::InPlace => &self.bucket,
            Destination::Bucket(bucket) => bucket,
        }
    }

    /// One try.
    async fn attempt(&self, key: &str) -> Result<Tried, Error> {
        let ended = |outcome| Ok(Tried::Ended(outcome));
        let source = self.service.target(&self.bucket, key);
        let mut found = match self.service.find(&source).await {
            Err(Error::Store(error)) if error.is_absent() => return ended(Outcome::Gone),
            found => found?,
        };
        // To seal ciphertext once more would hide it from whoever has its key.
        if matches!(found.content, Content::Plain) && formats::resembles_foreign(&found.headers) {
            return Err(Integrity::Legacy.into());
        }
        let was = found.content.name();
        let bytes = found.len;
        let sealed = matches!(found.content, Content::Sealed(_) | Content::SealedUnread);
        if !self.only.is_empty() && !self.only.iter().any(|name| name == was) {
            return ended(Outcome::Skipped("of another format"));
        }
        let condition = match &self.to {
            Destination::InPlace if sealed => return ended(Outcome::Already { is: was, bytes }),
            Destination::InPlace => Condition::same(&found),
            Destination::Bucket(bucket) => match self.there(bucket, key, &found).await? {
                There::Newer => return ended(Outcome::Already { is: was, bytes }),
                There::Older(condition) => condition,
                There::Absent => Condition::absent(),
            },
        };
        if object::is_archived(&found.headers) {
            return ended(Outcome::Skipped("archived: restore it first"));
        }
        let done = Outcome::Done { was, bytes };
        if self.dry_run {
            return ended(done);
        }
        let condition = Some(condition).filter(|_| self.conditional);
        let target = self.service.target(self.destination(), key);
        // In its place it needed nothing.
        if sealed {
            // The bytes stay as they are: parts, ETag and checksums with them.
            return match self.copied(&target, &found, condition).await? {
                true => ended(done),
                false => Ok(Tried::Changed),
            };
        }
        let mut headers = settings::kept(&source, &found.headers).await?;
        let content = found.content_headers();
        let hash = Running::default();
        let single = Layout::from_plaintext_len(SegmentSize::GATEWAY, bytes)
            .is_ok_and(|layout| layout.stored_len() <= MAX_SINGLE);
        if let Some(condition) = condition {
            let value = if single {
                condition.stored
            } else {
                condition.seen
            };
            set(&mut headers, condition.name, &value);
        }
        let written = if single {
            self.whole(&source, &target, &mut found, headers, content, &hash)
                .await
        } else {
            self.in_parts(&source, &target, &mut found, headers, content, &hash)
                .await
        };
        match written {
            Ok(Some(store_etag)) => Ok(Tried::Written {
                was,
                bytes,
                store_etag,
                hash,
            }),
            Ok(None) => Ok(Tried::Changed),
            Err(error) if is_condition(&error) => Ok(Tried::Changed),
            Err(error) => Err(error),
        }
    }

    /// What stands at the other bucket. A copy that is not older than its source was made by an earlier run, or by a client.
    async fn there(&self, bucket: &str, key: &str, source: &Found) -> Result<There, Error> {
        match current(&self.service, &self.service.target(bucket, key)).await? {
            Current::Absent => Ok(There::Absent),
            Current::There(found) => {
                let time = |found: &Found| meta::last_modified(&found.headers);
                if time(&found) >= time(source) {
                    Ok(There::Newer)
                } else {
                    Ok(There::Older(Condition::same(&found)))
                }
            }
            // It is not for a job to overwrite what it cannot open.
            Current::Unreadable => {
                self.service.find(&self.service.target(bucket, key)).await?;
                Ok(There::Newer)
            }
        }
    }

    /// The plaintext, as fast as the job may go.
    async fn stream(
        &self,
        source: &Target<'_>,
        found: &mut Found,
        plaintext: std::ops::Range<u64>,
        hash: &Running,
    ) -> Result<Option<BoxBody>, Error> {
        let Some((stream, _)) = get::slice(&self.service, source, found, plaintext).await? else {
            return Ok(None);
        };
        let hash = self.verify.then(|| hash.clone());
        let stream = stream.map_frame(move |frame| {
            if let (Some(hash), Some(data)) = (&hash, frame.data_ref())
                && let Ok(mut hash) = hash.lock()
            {
                hash.update(data);
            }
            frame
        });
        Ok(Some(self.pace.body(stream).boxed()))
    }

    fn body(&self, stream: BoxBody, length: u64, bucket: &str) -> Body {
        let settings = (self.service.settings)(bucket);
        let md5 = settings.etag == EtagMode::Md5;
        Body::own_with(stream, length, md5, settings.default_checksum)
    }

    /// In one request. Gives the store's ETag.
    async fn whole(
        &self,
        source: &Target<'_>,
        target: &Target<'_>,
        found: &mut Found,
        headers: HeaderMap,
        content: HeaderMap,
        hash: &Running,
    ) -> Result<Option<String>, Error> {
        let len = found.len;
        let Some(stream) = self.stream(source, found, 0..len, hash).await? else {
            return Ok(None);
        };
        let written = Written {
            service: &self.service,
            settings: &(self.service.settings)(target.bucket),
            store: target.store,
            bucket: target.bucket,
            key: target.key,
        };
        let body = self.body(stream, len, target.bucket);
        let done = written.write(headers, content, body).await?;
        Ok(Some(object::store_etag(&done.store_headers)))
    }

    /// As an upload in parts. Gives the store's ETag.
    async fn in_parts(
        &self,
        source: &Target<'_>,
        target: &Target<'_>,
        found: &mut Found,
        mut headers: HeaderMap,
        content: HeaderMap,
        hash: &Running,
    ) -> Result<Option<String>, Error> {
        // They are for the completion, which is the moment at which the object changes.
        let conditions = [IF_MATCH, IF_NONE_MATCH].into_iter();
        let conditions: HeaderMap = conditions
            .filter_map(|name| headers.remove(&name).map(|value| (name, value)))
            .collect();
        headers.extend(content);
        let call = |kind, method, query, headers, body| {
            self.call(target, kind, method, query, headers, body)
        };
        let created = call(
            Kind::CreateMultipartUpload,
            Method::POST,
            query(&[("uploads", "")]),
            headers,
            None,
        )
        .await?;
        let id =
            super::super::multipart_xml::parse_created(&created.body.collect().await?.to_bytes())?;
        let mut document = Writer::new("CompleteMultipartUpload");
        let parts = async {
            let (mut at, mut number) = (0, 1);
            while at < found.len {
                let end = (at + PART).min(found.len);
                let Some(stream) = self.stream(source, found, at..end, hash).await? else {
                    return Ok(false);
                };
                let body = self.body(stream, end - at, target.bucket);
                let number_text = number.to_string();
                let query = query(&[("partNumber", &number_text), ("uploadId", &id)]);
                let sent = call(
                    Kind::UploadPart,
                    Method::PUT,
                    query,
                    HeaderMap::new(),
                    Some(body),
                )
                .await?;
                document.part(number, &object::store_etag(&sent.headers));
                (at, number) = (end, number + 1);
            }
            Ok(true)
        };
        let sent: Result<bool, Error> = parts.await;
        let completed = match sent {
            Ok(true) => {
                let document = document.finish();
                let length = document.len() as u64;
                let body = Body::own(pump::full(document), length, false);
                call(
                    Kind::CompleteMultipartUpload,
                    Method::POST,
                    query(&[("uploadId", &id)]),
                    conditions,
                    Some(body),
                )
                .await
            }
            Ok(false) => Err(Error::Contended),
            Err(error) => Err(error),
        };
        match completed {
            Ok(_) => Ok(Some(self.service.find(target).await?.store_etag)),
            Err(error) => {
                let aborted = call(
                    Kind::AbortMultipartUpload,
                    Method::DELETE,
                    query(&[("uploadId", &id)]),
                    HeaderMap::new(),
                    None,
                );
                if let Err(error) = aborted.await {
                    tracing::warn!(%error, key = target.key, "an upload is left for gc");
                }
                if matches!(error, Error::Contended) {
                    Ok(None)
                } else {
                    Err(error)
                }
            }
        }
    }

    /// Copies a sealed object to another bucket, by the store. Says whether it was as it had been found.
    async fn copied(
        &self,
        target: &Target<'_>,
        found: &Found,
        condition: Option<Condition>,
    ) -> Result<bool, Error> {
        if found.stored_len > Sizes::S3.copy
            && let Content::Sealed(sealed) = &found.content
        {
            let rebinding = Rebinding {
                service: &self.service,
                source: &self.service.target(&self.bucket, target.key),
                found,
                target,
                condition: condition.map(|condition| (condition.name, condition.stored)),
            };
            return rebinding.run(sealed, By::Parts, Sizes::S3).await;
        }
        let source = CopySource {
            bucket: self.bucket.clone(),
            key: target.key.to_owned(),
            version_id: None,
        };
        // The copy keeps tags by itself.
        let mut headers = settings::told(&found.headers);
        copy_source(&mut headers, &source, &found.etag);
        if let Some(condition) = condition.filter(|condition| condition.name == IF_NONE_MATCH) {
            set(&mut headers, condition.name, &condition.seen);
        }
        let copied = self.call(
            target,
            Kind::CopyObject,
            Method::PUT,
            Query::default(),
            headers,
            None,
        );
        match copied.await {
            Ok(_) => Ok(true),
            Err(error) if is_condition(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// An operation as a client would ask for it.
    async fn call(
        &self,
        target: &Target<'_>,
        kind: Kind,
        method: Method,
        query: Query,
        headers: HeaderMap,
        body: Option<Body>,
    ) -> Result<Response, Error> {
        let call = Call {
            permit: Permit::of_operator(),
            endpoint: Endpoint {
                kind,
                bucket: target.bucket.to_owned(),
                key: target.key.to_owned(),
            },
            method,
            query,
            headers,
            body: body.unwrap_or_else(|| Body::own(pump::empty(), 0, false)),
            store: self.service.own.clone(),
        };
        self.service.call(call).await
    }

    /// Reads the new object whole and compares it with what went into it. Another try of the object would find it sealed
    /// and look no further, so this one tries again itself, and its failure is final.
    async fn read_back(
        &self,
        key: &str,
        store_etag: &str,
        len: u64,
        hash: &Running,
    ) -> Result<(), Failed> {
        let target = self.service.target(self.destination(), key);
        let mut tries = 1;
        loop {
            let failed = match Box::pin(self.compare(&target, store_etag, len, hash)).await {
                Ok(()) => return Ok(()),
                Err(error) => Failed::from(error),
            };
            if !failed.passing || tries == TRIES {
                return Err(Failed {
                    why: format!("written, but does not read back: {failed}"),
                    passing: false,
                });
            }
            tracing::debug!(key, %failed, "reading back again");
            tokio::time::sleep(PAUSE * (1 << tries)).await;
            tries += 1;
        }
    }

    async fn compare(
        &self,
        target: &Target<'_>,
        store_etag: &str,
        len: u64,
        hash: &Running,
    ) -> Result<(), Error> {
        for _ in 0..ATTEMPTS {
            let mut found = match self.service.find(target).await {
                Ok(found) => found,
                // A client removed it.
                Err(Error::Store(error)) if error.is_absent() => return Ok(()),
                Err(error) => return Err(error),
            };
            if found.store_etag != store_etag {
                // A client wrote meanwhile: it is no longer this job's.
                return Ok(());
            }
            let mut read = Sha256::new();
            let mut bytes = 0;
            let all = 0..found.len;
            let Some((mut stream, _)) = get::slice(&self.service, target, &mut found, all).await?
            else {
                continue;
            };
            while let Some(frame) = stream.frame().await {
                if let Ok(data) = frame?.into_data() {
                    bytes += data.len() as u64;
                    read.update(&data);
                }
            }
            let wanted = hash.lock().map(|hash| hash.clone().finalize());
            return match wanted {
                Ok(wanted) if bytes == len && wanted == read.finalize() => Ok(()),
                _ => Err(Error::Internal("the object reads back differently")),
            };
        }
        Err(Error::Contended)
    }
}

fn query(pairs: &[(&str, &str)]) -> Query {
    let mut query = Query::default();
    for (name, value) in pairs {
        query.push(*name, *value);
    }
    query
}

/// Whether a write was refused because something else stands at its key by now, or nothing.
fn is_condition(error: &Error) -> bool {
    match error {
        // Where nothing stands any more, S3 answers If-Match with 404.
        Error::Store(error) => error.is_absent() || error.is_condition(),
        Error::PreconditionFailed(_) | Error::NoSuchKey => true,
        _ => false,
    }
}
