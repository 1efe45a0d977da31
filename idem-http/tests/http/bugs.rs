//! Twenty bugs that layers for idempotency had, each with the names of where it was seen.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::routing::post as route;
use futures_util::{StreamExt, stream};
use http::header::{HeaderName, SET_COOKIE};
use http::{HeaderValue, StatusCode};
use http_body_util::BodyExt;
use idem_http::{Disposition, IdempotencyLayer, Scope};
use idem_runtime::Idem;
use idem_runtime::ledger::shared::SharedLedger;
use idem_runtime::ledger::transaction;
use idem_runtime::testing::{ManualClock, MemoryStore, MemoryTransaction, temporary};
use serde_json::json;
use tower::ServiceBuilder;

use crate::common::{BOTH, Client, Service, Version, body, created, post, serve, soon};

const ORDER: &str = r#"{"sku":"TEA","qty":2}"#;

/// 1: hyper#2728, blockfrost, janus, dropshot: the client hangs up, and the handler stops half way.
#[tokio::test]
async fn a_client_that_hangs_up_does_not_stop_the_handler() {
    for version in BOTH {
        let service = Service::orders(version).await;
        service.runs.hold();
        let client = service.client.clone();
        let gone = tokio::spawn(async move { client.post("A-1", ORDER).await });
        service.runs.starts(1).await;
        gone.abort();
        assert!(gone.await.unwrap_err().is_cancelled());
        service.runs.let_go();
        service.runs.ends(1).await;
        // The answer may not be recorded yet.
        let again = until_done(&service.client, "A-1").await;
        assert_eq!(
            (again.status, again.is_replay()),
            (StatusCode::CREATED, true)
        );
        assert_eq!(service.runs.started(), 1);
    }
}

async fn until_done(client: &Client, key: &str) -> crate::common::Got {
    soon(async {
        loop {
            let got = client.send(post(key, ORDER)).await;
            if got.status != StatusCode::CONFLICT {
                return got;
            }
        }
    })
    .await
}

/// 2: actor-ts#984: a claim that is kept as long as a result would be, or is deleted after an effect.
/// The first half is `killed.rs`.
#[tokio::test]
async fn an_error_after_the_effect_is_an_attempt_and_no_second_charge_by_a_free_key() {
    let service = Service::start(
        Version::Http1,
        |layer| layer,
        async |run, _| {
            // The effect took place; then something broke.
            if run == 1 {
                return StatusCode::INTERNAL_SERVER_ERROR.into_response();
            }
            let attempt = idem_runtime::attempt().unwrap();
            (StatusCode::CREATED, attempt.number.to_string()).into_response()
        },
    )
    .await;
    assert_eq!(service.client.post("A-1", ORDER).await.status, 500);
    // The handler is told that it is the second attempt, and other content is refused meanwhile.
    assert_eq!(
        service.client.post("A-1", r#"{"qty":3}"#).await.problem(),
        "key-reused"
    );
    assert_eq!(service.client.post("A-1", ORDER).await.body, "2");
}

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

/// 5: Trellis: a body that breaks off is stored as far as it came.
#[tokio::test]
async fn an_answer_that_breaks_off_is_a_failed_attempt() {
    let service = Service::start(
        Version::Http1,
        |layer| layer,
        async |run, _| {
            if run > 1 {
                return created();
            }
            let broken = [
                Ok("{\"order"),
                Err(std::io::Error::other("the upstream went away")),
            ];
            Body::from_stream(stream::iter(broken)).into_response()
        },
    )
    .await;
    assert_eq!(
        service.client.post("A-1", ORDER).await.problem(),
        "interrupted"
    );
    let again = service.client.post("A-1", ORDER).await;
    assert_eq!(
        (again.status, again.is_replay()),
        (StatusCode::CREATED, false)
    );
}

/// 6: arun0009/idempotent, deepslate, devlink, titen: the key of one user gets another one's answer.
#[tokio::test]
async fn two_principals_with_one_key_have_two_orders() {
    for version in BOTH {
        let service = Service::start(
            version,
            |layer| layer,
            async |run, _| run.to_string().into_response(),
        )
        .await;
        let mut bob = post("A-1", ORDER);
        bob.headers_mut()
            .insert("authorization", HeaderValue::from_static("Bearer bob"));
        assert_eq!(service.client.post("A-1", ORDER).await.body, "1");
        let bobs = service.client.send(bob.clone()).await;
        assert_eq!((&*bobs.body, bobs.is_replay()), (&b"2"[..], false));
        assert_eq!(service.client.send(bob).await.body, "2");
        assert_eq!(service.client.post("A-1", ORDER).await.body, "1");
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

/// 11: remitlend, KeeperHub: a 5xx is stored for good, and replayed so that it cannot be told.
#[tokio::test]
async fn a_5xx_runs_again_until_its_budget_is_spent_and_then_the_replay_says_so() {
    for version in BOTH {
        let service = Service::start(
            version,
            |layer| layer.handler(|it| it.retries(1)),
            async |run, _| {
                (
                    StatusCode::BAD_GATEWAY,
                    [("content-type", "text/x-log")],
                    format!("failure {run}\n\n2"),
                )
                    .into_response()
            },
        )
        .await;
        for run in [1, 2] {
            let got = service.client.post("A-1", ORDER).await;
            assert_eq!(
                (got.status, got.is_replay()),
                (StatusCode::BAD_GATEWAY, false)
            );
            assert_eq!(got.body, format!("failure {run}\n\n2"));
        }
        service.clock.advance(Duration::from_secs(30));
        let last = service.client.post("A-1", ORDER).await;
        assert_eq!(
            (last.status, last.is_replay()),
            (StatusCode::BAD_GATEWAY, true)
        );
        assert_eq!(
            (last.header("content-type"), last.header("idempotency-age")),
            ("text/x-log", "30")
        );
        assert_eq!(last.body, "failure 2\n\n2");
        assert_eq!(service.runs.started(), 2);
    }
}

/// 12: express-idempotency, Truxify: only one way to end is seen, so the key stays in progress.
#[tokio::test]
async fn however_a_handler_ends_the_key_does_not_stay_in_progress() {
    let service = Service::start(
        Version::Http1,
        |layer| layer,
        async |run, _| {
            assert!(run > 1, "the handler panics");
            created()
        },
    )
    .await;
    assert_eq!(
        service.client.post("A-1", ORDER).await.problem(),
        "interrupted"
    );
    assert_eq!(
        service.client.post("A-1", ORDER).await.status,
        StatusCode::CREATED
    );
}

/// 12, a layer for timeouts inside.
#[tokio::test]
async fn a_timeout_inside_is_a_failed_attempt() {
    use axum::error_handling::HandleErrorLayer;
    let idem = temporary().unwrap();
    let layer = IdempotencyLayer::builder(&idem, "http.orders", Scope::bearer())
        .build()
        .unwrap();
    let started = Arc::new(AtomicU32::new(0));
    let inside = Arc::clone(&started);
    let handler = async move || {
        if inside.fetch_add(1, Ordering::SeqCst) == 0 {
            std::future::pending::<()>().await;
        }
        created()
    };
    let stack = ServiceBuilder::new()
        .layer(HandleErrorLayer::new(async |_: tower::BoxError| {
            StatusCode::GATEWAY_TIMEOUT
        }))
        .layer(layer)
        .timeout(Duration::from_millis(50));
    let router = Router::new().route("/", route(handler)).layer(stack);
    let client = Client::new(serve(router).await, Version::Http1);
    assert_eq!(
        client.post("A-1", ORDER).await.status,
        StatusCode::GATEWAY_TIMEOUT
    );
    assert_eq!(client.post("A-1", ORDER).await.status, StatusCode::CREATED);
}

/// 13: Truxify: the lock is deleted whoever holds it, and taken again without a look at the result.
#[tokio::test]
async fn a_key_that_is_free_again_was_looked_at_again() {
    let service = Service::orders(Version::Http2).await;
    service.runs.hold();
    let all = futures_util::future::join_all((0..20).map(|_| service.client.post("A-1", ORDER)));
    let (all, ()) = tokio::join!(all, async {
        service.runs.starts(1).await;
        service.runs.let_go();
    });
    for got in all {
        assert!(
            [StatusCode::CREATED, StatusCode::CONFLICT].contains(&got.status),
            "{got:?}"
        );
    }
    assert!(service.client.post("A-1", ORDER).await.is_replay());
    assert_eq!(service.runs.started(), 1);
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

/// 15: leopardo-hr, axum-idempotent: a layer inside the rate limit, or outside of authentication.
#[tokio::test]
async fn a_wrong_order_is_found_at_start_up_as_far_as_types_tell() {
    let idem = temporary().unwrap();
    let layer = IdempotencyLayer::builder(&idem, "http.orders", Scope::bearer())
        .build()
        .unwrap();
    let inner = || {
        tower::service_fn(async |_: http::Request<Body>| {
            Ok::<_, std::convert::Infallible>(created())
        })
    };
    let found =
        |wrong: &dyn Fn()| std::panic::catch_unwind(std::panic::AssertUnwindSafe(wrong)).is_err();
    assert!(!found(&|| drop(
        ServiceBuilder::new().layer(layer.clone()).service(inner())
    )));
    assert!(found(&|| drop(
        ServiceBuilder::new()
            .layer(layer.clone())
            .layer(layer.clone())
            .service(inner())
    )));
    let limit = || tower::limit::RateLimitLayer::new(1, Duration::from_secs(1));
    assert!(found(&|| drop(
        ServiceBuilder::new()
            .layer(layer.clone())
            .layer(limit())
            .service(inner())
    )));
    assert!(!found(&|| drop(
        ServiceBuilder::new()
            .layer(limit())
            .layer(layer.clone())
            .service(inner())
    )));
}

/// 15, its other half: no key of a caller without credentials is stored.
#[tokio::test]
async fn a_request_without_a_principal_leaves_nothing() {
    let service = Service::orders(Version::Http1).await;
    let mut anonymous = post("A-1", ORDER);
    anonymous.headers_mut().remove("authorization");
    let got = service.client.send(anonymous).await;
    assert_eq!(
        (got.status, &*got.problem()),
        (StatusCode::UNAUTHORIZED, "no-principal")
    );
    assert_eq!(service.runs.started(), 0);
}

/// 17: arcly-http: with the store away, requests run unprotected. `rules.rs` has a store that is away.
/// A body that is too large reaches the handler empty.
#[tokio::test]
async fn a_request_that_is_too_large_is_refused_before_anything_is_claimed() {
    for version in BOTH {
        let service = Service::start(
            version,
            |layer| layer.largest_request(10),
            async |_, request| body(request).await.into_response(),
        )
        .await;
        let large = service.client.post("A-1", "01234567890").await;
        assert_eq!(
            (large.status, &*large.problem()),
            (StatusCode::PAYLOAD_TOO_LARGE, "body-too-large")
        );
        // The key was not used.
        assert_eq!(
            service.client.post("A-1", "0123456789").await.body,
            "0123456789"
        );
    }
}

/// 18: axum-idempotent 0.3: the client's key is a name in the application's session.
#[tokio::test]
async fn a_key_is_a_value_whatever_is_in_it() {
    let service = Service::start(
        Version::Http1,
        |layer| layer,
        async |run, _| run.to_string().into_response(),
    )
    .await;
    let keys = [
        "__proto__",
        "a,b",
        "a",
        r"a\\,b",
        "../../etc/passwd",
        "user_id",
        r#"\"quoted\""#,
        " ",
    ];
    for (run, key) in (1u32..).zip(keys) {
        for _ in 0..2 {
            assert_eq!(
                service.client.send(post(key, ORDER)).await.body,
                run.to_string(),
                "{key}"
            );
        }
    }
}

/// 19: axum-idempotent: no limit for bodies, and a panic where an upload breaks off.
#[tokio::test]
async fn an_upload_that_breaks_off_leaves_the_key_free() {
    use tokio::io::AsyncWriteExt;
    let service = Service::orders(Version::Http1).await;
    let mut broken = tokio::net::TcpStream::connect(service.client.at)
        .await
        .unwrap();
    let head = "POST / HTTP/1.1\r\nhost: shop\r\nauthorization: Bearer ann\r\nidempotency-key: \"A-1\"\r\ncontent-length: 100\r\n\r\n{";
    broken.write_all(head.as_bytes()).await.unwrap();
    drop(broken);
    let got = service.client.post("A-1", ORDER).await;
    assert_eq!((got.status, got.is_replay()), (StatusCode::CREATED, false));
    assert_eq!(service.runs.started(), 1);
}

/// 20: ACP, Qonto: a fingerprint over what changes with each try, or none at all.
#[tokio::test]
async fn what_must_match_is_the_content_and_no_more() {
    let service = Service::start(
        Version::Http1,
        |layer| layer.ignore_fields(["sent_at", "items.trace"]),
        async |_, _| created(),
    )
    .await;
    let sent = async |path: &str, body: serde_json::Value, agent: &'static str| {
        let mut request = post("A-1", body.to_string());
        *request.uri_mut() = path.parse().unwrap();
        request
            .headers_mut()
            .insert("user-agent", HeaderValue::from_static(agent));
        service.client.send(request).await
    };
    let first = json!({"sku": "TEA", "qty": 2, "sent_at": 1, "items": [{"no": 1, "trace": "a"}]});
    assert_eq!(sent("/", first, "one").await.status, StatusCode::CREATED);
    let same = json!({"items": [{"trace": "b", "no": 1}], "qty": 2, "sent_at": 2, "sku": "TEA"});
    assert!(sent("/", same.clone(), "two").await.is_replay());
    for (path, body) in [
        ("/", json!({"sku": "TEA", "qty": 3, "items": [{"no": 1}]})),
        ("/?dry_run=1", same.clone()),
        ("/other", same),
    ] {
        let got = sent(path, body, "one").await;
        assert_eq!(
            (got.status, &*got.problem()),
            (StatusCode::UNPROCESSABLE_ENTITY, "key-reused")
        );
    }
    assert_eq!(service.runs.started(), 1);
}

/// 16: leopardo-hr: a crash between the commit of the business and the cache. In the business's own
/// database they are one commit, or neither is there.
#[tokio::test]
async fn what_a_handler_writes_commits_with_its_answer_or_not_at_all() {
    let store = MemoryStore::new(Arc::new(ManualClock::default()));
    let shared = store.clone();
    let opened = Idem::builder()
        .open_with(|context| SharedLedger::open(shared, context, Duration::from_secs(30)));
    let idem = opened.await.unwrap();
    let layer = IdempotencyLayer::builder(&idem, "http.orders", Scope::bearer())
        .build()
        .unwrap();
    let (runs, committed) = (Arc::new(AtomicU32::new(0)), store.clone());
    let handler = async move || {
        let run = runs.fetch_add(1, Ordering::SeqCst) + 1;
        let mut tx = transaction::<MemoryTransaction>().await.unwrap();
        assert_eq!(tx.get("order"), None, "run {run}");
        tx.put("order", run.to_string());
        match run {
            1 => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            2 => StatusCode::TOO_MANY_REQUESTS.into_response(),
            _ => created(),
        }
    };
    let router = Router::new().route("/", route(handler)).layer(layer);
    let client = Client::new(serve(router).await, Version::Http1);
    for (status, row) in [(500, None), (429, None), (201, Some("3")), (201, Some("3"))] {
        assert_eq!(client.post("A-1", ORDER).await.status, status);
        assert_eq!(committed.row("order").as_deref(), row.map(str::as_bytes));
    }
}

/// 16, on a ledger of its own: a handler looks for what it would do.
#[tokio::test]
async fn a_handler_that_finds_its_order_says_so_and_it_is_recorded() {
    let orders = Arc::new(std::sync::Mutex::new(std::collections::BTreeSet::new()));
    let service = Service::start(Version::Http1, |layer| layer, {
        let orders = Arc::clone(&orders);
        move |_, request: Request| {
            let orders = Arc::clone(&orders);
            async move {
                let key = request
                    .extensions()
                    .get::<idem_http::IdempotencyKey>()
                    .unwrap()
                    .to_string();
                if !orders.lock().unwrap().insert(key) {
                    idem_runtime::found_existing();
                    return created();
                }
                // The commit took place, and its answer was lost.
                StatusCode::INTERNAL_SERVER_ERROR.into_response()
            }
        }
    })
    .await;
    assert_eq!(service.client.post("A-1", ORDER).await.status, 500);
    assert_eq!(
        service.client.post("A-1", ORDER).await.status,
        StatusCode::CREATED
    );
    assert!(service.client.post("A-1", ORDER).await.is_replay());
    assert_eq!(orders.lock().unwrap().len(), 1);
}

/// An outage of what the handler needs costs no attempt.
#[tokio::test]
async fn an_outage_is_not_charged() {
    let service = Service::start(
        Version::Http1,
        |layer| {
            let layer = layer.on_status(StatusCode::SERVICE_UNAVAILABLE, Disposition::Outage);
            layer.handler(|it| it.retries(0))
        },
        async |run, _| match run {
            ..3 => StatusCode::SERVICE_UNAVAILABLE.into_response(),
            _ => created(),
        },
    )
    .await;
    for status in [503, 503, 201] {
        assert_eq!(service.client.post("A-1", ORDER).await.status, status);
    }
}

/// What a handler says of its own answer counts.
#[tokio::test]
async fn a_status_and_a_handler_can_say_what_an_answer_means() {
    let service = Service::start(
        Version::Http1,
        |layer| layer.on_status(StatusCode::NOT_FOUND, Disposition::Release),
        async |run, _| match run {
            1 => StatusCode::NOT_FOUND.into_response(),
            2 => StatusCode::TOO_MANY_REQUESTS.into_response(),
            3 => {
                let mut response = StatusCode::BAD_REQUEST.into_response();
                response.extensions_mut().insert(Disposition::Release);
                response
            }
            _ => StatusCode::UNPROCESSABLE_ENTITY.into_response(),
        },
    )
    .await;
    for (qty, status) in ["1", "2", "3", "4"].into_iter().zip([404, 429, 400, 422]) {
        assert_eq!(service.client.post("A-1", qty).await.status, status);
    }
    // The last one is lasting.
    assert_eq!(
        service.client.post("A-1", "5").await.problem(),
        "key-reused"
    );
    assert!(service.client.post("A-1", "4").await.is_replay());
}
