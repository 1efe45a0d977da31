//! The waits of a call: for the call of this process that leads, for another process, for a time.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::select;
use jiff::Timestamp;

use super::attempt::{inside_a_sync_body, runs_inside};
use super::blocking::on_multi_thread_runtime;
use super::machine::{Drive, Next, State, Waited};
use super::single_flight::{Follower, LeaderEnd};
use crate::clock::until;
use crate::handler::InFlight;
use crate::protocol::{Reply, differ};

/// How often a call asks whether another process is done with the message.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// And how often where the ledger says that the record changed, should it have missed it.
const HINTED_INTERVAL: Duration = Duration::from_secs(5);

impl Drive {
    /// Leads from here on, or returns what to follow.
    pub(super) fn lead(&mut self) -> Option<Follower> {
        let flights = &self.request.idem.shared().flights;
        let fingerprint = self.request.claim.fingerprint;
        match flights.enter(self.id(), fingerprint, self.blocking) {
            Ok(leader) => self.leader = Some(leader),
            Err(follower) => return Some(follower),
        }
        None
    }

    /// Waits for the call that leads, and gets what that one gets.
    pub(super) fn follow(&mut self, follower: Follower) -> Option<Next> {
        let is_stuck = runs_inside(self.idem().shared(), self.id()) || self.would_block(&follower);
        if differ(follower.fingerprint, self.request.claim.fingerprint) {
            self.state = self.compare(follower, is_stuck);
            return None;
        }
        if self.handler().in_flight == InFlight::Reject || is_stuck {
            return Some(Next::Refuse(self.in_progress()));
        }
        tracing::debug!(
            handler = &*self.id().handler,
            key = &*self.id().key,
            "waiting for the same message"
        );
        self.state = State::Waiting(Box::pin(async move {
            Ok(match follower.ended().await {
                LeaderEnd::Done(recorded) => Waited::Done(recorded),
                LeaderEnd::Other => Waited::Elapsed,
            })
        }));
        None
    }

    /// Waits behind a call of another message under the same key. Which of the two has the key, the
    /// ledger says: the other one may be refused yet.
    fn compare(&self, other: Follower, is_stuck: bool) -> State {
        let shared = Arc::clone(self.idem().shared());
        let (id, ours) = (self.id().clone(), self.request.claim.fingerprint);
        State::Waiting(Box::pin(async move {
            let record = shared.ledger.record(&id).await?;
            let now = shared.clock.now();
            let record = record.filter(|record| !record.expired(now));
            if record.is_some_and(|record| record.is_of_another(ours)) {
                return Ok(Waited::Answered(Reply::KeyReused));
            }
            if is_stuck {
                return Ok(Waited::Stuck);
            }
            // It is read again meanwhile: the other call need not end for the key to be its own.
            let asleep = shared.clock.sleep(POLL_INTERVAL);
            select(Box::pin(other.ended()), asleep).await;
            Ok(Waited::Elapsed)
        }))
    }

    /// Whether waiting would hold up the only thread that can end the wait.
    fn would_block(&self, follower: &Follower) -> bool {
        (self.blocking || inside_a_sync_body())
            && follower.polled_on == Some(std::thread::current().id())
            && !on_multi_thread_runtime()
    }

    /// Waits until another process may be done with the message, which asking will tell: its lease
    /// lapses, the ledger says that the record changed, or some time has passed.
    pub(super) fn wait_elsewhere(&mut self, lapse: Timestamp) {
        let shared = self.idem().shared();
        let lapse = until(lapse, shared.clock.now()).max(Duration::from_millis(1));
        let Some(changed) = shared.ledger.changed(self.id()) else {
            return self.sleep(lapse.min(POLL_INTERVAL));
        };
        let asleep = shared.clock.sleep(lapse.min(HINTED_INTERVAL));
        self.state = State::Waiting(Box::pin(async move {
            select(changed, asleep).await;
            Ok(Waited::Elapsed)
        }));
    }

    /// Waits until the next attempt may start.
    pub(super) fn sleep_until(&mut self, at: Timestamp) {
        self.sleep(until(at, self.idem().shared().clock.now()));
    }

    pub(super) fn sleep(&mut self, duration: Duration) {
        let asleep = self.idem().shared().clock.sleep(duration);
        self.state = State::Waiting(Box::pin(async move {
            asleep.await;
            Ok(Waited::Elapsed)
        }));
    }
}
