//! A process that is to crash: the same test, started again by itself.

use std::fmt::Display;
use std::ops::Deref;
use std::path::PathBuf;
use std::process::{ExitCode, Termination};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use idem_runtime::Idem;
use serde::{Deserialize, Serialize};

use crate::failpoints::{Crash, FAILPOINTS, crash};
use crate::log::{Event, Log, Step};
use crate::walk::BuilderOf;

/// The variable from which a started process reads its orders.
pub(crate) const ORDERS: &str = "IDEM_CRASHTEST_ORDERS";

/// How long the rest of the process goes on while its ledger stands still at the failpoint.
const HEAD_START: Duration = Duration::from_millis(5);

/// What a started process has to do.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Orders {
    pub(crate) folder: RunFolder,
    pub(crate) process: u32,
    pub(crate) crash: Option<Crash>,
}

/// The folder of a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RunFolder(pub(crate) PathBuf);

impl RunFolder {
    pub(crate) fn data(&self) -> PathBuf {
        self.0.join("data")
    }

    pub(crate) fn own(&self) -> PathBuf {
        self.0.join("own")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.0.join("log")
    }
}

impl Orders {
    /// Returns this process's orders, if a walk has started it.
    pub(crate) fn given() -> Option<Self> {
        serde_json::from_str(&std::env::var(ORDERS).ok()?).ok()
    }
}

/// One process's part of a run: its [`Idem`], and what outlives it.
#[derive(Debug, Clone)]
pub struct Process {
    idem: Idem,
    folder: RunFolder,
    number: u32,
    log: Arc<Log>,
}

impl Process {
    /// Returns the number of this process in its run, from 1.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Returns the folder for the scenario's own files; all processes of a run share it.
    pub fn folder(&self) -> PathBuf {
        self.folder.own()
    }

    /// Returns the data folder of the Idem, for a scenario that closes it and opens it again.
    pub fn data(&self) -> PathBuf {
        self.folder.data()
    }

    /// Writes down a text: what a call returned, or that an effect happened.
    /// [`Run::notes`](crate::Run::notes) returns the texts in the order in which they were written.
    ///
    /// # Panics
    /// If the text cannot be written.
    #[expect(clippy::panic, reason = "a test fails by panicking")]
    pub fn note(&self, note: impl Display) {
        let event = Event::Noted(note.to_string());
        if let Err(error) = self.log.write(Step::Event(event)) {
            panic!("cannot write a note: {error}");
        }
    }
}

impl Deref for Process {
    type Target = Idem;
    fn deref(&self) -> &Idem {
        &self.idem
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Runs the scenario, and ends the process on the way or at the scenario's end.
pub(crate) fn run<S, R>(orders: Orders, builder: &BuilderOf, scenario: S) -> !
where
    S: AsyncFnOnce(Process) -> R + Send,
    R: Termination,
{
    // A thread of its own, for the test itself may run on a runtime.
    let ran =
        std::thread::scope(|scope| scope.spawn(|| to_the_end(orders, builder, scenario)).join());
    match ran {
        Ok(Ok(())) => std::process::exit(0),
        Ok(Err(failure)) => eprintln!("{failure}"),
        // The panic hook has printed the panic.
        Err(_) => {}
    }
    std::process::exit(101)
}

fn to_the_end<S, R>(orders: Orders, builder: &BuilderOf, scenario: S) -> Result<(), Failure>
where
    S: AsyncFnOnce(Process) -> R,
    R: Termination,
{
    let Orders {
        folder,
        process: number,
        crash,
    } = orders;
    let log = Arc::new(Log::open(&folder.log(), number)?);
    log.write(Step::Arrived)?;
    // The crash is intended, so it leaves no core file behind.
    let none = rustix::process::Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    rustix::process::setrlimit(rustix::process::Resource::Core, none)?;
    arm(&log, number, crash)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let code = runtime.block_on(async {
        let idem = builder().open(folder.data())?;
        let process = Process {
            idem: idem.clone(),
            folder,
            number,
            log: Arc::clone(&log),
        };
        let code = idem.scope(async { scenario(process).await.report() }).await;
        idem.close().await?;
        Ok::<_, Failure>(code)
    })?;
    if code != ExitCode::SUCCESS {
        return Err("the scenario returned an error".into());
    }
    Ok(log.write(Step::Finished)?)
}

/// Makes each failpoint write down its passes, and the one of `planned` crash.
fn arm(log: &Arc<Log>, process: u32, planned: Option<Crash>) -> Result<(), String> {
    let planned = planned.filter(|planned| planned.process <= process);
    for failpoint in FAILPOINTS {
        let (log, passes) = (Arc::clone(log), AtomicU32::new(0));
        let here = planned
            .clone()
            .filter(|planned| planned.failpoint == *failpoint);
        fail::cfg_callback(*failpoint, move || {
            let pass = passes.fetch_add(1, Ordering::Relaxed) + 1;
            written(log.write(Step::Passed((*failpoint).to_owned())));
            if let Some(planned) = here.as_ref().filter(|planned| planned.pass == pass) {
                // A caller that was answered too early has the time to act on it.
                std::thread::sleep(HEAD_START);
                written(log.write(Step::Crashed));
                crash(planned.kind);
            }
        })?;
    }
    let log = Arc::clone(log);
    fail::cfg_callback(idem_runtime::__failpoints::BODY, move || {
        if let Some(attempt) = idem_runtime::attempt() {
            written(log.write(Step::Event(Event::Started(attempt.into()))));
        }
    })
}

/// Ends the process if its log could not be written: everything that follows would be wrong.
fn written(result: std::io::Result<()>) {
    if let Err(error) = result {
        eprintln!("cannot write the walk's log: {error}");
        std::process::exit(101);
    }
}
