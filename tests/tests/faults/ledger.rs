//! A folder and what was acknowledged of it, for tests that make the disk fail under it.

use std::collections::BTreeSet;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use fail::FailScenario;
use futures_util::future::join_all;
use idem_runtime::ledger::Engine;
use idem_runtime::{Error, Filter, Idem, idempotent};
use tempfile::TempDir;

use crate::shim::{Disk, Life};
use crate::{Oops, Starts, copy, soon};

pub(crate) const LOG: &str = "sled/db";

/// What the victim calls so, but for its body: one that starts is counted.
#[idempotent(name = "victim.text", key = "number", retries = 0, skip(starts))]
async fn text(number: u32, starts: &Starts) -> Result<String, Oops> {
    starts.add();
    Err(Oops::Own(number))
}

/// A folder, and the numbers that were acknowledged.
pub(crate) struct Ledger {
    folder: TempDir,
    pub(crate) known: BTreeSet<u32>,
}

impl Ledger {
    pub(crate) fn new() -> Self {
        // In memory where that is possible: what comes to a disk is the shim's business.
        let folder = tempfile::tempdir_in("/dev/shm")
            .or_else(|_| tempfile::tempdir())
            .unwrap();
        Self {
            folder,
            known: BTreeSet::new(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Some segments of log after the last snapshot, killed at work; letters and values of many
    /// chunks are among it.
    pub(crate) fn killed() -> Self {
        let mut ledger = Self::new();
        // An opening leaves a snapshot of what there is, and the last life is the longest.
        for rounds in [2, 3, 12] {
            let first = ledger.next();
            let last_line = format!("answered {}", first + rounds * 16);
            let life = ledger
                .bring(&Disk::default(), first..u32::MAX, &last_line)
                .unwrap();
            assert_eq!(life.errors().next(), None);
        }
        ledger
    }

    /// The same on fjall.
    pub(crate) fn killed_on_fjall() -> Self {
        let mut ledger = Self::new();
        fs::create_dir(ledger.path().join("fjall")).unwrap();
        for rounds in [2, 6] {
            let first = ledger.next();
            let last_line = format!("answered {}", first + rounds * 16);
            let life = ledger.bring(&Disk::default(), first..u32::MAX, &last_line);
            assert_eq!(life.unwrap().errors().next(), None);
        }
        ledger
    }

    /// As it is when it was opened and closed by the rules: the snapshot is of nearly everything.
    pub(crate) async fn closed() -> Self {
        let ledger = Self::killed();
        let _alone = FailScenario::setup();
        let idem = Idem::open(ledger.path()).unwrap();
        soon(idem.close()).await.unwrap();
        ledger
    }

    /// The same without its snapshot: sled reads the whole log.
    pub(crate) fn without_snapshot() -> Self {
        let ledger = Self::killed();
        for file in fs::read_dir(ledger.path().join("sled"))
            .unwrap()
            .map(Result::unwrap)
        {
            if file.file_name().to_string_lossy().starts_with("snap.") {
                fs::remove_file(file.path()).unwrap();
            }
        }
        ledger
    }

    /// The first answers, with a log that fits in one segment.
    pub(crate) fn young() -> Self {
        let mut ledger = Self::new();
        ledger.work(&Disk::default(), 1).unwrap();
        ledger
    }

    pub(crate) fn copy(&self) -> Self {
        let ledger = Self {
            known: self.known.clone(),
            ..Self::new()
        };
        copy(self.path(), ledger.path());
        ledger
    }

    /// The first number of the first round that nothing is known of.
    pub(crate) fn next(&self) -> u32 {
        self.known.last().map_or(0, |last| last / 16 * 16 + 16)
    }

    /// Lets a victim bring fresh numbers for some rounds, and end as if it were killed.
    pub(crate) fn work(&mut self, disk: &Disk, rounds: u32) -> Result<Life, String> {
        self.bring(disk, self.next()..self.next() + rounds * 16, "")
    }

    /// Lets a victim bring numbers, and kills it at a line.
    pub(crate) fn bring(
        &mut self,
        disk: &Disk,
        numbers: Range<u32>,
        last_line: &str,
    ) -> Result<Life, String> {
        let Range { start, end } = numbers;
        let rounds = ["rounds", &start.to_string(), &end.to_string()];
        let life = disk.live_until(self.path(), &rounds, |line| line == last_line);
        let again: Vec<_> = life
            .numbers("ran")
            .into_iter()
            .filter(|number| self.known.contains(number))
            .collect();
        self.known.extend(life.numbers("answered"));
        if again.is_empty() {
            Ok(life)
        } else {
            Err(format!("what was acknowledged ran again: {again:?}"))
        }
    }

    /// A copy of the log, for the shim to keep as the disk's: an empty one where there is no log yet.
    pub(crate) fn disk(&self) -> PathBuf {
        let (disk, log) = (self.path().join("disk"), self.path().join(LOG));
        let read = fs::read(log).unwrap_or_default();
        fs::write(&disk, read).unwrap();
        disk
    }

    /// Cuts the power: what the system kept for the log and had not brought to the disk is gone.
    pub(crate) fn cut(&self) {
        fs::rename(self.path().join("disk"), self.path().join(LOG)).unwrap();
    }

    /// Checks the folder, whatever was said before.
    pub(crate) async fn check_after(&self, said: Result<(), String>) -> Result<(), String> {
        match (said, self.check().await) {
            (said, Ok(())) => said,
            (Ok(()), wrong) => wrong,
            (Err(said), Err(wrong)) => Err(format!("{said}; then: {wrong}")),
        }
    }

    /// Whether it opens and holds everything that was acknowledged: each number has its result or
    /// its letter, and no body starts.
    pub(crate) async fn check(&self) -> Result<(), String> {
        // The failpoints of another test are this one's too, where both run in one process.
        let _alone = FailScenario::setup();
        let engine = Engine::of(self.path()).unwrap_or_default();
        let idem = Idem::builder().engine(engine).open(self.path());
        let idem = idem.map_err(|error| format!("it does not open: {error}"))?;
        let starts = Starts::default();
        let calls = self
            .known
            .iter()
            .map(|number| idem.scope(text(*number, &starts)));
        for (number, answer) in self.known.iter().zip(soon(join_all(calls)).await) {
            let times = if number % 5 == 0 { 4000 } else { 400 };
            match answer {
                Ok(text) if number % 10 != 9 && text == number.to_string().repeat(times) => {}
                Err(Oops::Idem(Error::DeadLettered { .. })) if number % 10 == 9 => {}
                other => return Err(format!("number {number}: {:.200}", format!("{other:?}"))),
            }
        }
        if starts.count() > 0 {
            return Err(format!("{} bodies started", starts.count()));
        }
        let letters = soon(idem.dead_letters().list(&Filter::default().limit(1000))).await;
        let letters = letters.map_err(|error| format!("letters: {error}"))?;
        let expected = self.known.iter().filter(|number| *number % 10 == 9).count();
        // There may be one more: its call had not been answered when the process died.
        if letters.len() < expected {
            return Err(format!("{} letters of {expected}", letters.len()));
        }
        soon(idem.close())
            .await
            .map_err(|error| format!("it does not close: {error}"))
    }
}
