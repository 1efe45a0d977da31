//! What a ledger remembers of a key, what can be asked of it, and the one function that decides.
//!
//! A ledger of any kind is a place where [`decide`] happens atomically and durably.

mod death;
mod decide;
pub(crate) mod encoding;
mod letter;
mod origin;
mod record;
mod reused;
mod step;

pub use decide::{Change, Decision, Facts, LetterChange, claim as decide_claim, decide};
pub use letter::{
    Act, AttemptOutcome, By, DeadLetter, DeadLetterId, Deed, LetterState, PastAttempt, Reason,
};
pub use origin::Origin;
pub use record::{
    Budget, Fingerprint, Live, Phase, Record, RecordId, Redriven, Settled, SettledAs, StoredResult,
    Unread,
};
pub use reused::{Difference, Holder, Reused};
pub use step::{Awaited, Bury, Claim, Failed, Reply, Started, Step};

#[cfg(test)]
mod tests;
