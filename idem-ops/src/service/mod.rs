//! All queries on an [`Idem`] and all actions on its dead letters, without HTTP.
//!
//! The JSON API, the dashboard's pages and the command line use nothing else. The answers are
//! `Serialize` and `Deserialize`: the JSON API sends them as they are.

mod actions;
mod audit;
mod audit_log;
mod backlog;
mod backups;
mod bulk;
mod eligibility;
mod erasing;
mod error;
mod explain;
mod figures;
mod groups;
mod index;
mod letter_action;
mod letter_locks;
mod letters;
mod pauses;
mod queries;
mod readiness;
mod rules;
mod stats;
mod timeline;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use idem_runtime::{Idem, clock::Timestamp};
use tokio::sync::{Notify, watch};

pub use actions::Actions;
pub use audit::{AuditAction, AuditEntry, AuditPage, Outcome, PageQuery};
pub use backlog::Backlog;
pub use backups::Backup;
pub use bulk::{
    BulkAction, BulkEstimate, BulkJob, BulkPage, BulkProblem, BulkState, NewBulkJob, Selection,
};
pub use erasing::{Erase, Erasure};
pub use error::ServiceError;
pub use groups::{Group, GroupPage, GroupQuery};
pub use idem_runtime::dead_letters::RunOutcome;
pub use idem_runtime::pause::{Pause, PauseCause, PauseState};
pub use letters::{
    LONGEST_PAGE, LetterLine, LetterPage, LetterQuery, LetterView, PAGE, Redriven, StateFilter,
};
pub use pauses::PauseList;
pub use readiness::Readiness;
pub(crate) use rules::configure;
pub use rules::{RedriveRule, SetRule};
pub use stats::{Count, Health, Latency, MINUTES, Minute, Stats, StatsQuery};
pub use timeline::{Event, EventKind, KeyState, Timeline};

use crate::metrics::{Metrics, OtherRecorder};

/// The queries on an [`Idem`] and the actions on its dead letters. A clone is another handle of the
/// same service; its background tasks end with the last handle, or when the Idem is closed.
///
/// Create one service for each Idem: it keeps an index of the letters in memory, and takes over the
/// bulk jobs that a stop interrupted, of this process or of another replica on the ledger. A tool
/// that has no handlers registered uses [`Service::read_only`].
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let idem = idem_runtime::Idem::open(folder.path())?;
/// use idem_ops::service::{LetterQuery, Service};
///
/// let service = Service::new(idem);
/// for line in service.letters(&LetterQuery::default()).await?.letters {
///     if line.can_run {
///         service.by("ann").run(&line.id, "the bank is back").await?;
///     }
/// }
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Service {
    inner: Arc<Inner>,
}

/// The state that all handles and the background tasks share.
struct Inner {
    idem: Idem,
    index: index::Index,
    audit_log: audit_log::AuditLog,
    locks: letter_locks::LetterLocks,
    seats: bulk::Seats,
    metrics: Result<Metrics, OtherRecorder>,
    minutes: figures::Minutes,
    outbox: parking_lot::Mutex<backlog::Outbox>,
    /// Where copies of the ledger are made.
    backups: std::sync::OnceLock<std::path::PathBuf>,
    /// What readiness was read from last.
    seen: tokio::sync::Mutex<Option<readiness::Seen>>,
    /// Whether a paused handler makes the service not ready.
    not_ready_while_paused: AtomicBool,
    since: Timestamp,
    /// Whether the first scan of the index has ended.
    scanned: watch::Sender<bool>,
    /// Notified when the index needs another scan.
    stale: Arc<Notify>,
    /// Whether the background tasks were started.
    awake: AtomicBool,
    /// Whether interrupted bulk jobs continue here; otherwise the service is read-only.
    continues: bool,
}

impl Service {
    /// Creates the service of an Idem. Its background tasks start here on a tokio runtime,
    /// elsewhere with the first query.
    ///
    /// Bulk jobs that a stop interrupted continue here, so the Idem needs its handlers registered.
    pub fn new(idem: Idem) -> Self {
        Self::with(idem, true, index::MOST)
    }

    /// Creates a service that changes nothing on its own, such as for a command on the folder of a
    /// stopped service. It shows interrupted bulk jobs and can cancel them, but leaves it to
    /// [`Service::new`] to continue them, which may need handlers. It can start other bulk jobs.
    pub fn read_only(idem: Idem) -> Self {
        Self::with(idem, false, index::MOST)
    }

    /// Creates a [`new`](Self::new) service whose index holds at most `letters` letters, the
    /// newest: about 200 bytes each, 1,000,000 by default. Older letters are read from the ledger,
    /// page by page, and are not counted.
    pub fn indexing(idem: Idem, letters: usize) -> Self {
        Self::with(idem, true, letters)
    }

    fn with(idem: Idem, continues: bool, most: usize) -> Self {
        let inner = Arc::new(Inner {
            index: index::Index::new(most),
            audit_log: audit_log::AuditLog::new(idem.clone()),
            locks: letter_locks::LetterLocks::default(),
            seats: bulk::Seats::default(),
            metrics: Metrics::install(),
            minutes: figures::Minutes::default(),
            outbox: parking_lot::Mutex::default(),
            backups: std::sync::OnceLock::new(),
            seen: tokio::sync::Mutex::default(),
            not_ready_while_paused: AtomicBool::new(false),
            since: idem.clock().now(),
            scanned: watch::Sender::new(false),
            stale: Arc::new(Notify::new()),
            awake: AtomicBool::new(false),
            continues,
            idem,
        });
        inner.wake();
        Self { inner }
    }

    /// Returns the Idem.
    pub fn idem(&self) -> &Idem {
        &self.inner.idem
    }

    /// Returns the actions of a person, whose name is in the audit log.
    pub fn by(&self, who: impl Into<String>) -> Actions {
        Actions {
            service: self.clone(),
            who: who.into(),
        }
    }
}

impl Inner {
    /// Starts the background tasks, once, if there is a runtime.
    fn wake(self: &Arc<Self>) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        if self.awake.swap(true, Ordering::SeqCst) {
            return;
        }
        runtime.spawn(Self::sync_index(Arc::downgrade(self)));
        runtime.spawn(Self::keep_minutes(Arc::downgrade(self)));
        if self.continues {
            runtime.spawn(Self::follow_rules(Arc::downgrade(self)));
        }
    }
}

/// Creates a [`new`](Service::new) service.
impl From<&Idem> for Service {
    fn from(idem: &Idem) -> Self {
        Self::new(idem.clone())
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service")
            .field("idem", &self.inner.idem)
            .finish_non_exhaustive()
    }
}
