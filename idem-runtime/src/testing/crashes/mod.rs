//! Crashes at every write: a scenario of calls dies at each place where the embedded ledger writes
//! its state, starts again in the same folder, and you see how often the bodies started and what is
//! recorded.
//!
//! ```no_run,test_harness
//! use idem_runtime::testing::crashes;
//! use idem_runtime::{Error, idempotent};
//!
//! #[idempotent(name = "orders.charge", key = "order_no", retries = 3)]
//! async fn charge(order_no: String, cents: u64) -> Result<u64, Error> {
//!     Ok(cents) // your business
//! }
//!
//! #[test]
//! fn a_charge_lives_through_a_crash_at_every_write() {
//!     let runs = crashes::everywhere(async |_life| {
//!         let _ = charge("A-1".into(), 500).await;
//!     });
//!     for run in &runs {
//!         println!("{run}"); // killed at idem::synced, time 2: orders.charge A-1 started 1 time, done: 500
//!         assert!(run.starts("orders.charge", "A-1") <= 4, "{run}");
//!         assert_eq!(run.result("orders.charge", "A-1"), Some(500), "{run}");
//!     }
//! }
//! ```
//!
//! How it works: the test starts its own binary again, with itself as the only test, and in that
//! process the scenario runs on an [`Idem`] of its own until it comes by the place. Then the
//! process is gone, by `abort` or by `SIGKILL`, and another one runs the same scenario in the same
//! folder, until one gets through. Each place is died at for the first time it is passed, for the
//! second, and so on, so every write of the scenario has its turn. What the process had handed to
//! the operating system survives; power cuts are not played.
//!
//! What to know:
//! - It works for the embedded ledger, under `cargo test` and `cargo nextest`, one walk in a test.
//!   What stands before the walk in the test runs in every one of its processes.
//! - A process dies at one scenario's places only, so tests may run in parallel. Put them into a
//!   file of their own under `tests/`: in the moment in which a process starts, it holds all
//!   folders that its parent has open, and a test beside it that closes one and opens it again
//!   might find it in use.
//! - A start is an attempt that began, also one in which `existing` finds the result. Effects are
//!   yours to count: keep them in [`Life::folder`], or write them down with [`Life::note`].

mod diary;
mod life;
mod places;
mod run;
mod trouble;
mod walk;

use std::path::Path;
use std::process::Termination;
use std::time::Duration;

pub use diary::{Entry, Event};
pub use life::Life;
pub use places::{Death, POINTS, Place};
pub use run::Run;

use crate::{Idem, IdemBuilder};

/// Runs a scenario once undisturbed and then once for each place and each way to die there, and
/// gives all runs, the undisturbed one first. Handlers called in the scenario belong to the
/// [`Life`]'s Idem.
///
/// # Panics
/// As [`Walk::everywhere`].
#[must_use = "nothing is checked but that every restart gets through"]
#[track_caller]
pub fn everywhere<S, R>(scenario: S) -> Vec<Run>
where
    S: AsyncFnOnce(Life) -> R + Send,
    R: Termination,
{
    Walk::default().everywhere(scenario)
}

/// How to walk: what each process opens, how it dies, how long it may take.
///
/// ```no_run,test_harness
/// use idem_runtime::Idem;
/// use idem_runtime::testing::crashes::{Death, Walk};
///
/// #[test]
/// fn a_small_cache_lives_through_two_crashes_in_a_row() {
///     let runs = Walk::default()
///         .builder(|| Idem::builder().cache(16 << 20))
///         .deaths(&[Death::Kill])
///         .in_a_row(2)
///         .everywhere(async |life| life.note("got through"));
///     assert!(runs.iter().all(|run| run.notes().count() == 1));
/// }
/// ```
#[must_use]
pub struct Walk {
    builder: Box<BuilderOf>,
    prepare: Option<Box<Prepare>>,
    deaths: Vec<Death>,
    in_a_row: u32,
    deadline: Duration,
    test: Option<String>,
}

/// What each process opens its Idem with.
type BuilderOf = dyn Fn() -> IdemBuilder + Send + Sync;
/// Makes the first data folder.
type Prepare = dyn Fn(&Path) + Send + Sync;

impl Default for Walk {
    fn default() -> Self {
        Self {
            builder: Box::new(Idem::builder),
            prepare: None,
            deaths: vec![Death::Abort, Death::Kill],
            in_a_row: 1,
            deadline: Duration::from_secs(60),
            test: None,
        }
    }
}

impl Walk {
    /// The choices each process opens its Idem with, and the test itself when it looks at what is
    /// left. A clock that stands still starts at the same time in each of them.
    pub fn builder(mut self, builder: impl Fn() -> IdemBuilder + Send + Sync + 'static) -> Self {
        self.builder = Box::new(builder);
        self
    }

    /// Makes the data folder that each run starts in a copy of, in place of an empty one. It is
    /// called once, and is to close what it opens.
    pub fn prepare(mut self, prepare: impl Fn(&Path) + Send + Sync + 'static) -> Self {
        self.prepare = Some(Box::new(prepare));
        self
    }

    /// The ways to die; both unless said.
    pub fn deaths(mut self, deaths: &[Death]) -> Self {
        self.deaths = deaths.to_vec();
        self
    }

    /// How many processes in a row die at the same place, each when it comes by for the same time;
    /// 1 unless said.
    pub fn in_a_row(mut self, processes: u32) -> Self {
        self.in_a_row = processes.max(1);
        self
    }

    /// How long one process may take; a minute unless said.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// The test's whole path, as `cargo test -- --list` shows it; unless said, the name that the
    /// test's thread has.
    pub fn test(mut self, path: impl Into<String>) -> Self {
        self.test = Some(path.into());
        self
    }

    /// Runs a scenario once undisturbed and then once for each place and each way to die there, and
    /// gives all runs, the undisturbed one first.
    ///
    /// A scenario may return a `Result`: an error fails the walk, and so does a panic, unless it is
    /// a body's. A scenario whose bodies end the process by themselves is started again likewise,
    /// and each of its processes' places is died at.
    ///
    /// # Panics
    /// When a process fails, hangs, or cannot be started, and when the ledger cannot be opened
    /// after a crash; it says at which place, and what the process printed.
    #[must_use = "nothing is checked but that every restart gets through"]
    #[track_caller]
    #[expect(clippy::panic, reason = "a test fails by panicking")]
    pub fn everywhere<S, R>(self, scenario: S) -> Vec<Run>
    where
        S: AsyncFnOnce(Life) -> R + Send,
        R: Termination,
    {
        if let Some(orders) = life::Orders::given() {
            life::live(orders, &self.builder, scenario);
        }
        match walk::walk(&self) {
            Ok(runs) => runs,
            Err(trouble) => panic!("{trouble}"),
        }
    }
}
