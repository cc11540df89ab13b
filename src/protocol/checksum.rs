//! The integrity values of a body: `Content-MD5`, `x-amz-content-sha256`, `x-amz-checksum-*`.
//!
//! [`Expected`] is what the request promises, [`Hashes`] runs over the body once, [`Expected::check`]
//! compares. Source: S3 API, PutObject and UploadPart; user guide, "Checking object integrity".

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use crc_fast::CrcAlgorithm;
use http::{HeaderMap, HeaderName};
use md5::{Digest as _, Md5};
use sha1::Sha1;
use sha2::Sha256;

const CONTENT_MD5: HeaderName = HeaderName::from_static("content-md5");
const PREFIX: &str = "x-amz-checksum-";
const SDK_ALGORITHM: HeaderName = HeaderName::from_static("x-amz-sdk-checksum-algorithm");
const TRAILER: HeaderName = HeaderName::from_static("x-amz-trailer");

/// Names with the prefix of a checksum header that are not values.
const NOT_VALUES: [&str; 3] = ["mode", "algorithm", "type"];

/// Bytes given to one hash after the other, so that each piece is still in the cache for the next.
const BLOCK: usize = 16 * 1024;

/// A request's integrity headers are wrong, or its body is not what they say.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChecksumError {
    /// `Content-MD5` is not the base64 of 16 bytes (S3: `InvalidDigest`).
    #[error("the Content-MD5 you specified is not valid")]
    InvalidContentMd5,
    /// More than one `x-amz-checksum-*`, as header or trailer (S3: `InvalidRequest`).
    #[error("expecting a single x-amz-checksum- header; multiple checksum types are not allowed")]
    SeveralChecksums,
    /// The value of that header or trailer is not the base64 of the right length (S3: `InvalidRequest`).
    #[error("the value for {0} is not valid")]
    InvalidValue(&'static str),
    /// A checksum algorithm that is not known here (S3: `InvalidRequest`).
    #[error("the checksum algorithm is not supported")]
    UnsupportedAlgorithm,
    /// `x-amz-sdk-checksum-algorithm` without header or trailer, or other than them (S3: `InvalidRequest`).
    #[error(
        "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers were found"
    )]
    AlgorithmWithoutValue,
    /// `x-amz-trailer` announces something that is no checksum (S3: `InvalidRequest`).
    #[error("the value specified in the x-amz-trailer header is not supported")]
    UnsupportedTrailer,
    /// The trailer is not the announced one (S3: `MalformedTrailerError`).
    #[error("the trailer is not the one that x-amz-trailer announces")]
    TrailerMismatch,
    /// The body does not have the MD5 of `Content-MD5` (S3: `BadDigest`).
    #[error("the Content-MD5 you specified did not match what we received")]
    BadContentMd5,
    /// The body does not have the checksum of that algorithm (S3: `BadDigest`).
    #[error("the {0} you specified did not match the calculated checksum")]
    BadChecksum(Algorithm),
    /// The body does not have the SHA-256 that was signed (S3: `XAmzContentSHA256Mismatch`).
    #[error("the provided x-amz-content-sha256 header does not match what was computed")]
    BadPayloadHash {
        /// What `x-amz-content-sha256` says.
        promised: [u8; 32],
        /// That of the body that came.
        computed: [u8; 32],
    },
    /// A value that was promised was not computed; the hashes were made for another request.
    #[error("a promised checksum was not computed")]
    NotComputed,
}

/// The checksum algorithms of S3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// CRC-32 (ISO-HDLC), 4 bytes.
    Crc32,
    /// CRC-32C (iSCSI), 4 bytes.
    Crc32c,
    /// CRC-64/NVME, 8 bytes.
    Crc64Nvme,
    /// SHA-1, 20 bytes.
    Sha1,
    /// SHA-256, 32 bytes.
    Sha256,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Crc32,
        Self::Crc32c,
        Self::Crc64Nvme,
        Self::Sha1,
        Self::Sha256,
    ];

    /// The name in `x-amz-checksum-algorithm` and in XML, such as `CRC64NVME`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
            Self::Crc64Nvme => "CRC64NVME",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
        }
    }

    /// The name of the header that carries a value, such as `x-amz-checksum-crc64nvme`.
    #[must_use]
    pub fn header(self) -> &'static str {
        match self {
            Self::Crc32 => "x-amz-checksum-crc32",
            Self::Crc32c => "x-amz-checksum-crc32c",
            Self::Crc64Nvme => "x-amz-checksum-crc64nvme",
            Self::Sha1 => "x-amz-checksum-sha1",
            Self::Sha256 => "x-amz-checksum-sha256",
        }
    }

    /// The name of the XML element that carries a value, such as `ChecksumCRC64NVME`.
    #[must_use]
    pub fn element(self) -> &'static str {
        match self {
            Self::Crc32 => "ChecksumCRC32",
            Self::Crc32c => "ChecksumCRC32C",
            Self::Crc64Nvme => "ChecksumCRC64NVME",
            Self::Sha1 => "ChecksumSHA1",
            Self::Sha256 => "ChecksumSHA256",
        }
    }

    /// Length of a value in bytes, at most 32.
    #[must_use]
    pub fn length(self) -> usize {
        match self {
            Self::Crc32 | Self::Crc32c => 4,
            Self::Crc64Nvme => 8,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }

    /// The algorithm of that [`name`](Self::name), in either case.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
    }

    /// The algorithm of that [`header`](Self::header), in either case.
    #[must_use]
    pub fn from_header(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.header().eq_ignore_ascii_case(name))
    }

    /// The CRC behind it, if it is one.
    fn crc(self) -> Option<CrcAlgorithm> {
        match self {
            Self::Crc32 => Some(CrcAlgorithm::Crc32IsoHdlc),
            Self::Crc32c => Some(CrcAlgorithm::Crc32Iscsi),
            Self::Crc64Nvme => Some(CrcAlgorithm::Crc64Nvme),
            Self::Sha1 | Self::Sha256 => None,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One checksum value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Checksum {
    algorithm: Algorithm,
    /// Zero behind the length of the algorithm.
    bytes: [u8; 32],
}

impl Checksum {
    /// From raw bytes in big-endian order; `None` if they are not as many as the algorithm has.
    #[must_use]
    pub fn from_bytes(algorithm: Algorithm, value: &[u8]) -> Option<Self> {
        if value.len() != algorithm.length() {
            return None;
        }
        let mut bytes = [0; 32];
        bytes.get_mut(..value.len())?.copy_from_slice(value);
        Some(Self { algorithm, bytes })
    }

    /// From the base64 that headers and XML carry.
    ///
    /// # Errors
    ///
    /// [`ChecksumError::InvalidValue`].
    pub fn parse(algorithm: Algorithm, base64: &str) -> Result<Self, ChecksumError> {
        let invalid = ChecksumError::InvalidValue(algorithm.header());
        if base64.len() > 44 {
            return Err(invalid);
        }
        BASE64
            .decode(base64)
            .ok()
            .and_then(|bytes| Self::from_bytes(algorithm, &bytes))
            .ok_or(invalid)
    }

    /// Of data that is all there.
    #[must_use]
    pub fn of(algorithm: Algorithm, data: &[u8]) -> Self {
        let mut running = Running::new(algorithm);
        running.update(data);
        running.finish()
    }

    /// The CRC of two pieces of data one after the other, from the CRC of each (`self` first) and the
    /// length of the second in bytes. `None` if the algorithms differ or are no CRC.
    #[must_use]
    pub fn combine(&self, second: &Self, second_length: u64) -> Option<Self> {
        let crc = self.algorithm.crc()?;
        if self.algorithm != second.algorithm {
            return None;
        }
        let combined =
            crc_fast::checksum_combine(crc, self.as_number(), second.as_number(), second_length);
        Some(Self::from_crc(self.algorithm, combined))
    }

    /// Its algorithm.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Its bytes in big-endian order.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes
            .get(..self.algorithm.length())
            .unwrap_or_default()
    }

    /// As headers and XML carry it.
    #[must_use]
    pub fn to_base64(&self) -> String {
        BASE64.encode(self.as_bytes())
    }

    fn as_number(&self) -> u64 {
        self.as_bytes()
            .iter()
            .fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    fn from_crc(algorithm: Algorithm, value: u64) -> Self {
        let mut bytes = [0; 32];
        let big_endian = value.to_be_bytes();
        let length = algorithm.length().min(8);
        for (to, from) in bytes.iter_mut().zip(&big_endian[8 - length..]) {
            *to = *from;
        }
        Self { algorithm, bytes }
    }
}

impl fmt::Debug for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm, self.to_base64())
    }
}

/// A checksum in the making.
#[derive(Clone)]
enum Running {
    Crc(Algorithm, Box<crc_fast::Digest>),
    Sha1(Sha1),
    Sha256(Sha256),
}

impl Running {
    fn new(algorithm: Algorithm) -> Self {
        match (algorithm, algorithm.crc()) {
            (_, Some(crc)) => Self::Crc(algorithm, Box::new(crc_fast::Digest::new(crc))),
            (Algorithm::Sha1, None) => Self::Sha1(Sha1::new()),
            (_, None) => Self::Sha256(Sha256::new()),
        }
    }

    fn update(&mut self, data: &[u8]) {
        match self {
            Self::Crc(_, digest) => digest.update(data),
            Self::Sha1(digest) => digest.update(data),
            Self::Sha256(digest) => digest.update(data),
        }
    }

    fn finish(self) -> Checksum {
        let mut bytes = [0; 32];
        let algorithm = match self {
            Self::Crc(algorithm, digest) => {
                return Checksum::from_crc(algorithm, digest.finalize());
            }
            Self::Sha1(digest) => {
                bytes[..20].copy_from_slice(&digest.finalize());
                Algorithm::Sha1
            }
            Self::Sha256(digest) => {
                bytes.copy_from_slice(&digest.finalize());
                Algorithm::Sha256
            }
        };
        Checksum { algorithm, bytes }
    }
}

/// Running hashes over one body. Each byte is given to [`update`](Self::update) once.
#[derive(Clone)]
pub struct Hashes {
    md5: Option<Md5>,
    sha256: Option<Sha256>,
    /// `None` also where SHA-256 serves both.
    checksum: Option<Running>,
    /// What `sha256` is reported as, beside the payload hash.
    checksum_is_sha256: bool,
    length: u64,
}

impl Hashes {
    /// Hashes to run: MD5, the SHA-256 of the payload, and at most one S3 checksum.
    #[must_use]
    pub fn new(md5: bool, sha256: bool, checksum: Option<Algorithm>) -> Self {
        let checksum_is_sha256 = checksum == Some(Algorithm::Sha256);
        Self {
            md5: md5.then(Md5::new),
            sha256: (sha256 || checksum_is_sha256).then(Sha256::new),
            checksum: checksum.filter(|_| !checksum_is_sha256).map(Running::new),
            checksum_is_sha256,
            length: 0,
        }
    }

    /// Leaves MD5 to the caller, who makes it elsewhere. Whether it was among the hashes.
    #[must_use]
    pub fn without_md5(&mut self) -> bool {
        self.md5.take().is_some()
    }

    /// Leaves SHA-256 to the caller, as well.
    #[must_use]
    pub fn without_sha256(&mut self) -> bool {
        self.sha256.take().is_some()
    }

    /// Takes in the next bytes of the body.
    pub fn update(&mut self, data: &[u8]) {
        for block in data.chunks(BLOCK) {
            if let Some(md5) = &mut self.md5 {
                md5.update(block);
            }
            if let Some(sha256) = &mut self.sha256 {
                sha256.update(block);
            }
            if let Some(checksum) = &mut self.checksum {
                checksum.update(block);
            }
        }
        self.length = self.length.saturating_add(data.len() as u64);
    }

    /// The values over everything that was taken in.
    #[must_use]
    pub fn finish(self) -> Finished {
        self.finish_with(None, None)
    }

    /// The same, with those that were left to the caller.
    #[must_use]
    pub fn finish_with(self, md5: Option<[u8; 16]>, sha256: Option<[u8; 32]>) -> Finished {
        let own = self.sha256.map(|digest| digest.finalize().into());
        let sha256 = own.or(sha256);
        let checksum = match (self.checksum, sha256) {
            (Some(running), _) => Some(running.finish()),
            (None, Some(bytes)) if self.checksum_is_sha256 => Some(Checksum {
                algorithm: Algorithm::Sha256,
                bytes,
            }),
            _ => None,
        };
        Finished {
            md5: self.md5.map(|digest| digest.finalize().into()).or(md5),
            sha256,
            checksum,
            length: self.length,
        }
    }
}

impl fmt::Debug for Hashes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hashes")
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}

/// The values of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// Its MD5, if asked for.
    pub md5: Option<[u8; 16]>,
    /// Its SHA-256, if asked for or computed as the checksum.
    pub sha256: Option<[u8; 32]>,
    /// Its S3 checksum, if asked for.
    pub checksum: Option<Checksum>,
    /// Its length in bytes.
    pub length: u64,
}

/// What a request promises of its body.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expected {
    md5: Option<[u8; 16]>,
    payload_sha256: Option<[u8; 32]>,
    checksum: Option<Checksum>,
    trailer: Option<Algorithm>,
}

impl Expected {
    /// Reads the headers of an upload. `payload_sha256` is the hash that the request's signature covers,
    /// if it covers one.
    ///
    /// Not for CompleteMultipartUpload, whose `x-amz-checksum-*` is of the object and not of the body.
    ///
    /// # Errors
    ///
    /// See [`ChecksumError`].
    pub fn from_headers(
        headers: &HeaderMap,
        payload_sha256: Option<[u8; 32]>,
    ) -> Result<Self, ChecksumError> {
        let checksum = header_checksum(headers)?;
        let trailer = announced_trailer(headers)?;
        if checksum.is_some() && trailer.is_some() {
            return Err(ChecksumError::SeveralChecksums);
        }
        if let Some(value) = headers.get(SDK_ALGORITHM) {
            let named = value
                .to_str()
                .ok()
                .and_then(Algorithm::from_name)
                .ok_or(ChecksumError::UnsupportedAlgorithm)?;
            if checksum.map(|value| value.algorithm).or(trailer) != Some(named) {
                return Err(ChecksumError::AlgorithmWithoutValue);
            }
        }
        Ok(Self {
            md5: content_md5(headers)?,
            payload_sha256,
            checksum,
            trailer,
        })
    }

    /// The S3 checksum algorithm in use, whether its value comes as header or as trailer.
    #[must_use]
    pub fn algorithm(&self) -> Option<Algorithm> {
        self.checksum.map(|value| value.algorithm).or(self.trailer)
    }

    /// The value of `Content-MD5`, known before the body.
    #[must_use]
    pub fn md5(&self) -> Option<[u8; 16]> {
        self.md5
    }

    /// The checksum that came as a header, known before the body.
    #[must_use]
    pub fn checksum(&self) -> Option<Checksum> {
        self.checksum
    }

    /// The hashes this request needs. `md5` asks for MD5 even where it is not promised, `otherwise`
    /// names the checksum to compute where the request names none.
    #[must_use]
    pub fn hashes(&self, md5: bool, otherwise: Option<Algorithm>) -> Hashes {
        Hashes::new(
            md5 || self.md5.is_some(),
            self.payload_sha256.is_some(),
            self.algorithm().or(otherwise),
        )
    }

    /// Holds the promises against the body. `trailers` are those that came with it, empty if none did.
    ///
    /// # Errors
    ///
    /// See [`ChecksumError`].
    pub fn check(&self, body: &Finished, trailers: &HeaderMap) -> Result<(), ChecksumError> {
        if let Some(promised) = self.payload_sha256 {
            let computed = body.sha256.ok_or(ChecksumError::NotComputed)?;
            if computed != promised {
                return Err(ChecksumError::BadPayloadHash { promised, computed });
            }
        }
        if let Some(expected) = self.md5
            && body.md5.ok_or(ChecksumError::NotComputed)? != expected
        {
            return Err(ChecksumError::BadContentMd5);
        }
        let expected = match self.trailer {
            Some(algorithm) => {
                let value = trailers
                    .get(algorithm.header())
                    .filter(|_| trailers.len() == 1)
                    .ok_or(ChecksumError::TrailerMismatch)?;
                let text = value
                    .to_str()
                    .map_err(|_| ChecksumError::InvalidValue(algorithm.header()))?;
                Some(Checksum::parse(algorithm, text)?)
            }
            None if trailers.is_empty() => self.checksum,
            None => return Err(ChecksumError::TrailerMismatch),
        };
        if let Some(expected) = expected {
            let computed = body
                .checksum
                .filter(|computed| computed.algorithm == expected.algorithm)
                .ok_or(ChecksumError::NotComputed)?;
            if computed != expected {
                return Err(ChecksumError::BadChecksum(expected.algorithm));
            }
        }
        Ok(())
    }
}

/// The checksum of a whole object, as CompleteMultipartUpload names it in a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObjectChecksum {
    /// Its value: of the object, or of its parts' values.
    pub value: Checksum,
    /// How many parts it is made of, where it says so: `-N` behind the value.
    pub parts: Option<u32>,
}

impl ObjectChecksum {
    /// Reads the headers of CompleteMultipartUpload.
    ///
    /// # Errors
    ///
    /// See [`ChecksumError`].
    pub fn from_headers(headers: &HeaderMap) -> Result<Option<Self>, ChecksumError> {
        only_checksum(headers, |algorithm, text| {
            let (value, parts) = match text.rsplit_once('-') {
                None => (text, None),
                Some((value, count)) => {
                    let digits = !count.is_empty() && count.bytes().all(|b| b.is_ascii_digit());
                    let count = digits.then(|| count.parse().ok()).flatten();
                    let invalid = ChecksumError::InvalidValue(algorithm.header());
                    (value, Some(count.ok_or(invalid)?))
                }
            };
            let value = Checksum::parse(algorithm, value)?;
            Ok(Self { value, parts })
        })
    }
}

fn content_md5(headers: &HeaderMap) -> Result<Option<[u8; 16]>, ChecksumError> {
    let mut values = headers.get_all(CONTENT_MD5).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() || value.len() > 24 {
        return Err(ChecksumError::InvalidContentMd5);
    }
    BASE64
        .decode(value.as_bytes())
        .ok()
        .and_then(|bytes| bytes.try_into().ok())
        .map(Some)
        .ok_or(ChecksumError::InvalidContentMd5)
}

fn header_checksum(headers: &HeaderMap) -> Result<Option<Checksum>, ChecksumError> {
    only_checksum(headers, Checksum::parse)
}

/// The one checksum header that a request may have.
fn only_checksum<T>(
    headers: &HeaderMap,
    parse: impl Fn(Algorithm, &str) -> Result<T, ChecksumError>,
) -> Result<Option<T>, ChecksumError> {
    let mut found = None;
    for (name, value) in headers {
        let Some(kind) = name.as_str().strip_prefix(PREFIX) else {
            continue;
        };
        if NOT_VALUES.contains(&kind) {
            continue;
        }
        let algorithm = Algorithm::from_name(kind).ok_or(ChecksumError::UnsupportedAlgorithm)?;
        if found.is_some() {
            return Err(ChecksumError::SeveralChecksums);
        }
        let text = value
            .to_str()
            .map_err(|_| ChecksumError::InvalidValue(algorithm.header()))?;
        found = Some(parse(algorithm, text)?);
    }
    Ok(found)
}

fn announced_trailer(headers: &HeaderMap) -> Result<Option<Algorithm>, ChecksumError> {
    let mut found = None;
    for value in headers.get_all(TRAILER) {
        let text = value
            .to_str()
            .map_err(|_| ChecksumError::UnsupportedTrailer)?;
        for name in text
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty())
        {
            let algorithm =
                Algorithm::from_header(name).ok_or(ChecksumError::UnsupportedTrailer)?;
            if found.is_some() {
                return Err(ChecksumError::SeveralChecksums);
            }
            found = Some(algorithm);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        map
    }

    /// The check values of the CRC catalogue, and the SHA of the same text.
    const CHECK: [(Algorithm, &str); 5] = [
        (Algorithm::Crc32, "y/Q5Jg=="),
        (Algorithm::Crc32c, "4waSgw=="),
        (Algorithm::Crc64Nvme, "rosUhgp5mIg="),
        (Algorithm::Sha1, "98O8HYCOBHMq32eZZczDTKeuNEE="),
        (
            Algorithm::Sha256,
            "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU=",
        ),
    ];

    #[test]
    fn values() {
        for (algorithm, base64) in CHECK {
            let value = Checksum::of(algorithm, b"123456789");
            assert_eq!(value.to_base64(), base64);
            assert_eq!(Checksum::parse(algorithm, &value.to_base64()), Ok(value));
            assert_eq!(value.as_bytes().len(), algorithm.length());
            assert_eq!(Algorithm::from_name(algorithm.name()), Some(algorithm));
            assert_eq!(Algorithm::from_header(algorithm.header()), Some(algorithm));
        }
        for text in [
            "",
            "y/Q5Jg",
            "y/Q5Jg==\n",
            "y_Q5Jg==",
            "y/Q5",
            "AAAAAAA=",
            "y/Q5Jh==",
        ] {
            assert_eq!(
                Checksum::parse(Algorithm::Crc32, text),
                Err(ChecksumError::InvalidValue("x-amz-checksum-crc32")),
                "{text}"
            );
        }
    }

    #[test]
    fn checksums_of_objects_may_tell_how_many_parts() {
        let read = |pairs: &[(&str, &str)]| ObjectChecksum::from_headers(&headers(pairs));
        let crc32 = "x-amz-checksum-crc32";
        let value = Checksum::parse(Algorithm::Crc32, "y/Q5Jg==").unwrap();
        assert_eq!(read(&[("x-amz-checksum-type", "COMPOSITE")]), Ok(None));
        for (text, parts) in [("y/Q5Jg==", None), ("y/Q5Jg==-12", Some(12))] {
            let want = ObjectChecksum { value, parts };
            assert_eq!(read(&[(crc32, text)]), Ok(Some(want)));
        }
        for text in [
            "",
            "y/Q5Jg",
            "y/Q5Jg==-",
            "y/Q5Jg==-x",
            "y/Q5Jg==-+1",
            "y/Q5Jg==--1",
            "y/Q5Jg==-1-2",
            "y/Q5Jg==-99999999999",
            "-1",
        ] {
            let want = Err(ChecksumError::InvalidValue(crc32));
            assert_eq!(read(&[(crc32, text)]), want, "{text}");
        }
        assert_eq!(
            read(&[(crc32, "y/Q5Jg=="), ("x-amz-checksum-crc32c", "4waSgw==")]),
            Err(ChecksumError::SeveralChecksums)
        );
        assert_eq!(
            read(&[("x-amz-checksum-md5", "JfnnlDI7RTiF9RgfG2JNCw==")]),
            Err(ChecksumError::UnsupportedAlgorithm)
        );
    }

    #[test]
    fn one_pass_over_everything() {
        let data: Vec<u8> = (0..100_000_u32).map(|n| n.to_be_bytes()[3]).collect();
        for algorithm in Algorithm::ALL {
            let mut hashes = Hashes::new(true, true, Some(algorithm));
            for piece in data.chunks(7777) {
                hashes.update(piece);
            }
            let finished = hashes.finish();
            assert_eq!(finished.length, 100_000);
            assert_eq!(finished.md5, Some(Md5::digest(&data).into()));
            assert_eq!(finished.sha256, Some(Sha256::digest(&data).into()));
            assert_eq!(finished.checksum, Some(Checksum::of(algorithm, &data)));
        }
        let nothing = Hashes::new(false, false, None).finish();
        assert_eq!(
            (nothing.md5, nothing.sha256, nothing.checksum),
            (None, None, None)
        );
    }

    #[test]
    fn what_headers_promise() {
        use ChecksumError::*;
        const CRC: (&str, &str) = ("x-amz-checksum-crc32", "y/Q5Jg==");
        let parse = |pairs: &[(&str, &str)]| Expected::from_headers(&headers(pairs), None);
        assert_eq!(parse(&[]), Ok(Expected::default()));
        for pairs in [
            &[CRC][..],
            &[CRC, ("x-amz-sdk-checksum-algorithm", "crc32")],
            &[CRC, ("x-amz-checksum-mode", "ENABLED")],
            &[CRC, ("x-amz-checksum-algorithm", "CRC32")],
            &[CRC, ("x-amz-checksum-type", "FULL_OBJECT")],
            &[("x-amz-trailer", "X-Amz-Checksum-CRC32")],
            &[
                ("x-amz-trailer", "x-amz-checksum-crc32"),
                ("x-amz-sdk-checksum-algorithm", "CRC32"),
            ],
        ] {
            let expected = parse(pairs).unwrap();
            assert_eq!(expected.algorithm(), Some(Algorithm::Crc32), "{pairs:?}");
        }
        for (pairs, want) in [
            (&[("content-md5", "x")][..], InvalidContentMd5),
            (&[("content-md5", "")], InvalidContentMd5),
            (&[("content-md5", "AAAA")], InvalidContentMd5),
            (
                &[
                    ("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg=="),
                    ("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg=="),
                ],
                InvalidContentMd5,
            ),
            (&[CRC, CRC], SeveralChecksums),
            (
                &[CRC, ("x-amz-checksum-crc32c", "4waSgw==")],
                SeveralChecksums,
            ),
            (
                &[CRC, ("x-amz-trailer", "x-amz-checksum-crc32")],
                SeveralChecksums,
            ),
            (
                &[("x-amz-trailer", "x-amz-checksum-crc32,x-amz-checksum-sha1")],
                SeveralChecksums,
            ),
            (
                &[("x-amz-checksum-crc32", "y/Q5")],
                InvalidValue("x-amz-checksum-crc32"),
            ),
            (&[("x-amz-checksum-xxhash", "AA==")], UnsupportedAlgorithm),
            (
                &[CRC, ("x-amz-sdk-checksum-algorithm", "MD5")],
                UnsupportedAlgorithm,
            ),
            (
                &[("x-amz-sdk-checksum-algorithm", "CRC32")],
                AlgorithmWithoutValue,
            ),
            (
                &[CRC, ("x-amz-sdk-checksum-algorithm", "SHA1")],
                AlgorithmWithoutValue,
            ),
            (&[("x-amz-trailer", "x-amz-meta-a")], UnsupportedTrailer),
        ] {
            assert_eq!(parse(pairs), Err(want), "{pairs:?}");
        }
    }

    #[test]
    fn what_the_body_is() {
        let none = HeaderMap::new();
        let finished = |expected: &Expected, body: &[u8]| {
            let mut hashes = expected.hashes(false, None);
            hashes.update(body);
            hashes.finish()
        };
        let body = b"123456789";
        let sha256: [u8; 32] = Sha256::digest(body).into();
        let all = Expected::from_headers(
            &headers(&[
                ("content-md5", "JfnnlDI7RTiF9RgfG2JNCw=="),
                ("x-amz-checksum-crc32", "y/Q5Jg=="),
            ]),
            Some(sha256),
        )
        .unwrap();
        assert_eq!(all.check(&finished(&all, body), &none), Ok(()));
        assert_eq!(
            all.check(&finished(&all, b"12345678"), &none),
            Err(ChecksumError::BadPayloadHash {
                promised: sha256,
                computed: Sha256::digest(b"12345678").into(),
            })
        );
        let without_hash = Expected {
            payload_sha256: None,
            ..all.clone()
        };
        assert_eq!(
            without_hash.check(&finished(&without_hash, b"x"), &none),
            Err(ChecksumError::BadContentMd5)
        );
        let crc = Expected {
            md5: None,
            ..without_hash
        };
        assert_eq!(
            crc.check(&finished(&crc, b"x"), &none),
            Err(ChecksumError::BadChecksum(Algorithm::Crc32))
        );
        assert_eq!(
            all.check(&Hashes::new(false, false, None).finish(), &none),
            Err(ChecksumError::NotComputed)
        );
        assert_eq!(
            crc.check(
                &Hashes::new(false, false, Some(Algorithm::Sha1)).finish(),
                &none
            ),
            Err(ChecksumError::NotComputed)
        );
        // A trailer that was not announced, in whatever form the body came.
        let trailers = headers(&[("x-amz-checksum-crc32", "y/Q5Jg==")]);
        assert_eq!(
            crc.check(&finished(&crc, body), &trailers),
            Err(ChecksumError::TrailerMismatch)
        );

        let late =
            Expected::from_headers(&headers(&[("x-amz-trailer", "x-amz-checksum-crc32")]), None)
                .unwrap();
        assert_eq!(late.check(&finished(&late, body), &trailers), Ok(()));
        assert_eq!(
            late.check(&finished(&late, b"x"), &trailers),
            Err(ChecksumError::BadChecksum(Algorithm::Crc32))
        );
        for (trailers, want) in [
            (none, ChecksumError::TrailerMismatch),
            (
                headers(&[("x-amz-checksum-crc32c", "4waSgw==")]),
                ChecksumError::TrailerMismatch,
            ),
            (
                headers(&[("x-amz-checksum-crc32", "y/Q5Jg=="), ("x", "y")]),
                ChecksumError::TrailerMismatch,
            ),
            (
                headers(&[("x-amz-checksum-crc32", "zz")]),
                ChecksumError::InvalidValue("x-amz-checksum-crc32"),
            ),
        ] {
            assert_eq!(late.check(&finished(&late, body), &trailers), Err(want));
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in "[ -~]{0,60}", which in 0usize..5) {
            let _ = Checksum::parse(Algorithm::ALL[which], &text);
            let map = headers(&[("content-md5", &text), ("x-amz-trailer", &text)]);
            let _ = Expected::from_headers(&map, None);
        }

        #[test]
        fn crcs_combine(first: Vec<u8>, second: Vec<u8>, which in 0usize..3) {
            let algorithm = Algorithm::ALL[which];
            let (one, two) = (Checksum::of(algorithm, &first), Checksum::of(algorithm, &second));
            let whole = Checksum::of(algorithm, &[&first[..], &second].concat());
            prop_assert_eq!(one.combine(&two, second.len() as u64), Some(whole));
        }
    }
}
