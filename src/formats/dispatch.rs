//! Which format an object is of: decided by its metadata, before any byte of its body is looked at.

use std::fmt;
use std::sync::Arc;

use http::HeaderMap;

use super::foreign::{Claimed, Described, Format};
use super::{Integrity, s3eg, s3ep, s3proxy, v1};
use crate::envelope::Record;

/// Hexadecimal digits of a data key that `s3proxy` has wrapped.
const WRAPPED_DIGITS: usize = 80;

/// The formats of other programs that are read, and until when.
pub struct Formats {
    formats: Vec<Box<dyn Format>>,
    /// Unix seconds from which objects without a MAC over their place are refused again; `None` where they never
    /// were accepted. No foreign format has such a MAC.
    unsigned_until: Option<i64>,
}

impl Formats {
    /// Reads `formats`, whose objects are bound to no place, until `unsigned_until` in unix seconds.
    #[must_use]
    pub fn new(formats: Vec<Box<dyn Format>>, unsigned_until: Option<i64>) -> Self {
        Self {
            formats,
            unsigned_until,
        }
    }

    /// Whether objects of these formats are read at that time, in unix seconds.
    #[must_use]
    pub fn read_at(&self, now: i64) -> bool {
        self.unsigned_until.is_some_and(|until| now < until)
    }

    /// Whether a header, in lower case, is metadata of one of the formats.
    #[must_use]
    pub fn owns(&self, header: &str) -> bool {
        self.formats.iter().any(|format| format.owns(header))
    }
}

impl fmt::Debug for Formats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.formats.iter().map(|format| format.name()).collect();
        f.debug_struct("Formats")
            .field("formats", &names)
            .field("unsigned_until", &self.unsigned_until)
            .finish()
    }
}

/// What an object's metadata claims.
pub enum Claim {
    /// Sealed by Sealgate.
    Sealed(Box<Record>),
    /// Of the format with that name.
    Foreign(&'static str, Arc<dyn Claimed>),
    /// Nothing: plaintext, or stripped.
    Nothing,
}

/// Decides. A sealgate record wins over everything else: what stands beside it is a client's metadata. `formats` are
/// those that the bucket reads, `now` is in unix seconds.
///
/// # Errors
/// [`Integrity::Ambiguous`] where two other formats claim the object, the `Legacy` kinds where the one that does is not
/// read, and what is wrong with the metadata.
pub fn claim(
    formats: Option<&Formats>,
    object: Described<'_>,
    now: i64,
) -> Result<Claim, Integrity> {
    if let Some(record) = v1::claim(object.headers)? {
        return Ok(Claim::Sealed(Box::new(record)));
    }
    let mut found = None;
    if let Some(known) = formats {
        for format in &known.formats {
            if let Some(claimed) = format.claim(object)?
                && found.replace((format.name(), claimed)).is_some()
            {
                return Err(Integrity::Ambiguous);
            }
        }
        if found.is_some() && !known.read_at(now) {
            return Err(match known.unsigned_until {
                Some(_) => Integrity::LegacyEnded,
                None => Integrity::Legacy,
            });
        }
    }
    match found {
        Some((name, claimed)) => Ok(Claim::Foreign(name, claimed)),
        None if looks_foreign(object.headers) => Err(Integrity::Legacy),
        None => Ok(Claim::Nothing),
    }
}

/// Whether an object is of a format that is known here, though nobody has set it up: its ciphertext must not be taken
/// for plaintext.
fn looks_foreign(headers: &HeaderMap) -> bool {
    s3proxy::looks_like(headers) || s3ep::looks_like(headers) || s3eg::looks_like(headers)
}

/// Whether an object that nothing claims may be one of these programs all the same, under names that nobody configured: a
/// value that is a wrapped key as `s3proxy` writes it, or a name that ends as those of keys do. A guess, for warnings: a
/// client may use such metadata for something else.
#[must_use]
pub fn resembles_foreign(headers: &HeaderMap) -> bool {
    headers.iter().any(|(name, value)| {
        let value = value.as_bytes();
        name.as_str().starts_with("x-amz-meta-")
            && (name.as_str().ends_with("encrypted-dek")
                || (value.len() == WRAPPED_DIGITS && value.iter().all(u8::is_ascii_hexdigit)))
    })
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::super::S3proxy;
    use super::*;

    const DIGITS: &str =
        "57c95ea41fe1585266b76548198f19f3f4b94b16feb2ea94ed984f1a90d6e0d857119d3b88eba59d";

    fn formats(until: Option<i64>) -> Formats {
        let tagged = |tag| Box::new(S3proxy::new([tag], ["a"], false)) as Box<dyn Format>;
        Formats::new(vec![tagged("one"), tagged("two")], until)
    }

    fn decide(
        formats: Option<&Formats>,
        pairs: &[(&'static str, &str)],
        now: i64,
    ) -> Result<&'static str, Integrity> {
        let headers: HeaderMap = pairs
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_str(value).unwrap(),
                )
            })
            .collect();
        let object = Described {
            bucket: "bucket",
            key: "key",
            headers: &headers,
        };
        claim(formats, object, now).map(|claim| match claim {
            Claim::Sealed(_) => "sealed",
            Claim::Foreign(name, _) => name,
            Claim::Nothing => "nothing",
        })
    }

    #[test]
    fn metadata_decides_and_dates_do() {
        let known = formats(Some(100));
        let one = ("x-amz-meta-one", DIGITS);
        assert_eq!(decide(Some(&known), &[], 0), Ok("nothing"));
        assert_eq!(decide(Some(&known), &[one], 99), Ok("s3proxy"));
        assert_eq!(
            decide(Some(&known), &[one], 100),
            Err(Integrity::LegacyEnded)
        );
        assert_eq!(
            decide(Some(&formats(None)), &[one], 0),
            Err(Integrity::Legacy)
        );
        let both = [one, ("x-amz-meta-two", DIGITS)];
        assert_eq!(decide(Some(&known), &both, 0), Err(Integrity::Ambiguous));
        let malformed = [("x-amz-meta-one", "00")];
        assert_eq!(
            decide(Some(&known), &malformed, 0),
            Err(Integrity::MetadataMalformed)
        );
        let twice = [one, one];
        assert_eq!(
            decide(Some(&known), &twice, 0),
            Err(Integrity::MetadataMalformed)
        );
        // Known by its usual name, though nobody has set it up here.
        for formats in [None, Some(&known)] {
            let usual = [("x-amz-meta-isec", DIGITS)];
            assert_eq!(decide(formats, &usual, 0), Err(Integrity::Legacy));
            let own = [("x-amz-meta-isec", "mine")];
            assert_eq!(decide(formats, &own, 0), Ok("nothing"));
        }
        // Some of the own metadata is not all of it.
        let stripped = [one, ("x-amz-meta-sealgate-mac", "x")];
        assert_eq!(
            decide(Some(&known), &stripped, 0),
            Err(Integrity::MetadataStripped)
        );
    }
}
