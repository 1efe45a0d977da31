//! A key used again at another place, or at the same one in another spelling.

use axum::Router;
use axum::extract::{OriginalUri, Path};
use axum::response::IntoResponse;
use axum::routing::post as route;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use idem_http::{IdempotencyLayer, Scope};
use idem_runtime::Filter;
use idem_runtime::dead_letters::RunOutcome;
use idem_runtime::testing::temporary;

use crate::common::{BOTH, Client, Service, Version, post, serve};

fn to(path: &str, key: &str) -> http::Request<http_body_util::Full<bytes::Bytes>> {
    let mut request = post(key, "{}");
    *request.uri_mut() = path.parse().unwrap();
    request
}

/// Inside of `nest`, axum takes the prefix off the path.
#[tokio::test]
async fn an_answer_of_a_nested_route_is_not_replayed_under_another_prefix() {
    for version in BOTH {
        let idem = temporary().unwrap();
        let layer = IdempotencyLayer::builder(&idem, "http.orders", Scope::bearer())
            .build()
            .unwrap();
        let place = async |Path(shop): Path<u32>| format!("shop {shop}");
        let orders = Router::new().route("/orders", route(place)).layer(layer);
        let router = Router::new()
            .nest("/shops/{shop}", orders.clone())
            .nest("/v2/shops/{shop}", orders);
        let client = Client::new(serve(router).await, version);
        for again in [false, true] {
            let got = client.send(to("/shops/1/orders", "A-1")).await;
            assert_eq!((&*got.body, got.is_replay()), (&b"shop 1"[..], again));
        }
        for other in ["/shops/2/orders", "/v2/shops/1/orders"] {
            let got = client.send(to(other, "A-1")).await;
            assert_eq!(got.problem(), "key-reused", "{other}");
        }
    }
}

#[tokio::test]
async fn a_letter_of_a_nested_route_runs_under_its_whole_path() {
    let idem = temporary().unwrap();
    let layer = IdempotencyLayer::builder(&idem, "http.orders", Scope::bearer())
        .handler(|it| it.retries(0))
        .build()
        .unwrap();
    let place = async |OriginalUri(uri): OriginalUri, Path(shop): Path<u32>| {
        format!("{shop} {uri}").into_response()
    };
    let nested = |orders: Router| Router::new().nest("/shops/{shop}", orders);
    layer.register(nested(Router::new().route("/orders", route(place))));
    let fails = Router::new().route("/orders", route(async || StatusCode::BAD_GATEWAY));
    let client = Client::new(serve(nested(fails.layer(layer))).await, Version::Http1);
    assert_eq!(client.send(to("/shops/7/orders", "A-1")).await.status, 502);

    let letters = idem.dead_letters().by("ann");
    let letter = letters.list(&Filter::default()).await.unwrap().remove(0);
    let ran = letters.run(&letter.id).await.unwrap();
    assert!(matches!(ran, RunOutcome::Done(_)), "{ran:?}");
    let got = client.send(to("/shops/7/orders", "A-1")).await;
    assert_eq!(got.body, "7 /shops/7/orders");
}

#[tokio::test]
async fn another_spelling_of_a_path_gets_no_answer_of_the_first() {
    let service = Service::orders(Version::Http1).await;
    assert_eq!(service.client.send(to("/other", "A-1")).await.status, 201);
    for other in [
        "/other/",
        "//other",
        "/%6fther",
        "/OTHER",
        "/./other",
        "/x/../other",
        "/other;v=1",
        "/other?",
        "/other?a",
        "/other?%ff",
        "/other?%fe",
    ] {
        let got = service.client.send(to(other, "A-1")).await;
        match other {
            // An empty query is none.
            "/other?" => assert!(got.is_replay()),
            _ => assert_eq!(got.problem(), "key-reused", "{other}"),
        }
    }
    assert_eq!(service.runs.started(), 1);
}

#[tokio::test]
async fn queries_that_decode_alike_are_not_the_same() {
    let service = Service::orders(Version::Http2).await;
    let queries = [
        "t=%ff",
        "t=%fe",
        "t=%EF%BF%BD",
        "t=%25ff",
        "%ff=t",
        "t=%ff&t=%ff",
    ];
    for query in queries {
        let (first, key) = (format!("/?{query}"), query.replace(['%', '='], "-"));
        assert_eq!(service.client.send(to(&first, &key)).await.status, 201);
        assert!(service.client.send(to(&first, &key)).await.is_replay());
        for other in queries.into_iter().filter(|other| *other != query) {
            let got = service.client.send(to(&format!("/?{other}"), &key)).await;
            assert_eq!(got.problem(), "key-reused", "{query} {other}");
        }
    }
}

#[tokio::test]
async fn a_header_does_not_change_the_method() {
    let service = Service::orders(Version::Http1).await;
    let overridden = |method: Method, with: &'static str| {
        let mut request = post("A-1", "{}");
        *request.method_mut() = method;
        for name in ["x-http-method-override", "x-method-override"] {
            let name = HeaderName::from_static(name);
            request
                .headers_mut()
                .insert(name, HeaderValue::from_static(with));
        }
        request
    };
    assert_eq!(service.client.post("A-1", "{}").await.status, 201);
    let got = service
        .client
        .send(overridden(Method::POST, "DELETE"))
        .await;
    assert!(got.is_replay());
    // It passes, as any other.
    let got = service.client.send(overridden(Method::GET, "POST")).await;
    assert!(!got.is_replay());
    let got = service.client.send(overridden(Method::PATCH, "POST")).await;
    assert_eq!(got.problem(), "key-reused");
    assert_eq!(service.runs.started(), 2);
}
