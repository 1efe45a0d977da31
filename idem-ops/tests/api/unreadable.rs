//! One letter that cannot be read: of a newer version, or damaged.

#![expect(
    clippy::unwrap_used,
    reason = "a helper that cannot go on fails its test"
)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use idem_ops::Auth;
use idem_ops::alert::{Alert, AlertError, BoxFuture, Notice};
use idem_ops::monitor::{AlertState, Monitor};
use idem_ops::service::{BulkJob, BulkState, LetterPage};
use idem_runtime::ledger::{
    Capabilities, ExpectedNote, Ledger, LedgerError, Note, NoteChange, Swept,
};
use idem_runtime::protocol::{Record, RecordId, Reply, Step};
use idem_runtime::testing::{ManualClock, MemoryLedger, open_on};
use idem_runtime::{DeadLetter, DeadLetterId, Filter, Idem};
use serde_json::json;
use tokio::sync::watch;

use crate::common::within;
use crate::place::{Place, TOKEN};

/// A ledger in which one letter can be made unreadable.
#[derive(Clone)]
struct Spoilt {
    ledger: MemoryLedger,
    letter: Arc<Mutex<Option<DeadLetterId>>>,
}

impl Ledger for Spoilt {
    fn letter(
        &self,
        id: DeadLetterId,
    ) -> BoxFuture<'static, Result<Option<DeadLetter>, LedgerError>> {
        if *self.letter.lock().unwrap() == Some(id) {
            return Box::pin(async {
                Err(LedgerError::Record {
                    detail: "its envelope has version 2".to_owned(),
                })
            });
        }
        self.ledger.letter(id)
    }

    fn letters(&self, filter: &Filter) -> BoxFuture<'static, Result<Vec<DeadLetter>, LedgerError>> {
        self.ledger.letters(filter)
    }

    fn apply(&self, id: &RecordId, step: Step) -> BoxFuture<'static, Result<Reply, LedgerError>> {
        self.ledger.apply(id, step)
    }

    fn record(&self, id: &RecordId) -> BoxFuture<'static, Result<Option<Record>, LedgerError>> {
        self.ledger.record(id)
    }

    fn open_letters(&self) -> BoxFuture<'static, Result<u64, LedgerError>> {
        self.ledger.open_letters()
    }

    fn sweep(
        &self,
        settled: usize,
        retention: Duration,
    ) -> BoxFuture<'static, Result<Swept, LedgerError>> {
        self.ledger.sweep(settled, retention)
    }

    fn notes(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<Note>, LedgerError>> {
        self.ledger.notes(prefix, after, limit)
    }

    fn write_notes(
        &self,
        changes: Vec<NoteChange>,
        expected: Vec<ExpectedNote>,
    ) -> BoxFuture<'static, Result<bool, LedgerError>> {
        self.ledger.write_notes(changes, expected)
    }

    fn capabilities(&self) -> Capabilities {
        self.ledger.capabilities()
    }

    fn close(&self) -> BoxFuture<'static, Result<(), LedgerError>> {
        self.ledger.close()
    }
}

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
    let ledger = MemoryLedger::new(Arc::new(ManualClock::default()));
    let spoilt = Spoilt {
        ledger,
        letter: Arc::default(),
    };
    let place = Place::new(
        open_on(Idem::builder(), spoilt.clone()).unwrap(),
        Auth::token(TOKEN).with_token("ann", "ann's own token"),
    )
    .await;
    let mut ids = Vec::new();
    for order_no in ["A-1", "A-2", "A-3"] {
        assert!(place.order(order_no, 11).await.is_err());
        ids.push(place.letter_of(order_no).await);
    }
    *spoilt.letter.lock().unwrap() = Some(ids[1]);

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
