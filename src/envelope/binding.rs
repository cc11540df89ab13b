//! The message that a recipient's key vouches for.

/// What the message begins with. Stands on disk: may never change.
const LABEL: &[u8] = b"sealgate/v1/binding";

/// Appends `u32(length) ‖ bytes`, so that no two lists of fields give the same bytes.
///
/// A field of 4 GiB or more cannot be encoded; S3 has none that is longer than some kilobytes.
pub fn lp(field: &[u8], out: &mut Vec<u8>) {
    let len = u32::try_from(field.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(field);
}

/// The message: that the object with this envelope and this info belongs at this bucket and key.
///
/// `bucket` is the bucket's logical name. `envelope` and `info` are the bytes as they stand in the
/// metadata, before any parsing.
#[must_use]
pub fn binding_message(bucket: &str, key: &str, envelope: &[u8], info: &[u8]) -> Vec<u8> {
    let mut message =
        Vec::with_capacity(64 + bucket.len() + key.len() + envelope.len() + info.len());
    for field in [LABEL, bucket.as_bytes(), key.as_bytes(), envelope, info] {
        lp(field, &mut message);
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_do_not_run_into_each_other() {
        let message = binding_message("b", "kk", &[1], &[]);
        let expected =
            b"\0\0\0\x13sealgate/v1/binding\0\0\0\x01b\0\0\0\x02kk\0\0\0\x01\x01\0\0\0\0";
        assert_eq!(message, expected);
        assert_ne!(message, binding_message("bk", "k", &[1], &[]));
        assert_ne!(message, binding_message("b", "kk", &[], &[1]));
    }
}
