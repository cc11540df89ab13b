//! Reading objects in parts: their table, the entries that a range needs, and `?partNumber=`.

use std::ops::Range;

use http::header::{CONTENT_RANGE, RANGE};
use http::{HeaderMap, HeaderName, StatusCode};

use super::Error;
use super::call::{Call, set};
use super::object::{self, Content, Found, Target};
use super::xml::Writer;
use crate::aead::{
    ChecksumType, FOOTER_LEN, Layout, PartEntry, PartNumber, STREAM_HEADER_LEN, SegmentSize,
    StreamHeader,
};
use crate::envelope::{Info, Record};
use crate::formats::v1::{Sealed, protocol_checksum};
use crate::formats::{Integrity, Place, longest_table};
use crate::protocol::range::{ByteRange, RangeSpec};

/// The last bytes of an object to ask for where its table is wanted as well: a table of about 80 parts
/// comes along.
pub const LONG_TAIL: u64 = 8 * 1024 + FOOTER_LEN as u64;

/// `partNumber` of a request.
///
/// # Errors
/// [`Error::InvalidArgument`], and [`Error::InvalidRequest`] where there is a range as well.
pub fn part_number(call: &Call) -> Result<Option<PartNumber>, Error> {
    let Some(text) = call.parameter("partNumber") else {
        return Ok(None);
    };
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits
        .then(|| text.parse().ok())
        .flatten()
        .and_then(PartNumber::new)
        .ok_or(Error::InvalidArgument {
            name: "partNumber",
            problem: "Part number must be an integer between 1 and 10000, inclusive",
        })?;
    if call.headers.contains_key(RANGE) {
        return Err(Error::InvalidRequest(
            "Cannot specify both Range header and partNumber query parameter",
        ));
    }
    Ok(Some(number))
}

/// How many of the last bytes to ask for beside a whole object: the footer alone where all that is known
/// says that it is one stream, else about as many as its part table may have. A guess, which costs one more
/// request where it is wrong.
pub fn tail_len(record: &Record, stored_len: u64) -> u64 {
    let declared = Info::decode(&record.info)
        .ok()
        .and_then(|info| info.plaintext_len);
    // A gateway names the length of whatever comes in one piece.
    let one_stream = declared.is_some_and(|len| {
        (12..=22)
            .filter_map(|bit| SegmentSize::new(1 << bit).ok())
            .filter_map(|size| Layout::from_plaintext_len(size, len).ok())
            .any(|layout| layout.stored_len() == stored_len)
    });
    if one_stream {
        FOOTER_LEN as u64
    } else {
        let table = longest_table(stored_len) + FOOTER_LEN as u64;
        table.max(LONG_TAIL).min(stored_len)
    }
}

/// Reads the part table, where the object has one and it has not come along; false where another object
/// stands there now.
///
/// # Errors
/// [`Error`].
pub async fn read_table(target: &Target<'_>, found: &mut Found) -> Result<bool, Error> {
    let Some(stored) = unread(found) else {
        return Ok(true);
    };
    let Some(bytes) = read(target, found, &stored).await? else {
        return Ok(false);
    };
    if let Content::Sealed(sealed) = &mut found.content {
        sealed.read_table(&bytes)?;
    }
    Ok(true)
}

/// Where the part table stands that has not been read.
fn unread(found: &Found) -> Option<Range<u64>> {
    let Content::Sealed(sealed) = &found.content else {
        return None;
    };
    let table = sealed.parts()?;
    table.entries().is_none().then(|| table.stored())
}

/// Reads a few stored bytes; `None` where another object stands there now.
async fn read(
    target: &Target<'_>,
    found: &Found,
    stored: &Range<u64>,
) -> Result<Option<bytes::Bytes>, Error> {
    match object::range(target, found, "GetTable", stored).await? {
        None => Ok(None),
        Some(answer) => {
            let bytes = object::read_exactly(target, answer, stored.clone()).await?;
            Ok(Some(bytes))
        }
    }
}

/// The entries of the parts of a place, the first with its stream's header where that is needed; `None`
/// where another object stands there now. Asks the store for what is not at hand.
///
/// # Errors
/// [`Error`].
pub async fn entries(
    target: &Target<'_>,
    found: &Found,
    sealed: &Sealed,
    place: &Place,
) -> Result<Option<Vec<PartEntry>>, Error> {
    let Some(table) = sealed.parts() else {
        return Ok(Some(Vec::new()));
    };
    let parts = place.parts.clone();
    let mut entries = match table.entries() {
        Some((entries, _)) => entries
            .get(usize::from(parts.start)..usize::from(parts.end))
            .unwrap_or_default()
            .to_vec(),
        None => match read(target, found, &table.stored_entries(parts.clone())).await? {
            Some(bytes) => table.open_entries(parts, &bytes)?,
            None => return Ok(None),
        },
    };
    if let Some(stored) = place.header()
        && let Some(first) = entries.first_mut()
        && first.header.is_none()
    {
        // Not pinned: the segments authenticate whatever salt stands there.
        let Some(bytes) = read(target, found, &stored).await? else {
            return Ok(None);
        };
        let header = bytes
            .first_chunk::<STREAM_HEADER_LEN>()
            .and_then(|header| StreamHeader::decode(header).ok())
            .ok_or(Integrity::Preamble)?;
        first.header = Some(header);
    }
    Ok(Some(entries))
}

/// A part that was asked for by its number.
pub struct Chosen {
    /// The plaintext that it holds.
    pub plaintext: Range<u64>,
    /// What the table says of it. None of an object of one stream, or before the table was read: then the
    /// plaintext is a guess, right if the entry that comes with it has the number.
    pub entry: Option<PartEntry>,
    /// Parts of the object; none of an object of one stream.
    pub count: Option<u16>,
}

/// Finds a part by its number. `None` where that takes the table.
///
/// # Errors
/// [`Error::InvalidPartNumber`].
pub fn choose(found: &Found, number: PartNumber) -> Result<Option<Chosen>, Error> {
    let table = match &found.content {
        Content::Sealed(sealed) => sealed.parts().map(|table| (sealed, table)),
        _ => None,
    };
    let no_such = |count| Error::InvalidPartNumber {
        number: number.get(),
        count,
    };
    let Some((sealed, table)) = table else {
        // One stream counts as one part.
        return if number.get() == 1 {
            Ok(Some(Chosen {
                plaintext: 0..found.len,
                entry: None,
                count: None,
            }))
        } else {
            Err(no_such(1))
        };
    };
    let count = table.parts.count;
    let chosen = |plaintext, entry| Chosen {
        plaintext,
        entry,
        count: Some(count),
    };
    match table.entries() {
        Some((entries, _)) => {
            let (index, plaintext) = table.find(number).ok_or_else(|| no_such(count))?;
            let entry = entries.get(usize::from(index)).copied();
            Ok(Some(chosen(plaintext, entry)))
        }
        // Most uploads number their parts from 1 on.
        None => Ok(table
            .guess(&sealed.footer, number.get() - 1)
            .filter(|plaintext| !plaintext.is_empty())
            .map(|plaintext| chosen(plaintext, None))),
    }
}

/// The headers that tell of a part: its range, the number of parts, and its checksum where that is asked for.
pub fn set_part(
    call: &Call,
    headers: &mut HeaderMap,
    found: &Found,
    chosen: &Chosen,
) -> StatusCode {
    // No range can be written of an empty part, and an answer without one is not partial.
    let mut status = StatusCode::OK;
    if let Some(range) = byte_range(&chosen.plaintext, found.len) {
        set(headers, CONTENT_RANGE, &range.content_range());
        status = StatusCode::PARTIAL_CONTENT;
    }
    if let Some(count) = chosen.count {
        let name = HeaderName::from_static("x-amz-mp-parts-count");
        headers.insert(name, count.into());
    }
    if !checksum_wanted(call) {
        return status;
    }
    match (&chosen.entry, &found.content) {
        (Some(entry), Content::Sealed(sealed)) => {
            if let Some(checksum) = entry.checksum.as_ref().and_then(protocol_checksum) {
                let name = HeaderName::from_static(checksum.algorithm().header());
                set(headers, name, &checksum.to_base64());
                set_checksum_type(headers, sealed);
            }
        }
        (None, Content::Sealed(sealed)) if chosen.count.is_none() => set_checksum(headers, sealed),
        _ => {}
    }
    status
}

/// Whether the client asks for checksums.
pub fn checksum_wanted(call: &Call) -> bool {
    call.header(HeaderName::from_static("x-amz-checksum-mode"))
        .is_some_and(|mode| mode.eq_ignore_ascii_case("enabled"))
}

/// `x-amz-checksum-*` of an object, where its writer gave one.
pub fn set_checksum(headers: &mut HeaderMap, sealed: &Sealed) {
    if let Some(checksum) = sealed.checksum() {
        let name = HeaderName::from_static(checksum.algorithm().header());
        set(
            headers,
            name,
            &shown_checksum(sealed, &checksum.to_base64()),
        );
        set_checksum_type(headers, sealed);
    }
}

/// The same as XML elements.
pub fn write_checksum(xml: &mut Writer, sealed: &Sealed) {
    if let Some(checksum) = sealed.checksum() {
        let value = shown_checksum(sealed, &checksum.to_base64());
        xml.text(checksum.algorithm().element(), &value);
        xml.text("ChecksumType", checksum_type(sealed));
    }
}

/// An object's checksum as S3 shows it: a composite one names the number of parts.
pub fn shown_checksum(sealed: &Sealed, base64: &str) -> String {
    match sealed.composite_of() {
        Some(count) => format!("{base64}-{count}"),
        None => base64.to_owned(),
    }
}

/// The type of an object's checksum as S3 spells it.
pub fn checksum_type(sealed: &Sealed) -> &'static str {
    type_name(sealed.footer.checksum_type)
}

/// A checksum type as S3 spells it.
pub fn type_name(kind: ChecksumType) -> &'static str {
    match kind {
        ChecksumType::Composite => "COMPOSITE",
        ChecksumType::FullObject => "FULL_OBJECT",
    }
}

fn set_checksum_type(headers: &mut HeaderMap, sealed: &Sealed) {
    let name = HeaderName::from_static("x-amz-checksum-type");
    set(headers, name, checksum_type(sealed));
}

/// A range of an object; none of no bytes.
pub fn byte_range(plaintext: &Range<u64>, total: u64) -> Option<ByteRange> {
    let last = plaintext.end.checked_sub(1)?;
    let first = plaintext.start;
    RangeSpec::Bounded { first, last }
        .resolve(total)
        .ok()
        .flatten()
        .filter(|_| first <= last)
}
