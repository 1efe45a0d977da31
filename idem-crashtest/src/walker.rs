//! The test's side: starts the processes of all runs, waits for their crashes, and reads what they
//! left.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use parking_lot::Mutex;
use tempfile::TempDir;
use wait_timeout::ChildExt;

use crate::error::WalkError;
use crate::failpoints::{Crash, FAILPOINTS};
use crate::log::{Line, Log, Step};
use crate::process::{ORDERS, Orders, RunFolder};
use crate::run::Run;
use crate::walk::Walk;

/// A run of more processes than this will not finish.
const MOST_PROCESSES: u32 = 100;

/// The tests that have walked in this process.
static WALKED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// How a process ended.
enum Ended {
    /// By the planned crash.
    Crashed,
    /// By a signal of the scenario's own.
    Killed,
    /// With its scenario finished.
    Finished,
}

/// How often each process passed each failpoint.
type Passes = BTreeMap<(u32, String), u32>;

pub(crate) fn walk(walk: &Walk) -> Result<Vec<Run>, WalkError> {
    let test = name(walk)?;
    let seed = match &walk.prepare {
        None => None,
        Some(prepare) => {
            let folder = TempDir::with_prefix("idem-crashtest-")?;
            prepare(folder.path());
            Some(folder)
        }
    };
    let walker = Walker {
        walk,
        binary: std::env::current_exe()?,
        test,
        seed,
    };
    let (undisturbed, _, passes) = walker.run(None)?;
    let counted = FAILPOINTS.iter().flat_map(|failpoint| {
        passes
            .iter()
            .filter(move |((_, passed), _)| passed == failpoint)
            .flat_map(|((process, failpoint), passes)| {
                (1..=*passes).map(|pass| (*process, failpoint.clone(), pass))
            })
    });
    let crashes = counted
        .flat_map(|(process, failpoint, pass)| walker.crashes(process, &failpoint, pass))
        .collect();
    let mut runs = vec![undisturbed];
    runs.extend(walker.all(crashes)?);
    // Another run may group its writes differently, so the walk goes on until a pass is not
    // reached.
    for ((process, failpoint), passes) in passes {
        for pass in passes + 1.. {
            let mut reached = false;
            for crash in walker.crashes(process, &failpoint, pass) {
                let (run, crashed, _) = walker.run(Some(crash))?;
                reached |= crashed;
                runs.extend(crashed.then_some(run));
            }
            if !reached {
                break;
            }
        }
    }
    Ok(runs)
}

/// Returns the test's name, which no other walk may have.
fn name(walk: &Walk) -> Result<String, WalkError> {
    let thread = std::thread::current();
    let named = thread
        .name()
        .filter(|name| *name != "main")
        .map(str::to_owned);
    let name = walk.test.clone().or(named).ok_or(WalkError::NoName)?;
    if !WALKED.lock().insert(name.clone()) {
        return Err(WalkError::Twice(name));
    }
    Ok(name)
}

struct Walker<'a> {
    walk: &'a Walk,
    binary: PathBuf,
    test: String,
    /// The data folder of which each run starts in a copy.
    seed: Option<TempDir>,
}

impl Walker<'_> {
    fn crashes(&self, process: u32, failpoint: &str, pass: u32) -> Vec<Crash> {
        self.walk
            .crash_kinds
            .iter()
            .map(|kind| Crash {
                process,
                failpoint: failpoint.to_owned(),
                pass,
                kind: *kind,
            })
            .collect()
    }

    /// Makes a run for each of these crashes, a few at once, because they mostly wait for the disk.
    /// A crash that is not reached this time leaves no run.
    fn all(&self, crashes: Vec<Crash>) -> Result<Vec<Run>, WalkError> {
        let todo = Mutex::new(crashes.into_iter().enumerate());
        let runs = Mutex::new(BTreeMap::new());
        let work = || {
            loop {
                let Some((index, crash)) = todo.lock().next() else {
                    return Ok(());
                };
                match self.run(Some(crash)) {
                    Ok((run, true, _)) => drop(runs.lock().insert(index, run)),
                    Ok(_) => {}
                    Err(error) => {
                        todo.lock().by_ref().for_each(drop);
                        return Err(error);
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            let workers = std::thread::available_parallelism()
                .map_or(1, usize::from)
                .min(8);
            let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
            workers.into_iter().try_for_each(|worker| {
                worker
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
        })?;
        Ok(runs.into_inner().into_values().collect())
    }

    /// Makes one run. Returns it, whether it crashed as planned, and what its processes passed.
    fn run(&self, crash: Option<Crash>) -> Result<(Run, bool, Passes), WalkError> {
        let temporary = TempDir::with_prefix("idem-crashtest-")?;
        let folder = RunFolder(temporary.path().to_owned());
        fs::create_dir(folder.own())?;
        if let Some(seed) = &self.seed {
            copy(seed.path(), &folder.data())?;
        }
        let (mut processes, mut crashed) = (0, 0);
        loop {
            processes += 1;
            if processes > MOST_PROCESSES {
                return Err(WalkError::Endless {
                    crash,
                    processes: MOST_PROCESSES,
                });
            }
            let orders = Orders {
                folder: folder.clone(),
                process: processes,
                crash: crash.clone().filter(|_| crashed < self.walk.in_a_row),
            };
            match self.process(&orders, crash.as_ref())? {
                Ended::Crashed => crashed += 1,
                Ended::Killed => {}
                Ended::Finished => break,
            }
        }
        let lines = Log::read(&folder.log())?;
        let mut passes = Passes::new();
        for line in &lines {
            if let Step::Passed(failpoint) = &line.step {
                *passes.entry((line.process, failpoint.clone())).or_default() += 1;
            }
        }
        let log = lines.into_iter().filter_map(Line::entry).collect();
        let (builder, data) = ((self.walk.builder)(), folder.data());
        let run = Run::read(crash.clone(), processes, log, builder, &data);
        let run = pollster::block_on(run).map_err(|error| WalkError::Unreadable {
            crash,
            error: Box::new(error),
        })?;
        Ok((run, crashed > 0, passes))
    }

    /// Starts one process and waits for its end.
    fn process(&self, orders: &Orders, crash: Option<&Crash>) -> Result<Ended, WalkError> {
        let (process, printed) = (orders.process, orders.folder.0.join("output"));
        // A file, because a process would stand still at a full pipe.
        let output = File::create(&printed)?;
        let mut child = Command::new(&self.binary)
            .args([
                self.test.as_str(),
                "--exact",
                "--nocapture",
                "--include-ignored",
                "--test-threads=1",
            ])
            .env(
                ORDERS,
                serde_json::to_string(orders).map_err(std::io::Error::from)?,
            )
            .stdin(Stdio::null())
            .stderr(output.try_clone()?)
            .stdout(output)
            .spawn()?;
        let deadline = self.walk.deadline;
        let ended = child.wait_timeout(deadline)?;
        if ended.is_none() {
            child.kill()?;
            child.wait()?;
        }
        let output = String::from_utf8_lossy(&fs::read(&printed)?).into_owned();
        let lines = Log::read(&orders.folder.log())?;
        let wrote = |is: fn(&Step) -> bool| {
            lines
                .iter()
                .any(|line| line.process == process && is(&line.step))
        };
        let crash = crash.cloned();
        match ended {
            None => Err(WalkError::Hung {
                crash,
                process,
                deadline,
                output,
            }),
            Some(_) if wrote(|step| matches!(step, Step::Crashed)) => Ok(Ended::Crashed),
            Some(status) if status.success() && wrote(|step| matches!(step, Step::Finished)) => {
                Ok(Ended::Finished)
            }
            Some(_) if !wrote(|step| matches!(step, Step::Arrived)) => Err(WalkError::NotReached {
                test: self.test.clone(),
                output,
            }),
            Some(status) if status.signal().is_some() => Ok(Ended::Killed),
            Some(status) => Err(WalkError::Failed {
                crash,
                process,
                status: status.to_string(),
                output,
            }),
        }
    }
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let (entry, to) = (entry?, to);
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), to).map(drop)?;
        }
    }
    Ok(())
}
