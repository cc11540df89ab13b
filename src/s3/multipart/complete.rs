//! CompleteMultipartUpload: receipts verified, table and footer put behind the last part, then the store's own
//! completion, which is the one moment at which the object changes.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::header::{ETAG, HOST};
use http::{HeaderMap, Method, StatusCode};
use http_body_util::BodyExt;
use md5::{Digest, Md5};

use super::super::call::{Call, Response, Service};
use super::super::facts::{ChecksumKind, Fact, FactTag};
use super::super::object::{self, Content, Found, Target, quoted, shown_etag};
use super::super::put::{Guard, guard_write};
use super::super::xml::{Writer, read_document};
use super::super::{Error, meta};
use super::abort::clean;
use super::listing::stored_parts;
use super::staging::Staging;
use super::state::{self, Upload, Wanted};
use super::xml::{StoredPart, parse_completed};
use super::{MAX_NUMBER, refused, upload_id};
use crate::aead::{
    ChecksumType, Core, Etag, FOOTER_LEN, Footer, Layout, PREAMBLE_LEN, PartEntry, PartNumber,
    PartTable, Parts, Preamble, STREAM_HEADER_LEN, SegmentSize, StreamHeader,
};
use crate::formats::Integrity;
use crate::formats::receipt::{Place, Receipt, ReceiptError};
use crate::formats::v1;
use crate::protocol::checksum::{Checksum, ChecksumError, ObjectChecksum};
use crate::protocol::uri::encode_path;
use crate::protocol::xml::{CompleteError, CompletePart, Malformed, parse_complete};
use crate::pump::{self, BoxBody};
use crate::store::{Request, StoreError};

/// Longest document that names the parts: 10,000 receipts with checksums, and room for a client's blanks.
const MAX_DOCUMENT: usize = 8 << 20;

/// How often a completion is tried again because the store's parts changed under it: another request for the
/// same upload got in between.
const ATTEMPTS: usize = 2;

/// Answers CompleteMultipartUpload.
///
/// # Errors
/// [`Error`]; the object is as it was, and the upload goes on, unless it is [`Error::NoSuchUpload`].
pub async fn complete(service: &Service, mut call: Call) -> Result<Response, Error> {
    let id = upload_id(&call)?.to_owned();
    let declared = Declared::read(&call)?;
    let body = std::mem::replace(&mut call.body.stream, pump::empty());
    let document = read_document(body, MAX_DOCUMENT).await?;
    let staging = Staging::of(service, &call, &id);
    let named = match named_parts(&document) {
        // Of two things that are wrong S3 names the upload that is not there.
        Err(
            error @ (Error::InvalidPart | Error::InvalidPartOrder | Error::InvalidArgument { .. }),
        ) => {
            state::load(service, &call, &staging, &id).await?;
            return Err(error);
        }
        named => named?,
    };
    drop(document);
    let completion = Completion {
        service,
        call: &call,
        staging: &staging,
        id: &id,
        named: &named,
        declared: &declared,
    };
    let mut result = Err(Error::InvalidPart);
    for _ in 0..ATTEMPTS {
        result = match completion.attempt().await {
            // The store refuses parts that are as they are named: it wants all that were uploaded to be named, or another
            // completion got in between. The next try tells.
            Err(Error::Contended) => Err(Error::InvalidPart),
            result => {
                return completion.or_done_before(result).await;
            }
        };
    }
    result
}

/// One part that a client wants in the object.
struct NamedPart {
    number: PartNumber,
    etag: String,
    checksum: Option<Checksum>,
}

fn named_parts(document: &[u8]) -> Result<Vec<NamedPart>, Error> {
    let parts = parse_complete(document).map_err(|error| match error {
        CompleteError::Malformed(error) => error.into(),
        CompleteError::Order => Error::InvalidPartOrder,
        CompleteError::Number(..1) => Error::InvalidArgument {
            name: "PartNumber",
            problem: "the number must be 1 or greater",
        },
        CompleteError::Checksum => Error::InvalidArgument {
            name: "Checksum",
            problem: "invalid base64, or several checksums of one part",
        },
        _ => Error::InvalidPart,
    })?;
    let named = |part: CompletePart| {
        Some(NamedPart {
            number: PartNumber::new(part.number)?,
            etag: part.etag,
            checksum: part.checksum,
        })
    };
    let named: Option<Vec<_>> = parts.into_iter().map(named).collect();
    named.ok_or(Error::InvalidPart)
}

struct Completion<'a> {
    service: &'a Service,
    call: &'a Call,
    staging: &'a Staging,
    id: &'a str,
    named: &'a [NamedPart],
    declared: &'a Declared,
}

/// What headers say of the object that is to be.
struct Declared {
    checksum: Option<ObjectChecksum>,
    /// Bytes.
    size: Option<u64>,
}

impl Declared {
    /// # Errors
    /// [`Error::Checksum`], [`Error::InvalidRequest`].
    fn read(call: &Call) -> Result<Self, Error> {
        let size = call.header("x-amz-mp-object-size").map(str::parse);
        Ok(Self {
            checksum: ObjectChecksum::from_headers(&call.headers)?,
            size: size.transpose().map_err(|_| {
                Error::InvalidRequest(
                    "The value of the 'x-amz-mp-object-size' header must be a number of bytes",
                )
            })?,
        })
    }
}

/// A part that is going to be in the object.
struct Chosen {
    entry: PartEntry,
    store_etag: String,
    held: bool,
}

impl Chosen {
    fn stored_len(&self) -> Result<u64, Error> {
        Ok(part_stored_len(self.entry.plaintext_len)?)
    }
}

/// Stored bytes of a part.
fn part_stored_len(plaintext_len: u64) -> Result<u64, Integrity> {
    Layout::from_plaintext_len(SegmentSize::GATEWAY, plaintext_len)
        .map(|layout| layout.stored_len() - FOOTER_LEN as u64)
        .map_err(|_| Integrity::Length)
}

/// Plaintext bytes of a part of so many stored ones.
pub fn part_plaintext_len(stored_len: u64) -> Result<u64, Integrity> {
    stored_len
        .checked_sub(PREAMBLE_LEN as u64)
        .and_then(|stream| Layout::from_stream_len(SegmentSize::GATEWAY, stream).ok())
        .map(|layout| layout.plaintext_len())
        .ok_or(Integrity::Length)
}

impl Completion<'_> {
    /// One try. [`Error::Contended`] where it is worth another.
    async fn attempt(&self) -> Result<Response, Error> {
        let Self {
            service,
            call,
            staging,
            id,
            ..
        } = self;
        let endpoint = &call.endpoint;
        let upload = state::load(service, call, staging, id).await?;
        let stored = stored_parts(service, call, id).await.inspect_err(|error| {
            if matches!(error, Error::NoSuchUpload) {
                service.uploads.forget(staging);
            }
        })?;
        let mut chosen = self.choose(&upload, &stored).await?;
        self.check_sizes(&chosen)?;
        let mut headers = HeaderMap::new();
        let guard = guard_write(service, call, &mut headers).await?;
        let tail = self.upload_tail(&upload, &stored, &mut chosen).await?;

        let mut xml = Writer::new("CompleteMultipartUpload");
        for part in &chosen {
            let (number, etag) = if part.held {
                continue;
            } else {
                (part.entry.number.get(), &part.store_etag)
            };
            xml.part(number, etag);
        }
        xml.part(tail.number, &tail.store_etag);
        headers.extend(meta::read_settings(&call.headers));
        let mut request = Request::object(Method::POST, &endpoint.bucket, &endpoint.key)
            .query("uploadId", id)
            .body(pump::full(xml.finish()));
        request.headers = headers;
        let answer = match call.store.send("CompleteMultipartUpload", request).await {
            Ok(answer) => answer,
            Err(error) => return Err(refusal(error, guard)),
        };
        let store_headers = answer.headers().clone();
        let document = call.store.document(answer).await?;
        let store_etag = parse_completed(&document).map_err(|error| refusal(error, guard))?;
        service.uploads.forget(staging);
        let tag = match tail.md5 {
            Some(md5) => FactTag::Multipart(md5, chosen.len() as u16),
            None => FactTag::Opaque,
        };
        // Some stores leave the ETag out of this answer.
        let store_etag = match store_etag.as_str() {
            "" => self.arrived().await?.store_etag,
            _ => store_etag,
        };
        service.learn(
            &self.target(),
            &store_etag,
            tail.stored_len,
            Fact {
                plaintext_len: tail.plaintext_len,
                tag,
                checksum: tail.checksum_kind,
            },
        );
        clean(staging).await;
        let settings = (service.settings)(&endpoint.bucket);
        let etag = shown_etag(&settings, tag, &store_etag);
        Ok(self.answer(
            &store_headers,
            &etag,
            tail.checksum.map(|c| (c, chosen.len())),
        ))
    }

    fn answer(
        &self,
        store_headers: &HeaderMap,
        etag: &str,
        checksum: Option<((Checksum, bool), usize)>,
    ) -> Response {
        let endpoint = &self.call.endpoint;
        let mut headers = meta::common_response(store_headers);
        headers.remove(ETAG);
        let host = self.call.header(HOST.as_str()).unwrap_or_default();
        let mut xml = Writer::new("CompleteMultipartUploadResult");
        xml.text(
            "Location",
            &format!(
                "http://{host}{}",
                encode_path(&endpoint.bucket, &endpoint.key)
            ),
        );
        xml.text("Bucket", &endpoint.bucket);
        xml.text("Key", &endpoint.key);
        xml.text("ETag", &quoted(etag));
        if let Some(((checksum, composite), count)) = checksum {
            let wanted = Wanted {
                algorithm: checksum.algorithm(),
                composite,
            };
            xml.text(
                checksum.algorithm().element(),
                &shown_checksum(&checksum, composite, count),
            );
            xml.text("ChecksumType", wanted.type_name());
        }
        Response::xml(StatusCode::OK, headers, xml.finish())
    }

    /// What the client named, looked up: each part must be there as it says.
    async fn choose(
        &self,
        upload: &Upload,
        stored: &BTreeMap<u16, StoredPart>,
    ) -> Result<Vec<Chosen>, Error> {
        let mut chosen = Vec::with_capacity(self.named.len());
        for part in self.named {
            let number = part.number;
            let place = Place {
                bucket: &self.call.endpoint.bucket,
                key: &self.call.endpoint.key,
                upload_id: self.id,
                number,
            };
            let found = match Receipt::open(&part.etag, &upload.dek, &upload.object_id, place) {
                Ok(receipt) => self.by_receipt(number, receipt, stored).await?,
                Err(ReceiptError::Form) => self.by_listed_etag(part, stored).await?,
                Err(_) => return Err(Error::InvalidPart),
            };
            let entry = self.with_checksum(upload, part, found.entry)?;
            chosen.push(Chosen { entry, ..found });
        }
        Ok(chosen)
    }

    async fn by_receipt(
        &self,
        number: PartNumber,
        receipt: Receipt,
        stored: &BTreeMap<u16, StoredPart>,
    ) -> Result<Chosen, Error> {
        let expected = part_stored_len(receipt.plaintext_len)?;
        if receipt.held {
            let held = self.held(number).await?.ok_or(Error::InvalidPart)?;
            if held.0 != receipt.store_etag || held.1 != expected {
                return Err(Error::InvalidPart);
            }
        } else {
            let part = stored.get(&number.get()).ok_or(Error::InvalidPart)?;
            if part.etag != receipt.store_etag {
                return Err(Error::InvalidPart);
            }
            if part.stored_len != expected {
                return Err(Integrity::Length.into());
            }
        }
        Ok(Chosen {
            entry: PartEntry {
                number,
                plaintext_len: receipt.plaintext_len,
                header: Some(receipt.header),
                md5: receipt.md5,
                checksum: receipt.checksum,
            },
            store_etag: receipt.store_etag,
            held: receipt.held,
        })
    }

    /// A part by the ETag that ListParts showed: the store's, marked.
    async fn by_listed_etag(
        &self,
        part: &NamedPart,
        stored: &BTreeMap<u16, StoredPart>,
    ) -> Result<Chosen, Error> {
        let store_etag = part.etag.strip_suffix("-1").ok_or(Error::InvalidPart)?;
        let direct = stored
            .get(&part.number.get())
            .filter(|stored| stored.etag == store_etag)
            .map(|stored| stored.stored_len);
        let (stored_len, held) = match direct {
            Some(len) => (len, false),
            None => match self.held(part.number).await? {
                Some((etag, len)) if etag == store_etag => (len, true),
                _ => return Err(Error::InvalidPart),
            },
        };
        Ok(Chosen {
            entry: PartEntry {
                number: part.number,
                plaintext_len: part_plaintext_len(stored_len)?,
                header: None,
                md5: None,
                checksum: None,
            },
            store_etag: store_etag.to_owned(),
            held,
        })
    }

    /// ETag and length of the temporary object that holds a part.
    async fn held(&self, number: PartNumber) -> Result<Option<(String, u64)>, Error> {
        let key = self.staging.part_key(number);
        let request = || self.staging.target(&key).request(Method::HEAD);
        match self.staging.send("FindHeldPart", request).await {
            Ok((_, answer)) => {
                let headers = answer.headers();
                let len = object::content_length(headers)?;
                Ok(Some((object::store_etag(headers), len)))
            }
            Err(error) if error.status() == Some(StatusCode::NOT_FOUND) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The checksum that the client names for a part must be the one that it was uploaded with. Of a part whose receipt
    /// it does not have, it is the client's own word. Where the object's checksum is made of the parts', each must
    /// be named, as at S3.
    fn with_checksum(
        &self,
        upload: &Upload,
        part: &NamedPart,
        mut entry: PartEntry,
    ) -> Result<PartEntry, Error> {
        let (wanted, named) = match (upload.checksum, &part.checksum) {
            (Some(wanted), Some(named)) => (wanted, named),
            (Some(wanted), None) if wanted.composite => {
                return Err(Error::InvalidRequest(
                    "The upload was created with checksums of its parts. The complete request must include the checksum of each part",
                ));
            }
            _ => return Ok(entry),
        };
        if named.algorithm() != wanted.algorithm {
            return Err(ChecksumError::BadChecksum(named.algorithm()).into());
        }
        let named = v1::footer_checksum(named);
        if entry.checksum.is_some() && entry.checksum != named {
            return Err(Error::InvalidPart);
        }
        entry.checksum = named;
        Ok(entry)
    }

    fn check_sizes(&self, chosen: &[Chosen]) -> Result<(), Error> {
        let Some((_, all_but_last)) = chosen.split_last() else {
            return Err(Malformed.into());
        };
        for part in all_but_last {
            if part.entry.plaintext_len < self.service.min_part {
                return Err(Error::EntityTooSmall {
                    number: part.entry.number.get(),
                    length: part.entry.plaintext_len,
                    least: self.service.min_part,
                });
            }
        }
        let total: u64 = chosen.iter().map(|part| part.entry.plaintext_len).sum();
        match self.declared.size {
            Some(size) if size != total => Err(Error::InvalidRequest(
                "The provided 'x-amz-mp-object-size' header does not match what was computed",
            )),
            _ => Ok(()),
        }
    }

    /// Seals table and footer, and sends them as the store's last part, behind the held part where there is one.
    async fn upload_tail(
        &self,
        upload: &Upload,
        stored: &BTreeMap<u16, StoredPart>,
        chosen: &mut [Chosen],
    ) -> Result<Tail, Error> {
        let Self {
            service, call, id, ..
        } = self;
        let preamble = Preamble {
            core: Core::part(
                &upload.dek,
                upload.object_id,
                SegmentSize::GATEWAY,
                self.named[0].number,
                0,
            ),
            envelope: upload.envelope.clone(),
        };
        let shared = preamble
            .shared_digest()
            .map_err(|_| Integrity::MetadataMalformed)?;
        let Some(last) = chosen.last_mut() else {
            return Err(Malformed.into());
        };
        let (number, held_body) = if last.held {
            let (header, body) = self.open_held(upload, last, &shared).await?;
            last.entry.header = Some(header);
            (last.entry.number.get(), Some((body, last.stored_len()?)))
        } else {
            (
                tail_number(service, last.entry.number, stored, upload.checksum),
                None,
            )
        };
        let entries: Vec<PartEntry> = chosen.iter().map(|part| part.entry).collect();
        let md5 = combined_md5(&entries);
        let checksum = combined_checksum(upload.checksum, &entries);
        self.check_checksum(upload.checksum, checksum, entries.len())?;

        let fresh = service.fresh()?;
        let algorithm = checksum
            .as_ref()
            .and_then(|(checksum, _)| v1::footer_checksum(checksum))
            .map(|checksum| checksum.algorithm());
        // Of parts for which nobody asked for one S3 tells none.
        let kept = algorithm.is_some() && upload.checksum.is_some();
        let entries: Vec<PartEntry> = entries
            .into_iter()
            .map(|entry| PartEntry {
                checksum: entry.checksum.filter(|_| kept),
                ..entry
            })
            .collect();
        let table = PartTable::seal(
            service.engine,
            &upload.dek,
            &upload.object_id,
            &fresh.header,
            algorithm,
            &entries,
        )
        .map_err(|_| Error::Internal("part table"))?;
        let plaintext_len = entries.iter().map(|entry| entry.plaintext_len).sum();
        let footer = Footer {
            plaintext_len,
            core_plaintext_len: None,
            segment_size: SegmentSize::GATEWAY,
            etag: md5.map_or(Etag::None, Etag::Multipart),
            checksum: checksum
                .as_ref()
                .and_then(|(checksum, _)| v1::footer_checksum(checksum)),
            checksum_type: match checksum {
                Some((_, true)) => ChecksumType::Composite,
                _ => ChecksumType::FullObject,
            },
            header: fresh.header,
            preamble_digest: shared,
            parts: Some(Parts {
                count: entries.len() as u16,
                table_len: table.len() as u32,
                part_size: part_size(&entries),
            }),
        };
        let checksum_kind = ChecksumKind::of(&footer);
        let footer = footer
            .seal(
                service.engine,
                &upload.dek,
                &upload.object_id,
                fresh.footer_nonce,
            )
            .map_err(Error::Cipher)?;
        let mut end = table;
        end.extend_from_slice(&footer);
        let mut stored_len = end.len() as u64;
        for part in chosen.iter() {
            stored_len += part.stored_len()?;
        }
        let end = Bytes::from(end);
        let body: BoxBody = match held_body {
            Some((body, len)) => pump::Followed::new(body, len, end).boxed(),
            None => pump::full(end),
        };
        let mut request = Request::object(Method::PUT, &call.endpoint.bucket, &call.endpoint.key)
            .query("partNumber", &number.to_string())
            .query("uploadId", id)
            .body(body);
        request.headers = meta::read_settings(&call.headers);
        let answer = call.store.send("UploadFooter", request).await;
        let answer = answer.map_err(refused)?;
        let store_etag = object::store_etag(answer.headers());
        let _ = call.store.document(answer).await;
        Ok(Tail {
            number,
            store_etag,
            md5,
            checksum,
            checksum_kind,
            plaintext_len,
            stored_len,
        })
    }

    /// The bytes of the held last part, whose beginning has been checked, and its stream's header.
    async fn open_held(
        &self,
        upload: &Upload,
        part: &Chosen,
        shared: &[u8; 32],
    ) -> Result<(StreamHeader, BoxBody), Error> {
        let key = self.staging.part_key(part.entry.number);
        let target = self.staging.target(&key);
        let request = || {
            target
                .request(Method::GET)
                .header("if-match", &quoted(&part.store_etag))
        };
        let (store, answer) = match self.staging.send("GetHeldPart", request).await {
            Ok(answered) => answered,
            Err(error)
                if matches!(
                    error.status(),
                    Some(StatusCode::NOT_FOUND | StatusCode::PRECONDITION_FAILED)
                ) =>
            {
                return Err(Error::InvalidPart);
            }
            Err(error) => return Err(error.into()),
        };
        let headers = answer.headers();
        if object::store_etag(headers) != part.store_etag {
            return Err(Error::InvalidPart);
        }
        if object::content_length(headers)? != part.stored_len()? {
            return Err(Integrity::Length.into());
        }
        let target = Target { store, ..target };
        let mut body = target.stream(answer, 0..part.stored_len()?);
        const HEAD: usize = PREAMBLE_LEN + STREAM_HEADER_LEN;
        let mut start = bytes::BytesMut::new();
        while start.len() < HEAD {
            match body.frame().await.transpose()? {
                Some(frame) => {
                    if let Ok(data) = frame.into_data() {
                        start.extend_from_slice(&data);
                    }
                }
                None => return Err(Integrity::Truncated.into()),
            }
        }
        let core = Core::part(
            &upload.dek,
            upload.object_id,
            SegmentSize::GATEWAY,
            part.entry.number,
            part.entry.plaintext_len,
        );
        let preamble: [u8; PREAMBLE_LEN] = start[..PREAMBLE_LEN]
            .try_into()
            .map_err(|_| Integrity::Preamble)?;
        let found = Preamble::decode(&preamble).map_err(|_| Integrity::Preamble)?;
        let digest = found.shared_digest().map_err(|_| Integrity::Preamble)?;
        if found.core != core || digest != *shared {
            return Err(Integrity::Preamble.into());
        }
        let header: [u8; STREAM_HEADER_LEN] = start[PREAMBLE_LEN..HEAD]
            .try_into()
            .map_err(|_| Integrity::Preamble)?;
        let header = StreamHeader::decode(&header).map_err(|_| Integrity::Preamble)?;
        if part.entry.header.is_some_and(|pinned| pinned != header) {
            return Err(Integrity::Preamble.into());
        }
        Ok((
            header,
            pump::Prefixed::new(Some(start.freeze()), body).boxed(),
        ))
    }

    /// Holds the checksum of the whole object, where the client names it, against the computed one.
    fn check_checksum(
        &self,
        wanted: Option<Wanted>,
        computed: Option<(Checksum, bool)>,
        count: usize,
    ) -> Result<(), Error> {
        if let (Some(kind), Some(wanted)) = (self.call.header("x-amz-checksum-type"), wanted)
            && !kind.eq_ignore_ascii_case(wanted.type_name())
        {
            return Err(Error::InvalidRequest(
                "The upload was created using another checksum type. The complete request must have the same checksum type.",
            ));
        }
        let Some(declared) = &self.declared.checksum else {
            return Ok(());
        };
        let Some((checksum, composite)) = computed else {
            return Err(Error::InvalidRequest(
                "The checksum of the whole object is not known for this upload",
            ));
        };
        let parts_fit = match declared.parts {
            None => true,
            Some(parts) => composite && usize::try_from(parts) == Ok(count),
        };
        if declared.value == checksum && parts_fit {
            Ok(())
        } else {
            Err(ChecksumError::BadChecksum(declared.value.algorithm()).into())
        }
    }

    /// Where the object is going to be.
    fn target(&self) -> Target<'_> {
        Target {
            store: &self.call.store,
            bucket: &self.call.endpoint.bucket,
            key: &self.call.endpoint.key,
            version: None,
            headers: meta::read_settings(&self.call.headers),
        }
    }

    /// What stands there now.
    async fn arrived(&self) -> Result<Found, Error> {
        self.service.find(&self.target()).await
    }

    /// The answer to an earlier try may have been lost on its way: S3 gives it again.
    async fn or_done_before(&self, result: Result<Response, Error>) -> Result<Response, Error> {
        match result {
            Err(Error::NoSuchUpload) => self.done_before().await.ok_or(Error::NoSuchUpload),
            result => result,
        }
    }

    /// The same answer again, where the object at the key is this very upload, completed with these parts: its data
    /// key vouches for the receipts.
    async fn done_before(&self) -> Option<Response> {
        let endpoint = &self.call.endpoint;
        let found = self.arrived().await.ok()?;
        let Content::Sealed(sealed) = &found.content else {
            return None;
        };
        let parts = sealed.footer.parts?;
        if usize::from(parts.count) != self.named.len() {
            return None;
        }
        let mut md5s = Md5::new();
        let mut total = 0;
        for part in self.named {
            let place = Place {
                bucket: &endpoint.bucket,
                key: &endpoint.key,
                upload_id: self.id,
                number: part.number,
            };
            let receipt = Receipt::open(
                &part.etag,
                &sealed.opened.dek,
                &sealed.opened.object_id,
                place,
            )
            .ok()?;
            md5s.update(receipt.md5.unwrap_or_default());
            total += receipt.plaintext_len;
        }
        let same = match sealed.footer.etag {
            Etag::Multipart(md5) => md5 == <[u8; 16]>::from(md5s.finalize()),
            _ => true,
        };
        if !same || total != found.len {
            return None;
        }
        let composite = sealed.footer.checksum_type == ChecksumType::Composite;
        let checksum = sealed
            .checksum()
            .map(|checksum| ((checksum, composite), self.named.len()));
        Some(self.answer(&found.headers, &found.etag, checksum))
    }
}

/// What was sent behind the parts.
struct Tail {
    number: u16,
    store_etag: String,
    md5: Option<[u8; 16]>,
    checksum: Option<(Checksum, bool)>,
    checksum_kind: Option<ChecksumKind>,
    plaintext_len: u64,
    stored_len: u64,
}

/// What the store's refusal means.
fn refusal(error: StoreError, guard: Guard) -> Error {
    match error.code() {
        "NoSuchUpload" => Error::NoSuchUpload,
        // Of a condition that has to match it means the object.
        "NoSuchKey" if matches!(guard, Guard::None | Guard::AppendOnly) => Error::NoSuchUpload,
        // They were as listed a moment ago.
        "InvalidPart" | "InvalidPartOrder" => Error::Contended,
        _ if error.status() == Some(StatusCode::PRECONDITION_FAILED) => guard.refused(),
        _ => error.into(),
    }
}

/// A number behind the last part for table and footer. One that an earlier try took is taken again, so that no more than
/// the parts that are named and the footer are there (Ceph refuses others); else one that no part of the client has,
/// so that nothing of the client's is overwritten should this completion fail. A held last part has its own
/// number, and so never comes here with 10,000.
fn tail_number(
    service: &Service,
    last: PartNumber,
    stored: &BTreeMap<u16, StoredPart>,
    wanted: Option<Wanted>,
) -> u16 {
    let behind = last.get() + 1..=MAX_NUMBER;
    let tail = stored
        .range(behind.clone())
        .find(|(_, part)| is_tail(service, part.stored_len, wanted));
    tail.map(|(number, _)| *number)
        .or_else(|| {
            behind
                .into_iter()
                .find(|number| !stored.contains_key(number))
        })
        .unwrap_or(MAX_NUMBER)
}

/// Whether a stored part of so many bytes is table and footer, left by a completion that failed: parts of clients are
/// longer, since short ones are held.
pub fn is_tail(service: &Service, stored_len: u64, wanted: Option<Wanted>) -> bool {
    let shortest = part_stored_len(service.min_part).unwrap_or(service.min_part);
    stored_len < shortest && is_table_and_footer(stored_len, wanted)
}

/// Whether so many bytes can be a table and a footer.
pub fn is_table_and_footer(stored_len: u64, wanted: Option<Wanted>) -> bool {
    let Some(table) = stored_len.checked_sub(FOOTER_LEN as u64) else {
        return false;
    };
    // A part whose checksum is not known leaves the object without one.
    let with = v1::footer_algorithm(wanted.unwrap_or(Wanted::BY_DEFAULT).algorithm);
    [None, Some(with)].into_iter().any(|algorithm| {
        // Lengths ascend with the count.
        let (mut least, mut most) = (1, MAX_NUMBER);
        while least < most {
            let middle = least + (most - least) / 2;
            if PartTable::stored_len(middle, algorithm) < table {
                least = middle + 1;
            } else {
                most = middle;
            }
        }
        PartTable::stored_len(least, algorithm) == table
    })
}

fn combined_md5(entries: &[PartEntry]) -> Option<[u8; 16]> {
    let mut md5 = Md5::new();
    for entry in entries {
        md5.update(entry.md5?);
    }
    Some(md5.finalize().into())
}

/// The checksum of the object, and whether it is composite; `None` where a part's is not known.
fn combined_checksum(wanted: Option<Wanted>, entries: &[PartEntry]) -> Option<(Checksum, bool)> {
    let wanted = wanted.unwrap_or(Wanted::BY_DEFAULT);
    let of = |entry: &PartEntry| {
        let checksum = entry.checksum?;
        Checksum::from_bytes(wanted.algorithm, checksum.value())
    };
    if wanted.composite {
        let mut values = Vec::with_capacity(entries.len() * wanted.algorithm.length());
        for entry in entries {
            values.extend_from_slice(of(entry)?.as_bytes());
        }
        return Some((Checksum::of(wanted.algorithm, &values), true));
    }
    let (first, rest) = entries.split_first()?;
    let mut all = of(first)?;
    for entry in rest {
        all = all.combine(&of(entry)?, entry.plaintext_len)?;
    }
    Some((all, false))
}

/// The plaintext length that all parts but the last have; 0 where they differ.
fn part_size(entries: &[PartEntry]) -> u64 {
    let Some(first) = entries.first() else {
        return 0;
    };
    let all_but_last = entries.split_last().map_or(&[][..], |(_, rest)| rest);
    if all_but_last
        .iter()
        .all(|entry| entry.plaintext_len == first.plaintext_len)
    {
        first.plaintext_len
    } else {
        0
    }
}

/// A checksum as clients see it.
pub fn shown_checksum(checksum: &Checksum, composite: bool, count: usize) -> String {
    if composite {
        format!("{}-{count}", checksum.to_base64())
    } else {
        checksum.to_base64()
    }
}
