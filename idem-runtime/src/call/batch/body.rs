//! A body that runs for many messages: their calls, which it ends, and the time that it has.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Poll;
use std::{future::poll_fn, pin::pin};

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::oneshot;
use tracing::Instrument;

use super::guest::{Back, Guest};
use super::place::plain;
use crate::call::Call;
use crate::call::attempt::{FRAME, Frame};
use crate::call::body::{BodyEnd, Run};
use crate::call::panic::text;
use crate::handler::Handler;
use crate::handler::bounds::{Failure, Outcome, Replayable};
use crate::idem::Idem;
use crate::protocol::RecordId;
use crate::trace;

/// A body that was started for many messages.
pub(super) struct SharedBody<R: Outcome, F> {
    calls: Vec<Seated<R>>,
    /// What the messages have in common, if there is any.
    common: Option<(Idem, &'static Handler)>,
    ids: Vec<RecordId>,
    /// Or the panic of the code before its future.
    body: Result<F, String>,
}

/// A call whose attempt is a body's.
struct Seated<R: Outcome> {
    call: Call<R>,
    run: Run,
    back: oneshot::Sender<Back<R>>,
}

/// How a body ended for all its messages.
enum Ended<R> {
    Returned(Vec<R>),
    Panicked(String),
    TimedOut,
    /// Another process has the claims of some.
    Lost(Vec<bool>),
}

impl<R, F> SharedBody<R, F>
where
    R: Outcome<Ok: Replayable, Error: Failure>,
    F: Future<Output = Vec<R>>,
{
    /// Starts the body for these messages.
    pub(super) fn start<T>(guests: Vec<Guest<T, R>>, body: impl FnOnce(Vec<T>) -> F) -> Self {
        let (mut common, mut ids, mut calls) = (None, Vec::new(), Vec::new());
        let mut messages = Vec::new();
        for Guest {
            mut call,
            message,
            back,
        } in guests
        {
            let started = call.granted().and_then(|(drive, _)| {
                common.get_or_insert((drive.idem().clone(), drive.handler()));
                let id = drive.id().clone();
                // The body has a limit, which is the same for all.
                Some((id, drive.start(None)?))
            });
            let Some((id, run)) = started else {
                let _ = back.send(Back::Ended(call));
                continue;
            };
            ids.push(id);
            messages.push(message);
            calls.push(Seated { call, run, back });
        }
        let body = catch_unwind(AssertUnwindSafe(|| body(messages)));
        Self {
            calls,
            common,
            ids,
            body: body.map_err(|panic| text(&*panic)),
        }
    }

    /// Runs it, and ends each call, whether its caller still waits or not: the body has done its work.
    pub(super) async fn run(self) {
        let Self {
            mut calls,
            common,
            ids,
            body,
        } = self;
        let Some((idem, handler)) = common else {
            return;
        };
        let ended = match body {
            Ok(body) => run(&idem, handler, ids, body, &mut calls).await,
            Err(panic) => Ended::Panicked(panic),
        };
        let ends = ended.of_each(calls.len(), handler);
        let recorded = calls
            .into_iter()
            .zip(ends)
            .map(|(seated, (ended, returned))| {
                let Seated {
                    mut call,
                    run,
                    back,
                } = seated;
                async move {
                    call.record(run, ended, returned).await;
                    let _ = back.send(Back::Ended(call));
                }
            });
        let recorded: FuturesUnordered<_> = recorded.collect();
        recorded.collect::<()>().await;
    }
}

impl<R> Ended<R> {
    /// How it ended for each of so many messages.
    fn of_each(self, count: usize, handler: &'static Handler) -> Vec<(BodyEnd, Option<R>)> {
        let panicked = |text: &str| (BodyEnd::Panicked(text.to_owned()), None);
        match self {
            Self::Returned(results) if results.len() == count => {
                let returned = |result| (BodyEnd::Returned, Some(result));
                results.into_iter().map(returned).collect()
            }
            Self::Returned(results) => {
                let text = format!(
                    "the body returned {} results for {count} messages, so it is not known which is whose",
                    results.len()
                );
                (0..count).map(|_| panicked(&text)).collect()
            }
            Self::Panicked(text) => (0..count).map(|_| panicked(&text)).collect(),
            Self::TimedOut => {
                let limit = handler.timeout.unwrap_or_default();
                let timed_out = |_| (BodyEnd::TimedOut(limit), None);
                (0..count).map(timed_out).collect()
            }
            Self::Lost(lost) => {
                let of_one = |is_lost| match is_lost {
                    true => (BodyEnd::LostLease, None),
                    false => panicked(
                        "the body was stopped, because the claim of another of its messages passed on",
                    ),
                };
                lost.into_iter().map(of_one).collect()
            }
        }
    }
}

async fn run<R: Outcome, F: Future<Output = Vec<R>>>(
    idem: &Idem,
    handler: &'static Handler,
    ids: Vec<RecordId>,
    body: F,
    // Not shared: a call may move between threads, and no more.
    calls: &mut [Seated<R>],
) -> Ended<R> {
    let span = trace::span::batch(&ids);
    let frame = Arc::new(Frame::of_many(Arc::clone(idem.shared()), ids));
    let body = AssertUnwindSafe(FRAME.scope(frame, plain(body))).catch_unwind();
    let mut body = pin!(body.instrument(span));
    let mut limit = handler
        .timeout
        .map(|limit| idem.shared().clock.sleep(limit));
    poll_fn(|context| {
        // Each is asked, so that each wakes this task.
        let mut has_lost = false;
        for seated in calls.iter_mut() {
            has_lost |= seated.run.has_lost(context);
        }
        // What the body still does for them would be done twice.
        if has_lost {
            let lost = calls.iter_mut().map(|seated| seated.run.has_lost(context));
            return Poll::Ready(Ended::Lost(lost.collect()));
        }
        if let Poll::Ready(ended) = body.as_mut().poll(context) {
            return Poll::Ready(match ended {
                Ok(results) => Ended::Returned(results),
                Err(panic) => Ended::Panicked(text(&*panic)),
            });
        }
        match &mut limit {
            Some(passed) => passed.as_mut().poll(context).map(|()| Ended::TimedOut),
            None => Poll::Pending,
        }
    })
    .await
}
