//! Unary calls of gRPC, whatever library serves them: the layer speaks its framing over HTTP/2.

mod call;
mod options;
mod service;
mod status;

pub use options::{Grpc, GrpcCall};
pub use service::{GrpcIdempotency, GrpcIdempotencyLayer};
pub(crate) use status::{Status, refused};

use http::HeaderName;

/// How a message is compressed.
const ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");

/// Headers of calls that are stored.
const STORED: [HeaderName; 1] = [ENCODING];

/// Headers and trailers of answers that are recorded.
const RECORDED: [HeaderName; 4] = [ENCODING, status::STATUS, status::MESSAGE, status::DETAILS];
