//! What one step comes to: its decision, as a write of its row.

use std::time::Duration;

use jiff::Timestamp;

use super::LATEST;
use super::core::Core;
use super::own::is_running;
use super::store::{LetterWrite, Owner, Row, Runner, Store, StoreError, StoreErrorKind, Write};
use crate::clock::after;
use crate::ledger::LedgerError;
use crate::protocol::{
    Change, Claim, DeadLetter, DeadLetterId, Decision, Facts, Foreseen, LetterChange, NoteChange,
    Record, RecordId, Reply, Seen, Step, decide, unnotified_key,
};

/// How long a row outlives its record. A write that assumed that there is no row cannot take place
/// any more then.
const ROW_OUTLIVES: Duration = LATEST.saturating_mul(2);

/// What a step comes to.
pub(super) enum Plan {
    /// Nothing changes.
    Keep(Reply),
    /// The row is written.
    Write(Box<Planned>),
    /// A runner whose lease ended then is in the way.
    Retire(Runner, Timestamp),
}

/// A write, and what follows once it took place.
pub(super) struct Planned {
    pub(super) write: Write,
    pub(super) reply: Reply,
    /// The record, if it runs now.
    pub(super) running: Option<Record>,
}

/// What a decision goes by.
pub(super) struct Basis<'a> {
    pub(super) runner: &'a Runner,
    pub(super) now: Timestamp,
    /// The version of the write, if there is one.
    pub(super) number: u64,
}

impl<S: Store> Core<S> {
    /// Decides a step of a row. Reads the letter that it changes.
    pub(super) async fn plan(
        &self,
        id: &RecordId,
        step: &Step,
        row: Option<&Row>,
        basis: &Basis<'_>,
    ) -> Result<Plan, StoreError> {
        let record = row.and_then(|row| row.record.as_ref());
        let is_dead = row.is_some_and(|row| row.owner == Owner::Dead);
        let decision = decide(id, record.cloned(), step, &self.facts(basis, is_dead));
        // A late runner is marked dead only where that makes the difference: it may wake up yet.
        if matches!(decision.record, Change::Keep)
            && let Some(Owner::Until(runner, until)) = row.map(|row| &row.owner)
            && *until <= basis.now
            && runner != basis.runner
        {
            let without = decide(id, record.cloned(), step, &self.facts(basis, true));
            if !matches!(without.record, Change::Keep) {
                return Ok(Plan::Retire(Runner::clone(runner), *until));
            }
        }
        let letter = match decision.acts_on() {
            Some(letter) => self.ask(self.store.letter(letter)).await?,
            None => None,
        };
        self.carry_out(id, step, row, decision, letter, basis)
    }

    /// Decides a claim of a row that no runner owns, without a write.
    pub(super) fn foresee(
        &self,
        id: &RecordId,
        claim: Claim,
        row: Option<Row>,
        basis: &Basis<'_>,
    ) -> Foreseen {
        let (version, record) = row.map_or((None, None), |row| (Some(row.version), row.record));
        let facts = self.facts(basis, false);
        let decision = decide(id, record.clone(), &Step::Claim(claim), &facts);
        match (decision.record, decision.reply) {
            (Change::Put(_), Reply::Run(grant)) => {
                let mut seen = Seen::new(basis.now, record);
                seen.version = version;
                Foreseen::Run(grant, seen)
            }
            (Change::Keep, reply) => Foreseen::Answer(reply),
            _ => Foreseen::Claim,
        }
    }

    fn has_leases(&self) -> bool {
        !self.store.has_one_process()
    }

    fn facts(&self, basis: &Basis<'_>, dead_owner: bool) -> Facts {
        let letter = DeadLetterId::new(basis.now, &self.letter_ids.lock());
        let instance = self.context.instance.clone();
        Facts::new(basis.now, basis.number, letter, instance)
            .leases(self.has_leases())
            .dead_owner(dead_owner)
    }

    /// Makes a write of a decision. `read` is the letter that it changes.
    fn carry_out(
        &self,
        id: &RecordId,
        step: &Step,
        row: Option<&Row>,
        decision: Decision,
        read: Option<DeadLetter>,
        basis: &Basis<'_>,
    ) -> Result<Plan, StoreError> {
        let before = row.and_then(|row| row.record.as_ref());
        let mut notes = decision.notes(step).to_vec();
        let letter = match decision.letter {
            LetterChange::Keep => None,
            LetterChange::Open(letter) => {
                notes.push(NoteChange::put(unnotified_key(letter.id), []));
                let is_new = true;
                Some(LetterWrite { letter, is_new })
            }
            LetterChange::Action { act, .. } => {
                let Some(letter) = read else {
                    return Ok(Plan::Keep(Reply::LetterNotOpen));
                };
                let (mut letter, is_new) = (Box::new(letter), false);
                letter.act(*act);
                Some(LetterWrite { letter, is_new })
            }
        };
        let record = match decision.record {
            // The row's version guards its letter.
            Change::Keep if letter.is_some() && before.is_some() => before.cloned(),
            Change::Keep => return Ok(Plan::Keep(decision.reply)),
            Change::Put(record) => Some(record),
            Change::Remove => None,
        };
        let encoded = record.as_ref().map(Record::encode).transpose();
        let encoded =
            encoded.map_err(|error| StoreError::new(StoreErrorKind::Refused, error.to_string()))?;
        let due = match &record {
            // Only the end of its process ends a claim without a lease.
            Some(record) if is_running(record) && !self.has_leases() => None,
            Some(record) => due(record),
            None => Some(after(basis.now, ROW_OUTLIVES)),
        };
        let live = matches!(record, Some(Record::Live(_)));
        let waiting = record.as_ref().and_then(Record::waits_since);
        let running = record.filter(is_running);
        let write = Write {
            id: id.clone(),
            expected: row.map(|row| row.version),
            version: basis.number,
            record: encoded,
            live,
            due,
            owner: running.is_some().then(|| Runner::clone(basis.runner)),
            waiting,
            letter,
            notes,
        };
        Ok(Plan::Write(Box::new(Planned {
            write,
            reply: decision.reply,
            running,
        })))
    }
}

/// Returns when the sweep is to look at a record, or to remove it: not before the earliest write that
/// may still take place was asked for. Such a write was decided by the expired record, so it expects
/// its row.
fn due(record: &Record) -> Option<Timestamp> {
    let outlives = match record {
        Record::Settled(_) => ROW_OUTLIVES,
        Record::Live(_) => Duration::ZERO,
    };
    record.due().map(|due| after(due, outlives))
}

/// Returns the first write of a record that another ledger has kept, without a claim.
///
/// # Errors
/// [`LedgerError::Other`] when it cannot be encoded.
#[doc(hidden)]
pub fn first_write(id: RecordId, version: u64, record: &Record) -> Result<Write, LedgerError> {
    Ok(Write {
        record: Some(record.encode()?),
        live: matches!(record, Record::Live(_)),
        due: due(record),
        waiting: record.waits_since(),
        ..Write::new(id, None, version)
    })
}
