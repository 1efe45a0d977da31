//! The dashboard's pages: drawn on the server, usable without script, nothing from elsewhere.

mod actions;
mod assets;
mod audit;
mod bulk;
mod error;
mod forms;
mod groups;
mod headers;
mod health;
mod letter;
mod letters;
mod login;
mod overview;
mod page;
mod plot;
mod session;
mod timeline;
mod session_guard;

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::{DefaultBodyLimit, OriginalUri, Request};
use axum::http::request::Parts;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use crate::auth::Auth;
use crate::service::Service;
use error::PageError;
use session::Sessions;

/// What every page needs.
#[derive(Clone)]
struct Dashboard(Arc<Shared>);

struct Shared {
    service: Service,
    auth: Auth,
    sessions: Sessions,
    /// Whether it was said where the dashboard is.
    said: AtomicBool,
}

impl Shared {
    /// Says once under which prefix people reach it: what makes the links in alerts is elsewhere,
    /// and has to know it.
    fn say_where(&self, parts: &Parts) {
        let asked = parts
            .extensions
            .get::<OriginalUri>()
            .map(|uri| uri.path())
            .unwrap_or_default();
        let prefix = asked.strip_suffix(parts.uri.path()).unwrap_or_default();
        if !prefix.is_empty() && !self.said.swap(true, Ordering::Relaxed) {
            tracing::info!(
                prefix,
                "the dashboard is nested: the address given to `Monitor::dashboard` needs this prefix"
            );
        }
    }
}

impl Deref for Dashboard {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

/// The pages, wherever they are nested.
pub(crate) fn pages(service: Service, auth: Auth) -> Router {
    let dashboard = Dashboard(Arc::new(Shared {
        service,
        auth,
        sessions: Sessions::default(),
        said: AtomicBool::new(false),
    }));
    let inside = Router::new()
        .route("/overview", get(overview::show))
        .route("/letters", get(letters::show))
        .route("/letters/{id}", get(letter::show))
        .route("/letters/{id}/run", post(actions::run))
        .route("/letters/{id}/publish", post(actions::publish))
        .route("/letters/{id}/redrive", post(actions::redrive))
        .route("/letters/{id}/edit", post(actions::edit))
        .route("/letters/{id}/discard", post(actions::discard))
        .route("/letters/{id}/restore", post(actions::restore))
        .route("/selection", post(bulk::selection))
        .route("/groups", get(groups::show))
        .route("/group", get(groups::one).post(bulk::group))
        .route("/bulk", get(bulk::show))
        .route("/bulk/{id}", get(bulk::one))
        .route("/bulk/{id}/cancel", post(bulk::cancel))
        .route("/story", get(timeline::show))
        .route("/health", get(health::show))
        .route("/audit", get(audit::show))
        .route("/logout", post(login::leave))
        .route_layer(from_fn(to_the_end))
        .route_layer(from_fn_with_state(dashboard.clone(), session_guard::door));
    Router::new()
        .route("/", get(home))
        .route("/login", get(login::show).post(login::enter))
        .merge(inside)
        .merge(assets::routes())
        .fallback(nowhere)
        // Forms are read with a limit of their own.
        .layer(DefaultBodyLimit::disable())
        .layer(from_fn(headers::dress))
        .with_state(dashboard)
}

/// A change that was begun is not dropped with the browser's request.
async fn to_the_end(request: Request, next: Next) -> Response {
    if request.method().is_safe() {
        return next.run(request).await;
    }
    let changed = tokio::spawn(next.run(request)).await;
    changed
        .unwrap_or_else(|_| PageError::bad("the change panicked: look at the log").into_response())
}

/// The bare address, with or without a slash at its end.
async fn home(request: Request) -> Response {
    let original = request
        .extensions()
        .get::<OriginalUri>()
        .map(|uri| uri.path().to_owned());
    let folder = original
        .as_deref()
        .and_then(|path| path.rsplit('/').next())
        .unwrap_or_default();
    if folder.is_empty() {
        page::redirect("./", "overview")
    } else {
        page::redirect("./", &format!("{folder}/overview"))
    }
}

async fn nowhere() -> PageError {
    PageError::missing("there is no such page")
}
