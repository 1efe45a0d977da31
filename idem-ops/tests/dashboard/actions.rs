//! Actions on one letter.

use anyhow::ensure;
use idem_runtime::LetterState;

use crate::service::Service;
use idem_test_support::browser::{Chromium, Tab};

async fn letter(chromium: &Chromium) -> anyhow::Result<(Service, Tab, String)> {
    let service = Service::start().await?;
    let id = service.letter("A-1001", "TEA-500").await?;
    let tab = service.tab(chromium).await?;
    tab.go(&format!("letters/{id}")).await?;
    Ok((service, tab, id))
}

pub(crate) async fn edit_and_run(chromium: Chromium) -> anyhow::Result<()> {
    let (service, tab, id) = letter(&chromium).await?;
    tab.read(".timeline", "Attempt 2: failed").await?;
    let payload: String = tab.ask("document.querySelector('#payload').value").await?;
    ensure!(payload.contains("\"qty\": 12"), "{payload}");
    tab.fill("#payload", &payload.replace("12", "2")).await?;
    tab.fill("#edit-why", "a slip of the finger").await?;
    tab.click("button[name=then]").await?;
    tab.read("[role=status]", "It ran and is done. Its result: 200")
        .await?;
    ensure!(service.state(&id).await? == LetterState::Redriven);
    ensure!(
        service.order("A-1001", "TEA-500", 2).await? == 200,
        "a duplicate gets the result"
    );
    tab.read("#history-title ~ .timeline", "edited by Ann")
        .await?;
    tab.read("#history-title ~ .timeline", "a slip of the finger")
        .await?;
    tab.go("audit").await?;
    tab.read("tbody", "changed the payload").await?;
    tab.read("tbody", "a slip of the finger").await
}

pub(crate) async fn invalid_json_is_refused_and_shown_again(
    chromium: Chromium,
) -> anyhow::Result<()> {
    let (service, tab, id) = letter(&chromium).await?;
    tab.fill("#payload", "{ \"order\": <b> }").await?;
    tab.fill("#edit-why", "a try").await?;
    ensure!(
        !tab.ask::<bool>("document.querySelector('#payload').checkValidity()")
            .await?,
        "the script says nothing"
    );
    // The script stops it; without script the browser sends it.
    let _: bool = tab
        .ask("{ document.querySelector('form[action$=edit]').noValidate = true; true }")
        .await?;
    tab.click("form[action$=edit] button").await?;
    tab.read("#payload-problem", "this is not JSON").await?;
    ensure!(
        tab.ask::<String>("document.querySelector('#payload').value")
            .await?
            == "{ \"order\": <b> }"
    );
    ensure!(
        tab.ask::<String>("document.querySelector('#edit-why').value")
            .await?
            == "a try"
    );
    let kept = service.idem.dead_letters().get(&id.parse()?).await?;
    let Some(kept) = kept else {
        anyhow::bail!("the letter is gone")
    };
    ensure!(kept.payload.to_value()?["order"]["qty"] == 12 && kept.history.is_empty());
    Ok(())
}

pub(crate) async fn discard_and_undo(chromium: Chromium) -> anyhow::Result<()> {
    let (service, tab, id) = letter(&chromium).await?;
    // The browser requires the reason.
    tab.click("form[action$=discard] button").await?;
    ensure!(
        tab.ask::<bool>("document.querySelector('#discard-why').matches(':invalid')")
            .await?
    );
    ensure!(service.state(&id).await? == LetterState::Open);
    tab.fill("#discard-why", "ordered twice").await?;
    tab.click("form[action$=discard] button").await?;
    tab.read("[role=status]", "Discarded").await?;
    ensure!(service.state(&id).await? == LetterState::Discarded);
    tab.read(".facts", "ordered twice").await?;
    tab.fill("#restore-why", "it was not").await?;
    tab.click("form[action$=restore] button").await?;
    tab.read("[role=status]", "The discard is undone").await?;
    ensure!(service.state(&id).await? == LetterState::Open);
    tab.read("#history-title ~ .timeline", "it was not").await
}

pub(crate) async fn the_timeline_of_a_key(chromium: Chromium) -> anyhow::Result<()> {
    let (_service, tab, _) = letter(&chromium).await?;
    tab.fill("#discard-why", "ordered twice").await?;
    tab.click("form[action$=discard] button").await?;
    tab.read("[role=status]", "Discarded").await?;
    tab.fill("#find", "A-1001").await?;
    tab.click("search button").await?;
    tab.read("h1", "What happened to A-1001").await?;
    for told in [
        "A person discarded it",
        "Attempt 1 failed",
        "It became a dead letter",
        "Ann (token) discarded it",
        "ordered twice",
    ] {
        tab.read(".story", told).await?;
    }
    tab.go("story?key=A-9999").await?;
    tab.read("[role=status]", "This key is not known").await
}
