//! The delay levels of a broker.

use std::time::Duration;

/// The pauses of a broker's delay levels with the default `messageDelayLevel`, in ascending order.
pub const DELAYS: [Duration; 18] = {
    const fn minutes(minutes: u64) -> Duration {
        Duration::from_secs(60 * minutes)
    }
    let second = Duration::from_secs;
    [
        second(1),
        second(5),
        second(10),
        second(30),
        minutes(1),
        minutes(2),
        minutes(3),
        minutes(4),
        minutes(5),
        minutes(6),
        minutes(7),
        minutes(8),
        minutes(9),
        minutes(10),
        minutes(20),
        minutes(30),
        minutes(60),
        minutes(120),
    ]
};

/// Returns the first level whose pause is at least `after`, or else the last one: the record says
/// each time how much is left. Every level has a pause.
pub(crate) fn level(delays: &[Duration], after: Duration) -> i32 {
    let before = delays.iter().take_while(|delay| **delay < after).count();
    let last = delays.len().saturating_sub(1);
    i32::try_from(before.min(last) + 1).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::{DELAYS, level};
    use std::time::Duration;

    #[test]
    fn the_level_is_the_first_that_is_long_enough() {
        let level = |millis| level(&DELAYS, Duration::from_millis(millis));
        assert_eq!(
            [level(0), level(1), level(1_000), level(1_001), level(5_000)],
            [1, 1, 1, 2, 2]
        );
        assert_eq!(
            [
                level(59_999),
                level(60_001),
                level(7_200_000),
                level(u64::MAX)
            ],
            [5, 6, 18, 18]
        );
    }
}
