//! `"100ms"`, `"1h30m"`: durations as people write them, read when the code is compiled.

use crate::errors::list;

/// The units, the longest first, in milliseconds.
const UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Longer ones are slips of the pen, and would run out of calendar.
const MAX: u64 = 36_500 * 86_400_000;

/// The milliseconds in `text`, or the problem with it.
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err("the duration is empty, write one such as `\"10s\"`".into());
    }
    if rest.starts_with('-') {
        return Err(format!("`{text}` is negative, and time only goes on"));
    }
    let mut total: u64 = 0;
    let mut longest = u64::MAX;
    while !rest.is_empty() {
        let (number, behind) = rest.split_at(end(rest, |c| c.is_ascii_digit()));
        if behind.starts_with(['.', ',']) {
            return Err(format!(
                "`{text}` has a fraction, write whole numbers of smaller units, such as `1s500ms`"
            ));
        }
        if number.is_empty() {
            return Err(format!(
                "`{text}` is not a duration, write one such as `\"10s\"`"
            ));
        }
        let (unit, behind) = behind.split_at(end(behind, char::is_alphabetic));
        let millis = millis(text, number, unit)?;
        if millis >= longest {
            return Err(format!(
                "`{text}` does not go from long units to short ones, each once"
            ));
        }
        longest = millis;
        total = number
            .parse::<u64>()
            .ok()
            .and_then(|count| count.checked_mul(millis))
            .and_then(|part| total.checked_add(part))
            .filter(|total| *total <= MAX)
            .ok_or_else(|| format!("`{text}` is longer than 100 years, shorten it"))?;
        rest = behind.trim_start();
    }
    Ok(total)
}

/// The unit's length.
fn millis(text: &str, number: &str, unit: &str) -> Result<u64, String> {
    if unit.is_empty() {
        return Err(format!(
            "`{text}` has no unit, write `{number}s` or `{number}ms`"
        ));
    }
    UNITS
        .iter()
        .find(|(name, _)| *name == unit)
        .map(|(_, millis)| *millis)
        .ok_or_else(|| {
            let names = list(&UNITS.map(|(name, _)| name));
            format!("`{unit}` is not a unit of time, the units are {names}")
        })
}

/// Where the characters that are `like` this end.
fn end(text: &str, like: fn(char) -> bool) -> usize {
    text.find(|c| !like(c)).unwrap_or(text.len())
}

/// The duration as it would be written.
pub(crate) fn show(mut millis: u64) -> String {
    let mut text = String::new();
    for (name, length) in UNITS {
        if millis >= length {
            text += &format!("{}{name}", millis / length);
            millis %= length;
        }
    }
    if text.is_empty() { "0s".into() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        for (text, millis) in [
            ("100ms", 100),
            ("10s", 10_000),
            ("5m", 300_000),
            ("2h", 7_200_000),
            ("7d", 604_800_000),
            ("1h30m", 5_400_000),
            ("1d 2h 3m 4s 5ms", 93_784_005),
            (" 0s ", 0),
        ] {
            assert_eq!(parse(text), Ok(millis), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for (text, part) in [
            ("", "empty"),
            ("-5s", "negative"),
            ("10", "has no unit, write `10s`"),
            ("1h30", "has no unit"),
            ("1.5s", "fraction"),
            (".5s", "fraction"),
            ("s", "not a duration"),
            ("5 s", "no unit"),
            ("10sec", "`sec` is not a unit of time"),
            ("5ms3s", "from long units to short"),
            ("1s1s", "each once"),
            ("40000d", "100 years"),
            ("99999999999999999999d", "100 years"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn showing_is_the_way_back() {
        for text in ["0s", "100ms", "1h30m", "1d2h3m4s5ms"] {
            assert_eq!(show(parse(text).unwrap()), text);
        }
    }
}
