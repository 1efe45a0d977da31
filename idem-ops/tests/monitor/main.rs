//! The monitor, with a real ledger, a real mail server, and a real `SIGKILL`. Only time is held
//! still.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../common/mod.rs"]
mod common;
mod killed;
mod pauses;
mod policy;
mod trouble;

use std::sync::Arc;

use idem_ops::alert::{Alert, AlertError, BoxFuture, Notice, Retry};
use idem_runtime::testing::{ManualClock, Temporary, temporary_with};
use idem_runtime::{Error, Idem, idempotent};
use parking_lot::Mutex;
use tokio::sync::mpsc;

#[derive(Debug, thiserror::Error)]
enum Oops {
    #[error("{0}")]
    Own(String),
    #[error(transparent)]
    Idem(#[from] Error),
}

#[idempotent(name = "monitor.place", key = "order_no", retries = 0)]
async fn place(order_no: String, error: String) -> Result<(), Oops> {
    if error.is_empty() {
        Ok(())
    } else {
        Err(Oops::Own(error))
    }
}

/// Makes letters: one for each number, all with this error.
async fn die(idem: &Idem, numbers: std::ops::Range<u32>, error: &str) {
    let calls = numbers.map(|number| idem.scope(place(format!("A-{number}"), error.to_owned())));
    for call in futures_util::future::join_all(calls).await {
        assert!(matches!(call, Err(Oops::Own(_))));
    }
}

fn idem(clock: &ManualClock) -> Temporary {
    temporary_with(Idem::builder().clock(Arc::new(clock.clone()))).unwrap()
}

/// A channel that keeps what it is given, and can be out of order.
#[derive(Clone)]
struct Pager {
    name: &'static str,
    trouble: Arc<Mutex<Option<Retry>>>,
    sent: mpsc::UnboundedSender<Result<Notice, Notice>>,
}

fn pager(name: &'static str) -> (Pager, mpsc::UnboundedReceiver<Result<Notice, Notice>>) {
    let (sent, notices) = mpsc::unbounded_channel();
    (
        Pager {
            name,
            trouble: Arc::default(),
            sent,
        },
        notices,
    )
}

impl Alert for Pager {
    fn name(&self) -> &str {
        self.name
    }

    fn send<'a>(&'a self, notice: &'a Notice) -> BoxFuture<'a, Result<(), AlertError>> {
        Box::pin(async move {
            let trouble = *self.trouble.lock();
            let told = if trouble.is_none() {
                Ok(notice.clone())
            } else {
                Err(notice.clone())
            };
            self.sent.send(told).unwrap();
            trouble.map_or(Ok(()), |retry| {
                Err(AlertError::new(self.name, "it is broken", retry, "mend it"))
            })
        })
    }
}

/// How many letters a notice tells of, by kind of error.
fn counts(notice: &Notice) -> Vec<(&str, u64)> {
    let mut counts: Vec<_> = notice
        .groups
        .iter()
        .map(|group| (group.error.as_str(), group.count))
        .collect();
    counts.sort_unstable();
    counts
}
