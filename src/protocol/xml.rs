//! XML documents that others wrote: clients' requests, and what a store answers.
//!
//! Reading is bounded in depth, takes a document for exactly what it is, and expands no entities but the five
//! of XML and character references: there is no document type, so nothing can be defined or fetched. How long
//! a document may be is decided where its bytes are collected.

use quick_xml::Reader;
use quick_xml::events::Event;

use super::checksum::{Algorithm, Checksum};

/// Deepest nesting taken. The deepest document of S3 has eight levels.
pub const MAX_DEPTH: usize = 32;

/// Keys in one DeleteObjects (S3 API: "up to 1,000 keys").
pub const MAX_DELETE: usize = 1000;

/// A document that is not XML, or not the one that was expected (S3: `MalformedXML`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed XML")]
pub struct Malformed;

/// An element, as it ends.
#[derive(Debug)]
pub struct Element<'d, 'p> {
    /// Local names from the root down to this element.
    pub path: &'p [&'d str],
    /// Everything between its tags, as it stands in the document.
    pub inner: &'d str,
    /// Where it stands in the document, tags included; counted without a byte order mark at its beginning.
    pub span: std::ops::Range<usize>,
    /// Where [`Element::inner`] stands, counted likewise; none for an element that is one tag, `<a/>`.
    pub inside: Option<std::ops::Range<usize>>,
}

impl Element<'_, '_> {
    /// What an element without children says: references resolved, CDATA taken, comments left out, and line
    /// ends as XML 1.0 (2.11) has them.
    ///
    /// # Errors
    /// [`Malformed`] where it has children, or references that mean nothing.
    pub fn text(&self) -> Result<String, Malformed> {
        // No document can carry a zero byte (XML 1.0, 2.2), so it could not be written again.
        text_of(self.inner).and_then(|text| match text.contains('\0') {
            true => Err(Malformed),
            false => Ok(text),
        })
    }
}

/// Calls `visit` for each element as it ends, so children before their parents.
///
/// # Errors
/// [`Malformed`]: not UTF-8, not well-formed, not exactly one root, a document type, nesting beyond
/// [`MAX_DEPTH`], or what `visit` says.
pub fn walk<'d>(
    document: &'d [u8],
    mut visit: impl FnMut(&Element<'d, '_>) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    let document = text(document)?;
    let mut reader = Reader::from_str(document);
    reader.config_mut().check_end_names = true;
    let mut path: Vec<&'d str> = Vec::new();
    let mut starts: Vec<(usize, usize)> = Vec::new();
    let mut roots = 0;
    loop {
        let before = position(&reader)?;
        let event = reader.read_event().map_err(|_| Malformed)?;
        let after = position(&reader)?;
        match event {
            Event::Start(_) | Event::Empty(_) => {
                if path.is_empty() {
                    roots += 1;
                }
                if path.len() >= MAX_DEPTH || roots > 1 {
                    return Err(Malformed);
                }
                path.push(tag_name(document.get(before..after).ok_or(Malformed)?)?);
                if matches!(event, Event::Start(_)) {
                    starts.push((before, after));
                    continue;
                }
                visit(&Element {
                    path: &path,
                    inner: "",
                    span: before..after,
                    inside: None,
                })?;
                path.pop();
            }
            Event::End(_) => {
                let (from, inner) = starts.pop().ok_or(Malformed)?;
                visit(&Element {
                    path: &path,
                    inner: document.get(inner..before).ok_or(Malformed)?,
                    span: from..after,
                    inside: Some(inner..before),
                })?;
                path.pop();
            }
            // Between elements anything may be ignored, around the root there is nothing but white space.
            Event::Text(_) | Event::CData(_) | Event::GeneralRef(_) if path.is_empty() => {
                let text = document.get(before..after).ok_or(Malformed)?;
                if !text.trim().is_empty() {
                    return Err(Malformed);
                }
            }
            Event::DocType(_) => return Err(Malformed),
            Event::Eof if path.is_empty() && roots == 1 => return Ok(()),
            Event::Eof => return Err(Malformed),
            _ => {}
        }
    }
}

/// A document as text, without the byte order mark that it may begin with.
///
/// # Errors
/// [`Malformed`] where it is not UTF-8.
pub fn text(document: &[u8]) -> Result<&str, Malformed> {
    let document = std::str::from_utf8(document).map_err(|_| Malformed)?;
    Ok(document.strip_prefix('\u{feff}').unwrap_or(document))
}

fn position(reader: &Reader<&[u8]>) -> Result<usize, Malformed> {
    usize::try_from(reader.buffer_position()).map_err(|_| Malformed)
}

/// Local name of `<prefix:name attr…>`.
fn tag_name(tag: &str) -> Result<&str, Malformed> {
    let name = tag
        .strip_prefix('<')
        .unwrap_or(tag)
        .split([' ', '\t', '\r', '\n', '/', '>'])
        .next()
        .unwrap_or_default();
    let name = name.rsplit(':').next().unwrap_or(name);
    // More than this can stand in a name (XML 1.0, 2.3), but nothing that reads as markup where it is written again.
    let fits = |c: char| c.is_alphanumeric() || !c.is_ascii() || matches!(c, '_' | '-' | '.');
    if name.is_empty() || !name.chars().all(fits) {
        return Err(Malformed);
    }
    Ok(name)
}

fn text_of(inner: &str) -> Result<String, Malformed> {
    let unescaped = |raw: &str| {
        let text = quick_xml::escape::unescape(raw).map_err(|_| Malformed)?;
        Ok::<_, Malformed>(text.into_owned())
    };
    let lines = |raw: &str| raw.replace("\r\n", "\n").replace('\r', "\n");
    if !inner.contains(['<', '\r']) {
        return unescaped(inner);
    }
    let mut reader = Reader::from_str(inner);
    let mut text = String::new();
    loop {
        let before = position(&reader)?;
        let event = reader.read_event().map_err(|_| Malformed)?;
        let raw = inner.get(before..position(&reader)?).ok_or(Malformed)?;
        match event {
            Event::Text(_) | Event::GeneralRef(_) => text.push_str(&unescaped(&lines(raw))?),
            Event::CData(_) => {
                let data = raw
                    .strip_prefix("<![CDATA[")
                    .and_then(|raw| raw.strip_suffix("]]>"))
                    .ok_or(Malformed)?;
                text.push_str(&lines(data));
            }
            Event::Comment(_) | Event::PI(_) => {}
            Event::Eof => return Ok(text),
            _ => return Err(Malformed),
        }
    }
}

/// Sets a field that an element may have once.
///
/// # Errors
/// [`Malformed`] where it stands twice.
pub fn once<T>(slot: &mut Option<T>, value: T) -> Result<(), Malformed> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(Malformed),
    }
}

/// One object of a DeleteObjects request.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct DeleteEntry {
    /// Its key, 1 byte or longer.
    pub key: String,
    /// Its version; an empty one counts as none.
    pub version: Option<String>,
    /// What it is conditional on.
    pub conditions: DeleteConditions,
}

/// Conditions of one delete, as they stand in the document.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct DeleteConditions {
    /// `ETag`: the object has it; `*` for any.
    pub etag: Option<String>,
    /// `LastModifiedTime`: the object was last modified then.
    pub last_modified: Option<String>,
    /// `Size`: the object has so many bytes.
    pub size: Option<u64>,
}

/// A DeleteObjects request.
#[derive(Debug, PartialEq, Eq)]
pub struct Delete {
    /// Objects in order, 1 to [`MAX_DELETE`].
    pub objects: Vec<DeleteEntry>,
    /// Report errors only.
    pub quiet: bool,
}

/// Parses a DeleteObjects request (S3 API: DeleteObjects, `Delete`). Elements that it does not have are ignored.
///
/// # Errors
/// [`Malformed`]: not XML, another document, no keys, more than [`MAX_DELETE`].
pub fn parse_delete(document: &[u8]) -> Result<Delete, Malformed> {
    let mut delete = Delete {
        objects: Vec::new(),
        quiet: false,
    };
    let (mut key, mut version) = (None, None);
    let mut conditions = DeleteConditions::default();
    let mut quiet = None;
    walk(document, |element| {
        match element.path {
            ["Delete", "Object", "Key"] => once(&mut key, element.text()?)?,
            ["Delete", "Object", "VersionId"] => once(&mut version, element.text()?)?,
            ["Delete", "Object", "ETag"] => once(&mut conditions.etag, element.text()?)?,
            ["Delete", "Object", "LastModifiedTime"] => {
                once(&mut conditions.last_modified, element.text()?)?;
            }
            ["Delete", "Object", "Size"] => {
                let size = element.text()?.trim().parse().map_err(|_| Malformed)?;
                once(&mut conditions.size, size)?;
            }
            ["Delete", "Object"] => {
                let key = key.take().filter(|key| !key.is_empty()).ok_or(Malformed)?;
                if delete.objects.len() == MAX_DELETE {
                    return Err(Malformed);
                }
                delete.objects.push(DeleteEntry {
                    key,
                    version: version.take().filter(|version| !version.is_empty()),
                    conditions: std::mem::take(&mut conditions),
                });
            }
            ["Delete", "Quiet"] => once(
                &mut quiet,
                match element.text()?.trim() {
                    "true" | "1" => true,
                    "false" | "0" | "" => false,
                    other if other.eq_ignore_ascii_case("true") => true,
                    other if other.eq_ignore_ascii_case("false") => false,
                    _ => return Err(Malformed),
                },
            )?,
            [root] if *root != "Delete" => return Err(Malformed),
            _ => {}
        }
        Ok(())
    })?;
    delete.quiet = quiet.unwrap_or_default();
    if delete.objects.is_empty() {
        return Err(Malformed);
    }
    Ok(delete)
}

/// Parts in one CompleteMultipartUpload (S3: 10,000).
pub const MAX_PARTS: usize = 10_000;

/// One part of a CompleteMultipartUpload request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompletePart {
    /// Part number, 1 to [`MAX_PARTS`].
    pub number: u16,
    /// ETag without quotes.
    pub etag: String,
    /// Its checksum, as the client knows it.
    pub checksum: Option<Checksum>,
}

/// A CompleteMultipartUpload request that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CompleteError {
    /// Not XML, another document, no parts, more than [`MAX_PARTS`], a part without number or ETag.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// A number that no part has.
    #[error("no part has the number {0}")]
    Number(i64),
    /// A part with more than one checksum, or with one that is none.
    #[error("invalid base64 or several checksums of one part")]
    Checksum,
    /// The numbers do not ascend.
    #[error("parts are not in ascending order")]
    Order,
}

/// Parses a CompleteMultipartUpload request (S3 API: CompleteMultipartUpload). Elements that it does not have are
/// ignored.
///
/// # Errors
/// [`CompleteError`].
pub fn parse_complete(document: &[u8]) -> Result<Vec<CompletePart>, CompleteError> {
    let mut parts: Vec<CompletePart> = Vec::new();
    let (mut number, mut etag, mut checksum) = (None, None, None);
    // What is wrong with a part counts only where the document as a whole is one.
    let mut wrong = None;
    walk(document, |element| {
        match element.path {
            ["CompleteMultipartUpload", "Part", "PartNumber"] => {
                let parsed = element.text()?.trim().parse().map_err(|_| Malformed)?;
                once(&mut number, parsed)?;
            }
            ["CompleteMultipartUpload", "Part", "ETag"] => once(&mut etag, element.text()?)?,
            ["CompleteMultipartUpload", "Part", name] => {
                if let Some(algorithm) = Algorithm::ALL.into_iter().find(|a| a.element() == *name) {
                    let parsed = Checksum::parse(algorithm, element.text()?.trim());
                    match parsed.ok().map(|value| checksum.replace(value)) {
                        Some(None) => {}
                        _ => wrong = wrong.take().or(Some(CompleteError::Checksum)),
                    }
                }
            }
            ["CompleteMultipartUpload", "Part"] => {
                let etag = etag.take().ok_or(Malformed)?;
                let number: i64 = number.take().ok_or(Malformed)?;
                if parts.len() == MAX_PARTS {
                    return Err(Malformed);
                }
                match u16::try_from(number) {
                    Ok(number) if (1..=MAX_PARTS).contains(&usize::from(number)) => {
                        parts.push(CompletePart {
                            number,
                            etag: etag.trim().trim_matches('"').to_owned(),
                            checksum: checksum.take(),
                        });
                    }
                    _ => wrong = wrong.take().or(Some(CompleteError::Number(number))),
                }
            }
            [root] if *root != "CompleteMultipartUpload" => return Err(Malformed),
            _ => {}
        }
        Ok(())
    })?;
    if let Some(error) = wrong {
        return Err(error);
    }
    if parts.is_empty() {
        return Err(Malformed.into());
    }
    if parts
        .windows(2)
        .any(|pair| pair[0].number >= pair[1].number)
    {
        return Err(CompleteError::Order);
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts(document: &str) -> Result<Vec<(String, String)>, Malformed> {
        let mut found = Vec::new();
        walk(document.as_bytes(), |element| {
            if let Ok(text) = element.text() {
                found.push((element.path.join("/"), text));
            }
            Ok(())
        })?;
        Ok(found)
    }

    #[test]
    fn text_is_what_xml_says_it_is() {
        for (inner, want) in [
            ("", ""),
            (" a b\n", " a b\n"),
            ("a&amp;b&lt;&#233;&#x1F600;", "a&b<é😀"),
            ("a<![CDATA[<b>&amp;]]>c", "a<b>&amp;c"),
            ("a<!-- no -->b", "ab"),
            ("a\r\nb\rc&#13;", "a\nb\nc\r"),
        ] {
            let found = texts(&format!("<a>{inner}</a>")).unwrap();
            assert_eq!(found, [("a".to_owned(), want.to_owned())], "{inner:?}");
        }
        for inner in [
            "\0",
            "a<![CDATA[\0]]>",
            "&#0;",
            "<b/>",
            "x<b>y</b>",
            "&unknown;",
            "&#xD800;",
        ] {
            let found = texts(&format!("<a><k>{inner}</k></a>")).unwrap();
            assert!(found.iter().all(|(path, _)| path != "a/k"), "{inner:?}");
        }
    }

    #[test]
    fn what_is_not_one_document_is_refused() {
        for document in [
            "",
            " ",
            "text",
            "<a>",
            "<a></b>",
            "<a/><b/>",
            "x<a/>",
            "<a/>x",
            "<a/>&amp;",
            "<![CDATA[x]]><a/>",
            "<!DOCTYPE a><a/>",
            "<!DOCTYPE a [<!ENTITY e \"x\">]><a>&e;</a>",
            "<a><",
            "<>x</>",
            "<<a/>",
            "<<O</D;<O</>",
            "<a&b/>",
            "<a\"/>",
        ] {
            assert_eq!(texts(document), Err(Malformed), "{document:?}");
        }
        assert_eq!(walk(b"<a>\xff</a>", |_| Ok(())), Err(Malformed));
        let nested = |depth: usize| "<a>".repeat(depth) + &"</a>".repeat(depth);
        assert!(texts(&nested(MAX_DEPTH)).is_ok());
        assert_eq!(texts(&nested(MAX_DEPTH + 1)), Err(Malformed));
        for document in [
            "\u{feff}<?xml version=\"1.0\"?>\n<!-- c --><p:a xmlns:p=\"u\" b='>'/>\n",
            "<a><b/><c></c></a>",
        ] {
            assert!(texts(document).is_ok(), "{document:?}");
        }
    }

    #[test]
    fn deletes_are_bounded_and_strict() {
        let delete = parse_delete(
            b"<Delete xmlns=\"x\"><Object><Key>a</Key></Object><Object><VersionId>v</VersionId><Key> b&#10;</Key>\
              <ETag>&quot;e&quot;</ETag><Size>7</Size></Object><Object><Key>c</Key><VersionId/></Object><Quiet>true</Quiet></Delete>",
        )
        .unwrap();
        let entry = |key: &str, version: Option<&str>, conditions| DeleteEntry {
            key: key.into(),
            version: version.map(str::to_owned),
            conditions,
        };
        let none = DeleteConditions::default;
        let some = DeleteConditions {
            etag: Some("\"e\"".into()),
            size: Some(7),
            ..none()
        };
        let objects = vec![
            entry("a", None, none()),
            entry(" b\n", Some("v"), some),
            entry("c", None, none()),
        ];
        assert_eq!(
            delete,
            Delete {
                objects,
                quiet: true
            }
        );
        let many = |count: usize| {
            let objects = "<Object><Key>a</Key></Object>".repeat(count);
            format!("<Delete>{objects}</Delete>")
        };
        assert_eq!(
            parse_delete(many(MAX_DELETE).as_bytes())
                .unwrap()
                .objects
                .len(),
            MAX_DELETE
        );
        for document in [
            "<Delete/>",
            "<Delete><Object/></Delete>",
            "<Delete><Object><Key/></Object></Delete>",
            "<Delete><Object><Key>a</Key><Key>b</Key></Object></Delete>",
            "<Delete><Object><Key><b/>a</Key></Object></Delete>",
            "<Delete><Object><Key>a</Key><Size>many</Size></Object></Delete>",
            "<Delete><Object><VersionId>v</VersionId></Object></Delete>",
            "<Delete><Object><Key>a</Key></Object><Quiet>maybe</Quiet></Delete>",
            "<Other><Object><Key>a</Key></Object></Other>",
            &many(MAX_DELETE + 1),
        ] {
            assert_eq!(
                parse_delete(document.as_bytes()),
                Err(Malformed),
                "{document:.60}"
            );
        }
    }

    /// What a reader gives away about any document: spans lie within it, children before parents.
    fn holds_together(document: &[u8]) -> Result<(), TestCaseError> {
        let text = text(document).unwrap_or_default();
        let mut end = 0;
        let _ = walk(document, |element| {
            assert!((1..=MAX_DEPTH).contains(&element.path.len()));
            assert!(element.span.end >= end && text.get(element.span.clone()).is_some());
            assert!(text[element.span.clone()].contains(element.inner));
            end = element.span.end;
            let _ = element.text();
            Ok(())
        });
        if let Ok(delete) = parse_delete(document) {
            prop_assert!((1..=MAX_DELETE).contains(&delete.objects.len()));
            prop_assert!(delete.objects.iter().all(|object| !object.key.is_empty()));
        }
        Ok(())
    }

    fn escaped(text: &str) -> String {
        quick_xml::escape::escape(text)
            .replace('\r', "&#13;")
            .replace('\n', "&#10;")
    }

    proptest! {
        #[test]
        fn any_bytes(document in prop::collection::vec(any::<u8>(), 0..512)) {
            holds_together(&document)?;
        }

        #[test]
        fn any_markup(document in "(<|</|>|/>|a|b| |Delete|Object|Key|=|\"|&|;|#|!|--|\\[|\\]|CDATA|\\?|é){0,64}") {
            holds_together(document.as_bytes())?;
        }

        #[test]
        fn documents_that_were_changed(
            keys in prop::collection::vec("[ -~é\\n]{1,8}", 1..8),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3u8), 1..6),
        ) {
            let objects: String = keys.iter()
                .map(|key| format!("<Object><Key>{}</Key><VersionId>v</VersionId></Object>", escaped(key)))
                .collect();
            let mut document = format!("<?xml version=\"1.0\"?><Delete>{objects}<Quiet>false</Quiet></Delete>").into_bytes();
            let delete = parse_delete(&document).unwrap();
            prop_assert_eq!(delete.objects.iter().map(|object| object.key.clone()).collect::<Vec<_>>(), keys);
            for (at, byte, change) in changes {
                let at = at.index(document.len());
                match change {
                    0 => document[at] = byte,
                    1 => document.insert(at, byte),
                    _ => document.truncate(at.max(1)),
                }
            }
            holds_together(&document)?;
        }
    }

    fn complete(parts: &str) -> Result<Vec<CompletePart>, CompleteError> {
        let document = format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>");
        parse_complete(document.as_bytes())
    }

    #[test]
    fn a_completion_names_parts_in_order() {
        let parts = complete(concat!(
            "<Part><PartNumber>1</PartNumber><ETag>&quot;a-b&quot;</ETag></Part>",
            "<Part><ETag>c</ETag><ChecksumCRC32>AAAAAA==</ChecksumCRC32><PartNumber> 10000 </PartNumber></Part>",
        ))
        .unwrap();
        let seen: Vec<_> = parts
            .iter()
            .map(|part| (part.number, part.etag.as_str(), part.checksum.is_some()))
            .collect();
        assert_eq!(seen, [(1, "a-b", false), (10_000, "c", true)]);
    }

    #[test]
    fn each_mistake_in_a_completion_has_its_error() {
        let part =
            |number: &str| format!("<Part><PartNumber>{number}</PartNumber><ETag>a</ETag></Part>");
        for malformed in [
            "",
            "<Part/>",
            "<Part><PartNumber>1</PartNumber></Part>",
            "<Part><PartNumber>1</PartNumber><PartNumber>1</PartNumber><ETag>a</ETag></Part>",
            &part("x"),
            &part(""),
        ] {
            assert_eq!(complete(malformed), Err(Malformed.into()), "{malformed}");
        }
        for number in [0, -1, 10_001, 70_000] {
            let refused = complete(&part(&number.to_string()));
            assert_eq!(refused, Err(CompleteError::Number(number)));
        }
        for order in [part("2") + &part("1"), part("2") + &part("2")] {
            assert_eq!(complete(&order), Err(CompleteError::Order));
        }
        assert_eq!(parse_complete(b"<Other/>"), Err(Malformed.into()));
        let many: String = (0..=MAX_PARTS).map(|_| part("1")).collect();
        assert_eq!(complete(&many), Err(Malformed.into()));
        for checksums in [
            "<ChecksumCRC32>?</ChecksumCRC32>",
            "<ChecksumCRC32></ChecksumCRC32>",
            "<ChecksumCRC32>y/Q5Jg==</ChecksumCRC32><ChecksumCRC32>y/Q5Jg==</ChecksumCRC32>",
            "<ChecksumCRC32>y/Q5Jg==</ChecksumCRC32><ChecksumCRC32C>4waSgw==</ChecksumCRC32C>",
        ] {
            let part = format!("<Part><PartNumber>1</PartNumber><ETag>a</ETag>{checksums}</Part>");
            assert_eq!(complete(&part), Err(CompleteError::Checksum), "{checksums}");
        }
    }
}
