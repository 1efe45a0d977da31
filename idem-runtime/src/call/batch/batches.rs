//! Messages that arrive one by one, and are handed to a handler together.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use futures_util::FutureExt;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use super::body::{Guest, Started};
use super::place::Place;
use super::the_only;
use crate::clock::BoxFuture;
use crate::handler::Handler;

/// Hands messages that arrive one by one to a handler of many (`each = "…"`).
///
/// Each [call](Self::call) asks the ledger for its own message. A duplicate gets the recorded result at
/// once. The messages that are to run are collected, and the handler gets them together: as soon as
/// all calls under way wait for that, when there are as many as fit, or when the first of them is old
/// enough. A message whose body failed before is given to the handler alone.
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
/// assert_eq!((first?, second?), (6, 6)); // the body ran once
/// # Ok(()) }
/// ```
pub struct Batches<T, R>(Arc<Desk<T, R>>);

/// Where messages gather.
pub(super) struct Desk<T, R> {
    handler: Box<dyn Fn(Vec<T>) -> BoxFuture<'static, Vec<R>> + Send + Sync>,
    size: usize,
    age: Duration,
    gathered: Mutex<Gathered<T, R>>,
}

struct Gathered<T, R> {
    /// By handler: the function may call several.
    open: HashMap<usize, Open<T, R>>,
    /// How many calls are under way.
    present: usize,
    /// How many messages wait for a body, or are in one.
    held: usize,
}

/// Messages that wait for others.
struct Open<T, R> {
    handler: &'static Handler,
    guests: Vec<Guest<T, R>>,
    /// What hands them over once they are old enough.
    timer: AbortHandle,
    /// Where their body runs.
    runtime: Handle,
}

impl<T: Send + 'static, R: Send + 'static> Batches<T, R> {
    /// Collects up to `size` messages, for `age` at most, for a function with the attribute, or one that
    /// calls one.
    ///
    /// The function is called with each message alone, and with those that are to run: then the
    /// attribute's function runs its body for what it gets. It has to return a result for each message, in
    /// their order.
    pub fn new<F>(
        size: usize,
        age: Duration,
        handler: impl Fn(Vec<T>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Vec<R>> + Send + 'static,
    {
        Self(Arc::new(Desk {
            handler: Box::new(move |messages| handler(messages).boxed()),
            size: size.max(1),
            age,
            gathered: Mutex::new(Gathered {
                open: HashMap::new(),
                present: 0,
                held: 0,
            }),
        }))
    }

    /// Calls the handler with one message, together with others. It has to be called on a Tokio runtime,
    /// which then runs the body; anywhere else, each message has a body of its own.
    ///
    /// # Panics
    /// If the function returns no result for a message.
    pub async fn call(&self, message: T) -> R {
        let desk = &self.0;
        let _present = Present::of(desk);
        let place = match Handle::try_current() {
            Ok(runtime) => Place::Gathers(Arc::clone(desk) as _, runtime),
            Err(_) => Place::Plain,
        };
        the_only(place.around((desk.handler)(vec![message])).await)
    }
}

impl<T: Send + 'static, R: Send + 'static> Desk<T, R> {
    /// Adds a message that is to run, which counts as held for as long as the returned value lives.
    pub(super) fn join(
        self: &Arc<Self>,
        handler: &'static Handler,
        guest: Guest<T, R>,
        runtime: &Handle,
    ) -> Held<T, R> {
        let site = std::ptr::from_ref(handler) as usize;
        let mut gathered = self.gathered.lock();
        gathered.held += 1;
        let open = gathered.open.entry(site).or_insert_with(|| Open {
            handler,
            guests: Vec::new(),
            timer: self.timer(site, &guest, runtime),
            runtime: runtime.clone(),
        });
        open.guests.push(guest);
        if open.guests.len() >= self.size {
            self.hand_over(gathered.open.remove(&site));
        } else {
            self.hand_over_if_all_wait(&mut gathered);
        }
        Held(Arc::clone(self))
    }

    /// Hands messages over once the first of them is old enough.
    fn timer(self: &Arc<Self>, site: usize, first: &Guest<T, R>, runtime: &Handle) -> AbortHandle {
        let passed = first.idem().shared().clock.sleep(self.age);
        let desk = Arc::downgrade(self);
        let timer = runtime.spawn(async move {
            passed.await;
            if let Some(desk) = desk.upgrade() {
                let open = desk.gathered.lock().open.remove(&site);
                desk.hand_over(open);
            }
        });
        timer.abort_handle()
    }

    /// No call is under way that could bring another message soon.
    fn hand_over_if_all_wait(self: &Arc<Self>, gathered: &mut Gathered<T, R>) {
        if gathered.present <= gathered.held {
            for (_, open) in gathered.open.drain() {
                self.hand_over(Some(open));
            }
        }
    }

    /// Calls the function with messages that have their claims.
    fn hand_over(self: &Arc<Self>, open: Option<Open<T, R>>) {
        let Some(Open {
            handler,
            mut guests,
            timer,
            runtime,
        }) = open
        else {
            return;
        };
        timer.abort();
        guests.retain(|guest| !guest.has_left());
        let Some(first) = guests.first() else { return };
        let place = Place::Runs(handler, Arc::new(AtomicUsize::new(guests.len())));
        let (idem, desk) = (first.idem().clone(), Arc::clone(self));
        runtime.spawn(async move {
            let body = Started::new(guests, |messages| place.around((desk.handler)(messages)));
            idem.scope(body.run()).await;
        });
    }
}

/// A call that is under way.
struct Present<'a, T: Send + 'static, R: Send + 'static>(&'a Arc<Desk<T, R>>);

impl<'a, T: Send + 'static, R: Send + 'static> Present<'a, T, R> {
    fn of(desk: &'a Arc<Desk<T, R>>) -> Self {
        desk.gathered.lock().present += 1;
        Self(desk)
    }
}

impl<T: Send + 'static, R: Send + 'static> Drop for Present<'_, T, R> {
    fn drop(&mut self) {
        let mut gathered = self.0.gathered.lock();
        gathered.present -= 1;
        self.0.hand_over_if_all_wait(&mut gathered);
    }
}

/// A message that waits for a body, or is in one.
pub(super) struct Held<T, R>(Arc<Desk<T, R>>);

impl<T, R> Drop for Held<T, R> {
    fn drop(&mut self) {
        self.0.gathered.lock().held -= 1;
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
