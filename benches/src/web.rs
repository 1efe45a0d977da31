//! Orders over HTTP: a route, its server on the loopback, and clients with a connection each.

#![expect(
    clippy::unwrap_used,
    reason = "a bench that cannot run measures nothing"
)]

use std::net::SocketAddr;
use std::ops::Range;
use std::time::Instant;

use axum::body::Body;
use axum::routing::post;
use axum::{Json, Router};
use http::{HeaderValue, Request, StatusCode};
use http_body_util::BodyExt;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::orders::{PlaceOrder, delivery, placed};

/// Returns the route that everything is measured on: it places an order, and does nothing that
/// takes time.
pub fn orders() -> Router {
    let place = async |Json(order): Json<PlaceOrder>| (StatusCode::CREATED, Json(placed(order)));
    Router::new().route("/orders", post(place))
}

/// Serves a router on a port of its own for as long as the runtime is there.
pub async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    at
}

/// Sends the orders with these numbers over so many connections, each one after the other, and
/// checks whether all are replayed, or none. Returns how many a second.
///
/// # Panics
/// When an answer is not as expected.
pub async fn rate(at: SocketAddr, connections: u64, numbers: Range<u64>, replayed: bool) -> f64 {
    let count = numbers.end - numbers.start;
    let mut opened = Vec::new();
    for _ in 0..connections {
        opened.push(connect(at).await);
    }
    let start = Instant::now();
    let sending = (0u64..).zip(opened).map(|(connection, mut sender)| {
        let numbers = numbers.clone().skip(connection as usize);
        async move {
            for number in numbers.step_by(connections as usize) {
                send(&mut sender, connection, number, replayed).await;
            }
        }
    });
    sending.collect::<JoinSet<()>>().join_all().await;
    count as f64 / start.elapsed().as_secs_f64()
}

/// A session of the connection's own, for a peer that keeps answers in sessions: 128 bits in
/// base64url.
fn session(connection: u64) -> String {
    format!("session={connection:021}A")
}

async fn connect(at: SocketAddr) -> SendRequest<Body> {
    let stream = TcpStream::connect(at).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// Returns the request of an order.
///
/// # Panics
/// Never: its parts are valid.
pub fn request(connection: u64, number: u64) -> Request<Body> {
    let order = delivery(number);
    Request::post("/orders")
        .header("host", "shop")
        .header("authorization", "Bearer bench")
        .header("content-type", "application/json")
        .header("cookie", session(connection))
        .header("idempotency-key", &order.order_no)
        .body(Body::from(serde_json::to_vec(&order).unwrap()))
        .unwrap()
}

async fn send(sender: &mut SendRequest<Body>, connection: u64, number: u64, replayed: bool) {
    let order = delivery(number);
    let request = request(connection, number);
    let (head, body) = sender.send_request(request).await.unwrap().into_parts();
    assert_eq!(head.status, StatusCode::CREATED);
    let says = head.headers.get("idempotency-replayed");
    let replay = says == Some(&HeaderValue::from_static("true"));
    assert_eq!(replay, replayed, "order {number}");
    let body = body.collect().await.unwrap().to_bytes();
    assert!(
        body.windows(order.order_no.len())
            .any(|part| part == order.order_no.as_bytes())
    );
}
