//! Copying: a row, a letter or a note is written where there is none, and is left alone where there
//! is the same.

use std::collections::HashMap;
use std::mem;

use futures_util::StreamExt;
use idem_runtime::ledger::shared::{LetterWrite, Store, Write, first_write};
use idem_runtime::ledger::{ExpectedNote, Note, NoteChange, unnotified_key};
use idem_runtime::protocol::{DeadLetter, Record, RecordId};
use indicatif::ProgressBar;

use super::source::{Moving, PAGE, Source, Stopped};
use super::tally::{Kind, Tally};
use super::target::Target;
use crate::problem::Problem;

/// The most writes of a batch, and about the most bytes.
const ROWS: usize = 500;
const BYTES: usize = 4 << 20;
/// How often a row is written that was there, and was gone when it was read.
const TRIES: usize = 3;

/// A copy under way.
pub(super) struct Copier<'a, O, S> {
    pub(super) source: Source<'a, O>,
    pub(super) target: &'a Target<'a, S>,
    /// The number of the next write.
    pub(super) number: u64,
    pub(super) bar: ProgressBar,
    pub(super) tally: Tally,
    batch: Vec<Pending>,
    bytes: usize,
}

/// A write that is to be made.
struct Pending {
    write: Write,
    /// What it is, and what its letter is.
    kinds: Vec<Kind>,
}

impl<'a, O: Stopped, S: Store> Copier<'a, O, S> {
    pub(super) fn new(
        source: Source<'a, O>,
        target: &'a Target<'a, S>,
        number: u64,
        bar: ProgressBar,
    ) -> Self {
        Self {
            source,
            target,
            number,
            bar,
            tally: Tally::default(),
            batch: Vec::new(),
            bytes: 0,
        }
    }

    /// Copies all of it: letters before the records that name them.
    pub(super) async fn run(&mut self) -> Result<(), Problem> {
        self.raise_note_numbers().await?;
        self.notes().await?;
        self.letters().await?;
        self.records().await?;
        let (wanted, open) = (
            self.tally.of(Kind::OpenLetters),
            self.target.open_letters().await?,
        );
        if wanted != open {
            return Err(Problem::failed(format!(
                "the target has {open} open letters after the copy, and should have {wanted}: empty it, \
                 and begin again"
            )));
        }
        Ok(())
    }

    /// Sees to it that the target's numbers for notes come behind every place that a reader of the
    /// source's notes has reached.
    async fn raise_note_numbers(&self) -> Result<(), Problem> {
        let key = format!("migration/~{:016x}", self.source.ledger.last_number());
        let changes = vec![NoteChange::put(&*key, []), NoteChange::delete(&*key)];
        self.target.write_notes(changes, Vec::new()).await.map(drop)
    }

    async fn notes(&mut self) -> Result<(), Problem> {
        let mut after: Option<String> = None;
        loop {
            let (page, last) = self.source.notes(after.as_deref()).await?;
            let Some(last) = last else { return Ok(()) };
            let (mut notes, mut bytes) = (Vec::new(), 0);
            for note in page {
                match note {
                    Ok(note) => {
                        bytes += note.value.len();
                        notes.push(note);
                    }
                    Err(skip) => self.tally.skipped(skip),
                }
                if bytes >= BYTES {
                    self.some_notes(after.as_deref(), mem::take(&mut notes))
                        .await?;
                    bytes = 0;
                }
            }
            self.some_notes(after.as_deref(), notes).await?;
            after = Some(last);
        }
    }

    /// Copies notes that come behind a key.
    async fn some_notes(&mut self, after: Option<&str>, notes: Vec<Note>) -> Result<(), Problem> {
        self.bar.inc(notes.len() as u64);
        for _ in 0..TRIES {
            if self.are_there(after, &notes).await? {
                return Ok(());
            }
            // They changed meanwhile, or an answer was lost.
        }
        Err(Problem::failed(
            "notes of the target change while they are copied: stop what uses it, and run this again",
        ))
    }

    /// Writes those notes that are not there. Returns whether they are there now.
    async fn are_there(&mut self, after: Option<&str>, notes: &[Note]) -> Result<bool, Problem> {
        let Some(last) = notes.last() else {
            return Ok(true);
        };
        let mut there = HashMap::new();
        let (end, mut place) = (last.key.clone(), after.map(str::to_owned));
        loop {
            let page = self.target.notes(place.as_deref(), PAGE).await?;
            let is_last = page.len() < PAGE;
            place = page.last().map(|note| note.key.clone());
            there.extend(page.into_iter().map(|note| (note.key, note.value)));
            if is_last || place.as_ref().is_some_and(|place| *place >= end) {
                break;
            }
        }
        let (mut changes, mut expected) = (Vec::new(), Vec::new());
        let (mut new, mut same) = (Vec::new(), Vec::new());
        for Note { key, value } in notes {
            let kind = Kind::of_note(key);
            match there.get(key) {
                Some(there) if there == value => same.push(kind),
                Some(_) => return Err(conflict(&format!("the note `{key}`"))),
                None => {
                    new.push(kind);
                    expected.push(ExpectedNote::absent(&**key));
                    changes.push(NoteChange::put(&**key, &**value));
                }
            }
        }
        if !changes.is_empty() && !self.target.write_notes(changes, expected).await? {
            return Ok(false);
        }
        same.into_iter().for_each(|kind| self.tally.there(kind));
        new.into_iter().for_each(|kind| self.tally.copied(kind));
        Ok(true)
    }

    /// A letter is written with a row, so each has one of its own for a while.
    async fn letters(&mut self) -> Result<(), Problem> {
        let mut letters = self.source.ledger.letters();
        while let Some(letter) = letters.next().await {
            match letter? {
                Err(skip) => self.tally.skipped(skip),
                Ok(letter) => {
                    let kind = Kind::of_letter(&letter);
                    let id = RecordId::new("idem/migration", letter.id.to_string());
                    let bytes = letter.payload.as_str().len();
                    let write = Write {
                        // The first sweep of a service removes it.
                        due: Some(self.source.since),
                        letter: Some(new(letter)),
                        ..Write::new(id, None, self.take_number())
                    };
                    let kinds = vec![kind];
                    self.push(Pending { write, kinds }, bytes).await?;
                }
            }
        }
        self.flush().await
    }

    async fn records(&mut self) -> Result<(), Problem> {
        let mut records = self.source.records();
        while let Some(record) = records.next().await {
            match record? {
                Err(skip) => self.tally.skipped(skip),
                Ok(moving) => self.record(moving).await?,
            }
        }
        self.flush().await
    }

    async fn record(&mut self, moving: Moving) -> Result<(), Problem> {
        self.tally.notes_end(&moving);
        let Moving {
            id, record, letter, ..
        } = moving;
        let mut kinds = vec![Kind::of_record(&record)];
        let write = first_write(id, self.take_number(), &record);
        let mut write = write.map_err(|error| Problem::failed(error.to_string()))?;
        if let Some(letter) = letter {
            kinds.push(Kind::OpenLetters);
            write
                .notes
                .push(NoteChange::put(unnotified_key(letter.id), []));
            write.letter = Some(new(letter));
        }
        let bytes = write.record.as_ref().map_or(0, Vec::len);
        self.push(Pending { write, kinds }, bytes).await
    }

    fn take_number(&mut self) -> u64 {
        self.number += 1;
        self.number - 1
    }

    async fn push(&mut self, pending: Pending, bytes: usize) -> Result<(), Problem> {
        self.batch.push(pending);
        self.bytes += bytes;
        if self.batch.len() >= ROWS || self.bytes >= BYTES {
            self.flush().await?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Problem> {
        let (mut left, count) = (mem::take(&mut self.batch), self.batch.len());
        self.bytes = 0;
        for _ in 0..TRIES {
            if left.is_empty() {
                break;
            }
            let writes: Vec<_> = left.iter().map(|pending| pending.write.clone()).collect();
            let versions = self.target.write(&writes).await?;
            let (done, there) = left
                .into_iter()
                .partition(|pending: &Pending| versions.contains(&pending.write.version));
            self.count(done, Tally::copied);
            left = self.compare(there).await?;
        }
        if let Some(Pending { write, .. }) = left.first() {
            return Err(Problem::failed(format!(
                "the row of {} comes and goes",
                write.id
            )));
        }
        self.bar.inc(count as u64);
        Ok(())
    }

    /// Compares what was there already, and returns what is there no more.
    async fn compare(&mut self, there: Vec<Pending>) -> Result<Vec<Pending>, Problem> {
        if there.is_empty() {
            return Ok(there);
        }
        let ids = there
            .iter()
            .map(|pending| pending.write.id.clone())
            .collect();
        let rows = self.target.rows(ids).await?;
        let (mut gone, mut same) = (Vec::new(), Vec::new());
        for (pending, row) in there.into_iter().zip(rows) {
            let Some(row) = row else {
                gone.push(pending);
                continue;
            };
            let record = row.record.as_ref().map(Record::encode).transpose();
            let mut is_same = record.is_ok_and(|record| record == pending.write.record);
            if let Some(LetterWrite { letter, .. }) = &pending.write.letter
                && is_same
            {
                is_same = self.target.letter(letter.id).await?.as_ref() == Some(letter);
            }
            if !is_same {
                return Err(conflict(&pending.write.id.to_string()));
            }
            same.push(pending);
        }
        self.count(same, Tally::there);
        Ok(gone)
    }

    fn count(&mut self, pending: Vec<Pending>, count: fn(&mut Tally, Kind)) {
        for kind in pending.into_iter().flat_map(|pending| pending.kinds) {
            count(&mut self.tally, kind);
        }
    }
}

fn new(letter: DeadLetter) -> LetterWrite {
    LetterWrite {
        letter,
        is_new: true,
    }
}

fn conflict(what: &str) -> Problem {
    Problem::failed(format!(
        "the target has other data for {what}, which was not changed: is it the ledger of another \
         service? Migrate into an empty one, by another name (`--schema`)"
    ))
}
