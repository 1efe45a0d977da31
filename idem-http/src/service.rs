//! The layer's service: a request's key and scope, and its body.

use std::fmt::Display;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::{BoxFuture, ready};
use http::{Request, Response};
use http_body::Body as HttpBody;
use tower::ServiceExt;
use tower_service::Service;

use crate::body::{Body, BoxError, Read, boxed, read};
use crate::exchange::{is_inside, run};
use crate::key::IdempotencyKey;
use crate::layer::{Options, Settings};
use crate::problem::Problem;
use crate::request::KeyedRequest;

/// The service that [`IdempotencyLayer`](crate::IdempotencyLayer) makes.
#[derive(Clone)]
pub struct Idempotency<S> {
    settings: Arc<Settings>,
    inner: S,
}

/// What becomes of a request.
pub(crate) enum Prepared<B, K> {
    /// The layer has no part in it.
    Pass(Request<B>),
    Refuse(Problem),
    Run(K),
}

impl<S> Idempotency<S> {
    pub(crate) fn new(settings: Arc<Settings>, inner: S) -> Self {
        Self { settings, inner }
    }
}

impl<S, B, R> Service<Request<B>> for Idempotency<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Display + Send + 'static,
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + From<Bytes> + Send + 'static,
    R: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<Body>, S::Error>>;

    /// Is always ready: a replay needs nothing of the inner service.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (settings, inner) = (Arc::clone(&self.settings), self.inner.clone());
        match prepare(&settings.options, request) {
            Prepared::Pass(request) => Box::pin(pass(inner, request)),
            Prepared::Refuse(problem) => Box::pin(ready(Ok(settings.options.refuse(problem)))),
            Prepared::Run((mut request, body)) => Box::pin(async move {
                match whole(&settings.options, body).await {
                    Ok(body) => request.body = body,
                    Err(problem) => return Ok(settings.options.refuse(problem)),
                }
                run(settings, inner, request).await
            }),
        }
    }
}

/// Hands a request on that the layer has no part in.
pub(crate) async fn pass<S, B, R>(inner: S, request: Request<B>) -> Result<Response<Body>, S::Error>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    Ok(inner.oneshot(request).await?.map(boxed))
}

/// Reads the key and the scope, in this order and before the body: what is refused costs nothing more.
pub(crate) fn prepare<B>(options: &Options, request: Request<B>) -> Prepared<B, (KeyedRequest, B)> {
    if !options.methods.contains(request.method()) || is_inside(&request) {
        return Prepared::Pass(request);
    }
    let key = match IdempotencyKey::from_headers(request.headers()) {
        Ok(Some(key)) => key,
        Ok(None) if options.required => return Prepared::Refuse(Problem::key_missing()),
        Ok(None) => return Prepared::Pass(request),
        Err(why) => return Prepared::Refuse(Problem::key_invalid(why)),
    };
    let (parts, body) = request.into_parts();
    let Some(scope) = options.scope.of(&parts) else {
        return Prepared::Refuse(Problem::no_principal());
    };
    let request = KeyedRequest {
        scope,
        key,
        parts,
        body: Bytes::new(),
        compared: None,
    };
    Prepared::Run((request, body))
}

/// Reads all of a request's body.
pub(crate) async fn whole<B>(options: &Options, body: B) -> Result<Bytes, Problem>
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let limit = options.largest_request;
    match read(body, limit).await {
        Ok(Read::Whole(body, _)) => Ok(body),
        Ok(Read::TooLarge(_)) => Err(Problem::body_too_large(limit)),
        Err(_) => Err(Problem::body_cut()),
    }
}
