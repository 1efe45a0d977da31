//! Helpers for tests of handlers and of ledgers: a temporary [`Idem`](crate::Idem), a clock that
//! stands still, a ledger in memory, and the laws that every ledger and every store keeps. The feature `testing`
//! turns them on. The crate `idem-crashtest` adds crashes at every write.

mod clock;
#[cfg(feature = "sled")]
#[doc(hidden)]
pub mod internals;
mod judge;
pub mod laws;
mod memory;
mod process;
mod store;
pub mod store_laws;
#[cfg(feature = "sled")]
mod temporary;
mod unreliable;

pub use clock::ManualClock;
pub use memory::{MemoryLedger, open_on};
pub use process::Process;
pub use store::{
    Calls, ClockedStore, ClockedTransaction, MemoryStore, MemoryTransaction, ServerClock,
    ServerTime, StoreCall, StoreFault, UnreliableStore, UnreliableTransaction,
};
#[cfg(feature = "sled")]
pub use temporary::{Temporary, temporary, temporary_with};
pub use unreliable::{LedgerCall, LedgerFault, UnreliableLedger};
