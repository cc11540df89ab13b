//! Uploads a sealed object with aws-sdk-s3, without the gateway, so that a gateway can serve it.
//!
//! ```text
//! export AWS_ENDPOINT_URL=http://127.0.0.1:9000 AWS_REGION=… AWS_ACCESS_KEY_ID=… AWS_SECRET_ACCESS_KEY=…
//! cargo run --example seal_upload_sdk -- --key-file main.key --key-id main BUCKET KEY FILE
//! ```
//!
//! Endpoint and credentials are those of the store, not of the gateway. The key is the one in the
//! gateway's keyring. The file passes through in constant memory.

use std::error::Error;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region, RequestChecksumCalculation};
use bytes::{Bytes, BytesMut};
use clap::Parser;
use http_body::{Body, Frame};
use http_body_util::StreamBody;
use sealgate::aead::{Dek, Engine, Etag, ObjectId, SegmentSize, StreamHeader};
use sealgate::envelope::{Info, metadata_digest, seal_record};
use sealgate::gateway::entropy;
use sealgate::keys::{KeyEncryptionKey, KeyId, Keyring, LocalKey, parse_key_file};
use sealgate::protocol::checksum::{Expected, Hashes};
use sealgate::pump::{
    BodyError, FooterSource, Sealing, Verification, VerifyBody, seal_byte_stream,
};
use tokio::fs::File;
use tokio::io::AsyncReadExt;

type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

/// Seal a file and upload it, without the gateway.
#[derive(Parser)]
struct Arguments {
    /// The store.
    #[arg(long, env = "AWS_ENDPOINT_URL")]
    endpoint: String,
    #[arg(long, env = "AWS_REGION")]
    region: String,
    #[arg(long, env = "AWS_ACCESS_KEY_ID")]
    access_key: String,
    #[arg(long, env = "AWS_SECRET_ACCESS_KEY", hide_env_values = true)]
    secret_key: String,
    /// A file that `sealgate keygen` wrote.
    #[arg(long)]
    key_file: PathBuf,
    /// The key's id in the gateway's keyring.
    #[arg(long)]
    key_id: String,
    /// The key's version there.
    #[arg(long, default_value = "1")]
    key_version: NonZeroU32,
    /// The name that the gateway binds objects of this bucket to (`bound_as`), if it has another.
    #[arg(long)]
    bound_as: Option<String>,
    #[arg(long, default_value = "application/octet-stream")]
    content_type: String,
    bucket: String,
    key: String,
    file: PathBuf,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let client = client(
        &arguments.endpoint,
        &arguments.region,
        Credentials::new(
            &arguments.access_key,
            &arguments.secret_key,
            None,
            None,
            "arguments",
        ),
    );
    let bytes = parse_key_file(&tokio::fs::read(&arguments.key_file).await?)?;
    let id = KeyId::new(&arguments.key_id)?;
    let key = LocalKey::new(id.clone(), arguments.key_version, &bytes);
    let keyring = Keyring::new([Arc::new(key) as Arc<dyn KeyEncryptionKey>], id)?;
    let place = Place {
        bucket: &arguments.bucket,
        bound_as: arguments.bound_as.as_deref().unwrap_or(&arguments.bucket),
        key: &arguments.key,
    };
    let stored = upload(
        &client,
        &keyring,
        &place,
        &arguments.content_type,
        &arguments.file,
    )
    .await?;
    println!(
        "{} is s3://{}/{}, {stored} bytes in the store",
        arguments.file.display(),
        place.bucket,
        place.key
    );
    Ok(())
}

/// A client of the store. For `https` give the connector a TLS provider instead of `build_http`.
pub fn client(endpoint: &str, region: &str, credentials: Credentials) -> Client {
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(endpoint)
        .region(Region::new(region.to_owned()))
        .credentials_provider(credentials)
        .force_path_style(true)
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        // A sealed body cannot be sent twice: a second attempt needs a fresh salt, so it is a new upload.
        .retry_config(RetryConfig::disabled())
        // The object's own checksums are over its plaintext. Over the sealed bytes none is needed: the
        // footer tells whether all of them arrived.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .build();
    Client::from_conf(config)
}

/// Where the object goes, and what it is bound to.
pub struct Place<'a> {
    /// The bucket in the store.
    pub bucket: &'a str,
    /// The bucket's logical name, in most cases the same.
    pub bound_as: &'a str,
    /// The object's key.
    pub key: &'a str,
}

/// Seals the file on its way to the store. Returns the stored length.
pub async fn upload(
    client: &Client,
    keyring: &Keyring,
    place: &Place<'_>,
    content_type: &str,
    file: &Path,
) -> Result<i64> {
    let file = File::open(file).await?;
    let plaintext_len = file.metadata().await?.len();

    // Fresh for every upload, attempts at the same object included.
    let (dek, object_id) = (Dek::new(random()?), ObjectId(random()?));
    let header = StreamHeader {
        salt: random()?,
        nonce_prefix: random()?,
    };

    // The envelope: the wrapped key, bound to bucket and key together with what the object is. Headers
    // that are sent with the object are bound too; the content type must be among them.
    let info = Info {
        plaintext_len: Some(plaintext_len),
        md5: None,
        metadata_digest: Some(metadata_digest([("content-type", content_type)])),
    };
    let record = seal_record(
        keyring,
        &[],
        &dek,
        object_id,
        place.bound_as,
        place.key,
        &info,
    )
    .await?;

    let sealing = Sealing {
        engine: Engine::default(),
        dek,
        object_id,
        segment_size: SegmentSize::GATEWAY,
        plaintext_len,
        envelope: record.envelope.clone(),
        header,
        footer_nonce: random()?,
    };
    let stored_len = i64::try_from(sealing.layout()?.stored_len())?;

    // The MD5 of the plaintext becomes the ETag that the gateway's clients see.
    let verification = Verification {
        decoder: None,
        hashes: Hashes::new(true, false, None),
        expected: Expected::default(),
        length: Some(plaintext_len),
    };
    let plaintext = VerifyBody::new(read(file), verification);
    let finished = plaintext.finished();
    let body = seal_byte_stream(sealing, plaintext, move || {
        let digests = finished.digests();
        let md5 = digests.and_then(|digests| digests.md5);
        Ok(FooterSource {
            etag: md5.map_or(Etag::None, Etag::Md5),
            checksum: None,
        })
    })?;

    let mut request = client
        .put_object()
        .bucket(place.bucket)
        .key(place.key)
        .content_type(content_type)
        .content_length(stored_len)
        .body(body);
    for (name, value) in record.to_headers() {
        request = request.metadata(name.trim_start_matches("x-amz-meta-"), value);
    }
    request.send().await?;
    Ok(stored_len)
}

/// A file as a body.
fn read(file: File) -> impl Body<Data = Bytes, Error = BodyError> + Send + Sync + 'static {
    StreamBody::new(futures::stream::try_unfold(file, async |mut file: File| {
        let mut buffer = BytesMut::with_capacity(128 * 1024);
        let read = file.read_buf(&mut buffer).await;
        let n = read.map_err(|error| BodyError::Client(error.to_string()))?;
        Ok((n > 0).then(|| (Frame::data(buffer.freeze()), file)))
    }))
}

fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    if entropy(&mut bytes) {
        Ok(bytes)
    } else {
        Err("the operating system gives no randomness".into())
    }
}
