//! Whether the service can take work.

use std::sync::atomic::Ordering;
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
    /// The handlers that are paused, which is in the way only of a service that
    /// [says so](Service::not_ready_while_paused).
    pub paused: Vec<String>,
}

/// The ledger as it was when it was written last.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    at: Timestamp,
    problem: Option<&'static str>,
    paused: Vec<String>,
}

impl Service {
    /// Returns whether the service can take work: the ledger can be written, and a monitor of this
    /// process, if there is one, has looked at it in the last minute. A paused handler is named, and
    /// is not in the way: its messages are held, and results and letters are answered as ever. The
    /// ledger is written at most every 5 seconds.
    pub async fn readiness(&self) -> Readiness {
        let Seen {
            problem, paused, ..
        } = self.inner.seen().await;
        let counts = self.inner.not_ready_while_paused.load(Ordering::Relaxed);
        let held = (counts && !paused.is_empty()).then(|| format!("paused: {}", paused.join(", ")));
        // A further condition is a further entry here.
        let problems: Vec<_> = [problem.map(str::to_owned), self.inner.not_watched(), held]
            .into_iter()
            .flatten()
            .collect();
        Readiness {
            ready: problems.is_empty(),
            problems,
            paused,
        }
    }
}

impl Inner {
    /// Writes the ledger and reads what is paused, unless that was done a moment ago.
    async fn seen(&self) -> Seen {
        let mut last = self.seen.lock().await;
        let now = self.idem.clock().now();
        let fresh = |seen: &&Seen| {
            let age = now.duration_since(seen.at);
            !age.is_negative() && age.unsigned_abs() < FRESH
        };
        if let Some(seen) = last.as_ref().filter(fresh) {
            return seen.clone();
        }
        let notes = self.idem.notes();
        let looked = timeout(LONGEST, async {
            notes.write(vec![NoteChange::put(NOTE, "")]).await?;
            self.idem.pauses().await
        });
        let (problem, pauses) = match looked.await {
            Ok(Ok(pauses)) => (None, pauses),
            Ok(Err(error)) => {
                tracing::warn!(
                    error = format_args!("{error:#}"),
                    "the service is not ready"
                );
                (Some("the ledger cannot be written"), Vec::new())
            }
            Err(_) => (Some("the ledger does not answer"), Vec::new()),
        };
        let seen = Seen {
            at: now,
            problem,
            paused: pauses.into_iter().map(|pause| pause.handler).collect(),
        };
        *last = Some(seen.clone());
        seen
    }

    fn not_watched(&self) -> Option<String> {
        let checked = monitor::last_check(self.idem.instance())?;
        let age = self.idem.clock().now().duration_since(checked);
        let late = !age.is_negative() && age.unsigned_abs() > CHECK;
        late.then(|| format!("the last check for alerts was {} s ago", age.as_secs()))
    }
}
