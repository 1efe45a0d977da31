//! The JSON API, `/metrics`, `/healthz` and `/readyz`.
//!
//! The README of this crate lists the routes. The answers are those of [`service`](crate::service),
//! the errors are [`Problem`]s.

mod extract;
mod problem;
mod routes;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};

pub use problem::Problem;
pub(crate) use problem::classify;

use crate::auth::{Auth, AuthError};
use crate::service::Service;

/// Returns the JSON API, `/metrics`, `/healthz` and `/readyz` of a service, without the dashboard's pages.
pub fn router(service: &Service, auth: Auth) -> Router {
    let api = Router::new()
        .route("/letters", get(routes::letters))
        .route("/letters/{id}", get(routes::letter))
        .route("/letters/{id}/redrive", post(routes::redrive_one))
        .route("/letters/{id}/publish", post(routes::publish))
        .route("/letters/{id}/edit", post(routes::edit))
        .route("/letters/{id}/discard", post(routes::discard))
        .route("/letters/{id}/restore", post(routes::restore))
        .route("/backups", post(routes::back_up))
        .route("/bulk", get(routes::bulks).post(routes::start_bulk))
        .route("/bulk/{id}", get(routes::bulk).delete(routes::cancel_bulk))
        .route("/groups", get(routes::groups))
        .route(
            "/pauses",
            get(routes::pauses)
                .post(routes::pause)
                .delete(routes::resume),
        )
        .route("/erase", post(routes::erase))
        .route("/explain", get(routes::explain))
        .route("/rules", get(routes::rules).post(routes::set_rule))
        .route("/rules/{name}", delete(routes::remove_rule))
        .route("/stats", get(routes::stats))
        .route("/alerts", get(routes::alerts))
        .route("/audit", get(routes::audit))
        .fallback(no_such_route)
        .method_not_allowed_fallback(no_such_method);
    let inside = Router::new()
        .nest("/api/v1", api)
        .route("/metrics", get(routes::metrics))
        .layer(DefaultBodyLimit::max(extract::LARGEST_BODY))
        .layer(from_fn_with_state(auth, guard));
    inside
        .route("/healthz", get(routes::healthz))
        .route("/readyz", get(routes::readyz))
        .layer(from_fn(no_store))
        .with_state(service.clone())
}

/// Authenticates a request, and adds its principal.
async fn guard(State(auth): State<Auth>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let address = auth.peer(&parts);
    match auth.admit(&parts, address) {
        Ok(principal) => {
            parts.extensions.insert(principal);
            next.run(Request::from_parts(parts, body)).await
        }
        Err(error) => {
            match error {
                // These would fill the log.
                AuthError::TooMany { .. } => {
                    tracing::debug!(?address, %error, "a request was refused");
                }
                _ => {
                    tracing::warn!(path = parts.uri.path(), ?address, %error, "a request was refused");
                }
            }
            error.into_response()
        }
    }
}

/// Keeps answers out of caches.
async fn no_store(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

async fn no_such_route() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "no_such_route",
        "this route does not exist: the README of idem-ops lists all routes",
    )
}

async fn no_such_method() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "no_such_method",
        "this route does not have this method",
    )
}
