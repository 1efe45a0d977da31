//! The test's side: it starts processes, waits for their deaths, and looks at what is left.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use parking_lot::Mutex;
use tempfile::TempDir;
use wait_timeout::ChildExt;

use super::Walk;
use super::diary::{Diary, Line, What};
use super::life::{ORDERS, Orders, Stage};
use super::places::{POINTS, Place};
use super::run::Run;
use super::trouble::Trouble;

/// More processes than this, one after the other, get nowhere.
const MOST_LIVES: u32 = 100;

/// The tests that have walked in this process.
static WALKED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// How a process ended.
enum Ended {
    /// Where it was to die.
    There,
    /// By itself, or by a body of the scenario.
    Otherwise,
    Through,
}

/// How often each point is passed, by process.
type Passed = BTreeMap<(u32, String), u32>;

pub(super) fn walk(walk: &Walk) -> Result<Vec<Run>, Trouble> {
    let test = name(walk)?;
    let seed = match &walk.prepare {
        None => None,
        Some(prepare) => {
            let folder = TempDir::with_prefix("idem-crashes-")?;
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
    let (alone, _, passed) = walker.run(None)?;
    let counted = POINTS.iter().flat_map(|point| {
        passed
            .iter()
            .filter(move |((_, passed), _)| passed == point)
            .flat_map(|((life, point), times)| {
                (1..=*times).map(|time| (*life, point.clone(), time))
            })
    });
    let places = counted
        .flat_map(|(life, point, time)| walker.deaths(life, &point, time))
        .collect();
    let mut runs = vec![alone];
    runs.extend(walker.all(places)?);
    // Groups may fall another way in another run: the walk goes on until a place is passed no more.
    for ((life, point), times) in passed {
        for time in times + 1.. {
            let mut reached = false;
            for place in walker.deaths(life, &point, time) {
                let (run, died, _) = walker.run(Some(place))?;
                reached |= died;
                runs.extend(died.then_some(run));
            }
            if !reached {
                break;
            }
        }
    }
    Ok(runs)
}

/// The test's name, which no other walk has.
fn name(walk: &Walk) -> Result<String, Trouble> {
    let thread = std::thread::current();
    let named = thread
        .name()
        .filter(|name| *name != "main")
        .map(str::to_owned);
    let name = walk.test.clone().or(named).ok_or(Trouble::NoName)?;
    if !WALKED.lock().insert(name.clone()) {
        return Err(Trouble::Twice(name));
    }
    Ok(name)
}

struct Walker<'a> {
    walk: &'a Walk,
    binary: PathBuf,
    test: String,
    /// What each run starts in a copy of.
    seed: Option<TempDir>,
}

impl Walker<'_> {
    fn deaths(&self, life: u32, point: &str, time: u32) -> Vec<Place> {
        self.walk
            .deaths
            .iter()
            .map(|death| Place {
                life,
                point: point.to_owned(),
                time,
                death: *death,
            })
            .collect()
    }

    /// Runs that die at these places, a few at once, for they mostly wait for the disk. A place
    /// that is not reached this time leaves no run.
    fn all(&self, places: Vec<Place>) -> Result<Vec<Run>, Trouble> {
        let todo = Mutex::new(places.into_iter().enumerate());
        let runs = Mutex::new(BTreeMap::new());
        let work = || {
            loop {
                let Some((index, place)) = todo.lock().next() else {
                    return Ok(());
                };
                match self.run(Some(place)) {
                    Ok((run, true, _)) => drop(runs.lock().insert(index, run)),
                    Ok(_) => {}
                    Err(trouble) => {
                        todo.lock().by_ref().for_each(drop);
                        return Err(trouble);
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

    /// One run, whether it died at its place, and what its processes passed.
    fn run(&self, place: Option<Place>) -> Result<(Run, bool, Passed), Trouble> {
        let folder = TempDir::with_prefix("idem-crashes-")?;
        let stage = Stage(folder.path().to_owned());
        fs::create_dir(stage.own())?;
        if let Some(seed) = &self.seed {
            copy(seed.path(), &stage.data())?;
        }
        let (mut life, mut died) = (0, 0);
        loop {
            life += 1;
            if life > MOST_LIVES {
                return Err(Trouble::Endless {
                    place,
                    lives: MOST_LIVES,
                });
            }
            let there = place.clone().filter(|_| died < self.walk.in_a_row);
            match self.process(
                &Orders {
                    stage: stage.clone(),
                    life,
                    place: there,
                },
                place.as_ref(),
            )? {
                Ended::There => died += 1,
                Ended::Otherwise => {}
                Ended::Through => break,
            }
        }
        let lines = Diary::read(&stage.diary())?;
        let mut passed = Passed::new();
        for line in &lines {
            if let What::Passed(point) = &line.what {
                *passed.entry((line.life, point.clone())).or_default() += 1;
            }
        }
        let diary = lines.into_iter().filter_map(Line::entry).collect();
        let run = pollster::block_on(Run::of(
            place.clone(),
            life,
            diary,
            (self.walk.builder)(),
            &stage.data(),
        ))
        .map_err(|error| Trouble::Left {
            place,
            error: Box::new(error),
        })?;
        Ok((run, died > 0, passed))
    }

    /// One process, from its start to its end.
    fn process(&self, orders: &Orders, place: Option<&Place>) -> Result<Ended, Trouble> {
        let (life, printed) = (orders.life, orders.stage.0.join("output"));
        // A file takes whatever a process prints; a pipe that nobody reads would hold it up.
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
        let lines = Diary::read(&orders.stage.diary())?;
        let wrote =
            |is: fn(&What) -> bool| lines.iter().any(|line| line.life == life && is(&line.what));
        let place = place.cloned();
        match ended {
            None => Err(Trouble::Hung {
                place,
                life,
                deadline,
                output,
            }),
            Some(_) if wrote(|what| matches!(what, What::Died)) => Ok(Ended::There),
            Some(status) if status.success() && wrote(|what| matches!(what, What::Finished)) => {
                Ok(Ended::Through)
            }
            Some(_) if !wrote(|what| matches!(what, What::Arrived)) => Err(Trouble::Lost {
                test: self.test.clone(),
                output,
            }),
            Some(status) if status.signal().is_some() => Ok(Ended::Otherwise),
            Some(status) => Err(Trouble::Failed {
                place,
                life,
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
