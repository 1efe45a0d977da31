//! Messages that arrive one by one, and are handed to a handler together.

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::select;
use parking_lot::Mutex;
use tokio::runtime::{self, Handle};
use tokio::task::AbortHandle;

use super::guest::AnyGuest;
use super::near::Counts;
use super::place::{Desk, Gathering, HandedOver, Joins, Place};
use super::the_only;
use crate::clock::BoxFuture;
use crate::handler::Handler;
use crate::idem::Idem;

/// Hands messages that arrive one by one to a handler of many (`each = "…"`).
///
/// Each [call](Self::call) asks the ledger for its own message. A duplicate gets the recorded result at
/// once. The messages that are to run are collected, and one body runs for them: as soon as no other
/// call may bring one soon, when there are as many as fit, or when the first of them is old enough. A
/// message whose body failed before runs alone.
///
/// A body that has begun ends, also for a message whose caller has gone meanwhile: the result is
/// recorded, and a later call gets it.
///
/// The consumers of `idem-brokers` use it (`start_batches`). A clone hands messages to the same
/// batches.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
///
/// use idem_runtime::{Batches, Error, idempotent};
///
/// #[idempotent(name = "orders.place", each = "order_nos")]
/// async fn place_orders(order_nos: Vec<String>) -> Vec<Result<usize, Error>> {
///     // One `INSERT` for all of them.
///     order_nos.iter().map(|order_no| Ok(order_no.len())).collect()
/// }
///
/// let idem = idem_runtime::testing::temporary()?;
/// let orders = Batches::new(64, Duration::from_millis(5), place_orders);
/// let (first, second) = tokio::join!(
///     idem.scope(orders.call("A-1001".to_owned())),
///     idem.scope(orders.call("A-1002".to_owned())),
/// );
/// assert_eq!((first?, second?), (6, 6));
/// # Ok(()) }
/// ```
pub struct Batches<T, R>(Arc<Gathered<T, R>>);

struct Gathered<T, R> {
    function: Box<dyn Fn(Vec<T>) -> BoxFuture<'static, Vec<R>> + Send + Sync>,
    size: usize,
    age: Duration,
    waiting: Mutex<Waiting<T>>,
    this: Weak<Self>,
}

struct Waiting<T> {
    open: HashMap<Site, Open<T>>,
    /// How many messages may be handed over soon.
    near: usize,
}

/// What messages have in common that share a body: the handler and the ledger, by their addresses, and
/// the runtime.
type Site = (usize, usize, runtime::Id);

/// Messages that wait for others.
struct Open<T> {
    handler: &'static Handler,
    idem: Idem,
    runtime: Handle,
    guests: Vec<Box<dyn AnyGuest>>,
    originals: Vec<T>,
    /// What hands them over once they are old enough.
    timer: AbortHandle,
}

impl<T: Clone + Send + 'static, R: Send + 'static> Batches<T, R> {
    /// Collects up to `size` messages, for `age` at most, for a function with the attribute, or one that
    /// calls one.
    ///
    /// The function is called with each message, and what it returns is the call's. To run a body, it is
    /// called with all of the messages that are to run, until it calls the handler with as many: then the
    /// handler's body gets the messages of the calls, and what the function does afterwards is left out.
    /// Where it does not, each message has a body of its own. So what goes with the messages, as a pool of
    /// connections, has to be that of all of them, and the function should do nothing before it calls the
    /// handler: what it would wait for, the calls of the messages may hold.
    ///
    /// ```
    /// # use std::{sync::Arc, time::Duration};
    /// # use idem_runtime::{Batches, Error, idempotent};
    /// # struct Shop;
    /// #[idempotent(name = "orders.place", each = "order_nos", skip(shop))]
    /// async fn place_orders(order_nos: Vec<String>, shop: Arc<Shop>) -> Vec<Result<(), Error>> {
    ///     order_nos.iter().map(|_| Ok(())).collect()
    /// }
    ///
    /// let shop = Arc::new(Shop);
    /// let orders = Batches::new(64, Duration::from_millis(5), move |order_nos| {
    ///     place_orders(order_nos, Arc::clone(&shop))
    /// });
    /// # let _ = orders;
    /// ```
    pub fn new<F>(
        size: usize,
        age: Duration,
        function: impl Fn(Vec<T>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Vec<R>> + Send + 'static,
    {
        Self(Arc::new_cyclic(|this| Gathered {
            function: Box::new(move |messages| function(messages).boxed()),
            size: size.max(1),
            age,
            waiting: Mutex::new(Waiting {
                open: HashMap::new(),
                near: 0,
            }),
            this: Weak::clone(this),
        }))
    }

    /// Calls the function with one message, and lets the handler's body run with others. It has to be
    /// called on a Tokio runtime, where the body runs in a task of its own; anywhere else, each message
    /// has a body of its own.
    ///
    /// # Panics
    /// If the function returns no result for a message.
    pub async fn call(&self, message: T) -> R {
        let place = match Handle::try_current() {
            Ok(runtime) => {
                let desk = Arc::clone(&self.0) as Arc<dyn Desk>;
                Place::Gathers(Gathering::new(desk, runtime, Box::new(message.clone())))
            }
            Err(_) => Place::Plain,
        };
        the_only(place.around((self.0.function)(vec![message])).await)
    }
}

impl<T: Clone + Send + 'static, R: Send + 'static> Desk for Gathered<T, R> {
    fn join(&self, joins: Joins) {
        let Joins {
            handler,
            idem,
            runtime,
            guest,
            original,
        } = joins;
        let Ok(original) = (original as Box<dyn Any>).downcast() else {
            return guest.unserved();
        };
        let site = (
            std::ptr::from_ref(handler) as usize,
            Arc::as_ptr(idem.shared()) as usize,
            runtime.id(),
        );
        let mut waiting = self.waiting.lock();
        let open = waiting.open.entry(site).or_insert_with(|| Open {
            handler,
            timer: self.timer(site, &idem, &runtime),
            idem,
            runtime,
            guests: Vec::new(),
            originals: Vec::new(),
        });
        open.guests.push(guest);
        open.originals.push(*original);
        if open.guests.len() >= self.size {
            let full = waiting.open.remove(&site);
            drop(waiting);
            self.hand_over(full);
        }
    }
}

impl<T: Clone + Send + 'static, R: Send + 'static> Counts for Gathered<T, R> {
    fn comes_near(&self) {
        self.waiting.lock().near += 1;
    }

    fn is_near_no_more(&self) {
        let mut waiting = self.waiting.lock();
        waiting.near -= 1;
        // Nothing may come soon.
        let all = match waiting.near {
            0 => std::mem::take(&mut waiting.open),
            _ => HashMap::new(),
        };
        drop(waiting);
        all.into_values()
            .for_each(|open| self.hand_over(Some(open)));
    }
}

impl<T: Clone + Send + 'static, R: Send + 'static> Gathered<T, R> {
    /// Hands messages over once the first of them is old enough.
    fn timer(&self, site: Site, idem: &Idem, runtime: &Handle) -> AbortHandle {
        let (passed, this) = (idem.shared().clock.sleep(self.age), Weak::clone(&self.this));
        let timer = runtime.spawn(async move {
            passed.await;
            if let Some(this) = this.upgrade() {
                let open = this.waiting.lock().open.remove(&site);
                this.hand_over(open);
            }
        });
        timer.abort_handle()
    }

    /// Calls the function with messages that have their claims.
    fn hand_over(&self, open: Option<Open<T>>) {
        let (Some(open), Some(this)) = (open, self.this.upgrade()) else {
            return;
        };
        open.timer.abort();
        let (guests, originals): (Vec<_>, Vec<_>) = open
            .guests
            .into_iter()
            .zip(open.originals)
            .filter(|(guest, _)| !guest.has_left())
            .unzip();
        if guests.is_empty() {
            return;
        }
        let over = HandedOver::new(open.handler, guests);
        let place = Place::Runs(Arc::clone(&over));
        let idem = open.idem;
        open.runtime.spawn(async move {
            let called = AssertUnwindSafe(async { (this.function)(originals).await });
            let called = idem.scope(place.around(called.catch_unwind()));
            select(Box::pin(called), Box::pin(over.done.notified())).await;
            over.end();
        });
    }
}

impl<T, R> Clone for Batches<T, R> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T, R> fmt::Debug for Batches<T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batches")
            .field("size", &self.0.size)
            .field("age", &self.0.age)
            .finish_non_exhaustive()
    }
}
