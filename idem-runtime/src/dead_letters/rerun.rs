//! Redrive that runs: a service says how its handlers are called again, and a letter is run inside
//! the protocol.

use std::any::Any;
use std::collections::HashMap;
use std::fmt::{self, Display};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::FutureExt;
use parking_lot::RwLock;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::DeadLetters;
use super::actions::unfit;
use crate::call::panic;
use crate::clock::{BoxFuture, until};
use crate::error::Error;
use crate::idem::current;
use crate::idem::{Idem, Inner};
use crate::json::Json;
use crate::json::problem::{from_json, json_problem};
use crate::protocol::{
    DeadLetter, DeadLetterId, LetterState, Phase, Record, RecordId, Settlement, Step,
};

/// One call of a handler with a letter's payload: its result as JSON, or its error's text.
type Running = BoxFuture<'static, Result<Json, String>>;
type Runner = Arc<dyn Fn(&str) -> Result<Running, String> + Send + Sync>;

/// How handlers are called again, by their names in the ledger.
#[derive(Default)]
pub(crate) struct Runners(RwLock<HashMap<String, Runner>>);

/// A run of a letter, as the call that it leads to sees it.
pub(crate) struct Redriving {
    pub(crate) id: RecordId,
    /// The re-arming, which that call makes before its claim.
    pub(crate) step: Step,
    begun: AtomicBool,
    /// No handler could take the message, so the key it is under need not be its own.
    pub(crate) unread: bool,
}

impl Redriving {
    /// Whether the call is the first one of the letter's key: that one re-arms it.
    pub(crate) fn begins(&self) -> bool {
        !self.begun.swap(true, Ordering::SeqCst)
    }

    fn begun(&self) -> bool {
        self.begun.load(Ordering::SeqCst)
    }
}

/// What a run of a letter came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
    /// # use idem_runtime::{Error, Filter, Idem, RunOutcome, idempotent};
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
                Json::of(&result)
                    .map_err(|error| format!("its result is no JSON: {}", json_problem(&error)))
            }))
        });
        self.inner()
            .runners
            .0
            .write()
            .insert(handler.into(), runner);
    }

    /// Whether this service has said how the handler is called again.
    pub fn has_handler(&self, handler: &str) -> bool {
        self.inner().runner(handler).is_some()
    }
}

impl Inner {
    /// How a handler is called again: under this name, else under another one that it has or had.
    fn runner(&self, handler: &str) -> Option<Runner> {
        let runners = self.runners.0.read();
        runners
            .get(handler)
            .or_else(|| {
                self.earlier
                    .all(handler)
                    .iter()
                    .find_map(|name| runners.get(name))
            })
            .map(Arc::clone)
    }
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
        let runner = self
            .inner()
            .runner(&letter.handler)
            .ok_or_else(|| Error::NoHandler {
                handler: letter.handler.clone(),
            })?;
        let record = letter.record_id();
        let (step, unread) = (self.redriving(&letter), letter.is_buried());
        let redriving = Arc::new(Redriving {
            id: record.clone(),
            step,
            begun: AtomicBool::new(false),
            unread,
        });
        loop {
            let running =
                begin(&runner, &letter, &payload).map_err(|problem| unfit(&letter, problem))?;
            let error = match current::redrive(self.idem.clone(), Arc::clone(&redriving), running).await {
                Ok(_) if !redriving.begun() => {
                    "the function given to `register_handler` did not call the handler with the letter's key".to_owned()
                }
                Ok(result) => {
                    if unread {
                        // Its own key has the result; what the bytes were kept under is over. Where
                        // the two are one key, there is nothing left to forget.
                        self.inner().apply(&record, self.forgetting(&letter)).await?;
                        self.inner().count_letters().await;
                    }
                    return Ok(RunOutcome::Done(result));
                }
                Err(error) => error,
            };
            let letter = match self.idem.record(&record).await? {
                Some(Record::Live(live)) => match live.phase {
                    Phase::Waiting { until: at, .. } if redriving.begun() => {
                        let clock = &self.inner().clock;
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

/// The payload as a handler takes it: of one argument, its value. A message that no handler could
/// take is whole.
pub(super) fn argument<'a>(letter: &DeadLetter, payload: &'a Json) -> &'a str {
    let only = || only_field(payload).filter(|_| letter.arguments() == 1);
    if letter.is_buried() { None } else { only() }.unwrap_or(payload.as_str())
}

fn only_field(payload: &Json) -> Option<&str> {
    let fields: HashMap<String, &RawValue> = payload.parse().ok()?;
    let mut values = fields.into_values();
    values
        .next()
        .filter(|_| values.len() == 0)
        .map(RawValue::get)
}

impl fmt::Debug for Redriving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redriving")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
