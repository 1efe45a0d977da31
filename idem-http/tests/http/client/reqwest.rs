//! The middlewares for `reqwest-middleware`.

use std::time::Duration;

use axum::response::IntoResponse;
use http::{Extensions, StatusCode};
use idem_http::client::{IdempotencyKeys, Replayed, Retries};
use reqwest::{Client, Request, Url};
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware};
use reqwest_retry::RetryTransientMiddleware;
use reqwest_retry::policies::ExponentialBackoff;

use super::shop;
use crate::common::{Service, created};

const ORDER: &str = r#"{"qty":2}"#;

pub(super) fn builder() -> ClientBuilder {
    // Plain HTTP: the tests' client has no certificates.
    let provider = rustls::crypto::ring::default_provider();
    let tls = rustls::ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let client = Client::builder().tls_backend_preconfigured(tls).no_proxy();
    ClientBuilder::new(client.build().unwrap())
}

pub(super) fn retries() -> Retries {
    Retries::new().backoff(Duration::ZERO, Duration::ZERO)
}

pub(super) async fn send(client: &ClientWithMiddleware, service: &Service) -> reqwest::Response {
    let url = format!("http://{}/", service.client.at);
    let request = client.post(url).bearer_auth("ann").body(ORDER);
    request.send().await.unwrap()
}

#[tokio::test]
async fn one_key_is_kept_over_the_retries_of_this_crate_and_of_another_one() {
    let keys_outside = builder().with(IdempotencyKeys::new()).with(retries());
    let policy = ExponentialBackoff::builder()
        .retry_bounds(Duration::ZERO, Duration::from_millis(1))
        .build_with_max_retries(3);
    let other = || RetryTransientMiddleware::new_with_policy(policy);
    let other_inside = builder().with(IdempotencyKeys::new()).with(other());
    // The wrong order: each try would get a key of its own.
    let other_outside = builder().with(other()).with(IdempotencyKeys::new());
    for client in [keys_outside, other_inside, other_outside] {
        let client = client.build();
        let (service, keys) = shop(|run| match run {
            1 | 2 => StatusCode::BAD_GATEWAY.into_response(),
            _ => created(),
        })
        .await;
        let answer = send(&client, &service).await;
        assert_eq!(answer.status(), StatusCode::CREATED);
        assert_eq!(Replayed::from_headers(answer.headers()), None);
        send(&client, &service).await;
        let keys = keys.all();
        assert!(
            keys.len() == 4 && keys[0] == keys[1] && keys[1] == keys[2],
            "{keys:?}"
        );
        assert_ne!(keys[2], keys[3], "another order has another key");
    }
}

#[tokio::test]
async fn extensions_that_serve_two_requests_do_not_make_them_one() {
    let (service, keys) = shop(|_| created()).await;
    let client = builder().with(IdempotencyKeys::new()).build();
    let mut extensions = Extensions::new();
    for _ in 0..2 {
        let url = Url::parse(&format!("http://{}/", service.client.at)).unwrap();
        let mut order = Request::new(http::Method::POST, url);
        let ann = "Bearer ann".parse().unwrap();
        order.headers_mut().insert("authorization", ann);
        let answer = client.execute_with_extensions(order, &mut extensions).await;
        assert_eq!(answer.unwrap().status(), StatusCode::CREATED);
    }
    let keys = keys.all();
    assert!(keys.len() == 2 && keys[0] != keys[1], "{keys:?}");
}

#[tokio::test]
async fn a_request_without_a_key_is_not_sent_again() {
    let (service, _) = shop(|_| created()).await;
    let client = builder().with(retries()).build();
    let refused = send(&client, &service).await;
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);

    // Nobody listens there.
    let nobody = client.post("http://127.0.0.1:1/").send().await;
    assert!(nobody.unwrap_err().is_connect());
}
