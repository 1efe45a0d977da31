//! The life of this process as a runner, and its heartbeats.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::core::Core;
use super::store::{Runner, Store, StoreError, StoreErrorKind};
use crate::clock::until;

/// A life of this process. Another process that takes over its claims marks the runner dead, and
/// then a new life begins.
pub(super) struct Life {
    pub(super) runner: Runner,
    instance: Arc<str>,
    number: u64,
    /// When the last beat that was answered was asked for, by the clock.
    beat: Option<Timestamp>,
    /// Grows with each loss of all claims.
    pub(super) era: u64,
}

impl Life {
    pub(super) fn first(instance: &Arc<str>) -> Self {
        Self {
            runner: format!("{instance}/1").into(),
            instance: Arc::clone(instance),
            number: 1,
            beat: None,
            era: 0,
        }
    }
}

impl<S: Store> Core<S> {
    /// Returns the runner and its era once it is known to live.
    pub(super) async fn living(&self) -> Result<(Runner, u64), StoreError> {
        loop {
            self.lapse();
            {
                let life = self.life.lock();
                if life.beat.is_some() {
                    return Ok((Runner::clone(&life.runner), life.era));
                }
            }
            match self.beat().await {
                Err(error) if error.kind == StoreErrorKind::RunnerDead => {}
                answer => answer?,
            }
        }
    }

    /// Says that the runner lives.
    pub(super) async fn beat(&self) -> Result<(), StoreError> {
        let _one = self.beating.lock().await;
        self.lapse();
        let (asked, runner) = (self.clock().now(), Runner::clone(&self.life.lock().runner));
        match self.ask(self.store.beat(&runner, self.lease)).await {
            Ok(now) => {
                self.told(now);
                let mut life = self.life.lock();
                if life.runner == runner {
                    life.beat = Some(asked);
                }
                Ok(())
            }
            Err(error) => {
                if error.kind == StoreErrorKind::RunnerDead {
                    self.died(&runner);
                }
                Err(error)
            }
        }
    }

    /// Begins a new life if this one was marked dead: its claims have passed on.
    pub(super) fn died(&self, runner: &Runner) {
        let mut life = self.life.lock();
        if life.runner != *runner {
            return;
        }
        life.number += 1;
        life.era += 1;
        life.runner = format!("{}/{}", life.instance, life.number).into();
        life.beat = None;
        self.own.clear();
        self.context.claims.lose_all();
        tracing::warn!(
            runner = &**runner,
            next = &*life.runner,
            "this process was taken for dead, and its claims have passed on"
        );
    }

    /// Loses all claims once no beat has succeeded for a lease: others may have taken them.
    fn lapse(&self) {
        let mut life = self.life.lock();
        let now = self.clock().now();
        if life.beat.is_some_and(|beat| until(now, beat) >= self.lease) {
            life.beat = None;
            life.era += 1;
            self.own.doubt_all();
            self.context.claims.lose_all();
            tracing::warn!(
                runner = &*life.runner,
                "no heartbeat reached the ledger's store for a whole lease"
            );
        }
    }

    /// Beats until the ledger has ended.
    pub(super) async fn heartbeats(self: Arc<Self>) {
        let mut pause = self.lease / 3;
        loop {
            self.clock().sleep(pause).await;
            pause = match self.beat().await {
                Ok(()) => self.lease / 3,
                Err(error) if error.kind == StoreErrorKind::RunnerDead => Duration::ZERO,
                Err(_) => (self.lease / 30).min(Duration::from_secs(1)),
            };
            self.lapse();
        }
    }
}
