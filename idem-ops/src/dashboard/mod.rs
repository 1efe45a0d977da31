//! The dashboard: pages that are rendered on the server, work without script and load nothing from
//! elsewhere.

mod actions;
mod assets;
mod audit;
mod bulk;
mod cookie;
mod error;
mod forms;
mod groups;
mod headers;
mod health;
mod letter;
mod letters;
mod links;
mod login;
mod origin;
mod overview;
mod page;
mod pauses;
mod plot;
mod render;
mod session;
mod session_guard;
mod state;
mod timeline;

use axum::Router;
use axum::extract::{DefaultBodyLimit, OriginalUri, Request};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use crate::api;
use crate::auth::Auth;
use crate::service::Service;
use error::PageError;
use links::redirect;
use state::Dashboard;

/// Returns the dashboard of a service, or of an `&Idem`, with its JSON API, to be nested in a service's own router or
/// served alone.
///
/// If it is nested, give `Monitor::dashboard` the prefix too, so that the links in alerts work; the
/// first request logs the prefix.
///
/// Everything but `/healthz` and `/readyz` requires `auth`. Serve it with [`serve`](crate::serve), which limits
/// what unfinished requests hold, and behind TLS if it leaves the machine.
///
/// ```no_run
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use idem_ops::{Auth, Secret};
///
/// let idem = idem_runtime::Idem::open("./data")?;
/// let dashboard = idem_ops::dashboard(&idem, Auth::token(Secret::from_env("IDEM_TOKEN")?));
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
/// idem_ops::serve(listener, dashboard).await;
/// # Ok(()) }
/// ```
pub fn dashboard(service: impl Into<Service>, auth: Auth) -> Router {
    let service = service.into();
    api::router(&service, auth.clone()).merge(pages(Dashboard::new(service, auth)))
}

/// Returns the pages, whose links work wherever they are nested.
fn pages(dashboard: Dashboard) -> Router {
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
        .route("/pauses/pause", post(pauses::pause))
        .route("/pauses/resume", post(pauses::resume))
        .route("/health", get(health::show))
        .route("/audit", get(audit::show))
        .route("/logout", post(login::sign_out))
        .route_layer(from_fn(finish_changes))
        .route_layer(from_fn_with_state(dashboard.clone(), session_guard::guard));
    Router::new()
        .route("/", get(home))
        .route("/login", get(login::show).post(login::sign_in))
        .merge(inside)
        .merge(assets::routes())
        .fallback(not_found)
        // Forms have their own limit.
        .layer(DefaultBodyLimit::disable())
        .layer(from_fn(headers::finish))
        .with_state(dashboard)
}

/// Finishes a change that has begun, even if the browser closes the connection.
async fn finish_changes(request: Request, next: Next) -> Response {
    if request.method().is_safe() {
        return next.run(request).await;
    }
    let changed = tokio::spawn(next.run(request)).await;
    changed
        .unwrap_or_else(|_| PageError::bad("the change panicked: look at the log").into_response())
}

/// Redirects from the root, with or without a slash at its end.
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
        redirect("./", "overview")
    } else {
        redirect("./", &format!("{folder}/overview"))
    }
}

async fn not_found() -> PageError {
    PageError::missing("this page does not exist")
}
