//! A service behind the layer, on a port of its own, and its client.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use idem_http::{IdempotencyLayer, IdempotencyLayerBuilder, Scope};
use idem_runtime::Idem;
use idem_runtime::testing::{ManualClock, Temporary, temporary_with};
use tokio::net::TcpListener;
use tokio::sync::watch;

/// Waits for what has to happen; the limit is there so that a wrong layer fails and does not hang.
pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(60), future)
        .await
        .expect("it did not happen within a minute")
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Version {
    Http1,
    Http2,
}

pub(crate) const BOTH: [Version; 2] = [Version::Http1, Version::Http2];

/// A client of one version of HTTP.
#[derive(Clone)]
pub(crate) struct Client {
    client: HyperClient<HttpConnector, Full<Bytes>>,
    pub(crate) at: SocketAddr,
}

/// A whole answer.
#[derive(Debug, PartialEq)]
pub(crate) struct Got {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Got {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn is_replay(&self) -> bool {
        self.header("idempotency-replayed") == "true"
    }

    /// The stable part of a problem's type.
    pub(crate) fn problem(&self) -> String {
        assert_eq!(
            self.header("content-type"),
            "application/problem+json",
            "{self:?}"
        );
        let details: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(details["status"], self.status.as_u16());
        let kind = details["type"].as_str().unwrap();
        kind.strip_prefix("urn:idem:problem:").unwrap().to_owned()
    }
}

pub(crate) fn post(key: &str, body: impl Into<Bytes>) -> http::Request<Full<Bytes>> {
    http::Request::post("/")
        .header("authorization", "Bearer ann")
        .header("idempotency-key", format!("\"{key}\""))
        .header("content-type", "application/json")
        .body(Full::new(body.into()))
        .unwrap()
}

impl Client {
    pub(crate) fn new(at: SocketAddr, version: Version) -> Self {
        let client = HyperClient::builder(TokioExecutor::new())
            .http2_only(version == Version::Http2)
            .build_http();
        Self { client, at }
    }

    pub(crate) async fn send(&self, request: http::Request<Full<Bytes>>) -> Got {
        let (parts, body) = self.begin(request).await.into_parts();
        Got {
            status: parts.status,
            headers: parts.headers,
            body: soon(body.collect()).await.unwrap().to_bytes(),
        }
    }

    /// Sends a request, and returns the answer with a body that is still to come.
    pub(crate) async fn begin(
        &self,
        mut request: http::Request<Full<Bytes>>,
    ) -> http::Response<hyper::body::Incoming> {
        let uri = format!("http://{}{}", self.at, request.uri());
        *request.uri_mut() = uri.parse().unwrap();
        soon(self.client.request(request)).await.unwrap()
    }

    pub(crate) async fn post(&self, key: &str, body: &'static str) -> Got {
        self.send(post(key, body)).await
    }
}

/// How often a handler ran, and what holds it up.
#[derive(Clone)]
pub(crate) struct Runs {
    started: watch::Sender<u32>,
    ended: watch::Sender<u32>,
    open: watch::Sender<bool>,
}

impl Runs {
    pub(crate) fn new() -> Self {
        let (started, ended) = (watch::Sender::new(0), watch::Sender::new(0));
        Self {
            started,
            ended,
            open: watch::Sender::new(true),
        }
    }

    pub(crate) fn started(&self) -> u32 {
        *self.started.borrow()
    }

    pub(crate) async fn starts(&self, times: u32) {
        let mut started = self.started.subscribe();
        soon(started.wait_for(|now| *now >= times)).await.unwrap();
    }

    pub(crate) async fn ends(&self, times: u32) {
        let mut ended = self.ended.subscribe();
        soon(ended.wait_for(|now| *now >= times)).await.unwrap();
    }

    /// Counts a run, and holds it up.
    pub(crate) async fn count<F: Future>(&self, handler: F) -> F::Output {
        self.started.send_modify(|started| *started += 1);
        let mut open = self.open.subscribe();
        open.wait_for(|open| *open).await.unwrap();
        let output = handler.await;
        self.ended.send_modify(|ended| *ended += 1);
        output
    }

    /// Holds up what starts from now on.
    pub(crate) fn hold(&self) {
        self.open.send_replace(false);
    }

    pub(crate) fn let_go(&self) {
        self.open.send_replace(true);
    }
}

/// A service behind the layer.
pub(crate) struct Service {
    pub(crate) idem: Temporary,
    pub(crate) clock: ManualClock,
    pub(crate) runs: Runs,
    pub(crate) client: Client,
    pub(crate) layer: IdempotencyLayer,
}

/// The order that every test's handler may answer with.
pub(crate) fn created() -> Response {
    let headers = [
        ("location", "/orders/1"),
        ("content-type", "application/json"),
    ];
    (StatusCode::CREATED, headers, r#"{"order_no":1}"#).into_response()
}

impl Service {
    /// Starts a service whose handler answers by the number of its run.
    pub(crate) async fn start<F>(
        version: Version,
        options: impl FnOnce(IdempotencyLayerBuilder) -> IdempotencyLayerBuilder,
        handler: impl Fn(u32, Request) -> F + Clone + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Response> + Send + 'static,
    {
        let clock = ManualClock::default();
        let idem = temporary_with(Idem::builder().clock(Arc::new(clock.clone()))).unwrap();
        let builder = IdempotencyLayer::builder(&idem, "http.orders", Scope::bearer());
        let layer = options(builder).build().unwrap();
        let (runs, counted) = (Runs::new(), AtomicU32::new(0));
        let (inside, counted) = (runs.clone(), Arc::new(counted));
        let route = any(move |request: Request| {
            let (runs, handler) = (inside.clone(), handler.clone());
            let run = counted.fetch_add(1, Ordering::SeqCst) + 1;
            async move { runs.count(handler(run, request)).await }
        });
        let router = Router::new()
            .route("/", route.clone())
            .route("/other", route)
            .layer(layer.clone());
        Self {
            client: Client::new(serve(router).await, version),
            idem,
            clock,
            runs,
            layer,
        }
    }

    /// [`start`](Self::start) with the defaults, and a handler that creates an order.
    pub(crate) async fn orders(version: Version) -> Self {
        Self::start(version, |layer| layer, async |_, _| created()).await
    }
}

/// Serves the routes on a port of their own.
pub(crate) async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    at
}

/// Reads a request's body.
pub(crate) async fn body(request: Request) -> Bytes {
    let body: Body = request.into_body();
    body.collect().await.unwrap().to_bytes()
}
