//! A real HTTP server that answers what a test wants.

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

use crate::tls::Identity;
use crate::within;

/// What the endpoint answers.
#[derive(Debug, Clone)]
pub enum Answer {
    /// Status, a header or none, body.
    Status(u16, Option<(&'static str, &'static str)>, String),
    /// Nothing, ever.
    Never,
}

impl Answer {
    /// Returns status 200 with this body.
    pub fn ok(body: &str) -> Self {
        Self::Status(200, None, body.to_owned())
    }

    /// Returns this status with a body that names it.
    pub fn status(status: u16) -> Self {
        Self::Status(status, None, format!("this is {status}"))
    }
}

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Request {
    /// Where it went.
    pub uri: Uri,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Request {
    /// Returns the body as JSON.
    ///
    /// # Panics
    /// When it is not.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Returns the header of this name.
    ///
    /// # Panics
    /// When there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }
}

/// A server on a port of its own; it ends when it is dropped.
pub struct HttpServer {
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
    /// Starts one.
    pub async fn start(answer: Answer) -> Self {
        Self::serve(answer, None).await
    }

    /// Starts one with TLS.
    pub async fn start_tls(answer: Answer, identity: Identity) -> Self {
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

    /// Returns the address of a path here.
    pub fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    /// Answers this from now on.
    pub fn answer(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    /// Waits for the next request.
    pub async fn request(&mut self) -> Request {
        within(self.requests.recv()).await.unwrap()
    }

    /// Returns the requests that were not taken yet.
    pub fn rest(&mut self) -> Vec<Request> {
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

/// Starts a server that sends these bytes instead of HTTP, and returns its address.
pub async fn nonsense(bytes: &'static [u8]) -> String {
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
