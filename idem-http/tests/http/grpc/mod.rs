//! A server of tonic behind the layer, its client, and what goes over the wire.

mod answers;
mod calls;
mod codes;
mod runs;

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::Router;
use bytes::{BufMut, Bytes, BytesMut};
use http::uri::PathAndQuery;
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt, Full};
use idem_http::{Grpc, GrpcIdempotencyLayer, IdempotencyLayer, IdempotencyLayerBuilder, Scope};
use idem_runtime::testing::{Temporary, temporary};
use prost::Message;
use tokio::net::TcpListener;
use tonic::service::Routes;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Server};
use tonic_prost::ProstCodec;
use tower::service_fn;

use crate::common::{Client, Runs, Version, soon};

pub(crate) const PLACE: &str = "/shop.v1.Orders/Place";

#[derive(Clone, PartialEq, Message)]
pub(crate) struct PlaceOrder {
    #[prost(string, tag = "1")]
    pub(crate) request_id: String,
    #[prost(string, tag = "2")]
    pub(crate) sku: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Placed {
    #[prost(uint64, tag = "1")]
    pub(crate) order_no: u64,
}

pub(crate) type Answer = Result<tonic::Response<Placed>, tonic::Status>;

/// An order with a key.
pub(crate) fn order(key: &str, sku: &str) -> tonic::Request<PlaceOrder> {
    let mut request = tonic::Request::new(PlaceOrder {
        request_id: String::new(),
        sku: sku.to_owned(),
    });
    let metadata = request.metadata_mut();
    metadata.insert("authorization", "Bearer ann".parse().unwrap());
    if !key.is_empty() {
        metadata.insert("idempotency-key", key.parse().unwrap());
    }
    request
}

/// The routes of a service whose handler answers by the number of its run.
pub(crate) fn routes<F>(
    runs: &Runs,
    handler: impl Fn(u32, tonic::Request<PlaceOrder>) -> F + Clone + Send + Sync + 'static,
) -> Routes
where
    F: Future<Output = Answer> + Send + 'static,
{
    let (runs, counted) = (runs.clone(), Arc::new(AtomicU32::new(0)));
    let place = service_fn(move |request| {
        let (runs, handler) = (runs.clone(), handler.clone());
        let run = counted.fetch_add(1, Ordering::SeqCst) + 1;
        async move { runs.count(handler(run, request)).await }
    });
    // What tonic generates for a service of one method.
    let service = service_fn(move |request: http::Request<axum::body::Body>| {
        let place = place.clone();
        async move {
            let mut grpc = tonic::server::Grpc::new(ProstCodec::<Placed, PlaceOrder>::default());
            Ok::<_, Infallible>(grpc.unary(place, request).await)
        }
    });
    let router = Router::new()
        .route_service(PLACE, service.clone())
        .route_service("/shop.v1.Orders/Import", service);
    Routes::from(router)
}

pub(crate) fn placed(order_no: u64) -> Answer {
    Ok(tonic::Response::new(Placed { order_no }))
}

/// A service behind the layer.
pub(crate) struct Shop {
    pub(crate) idem: Temporary,
    pub(crate) runs: Runs,
    pub(crate) layer: GrpcIdempotencyLayer,
    pub(crate) at: SocketAddr,
    channel: Channel,
}

impl Shop {
    pub(crate) async fn start<F>(
        options: impl FnOnce(IdempotencyLayerBuilder) -> IdempotencyLayerBuilder,
        grpc: Grpc,
        handler: impl Fn(u32, tonic::Request<PlaceOrder>) -> F + Clone + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        let idem = temporary().unwrap();
        let builder = IdempotencyLayer::builder(&idem, "grpc.orders", Scope::bearer());
        let layer = options(builder).build_grpc(grpc).unwrap();
        let runs = Runs::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let server = Server::builder()
            .layer(layer.clone())
            .add_routes(routes(&runs, handler))
            .serve_with_incoming(TcpIncoming::from(listener));
        tokio::spawn(server);
        Self {
            idem,
            runs,
            layer,
            at,
            channel: channel(at).await,
        }
    }

    /// A shop with the defaults, whose handler answers with the number of its run.
    pub(crate) async fn orders() -> Self {
        Self::start(
            |it| it,
            Grpc::methods([PLACE]),
            async |run, _| placed(run.into()),
        )
        .await
    }

    pub(crate) async fn call(&self, request: tonic::Request<PlaceOrder>) -> Answer {
        call(self.channel.clone(), request).await
    }

    pub(crate) async fn place(&self, key: &str) -> Answer {
        self.call(order(key, "TEA")).await
    }

    /// Sends frames as they are, and returns all that comes back.
    pub(crate) async fn raw(&self, path: &str, key: &str, body: Bytes) -> Raw {
        let client = Client::new(self.at, Version::Http2);
        let mut request = http::Request::post(path)
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("authorization", "Bearer ann");
        if !key.is_empty() {
            request = request.header("idempotency-key", key);
        }
        let answer = client.begin(request.body(Full::new(body)).unwrap()).await;
        let (parts, body) = answer.into_parts();
        let body = soon(body.collect()).await.unwrap();
        Raw {
            status: parts.status,
            headers: parts.headers,
            trailers: body.trailers().cloned(),
            body: body.to_bytes(),
        }
    }
}

/// What came over the wire.
#[derive(Debug, PartialEq)]
pub(crate) struct Raw {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) trailers: Option<HeaderMap>,
}

pub(crate) async fn channel(at: SocketAddr) -> Channel {
    let endpoint = Channel::from_shared(format!("http://{at}")).unwrap();
    soon(endpoint.connect()).await.unwrap()
}

pub(crate) async fn call(channel: Channel, request: tonic::Request<PlaceOrder>) -> Answer {
    let mut client = tonic::client::Grpc::new(channel);
    soon(client.ready()).await.unwrap();
    let path = PathAndQuery::from_static(PLACE);
    soon(client.unary(request, path, ProstCodec::default())).await
}

/// A message in its frame.
pub(crate) fn frame(message: &impl Message) -> Bytes {
    let message = message.encode_to_vec();
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(message.len().try_into().unwrap());
    frame.put_slice(&message);
    frame.freeze()
}

/// What idem says is wrong, and when to try again.
pub(crate) fn problem(status: &tonic::Status) -> (tonic::Code, &str, &str) {
    let of = |name| {
        let value = status.metadata().get(name);
        value.map_or("", |value| value.to_str().unwrap())
    };
    (
        status.code(),
        of("idempotency-problem"),
        of("grpc-retry-pushback-ms"),
    )
}
