//! Messages that arrive one by one.

use super::*;

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
