//! Handlers of many messages: each message has its own claim, attempts, result and letter, and those that
//! are to run share a body.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use idem_runtime::dead_letters::RunOutcome;
use idem_runtime::outbox::OutboxMessage;
use idem_runtime::protocol::Step;
use idem_runtime::testing::{
    LedgerCall, LedgerFault, ManualClock, MemoryLedger, UnreliableLedger, open_on, temporary,
};
use idem_runtime::{
    Batches, Error, Filter, Idem, Origin, Verdict, attempt, idempotent, one, watch_replay,
};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::common::{Body, Folder, Log, Oops, on, only_letter, poll_once, soon};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Order {
    no: String,
    qty: u32,
}

fn order(no: u32) -> Order {
    Order {
        no: no.to_string(),
        qty: 1,
    }
}

fn numbers(orders: &[Order]) -> Vec<String> {
    orders.iter().map(|order| order.no.clone()).collect()
}

type Bodies = Arc<Log<Vec<String>>>;

/// Notes what each body was given. An order of 13 fails, one of 99 panics.
#[idempotent(
    name = "batches.place",
    each = "no",
    retries = 2,
    backoff(initial = "0ms"),
    skip(bodies)
)]
async fn place(orders: Vec<Order>, bodies: Bodies) -> Vec<Result<String, Oops>> {
    bodies.push(numbers(&orders));
    assert_eq!(attempt(), None);
    assert!(orders.iter().all(|order| order.qty != 99), "99 of them");
    let placed = orders.iter().map(|order| match order.qty {
        13 => Err(Oops::own(format!("{} is unlucky", order.no))),
        qty => Ok(format!("{} × {qty}", order.no)),
    });
    placed.collect()
}

/// The results as texts, in the order of the messages.
fn texts(results: Vec<Result<String, Oops>>) -> Vec<String> {
    let texts = results.into_iter().map(|result| match result {
        Ok(placed) => placed,
        Err(error) => format!("error: {error}"),
    });
    texts.collect()
}

#[tokio::test]
async fn one_body_runs_for_many_messages_and_duplicates_get_their_results() {
    let (idem, bodies) = (temporary().unwrap(), Bodies::default());
    let first = idem.scope(place(
        vec![order(1), order(2), order(3)],
        Arc::clone(&bodies),
    ));
    assert_eq!(texts(first.await), ["1 × 1", "2 × 1", "3 × 1"]);
    // Two are done, and one comes twice.
    let again = vec![order(4), order(2), order(3), order(4), order(5)];
    let second = idem.scope(place(again, Arc::clone(&bodies)));
    assert_eq!(
        texts(second.await),
        ["4 × 1", "2 × 1", "3 × 1", "4 × 1", "5 × 1"]
    );
    assert_eq!(bodies.take(), [vec!["1", "2", "3"], vec!["4", "5"]]);
    let none = idem.scope(place(Vec::new(), Arc::clone(&bodies)));
    assert_eq!(texts(none.await), [""; 0]);
    assert_eq!(bodies.take(), [[""; 0]; 0]);
}

#[tokio::test]
async fn results_outlive_the_process() {
    let (folder, bodies) = (Folder::new(), Bodies::default());
    for _ in 0..2 {
        let idem = folder.open();
        let placed = idem.scope(place(vec![order(1), order(2)], Arc::clone(&bodies)));
        assert_eq!(texts(placed.await), ["1 × 1", "2 × 1"]);
    }
    assert_eq!(bodies.take(), [["1", "2"]]);
}

#[tokio::test]
async fn a_message_that_fails_is_tried_alone_and_becomes_a_letter_of_its_own() {
    let (idem, bodies) = (temporary().unwrap(), Bodies::default());
    let unlucky = Order {
        qty: 13,
        ..order(2)
    };
    let placed = idem.scope(place(
        vec![order(1), unlucky.clone(), order(3)],
        Arc::clone(&bodies),
    ));
    let texts = texts(placed.await);
    assert_eq!([&texts[0], &texts[2]], ["1 × 1", "3 × 1"]);
    assert_eq!(texts[1], "error: 2 is unlucky");
    assert_eq!(bodies.take(), [vec!["1", "2", "3"], vec!["2"], vec!["2"]]);
    let letter = only_letter(&idem).await;
    assert_eq!((&*letter.handler, &*letter.key), ("batches.place", "2"));
    assert_eq!(letter.attempts.len(), 3);
    // It is as the letter of a handler of one message.
    assert_eq!(
        letter.payload.to_string(),
        r#"{"orders":{"no":"2","qty":13}}"#
    );

    let run = Arc::clone(&bodies);
    idem.register_handler("batches.place", move |order| {
        let bodies = Arc::clone(&run);
        one(|orders| place(orders, bodies), order)
    });
    let letters = idem.dead_letters().by("ann");
    let mended = serde_json::json!({ "orders": order(2) });
    letters.edit(&letter.id, mended, "13").await.unwrap();
    let outcome = letters.run(&letter.id).await.unwrap();
    assert_eq!(outcome, RunOutcome::Done("2 × 1".into()));
}

#[tokio::test]
async fn after_a_panic_each_message_is_tried_alone() {
    let (idem, bodies) = (temporary().unwrap(), Bodies::default());
    let bad = Order {
        qty: 99,
        ..order(2)
    };
    let placed = idem.scope(place(vec![order(1), bad, order(3)], Arc::clone(&bodies)));
    let texts = texts(placed.await);
    assert_eq!([&texts[0], &texts[2]], ["1 × 1", "3 × 1"]);
    assert!(texts[1].starts_with("error: "), "{}", texts[1]);
    let mut bodies = bodies.take();
    assert_eq!(bodies.remove(0), ["1", "2", "3"]);
    bodies.sort();
    assert_eq!(bodies, [["1"], ["2"], ["2"], ["3"]]);
    let letter = only_letter(&idem).await;
    assert_eq!((&*letter.key, letter.attempts.len()), ("2", 3));
    for attempt in letter.attempts {
        assert_eq!(attempt.error.as_deref(), Some("99 of them"));
    }
}

#[idempotent(
    name = "batches.lose",
    each = "numbers",
    retries = 1,
    backoff(initial = "0ms")
)]
async fn lose(numbers: Vec<u32>) -> Vec<Result<u32, Oops>> {
    match &numbers[..] {
        [only] => vec![Ok(*only)],
        several => several[1..].iter().map(|number| Ok(*number)).collect(),
    }
}

#[tokio::test]
async fn results_that_are_not_as_many_as_the_messages_are_given_to_none() {
    let idem = temporary().unwrap();
    let results = idem.scope(lose(vec![1, 2, 3])).await;
    let results: Vec<_> = results.into_iter().map(Result::unwrap).collect();
    assert_eq!(results, [1, 2, 3]);
    let one = idem.scope(one(lose, 1)).await.unwrap();
    assert_eq!(one, 1);
}

#[idempotent(
    name = "batches.slow",
    each = "numbers",
    retries = 0,
    timeout = "10s",
    skip(body)
)]
async fn slow(numbers: Vec<u32>, body: &Body) -> Vec<Result<u32, Oops>> {
    body.run().await;
    numbers.into_iter().map(Ok).collect()
}

#[tokio::test]
async fn a_body_that_takes_too_long_is_stopped_for_all_its_messages() {
    let (clock, body) = (ManualClock::default(), Body::shut());
    let idem = on(&clock);
    let mut slow = Box::pin(idem.scope(slow(vec![1, 2], &body)));
    body.holds(&mut slow, 1).await;
    clock.advance(Duration::from_secs(10));
    let results = soon(slow).await;
    for result in results {
        let error = result.unwrap_err().into_idem();
        assert!(
            matches!(error, Error::TimedOut { .. } | Error::DeadLettered { .. }),
            "{error:?}"
        );
    }
    let letters = idem.dead_letters().list(&Filter::default()).await.unwrap();
    assert_eq!(letters.len(), 2);
}

#[tokio::test]
async fn a_message_that_another_call_runs_holds_no_other_up() {
    let (idem, body) = (temporary().unwrap(), Body::shut());
    let mut first = Box::pin(idem.scope(slow(vec![1], &body)));
    body.holds(&mut first, 1).await;
    let mut second = Box::pin(idem.scope(slow(vec![1, 2, 3], &body)));
    body.holds(&mut second, 2).await;
    body.let_go();
    let (first, second) = soon(async { tokio::join!(first, second) }).await;
    assert_eq!(
        first.into_iter().map(Result::unwrap).collect::<Vec<_>>(),
        [1]
    );
    let second: Vec<_> = second.into_iter().map(Result::unwrap).collect();
    assert_eq!((second, body.starts()), (vec![1, 2, 3], 2));
}

#[idempotent(name = "batches.calls", each = "numbers", retries = 0, skip(idem))]
async fn calls_itself(numbers: Vec<u32>, idem: &Idem) -> Vec<Result<u32, Oops>> {
    let event = OutboxMessage::new("placed", "1", b"1");
    let error = idem.outbox().enqueue(event).unwrap_err();
    assert!(matches!(error, Error::OutsideHandler));
    match &numbers[..] {
        // Another message of the same handler is a call of its own.
        [1] => calls_nine(idem).await,
        [9] => vec![Ok(9)],
        // Its own message can never end before it.
        numbers => {
            let again = Box::pin(calls_itself(numbers.to_vec(), idem)).await;
            again
                .into_iter()
                .map(|result| Err(result.unwrap_err()))
                .collect()
        }
    }
}

async fn calls_nine(idem: &Idem) -> Vec<Result<u32, Oops>> {
    Box::pin(calls_itself(vec![9], idem)).await
}

#[tokio::test]
async fn a_body_that_calls_its_own_handler_makes_calls() {
    let idem = temporary().unwrap();
    let handle: &Idem = &idem;
    assert_eq!(
        idem.scope(one(|numbers| calls_itself(numbers, handle), 1))
            .await
            .unwrap(),
        9
    );
    let nine = watch_replay(idem.scope(one(|numbers| calls_itself(numbers, handle), 9))).await;
    assert!(nine.1.is_some(), "it was recorded");
    for error in soon(idem.scope(calls_itself(vec![2, 3], handle))).await {
        let error = error.unwrap_err().into_idem();
        assert!(
            error.to_string().contains("in progress")
                || matches!(error, Error::InProgress { .. } | Error::DeadLettered { .. }),
            "{error:?}"
        );
    }
}

/// Messages that arrive one by one.
fn gathering(size: usize, bodies: &Bodies) -> Batches<Order, Result<String, Oops>> {
    let bodies = Arc::clone(bodies);
    Batches::new(size, Duration::from_secs(1), move |orders| {
        place(orders, Arc::clone(&bodies))
    })
}

#[tokio::test]
async fn messages_that_arrive_one_by_one_share_a_body() {
    let (idem, bodies) = (temporary().unwrap(), Bodies::default());
    let orders = gathering(4, &bodies);
    let call = |no| idem.scope(orders.call(order(no)));
    assert_eq!(call(1).await.unwrap(), "1 × 1");
    assert_eq!(bodies.take(), [["1"]]);
    // One is done, and waits for no other.
    let results = soon(join_all((1..=9).map(call))).await;
    let placed: Vec<_> = results.into_iter().map(Result::unwrap).collect();
    let expected: Vec<_> = (1..=9).map(|no| format!("{no} × 1")).collect();
    assert_eq!(placed, expected);
    let bodies = bodies.take();
    assert!(bodies.iter().all(|body| body.len() <= 4), "{bodies:?}");
    assert!(bodies.iter().any(|body| body.len() == 4), "{bodies:?}");
    assert_eq!(bodies.concat().len(), 8);
}

/// Many that wait at the door.
fn at_the_door(size: usize, age: Duration, body: &Arc<Body>) -> Batches<u32, Result<u32, Oops>> {
    let body = Arc::clone(body);
    Batches::new(size, age, move |numbers| {
        let body = Arc::clone(&body);
        async move { slow(numbers, &body).await }
    })
}

/// The ledger's answer to the claim of `late` comes once the gate is open.
fn with_a_late_answer(clock: &ManualClock, gate: &watch::Sender<bool>) -> Idem {
    let ledger = MemoryLedger::new(Arc::new(clock.clone())).of_one_process();
    let gate = gate.subscribe();
    let ledger = UnreliableLedger::new(ledger, move |call| match call {
        LedgerCall::Step(id, Step::Claim(_)) if &*id.key == "7" => {
            let mut gate = gate.clone();
            Some(LedgerFault::LateAnswer(Box::pin(async move {
                drop(gate.wait_for(|open| *open).await);
            })))
        }
        _ => None,
    });
    open_on(Idem::builder().clock(Arc::new(clock.clone())), ledger).unwrap()
}

#[tokio::test]
async fn a_message_waits_for_others_no_longer_than_it_may() {
    let (clock, gate) = (ManualClock::default(), watch::Sender::new(false));
    let (idem, body) = (with_a_late_answer(&clock, &gate), Body::open());
    let numbers = at_the_door(64, Duration::from_secs(30), &body);
    let call = |number| {
        let numbers = numbers.clone();
        tokio::spawn(idem.scope(async move { numbers.call(number).await }))
    };
    // It could be granted at any moment: the other waits for it, and for no part of its timeout.
    let late = call(7);
    let first = call(1);
    soon(clock.asleep(1)).await;
    assert_eq!(body.starts(), 0);
    clock.advance(Duration::from_secs(30));
    assert_eq!(soon(first).await.unwrap().unwrap(), 1);
    gate.send_replace(true);
    assert_eq!(soon(late).await.unwrap().unwrap(), 7);
    assert_eq!(body.starts(), 2);
    idem.close().await.unwrap();
}

#[tokio::test]
async fn the_limit_of_a_body_does_not_run_while_its_messages_wait() {
    let (clock, gate) = (ManualClock::default(), watch::Sender::new(false));
    let (idem, body) = (with_a_late_answer(&clock, &gate), Body::open());
    let mut list = Box::pin(idem.scope(slow(vec![1, 7, 2], &body)));
    assert!(poll_once(list.as_mut()).await.is_none());
    clock.advance(Duration::from_secs(60));
    assert!(poll_once(list.as_mut()).await.is_none());
    gate.send_replace(true);
    let results: Vec<_> = soon(list).await.into_iter().map(Result::unwrap).collect();
    assert_eq!((results, body.starts()), (vec![1, 7, 2], 1));
    idem.close().await.unwrap();
}

#[tokio::test]
async fn a_message_waits_for_no_call_that_waits_itself() {
    // Its age never comes.
    let (clock, body) = (ManualClock::default(), Body::shut());
    let idem = on(&clock);
    let numbers = at_the_door(64, Duration::from_secs(3600), &body);
    let call = |number| idem.scope(numbers.call(number));
    let mut first = Box::pin(call(1));
    body.holds(&mut first, 1).await;
    // A duplicate of the message in the body, and two of another.
    let mut others = Box::pin(join_all([call(1), call(2), call(2)]));
    body.holds(&mut others, 2).await;
    body.let_go();
    assert_eq!(soon(first).await.unwrap(), 1);
    let others: Vec<_> = soon(others).await.into_iter().map(Result::unwrap).collect();
    assert_eq!((others, body.starts()), (vec![1, 2, 2], 2));
}

#[tokio::test]
async fn a_body_ends_for_a_message_whose_caller_is_gone() {
    let (idem, body) = (temporary().unwrap(), Body::shut());
    let numbers = at_the_door(200, Duration::from_secs(3600), &body);
    // More than a task of Tokio may poll at a time.
    let mut gone = Box::pin(join_all((0..198).map(|n| idem.scope(numbers.call(n)))));
    let mut stay = Box::pin(join_all((198..200).map(|n| idem.scope(numbers.call(n)))));
    tokio::select! {
        _ = &mut gone => unreachable!("the door is shut"),
        _ = &mut stay => unreachable!("the door is shut"),
        () = body.started(1) => {}
    }
    drop(gone);
    body.let_go();
    let stay: Vec<_> = soon(stay).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(stay, [198, 199]);
    let starts = body.starts();
    let (late, replayed) = soon(watch_replay(idem.scope(numbers.call(0)))).await;
    assert!(late.unwrap() == 0 && replayed.is_some());
    assert_eq!(body.starts(), starts);
}

#[tokio::test]
async fn a_list_that_is_dropped_before_its_body_began_made_no_attempt() {
    let (clock, gate) = (ManualClock::default(), watch::Sender::new(false));
    let (idem, body) = (with_a_late_answer(&clock, &gate), Body::open());
    let mut list = Box::pin(idem.scope(slow(vec![1, 7], &body)));
    assert!(poll_once(list.as_mut()).await.is_none());
    drop(list);
    gate.send_replace(true);
    // `slow` has no retries.
    assert_eq!(
        soon(idem.scope(one(|numbers| slow(numbers, &body), 1)))
            .await
            .unwrap(),
        1
    );
    assert_eq!(
        soon(idem.scope(one(|numbers| slow(numbers, &body), 7)))
            .await
            .unwrap(),
        7
    );
    idem.close().await.unwrap();
}

#[test]
fn a_message_outlives_the_runtime_of_its_body() {
    let (idem, body) = (temporary().unwrap(), Body::shut());
    let state = Arc::clone(&body);
    let numbers = Batches::new(2, Duration::from_secs(3600), move |numbers| {
        let body = Arc::clone(&state);
        async move { patient(numbers, &body).await }
    });
    let runtime = || {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_time()
            .build()
            .unwrap()
    };
    let (first, second) = (runtime(), runtime());
    let call = |number| {
        let numbers = numbers.clone();
        idem.scope(async move { numbers.call(number).await })
    };
    // They do not share a body: one runtime may be driven no more.
    let one = first.spawn(call(1));
    let two = second.spawn(call(2));
    second.block_on(body.started(2));
    drop(one);
    first.shutdown_background();
    body.let_go();
    assert_eq!(second.block_on(two).unwrap().unwrap(), 2);
    assert_eq!(second.block_on(async { soon(call(1)).await }).unwrap(), 1);
}

#[tokio::test]
async fn messages_of_two_ledgers_share_no_body() {
    let (one, other, bodies) = (
        temporary().unwrap(),
        temporary().unwrap(),
        Bodies::default(),
    );
    let orders = gathering(2, &bodies);
    let (first, second) = soon(async {
        tokio::join!(
            one.scope(orders.call(order(1))),
            other.scope(orders.call(order(2)))
        )
    })
    .await;
    assert_eq!(
        (first.unwrap(), second.unwrap()),
        ("1 × 1".into(), "2 × 1".into())
    );
    assert_eq!(bodies.take().len(), 2);
    assert!(
        watch_replay(one.scope(orders.call(order(1))))
            .await
            .1
            .is_some()
    );
    assert!(
        watch_replay(one.scope(orders.call(order(2))))
            .await
            .1
            .is_none()
    );
}

/// What a function around a handler does concerns its callers, and no record.
#[tokio::test]
async fn what_a_function_makes_of_the_results_is_not_recorded() {
    let (idem, bodies) = (temporary().unwrap(), Bodies::default());
    let state = Arc::clone(&bodies);
    let orders = Batches::new(2, Duration::from_secs(3600), move |orders: Vec<u32>| {
        let bodies = Arc::clone(&state);
        async move {
            let orders = orders
                .into_iter()
                .map(|no| Order {
                    no: no.to_string(),
                    qty: no,
                })
                .collect();
            let placed = place(orders, bodies).await;
            // An error is no success.
            placed
                .into_iter()
                .map(|placed| placed.unwrap_or_else(|error| error.to_string()) + "!")
                .collect()
        }
    });
    let placed = soon(join_all([1, 13].map(|no| idem.scope(orders.call(no))))).await;
    assert_eq!(placed, ["1 × 1!", "13 is unlucky!"]);
    assert_eq!(bodies.take()[0], ["1", "13"]);
    let again = idem.scope(place(vec![order(1)], Arc::clone(&bodies))).await;
    assert_eq!(texts(again), ["1 × 1"]);
    assert_eq!(only_letter(&idem).await.key, "13");
}

/// One that takes the messages apart gets each by itself.
#[tokio::test]
async fn messages_that_a_function_takes_apart_have_bodies_of_their_own() {
    let (idem, bodies) = (temporary().unwrap(), Bodies::default());
    let state = Arc::clone(&bodies);
    let orders = Batches::new(
        2,
        Duration::from_secs(3600),
        move |mut orders: Vec<Order>| {
            let bodies = Arc::clone(&state);
            async move {
                let last = orders.split_off(orders.len() - 1);
                let mut placed = place(last, Arc::clone(&bodies)).await;
                placed.extend(place(orders, bodies).await);
                placed
            }
        },
    );
    let placed = soon(join_all(
        [1, 2].map(|no| idem.scope(orders.call(order(no)))),
    ))
    .await;
    assert_eq!(texts(placed), ["1 × 1", "2 × 1"]);
    assert_eq!(bodies.take().concat().len(), 2);
    assert!(
        watch_replay(idem.scope(orders.call(order(2))))
            .await
            .1
            .is_some()
    );
}

#[tokio::test]
async fn each_delivery_has_its_own_verdict_origin_and_letter() {
    let (idem, bodies) = (temporary().unwrap(), Bodies::default());
    let orders = gathering(3, &bodies);
    let unlucky = Order {
        qty: 13,
        ..order(2)
    };
    let deliveries = [
        order(1),
        unlucky,
        Order {
            no: String::new(),
            qty: 1,
        },
    ]
    .map(|order| {
        let origin = Origin::new("rabbitmq", "orders").message_id(format!("m-{}", order.no));
        idem.deliver(origin, orders.call(order))
    });
    let delivered = soon(join_all(deliveries)).await;
    assert_eq!(delivered[0].verdict, Verdict::Settled);
    assert_eq!(delivered[0].output.as_ref().unwrap(), "1 × 1");
    assert_eq!(delivered[1].verdict, Verdict::Settled);
    assert!(
        matches!(delivered[2].verdict, Verdict::Refused(_)),
        "its key is empty"
    );
    let letter = only_letter(&idem).await;
    assert_eq!(letter.origin.unwrap().message_id.as_deref(), Some("m-2"));
}

#[idempotent(
    name = "batches.patient",
    each = "numbers",
    retries = 1,
    backoff(initial = "0ms"),
    skip(body)
)]
async fn patient(numbers: Vec<u32>, body: &Body) -> Vec<Result<u32, Oops>> {
    body.run().await;
    numbers.into_iter().map(Ok).collect()
}

struct Shop {
    name: &'static str,
}

impl Shop {
    /// The key and the redaction are of one order, and the arguments of the function's own type.
    #[idempotent(name = "batches.shop", each = "self.name, orders.no", redact("qty"))]
    async fn place(&self, mut orders: Vec<Order>) -> Vec<Result<String, Oops>> {
        orders.retain(|order| order.qty < 100);
        orders
            .iter()
            .map(|order| Ok(format!("{} {}", self.name, order.no)))
            .collect()
    }
}

#[tokio::test]
async fn a_method_takes_many_messages() {
    let idem = temporary().unwrap();
    let shop = Shop { name: "acme" };
    let placed = idem.scope(shop.place(vec![order(1), order(2)])).await;
    assert_eq!(texts(placed), ["acme 1", "acme 2"]);
    let other = Shop { name: "ajax" };
    assert_eq!(
        texts(idem.scope(other.place(vec![order(1)])).await),
        ["ajax 1"]
    );
}

#[test]
fn without_a_runtime_of_tokio_each_message_has_a_body_of_its_own() {
    let (idem, bodies) = (temporary().unwrap(), Bodies::default());
    let orders = gathering(2, &bodies);
    let results = pollster::block_on(idem.scope(async {
        futures_util::future::join(orders.call(order(1)), orders.call(order(2))).await
    }));
    assert_eq!(
        (results.0.unwrap(), results.1.unwrap()),
        ("1 × 1".into(), "2 × 1".into())
    );
    assert_eq!(bodies.take().len(), 2);
}
