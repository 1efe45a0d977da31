//! A real HTTP endpoint that answers what a test wants.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::serve::Listener;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio_rustls::server::TlsStream;

use super::tls::Identity;
use super::within;

/// What the endpoint answers.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// Status, a header or none, body.
    Status(u16, Option<(&'static str, &'static str)>, String),
    Never,
}

impl Answer {
    pub(crate) fn ok(body: &str) -> Self {
        Self::Status(200, None, body.to_owned())
    }

    pub(crate) fn status(status: u16) -> Self {
        Self::Status(status, None, format!("this is {status}"))
    }
}

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Request {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }
}

pub(crate) struct HttpServer {
    address: SocketAddr,
    scheme: &'static str,
    answer: Arc<Mutex<Answer>>,
    requests: mpsc::UnboundedReceiver<Request>,
    serving: AbortHandle,
}

#[derive(Clone)]
struct Endpoint {
    answer: Arc<Mutex<Answer>>,
    requests: mpsc::UnboundedSender<Request>,
}

impl HttpServer {
    pub(crate) async fn start(answer: Answer) -> Self {
        Self::serve(answer, None).await
    }

    pub(crate) async fn start_tls(answer: Answer, identity: Identity) -> Self {
        Self::serve(answer, Some(identity)).await
    }

    async fn serve(answer: Answer, identity: Option<Identity>) -> Self {
        let answer = Arc::new(Mutex::new(answer));
        let (sender, requests) = mpsc::unbounded_channel();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let endpoint = Endpoint {
            answer: Arc::clone(&answer),
            requests: sender,
        };
        let router = Router::new().fallback(take).with_state(endpoint);
        let scheme = if identity.is_some() { "https" } else { "http" };
        let serving = tokio::spawn(async move {
            match identity {
                None => axum::serve(listener, router).await,
                Some(identity) => axum::serve(TlsListener { listener, identity }, router).await,
            }
        });
        Self {
            address,
            scheme,
            answer,
            requests,
            serving: serving.abort_handle(),
        }
    }

    /// The address of a path here.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    pub(crate) fn answer(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    /// The next request.
    pub(crate) async fn request(&mut self) -> Request {
        within(self.requests.recv()).await.unwrap()
    }

    /// The requests that nobody looked at.
    pub(crate) fn rest(&mut self) -> Vec<Request> {
        std::iter::from_fn(|| self.requests.try_recv().ok()).collect()
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn take(
    State(endpoint): State<Endpoint>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let _ = endpoint.requests.send(Request { uri, headers, body });
    let answer = endpoint.answer.lock().unwrap().clone();
    match answer {
        Answer::Never => std::future::pending().await,
        Answer::Status(status, header, body) => {
            let mut response = (StatusCode::from_u16(status).unwrap(), body).into_response();
            if let Some((name, value)) = header {
                response.headers_mut().insert(name, value.parse().unwrap());
            }
            response
        }
    }
}

/// A port behind which these bytes come instead of HTTP.
pub(crate) async fn nonsense(bytes: &'static [u8]) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(bytes).await;
            let _ = stream.shutdown().await;
        }
    });
    format!("http://{address}/")
}

struct TlsListener {
    listener: TcpListener,
    identity: Identity,
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = Listener::accept(&mut self.listener).await;
            // A client that does not trust us hangs up here.
            if let Ok(stream) = self.identity.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}
