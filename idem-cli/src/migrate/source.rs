//! What is in the folder, as its service would find it after a restart.

use idem_runtime::ledger::{LedgerError, Note, StoppedLedger, StoppedRecord};
use idem_runtime::protocol::{
    Change, DeadLetter, DeadLetterId, Facts, LetterChange, Phase, Record, RecordId, Step, decide,
};
use jiff::Timestamp;

use super::tally::{Kind, Skip, Tally};
use crate::problem::Problem;

/// How many notes are read at once.
pub(super) const PAGE: usize = 500;

/// The folder at the time at which its migration began.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) folder: &'a StoppedLedger,
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

/// One of the source's, or why it stays behind.
pub(super) type Read<T> = Result<T, Skip>;

impl<'a> Source<'a> {
    /// Ledgers count in milliseconds, so that is what the time is cut to: what is read back from the
    /// target is equal then.
    pub(super) fn new(folder: &'a StoppedLedger, since: Timestamp) -> Self {
        let millis = Timestamp::from_millisecond(since.as_millisecond());
        let since = millis.unwrap_or(since);
        Self { folder, since }
    }

    pub(super) fn records(&self) -> impl Iterator<Item = Result<Read<Moving>, Problem>> + '_ {
        self.folder.records().map(|read| match read {
            Ok(record) => Ok(self.after_restart(record)),
            Err(error) => unreadable(error),
        })
    }

    pub(super) fn letters(&self) -> impl Iterator<Item = Result<Read<DeadLetter>, Problem>> + '_ {
        self.folder.letters().map(|read| match read {
            Ok(letter) => Ok(Ok(letter)),
            Err(error) => unreadable(error),
        })
    }

    /// Returns the next notes, and the key to go on behind.
    pub(super) fn notes(
        &self,
        after: Option<&str>,
    ) -> Result<(Vec<Read<Note>>, Option<String>), Problem> {
        let page = self
            .folder
            .notes(after, PAGE)
            .map_err(|error| cannot_read(&error))?;
        let last = page.last().map(|note| note.key.clone());
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
    pub(super) fn look(&self) -> Result<Tally, Problem> {
        let mut tally = Tally::default();
        for record in self.records() {
            match record? {
                Ok(moving) => tally.moves(&moving),
                Err(skip) => tally.skipped(skip),
            }
        }
        for letter in self.letters() {
            match letter? {
                Ok(letter) => tally.copied(Kind::of_letter(&letter)),
                Err(skip) => tally.skipped(skip),
            }
        }
        let mut after = None;
        loop {
            let (notes, last) = self.notes(after.as_deref())?;
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

    /// Returns a record as the first sweep of a service would leave it. The decision is the same in
    /// each run: its time is the time at which the migration began.
    fn after_restart(&self, (id, record): StoppedRecord) -> Read<Moving> {
        let expired = matches!(&record, Record::Settled(settled) if settled.expired(self.since));
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
        let letter = DeadLetterId::from_token(self.since, record.token());
        let facts = Facts::new(self.since, record.token(), letter, "idem migrate");
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
fn unreadable<T>(error: LedgerError) -> Result<Read<T>, Problem> {
    match error {
        LedgerError::Record { .. } => Ok(Err(Skip::Unreadable)),
        error => Err(cannot_read(&error)),
    }
}

fn cannot_read(error: &LedgerError) -> Problem {
    Problem::failed(format!(
        "the folder cannot be read ({error}): look at it with `idem doctor --data`"
    ))
}
