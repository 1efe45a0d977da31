//! The life of a call, as the attribute's expansion drives it.

mod attempt;
mod blocking;
mod body;
mod drive;
mod flight;
mod held;

use std::fmt::Write;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::Ordering;

pub use attempt::{Attempt, attempt, found_existing};
use blocking::block_on;
use body::Ended;
use drive::{Drive, Next, Reported};
pub(crate) use flight::Flights;

use crate::bounds::{Failure, Outcome, Replayable};
use crate::error::Error;
use crate::message::Message;
use crate::protocol::AttemptOutcome;

/// The longest error text that is stored, in bytes.
const LONGEST_TEXT: usize = 4096;

/// One call of a handler: begin, then while told to run: run the body; then finish.
pub struct Call<R: Outcome> {
    drive: Result<Drive, Option<Error>>,
    retry_if: Option<fn(&R::Error) -> bool>,
    result: Option<R>,
}

impl<R> Call<R>
where
    R: Outcome,
    R::Ok: Replayable,
    R::Error: Failure,
{
    /// Starts a call.
    pub fn begin(message: Message) -> Self {
        Self { drive: Drive::begin(message).map_err(Some), retry_if: None, result: None }
    }

    /// `retry_if = path`.
    #[must_use]
    pub fn retry_if(mut self, retry_if: fn(&R::Error) -> bool) -> Self {
        self.retry_if = Some(retry_if);
        self
    }

    /// Whether the body is to run (again); claims the key when it is.
    pub async fn next(&mut self) -> bool {
        if self.result.is_some() {
            return false;
        }
        let next = match &mut self.drive {
            Ok(drive) => drive.next().await,
            Err(error) => match error.take() {
                Some(error) => Next::Refuse(error),
                None => return false,
            },
        };
        match next {
            Next::Run => return true,
            Next::Replay(json) => self.replay(&json),
            Next::Refuse(error) => self.refuse(error),
        }
        false
    }

    /// Runs the body once and records how it ended.
    pub async fn run<F: Future<Output = R>>(&mut self, body: Pin<&mut F>) {
        let Ok(drive) = &mut self.drive else { return };
        let Some(held) = drive.held() else { return };
        let frame = held.frame(drive.idem().inner(), false);
        let ended = body::run(body, frame.clone(), held, drive.idem()).await;
        self.settle(ended, frame.found_existing.load(Ordering::Relaxed)).await;
    }

    /// [`next`](Self::next) for a sync handler.
    pub fn next_blocking(&mut self) -> bool {
        if let Ok(drive) = &mut self.drive {
            drive.block();
        }
        block_on(self.next())
    }

    /// [`run`](Self::run) for a sync handler.
    pub fn run_blocking(&mut self, body: impl FnOnce() -> R) {
        let Ok(drive) = &mut self.drive else { return };
        let Some(held) = drive.held() else { return };
        let frame = held.frame(drive.idem().inner(), true);
        let ended = blocking::hold(|| body::run_blocking(body, frame.clone(), held, drive.idem()));
        block_on(self.settle(ended, frame.found_existing.load(Ordering::Relaxed)));
    }

    /// What the caller gets. `next` has said false, so there is a result.
    pub fn finish(mut self) -> R {
        match self.result.take() {
            Some(result) => result,
            None => R::from_result(Err(Error::Closed { handler: None, key: None }.into())),
        }
    }

    async fn settle(&mut self, ended: Ended<R>, found: bool) {
        let Ok(drive) = &mut self.drive else { return };
        let (outcome, text, own) = match ended {
            Ended::Returned(result) => match result.into_result() {
                Ok(value) => return self.complete(value, found).await,
                Err(error) => {
                    let permanent = self.retry_if.is_some_and(|retry_if| !retry_if(&error));
                    let outcome = if permanent { AttemptOutcome::Permanent } else { AttemptOutcome::Failed };
                    (outcome, text_of(&error), Own::Error(error))
                }
            },
            Ended::Panicked(message) => (AttemptOutcome::Panicked, cut(message.clone()), Own::Panic(message)),
            Ended::TimedOut(limit) => {
                let text = format!("the body did not return within {limit:?}");
                (AttemptOutcome::TimedOut, text, Own::Timeout(limit))
            }
        };
        let redeliver = drive.handler().redeliver;
        let attempt = drive.held().map_or(0, |held| held.number);
        let (handler, key) = (drive.id().handler.to_string(), drive.id().key.to_string());
        match (drive.fail(outcome, Some(text)).await, own) {
            (Reported::Refused(error), _) => self.refuse(error),
            (Reported::Waiting, _) if !redeliver => {}
            (_, Own::Error(error)) => self.end("failed", Err(error)),
            (Reported::Dead(letter), _) if !redeliver => {
                let error = drive.dead(letter, false);
                self.refuse(error);
            }
            (_, Own::Panic(message)) => self.refuse(Error::Panicked { handler, key, attempt, message }),
            (_, Own::Timeout(limit)) => self.refuse(Error::TimedOut { handler, key, attempt, limit }),
        }
    }

    async fn complete(&mut self, value: R::Ok, found: bool) {
        let Ok(drive) = &mut self.drive else { return };
        let problem = match serde_json::to_vec(&value) {
            Ok(json) => {
                return match drive.complete(json, found).await {
                    Reported::Refused(error) => self.refuse(error),
                    _ => self.end(if found { "existing" } else { "done" }, Ok(value)),
                };
            }
            Err(error) => error.to_string(),
        };
        let (handler, key) = (drive.id().handler.to_string(), drive.id().key.to_string());
        match drive.fail(AttemptOutcome::ResultNotStorable, Some(cut(problem.clone()))).await {
            Reported::Refused(error) => self.refuse(error),
            _ => {
                let what = "the body returned, but its result cannot be turned into JSON, so the message is a dead \
                            letter and will not run again:";
                self.refuse(Error::Codec { handler, key, what: what.to_owned(), problem });
            }
        }
    }

    fn replay(&mut self, json: &[u8]) {
        match serde_json::from_slice(json) {
            Ok(value) => self.end("replayed", Ok(value)),
            Err(error) => {
                let Ok(drive) = &self.drive else { return };
                let what = "done before, but the recorded result no longer decodes as the handler's result type, and \
                            nothing ran; make the type read what it wrote:";
                let error = Error::Codec {
                    handler: drive.id().handler.to_string(),
                    key: drive.id().key.to_string(),
                    what: what.to_owned(),
                    problem: error.to_string(),
                };
                self.refuse(error);
            }
        }
    }

    fn refuse(&mut self, error: Error) {
        self.end(error.kind(), Err(error.into()));
    }

    fn end(&mut self, outcome: &'static str, result: Result<R::Ok, R::Error>) {
        if let Ok(drive) = &mut self.drive {
            drive.tell(outcome);
        }
        self.result = Some(R::from_result(result));
    }
}

/// What the body left where it left no result.
enum Own<E> {
    Error(E),
    Panic(String),
    Timeout(std::time::Duration),
}

/// An error with its causes, as `anyhow` and others print them in the alternate form.
fn text_of(error: &impl std::fmt::Display) -> String {
    let mut text = String::new();
    match write!(text, "{error:#}") {
        Ok(()) => cut(text),
        Err(_) => "an error that cannot be printed".to_owned(),
    }
}

fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(LONGEST_TEXT));
    text
}
