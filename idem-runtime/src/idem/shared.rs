//! What handles, calls and the background share: the ledger, the limits, and the state of each
//! feature.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::sync::{Notify, broadcast};

use crate::call::{Claims, SingleFlight};
use crate::clock::{Clock, Timestamp};
use crate::dead_letters::{Consumers, Hidden, Publishers, Runners};
use crate::handler::known::KnownHandlers;
use crate::handler::names::EarlierNames;
use crate::handler::registry::Registry;
use crate::issuer::Sequences;
use crate::ledger::{Leases, Ledger, LedgerError, Swept, Waiting};
use crate::log::Log;
use crate::outbox::Sending;
use crate::pause::{PauseRules, Pauses};
use crate::protocol::{Claim, DeadLetter, Grant, Record, RecordId, Reply, Step};
use crate::seal::SealKeys;
use crate::{failpoint, metrics};

/// The most claims without an answer that are remembered.
const MOST_UNANSWERED: usize = 10_000;

/// How many reports are brought again at once.
const AT_ONCE: usize = 64;

/// Limits on what is stored, and for how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) payload: usize,
    pub(crate) result: usize,
    pub(crate) letter_retention: Duration,
    pub(crate) close_deadline: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            payload: 1 << 20,
            result: 16 << 20,
            letter_retention: Duration::from_secs(30 * 24 * 60 * 60),
            close_deadline: Duration::from_secs(30),
        }
    }
}

/// A report that the ledger could not take, or a claim that it did not answer.
struct Unreported {
    step: Step,
    /// Held by the task that brings a claim again: one that is asked for again once a later one of
    /// its key was granted would count that one as crashed.
    bringing: tokio::sync::Mutex<()>,
}

/// What handles, calls and the background share.
pub(crate) struct Shared {
    /// The process that opened it. A fork of it has none of its threads.
    process: u32,
    pub(crate) ledger: Arc<dyn Ledger>,
    pub(crate) clock: Arc<dyn Clock>,
    /// When this was opened.
    pub(crate) opened: Timestamp,
    pub(crate) limits: Limits,
    pub(crate) instance: Arc<str>,
    pub(crate) handlers: Registry,
    pub(crate) earlier: EarlierNames,
    pub(crate) known: KnownHandlers,
    pub(crate) flights: SingleFlight,
    /// How the ledger finds claims of dead processes.
    pub(crate) leases: Leases,
    /// Whether attempts can carry a transaction.
    pub(crate) transactions: bool,
    pub(crate) claims: Claims,
    pub(crate) log: Log,
    pub(crate) runners: Runners,
    pub(crate) outbox: Sending,
    pub(crate) sequences: Sequences,
    pub(crate) pauses: Pauses,
    pub(crate) publishers: Publishers,
    pub(crate) consumers: Consumers,
    pub(crate) hidden: Hidden,
    /// The keys that seal what is redacted.
    pub(crate) seal: Option<SealKeys>,
    pub(crate) new_letters: broadcast::Sender<DeadLetter>,
    /// Reports of ended attempts that the ledger could not take, and claims that it did not answer.
    /// The next call of the key, or the background, brings them again, so that a full disk makes no
    /// body run twice.
    unreported: Mutex<HashMap<RecordId, Arc<Unreported>>>,
    /// The messages that waited at the last sweep, if the ledger counts them.
    pub(crate) waiting: Mutex<Option<Waiting>>,
    /// Held for each round of the housekeeping, and from the closing on.
    pub(crate) housekeeping: tokio::sync::Mutex<()>,
    /// Notified when the closing waits for the housekeeping.
    pub(crate) finishing: Notify,
    /// The number of the last claim.
    nonces: AtomicU64,
    /// How many calls are running.
    running: AtomicUsize,
    closed: AtomicBool,
    /// Notified when the last call ends after the closing.
    idle: Notify,
}

impl Shared {
    pub(crate) fn new(
        ledger: Arc<dyn Ledger>,
        clock: Arc<dyn Clock>,
        limits: Limits,
        seal: Option<SealKeys>,
        instance: Arc<str>,
        claims: Claims,
        rules: PauseRules,
    ) -> Self {
        let capabilities = ledger.capabilities();
        Self {
            process: failpoint::process(),
            leases: capabilities.leases,
            transactions: capabilities.transactions,
            ledger,
            opened: clock.now(),
            clock,
            limits,
            instance,
            handlers: Registry::default(),
            earlier: EarlierNames::default(),
            known: KnownHandlers::default(),
            flights: SingleFlight::default(),
            claims,
            log: Log::default(),
            runners: Runners::default(),
            outbox: Sending::default(),
            sequences: Sequences::default(),
            pauses: Pauses::new(rules),
            publishers: Publishers::default(),
            consumers: Consumers::default(),
            hidden: Hidden::default(),
            seal,
            new_letters: broadcast::Sender::new(1024),
            unreported: Mutex::default(),
            waiting: Mutex::default(),
            housekeeping: tokio::sync::Mutex::default(),
            finishing: Notify::new(),
            nonces: AtomicU64::new(0),
            running: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            idle: Notify::new(),
        }
    }

    /// Applies one step. If it wrote a letter, watchers are notified.
    pub(crate) async fn apply(&self, id: &RecordId, step: Step) -> Result<Reply, LedgerError> {
        self.heard(self.ledger.apply(id, step).await).await
    }

    /// Notifies watchers if the step wrote a letter.
    pub(crate) async fn heard(
        &self,
        reply: Result<Reply, LedgerError>,
    ) -> Result<Reply, LedgerError> {
        if let Ok(Reply::DeadLettered(letter)) = &reply {
            self.tell(letter);
            self.count_letters().await;
        }
        reply
    }

    /// Keeps a report that the ledger could not take, to bring it again.
    #[inline]
    pub(crate) fn keep_unreported(
        &self,
        id: &RecordId,
        step: Step,
        reply: &Result<Reply, LedgerError>,
    ) {
        if let Err(error) = reply {
            self.log.not_recorded(id, error);
            let report = Unreported::new(step);
            self.unreported.lock().insert(id.clone(), report);
        }
    }

    /// Keeps a claim of a shared ledger that may have been granted without an answer: it is given
    /// back before the key is claimed again, because no body was started.
    pub(crate) fn keep_unanswered(&self, id: &RecordId, claim: Claim, error: &LedgerError) {
        if self.leases == Leases::None || !error.maybe_written() {
            return;
        }
        let mut unreported = self.unreported.lock();
        // One that is not kept lapses with its lease, and is counted.
        if unreported.len() < MOST_UNANSWERED {
            unreported.insert(id.clone(), Unreported::new(Step::Claim(claim)));
        }
    }

    /// Returns whether the ledger has not taken a report of this key, or not answered a claim.
    pub(crate) fn has_unreported(&self, id: &RecordId) -> bool {
        self.unreported.lock().contains_key(id)
    }

    /// Returns the messages of the reports that the ledger could not take.
    pub(crate) fn unreported(&self) -> Vec<RecordId> {
        let unreported = self.unreported.lock();
        let reports = unreported.iter().filter(|(_, report)| !report.is_claim());
        reports.map(|(id, _)| id.clone()).collect()
    }

    /// Brings what the ledger still has to hear of this key.
    pub(crate) async fn report_again(&self, id: &RecordId) -> Result<(), LedgerError> {
        let Some(report) = self.unreported.lock().get(id).cloned() else {
            return Ok(());
        };
        // A report is one however often it is brought; two tasks need not wait for one another.
        let _bringing = match report.is_claim() {
            true => Some(report.bringing.lock().await),
            false => None,
        };
        let is_it =
            |kept: Option<&Arc<Unreported>>| kept.is_some_and(|it| Arc::ptr_eq(it, &report));
        if !is_it(self.unreported.lock().get(id)) {
            return Ok(());
        }
        let reply = self.apply(id, report.step.clone()).await?;
        if !report.is_claim() {
            tracing::info!(
                handler = &*id.handler,
                key = &*id.key,
                "the end of an earlier attempt is recorded now"
            );
        } else if let Reply::Run(Grant { token, .. }) = reply {
            self.apply(id, Step::GiveBack { token }).await?;
        }
        let mut unreported = self.unreported.lock();
        // A later attempt's report may be in its place.
        if is_it(unreported.get(id)) {
            unreported.remove(id);
        }
        Ok(())
    }

    /// Brings all that the ledger still has to hear.
    pub(crate) async fn report_all_again(&self) {
        let ids: Vec<_> = self.unreported.lock().keys().cloned().collect();
        for some in ids.chunks(AT_ONCE) {
            let brought = join_all(some.iter().map(|id| self.report_again(id))).await;
            let away = brought.iter().any(|brought| {
                // One unreadable record must not hold up the reports of the others.
                !matches!(brought, Ok(()) | Err(LedgerError::Record { .. }))
            });
            if away {
                return;
            }
        }
    }

    /// Recovers what a dead process left: writes dead letters for spent budgets, and reads the pauses
    /// and the earlier names of handlers.
    pub(crate) async fn recover(&self) -> Result<(), LedgerError> {
        self.sweep(0).await?;
        self.count_letters().await;
        self.pauses.read(&*self.ledger, &*self.clock).await?;
        self.pauses.recover(self.leases, &*self.clock);
        self.earlier.read(&*self.ledger).await
    }

    pub(crate) async fn sweep(&self, settled: usize) -> Result<Swept, LedgerError> {
        let swept = self
            .ledger
            .sweep(settled, self.limits.letter_retention)
            .await?;
        if let Some(waiting) = swept.waiting {
            *self.waiting.lock() = Some(waiting);
            metrics::waiting(waiting, self.clock.now());
        }
        swept
            .dead_lettered
            .iter()
            .for_each(|letter| self.tell(letter));
        if !swept.dead_lettered.is_empty() {
            self.count_letters().await;
        }
        Ok(swept)
    }

    pub(crate) fn tell(&self, letter: &DeadLetter) {
        self.log.died(letter);
        // There may be no watcher.
        let _ = self.new_letters.send(letter.clone());
    }

    pub(crate) async fn count_letters(&self) {
        if let Ok(count) = self.ledger.open_letters().await {
            metrics::open_letters(count);
        }
    }

    /// Brings what the ledger still has to hear, and closes it. After this there is no
    /// housekeeping.
    pub(crate) async fn finish(&self) -> Result<(), LedgerError> {
        self.finishing.notify_one();
        let _for_ever = self.housekeeping.lock().await;
        self.report_all_again().await;
        self.log.sum_up(self.clock.now());
        self.ledger.close().await
    }

    /// Returns an error in a process that was forked from the one that opened it.
    pub(crate) fn is_here(&self) -> Result<(), LedgerError> {
        if failpoint::process() == self.process {
            Ok(())
        } else {
            Err(LedgerError::Forked {
                opened_by: self.process,
            })
        }
    }

    /// Admits a call, or returns `None` after the closing. The call counts as running until the
    /// return value is dropped.
    pub(crate) fn enter(self: &Arc<Self>) -> Option<RunningCall> {
        self.running.fetch_add(1, Ordering::SeqCst);
        let call = RunningCall(Arc::clone(self));
        (!self.refuses_calls()).then_some(call)
    }

    /// Admits no more calls.
    pub(crate) fn refuse_calls(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    /// Returns whether calls are refused, as the closing has begun.
    pub(crate) fn refuses_calls(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Returns a number for a claim that no earlier one of this instance had.
    #[inline]
    pub(crate) fn next_nonce(&self) -> u64 {
        self.nonces.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Returns how many calls are running.
    pub(crate) fn running(&self) -> usize {
        self.running.load(Ordering::SeqCst)
    }

    /// Waits, once this is closed, until no call is running.
    pub(crate) async fn idle(&self) {
        loop {
            // Created before the check, so that no notification is missed.
            let idle = self.idle.notified();
            if self.running() == 0 {
                return;
            }
            idle.await;
        }
    }

    /// Returns what the ledger knows of one message, under today's name or an earlier one.
    pub(crate) async fn record(&self, id: &RecordId) -> Result<Option<Record>, LedgerError> {
        let mut record = self.ledger.record(id).await?;
        if record.is_none() {
            for was in self.earlier.get(&id.handler) {
                let earlier = RecordId {
                    handler: was.into(),
                    key: id.key.clone(),
                };
                record = record.or(self.ledger.record(&earlier).await?);
            }
        }
        Ok(record)
    }
}

impl Unreported {
    fn new(step: Step) -> Arc<Self> {
        Arc::new(Self {
            step,
            bringing: tokio::sync::Mutex::default(),
        })
    }

    fn is_claim(&self) -> bool {
        matches!(self.step, Step::Claim(_))
    }
}

/// A running call. `close` waits until it is dropped.
#[derive(Debug)]
pub(crate) struct RunningCall(Arc<Shared>);

impl Drop for RunningCall {
    fn drop(&mut self) {
        let last = self.0.running.fetch_sub(1, Ordering::SeqCst) == 1;
        if last && self.0.refuses_calls() {
            self.0.idle.notify_waiters();
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("instance", &self.instance)
            .finish_non_exhaustive()
    }
}
