//! The sealing body as an `aws-smithy-types` byte stream, for users of aws-sdk-s3 who seal an
//! upload without the gateway.

use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;
use bytes::Bytes;
use http_body::Body;

use super::{BodyError, FooterSource, SealBody, Sealing};

/// A one-shot byte stream of the sealed object. Its length is known (`Sealing::layout`), so it can
/// be sent with a plain `Content-Length`. It cannot be replayed: a retry needs a new [`Sealing`]
/// with a fresh salt, which is why the SDK must not be given a clonable body here.
///
/// # Errors
/// [`BodyError::Seal`] where the parameters are out of range.
pub fn seal_byte_stream<B, F>(
    sealing: Sealing,
    plaintext: B,
    footer: F,
) -> Result<ByteStream, BodyError>
where
    B: Body<Data = Bytes, Error = BodyError> + Send + Sync + 'static,
    F: FnOnce() -> Result<FooterSource, BodyError> + Send + Sync + 'static,
{
    let body = SealBody::new(sealing, plaintext, footer)?;
    Ok(ByteStream::new(SdkBody::from_body_1_x(body)))
}
