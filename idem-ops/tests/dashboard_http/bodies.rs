//! How much of a request is read, and from whom.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::ConnectInfo;
use axum::http::{Request, StatusCode};
use futures_util::{StreamExt, stream};
use idem_ops::Auth;
use idem_runtime::Idem;
use idem_runtime::testing::ManualClock;

use super::common::until;
use super::{Dashboard, csrf, text};

/// A body of these pieces that never ends, and the number of bytes that were read.
fn unfinished(pieces: usize, piece: &'static str) -> (Body, Arc<AtomicUsize>) {
    let taken = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&taken);
    let pieces = stream::repeat(Bytes::from_static(piece.as_bytes()))
        .take(pieces)
        .inspect(move |piece| {
            count.fetch_add(piece.len(), Ordering::SeqCst);
        });
    (
        Body::from_stream(pieces.chain(stream::pending()).map(Ok::<_, std::io::Error>)),
        taken,
    )
}

fn of_own_page(path: &str) -> http::request::Builder {
    Request::post(path)
        .header("host", "ops.example")
        .header("origin", "https://ops.example")
}

#[tokio::test]
async fn the_body_of_an_unauthenticated_request_is_not_read() {
    let dashboard = Dashboard::new();
    let id = "019363d8-94c0-7bd0-a3ed-6e5cd0f9b6a1";
    let mut asked = Vec::new();
    for page in [
        "/logout",
        "/group",
        "/selection",
        &format!("/letters/{id}/edit"),
        &format!("/bulk/{id}/cancel"),
        "/nowhere",
    ] {
        asked.push(of_own_page(page));
    }
    for route in [
        format!("letters/{id}/edit"),
        format!("letters/{id}/redrive"),
        "bulk".to_owned(),
        "nowhere".to_owned(),
    ] {
        asked.push(Request::post(format!("/api/v1/{route}")));
        asked.push(
            Request::post(format!("/api/v1/{route}")).header("authorization", "Bearer wrong"),
        );
    }
    // A login from another site, and one with a length over the limit.
    asked.push(
        Request::post("/login")
            .header("host", "ops.example")
            .header("origin", "https://evil.example"),
    );
    asked.push(of_own_page("/login").header("content-length", 8 * 1024 + 1));
    for request in asked {
        let (body, taken) = unfinished(1, "token=right&csrf=1");
        let request = request
            .header("content-type", "application/json")
            .body(body)
            .unwrap();
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let status = dashboard.send(request).await.status();
        assert!(status.is_client_error(), "{method} {path}: {status}");
        assert_eq!(taken.load(Ordering::SeqCst), 0, "{method} {path}");
    }
    let dashboard = Dashboard::with(Auth::check(|_| None));
    let (body, taken) = unfinished(1, "token=right");
    assert_eq!(
        dashboard
            .send(of_own_page("/login").body(body).unwrap())
            .await
            .status(),
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(taken.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_login_is_read_up_to_8_kib_and_after_too_many_failures_only_with_a_length() {
    let dashboard = Dashboard::new();
    let (body, taken) = unfinished(1_000_000, "a&a&a&a&a&a&a&a&");
    assert_eq!(
        dashboard
            .send(of_own_page("/login").body(body).unwrap())
            .await
            .status(),
        StatusCode::PAYLOAD_TOO_LARGE
    );
    assert!(
        taken.load(Ordering::SeqCst) <= 9 * 1024,
        "{taken:?} bytes were read"
    );
    for _ in 0..10 {
        assert_eq!(
            dashboard.post("/login", "", "token=wrong").await.status(),
            StatusCode::UNAUTHORIZED
        );
    }
    let (body, taken) = unfinished(1, "token=wrong");
    assert_eq!(
        dashboard
            .send(of_own_page("/login").body(body).unwrap())
            .await
            .status(),
        StatusCode::TOO_MANY_REQUESTS
    );
    assert_eq!(taken.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_body_has_to_arrive_in_time() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), ManualClock::default());
    let idem = Idem::builder()
        .clock(Arc::new(clock.clone()))
        .open(folder.path())
        .unwrap();
    let app = idem_ops::dashboard(&idem, Auth::token("right"));
    let dashboard = Dashboard {
        app,
        idem,
        _folder: folder,
    };
    let cookie = dashboard.sign_in().await;
    let edit = "/api/v1/letters/019363d8-94c0-7bd0-a3ed-6e5cd0f9b6a1/edit";
    for request in [
        of_own_page("/login"),
        of_own_page("/selection").header("cookie", &cookie),
        Request::post(edit)
            .header("authorization", "Bearer right")
            .header("content-type", "application/json"),
    ] {
        let (body, taken) = unfinished(1, "{");
        let app = dashboard.app.clone();
        let answer = tokio::spawn(tower::ServiceExt::oneshot(app, request.body(body).unwrap()));
        until(
            async || {
                clock.advance(Duration::from_secs(1));
                tokio::task::yield_now().await;
                answer.is_finished()
            },
            |finished| *finished,
        )
        .await;
        assert_eq!(
            answer.await.unwrap().unwrap().status(),
            StatusCode::REQUEST_TIMEOUT
        );
        assert_eq!(
            taken.load(Ordering::SeqCst),
            1,
            "it was read as far as it came"
        );
    }
}

#[test]
fn a_form_of_a_million_fields_costs_no_more_than_its_bytes() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let dashboard = Dashboard::new();
    let (cookie, token) = runtime.block_on(async {
        let cookie = dashboard.sign_in().await;
        let token = csrf(&text(dashboard.get("/letters", &cookie).await).await);
        (cookie, token)
    });
    let fields = "&a".repeat(3 * 512 * 1024);
    for (path, form, status) in [
        (
            "/selection",
            format!("csrf={token}{fields}"),
            StatusCode::BAD_REQUEST,
        ),
        (
            "/login",
            format!("token=right{fields}"),
            StatusCode::PAYLOAD_TOO_LARGE,
        ),
    ] {
        let mut answered = None;
        let taken = allocation_counter::measure(|| {
            answered = Some(
                runtime
                    .block_on(dashboard.post(path, &cookie, form))
                    .status(),
            );
        });
        assert_eq!(answered, Some(status), "{path}");
        assert!(
            taken.count_total < 20_000 && taken.bytes_max < 8 << 20,
            "{path}: {taken:?}"
        );
    }
}

#[tokio::test]
async fn a_trusted_proxy_names_the_address_that_guesses() {
    let dashboard =
        Dashboard::with(Auth::token("right").trusted_proxies(["10.0.0.0/8".parse().unwrap()]));
    let guess = async |connected: &str, forwarded: &str| {
        let request = Request::get("/api/v1/stats").header("authorization", "Bearer wrong");
        let mut request = request
            .header("x-forwarded-for", forwarded)
            .body(Body::empty())
            .unwrap();
        request
            .extensions_mut()
            .insert(ConnectInfo::<SocketAddr>(connected.parse().unwrap()));
        dashboard.send(request).await.status()
    };
    for _ in 0..10 {
        assert_eq!(
            guess("10.0.0.1:1", "192.0.2.7").await,
            StatusCode::UNAUTHORIZED
        );
    }
    assert_eq!(
        guess("10.0.0.2:1", "1.1.1.1, 192.0.2.7").await,
        StatusCode::TOO_MANY_REQUESTS,
        "it is the same one"
    );
    assert_eq!(
        guess("10.0.0.1:1", "192.0.2.8").await,
        StatusCode::UNAUTHORIZED,
        "another one behind the proxy"
    );
    assert_eq!(
        guess("203.0.113.1:1", "192.0.2.7").await,
        StatusCode::UNAUTHORIZED,
        "only a trusted proxy can name an address"
    );
}
