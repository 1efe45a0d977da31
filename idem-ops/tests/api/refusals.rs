//! Authentication, and requests that are refused before they do anything.

use idem_ops::service::{Redriven, RunOutcome};
use idem_ops::{Auth, Principal};
use idem_runtime::LetterState;
use serde_json::json;

use crate::place::{Place, TOKEN};

const PATHS: [(&str, &str); 18] = [
    ("GET", "/api/v1/letters"),
    (
        "GET",
        "/api/v1/letters/019a0000-0000-7000-8000-000000000000",
    ),
    (
        "POST",
        "/api/v1/letters/019a0000-0000-7000-8000-000000000000/redrive",
    ),
    (
        "POST",
        "/api/v1/letters/019a0000-0000-7000-8000-000000000000/publish",
    ),
    (
        "POST",
        "/api/v1/letters/019a0000-0000-7000-8000-000000000000/edit",
    ),
    (
        "POST",
        "/api/v1/letters/019a0000-0000-7000-8000-000000000000/discard",
    ),
    (
        "POST",
        "/api/v1/letters/019a0000-0000-7000-8000-000000000000/restore",
    ),
    ("POST", "/api/v1/bulk"),
    ("GET", "/api/v1/bulk"),
    ("GET", "/api/v1/bulk/019a0000-0000-7000-8000-000000000000"),
    (
        "DELETE",
        "/api/v1/bulk/019a0000-0000-7000-8000-000000000000",
    ),
    ("GET", "/api/v1/groups"),
    ("GET", "/api/v1/explain?handler=orders.place&key=A-1"),
    ("GET", "/api/v1/stats"),
    ("GET", "/api/v1/alerts"),
    ("GET", "/api/v1/audit"),
    ("GET", "/metrics"),
    ("GET", "/api/v1/nothing-of-the-kind"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_token_only_the_health_is_visible() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::open(folder.path()).await;
    for (method, path) in PATHS {
        let answer = place.request(method, path, None, None).await;
        answer.problem(401, "unauthorized");
        assert!(
            answer.headers["www-authenticate"]
                .to_str()
                .unwrap()
                .starts_with("Bearer"),
            "{path}"
        );
    }
    for wrong in ["", "a token of the tesT", "a token of the test ", "a"] {
        // Spaces around a header's value are not a part of it.
        let status = place
            .request("GET", "/api/v1/letters", Some(wrong), None)
            .await
            .status;
        assert_eq!(
            status,
            if wrong.trim() == TOKEN { 200 } else { 401 },
            "{wrong:?}"
        );
    }
    let health = place.request("GET", "/healthz", None, None).await;
    assert_eq!((health.status, health.text.as_str()), (200, "up\n"));

    place.idem.close().await.unwrap();
    let health = place.request("GET", "/healthz", None, None).await;
    assert_eq!((health.status, health.text.as_str()), (503, "not up\n"));
    place
        .get("/api/v1/letters/019a0000-0000-7000-8000-000000000000")
        .await
        .problem(503, "closed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_tokens_have_to_wait_and_a_valid_one_never_does() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::open(folder.path()).await;
    for guess in 0..10 {
        let answer = place
            .request(
                "GET",
                "/api/v1/letters",
                Some(&format!("guess {guess}")),
                None,
            )
            .await;
        answer.problem(401, "unauthorized");
        assert!(!answer.text.contains("guess"));
    }
    let answer = place
        .request("GET", "/api/v1/letters", Some("one more guess"), None)
        .await;
    answer.problem(429, "too_many_failures");
    let wait: u64 = answer.headers["retry-after"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((1..=60).contains(&wait));
    assert_eq!(
        place.request("GET", "/healthz", None, None).await.status,
        200
    );
    assert_eq!(place.get("/api/v1/letters").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_service_s_own_check_decides() {
    let folder = tempfile::tempdir().unwrap();
    let check = |request: &http::request::Parts| {
        let value = request.headers.get("authorization")?.to_str().ok()?;
        (value == "Bearer of the house").then(|| Principal::new("eve"))
    };
    let place = Place::open_with(folder.path(), Auth::check(check)).await;
    assert_eq!(
        place
            .request("GET", "/api/v1/letters", Some("of the house"), None)
            .await
            .status,
        200
    );
    place
        .request("GET", "/api/v1/letters", Some(TOKEN), None)
        .await
        .problem(401, "unauthorized");
    place
        .request("GET", "/api/v1/letters", None, None)
        .await
        .problem(401, "unauthorized");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_fields_and_routes_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::open(folder.path()).await;
    assert!(place.order("A-1", 11).await.is_err());
    let id = place.letter_of("A-1").await;
    for path in [
        "letters",
        "groups",
        "stats",
        "alerts",
        "audit",
        "bulk",
        "explain",
        &format!("letters/{id}"),
    ] {
        let problem = place
            .get(&format!("/api/v1/{path}?colour=red"))
            .await
            .problem(400, "invalid");
        assert!(
            problem.detail.contains("colour"),
            "{path}: {}",
            problem.detail
        );
    }
    let bodies = [
        (
            format!("letters/{id}/redrive"),
            json!({ "run": true, "why": "x", "colour": 1 }),
        ),
        (
            format!("letters/{id}/edit"),
            json!({ "payload": {}, "why": "x", "colour": 1 }),
        ),
        (
            format!("letters/{id}/discard"),
            json!({ "why": "x", "colour": 1 }),
        ),
        (
            format!("letters/{id}/restore"),
            json!({ "why": "x", "colour": 1 }),
        ),
        (
            "bulk".to_owned(),
            json!({ "selection": { "ids": [id] }, "why": "x", "colour": 1 }),
        ),
        (
            "bulk".to_owned(),
            json!({ "selection": { "colour": [] }, "why": "x" }),
        ),
        (
            "bulk".to_owned(),
            json!({ "selection": { "filter": { "colour": 1 } }, "why": "x" }),
        ),
    ];
    for (path, body) in bodies {
        let problem = place
            .post(&format!("/api/v1/{path}"), body)
            .await
            .problem(400, "invalid");
        // In a body with payloads, the unknown name may be anything.
        let detail = problem.detail;
        assert!(
            detail.contains("unknown ") && detail.contains(", expected "),
            "{path}: {detail}"
        );
        assert!(!detail.contains("colour"), "{path}: {detail}");
    }
    for (path, named) in [
        ("letters?state=lost", "state"),
        ("letters?limit=0", "limit"),
        ("letters?limit=501", "limit"),
        ("letters?after=yesterday", "after"),
        ("stats?minutes=100000", "minutes"),
        ("explain?handler=orders.place", "key"),
        ("letters/yesterday", "yesterday"),
    ] {
        let problem = place
            .get(&format!("/api/v1/{path}"))
            .await
            .problem(400, "invalid");
        assert!(problem.detail.contains(named), "{path}: {}", problem.detail);
    }
    for (path, body, named) in [
        (
            format!("letters/{id}/discard"),
            json!({ "why": " " }),
            "why",
        ),
        (
            format!("letters/{id}/discard"),
            json!({ "why": "x".repeat(1025) }),
            "1024",
        ),
        (format!("letters/{id}/discard"), json!({}), "why"),
        (
            format!("letters/{id}/edit"),
            json!({ "payload": 7, "why": "x" }),
            "payload",
        ),
        (
            "bulk".to_owned(),
            json!({ "selection": { "ids": [] }, "why": "x" }),
            "selection",
        ),
        (
            "bulk".to_owned(),
            json!({ "selection": { "ids": [id] }, "rate": 0.0, "why": "x" }),
            "rate",
        ),
    ] {
        let problem = place
            .post(&format!("/api/v1/{path}"), body)
            .await
            .problem(400, "invalid");
        assert!(problem.detail.contains(named), "{path}: {}", problem.detail);
    }
    place
        .get("/api/v1/colours")
        .await
        .problem(404, "no_such_route");
    place
        .delete("/api/v1/letters")
        .await
        .problem(405, "no_such_method");
    // No request had an effect.
    let audit: idem_ops::service::AuditPage = place.get("/api/v1/audit").await.json();
    assert!(audit.entries.is_empty(), "{audit:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_over_a_mebibyte_or_of_another_kind_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::open(folder.path()).await;
    assert!(place.order("A-1", 11).await.is_err());
    let path = format!("/api/v1/letters/{}/discard", place.letter_of("A-1").await);
    let large = json!({ "why": "x".repeat(1 << 20) })
        .to_string()
        .into_bytes();
    place
        .request("POST", &path, Some(TOKEN), Some(large))
        .await
        .problem(413, "body_too_large");
    place
        .request("POST", &path, Some(TOKEN), None)
        .await
        .problem(415, "not_json");
    place
        .request("POST", &path, Some(TOKEN), Some(b"{\"why\":".to_vec()))
        .await
        .problem(400, "invalid");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payload_over_the_service_s_own_limit_runs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let idem = idem_runtime::Idem::builder()
        .payload_limit(1000)
        .open(folder.path())
        .unwrap();
    let place = Place::new(
        idem,
        Auth::token(TOKEN).with_token("ann", "ann's own token"),
    )
    .await;
    assert!(place.order("A-1", 11).await.is_err());
    let path = format!("/api/v1/letters/{}/redrive", place.letter_of("A-1").await);
    let payload = json!({ "order": { "order_no": "A-1", "qty": 1, "phone": "0".repeat(2000) } });
    let body = json!({ "run": true, "payload": payload, "why": "x" });
    let redriven: Redriven = place.post(&path, body).await.json();
    let Some(RunOutcome::Failed { error, .. }) = redriven.ran else {
        panic!("{redriven:?}")
    };
    assert!(error.contains("over the limit of 1000 bytes"), "{error}");
    assert_eq!(redriven.letter.letter.state, LetterState::Open);
    assert!(place.shelf.lock().unwrap().is_empty(), "nothing ran");
}
