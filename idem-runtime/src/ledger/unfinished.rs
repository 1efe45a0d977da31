//! A ledger that a migration is yet to fill: no service may open it before all is there.

/// The key of the note that a migration leaves in its target until all is copied.
#[doc(hidden)]
pub const UNFINISHED_MIGRATION: &str = "migration/unfinished";

/// Why a service may not open a ledger with that note.
pub(super) const NOT_ALL_IS_THERE: &str = "a migration into it is not finished, and the messages of keys that are yet \
     to be copied would run again: run the same `idem migrate` once more, until it says that all is there, or remove \
     this one";
