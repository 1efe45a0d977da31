//! Whether the service can take work.

use std::time::Duration;

use idem_runtime::clock::Timestamp;
use idem_runtime::ledger::NoteChange;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::{Inner, Service};
use crate::monitor;

/// How long an answer about the ledger is used again: anyone may ask, and each question would write.
const FRESH: Duration = Duration::from_secs(5);
/// How long a write may take.
const LONGEST: Duration = Duration::from_secs(3);
/// How long ago the monitor's last check may be: it looks every 5 seconds.
const CHECK: Duration = Duration::from_secs(60);
/// The note that is written.
const NOTE: &str = "ops/readiness";

/// Whether the service can take work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Readiness {
    /// Whether nothing is in the way.
    pub ready: bool,
    /// What is in the way, a line each, without keys, paths and addresses.
    pub problems: Vec<String>,
}

/// The last write.
#[derive(Debug, Clone, Copy)]
pub(super) struct Written {
    at: Timestamp,
    problem: Option<&'static str>,
}

impl Service {
    /// Returns whether the service can take work: the ledger can be written, and a monitor of this
    /// process, if there is one, has looked at it in the last minute. The ledger is written at most
    /// every 5 seconds.
    pub async fn readiness(&self) -> Readiness {
        // A further condition is a further line here.
        let problems: Vec<_> = [self.inner.not_writable().await, self.inner.not_watched()]
            .into_iter()
            .flatten()
            .collect();
        Readiness {
            ready: problems.is_empty(),
            problems,
        }
    }
}

impl Inner {
    async fn not_writable(&self) -> Option<String> {
        let mut written = self.written.lock().await;
        let now = self.idem.clock().now();
        let age = written.map(|written| now.duration_since(written.at));
        let fresh = age.is_some_and(|age| !age.is_negative() && age.unsigned_abs() < FRESH);
        if !fresh {
            let notes = self.idem.notes();
            let write = notes.write(vec![NoteChange::put(NOTE, "")]);
            let problem = match timeout(LONGEST, write).await {
                Ok(Ok(())) => None,
                Ok(Err(error)) => {
                    tracing::warn!(
                        error = format_args!("{error:#}"),
                        "the service is not ready"
                    );
                    Some("the ledger cannot be written")
                }
                Err(_) => Some("the ledger does not answer"),
            };
            *written = Some(Written { at: now, problem });
        }
        written
            .and_then(|written| written.problem)
            .map(str::to_owned)
    }

    fn not_watched(&self) -> Option<String> {
        let checked = monitor::last_check(self.idem.instance())?;
        let age = self.idem.clock().now().duration_since(checked);
        let late = !age.is_negative() && age.unsigned_abs() > CHECK;
        late.then(|| format!("the last check for alerts was {} s ago", age.as_secs()))
    }
}
