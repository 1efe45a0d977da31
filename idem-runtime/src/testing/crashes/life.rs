//! A process that is to die: the same test, started again by itself.

use std::fmt::Display;
use std::ops::Deref;
use std::path::PathBuf;
use std::process::{ExitCode, Termination};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::BuilderOf;
use super::diary::{Diary, What};
use super::places::{POINTS, Place, die};
use crate::{Idem, fault};

/// What a process that is to die reads its orders from.
pub(super) const ORDERS: &str = "IDEM_TESTING_CRASHES";

/// How long the rest of the process goes on while its ledger stands still at the place.
const HEAD_START: Duration = Duration::from_millis(5);

/// What such a process is told.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Orders {
    pub(super) stage: Stage,
    pub(super) life: u32,
    pub(super) place: Option<Place>,
}

/// A run's folder, and what is where in it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Stage(pub(super) PathBuf);

impl Stage {
    pub(super) fn data(&self) -> PathBuf {
        self.0.join("data")
    }

    pub(super) fn own(&self) -> PathBuf {
        self.0.join("own")
    }

    pub(super) fn diary(&self) -> PathBuf {
        self.0.join("diary")
    }
}

impl Orders {
    /// This process's orders, if it is one that is to die.
    pub(super) fn given() -> Option<Self> {
        serde_json::from_str(&std::env::var(ORDERS).ok()?).ok()
    }
}

/// One process's part of a run: its [`Idem`], and what outlives it.
#[derive(Debug, Clone)]
pub struct Life {
    idem: Idem,
    stage: Stage,
    number: u32,
    diary: Arc<Diary>,
}

impl Life {
    /// Which of the run's processes this is, from 1.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// A folder for the scenario's own files; all processes of a run see the same.
    pub fn folder(&self) -> PathBuf {
        self.stage.own()
    }

    /// The Idem's data folder, for a scenario that closes it and opens it again.
    pub fn data(&self) -> PathBuf {
        self.stage.data()
    }

    /// Writes something down: what a call was told, or that an effect happened. It is in
    /// [`Run::notes`](super::Run::notes), in the order in which it happened.
    ///
    /// # Panics
    /// When it cannot be written.
    #[expect(clippy::panic, reason = "a test fails by panicking")]
    pub fn note(&self, note: impl Display) {
        if let Err(error) = self.diary.write(What::Noted(note.to_string())) {
            panic!("a note could not be written: {error}");
        }
    }
}

impl Deref for Life {
    type Target = Idem;
    fn deref(&self) -> &Idem {
        &self.idem
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Runs the scenario, and dies on the way or at its end.
pub(super) fn live<S, R>(orders: Orders, builder: &BuilderOf, scenario: S) -> !
where
    S: AsyncFnOnce(Life) -> R + Send,
    R: Termination,
{
    // A thread of its own, for the test itself may run on a runtime.
    let lived =
        std::thread::scope(|scope| scope.spawn(|| to_the_end(orders, builder, scenario)).join());
    match lived {
        Ok(Ok(())) => std::process::exit(0),
        Ok(Err(failure)) => eprintln!("{failure}"),
        // The panic has said what it had to say.
        Err(_) => {}
    }
    std::process::exit(101)
}

fn to_the_end<S, R>(orders: Orders, builder: &BuilderOf, scenario: S) -> Result<(), Failure>
where
    S: AsyncFnOnce(Life) -> R,
    R: Termination,
{
    let Orders { stage, life, place } = orders;
    let diary = Arc::new(Diary::open(&stage.diary(), life)?);
    diary.write(What::Arrived)?;
    // Dying is the plan: it leaves no core files behind.
    let none = rustix::process::Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    rustix::process::setrlimit(rustix::process::Resource::Core, none)?;
    arrange(&diary, life, place)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let code = runtime.block_on(async {
        let idem = builder().open(stage.data())?;
        let it = Life {
            idem: idem.clone(),
            stage,
            number: life,
            diary: Arc::clone(&diary),
        };
        let code = idem.scope(async { scenario(it).await.report() }).await;
        idem.close().await?;
        Ok::<_, Failure>(code)
    })?;
    if code != ExitCode::SUCCESS {
        return Err("the scenario returned an error".into());
    }
    Ok(diary.write(What::Finished)?)
}

/// Makes the points write down that they were passed, and the place die.
fn arrange(diary: &Arc<Diary>, life: u32, place: Option<Place>) -> Result<(), String> {
    let place = place.filter(|place| place.life <= life);
    for point in POINTS {
        let (diary, passed) = (Arc::clone(diary), AtomicU32::new(0));
        let dies = place.clone().filter(|place| place.point == *point);
        fail::cfg_callback(*point, move || {
            let time = passed.fetch_add(1, Ordering::Relaxed) + 1;
            written(diary.write(What::Passed((*point).to_owned())));
            if let Some(place) = dies.as_ref().filter(|place| place.time == time) {
                // Whoever was told too early has the time to act on it.
                std::thread::sleep(HEAD_START);
                written(diary.write(What::Died));
                die(place.death);
            }
        })?;
    }
    let diary = Arc::clone(diary);
    fail::cfg_callback(fault::BODY, move || {
        if let Some(attempt) = crate::attempt() {
            written(diary.write(attempt.into()));
        }
    })
}

/// A diary that cannot be written makes everything after it untrue.
fn written(result: std::io::Result<()>) {
    if let Err(error) = result {
        eprintln!("the walk's diary could not be written: {error}");
        std::process::exit(101);
    }
}
