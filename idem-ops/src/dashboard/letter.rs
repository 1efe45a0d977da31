//! The page of one letter, with its actions.

use std::borrow::Cow;

use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use idem_runtime::{
    DeadLetter, LetterState,
    clock::Timestamp,
    dead_letters::{ActionKind, AttemptOutcome, PastAttempt},
};

use super::error::PageError;
use super::forms::{Fields, letter_id};
use super::page::{Answer, Page, Tab, show as answer};
use super::plot::Unit;
use super::render::filters;
use super::session_guard::Visit;
use super::state::Dashboard;
use crate::service::LetterView;

#[derive(Template)]
#[template(path = "dashboard/letter.html")]
struct Letter<'a> {
    page: Page,
    view: &'a LetterView,
    letter: &'a DeadLetter,
    payload: String,
    rows: usize,
    /// The problem of the payload that was typed.
    bad_payload: Option<String>,
    edit_why: String,
    /// Whether it can be run once the missing parts are filled in.
    has_handler: bool,
    causes: Vec<&'a str>,
    attempts: Vec<Attempt<'a>>,
    timeline: String,
    group: String,
}

struct Attempt<'a> {
    number: u32,
    start: Timestamp,
    outcome: Cow<'static, str>,
    tone: &'static str,
    took: String,
    pause: Option<String>,
    error: Option<&'a str>,
}

/// A payload that was typed and refused: it is shown again with the problem.
pub(super) struct Typed {
    pub payload: String,
    pub why: String,
    pub problem: String,
}

pub(super) async fn show(
    State(dashboard): State<Dashboard>,
    visit: Visit,
    Path(id): Path<String>,
) -> Answer {
    let view = dashboard.service.letter(&letter_id(&id)?).await?;
    page(&dashboard, &visit, &view, None)
}

/// Shows the page again with what was typed.
pub(super) fn show_again(
    dashboard: &Dashboard,
    visit: &Visit,
    view: &LetterView,
    typed: Typed,
) -> Result<Response, PageError> {
    Ok((
        StatusCode::UNPROCESSABLE_ENTITY,
        page(dashboard, visit, view, Some(typed))?,
    )
        .into_response())
}

fn page(dashboard: &Dashboard, visit: &Visit, view: &LetterView, typed: Option<Typed>) -> Answer {
    let letter = &view.letter;
    let (payload, edit_why, bad_payload) = match typed {
        Some(Typed {
            payload,
            why,
            problem,
        }) => (payload, why, Some(problem)),
        None => (format!("{:#}", letter.payload), String::new(), None),
    };
    answer(&Letter {
        page: Page::new(dashboard, visit, Tab::Letters),
        rows: payload.lines().count().clamp(8, 30),
        payload,
        bad_payload,
        edit_why,
        has_handler: dashboard.service.idem().can_run(letter),
        causes: letter.last_error().map(causes).unwrap_or_default(),
        attempts: attempts(letter),
        timeline: Fields::query(&[
            ("key", Some(&letter.key)),
            ("handler", Some(&letter.handler)),
        ]),
        group: Fields::query(&[
            ("handler", Some(&letter.handler)),
            ("error", Some(&view.kind)),
        ]),
        letter,
        view,
    })
}

/// Splits an error into its causes, as `{:#}` joins them.
fn causes(error: &str) -> Vec<&str> {
    error.split(": ").collect()
}

fn attempts(letter: &DeadLetter) -> Vec<Attempt<'_>> {
    let before = [None].into_iter().chain(letter.attempts.iter().map(Some));
    letter
        .attempts
        .iter()
        .zip(before)
        .map(|(attempt, before)| describe(attempt, before))
        .collect()
}

fn describe<'a>(attempt: &'a PastAttempt, before: Option<&PastAttempt>) -> Attempt<'a> {
    let pause = before
        .and_then(|before| before.end)
        .map(|end| between(end, attempt.start));
    Attempt {
        number: attempt.number,
        start: attempt.start,
        outcome: match attempt.outcome {
            AttemptOutcome::Outage => attempt.summary().into(),
            other => outcome(other).into(),
        },
        tone: if attempt.outcome.is_unknown() {
            "warn"
        } else {
            "bad"
        },
        took: attempt
            .end
            .map_or("its end was not reported".into(), |end| {
                format!("took {}", between(attempt.start, end))
            }),
        pause,
        error: attempt.error.as_deref(),
    }
}

/// Returns how an attempt ended, in words.
pub(super) fn outcome(outcome: AttemptOutcome) -> &'static str {
    match outcome {
        AttemptOutcome::Failed => "failed",
        AttemptOutcome::Permanent => "failed for good",
        AttemptOutcome::Panicked => "panicked",
        AttemptOutcome::TimedOut => "timed out",
        AttemptOutcome::Dropped => "was dropped",
        AttemptOutcome::Crashed => "ended with the process",
        AttemptOutcome::LeaseLapsed => "lost its lease",
        AttemptOutcome::Outage => "met an outage",
        AttemptOutcome::ResultNotStorable => "gave a result that cannot be recorded",
        other => other.as_str(),
    }
}

fn between(start: Timestamp, end: Timestamp) -> String {
    Unit::Seconds.show(end.duration_since(start).as_secs_f64().max(0.0))
}
