//! A ledger on which others come in between a read and a write.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use idem_runtime::clock::BoxFuture;
use idem_runtime::ledger::{
    Capabilities, ExpectedNote, Leases, Ledger, LedgerError, Note, NoteChange, Swept,
};
use idem_runtime::protocol::{Record, RecordId, Reply, Step};
use idem_runtime::testing::MemoryLedger;
use idem_runtime::{DeadLetter, DeadLetterId, Filter};

/// A ledger in memory whose answers about notes come a turn later.
pub(crate) struct Slow {
    pub(crate) ledger: MemoryLedger,
}

fn later<T: Send + 'static>(answer: BoxFuture<'static, T>) -> BoxFuture<'static, T> {
    Box::pin(async {
        let answer = answer.await;
        // Not tokio's: the opening of an Idem waits on a thread without tokio.
        let mut turns = 1;
        poll_fn(|context| {
            context.waker().wake_by_ref();
            turns -= 1;
            if turns < 0 {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
        answer
    })
}

impl Ledger for Slow {
    fn notes(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<Note>, LedgerError>> {
        later(self.ledger.notes(prefix, after, limit))
    }

    fn write_notes(
        &self,
        changes: Vec<NoteChange>,
        expected: Vec<ExpectedNote>,
    ) -> BoxFuture<'static, Result<bool, LedgerError>> {
        later(self.ledger.write_notes(changes, expected))
    }

    fn apply(&self, id: &RecordId, step: Step) -> BoxFuture<'static, Result<Reply, LedgerError>> {
        self.ledger.apply(id, step)
    }

    fn record(&self, id: &RecordId) -> BoxFuture<'static, Result<Option<Record>, LedgerError>> {
        self.ledger.record(id)
    }

    fn letter(
        &self,
        id: DeadLetterId,
    ) -> BoxFuture<'static, Result<Option<DeadLetter>, LedgerError>> {
        self.ledger.letter(id)
    }

    fn letters(&self, filter: &Filter) -> BoxFuture<'static, Result<Vec<DeadLetter>, LedgerError>> {
        self.ledger.letters(filter)
    }

    fn open_letters(&self) -> BoxFuture<'static, Result<u64, LedgerError>> {
        self.ledger.open_letters()
    }

    fn sweep(
        &self,
        settled: usize,
        retention: Duration,
    ) -> BoxFuture<'static, Result<Swept, LedgerError>> {
        self.ledger.sweep(settled, retention)
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::new().leases(Leases::PerClaim)
    }

    fn close(&self) -> BoxFuture<'static, Result<(), LedgerError>> {
        self.ledger.close()
    }
}
