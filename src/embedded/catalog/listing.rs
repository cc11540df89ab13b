//! Pages of keys and of uploads, in the byte order of their keys.

use std::ops::Bound;

use redb::ReadableDatabase;

use super::{BUCKETS, Catalog, CatalogError, OBJECTS, Record, UPLOADS, Upload};

/// Where a listing begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    Beginning,
    /// After this key.
    After(String),
    /// After everything that begins with this common prefix.
    Past(String),
    /// After this upload of this key. For keys, which have no uploads, the same as after the key.
    AfterUpload(String, String),
}

/// A page of a listing, as asked for.
#[derive(Debug)]
pub(crate) struct Query {
    pub(crate) prefix: String,
    /// Never empty.
    pub(crate) delimiter: Option<String>,
    pub(crate) start: Start,
    pub(crate) limit: usize,
}

/// One line of a listing.
#[derive(Debug)]
pub(crate) enum Item<T = Record> {
    Object(String, Box<T>),
    Prefix(String),
}

/// A page of a listing, in the byte order of its keys and prefixes.
#[derive(Debug)]
pub(crate) struct Page<T = Record> {
    pub(crate) items: Vec<Item<T>>,
    /// Whether more follows the last item.
    pub(crate) truncated: bool,
}

impl<T> Default for Page<T> {
    fn default() -> Self {
        Self {
            items: Vec::new(),
            truncated: false,
        }
    }
}

impl Catalog {
    /// A page of objects.
    pub(crate) fn list(&self, bucket: &str, query: &Query) -> Result<Page, CatalogError> {
        let transaction = self.database.begin_read()?;
        if transaction.open_table(BUCKETS)?.get(bucket)?.is_none() {
            return Err(CatalogError::NoSuchBucket);
        }
        let mut page = Page::default();
        if query.limit == 0 {
            return Ok(page);
        }
        let objects = transaction.open_table(OBJECTS)?;
        let mut from = query.from();
        'scan: loop {
            let begin = from.as_ref().map(|key| (bucket, key.as_slice()));
            for entry in objects.range::<(&str, &[u8])>((begin, Bound::Unbounded))? {
                let (place, record) = entry?;
                let (owner, key) = place.value();
                if owner != bucket || !key.starts_with(query.prefix.as_bytes()) {
                    break 'scan;
                }
                if page.items.len() == query.limit {
                    page.truncated = true;
                    break 'scan;
                }
                let key = std::str::from_utf8(key)?;
                if let Some(common) = common_prefix(key, query) {
                    page.items.push(Item::Prefix(common.to_owned()));
                    from = Bound::Included(past(common.as_bytes()));
                    continue 'scan;
                }
                let record = Box::new(serde_json::from_slice(record.value())?);
                page.items.push(Item::Object(key.to_owned(), record));
            }
            break;
        }
        Ok(page)
    }

    /// A page of unfinished uploads with their ids. Those of one key are in the order in which they began.
    pub(crate) fn list_uploads(
        &self,
        bucket: &str,
        query: &Query,
    ) -> Result<Page<(String, Upload)>, CatalogError> {
        let transaction = self.database.begin_read()?;
        if transaction.open_table(BUCKETS)?.get(bucket)?.is_none() {
            return Err(CatalogError::NoSuchBucket);
        }
        let mut page = Page::default();
        if query.limit == 0 {
            return Ok(page);
        }
        let uploads = transaction.open_table(UPLOADS)?;
        let after = match &query.start {
            Start::AfterUpload(key, id) => Some((key.as_bytes(), id.as_str())),
            _ => None,
        };
        // Uploads of the marker's key may still follow, so a key is never skipped by its bound here.
        let (mut from, skip) = match query.from() {
            Bound::Excluded(key) => (key.clone(), Some(key)),
            Bound::Included(key) => (key, None),
            Bound::Unbounded => (Vec::new(), None),
        };
        'scan: loop {
            for entry in uploads.range((bucket, from.as_slice(), "")..)? {
                let (place, upload) = entry?;
                let (owner, key, id) = place.value();
                if owner != bucket || !key.starts_with(query.prefix.as_bytes()) {
                    break 'scan;
                }
                let passed = skip.as_deref() == Some(key)
                    && after.is_none_or(|(marker, marker_id)| marker != key || id <= marker_id);
                if passed {
                    continue;
                }
                if page.items.len() == query.limit {
                    page.truncated = true;
                    break 'scan;
                }
                let key = std::str::from_utf8(key)?;
                if let Some(common) = common_prefix(key, query) {
                    page.items.push(Item::Prefix(common.to_owned()));
                    from = past(common.as_bytes());
                    continue 'scan;
                }
                let upload = serde_json::from_slice(upload.value())?;
                let upload = Box::new((id.to_owned(), upload));
                page.items.push(Item::Object(key.to_owned(), upload));
            }
            break;
        }
        Ok(page)
    }
}

impl Query {
    /// The first key that may be on the page.
    fn from(&self) -> Bound<Vec<u8>> {
        let prefix = self.prefix.as_bytes();
        match &self.start {
            Start::After(key) | Start::AfterUpload(key, _) if key.as_bytes() >= prefix => {
                Bound::Excluded(key.clone().into_bytes())
            }
            Start::Past(common) if common.as_bytes() >= prefix => {
                Bound::Included(past(common.as_bytes()))
            }
            _ => Bound::Included(prefix.to_vec()),
        }
    }
}

/// The part of `key` up to and with the first delimiter after the prefix.
fn common_prefix<'a>(key: &'a str, query: &Query) -> Option<&'a str> {
    let delimiter = query.delimiter.as_deref()?;
    let rest = key.strip_prefix(query.prefix.as_str())?;
    let end = query.prefix.len() + rest.find(delimiter)? + delimiter.len();
    key.get(..end)
}

/// The first string that is greater than everything that begins with `prefix`: UTF-8 has no byte 0xff to carry over.
fn past(prefix: &[u8]) -> Vec<u8> {
    let mut next = prefix.to_vec();
    if let Some(last) = next.last_mut() {
        *last = last.saturating_add(1);
    }
    next
}
