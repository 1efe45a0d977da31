//! Where a handler of many messages is called: by itself, by `Batches` with one message, or by `Batches`
//! with those that are to run.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::runtime::Handle;

use super::batches::Desk;
use crate::handler::Handler;

/// The caller of a handler of many messages.
#[derive(Clone)]
pub(super) enum Place {
    Plain,
    /// What is to run is handed to a [`Desk`], which runs bodies here.
    Gathers(Arc<dyn Any + Send + Sync>, Handle),
    /// The messages have their claims, and the body is to run for so many of them.
    Runs(&'static Handler, Arc<AtomicUsize>),
}

tokio::task_local! {
    static PLACE: Place;
}

impl Place {
    pub(super) fn here() -> Self {
        PLACE.try_with(Self::clone).unwrap_or(Self::Plain)
    }

    /// Runs a future here.
    pub(super) fn around<F: Future>(self, future: F) -> impl Future<Output = F::Output> {
        PLACE.scope(self, future)
    }

    /// Takes the right to run the body of this handler for so many messages. A function that adds
    /// messages to those it is given has none for them: it is called as by itself.
    pub(super) fn is_run_for(&self, handler: &'static Handler, messages: usize) -> bool {
        let Self::Runs(of, left) = self else {
            return false;
        };
        let take = |left: usize| left.checked_sub(messages);
        std::ptr::eq(*of, handler) && left.fetch_update(Relaxed, Relaxed, take).is_ok()
    }

    /// Returns where the messages gather, if it takes such messages.
    pub(super) fn batches<T: Send + 'static, R: Send + 'static>(
        &self,
    ) -> Option<(Arc<Desk<T, R>>, &Handle)> {
        match self {
            Self::Gathers(desk, runtime) => Some((Arc::clone(desk).downcast().ok()?, runtime)),
            _ => None,
        }
    }
}

/// Runs a body: the handlers that it calls are called by themselves.
pub(super) fn plain<F: Future>(body: F) -> impl Future<Output = F::Output> {
    Place::Plain.around(body)
}
