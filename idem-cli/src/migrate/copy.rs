//! Copying: a record, a letter or a note is written where there is none, and is left alone where there
//! is the same.

use std::collections::HashMap;
use std::mem;

use futures_util::StreamExt;
use idem_runtime::ledger::{ExpectedNote, Import, Imported, Note, NoteChange};
use idem_runtime::protocol::{Record, Settlement, StoredResult};
use indicatif::ProgressBar;

use super::source::{Moving, PAGE, Source, Stopped};
use super::tally::{Kind, Tally};
use super::target::Target;
use crate::problem::Problem;

/// The most writes of a batch, and about the most bytes.
const ROWS: usize = 500;
const BYTES: usize = 4 << 20;
/// How often notes are written that changed when they were compared.
const TRIES: usize = 3;

/// A copy under way.
pub(super) struct Copier<'a, O, T> {
    pub(super) source: Source<'a, O>,
    pub(super) target: &'a T,
    /// The first number that is set aside and free.
    pub(super) number: u64,
    pub(super) bar: ProgressBar,
    pub(super) tally: Tally,
    batch: Vec<Pending>,
    bytes: usize,
}

/// One that is to be written.
struct Pending {
    item: Import,
    /// What it is, and what its letter is.
    kinds: Vec<Kind>,
}

impl<'a, O: Stopped, T: Target> Copier<'a, O, T> {
    pub(super) fn new(source: Source<'a, O>, target: &'a T, number: u64, bar: ProgressBar) -> Self {
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
            let page = self.target.notes("", place.as_deref(), PAGE).await?;
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
                Some(_) => return Err(conflict(self.target, &format!("the note `{key}`"))),
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

    async fn letters(&mut self) -> Result<(), Problem> {
        let mut letters = self.source.ledger.letters();
        while let Some(letter) = letters.next().await {
            match letter? {
                Err(skip) => self.tally.skipped(skip),
                Ok(letter) => {
                    let kinds = vec![Kind::of_letter(&letter)];
                    let bytes = letter.payload.as_str().len();
                    let (record, letter) = (None, Some(letter));
                    let item = Import { record, letter };
                    self.push(Pending { item, kinds }, bytes).await?;
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
        kinds.extend(letter.is_some().then_some(Kind::OpenLetters));
        let bytes = bytes_of(&record);
        let record = Some((id, record));
        let item = Import { record, letter };
        self.push(Pending { item, kinds }, bytes).await
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
        let batch = mem::take(&mut self.batch);
        self.bytes = 0;
        if batch.is_empty() {
            return Ok(());
        }
        let (count, first) = (batch.len() as u64, self.number);
        self.number += count;
        let items = batch.iter().map(|pending| pending.item.clone()).collect();
        let came = self.target.write(items, first).await?;
        for (Pending { item, kinds }, came) in batch.into_iter().zip(came) {
            let count = match came {
                Imported::Written => Tally::copied,
                Imported::Same => Tally::there,
                Imported::Conflict => return Err(conflict(self.target, &name_of(&item))),
            };
            kinds
                .into_iter()
                .for_each(|kind| count(&mut self.tally, kind));
        }
        self.bar.inc(count);
        Ok(())
    }
}

/// Returns about how many bytes a record has: its payload, or its result.
fn bytes_of(record: &Record) -> usize {
    match record {
        Record::Live(live) => live.payload.len(),
        Record::Settled(settled) => match &settled.end {
            Settlement::Done(StoredResult::Json { json, .. }) => json.len(),
            _ => 0,
        },
    }
}

fn name_of(item: &Import) -> String {
    match (&item.record, &item.letter) {
        (Some((id, _)), _) => id.to_string(),
        (None, Some(letter)) => format!("the dead letter {}", letter.id),
        (None, None) => String::new(),
    }
}

fn conflict(target: &impl Target, what: &str) -> Problem {
    Problem::failed(format!(
        "the target has other data for {what}, which was not changed: is it the ledger of another \
         service? Migrate into an empty one, {}",
        target.elsewhere()
    ))
}
