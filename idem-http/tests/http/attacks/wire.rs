//! What is wrong below HTTP's own words: bytes on a socket.

use http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use axum::response::IntoResponse;

use crate::common::{Service, Version, body, post, soon};

const HEAD: &str = "POST / HTTP/1.1\r\nhost: shop\r\nauthorization: Bearer ann\r\n\
                    content-type: application/json\r\n";

/// Sends bytes, and returns all that comes back until the server closes.
async fn exchanged(service: &Service, bytes: &str) -> String {
    let mut socket = TcpStream::connect(service.client.at).await.unwrap();
    socket.write_all(bytes.as_bytes()).await.unwrap();
    socket.shutdown().await.unwrap();
    let mut answer = Vec::new();
    // A server that refuses may reset what it did not read.
    let _ = soon(socket.read_to_end(&mut answer)).await;
    String::from_utf8(answer).unwrap()
}

async fn echoing() -> Service {
    let echo = async |_, request| (StatusCode::CREATED, body(request).await).into_response();
    Service::start(Version::Http1, |layer| layer, echo).await
}

#[tokio::test]
async fn a_request_whose_length_is_in_doubt_runs_nothing() {
    for framing in [
        "content-length: 2\r\ncontent-length: 3\r\n",
        "content-length: 2, 3\r\n",
        "content-length: +2\r\n",
        "content-length: 0x2\r\n",
        "content-length: -2\r\n",
        "transfer-encoding: chunkedx\r\n",
        "transfer-encoding: chunked, identity\r\n",
        "transfer-encoding : chunked\r\n",
        " transfer-encoding: chunked\r\n",
    ] {
        let service = echoing().await;
        let request = format!("{HEAD}idempotency-key: A-1\r\n{framing}\r\n2\r\n{{}}\r\n0\r\n\r\n");
        let answer = exchanged(&service, &request).await;
        assert!(!answer.contains(" 201 "), "{framing}{answer}");
        assert_eq!(service.runs.started(), 0, "{framing}");
        assert_eq!(service.client.post("A-1", "{}").await.status, 201);
    }
}

/// RFC 9112, 6.3: the transfer encoding overrides the length.
#[tokio::test]
async fn a_request_with_two_lengths_is_recorded_as_the_handler_saw_it() {
    let service = echoing().await;
    let hidden = format!("{HEAD}idempotency-key: A-2\r\ncontent-length: 2\r\n\r\n[]");
    let request = format!(
        "{HEAD}idempotency-key: A-1\r\ncontent-length: {}\r\ntransfer-encoding: chunked\r\n\r\n\
         2\r\n{{}}\r\n0\r\n\r\n{hidden}",
        hidden.len() + 12
    );
    exchanged(&service, &request).await;
    let got = service.client.post("A-1", "{}").await;
    assert_eq!((&*got.body, got.is_replay()), (&b"{}"[..], true));
}

#[tokio::test]
async fn a_line_break_in_a_header_ends_in_no_record() {
    for key in [
        "\"A-1\r\n x\"",
        "\"A-1\rx\"",
        "\"A-1\u{0}\"",
        "\"A-1\nset-cookie: a=1\"",
    ] {
        let service = echoing().await;
        let request = format!("{HEAD}idempotency-key: {key}\r\ncontent-length: 2\r\n\r\n{{}}");
        let answer = exchanged(&service, &request).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{key:?} {answer}");
        assert_eq!(service.runs.started(), 0, "{key:?}");
    }
}

#[tokio::test]
async fn the_same_request_in_chunks_is_the_same_request() {
    let service = echoing().await;
    assert_eq!(service.client.post("A-1", "{}").await.status, 201);
    let chunked = "transfer-encoding: chunked\r\nidempotency-key: \"A-1\"\r\n";
    let request = format!("{HEAD}{chunked}\r\n1\r\n{{\r\n1\r\n}}\r\n0\r\nx-trailer: 1\r\n\r\n");
    let answer = exchanged(&service, &request).await;
    assert!(answer.contains("idempotency-replayed: true"), "{answer}");
    assert_eq!(service.runs.started(), 1);
}

/// A body that takes for ever holds neither the key nor a place of those that run.
#[tokio::test]
async fn a_slow_upload_holds_nothing() {
    let echo = async |_, request| (StatusCode::CREATED, body(request).await).into_response();
    let service = Service::start(Version::Http1, |layer| layer.most_running(1), echo).await;
    let head = format!("{HEAD}idempotency-key: A-1\r\ncontent-length: 4\r\nconnection: close\r\n");
    let mut slow = TcpStream::connect(service.client.at).await.unwrap();
    let expects = format!("{head}expect: 100-continue\r\n\r\n");
    slow.write_all(expects.as_bytes()).await.unwrap();
    // It is in the layer's hands once it is told to go on.
    let mut told = [0; 25];
    soon(slow.read_exact(&mut told)).await.unwrap();
    assert_eq!(&told, b"HTTP/1.1 100 Continue\r\n\r\n");
    slow.write_all(b"[1").await.unwrap();

    let other = service.client.post("A-2", "{}").await;
    assert_eq!(other.status, StatusCode::CREATED);
    let got = service.client.send(post("A-1", "[1,]")).await;
    assert_eq!((got.status, got.is_replay()), (StatusCode::CREATED, false));
    slow.write_all(b",]").await.unwrap();
    let mut answer = String::new();
    soon(slow.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.contains("idempotency-replayed: true"), "{answer}");
    assert_eq!(service.runs.started(), 2);
}
