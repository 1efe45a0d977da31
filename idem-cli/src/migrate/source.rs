//! What is in the source, as its service would find it after a restart.

use futures_util::stream::{LocalBoxStream, StreamExt};
use idem_runtime::ledger::{LedgerError, Note, StoppedRecord};
use idem_runtime::protocol::{
    Change, DeadLetter, DeadLetterId, Facts, LetterChange, Phase, Record, RecordId, Step, decide,
};
use jiff::Timestamp;

use super::tally::{Kind, Skip, Tally};
use crate::problem::Problem;

/// How many notes are read at once.
pub(super) const PAGE: usize = 500;

/// A ledger that no process uses.
pub(super) trait Stopped {
    /// Returns a name that no other ledger has, except for copies of it.
    fn name(&self) -> String;

    /// Returns a number that is another one once a process has used it.
    fn last_write(&self) -> u64;

    /// Returns the last number that it gave out: as a fencing token or a note's number.
    fn last_number(&self) -> u64;

    /// Returns its records, in no order.
    fn records(&self) -> Items<'_, StoppedRecord>;

    /// Returns its letters, open and closed.
    fn letters(&self) -> Items<'_, DeadLetter>;

    /// Returns up to `limit` notes behind a key.
    async fn notes(&self, after: Option<&str>, limit: usize) -> Result<Vec<Note>, Problem>;

    /// Checks that no process has used it since it was opened here.
    async fn check_unused(&self) -> Result<(), Problem>;
}

/// What is read one by one. An error is the last of them.
pub(super) type Items<'a, T> = LocalBoxStream<'a, Result<Read<T>, Problem>>;

/// One of the source's, or why it stays behind.
pub(super) type Read<T> = Result<T, Skip>;

/// The source at the time at which its migration began.
pub(super) struct Source<'a, O> {
    pub(super) ledger: &'a O,
    pub(super) since: Timestamp,
}

/// A record that goes over.
pub(super) struct Moving {
    pub(super) id: RecordId,
    pub(super) record: Record,
    /// The letter of a message whose attempt was the last one.
    pub(super) letter: Option<DeadLetter>,
    /// Whether an attempt ran when the service ended.
    pub(super) crashed: bool,
}

impl<'a, O: Stopped> Source<'a, O> {
    /// Ledgers count in milliseconds, so that is what the time is cut to: what is read back from the
    /// target is equal then.
    pub(super) fn new(ledger: &'a O, since: Timestamp) -> Self {
        let millis = Timestamp::from_millisecond(since.as_millisecond());
        let since = millis.unwrap_or(since);
        Self { ledger, since }
    }

    pub(super) fn records(&self) -> Items<'a, Moving> {
        let since = self.since;
        let judge = move |read: Result<Read<StoppedRecord>, Problem>| {
            read.map(|read| read.and_then(|record| after_restart(record, since)))
        };
        self.ledger.records().map(judge).boxed_local()
    }

    /// Returns the next notes, and the key to go on behind.
    pub(super) async fn notes(
        &self,
        after: Option<&str>,
    ) -> Result<(Vec<Read<Note>>, Option<String>), Problem> {
        let mut page = self.ledger.notes(after, PAGE).await?;
        let last = page.last().map(|note| note.key.clone());
        // What an earlier migration left says nothing of this one.
        page.retain(|note| !note.key.starts_with("migration/"));
        let is_lease = |note: &Note| {
            ["leases/", "beats/"]
                .iter()
                .any(|of| note.key.starts_with(of))
        };
        let notes = page.into_iter().map(|note| match is_lease(&note) {
            true => Err(Skip::Leases),
            false => Ok(note),
        });
        Ok((notes.collect(), last))
    }

    /// Counts what goes over and what stays behind.
    pub(super) async fn look(&self) -> Result<Tally, Problem> {
        let mut tally = Tally::default();
        let mut records = self.records();
        while let Some(record) = records.next().await {
            match record? {
                Ok(moving) => tally.moves(&moving),
                Err(skip) => tally.skipped(skip),
            }
        }
        let mut letters = self.ledger.letters();
        while let Some(letter) = letters.next().await {
            match letter? {
                Ok(letter) => tally.copied(Kind::of_letter(&letter)),
                Err(skip) => tally.skipped(skip),
            }
        }
        let mut after = None;
        loop {
            let (notes, last) = self.notes(after.as_deref()).await?;
            for note in notes {
                match note {
                    Ok(note) => tally.copied(Kind::of_note(&note.key)),
                    Err(skip) => tally.skipped(skip),
                }
            }
            match last {
                Some(last) => after = Some(last),
                None => return Ok(tally),
            }
        }
    }
}

/// Returns a record as the first sweep of a service would leave it. The decision is the same in each
/// run: its time is the time at which the migration began.
fn after_restart((id, record): StoppedRecord, since: Timestamp) -> Read<Moving> {
    let expired = matches!(&record, Record::Settled(settled) if settled.expired(since));
    let Some(id) = id else {
        return Err(if expired {
            Skip::Expired
        } else {
            Skip::LongKeys
        });
    };
    let crashed = matches!(
        &record,
        Record::Live(live) if matches!(live.phase, Phase::Running { .. })
    );
    let letter = DeadLetterId::from_token(since, record.token());
    // No process is left that could report.
    let facts = Facts::new(since, record.token(), letter, "idem migrate").dead_owner(true);
    let decision = decide(&id, Some(record.clone()), &Step::Sweep, &facts);
    let record = match decision.record {
        Change::Keep => record,
        Change::Put(record) => record,
        Change::Remove => return Err(Skip::Expired),
    };
    let letter = match decision.letter {
        LetterChange::Open(letter) => Some(*letter),
        _ => None,
    };
    Ok(Moving {
        id,
        record,
        letter,
        crashed,
    })
}

impl Tally {
    /// Counts a record that goes over.
    fn moves(&mut self, moving: &Moving) {
        self.copied(Kind::of_record(&moving.record));
        self.notes_end(moving);
        if moving.letter.is_some() {
            self.copied(Kind::OpenLetters);
        }
    }

    /// Counts what the end of the service came to for a record.
    pub(super) fn notes_end(&mut self, moving: &Moving) {
        self.crashed += u64::from(moving.crashed);
        self.buried += u64::from(moving.letter.is_some());
    }
}

/// One that cannot be decoded keeps no other one from going over.
pub(super) fn unless_unreadable<T>(
    read: Result<T, LedgerError>,
    cannot_read: impl FnOnce(&LedgerError) -> Problem,
) -> Result<Read<T>, Problem> {
    match read {
        Ok(item) => Ok(Ok(item)),
        Err(LedgerError::Record { .. }) => Ok(Err(Skip::Unreadable)),
        Err(error) => Err(cannot_read(&error)),
    }
}
