//! For axum: extractors, and responses of answers and problems.

use axum_core::body::Body;
use axum_core::extract::{FromRequest, FromRequestParts, OptionalFromRequestParts, Request};
use axum_core::response::{IntoResponse, Response};
use http::request::Parts;

use crate::answer::Answer;
use crate::disposition::Disposition;
use crate::key::IdempotencyKey;
use crate::problem::Problem;

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        self.into_response().map(Body::new)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        self.into_response().map(Body::new)
    }
}

/// Takes the key that the layer has read, else reads the header itself: a request without a key is
/// answered with 400.
impl<S: Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        key(parts)?.ok_or_else(Problem::key_missing)
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Problem> {
        key(parts)
    }
}

fn key(parts: &Parts) -> Result<Option<IdempotencyKey>, Problem> {
    match parts.extensions.get::<IdempotencyKey>() {
        Some(key) => Ok(Some(key.clone())),
        None => IdempotencyKey::from_headers(&parts.headers).map_err(Problem::key_invalid),
    }
}

/// Extracts a `T`, and where that refuses the request, its answer releases the key: the client
/// mends the request, and sends it with the same key.
///
/// ```
/// use axum::Json;
/// use idem_http::OrRelease;
///
/// async fn place_order(OrRelease(Json(order)): OrRelease<Json<serde_json::Value>>) -> String {
///     order.to_string()
/// }
/// # let _: axum::Router = axum::Router::new().route("/orders", axum::routing::post(place_order));
/// ```
#[derive(Debug, Clone, Copy)]
pub struct OrRelease<T>(pub T);

impl<S: Send + Sync, T: FromRequest<S>> FromRequest<S> for OrRelease<T> {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        T::from_request(request, state)
            .await
            .map(Self)
            .map_err(|rejection| {
                let mut response = rejection.into_response();
                response.extensions_mut().insert(Disposition::Release);
                response
            })
    }
}
