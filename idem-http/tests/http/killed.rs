//! A service that is killed inside of its handler, and started again: this test, run by itself.

use std::path::Path;
use std::process::Stdio;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post as route;
use http::StatusCode;
use idem_http::{Grpc, IdempotencyLayer, Scope};
use idem_runtime::Idem;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::common::{BOTH, Client, Runs, Version, created, serve, soon};
use crate::grpc::{self, PLACE, call, channel, order, placed};

/// The folder, for a process that is to be killed.
const FOLDER: &str = "IDEM_HTTP_KILLED";

/// Charges once for each call, and never returns the first time. Returns the attempt's number.
async fn charge(folder: String) -> u32 {
    let book = Path::new(&folder).join("book");
    let charged = std::fs::read(&book).unwrap_or_default().len();
    std::fs::write(&book, vec![b'x'; charged + 1]).unwrap();
    if charged == 0 {
        std::future::pending::<()>().await;
    }
    idem_runtime::attempt().unwrap().number
}

async fn place(State(folder): State<String>) -> Response {
    match charge(folder).await {
        2 => created(),
        _ => StatusCode::IM_A_TEAPOT.into_response(),
    }
}

/// The service. It is a test, so that the binary has it; by itself it does nothing.
#[tokio::test]
async fn service() {
    let Ok(folder) = std::env::var(FOLDER) else {
        return;
    };
    let idem = Idem::open(Path::new(&folder).join("data")).unwrap();
    let layer = IdempotencyLayer::builder(&idem, "http.orders", Scope::bearer())
        .build()
        .unwrap();
    let builder = IdempotencyLayer::builder(&idem, "grpc.orders", Scope::bearer());
    let grpc_layer = builder.build_grpc(Grpc::methods([PLACE])).unwrap();
    let of_grpc = folder.clone();
    let calls = grpc::routes(&Runs::new(), move |_, _| {
        let charged = charge(of_grpc.clone());
        async { placed(charged.await.into()) }
    });
    let router = Router::new()
        .route("/", route(place))
        .layer(layer)
        .with_state(folder)
        .merge(calls.into_axum_router().layer(grpc_layer));
    println!("serving {}", serve(router).await);
    std::future::pending::<()>().await;
}

async fn start(folder: &Path, version: Version) -> (Child, Client) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "killed::service", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let at = soon(async {
        loop {
            let line = lines
                .next_line()
                .await
                .unwrap()
                .expect("the service did not start");
            if let Some((_, at)) = line.split_once("serving ") {
                return at.parse().unwrap();
            }
        }
    })
    .await;
    (child, Client::new(at, version))
}

/// Waits for the first charge.
async fn is_charged(book: &Path) {
    soon(async {
        while std::fs::read(book).unwrap_or_default().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn the_same_request_after_a_kill_is_the_second_attempt_and_no_conflict() {
    for version in BOTH {
        let folder = tempfile::tempdir().unwrap();
        let book = folder.path().join("book");
        let (mut child, client) = start(folder.path(), version).await;
        let killed = tokio::spawn(async move { client.post("A-1", "{}").await });
        is_charged(&book).await;
        child.kill().await.unwrap();
        assert!(killed.await.is_err(), "the client was cut off");

        let (_child, client) = start(folder.path(), version).await;
        let again = client.post("A-1", "{}").await;
        assert_eq!(
            (again.status, again.is_replay()),
            (StatusCode::CREATED, false)
        );
        assert!(client.post("A-1", "{}").await.is_replay());
        // The handler was told that it is the second attempt.
        assert_eq!(std::fs::read(&book).unwrap().len(), 2);
    }
}

#[tokio::test]
async fn the_same_call_of_grpc_after_a_kill_is_the_second_attempt() {
    let folder = tempfile::tempdir().unwrap();
    let (mut child, client) = start(folder.path(), Version::Http2).await;
    let first = channel(client.at).await;
    let killed = tokio::spawn(call(first, order("A-1", "TEA")));
    is_charged(&folder.path().join("book")).await;
    child.kill().await.unwrap();
    let cut_off = killed.await.unwrap().unwrap_err();
    assert!(cut_off.metadata().get("idempotency-problem").is_none());

    let (_child, client) = start(folder.path(), Version::Http2).await;
    let again = channel(client.at).await;
    for is_replay in [false, true] {
        let answer = call(again.clone(), order("A-1", "TEA")).await.unwrap();
        let says_so = answer.metadata().contains_key("idempotency-replayed");
        assert_eq!((answer.get_ref().order_no, says_so), (2, is_replay));
    }
}
