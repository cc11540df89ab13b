//! How parts become an object: which claims about them hold, and what ETag and checksum the whole has.
//!
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html>

use std::collections::{BTreeMap, HashMap};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use crc_fast::CrcAlgorithm;
use s3s::crypto::{Checksum, Crc32, Crc32c, Crc64Nvme, Md5, Sha1, Sha256};

use super::{Part, Upload};

/// The highest number a part can have; the lowest is 1.
pub(crate) const MAX_PART_NUMBER: u32 = 10_000;

/// What a client says when it completes an upload.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    pub(crate) parts: Vec<Claim>,
    /// Of the whole object, as in [`super::Record`].
    pub(crate) checksums: BTreeMap<String, String>,
    /// Whether the checksums are over those of the parts, where it says so.
    pub(crate) composite: Option<bool>,
    /// Bytes of the whole object.
    pub(crate) size: Option<u64>,
    /// The fewest bytes that every part but the last must have.
    pub(crate) smallest_part: u64,
}

/// What a client says of one part.
#[derive(Debug, Default)]
pub(crate) struct Claim {
    pub(crate) number: u32,
    /// Without quotes.
    pub(crate) etag: String,
    pub(crate) checksums: BTreeMap<String, String>,
}

impl Claims {
    /// Whether these are the parts, all of them.
    pub(super) fn are(&self, parts: &[(u32, Part)]) -> bool {
        self.parts.len() == parts.len()
            && self
                .parts
                .iter()
                .zip(parts)
                .all(|(claim, (number, part))| claim.number == *number && claim.etag == part.md5)
    }
}

/// Which claim does not hold.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AssemblyError {
    #[error("the list of parts is empty or not ascending")]
    Order,
    #[error("part {0} was not uploaded, or is not the one that was")]
    Part(u32),
    #[error("part {number} has {size} bytes")]
    TooSmall { number: u32, size: u64 },
    #[error("the {algorithm} checksum of part {number} is missing")]
    ChecksumMissing { algorithm: String, number: u32 },
    #[error("the upload has checksums of another type")]
    ChecksumType,
    #[error("{claimed} bytes are claimed and {actual} were uploaded")]
    Size { claimed: u64, actual: u64 },
    #[error("the checksum of the object is not the one that is claimed")]
    Digest,
    #[error("a digest that is kept cannot be read")]
    Kept,
}

/// An object, all but its record.
#[derive(Debug)]
pub(super) struct Assembly {
    /// With their places in the object.
    pub(super) parts: Vec<(u32, Part)>,
    pub(super) left_out: Vec<(u32, Part)>,
    pub(super) size: u64,
    pub(super) etag: String,
    /// Algorithm and value.
    pub(super) checksum: Option<(String, String)>,
}

/// Holds the claims against what was uploaded.
pub(super) fn assemble(
    upload: &Upload,
    uploaded: Vec<(u32, Part)>,
    claims: &Claims,
) -> Result<Assembly, AssemblyError> {
    let ascending = claims
        .parts
        .iter()
        .zip(claims.parts.iter().skip(1))
        .all(|(one, next)| one.number < next.number);
    let Some(last) = claims.parts.last().filter(|_| ascending) else {
        return Err(AssemblyError::Order);
    };
    let mut uploaded: HashMap<u32, Part> = uploaded.into_iter().collect();
    let mut parts = Vec::with_capacity(claims.parts.len());
    let mut size = 0_u64;
    for claim in &claims.parts {
        let number = claim.number;
        let mut part = uploaded
            .remove(&number)
            .filter(|part| part.md5 == claim.etag)
            .ok_or(AssemblyError::Part(number))?;
        for (algorithm, value) in &claim.checksums {
            if part.checksums.get(algorithm) != Some(value) {
                return Err(AssemblyError::Part(number));
            }
        }
        if let Some(algorithm) = upload.checksum.as_ref().filter(|_| upload.composite)
            && !claim.checksums.contains_key(algorithm)
        {
            return Err(AssemblyError::ChecksumMissing {
                algorithm: algorithm.clone(),
                number,
            });
        }
        if part.size < claims.smallest_part && number != last.number {
            let size = part.size;
            return Err(AssemblyError::TooSmall { number, size });
        }
        part.offset = size;
        size = size.saturating_add(part.size);
        parts.push((number, part));
    }
    if let Some(claimed) = claims.size
        && claimed != size
    {
        let actual = size;
        return Err(AssemblyError::Size { claimed, actual });
    }
    if upload.checksum.is_some()
        && claims
            .composite
            .is_some_and(|composite| composite != upload.composite)
    {
        return Err(AssemblyError::ChecksumType);
    }

    let checksum = match &upload.checksum {
        Some(algorithm) => {
            let value = if upload.composite {
                composite(algorithm, &parts)?
            } else {
                full_object(algorithm, &parts)?
            };
            Some((algorithm.clone(), value))
        }
        None => None,
    };
    for (algorithm, claimed) in &claims.checksums {
        let holds = checksum.as_ref().is_some_and(|(name, value)| {
            // The number of parts behind a composite checksum may be left out.
            let bare = value.split('-').next().unwrap_or_default();
            name == algorithm && (claimed == value || claimed == bare)
        });
        if !holds {
            return Err(AssemblyError::Digest);
        }
    }

    let mut md5s = Md5::new();
    for (_, part) in &parts {
        md5s.update(&from_hex(&part.md5).ok_or(AssemblyError::Kept)?);
    }
    let etag = format!("{}-{}", to_hex(md5s.finalize().as_ref()), parts.len());
    let mut left_out: Vec<_> = uploaded.into_iter().collect();
    left_out.sort_unstable_by_key(|(number, _)| *number);
    Ok(Assembly {
        parts,
        left_out,
        size,
        etag,
        checksum,
    })
}

/// The checksum over the checksums of the parts, and their number.
fn composite(algorithm: &str, parts: &[(u32, Part)]) -> Result<String, AssemblyError> {
    let mut of_parts = Vec::new();
    for (_, part) in parts {
        of_parts.extend(kept(algorithm, part)?);
    }
    let value = match algorithm {
        "crc32" => BASE64_STANDARD.encode(Crc32::checksum(&of_parts)),
        "crc32c" => BASE64_STANDARD.encode(Crc32c::checksum(&of_parts)),
        "crc64nvme" => BASE64_STANDARD.encode(Crc64Nvme::checksum(&of_parts)),
        "sha1" => BASE64_STANDARD.encode(Sha1::checksum(&of_parts)),
        "sha256" => BASE64_STANDARD.encode(Sha256::checksum(&of_parts)),
        _ => return Err(AssemblyError::Kept),
    };
    Ok(format!("{value}-{}", parts.len()))
}

/// The checksum over the whole body, from those of the parts.
fn full_object(algorithm: &str, parts: &[(u32, Part)]) -> Result<String, AssemblyError> {
    let crc = match algorithm {
        "crc32" => CrcAlgorithm::Crc32IsoHdlc,
        "crc32c" => CrcAlgorithm::Crc32Iscsi,
        "crc64nvme" => CrcAlgorithm::Crc64Nvme,
        _ => return Err(AssemblyError::Kept),
    };
    let mut whole = None;
    let mut length = 0;
    for (_, part) in parts {
        let value = kept(algorithm, part)?;
        length = value.len();
        let value = value
            .iter()
            .fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        whole = Some(match whole {
            Some(before) => crc_fast::checksum_combine(crc, before, value, part.size),
            None => value,
        });
    }
    let bytes = whole.unwrap_or_default().to_be_bytes();
    let value = bytes.get(bytes.len().saturating_sub(length)..);
    Ok(BASE64_STANDARD.encode(value.unwrap_or_default()))
}

fn kept(algorithm: &str, part: &Part) -> Result<Vec<u8>, AssemblyError> {
    part.checksums
        .get(algorithm)
        .and_then(|value| BASE64_STANDARD.decode(value).ok())
        .ok_or(AssemblyError::Kept)
}

pub(crate) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text
        .chars()
        .map(|digit| u8::try_from(digit.to_digit(16)?).ok())
        .collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    Some(
        digits
            .as_chunks::<2>()
            .0
            .iter()
            .map(|[high, low]| high << 4 | low)
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALGORITHMS: [&str; 5] = ["crc32", "crc32c", "crc64nvme", "sha1", "sha256"];

    fn digest(algorithm: &str, bytes: &[u8]) -> String {
        match algorithm {
            "crc32" => BASE64_STANDARD.encode(Crc32::checksum(bytes)),
            "crc32c" => BASE64_STANDARD.encode(Crc32c::checksum(bytes)),
            "crc64nvme" => BASE64_STANDARD.encode(Crc64Nvme::checksum(bytes)),
            "sha1" => BASE64_STANDARD.encode(Sha1::checksum(bytes)),
            _ => BASE64_STANDARD.encode(Sha256::checksum(bytes)),
        }
    }

    fn part(body: &[u8]) -> Part {
        Part {
            blob: serde_json::from_value("ab".into()).unwrap(),
            size: body.len() as u64,
            md5: to_hex(Md5::checksum(body).as_ref()),
            modified: 0,
            checksums: ALGORITHMS
                .iter()
                .map(|name| ((*name).to_owned(), digest(name, body)))
                .collect(),
            offset: 0,
        }
    }

    fn upload(checksum: Option<&str>, composite: bool) -> Upload {
        Upload {
            initiated: 0,
            attributes: Default::default(),
            tags: Default::default(),
            checksum: checksum.map(str::to_owned),
            composite,
        }
    }

    fn claim(number: u32, body: &[u8]) -> Claim {
        let part = part(body);
        Claim {
            number,
            etag: part.md5,
            checksums: part.checksums,
        }
    }

    const BODIES: [&[u8]; 3] = [b"first part", b"second", b""];

    fn uploaded() -> Vec<(u32, Part)> {
        [1, 5, 10_000].into_iter().zip(BODIES.map(part)).collect()
    }

    fn claims() -> Claims {
        Claims {
            parts: vec![
                claim(1, BODIES[0]),
                claim(5, BODIES[1]),
                claim(10_000, BODIES[2]),
            ],
            ..Claims::default()
        }
    }

    #[test]
    fn crcs_of_parts_give_the_crc_of_the_whole() {
        for algorithm in ["crc32", "crc32c", "crc64nvme"] {
            let whole = assemble(&upload(Some(algorithm), false), uploaded(), &claims()).unwrap();
            let expected = digest(algorithm, &BODIES.concat());
            assert_eq!(whole.checksum, Some((algorithm.to_owned(), expected)));
            assert_eq!(whole.size, 16);
            let offsets: Vec<_> = whole.parts.iter().map(|(_, part)| part.offset).collect();
            assert_eq!(offsets, [0, 10, 16]);
        }
    }

    #[test]
    fn a_composite_checksum_is_over_the_checksums() {
        for algorithm in ALGORITHMS.into_iter().filter(|name| *name != "crc64nvme") {
            let whole = assemble(&upload(Some(algorithm), true), uploaded(), &claims()).unwrap();
            let mut digests = Vec::new();
            for body in BODIES {
                digests.extend(BASE64_STANDARD.decode(digest(algorithm, body)).unwrap());
            }
            let expected = format!("{}-3", digest(algorithm, &digests));
            assert_eq!(whole.checksum, Some((algorithm.to_owned(), expected)));
        }
    }

    #[test]
    fn the_etag_is_the_md5_of_the_md5s() {
        let whole = assemble(&upload(None, false), uploaded(), &claims()).unwrap();
        // Computed with another implementation.
        assert_eq!(whole.etag, "4464e57f9a1728f4f676e3017b21c3de-3");
    }

    fn refused(change: impl FnOnce(&mut Claims), upload: &Upload) -> AssemblyError {
        let mut claims = claims();
        change(&mut claims);
        assemble(upload, uploaded(), &claims).unwrap_err()
    }

    #[test]
    fn each_claim_is_held_against_what_was_uploaded() {
        let plain = upload(None, false);
        let composite = upload(Some("sha256"), true);
        let full = upload(Some("crc32"), false);
        use AssemblyError::{ChecksumMissing, ChecksumType, Digest, Order, Part, Size, TooSmall};
        assert_eq!(refused(|claims| claims.parts.clear(), &plain), Order);
        assert_eq!(refused(|claims| claims.parts.reverse(), &plain), Order);
        assert_eq!(refused(|claims| claims.parts[1].number = 1, &plain), Order);
        assert_eq!(
            refused(|claims| claims.parts[1].number = 6, &plain),
            Part(6)
        );
        assert_eq!(
            refused(|claims| claims.parts[1].etag = "x".into(), &plain),
            Part(5)
        );
        let other = |claims: &mut Claims| {
            claims.parts[2].checksums = part(b"x").checksums;
        };
        assert_eq!(refused(other, &plain), Part(10_000));
        assert_eq!(
            refused(|claims| claims.smallest_part = 7, &plain),
            TooSmall { number: 5, size: 6 }
        );
        assert_eq!(
            refused(|claims| claims.size = Some(15), &plain),
            Size {
                claimed: 15,
                actual: 16
            }
        );
        assert_eq!(
            refused(|claims| claims.parts[0].checksums.clear(), &composite),
            ChecksumMissing {
                algorithm: "sha256".into(),
                number: 1
            }
        );
        assert_eq!(
            refused(|claims| claims.composite = Some(false), &composite),
            ChecksumType
        );
        let checksum = |name: &str, value: &str| {
            let entry = (name.to_owned(), value.to_owned());
            move |claims: &mut Claims| claims.checksums.extend([entry])
        };
        assert_eq!(refused(checksum("crc32", "AAAAAA=="), &full), Digest);
        let right = digest("crc32", &BODIES.concat());
        assert_eq!(refused(checksum("crc32c", &right), &full), Digest);
        assert_eq!(refused(checksum("crc32", &right), &plain), Digest);
        let mut claims = claims();
        checksum("crc32", &right)(&mut claims);
        assemble(&full, uploaded(), &claims).unwrap();
    }

    #[test]
    fn the_last_part_may_be_of_any_size_and_others_are_left_out() {
        let mut claims = claims();
        claims.parts.pop();
        claims.smallest_part = 7;
        let whole = assemble(&upload(None, false), uploaded(), &claims).unwrap();
        assert_eq!((whole.parts.len(), whole.left_out.len()), (2, 1));
        assert!(whole.etag.ends_with("-2"));
    }
}
