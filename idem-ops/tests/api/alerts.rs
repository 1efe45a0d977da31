//! The state of the notifications.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use idem_ops::Auth;
use idem_ops::alert::{Alert, AlertError, BoxFuture, Notice, Retry};
use idem_ops::monitor::{AlertState, Monitor};
use idem_runtime::Idem;
use idem_runtime::testing::ManualClock;

use crate::common::within;
use crate::place::{Place, TOKEN};

const CHANNEL: &str = "a pager of one test";

#[derive(Clone, Default)]
struct Pager {
    charged: Arc<AtomicBool>,
}

impl Alert for Pager {
    fn name(&self) -> &str {
        CHANNEL
    }

    fn send<'a>(&'a self, _: &'a Notice) -> BoxFuture<'a, Result<(), AlertError>> {
        Box::pin(async {
            let error =
                || AlertError::new(CHANNEL, "its battery is flat", Retry::Later, "charge it");
            if self.charged.load(Ordering::SeqCst) {
                Ok(())
            } else {
                Err(error())
            }
        })
    }
}

async fn alerts(place: &Place, wanted: impl Fn(&AlertState) -> bool) -> AlertState {
    within(async {
        loop {
            let state: AlertState = place.get("/api/v1/alerts").await.json();
            if wanted(&state) {
                return state;
            }
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_channel_is_reported_until_it_works_again() {
    let (folder, clock, pager) = (
        tempfile::tempdir().unwrap(),
        ManualClock::default(),
        Pager::default(),
    );
    let idem = Idem::builder()
        .clock(Arc::new(clock.clone()))
        .open(folder.path())
        .unwrap();
    let place = Place::new(idem, Auth::token(TOKEN)).await;
    assert!(place.order("A-1", 11).await.is_err());
    let state = alerts(&place, |_| true).await;
    assert_eq!(
        (state.untold, state.more_untold, state.channels.len()),
        (1, false, 0)
    );

    let watch = Monitor::new(&place.idem, "orders")
        .channel(pager.clone())
        .start()
        .unwrap();
    let state = alerts(&place, |state| state.failing().next().is_some()).await;
    let channel = &state.channels[0];
    assert_eq!(
        (
            state.untold,
            channel.name.as_str(),
            channel.waiting,
            channel.last_sent
        ),
        (0, CHANNEL, 1, None)
    );
    assert!(
        channel
            .last_error
            .as_deref()
            .unwrap()
            .contains("its battery is flat; charge it"),
        "{channel:?}"
    );

    let line = |text: &str, name: &str| {
        let found = text
            .lines()
            .find(|line| line.starts_with(name) && line.contains(CHANNEL));
        found.and_then(|line| line.rsplit(' ').next().map(str::to_owned))
    };
    let figure = async |name: &str, value: &str| {
        within(async {
            loop {
                let text = place.get("/metrics").await.text;
                if line(&text, name).as_deref() == Some(value) {
                    return text;
                }
                // The monitor checks every few seconds, and retries after a pause.
                clock.advance(Duration::from_secs(1));
            }
        })
        .await
    };
    let text = figure("idem_alerts_waiting{", "1").await;
    assert!(
        text.contains("# HELP idem_alerts_waiting ") && text.contains("# HELP idem_alerts_total "),
        "{text}"
    );
    assert!(text.contains("outcome=\"failed\""), "{text}");
    pager.charged.store(true, Ordering::SeqCst);
    figure("idem_alerts_waiting{", "0").await;
    let state = alerts(&place, |state| state.failing().next().is_none()).await;
    assert!(
        state.channels[0].last_sent.is_some() && state.channels[0].last_error.is_none(),
        "{state:?}"
    );
    watch.stop().await;
    place
        .get("/api/v1/alerts?limit=1")
        .await
        .problem(400, "invalid");
    assert_eq!(
        place
            .request("GET", "/api/v1/alerts", None, None)
            .await
            .status,
        401
    );
}
