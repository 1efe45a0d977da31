//! The clock steps back an hour, and forward a day: nothing is lost, nothing runs twice within its
//! time to live, and nobody waits for ever.

use std::sync::Arc;
use std::time::Duration;

use fail::FailScenario;
use futures_util::future::join_all;
use idem_runtime::testing::{ManualClock, MemoryLedger, open_on};
use idem_runtime::{Error, Filter, Idem, LetterState, clock::Clock, idempotent};
use tokio::sync::Notify;

use crate::{Oops, Starts, soon};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

fn back(clock: &ManualClock, by: Duration) {
    clock.set(clock.now() - by);
}

fn open(folder: &std::path::Path, clock: &ManualClock) -> Idem {
    Idem::builder()
        .clock(Arc::new(clock.clone()))
        .open(folder)
        .unwrap()
}

#[idempotent(name = "clocks.double", key = "number", ttl = "7d", skip(starts))]
async fn double(number: u32, starts: &Starts) -> Result<u32, Oops> {
    starts.add();
    Ok(number * 2)
}

#[tokio::test]
async fn results_are_remembered_however_the_clock_steps() {
    let scenario = FailScenario::setup();
    let (folder, clock, starts) = (
        tempfile::tempdir().unwrap(),
        ManualClock::default(),
        Starts::default(),
    );
    let mut count = 0;
    // By and by over six days; the first result is to live for seven.
    for round in 0..9 {
        let idem = open(folder.path(), &clock);
        match round % 3 {
            0 => back(&clock, HOUR),
            1 => clock.advance(DAY),
            _ => clock.advance(DAY + HOUR),
        }
        count += 50;
        let answers = soon(join_all(
            (0..count).map(|number| idem.scope(double(number, &starts))),
        ))
        .await;
        let answers: Vec<u32> = answers.into_iter().map(Result::unwrap).collect();
        assert!(answers.into_iter().eq((0..count).map(|number| number * 2)));
        assert_eq!(
            starts.count(),
            count,
            "round {round}: a result was forgotten within its time to live"
        );
        soon(idem.sweep()).await.unwrap();
        if round % 2 == 0 {
            soon(idem.close()).await.unwrap();
        }
    }
    drop(scenario);
}

#[idempotent(
    name = "clocks.later",
    key = "number",
    retries = 2,
    retry = "redeliver",
    backoff(initial = "10m", max = "20m"),
    skip(starts)
)]
async fn later(number: u32, starts: &Starts) -> Result<u32, Oops> {
    starts.add();
    Err(Oops::Own(number))
}

#[tokio::test]
async fn a_pause_ends_when_the_clock_steps() {
    let scenario = FailScenario::setup();
    for forward in [false, true] {
        let (folder, clock, starts) = (
            tempfile::tempdir().unwrap(),
            ManualClock::default(),
            Starts::default(),
        );
        let idem = open(folder.path(), &clock);
        for attempt in 1..=3 {
            assert!(matches!(
                soon(idem.scope(later(1, &starts))).await,
                Err(Oops::Own(_))
            ));
            assert_eq!(starts.count(), attempt);
            if attempt < 3 {
                let early = soon(idem.scope(later(1, &starts))).await;
                assert!(
                    matches!(early, Err(Oops::Idem(Error::NotYet { .. }))),
                    "{early:?}"
                );
            }
            if forward {
                clock.advance(DAY);
            } else {
                back(&clock, HOUR);
            }
        }
        assert!(matches!(
            soon(idem.scope(later(1, &starts))).await,
            Err(Oops::Idem(Error::DeadLettered { .. }))
        ));
        assert_eq!(starts.count(), 3);
    }
    drop(scenario);
}

#[idempotent(name = "clocks.dies", key = "number", retries = 0)]
async fn dies(number: u32) -> Result<u32, Oops> {
    Err(Oops::Own(number))
}

#[tokio::test]
async fn letters_are_all_listed_and_open_to_a_person_however_the_clock_steps() {
    let scenario = FailScenario::setup();
    let (folder, clock) = (tempfile::tempdir().unwrap(), ManualClock::default());
    let idem = open(folder.path(), &clock);
    for number in 0..60 {
        assert!(matches!(idem.scope(dies(number)).await, Err(Oops::Own(_))));
        match number % 3 {
            0 => back(&clock, HOUR),
            1 => clock.advance(DAY),
            _ => {}
        }
    }
    let letters = idem.dead_letters();
    let (mut filter, mut keys, mut ids) = (Filter::default().limit(7), Vec::new(), Vec::new());
    loop {
        let page = letters.list(&filter).await.unwrap();
        let Some(last) = page.last() else { break };
        filter = filter.after(last.id);
        keys.extend(page.iter().map(|letter| letter.key.parse::<u32>().unwrap()));
        ids.extend(page.iter().map(|letter| letter.id));
    }
    assert!(ids.is_sorted_by(|newer, older| newer > older));
    keys.sort_unstable();
    assert!(keys.into_iter().eq(0..60));
    back(&clock, HOUR);
    for id in &ids {
        letters.redrive(id).await.unwrap();
    }
    for id in &ids {
        assert_eq!(
            letters.get(id).await.unwrap().unwrap().state,
            LetterState::Redriven
        );
    }
    drop(scenario);
}

#[idempotent(
    name = "clocks.holds",
    key = "number",
    lease = "30s",
    in_flight = "reject",
    retries = 1,
    skip(starts, door)
)]
async fn holds(number: u32, starts: &Starts, door: &Notify) -> Result<u32, Oops> {
    let start = starts.add();
    if start == 1 {
        door.notified().await;
    }
    Ok(start * number)
}

#[tokio::test]
async fn a_lease_is_kept_when_the_clock_steps_back_and_given_up_when_it_steps_far_forward() {
    let scenario = FailScenario::setup();
    let clock = ManualClock::default();
    let ledger = MemoryLedger::new(Arc::new(clock.clone()));
    let process = || {
        open_on(
            Idem::builder().clock(Arc::new(clock.clone())),
            ledger.clone(),
        )
        .unwrap()
    };
    let (one, other, starts, door) = (process(), process(), Starts::default(), Notify::new());
    let mut first = Box::pin(one.scope(holds(1, &starts, &door)));
    while starts.count() == 0 {
        assert!(
            futures_util::future::poll_immediate(&mut first)
                .await
                .is_none()
        );
        tokio::task::yield_now().await;
    }
    back(&clock, HOUR);
    let second = soon(other.scope(holds(1, &starts, &door))).await;
    assert!(
        matches!(second, Err(Oops::Idem(Error::InProgress { .. }))),
        "{second:?}"
    );
    assert_eq!(starts.count(), 1);
    clock.advance(DAY);
    // Renewed at once or lapsed: both are right, and either way both calls end with the one result
    // that counts.
    let second = soon(other.scope(holds(1, &starts, &door))).await;
    door.notify_one();
    let first = soon(first).await;
    let last = soon(other.scope(holds(1, &starts, &door))).await.unwrap();
    assert!(starts.count() <= 2);
    for answer in [first, second] {
        match answer {
            Ok(answer) => assert_eq!(answer, last),
            Err(Oops::Idem(Error::LeaseLost { .. } | Error::InProgress { .. })) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
    drop(scenario);
}
