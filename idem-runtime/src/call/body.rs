//! One run of a body: caught when it panics, stopped when it takes too long, its lease renewed meanwhile.

use std::future::{Future, pending};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{Either, select};
use tokio::sync::oneshot;
use tracing::Instrument;

use super::attempt::{FRAME, Frame};
use super::held::Held;
use crate::idem::{Idem, Inner};
use crate::panic;
use crate::protocol::{RecordId, Reply, Step};

/// How a body ended.
pub(super) enum Ended<R> {
    Returned(R),
    Panicked(String),
    TimedOut(Duration),
}

/// Runs an async body once.
pub(super) async fn run<F: Future>(body: Pin<&mut F>, frame: Arc<Frame>, held: &Held, idem: &Idem) -> Ended<F::Output> {
    passes_the_point(&frame);
    let span = span(&frame);
    let _renewed = Renewed::start(held, idem);
    let inner = Arc::clone(&frame.inner);
    let running = AssertUnwindSafe(FRAME.scope(frame, body)).catch_unwind().instrument(span);
    let limit = async {
        match held.timeout {
            Some(limit) => inner.clock.sleep(limit).await,
            None => pending().await,
        }
    };
    match select(pin!(running), pin!(limit)).await {
        Either::Left((Ok(result), _)) => Ended::Returned(result),
        Either::Left((Err(caught), _)) => Ended::Panicked(panic::text(&*caught)),
        Either::Right(_) => Ended::TimedOut(held.timeout.unwrap_or_default()),
    }
}

/// Runs a sync body once.
pub(super) fn run_blocking<R>(body: impl FnOnce() -> R, frame: Arc<Frame>, held: &Held, idem: &Idem) -> Ended<R> {
    passes_the_point(&frame);
    let _renewed = Renewed::start(held, idem);
    let _entered = span(&frame).entered();
    match catch_unwind(AssertUnwindSafe(|| FRAME.sync_scope(frame, body))) {
        Ok(result) => Ended::Returned(result),
        Err(caught) => Ended::Panicked(panic::text(&*caught)),
    }
}

/// Inside the attempt, so that a test can ask which one it is.
#[cfg_attr(not(feature = "failpoints"), expect(unused_variables, reason = "there is no point then"))]
fn passes_the_point(frame: &Arc<Frame>) {
    #[cfg(feature = "failpoints")]
    FRAME.sync_scope(Arc::clone(frame), || {
        crate::fault::point!(BODY);
    });
}

fn span(frame: &Frame) -> tracing::Span {
    let attempt = &frame.attempt;
    tracing::info_span!(
        "attempt",
        handler = &*attempt.handler,
        key = &*attempt.key,
        number = attempt.number,
        of = attempt.of
    )
}

/// Keeps a claim alive on a ledger that others share, for as long as it is not dropped. The background does it, for a
/// body may hold its own thread.
struct Renewed {
    _until_dropped: Option<oneshot::Sender<()>>,
}

impl Renewed {
    fn start(held: &Held, idem: &Idem) -> Self {
        if !idem.inner().ledger.leases() {
            return Self { _until_dropped: None };
        }
        let (until_dropped, dropped) = oneshot::channel();
        let renewing = Box::pin(renew(Arc::clone(idem.inner()), held.id.clone(), held.token, held.lease));
        idem.keeper().meanwhile(Box::pin(async move { drop(select(renewing, dropped).await) }));
        Self { _until_dropped: Some(until_dropped) }
    }
}

/// Ends when the lease is lost: a body cannot be taken back, and its report will be refused.
async fn renew(inner: Arc<Inner>, id: RecordId, token: u64, lease: Duration) {
    loop {
        inner.clock.sleep(lease / 3).await;
        match inner.apply(&id, Step::Renew { token, lease }).await {
            Ok(Reply::Recorded) => {}
            Ok(_) => {
                tracing::warn!(handler = &*id.handler, key = &*id.key, "the lease was lost while the body ran");
                return;
            }
            Err(error) => {
                tracing::warn!(%error, "the lease could not be renewed and will be tried again");
            }
        }
    }
}
