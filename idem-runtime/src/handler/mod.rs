//! The options of one handler: a `static` in the expansion of an annotated function, or built when
//! the program runs.

pub(crate) mod bounds;
pub(crate) mod definition;
pub(crate) mod known;
pub(crate) mod names;
pub(crate) mod registry;

use std::time::Duration;

use crate::message::redact::Spelling;
use crate::protocol::{FIRST_VERSION, OnCrash};

/// One annotated function and its options.
#[derive(Debug)]
pub struct Handler {
    pub(crate) name: &'static str,
    pub(crate) file: &'static str,
    pub(crate) line: u32,
    pub(crate) retries: u32,
    pub(crate) backoff: Backoff,
    pub(crate) retry: RetryMode,
    pub(crate) on_crash: OnCrash,
    pub(crate) in_flight: InFlight,
    pub(crate) claims: ClaimMode,
    pub(crate) timeout: Option<Duration>,
    pub(crate) lease: Duration,
    pub(crate) lease_max: Option<Duration>,
    pub(crate) ttl: Duration,
    pub(crate) redact: &'static [&'static str],
    /// Whether its only argument is redacted as a whole.
    pub(crate) whole: bool,
    /// Which paths of `redact(…)` its calls have found in its types.
    pub(crate) spelling: Spelling,
    pub(crate) issued: Option<&'static str>,
    pub(crate) was: &'static [&'static str],
    /// The version that its results are recorded with.
    pub(crate) version: u32,
    /// Whether a claim needs a lookup first: was the key issued, is there a record under an earlier
    /// name.
    pub(crate) looks_first: bool,
}

/// Where a failed attempt is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RetryMode {
    /// Within the call, after a pause.
    Inline,
    /// By another call: the broker brings the message again.
    Redeliver,
}

/// What a duplicate gets while the first call runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InFlight {
    /// The result of the first call, once there is one.
    Wait,
    /// [`Error::InProgress`].
    Reject,
}

/// When an attempt's claim is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClaimMode {
    /// Before the body: a process that dies in it is counted.
    First,
    /// With the result, in the body's transaction.
    WithResult,
    /// With the result if the broker says that it delivers the message for the first time, and
    /// there is no record.
    WithResultIfFresh,
}

/// The pause before each retry.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Backoff {
    pub(crate) initial: Duration,
    pub(crate) factor: f64,
    pub(crate) max: Duration,
    pub(crate) jitter: bool,
}

impl Handler {
    /// Returns a handler with the defaults. `file` and `line` say where it is defined, for
    /// `NameTaken`.
    pub const fn new(name: &'static str, file: &'static str, line: u32) -> Self {
        Self {
            name,
            file,
            line,
            retries: 3,
            backoff: Backoff {
                initial: Duration::from_millis(100),
                factor: 2.0,
                max: Duration::from_secs(30),
                jitter: true,
            },
            retry: RetryMode::Inline,
            on_crash: OnCrash::Rerun,
            in_flight: InFlight::Wait,
            claims: ClaimMode::First,
            timeout: None,
            lease: Duration::from_secs(30),
            lease_max: None,
            ttl: Duration::from_secs(7 * 24 * 60 * 60),
            redact: &[],
            whole: false,
            spelling: Spelling::new(),
            issued: None,
            was: &[],
            version: FIRST_VERSION,
            looks_first: false,
        }
    }

    /// `retries = 3`.
    pub const fn retries(mut self, retries: u32) -> Self {
        self.retries = retries;
        self
    }

    /// `backoff(initial = "100ms", factor = 2, max = "30s", jitter)`, in milliseconds.
    pub const fn backoff(mut self, initial: u64, factor: f64, max: u64, jitter: bool) -> Self {
        self.backoff = Backoff {
            initial: Duration::from_millis(initial),
            factor,
            max: Duration::from_millis(max),
            jitter,
        };
        self
    }

    /// `retry = "redeliver"`.
    pub const fn redeliver(mut self) -> Self {
        self.retry = RetryMode::Redeliver;
        self
    }

    /// `on_crash = "bury"`.
    pub const fn bury(mut self) -> Self {
        self.on_crash = OnCrash::Bury;
        self
    }

    /// `in_flight = "reject"`.
    pub const fn reject(mut self) -> Self {
        self.in_flight = InFlight::Reject;
        self
    }

    /// `transaction = "single"`.
    pub const fn single(mut self) -> Self {
        self.claims = ClaimMode::WithResult;
        self
    }

    /// `transaction = "fresh"`.
    pub const fn fresh(mut self) -> Self {
        self.claims = ClaimMode::WithResultIfFresh;
        self
    }

    /// `timeout = "10s"`, in milliseconds.
    pub const fn timeout(mut self, millis: u64) -> Self {
        self.timeout = Some(Duration::from_millis(millis));
        self
    }

    /// `lease = "30s"`, in milliseconds.
    pub const fn lease(mut self, millis: u64) -> Self {
        self.lease = Duration::from_millis(millis);
        self
    }

    /// `lease_max = "1h"`, in milliseconds.
    pub const fn lease_max(mut self, millis: u64) -> Self {
        self.lease_max = Some(Duration::from_millis(millis));
        self
    }

    /// `ttl = "7d"`, in milliseconds.
    pub const fn ttl(mut self, millis: u64) -> Self {
        self.ttl = Duration::from_millis(millis);
        self
    }

    /// `issued = "order_no"`: the issuer's name.
    pub const fn issued(mut self, issuer: &'static str) -> Self {
        self.issued = Some(issuer);
        self.looks_first = true;
        self
    }

    /// `was("place_order", …)`: its earlier names.
    pub const fn was(mut self, names: &'static [&'static str]) -> Self {
        self.was = names;
        self.looks_first = true;
        self
    }

    /// `version = 2`.
    pub const fn version(mut self, version: u32) -> Self {
        self.version = version;
        self
    }

    /// `redact(card_no, "order.buyer.phone")`: dotted paths into the payload, an argument's name
    /// first.
    pub const fn redact(mut self, paths: &'static [&'static str]) -> Self {
        self.redact = paths;
        self
    }

    /// `redact(order)`, where `order` is the only argument.
    pub const fn whole(mut self) -> Self {
        self.whole = true;
        self
    }
}

impl Backoff {
    /// Returns the pause after a failed attempt. It grows exponentially; with jitter it is random
    /// between half of that and all of it.
    pub(crate) fn pause(&self, attempt: u32) -> Duration {
        // Zero stays zero, however large the factor: infinity times zero is not a number.
        if self.initial.is_zero() {
            return Duration::ZERO;
        }
        let exponent = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX);
        let grown = self.initial.as_secs_f64() * self.factor.powi(exponent);
        // A pause that no duration can hold is the longest pause.
        let pause = Duration::try_from_secs_f64(grown)
            .unwrap_or(self.max)
            .min(self.max);
        if self.jitter {
            pause.mul_f64(0.5 + fastrand::f64() / 2.0)
        } else {
            pause
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_pause_grows_up_to_its_limit() {
        let handler = Handler::new("h", "f", 1).backoff(100, 2.0, 1000, false);
        let pauses: Vec<_> = (1..=6)
            .map(|attempt| handler.backoff.pause(attempt).as_millis())
            .collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1000, 1000]);
        assert_eq!(handler.backoff.pause(u32::MAX).as_millis(), 1000);
    }

    proptest! {
        /// Whatever the attribute takes: from attempt to attempt no pause is shorter than the one
        /// before, none is longer than the limit, and where there is none at first there never is.
        #[test]
        fn a_pause_stays_within_its_bounds(
            initial in prop_oneof![Just(0), 1..10_000u64, any::<u64>()],
            factor in prop_oneof![Just(1.0), Just(1000.0), 1.0..1000.0],
            max in prop_oneof![Just(0), 1..100_000u64, any::<u64>()],
            attempt in prop_oneof![1..2000u32, any::<u32>()],
        ) {
            let backoff = Handler::new("h", "f", 1).backoff(initial, factor, max, false).backoff;
            let (pause, next) = (backoff.pause(attempt), backoff.pause(attempt.saturating_add(1)));
            prop_assert!(pause <= next && next <= Duration::from_millis(max), "{pause:?}, then {next:?}");
            // A length is a float on its way, which rounds the longest ones.
            let first = Duration::from_millis(initial.min(max));
            prop_assert!(pause.as_secs_f64() >= first.as_secs_f64() * 0.999_999, "{pause:?} of {first:?}");
            prop_assert_eq!(pause.is_zero(), first.is_zero());
        }
    }

    #[test]
    fn jitter_keeps_at_least_half_of_the_pause() {
        let handler = Handler::new("h", "f", 1).backoff(100, 1.0, 1000, true);
        for _ in 0..1000 {
            assert!((50..=100).contains(&handler.backoff.pause(3).as_millis()));
        }
    }
}
