//! Letters of requests, run again by people.

use std::fmt::Display;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body as HttpBody;
use http_body_util::Full;
use parking_lot::Mutex;
use tower_service::Service;

use crate::answer::Answer;
use crate::attempt::{Live, attempt, of_request};
use crate::body::BoxError;
use crate::failure::Failure;
use crate::layer::IdempotencyLayer;
use crate::request::StoredRequest;

impl IdempotencyLayer {
    /// Registers the service that runs letters of this layer's requests when a person says so: the
    /// routes without the layers for authentication, as a letter has no credentials. Without it, a
    /// run of a letter says that no handler is registered.
    ///
    /// The request has the method, path, query and body of the letter, the headers that are stored,
    /// and its [`IdempotencyKey`](crate::IdempotencyKey) in its extensions. With the feature `axum`
    /// the path is the client's: where the layer is inside of a `nest`, register the outer routes.
    ///
    /// The service lives as long as the ledger is open. An [`Idem`](idem_runtime::Idem) or a layer in
    /// its state would keep the ledger open, until [`close`](idem_runtime::Idem::close).
    pub fn register<S, R>(&self, service: S)
    where
        S: Service<Request<Full<Bytes>>, Response = Response<R>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Display + Send + 'static,
        R: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let settings = &*self.0;
        // The ledger's own handle is not in it: that would keep the ledger open.
        let (handler, options) = (settings.handler, Arc::clone(&settings.options));
        let service = Mutex::new(service);
        let name = settings.handler.name();
        settings
            .idem
            .register_handler(name, move |stored: StoredRequest<'static>| {
                let (inner, options) = (service.lock().clone(), Arc::clone(&options));
                async move {
                    let call = handler.call::<Failure<S::Error>>();
                    let call = of_request(call)
                        .key(&*stored.scope)
                        .key(&*stored.key)
                        .payload(&stored)
                        .no_fingerprint();
                    let request = stored.into_request()?;
                    let result = call.run(move || {
                        let (parts, body) = request.clone().into_parts();
                        let request = Request::from_parts(parts, Full::new(body));
                        let (inner, options) = (inner.clone(), Arc::clone(&options));
                        async move { attempt(&options, inner, request, &Live::default()).await }
                    });
                    let result: Result<Answer, _> = result.await;
                    result.map_err(|failure| failure.to_string())
                }
            });
    }
}
