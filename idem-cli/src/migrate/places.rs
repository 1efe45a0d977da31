//! Where a migration begins and ends.

use std::path::Path;

use crate::problem::Problem;
use crate::target::LedgerPlace;

/// The name of a ledger on a server, where no other is given.
const NAME: &str = "idem";

/// Checks that the two places can be told apart, and that what was given for them applies.
pub(super) fn check(from: (&LedgerPlace, &str), to: (&LedgerPlace, &str)) -> Result<(), Problem> {
    for (option, (place, name)) in [("--from-schema", from), ("--schema", to)] {
        if matches!(place, LedgerPlace::Folder(_)) && name != NAME {
            let text = format!("`{option}` is for a ledger on a server: a folder has no name");
            return Err(Problem::usage(text));
        }
    }
    match (from.0, to.0) {
        (LedgerPlace::Shared(server), LedgerPlace::Shared(other))
            if server == other && from.1 == to.1 =>
        {
            Err(Problem::usage(
                "the target is the source: give another server, or another name with `--schema`",
            ))
        }
        (LedgerPlace::Folder(source), LedgerPlace::Folder(target)) if is_within(target, source) => {
            Err(Problem::usage(
                "the target is the source, or in it: give a folder beside it",
            ))
        }
        _ => Ok(()),
    }
}

/// Returns whether a folder, which may be yet to be made, is another one or in it.
fn is_within(folder: &Path, of: &Path) -> bool {
    let Ok(of) = of.canonicalize() else {
        return false;
    };
    let Ok(folder) = std::path::absolute(folder) else {
        return false;
    };
    let there = folder
        .ancestors()
        .find_map(|above| above.canonicalize().ok());
    there.is_some_and(|there| there.starts_with(of))
}

/// Returns a place as people write it, with the ledger's name unless it is the usual one.
pub(super) fn named(place: &LedgerPlace, name: &str) -> String {
    match place {
        LedgerPlace::Shared(url) if name != NAME => format!("{url} ({name})"),
        place => place.to_string(),
    }
}
