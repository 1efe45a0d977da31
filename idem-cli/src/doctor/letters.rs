//! The letters and alerts that wait for a person.

use super::{Checkup, Kind};
use crate::problem::Problem;
use crate::target::{Target, whole_page};
use idem_ops::service::{KeyState, LONGEST_PAGE, LetterQuery, StateFilter};

/// The most letters that are looked at one by one.
const MANY: usize = 500;

/// Looks for open letters, redrives without a call, and alerts that do not arrive.
pub(super) async fn look(target: &Target, checkup: &mut Checkup) -> Result<(), Problem> {
    let open = whole_page(
        target,
        &LetterQuery {
            limit: Some(1),
            ..LetterQuery::default()
        },
    )
    .await?
    .total;
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
    unsettled(target, checkup).await?;
    alerts(target, checkup).await
}

/// Looks for keys that were re-armed and not called since.
async fn unsettled(target: &Target, checkup: &mut Checkup) -> Result<(), Problem> {
    let query = LetterQuery {
        state: StateFilter::Redriven,
        limit: Some(MANY.min(LONGEST_PAGE)),
        ..LetterQuery::default()
    };
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
            "{at_least}{}, and not called since: `{}` of `{}` since {since:.0}",
            some(count, "key was re-armed", "keys were re-armed"),
            first.key,
            first.handler
        ),
        "publish their messages again; without a call within the handler's time to live, they are dead letters again",
    );
    Ok(())
}

/// Looks for letters in no notice, and for channels that fail.
async fn alerts(target: &Target, checkup: &mut Checkup) -> Result<(), Problem> {
    let state = target.alerts().await?;
    let at_least = if state.more_untold { "at least " } else { "" };
    match state.untold {
        0 if state.more_untold => {
            checkup.well("the oldest letters that are in no notice are all closed");
        }
        0 => checkup.well("every open letter is in a notice to people"),
        untold => checkup.wrong(
            Kind::UntoldLetters,
            format!(
                "{at_least}{} in no notice to people",
                some(untold, "open letter is", "open letters are")
            ),
            "let a monitor run beside the service, with a channel for alerts",
        ),
    }
    for channel in state.failing() {
        let since = channel
            .failing_since
            .map(|since| format!(" since {since:.0}"))
            .unwrap_or_default();
        let why = channel.last_error.as_deref().unwrap_or("no error is known");
        checkup.wrong(
            Kind::FailingChannel,
            format!(
                "alerts through `{}` have failed{since}, and {}: {why}",
                channel.name,
                some(channel.waiting, "notice waits", "notices wait")
            ),
            "repair the channel: a monitor that has it retries by itself, and no notice is lost",
        );
    }
    if state.failing().next().is_none() {
        checkup.well("no channel for alerts fails");
    }
    Ok(())
}

fn some(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}
