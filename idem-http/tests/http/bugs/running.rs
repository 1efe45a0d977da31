//! When a request runs, and when it runs again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::IntoResponse;
use axum::routing::post as route;
use futures_util::stream;
use http::StatusCode;
use idem_http::{Disposition, IdempotencyLayer, Scope};
use idem_runtime::Idem;
use idem_runtime::ledger::shared::SharedLedger;
use idem_runtime::ledger::transaction;
use idem_runtime::testing::{ManualClock, MemoryStore, MemoryTransaction, temporary};
use tower::ServiceBuilder;

use super::ORDER;
use crate::common::{BOTH, Client, Got, Service, Version, created, post, serve, soon};

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

async fn until_done(client: &Client, key: &str) -> Got {
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

/// 13: Truxify: any process deletes the lock, and takes it again without a look at the result.
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
