//! `idem dlq edit`, `discard` and `restore`: changes that a letter's history keeps.

use std::future::Future;
use std::time::Duration;

use idem_runtime::DeadLetterId;
use serde::Serialize;
use tokio::time::{MissedTickBehavior, interval};

use super::choose::Choice;
use crate::cli::args::{Discard, Edit, Restore};
use crate::cli::out::Out;
use crate::cli::problem::{Exit, Problem};
use crate::cli::progress::bar;
use crate::cli::target::Target;
use crate::cli::{ask, editor, out, shown};
use crate::service::LetterView;

/// What came of a change of many letters.
#[derive(Debug, Default, Serialize)]
struct Changed {
    /// Letters that were changed.
    done: Vec<DeadLetterId>,
    /// Letters that were not, and why.
    failed: Vec<Failure>,
    /// Whether the rest was not tried, because nobody answers any more.
    broken_off: bool,
}

#[derive(Debug, Serialize)]
struct Failure {
    letter: DeadLetterId,
    error: String,
}

pub(super) async fn edit(edit: Edit, target: &dyn Target, out: Out) -> Result<(), Problem> {
    let Edit { id, payload, why } = edit;
    let letter = target.letter(id).await?.letter;
    let payload = match payload {
        Some(file) => editor::read(&file)?,
        None => match editor::edit(&letter.payload)? {
            Some(payload) => payload,
            None => {
                out::note("the payload is as it was: nothing was changed");
                return out.answer(&target.letter(id).await?, |_| String::new());
            }
        },
    };
    let why = ask::why(why, "is it edited")?;
    let view = target.edit(id, payload, &why).await?;
    out.answer(&view, |_| match view.redacted.as_slice() {
        [] => format!("letter {id} is edited; `idem dlq redrive {id}` runs it as it stands now"),
        missing => format!(
            "letter {id} is edited; {} is not stored: `idem dlq redrive {id} --payload FILE` on its service runs it with that \
             filled in",
            shown::paths(missing)
        ),
    })
}

pub(super) async fn discard(discard: Discard, target: &dyn Target, out: Out) -> Result<(), Problem> {
    let Discard { selection, rate, why, yes } = discard;
    let choice = Choice::from(selection);
    let (count, what) = choice.count(target).await?;
    if count == 0 {
        return out.answer(&Changed::default(), |_| what);
    }
    let why = ask::why(why, "are they discarded")?;
    ask::confirm(&format!("Discard {what}? Their messages will not run again."), yes)?;
    let ids = choice.ids(target).await?;
    let changed = each(&ids, rate, "Discarding", |id| target.discard(id, &why)).await;
    tell(&changed, "discarded", out)
}

pub(super) async fn restore(restore: Restore, target: &dyn Target, out: Out) -> Result<(), Problem> {
    let Restore { ids, why } = restore;
    let why = ask::why(why, "are they restored")?;
    let changed = each(&ids, f64::INFINITY, "Restoring", |id| target.restore(id, &why)).await;
    tell(&changed, "open again", out)
}

/// Changes one letter after the other. That one cannot be changed does not keep the others from it; that nothing can be
/// reached any more does.
async fn each<'a, F>(ids: &[DeadLetterId], rate: f64, what: &'static str, change: impl Fn(DeadLetterId) -> F) -> Changed
where
    F: Future<Output = Result<LetterView, Problem>> + 'a,
{
    let progress = bar(ids.len() as u64, what);
    let mut pace = rate.is_finite().then(|| interval(Duration::from_secs_f64(1.0 / rate)));
    if let Some(pace) = &mut pace {
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    }
    let mut changed = Changed::default();
    for id in ids {
        if let Some(pace) = &mut pace {
            pace.tick().await;
        }
        match change(*id).await {
            Ok(_) => changed.done.push(*id),
            Err(Problem::Told(exit, error)) => {
                changed.failed.push(Failure { letter: *id, error });
                changed.broken_off = exit == Exit::Unreachable;
            }
            Err(_) => changed.broken_off = true,
        }
        if changed.broken_off {
            break;
        }
        progress.inc(1);
    }
    progress.finish_and_clear();
    changed
}

fn tell(changed: &Changed, done: &str, out: Out) -> Result<(), Problem> {
    let letters = if changed.done.len() == 1 { "letter is" } else { "letters are" };
    out.answer(changed, |_| format!("{} {letters} {done}", changed.done.len()))?;
    for Failure { letter, error } in &changed.failed {
        out::note(&format!("idem: letter {letter}: {}", shown::line(error)));
    }
    match changed {
        Changed { broken_off: true, .. } => Err(Problem::Said(Exit::Unreachable)),
        Changed { failed, .. } if failed.is_empty() => Ok(()),
        _ => Err(Problem::Said(Exit::Failed)),
    }
}
