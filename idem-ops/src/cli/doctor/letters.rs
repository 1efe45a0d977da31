//! What waits for somebody.

use idem_runtime::Idem;

use super::{Checkup, Kind};
use crate::cli::problem::Problem;
use crate::cli::target::{Target, whole_page};
use crate::service::{KeyState, LONGEST_PAGE, LetterQuery, StateFilter};

/// So many letters are looked at one by one; more would only say the same louder.
const MANY: usize = 500;

/// Open letters, and redrives that nothing has come of.
pub(super) async fn look(target: &dyn Target, checkup: &mut Checkup) -> Result<(), Problem> {
    let open = whole_page(target, &LetterQuery { limit: Some(1), ..LetterQuery::default() }).await?.total;
    match open {
        0 => checkup.well("no open letters"),
        open => checkup.wrong(
            Kind::OpenLetters,
            format!(
                "{}: their messages will not run again by themselves",
                some(open, "letter is open", "letters are open")
            ),
            "look at the causes with `idem dlq list --groups`, then `idem dlq redrive` or `idem dlq discard`",
        ),
    }
    unsettled(target, checkup).await
}

/// Keys that were re-armed and that nobody has called since.
async fn unsettled(target: &dyn Target, checkup: &mut Checkup) -> Result<(), Problem> {
    let query =
        LetterQuery { state: StateFilter::Redriven, limit: Some(MANY.min(LONGEST_PAGE)), ..LetterQuery::default() };
    let mut waiting = Vec::new();
    let page = whole_page(target, &query).await?;
    let at_least = if page.next.is_some() { "at least " } else { "" };
    for letter in page.letters {
        let story = target.explain(&letter.handler, &letter.key).await?;
        if matches!(story.now, KeyState::Waiting { attempts: 0, .. }) {
            waiting.push(letter);
        }
    }
    let (Some(first), count) = (waiting.last(), waiting.len() as u64) else {
        checkup.well("no re-armed key waits for its call");
        return Ok(());
    };
    let since = first.closed_at.unwrap_or(first.died_at);
    checkup.wrong(
        Kind::UnsettledRedrives,
        format!(
            "{at_least}{}, and nobody has called since: `{}` of `{}` since {since:.0}",
            some(count, "key was re-armed", "keys were re-armed"),
            first.key,
            first.handler
        ),
        "publish their messages again; when nobody calls within the handler's time to live, they are dead letters again",
    );
    Ok(())
}

/// Letters that the ledger notes as untold: no monitor has sent them to anybody.
pub(super) async fn untold(idem: &Idem, checkup: &mut Checkup) -> Result<(), Problem> {
    let notes =
        idem.notes().list("untold/", None, MANY + 1).await.map_err(|error| Problem::failed(error.to_string()))?;
    let mut untold = 0_u64;
    for note in &notes {
        let Some(id) = note.key.strip_prefix("untold/").and_then(|id| id.parse().ok()) else { continue };
        let letter = idem.dead_letters().get(&id).await.map_err(|error| Problem::failed(error.to_string()))?;
        // Nobody needs to be told of what somebody has closed.
        untold += u64::from(letter.is_some_and(|letter| letter.state == idem_runtime::LetterState::Open));
    }
    if untold == 0 {
        checkup.well("no open letter is untold");
        return Ok(());
    }
    let at_least = if notes.len() > MANY { "at least " } else { "" };
    checkup.wrong(
        Kind::UntoldLetters,
        format!("of {at_least}{} nobody has been told", some(untold, "open letter", "open letters")),
        "let a monitor run beside the service, with a channel for alerts",
    );
    Ok(())
}

fn some(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}
