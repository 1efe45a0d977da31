//! One message is let through to see, and then more.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use idem_runtime::Verdict;
use idem_runtime::clock::Clock;
use idem_runtime::dead_letters::AttemptOutcome;
use idem_runtime::pause::PauseState;
use idem_runtime::protocol::{Phase, Record, RecordId};
use idem_runtime::testing::ManualClock;

use super::{BAD, DOWN, UP, World, call, comes_to, deliver, paused, to_the_probe, told, trip};
use crate::common::{Body, on};

#[tokio::test]
async fn one_message_is_let_through_and_one_that_fails_makes_the_pause_longer() {
    let (clock, world) = (ManualClock::default(), World::with(DOWN, Body::open()));
    let idem = on(&clock);
    let mut pause = trip(&idem, &world).await;
    let mut longest = Duration::ZERO;
    for probe in 0..8 {
        to_the_probe(&clock, &pause);
        let error = call(&idem, format!("probe-{probe}"), &world).await;
        assert_eq!(error.unwrap_err().into_own(), "the database is away");
        pause = comes_to(&idem, Some(PauseState::Paused)).await.unwrap();
        let wait = pause.retry_at.unwrap().duration_since(clock.now());
        let wait = Duration::try_from(wait).unwrap();
        assert!(wait * 2 >= longest, "{wait:?} after {longest:?}");
        longest = longest.max(wait);
        paused(call(&idem, "other", &world).await.unwrap_err());
    }
    assert_eq!(world.body.starts(), 5 + 8);
    let (least, most) = (Duration::from_secs(15), Duration::from_secs(30));
    assert!((least..=most).contains(&longest), "{longest:?}");
}

#[tokio::test]
async fn while_one_is_let_through_the_others_are_turned_away() {
    let (clock, body) = (ManualClock::default(), Body::open());
    let (idem, world) = (on(&clock), World::with(DOWN, Arc::clone(&body)));
    let pause = trip(&idem, &world).await;
    to_the_probe(&clock, &pause);
    let shut = World::with(UP, Body::shut());
    let probe = tokio::spawn({
        let (idem, shut) = ((*idem).clone(), Arc::clone(&shut));
        async move { call(&idem, "probe", &shut).await }
    });
    shut.body.started(1).await;
    for key in 0..10 {
        paused(call(&idem, key, &world).await.unwrap_err());
    }
    let pause = comes_to(&idem, Some(PauseState::Probing)).await.unwrap();
    assert_eq!(pause.turned_away, 10);
    shut.body.let_go();
    probe.await.unwrap().unwrap();
    comes_to(&idem, Some(PauseState::Recovering)).await;
}

#[tokio::test]
async fn a_probe_that_is_dropped_lets_another_one_through() {
    let (clock, world) = (ManualClock::default(), World::new(DOWN));
    let idem = on(&clock);
    let pause = trip(&idem, &world).await;
    to_the_probe(&clock, &pause);
    let shut = World::with(UP, Body::shut());
    let mut probe = Box::pin(idem.scope(told("probe".into(), Arc::clone(&shut))));
    shut.body.holds(&mut probe, 1).await;
    drop(probe);
    let pause = comes_to(&idem, Some(PauseState::Paused)).await.unwrap();
    to_the_probe(&clock, &pause);
    world.is(UP);
    call(&idem, "next", &world).await.unwrap();
}

/// One, two, four, and so on run at a time; then the pause is over.
#[tokio::test]
async fn a_recovery_lets_more_run_with_each_success() {
    let (clock, world) = (ManualClock::default(), World::new(DOWN));
    let idem = on(&clock);
    let pause = trip(&idem, &world).await;
    to_the_probe(&clock, &pause);
    world.is(UP);
    call(&idem, "probe", &world).await.unwrap();
    comes_to(&idem, Some(PauseState::Recovering)).await;
    for limit in [1, 2, 4, 8] {
        let (one, others) = (World::with(UP, Body::shut()), World::with(UP, Body::shut()));
        let start = |number, world: &Arc<World>| {
            let (idem, world) = ((*idem).clone(), Arc::clone(world));
            let key = format!("{number} of {limit}");
            tokio::spawn(async move { call(&idem, key, &world).await })
        };
        let first = start(1, &one);
        let rest: Vec<_> = (2..=limit).map(|number| start(number, &others)).collect();
        one.body.started(1).await;
        others.body.started(limit - 1).await;
        paused(call(&idem, "one more", &world).await.unwrap_err());
        // Each success doubles it: this is one, and the others show nothing.
        one.body.let_go();
        first.await.unwrap().unwrap();
        for call in rest {
            call.abort();
            assert!(call.await.is_err());
        }
    }
    for key in 0..64 {
        if idem.pauses().await.unwrap().is_empty() {
            break;
        }
        let _ = call(&idem, format!("more-{key}"), &world).await;
    }
    comes_to(&idem, None).await;
    let all = (0..100).map(|key| call(&idem, format!("all-{key}"), &world));
    for result in join_all(all).await {
        result.unwrap();
    }
}

#[tokio::test]
async fn an_outage_in_the_recovery_pauses_again() {
    let (clock, world) = (ManualClock::default(), World::new(DOWN));
    let idem = on(&clock);
    let pause = trip(&idem, &world).await;
    to_the_probe(&clock, &pause);
    world.is(UP);
    call(&idem, "probe", &world).await.unwrap();
    comes_to(&idem, Some(PauseState::Recovering)).await;
    world.is(DOWN);
    call(&idem, "again", &world).await.unwrap_err().into_own();
    let again = comes_to(&idem, Some(PauseState::Paused)).await.unwrap();
    assert_eq!(again.since, pause.since, "it is one pause");
}

/// Few messages come, and none fails.
#[tokio::test]
async fn a_recovery_is_over_after_half_a_minute() {
    let (clock, world) = (ManualClock::default(), World::new(DOWN));
    let idem = on(&clock);
    let pause = trip(&idem, &world).await;
    to_the_probe(&clock, &pause);
    world.is(UP);
    call(&idem, "probe", &world).await.unwrap();
    comes_to(&idem, Some(PauseState::Recovering)).await;
    clock.advance(Duration::from_secs(30));
    comes_to(&idem, None).await;
}

/// The message that is let through in a pause of failures may be a good one.
#[tokio::test]
async fn a_probe_that_fails_is_not_charged() {
    let (clock, world) = (ManualClock::default(), World::new(BAD));
    let idem = on(&clock);
    for key in 0..21 {
        deliver(&idem, key, &world).await;
        clock.advance(Duration::from_secs(1));
    }
    for _ in 0..10 {
        let pause = comes_to(&idem, Some(PauseState::Paused)).await.unwrap();
        to_the_probe(&clock, &pause);
        let verdict = deliver(&idem, "good", &world).await;
        assert!(matches!(verdict, Verdict::Again { .. }), "{verdict:?}");
    }
    let id = RecordId::new("pauses.untold", "good");
    let Some(Record::Live(live)) = idem.record(&id).await.unwrap() else {
        panic!("it is dead")
    };
    let past: Vec<_> = live
        .past
        .iter()
        .map(|past| (past.number, past.outcome, past.times()))
        .collect();
    assert_eq!(past, [(1, AttemptOutcome::Outage, 10)]);
    assert!(matches!(live.phase, Phase::Waiting { .. }));
}
