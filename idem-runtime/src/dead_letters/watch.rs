//! A stream of new letters.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;

use crate::protocol::DeadLetter;

/// A stream of letters as this process writes them. It ends when the [`Idem`](crate::Idem) is
/// dropped.
#[derive(Debug)]
pub struct Watch {
    letters: BroadcastStream<DeadLetter>,
}

impl Watch {
    pub(super) fn new(letters: broadcast::Receiver<DeadLetter>) -> Self {
        Self {
            letters: BroadcastStream::new(letters),
        }
    }
}

impl Stream for Watch {
    type Item = DeadLetter;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<DeadLetter>> {
        loop {
            match ready!(Pin::new(&mut self.letters).poll_next(context)) {
                None => return Poll::Ready(None),
                Some(Ok(letter)) => return Poll::Ready(Some(letter)),
                Some(Err(BroadcastStreamRecvError::Lagged(missed))) => {
                    tracing::warn!(
                        missed,
                        "a slow reader of dead letters missed some; list them"
                    );
                }
            }
        }
    }
}
