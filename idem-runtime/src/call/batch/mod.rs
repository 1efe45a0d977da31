//! Handlers of many messages (`each = "…"`).
//!
//! ```text
//! place_orders(vec) ─► a call for each message ─► a claim for each
//!                            ▲                          │
//!                            │    ┌─ first attempt ◄────┴────► later attempt ─┐
//!                            │    ▼                                           ▼
//!                            │  the table, or `Batches`          the table, alone in its turn
//!                            │    └──────────────► one body ◄─────────────────┘
//!                            │                        │
//!                            └──── each call records its own end, and comes back
//! ```
//!
//! A call that is to run is handed over with its message, and comes back when it has recorded how its
//! attempt ended. So claims, retries, leases, results and letters are those of single messages, and the
//! calls ask the ledger at the same time, which makes their steps a group.

mod batches;
mod body;
mod guest;
mod near;
mod place;
mod table;

use std::future::{pending, poll_fn};
use std::task::Poll;

pub use batches::Batches;
use body::SharedBody;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use guest::{Back, Guest};
use near::Near;
use place::Place;
use table::Table;
use tokio::task::coop::unconstrained;

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
    if let Some(over) = place.runs(handler) {
        if let Some(guests) = over.take::<T, R>(messages.len()) {
            SharedBody::start(guests, &mut body).run().await;
        }
        // What the function does with results, it does for each message in that one's own call.
        over.done.notify_one();
        return pending().await;
    }
    let table = Table::default();
    let gathering = place.gathering();
    let mut results: Vec<Option<R>> = messages.iter().map(|_| None).collect();
    let calls = messages.into_iter().enumerate().map(|(at, message)| {
        // Each counts from the start, before any has been polled.
        let near = match gathering {
            Some(gathering) => gathering.near(),
            None => Near::of(&table),
        };
        let (table, begin) = (&table, &begin);
        let hand_over = move |guest: Guest<T, R>, number| {
            if number > 1 {
                return table.join_alone(guest, number);
            }
            match gathering {
                Some(gathering) => gathering
                    .join(handler, guest)
                    .unwrap_or_else(|guest| table.join_alone(guest, number)),
                None => table.join(guest),
            }
        };
        async move { (at, run(near, &message, copy, begin, hand_over).await) }
    });
    let mut calls = calls.collect::<FuturesUnordered<_>>();
    if let Some(gathering) = gathering {
        gathering.entered();
    }
    let mut bodies = FuturesUnordered::new();
    poll_fn(|context| {
        loop {
            while let Poll::Ready(Some(was_alone)) = bodies.poll_next_unpin(context) {
                table.ended(was_alone);
            }
            while let Poll::Ready(Some((at, result))) = calls.poll_next_unpin(context) {
                results[at] = Some(result);
            }
            if calls.is_empty() {
                return Poll::Ready(());
            }
            let Some((guests, is_alone)) = table.take() else {
                return Poll::Pending;
            };
            let shared = SharedBody::start(guests, &mut body);
            bodies.push(async move {
                shared.run().await;
                is_alone
            });
        }
    })
    .await;
    // Each call has ended.
    results.into_iter().flatten().collect()
}

/// Makes one message's call, and hands it over for each attempt.
async fn run<T, R>(
    mut near: Near<'_>,
    message: &T,
    copy: fn(&T) -> T,
    begin: &impl Fn(&T) -> Call<R>,
    hand_over: impl Fn(Guest<T, R>, u32),
) -> R
where
    R: Outcome<Ok: Replayable, Error: Failure>,
{
    let mut call = begin(message);
    let mut is_alone = false;
    while call.next_saying(|is_near| near.set(is_near)).await {
        let number = call.granted().map_or(1, |(_, number)| number);
        let Some(copied) = call.copies(|| copy(message)) else {
            continue;
        };
        let (guest, back) = Guest::new(call, copied);
        // One that no body was run for is as one that was tried before.
        hand_over(guest, number + u32::from(is_alone));
        near.set(false);
        (call, is_alone) = match unconstrained(back).await {
            Ok(Back::Ended(call)) => (call, false),
            Ok(Back::Unserved(call)) => (call, true),
            // It was dropped with the runtime of its body, which the ledger was told.
            Err(_) => (begin(message), false),
        };
        near.set(true);
    }
    call.finish()
}
