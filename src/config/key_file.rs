//! A key-encryption key as text: what `sealgate keygen` writes and `kind: local` reads.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;
use zeroize::Zeroizing;

/// A 32-byte key. Wiped when dropped; `Debug` shows nothing of it.
#[derive(Clone)]
pub struct KeyBytes(Zeroizing<[u8; 32]>);

impl KeyBytes {
    /// Takes 32 bytes that came from a good random generator.
    #[must_use]
    pub const fn new(bytes: Zeroizing<[u8; 32]>) -> Self {
        Self(bytes)
    }

    /// Reads 44 characters of base64, 64 hexadecimal digits, or 32 bytes as they are. A line end
    /// after the text is left out.
    ///
    /// # Errors
    ///
    /// [`KeyBytesError`] for anything else, and for 32 equal bytes, which nobody drew at random.
    /// 32 bytes that are all printable are a passphrase or a shorter key in hexadecimal, and
    /// refused as well.
    pub fn parse(content: &[u8]) -> Result<Self, KeyBytesError> {
        let text = trim_line_end(content);
        let mut key = Zeroizing::new([0; 32]);
        match (content.len(), text.len()) {
            (32, _)
                if !content
                    .iter()
                    .all(|byte| matches!(byte, b' '..=b'~' | b'\n')) =>
            {
                key.copy_from_slice(content);
            }
            (_, 64) => decode_hex(text, &mut key)?,
            (_, 44) => {
                let bytes = STANDARD.decode(text).map(Zeroizing::new);
                let bytes = bytes.map_err(|_| KeyBytesError::Malformed)?;
                if bytes.len() != key.len() {
                    return Err(KeyBytesError::Malformed);
                }
                key.copy_from_slice(&bytes);
            }
            _ => return Err(KeyBytesError::Malformed),
        }
        if key.iter().all(|byte| *byte == key[0]) {
            return Err(KeyBytesError::Constant);
        }
        Ok(Self(key))
    }

    /// The key as `sealgate keygen` writes it: one line of base64.
    #[must_use]
    pub fn encode(&self) -> Zeroizing<String> {
        let mut line = Zeroizing::new(String::with_capacity(45));
        STANDARD.encode_string(self.0.as_slice(), &mut line);
        line.push('\n');
        line
    }

    /// The 32 bytes.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl PartialEq for KeyBytes {
    fn eq(&self, other: &Self) -> bool {
        use subtle::ConstantTimeEq as _;
        self.0.as_slice().ct_eq(other.0.as_slice()).into()
    }
}

impl Eq for KeyBytes {}

impl fmt::Debug for KeyBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyBytes(..)")
    }
}

/// Why a content is no key. Says nothing of the content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KeyBytesError {
    /// Neither of the three forms.
    #[error("is not a 32-byte key in base64, in hexadecimal or as it is")]
    Malformed,
    /// All bytes are the same.
    #[error("is the same byte 32 times, which is no key")]
    Constant,
}

/// `content` without the line end that editors put after it.
pub(super) fn trim_line_end(content: &[u8]) -> &[u8] {
    let content = content.strip_suffix(b"\n").unwrap_or(content);
    content.strip_suffix(b"\r").unwrap_or(content)
}

fn decode_hex(text: &[u8], key: &mut [u8; 32]) -> Result<(), KeyBytesError> {
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
            .ok_or(KeyBytesError::Malformed)
    };
    for (byte, pair) in key.iter_mut().zip(text.chunks_exact(2)) {
        if let [high, low] = *pair {
            *byte = digit(high)? << 4 | digit(low)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn malformed_keys_are_refused() {
        for bad in [
            &b""[..],
            b"short",
            &[b'g'; 64],
            &[b'*'; 44],
            &[b'A'; 44],
            &[1; 31],
            &[1; 33],
            b"0123456789abcdef0123456789abcdef",
            b"correct horse battery staple 123",
        ] {
            assert_eq!(KeyBytes::parse(bad), Err(KeyBytesError::Malformed));
        }
        assert_eq!(KeyBytes::parse(&[7; 32]), Err(KeyBytesError::Constant));
        assert_eq!(KeyBytes::parse(&[b'0'; 64]), Err(KeyBytesError::Constant));
    }

    #[test]
    fn debug_shows_nothing() {
        let key = KeyBytes::new(Zeroizing::new([9; 32]));
        assert_eq!(format!("{key:?}"), "KeyBytes(..)");
    }

    proptest! {
        #[test]
        fn every_form_is_read(bytes: [u8; 32], line_end in prop::sample::select(vec!["", "\n", "\r\n"])) {
            prop_assume!(bytes.iter().any(|b| *b != bytes[0]) && !bytes.is_ascii());
            let key = KeyBytes::new(Zeroizing::new(bytes));
            prop_assert_eq!(&KeyBytes::parse(&bytes).unwrap(), &key);
            prop_assert_eq!(&KeyBytes::parse(key.encode().as_bytes()).unwrap(), &key);
            let mut hex = String::new();
            for byte in bytes {
                hex.extend([byte >> 4, byte & 15].map(|digit| char::from_digit(digit.into(), 16).unwrap_or_default()));
            }
            hex.push_str(line_end);
            prop_assert_eq!(&KeyBytes::parse(hex.as_bytes()).unwrap(), &key);
        }

        #[test]
        fn any_content_is_read_or_refused(content: Vec<u8>) {
            let _ = KeyBytes::parse(&content);
        }
    }
}
