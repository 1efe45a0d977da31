//! Bodies that would be taken for others, or blow up.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::middleware::map_request;
use axum::response::IntoResponse;
use axum::routing::post as route;
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderValue, StatusCode};
use idem_http::{IdempotencyLayer, Scope};
use idem_runtime::Filter;
use idem_runtime::dead_letters::RunOutcome;
use idem_runtime::testing::temporary;

use crate::common::{Client, Service, Version, body, created, post, serve};

/// A `double` rounds each of these to the other of its pair.
#[tokio::test]
async fn numbers_that_round_alike_are_different_contents() {
    let service = Service::orders(Version::Http1).await;
    let pairs = [
        ("9007199254740992", "9007199254740993"),
        ("18446744073709551616", "18446744073709551617"),
        ("1e400", "1e401"),
        ("0.1", "0.10000000000000001"),
        ("0", "-0"),
        ("1", "1.0"),
        ("1e-400", "0"),
    ];
    for (first, other) in pairs {
        for number in [first, other] {
            let key = number.replace(['.', '+'], "_");
            let got = service
                .client
                .send(post(&key, format!(r#"{{"n":{number}}}"#)));
            assert_eq!(got.await.status, StatusCode::CREATED, "{number}");
            let not = if number == first { other } else { first };
            let got = service.client.send(post(&key, format!(r#"{{"n":{not}}}"#)));
            assert_eq!(got.await.problem(), "key-reused", "{number} {not}");
        }
    }
}

#[tokio::test]
async fn texts_that_look_alike_are_different_contents_and_spellings_of_json_are_one() {
    let service = Service::orders(Version::Http2).await;
    let order = r#"{"qty":2,"name":"Café"}"#;
    assert_eq!(service.client.post("A-1", order).await.status, 201);
    for same in [
        r#"{ "name" : "Café", "qty" : 2 }"#,
        r#"{"\u0071ty":2,"name":"Café"}"#,
    ] {
        assert!(service.client.post("A-1", same).await.is_replay(), "{same}");
    }
    for other in [
        // The accent as a character of its own, a zero width space, an upper case letter.
        "{\"qty\":2,\"name\":\"Cafe\u{301}\"}",
        "{\"qty\":2,\"name\":\"Café\u{200b}\"}",
        r#"{"Qty":2,"name":"Café"}"#,
        r#"{"qty":"2","name":"Café"}"#,
        r#"{"qty":2,"name":"Café","qty":3}"#,
        r#"{"qty":3,"name":"Café"}"#,
        r#"{"qty":2,"name":"Café"}}"#,
        "\u{feff}{\"qty\":2,\"name\":\"Café\"}",
    ] {
        let got = service.client.send(post("A-1", other)).await;
        assert_eq!(got.problem(), "key-reused", "{other}");
    }
}

#[tokio::test]
async fn json_that_is_nested_to_the_limit_of_a_body_is_stored() {
    let service = Service::orders(Version::Http1).await;
    for (key, open, close) in [("A-1", "[", "]"), ("A-2", r#"{"a":"#, "}")] {
        let deep = open.repeat(40_000) + "1" + &close.repeat(40_000);
        for again in [false, true] {
            let got = service.client.send(post(key, deep.clone())).await;
            assert_eq!((got.status, got.is_replay()), (StatusCode::CREATED, again));
        }
    }
}

/// A layer that unpacks bodies stands outside: what a bomb becomes is read up to the limit.
#[tokio::test]
async fn a_body_that_grows_without_end_is_read_up_to_the_limit() {
    let idem = temporary().unwrap();
    let layer = IdempotencyLayer::builder(&idem, "http.orders", Scope::bearer())
        .build()
        .unwrap();
    let read = Arc::new(AtomicUsize::new(0));
    let unpacked = Arc::clone(&read);
    let unpack = map_request(move |request: Request| {
        let unpacked = Arc::clone(&unpacked);
        async move {
            let zeros = stream::repeat_with(move || {
                unpacked.fetch_add(1024, Ordering::SeqCst);
                Ok::<_, std::io::Error>(Bytes::from_static(&[0; 1024]))
            });
            request.map(|_| Body::from_stream(zeros))
        }
    });
    let handler = route(async || created());
    let router = Router::new().route("/", handler).layer(layer).layer(unpack);
    let client = Client::new(serve(router).await, Version::Http1);
    assert_eq!(client.post("A-1", "bomb").await.problem(), "body-too-large");
    assert_eq!(read.load(Ordering::SeqCst), (256 << 10) + 1024);
}

/// The layer itself unpacks nothing, and a letter has what says how it was packed.
#[tokio::test]
async fn a_packed_body_is_run_again_as_it_came() {
    let service = Service::start(
        Version::Http1,
        |layer| layer.handler(|it| it.retries(0)),
        async |_, _| StatusCode::BAD_GATEWAY.into_response(),
    )
    .await;
    let echo = async |request: Request| {
        let packed = request.headers()["content-encoding"].clone();
        ([("x-packed", packed)], body(request).await).into_response()
    };
    service
        .layer
        .register(Router::new().route("/", route(echo)));
    let packed = || {
        let mut request = post("A-1", &b"\x1f\x8b\x08\x00\xff\xfe"[..]);
        let gzip = HeaderValue::from_static("gzip");
        request.headers_mut().insert("content-encoding", gzip);
        request
    };
    assert_eq!(service.client.send(packed()).await.status, 502);
    let letters = service.idem.dead_letters().by("ann");
    let letter = letters.list(&Filter::default()).await.unwrap().remove(0);
    let ran = letters.run(&letter.id).await.unwrap();
    assert!(matches!(ran, RunOutcome::Done(_)), "{ran:?}");
    let got = service.client.send(packed()).await;
    assert_eq!(&*got.body, b"\x1f\x8b\x08\x00\xff\xfe");
}
