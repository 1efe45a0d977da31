//! A handler that had another name before: what stands under it serves the new one.

use std::sync::Arc;
use std::time::Duration;

use idem_runtime::protocol::{Phase, Record, RecordId};
use idem_runtime::{
    Error, Filter, Idem, LetterState, attempt,
    dead_letters::{Reason, RunOutcome},
    idempotent,
};

use crate::common::{Body, Folder, Oops, only_letter, poll_once, soon};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The handler, in the program of each day.
macro_rules! program {
    ($day:ident: $name:literal $(, $was:ident $names:tt)?) => {
        mod $day {
            use super::*;

            #[idempotent(
                name = $name,
                $($was $names,)?
                key = "order_no",
                retry = "redeliver",
                retries = 1,
                backoff(initial = "1h", factor = 1, max = "1h"),
                ttl = "1d",
                skip(body)
            )]
            pub(super) async fn place(order_no: String, body: &Body) -> Result<u32, Oops> {
                let attempt = attempt().unwrap();
                assert_eq!(&*attempt.handler, $name);
                if order_no.starts_with("own") {
                    let own = Box::pin(place(order_no, body)).await.unwrap_err().into_idem();
                    assert!(matches!(own, Error::InProgress { .. }), "{own:?}");
                    return Err(Oops::own("in progress"));
                }
                let start = body.run().await;
                if order_no.starts_with("fails") { Err(Oops::own(format!("failure {}", attempt.number))) } else { Ok(start) }
            }
        }
    };
}

program!(yesterday: "place_order");
program!(today: "orders.place", was("put_order", "place_order"));
program!(tomorrow: "orders.place");

fn id(handler: &str, key: &str) -> RecordId {
    RecordId::new(handler, key)
}

#[tokio::test]
async fn results_and_attempts_of_the_old_name_count_for_the_new_one() {
    let (folder, body) = (Folder::new(), Body::open());
    let idem = folder.open();
    idem.scope(async {
        assert_eq!(yesterday::place("A-1".into(), &body).await.unwrap(), 1);
        yesterday::place("fails".into(), &body)
            .await
            .unwrap_err()
            .into_own();
    })
    .await;
    idem.close().await.unwrap();
    let idem = folder.open();
    idem.scope(async {
        for _ in 0..2 {
            assert_eq!(today::place("A-1".into(), &body).await.unwrap(), 1);
        }
        let early = today::place("fails".into(), &body)
            .await
            .unwrap_err()
            .into_idem();
        assert!(
            matches!(&early, Error::NotYet { handler, .. } if handler == "orders.place"),
            "{early:?}"
        );
        folder.clock.advance(DAY - Duration::from_secs(1));
        assert_eq!(
            today::place("fails".into(), &body)
                .await
                .unwrap_err()
                .into_own(),
            "failure 2"
        );
        let letter = only_letter(&idem).await;
        assert_eq!(
            (&*letter.handler, letter.attempts.len()),
            ("place_order", 2)
        );
        let dead = today::place("fails".into(), &body)
            .await
            .unwrap_err()
            .into_idem();
        assert!(
            matches!(dead, Error::DeadLettered { id, .. } if id == letter.id),
            "{dead:?}"
        );
        // What comes for the first time stands under the new name, and is found there.
        assert_eq!(today::place("A-2".into(), &body).await.unwrap(), 4);
        assert_eq!(today::place("A-2".into(), &body).await.unwrap(), 4);
        assert!(
            idem.record(&id("place_order", "A-2"))
                .await
                .unwrap()
                .is_none()
        );
        assert!(
            idem.record(&id("orders.place", "A-1"))
                .await
                .unwrap()
                .is_some()
        );
        folder.clock.advance(Duration::from_secs(1));
        assert_eq!(
            today::place("A-1".into(), &body).await.unwrap(),
            5,
            "its result is forgotten"
        );
        assert_eq!(today::place("A-1".into(), &body).await.unwrap(), 5);
    })
    .await;
}

#[tokio::test]
async fn calls_of_a_message_of_the_old_name_share_one_run() {
    let (folder, body) = (Folder::new(), Body::open());
    let idem = folder.open();
    idem.scope(async {
        for key in ["fails", "own"] {
            yesterday::place(key.into(), &body).await.unwrap_err();
        }
    })
    .await;
    idem.close().await.unwrap();
    folder.clock.advance(DAY / 2);
    let (idem, body) = (folder.open(), Body::shut());
    idem.scope(async {
        let mut first = Box::pin(today::place("fails".into(), &body));
        body.holds(&mut first, 1).await;
        let mut second = Box::pin(today::place("fails".into(), &body));
        assert!(poll_once(second.as_mut()).await.is_none());
        let record = idem.record(&id("place_order", "fails")).await.unwrap();
        assert!(matches!(record, Some(Record::Live(live)) if matches!(live.phase, Phase::Running { number: 2, .. })));
        body.let_go();
        assert_eq!(soon(first).await.unwrap_err().into_own(), "failure 2");
        assert!(matches!(soon(second).await.unwrap_err().into_idem(), Error::DeadLettered { .. }));
        // A body that calls its own message does not wait for itself.
        assert_eq!(soon(today::place("own".into(), &body)).await.unwrap_err().into_own(), "in progress");
    })
    .await;
    assert_eq!(body.starts(), 1);
}

/// A letter of the old name, left by yesterday's program.
async fn left_a_letter(folder: &Folder) {
    let idem = folder.open();
    for _ in 0..2 {
        idem.scope(yesterday::place("fails".into(), &Body::open()))
            .await
            .unwrap_err()
            .into_own();
        folder.clock.advance(DAY / 2);
    }
    assert_eq!(only_letter(&idem).await.handler, "place_order");
    idem.close().await.unwrap();
}

/// How each day's program calls its handler again: the letter's message is placed with a body that
/// does this.
macro_rules! register_handler {
    ($idem:expr, $name:literal, $day:ident) => {{
        let body = Body::open();
        let placing = Arc::clone(&body);
        $idem.register_handler($name, move |order_no: String| {
            let body = Arc::clone(&placing);
            async move { $day::place(order_no, &body).await }
        });
        body
    }};
}

#[tokio::test]
async fn letters_of_the_old_name_are_found_and_run_under_the_new_one_after_a_restart_too() {
    let folder = Folder::new();
    left_a_letter(&folder).await;
    let idem = folder.open();
    // A call of the new handler, of whatever message, says which names it had.
    idem.scope(today::place("A-1".into(), &Body::open()))
        .await
        .unwrap();
    idem.close().await.unwrap();
    // And so it is also when the attribute has forgotten them, for a letter stays open.
    for day in ["today", "tomorrow"] {
        let idem = folder.open();
        let letters = idem.dead_letters();
        assert!(!idem.has_handler("place_order"));
        let body = match day {
            "today" => register_handler!(idem, "orders.place", today),
            _ => register_handler!(idem, "orders.place", tomorrow),
        };
        assert!(idem.has_handler("place_order") && idem.has_handler("orders.place"));
        assert!(!idem.has_handler("orders.pay"));
        let found = letters
            .list(&Filter::default().handler("orders.place"))
            .await
            .unwrap();
        assert_eq!(found, [only_letter(&idem).await]);
        assert_eq!(
            letters
                .list(&Filter::default().handler("place_order"))
                .await
                .unwrap(),
            found
        );
        assert_eq!(
            letters
                .list(&Filter::default().handler("orders.pay"))
                .await
                .unwrap(),
            []
        );
        // Its pause is an hour on a clock that stands still.
        let running = letters.run(&found[0].id);
        let time_passes = async {
            body.started(1).await;
            soon(folder.clock.asleep(1)).await;
            folder.clock.advance(DAY / 24);
        };
        let (ran, ()) = soon(async { tokio::join!(running, time_passes) }).await;
        let again = only_letter(&idem).await;
        assert_eq!(
            ran.unwrap(),
            RunOutcome::Failed {
                error: "failure 2".to_owned(),
                letter: Some(again.id)
            }
        );
        assert_eq!(
            letters.get(&found[0].id).await.unwrap().unwrap().state,
            LetterState::Redriven
        );
        assert_eq!(
            (&*again.handler, again.attempts.len(), body.starts()),
            ("place_order", 2, 2)
        );
        assert!(
            idem.dead_letters()
                .list(&Filter::default())
                .await
                .unwrap()
                .len()
                == 1
        );
        idem.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_letter_of_the_old_name_that_is_run_is_done_for_the_new_one() {
    let folder = Folder::new();
    left_a_letter(&folder).await;
    let (idem, body) = (folder.open(), Body::open());
    // Before any call has said which names the handler had, a function for the old one does.
    let runner = register_handler!(idem, "place_order", today);
    let letters = idem.dead_letters();
    let letter = only_letter(&idem).await;
    letters
        .edit(
            &letter.id,
            serde_json::json!({ "order_no": "A-9" }),
            "another key",
        )
        .await
        .unwrap();
    let RunOutcome::Failed {
        error,
        letter: Some(open),
    } = letters.run(&letter.id).await.unwrap()
    else {
        panic!()
    };
    assert!(open == letter.id && error.contains("A-9"), "{error}");
    letters
        .edit(&letter.id, letter.payload.clone(), "as it was")
        .await
        .unwrap();
    letters.redrive(&letter.id).await.unwrap();
    idem.scope(async {
        assert_eq!(
            today::place("fails".into(), &body)
                .await
                .unwrap_err()
                .into_own(),
            "failure 1"
        );
        let record = idem.record(&id("orders.place", "fails")).await.unwrap();
        assert!(matches!(record, Some(Record::Live(live)) if &*live.handler == "place_order"));
        // Letters of the new name run with the function that is registered under the old one.
        for _ in 0..2 {
            today::place("fails too".into(), &body).await.unwrap_err();
            folder.clock.advance(DAY / 24);
        }
    })
    .await;
    let new = only_letter(&idem).await;
    assert_eq!(
        (&*new.handler, new.reason),
        ("orders.place", Reason::BudgetSpent)
    );
    let time_passes = async {
        runner.started(1).await;
        soon(folder.clock.asleep(1)).await;
        folder.clock.advance(DAY / 24);
    };
    let (ran, ()) = soon(async { tokio::join!(letters.run(&new.id), time_passes) }).await;
    assert!(matches!(
        ran.unwrap(),
        RunOutcome::Failed {
            letter: Some(_),
            ..
        }
    ));
    assert_eq!(runner.starts(), 2);
}

#[tokio::test]
async fn a_name_that_a_handler_had_is_no_other_ones() {
    let body = Body::open();
    for today_first in [true, false] {
        let folder = Folder::new();
        let idem = folder.open();
        idem.scope(async {
            for today in [today_first, !today_first] {
                let placed = match today {
                    true => today::place("A-1".into(), &body).await,
                    false => yesterday::place("A-1".into(), &body).await,
                };
                if today == today_first {
                    placed.unwrap();
                } else {
                    let error = placed.unwrap_err().into_idem();
                    assert!(
                        matches!(&error, Error::NameTaken { handler, .. } if handler == "place_order"),
                        "{error:?}"
                    );
                }
            }
        })
        .await;
    }
    assert_eq!(body.starts(), 2);
}

mod issuing_yesterday {
    use super::*;

    #[idempotent(name = "place_issued", key = "order_no", issued = "order_no")]
    pub(super) async fn place(order_no: String) -> Result<u32, Oops> {
        Ok(1)
    }
}

mod issuing_today {
    use super::*;

    #[idempotent(
        name = "orders.place_issued",
        was = "place_issued",
        key = "order_no",
        issued = "order_no"
    )]
    pub(super) async fn place(order_no: String) -> Result<u32, Oops> {
        Ok(2)
    }
}

#[tokio::test]
async fn an_issued_key_that_the_old_name_used_is_known() {
    let folder = Folder::new();
    let idem = folder.open();
    let issuer = idem.issuer("order_no").ttl(DAY);
    let (used, free) = (issuer.issue().await.unwrap(), issuer.issue().await.unwrap());
    assert_eq!(
        idem.scope(issuing_yesterday::place(used.clone()))
            .await
            .unwrap(),
        1
    );
    idem.close().await.unwrap();
    let idem = folder.open();
    idem.scope(async {
        assert_eq!(issuing_today::place(free).await.unwrap(), 2);
        folder.clock.advance(DAY * 2);
        assert_eq!(issuing_today::place(used).await.unwrap(), 1);
        let made_up = issuing_today::place("A-1".into())
            .await
            .unwrap_err()
            .into_idem();
        assert!(matches!(made_up, Error::NotIssued { .. }), "{made_up:?}");
    })
    .await;
}

#[tokio::test]
async fn a_ledger_names_its_handlers_under_the_names_of_today() {
    let (folder, body) = (Folder::new(), Body::open());
    // The background writes them.
    let noted = async |idem: &Idem, count| {
        folder.clock.advance(Duration::from_secs(30));
        let notes = idem.notes();
        while notes.list("handlers/", None, 10).await.unwrap().len() < count {
            tokio::task::yield_now().await;
        }
    };
    let idem = folder.open();
    idem.scope(yesterday::place("A-1".into(), &body))
        .await
        .unwrap();
    assert_eq!(idem.handlers().await.unwrap(), ["place_order"]);
    soon(noted(&idem, 1)).await;
    idem.close().await.unwrap();
    let idem = folder.open();
    assert_eq!(idem.handlers().await.unwrap(), ["place_order"]);
    idem.scope(today::place("A-1".into(), &body)).await.unwrap();
    soon(noted(&idem, 2)).await;
    idem.close().await.unwrap();
    assert_eq!(folder.open().handlers().await.unwrap(), ["orders.place"]);
}
