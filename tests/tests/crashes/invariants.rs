//! What holds after every run, wherever it crashed.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use idem_crashtest::{CrashKind, Entry, Event, Run};
use idem_runtime::dead_letters::Reason;
use idem_runtime::protocol::{Record, Settled, Settlement, StoredResult};
use idem_runtime::{DeadLetter, LetterState};

use super::handlers::{Answer, Note};

/// What the log has shown of one message so far.
#[derive(Default)]
struct Seen {
    token: u64,
    number: u32,
    /// A redrive began, so the next start may be the first of a fresh budget.
    redriving: bool,
    /// What its callers were told since the last redrive began.
    told: Option<Answer>,
}

/// Checks every run, and that every message of a run came to its end.
#[track_caller]
pub(crate) fn hold(runs: &[Run]) {
    assert!(runs.len() > 1, "nothing crashed");
    println!("{} crashes", runs.len() - 1);
    assert_eq!(
        (
            &runs[0].crash,
            runs[1..].iter().all(|run| run.crash.is_some())
        ),
        (&None, true)
    );
    for run in runs {
        let seen = replayed(run);
        for ((handler, key), seen) in &seen {
            // A message that was only replayed left nothing in this run.
            if run.starts(handler, key) > 0
                || run
                    .letters
                    .iter()
                    .any(|letter| (&letter.handler, &letter.key) == (handler, key))
            {
                ended(run, handler, key, seen.told.as_ref());
            }
        }
    }
}

/// Follows the log: checks that each start was allowed, and that all callers were told the same.
fn replayed(run: &Run) -> HashMap<(String, String), Seen> {
    let mut all: HashMap<(String, String), Seen> = HashMap::new();
    for Entry { process, event, .. } in &run.log {
        match event {
            Event::Started(at) => {
                let seen = all
                    .entry((at.handler.to_string(), at.key.to_string()))
                    .or_default();
                assert!(
                    at.token > seen.token,
                    "a token came twice, in process {process}: {run}"
                );
                if seen.redriving && at.number <= seen.number {
                    (seen.redriving, seen.number) = (false, 0);
                }
                // A claim is durable before its body starts, so no number starts twice.
                assert!(
                    at.number > seen.number,
                    "attempt {} came after {}: {run}",
                    at.number,
                    seen.number
                );
                assert!(
                    at.number <= at.of,
                    "attempt {} of {}: {run}",
                    at.number,
                    at.of
                );
                assert!(
                    seen.told.is_none(),
                    "a body started after {:?} was told: {run}",
                    seen.told
                );
                (seen.token, seen.number) = (at.token, at.number);
            }
            Event::Noted(note) => match serde_json::from_str(note).unwrap() {
                Note::Waiting(_) => {}
                Note::Redriving(handler, key) => {
                    let seen = all.entry((handler, key)).or_default();
                    (seen.redriving, seen.told) = (true, None);
                }
                Note::Told(handler, key, answer) => {
                    let seen = all.entry((handler, key)).or_default();
                    match (&seen.told, &answer) {
                        (None, _) | (Some(Answer::Own), Answer::Dead(_)) => {
                            seen.told = Some(answer);
                        }
                        (Some(before), now) => assert_eq!(before, now, "{run}"),
                    }
                }
            },
        }
    }
    all
}

/// Checks that the message is settled, and that its record, its letters and its answers agree.
fn ended(run: &Run, handler: &str, key: &str, told: Option<&Answer>) {
    let Some(Record::Settled(Settled { end, .. })) = run.record(handler, key) else {
        panic!(
            "{handler} {key} is lost: {run}, {:?}",
            run.record(handler, key)
        );
    };
    let open: Vec<_> = run.open_letters(handler, key).collect();
    match end {
        Settlement::Done(StoredResult::Json { json, .. }) => {
            assert!(open.is_empty(), "{run}");
            let value = serde_json::from_slice(json).unwrap();
            assert_eq!(told, Some(&Answer::Ok(value)), "{run}");
        }
        Settlement::Dead(id) => {
            assert_eq!(
                open.iter().map(|letter| letter.id).collect::<Vec<_>>(),
                [*id],
                "{run}"
            );
            assert!(
                matches!(told, Some(Answer::Own)) || told == Some(&Answer::Dead(*id)),
                "{told:?}: {run}"
            );
            in_order(run, open[0]);
        }
        Settlement::Discarded(id) => {
            assert!(open.is_empty(), "{run}");
            let closed = run.letters.iter().find(|letter| letter.id == *id);
            assert_eq!(
                closed.map(|letter| letter.state),
                Some(LetterState::Discarded),
                "{run}"
            );
        }
        other => panic!("a handler's record ends as {other:?}: {run}"),
    }
}

/// Checks that a letter has each attempt of its budget, once.
fn in_order(run: &Run, letter: &DeadLetter) {
    let numbers: Vec<_> = letter
        .attempts
        .iter()
        .map(|attempt| attempt.number)
        .collect();
    let count = u32::try_from(numbers.len()).unwrap();
    assert_eq!(numbers, (1..=count).collect::<Vec<_>>(), "{run}");
    let of: BTreeSet<_> = run
        .attempts()
        .filter(|at| *at.handler == *letter.handler && *at.key == *letter.key)
        .map(|at| at.of)
        .collect();
    if letter.reason == Reason::BudgetSpent && !of.is_empty() {
        assert_eq!(of, BTreeSet::from([count]), "{run}");
    }
}

/// Returns the failpoints at which runs crashed, each in both ways.
#[track_caller]
pub(crate) fn crashed_at(runs: &[Run]) -> BTreeSet<&str> {
    let mut kinds: BTreeMap<&str, BTreeSet<CrashKind>> = BTreeMap::new();
    for crash in runs.iter().filter_map(|run| run.crash.as_ref()) {
        let kinds = kinds.entry(crash.failpoint.as_str()).or_default();
        kinds.insert(crash.kind);
    }
    for (failpoint, kinds) in &kinds {
        assert_eq!(kinds.len(), 2, "{failpoint}: {kinds:?}");
    }
    kinds.into_keys().collect()
}

/// Returns the failpoints that every ordinary run passes.
pub(crate) fn ordinary() -> BTreeSet<&'static str> {
    idem_crashtest::FAILPOINTS
        .iter()
        .copied()
        .filter(|failpoint| !failpoint.contains("salvage"))
        .collect()
}
