//! What one annotated function asked for: a `static` in its expansion.

use std::time::Duration;

/// One annotated function and its options.
#[derive(Debug)]
pub struct Handler {
    pub(crate) name: &'static str,
    pub(crate) file: &'static str,
    pub(crate) line: u32,
    pub(crate) retries: u32,
    pub(crate) backoff: Backoff,
    pub(crate) redeliver: bool,
    pub(crate) bury: bool,
    pub(crate) reject: bool,
    pub(crate) timeout: Option<Duration>,
    pub(crate) lease: Duration,
    pub(crate) ttl: Duration,
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
    /// A handler with the defaults. `file` and `line` say where it stands, for `NameTaken`.
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
            redeliver: false,
            bury: false,
            reject: false,
            timeout: None,
            lease: Duration::from_secs(30),
            ttl: Duration::from_secs(7 * 24 * 60 * 60),
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
        self.redeliver = true;
        self
    }

    /// `on_crash = "bury"`.
    pub const fn bury(mut self) -> Self {
        self.bury = true;
        self
    }

    /// `in_flight = "reject"`.
    pub const fn reject(mut self) -> Self {
        self.reject = true;
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

    /// `ttl = "7d"`, in milliseconds.
    pub const fn ttl(mut self, millis: u64) -> Self {
        self.ttl = Duration::from_millis(millis);
        self
    }
}
