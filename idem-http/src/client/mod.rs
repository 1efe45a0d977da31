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
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let connection = tower::service_fn(|request: http::Request<String>| async move {
//! #     assert!(request.headers().contains_key("idempotency-key"));
//! #     Ok::<_, std::convert::Infallible>(http::Response::new(String::new()))
//! # });
//! let client = ServiceBuilder::new()
//!     .layer(IdempotencyKeys::new())
//!     .layer(RetryLayer::new(Retries::new()))
//!     .service(connection);
//! # let order = http::Request::post("/orders").body(String::new())?;
//! # tower::ServiceExt::oneshot(client, order).await?;
//! # Ok(()) }
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
