//! The life of this process as a runner, and its heartbeats.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::core::Core;
use super::store::{Runner, Store, StoreError, StoreErrorKind};
use crate::clock::until;
use crate::ledger::metrics;

/// A life of this process. It ends when another process marks the runner dead, or when no heartbeat
/// has reached the store for a lease, after which any other process may do so. A new one begins at
/// once.
pub(super) struct Life {
    pub(super) runner: Runner,
    instance: Arc<str>,
    number: u64,
    /// When the last beat that was answered was asked for, by the clock.
    beat: Option<Timestamp>,
}

impl Life {
    pub(super) fn first(instance: &Arc<str>) -> Self {
        Self::numbered(instance, 1)
    }

    fn numbered(instance: &Arc<str>, number: u64) -> Self {
        metrics::life_begun();
        Self {
            runner: format!("{instance}/{number}").into(),
            instance: Arc::clone(instance),
            number,
            beat: None,
        }
    }
}

impl<S: Store> Core<S> {
    /// Returns the runner once it is known to live.
    pub(super) async fn living(self: &Arc<Self>) -> Result<Runner, StoreError> {
        loop {
            if let Some(runner) = self.alive() {
                return Ok(runner);
            }
            match self.elsewhere(async |core| core.beat().await).await {
                Err(error) if error.kind == StoreErrorKind::RunnerDead => {}
                answer => answer?,
            }
        }
    }

    /// Returns the runner if it is known to live.
    fn alive(&self) -> Option<Runner> {
        self.lapse();
        let life = self.life.lock();
        life.beat.is_some().then(|| Runner::clone(&life.runner))
    }

    /// Says that the runner lives.
    pub(super) async fn beat(&self) -> Result<(), StoreError> {
        let _one = self.beating.lock().await;
        self.lapse();
        let asked = self.clock().now();
        let runner = Runner::clone(&self.life.lock().runner);
        // What is not in the hand of this process may be on its way to the store.
        let oldest = self.numbers.oldest(asked);
        let oldest = self.own.oldest().map_or(oldest, |own| own.min(oldest));
        let beaten = self.ask(self.store.beat(&runner, self.lease, oldest)).await;
        match &beaten {
            Ok(now) => {
                self.told(*now, asked);
                let mut life = self.life.lock();
                if life.runner == runner {
                    life.beat = Some(asked);
                }
            }
            Err(error) if error.kind == StoreErrorKind::RunnerDead => self.died(&runner),
            Err(_) => {}
        }
        beaten.map(drop)
    }

    /// Begins a new life if this one was marked dead.
    pub(super) fn died(&self, runner: &Runner) {
        let mut life = self.life.lock();
        if life.runner == *runner {
            self.begin_life(&mut life, "it was taken for dead");
        }
    }

    /// Begins a new life if no beat has succeeded for a lease.
    fn lapse(&self) {
        let mut life = self.life.lock();
        let now = self.clock().now();
        if life.beat.is_some_and(|beat| until(now, beat) >= self.lease) {
            self.begin_life(&mut life, "no heartbeat was answered for a whole lease");
        }
    }

    /// All claims of the life before have passed on, or may at any moment.
    fn begin_life(&self, life: &mut Life, why: &str) {
        let next = Life::numbered(&life.instance, life.number + 1);
        self.own.clear();
        self.context.claims.lose_all();
        tracing::warn!(
            runner = &*life.runner,
            next = &*next.runner,
            "all claims of this process are lost: {why}"
        );
        *life = next;
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
