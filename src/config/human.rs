//! Durations and sizes as people write them: `30s`, `15m`, `64KiB`.

use std::time::Duration;

/// Reads a whole number and one of `ms`, `s`, `m`, `h`, `d`, with nothing between or around.
pub(super) fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = split(text)?;
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60 * 1000,
        "h" => 60 * 60 * 1000,
        "d" => 24 * 60 * 60 * 1000,
        _ => return None,
    };
    number.checked_mul(milliseconds).map(Duration::from_millis)
}

/// Reads a whole number and one of `B`, `KiB`, `MiB`, `GiB`, with nothing between or around.
pub(super) fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let bytes: u64 = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(bytes)
}

/// Writes what [`parse_duration`] reads, in the largest unit that divides it. Anything finer than
/// a millisecond is left out.
pub(super) fn show_duration(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    let units = [
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1000),
    ];
    match units
        .into_iter()
        .find(|(_, unit)| milliseconds > 0 && milliseconds.is_multiple_of(*unit))
    {
        Some((name, unit)) => format!("{}{name}", milliseconds / unit),
        None => format!("{milliseconds}ms"),
    }
}

/// Writes what [`parse_size`] reads, in the largest unit that divides it.
pub(super) fn show_size(bytes: u64) -> String {
    let units = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match units
        .into_iter()
        .find(|(_, unit)| bytes > 0 && bytes.is_multiple_of(*unit))
    {
        Some((name, unit)) => format!("{}{name}", bytes / unit),
        None => format!("{bytes}B"),
    }
}

fn split(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    Some((number.parse().ok()?, unit))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_whole_numbers_with_a_unit_are_taken() {
        assert_eq!(parse_duration("15m"), Some(Duration::from_mins(15)));
        assert_eq!(parse_duration("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(parse_size("64KiB"), Some(65_536));
        for bad in [
            "",
            "5",
            "s",
            " 5s",
            "5s ",
            "5 s",
            "1.5s",
            "-5s",
            "+5s",
            "5S",
            "5sec",
            "1h30m",
            "99999999999999999999s",
            "18446744073709551615d",
            "٣s",
        ] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
        for bad in ["", "64", "64KB", "64kib", "64K", "17179869184GiB"] {
            assert_eq!(parse_size(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_back(millis in 0..1_000_000_000_000_u64, bytes: u64) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse_duration(&show_duration(duration)), Some(duration));
            prop_assert_eq!(parse_size(&show_size(bytes)), Some(bytes));
        }

        #[test]
        fn any_text_is_read_or_refused(text: String) {
            let _ = parse_duration(&text);
            let _ = parse_size(&text);
        }
    }
}
