//! A list of messages.

use super::*;

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
