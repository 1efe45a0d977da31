//! A person's actions on a dead letter, with a crash at every write.

use idem_crashtest::{Process, everywhere};
use idem_runtime::dead_letters::LetterError;
use idem_runtime::{Filter, LetterState};

use super::handlers::*;
use super::invariants::hold;

/// Goes on where the process before stopped: a letter, its redrive, another letter, its discard.
async fn clear(process: &Process) -> Result<(), LetterError> {
    let letters = process.dead_letters();
    loop {
        told(
            process,
            "large_hopeless",
            "A",
            large_hopeless("A".into(), "x".repeat(9000)),
        )
        .await;
        let all = letters.list(&Filter::default().any_state()).await?;
        let count = |state| all.iter().filter(|letter| letter.state == state).count();
        let open: Vec<_> = all
            .iter()
            .filter(|letter| letter.state == LetterState::Open)
            .collect();
        match (
            count(LetterState::Redriven),
            count(LetterState::Discarded),
            &open[..],
        ) {
            (0, 0, [letter]) => {
                note(
                    process,
                    &Note::Redriving(letter.handler.clone(), letter.key.clone()),
                );
                letters.redrive(&letter.id).await?;
            }
            (1, 0, [letter]) => drop(letters.discard(&letter.id, "twice is enough").await?),
            (1, 1, []) => return Ok(()),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_redrive_and_a_discard_happen_once() {
    let runs = everywhere(async |process: Process| clear(&process).await);
    hold(&runs);
    for run in &runs {
        let closed: Vec<_> = run
            .letters
            .iter()
            .map(|letter| (letter.state, letter.closed_why.as_deref()))
            .collect();
        let expected = [
            (LetterState::Redriven, None),
            (LetterState::Discarded, Some("twice is enough")),
        ];
        assert_eq!(closed, expected, "{run}");
        assert!(
            run.letters
                .iter()
                .all(|letter| letter.payload.to_value().unwrap()["payload"] == "x".repeat(9000)),
            "{run}"
        );
        // Two budgets of two attempts.
        assert!(run.starts("large_hopeless", "A") <= 4, "{run}");
    }
}
