//! ListParts, which shows held parts too and plaintext sizes.

use std::collections::BTreeMap;

use http::{HeaderMap, Method, StatusCode};

use super::super::call::{Call, Response, Service};
use super::super::object::quoted;
use super::super::xml::Writer;
use super::super::{Error, meta};
use super::complete::{is_table_and_footer, is_tail, part_plaintext_len};
use super::staging::{Staging, is_denied};
use super::state::Wanted;
use super::xml::{PartsPage, StoredPart, parse_parts};
use super::{refused, state, upload_id};
use crate::store::{Request, Store};

/// Parts on one page (S3: 1,000).
const MAX_PAGE: usize = 1_000;

/// Answers ListParts.
///
/// # Errors
/// [`Error`].
pub async fn list_parts(service: &Service, call: Call) -> Result<Response, Error> {
    let id = upload_id(&call)?;
    let max = number(&call, "max-parts")?.map_or(MAX_PAGE, |max| max as usize);
    let after = number(&call, "part-number-marker")?.unwrap_or(0);
    let after = u16::try_from(after).unwrap_or(u16::MAX);
    let staging = Staging::of(service, &call, id);
    let upload = state::load(service, &call, &staging, id).await?;
    let max = max.min(MAX_PAGE);
    // One more than asked for tells whether there are more.
    let stored = page(
        &call.store,
        &call,
        id,
        after,
        max.saturating_add(1).min(MAX_PAGE),
    )
    .await
    .inspect_err(|_| service.uploads.forget(&staging))?;
    let held = staging
        .held_parts(after, max.saturating_add(1))
        .await?
        .into_iter()
        .map(|part| {
            let shown = StoredPart {
                number: part.number.get(),
                etag: part.store_etag,
                stored_len: part.stored_len,
                last_modified: part.last_modified,
            };
            (shown.number, shown)
        });
    let mut parts: BTreeMap<u16, StoredPart> = stored
        .parts
        .into_iter()
        // Table and footer of a completion that failed are no part of the client's.
        .filter(|part| !is_tail(service, part.stored_len, upload.checksum))
        .map(|part| (part.number, part))
        .collect();
    // Where the store's page ends and there are more, nothing behind it can be shown yet.
    let end = stored.next.unwrap_or(u16::MAX);
    for (number, part) in held.filter(|(number, _)| *number <= end) {
        match parts.get(&number) {
            // A part that was uploaded again with another length may be in both places: the later one counts. But a held
            // part that a failed completion joined with table and footer is the held part.
            Some(other)
                if other.last_modified > part.last_modified
                    && !other
                        .stored_len
                        .checked_sub(part.stored_len)
                        .is_some_and(|more| is_table_and_footer(more, upload.checksum)) => {}
            _ => {
                parts.insert(number, part);
            }
        }
    }
    let more = stored.next.is_some() || parts.len() > max;
    let mut xml = Writer::new("ListPartsResult");
    xml.text("Bucket", &call.endpoint.bucket);
    xml.text("Key", &call.endpoint.key);
    xml.text("UploadId", id);
    for (name, inner) in &stored.others {
        xml.raw(name, inner);
    }
    xml.text("PartNumberMarker", &after.to_string());
    let shown: Vec<&StoredPart> = parts.values().take(max).collect();
    let next = shown.last().map_or(after, |part| part.number);
    xml.text("NextPartNumberMarker", &next.to_string());
    xml.text("MaxParts", &max.to_string());
    xml.text(
        "IsTruncated",
        if more && max > 0 { "true" } else { "false" },
    );
    // S3 says "null" of an upload for which nobody asked for one.
    let wanted = upload.checksum;
    let algorithm = wanted.map_or("null", |wanted| wanted.algorithm.name());
    xml.text("ChecksumAlgorithm", algorithm);
    let kind = wanted.map_or("null", Wanted::type_name);
    xml.text("ChecksumType", kind);
    for part in shown {
        xml.open("Part");
        xml.text("PartNumber", &part.number.to_string());
        xml.text("LastModified", &part.last_modified);
        xml.text("ETag", &quoted(&listed_etag(&part.etag)));
        xml.text("Size", &part_plaintext_len(part.stored_len)?.to_string());
        xml.close("Part");
    }
    Ok(Response::xml(
        StatusCode::OK,
        HeaderMap::new(),
        xml.finish(),
    ))
}

/// The ETag that a listing shows for a part: the store's, marked, so that no client takes it for an MD5. Completion
/// accepts it in place of the receipt.
pub fn listed_etag(store_etag: &str) -> String {
    format!("{store_etag}-1")
}

/// A query value that is a number that is not negative.
///
/// # Errors
/// [`Error::InvalidArgument`].
pub fn number(call: &Call, name: &'static str) -> Result<Option<u32>, Error> {
    match call.parameter(name).filter(|text| !text.is_empty()) {
        None => Ok(None),
        Some(text) => match text.parse::<i32>() {
            Ok(number) if number >= 0 => Ok(Some(number as u32)),
            _ => Err(Error::InvalidArgument {
                name,
                problem: "the value must be an integer between 0 and 2147483647",
            }),
        },
    }
}

/// One page of the store's parts.
async fn page(
    store: &Store,
    call: &Call,
    id: &str,
    after: u16,
    max: usize,
) -> Result<PartsPage, Error> {
    let mut request = Request::object(Method::GET, &call.endpoint.bucket, &call.endpoint.key)
        .query("uploadId", id)
        .query("max-parts", &max.max(1).to_string());
    if after > 0 {
        request = request.query("part-number-marker", &after.to_string());
    }
    request.headers = meta::read_settings(&call.headers);
    match store.send("ListParts", request).await {
        Ok(answer) => {
            let document = store.document(answer).await?;
            Ok(parse_parts(&document)?)
        }
        Err(error) => Err(refused(error)),
    }
}

/// All parts that the store has of an upload, by number. Who may complete an upload need not be one who may list it,
/// and does not see this list: the gateway's own credentials do where the user's do not.
///
/// # Errors
/// [`Error::NoSuchUpload`], or the store's failure.
pub async fn stored_parts(
    service: &Service,
    call: &Call,
    id: &str,
) -> Result<BTreeMap<u16, StoredPart>, Error> {
    let mut store = &call.store;
    let mut parts = BTreeMap::new();
    let mut after = 0;
    loop {
        let page = match page(store, call, id, after, MAX_PAGE).await {
            Err(Error::Store(error)) if is_denied(&error) && !store.signs_as(&service.own) => {
                store = &service.own;
                continue;
            }
            page => page?,
        };
        parts.extend(page.parts.into_iter().map(|part| (part.number, part)));
        match page.next {
            Some(next) if next > after => after = next,
            _ => return Ok(parts),
        }
    }
}
