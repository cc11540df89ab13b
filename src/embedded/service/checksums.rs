//! The checksums of a body: which a client announces, and how they compare to what came.

use std::collections::BTreeMap;

use http::HeaderMap;
use s3s::checksum::ChecksumHasher;
use s3s::crypto::Checksum as _;
use s3s::dto::{Checksum, ChecksumType};
use s3s::{S3Result, TrailingHeaders, s3_error};

/// The algorithms, as their headers call them.
const ALGORITHMS: [&str; 5] = ["crc32", "crc32c", "crc64nvme", "sha1", "sha256"];

/// The name of an algorithm, however it is written.
pub(super) fn algorithm(name: &str) -> S3Result<&'static str> {
    ALGORITHMS
        .into_iter()
        .find(|known| known.eq_ignore_ascii_case(name))
        .ok_or_else(|| s3_error!(InvalidRequest, "This checksum algorithm is not supported"))
}

pub(super) fn checksum_type(composite: bool) -> ChecksumType {
    ChecksumType::from_static(if composite {
        ChecksumType::COMPOSITE
    } else {
        ChecksumType::FULL_OBJECT
    })
}

/// The values that some input of `s3s` carries, as its headers or its XML gave them.
macro_rules! sent_checksums {
    ($input:expr) => {
        [
            ("crc32", $input.checksum_crc32.take()),
            ("crc32c", $input.checksum_crc32c.take()),
            ("crc64nvme", $input.checksum_crc64nvme.take()),
            ("sha1", $input.checksum_sha1.take()),
            ("sha256", $input.checksum_sha256.take()),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
    };
}
pub(super) use sent_checksums;

/// Puts values into some output of `s3s`.
macro_rules! set_checksums {
    ($output:expr, $checksums:expr) => {
        $output.checksum_crc32 = $checksums.get("crc32").cloned();
        $output.checksum_crc32c = $checksums.get("crc32c").cloned();
        $output.checksum_crc64nvme = $checksums.get("crc64nvme").cloned();
        $output.checksum_sha1 = $checksums.get("sha1").cloned();
        $output.checksum_sha256 = $checksums.get("sha256").cloned();
    };
}
pub(super) use set_checksums;

/// The checksums a client announces, by the name in their header.
#[derive(Default)]
pub(super) struct Expected {
    values: BTreeMap<&'static str, Option<String>>,
}

impl Expected {
    /// What the headers of an upload announce, besides values that `s3s` has parsed.
    pub(super) fn announced(
        algorithm: Option<&str>,
        headers: &HeaderMap,
        sent: impl Iterator<Item = (&'static str, String)>,
    ) -> S3Result<Self> {
        let mut expected = Self::default();
        if let Some(algorithm) = algorithm {
            expected.compute(algorithm)?;
        }
        for trailer in headers.get_all("x-amz-trailer") {
            let names = trailer.to_str().map_err(|_| s3_error!(InvalidRequest))?;
            for name in names.split(',') {
                if let Some(algorithm) = name.trim().strip_prefix("x-amz-checksum-") {
                    expected.compute(algorithm)?;
                }
            }
        }
        for (name, value) in sent {
            expected.values.insert(name, Some(value));
        }
        Ok(expected)
    }

    /// An algorithm whose value follows in the trailer, or is not given at all.
    pub(super) fn compute(&mut self, name: &str) -> S3Result<()> {
        self.values.entry(algorithm(name)?).or_default();
        Ok(())
    }

    pub(super) fn algorithms(&self) -> impl Iterator<Item = &'static str> {
        self.values.keys().copied()
    }

    pub(super) fn hasher(&self) -> S3Result<ChecksumHasher> {
        let mut hasher = ChecksumHasher::default();
        for name in self.values.keys() {
            match *name {
                "crc32" => hasher.crc32 = Some(Default::default()),
                "crc32c" => hasher.crc32c = Some(Default::default()),
                "crc64nvme" => hasher.crc64nvme = Some(Default::default()),
                "sha1" => hasher.sha1 = Some(s3s::crypto::Sha1::new()),
                "sha256" => hasher.sha256 = Some(s3s::crypto::Sha256::new()),
                _ => return Err(s3_error!(NotImplemented)),
            }
        }
        Ok(hasher)
    }

    pub(super) fn add_trailers(&mut self, trailers: Option<TrailingHeaders>) -> S3Result<()> {
        let Some(trailers) = trailers.and_then(|trailers| trailers.take()) else {
            return Ok(());
        };
        for (name, value) in &mut self.values {
            if let Some(sent) = trailers.get(format!("x-amz-checksum-{name}")) {
                let sent = sent.to_str().map_err(|_| s3_error!(InvalidRequest))?;
                *value = Some(sent.to_owned());
            }
        }
        Ok(())
    }

    /// What was verified.
    pub(super) fn verify(self, computed: &Checksum) -> S3Result<BTreeMap<String, String>> {
        let mut verified = BTreeMap::new();
        for (name, expected) in self.values {
            let actual = match name {
                "crc32" => &computed.checksum_crc32,
                "crc32c" => &computed.checksum_crc32c,
                "crc64nvme" => &computed.checksum_crc64nvme,
                "sha1" => &computed.checksum_sha1,
                _ => &computed.checksum_sha256,
            };
            if expected.is_some() && expected != *actual {
                return Err(s3_error!(BadDigest));
            }
            if let Some(actual) = actual {
                verified.insert(name.to_owned(), actual.clone());
            }
        }
        Ok(verified)
    }
}
