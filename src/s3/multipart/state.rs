//! The state of an upload: a small sealed object that every replica reads, and a short-lived cache of it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use quick_cache::sync::Cache;
use serde::{Deserialize, Serialize};

use super::super::call::{Body, Call, Service};
use super::super::put::Written;
use super::super::{Error, meta};
use super::staging::{Staging, is_denied};
use crate::aead::{Dek, ObjectId, PartNumber};
use crate::envelope::Record;
use crate::formats::Integrity;
use crate::formats::v1;
use crate::protocol::checksum::Algorithm;
use crate::pump;
use crate::store::Store;

/// The version of most states.
const VERSION: u32 = 1;
/// The version of a state that says that it is kept with the gateway's own credentials.
const VERSION_OWN: u32 = 2;
/// How long an opened state, which holds a data key, is kept.
const KEEP: Duration = Duration::from_secs(60);
/// How many are kept at most.
const KEEP_AT_MOST: usize = 1_000;

/// The state as it is written. Replicas of several versions may read it: a field may be added only with a new
/// version number.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    version: u32,
    bucket: String,
    bound_as: String,
    key: String,
    upload_id: String,
    envelope: String,
    info: String,
    mac: String,
    created: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    checksum_algorithm: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    checksum_type: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    own: bool,
}

/// The checksum that a client wants of the whole object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Algorithm, of the parts as of the object.
    pub algorithm: Algorithm,
    /// Checksum of the parts' checksums, or else of all the plaintext.
    pub composite: bool,
}

impl Wanted {
    /// That of an upload for which nobody asked for one, where each of its parts was given one (`default_checksum`).
    pub const BY_DEFAULT: Self = Self {
        algorithm: Algorithm::Crc64Nvme,
        composite: false,
    };

    /// As S3 spells the type.
    pub fn type_name(self) -> &'static str {
        if self.composite {
            "COMPOSITE"
        } else {
            "FULL_OBJECT"
        }
    }

    /// From the names that S3 uses; without a type, the one that S3 takes for the algorithm.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`] where the two do not go together, or one of them is none.
    pub fn parse(algorithm: Option<&str>, kind: Option<&str>) -> Result<Option<Self>, Error> {
        let Some(name) = algorithm else {
            return match kind {
                None => Ok(None),
                Some(_) => Err(Error::InvalidRequest(
                    "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header",
                )),
            };
        };
        let algorithm = Algorithm::from_name(name).ok_or(Error::InvalidRequest(
            "Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]",
        ))?;
        let composite = match kind.map(str::to_ascii_uppercase).as_deref() {
            None => algorithm != Algorithm::Crc64Nvme,
            Some("COMPOSITE") if algorithm == Algorithm::Crc64Nvme => {
                return Err(Error::InvalidRequest(
                    "The COMPOSITE checksum type cannot be used with the crc64nvme checksum algorithm.",
                ));
            }
            Some("COMPOSITE") => true,
            Some("FULL_OBJECT") if matches!(algorithm, Algorithm::Sha1 | Algorithm::Sha256) => {
                return Err(Error::InvalidRequest(
                    "The FULL_OBJECT checksum type cannot be used with a SHA checksum algorithm.",
                ));
            }
            Some("FULL_OBJECT") => false,
            Some(_) => {
                return Err(Error::InvalidRequest(
                    "Value for x-amz-checksum-type header is invalid.",
                ));
            }
        };
        Ok(Some(Self {
            algorithm,
            composite,
        }))
    }
}

/// An upload in progress, opened.
pub struct Upload {
    /// The store's upload id.
    pub id: String,
    /// The object's data key.
    pub dek: Dek,
    /// The object's identity.
    pub object_id: ObjectId,
    /// The envelope as it goes into each part's preamble.
    pub envelope: Vec<u8>,
    /// The checksum that the client wants.
    pub checksum: Option<Wanted>,
    /// The user's own store credentials do not reach the temporary objects; the gateway's do.
    pub own: bool,
    /// Numbers of parts that this gateway has held a moment ago.
    pub held: Arc<Mutex<BTreeSet<u16>>>,
}

impl Upload {
    /// Notes whether a part is held now, and says whether it was before.
    pub fn note_held(&self, number: PartNumber, held: bool) -> bool {
        let Ok(mut numbers) = self.held.lock() else {
            return false;
        };
        if held {
            !numbers.insert(number.get())
        } else {
            numbers.remove(&number.get())
        }
    }
}

/// Opened states, bounded in number and time.
pub struct Uploads {
    cache: Cache<String, (Instant, Arc<Upload>)>,
}

impl Default for Uploads {
    fn default() -> Self {
        Self {
            cache: Cache::new(KEEP_AT_MOST),
        }
    }
}

impl Uploads {
    fn find(&self, folder: &str) -> Option<Arc<Upload>> {
        let (since, upload) = self.cache.get(folder)?;
        if since.elapsed() < KEEP {
            return Some(upload);
        }
        self.cache.remove(folder);
        None
    }

    /// Remembers an upload that was opened or made just now.
    pub fn learn(&self, staging: &Staging, mut upload: Upload) -> Arc<Upload> {
        if let Some((_, known)) = self.cache.get(&staging.folder) {
            upload.held = known.held.clone();
        }
        let upload = Arc::new(upload);
        self.cache
            .insert(staging.folder.clone(), (Instant::now(), upload.clone()));
        upload
    }

    /// Forgets an upload that is over.
    pub fn forget(&self, staging: &Staging) {
        self.cache.remove(&staging.folder);
    }
}

/// Writes the state of a new upload. Says whether that took the gateway's own credentials.
///
/// # Errors
/// [`Error`].
pub async fn write(
    service: &Service,
    call: &Call,
    staging: &Staging,
    upload_id: &str,
    record: &Record,
    checksum: Option<Wanted>,
    now: u64,
) -> Result<bool, Error> {
    let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let mut state = State {
        version: VERSION,
        bucket: call.endpoint.bucket.clone(),
        bound_as: (service.settings)(&call.endpoint.bucket).bound_as.clone(),
        key: call.endpoint.key.clone(),
        upload_id: upload_id.to_owned(),
        envelope: text(&record.envelope),
        info: text(&record.info),
        mac: text(&record.mac),
        created: now,
        checksum_algorithm: checksum.map(|wanted| wanted.algorithm.name().to_owned()),
        checksum_type: checksum.map(|wanted| wanted.type_name().to_owned()),
        own: false,
    };
    match (
        put(service, staging, &staging.store, &state).await,
        &staging.spare,
    ) {
        (Err(Error::Store(error)), Some(spare)) if is_denied(&error) => {
            (state.version, state.own) = (VERSION_OWN, true);
            put(service, staging, spare, &state).await?;
        }
        (result, _) => result?,
    }
    Ok(state.own)
}

async fn put(
    service: &Service,
    staging: &Staging,
    store: &Store,
    state: &State,
) -> Result<(), Error> {
    let bytes = serde_json::to_vec(state).map_err(|_| Error::Internal("state is not JSON"))?;
    let length = bytes.len() as u64;
    let body = Body::own(pump::full(bytes), length, true);
    let settings = (service.settings)(&staging.bucket);
    let key = staging.state_key();
    let written = Written {
        service,
        settings: &settings,
        store,
        bucket: &staging.bucket,
        key: &key,
    };
    let content = meta::content_from_request(&HeaderMap::new(), None)?;
    written.write(HeaderMap::new(), content, body).await?;
    Ok(())
}

/// The upload that a request names, perhaps as it was known a moment ago.
///
/// # Errors
/// [`Error::NoSuchUpload`], and whatever else can be wrong with the state.
pub async fn load(
    service: &Service,
    call: &Call,
    staging: &Staging,
    upload_id: &str,
) -> Result<Arc<Upload>, Error> {
    match service.uploads.find(&staging.folder) {
        Some(upload) => Ok(upload),
        None => load_now(service, call, staging, upload_id).await,
    }
}

/// The same, asking the store in any case: an upload that is over is not found.
///
/// # Errors
/// As [`load`].
pub async fn load_now(
    service: &Service,
    call: &Call,
    staging: &Staging,
    upload_id: &str,
) -> Result<Arc<Upload>, Error> {
    let (state, own) = match read(service, staging).await? {
        Some(found) => found,
        None => {
            service.uploads.forget(staging);
            return Err(Error::NoSuchUpload);
        }
    };
    let bound_as = (service.settings)(&call.endpoint.bucket).bound_as.clone();
    if state.bucket != call.endpoint.bucket
        || state.key != call.endpoint.key
        || state.upload_id != upload_id
    {
        return Err(Integrity::Binding.into());
    }
    let record = Record::from_header_values(&state.envelope, &state.info, &state.mac)
        .map_err(|_| Integrity::MetadataMalformed)?;
    let opened = v1::open_envelope(
        &service.keyring,
        &record,
        &bound_as,
        &call.endpoint.key,
        None,
    )
    .await
    .map_err(Error::from)?;
    let checksum = Wanted::parse(
        state.checksum_algorithm.as_deref(),
        state.checksum_type.as_deref(),
    )
    .map_err(|_| Integrity::MetadataMalformed)?;
    let upload = Upload {
        id: upload_id.to_owned(),
        dek: opened.dek,
        object_id: opened.object_id,
        envelope: record.envelope,
        checksum,
        own: own || state.own,
        held: Arc::default(),
    };
    Ok(service.uploads.learn(staging, upload))
}

/// The checksum that the client of an upload asked for; `None` also where its state does not say so.
///
/// # Errors
/// [`Error`]. That the state is not there is none.
pub async fn checksum(
    service: &Service,
    staging: &Staging,
    upload_id: &str,
) -> Result<Option<Wanted>, Error> {
    if let Some(upload) = service.uploads.find(&staging.folder) {
        return Ok(upload.checksum);
    }
    // It is bound to its own key, which is a digest of bucket, key and upload id.
    let found = read(service, staging).await?;
    let Some((state, _)) = found.filter(|(state, _)| state.upload_id == upload_id) else {
        return Ok(None);
    };
    Wanted::parse(
        state.checksum_algorithm.as_deref(),
        state.checksum_type.as_deref(),
    )
    .map_err(|_| Integrity::MetadataMalformed.into())
}

/// What a state says of itself, for jobs that clean up.
pub struct Described {
    /// Bucket of the upload.
    pub bucket: String,
    /// Key of the upload.
    pub key: String,
    /// The store's upload id.
    pub upload_id: String,
    /// When it was created, in seconds since 1970.
    pub created: u64,
}

/// Reads a state without opening its envelope; `None` where there is none.
///
/// # Errors
/// [`Error`].
pub async fn describe(service: &Service, staging: &Staging) -> Result<Option<Described>, Error> {
    Ok(read(service, staging).await?.map(|(state, _)| Described {
        bucket: state.bucket,
        key: state.key,
        upload_id: state.upload_id,
        created: state.created,
    }))
}

/// The state, and whether reading it took the gateway's own credentials.
async fn read(service: &Service, staging: &Staging) -> Result<Option<(State, bool)>, Error> {
    let (bytes, own) = match staging.read(service, &staging.state_key()).await {
        Ok(bytes) => bytes,
        Err(Error::Store(error)) if error.is_absent() => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let state: State = serde_json::from_slice(&bytes).map_err(|_| Integrity::MetadataMalformed)?;
    if state.version == if state.own { VERSION_OWN } else { VERSION } {
        Ok(Some((state, own)))
    } else {
        Err(Integrity::MetadataMalformed.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn algorithms_have_the_types_that_s3_gives_them() {
        fn wanted(algorithm: Option<&str>, kind: Option<&str>) -> Result<Option<Wanted>, ()> {
            Wanted::parse(algorithm, kind).map_err(|_| ())
        }
        let composite = |name: &str| wanted(Some(name), None).unwrap().unwrap().composite;
        assert!(composite("CRC32") && composite("crc32c") && composite("SHA256"));
        assert!(!composite("CRC64NVME"));
        assert!(
            !wanted(Some("CRC32"), Some("FULL_OBJECT"))
                .unwrap()
                .unwrap()
                .composite
        );
        assert_eq!(wanted(None, None), Ok(None));
        for (algorithm, kind) in [
            (Some("SHA1"), Some("FULL_OBJECT")),
            (Some("CRC64NVME"), Some("COMPOSITE")),
            (Some("MD4"), None),
            (Some("CRC32"), Some("HALF")),
            (None, Some("COMPOSITE")),
        ] {
            assert_eq!(wanted(algorithm, kind), Err(()), "{algorithm:?} {kind:?}");
        }
    }
}
