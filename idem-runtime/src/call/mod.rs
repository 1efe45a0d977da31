//! The life of a call, as the attribute's expansion drives it.

mod admission;
mod attempt;
mod batch;
pub(crate) mod begin;
mod blocking;
mod body;
mod claims;
mod closure;
mod dropped;
mod errors;
mod follow;
mod gated;
mod lease;
mod machine;
pub(crate) mod on_behalf;
mod own;
pub(crate) mod panic;
mod recorded;
mod replay;
mod report;
mod reported;
mod single_flight;
mod transaction;
mod unclaimed;
pub(crate) mod wait;

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Poll, ready};

pub use attempt::{Attempt, attempt, found_existing};
pub(crate) use attempt::{Frame, enqueue, trace};
pub use batch::{Batches, one};
use body::{Artifacts, BodyEnd, Run};
pub use claims::Claims;
pub use closure::HandlerCall;
use machine::{Drive, Next};
use own::{read_with, text_of};
use panic::caught;
pub(crate) use recorded::Recorded;
use recorded::read_older;
pub use recorded::upgraded;
pub use replay::{Replayed, watch_replay};
use report::AttemptResult;
use reported::CallerResult;
use serde::Serialize;
use serde_json::Value;
pub(crate) use single_flight::SingleFlight;
pub use transaction::{AttemptTransaction, transaction};

use crate::delivery::Verdict;
use crate::error::Error;
use crate::handler::bounds::{Failure, Outcome, Replayable};
use crate::message::CallBuilder;
use crate::outbox::OutboxMessage;
use crate::protocol::AttemptOutcome;

/// The longest error text that is stored, in bytes.
const LONGEST_TEXT: usize = 4096;

/// `upgrade = path`, with an error that is a text.
type Upgrade<R> = fn(u32, Value) -> Result<<R as Outcome>::Ok, String>;

/// `events = path`.
type Events<R> = fn(&<R as Outcome>::Ok) -> Result<Vec<OutboxMessage>, <R as Outcome>::Error>;

/// One call of a handler: begin, then while told to run: run the body; then finish.
///
/// It is compiled once for each handler, so it only turns types into JSON and back; `Drive` does the
/// rest.
pub struct Call<R: Outcome> {
    drive: Option<Box<Drive>>,
    upgrade: Option<Upgrade<R>>,
    events: Option<Events<R>>,
    retry_if: Option<fn(&R::Error) -> bool>,
    outage: Option<fn(&R::Error) -> bool>,
    release_if: Option<fn(&R::Error) -> bool>,
    result: Option<R>,
}

impl<R> Call<R>
where
    R: Outcome,
    R::Ok: Replayable,
    R::Error: Failure,
{
    /// Starts a call.
    pub fn begin(message: CallBuilder) -> Self {
        match Drive::begin(message) {
            Ok(drive) => Self {
                drive: Some(drive),
                upgrade: None,
                events: None,
                retry_if: None,
                outage: None,
                release_if: None,
                result: None,
            },
            Err(error) => Self {
                drive: None,
                upgrade: None,
                events: None,
                retry_if: None,
                outage: None,
                release_if: None,
                result: Some(refused(error)),
            },
        }
    }

    /// `upgrade = path`.
    #[must_use]
    pub fn upgrade(mut self, upgrade: fn(u32, Value) -> Result<R::Ok, String>) -> Self {
        self.upgrade = Some(upgrade);
        self
    }

    /// `events = path`.
    #[must_use]
    pub fn events(mut self, events: Events<R>) -> Self {
        self.events = Some(events);
        self
    }

    /// `retry_if = path`.
    #[must_use]
    pub fn retry_if(mut self, retry_if: fn(&R::Error) -> bool) -> Self {
        self.retry_if = Some(retry_if);
        self
    }

    /// Says which errors release the key.
    #[must_use]
    pub(crate) fn release_if(mut self, release_if: fn(&R::Error) -> bool) -> Self {
        self.release_if = Some(release_if);
        self
    }

    /// `outage = path`.
    #[must_use]
    pub fn outage(mut self, outage: fn(&R::Error) -> bool) -> Self {
        self.outage = Some(outage);
        if let Some(drive) = &mut self.drive {
            drive.knows_outages = true;
        }
        self
    }

    /// Claims the key for an attempt. Returns whether the body is to run (again).
    pub async fn next(&mut self) -> bool {
        let Some(drive) = self.unfinished() else {
            return false;
        };
        let next = poll_fn(|context| drive.poll_next(context)).await;
        self.is_to_run(next)
    }

    /// [`next`](Self::next), which says, while it waits, whether only the ledger's answer is missing.
    async fn next_saying(&mut self, mut is_near: impl FnMut(bool)) -> bool {
        let Some(drive) = self.unfinished() else {
            return false;
        };
        let next = poll_fn(|context| {
            let next = drive.poll_next(context);
            if next.is_pending() {
                is_near(drive.is_asking());
            }
            next
        })
        .await;
        self.is_to_run(next)
    }

    /// The call without its types, if its body is to run.
    fn granted(&mut self) -> Option<(&mut Drive, u32)> {
        let drive = self.unfinished()?;
        let number = drive.attempt_number()?;
        Some((drive, number))
    }

    /// Copies the arguments for one attempt, or ends it: then [`next`](Self::next) returns what
    /// follows.
    pub fn copies<T>(&mut self, copy: impl FnOnce() -> T) -> Option<T> {
        let (mut copy, mut copies) = (Some(copy), None);
        self.unfinished()?
            .copies(&mut || copies = copy.take().map(|copy| copy()));
        copies
    }

    /// Runs the body once and records how it ended.
    pub async fn run<F: Future<Output = R>>(&mut self, mut body: Pin<&mut F>) {
        // What the body needs, the rest of this future does not hold.
        let (run, ended, returned) = {
            let Some(drive) = self.unfinished() else {
                return;
            };
            let Some(mut run) = drive.start(drive.handler().timeout) else {
                return;
            };
            let mut returned = None;
            let ended = poll_fn(|context| {
                run.poll(context, &mut |context| match body.as_mut().poll(context) {
                    Poll::Ready(result) => {
                        returned = Some(result);
                        true
                    }
                    Poll::Pending => false,
                })
            })
            .await;
            (run, ended, returned)
        };
        self.record(run, ended, returned).await;
    }

    /// Records how the body ended.
    ///
    /// It is no `async fn`: that would hold its arguments beside what it makes of them, and callers have
    /// it in their futures.
    fn record(
        &mut self,
        run: Run,
        ended: BodyEnd,
        returned: Option<R>,
    ) -> impl Future<Output = ()> {
        let mut own = self.ends(run, ended, returned);
        poll_fn(move |context| {
            if let Some(drive) = self.unfinished() {
                let caller = ready!(drive.poll_caller_result(context));
                self.end_attempt(caller, own.take());
            }
            Poll::Ready(())
        })
    }

    /// Begins to report how the body ended, and returns its own result for the caller.
    fn ends(&mut self, run: Run, ended: BodyEnd, returned: Option<R>) -> Option<R> {
        let artifacts = run.artifacts();
        // The lease is not renewed past the body.
        drop(run);
        let (result, own) = self.report(ended, returned, artifacts);
        self.unfinished()?.report(result);
        own
    }

    /// [`next`](Self::next) for a sync handler.
    pub fn next_blocking(&mut self) -> bool {
        let Some(drive) = self.unfinished() else {
            return false;
        };
        let next = drive.next_blocking();
        self.is_to_run(next)
    }

    /// [`run`](Self::run) for a sync handler.
    pub fn run_blocking(&mut self, body: impl FnOnce() -> R) {
        let Some(drive) = self.unfinished() else {
            return;
        };
        let Some(run) = drive.start(None) else { return };
        let (mut body, mut returned) = (Some(body), None);
        let ended = run.run_blocking(&mut || returned = body.take().map(|body| body()));
        let own = self.ends(run, ended, returned);
        if let Some(drive) = self.unfinished() {
            let caller = drive.caller_result_blocking();
            self.end_attempt(caller, own);
        }
    }

    /// Returns what the caller gets. `next` has returned false, so there is a result.
    pub fn finish(mut self) -> R {
        self.result.take().unwrap_or_else(|| {
            refused(Error::Closed {
                handler: None,
                key: None,
            })
        })
    }

    fn unfinished(&mut self) -> Option<&mut Drive> {
        if self.result.is_some() {
            None
        } else {
            self.drive.as_deref_mut()
        }
    }

    fn is_to_run(&mut self, next: Next) -> bool {
        self.result = match next {
            Next::Run => return true,
            Next::Refuse(error) => Some(refused(error)),
            Next::Replay(recorded) => self.replayed(&recorded),
        };
        false
    }

    fn replayed(&mut self, recorded: &Recorded) -> Option<R> {
        let drive = self.drive.as_mut()?;
        let mut value = None;
        let is_older = recorded.version < drive.handler().version;
        let read = match self.upgrade {
            Some(upgrade) if is_older => read_older(recorded, &mut |from, json| {
                upgrade(from, json).map(|upgraded| value = Some(upgraded))
            }),
            _ => read_with(&recorded.json, &mut |json| {
                serde_json::from_slice(json).map(|read| value = Some(read))
            })
            .map_err(|problem| problem.to_string()),
        };
        if let Err(problem) = read {
            return Some(refused(drive.unreadable(recorded.version, &problem)));
        }
        drive.note_replay(recorded);
        drive.count_call("replayed");
        drive.set_verdict(|| Verdict::Settled);
        value.map(|value| R::from_result(Ok(value)))
    }

    /// How the attempt ended, without its types, and the body's own result for the caller.
    fn report(
        &mut self,
        ended: BodyEnd,
        returned: Option<R>,
        mut artifacts: Artifacts,
    ) -> (AttemptResult, Option<R>) {
        let mut returned = returned.map(R::into_result);
        if let (BodyEnd::Returned, Some(Ok(value)), Some(events)) = (&ended, &returned, self.events)
        {
            match self.messages(&mut artifacts.outgoing, &mut || events(value)) {
                Ok(Ok(())) => {}
                Ok(Err(error)) => returned = Some(Err(error)),
                Err(panic) => return (AttemptResult::Panicked(panic), None),
            }
        }
        match (ended, returned, &mut self.drive) {
            (BodyEnd::Panicked(message), _, _) => (AttemptResult::Panicked(message), None),
            (BodyEnd::TimedOut(limit), _, _) => (AttemptResult::TimedOut(limit), None),
            (BodyEnd::LostLease, _, _) => (AttemptResult::LostLease, None),
            (BodyEnd::Returned, Some(Ok(value)), Some(drive)) => {
                let json = drive.written(&mut |json| value.serialize(json), &mut |json| {
                    serde_json::from_slice::<R::Ok>(json).map(drop)
                });
                (
                    AttemptResult::Returned { json, artifacts },
                    Some(R::from_result(Ok(value))),
                )
            }
            (BodyEnd::Returned, Some(Err(error)), Some(drive))
                if self
                    .release_if
                    .is_some_and(|released| drive.is_released(&mut || released(&error))) =>
            {
                (AttemptResult::Released, Some(R::from_result(Err(error))))
            }
            (BodyEnd::Returned, Some(Err(error)), Some(drive)) => {
                let (outage, retry_if) = (self.outage, self.retry_if);
                let outcome =
                    if outage.is_some_and(|outage| drive.is_outage(&mut || outage(&error))) {
                        AttemptOutcome::Outage
                    } else if retry_if
                        .is_some_and(|retry_if| drive.is_permanent(&mut || retry_if(&error)))
                    {
                        AttemptOutcome::Permanent
                    } else {
                        AttemptOutcome::Failed
                    };
                let text = text_of(&error);
                (
                    AttemptResult::Failed { outcome, text },
                    Some(R::from_result(Err(error))),
                )
            }
            (BodyEnd::Returned, _, _) => (
                AttemptResult::Panicked("the body returned nothing".to_owned()),
                None,
            ),
        }
    }

    /// Adds the messages that `events` makes, or returns its panic.
    fn messages(
        &self,
        outgoing: &mut Vec<OutboxMessage>,
        events: &mut dyn FnMut() -> Result<Vec<OutboxMessage>, R::Error>,
    ) -> Result<Result<(), R::Error>, String> {
        let mut made = Ok(Vec::new());
        caught(&mut || made = events()).map_err(|panic| format!("`events`: {panic}"))?;
        Ok(made.and_then(|messages| {
            if let Some(drive) = &self.drive {
                let fits = |message| drive.idem().outbox().fits(message);
                messages.iter().try_for_each(fits)?;
            }
            outgoing.extend(messages);
            Ok(())
        }))
    }

    fn end_attempt(&mut self, caller: CallerResult, own: Option<R>) {
        match caller {
            CallerResult::Retry => {}
            CallerResult::Own => self.result = own,
            CallerResult::Replay(recorded) => self.result = self.replayed(&recorded),
            CallerResult::Refuse(error) => self.result = Some(refused(error)),
        }
    }
}

fn refused<R: Outcome<Error: From<Error>>>(error: Error) -> R {
    R::from_result(Err(error.into()))
}

pub(crate) fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(LONGEST_TEXT));
    text
}
