//! A result and its outbox messages, with a crash at every write.

use idem_crashtest::{Process, everywhere};
use idem_runtime::outbox::OutboxMessage;
use idem_runtime::{Idem, idempotent};

use super::handlers::{Note, Oops, note, told};
use super::invariants::hold;

#[idempotent(
    name = "sends",
    key = "order_no",
    retries = 3,
    backoff(initial = "0ms"),
    skip(idem)
)]
async fn sends(order_no: String, idem: &Idem) -> Result<u32, Oops> {
    for part in ["first", "second"] {
        idem.outbox().enqueue(OutboxMessage::new(
            "orders.crashd",
            format!("{order_no} {part}"),
            vec![7; 5000],
        ))?;
    }
    Ok(1)
}

#[test]
fn a_result_and_its_messages_are_there_together() {
    let runs = everywhere(async |process: Process| {
        told(&process, "sends", "A", sends("A".into(), &process)).await;
        let waiting = process.outbox().pending(None, 10).await.unwrap();
        note(
            &process,
            &Note::Waiting(
                waiting
                    .into_iter()
                    .map(|queued| queued.message.key)
                    .collect(),
            ),
        );
    });
    hold(&runs);
    let expected =
        serde_json::to_string(&Note::Waiting(vec!["A first".into(), "A second".into()])).unwrap();
    for run in &runs {
        assert_eq!(run.result("sends", "A"), Some(1), "{run}");
        let seen: Vec<_> = run
            .notes()
            .filter(|note| note.contains("Waiting"))
            .collect();
        assert!(
            !seen.is_empty() && seen.iter().all(|note| *note == expected),
            "{seen:?}: {run}"
        );
    }
}
