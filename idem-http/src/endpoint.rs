//! Where clients get keys that the server issues.

use std::convert::Infallible;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use http::header::{ALLOW, CACHE_CONTROL, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use idem_runtime::issuer::KeyIssuer;
use serde_json::json;
use tower_service::Service;

use crate::answer::Answer;
use crate::body::{Body, full};
use crate::headers::KEY;
use crate::key::IdempotencyKey;
use crate::problem::Problem;
use crate::scope::Scope;

/// Issues keys: `POST` is answered with 201 and a new key in the header `Idempotency-Key`, and as
/// `{"key": …}`. Requests with the key of another scope, or with one that was made up, are answered
/// with 422 by a layer whose handler takes issued keys only.
///
/// It stands behind authentication, as the layer does: each key is a record in the ledger.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let idem = idem_runtime::Idem::open(folder.path())?;
/// # async fn place_order() {}
/// use axum::{Router, routing::post};
/// use idem_http::{IdempotencyLayer, KeyEndpoint, Scope};
///
/// let layer = IdempotencyLayer::builder(&idem, "http.orders", Scope::bearer())
///     .handler(|handler| handler.issued("order_no"))
///     .build()?;
/// let keys = KeyEndpoint::new(idem.issuer("order_no"), Scope::bearer());
/// let router: Router = Router::new()
///     .route("/orders", post(place_order))
///     .layer(layer)
///     .route_service("/idempotency-keys", keys);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct KeyEndpoint {
    issuer: KeyIssuer,
    scope: Scope,
}

impl KeyEndpoint {
    /// Returns the endpoint of this issuer's keys. The scope is the layer's.
    pub fn new(issuer: KeyIssuer, scope: Scope) -> Self {
        Self { issuer, scope }
    }
}

impl<B> Service<Request<B>> for KeyEndpoint {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (parts, _) = request.into_parts();
        let issuer = self.issuer.clone();
        let scope = self.scope.of(&parts);
        Box::pin(async move {
            if parts.method != Method::POST {
                return Ok(only_post());
            }
            let Some(scope) = scope else {
                return Ok(Problem::no_principal().into_response());
            };
            let issued = issuer.within(scope).issue().await;
            let answer = issued.map_err(Problem::from).and_then(created);
            Ok(answer.unwrap_or_else(Problem::into_response))
        })
    }
}

fn created(key: String) -> Result<Response<Body>, Problem> {
    let answer = Answer::json(StatusCode::CREATED, &json!({ "key": key }))?;
    let header = IdempotencyKey::from_stored(key).to_header();
    let no_store = HeaderValue::from_static("no-store");
    let answer = answer.header(&KEY, &header);
    Ok(answer.header(&CACHE_CONTROL, &no_store).into_response())
}

fn only_post() -> Response<Body> {
    let mut response = Response::new(full(Default::default()));
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    let post = HeaderValue::from_static("POST");
    response.headers_mut().insert(ALLOW, post);
    response
}
