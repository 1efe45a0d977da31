//! A ledger on which others come in between a read and a write.

use std::future::poll_fn;
use std::task::Poll;

use idem_runtime::clock::BoxFuture;
use idem_runtime::testing::{LedgerCall, LedgerFault, MemoryLedger, UnreliableLedger};

/// A ledger whose answers about notes come a turn later.
pub(crate) fn slow(ledger: MemoryLedger) -> UnreliableLedger {
    UnreliableLedger::new(ledger, |call| match call {
        LedgerCall::Notes(_) | LedgerCall::WriteNotes(_) => {
            Some(LedgerFault::LateAnswer(one_turn()))
        }
        _ => None,
    })
}

/// Not tokio's: the opening of an Idem waits on a thread without tokio.
fn one_turn() -> BoxFuture<'static, ()> {
    let mut turns = 1;
    Box::pin(poll_fn(move |context| {
        context.waker().wake_by_ref();
        turns -= 1;
        if turns < 0 {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }))
}
