//! Redrive that runs: a letter's handler is called again in the service, with the letter's payload.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use idem_runtime::dead_letters::LetterError;
use idem_runtime::testing::{ManualClock, Temporary, temporary};
use idem_runtime::{
    Error, Filter, Idem, LetterState,
    dead_letters::{ActionKind, Actor, Reason, RunOutcome},
    idempotent,
    json::Json,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;

use crate::common::{on, only_letter};

#[derive(Debug, thiserror::Error)]
enum Oops {
    #[error("{0} is too many")]
    TooMany(u32),
    #[error(transparent)]
    Idem(#[from] Error),
}

#[derive(Clone, Serialize, Deserialize)]
struct PlaceOrder {
    order_no: String,
    qty: u32,
}

#[idempotent(name = "running.place", key = "order_no", retries = 0)]
async fn place(order: PlaceOrder) -> Result<u32, Oops> {
    if order.qty > 10 {
        Err(Oops::TooMany(order.qty))
    } else {
        Ok(order.qty * 100)
    }
}

fn order(order_no: &str, qty: u32) -> PlaceOrder {
    PlaceOrder {
        order_no: order_no.to_owned(),
        qty,
    }
}

async fn dead(idem: &Idem, order: PlaceOrder) -> idem_runtime::DeadLetter {
    let key = order.order_no.clone();
    idem.scope(place(order)).await.unwrap_err();
    idem.dead_letters()
        .list(&Filter::default().key(key))
        .await
        .unwrap()
        .remove(0)
}

fn ready() -> Temporary {
    let idem = temporary().unwrap();
    idem.register_handler("running.place", place);
    idem
}

#[tokio::test]
async fn an_edited_letter_runs_and_its_duplicates_get_the_result() {
    let idem = ready();
    let letters = idem.dead_letters().by("ann").why("the customer called");
    let letter = dead(&idem, order("A-1", 12)).await;
    let edited = letters
        .edit(
            &letter.id,
            json!({ "order": { "order_no": "A-1", "qty": 2 } }),
            "a typo",
        )
        .await
        .unwrap();
    assert_eq!(edited.payload.to_value().unwrap()["order"]["qty"], 2);
    assert_eq!(
        letters.run(&letter.id).await.unwrap(),
        RunOutcome::Done(200.into())
    );
    assert_eq!(idem.scope(place(order("A-1", 2))).await.unwrap(), 200);
    let history = letters.get(&letter.id).await.unwrap().unwrap();
    assert_eq!(history.state, LetterState::Redriven);
    assert_eq!(history.closed_why.as_deref(), Some("the customer called"));
    let by = |why: &str| Actor {
        who: Some("ann".into()),
        why: Some(why.into()),
    };
    let acts: Vec<_> = history
        .history
        .iter()
        .map(|act| (act.kind.as_str(), &act.by))
        .collect();
    assert_eq!(
        acts,
        [
            ("edited", &by("a typo")),
            ("redriven", &by("the customer called"))
        ]
    );
    assert!(
        matches!(&history.history[0].kind, ActionKind::Edited(before) if before.to_value().unwrap()["order"]["qty"] == 12)
    );
}

#[tokio::test]
async fn a_run_that_fails_is_a_letter_of_its_own() {
    let idem = ready();
    let letter = dead(&idem, order("A-1", 12)).await;
    let RunOutcome::Failed {
        error,
        letter: Some(again),
    } = idem.dead_letters().run(&letter.id).await.unwrap()
    else {
        panic!("it ran")
    };
    assert_eq!(error, "12 is too many");
    assert_ne!(again, letter.id);
    let open = idem.dead_letters().list(&Filter::default()).await.unwrap();
    assert_eq!(
        open.iter().map(|letter| letter.id).collect::<Vec<_>>(),
        [again]
    );
    assert_eq!(open[0].attempts.len(), 1);
}

#[tokio::test]
async fn a_runner_that_panics_is_a_run_that_failed_and_what_its_call_recorded_stays() {
    let idem = ready();
    let letters = idem.dead_letters();
    for (key, calls) in [("before", false), ("after", true)] {
        let letter = dead(&idem, order(key, 12)).await;
        idem.register_handler("running.place", move |order: PlaceOrder| {
            assert!(calls, "before the call");
            async move {
                drop(place(order).await);
                panic!("after the call");
                #[expect(unreachable_code, reason = "the runner's type")]
                Ok::<_, Oops>(1)
            }
        });
        let RunOutcome::Failed {
            error,
            letter: Some(open),
        } = letters.run(&letter.id).await.unwrap()
        else {
            panic!()
        };
        assert!(error.contains("panicked") && error.contains(key), "{error}");
        assert_eq!(
            open != letter.id,
            calls,
            "the call wrote a letter of its own"
        );
    }
}

#[tokio::test]
async fn what_does_not_fit_leaves_the_letter_open() {
    let idem = ready();
    let letters = idem.dead_letters();
    let letter = dead(&idem, order("A-1", 12)).await;

    letters
        .edit(&letter.id, json!({ "order": { "order_no": "A-1" } }), "")
        .await
        .unwrap();
    let error = letters.run(&letter.id).await.unwrap_err();
    assert!(matches!(error, LetterError::PayloadUnfit { .. }), "{error}");
    assert!(error.to_string().contains("missing field `qty`"), "{error}");

    letters
        .edit(
            &letter.id,
            json!({ "order": { "order_no": "A-2", "qty": 1 } }),
            "",
        )
        .await
        .unwrap();
    let RunOutcome::Failed {
        error,
        letter: Some(open),
    } = letters.run(&letter.id).await.unwrap()
    else {
        panic!("it ran")
    };
    assert_eq!(open, letter.id);
    assert!(
        error.contains("has the key `A-2`, but its dead letter has `A-1`, and nothing ran"),
        "{error}"
    );
    assert!(
        idem.scope(place(order("A-2", 1))).await.is_ok(),
        "A-2 was touched"
    );

    assert_eq!(
        letters.get(&letter.id).await.unwrap().unwrap().state,
        LetterState::Open
    );
}

#[tokio::test]
async fn a_letter_is_run_once_and_only_by_who_can() {
    let idem = temporary().unwrap();
    let letters = idem.dead_letters();
    let letter = dead(&idem, order("A-1", 12)).await;
    let error = letters.run(&letter.id).await.unwrap_err();
    assert!(matches!(error, LetterError::NoHandler { .. }), "{error}");
    assert!(
        error
            .to_string()
            .contains(r#"idem.register_handler("running.place", …)"#),
        "{error}"
    );
    assert!(!idem.has_handler("running.place"));

    let runs = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&runs);
    idem.register_handler("running.place", move |order: PlaceOrder| {
        counted.fetch_add(1, Ordering::SeqCst);
        place(order)
    });
    letters
        .edit(
            &letter.id,
            json!({ "order": { "order_no": "A-1", "qty": 1 } }),
            "",
        )
        .await
        .unwrap();
    let both = futures_util::future::join(letters.run(&letter.id), letters.run(&letter.id)).await;
    for ran in [both.0, both.1] {
        assert!(
            matches!(ran, Ok(RunOutcome::Done(ref result)) if result.as_str() == "100")
                || matches!(ran, Err(LetterError::LetterClosed { .. }))
        );
    }
    assert!(matches!(
        letters.run(&letter.id).await,
        Err(LetterError::LetterClosed {
            state: LetterState::Redriven,
            ..
        })
    ));
    assert_eq!(idem.scope(place(order("A-1", 1))).await.unwrap(), 100);
}

#[tokio::test]
async fn a_function_that_calls_something_else_is_told_so() {
    let idem = temporary().unwrap();
    idem.register_handler("running.place", |_: PlaceOrder| async { Ok::<_, Oops>(1) });
    let letter = dead(&idem, order("A-1", 12)).await;
    let RunOutcome::Failed {
        error,
        letter: Some(open),
    } = idem.dead_letters().run(&letter.id).await.unwrap()
    else {
        panic!("it ran")
    };
    assert_eq!(open, letter.id);
    assert!(error.contains("did not call the handler"), "{error}");
}

#[idempotent(
    name = "running.count",
    key = "order_no",
    retries = 2,
    retry = "redeliver",
    backoff(initial = "1ms")
)]
async fn count(order_no: String, fails: u32) -> Result<u32, Oops> {
    let number = idem_runtime::attempt().map_or(0, |attempt| attempt.number);
    if number <= fails {
        Err(Oops::TooMany(number))
    } else {
        Ok(number)
    }
}

#[derive(Deserialize)]
struct Count {
    order_no: String,
    fails: u32,
}

#[tokio::test]
async fn with_redelivery_the_handler_is_called_until_its_budget_is_spent() {
    let idem = temporary().unwrap();
    idem.register_handler("running.count", |Count { order_no, fails }: Count| {
        count(order_no, fails)
    });
    let mut last = None;
    while last.is_none() {
        idem.scope(count("A-1".into(), 9)).await.unwrap_err();
        last = idem
            .dead_letters()
            .list(&Filter::default())
            .await
            .unwrap()
            .pop();
    }
    let letters = idem.dead_letters();
    let RunOutcome::Failed {
        letter: Some(again),
        ..
    } = letters.run(&last.unwrap().id).await.unwrap()
    else {
        panic!("it ran")
    };
    let letter = letters.get(&again).await.unwrap().unwrap();
    assert_eq!(
        (letter.attempts.len(), letter.reason),
        (3, Reason::BudgetSpent)
    );
    letters
        .edit(&again, json!({ "order_no": "A-1", "fails": 2 }), "")
        .await
        .unwrap();
    assert_eq!(
        letters.run(&again).await.unwrap(),
        RunOutcome::Done(3.into())
    );
}

#[tokio::test]
async fn other_handlers_that_a_run_calls_are_left_alone() {
    #[idempotent(name = "running.ship", key = "order_no", retries = 0)]
    async fn ship(order_no: String, place_too: bool) -> Result<u32, Oops> {
        if place_too {
            place(order(&order_no, 3)).await
        } else {
            Err(Oops::TooMany(0))
        }
    }
    #[derive(Deserialize)]
    struct Ship {
        order_no: String,
    }
    let idem = temporary().unwrap();
    idem.register_handler("running.ship", |Ship { order_no }: Ship| {
        ship(order_no, true)
    });
    idem.scope(ship("A-1".into(), false)).await.unwrap_err();
    let letters = idem.dead_letters();
    let letter = letters.list(&Filter::default()).await.unwrap().remove(0);
    assert_eq!(
        letters.run(&letter.id).await.unwrap(),
        RunOutcome::Done(300.into())
    );
    assert_eq!(idem.scope(place(order("A-1", 3))).await.unwrap(), 300);
}

#[idempotent(
    name = "running.charge",
    key = "order_no",
    retries = 0,
    redact(card_no)
)]
async fn charge(order_no: String, card_no: String) -> Result<usize, Oops> {
    if card_no.len() == 16 {
        Ok(card_no.len())
    } else {
        Err(Oops::TooMany(0))
    }
}

#[derive(Deserialize)]
struct Charge {
    order_no: String,
    card_no: String,
}

#[tokio::test]
async fn what_is_redacted_is_filled_in_for_a_run_and_never_stored() {
    let idem = temporary().unwrap();
    idem.register_handler("running.charge", |Charge { order_no, card_no }: Charge| {
        charge(order_no, card_no)
    });
    idem.scope(charge("A-1".into(), "4111".into()))
        .await
        .unwrap_err();
    let letters = idem.dead_letters();
    let letter = letters.list(&Filter::default()).await.unwrap().remove(0);
    let error = letters.run(&letter.id).await.unwrap_err();
    assert!(
        matches!(&error, LetterError::Redacted { missing, .. } if *missing == ["card_no"]),
        "{error}"
    );

    let whole = json!({ "order_no": "A-1", "card_no": "4111111111111111" });
    let edited = letters
        .edit(&letter.id, whole.clone(), "stored nowhere")
        .await
        .unwrap();
    assert_eq!(
        edited.payload.to_value().unwrap()["card_no"],
        idem_runtime::dead_letters::REDACTED
    );
    assert!(matches!(
        letters.run(&letter.id).await,
        Err(LetterError::Redacted { .. })
    ));

    assert_eq!(
        letters
            .run_with(&letter.id, whole, "asked the customer")
            .await
            .unwrap(),
        RunOutcome::Done(16.into())
    );
    let letter = letters.get(&letter.id).await.unwrap().unwrap();
    assert_eq!(
        letter.closed_why.as_deref(),
        Some("asked the customer"),
        "the run has the reason of its payload"
    );
    let history = format!("{letter:?}");
    assert!(!history.contains("41111"), "{history}");
}

#[derive(Clone, Serialize, Deserialize)]
struct Transfer {
    order_no: String,
    wei: u128,
    /// Handed on as it came.
    fee: Box<RawValue>,
    to: String,
}

#[idempotent(name = "running.transfer", key = "order_no", retries = 0)]
async fn transfer(transfer: Transfer) -> Result<(u128, Box<RawValue>), Oops> {
    if transfer.to.is_empty() {
        Err(Oops::TooMany(0))
    } else {
        Ok((transfer.wei, transfer.fee))
    }
}

#[tokio::test]
async fn numbers_of_128_bits_and_long_decimals_stay_as_written_from_the_call_to_the_run() {
    const MESSAGE: &str = r#"{"order_no":"A-1","wei":20000000000000000001,"fee":[ 12345678901234567.890, -0, 1E400 ],"to":"TO"}"#;
    let message = |to: &str| MESSAGE.replace("TO", to);
    let payload = |to: &str| format!(r#"{{"transfer":{}}}"#, message(to));
    let idem = temporary().unwrap();
    idem.register_handler("running.transfer", transfer);
    let sent: Transfer = serde_json::from_str(&message("")).unwrap();
    idem.scope(transfer(sent)).await.unwrap_err();
    let (letters, letter) = (idem.dead_letters(), only_letter(&idem).await);
    assert_eq!(
        (letter.payload.as_str(), letter.message()),
        (&*payload(""), message("").into_bytes())
    );

    let edited = letters
        .edit(
            &letter.id,
            payload("ann").parse::<Json>().unwrap(),
            "who it is for",
        )
        .await
        .unwrap();
    assert_eq!(
        (edited.payload.as_str(), edited.message()),
        (&*payload("ann"), message("ann").into_bytes())
    );
    assert_eq!(edited.history[0].kind, ActionKind::Edited(letter.payload));
    let result = "[20000000000000000001,[ 12345678901234567.890, -0, 1E400 ]]";
    assert_eq!(
        letters.run(&letter.id).await.unwrap(),
        RunOutcome::Done(result.parse().unwrap())
    );
    // The one that comes again is the message that ran.
    let (wei, fee) = idem
        .scope(transfer(serde_json::from_str(&message("ann")).unwrap()))
        .await
        .unwrap();
    assert_eq!(format!("[{wei},{fee}]"), result);
}

#[tokio::test]
async fn a_redriven_message_that_nobody_brings_keeps_its_numbers() {
    let clock = ManualClock::default();
    let idem = on(&clock);
    let sent = Transfer {
        order_no: "A-1".into(),
        wei: u128::MAX,
        fee: RawValue::from_string("0.10".into()).unwrap(),
        to: String::new(),
    };
    idem.scope(transfer(sent)).await.unwrap_err();
    let letter = only_letter(&idem).await;
    idem.dead_letters().redrive(&letter.id).await.unwrap();
    clock.advance(30 * Duration::from_secs(24 * 60 * 60));
    idem.sweep().await.unwrap();
    let again = only_letter(&idem).await;
    assert_eq!(
        (again.reason, &again.payload),
        (Reason::Abandoned, &letter.payload)
    );
    assert!(again.payload.as_str().contains(&u128::MAX.to_string()));
}

#[idempotent(name = "running.redeem", key = "order_no", retries = 0)]
async fn redeem(order_no: String, coupon: Option<String>) -> Result<String, Oops> {
    if coupon.is_some() {
        Err(Oops::TooMany(1))
    } else {
        Ok(order_no)
    }
}

#[derive(Deserialize)]
struct Redeem {
    order_no: String,
    coupon: Option<String>,
}

#[tokio::test]
async fn one_of_several_arguments_that_an_edit_leaves_is_no_whole_message() {
    let clock = ManualClock::default();
    let idem = on(&clock);
    idem.register_handler("running.redeem", |Redeem { order_no, coupon }: Redeem| {
        redeem(order_no, coupon)
    });
    let letters = idem.dead_letters();
    for key in ["A-1", "A-2"] {
        idem.scope(redeem(key.into(), Some("TEN".into())))
            .await
            .unwrap_err();
        let letter = only_letter(&idem).await;
        let left = json!({ "order_no": key });
        letters
            .edit(&letter.id, left.clone(), "it has run out")
            .await
            .unwrap();
        letters
            .edit(&letter.id, left.clone(), "twice")
            .await
            .unwrap();
        let mut id = letter.id;
        if key == "A-2" {
            // Nobody brings it, so it is another letter, which was never edited.
            letters.redrive(&id).await.unwrap();
            clock.advance(30 * Duration::from_secs(24 * 60 * 60));
            idem.sweep().await.unwrap();
            let again = only_letter(&idem).await;
            assert_eq!(
                (again.history.len(), &again.payload),
                (0, &Json::from(left.clone()))
            );
            id = again.id;
        }
        let message = letters.get(&id).await.unwrap().unwrap().message();
        assert_eq!(
            message,
            left.to_string().into_bytes(),
            "what is published again"
        );
        assert_eq!(
            letters.run(&id).await.unwrap(),
            RunOutcome::Done(key.into())
        );
    }
}

#[tokio::test]
async fn the_only_argument_is_the_message_whatever_is_in_it() {
    #[derive(Clone, Serialize, Deserialize)]
    struct Ship {
        order: PlaceOrder,
    }
    #[idempotent(name = "running.ship_one", key = ship.order.order_no, retries = 0)]
    async fn ship_one(ship: Ship) -> Result<u32, Oops> {
        if ship.order.qty > 10 {
            Err(Oops::TooMany(ship.order.qty))
        } else {
            Ok(ship.order.qty)
        }
    }
    let idem = temporary().unwrap();
    idem.register_handler("running.ship_one", ship_one);
    idem.scope(ship_one(Ship {
        order: order("A-1", 12),
    }))
    .await
    .unwrap_err();
    let (letters, id) = (idem.dead_letters(), only_letter(&idem).await.id);
    let mended = json!({ "order": { "order_no": "A-1", "qty": 1 } });
    let letter = letters
        .edit(&id, json!({ "ship": mended }), "a typo")
        .await
        .unwrap();
    assert_eq!(letter.message(), mended.to_string().into_bytes());
    assert_eq!(letters.run(&id).await.unwrap(), RunOutcome::Done(1.into()));
}

#[tokio::test]
async fn a_payload_that_is_nested_too_deeply_is_refused_where_it_is_given() {
    let idem = ready();
    let letters = idem.dead_letters();
    let letter = dead(&idem, order("A-1", 12)).await;
    // The object and the array's value are two of them.
    let nested = |depth: usize| {
        let (open, close) = ("[".repeat(depth - 2), "]".repeat(depth - 2));
        serde_json::from_str::<Json>(&format!(
            r#"{{"order":{{"order_no":"A-1","qty":1,"note":{open}{close}}}}}"#
        ))
        .unwrap()
    };
    for depth in [Json::DEEPEST + 1, 200, 100_000] {
        for error in [
            letters
                .edit(&letter.id, nested(depth), "")
                .await
                .unwrap_err(),
            letters
                .run_with(&letter.id, nested(depth), "")
                .await
                .unwrap_err(),
        ] {
            let text = error.to_string();
            assert!(matches!(error, LetterError::PayloadUnfit { .. }), "{text}");
            assert!(
                text.contains(&format!("it is nested {depth} deep, and 100 is the limit")),
                "{text}"
            );
        }
    }
    assert_eq!(only_letter(&idem).await, letter);
    assert_eq!(
        letters
            .run_with(&letter.id, nested(Json::DEEPEST), "")
            .await
            .unwrap(),
        RunOutcome::Done(100.into())
    );
}
