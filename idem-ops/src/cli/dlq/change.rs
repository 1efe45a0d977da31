//! `idem dlq edit`, `discard` and `restore`: changes that a letter's history keeps.

use idem_runtime::DeadLetterId;
use serde::Serialize;

use super::bulk;
use super::choose::Choice;
use crate::cli::args::{Discard, Edit, Restore};
use crate::cli::out::Out;
use crate::cli::problem::{Exit, Problem};
use crate::cli::progress::bar;
use crate::cli::target::Target;
use crate::cli::{ask, editor, out, shown};
use crate::service::{BulkAction, NewBulkJob};

/// What came of a restore of many letters.
#[derive(Debug, Default, Serialize)]
struct Restored {
    /// Letters that are open again.
    done: Vec<DeadLetterId>,
    /// Letters that are not, and why.
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

pub(super) async fn discard(
    discard: Discard,
    target: &dyn Target,
    out: Out,
) -> Result<(), Problem> {
    let Discard {
        selection,
        rate,
        no_wait,
        why,
        yes,
    } = discard;
    bulk::may_leave(no_wait, target)?;
    let choice = Choice::from(selection);
    let (count, what) = choice.count(target).await?;
    if count == 0 {
        return out.answer(&serde_json::Value::Null, |_| what);
    }
    let why = ask::why(why, "are they discarded")?;
    ask::confirm(
        &format!("Discard {what}? Their messages will not run again."),
        yes,
    )?;
    match choice {
        Choice::Ids(ids) if ids.len() == 1 => {
            let view = target.discard(ids[0], &why).await?;
            out.answer(&view, |_| "1 letter is discarded".to_owned())
        }
        choice => {
            let selection = choice.into_selection();
            bulk::run(
                NewBulkJob {
                    selection,
                    action: BulkAction::Discard,
                    rate,
                    why,
                },
                no_wait,
                target,
                out,
            )
            .await
        }
    }
}

pub(super) async fn restore(
    restore: Restore,
    target: &dyn Target,
    out: Out,
) -> Result<(), Problem> {
    let Restore { ids, why } = restore;
    let why = ask::why(why, "are they restored")?;
    let restored = each(&ids, &why, target).await;
    tell(&restored, out)
}

/// Restores one letter after the other. That one cannot be restored does not keep the others from
/// it; that nothing can be reached any more does.
async fn each(ids: &[DeadLetterId], why: &str, target: &dyn Target) -> Restored {
    let progress = bar(ids.len() as u64, "Restoring");
    let mut restored = Restored::default();
    for id in ids {
        match target.restore(*id, why).await {
            Ok(_) => restored.done.push(*id),
            Err(Problem::Told(exit, error)) => {
                restored.failed.push(Failure { letter: *id, error });
                restored.broken_off = exit == Exit::Unreachable;
            }
            Err(_) => restored.broken_off = true,
        }
        if restored.broken_off {
            break;
        }
        progress.inc(1);
    }
    progress.finish_and_clear();
    restored
}

fn tell(restored: &Restored, out: Out) -> Result<(), Problem> {
    let letters = if restored.done.len() == 1 {
        "letter is"
    } else {
        "letters are"
    };
    out.answer(restored, |_| {
        format!("{} {letters} open again", restored.done.len())
    })?;
    for Failure { letter, error } in &restored.failed {
        out::note(&format!("idem: letter {letter}: {}", shown::line(error)));
    }
    match restored {
        Restored {
            broken_off: true, ..
        } => Err(Problem::Said(Exit::Unreachable)),
        Restored { failed, .. } if failed.is_empty() => Ok(()),
        _ => Err(Problem::Said(Exit::Failed)),
    }
}
