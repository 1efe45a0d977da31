//! Everything people can ask of an [`Idem`] and do with its dead letters, without HTTP.
//!
//! The JSON API, the dashboard's pages and the command line use nothing else. What they are
//! answered is `Serialize` and `Deserialize`: the JSON API sends it as it stands.

mod acting;
mod audit;
mod bulk;
mod error;
mod figures;
mod groups;
mod index;
mod jobs;
mod journal;
mod letters;
mod locks;
mod reading;
mod stats;
mod story;
mod telling;
mod turns;
mod walk;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use idem_runtime::{Idem, clock::Timestamp};
use tokio::sync::{Notify, watch};

pub use acting::Acting;
pub use audit::{AuditEntry, AuditPage, Deed, Outcome, PageQuery};
pub use bulk::{Bulk, BulkDeed, BulkPage, BulkProblem, BulkState, NewBulk, Selection};
pub use error::ServiceError;
pub use groups::{Group, GroupPage, GroupQuery};
pub use letters::{
    LONGEST_PAGE, LetterLine, LetterPage, LetterQuery, LetterView, PAGE, Redriven, RunOutcome,
    StateFilter,
};
pub use stats::{Count, Health, Latency, MINUTES, Minute, Stats, StatsQuery};
pub use story::{Event, EventKind, KeyState, Story};

use crate::metrics::{Metrics, OtherRecorder};

/// What people can ask of an [`Idem`] and do with its dead letters. A clone is another handle of
/// the same; what works in its background ends with the last one, or when the Idem is closed.
///
/// Have one for each Idem: it keeps an index of the letters in memory, and goes on with the bulk
/// acts that a stop cut off. Who only looks in from outside, and has no handlers to run a letter
/// with, takes [`Service::looking`].
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
///         service.by("ann").redrive(&line.id, true, "the bank is back").await?;
///     }
/// }
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Service {
    inner: Arc<Inner>,
}

/// What all handles and the background share.
struct Inner {
    idem: Idem,
    index: index::Index,
    journal: journal::Journal,
    locks: locks::Locks,
    jobs: Arc<jobs::Jobs>,
    metrics: Result<Metrics, OtherRecorder>,
    ends: figures::AllEnds,
    since: Timestamp,
    /// Whether the index has been walked through once.
    walked: watch::Sender<bool>,
    /// Rung when it should be again.
    stale: Arc<Notify>,
    awake: AtomicBool,
    /// Whether bulk acts that a stop cut off are gone on with here.
    goes_on: bool,
}

impl Service {
    /// The service of an Idem. Its background begins here on a tokio runtime, elsewhere with the
    /// first question.
    ///
    /// It is the one that owns the Idem's handlers: bulk acts that a stop cut off go on here.
    pub fn new(idem: Idem) -> Self {
        Self::of(idem, true, index::MOST)
    }

    /// A service for who only looks, such as a command on the folder of a service that is stopped:
    /// nothing changes unless it is asked for here. Bulk acts that a stop cut off are shown as they
    /// stand and left to [`Service::new`], whose handlers they may need; they can be cancelled, and
    /// others begun.
    pub fn looking(idem: Idem) -> Self {
        Self::of(idem, false, index::MOST)
    }

    /// [`new`](Self::new) with an index of at most so many letters, the newest: about 200 bytes each. It is 1,000,000 unless
    /// said. Older letters are read from the ledger, page by page, and are not counted.
    pub fn indexing(idem: Idem, letters: usize) -> Self {
        Self::of(idem, true, letters)
    }

    fn of(idem: Idem, goes_on: bool, most: usize) -> Self {
        let inner = Arc::new(Inner {
            index: index::Index::of(most),
            journal: journal::Journal::new(idem.clone()),
            locks: locks::Locks::default(),
            jobs: Arc::default(),
            metrics: Metrics::install(),
            ends: figures::AllEnds::default(),
            since: idem.clock().now(),
            walked: watch::Sender::new(false),
            stale: Arc::new(Notify::new()),
            awake: AtomicBool::new(false),
            goes_on,
            idem,
        });
        inner.wake();
        Self { inner }
    }

    /// The Idem.
    pub fn idem(&self) -> &Idem {
        &self.inner.idem
    }

    /// The same in a person's name, for everything that changes something.
    pub fn by(&self, who: impl Into<String>) -> Acting {
        Acting {
            service: self.clone(),
            who: who.into(),
        }
    }
}

impl Inner {
    /// Begins what works in the background, once, where there is a runtime.
    fn wake(self: &Arc<Self>) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        if self.awake.swap(true, Ordering::SeqCst) {
            return;
        }
        runtime.spawn(Self::walk(Arc::downgrade(self)));
        runtime.spawn(Self::ticking(Arc::downgrade(self)));
        let weak = Arc::downgrade(self);
        runtime.spawn(async move {
            if let Some(inner) = weak.upgrade()
                && let Err(error) = inner.resume().await
            {
                tracing::warn!(%error, "bulk acts could not be read; they are read with the next look at them");
            }
        });
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service")
            .field("idem", &self.inner.idem)
            .finish_non_exhaustive()
    }
}
