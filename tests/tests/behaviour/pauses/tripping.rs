//! What pauses a handler, and what a pause leaves as it is.

use std::sync::Arc;
use std::time::Duration;

use idem_runtime::clock::Clock;
use idem_runtime::pause::{PauseCause, PauseRules, PauseState};
use idem_runtime::protocol::{Actor, RecordId};
use idem_runtime::testing::{ManualClock, temporary_with};
use idem_runtime::{Error, Filter, Idem, Origin, Verdict};

use super::{
    BAD, DOWN, UP, World, call, comes_to, deliver, pause, paused, permanent, told, trip, untold,
};
use crate::common::on;

async fn exists(idem: &Idem, key: &str) -> bool {
    let id = RecordId::new("pauses.told", key);
    idem.record(&id).await.unwrap().is_some()
}

#[tokio::test]
async fn five_outages_of_three_keys_pause_a_handler() {
    let (clock, world) = (ManualClock::default(), World::new(DOWN));
    let idem = on(&clock);
    let pause = trip(&idem, &world).await;
    assert_eq!(
        (pause.handler.as_str(), pause.cause, pause.since),
        ("pauses.told", PauseCause::Outages, clock.now())
    );
    assert!(pause.why.contains("the database is away"), "{}", pause.why);
    let error = call(&idem, "A-1", &world).await.unwrap_err();
    let (why, after) = paused(error);
    assert_eq!(why, pause.why);
    let wait = pause.retry_at.unwrap().duration_since(clock.now());
    assert_eq!(after, Duration::try_from(wait).unwrap());
    assert_eq!(world.body.starts(), 5);
    assert!(!exists(&idem, "A-1").await, "nothing is written for it");
}

#[tokio::test]
async fn few_keys_few_outages_or_a_success_pause_nothing() {
    let world = World::new(DOWN);
    let idem = on(&ManualClock::default());
    for key in [0, 1, 0, 1, 0, 1, 0, 1] {
        call(&idem, key, &world).await.unwrap_err();
    }
    assert_eq!(pause(&idem).await, None, "two keys");
    world.is(UP);
    call(&idem, "up", &world).await.unwrap();
    world.is(DOWN);
    for key in 2..6 {
        call(&idem, key, &world).await.unwrap_err();
    }
    assert_eq!(pause(&idem).await, None, "four outages since a success");
    call(&idem, 6, &world).await.unwrap_err();
    comes_to(&idem, Some(PauseState::Paused)).await;
}

#[tokio::test]
async fn what_is_settled_is_answered_in_a_pause() {
    let (clock, world) = (ManualClock::default(), World::new(UP));
    let idem = on(&clock);
    assert_eq!(call(&idem, "done", &world).await.unwrap(), 1);
    world.is(BAD);
    for _ in 0..2 {
        call(&idem, "dead", &world).await.unwrap_err().into_own();
    }
    trip(&idem, &world).await;
    assert_eq!(call(&idem, "done", &world).await.unwrap(), 1);
    let error = call(&idem, "dead", &world).await.unwrap_err().into_idem();
    assert!(matches!(error, Error::DeadLettered { .. }), "{error:?}");
}

#[tokio::test]
async fn a_delivery_in_a_pause_is_held() {
    let world = World::new(DOWN);
    let idem = on(&ManualClock::default());
    let pause = trip(&idem, &world).await;
    let origin = Origin::new("rabbitmq", "orders");
    let delivered = idem.deliver(origin, told("A-1".into(), world)).await;
    let Verdict::Paused { handler, after } = delivered.verdict else {
        panic!("{:?}", delivered.verdict)
    };
    assert_eq!(handler, pause.handler);
    assert!(after <= Duration::from_secs(1), "{after:?}");
}

/// Ten bad orders are ten keys, however often they come again.
#[tokio::test]
async fn ten_bad_orders_pause_nothing() {
    let (clock, world) = (ManualClock::default(), World::new(BAD));
    let idem = on(&clock);
    for _ in 0..4 {
        for key in 0..10 {
            deliver(&idem, key, &world).await;
            clock.advance(Duration::from_secs(10));
        }
    }
    assert_eq!(pause(&idem).await, None);
    let letters = idem.dead_letters().list(&Filter::default()).await.unwrap();
    assert_eq!(letters.len(), 10);
}

#[tokio::test]
async fn twelve_messages_that_fail_in_a_row_pause_a_consumers_handler() {
    let (clock, world) = (ManualClock::default(), World::new(BAD));
    let idem = on(&clock);
    for key in 0..11 {
        deliver(&idem, key, &world).await;
    }
    assert_eq!(pause(&idem).await, None);
    world.is(UP);
    deliver(&idem, "good", &world).await;
    world.is(BAD);
    for key in 20..31 {
        deliver(&idem, key, &world).await;
    }
    assert_eq!(pause(&idem).await, None, "one succeeded between them");
    deliver(&idem, 31, &world).await;
    let pause = comes_to(&idem, Some(PauseState::Paused)).await.unwrap();
    assert_eq!(pause.cause, PauseCause::Failures);
    assert!(pause.why.contains("bad order"), "{}", pause.why);
}

/// Or else each of their attempts would need a person.
#[tokio::test]
async fn messages_that_fail_after_a_person_resumed_become_letters() {
    let (clock, world) = (ManualClock::default(), World::new(BAD));
    let idem = on(&clock);
    for key in 0..12 {
        deliver(&idem, key, &world).await;
    }
    comes_to(&idem, Some(PauseState::Paused)).await;
    let lifted = idem.resume("pauses.untold", Actor::default()).await;
    assert!(lifted.unwrap().is_some());
    for _ in 0..4 {
        clock.advance(Duration::from_secs(60));
        for key in 0..12 {
            deliver(&idem, key, &world).await;
        }
    }
    assert_eq!(pause(&idem).await, None);
    let letters = idem.dead_letters().list(&Filter::default()).await.unwrap();
    assert_eq!(letters.len(), 12);
    world.is(UP);
    deliver(&idem, "good", &world).await;
    world.is(BAD);
    for key in 20..32 {
        deliver(&idem, key, &world).await;
    }
    comes_to(&idem, Some(PauseState::Paused)).await;
}

#[tokio::test]
async fn failures_that_are_not_a_consumers_or_are_judged_pause_nothing() {
    let (clock, world) = (ManualClock::default(), World::new(BAD));
    let idem = on(&clock);
    for key in 0..40 {
        clock.advance(Duration::from_secs(1));
        let (key, origin) = (format!("k{key}"), Origin::new("rabbitmq", "orders"));
        let own = idem.scope(untold(key.clone(), world.clone())).await;
        own.unwrap_err().into_own();
        let judged = told(key.clone(), world.clone());
        idem.deliver(origin.clone(), judged).await;
        let final_one = permanent(key, world.clone());
        idem.deliver(origin, final_one).await;
    }
    assert_eq!(pause(&idem).await, None);
}

#[tokio::test]
async fn the_rules_can_be_changed_and_turned_off() {
    let (clock, world) = (ManualClock::default(), World::new(DOWN));
    let builder = |rules| Idem::builder().clock(Arc::new(clock.clone())).pause(rules);
    let off = temporary_with(builder(PauseRules::default().off())).unwrap();
    for key in 0..40 {
        call(&off, key, &world).await.unwrap_err().into_own();
        deliver(&off, key, &world).await;
        clock.advance(Duration::from_secs(1));
    }
    assert_eq!(pause(&off).await, None);
    let few = PauseRules::default().failures(2, Duration::from_secs(5));
    let few = temporary_with(builder(few)).unwrap();
    for key in 0..30 {
        deliver(&few, key, &world).await;
    }
    assert_eq!(pause(&few).await, None, "in no time");
    clock.advance(Duration::from_secs(5));
    deliver(&few, 30, &world).await;
    comes_to(&few, Some(PauseState::Paused)).await;
}
