//! The login.

use anyhow::ensure;

use crate::service::{Service, TOKEN};
use idem_test_support::browser::Chromium;

pub(crate) async fn wrong_then_right(chromium: Chromium) -> anyhow::Result<()> {
    let service = Service::start().await?;
    let tab = chromium.open(&service.base).await?;
    tab.go("").await?;
    tab.read("h1", "Sign in").await?;
    tab.fill("#token", "not the token").await?;
    tab.fill("#who", "Ann").await?;
    tab.click("form button").await?;
    tab.read("[role=alert]", "This token is not valid").await?;
    tab.fill("#token", TOKEN).await?;
    tab.click("form button").await?;
    tab.read("h1", "Overview").await?;
    tab.read("header", "Ann").await?;
    ensure!(
        tab.ask::<String>("document.cookie").await?.is_empty(),
        "a script can read the session"
    );
    Ok(())
}

pub(crate) async fn leads_to_the_requested_page(chromium: Chromium) -> anyhow::Result<()> {
    let service = Service::start().await?;
    let id = service.letter("A-1001", "TEA-500").await?;
    let tab = chromium.open(&service.base).await?;
    tab.go(&format!("letters/{id}")).await?;
    tab.fill("#token", TOKEN).await?;
    tab.fill("#who", "Ann").await?;
    tab.click("form button").await?;
    tab.read("h1", "A-1001").await
}

pub(crate) async fn sign_out_ends_the_session(chromium: Chromium) -> anyhow::Result<()> {
    let service = Service::start().await?;
    let tab = service.tab(&chromium).await?;
    tab.click("form[action$=logout] button").await?;
    tab.read("h1", "Sign in").await?;
    tab.go("overview").await?;
    tab.read("h1", "Sign in").await
}

pub(crate) async fn works_where_it_is_nested(chromium: Chromium) -> anyhow::Result<()> {
    let service = Service::nested("/ops/idem").await?;
    let id = service.letter("A-1001", "TEA-500").await?;
    let tab = chromium.open(service.base.trim_end_matches('/')).await?;
    tab.go("").await?;
    tab.read("h1", "Sign in").await?;
    tab.fill("#token", TOKEN).await?;
    tab.fill("#who", "Ann").await?;
    tab.click("form button").await?;
    tab.read("h1", "Overview").await?;
    tab.click("nav a[href$='letters']").await?;
    tab.click("tbody a").await?;
    tab.read("h1", "A-1001").await?;
    ensure!(tab.ask::<String>("location.pathname").await? == format!("/ops/idem/letters/{id}"));
    tab.fill("#discard-why", "a test").await?;
    tab.click("form[action$=discard] button").await?;
    tab.read("[role=status]", "Discarded").await?;
    ensure!(
        tab.ask::<bool>(
            "getComputedStyle(document.querySelector('.skip')).position === 'absolute'"
        )
        .await?,
        "no style"
    );
    Ok(())
}
