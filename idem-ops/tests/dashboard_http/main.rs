//! The dashboard's answers to requests that no browser sends.

#![expect(
    clippy::unwrap_used,
    reason = "a helper that cannot go on fails its test"
)]

mod alerts;
mod bodies;
#[path = "../common/mod.rs"]
mod common;
mod letter;
mod links;
mod pauses;
mod publish;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use axum::response::Response;
use idem_ops::{Auth, Principal};
use idem_runtime::{DeadLetter, Filter, Idem};
use tower::ServiceExt;

struct Dashboard {
    app: Router,
    idem: Idem,
    _folder: tempfile::TempDir,
}

impl Dashboard {
    fn with(auth: Auth) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let idem = Idem::open(folder.path()).unwrap();
        Self {
            app: idem_ops::dashboard(&idem, auth),
            idem,
            _folder: folder,
        }
    }

    fn new() -> Self {
        Self::with(Auth::token("right"))
    }

    async fn send(&self, request: Request<Body>) -> Response {
        self.app.clone().oneshot(request).await.unwrap()
    }

    async fn get(&self, path: &str, cookie: &str) -> Response {
        let request = Request::get(path)
            .header("host", "ops.example")
            .header("cookie", cookie);
        self.send(request.body(Body::empty()).unwrap()).await
    }

    async fn post(&self, path: &str, cookie: &str, form: impl Into<Body>) -> Response {
        let request = Request::post(path)
            .header("host", "ops.example")
            .header("origin", "https://ops.example");
        self.send(request.header("cookie", cookie).body(form.into()).unwrap())
            .await
    }

    /// Returns the path of the newest open letter's page, and a session's cookie.
    async fn letter_page(&self) -> (String, String) {
        let letters = self.letters(Filter::default()).await;
        (format!("/letters/{}", letters[0].id), self.sign_in().await)
    }

    async fn letters(&self, filter: Filter) -> Vec<DeadLetter> {
        self.idem.dead_letters().list(&filter).await.unwrap()
    }

    /// Signs in and returns the session's cookie.
    async fn sign_in(&self) -> String {
        let response = self.post("/login", "", "token=right&who=Ann").await;
        assert_eq!(response.status(), StatusCode::SEE_OTHER);
        cookie(response.headers())
    }
}

fn cookie(headers: &HeaderMap) -> String {
    headers["set-cookie"]
        .to_str()
        .unwrap()
        .split(';')
        .next()
        .unwrap()
        .to_owned()
}

async fn text(response: Response) -> String {
    let bytes = axum::body::to_bytes(response.into_body(), usize::MAX)
        .await
        .unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Returns the CSRF token of a page.
fn csrf(page: &str) -> String {
    page.split("name=\"csrf\" value=\"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap()
        .to_owned()
}

#[tokio::test]
async fn without_a_session_every_page_redirects_to_the_login() {
    let dashboard = Dashboard::new();
    let id = "019363d8-94c0-7bd0-a3ed-6e5cd0f9b6a1";
    for path in [
        "/overview",
        "/letters",
        &format!("/letters/{id}"),
        "/groups",
        "/group?handler=a",
        "/bulk",
        "/story?key=a",
        "/health",
        "/audit",
    ] {
        for cookie in [
            "",
            "idem_session=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        ] {
            let response = dashboard.get(path, cookie).await;
            assert_eq!(response.status(), StatusCode::SEE_OTHER, "{path}");
            assert!(
                response.headers()["location"]
                    .to_str()
                    .unwrap()
                    .contains("login?to="),
                "{path}"
            );
        }
    }
    let response = dashboard
        .post(&format!("/letters/{id}/discard"), "", "why=none")
        .await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn every_answer_has_the_security_headers() {
    let dashboard = Dashboard::new();
    let cookie = dashboard.sign_in().await;
    for path in [
        "/login",
        "/overview",
        "/letters/nonsense",
        "/nowhere",
        "/assets/style.css",
        "/",
    ] {
        let response = dashboard.get(path, &cookie).await;
        let headers = response.headers();
        let policy = headers["content-security-policy"].to_str().unwrap();
        for rule in [
            "default-src 'none'",
            "form-action 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
        ] {
            assert!(policy.contains(rule), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        assert_eq!(headers["x-content-type-options"], "nosniff", "{path}");
        assert_eq!(headers["referrer-policy"], "same-origin", "{path}");
        let kept = headers["cache-control"]
            .to_str()
            .unwrap()
            .contains("immutable");
        assert_eq!(kept, path.starts_with("/assets/"), "{path}");
        assert_eq!(headers["cache-control"] == "no-store", !kept, "{path}");
    }
}

#[tokio::test]
async fn the_cookie_needs_tls_except_on_the_loopback() {
    let dashboard = Dashboard::new();
    let response = dashboard.post("/login", "", "token=right").await;
    let cookie = response.headers()["set-cookie"].to_str().unwrap();
    for attribute in ["HttpOnly", "SameSite=Strict", "Secure", "Max-Age"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    let lost = dashboard
        .get("/login?to=overview%3Fsigned-in%3D1", "")
        .await;
    assert!(text(lost).await.contains("did not keep the session"));
}

#[tokio::test]
async fn a_change_from_another_site_is_refused_whatever_it_carries() {
    let dashboard = Dashboard::new();
    let cookie = dashboard.sign_in().await;
    let token = csrf(&text(dashboard.get("/letters", &cookie).await).await);
    let form = format!("csrf={token}&why=forged&act=redrive&rate=1&handler=a&error=b");
    for (name, value) in [
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
        ("x-none", ""),
    ] {
        let request = Request::post("/group")
            .header("host", "ops.example")
            .header("cookie", &cookie)
            .header(name, value);
        let response = dashboard
            .send(request.body(form.clone().into()).unwrap())
            .await;
        assert_eq!(response.status(), StatusCode::FORBIDDEN, "{name}: {value}");
    }
    let wrong = form.replacen(&token, &"A".repeat(token.len()), 1);
    assert_eq!(
        dashboard.post("/group", &cookie, wrong).await.status(),
        StatusCode::FORBIDDEN
    );
    let others = csrf(&text(dashboard.get("/letters", &dashboard.sign_in().await).await).await);
    let of_another_session = form.replacen(&token, &others, 1);
    assert_eq!(
        dashboard
            .post("/group", &cookie, of_another_session)
            .await
            .status(),
        StatusCode::FORBIDDEN
    );
    assert!(
        text(dashboard.get("/audit", &cookie).await)
            .await
            .contains("No changes yet")
    );
    assert_eq!(
        dashboard.post("/group", &cookie, form).await.status(),
        StatusCode::SEE_OTHER,
        "the right one works"
    );
}

#[tokio::test]
async fn an_oversized_form_is_refused() {
    let dashboard = Dashboard::new();
    let cookie = dashboard.sign_in().await;
    let large = format!("payload={}", "a".repeat(4 * 1024 * 1024));
    assert_eq!(
        dashboard
            .post("/selection", &cookie, large.clone())
            .await
            .status(),
        StatusCode::PAYLOAD_TOO_LARGE
    );
    assert_eq!(
        dashboard.post("/login", "", large).await.status(),
        StatusCode::PAYLOAD_TOO_LARGE
    );
}

#[tokio::test]
async fn a_wrong_token_has_to_wait_and_a_valid_one_never_does() {
    let dashboard = Dashboard::new();
    for _ in 0..10 {
        assert_eq!(
            dashboard.post("/login", "", "token=wrong").await.status(),
            StatusCode::UNAUTHORIZED
        );
    }
    let guess = async || {
        let request = Request::post("/login")
            .header("host", "ops.example")
            .header("origin", "https://ops.example");
        dashboard
            .send(
                request
                    .header("content-length", 11)
                    .body("token=wrong".into())
                    .unwrap(),
            )
            .await
    };
    let response = guess().await;
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(response.headers().contains_key("retry-after"));
    // Another person behind the same address, whose browser sends the form's length.
    let request = Request::post("/login")
        .header("host", "ops.example")
        .header("origin", "https://ops.example");
    let request = request
        .header("content-length", 11)
        .body("token=right".into())
        .unwrap();
    assert_eq!(
        dashboard.send(request).await.status(),
        StatusCode::SEE_OTHER
    );
    assert_eq!(
        guess().await.status(),
        StatusCode::TOO_MANY_REQUESTS,
        "that is no way around"
    );
}

#[tokio::test]
async fn a_name_has_no_invisible_characters() {
    let dashboard = Dashboard::new();
    for sign in [
        "%E2%80%AE",
        "%E2%81%A6",
        "%E2%80%8F",
        "%D8%9C",
        "%0A",
        "%EF%BB%BF",
    ] {
        let response = dashboard
            .post("/login", "", format!("token=right&who=ann{sign}nna"))
            .await;
        assert_eq!(
            response.status(),
            StatusCode::UNPROCESSABLE_ENTITY,
            "{sign}"
        );
    }
}

/// Characters that change the direction of text, in each place that others fill: keys, errors,
/// reasons, payloads, and names in the audit log, which the service's own check takes from
/// anywhere.
#[tokio::test]
async fn no_page_changes_the_direction_of_text_and_forms_keep_their_values() {
    const TURNED: &str = "A\u{202e}1\u{2066}\u{200f}\u{61c}";
    let dashboard = Dashboard::with(Auth::check(|_| {
        Some(Principal::new(format!("ann{TURNED}")))
    }));
    let id = letter::with_key(&dashboard.idem, TURNED).await;
    let overview = dashboard.get("/overview", "").await;
    let cookie = cookie(overview.headers());
    let token = csrf(&text(dashboard.get("/letters", &cookie).await).await);
    let why: String = url::form_urlencoded::byte_serialize(TURNED.as_bytes()).collect();
    let form = format!("csrf={token}&why={why}");
    let response = dashboard
        .post(&format!("/letters/{id}/discard"), &cookie, form.clone())
        .await;
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    assert_eq!(
        dashboard
            .post(&format!("/letters/{id}/restore"), &cookie, form)
            .await
            .status(),
        StatusCode::SEE_OTHER
    );
    let key = why;
    for path in [
        "/overview".to_owned(),
        "/letters".to_owned(),
        format!("/letters?key={key}"),
        format!("/letters/{id}"),
        "/groups".to_owned(),
        "/audit".to_owned(),
        format!("/story?key={key}"),
        format!("/login?to={key}"),
        format!("/letters/{key}"),
    ] {
        let page = text(dashboard.get(&path, &cookie).await).await;
        let turning = |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{61c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        assert!(!page.contains(turning), "{path}: {page}");
    }
    let audit = text(dashboard.get("/audit", &cookie).await).await;
    assert!(audit.contains("annA\u{fffd}1"), "{audit}");
    let letters = text(dashboard.get(&format!("/letters?key={key}"), &cookie).await).await;
    assert!(
        letters.contains("name=\"key\" value=\"A&#8238;1&#8294;&#8207;&#1564;\""),
        "the search can be sent again: {letters}"
    );
    let page = text(dashboard.get(&format!("/letters/{id}"), &cookie).await).await;
    assert!(
        page.contains("A\\u202e1\\u2066\\u200f\\u061c"),
        "a payload says the same: {page}"
    );
}

#[tokio::test]
async fn a_login_never_redirects_to_another_site() {
    let dashboard = Dashboard::new();
    for to in [
        "https://evil.example/",
        "//evil.example/",
        "%2F%5Cevil.example",
        "javascript:alert(1)",
    ] {
        let response = dashboard
            .post("/login", "", format!("token=right&to={to}"))
            .await;
        let page = url::Url::parse("https://ops.example/idem/login").unwrap();
        let there = page
            .join(response.headers()["location"].to_str().unwrap())
            .unwrap();
        assert_eq!(there.origin(), page.origin(), "{there}");
    }
}

#[tokio::test]
async fn the_user_s_own_check_signs_in_and_out() {
    let known = Arc::new(AtomicBool::new(true));
    let check = known.clone();
    let dashboard = Dashboard::with(Auth::check(move |request| {
        let name = request.headers.get("x-user")?.to_str().ok()?;
        check.load(Ordering::SeqCst).then(|| Principal::new(name))
    }));
    let as_user = async |name: &str, cookie: &str| {
        let request = Request::get("/overview")
            .header("host", "a")
            .header("x-user", name)
            .header("cookie", cookie);
        dashboard.send(request.body(Body::empty()).unwrap()).await
    };
    assert_eq!(
        dashboard.get("/overview", "").await.status(),
        StatusCode::UNAUTHORIZED
    );
    let response = as_user("ann", "").await;
    let anns = cookie(response.headers());
    assert!(text(response).await.contains("ann"));
    assert!(
        !as_user("ann", &anns)
            .await
            .headers()
            .contains_key("set-cookie"),
        "the session is used again"
    );
    assert!(
        as_user("bob", &anns)
            .await
            .headers()
            .contains_key("set-cookie"),
        "a session is one person's"
    );
    known.store(false, Ordering::SeqCst);
    assert_eq!(
        as_user("ann", &anns).await.status(),
        StatusCode::UNAUTHORIZED,
        "the check decides each time"
    );
    assert_eq!(
        dashboard.post("/login", "", "token=").await.status(),
        StatusCode::UNAUTHORIZED
    );
}
