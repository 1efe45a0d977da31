//! What a test calls: a walk, and what each of its processes opens.

use std::path::Path;
use std::process::Termination;
use std::time::Duration;

use idem_runtime::{Idem, IdemBuilder};

use crate::failpoints::CrashKind;
use crate::process::{self, Orders, Process};
use crate::run::Run;
use crate::walker;

/// Runs a scenario once without a crash and then once for each failpoint that it passes and each
/// [`CrashKind`], and returns all runs, the undisturbed one first. Handlers that the scenario calls
/// use the [`Process`]'s Idem.
///
/// # Panics
/// As [`Walk::everywhere`].
#[must_use = "the walk itself checks only that each restart finishes"]
#[track_caller]
pub fn everywhere<S, R>(scenario: S) -> Vec<Run>
where
    S: AsyncFnOnce(Process) -> R + Send,
    R: Termination,
{
    Walk::new().everywhere(scenario)
}

/// A walk with choices: what each process opens, how it crashes, how long it may take.
///
/// ```no_run,test_harness
/// use idem_crashtest::{CrashKind, Walk};
/// use idem_runtime::Idem;
///
/// #[test]
/// fn a_small_cache_survives_two_crashes_in_a_row() {
///     let runs = Walk::new()
///         .builder(|| Idem::builder().cache(16 << 20))
///         .crash_kinds(&[CrashKind::Kill])
///         .in_a_row(2)
///         .everywhere(async |process| process.note("finished"));
///     assert!(runs.iter().all(|run| run.notes().count() == 1));
/// }
/// ```
#[must_use]
pub struct Walk {
    pub(crate) builder: Box<BuilderOf>,
    pub(crate) prepare: Option<Box<Prepare>>,
    pub(crate) crash_kinds: Vec<CrashKind>,
    pub(crate) in_a_row: u32,
    pub(crate) deadline: Duration,
    pub(crate) test: Option<String>,
}

/// Returns what each process opens its Idem with.
pub(crate) type BuilderOf = dyn Fn() -> IdemBuilder + Send + Sync;
/// Makes the first data folder.
pub(crate) type Prepare = dyn Fn(&Path) + Send + Sync;

impl Default for Walk {
    fn default() -> Self {
        Self::new()
    }
}

impl Walk {
    /// Returns a walk with the default choices, which the setters name.
    pub fn new() -> Self {
        Self {
            builder: Box::new(Idem::builder),
            prepare: None,
            crash_kinds: vec![CrashKind::Abort, CrashKind::Kill],
            in_a_row: 1,
            deadline: Duration::from_secs(60),
            test: None,
        }
    }

    /// Sets what each process opens its Idem with, and the test itself when it reads what a run
    /// left; [`Idem::builder`] by default. A manual clock starts at the same time in each process.
    pub fn builder(mut self, builder: impl Fn() -> IdemBuilder + Send + Sync + 'static) -> Self {
        self.builder = Box::new(builder);
        self
    }

    /// Sets a function that fills the data folder; each run starts in a copy of it. By default a
    /// run starts in an empty folder. The function is called once and must close what it opens.
    pub fn prepare(mut self, prepare: impl Fn(&Path) + Send + Sync + 'static) -> Self {
        self.prepare = Some(Box::new(prepare));
        self
    }

    /// Sets how the processes crash; in both ways by default.
    pub fn crash_kinds(mut self, kinds: &[CrashKind]) -> Self {
        self.crash_kinds = kinds.to_vec();
        self
    }

    /// Sets how many processes in a row crash at the same failpoint, each on the same pass; one by
    /// default.
    pub fn in_a_row(mut self, processes: u32) -> Self {
        self.in_a_row = processes.max(1);
        self
    }

    /// Sets how long one process may take; 60 seconds by default.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Sets the test's whole path, as `cargo test -- --list` shows it; the name of the test's
    /// thread by default.
    pub fn test(mut self, path: impl Into<String>) -> Self {
        self.test = Some(path.into());
        self
    }

    /// Runs a scenario once without a crash and then once for each failpoint that it passes and
    /// each [`CrashKind`], and returns all runs, the undisturbed one first.
    ///
    /// A scenario may return a `Result`: an error fails the walk, and so does a panic outside of a
    /// handler's body. If a body ends the process itself, the scenario is started again as after a
    /// crash, and each of its processes crashes at each of its failpoints.
    ///
    /// # Panics
    /// If a process fails, exceeds the deadline or cannot be started, or the ledger cannot be
    /// opened after a crash. The message names the crash and holds what the process printed.
    #[must_use = "the walk itself checks only that each restart finishes"]
    #[track_caller]
    #[expect(clippy::panic, reason = "a test fails by panicking")]
    pub fn everywhere<S, R>(self, scenario: S) -> Vec<Run>
    where
        S: AsyncFnOnce(Process) -> R + Send,
        R: Termination,
    {
        if let Some(orders) = Orders::given() {
            process::run(orders, &self.builder, scenario);
        }
        match walker::walk(&self) {
            Ok(runs) => runs,
            Err(error) => panic!("{error}"),
        }
    }
}
