//! The state of the notifications on the pages.

use idem_ops::alert::{Alert, AlertError, BoxFuture, Notice, Retry};
use idem_ops::monitor::{AlertState, Monitor};
use idem_runtime::{Error, idempotent};

use crate::common::within;
use crate::{Dashboard, text};

#[derive(Debug, thiserror::Error)]
enum Oops {
    #[error("no stock")]
    NoStock,
    #[error(transparent)]
    Idem(#[from] Error),
}

#[idempotent(name = "telling.place", key = "order_no", retries = 0)]
async fn place(order_no: String) -> Result<(), Oops> {
    Err(Oops::NoStock)
}

/// A channel that works or fails.
struct Pager(&'static str, bool);

impl Alert for Pager {
    fn name(&self) -> &str {
        self.0
    }

    fn send<'a>(&'a self, _: &'a Notice) -> BoxFuture<'a, Result<(), AlertError>> {
        let error = || {
            AlertError::new(
                self.0,
                "the pager <is> out of battery",
                Retry::Later,
                "charge it",
            )
        };
        Box::pin(async move { if self.1 { Ok(()) } else { Err(error()) } })
    }
}

#[tokio::test]
async fn without_a_monitor_the_page_says_how_to_start_one() {
    let dashboard = Dashboard::new();
    let cookie = dashboard.sign_in().await;
    let health = text(dashboard.get("/health", &cookie).await).await;
    assert!(
        health.contains("No monitor has sent a notice yet") && health.contains("every open letter"),
        "{health}"
    );
    assert!(dashboard.idem.scope(place("A-1".into())).await.is_err());
    let health = text(dashboard.get("/health", &cookie).await).await;
    assert!(
        health.contains("without a notification yet: <strong>1</strong>"),
        "{health}"
    );
    assert!(
        !text(dashboard.get("/overview", &cookie).await)
            .await
            .contains("not told through")
    );
    // A closed letter needs no notification.
    let letters = dashboard.idem.dead_letters();
    letters
        .discard(
            &letters.list(&Default::default()).await.unwrap()[0].id,
            "old",
        )
        .await
        .unwrap();
    let health = text(dashboard.get("/health", &cookie).await).await;
    assert!(health.contains("every open letter"), "{health}");
}

#[tokio::test]
async fn a_failing_channel_is_shown_with_its_error() {
    let dashboard = Dashboard::new();
    let cookie = dashboard.sign_in().await;
    assert!(dashboard.idem.scope(place("A-1".into())).await.is_err());
    let monitor = Monitor::new(&dashboard.idem, "orders")
        .channel(Pager("flat", false))
        .channel(Pager("charged", true));
    let watch = monitor.start().unwrap();
    let state = within(async {
        loop {
            let state = AlertState::of(&dashboard.idem).await.unwrap();
            if state.channels.len() == 2 {
                return state;
            }
            tokio::task::yield_now().await;
        }
    });
    let failing: Vec<_> = state
        .await
        .failing()
        .map(|channel| channel.name.clone())
        .collect();
    assert_eq!(failing, ["flat"]);
    let health = text(dashboard.get("/health", &cookie).await).await;
    let line = |name: &str| {
        health
            .split("<tr>")
            .find(|line| line.contains(&format!("<code>{name}</code>")))
            .unwrap()
    };
    let (flat, charged) = (line("flat"), line("charged"));
    assert!(
        flat.contains("failing</span> since <time") && flat.contains(">never</td>"),
        "{flat}"
    );
    assert!(
        flat.contains("the pager &#60;is&#62; out of battery; charge it"),
        "{flat}"
    );
    assert!(flat.contains("class=\"number\">1</td>"), "{flat}");
    assert!(
        charged.contains(">ok</span>") && charged.contains("<td data-label=\"Last notice\"><time"),
        "{charged}"
    );
    assert!(
        charged.contains("class=\"number\">0</td>") && charged.contains(">–</td>"),
        "{charged}"
    );
    assert!(health.contains("not every notice was sent"), "{health}");
    let overview = text(dashboard.get("/overview", &cookie).await).await;
    assert!(
        overview.contains("Notices cannot be sent through <code>flat</code>."),
        "{overview}"
    );
    watch.stop().await;
}
