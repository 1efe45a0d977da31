//! Redrive that runs: a service registers how its handlers are called again, and a letter is run as
//! a call of its handler.

use std::fmt::Display;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tracing::Instrument;

use super::payload::unfit;
use super::registered::{Runner, Running, running};
use super::ways::{Way, runner, ways};
use super::{DeadLetters, LetterError};
use crate::call::on_behalf::{self, Redriving};
use crate::clock::until;
use crate::idem::Idem;
use crate::idem::current;
use crate::json::Json;
use crate::json::problem::from_json;
use crate::ledger::LedgerError;
use crate::protocol::{DeadLetter, DeadLetterId, LetterState, Phase, Record, Settlement};
use crate::trace;

/// The outcome of a run of a letter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RunOutcome {
    /// The handler's result, as JSON.
    Done(Json),
    /// The run failed.
    Failed {
        /// The error's text.
        error: String,
        /// The letter that is open now: the same one if nothing ran, a new one if the message died
        /// again.
        letter: Option<DeadLetterId>,
    },
}

impl Idem {
    /// Registers how a handler is called again, for [`DeadLetters::run`]. `run` gets the letter's
    /// payload: the argument of a handler with one, and a struct with a field for each argument of
    /// a handler with several. The number of arguments is that of the recorded message, so an edit
    /// may leave out an optional one. A later registration replaces an earlier one, and goes before a
    /// [consumer's](Self::register_consumer).
    ///
    /// The payload of a message that no handler could take is the message itself, as the broker
    /// would deliver it. If that does not fit and is an object with one field, `run` gets the value
    /// of the field, as in `{"order": {…}}`. So is the payload of a handler whose arguments a deploy
    /// has made one, or several.
    ///
    /// `run` lives as long as the ledger is open. An [`Idem`] in it, also in a struct that a method
    /// with `runtime = self.idem` belongs to, would keep the ledger open after the last other handle
    /// is gone, until [`close`](Idem::close). It needs none: the attribute without `runtime` and
    /// [`HandlerDef::call`](crate::HandlerDef::call) find the handle that the letter is run on.
    ///
    /// It also runs the letters of earlier names of the handler (`was = "…"`), once a call on this
    /// ledger has given them; until then register the earlier name, too.
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
            let argument = from_json(argument)?;
            Ok(running(|| run(argument)))
        });
        self.shared().runners.insert(handler.into(), runner);
    }

    /// Returns whether the handler is registered.
    pub fn has_handler(&self, handler: &str) -> bool {
        runner(self.shared(), handler).is_some()
    }
}

impl DeadLetters {
    /// Redrives the letter and runs its handler at once, in this process, with the letter's
    /// payload. The call itself re-arms the key: if the payload does not fit, or has another key,
    /// the letter stays open. If the process dies in the middle, the message continues as any
    /// other: it is not lost.
    ///
    /// Edit a letter of a message that no handler could take first. It runs under the key that it
    /// has then, and is closed once the handler has succeeded.
    ///
    /// With `retry = "redeliver"` the handler is called again after each pause, as by a broker.
    ///
    /// # Errors
    /// [`LetterError::NoSuchLetter`], [`LetterError::LetterClosed`], [`LetterError::Redacted`],
    /// [`LetterError::Sealed`], [`LetterError::Incomplete`], [`LetterError::NoHandler`],
    /// [`LetterError::PayloadUnfit`], or [`LetterError::Ledger`], also when the [`Idem`] was closed
    /// before the handler ran, or between two attempts. A failure of the handler itself is
    /// [`RunOutcome::Failed`].
    pub async fn run(&self, id: &DeadLetterId) -> Result<RunOutcome, LetterError> {
        let letter = self.known(id).await?;
        let payload = letter.payload.clone();
        self.run_letter(letter, payload).await
    }

    /// [`run`](Self::run) with another payload, whose redacted parts are sealed or not stored: use it
    /// for a letter with [`missing`](DeadLetter::missing) parts. The rest of the payload is recorded as
    /// an [`edit`](Self::edit).
    ///
    /// # Errors
    /// As [`run`](Self::run) and [`edit`](Self::edit).
    pub async fn run_with(
        &self,
        id: &DeadLetterId,
        payload: impl Into<Json>,
        why: impl Into<String>,
    ) -> Result<RunOutcome, LetterError> {
        let (payload, why) = (payload.into(), why.into());
        let letter = self.edit(id, payload.clone(), why.as_str()).await?;
        self.clone().why(why).run_letter(letter, payload).await
    }

    async fn run_letter(
        &self,
        letter: DeadLetter,
        payload: Json,
    ) -> Result<RunOutcome, LetterError> {
        let id = letter.id;
        if letter.state != LetterState::Open {
            return Err(LetterError::LetterClosed {
                id,
                state: letter.state,
            });
        }
        let missing: Vec<_> = letter.missing_in(&payload).map(str::to_owned).collect();
        if !missing.is_empty() {
            return Err(LetterError::Redacted { id, missing });
        }
        if let Some(size) = letter.cut_off() {
            return Err(LetterError::Incomplete { id, size });
        }
        let no_handler = || LetterError::NoHandler {
            handler: letter.handler.clone(),
        };
        if !self.idem.can_run(&letter) {
            return Err(no_handler());
        }
        let payload = self.opened(&letter, payload)?;
        let mut unfits = None;
        for way in ways(self.shared(), &letter, &payload) {
            match way.begin() {
                Ok(running) => {
                    if let Some(outcome) = self.run_by(&way, running, &letter).await? {
                        return Ok(outcome);
                    }
                }
                Err(problem) => unfits = unfits.or(Some(unfit(&letter, problem))),
            }
        }
        Err(unfits.unwrap_or_else(no_handler))
    }

    /// Runs the letter in one way. Returns `None` if that called another handler: nothing ran.
    async fn run_by(
        &self,
        way: &Way,
        running: Running,
        letter: &DeadLetter,
    ) -> Result<Option<RunOutcome>, LetterError> {
        let record = letter.record_id();
        let redriving = Redriving::new(letter, self.redriving(letter), way.call);
        let redriving = Arc::new(redriving);
        let span = trace::span::redrive(letter);
        let today = self.shared().handlers.today(&letter.handler);
        let handler = today.unwrap_or_else(|| letter.handler.as_str().into());
        let (mut turn, mut running) = (None, running);
        loop {
            let run = on_behalf::run(Arc::clone(&redriving), running);
            let run = current::scope(self.idem.clone(), run).instrument(span.clone());
            let error = match run.await {
                _ if redriving.strayed() => return Ok(None),
                Ok(_) if !redriving.begun() => {
                    "the function given to `register_handler`, or to the consumer, did not call the handler with the \
                     letter's key"
                        .to_owned()
                }
                Ok(result) => {
                    if redriving.unread {
                        // The result is under the message's own key, so the record under the buried
                        // key ends. If the two are one key, nothing is left to remove.
                        self.shared().apply(&record, self.forgetting(letter)).await?;
                        self.shared().count_letters().await;
                    }
                    return Ok(Some(RunOutcome::Done(result)));
                }
                Err(error) => error,
            };
            let closing = self.shared().refuses_calls();
            let open = match self.idem.record(&record).await? {
                Some(Record::Live(live)) => match live.phase {
                    Phase::Waiting { .. } if closing => return Err(LedgerError::Closed.into()),
                    Phase::Waiting { until: at, .. } if redriving.begun() => {
                        let clock = &self.shared().clock;
                        drop(turn.take());
                        clock.sleep(until(at, clock.now())).await;
                        turn = Some(self.idem.admitted(&handler).await);
                        running = way.begin().map_err(|problem| unfit(letter, problem))?;
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
            let is_untouched = open == Some(letter.id) && !redriving.unread;
            if closing && (is_untouched || !redriving.begun()) {
                // The closing refused the call, which is no failure of the message.
                return Err(LedgerError::Closed.into());
            }
            return Ok(Some(RunOutcome::Failed {
                error,
                letter: open,
            }));
        }
    }
}
