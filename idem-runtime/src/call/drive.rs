//! The life of a call, whatever its types: the seat, the claim, the pauses, the reports.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::attempt::{inside_a_sync_body, runs_inside};
use super::flight::{Ended, Flight, Seat};
use super::held::Held;
use crate::clock::{BoxFuture, until};
use crate::error::Error;
use crate::idem::{Entry, Idem};
use crate::ledger::LedgerError;
use crate::message::{Message, Ready};
use crate::observe;
use crate::protocol::{AttemptOutcome, DeadLetterId, Failed, RecordId, Reply, Started, Step, StoredResult};

/// How often a call looks whether another process is done with the message.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// One call, without its types.
pub(super) struct Drive {
    message: Ready,
    blocking: bool,
    _entry: Entry,
    seat: Option<Seat>,
    claimed: Option<Held>,
    /// A claim that the ledger is working on: when the call is dropped, somebody has to take its answer.
    claiming: Option<BoxFuture<'static, Result<Reply, LedgerError>>>,
    /// When the next attempt may start.
    resume: Option<Timestamp>,
    /// Whether the caller was told something.
    told: bool,
}

/// What a call is to do next.
pub(super) enum Next {
    Run,
    Replay(Vec<u8>),
    Refuse(Error),
}

/// What became of a report.
pub(super) enum Reported {
    Recorded,
    /// There will be another attempt.
    Waiting,
    Dead(DeadLetterId),
    Refused(Error),
}

impl Drive {
    pub(super) fn begin(message: Message) -> Result<Self, Error> {
        let message = message.finish()?;
        let Some(entry) = message.idem.inner().enter() else {
            let Ready { id, .. } = message;
            let error = Error::Closed { handler: Some(id.handler.to_string()), key: Some(id.key.to_string()) };
            observe::refused(&id.handler, &error);
            return Err(error);
        };
        Ok(Self {
            message,
            blocking: false,
            _entry: entry,
            seat: None,
            claimed: None,
            claiming: None,
            resume: None,
            told: false,
        })
    }

    pub(super) fn block(&mut self) {
        self.blocking = true;
    }

    /// The caller is told this.
    pub(super) fn tell(&mut self, outcome: &'static str) {
        self.told = true;
        let id = self.id();
        observe::call(&id.handler, outcome);
        tracing::debug!(handler = &*id.handler, key = &*id.key, outcome, "call ended");
    }

    pub(super) fn handler(&self) -> &'static crate::handler::Handler {
        self.message.handler
    }

    pub(super) fn id(&self) -> &RecordId {
        &self.message.id
    }

    pub(super) fn idem(&self) -> &Idem {
        &self.message.idem
    }

    pub(super) fn held(&self) -> Option<&Held> {
        self.claimed.as_ref()
    }

    /// Goes on until the body is to run, or never will.
    pub(super) async fn next(&mut self) -> Next {
        let inner = Arc::clone(self.idem().inner());
        loop {
            // A duplicate of a settled message needs no seat: nothing can be in work.
            let settled = if self.seat.is_none() { inner.ledger.look(self.id(), &self.message.claim) } else { None };
            let reply = match settled {
                Some(reply) => reply,
                None => match self.ask().await {
                    Ok(reply) => reply,
                    Err(next) => return next,
                },
            };
            match reply {
                Reply::Run(Started { token, number }) => {
                    tracing::debug!(handler = &*self.id().handler, key = &*self.id().key, attempt = number, "claimed");
                    self.claimed = Some(Held::new(self.id().clone(), token, number, self.handler()));
                    return Next::Run;
                }
                Reply::Replay(StoredResult::Json(json)) => {
                    if let Some(seat) = self.seat.take() {
                        seat.done(&json);
                    }
                    return Next::Replay(json);
                }
                Reply::Replay(StoredResult::TooLarge(size)) => {
                    let (handler, key) = self.site();
                    return Next::Refuse(Error::ResultTooLarge { handler, key, size });
                }
                Reply::Busy { .. } if self.handler().reject => {
                    return Next::Refuse(self.in_progress());
                }
                // Another process holds it: whether it is done is found by asking.
                Reply::Busy { until } => {
                    let now = inner.clock.now();
                    inner
                        .clock
                        .sleep(crate::clock::until(until, now).clamp(Duration::from_millis(1), LOOK_AGAIN))
                        .await;
                }
                Reply::NotYet { at } if self.handler().redeliver => {
                    let (handler, key) = self.site();
                    return Next::Refuse(Error::NotYet { handler, key, after: until(at, inner.clock.now()) });
                }
                Reply::NotYet { at } => self.resume = Some(at),
                Reply::Reused => return Next::Refuse(self.reused()),
                Reply::Dead { letter, discarded } => {
                    return Next::Refuse(self.dead(letter, discarded));
                }
                Reply::Died(letter) => return Next::Refuse(self.dead(letter.id, false)),
                Reply::Waiting { .. } | Reply::Recorded | Reply::LeaseLost | Reply::NotOpen | Reply::Untouched => {
                    return Next::Refuse(
                        self.no_ledger(LedgerError::Other("it answered a claim with nonsense".into())),
                    );
                }
            }
        }
    }

    /// Takes the seat, waits for what has to be waited for, and claims.
    async fn ask(&mut self) -> Result<Reply, Next> {
        if self.seat.is_none() {
            self.take_seat().await?;
        }
        let inner = Arc::clone(self.idem().inner());
        if let Some(at) = self.resume.take() {
            inner.clock.sleep(until(at, inner.clock.now())).await;
        }
        let asked = match inner.report_again(self.id()).await {
            Ok(()) => self.claim().await,
            Err(problem) => Err(problem),
        };
        asked.map_err(|problem| Next::Refuse(self.no_ledger(problem)))
    }

    /// Becomes the one that works on the message, or gets what that one got.
    async fn take_seat(&mut self) -> Result<(), Next> {
        loop {
            let inner = Arc::clone(self.message.idem.inner());
            let flight = match inner.flights.enter(self.id(), self.message.claim.fingerprint, self.blocking) {
                Ok(seat) => {
                    self.seat = Some(seat);
                    return Ok(());
                }
                Err(flight) => flight,
            };
            if let (Some(theirs), Some(ours)) = (flight.fingerprint, self.message.claim.fingerprint)
                && theirs != ours
            {
                return Err(Next::Refuse(self.reused()));
            }
            if self.handler().reject || runs_inside(&inner, self.id()) || self.would_block(&flight) {
                return Err(Next::Refuse(self.in_progress()));
            }
            tracing::debug!(handler = &*self.id().handler, key = &*self.id().key, "waiting for the same message");
            if let Ended::Done(json) = flight.ended().await {
                return Err(Next::Replay(json.to_vec()));
            }
        }
    }

    /// Whether waiting would hold up the only thread that can end the wait.
    fn would_block(&self, flight: &Flight) -> bool {
        (self.blocking || inside_a_sync_body())
            && flight.polled_on == Some(std::thread::current().id())
            && !super::blocking::on_multi_thread_runtime()
    }

    async fn claim(&mut self) -> Result<Reply, LedgerError> {
        let (inner, id) = (Arc::clone(self.idem().inner()), self.id().clone());
        let step = Step::Claim(self.message.claim.clone());
        let claiming = self.claiming.insert(Box::pin(async move { inner.apply(&id, step).await }));
        let reply = poll_fn(|context| claiming.as_mut().poll(context)).await;
        self.claiming = None;
        reply
    }

    /// Records the body's result.
    pub(super) async fn complete(&mut self, json: Vec<u8>, found: bool) -> Reported {
        let Some(held) = self.claimed.take() else {
            return Reported::Recorded;
        };
        let outcome = if found { "existing" } else { "done" };
        self.ended(&held, outcome);
        let size = json.len();
        let large = size > self.idem().inner().limits.result;
        let result = if large { StoredResult::TooLarge(size as u64) } else { StoredResult::Json(json.clone()) };
        match self.report(Step::Complete { token: held.token, result }).await {
            Ok(Reply::Recorded) => {
                match self.seat.take() {
                    Some(seat) if !large => seat.done(&json),
                    seat => drop(seat),
                }
                Reported::Recorded
            }
            Ok(_) => Reported::Refused(self.lease_lost()),
            Err(problem) => Reported::Refused(self.unrecorded(problem)),
        }
    }

    /// Records that the attempt failed.
    pub(super) async fn fail(&mut self, outcome: AttemptOutcome, error: Option<String>) -> Reported {
        let Some(held) = self.claimed.take() else {
            return Reported::Recorded;
        };
        self.ended(&held, outcome.as_str());
        tracing::warn!(handler = &*held.id.handler, key = &*held.id.key, attempt = held.number, of = held.of, %outcome,
            error = error.as_deref().unwrap_or_default(), "attempt failed");
        let failed = Failed { token: held.token, outcome, error, pause: self.handler().backoff.pause(held.number) };
        match self.report(Step::Fail(failed)).await {
            Ok(Reply::Waiting { at }) => {
                self.resume = Some(at);
                Reported::Waiting
            }
            Ok(Reply::Died(letter)) => Reported::Dead(letter.id),
            Ok(Reply::Dead { letter, .. }) => Reported::Dead(letter),
            Ok(_) => Reported::Refused(self.lease_lost()),
            Err(problem) => Reported::Refused(self.unrecorded(problem)),
        }
    }

    /// Brings a report to the ledger; it arrives, and the seat is kept until it has, even when the call is dropped.
    async fn report(&mut self, step: Step) -> Result<Reply, LedgerError> {
        let (inner, id) = (Arc::clone(self.message.idem.inner()), self.message.id.clone());
        let mut reporting = Reporting {
            idem: self.message.idem.clone(),
            seat: self.seat.take(),
            work: Some(Box::pin(async move { inner.report(&id, step).await })),
        };
        let reply = poll_fn(|context| match &mut reporting.work {
            Some(work) => work.as_mut().poll(context),
            None => std::task::Poll::Pending,
        })
        .await;
        reporting.work = None;
        self.seat = reporting.seat.take();
        reply
    }

    fn ended(&self, held: &Held, outcome: &'static str) {
        observe::attempt(&held.id.handler, outcome, held.started.elapsed());
    }

    fn site(&self) -> (String, String) {
        (self.id().handler.to_string(), self.id().key.to_string())
    }

    fn in_progress(&self) -> Error {
        let (handler, key) = self.site();
        Error::InProgress { handler, key }
    }

    fn reused(&self) -> Error {
        let (handler, key) = self.site();
        Error::KeyReused { handler, key }
    }

    fn lease_lost(&self) -> Error {
        let (handler, key) = self.site();
        Error::LeaseLost { handler, key }
    }

    pub(super) fn dead(&self, id: DeadLetterId, discarded: bool) -> Error {
        let (handler, key) = self.site();
        Error::DeadLettered { id, handler, key, discarded }
    }

    /// The body ran, and the ledger did not take how it ended.
    fn unrecorded(&self, problem: LedgerError) -> Error {
        let (handler, key) = self.site();
        Error::Ledger { handler: Some(handler), key: Some(key), problem }
    }

    fn no_ledger(&self, problem: LedgerError) -> Error {
        match problem {
            LedgerError::Closed => {
                let (handler, key) = self.site();
                Error::Closed { handler: Some(handler), key: Some(key) }
            }
            problem => self.unrecorded(problem),
        }
    }
}

/// A report on its way. Dropped with the call, it goes on in the background.
struct Reporting {
    idem: Idem,
    seat: Option<Seat>,
    work: Option<BoxFuture<'static, Result<Reply, LedgerError>>>,
}

impl Drop for Reporting {
    fn drop(&mut self) {
        if let Some(work) = self.work.take() {
            let seat = self.seat.take();
            self.idem.keeper().finish(Box::pin(async move {
                // What could not be recorded is kept, and brought again, by the report itself.
                let _ = work.await;
                drop(seat);
            }));
        }
    }
}

impl Drop for Drive {
    /// A call that is dropped gives its claim back as a failed attempt.
    fn drop(&mut self) {
        if !self.told {
            self.tell(AttemptOutcome::Dropped.as_str());
        }
        let (claimed, claiming) = (self.claimed.take(), self.claiming.take());
        if claimed.is_none() && claiming.is_none() {
            return;
        }
        let (inner, id, seat) = (Arc::clone(self.idem().inner()), self.id().clone(), self.seat.take());
        let handler = self.handler();
        if let Some(held) = &claimed {
            self.ended(held, AttemptOutcome::Dropped.as_str());
        }
        self.idem().keeper().finish(Box::pin(async move {
            let granted = match (claimed, claiming) {
                (Some(held), _) => Some((held.token, held.number)),
                (None, Some(claiming)) => match claiming.await {
                    Ok(Reply::Run(Started { token, number })) => Some((token, number)),
                    _ => None,
                },
                (None, None) => None,
            };
            if let Some((token, number)) = granted {
                tracing::warn!(handler = &*id.handler, key = &*id.key, attempt = number, "the call was dropped");
                let pause = handler.backoff.pause(number);
                let error = Some("the call was dropped before the body returned".to_owned());
                let failed = Failed { token, outcome: AttemptOutcome::Dropped, error, pause };
                // What could not be recorded is kept, and brought again, by the report itself.
                let _ = inner.report(&id, Step::Fail(failed)).await;
            }
            drop(seat);
        }));
    }
}
