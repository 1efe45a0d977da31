//! A ledger in memory, which many Idems can share as if they were processes: it forgets everything
//! when it is dropped.

use std::collections::{BTreeMap, HashMap};
use std::future::ready;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use parking_lot::Mutex;

use crate::call::wait::wait;
use crate::clock::{BoxFuture, Clock};
use crate::ledger::Filter;
use crate::ledger::{
    Capabilities, ExpectedNote, Leases, Ledger, LedgerError, Note, NoteChange, Swept, check_keys,
    unnotified_key,
};
use crate::protocol::{
    Change, DeadLetter, DeadLetterId, Facts, Record, RecordId, Reply, Step, decide,
};
use crate::{Error, Idem, IdemBuilder};

/// A ledger in memory with leases, as one for more than one machine has them.
#[derive(Clone)]
pub struct MemoryLedger {
    clock: Arc<dyn Clock>,
    leases: Leases,
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
            leases: Leases::PerClaim,
            kept: Arc::new(Mutex::new(kept)),
        }
    }

    /// Returns it without leases, as the ledger of one process.
    #[must_use]
    pub fn of_one_process(mut self) -> Self {
        self.leases = Leases::None;
        self
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
    fn step(&mut self, id: &RecordId, step: &Step, now: jiff::Timestamp, leases: Leases) -> Reply {
        self.token += 1;
        let letter = DeadLetterId::from_token(now, self.token);
        let facts = Facts::new(now, self.token, letter, Arc::clone(&self.instance))
            .leases(leases != Leases::None);
        let mut decision = decide(id, self.records.get(id).cloned(), step, &facts);
        let letter = decision.acts_on();
        let letter = letter.and_then(|letter| self.letters.get(&letter).cloned().map(Box::new));
        let writes = decision.writes(step, letter, || {
            self.token += 1;
            self.token
        });
        match decision.record {
            Change::Keep => {}
            Change::Put(record) => drop(self.records.insert(id.clone(), record)),
            Change::Remove => drop(self.records.remove(id)),
        }
        if let Some(letter) = writes.letter {
            self.letters.insert(letter.id, *letter);
        }
        writes.notes.into_iter().for_each(|note| self.note(note));
        decision.reply
    }

    fn note(&mut self, (key, value): (String, Option<Vec<u8>>)) {
        match value {
            Some(value) => drop(self.notes.insert(key, value)),
            None => drop(self.notes.remove(&key)),
        }
    }
}

fn at_once<T: Send + 'static>(answer: T) -> BoxFuture<'static, Result<T, LedgerError>> {
    Box::pin(ready(Ok(answer)))
}

impl Ledger for MemoryLedger {
    fn capabilities(&self) -> Capabilities {
        Capabilities::new().leases(self.leases)
    }

    fn apply(&self, id: &RecordId, step: Step) -> BoxFuture<'static, Result<Reply, LedgerError>> {
        if let Err(error) = check_keys(step.notes()) {
            return Box::pin(ready(Err(error)));
        }
        at_once(
            self.kept
                .lock()
                .step(id, &step, self.clock.now(), self.leases),
        )
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
            match kept.step(&id, &Step::Sweep, now, self.leases) {
                Reply::DeadLettered(letter) => swept.dead_lettered.push(*letter),
                Reply::Recorded => swept.removed += 1,
                _ => {}
            }
        }
        let before = kept.letters.len();
        let Kept { letters, notes, .. } = &mut *kept;
        letters.retain(|id, letter| {
            let kept = !letter.expired(now, retention);
            if !kept {
                notes.remove(&unnotified_key(*id));
            }
            kept
        });
        swept.removed += (before - kept.letters.len()) as u64;
        let waiting = kept.records.values().filter_map(Record::waits_since);
        swept.waiting = Some(waiting.collect());
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
            let kept = &mut *self.kept.lock();
            let as_expected = expected
                .iter()
                .all(|note| kept.notes.get(&note.key) == note.value.as_ref());
            if as_expected {
                for change in changes {
                    kept.token += 1;
                    let note = change.numbered(|| kept.token);
                    kept.note(note);
                }
            }
            as_expected
        });
        Box::pin(ready(written))
    }

    fn close(&self) -> BoxFuture<'static, Result<(), LedgerError>> {
        at_once(())
    }
}
