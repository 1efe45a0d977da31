//! Mistakes in the shared core's rules, one at a time: the check must find each of them.

use stateright::{Expectation, Model};

use super::properties::*;
use super::world::{Core, Limits, Mode, Scene};
use super::{SCENE, with};
use crate::bugs::found;
use crate::properties::{CHARGED, ENDED, FENCED, ONE_CLAIM, SENSE};
use crate::world::Ending;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bug {
    KeptAfterRollBack,
    CommitNotLookedUp,
    DeadRunnerWrites,
    ChargedTwice,
    OtherKey,
    NothingLeftBehind,
    OldRemovedAtOnce,
    StaleBlock,
    NotRetired,
    TrustsMemory,
    TriedInAnEarlierLife,
    ClockThatLags,
    OwnClock,
    OwnBeatIsLate,
    EarlierLifeIsCharged,
    CommittedWithoutItsRecord,
    RecordedAsAnotherAttempt,
    FailureInAPause,
    FailureCountedTwice,
    StartedUnseen,
}

/// Two bodies that claim with their end.
const ALONE: Scene = Scene {
    mode: Mode::Single,
    ..SCENE
};

/// Bodies do what they did, so that the shortest way to each bug is soon found.
const LITTLE: Scene = Scene {
    endings: &[Ending::Done, Ending::GivenBack],
    ..SCENE
};

macro_rules! bugs {
    ($($name:ident: $bug:ident in $scene:expr => $($law:ident)+;)+) => {
        mod finds {
            use super::*;
            $(#[test] fn $name() { found(stringify!($name), with_bug(Bug::$bug, $scene), &[$($law),+]); })+
        }

        #[test]
        fn every_invariant_is_broken_by_some_bug() {
            let broken = [$($($law),+),+];
            let all = Core::new(SCENE).properties();
            let always = all.iter().filter(|property| property.expectation == Expectation::Always);
            // The protocol's own bugs show that these can fail.
            let never: Vec<_> = always
                .map(|property| property.name)
                .filter(|name| !broken.contains(name) && !OF_THE_PROTOCOL.contains(name))
                .collect();
            assert!(never.is_empty(), "nothing shows that these can fail: {never:?}");
        }
    };
}

bugs! {
    a_report_that_is_kept_after_a_roll_back: KeptAfterRollBack in Scene {
        mode: Mode::Counted,
        left: with(1, 0, 0, 0),
        ..LITTLE
    } => TOGETHER;
    a_commit_whose_answer_is_lost_and_is_not_looked_up: CommitNotLookedUp in Scene {
        mode: Mode::Counted,
        left: with(1, 0, 0, 0),
        ..LITTLE
    } => SENSE;
    a_runner_that_writes_after_it_was_taken_over: DeadRunnerWrites in Scene {
        keys: 2,
        left: Limits { calls: 3, ..with(0, 1, 0, 0) },
        ..LITTLE
    } => FENCED;
    a_claim_that_is_charged_twice_for_one_nonce: ChargedTwice in Scene {
        left: with(1, 0, 0, 0),
        ..LITTLE
    } => CHARGED;
    a_batch_whose_write_went_to_another_key: OtherKey in Scene { keys: 2, ..LITTLE } => ONE_CLAIM;
    a_removal_that_leaves_nothing_behind: NothingLeftBehind in Scene {
        left: with(1, 0, 0, 0),
        ..LITTLE
    } => KNOWN;
    an_old_record_that_is_removed_at_once: OldRemovedAtOnce in Scene {
        retries: 0,
        endings: &[Ending::Done],
        left: with(1, 4, 1, 0),
        ..LITTLE
    } => KNOWN;
    a_stale_block_of_numbers: StaleBlock in Scene {
        endings: &[Ending::GivenBack],
        left: with(0, 4, 1, 0),
        ..LITTLE
    } => FENCED;
    a_takeover_without_retiring_the_runner: NotRetired in Scene {
        left: with(0, 1, 0, 1),
        ..LITTLE
    } => ONE_CLAIM;
    memory_that_is_trusted_after_a_lost_answer: TrustsMemory in Scene {
        left: with(1, 0, 0, 0),
        ..LITTLE
    } => SENSE;
    an_answer_to_an_earlier_life: TriedInAnEarlierLife in Scene {
        left: with(1, 2, 0, 1),
        retries: 2,
        ..LITTLE
    } => ONE_CLAIM;
    a_clock_that_lags_behind_the_store: ClockThatLags in Scene {
        left: with(0, 2, 0, 3),
        ..LITTLE
    } => ONE_CLAIM;
    a_claim_that_is_decided_by_the_own_clock: OwnClock in Scene {
        left: with(0, 1, 0, 1),
        clocks: &[0, 1],
        ..LITTLE
    } => ONE_CLAIM;
    a_claim_of_an_earlier_life_that_is_charged: EarlierLifeIsCharged in Scene {
        left: with(0, 1, 0, 1),
        ..LITTLE
    } => CHARGED;
    a_late_beat_that_costs_its_own_report: OwnBeatIsLate in Scene {
        left: with(1, 1, 0, 0),
        ..LITTLE
    } => FENCED;
    business_data_that_is_committed_without_its_record: CommittedWithoutItsRecord in ALONE
        => ONE_ROW;
    a_result_over_an_attempt_that_came_between: RecordedAsAnotherAttempt in Scene {
        left: with(0, 1, 0, 0),
        ..ALONE
    } => FENCED;
    a_failure_that_is_not_counted_in_the_pause_of_another: FailureInAPause in ALONE => SENSE;
    a_failure_that_is_counted_twice: FailureCountedTwice in Scene {
        retries: 2,
        left: with(1, 0, 0, 0),
        ..ALONE
    } => CHARGED;
    a_body_that_starts_without_a_look: StartedUnseen in ALONE => ENDED;
}

/// A core with a bug in it.
fn with_bug(bug: Bug, scene: Scene) -> Core {
    Core {
        bug: Some(bug),
        ..Core::new(scene)
    }
}
