//! The data encryption key of one object, the object's id, and what is derived from the two.

use std::fmt;

use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// HKDF label of the key commitment. Stands on disk: may never change.
const COMMITMENT_LABEL: &[u8] = b"sealgate/v1/commitment";
/// HKDF label of the footer key. Stands on disk: may never change.
const FOOTER_LABEL: &[u8] = b"sealgate/v1/footer";

/// HKDF label of the receipt key. Stands on disk: may never change.
const RECEIPT_LABEL: &[u8] = b"sealgate/v1/receipt";

/// The data encryption key of one object: 32 uniform bytes, wiped when dropped, never printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Dek([u8; 32]);

impl Dek {
    /// Length in bytes.
    pub const LEN: usize = 32;

    /// Takes 32 bytes, which must come from the operating system's random generator or from an
    /// unwrapped envelope.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The key itself, for wrapping it.
    #[must_use]
    pub const fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// What the preamble carries to commit to this key. AES-GCM alone does not commit to its key: a
    /// ciphertext can be made that opens under two of them.
    #[must_use]
    pub fn commitment(&self, object_id: &ObjectId) -> [u8; 32] {
        *self.derive(&object_id.0, COMMITMENT_LABEL)
    }

    /// The key that authenticates the receipts of an upload's parts.
    #[must_use]
    pub fn receipt_key(&self, object_id: &ObjectId) -> Zeroizing<[u8; 32]> {
        self.derive(&object_id.0, RECEIPT_LABEL)
    }

    /// The key of the object's footer.
    pub(super) fn footer_key(&self, object_id: &ObjectId) -> Zeroizing<[u8; 32]> {
        self.derive(&object_id.0, FOOTER_LABEL)
    }

    /// The key of one stream, as Tink derives it: the associated data is the HKDF info.
    pub(super) fn stream_key(&self, salt: &[u8; 32], aad: &[u8]) -> Zeroizing<[u8; 32]> {
        self.derive(salt, aad)
    }

    fn derive(&self, salt: &[u8], info: &[u8]) -> Zeroizing<[u8; 32]> {
        let mut key = Zeroizing::new([0; 32]);
        #[allow(clippy::expect_used, reason = "the only error is a length above 8,160")]
        Hkdf::<Sha256>::new(Some(salt), &self.0)
            .expand(info, key.as_mut_slice())
            .expect("HKDF-SHA256 gives up to 8,160 bytes");
        key
    }
}

impl fmt::Debug for Dek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dek(..)")
    }
}

/// The id of one object: 16 random bytes, drawn when it is written, kept by copies of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId(pub [u8; 16]);

impl ObjectId {
    /// The id's bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// Lower case hexadecimal.
impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_key() {
        assert_eq!(format!("{:?}", Dek::new([7; 32])), "Dek(..)");
    }

    #[test]
    fn derivations_differ_by_label_and_id() {
        let dek = Dek::new([7; 32]);
        let (one, two) = (ObjectId([1; 16]), ObjectId([2; 16]));
        assert_ne!(dek.commitment(&one), dek.commitment(&two));
        assert_ne!(dek.commitment(&one), *dek.footer_key(&one));
        assert_ne!(*dek.footer_key(&one), *dek.footer_key(&two));
        assert_ne!(*dek.receipt_key(&one), *dek.footer_key(&one));
        assert_ne!(*dek.receipt_key(&one), dek.commitment(&one));
        assert_ne!(*dek.receipt_key(&one), *dek.receipt_key(&two));
    }

    #[test]
    fn id_displays_as_hex() {
        let id = ObjectId([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255]);
        assert_eq!(id.to_string(), "000102030405060708090a0b0c0d0eff");
    }
}
