//! What a call that the gate lets in holds until its attempt has ended.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::gate::{Entry, Gate, TurnedAway};
use super::state::{Move, PauseCause, PauseState};
use crate::clock::BoxFuture;
use crate::idem::Idem;
use crate::idem::background::Background;
use crate::idem::shared::Shared;
use crate::ledger::LedgerError;
use crate::protocol::{AttemptOutcome, OnCrash};

/// A call that the gate let in. Dropped, it shows nothing: another one is let through.
pub(crate) struct Pass {
    shared: Arc<Shared>,
    background: Background,
    gate: Arc<Gate>,
    kind: Kind,
}

enum Kind {
    /// One of a recovery.
    Slot,
    /// Let through to see, of all processes.
    Probe { id: String, cause: PauseCause },
    /// It has shown what it could.
    Ended,
}

/// The answer of a gate.
pub(crate) enum Admitted {
    Open,
    With(Box<Pass>),
    No(TurnedAway),
}

/// Asks the gate of a handler whether a call may run. If it is let through to see, and there is no
/// news of it within `term`, another one is.
pub(crate) fn admit(
    idem: &Idem,
    gate: &Arc<Gate>,
    term: Duration,
) -> BoxFuture<'static, Result<Admitted, LedgerError>> {
    let (shared, background) = (Arc::clone(idem.shared()), idem.background().clone());
    let now = shared.clock.now();
    let pass = |kind| {
        Box::new(Pass {
            shared: Arc::clone(&shared),
            background: background.clone(),
            gate: Arc::clone(gate),
            kind,
        })
    };
    let ready = match gate.enter(now) {
        Entry::Open => Admitted::Open,
        Entry::Slot => Admitted::With(pass(Kind::Slot)),
        Entry::Closed(away) => Admitted::No(away),
        Entry::Ask => {
            let id = format!("{}/{}", shared.instance, shared.next_nonce());
            let pass = pass(Kind::Ended);
            // It goes on when the call is dropped: then the pass is, too.
            let asking = background.run(ask(pass, id, term));
            return Box::pin(async move { asking.await? });
        }
    };
    Box::pin(std::future::ready(Ok(ready)))
}

/// Asks all processes to be the one that is let through.
async fn ask(mut pass: Box<Pass>, id: String, term: Duration) -> Result<Admitted, LedgerError> {
    let Pass { shared, gate, .. } = &*pass;
    let step = Move::Probe {
        prober: id.clone(),
        term,
    };
    let went = shared
        .pauses
        .go(&*shared.ledger, &*shared.clock, gate, &step)
        .await;
    gate.asked();
    match went? {
        Some(Some(stored)) => {
            let cause = stored.pause.cause;
            pass.kind = Kind::Probe { id, cause };
            Ok(Admitted::With(pass))
        }
        // Another process was first, or it is over.
        _ => match gate.closed(shared.clock.now()) {
            Some(away) => {
                gate.turns_away();
                Ok(Admitted::No(away))
            }
            None => Ok(Admitted::Open),
        },
    }
}

impl Pass {
    /// Returns whether the attempt is not charged though it did not meet what `outage` calls an
    /// outage: the message was let through to see whether others can run.
    pub(crate) fn spares(&self, outcome: AttemptOutcome, on_crash: OnCrash) -> bool {
        use AttemptOutcome::{Failed, Panicked, TimedOut};
        let Kind::Probe { cause, .. } = self.kind else {
            return false;
        };
        match outcome {
            TimedOut => on_crash == OnCrash::Rerun,
            Failed | Panicked => cause == PauseCause::Failures,
            _ => false,
        }
    }

    /// The attempt showed that the handler can run, or that it cannot.
    pub(crate) fn shows(mut self, runs: bool) {
        match std::mem::replace(&mut self.kind, Kind::Ended) {
            Kind::Probe { id: prober, .. } if runs => self.go(Move::Recover { prober }),
            Kind::Probe { id: prober, .. } => self.go(Move::Fail { prober }),
            Kind::Slot => {
                self.gate.leaves();
                if runs && self.gate.with(super::gate::Inner::grows) {
                    self.go(Move::Over);
                }
            }
            Kind::Ended => {}
        }
    }

    pub(super) fn is_probe(&self) -> bool {
        matches!(self.kind, Kind::Probe { .. })
    }

    /// Whether it is of a recovery that is still going on.
    pub(super) fn recovers(&self) -> bool {
        matches!(self.kind, Kind::Slot)
            && self.gate.with(|inner| {
                let held = inner.held.as_ref();
                held.is_some_and(|held| held.stored.pause.state == PauseState::Recovering)
            })
    }

    fn go(&self, step: Move) {
        let (shared, gate) = (Arc::clone(&self.shared), Arc::clone(&self.gate));
        self.background.finish(Box::pin(async move {
            let pauses = &shared.pauses;
            pauses
                .goes(&*shared.ledger, &*shared.clock, &gate, &step)
                .await;
        }));
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        match std::mem::replace(&mut self.kind, Kind::Ended) {
            Kind::Probe { id: prober, .. } => self.go(Move::Release { prober }),
            Kind::Slot => self.gate.leaves(),
            Kind::Ended => {}
        }
    }
}

impl fmt::Debug for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pass")
            .field("handler", &self.gate.handler)
            .finish_non_exhaustive()
    }
}
