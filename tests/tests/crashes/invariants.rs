//! What holds after every run, whatever died where.

use std::collections::{BTreeSet, HashMap};

use idem_runtime::protocol::{Record, Settled, Settlement, StoredResult};
use idem_runtime::testing::crashes::{Entry, Event, Run};
use idem_runtime::{DeadLetter, LetterState, Reason};

use super::handlers::{Answer, Note};

/// What is known of one message so far.
#[derive(Default)]
struct Seen {
    token: u64,
    number: u32,
    /// A redrive began: the next start may be the first of a fresh budget.
    redriving: bool,
    /// What its callers were told, since the last redrive began.
    told: Option<Answer>,
}

/// Checks every run, and that every message of a run came to its end.
#[track_caller]
pub(crate) fn hold(runs: &[Run]) {
    assert!(runs.len() > 1, "nothing died");
    println!("{} deaths", runs.len() - 1);
    assert_eq!(
        (
            &runs[0].place,
            runs[1..].iter().all(|run| run.place.is_some())
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

/// Follows the diary: which starts were allowed, and whether all callers were told the same.
fn replayed(run: &Run) -> HashMap<(String, String), Seen> {
    let mut all: HashMap<(String, String), Seen> = HashMap::new();
    for Entry { life, event, .. } in &run.diary {
        match event {
            Event::Started(at) => {
                let seen = all
                    .entry((at.handler.to_string(), at.key.to_string()))
                    .or_default();
                assert!(
                    at.token > seen.token,
                    "a token came twice, in process {life}: {run}"
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
                            seen.told = Some(answer)
                        }
                        (Some(before), now) => assert_eq!(before, now, "{run}"),
                    }
                }
            },
        }
    }
    all
}

/// Nothing is lost, Dead is one open letter, and what was told is what is recorded.
fn ended(run: &Run, handler: &str, key: &str, told: Option<&Answer>) {
    let Some(Record::Settled(Settled { end, .. })) = run.record(handler, key) else {
        panic!(
            "{handler} {key} is lost: {run}, {:?}",
            run.record(handler, key)
        );
    };
    let open: Vec<_> = run.open_letters(handler, key).collect();
    match end {
        Settlement::Done(StoredResult::Json(json)) => {
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

/// A letter has every attempt of its budget, once each.
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

/// Every point that was died at, and that both ways to die had their turn.
#[track_caller]
pub(crate) fn died_at(runs: &[Run]) -> BTreeSet<&str> {
    let points: BTreeSet<_> = runs
        .iter()
        .filter_map(|run| Some(run.place.as_ref()?.point.as_str()))
        .collect();
    for point in &points {
        let deaths: BTreeSet<_> = runs
            .iter()
            .filter_map(|run| run.place.as_ref())
            .filter(|at| at.point == *point)
            .map(|at| at.death)
            .collect();
        assert_eq!(deaths.len(), 2, "{point}: {deaths:?}");
    }
    points
}

/// The points that every ordinary run comes by.
pub(crate) fn ordinary() -> BTreeSet<&'static str> {
    idem_runtime::testing::crashes::POINTS
        .iter()
        .copied()
        .filter(|point| !point.contains("rescue"))
        .collect()
}
