//! The page of what happened to one key.

use std::collections::BTreeSet;

use askama::Template;
use axum::extract::State;
use axum::http::request::Parts;
use idem_runtime::{DeadLetterId, LetterState, clock::Timestamp};

use super::error::PageError;
use super::forms::Fields;
use super::letter::outcome;
use super::page::{Answer, Page, Tab, show as answer};
use super::session_guard::Visit;
use super::state::Dashboard;
use crate::service::{EventKind, KeyState, LetterQuery, StateFilter, StatsQuery, Timeline};

#[derive(Template)]
#[template(path = "dashboard/timeline.html")]
struct Timelines {
    page: Page,
    key: String,
    handler: String,
    timelines: Vec<Timeline>,
}

/// One event, in words.
struct Event {
    at: Timestamp,
    letter: Option<DeadLetterId>,
    tone: &'static str,
    what: String,
    text: Option<String>,
}

pub(super) async fn show(State(dashboard): State<Dashboard>, visit: Visit, parts: Parts) -> Answer {
    let fields = Fields::from_query(&parts);
    fields.require("key", "The idempotency key")?;
    let key = fields.raw("key").unwrap_or_default().to_owned();
    let handler = fields.get("handler").unwrap_or_default().to_owned();
    let handlers = if handler.is_empty() {
        handlers(&dashboard, &key).await?
    } else {
        [handler.clone()].into()
    };
    let mut timelines = Vec::new();
    for handler in handlers {
        let timeline = dashboard.service.explain(&handler, &key).await?;
        if timeline.now != KeyState::Absent || !timeline.events.is_empty() {
            timelines.push(timeline);
        }
    }
    answer(&Timelines {
        page: Page::new(&dashboard, &visit, Tab::Timeline),
        key,
        handler,
        timelines,
    })
}

/// Returns the handlers that may know the key: those that ran since the start, and those of its
/// letters.
async fn handlers(dashboard: &Dashboard, key: &str) -> Result<BTreeSet<String>, PageError> {
    let stats = dashboard
        .service
        .stats(&StatsQuery { minutes: Some(1) })
        .await?;
    let of_key = LetterQuery {
        key: Some(key.to_owned()),
        state: StateFilter::Any,
        ..LetterQuery::default()
    };
    let letters = dashboard.service.letters(&of_key).await?;
    let ran = stats
        .calls
        .into_iter()
        .chain(stats.attempts)
        .map(|count| count.handler);
    Ok(ran
        .chain(letters.letters.into_iter().map(|letter| letter.handler))
        .collect())
}

impl Timelines {
    fn now(&self, timeline: &Timeline) -> String {
        match &timeline.now {
            KeyState::Absent => "The ledger has no record of it now: the next call runs.".into(),
            KeyState::Running {
                attempt, of, owner, ..
            } => {
                format!("It is running now: attempt {attempt} of at most {of}, in {owner}.")
            }
            KeyState::Waiting {
                attempts,
                of,
                until,
            } => {
                format!(
                    "It waits for its next attempt, not before {}: {attempts} of at most {of} have failed.",
                    time(*until)
                )
            }
            KeyState::Done {
                at,
                forgotten_at,
                result_bytes: 0,
                ..
            } => format!(
                "It was done at {}. Its result was erased, and duplicates do not run until {}.",
                time(*at),
                time(*forgotten_at)
            ),
            KeyState::Done {
                at,
                attempts,
                forgotten_at,
                result_bytes,
                ..
            } => format!(
                "It was done at {} in attempt {attempts}. Duplicates get its result ({result_bytes} bytes) until {}.",
                time(*at),
                time(*forgotten_at)
            ),
            KeyState::Dead { at, .. } => format!(
                "It has been dead since {}, and waits for a person.",
                time(*at)
            ),
            KeyState::Discarded {
                at, forgotten_at, ..
            } => {
                format!(
                    "A person discarded it at {}. Duplicates do not run until {}.",
                    time(*at),
                    time(*forgotten_at)
                )
            }
        }
    }

    /// Returns the letter of the key's state.
    fn open(&self, timeline: &Timeline) -> Option<DeadLetterId> {
        match timeline.now {
            KeyState::Dead { letter, .. } | KeyState::Discarded { letter, .. } => Some(letter),
            _ => None,
        }
    }

    fn result(&self, timeline: &Timeline) -> Option<String> {
        let KeyState::Done {
            result: Some(result),
            ..
        } = &timeline.now
        else {
            return None;
        };
        Some(format!("{result:#}"))
    }

    fn events(&self, timeline: &Timeline) -> Vec<Event> {
        timeline
            .events
            .iter()
            .map(|event| in_words(event.at, event.letter, &event.what))
            .collect()
    }
}

fn in_words(at: Timestamp, letter: Option<DeadLetterId>, what: &EventKind) -> Event {
    let (tone, what, text) = match what {
        EventKind::Issued { issuer, until } => (
            "",
            format!(
                "The key was issued by {issuer}, to be used by {}",
                until.strftime("%Y-%m-%d %H:%M:%S")
            ),
            None,
        ),
        EventKind::Came => ("", "The message came".to_owned(), None),
        EventKind::Started { attempt } => ("", format!("Attempt {attempt} began"), None),
        EventKind::Ended {
            attempt,
            outcome: how,
            error,
            reported,
        } => {
            let unknown = if *reported {
                ""
            } else {
                "; its end was not reported"
            };
            (
                if *reported { "bad" } else { "warn" },
                format!("Attempt {attempt} {}{unknown}", outcome(*how)),
                error.clone(),
            )
        }
        EventKind::Died { reason } => ("bad", format!("It became a dead letter: {reason}"), None),
        EventKind::Refused { reason, error } => (
            "warn",
            format!("Another message with this key became a dead letter: {reason}"),
            error.clone(),
        ),
        EventKind::Redriven { who, why } => ("", by("redrove it", who.as_deref()), why.clone()),
        EventKind::Discarded { who, why } => ("", by("discarded it", who.as_deref()), why.clone()),
        EventKind::Restored { who, why } => {
            ("", by("undid the discard", who.as_deref()), why.clone())
        }
        EventKind::Edited { who, why } => {
            ("", by("changed its payload", who.as_deref()), why.clone())
        }
        EventKind::Erased { who, why } => {
            ("", by("erased its content", who.as_deref()), why.clone())
        }
        EventKind::Done { attempts } => {
            ("good", format!("It was done in attempt {attempts}"), None)
        }
    };
    Event {
        at,
        letter,
        tone,
        what,
        text,
    }
}

fn by(did: &str, who: Option<&str>) -> String {
    format!("{} {did}", who.unwrap_or("A person"))
}

fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S").to_string()
}
