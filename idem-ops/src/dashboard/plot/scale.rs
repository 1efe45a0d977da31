//! Round numbers for axes, and the formatting of numbers.

/// The unit of a plot's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::dashboard) enum Unit {
    Count,
    Seconds,
    Bytes,
}

impl Unit {
    /// Formats a value for people.
    pub(in crate::dashboard) fn show(self, value: f64) -> String {
        match self {
            Unit::Count => grouped(value),
            Unit::Seconds if value == 0.0 => "0 s".into(),
            Unit::Seconds if value >= 1.0 => format!("{} s", short(value)),
            Unit::Seconds if value >= 1e-3 => format!("{} ms", short(value * 1e3)),
            Unit::Seconds => format!("{} µs", short(value * 1e6)),
            Unit::Bytes => bytes(value),
        }
    }

    /// Returns an axis's step: whole numbers for counts, powers of two for bytes.
    fn step(self, rough: f64) -> f64 {
        match self {
            Unit::Count => round_up(rough).max(1.0),
            Unit::Seconds => round_up(rough),
            Unit::Bytes => rough.max(1.0).log2().ceil().exp2(),
        }
    }
}

/// Returns at most six round numbers, from 0 to at least `highest`.
pub(super) fn ticks(unit: Unit, highest: f64) -> Vec<f64> {
    let step = unit.step(if highest > 0.0 { highest / 4.0 } else { 1.0 });
    let steps = (highest / step).ceil().clamp(1.0, 5.0) as u32;
    (0..=steps).map(|tick| f64::from(tick) * step).collect()
}

/// Rounds up to 1, 2, 2.5, 5 or 10 in its power of ten.
fn round_up(rough: f64) -> f64 {
    let power = 10_f64.powf(rough.log10().floor());
    let of = [1.0, 2.0, 2.5, 5.0]
        .into_iter()
        .find(|of| of * power >= rough * (1.0 - 1e-9));
    of.unwrap_or(10.0) * power
}

/// Formats with at most one decimal, or none after three digits.
fn short(value: f64) -> String {
    if value >= 100.0 || (value - value.round()).abs() < 0.05 {
        format!("{value:.0}")
    } else {
        format!("{value:.1}")
    }
}

fn bytes(value: f64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let power = if value < 1.0 {
        0
    } else {
        (value.log(1024.0).floor() as usize).min(units.len() - 1)
    };
    format!(
        "{} {}",
        short(value / 1024_f64.powi(power as i32)),
        units[power]
    )
}

fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_formatted_for_people() {
        let cases = [
            (Unit::Count, 0.0, "0"),
            (Unit::Count, 999.0, "999"),
            (Unit::Count, 1_234_567.0, "1,234,567"),
            (Unit::Seconds, 0.0, "0 s"),
            (Unit::Seconds, 0.000_213, "213 µs"),
            (Unit::Seconds, 0.0042, "4.2 ms"),
            (Unit::Seconds, 12.0, "12 s"),
            (Unit::Bytes, 0.0, "0 B"),
            (Unit::Bytes, 1536.0, "1.5 KiB"),
            (Unit::Bytes, 3.0 * 1024.0 * 1024.0, "3 MiB"),
        ];
        for (unit, value, text) in cases {
            assert_eq!(unit.show(value), text);
        }
    }

    #[test]
    fn axes_are_round_and_include_every_value() {
        assert_eq!(ticks(Unit::Count, 0.0), [0.0, 1.0]);
        assert_eq!(ticks(Unit::Count, 2.0), [0.0, 1.0, 2.0]);
        assert_eq!(ticks(Unit::Count, 37.0), [0.0, 10.0, 20.0, 30.0, 40.0]);
        assert_eq!(ticks(Unit::Bytes, 3.0 * 1024.0).last(), Some(&3072.0));
        for highest in [1e-6, 0.003, 0.999, 1.0, 7.0, 11.0, 1023.0, 1025.0, 5e9] {
            for unit in [Unit::Count, Unit::Seconds, Unit::Bytes] {
                let ticks = ticks(unit, highest);
                assert!(
                    ticks.last().unwrap() >= &(highest * (1.0 - 1e-9)),
                    "{unit:?} {highest}: {ticks:?}"
                );
                assert!(ticks.len() <= 6, "{unit:?} {highest}: {ticks:?}");
            }
        }
    }
}
