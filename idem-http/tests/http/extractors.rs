//! Annotated handlers behind a route, without the layer.

use axum::routing::post as route;
use axum::{Json, Router};
use http::StatusCode;
use idem_http::{Answer, IdempotencyKey, OrRelease, Problem, Replayed};
use idem_runtime::idempotent;
use idem_runtime::testing::temporary;
use serde_json::json;

use crate::common::{BOTH, Client, Service, Version, post, serve};

#[idempotent(name = "orders.place", key = "key", retries = 0, runtime = idem, skip(idem))]
async fn place(idem: &idem_runtime::Idem, key: &str, qty: u32) -> Result<Answer, Problem> {
    if qty == 0 {
        return Ok(Answer::text(StatusCode::UNPROCESSABLE_ENTITY, "no pieces"));
    }
    assert!(qty < 100, "the handler panics");
    Ok(Answer::json(StatusCode::CREATED, &json!({"qty": qty}))?)
}

#[tokio::test]
async fn an_annotated_handler_needs_no_mapping() {
    let idem = temporary().unwrap();
    let handle = idem_runtime::Idem::clone(&idem);
    let handler = async move |key: IdempotencyKey, replayed: Replayed, Json(qty): Json<u32>| {
        let answer = replayed.watch(place(&handle, key.as_str(), qty)).await?;
        Ok::<_, Problem>((replayed, answer))
    };
    let router = Router::new().route("/", route(handler));
    let client = Client::new(serve(router).await, Version::Http1);
    for (key, qty, status) in [("A-1", "2", 201), ("A-2", "0", 422)] {
        for replay in [false, true] {
            let got = client.post(key, qty).await;
            assert_eq!((got.status.as_u16(), got.is_replay()), (status, replay));
        }
    }
    assert_eq!(client.post("A-1", "3").await.problem(), "key-reused");
    assert_eq!(client.post("A-3", "100").await.problem(), "failed");
    assert_eq!(
        idem.dead_letters()
            .list(&idem_runtime::Filter::default())
            .await
            .unwrap()
            .len(),
        1
    );
    let mut keyless = post("A-1", "2");
    keyless.headers_mut().remove("idempotency-key");
    assert_eq!(client.send(keyless).await.problem(), "key-missing");
}

#[tokio::test]
async fn a_rejection_before_the_handler_can_release_the_key() {
    for version in BOTH {
        let service = Service::orders(version).await;
        let layer = service.layer.clone();
        let handler = async |OrRelease(Json(qty)): OrRelease<Json<u32>>| Json(qty);
        let router = Router::new().route("/", route(handler)).layer(layer);
        let client = Client::new(serve(router).await, version);
        assert_eq!(
            client.post("A-1", "two").await.status,
            StatusCode::BAD_REQUEST
        );
        let mended = client.post("A-1", "2").await;
        assert_eq!((mended.status, mended.is_replay()), (StatusCode::OK, false));
    }
}
