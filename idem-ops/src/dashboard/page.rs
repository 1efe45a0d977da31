//! What every page has around it.

use askama::Template;
use axum::http::header::LOCATION;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{Html, IntoResponse, Response};

use super::error::PageError;
use super::session::Flash;
use super::session_guard::Visit;
use super::{Dashboard, assets};
use crate::shown;

/// What a handler of a page answers.
pub(super) type Answer = Result<Response, PageError>;

/// What every page has around it.
pub(super) struct Page {
    pub root: String,
    pub who: String,
    pub csrf: String,
    pub tab: Tab,
    pub flash: Option<Flash>,
    pub version: &'static str,
    /// Whether the page shows something that goes on by itself.
    pub goes_on: bool,
}

/// The pages of the menu.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tab {
    Overview,
    Letters,
    Groups,
    Bulk,
    Story,
    Health,
    Audit,
}

/// The menu: page, path, name.
const MENU: [(Tab, &str, &str); 6] = [
    (Tab::Overview, "overview", "Overview"),
    (Tab::Letters, "letters", "Letters"),
    (Tab::Groups, "groups", "Groups"),
    (Tab::Bulk, "bulk", "Bulk jobs"),
    (Tab::Health, "health", "Health"),
    (Tab::Audit, "audit", "Audit log"),
];

impl Page {
    /// The frame of a page; what was to be told is told by it.
    pub(super) fn of(dashboard: &Dashboard, visit: &Visit, tab: Tab) -> Self {
        let flash = dashboard.sessions.told(&visit.session);
        let csrf = visit.session.csrf.as_str().to_owned();
        let (root, who) = (visit.root.clone(), visit.session.who.clone());
        Self {
            root,
            who,
            csrf,
            tab,
            flash,
            version: assets::version(),
            goes_on: false,
        }
    }

    pub(super) fn menu(&self) -> &'static [(Tab, &'static str, &'static str)] {
        &MENU
    }
}

/// A drawn page.
pub(super) fn show(page: &impl Template) -> Answer {
    Ok(drawn(page)?.into_response())
}

/// A page's HTML, in which nothing turns the direction of the text around.
pub(super) fn drawn(page: &impl Template) -> Result<Html<String>, askama::Error> {
    page.render().map(|html| Html(shown::page(html)))
}

/// What pages write in a way of their own.
#[expect(unreachable_pub, reason = "askama makes them types of its own")]
pub(super) mod filters {
    use std::fmt::Display;

    use askama::Values;
    use askama::filters::{Html, Safe, escape};

    use crate::shown::{self, steers};

    /// JSON that says the same, and shows characters that are not seen.
    #[askama::filter_fn]
    pub(crate) fn spelt<T: Display>(json: T, _: &dyn Values) -> askama::Result<String> {
        Ok(shown::json(&json.to_string()))
    }

    /// A form's value that has to come back as it is: characters that are not seen are written as
    /// references.
    #[askama::filter_fn]
    pub(crate) fn exact<T: Display>(value: T, _: &dyn Values) -> askama::Result<Safe<String>> {
        let escaped = match escape(value, Html) {
            Ok(Safe(escaped)) => escaped.to_string(),
            Err(never) => match never {},
        };
        let mut exact = String::with_capacity(escaped.len());
        for character in escaped.chars() {
            if steers(character) {
                exact.push_str(&format!("&#{};", u32::from(character)));
            } else {
                exact.push(character);
            }
        }
        Ok(Safe(exact))
    }
}

/// Leads to another page of the dashboard.
pub(super) fn redirect(root: &str, path: &str) -> Response {
    match HeaderValue::from_str(&format!("{root}{path}")) {
        Ok(location) => (StatusCode::SEE_OTHER, [(LOCATION, location)]).into_response(),
        Err(_) => PageError::bad("the address has characters that none may have").into_response(),
    }
}

/// What leads from a page to the dashboard's root; never empty, so that no path after it is read as
/// a scheme or a host.
pub(super) fn root(path: &str) -> String {
    match path.matches('/').count() {
        0 | 1 => "./".to_owned(),
        slashes => "../".repeat(slashes - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_finds_the_root() {
        let base = url::Url::parse("https://ops.example/idem/").unwrap();
        for path in ["/overview", "/letters/018f", "/letters/018f/discard"] {
            let page = base.join(path.trim_start_matches('/')).unwrap();
            assert_eq!(page.join(&root(path)).unwrap(), base, "{path}");
        }
        let login = base.join("login").unwrap();
        for to in [
            "//evil.example",
            "https://evil.example",
            "/\\evil.example",
            "javascript:alert(1)",
        ] {
            let there = login.join(&format!("{}{to}", root("/login"))).unwrap();
            assert_eq!(there.origin(), base.origin(), "{there}");
        }
    }
}
