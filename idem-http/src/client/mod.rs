//! The client's side: one idempotency key for each logical request, kept over its retries.
//!
//! A request that is sent again has to carry the key of the first try, else the server takes it for
//! another request. [`IdempotencyKeys`] therefore goes outside of what sends a request again:
//!
//! ```
//! use idem_http::client::{IdempotencyKeys, Retries};
//! use tower::ServiceBuilder;
//! use tower::retry::RetryLayer;
//!
//! # #[derive(Clone)] struct Connection;
//! # impl tower::Service<http::Request<String>> for Connection {
//! #     type Response = http::Response<String>;
//! #     type Error = std::convert::Infallible;
//! #     type Future = std::future::Ready<Result<Self::Response, Self::Error>>;
//! #     fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> { Ok(()).into() }
//! #     fn call(&mut self, request: http::Request<String>) -> Self::Future {
//! #         assert!(request.headers().contains_key("idempotency-key"));
//! #         std::future::ready(Ok(http::Response::new(String::new())))
//! #     }
//! # }
//! # let connection = Connection;
//! let client = ServiceBuilder::new()
//!     .layer(IdempotencyKeys::new())
//!     .layer(RetryLayer::new(Retries::new()))
//!     .service(connection);
//! # let _ = tower::ServiceExt::oneshot(client, http::Request::post("/orders").body(String::new()).unwrap());
//! ```
//!
//! In the wrong order, tower's `Retry` clones a request before it has a key. [`Retries`] does not
//! repeat such a request, and logs a warning; another policy would repeat it under a new key each
//! time. With the feature `reqwest-middleware`, the types are middlewares, too, and there the order
//! does not matter for the key.
//!
//! An operation that outlives the process, as a payment in a queue, stores its key with it: put that
//! [`IdempotencyKey`](crate::IdempotencyKey) into the header or the request's extensions. A key
//! that is there is never changed.

mod issued;
mod keys;
mod replayed;
#[cfg(feature = "reqwest-middleware")]
mod reqwest;
mod retry;

pub use issued::{IssueError, IssuedKeys, WithIssuedKeys};
pub use keys::{IdempotencyKeys, WithIdempotencyKeys};
pub use replayed::Replayed;
pub use retry::Retries;
