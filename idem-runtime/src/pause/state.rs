//! The pause of a handler as the ledger keeps it, and its moves: one pure function.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::PauseRules;
use crate::clock::after;
use crate::protocol::Actor;

/// The pause of one handler.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Pause {
    /// The handler's name.
    pub handler: String,
    /// How far it is.
    pub state: PauseState,
    /// What began it.
    pub cause: PauseCause,
    /// When it began.
    pub since: Timestamp,
    /// Why it began, for people: the last error, or what the person said.
    pub why: String,
    /// The person who began it, if one did and gave a name.
    pub by: Option<String>,
    /// When the next message is let through to see. While one is, when the next one is if there is no
    /// news of it. `None` if no time is set: a person has to resume it, or it recovers.
    pub retry_at: Option<Timestamp>,
    /// How many calls were turned away: those of this process, and those of others as of their last
    /// write.
    pub turned_away: u64,
}

/// How far a pause is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PauseState {
    /// Nothing runs.
    Paused,
    /// One message of all processes runs, to see.
    Probing,
    /// That one succeeded. Each process runs one message at a time, then two, four, and so on.
    Recovering,
}

/// What began a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PauseCause {
    /// Attempts in a row met an outage, as `outage` said.
    Outages,
    /// Every message failed.
    Failures,
    /// A person said so.
    Person,
}

/// A pause as its note holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stored {
    #[serde(flatten)]
    pub(super) pause: Pause,
    /// Since when it is in its state.
    pub(super) at: Timestamp,
    /// How many messages were let through and failed.
    probes: u32,
    /// The one that is let through, while it is.
    prober: Option<String>,
}

/// A move of a pause.
#[derive(Debug, Clone)]
pub(super) enum Move {
    /// Too many failed in a row, or again in the recovery.
    Trip { cause: PauseCause, why: String },
    /// What this process knows is written, if it is not.
    Write,
    /// One message is let through. If there is no news of it for so long, another one is.
    Probe { prober: String, term: Duration },
    /// It ended without showing anything.
    Release { prober: String },
    /// It failed.
    Fail { prober: String },
    /// It succeeded.
    Recover { prober: String },
    /// Enough succeeded since.
    Over,
    /// A person pauses the handler.
    Hold(Actor),
    /// A person resumes it.
    Lift,
}

impl Stored {
    fn new(handler: &str, cause: PauseCause, why: String, now: Timestamp) -> Self {
        Self {
            pause: Pause {
                handler: handler.to_owned(),
                state: PauseState::Paused,
                cause,
                since: now,
                why,
                by: None,
                retry_at: None,
                turned_away: 0,
            },
            at: now,
            probes: 0,
            prober: None,
        }
    }

    fn into(mut self, state: PauseState, retry_at: Option<Timestamp>, now: Timestamp) -> Self {
        (self.pause.state, self.pause.retry_at, self.prober) = (state, retry_at, None);
        self.at = now;
        self
    }

    /// Returns whether one message may be let through now.
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        let waits = self.pause.state != PauseState::Recovering;
        waits && self.pause.retry_at.is_some_and(|at| at <= now)
    }

    fn is_prober(&self, id: &str) -> bool {
        self.pause.state == PauseState::Probing && self.prober.as_deref() == Some(id)
    }

    fn is_in(&self, state: PauseState) -> bool {
        self.pause.state == state
    }
}

/// Decides a move: what the pause is then, or `None` within if there is none. Returns `None` if the
/// pause has gone on, so that the move means nothing any more.
pub(super) fn decide(
    handler: &str,
    known: Option<Stored>,
    step: &Move,
    rules: &PauseRules,
    now: Timestamp,
) -> Option<Option<Stored>> {
    use PauseState::{Paused, Probing, Recovering};
    let again = |known: Stored| {
        let probes = known.probes.saturating_add(1);
        let retry_at = after(now, rules.wait_after(probes));
        let known = Stored { probes, ..known };
        known.into(Paused, Some(retry_at), now)
    };
    let next = match (step, known) {
        (Move::Trip { cause, why }, None) => {
            let retry_at = after(now, rules.wait_after(0));
            Stored::new(handler, *cause, why.clone(), now).into(Paused, Some(retry_at), now)
        }
        (Move::Trip { why, .. }, Some(mut known)) if known.is_in(Recovering) => {
            known.pause.why.clone_from(why);
            again(known)
        }
        (Move::Probe { prober, term }, Some(known)) if known.is_due(now) => {
            let mut next = known.into(Probing, Some(after(now, *term)), now);
            next.prober = Some(prober.clone());
            next
        }
        (Move::Release { prober }, Some(known)) if known.is_prober(prober) => {
            known.into(Paused, Some(now), now)
        }
        (Move::Fail { prober }, Some(known)) if known.is_prober(prober) => again(known),
        (Move::Recover { prober }, Some(known)) if known.is_prober(prober) => {
            known.into(Recovering, None, now)
        }
        (Move::Over, Some(known)) if known.is_in(Recovering) => return Some(None),
        (Move::Hold(by), known) => {
            let why = by.why.clone();
            let why = why.unwrap_or_else(|| "a person paused it".to_owned());
            let mut next = Stored::new(handler, PauseCause::Person, why, now);
            next.pause.by.clone_from(&by.who);
            next.pause.turned_away = known.map_or(0, |known| known.pause.turned_away);
            next
        }
        (Move::Lift, Some(_)) => return Some(None),
        _ => return None,
    };
    Some(Some(next))
}
