//! A body that runs for many messages: what each hands over, and the result that each gets.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Poll;
use std::{future::poll_fn, pin::pin};

use futures_util::FutureExt;
use tokio::sync::oneshot;
use tracing::Instrument;

use super::place::plain;
use crate::call::attempt::{FRAME, Frame};
use crate::call::panic::text;
use crate::idem::Idem;
use crate::protocol::RecordId;
use crate::trace;

/// What becomes of a message in a body: its result, or the body's panic.
type Answer<R> = Result<R, String>;

/// A message that waits for a body.
pub(super) struct Guest<T, R> {
    idem: Idem,
    id: RecordId,
    message: T,
    answer: oneshot::Sender<Answer<R>>,
}

impl<T, R> Guest<T, R> {
    pub(super) fn new(
        idem: Idem,
        id: RecordId,
        message: T,
    ) -> (Self, oneshot::Receiver<Answer<R>>) {
        let (answer, result) = oneshot::channel();
        let guest = Self {
            idem,
            id,
            message,
            answer,
        };
        (guest, result)
    }

    pub(super) fn idem(&self) -> &Idem {
        &self.idem
    }

    /// Returns whether its call has ended meanwhile, by its timeout for example.
    pub(super) fn has_left(&self) -> bool {
        self.answer.is_closed()
    }
}

/// A body that was started for many messages.
pub(super) struct Started<R, F> {
    idem: Option<Idem>,
    ids: Vec<RecordId>,
    answers: Vec<oneshot::Sender<Answer<R>>>,
    /// Or the panic of the code before its future.
    body: Result<F, String>,
}

impl<R, F: Future<Output = Vec<R>>> Started<R, F> {
    /// Starts the body for these messages.
    pub(super) fn new<T>(guests: Vec<Guest<T, R>>, body: impl FnOnce(Vec<T>) -> F) -> Self {
        let (mut idem, mut ids, mut answers) = (None, Vec::new(), Vec::new());
        let messages = guests.into_iter().map(|guest| {
            idem.get_or_insert(guest.idem);
            ids.push(guest.id);
            answers.push(guest.answer);
            guest.message
        });
        let messages: Vec<T> = messages.collect();
        let body = catch_unwind(AssertUnwindSafe(|| body(messages)));
        Self {
            idem,
            ids,
            answers,
            body: body.map_err(|panic| text(&*panic)),
        }
    }

    /// Runs it, and gives each message its result. Ends early once no call waits for one.
    pub(super) async fn run(mut self) {
        let results = match (self.idem, self.body) {
            (Some(idem), Ok(body)) => run(&idem, self.ids, body, &mut self.answers).await,
            (_, Err(panic)) => Some(Err(panic)),
            (None, Ok(_)) => None,
        };
        let Some(results) = results else { return };
        let count = self.answers.len();
        let results = results.and_then(|results| match results.len() {
            returned if returned == count => Ok(results),
            returned => Err(format!(
                "the body returned {returned} results for {count} messages, so it is not known which is whose"
            )),
        });
        // A call that has ended meanwhile takes none.
        match results {
            Ok(results) => {
                for (answer, result) in self.answers.into_iter().zip(results) {
                    let _ = answer.send(Ok(result));
                }
            }
            Err(panic) => {
                for answer in self.answers {
                    let _ = answer.send(Err(panic.clone()));
                }
            }
        }
    }
}

/// Runs the body to its end, or returns `None` once no call waits for it.
async fn run<R, F>(
    idem: &Idem,
    ids: Vec<RecordId>,
    body: F,
    answers: &mut [oneshot::Sender<Answer<R>>],
) -> Option<Result<Vec<R>, String>>
where
    F: Future<Output = Vec<R>>,
{
    let span = trace::span::batch(&ids);
    let frame = Arc::new(Frame::of_many(Arc::clone(idem.shared()), ids));
    let body = AssertUnwindSafe(FRAME.scope(frame, plain(body))).catch_unwind();
    let mut body = pin!(body.instrument(span));
    poll_fn(|context| {
        let is_left = |answer: &mut oneshot::Sender<_>| answer.poll_closed(context).is_ready();
        if answers.iter_mut().all(is_left) {
            return Poll::Ready(None);
        }
        body.as_mut().poll(context).map(Some)
    })
    .await
    .map(|ended| ended.map_err(|panic| text(&*panic)))
}
