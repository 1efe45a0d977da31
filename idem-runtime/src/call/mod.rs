//! Skeleton.
use std::future::Future;
use std::pin::Pin;

use crate::bounds::{Failure, Outcome, Replayable};
use crate::message::Message;

/// One call of a handler: begin, then while told to run: run the body; then finish.
pub struct Call<R: Outcome> {
    result: Option<R>,
    retry_if: Option<fn(&R::Error) -> bool>,
}

impl<R> Call<R>
where
    R: Outcome,
    R::Ok: Replayable,
    R::Error: Failure,
{
    /// Starts a call.
    pub fn begin(_message: Message) -> Self {
        Self { result: None, retry_if: None }
    }
    /// `retry_if = path`.
    pub fn retry_if(mut self, retry_if: fn(&R::Error) -> bool) -> Self {
        self.retry_if = Some(retry_if);
        self
    }
    /// Whether the body is to run (again); claims the key when it is.
    pub async fn next(&mut self) -> bool {
        self.result.is_none()
    }
    /// Runs the body once and records how it ended.
    pub async fn run<F: Future<Output = R>>(&mut self, body: Pin<&mut F>) {
        self.result = Some(body.await);
    }
    /// [`next`](Self::next) for a sync handler.
    pub fn next_blocking(&mut self) -> bool {
        self.result.is_none()
    }
    /// [`run`](Self::run) for a sync handler.
    pub fn run_blocking(&mut self, body: impl FnOnce() -> R) {
        self.result = Some(body());
    }
    /// What the caller gets.
    pub fn finish(self) -> R {
        match self.result {
            Some(result) => result,
            None => R::from_result(Err(crate::Error::Closed.into())),
        }
    }
}

/// Tells the running attempt that `existing` found the result, so the body does not run.
pub fn found_existing() {}
