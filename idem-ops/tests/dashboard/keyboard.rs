//! Use by keyboard, and by screen reader.

use anyhow::{bail, ensure};
use idem_runtime::{LetterState, Origin};

use crate::service::{Service, TOKEN};
use idem_test_support::browser::{Chromium, Tab};

/// Presses Tab until the focus is on an element, as a person without a mouse does.
pub(crate) async fn tab_to(tab: &Tab, selector: &str) -> anyhow::Result<()> {
    for _ in 0..60 {
        tab.key("Tab").await?;
        let there = format!(
            "document.activeElement.matches({})",
            serde_json::Value::from(selector)
        );
        if tab.ask::<bool>(&there).await? {
            let seen = "getComputedStyle(document.activeElement).outlineStyle !== 'none' || document.activeElement.matches('main')";
            ensure!(
                tab.ask::<bool>(seen).await?,
                "the focus on {selector} is not visible"
            );
            return Ok(());
        }
    }
    bail!("the focus never comes to {selector}")
}

pub(crate) async fn a_discard_by_keyboard_alone(chromium: Chromium) -> anyhow::Result<()> {
    let service = Service::start().await?;
    let id = service.letter("A-1001", "TEA-500").await?;
    let tab = chromium.open(&service.base).await?;
    tab.go("login").await?;
    tab.until("document.activeElement.id === 'token'").await?;
    tab.type_in(TOKEN).await?;
    tab_to(&tab, "#who").await?;
    tab.type_in("Ann").await?;
    tab.key("Enter").await?;
    tab.read("h1", "Overview").await?;
    // The first stop skips the menu.
    tab.key("Tab").await?;
    tab.until("document.activeElement.matches('.skip')").await?;
    tab.key("Enter").await?;
    tab.until("document.activeElement.id === 'main'").await?;
    tab_to(&tab, "a[href*='group?']").await?;
    tab.key("Enter").await?;
    tab.see("#count").await?;
    tab_to(&tab, "tbody a").await?;
    tab.key("Enter").await?;
    tab.read("h1", "A-1001").await?;
    tab_to(&tab, "#discard-why").await?;
    tab.type_in("ordered twice").await?;
    tab_to(&tab, "form[action$=discard] button").await?;
    tab.key("Enter").await?;
    tab.read("[role=status]", "Discarded").await?;
    ensure!(service.state(&id).await? == LetterState::Discarded);
    Ok(())
}

pub(crate) async fn every_page_has_names_for_everything(chromium: Chromium) -> anyhow::Result<()> {
    let service = Service::start().await?;
    let origin = Origin::new("kafka", "orders")
        .position("partition 3, offset 17")
        .header("trace", "00-4bf9");
    let id = service.brought("A-1001", origin).await?;
    let tab = service.tab(&chromium).await?;
    tab.go("letters").await?;
    tab.click("tbody input").await?;
    tab.fill("#selection-why", "a try").await?;
    tab.click("button[value=run]").await?;
    tab.read("h1", "Run of 1 letter").await?;
    let bulk: String = tab.ask("location.pathname.slice(1)").await?;
    let one = format!("letters/{id}");
    for path in [
        "overview",
        "letters?state=any",
        &one,
        "groups",
        "bulk",
        &bulk,
        "story?key=A-1001",
        "health",
        "audit",
    ] {
        tab.go(path).await?;
        tab.see("footer").await?;
        let missing: Vec<String> = tab
            .ask(
                "(() => {
                    const missing = [];
                    const one = (selector) => {
                        const found = document.querySelectorAll(selector).length;
                        if (found !== 1) missing.push(found + ' times ' + selector);
                    };
                    ['h1', 'main', 'body > header', 'footer', 'title', 'html[lang]'].forEach(one);
                    for (const field of document.querySelectorAll('input:not([type=hidden]), select, textarea, progress'))
                        if (!field.labels.length && !field.ariaLabel) missing.push('a label of ' + field.outerHTML);
                    for (const act of document.querySelectorAll('a, button'))
                        if (!act.textContent.trim()) missing.push('a text in ' + act.outerHTML);
                    for (const table of document.querySelectorAll('table'))
                        if (!table.querySelector('thead th[scope=col]') || table.querySelector('tbody tr:not(:has(th[scope=row]))'))
                            missing.push('headers of ' + table.outerHTML);
                    for (const picture of document.querySelectorAll('svg:not([aria-hidden])'))
                        if (!picture.getAttribute('aria-label')) missing.push('words for ' + picture.outerHTML);
                    const ids = Array.from(document.querySelectorAll('[id]'), (one) => one.id);
                    ids.filter((id, at) => ids.indexOf(id) !== at).forEach((id) => missing.push('only one #' + id));
                    for (const user of document.querySelectorAll('[aria-labelledby], [aria-describedby]'))
                        for (const id of ((user.getAttribute('aria-labelledby') || '') + ' ' + (user.getAttribute('aria-describedby') || '')).split(' '))
                            if (id && !document.getElementById(id)) missing.push('#' + id);
                    return missing;
                })()",
            )
            .await?;
        ensure!(missing.is_empty(), "{path} misses {missing:#?}");
    }
    Ok(())
}
