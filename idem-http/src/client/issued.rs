//! Keys that the server issues.

use std::fmt;
use std::future::poll_fn;
use std::mem;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;
use http::header::{AUTHORIZATION, COOKIE, HeaderName, PROXY_AUTHORIZATION};
use http::uri::{InvalidUri, PathAndQuery};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use tower_layer::Layer;
use tower_service::Service;

use super::keys::{is_missing, keyed_methods};
use super::retry::{Repeatable, retry_after};
use crate::headers::KEY;

/// Asks the server for a key before each POST and PATCH that has none: for servers that take only
/// keys that they have issued, as one with `KeyEndpoint` does.
///
/// It is a tower layer, and a middleware of `reqwest-middleware` with the feature of that name. As
/// [`IdempotencyKeys`](super::IdempotencyKeys), it goes outside of what sends a request again.
///
/// The key is asked for with the request's own credentials, at a path of the same server, so that
/// they go nowhere else.
#[derive(Debug, Clone)]
#[must_use]
pub struct IssuedKeys {
    pub(super) path: PathAndQuery,
    methods: Vec<Method>,
    credentials: Vec<HeaderName>,
}

/// The service that [`IssuedKeys`] makes.
#[derive(Debug, Clone)]
pub struct WithIssuedKeys<S> {
    keys: IssuedKeys,
    inner: S,
}

/// An error of a request for which a key has to be issued first.
#[derive(Debug)]
#[non_exhaustive]
pub enum IssueError<E> {
    /// The inner service failed: when it asked for the key, or when it sent the request.
    Service(E),
    /// The server issued no key. The request was not sent.
    Refused {
        /// What the server answered. A success has no key in its header `Idempotency-Key`.
        status: StatusCode,
        /// When to ask again, if the server said so.
        retry_after: Option<Duration>,
    },
}

impl<E: fmt::Display> fmt::Display for IssueError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(error) => error.fmt(f),
            Self::Refused { status, .. } if status.is_success() => write!(
                f,
                "the request was not sent: the server answered {status} without a key where it \
                 should issue one; check the path of `IssuedKeys`"
            ),
            Self::Refused { status, .. } => write!(
                f,
                "the request was not sent: the server issued no idempotency key, and answered \
                 {status}"
            ),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for IssueError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Service(error) => error.source(),
            Self::Refused { .. } => None,
        }
    }
}

impl IssuedKeys {
    /// Returns the layer; `path` is where the server issues keys, such as `/idempotency-keys`.
    ///
    /// # Errors
    /// When it is not a path.
    pub fn new(path: &str) -> Result<Self, InvalidUri> {
        Ok(Self {
            path: path.parse()?,
            methods: keyed_methods(),
            credentials: vec![AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION],
        })
    }

    /// Sets the methods whose requests get keys. Default: POST and PATCH.
    pub fn methods(mut self, methods: impl IntoIterator<Item = Method>) -> Self {
        self.methods = methods.into_iter().collect();
        self
    }

    /// Adds headers that say who the caller is. Default: `Authorization`, `Cookie` and
    /// `Proxy-Authorization`.
    pub fn credentials(mut self, names: impl IntoIterator<Item = HeaderName>) -> Self {
        self.credentials.extend(names);
        self
    }

    /// Returns whether a request needs a key.
    pub(super) fn is_missing(&self, method: &Method, headers: &HeaderMap) -> bool {
        is_missing(&self.methods, method, headers)
    }

    /// Returns the credentials of a request.
    pub(super) fn credentials_of(&self, headers: &HeaderMap) -> HeaderMap {
        let named = headers.iter();
        let named = named.filter(|(name, _)| self.credentials.contains(name));
        named.map(|(name, it)| (name.clone(), it.clone())).collect()
    }

    /// Returns the request that asks for a key.
    fn ask<B: Default, C>(&self, request: &Request<C>) -> Request<B> {
        let mut uri = request.uri().clone().into_parts();
        uri.path_and_query = Some(self.path.clone());
        let mut ask = Request::new(B::default());
        *ask.method_mut() = Method::POST;
        *ask.version_mut() = request.version();
        // The parts are those of a request, with another path.
        *ask.uri_mut() = Uri::from_parts(uri).unwrap_or_else(|_| Uri::from(self.path.clone()));
        *ask.headers_mut() = self.credentials_of(request.headers());
        // A key that is not used lapses.
        ask.extensions_mut().insert(Repeatable);
        ask
    }
}

/// Returns the key that was issued.
pub(super) fn issued<E>(
    status: StatusCode,
    headers: &HeaderMap,
) -> Result<HeaderValue, IssueError<E>> {
    let key = headers.get(KEY).filter(|_| status.is_success());
    key.cloned().ok_or_else(|| IssueError::Refused {
        status,
        retry_after: retry_after(headers, SystemTime::now()),
    })
}

impl<S> Layer<S> for IssuedKeys {
    type Service = WithIssuedKeys<S>;

    fn layer(&self, inner: S) -> Self::Service {
        WithIssuedKeys {
            keys: self.clone(),
            inner,
        }
    }
}

impl<S, B, R> Service<Request<B>> for WithIssuedKeys<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    B: Default + Send + 'static,
    R: Send,
{
    type Response = Response<R>;
    type Error = IssueError<S::Error>;
    type Future = BoxFuture<'static, Result<Response<R>, IssueError<S::Error>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context).map_err(IssueError::Service)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        // The one that is ready, not its clone.
        let clone = self.inner.clone();
        let mut inner = mem::replace(&mut self.inner, clone);
        let is_missing = self.keys.is_missing(request.method(), request.headers());
        let ask = is_missing.then(|| self.keys.ask(&request));
        Box::pin(async move {
            if let Some(ask) = ask {
                let answer = inner.call(ask).await.map_err(IssueError::Service)?;
                let key = issued(answer.status(), answer.headers())?;
                request.headers_mut().insert(KEY, key);
                let ready = poll_fn(|context| inner.poll_ready(context)).await;
                ready.map_err(IssueError::Service)?;
            }
            inner.call(request).await.map_err(IssueError::Service)
        })
    }
}
