//! A letter's message goes back to the broker that it came from.

use std::sync::{Arc, Mutex};

use axum::http::StatusCode;
use idem_runtime::{Error, Filter, LetterState, Origin, idempotent};

use crate::{Dashboard, csrf, text};

const HOSTILE: &str = "\"><script>alert(1)</script>";

#[derive(Debug, thiserror::Error)]
enum Oops {
    #[error("declined")]
    Declined,
    #[error(transparent)]
    Idem(#[from] Error),
}

const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[idempotent(name = "published.pay", key = "order_no", retries = 0)]
async fn pay(order_no: String) -> Result<(), Oops> {
    if order_no.is_empty() {
        Ok(())
    } else {
        Err(Oops::Declined)
    }
}

/// A dashboard with one letter that a broker brought, and the path of its page.
async fn letter() -> (Dashboard, String, String) {
    let dashboard = Dashboard::new();
    let origin = Origin::new("kafka", "orders")
        .position("partition 3, offset 17")
        .message_id(HOSTILE)
        .ordering_key(HOSTILE)
        .header("traceparent", TRACEPARENT);
    let delivered = dashboard
        .idem
        .deliver(origin.header(HOSTILE, HOSTILE), pay("A-1".to_owned()))
        .await;
    assert!(delivered.output.is_err());
    let (page, cookie) = dashboard.letter_page().await;
    (dashboard, page, cookie)
}

/// How often a letter was published to `kafka:orders`.
fn publisher(dashboard: &Dashboard) -> Arc<Mutex<u32>> {
    let published = Arc::<Mutex<u32>>::default();
    let to = Arc::clone(&published);
    dashboard.idem.register_publisher("kafka:orders", move |_| {
        *to.lock().unwrap() += 1;
        async { Ok::<(), String>(()) }
    });
    published
}

#[tokio::test]
async fn publishing_is_offered_if_possible_and_done_once() {
    let (dashboard, place, cookie) = letter().await;
    let page = text(dashboard.get(&place, &cookie).await).await;
    assert!(
        !page.contains("Send back to") && page.contains("no publisher for `kafka:orders`"),
        "{page}"
    );
    assert!(
        !text(dashboard.get("/letters", &cookie).await)
            .await
            .contains("value=\"publish\"")
    );

    let trace = "<dt>Trace</dt><dd><code>4bf92f3577b34da6a3ce929d0e0e4736</code></dd>";
    assert!(page.contains(trace), "{page}");

    let published = publisher(&dashboard);
    let page = text(dashboard.get(&place, &cookie).await).await;
    assert!(
        page.contains("Send back to kafka <span class=\"key\">orders</span></button>"),
        "{page}"
    );
    let publish = format!("{place}/publish");
    assert_eq!(
        dashboard
            .post(&publish, &cookie, "csrf=AAAA&why=forged")
            .await
            .status(),
        StatusCode::FORBIDDEN
    );
    let form = format!("csrf={}&why=mended", csrf(&page));
    assert_eq!(
        dashboard.post(&publish, "", form.clone()).await.status(),
        StatusCode::UNAUTHORIZED
    );
    let no_reason = form.replace("mended", "");
    assert_eq!(
        dashboard.post(&publish, &cookie, no_reason).await.status(),
        StatusCode::BAD_REQUEST
    );
    assert_eq!(*published.lock().unwrap(), 0);

    assert_eq!(
        dashboard
            .post(&publish, &cookie, form.clone())
            .await
            .status(),
        StatusCode::SEE_OTHER
    );
    let page = text(dashboard.get(&place, &cookie).await).await;
    assert!(
        page.contains("It is published to kafka:orders: it runs when the broker brings it."),
        "{page}"
    );
    assert!(
        page.contains("<strong>redriven</strong> by Ann (token)") && page.contains("<p>mended</p>"),
        "{page}"
    );
    assert_eq!(
        dashboard.post(&publish, &cookie, form).await.status(),
        StatusCode::CONFLICT
    );
    assert_eq!(*published.lock().unwrap(), 1);
    let audit = text(dashboard.get("/audit", &cookie).await).await;
    assert!(
        audit.contains(">published back</td>") && audit.contains(">mended</td>"),
        "{audit}"
    );
}

#[tokio::test]
async fn a_failing_publisher_is_quoted_and_the_letter_stays_open() {
    let (dashboard, place, cookie) = letter().await;
    dashboard
        .idem
        .register_publisher("kafka:orders", async |_| Err::<(), _>("no <b>leader</b>"));
    let page = text(dashboard.get(&place, &cookie).await).await;
    let form = format!("csrf={}&why=mended", csrf(&page));
    let failed = dashboard
        .post(&format!("{place}/publish"), &cookie, form)
        .await;
    assert_eq!(failed.status(), StatusCode::SEE_OTHER);
    let page = text(dashboard.get(&place, &cookie).await).await;
    assert!(
        page.contains("Nothing was sent back: ")
            && page.contains("stays open: no &#60;b&#62;leader"),
        "{page}"
    );
    assert!(page.contains("Send back to kafka"), "{page}");
    let letters = dashboard.letters(Filter::default()).await;
    assert_eq!((letters.len(), letters[0].state), (1, LetterState::Open));
}

#[tokio::test]
async fn the_origin_is_shown_as_text() {
    let (dashboard, place, cookie) = letter().await;
    let page = text(dashboard.get(&place, &cookie).await).await;
    assert!(page.contains("<dt>Broker</dt><dd>kafka</dd>"), "{page}");
    assert!(
        page.contains("<dt>Position</dt><dd>partition 3, offset 17</dd>"),
        "{page}"
    );
    let escaped = "&#34;&#62;&#60;script&#62;alert(1)&#60;/script&#62;";
    assert_eq!(
        page.matches(escaped).count(),
        4,
        "the id, the ordering key, the header's name and its value: {page}"
    );
    assert!(!page.contains("<script>"), "{page}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_letters_are_published_by_one_form() {
    let (dashboard, place, cookie) = letter().await;
    let published = publisher(&dashboard);
    let page = text(dashboard.get("/letters", &cookie).await).await;
    assert!(
        page.contains("<button name=\"act\" value=\"publish\">Send back</button>"),
        "{page}"
    );
    let group = text(
        dashboard
            .get("/group?handler=published.pay&error=declined", &cookie)
            .await,
    )
    .await;
    assert!(
        group.contains("<button name=\"act\" value=\"publish\">Send all back</button>"),
        "{group}"
    );

    assert!(
        group.contains("1 letter at 10 a second: less than a second"),
        "{group}"
    );

    let id = place.trim_start_matches("/letters/");
    let form = format!("csrf={}&why=back&rate=10&act=publish&id={id}", csrf(&page));
    let begun = dashboard.post("/selection", &cookie, form).await;
    assert_eq!(begun.status(), StatusCode::SEE_OTHER);
    let bulk = format!(
        "/{}",
        begun.headers()["location"]
            .to_str()
            .unwrap()
            .trim_start_matches("./")
    );
    let page = async || text(dashboard.get(&bulk, &cookie).await).await;
    let page = crate::common::until(page, |page| page.contains("finished:")).await;
    assert!(
        page.contains("Sending back of 1 letter") && page.contains("<dd id=\"done\">1</dd>"),
        "{page}"
    );
    assert_eq!(*published.lock().unwrap(), 1);
}
