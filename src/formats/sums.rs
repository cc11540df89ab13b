//! The sums of a whole plaintext, of its parts too, held against what footer and part table say of them.

use super::Integrity;
use super::hashes::Hashes;
use super::v1::Sealed;
use crate::aead::{Checksum, ChecksumType, Etag, PartEntry};

/// Takes the plaintext of a sealed object in order.
pub struct Sums {
    whole: Hashes,
    /// Those of the parts that have not begun yet, the last one first.
    parts: Vec<Part>,
    /// The part that is being read, and its bytes still to come.
    current: Option<(Hashes, u64)>,
}

struct Part {
    len: u64,
    md5: Option<[u8; 16]>,
    checksum: Option<Checksum>,
}

impl From<&PartEntry> for Part {
    fn from(entry: &PartEntry) -> Self {
        Self {
            len: entry.plaintext_len,
            md5: entry.md5,
            checksum: entry.checksum,
        }
    }
}

impl Sums {
    /// Of an object whose table has been read, where it has one.
    #[must_use]
    pub fn of(sealed: &Sealed) -> Self {
        let footer = &sealed.footer;
        let md5 = match footer.etag {
            Etag::Md5(md5) => Some(md5),
            _ => None,
        };
        let full = footer.checksum_type == ChecksumType::FullObject;
        let entries = sealed.parts().and_then(|table| table.entries());
        let entries = entries.map(|(entries, _)| entries).unwrap_or_default();
        Self {
            whole: Hashes::new(md5, footer.checksum.filter(|_| full)),
            parts: entries.iter().rev().map(Part::from).collect(),
            current: None,
        }
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// [`Integrity::Object`] where a part has ended and is not what the table says.
    pub fn update(&mut self, mut plaintext: &[u8]) -> Result<(), Integrity> {
        self.whole.update(plaintext);
        while !plaintext.is_empty() {
            let (mut hashes, left) = match self.current.take() {
                Some(current) => current,
                None => match self.parts.pop() {
                    Some(part) => (Hashes::new(part.md5, part.checksum), part.len),
                    None => return Ok(()),
                },
            };
            let n = left.min(plaintext.len() as u64);
            let (head, rest) = plaintext.split_at(n as usize);
            hashes.update(head);
            plaintext = rest;
            if n < left {
                self.current = Some((hashes, left - n));
            } else {
                hashes.verify().map_err(|_| Integrity::Object)?;
            }
        }
        Ok(())
    }

    /// Ends the object.
    ///
    /// # Errors
    /// [`Integrity::Object`].
    pub fn verify(self) -> Result<(), Integrity> {
        // A part without bytes at the end has not been looked at.
        if self.current.is_some() || self.parts.iter().any(|part| part.len > 0) {
            return Err(Integrity::Object);
        }
        self.whole.verify().map_err(|_| Integrity::Object)
    }
}
