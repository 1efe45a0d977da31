//! The list of letters, with filters and a selection.

use std::collections::BTreeSet;

use askama::Template;
use axum::extract::State;
use axum::http::request::Parts;
use idem_runtime::LetterState;

use super::forms::{Fields, letter_id};
use super::page::{Answer, Page, Tab, show as answer};
use super::render::filters;
use super::session_guard::Visit;
use super::state::Dashboard;
use crate::service::{GroupQuery, LetterPage, LetterQuery, StateFilter};

/// The number of letters on a page.
const ON_A_PAGE: usize = 50;

const STATES: [(&str, &str); 4] = [
    ("open", "Open"),
    ("redriven", "Redriven"),
    ("discarded", "Discarded"),
    ("any", "All"),
];

#[derive(Template)]
#[template(path = "dashboard/letters.html")]
struct Letters {
    page: Page,
    list: LetterPage,
    handler: String,
    key: String,
    error: String,
    state: &'static str,
    states: [(&'static str, &'static str); 4],
    handlers: BTreeSet<String>,
    /// Whether this is not the first page.
    paged: bool,
    first: String,
    older: Option<String>,
    /// Whether letters can be selected, which only open ones can.
    tick: bool,
    /// Whether the message of any of them can be published.
    can_publish: bool,
}

pub(super) async fn show(State(dashboard): State<Dashboard>, visit: Visit, parts: Parts) -> Answer {
    let fields = Fields::from_query(&parts);
    let (state, filter) = state(fields.get("state"));
    let text = |name: &str| {
        fields
            .raw(name)
            .filter(|value| !value.is_empty())
            .map(str::to_owned)
    };
    let (handler, key, error) = (text("handler"), text("key"), text("error"));
    let after = fields.get("after").map(letter_id).transpose()?;
    let query = LetterQuery {
        handler: handler.clone(),
        key: key.clone(),
        error: error.clone(),
        state: filter,
        after,
        limit: Some(ON_A_PAGE),
    };
    let list = dashboard.service.letters(&query).await?;
    let groups = dashboard.service.groups(&GroupQuery::default()).await?;
    let handlers = groups
        .groups
        .into_iter()
        .map(|group| group.handler)
        .collect();
    let page_of = |after: Option<&str>| {
        let fields = [
            ("handler", handler.as_deref()),
            ("key", key.as_deref()),
            ("error", error.as_deref()),
            ("state", Some(state)),
            ("after", after),
        ];
        Fields::query(&fields)
    };
    answer(&Letters {
        first: page_of(None),
        older: list.next.map(|id| page_of(Some(&id.to_string()))),
        tick: list
            .letters
            .iter()
            .any(|letter| letter.state == LetterState::Open),
        can_publish: list.letters.iter().any(|letter| letter.can_publish),
        list,
        handler: handler.clone().unwrap_or_default(),
        key: key.clone().unwrap_or_default(),
        error: error.clone().unwrap_or_default(),
        state,
        states: STATES,
        handlers,
        paged: after.is_some(),
        page: Page::new(&dashboard, &visit, Tab::Letters),
    })
}

fn state(given: Option<&str>) -> (&'static str, StateFilter) {
    match given {
        Some("redriven") => ("redriven", StateFilter::Redriven),
        Some("discarded") => ("discarded", StateFilter::Discarded),
        Some("any") => ("any", StateFilter::Any),
        _ => ("open", StateFilter::Open),
    }
}
