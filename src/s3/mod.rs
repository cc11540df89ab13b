//! The S3 operations. Each takes a [`Call`] that carries a permit, and answers with headers and a
//! body; none knows the HTTP server, and none names an S3 error code.

mod bucket;
mod call;
mod copy;
mod cors;
mod delete;
mod error;
mod facts;
mod forward;
mod get;
mod head;
mod inspect;
pub mod jobs;
mod kept;
mod list;
// Public for the fuzz targets alone.
#[doc(hidden)]
pub mod listing;
mod meta;
mod multipart;
mod object;
mod parts;
mod post;
mod put;
mod route;
mod tails;
mod whole;
// Public for the fuzz targets alone.
#[doc(hidden)]
pub mod xml;

pub use call::{
    Body, BucketSettings, Call, Checked, EtagMode, Plaintext, Response, Service, Settings,
};
pub use cors::{Configured, CorsRules, changes_cors};
pub use error::Error;
pub use facts::{ChecksumKind, Facts, FactsError};
pub use inspect::{Inspection, inspect};
pub use kept::Kept;
pub use multipart::{Uploads, gc};
#[doc(hidden)]
pub use multipart::{uploads as multipart_uploads, xml as multipart_xml};
pub use post::{Form, Success, Upload, is_upload};
pub use route::{Endpoint, Kind, Resource, RouteError, needs, route};
pub use tails::Tails;
pub use xml::escape_into;
