//! The groups of open letters, and the page of one group.

use askama::Template;
use axum::extract::State;
use axum::http::request::Parts;
use idem_runtime::LetterState;

use super::bulk::proposed;
use super::forms::Fields;
use super::page::{Answer, Page, Tab, show as answer};
use super::render::filters;
use super::session_guard::Visit;
use super::state::Dashboard;
use crate::service::{BulkEstimate, Group, GroupPage, GroupQuery, LetterPage, LetterQuery, Pause};

/// The number of a group's letters that its page shows.
const NEWEST: usize = 20;

#[derive(Template)]
#[template(path = "dashboard/groups.html")]
struct Groups {
    page: Page,
    list: GroupPage,
}

#[derive(Template)]
#[template(path = "dashboard/group.html")]
struct One<'a> {
    page: Page,
    handler: &'a str,
    error: &'a str,
    list: LetterPage,
    /// The handler's pause.
    paused: Option<Pause>,
    /// Why its letters cannot be run here.
    why_not: Option<String>,
    /// Whether the message of any of the newest letters can be published.
    can_publish: bool,
    /// How long an action on all of them takes.
    takes: BulkEstimate,
    all: String,
    closed: String,
}

pub(super) async fn show(State(dashboard): State<Dashboard>, visit: Visit) -> Answer {
    let list = dashboard.service.groups(&GroupQuery::default()).await?;
    answer(&Groups {
        page: Page::new(&dashboard, &visit, Tab::Groups),
        list,
    })
}

pub(super) async fn one(State(dashboard): State<Dashboard>, visit: Visit, parts: Parts) -> Answer {
    let fields = Fields::from_query(&parts);
    let (handler, error) = (
        fields.require("handler", "The handler")?,
        fields.raw("error").unwrap_or_default(),
    );
    let query = LetterQuery {
        limit: Some(NEWEST),
        ..group_letters(handler, error)
    };
    let list = dashboard.service.letters(&query).await?;
    let pauses = dashboard.service.pauses().await?.pauses;
    let can_run = dashboard.service.idem().has_handler(handler)
        || list.letters.iter().any(|letter| letter.can_run);
    let why_not = match list.letters.first() {
        Some(letter) if !can_run => letter
            .why_not
            .clone()
            .or(Some("its handler is not registered".into())),
        _ => None,
    };
    let letters_of = |state| {
        Fields::query(&[
            ("handler", Some(handler)),
            ("error", Some(error)),
            ("state", Some(state)),
        ])
    };
    answer(&One {
        page: Page::new(&dashboard, &visit, Tab::Groups),
        can_publish: list.letters.iter().any(|letter| letter.can_publish),
        takes: proposed(list.total),
        list,
        paused: pauses.into_iter().find(|pause| pause.handler == handler),
        why_not,
        all: letters_of("open"),
        closed: letters_of("any"),
        handler,
        error,
    })
}

/// Returns the query for the open letters of a group.
fn group_letters(handler: &str, error: &str) -> LetterQuery {
    LetterQuery {
        handler: Some(handler.to_owned()),
        error: Some(error.to_owned()),
        ..LetterQuery::default()
    }
}

/// Returns the query of the link to a group's page.
pub(super) fn query(group: &Group) -> String {
    Fields::query(&[
        ("handler", Some(&group.handler)),
        ("error", Some(&group.error)),
    ])
}

impl Groups {
    fn query(&self, group: &Group) -> String {
        query(group)
    }
}
