//! A server that clients who do not finish what they begin cannot stop.

mod seats;
mod stall;

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

use seats::{Seat, Seats};
use stall::Stalling;

/// What a request's head may take in memory.
const HEAD: usize = 64 << 10;
/// How long a client may leave an answer unread.
const UNREAD: Duration = Duration::from_secs(30);
/// After trouble that a moment may mend: no file is left for a connection.
const PAUSE: Duration = Duration::from_secs(1);

/// Serves the dashboard, or any router with it, over HTTP/1.1.
///
/// Unlike `axum::serve` it bounds what unfinished requests hold: a head has ten seconds to come, a
/// connection that waits for the next request as long, and an answer that nobody reads thirty. Of
/// 256 connections the one that has waited longest makes room for the next. A handler sees who is
/// connected as `ConnectInfo<SocketAddr>`.
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

/// A server that begins when it is awaited.
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
    /// How many connections there may be at once, at least two; 256 unless said. Each is an open
    /// file of this process.
    pub fn connections(mut self, most: usize) -> Self {
        self.connections = most.max(2);
        self
    }

    /// How long a request's head may take to come, and how long a connection may wait for the next
    /// request; ten seconds unless said.
    pub fn head_deadline(mut self, deadline: Duration) -> Self {
        self.head = deadline;
        self
    }

    /// Serves until this ends: then nothing new is taken, and what is under way is finished.
    pub fn until(mut self, end: impl Future<Output = ()> + Send + 'static) -> Self {
        self.end = Box::pin(end);
        self
    }

    /// How long what is under way may take once the end has come; ten seconds unless said.
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
        let (seats, ending, mut open) = (
            Arc::<Seats>::default(),
            watch::Sender::new(false),
            JoinSet::new(),
        );
        loop {
            let full = open.len() >= connections;
            let room = !full || seats.any_waits();
            let accepted = tokio::select! {
                () = &mut end => break,
                Some(_) = open.join_next() => continue,
                () = seats.one_more_waits(), if !room => continue,
                accepted = listener.accept(), if room => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    if full {
                        seats.free_one();
                    }
                    let seat = Seats::take(&seats);
                    open.spawn(connection(
                        stream,
                        peer,
                        app.clone(),
                        seat,
                        http.clone(),
                        ending.subscribe(),
                    ));
                }
                // The client has gone already.
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset
                    ) => {}
                Err(error) => {
                    tracing::warn!(%error, "no connection can be taken; trying again");
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
                "requests that were under way are cut off: their time is over"
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

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    app: Router,
    seat: Arc<Seat>,
    http: http1::Builder,
    mut ending: watch::Receiver<bool>,
) {
    let service = service_fn(|request: Request<Incoming>| {
        let (app, working) = (app.clone(), seat.work());
        async move {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(ConnectInfo(peer));
            let answer: Result<Response<Body>, Infallible> = app.oneshot(request).await;
            answer.map(|answer| answer.map(|body| working.until_sent(body)))
        }
    });
    // Small answers go out at once; that a system refuses this is no reason not to answer.
    let _ = stream.set_nodelay(true);
    let io = TokioIo::new(Stalling::new(stream, UNREAD));
    let mut serving = pin!(http.serve_connection(io, service).with_upgrades());
    let mut ended = false;
    loop {
        tokio::select! {
            served = serving.as_mut() => {
                if let Err(error) = served {
                    tracing::debug!(%peer, %error, "a connection broke off");
                }
                return;
            }
            // A request may have come meanwhile: then it is another's turn.
            () = seat.is_wanted() => if seat.works() { seat.pass_on() } else { return },
            _ = ending.changed(), if !ended => {
                if !seat.works() {
                    return;
                }
                ended = true;
                serving.as_mut().graceful_shutdown();
            }
        }
    }
}
