//! A victim between which and the system stands `shim.c`: a disk that fails once.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{OnceLock, mpsc};
use std::time::Duration;

/// How long a victim may say nothing; only one that hangs takes that long.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) const EIO: i32 = 5;
pub(crate) const ENOSPC: i32 = 28;
/// In the place of an error: the call waits until the next fault has happened.
pub(crate) const WAITS: i32 = -1;

/// A call that fails: the n-th of its kind on a file whose name ends so.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fault {
    pub(crate) kind: &'static str,
    pub(crate) nth: usize,
    pub(crate) error: i32,
    pub(crate) file: &'static str,
}

/// What the disk does to a victim.
#[derive(Debug, Clone, Default)]
pub(crate) struct Disk {
    /// One after the other.
    pub(crate) faults: Vec<Fault>,
    /// What the disk holds of sled's log, where that may be less than what is read.
    pub(crate) log: Option<PathBuf>,
}

/// What became of a victim.
#[derive(Debug)]
pub(crate) struct Life {
    pub(crate) lines: Vec<String>,
    calls: Vec<String>,
}

impl Disk {
    pub(crate) fn failing(fault: Fault) -> Self {
        Self {
            faults: vec![fault],
            log: None,
        }
    }

    /// Lets a victim live until it ends.
    pub(crate) fn live(&self, folder: &Path, what: &[&str]) -> Life {
        self.live_until(folder, what, |_| false)
    }

    /// Lets a victim live until it ends or says the line at which it is killed.
    pub(crate) fn live_until(
        &self,
        folder: &Path,
        what: &[&str],
        is_last: impl Fn(&str) -> bool,
    ) -> Life {
        let trace = tempfile::NamedTempFile::new().unwrap();
        let faults: Vec<_> = self.faults.iter().map(ToString::to_string).collect();
        let (what, rest) = what.split_first().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_victim"));
        command
            .arg(what)
            .arg(folder)
            .args(rest)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        command
            .env("LD_PRELOAD", library())
            .env("FAULTY_FOLDER", folder)
            .env("FAULTY_TRACE", trace.path());
        command.env("FAULTY_CALLS", faults.join(","));
        if let Some(log) = &self.log {
            command.env("FAULTY_DISK", log);
        }
        let mut child = command.spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (say, said) = mpsc::channel();
        let reader =
            std::thread::spawn(move || output.lines().try_for_each(|line| say.send(line.unwrap())));
        let mut lines = Vec::new();
        let hangs = loop {
            match said.recv_timeout(PATIENCE) {
                Ok(line) => {
                    lines.push(line);
                    if is_last(lines.last().unwrap()) {
                        break false;
                    }
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => break false,
                Err(mpsc::RecvTimeoutError::Timeout) => break true,
            }
        };
        // One that has ended is not there any more.
        let _ = child.kill();
        child.wait().unwrap();
        lines.extend(said);
        let _ = reader.join().unwrap();
        if hangs {
            lines.push("it hangs".to_owned());
        }
        let calls = std::fs::read_to_string(trace.path())
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect();
        Life { lines, calls }
    }
}

impl Life {
    /// How many calls there were of a kind, on files whose names end so.
    pub(crate) fn count(&self, kind: &str, file: &str) -> usize {
        let of = |call: &&String| {
            call.split_once(' ')
                .is_some_and(|(of, name)| of == kind && name.ends_with(file))
        };
        self.calls.iter().filter(of).count()
    }

    /// How many calls were made to fail.
    pub(crate) fn failed(&self) -> usize {
        self.calls
            .iter()
            .filter(|call| call.ends_with(" failed"))
            .count()
    }

    /// What it said of numbers: that they ran, or were answered.
    pub(crate) fn numbers(&self, word: &str) -> Vec<u32> {
        let said = self
            .lines
            .iter()
            .filter_map(|line| line.strip_prefix(word)?.strip_prefix(' '));
        said.map(|number| number.parse().unwrap()).collect()
    }

    /// The errors it said.
    pub(crate) fn errors(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().filter_map(|line| {
            line.strip_prefix("closed: ")
                .or_else(|| Some(line.strip_prefix("refused ")?.split_once(' ')?.1))
        })
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            kind,
            nth,
            error,
            file,
        } = self;
        write!(f, "{kind}:{nth}:{error}:{file}")
    }
}

/// The shim, built once a run.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join("faults-shim.so");
        // Another run may be using the old one.
        let fresh = tempfile::NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/faults/shim.c");
        let mut command = Command::new("cc");
        command
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(fresh.path())
            .args([source, "-ldl"]);
        assert!(command.status().unwrap().success(), "{command:?}");
        fresh.persist(&library).unwrap();
        library
    })
}
