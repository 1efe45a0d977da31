//! Once a second, the background reads what other processes paused or resumed, and ends recoveries
//! whose time is over.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use crate::idem::shared::Shared;
use crate::ledger::Leases;

const PERIOD: Duration = Duration::from_secs(1);

/// Watches until the runtime drops it. A ledger of one process is not read: nothing else writes
/// there.
pub(crate) async fn watch(shared: Arc<Shared>) {
    let mut period = tokio::time::interval(PERIOD);
    period.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        period.tick().await;
        let (pauses, ledger, clock) = (&shared.pauses, &*shared.ledger, &*shared.clock);
        if shared.leases != Leases::None
            && let Err(error) = pauses.read(ledger, clock).await
        {
            tracing::debug!(
                error = format_args!("{error:#}"),
                "the pauses will be read again"
            );
            continue;
        }
        pauses.tend(ledger, clock).await;
    }
}
