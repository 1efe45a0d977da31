//! A message whose sending was not awaited.

use fail::FailScenario;
use futures_util::FutureExt;
use idem_runtime::{Idem, outbox::OutboxMessage};

use crate::soon;

/// The caller has a deadline of its own; the write it let go of is on its way all the same.
#[tokio::test]
async fn a_message_whose_sending_was_dropped_is_one_message_when_it_is_sent_again() {
    let scenario = FailScenario::setup();
    let folder = tempfile::tempdir().unwrap();
    let idem = Idem::open(folder.path()).unwrap();
    let message = || OutboxMessage::new("orders.placed", "A-1001", "{}");
    for _ in 0..3 {
        fail::cfg("idem::decided", "pause").unwrap();
        assert!(
            idem.outbox().send(message()).now_or_never().is_none(),
            "the committer stands still"
        );
        let again = {
            let idem = idem.clone();
            tokio::spawn(async move { idem.outbox().send(message()).await })
        };
        tokio::task::yield_now().await;
        fail::remove("idem::decided");
        let id = soon(again).await.unwrap().unwrap();
        let waiting = idem.outbox().pending(None, 10).await.unwrap();
        assert_eq!(
            waiting.iter().map(|queued| &queued.id).collect::<Vec<_>>(),
            [&id]
        );
        idem.outbox().acknowledge(&waiting).await.unwrap();
    }
    drop(scenario);
}
