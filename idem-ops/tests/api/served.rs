//! A served dashboard under clients that do not finish their requests.

#![expect(
    clippy::unwrap_used,
    reason = "a helper that cannot go on fails its test"
)]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::routing::get;
use idem_ops::serve;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};

use crate::common::{until, within};

/// Longer than any test.
const LONG: Duration = Duration::from_secs(3600);

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn app() -> Router {
    Router::new().route(
        "/",
        get(|ConnectInfo(who): ConnectInfo<SocketAddr>| async move { who.ip().to_string() }),
    )
}

/// Sends a text and returns the connection.
async fn send(address: SocketAddr, what: &str) -> TcpStream {
    let mut stream = within(TcpStream::connect(address)).await.unwrap();
    stream.write_all(what.as_bytes()).await.unwrap();
    stream
}

const HALF: &str = "GET / HTTP/1.1\r\nhost: a\r\nx-half:";
const WHOLE: &str = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

/// Reads until the other end closes.
async fn answer(mut stream: TcpStream) -> String {
    let mut text = Vec::new();
    // An aborted connection may be reset.
    let _ = within(stream.read_to_end(&mut text)).await;
    String::from_utf8(text).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_hundred_unfinished_requests_do_not_stop_others() {
    let (listener, address) = listener().await;
    let serving = tokio::spawn(
        serve(listener, app())
            .connections(64)
            .head_deadline(LONG)
            .into_future(),
    );
    let closed = Arc::<AtomicUsize>::default();
    let mut standing = Vec::new();
    for _ in 0..300 {
        let (stream, closed) = (send(address, HALF).await, Arc::clone(&closed));
        standing.push(tokio::spawn(async move {
            answer(stream).await;
            closed.fetch_add(1, Ordering::SeqCst);
        }));
    }
    let told = answer(send(address, WHOLE).await).await;
    assert!(
        told.starts_with("HTTP/1.1 200") && told.ends_with("127.0.0.1"),
        "{told}"
    );
    // The longest idle ones made room: at most 64 are open.
    until(
        async || closed.load(Ordering::SeqCst),
        |closed| *closed >= 300 - 64,
    )
    .await;
    assert!(
        closed.load(Ordering::SeqCst) < 300,
        "all of them were cut off, and not only those that had to be"
    );
    standing.iter().for_each(tokio::task::JoinHandle::abort);
    serving.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_head_and_an_idle_connection_are_closed() {
    let (listener, address) = listener().await;
    let serving = tokio::spawn(
        serve(listener, app())
            .head_deadline(Duration::from_millis(300))
            .into_future(),
    );
    let (nothing, half) = (send(address, "").await, send(address, HALF).await);
    let kept = send(address, &WHOLE.replace("connection: close\r\n", "")).await;
    assert!(
        answer(send(address, WHOLE).await)
            .await
            .starts_with("HTTP/1.1 200"),
        "while they stand"
    );
    assert!(answer(kept).await.starts_with("HTTP/1.1 200"));
    for unfinished in [nothing, half] {
        assert!(!answer(unfinished).await.contains("200"));
    }
    serving.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_in_progress_is_not_evicted_and_is_finished_at_the_end() {
    let (listener, address) = listener().await;
    let (begun, allowed) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let (begin, wait) = (Arc::clone(&begun), Arc::clone(&allowed));
    let work = move || {
        let (begin, wait) = (Arc::clone(&begin), Arc::clone(&wait));
        async move {
            begin.add_permits(1);
            wait.acquire().await.unwrap().forget();
            "done"
        }
    };
    let app = app().route("/work", get(work));
    let (end, ended) = oneshot::channel::<()>();
    let ended = async { drop(ended.await) };
    let serving = tokio::spawn(
        serve(listener, app)
            .connections(2)
            .head_deadline(LONG)
            .until(ended)
            .into_future(),
    );
    let working = send(address, &WHOLE.replace("GET / ", "GET /work ")).await;
    within(begun.acquire()).await.unwrap().forget();
    // More than the maximum, one after the other.
    for _ in 0..10 {
        drop(send(address, HALF).await);
    }
    let half = send(address, HALF).await;
    assert!(
        answer(send(address, WHOLE).await)
            .await
            .starts_with("HTTP/1.1 200")
    );
    end.send(()).unwrap();
    until(
        async || TcpStream::connect(address).await.is_err(),
        |refused| *refused,
    )
    .await;
    assert_eq!(answer(half).await, "", "what had not begun is closed");
    allowed.add_permits(1);
    assert!(answer(working).await.ends_with("done"));
    within(serving).await.unwrap();
}
