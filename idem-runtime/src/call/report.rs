//! How an attempt ended, brought to the ledger, and what the caller is told of it.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use super::blocking::block_on;
use super::body::Left;
use super::cut;
use super::held::Held;
use super::machine::{Answer, Drive};
use crate::clock::until;
use crate::delivery::Verdict;
use crate::error::Error;
use crate::idem::Inner;
use crate::ledger::LedgerError;
use crate::outbox;
use crate::protocol::{AttemptOutcome, Failed, RecordId, Reply, Step, StoredResult};

/// How an attempt ended, without its types.
pub(super) enum Report {
    /// With a result as it is recorded, or with one that cannot be.
    Returned {
        json: Result<Vec<u8>, String>,
        left: Left,
    },
    Failed {
        permanent: bool,
        text: String,
    },
    Panicked(String),
    TimedOut(Duration),
}

/// What the caller is told.
pub(super) enum Told {
    /// Nothing yet: there will be another attempt.
    Again,
    /// What the body left.
    Own,
    Refuse(Error),
}

/// A report on its way.
pub(super) struct Reporting {
    step: Step,
    answer: Answer,
    then: Then,
}

/// What follows once it has arrived.
enum Then {
    /// The caller and those who wait get the result.
    Done {
        json: Option<Arc<[u8]>>,
        outcome: &'static str,
    },
    /// The caller hears what is wrong with the result.
    Unwritable(String),
    /// There is another attempt, or the caller gets the body's error; this in its place, where it
    /// left none.
    Failed(Option<Error>),
    /// Nobody is there any more.
    Dropped,
}

impl Reporting {
    fn new(inner: &Inner, id: &RecordId, step: Step, then: Then) -> Self {
        Self {
            answer: inner.ledger.apply(id, step.clone()),
            step,
            then,
        }
    }

    /// A report for a call that was dropped.
    pub(super) fn dropped(inner: &Inner, id: &RecordId, step: Step) -> Self {
        Self::new(inner, id, step, Then::Dropped)
    }

    /// Sees to it that it arrives, now or later, when nobody is there any more.
    pub(super) async fn arrive(self, inner: &Inner, id: &RecordId) {
        let reply = inner.heard(self.answer.await).await;
        inner.keep_unreported(id, self.step, &reply);
    }
}

impl Drive {
    /// Begins to report how the attempt ended. From now on the report arrives, even when the call
    /// is dropped.
    pub(super) fn report(&mut self, report: Report) {
        let Some(held) = self.claimed.take() else {
            return;
        };
        let (outcome, text, then) = match report {
            Report::Returned {
                json: Ok(json),
                left,
            } => return self.complete(held, json, left),
            Report::Returned {
                json: Err(problem), ..
            } => (
                AttemptOutcome::ResultNotStorable,
                problem.clone(),
                Then::Unwritable(problem),
            ),
            Report::Failed {
                permanent: true,
                text,
            } => (AttemptOutcome::Permanent, text, Then::Failed(None)),
            Report::Failed {
                permanent: false,
                text,
            } => (AttemptOutcome::Failed, text, Then::Failed(None)),
            Report::Panicked(message) => {
                let error = self.panicked(held.number, message.clone());
                (AttemptOutcome::Panicked, message, Then::Failed(Some(error)))
            }
            Report::TimedOut(limit) => {
                let error = self.timed_out(held.number, limit);
                let text = format!("the body did not return within {limit:?}");
                (AttemptOutcome::TimedOut, text, Then::Failed(Some(error)))
            }
        };
        self.ended(&held, outcome.as_str());
        let (text, id, of) = (
            cut(text),
            self.id(),
            self.handler().retries.saturating_add(1).max(held.number),
        );
        tracing::warn!(handler = &*id.handler, key = &*id.key, attempt = held.number, of, %outcome, error = text,
            "attempt failed");
        let pause = self.handler().backoff.pause(held.number);
        self.bring(
            Step::Fail(Failed {
                token: held.token,
                outcome,
                error: Some(text),
                pause,
            }),
            then,
        );
    }

    fn complete(&mut self, held: Held, json: Vec<u8>, left: Left) {
        let outcome = if left.found { "existing" } else { "done" };
        self.ended(&held, outcome);
        let size = json.len();
        let json: Option<Arc<[u8]>> =
            (size <= self.idem().inner().limits.result).then(|| json.into());
        let result = json
            .clone()
            .map_or(StoredResult::TooLarge(size as u64), StoredResult::Json);
        let then = Then::Done { json, outcome };
        let (token, inner) = (held.token, self.idem().inner());
        let now = inner.clock.now();
        let notes = left
            .outgoing
            .into_iter()
            .map(|message| outbox::note(outbox::new_id(), message, now));
        match notes.collect() {
            Ok(notes) => self.bring(
                Step::Complete {
                    token,
                    result,
                    notes,
                },
                then,
            ),
            Err(problem) => {
                let (text, outcome) = (problem.to_string(), AttemptOutcome::ResultNotStorable);
                let failed = Failed {
                    token,
                    outcome,
                    error: Some(text.clone()),
                    pause: Duration::ZERO,
                };
                self.bring(Step::Fail(failed), Then::Unwritable(text));
            }
        }
    }

    fn bring(&mut self, step: Step, then: Then) {
        self.reporting = Some(Reporting::new(self.idem().inner(), self.id(), step, then));
    }

    /// What the caller is told, once the report has arrived.
    pub(super) fn poll_told(&mut self, context: &mut Context<'_>) -> Poll<Told> {
        let Some(reporting) = &mut self.reporting else {
            return Poll::Ready(Told::Own);
        };
        let reply = ready!(reporting.answer.as_mut().poll(context));
        let Some(Reporting { step, then, .. }) = self.reporting.take() else {
            return Poll::Ready(Told::Own);
        };
        if let Ok(Reply::DeadLettered(letter)) = &reply {
            self.died(letter);
        }
        let inner = self.idem().inner();
        if matches!(&step, Step::Complete { notes, .. } if !notes.is_empty()) {
            inner.outbox.ring();
        }
        inner.keep_unreported(self.id(), step, &reply);
        let verdict = self.counted.is_some().then(|| self.verdict(&reply));
        let (told, outcome) = self.told(reply, then);
        match &told {
            Told::Again => return Poll::Ready(told),
            Told::Own => self.tell(outcome),
            Told::Refuse(error) => self.tell(error.kind()),
        }
        if let Some(verdict) = verdict {
            self.came_to(|| verdict);
        }
        Poll::Ready(told)
    }

    /// What the ledger's answer to a report means for the delivery, should this be the call's end.
    fn verdict(&self, reply: &Result<Reply, LedgerError>) -> Verdict {
        match reply {
            Ok(Reply::Recorded | Reply::DeadLettered(_) | Reply::Dead { .. }) => Verdict::Settled,
            Ok(Reply::Waiting { at }) => Verdict::Again {
                after: until(*at, self.idem().inner().clock.now()),
            },
            Ok(_) => Verdict::passed_on(),
            Err(_) => Verdict::unrecorded(),
        }
    }

    /// [`report`](Self::report) and [`poll_told`](Self::poll_told) for a sync handler.
    pub(super) fn report_blocking(&mut self, report: Report) -> Told {
        self.report(report);
        block_on(poll_fn(|context| self.poll_told(context)))
    }

    fn told(&mut self, reply: Result<Reply, LedgerError>, then: Then) -> (Told, &'static str) {
        let inline = !self.handler().redeliver;
        let told = match (then, reply) {
            (_, Err(problem)) => Told::Refuse(self.unrecorded(problem)),
            (Then::Done { json, outcome }, Ok(Reply::Recorded)) => {
                if let (Some(seat), Some(json)) = (self.seat.take(), json) {
                    seat.done(&json);
                }
                return (Told::Own, outcome);
            }
            (Then::Failed(_), Ok(Reply::Waiting { at })) if inline => {
                self.resume = Some(at);
                Told::Again
            }
            (
                Then::Failed(None),
                Ok(Reply::Waiting { .. } | Reply::DeadLettered(_) | Reply::Dead { .. }),
            ) => Told::Own,
            (Then::Failed(Some(_)), Ok(Reply::DeadLettered(letter))) if inline => {
                Told::Refuse(self.dead(letter.id, false))
            }
            (Then::Failed(Some(_)), Ok(Reply::Dead { letter, .. })) if inline => {
                Told::Refuse(self.dead(letter, false))
            }
            (
                Then::Failed(Some(error)),
                Ok(Reply::Waiting { .. } | Reply::DeadLettered(_) | Reply::Dead { .. }),
            ) => Told::Refuse(error),
            (
                Then::Unwritable(problem),
                Ok(Reply::Waiting { .. } | Reply::DeadLettered(_) | Reply::Dead { .. }),
            ) => Told::Refuse(self.unwritable(problem)),
            (_, Ok(_)) => Told::Refuse(self.lease_lost()),
        };
        (told, "failed")
    }

    pub(super) fn ended(&self, held: &Held, outcome: &'static str) {
        self.message
            .named
            .meters
            .attempt(outcome, held.since.elapsed());
    }
}
