//! A real process, really killed: what was answered stays answered, and nothing starts too often.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use idem_runtime::{
    Error, Filter, Idem,
    dead_letters::{AttemptOutcome, Reason},
};

fn victim(what: &str, folder: &Path, rest: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_victim"))
        .arg(what)
        .arg(folder)
        .args(rest)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Lets it run to its own end, or its own death, and gives its lines.
fn lines_of(child: Child) -> Vec<String> {
    let output = child.wait_with_output().unwrap();
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect()
}

fn effects(folder: &Path) -> Vec<String> {
    std::fs::read_to_string(folder.join("effects"))
        .unwrap_or_default()
        .lines()
        .map(str::to_owned)
        .collect()
}

#[test]
fn what_was_answered_before_a_kill_is_answered_the_same_after_it() {
    const COUNT: u32 = 400;
    let folder = tempfile::tempdir().unwrap();
    let mut answers: HashMap<u32, u32> = HashMap::new();
    let mut kills = 0_usize;
    // Each life is killed after some answers more than the one before; the last one is left alone.
    for patience in (1..).map(|life| life * life * 5) {
        let mut child = victim("work", folder.path(), &[&COUNT.to_string()]);
        let mut fresh = 0;
        let mut finished = false;
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            let words: Vec<_> = line.split(' ').collect();
            match words[..] {
                ["answered", number, answer] => {
                    let (number, answer) = (number.parse().unwrap(), answer.parse().unwrap());
                    match answers.insert(number, answer) {
                        Some(before) => {
                            assert_eq!(before, answer, "number {number} was answered differently")
                        }
                        None => fresh += 1,
                    }
                }
                ["finished"] => finished = true,
                ["open"] => {}
                _ => panic!("unexpected: {line}"),
            }
            if fresh >= patience {
                child.kill().unwrap();
                kills += 1;
                break;
            }
        }
        child.wait().unwrap();
        if finished {
            break;
        }
    }
    assert!(kills >= 5, "killed {kills} times");
    assert_eq!(answers.len(), COUNT as usize);
    let mut times: HashMap<String, usize> = HashMap::new();
    for line in effects(folder.path()) {
        *times.entry(line).or_default() += 1;
    }
    // A body that was running when the process died ran again; sixteen were in flight at most, each
    // time.
    let again: usize = times.values().map(|times| times - 1).sum();
    assert!(
        again <= kills * 16,
        "{again} bodies ran again after {kills} kills"
    );
    assert_eq!(
        times.len(),
        (0..COUNT).filter(|number| number % 5 != 0).count()
    );
}

#[test]
fn a_body_that_kills_its_process_starts_retries_and_one_times_and_is_then_a_dead_letter() {
    let folder = tempfile::tempdir().unwrap();
    for start in 1..=4 {
        assert_eq!(lines_of(victim("abort", folder.path(), &[])), ["open"]);
        assert_eq!(effects(folder.path()).len(), start);
    }
    // People are told even if the message never comes back: opening is enough.
    assert_eq!(
        lines_of(victim("letters", folder.path(), &[])),
        ["open", "A BudgetSpent 4"]
    );
    for _ in 0..2 {
        let lines = lines_of(victim("abort", folder.path(), &[]));
        assert!(lines[1].contains("it is dead letter"), "{lines:?}");
    }
    assert_eq!(effects(folder.path()).len(), 4);
}

#[test]
fn a_body_that_must_not_run_on_a_guess_is_a_dead_letter_after_one_crash() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(lines_of(victim("abort_once", folder.path(), &[])), ["open"]);
    assert_eq!(
        lines_of(victim("letters", folder.path(), &[])),
        ["open", "A UnknownOutcome 1"]
    );
    assert!(lines_of(victim("abort_once", folder.path(), &[]))[1].contains("it is dead letter"));
    assert_eq!(effects(folder.path()).len(), 1);
}

#[tokio::test]
async fn the_letter_of_a_killed_process_has_its_payload_and_its_attempts() {
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..4 {
        lines_of(victim("abort", folder.path(), &[]));
    }
    let idem = Idem::open(folder.path()).unwrap();
    let letters = idem.dead_letters().list(&Filter::default()).await.unwrap();
    let [letter] = &letters[..] else {
        panic!("expected one letter, got {letters:?}")
    };
    assert_eq!(
        (&*letter.handler, &*letter.key, letter.reason),
        ("victim.abort", "A", Reason::BudgetSpent)
    );
    assert_eq!(letter.payload.to_value().unwrap()["key"], "A");
    assert!(
        letter
            .attempts
            .iter()
            .all(|attempt| attempt.outcome == AttemptOutcome::Crashed && attempt.end.is_none())
    );
    let Err(Error::LetterClosed { .. }) = async {
        idem.dead_letters().redrive(&letter.id).await?;
        idem.dead_letters().redrive(&letter.id).await
    }
    .await
    else {
        panic!("a letter is redriven once")
    };
    idem.close().await.unwrap();
    // Re-armed: it starts again, and crashes again.
    assert_eq!(lines_of(victim("abort", folder.path(), &[])), ["open"]);
    assert_eq!(effects(folder.path()).len(), 5);
}
