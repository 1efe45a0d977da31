//! Waits for a folder that another process holds.

use std::thread;
use std::time::{Duration, Instant};

use crate::ledger::LedgerError;

/// The pause between two tries. A thread that blocks in `flock` could not be called off at the
/// deadline, and would take the folder later.
const PAUSE: Duration = Duration::from_millis(50);

/// Opens a folder once its holder has released it, but waits no longer than `longest`.
///
/// # Errors
/// Those of `open`: [`LedgerError::Held`] if the folder was not released in time.
pub(crate) fn once_free<T>(
    longest: Duration,
    mut open: impl FnMut() -> Result<T, LedgerError>,
) -> Result<T, LedgerError> {
    let begun = Instant::now();
    let mut waits = false;
    loop {
        let held = match open() {
            Err(held @ LedgerError::Held { .. }) if begun.elapsed() < longest => held,
            opened => return opened,
        };
        if !waits {
            tracing::info!(%held, ?longest, "waiting for the folder to be released");
            waits = true;
        }
        thread::sleep(PAUSE);
    }
}
