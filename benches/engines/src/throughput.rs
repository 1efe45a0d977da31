//! Messages a second.

use std::cell::Cell;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use idem_benches::bare::Bare;
use idem_benches::orders::rate;
use idem_benches::report::Row;
use idem_benches::rounds::in_turns;

use crate::engine::{Engine, Fjall, Redb, Sled};
use crate::work::{CACHE, claim, completion};

const ROUNDS: usize = 7;
/// Callers, and messages a round.
const CALLERS: [(usize, u64); 4] = [(1, 800), (16, 6_000), (64, 20_000), (256, 40_000)];

fn bare<E: Engine>(folder: &Path) -> Arc<Bare> {
    let mut engine = E::open(&folder.join(E::NAME), CACHE).unwrap();
    Arc::new(Bare::over(move |pairs| {
        engine
            .write(&mut pairs.map(|(key, value)| (key, Some(value))))
            .unwrap();
    }))
}

async fn messages(bare: &Arc<Bare>, numbers: Range<u64>, callers: usize) -> f64 {
    rate(numbers, callers, |number| {
        let bare = Arc::clone(bare);
        async move {
            let (key, message) = claim(number);
            bare.put(key, message.unwrap_or_default()).await;
            let [(key, result), _] = completion(number);
            bare.put(key, result.unwrap_or_default()).await;
        }
    })
    .await
}

pub fn run() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (sled, fjall, redb) = (
        bare::<Sled>(folder.path()),
        bare::<Fjall>(folder.path()),
        bare::<Redb>(folder.path()),
    );
    let file = Arc::new(Bare::file(&folder.path().join("file")));
    let next = [const { Cell::new(0) }; 4];
    for (callers, count) in CALLERS {
        let numbers = |side: usize| {
            let first = next[side].replace(next[side].get() + count);
            first..first + count
        };
        let [sled, fjall, redb, disk] = in_turns(
            ROUNDS,
            [
                &mut || runtime.block_on(messages(&sled, numbers(0), callers)),
                &mut || runtime.block_on(messages(&fjall, numbers(1), callers)),
                &mut || runtime.block_on(messages(&redb, numbers(2), callers)),
                &mut || runtime.block_on(messages(&file, numbers(3), callers)),
            ],
        );
        for (name, ours) in [
            ("fjall", fjall),
            ("redb", redb),
            ("one fdatasync a group", disk),
        ] {
            Row {
                bench: format!("messages of {callers} callers, {name}"),
                unit: "messages/s",
                ours,
                beside: Some(("sled", sled)),
                to_reach: match callers {
                    64 => "≥ 1.15",
                    256 => "≥ 1.3",
                    _ => "",
                },
            }
            .print();
        }
    }
}
