//! Begins the call of an expansion, and passes on what `existing` found and `events` made.

use std::future::{Future, Ready, ready};
use std::marker::PhantomData;
use std::pin::Pin;

use super::{Call, batch, found_existing};
use crate::handler::Handler;
use crate::handler::bounds::{Events, Failure, Looks, LooksNow, Outcome, Replayable};
use crate::message::CallBuilder;
use crate::outbox::OutboxMessage;

/// Begins calls that return `R`: with its own `begin` where the bounds are met, else with that of
/// [`Unhandled`], so that [`check`](crate::handler::bounds::check) alone reports the error.
#[derive(Debug)]
pub struct Begin<R>(PhantomData<fn() -> R>);

impl<R> Begin<R> {
    /// Returns the value that begins calls of this return type.
    #[expect(clippy::new_without_default, reason = "only the expansion makes it")]
    pub fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T: Replayable, E: Failure> Begin<Result<T, E>> {
    /// Begins a call.
    pub fn begin(&self, message: CallBuilder) -> Call<Result<T, E>> {
        Call::begin(message)
    }

    /// Begins a call for each message, and runs the body for those together that are to run.
    pub async fn each<M, F>(
        &self,
        handler: &'static Handler,
        messages: Vec<M>,
        copy: fn(&M) -> M,
        begin: impl Fn(&M) -> CallBuilder,
        options: impl Fn(Call<Result<T, E>>) -> Call<Result<T, E>>,
        body: impl FnMut(Vec<M>) -> F,
    ) -> Vec<Result<T, E>>
    where
        M: Send + 'static,
        T: Send + 'static,
        E: Send + 'static,
        F: Future<Output = Vec<Result<T, E>>>,
    {
        let begin = |message: &M| options(Call::begin(begin(message)));
        batch::each(handler, messages, copy, begin, body).await
    }
}

/// Stands in for a call whose return type does not meet the bounds. It never runs.
pub trait Unhandled<R> {
    /// Fails to compile.
    fn begin(&self, _message: CallBuilder) -> Never<R> {
        // Reached only if the compiler accepts the types here without an error; then this is the
        // error.
        const { panic!("the return type of an idempotent handler was not understood") }
    }
    /// Fails to compile, as its `begin` does.
    fn each<M, F>(
        &self,
        _handler: &'static Handler,
        messages: Vec<M>,
        _copy: fn(&M) -> M,
        begin: impl Fn(&M) -> CallBuilder,
        options: impl Fn(Never<R>) -> Never<R>,
        _body: impl FnMut(Vec<M>) -> F,
    ) -> Ready<Vec<R>> {
        let calls = messages.iter().map(|message| self.begin(begin(message)));
        ready(calls.map(|call| options(call).finish()).collect())
    }
}
impl<R> Unhandled<R> for &Begin<R> {}

/// A call that is never made.
#[derive(Debug)]
pub struct Never<R>(PhantomData<fn() -> R>);

#[expect(clippy::unused_async, reason = "so are the shapes")]
impl<R> Never<R> {
    pub fn retry_if<F>(self, _: F) -> Self {
        self
    }
    pub fn outage<F>(self, _: F) -> Self {
        self
    }
    pub fn upgrade<F>(self, _: F) -> Self {
        self
    }
    pub fn events<F>(self, _: F) -> Self {
        self
    }
    pub async fn next(&mut self) -> bool {
        false
    }
    pub fn copies<T>(&mut self, _: impl FnOnce() -> T) -> Option<T> {
        None
    }
    pub async fn run<F>(&mut self, _: Pin<&mut F>) {}
    pub fn next_blocking(&mut self) -> bool {
        false
    }
    pub fn run_blocking(&mut self, _: impl FnOnce() -> R) {}
    pub fn finish(self) -> R {
        unreachable!("the types did not do")
    }
}

/// Returns the existing result or the error of the lookup; `None` lets the body run.
pub async fn look<R: Outcome, L: Looks<R::Ok, R::Error, M>, M>(looked: L) -> Option<R> {
    found(looked.look().await)
}

/// [`look`] for a sync handler.
pub fn look_now<R: Outcome, L: LooksNow<R::Ok, R::Error>>(looked: L) -> Option<R> {
    found(looked.look())
}

/// Returns the messages that an `events` function made of a result.
///
/// # Errors
/// The function's own.
pub fn events<R: Outcome, M: Events<R::Error>>(made: M) -> Result<Vec<OutboxMessage>, R::Error> {
    made.events()
}

fn found<R: Outcome>(looked: Result<Option<R::Ok>, R::Error>) -> Option<R> {
    let found = looked.transpose()?;
    if found.is_ok() {
        found_existing();
    }
    Some(R::from_result(found))
}
