//! Requests that were given up: their letters, and people who run them again.

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use http::StatusCode;
use idem_runtime::Filter;
use idem_runtime::dead_letters::{LetterError, RunOutcome};

use crate::common::{Service, Version, body, created, post};

async fn echo(request: Request) -> Response {
    let key = request
        .extensions()
        .get::<idem_http::IdempotencyKey>()
        .unwrap()
        .to_string();
    let (method, uri) = (request.method().to_string(), request.uri().to_string());
    let content = String::from_utf8(body(request).await.to_vec()).unwrap();
    (
        StatusCode::CREATED,
        format!("{method} {uri} {key} {content}"),
    )
        .into_response()
}

#[tokio::test]
async fn a_letter_runs_on_the_registered_service_and_the_client_gets_its_answer() {
    let service = Service::start(
        Version::Http1,
        |layer| layer.handler(|it| it.retries(0)),
        async |_, _| StatusCode::SERVICE_UNAVAILABLE.into_response(),
    )
    .await;
    let order = || {
        let mut order = post("A-1", r#"{"sku":"TEA"}"#);
        *order.uri_mut() = "/other?page=1&page=2".parse().unwrap();
        order
    };
    assert_eq!(service.client.send(order()).await.status, 503);
    let letters = service.idem.dead_letters().by("ann");
    let letter = letters.list(&Filter::default()).await.unwrap().remove(0);
    let unregistered = letters.run(&letter.id).await;
    assert!(
        matches!(unregistered, Err(LetterError::NoHandler { .. })),
        "{unregistered:?}"
    );

    service.layer.register(Router::new().fallback(any(echo)));
    let ran = letters.run(&letter.id).await.unwrap();
    assert!(matches!(ran, RunOutcome::Done(_)), "{ran:?}");
    let got = service.client.send(order()).await;
    assert_eq!((got.status, got.is_replay()), (StatusCode::CREATED, true));
    assert_eq!(got.body, r#"POST /other?page=1&page=2 A-1 {"sku":"TEA"}"#);
}

#[tokio::test]
async fn a_handler_that_panicked_to_the_end_is_replayed_as_a_failure() {
    let service = Service::start(
        Version::Http2,
        |layer| layer.handler(|it| it.retries(0)),
        async |_, _| panic!("with a secret"),
    )
    .await;
    assert_eq!(
        service.client.post("A-1", "{}").await.problem(),
        "interrupted"
    );
    let last = service.client.post("A-1", "{}").await;
    assert_eq!((&*last.problem(), last.is_replay()), ("failed", true));
    assert!(!String::from_utf8_lossy(&last.body).contains("secret"));
}

#[tokio::test]
async fn a_letter_that_is_redriven_runs_with_the_next_request() {
    let service = Service::start(
        Version::Http1,
        |layer| layer.handler(|it| it.retries(0)),
        async |run, _| match run {
            1 => StatusCode::BAD_GATEWAY.into_response(),
            _ => created(),
        },
    )
    .await;
    service.client.post("A-1", "{}").await;
    let letters = service.idem.dead_letters().by("ann");
    let letter = letters.list(&Filter::default()).await.unwrap().remove(0);
    letters.redrive(&letter.id).await.unwrap();
    let got = service.client.post("A-1", "{}").await;
    assert_eq!((got.status, got.is_replay()), (StatusCode::CREATED, false));
}
