//! `idem dlq edit`, `discard` and `restore`: changes that a letter's history keeps.

use idem_runtime::DeadLetterId;
use serde::Serialize;

use super::bulk;
use super::choose::Choice;
use crate::args::{Discard, Edit, Many, Restore};
use crate::out::Out;
use crate::problem::{Exit, Problem};
use crate::progress::bar;
use crate::target::Target;
use crate::{editor, format, out, prompt};
use idem_ops::service::{BulkAction, BulkEstimate, NewBulkJob};

/// The outcome of a restore of many letters.
#[derive(Debug, Default, Serialize)]
struct Restored {
    /// Letters that are open again.
    done: Vec<DeadLetterId>,
    /// Letters that are not, and why.
    failed: Vec<Failure>,
    /// Whether the rest was not tried, because the service cannot be reached any more.
    broken_off: bool,
}

#[derive(Debug, Serialize)]
struct Failure {
    letter: DeadLetterId,
    error: String,
}

pub(super) async fn edit(edit: Edit, target: &Target, out: Out) -> Result<(), Problem> {
    let Edit {
        id,
        payload,
        reason,
    } = edit;
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
    let why = prompt::why(reason, "is it edited")?;
    let view = target.edit(id, payload, &why).await?;
    out.answer(&view, |_| match view.redacted.as_slice() {
        [] if target.runs() => {
            format!("letter {id} is edited; `idem dlq redrive {id}` runs it as it stands now")
        }
        [] => format!(
            "letter {id} is edited; a redrive on its service (`--url`) runs it as it stands now. Here it re-arms the key, \
             and the next call brings its own content"
        ),
        missing => format!(
            "letter {id} is edited; {} is not stored: `idem dlq redrive {id} --payload FILE` on its service runs it with that \
             filled in",
            format::paths(missing)
        ),
    })
}

pub(super) async fn discard(discard: Discard, target: &Target, out: Out) -> Result<(), Problem> {
    let Discard { many, rate } = discard;
    let Many {
        selection,
        no_wait,
        reason,
        yes,
    } = many;
    bulk::may_leave(no_wait, target)?;
    let choice = Choice::from(selection);
    let (count, what) = choice.count(target).await?;
    if count == 0 {
        return out.answer(&serde_json::Value::Null, |_| what);
    }
    let why = prompt::why(reason, "are they discarded")?;
    if choice.single().is_none() {
        out::note(&BulkEstimate::new(count, rate).to_string());
    }
    prompt::confirm(
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

pub(super) async fn restore(restore: Restore, target: &Target, out: Out) -> Result<(), Problem> {
    let Restore { ids, reason } = restore;
    let why = prompt::why(reason, "are they restored")?;
    let restored = each(&ids, &why, target).await;
    tell(&restored, out)
}

/// Restores one letter after the other. It goes on past a letter that cannot be restored, and stops
/// when the service cannot be reached.
async fn each(ids: &[DeadLetterId], why: &str, target: &Target) -> Restored {
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
        out::note(&format!("idem: letter {letter}: {}", format::line(error)));
    }
    match restored {
        Restored {
            broken_off: true, ..
        } => Err(Problem::Said(Exit::Unreachable)),
        Restored { failed, .. } if failed.is_empty() => Ok(()),
        _ => Err(Problem::Said(Exit::Failed)),
    }
}
