//! Handlers of many messages (`each = "…"`).
//!
//! ```text
//! place_orders(vec) ─► a call for each message ─► a claim for each
//!                                                       │
//!                 ┌──── the first attempt ◄─────────────┤
//!                 ▼                                     ▼
//!      the table, or that of `Batches`         a later attempt: alone
//!                 │                                     │
//!                 └──────► one body for many ◄──────────┘
//!                                  │
//!            each call records its own result, or its failure
//! ```
//!
//! A call does not know that its body is shared: it waits for a result, as for any body. So claims,
//! retries, leases, results and letters are those of single messages, and the calls ask the ledger at
//! the same time, which makes their steps a group.

mod batches;
mod body;
mod place;
mod table;

use std::future::poll_fn;
use std::panic::resume_unwind;
use std::pin::pin;
use std::task::Poll;

pub use batches::Batches;
use body::{Guest, Started};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use place::{Place, plain};
use table::{Near, Table};

use super::Call;
use crate::handler::Handler;
use crate::handler::bounds::{Failure, Outcome, Replayable};

/// Calls a handler with one message, where it takes many (`each = "…"`).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use idem_runtime::{Error, idempotent, one};
///
/// #[idempotent(name = "orders.place", each = "order_nos")]
/// async fn place_orders(order_nos: Vec<String>) -> Vec<Result<usize, Error>> {
///     order_nos.iter().map(|order_no| Ok(order_no.len())).collect()
/// }
///
/// let idem = idem_runtime::testing::temporary()?;
/// idem.register_handler("orders.place", |order_no| one(place_orders, order_no));
/// assert_eq!(idem.scope(one(place_orders, "A-1001".to_owned())).await?, 6);
/// # Ok(()) }
/// ```
///
/// # Panics
/// If the function returns no result. One with `each` returns as many as it gets messages.
pub async fn one<T, R, F>(handler: impl FnOnce(Vec<T>) -> F, message: T) -> R
where
    F: Future<Output = Vec<R>>,
{
    the_only(handler(vec![message]).await)
}

fn the_only<R>(mut results: Vec<R>) -> R {
    let Some(result) = results.pop() else {
        panic!("a handler of many messages returned no result for one message");
    };
    result
}

/// Calls a handler with each of these messages, and runs the body for those together that are to run.
/// Returns their results in the order of the messages.
pub(super) async fn each<T, R, F>(
    handler: &'static Handler,
    messages: Vec<T>,
    copy: fn(&T) -> T,
    begin: impl Fn(&T) -> Call<R>,
    mut body: impl FnMut(Vec<T>) -> F,
) -> Vec<R>
where
    T: Send + 'static,
    R: Outcome<Ok: Replayable, Error: Failure> + Send + 'static,
    F: Future<Output = Vec<R>>,
{
    let place = Place::here();
    if place.is_run_for(handler, messages.len()) {
        return plain(body(messages)).await;
    }
    let (table, batches) = (Table::default(), place.batches::<T, R>());
    let mut results: Vec<Option<R>> = messages.iter().map(|_| None).collect();
    let calls = messages.into_iter().enumerate().map(|(at, message)| {
        // Each counts from the start, before any has been polled.
        let (call, near) = (begin(&message), table.near());
        let (table, batches) = (&table, batches.as_ref());
        async move {
            let result = run(
                call,
                near,
                || copy(&message),
                |guest, is_first| match batches {
                    Some((desk, runtime)) if is_first => Some(desk.join(handler, guest, runtime)),
                    _ => {
                        table.join(guest, is_first);
                        None
                    }
                },
            );
            (at, result.await)
        }
    });
    let (mut calls, mut bodies) = (
        calls.collect::<FuturesUnordered<_>>(),
        FuturesUnordered::new(),
    );
    poll_fn(|context| {
        loop {
            while let Poll::Ready(Some(())) = bodies.poll_next_unpin(context) {}
            while let Poll::Ready(Some((at, result))) = calls.poll_next_unpin(context) {
                results[at] = Some(result);
            }
            match table.take() {
                Some(guests) => bodies.push(Started::new(guests, &mut body).run()),
                None if calls.is_empty() => return Poll::Ready(()),
                None => return Poll::Pending,
            }
        }
    })
    .await;
    // Each call has ended.
    results.into_iter().flatten().collect()
}

/// Makes one message's call. Its body is to hand the message over, and to wait for the result.
async fn run<T, R, H>(
    mut call: Call<R>,
    mut near: Near<'_>,
    message: impl Fn() -> T,
    hand_over: impl Fn(Guest<T, R>, bool) -> H,
) -> R
where
    R: Outcome<Ok: Replayable, Error: Failure>,
{
    while call.next_and_say(|is_near| near.set(is_near)).await {
        let attempt = call.attempt().map(|(idem, id, number)| {
            let is_first = number == 1;
            (idem.clone(), id.clone(), is_first)
        });
        let Some((idem, id, is_first)) = attempt else {
            continue;
        };
        let body = async {
            let (guest, result) = Guest::new(idem, id, message());
            let _held = hand_over(guest, is_first);
            match result.await {
                Ok(Ok(result)) => result,
                Ok(Err(panic)) => resume_unwind(Box::new(panic)),
                // The runtime that ran it shuts down.
                Err(_) => resume_unwind(Box::new("the task of the body was dropped")),
            }
        };
        call.run(pin!(body)).await;
    }
    call.finish()
}
