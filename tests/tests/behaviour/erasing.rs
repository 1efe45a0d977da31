//! What is erased is in no letter and no record any more, and its message does not run again.

use std::sync::Arc;
use std::time::Duration;

use idem_runtime::dead_letters::{Actor, EraseError, LetterError};
use idem_runtime::testing::{ManualClock, temporary};
use idem_runtime::{
    DeadLetter, Error, Filter, Idem, LetterState, Origin, SealKeys, Verdict, idempotent,
};
use serde_json::json;

use crate::common::{Body, Oops, on, only_letter};

const NAME: &str = "Ida Muster";

#[idempotent(
    name = "erasing.greet",
    key = "order_no",
    retry = "redeliver",
    retries = 1,
    backoff(initial = "1s"),
    redact(phone),
    skip(body)
)]
async fn greet(order_no: &str, buyer: String, phone: &str, body: &Body) -> Result<String, Oops> {
    if body.run().await < 3 {
        Err(Oops::own(format!("{buyer} at {phone} cannot be reached")))
    } else {
        Ok(format!("Dear {buyer}"))
    }
}

fn ann() -> Actor {
    Actor {
        who: Some("ann".into()),
        why: Some("request 17".into()),
    }
}

async fn call(idem: &Idem, body: &Body) -> Result<String, Oops> {
    let origin = Origin::new("rabbitmq", "orders").header("buyer", NAME);
    let called = greet("A-1", NAME.into(), NAME, body);
    idem.deliver(origin, called).await.output
}

async fn erase(idem: &Idem) -> Result<Vec<DeadLetter>, EraseError> {
    let erased = idem.erase("erasing.greet", "A-1", ann()).await?;
    let mut letters = Vec::new();
    for id in &erased.letters {
        letters.extend(idem.dead_letters().get(id).await.unwrap());
    }
    Ok(letters)
}

/// A letter whose message died in its second attempt, and which a person has edited.
async fn dead(clock: &ManualClock, idem: &Idem, body: &Body) -> DeadLetter {
    call(idem, body).await.unwrap_err().into_own();
    clock.advance(Duration::from_secs(1));
    call(idem, body).await.unwrap_err().into_own();
    let (letters, id) = (idem.dead_letters(), only_letter(idem).await.id);
    let payload = json!({ "order_no": "A-1", "buyer": NAME, "phone": NAME });
    letters.edit(&id, payload, "a typo").await.unwrap()
}

#[tokio::test]
async fn a_letter_is_erased_with_its_history_and_stays_closed() {
    let (clock, folder, body) = (
        ManualClock::default(),
        tempfile::tempdir().unwrap(),
        Body::open(),
    );
    let builder = Idem::builder().seal(SealKeys::new("a", &[1; 32]));
    let idem = builder
        .clock(Arc::new(clock.clone()))
        .open(folder.path())
        .unwrap();
    let before = dead(&clock, &idem, &body).await;
    assert!(before.sealed.is_some());
    let [letter] = &erase(&idem).await.unwrap()[..] else {
        panic!("one letter")
    };
    let shown = serde_json::to_string(letter).unwrap();
    assert!(!shown.contains(NAME), "{shown}");
    assert_eq!(
        (letter.id, letter.state),
        (before.id, LetterState::Discarded)
    );
    assert_eq!((&letter.sealed, letter.attempts.len()), (&None, 2));
    assert_eq!(letter.history.last().unwrap().by, ann());
    let error = call(&idem, &body).await.unwrap_err().into_idem();
    assert!(matches!(error, Error::DeadLettered { .. }), "{error:?}");
    let letters = idem.dead_letters();
    let error = letters
        .restore(&letter.id, "it was wrong")
        .await
        .unwrap_err();
    assert!(
        matches!(error, LetterError::NotRestorable { .. }),
        "{error}"
    );
    assert_eq!(letters.count_open().await.unwrap(), 0);
    assert!(erase(&idem).await.unwrap().is_empty(), "it is erased once");
    assert_eq!(body.starts(), 2);
}

#[tokio::test]
async fn a_result_is_erased_with_the_letters_before_it_and_duplicates_do_not_run() {
    let (clock, body) = (ManualClock::default(), Body::open());
    let idem = on(&clock);
    let letter = dead(&clock, &idem, &body).await;
    idem.dead_letters().redrive(&letter.id).await.unwrap();
    assert_eq!(call(&idem, &body).await.unwrap(), format!("Dear {NAME}"));
    let erased = idem.erase("erasing.greet", "A-1", ann()).await.unwrap();
    assert_eq!(
        (&erased.letters[..], erased.result),
        (&[letter.id][..], true)
    );
    let letter = idem.dead_letters().get(&letter.id).await.unwrap().unwrap();
    assert_eq!(letter.state, LetterState::Redriven);
    assert!(!serde_json::to_string(&letter).unwrap().contains(NAME));
    let again = idem.deliver(
        Origin::new("rabbitmq", "orders"),
        greet("A-1", NAME.into(), NAME, &body),
    );
    let again = again.await;
    assert_eq!(again.verdict, Verdict::Settled);
    let error = again.output.unwrap_err().into_idem();
    assert!(matches!(error, Error::ResultErased { .. }), "{error:?}");
    assert_eq!(body.starts(), 3);
    let none = idem.erase("erasing.greet", "A-1", ann()).await.unwrap();
    assert!(none.is_nothing(), "{none:?}");
}

#[tokio::test]
async fn a_message_that_waits_is_not_erased() {
    let (clock, body) = (ManualClock::default(), Body::open());
    let idem = on(&clock);
    call(&idem, &body).await.unwrap_err().into_own();
    let error = erase(&idem).await.unwrap_err();
    assert!(
        matches!(&error, EraseError::Unsettled { running: false, .. }),
        "{error}"
    );
    let text = error.to_string();
    assert!(text.contains("`A-1`") && text.contains("waits"), "{text}");
}

#[tokio::test]
async fn the_letters_of_a_refused_message_are_erased_by_its_key() {
    let idem = temporary().unwrap();
    let origin = || Origin::new("rabbitmq", "orders");
    idem.keep_unreadable("erasing.greet");
    let body = Body::open();
    body.start();
    body.start();
    call(&idem, &body).await.unwrap();
    let other = idem
        .deliver(origin(), greet("A-1", "Bob".into(), NAME, &body))
        .await;
    let Verdict::Refused(refusal) = other.verdict else {
        panic!("{:?}", other.verdict)
    };
    idem.bury_refused(&refusal, "m-1", NAME.as_bytes(), origin())
        .await
        .unwrap();
    assert_eq!(erase(&idem).await.unwrap().len(), 1);
    let filter = Filter::default().any_state();
    let all = idem.dead_letters().list(&filter).await.unwrap();
    assert!(!serde_json::to_string(&all).unwrap().contains(NAME));
    assert!(
        all.iter()
            .all(|letter| letter.is_erased() && letter.state == LetterState::Discarded)
    );
}
