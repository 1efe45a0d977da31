//! Paused handlers on the pages.

use http::StatusCode;

use crate::{Dashboard, csrf, text};

#[tokio::test]
async fn a_handler_is_paused_and_resumed_on_the_overview() {
    let dashboard = Dashboard::new();
    let cookie = dashboard.sign_in().await;
    let overview = async || text(dashboard.get("/overview", &cookie).await).await;
    let page = overview().await;
    assert!(!page.contains("Paused handlers"), "{page}");
    let csrf = csrf(&page);

    let form = format!("csrf={csrf}&handler=orders.pay&why=the+bank+%3Cmoves%3E");
    let refused = dashboard.post("/pauses/pause", &cookie, form.clone()).await;
    assert_eq!(refused.status(), StatusCode::NOT_FOUND);
    assert!(
        text(refused)
            .await
            .contains("no handler `orders.pay` is known")
    );
    assert!(dashboard.idem.pauses().await.unwrap().is_empty());
    let form = format!("{form}&force=yes");
    let answer = dashboard.post("/pauses/pause", &cookie, form).await;
    assert_eq!(answer.status(), StatusCode::SEE_OTHER);
    assert_eq!(answer.headers()["location"], "../overview");
    let pauses = dashboard.idem.pauses().await.unwrap();
    assert_eq!(
        (pauses[0].handler.as_str(), pauses[0].by.as_deref()),
        ("orders.pay", Some("Ann (token)"))
    );
    let page = overview().await;
    for part in [
        "Paused handlers",
        "<code>orders.pay</code> since",
        "by Ann (token), its messages wait, 0 calls turned away",
        "the bank &#60;moves&#62;",
    ] {
        assert!(page.contains(part), "no {part:?} in {page}");
    }
    let group = dashboard.get("/group?handler=orders.pay&error=x", &cookie);
    assert!(text(group.await).await.contains("The handler is paused"));

    // Without a reason, or without the page's token, nothing is resumed.
    for form in [
        "handler=orders.pay&why=x".to_owned(),
        format!("csrf={csrf}&handler=orders.pay"),
    ] {
        let answer = dashboard.post("/pauses/resume", &cookie, form).await;
        assert!(answer.status().is_client_error());
    }
    let form = format!("csrf={csrf}&handler=orders.pay&why=it+has+moved");
    let answer = dashboard.post("/pauses/resume", &cookie, form).await;
    assert_eq!(answer.status(), StatusCode::SEE_OTHER);
    assert!(dashboard.idem.pauses().await.unwrap().is_empty());
    let log = text(dashboard.get("/audit", &cookie).await).await;
    for part in ["paused the handler", "resumed the handler", "it has moved"] {
        assert!(log.contains(part), "no {part:?} in {log}");
    }
}
