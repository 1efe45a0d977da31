//! Calls whose process crashes at every write.

use std::future::ready;

use idem_crashtest::{Process, Run, Walk, everywhere};
use idem_runtime::dead_letters::{AttemptOutcome, Reason};
use idem_runtime::protocol::{Record, RecordId};

use super::handlers::*;
use super::invariants::{crashed_at, hold, ordinary};

#[test]
fn a_result_is_recorded_once() {
    let runs = everywhere(async |process: Process| {
        told(&process, "good", "A", good("A".into())).await;
        told(&process, "good_now", "6", async { good_now(6) }).await;
        // A duplicate.
        told(&process, "good", "A", good("A".into())).await;
    });
    hold(&runs);
    assert_eq!(crashed_at(&runs), ordinary());
    // Two groups a message, with five failpoints in each before the answer; seven failpoints while
    // the ledger opens; two kinds of crash at each. Groups that write nothing are answered too, and
    // their number depends on the sweep.
    let written = runs[1..].iter().filter(|run| {
        run.crash
            .as_ref()
            .is_some_and(|crash| crash.failpoint != "idem::answered")
    });
    assert_eq!(written.count(), 2 * (2 * 2 * 5 + 7));
    for run in &runs {
        // One crash adds one attempt at most.
        assert!(
            run.starts("good", "A") + run.starts("good_now", "6") <= 3,
            "{run}"
        );
        assert_eq!(
            (run.result("good", "A"), run.result("good_now", "6")),
            (Some(1), Some(42)),
            "{run}"
        );
    }
}

#[test]
fn each_message_of_many_is_recorded_once() {
    const KEYS: [&str; 3] = ["A", "BB", "CCC"];
    let runs = everywhere(async |process: Process| {
        let keys = KEYS.map(str::to_owned);
        for (key, result) in KEYS.iter().zip(many(keys.to_vec()).await) {
            told(&process, "many", key, ready(result)).await;
        }
    });
    hold(&runs);
    assert_eq!(crashed_at(&runs), ordinary());
    for run in &runs {
        for key in KEYS {
            assert_eq!(run.result("many", key), Some(key.len()), "{run}");
            // One that failed runs again, and a crash adds one attempt at most.
            let expected = if key.len() % 2 == 0 { 3 } else { 2 };
            assert!(run.starts("many", key) <= expected, "{key}: {run}");
        }
    }
}

#[test]
fn a_message_that_ends_its_process_buries_no_other_of_its_list() {
    const KEYS: [&str; 5] = ["A", "B", "X", "C", "D"];
    // Nothing else crashes.
    let runs = Walk::new()
        .crash_kinds(&[])
        .everywhere(async |process: Process| {
            let keys = KEYS.map(str::to_owned);
            for (key, result) in KEYS.iter().zip(deadly_among(keys.to_vec()).await) {
                told(&process, "deadly_among", key, ready(result)).await;
            }
        });
    // All of them, from the first to X, from the last to X, X.
    let run = &runs[0];
    assert_eq!(run.processes, 5);
    for (key, starts) in KEYS.iter().zip([2, 2, 4, 2, 2]) {
        assert_eq!(run.starts("deadly_among", key), starts, "{key}: {run}");
        if *key == "X" {
            only_letter(run, "deadly_among", Reason::BudgetSpent);
        } else {
            assert_eq!(run.result("deadly_among", key), Some(1), "{key}: {run}");
        }
    }
}

#[test]
fn failed_attempts_are_counted() {
    let runs =
        everywhere(async |process: Process| told(&process, "flaky", "A", flaky("A".into())).await);
    hold(&runs);
    assert_eq!(crashed_at(&runs), ordinary());
    for run in &runs {
        assert_eq!(run.result("flaky", "A"), Some("A".to_owned()), "{run}");
    }
}

#[test]
fn a_spent_budget_is_a_letter_with_all_its_attempts() {
    let runs = everywhere(async |process: Process| {
        told(&process, "hopeless", "A", hopeless("A".into())).await;
        told(&process, "hopeless", "A", hopeless("A".into())).await;
    });
    hold(&runs);
    for run in &runs {
        let letter = only_letter(run, "hopeless", Reason::BudgetSpent);
        let outcomes: Vec<_> = letter
            .attempts
            .iter()
            .map(|attempt| attempt.outcome)
            .collect();
        let crashed = outcomes
            .iter()
            .filter(|outcome| **outcome == AttemptOutcome::Crashed)
            .count();
        assert!(crashed <= 1 && outcomes.len() == 3, "{outcomes:?}: {run}");
    }
}

#[test]
fn a_permanent_error_is_a_letter() {
    let runs = everywhere(async |process: Process| {
        told(&process, "refused", "A", refused("A".into())).await;
    });
    hold(&runs);
    for run in &runs {
        only_letter(run, "refused", Reason::PermanentError);
        assert!(run.starts("refused", "A") <= 2, "{run}");
    }
}

#[test]
fn bodies_that_end_their_process_have_a_budget_too() {
    // Openings that crash themselves find a dead owner's claim, and lose it again.
    let runs = Walk::new()
        .in_a_row(2)
        .everywhere(async |process: Process| {
            told(&process, "deadly", "A", deadly("A".into())).await;
        });
    hold(&runs);
    assert_eq!(runs[0].processes, 3);
    for run in &runs {
        let letter = only_letter(run, "deadly", Reason::BudgetSpent);
        assert_eq!(letter.payload.to_value().unwrap()["key"], "A", "{run}");
        assert!(
            letter
                .attempts
                .iter()
                .all(|attempt| attempt.outcome == AttemptOutcome::Crashed && attempt.end.is_none()),
            "{run}"
        );
    }
}

#[test]
fn an_opening_is_enough_to_write_the_letter_of_a_dead_owner() {
    let runs = everywhere(async |process: Process| {
        let is_settled = async |handler: &str| {
            let id = RecordId::new(handler, "A");
            let record = process.record(&id).await.unwrap();
            matches!(record, Some(Record::Settled(_)))
        };
        // No call returns: each one either ends the process, or is not made.
        if !is_settled("deadly").await {
            panic!("returned {:?}", deadly("A".into()).await);
        }
        if !is_settled("deadly_buried").await {
            panic!("returned {:?}", deadly_buried("A".into()).await);
        }
    });
    assert_eq!(runs[0].processes, 4);
    for run in &runs {
        only_letter(run, "deadly", Reason::BudgetSpent);
        only_letter(run, "deadly_buried", Reason::UnknownOutcome);
    }
}

#[test]
fn a_body_that_ends_its_process_once_still_comes_to_its_result() {
    let runs = everywhere(async |process: Process| {
        told(&process, "aborting", "A", aborting("A".into())).await;
    });
    hold(&runs);
    assert_eq!(runs[0].processes, 2);
    for run in &runs {
        assert_eq!(run.result("aborting", "A"), Some(5), "{run}");
    }
}

#[test]
fn what_must_not_run_on_a_guess_starts_once() {
    let runs = everywhere(async |process: Process| {
        told(&process, "buried", "A", buried("A".into())).await;
    });
    hold(&runs);
    let mut letters = 0;
    for run in &runs {
        assert!(run.starts("buried", "A") <= 1, "{run}");
        match run.result::<u32>("buried", "A") {
            Some(result) => assert_eq!(result, 1),
            None => {
                only_letter(run, "buried", Reason::UnknownOutcome);
                letters += 1;
            }
        }
    }
    assert!(letters > 0, "no crash left the outcome unknown");
}

#[test]
fn the_burial_of_an_unknown_outcome_is_one_write() {
    let runs = everywhere(async |process: Process| {
        told(&process, "deadly_buried", "A", deadly_buried("A".into())).await;
    });
    hold(&runs);
    for run in &runs {
        only_letter(run, "deadly_buried", Reason::UnknownOutcome);
        assert!(run.starts("deadly_buried", "A") <= 1, "{run}");
    }
}

#[test]
fn large_payloads_and_results_stay_whole() {
    let payload = "0123456789abcdef".repeat(1024);
    let expected = payload.repeat(2);
    let runs = everywhere(async move |process: Process| {
        told(&process, "large", "A", large("A".into(), payload)).await;
    });
    hold(&runs);
    for run in &runs {
        assert_eq!(run.result("large", "A").as_ref(), Some(&expected), "{run}");
    }
}

#[test]
fn messages_that_share_a_group_do_not_share_their_fate() {
    let runs = everywhere(async |process: Process| {
        let duplicate = told(&process, "good", "A", good("A".into()));
        tokio::join!(
            told(&process, "good", "A", good("A".into())),
            told(&process, "good", "B", good("B".into())),
            told(&process, "flaky", "A", flaky("A".into())),
            told(&process, "hopeless", "A", hopeless("A".into())),
            told(&process, "refused", "A", refused("A".into())),
            duplicate,
        );
    });
    hold(&runs);
}

#[test]
fn a_look_into_the_business_table_makes_one_effect() {
    let runs = everywhere(async |process: Process| {
        let table = process.folder().join("orders");
        told(
            &process,
            "ordered",
            "A-1001",
            ordered("A-1001".into(), table.clone()),
        )
        .await;
        assert_eq!(std::fs::read_to_string(table).unwrap(), "A-1001\n");
    });
    hold(&runs);
    assert!(
        runs.iter().any(|run| run.starts("ordered", "A-1001") == 2),
        "no body had to look"
    );
}

fn only_letter<'a>(run: &'a Run, handler: &str, reason: Reason) -> &'a idem_runtime::DeadLetter {
    let letters: Vec<_> = run
        .letters
        .iter()
        .filter(|letter| letter.handler == handler)
        .collect();
    let [letter] = letters[..] else {
        panic!("{letters:?}: {run}")
    };
    assert_eq!(letter.reason, reason, "{run}");
    letter
}
