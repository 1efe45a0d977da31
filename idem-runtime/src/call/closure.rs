//! Calls of handlers without the attribute: the loop of the expansion around a closure.

use std::fmt;
use std::pin::pin;

use serde::Serialize;

use super::Call;
use crate::handler::bounds::{Failure, KeyPart, Replayable};
use crate::handler::definition::{HandlerDef, PAYLOAD};
use crate::idem::Idem;
use crate::message::CallBuilder;
use crate::trace::TraceContext;

/// One call of a [`HandlerDef`], until it is [run](Self::run): its key, its payload, and what its
/// errors mean. [`Idem::call`] makes it.
///
/// `E` is the body's error.
#[must_use]
pub struct HandlerCall<E> {
    message: CallBuilder,
    retry_if: Option<fn(&E) -> bool>,
    outage: Option<fn(&E) -> bool>,
    release_if: Option<fn(&E) -> bool>,
}

impl Idem {
    /// Runs a closure as the body of a handler: [`call`](Self::call) with one part of a key, and a
    /// payload that is compared as a whole. Each attempt is a call of the closure, so what it takes
    /// by value it clones.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// use idem_runtime::{Error, HandlerDef, Idem};
    ///
    /// #[derive(serde::Serialize)]
    /// struct Order { order_no: String, qty: u32 }
    ///
    /// let idem = Idem::open(folder.path())?;
    /// let place_order = HandlerDef::builder("orders.place").build()?;
    ///
    /// let order = Order { order_no: "A-1001".into(), qty: 2 };
    /// for _ in 0..2 { // the second time, nothing runs
    ///     let total = idem
    ///         .run(&place_order, &order.order_no, &order, async || Ok::<_, Error>(order.qty * 100))
    ///         .await?;
    ///     assert_eq!(total, 200);
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The body's own error, or one of idem's, as of an annotated function.
    pub async fn run<T: Replayable, E: Failure, F>(
        &self,
        handler: &HandlerDef,
        key: &(impl KeyPart + ?Sized),
        payload: &(impl Serialize + ?Sized),
        body: impl FnMut() -> F,
    ) -> Result<T, E>
    where
        F: Future<Output = Result<T, E>>,
    {
        let call = self.call(handler).key(key).payload(payload);
        call.run(body).await
    }

    /// Begins a call of a handler without the attribute.
    ///
    /// The body may call whatever an annotated body may: [`attempt`](crate::attempt()), the outbox,
    /// a ledger's transaction. A body that finds what it would do [done](crate::found_existing)
    /// says so, as the attribute's `existing` does.
    ///
    /// Letters hold the payload as `{"payload": …}`. To run them again,
    /// [register](Self::register_handler) a function that makes this call with the payload that it
    /// gets.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # use idem_runtime::{Error, HandlerDef, Idem};
    /// # let idem = Idem::open(folder.path())?;
    /// let place_order = HandlerDef::builder("orders.place").build()?;
    /// let call = || idem.call(&place_order).key("acme").key("A-1001").payload(&2);
    ///
    /// assert_eq!(call().run(async || Ok::<_, Error>(200)).await?, 200);
    /// let again = call().run(async || Ok::<_, Error>(300));
    /// let (total, replayed) = idem_runtime::watch_replay(again).await;
    /// assert!(total? == 200 && replayed.is_some());
    /// # Ok(()) }
    /// ```
    pub fn call<E>(&self, handler: &HandlerDef) -> HandlerCall<E> {
        let mut call = handler.call();
        call.message.runtime(self);
        call
    }
}

impl HandlerDef {
    /// Begins a call on the task's [`Idem`](Idem::scope), else on the installed one. A function
    /// given to [`Idem::register_handler`] uses it, as a handle in it would keep the ledger open.
    pub fn call<E>(&self) -> HandlerCall<E> {
        HandlerCall {
            message: CallBuilder::new(self.handler()),
            retry_if: None,
            outage: None,
            release_if: None,
        }
    }
}

impl<E> HandlerCall<E> {
    /// Adds a part of the key. A call has at least one.
    pub fn key(self, part: &(impl KeyPart + ?Sized)) -> Self {
        self.read(|message| {
            message.key(part);
        })
    }

    /// Sets the payload: it is stored with the claim, so that a letter can be written for a process
    /// that died. A later one is another argument in the letter, so give one.
    pub fn payload(self, payload: &(impl Serialize + ?Sized)) -> Self {
        self.read(|message| {
            message.arg(PAYLOAD, payload);
        })
    }

    /// Sets the payload, as [`payload`](Self::payload) does, and writes it once it is needed: not
    /// where an embedded ledger has the result of an earlier call. For payloads that take long to
    /// write; without a [`fingerprint`](Self::fingerprint) they are compared, and so written at once.
    pub fn payload_later(mut self, payload: impl Serialize + Send + Sync + 'static) -> Self {
        self.message
            .later(Box::new(move |json| payload.serialize(json)));
        self
    }

    /// Adds a value that must match for the key to be used again. Without any, the whole payload
    /// must.
    pub fn fingerprint(self, part: &(impl Serialize + ?Sized)) -> Self {
        self.read(|message| {
            message.fingerprint(part);
        })
    }

    /// Lets the key be used again with any payload.
    pub fn no_fingerprint(mut self) -> Self {
        self.message.no_fingerprint();
        self
    }

    /// Sets the trace that came with the request, if there is one: each attempt is part of it,
    /// unless the call is made in a span of its own.
    pub fn trace(mut self, trace: Option<TraceContext>) -> Self {
        self.message.trace(trace);
        self
    }

    /// Says which errors are worth another attempt; all others end in a dead letter at once. The
    /// attribute's `retry_if`.
    pub fn retry_if(mut self, retry_if: fn(&E) -> bool) -> Self {
        self.retry_if = Some(retry_if);
        self
    }

    /// Says which errors are outages of what the body needs: the attempt is not charged, and many of
    /// them pause the handler. The attribute's `outage`.
    pub fn outage(mut self, outage: fn(&E) -> bool) -> Self {
        self.outage = Some(outage);
        self
    }

    /// Says which errors release the key: the message was not taken, the attempt is not counted,
    /// and the next call of the key is as this one was. The caller gets the error.
    pub fn release_if(mut self, release_if: fn(&E) -> bool) -> Self {
        self.release_if = Some(release_if);
        self
    }

    /// Reads one thing. A panic of the user's code in it becomes an error of the call.
    fn read(mut self, read: impl Fn(&mut CallBuilder)) -> Self {
        self.message.read(&mut |message| read(message));
        self
    }
}

impl<E: Failure> HandlerCall<E> {
    /// Runs the body by the protocol: not at all if the message is done, and again while its budget
    /// lasts.
    ///
    /// # Errors
    /// The body's own error, or one of idem's, as of an annotated function.
    pub async fn run<T, F>(self, mut body: impl FnMut() -> F) -> Result<T, E>
    where
        T: Replayable,
        F: Future<Output = Result<T, E>>,
    {
        let mut call = self.begin();
        while call.next().await {
            // What the closure does before its future is part of the attempt, too.
            call.run(pin!(async { body().await })).await;
        }
        call.finish()
    }

    /// [`run`](Self::run) for a body that is not async. It holds its thread.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn run_blocking<T: Replayable>(
        self,
        mut body: impl FnMut() -> Result<T, E>,
    ) -> Result<T, E> {
        let mut call = self.begin();
        while call.next_blocking() {
            call.run_blocking(&mut body);
        }
        call.finish()
    }

    fn begin<T: Replayable>(self) -> Call<Result<T, E>> {
        let mut call = Call::begin(self.message);
        if let Some(retry_if) = self.retry_if {
            call = call.retry_if(retry_if);
        }
        if let Some(outage) = self.outage {
            call = call.outage(outage);
        }
        if let Some(release_if) = self.release_if {
            call = call.release_if(release_if);
        }
        call
    }
}

impl<E> fmt::Debug for HandlerCall<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandlerCall").finish_non_exhaustive()
    }
}
