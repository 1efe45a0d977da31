//! A form that is not from the session's own page changes nothing.

use anyhow::ensure;
use idem_runtime::LetterState;

use crate::service::Service;
use idem_test_support::browser::Chromium;

pub(crate) async fn a_forged_form_changes_nothing(chromium: Chromium) -> anyhow::Result<()> {
    let service = Service::start().await?;
    let id = service.letter("A-1001", "TEA-500").await?;
    let tab = service.tab(&chromium).await?;
    for forged in [
        "null",
        "''",
        "'AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA'",
    ] {
        tab.go(&format!("letters/{id}")).await?;
        tab.fill("#discard-why", "forged").await?;
        // The same page and cookie, with no token or another one.
        let _: bool = tab
            .ask(&format!(
                "{{ const token = document.querySelector('form[action$=discard] [name=csrf]');
                    if ({forged} === null) token.remove(); else token.value = {forged}; true }}"
            ))
            .await?;
        tab.click("form[action$=discard] button").await?;
        tab.read("[role=alert]", "nothing was changed").await?;
        ensure!(service.state(&id).await? == LetterState::Open, "{forged}");
    }
    // Another site's page, with everything but the session's cookie, which browsers send only to
    // its own site.
    tab.go(&format!("letters/{id}")).await?;
    let token: String = tab
        .ask("document.querySelector('form[action$=discard] [name=csrf]').value")
        .await?;
    let elsewhere = service.base.replace("127.0.0.1", "localhost");
    tab.go_to(&format!("{elsewhere}login")).await?;
    tab.see("form").await?;
    let there = format!("{}letters/{id}/discard", service.base);
    let status: String = tab
        .ask(&format!(
            "fetch('{there}', {{ method: 'POST', mode: 'no-cors', credentials: 'include',
                body: new URLSearchParams({{ csrf: '{token}', why: 'forged' }}) }}).then(() => 'sent', () => 'blocked')"
        ))
        .await?;
    ensure!(
        service.state(&id).await? == LetterState::Open,
        "from another site: {status}"
    );
    Ok(())
}
