//! Whose key it is, and what it stands for.

use std::time::Duration;

use axum::body::Body;
use axum::response::IntoResponse;
use http::{HeaderValue, StatusCode};
use idem_http::{IdempotencyLayer, Scope};
use idem_runtime::testing::temporary;
use serde_json::json;
use tower::ServiceBuilder;

use super::ORDER;
use crate::common::{BOTH, Service, Version, body, created, post};

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
