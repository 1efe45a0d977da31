//! The layer and the retry policy for tower.

use std::time::Duration;

use axum::response::IntoResponse;
use http::{HeaderValue, Method, StatusCode};
use idem_http::IdempotencyKey;
use idem_http::client::{IdempotencyKeys, Replayed, Retries};
use tower::retry::RetryLayer;
use tower::{ServiceBuilder, ServiceExt};

use super::{Came, connection, order, shop};
use crate::common::{created, post, soon};

const ORDER: &str = r#"{"qty":2}"#;

fn retries() -> RetryLayer<Retries> {
    RetryLayer::new(Retries::new().backoff(Duration::ZERO, Duration::ZERO))
}

#[tokio::test]
async fn lost_answers_and_failed_attempts_are_one_request_under_one_key() {
    let (service, keys) = shop(|run| match run {
        1 => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        _ => created(),
    })
    .await;
    let came = Came::default();
    let client = ServiceBuilder::new()
        .layer(IdempotencyKeys::new())
        .layer(retries())
        .service(connection(&service.client, 2, &came));
    let answer = client.clone().oneshot(order(ORDER)).await.unwrap();
    assert_eq!(
        came.all(),
        [
            StatusCode::SERVICE_UNAVAILABLE,
            StatusCode::CREATED,
            StatusCode::CREATED
        ]
    );
    let replayed = Replayed::from_headers(answer.headers()).unwrap();
    assert_eq!(
        (replayed.age, replayed.is_truncated),
        (Some(Duration::ZERO), false)
    );
    // The failed attempt and the one that was lost; the replay ran nothing.
    let keys_of_first = keys.all();
    assert!(keys_of_first.len() == 2 && keys_of_first[0] == keys_of_first[1]);

    let other = client.oneshot(order(ORDER)).await.unwrap();
    assert_eq!(Replayed::from_headers(other.headers()), None);
    assert_ne!(keys.all()[2], keys_of_first[0], "it is another order");
}

#[tokio::test]
async fn a_key_that_is_there_is_never_changed_and_other_methods_get_none() {
    let (service, keys) = shop(|_| created()).await;
    let client = || {
        ServiceBuilder::new()
            .layer(IdempotencyKeys::new().random())
            .service(connection(&service.client, 0, &Came::default()))
    };
    client().oneshot(post("A-1", ORDER)).await.unwrap();
    let mut stored = order(ORDER);
    let key = IdempotencyKey::new("A \"2\"").unwrap();
    stored.extensions_mut().insert(key);
    client().oneshot(stored).await.unwrap();
    let mut broken = order(ORDER);
    let value = HeaderValue::from_static("\"A-3");
    broken.headers_mut().insert("idempotency-key", value);
    let refused = client().oneshot(broken).await.unwrap();
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
    client().oneshot(order(ORDER)).await.unwrap();
    let all = keys.all();
    assert_eq!(all[..2], ["A-1", "A \"2\""]);
    assert!(all.len() == 3 && all[2].len() == 36, "{all:?}");
    // The handler would panic for want of a key, if the layer's methods had not passed it.
    let patch = ServiceBuilder::new()
        .layer(IdempotencyKeys::new().methods([Method::PATCH]))
        .service(connection(&service.client, 0, &Came::default()));
    let keyless = patch.oneshot(order(ORDER)).await.unwrap();
    assert_eq!(keyless.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn in_the_wrong_order_a_request_is_not_sent_again() {
    let (service, keys) = shop(|_| created()).await;
    let came = Came::default();
    let wrong = ServiceBuilder::new()
        .layer(retries())
        .layer(IdempotencyKeys::new())
        .service(connection(&service.client, 1, &came));
    let lost = wrong.clone().oneshot(order(ORDER)).await;
    assert_eq!(lost.unwrap_err(), "the connection broke");
    assert_eq!((keys.all().len(), came.all().len()), (1, 1));
    // With a key of its own it may be.
    let came = Came::default();
    let wrong = ServiceBuilder::new()
        .layer(retries())
        .layer(IdempotencyKeys::new())
        .service(connection(&service.client, 1, &came));
    assert!(wrong.oneshot(post("A-1", ORDER)).await.is_ok());
    assert_eq!((keys.all().len(), came.all().len()), (2, 2));
}

#[tokio::test]
async fn a_request_in_flight_is_asked_for_again_after_the_time_that_the_server_says() {
    let (service, keys) = shop(|_| created()).await;
    service.runs.hold();
    let came = Came::default();
    let client =
        ServiceBuilder::new()
            .layer(retries())
            .service(connection(&service.client, 0, &came));
    let first = service.client.post("A-1", ORDER);
    let second = async {
        service.runs.starts(1).await;
        client.oneshot(post("A-1", ORDER)).await.unwrap()
    };
    let end = async {
        came.has(StatusCode::CONFLICT).await;
        service.runs.let_go();
    };
    let (_, answer, ()) = tokio::join!(first, second, end);
    assert!(Replayed::from_headers(answer.headers()).is_some());
    assert_eq!(keys.all().len(), 1);
}

#[tokio::test]
async fn a_date_is_waited_for_as_well() {
    let (service, _) = shop(|run| match run {
        1 => {
            // The example of RFC 9110. It has passed.
            let past = [("retry-after", "Fri, 31 Dec 1999 23:59:59 GMT")];
            (StatusCode::SERVICE_UNAVAILABLE, past).into_response()
        }
        _ => created(),
    })
    .await;
    let hour = Duration::from_secs(3600);
    let client = ServiceBuilder::new()
        .layer(RetryLayer::new(Retries::new().backoff(hour, hour)))
        .service(connection(&service.client, 0, &Came::default()));
    let answer = soon(client.oneshot(post("A-1", ORDER))).await.unwrap();
    assert_eq!(answer.status(), StatusCode::CREATED);
}

#[tokio::test]
async fn what_does_not_get_better_is_not_sent_again() {
    let (service, keys) = shop(|run| match run {
        1 => created(),
        2..=5 => StatusCode::BAD_GATEWAY.into_response(),
        _ => (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "61")]).into_response(),
    })
    .await;
    let send = async |key, body| {
        let came = Came::default();
        let client =
            ServiceBuilder::new()
                .layer(retries())
                .service(connection(&service.client, 0, &came));
        client.oneshot(post(key, body)).await.unwrap();
        came.all()
    };
    assert_eq!(send("A-1", ORDER).await, [StatusCode::CREATED]);
    // The key belongs to another request.
    assert_eq!(send("A-1", "{}").await, [StatusCode::UNPROCESSABLE_ENTITY]);
    // Four attempts, and the last one is the answer for good: it is replayed, and not asked for again.
    assert_eq!(send("A-2", ORDER).await, [StatusCode::BAD_GATEWAY; 4]);
    assert_eq!(send("A-2", ORDER).await, [StatusCode::BAD_GATEWAY]);
    assert_eq!(keys.all().len(), 5);
    // Longer than a client waits.
    assert_eq!(send("A-3", ORDER).await, [StatusCode::SERVICE_UNAVAILABLE]);
}
