//! The frame of every page.

use askama::Template;
use axum::response::{IntoResponse, Response};

use super::assets;
use super::error::PageError;
use super::render::render;
use super::session::Flash;
use super::session_guard::Visit;
use super::state::Dashboard;

/// The answer of a page's handler.
pub(super) type Answer = Result<Response, PageError>;

/// The frame of every page.
pub(super) struct Page {
    pub root: String,
    pub who: String,
    pub csrf: String,
    pub tab: Tab,
    pub flash: Option<Flash>,
    pub version: &'static str,
    /// Whether the page shows a running job and reloads itself.
    pub live: bool,
}

/// The pages of the menu.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tab {
    Overview,
    Letters,
    Groups,
    Bulk,
    Timeline,
    Health,
    Audit,
}

/// The menu: tab, path and name.
const MENU: [(Tab, &str, &str); 6] = [
    (Tab::Overview, "overview", "Overview"),
    (Tab::Letters, "letters", "Letters"),
    (Tab::Groups, "groups", "Groups"),
    (Tab::Bulk, "bulk", "Bulk jobs"),
    (Tab::Health, "health", "Health"),
    (Tab::Audit, "audit", "Audit log"),
];

impl Page {
    /// Creates the frame of a page, which shows the session's flash message.
    pub(super) fn new(dashboard: &Dashboard, visit: &Visit, tab: Tab) -> Self {
        let flash = dashboard.sessions.take_flash(&visit.session);
        let csrf = visit.session.csrf.as_str().to_owned();
        let (root, who) = (visit.root.clone(), visit.session.who.clone());
        Self {
            root,
            who,
            csrf,
            tab,
            flash,
            version: assets::version(),
            live: false,
        }
    }

    pub(super) fn menu(&self) -> &'static [(Tab, &'static str, &'static str)] {
        &MENU
    }
}

/// Answers with a page.
pub(super) fn show(page: &impl Template) -> Answer {
    Ok(render(page)?.into_response())
}
