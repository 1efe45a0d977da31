//! Pictures of the pages for the README: `cargo xtask screenshots` says where they go.

use std::path::PathBuf;

use anyhow::ensure;
use chromiumoxide::cdp::browser_protocol::page::CaptureScreenshotFormat;
use chromiumoxide::page::ScreenshotParams;

use crate::browser::Chromium;
use crate::service::Service;

pub(crate) async fn screenshots(chromium: Chromium) -> anyhow::Result<()> {
    let folder = std::env::var_os("IDEM_SCREENSHOTS").map(PathBuf::from);
    let service = Service::start().await?;
    for number in 0..40 {
        service.order(&format!("A-{}", 1100 + number), "TEA-500", 1 + number % 9).await?;
    }
    for (number, sku) in ["TEA-500", "POT-IRON", "SIEVE-FINE", "TEA-100", "CUP-BLUE", "TEA-500"].into_iter().enumerate()
    {
        service.letter(&format!("A-{}", 1001 + number), sku).await?;
    }
    let id = service.letter("A-1042", "KETTLE-2L").await?;
    let tab = chromium.open(&service.base).await?;
    tab.sign_in().await?;
    for (name, path) in [("overview", "overview"), ("letters", "letters"), ("letter", &format!("letters/{id}"))] {
        // A picture of a whole page leaves another size behind.
        tab.size(1200, 800, 1.0).await?;
        tab.go(path).await?;
        tab.see("footer").await?;
        let params = ScreenshotParams::builder().format(CaptureScreenshotFormat::Png).full_page(true).build();
        let picture = tab.page().screenshot(params).await?;
        ensure!(picture.starts_with(b"\x89PNG") && picture.len() > 10_000, "{name}: {} bytes", picture.len());
        if let Some(folder) = &folder {
            std::fs::create_dir_all(folder)?;
            std::fs::write(folder.join(format!("dashboard-{name}.png")), picture)?;
        }
    }
    Ok(())
}
