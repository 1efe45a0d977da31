//! A ledger in memory, which many Idems can share as if they were processes: it forgets everything
//! when it is dropped.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::future::ready;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use parking_lot::Mutex;

use crate::call::wait::wait;
use crate::clock::{BoxFuture, Clock, after};
use crate::ledger::Filter;
use crate::ledger::{
    Capabilities, ExpectedNote, Leases, Ledger, LedgerError, Note, NoteChange, Swept, check_keys,
    unnotified_key,
};
use crate::protocol::{
    Change, DeadLetter, DeadLetterId, Facts, LetterChange, LetterState, Record, RecordId, Reply,
    Step, decide,
};
use crate::{Error, Idem, IdemBuilder};

/// A ledger in memory with leases, as one for more than one machine has them.
#[derive(Clone)]
pub struct MemoryLedger {
    clock: Arc<dyn Clock>,
    kept: Arc<Mutex<Kept>>,
}

struct Kept {
    records: HashMap<RecordId, Record, RandomState>,
    letters: BTreeMap<DeadLetterId, DeadLetter>,
    notes: BTreeMap<String, Vec<u8>>,
    token: u64,
    instance: Arc<str>,
}

impl MemoryLedger {
    /// An empty one, on this clock.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let kept = Kept {
            records: HashMap::default(),
            letters: BTreeMap::new(),
            notes: BTreeMap::new(),
            token: 0,
            instance: "memory".into(),
        };
        Self {
            clock,
            kept: Arc::new(Mutex::new(kept)),
        }
    }
}

/// Opens an [`Idem`] on a ledger that needs no connection, without awaiting.
///
/// # Errors
/// [`Error::Ledger`] when the ledger cannot be swept.
pub fn open_on(builder: IdemBuilder, ledger: impl Ledger) -> Result<Idem, Error> {
    wait(builder.open_with(|_| ready(Ok(ledger))))
}

impl Kept {
    fn step(&mut self, id: &RecordId, step: &Step, now: jiff::Timestamp) -> Reply {
        let token = self.token + 1;
        let facts = Facts::new(
            now,
            token,
            letter_id(now, token),
            Arc::clone(&self.instance),
        )
        .leases(true);
        let place = self.records.entry(id.clone());
        let known = match &place {
            Entry::Occupied(taken) => Some(taken.get().clone()),
            Entry::Vacant(_) => None,
        };
        let decision = decide(id, known, step, &facts);
        if let LetterChange::Action { letter, .. } = &decision.letter
            && !self.letters.contains_key(letter)
        {
            return Reply::LetterNotOpen;
        }
        write(&mut self.notes, &mut self.token, decision.notes(step));
        match (decision.record, place) {
            (Change::Put(record), place) => {
                self.token += 1;
                place.insert_entry(record);
            }
            (Change::Remove, Entry::Occupied(taken)) => drop(taken.remove()),
            (Change::Keep | Change::Remove, _) => {}
        }
        match decision.letter {
            LetterChange::Keep => {}
            LetterChange::Open(letter) => {
                self.notes.insert(unnotified_key(letter.id), Vec::new());
                self.letters.insert(letter.id, *letter);
            }
            LetterChange::Action { letter, act } => {
                if let Some(letter) = self.letters.get_mut(&letter) {
                    letter.act(*act);
                }
            }
        }
        decision.reply
    }
}

fn write(notes: &mut BTreeMap<String, Vec<u8>>, number: &mut u64, changes: &[NoteChange]) {
    for change in changes {
        let key = change.key(|| {
            *number += 1;
            *number
        });
        match change.value() {
            Some(value) => drop(notes.insert(key.into_owned(), value.to_vec())),
            None => drop(notes.remove(&*key)),
        }
    }
}

/// No two letters are of one token.
fn letter_id(now: jiff::Timestamp, token: u64) -> DeadLetterId {
    let (mut rest, millis) = ([0; 10], u64::try_from(now.as_millisecond()).unwrap_or(0));
    rest[2..].copy_from_slice(&token.to_be_bytes());
    DeadLetterId::from_bytes(
        uuid::Builder::from_unix_timestamp_millis(millis, &rest)
            .into_uuid()
            .into_bytes(),
    )
}

fn at_once<T: Send + 'static>(answer: T) -> BoxFuture<'static, Result<T, LedgerError>> {
    Box::pin(ready(Ok(answer)))
}

impl Ledger for MemoryLedger {
    fn capabilities(&self) -> Capabilities {
        Capabilities::new().leases(Leases::PerClaim)
    }

    fn apply(&self, id: &RecordId, step: Step) -> BoxFuture<'static, Result<Reply, LedgerError>> {
        if let Step::Complete { notes, .. } = &step
            && let Err(error) = check_keys(notes)
        {
            return Box::pin(ready(Err(error)));
        }
        at_once(self.kept.lock().step(id, &step, self.clock.now()))
    }

    fn record(&self, id: &RecordId) -> BoxFuture<'static, Result<Option<Record>, LedgerError>> {
        at_once(self.kept.lock().records.get(id).cloned())
    }

    fn letter(
        &self,
        id: DeadLetterId,
    ) -> BoxFuture<'static, Result<Option<DeadLetter>, LedgerError>> {
        at_once(self.kept.lock().letters.get(&id).cloned())
    }

    fn letters(&self, filter: &Filter) -> BoxFuture<'static, Result<Vec<DeadLetter>, LedgerError>> {
        let kept = self.kept.lock();
        let newest_first = kept
            .letters
            .values()
            .rev()
            .filter(|letter| filter.matches(letter));
        at_once(newest_first.take(filter.limit).cloned().collect())
    }

    fn open_letters(&self) -> BoxFuture<'static, Result<u64, LedgerError>> {
        let open = self
            .kept
            .lock()
            .letters
            .values()
            .filter(|letter| letter.state == LetterState::Open)
            .count();
        at_once(open as u64)
    }

    fn sweep(
        &self,
        settled: usize,
        retention: Duration,
    ) -> BoxFuture<'static, Result<Swept, LedgerError>> {
        let (mut kept, now) = (self.kept.lock(), self.clock.now());
        let mut swept = Swept {
            finished: settled > 0,
            ..Swept::default()
        };
        let ids: Vec<_> = kept
            .records
            .iter()
            .filter(|(_, record)| settled > 0 || matches!(record, Record::Live(_)))
            .map(|(id, _)| id.clone())
            .collect();
        for id in ids {
            match kept.step(&id, &Step::Sweep, now) {
                Reply::DeadLettered(letter) => swept.dead_lettered.push(*letter),
                Reply::Recorded => swept.removed += 1,
                _ => {}
            }
        }
        let before = kept.letters.len();
        let Kept { letters, notes, .. } = &mut *kept;
        letters.retain(|id, letter| {
            let kept = letter
                .closed_at
                .is_none_or(|closed| now < after(closed, retention));
            if !kept {
                notes.remove(&unnotified_key(*id));
            }
            kept
        });
        swept.removed += (before - kept.letters.len()) as u64;
        at_once(swept)
    }

    fn notes(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<Note>, LedgerError>> {
        let start = after.map_or(Bound::Included(prefix), Bound::Excluded);
        let kept = self.kept.lock();
        let notes = kept.notes.range::<str, _>((start, Bound::Unbounded));
        let notes = notes
            .take_while(|(key, _)| key.starts_with(prefix))
            .take(limit);
        at_once(
            notes
                .map(|(key, value)| Note {
                    key: key.clone(),
                    value: value.clone(),
                })
                .collect(),
        )
    }

    fn write_notes(
        &self,
        changes: Vec<NoteChange>,
        expected: Vec<ExpectedNote>,
    ) -> BoxFuture<'static, Result<bool, LedgerError>> {
        let written = check_keys(&changes).map(|()| {
            let Kept { notes, token, .. } = &mut *self.kept.lock();
            let as_expected = expected
                .iter()
                .all(|note| notes.get(&note.key) == note.value.as_ref());
            if as_expected {
                write(notes, token, &changes);
            }
            as_expected
        });
        Box::pin(ready(written))
    }

    fn close(&self) -> BoxFuture<'static, Result<(), LedgerError>> {
        at_once(())
    }
}
