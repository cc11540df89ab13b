//! The questions, in the order they are asked: what they are, how much depends on them, and what is weaker without.

use futures::future::BoxFuture;

use super::place::Place;
use super::report::{Answer, Finding, Need, Seen};
use super::{brief, conditions, listings, multipart, objects};
use crate::store::StoreError;

/// Asks one thing. An error that the check did not expect says nothing about the property.
type Ask = for<'a> fn(&'a Place) -> BoxFuture<'a, Result<Seen, StoreError>>;

/// One question.
pub struct Check {
    id: &'static str,
    title: &'static str,
    need: Need,
    without: &'static str,
    ask: Ask,
}

impl Check {
    /// Asks it.
    pub async fn ask(&self, place: &Place) -> Finding {
        let seen = match (self.ask)(place).await {
            Ok(seen) => seen,
            Err(error) if error.code() == "NotImplemented" => {
                Seen::no(format!("answered {}", brief(&error)))
            }
            Err(error) => Seen {
                answer: Answer::Unknown,
                note: brief(&error),
            },
        };
        Finding {
            id: self.id,
            title: self.title,
            need: self.need,
            answer: seen.answer,
            note: seen.note,
            without: self.without,
        }
    }
}

macro_rules! check {
    ($id:literal, $need:ident, $title:literal, $ask:path, $without:literal) => {
        Check {
            id: $id,
            title: $title,
            need: Need::$need,
            without: $without,
            ask: |place| Box::pin($ask(place)),
        }
    };
}

/// All questions.
pub const ALL: &[Check] = &[
    check!(
        "suffix-range",
        Required,
        "a GET of the last bytes brings them, the metadata, the length and the ETag",
        objects::suffix_range,
        "every read begins with this request; nothing can be read"
    ),
    check!(
        "range",
        Required,
        "a GET of a range brings exactly that range",
        objects::range,
        "nothing larger than one segment can be read"
    ),
    check!(
        "cut-off-put",
        Required,
        "a PUT whose body breaks off before its last byte stores nothing",
        objects::cut_off_put,
        "an upload that fails its checksum, or whose client goes away, would replace the object that was there \
         with one that cannot be opened"
    ),
    check!(
        "self-copy",
        Required,
        "a copy of an object onto itself replaces its metadata and keeps its body",
        objects::self_copy,
        "CopyObject cannot bind an object to its new place, and keys cannot be rotated without rewriting data"
    ),
    check!(
        "metadata",
        Required,
        "user metadata comes back byte for byte, 2 KB of it",
        objects::metadata,
        "the envelope stands in the metadata; nothing can be opened"
    ),
    check!(
        "content-type",
        Required,
        "Content-Type comes back byte for byte",
        objects::content_type,
        "the type is authenticated with the object: objects cannot be opened, unless their bucket is set to \
         `metadata: unbound`"
    ),
    check!(
        "etag-changes",
        Required,
        "the ETag is the same in PUT, HEAD, GET and listings, and another for another body",
        listings::etags,
        "an object that changes while it is read is recognised by its ETag, and so are sizes that are kept for \
         listings; both would be wrong"
    ),
    check!(
        "overwrite-visible",
        Required,
        "a GET, HEAD or listing after a PUT or DELETE shows it",
        listings::read_after_write,
        "conditional writes and copies look at what is there first, and would see what was there before"
    ),
    check!(
        "content-headers",
        Optional,
        "Cache-Control, Content-Disposition, -Encoding, -Language and Expires come back byte for byte",
        objects::content_headers,
        "these headers are authenticated with the object: objects that have one of those named cannot be opened, \
         unless their bucket is set to `metadata: unbound`"
    ),
    check!(
        "metadata-utf8",
        Optional,
        "user metadata that is not ASCII comes back as it was, or as an RFC 2047 word",
        objects::metadata_utf8,
        "objects with such metadata cannot be opened, unless their bucket is set to `metadata: unbound`"
    ),
    check!(
        "metadata-empty",
        Optional,
        "user metadata without a value comes back",
        objects::metadata_empty,
        "such metadata is lost on the way, with the gateway or without"
    ),
    check!(
        "self-copy-etag",
        Optional,
        "a copy onto itself keeps the ETag",
        objects::self_copy_etag,
        "each CopyObject costs one more request, to see what arrived"
    ),
    check!(
        "empty-suffix-range",
        Optional,
        "a GET of the last bytes of an empty object is refused or brings an empty body",
        objects::empty_suffix_range,
        "empty objects that were not written through the gateway cannot be read through it"
    ),
    check!(
        "keys-special",
        Optional,
        "keys with every printable character, `//` and `..` within, each an object of its own",
        listings::special_keys,
        "clients that use the keys named get errors"
    ),
    check!(
        "keys-control",
        Optional,
        "keys with control characters, listed with encoding-type=url",
        listings::control_keys,
        "clients that use such keys get errors"
    ),
    check!(
        "keys-long",
        Optional,
        "keys of 1,024 bytes",
        listings::long_keys,
        "clients that use keys as long as that get errors"
    ),
    check!(
        "delete-objects",
        Optional,
        "DeleteObjects deletes many at once",
        listings::delete_many,
        "clients that delete many objects at once get errors"
    ),
    check!(
        "get-if-match",
        Optional,
        "GET with If-Match or If-None-Match honours the condition",
        conditions::get,
        "an object that changes while it is read is noticed one step later, by the ETag of the answer"
    ),
    check!(
        "put-if-none-match",
        Optional,
        "PUT with If-None-Match: * never replaces an object",
        conditions::put_if_none_match,
        "the gateway looks before it writes, but not at the same instant: of two clients that create a key at the \
         same time both can succeed. That weakens append-only users, and locks made of conditional writes"
    ),
    check!(
        "put-if-match",
        Optional,
        "PUT with If-Match replaces only that object",
        conditions::put_if_match,
        "where the condition is ignored, one of two clients that update a key at the same time can be overwritten; \
         where the right ETag is refused, every conditional update is"
    ),
    check!(
        "delete-if-match",
        Optional,
        "DELETE with If-Match deletes only that object",
        conditions::delete,
        "the gateway looks before it deletes, but not at the same instant: an object written in between is deleted"
    ),
    check!(
        "copy-source-if-match",
        Optional,
        "CopyObject with x-amz-copy-source-if-match copies only that object",
        conditions::copy_source,
        "an object that is overwritten in the instant it is copied arrives with an envelope that does not fit. The \
         gateway sees it and copies again; only for a copy onto itself it reports an error, and the object then \
         opens offline (`sealgate open`) but not through the gateway until it is written again"
    ),
    check!(
        "copy-if-none-match",
        Optional,
        "CopyObject with If-None-Match: * never replaces an object",
        conditions::copy_target,
        "append-only users: a copy and another write to a key at the same time can overwrite each other"
    ),
    check!(
        "multipart-last-part",
        Multipart,
        "the last part may have any size",
        multipart::last_part,
        "multipart uploads cannot work: the end of a sealed object is a short part of its own"
    ),
    check!(
        "multipart-gaps",
        Multipart,
        "part numbers may have gaps",
        multipart::gaps,
        "clients that leave part numbers out of a multipart upload get errors"
    ),
    check!(
        "multipart-cut-off",
        Multipart,
        "a part whose body breaks off before its last byte is not stored",
        multipart::cut_off,
        "multipart uploads cannot be protected: a part that fails its checksum could become part of the object"
    ),
    check!(
        "multipart-self-copy",
        Multipart,
        "a copy of a multipart object onto itself keeps its body",
        multipart::self_copy,
        "multipart objects cannot be copied, nor their keys rotated, without rewriting data"
    ),
    // Last: it leaves versioning on, where the bucket is one of its own.
    check!(
        "versioning",
        Optional,
        "versioning: old versions are listed and can be read",
        listings::versioning,
        "a client that overwrites or deletes an object destroys it; versions cannot be kept by this store"
    ),
];
