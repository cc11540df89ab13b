//! RFC 2047 encoded words: how some stores return metadata that is not ASCII.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The bytes that a value stands for, where the whole of it is one encoded word in UTF-8; none where it
/// is anything else, a malformed word included.
pub(super) fn decode(value: &[u8]) -> Option<Vec<u8>> {
    let (start, rest) = value.split_at_checked(b"=?UTF-8?B?".len())?;
    let text = rest.strip_suffix(b"?=")?;
    if text.contains(&b'?') || !start[..8].eq_ignore_ascii_case(b"=?UTF-8?") || start[9] != b'?' {
        return None;
    }
    match start[8] {
        b'B' | b'b' => STANDARD.decode(text).ok(),
        b'Q' | b'q' => decode_q(text),
        _ => None,
    }
}

fn decode_q(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [byte, tail @ ..] = rest {
        rest = tail;
        decoded.push(match byte {
            b'_' => b' ',
            b'=' => {
                let ([high, low], tail) = rest.split_first_chunk()?;
                rest = tail;
                u8::try_from(digit(*high)? << 4 | digit(*low)?).ok()?
            }
            literal if literal.is_ascii_graphic() => *literal,
            _ => return None,
        });
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn decodes_whole_words_only() {
        for (value, text) in [
            ("=?UTF-8?B?R3LDvMOfZQ==?=", Some("Grüße")),
            ("=?utf-8?b?R3LDvMOfZQ==?=", Some("Grüße")),
            ("=?UTF-8?Q?Gr=C3=BC=c3=9fe_x?=", Some("Grüße x")),
            ("=?UTF-8?Q??=", Some("")),
            ("=?UTF-8?B?R3LDvMOfZQ?=", None),
            ("=?UTF-8?B?R3LDvMOfZR==?=", None),
            ("=?UTF-8?Q?a=C?=", None),
            ("=?UTF-8?Q?a=XX?=", None),
            ("=?UTF-8?Q?a b?=", None),
            ("=?UTF-8?Q?a?= =?UTF-8?Q?b?=", None),
            ("=?ISO-8859-1?Q?a?=", None),
            ("=?UTF-8?X?a?=", None),
            ("x=?UTF-8?Q?a?=", None),
            ("=?UTF-8?Q?a", None),
            ("=?UTF-8?Q?=", None),
            ("", None),
            ("plain", None),
        ] {
            assert_eq!(
                decode(value.as_bytes()).as_deref(),
                text.map(str::as_bytes),
                "{value}"
            );
        }
    }

    proptest! {
        #[test]
        fn finds_every_base64_word(text: Vec<u8>) {
            let word = format!("=?UTF-8?B?{}?=", STANDARD.encode(&text));
            prop_assert_eq!(decode(word.as_bytes()), Some(text));
        }

        #[test]
        fn never_panics(value: Vec<u8>, text in "=\\?UTF-8\\?[QB]\\?[A-Z=?_]{0,9}") {
            let _ = (decode(&value), decode(text.as_bytes()));
        }
    }
}
