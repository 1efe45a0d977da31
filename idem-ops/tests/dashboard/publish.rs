//! A message goes back to the broker that it came from.

use anyhow::ensure;
use idem_runtime::{LetterState, Origin};
use idem_test_support::browser::Chromium;

use crate::groups;
use crate::keyboard::tab_to;
use crate::service::Service;

const HOSTILE: &str = "\"><img src=x onerror=\"document.title='ran'\"><b>bold</b>";

fn origin() -> Origin {
    Origin::new("rabbitmq", "orders")
}

pub(crate) async fn send_back_by_keyboard(chromium: Chromium) -> anyhow::Result<()> {
    let service = Service::start().await?;
    let (id, other) = (
        service.brought("A-1001", origin()).await?,
        service.letter("A-1002", "TEA-500").await?,
    );
    let tab = service.tab(&chromium).await?;
    tab.go(&format!("letters/{other}")).await?;
    tab.read("h1", "A-1002").await?;
    ensure!(
        !tab.ask::<bool>("Boolean(document.querySelector('form[action$=publish]'))")
            .await?,
        "no broker brought it"
    );

    tab.go(&format!("letters/{id}")).await?;
    tab.read(
        "form[action$=publish] button",
        "Send back to rabbitmq orders",
    )
    .await?;
    tab_to(&tab, "form[action$=publish] button").await?;
    tab.key("Enter").await?;
    ensure!(
        tab.ask::<bool>("document.querySelector('#publish-why').matches(':invalid')")
            .await?,
        "it asks for a reason"
    );
    tab.until("document.activeElement.id === 'publish-why'")
        .await?;
    tab.type_in("there is stock again").await?;
    tab_to(&tab, "form[action$=publish] button").await?;
    tab.key("Enter").await?;
    tab.read("[role=status]", "It is published to rabbitmq:orders")
        .await?;
    ensure!(service.state(&id).await? == LetterState::Redriven);
    ensure!(*service.published.lock() == ["A-1001"]);
    tab.read(".facts", "there is stock again").await?;
    tab.go("audit").await?;
    tab.read("tbody", "published back").await
}

pub(crate) async fn a_header_of_html_is_text(chromium: Chromium) -> anyhow::Result<()> {
    let service = Service::start().await?;
    let origin = origin()
        .message_id(HOSTILE)
        .position(HOSTILE)
        .header(HOSTILE, HOSTILE);
    let id = service.brought("A-1001", origin).await?;
    let tab = service.tab(&chromium).await?;
    tab.go(&format!("letters/{id}")).await?;
    tab_to(&tab, "#origin-title ~ details summary").await?;
    tab.key("Enter").await?;
    tab.until("document.querySelector('#origin-title ~ details').open")
        .await?;
    for place in [
        "#headers th[scope=row]",
        "#headers td",
        "#origin-title ~ .facts",
    ] {
        tab.read(place, HOSTILE).await?;
    }
    ensure!(
        tab.ask::<u32>("document.querySelectorAll('main img, main b, main script').length")
            .await?
            == 0
    );
    ensure!(tab.ask::<String>("document.title").await? != "ran");
    Ok(())
}

pub(crate) async fn send_a_group_back(chromium: Chromium) -> anyhow::Result<()> {
    let service = Service::start().await?;
    for order_no in ["A-1", "A-2", "A-3"] {
        service.brought(order_no, origin()).await?;
    }
    let tab = service.tab(&chromium).await?;
    groups::start(&tab, "publish", "there is stock again").await?;
    tab.read("h1", "Sending back of 3 letters").await?;
    tab.read("label[for=progress]", "finished: 3 of 3").await?;
    tab.read("#done", "3").await?;
    let mut published = service.published.lock().clone();
    published.sort();
    ensure!(published == ["A-1", "A-2", "A-3"], "{published:?}");
    Ok(())
}
