//! ListObjects, ListObjectsV2 and ListObjectVersions with plaintext sizes and ETags, and without the gateway's own
//! objects.

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use http::{HeaderMap, Method, StatusCode};

use super::call::{BucketSettings, Call, EtagMode, Plaintext, Response, Service};
use super::facts::{FactKey, FactTag};
use super::listing::{Answer, Entry, ItemKind, Page, Shown};
use super::object::{Target, shown_etag};
use super::route::Kind;
use super::{Error, meta};
use crate::aead::{Layout, SegmentSize};
use crate::formats::Formats;
use crate::protocol::uri::Query;
use crate::store::{Request, Response as StoreResponse, StoreError};
use crate::telemetry::metrics;

/// Longest page (S3: 1,000), where neither request nor store says how long it may be.
const PAGE: usize = 1000;

/// The store's pages that one page for the client may take. More than a few come about only where every object of
/// a page was deleted while it was being shown.
const MAX_PAGES: usize = 64;

/// Answers a listing.
///
/// # Errors
/// [`Error`]. An object that does not open does not fail the listing: it is shown as stored, counted and
/// logged, and a GET of it fails.
pub async fn list(service: &Service, call: Call) -> Result<Response, Error> {
    let bucket = call.endpoint.bucket.as_str();
    let settings = (service.settings)(bucket);
    let lister = Lister {
        service,
        call: &call,
        settings: &settings,
        read: meta::read_settings(&call.headers),
    };
    let prefix = call.parameter("prefix").unwrap_or_default();
    // Nothing below the reserved prefix exists for clients; elsewhere it shows only where it lies in what is listed.
    let within = service.is_reserved(prefix);
    let reserved = service.reserved_prefix.as_str();
    let mut behind = [format!("{reserved}~"), format!("{reserved}\u{10ffff}")].into_iter();

    let mut query = passed_on(&call.query);
    let mut begun: Option<(HeaderMap, Answer, usize)> = None;
    for _ in 0..MAX_PAGES {
        let response = lister.ask(query.clone()).await?;
        let headers = meta::common_response(response.headers());
        let document = call.store.document(response).await?;
        let page = Page::parse(&document)?;
        let (_, answer, limit) = begun.get_or_insert_with(|| {
            let limit = page.max_keys.unwrap_or_else(|| asked_for(&call.query));
            (headers, Answer::begin(&page), limit)
        });
        let limit = *limit;
        if within {
            return Ok(finish(begun, None));
        }
        let hidden = lister.hidden(&page).await?;
        let shown = lister.shown(&page, &hidden).await?;
        for ((item, hidden), shown) in page.items.iter().zip(&hidden).zip(&shown) {
            match (&item.kind, shown) {
                _ if *hidden => {}
                (ItemKind::Object(entry), Some(shown)) => answer.push_object(entry, shown),
                // Gone since the page was made.
                (ItemKind::Object(_), None) => {}
                _ => answer.push(&page, item),
            }
        }
        if !page.truncated {
            return Ok(finish(begun, None));
        }
        // A page for the client ends with something that it can see: the next one begins behind that, in words that
        // tell nothing of what is hidden.
        let name = |wanted: bool| {
            let items = page.items.iter().zip(&hidden);
            items
                .filter(|(_, hidden)| **hidden == wanted)
                .map(|(item, _)| item.name.as_str())
                .max()
        };
        if name(true).is_some() && name(true) > name(false) {
            let marker = behind
                .next()
                .ok_or(StoreError::Malformed("listing does not move on"))?;
            query = lister.from(&query, &marker);
        } else if answer.count == 0 {
            query = lister.after(&query, &page)?;
        } else {
            return Ok(finish(begun, Some(&page)));
        }
        set(
            &mut query,
            "max-keys",
            &limit.saturating_sub(answer.count).max(1).to_string(),
        );
    }
    Err(StoreError::Malformed("listing does not move on").into())
}

fn finish(begun: Option<(HeaderMap, Answer, usize)>, last: Option<&Page<'_>>) -> Response {
    let (headers, answer, _) = begun.unwrap_or_default();
    Response::xml(StatusCode::OK, headers, answer.finish(last))
}

struct Lister<'a> {
    service: &'a Service,
    call: &'a Call,
    settings: &'a BucketSettings,
    /// Headers that go with every request to the store.
    read: HeaderMap,
}

impl Lister<'_> {
    async fn ask(&self, query: Query) -> Result<StoreResponse, StoreError> {
        let mut request = Request::bucket(Method::GET, &self.call.endpoint.bucket);
        request.query = query;
        request.headers = self.read.clone();
        let operation = self.call.endpoint.kind.name();
        self.call.store.send(operation, request).await
    }

    /// The same listing from behind a name that is none of its keys.
    fn from(&self, query: &Query, marker: &str) -> Query {
        let mut query = query.clone();
        match self.call.endpoint.kind {
            Kind::ListObjectsV2 => {
                query.retain(|name| name != "continuation-token");
                set(&mut query, "start-after", marker);
            }
            Kind::ListObjectVersions => {
                query.retain(|name| name != "version-id-marker");
                set(&mut query, "key-marker", marker);
            }
            _ => set(&mut query, "marker", marker),
        }
        query
    }

    /// The same listing from where the store says that the next page begins.
    fn after(&self, query: &Query, page: &Page<'_>) -> Result<Query, StoreError> {
        let mut query = query.clone();
        let last = || page.items.iter().map(|item| item.name.clone()).max();
        let malformed = || StoreError::Malformed("listing does not say where it goes on");
        match self.call.endpoint.kind {
            Kind::ListObjectsV2 => {
                let token = page.next("NextContinuationToken").ok_or_else(malformed)?;
                set(&mut query, "continuation-token", &token);
            }
            Kind::ListObjectVersions => {
                let key = page.next("NextKeyMarker").ok_or_else(malformed)?;
                set(&mut query, "key-marker", &key);
                query.retain(|name| name != "version-id-marker");
                if let Some(version) = page.next("NextVersionIdMarker") {
                    set(&mut query, "version-id-marker", &version);
                }
            }
            _ => {
                let marker = page
                    .next("NextMarker")
                    .or_else(last)
                    .ok_or_else(malformed)?;
                set(&mut query, "marker", &marker);
            }
        }
        Ok(query)
    }

    /// For each item, whether it is hidden.
    async fn hidden(&self, page: &Page<'_>) -> Result<Vec<bool>, Error> {
        let reserved = &self.service.reserved_prefix;
        let mut hidden = Vec::with_capacity(page.items.len());
        for item in &page.items {
            let common = matches!(item.kind, ItemKind::CommonPrefix);
            hidden.push(if self.service.is_reserved(&item.name) {
                true
            } else if common && reserved.starts_with(&item.name) {
                // A delimiter within the reserved prefix: what is hidden may have neighbours there.
                !self.has_visible(&item.name).await?
            } else {
                false
            });
        }
        Ok(hidden)
    }

    /// Whether anything below `prefix`, which the reserved prefix begins with, is not hidden.
    async fn has_visible(&self, prefix: &str) -> Result<bool, Error> {
        let mut query = passed_on(&self.call.query);
        query.retain(|name| matches!(name, "versions" | "list-type"));
        set(&mut query, "prefix", prefix);
        set(&mut query, "max-keys", "1");
        let behind = format!("{}~", self.service.reserved_prefix);
        for query in [query.clone(), self.from(&query, &behind)] {
            let answer = self.ask(query).await?;
            let document = self.call.store.document(answer).await?;
            let page = Page::parse(&document)?;
            if page
                .items
                .iter()
                .any(|item| !self.service.is_reserved(&item.name))
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// For each item that is an object and not hidden, what a client is to see, several at a time. `None` also
    /// where it is not there any more.
    async fn shown(&self, page: &Page<'_>, hidden: &[bool]) -> Result<Vec<Option<Shown>>, Error> {
        let mut shown: Vec<Option<Shown>> = page.items.iter().map(|_| None).collect();
        let mut waiting = page.items.iter().zip(hidden).enumerate().filter_map(
            |(at, (item, hidden))| match &item.kind {
                ItemKind::Object(entry) if !hidden => Some((at, item.name.as_str(), entry)),
                _ => None,
            },
        );
        let mut pending = FuturesUnordered::new();
        loop {
            while pending.len() < self.service.list_concurrency.max(1)
                && let Some((at, key, entry)) = waiting.next()
            {
                match self.known(key, entry) {
                    Some(known) => shown[at] = Some(known),
                    None => pending.push(async move { (at, self.show(key, entry).await) }),
                }
            }
            match pending.next().await {
                Some((at, one)) => shown[at] = one?,
                None => return Ok(shown),
            }
        }
    }

    /// Plaintext length of an object that was sealed in one piece, from its stored length.
    fn by_length(entry: &Entry<'_>) -> Option<u64> {
        let single = !entry.store_etag.contains('-');
        Layout::from_stored_len(SegmentSize::GATEWAY, entry.stored_len)
            .ok()
            .filter(|_| single)
            .map(|layout| layout.plaintext_len())
    }

    /// What a client is to see of one entry, from its length or from the cache.
    fn known(&self, key: &str, entry: &Entry<'_>) -> Option<Shown> {
        let settings = self.settings;
        if settings.etag == EtagMode::Opaque
            && settings.plaintext == Plaintext::Refuse
            && settings.formats.is_none()
            && let Some(len) = Self::by_length(entry)
        {
            return Some(Shown {
                len,
                etag: shown_etag(settings, FactTag::Opaque, &entry.store_etag),
                // Its footer is not asked for, so that it is the same whatever the cache happens to hold.
                checksum: None,
            });
        }
        let fact = self.service.facts.find(&FactKey {
            bucket: self.call.endpoint.bucket.as_str(),
            key,
            store_etag: &entry.store_etag,
            stored_len: entry.stored_len,
        })?;
        // The day until which those are read may have passed since.
        let read = |formats: &Formats| formats.read_at((self.service.now)());
        if fact.tag == FactTag::Foreign && !settings.formats.as_deref().is_some_and(read) {
            return None;
        }
        let etag = shown_etag(settings, fact.tag, &entry.store_etag);
        Some(Shown {
            len: fact.plaintext_len,
            etag,
            checksum: fact.checksum,
        })
    }

    /// What a client is to see of one entry, from its footer; `None` where it is not there any more.
    async fn show(&self, key: &str, entry: &Entry<'_>) -> Result<Option<Shown>, Error> {
        let bucket = self.call.endpoint.bucket.as_str();
        let versions = self.call.endpoint.kind == Kind::ListObjectVersions;
        let target = Target {
            store: &self.call.store,
            bucket,
            key,
            version: entry.version.as_deref().filter(|_| versions),
            headers: self.read.clone(),
        };
        Ok(Some(match self.service.find(&target).await {
            Ok(found) => Shown {
                len: found.len,
                checksum: found.checksum(),
                etag: found.etag,
            },
            Err(Error::Integrity(kind)) => {
                metrics::integrity_failure(kind.label());
                tracing::warn!(
                    bucket,
                    key,
                    kind = kind.label(),
                    "listed object does not verify"
                );
                Shown {
                    len: entry.stored_len,
                    etag: entry.store_etag.clone(),
                    checksum: None,
                }
            }
            Err(Error::Store(error)) if error.status() == Some(StatusCode::NOT_FOUND) => {
                return Ok(None);
            }
            // It may be listed and not read.
            Err(Error::Store(error))
                if error
                    .status()
                    .is_some_and(|status| status.is_client_error()) =>
            {
                Shown {
                    len: Self::by_length(entry).unwrap_or(entry.stored_len),
                    etag: shown_etag(self.settings, FactTag::Opaque, &entry.store_etag),
                    checksum: None,
                }
            }
            Err(error) => return Err(error),
        }))
    }
}

/// The length of page that a client asked for.
fn asked_for(query: &Query) -> usize {
    let asked = query.first("max-keys").and_then(|text| text.parse().ok());
    asked.unwrap_or(PAGE).min(PAGE)
}

/// Sets a parameter in place of those of its name.
fn set(query: &mut Query, name: &str, value: &str) {
    query.retain(|found| found != name);
    query.push(name, value);
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
