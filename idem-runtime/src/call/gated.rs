//! A call of a handler that is paused: what is settled is answered as ever, and what would run is let
//! through or turned away.

use std::sync::Arc;

use super::machine::{Drive, Wait, Waited};
use crate::handler::Handler;
use crate::ledger::Leases;
use crate::pause::{Admitted, admit};
use crate::protocol::{Change, DeadLetterId, Decision, Facts, Reply, decide_claim};

impl Drive {
    /// Looks at the record, and asks the handler's gate if the message would run.
    pub(super) fn at_the_gate(&self) -> Wait {
        let (idem, id) = (self.idem().clone(), self.id().clone());
        let (named, claim) = (Arc::clone(&self.request.named), self.request.claim.clone());
        Box::pin(async move {
            let shared = idem.shared();
            let record = shared.ledger.record(&id).await?;
            let now = shared.clock.now();
            let no_letter = DeadLetterId::from_bytes([0; 16]);
            let facts = Facts::new(now, 0, no_letter, Arc::clone(&shared.instance))
                .leases(shared.leases != Leases::None);
            let Decision { record, reply, .. } = decide_claim(&id, record, &claim, &facts);
            let waits = matches!(reply, Reply::NotYet { .. });
            if record == Change::Keep && !(waits && named.gate.closed(now).is_some()) {
                return Ok(Waited::Answered(reply));
            }
            let Handler { timeout, lease, .. } = *named.handler;
            let term = timeout.unwrap_or(lease).max(lease);
            Ok(match admit(&idem, &named.gate, term).await? {
                Admitted::Open => Waited::Elapsed,
                Admitted::With(pass) => Waited::LetIn(pass),
                Admitted::No(away) => Waited::TurnedAway(away),
            })
        })
    }
}
