//! How long an action on many letters takes.

use std::fmt;
use std::time::Duration;

use super::{BulkJob, BulkState};

/// How long an action on letters takes, in words: `1,817 letters at 50 a second: about 36 s`.
///
/// The rate is a limit, so slow handlers take longer. Of a job that runs, the estimate is by its own
/// pace where that is slower.
///
/// ```
/// use idem_ops::service::BulkEstimate;
///
/// let estimate = BulkEstimate::new(1817, 50.0);
/// assert_eq!(estimate.takes().as_secs(), 36);
/// assert_eq!(estimate.to_string(), "1,817 letters at 50 a second: about 36 s");
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BulkEstimate {
    letters: u64,
    /// The letters a second that are asked for.
    rate: f64,
    /// The seconds that one letter takes.
    pace: f64,
}

impl BulkEstimate {
    /// Estimates an action on this many letters, at most `rate` of them a second.
    pub fn new(letters: u64, rate: f64) -> Self {
        let pace = 1.0 / rate;
        Self {
            letters,
            rate,
            pace,
        }
    }

    /// Estimates what is left of a running job.
    pub(super) fn of(job: &BulkJob) -> Option<Self> {
        if job.state != BulkState::Running {
            return None;
        }
        let handled = job.done + job.failed + job.skipped;
        let took = job.updated_at.duration_since(job.at).as_secs_f64();
        let estimate = Self::new(job.total.saturating_sub(handled), job.asked.rate);
        Some(Self {
            pace: estimate.pace.max(took / handled.max(1) as f64),
            ..estimate
        })
    }

    /// Returns how long it takes.
    pub fn takes(&self) -> Duration {
        let seconds = self.letters as f64 * self.pace;
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }
}

impl fmt::Display for BulkEstimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { letters, rate, .. } = self;
        let noun = if *letters == 1 { "letter" } else { "letters" };
        let takes = about(self.takes());
        write!(
            f,
            "{} {noun} at {rate} a second: {takes}",
            grouped(*letters)
        )
    }
}

/// Returns a duration as people say it, in one or two units.
fn about(takes: Duration) -> String {
    match takes.as_secs() {
        0 => "less than a second".to_owned(),
        seconds @ 1..120 => format!("about {seconds} s"),
        seconds @ 120..7200 => format!("about {} min", seconds / 60),
        seconds => format!("about {} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// Returns a number with a comma before each three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::BulkEstimate;

    #[test]
    fn an_estimate_is_said_in_the_units_of_its_size() {
        for (letters, rate, said) in [
            (0, 10.0, "0 letters at 10 a second: less than a second"),
            (1, 0.5, "1 letter at 0.5 a second: about 2 s"),
            (999, 10.0, "999 letters at 10 a second: about 99 s"),
            (1_817, 10.0, "1,817 letters at 10 a second: about 3 min"),
            (
                1_000_000,
                50.0,
                "1,000,000 letters at 50 a second: about 5 h 33 min",
            ),
        ] {
            assert_eq!(BulkEstimate::new(letters, rate).to_string(), said);
        }
    }
}
