//! Which messages are delivered, and which are delivered again.

use super::*;

const OK: Answer = Answer::Ok {
    token: 1,
    digest: 1,
};

fn dead(letter: &str) -> Answer {
    Answer::Dead {
        letter: letter.into(),
        discarded: false,
    }
}

/// Returns a schedule with this many calls in flight, and the calls.
fn after(calls: usize) -> (Schedule, Vec<Call>) {
    let mut schedule = Schedule::new(1, Ledger::Sled, usize::MAX, u64::MAX);
    let mut out = Vec::new();
    while out.len() < calls {
        out.extend(schedule.next(1, true));
    }
    (schedule, out)
}

/// Returns the messages that are due without new ones.
fn due(schedule: &mut Schedule) -> HashSet<u64> {
    std::iter::from_fn(|| schedule.next(1, false).pop())
        .map(|call| call.n)
        .collect()
}

#[test]
fn some_forty_of_a_hundred_are_duplicates() {
    let (schedule, calls) = after(10_000);
    let duplicates = calls.len() - schedule.messages().count();
    assert!((3_000..5_000).contains(&duplicates), "{duplicates}");
}

#[test]
fn what_was_not_acknowledged_comes_again() {
    let (mut schedule, calls) = after(500);
    let (told, untold) = calls.split_at(250);
    told.iter()
        .for_each(|call| schedule.told(call.call, call.variant, &OK));
    let settled: HashSet<_> = told.iter().map(|call| call.n).collect();
    schedule.process_ended(1);
    let again = due(&mut schedule);
    let hung: HashSet<_> = schedule.parked.iter().copied().collect();
    assert!(untold.iter().all(|call| settled.contains(&call.n)
        || again.contains(&call.n)
        || hung.contains(&call.n)));
    assert!(again.iter().filter(|n| settled.contains(n)).count() <= REMINDERS);
    assert!(!schedule.is_settled());
}

#[test]
fn an_answer_from_before_a_redrive_settles_nothing() {
    let mut schedule = Schedule::new(1, Ledger::Sled, 1, 1);
    let calls = schedule.next(1, true);
    let (first, n) = (&calls[0], calls[0].n);
    schedule.told(first.call, 0, &dead("A"));
    assert_eq!(schedule.unsettled, 0);
    schedule.redriven(1, n, "A", 4);
    let again = schedule.next(1, false).remove(0);
    schedule.told(again.call, 0, &dead("A"));
    assert_eq!(
        (schedule.unsettled, due(&mut schedule).contains(&n)),
        (1, true)
    );
    // In the next process it counts: the redrive was not recorded.
    schedule.process_ended(1);
    let again = schedule.next(1, false).remove(0);
    schedule.told(again.call, 0, &dead("A"));
    assert_eq!(schedule.unsettled, 0);
}

#[test]
fn only_some_hang_at_once() {
    let (mut schedule, calls) = after(20_000);
    let hung = |calls: &[Call]| {
        let hung = calls
            .iter()
            .filter(|call| call.handler == Handler::Hung)
            .map(|call| call.n);
        hung.collect::<HashSet<_>>()
    };
    let out = hung(&calls);
    assert_eq!(out.len(), HUNG);
    assert!(!schedule.parked.is_empty());
    assert!(!schedule.only_hangs());
    out.iter().for_each(|n| schedule.hangs(*n));
    calls
        .iter()
        .filter(|call| !out.contains(&call.n))
        .for_each(|call| schedule.told(call.call, call.variant, &OK));
    assert!(schedule.only_hangs());
    schedule.process_ended(1);
    assert_eq!(
        due(&mut schedule)
            .iter()
            .filter(|n| schedule
                .plan(**n)
                .is_some_and(|plan| plan.handler == Handler::Hung))
            .count(),
        HUNG
    );
}

#[test]
fn only_what_the_ended_process_had_comes_again() {
    let mut schedule = Schedule::new(1, Ledger::Postgres, usize::MAX, u64::MAX);
    let calls = |process, schedule: &mut Schedule| -> Vec<Call> {
        let calls = (0..200).flat_map(|_| schedule.next(process, true));
        calls.filter(|call| call.handler != Handler::Hung).collect()
    };
    let (one, other) = (calls(1, &mut schedule), calls(2, &mut schedule));
    schedule.process_ended(1);
    assert!(schedule.nothing_is_out(1) && !schedule.nothing_is_out(2));
    let again = due(&mut schedule);
    assert!(one.iter().all(|call| again.contains(&call.n)));
    let others = other.iter().map(|call| call.n).collect::<HashSet<_>>();
    assert!(others.intersection(&again).count() <= REMINDERS);
}
