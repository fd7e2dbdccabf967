//! Durations as LiteFS's configuration writes them: the format of Go's `time.ParseDuration`.

use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error as _};

/// A signed span of time. A negative one means "off" wherever a key allows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct GoDuration {
    nanoseconds: i64,
}

const FORM: &str =
    "a duration is numbers with units (ns, us, ms, s, m, h), such as 10s, 1.5h or 1m30s";

impl GoDuration {
    /// The span, if it is longer than nothing.
    pub(crate) fn positive(self) -> Option<Duration> {
        u64::try_from(self.nanoseconds)
            .ok()
            .filter(|&n| n > 0)
            .map(Duration::from_nanos)
    }

    /// Reads an optional sign and one or more decimal numbers with a unit each; or `0` alone.
    pub(crate) fn parse(text: &str) -> Result<GoDuration, String> {
        let wrong = || format!("invalid duration {text:?}: {FORM}");
        let (negative, magnitude) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        if magnitude == "0" {
            return Ok(GoDuration { nanoseconds: 0 });
        }
        let total = sum_of_parts(magnitude).ok_or_else(wrong)?;
        let signed = if negative { -total } else { total };
        i64::try_from(signed)
            .map(|nanoseconds| GoDuration { nanoseconds })
            .map_err(|_| format!("duration {text:?} is longer than 292 years"))
    }
}

/// The nanoseconds of `1h2.5m...`: at least one part.
fn sum_of_parts(mut rest: &str) -> Option<i128> {
    if rest.is_empty() {
        return None;
    }
    let mut total = 0i128;
    while !rest.is_empty() {
        let (number, after) = split_where(rest, |c| !c.is_ascii_digit() && c != '.');
        let (unit, after) = split_where(after, |c| c.is_ascii_digit() || c == '.');
        total = total.checked_add(part(number, nanoseconds_of(unit)?)?)?;
        rest = after;
    }
    Some(total)
}

fn split_where(text: &str, stop: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(stop).unwrap_or(text.len()))
}

/// `number` of `unit` nanoseconds. The fraction is taken as Go takes it, in floating point: a third of an hour
/// written with 19 digits is 20 minutes.
fn part(number: &str, unit: i64) -> Option<i128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let whole: i128 = if whole.is_empty() {
        0
    } else {
        whole.parse().ok()?
    };
    let fraction: f64 = if fraction.is_empty() {
        0.0
    } else {
        format!("0.{fraction}").parse().ok()?
    };
    Some(whole.checked_mul(unit.into())? + (fraction * unit as f64) as i128)
}

fn nanoseconds_of(unit: &str) -> Option<i64> {
    Some(match unit {
        "ns" => 1,
        // The micro sign and the Greek letter.
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

impl<'de> Deserialize<'de> for GoDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<GoDuration, D::Error> {
        GoDuration::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_go_reads() {
        for (text, nanoseconds) in [
            ("0", 0),
            ("-0", 0),
            ("0s", 0),
            ("10s", 10_000_000_000),
            ("+5s", 5_000_000_000),
            ("-1.5h", -5_400_000_000_000),
            ("1m30s", 90_000_000_000),
            ("2h45m30.5s", 9_930_500_000_000),
            ("100ns", 100),
            ("1us", 1_000),
            ("1\u{b5}s", 1_000),
            ("1\u{3bc}s", 1_000),
            ("1.25ms", 1_250_000),
            (".5s", 500_000_000),
            ("5.s", 5_000_000_000),
            ("0.3333333333333333333h", 1_200_000_000_000),
            ("0.0000000000000000000000001s", 0),
        ] {
            assert_eq!(
                GoDuration::parse(text),
                Ok(GoDuration { nanoseconds }),
                "{text}"
            );
        }
    }

    #[test]
    fn refuses_everything_else() {
        for text in [
            "", "10", "-", "+", ".", "s", ".s", "1", "1x", "1S", "1 s", " 1s", "1..5s", "1d",
            "1s5", "--1s", "1e3s", "1,5s",
        ] {
            let refused = GoDuration::parse(text).unwrap_err();
            assert_eq!(refused, format!("invalid duration {text:?}: {FORM}"));
        }
        assert!(
            GoDuration::parse("2562048h")
                .unwrap_err()
                .contains("longer than 292 years")
        );
        assert!(GoDuration::parse(&format!("{}h", "9".repeat(60))).is_err());
    }

    #[test]
    fn only_a_positive_span_has_a_length() {
        let length = |text| GoDuration::parse(text).unwrap().positive();
        assert_eq!(length("2s"), Some(Duration::from_secs(2)));
        assert_eq!(length("0s"), None);
        assert_eq!(length("-2s"), None);
    }
}
