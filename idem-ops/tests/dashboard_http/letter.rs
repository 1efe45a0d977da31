//! The actions on the page of a letter, with and without redacted parts.

use axum::http::StatusCode;
use futures_util::FutureExt;
use idem_runtime::{
    Error, Filter, LetterState, Origin, Verdict, dead_letters::REDACTED, idempotent,
};
use serde::Deserialize;
use url::form_urlencoded::Serializer;

use crate::common::within;
use crate::{Dashboard, csrf, text};

const CARD: &str = "4111111111111111";

#[derive(Debug, thiserror::Error)]
enum Oops {
    #[error("declined")]
    Declined,
    #[error(transparent)]
    Idem(#[from] Error),
}

#[idempotent(
    name = "redacted.charge",
    key = "order_no",
    retries = 0,
    redact(card_no)
)]
async fn charge(order_no: String, card_no: String, amount: u32) -> Result<u32, Oops> {
    if card_no == CARD && !order_no.is_empty() {
        Ok(amount)
    } else {
        Err(Oops::Declined)
    }
}

#[derive(Deserialize)]
struct Charge {
    order_no: String,
    card_no: String,
    amount: u32,
}

/// A dashboard with one letter, and the path of its page.
async fn letter(runs: bool) -> (Dashboard, String, String) {
    let dashboard = Dashboard::new();
    if runs {
        let run = |Charge {
                       order_no,
                       card_no,
                       amount,
                   }: Charge| charge(order_no, card_no, amount);
        dashboard.idem.register_handler("redacted.charge", run);
    }
    assert!(
        dashboard
            .idem
            .scope(charge("A-1".into(), "4000".into(), 12))
            .await
            .is_err()
    );
    let (page, cookie) = dashboard.letter_page().await;
    (dashboard, page, cookie)
}

/// Makes a letter with this key, which is in its payload and its error too.
pub(crate) async fn with_key(idem: &idem_runtime::Idem, key: &str) -> idem_runtime::DeadLetterId {
    #[derive(Debug, thiserror::Error)]
    enum Echo {
        #[error("no place for {0}")]
        Refused(String),
        #[error(transparent)]
        Idem(#[from] Error),
    }
    #[idempotent(name = "echo", key = "key", retries = 0)]
    async fn echo(key: String) -> Result<(), Echo> {
        Err(Echo::Refused(key))
    }
    assert!(idem.scope(echo(key.to_owned())).await.is_err());
    idem.dead_letters().list(&Filter::default()).await.unwrap()[0].id
}

fn form(page: &str, payload: &str, then: &str) -> String {
    let (csrf, mut form) = (csrf(page), Serializer::new(String::new()));
    form.extend_pairs([
        ("csrf", csrf.as_str()),
        ("payload", payload),
        ("why", "they told us"),
        ("then", then),
    ])
    .finish()
}

#[tokio::test]
async fn a_filled_in_value_is_used_for_the_run_and_stored_nowhere() {
    let (dashboard, place, cookie) = letter(true).await;
    let page = text(dashboard.get(&place, &cookie).await).await;
    assert!(
        page.contains("Run with this payload") && !page.contains("Save and run"),
        "{page}"
    );
    assert!(
        page.contains("<code>card_no</code> is used for this run and not stored"),
        "{page}"
    );
    let payload =
        serde_json::json!({ "order_no": "A-1", "card_no": CARD, "amount": 7 }).to_string();

    // Saving keeps the rest, and the letter still cannot run.
    let edit = format!("{place}/edit");
    let saved = dashboard
        .post(&edit, &cookie, form(&page, &payload, ""))
        .await;
    assert_eq!(saved.status(), StatusCode::SEE_OTHER);
    let page = text(dashboard.get(&place, &cookie).await).await;
    assert!(
        page.contains("&#34;amount&#34;: 7")
            && page.contains(REDACTED)
            && page.contains("Run with this payload")
    );

    let ran = dashboard
        .post(&edit, &cookie, form(&page, &payload, "run-with"))
        .await;
    assert_eq!(ran.status(), StatusCode::SEE_OTHER);
    let page = text(dashboard.get(&place, &cookie).await).await;
    assert!(page.contains("It ran and is done. Its result: 7"), "{page}");
    let letters = dashboard.letters(Filter::default().any_state()).await;
    assert_eq!(
        (letters.len(), letters[0].state),
        (1, LetterState::Redriven)
    );
    assert!(
        !serde_json::to_string(&letters).unwrap().contains("41111"),
        "{letters:?}"
    );
    for path in [
        place.as_str(),
        "/audit",
        "/story?key=A-1",
        "/letters?state=any",
    ] {
        assert!(
            !text(dashboard.get(path, &cookie).await)
                .await
                .contains("41111"),
            "{path}"
        );
    }
    // No note has the value either, and a duplicate gets the result.
    let notes = dashboard.idem.notes().list("", None, 1000).await.unwrap();
    assert!(
        !notes.is_empty()
            && notes
                .iter()
                .all(|note| !String::from_utf8_lossy(&note.value).contains("41111"))
    );
    assert_eq!(
        dashboard
            .idem
            .scope(charge("A-1".into(), String::new(), 7))
            .await
            .unwrap(),
        7
    );
}

#[tokio::test]
async fn an_invalid_payload_is_shown_again_and_nothing_ran() {
    let (dashboard, place, cookie) = letter(true).await;
    let page = text(dashboard.get(&place, &cookie).await).await;
    let edit = format!("{place}/edit");
    for (payload, problem) in [
        (
            r#"{ "order_no": "A-1", "card_no": "4111" "#,
            "this is not JSON",
        ),
        (r#"["4111"]"#, "is not a JSON object"),
        (
            r#"{ "order_no": "A-1", "card_no": "[redacted]", "amount": 4111 }"#,
            "`card_no` is filled in",
        ),
        (
            r#"{ "order_no": "A-1", "card_no": 4111, "amount": 7 }"#,
            "does not fit handler",
        ),
    ] {
        let again = dashboard
            .post(&edit, &cookie, form(&page, payload, "run-with"))
            .await;
        assert_eq!(
            again.status(),
            StatusCode::UNPROCESSABLE_ENTITY,
            "{payload}"
        );
        let again = text(again).await;
        let typed = again
            .split("</textarea>")
            .next()
            .unwrap()
            .split("<textarea")
            .nth(1)
            .unwrap();
        assert!(
            typed.contains("4111") && again.contains(problem),
            "{payload}: {again}"
        );
        assert!(
            again.contains("value=\"they told us\""),
            "{payload}: {again}"
        );
    }
    let letters = dashboard.letters(Filter::default()).await;
    assert_eq!((letters.len(), letters[0].attempts.len()), (1, 1));
    // An error quotes nothing of a payload.
    let audit = text(dashboard.get("/audit", &cookie).await).await;
    assert!(
        audit.contains("does not fit handler") && !audit.contains("`4111`"),
        "{audit}"
    );
}

#[tokio::test]
async fn without_a_handler_no_run_is_offered() {
    let (dashboard, place, cookie) = letter(false).await;
    let page = text(dashboard.get(&place, &cookie).await).await;
    assert!(
        !page.contains("Run with this payload")
            && page.contains("is not registered in this service"),
        "{page}"
    );
}

#[tokio::test]
async fn a_change_is_finished_if_the_browser_disconnects() {
    let (dashboard, place, cookie) = letter(true).await;
    let page = text(dashboard.get(&place, &cookie).await).await;
    let gone = dashboard
        .post(&format!("{place}/discard"), &cookie, form(&page, "", ""))
        .now_or_never();
    assert!(
        gone.is_none(),
        "it was done before the browser disconnected"
    );
    let ended = async || {
        let audit = text(dashboard.get("/audit", &cookie).await).await;
        audit.contains(">discarded</td>") && audit.contains(">done</td>")
    };
    within(async {
        while !ended().await {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let letters = dashboard.letters(Filter::default().any_state()).await;
    assert_eq!(letters[0].state, LetterState::Discarded);
}

#[idempotent(name = "letters.transfer", key = "order_no", retries = 0)]
async fn transfer(order_no: String, wei: u128, note: Option<Vec<u8>>) -> Result<u128, Oops> {
    if note.is_none() && !order_no.is_empty() {
        Ok(wei)
    } else {
        Err(Oops::Declined)
    }
}

#[derive(Deserialize)]
struct Transfer {
    order_no: String,
    wei: u128,
    note: Option<Vec<u8>>,
}

#[tokio::test]
async fn numbers_of_128_bits_stay_as_written_on_the_page_through_an_edit_and_a_run() {
    let dashboard = Dashboard::new();
    let run = |Transfer {
                   order_no,
                   wei,
                   note,
               }: Transfer| transfer(order_no, wei, note);
    dashboard.idem.register_handler("letters.transfer", run);
    let wei = 20_000_000_000_000_000_001;
    assert!(
        dashboard
            .idem
            .scope(transfer("T-1".into(), wei, Some(Vec::new())))
            .await
            .is_err()
    );
    let letter = dashboard.letters(Filter::default()).await.remove(0);
    let (cookie, place) = (dashboard.sign_in().await, format!("/letters/{}", letter.id));
    let page = text(dashboard.get(&place, &cookie).await).await;
    assert!(
        page.contains("  &#34;wei&#34;: 20000000000000000001,\n"),
        "{page}"
    );

    let deep = format!(
        r#"{{"order_no":"T-1","wei":1,"note":{}7{}}}"#,
        "[".repeat(100),
        "]".repeat(100)
    );
    let refused = dashboard
        .post(&format!("{place}/edit"), &cookie, form(&page, &deep, ""))
        .await;
    assert_eq!(refused.status(), StatusCode::UNPROCESSABLE_ENTITY);
    let refused = text(refused).await;
    assert!(
        refused.contains("Nothing was saved: it is nested 101 deep, and 100 is the limit."),
        "{refused}"
    );

    let payload = r#"{ "order_no": "T-1", "wei": 20000000000000000001, "note": null }"#;
    let ran = dashboard
        .post(
            &format!("{place}/edit"),
            &cookie,
            form(&page, payload, "run"),
        )
        .await;
    assert_eq!(ran.status(), StatusCode::SEE_OTHER);
    let page = text(dashboard.get(&place, &cookie).await).await;
    assert!(
        page.contains("It ran and is done. Its result: 20000000000000000001"),
        "{page}"
    );
    // The payload now, and the previous one.
    assert_eq!(
        page.matches("&#34;wei&#34;: 20000000000000000001").count(),
        2,
        "{page}"
    );
    let story = text(dashboard.get("/story?key=T-1", &cookie).await).await;
    assert!(story.contains("<pre>20000000000000000001</pre>"), "{story}");
}

#[tokio::test]
async fn a_reused_key_is_shown_with_the_differences_and_without_redacted_values() {
    let (dashboard, first, cookie) = letter(true).await;
    let origin = Origin::new("rabbitmq", "orders");
    let other = dashboard
        .idem
        .deliver(origin.clone(), charge("A-1".into(), CARD.into(), 13))
        .await;
    let Verdict::Refused(refusal) = other.verdict else {
        panic!("{:?}", other.verdict)
    };
    let id = dashboard
        .idem
        .bury_refused(&refusal, "m-7", b"[13]", origin)
        .await
        .unwrap();
    let page = text(dashboard.get(&format!("/letters/{id}"), &cookie).await).await;
    for part in [
        "<h1>Dead letter <span class=\"key\">A-1</span>",
        "<dd>key reused</dd>",
        "When this message came, the other was dead letter",
        "<code>amount</code>",
        "<code>12</code>",
        "<code>13</code>",
        "edit the payload so that it has its own key",
    ] {
        assert!(page.contains(part), "no {part:?} in {page}");
    }
    assert!(!page.contains(CARD) && !page.contains("decode"), "{page}");
    let story = text(
        dashboard
            .get("/story?key=A-1&handler=redacted.charge", &cookie)
            .await,
    )
    .await;
    assert!(
        story.contains("Another message with this key became a dead letter: key reused"),
        "{story}"
    );
    assert!(
        story.contains(&format!("href=\".{first}\"")) && story.contains(&id.to_string()),
        "{story}"
    );
}
