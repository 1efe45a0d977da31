//! Leases that are lost, renewed, and renewed no more; and claims whose answers are lost.

use std::future::{Future, pending, ready};
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use idem_runtime::clock::{BoxFuture, Clock};
use idem_runtime::dead_letters::AttemptOutcome;
use idem_runtime::ledger::{Claims, LedgerError};
use idem_runtime::protocol::{Phase, Record, RecordId, Step};
use idem_runtime::testing::{
    LedgerCall, LedgerFault, ManualClock, MemoryLedger, UnreliableLedger, open_on,
};
use idem_runtime::{Attempt, Error, Idem, attempt, idempotent};
use tokio::sync::watch;

use crate::common::{Body, Log, Oops, on_a_thread, only_letter, poll_once, soon};

/// What becomes of a step.
#[derive(Clone)]
enum Fate {
    Made,
    /// It is made, and its answer is lost.
    Lost(LedgerError),
    /// It is not made.
    Refused(LedgerError),
    /// It is made, and its answer comes once the gate is open.
    Late(watch::Receiver<bool>),
    /// It is made, and its answer is lost once the gate is open.
    LostLate(watch::Receiver<bool>, LedgerError),
    Panics,
}

type Fates = Arc<Mutex<dyn FnMut(&Step) -> Fate + Send>>;

/// A connection to a ledger in memory, with faults. It notes its steps.
fn faulty(ledger: MemoryLedger, fates: Fates, steps: Arc<Log<Step>>) -> UnreliableLedger {
    let opened = |mut gate: watch::Receiver<bool>| -> BoxFuture<'static, ()> {
        Box::pin(async move { drop(gate.wait_for(|open| *open).await.unwrap()) })
    };
    UnreliableLedger::new(ledger, move |call| {
        let LedgerCall::Step(_, step) = call else {
            return None;
        };
        steps.push((*step).clone());
        let fate = (fates.lock().unwrap())(step);
        match fate {
            Fate::Made => None,
            Fate::Lost(error) => Some(LedgerFault::Lost(error)),
            Fate::Refused(error) => Some(LedgerFault::Refused(error)),
            Fate::Late(gate) => Some(LedgerFault::LateAnswer(opened(gate))),
            Fate::LostLate(gate, error) => Some(LedgerFault::LostLater(opened(gate), error)),
            Fate::Panics => panic!("the ledger panics"),
        }
    })
}

/// Two processes on one ledger; the connection of the first has faults.
struct Two {
    clock: ManualClock,
    steps: Arc<Log<Step>>,
    one: Idem,
    claims: Claims,
    other: Idem,
}

impl Two {
    async fn new(fates: impl FnMut(&Step) -> Fate + Send + 'static) -> Self {
        let clock = ManualClock::default();
        let ledger = MemoryLedger::new(Arc::new(clock.clone()));
        let builder = || Idem::builder().clock(Arc::new(clock.clone()));
        let steps = Arc::<Log<Step>>::default();
        let fates = Arc::new(Mutex::new(fates));
        let faulty = faulty(ledger.clone(), fates, Arc::clone(&steps));
        let claims = OnceLock::new();
        let one = builder()
            .open_with(|context| {
                claims.get_or_init(|| context.claims);
                ready(Ok(faulty))
            })
            .await
            .unwrap();
        Self {
            other: open_on(builder(), ledger).unwrap(),
            claims: claims.into_inner().unwrap(),
            clock,
            steps,
            one,
        }
    }

    /// With a gate that the answers of `step` wait for, the first time.
    async fn with_a_late(is: fn(&Step) -> bool) -> (Self, watch::Sender<bool>) {
        let (open, gate) = watch::channel(false);
        let mut late = Some(Fate::Late(gate));
        let fates = move |step: &Step| match is(step) {
            true => late.take().unwrap_or(Fate::Made),
            false => Fate::Made,
        };
        (Self::new(fates).await, open)
    }

    async fn record(&self) -> Option<Record> {
        let id = RecordId::new("lost.run", "1");
        self.other.record(&id).await.unwrap()
    }

    async fn is_given_back(&self) {
        soon(async {
            while self.record().await.is_some() {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    /// Waits until this many steps of a kind were asked for.
    async fn asked(&self, times: usize, is: fn(&Step) -> bool) {
        let mut asked = 0;
        eventually(|| {
            asked += self.steps.take().iter().filter(|step| is(step)).count();
            asked >= times
        })
        .await;
        assert_eq!(asked, times);
    }
}

/// Waits until it is so.
async fn eventually(mut is_so: impl FnMut() -> bool) {
    soon(async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

fn is_claim(step: &Step) -> bool {
    matches!(step, Step::Claim(_))
}

fn is_renewal(step: &Step) -> bool {
    matches!(step, Step::Renew { .. })
}

fn unavailable(maybe_written: bool) -> LedgerError {
    LedgerError::Unavailable {
        message: "no route".to_owned(),
        maybe_written,
        source: None,
    }
}

/// The ledger is out of reach for all but the first claim.
fn away(step: &Step) -> Fate {
    match step {
        Step::Claim(claim) if claim.nonce == 1 => Fate::Made,
        _ => Fate::Refused(unavailable(false)),
    }
}

fn unrenewed(step: &Step) -> Fate {
    match step {
        Step::Renew { .. } => Fate::Refused(unavailable(false)),
        _ => Fate::Made,
    }
}

const LEASE: Duration = Duration::from_secs(30);

/// What bodies leave: their attempts, and whether they were dropped.
#[derive(Default)]
struct Seen {
    attempts: Log<Attempt>,
    dropped: Log<u32>,
}

/// Says that its body was dropped before its end.
struct Guard<'s>(u32, &'s Seen);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.1.dropped.push(self.0);
    }
}

#[idempotent(name = "lost.run", key = "id", lease = "30s", skip(body, seen))]
async fn run(id: u32, body: &Body, seen: &Seen) -> Result<u32, Oops> {
    let attempt = attempt().unwrap();
    let guard = Guard(attempt.number, seen);
    seen.attempts.push(attempt);
    let start = body.run().await;
    std::mem::forget(guard);
    Ok(start)
}

type Call<T> = Pin<Box<dyn Future<Output = T> + Send>>;

fn call(idem: &Idem, body: &Arc<Body>, seen: &Arc<Seen>) -> Call<Result<u32, Oops>> {
    let (idem, body, seen) = (idem.clone(), Arc::clone(body), Arc::clone(seen));
    Box::pin(async move { idem.scope(run(1, &body, &seen)).await })
}

/// A body that works until it is told that it lost, as a sync one has to.
fn works_until_it_is_lost() {
    let patience = Instant::now() + Duration::from_secs(60);
    while !attempt().unwrap().lost() {
        assert!(Instant::now() < patience, "it was not told");
        thread::yield_now();
    }
}

#[idempotent(name = "lost.sync", key = "id", lease = "30s", skip(body))]
fn run_now(id: u32, body: &Body) -> Result<u32, Oops> {
    let number = body.start();
    if number == 1 {
        works_until_it_is_lost();
    }
    Ok(number)
}

#[tokio::test]
async fn a_sync_body_is_told_that_the_ledger_was_out_of_reach_for_its_lease() {
    let (two, body) = (Two::new(away).await, Body::open());
    let first = tokio::task::spawn_blocking({
        let (one, body) = (two.one.clone(), body.clone());
        move || one.sync_scope(|| run_now(1, &body))
    });
    body.started(1).await;
    soon(two.clock.asleep(1)).await;
    two.clock.advance(LEASE);
    let error = soon(first).await.unwrap().unwrap_err().into_idem();
    assert!(matches!(error, Error::Ledger { .. }), "{error:?}");
    let other = two.other.clone();
    let other = tokio::task::spawn_blocking({
        let body = body.clone();
        move || other.sync_scope(|| run_now(1, &body))
    });
    assert_eq!(soon(other).await.unwrap().unwrap(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_body_returns_that_was_told_is_not_recorded() {
    #[idempotent(
        name = "lost.told",
        key = "id",
        lease = "30s",
        backoff(initial = "0s"),
        skip(body)
    )]
    async fn told(id: u32, body: &Body) -> Result<u32, Oops> {
        let number = body.start();
        if number == 1 {
            works_until_it_is_lost();
        }
        Ok(number)
    }
    let (two, body) = (Two::new(unrenewed).await, Body::open());
    let first = tokio::spawn({
        let (one, body) = (two.one.clone(), body.clone());
        async move { one.scope(told(1, &body)).await }
    });
    body.started(1).await;
    soon(two.clock.asleep(1)).await;
    two.clock.advance(LEASE);
    // Nobody else has claimed it, so it is this call's second attempt.
    assert_eq!(soon(first).await.unwrap().unwrap(), 2);
}

#[tokio::test]
async fn an_async_body_is_cancelled_and_the_other_result_stands() {
    let two = Two::new(unrenewed).await;
    let (body, seen) = (Body::shut(), Arc::<Seen>::default());
    let mut first = call(&two.one, &body, &seen);
    body.holds(&mut first, 1).await;
    let attempt = seen.attempts.take().remove(0);
    assert!(!attempt.lost());
    soon(two.clock.asleep(1)).await;
    two.clock.advance(LEASE);
    body.let_go();
    assert_eq!(soon(call(&two.other, &body, &seen)).await.unwrap(), 2);
    eventually(|| attempt.lost()).await;
    // The body could return, and is not asked.
    let error = soon(first).await.unwrap_err().into_idem();
    assert!(
        matches!(&error, Error::LeaseLost { handler, key } if handler == "lost.run" && key == "1"),
        "{error:?}"
    );
    assert_eq!(seen.dropped.take(), [1]);
    assert_eq!(soon(call(&two.one, &body, &seen)).await.unwrap(), 2);
}

#[tokio::test]
async fn a_body_that_waits_is_woken_wherever_it_was_polled_last() {
    let two = Two::new(|_| Fate::Made).await;
    let (body, seen) = (Body::shut(), Arc::<Seen>::default());
    let mut first = call(&two.one, &body, &seen);
    assert!(poll_once(first.as_mut()).await.is_none());
    let first = tokio::spawn(first);
    tokio::task::yield_now().await;
    let attempt = seen.attempts.take().remove(0);
    let (id, another) = (
        RecordId::new("lost.run", "1"),
        RecordId::new("lost.run", "2"),
    );
    two.claims.lose(&another, attempt.token);
    assert!(!attempt.lost(), "a token is one of its key");
    two.claims.lose(&id, attempt.token);
    eventually(|| !seen.dropped.take().is_empty()).await;
    // The ledger knows nothing of it, so that it may have another attempt.
    body.let_go();
    two.clock.asleep(1).await;
    two.clock.advance(LEASE);
    assert_eq!(soon(first).await.unwrap().unwrap(), 2);
}

#[test]
fn a_waker_may_drop_the_call_that_it_wakes() {
    struct Drops(Mutex<Option<Call<Result<u32, Oops>>>>);
    impl Wake for Drops {
        fn wake(self: Arc<Self>) {
            let call = self.0.lock().unwrap().take();
            drop(call);
        }
    }
    on_a_thread(|| {
        let two = pollster::block_on(Two::new(|_| Fate::Made));
        let (body, seen) = (Body::shut(), Arc::<Seen>::default());
        let mut first = call(&two.one, &body, &seen);
        let drops = Arc::new(Drops(Mutex::new(None)));
        let waker = Waker::from(drops.clone());
        let polled = first.as_mut().poll(&mut Context::from_waker(&waker));
        assert!(polled.is_pending() && body.starts() == 1);
        *drops.0.lock().unwrap() = Some(first);
        two.claims.lose_all();
        assert_eq!(seen.dropped.take(), [1]);
    });
}

#[tokio::test]
async fn a_body_that_hangs_loses_its_claim_after_lease_max() {
    #[idempotent(
        name = "lost.hangs",
        key = "id",
        lease = "30s",
        lease_max = "1m",
        retries = 0,
        skip(body)
    )]
    async fn hangs(id: u32, body: &Body) -> Result<u32, Oops> {
        body.start();
        pending().await
    }
    let (two, body) = (Two::new(|_| Fate::Made).await, Body::open());
    let start = two.clock.now();
    let ended = {
        let mut call = std::pin::pin!(two.one.scope(hangs(1, &body)));
        assert!(poll_once(call.as_mut()).await.is_none());
        let time_passes = async {
            loop {
                two.clock.asleep(1).await;
                two.clock.advance(Duration::from_secs(10));
                // The renewal of this tick, if there is one, comes before the next.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            ended = soon(call) => ended,
            () = time_passes => unreachable!(),
        }
    };
    let error = ended.unwrap_err().into_idem();
    assert!(matches!(error, Error::DeadLettered { .. }), "{error:?}");
    assert!(two.clock.now().duration_since(start).as_secs() >= 60);
    let letter = only_letter(&two.other).await;
    assert_eq!(letter.attempts[0].outcome, AttemptOutcome::LeaseLapsed);
}

/// What the body still does for that message is done twice, and it cannot be stopped for one.
#[tokio::test]
async fn a_body_of_many_is_stopped_when_the_claim_of_one_has_passed_on() {
    #[idempotent(
        name = "lost.many",
        each = "ids",
        retries = 1,
        backoff(initial = "0ms"),
        skip(body)
    )]
    async fn many(ids: Vec<u32>, body: &Body) -> Vec<Result<u32, Oops>> {
        body.run().await;
        ids.into_iter().map(Ok).collect()
    }
    let (two, body) = (Two::new(|_| Fate::Made).await, Body::shut());
    let mut list = Box::pin(two.one.scope(many(vec![1, 2], &body)));
    body.holds(&mut list, 1).await;
    let id = RecordId::new("lost.many", "1");
    let Some(Record::Live(live)) = two.other.record(&id).await.unwrap() else {
        panic!("it runs");
    };
    two.claims.lose(&id, live.token);
    body.let_go();
    // Both run again, each alone, because no other process took the first.
    let results: Vec<_> = soon(list).await.into_iter().map(Result::unwrap).collect();
    assert_eq!((results, body.starts()), (vec![1, 2], 3));
}

#[tokio::test]
async fn lease_max_passes_the_message_of_a_sync_body_that_hangs_on() {
    #[idempotent(
        name = "lost.held",
        key = "id",
        lease = "30s",
        lease_max = "1m",
        skip(body, door)
    )]
    fn held(id: u32, body: &Body, door: &Body) -> Result<u32, Oops> {
        let number = body.start();
        if number == 1 {
            door.run_now();
        }
        Ok(number)
    }
    let two = Two::new(|_| Fate::Made).await;
    let (body, door) = (Body::open(), Body::shut());
    let held_by = |idem: &Idem| {
        let (idem, body, door) = (idem.clone(), body.clone(), door.clone());
        tokio::task::spawn_blocking(move || idem.sync_scope(|| held(1, &body, &door)))
    };
    let first = held_by(&two.one);
    door.started(1).await;
    let mut second = held_by(&two.other);
    let start = two.clock.now();
    let answer = soon(async {
        loop {
            tokio::select! {
                answer = &mut second => break answer,
                () = two.clock.asleep(2) => two.clock.advance(Duration::from_secs(1)),
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    assert_eq!(answer.unwrap().unwrap(), 2);
    assert!(two.clock.now().duration_since(start).as_secs() >= 60);
    door.let_go();
    let error = soon(first).await.unwrap().unwrap_err().into_idem();
    assert!(matches!(error, Error::LeaseLost { .. }), "{error:?}");
}

#[tokio::test]
async fn claims_of_one_length_are_renewed_together_once_a_third_of_it() {
    let two = Two::new(|_| Fate::Made).await;
    let (body, seen) = (Body::shut(), Arc::<Seen>::default());
    let mut first = call(&two.one, &body, &seen);
    body.holds(&mut first, 1).await;
    let mut second = Box::pin(two.one.scope(run(2, &body, &seen)));
    body.holds(&mut second, 2).await;
    for _ in 0..12 {
        soon(two.clock.asleep(1)).await;
        two.clock.advance(LEASE / 3);
        two.asked(2, is_renewal).await;
    }
    body.let_go();
    soon(first).await.unwrap();
    soon(second).await.unwrap();
    // The renewals end with the bodies.
    soon(two.clock.asleep(1)).await;
    two.clock.advance(LEASE / 3);
    let third = two.one.scope(run(3, &body, &seen));
    soon(third).await.unwrap();
    two.asked(0, is_renewal).await;
}

#[tokio::test]
async fn a_ledger_that_panics_at_a_renewal_is_asked_again() {
    let mut panics = true;
    let two = Two::new(move |step| match step {
        Step::Renew { .. } if std::mem::take(&mut panics) => Fate::Panics,
        _ => Fate::Made,
    })
    .await;
    let (body, seen) = (Body::shut(), Arc::<Seen>::default());
    let mut first = call(&two.one, &body, &seen);
    body.holds(&mut first, 1).await;
    for _ in 0..4 {
        soon(two.clock.asleep(1)).await;
        two.clock.advance(LEASE / 3);
        two.asked(1, is_renewal).await;
    }
    body.let_go();
    assert_eq!(soon(first).await.unwrap(), 1);
}

#[tokio::test]
async fn a_claim_whose_answer_was_lost_costs_no_attempt() {
    for error in [unavailable(true), LedgerError::Other("odd".to_owned())] {
        let mut lost = Some(Fate::Lost(error));
        let two = Two::new(move |step| match step {
            Step::Claim(_) => lost.take().unwrap_or(Fate::Made),
            _ => Fate::Made,
        })
        .await;
        let (body, seen) = (Body::open(), Arc::<Seen>::default());
        let error = call(&two.one, &body, &seen).await.unwrap_err().into_idem();
        assert!(matches!(error, Error::Ledger { .. }), "{error:?}");
        assert_eq!(soon(call(&two.one, &body, &seen)).await.unwrap(), 1);
        assert_eq!(seen.attempts.take()[0].number, 1);
    }
}

#[tokio::test]
async fn a_claim_that_was_not_written_is_not_brought_again() {
    let mut refused = Some(Fate::Refused(unavailable(false)));
    let two = Two::new(move |step| match step {
        Step::Claim(_) => refused.take().unwrap_or(Fate::Made),
        _ => Fate::Made,
    })
    .await;
    let (body, seen) = (Body::open(), Arc::<Seen>::default());
    call(&two.one, &body, &seen).await.unwrap_err();
    assert_eq!(soon(call(&two.one, &body, &seen)).await.unwrap(), 1);
    two.asked(2, is_claim).await;
}

/// Loses the answer of the first claim.
fn loses_a_claim() -> impl FnMut(&Step) -> Fate + Send + 'static {
    let mut lost = Some(Fate::Lost(unavailable(true)));
    move |step| match step {
        Step::Claim(_) => lost.take().unwrap_or(Fate::Made),
        _ => Fate::Made,
    }
}

#[tokio::test]
async fn the_background_gives_back_a_claim_whose_answer_was_lost() {
    let two = Two::new(loses_a_claim()).await;
    let (body, seen) = (Body::open(), Arc::<Seen>::default());
    call(&two.one, &body, &seen).await.unwrap_err();
    // It may have been given back already.
    two.asked(1, |step| matches!(step, Step::GiveBack { .. }))
        .await;
    two.is_given_back().await;
    // No lease had to lapse: the clock stands still.
    assert_eq!(soon(call(&two.other, &body, &seen)).await.unwrap(), 1);
    assert_eq!(seen.attempts.take()[0].number, 1);
}

#[tokio::test]
async fn closing_gives_back_a_claim_whose_answer_was_lost() {
    let two = Two::new(loses_a_claim()).await;
    let (body, seen) = (Body::open(), Arc::<Seen>::default());
    call(&two.one, &body, &seen).await.unwrap_err();
    two.one.close().await.unwrap();
    assert_eq!(two.record().await, None);
    assert_eq!(soon(call(&two.other, &body, &seen)).await.unwrap(), 1);
}

#[tokio::test]
async fn a_call_that_is_dropped_while_it_claims_costs_no_attempt() {
    let (two, open) = Two::with_a_late(is_claim).await;
    let (body, seen) = (Body::open(), Arc::<Seen>::default());
    let mut first = call(&two.one, &body, &seen);
    assert!(poll_once(first.as_mut()).await.is_none());
    drop(first);
    open.send_replace(true);
    assert_eq!(soon(call(&two.one, &body, &seen)).await.unwrap(), 1);
    assert_eq!(seen.attempts.take()[0].number, 1);
}

#[tokio::test]
async fn a_dropped_call_whose_claim_has_no_answer_costs_no_attempt() {
    let (open, gate) = watch::channel(false);
    let mut lost = Some(Fate::LostLate(gate, unavailable(true)));
    let two = Two::new(move |step| match step {
        Step::Claim(_) => lost.take().unwrap_or(Fate::Made),
        _ => Fate::Made,
    })
    .await;
    let (body, seen) = (Body::open(), Arc::<Seen>::default());
    let mut first = call(&two.one, &body, &seen);
    assert!(poll_once(first.as_mut()).await.is_none());
    drop(first);
    assert!(two.record().await.is_some(), "it was written");
    open.send_replace(true);
    two.is_given_back().await;
    assert_eq!(soon(call(&two.other, &body, &seen)).await.unwrap(), 1);
    assert_eq!(seen.attempts.take()[0].number, 1);
}

#[tokio::test]
async fn a_grant_that_comes_late_is_asked_for_again() {
    let (two, open) = Two::with_a_late(is_claim).await;
    let (body, seen) = (Body::shut(), Arc::<Seen>::default());
    let mut first = call(&two.one, &body, &seen);
    assert!(poll_once(first.as_mut()).await.is_none());
    two.clock.advance(LEASE * 2);
    assert_eq!(body.starts(), 0);
    open.send_replace(true);
    body.holds(&mut first, 1).await;
    assert_eq!(seen.attempts.take()[0].number, 1);
    let Some(Record::Live(live)) = two.record().await else {
        panic!("it runs");
    };
    let Phase::Running { until, number, .. } = live.phase else {
        panic!("it runs");
    };
    assert_eq!(until.duration_since(two.clock.now()).as_secs(), 30);
    assert_eq!(number, 1);
    body.let_go();
    assert_eq!(soon(first).await.unwrap(), 1);
}

#[tokio::test]
async fn a_grant_that_comes_too_late_starts_no_body() {
    let (two, open) = Two::with_a_late(is_claim).await;
    let (body, seen) = (Body::open(), Arc::<Seen>::default());
    let mut first = call(&two.one, &body, &seen);
    assert!(poll_once(first.as_mut()).await.is_none());
    two.clock.advance(LEASE);
    assert_eq!(soon(call(&two.other, &body, &seen)).await.unwrap(), 1);
    open.send_replace(true);
    assert_eq!(soon(first).await.unwrap(), 1, "the other's result");
    assert_eq!(body.starts(), 1);
}

#[tokio::test]
async fn a_loss_that_is_told_before_the_body_starts_is_heard() {
    let (two, open) = Two::with_a_late(is_claim).await;
    let (body, seen) = (Body::open(), Arc::<Seen>::default());
    let mut first = call(&two.one, &body, &seen);
    assert!(poll_once(first.as_mut()).await.is_none());
    two.claims.lose_all();
    open.send_replace(true);
    assert_eq!(soon(first).await.unwrap(), 1);
    two.asked(2, is_claim).await;
    assert_eq!(seen.attempts.take()[0].number, 1);
}
