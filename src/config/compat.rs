//! `compat`: which objects of other programs are read, until when, and with which secrets; and `spool`, where they wait
//! while they are being checked.

use std::path::PathBuf;
use std::time::Duration;

use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::decode::{Decoder, Section, Text};
use super::human::show_size;
use super::imports::{self, S3eg, S3ep};
use super::tree::{Node, Value};
use crate::policy::Secret;

/// `compat`: the objects of other programs that are read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Compat {
    /// Until when objects are read that are bound to no place; never where it is not given.
    pub accept_unsigned: Option<AcceptUnsigned>,
    /// Those of `s3proxy`.
    pub s3proxy: Option<S3proxy>,
    /// Those of `s3-encryption-proxy`.
    pub s3ep: Option<S3ep>,
    /// Those of `s3-encryption-gateway`.
    pub s3eg: Option<S3eg>,
}

/// `compat.accept_unsigned`: until when objects are read that carry no MAC over their bucket and key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcceptUnsigned {
    /// The last day on which they are.
    pub until: Date,
}

impl AcceptUnsigned {
    /// The end of that day in UTC, in unix seconds.
    #[must_use]
    pub fn ends(&self) -> i64 {
        let next = self.until.tomorrow().unwrap_or(Date::MAX);
        next.to_zoned(TimeZone::UTC)
            .map_or(i64::MAX, |day| day.timestamp().as_second())
    }
}

/// `compat.s3proxy`: what opens the objects of `s3proxy`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct S3proxy {
    /// The metadata names under which data keys stand, in lower case.
    pub tags: Vec<String>,
    /// The secrets that the program was run with.
    pub secrets: Vec<Secret>,
    /// Whether objects are read whose data key is wrapped under 32 zero bytes.
    pub zero_key: bool,
}

/// `spool`: where objects wait that are checked as a whole before they are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Spool {
    /// The folder of its files.
    pub dir: PathBuf,
    /// Bytes that all of them take at most.
    pub bytes: u64,
    /// Stored bytes of the longest object that is taken.
    pub max_object: u64,
    /// How long an object of which a range was read is kept for others.
    pub keep: Duration,
}

/// On a disk, which `/tmp` often is not.
const FOLDER: &str = "/var/tmp";
/// A little more than the longest object of one PUT.
const LONGEST: u64 = 6 << 30;

/// Letters of an HTTP header's name (RFC 9110, `tchar`), in lower case, but for those that no S3 client writes.
pub(super) fn tag(text: &str) -> Result<String, &'static str> {
    let fits =
        |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.');
    let tag = text.to_ascii_lowercase();
    if tag.is_empty() || tag.len() > 100 || !tag.bytes().all(fits) {
        return Err("is no name of metadata");
    }
    if tag.starts_with("sealgate") {
        return Err("begins as the gateway's own metadata does");
    }
    Ok(tag)
}

/// The section; none where it is not given.
pub(super) fn compat(d: &mut Decoder<'_>, root: &Section<'_>) -> Option<Compat> {
    let node = root.node("compat")?;
    let known = ["accept_unsigned", "s3proxy", "s3ep", "s3eg"];
    let s = d.section(Some(node), "compat", &known);
    let accept_unsigned = s
        .has("accept_unsigned")
        .then(|| accept_unsigned(d, &s))
        .flatten();
    let s3proxy = s.has("s3proxy").then(|| s3proxy(d, &s)).flatten();
    let s3ep = s.has("s3ep").then(|| imports::s3ep(d, &s)).flatten();
    let s3eg = s.has("s3eg").then(|| imports::s3eg(d, &s)).flatten();
    for field in ["s3proxy", "s3ep", "s3eg"] {
        if s.has(field) && !s.has("accept_unsigned") {
            d.warning(
                &s.at(field),
                "is without compat.accept_unsigned, so that none of these objects is read",
                "Write accept_unsigned: {until: 2027-06-30}, say: the day by which all are migrated.",
            );
        }
    }
    Some(Compat {
        accept_unsigned,
        s3proxy,
        s3ep,
        s3eg,
    })
}

fn accept_unsigned(d: &mut Decoder<'_>, compat: &Section<'_>) -> Option<AcceptUnsigned> {
    let s = d.section(
        compat.node("accept_unsigned"),
        "compat.accept_unsigned",
        &["until"],
    );
    let instead = "Write the last day on which such objects are read, as 2027-06-30.";
    let text = d.required(&s, "until", instead)?;
    let day = |text: &str| {
        let shape = text.len() == 10 && text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
        let day = shape.then(|| text.parse::<Date>().ok()).flatten();
        day.ok_or("is no day")
    };
    let until = d.parsed(&text, day, instead)?;
    Some(AcceptUnsigned { until })
}

fn s3proxy(d: &mut Decoder<'_>, compat: &Section<'_>) -> Option<S3proxy> {
    let known = ["tags", "secrets", "zero_key"];
    let s = d.section(compat.node("s3proxy"), "compat.s3proxy", &known);
    let tags = tags(d, &s);
    let secrets = secrets(d, &s);
    let zero_key = d.flag(&s, "zero_key").unwrap_or_default();
    if zero_key {
        d.warning(
            &s.at("zero_key"),
            "reads objects under a key that everybody knows: whoever can write to the store can plant them",
            "Migrate those objects, and take it away.",
        );
    }
    if !zero_key && (!s.has("secrets") || s.is_empty_list("secrets")) {
        d.missing(
            &s,
            "secrets",
            "List what the program was run with: secrets: [\"${OLD_SECRET}\"].",
        );
    }
    Some(S3proxy {
        tags: tags?,
        secrets,
        zero_key,
    })
}

fn tags(d: &mut Decoder<'_>, s: &Section<'_>) -> Option<Vec<String>> {
    let Some(texts) = d.texts(s, "tags") else {
        return Some(vec!["isec".to_owned(), "constellation-dek".to_owned()]);
    };
    let instead = "Write the name without x-amz-meta- before it: isec, say.";
    if s.is_empty_list("tags") {
        d.problem(&s.at("tags"), "names no metadata", instead);
    }
    let mut tags: Vec<String> = Vec::new();
    for text in texts {
        match d.parsed(&text, tag, instead) {
            Some(tag) if tags.contains(&tag) => {
                d.problem(&text.spot, "is given twice", "Keep one.");
            }
            Some(tag) => tags.push(tag),
            None => {}
        }
    }
    Some(tags)
}

/// Texts, or `{secret: …}` and `{secret_file: …}`.
fn secrets(d: &mut Decoder<'_>, s: &Section<'_>) -> Vec<Secret> {
    let items = d.list(s, "secrets").unwrap_or_default();
    let secrets = items
        .into_iter()
        .filter_map(|(path, node)| secret(d, path, node));
    secrets.collect()
}

pub(super) fn secret(d: &mut Decoder<'_>, path: String, node: &Node) -> Option<Secret> {
    if matches!(node.value, Value::Map(_)) {
        let s = d.section(Some(node), &path, &["secret", "secret_file"]);
        return d.secret(&s, "secret", true).map(|(secret, _)| secret);
    }
    let Text { value, spot, .. } = d.text_of(node, path)?;
    if value.is_empty() {
        d.problem(&spot, "is empty", "Give it a value.");
        return None;
    }
    Some(Secret::from(value))
}

/// The section, or what holds without it.
pub(super) fn spool(d: &mut Decoder<'_>, root: &Section<'_>) -> Spool {
    let s = d.section(
        root.node("spool"),
        "spool",
        &["dir", "bytes", "max_object", "keep"],
    );
    let dir = d.path(&s, "dir");
    let bounds = 1 << 20..=1 << 50;
    let bytes = d.size(&s, "bytes", bounds.clone());
    let max_object = d.size(&s, "max_object", bounds);
    let all = bytes.unwrap_or(2 * LONGEST.max(max_object.unwrap_or_default()));
    let keep = d.duration(&s, "keep", Duration::ZERO..=Duration::from_hours(1));
    let one = max_object.unwrap_or(LONGEST.min(all));
    if one > all {
        d.problem(
            &s.at("max_object"),
            format!(
                "is {}, more than spool.bytes: {}",
                show_size(one),
                show_size(all)
            ),
            "Let spool.bytes hold several such objects.",
        );
    }
    Spool {
        dir: dir.unwrap_or_else(|| FOLDER.into()),
        bytes: all,
        max_object: one,
        keep: keep.unwrap_or(Duration::from_secs(30)),
    }
}
