//! Crashes at every write of the ledger on fjall.

use idem_crashtest::{Process, Walk};
use idem_runtime::dead_letters::Reason;
use idem_runtime::ledger::Engine;
use idem_runtime::{Error, Filter, Idem};

use super::handlers::*;
use super::invariants::{crashed_at, hold};

fn walk() -> Walk {
    Walk::new().builder(|| Idem::builder().engine(Engine::Fjall))
}

#[test]
fn a_result_is_recorded_once_on_fjall() {
    let runs = walk().everywhere(async |process: Process| {
        told(&process, "good", "A", good("A".into())).await;
        told(&process, "good_now", "6", async { good_now(6) }).await;
        // A duplicate.
        told(&process, "good", "A", good("A".into())).await;
    });
    hold(&runs);
    let expected = [
        "idem::answered",
        "idem::decided",
        "idem::named",
        "idem::open-synced",
        "idem::opening",
        "idem::synced",
        "idem::witness-named",
        "idem::witness-synced",
        "idem::witnessed",
    ];
    assert!(
        crashed_at(&runs).into_iter().eq(expected),
        "{:?}",
        crashed_at(&runs)
    );
    for run in &runs {
        // One crash adds one attempt at most.
        let starts = run.starts("good", "A") + run.starts("good_now", "6");
        assert!(starts <= 3, "{run}");
        assert_eq!(run.result("good", "A"), Some(1), "{run}");
        assert_eq!(run.result("good_now", "6"), Some(42), "{run}");
    }
}

#[test]
fn a_letter_is_written_once_and_discarded_once_on_fjall() {
    let runs = walk().everywhere(async |process: Process| {
        told(&process, "refused", "A", refused("A".into())).await;
        let letters = process.dead_letters();
        let open = letters.list(&Filter::default()).await?;
        if let Some(letter) = open.first() {
            letters.discard(&letter.id, "a test").await.unwrap();
        }
        Ok::<(), Error>(())
    });
    hold(&runs);
    for run in &runs {
        assert_eq!(run.letters.len(), 1, "{run}");
        assert_eq!(run.open_letters("refused", "A").count(), 0, "{run}");
        assert_eq!(run.letters[0].reason, Reason::PermanentError, "{run}");
    }
}
