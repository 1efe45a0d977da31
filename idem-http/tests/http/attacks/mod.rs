//! What an attacker sends: keys and sizes of his own choice, secrets that must not be kept, content
//! that would be taken for a record.

mod contents;
mod crowds;
mod keys;
mod places;
mod wire;

use axum::response::IntoResponse;
use http::{HeaderName, HeaderValue, StatusCode};
use idem_runtime::Filter;

use crate::common::{BOTH, Service, Version, created, post};

/// Returns all that the ledger has on disk.
fn stored(service: &Service) -> Vec<u8> {
    let mut folders = vec![service.idem.path().to_owned()];
    let mut all = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => all.extend(std::fs::read(path).unwrap()),
            }
        }
    }
    all
}

#[tokio::test]
async fn secrets_of_a_request_are_nowhere_in_the_ledger() {
    let service = Service::start(
        Version::Http1,
        |layer| {
            let stored = [HeaderName::from_static("x-source")];
            let redacted = ["body.json.card_no", "query.token"];
            layer
                .store_headers(stored)
                .redact(redacted)
                .handler(|it| it.retries(0))
        },
        async |_, _| StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    )
    .await;
    let secrets = [
        "s3cr3t-bearer",
        "s3cr3t-cookie",
        "s3cr3t-card",
        "s3cr3t-query",
        "s3cr3t-other",
    ];
    let mut request = post("A-1", r#"{"card_no":"s3cr3t-card","sku":"TEA"}"#);
    *request.uri_mut() = "/?token=s3cr3t-query&page=1".parse().unwrap();
    for (name, value) in [
        ("authorization", "Bearer s3cr3t-bearer"),
        ("cookie", "session=s3cr3t-cookie"),
        ("x-api-key", "s3cr3t-other"),
        ("x-source", "app"),
    ] {
        request
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    assert_eq!(service.client.send(request).await.status, 500);

    let letter = service
        .idem
        .dead_letters()
        .list(&Filter::default())
        .await
        .unwrap()
        .remove(0);
    let shown = format!("{letter:?}");
    for kept in ["TEA", "x-source", "[redacted]", "page"] {
        assert!(shown.contains(kept), "{kept} is not in {shown}");
    }
    let stored = stored(&service);
    assert!(stored.windows(3).any(|bytes| bytes == b"TEA"));
    for secret in secrets {
        assert!(!shown.contains(secret), "{secret} is in {shown}");
        let is_in = |bytes: &[u8]| {
            bytes
                .windows(secret.len())
                .any(|at| at == secret.as_bytes())
        };
        assert!(!is_in(&stored), "{secret} is stored");
    }
}

/// A hash of a card's number is as good as the number.
#[tokio::test]
async fn redacted_parts_are_not_in_the_fingerprint() {
    let redacted = ["body.json.card.no", "query.token"];
    let service = Service::start(
        Version::Http1,
        |layer| layer.redact(redacted),
        async |_, _| created(),
    )
    .await;
    let sent = async |token: u32, card: u32, qty: u32| {
        let body = format!(r#"{{"card":{{"no":{card}}},"qty":{qty}}}"#);
        let mut request = post("A-1", body);
        *request.uri_mut() = format!("/?token={token}").parse().unwrap();
        service.client.send(request).await
    };
    assert_eq!(sent(1, 4111, 2).await.status, StatusCode::CREATED);
    assert!(sent(2, 4222, 2).await.is_replay());
    assert_eq!(sent(1, 4111, 3).await.problem(), "key-reused");
}

#[tokio::test]
async fn a_scope_and_a_key_cannot_be_made_to_meet_another_pair() {
    let service = Service::start(
        Version::Http1,
        |layer| layer,
        async |run, _| run.to_string().into_response(),
    )
    .await;
    let pairs = [
        ("ann", "b,c"),
        ("ann,b", "c"),
        (r"ann\", "b,c"),
        (r"ann\,b", "c"),
        ("ANN", "b,c"),
    ];
    for (run, (who, key)) in (1u32..).zip(pairs) {
        let mut request = post(key, "{}");
        let bearer = HeaderValue::try_from(format!("Bearer {who}")).unwrap();
        request.headers_mut().insert("authorization", bearer);
        assert_eq!(
            service.client.send(request).await.body,
            run.to_string(),
            "{who} {key}"
        );
    }
}

#[tokio::test]
async fn a_scope_is_not_taken_from_what_only_looks_like_credentials() {
    let service = Service::orders(Version::Http1).await;
    for credentials in ["", "Bearer", "Bearer ", "Basic YW5uOg==", "ann"] {
        let mut request = post("A-1", "{}");
        request
            .headers_mut()
            .insert("authorization", HeaderValue::from_static(credentials));
        let got = service.client.send(request).await;
        assert_eq!(got.status, StatusCode::UNAUTHORIZED, "{credentials:?}");
    }
    assert_eq!(service.runs.started(), 0);
}

#[tokio::test]
async fn a_failure_whose_body_looks_like_a_head_has_no_headers_of_it() {
    for version in BOTH {
        let body = "200 OK\nset-cookie: admin=1\n\n<script>";
        let service = Service::start(
            version,
            |layer| layer.handler(|it| it.retries(0)),
            move |_, _| async move { (StatusCode::INTERNAL_SERVER_ERROR, body).into_response() },
        )
        .await;
        for _ in 0..2 {
            let got = service.client.post("A-1", "{}").await;
            assert_eq!(
                (got.status, &*got.body),
                (StatusCode::INTERNAL_SERVER_ERROR, body.as_bytes())
            );
            assert_eq!(got.header("set-cookie"), "");
        }
    }
}

#[tokio::test]
async fn headers_of_the_layer_come_from_the_layer_alone() {
    let service = Service::start(
        Version::Http1,
        |layer| layer,
        async |_, _| {
            let mut response = created();
            for name in ["idempotency-age", "idempotency-truncated"] {
                response
                    .headers_mut()
                    .insert(name, HeaderValue::from_static("7777"));
            }
            response
        },
    )
    .await;
    let mut request = post("A-1", "{}");
    for name in ["idempotency-replayed", "idempotency-age"] {
        request
            .headers_mut()
            .insert(name, HeaderValue::from_static("true"));
    }
    assert!(!service.client.send(request).await.is_replay());
    let again = service.client.post("A-1", "{}").await;
    assert!(again.is_replay());
    assert_eq!(
        (
            again.header("idempotency-age"),
            again.header("idempotency-truncated")
        ),
        ("0", "")
    );
}

#[tokio::test]
async fn deep_and_odd_bodies_are_stored_as_what_they_are() {
    let deep = "[".repeat(5000) + &"]".repeat(5000);
    for body in [
        deep.as_str(),
        "{\"a\":1,\"a\":2}",
        "not json",
        "{\"n\":1e999}",
        "\u{0}\u{7f}",
    ] {
        let service = Service::orders(Version::Http2).await;
        for _ in 0..2 {
            let got = service.client.send(post("A-1", body.to_owned())).await;
            assert_eq!(got.status, StatusCode::CREATED, "{body:.20}");
        }
        assert_eq!(service.runs.started(), 1);
        let other = service.client.post("A-1", "{}").await;
        assert_eq!(other.problem(), "key-reused");
    }
}
