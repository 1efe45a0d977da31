//! The JSON API, `/metrics` and `/healthz`.
//!
//! The README of this crate has the table of routes. What is answered is what
//! [`service`](crate::service) answers; refusals are [`Problem`]s.

mod extract;
mod problem;
mod routes;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use idem_runtime::Idem;

pub use problem::Problem;
pub(crate) use problem::of_service;

use crate::auth::{Auth, AuthError};
use crate::service::Service;

/// The dashboard of an Idem, to be nested in a service's own router or served alone.
///
/// Where it is nested, `Monitor::dashboard` gets the prefix too, or the links in alerts lead to
/// nothing; the first page that is asked for says in the log where the dashboard is.
///
/// Nothing in it can be seen without `auth`, but `/healthz`. Serve it with [`serve`](crate::serve),
/// which unfinished requests cannot stop, and behind TLS where it leaves the machine.
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
pub fn dashboard(idem: &Idem, auth: Auth) -> Router {
    let service = Service::new(idem.clone());
    router(&service, auth.clone()).merge(crate::dashboard::pages(service, auth))
}

/// Only the JSON API, `/metrics` and `/healthz`, of a service that is there already.
pub fn router(service: &Service, auth: Auth) -> Router {
    let api = Router::new()
        .route("/letters", get(routes::letters))
        .route("/letters/{id}", get(routes::letter))
        .route("/letters/{id}/redrive", post(routes::redrive_one))
        .route("/letters/{id}/publish", post(routes::publish))
        .route("/letters/{id}/edit", post(routes::edit))
        .route("/letters/{id}/discard", post(routes::discard))
        .route("/letters/{id}/restore", post(routes::restore))
        .route("/bulk", get(routes::bulks).post(routes::start_bulk))
        .route("/bulk/{id}", get(routes::bulk).delete(routes::cancel_bulk))
        .route("/groups", get(routes::groups))
        .route("/explain", get(routes::explain))
        .route("/stats", get(routes::stats))
        .route("/alerts", get(routes::alerts))
        .route("/audit", get(routes::audit))
        .fallback(nowhere)
        .method_not_allowed_fallback(not_so);
    let inside = Router::new()
        .nest("/api/v1", api)
        .route("/metrics", get(routes::metrics))
        .layer(DefaultBodyLimit::max(extract::LARGEST_BODY))
        .layer(from_fn_with_state(auth, guard));
    inside
        .route("/healthz", get(routes::healthz))
        .layer(from_fn(unkept))
        .with_state(service.clone())
}

/// Lets in who may come in, and says who it is.
async fn guard(State(auth): State<Auth>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let address = auth.peer(&parts);
    match auth.admit(&parts, address) {
        Ok(who) => {
            parts.extensions.insert(who);
            next.run(Request::from_parts(parts, body)).await
        }
        Err(refusal) => {
            match refusal {
                // So many would fill the log.
                AuthError::TooMany { .. } => {
                    tracing::debug!(?address, %refusal, "a request was refused")
                }
                _ => {
                    tracing::warn!(path = parts.uri.path(), ?address, %refusal, "a request was refused")
                }
            }
            refusal.into_response()
        }
    }
}

/// Nothing of it stays in a cache.
async fn unkept(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

async fn nowhere() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "no_such_route",
        "there is no such route: the README of idem-ops has them all",
    )
}

async fn not_so() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "no_such_method",
        "this route has another method",
    )
}
