//! What stands at a key, for an operator: whatever can be told of it without reading the body, and of which parts of that
//! someone vouches.

use std::fmt;

use http::header::{ETAG, LAST_MODIFIED};
use http::{HeaderMap, Method};
use serde::Serialize;

use super::Error;
use super::call::{BucketSettings, Service};
use super::object::{self, Content, Found, Target, hex, text, unquoted};
use super::parts::{LONG_TAIL, checksum_type, shown_checksum};
use crate::aead::Etag;
use crate::envelope::{self, Envelope, MacList, Outdated, Record, reserved_header};
use crate::formats::Integrity;
use crate::formats::v1::{self, EnvelopeFailure, Sealed};

/// What stands at a key.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Inspection {
    /// Its bucket.
    pub bucket: String,
    /// Its key.
    pub key: String,
    /// The format that its metadata claims: `sealgate`, `plaintext`, or another.
    pub format: &'static str,
    /// Why the gateway would not serve it, where it would not.
    pub refused: Option<Refusal>,
    /// What the store says of it.
    pub stored: Stored,
    /// What its envelope says, where it has one.
    pub envelope: Option<Recipients>,
    /// What its footer says, where that was verified.
    pub content: Option<Contained>,
    /// Names of the client's metadata, and of what other programs keep there. Values are left out.
    pub metadata: Vec<String>,
}

/// Why an object is refused.
#[derive(Clone, Debug, Serialize)]
pub struct Refusal {
    /// A short name, as in metrics and logs.
    pub kind: &'static str,
    /// In words.
    pub reason: String,
}

/// What a store says of an object.
#[derive(Clone, Debug, Serialize)]
pub struct Stored {
    /// Stored bytes.
    pub length: u64,
    /// The store's ETag.
    pub etag: String,
    /// The time of its last change, as the store spells it.
    pub last_modified: Option<String>,
    /// Its storage class, where the store names one.
    pub storage_class: Option<String>,
    /// Its version, where the bucket keeps versions.
    pub version_id: Option<String>,
}

/// For whom an object is sealed, and where it belongs.
#[derive(Clone, Debug, Serialize)]
pub struct Recipients {
    /// The object's id.
    pub object_id: String,
    /// Each key that opens it.
    pub recipients: Vec<Recipient>,
    /// The bucket name that it is bound to with its key, of those that were tried; none where a tag is wrong for all, or
    /// no key at hand can tell.
    pub bound_as: Option<String>,
    /// Whether that is the name which the configuration has for the bucket.
    pub bound_here: bool,
    /// What a rewrap would change, where it would.
    pub rewrap: Option<&'static str>,
}

/// A key that opens an object.
#[derive(Clone, Debug, Serialize)]
pub struct Recipient {
    /// Its kind.
    pub kind: String,
    /// Its id.
    pub key: String,
    /// Its version.
    pub version: u32,
    /// Whether the keyring has it.
    pub held: bool,
    /// Whether it has a tag that says where the object belongs.
    pub vouches: bool,
}

/// What a verified footer says of the content.
#[derive(Clone, Debug, Serialize)]
pub struct Contained {
    /// Plaintext bytes.
    pub length: u64,
    /// The ETag that clients see.
    pub etag: String,
    /// MD5 of the content, or of its parts' MD5s with their number; none where it was not kept.
    pub md5: Option<String>,
    /// Stored bytes of a full segment.
    pub segment_size: u64,
    /// The checksum that the writer gave.
    pub checksum: Option<Checksum>,
    /// Of an object that was uploaded in parts, how many.
    pub parts: Option<u16>,
    /// Plaintext bytes of all parts but the last, where they are alike.
    pub part_size: Option<u64>,
}

/// A checksum as S3 shows it.
#[derive(Clone, Debug, Serialize)]
pub struct Checksum {
    /// Its algorithm.
    pub algorithm: &'static str,
    /// Its value.
    pub value: String,
    /// `FULL_OBJECT` or `COMPOSITE`.
    #[serde(rename = "type")]
    pub kind: &'static str,
}

/// Looks at what stands at a key. `names` are bucket names that it may be bound to, beside those that this bucket has.
///
/// # Errors
/// The store's. An object that would be refused is no error.
pub async fn inspect(
    service: &Service,
    bucket: &str,
    key: &str,
    version: Option<&str>,
    names: &[String],
) -> Result<Inspection, Error> {
    let target = Target {
        store: &service.own,
        bucket,
        key,
        version,
        headers: HeaderMap::new(),
    };
    let settings = (service.settings)(bucket);
    let (headers, stored_len, found, refused) = match service.find_with(&target, LONG_TAIL).await {
        Ok(found) => (found.headers.clone(), found.stored_len, Some(found), None),
        Err(error) => {
            let refused = refusal(error)?;
            let request = target.request(Method::HEAD);
            let answer = service.own.send("HeadObject", request).await?;
            let headers = answer.headers().clone();
            let stored_len = object::content_length(&headers)?;
            (headers, stored_len, None, Some(refused))
        }
    };
    let record = v1::claim(&headers);
    let kind = refused.as_ref().map(|refusal| refusal.kind);
    let format = match (&found, &record) {
        (Some(found), _) => found.content.name(),
        (None, Ok(None)) if kind == Some(Integrity::Plaintext.label()) => "plaintext",
        (None, Ok(None)) if kind != Some(Integrity::MetadataStripped.label()) => "unknown",
        (None, _) => "sealgate",
    };
    let envelope = match &record {
        Ok(Some(record)) => describe_record(service, &settings, record, bucket, key, names).await?,
        _ => None,
    };
    let told = |name: &str| text(&headers, name).map(str::to_owned);
    Ok(Inspection {
        bucket: bucket.to_owned(),
        key: key.to_owned(),
        format,
        refused,
        stored: Stored {
            length: stored_len,
            etag: unquoted(text(&headers, ETAG.as_str()).unwrap_or_default()).to_owned(),
            last_modified: told(LAST_MODIFIED.as_str()),
            storage_class: told("x-amz-storage-class"),
            version_id: told("x-amz-version-id"),
        },
        envelope,
        content: found.as_ref().and_then(contained),
        metadata: headers
            .keys()
            .map(http::HeaderName::as_str)
            .filter(|name| name.starts_with("x-amz-meta-") && !reserved_header(name))
            .map(str::to_owned)
            .collect(),
    })
}

/// Why an object is refused; an error that says nothing of the object stays one.
fn refusal(error: Error) -> Result<Refusal, Error> {
    let reason = error.to_string();
    let kind = match error {
        Error::Integrity(kind) => kind.label(),
        Error::Key(_) => "key",
        error => return Err(error),
    };
    Ok(Refusal { kind, reason })
}

async fn describe_record(
    service: &Service,
    settings: &BucketSettings,
    record: &Record,
    bucket: &str,
    key: &str,
    names: &[String],
) -> Result<Option<Recipients>, Error> {
    let Ok(envelope) = Envelope::decode(&record.envelope) else {
        return Ok(None);
    };
    let tags = MacList::decode(&record.mac, envelope.recipients.len()).ok();
    let recipients = envelope.recipients.iter().enumerate();
    let recipients = recipients.map(|(index, recipient)| {
        let (kind, id, version) = (recipient.kind, &recipient.key_id, recipient.key_version);
        Recipient {
            kind: kind.to_string(),
            key: id.to_string(),
            version: version.get(),
            held: service.keyring.find(kind, id, version).is_some(),
            vouches: tags.as_ref().is_some_and(|tags| tags.tag(index).is_some()),
        }
    });
    let mut bound_as = None;
    let own = [settings.bound_as.as_str(), bucket];
    for name in own.into_iter().chain(names.iter().map(String::as_str)) {
        match v1::open_envelope(&service.keyring, record, name, key, None).await {
            Ok(_) => {
                bound_as = Some(name.to_owned());
                break;
            }
            Err(EnvelopeFailure::Integrity(Integrity::Binding)) => {}
            // Another name does not help.
            Err(_) => break,
        }
    }
    let outdated = envelope::outdated(&service.keyring, &settings.recipients, &envelope)?;
    let bound_here = bound_as.as_ref() == Some(&settings.bound_as);
    Ok(Some(Recipients {
        object_id: envelope.object_id.to_string(),
        recipients: recipients.collect(),
        rewrap: match (outdated, bound_here, &bound_as) {
            (_, false, Some(_)) => Some("the name that it is bound to"),
            (Some(Outdated::Recipients), ..) => Some("its recipients"),
            (Some(Outdated::KeyVersion), ..) => Some("a key's version"),
            (None, ..) => None,
        },
        bound_here,
        bound_as,
    }))
}

fn contained(found: &Found) -> Option<Contained> {
    let sealed: &Sealed = match &found.content {
        Content::Sealed(sealed) => sealed,
        Content::SealedUnread | Content::Plain | Content::Foreign(_) => return None,
    };
    let footer = &sealed.footer;
    let parts = footer.parts;
    Some(Contained {
        length: found.len,
        etag: found.etag.clone(),
        md5: match (footer.etag, parts) {
            (Etag::Md5(md5), _) => Some(hex(&md5)),
            (Etag::Multipart(md5), Some(parts)) => Some(format!("{}-{}", hex(&md5), parts.count)),
            _ => None,
        },
        segment_size: u64::from(footer.segment_size.get()),
        checksum: sealed.checksum().map(|checksum| Checksum {
            algorithm: checksum.algorithm().name(),
            value: shown_checksum(sealed, &checksum.to_base64()),
            kind: checksum_type(sealed),
        }),
        parts: parts.map(|parts| parts.count),
        part_size: parts.map(|parts| parts.part_size).filter(|&size| size > 0),
    })
}

/// One fact a line, for humans.
impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn line(f: &mut fmt::Formatter<'_>, name: &str, value: impl fmt::Display) -> fmt::Result {
            writeln!(f, "{name:<18}{value}")
        }
        let optional = |f: &mut fmt::Formatter<'_>, name, value: &Option<String>| match value {
            Some(value) => line(f, name, value),
            None => Ok(()),
        };
        line(
            f,
            "object",
            format_args!("s3://{}/{}", self.bucket, self.key),
        )?;
        line(f, "format", self.format)?;
        line(f, "stored length", self.stored.length)?;
        line(f, "stored ETag", &self.stored.etag)?;
        optional(f, "last modified", &self.stored.last_modified)?;
        optional(f, "storage class", &self.stored.storage_class)?;
        optional(f, "version", &self.stored.version_id)?;
        if let Some(envelope) = &self.envelope {
            line(f, "object id", &envelope.object_id)?;
            for Recipient {
                kind,
                key,
                version,
                held,
                vouches,
            } in &envelope.recipients
            {
                let held = if *held {
                    "in the keyring"
                } else {
                    "not in the keyring"
                };
                let vouches = if *vouches {
                    ""
                } else {
                    ", vouches for nothing"
                };
                line(
                    f,
                    "recipient",
                    format_args!("{kind} {key} {version} ({held}{vouches})"),
                )?;
            }
            match (&envelope.bound_as, envelope.bound_here) {
                (Some(name), true) => line(f, "binding", format_args!("verified, as {name}"))?,
                (Some(name), false) => {
                    line(
                        f,
                        "binding",
                        format_args!("bound as {name}, which is another bucket here"),
                    )?;
                }
                (None, _) => line(f, "binding", "not verified")?,
            }
            line(
                f,
                "rewrap",
                match envelope.rewrap {
                    Some(what) => format!("would change {what}"),
                    None => "has nothing to do".into(),
                },
            )?;
        }
        if let Some(content) = &self.content {
            line(f, "content length", content.length)?;
            line(f, "ETag", &content.etag)?;
            line(f, "MD5", content.md5.as_deref().unwrap_or("not kept"))?;
            if let Some(Checksum {
                algorithm,
                value,
                kind,
            }) = &content.checksum
            {
                line(f, "checksum", format_args!("{algorithm} {value} {kind}"))?;
            }
            line(f, "segment size", content.segment_size)?;
            if let Some(parts) = content.parts {
                match content.part_size {
                    Some(size) => line(
                        f,
                        "parts",
                        format_args!("{parts}, of {size} bytes but the last"),
                    )?,
                    None => line(f, "parts", format_args!("{parts}, of different sizes"))?,
                }
            }
        }
        for name in &self.metadata {
            line(f, "metadata", name)?;
        }
        match &self.refused {
            Some(refusal) => write!(
                f,
                "{:<18}no, {}: {}",
                "served", refusal.kind, refusal.reason
            ),
            None => write!(f, "{:<18}yes", "served"),
        }
    }
}
