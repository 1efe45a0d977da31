//! A transaction of the store that an attempt carries.

use std::any::Any;
use std::sync::Arc;

use super::core::Core;
use super::job::token;
use super::plan::{Basis, Plan};
use super::store::{Owner, Row, Runner, Store, StoreError, StoreErrorKind, StoreTransaction};
use crate::clock::BoxFuture;
use crate::ledger::{CommitError, LedgerError, Transaction};
use crate::protocol::{RecordId, Reply, Step};

/// How often a step may be overtaken by other processes.
const MOST_OVERTAKEN: u32 = 20;

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
            transaction: begun.map_err(StoreError::into_ledger_error)?,
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
            let (runner, _) = core.living().await?;
            let known = token(step)
                .filter(|_| overtaken == 0)
                .and_then(|token| core.own.known(id, token));
            let (row, now) = match known {
                Some(known) => {
                    let row = Row {
                        version: known.version,
                        record: Some(known.record),
                        due: None,
                        owner: Owner::Until(Runner::clone(&runner), jiff::Timestamp::MAX),
                    };
                    (Some(row), core.now())
                }
                None => {
                    let mut rows = core.ask(core.store.read(vec![id.clone()])).await?;
                    core.told(rows.now);
                    let row = rows.rows.pop().unwrap_or(Ok(None));
                    let row = row.map_err(|unreadable| {
                        StoreError::new(StoreErrorKind::Refused, unreadable.to_string())
                    })?;
                    (row, rows.now)
                }
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
            drop(numbers);
            match plan {
                Plan::Keep(reply) => return Ok(reply),
                Plan::Retire(runner, until) => {
                    core.ask(core.store.retire(&runner, Some(until))).await?;
                }
                Plan::Write(planned) => {
                    let write = self.transaction.write(&runner, planned.write);
                    match core.ask(write).await {
                        Ok(true) => {
                            self.written.push(id.clone());
                            return Ok(planned.reply);
                        }
                        Ok(false) => core.own.doubt(id),
                        Err(error) => {
                            if error.kind == StoreErrorKind::RunnerDead {
                                core.died(&runner);
                            }
                            return Err(error);
                        }
                    }
                }
            }
        }
        Err(StoreError::new(
            StoreErrorKind::Away,
            "other processes changed the record each time",
        ))
    }
}

impl<S: Store> Transaction for SharedTransaction<S> {
    fn apply<'t>(
        &'t mut self,
        id: &'t RecordId,
        step: Step,
    ) -> BoxFuture<'t, Result<Reply, LedgerError>> {
        let (core, id) = (Arc::clone(&self.core), id.clone());
        Box::pin(async move {
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
            reply.map_err(|error| match error.kind {
                StoreErrorKind::Refused => error.into_ledger_error(),
                _ => error.unavailable(false),
            })
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
                Ok(Err(error)) => Err(CommitError::NotCommitted(error.into_ledger_error())),
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
