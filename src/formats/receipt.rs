//! The receipt that an uploaded part's ETag is (section 15 of the specification): all that completion has to know of
//! the part, vouched for by a key that only the object's data key gives. So no gateway has to remember parts.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use thiserror::Error;

use crate::aead::{Checksum, ChecksumAlgorithm, Dek, ObjectId, PartNumber, StreamHeader};

/// The first byte of a receipt's body. Stands in ETags that clients hold: may never change its meaning.
const VERSION: u8 = 1;
/// The part is held as a temporary object.
const HELD: u8 = 0x01;
/// The MD5 is known.
const HAS_MD5: u8 = 0x02;
/// Bytes of the tag.
const TAG_LEN: usize = 16;
/// Label at the start of what the tag covers.
const LABEL: &[u8] = b"sealgate/v1/receipt";
/// Longest ETag of a store that fits.
const MAX_STORE_ETAG: usize = 127;

/// Where a part belongs.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// Bucket, as the client names it.
    pub bucket: &'a str,
    /// Object key.
    pub key: &'a str,
    /// The store's upload id.
    pub upload_id: &'a str,
    /// Part number.
    pub number: PartNumber,
}

/// What is known of an uploaded part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Whether it is held as a temporary object, and not a part at the store.
    pub held: bool,
    /// Plaintext bytes.
    pub plaintext_len: u64,
    /// Salt and nonce prefix: the identity of this very upload of the part.
    pub header: StreamHeader,
    /// MD5 of the plaintext, where it was computed.
    pub md5: Option<[u8; 16]>,
    /// Checksum of the plaintext, where the upload has an algorithm.
    pub checksum: Option<Checksum>,
    /// The store's ETag of the part or the temporary object, without quotes.
    pub store_etag: String,
}

/// A receipt that is none, or not of this part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReceiptError {
    /// The text has not the form of a receipt: the ETag is another one.
    #[error("not a receipt")]
    Form,
    /// The tag is not that of this upload and part number.
    #[error("the receipt is not of this part")]
    NotAuthentic,
    /// An ETag of the store that no receipt can hold.
    #[error("the store's ETag cannot be kept")]
    StoreEtag,
}

impl Receipt {
    /// The ETag to hand out, without quotes.
    ///
    /// # Errors
    /// [`ReceiptError::StoreEtag`].
    pub fn seal(
        &self,
        dek: &Dek,
        object_id: &ObjectId,
        place: Place<'_>,
    ) -> Result<String, ReceiptError> {
        let mut first = [0; 16];
        match &self.md5 {
            Some(md5) => first.copy_from_slice(md5),
            None => first.copy_from_slice(&self.header.salt[..16]),
        }
        let mut body = self.encode()?;
        let tag: [u8; 32] = mac(dek, object_id, place, &first, &body)
            .finalize()
            .into_bytes()
            .into();
        body.extend_from_slice(&tag[..TAG_LEN]);
        let mut text = String::with_capacity(33 + body.len().div_ceil(3) * 4);
        for byte in first {
            let _ = std::fmt::Write::write_fmt(&mut text, format_args!("{byte:02x}"));
        }
        text.push('-');
        URL_SAFE_NO_PAD.encode_string(body, &mut text);
        Ok(text)
    }

    /// Reads an ETag without quotes that a client brought back.
    ///
    /// # Errors
    /// [`ReceiptError::Form`] where it is no receipt at all, [`ReceiptError::NotAuthentic`] where it is one of another
    /// upload or part, or was changed.
    pub fn open(
        text: &str,
        dek: &Dek,
        object_id: &ObjectId,
        place: Place<'_>,
    ) -> Result<Self, ReceiptError> {
        let (first, rest) = text.split_once('-').ok_or(ReceiptError::Form)?;
        let first = unhex(first).ok_or(ReceiptError::Form)?;
        let bytes = URL_SAFE_NO_PAD
            .decode(rest)
            .map_err(|_| ReceiptError::Form)?;
        let (body, tag) = bytes
            .split_last_chunk::<TAG_LEN>()
            .ok_or(ReceiptError::Form)?;
        if body.first() != Some(&VERSION) {
            return Err(ReceiptError::Form);
        }
        mac(dek, object_id, place, &first, body)
            .verify_truncated_left(tag)
            .map_err(|_| ReceiptError::NotAuthentic)?;
        Self::decode(first, body).ok_or(ReceiptError::NotAuthentic)
    }

    fn encode(&self) -> Result<Vec<u8>, ReceiptError> {
        let mut body = Vec::with_capacity(128);
        body.push(VERSION);
        body.push(if self.held { HELD } else { 0 } | if self.md5.is_some() { HAS_MD5 } else { 0 });
        body.extend_from_slice(&self.plaintext_len.to_be_bytes());
        body.extend_from_slice(&self.header.salt);
        body.extend_from_slice(&self.header.nonce_prefix);
        match &self.checksum {
            Some(checksum) => {
                body.push(checksum.algorithm().code());
                body.extend_from_slice(checksum.value());
            }
            None => body.push(0),
        }
        match unhex(&self.store_etag) {
            Some(bytes) => {
                body.push(16);
                body.extend_from_slice(&bytes);
            }
            None => {
                let etag = self.store_etag.as_bytes();
                if etag.is_empty() || etag.len() > MAX_STORE_ETAG || !etag.is_ascii() {
                    return Err(ReceiptError::StoreEtag);
                }
                body.push(128 | etag.len() as u8);
                body.extend_from_slice(etag);
            }
        }
        Ok(body)
    }

    fn decode(first: [u8; 16], body: &[u8]) -> Option<Self> {
        let (head, rest) = body.split_first_chunk::<2>()?;
        let flags = head[1];
        if head[0] != VERSION || flags & !(HELD | HAS_MD5) != 0 {
            return None;
        }
        let (length, rest) = rest.split_first_chunk::<8>()?;
        let (salt, rest) = rest.split_first_chunk::<32>()?;
        let (nonce_prefix, rest) = rest.split_first_chunk::<7>()?;
        let (algorithm, rest) = rest.split_first()?;
        let (checksum, rest) = match algorithm {
            0 => (None, rest),
            code => {
                let algorithm = ChecksumAlgorithm::from_code(*code)?;
                let (value, rest) = rest.split_at_checked(algorithm.value_len())?;
                (Some(Checksum::new(algorithm, value).ok()?), rest)
            }
        };
        let (kind, etag) = rest.split_first()?;
        let store_etag = match *kind {
            16 if etag.len() == 16 => etag.iter().map(|byte| format!("{byte:02x}")).collect(),
            kind if kind > 128 && etag.len() == usize::from(kind & 127) && etag.is_ascii() => {
                String::from_utf8(etag.to_vec()).ok()?
            }
            _ => return None,
        };
        Some(Self {
            held: flags & HELD != 0,
            plaintext_len: u64::from_be_bytes(*length),
            header: StreamHeader {
                salt: *salt,
                nonce_prefix: *nonce_prefix,
            },
            md5: (flags & HAS_MD5 != 0).then_some(first),
            checksum,
            store_etag,
        })
    }
}

fn mac(
    dek: &Dek,
    object_id: &ObjectId,
    place: Place<'_>,
    first: &[u8; 16],
    body: &[u8],
) -> Hmac<Sha256> {
    // A key of 32 bytes, padded to the block as HMAC does it: this form of it cannot fail.
    let mut block = zeroize::Zeroizing::new([0; 64]);
    block[..32].copy_from_slice(dek.receipt_key(object_id).as_slice());
    let mut mac = <Hmac<Sha256> as KeyInit>::new((&*block).into());
    for text in [
        LABEL,
        place.bucket.as_bytes(),
        place.key.as_bytes(),
        place.upload_id.as_bytes(),
    ] {
        mac.update(&(text.len() as u32).to_be_bytes());
        mac.update(text);
    }
    mac.update(&place.number.get().to_be_bytes());
    mac.update(first);
    mac.update(body);
    mac
}

/// Exactly 32 lower-case hexadecimal digits.
fn unhex(text: &str) -> Option<[u8; 16]> {
    let mut bytes = [0; 16];
    if text.len() != 32 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let digit = |c: u8| match c {
            b'0'..=b'9' => Some(c - b'0'),
            b'a'..=b'f' => Some(c - b'a' + 10),
            _ => None,
        };
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: ObjectId = ObjectId([7; 16]);

    fn dek() -> Dek {
        Dek::new([9; 32])
    }

    fn place(number: u16) -> Place<'static> {
        Place {
            bucket: "b",
            key: "k",
            upload_id: "u",
            number: PartNumber::new(number).unwrap(),
        }
    }

    fn receipt() -> Receipt {
        Receipt {
            held: false,
            plaintext_len: 5 << 20,
            header: StreamHeader {
                salt: [1; 32],
                nonce_prefix: [2; 7],
            },
            md5: Some([3; 16]),
            checksum: Checksum::new(ChecksumAlgorithm::Crc32, &[1, 2, 3, 4]).ok(),
            store_etag: "00112233445566778899aabbccddeeff".into(),
        }
    }

    #[test]
    fn a_receipt_begins_with_the_md5_and_is_no_md5() {
        let text = receipt().seal(&dek(), &ID, place(1)).unwrap();
        assert!(text.starts_with("03030303030303030303030303030303-"));
        assert_eq!(
            Receipt::open(&text, &dek(), &ID, place(1)).unwrap(),
            receipt()
        );
    }

    #[test]
    fn it_is_of_one_part_of_one_upload() {
        let text = receipt().seal(&dek(), &ID, place(1)).unwrap();
        let refused = |place| {
            assert_eq!(
                Receipt::open(&text, &dek(), &ID, place),
                Err(ReceiptError::NotAuthentic)
            );
        };
        refused(place(2));
        refused(Place {
            upload_id: "v",
            ..place(1)
        });
        refused(Place {
            key: "l",
            ..place(1)
        });
        // Lengths are part of what is covered: nothing moves between neighbours.
        refused(Place {
            bucket: "bk",
            key: "",
            ..place(1)
        });
        for (dek, id) in [(Dek::new([8; 32]), ID), (dek(), ObjectId([8; 16]))] {
            assert_eq!(
                Receipt::open(&text, &dek, &id, place(1)),
                Err(ReceiptError::NotAuthentic)
            );
        }
    }

    #[test]
    fn other_etags_are_no_receipts() {
        for text in [
            "",
            "-",
            "d41d8cd98f00b204e9800998ecf8427e",
            "d41d8cd98f00b204e9800998ecf8427e-1",
            "d41d8cd98f00b204e9800998ecf8427e-12",
            "D41D8CD98F00B204E9800998ECF8427E-AQ",
        ] {
            let opened = Receipt::open(text, &dek(), &ID, place(1));
            assert_eq!(opened, Err(ReceiptError::Form), "{text}");
        }
    }

    #[test]
    fn etags_of_any_store_are_kept() {
        for etag in ["x", "ABCDEF0011223344556677889900AABB", &"y".repeat(127)] {
            let receipt = Receipt {
                store_etag: etag.to_owned(),
                ..receipt()
            };
            let text = receipt.seal(&dek(), &ID, place(3)).unwrap();
            assert_eq!(
                Receipt::open(&text, &dek(), &ID, place(3)).unwrap(),
                receipt
            );
        }
        for etag in ["", "ü", &"y".repeat(128)] {
            let receipt = Receipt {
                store_etag: etag.to_owned(),
                ..receipt()
            };
            let refused = receipt.seal(&dek(), &ID, place(3));
            assert_eq!(refused, Err(ReceiptError::StoreEtag), "{etag}");
        }
    }

    proptest! {
        #[test]
        fn no_changed_character_passes(at in 0usize..200, to in "[0-9a-zA-Z_-]") {
            let text = receipt().seal(&dek(), &ID, place(1)).unwrap();
            let at = at % text.len();
            let mut changed = text.clone();
            changed.replace_range(at..=at, &to);
            prop_assume!(changed != text);
            prop_assert!(Receipt::open(&changed, &dek(), &ID, place(1)).is_err());
        }

        #[test]
        fn anything_may_come(text in "\\PC{0,300}") {
            let _ = Receipt::open(&text, &dek(), &ID, place(1));
        }
    }
}
