//! What can be wrong with a folder.

use std::fs;
use std::path::Path;

use idem_runtime::ledger::LedgerError;

use super::{Checkup, Kind, disk, letters, unfinished};
use crate::cli::problem::Problem;
use crate::cli::target::{Folder, Refused, Target};

pub(super) async fn examine(path: &Path) -> Checkup {
    let mut checkup = Checkup::of(format!("`{}`", path.display()));
    if path.is_dir() {
        disk::look(path, &mut checkup);
        if unwitnessed(path) {
            // Opening it would go on with what is left, and that is for a person to decide.
            checkup.wrong(
                Kind::NoWitness,
                "the file `witness` is missing: nothing tells any more whether the ledger is whole, and the next opening \
                 goes on with what is left",
                "restore the folder from a copy; or, when it was removed on purpose, start the service: what is missing \
                 would run again",
            );
            return checkup;
        }
    }
    match Folder::open(path, None).await {
        Err(refused) => closed(&refused, &mut checkup),
        Ok(folder) => {
            checkup.well("it can be written, and holds all that was acknowledged");
            let looked = letters::look(&folder, &mut checkup).await;
            let unfinished = unfinished::look(&folder, &mut checkup).await;
            let closed = folder.close().await;
            if let Err(Problem::Told(_, what)) = looked.and(unfinished).and(closed) {
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

/// Whether there are records and no witness of how many there should be.
fn unwitnessed(path: &Path) -> bool {
    let log = fs::metadata(path.join("sled/db")).map_or(0, |log| log.len());
    log > 0 && !path.join("witness").exists()
}

fn closed(refused: &Refused, checkup: &mut Checkup) {
    let (what, fix) = refused.says();
    let kind = match refused {
        Refused::NoLedger { .. } => Kind::NotALedger,
        Refused::NotOurs { .. } => Kind::NotOurs,
        Refused::Ledger(LedgerError::Held { .. }) => return checkup.closed(Kind::Held, what, fix),
        Refused::Ledger(LedgerError::NotWritable { .. }) => Kind::NotWritable,
        Refused::Ledger(LedgerError::Full { .. }) => Kind::Full,
        Refused::Ledger(LedgerError::Behind { .. }) => Kind::Behind,
        Refused::Ledger(LedgerError::OddFile { .. }) => Kind::OddFile,
        Refused::Ledger(LedgerError::Damaged { .. } | LedgerError::Poisoned { .. }) => {
            Kind::Damaged
        }
        Refused::Ledger(_) | Refused::Other(_) => Kind::Unreadable,
    };
    checkup.wrong(kind, what, fix);
}
