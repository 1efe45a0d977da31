//! A copy of the folder while the ledger works: what its rows are at one moment. Nothing waits for it.

use std::path::Path;

use super::db::Db;
use super::opening::Opened;
use super::shared::Shared;
use crate::failpoint;
use crate::ledger::LedgerError;
use crate::ledger::folder::witness::Witness;
use crate::ledger::folder::{Folder, copied};

/// The cache of a copy: small beside the ledger's own.
const CACHE: u64 = 16 << 20;

/// Copies an open ledger into a folder that is empty or not there.
pub(super) fn copy(shared: &Shared, db: &Db, to: &Path) -> Result<(), LedgerError> {
    copied::make(&shared.folder, to, |copy| fill(shared, db, copy))
}

fn fill(shared: &Shared, db: &Db, copy: &Folder) -> Result<(), LedgerError> {
    let refused = |error| copy.refused(&error);
    let rows = db.at_one_moment()?;
    // The witness comes first: a copy that is cut short is refused, and not opened as a smaller ledger.
    let group = rows.meta()?.group;
    Witness::start(copy, group).map_err(refused)?;
    copied::mark(copy.path(), shared.folder.path(), shared.clock.now()).map_err(refused)?;
    failpoint::point!(COPYING);
    rows.copy_to(&Db::open(&copy.tree(), copy.path(), CACHE)?)?;
    copy.sync_names(true)?;
    let proved = Opened::read(copy, CACHE, Some(group)).map(drop);
    proved.map_err(|error| LedgerError::NotCopied {
        path: copy.path().to_owned(),
        reason: format!("it does not hold all that was acknowledged ({error}); copy again"),
    })
}
