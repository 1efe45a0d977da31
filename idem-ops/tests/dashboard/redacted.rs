//! A letter with redacted parts.

use anyhow::ensure;
use idem_runtime::{Filter, LetterState, dead_letters::REDACTED, idempotent};
use idem_test_support::browser::Chromium;
use serde::Deserialize;

use crate::service::{OrderError, Service};

const CARD: &str = "4111111111111111";

#[idempotent(name = "cards.charge", key = "order_no", retries = 0, redact(card_no))]
async fn charge(order_no: String, card_no: String) -> Result<usize, OrderError> {
    if card_no == CARD {
        Ok(card_no.len())
    } else {
        Err(OrderError::Refused(format!("{order_no} is declined")))
    }
}

#[derive(Deserialize)]
struct Charge {
    order_no: String,
    card_no: String,
}

pub(crate) async fn fill_in_and_run(chromium: Chromium) -> anyhow::Result<()> {
    let service = Service::start().await?;
    service
        .idem
        .register_handler("cards.charge", |Charge { order_no, card_no }: Charge| {
            charge(order_no, card_no)
        });
    ensure!(
        service
            .idem
            .scope(charge("A-1001".into(), "4000".into()))
            .await
            .is_err()
    );
    let letters = service.idem.dead_letters();
    let id = letters.list(&Filter::default()).await?[0].id;
    let tab = service.tab(&chromium).await?;
    tab.go(&format!("letters/{id}")).await?;
    tab.read(
        "#payload-title ~ form .hint",
        "card_no is used for this run and not stored",
    )
    .await?;
    ensure!(
        !tab.ask::<bool>("Boolean(document.querySelector('button[value=run]'))")
            .await?,
        "it cannot work"
    );

    // Unchanged, it does not run, and the typed text is shown again.
    tab.fill("#edit-why", "they told us").await?;
    tab.click("button[value=run-with]").await?;
    tab.read("#payload-problem", "card_no").await?;
    let payload: String = tab.ask("document.querySelector('#payload').value").await?;
    ensure!(
        tab.ask::<String>("document.querySelector('#edit-why').value")
            .await?
            == "they told us"
    );
    tab.fill("#payload", &payload.replace(REDACTED, CARD))
        .await?;
    tab.click("button[value=run-with]").await?;
    tab.read("[role=status]", "It ran and is done. Its result: 16")
        .await?;

    ensure!(service.state(&id.to_string()).await? == LetterState::Redriven);
    ensure!(
        !serde_json::to_string(&letters.list(&Filter::default().any_state()).await?)?
            .contains("41111")
    );
    for page in [
        format!("letters/{id}"),
        "audit".into(),
        "story?key=A-1001".into(),
        "letters?state=any".into(),
    ] {
        tab.go(&page).await?;
        tab.see("main h1").await?;
        ensure!(
            !tab.ask::<bool>("document.documentElement.outerHTML.includes('41111')")
                .await?,
            "{page}"
        );
    }
    ensure!(
        service
            .idem
            .scope(charge("A-1001".into(), String::new()))
            .await?
            == 16,
        "a duplicate gets the result"
    );
    Ok(())
}
