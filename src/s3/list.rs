//! ListObjects, ListObjectsV2 and ListObjectVersions with plaintext sizes and ETags.

use futures::StreamExt;
use futures::stream::FuturesOrdered;
use http::{HeaderMap, Method, StatusCode};

use super::call::{BucketSettings, Call, EtagMode, Plaintext, Response, Service};
use super::facts::{FactKey, FactTag};
use super::object::{Target, shown_etag};
use super::xml::{Entry, Listing, Shown};
use super::{Error, meta};
use crate::aead::{Layout, SegmentSize};
use crate::protocol::uri::Query;
use crate::store::{Request, Store};
use crate::telemetry::metrics;

/// Answers a listing.
///
/// # Errors
/// [`Error`]. An object that does not open does not fail the listing: it is shown as stored, counted and
/// logged, and a GET of it fails.
pub async fn list(service: &Service, call: Call) -> Result<Response, Error> {
    let bucket = call.endpoint.bucket.as_str();
    let mut request = Request::bucket(Method::GET, bucket);
    request.query = passed_on(&call.query);
    request.headers = meta::read_settings(&call.headers);
    let answer = call.store.send(call.endpoint.kind.name(), request).await?;
    let headers = meta::common_response(answer.headers());
    let document = call.store.document(answer).await?;
    let listing = Listing::parse(&document)?;
    let settings = (service.settings)(bucket);
    let versions = call.query.contains("versions");
    let read = meta::read_settings(&call.headers);
    let mut shown: Vec<Shown> = Vec::with_capacity(listing.entries.len());
    let mut waiting = listing.entries.iter();
    let mut pending = FuturesOrdered::new();
    loop {
        while pending.len() < service.list_concurrency.max(1)
            && let Some(entry) = waiting.next()
        {
            pending.push_back(show(
                service,
                &call.store,
                &settings,
                bucket,
                entry,
                versions,
                &read,
            ));
        }
        match pending.next().await {
            Some(entry) => shown.push(entry?),
            None => break,
        }
    }
    Ok(Response::xml(
        StatusCode::OK,
        headers,
        listing.rewrite(&shown),
    ))
}

/// What a client is to see of one entry: from its length, from the cache, or from its footer.
async fn show(
    service: &Service,
    store: &Store,
    settings: &BucketSettings,
    bucket: &str,
    entry: &Entry<'_>,
    versions: bool,
    read: &HeaderMap,
) -> Result<Shown, Error> {
    let single = !entry.store_etag.contains('-');
    let by_length = Layout::from_stored_len(SegmentSize::GATEWAY, entry.stored_len)
        .ok()
        .filter(|_| single);
    if settings.etag == EtagMode::Opaque
        && settings.plaintext == Plaintext::Refuse
        && let Some(layout) = by_length
    {
        return Ok(Shown {
            len: layout.plaintext_len(),
            etag: shown_etag(settings, FactTag::Opaque, &entry.store_etag),
        });
    }
    let key = FactKey {
        bucket: bucket.to_owned(),
        key: entry.key.clone(),
        store_etag: entry.store_etag.clone(),
        stored_len: entry.stored_len,
    };
    if let Some(fact) = service.facts.find(&key) {
        let etag = shown_etag(settings, fact.tag, &entry.store_etag);
        return Ok(Shown {
            len: fact.plaintext_len,
            etag,
        });
    }
    let target = Target {
        store,
        bucket,
        key: &entry.key,
        version: entry.version.as_deref().filter(|_| versions),
        headers: read.clone(),
    };
    match service.find(&target).await {
        Ok(found) => Ok(Shown {
            len: found.len,
            etag: found.etag,
        }),
        Err(Error::Integrity(kind)) => {
            metrics::integrity_failure(kind.label());
            tracing::warn!(
                bucket,
                key = entry.key,
                kind = kind.label(),
                "listed object does not verify"
            );
            Ok(Shown {
                len: entry.stored_len,
                etag: entry.store_etag.clone(),
            })
        }
        // Deleted or denied since the listing was made.
        Err(Error::Store(error))
            if error
                .status()
                .is_some_and(|status| status.is_client_error()) =>
        {
            Ok(Shown {
                len: by_length.map_or(entry.stored_len, |layout| layout.plaintext_len()),
                etag: shown_etag(settings, FactTag::Opaque, &entry.store_etag),
            })
        }
        Err(error) => Err(error),
    }
}

/// Parameters of listings.
fn passed_on(query: &Query) -> Query {
    let mut query = query.clone();
    query.retain(|name| {
        matches!(
            name,
            "versions"
                | "list-type"
                | "prefix"
                | "delimiter"
                | "marker"
                | "max-keys"
                | "continuation-token"
                | "start-after"
                | "fetch-owner"
                | "encoding-type"
                | "key-marker"
                | "version-id-marker"
        )
    });
    query
}
