//! Which headers are bound to an object, and their digest.

use std::borrow::Cow;

use sha2::{Digest, Sha256};

use super::encoded_word;
use super::lp;

/// What the names of the gateway's own metadata begin with. They are never shown to a client, and
/// refused from one. Stands on disk: may never change.
pub const RESERVED_PREFIX: &str = "x-amz-meta-sealgate";

/// What the digest begins with. Stands on disk: may never change.
const LABEL: &[u8] = b"sealgate/v1/metadata";

/// What the names of user metadata begin with.
const USER_PREFIX: &str = "x-amz-meta-";

/// The bound headers that are not user metadata. Stand on disk: may never change.
pub const CONTENT_HEADERS: [&str; 6] = [
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-type",
    "expires",
];

/// Whether a header is one of the gateway's own. Upper and lower case are the same.
#[must_use]
pub fn reserved_header(name: &str) -> bool {
    name.as_bytes()
        .get(..RESERVED_PREFIX.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(RESERVED_PREFIX.as_bytes()))
}

/// Whether a header of an object is covered by the metadata digest. Upper and lower case are the same.
#[must_use]
pub fn bound_header(name: &str) -> bool {
    let user = name
        .as_bytes()
        .get(..USER_PREFIX.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(USER_PREFIX.as_bytes()));
    if user {
        return !reserved_header(name);
    }
    CONTENT_HEADERS
        .iter()
        .any(|known| known.eq_ignore_ascii_case(name))
}

/// The digest of an object's bound headers; all others are left out here.
///
/// Names may be in any case. Values are taken without leading and trailing blanks; several of one name
/// are joined with `,` in the order given. A value that is one RFC 2047 word in UTF-8 counts as what it
/// stands for, since some stores return non-ASCII metadata so.
#[must_use]
pub fn metadata_digest<N, V>(headers: impl IntoIterator<Item = (N, V)>) -> [u8; 32]
where
    N: AsRef<str>,
    V: AsRef<[u8]>,
{
    let mut bound: Vec<(N, V)> = headers
        .into_iter()
        .filter(|(name, _)| bound_header(name.as_ref()))
        .collect();
    // Values of one name stay in the order in which they came.
    bound.sort_by(|(one, _), (other, _)| in_lower_case(one).cmp(in_lower_case(other)));
    let mut message = Vec::with_capacity(256);
    lp(LABEL, &mut message);
    let same =
        |(one, _): &(N, V), (other, _): &(N, V)| one.as_ref().eq_ignore_ascii_case(other.as_ref());
    for values in bound.chunk_by(same) {
        let [(name, first), more @ ..] = values else {
            continue;
        };
        let mut value = Cow::Borrowed(trim(first.as_ref()));
        for (_, next) in more {
            let joined = value.to_mut();
            joined.push(b',');
            joined.extend_from_slice(trim(next.as_ref()));
        }
        let value = encoded_word::decode(&value).map_or(value, Cow::Owned);
        lp(name.as_ref().to_ascii_lowercase().as_bytes(), &mut message);
        lp(&value, &mut message);
    }
    Sha256::digest(message).into()
}

/// The bytes of a name in lower case.
fn in_lower_case(name: &impl AsRef<str>) -> impl Iterator<Item = u8> {
    name.as_ref().bytes().map(|byte| byte.to_ascii_lowercase())
}

fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(headers: &[(&str, &str)]) -> [u8; 32] {
        metadata_digest(headers.iter().copied())
    }

    #[test]
    fn which_headers_are_bound() {
        for bound in ["Content-Type", "expires", "x-amz-meta-a", "X-Amz-Meta-seal"] {
            assert!(bound_header(bound), "{bound}");
        }
        for free in [
            "content-length",
            "etag",
            "x-amz-tagging",
            "x-amz-meta-sealgate-mac",
            "X-Amz-Meta-SealGate2",
        ] {
            assert!(!bound_header(free), "{free}");
        }
        assert!(reserved_header("X-AMZ-META-SEALGATE"));
        assert!(!reserved_header("x-amz-meta-sealgat"));
        assert!(!reserved_header("x-amz-meta-sealgatä"));
    }

    #[test]
    fn order_case_and_blanks_do_not_count() {
        let one = digest(&[("Content-Type", " text/plain\t"), ("x-amz-meta-a", "1")]);
        let other = digest(&[
            ("X-Amz-Meta-A", "1"),
            ("etag", "x"),
            ("content-type", "text/plain"),
        ]);
        assert_eq!(one, other);
        assert_ne!(one, digest(&[("content-type", "text/plain")]));
    }

    #[test]
    fn several_of_one_name_are_joined() {
        let joined = digest(&[("x-amz-meta-a", "1,2")]);
        assert_eq!(
            joined,
            digest(&[("x-amz-meta-a", " 1"), ("X-Amz-Meta-A", "2 ")])
        );
        assert_ne!(
            joined,
            digest(&[("x-amz-meta-a", "2"), ("x-amz-meta-a", "1")])
        );
    }

    #[test]
    fn an_encoded_word_counts_as_its_text() {
        let plain = digest(&[("x-amz-meta-a", "Grüße")]);
        assert_eq!(
            plain,
            digest(&[("x-amz-meta-a", "=?UTF-8?B?R3LDvMOfZQ==?=")])
        );
        assert_eq!(
            plain,
            digest(&[("x-amz-meta-a", "=?UTF-8?Q?Gr=C3=BC=C3=9Fe?=")])
        );
        assert_ne!(plain, digest(&[("x-amz-meta-a", "Grüsse")]));
    }

    #[test]
    fn names_and_values_do_not_run_into_each_other() {
        assert_ne!(
            digest(&[("x-amz-meta-ab", "c")]),
            digest(&[("x-amz-meta-a", "bc")])
        );
        assert_ne!(digest(&[("x-amz-meta-a", "")]), digest(&[]));
    }
}
