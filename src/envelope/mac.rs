//! The tags of an object's record: which recipients' keys vouch for it.

use super::MAX_RECIPIENTS;
use super::reader::Reader;

/// The first byte of the tags. Stands on disk: may never change its meaning.
const VERSION: u8 = 1;

/// Tags by the index of their recipient, in ascending order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MacList(Vec<(u8, [u8; 32])>);

impl MacList {
    /// Takes tags with the index of their recipient in the envelope.
    ///
    /// # Errors
    ///
    /// [`MacError::Count`], [`MacError::Order`].
    pub fn new(tags: Vec<(u8, [u8; 32])>) -> Result<Self, MacError> {
        if !(1..=MAX_RECIPIENTS).contains(&tags.len()) {
            let count = u8::try_from(tags.len()).unwrap_or(u8::MAX);
            return Err(MacError::Count(count));
        }
        if tags.windows(2).any(|pair| pair[0].0 >= pair[1].0) {
            return Err(MacError::Order);
        }
        Ok(Self(tags))
    }

    /// The tags' bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        // At most 8, as `new` has checked.
        let mut bytes = vec![VERSION, self.0.len() as u8];
        for (index, tag) in &self.0 {
            bytes.push(*index);
            bytes.extend_from_slice(tag);
        }
        bytes
    }

    /// Reads tags, strictly, for an envelope with so many recipients.
    ///
    /// # Errors
    ///
    /// [`MacError`] for whatever this version does not know or allow.
    pub fn decode(bytes: &[u8], recipients: usize) -> Result<Self, MacError> {
        let mut reader = Reader(bytes);
        let version = reader.u8().ok_or(MacError::Length)?;
        if version != VERSION {
            return Err(MacError::Version(version));
        }
        let count = reader.u8().ok_or(MacError::Length)?;
        let mut tags = Vec::new();
        for _ in 0..count {
            let index = reader.u8().ok_or(MacError::Length)?;
            let tag = reader.array().ok_or(MacError::Length)?;
            if usize::from(index) >= recipients {
                return Err(MacError::Index(index));
            }
            tags.push((index, tag));
        }
        if !reader.is_empty() {
            return Err(MacError::Length);
        }
        Self::new(tags)
    }

    /// The tag of a recipient's key.
    #[must_use]
    pub fn tag(&self, recipient: usize) -> Option<&[u8; 32]> {
        let found = self
            .0
            .iter()
            .find(|(index, _)| usize::from(*index) == recipient);
        found.map(|(_, tag)| tag)
    }
}

/// Tags that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MacError {
    /// A version that this reader does not know.
    #[error("mac version {0}: this reader knows version 1 only")]
    Version(u8),
    /// No tag, or more than 8.
    #[error("{0} tags: 1 to 8 are allowed")]
    Count(u8),
    /// More or fewer bytes than the count says.
    #[error("the tags are longer or shorter than their count")]
    Length,
    /// Indices that do not ascend.
    #[error("the tags are not in the order of their recipients")]
    Order,
    /// An index that no recipient has.
    #[error("a tag for recipient {0}, which the envelope does not have")]
    Index(u8),
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn is_strict() {
        let macs = MacList::new(vec![(0, [1; 32]), (2, [2; 32])]).unwrap();
        let bytes = macs.encode();
        assert_eq!(MacList::decode(&bytes, 3), Ok(macs.clone()));
        assert_eq!(MacList::decode(&bytes, 2), Err(MacError::Index(2)));
        assert_eq!(macs.tag(2), Some(&[2; 32]));
        assert_eq!(macs.tag(1), None);
        for len in 0..bytes.len() {
            assert_eq!(MacList::decode(&bytes[..len], 3), Err(MacError::Length));
        }
        let with = |at: usize, byte: u8| {
            let mut bytes = bytes.clone();
            bytes[at] = byte;
            MacList::decode(&bytes, 8)
        };
        assert_eq!(with(0, 0), Err(MacError::Version(0)));
        assert_eq!(with(1, 1), Err(MacError::Length));
        assert_eq!(with(2, 2), Err(MacError::Order));
        assert_eq!(with(2, 3), Err(MacError::Order));
        assert_eq!(MacList::decode(&[1, 0], 8), Err(MacError::Count(0)));
        let nine = (0..9).map(|index| (index, [0; 32])).collect();
        assert_eq!(MacList::new(nine), Err(MacError::Count(9)));
    }

    proptest! {
        #[test]
        fn is_canonical(mut bytes in prop::collection::vec(any::<u8>(), 2..140), count in 0u8..5, cut: bool) {
            (bytes[0], bytes[1]) = (VERSION, count);
            if cut {
                bytes.resize(2 + usize::from(count) * 33, 0);
            }
            for index in 0..usize::from(count) {
                if let Some(byte) = bytes.get_mut(2 + index * 33) {
                    *byte %= 8;
                }
            }
            if let Ok(macs) = MacList::decode(&bytes, 8) {
                prop_assert_eq!(macs.encode(), bytes);
            }
        }
    }
}
