//! Everything at once: duplicates, failures, panics, timeouts and cancellations of the same
//! messages on many threads.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use futures_util::future::join_all;
use idem_runtime::testing::temporary;
use idem_runtime::{Error, Filter, Idem, LetterState, attempt, dead_letters::Reason, idempotent};

use crate::common::{Oops, soon};

const RETRIES: u32 = 5;
const KEYS: u32 = 60;

/// One message's business effect.
#[derive(Debug, Default)]
struct Effect {
    starts: AtomicU32,
    running: AtomicBool,
    overlapped: AtomicBool,
}

/// The body runs as long as this lives.
struct Running<'a>(&'a Effect);

impl<'a> Running<'a> {
    fn enter(effect: &'a Effect) -> Self {
        effect.starts.fetch_add(1, Ordering::SeqCst);
        if effect.running.swap(true, Ordering::SeqCst) {
            effect.overlapped.store(true, Ordering::SeqCst);
        }
        Self(effect)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.store(false, Ordering::SeqCst);
    }
}

#[idempotent(
    name = "storm.run",
    key = "id",
    retries = 5,
    backoff(initial = "1ms", factor = 1),
    timeout = "50ms",
    skip(effect)
)]
async fn run(id: u32, effect: &Effect) -> Result<(u32, u64), Oops> {
    let _running = Running::enter(effect);
    let attempt = attempt().unwrap();
    for _ in 0..(id % 7) {
        tokio::task::yield_now().await;
    }
    match (id % 5, attempt.number) {
        (1, 1..=2) | (4, _) => Err(Oops::own("no")),
        (2, 1) => panic!("stuck"),
        (3, 2) => std::future::pending().await,
        _ => Ok((id, attempt.token)),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_attempt_overlaps_none_is_over_budget_and_every_message_ends_in_one_way() {
    let idem = temporary().unwrap();
    let effects: Vec<_> = (0..KEYS).map(|_| Arc::new(Effect::default())).collect();
    let results = Arc::new(std::sync::Mutex::new(BTreeMap::new()));
    let calls = (0..KEYS * 10).map(|n| {
        let (idem, results, id) = (Idem::clone(&idem), Arc::clone(&results), n % KEYS);
        let effect = Arc::clone(&effects[id as usize]);
        let call = tokio::spawn(async move {
            match idem.scope(run(id, &effect)).await {
                Ok(result) => {
                    let first = *results.lock().unwrap().entry(id).or_insert(result);
                    assert_eq!(first, result, "all see one result");
                }
                Err(Oops::Own(_)) => assert_eq!(id % 5, 4),
                Err(Oops::Idem(error)) => {
                    assert!(matches!(error, Error::DeadLettered { .. }), "{error:?}");
                }
            }
        });
        async move {
            if (n / KEYS + n).is_multiple_of(3) {
                for _ in 0..n % 50 {
                    tokio::task::yield_now().await;
                }
                call.abort();
                let _ = call.await;
            } else {
                call.await.unwrap();
            }
        }
    });
    soon(join_all(calls.map(tokio::spawn)))
        .await
        .into_iter()
        .for_each(Result::unwrap);

    let letters = idem.dead_letters();
    let open = letters.list(&Filter::default().limit(1000)).await.unwrap();
    assert_eq!(
        letters
            .list(&Filter::default().any_state().limit(1000))
            .await
            .unwrap(),
        open
    );
    for (id, effect) in (0..KEYS).zip(&effects) {
        let starts = effect.starts.load(Ordering::SeqCst);
        assert!(
            (1..=RETRIES + 1).contains(&starts),
            "{id} was started {starts} times"
        );
        assert!(
            !effect.overlapped.load(Ordering::SeqCst),
            "two attempts of {id} ran at once"
        );
        let its: Vec<_> = open
            .iter()
            .filter(|letter| letter.key == id.to_string())
            .collect();
        match soon(idem.scope(run(id, effect))).await {
            Ok(result) => {
                assert!(its.is_empty());
                assert!(
                    results
                        .lock()
                        .unwrap()
                        .get(&id)
                        .is_none_or(|first| *first == result)
                );
            }
            Err(error) => {
                let error = error.into_idem();
                assert!(
                    matches!(error, Error::DeadLettered { id, .. } if its[0].id == id),
                    "{error:?}"
                );
                assert_eq!(
                    (its.len(), its[0].state, its[0].reason),
                    (1, LetterState::Open, Reason::BudgetSpent)
                );
                // A claim whose call was dropped before its body started is an attempt too.
                let numbers: Vec<_> = its[0].attempts.iter().map(|past| past.number).collect();
                assert_eq!(numbers, (1..=RETRIES + 1).collect::<Vec<_>>());
            }
        }
        assert_eq!(
            effect.starts.load(Ordering::SeqCst),
            starts,
            "{id} was over"
        );
    }
}
