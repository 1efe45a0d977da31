//! Two Idems on one ledger, as two processes have it: leases, renewals, and tokens that make the
//! late one lose.

use std::sync::Arc;
use std::time::Duration;

use idem_runtime::ledger::Ledger;
use idem_runtime::protocol::{Phase, Record, RecordId, Step};
use idem_runtime::testing::{
    LedgerCall, LedgerFault, ManualClock, MemoryLedger, UnreliableLedger, open_on,
};
use idem_runtime::{
    Error, Filter, Idem, attempt,
    clock::Timestamp,
    dead_letters::{AttemptOutcome, Reason},
    idempotent,
};
use tokio::task::JoinHandle;

use crate::common::{Body, Log, Oops, only_letter, soon};

struct Two {
    clock: ManualClock,
    ledger: MemoryLedger,
    one: Idem,
    other: Idem,
}

fn two() -> Two {
    let clock = ManualClock::default();
    let ledger = MemoryLedger::new(Arc::new(clock.clone()));
    let process = || {
        open_on(
            Idem::builder().clock(Arc::new(clock.clone())),
            ledger.clone(),
        )
        .unwrap()
    };
    Two {
        one: process(),
        other: process(),
        clock,
        ledger,
    }
}

impl Two {
    /// A process that stalls: its renewals never arrive.
    fn stalling(&self) -> Idem {
        let builder = Idem::builder().clock(Arc::new(self.clock.clone()));
        let unrenewed = UnreliableLedger::new(self.ledger.clone(), |call| match call {
            LedgerCall::Step(_, Step::Renew { .. }) => Some(LedgerFault::Silent),
            _ => None,
        });
        open_on(builder, unrenewed).unwrap()
    }

    /// Moves time in small steps, as long as something is asleep, until the future ends.
    async fn while_time_passes<F: Future>(&self, step: Duration, future: F) -> F::Output {
        let time_passes = async {
            loop {
                self.clock.asleep(1).await;
                self.clock.advance(step);
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            output = soon(future) => output,
            () = time_passes => unreachable!(),
        }
    }

    /// When the lease of a running message lapses.
    async fn lease_of(&self, handler: &str, key: &str) -> Option<Timestamp> {
        let id = RecordId::new(handler, key);
        match self.ledger.record(&id).await.unwrap() {
            Some(Record::Live(live)) => match live.phase {
                Phase::Running { until, .. } => Some(until),
                Phase::Waiting { .. } => None,
            },
            _ => None,
        }
    }
}

#[idempotent(
    name = "shared.run",
    key = "id",
    lease = "30s",
    retries = 2,
    backoff(initial = "1s"),
    skip(body, numbers)
)]
async fn run(id: u32, body: &Body, numbers: &Log<(u32, u64)>) -> Result<u32, Oops> {
    let attempt = attempt().unwrap();
    numbers.push((attempt.number, attempt.token));
    Ok(body.run().await)
}

fn spawn<T: Send + 'static>(
    idem: &Idem,
    call: impl Future<Output = T> + Send + 'static,
) -> JoinHandle<T> {
    let idem = idem.clone();
    tokio::spawn(async move { idem.scope(call).await })
}

/// A call of [`run`] in a task of its own.
fn started(
    idem: &Idem,
    body: &Arc<Body>,
    numbers: &Arc<Log<(u32, u64)>>,
) -> JoinHandle<Result<u32, Oops>> {
    let (body, numbers) = (Arc::clone(body), Arc::clone(numbers));
    spawn(idem, async move { run(1, &body, &numbers).await })
}

#[tokio::test]
async fn a_duplicate_in_another_process_waits_and_gets_the_result() {
    let (two, body, numbers) = (two(), Body::shut(), Arc::new(Log::default()));
    let first = started(&two.one, &body, &numbers);
    body.started(1).await;
    let second = started(&two.other, &body, &numbers);
    soon(two.clock.asleep(2)).await;
    body.let_go();
    assert_eq!(soon(first).await.unwrap().unwrap(), 1);
    assert_eq!(
        two.while_time_passes(Duration::from_millis(100), second)
            .await
            .unwrap()
            .unwrap(),
        1
    );
    assert_eq!(numbers.take().len(), 1);
}

#[tokio::test]
async fn a_lease_is_renewed_while_the_body_runs_and_nobody_else_gets_in() {
    let (two, body, numbers) = (two(), Body::shut(), Arc::new(Log::default()));
    let start = idem_runtime::clock::Clock::now(&two.clock);
    let first = started(&two.one, &body, &numbers);
    body.started(1).await;
    let mut lease = two.lease_of("shared.run", "1").await.unwrap();
    assert_eq!(lease.duration_since(start).as_secs(), 30);
    for _ in 0..12 {
        soon(two.clock.asleep(1)).await;
        two.clock.advance(Duration::from_secs(10));
        let renewed = async {
            loop {
                match two.lease_of("shared.run", "1").await {
                    Some(now) if now > lease => break now,
                    _ => tokio::task::yield_now().await,
                }
            }
        };
        lease = soon(renewed).await;
    }
    assert_eq!(lease.duration_since(start).as_secs(), 150);
    body.let_go();
    assert_eq!(soon(first).await.unwrap().unwrap(), 1);
    assert_eq!(two.other.scope(run(1, &body, &numbers)).await.unwrap(), 1);
    assert_eq!(numbers.take().len(), 1);
}

/// The runtime of a process that stalls: it runs when it is told to.
struct Stalled(tokio::runtime::Runtime);

impl Stalled {
    fn new() -> Self {
        Self(
            tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build()
                .unwrap(),
        )
    }
}

#[test]
fn a_lapsed_lease_lets_another_process_in_and_the_late_one_loses() {
    let (two, body, numbers) = (two(), Body::shut(), Arc::new(Log::default()));
    let (slow, quick) = (Stalled::new(), Stalled::new());
    let first = slow.0.spawn({
        let (one, body, numbers) = (two.stalling(), body.clone(), numbers.clone());
        async move { one.scope(run(1, &body, &numbers)).await }
    });
    slow.0.block_on(body.started(1));
    two.clock.advance(Duration::from_secs(30));
    body.let_go();
    assert_eq!(
        quick
            .0
            .block_on(two.other.scope(run(1, &body, &numbers)))
            .unwrap(),
        2
    );
    let error = slow.0.block_on(first).unwrap().unwrap_err().into_idem();
    assert!(
        matches!(&error, Error::LeaseLost { handler, key } if handler == "shared.run" && key == "1"),
        "{error:?}"
    );
    // Everyone sees one result, the late one's body or not.
    assert_eq!(
        quick
            .0
            .block_on(two.one.scope(run(1, &body, &numbers)))
            .unwrap(),
        2
    );
    let numbers = numbers.take();
    assert_eq!((numbers[0].0, numbers[1].0, numbers.len()), (1, 2, 2));
    assert!(
        numbers[0].1 < numbers[1].1,
        "the later token is larger: {numbers:?}"
    );
}

#[test]
fn a_late_failure_is_not_written_either() {
    #[idempotent(
        name = "shared.fails",
        key = "id",
        lease = "30s",
        retries = 5,
        skip(body)
    )]
    async fn fails_first(id: u32, body: &Body) -> Result<u32, Oops> {
        match body.run().await {
            1 => Err(Oops::own("late")),
            number => Ok(number),
        }
    }
    let (two, body) = (two(), Body::shut());
    let (slow, quick) = (Stalled::new(), Stalled::new());
    let first = slow.0.spawn({
        let (one, body) = (two.stalling(), body.clone());
        async move { one.scope(fails_first(1, &body)).await }
    });
    slow.0.block_on(body.started(1));
    two.clock.advance(Duration::from_secs(30));
    body.let_go();
    assert_eq!(
        quick
            .0
            .block_on(two.other.scope(fails_first(1, &body)))
            .unwrap(),
        2
    );
    let error = slow.0.block_on(first).unwrap().unwrap_err();
    assert!(matches!(error.into_idem(), Error::LeaseLost { .. }));
    assert_eq!(
        quick
            .0
            .block_on(two.one.scope(fails_first(1, &body)))
            .unwrap(),
        2,
        "the result stays"
    );
}

#[test]
fn leases_that_lapse_use_up_the_budget_and_the_sweep_finds_the_last_one() {
    let (two, body, numbers) = (two(), Body::shut(), Arc::new(Log::default()));
    let mut stalled = Vec::new();
    for number in 1..=3 {
        let process = Stalled::new();
        let idem = two.stalling();
        let call = process.0.spawn({
            let (body, numbers) = (body.clone(), numbers.clone());
            async move { idem.scope(run(1, &body, &numbers)).await }
        });
        process.0.block_on(body.started(number));
        two.clock.advance(Duration::from_secs(30));
        stalled.push((process, call));
    }
    let here = Stalled::new();
    here.0.block_on(async {
        two.one.sweep().await.unwrap();
        let letter = only_letter(&two.one).await;
        assert_eq!(letter.reason, Reason::BudgetSpent);
        let told: Vec<_> = letter
            .attempts
            .iter()
            .map(|past| (past.number, past.outcome))
            .collect();
        let lapsed = AttemptOutcome::LeaseLapsed;
        assert_eq!(told, [(1, lapsed), (2, lapsed), (3, lapsed)]);
        let error = two
            .other
            .scope(run(1, &body, &numbers))
            .await
            .unwrap_err()
            .into_idem();
        assert!(matches!(error, Error::DeadLettered { id, .. } if id == letter.id));
    });
    assert_eq!(body.starts(), 3);
}

#[idempotent(
    name = "shared.bury",
    key = "id",
    lease = "30s",
    on_crash = "bury",
    skip(body)
)]
async fn bury(id: u32, body: &Body) -> Result<u32, Oops> {
    Ok(body.run().await)
}

#[test]
fn a_lost_lease_has_an_unknown_outcome_so_a_handler_that_buries_does_not_run_again() {
    let (two, body) = (two(), Body::shut());
    let (slow, quick) = (Stalled::new(), Stalled::new());
    let _first = slow.0.spawn({
        let (one, body) = (two.stalling(), body.clone());
        async move { one.scope(bury(1, &body)).await }
    });
    slow.0.block_on(body.started(1));
    two.clock.advance(Duration::from_secs(30));
    quick.0.block_on(async {
        let error = two
            .other
            .scope(bury(1, &body))
            .await
            .unwrap_err()
            .into_idem();
        let letter = only_letter(&two.other).await;
        assert!(
            matches!(error, Error::DeadLettered { id, .. } if id == letter.id),
            "{error:?}"
        );
        assert_eq!(
            (letter.reason, letter.attempts[0].outcome),
            (Reason::UnknownOutcome, AttemptOutcome::LeaseLapsed)
        );
    });
    assert_eq!(body.starts(), 1);
}

#[idempotent(name = "shared.reject", key = "id", in_flight = "reject", skip(body))]
async fn reject(id: u32, content: u32, body: &Body) -> Result<u32, Oops> {
    Ok(body.run().await)
}

#[tokio::test]
async fn a_duplicate_in_another_process_is_rejected_or_found_to_be_another_message() {
    let (two, body) = (two(), Body::shut());
    let first = spawn(&two.one, {
        let body = body.clone();
        async move { reject(1, 1, &body).await }
    });
    body.started(1).await;
    let error = soon(two.other.scope(reject(1, 1, &body)))
        .await
        .unwrap_err()
        .into_idem();
    assert!(matches!(error, Error::InProgress { .. }), "{error:?}");
    let error = soon(two.other.scope(reject(1, 2, &body)))
        .await
        .unwrap_err()
        .into_idem();
    assert!(matches!(error, Error::KeyReused { .. }), "{error:?}");
    body.let_go();
    assert_eq!(soon(first).await.unwrap().unwrap(), 1);
}

#[idempotent(
    name = "shared.redeliver",
    key = "id",
    retry = "redeliver",
    retries = 3,
    backoff(initial = "1s"),
    skip(body)
)]
async fn redeliver(id: u32, body: &Body) -> Result<u32, Oops> {
    Err(Oops::own(format!("failure {}", body.start())))
}

#[tokio::test]
async fn one_budget_is_shared_by_all_processes() {
    let (two, body) = (two(), Body::open());
    for idem in [&two.one, &two.other, &two.one, &two.other] {
        idem.scope(redeliver(1, &body))
            .await
            .unwrap_err()
            .into_own();
        two.clock.advance(Duration::from_secs(60));
    }
    for idem in [&two.one, &two.other] {
        let error = idem
            .scope(redeliver(1, &body))
            .await
            .unwrap_err()
            .into_idem();
        assert!(matches!(error, Error::DeadLettered { .. }), "{error:?}");
    }
    let letter = two
        .other
        .dead_letters()
        .list(&Filter::default())
        .await
        .unwrap()
        .remove(0);
    two.other.dead_letters().redrive(&letter.id).await.unwrap();
    assert_eq!(
        two.one
            .scope(redeliver(1, &body))
            .await
            .unwrap_err()
            .into_own(),
        "failure 5"
    );
}

#[idempotent(name = "shared.sync", key = "id", lease = "30s", skip(body))]
fn run_now(id: u32, body: &Body) -> Result<u32, Oops> {
    Ok(body.run_now())
}

#[tokio::test]
async fn the_lease_of_a_sync_body_is_renewed_too() {
    let (two, body) = (two(), Body::shut());
    let first = tokio::task::spawn_blocking({
        let (one, body) = (two.one.clone(), body.clone());
        move || one.sync_scope(|| run_now(1, &body))
    });
    body.started(1).await;
    let lease = two.lease_of("shared.sync", "1").await.unwrap();
    let renewed = async {
        for _ in 0..2 {
            two.clock.asleep(1).await;
            two.clock.advance(Duration::from_secs(10));
        }
        while two.lease_of("shared.sync", "1").await.unwrap() <= lease {
            tokio::task::yield_now().await;
        }
    };
    let renewed = tokio::time::timeout(Duration::from_secs(30), renewed).await;
    body.let_go();
    assert_eq!(soon(first).await.unwrap().unwrap(), 1);
    assert!(
        renewed.is_ok(),
        "a body that runs longer than its lease is started a second time elsewhere"
    );
}
