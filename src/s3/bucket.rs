//! ListBuckets, cut to what the user may see.

use http::{HeaderMap, Method, StatusCode};

use super::Error;
use super::call::{Call, Response};
use super::xml;
use crate::policy::Need;
use crate::protocol::uri::Query;
use crate::store::Request;

/// Answers ListBuckets.
///
/// # Errors
/// [`Error`].
pub async fn list_buckets(call: Call) -> Result<Response, Error> {
    let mut query = Query::default();
    for name in [
        "prefix",
        "max-buckets",
        "continuation-token",
        "bucket-region",
    ] {
        if let Some(value) = call.parameter(name) {
            query.push(name, value);
        }
    }
    let request = Request {
        query,
        ..Request::service(Method::GET)
    };
    let answer = call.store.send("ListBuckets", request).await?;
    let document = call.store.document(answer).await?;
    let filtered =
        xml::filter_buckets(&document, |name| call.permit.permits(&Need::visible(name)))?;
    Ok(Response::xml(StatusCode::OK, HeaderMap::new(), filtered))
}
