//! Replicas on one ledger, as two processes have it: what one does for all, and what each shows of
//! the others. Only time is held still.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod audit;
mod bulk;
mod index;
mod monitor;
mod rules;
mod slow;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use idem_runtime::ledger::Ledger;
use idem_runtime::testing::{ManualClock, MemoryLedger, open_on};
use idem_runtime::{Error, Filter, Idem, idempotent};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::spawn_blocking;

pub(crate) use idem_test_support::within;

/// Longer than a replica may be silent, and the time between two looks of a contender.
const TAKEOVER: Duration = Duration::from_secs(40);

/// Lets all tasks of this thread do what they can do without time.
async fn settled() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

fn process(clock: &ManualClock, ledger: impl Ledger) -> Idem {
    let builder = Idem::builder().clock(Arc::new(clock.clone()));
    open_on(builder, ledger).unwrap()
}

/// A ledger that processes share.
struct Shared {
    clock: ManualClock,
    ledger: MemoryLedger,
}

impl Shared {
    fn new() -> Self {
        let clock = ManualClock::default();
        let ledger = MemoryLedger::new(Arc::new(clock.clone()));
        Self { clock, ledger }
    }

    fn clock_now(&self) -> idem_runtime::clock::Timestamp {
        use idem_runtime::clock::Clock;
        self.clock.now()
    }

    /// Another process, on the ledger's clock.
    fn process(&self) -> Idem {
        self.process_at(&self.clock)
    }

    /// Another process, on a clock of its own.
    fn process_at(&self, clock: &ManualClock) -> Idem {
        process(clock, self.ledger.clone())
    }

    /// Another process, which makes letters, and of which nothing sleeps on the ledger's clock.
    fn maker(&self) -> Idem {
        self.process_at(&ManualClock::default())
    }

    /// Another process, whose ledger answers a turn later.
    fn slow_process(&self) -> Idem {
        process(&self.clock, slow::slow(self.ledger.clone()))
    }

    /// Looks again and again while time passes, until it is as wanted.
    async fn until<T: Debug>(
        &self,
        step: Duration,
        mut look: impl AsyncFnMut() -> T,
        wanted: impl Fn(&T) -> bool,
    ) -> T {
        within(async {
            loop {
                let seen = look().await;
                if wanted(&seen) {
                    return seen;
                }
                self.clock.advance(step);
                // The others do what that wakes, on other threads too.
                settled().await;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await
    }
}

/// A process that can be killed: nothing of it runs afterwards, and nothing was given back.
struct Killable(Option<tokio::runtime::Runtime>);

impl Killable {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build();
        Self(Some(runtime.unwrap()))
    }

    async fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        within(self.0.as_ref().unwrap().spawn(work)).await.unwrap()
    }

    async fn kill(mut self) {
        let runtime = self.0.take().unwrap();
        let killed = spawn_blocking(move || runtime.shutdown_timeout(Duration::from_secs(60)));
        within(killed).await.unwrap();
    }
}

impl Drop for Killable {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum Oops {
    #[error("{0}")]
    Own(String),
    #[error(transparent)]
    Idem(#[from] Error),
}

#[idempotent(
    name = "replicas.place",
    key = "order.order_no",
    retries = 0,
    skip(stock, error)
)]
async fn place(order: Order, error: String, stock: Arc<Stock>) -> Result<(), Oops> {
    if !error.is_empty() {
        return Err(Oops::Own(error));
    }
    let starts = {
        let mut begun = stock.begun.lock();
        *begun.entry(order.order_no).or_default() += 1;
        begun.len()
    };
    let mut free = stock.free.subscribe();
    let _ = free.wait_for(|free| starts <= *free).await;
    Ok(())
}

/// What a process runs: so many runs end, and the next ones hang.
struct Stock {
    begun: Mutex<BTreeMap<String, u32>>,
    free: watch::Sender<usize>,
}

impl Stock {
    fn new(free: usize) -> Arc<Self> {
        Arc::new(Self {
            begun: Mutex::default(),
            free: watch::Sender::new(free),
        })
    }

    fn begun(&self) -> Vec<String> {
        self.begun.lock().keys().cloned().collect()
    }

    /// Makes the letters of an Idem runnable.
    fn runs_on(self: &Arc<Self>, idem: &Idem) {
        let stock = Arc::clone(self);
        idem.register_handler("replicas.place", move |order: Order| {
            place(order, String::new(), Arc::clone(&stock))
        });
    }
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Order {
    order_no: String,
}

/// Makes letters: one for each number, all with this error.
async fn die(idem: &Idem, numbers: std::ops::Range<usize>, error: &str) {
    for number in numbers {
        let order_no = format!("A-{number:03}");
        let call = place(Order { order_no }, error.to_owned(), Stock::new(0));
        assert!(matches!(idem.scope(call).await, Err(Oops::Own(_))));
    }
}

/// The open letters' ids, newest first.
async fn open(idem: &Idem) -> Vec<idem_runtime::DeadLetterId> {
    let letters = idem.dead_letters().list(&Filter::default()).await.unwrap();
    letters.iter().map(|letter| letter.id).collect()
}
