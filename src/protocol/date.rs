//! Dates as S3 and HTTP write them, to and from unix seconds.
//!
//! Three forms are in use: the HTTP-date of RFC 9110 section 5.6.7 (`Last-Modified`, conditionals),
//! ISO 8601 basic (`x-amz-date`) and ISO 8601 extended (XML bodies). Times are whole seconds since
//! 1970-01-01T00:00:00Z without leap seconds; a leap second `:60` is read as `:59`.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// The text is not a date in the form that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DateError {
    /// Wrong shape, or a day or time that does not exist.
    #[error("not a valid date")]
    Malformed,
}

const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const LONG_DAYS: [&str; 7] = [
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// 0000-01-01T00:00:00Z; earlier times are formatted as this one.
const FIRST: i64 = -62_167_219_200;
/// 9999-12-30T22:00:00Z, the last instant of the calendar library; later times are formatted as this one.
const LAST: i64 = 253_402_207_200;

/// Reads an HTTP-date: IMF-fixdate, or the obsolete RFC 850 and asctime forms (RFC 9110, 5.6.7).
///
/// The name of the day is checked to be one, not to be the right one. A two-digit year below 70 is
/// in this century. `UTC`, `+0000` and `-0000` are taken for `GMT`, as some clients write them.
///
/// # Errors
///
/// [`DateError::Malformed`]; RFC 9110 asks recipients to ignore such a header.
pub fn parse_http_date(text: &str) -> Result<i64, DateError> {
    let text = text.trim_matches([' ', '\t']);
    if text.len() > 64 || !text.is_ascii() {
        return Err(DateError::Malformed);
    }
    let (day, rest) = text.split_once([',', ' ']).ok_or(DateError::Malformed)?;
    let comma = text.as_bytes().get(day.len()) == Some(&b',');
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    match (comma, fields.as_slice()) {
        // Sun, 06 Nov 1994 08:49:37 GMT
        (true, [day_of_month, month, year, time, zone])
            if DAYS.contains(&day) && year.len() == 4 && is_utc(zone) =>
        {
            civil(
                number(year, 4, 4)?,
                month_number(month)?,
                number(day_of_month, 1, 2)?,
                time,
            )
        }
        // Sunday, 06-Nov-94 08:49:37 GMT
        (true, [date, time, zone])
            if (LONG_DAYS.contains(&day) || DAYS.contains(&day)) && is_utc(zone) =>
        {
            let mut parts = date.splitn(3, '-');
            let day_of_month = number(parts.next().unwrap_or(""), 2, 2)?;
            let month = month_number(parts.next().unwrap_or(""))?;
            let year = parts.next().unwrap_or("");
            let year = match (year.len(), number(year, 2, 4)?) {
                (2, short @ 0..=69) => 2000 + short,
                (2, short) => 1900 + short,
                (4, full) => full,
                _ => return Err(DateError::Malformed),
            };
            civil(year, month, day_of_month, time)
        }
        // Sun Nov  6 08:49:37 1994
        (false, [month, day_of_month, time, year]) if DAYS.contains(&day) => civil(
            number(year, 4, 4)?,
            month_number(month)?,
            number(day_of_month, 1, 2)?,
            time,
        ),
        _ => Err(DateError::Malformed),
    }
}

/// Writes an IMF-fixdate, such as `Sun, 06 Nov 1994 08:49:37 GMT`. Years outside 0 to 9999 are clamped.
#[must_use]
pub fn format_http_date(unix_seconds: i64) -> String {
    let at = utc(unix_seconds);
    let day = usize::from(at.weekday().to_monday_zero_offset().unsigned_abs());
    let month = usize::from(at.month().unsigned_abs()).saturating_sub(1);
    format!(
        "{}, {:02} {} {:04} {:02}:{:02}:{:02} GMT",
        DAYS.get(day).copied().unwrap_or("Mon"),
        at.day(),
        MONTHS.get(month).copied().unwrap_or("Jan"),
        at.year(),
        at.hour(),
        at.minute(),
        at.second()
    )
}

/// Reads ISO 8601 basic as in `x-amz-date`: `20130524T000000Z`, nothing else.
///
/// # Errors
///
/// [`DateError::Malformed`].
pub fn parse_amz_date(text: &str) -> Result<i64, DateError> {
    let bytes = text.as_bytes();
    if bytes.len() != 16 || bytes[8] != b'T' || bytes[15] != b'Z' || !text.is_ascii() {
        return Err(DateError::Malformed);
    }
    let field = |from: usize, to: usize| number(&text[from..to], to - from, to - from);
    seconds(
        field(0, 4)?,
        field(4, 6)?,
        field(6, 8)?,
        field(9, 11)?,
        field(11, 13)?,
        field(13, 15)?,
    )
}

/// Writes ISO 8601 basic: `20130524T000000Z`. The first eight characters are the date of a credential scope.
#[must_use]
pub fn format_amz_date(unix_seconds: i64) -> String {
    AmzDate::new(unix_seconds).as_str().to_owned()
}

/// A time in ISO 8601 basic, `20130524T000000Z`, without an allocation: every request has several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AmzDate([u8; 16]);

impl AmzDate {
    /// Times out of range are clamped.
    #[must_use]
    pub fn new(unix_seconds: i64) -> Self {
        let at = utc(unix_seconds);
        let mut text = *b"00000000T000000Z";
        let mut put = |from: usize, to: usize, value: i16| {
            let mut rest = value.unsigned_abs();
            for digit in text[from..to].iter_mut().rev() {
                *digit = b'0' + (rest % 10) as u8;
                rest /= 10;
            }
        };
        put(0, 4, at.year());
        put(4, 6, at.month().into());
        put(6, 8, at.day().into());
        put(9, 11, at.hour().into());
        put(11, 13, at.minute().into());
        put(13, 15, at.second().into());
        Self(text)
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Digits, `T` and `Z` only.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// Its first eight characters: the date of a credential scope.
    #[must_use]
    pub fn day(&self) -> &str {
        self.as_str().get(..8).unwrap_or_default()
    }
}

/// Reads ISO 8601 extended with a zone, with or without a fraction, which is dropped.
///
/// # Errors
///
/// [`DateError::Malformed`].
pub fn parse_iso8601(text: &str) -> Result<i64, DateError> {
    if text.len() > 64 {
        return Err(DateError::Malformed);
    }
    let timestamp: Timestamp = text.parse().map_err(|_| DateError::Malformed)?;
    // `as_second` rounds towards zero; a time before 1970 with a fraction belongs to the second below.
    let whole = timestamp.as_second();
    if timestamp.subsec_nanosecond() < 0 {
        Ok(whole - 1)
    } else {
        Ok(whole)
    }
}

/// Writes ISO 8601 extended as S3's XML has it: `2009-10-12T17:50:30.000Z`.
#[must_use]
pub fn format_iso8601(unix_seconds: i64) -> String {
    let at = utc(unix_seconds);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.000Z",
        at.year(),
        at.month(),
        at.day(),
        at.hour(),
        at.minute(),
        at.second()
    )
}

fn is_utc(zone: &str) -> bool {
    matches!(zone, "GMT" | "UTC" | "+0000" | "-0000")
}

/// A decimal number of `least` to `most` digits.
fn number(text: &str, least: usize, most: usize) -> Result<i16, DateError> {
    if text.len() < least || text.len() > most || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(DateError::Malformed);
    }
    text.parse().map_err(|_| DateError::Malformed)
}

fn month_number(name: &str) -> Result<i16, DateError> {
    MONTHS
        .iter()
        .position(|month| *month == name)
        .and_then(|index| i16::try_from(index + 1).ok())
        .ok_or(DateError::Malformed)
}

/// A date and `hh:mm:ss`.
fn civil(year: i16, month: i16, day: i16, time: &str) -> Result<i64, DateError> {
    let mut parts = time.splitn(3, ':');
    let mut part = || number(parts.next().unwrap_or(""), 2, 2);
    seconds(year, month, day, part()?, part()?, part()?)
}

fn seconds(
    year: i16,
    month: i16,
    day: i16,
    hour: i16,
    minute: i16,
    second: i16,
) -> Result<i64, DateError> {
    let small = |value: i16| i8::try_from(value).map_err(|_| DateError::Malformed);
    let second = if second == 60 { 59 } else { second };
    DateTime::new(
        year,
        small(month)?,
        small(day)?,
        small(hour)?,
        small(minute)?,
        small(second)?,
        0,
    )
    .and_then(|at| TimeZone::UTC.to_timestamp(at))
    .map(|at| at.as_second())
    .map_err(|_| DateError::Malformed)
}

fn utc(unix_seconds: i64) -> DateTime {
    let clamped = unix_seconds.clamp(FIRST, LAST);
    TimeZone::UTC.to_datetime(Timestamp::from_second(clamped).unwrap_or(Timestamp::UNIX_EPOCH))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn http_date_forms() {
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sun, 6 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            "Sun, 06 Nov 1994 08:49:37 UTC",
            " Sun, 06 Nov 1994 08:49:37 -0000 ",
        ] {
            assert_eq!(parse_http_date(text), Ok(784_111_777), "{text}");
        }
        assert_eq!(
            format_http_date(784_111_777),
            "Sun, 06 Nov 1994 08:49:37 GMT"
        );
        assert_eq!(format_http_date(0), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(
            parse_http_date("Sat, 31 Dec 2016 23:59:60 GMT"),
            Ok(1_483_228_799)
        );
    }

    #[test]
    fn http_date_refused() {
        for text in [
            "",
            "Sun",
            "Sun,",
            "Sun, 06 Nov 1994",
            "Xxx, 06 Nov 1994 08:49:37 GMT",
            "Sun, 31 Feb 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:00:00 GMT",
            "Sun, 06 Nov 1994 08:49:37 CET",
            "Sun, 06 nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 GMT x",
            "Sun, 06-Nov-194 08:49:37 GMT",
            "1994-11-06T08:49:37Z",
            "Sün, 06 Nov 1994 08:49:37 GMT",
        ] {
            assert_eq!(parse_http_date(text), Err(DateError::Malformed), "{text}");
        }
    }

    #[test]
    fn iso_forms() {
        assert_eq!(parse_amz_date("20130524T000000Z"), Ok(1_369_353_600));
        assert_eq!(format_amz_date(1_369_353_600), "20130524T000000Z");
        assert_eq!(parse_iso8601("2009-10-12T17:50:30.000Z"), Ok(1_255_369_830));
        assert_eq!(
            parse_iso8601("2009-10-12T19:50:30+02:00"),
            Ok(1_255_369_830)
        );
        assert_eq!(parse_iso8601("1969-12-31T23:59:59.5Z"), Ok(-1));
        assert_eq!(format_iso8601(1_255_369_830), "2009-10-12T17:50:30.000Z");
        for text in [
            "20130524T000000",
            "20130524T000000z",
            "20131324T000000Z",
            "2013-05-24T00:00:00Z",
            "2013052éT00000Z",
            "+0130524T000000Z",
        ] {
            assert_eq!(parse_amz_date(text), Err(DateError::Malformed), "{text}");
        }
        assert!(parse_iso8601("2013-05-24").is_err());
    }

    #[test]
    fn extremes_are_clamped() {
        assert_eq!(format_amz_date(i64::MIN), "00000101T000000Z");
        assert_eq!(format_amz_date(i64::MAX), "99991230T220000Z");
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,40}") {
            let _ = (parse_http_date(&text), parse_amz_date(&text), parse_iso8601(&text));
        }

        #[test]
        fn round_trips(at in 0i64..253_402_207_200) {
            prop_assert_eq!(parse_http_date(&format_http_date(at)), Ok(at));
            prop_assert_eq!(parse_amz_date(&format_amz_date(at)), Ok(at));
            prop_assert_eq!(parse_iso8601(&format_iso8601(at)), Ok(at));
        }
    }
}
