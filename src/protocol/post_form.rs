//! The form of a browser upload: `multipart/form-data` as S3 takes it (S3 API: "POST Object"; RFC 7578, RFC 2046).
//!
//! ```text
//! --boundary CRLF headers CRLF CRLF value      fields: few, small, read whole      FormHead
//! CRLF --boundary CRLF headers CRLF CRLF       the part named `file`
//! any number of bytes                          streamed: its length is known       FormFile
//! CRLF --boundary-- [CRLF]                     the end, and nothing behind it
//! ```
//!
//! Since the file comes last, its length follows from `Content-Length` before any of it was read. Whether that
//! holds is checked as the bytes pass. A form that is at hand whole may have more parts behind the file: [`file_in`].

use thiserror::Error;

/// Most bytes before the first one of the file. S3 allows 20 KB of fields; part headers count here as well.
pub const MAX_HEAD: usize = 64 * 1024;

/// Most fields before the file.
const MAX_FIELDS: usize = 256;

/// Longest boundary (RFC 2046).
const MAX_BOUNDARY: usize = 70;

/// A body that is no form of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FormError {
    /// `Content-Type` is not `multipart/form-data` with one boundary.
    #[error("the content type is not multipart/form-data with a boundary")]
    ContentType,
    /// Not well-formed.
    #[error("the form is not well-formed: {0}")]
    Malformed(&'static str),
    /// More than [`MAX_HEAD`] bytes, or too many fields, before the file.
    #[error("the fields before the file are too large")]
    HeadTooLarge,
    /// The form ended without a part named `file`.
    #[error("the form has no file")]
    NoFile,
    /// The body ended within the form.
    #[error("the form ended early")]
    Truncated,
    /// Of a form too long to be taken in whole, the file is not the last part, or the end is not `--boundary--` and a
    /// line end.
    #[error("the file is not the last part of the form, or the form does not end as it should")]
    NotLast,
}

/// What stands between two parts: `CRLF--boundary`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delimiter(Vec<u8>);

impl Delimiter {
    /// Reads it from a `Content-Type`.
    ///
    /// # Errors
    /// [`FormError::ContentType`].
    pub fn from_content_type(value: &str) -> Result<Self, FormError> {
        let (kind, parameters) = value.split_once(';').ok_or(FormError::ContentType)?;
        if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
            return Err(FormError::ContentType);
        }
        let mut boundary = None;
        for (name, value) in parameters_of(parameters).ok_or(FormError::ContentType)? {
            if name.eq_ignore_ascii_case("boundary") && boundary.replace(value).is_some() {
                return Err(FormError::ContentType);
            }
        }
        let boundary = boundary.ok_or(FormError::ContentType)?;
        // The characters of RFC 2046 and those that clients use beside them; no line can end within.
        let fits = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
        if boundary.is_empty()
            || boundary.len() > MAX_BOUNDARY
            || boundary.ends_with(' ')
            || !boundary.bytes().all(fits)
        {
            return Err(FormError::ContentType);
        }
        Ok(Self(format!("\r\n--{boundary}").into_bytes()))
    }

    /// Where it first stands in `bytes`, from `from` on.
    fn find(&self, bytes: &[u8], from: usize) -> Option<usize> {
        let mut at = from;
        loop {
            at += bytes.get(at..)?.iter().position(|byte| *byte == b'\r')?;
            if bytes[at..].starts_with(&self.0) {
                return Some(at);
            }
            at += 1;
        }
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}

/// Whether a `Content-Type` is that of a form, well-formed or not.
#[must_use]
pub fn is_form(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default();
    kind.trim().eq_ignore_ascii_case("multipart/form-data")
}

/// The fields of a form, in order. Names are in lower case, as S3 compares them; none stands twice.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields(Vec<(String, String)>);

impl Fields {
    /// The value of a field. `name` is in lower case.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter()
            .find(|(field, _)| *field == name)
            .map(|(_, value)| value)
    }

    /// All fields, names in lower case.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Puts a field's value in place of what it was.
    pub fn set(&mut self, name: &str, value: String) {
        match self.0.iter_mut().find(|(field, _)| field == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    /// Changes each value.
    pub fn map(&mut self, change: impl Fn(&str, &str) -> Option<String>) {
        for (name, value) in &mut self.0 {
            if let Some(new) = change(name, value) {
                *value = new;
            }
        }
    }

    fn add(&mut self, name: String, value: String) -> Result<(), FormError> {
        if self.get(&name).is_some() {
            return Err(FormError::Malformed("a field stands twice"));
        }
        if self.0.len() == MAX_FIELDS {
            return Err(FormError::HeadTooLarge);
        }
        self.0.push((name, value));
        Ok(())
    }
}

impl FromIterator<(String, String)> for Fields {
    /// Of several fields with one name the last counts.
    fn from_iter<I: IntoIterator<Item = (String, String)>>(pairs: I) -> Self {
        let mut fields = Self::default();
        for (name, value) in pairs {
            fields.set(&name.to_ascii_lowercase(), value);
        }
        fields
    }
}

/// Everything before the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The fields.
    pub fields: Fields,
    /// The file's name without its folders; empty where the client gave none.
    pub filename: String,
    /// Bytes before the first one of the file.
    pub length: u64,
}

/// Reads a form up to the first byte of the file. Give it the body with [`FormHead::push`]; the outcome does not
/// depend on the pieces.
#[derive(Debug)]
pub struct FormHead {
    delimiter: Delimiter,
    buffer: Vec<u8>,
    /// `0 <= at <= searched <= buffer.len()`: where the open piece begins, and up to where its end is not.
    at: usize,
    searched: usize,
    state: State,
    fields: Fields,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    /// Before the first delimiter.
    Start,
    /// Behind a delimiter.
    AfterDelimiter,
    /// In the headers of a part.
    Headers,
    /// In the value of the field of that name.
    Value(String),
}

impl FormHead {
    /// A form with that delimiter.
    #[must_use]
    pub fn new(delimiter: Delimiter) -> Self {
        Self {
            delimiter,
            buffer: Vec::new(),
            at: 0,
            searched: 0,
            state: State::Start,
            fields: Fields::default(),
        }
    }

    /// Takes the next bytes. Once the file begins: what came before it, and how many of `bytes` belong to that; do
    /// not call it again.
    ///
    /// # Errors
    /// [`FormError`].
    pub fn push(&mut self, bytes: &[u8]) -> Result<Option<(Head, usize)>, FormError> {
        let before = self.buffer.len();
        let taken = bytes.len().min(MAX_HEAD - before);
        self.buffer.extend_from_slice(&bytes[..taken]);
        while let Some(progress) = self.step()? {
            if let Some(filename) = progress {
                let head = Head {
                    fields: std::mem::take(&mut self.fields),
                    filename,
                    length: self.at as u64,
                };
                // The file cannot have begun in what came earlier, which was looked at then.
                return Ok(Some((head, self.at.saturating_sub(before))));
            }
        }
        if taken < bytes.len() {
            return Err(FormError::HeadTooLarge);
        }
        Ok(None)
    }

    /// One piece further. `None` where more bytes are needed, a file name where the file begins.
    fn step(&mut self) -> Result<Option<Option<String>>, FormError> {
        let rest = &self.buffer[self.at..];
        match &self.state {
            State::Start => {
                // The first delimiter needs no line before it; some clients begin with one nevertheless.
                let skip = if self.buffer.first() == Some(&b'\r') {
                    0
                } else {
                    2
                };
                let opening = &self.delimiter.0[skip..];
                let compared = rest.len().min(opening.len());
                if rest[..compared] != opening[..compared] {
                    return Err(FormError::Malformed("it does not begin with its boundary"));
                }
                if compared < opening.len() {
                    return Ok(None);
                }
                self.advance(opening.len(), State::AfterDelimiter);
            }
            State::AfterDelimiter => match rest {
                [b'\r', b'\n', ..] => self.advance(2, State::Headers),
                [b'-', b'-', ..] => return Err(FormError::NoFile),
                [] | [b'\r' | b'-'] => return Ok(None),
                _ => return Err(FormError::Malformed("text behind a boundary")),
            },
            State::Headers => {
                let from = self.searched.saturating_sub(3).max(self.at);
                let end = self.buffer[from..]
                    .windows(4)
                    .position(|four| four == b"\r\n\r\n");
                let Some(end) = end else {
                    self.searched = self.buffer.len();
                    return Ok(None);
                };
                let headers = &self.buffer[self.at..from + end];
                let (name, filename) = part_name(headers)?;
                let length = headers.len() + 4;
                if name == "file" {
                    self.at += length;
                    return Ok(Some(Some(filename.unwrap_or_default())));
                }
                self.advance(length, State::Value(name));
            }
            State::Value(name) => {
                // The line end before the value counts, so that a boundary right there is seen.
                let overlap = self.delimiter.len() - 1;
                let from = self.searched.saturating_sub(overlap).max(self.at - 2);
                let Some(end) = self.delimiter.find(&self.buffer, from) else {
                    self.searched = self.buffer.len();
                    return Ok(None);
                };
                let value = self
                    .buffer
                    .get(self.at..end)
                    .ok_or(FormError::Malformed("a field without a value"))?;
                let value = String::from_utf8(value.to_vec())
                    .map_err(|_| FormError::Malformed("a field is not UTF-8"))?;
                self.fields.add(name.clone(), value)?;
                let next = end + self.delimiter.len() - self.at;
                self.advance(next, State::AfterDelimiter);
            }
        }
        Ok(Some(None))
    }

    fn advance(&mut self, by: usize, state: State) {
        self.at += by;
        self.searched = self.at;
        self.state = state;
    }
}

/// Where the file ends in `rest`: all that follows a [`Head`]. Parts behind it are passed over; the form must end.
///
/// # Errors
/// [`FormError`].
pub fn file_in(rest: &[u8], delimiter: &Delimiter) -> Result<usize, FormError> {
    if rest.starts_with(&delimiter.0[2..]) {
        return Err(FormError::Malformed("a file without a body"));
    }
    let end = delimiter.find(rest, 0).ok_or(FormError::Truncated)?;
    let mut at = end;
    loop {
        let behind = at + delimiter.len();
        match rest.get(behind..).unwrap_or_default() {
            [b'-', b'-', ..] => return Ok(end),
            [b'\r', b'\n', ..] => {}
            [] | [_] => return Err(FormError::Truncated),
            _ => return Err(FormError::Malformed("text behind a boundary")),
        }
        at = delimiter.find(rest, behind).ok_or(FormError::Truncated)?;
    }
}

/// The file of a form that is too long to be taken in whole, and the end behind it.
///
/// Take what [`FormFile::take`] gives until it gives nothing for all bytes there are; [`FormFile::finish`] is the verdict.
#[derive(Debug)]
pub struct FormFile {
    delimiter: Delimiter,
    /// Bytes of the file still to come.
    left: u64,
    /// The last bytes of the file so far, and the line end before it: shorter than a delimiter.
    last: Vec<u8>,
    /// What has come of the end.
    end: Vec<u8>,
}

impl FormFile {
    /// `rest` is how many bytes follow the form's [`Head`].
    ///
    /// # Errors
    /// [`FormError::Truncated`] where that is less than the end needs.
    pub fn new(delimiter: Delimiter, rest: u64) -> Result<Self, FormError> {
        let end = delimiter.len() as u64 + 4;
        Ok(Self {
            left: rest.checked_sub(end).ok_or(FormError::Truncated)?,
            delimiter,
            last: b"\r\n".to_vec(),
            end: Vec::new(),
        })
    }

    /// Bytes of the file that have not been taken yet.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.left
    }

    /// How many of `bytes` are the file's; the others are the end, and are taken in here.
    ///
    /// # Errors
    /// [`FormError::NotLast`]: the file ends elsewhere.
    pub fn take(&mut self, bytes: &[u8]) -> Result<usize, FormError> {
        let taken = usize::try_from(self.left).map_or(bytes.len(), |left| left.min(bytes.len()));
        let (file, end) = bytes.split_at(taken);
        self.search(file)?;
        self.left -= taken as u64;
        // One more than fits is enough to know.
        let room = self.delimiter.len() + 5 - self.end.len();
        self.end.extend_from_slice(&end[..end.len().min(room)]);
        let compared = self.end.len().min(self.delimiter.len());
        if self.end[..compared] != self.delimiter.0[..compared] || end.len() > room {
            return Err(FormError::NotLast);
        }
        Ok(taken)
    }

    /// Looks for a delimiter in the file, also across pieces.
    fn search(&mut self, file: &[u8]) -> Result<(), FormError> {
        let keep = self.delimiter.len() - 1;
        self.last.extend_from_slice(&file[..file.len().min(keep)]);
        if self.delimiter.find(&self.last, 0).is_some() || self.delimiter.find(file, 0).is_some() {
            return Err(FormError::NotLast);
        }
        if file.len() >= keep {
            self.last.clear();
            self.last.extend_from_slice(&file[file.len() - keep..]);
        } else {
            let surplus = self.last.len().saturating_sub(keep);
            self.last.drain(..surplus);
        }
        Ok(())
    }

    /// Whether the body ended where the form does.
    ///
    /// # Errors
    /// [`FormError::Truncated`], [`FormError::NotLast`].
    pub fn finish(&self) -> Result<(), FormError> {
        if self.left > 0 {
            return Err(FormError::Truncated);
        }
        match self.end.get(self.delimiter.len()..) {
            Some(b"--\r\n") => Ok(()),
            Some(end) if b"--\r\n".starts_with(end) => Err(FormError::Truncated),
            None => Err(FormError::Truncated),
            Some(_) => Err(FormError::NotLast),
        }
    }
}

/// Name (in lower case) and file name of a part, from its headers.
fn part_name(headers: &[u8]) -> Result<(String, Option<String>), FormError> {
    let headers = std::str::from_utf8(headers)
        .map_err(|_| FormError::Malformed("the headers of a part are not UTF-8"))?;
    let bad = FormError::Malformed("a part is not named");
    let mut disposition = None;
    for line in headers.split("\r\n") {
        let (name, value) = line
            .split_once(':')
            .ok_or(FormError::Malformed("a part with a line that is no header"))?;
        if name.eq_ignore_ascii_case("content-disposition") && disposition.replace(value).is_some()
        {
            return Err(bad);
        }
    }
    let (kind, parameters) = disposition
        .and_then(|value| value.split_once(';'))
        .ok_or(bad)?;
    if !kind.trim().eq_ignore_ascii_case("form-data") {
        return Err(bad);
    }
    let (mut name, mut filename) = (None, None);
    for (parameter, value) in parameters_of(parameters).ok_or(bad)? {
        let slot = match parameter.to_ascii_lowercase().as_str() {
            "name" => &mut name,
            "filename" => &mut filename,
            _ => continue,
        };
        if slot.replace(value).is_some() {
            return Err(bad);
        }
    }
    let name = name.filter(|name| !name.is_empty()).ok_or(bad)?;
    // S3 takes what follows the last slash or backslash.
    let filename = filename.map(|path| match path.rfind(['/', '\\']) {
        Some(at) => path[at + 1..].to_owned(),
        None => path,
    });
    Ok((name.to_ascii_lowercase(), filename))
}

/// `; name=value; name="value"` as pairs. Within quotes a backslash before a quote stands for that quote, and for itself
/// otherwise, since browsers put whole paths there.
fn parameters_of(text: &str) -> Option<Vec<(&str, String)>> {
    let mut pairs = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (name, value) = rest.split_once('=')?;
        let name = name.trim();
        if name.is_empty() || name.contains([';', '"', ' ']) {
            return None;
        }
        let value = value.trim_start();
        let behind = match value.strip_prefix('"') {
            Some(quoted) => {
                let mut found = String::new();
                let mut chars = quoted.char_indices().peekable();
                let end = loop {
                    match chars.next()? {
                        (at, '"') => break at,
                        (_, '\\') if matches!(chars.peek(), Some((_, '"'))) => {
                            found.push('"');
                            chars.next();
                        }
                        (_, other) => found.push(other),
                    }
                };
                pairs.push((name, found));
                quoted[end + 1..].trim_start()
            }
            None => {
                let end = value.find(';').unwrap_or(value.len());
                let token = value[..end].trim_end();
                if token.is_empty() || token.contains('"') {
                    return None;
                }
                pairs.push((name, token.to_owned()));
                &value[end..]
            }
        };
        rest = match behind.strip_prefix(';') {
            Some(next) => next.trim(),
            None if behind.is_empty() => "",
            None => return None,
        };
    }
    Some(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn delimiter() -> Delimiter {
        Delimiter::from_content_type("multipart/form-data; boundary=XX").unwrap()
    }

    /// A form of fields; the file, if there is one, is what the last is named for.
    fn form(parts: &[(&str, &[u8])]) -> Vec<u8> {
        let mut body = Vec::new();
        for (disposition, value) in parts {
            body.extend(
                format!("--XX\r\nContent-Disposition: form-data; {disposition}\r\n\r\n").bytes(),
            );
            body.extend(*value);
            body.extend(b"\r\n");
        }
        body.extend(b"--XX--\r\n");
        body
    }

    /// The whole of a body in pieces: head, and the file as a streamed one.
    fn read(body: &[u8], cuts: &[usize]) -> Result<(Head, Vec<u8>), FormError> {
        let mut pieces = Vec::new();
        let mut rest = body;
        for cut in cuts
            .iter()
            .cycle()
            .take(if cuts.is_empty() { 0 } else { body.len() })
        {
            let (piece, behind) = rest.split_at((*cut).clamp(1, rest.len().max(1)).min(rest.len()));
            pieces.push(piece);
            rest = behind;
        }
        pieces.push(rest);
        let mut reader = FormHead::new(delimiter());
        let mut begun: Option<(Head, FormFile)> = None;
        let mut file = Vec::new();
        for mut piece in pieces {
            if begun.is_none() {
                let Some((head, used)) = reader.push(piece)? else {
                    continue;
                };
                let rest = body.len() as u64 - head.length;
                begun = Some((head, FormFile::new(delimiter(), rest)?));
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

    #[test]
    fn boundaries_are_read_from_content_types() {
        for (text, boundary) in [
            ("multipart/form-data; boundary=abc", "abc"),
            (
                "Multipart/Form-Data;charset=utf-8; Boundary=\"a b:c\"",
                "a b:c",
            ),
            (
                "multipart/form-data; boundary=----WebKitFormBoundary7MA4YWxk",
                "----WebKitFormBoundary7MA4YWxk",
            ),
        ] {
            let found = Delimiter::from_content_type(text).unwrap();
            assert_eq!(found.0, format!("\r\n--{boundary}").into_bytes());
        }
        let long = format!("multipart/form-data; boundary={}", "x".repeat(71));
        for text in [
            "multipart/form-data",
            "multipart/form-data; boundary=",
            "multipart/form-data; boundary=\"\"",
            "multipart/form-data; boundary=\"a\r\nb\"",
            "multipart/form-data; boundary=\"a ",
            "multipart/form-data; boundary=\"a \"",
            "multipart/form-data; boundary=a; boundary=b",
            "multipart/mixed; boundary=a",
            &long,
        ] {
            assert_eq!(
                Delimiter::from_content_type(text),
                Err(FormError::ContentType),
                "{text}"
            );
        }
        assert!(is_form("multipart/form-data") && !is_form("multipart/form-data2; boundary=x"));
    }

    #[test]
    fn fields_file_and_end_are_found() {
        let body = form(&[
            ("name=\"Key\"", b"a/${filename}"),
            ("name=empty", b""),
            ("name=\"a\\\"b\"", b"\r\n--X\r\n"),
            (
                "name=\"file\"; filename=\"C:\\dir\\it's.txt\"",
                b"\r\n--Xcontent--",
            ),
        ]);
        let (head, file) = read(&body, &[]).unwrap();
        let fields: Vec<_> = head.fields.iter().collect();
        assert_eq!(
            fields,
            [
                ("key", "a/${filename}"),
                ("empty", ""),
                ("a\"b", "\r\n--X\r\n")
            ]
        );
        assert_eq!(head.filename, "it's.txt");
        assert_eq!(file, b"\r\n--Xcontent--");
        // A line before the first boundary changes nothing.
        let later = [b"\r\n", body.as_slice()].concat();
        assert_eq!(read(&later, &[]).unwrap().1, file);
    }

    #[test]
    fn what_is_no_form_is_refused() {
        let file = ("name=file", &b"data"[..]);
        let malformed = |body: &[u8]| matches!(read(body, &[]), Err(FormError::Malformed(_)));
        assert_eq!(
            read(&form(&[("name=a", b"1")]), &[]),
            Err(FormError::NoFile)
        );
        assert!(malformed(&form(&[
            ("name=a", b"1"),
            ("name=A", b"2"),
            file
        ])));
        assert!(malformed(&form(&[("name=a", b"\xff"), file])));
        assert!(malformed(&form(&[("filename=a", b"1"), file])));
        assert!(malformed(&form(&[("name=\"\"", b"1"), file])));
        assert!(malformed(&form(&[("name=a; name=b", b"1"), file])));
        assert!(malformed(&form(&[("name=\"a", b"1"), file])));
        assert!(malformed(b"preamble\r\n--XX\r\n"));
        assert!(malformed(
            b"--XXY\r\nContent-Disposition: form-data; name=a\r\n\r\n"
        ));
        assert!(malformed(
            b"--XX\r\nContent-Disposition: form-data; name=a\r\n\r\n--XX\r\n"
        ));
        assert!(malformed(b"--XX\r\nno header\r\n\r\n"));
        assert!(malformed(b"--XX\r\n\r\n\r\n\r\n"));
        let many: Vec<String> = (0..300).map(|n| format!("name=f{n}")).collect();
        let mut parts: Vec<(&str, &[u8])> = many.iter().map(|n| (n.as_str(), &b""[..])).collect();
        parts.push(file);
        assert_eq!(read(&form(&parts), &[]), Err(FormError::HeadTooLarge));
        let long = vec![b'x'; MAX_HEAD];
        assert_eq!(
            read(&form(&[("name=a", &long), file]), &[]),
            Err(FormError::HeadTooLarge)
        );
    }

    #[test]
    fn the_head_may_have_its_limit_and_no_byte_more() {
        let with = |length: usize| form(&[("name=a", &vec![b'x'; length]), ("name=file", b"data")]);
        let overhead = read(&with(0), &[]).unwrap().0.length as usize;
        for step in [1, 1000, usize::MAX] {
            assert!(read(&with(MAX_HEAD - overhead), &[step]).is_ok());
            let error = read(&with(MAX_HEAD - overhead + 1), &[step]);
            assert_eq!(error, Err(FormError::HeadTooLarge), "{step}");
        }
    }

    #[test]
    fn a_streamed_file_must_be_last_and_the_form_must_end() {
        let parts: [(&str, &[u8]); 2] = [("name=key", b"k"), ("name=file", b"some data")];
        let body = form(&parts);
        for cut in 0..body.len() {
            assert!(read(&body[..cut], &[]).is_err(), "{cut}");
        }
        let whole = |body: &[u8]| read(body, &[]).map(|(_, file)| file);
        assert_eq!(whole(&body).unwrap(), b"some data");
        assert_eq!(whole(&[&body[..], b"x"].concat()), Err(FormError::NotLast));
        assert_eq!(
            whole(&[&body[..], b"\r\n"].concat()),
            Err(FormError::NotLast)
        );
        assert_eq!(whole(&body[..body.len() - 2]), Err(FormError::NotLast));
        let more = form(&[parts[0], parts[1], ("name=more", b"1")]);
        assert_eq!(whole(&more), Err(FormError::NotLast));
        let twice = form(&[parts[0], ("name=file", b"some\r\n--XX--\r\ndata")]);
        assert_eq!(whole(&twice), Err(FormError::NotLast));
        let at_once = form(&[parts[0], ("name=file", b"--XX--\r\n data")]);
        assert_eq!(whole(&at_once), Err(FormError::NotLast));
        assert_eq!(whole(&form(&[("name=file", b"")])).unwrap(), b"");
    }

    #[test]
    fn a_short_form_may_go_on_behind_its_file() {
        let rest = |text: &str| file_in(text.as_bytes(), &delimiter());
        assert_eq!(rest("data\r\n--XX--"), Ok(4));
        assert_eq!(rest("data\r\n--XX--\r\nepilogue"), Ok(4));
        assert_eq!(rest("data\r\n--XX\r\nx: y\r\n\r\nz\r\n--XX--\r\n"), Ok(4));
        assert_eq!(rest("\r\n--XX--"), Ok(0));
        assert_eq!(rest("data"), Err(FormError::Truncated));
        assert_eq!(rest("data\r\n--XX"), Err(FormError::Truncated));
        assert_eq!(rest("data\r\n--XX-"), Err(FormError::Truncated));
        assert_eq!(rest("data\r\n--XX\r\nx"), Err(FormError::Truncated));
        assert!(matches!(rest("--XX--\r\n"), Err(FormError::Malformed(_))));
        assert!(matches!(
            rest("data\r\n--XXYZ"),
            Err(FormError::Malformed(_))
        ));
    }

    /// Bytes in which pieces of a delimiter are frequent.
    fn tricky() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            Just(&b"\r\n"[..]),
            Just(&b"--X"[..]),
            Just(&b"\r\n--X"[..]),
            Just(&b"-"[..]),
            Just(&b"X"[..]),
            Just(&b"abc"[..]),
            Just(&b"\r"[..]),
            Just(&b"\r\n--XX"[..]),
            Just(&b"--\r\n"[..]),
        ];
        prop::collection::vec(piece, 0..20).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(value in tricky(), file in tricky(), end in 0..4_usize,
            cuts in prop::collection::vec(1..40_usize, 1..8))
        {
            let mut body = form(&[("name=key", &value), ("name=file; filename=f", &file)]);
            body.truncate(body.len() - end);
            let whole = read(&body, &[]);
            prop_assert_eq!(&read(&body, &cuts), &whole);
            prop_assert_eq!(&read(&body, &[1]), &whole);
            if let Ok((head, found)) = whole {
                // Both ways of reading see the same file.
                let rest = &body[usize::try_from(head.length).unwrap()..];
                let at = file_in(rest, &delimiter()).unwrap();
                prop_assert_eq!(&rest[..at], &found[..]);
            }
        }

        #[test]
        fn what_has_no_delimiter_comes_out_as_it_went_in(file in prop::collection::vec(any::<u8>(), 0..2000),
            cuts in prop::collection::vec(1..300_usize, 1..8))
        {
            prop_assume!(delimiter().find(&[b"\r\n", &file[..]].concat(), 0).is_none());
            let body = form(&[("name=key", b"k"), ("name=file", &file)]);
            prop_assert_eq!(read(&body, &cuts).unwrap().1, file);
        }

        #[test]
        fn any_bytes_are_refused_or_read(body in prop::collection::vec(any::<u8>(), 0..500), text in ".*") {
            let _ = read(&body, &[7]);
            let _ = file_in(&body, &delimiter());
            let _ = Delimiter::from_content_type(&text);
            let _ = parameters_of(&text);
        }
    }
}
