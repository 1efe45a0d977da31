//! A lease in the notes: one contender holds it, another takes over, and nothing that the late one
//! writes is written.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use idem_runtime::Idem;
use idem_runtime::clock::Clock;
use idem_runtime::ledger::{ExpectedNote, Ledger, LedgerError, NoteChange};
use idem_runtime::notes::NoteLease;
use idem_runtime::testing::{
    LedgerCall, LedgerFault, ManualClock, MemoryLedger, UnreliableLedger, open_on,
};

use crate::common::Folder;

const TTL: Duration = Duration::from_secs(30);
const HOURS: Duration = Duration::from_secs(5 * 60 * 60);

fn process(clock: &ManualClock, ledger: impl Ledger) -> Idem {
    let builder = Idem::builder().clock(Arc::new(clock.clone()));
    open_on(builder, ledger).unwrap()
}

/// Two contenders in two processes.
struct Two {
    clock: ManualClock,
    idem: Idem,
    one: NoteLease,
    other: NoteLease,
}

fn two() -> Two {
    let clock = ManualClock::default();
    let ledger = MemoryLedger::new(Arc::new(clock.clone()));
    let (idem, another) = (process(&clock, ledger.clone()), process(&clock, ledger));
    Two {
        one: idem.note_lease("work", TTL),
        other: another.note_lease("work", TTL),
        clock,
        idem,
    }
}

/// Writes a note of the work if the guard allows it.
async fn write(idem: &Idem, guard: ExpectedNote) -> bool {
    let change = vec![NoteChange::put("work/last", "done")];
    idem.notes().write_if(change, vec![guard]).await.unwrap()
}

#[tokio::test]
async fn one_of_two_holds_it_and_the_other_takes_over_when_it_lapses() {
    let Two {
        clock,
        idem,
        mut one,
        mut other,
    } = two();
    assert!(!write(&idem, one.guard()).await, "nothing is held");
    assert!(one.hold().await.unwrap());
    assert!(!other.hold().await.unwrap());
    assert!(!write(&idem, other.guard()).await);
    let guard = one.guard();
    assert!(write(&idem, guard.clone()).await);

    clock.advance(TTL - Duration::from_secs(1));
    assert!(!other.hold().await.unwrap(), "not yet");
    clock.advance(Duration::from_secs(1));
    assert!(other.hold().await.unwrap());
    assert!(!write(&idem, guard).await, "the late one writes nothing");
    assert!(!one.hold().await.unwrap());
    assert!(!write(&idem, one.guard()).await);
    assert!(write(&idem, other.guard()).await);
}

#[tokio::test]
async fn a_renewed_lease_does_not_lapse_and_its_guard_stays() {
    let Two {
        clock,
        idem,
        mut one,
        mut other,
    } = two();
    assert!(one.hold().await.unwrap());
    let guard = one.guard();
    for _ in 0..20 {
        assert!(!other.hold().await.unwrap());
        clock.advance(TTL / 3);
        assert!(one.hold().await.unwrap());
    }
    assert!(write(&idem, guard).await, "work may outlast renewals");
}

#[tokio::test]
async fn a_released_lease_is_free_at_once_and_leaves_no_note() {
    let Two {
        clock,
        idem,
        mut one,
        mut other,
    } = two();
    assert!(one.hold().await.unwrap());
    clock.advance(TTL / 3);
    assert!(one.hold().await.unwrap() && !other.hold().await.unwrap());
    let guard = one.guard();
    one.release().await.unwrap();
    assert!(!write(&idem, guard).await);
    assert!(other.hold().await.unwrap());
    // One that does not hold it releases nothing.
    one.release().await.unwrap();
    assert!(other.hold().await.unwrap() && !one.hold().await.unwrap());
    other.release().await.unwrap();
    assert_eq!(idem.notes().list("", None, 10).await.unwrap(), []);
}

#[tokio::test]
async fn a_guard_is_refused_after_a_takeover_even_when_the_lease_has_come_back() {
    let Two {
        clock,
        idem,
        mut one,
        mut other,
    } = two();
    assert!(one.hold().await.unwrap() && !other.hold().await.unwrap());
    let stale = one.guard();
    clock.advance(TTL);
    assert!(other.hold().await.unwrap());
    other.release().await.unwrap();
    assert!(one.hold().await.unwrap());
    assert!(
        !write(&idem, stale).await,
        "what it read before is what the other one may have changed"
    );
    assert!(write(&idem, one.guard()).await);
}

#[tokio::test]
async fn a_renewal_is_seen_whatever_was_written_in_the_term_before() {
    let Two {
        clock,
        mut one,
        mut other,
        ..
    } = two();
    // Each takes it and renews it once, the first in the term before.
    assert!(one.hold().await.unwrap());
    clock.advance(TTL / 3);
    assert!(one.hold().await.unwrap() && !other.hold().await.unwrap());
    clock.advance(TTL);
    assert!(other.hold().await.unwrap() && !one.hold().await.unwrap());
    clock.advance(TTL * 2 / 3);
    assert!(other.hold().await.unwrap());
    clock.advance(TTL / 3);
    assert!(!one.hold().await.unwrap(), "it was renewed 10 s ago");
}

#[tokio::test]
async fn a_holder_whose_clock_stands_still_finds_out() {
    let (clock, frozen) = (ManualClock::default(), ManualClock::default());
    let ledger = MemoryLedger::new(Arc::new(clock.clone()));
    let mut one = process(&frozen, ledger.clone()).note_lease("work", TTL);
    let mut other = process(&clock, ledger).note_lease("work", TTL);
    assert!(one.hold().await.unwrap() && !other.hold().await.unwrap());
    clock.advance(TTL);
    assert!(one.hold().await.unwrap(), "for it, no time has passed");
    assert!(other.hold().await.unwrap());
    assert!(!one.hold().await.unwrap());
}

#[tokio::test]
async fn clocks_that_are_hours_apart_make_no_difference() {
    let (fast, slow) = (ManualClock::default(), ManualClock::default());
    fast.advance(HOURS);
    let ledger = MemoryLedger::new(Arc::new(slow.clone()));
    for (one, other) in [(&fast, &slow), (&slow, &fast)] {
        let (here, there) = (process(one, ledger.clone()), process(other, ledger.clone()));
        let (mut one, mut other) = (here.note_lease("work", TTL), there.note_lease("work", TTL));
        for _ in 0..10 {
            assert!(one.hold().await.unwrap());
            assert!(!other.hold().await.unwrap());
            fast.advance(TTL / 3);
            slow.advance(TTL / 3);
        }
        // It stops renewing: ten seconds of the thirty have passed.
        fast.advance(TTL / 3);
        slow.advance(TTL / 3);
        assert!(!other.hold().await.unwrap());
        fast.advance(TTL / 3);
        slow.advance(TTL / 3);
        assert!(other.hold().await.unwrap());
        other.release().await.unwrap();
    }
}

#[tokio::test]
async fn a_clock_that_is_set_back_or_forth_lets_no_two_write() {
    let (here, there) = (ManualClock::default(), ManualClock::default());
    let ledger = MemoryLedger::new(Arc::new(ManualClock::default()));
    let (idem, another) = (process(&here, ledger.clone()), process(&there, ledger));
    let (mut one, mut other) = (
        idem.note_lease("work", TTL),
        another.note_lease("work", TTL),
    );
    assert!(one.hold().await.unwrap() && !other.hold().await.unwrap());
    let guard = one.guard();
    // The holder goes on renewing.
    here.set(here.now().checked_sub(HOURS).unwrap());
    there.advance(TTL / 2);
    assert!(one.hold().await.unwrap() && !other.hold().await.unwrap());
    there.advance(TTL / 2);
    assert!(!other.hold().await.unwrap());
    // The contender begins to wait again.
    there.set(there.now().checked_sub(HOURS).unwrap());
    assert!(!other.hold().await.unwrap());
    assert!(write(&idem, guard.clone()).await);
    // It takes over too early, and one of them writes.
    there.advance(HOURS);
    assert!(other.hold().await.unwrap());
    assert!(!write(&idem, guard).await);
    assert!(!one.hold().await.unwrap());
    assert!(write(&another, other.guard()).await);
}

#[tokio::test]
async fn an_answer_that_is_lost_neither_loses_the_lease_nor_its_guard() {
    let clock = ManualClock::default();
    let ledger = MemoryLedger::new(Arc::new(clock.clone()));
    let (lost, unwritten) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
    // It is told to fail once: after a write of notes, or before it.
    let forgetful = UnreliableLedger::new(ledger.clone(), {
        let (lost, unwritten) = (lost.clone(), unwritten.clone());
        move |call| {
            if !matches!(call, LedgerCall::WriteNotes(_)) {
                return None;
            }
            let lost = lost.swap(false, Ordering::SeqCst);
            if unwritten.swap(false, Ordering::SeqCst) {
                return Some(LedgerFault::Refused(LedgerError::Closed));
            }
            lost.then_some(LedgerFault::Lost(LedgerError::Closed))
        }
    });
    let idem = process(&clock, forgetful);
    let mut one = idem.note_lease("work", TTL);
    let mut other = process(&clock, ledger).note_lease("work", TTL);

    // Taken, and it does not know.
    lost.store(true, Ordering::SeqCst);
    one.hold().await.unwrap_err();
    assert!(!write(&idem, one.guard()).await);
    assert!(!other.hold().await.unwrap());
    assert!(one.hold().await.unwrap());
    let guard = one.guard();

    // Renewed, and it does not know.
    clock.advance(TTL / 3);
    lost.store(true, Ordering::SeqCst);
    one.hold().await.unwrap_err();
    assert!(write(&idem, guard.clone()).await);
    assert!(!other.hold().await.unwrap());
    clock.advance(TTL * 2 / 3);
    assert!(!other.hold().await.unwrap(), "it was renewed");
    assert!(one.hold().await.unwrap());
    assert!(write(&idem, guard.clone()).await);

    // Not renewed, and it does not know either.
    assert!(!other.hold().await.unwrap());
    clock.advance(TTL / 3);
    unwritten.store(true, Ordering::SeqCst);
    one.hold().await.unwrap_err();
    clock.advance(TTL * 2 / 3);
    assert!(other.hold().await.unwrap());
    assert!(!one.hold().await.unwrap() && !write(&idem, guard).await);

    // A lease that was taken by a write whose answer was lost is released too.
    other.release().await.unwrap();
    lost.store(true, Ordering::SeqCst);
    one.hold().await.unwrap_err();
    one.release().await.unwrap();
    assert!(other.hold().await.unwrap());
}

#[tokio::test]
async fn a_process_that_owns_its_folder_does_not_wait_for_one_that_died() {
    let folder = Folder::new();
    let idem = folder.open();
    assert!(idem.note_lease("work", TTL).hold().await.unwrap());
    assert!(
        !idem.note_lease("work", TTL).hold().await.unwrap(),
        "of this process"
    );
    drop(idem);
    let idem = folder.open();
    assert!(idem.note_lease("work", TTL).hold().await.unwrap());
}
