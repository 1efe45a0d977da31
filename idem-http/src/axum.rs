//! For axum: extractors, and responses of answers and problems.

use std::convert::Infallible;
use std::sync::{Arc, OnceLock};

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, OptionalFromRequestParts, Request};
use axum::response::{IntoResponse, IntoResponseParts, Response, ResponseParts};
use http::request::Parts;
use idem_runtime::watch_replay;

use crate::answer::{Answer, mark};
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

/// Says whether an annotated handler behind a route was replayed: [watch](Self::watch) its call,
/// and return this beside its answer, which then has the headers that the layer would give it.
///
/// ```
/// use idem_http::{Answer, IdempotencyKey, Problem, Replayed};
/// # use idem_runtime::idempotent;
///
/// # #[idempotent(name = "orders.place", key = "key")]
/// # async fn place_order(key: String) -> Result<Answer, Problem> { Ok(Answer::text(http::StatusCode::CREATED, "A-1")) }
/// async fn orders(key: IdempotencyKey, replayed: Replayed) -> Result<(Replayed, Answer), Problem> {
///     let answer = replayed.watch(place_order(key.to_string())).await?;
///     Ok((replayed, answer))
/// }
/// # let _: axum::Router = axum::Router::new().route("/orders", axum::routing::post(orders));
/// ```
#[derive(Debug, Clone, Default)]
pub struct Replayed(Arc<OnceLock<idem_runtime::Replayed>>);

impl Replayed {
    /// Awaits the call of a handler, and notes whether its result is of an earlier one.
    pub async fn watch<F: Future>(&self, call: F) -> F::Output {
        let (output, replayed) = watch_replay(call).await;
        if let Some(replayed) = replayed {
            // The first of several calls counts.
            let _ = self.0.set(replayed);
        }
        output
    }

    /// Returns what is known of the earlier call, if there was one.
    pub fn get(&self) -> Option<idem_runtime::Replayed> {
        self.0.get().copied()
    }
}

impl<S: Sync> FromRequestParts<S> for Replayed {
    type Rejection = Infallible;

    async fn from_request_parts(_: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::default())
    }
}

impl IntoResponseParts for Replayed {
    type Error = Infallible;

    fn into_response_parts(self, mut response: ResponseParts) -> Result<ResponseParts, Infallible> {
        if let Some(replayed) = self.get() {
            mark(response.headers_mut(), replayed.age);
        }
        Ok(response)
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
