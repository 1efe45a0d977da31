//! People, turns and letters in a pause, and a process that ends in one.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use idem_runtime::dead_letters::RunOutcome;
use idem_runtime::pause::PauseState;
use idem_runtime::testing::ManualClock;
use idem_runtime::{Filter, Idem};

use super::{BAD, DOWN, UP, World, ann, call, comes_to, paused, to_the_probe, told, trip};
use crate::common::{Body, Folder, on, only_letter, soon};

#[tokio::test]
async fn a_pause_by_hand_holds_until_it_is_resumed() {
    let (clock, world) = (ManualClock::default(), World::new(UP));
    let idem = on(&clock);
    let pause = idem
        .pause("pauses.told", ann("the bank moves"))
        .await
        .unwrap();
    assert_eq!(
        (pause.by.as_deref(), pause.why.as_str()),
        (Some("ann"), "the bank moves")
    );
    for hours in 0..3 {
        clock.advance(Duration::from_secs(3600));
        let (why, _) = paused(call(&idem, hours, &world).await.unwrap_err());
        assert_eq!(why, "the bank moves");
    }
    let lifted = idem.resume("pauses.told", ann("it moved")).await.unwrap();
    assert_eq!(lifted.unwrap().turned_away, 3);
    call(&idem, 0, &world).await.unwrap();
    assert_eq!(
        idem.resume("pauses.told", ann("again")).await.unwrap(),
        None
    );
}

#[tokio::test]
async fn a_person_resumes_what_paused_by_itself() {
    let world = World::new(DOWN);
    let idem = on(&ManualClock::default());
    trip(&idem, &world).await;
    idem.resume("pauses.told", ann("it is back")).await.unwrap();
    world.is(UP);
    let all = (0..100).map(|key| call(&idem, key, &world));
    assert!(join_all(all).await.iter().all(Result::is_ok));
}

#[tokio::test]
async fn of_many_that_wait_as_many_get_a_turn_as_may_run() {
    let (clock, world) = (ManualClock::default(), World::new(DOWN));
    let idem = on(&clock);
    drop(soon(idem.admitted("pauses.told")).await); // at once
    let pause = trip(&idem, &world).await;
    let mut waiting: FuturesUnordered<_> = (0..64).map(|_| idem.admitted("pauses.told")).collect();
    assert!(
        waiting.next().now_or_never().is_none(),
        "nothing may run yet"
    );
    to_the_probe(&clock, &pause);
    let turn = soon(waiting.next()).await;
    assert!(
        waiting.next().now_or_never().is_none(),
        "one is let through"
    );
    world.is(UP);
    call(&idem, "probe", &world).await.unwrap();
    comes_to(&idem, Some(PauseState::Recovering)).await;
    drop(turn);
    for limit in [1, 2, 4, 8] {
        let mut turns = Vec::new();
        for _ in 0..limit {
            turns.push(soon(waiting.next()).await);
        }
        assert!(waiting.next().now_or_never().is_none(), "{limit} may run");
        call(&idem, format!("r-{limit}"), &world).await.unwrap();
    }
    idem.resume("pauses.told", ann("all is well"))
        .await
        .unwrap();
    while soon(waiting.next()).await.is_some() {}
}

#[tokio::test]
async fn a_letter_is_not_redriven_into_a_pause() {
    let (clock, world) = (ManualClock::default(), World::new(BAD));
    let idem = on(&clock);
    idem.register_handler("pauses.told", {
        let world = Arc::clone(&world);
        move |id: String| told(id, Arc::clone(&world))
    });
    for _ in 0..2 {
        call(&idem, "A-1", &world).await.unwrap_err().into_own();
    }
    let letter = only_letter(&idem).await;
    trip(&idem, &world).await;
    let ran = soon(idem.dead_letters().run(&letter.id)).await.unwrap();
    let RunOutcome::Failed {
        error,
        letter: open,
    } = ran
    else {
        panic!("{ran:?}")
    };
    assert!(error.contains("is paused"), "{error}");
    assert_eq!(open, Some(letter.id));
    let open = idem.dead_letters().list(&Filter::default()).await.unwrap();
    assert_eq!(open[0].history, []);
}

#[tokio::test]
async fn a_pause_outlives_the_process_and_its_probe_does_not() {
    let (folder, world) = (Folder::new(), World::new(DOWN));
    let idem = folder.open();
    let pause = trip(&idem, &world).await;
    idem.close().await.unwrap();
    let idem = folder.open();
    paused(call(&idem, "A-1", &world).await.unwrap_err());
    to_the_probe(&folder.clock, &pause);
    let shut = World::with(UP, Body::shut());
    let mut probe = Box::pin(idem.scope(told("probe".into(), Arc::clone(&shut))));
    shut.body.holds(&mut probe, 1).await;
    // As a process that is killed leaves it: the folder of a copy, opened by another one.
    let copy = tempfile::tempdir().unwrap();
    idem.copy_to(copy.path().join("data")).await.unwrap();
    let other = Idem::builder()
        .clock(Arc::new(folder.clock.clone()))
        .open(copy.path().join("data"))
        .unwrap();
    world.is(UP);
    call(&other, "next", &world).await.unwrap();
    shut.body.let_go();
    soon(probe).await.unwrap();
}
