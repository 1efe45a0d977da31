//! The handlers: one for each thing that an annotation can ask for. They are all one body;
//! `wire::Handler` has their names, and the judge their budgets.

use idem_runtime::idempotent;

use crate::body::{Done, Message, Running, Trouble, act, attempt, can_pass};
use crate::say::say;
use crate::table;
use crate::wire::{Act, Call, Event, Handler};

/// One call. A sync handler is called where it holds a worker's thread, and where it does not.
pub(crate) async fn deliver(call: &Call) -> Result<Done, Trouble> {
    let message = Message::of(call);
    match call.handler {
        Handler::Plain => plain(message, call).await,
        Handler::Timed => timed(message, call).await,
        Handler::Hung => hung(message, call).await,
        Handler::Sync if call.call.is_multiple_of(2) => sync(&message, call),
        Handler::Sync => {
            let call = call.clone();
            tokio::task::spawn_blocking(move || sync(&message, &call))
                .await
                .expect("its panics are caught")
        }
        Handler::Bury => bury(message, call).await,
        Handler::Redeliver => redeliver(message, call).await,
        Handler::Existing => existing(message, call).await,
        Handler::Brief => brief(message, call).await,
        Handler::Reject => reject(message, call).await,
    }
}

#[idempotent(
    name = "torture.plain",
    key = "n",
    retries = 3,
    backoff(initial = "2ms", max = "20ms", jitter),
    retry_if = can_pass,
    skip(call)
)]
async fn plain(message: Message, call: &Call) -> Result<Done, Trouble> {
    Running::start(&message, call).run().await
}

#[idempotent(
    name = "torture.timed",
    key = "n",
    retries = 2,
    backoff(initial = "2ms"),
    timeout = "60ms",
    skip(call)
)]
async fn timed(message: Message, call: &Call) -> Result<Done, Trouble> {
    Running::start(&message, call).run().await
}

#[idempotent(
    name = "torture.hung",
    key = "n",
    retries = 2,
    backoff(initial = "2ms"),
    skip(call)
)]
async fn hung(message: Message, call: &Call) -> Result<Done, Trouble> {
    Running::start(&message, call).run().await
}

#[idempotent(
    name = "torture.sync",
    key = "n",
    retries = 3,
    backoff(initial = "2ms", max = "20ms", jitter),
    retry_if = can_pass,
    skip(call)
)]
fn sync(message: &Message, call: &Call) -> Result<Done, Trouble> {
    Running::start(message, call).run_now()
}

#[idempotent(
    name = "torture.bury",
    key = "n",
    retries = 3,
    backoff(initial = "2ms"),
    on_crash = "bury",
    skip(call)
)]
async fn bury(message: Message, call: &Call) -> Result<Done, Trouble> {
    Running::start(&message, call).run().await
}

#[idempotent(
    name = "torture.redeliver",
    key = "n",
    retries = 3,
    backoff(initial = "5ms", max = "20ms", jitter),
    retry = "redeliver",
    retry_if = can_pass,
    skip(call)
)]
async fn redeliver(message: Message, call: &Call) -> Result<Done, Trouble> {
    Running::start(&message, call).run().await
}

#[idempotent(
    name = "torture.existing",
    key = "n",
    retries = 4,
    backoff(initial = "2ms", max = "20ms", jitter),
    existing = in_table,
    skip(call)
)]
async fn existing(message: Message, call: &Call) -> Result<Done, Trouble> {
    Running::start(&message, call).run().await
}

async fn in_table(message: &Message, call: &Call) -> Result<Option<Done>, Trouble> {
    let attempt = attempt(call);
    tokio::task::yield_now().await;
    if let Some((token, number)) = table::look(message.n) {
        return Ok(Some(Done::by(token, number, call)));
    }
    if act(call, attempt.number) == Act::FailToLook {
        say(&Event::LookFailed(attempt));
        return Err(Trouble::Planned {
            token: attempt.token,
            permanent: false,
        });
    }
    Ok(None)
}

#[idempotent(
    name = "torture.brief",
    key = "n",
    retries = 1,
    backoff(initial = "1ms"),
    ttl = "1s",
    skip(call)
)]
async fn brief(message: Message, call: &Call) -> Result<Done, Trouble> {
    Running::start(&message, call).run().await
}

#[idempotent(
    name = "torture.reject",
    key = "n",
    retries = 3,
    backoff(initial = "2ms"),
    in_flight = "reject",
    skip(call)
)]
async fn reject(message: Message, call: &Call) -> Result<Done, Trouble> {
    Running::start(&message, call).run().await
}
