//! The laws that every ledger keeps, one function each. The author of a ledger runs them all, by
//! name:
//!
//! ```
//! use std::sync::Arc;
//! use idem_runtime::testing::{ManualClock, MemoryLedger, laws::Subject};
//!
//! fn open() -> Subject {
//!     let clock = ManualClock::default();
//!     Subject::new(Arc::new(MemoryLedger::new(Arc::new(clock.clone()))), clock)
//! }
//! mod memory_ledger {
//!     idem_runtime::ledger_laws!(super::open);
//! }
//! # fn main() {}
//! ```

#![expect(
    clippy::unwrap_used,
    reason = "a law is a test: trouble with the ledger fails it"
)]

mod again;
mod claims;
mod deliveries;
mod endings;
mod letters;
mod notes;
mod processes;
mod threads;
mod tokens;
mod transactions;

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

pub use again::*;
pub use claims::*;
pub use deliveries::*;
pub use endings::*;
pub use letters::*;
pub use notes::*;
pub use processes::*;
pub use threads::*;
pub use tokens::*;
pub use transactions::*;

use jiff::SignedDuration;

use super::ManualClock;
use super::judge::judge;
use crate::ledger::{Leases, Ledger};
use crate::protocol::{
    Actor, AttemptOutcome, Budget, Claim, DeadLetter, DeadLetterId, Failed, Fingerprint, Grant,
    RecordId, RedrivePayload, Reply, Step, StoredResult,
};

/// One named test for each law. `$open` is a path to a `fn() -> Subject` that opens an empty
/// ledger.
#[macro_export]
macro_rules! ledger_laws {
    ($open:path) => {
        $crate::ledger_laws!($open;
            a_first_claim_runs_as_attempt_one
            a_live_claim_is_given_once
            of_many_claims_at_once_one_runs
            a_claim_of_its_own_that_was_never_reported_counts_as_crashed
            a_lapsed_lease_passes_the_claim_on
            a_renewed_lease_does_not_lapse
            an_old_token_changes_nothing
            tokens_of_a_key_only_grow
            a_claim_asked_again_is_one_attempt
            a_claim_with_another_number_counts_the_one_before
            a_claim_asked_again_after_its_report_runs_nothing
            a_claim_asked_again_after_another_owner_took_the_key_waits
            a_step_asked_twice_at_once_is_made_once
            a_dropped_step_has_no_effect_after_the_second_answer
            a_thread_that_blocks_gets_its_answer
            an_answer_needs_no_runtime
            a_ledger_outlives_the_runtime_that_asked_it
            a_future_is_small
            of_the_claims_of_two_processes_one_runs
            a_lease_is_as_long_for_a_process_with_another_clock
            a_process_sees_what_another_one_was_answered
            a_killed_process_leaves_its_claims_to_the_others
            of_the_guarded_writes_of_two_processes_one_happens
            a_committed_transaction_recorded_its_result
            a_dropped_transaction_does_nothing
            a_transaction_refuses_a_note_whose_key_is_too_long
            a_transaction_of_a_lost_claim_records_nothing
            a_commit_and_another_claim_exclude_each_other
            an_attempt_without_a_claim_is_recorded_as_a_whole
            of_two_attempts_without_a_claim_one_is_recorded
            a_failed_attempt_without_a_claim_counts
            an_attempt_is_not_recorded_after_another_one_failed
            a_record_that_runs_is_not_foreseen
            another_fingerprint_is_refused_in_every_state
            a_claim_without_a_fingerprint_compares_none
            odd_keys_do_not_meet
            a_step_happens_even_when_its_future_is_dropped
            a_claim_given_back_was_no_attempt
            a_result_is_replayed_exactly
            large_values_come_back_whole
            a_failure_waits_for_its_pause
            messages_that_wait_are_counted
            an_outage_costs_no_attempt
            a_clock_that_steps_back_does_not_lengthen_a_pause
            a_lowered_budget_takes_effect_with_the_next_attempt
            a_report_said_twice_is_recorded_once
            a_result_is_forgotten_after_its_time
            a_key_is_issued_once_until_it_lapses
            a_key_that_is_issued_for_longer_is_issued_once
            the_last_failure_writes_one_letter
            a_permanent_error_dies_at_once
            an_unknown_outcome_is_buried_where_asked
            a_dead_message_does_not_run
            a_redrive_gives_a_fresh_budget
            a_token_of_before_a_redrive_is_stale
            a_discarded_message_does_not_run_until_its_time_is_over
            a_letter_is_closed_once
            letters_are_listed_newest_first_by_the_page
            an_abandoned_message_becomes_a_letter
            closed_letters_are_history_for_a_while
            a_redriven_message_that_never_comes_is_a_letter_again
            a_discard_can_be_undone
            an_undone_discard_does_not_answer
            an_edit_is_kept_with_what_was_before
            what_is_erased_is_gone_and_stays_settled
            a_letter_says_where_its_message_came_from
            an_unreadable_message_is_one_letter
            a_burial_leaves_another_message_alone
            a_redriven_unreadable_message_is_forgotten
            a_discarded_unreadable_message_stays_out_for_its_time
            a_redrive_without_a_claim_can_be_undone
            a_redrive_whose_claim_is_given_back_waits_again
            a_forgotten_letter_is_not_restored
            a_rearmed_unreadable_message_is_what_it_was
            notes_are_written_together_and_read_in_order
            a_result_and_its_notes_are_one_write
            a_new_letter_has_a_marker_until_it_is_deleted
            notes_come_after_what_was_asked_before_and_wait_for_nothing_later
            numbers_of_notes_grow_as_they_are_recorded
            a_reader_of_numbered_notes_misses_none
            a_note_whose_key_is_too_long_is_refused
            a_guarded_write_needs_what_it_expects
            of_many_guarded_writes_one_happens
        );
    };
    ($open:path; $($law:ident)+) => {
        $(#[test]
        fn $law() {
            $crate::testing::laws::hold($open, $crate::testing::laws::$law);
        })+
    };
}

/// A ledger under test, and the clock it runs on.
pub struct Subject {
    /// The ledger, empty.
    pub ledger: Arc<dyn Ledger>,
    /// Its clock.
    pub clock: ManualClock,
    again: Option<Arc<Open>>,
    patience: Duration,
    // Fields drop in order: the ledger lets go of what it stands on before that goes.
    _kept: Vec<Box<dyn Any + Send + Sync>>,
}

type Open = dyn Fn(ManualClock) -> Subject + Send + Sync;

impl Subject {
    /// A ledger and the clock that was given to it.
    pub fn new(ledger: Arc<dyn Ledger>, clock: ManualClock) -> Self {
        Self {
            ledger,
            clock,
            again: None,
            patience: Duration::from_secs(60),
            _kept: Vec::new(),
        }
    }

    /// Keeps something until the law is judged: a folder, a server.
    #[must_use]
    pub fn keeping(mut self, kept: impl Any + Send + Sync) -> Self {
        self._kept.push(Box::new(kept));
        self
    }

    /// Says how the same data is opened by another process, which has this clock: it may be ahead of
    /// the first one, or behind. A store on a server keeps its own clock. If the ledger has
    /// no leases, it was closed before. When the other subject is dropped, its process is killed.
    #[must_use]
    pub fn opened_again(
        mut self,
        open: impl Fn(ManualClock) -> Self + Send + Sync + 'static,
    ) -> Self {
        self.again = Some(Arc::new(open));
        self
    }

    /// Sets how long a law may take (default: a minute).
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Opens the same data as another process, whose clock is ahead of this one's, or behind.
    fn another(&self, ahead: SignedDuration) -> Option<Self> {
        if self.ledger.capabilities().leases == Leases::None {
            return None;
        }
        self.again
            .as_ref()
            .map(|open| open(self.clock.ahead(ahead)))
    }

    /// Opens the same data once more, as after a restart.
    async fn reopened(&self) -> Option<Self> {
        let open = self.again.as_ref()?;
        if self.ledger.capabilities().leases == Leases::None {
            self.ledger.close().await.unwrap();
        }
        Some(open(self.clock.clone()))
    }

    async fn step(&self, key: &str, step: Step) -> Reply {
        self.ledger
            .apply(&id(key), step)
            .await
            .unwrap_or_else(|error| panic!("the ledger is in trouble: {error}"))
    }

    /// Claims and expects to run.
    async fn start(&self, key: &str) -> Grant {
        self.start_as(key, claim()).await
    }

    async fn start_as(&self, key: &str, claim: Claim) -> Grant {
        match self.step(key, Step::Claim(claim)).await {
            Reply::Run(started) => started,
            other => panic!("expected a claim of `{key}` to run, got {other:?}"),
        }
    }

    /// Claims and expects the result of an earlier claim.
    async fn replay(&self, key: &str) -> StoredResult {
        match self.step(key, Step::Claim(claim())).await {
            Reply::Replay { result, .. } => result,
            other => panic!("expected a claim of `{key}` to be a replay, got {other:?}"),
        }
    }

    async fn fail(&self, key: &str, token: u64, outcome: AttemptOutcome) -> Reply {
        self.step(key, Step::Fail(failed(token, outcome))).await
    }

    /// Fails a message to death and gives its letter.
    async fn kill(&self, key: &str) -> DeadLetter {
        let started = self.start(key).await;
        match self
            .fail(key, started.token, AttemptOutcome::Permanent)
            .await
        {
            Reply::DeadLettered(letter) => *letter,
            other => panic!("expected a letter of `{key}`, got {other:?}"),
        }
    }
}

/// Judges one law twice: on a runtime with several threads, and on one of a single thread.
///
/// # Panics
/// When the ledger breaks the law, or does not answer.
pub fn hold<F: Future<Output = ()>>(
    open: impl Fn() -> Subject,
    law: impl Fn(Arc<Subject>) -> F + Copy + Send + 'static,
) {
    let mut threads = tokio::runtime::Builder::new_multi_thread();
    threads.worker_threads(2);
    for runtime in [threads, tokio::runtime::Builder::new_current_thread()] {
        let subject = open();
        let patience = subject.patience;
        judge("ledger", runtime, patience, move || law(Arc::new(subject)));
    }
}

/// Longer than what passes while a bad network loses a claim three times.
const PAUSE: Duration = Duration::from_secs(40);
const LEASE: Duration = Duration::from_secs(30);
const TTL: Duration = Duration::from_secs(3600);

fn id(key: &str) -> RecordId {
    RecordId::new("laws", key)
}

/// A claim of another owner.
fn of_another() -> Claim {
    Claim {
        owner: "two".into(),
        ..claim()
    }
}

/// A claim with two retries.
fn claim() -> Claim {
    let payload = br#"{"sku":"TEA-500"}"#.as_slice();
    Claim::new("one", payload, Budget::new(2, TTL), LEASE).fingerprint(Fingerprint([1; 16]))
}

fn failed(token: u64, outcome: AttemptOutcome) -> Failed {
    Failed::new(token, outcome, PAUSE).error("no stock")
}

fn complete(token: u64, json: &str) -> Step {
    Step::Complete {
        token,
        result: StoredResult::json(json.as_bytes()),
        notes: Vec::new(),
    }
}

fn redrive(letter: DeadLetterId) -> Step {
    let mut payload = RedrivePayload::new(claim().payload);
    payload.arguments = Some(2);
    Step::Redrive {
        letter,
        payload: Some(Box::new(payload)),
        by: Actor::default(),
    }
}

fn discard(letter: DeadLetterId, why: &str) -> Step {
    Step::Discard {
        letter,
        by: Actor {
            who: Some("ann".to_owned()),
            why: Some(why.to_owned()),
        },
    }
}
