//! How an attempt ended, brought to the ledger, and what the caller is told of it.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use super::blocking::block_on;
use super::cut;
use super::drive::Drive;
use super::flight::Seat;
use super::held::Held;
use crate::clock::BoxFuture;
use crate::error::Error;
use crate::idem::Idem;
use crate::ledger::LedgerError;
use crate::protocol::{AttemptOutcome, DeadLetterId, Failed, Reply, Step, StoredResult};

/// How an attempt ended, without its types.
pub(super) enum Report {
    /// With a result, or with one that cannot be turned into JSON.
    Returned {
        json: serde_json::Result<Vec<u8>>,
        found: bool,
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

/// What became of a report.
enum Reported {
    Recorded,
    /// There will be another attempt.
    Waiting,
    Dead(DeadLetterId),
    Refused(Error),
}

impl Drive {
    /// Reports how the attempt ended.
    pub(super) fn report(&mut self, report: Report) -> BoxFuture<'_, Told> {
        Box::pin(async {
            let (told, outcome) = match report {
                Report::Returned { json: Ok(json), found } => self.complete(json, found).await,
                Report::Returned { json: Err(problem), .. } => self.unstorable(&problem).await,
                failure => self.failed(failure).await,
            };
            match &told {
                Told::Again => {}
                Told::Own => self.tell(outcome),
                Told::Refuse(error) => self.tell(error.kind()),
            }
            told
        })
    }

    /// [`report`](Self::report) for a sync handler.
    pub(super) fn report_blocking(&mut self, report: Report) -> Told {
        block_on(self.report(report))
    }

    async fn complete(&mut self, json: Vec<u8>, found: bool) -> (Told, &'static str) {
        let outcome = if found { "existing" } else { "done" };
        let Some(held) = self.claimed.take() else { return (Told::Own, outcome) };
        self.ended(&held, outcome);
        let size = json.len();
        let json: Option<Arc<[u8]>> = (size <= self.idem().inner().limits.result).then(|| json.into());
        let result = json.clone().map_or(StoredResult::TooLarge(size as u64), StoredResult::Json);
        let told = match self.bring(Step::Complete { token: held.token, result }).await {
            Ok(Reply::Recorded) => {
                if let (Some(seat), Some(json)) = (self.seat.take(), json) {
                    seat.done(&json);
                }
                Told::Own
            }
            Ok(_) => Told::Refuse(self.lease_lost()),
            Err(problem) => Told::Refuse(self.unrecorded(problem)),
        };
        (told, outcome)
    }

    /// It happened, but nobody can be told what: it never runs again.
    async fn unstorable(&mut self, problem: &serde_json::Error) -> (Told, &'static str) {
        let problem = problem.to_string();
        let error = match self.fail(AttemptOutcome::ResultNotStorable, cut(problem.clone())).await {
            Reported::Refused(error) => error,
            _ => {
                let (handler, key) = self.site();
                let what = "the body returned, but its result cannot be turned into JSON, so the message is a dead \
                            letter and will not run again:";
                Error::Codec { handler, key, what: what.to_owned(), problem }
            }
        };
        (Told::Refuse(error), "")
    }

    async fn failed(&mut self, failure: Report) -> (Told, &'static str) {
        let attempt = self.claimed.as_ref().map_or(0, |held| held.number);
        let (handler, key) = self.site();
        // Where the body left no error of its own, this is what redelivery gives in its place.
        let (outcome, text, stands_in) = match failure {
            Report::Failed { permanent: true, text } => (AttemptOutcome::Permanent, text, None),
            Report::Failed { text, .. } => (AttemptOutcome::Failed, text, None),
            Report::TimedOut(limit) => {
                let text = format!("the body did not return within {limit:?}");
                (AttemptOutcome::TimedOut, text, Some(Error::TimedOut { handler, key, attempt, limit }))
            }
            Report::Panicked(message) => {
                let text = cut(message.clone());
                (AttemptOutcome::Panicked, text, Some(Error::Panicked { handler, key, attempt, message }))
            }
            Report::Returned { .. } => return (Told::Own, "done"),
        };
        let redeliver = self.handler().redeliver;
        let told = match (self.fail(outcome, text).await, stands_in) {
            (Reported::Refused(error), _) => Told::Refuse(error),
            (Reported::Waiting, _) if !redeliver => Told::Again,
            (_, None) => Told::Own,
            (Reported::Dead(letter), _) if !redeliver => Told::Refuse(self.dead(letter, false)),
            (_, Some(error)) => Told::Refuse(error),
        };
        (told, "failed")
    }

    /// Records that the attempt failed.
    async fn fail(&mut self, outcome: AttemptOutcome, error: String) -> Reported {
        let Some(held) = self.claimed.take() else { return Reported::Recorded };
        self.ended(&held, outcome.as_str());
        let (id, of) = (self.id(), self.handler().retries.saturating_add(1));
        tracing::warn!(handler = &*id.handler, key = &*id.key, attempt = held.number, of, %outcome, error,
            "attempt failed");
        let pause = self.handler().backoff.pause(held.number);
        let failed = Failed { token: held.token, outcome, error: Some(error), pause };
        match self.bring(Step::Fail(failed)).await {
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
    async fn bring(&mut self, step: Step) -> Result<Reply, LedgerError> {
        let (inner, id) = (Arc::clone(self.idem().inner()), self.id().clone());
        let mut reporting = Reporting {
            idem: self.idem().clone(),
            seat: self.seat.take(),
            work: Some(Box::pin(async move { inner.report(&id, step).await })),
        };
        let reply = poll_fn(|context| match &mut reporting.work {
            Some(work) => work.as_mut().poll(context),
            None => Poll::Pending,
        })
        .await;
        reporting.work = None;
        self.seat = reporting.seat.take();
        reply
    }

    pub(super) fn ended(&self, held: &Held, outcome: &'static str) {
        self.message.named.meters.attempt(outcome, held.since.elapsed());
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
