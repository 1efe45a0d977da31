//! The layer and the service for gRPC.

use std::fmt::Display;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body::Body as HttpBody;
use http_body_util::Full;
use tower_layer::Layer;
use tower_service::Service;

use super::call::prepare;
use super::options::{Grpc, check};
use super::{RECORDED, STORED};
use crate::body::{Body, BoxError, boxed};
use crate::exchange::run;
use crate::layer::{IdempotencyLayer, IdempotencyLayerBuilder, LayerError, Settings};
use crate::order;
use crate::service::{Prepared, pass};

/// Runs each unary call of gRPC with an idempotency key once, and replays its answer, trailers
/// included, to duplicates: [`IdempotencyLayer`] for calls of gRPC.
///
/// What it refuses is a status of gRPC. `grpc-retry-pushback-ms` says when to try again, and -1 that
/// it has no effect; `idempotency-problem` names what is wrong, with the names that problems have
/// over HTTP.
///
/// It is put on a server of tonic, or on any service of HTTP/2 that speaks gRPC and takes
/// [`Body`] as a request's body, as those that tonic generates do.
#[derive(Debug, Clone)]
pub struct GrpcIdempotencyLayer(IdempotencyLayer);

/// The service that [`GrpcIdempotencyLayer`] makes.
#[derive(Clone)]
pub struct GrpcIdempotency<S> {
    settings: Arc<Settings>,
    inner: S,
}

impl IdempotencyLayerBuilder {
    /// Checks the options, and returns a layer for unary calls of gRPC. [`methods`](Self::methods)
    /// and [`on_status`](Self::on_status) have no meaning for it: [`Grpc`] has its own.
    ///
    /// # Errors
    /// As [`build`](Self::build); when a path is not that of a method, or there is none.
    pub fn build_grpc(mut self, grpc: Grpc) -> Result<GrpcIdempotencyLayer, LayerError> {
        check(&grpc).map_err(LayerError::Method)?;
        self.options.stored_headers.extend(STORED);
        self.options.recorded_headers.extend(RECORDED);
        self.options.grpc = Some(grpc);
        self.build().map(GrpcIdempotencyLayer)
    }
}

impl GrpcIdempotencyLayer {
    /// Registers the service that runs letters of this layer's calls when a person says so: see
    /// [`IdempotencyLayer::register`].
    pub fn register<S, R>(&self, service: S)
    where
        S: Service<Request<Full<Bytes>>, Response = Response<R>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Display + Send + 'static,
        R: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        self.0.register(service);
    }
}

impl<S> Layer<S> for GrpcIdempotencyLayer {
    type Service = GrpcIdempotency<S>;

    /// Wraps a service.
    ///
    /// # Panics
    /// When the service is one that has to stand outside, as far as its type tells.
    fn layer(&self, inner: S) -> GrpcIdempotency<S> {
        order::check::<S>();
        GrpcIdempotency {
            settings: Arc::clone(&self.0.0),
            inner,
        }
    }
}

impl<S, B, R> Service<Request<B>> for GrpcIdempotency<S>
where
    S: Service<Request<Body>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Display + Send + 'static,
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
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
        Box::pin(async move {
            let request = request.map(boxed);
            match prepare(&settings.options, request).await {
                // In a box, so that the others need no room for it.
                Prepared::Pass(request) => Box::pin(pass(inner, request)).await,
                Prepared::Refuse(problem) => Ok(settings.options.refuse(problem)),
                Prepared::Run(request) => run(settings, inner, request).await,
            }
        })
    }
}
