//! The life of a call, whatever its types: the seat, the claim, the pauses.
//!
//! It is polled by hand. An `async fn` would be compiled again in each crate that awaits it, and
//! would need a box a call.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;

use super::attempt::{Attempt, Frame, inside_a_sync_body, runs_inside};
use super::blocking::{block_on, on_multi_thread_runtime};
use super::body::Run;
use super::held::Held;
use super::lease::Renewed;
use super::report::{Reporting, Told};
use super::single_flight::{Ahead, Ended, Seat};
use crate::clock::{BoxFuture, until};
use crate::delivery::{Counted, Verdict};
use crate::error::Error;
use crate::handler::Handler;
use crate::handler::names::{self, Found};
use crate::idem::current;
use crate::idem::{Entry, Idem};
use crate::ledger::LedgerError;
use crate::message::{Message, Ready};
use crate::metrics;
use crate::protocol::{
    AttemptOutcome, DeadLetter, Failed, Grant, RecordId, Reply, Step, StoredResult,
};

/// How often a call looks whether another process is done with the message.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// What a ledger answers to a step.
pub(super) type Answer = BoxFuture<'static, Result<Reply, LedgerError>>;

/// What was waited for left.
type Left = Result<Passed, LedgerError>;

/// What has to pass before the next claim has passed.
enum Passed {
    Over,
    /// Another call came to a result.
    Done(Arc<[u8]>),
    /// The message's record stands under a name that its handler had before.
    Under(RecordId),
    /// The key was not issued.
    NotIssued(&'static str),
}

/// One call, without its types.
pub(super) struct Drive {
    pub(super) message: Ready,
    blocking: bool,
    _entry: Entry,
    pub(super) seat: Option<Seat>,
    pub(super) claimed: Option<Held>,
    /// What has to pass before the next claim: an older report, a pause, another call.
    waiting: Option<BoxFuture<'static, Left>>,
    /// A claim that the ledger is working on: when the call is dropped, somebody has to take its
    /// answer.
    claiming: Option<Answer>,
    pub(super) reporting: Option<Reporting>,
    /// When the next attempt may start.
    pub(super) resume: Option<Timestamp>,
    /// Whether something has to be looked at before the claim.
    looks_first: bool,
    /// Whether the caller was told something.
    told: bool,
    /// Where this call counts for a delivery.
    pub(super) counted: Option<Counted>,
}

/// What a call is to do next.
pub(super) enum Next {
    Run,
    /// Give the recorded result; telling is left to whoever can read it.
    Replay(Arc<[u8]>),
    Refuse(Error),
}

impl Drive {
    pub(super) fn begin(message: Message) -> Result<Box<Self>, Error> {
        let counted = message
            .delivery
            .as_ref()
            .and_then(|delivery| delivery.count(message.handler));
        match Self::admit(message) {
            Ok(mut drive) => {
                drive.counted = counted;
                Ok(drive)
            }
            Err(error) => {
                if let Some(counted) = counted {
                    counted.comes_to(Verdict::of_arguments(&error));
                }
                Err(error)
            }
        }
    }

    fn admit(message: Message) -> Result<Box<Self>, Error> {
        let message = message.finish()?;
        if let Err(problem) = message.idem.inner().is_here() {
            let Ready { id, .. } = message;
            let (handler, key) = (Some(id.handler.to_string()), Some(id.key.to_string()));
            return Err(Error::Ledger {
                handler,
                key,
                problem,
            });
        }
        let Some(entry) = message.idem.inner().enter() else {
            let Ready { id, .. } = message;
            let error = Error::Closed {
                handler: Some(id.handler.to_string()),
                key: Some(id.key.to_string()),
            };
            metrics::refused(&id.handler, &error);
            return Err(error);
        };
        let waiting = redriven(&message)?;
        let looks_first = message.named.handler.looks_first;
        Ok(Box::new(Self {
            message,
            blocking: false,
            _entry: entry,
            seat: None,
            claimed: None,
            waiting,
            claiming: None,
            reporting: None,
            resume: None,
            looks_first,
            told: false,
            counted: None,
        }))
    }

    /// The caller is told this.
    pub(super) fn tell(&mut self, outcome: &'static str) {
        self.told = true;
        let id = self.id();
        self.message.named.meters.call(outcome);
        tracing::debug!(
            handler = &*id.handler,
            key = &*id.key,
            outcome,
            "call ended"
        );
    }

    /// The call ends, and this is what it means for the delivery it came in.
    pub(super) fn came_to(&mut self, verdict: impl FnOnce() -> Verdict) {
        if let Some(counted) = self.counted.take() {
            counted.comes_to(verdict());
        }
    }

    pub(super) fn handler(&self) -> &'static Handler {
        self.message.named.handler
    }

    pub(super) fn id(&self) -> &RecordId {
        &self.message.id
    }

    pub(super) fn idem(&self) -> &Idem {
        &self.message.idem
    }

    /// An empty buffer for the result, with room in it the first time.
    pub(super) fn buffer(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.message.buffer)
    }

    /// Goes on until the body is to run, or never will.
    pub(super) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Next> {
        loop {
            // The attempt ended before its body started.
            if self.reporting.is_some()
                && let Told::Refuse(error) = ready!(self.poll_told(context))
            {
                return Poll::Ready(Next::Refuse(error));
            }
            let next = if let Some(claiming) = &mut self.claiming {
                let reply = ready!(claiming.as_mut().poll(context));
                self.claiming = None;
                self.answered(reply)
            } else if let Some(waiting) = &mut self.waiting {
                let left = ready!(waiting.as_mut().poll(context));
                self.waiting = None;
                match left {
                    Ok(Passed::Over) => None,
                    Ok(Passed::Done(json)) => Some(Next::Replay(json)),
                    Ok(Passed::Under(id)) => self.go_on_under(id),
                    Ok(Passed::NotIssued(issuer)) => Some(Next::Refuse(self.not_issued(issuer))),
                    Err(problem) => Some(Next::Refuse(self.no_ledger(problem))),
                }
            } else {
                self.ask()
            };
            if let Some(next) = next {
                if let Next::Refuse(error) = &next {
                    self.tell(error.kind());
                    let payload = Arc::clone(&self.message.claim.payload);
                    self.came_to(|| Verdict::of_call(error, &payload));
                }
                return Poll::Ready(next);
            }
        }
    }

    /// [`poll_next`](Self::poll_next) for a sync handler.
    pub(super) fn next_blocking(&mut self) -> Next {
        self.blocking = true;
        block_on(poll_fn(|context| self.poll_next(context)))
    }

    /// What the body runs in, if it is to run.
    pub(super) fn start(&self) -> Option<Run> {
        let held = self.claimed?;
        let Handler {
            retries,
            timeout,
            lease,
            ..
        } = *self.handler();
        let id = self.id();
        let attempt = Attempt {
            number: held.number,
            // A message that waited through a deploy that lowered the budget has one attempt more.
            of: retries.saturating_add(1).max(held.number),
            handler: Arc::clone(&self.message.named.name),
            key: Arc::clone(&id.key),
            token: held.token,
        };
        let frame = Frame {
            attempt,
            inner: Arc::clone(self.idem().inner()),
            blocking: self.blocking,
            found_existing: AtomicBool::new(false),
            outgoing: Mutex::default(),
            outer: Frame::current(),
        };
        Some(Run::new(
            Arc::new(frame),
            timeout,
            Renewed::start(self.idem(), id, held.token, lease),
        ))
    }

    /// Takes the seat, finds out what has to be waited for, and claims.
    fn ask(&mut self) -> Option<Next> {
        let inner = self.message.idem.inner();
        if self.seat.is_none() {
            // A duplicate of a settled message needs no seat: nothing can be in work.
            if let Some(reply) = inner.ledger.look(self.id(), &self.message.claim) {
                return self.answered(Ok(reply));
            }
            match inner
                .flights
                .enter(self.id(), self.message.claim.fingerprint, self.blocking)
            {
                Ok(seat) => self.seat = Some(seat),
                Err(ahead) => return self.wait_for(ahead),
            }
        }
        if let Some(at) = self.resume.take() {
            self.sleep(until(at, inner.clock.now()));
        } else if inner.has_unreported(&self.message.id) {
            let (inner, id) = (Arc::clone(inner), self.message.id.clone());
            self.waiting = Some(Box::pin(async move {
                inner.report_again(&id).await.map(|()| Passed::Over)
            }));
        } else if std::mem::take(&mut self.looks_first) {
            let (inner, named, id) = (
                Arc::clone(inner),
                Arc::clone(&self.message.named),
                self.message.id.clone(),
            );
            self.waiting = Some(Box::pin(async move {
                Ok(match names::look_first(&inner, &named, &id).await? {
                    Found::Here => Passed::Over,
                    Found::Under(id) => Passed::Under(id),
                    Found::NotIssued(issuer) => Passed::NotIssued(issuer),
                })
            }));
        } else {
            self.claiming = Some(
                inner
                    .ledger
                    .apply(&self.message.id, Step::Claim(self.message.claim.clone())),
            );
        }
        None
    }

    /// From here on the record is the one under an earlier name; the seat is that of today's, as
    /// for all calls of the message.
    fn go_on_under(&mut self, id: RecordId) -> Option<Next> {
        if self.seat.is_none() {
            let fingerprint = self.message.claim.fingerprint;
            match self
                .message
                .idem
                .inner()
                .flights
                .enter(self.id(), fingerprint, self.blocking)
            {
                Ok(seat) => self.seat = Some(seat),
                Err(ahead) => return self.wait_for(ahead),
            }
        }
        self.looks_first = false;
        self.message.id = id;
        None
    }

    fn answered(&mut self, reply: Result<Reply, LedgerError>) -> Option<Next> {
        let refusal = match reply {
            Ok(Reply::Run(started)) => {
                let (id, attempt) = (self.id(), started.number);
                tracing::debug!(handler = &*id.handler, key = &*id.key, attempt, "claimed");
                self.claimed = Some(started.into());
                return Some(Next::Run);
            }
            Ok(Reply::Replay(StoredResult::Json(json))) => {
                if let Some(seat) = self.seat.take() {
                    seat.done(&json);
                }
                return Some(Next::Replay(json));
            }
            // Another process holds it: whether it is done is found by asking.
            Ok(Reply::Busy { until: lapse }) if !self.handler().reject => {
                let lapse = until(lapse, self.idem().inner().clock.now());
                self.sleep(lapse.clamp(Duration::from_millis(1), LOOK_AGAIN));
                return None;
            }
            Ok(Reply::NotYet { at }) if !self.handler().redeliver => {
                self.resume = Some(at);
                return None;
            }
            Ok(Reply::Replay(StoredResult::TooLarge(size))) => self.too_large(size),
            Ok(Reply::Busy { .. }) => self.in_progress(),
            Ok(Reply::NotYet { at }) => self.not_yet(until(at, self.idem().inner().clock.now())),
            Ok(Reply::KeyReused) => self.reused(),
            Ok(Reply::Dead { letter, discarded }) => self.dead(letter, discarded),
            Ok(Reply::DeadLettered(letter)) => {
                self.died(&letter);
                self.dead(letter.id, false)
            }
            Ok(
                Reply::Waiting { .. }
                | Reply::Recorded
                | Reply::LeaseLost
                | Reply::LetterNotOpen
                | Reply::AlreadyIssued
                | Reply::Unchanged,
            ) => self.no_ledger(LedgerError::Other(
                "it answered a claim with nonsense".into(),
            )),
            Err(problem) => self.no_ledger(problem),
        };
        Some(Next::Refuse(refusal))
    }

    /// Waits for the call that works on the message, and gets what that one gets.
    fn wait_for(&mut self, ahead: Ahead) -> Option<Next> {
        if let (Some(theirs), Some(ours)) = (ahead.fingerprint, self.message.claim.fingerprint)
            && theirs != ours
        {
            return Some(Next::Refuse(self.reused()));
        }
        if self.handler().reject
            || runs_inside(self.idem().inner(), self.id())
            || self.would_block(&ahead)
        {
            return Some(Next::Refuse(self.in_progress()));
        }
        tracing::debug!(
            handler = &*self.id().handler,
            key = &*self.id().key,
            "waiting for the same message"
        );
        self.waiting = Some(Box::pin(async move {
            match ahead.ended().await {
                Ended::Done(json) => Ok(Passed::Done(json)),
                Ended::Over => Ok(Passed::Over),
            }
        }));
        None
    }

    /// Whether waiting would hold up the only thread that can end the wait.
    fn would_block(&self, ahead: &Ahead) -> bool {
        (self.blocking || inside_a_sync_body())
            && ahead.polled_on == Some(std::thread::current().id())
            && !on_multi_thread_runtime()
    }

    fn sleep(&mut self, duration: Duration) {
        let asleep = self.idem().inner().clock.sleep(duration);
        self.waiting = Some(Box::pin(async move {
            asleep.await;
            Ok(Passed::Over)
        }));
    }

    /// People are told of the letter now, and of how many there are soon.
    pub(super) fn died(&self, letter: &DeadLetter) {
        let inner = Arc::clone(self.idem().inner());
        inner.tell(letter);
        self.idem()
            .keeper()
            .finish(Box::pin(async move { inner.count_letters().await }));
    }
}

/// The first call of a letter's key, on the letter's behalf, re-arms it before the claim.
fn redriven(
    Ready {
        id, idem, named, ..
    }: &Ready,
) -> Result<Option<BoxFuture<'static, Left>>, Error> {
    let Some(redriving) = current::redriving() else {
        return Ok(None);
    };
    let letter_of = &*redriving.id.handler;
    let had_its_name = || {
        named.handler.was.contains(&letter_of) || idem.inner().earlier.had(&id.handler, letter_of)
    };
    let earlier = letter_of != &*id.handler;
    if earlier && !had_its_name() {
        return Ok(None);
    }
    if redriving.id.key != id.key && redriving.unread {
        redriving.begins();
        return Ok(None);
    }
    if redriving.id.key != id.key {
        let (handler, key, letter_key) = (
            id.handler.to_string(),
            id.key.to_string(),
            redriving.id.key.to_string(),
        );
        return Err(Error::KeyMismatch {
            handler,
            key,
            letter_key,
        });
    }
    let (inner, begins) = (Arc::clone(idem.inner()), redriving.begins());
    Ok((begins || earlier).then(|| -> BoxFuture<'static, Left> {
        Box::pin(async move {
            if begins {
                inner.apply(&redriving.id, redriving.step.clone()).await?;
                inner.count_letters().await;
            }
            Ok(if earlier {
                Passed::Under(redriving.id.clone())
            } else {
                Passed::Over
            })
        })
    }))
}

impl Drop for Drive {
    /// A call that is dropped while its body runs is a failed attempt; a claim that is granted when
    /// nobody is there any more was none, and is given back. A report that is on its way arrives.
    fn drop(&mut self) {
        if !self.told {
            self.tell(AttemptOutcome::Dropped.as_str());
        }
        if let Some(reporting) = self.reporting.take() {
            let (inner, id, seat) = (
                Arc::clone(self.idem().inner()),
                self.id().clone(),
                self.seat.take(),
            );
            self.idem().keeper().finish(Box::pin(async move {
                reporting.arrive(&inner, &id).await;
                drop(seat);
            }));
        }
        let (claimed, claiming) = (self.claimed.take(), self.claiming.take());
        if claimed.is_none() && claiming.is_none() {
            return;
        }
        let (inner, id, seat) = (
            Arc::clone(self.idem().inner()),
            self.id().clone(),
            self.seat.take(),
        );
        let handler = self.handler();
        if let Some(held) = &claimed {
            self.ended(held, AttemptOutcome::Dropped.as_str());
        }
        self.idem().keeper().finish(Box::pin(async move {
            let step = match (claimed, claiming) {
                // Nothing but a panic comes between a claim's answer and its body, so this is an
                // attempt.
                (Some(Held { token, number, .. }), _) => {
                    tracing::warn!(
                        handler = &*id.handler,
                        key = &*id.key,
                        attempt = number,
                        "the call was dropped"
                    );
                    let error = Some("the call was dropped before the body returned".to_owned());
                    let pause = handler.backoff.pause(number);
                    Some(Step::Fail(Failed {
                        token,
                        outcome: AttemptOutcome::Dropped,
                        error,
                        pause,
                    }))
                }
                (None, Some(claiming)) => match inner.heard(claiming.await).await {
                    Ok(Reply::Run(Grant { token, .. })) => Some(Step::GiveBack { token }),
                    _ => None,
                },
                (None, None) => None,
            };
            if let Some(step) = step {
                // What could not be recorded is kept, and brought again, by the report itself.
                Reporting::dropped(&inner, &id, step)
                    .arrive(&inner, &id)
                    .await;
            }
            drop(seat);
        }));
    }
}
