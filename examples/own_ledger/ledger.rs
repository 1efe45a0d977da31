//! A ledger over a sorted map of bytes. It belongs to one process, so that it has no leases: a claim
//! of an earlier opening has a dead owner.
//!
//! It is small rather than fast: a step blocks its thread for a sync, where the embedded ledger makes
//! many steps durable with one, on a thread of its own.

use std::future::ready;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use idem_runtime::clock::{BoxFuture, Clock};
use idem_runtime::ledger::{
    Capabilities, ExpectedNote, Filter, Ledger, LedgerError, Note, NoteChange, Swept, Waiting,
    check_keys, unnotified_key,
};
use idem_runtime::protocol::{
    Change, DeadLetter, DeadLetterId, Facts, Record, RecordId, Reply, Step, decide,
};
use parking_lot::Mutex;

use crate::file::{Entry, Map};

type Answer<T> = Result<T, LedgerError>;

pub(crate) struct FileLedger {
    clock: Arc<dyn Clock>,
    instance: Arc<str>,
    /// Locked from the decision of a step until it is durable.
    kept: Mutex<Kept>,
}

struct Kept {
    map: Map,
    /// The last fencing token, or number of a note.
    number: u64,
    session: u64,
}

// The keys of the map: the last number, and then by their first bytes.
const NUMBER: &[u8] = b"#";
const RECORDS: u8 = b'r';
const LETTERS: u8 = b'l';
const NOTES: u8 = b'n';

impl FileLedger {
    pub(crate) fn open(path: &Path, clock: Arc<dyn Clock>, instance: Arc<str>) -> Answer<Self> {
        let mut map = Map::open(path).map_err(|error| failed(&error))?;
        let number = map
            .values
            .get(NUMBER)
            .and_then(|number| number.as_slice().try_into().ok());
        let session = number.map_or(1, |number| u64::from_be_bytes(number) + 1);
        map.write(vec![number_entry(session)])
            .map_err(|error| failed(&error))?;
        let number = session;
        let kept = Mutex::new(Kept {
            map,
            number,
            session,
        });
        Ok(Self {
            clock,
            instance,
            kept,
        })
    }

    /// Decides a step, and returns what is to be written before the reply is given.
    fn decide(&self, kept: &mut Kept, id: &RecordId, step: &Step) -> Answer<(Reply, Vec<Entry>)> {
        let record = kept.get(&record_key(id), Record::decode)?;
        let (now, token) = (self.clock.now(), kept.next());
        let letter = DeadLetterId::from_token(now, token);
        let facts = Facts::new(now, token, letter, self.instance.clone()).session(kept.session);
        let mut decision = decide(id, record, step, &facts);
        let letter = decision
            .acts_on()
            .map(|id| kept.get(&letter_key(id), DeadLetter::decode));
        let letter = letter.transpose()?.flatten().map(Box::new);
        let writes = decision.writes(step, letter, || kept.next());
        let mut entries = Vec::new();
        match decision.record {
            Change::Keep => {}
            Change::Put(record) => entries.push((record_key(id), Some(record.encode()?))),
            Change::Remove => entries.push((record_key(id), None)),
        }
        if let Some(letter) = writes.letter {
            entries.push((letter_key(letter.id), Some(letter.encode()?)));
        }
        entries.extend(writes.notes.into_iter().map(note_entry));
        Ok((decision.reply, entries))
    }

    fn sweep_all(&self, settled: bool, retention: Duration) -> Answer<Swept> {
        let (kept, now) = (&mut *self.kept.lock(), self.clock.now());
        let (mut swept, mut entries) = (Swept::default(), Vec::new());
        let mut waiting = Waiting::default();
        for id in kept.all(RECORDS, |key, _| record_id(key))? {
            let record = kept.get(&record_key(&id), Record::decode)?;
            if !settled && !matches!(record, Some(Record::Live(_))) {
                continue;
            }
            waiting.extend(record.as_ref().and_then(Record::waits_since));
            let (reply, more) = self.decide(kept, &id, &Step::Sweep)?;
            entries.extend(more);
            match reply {
                Reply::DeadLettered(letter) => swept.dead_lettered.push(*letter),
                Reply::Recorded => swept.removed += 1,
                _ => {}
            }
        }
        for letter in kept.all(LETTERS, |_, value| DeadLetter::decode(value))? {
            if letter.expired(now, retention) {
                entries.push((letter_key(letter.id), None));
                entries.push(note_entry((unnotified_key(letter.id), None)));
                swept.removed += 1;
            }
        }
        (swept.finished, swept.waiting) = (settled, Some(waiting));
        kept.write(entries)?;
        Ok(swept)
    }
}

impl Kept {
    fn next(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    fn get<T>(&self, key: &[u8], decode: fn(&[u8]) -> Answer<T>) -> Answer<Option<T>> {
        self.map
            .values
            .get(key)
            .map(|value| decode(value))
            .transpose()
    }

    /// Returns all that is kept under a kind of key, in the order of the keys.
    fn all<T>(&self, kind: u8, read: impl Fn(&[u8], &[u8]) -> Answer<T>) -> Answer<Vec<T>> {
        let values = self.map.values.range(vec![kind]..vec![kind + 1]);
        values.map(|(key, value)| read(&key[1..], value)).collect()
    }

    /// Makes entries durable, all of them or none.
    fn write(&mut self, mut entries: Vec<Entry>) -> Answer<()> {
        if self.map.is_closed() {
            return Err(LedgerError::Closed);
        }
        if entries.is_empty() {
            return Ok(());
        }
        entries.push(number_entry(self.number));
        self.map.write(entries).map_err(|error| failed(&error))
    }
}

impl Ledger for FileLedger {
    fn capabilities(&self) -> Capabilities {
        Capabilities::new()
    }

    fn apply(&self, id: &RecordId, step: Step) -> BoxFuture<'static, Answer<Reply>> {
        let made = || {
            if let Step::Complete { notes, .. } = &step {
                check_keys(notes)?;
            }
            let kept = &mut *self.kept.lock();
            let (reply, entries) = self.decide(kept, id, &step)?;
            kept.write(entries)?;
            Ok(reply)
        };
        Box::pin(ready(made()))
    }

    fn record(&self, id: &RecordId) -> BoxFuture<'static, Answer<Option<Record>>> {
        Box::pin(ready(self.kept.lock().get(&record_key(id), Record::decode)))
    }

    fn letter(&self, id: DeadLetterId) -> BoxFuture<'static, Answer<Option<DeadLetter>>> {
        Box::pin(ready(
            self.kept.lock().get(&letter_key(id), DeadLetter::decode),
        ))
    }

    fn letters(&self, filter: &Filter) -> BoxFuture<'static, Answer<Vec<DeadLetter>>> {
        let letters = self
            .kept
            .lock()
            .all(LETTERS, |_, value| DeadLetter::decode(value));
        let matching = letters.map(|letters| {
            let newest_first = letters.into_iter().rev();
            let matching = newest_first.filter(|letter| filter.matches(letter));
            matching.take(filter.limit).collect()
        });
        Box::pin(ready(matching))
    }

    fn sweep(&self, settled: usize, retention: Duration) -> BoxFuture<'static, Answer<Swept>> {
        // It visits them all, whatever their number: they are in memory.
        Box::pin(ready(self.sweep_all(settled > 0, retention)))
    }

    fn notes(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> BoxFuture<'static, Answer<Vec<Note>>> {
        let kept = self.kept.lock();
        let start = after
            .map_or(Bound::Included(prefix), Bound::Excluded)
            .map(note_key);
        let notes = kept.map.values.range((start, Bound::Unbounded));
        let prefix = note_key(prefix);
        let notes = notes
            .take_while(|(key, _)| key.starts_with(&prefix))
            .take(limit);
        let read = |(key, value): (&Vec<u8>, &Vec<u8>)| Note {
            key: String::from_utf8_lossy(&key[1..]).into_owned(),
            value: value.clone(),
        };
        Box::pin(ready(Ok(notes.map(read).collect())))
    }

    fn write_notes(
        &self,
        changes: Vec<NoteChange>,
        expected: Vec<ExpectedNote>,
    ) -> BoxFuture<'static, Answer<bool>> {
        let written = || {
            check_keys(&changes)?;
            let kept = &mut *self.kept.lock();
            let values = &kept.map.values;
            let is = |note: &ExpectedNote| values.get(&note_key(&note.key)) == note.value.as_ref();
            if !expected.iter().all(is) {
                return Ok(false);
            }
            let notes = changes.iter().map(|change| change.numbered(|| kept.next()));
            let entries = notes.map(note_entry).collect();
            kept.write(entries).map(|()| true)
        };
        Box::pin(ready(written()))
    }

    fn close(&self) -> BoxFuture<'static, Answer<()>> {
        self.kept.lock().map.close();
        Box::pin(ready(Ok(())))
    }
}

fn record_key(id: &RecordId) -> Vec<u8> {
    let length = id.handler.len() as u32;
    let (handler, key) = (id.handler.as_bytes(), id.key.as_bytes());
    [&[RECORDS], &length.to_be_bytes()[..], handler, key].concat()
}

fn record_id(key: &[u8]) -> Answer<RecordId> {
    let parts = || {
        let (length, rest) = key.split_first_chunk()?;
        let (handler, key) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        Some(RecordId::new(
            str::from_utf8(handler).ok()?,
            str::from_utf8(key).ok()?,
        ))
    };
    parts().ok_or_else(|| LedgerError::Record {
        detail: "its key is not one of a record".to_owned(),
    })
}

fn letter_key(id: DeadLetterId) -> Vec<u8> {
    [&[LETTERS], &id.as_bytes()[..]].concat()
}

fn note_key(key: &str) -> Vec<u8> {
    [&[NOTES], key.as_bytes()].concat()
}

fn number_entry(number: u64) -> Entry {
    (NUMBER.to_vec(), Some(number.to_be_bytes().to_vec()))
}

fn note_entry((key, value): (String, Option<Vec<u8>>)) -> Entry {
    (note_key(&key), value)
}

fn failed(error: &std::io::Error) -> LedgerError {
    LedgerError::Other(format!("the file of the ledger: {error}"))
}
