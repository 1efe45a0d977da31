//! A person edits a dead letter in the dashboard and runs it. With IDEM_SCREENSHOTS, the test saves
//! pictures to that folder: `cargo xtask screenshots`.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, ensure};
use idem_test_support::browser::{Chromium, Tab};
use serde_json::json;

use crate::program::{DEAD, NOTHING_ORDERED, Served, orders, placed};

pub(crate) async fn a_letter_is_mended_in_the_browser(chromium: Chromium) -> anyhow::Result<()> {
    let data = tempfile::tempdir()?;
    let served = Served::start(orders(data.path(), ["--json"])?).await?;
    let tab = chromium.open(&served.url).await?;
    tab.sign_in(&served.token).await?;
    // The example processes its deliveries meanwhile.
    tab.go("letters").await?;
    while tab
        .ask::<usize>("document.querySelectorAll('tbody tr').length")
        .await?
        < DEAD.len()
    {
        tab.go("letters").await?;
    }
    let pictures = Pictures::wanted();
    pictures.take(&tab, "overview", "overview").await?;
    pictures.take(&tab, "letters", "letters").await?;
    ensure!(
        placed(data.path(), NOTHING_ORDERED)?.is_empty(),
        "an order of 0 pieces was placed"
    );

    tab.go("letters").await?;
    tab.click(&format!(
        "a[href*='letters/']:is([href$='{}'])",
        id_of(&tab, NOTHING_ORDERED).await?
    ))
    .await?;
    tab.read("h1", NOTHING_ORDERED).await?;
    let payload: String = tab.ask("document.querySelector('#payload').value").await?;
    ensure!(payload.contains("\"qty\": 0"), "{payload}");
    tab.fill("#payload", &payload.replace("\"qty\": 0", "\"qty\": 3"))
        .await?;
    tab.fill("#edit-why", "the customer said three").await?;
    pictures.take_here(&tab, "edit").await?;
    tab.click("button[value=run]").await?;
    tab.read("[role=status]", "It ran and is done").await?;

    let orders_of_it = placed(data.path(), NOTHING_ORDERED)?;
    ensure!(
        orders_of_it.len() == 1 && orders_of_it[0]["qty"] == json!(3),
        "{orders_of_it:?}"
    );
    pictures
        .take(&tab, "story", &format!("story?key={NOTHING_ORDERED}"))
        .await?;
    drop(tab);
    served.end().await?;

    // A second run: the edited order is done, and its original message now reuses a key with other
    // content.
    let again = Served::start(orders(data.path(), ["--json"])?)
        .await?
        .end()
        .await?;
    let dead = again["dead_letters"].as_array().context("no letters")?;
    ensure!(
        dead.len() == DEAD.len() - 1 && dead.iter().all(|letter| letter["key"] != NOTHING_ORDERED),
        "{again}"
    );
    ensure!(
        placed(data.path(), NOTHING_ORDERED)?.len() == 1,
        "it was placed twice"
    );
    Ok(())
}

/// Returns the id of the listed letter with this key.
async fn id_of(tab: &Tab, key: &str) -> anyhow::Result<String> {
    let script = format!(
        "[...document.querySelectorAll('a.key')].find((one) => one.innerText === '{key}')?.href.split('/').pop()"
    );
    tab.ask::<Option<String>>(&script)
        .await?
        .with_context(|| format!("{key} is not listed"))
}

/// The folder for pictures, if there is one.
struct Pictures(Option<PathBuf>);

impl Pictures {
    fn wanted() -> Self {
        Self(std::env::var_os("IDEM_SCREENSHOTS").map(PathBuf::from))
    }

    /// Opens a page and takes a picture of it.
    async fn take(&self, tab: &Tab, name: &str, path: &str) -> anyhow::Result<()> {
        tab.go(path).await?;
        tab.see("footer").await?;
        self.take_here(tab, name).await
    }

    /// Takes a picture of the open page.
    async fn take_here(&self, tab: &Tab, name: &str) -> anyhow::Result<()> {
        let Some(folder) = &self.0 else { return Ok(()) };
        // Taking a picture of a whole page changes the size.
        tab.size(1200, 800, 1.0).await?;
        let picture = tab.picture().await?;
        fs::create_dir_all(folder)?;
        fs::write(folder.join(format!("dashboard-{name}.png")), picture)?;
        Ok(())
    }
}
