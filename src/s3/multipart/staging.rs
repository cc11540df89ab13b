//! Where the temporary objects of an upload stand, and how they are read, listed and removed.

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use http::{HeaderMap, Method, StatusCode};
use http_body_util::BodyExt;
use sha2::{Digest, Sha256};

use super::super::Error;
use super::super::call::{Call, Service};
use super::super::listing::{ItemKind, Page};
use super::super::object::{self, Content, Target};
use super::state::Upload;
use crate::aead::PartNumber;
use crate::formats::Integrity;
use crate::pump::{self, OpenBody};
use crate::store::{Request, Response, Store, StoreError};

/// Label at the start of what an upload's name is the digest of. Names stand at the store while an upload goes on.
const LABEL: &[u8] = b"sealgate/v1/upload";
/// What all uploads' names begin with, behind the reserved prefix.
pub const FOLDER: &str = "uploads/";
/// Requests side by side while temporary objects are removed.
const REMOVE_AT_ONCE: usize = 8;
/// Longest temporary object that is read whole.
const MAX_WHOLE: u64 = 64 * 1024;

/// The place of one upload's temporary objects.
pub struct Staging {
    /// With the credentials to use there.
    pub store: Store,
    /// The gateway's own, where those are a user's: what the store lets that user do with the object need not hold
    /// for a key of the gateway's beside it.
    pub spare: Option<Store>,
    /// Bucket.
    pub bucket: String,
    /// What all keys of this upload begin with; ends with `/`.
    pub folder: String,
}

impl Staging {
    /// The place that belongs to an upload, the same for every replica.
    pub fn of(service: &Service, call: &Call, upload_id: &str) -> Self {
        Self::at(
            service,
            &call.store,
            &call.endpoint.bucket,
            &call.endpoint.key,
            upload_id,
        )
    }

    /// The same, for a bucket and key.
    pub fn at(service: &Service, store: &Store, bucket: &str, key: &str, upload_id: &str) -> Self {
        let other = (service.settings)(bucket).multipart_bucket.clone();
        // A user's own credentials need not reach a bucket that is the gateway's.
        let store = match &other {
            Some(_) => service.own.clone(),
            None => store.clone(),
        };
        Self {
            spare: (!store.signs_as(&service.own)).then(|| service.own.clone()),
            store,
            bucket: other.unwrap_or_else(|| bucket.to_owned()),
            folder: format!(
                "{}{FOLDER}{}/",
                service.reserved_prefix,
                upload_name(bucket, key, upload_id)
            ),
        }
    }

    /// Key of the state object.
    pub fn state_key(&self) -> String {
        format!("{}state", self.folder)
    }

    /// Key of a held part.
    pub fn part_key(&self, number: PartNumber) -> String {
        format!("{}part-{:05}", self.folder, number.get())
    }

    /// A temporary object as a target.
    pub fn target<'a>(&'a self, key: &'a str) -> Target<'a> {
        Target {
            store: &self.store,
            bucket: &self.bucket,
            key,
            version: None,
            headers: HeaderMap::new(),
        }
    }

    /// Sends a request without a body, and once more with the gateway's own credentials where the user's do not
    /// reach that far.
    ///
    /// # Errors
    /// The store's, of the last try.
    pub async fn send(
        &self,
        operation: &'static str,
        request: impl Fn() -> Request,
    ) -> Result<(&Store, Response), StoreError> {
        match (self.store.send(operation, request()).await, &self.spare) {
            (Err(error), Some(spare)) if is_denied(&error) => {
                Ok((spare, spare.send(operation, request()).await?))
            }
            (answer, _) => Ok((&self.store, answer?)),
        }
    }

    /// With which credentials a part of this upload is held.
    pub fn holder(&self, upload: &Upload) -> &Store {
        match &self.spare {
            Some(spare) if upload.own => spare,
            _ => &self.store,
        }
    }

    /// Reads a short sealed object whole, verified. Says too whether it took the gateway's own credentials.
    ///
    /// # Errors
    /// [`Error`]; anything but a sealed object that belongs there is an [`Error::Integrity`].
    pub async fn read(&self, service: &Service, key: &str) -> Result<(Bytes, bool), Error> {
        let target = self.target(key);
        let (store, answer) = self
            .send("GetUploadState", || target.request(Method::GET))
            .await?;
        let own = !store.signs_as(&self.store);
        let target = Target { store, ..target };
        let headers = answer.headers().clone();
        let stored_len = object::content_length(&headers)?;
        if !(object::MIN_STORED..=MAX_WHOLE).contains(&stored_len) {
            return Err(Integrity::Length.into());
        }
        let bytes = object::read_exactly(&target, answer, 0..stored_len).await?;
        let found = service
            .describe(&target, headers, stored_len, &bytes)
            .await?;
        let Content::Sealed(sealed) = &found.content else {
            return Err(Integrity::Plaintext.into());
        };
        let body = OpenBody::new(pump::full(bytes), sealed.plan(service.engine)?);
        Ok((body.collect().await?.to_bytes(), own))
    }

    /// The held parts behind a part number, at most `limit`, in order.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn held_parts(&self, after: u16, limit: usize) -> Result<Vec<HeldPart>, Error> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        let prefix = format!("{}part-", self.folder);
        let request = || {
            Request::bucket(Method::GET, &self.bucket)
                .query("list-type", "2")
                .query("prefix", &prefix)
                .query("start-after", &format!("{prefix}{after:05}"))
                .query("max-keys", &limit.min(1000).to_string())
        };
        let (store, answer) = self.send("ListHeldParts", request).await?;
        let document = store.document(answer).await?;
        let page = Page::parse(&document)?;
        Ok(page
            .items
            .iter()
            .filter_map(|item| {
                let ItemKind::Object(entry) = &item.kind else {
                    return None;
                };
                let number = item.name.strip_prefix(&prefix)?.parse().ok()?;
                Some(HeldPart {
                    number: PartNumber::new(number)?,
                    store_etag: entry.store_etag.clone(),
                    stored_len: entry.stored_len,
                    last_modified: entry.child("LastModified").unwrap_or_default().to_owned(),
                })
            })
            .collect())
    }

    /// Removes all temporary objects of the upload, each version of them, the state last.
    ///
    /// # Errors
    /// The first failure; the rest was tried all the same.
    pub async fn remove(&self) -> Result<u64, Error> {
        match (
            remove_all(&self.store, &self.bucket, &self.folder).await,
            &self.spare,
        ) {
            (Err(Error::Store(error)), Some(spare)) if is_denied(&error) => {
                remove_all(spare, &self.bucket, &self.folder).await
            }
            (removed, _) => removed,
        }
    }
}

/// Whether the store refused the credentials, not the request.
pub fn is_denied(error: &StoreError) -> bool {
    error.status() == Some(StatusCode::FORBIDDEN)
}

/// A part that is held as a temporary object.
#[derive(Clone, Debug)]
pub struct HeldPart {
    /// Part number.
    pub number: PartNumber,
    /// The store's ETag of the temporary object.
    pub store_etag: String,
    /// Its length.
    pub stored_len: u64,
    /// When it was written, as the store spells it.
    pub last_modified: String,
}

/// The name of an upload: no other bucket, key or upload id gives the same.
pub fn upload_name(bucket: &str, key: &str, upload_id: &str) -> String {
    let mut digest = Sha256::new();
    for text in [
        LABEL,
        bucket.as_bytes(),
        key.as_bytes(),
        upload_id.as_bytes(),
    ] {
        digest.update((text.len() as u32).to_be_bytes());
        digest.update(text);
    }
    object::hex(&digest.finalize()[..16])
}

/// Removes every version of every object under a prefix; those that end with `/state` last, since without it nobody
/// could tell what the others belong to. Returns how many were removed.
///
/// # Errors
/// The first failure; the rest was tried all the same.
pub async fn remove_all(store: &Store, bucket: &str, prefix: &str) -> Result<u64, Error> {
    let mut removed = 0;
    loop {
        let (found, more) = versions_under(store, bucket, prefix).await?;
        if found.is_empty() {
            return Ok(removed);
        }
        let (states, others): (Vec<_>, Vec<_>) =
            found.iter().partition(|(key, _)| key.ends_with("/state"));
        let mut failed = None;
        for group in [others, states] {
            let mut waiting = group.into_iter();
            let mut pending = FuturesUnordered::new();
            loop {
                while pending.len() < REMOVE_AT_ONCE
                    && let Some((key, version)) = waiting.next()
                {
                    pending.push(remove_one(store, bucket, key, version.as_deref()));
                }
                match pending.next().await {
                    Some(Ok(())) => removed += 1,
                    Some(Err(error)) => failed = failed.or(Some(error)),
                    None => break,
                }
            }
            if failed.is_some() {
                break;
            }
        }
        match failed {
            Some(error) => return Err(error.into()),
            None if !more => return Ok(removed),
            None => {}
        }
    }
}

/// Makes way for the deletion of a bucket that holds nothing but temporary objects: a client sees it empty, and uploads in
/// progress do not keep a bucket. Says whether anything was removed.
///
/// # Errors
/// [`Error`].
pub async fn empty_of_temporary(
    service: &Service,
    store: &Store,
    bucket: &str,
) -> Result<bool, Error> {
    let reserved = service.reserved_prefix.as_str();
    // The reserved prefix ends with `/`: what follows all of its keys begins with the next character.
    let behind = format!("{}0", reserved.trim_end_matches('/'));
    for after in ["", behind.as_str()] {
        let first = first_version(store, bucket, after).await?;
        if first.is_some_and(|key| !key.starts_with(reserved)) {
            return Ok(false);
        }
    }
    Ok(remove_all(store, bucket, reserved).await? > 0)
}

/// The first key at or behind a place, versions and delete markers included.
async fn first_version(store: &Store, bucket: &str, after: &str) -> Result<Option<String>, Error> {
    let mut request = Request::bucket(Method::GET, bucket)
        .query("versions", "")
        .query("max-keys", "1");
    if !after.is_empty() {
        request = request.query("key-marker", after);
    }
    let answer = store.send("ListTemporary", request).await?;
    let document = store.document(answer).await?;
    let found = super::xml::versions(&document)?;
    Ok(found.keys.into_iter().next().map(|(key, _)| key))
}

/// Keys and versions under a prefix, delete markers included, and whether there are more.
async fn versions_under(
    store: &Store,
    bucket: &str,
    prefix: &str,
) -> Result<(Vec<(String, Option<String>)>, bool), Error> {
    let request = Request::bucket(Method::GET, bucket)
        .query("versions", "")
        .query("prefix", prefix);
    let (document, versions) = match store.send("ListTemporary", request).await {
        Ok(answer) => (store.document(answer).await?, true),
        // Not every store has versions.
        Err(StoreError::Status { status, .. }) if matches!(status.as_u16(), 400 | 405 | 501) => {
            let request = Request::bucket(Method::GET, bucket)
                .query("list-type", "2")
                .query("prefix", prefix);
            let answer = store.send("ListTemporary", request).await?;
            (store.document(answer).await?, false)
        }
        Err(error) => return Err(error.into()),
    };
    let mut found = super::xml::versions(&document)?;
    if !versions {
        found
            .keys
            .iter_mut()
            .for_each(|(_, version)| *version = None);
    }
    // A store that ignores the prefix must not have us delete anything else.
    found.keys.retain(|(key, _)| key.starts_with(prefix));
    Ok((found.keys, found.truncated))
}

async fn remove_one(
    store: &Store,
    bucket: &str,
    key: &str,
    version: Option<&str>,
) -> Result<(), StoreError> {
    let version = version.filter(|version| !version.is_empty());
    let remove = |version: Option<&str>| {
        let request = Request::object(Method::DELETE, bucket, key).version(version);
        store.send("DeleteTemporary", request)
    };
    // `null` is a version too: without it, a bucket whose versioning is suspended gets a delete marker, for ever.
    let removed = match remove(version).await {
        // But a store may list it that keeps no versions, and not know it here.
        Err(error)
            if version == Some("null") && error.status() == Some(StatusCode::BAD_REQUEST) =>
        {
            remove(None).await
        }
        removed => removed,
    };
    match removed {
        Ok(answer) => {
            let _ = store.document(answer).await;
            Ok(())
        }
        Err(error) if error.status() == Some(StatusCode::NOT_FOUND) => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_uploads_apart() {
        let name = upload_name("b", "k", "u");
        assert_eq!(name.len(), 32);
        assert_eq!(name, upload_name("b", "k", "u"));
        for (bucket, key, id) in [("bk", "", "u"), ("b", "ku", ""), ("b", "k", "v")] {
            assert_ne!(name, upload_name(bucket, key, id));
        }
    }
}
