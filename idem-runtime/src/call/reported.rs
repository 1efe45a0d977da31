//! The ledger's answer to a report: what the caller and the delivery get.

use std::future::poll_fn;
use std::mem;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use super::blocking::block_on;
use super::machine::{Drive, State};
use super::recorded::Recorded;
use super::report::{AfterReport, PendingReport};
use crate::clock::until;
use crate::delivery::Verdict;
use crate::error::Error;
use crate::handler::RetryMode;
use crate::ledger::LedgerError;
use crate::pause;
use crate::protocol::{Reply, Step};

/// What the caller gets.
pub(super) enum CallerResult {
    /// Nothing yet: there is another attempt.
    Retry,
    /// The body's own result or error.
    Own,
    /// The result that another process recorded first.
    Replay(Recorded),
    Refuse(Error),
}

impl Drive {
    /// Waits for the ledger's answer, and returns what the caller gets.
    pub(super) fn poll_caller_result(&mut self, context: &mut Context<'_>) -> Poll<CallerResult> {
        let State::Reporting(report) = &mut self.state else {
            return Poll::Ready(CallerResult::Own);
        };
        let reply = ready!(report.answer.as_mut().poll(context));
        let State::Reporting(PendingReport { step, after, .. }) =
            mem::replace(&mut self.state, State::Asking)
        else {
            return Poll::Ready(CallerResult::Own);
        };
        if let Ok(Reply::DeadLettered(letter)) = &reply {
            self.died(letter);
        }
        let shared = self.idem().shared();
        if matches!(&after, AfterReport::Done { sends: true, .. }) {
            shared.outbox.notify();
        }
        let is_whole = matches!(step, Step::Attempt(_));
        shared.keep_unreported(self.id(), step, &reply);
        let reply = match reply {
            Ok(reply) if is_whole && was_overtaken(&reply, &after) => {
                let result = self.overtaken(reply);
                if let CallerResult::Refuse(error) = &result {
                    self.refused(error);
                }
                return Poll::Ready(result);
            }
            reply => reply,
        };
        let pass = self.pass.take();
        if matches!(
            (&after, &reply),
            (AfterReport::Done { .. }, Ok(Reply::Recorded))
        ) {
            pause::succeeded(&self.request.named.gate, pass);
        }
        let verdict = self.counted.is_some().then(|| match after {
            AfterReport::Released => Verdict::passed_on(),
            _ => self.verdict(&reply),
        });
        let (result, outcome) = self.caller_result(reply, after);
        match &result {
            CallerResult::Retry | CallerResult::Replay(_) => return Poll::Ready(result),
            CallerResult::Own => self.count_call(outcome),
            CallerResult::Refuse(error) => self.count_call(error.kind().as_str()),
        }
        if let Some(verdict) = verdict {
            self.set_verdict(|| verdict);
        }
        Poll::Ready(result)
    }

    /// What the ledger's answer to a report means for the delivery, should this be the call's end.
    fn verdict(&self, reply: &Result<Reply, LedgerError>) -> Verdict {
        match reply {
            Ok(Reply::Recorded | Reply::DeadLettered(_) | Reply::Dead { .. }) => Verdict::Settled,
            Ok(Reply::Waiting { at }) => Verdict::Again {
                after: until(*at, self.idem().shared().clock.now()),
            },
            Ok(_) => Verdict::passed_on(),
            Err(_) => Verdict::unrecorded(),
        }
    }

    /// [`poll_caller_result`](Self::poll_caller_result) for a sync handler.
    pub(super) fn caller_result_blocking(&mut self) -> CallerResult {
        block_on(poll_fn(|context| self.poll_caller_result(context)))
    }

    /// What the caller gets, and how the call is counted where that is the body's own.
    fn caller_result(
        &mut self,
        reply: Result<Reply, LedgerError>,
        after: AfterReport,
    ) -> (CallerResult, &'static str) {
        use AfterReport::{Done, Failed, Outage, Released, Unwritable};
        use Reply::{Dead, DeadLettered, Waiting};
        let inline = self.handler().retry == RetryMode::Inline;
        let after = match (after, &reply) {
            // Its transaction was not committed, and that is what was recorded.
            (Done { away, .. }, Ok(Waiting { .. } | DeadLettered(_) | Dead { .. })) => {
                let error = Some(self.not_committed());
                match away {
                    Some(away) if away.load(Ordering::Acquire) => Outage(error),
                    _ => Failed(error),
                }
            }
            (after, _) => after,
        };
        let result = match (after, reply) {
            (_, Err(problem)) => CallerResult::Refuse(self.unrecorded(problem)),
            (
                Done {
                    recorded, outcome, ..
                },
                Ok(Reply::Recorded),
            ) => {
                if let (Some(leader), Some(recorded)) = (self.leader.take(), recorded) {
                    leader.done(&recorded);
                }
                return (CallerResult::Own, outcome);
            }
            (Released, Ok(Reply::Recorded)) => return (CallerResult::Own, "released"),
            (Failed(_), Ok(Waiting { at })) if inline => {
                self.sleep_until(at);
                CallerResult::Retry
            }
            (Failed(None) | Outage(None), Ok(Waiting { .. } | DeadLettered(_) | Dead { .. })) => {
                CallerResult::Own
            }
            (Failed(Some(_)), Ok(DeadLettered(letter))) if inline => {
                CallerResult::Refuse(self.dead(letter.id, false))
            }
            (Failed(Some(_)), Ok(Dead { letter, .. })) if inline => {
                CallerResult::Refuse(self.dead(letter, false))
            }
            (
                Failed(Some(error)) | Outage(Some(error)) | Unwritable(error),
                Ok(Waiting { .. } | DeadLettered(_) | Dead { .. }),
            ) => CallerResult::Refuse(error),
            (_, Ok(_)) => CallerResult::Refuse(self.lease_lost()),
        };
        (result, "failed")
    }
}

/// Whether the report of an attempt without a claim was answered as its claim, because another
/// process was first.
fn was_overtaken(reply: &Reply, after: &AfterReport) -> bool {
    use Reply::{Busy, Dead, KeyReused, LeaseLost, NotYet, Replay};
    match reply {
        Replay { .. } | Busy { .. } | NotYet { .. } | KeyReused | LeaseLost => true,
        Dead { .. } => matches!(after, AfterReport::Done { .. }),
        _ => false,
    }
}
