//! XML that clients send and stores answer: bounded, and what is written reads the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sealgate::aead::{ChecksumAlgorithm, ChecksumType};
use sealgate::protocol::xml::{self, MAX_DELETE, MAX_DEPTH};
use sealgate::s3::ChecksumKind;
use sealgate::s3::listing::{Answer, ItemKind, Page, Shown};
use sealgate::s3::multipart_uploads as uploads;
use sealgate::s3::multipart_xml::{parse_completed, parse_created, parse_parts, versions};
use sealgate::s3::xml::{Writer, copy_delete_result, filter_buckets, parse_copy_result};

fuzz_target!(|document: &[u8]| {
    let text = xml::text(document).unwrap_or_default();
    let _ = xml::walk(document, |element| {
        assert!((1..=MAX_DEPTH).contains(&element.path.len()));
        assert!(text[element.span.clone()].contains(element.inner));
        let _ = element.text();
        Ok(())
    });

    if let Ok(delete) = xml::parse_delete(document) {
        assert!((1..=MAX_DELETE).contains(&delete.objects.len()));
        let mut again = Writer::new("Delete");
        for object in &delete.objects {
            assert!(!object.key.is_empty());
            again.open("Object");
            again.text("Key", &object.key);
            if let Some(version) = &object.version {
                again.text("VersionId", version);
            }
            for (name, value) in [
                ("ETag", &object.conditions.etag),
                ("LastModifiedTime", &object.conditions.last_modified),
                ("Size", &object.conditions.size.map(|size| size.to_string())),
            ] {
                if let Some(value) = value {
                    again.text(name, value);
                }
            }
            again.close("Object");
        }
        again.text("Quiet", if delete.quiet { "true" } else { "false" });
        assert_eq!(xml::parse_delete(&again.finish()), Ok(delete));
    }

    if let Ok(page) = Page::parse(document) {
        let mut answer = Answer::begin(&page);
        for item in &page.items {
            match &item.kind {
                ItemKind::Object(entry) => {
                    let shown = Shown {
                        len: entry.stored_len,
                        etag: "e".to_owned(),
                        checksum: (entry.stored_len % 2 == 1).then_some(ChecksumKind {
                            algorithm: ChecksumAlgorithm::Crc32,
                            kind: ChecksumType::Composite,
                        }),
                    };
                    answer.push_object(entry, &shown);
                }
                _ => answer.push(&page, item),
            }
        }
        let rewritten = answer.finish(None);
        let again = Page::parse(&rewritten).expect("a listing stays one");
        assert_eq!(again.items.len(), page.items.len());
    }
    if let Ok(page) = uploads::Page::parse(document) {
        let rewritten = page.with(&vec![None; page.uploads.len()]);
        let again = uploads::Page::parse(rewritten.as_bytes()).expect("a listing stays one");
        let names = |page: &uploads::Page<'_>| -> Vec<(String, String)> {
            let all = page.uploads.iter();
            all.map(|upload| (upload.key.clone(), upload.id.clone()))
                .collect()
        };
        assert_eq!(names(&again), names(&page));
    }
    if let Ok(parts) = xml::parse_complete(document) {
        assert!((1..=xml::MAX_PARTS).contains(&parts.len()));
        assert!(parts.windows(2).all(|pair| pair[0].number < pair[1].number));
    }
    if let Ok(page) = parse_parts(document) {
        assert!(page.next.is_none() || !page.parts.is_empty());
    }
    let _ = (parse_created(document), parse_completed(document));
    let _ = versions(document);
    let _ = parse_copy_result(document);
    let _ = filter_buckets(document, |name| name.len() % 2 == 0);
    let _ = copy_delete_result(document, &mut Writer::new("DeleteResult"));
});
