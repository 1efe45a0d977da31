//! Sweeps beside calls and people, and a year of them: the folder opens again and holds what it
//! should.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use idem_runtime::dead_letters::LetterError;
use idem_runtime::testing::ManualClock;
use idem_runtime::{DeadLetterId, Error, Filter, Idem, LetterState, idempotent};

use crate::common::Oops;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

#[idempotent(name = "sweeping.place", key = "order_no", retries = 0)]
async fn place(order_no: u32, fails: bool) -> Result<u32, Oops> {
    if fails {
        Err(Oops::own("no stock"))
    } else {
        Ok(order_no)
    }
}

fn open(folder: &Path, clock: &ManualClock, retention: Duration) -> Result<Idem, Error> {
    Idem::builder()
        .clock(Arc::new(clock.clone()))
        .letter_retention(retention)
        .open(folder)
}

async fn letters(idem: &Idem, state: LetterState) -> Vec<DeadLetterId> {
    let letters = idem
        .dead_letters()
        .list(&Filter::default().state(state).limit(usize::MAX))
        .await
        .unwrap();
    letters.into_iter().map(|letter| letter.id).collect()
}

/// Places orders at the same time, and gives back how many failed.
async fn place_all(idem: &Idem, orders: impl Iterator<Item = (u32, bool)>) -> usize {
    let calls = orders.map(|(number, fails)| idem.scope(place(number, fails)));
    join_all(calls)
        .await
        .into_iter()
        .filter(Result::is_err)
        .count()
}

#[tokio::test]
async fn sweeps_beside_each_other_and_beside_people_leave_a_folder_that_opens() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), ManualClock::default());
    let mut left = 0;
    for round in 0..10 {
        let idem = open(folder.path(), &clock, HOUR).unwrap();
        let first = round * 100;
        assert_eq!(
            place_all(&idem, (first..first + 5).map(|number| (number, true))).await,
            5
        );
        let dead = letters(&idem, LetterState::Open).await;
        let (old, new) = dead[..5].split_at(2);
        let discard = |id: &DeadLetterId| {
            let (id, letters) = (*id, idem.dead_letters());
            async move { letters.discard(&id, "a test order").await.map(drop) }
        };
        join_all(old.iter().map(discard))
            .await
            .into_iter()
            .for_each(Result::unwrap);
        clock.advance(HOUR);
        // The letter may be gone before it can be opened again.
        let restore = async {
            match idem.dead_letters().restore(&old[0], "not that one").await {
                Ok(_) => 1,
                Err(LetterError::NoSuchLetter { .. } | LetterError::Ledger { .. }) => 0,
                Err(other) => panic!("{other:?}"),
            }
        };
        let sweeps = (0..3).map(|_| async { idem.sweep().await.unwrap() });
        let work = place_all(
            &idem,
            (first + 10..first + 30).map(|number| (number, false)),
        );
        let discards = join_all(new.iter().map(discard));
        let (restored, failed, discards, _) =
            futures_util::future::join4(restore, work, discards, join_all(sweeps)).await;
        assert_eq!(failed, 0);
        discards.into_iter().for_each(Result::unwrap);
        left += restored;
        assert_eq!(letters(&idem, LetterState::Open).await.len(), left);
        assert_eq!(letters(&idem, LetterState::Discarded).await, new);
        idem.close().await.unwrap();
        drop(idem);
        let idem = open(folder.path(), &clock, HOUR)
            .unwrap_or_else(|error| panic!("round {round}: {error}"));
        clock.advance(HOUR);
        idem.sweep().await.unwrap();
        assert!(letters(&idem, LetterState::Discarded).await.is_empty());
        idem.close().await.unwrap();
    }
}

/// How many orders come on a day. A year of 1,200 a day takes three times as long in a build for
/// tests.
fn orders_a_day() -> u32 {
    std::env::var("IDEM_YEAR_ORDERS").map_or(400, |value| value.parse().expect("a number"))
}

#[tokio::test]
async fn a_year_of_orders_leaves_open_letters_and_little_else() {
    let (folder, clock, orders) = (
        tempfile::tempdir().unwrap(),
        ManualClock::default(),
        orders_a_day(),
    );
    let (mut idem, mut left) = (open(folder.path(), &clock, 30 * DAY).unwrap(), Vec::new());
    // The journal, and two weeks' results: half of them have expired and wait for the others of
    // their buckets.
    let bound = (16 << 20) + u64::from(orders) * 14 * 1000;
    for day in 0..365 {
        if day % 10 == 9 {
            idem.close().await.unwrap();
            drop(idem);
            idem = open(folder.path(), &clock, 30 * DAY)
                .unwrap_or_else(|error| panic!("day {day}: {error}"));
        }
        let first = day * orders;
        // Three fail: two are discarded, and one waits for somebody for ever.
        let failed = place_all(
            &idem,
            (first..first + orders).map(|number| (number, number < first + 3)),
        )
        .await;
        assert_eq!(failed, 3, "day {day}");
        let dead = letters(&idem, LetterState::Open).await;
        for id in &dead[1..3] {
            idem.dead_letters()
                .discard(id, "a test order")
                .await
                .unwrap();
        }
        left.push(dead[0]);
        // A duplicate of the day before.
        if let Some(number) = first.checked_sub(1) {
            assert_eq!(idem.scope(place(number, false)).await.unwrap(), number);
        }
        for _ in 0..4 {
            clock.advance(DAY / 4);
            let sweeps = join_all((0..2).map(|_| idem.sweep())).await;
            assert!(sweeps.iter().all(|swept| {
                swept
                    .as_ref()
                    .is_ok_and(|swept| swept.finished && swept.dead_lettered.is_empty())
            }));
        }
        let size = idem.ledger_size().await.unwrap().unwrap();
        assert!(size <= bound, "day {day}: {size} bytes");
    }
    left.reverse();
    assert_eq!(letters(&idem, LetterState::Open).await, left);
    // What was discarded in the last thirty days.
    assert_eq!(letters(&idem, LetterState::Discarded).await.len(), 2 * 29);
    idem.close().await.unwrap();
    drop(idem);
    let idem = open(folder.path(), &clock, 30 * DAY).unwrap();
    assert_eq!(letters(&idem, LetterState::Open).await, left);
}
