//! A handler pauses when what it needs is down, tries one message after a while, and recovers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use idem_runtime::clock::Clock;
use idem_runtime::dead_letters::{AttemptOutcome, RunOutcome};
use idem_runtime::ledger::shared::SharedLedger;
use idem_runtime::pause::{Pause, PauseCause, PauseRules, PauseState};
use idem_runtime::protocol::{Actor, Phase, Record, RecordId};
use idem_runtime::testing::{ManualClock, MemoryStore, temporary_with};
use idem_runtime::{Error, Filter, Idem, Origin, Verdict, idempotent};

use crate::common::{Body, Folder, Oops, on, only_letter, soon};

const UP: u8 = 0;
const DOWN: u8 = 1;
const BAD: u8 = 2;

/// What the bodies need: it is up, down, or says no to what it is asked.
struct World {
    state: AtomicU8,
    body: Arc<Body>,
}

impl World {
    fn new(state: u8) -> Arc<Self> {
        Self::with(state, Body::open())
    }

    fn with(state: u8, body: Arc<Body>) -> Arc<Self> {
        let state = AtomicU8::new(state);
        Arc::new(Self { state, body })
    }

    fn is(&self, state: u8) {
        self.state.store(state, Ordering::SeqCst);
    }

    async fn run(&self) -> Result<u32, Oops> {
        let number = self.body.run().await;
        match self.state.load(Ordering::SeqCst) {
            UP => Ok(number),
            DOWN => Err(Oops::own("the database is away")),
            _ => Err(Oops::own("bad order")),
        }
    }
}

fn is_outage(error: &Oops) -> bool {
    matches!(error, Oops::Own(text) if text == "the database is away")
}

fn is_temporary(error: &Oops) -> bool {
    matches!(error, Oops::Own(text) if text == "the database is away")
}

/// It says which errors are outages.
#[idempotent(
    name = "pauses.told",
    key = "id",
    retries = 1,
    retry = "redeliver",
    outage = is_outage,
    backoff(initial = "0ms"),
    skip(world)
)]
async fn told(id: String, world: Arc<World>) -> Result<u32, Oops> {
    world.run().await
}

/// It does not.
#[idempotent(
    name = "pauses.untold",
    key = "id",
    retries = 3,
    retry = "redeliver",
    backoff(initial = "0ms"),
    skip(world)
)]
async fn untold(id: String, world: Arc<World>) -> Result<u32, Oops> {
    world.run().await
}

#[idempotent(
    name = "pauses.permanent",
    key = "id",
    retry = "redeliver",
    retry_if = is_temporary,
    backoff(initial = "0ms"),
    skip(world)
)]
async fn permanent(id: String, world: Arc<World>) -> Result<u32, Oops> {
    world.run().await
}

async fn call(idem: &Idem, key: impl ToString, world: &Arc<World>) -> Result<u32, Oops> {
    soon(idem.scope(told(key.to_string(), Arc::clone(world)))).await
}

/// Delivers a message of the handler that does not say what an outage is.
async fn deliver(idem: &Idem, key: impl ToString, world: &Arc<World>) -> Verdict {
    let message = untold(key.to_string(), Arc::clone(world));
    let origin = Origin::new("rabbitmq", "orders");
    soon(idem.deliver(origin, message)).await.verdict
}

/// The only pause there is.
async fn pause(idem: &Idem) -> Option<Pause> {
    let mut pauses = idem.pauses().await.unwrap();
    assert!(pauses.len() <= 1, "{pauses:#?}");
    pauses.pop()
}

/// Waits until the only pause is as it should be: it is written in the background.
async fn comes_to(idem: &Idem, state: Option<PauseState>) -> Option<Pause> {
    let looks = async {
        loop {
            let pause = pause(idem).await;
            if pause.as_ref().map(|pause| pause.state) == state {
                return pause;
            }
            tokio::task::yield_now().await;
        }
    };
    soon(looks).await
}

/// Pauses the handler by five outages.
async fn trip(idem: &Idem, world: &Arc<World>) -> Pause {
    world.is(DOWN);
    for key in 0..5 {
        call(idem, format!("trip-{key}"), world).await.unwrap_err();
    }
    comes_to(idem, Some(PauseState::Paused)).await.unwrap()
}

/// Moves the clock to when one message is let through.
fn to_the_probe(clock: &ManualClock, pause: &Pause) {
    clock.set(pause.retry_at.expect("it has no time"));
}

#[track_caller]
fn paused(error: Oops) -> (String, Duration) {
    match error.into_idem() {
        Error::Paused {
            retry_after, why, ..
        } => (why, retry_after),
        other => panic!("{other:?}"),
    }
}

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

fn ann(why: &str) -> Actor {
    Actor {
        who: Some("ann".to_owned()),
        why: Some(why.to_owned()),
    }
}

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

struct Replicas {
    clock: ManualClock,
    store: MemoryStore,
}

impl Replicas {
    fn new() -> Self {
        let clock = ManualClock::default();
        let store = MemoryStore::new(Arc::new(clock.clone()));
        Self { clock, store }
    }

    async fn start(&self) -> Idem {
        let store = self.store.clone();
        let lease = Duration::from_secs(24 * 3600);
        Idem::builder()
            .clock(Arc::new(self.clock.clone()))
            .open_with(move |context| SharedLedger::open(store, context, lease))
            .await
            .unwrap()
    }
}

/// Waits until a process turns calls away, or lets them in again, by itself.
async fn until_turned_away(idem: &Idem, world: &Arc<World>, away: bool) {
    let mut key = 0;
    let tries = async {
        loop {
            key += 1;
            let called = call(idem, format!("try-{key}"), world).await;
            let turned = matches!(called, Err(Oops::Idem(Error::Paused { .. })));
            if turned == away {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    soon(tries).await;
}

#[tokio::test]
async fn replicas_stop_and_go_together() {
    let (replicas, world) = (Replicas::new(), World::new(DOWN));
    let (one, other) = (replicas.start().await, replicas.start().await);
    let pause = trip(&one, &world).await;
    world.is(UP);
    until_turned_away(&other, &world, true).await;
    to_the_probe(&replicas.clock, &pause);
    // Of all that try at once in both, one is let through.
    world.is(DOWN);
    let starts = world.body.starts();
    let idems = [&one, &other];
    let tries = (0..20).map(|key| call(idems[key % 2], format!("p-{key}"), &world));
    join_all(tries).await;
    assert_eq!(world.body.starts(), starts + 1);
    let pause = comes_to(&other, Some(PauseState::Paused)).await.unwrap();
    to_the_probe(&replicas.clock, &pause);
    world.is(UP);
    call(&other, "well", &world).await.unwrap();
    comes_to(&one, Some(PauseState::Recovering)).await;
    one.resume("pauses.told", ann("all is well")).await.unwrap();
    until_turned_away(&other, &world, false).await;
    comes_to(&other, None).await;
}

/// The process with the probe is gone, and says nothing more.
#[tokio::test]
async fn a_probe_of_a_dead_process_is_followed_by_another_one() {
    let (replicas, world) = (Replicas::new(), World::new(DOWN));
    let (one, other) = (replicas.start().await, replicas.start().await);
    let pause = trip(&one, &world).await;
    until_turned_away(&other, &world, true).await;
    to_the_probe(&replicas.clock, &pause);
    let shut = World::with(UP, Body::shut());
    let mut probe = Box::pin(one.scope(told("probe".into(), Arc::clone(&shut))));
    shut.body.holds(&mut probe, 1).await;
    // Its runtime stops: not even its drop is heard of.
    std::mem::forget(probe);
    let pause = comes_to(&other, Some(PauseState::Probing)).await.unwrap();
    world.is(UP);
    paused(call(&other, "next", &world).await.unwrap_err());
    to_the_probe(&replicas.clock, &pause);
    call(&other, "next", &world).await.unwrap();
    std::mem::forget(one);
}
