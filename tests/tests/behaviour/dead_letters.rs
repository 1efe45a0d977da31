//! A dead letter waits for a person, who looks, redrives or discards.

use std::time::Duration;

use futures_util::StreamExt;
use idem_runtime::dead_letters::LetterError;
use idem_runtime::testing::{ManualClock, Temporary, temporary, temporary_with};
use idem_runtime::{
    DeadLetterId, Error, Filter, Idem, LetterState, attempt, dead_letters::Reason, idempotent,
};
use serde_json::json;

use crate::common::{Body, Log, Oops, on, only_letter, soon};

#[idempotent(name = "letters.fail", key = "order_no", retries = 0, skip(body))]
async fn fail(order_no: &str, qty: u32, note: Option<String>, body: &Body) -> Result<u32, Oops> {
    match body.start() {
        3.. => Ok(qty),
        number => Err(Oops::own(format!("failure {number}"))),
    }
}

#[idempotent(name = "letters.other", key = "id", retries = 0)]
async fn other(id: u32) -> Result<(), Oops> {
    Err(Oops::own("no"))
}

async fn with_letters(count: u32) -> (Temporary, Vec<DeadLetterId>) {
    let idem = temporary().unwrap();
    let mut born = idem.dead_letters().watch();
    let mut ids = Vec::new();
    for id in 0..count {
        idem.scope(other(id)).await.unwrap_err();
        ids.push(soon(born.next()).await.unwrap().id);
    }
    ids.reverse();
    (idem, ids)
}

#[tokio::test]
async fn a_letter_shows_the_message_by_argument_and_who_wrote_it() {
    let (clock, body) = (ManualClock::default(), Body::open());
    let idem = on(&clock);
    idem.scope(fail("A-1", 2, None, &body)).await.unwrap_err();
    let letter = only_letter(&idem).await;
    assert_eq!(
        (letter.handler.as_str(), letter.key.as_str()),
        ("letters.fail", "A-1")
    );
    assert_eq!(
        letter.payload.to_value().unwrap(),
        json!({"order_no": "A-1", "qty": 2, "note": null})
    );
    assert_eq!(
        (letter.state, letter.closed_at, letter.closed_why.as_deref()),
        (LetterState::Open, None, None)
    );
    assert!(
        letter.instance.contains(&std::process::id().to_string()),
        "{}",
        letter.instance
    );
    assert_eq!(
        idem.dead_letters().get(&letter.id).await.unwrap(),
        Some(letter.clone())
    );
    assert_eq!(
        letter.id.to_string().parse::<DeadLetterId>().unwrap(),
        letter.id
    );
}

#[tokio::test]
async fn a_redriven_message_runs_with_a_fresh_budget_when_it_comes_again() {
    let (idem, body) = (temporary().unwrap(), Body::open());
    idem.scope(async {
        fail("A-1", 2, None, &body).await.unwrap_err();
        let first = only_letter(&idem).await;
        let redriven = idem
            .dead_letters()
            .why("the bank is back")
            .redrive(&first.id)
            .await
            .unwrap();
        assert_eq!(redriven.state, LetterState::Redriven);
        assert!(redriven.closed_at.is_some());
        assert_eq!(
            redriven.history[0].by.why.as_deref(),
            Some("the bank is back")
        );
        assert_eq!(body.starts(), 1, "a redrive only re-arms the key");

        assert_eq!(
            fail("A-1", 2, None, &body).await.unwrap_err().into_own(),
            "failure 2"
        );
        let second = only_letter(&idem).await;
        assert_ne!(second.id, first.id);
        assert_eq!(
            (second.attempts.len(), second.attempts[0].number),
            (1, 1),
            "another generation, another budget"
        );
        let history = idem.dead_letters().get(&first.id).await.unwrap().unwrap();
        assert_eq!(
            (history.attempts.clone(), history.reason),
            (first.attempts, Reason::BudgetSpent)
        );

        idem.dead_letters().redrive(&second.id).await.unwrap();
        assert_eq!(fail("A-1", 2, None, &body).await.unwrap(), 2);
        assert_eq!(fail("A-1", 2, None, &body).await.unwrap(), 2);
    })
    .await;
    assert_eq!(body.starts(), 3);
    let all = idem
        .dead_letters()
        .list(&Filter::default().key("A-1").any_state())
        .await
        .unwrap();
    assert_eq!(all.len(), 2);
    assert!(
        idem.dead_letters()
            .list(&Filter::default())
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn a_redriven_message_may_come_with_another_content() {
    let (idem, body) = (temporary().unwrap(), Body::open());
    idem.scope(async {
        fail("A-1", 2, None, &body).await.unwrap_err().into_own();
        let error = fail("A-1", 3, None, &body).await.unwrap_err().into_idem();
        assert!(
            matches!(error, Error::KeyReused { .. }),
            "looked at before anything else: {error:?}"
        );
        idem.dead_letters()
            .redrive(&only_letter(&idem).await.id)
            .await
            .unwrap();
        fail("A-1", 3, None, &body).await.unwrap_err().into_own();
        assert_eq!(
            only_letter(&idem).await.payload.to_value().unwrap()["qty"],
            3
        );
    })
    .await;
}

#[tokio::test]
async fn a_letter_is_closed_once() {
    let (idem, ids) = with_letters(2).await;
    let letters = idem.dead_letters();
    letters.redrive(&ids[0]).await.unwrap();
    letters.discard(&ids[1], "a test order").await.unwrap();
    for (id, was) in [
        (ids[0], LetterState::Redriven),
        (ids[1], LetterState::Discarded),
    ] {
        let again = [
            letters.redrive(&id).await.unwrap_err(),
            letters.discard(&id, "again").await.unwrap_err(),
        ];
        for error in again {
            assert!(
                matches!(error, LetterError::LetterClosed { id: of, state } if of == id && state == was),
                "{error:?}"
            );
        }
    }
    let discarded = letters.get(&ids[1]).await.unwrap().unwrap();
    assert_eq!(discarded.closed_why.as_deref(), Some("a test order"));
}

#[tokio::test]
async fn of_many_who_redrive_at_once_one_does() {
    let (idem, ids) = with_letters(1).await;
    let letters = idem.dead_letters();
    let tries = futures_util::future::join_all((0..20).map(|_| letters.redrive(&ids[0]))).await;
    assert_eq!(tries.iter().filter(|tried| tried.is_ok()).count(), 1);
}

#[tokio::test]
async fn an_unknown_letter_is_said_to_be_none() {
    let (idem, ids) = with_letters(1).await;
    let unknown: DeadLetterId = "01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap();
    let letters = idem.dead_letters();
    assert_eq!(letters.get(&unknown).await.unwrap(), None);
    for error in [
        letters.redrive(&unknown).await.unwrap_err(),
        letters.discard(&unknown, "").await.unwrap_err(),
    ] {
        assert!(
            matches!(error, LetterError::NoSuchLetter { id } if id == unknown),
            "{error:?}"
        );
    }
    assert_eq!(only_letter(&idem).await.id, ids[0]);
}

#[tokio::test]
async fn a_discarded_message_still_does_not_run() {
    let (idem, body) = (temporary().unwrap(), Body::open());
    idem.scope(async {
        fail("A-1", 2, None, &body).await.unwrap_err();
        let letter = only_letter(&idem).await;
        let closed = idem
            .dead_letters()
            .discard(&letter.id, "a test order")
            .await
            .unwrap();
        assert_eq!(closed.state, LetterState::Discarded);
        let error = fail("A-1", 2, None, &body).await.unwrap_err().into_idem();
        assert!(
            matches!(error, Error::DeadLettered { id, discarded: true, .. } if id == letter.id),
            "{error:?}"
        );
    })
    .await;
    assert_eq!(body.starts(), 1);
}

#[tokio::test]
async fn an_open_letter_never_expires_and_a_discarded_key_does() {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
    let (clock, body) = (ManualClock::default(), Body::open());
    let idem = on(&clock);
    idem.scope(async {
        fail("A-1", 2, None, &body).await.unwrap_err();
        clock.advance(10 * YEAR);
        idem.sweep().await.unwrap();
        let error = fail("A-1", 2, None, &body).await.unwrap_err().into_idem();
        assert!(matches!(error, Error::DeadLettered { .. }), "{error:?}");
        idem.dead_letters()
            .discard(&only_letter(&idem).await.id, "old")
            .await
            .unwrap();
        clock.advance(Duration::from_secs(7 * 24 * 60 * 60));
        idem.sweep().await.unwrap();
        assert_eq!(
            fail("A-1", 2, None, &body).await.unwrap_err().into_own(),
            "failure 2"
        );
    })
    .await;
}

#[tokio::test]
async fn closed_letters_are_kept_for_a_while_and_open_ones_for_ever() {
    let clock = ManualClock::default();
    let builder = Idem::builder().clock(std::sync::Arc::new(clock.clone()));
    let idem = temporary_with(builder.letter_retention(Duration::from_secs(3600))).unwrap();
    for id in 0..2 {
        idem.scope(other(id)).await.unwrap_err();
    }
    let letters = idem.dead_letters();
    let (kept, gone) = match &letters.list(&Filter::default()).await.unwrap()[..] {
        [one, two] => (one.id, two.id),
        more => panic!("{more:?}"),
    };
    letters.redrive(&gone).await.unwrap();
    clock.advance(Duration::from_secs(3599));
    idem.sweep().await.unwrap();
    assert!(letters.get(&gone).await.unwrap().is_some());
    clock.advance(Duration::from_secs(1));
    idem.sweep().await.unwrap();
    assert!(letters.get(&gone).await.unwrap().is_none());
    assert!(letters.get(&kept).await.unwrap().is_some());
}

#[tokio::test]
async fn a_list_is_newest_first_and_comes_in_pages() {
    let (idem, ids) = with_letters(120).await;
    let letters = idem.dead_letters();
    let page = async |filter: Filter| -> Vec<_> {
        letters
            .list(&filter)
            .await
            .unwrap()
            .into_iter()
            .map(|letter| letter.id)
            .collect()
    };
    assert_eq!(
        page(Filter::default()).await,
        ids[..100],
        "a hundred a page"
    );
    assert_eq!(page(Filter::default().after(ids[99])).await, ids[100..]);
    assert_eq!(page(Filter::default().limit(1000)).await, ids);
    assert_eq!(
        page(Filter::default().limit(7).after(ids[20])).await,
        ids[21..28]
    );
    assert!(page(Filter::default().after(ids[119])).await.is_empty());
}

#[tokio::test]
async fn a_list_can_be_of_one_handler_one_key_and_one_state() {
    let (idem, ids) = with_letters(4).await;
    let body = Body::open();
    idem.scope(fail("2", 1, None, &body)).await.unwrap_err();
    let letters = idem.dead_letters();
    letters.redrive(&ids[0]).await.unwrap();
    letters.discard(&ids[1], "").await.unwrap();
    let found = async |filter: Filter| -> Vec<_> {
        let letters = letters.list(&filter).await.unwrap();
        letters
            .into_iter()
            .map(|letter| format!("{} {}", letter.handler, letter.key))
            .collect()
    };
    assert_eq!(
        found(Filter::default().handler("letters.fail")).await,
        ["letters.fail 2"]
    );
    assert_eq!(
        found(Filter::default().handler("letters.other")).await,
        ["letters.other 1", "letters.other 0"]
    );
    assert_eq!(found(Filter::default().key("2")).await, ["letters.fail 2"]);
    assert_eq!(
        found(Filter::default().key("2").any_state()).await,
        ["letters.fail 2", "letters.other 2"]
    );
    assert_eq!(
        found(Filter::default().state(LetterState::Redriven)).await,
        ["letters.other 3"]
    );
    assert_eq!(
        found(Filter::default().state(LetterState::Discarded)).await,
        ["letters.other 2"]
    );
    assert_eq!(found(Filter::default().any_state()).await.len(), 5);
    assert_eq!(
        found(
            Filter::default()
                .any_state()
                .handler("letters.other")
                .limit(1)
        )
        .await,
        ["letters.other 3"]
    );
    assert!(found(Filter::default().handler("letters")).await.is_empty());
}

#[tokio::test]
async fn every_watcher_sees_the_letters_as_they_are_written() {
    let idem = temporary().unwrap();
    let (one, two) = (idem.dead_letters().watch(), idem.dead_letters().watch());
    idem.scope(async {
        for id in 0..5 {
            other(id).await.unwrap_err();
        }
    })
    .await;
    for watch in [one, two] {
        let seen: Vec<_> = soon(watch.take(5).map(|letter| letter.key).collect()).await;
        assert_eq!(seen, ["0", "1", "2", "3", "4"]);
    }
}

#[idempotent(
    name = "letters.token",
    key = "id",
    retries = 1,
    backoff(initial = "0ms"),
    skip(tokens)
)]
async fn token(id: u32, tokens: &Log<u64>) -> Result<(), Oops> {
    tokens.push(attempt().unwrap().token);
    Err(Oops::own("no"))
}

#[tokio::test]
async fn a_redrive_goes_on_with_larger_tokens() {
    let (idem, tokens) = (temporary().unwrap(), Log::default());
    for _ in 0..3 {
        idem.scope(token(1, &tokens)).await.unwrap_err();
        idem.dead_letters()
            .redrive(&only_letter(&idem).await.id)
            .await
            .unwrap();
    }
    let tokens = tokens.take();
    assert_eq!(tokens.len(), 6);
    assert!(
        tokens.is_sorted_by(|before, after| before < after),
        "{tokens:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn redrives_between_hammering_duplicates_never_start_it_more_often_than_the_budgets_allow() {
    const REDRIVES: u32 = 30;
    let (idem, tokens) = (temporary().unwrap(), std::sync::Arc::new(Log::default()));
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let (scope, tokens, stop) = (Idem::clone(&idem), tokens.clone(), stop.clone());
            tokio::spawn(async move {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    scope.scope(token(1, &tokens)).await.unwrap_err();
                }
            })
        })
        .collect();
    let mut born = idem.dead_letters().watch();
    for done in 0..REDRIVES {
        let letter = match idem
            .dead_letters()
            .list(&Filter::default())
            .await
            .unwrap()
            .pop()
        {
            Some(letter) => letter,
            None => soon(born.next()).await.unwrap(),
        };
        // The stream may still hold letters that a list has shown before.
        match idem.dead_letters().redrive(&letter.id).await {
            Ok(_) => assert_eq!(letter.attempts.len(), 2, "redrive {done}"),
            Err(error) => assert!(
                matches!(error, LetterError::LetterClosed { .. }),
                "{error:?}"
            ),
        }
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    for caller in callers {
        soon(caller).await.unwrap();
    }
    let all = idem
        .dead_letters()
        .list(&Filter::default().any_state().limit(1000))
        .await
        .unwrap();
    let redriven = all
        .iter()
        .filter(|letter| letter.state == LetterState::Redriven)
        .count();
    let starts = tokens.take().len();
    assert!(
        starts <= 2 * (redriven + 1),
        "{starts} starts, {redriven} redrives"
    );
    assert!(
        all.iter()
            .filter(|letter| letter.state == LetterState::Open)
            .count()
            <= 1
    );
    assert_eq!(
        all.iter()
            .map(|letter| letter.attempts.len())
            .sum::<usize>(),
        starts - starts % 2
    );
}
