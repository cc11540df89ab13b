//! What can go wrong in an S3 operation, named by what happened rather than by how S3 spells it.
//! `wire::error` is the one place that turns these into S3 codes.

use thiserror::Error;

use crate::envelope::SealRecordError;
use crate::formats::Integrity;
use crate::formats::v1::EnvelopeFailure;
use crate::keys::KeyError;
use crate::policy::Denied;
use crate::protocol::checksum::ChecksumError;
use crate::protocol::post_form::FormError;
use crate::protocol::post_policy::PolicyError;
use crate::protocol::uri::UriError;
use crate::protocol::xml::Malformed;
use crate::pump::BodyError;
use crate::spool::SpoolError;
use crate::store::StoreError;

/// Why an operation did not succeed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// A conditional read found what the client already has.
    #[error("not modified")]
    NotModified {
        /// Headers that a 304 carries (ETag, Last-Modified …).
        headers: Box<http::HeaderMap>,
    },
    /// No object stands at the key of a conditional request.
    #[error("no such key")]
    NoSuchKey,
    /// A condition of the request does not hold.
    #[error("precondition failed: {0}")]
    PreconditionFailed(&'static str),
    /// The range does not touch the object.
    #[error("range not satisfiable for {0} bytes")]
    InvalidRange(u64),
    /// No part of the object has this number.
    #[error("no part {number} among {count}")]
    InvalidPartNumber {
        /// The number that was asked for.
        number: u16,
        /// Parts of the object.
        count: u16,
    },
    /// A PUT without a length.
    #[error("length missing")]
    MissingContentLength,
    /// A body beyond what one PUT may carry.
    #[error("entity too large: {0} bytes")]
    EntityTooLarge(u64),
    /// A request body that should have been XML of a known shape.
    #[error(transparent)]
    MalformedXml(#[from] Malformed),
    /// A document beyond so many bytes.
    #[error("document is longer than {0} bytes")]
    DocumentTooLarge(usize),
    /// A key under the prefix that the gateway keeps for itself.
    #[error("the key is reserved")]
    ReservedKey,
    /// No such upload is in progress.
    #[error("no such upload")]
    NoSuchUpload,
    /// A part that is named was not uploaded, or not as it is named.
    #[error("invalid part")]
    InvalidPart,
    /// Parts are not named in ascending order.
    #[error("invalid part order")]
    InvalidPartOrder,
    /// A part that is not the last is too short.
    #[error("part {number} of {length} bytes is too small")]
    EntityTooSmall {
        /// Part number.
        number: u16,
        /// Its plaintext bytes.
        length: u64,
        /// Those that it must have.
        least: u64,
    },
    /// A fault of this program.
    #[error("internal: {0}")]
    Internal(&'static str),
    /// A header or parameter that cannot be.
    #[error("invalid argument {name}: {problem}")]
    InvalidArgument {
        /// Header or parameter.
        name: &'static str,
        /// What is wrong with it, for the client.
        problem: &'static str,
    },
    /// A request that cannot be, as a whole.
    #[error("invalid request: {0}")]
    InvalidRequest(&'static str),
    /// Something this version does not do.
    #[error("not implemented: {0}")]
    NotImplemented(&'static str),
    /// A method that this resource does not have.
    #[error("method not allowed")]
    MethodNotAllowed,
    /// The user may not.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The resource cannot be parsed.
    #[error(transparent)]
    Uri(#[from] UriError),
    /// Checksum headers that cannot be.
    #[error(transparent)]
    Checksum(#[from] ChecksumError),
    /// A body broke off or did not verify.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// The body is no form of an upload.
    #[error(transparent)]
    Form(#[from] FormError),
    /// The form is not one that its policy allows.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// What the store holds is not what was written.
    #[error("integrity: {0}")]
    Integrity(#[from] Integrity),
    /// The object has to be checked as a whole, and there is no room for that.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The store did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A key service did not do it.
    #[error("key: {0}")]
    Key(#[from] KeyError),
    /// An envelope could not be made.
    #[error("envelope: {0}")]
    Envelope(#[from] SealRecordError),
    /// The object changed under the operation more often than it was willing to follow.
    #[error("object keeps changing")]
    Contended,
    /// The cipher engine failed.
    #[error(transparent)]
    Cipher(#[from] crate::aead::CipherError),
    /// The operating system gave no randomness.
    #[error("no randomness")]
    Entropy,
}

impl From<EnvelopeFailure> for Error {
    fn from(error: EnvelopeFailure) -> Self {
        match error {
            EnvelopeFailure::Integrity(kind) => kind.into(),
            EnvelopeFailure::Key(error) => error.into(),
        }
    }
}
