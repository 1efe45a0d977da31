//! Where a handler of many messages is called: by itself, by `Batches` with one message, or by `Batches`
//! with those that are to run.

use std::any::Any;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::guest::{AnyGuest, Guest};
use super::near::{Before, Counts, Near};
use crate::handler::Handler;
use crate::handler::bounds::{Failure, Outcome, Replayable};
use crate::idem::Idem;

/// The caller of a handler of many messages.
#[derive(Clone)]
pub(super) enum Place {
    Plain,
    /// What is to run is handed to others.
    Gathers(Arc<Gathering>),
    /// The body is to run for messages that were handed over.
    Runs(Arc<HandedOver>),
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

    pub(super) fn gathering(&self) -> Option<&Gathering> {
        match self {
            Self::Gathers(gathering) => Some(gathering),
            _ => None,
        }
    }

    /// Returns the messages that were handed over for this handler.
    pub(super) fn runs(&self, handler: &'static Handler) -> Option<&HandedOver> {
        match self {
            Self::Runs(over) if std::ptr::eq(over.handler, handler) => Some(over),
            _ => None,
        }
    }
}

/// Runs a body: the handlers that it calls are called by themselves.
pub(super) fn plain<F: Future>(body: F) -> impl Future<Output = F::Output> {
    Place::Plain.around(body)
}

/// Messages that have their claims.
pub(super) struct HandedOver {
    handler: &'static Handler,
    guests: Mutex<Vec<Box<dyn AnyGuest>>>,
    /// Told once the handler was called, and has done what it will.
    pub(super) done: Notify,
}

impl HandedOver {
    pub(super) fn new(handler: &'static Handler, guests: Vec<Box<dyn AnyGuest>>) -> Arc<Self> {
        Arc::new(Self {
            handler,
            guests: Mutex::new(guests),
            done: Notify::new(),
        })
    }

    /// Takes the messages, where the handler is called with as many. A call with others has a context
    /// that is not that of all.
    pub(super) fn take<T, R>(&self, count: usize) -> Option<Vec<Guest<T, R>>>
    where
        T: Send + 'static,
        R: Outcome<Ok: Replayable, Error: Failure> + Send + 'static,
    {
        let mut waiting = self.guests.lock();
        if waiting.len() != count || !waiting.iter().all(|guest| guest.is::<T, R>()) {
            return None;
        }
        let taken = std::mem::take(&mut *waiting).into_iter();
        let guests = taken.filter_map(|guest| guest.into_any().downcast().ok());
        Some(guests.map(|guest| *guest).collect())
    }

    /// Gives back those that no body was run for.
    pub(super) fn end(&self) {
        let unserved = std::mem::take(&mut *self.guests.lock());
        unserved.into_iter().for_each(AnyGuest::unserved);
    }
}

/// A call of `Batches` with one message.
pub(super) struct Gathering {
    desk: Arc<dyn Desk>,
    runtime: Handle,
    /// The message as `Batches` got it, for the first that is handed over.
    original: Mutex<Option<Box<dyn Any + Send>>>,
    /// It may bring a message soon, before the handler is called.
    before: Mutex<Option<Before>>,
}

/// Where messages are gathered.
pub(super) trait Desk: Counts + Send + Sync {
    /// Adds a message that is to run.
    fn join(&self, joins: Joins);
}

/// A message that is to run with others.
pub(super) struct Joins {
    pub(super) handler: &'static Handler,
    pub(super) idem: Idem,
    pub(super) runtime: Handle,
    pub(super) guest: Box<dyn AnyGuest>,
    pub(super) original: Box<dyn Any + Send>,
}

impl Gathering {
    pub(super) fn new(
        desk: Arc<dyn Desk>,
        runtime: Handle,
        original: Box<dyn Any + Send>,
    ) -> Arc<Self> {
        let before = Before::of(&desk);
        Arc::new(Self {
            desk,
            runtime,
            original: Mutex::new(Some(original)),
            before: Mutex::new(Some(before)),
        })
    }

    /// Counts a message that may be handed over soon.
    pub(super) fn near(&self) -> Near<'_> {
        Near::of(&*self.desk)
    }

    /// The handler counts its messages itself.
    pub(super) fn entered(&self) {
        drop(self.before.lock().take());
    }

    /// Hands a message over, or returns it: the function has made several of one.
    pub(super) fn join<T, R>(
        &self,
        handler: &'static Handler,
        mut guest: Guest<T, R>,
    ) -> Result<(), Guest<T, R>>
    where
        T: Send + 'static,
        R: Outcome<Ok: Replayable, Error: Failure> + Send + 'static,
    {
        let (Some(idem), Some(original)) = (guest.idem().cloned(), self.original.lock().take())
        else {
            return Err(guest);
        };
        self.desk.join(Joins {
            handler,
            idem,
            runtime: self.runtime.clone(),
            guest: Box::new(guest),
            original,
        });
        Ok(())
    }
}
