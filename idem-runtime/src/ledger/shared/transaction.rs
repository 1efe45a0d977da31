//! A transaction of the store that an attempt carries.

use std::any::Any;
use std::sync::Arc;

use futures_util::FutureExt as _;
use jiff::Timestamp;

use super::core::{Core, MOST_OVERTAKEN};
use super::job::token;
use super::plan::{Basis, Plan};
use super::store::{Owner, Row, Rows, Runner, Store, StoreError, StoreErrorKind, StoreTransaction};
use crate::clock::BoxFuture;
use crate::ledger::{Begun, CommitError, LedgerError, Transaction, check_keys, metrics};
use crate::protocol::{Claim, Foreseen, RecordId, Reply, Seen, Step};

pub(super) struct SharedTransaction<S: Store> {
    core: Arc<Core<S>>,
    transaction: S::Transaction,
}

impl<S: Store> SharedTransaction<S> {
    pub(super) async fn begin(core: Arc<Core<S>>) -> Result<Self, LedgerError> {
        let begun = core.ask_again(|| core.store.begin()).await;
        let transaction = begun.map_err(StoreError::of_a_read)?;
        Ok(Self { core, transaction })
    }

    async fn finish(self, id: RecordId, step: Step) -> Result<Reply, StoreError> {
        let Self { core, transaction } = self;
        let mut open = Some(transaction);
        for overtaken in 0..MOST_OVERTAKEN {
            let reads = overtaken > 0;
            // Until the write, nothing of the transaction is touched, and can be tried again.
            let planned = core.ask_again(|| plan(&core, &id, &step, reads)).await;
            let (runner, planned) = match planned.map_err(StoreError::before_commit)? {
                (_, Plan::Keep(reply)) => return Ok(reply),
                (runner, Plan::Write(planned)) => (runner, planned),
                // Whether it is dead now, the next read tells.
                (_, Plan::Retire(late, until)) => {
                    let retired = core.elsewhere(async move |core| {
                        core.ask_again(|| core.store.retire(&late, Some(until)))
                            .await
                    });
                    retired.await.map_err(StoreError::before_commit)?;
                    continue;
                }
            };
            let Some(transaction) = open.take() else {
                let message = "another write of the record came first";
                return Err(StoreError::new(StoreErrorKind::Away, message));
            };
            let finished = core.ask(transaction.finish(&runner, planned.write)).await;
            match &finished {
                Ok(true) => core.own.forget(&id),
                _ => core.own.doubt(&id),
            }
            core.waiters.wake(&id);
            match finished {
                Ok(true) => return Ok(planned.reply),
                // It was rolled back, and the reply says why.
                Ok(false) => metrics::overtaken(),
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
    core: &Arc<Core<S>>,
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
    let basis = Basis {
        runner: &runner,
        now,
        number: core
            .number(row.as_ref().map_or(0, |row| row.version))
            .await?
            .number,
    };
    let plan = core.plan(id, step, row.as_ref(), &basis).await?;
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
    let rows = core.ask(core.store.read(vec![id.clone()])).await?;
    told(core, rows, asked)
}

/// Returns the row that was asked for at `asked`, and the store's time.
fn told<S: Store>(
    core: &Core<S>,
    mut rows: Rows,
    asked: Timestamp,
) -> Result<(Option<Row>, Timestamp), StoreError> {
    core.told(rows.now, asked);
    let row = rows.rows.pop().unwrap_or(Ok(None));
    let row =
        row.map_err(|unreadable| StoreError::new(StoreErrorKind::Refused, unreadable.to_string()))?;
    Ok((row, rows.now))
}

/// Decides a claim without a write. If the body may run, the transaction is for it.
pub(super) async fn foresee<S: Store>(
    core: &Arc<Core<S>>,
    id: &RecordId,
    claim: Claim,
    begins: bool,
) -> Result<(Foreseen, Begun), StoreError> {
    let runner = core.living().await?;
    let asked = core.clock().now();
    let (rows, transaction) = if begins {
        core.ask(core.store.read_and_begin(id.clone())).await?
    } else {
        (core.ask(core.store.read(vec![id.clone()])).await?, None)
    };
    let (row, now) = told(core, rows, asked)?;
    if row.as_ref().is_some_and(|row| row.owner != Owner::None) {
        return Ok((Foreseen::Claim, None));
    }
    let basis = Basis {
        runner: &runner,
        now,
        number: core
            .number(row.as_ref().map_or(0, |row| row.version))
            .await?
            .number,
    };
    let foreseen = core.foresee(id, claim, row, &basis);
    let begun = transaction.filter(|_| matches!(foreseen, Foreseen::Run(..)));
    let begun = begun.map(|transaction| {
        let core = Arc::clone(core);
        Box::new(SharedTransaction { core, transaction }) as Box<dyn Transaction>
    });
    Ok((foreseen, begun))
}

impl<S: Store> Transaction for SharedTransaction<S> {
    fn finish(
        self: Box<Self>,
        id: &RecordId,
        step: Step,
    ) -> BoxFuture<'static, Result<Reply, CommitError>> {
        if let Err(error) = check_keys(step.notes()) {
            return Box::pin(std::future::ready(Err(CommitError::NotCommitted(error))));
        }
        let core = Arc::clone(&self.core);
        let finished = core.here(Self::finish(*self, id.clone(), step).map(Ok));
        Box::pin(async move {
            match finished.await {
                Ok(Ok(reply)) => Ok(reply),
                Ok(Err(error)) if error.kind == StoreErrorKind::Lost => {
                    Err(CommitError::Unknown(error.unavailable(true)))
                }
                Ok(Err(error)) => Err(CommitError::NotCommitted(error.of_a_write())),
                Err(closed) => Err(CommitError::Unknown(closed)),
            }
        })
    }

    fn as_any_mut(&mut self) -> &mut (dyn Any + Send) {
        &mut self.transaction
    }
}
