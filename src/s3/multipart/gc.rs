//! Finds what uploads that are over and jobs that were killed left behind, and on demand ends uploads that nobody goes on with.

use std::fmt;

use http::Method;

use super::super::Error;
use super::super::call::Service;
use super::super::jobs::PROBES;
use super::super::listing::{ItemKind, Page};
use super::staging::{self, FOLDER, Staging};
use super::state::{self, Described};
use super::xml::{folders, parse_parts};
use super::{is_over, uploads};
use crate::store::{Request, Store};

/// Held parts whose state cannot be found are left alone for so long, in seconds: a request may be about to write it.
const GRACE: i64 = 24 * 60 * 60;
/// A job needs its temporary object for moments only; clocks may differ by more.
const PROBE_GRACE: u64 = 60 * 60;

/// What is to be done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// End uploads that were begun more than so many seconds ago.
    pub older_than: Option<u64>,
    /// Only say what would be done.
    pub dry_run: bool,
}

/// What was found of one upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    InProgress,
    /// It was completed or aborted: its temporary objects are removed.
    Over,
    /// It was begun too long ago: it is aborted, and its temporary objects are removed.
    Abandoned,
    /// Temporary objects without a state: they are removed.
    Orphaned,
    /// The same, but they may be quite new: left alone.
    Unsettled,
    /// No upload: a job that was killed asked the store something with it. It is removed.
    Probe,
    /// Its state does not open, so nothing is known of it: left alone.
    Unreadable(String),
}

/// One upload's temporary objects.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Where they stand.
    pub bucket: String,
    /// What their keys begin with.
    pub folder: String,
    /// Bucket and key of the upload, where that is known.
    pub object: Option<(String, String)>,
    /// What it is.
    pub verdict: Verdict,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.verdict == Verdict::Probe {
            return write!(f, "left by a killed job ({}/{})", self.bucket, self.folder);
        }
        match &self.object {
            Some((bucket, key)) => write!(f, "{bucket}/{key}")?,
            None => write!(f, "unknown object")?,
        }
        let text = match &self.verdict {
            Verdict::InProgress => "in progress",
            Verdict::Over => "completed or aborted",
            Verdict::Abandoned => "abandoned",
            Verdict::Orphaned => "without state",
            Verdict::Unsettled => "without state, but recent: left alone",
            Verdict::Probe => "left by a killed job",
            Verdict::Unreadable(why) => return write!(f, ": cannot be read ({why}): left alone"),
        };
        write!(f, ": {text} ({}/{})", self.bucket, self.folder)
    }
}

impl Verdict {
    /// Whether there is something to remove.
    pub fn removes(&self) -> bool {
        matches!(
            self,
            Self::Over | Self::Abandoned | Self::Orphaned | Self::Probe
        )
    }
}

/// Totals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Uploads that go on.
    pub in_progress: u64,
    /// Uploads whose temporary objects are removed, and what jobs left.
    pub removed: u64,
    /// Uploads that were aborted among them.
    pub aborted: u64,
    /// Uploads that could not be settled.
    pub left: u64,
}

/// Looks through the temporary objects of one bucket; `report` hears of each upload before anything of it is removed.
///
/// # Errors
/// [`Error`] of the first request that fails; what was removed before stays removed.
pub async fn collect(
    service: &Service,
    bucket: &str,
    options: Options,
    mut report: impl FnMut(&Finding),
) -> Result<Summary, Error> {
    let mut summary = Summary::default();
    let mut after = String::new();
    loop {
        let (names, next) = page(service, bucket, &after).await?;
        for folder in names {
            let finding = examine(service, bucket, folder, options).await?;
            report(&finding.0);
            let (finding, described) = finding;
            match finding.verdict {
                Verdict::InProgress => summary.in_progress += 1,
                Verdict::Unreadable(_) | Verdict::Unsettled => summary.left += 1,
                _ => summary.removed += 1,
            }
            if finding.verdict == Verdict::Abandoned {
                summary.aborted += 1;
            }
            if options.dry_run || !finding.verdict.removes() {
                continue;
            }
            if let (Verdict::Abandoned, Some(upload)) = (&finding.verdict, &described) {
                let request = Request::object(Method::DELETE, &upload.bucket, &upload.key)
                    .query("uploadId", &upload.upload_id);
                match service.own.send("AbortMultipartUpload", request).await {
                    Ok(_) => {}
                    Err(error) if is_over(&error) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            staging::remove_all(&service.own, bucket, &finding.folder).await?;
        }
        match next {
            Some(next) => after = next,
            None => break,
        }
    }
    for (key, id) in probing(service, bucket, options).await? {
        report(&Finding {
            bucket: bucket.to_owned(),
            folder: key.clone(),
            object: None,
            verdict: Verdict::Probe,
        });
        summary.removed += 1;
        if options.dry_run {
            continue;
        }
        let request = Request::object(Method::DELETE, bucket, &key).query("uploadId", &id);
        match service.own.send("AbortMultipartUpload", request).await {
            Ok(_) => {}
            Err(error) if is_over(&error) => {}
            Err(error) => return Err(error.into()),
        }
    }
    for folder in probes(service, bucket, options).await? {
        let finding = Finding {
            bucket: bucket.to_owned(),
            folder,
            object: None,
            verdict: Verdict::Probe,
        };
        report(&finding);
        summary.removed += 1;
        if !options.dry_run {
            staging::remove_all(&service.own, bucket, &finding.folder).await?;
        }
    }
    Ok(summary)
}

/// What jobs left before this time, in seconds since 1970, they will not need any more.
fn before(service: &Service, options: Options) -> i64 {
    let age = options.older_than.unwrap_or(PROBE_GRACE);
    (service.now)().saturating_sub(age.try_into().unwrap_or(i64::MAX))
}

/// Keys and ids of uploads that jobs began to ask the store for its conditions, and that have been there for too long.
async fn probing(
    service: &Service,
    bucket: &str,
    options: Options,
) -> Result<Vec<(String, String)>, Error> {
    let prefix = format!("{}{PROBES}", service.reserved_prefix);
    let request = Request::bucket(Method::GET, bucket)
        .query("uploads", "")
        .query("prefix", &prefix);
    let answer = match service.own.send("ListMultipartUploads", request).await {
        Ok(answer) => answer,
        // Not every store lists uploads.
        Err(error) if matches!(error.status().map(|s| s.as_u16()), Some(400 | 405 | 501)) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(error.into()),
    };
    let document = service.own.document(answer).await?;
    let before = before(service, options);
    let page = uploads::Page::parse(&document)?;
    let old = page.uploads.into_iter().filter(|upload| {
        upload.key.starts_with(&prefix)
            && upload
                .initiated
                .as_deref()
                .and_then(|at| crate::protocol::date::parse_iso8601(at).ok())
                .is_some_and(|at| at < before)
    });
    Ok(old.map(|upload| (upload.key, upload.id)).collect())
}

/// Temporary objects of jobs that have been there for too long, one page of them: a killed job leaves one at most.
async fn probes(service: &Service, bucket: &str, options: Options) -> Result<Vec<String>, Error> {
    let prefix = format!("{}{PROBES}", service.reserved_prefix);
    let request = Request::bucket(Method::GET, bucket)
        .query("list-type", "2")
        .query("encoding-type", "url")
        .query("prefix", &prefix);
    let answer = service.own.send("ListTemporary", request).await?;
    let document = service.own.document(answer).await?;
    let before = before(service, options);
    let page = Page::parse(&document)?;
    let old = page.items.iter().filter(|item| match &item.kind {
        ItemKind::Object(entry) => entry
            .child("LastModified")
            .and_then(|at| crate::protocol::date::parse_iso8601(at).ok())
            .is_some_and(|at| at < before),
        _ => false,
    });
    let names = old.map(|item| item.name.clone());
    Ok(names
        // A store that ignores the prefix must not have us delete anything else.
        .filter(|name| name.len() > prefix.len() && name.starts_with(&prefix))
        .collect())
}

/// The buckets that the gateway's own credentials see.
///
/// # Errors
/// [`Error`].
pub async fn buckets(service: &Service) -> Result<Vec<String>, Error> {
    let request = Request::service(Method::GET);
    let answer = service.own.send("ListBuckets", request).await?;
    let document = service.own.document(answer).await?;
    let mut names = Vec::new();
    super::super::xml::filter_buckets(&document, |name| {
        names.push(name.to_owned());
        true
    })?;
    Ok(names)
}

/// The folders of uploads, one page of them, and where the next begins.
async fn page(
    service: &Service,
    bucket: &str,
    after: &str,
) -> Result<(Vec<String>, Option<String>), Error> {
    let prefix = format!("{}{FOLDER}", service.reserved_prefix);
    let mut request = Request::bucket(Method::GET, bucket)
        .query("list-type", "2")
        .query("delimiter", "/")
        .query("prefix", &prefix);
    if !after.is_empty() {
        request = request.query("continuation-token", after);
    }
    let answer = service.own.send("ListTemporary", request).await?;
    let document = service.own.document(answer).await?;
    let (mut names, next) = folders(&document)?;
    // A store that ignores the prefix must not have us delete anything else.
    names.retain(|name| name.len() > prefix.len() && name.starts_with(&prefix));
    Ok((names, next))
}

async fn examine(
    service: &Service,
    bucket: &str,
    folder: String,
    options: Options,
) -> Result<(Finding, Option<Described>), Error> {
    let staging = Staging {
        store: service.own.clone(),
        spare: None,
        bucket: bucket.to_owned(),
        folder: folder.clone(),
    };
    let found = |object, verdict| Finding {
        bucket: bucket.to_owned(),
        folder: folder.clone(),
        object,
        verdict,
    };
    let described = match state::describe(service, &staging).await {
        Ok(Some(described)) => described,
        Ok(None) => {
            let recent = newest(&staging).await? > (service.now)() - GRACE;
            let verdict = if recent {
                Verdict::Unsettled
            } else {
                Verdict::Orphaned
            };
            return Ok((found(None, verdict), None));
        }
        Err(Error::Integrity(kind)) => {
            return Ok((found(None, Verdict::Unreadable(kind.to_string())), None));
        }
        Err(error) => return Err(error),
    };
    let place = Staging::at(
        service,
        &service.own,
        &described.bucket,
        &described.key,
        &described.upload_id,
    );
    let object = Some((described.bucket.clone(), described.key.clone()));
    if place.folder != folder || place.bucket != bucket {
        let why = "the state is of another upload".to_owned();
        return Ok((found(object, Verdict::Unreadable(why)), None));
    }
    let verdict = if !goes_on(&service.own, &described).await? {
        Verdict::Over
    } else if options.older_than.is_some_and(|age| {
        u64::try_from((service.now)()).unwrap_or_default() > described.created.saturating_add(age)
    }) {
        Verdict::Abandoned
    } else {
        Verdict::InProgress
    };
    Ok((found(object, verdict), Some(described)))
}

/// Whether the store still has the upload.
async fn goes_on(store: &Store, upload: &Described) -> Result<bool, Error> {
    let request = Request::object(Method::GET, &upload.bucket, &upload.key)
        .query("uploadId", &upload.upload_id)
        .query("max-parts", "1");
    match store.send("ListParts", request).await {
        Ok(answer) => {
            parse_parts(&store.document(answer).await?)?;
            Ok(true)
        }
        Err(error) if is_over(&error) || error.code() == "NoSuchBucket" => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// When the newest held part was written, in seconds since 1970; now where that cannot be told.
async fn newest(staging: &Staging) -> Result<i64, Error> {
    let held = staging.held_parts(0, 1000).await?;
    Ok(held
        .iter()
        .map(|part| crate::protocol::date::parse_iso8601(&part.last_modified).unwrap_or(i64::MAX))
        .max()
        .unwrap_or(i64::MAX))
}
