//! An attempt whose claim is not written before its body: it is decided by what is read, and recorded
//! with the attempt's end.

use super::lease::Renewed;
use super::machine::{Drive, Next, State};
use super::reported::CallerResult;
use crate::clock::until;
use crate::handler::{ClaimMode, Handler, RetryMode};
use crate::ledger::{Begun, LedgerError};
use crate::protocol::{Claim, Foreseen, Grant, Record, Reply, Seen, Step, WholeAttempt};

/// What an attempt runs by that has no claim in the ledger.
#[derive(Clone)]
pub(super) struct Unclaimed {
    claim: Claim,
    grant: Grant,
    seen: Seen,
}

impl Unclaimed {
    /// Returns the report together with the claim.
    pub(super) fn whole(self, report: Step) -> Step {
        let Self { claim, grant, seen } = self;
        Step::Attempt(Box::new(WholeAttempt::new(claim, grant, seen, report)))
    }
}

impl Drive {
    /// Whether the claim may be written with the attempt's end, as far as the record allows it.
    pub(super) fn may_claim_later(&self) -> bool {
        match self.handler().claims {
            _ if self.claims_first => false,
            ClaimMode::First => false,
            ClaimMode::WithResult => true,
            // A call without a delivery may be one that its client repeats, and nothing says so.
            ClaimMode::WithResultIfFresh => {
                let origin = self.request.claim.origin.as_ref();
                origin.and_then(|origin| origin.redelivered) == Some(false)
            }
        }
    }

    /// Goes on with what the claim would come to.
    pub(super) fn foresaw(
        &mut self,
        foreseen: Result<(Foreseen, Begun), LedgerError>,
    ) -> Option<Next> {
        let fresh_only = self.handler().claims == ClaimMode::WithResultIfFresh;
        let came_before = |seen: &Seen| matches!(seen.record, Some(Record::Live(_)));
        match foreseen {
            Ok((Foreseen::Run(grant, seen), begun)) if !(fresh_only && came_before(&seen)) => {
                let claim = self.request.claim.clone();
                self.unclaimed = Some(Box::new(Unclaimed { claim, grant, seen }));
                self.begun = begun;
                let renewed = Renewed::unclaimed(self.idem());
                Some(self.run(grant, renewed))
            }
            Ok((Foreseen::Run(..) | Foreseen::Claim, _)) => {
                self.claims_first = true;
                None
            }
            Ok((Foreseen::Answer(reply), _)) => self.answered(Ok(reply)),
            // Nothing was asked for that could have been written.
            Err(problem) => Some(Next::Refuse(self.no_ledger(problem))),
        }
    }

    /// Goes on where another process was first, so that the attempt was not recorded, with what its
    /// claim is answered now.
    pub(super) fn overtaken(&mut self, reply: Reply) -> CallerResult {
        // Each time once more would have no end.
        self.claims_first = true;
        let Handler { retry, retries, .. } = *self.handler();
        let runs_again = retry == RetryMode::Inline && retries > 0;
        match reply {
            Reply::LeaseLost if runs_again => CallerResult::Retry,
            Reply::Busy { .. } | Reply::NotYet { .. } if runs_again => {
                self.state = State::Claiming(Box::pin(std::future::ready(Ok(reply))));
                CallerResult::Retry
            }
            // What the body takes is used up.
            Reply::LeaseLost => CallerResult::Refuse(self.lease_lost()),
            Reply::Busy { .. } => CallerResult::Refuse(self.in_progress()),
            Reply::NotYet { at } => {
                let after = until(at, self.idem().shared().clock.now());
                CallerResult::Refuse(self.not_yet(after))
            }
            Reply::KeyReused => CallerResult::Refuse(self.reused()),
            reply => match self.answered(Ok(reply)) {
                Some(Next::Replay(recorded)) => CallerResult::Replay(recorded),
                Some(Next::Refuse(error)) => CallerResult::Refuse(error),
                Some(Next::Run) | None => CallerResult::Retry,
            },
        }
    }

    /// Returns a report as it is made: together with the claim, if that is not written.
    pub(super) fn whole(&mut self, report: Step) -> Step {
        match self.unclaimed.take() {
            Some(unclaimed) => unclaimed.whole(report),
            None => report,
        }
    }
}
