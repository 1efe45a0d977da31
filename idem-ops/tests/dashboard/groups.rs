//! Actions on many letters.

use anyhow::ensure;
use idem_runtime::{Filter, LetterState};

use crate::service::Service;
use idem_test_support::browser::{Chromium, Tab};

async fn letters(chromium: &Chromium, count: u32) -> anyhow::Result<(Service, Tab, Vec<String>)> {
    let service = Service::start().await?;
    let mut ids = Vec::new();
    for number in 0..count {
        ids.push(service.letter(&format!("A-{number}"), "TEA-500").await?);
    }
    let tab = service.tab(chromium).await?;
    Ok((service, tab, ids))
}

async fn open(service: &Service) -> anyhow::Result<usize> {
    Ok(service
        .idem
        .dead_letters()
        .list(&Filter::default())
        .await?
        .len())
}

/// Starts a bulk job on the first group.
pub(crate) async fn start(tab: &Tab, action: &str, why: &str) -> anyhow::Result<()> {
    tab.go("groups").await?;
    tab.click("tbody a").await?;
    tab.fill("#group-why", why).await?;
    tab.fill("#group-rate", "1000").await?;
    tab.click(&format!("button[value={action}]")).await
}

pub(crate) async fn a_selection_without_script(chromium: Chromium) -> anyhow::Result<()> {
    let (service, tab, ids) = letters(&chromium, 3).await?;
    tab.without_script().await?;
    tab.go("letters").await?;
    tab.read("main", "3 letters").await?;
    tab.click(&format!("input[value='{}']", ids[0])).await?;
    tab.click(&format!("input[value='{}']", ids[2])).await?;
    tab.fill("#selection-why", "not wanted").await?;
    tab.click("button[value=discard]").await?;
    tab.read("h1", "Discard of 2 letters").await?;
    // Without script, the page reloads itself.
    tab.read("label[for=progress]", "finished: 2 of 2").await?;
    let states = [
        service.state(&ids[0]).await?,
        service.state(&ids[1]).await?,
        service.state(&ids[2]).await?,
    ];
    ensure!(
        states
            == [
                LetterState::Discarded,
                LetterState::Open,
                LetterState::Discarded
            ],
        "{states:?}"
    );
    Ok(())
}

pub(crate) async fn run_a_group_with_progress(chromium: Chromium) -> anyhow::Result<()> {
    let (service, tab, ids) = letters(&chromium, 3).await?;
    for id in &ids {
        let letter = service
            .idem
            .dead_letters()
            .get(&id.parse()?)
            .await?
            .ok_or_else(|| anyhow::anyhow!("gone"))?;
        let mut payload = letter.payload.to_value()?;
        payload["order"]["qty"] = 2.into();
        service
            .idem
            .dead_letters()
            .edit(&letter.id, payload, "mended")
            .await?;
    }
    // Runs wait for the test.
    service
        .stock
        .forget_permits(service.stock.available_permits());
    tab.go("groups").await?;
    tab.click("tbody a").await?;
    tab.read("#count", "3").await?;
    start(&tab, "run", "the stock is back").await?;
    tab.read("h1", "Run of 3 letters").await?;
    tab.read("label[for=progress]", "running: 0 of 3").await?;
    // The page updates itself.
    service.stock.add_permits(3);
    tab.read("label[for=progress]", "finished: 3 of 3").await?;
    tab.read("#done", "3").await?;
    ensure!(open(&service).await? == 0);
    for number in 0..3 {
        ensure!(service.order(&format!("A-{number}"), "TEA-500", 2).await? == 200);
    }
    tab.go("bulk").await?;
    tab.read("tbody", "the stock is back").await?;
    tab.go(&format!("letters/{}", ids[0])).await?;
    tab.read("#history-title ~ .timeline", "the stock is back")
        .await
}

pub(crate) async fn discard_a_group(chromium: Chromium) -> anyhow::Result<()> {
    let (service, tab, _) = letters(&chromium, 4).await?;
    start(&tab, "discard", "last year's").await?;
    tab.read("h1", "Discard of 4 letters").await?;
    tab.read("label[for=progress]", "finished: 4 of 4").await?;
    ensure!(open(&service).await? == 0);
    tab.go("audit").await?;
    tab.read("tbody", "started a bulk discard").await
}
