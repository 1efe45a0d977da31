//! A service for tests with a failing system: `victim WHAT DIR [ARG]`. It prints each thing it does
//! on a line of its own.

#![expect(
    clippy::expect_used,
    reason = "a victim that cannot do its part is a failed test"
)]

use std::fs::File;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use futures_util::StreamExt;
use idem_runtime::ledger::{Engine, SledLedger};
use idem_runtime::{Error, Filter, Idem, idempotent, ledger::LedgerError};

static EFFECTS: OnceLock<PathBuf> = OnceLock::new();

/// Does the work that must not be lost: writes a line to a file, synced.
fn effect(line: &str) -> std::io::Result<()> {
    let path = EFFECTS.get().expect("set before any handler runs");
    let mut file = File::options().create(true).append(true).open(path)?;
    file.write_all(format!("{line}\n").as_bytes())?;
    file.sync_data()
}

fn say(line: &str) {
    // One write for each line, so that a kill cuts between lines.
    std::io::stdout()
        .write_all(format!("{line}\n").as_bytes())
        .expect("the test reads");
}

#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Idem(#[from] Error),
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error("the first attempt always fails")]
    First,
    #[error("this number always fails")]
    Own,
}

#[idempotent(name = "victim.work", key = "number", retries = 1000)]
async fn work(number: u32) -> Result<u32, Trouble> {
    effect(&number.to_string())?;
    tokio::task::yield_now().await;
    Ok(number * 7)
}

#[idempotent(
    name = "victim.flaky",
    key = "number",
    retries = 1000,
    backoff(initial = "1ms")
)]
async fn flaky(number: u32) -> Result<u32, Trouble> {
    match idem_runtime::attempt() {
        Some(attempt) if attempt.number == 1 => Err(Trouble::First),
        _ => Ok(number),
    }
}

fn may_pass(error: &Trouble) -> bool {
    !matches!(error, Trouble::Own)
}

/// Every tenth is a dead letter, every fifth is stored in chunks.
#[idempotent(name = "victim.text", key = "number", retries = 1000, retry_if = may_pass)]
async fn text(number: u32) -> Result<String, Trouble> {
    say(&format!("ran {number}"));
    tokio::task::yield_now().await;
    match number % 10 {
        9 => Err(Trouble::Own),
        0 | 5 => Ok(number.to_string().repeat(4000)),
        _ => Ok(number.to_string().repeat(400)),
    }
}

#[idempotent(name = "victim.once", key = "number", on_crash = "bury")]
async fn once(number: u32) -> Result<u32, Trouble> {
    say(&format!("ran {number}"));
    Ok(number)
}

/// Many of sled's buffers large.
#[idempotent(name = "victim.large", key = "number", retries = 1000)]
async fn large(number: u32) -> Result<String, Trouble> {
    Ok("large".repeat(600_000))
}

fn tell<T>(number: u32, answer: Result<T, Trouble>) {
    match answer {
        Ok(_) => say(&format!("answered {number}")),
        Err(error) => say(&format!("refused {number} {error:#}")),
    }
}

/// Works through these numbers in rounds of sixteen, whatever their results.
async fn rounds(from: u32, to: u32) {
    for first in (from..to).step_by(16) {
        let round = (first..to.min(first + 16)).map(|number| async move {
            match text(number).await {
                // The dead letter is the expected end.
                Err(Trouble::Own) => tell(number, Ok(())),
                Err(Trouble::Idem(Error::DeadLettered { .. })) if number % 10 == 9 => {
                    tell(number, Ok(()));
                }
                answer => tell(number, answer),
            }
        });
        futures_util::future::join_all(round).await;
        say("round");
    }
    say("finished");
}

/// Works through the numbers below `count`, sixteen at a time, and prints each answer.
async fn work_through(count: u32) {
    let calls = futures_util::stream::iter(0..count).map(|number| async move {
        let answer = if number % 5 == 0 {
            flaky(number).await
        } else {
            work(number).await
        };
        match answer {
            Ok(answer) => say(&format!("answered {number} {answer}")),
            Err(error) => say(&format!("refused {number} {error:#}")),
        }
    });
    calls.buffer_unordered(16).collect::<()>().await;
    say("finished");
}

/// Works until the disk is full, then prints what still works; a line of input makes room again.
async fn fill() {
    let mut refused = Vec::new();
    for number in 0.. {
        match work(number).await {
            Ok(_) => say(&format!("answered {number}")),
            Err(Trouble::Idem(Error::Ledger {
                source: LedgerError::Full { .. },
                handler,
                key,
            })) => {
                say(&format!(
                    "full {} {}",
                    handler.unwrap_or_default(),
                    key.unwrap_or_default()
                ));
                refused.push(number);
                if refused.len() == 3 {
                    break;
                }
            }
            Err(error) => say(&format!("unexpected {error:#}")),
        }
    }
    say(&format!("replayed {:?}", work(0).await.ok()));
    say("waiting");
    std::io::stdin().lock().lines().next();
    let_files_grow_to(None);
    for number in refused {
        match work(number).await {
            Ok(answer) => say(&format!("answered {number} {answer}")),
            Err(error) => say(&format!("unexpected {error:#}")),
        }
    }
    say("finished");
}

/// Sets a limit that the kernel enforces as it does a full disk.
fn let_files_grow_to(current: Option<u64>) {
    let limit = rustix::process::Rlimit {
        current,
        maximum: None,
    };
    rustix::process::setrlimit(rustix::process::Resource::Fsize, limit)
        .expect("a soft limit can be changed");
}

/// Copies the ledger without enough room for it, and again with enough.
async fn copy(idem: &Idem, to: &Path) {
    let copied = async || {
        idem.copy_to(to).await.map_or_else(
            |error| format!("copied: {error:#}"),
            |()| "copied".to_owned(),
        )
    };
    work_through(300).await;
    let_files_grow_to(Some(64 << 10));
    say(&copied().await);
    say(&format!(
        "left: {}",
        to.ancestors().nth(1).expect("not the root").exists()
    ));
    let_files_grow_to(None);
    say(&copied().await);
    work_through(300).await;
}

/// Forks, and prints the ledger's answers in the child, and whether the parent lost anything.
async fn forked(idem: Idem, folder: &str) {
    let answer = async |number| idem.scope(work(number)).await.ok();
    let first = answer(2).await;
    let other = Path::new(folder).join("other");
    let clock = std::sync::Arc::new(idem_runtime::testing::ManualClock::default());
    let ledger =
        SledLedger::open(&other, 1 << 20, clock, "victim".to_owned()).expect("another ledger");
    match fork::fork().expect("a fork") {
        fork::Fork::Child => {
            let told = |answer: Result<(), String>| {
                say(&format!(
                    "child: {}",
                    answer
                        .err()
                        .unwrap_or_else(|| "nothing is wrong".to_owned())
                ));
            };
            for number in [2, 3] {
                let call = pollster::block_on(idem.scope(work(number)));
                told(call.map(drop).map_err(|error| format!("{error:#}")));
            }
            let listed = pollster::block_on(idem.dead_letters().list(&Filter::default()));
            told(listed.map(drop).map_err(|error| format!("{error:#}")));
            told(
                pollster::block_on(idem.sweep())
                    .map(drop)
                    .map_err(|error| format!("{error:#}")),
            );
            told(pollster::block_on(idem.close()).map_err(|error| format!("{error:#}")));
            drop(idem);
            drop(ledger);
            say("child: dropped");
            std::process::exit(0);
        }
        fork::Fork::Parent(child) => {
            say(&format!(
                "forked: {}",
                fork::waitpid(child).expect("it ends")
            ));
            let is_held = |folder: &Path| Idem::open(folder).is_err();
            say(&format!(
                "held: {}",
                is_held(Path::new(folder)) && is_held(&other)
            ));
            say(&format!("answered {first:?} {:?}", answer(3).await));
            say(&format!("closed {}", idem.close().await.is_ok()));
        }
    }
}

/// Lists letters and closes while no more threads can be started.
async fn threadless(idem: &Idem) {
    let limit = rustix::process::Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    rustix::process::setrlimit(rustix::process::Resource::Nproc, limit)
        .expect("a limit can be lowered");
    say(&format!(
        "a thread: {}",
        std::thread::Builder::new().spawn(|| ()).is_ok()
    ));
    say(&format!(
        "listed {:?}",
        idem.dead_letters()
            .list(&Filter::default())
            .await
            .map(|all| all.len())
            .ok()
    ));
    say(&format!("closed {}", idem.close().await.is_ok()));
}

#[tokio::main]
async fn main() {
    let arguments: Vec<_> = std::env::args().collect();
    let [_, what, folder, rest @ ..] = &arguments[..] else {
        panic!("victim WHAT DIR [ARG]")
    };
    EFFECTS
        .set(Path::new(folder).join("effects"))
        .expect("set once");
    let engine = Engine::of(Path::new(folder)).unwrap_or_default();
    let idem = match Idem::builder().engine(engine).open(folder) {
        Ok(idem) => idem,
        Err(error) => return say(&format!("closed: {error:#}")),
    };
    say("open");
    if what == "forked" {
        return forked(idem, folder).await;
    }
    idem.install().expect("the only one");
    match what.as_str() {
        "work" => work_through(rest[0].parse().expect("a count")).await,
        "letters" => {
            for letter in idem
                .dead_letters()
                .list(&Filter::default())
                .await
                .expect("letters can be listed")
            {
                say(&format!(
                    "{} {:?} {}",
                    letter.key,
                    letter.reason,
                    letter.attempts.len()
                ));
            }
        }
        "fill" => fill().await,
        "copy" => copy(&idem, Path::new(&rest[0])).await,
        "copied" => {
            tell(1, once(1).await);
            idem.copy_to(Path::new(&rest[0])).await.expect("a copy");
            idem.close().await.expect("it closes");
        }
        "threadless" => threadless(&idem).await,
        "rounds" => {
            rounds(
                rest[0].parse().expect("a number"),
                rest[1].parse().expect("a number"),
            )
            .await;
            // Waits, so that a test can kill it alive.
            std::io::stdin().lock().lines().next();
        }
        "once" => {
            for _ in 0..rest[0].parse().expect("a number of calls") {
                tell(1, once(1).await);
            }
        }
        "large" => {
            for number in 0..rest[0].parse().expect("a count") {
                tell(number, large(number).await);
            }
            say("finished");
        }
        "hold" => drop(std::io::stdin().lock().lines().next()),
        other => panic!("nothing is called {other}"),
    }
}
