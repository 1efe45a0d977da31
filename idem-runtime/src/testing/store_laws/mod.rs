//! The laws that every store keeps, one function each: what a shared ledger relies on and its own
//! [laws](super::laws) do not see. The author of a store runs them all, by name:
//!
//! ```
//! use std::sync::Arc;
//! use idem_runtime::testing::{ManualClock, MemoryStore, store_laws::Subject};
//!
//! fn open() -> Subject<MemoryStore> {
//!     let clock = ManualClock::default();
//!     let data = MemoryStore::new(Arc::new(clock.clone()));
//!     Subject::new(clock, move || std::future::ready(data.clone()))
//! }
//! mod memory_store {
//!     idem_runtime::store_laws!(super::open);
//! }
//! # fn main() {}
//! ```

#![expect(
    clippy::unwrap_used,
    reason = "a law is a test: trouble with the store fails it"
)]

mod due;
mod letters;
mod member;
mod notes;
mod rows;
mod runners;
mod texts;
mod time;
mod transactions;

use std::any::Any;
use std::time::Duration;

pub use due::*;
pub use letters::*;
pub use notes::*;
pub use rows::*;
pub use runners::*;
pub use texts::*;
pub use time::*;
pub use transactions::*;

use member::Member;

use super::ManualClock;
use super::judge::judge;
use crate::clock::BoxFuture;
use crate::ledger::shared::{Runner, Store};

/// One named test for each law. `$open` is a path to a `fn() -> Subject<impl Store>` that makes an
/// empty store.
#[macro_export]
macro_rules! store_laws {
    ($open:path) => {
        $crate::store_laws!($open;
            a_runner_that_is_not_known_writes_nothing
            a_dead_runner_writes_nothing
            a_beat_does_not_revive_a_dead_runner
            a_lease_counts_from_the_last_beat
            a_runner_is_retired_by_the_lease_that_was_read
            a_runner_is_retired_whatever_its_lease
            a_row_is_read_as_it_was_written
            a_write_that_loses_its_race_leaves_the_others_of_its_batch
            of_two_batches_at_once_each_row_takes_one_write
            a_row_without_a_record_is_a_row
            a_large_batch_is_made_whole
            a_letter_and_notes_go_with_their_row
            a_letter_that_is_gone_keeps_its_write_from_taking_place
            a_live_row_is_due_by_its_time
            a_live_row_is_due_when_its_owner_is_late_or_dead
            rows_that_are_due_come_by_the_page
            rows_that_wait_are_counted
            only_what_is_due_and_not_live_is_removed
            letters_are_chosen_by_a_filter
            a_letter_is_as_it_was_written_last
            closed_letters_are_removed_with_their_markers
            notes_are_read_in_the_order_of_their_bytes
            the_last_change_of_a_note_counts
            a_guarded_write_of_notes_is_whole
            numbers_of_notes_grow_as_they_become_readable
            numbers_of_notes_grow_within_a_write
            a_number_from_elsewhere_makes_later_ones_larger
            record_keys_come_back_exactly
            letter_keys_come_back_exactly
            note_keys_come_back_exactly
            numbers_grow_across_processes_and_openings
            what_was_answered_is_there_after_a_reopening
            time_does_not_go_back
            a_transaction_is_committed_whole
            a_dropped_transaction_leaves_nothing
            a_transaction_sees_its_own_writes
            a_transaction_compares_what_it_writes
            of_two_transactions_of_a_row_one_is_committed
            a_dead_runner_writes_nothing_in_a_transaction
        );
    };
    ($open:path; $($law:ident)+) => {
        $(#[test]
        fn $law() {
            $crate::testing::store_laws::hold($open, $crate::testing::store_laws::$law);
        })+
    };
}

/// A store under test, and its clock.
pub struct Subject<S> {
    clock: ManualClock,
    connect: Box<dyn Fn() -> BoxFuture<'static, S> + Send + Sync>,
    patience: Duration,
    kept: Vec<Box<dyn Any>>,
}

impl<S: Store> Subject<S> {
    /// Returns an empty store whose time is this clock's, and says how a process connects to it:
    /// each time another one.
    pub fn new<F>(clock: ManualClock, connect: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = S> + Send + 'static,
    {
        Self {
            clock,
            connect: Box::new(move || Box::pin(connect())),
            patience: Duration::from_secs(60),
            kept: Vec::new(),
        }
    }

    /// Keeps something until the law is judged: a folder, a server.
    #[must_use]
    pub fn keeping(mut self, kept: impl Any) -> Self {
        self.kept.push(Box::new(kept));
        self
    }

    /// Sets how long a law may take (default: a minute).
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Connects a process whose runner lives.
    async fn member(&self, name: &str) -> Member<S> {
        let member = Member {
            store: (self.connect)().await,
            runner: Runner::from(name),
        };
        member.beat().await.unwrap();
        member
    }
}

/// Judges one law.
///
/// # Panics
/// When the store breaks the law, or does not answer.
pub fn hold<S: Store, F: Future<Output = ()>>(
    open: impl FnOnce() -> Subject<S>,
    law: impl FnOnce(Subject<S>) -> F + Send + 'static,
) {
    let Subject {
        clock,
        connect,
        patience,
        kept,
    } = open();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(2);
    judge("store", runtime, patience, move || {
        law(Subject {
            clock,
            connect,
            patience,
            kept: Vec::new(),
        })
    });
    drop(kept);
}
