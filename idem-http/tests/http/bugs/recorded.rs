//! What is recorded of an answer, and replayed.

use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, stream};
use http::header::{HeaderName, SET_COOKIE};
use http::{HeaderValue, StatusCode};
use http_body_util::BodyExt;

use super::ORDER;
use crate::common::{BOTH, Service, Version, created, post, soon};

fn streamed() -> Response {
    let events = stream::iter(["data: 1\n\n", "data: 2\n\n"]).map(Ok::<_, std::io::Error>);
    (
        [("content-type", "text/event-stream")],
        Body::from_stream(events),
    )
        .into_response()
}

/// 3: actor-ts#1308: a streamed body is stored as `{}`.
#[tokio::test]
async fn a_stream_goes_through_and_its_replay_says_that_it_was_not_kept() {
    for version in BOTH {
        let service = Service::start(version, |layer| layer, async |_, _| streamed()).await;
        let first = service.client.post("A-1", ORDER).await;
        assert_eq!(first.body, "data: 1\n\ndata: 2\n\n");
        let again = service.client.post("A-1", ORDER).await;
        assert_eq!((again.status, again.body.len()), (StatusCode::OK, 0));
        assert!(again.is_replay());
        assert_eq!(again.header("idempotency-truncated"), "true");
        assert_eq!(service.runs.started(), 1);
    }
}

/// 3, its other half: a stream that has no end yet is not waited for.
#[tokio::test]
async fn a_stream_begins_before_it_ends() {
    let service = Service::start(
        Version::Http1,
        |layer| layer,
        async |_, _| {
            let endless =
                stream::iter([Ok::<_, std::io::Error>("data: 1\n\n")]).chain(stream::pending());
            (
                [("content-type", "text/event-stream")],
                Body::from_stream(endless),
            )
                .into_response()
        },
    )
    .await;
    let mut answer = service.client.begin(post("A-1", ORDER)).await;
    let frame = soon(answer.body_mut().frame()).await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), "data: 1\n\n");
}

/// 4: gofiber, idempotent 2.0: an answer that is too large is not stored, so the request runs again.
#[tokio::test]
async fn an_answer_that_is_too_large_is_whole_once_and_never_run_again() {
    for version in BOTH {
        let large = || {
            (0..100_000u32)
                .flat_map(u32::to_be_bytes)
                .collect::<Vec<u8>>()
        };
        let limit = |layer: idem_http::IdempotencyLayerBuilder| layer.largest_answer(1000);
        for chunked in [false, true] {
            let service = Service::start(version, limit, move |_, _| async move {
                match chunked {
                    false => large().into_response(),
                    true => {
                        let chunks = large().chunks(700).map(<[u8]>::to_vec).collect::<Vec<_>>();
                        let chunks = stream::iter(chunks).map(Ok::<_, std::io::Error>);
                        Body::from_stream(chunks).into_response()
                    }
                }
            })
            .await;
            assert_eq!(service.client.post("A-1", ORDER).await.body, large());
            let again = service.client.post("A-1", ORDER).await;
            assert_eq!(
                (again.status, again.header("idempotency-truncated")),
                (StatusCode::OK, "true")
            );
            assert_eq!(service.runs.started(), 1);
        }
    }
}

/// 7: granit-dotnet, concerns_on_rails: headers of one caller are replayed to another.
#[tokio::test]
async fn headers_of_one_answer_are_not_replayed() {
    const ONCE: [&str; 5] = [
        "set-cookie",
        "date",
        "ratelimit-remaining",
        "x-ratelimit-reset",
        "authentication-info",
    ];
    let service = Service::start(
        Version::Http1,
        |layer| layer,
        async |_, _| {
            let mut response = created();
            for name in ONCE {
                response
                    .headers_mut()
                    .insert(name, HeaderValue::from_static("of-the-first"));
            }
            response
        },
    )
    .await;
    let first = service.client.post("A-1", ORDER).await;
    let again = service.client.post("A-1", ORDER).await;
    for name in ONCE {
        assert_eq!(first.header(name), "of-the-first");
        assert_ne!(again.header(name), "of-the-first", "{name}");
    }
    assert_eq!(again.header("location"), "/orders/1");
}

/// 8: axum-idempotent, gofiber: a repeated header is lost, or split at its commas.
#[tokio::test]
async fn repeated_headers_are_replayed_whole() {
    const COOKIES: [&str; 2] = ["a=1; Expires=Wed, 09 Jun 2027 10:18:14 GMT", "b=2"];
    for version in BOTH {
        let service = Service::start(
            version,
            |layer| layer.record_headers([SET_COOKIE, HeaderName::from_static("x-raw")]),
            async |_, _| {
                let mut response = created();
                for cookie in COOKIES {
                    response
                        .headers_mut()
                        .append(SET_COOKIE, HeaderValue::from_static(cookie));
                }
                let raw = HeaderValue::from_bytes(b"caf\xe9").unwrap();
                response.headers_mut().insert("x-raw", raw);
                response
            },
        )
        .await;
        for _ in 0..2 {
            let got = service.client.post("A-1", ORDER).await;
            let cookies: Vec<_> = got.headers.get_all(SET_COOKIE).iter().collect();
            assert_eq!(cookies, COOKIES);
            assert_eq!(got.headers["x-raw"].as_bytes(), b"caf\xe9");
        }
        assert_eq!(service.runs.started(), 1);
    }
}

/// 9: fullstackhero: 201 becomes 200, `Location` is lost, a probe asks by another key than it stores.
#[tokio::test]
async fn a_replay_is_exact_to_the_byte() {
    for version in BOTH {
        for bytes in [
            &b"\xff\x00\xfe"[..],
            b" {\"a\": 1.10}\r\n",
            b"\xef\xbb\xbfbom",
            b"\0",
        ] {
            let service = Service::start(
                version,
                |layer| layer,
                move |_, _| async move {
                    (
                        StatusCode::CREATED,
                        [("location", "/orders/1"), ("etag", "\"1\"")],
                        bytes,
                    )
                        .into_response()
                },
            )
            .await;
            let first = service.client.post("A-1", ORDER).await;
            let again = service.client.post("A-1", ORDER).await;
            assert_eq!((first.status, &*first.body), (again.status, &*again.body));
            assert_eq!(again.body, bytes);
            for name in ["location", "etag", "content-type", "content-length"] {
                assert_eq!(first.header(name), again.header(name), "{name}");
            }
        }
    }
}

/// 10: one_day_delivery: an answer without a body is never stored.
#[tokio::test]
async fn empty_answers_are_recorded() {
    for version in BOTH {
        for status in [
            StatusCode::ACCEPTED,
            StatusCode::NO_CONTENT,
            StatusCode::SEE_OTHER,
        ] {
            let service = Service::start(
                version,
                |layer| layer,
                move |_, _| async move { status.into_response() },
            )
            .await;
            for replay in [false, true] {
                let got = service.client.post("A-1", "").await;
                assert_eq!((got.status, got.is_replay()), (status, replay));
                assert_eq!(got.header("idempotency-truncated"), "");
            }
            assert_eq!(service.runs.started(), 1);
        }
    }
}

/// 14: axum-idempotent: a layer outside of compression stores one client's encoding.
#[tokio::test]
async fn what_is_recorded_is_not_encoded_for_one_client() {
    let service = Service::start(
        Version::Http1,
        |layer| layer,
        async |_, request: Request| {
            // As a layer for compression inside would.
            match request.headers().contains_key("accept-encoding") {
                true => ([("content-encoding", "gzip")], "\x1f").into_response(),
                false => "plain".into_response(),
            }
        },
    )
    .await;
    let mut first = post("A-1", ORDER);
    first
        .headers_mut()
        .insert("accept-encoding", HeaderValue::from_static("gzip"));
    assert_eq!(service.client.send(first).await.body, "plain");
    let again = service.client.post("A-1", ORDER).await;
    assert_eq!(
        (&*again.body, again.header("content-encoding")),
        (&b"plain"[..], "")
    );
}
