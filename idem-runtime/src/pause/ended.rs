//! What an attempt's end means for the gate of its handler.

use std::sync::Arc;

use super::gate::Gate;
use super::pass::Pass;
use super::row::Row;
use super::state::{Move, PauseCause, decide};
use crate::idem::Idem;
use crate::protocol::AttemptOutcome;

/// How an attempt ended that did not succeed.
pub(crate) struct Failure<'a> {
    pub(crate) outcome: AttemptOutcome,
    /// Whether the handler says which errors are outages.
    pub(crate) knows_outages: bool,
    /// Whether a consumer delivered the message.
    pub(crate) delivered: bool,
    pub(crate) key: &'a Arc<str>,
    pub(crate) error: &'a str,
}

/// What it shows.
enum Shown {
    /// What the body needs is down.
    Outage,
    /// It failed, and nothing says whose fault that is.
    Failure,
    /// It failed by itself: what it needs is there.
    Answer,
    /// It panicked or took too long, which `outage` is not asked about.
    Doubt,
    Nothing,
}

/// An attempt succeeded, and that is recorded.
#[inline]
pub(crate) fn succeeded(gate: &Gate, pass: Option<Box<Pass>>) {
    if pass.is_none() && gate.is_calm() {
        return;
    }
    gate.with(|inner| inner.row = Row::default());
    if let Some(pass) = pass {
        pass.shows(true);
    }
}

/// An attempt failed.
pub(crate) fn failed(
    idem: &Idem,
    gate: &Arc<Gate>,
    pass: Option<Box<Pass>>,
    failure: &Failure<'_>,
) {
    let Failure { key, error, .. } = *failure;
    let (rules, now) = (&idem.shared().pauses.rules, idem.shared().clock.now());
    let shown = failure.shown();
    let cause = match (&shown, &pass) {
        (Shown::Outage, _) => PauseCause::Outages,
        (Shown::Failure, _) => PauseCause::Failures,
        (Shown::Answer | Shown::Doubt, Some(by)) if by.is_probe() => {
            if let Some(pass) = pass {
                pass.shows(matches!(shown, Shown::Answer));
            }
            return;
        }
        _ => return,
    };
    let Some(pass) = pass else {
        if !gate.is_open() || (cause == PauseCause::Failures && !failure.delivered) {
            return;
        }
        let why = gate.with(|inner| match cause {
            PauseCause::Outages => inner.row.outage(key, error, rules),
            _ => inner.row.failure(key, error, now, rules),
        });
        if let Some(why) = why {
            let trip = Move::Trip { cause, why };
            if let Some(Some(stored)) = decide(&gate.handler, None, &trip, rules, now) {
                gate.learn(Some((stored, None)), now);
                go(idem, gate, Move::Write);
            }
        }
        return;
    };
    let relapses = pass.recovers()
        && match cause {
            PauseCause::Outages => true,
            _ => gate.with(|inner| {
                inner.row.failure(key, error, now, rules);
                inner.row.is_relapse()
            }),
        };
    pass.shows(false);
    if relapses {
        let why = format!("it failed again as it recovered: {error}");
        go(idem, gate, Move::Trip { cause, why });
    }
}

fn go(idem: &Idem, gate: &Arc<Gate>, step: Move) {
    let (shared, gate) = (Arc::clone(idem.shared()), Arc::clone(gate));
    idem.background().finish(Box::pin(async move {
        let pauses = &shared.pauses;
        pauses
            .goes(&*shared.ledger, &*shared.clock, &gate, &step)
            .await;
    }));
}

impl Failure<'_> {
    fn shown(&self) -> Shown {
        use AttemptOutcome::{Failed, Outage, Panicked, Permanent, TimedOut};
        match (self.outcome, self.knows_outages) {
            (Outage, _) => Shown::Outage,
            (Failed | Permanent, true) => Shown::Answer,
            (Failed | Panicked | TimedOut, false) => Shown::Failure,
            (Panicked | TimedOut, true) => Shown::Doubt,
            _ => Shown::Nothing,
        }
    }
}
