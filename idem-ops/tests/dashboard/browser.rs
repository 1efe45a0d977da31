//! A headless Chromium with one tab, driven by its own protocol.

use std::env;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, bail};
use chromiumoxide::cdp::browser_protocol::emulation::{
    MediaFeature, SetDeviceMetricsOverrideParams, SetScriptExecutionDisabledParams,
};
use chromiumoxide::cdp::browser_protocol::input::InsertTextParams;
use chromiumoxide::cdp::js_protocol::runtime::EvaluateParams;
use chromiumoxide::layout::Point;
use chromiumoxide::{Browser, BrowserConfig, Page};
use futures_util::StreamExt;
use serde::de::DeserializeOwned;
use tempfile::TempDir;
use tokio::time::timeout;

use crate::DEADLINE;

/// Where the browser is.
pub(crate) struct Chromium(PathBuf);

pub(crate) fn find() -> Option<Chromium> {
    if let Some(path) = env::var_os("IDEM_BROWSER") {
        return Some(Chromium(path.into()));
    }
    let folders: Vec<_> = env::split_paths(&env::var_os("PATH")?).collect();
    let names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
    let found = names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    found.into_iter().find(|path| path.is_file()).map(Chromium)
}

/// One tab of a browser of its own.
pub(crate) struct Tab {
    page: Page,
    /// Ends with a slash.
    base: String,
    /// Whether pages run their script.
    script: AtomicBool,
    _browser: Browser,
    _profile: TempDir,
}

impl Chromium {
    /// A new browser whose addresses begin with `base`.
    pub(crate) async fn open(&self, base: &str) -> anyhow::Result<Tab> {
        let profile = tempfile::tempdir()?;
        let config = BrowserConfig::builder()
            .chrome_executable(&self.0)
            // Chromium's sandbox does not start as root, as which containers run.
            .no_sandbox()
            .new_headless_mode()
            .user_data_dir(profile.path())
            .launch_timeout(DEADLINE)
            .request_timeout(DEADLINE)
            .viewport(None)
            .window_size(1280, 900)
            .args(["disable-dev-shm-usage", "disable-gpu", "hide-scrollbars", "force-color-profile=srgb"])
            .build()
            .map_err(anyhow::Error::msg)?;
        let (browser, mut handler) = Browser::launch(config).await.context("Chromium does not start")?;
        tokio::spawn(async move { while handler.next().await.is_some() {} });
        let page = browser.new_page("about:blank").await?;
        Ok(Tab { page, base: base.to_owned(), script: AtomicBool::new(true), _browser: browser, _profile: profile })
    }
}

impl Tab {
    pub(crate) async fn go(&self, path: &str) -> anyhow::Result<()> {
        timeout(DEADLINE, self.page.goto(format!("{}{path}", self.base))).await??;
        Ok(())
    }

    /// What an expression of JavaScript comes to; a promise is waited for.
    pub(crate) async fn ask<T: DeserializeOwned>(&self, script: &str) -> anyhow::Result<T> {
        let ask = EvaluateParams::builder().expression(script).await_promise(true).return_by_value(true);
        let answer = self.page.evaluate_expression(ask.build().map_err(anyhow::Error::msg)?).await;
        Ok(answer.with_context(|| script.to_owned())?.into_value()?)
    }

    /// Waits until an expression is true, also on the pages that come after this one.
    pub(crate) async fn until(&self, condition: &str) -> anyhow::Result<()> {
        let wait = if self.script.load(Ordering::Relaxed) {
            format!(
                "new Promise((done) => {{
                    const look = () => ({condition}) ? done(true) : requestAnimationFrame(look);
                    look();
                }})"
            )
        } else {
            // Without script no promise is ever kept, so it is asked again and again.
            format!("Boolean({condition})")
        };
        let waited = timeout(DEADLINE, async {
            // A page that goes away takes its promises with it: the next one is asked.
            while !self.ask::<bool>(&wait).await.unwrap_or(false) {
                tokio::task::yield_now().await;
            }
        });
        if waited.await.is_err() {
            let shown: String = self.ask("location.href + '\\n' + document.body.innerText").await?;
            bail!("waited in vain for `{condition}`; the page shows:\n{shown}");
        }
        Ok(())
    }

    /// Waits for an element.
    pub(crate) async fn see(&self, selector: &str) -> anyhow::Result<()> {
        self.until(&format!("document.querySelector({})", quoted(selector))).await
    }

    /// Waits for a text that people see in an element.
    pub(crate) async fn read(&self, selector: &str, text: &str) -> anyhow::Result<()> {
        let (selector, text) = (quoted(selector), quoted(text));
        self.until(&format!(
            "Array.from(document.querySelectorAll({selector})).some((one) => one.innerText.includes({text}))"
        ))
        .await
    }

    /// Types into a field in place of what is there.
    pub(crate) async fn fill(&self, selector: &str, text: &str) -> anyhow::Result<()> {
        self.see(selector).await?;
        let selector = quoted(selector);
        let _: bool = self
            .ask(&format!(
                "{{ const field = document.querySelector({selector}); field.focus(); field.select(); true }}"
            ))
            .await?;
        self.type_in(text).await
    }

    /// Types where the focus is.
    pub(crate) async fn type_in(&self, text: &str) -> anyhow::Result<()> {
        self.page.execute(InsertTextParams::new(text)).await?;
        Ok(())
    }

    /// Clicks with the mouse.
    pub(crate) async fn click(&self, selector: &str) -> anyhow::Result<()> {
        self.see(selector).await?;
        // The crate's own click scrolls with a promise, which is never kept without script.
        let (x, y): (f64, f64) = self
            .ask(&format!(
                "{{ const one = document.querySelector({});
                    one.scrollIntoView({{ block: 'center', behavior: 'instant' }});
                    const place = one.getClientRects()[0];
                    [place.x + place.width / 2, place.y + place.height / 2] }}",
                quoted(selector)
            ))
            .await?;
        self.page.click(Point::new(x, y)).await.with_context(|| format!("click {selector}"))?;
        Ok(())
    }

    /// Presses a key where the focus is.
    pub(crate) async fn key(&self, key: &str) -> anyhow::Result<()> {
        let element = self.page.find_element("html").await?;
        element.press_key(key).await?;
        Ok(())
    }

    pub(crate) async fn media(&self, name: &str, value: &str) -> anyhow::Result<()> {
        self.page.emulate_media_features(vec![MediaFeature::new(name, value)]).await?;
        Ok(())
    }

    pub(crate) async fn size(&self, width: i64, height: i64, scale: f64) -> anyhow::Result<()> {
        self.page.execute(SetDeviceMetricsOverrideParams::new(width, height, scale, width < 600)).await?;
        Ok(())
    }

    /// Pages run no script from here on.
    pub(crate) async fn without_script(&self) -> anyhow::Result<()> {
        self.page.execute(SetScriptExecutionDisabledParams::new(true)).await?;
        self.script.store(false, Ordering::Relaxed);
        Ok(())
    }

    pub(crate) fn page(&self) -> &Page {
        &self.page
    }

    /// Signs in as Ann, and is on the overview then.
    pub(crate) async fn sign_in(&self) -> anyhow::Result<()> {
        self.go("login").await?;
        self.fill("#token", crate::service::TOKEN).await?;
        self.fill("#who", "Ann").await?;
        self.click("form button").await?;
        self.read("h1", "Overview").await
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
