//! A call's method, key, scope and message.

use bytes::{Buf, Bytes};
use http::Request;
use http::header::{CONTENT_TYPE, HeaderMap};

use super::options::GrpcCall;
use crate::body::{Body, full};
use crate::exchange::is_inside;
use crate::key::IdempotencyKey;
use crate::layer::Options;
use crate::problem::Problem;
use crate::request::KeyedRequest;
use crate::service::{Prepared, whole};

/// Reads the key, the scope and the message, in this order where it can be: what is refused costs
/// nothing more.
pub(super) async fn prepare(
    options: &Options,
    request: Request<Body>,
) -> Prepared<Body, KeyedRequest> {
    let path = request.uri().path();
    let grpc = match &options.grpc {
        Some(grpc) if is_grpc(request.headers()) && !is_inside(&request) => grpc,
        _ => return Prepared::Pass(request),
    };
    let sent = IdempotencyKey::from_headers(request.headers());
    if grpc.refuses(path) && sent != Ok(None) {
        return Prepared::Refuse(Problem::streaming());
    }
    if !grpc.has_method(path) {
        return Prepared::Pass(request);
    }
    let sent = match sent {
        Ok(None) if grpc.has_key_field() => None,
        Ok(None) if options.required => return Prepared::Refuse(Problem::key_missing()),
        Ok(None) => return Prepared::Pass(request),
        Ok(sent) => sent,
        Err(why) => return Prepared::Refuse(Problem::key_invalid(why)),
    };
    let (parts, body) = request.into_parts();
    let Some(scope) = options.scope.of(&parts) else {
        return Prepared::Refuse(Problem::no_principal());
    };
    let body = match whole(options, body).await {
        Ok(body) => body,
        Err(problem) => return Prepared::Refuse(problem),
    };
    let message = match message(&body) {
        Ok(message) if message.is_compressed && grpc.reads_messages() => {
            return Prepared::Refuse(Problem::compressed());
        }
        Ok(message) => message.bytes,
        Err(problem) => return Prepared::Refuse(problem),
    };
    let call = GrpcCall {
        request: &parts,
        message: &message,
    };
    let key = match grpc.key_of(call).map(IdempotencyKey::new) {
        Some(Ok(key)) => key,
        Some(Err(why)) => return Prepared::Refuse(Problem::key_invalid(why)),
        None => match sent {
            Some(key) => key,
            None if options.required => return Prepared::Refuse(Problem::key_missing()),
            None => return Prepared::Pass(Request::from_parts(parts, full(body))),
        },
    };
    let compared = grpc.fingerprint_of(call);
    Prepared::Run(KeyedRequest {
        scope,
        key,
        parts,
        body,
        compared,
    })
}

fn is_grpc(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|it| it.to_str().ok());
    // Not gRPC-Web, whose trailers are in the body.
    value.is_some_and(|value| match value.strip_prefix("application/grpc") {
        Some(rest) => rest.is_empty() || rest.starts_with(['+', ';']),
        None => false,
    })
}

/// The only message of a unary call.
struct Message {
    is_compressed: bool,
    bytes: Bytes,
}

/// Reads the message of a call: a byte that says whether it is compressed, its length as four bytes,
/// and itself ("gRPC over HTTP2", Length-Prefixed-Message).
fn message(body: &Bytes) -> Result<Message, Problem> {
    let mut rest = body.clone();
    let (Ok(flag), Ok(length)) = (rest.try_get_u8(), rest.try_get_u32()) else {
        return Err(Problem::body_cut());
    };
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    match rest.len() {
        left if left < length => Err(Problem::body_cut()),
        left if left > length => Err(Problem::streaming()),
        _ => Ok(Message {
            is_compressed: flag != 0,
            bytes: rest,
        }),
    }
}
