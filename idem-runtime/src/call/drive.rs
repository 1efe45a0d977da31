//! The life of a call, whatever its types: the seat, the claim, the pauses.
//!
//! What handlers call is no `async fn`: those are compiled again in each crate that awaits them.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use jiff::Timestamp;

use super::attempt::{Attempt, Frame, inside_a_sync_body, runs_inside};
use super::blocking::block_on;
use super::body::Run;
use super::flight::{Ahead, Ended, Seat};
use super::held::Held;
use super::renewal::Renewed;
use crate::clock::{BoxFuture, until};
use crate::error::Error;
use crate::handler::Handler;
use crate::idem::{Entry, Idem};
use crate::ledger::LedgerError;
use crate::message::{Message, Ready};
use crate::observe;
use crate::protocol::{AttemptOutcome, DeadLetterId, Failed, RecordId, Reply, Started, Step, StoredResult};

/// How often a call looks whether another process is done with the message.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// One call, without its types.
pub(super) struct Drive {
    pub(super) message: Ready,
    blocking: bool,
    _entry: Entry,
    pub(super) seat: Option<Seat>,
    pub(super) claimed: Option<Held>,
    /// A claim that the ledger is working on: when the call is dropped, somebody has to take its answer.
    claiming: Option<BoxFuture<'static, Result<Reply, LedgerError>>>,
    /// When the next attempt may start.
    pub(super) resume: Option<Timestamp>,
    /// Whether the caller was told something.
    told: bool,
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
        let message = message.finish()?;
        let Some(entry) = message.idem.inner().enter() else {
            let Ready { id, .. } = message;
            let error = Error::Closed { handler: Some(id.handler.to_string()), key: Some(id.key.to_string()) };
            observe::refused(&id.handler, &error);
            return Err(error);
        };
        Ok(Box::new(Self {
            message,
            blocking: false,
            _entry: entry,
            seat: None,
            claimed: None,
            claiming: None,
            resume: None,
            told: false,
        }))
    }

    /// The caller is told this.
    pub(super) fn tell(&mut self, outcome: &'static str) {
        self.told = true;
        let id = self.id();
        self.message.named.meters.call(outcome);
        tracing::debug!(handler = &*id.handler, key = &*id.key, outcome, "call ended");
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

    /// Goes on until the body is to run, or never will.
    pub(super) fn next(&mut self) -> BoxFuture<'_, Next> {
        Box::pin(async {
            let next = self.decided().await;
            if let Next::Refuse(error) = &next {
                self.tell(error.kind());
            }
            next
        })
    }

    /// [`next`](Self::next) for a sync handler.
    pub(super) fn next_blocking(&mut self) -> Next {
        self.blocking = true;
        block_on(self.next())
    }

    /// What the body runs in, if it is to run.
    pub(super) fn start(&self) -> Option<Run> {
        let held = self.claimed?;
        let Handler { retries, timeout, lease, .. } = *self.handler();
        let id = self.id();
        let attempt = Attempt {
            number: held.number,
            of: retries.saturating_add(1),
            handler: Arc::clone(&id.handler),
            key: Arc::clone(&id.key),
            token: held.token,
        };
        let frame = Frame {
            attempt,
            inner: Arc::clone(self.idem().inner()),
            blocking: self.blocking,
            found_existing: AtomicBool::new(false),
            outer: Frame::current(),
        };
        Some(Run::new(Arc::new(frame), timeout, Renewed::start(self.idem(), id, held.token, lease)))
    }

    async fn decided(&mut self) -> Next {
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
                Reply::Run(started) => {
                    let (id, attempt) = (self.id(), started.number);
                    tracing::debug!(handler = &*id.handler, key = &*id.key, attempt, "claimed");
                    self.claimed = Some(started.into());
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
                return Err(Next::Replay(json));
            }
        }
    }

    /// Whether waiting would hold up the only thread that can end the wait.
    fn would_block(&self, flight: &Ahead) -> bool {
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

    pub(super) fn site(&self) -> (String, String) {
        (self.id().handler.to_string(), self.id().key.to_string())
    }

    /// The recorded result is not what the handler returns today.
    pub(super) fn unreadable(&mut self, problem: &serde_json::Error) -> Error {
        let (handler, key) = self.site();
        let what = "done before, but the recorded result no longer decodes as the handler's result type, and nothing ran; \
                    make the type read what it wrote:";
        let error = Error::Codec { handler, key, what: what.to_owned(), problem: problem.to_string() };
        self.tell(error.kind());
        error
    }

    fn in_progress(&self) -> Error {
        let (handler, key) = self.site();
        Error::InProgress { handler, key }
    }

    fn reused(&self) -> Error {
        let (handler, key) = self.site();
        Error::KeyReused { handler, key }
    }

    pub(super) fn lease_lost(&self) -> Error {
        let (handler, key) = self.site();
        Error::LeaseLost { handler, key }
    }

    pub(super) fn dead(&self, id: DeadLetterId, discarded: bool) -> Error {
        let (handler, key) = self.site();
        Error::DeadLettered { id, handler, key, discarded }
    }

    /// The body ran, and the ledger did not take how it ended.
    pub(super) fn unrecorded(&self, problem: LedgerError) -> Error {
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
