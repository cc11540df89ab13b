//! Uploads in parts. The parts of an upload stay where they are when it becomes an object: completing it writes one
//! record, and where in the object each part begins.

use std::ops::Range;

use redb::{ReadableDatabase, ReadableTable};

use super::assembly::{Claims, MAX_PART_NUMBER, assemble};
use super::{
    Body, Catalog, CatalogError, Condition, Garbage, OBJECTS, PARTS, Part, Record, UPLOADS, Upload,
    decode, remove_parts, replace, require,
};

impl Catalog {
    pub(crate) fn create_upload(
        &self,
        bucket: &str,
        key: &str,
        id: &str,
        upload: &Upload,
    ) -> Result<(), CatalogError> {
        let encoded = serde_json::to_vec(upload)?;
        let transaction = self.write()?;
        {
            require(&transaction, bucket)?;
            let mut uploads = transaction.open_table(UPLOADS)?;
            uploads.insert((bucket, key.as_bytes(), id), encoded.as_slice())?;
        }
        transaction.commit()?;
        Ok(())
    }

    /// An upload that is neither completed nor aborted.
    pub(crate) fn upload(&self, bucket: &str, key: &str, id: &str) -> Result<Upload, CatalogError> {
        self.require_bucket(bucket)?;
        let uploads = self.database.begin_read()?.open_table(UPLOADS)?;
        decode(uploads.get((bucket, key.as_bytes(), id))?)?.ok_or(CatalogError::NoSuchUpload)
    }

    /// Writes a part, and returns what only the one that it replaced had named.
    pub(crate) fn put_part(
        &self,
        bucket: &str,
        key: &str,
        id: &str,
        number: u32,
        part: &Part,
    ) -> Result<Garbage, CatalogError> {
        let encoded = serde_json::to_vec(part)?;
        let transaction = self.write()?;
        let replaced: Option<Part> = {
            require(&transaction, bucket)?;
            let uploads = transaction.open_table(UPLOADS)?;
            if uploads.get((bucket, key.as_bytes(), id))?.is_none() {
                return Err(CatalogError::NoSuchUpload);
            }
            let mut parts = transaction.open_table(PARTS)?;
            decode(parts.insert((id, number), encoded.as_slice())?)?
        };
        transaction.commit()?;
        Ok(Garbage {
            // Nobody reads the parts of an upload.
            upload: None,
            blobs: replaced.into_iter().map(|part| part.blob).collect(),
        })
    }

    /// Parts of an upload, or of the object that it became, by number: those after `after`, at most `limit` of them,
    /// and whether there are more.
    pub(crate) fn parts(
        &self,
        id: &str,
        after: u32,
        limit: usize,
    ) -> Result<(Vec<(u32, Part)>, bool), CatalogError> {
        let parts = self.database.begin_read()?.open_table(PARTS)?;
        let mut page = Vec::new();
        let Some(first) = after.checked_add(1) else {
            return Ok((page, false));
        };
        for entry in parts.range((id, first)..=(id, u32::MAX))? {
            if page.len() == limit {
                return Ok((page, true));
            }
            let (place, part) = entry?;
            page.push((place.value().1, serde_json::from_slice(part.value())?));
        }
        Ok((page, false))
    }

    /// One part.
    pub(crate) fn part(&self, id: &str, number: u32) -> Result<Option<Part>, CatalogError> {
        let parts = self.database.begin_read()?.open_table(PARTS)?;
        decode(parts.get((id, number))?)
    }

    /// The parts of an object that hold these bytes, in order; nothing where the object is gone.
    pub(crate) fn parts_of(
        &self,
        id: &str,
        range: &Range<u64>,
    ) -> Result<Option<Vec<Part>>, CatalogError> {
        let parts = self.database.begin_read()?.open_table(PARTS)?;
        // The last part that begins at or before the range. Numbers may have gaps: it lies from `low` on, and what lies
        // from `high` on begins too late.
        let (mut low, mut high) = (0, MAX_PART_NUMBER + 1);
        while low + 1 < high {
            let middle = low + (high - low) / 2;
            let next = parts.range((id, middle)..=(id, u32::MAX))?.next();
            match next.transpose()? {
                Some((place, part)) => {
                    let part: Part = serde_json::from_slice(part.value())?;
                    if part.offset <= range.start {
                        low = place.value().1;
                    } else {
                        high = middle;
                    }
                }
                None => high = middle,
            }
        }
        let mut found = Vec::new();
        for entry in parts.range((id, low)..=(id, u32::MAX))? {
            let part: Part = serde_json::from_slice(entry?.1.value())?;
            if part.offset >= range.end && !found.is_empty() {
                break;
            }
            found.push(part);
        }
        Ok(Some(found).filter(|found| !found.is_empty()))
    }

    /// Removes an upload and its parts.
    pub(crate) fn abort_upload(
        &self,
        bucket: &str,
        key: &str,
        id: &str,
    ) -> Result<Garbage, CatalogError> {
        let transaction = self.write()?;
        let garbage = {
            require(&transaction, bucket)?;
            let mut uploads = transaction.open_table(UPLOADS)?;
            if uploads.remove((bucket, key.as_bytes(), id))?.is_none() {
                return Err(CatalogError::NoSuchUpload);
            }
            remove_parts(&mut transaction.open_table(PARTS)?, id)?
        };
        transaction.commit()?;
        Ok(garbage)
    }

    /// Makes an object of the claimed parts, and returns it with what no record names any more: the parts that were not
    /// claimed, and the object that was there. Asked again for an object that still stands, it only returns it: the
    /// first answer may have been lost.
    pub(crate) fn complete_upload(
        &self,
        bucket: &str,
        key: &str,
        id: &str,
        claims: &Claims,
        condition: &Condition,
        now: u64,
    ) -> Result<(Record, Vec<Garbage>), CatalogError> {
        let transaction = self.write()?;
        let (record, garbage) = {
            require(&transaction, bucket)?;
            let mut uploads = transaction.open_table(UPLOADS)?;
            let upload: Option<Upload> = decode(uploads.remove((bucket, key.as_bytes(), id))?)?;
            let mut parts = transaction.open_table(PARTS)?;
            let mut uploaded = Vec::new();
            for entry in parts.range((id, 0)..=(id, u32::MAX))? {
                let (place, part) = entry?;
                let part: Part = serde_json::from_slice(part.value())?;
                uploaded.push((place.value().1, part));
            }
            let Some(upload) = upload else {
                let objects = transaction.open_table(OBJECTS)?;
                let current: Option<Record> = decode(objects.get((bucket, key.as_bytes()))?)?;
                return current
                    .filter(|record| {
                        matches!(&record.body, Body::Parts { upload, .. } if upload == id)
                            && claims.are(&uploaded)
                    })
                    .map(|record| (record, Vec::new()))
                    .ok_or(CatalogError::NoSuchUpload);
            };

            let assembly = assemble(&upload, uploaded, claims)?;
            for (number, part) in &assembly.parts {
                parts.insert((id, *number), serde_json::to_vec(part)?.as_slice())?;
            }
            let mut left_out = Vec::new();
            for (number, part) in assembly.left_out {
                parts.remove((id, number))?;
                left_out.push(part.blob);
            }
            drop(parts);
            let record = Record {
                body: Body::Parts {
                    upload: id.to_owned(),
                    count: u32::try_from(assembly.parts.len()).unwrap_or(u32::MAX),
                },
                size: assembly.size,
                etag: assembly.etag,
                modified: now,
                attributes: upload.attributes,
                checksums: assembly.checksum.into_iter().collect(),
                composite: upload.composite,
                tags: upload.tags,
            };
            let replaced = replace(&transaction, bucket, key, &record, condition)?;
            let left_out = Garbage {
                upload: None,
                blobs: left_out,
            };
            (record, vec![left_out, replaced])
        };
        transaction.commit()?;
        Ok((record, garbage))
    }
}
