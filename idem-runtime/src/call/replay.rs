//! Whether a call was answered with the result of an earlier one, and of when it is.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use pin_project_lite::pin_project;
use tokio::task::futures::TaskLocalFuture;

use super::attempt::Frame;
use super::machine::Drive;
use super::recorded::Recorded;
use crate::clock::until;
use crate::idem::Idem;
use crate::trace;

tokio::task_local! {
    static WATCH: Arc<Watch>;
}

/// A future whose calls are watched.
#[derive(Default)]
struct Watch {
    /// The body that it is awaited in. Calls of bodies within it are not its own.
    within: OnceLock<Option<Arc<Frame>>>,
    replayed: Mutex<Option<(Idem, Timestamp)>>,
}

/// A result that an earlier call recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Replayed {
    /// When it was recorded, by the ledger's clock.
    pub recorded_at: Timestamp,
    /// How long ago that was.
    pub age: Duration,
}

/// Awaits a future that calls a handler, and says whether the handler's result was recorded by an
/// earlier call.
///
/// Of several calls it is the last one with such a result. Calls in bodies that the future runs do
/// not count.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # use idem_runtime::{Error, Idem, idempotent, watch_replay};
/// #[idempotent(name = "orders.place", key = "order_no")]
/// async fn place_order(order_no: &str) -> Result<u32, Error> {
///     Ok(200)
/// }
///
/// # let idem = Idem::open(folder.path())?;
/// # idem.scope(async {
/// let (placed, replayed) = watch_replay(place_order("A-1001")).await;
/// assert!(placed? == 200 && replayed.is_none());
/// let (placed, replayed) = watch_replay(place_order("A-1001")).await;
/// assert!(placed? == 200 && replayed.is_some());
/// # Ok::<(), Error>(()) }).await?;
/// # Ok(()) }
/// ```
pub fn watch_replay<F: Future>(future: F) -> impl Future<Output = (F::Output, Option<Replayed>)> {
    let watch = Arc::new(Watch::default());
    let future = WATCH.scope(Arc::clone(&watch), future);
    Watched { watch, future }
}

pin_project! {
    /// An `async fn` would hold the future twice: as its argument, and where it awaits it.
    struct Watched<F> {
        watch: Arc<Watch>,
        #[pin]
        future: TaskLocalFuture<Arc<Watch>, F>,
    }
}

impl<F: Future> Future for Watched<F> {
    type Output = (F::Output, Option<Replayed>);

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        this.watch.within.get_or_init(Frame::current);
        let output = ready!(this.future.poll(context));
        let replayed = this.watch.replayed.lock().take();
        let replayed = replayed.map(|(idem, recorded_at)| Replayed {
            recorded_at,
            age: until(idem.shared().clock.now(), recorded_at),
        });
        Poll::Ready((output, replayed))
    }
}

impl Drive {
    /// Notes that the call gets a recorded result.
    pub(super) fn note_replay(&self, recorded: &Recorded) {
        if let Some(made_by) = recorded.trace {
            trace::span::replay(self.id(), made_by, self.request.trace.as_deref());
        }
        // Most calls are not watched.
        let _ = WATCH.try_with(|watch| {
            let (begun, now) = (watch.within.get(), Frame::current());
            let begun = begun.and_then(Option::as_ref);
            if begun.map(Arc::as_ptr) == now.as_ref().map(Arc::as_ptr) {
                *watch.replayed.lock() = Some((self.idem().clone(), recorded.at));
            }
        });
    }
}
