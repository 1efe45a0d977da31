//! One delivery of a broker: the outcome of the calls that its handler makes, and so what the
//! broker may do with the message.

use std::borrow::Cow;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use smallvec::SmallVec;
use tracing::{Instrument, Span};

use crate::call::Frame;
use crate::call::wait::wait;
use crate::error::{CodecStage, Error};
use crate::handler::Handler;
use crate::idem::Idem;
use crate::idem::current;
use crate::protocol::{Origin, Reason};
use crate::trace::{self, TraceContext};

/// The pause before a message comes again whose obstacle has no known end: the same message is in
/// flight elsewhere, or the ledger cannot be reached.
const SOON: Duration = Duration::from_secs(1);

tokio::task_local! {
    static DELIVERY: Arc<Delivery>;
}

/// The output of a handler for one delivery, and what the broker may do with the message.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Delivered<T> {
    /// What the handler returned.
    pub output: T,
    /// What the broker may do with the message.
    pub verdict: Verdict,
}

/// What a broker may do with a message that was delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// The result, or the dead letter, is durable: the broker may forget the message.
    Settled,
    /// The message is not done: the broker brings it again.
    Again {
        /// After at least this much time; zero is at once.
        after: Duration,
    },
    /// The handler is paused: what it needs is down, or a person said so. Hold the message and wait
    /// for its [turn](Idem::admitted), or bring it again; nothing ran.
    Paused {
        /// The handler's name.
        handler: String,
        /// After at least this much time.
        after: Duration,
    },
    /// The message can never be handled: its key is empty, too long or belongs to another content,
    /// or it is too large. Nothing ran, and nothing is recorded: [bury](Idem::bury_refused) it, and
    /// the broker may forget it.
    Refused(Box<Refusal>),
    /// Nothing can be recorded now: the ledger fails, or this Idem was closed. The broker brings
    /// the message again; stop taking messages for a while.
    Unavailable {
        /// What is wrong with the ledger.
        error: String,
    },
    /// No handler with `#[idempotent]` was called: the outcome is unknown.
    Unknown,
}

/// Why a message can never be handled, and which one it is. [`Idem::bury_refused`] makes its letter
/// from this.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refusal {
    /// The name of the handler that refused it.
    pub handler: String,
    /// The message's idempotency key, where it has one.
    pub key: Option<String>,
    /// The reason that the letter gives.
    pub reason: Reason,
    /// What is wrong with the message.
    pub error: String,
    /// The arguments as the ledger would have stored them, for a comparison with the message that
    /// has the key.
    pub(crate) payload: Option<Arc<[u8]>>,
}

impl Refusal {
    /// Returns the refusal of a message of this handler, with the reason
    /// [`Refused`](Reason::Refused).
    pub fn new(handler: impl Into<String>, error: impl Into<String>) -> Self {
        let (handler, error) = (handler.into(), error.into());
        Self {
            handler,
            key: None,
            reason: Reason::Refused,
            error,
            payload: None,
        }
    }

    /// Sets the idempotency key.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// What an error of idem's own says of a message.
    fn of(error: &Error) -> Box<Self> {
        let reason = if matches!(error, Error::KeyReused { .. }) {
            Reason::KeyReused
        } else {
            Reason::Refused
        };
        let key = error.key().filter(|key| !key.is_empty()).map(str::to_owned);
        let (handler, error) = (
            error.handler().unwrap_or_default().to_owned(),
            error.to_string(),
        );
        Box::new(Self {
            handler,
            key,
            reason,
            error,
            payload: None,
        })
    }
}

impl Error {
    /// Returns what a broker may do with the message whose call returned this error.
    ///
    /// [`Idem::deliver`] gives the verdict of a whole delivery, successful calls included.
    pub fn verdict(&self) -> Verdict {
        match self {
            // A recorded result that no longer decodes, or one that could not be recorded and is a
            // letter: it happened.
            Self::Codec {
                stage: CodecStage::BodyResult | CodecStage::RecordedResult,
                ..
            }
            | Self::DeadLettered { .. }
            | Self::NoTransaction { .. }
            | Self::ResultErased { .. }
            | Self::ResultTooLarge { .. } => Verdict::Settled,
            Self::NotYet { after, .. } => Verdict::Again { after: *after },
            Self::Paused {
                handler,
                retry_after,
                ..
            } => Verdict::Paused {
                handler: handler.clone(),
                after: *retry_after,
            },
            Self::Closed { .. } | Self::Ledger { .. } => Verdict::Unavailable {
                error: format!("{self:#}"),
            },
            Self::Codec {
                stage: CodecStage::Arguments,
                ..
            }
            | Self::InvalidKey { .. }
            | Self::KeyReused { .. }
            | Self::NotIssued { .. }
            | Self::PayloadTooLarge { .. } => Verdict::Refused(Refusal::of(self)),
            Self::NotInstalled { .. }
            | Self::AlreadyInstalled
            | Self::NameTaken { .. }
            | Self::InProgress { .. }
            | Self::Panicked { .. }
            | Self::TimedOut { .. }
            | Self::KeyMismatch { .. }
            | Self::LeaseLost { .. }
            | Self::NotCommitted { .. }
            | Self::KeysExhausted { .. }
            | Self::OutsideHandler
            | Self::OutboxMessageTooLarge { .. } => Verdict::Again { after: SOON },
        }
    }
}

impl Verdict {
    /// What it means that a call with these arguments is refused.
    pub(crate) fn of_call(error: &Error, payload: &Arc<[u8]>) -> Self {
        let mut verdict = error.verdict();
        if let Self::Refused(refusal) = &mut verdict {
            refusal.payload = Some(Arc::clone(payload));
        }
        verdict
    }

    /// The verdict of an attempt whose report the ledger did not take. The report is kept, and the
    /// message's next call brings it.
    pub(crate) fn unrecorded() -> Self {
        Self::Unavailable {
            error: "the ledger did not take how the attempt ended".to_owned(),
        }
    }

    /// The verdict of an attempt that lost its lease: another attempt owns the message, so it must
    /// be redelivered.
    pub(crate) fn passed_on() -> Self {
        Self::Again { after: SOON }
    }

    /// Returns the worse of two verdicts: a message that must come again does, whatever else was
    /// settled or refused.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Unknown, known) | (known, Self::Unknown) => known,
            (bad @ Self::Unavailable { .. }, _) | (_, bad @ Self::Unavailable { .. }) => bad,
            (
                Self::Paused { handler, after },
                Self::Paused { after: other, .. } | Self::Again { after: other },
            )
            | (Self::Again { after: other }, Self::Paused { handler, after }) => Self::Paused {
                handler,
                after: after.max(other),
            },
            (paused @ Self::Paused { .. }, _) | (_, paused @ Self::Paused { .. }) => paused,
            (Self::Again { after }, Self::Again { after: later }) => Self::Again {
                after: after.max(later),
            },
            (again @ Self::Again { .. }, _) | (_, again @ Self::Again { .. }) => again,
            (refused @ Self::Refused(_), _) | (_, refused @ Self::Refused(_)) => refused,
            (Self::Settled, Self::Settled) => Self::Settled,
        }
    }
}

impl Idem {
    /// Runs a consumer's handler for one delivery, in this Idem's [scope](Self::scope), and returns
    /// what the broker may do with the message. The origin is kept with the claim, and a dead
    /// letter shows it.
    ///
    /// Each call of a handler with `#[idempotent]` counts, one after the other or at once, and the
    /// worst outcome decides. A call inside such a handler's body does not count: its outcome is
    /// handled by that body. Neither does a call in a spawned task or thread; inside
    /// `spawn_blocking` use [`sync_deliver`](Self::sync_deliver).
    ///
    /// A panic of the handler outside of any attempt passes through, and its verdict is lost. To
    /// continue after panics, catch them inside the delivery
    /// (`AssertUnwindSafe(handler).catch_unwind()`): then the calls before the panic decide.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// use idem_runtime::{Error, Idem, Origin, Verdict, idempotent};
    ///
    /// #[idempotent(name = "orders.place", key = "order_no")]
    /// async fn place_order(order_no: String) -> Result<u32, Error> {
    ///     Ok(200)
    /// }
    ///
    /// let idem = Idem::open(folder.path())?;
    /// let origin = Origin::new("rabbitmq", "orders").message_id("m-17");
    /// let delivered = idem.deliver(origin, place_order("A-1".into())).await;
    /// assert_eq!(delivered.output?, 200);
    /// assert_eq!(delivered.verdict, Verdict::Settled); // now it can be acked
    /// # Ok(()) }
    /// ```
    pub async fn deliver<F: Future>(&self, origin: Origin, handler: F) -> Delivered<F::Output> {
        self.delivered(None, origin, handler).await
    }

    /// [`deliver`](Self::deliver) for a consumer that [buries](Self::bury) under its own name: what
    /// the handlers redact that it reaches is hidden in messages that are buried under this name.
    /// `deliver` does the same under the origin's [place](Origin::place), which each burial
    /// considers, too.
    pub async fn deliver_as<F: Future>(
        &self,
        name: &str,
        origin: Origin,
        handler: F,
    ) -> Delivered<F::Output> {
        self.delivered(Some(name), origin, handler).await
    }

    async fn delivered<F: Future>(
        &self,
        name: Option<&str>,
        origin: Origin,
        handler: F,
    ) -> Delivered<F::Output> {
        let delivery = Delivery::new(origin);
        let span = delivery.span();
        let handled = DELIVERY.scope(Arc::clone(&delivery), handler);
        let output = current::scope(self.clone(), handled).instrument(span).await;
        Delivered {
            output,
            verdict: self.learned(name, &delivery).await,
        }
    }

    /// Returns the verdict once the redactions of the handlers are durable, which must be before
    /// the message is acknowledged.
    async fn learned(&self, name: Option<&str>, delivery: &Delivery) -> Verdict {
        let reached = delivery.redacting();
        if reached.is_empty() {
            return delivery.verdict();
        }
        let name = name.map_or_else(|| Cow::Owned(delivery.origin.place()), Cow::Borrowed);
        match self.shared().learn(&name, &reached).await {
            Ok(()) => delivery.verdict(),
            Err(problem) => delivery.verdict().and(Verdict::Unavailable {
                error: problem.to_string(),
            }),
        }
    }

    /// [`deliver`](Self::deliver) for a handler that is not async. Catch panics inside it, too.
    pub fn sync_deliver<T>(&self, origin: Origin, handler: impl FnOnce() -> T) -> Delivered<T> {
        let delivery = Delivery::new(origin);
        let output = delivery.span().in_scope(|| {
            current::sync_scope(self.clone(), || {
                DELIVERY.sync_scope(Arc::clone(&delivery), handler)
            })
        });
        Delivered {
            output,
            verdict: wait(self.learned(None, &delivery)),
        }
    }
}

/// A delivery in flight.
#[derive(Debug)]
pub(crate) struct Delivery {
    origin: Arc<Origin>,
    /// The trace that the message brought.
    trace: Option<Arc<TraceContext>>,
    /// The body that began it, if any. Calls of bodies inside it do not count.
    within: Option<Arc<Frame>>,
    calls: Mutex<Calls>,
}

/// The outcome of the calls so far.
#[derive(Debug)]
struct Calls {
    under_way: usize,
    verdict: Verdict,
    /// The called handlers that redact.
    redacting: Redacting,
}

type Redacting = SmallVec<[&'static Handler; 2]>;

/// Returns the delivery that this code runs in.
pub(crate) fn delivery() -> Option<Arc<Delivery>> {
    DELIVERY.try_with(Arc::clone).ok()
}

impl Delivery {
    fn new(origin: Origin) -> Arc<Self> {
        let calls = Mutex::new(Calls {
            under_way: 0,
            verdict: Verdict::Unknown,
            redacting: SmallVec::new(),
        });
        Arc::new(Self {
            trace: origin.trace().map(Arc::new),
            origin: Arc::new(origin),
            within: Frame::current(),
            calls,
        })
    }

    pub(crate) fn origin(&self) -> Arc<Origin> {
        Arc::clone(&self.origin)
    }

    pub(crate) fn trace(&self) -> Option<Arc<TraceContext>> {
        self.trace.clone()
    }

    fn span(&self) -> Span {
        trace::span::delivery(&self.origin, self.trace.as_deref())
    }

    /// Counts a call that begins here, unless a body makes it.
    pub(crate) fn count(self: &Arc<Self>, handler: &'static Handler) -> Option<Counted> {
        let within = Frame::current();
        if within.as_ref().map(Arc::as_ptr) != self.within.as_ref().map(Arc::as_ptr) {
            return None;
        }
        let mut calls = self.calls.lock();
        calls.under_way += 1;
        if !handler.redact.is_empty()
            && calls
                .redacting
                .iter()
                .all(|known| !std::ptr::eq(*known, handler))
        {
            calls.redacting.push(handler);
        }
        drop(calls);
        Some(Counted {
            delivery: Arc::clone(self),
            came_to: None,
        })
    }

    fn redacting(&self) -> Redacting {
        self.calls.lock().redacting.clone()
    }

    fn verdict(&self) -> Verdict {
        let calls = self.calls.lock();
        match calls.under_way {
            0 => calls.verdict.clone(),
            // The handler moved a call elsewhere.
            _ => Verdict::Again {
                after: Duration::ZERO,
            },
        }
    }
}

/// A call that counts for a delivery. If it is dropped before its end, the message comes again.
#[derive(Debug)]
pub(crate) struct Counted {
    delivery: Arc<Delivery>,
    came_to: Option<Verdict>,
}

impl Counted {
    /// The call ends with this.
    pub(crate) fn comes_to(mut self, verdict: Verdict) {
        self.came_to = Some(verdict);
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let came_to = self.came_to.take().unwrap_or(Verdict::Again {
            after: Duration::ZERO,
        });
        let mut calls = self.delivery.calls.lock();
        calls.under_way -= 1;
        let before = std::mem::replace(&mut calls.verdict, Verdict::Unknown);
        calls.verdict = before.and(came_to);
    }
}
