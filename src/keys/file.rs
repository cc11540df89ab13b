//! The text form of a local key, and the other forms that are read.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use zeroize::Zeroizing;

/// What a key file begins with. Stands on disk: may never change.
const PREFIX: &str = "sealgate-key-1:";

/// What to do instead, for every error.
const HINT: &str = "write one with `sealgate keygen`: one line, `sealgate-key-1:` and the base64 of 32 random bytes";

/// A new key's file: one line, its end included. The bytes must be fresh from the operating system's
/// random generator.
#[must_use]
pub fn generate_key_file(random: &[u8; 32]) -> Zeroizing<String> {
    let encoded = Zeroizing::new(STANDARD.encode(random));
    Zeroizing::new([PREFIX, encoded.as_str(), "\n"].concat())
}

/// Reads a key: the form that [`generate_key_file`] writes, the base64 of 32 bytes alone, 64
/// hexadecimal digits, or 32 raw bytes. Blanks and line ends around text are ignored.
///
/// # Errors
///
/// [`KeyFileError`], which never tells what stands in the file.
pub fn parse_key_file(content: &[u8]) -> Result<Zeroizing<[u8; 32]>, KeyFileError> {
    let key = match <&[u8; 32]>::try_from(content) {
        Ok(raw) if !raw.iter().all(|&byte| is_text(byte)) => Zeroizing::new(*raw),
        _ => parse_text(content)?,
    };
    if key.iter().all(|byte| *byte == key[0]) {
        return Err(KeyFileError::NotRandom);
    }
    Ok(key)
}

fn parse_text(content: &[u8]) -> Result<Zeroizing<[u8; 32]>, KeyFileError> {
    let text = std::str::from_utf8(content)
        .map_err(|_| KeyFileError::Binary(content.len()))?
        .trim_start_matches('\u{feff}')
        .trim();
    if text.is_empty() {
        return Err(KeyFileError::Empty);
    }
    if let Some(encoded) = text.strip_prefix(PREFIX) {
        return base64(encoded);
    }
    if text.starts_with("sealgate-key-") {
        return Err(KeyFileError::Version);
    }
    if text.lines().nth(1).is_some() {
        return Err(KeyFileError::Lines);
    }
    if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(hex(text));
    }
    base64(text)
}

fn base64(encoded: &str) -> Result<Zeroizing<[u8; 32]>, KeyFileError> {
    let engine = if encoded.ends_with('=') {
        &STANDARD
    } else {
        &STANDARD_NO_PAD
    };
    let decoded = Zeroizing::new(engine.decode(encoded).map_err(|_| KeyFileError::Text)?);
    let key = <&[u8; 32]>::try_from(decoded.as_slice())
        .map_err(|_| KeyFileError::Length(decoded.len()))?;
    Ok(Zeroizing::new(*key))
}

/// Takes 64 hexadecimal digits.
fn hex(digits: &str) -> Zeroizing<[u8; 32]> {
    let digit = |byte: u8| char::from(byte).to_digit(16).unwrap_or(0) as u8;
    let mut key = Zeroizing::new([0; 32]);
    for (byte, pair) in key.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
        *byte = digit(pair[0]) << 4 | digit(pair[1]);
    }
    key
}

fn is_text(byte: u8) -> bool {
    byte.is_ascii_graphic() || byte.is_ascii_whitespace()
}

/// A file that is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// There is nothing in it.
    #[error("the key file is empty; {HINT}")]
    Empty,
    /// It begins like a key file, but of another version.
    #[error("the key file is of a version that is not known here; {HINT}")]
    Version,
    /// Text of several lines.
    #[error("the key file has several lines; {HINT}")]
    Lines,
    /// Text that is neither base64 nor 64 hexadecimal digits: a passphrase, perhaps. Passphrases are
    /// not accepted, since they can be guessed.
    #[error("the key file holds neither base64 nor 64 hexadecimal digits; {HINT}")]
    Text,
    /// Text that decodes to another number of bytes than 32.
    #[error("the key file holds {0} bytes, and a key has 32; {HINT}")]
    Length(usize),
    /// Binary, but not of 32 bytes.
    #[error("the key file holds {0} bytes of binary, and a raw key has 32; {HINT}")]
    Binary(usize),
    /// The same byte 32 times.
    #[error("the key file holds the same byte over and over, which is no key; {HINT}")]
    NotRandom,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key() -> [u8; 32] {
        std::array::from_fn(|i| 200 - i as u8)
    }

    #[test]
    fn reads_every_form() {
        let key = key();
        let base64 = STANDARD.encode(key);
        let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        for form in [
            generate_key_file(&key).as_bytes().to_vec(),
            format!("{PREFIX}{base64}").into_bytes(),
            format!("\u{feff}{PREFIX}{base64}\r\n").into_bytes(),
            base64.clone().into_bytes(),
            format!("  {}\n", base64.trim_end_matches('=')).into_bytes(),
            hex.clone().into_bytes(),
            format!("{}\n", hex.to_uppercase()).into_bytes(),
            key.to_vec(),
        ] {
            assert_eq!(parse_key_file(&form).as_deref(), Ok(&key));
        }
    }

    #[test]
    fn says_what_is_wrong() {
        let short = STANDARD.encode([1, 2, 3]);
        for (content, error) in [
            (&b""[..], KeyFileError::Empty),
            (b" \n", KeyFileError::Empty),
            (b"sealgate-key-2:AAAA", KeyFileError::Version),
            (b"AAAA\nBBBB", KeyFileError::Lines),
            (b"correct horse battery staple", KeyFileError::Text),
            (b"sealgate-key-1: AAAA", KeyFileError::Text),
            (short.as_bytes(), KeyFileError::Length(3)),
            (
                b"0123456789abcdef0123456789abcdef",
                KeyFileError::Length(24),
            ),
            (b"a passphrase of 32 characters!!!", KeyFileError::Text),
            (&[0xff; 31], KeyFileError::Binary(31)),
            (&[0x00; 32], KeyFileError::NotRandom),
            (&[b'0'; 64], KeyFileError::NotRandom),
        ] {
            assert_eq!(parse_key_file(content).map(drop), Err(error));
            let message = error.to_string();
            assert!(message.contains("sealgate keygen"), "{message}");
            assert!(!message.contains("horse"), "{message}");
        }
    }

    proptest! {
        #[test]
        fn generated_keys_read_back(key: [u8; 32]) {
            prop_assume!(key.iter().any(|&byte| byte != key[0]));
            let file = generate_key_file(&key);
            let read = parse_key_file(file.as_bytes());
            prop_assert_eq!(read.as_deref(), Ok(&key));
            prop_assert_eq!(file.lines().count(), 1);
        }

        #[test]
        fn never_panics(content: Vec<u8>) {
            let _ = parse_key_file(&content);
        }
    }
}
