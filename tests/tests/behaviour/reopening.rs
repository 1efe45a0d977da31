//! What was answered is still there after the folder was closed and opened: results, budgets,
//! letters, tokens.

use std::sync::Arc;
use std::time::Duration;

use idem_runtime::error::CloseError;
use idem_runtime::ledger::SledLedger;
use idem_runtime::protocol::{Budget, Claim, RecordId, Reply, Step};
use idem_runtime::{
    Error, Filter, Idem, Ledger, LetterState, attempt,
    dead_letters::{AttemptOutcome, Reason},
    idempotent,
};

use crate::common::{Body, Folder, Log, Oops, only_letter, soon};

#[idempotent(name = "reopening.run", key = "id", skip(body))]
async fn run(id: u32, text: &str, body: &Body) -> Result<String, Oops> {
    Ok(format!("{text} {}", body.start()))
}

#[tokio::test]
async fn results_are_replayed_whether_it_was_closed_or_dropped() {
    let (folder, body) = (Folder::new(), Body::open());
    let large = "x".repeat(300_000);
    for opening in 0..4 {
        let idem = folder.open();
        idem.scope(async {
            for (id, text) in (1..=50)
                .map(|id| (id, "small"))
                .chain([(99, large.as_str())])
            {
                let number = if id == 99 { 51 } else { id };
                assert_eq!(
                    run(id, text, &body).await.unwrap(),
                    format!("{text} {number}")
                );
            }
            assert!(matches!(
                run(1, "other", &body).await.unwrap_err().into_idem(),
                Error::KeyReused { .. }
            ));
        })
        .await;
        if opening % 2 == 0 {
            idem.close().await.unwrap();
        }
    }
    assert_eq!(body.starts(), 51);
}

#[idempotent(
    name = "reopening.never",
    key = "id",
    retry = "redeliver",
    retries = 3,
    backoff(initial = "1h", factor = 1, max = "1h"),
    skip(body, numbers)
)]
async fn never(id: u32, body: &Body, numbers: &Log<(u32, u64)>) -> Result<u32, Oops> {
    let attempt = attempt().unwrap();
    numbers.push((attempt.number, attempt.token));
    Err(Oops::own(format!("failure {}", body.start())))
}

#[tokio::test]
async fn the_budget_and_the_pause_and_the_tokens_go_on() {
    let (folder, body, numbers) = (Folder::new(), Body::open(), Log::default());
    for _ in 1..=4 {
        let idem = folder.open();
        idem.scope(never(1, &body, &numbers))
            .await
            .unwrap_err()
            .into_own();
        drop(idem);
        let idem = folder.open();
        let error = idem
            .scope(never(1, &body, &numbers))
            .await
            .unwrap_err()
            .into_idem();
        match error {
            Error::NotYet { after, .. } => assert_eq!(after, Duration::from_secs(3600)),
            Error::DeadLettered { .. } => assert_eq!(body.starts(), 4),
            error => panic!("{error:?}"),
        }
        folder.clock.advance(Duration::from_secs(3600));
    }
    let numbers = numbers.take();
    assert_eq!(
        numbers
            .iter()
            .map(|(number, _)| *number)
            .collect::<Vec<_>>(),
        [1, 2, 3, 4]
    );
    assert!(
        numbers.is_sorted_by(|(_, before), (_, after)| before < after),
        "{numbers:?}"
    );
    let idem = folder.open();
    let letter = only_letter(&idem).await;
    assert_eq!(
        (letter.reason, letter.attempts.len()),
        (Reason::BudgetSpent, 4)
    );
    assert_eq!(
        letter.payload.to_value().unwrap(),
        serde_json::json!({"id": 1})
    );
}

#[tokio::test]
async fn letters_and_what_became_of_them_stay() {
    let (folder, body, numbers) = (Folder::new(), Body::open(), Log::default());
    let idem = folder.open();
    for id in 1..=3 {
        for _ in 1..=4 {
            idem.scope(never(id, &body, &numbers))
                .await
                .unwrap_err()
                .into_own();
            folder.clock.advance(Duration::from_secs(3600));
        }
    }
    let before = idem.dead_letters().list(&Filter::default()).await.unwrap();
    assert_eq!(before.len(), 3);
    idem.close().await.unwrap();

    let idem = folder.open();
    let letters = idem.dead_letters();
    assert_eq!(letters.list(&Filter::default()).await.unwrap(), before);
    letters.redrive(&before[0].id).await.unwrap();
    letters
        .discard(&before[1].id, "a test order")
        .await
        .unwrap();
    drop((idem, letters));

    let idem = folder.open();
    let letters = idem.dead_letters();
    assert_eq!(only_letter(&idem).await, before[2]);
    assert_eq!(
        letters.get(&before[0].id).await.unwrap().unwrap().state,
        LetterState::Redriven
    );
    assert_eq!(
        letters
            .get(&before[1].id)
            .await
            .unwrap()
            .unwrap()
            .closed_why
            .as_deref(),
        Some("a test order")
    );
    idem.scope(async {
        never(3, &body, &numbers).await.unwrap_err().into_own();
        for id in [1, 2] {
            let error = never(id, &body, &numbers).await.unwrap_err().into_idem();
            assert!(
                matches!(error, Error::DeadLettered { discarded, .. } if discarded == (id == 2)),
                "{error:?}"
            );
        }
    })
    .await;
    let numbers = numbers.take();
    assert_eq!(numbers.last().unwrap().0, 1, "a fresh budget");
    assert!(
        numbers.is_sorted_by(|(_, before), (_, after)| before < after),
        "{numbers:?}"
    );
}

/// One name in two versions of a program.
mod yesterday {
    use super::*;

    #[idempotent(
        name = "reopening.deploy",
        key = "id",
        retry = "redeliver",
        retries = 5,
        ttl = "1d",
        skip(body)
    )]
    pub(super) async fn run(id: u32, body: &Body) -> Result<u32, Oops> {
        Err(Oops::own(format!("failure {}", body.start())))
    }
}

mod today {
    use super::*;

    #[idempotent(
        name = "reopening.deploy",
        key = "id",
        retry = "redeliver",
        retries = 1,
        retry_if = never_again,
        on_crash = "bury",
        ttl = "1d",
        skip(body)
    )]
    pub(super) async fn run(id: u32, body: &Body) -> Result<u32, Oops> {
        let attempt = attempt().unwrap();
        assert!(
            attempt.number <= attempt.of,
            "attempt {} of {}",
            attempt.number,
            attempt.of
        );
        Err(Oops::own(format!("failure {}", body.start())))
    }

    fn never_again(_: &Oops) -> bool {
        false
    }
}

#[tokio::test]
async fn a_deploy_that_allows_less_kills_nothing_that_waits_and_counts_from_the_next_attempt_on() {
    let (folder, body) = (Folder::new(), Body::open());
    let idem = folder.open();
    for _ in 1..=3 {
        idem.scope(yesterday::run(1, &body))
            .await
            .unwrap_err()
            .into_own();
        folder.clock.advance(Duration::from_secs(60));
    }
    idem.close().await.unwrap();
    let idem = folder.open();
    idem.sweep().await.unwrap();
    assert!(
        idem.dead_letters()
            .list(&Filter::default())
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(
        idem.scope(today::run(1, &body))
            .await
            .unwrap_err()
            .into_own(),
        "failure 4"
    );
    let letter = only_letter(&idem).await;
    assert_eq!(
        (letter.reason, letter.attempts.len()),
        (Reason::PermanentError, 4)
    );
    let error = idem
        .scope(today::run(1, &body))
        .await
        .unwrap_err()
        .into_idem();
    assert!(
        matches!(error, Error::DeadLettered { id, .. } if id == letter.id),
        "{error:?}"
    );
    assert_eq!(body.starts(), 4);
}

#[tokio::test]
async fn what_nobody_comes_back_for_is_a_letter_when_the_ledger_opens() {
    let (folder, body) = (Folder::new(), Body::open());
    let idem = folder.open();
    idem.scope(yesterday::run(1, &body))
        .await
        .unwrap_err()
        .into_own();
    idem.close().await.unwrap();
    // Its time begins when its pause, of less than a second, is over.
    folder.clock.advance(Duration::from_secs(24 * 60 * 60));
    let idem = folder.open();
    assert!(
        idem.dead_letters()
            .list(&Filter::default())
            .await
            .unwrap()
            .is_empty()
    );
    idem.close().await.unwrap();
    folder.clock.advance(Duration::from_secs(1));
    let idem = folder.open();
    let letter = only_letter(&idem).await;
    assert_eq!(
        (letter.reason, letter.last_error()),
        (Reason::Abandoned, Some("failure 1"))
    );
    let error = idem
        .scope(yesterday::run(1, &body))
        .await
        .unwrap_err()
        .into_idem();
    assert!(matches!(error, Error::DeadLettered { .. }), "{error:?}");
}

#[tokio::test]
async fn what_nobody_comes_back_for_is_a_letter_by_the_sweep_too() {
    let (folder, body) = (Folder::new(), Body::open());
    let idem = folder.open();
    idem.scope(yesterday::run(1, &body))
        .await
        .unwrap_err()
        .into_own();
    folder.clock.advance(Duration::from_secs(24 * 60 * 60 + 1));
    // The background may have been quicker; either way it is there afterwards, once.
    idem.sweep().await.unwrap();
    assert_eq!(only_letter(&idem).await.reason, Reason::Abandoned);
}

#[idempotent(
    name = "reopening.crash",
    key = "id",
    retries = 1,
    backoff(initial = "1h", max = "1h"),
    skip(body)
)]
async fn crash(id: u32, body: &Body) -> Result<u32, Oops> {
    Ok(body.run().await)
}

#[idempotent(name = "reopening.bury", key = "id", on_crash = "bury", skip(body))]
async fn bury(id: u32, body: &Body) -> Result<u32, Oops> {
    Ok(body.run().await)
}

/// Leaves a running attempt behind, as a process that dies does: the ledger is gone before the call
/// can report.
async fn left_running<T>(folder: &Folder, body: &Body, call: impl Future<Output = T>) {
    let builder = Idem::builder()
        .clock(Arc::new(folder.clock.clone()))
        .close_deadline(Duration::ZERO);
    let idem = builder.open(folder.folder.path()).unwrap();
    let starts = body.starts();
    idem.scope(async {
        let mut call = Box::pin(call);
        tokio::select! {
            _ = &mut call => unreachable!("the door is shut"),
            () = body.started(starts + 1) => {}
        }
        assert!(matches!(
            soon(idem.close()).await,
            Err(CloseError::StillRunning { .. })
        ));
    })
    .await;
}

#[tokio::test]
async fn an_attempt_that_nobody_reported_is_counted_and_goes_on_at_once() {
    let (folder, body) = (Folder::new(), Body::shut());
    left_running(&folder, &body, crash(1, &body)).await;
    body.let_go();
    // The service was down for longer than the message is waited for, which begins only now.
    folder.clock.advance(Duration::from_secs(30 * 24 * 60 * 60));
    let idem = folder.open();
    idem.sweep().await.unwrap();
    assert_eq!(
        soon(idem.scope(crash(1, &body))).await.unwrap(),
        2,
        "no pause: nobody knows how long it was silent"
    );
}

#[tokio::test]
async fn when_the_last_attempt_was_not_reported_opening_the_ledger_writes_the_letter() {
    let (folder, body) = (Folder::new(), Body::shut());
    left_running(&folder, &body, crash(1, &body)).await;
    left_running(&folder, &body, crash(1, &body)).await;
    let idem = folder.open();
    let letter = only_letter(&idem).await;
    let told: Vec<_> = letter
        .attempts
        .iter()
        .map(|past| (past.number, past.outcome, past.end))
        .collect();
    assert_eq!(
        told,
        [
            (1, AttemptOutcome::Crashed, None),
            (2, AttemptOutcome::Crashed, None)
        ]
    );
    assert_eq!(
        (letter.reason, letter.payload.to_value().unwrap()),
        (Reason::BudgetSpent, serde_json::json!({"id": 1}))
    );
    assert_eq!(body.starts(), 2);
}

#[tokio::test]
async fn a_handler_that_buries_is_dead_when_the_ledger_opens() {
    let (folder, body) = (Folder::new(), Body::shut());
    left_running(&folder, &body, bury(1, &body)).await;
    let idem = folder.open();
    assert_eq!(only_letter(&idem).await.reason, Reason::UnknownOutcome);
    assert!(matches!(
        idem.scope(bury(1, &body)).await.unwrap_err().into_idem(),
        Error::DeadLettered { .. }
    ));
    assert_eq!(body.starts(), 1);
}

#[tokio::test]
async fn a_folder_can_be_opened_the_moment_it_was_let_go() {
    let (folder, body) = (Folder::new(), Body::open());
    for id in 0..40 {
        let idem = folder.open();
        idem.scope(run(id, &"x".repeat(5000), &body)).await.unwrap();
        if id % 2 == 0 {
            idem.close().await.unwrap();
        }
    }
}

/// tokio lets a task take so many answers before it has to yield, which opening never does.
#[test]
fn a_ledger_with_many_claims_of_a_dead_process_opens_inside_a_runtime() {
    let folder = Folder::new();
    let clock = Arc::new(folder.clock.clone());
    let ledger =
        SledLedger::open(folder.folder.path(), 64 << 20, clock, "dead".to_owned()).unwrap();
    let claim = Claim::new(
        "dead",
        b"{}".as_slice(),
        Budget::new(0, Duration::from_secs(60)),
        Duration::from_secs(30),
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let claims = (0..1000).map(|number| {
            let id = RecordId::new("reopening.dead", number.to_string());
            ledger.apply(&id, Step::Claim(claim.clone()))
        });
        for claimed in futures_util::future::join_all(claims).await {
            assert!(matches!(claimed.unwrap(), Reply::Run(_)));
        }
    });
    drop(ledger);
    let (opened, opens) = std::sync::mpsc::channel();
    let path = folder.folder.path().to_owned();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .unwrap();
        let letters = runtime.block_on(async {
            let idem = Idem::open(path).unwrap();
            idem.dead_letters()
                .list(&Filter::default().limit(2000))
                .await
                .unwrap()
                .len()
        });
        opened.send(letters)
    });
    assert_eq!(
        opens
            .recv_timeout(Duration::from_secs(120))
            .expect("it opens"),
        1000
    );
}

/// A child process that is just being started holds copies of all open files, locks among them,
/// until it runs its own program.
#[test]
fn a_closed_folder_is_free_while_children_are_started() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let (folder, over) = (tempfile::tempdir().unwrap(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    std::process::Command::new("true").status().unwrap();
                }
            });
        }
        let opened = (0..100).try_for_each(|_| Idem::open(folder.path()).map(drop));
        over.store(true, Ordering::SeqCst);
        opened.unwrap();
    });
}
