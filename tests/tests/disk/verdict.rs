//! Checks whether a ledger still has everything that it acknowledged.

use std::collections::HashMap;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use futures_util::future::join_all;
use idem_runtime::protocol::{Phase, Record, Settlement};
use idem_runtime::testing::ManualClock;
use idem_runtime::{
    DeadLetter, DeadLetterId, Error, Filter, Idem, LetterState, ledger::LedgerError,
};

use crate::image::Image;
use crate::known::{Asked, Knowledge, Known, Said, World};
use crate::load::{Trouble, bring, open, record_id};
use crate::tally::scratch;

/// How it ended, if nothing was lost silently.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    Whole,
    /// Opening was refused.
    Refused(String),
    /// It opened, and a call, a listing or the count in the background came to an error.
    Noticed(String),
}

/// How long a ledger may take; only one that hangs takes that long.
const PATIENCE: Duration = Duration::from_secs(300);

/// Makes a folder of an image, opens it, and compares it with what is known. An error is a silent
/// loss, a panic that left the runtime, or a call that hangs; then the folder is kept.
pub(crate) fn judged(
    image: &Image,
    clock: &ManualClock,
    known: &Knowledge,
    before: impl FnOnce(&Path),
) -> Result<Verdict, String> {
    let folder = scratch();
    image.put(folder.path());
    before(folder.path());
    let (path, clock, known) = (folder.path().to_owned(), clock.clone(), known.clone());
    let (done, ended) = mpsc::channel();
    let judge = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let verdict = runtime.block_on(judge(&path, &clock, &known));
        // The receiver may have timed out.
        let _ = done.send(verdict);
    });
    let verdict = match ended.recv_timeout(PATIENCE) {
        Ok(verdict) => verdict,
        Err(mpsc::RecvTimeoutError::Timeout) => Err("it hangs".to_owned()),
        Err(mpsc::RecvTimeoutError::Disconnected) => {
            Err(format!("a panic left the runtime: {:?}", judge.join()))
        }
    };
    verdict.map_err(|loss| {
        let kept = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))
            .unwrap()
            .keep();
        image.put(&kept);
        format!("{loss}\nthe image is in {}", kept.display())
    })
}

async fn judge(folder: &Path, clock: &ManualClock, known: &Knowledge) -> Result<Verdict, String> {
    let idem = match open(folder, clock) {
        Ok(idem) => idem,
        Err(Error::Ledger {
            source: problem, ..
        }) => return Ok(Verdict::Refused(kind(&problem))),
        Err(other) => return Err(format!("opening said {other:#}")),
    };
    let mut noticed = None;
    let judged = examine(&idem, known, &mut noticed).await;
    drop(idem);
    judged.map(|()| noticed.map_or(Verdict::Whole, Verdict::Noticed))
}

async fn examine(
    idem: &Idem,
    known: &Knowledge,
    noticed: &mut Option<String>,
) -> Result<(), String> {
    let mut notice = |problem: &LedgerError| {
        noticed.get_or_insert_with(|| kind(problem));
    };
    let letters = match letters(idem).await {
        Ok(letters) => Some(letters),
        Err(problem) => {
            notice(&problem);
            None
        }
    };
    let mut calls = Vec::new();
    for (number, known) in known {
        match idem.record(&record_id(*number)).await {
            Ok(record) => {
                // What an index has lost a call may still notice.
                let verdict = expect(known, record.as_ref(), letters.as_ref());
                calls.push((known, verdict));
            }
            Err(problem) => notice(&problem),
        }
    }
    let world = World::of(known.clone());
    let bring_again = |known: &Known| bring(idem, &world, known.order.clone());
    let answers = join_all(calls.iter().map(|(known, _)| bring_again(known))).await;
    for ((known, verdict), answer) in calls.into_iter().zip(answers) {
        match (answer, known.said) {
            (Err(Trouble::Idem(Error::Ledger { source, .. })), _) => {
                notice(&source);
                continue;
            }
            (Ok(result), _) if result != known.order.result() => {
                return Err(format!("another result: {known:?}"));
            }
            (Ok(_), Said::Done) => {}
            (answer, Said::Done) => return Err(format!("a result is gone: {answer:?}, {known:?}")),
            (Err(Trouble::Idem(Error::DeadLettered { .. })), _) => {}
            (Err(Trouble::Idem(error)), _) => return Err(format!("{error:#}: {known:?}")),
            (_, Said::Dead(_)) if known.asked == Some(Asked::Redrive) => {}
            (answer, Said::Dead(_) | Said::Discarded(_)) => {
                return Err(format!("it is dead no more: {answer:?}, {known:?}"));
            }
            _ => {}
        }
        if let Err(loss) = verdict {
            return Err(format!("{loss}: {known:?}"));
        }
    }
    match world.wrong().pop() {
        Some(wrong) => Err(wrong),
        None => Ok(()),
    }
}

/// Compares a record with what is known of it.
fn expect(
    known: &Known,
    record: Option<&Record>,
    letters: Option<&HashMap<DeadLetterId, DeadLetter>>,
) -> Result<(), String> {
    let no = |what: &str| Err(format!("{what}; the record is {record:?}"));
    let attempt = match record {
        None => 0,
        Some(Record::Settled(settled)) => settled.attempts,
        Some(Record::Live(live)) => match live.phase {
            Phase::Running { number, .. } => number,
            Phase::Waiting { .. } => live.past.len() as u32,
        },
    };
    let end = match record {
        Some(Record::Settled(settled)) => Some(&settled.end),
        _ => None,
    };
    let letter = |id: DeadLetterId, states: &[LetterState]| match letters {
        None => Ok(()),
        Some(letters) => match letters.get(&id) {
            Some(letter) if states.contains(&letter.state) => Ok(()),
            other => no(&format!(
                "the letter {id} is {:?}, not {states:?}",
                other.map(|letter| letter.state)
            )),
        },
    };
    match (known.said, known.asked) {
        (Said::Done, _) if !matches!(end, Some(Settlement::Done(_))) => no("its result is gone"),
        (Said::Dead(id), asked) => {
            let states = match asked {
                Some(Asked::Redrive) => [LetterState::Open, LetterState::Redriven],
                Some(Asked::Discard) => [LetterState::Open, LetterState::Discarded],
                _ => [LetterState::Open; 2],
            };
            match (id, end) {
                (Some(id), Some(Settlement::Dead(held) | Settlement::Discarded(held)))
                    if *held != id =>
                {
                    no("it has another letter")
                }
                (_, Some(Settlement::Dead(_) | Settlement::Discarded(_))) => {
                    id.map_or(Ok(()), |id| letter(id, &states))
                }
                (Some(id), _) if asked == Some(Asked::Redrive) => {
                    letter(id, &[LetterState::Redriven])
                }
                _ => no("it is dead no more"),
            }
        }
        (Said::Discarded(id), _) if matches!(end, Some(Settlement::Discarded(held)) if *held == id) => {
            letter(id, &[LetterState::Discarded])
        }
        (Said::Discarded(_), _) => no("it is discarded no more"),
        (Said::Redriven(id), _) if attempt >= known.attempt => letter(id, &[LetterState::Redriven]),
        (Said::Redriven(_) | Said::Nothing | Said::Failed(_), _) if attempt < known.attempt => {
            no("an attempt is forgotten")
        }
        _ => Ok(()),
    }
}

/// Every letter, page by page, as the list has it and as it is read alone.
async fn letters(idem: &Idem) -> Result<HashMap<DeadLetterId, DeadLetter>, LedgerError> {
    let (letters, mut all) = (idem.dead_letters(), HashMap::new());
    let mut filter = Filter::default().any_state();
    loop {
        let page = letters.list(&filter).await?;
        let Some(last) = page.last() else {
            return Ok(all);
        };
        filter = filter.after(last.id);
        for letter in page {
            if let Some(alone) = letters.get(&letter.id).await? {
                all.insert(letter.id, alone);
            }
        }
    }
}

/// An error's beginning, without its numbers and the folder's name.
fn kind(problem: &LedgerError) -> String {
    let text = match problem {
        LedgerError::Behind { .. } => "acknowledged groups are missing".to_owned(),
        LedgerError::Damaged { detail, .. } => format!("damaged: {detail}"),
        LedgerError::Poisoned { detail, .. } => format!("poisoned: {detail}"),
        other => other.to_string(),
    };
    let mut words: String = text
        .chars()
        .map(|c| if c.is_ascii_digit() { '#' } else { c })
        .take(160)
        .collect();
    while words.contains("##") {
        words = words.replace("##", "#");
    }
    words
}
