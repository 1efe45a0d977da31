//! Writes that the system refuses: what is answered with an error is no attempt, nothing that may
//! be lost is shown, and only a full disk is gone on from.

use std::fs;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fail::FailScenario;
use futures_util::future::join_all;
use idem_runtime::error::CloseError;
use idem_runtime::ledger::SledLedger;
use idem_runtime::protocol::{RecordId, Reply, Step};
use idem_runtime::testing::ManualClock;
use idem_runtime::{
    Error, Filter, Idem, Ledger, LetterState, attempt, idempotent, ledger::LedgerError,
    outbox::OutboxMessage,
};

use crate::{Oops, Starts, soon};

/// The places at which a group is refused: before any of it is written, when it can be read but is
/// in no file, and when the log has all of it.
const PLACES: [&str; 3] = ["idem::decided", "idem::applied", "idem::flushed"];

#[idempotent(
    name = "refused.once",
    key = "number",
    retries = 3,
    on_crash = "bury",
    skip(starts)
)]
async fn once(number: u32, starts: &Starts) -> Result<u32, Oops> {
    starts.add();
    Ok(attempt().map_or(0, |attempt| attempt.number))
}

#[idempotent(name = "refused.twice", key = "number", retries = 1, skip(starts))]
async fn twice(number: u32, starts: &Starts) -> Result<u32, Oops> {
    starts.add();
    // Others come in between, so that claims and results share their groups.
    tokio::task::yield_now().await;
    Ok(attempt().map_or(0, |attempt| attempt.number))
}

fn is_full<T>(answer: &Result<T, Oops>) -> bool {
    matches!(answer, Err(Oops::Idem(error)) if is_full_error(error))
}

fn is_full_error(error: &Error) -> bool {
    matches!(
        error,
        Error::Ledger {
            source: LedgerError::Full { .. },
            ..
        }
    )
}

async fn no_letters(idem: &Idem) {
    assert_eq!(
        idem.dead_letters()
            .list(&Filter::default().limit(9))
            .await
            .unwrap(),
        []
    );
    assert_eq!(idem.dead_letters().count_open().await.unwrap(), 0);
}

#[tokio::test]
async fn a_witness_that_cannot_be_written_fails_no_call_and_lags() {
    let scenario = FailScenario::setup();
    let (folder, starts) = (tempfile::tempdir().unwrap(), Starts::default());
    let idem = Idem::open(folder.path()).unwrap();
    for number in 0..20 {
        fail::cfg(
            "idem::witness",
            if number < 10 {
                "1*return(full)"
            } else {
                "return"
            },
        )
        .unwrap();
        assert_eq!(soon(idem.scope(once(number, &starts))).await.unwrap(), 1);
    }
    no_letters(&idem).await;
    soon(idem.close()).await.unwrap();
    fail::remove("idem::witness");
    let idem = Idem::open(folder.path()).unwrap();
    for number in 0..20 {
        assert_eq!(idem.scope(once(number, &starts)).await.unwrap(), 1);
    }
    assert_eq!(starts.count(), 20);
    drop(scenario);
}

#[tokio::test]
async fn a_claim_that_was_refused_is_no_attempt() {
    let scenario = FailScenario::setup();
    for place in PLACES {
        let (folder, starts) = (tempfile::tempdir().unwrap(), Starts::default());
        let idem = Idem::open(folder.path()).unwrap();
        for (number, refusals) in [(1, 1), (2, 3)] {
            for _ in 0..refusals {
                // Until both are answered: the background may be the one that is refused first.
                fail::cfg(place, "return(full)").unwrap();
                let answer = soon(idem.scope(once(number, &starts))).await;
                assert!(is_full(&answer), "{place}: {answer:?}");
                assert!(
                    is_full(&soon(idem.scope(twice(number, &starts))).await),
                    "{place}"
                );
                fail::remove(place);
            }
            assert_eq!(
                soon(idem.scope(once(number, &starts))).await.unwrap(),
                1,
                "{place}: it counted as an attempt"
            );
            assert_eq!(
                soon(idem.scope(twice(number, &starts))).await.unwrap(),
                1,
                "{place}: it counted as an attempt"
            );
        }
        no_letters(&idem).await;
        drop(idem);
        let idem = Idem::open(folder.path()).unwrap();
        let started = starts.count();
        assert_eq!(soon(idem.scope(once(1, &starts))).await.unwrap(), 1);
        assert_eq!(starts.count(), started);
    }
    drop(scenario);
}

#[tokio::test]
async fn a_claim_that_was_refused_is_no_attempt_when_the_ledger_is_closed_before_it_comes_again() {
    let scenario = FailScenario::setup();
    for place in PLACES {
        let (folder, starts) = (tempfile::tempdir().unwrap(), Starts::default());
        let idem = Idem::open(folder.path()).unwrap();
        fail::cfg(place, "1*return(full)").unwrap();
        assert!(is_full(&soon(idem.scope(once(1, &starts))).await));
        soon(idem.close()).await.unwrap();
        let idem = Idem::open(folder.path()).unwrap();
        no_letters(&idem).await;
        assert_eq!(
            soon(idem.scope(once(1, &starts))).await.unwrap(),
            1,
            "{place}"
        );
    }
    drop(scenario);
}

#[tokio::test]
async fn a_claim_that_was_refused_twice_over_is_no_attempt() {
    let scenario = FailScenario::setup();
    let (folder, starts) = (tempfile::tempdir().unwrap(), Starts::default());
    let idem = Idem::open(folder.path()).unwrap();
    // What takes the claim back is refused as well, and is in the log too.
    fail::cfg("idem::flushed", "3*return(full)").unwrap();
    let mut refused = 0;
    while is_full(&soon(idem.scope(once(1, &starts))).await) {
        refused += 1;
    }
    assert!(refused > 0);
    assert_eq!(soon(idem.scope(once(1, &starts))).await.unwrap(), 1);
    assert_eq!(starts.count(), 1);
    no_letters(&idem).await;
    drop(scenario);
}

#[idempotent(
    name = "refused.fails",
    key = "number",
    retries = 3,
    retry = "redeliver",
    backoff(initial = "1s")
)]
async fn fails(number: u32) -> Result<u32, Oops> {
    match attempt() {
        Some(attempt) if attempt.number == 1 => Err(Oops::Own(number)),
        other => Ok(other.map_or(0, |attempt| attempt.number)),
    }
}

#[tokio::test]
async fn a_message_that_waited_waits_again_when_its_claim_was_refused() {
    let scenario = FailScenario::setup();
    for place in PLACES {
        let (folder, clock) = (tempfile::tempdir().unwrap(), ManualClock::default());
        let idem = Idem::builder()
            .clock(Arc::new(clock.clone()))
            .open(folder.path())
            .unwrap();
        assert!(matches!(idem.scope(fails(1)).await, Err(Oops::Own(1))));
        clock.advance(Duration::from_secs(5));
        fail::cfg(place, "1*return(full)").unwrap();
        assert!(is_full(&soon(idem.scope(fails(1))).await));
        assert_eq!(soon(idem.scope(fails(1))).await.unwrap(), 2, "{place}");
    }
    drop(scenario);
}

#[tokio::test]
async fn groups_that_are_refused_under_load_make_no_letter_and_no_second_run() {
    let scenario = FailScenario::setup();
    for place in PLACES {
        let (folder, starts) = (tempfile::tempdir().unwrap(), Starts::default());
        let idem = Idem::open(folder.path()).unwrap();
        fail::cfg(place, "10%return(full)").unwrap();
        let (idem, starts) = (&idem, &starts);
        let callers = (0..16).map(|caller| async move {
            let mut refused = 0;
            for number in (caller..320).step_by(16) {
                loop {
                    let answer = if number % 2 == 0 {
                        idem.scope(once(number, starts)).await
                    } else {
                        idem.scope(twice(number, starts)).await
                    };
                    match answer {
                        Ok(attempt) => break assert_eq!(attempt, 1, "{place}: message {number}"),
                        answer => assert!(is_full(&answer), "{place}: {answer:?}"),
                    }
                    refused += 1;
                }
            }
            refused
        });
        let refused: u32 = soon(join_all(callers)).await.into_iter().sum();
        fail::remove(place);
        assert!(refused > 0, "{place}: nothing was refused");
        assert_eq!(starts.count(), 320, "{place}");
        no_letters(idem).await;
        soon(idem.close()).await.unwrap();
    }
    drop(scenario);
}

#[idempotent(name = "refused.dies", key = "number", retries = 0)]
async fn dies(number: u32) -> Result<u32, Oops> {
    Err(Oops::Own(number))
}

#[tokio::test]
async fn what_a_person_did_to_a_letter_is_not_done_when_it_was_refused() {
    let scenario = FailScenario::setup();
    for place in PLACES {
        let folder = tempfile::tempdir().unwrap();
        let idem = Idem::open(folder.path()).unwrap();
        let _ = idem.scope(dies(1)).await;
        let letters = idem.dead_letters();
        let id = letters.list(&Filter::default()).await.unwrap()[0].id;
        let state = async || letters.get(&id).await.unwrap().unwrap().state;
        again(place, async || {
            letters
                .edit(&id, serde_json::json!({"number": 1}), "typo")
                .await
        })
        .await;
        assert_eq!(
            letters.get(&id).await.unwrap().unwrap().history.len(),
            1,
            "{place}: edited once"
        );
        again(place, async || letters.discard(&id, "old").await).await;
        assert_eq!(state().await, LetterState::Discarded);
        again(place, async || letters.restore(&id, "needed").await).await;
        assert_eq!(
            (state().await, letters.count_open().await.unwrap()),
            (LetterState::Open, 1)
        );
        again(place, async || letters.redrive(&id).await).await;
        assert_eq!(
            (state().await, letters.count_open().await.unwrap()),
            (LetterState::Redriven, 0)
        );
        soon(idem.close()).await.unwrap();
        // Its counts are right, so it opens.
        Idem::open(folder.path()).unwrap();
    }
    drop(scenario);
}

/// Is refused, and then works.
async fn again<T: std::fmt::Debug, E: std::error::Error, F: Future<Output = Result<T, E>>>(
    place: &str,
    act: impl Fn() -> F,
) {
    fail::cfg(place, "1*return(full)").unwrap();
    let refused = soon(act()).await.unwrap_err();
    let cause = refused.source().and_then(|cause| cause.downcast_ref());
    assert!(
        matches!(cause, Some(LedgerError::Full { .. })),
        "{place}: {refused:#}"
    );
    soon(act()).await.unwrap();
}

#[tokio::test]
async fn a_key_whose_issue_was_refused_is_free() {
    let scenario = FailScenario::setup();
    for place in PLACES {
        let folder = tempfile::tempdir().unwrap();
        let ledger = embedded(folder.path());
        let id = RecordId::new("issued/orders", "A-1");
        let issue = || {
            ledger.apply(
                &id,
                Step::Issue {
                    ttl: Duration::from_secs(3600),
                },
            )
        };
        fail::cfg(place, "1*return(full)").unwrap();
        let refused = soon(issue()).await;
        assert!(
            matches!(refused, Err(LedgerError::Full { .. })),
            "{place}: {refused:?}"
        );
        assert_eq!(soon(issue()).await.unwrap(), Reply::Recorded, "{place}");
        assert_eq!(
            soon(issue()).await.unwrap(),
            Reply::AlreadyIssued,
            "{place}"
        );
        soon(ledger.close()).await.unwrap();
        drop(ledger);
        let again = embedded(folder.path());
        assert_eq!(
            soon(again.apply(
                &id,
                Step::Issue {
                    ttl: Duration::ZERO
                }
            ))
            .await
            .unwrap(),
            Reply::AlreadyIssued
        );
    }
    drop(scenario);
}

fn embedded(folder: &Path) -> SledLedger {
    SledLedger::open(
        folder,
        1 << 20,
        Arc::new(ManualClock::default()),
        "test".to_owned(),
    )
    .unwrap()
}

#[idempotent(name = "refused.sends", key = "number", skip(idem))]
async fn sends(number: u32, idem: &Idem) -> Result<u32, Oops> {
    idem.outbox()
        .enqueue(OutboxMessage::new("events", number.to_string(), b"{}"))?;
    Ok(number)
}

#[tokio::test]
async fn nothing_that_may_be_lost_is_shown_while_the_disk_is_full() {
    let scenario = FailScenario::setup();
    for place in PLACES {
        let folder = tempfile::tempdir().unwrap();
        let idem = Idem::open(folder.path()).unwrap();
        assert_eq!(idem.scope(sends(1, &idem)).await.unwrap(), 1);
        // The claim's group is written, the result's is not. That the probe for room fails keeps
        // the ledger as it is.
        let probe = folder.path().join("probe");
        fs::create_dir(&probe).unwrap();
        fail::cfg(place, "1*off->return(full)").unwrap();
        assert!(is_full(&soon(idem.scope(sends(2, &idem))).await), "{place}");
        let refused = soon(idem.outbox().send(OutboxMessage::new("events", "3", b"{}"))).await;
        assert!(refused.is_err(), "{place}: {refused:?}");
        for error in [
            soon(idem.outbox().pending(None, 9)).await.unwrap_err(),
            soon(idem.record(&RecordId::new("refused.sends", "2")))
                .await
                .unwrap_err(),
            soon(idem.dead_letters().list(&Filter::default()))
                .await
                .unwrap_err(),
        ] {
            assert!(
                matches!(&error, LedgerError::OddFile { .. }),
                "{place}: {error}"
            );
        }
        assert_eq!(
            soon(idem.scope(sends(1, &idem))).await.unwrap(),
            1,
            "{place}: what is durable is replayed"
        );
        fail::remove(place);
        fs::remove_dir(&probe).unwrap();
        let waiting = async || {
            let waiting = soon(idem.outbox().pending(None, 9)).await.unwrap();
            waiting
                .into_iter()
                .map(|queued| queued.message.key)
                .collect::<Vec<_>>()
        };
        // What is shown now is durable, and the message that was refused is not among it.
        assert!(
            ["1", "1 2"].contains(&&*waiting().await.join(" ")),
            "{place}"
        );
        assert_eq!(soon(idem.scope(sends(2, &idem))).await.unwrap(), 2);
        soon(idem.outbox().send(OutboxMessage::new("events", "3", b"{}")))
            .await
            .unwrap();
        assert_eq!(waiting().await, ["1", "2", "3"], "{place}");
    }
    drop(scenario);
}

#[tokio::test]
async fn a_message_for_the_outbox_that_was_refused_is_sent_once_when_it_is_sent_again() {
    let scenario = FailScenario::setup();
    for place in PLACES {
        let folder = tempfile::tempdir().unwrap();
        let idem = Idem::open(folder.path()).unwrap();
        let send = || idem.outbox();
        again(place, async || {
            send().send(OutboxMessage::new("events", "1", b"{}")).await
        })
        .await;
        assert_eq!(
            soon(idem.outbox().pending(None, 9)).await.unwrap().len(),
            1,
            "{place}"
        );
    }
    drop(scenario);
}

/// A write that is refused, and that nothing is answered from then on, or from the next call.
async fn poisons(faults: &[(&str, &str)], at_once: bool) {
    let scenario = FailScenario::setup();
    let (folder, starts) = (tempfile::tempdir().unwrap(), Starts::default());
    let idem = Idem::open(folder.path()).unwrap();
    assert_eq!(idem.scope(once(1, &starts)).await.unwrap(), 1);
    for (place, action) in faults {
        fail::cfg(*place, action).unwrap();
    }
    let poisoned = |answer: &Result<u32, Oops>| {
        matches!(
            answer,
            Err(Oops::Idem(Error::Ledger {
                source: LedgerError::Poisoned { .. },
                ..
            }))
        )
    };
    let first = soon(idem.scope(once(2, &starts))).await;
    assert!(
        if at_once {
            poisoned(&first)
        } else {
            is_full(&first)
        },
        "{faults:?}: {first:?}"
    );
    for number in [2, 3, 1] {
        let answer = soon(idem.scope(once(number, &starts))).await;
        assert!(
            poisoned(&answer),
            "{faults:?}, message {number}: {answer:?}"
        );
    }
    assert_eq!(starts.count(), 1);
    soon(idem.close()).await.unwrap();
    drop(idem);
    drop(scenario);
}

#[tokio::test]
async fn a_write_that_is_refused_for_another_reason_than_a_full_disk_poisons() {
    for place in PLACES {
        poisons(&[(place, "1*return")], true).await;
    }
}

#[tokio::test]
async fn a_full_disk_whose_log_cannot_be_synced_poisons() {
    // At once, before sled's files are let go of, and once they are open again.
    for (sync, at_once) in [
        ("1*return", true),
        ("1*off->1*return", false),
        ("2*off->1*return", false),
    ] {
        poisons(
            &[("idem::flushed", "1*return(full)"), ("idem::sync", sync)],
            at_once,
        )
        .await;
    }
}

#[tokio::test]
async fn closing_names_what_could_not_be_recorded() {
    let scenario = FailScenario::setup();
    let (folder, starts) = (tempfile::tempdir().unwrap(), Starts::default());
    let idem = Idem::open(folder.path()).unwrap();
    fail::cfg("idem::decided", "1*off->return(full)").unwrap();
    assert!(is_full(&soon(idem.scope(twice(7, &starts))).await));
    for _ in 0..2 {
        let error = soon(idem.close()).await.unwrap_err();
        let text = error.to_string();
        let CloseError::Unrecorded { messages } = error else {
            panic!("{error:?}")
        };
        assert_eq!(messages, [RecordId::new("refused.twice", "7")]);
        assert!(
            text.contains("handler `refused.twice`, key `7`") && text.contains("existing"),
            "{text}"
        );
    }
    fail::remove("idem::decided");
    let idem = Idem::open(folder.path()).unwrap();
    assert_eq!(
        idem.scope(twice(7, &starts)).await.unwrap(),
        2,
        "it runs again, as was said"
    );
    soon(idem.close()).await.unwrap();
    drop(scenario);
}
