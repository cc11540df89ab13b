//! A browser's form: the same fields, file and verdict, in whatever pieces it comes, and any policy in it.
#![no_main]

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use libfuzzer_sys::fuzz_target;
use sealgate::protocol::post_form::{Delimiter, FormError, FormFile, FormHead, Head, file_in};
use sealgate::protocol::post_policy::PostPolicy;

#[derive(Debug, arbitrary::Arbitrary)]
struct Input<'a> {
    content_type: &'a str,
    body: &'a [u8],
    step: u8,
}

/// Head and file, the file streamed.
fn read(body: &[u8], delimiter: &Delimiter, step: usize) -> Result<(Head, Vec<u8>), FormError> {
    let mut reader = FormHead::new(delimiter.clone());
    let mut begun: Option<(Head, FormFile)> = None;
    let mut file = Vec::new();
    for mut piece in body.chunks(step) {
        if begun.is_none() {
            let Some((head, used)) = reader.push(piece)? else {
                continue;
            };
            let rest = body.len() as u64 - head.length;
            begun = Some((head, FormFile::new(delimiter.clone(), rest)?));
            piece = &piece[used..];
        }
        if let Some((_, scan)) = &mut begun {
            let taken = scan.take(piece)?;
            file.extend_from_slice(&piece[..taken]);
        }
    }
    let (head, scan) = begun.ok_or(FormError::Truncated)?;
    scan.finish()?;
    Ok((head, file))
}

fuzz_target!(|input: Input<'_>| {
    let _ = Delimiter::from_content_type(input.content_type);
    let Ok(delimiter) = Delimiter::from_content_type("multipart/form-data; boundary=XX") else {
        panic!("a boundary");
    };
    let whole = read(input.body, &delimiter, input.body.len().max(1));
    let pieces = read(input.body, &delimiter, usize::from(input.step) + 1);
    assert_eq!(whole, pieces);
    if let Ok((head, file)) = whole {
        let rest = &input.body[usize::try_from(head.length).unwrap_or_default()..];
        assert_eq!(file_in(rest, &delimiter), Ok(file.len()));
        assert_eq!(rest[..file.len()], file);
        if let Some(text) = head.fields.get("policy") {
            let policy = PostPolicy::parse(&BASE64_STANDARD.encode(text));
            if let Ok(policy) = policy {
                let _ = policy.check(&head.fields, "bucket", file.len() as u64, 0);
            }
        }
    }
});
