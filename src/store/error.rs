//! What a store can answer besides success, and whether asking again makes sense.

use http::{HeaderMap, StatusCode};
use thiserror::Error;

/// A request to the store that did not give what was asked for.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// No connection, or it broke before an answer came.
    #[error("store unreachable: {0}")]
    Unreachable(String),
    /// The request's own body broke off, so the transfer was cut. Not the store's doing.
    #[error("request body broke off")]
    Aborted,
    /// No answer within the configured time.
    #[error("store did not answer in time")]
    Timeout,
    /// The store answered with an error status.
    #[error("store answered {status} {code}")]
    Status {
        /// HTTP status of the answer.
        status: StatusCode,
        /// S3 error code from its body, empty where there was none.
        code: String,
        /// The message from its body. For logs only.
        message: String,
        /// Headers of the answer.
        headers: Box<HeaderMap>,
    },
    /// An answer that is not S3: missing headers, bad XML, too long.
    #[error("store answer not understood: {0}")]
    Malformed(&'static str),
    /// The request could not be built.
    #[error("request to the store could not be built: {0}")]
    Request(String),
}

/// What Ceph says, with 409, to a read of an object that is being replaced.
const REPLACED: &str = "ConcurrentModification";

impl StoreError {
    /// Whether the answer says that no object stands there, in a bucket that does.
    pub fn is_absent(&self) -> bool {
        self.status() == Some(StatusCode::NOT_FOUND) && self.code() != "NoSuchBucket"
    }

    /// Whether the answer says that a condition of the request does not hold, or that another request got in between.
    pub fn is_condition(&self) -> bool {
        matches!(
            self.status(),
            Some(StatusCode::PRECONDITION_FAILED | StatusCode::CONFLICT)
        )
    }

    /// A short stable name for metrics and logs.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::Aborted => "aborted",
            Self::Timeout => "timeout",
            Self::Status { status, .. } if status.is_server_error() => "server_error",
            Self::Status { .. } => "client_error",
            Self::Malformed(_) => "malformed",
            Self::Request(_) => "request",
        }
    }

    /// The S3 error code of the answer, where there was one.
    pub fn code(&self) -> &str {
        match self {
            Self::Status { code, .. } => code,
            _ => "",
        }
    }

    /// Whether the same read may well succeed a moment later. A store that asks for patience
    /// (503) is passed on to the client, which can give it more.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable(_) => true,
            Self::Status { status, code, .. } => {
                matches!(status.as_u16(), 500 | 502 | 504) || code == REPLACED
            }
            _ => false,
        }
    }

    /// The status of the answer, where there was one.
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Status { status, .. } => Some(*status),
            _ => None,
        }
    }
}
