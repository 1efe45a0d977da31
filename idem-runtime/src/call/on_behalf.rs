//! A letter that is run: the call of its handler finds here that it is made on behalf of the
//! letter.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::protocol::{DeadLetter, RecordId, Step};
use crate::trace::TraceContext;

tokio::task_local! {
    static REDRIVING: Arc<Redriving>;
}

/// A run of a letter, as seen by the call that it leads to.
pub(crate) struct Redriving {
    pub(crate) id: RecordId,
    /// The step that re-arms the key, which that call takes before its claim.
    pub(crate) step: Step,
    begun: AtomicBool,
    /// The trace in which the message died.
    pub(crate) trace: Option<Arc<TraceContext>>,
    /// Whether no handler could take the message, so that its key may differ from the record's.
    pub(crate) unread: bool,
}

impl Redriving {
    pub(crate) fn new(letter: &DeadLetter, step: Step) -> Self {
        Self {
            id: letter.record_id(),
            step,
            begun: AtomicBool::new(false),
            trace: letter.trace.map(|trace| Arc::new(trace.into())),
            unread: letter.is_buried(),
        }
    }

    /// Returns whether this is the first call of the letter's key, which re-arms it.
    pub(crate) fn begins(&self) -> bool {
        !self.begun.swap(true, Ordering::SeqCst)
    }

    /// Returns whether such a call has begun.
    pub(crate) fn begun(&self) -> bool {
        self.begun.load(Ordering::SeqCst)
    }
}

impl fmt::Debug for Redriving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redriving")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// Runs a handler on behalf of a letter.
pub(crate) fn run<F: Future>(
    letter: Arc<Redriving>,
    handler: F,
) -> impl Future<Output = F::Output> {
    REDRIVING.scope(letter, handler)
}

/// Returns the letter on whose behalf this code runs.
pub(crate) fn redriving() -> Option<Arc<Redriving>> {
    REDRIVING.try_with(Arc::clone).ok()
}
