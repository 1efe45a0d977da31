//! A handler without the attribute: its options, given and checked when the program runs.

use std::fmt;
use std::panic::Location;
use std::time::Duration;

use super::{Backoff, Handler, InFlight, RetryMode};
use crate::protocol::OnCrash;

/// The only argument of a handler without the attribute, as its letters show it.
pub(crate) const PAYLOAD: &str = "payload";

/// The longest duration, as the attribute has it: 100 years.
const LONGEST: Duration = Duration::from_secs(36_500 * 24 * 60 * 60);

/// A handler without the attribute: a name in the ledger and the options of its calls.
///
/// [`Idem::call`](crate::Idem::call) and [`Idem::run`](crate::Idem::run) run closures as its body,
/// by the protocol of annotated functions. A copy is the same handler; two that are built are two,
/// so that the second one's calls with one name are [`NameTaken`](crate::Error::NameTaken). Build
/// each once, at start-up: a definition is kept until the process ends.
///
/// ```
/// use std::time::Duration;
/// use idem_runtime::HandlerDef;
///
/// let place_order = HandlerDef::builder("orders.place")
///     .retries(5)
///     .timeout(Duration::from_secs(10))
///     .redact(["card_no"])
///     .build()?;
/// assert_eq!(place_order.name(), "orders.place");
///
/// let refused = HandlerDef::builder("orders.place").ttl(Duration::ZERO).build();
/// assert!(refused.unwrap_err().to_string().contains("`ttl`"));
/// # Ok::<(), idem_runtime::HandlerDefError>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct HandlerDef(&'static Handler);

/// Builds a [`HandlerDef`]. The options and their defaults are those of the
/// [attribute](macro@crate::idempotent).
#[derive(Debug)]
#[must_use]
pub struct HandlerDefBuilder {
    name: String,
    at: &'static Location<'static>,
    handler: Handler,
    redact: Vec<String>,
    issued: Option<String>,
    was: Vec<String>,
}

/// An error of options that do not go together, or are out of range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandlerDefError {
    handler: String,
    problem: String,
}

impl fmt::Display for HandlerDefError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { handler, problem } = self;
        write!(f, "handler `{handler}` cannot be defined: {problem}")
    }
}

impl std::error::Error for HandlerDefError {}

impl HandlerDef {
    /// Returns a builder of a handler of this name. Letters and records outlive the code, so a
    /// name stays.
    #[track_caller]
    pub fn builder(name: impl Into<String>) -> HandlerDefBuilder {
        HandlerDefBuilder {
            name: name.into(),
            at: Location::caller(),
            handler: Handler::new("", "", 0),
            redact: Vec::new(),
            issued: None,
            was: Vec::new(),
        }
    }

    /// Returns the name in the ledger.
    pub fn name(&self) -> &'static str {
        self.0.name
    }

    /// Returns the most attempts of a message.
    pub fn attempts(&self) -> u32 {
        self.0.retries.saturating_add(1)
    }

    pub(crate) fn handler(&self) -> &'static Handler {
        self.0
    }
}

impl HandlerDefBuilder {
    /// Sets how many retries follow the first attempt. Default: 3.
    pub fn retries(mut self, retries: u32) -> Self {
        self.handler.retries = retries;
        self
    }

    /// Sets the pause before each retry and after an [outage](crate::HandlerCall::outage): `initial`,
    /// then `factor` times the one before, `max` at most; with `jitter` each is random between half of
    /// that and all of it. Default: 100 ms, 2, 30 s, with jitter.
    pub fn backoff(mut self, initial: Duration, factor: f64, max: Duration, jitter: bool) -> Self {
        self.handler.backoff = Backoff {
            initial,
            factor,
            max,
            jitter,
        };
        self
    }

    /// Returns the error after each attempt, in place of trying again within the call: the next
    /// call of the key is the next attempt. The attribute's `retry = "redeliver"`.
    pub fn redeliver(mut self) -> Self {
        self.handler.retry = RetryMode::Redeliver;
        self
    }

    /// Writes a dead letter where the outcome of an attempt is unknown, in place of running it
    /// again. The attribute's `on_crash = "bury"`.
    pub fn bury_on_crash(mut self) -> Self {
        self.handler.on_crash = OnCrash::Bury;
        self
    }

    /// Returns [`InProgress`](crate::Error::InProgress) to a duplicate while the first call runs,
    /// in place of waiting. The attribute's `in_flight = "reject"`.
    pub fn reject_in_flight(mut self) -> Self {
        self.handler.in_flight = InFlight::Reject;
        self
    }

    /// Sets how long one attempt may take. Default: no limit. A sync body is not stopped.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.handler.timeout = Some(timeout);
        self
    }

    /// Sets how long a claim lives unless it is renewed, on a ledger that processes share. Default:
    /// 30 s.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.handler.lease = lease;
        self
    }

    /// Sets how long a claim is renewed at most. Default: as long as the body runs.
    pub fn lease_max(mut self, longest: Duration) -> Self {
        self.handler.lease_max = Some(longest);
        self
    }

    /// Sets how long a result is kept. Default: 7 days.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.handler.ttl = ttl;
        self
    }

    /// Adds parts of the payload that are not stored: dotted paths into it, as those of the
    /// attribute's `redact(…)`.
    pub fn redact<P: Into<String>>(mut self, paths: impl IntoIterator<Item = P>) -> Self {
        self.redact.extend(paths.into_iter().map(Into::into));
        self
    }

    /// Takes keys only that the [issuer](crate::Idem::issuer) of this name has issued. The attribute's
    /// `issued`.
    pub fn issued(mut self, issuer: impl Into<String>) -> Self {
        self.issued = Some(issuer.into());
        self
    }

    /// Adds names that the handler had before: their records serve this one.
    pub fn was<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.was.extend(names.into_iter().map(Into::into));
        self
    }

    /// Checks the options, and returns the handler.
    ///
    /// # Errors
    /// When the name or a path is empty, a duration is out of range, or options do not go together,
    /// as those of the attribute: a result that is forgotten before all attempts have passed.
    pub fn build(mut self) -> Result<HandlerDef, HandlerDefError> {
        if let Err(problem) = self.check() {
            return Err(HandlerDefError {
                handler: self.name,
                problem,
            });
        }
        let paths = self.redact.iter().map(|path| format!("{PAYLOAD}.{path}"));
        self.handler.redact = leaked(paths);
        if let Some(issuer) = self.issued {
            self.handler = self.handler.issued(issuer.leak());
        }
        self.handler.looks_first |= !self.was.is_empty();
        self.handler.was = leaked(self.was);
        (self.handler.file, self.handler.line) = (self.at.file(), self.at.line());
        self.handler.name = self.name.leak();
        Ok(HandlerDef(Box::leak(Box::new(self.handler))))
    }

    fn check(&self) -> Result<(), String> {
        let Handler {
            retries,
            ref backoff,
            timeout,
            lease,
            lease_max,
            ttl,
            ..
        } = self.handler;
        if self.name.is_empty() {
            return Err("its name is empty".into());
        }
        if self.issued.as_deref() == Some("") {
            return Err("`issued` takes the name of an issuer".into());
        }
        if self.was.contains(&self.name) {
            return Err("`was` takes the names that it had before, not the one that it has".into());
        }
        let is_bad = |path: &String| path.split('.').any(str::is_empty);
        if let Some(path) = self.redact.iter().find(|path| is_bad(path)) {
            return Err(format!(
                "`redact` takes paths such as `order.card_no`, not `{path}`"
            ));
        }
        for (option, duration) in [
            ("timeout", timeout),
            ("lease", Some(lease)),
            ("lease_max", lease_max),
            ("ttl", Some(ttl)),
        ] {
            if duration.is_some_and(|it| it < Duration::from_millis(1) || it > LONGEST) {
                return Err(format!("`{option}` is from 1 ms to 100 years"));
            }
        }
        if !(1.0..=1000.0).contains(&backoff.factor) {
            return Err("the factor of `backoff` is from 1 to 1000: pauses do not shrink".into());
        }
        if backoff.max < backoff.initial || backoff.max > LONGEST {
            return Err("the longest pause of `backoff` is from the first one to 100 years".into());
        }
        if let Some(longest) = lease_max {
            if longest < lease {
                return Err(format!(
                    "a `lease_max` of {longest:?} is shorter than the `lease` of {lease:?}"
                ));
            }
            if timeout.is_some_and(|timeout| timeout > longest) {
                return Err(format!(
                    "a `lease_max` of {longest:?} is shorter than the `timeout`, so a body could lose \
                     its claim before its time is up"
                ));
            }
        }
        let limits = timeout.or(lease_max).unwrap_or_default();
        let all = limits.saturating_mul(retries.saturating_add(1));
        let all = all.saturating_add(backoff.total(retries));
        if ttl < all {
            return Err(format!(
                "a `ttl` of {ttl:?} is shorter than all attempts and their pauses may take, {all:?}, so \
                 a duplicate could come when the result is forgotten"
            ));
        }
        Ok(())
    }
}

impl Backoff {
    /// Returns all pauses of that many retries together, at their longest.
    fn total(&self, retries: u32) -> Duration {
        let (mut pause, max) = (self.initial.as_secs_f64(), self.max.as_secs_f64());
        let mut total = 0.0;
        for left in (1..=retries).rev() {
            // It grows no more, or never did.
            if pause >= max || self.factor == 1.0 {
                total += pause.min(max) * f64::from(left);
                break;
            }
            total += pause;
            pause *= self.factor;
            if pause == 0.0 {
                break;
            }
        }
        Duration::try_from_secs_f64(total).unwrap_or(Duration::MAX)
    }
}

fn leaked(texts: impl IntoIterator<Item = String>) -> &'static [&'static str] {
    let texts: Vec<&'static str> = texts.into_iter().map(|text| &*text.leak()).collect();
    texts.leak()
}
