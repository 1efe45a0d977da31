//! Reports to the ledger how an attempt ended, and returns what the caller gets.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use tracing::Span;

use super::body::Artifacts;
use super::cut;
use super::machine::{Answer, Drive, State};
use super::recorded::Recorded;
use super::transaction::{CarriedEnd, commit};
use super::unclaimed::Unclaimed;
use crate::error::Error;
use crate::handler::Handler;
use crate::idem::shared::Shared;
use crate::outbox;
use crate::pause::{self, Failure};
use crate::protocol::{AttemptOutcome, Failed, Grant, NoteChange, RecordId, Step, StoredResult};
use crate::trace;

/// How an attempt ended, without its types.
pub(super) enum AttemptResult {
    /// With the result as it is recorded, or with why it cannot be recorded.
    Returned {
        json: Result<Vec<u8>, String>,
        artifacts: Artifacts,
    },
    Failed {
        outcome: AttemptOutcome,
        text: String,
    },
    /// The message was not taken, and the key is as before the claim.
    Released,
    Panicked(String),
    TimedOut(Duration),
    LostLease,
}

/// A report that the ledger has not answered yet.
pub(super) struct PendingReport {
    pub(super) step: Step,
    pub(super) answer: Answer,
    pub(super) after: AfterReport,
}

/// What follows the answer.
pub(super) enum AfterReport {
    /// The caller and the followers get the result.
    Done {
        recorded: Option<Recorded>,
        outcome: &'static str,
        /// Whether messages go into the outbox with it.
        sends: bool,
        /// Set where the ledger was away as the attempt's transaction was to be committed, once too
        /// often for another attempt in this call.
        away: Option<Arc<AtomicBool>>,
    },
    /// The caller gets why the result cannot be recorded.
    Unwritable(Error),
    /// There is another attempt, or the caller gets the body's error, or this one where the body
    /// returned none.
    Failed(Option<Error>),
    /// The caller gets the body's error, and the key is free.
    Released,
    /// The call ends, whatever its mode, with the body's error, or this one where the body returned
    /// none: what it needs is down.
    Outage(Option<Error>),
    /// The caller is gone.
    Dropped,
}

impl PendingReport {
    #[inline]
    fn new(shared: &Shared, id: &RecordId, step: Step, after: AfterReport) -> Self {
        Self {
            answer: shared.ledger.apply(id, step.clone()),
            step,
            after,
        }
    }

    /// The report of a call that was dropped.
    pub(super) fn dropped(shared: &Shared, id: &RecordId, step: Step) -> Self {
        Self::new(shared, id, step, AfterReport::Dropped)
    }

    /// Waits for the answer, and keeps the report for later where there was none.
    pub(super) async fn arrive(self, shared: &Shared, id: &RecordId) {
        let reply = shared.heard(self.answer.await).await;
        shared.keep_unreported(id, self.step, &reply);
    }
}

impl Drive {
    /// Begins to report how the attempt ended. From here on the report arrives, even when the call
    /// is dropped.
    pub(super) fn report(&mut self, result: AttemptResult) {
        let State::Running { grant, since, .. } = self.state else {
            return;
        };
        let Grant { token, number, .. } = grant;
        let (outcome, text, after) = match result {
            AttemptResult::Returned {
                json: Ok(json),
                artifacts,
            } => return self.complete(grant, since, json, artifacts),
            AttemptResult::Returned {
                json: Err(problem), ..
            } => (
                AttemptOutcome::ResultNotStorable,
                problem.clone(),
                AfterReport::Unwritable(self.unwritable(problem)),
            ),
            AttemptResult::Released => {
                self.count_attempt(since, "released");
                return self.send(Step::GiveBack { token }, AfterReport::Released);
            }
            AttemptResult::Failed { outcome, text } => (outcome, text, AfterReport::Failed(None)),
            AttemptResult::Panicked(message) => {
                let error = self.panicked(number, message.clone());
                (
                    AttemptOutcome::Panicked,
                    message,
                    AfterReport::Failed(Some(error)),
                )
            }
            AttemptResult::TimedOut(limit) => {
                let error = self.timed_out(number, limit);
                let text = format!("the body did not return within {limit:?}");
                (
                    AttemptOutcome::TimedOut,
                    text,
                    AfterReport::Failed(Some(error)),
                )
            }
            AttemptResult::LostLease => {
                let error = self.lease_lost();
                let text = "the lease was lost while the body ran".to_owned();
                (
                    AttemptOutcome::LeaseLapsed,
                    text,
                    AfterReport::Failed(Some(error)),
                )
            }
        };
        let pass = self.pass.take();
        let spared = pass.as_ref();
        let spared = spared.is_some_and(|pass| pass.spares(outcome, self.handler().on_crash));
        let outcome = if spared {
            AttemptOutcome::Outage
        } else {
            outcome
        };
        let after = match (outcome, after) {
            (AttemptOutcome::Outage, AfterReport::Failed(error)) => AfterReport::Outage(error),
            (_, after) => after,
        };
        self.count_attempt(since, outcome.as_str());
        let text = cut(text);
        let failure = Failure {
            outcome,
            knows_outages: self.knows_outages,
            delivered: self.counted.is_some(),
            key: &self.id().key,
            error: &text,
        };
        pause::failed(self.idem(), &self.request.named.gate, pass, &failure);
        let (id, of) = (
            self.id(),
            self.handler().retries.saturating_add(1).max(number),
        );
        let log = &self.idem().shared().log;
        log.attempt_failed(id, number, of, outcome, &text);
        let failed = Failed {
            token,
            outcome,
            error: Some(text),
            pause: pause_after(self.handler(), grant),
        };
        self.send(Step::Fail(failed), after);
    }

    fn complete(&mut self, grant: Grant, since: Instant, json: Vec<u8>, artifacts: Artifacts) {
        let Grant { token, .. } = grant;
        let outcome = if artifacts.found_existing {
            "existing"
        } else {
            "done"
        };
        let ran = trace::span::of(&self.span).map(|span| span.parent());
        let trace = ran.or(self.request.claim.trace);
        self.count_attempt(since, outcome);
        let shared = self.idem().shared();
        let (size, now) = (json.len(), shared.clock.now());
        let recorded = (size <= shared.limits.result).then(|| Recorded {
            json: json.into(),
            at: now,
            version: self.handler().version,
            trace,
        });
        let result = match recorded.clone() {
            Some(Recorded {
                json,
                version,
                trace,
                ..
            }) => StoredResult::Json {
                json,
                version,
                trace,
            },
            None => StoredResult::TooLarge(size as u64),
        };
        let notes = artifacts
            .outgoing
            .into_iter()
            .map(|message| outbox::note(outbox::new_id(), message, now));
        let failed = |outcome, error: &str, pause| Failed {
            token,
            outcome,
            error: Some(error.to_owned()),
            pause,
        };
        let notes: Vec<NoteChange> = match notes.collect() {
            Ok(notes) => notes,
            Err(problem) => {
                let text = problem.to_string();
                let failed = failed(AttemptOutcome::ResultNotStorable, &text, Duration::ZERO);
                let error = self.unwritable(text);
                return self.send(Step::Fail(failed), AfterReport::Unwritable(error));
            }
        };
        // A connection that breaks once is tried again in place.
        let last = grant.outages >= self.handler().retries;
        let away = last && matches!(artifacts.carried, CarriedEnd::Open(_));
        let away = away.then(Arc::<AtomicBool>::default);
        let after = AfterReport::Done {
            recorded,
            outcome,
            sends: !notes.is_empty(),
            away: away.clone(),
        };
        let step = Step::Complete {
            token,
            result,
            notes,
        };
        let handler = self.handler();
        let not_committed = |outcome, why: &str| failed(outcome, why, pause_after(handler, grant));
        match artifacts.carried {
            // What the body did is not undone if it runs again.
            CarriedEnd::Nothing if self.unclaimed.is_some() && !artifacts.found_existing => {
                let error = self.no_transaction();
                let text = "the body returned without having called `transaction()`";
                let failed = failed(AttemptOutcome::ResultNotStorable, text, Duration::ZERO);
                self.send(Step::Fail(failed), AfterReport::Unwritable(error));
            }
            CarriedEnd::Nothing => self.send(step, after),
            CarriedEnd::Open(transaction) => {
                // It is brought again only if the ledger did not answer.
                let unknown = not_committed(
                    AttemptOutcome::Outage,
                    "it is not known whether the transaction was committed",
                );
                let (shared, id) = (Arc::clone(self.idem().shared()), self.id().clone());
                let unclaimed = self.unclaimed.take();
                let whole = move |report| match &unclaimed {
                    Some(unclaimed) => Unclaimed::clone(unclaimed).whole(report),
                    None => report,
                };
                let step = whole(step);
                self.state = State::Reporting(PendingReport {
                    step: whole(Step::Fail(unknown.clone())),
                    answer: Box::pin(commit(shared, id, transaction, step, unknown, whole, away)),
                    after,
                });
            }
            CarriedEnd::StillUsed => {
                let failed = not_committed(
                    AttemptOutcome::NotCommitted,
                    "a task of the body still used the transaction",
                );
                let error = self.not_committed();
                self.send(Step::Fail(failed), AfterReport::Failed(Some(error)));
            }
        }
    }

    #[inline]
    fn send(&mut self, step: Step, after: AfterReport) {
        let step = self.whole(step);
        let report = PendingReport::new(self.idem().shared(), self.id(), step, after);
        self.state = State::Reporting(report);
    }

    pub(super) fn count_attempt(&mut self, since: Instant, outcome: &'static str) {
        trace::span::attempted(&mem::replace(&mut self.span, Span::none()), outcome);
        self.request.named.meters.attempt(outcome, since.elapsed());
    }
}

/// Returns the pause after an attempt that failed, which grows with outages, too.
fn pause_after(handler: &Handler, grant: Grant) -> Duration {
    let Grant {
        number, outages, ..
    } = grant;
    handler.backoff.pause(number.saturating_add(outages))
}
