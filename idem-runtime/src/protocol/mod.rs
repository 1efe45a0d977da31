//! The protocol between the runtime and a ledger: the record of a key, the steps and replies, and
//! the one function that decides, [`decide`].
//!
//! A ledger runs [`decide`] atomically and makes its decision durable. See
//! [`Ledger`](crate::ledger::Ledger).

mod action;
mod attempt;
mod death;
mod decide;
mod decision;
pub(crate) mod encoding;
mod letter;
mod live;
pub(crate) mod note;
mod origin;
mod record;
mod reused;
mod sealed;
mod step;
mod whole;

pub use action::{Action, ActionKind, Actor};
pub use attempt::{AttemptOutcome, PastAttempt};
pub use decide::{claim as decide_claim, decide};
pub use decision::{Change, Decision, Facts, LetterChange, Writes};
pub use letter::{DeadLetter, DeadLetterId, LetterState, Reason};
pub use note::{ExpectedNote, Note, NoteChange, check_keys, unnotified_key};
pub use origin::Origin;
pub(crate) use record::differ;
pub use record::{
    Budget, BuryCause, FIRST_VERSION, Fingerprint, Live, OnCrash, Phase, Record, RecordId,
    RedrivenFrom, Settled, Settlement, StoredResult,
};
pub use reused::{Difference, Holder, Reused};
pub use sealed::Sealed;
pub use step::{
    Bury, Claim, Failed, Foreseen, Grant, RedrivePayload, Reply, Seen, Step, WholeAttempt,
};

#[cfg(test)]
mod tests;
