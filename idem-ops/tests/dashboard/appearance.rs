//! Light and dark, and on a phone.

use anyhow::ensure;
use idem_runtime::Origin;

use crate::service::{Service, TOKEN};
use idem_test_support::browser::Chromium;

/// The lowest contrast (WCAG 2) of any text with its background, and its place.
const CONTRAST: &str = "(() => {
    const channel = (c) => { c /= 255; return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; };
    const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
    const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
    const ground = (one) => {
        for (; one; one = one.parentElement) {
            const colour = numbers(getComputedStyle(one).backgroundColor);
            if (colour.length < 4 || colour[3] === 1) return colour;
        }
        return [255, 255, 255];
    };
    let worst = { ratio: 21, text: '' };
    const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walk.nextNode()) {
        const one = walk.currentNode.parentElement;
        const svg = one.closest('svg');
        if (!walk.currentNode.data.trim() || one.closest('noscript, option, datalist')) continue;
        const style = getComputedStyle(one);
        const [a, b] = [light(numbers(svg ? style.fill : style.color)), light(ground(one))];
        const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (ratio < worst.ratio) worst = { ratio, text: walk.currentNode.data.trim() };
    }
    return worst;
})()";

#[derive(serde::Deserialize)]
struct Contrast {
    ratio: f64,
    text: String,
}

pub(crate) async fn dark_and_light(chromium: Chromium) -> anyhow::Result<()> {
    let service = Service::start().await?;
    let id = service
        .brought(
            "A-1001",
            Origin::new("kafka", "orders").header("trace", "00-4bf9"),
        )
        .await?;
    let tab = service.tab(&chromium).await?;
    let ground = "getComputedStyle(document.body).backgroundColor";
    let mut grounds = Vec::new();
    for scheme in ["light", "dark"] {
        tab.media("prefers-color-scheme", scheme).await?;
        for path in [
            "overview",
            "letters",
            "groups",
            "health",
            &format!("letters/{id}"),
        ] {
            tab.go(path).await?;
            tab.see("footer").await?;
            let worst: Contrast = tab.ask(CONTRAST).await?;
            ensure!(
                worst.ratio >= 4.5,
                "{scheme} {path}: {} of “{}”",
                worst.ratio,
                worst.text
            );
        }
        grounds.push(tab.ask::<String>(ground).await?);
    }
    ensure!(grounds[0] != grounds[1], "{grounds:?}");
    Ok(())
}

pub(crate) async fn a_phone_scrolls_one_way(chromium: Chromium) -> anyhow::Result<()> {
    let service = Service::start().await?;
    let long = "order-without-any-place-to-break-".repeat(8);
    let origin = Origin::new("kafka", &*long)
        .message_id(&*long)
        .position(&*long)
        .header(&*long, &*long);
    let id = service.brought(&long, origin).await?;
    let tab = chromium.open(&service.base).await?;
    tab.size(360, 740, 2.0).await?;
    tab.sign_in(TOKEN).await?;
    let (one, story) = (format!("letters/{id}"), format!("story?key={long}"));
    for path in [
        "overview", "letters", &one, "groups", "bulk", &story, "health", "audit", "login",
        "nowhere",
    ] {
        tab.go(path).await?;
        tab.see("main").await?;
        let _: bool =
            tab.ask("{ document.querySelectorAll('details').forEach((one) => { one.open = true; }); true }").await?;
        let width: u32 = tab.ask("document.scrollingElement.scrollWidth").await?;
        ensure!(width <= 360, "{path} is {width} pixels wide");
    }
    tab.go("letters").await?;
    let small: Vec<String> = tab
        .ask("Array.from(document.querySelectorAll('button')).filter((one) => one.offsetHeight < 40).map((one) => one.outerHTML)")
        .await?;
    ensure!(small.is_empty(), "too small for a finger: {small:?}");
    Ok(())
}
