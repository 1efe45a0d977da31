//! The life of a call, whatever its types: who leads, the claim, the pauses, the report.
//!
//! ```text
//!            ┌──────────── the wait ended ────────────┐
//!            ▼                                        │
//! begin ─► Asking ── another call leads ──────────► Waiting
//!            │                                       ▲ ▲
//!            ▼                                       │ │
//! Foreseeing, Claiming ── elsewhere, not yet ────────┘ │
//!            │                                         │
//!            ▼                                         │
//!         Running ─► Reporting ── another attempt ─────┘
//!
//! each of them ─► Ended: a result, a refusal, or the call was dropped (`dropped.rs`)
//! ```
//!
//! It is polled by hand. An `async fn` would be compiled again in each crate that awaits it, and
//! would need a box a call.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tracing::Span;

use super::attempt::{Attempt, Frame, Given};
use super::blocking::block_on;
use super::body::Run;
use super::claims::{Asked, Terms};
use super::lease::{Outdated, Renewed};
use super::recorded::Recorded;
use super::report::PendingReport;
use super::reported::CallerResult;
use super::single_flight::Leader;
use super::transaction::Carried;
use super::unclaimed::Unclaimed;
use crate::clock::{BoxFuture, until};
use crate::delivery::{Counted, Verdict};
use crate::error::Error;
use crate::handler::names::{self, Found};
use crate::handler::{Handler, InFlight, RetryMode};
use crate::idem::Idem;
use crate::idem::shared::RunningCall;
use crate::ledger::{Begun, Leases, LedgerError};
use crate::message::CallRequest;
use crate::pause::{Pass, TurnedAway};
use crate::protocol::{DeadLetter, Foreseen, Grant, RecordId, Reply, Step, StoredResult};
use crate::trace;

/// The ledger's answer to a step.
pub(super) type Answer = BoxFuture<'static, Result<Reply, LedgerError>>;

/// What the next claim waits for.
pub(super) type Wait = BoxFuture<'static, Result<Waited, LedgerError>>;

/// How a wait ended.
pub(super) enum Waited {
    /// The claim may be made.
    Elapsed,
    /// The call that led came to this result.
    Done(Recorded),
    /// The message's record stands under a name that its handler had before.
    Under(RecordId),
    /// The key was not issued by this issuer.
    NotIssued(&'static str),
    /// Nothing is to run: this is the ledger's answer to the claim.
    Answered(Reply),
    /// The handler is paused, and lets this call through.
    LetIn(Box<Pass>),
    /// The handler is paused.
    TurnedAway(TurnedAway),
    /// The call that leads can end only after this one.
    Stuck,
}

/// Where a call is.
#[expect(
    clippy::large_enum_variant,
    reason = "the call is in a box already, and most calls come to the largest one"
)]
pub(super) enum State {
    /// It finds out what comes next: another call to wait for, a look, the claim.
    Asking,
    /// It looks for the record under an earlier name, or brings an older report.
    Looking(Wait),
    /// Something has to pass before the claim: a pause, the call that leads.
    Waiting(Wait),
    /// The ledger decides on the claim.
    Claiming(Answer),
    /// The ledger reads the record, to decide a claim that is written with the attempt's end.
    Foreseeing(BoxFuture<'static, Result<(Foreseen, Begun), LedgerError>>),
    /// The body runs, or is about to.
    Running {
        grant: Grant,
        since: Instant,
        /// Until the body is started.
        renewed: Option<Renewed>,
        is_started: bool,
    },
    /// The ledger records how the attempt ended.
    Reporting(PendingReport),
    /// The caller has its answer.
    Ended,
}

/// One call, without its types.
pub(super) struct Drive {
    pub(super) request: CallRequest,
    pub(super) state: State,
    /// From before the claim to the end: the other calls of the message wait for this one.
    pub(super) leader: Option<Leader>,
    pub(super) blocking: bool,
    /// Whether an earlier name or an issuer is looked up before the claim.
    looks_first: bool,
    asked: Asked,
    /// Whether the claim is written before the body, whatever the handler's mode.
    pub(super) claims_first: bool,
    /// What its attempt runs by, if that is not a claim.
    pub(super) unclaimed: Option<Box<Unclaimed>>,
    /// The transaction that was begun for its attempt, until that starts.
    pub(super) begun: Begun,
    /// What it holds where the handler is paused and lets it through.
    pub(super) pass: Option<Box<Pass>>,
    /// Whether the handler says which errors are outages.
    pub(super) knows_outages: bool,
    /// Where this call counts for a delivery.
    pub(super) counted: Option<Counted>,
    /// The span of its attempt.
    pub(super) span: Span,
    _entry: RunningCall,
}

/// What a call does next.
pub(super) enum Next {
    Run,
    /// Return the recorded result. The call is counted once it is decoded.
    Replay(Recorded),
    Refuse(Error),
}

impl Drive {
    /// A call that an instance has let in. It is made in its box: it is large, and a move costs as
    /// much as a lookup.
    #[inline]
    pub(super) fn boxed(
        request: CallRequest,
        entry: RunningCall,
        first: Option<Wait>,
    ) -> Box<Self> {
        let looks_first = request.named.handler.looks_first;
        let state = match first {
            None => State::Asking,
            Some(wait) => State::Waiting(wait),
        };
        Box::new(Self {
            request,
            state,
            leader: None,
            blocking: false,
            looks_first,
            asked: Asked::default(),
            claims_first: false,
            unclaimed: None,
            begun: None,
            pass: None,
            knows_outages: false,
            counted: None,
            span: Span::none(),
            _entry: entry,
        })
    }

    /// Returns whether it will soon be known if its body is to run.
    pub(super) fn is_asking(&self) -> bool {
        matches!(
            self.state,
            State::Asking | State::Looking(_) | State::Foreseeing(_) | State::Claiming(_)
        )
    }

    /// Returns the number of the attempt whose body is to run.
    pub(super) fn attempt_number(&self) -> Option<u32> {
        match &self.state {
            State::Running { grant, .. } => Some(grant.number),
            _ => None,
        }
    }

    /// Ends the call, and counts how.
    pub(super) fn count_call(&mut self, outcome: &'static str) {
        self.state = State::Ended;
        let id = self.id();
        self.request.named.meters.call(outcome);
        tracing::debug!(
            handler = &*id.handler,
            key = &*id.key,
            outcome,
            "call ended"
        );
    }

    /// Ends the call with a refusal.
    pub(super) fn refused(&mut self, error: &Error) {
        self.count_call(error.kind().as_str());
        let payload = Arc::clone(&self.request.claim.payload);
        self.set_verdict(|| Verdict::of_call(error, &payload));
    }

    /// Says what the call's end means for the delivery it came in.
    pub(super) fn set_verdict(&mut self, verdict: impl FnOnce() -> Verdict) {
        if let Some(counted) = self.counted.take() {
            counted.comes_to(verdict());
        }
    }

    pub(super) fn handler(&self) -> &'static Handler {
        self.request.named.handler
    }

    pub(super) fn id(&self) -> &RecordId {
        &self.request.id
    }

    pub(super) fn idem(&self) -> &Idem {
        &self.request.idem
    }

    /// An empty buffer for the result, with room in it the first time.
    pub(super) fn buffer(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.request.buffer)
    }

    /// Goes on until the body is to run, or never will.
    pub(super) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Next> {
        loop {
            let next = match &mut self.state {
                State::Asking => self.ask(),
                State::Looking(wait) | State::Waiting(wait) => {
                    let waited = ready!(wait.as_mut().poll(context));
                    self.state = State::Asking;
                    self.waited(waited)
                }
                State::Claiming(answer) => {
                    let reply = ready!(answer.as_mut().poll(context));
                    self.state = State::Asking;
                    self.answered(reply)
                }
                State::Foreseeing(foreseen) => {
                    let foreseen = ready!(foreseen.as_mut().poll(context));
                    self.state = State::Asking;
                    self.foresaw(foreseen)
                }
                State::Running { .. } => return Poll::Ready(Next::Run),
                // The attempt ended before its body started.
                State::Reporting(_) => match ready!(self.poll_caller_result(context)) {
                    CallerResult::Refuse(error) => return Poll::Ready(Next::Refuse(error)),
                    CallerResult::Replay(recorded) => {
                        return Poll::Ready(Next::Replay(recorded));
                    }
                    CallerResult::Retry | CallerResult::Own => None,
                },
                State::Ended => return Poll::Ready(Next::Refuse(self.closed())),
            };
            if let Some(next) = next {
                if let Next::Refuse(error) = &next {
                    self.refused(error);
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

    /// What the body runs in, if it is to run, and for how long at most.
    pub(super) fn start(&mut self, timeout: Option<Duration>) -> Option<Run> {
        let State::Running {
            grant,
            renewed,
            is_started,
            ..
        } = &mut self.state
        else {
            return None;
        };
        *is_started = true;
        let (grant, renewed) = (*grant, renewed.take());
        let Handler { retries, .. } = *self.handler();
        let id = self.id();
        let attempt = Attempt {
            number: grant.number,
            // A message that waited through a deploy that lowered the budget has one attempt more.
            of: retries.saturating_add(1).max(grant.number),
            handler: Arc::clone(&self.request.named.name),
            key: Arc::clone(&id.key),
            token: grant.token,
            lost: renewed.as_ref().map(|renewed| renewed.lost().clone()),
        };
        let trace = self.request.trace.clone();
        let span = trace::span::attempt(&attempt, trace.as_deref());
        self.span = span.clone();
        let frame = Frame {
            given: Given::One(attempt),
            trace,
            shared: Arc::clone(self.idem().shared()),
            blocking: self.blocking,
            found_existing: AtomicBool::new(false),
            outgoing: Mutex::default(),
            carried: Carried::with(self.begun.take()),
            outer: Frame::current(),
        };
        Some(Run::new(Arc::new(frame), timeout, renewed, span))
    }

    /// Takes the lead, finds out what has to be waited for, and claims.
    fn ask(&mut self) -> Option<Next> {
        let shared = self.request.idem.shared();
        if self.leader.is_none() {
            // A duplicate of a settled message need not lead: no call can be in flight.
            if let Some(reply) = shared.ledger.look(self.id(), &self.request.claim) {
                return self.answered(Ok(reply));
            }
            if let Err(error) = self.request.write_payload() {
                return Some(Next::Refuse(error));
            }
            if let Some(follower) = self.lead() {
                return self.follow(follower);
            }
        }
        let (shared, id) = (self.request.idem.shared(), &self.request.id);
        self.state = if shared.has_unreported(id) {
            let (shared, id) = (Arc::clone(shared), id.clone());
            State::Looking(Box::pin(async move {
                shared.report_again(&id).await.map(|()| Waited::Elapsed)
            }))
        } else if std::mem::take(&mut self.looks_first) {
            let (shared, id) = (Arc::clone(shared), id.clone());
            let handler = Arc::clone(&self.request.named);
            State::Looking(Box::pin(async move {
                Ok(
                    match names::look_first(
                        &*shared.ledger,
                        &*shared.clock,
                        &shared.earlier,
                        &handler,
                        &id,
                    )
                    .await?
                    {
                        Found::Here => Waited::Elapsed,
                        Found::Under(id) => Waited::Under(id),
                        Found::NotIssued(issuer) => Waited::NotIssued(issuer),
                    },
                )
            }))
        } else if !self.request.named.gate.is_open() && self.pass.is_none() {
            State::Waiting(self.at_the_gate())
        } else if !self.may_claim_later() {
            self.request.claim.nonce = shared.next_nonce();
            self.claim()
        } else {
            State::Foreseeing(shared.ledger.foresee(id, self.request.claim.clone()))
        };
        None
    }

    pub(super) fn run(&mut self, grant: Grant, renewed: Option<Renewed>) -> Next {
        let (id, attempt) = (self.id(), grant.number);
        tracing::debug!(handler = &*id.handler, key = &*id.key, attempt, "claimed");
        self.state = State::Running {
            grant,
            since: Instant::now(),
            renewed,
            is_started: false,
        };
        Next::Run
    }

    fn claim(&mut self) -> State {
        let shared = self.request.idem.shared();
        if shared.leases != Leases::None {
            self.asked = shared.claims.asking(shared.clock.now());
        }
        let claim = Step::Claim(self.request.claim.clone());
        State::Claiming(shared.ledger.apply(&self.request.id, claim))
    }

    /// Keeps a claim that was granted alive.
    fn keep_alive(&self, token: u64) -> Result<Option<Renewed>, Outdated> {
        let Handler {
            lease, lease_max, ..
        } = *self.handler();
        let terms = Terms {
            asked: self.asked,
            lease,
            longest: lease_max,
        };
        Renewed::start(self.idem(), self.id(), token, terms)
    }

    fn waited(&mut self, waited: Result<Waited, LedgerError>) -> Option<Next> {
        match waited {
            Ok(Waited::Elapsed) => None,
            Ok(Waited::Done(recorded)) => Some(Next::Replay(recorded)),
            Ok(Waited::Under(id)) => self.go_on_under(id),
            Ok(Waited::NotIssued(issuer)) => Some(Next::Refuse(self.not_issued(issuer))),
            Ok(Waited::Answered(reply)) => self.answered(Ok(reply)),
            Ok(Waited::LetIn(pass)) => {
                self.pass = Some(pass);
                None
            }
            Ok(Waited::TurnedAway(away)) => Some(Next::Refuse(self.paused(away))),
            Ok(Waited::Stuck) => Some(Next::Refuse(self.in_progress())),
            Err(problem) => Some(Next::Refuse(self.no_ledger(problem))),
        }
    }

    /// From here on the record is the one under an earlier name. The calls of the message still
    /// follow one another under today's.
    fn go_on_under(&mut self, id: RecordId) -> Option<Next> {
        if self.leader.is_none()
            && let Some(follower) = self.lead()
        {
            return self.follow(follower);
        }
        self.looks_first = false;
        self.request.id = id;
        None
    }

    pub(super) fn answered(&mut self, reply: Result<Reply, LedgerError>) -> Option<Next> {
        if !matches!(reply, Ok(Reply::Run(_))) {
            // Another message is let through in its place.
            self.pass = None;
        }
        let refusal = match reply {
            Ok(Reply::Run(grant)) => {
                let Ok(renewed) = self.keep_alive(grant.token) else {
                    // The same claim gets the same grant once more, with a lease from now on.
                    self.state = self.claim();
                    return None;
                };
                return Some(self.run(grant, renewed));
            }
            Ok(Reply::Replay {
                result:
                    StoredResult::Json {
                        json,
                        version,
                        trace,
                    },
                at,
            }) => {
                let recorded = Recorded {
                    json,
                    at,
                    version,
                    trace,
                };
                if let Some(leader) = self.leader.take() {
                    leader.done(&recorded);
                }
                return Some(Next::Replay(recorded));
            }
            // Another process runs it. Asking finds out whether it is done.
            Ok(Reply::Busy { until: lapse }) if self.handler().in_flight == InFlight::Wait => {
                self.wait_elsewhere(lapse);
                return None;
            }
            Ok(Reply::NotYet { at }) if self.handler().retry == RetryMode::Inline => {
                self.sleep_until(at);
                return None;
            }
            Ok(Reply::Replay {
                result: StoredResult::TooLarge(size),
                ..
            }) => self.too_large(size),
            Ok(Reply::Replay {
                result: StoredResult::Erased,
                ..
            }) => self.erased(),
            Ok(Reply::Busy { .. }) => self.in_progress(),
            Ok(Reply::NotYet { at }) => self.not_yet(until(at, self.idem().shared().clock.now())),
            // The state is `Asking`.
            Ok(Reply::KeyReused) if self.request.count_nulls() => return None,
            Ok(Reply::KeyReused) => self.reused(),
            Ok(Reply::Dead { letter, discarded }) => self.dead(letter, discarded),
            Ok(Reply::DeadLettered(letter)) => {
                self.died(&letter);
                self.dead(letter.id, false)
            }
            Ok(_) => self.no_ledger(LedgerError::Other(
                "the ledger gave a reply that is not one to a claim".into(),
            )),
            Err(problem) => {
                let claim = self.request.claim.clone();
                let shared = self.idem().shared();
                shared.keep_unanswered(self.id(), claim, &problem);
                self.no_ledger(problem)
            }
        };
        Some(Next::Refuse(refusal))
    }

    /// Notifies people of the letter now, and counts the open letters in the background.
    pub(super) fn died(&self, letter: &DeadLetter) {
        let shared = Arc::clone(self.idem().shared());
        shared.tell(letter);
        self.idem()
            .background()
            .finish(Box::pin(async move { shared.count_letters().await }));
    }
}
