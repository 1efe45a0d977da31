//! The links of a real mail to a dashboard that is nested as in the README.

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use idem_ops::monitor::Monitor;
use idem_runtime::{Error, Idem, idempotent};
use mail_parser::MessageParser;
use url::Url;
use url::form_urlencoded::Serializer;

use crate::common::smtp::{Mode, SmtpServer, Through};
use crate::{Dashboard, cookie, text};

#[idempotent(name = "links.place", key = "order_no", retries = 0)]
async fn place(order_no: String) -> Result<(), Error> {
    Err(Error::Closed {
        handler: None,
        key: None,
    })
}

/// Returns the links of a mail about `letters` letters, from a monitor that has this address of the
/// dashboard.
async fn links(dashboard: &str, idem: &Idem, letters: usize) -> Vec<Url> {
    let mut server = SmtpServer::start(Mode::Plain).await;
    for number in 0..letters {
        idem.scope(place(format!("A-{number}"))).await.unwrap_err();
    }
    let email = server.email().to("on-call@example.com").build().unwrap();
    let watch = Monitor::new(idem, "orders")
        .dashboard(dashboard.parse().unwrap())
        .channel(email)
        .start()
        .unwrap();
    let mail = server.mail().await;
    watch.stop().await;
    let mail = MessageParser::default()
        .parse(&mail.data)
        .unwrap()
        .into_owned();
    let text = mail.body_text(0).unwrap().into_owned();
    text.split_whitespace()
        .filter(|word| word.starts_with("https://"))
        .map(|link| link.parse().unwrap())
        .collect()
}

/// Returns the target of a redirect.
fn led(from: &Url, headers: &HeaderMap) -> Url {
    from.join(headers["location"].to_str().unwrap()).unwrap()
}

fn local(url: &Url) -> String {
    url[url::Position::BeforePath..].to_owned()
}

#[tokio::test]
async fn each_link_in_a_mail_leads_to_its_page_of_a_nested_dashboard() {
    for (base, letters) in [("/ops", 1), ("/ops/", 1), ("/ops", 2), ("/ops/", 2)] {
        let mut dashboard = Dashboard::new();
        dashboard.app = Router::new().nest("/ops", dashboard.app);
        let links = links(
            &format!("https://ops.example{base}"),
            &dashboard.idem,
            letters,
        )
        .await;
        // A link for each letter, and one for the dashboard, which for one letter is its page too.
        assert_eq!(links.len(), letters + 1, "{links:?}");
        for (at, link) in links.iter().enumerate() {
            // Like a browser: to the login, and from there to the requested page.
            let mut here = link.clone();
            while !here.path().ends_with("/login") {
                let asked = dashboard.get(&local(&here), "").await;
                assert_eq!(
                    asked.status(),
                    StatusCode::SEE_OTHER,
                    "{link} leads to {here}"
                );
                here = led(&here, asked.headers());
            }
            let to = here
                .query_pairs()
                .find(|(name, _)| name == "to")
                .map(|(_, to)| to.into_owned())
                .unwrap();
            let form = Serializer::new(String::new())
                .extend_pairs([("token", "right"), ("to", &to)])
                .finish();
            let entered = dashboard.post(here.path(), "", form).await;
            let (there, cookie) = (led(&here, entered.headers()), cookie(entered.headers()));
            let page = dashboard.get(&local(&there), &cookie).await;
            assert_eq!(page.status(), StatusCode::OK, "{link} leads to {there}");
            let title = if letters == 1 || at < letters {
                "<h1>Dead letter"
            } else {
                "<h1>Overview"
            };
            let page = text(page).await;
            assert!(page.contains(title), "{link} leads to {there}: {page}");
        }
    }
}
