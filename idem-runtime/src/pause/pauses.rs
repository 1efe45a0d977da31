//! The pauses of an Idem: a gate for each handler, and the notes in which replicas keep them
//! together.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use parking_lot::RwLock;

use super::PauseRules;
use super::gate::Gate;
use super::state::{Move, Pause, PauseState, Stored, decide};
use crate::clock::{Clock, after};
use crate::ledger::{Leases, Ledger, LedgerError};
use crate::protocol::{ExpectedNote, NoteChange};

/// The prefix of the notes.
const NOTES: &str = "pause/";
/// The longest name that a note's key holds as it is.
const LONGEST: usize = 190;
/// A recovery without a failure is over after so long, however few messages came.
const RECOVERED: Duration = Duration::from_secs(30);
/// How many notes are read at a time.
const PAGE: usize = 256;
/// How often a move is decided again because another process was first.
const TRIES: usize = 8;

/// The gates of an Idem, by their handlers' names.
#[derive(Debug, Default)]
pub(crate) struct Pauses {
    pub(super) rules: PauseRules,
    gates: RwLock<HashMap<Arc<str>, Arc<Gate>, RandomState>>,
    /// Held while notes are read or written: what was read before a write must not be taken over
    /// after it.
    notes: tokio::sync::Mutex<()>,
}

impl Pauses {
    pub(crate) fn new(rules: PauseRules) -> Self {
        Self {
            rules,
            ..Self::default()
        }
    }

    /// Returns the gate of a handler, which need not be one of this process.
    pub(crate) fn gate(&self, handler: &str) -> Arc<Gate> {
        if let Some(gate) = self.gates.read().get(handler) {
            return Arc::clone(gate);
        }
        let name: Arc<str> = handler.into();
        let mut gates = self.gates.write();
        let gate = gates
            .entry(name)
            .or_insert_with_key(|name| Arc::new(Gate::new(Arc::clone(name))));
        Arc::clone(gate)
    }

    /// Makes a move of a handler's pause, and returns what it is then; `None` if the move means
    /// nothing any more.
    pub(super) async fn go(
        &self,
        ledger: &dyn Ledger,
        clock: &dyn Clock,
        gate: &Gate,
        step: &Move,
    ) -> Result<Option<Option<Stored>>, LedgerError> {
        let _notes = self.notes.lock().await;
        let key = key_of(&gate.handler);
        for _ in 0..TRIES {
            let now = clock.now();
            let (known, note, turned_away) = gate.with(|inner| {
                let held = inner.held.as_ref();
                let known = held.map(|held| held.stored.clone());
                let note = held.and_then(|held| held.note.clone());
                (known, note, inner.turned_away)
            });
            let decided = match (step, known) {
                (Move::Write, known @ Some(_)) if note.is_none() => Some(known),
                (_, known) => decide(&gate.handler, known, step, &self.rules, now),
            };
            let Some(mut next) = decided else {
                return Ok(None);
            };
            if let Some(next) = &mut next {
                next.pause.turned_away += turned_away;
            }
            let expected = match note {
                Some(note) => ExpectedNote::value(&*key, note),
                None => ExpectedNote::absent(&*key),
            };
            let (change, note) = match &next {
                Some(stored) => {
                    let note = serde_json::to_vec(stored)
                        .map_err(|error| LedgerError::Other(error.to_string()))?;
                    (NoteChange::put(&*key, note.clone()), Some(note))
                }
                None => (NoteChange::delete(&*key), None),
            };
            if ledger.write_notes(vec![change], vec![expected]).await? {
                if next.is_some() {
                    gate.with(|inner| inner.turned_away -= turned_away);
                }
                gate.learn(next.clone().map(|stored| (stored, note)), now);
                return Ok(Some(next));
            }
            let notes = ledger.notes(&key, None, 1).await?;
            let other = notes.into_iter().find(|note| *note.key == *key);
            gate.learn(other.and_then(|note| read(note.value)), now);
        }
        Ok(None)
    }

    /// Reads all pauses, and takes them over.
    pub(crate) async fn read(
        &self,
        ledger: &dyn Ledger,
        clock: &dyn Clock,
    ) -> Result<(), LedgerError> {
        let _notes = self.notes.lock().await;
        let (mut found, mut last) = (HashMap::<_, _, RandomState>::default(), None);
        loop {
            let notes = ledger.notes(NOTES, last.as_deref(), PAGE).await?;
            let full = notes.len() == PAGE;
            last = notes.last().map(|note| note.key.clone());
            let read = notes.into_iter().filter_map(|note| read(note.value));
            found.extend(read.map(|read| (read.0.pause.handler.clone(), read)));
            if !full {
                break;
            }
        }
        let now = clock.now();
        for gate in self.all() {
            let read = found.remove(&*gate.handler);
            let changed = gate.with(|inner| match (&inner.held, &read) {
                (Some(held), Some((_, note))) => held.note != *note,
                // One that is not written yet is not over.
                (Some(held), None) => held.note.is_some(),
                (None, read) => read.is_some(),
            });
            if changed {
                gate.learn(read, now);
            }
        }
        for (handler, read) in found {
            self.gate(&handler).learn(Some(read), now);
        }
        Ok(())
    }

    /// Lets the message that a dead process tried be tried again at once, where no other process can
    /// be alive.
    pub(crate) fn recover(&self, leases: Leases, clock: &dyn Clock) {
        if leases != Leases::None {
            return;
        }
        for gate in self.all() {
            gate.with(|inner| {
                if let Some(held) = &mut inner.held
                    && held.stored.pause.state == PauseState::Probing
                {
                    held.stored.pause.retry_at = Some(clock.now());
                }
            });
        }
    }

    /// Ends recoveries whose time is over, and writes pauses that could not be written.
    pub(super) async fn tend(&self, ledger: &dyn Ledger, clock: &dyn Clock) {
        for gate in self.all() {
            let now = clock.now();
            let step = gate.with(|inner| {
                let held = inner.held.as_ref()?;
                let Stored { pause, at, .. } = &held.stored;
                let recovers = pause.state == PauseState::Recovering;
                match held.note {
                    None => Some(Move::Write),
                    Some(_) => (recovers && now >= after(*at, RECOVERED)).then_some(Move::Over),
                }
            });
            if let Some(step) = step {
                self.goes(ledger, clock, &gate, &step).await;
            }
        }
    }

    /// [`go`](Self::go) where nothing waits for the answer: trouble with the ledger is logged.
    pub(super) async fn goes(
        &self,
        ledger: &dyn Ledger,
        clock: &dyn Clock,
        gate: &Gate,
        step: &Move,
    ) {
        if let Err(error) = self.go(ledger, clock, gate, step).await {
            tracing::warn!(
                handler = &*gate.handler,
                error = format_args!("{error:#}"),
                "the handler's pause could not be recorded"
            );
        }
    }

    /// Returns the pauses that this process knows of.
    pub(super) fn known(&self) -> Vec<Pause> {
        let known = self.all().into_iter().filter_map(|gate| gate.known());
        let mut known: Vec<_> = known.map(|stored| stored.pause).collect();
        known.sort_unstable_by(|one, other| one.handler.cmp(&other.handler));
        known
    }

    fn all(&self) -> Vec<Arc<Gate>> {
        self.gates.read().values().map(Arc::clone).collect()
    }
}

/// Returns the key of a handler's note. A name may be longer than a key.
fn key_of(handler: &str) -> String {
    if handler.len() <= LONGEST {
        return format!("{NOTES}{handler}");
    }
    format!("{NOTES}{}", blake3::hash(handler.as_bytes()).to_hex())
}

/// Reads a note's value. One that does not parse was written by a later version, and pauses nothing
/// here.
fn read(note: Vec<u8>) -> Option<(Stored, Option<Vec<u8>>)> {
    let stored = serde_json::from_slice(&note).ok()?;
    Some((stored, Some(note)))
}
