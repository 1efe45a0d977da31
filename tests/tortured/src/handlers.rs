//! The handlers: one for each thing that an annotation can ask for, with the same body.
//! `event::Handler` has their names, and the judge their budgets.

use idem_runtime::protocol::Origin;
use idem_runtime::{Idem, idempotent};

use crate::body::{Done, Failure, Message, Running, act, attempt, can_pass};
use crate::emit::{emit, emit_away};
use crate::event::{Act, Attempt, Call, Event, Handler};
use crate::table;

/// Makes one call. A sync handler is called on a worker thread and on a blocking one in turn.
pub(crate) async fn deliver(idem: &Idem, call: &Call) -> Result<Done, Failure> {
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
        Handler::Counted => counted(message, call).await,
        Handler::Single => single(message, call).await,
        Handler::Fresh => {
            let origin = Origin::new("torture", "messages").redelivered(call.redelivered);
            idem.deliver(origin, fresh(message, call)).await.output
        }
    }
}

/// Defines async handlers by their names and further arguments.
macro_rules! handlers {
    ($($function:ident($name:literal, $($arguments:tt)+);)+) => {$(
        #[idempotent(name = $name, key = "n", skip(call), $($arguments)+)]
        async fn $function(message: Message, call: &Call) -> Result<Done, Failure> {
            Running::start(&message, call).run().await
        }
    )+};
}

handlers! {
    plain("torture.plain", retries = 3, backoff(initial = "2ms", max = "20ms", jitter), retry_if = can_pass);
    timed("torture.timed", retries = 2, backoff(initial = "2ms"), timeout = "60ms");
    hung("torture.hung", retries = 2, backoff(initial = "2ms"));
    bury("torture.bury", retries = 3, backoff(initial = "2ms"), on_crash = "bury");
    redeliver(
        "torture.redeliver",
        retries = 3,
        backoff(initial = "5ms", max = "20ms", jitter),
        retry = "redeliver",
        retry_if = can_pass
    );
    existing(
        "torture.existing",
        retries = 4,
        backoff(initial = "2ms", max = "20ms", jitter),
        existing = in_table
    );
    brief("torture.brief", retries = 1, backoff(initial = "1ms"), ttl = "1s");
    reject("torture.reject", retries = 3, backoff(initial = "2ms"), in_flight = "reject");
    counted("torture.counted", retries = 3, backoff(initial = "2ms", max = "20ms", jitter), retry_if = can_pass);
    single(
        "torture.single",
        retries = 3,
        backoff(initial = "2ms", max = "20ms", jitter),
        transaction = "single",
        retry_if = can_pass
    );
    fresh(
        "torture.fresh",
        retries = 3,
        backoff(initial = "2ms", max = "20ms", jitter),
        transaction = "fresh",
        retry_if = can_pass
    );
}

#[idempotent(
    name = "torture.sync",
    key = "n",
    retries = 3,
    backoff(initial = "2ms", max = "20ms", jitter),
    retry_if = can_pass,
    skip(call)
)]
fn sync(message: &Message, call: &Call) -> Result<Done, Failure> {
    Running::start(message, call).run_now()
}

async fn in_table(message: &Message, call: &Call) -> Result<Option<Done>, Failure> {
    let attempt = attempt(call);
    tokio::task::yield_now().await;
    let found = match table::look(message.n).await {
        Ok(found) => found,
        Err(error) => {
            emit_away(&error);
            return fails_to_look(attempt);
        }
    };
    if let Some((token, number)) = found {
        return Ok(Some(Done::by(token, number, call)));
    }
    if act(call, attempt.number) == Act::FailToLook {
        return fails_to_look(attempt);
    }
    Ok(None)
}

fn fails_to_look(attempt: Attempt) -> Result<Option<Done>, Failure> {
    emit(&Event::LookFailed(attempt));
    Err(Failure::Planned {
        token: attempt.token,
        permanent: false,
    })
}
