//! A letter that is run: the call of its handler finds here that it is made on behalf of the
//! letter.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::protocol::{DeadLetter, Origin, RecordId, Step};
use crate::trace::TraceContext;

tokio::task_local! {
    static REDRIVING: Arc<Redriving>;
}

/// Which call of a run is the letter's. One of another handler before it is its own message, where
/// the run is a function that was registered for the handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LetterCall {
    /// The first of its handler.
    OfItsHandler,
    /// The first of all, which is refused if it is of another handler: a consumer does not know whose
    /// letters it is asked to run.
    First,
    /// The first of all: no handler had been reached.
    FirstOfAny,
}

/// A run of a letter, as seen by the call that it leads to.
pub(crate) struct Redriving {
    pub(crate) id: RecordId,
    /// The step that re-arms the key, which that call takes before its claim.
    pub(crate) step: Step,
    /// The trace in which the message died.
    pub(crate) trace: Option<Arc<TraceContext>>,
    /// Whether no handler could take the message, so that its key may differ from the record's.
    pub(crate) unread: bool,
    /// Where such a message came from, which its record does not say.
    pub(crate) origin: Option<Arc<Origin>>,
    pub(crate) call: LetterCall,
    begun: AtomicBool,
    strayed: AtomicBool,
}

impl Redriving {
    pub(crate) fn new(letter: &DeadLetter, step: Step, call: LetterCall) -> Self {
        let unread = letter.is_buried();
        let origin = letter.origin.clone().filter(|_| unread);
        Self {
            id: letter.record_id(),
            step,
            trace: letter.trace.map(|trace| Arc::new(trace.into())),
            unread,
            origin: origin.map(|origin| Arc::new(origin.redelivered(true))),
            call,
            begun: AtomicBool::new(false),
            strayed: AtomicBool::new(false),
        }
    }

    /// Notes that the first call is of another handler, so that it was refused.
    pub(crate) fn strays(&self) {
        self.strayed.store(true, Ordering::SeqCst);
    }

    /// Returns whether the run called another handler, and nothing ran.
    pub(crate) fn strayed(&self) -> bool {
        self.strayed.load(Ordering::SeqCst) && !self.begun()
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
