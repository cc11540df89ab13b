//! The 40 bytes that begin a Tink stream: its own length, the salt, the nonce prefix.

/// Bytes of the header. It is also the header's first byte. Stands on disk: may never change.
pub const STREAM_HEADER_LEN: usize = 40;

/// The public, random values of one stream. Both must be fresh for every stream that is sealed,
/// retries included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamHeader {
    /// HKDF salt of the stream key.
    pub salt: [u8; 32],
    /// The first seven bytes of every segment's nonce.
    pub nonce_prefix: [u8; 7],
}

impl StreamHeader {
    /// The header as it stands in the stream.
    #[must_use]
    pub fn encode(&self) -> [u8; STREAM_HEADER_LEN] {
        let mut bytes = [0; STREAM_HEADER_LEN];
        bytes[0] = STREAM_HEADER_LEN as u8;
        bytes[1..33].copy_from_slice(&self.salt);
        bytes[33..].copy_from_slice(&self.nonce_prefix);
        bytes
    }

    /// Reads a header.
    ///
    /// # Errors
    ///
    /// [`HeaderError`] where the first byte is not the header's length.
    pub fn decode(bytes: &[u8; STREAM_HEADER_LEN]) -> Result<Self, HeaderError> {
        if usize::from(bytes[0]) != STREAM_HEADER_LEN {
            return Err(HeaderError(bytes[0]));
        }
        let mut header = Self {
            salt: [0; 32],
            nonce_prefix: [0; 7],
        };
        header.salt.copy_from_slice(&bytes[1..33]);
        header.nonce_prefix.copy_from_slice(&bytes[33..]);
        Ok(header)
    }
}

/// A stream whose first byte is not 40.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the stream begins with {0:#04x}, not with its header length 0x28")]
pub struct HeaderError(pub u8);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_and_refuses_another_length() {
        let header = StreamHeader {
            salt: [3; 32],
            nonce_prefix: [4; 7],
        };
        let mut bytes = header.encode();
        assert_eq!(StreamHeader::decode(&bytes), Ok(header));
        bytes[0] = 24;
        assert_eq!(StreamHeader::decode(&bytes), Err(HeaderError(24)));
    }
}
