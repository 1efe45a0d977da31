//! Keys that the server issues.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::Router;
use axum::routing::post as route;
use http::StatusCode;
use idem_http::client::{IssueError, IssuedKeys};
use idem_http::{IdempotencyLayer, KeyEndpoint, Scope};
use idem_runtime::testing::{Temporary, temporary};
use tower::retry::RetryLayer;
use tower::{ServiceBuilder, ServiceExt};

use super::reqwest::{builder, retries};
use super::{Came, connection, order};
use crate::common::{Client, Version, created, post, serve};

const ORDER: &str = r#"{"qty":2}"#;

/// A shop that takes keys only that it has issued.
async fn shop() -> (Temporary, Client, Arc<AtomicU32>) {
    let idem = temporary().unwrap();
    let layer = IdempotencyLayer::builder(&idem, "http.orders", Scope::bearer())
        .handler(|handler| handler.issued("order_no"))
        .build()
        .unwrap();
    let keys = KeyEndpoint::new(idem.issuer("order_no"), Scope::bearer());
    let ran = Arc::new(AtomicU32::new(0));
    let runs = Arc::clone(&ran);
    let handler = async move || {
        runs.fetch_add(1, Ordering::SeqCst);
        created()
    };
    let router = Router::new()
        .route("/", route(handler))
        .layer(layer)
        .route_service("/idempotency-keys", keys);
    let client = Client::new(serve(router).await, Version::Http1);
    (idem, client, ran)
}

#[tokio::test]
async fn a_key_is_asked_for_first_and_serves_its_own_caller_alone() {
    let (_idem, client, ran) = shop().await;
    let mut ask = order("");
    *ask.uri_mut() = "/idempotency-keys".parse().unwrap();
    let issued = client.send(ask.clone()).await;
    assert_eq!(issued.status, StatusCode::CREATED);
    assert_eq!(issued.header("cache-control"), "no-store");
    let details: serde_json::Value = serde_json::from_slice(&issued.body).unwrap();
    let key = details["key"].as_str().unwrap();
    assert_eq!(issued.header("idempotency-key"), format!("\"{key}\""));

    let mut of_bob = post(key, ORDER);
    let bob = "Bearer bob".parse().unwrap();
    of_bob.headers_mut().insert("authorization", bob);
    assert_eq!(client.send(of_bob).await.problem(), "key-not-issued");
    let made_up = client.post("A-1", ORDER).await;
    assert_eq!(made_up.problem(), "key-not-issued");
    assert_eq!(ran.load(Ordering::SeqCst), 0);
    for again in [false, true] {
        let got = client.send(post(key, ORDER)).await;
        assert_eq!((got.status, got.is_replay()), (StatusCode::CREATED, again));
    }

    ask.headers_mut().remove("authorization");
    assert_eq!(client.send(ask.clone()).await.problem(), "no-principal");
    *ask.method_mut() = http::Method::GET;
    assert_eq!(
        client.send(ask).await.status,
        StatusCode::METHOD_NOT_ALLOWED
    );
}

#[tokio::test]
async fn an_issue_whose_answer_is_lost_is_asked_for_again() {
    let (_idem, client, ran) = shop().await;
    let came = Came::default();
    let placed = ServiceBuilder::new()
        .layer(IssuedKeys::new("/idempotency-keys").unwrap())
        .layer(RetryLayer::new(retries()))
        .service(connection(&client, 1, &came))
        .oneshot(order(ORDER));
    assert_eq!(placed.await.unwrap().status(), StatusCode::CREATED);
    assert_eq!((came.all().len(), ran.load(Ordering::SeqCst)), (3, 1));
}

#[tokio::test]
async fn the_client_takes_its_keys_from_the_server() {
    let (_idem, client, ran) = shop().await;
    let keys = || IssuedKeys::new("/idempotency-keys").unwrap();
    let came = Came::default();
    let with = |keys: IssuedKeys| {
        let connection = connection(&client, 0, &came);
        ServiceBuilder::new().layer(keys).service(connection)
    };
    let placed = with(keys()).oneshot(order(ORDER)).await.unwrap();
    assert_eq!(placed.status(), StatusCode::CREATED);
    assert_eq!((came.all().len(), ran.load(Ordering::SeqCst)), (2, 1));

    let mut anonymous = order(ORDER);
    anonymous.headers_mut().remove("authorization");
    let refused = with(keys()).oneshot(anonymous).await.unwrap_err();
    let status = match refused {
        IssueError::Refused { status, .. } => status,
        other => panic!("{other}"),
    };
    assert_eq!((status, came.all().len()), (StatusCode::UNAUTHORIZED, 3));
    // What wants a key itself issues none.
    let elsewhere = IssuedKeys::new("/").unwrap();
    let missing = with(elsewhere).oneshot(order(ORDER)).await.unwrap_err();
    assert!(missing.to_string().contains("400"), "{missing}");

    let reqwest = builder().with(keys()).build();
    let url = format!("http://{}/", client.at);
    let placed = reqwest.post(&url).bearer_auth("ann").body(ORDER).send();
    assert_eq!(placed.await.unwrap().status(), StatusCode::CREATED);
    assert_eq!(ran.load(Ordering::SeqCst), 2);
    let refused = reqwest.post(&url).body(ORDER).send().await.unwrap_err();
    assert!(refused.to_string().contains("401"), "{refused}");
    assert_eq!(ran.load(Ordering::SeqCst), 2);
}
