//! One letter that cannot be read: of a newer version, or damaged.

use std::sync::{Arc, OnceLock};

use idem_ops::Auth;
use idem_ops::alert::{Alert, AlertError, BoxFuture, Notice};
use idem_ops::monitor::{AlertState, Monitor};
use idem_ops::service::{BulkJob, BulkState, LetterPage};
use idem_runtime::Idem;
use idem_runtime::ledger::LedgerError;
use idem_runtime::testing::{
    LedgerCall, LedgerFault, ManualClock, MemoryLedger, UnreliableLedger, open_on,
};
use serde_json::json;
use tokio::sync::watch;

use crate::common::within;
use crate::place::{Place, TOKEN};

/// The number of letters in notices.
#[derive(Clone)]
struct Pager(watch::Sender<u64>);

impl Alert for Pager {
    fn name(&self) -> &str {
        "a pager"
    }

    fn send<'a>(&'a self, notice: &'a Notice) -> BoxFuture<'a, Result<(), AlertError>> {
        self.0.send_modify(|told| {
            *told += notice.groups.iter().map(|group| group.count).sum::<u64>();
        });
        Box::pin(std::future::ready(Ok(())))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreadable_letter_does_not_hide_the_others() {
    let spoilt = Arc::new(OnceLock::new());
    let unreadable = Arc::clone(&spoilt);
    let ledger = MemoryLedger::new(Arc::new(ManualClock::default()));
    let ledger = UnreliableLedger::new(ledger, move |call| match call {
        LedgerCall::Letter(id) if unreadable.get() == Some(id) => {
            Some(LedgerFault::Refused(LedgerError::Record {
                detail: "its envelope has version 2".to_owned(),
            }))
        }
        _ => None,
    });
    let place = Place::new(
        open_on(Idem::builder(), ledger).unwrap(),
        Auth::token(TOKEN).with_token("ann", "ann's own token"),
    )
    .await;
    let mut ids = Vec::new();
    for order_no in ["A-1", "A-2", "A-3"] {
        assert!(place.order(order_no, 11).await.is_err());
        ids.push(place.letter_of(order_no).await);
    }
    spoilt.set(ids[1]).unwrap();

    let page: LetterPage = place.get("/api/v1/letters").await.json();
    assert_eq!(
        page.letters.iter().map(|line| line.id).collect::<Vec<_>>(),
        [ids[2], ids[0]]
    );
    let problem = place
        .get(&format!("/api/v1/letters/{}", ids[1]))
        .await
        .problem(503, "ledger");
    assert!(
        problem.detail.contains("its envelope has version 2"),
        "{problem:?}"
    );

    let told = watch::Sender::new(0);
    let watch = Monitor::new(&place.idem, "orders")
        .channel(Pager(told.clone()))
        .start()
        .unwrap();
    within(told.subscribe().wait_for(|told| *told == 2))
        .await
        .unwrap();
    watch.stop().await;
    let state: AlertState = place.get("/api/v1/alerts").await.json();
    assert_eq!(state.untold, 1, "it is still without a notification");

    let asked = json!({ "selection": { "ids": ids }, "deed": "discard", "rate": 1000.0, "why": "test orders" });
    let bulk: BulkJob = place.post("/api/v1/bulk", asked).await.json();
    let end = place
        .bulk_until(bulk.id, |bulk| bulk.state == BulkState::Finished)
        .await;
    assert_eq!((end.done, end.failed, end.skipped), (2, 1, 0), "{end:?}");
    assert_eq!((end.problems.len(), end.problems[0].letter), (1, ids[1]));
    assert!(
        end.problems[0].error.contains("its envelope has version 2"),
        "{end:?}"
    );
}
