//! A service that tests kill: `victim WHAT DIR [ARG]`. Each thing it does is said on a line of its own.

#![expect(clippy::expect_used, reason = "a victim that cannot do its part is a failed test")]

use std::fs::File;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use futures_util::StreamExt;
use idem_runtime::{Error, Filter, Idem, LedgerError, idempotent};

static EFFECTS: OnceLock<PathBuf> = OnceLock::new();

/// The work that must not be lost: a line in a file, synced.
fn effect(line: &str) -> std::io::Result<()> {
    let path = EFFECTS.get().expect("set before any handler runs");
    let mut file = File::options().create(true).append(true).open(path)?;
    file.write_all(format!("{line}\n").as_bytes())?;
    file.sync_data()
}

fn say(line: &str) {
    // One write a line, so that a kill cuts between lines.
    std::io::stdout().write_all(format!("{line}\n").as_bytes()).expect("somebody listens");
}

#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Idem(#[from] Error),
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error("the first attempt always fails")]
    First,
}

#[idempotent(name = "victim.work", key = "number", retries = 1000)]
async fn work(number: u32) -> Result<u32, Trouble> {
    effect(&number.to_string())?;
    tokio::task::yield_now().await;
    Ok(number * 7)
}

#[idempotent(name = "victim.flaky", key = "number", retries = 1000, backoff(initial = "1ms"))]
async fn flaky(number: u32) -> Result<u32, Trouble> {
    match idem_runtime::attempt() {
        Some(attempt) if attempt.number == 1 => Err(Trouble::First),
        _ => Ok(number),
    }
}

#[idempotent(name = "victim.abort", key = "key", retries = 3)]
async fn abort(key: String) -> Result<(), Trouble> {
    effect(&key)?;
    std::process::abort()
}

#[idempotent(name = "victim.abort_once", key = "key", retries = 3, on_crash = "bury")]
async fn abort_once(key: String) -> Result<(), Trouble> {
    effect(&key)?;
    std::process::abort()
}

/// Works through the numbers below `count`, sixteen at a time, and says each answer.
async fn work_through(count: u32) {
    let calls = futures_util::stream::iter(0..count).map(|number| async move {
        let answer = if number % 5 == 0 { flaky(number).await } else { work(number).await };
        match answer {
            Ok(answer) => say(&format!("answered {number} {answer}")),
            Err(error) => say(&format!("refused {number} {error}")),
        }
    });
    calls.buffer_unordered(16).collect::<()>().await;
    say("finished");
}

/// Works until the disk is full, then says what still works; on a line of input there is room again.
async fn fill() {
    let mut refused = Vec::new();
    for number in 0.. {
        match work(number).await {
            Ok(_) => say(&format!("answered {number}")),
            Err(Trouble::Idem(Error::Ledger { problem: LedgerError::Full { .. }, handler, key })) => {
                say(&format!("full {} {}", handler.unwrap_or_default(), key.unwrap_or_default()));
                refused.push(number);
                if refused.len() == 3 {
                    break;
                }
            }
            Err(error) => say(&format!("unexpected {error}")),
        }
    }
    say(&format!("replayed {:?}", work(0).await.ok()));
    say("waiting");
    std::io::stdin().lock().lines().next();
    let_files_grow_to(None);
    for number in refused {
        match work(number).await {
            Ok(answer) => say(&format!("answered {number} {answer}")),
            Err(error) => say(&format!("unexpected {error}")),
        }
    }
    say("finished");
}

/// A limit that the kernel enforces just as a full disk.
fn let_files_grow_to(current: Option<u64>) {
    let limit = rustix::process::Rlimit { current, maximum: None };
    rustix::process::setrlimit(rustix::process::Resource::Fsize, limit).expect("a soft limit can be changed");
}

/// Copies the ledger where there is no room for it, and again where there is.
async fn copy(idem: &Idem, to: &Path) {
    let copied =
        async || idem.copy_to(to).await.map_or_else(|error| format!("copied: {error}"), |()| "copied".to_owned());
    work_through(300).await;
    let_files_grow_to(Some(64 << 10));
    say(&copied().await);
    say(&format!("left: {}", to.ancestors().nth(1).expect("not the root").exists()));
    let_files_grow_to(None);
    say(&copied().await);
    work_through(300).await;
}

#[tokio::main]
async fn main() {
    let arguments: Vec<_> = std::env::args().collect();
    let [_, what, folder, rest @ ..] = &arguments[..] else { panic!("victim WHAT DIR [ARG]") };
    EFFECTS.set(Path::new(folder).join("effects")).expect("set once");
    let idem = match Idem::open(folder) {
        Ok(idem) => idem,
        Err(error) => return say(&format!("closed: {error}")),
    };
    idem.install().expect("the only one");
    say("open");
    match what.as_str() {
        "work" => work_through(rest[0].parse().expect("a count")).await,
        "abort" => say(&format!("{:?}", abort("A".to_owned()).await.map_err(|error| error.to_string()))),
        "abort_once" => say(&format!("{:?}", abort_once("A".to_owned()).await.map_err(|error| error.to_string()))),
        "letters" => {
            for letter in idem.dead_letters().list(&Filter::default()).await.expect("letters can be listed") {
                say(&format!("{} {:?} {}", letter.key, letter.reason, letter.attempts.len()));
            }
        }
        "fill" => fill().await,
        "copy" => copy(&idem, Path::new(&rest[0])).await,
        "hold" => drop(std::io::stdin().lock().lines().next()),
        other => panic!("nothing is called {other}"),
    }
}
