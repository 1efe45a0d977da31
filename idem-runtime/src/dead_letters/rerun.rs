//! Redrive that runs: a service says how its handlers are called again, and a letter is run inside
//! the protocol.

use std::any::Any;
use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use futures_util::FutureExt;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::DeadLetters;
use super::payload::{argument, only_field, unfit};
use super::registered::{Runner, Running};
use crate::call::on_behalf::{self, Redriving};
use crate::call::panic;
use crate::clock::until;
use crate::error::Error;
use crate::idem::Idem;
use crate::idem::current;
use crate::idem::shared::Shared;
use crate::json::Json;
use crate::json::problem::{from_json, json_problem};
use crate::protocol::{DeadLetter, DeadLetterId, LetterState, Phase, Record, Settlement};

/// What a run of a letter came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RunOutcome {
    /// The handler's result, as JSON.
    Done(Json),
    /// It did not succeed.
    Failed {
        /// The error's text.
        error: String,
        /// The letter that is open now: the same one where nothing ran, a new one where the message
        /// died again.
        letter: Option<DeadLetterId>,
    },
}

impl Idem {
    /// Says how a handler is called again, so that [`DeadLetters::run`] can: `run` gets the
    /// letter's payload with its types. Of a handler with one argument that is the argument; of one
    /// with several, a struct with fields of their names. How many there are is what the message
    /// was first written with, so an edit may leave out one that can be absent. A later function
    /// takes the place of an earlier one.
    ///
    /// Of a message that no handler could take, the payload is the message itself, as a broker
    /// would bring it; where that does not fit and is an object with one field, `run` gets what is
    /// in the field, as in `{"order": {…}}`.
    ///
    /// It also runs the letters of names that the handler had before (`was = "…"`), from the first
    /// call that said so on this ledger; until then give the earlier name a function too.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # use idem_runtime::{Error, Filter, Idem, dead_letters::RunOutcome, idempotent};
    /// # #[derive(Debug, thiserror::Error)]
    /// # enum OrderError { #[error("out of stock")] OutOfStock, #[error(transparent)] Idem(#[from] Error) }
    /// #[derive(Clone, serde::Serialize, serde::Deserialize)]
    /// struct PlaceOrder { order_no: String, qty: u32 }
    ///
    /// #[idempotent(name = "orders.place", key = "order_no", retries = 0)]
    /// async fn place_order(order: PlaceOrder) -> Result<u32, OrderError> {
    ///     if order.qty > 10 { Err(OrderError::OutOfStock) } else { Ok(order.qty * 100) }
    /// }
    ///
    /// let idem = Idem::open(folder.path())?;
    /// idem.register_handler("orders.place", place_order);
    /// let order = PlaceOrder { order_no: "A-1".into(), qty: 12 };
    /// assert!(idem.scope(place_order(order)).await.is_err());
    ///
    /// let letters = idem.dead_letters().by("ann");
    /// let letter = letters.list(&Filter::default()).await?.remove(0);
    /// letters.edit(&letter.id, serde_json::json!({ "order": { "order_no": "A-1", "qty": 2 } }), "a typo").await?;
    /// assert_eq!(letters.run(&letter.id).await?, RunOutcome::Done(200.into()));
    /// # Ok(()) }
    /// ```
    pub fn register_handler<T, F, R, E>(
        &self,
        handler: impl Into<String>,
        run: impl Fn(T) -> F + Send + Sync + 'static,
    ) where
        T: DeserializeOwned,
        F: Future<Output = Result<R, E>> + Send + 'static,
        R: Serialize,
        E: Display,
    {
        let runner: Runner = Arc::new(move |argument| {
            let argument = from_json(argument.as_bytes())?;
            // What its call recorded is known, and the caller of `run` goes on.
            let running = catch_unwind(AssertUnwindSafe(|| run(argument)));
            Ok(Box::pin(async move {
                let running =
                    AssertUnwindSafe(running.map_err(|caught| panicked(&*caught))?).catch_unwind();
                let result = running
                    .await
                    .map_err(|caught| panicked(&*caught))?
                    .map_err(|error| format!("{error:#}"))?;
                Json::from_serialize(&result)
                    .map_err(|error| format!("its result is no JSON: {}", json_problem(&error)))
            }))
        });
        self.shared().runners.insert(handler.into(), runner);
    }

    /// Whether this service has said how the handler is called again.
    pub fn has_handler(&self, handler: &str) -> bool {
        runner(self.shared(), handler).is_some()
    }
}

/// Returns how a handler is called again: under this name, else under another one that it has or
/// had.
fn runner(shared: &Shared, handler: &str) -> Option<Runner> {
    let earlier = || {
        shared
            .earlier
            .all(handler)
            .iter()
            .find_map(|name| shared.runners.get(name))
    };
    shared.runners.get(handler).or_else(earlier)
}

impl DeadLetters {
    /// Redrives the letter and runs its handler at once, in this process, with the letter's payload
    /// as it stands. The key is re-armed by the call itself: when the payload does not fit, or
    /// belongs to another key, the letter stays open. When the process dies in the middle, the
    /// message goes on as any other would: it is never lost.
    ///
    /// A letter of a message that no handler could take is edited first, and runs under the key
    /// that it has then; it is closed once the handler has succeeded.
    ///
    /// With `retry = "redeliver"` the handler is called again after each pause, as a broker would.
    ///
    /// # Errors
    /// [`Error::NoSuchLetter`], [`Error::LetterClosed`], [`Error::Redacted`], [`Error::Incomplete`], [`Error::NoHandler`],
    /// [`Error::Codec`] when the payload does not fit the handler's arguments, or [`Error::Ledger`]. That the handler itself
    /// fails is no error here, but [`RunOutcome::Failed`].
    pub async fn run(&self, id: &DeadLetterId) -> Result<RunOutcome, Error> {
        let letter = self.known(id).await?;
        let payload = letter.payload.clone();
        self.run_letter(letter, payload).await
    }

    /// [`run`](Self::run) with another payload, of which what the handler redacts is not stored: the way to run a letter
    /// whose [`missing`](DeadLetter::missing) parts somebody knows. The rest is an
    /// [`edit`](Self::edit).
    ///
    /// # Errors
    /// As [`run`](Self::run) and [`edit`](Self::edit).
    pub async fn run_with(
        &self,
        id: &DeadLetterId,
        payload: impl Into<Json>,
        why: impl Into<String>,
    ) -> Result<RunOutcome, Error> {
        let (payload, why) = (payload.into(), why.into());
        let letter = self.edit(id, payload.clone(), why.as_str()).await?;
        self.clone().why(why).run_letter(letter, payload).await
    }

    async fn run_letter(&self, letter: DeadLetter, payload: Json) -> Result<RunOutcome, Error> {
        let id = letter.id;
        if letter.state != LetterState::Open {
            return Err(Error::LetterClosed {
                id,
                state: letter.state,
            });
        }
        let missing: Vec<_> = letter.missing_in(&payload).map(str::to_owned).collect();
        if !missing.is_empty() {
            return Err(Error::Redacted { id, missing });
        }
        if let Some(size) = letter.cut_off() {
            return Err(Error::Incomplete { id, size });
        }
        let runner = runner(self.shared(), &letter.handler).ok_or_else(|| Error::NoHandler {
            handler: letter.handler.clone(),
        })?;
        let record = letter.record_id();
        let (step, unread) = (self.redriving(&letter), letter.is_buried());
        let redriving = Arc::new(Redriving::new(record.clone(), step, unread));
        loop {
            let running =
                begin(&runner, &letter, &payload).map_err(|problem| unfit(&letter, problem))?;
            let error = match current::scope(self.idem.clone(), on_behalf::run(Arc::clone(&redriving), running)).await {
                Ok(_) if !redriving.begun() => {
                    "the function given to `register_handler` did not call the handler with the letter's key".to_owned()
                }
                Ok(result) => {
                    if unread {
                        // Its own key has the result; what the bytes were kept under is over. Where
                        // the two are one key, there is nothing left to forget.
                        self.shared().apply(&record, self.forgetting(&letter)).await?;
                        self.shared().count_letters().await;
                    }
                    return Ok(RunOutcome::Done(result));
                }
                Err(error) => error,
            };
            let letter = match self.idem.record(&record).await? {
                Some(Record::Live(live)) => match live.phase {
                    Phase::Waiting { until: at, .. } if redriving.begun() => {
                        let clock = &self.shared().clock;
                        clock.sleep(until(at, clock.now())).await;
                        continue;
                    }
                    _ => None,
                },
                Some(Record::Settled(settled)) => match settled.end {
                    Settlement::Dead(letter) => Some(letter),
                    Settlement::Done(_) | Settlement::Discarded(_) | Settlement::Issued => None,
                },
                None => None,
            };
            return Ok(RunOutcome::Failed { error, letter });
        }
    }
}

fn panicked(caught: &(dyn Any + Send)) -> String {
    format!(
        "the function given to `register_handler` panicked: {}",
        panic::text(caught)
    )
}

/// Calls the handler with the payload.
fn begin(runner: &Runner, letter: &DeadLetter, payload: &Json) -> Result<Running, String> {
    match runner(argument(letter, payload)) {
        // People correct such a message as they would any other letter's, too: the argument by its
        // name.
        Err(problem) if letter.is_buried() => match only_field(payload) {
            Some(field) => runner(field).map_err(|_| problem),
            None => Err(problem),
        },
        begun => begun,
    }
}
