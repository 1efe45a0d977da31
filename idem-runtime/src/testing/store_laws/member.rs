//! A process on a store, and what it writes.

use std::time::Duration;

use jiff::Timestamp;

use crate::ledger::shared::{
    LetterWrite, Owner, Row, Runner, Store, StoreError, StoreErrorKind, StoreTransaction, Write,
};
use crate::ledger::{NoteChange, unnotified_key};
use crate::protocol::{
    Budget, DeadLetter, DeadLetterId, LetterState, Live, Reason, Record, RecordId, Settled,
    Settlement,
};

pub(super) const LEASE: Duration = Duration::from_secs(30);

/// A process that is connected to the store.
pub(super) struct Member<S> {
    pub(super) store: S,
    pub(super) runner: Runner,
}

impl<S: Store> Member<S> {
    pub(super) async fn beat(&self) -> Result<Timestamp, StoreError> {
        self.store.beat(&self.runner, LEASE, 1).await
    }

    /// Returns the versions of the writes that took place, in order.
    pub(super) async fn write<const N: usize>(&self, writes: [Write; N]) -> Vec<u64> {
        self.try_write(writes.to_vec()).await.unwrap()
    }

    pub(super) async fn try_write(&self, writes: Vec<Write>) -> Result<Vec<u64>, StoreError> {
        let mut written = self.store.write(&self.runner, writes).await?;
        written.versions.sort_unstable();
        Ok(written.versions)
    }

    pub(super) async fn rows<const N: usize>(&self, keys: [&str; N]) -> [Option<Row>; N] {
        let ids = keys.map(id).to_vec();
        let rows = self.store.read(ids).await.unwrap().rows;
        let rows: Vec<_> = rows.into_iter().map(Result::unwrap).collect();
        rows.try_into().unwrap()
    }

    pub(super) async fn versions<const N: usize>(&self, keys: [&str; N]) -> [Option<u64>; N] {
        let rows = self.rows(keys).await;
        rows.map(|row| row.map(|row| row.version))
    }

    /// Returns the end of the lease of a row's owner, if that lives.
    pub(super) async fn lease_of(&self, key: &str) -> Option<Timestamp> {
        match self.rows([key]).await {
            [
                Some(Row {
                    owner: Owner::Until(_, until),
                    ..
                }),
            ] => Some(until),
            _ => None,
        }
    }

    pub(super) async fn notes(&self, prefix: &str) -> Vec<(String, Vec<u8>)> {
        let notes = self.store.notes(prefix.to_owned(), None, usize::MAX);
        let notes = notes.await.unwrap().into_iter();
        notes.map(|note| (note.key, note.value)).collect()
    }

    pub(super) async fn note_keys(&self, prefix: &str) -> Vec<String> {
        let notes = self.notes(prefix).await.into_iter();
        notes.map(|(key, _)| key).collect()
    }

    /// Begins a transaction, if the store has them.
    pub(super) async fn begin(&self) -> Option<Begun<'_, S>> {
        if !self.store.has_transactions() {
            return None;
        }
        Some(Begun {
            member: self,
            transaction: self.store.begin().await.unwrap(),
        })
    }
}

/// A transaction of a process.
pub(super) struct Begun<'m, S: Store> {
    member: &'m Member<S>,
    transaction: S::Transaction,
}

impl<S: Store> Begun<'_, S> {
    pub(super) async fn write(&mut self, write: Write) -> Result<bool, StoreError> {
        self.transaction.write(&self.member.runner, write).await
    }

    pub(super) async fn commit(self) -> Result<(), StoreError> {
        self.transaction.commit().await
    }
}

pub(super) fn kind<T>(result: Result<T, StoreError>) -> Option<StoreErrorKind> {
    result.err().map(|error| error.kind)
}

pub(super) fn id(key: &str) -> RecordId {
    RecordId::new("laws", key)
}

/// A write of a settled record.
pub(super) fn put(key: &str, expected: Option<u64>, version: u64) -> Write {
    let end = Settlement::Dead(DeadLetterId::from_bytes([1; 16]));
    let record = Settled::new(version, Timestamp::UNIX_EPOCH, LEASE, 1, end);
    Write {
        record: Some(Record::Settled(record).encode().unwrap()),
        ..Write::new(id(key), expected, version)
    }
}

/// A write of a live record.
pub(super) fn live(key: &str, expected: Option<u64>, version: u64) -> Write {
    let (payload, budget) = (b"{}".as_slice().into(), Budget::new(2, LEASE));
    let record = Live::new(&id(key), payload, budget, Timestamp::UNIX_EPOCH);
    Write {
        record: Some(Record::Live(record).encode().unwrap()),
        live: true,
        ..put(key, expected, version)
    }
}

/// A write of a row without a record.
pub(super) fn without_record(key: &str, expected: Option<u64>, version: u64) -> Write {
    Write::new(id(key), expected, version)
}

impl Write {
    pub(super) fn waiting(mut self, first_seen: Timestamp) -> Self {
        self.waiting = Some(first_seen);
        self
    }

    pub(super) fn due(mut self, due: Timestamp) -> Self {
        self.due = Some(due);
        self
    }

    pub(super) fn owned_by(mut self, runner: &Runner) -> Self {
        self.owner = Some(Runner::clone(runner));
        self
    }

    pub(super) fn note(mut self, key: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.notes.push(NoteChange::put(key, value));
        self
    }

    /// A new letter, with its marker.
    pub(super) fn opens(mut self, letter: DeadLetter) -> Self {
        let marker = NoteChange::put(unnotified_key(letter.id), []);
        self.notes.push(marker);
        let (letter, is_new) = (Box::new(letter), true);
        self.letter = Some(LetterWrite { letter, is_new });
        self
    }

    /// A letter that must exist.
    pub(super) fn changes(mut self, letter: DeadLetter) -> Self {
        let (letter, is_new) = (Box::new(letter), false);
        self.letter = Some(LetterWrite { letter, is_new });
        self
    }
}

/// An open letter. Larger numbers are younger.
pub(super) fn letter(number: u8, handler: &str, key: &str) -> DeadLetter {
    let at = Timestamp::from_second(1_800_000_000 + i64::from(number)).unwrap();
    DeadLetter {
        id: DeadLetterId::from_token(at, u64::from(number)),
        handler: handler.to_owned(),
        key: key.to_owned(),
        payload: br#"{"sku":"TEA-500"}"#.as_slice().into(),
        reason: Reason::BudgetSpent,
        attempts: Vec::new(),
        state: LetterState::Open,
        first_seen: at,
        died_at: at,
        closed_at: None,
        closed_why: None,
        instance: "laws".to_owned(),
        redacted: Vec::new(),
        history: Vec::new(),
        origin: None,
        error: None,
        cut_from: None,
        arguments: None,
        record_key: None,
        reused: None,
        sealed: None,
        trace: None,
    }
}

pub(super) fn closed(mut letter: DeadLetter, state: LetterState, at: Timestamp) -> DeadLetter {
    (letter.state, letter.closed_at) = (state, Some(at));
    letter
}
