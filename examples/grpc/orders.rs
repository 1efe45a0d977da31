//! The service `shop.v1.Orders`: what `tonic-prost-build` would generate from its `.proto`, by hand.

use std::convert::Infallible;

use axum::Router;
use axum::http::uri::PathAndQuery;
use prost::Message;
use tonic::service::Routes;
use tonic::transport::Channel;
use tonic::{Request, Response, Status, client, server};
use tonic_prost::ProstCodec;
use tower::service_fn;

pub(crate) const PLACE: &str = "/shop.v1.Orders/Place";

#[derive(Clone, PartialEq, Message)]
pub(crate) struct PlaceOrder {
    #[prost(string, tag = "1")]
    pub(crate) sku: String,
    #[prost(uint32, tag = "2")]
    pub(crate) qty: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Placed {
    #[prost(uint64, tag = "1")]
    pub(crate) order_no: u64,
}

/// Returns the routes of the service's only method.
pub(crate) fn routes<F>(place: fn(Request<PlaceOrder>) -> F) -> Routes
where
    F: Future<Output = Result<Response<Placed>, Status>> + Send + 'static,
{
    let service = service_fn(move |request| async move {
        let mut grpc = server::Grpc::new(ProstCodec::default());
        let request: axum::http::Request<axum::body::Body> = request;
        Ok::<_, Infallible>(grpc.unary(service_fn(place), request).await)
    });
    Routes::from(Router::new().route_service(PLACE, service))
}

/// Calls the method.
pub(crate) async fn call(
    channel: Channel,
    request: Request<PlaceOrder>,
) -> Result<Response<Placed>, Status> {
    let mut grpc = client::Grpc::new(channel);
    let ready = grpc.ready().await;
    ready.map_err(|error| Status::unavailable(error.to_string()))?;
    let place = PathAndQuery::from_static(PLACE);
    grpc.unary(request, place, ProstCodec::default()).await
}
