//! `idem explain`: what happened to one message.

use std::fmt::Write as _;

use comfy_table::{Cell, Color};

use super::args::Explain;
use super::format::{self, line};
use super::out::Out;
use super::problem::Problem;
use super::target::Target;
use idem_ops::service::{Event, EventKind, KeyState, Timeline};

pub(crate) async fn run(what: &Explain, target: &Target, out: Out) -> Result<(), Problem> {
    let story = target.explain(&what.handler, &what.key).await?;
    let text = page(&story, out)?;
    out.answer(&story, |_| text)
}

fn page(story: &Timeline, out: Out) -> Result<String, Problem> {
    let mut text = format!(
        "Handler  {}\nKey      {}\nNow      {}\n",
        line(&story.handler),
        line(&story.key),
        now(&story.now)
    );
    if let KeyState::Done {
        result: Some(result),
        ..
    } = &story.now
    {
        let _ = writeln!(text, "\nResult\n{}", format::json(result, true)?);
    }
    if !story.events.is_empty() {
        let mut table = out.table([
            ("When", false),
            ("What", false),
            ("", false),
            ("Letter", false),
        ]);
        for event in &story.events {
            let (what, detail) = told(event);
            table.add_row(vec![
                Cell::new(format!("{:.3}", event.at)),
                Cell::new(what),
                if is_bad(event) {
                    out.cell(detail, Color::Red)
                } else {
                    Cell::new(detail)
                },
                Cell::new(
                    event
                        .letter
                        .map(|letter| letter.to_string())
                        .unwrap_or_default(),
                ),
            ]);
        }
        let _ = writeln!(text, "\n{table}");
    }
    if story.at_least {
        let _ = writeln!(
            text,
            "\nLetters that are older than those in the index were not looked through: `idem dlq list --key`"
        );
    }
    Ok(text)
}

fn now(state: &KeyState) -> String {
    match state {
        KeyState::Absent => {
            "nothing is known: it never came, was re-armed, or its time to live has passed; its next call runs"
                .to_owned()
        }
        KeyState::Running { attempt, of, since, owner } => {
            format!("attempt {attempt} of {of} is running since {since:.0}, in {}", line(owner))
        }
        KeyState::Waiting { attempts: 0, .. } => "re-armed: its next call runs".to_owned(),
        KeyState::Waiting { attempts, of, until } => {
            format!("{attempts} of {of} attempts failed; the next one may start at {until:.0}")
        }
        KeyState::Done { at, forgotten_at, result_bytes: 0, .. } => {
            format!("done at {at:.0}; its result was erased, and duplicates do not run until {forgotten_at:.0}")
        }
        KeyState::Done { at, attempts, forgotten_at, result_bytes, .. } => format!(
            "done at {at:.0} in {attempts} {}; duplicates get its result of {result_bytes} bytes until {forgotten_at:.0}",
            if *attempts == 1 { "attempt" } else { "attempts" },
        ),
        KeyState::Dead { at, letter } => format!("dead since {at:.0}: letter {letter} waits for a person"),
        KeyState::Discarded { at, letter, forgotten_at, .. } => {
            format!("letter {letter} was discarded at {at:.0}; duplicates do not run until {forgotten_at:.0}")
        }
        _ => "in a state that this `idem` does not know".to_owned(),
    }
}

fn is_bad(event: &Event) -> bool {
    matches!(
        event.what,
        EventKind::Ended { .. } | EventKind::Died { .. } | EventKind::Refused { .. }
    )
}

fn told(event: &Event) -> (String, String) {
    match &event.what {
        EventKind::Issued { issuer, until } => (
            "issued".to_owned(),
            format!("by {}, to be used by {until:.0}", line(issuer)),
        ),
        EventKind::Came => ("came".to_owned(), String::new()),
        EventKind::Started { attempt } => (format!("attempt {attempt} began"), String::new()),
        EventKind::Ended {
            attempt,
            outcome,
            error,
            reported,
        } => {
            let error = error
                .as_deref()
                .map(|error| format!(": {}", format::lines(error)))
                .unwrap_or_default();
            let unseen = if *reported {
                ""
            } else {
                " (its end was not reported)"
            };
            (
                format!("attempt {attempt} ended"),
                format!("{outcome}{unseen}{error}"),
            )
        }
        EventKind::Died { reason } => ("became a dead letter".to_owned(), reason.to_string()),
        EventKind::Refused { reason, error } => {
            let error = error
                .as_deref()
                .map(|error| format!(": {}", format::lines(error)))
                .unwrap_or_default();
            (
                "another message with this key became a dead letter".to_owned(),
                format!("{reason}{error}"),
            )
        }
        EventKind::Redriven { who, why } => {
            ("redriven".to_owned(), by(who.as_deref(), why.as_deref()))
        }
        EventKind::Discarded { who, why } => {
            ("discarded".to_owned(), by(who.as_deref(), why.as_deref()))
        }
        EventKind::Restored { who, why } => {
            ("restored".to_owned(), by(who.as_deref(), why.as_deref()))
        }
        EventKind::Edited { who, why } => (
            "payload edited".to_owned(),
            by(who.as_deref(), why.as_deref()),
        ),
        EventKind::Erased { who, why } => (
            "content erased".to_owned(),
            by(who.as_deref(), why.as_deref()),
        ),
        EventKind::Done { attempts } => ("done".to_owned(), format!("attempts: {attempts}")),
        _ => (
            "something that this `idem` does not know".to_owned(),
            String::new(),
        ),
    }
}

fn by(who: Option<&str>, why: Option<&str>) -> String {
    let who = who.map(|who| format!("by {}", line(who)));
    let why = why.map(line);
    [who, why]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join(": ")
}
