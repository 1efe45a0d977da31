//! An HTTP server that limits what unfinished requests hold.

mod connections;
mod write_timeout;

use std::convert::Infallible;
use std::future::{self, IntoFuture};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use idem_runtime::clock::BoxFuture;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tower::ServiceExt;

use connections::{Connection, Connections};
use write_timeout::WriteTimeout;

/// The maximum size of a request's head, in bytes.
const HEAD: usize = 64 << 10;
/// How long an answer may stay unread.
const UNREAD: Duration = Duration::from_secs(30);
/// The pause after a failure that may pass: the process has no file left for a connection.
const PAUSE: Duration = Duration::from_secs(1);

/// Serves a router over HTTP/1.1, such as one with the dashboard.
///
/// Unlike `axum::serve` it limits what unfinished requests hold. A request's head has to arrive in
/// ten seconds, an idle connection is closed after the same time, and an answer that is not read
/// after thirty. Of 256 connections, the one that has been idle longest makes room for the next.
/// Handlers can extract the client's address as `ConnectInfo<SocketAddr>`.
///
/// ```no_run
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let app = axum::Router::new();
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
/// let ended = async { drop(tokio::signal::ctrl_c().await) };
/// idem_ops::serve(listener, app).until(ended).await;
/// # Ok(()) }
/// ```
pub fn serve(listener: TcpListener, app: Router) -> Serve {
    Serve {
        listener,
        app,
        connections: 256,
        head: Duration::from_secs(10),
        patience: Duration::from_secs(10),
        end: Box::pin(future::pending()),
    }
}

/// A server, which runs when it is awaited.
#[must_use = "nothing is served before it is awaited"]
pub struct Serve {
    listener: TcpListener,
    app: Router,
    connections: usize,
    head: Duration,
    patience: Duration,
    end: BoxFuture<'static, ()>,
}

impl Serve {
    /// Sets the maximum number of connections, at least two; 256 by default. Each one is an open
    /// file of this process.
    pub fn connections(mut self, most: usize) -> Self {
        self.connections = most.max(2);
        self
    }

    /// Sets the maximum time until a request's head has arrived, and the maximum time that a
    /// connection is idle; ten seconds by default.
    pub fn head_deadline(mut self, deadline: Duration) -> Self {
        self.head = deadline;
        self
    }

    /// Serves until `end` completes: then it accepts no connections, and finishes the requests in
    /// progress.
    pub fn until(mut self, end: impl Future<Output = ()> + Send + 'static) -> Self {
        self.end = Box::pin(end);
        self
    }

    /// Sets the maximum time to finish the requests in progress at the end; ten seconds by default.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    async fn run(self) {
        let Self {
            listener,
            app,
            connections,
            head,
            patience,
            mut end,
        } = self;
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(head)
            .max_buf_size(HEAD);
        let (idle, ending, mut open) = (
            Arc::<Connections>::default(),
            watch::Sender::new(false),
            JoinSet::new(),
        );
        loop {
            let full = open.len() >= connections;
            let room = !full || idle.any_idle();
            let accepted = tokio::select! {
                () = &mut end => break,
                Some(_) = open.join_next() => continue,
                () = idle.one_more_idle(), if !room => continue,
                accepted = listener.accept(), if room => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    if full {
                        idle.evict_one();
                    }
                    let connection = Connections::add(&idle);
                    open.spawn(serve_connection(
                        stream,
                        peer,
                        app.clone(),
                        connection,
                        http.clone(),
                        ending.subscribe(),
                    ));
                }
                // The client has closed the connection already.
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset
                    ) => {}
                Err(error) => {
                    tracing::warn!(%error, "accepting a connection failed; trying again");
                    sleep(PAUSE).await;
                }
            }
        }
        drop(listener);
        ending.send_replace(true);
        let finished = async { while open.join_next().await.is_some() {} };
        if timeout(patience, finished).await.is_err() {
            tracing::warn!(
                connections = open.len(),
                "requests in progress did not finish in time and are aborted"
            );
            open.shutdown().await;
        }
    }
}

impl IntoFuture for Serve {
    type Output = ();
    type IntoFuture = BoxFuture<'static, ()>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

async fn serve_connection(
    stream: TcpStream,
    peer: SocketAddr,
    app: Router,
    connection: Arc<Connection>,
    http: http1::Builder,
    mut ending: watch::Receiver<bool>,
) {
    let service = service_fn(|request: Request<Incoming>| {
        let (app, active) = (app.clone(), connection.start_request());
        async move {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(ConnectInfo(peer));
            let answer: Result<Response<Body>, Infallible> = app.oneshot(request).await;
            answer.map(|answer| answer.map(|body| active.until_sent(body)))
        }
    });
    // Small answers are sent at once. Without it they are only slower, so an error is ignored.
    let _ = stream.set_nodelay(true);
    let io = TokioIo::new(WriteTimeout::new(stream, UNREAD));
    let mut serving = pin!(http.serve_connection(io, service).with_upgrades());
    let mut ended = false;
    loop {
        tokio::select! {
            served = serving.as_mut() => {
                if let Err(error) = served {
                    tracing::debug!(%peer, %error, "a connection failed");
                }
                return;
            }
            // A request may have arrived meanwhile: then another connection has to make room.
            () = connection.evicted() => if connection.is_busy() { connection.pass_on() } else { return },
            _ = ending.changed(), if !ended => {
                if !connection.is_busy() {
                    return;
                }
                ended = true;
                serving.as_mut().graceful_shutdown();
            }
        }
    }
}
