//! The judgement of one law.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Runs a law on a thread of its own, so that even a deadlock of the whole runtime ends.
///
/// # Panics
/// When the law is broken, or takes longer than `patience`.
pub(super) fn judge<F: Future<Output = ()>>(
    subject: &str,
    mut runtime: tokio::runtime::Builder,
    patience: Duration,
    law: impl FnOnce() -> F + Send + 'static,
) {
    let (ended, end) = mpsc::channel();
    let judging = thread::spawn(move || {
        // A server may need timers and I/O of the runtime.
        let runtime = runtime.enable_all().build();
        let runtime = runtime.unwrap_or_else(|error| panic!("no runtime: {error}"));
        runtime.block_on(law());
        let _ = ended.send(());
    });
    if end.recv_timeout(patience) == Err(mpsc::RecvTimeoutError::Timeout) {
        panic!("the {subject} did not answer within {patience:?}");
    }
    if let Err(broken) = judging.join() {
        std::panic::resume_unwind(broken);
    }
}
