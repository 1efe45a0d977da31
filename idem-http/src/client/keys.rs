//! Keys that the client makes.

use std::task::{Context, Poll};

use http::{HeaderMap, Method, Request};
use tower_layer::Layer;
use tower_service::Service;
use uuid::Uuid;

use crate::headers::KEY;
use crate::key::IdempotencyKey;

/// Gives each POST and PATCH without an idempotency key one of its own: the one of the request's
/// extensions, else a new UUID.
///
/// It is a tower layer, and a middleware of `reqwest-middleware` with the feature of that name. It
/// goes outside of what sends a request again: see [the module](crate::client).
#[derive(Debug, Clone)]
#[must_use]
pub struct IdempotencyKeys {
    methods: Vec<Method>,
    make: fn() -> Uuid,
}

/// The service that [`IdempotencyKeys`] makes.
#[derive(Debug, Clone)]
pub struct WithIdempotencyKeys<S> {
    keys: IdempotencyKeys,
    inner: S,
}

impl IdempotencyKeys {
    /// Returns the layer. Keys are UUIDs of version 7 ([RFC 9562]), which a server's storage takes
    /// in order.
    ///
    /// [RFC 9562]: https://www.rfc-editor.org/rfc/rfc9562#name-uuid-version-7
    pub fn new() -> Self {
        Self {
            methods: keyed_methods(),
            make: Uuid::now_v7,
        }
    }

    /// Makes UUIDs of version 4, which do not tell when the request was made.
    pub fn random(mut self) -> Self {
        self.make = Uuid::new_v4;
        self
    }

    /// Sets the methods whose requests get keys. Default: POST and PATCH.
    pub fn methods(mut self, methods: impl IntoIterator<Item = Method>) -> Self {
        self.methods = methods.into_iter().collect();
        self
    }

    /// Returns whether a request needs a key.
    pub(super) fn is_missing(&self, method: &Method, headers: &HeaderMap) -> bool {
        is_missing(&self.methods, method, headers)
    }

    pub(super) fn key(&self) -> IdempotencyKey {
        IdempotencyKey::from_stored((self.make)().to_string())
    }
}

impl Default for IdempotencyKeys {
    fn default() -> Self {
        Self::new()
    }
}

/// The methods that are not idempotent by themselves (RFC 9110, section 9.2.2).
pub(super) fn keyed_methods() -> Vec<Method> {
    vec![Method::POST, Method::PATCH]
}

/// Returns whether a request of one of the methods has no key.
pub(super) fn is_missing(methods: &[Method], method: &Method, headers: &HeaderMap) -> bool {
    methods.contains(method) && !headers.contains_key(KEY)
}

impl<S> Layer<S> for IdempotencyKeys {
    type Service = WithIdempotencyKeys<S>;

    fn layer(&self, inner: S) -> Self::Service {
        WithIdempotencyKeys {
            keys: self.clone(),
            inner,
        }
    }
}

impl<S: Service<Request<B>>, B> Service<Request<B>> for WithIdempotencyKeys<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        if self.keys.is_missing(request.method(), request.headers()) {
            let given = request.extensions().get::<IdempotencyKey>();
            let key = given.cloned().unwrap_or_else(|| self.keys.key());
            request.headers_mut().insert(KEY, key.to_header());
        }
        self.inner.call(request)
    }
}
