//! A transaction of the store that an attempt carries.

use std::any::Any;
use std::sync::Arc;

use jiff::Timestamp;

use super::core::{Core, MOST_OVERTAKEN};
use super::job::token;
use super::plan::{Basis, Plan};
use super::store::{Owner, Row, Runner, Store, StoreError, StoreErrorKind, StoreTransaction};
use crate::clock::BoxFuture;
use crate::ledger::{CommitError, LedgerError, Transaction, check_keys, metrics};
use crate::protocol::{Claim, Foreseen, RecordId, Reply, Seen, Step};

pub(super) struct SharedTransaction<S: Store> {
    core: Arc<Core<S>>,
    /// `None` once a step was dropped in the middle: it can only be rolled back.
    open: Option<Open<S>>,
    /// What stands for it then.
    gone: (),
}

struct Open<S: Store> {
    transaction: S::Transaction,
    /// The records that it writes.
    written: Vec<RecordId>,
}

impl<S: Store> SharedTransaction<S> {
    pub(super) async fn begin(core: Arc<Core<S>>) -> Result<Self, LedgerError> {
        let begun = core.ask_again(|| core.store.begin()).await;
        let open = Open {
            transaction: begun.map_err(StoreError::of_a_read)?,
            written: Vec::new(),
        };
        Ok(Self {
            core,
            open: Some(open),
            gone: (),
        })
    }
}

impl<S: Store> Open<S> {
    async fn apply(
        &mut self,
        core: &Core<S>,
        id: &RecordId,
        step: &Step,
    ) -> Result<Reply, StoreError> {
        for overtaken in 0..MOST_OVERTAKEN {
            let reads = overtaken > 0;
            // Until the write, nothing of the transaction is touched, and can be tried again.
            let planned = core.ask_again(|| plan(core, id, step, reads)).await?;
            let (runner, planned) = match planned {
                (_, Plan::Keep(reply)) => return Ok(reply),
                (runner, Plan::Write(planned)) => (runner, planned),
                // Whether it is dead now, the next read tells.
                (_, Plan::Retire(late, until)) => {
                    core.ask_again(|| core.store.retire(&late, Some(until)))
                        .await?;
                    continue;
                }
            };
            let write = self.transaction.write(&runner, planned.write);
            match core.ask(write).await {
                Ok(true) => {
                    self.written.push(id.clone());
                    return Ok(planned.reply);
                }
                Ok(false) => {
                    metrics::overtaken();
                    core.own.doubt(id);
                }
                Err(error) => {
                    if error.kind == StoreErrorKind::RunnerDead {
                        core.died(&runner);
                    }
                    return Err(error);
                }
            }
        }
        let message = "other processes changed the record each time";
        Err(StoreError::new(StoreErrorKind::Away, message))
    }
}

/// Decides a step by what this process knows of its own claim, or else by its row.
async fn plan<S: Store>(
    core: &Core<S>,
    id: &RecordId,
    step: &Step,
    reads: bool,
) -> Result<(Runner, Plan), StoreError> {
    let runner = core.living().await?;
    let known = (!reads).then(|| known(core, id, step, &runner)).flatten();
    let (row, now) = match known {
        Some(row) => (row, core.now()),
        None => read(core, id).await?,
    };
    let mut numbers = core.numbers.lock().await;
    let above = row.as_ref().map_or(0, |row| row.version);
    numbers.ensure(core, 1, above).await?;
    let basis = Basis {
        runner: &runner,
        now,
        number: numbers.peek(),
    };
    let plan = core.plan(id, step, row, &basis).await?;
    numbers.take();
    Ok((runner, plan))
}

/// Returns the row that a step is decided by if it need not be read.
fn known<S: Store>(
    core: &Core<S>,
    id: &RecordId,
    step: &Step,
    runner: &Runner,
) -> Option<Option<Row>> {
    if let Step::Attempt(attempt) = step {
        let Seen {
            record, version, ..
        } = &attempt.seen;
        return Some(version.map(|version| Row {
            version,
            record: record.clone(),
            due: None,
            owner: Owner::None,
        }));
    }
    let known = core.own.known(id, token(step)?)?;
    Some(Some(known.row(runner)))
}

/// Reads a row, and the store's time.
async fn read<S: Store>(
    core: &Core<S>,
    id: &RecordId,
) -> Result<(Option<Row>, Timestamp), StoreError> {
    let asked = core.clock().now();
    let mut rows = core.ask(core.store.read(vec![id.clone()])).await?;
    core.told(rows.now, asked);
    let row = rows.rows.pop().unwrap_or(Ok(None));
    let row =
        row.map_err(|unreadable| StoreError::new(StoreErrorKind::Refused, unreadable.to_string()))?;
    Ok((row, rows.now))
}

/// Decides a claim without a write.
pub(super) async fn foresee<S: Store>(
    core: &Core<S>,
    id: &RecordId,
    claim: Claim,
) -> Result<Foreseen, StoreError> {
    let runner = core.living().await?;
    let (row, now) = read(core, id).await?;
    if row.as_ref().is_some_and(|row| row.owner != Owner::None) {
        return Ok(Foreseen::Claim);
    }
    let mut numbers = core.numbers.lock().await;
    let above = row.as_ref().map_or(0, |row| row.version);
    numbers.ensure(core, 1, above).await?;
    let basis = Basis {
        runner: &runner,
        now,
        number: numbers.peek(),
    };
    let foreseen = core.foresee(id, claim, row, &basis);
    numbers.take();
    Ok(foreseen)
}

impl<S: Store> Transaction for SharedTransaction<S> {
    fn apply<'t>(
        &'t mut self,
        id: &'t RecordId,
        step: Step,
    ) -> BoxFuture<'t, Result<Reply, LedgerError>> {
        let (core, id) = (Arc::clone(&self.core), id.clone());
        Box::pin(async move {
            check_keys(step.notes())?;
            let Some(mut open) = self.open.take() else {
                return Err(broken());
            };
            let background = core.context.background.clone();
            let applied = background.run(async move {
                let reply = open.apply(&core, &id, &step).await;
                (open, reply)
            });
            let (open, reply) = applied.await?;
            self.open = Some(open);
            // Nothing takes place before the commit.
            reply.map_err(StoreError::of_a_read)
        })
    }

    fn commit(self: Box<Self>) -> BoxFuture<'static, Result<(), CommitError>> {
        let Self { core, open, .. } = *self;
        Box::pin(async move {
            let Some(open) = open else {
                return Err(CommitError::NotCommitted(broken()));
            };
            let background = core.context.background.clone();
            let committed = background.run(async move {
                let answer = core.ask(open.transaction.commit()).await;
                for id in &open.written {
                    match &answer {
                        Ok(()) => core.own.forget(id),
                        Err(_) => core.own.doubt(id),
                    }
                    core.waiters.wake(id);
                }
                answer
            });
            match committed.await {
                Ok(Ok(())) => Ok(()),
                Ok(Err(error)) if error.kind == StoreErrorKind::Lost => {
                    Err(CommitError::Unknown(error.unavailable(true)))
                }
                Ok(Err(error)) => Err(CommitError::NotCommitted(error.of_a_write())),
                Err(closed) => Err(CommitError::Unknown(closed)),
            }
        })
    }

    fn as_any_mut(&mut self) -> &mut (dyn Any + Send) {
        match &mut self.open {
            Some(open) => &mut open.transaction,
            None => &mut self.gone,
        }
    }
}

fn broken() -> LedgerError {
    LedgerError::Refused {
        message: "a step of the transaction was dropped before its answer came".to_owned(),
        source: None,
    }
}
