//! A message on its way to a body, and its call on the way back.

use std::any::Any;

use tokio::sync::oneshot;

use crate::call::Call;
use crate::handler::bounds::{Failure, Outcome, Replayable};
use crate::idem::Idem;

/// A message that waits for a body, with the call that the body is to end.
pub(super) struct Guest<T, R: Outcome> {
    pub(super) call: Call<R>,
    pub(super) message: T,
    pub(super) back: oneshot::Sender<Back<R>>,
}

/// A call that comes back.
pub(super) enum Back<R: Outcome> {
    /// It has recorded how its attempt ended.
    Ended(Call<R>),
    /// No body ran for it.
    Unserved(Call<R>),
}

impl<T, R> Guest<T, R>
where
    R: Outcome<Ok: Replayable, Error: Failure>,
{
    pub(super) fn new(call: Call<R>, message: T) -> (Self, oneshot::Receiver<Back<R>>) {
        let (back, comes) = oneshot::channel();
        let guest = Self {
            call,
            message,
            back,
        };
        (guest, comes)
    }

    /// Returns whether its caller is gone.
    pub(super) fn has_left(&self) -> bool {
        self.back.is_closed()
    }

    /// Gives the call back as it came.
    pub(super) fn unserved(self) {
        // Without a caller it is dropped.
        let _ = self.back.send(Back::Unserved(self.call));
    }

    /// Returns whose call it is.
    pub(super) fn idem(&mut self) -> Option<&Idem> {
        let (drive, _) = self.call.granted()?;
        Some(drive.idem())
    }
}

/// A message of any type.
pub(super) trait AnyGuest: Send {
    fn has_left(&self) -> bool;
    fn unserved(self: Box<Self>);
    fn as_any(&self) -> &dyn Any;
    fn into_any(self: Box<Self>) -> Box<dyn Any>;
}

impl<T, R> AnyGuest for Guest<T, R>
where
    T: Send + 'static,
    R: Outcome<Ok: Replayable, Error: Failure> + Send + 'static,
{
    fn has_left(&self) -> bool {
        Guest::has_left(self)
    }

    fn unserved(self: Box<Self>) {
        Guest::unserved(*self);
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

impl dyn AnyGuest {
    pub(super) fn is<T: 'static, R: Outcome + 'static>(&self) -> bool {
        self.as_any().is::<Guest<T, R>>()
    }
}
