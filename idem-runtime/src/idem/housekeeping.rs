//! Housekeeping: once a second, the background brings reports that the ledger could not take,
//! records the names of handlers, and sweeps in small pieces.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use crate::idem::shared::Shared;

/// How often it sweeps, and how many settled records each sweep visits.
const PERIOD: Duration = Duration::from_secs(1);
const PIECE: usize = 1000;

/// Keeps house until the runtime drops it. It does nothing while `shared.housekeeping` is held, and ends
/// its sweep when this is closed.
pub(crate) async fn keep_house(shared: Arc<Shared>) {
    let mut period = tokio::time::interval(PERIOD);
    period.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        period.tick().await;
        let _round = shared.housekeeping.lock().await;
        shared.report_all_again().await;
        shared.record_handlers().await;
        let swept = tokio::select! {
            swept = shared.sweep(PIECE) => swept,
            // A sweep can end anywhere, and one of a ledger in trouble takes long.
            () = shared.finishing.notified() => return,
        };
        match swept {
            // More records have expired than one sweep visits.
            Ok(swept) if swept.removed > 0 && !swept.finished => period.reset_immediately(),
            Ok(_) => {}
            Err(error) => tracing::warn!(
                error = format_args!("{error:#}"),
                "the sweep will be tried again"
            ),
        }
    }
}
