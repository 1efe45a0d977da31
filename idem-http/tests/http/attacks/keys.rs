//! Keys and credentials in forms of the attacker's choice.

use axum::response::IntoResponse;
use http::{HeaderValue, StatusCode};

use crate::common::{BOTH, Got, Service, Version, post};

async fn sent(service: &Service, key: &[u8]) -> Got {
    let mut request = post("", "{}");
    let value = HeaderValue::from_bytes(key).unwrap();
    request.headers_mut().insert("idempotency-key", value);
    service.client.send(request).await
}

#[tokio::test]
async fn the_forms_of_a_key_are_one_key() {
    for version in BOTH {
        let service = Service::orders(version).await;
        let forms = [r#""A-1""#, "A-1", r#""A-1";v=1"#, r#""A-1";n="a,b";x"#];
        for (form, again) in forms.into_iter().zip([false, true, true, true]) {
            let got = sent(&service, form.as_bytes()).await;
            let expected = (StatusCode::CREATED, again);
            assert_eq!((got.status, got.is_replay()), expected, "{form}");
        }
    }
}

/// A proxy joins repeated headers by commas, also behind parameters.
#[tokio::test]
async fn what_is_not_one_key_is_refused_and_runs_nothing() {
    let long = [b'a'; 8000];
    let broken: [&[u8]; 11] = [
        br#""A-1", "A-2""#,
        br#""A-1";v=1, "A-2""#,
        br#""A-1";v=1,A-2"#,
        br#""A-1";v="1, "A-2""#,
        br#""A-1";"#,
        br#"%"A-1""#,
        br#"("A-1")"#,
        "\"caf\u{e9}\"".as_bytes(),
        "A\u{2011}1".as_bytes(),
        b"\"A-1\xff\"",
        &long,
    ];
    for version in BOTH {
        let service = Service::orders(version).await;
        for key in broken {
            let got = sent(&service, key).await;
            let key = String::from_utf8_lossy(key);
            assert_eq!(got.problem(), "key-invalid", "{key}");
        }
        assert_eq!(service.runs.started(), 0);
    }
}

#[tokio::test]
async fn keys_that_only_look_alike_are_different_keys() {
    let answer = async |run: u32, _| run.to_string().into_response();
    let service = Service::start(Version::Http1, |layer| layer, answer).await;
    for (run, key) in (1u32..).zip(["A-1", "a-1", "A-1 ", " A-1", "A--1", "%41-1"]) {
        let got = service.client.send(post(key, "{}")).await;
        assert_eq!(got.body, run.to_string(), "{key:?}");
    }
}

/// Of two credentials the layer for authentication may check the other one.
#[tokio::test]
async fn a_request_with_two_credentials_has_no_scope() {
    for version in BOTH {
        let service = Service::orders(version).await;
        assert_eq!(service.client.post("A-1", "{}").await.status, 201);
        let mut request = post("A-1", "{}");
        let bob = HeaderValue::from_static("Bearer bob");
        request.headers_mut().append("authorization", bob);
        assert_eq!(service.client.send(request).await.problem(), "no-principal");
    }
}
