//! The findings of a folder.

use std::fs;
use std::path::Path;

use idem_runtime::Idem;
use idem_runtime::ledger::LedgerError;

use super::{Checkup, Kind, disk, letters, unfinished};
use crate::args::Place;
use crate::problem::Problem;
use crate::target::{OpenError, Target, copied, open};

pub(super) async fn examine(path: &Path, place: &Place) -> Checkup {
    let mut checkup = Checkup::of(format!("`{}`", path.display()));
    if path.is_dir() {
        disk::look(path, &mut checkup);
        if unwitnessed(path) {
            // Opening it would go on with the rest, which is a person's decision.
            checkup.wrong(
                Kind::NoWitness,
                "the file `witness` is missing: it cannot be checked whether the ledger is whole, and the next opening \
                 goes on with what is left",
                "restore the folder from a copy; or, when it was removed on purpose, start the service: what is missing \
                 would run again. If the service is refused then, move the folder away and start on an empty one",
            );
            return checkup;
        }
    }
    match open(path, place) {
        Err(error) => closed(&error, &mut checkup),
        Ok(idem) => {
            checkup.well("it can be written, and holds all that was acknowledged");
            if let Some(mark) = copied(path) {
                checkup.well(format!(
                    "it is a copy {mark}: messages that were recorded since may run again"
                ));
            }
            if let Err(Problem::Told(_, what)) = look(idem, &mut checkup).await {
                checkup.wrong(
                    Kind::Unreadable,
                    what,
                    "look at the disk, and restore the folder from a copy if it stays",
                );
            }
        }
    }
    checkup
}

async fn look(idem: Idem, checkup: &mut Checkup) -> Result<(), Problem> {
    let target = Target::in_process(idem, None)?;
    let looked = letters::look(&target, checkup).await;
    let unfinished = unfinished::look(&target, checkup).await;
    let closed = target.close().await;
    looked.and(unfinished).and(closed)
}

/// Returns whether there are records, or should be, and no witness of how many.
fn unwitnessed(path: &Path) -> bool {
    let log = fs::metadata(path.join("sled/db")).map_or(0, |log| log.len());
    let is_used = log > 0 || path.join("fjall/version").exists();
    (is_used || copied(path).is_some()) && !path.join("witness").exists()
}

fn closed(error: &OpenError, checkup: &mut Checkup) {
    let (what, fix) = error.says();
    let kind = match error {
        OpenError::NoLedger { .. } => Kind::NotALedger,
        OpenError::NotOurs { .. } => Kind::NotOurs,
        OpenError::NoWitness { .. } => Kind::NoWitness,
        OpenError::Ledger(LedgerError::Held { .. }) => {
            return checkup.closed(Kind::Held, what, fix);
        }
        OpenError::Ledger(LedgerError::NotWritable { .. }) => Kind::NotWritable,
        OpenError::Ledger(LedgerError::Full { .. }) => Kind::Full,
        OpenError::Ledger(LedgerError::Behind { .. }) => Kind::Behind,
        OpenError::Ledger(LedgerError::OddFile { .. }) => Kind::OddFile,
        OpenError::Ledger(LedgerError::Damaged { .. } | LedgerError::Poisoned { .. }) => {
            Kind::Damaged
        }
        OpenError::Ledger(_) | OpenError::Other(_) => Kind::Unreadable,
    };
    checkup.wrong(kind, what, fix);
}
