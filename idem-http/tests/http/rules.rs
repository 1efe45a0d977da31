//! The rules of the header, of requests in flight, and of a service that cannot.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::response::IntoResponse;
use axum::routing::post as route;
use http::{HeaderValue, Method, StatusCode};
use idem_http::{IdempotencyKey, IdempotencyLayer, LayerError, Scope};
use idem_runtime::Idem;
use idem_runtime::error::CloseError;
use idem_runtime::ledger::LedgerError;
use idem_runtime::protocol::RecordId;
use idem_runtime::testing::{
    LedgerCall, LedgerFault, ManualClock, MemoryLedger, UnreliableLedger, open_on, temporary,
};

use crate::common::{BOTH, Client, Service, Version, created, post, serve, soon};

const ORDER: &str = r#"{"qty":2}"#;

#[test]
fn the_header_is_a_string_of_rfc_9651_or_a_bare_token() {
    let read = |value: &[u8]| {
        let mut headers = http::HeaderMap::new();
        headers.insert("idempotency-key", HeaderValue::from_bytes(value).unwrap());
        IdempotencyKey::from_headers(&headers).map(|key| key.unwrap().to_string())
    };
    for (value, key) in [
        (r#""8e03978e-40d5-43dd""#, "8e03978e-40d5-43dd"),
        ("8e03978e-40d5-43dd", "8e03978e-40d5-43dd"),
        (r#"  "a b, c"  "#, "a b, c"),
        (r#""a\"\\b""#, r#"a"\b"#),
        (r#""a";v=1"#, "a"),
        ("a:b/c+d=", "a:b/c+d="),
    ] {
        assert_eq!(read(value.as_bytes()).unwrap(), key, "{value}");
    }
    assert_eq!(read(&[b'a'; 255]).unwrap().len(), 255);
    for value in [
        &b""[..],
        b"\"\"",
        b"\"a",
        b"a\"",
        br#""a\b""#,
        b"a b",
        b"a, b",
        br#""a" "b""#,
        b"caf\xc3\xa9",
        b"\"caf\xc3\xa9\"",
        b"a;b",
        b"\"a\tb\"",
        &[b'a'; 256],
    ] {
        assert!(read(value).is_err(), "{value:?}");
    }
}

#[tokio::test]
async fn a_request_without_a_good_key_is_told_so_and_does_not_run() {
    for version in BOTH {
        let service = Service::orders(version).await;
        let mut request = post("A-1", ORDER);
        request.headers_mut().remove("idempotency-key");
        let got = service.client.send(request).await;
        assert_eq!(
            (got.status, &*got.problem()),
            (StatusCode::BAD_REQUEST, "key-missing")
        );
        let mut request = post("A-1", ORDER);
        request
            .headers_mut()
            .append("idempotency-key", HeaderValue::from_static("A-2"));
        let got = service.client.send(request).await;
        assert_eq!(
            (got.status, &*got.problem()),
            (StatusCode::BAD_REQUEST, "key-invalid")
        );
        assert_eq!(service.runs.started(), 0);
    }
}

#[tokio::test]
async fn other_methods_pass_and_so_do_requests_without_a_key_where_it_is_optional() {
    let service = Service::start(
        Version::Http2,
        idem_http::IdempotencyLayerBuilder::optional,
        async |_, _| created(),
    )
    .await;
    for run in 1..=2 {
        let mut get = post("A-1", "");
        *get.method_mut() = Method::GET;
        assert!(!service.client.send(get).await.is_replay());
        let mut keyless = post("A-1", ORDER);
        keyless.headers_mut().remove("idempotency-key");
        assert!(!service.client.send(keyless).await.is_replay());
        assert_eq!(service.runs.started(), 2 * run);
    }
}

#[tokio::test]
async fn a_replay_says_so_with_its_age_until_it_is_forgotten() {
    let day = Duration::from_secs(24 * 60 * 60);
    let service = Service::orders(Version::Http1).await;
    let first = service.client.post("A-1", ORDER).await;
    assert_eq!(
        (
            first.header("idempotency-replayed"),
            first.header("idempotency-age")
        ),
        ("", "")
    );
    service.clock.advance(Duration::from_secs(75));
    let again = service.client.post("A-1", ORDER).await;
    assert_eq!(
        (
            again.header("idempotency-replayed"),
            again.header("idempotency-age")
        ),
        ("true", "75")
    );
    service.clock.advance(day);
    assert!(!service.client.post("A-1", ORDER).await.is_replay());
}

#[tokio::test]
async fn a_duplicate_in_flight_is_a_conflict_and_other_content_is_seen_first() {
    for version in BOTH {
        let service = Service::orders(version).await;
        service.runs.hold();
        let first = service.client.post("A-1", ORDER);
        let others = async {
            service.runs.starts(1).await;
            let busy = service.client.post("A-1", ORDER).await;
            assert_eq!(
                (busy.status, &*busy.problem()),
                (StatusCode::CONFLICT, "in-progress")
            );
            assert_eq!(busy.header("retry-after"), "1");
            assert_eq!(
                service.client.post("A-1", "{}").await.problem(),
                "key-reused"
            );
            service.runs.let_go();
        };
        let (first, ()) = tokio::join!(first, others);
        assert_eq!(first.status, StatusCode::CREATED);
    }
}

#[tokio::test]
async fn a_duplicate_that_waits_gets_the_answer_or_a_conflict_in_time() {
    for version in BOTH {
        let wait = |layer: idem_http::IdempotencyLayerBuilder| layer.wait(Duration::from_secs(5));
        let service = Service::start(version, wait, async |_, _| created()).await;
        service.runs.hold();
        let waits = async {
            service.runs.starts(1).await;
            let client = service.client.clone();
            let waited = tokio::spawn(async move { client.post("A-1", ORDER).await });
            // The first request's client waits by the clock, too, and for as long as it runs.
            while !waited.is_finished() {
                service.clock.advance(Duration::from_secs(1));
                tokio::task::yield_now().await;
            }
            assert_eq!(waited.await.unwrap().problem(), "in-progress");
            let let_go = async { service.runs.let_go() };
            let (waited, ()) = tokio::join!(service.client.post("A-1", ORDER), let_go);
            assert!(waited.is_replay());
        };
        let (first, ()) =
            soon(async { tokio::join!(service.client.post("A-1", ORDER), waits) }).await;
        assert_eq!(
            (first.status, first.is_replay()),
            (StatusCode::CREATED, false)
        );
        assert_eq!(service.runs.started(), 1);
    }
}

#[tokio::test]
async fn handlers_are_bounded_and_replays_are_not() {
    for version in BOTH {
        let service = Service::start(
            version,
            |layer| layer.most_running(1),
            async |_, _| created(),
        )
        .await;
        service.client.post("A-0", ORDER).await;
        service.runs.hold();
        let others = async {
            service.runs.starts(2).await;
            let shed = service.client.post("A-2", ORDER).await;
            assert_eq!(
                (shed.status, &*shed.problem()),
                (StatusCode::SERVICE_UNAVAILABLE, "overloaded")
            );
            assert_eq!(shed.header("retry-after"), "1");
            assert!(service.client.post("A-0", ORDER).await.is_replay());
            service.runs.let_go();
        };
        tokio::join!(service.client.post("A-1", ORDER), others);
        // What was turned away left nothing.
        assert_eq!(
            service.client.post("A-2", "{}").await.status,
            StatusCode::CREATED
        );
    }
}

#[tokio::test]
async fn closing_waits_for_handlers_whose_clients_have_gone() {
    let service = Service::orders(Version::Http1).await;
    service.runs.hold();
    let client = service.client.clone();
    let gone = tokio::spawn(async move { client.post("A-1", ORDER).await });
    service.runs.starts(1).await;
    gone.abort();
    assert!(gone.await.is_err());
    let idem = Idem::clone(&service.idem);
    let closing = tokio::spawn(async move { idem.close().await });
    // New ones are turned away once it has begun.
    soon(async {
        while service.client.post("A-2", ORDER).await.status != StatusCode::SERVICE_UNAVAILABLE {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(!closing.is_finished());
    service.runs.let_go();
    let closed: Result<(), CloseError> = soon(closing).await.unwrap();
    closed.unwrap();
    service.runs.ends(1).await;
}

#[tokio::test]
async fn with_the_ledger_away_nothing_runs() {
    let away = Arc::new(AtomicBool::new(true));
    let is_away = Arc::clone(&away);
    let ledger = MemoryLedger::new(Arc::new(ManualClock::default())).of_one_process();
    let ledger = UnreliableLedger::new(ledger, move |call| {
        let steps = matches!(call, LedgerCall::Step(..)) && is_away.load(Ordering::SeqCst);
        steps.then(|| LedgerFault::Refused(LedgerError::Other("the disk is full".into())))
    });
    let idem = open_on(Idem::builder(), ledger).unwrap();
    let layer = IdempotencyLayer::builder(&idem, "http.orders", Scope::bearer())
        .build()
        .unwrap();
    let ran = Arc::new(AtomicBool::new(false));
    let runs = Arc::clone(&ran);
    let handler = async move || {
        runs.store(true, Ordering::SeqCst);
        created()
    };
    let router = Router::new().route("/", route(handler)).layer(layer);
    let client = Client::new(serve(router).await, Version::Http1);
    let got = client.post("A-1", ORDER).await;
    assert_eq!(
        (got.status, &*got.problem()),
        (StatusCode::SERVICE_UNAVAILABLE, "unavailable")
    );
    assert!(got.header("retry-after") == "1" && !ran.load(Ordering::SeqCst));
    // What went wrong is for the log, not for the client.
    assert!(!String::from_utf8_lossy(&got.body).contains("disk"));
    away.store(false, Ordering::SeqCst);
    assert_eq!(client.post("A-1", ORDER).await.status, StatusCode::CREATED);
}

#[test]
fn options_that_do_not_go_together_are_refused() {
    let idem = temporary().unwrap();
    let new = || IdempotencyLayer::builder(&idem, "http.orders", Scope::public());
    let secret = new().store_headers([http::header::AUTHORIZATION]).build();
    assert!(matches!(secret, Err(LayerError::Header(_))), "{secret:?}");
    for framing in ["transfer-encoding", "keep-alive"] {
        let recorded = [http::HeaderName::from_static(framing)];
        let framing = new().record_headers(recorded).build();
        assert!(matches!(framing, Err(LayerError::Header(_))), "{framing:?}");
    }
    let forgotten = new()
        .handler(|it| it.timeout(Duration::from_secs(86_400)))
        .build();
    assert!(
        matches!(forgotten, Err(LayerError::Handler(_))),
        "{forgotten:?}"
    );
}

#[tokio::test]
async fn a_layer_inside_of_another_has_no_part() {
    let idem = temporary().unwrap();
    let layer = |name| {
        IdempotencyLayer::builder(&idem, name, Scope::public())
            .build()
            .unwrap()
    };
    let router = Router::new()
        .route("/", route(async || "once".into_response()))
        .layer(layer("http.inner"))
        .layer(layer("http.outer"));
    let client = Client::new(serve(router).await, Version::Http1);
    assert_eq!(client.post("A-1", ORDER).await.body, "once");
    assert!(client.post("A-1", ORDER).await.is_replay());
    for (name, has_record) in [("http.outer", true), ("http.inner", false)] {
        let record = idem.record(&RecordId::new(name, "*,A-1")).await.unwrap();
        assert_eq!(record.is_some(), has_record, "{name}");
    }
}
