//! A headless Chromium with one tab, driven by its own protocol.

use std::env;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, bail, ensure};
use chromiumoxide::cdp::browser_protocol::emulation::{
    MediaFeature, SetDeviceMetricsOverrideParams, SetScriptExecutionDisabledParams,
};
use chromiumoxide::cdp::browser_protocol::input::InsertTextParams;
use chromiumoxide::cdp::browser_protocol::page::CaptureScreenshotFormat;
use chromiumoxide::cdp::js_protocol::runtime::EvaluateParams;
use chromiumoxide::layout::Point;
use chromiumoxide::page::ScreenshotParams;
use chromiumoxide::{Browser, BrowserConfig, Page};
use futures_util::StreamExt;
use libtest_mimic::{Completion, Failed, Trial};
use serde::de::DeserializeOwned;
use tempfile::TempDir;
use tokio::time::timeout;

use crate::DEADLINE;

/// Where the browser is.
#[derive(Debug)]
pub struct Chromium(PathBuf);

/// Returns a test that drives a browser. Without one the test is ignored, and with `CI=true` it
/// fails; `cargo xtask test` installs one if it can.
pub fn trial<F, T>(name: &'static str, test: F) -> Trial
where
    F: FnOnce(Chromium) -> T + Send + 'static,
    T: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    Trial::ignorable_test(name, move || {
        let Some(chromium) = find() else {
            let text =
                "no Chromium: `apt-get install chromium`, or say where it is in IDEM_BROWSER";
            let must = env::var("CI").is_ok_and(|ci| ci == "true");
            return if must {
                Err(Failed::from(text))
            } else {
                Ok(Completion::ignored_with(text))
            };
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        let ended = runtime.block_on(async { timeout(3 * DEADLINE, test(chromium)).await });
        match ended.unwrap_or_else(|_| Err(anyhow::anyhow!("it does not end"))) {
            Ok(()) => Ok(Completion::Completed),
            Err(error) => Err(Failed::from(format!("{error:#}"))),
        }
    })
}

/// Looks in `IDEM_BROWSER`, then under the usual names.
fn find() -> Option<Chromium> {
    if let Some(path) = env::var_os("IDEM_BROWSER") {
        return Some(Chromium(path.into()));
    }
    let folders: Vec<_> = env::split_paths(&env::var_os("PATH")?).collect();
    let names = [
        "chromium",
        "chromium-browser",
        "google-chrome",
        "google-chrome-stable",
    ];
    let found = names
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    found.into_iter().find(|path| path.is_file()).map(Chromium)
}

/// One tab of a browser of its own.
pub struct Tab {
    page: Page,
    /// Ends with a slash.
    base: String,
    /// Whether pages run their script.
    script: AtomicBool,
    _browser: Browser,
    _profile: TempDir,
}

impl Chromium {
    /// Starts a browser whose addresses begin with `base`.
    pub async fn open(&self, base: &str) -> anyhow::Result<Tab> {
        let profile = tempfile::tempdir()?;
        let config = BrowserConfig::builder()
            .chrome_executable(&self.0)
            // Chromium's sandbox does not start as root, which containers run as.
            .no_sandbox()
            .new_headless_mode()
            .user_data_dir(profile.path())
            .launch_timeout(DEADLINE)
            .request_timeout(DEADLINE)
            .viewport(None)
            .window_size(1280, 900)
            .args([
                "disable-dev-shm-usage",
                "disable-gpu",
                "hide-scrollbars",
                "force-color-profile=srgb",
            ])
            .build()
            .map_err(anyhow::Error::msg)?;
        let (browser, mut handler) = Browser::launch(config)
            .await
            .context("Chromium does not start")?;
        tokio::spawn(async move { while handler.next().await.is_some() {} });
        let page = browser.new_page("about:blank").await?;
        Ok(Tab {
            page,
            base: base.to_owned(),
            script: AtomicBool::new(true),
            _browser: browser,
            _profile: profile,
        })
    }
}

impl Tab {
    /// Goes to a page behind the base.
    ///
    /// # Errors
    /// If the page does not load; so do all methods below.
    pub async fn go(&self, path: &str) -> anyhow::Result<()> {
        self.go_to(&format!("{}{path}", self.base)).await
    }

    /// Goes to any address.
    pub async fn go_to(&self, address: &str) -> anyhow::Result<()> {
        timeout(DEADLINE, self.page.goto(address)).await??;
        Ok(())
    }

    /// Returns the value of an expression of JavaScript, after its promise.
    pub async fn ask<T: DeserializeOwned>(&self, script: &str) -> anyhow::Result<T> {
        let ask = EvaluateParams::builder()
            .expression(script)
            .await_promise(true)
            .return_by_value(true);
        let answer = self
            .page
            .evaluate_expression(ask.build().map_err(anyhow::Error::msg)?)
            .await;
        Ok(answer.with_context(|| script.to_owned())?.into_value()?)
    }

    /// Waits until an expression is true, on this page or a later one.
    pub async fn until(&self, condition: &str) -> anyhow::Result<()> {
        let wait = if self.script.load(Ordering::Relaxed) {
            format!(
                "new Promise((done) => {{
                    const look = () => ({condition}) ? done(true) : requestAnimationFrame(look);
                    look();
                }})"
            )
        } else {
            // Without script no promise is ever kept, so the expression is evaluated repeatedly.
            format!("Boolean({condition})")
        };
        let waited = timeout(DEADLINE, async {
            // The promises of a page end with it, so the next page is asked.
            while !self.ask::<bool>(&wait).await.unwrap_or(false) {
                tokio::task::yield_now().await;
            }
        });
        if waited.await.is_err() {
            let shown: String = self
                .ask("location.href + '\\n' + document.body.innerText")
                .await?;
            bail!("`{condition}` did not become true; the page shows:\n{shown}");
        }
        Ok(())
    }

    /// Waits for an element.
    pub async fn see(&self, selector: &str) -> anyhow::Result<()> {
        self.until(&format!("document.querySelector({})", quoted(selector)))
            .await
    }

    /// Waits for a visible text in an element.
    pub async fn read(&self, selector: &str, text: &str) -> anyhow::Result<()> {
        let (selector, text) = (quoted(selector), quoted(text));
        self.until(&format!(
            "Array.from(document.querySelectorAll({selector})).some((one) => one.innerText.includes({text}))"
        ))
        .await
    }

    /// Replaces the text of a field.
    pub async fn fill(&self, selector: &str, text: &str) -> anyhow::Result<()> {
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
    pub async fn type_in(&self, text: &str) -> anyhow::Result<()> {
        self.page.execute(InsertTextParams::new(text)).await?;
        Ok(())
    }

    /// Clicks with the mouse.
    pub async fn click(&self, selector: &str) -> anyhow::Result<()> {
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
        self.page
            .click(Point::new(x, y))
            .await
            .with_context(|| format!("click {selector}"))?;
        Ok(())
    }

    /// Presses a key where the focus is.
    pub async fn key(&self, key: &str) -> anyhow::Result<()> {
        let found = timeout(DEADLINE, async {
            loop {
                // The nodes of a page end with it, so the next page is asked.
                if let Ok(element) = self.page.find_element("html").await {
                    return element;
                }
            }
        });
        found.await?.press_key(key).await?;
        Ok(())
    }

    /// Sets a media feature, such as `prefers-color-scheme` to `dark`.
    pub async fn media(&self, name: &str, value: &str) -> anyhow::Result<()> {
        self.page
            .emulate_media_features(vec![MediaFeature::new(name, value)])
            .await?;
        Ok(())
    }

    /// Sets the window's size in CSS pixels; a phone's is below 600.
    pub async fn size(&self, width: i64, height: i64, scale: f64) -> anyhow::Result<()> {
        self.page
            .execute(SetDeviceMetricsOverrideParams::new(
                width,
                height,
                scale,
                width < 600,
            ))
            .await?;
        Ok(())
    }

    /// Stops scripts on all following pages.
    pub async fn without_script(&self) -> anyhow::Result<()> {
        self.page
            .execute(SetScriptExecutionDisabledParams::new(true))
            .await?;
        self.script.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Returns a picture of the whole page, as PNG.
    pub async fn picture(&self) -> anyhow::Result<Vec<u8>> {
        let params = ScreenshotParams::builder()
            .format(CaptureScreenshotFormat::Png)
            .full_page(true)
            .build();
        let picture = self.page.screenshot(params).await?;
        ensure!(
            picture.starts_with(b"\x89PNG") && picture.len() > 10_000,
            "a picture of {} bytes",
            picture.len()
        );
        Ok(picture)
    }

    /// Signs in to the dashboard as Ann, and waits for the overview.
    ///
    /// # Errors
    /// If the token is unknown.
    pub async fn sign_in(&self, token: &str) -> anyhow::Result<()> {
        self.go("login").await?;
        self.fill("#token", token).await?;
        self.fill("#who", "Ann").await?;
        self.click("form button").await?;
        self.read("h1", "Overview").await
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
