//! A trace from a request to what its attempt sends.

use axum::Router;
use axum::response::IntoResponse;
use axum::routing::any;
use http::StatusCode;
use idem_http::{IdempotencyLayer, Scope};
use idem_runtime::Idem;
use idem_runtime::outbox::OutboxMessage;
use idem_runtime::testing::temporary;
use idem_test_support::traces::{SENDER, TRACE_ID, TRACEPARENT, record};

use crate::common::{Client, Version, created, post, serve};

#[tokio::test]
async fn a_request_s_trace_goes_on_in_its_attempt_its_outbox_and_its_letter() {
    let (spans, idem) = (record(), temporary().unwrap());
    let handle = Idem::clone(&idem);
    let handler = async move |body: String| {
        if body != "{}" {
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        }
        let event = OutboxMessage::new("orders.placed", "A-1", body);
        handle.outbox().enqueue(event).unwrap();
        created()
    };
    let layer = IdempotencyLayer::builder(&idem, "http.orders", Scope::bearer());
    let layer = layer.handler(|it| it.retries(0)).build().unwrap();
    let router = Router::new().route("/", any(handler)).layer(layer);
    let client = Client::new(serve(router).await, Version::Http1);
    let send = async |key, body: &'static str, traceparent| {
        let mut order = post(key, body);
        order.headers_mut().insert("traceparent", traceparent);
        client.send(order).await.status.as_u16()
    };
    let trace = http::HeaderValue::from_static(TRACEPARENT);
    assert_eq!(send("A-1", "{}", trace.clone()).await, 201);
    assert_eq!(send("A-1", "{}", trace.clone()).await, 201);
    let attempt = spans.only("idem.attempt");
    assert_eq!(
        (attempt.trace(), attempt.parent()),
        (TRACE_ID.into(), SENDER.into())
    );
    let replay = spans.only("idem.replay");
    assert_eq!(
        (replay.trace(), replay.parent()),
        (TRACE_ID.into(), SENDER.into())
    );
    assert_eq!(replay.links(), [(attempt.trace(), attempt.id())]);
    let event = idem
        .outbox()
        .pending(None, 1)
        .await
        .unwrap()
        .remove(0)
        .message;
    assert_eq!(
        event.headers,
        [("traceparent".to_owned(), attempt.traceparent())]
    );

    assert_eq!(send("A-2", "[]", trace).await, 503);
    let letters = idem.dead_letters().list(&Default::default()).await.unwrap();
    assert_eq!(letters[0].trace.unwrap().to_string(), TRACEPARENT);

    let rubbish = http::HeaderValue::from_bytes(b"00-\xff").unwrap();
    assert_eq!(send("A-3", "{}", rubbish).await, 201);
    let attempt = spans.named("idem.attempt").pop().unwrap();
    assert_ne!(attempt.trace(), TRACE_ID);
}
